"""Compares derivatives of `f` along directions within one leaf with the gradient.

Along a direction `v` the derivative of `f` must be the inner product of `v` with the gradient.
Their difference is the residual: the sum of the errors of all entries, each times its part in the
direction.
"""

from __future__ import annotations

import math
from functools import partial

from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.growing import FARTHEST, before_needed, by_longer_steps
from fastgrad._checks.movement import begins_by_jump
from fastgrad._checks.moves import LEFT_OVER, Claimed, Moves
from fastgrad._checks.residual import Residual, Row, limit_of, stand_alike
from fastgrad._derivatives import noise
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._derivatives.step_table import RATIO
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.protocol import Along, Changes
from fastgrad._leaf import Box

__all__ = ["VISIBLE", "Directional"]

# Least move in spacings of the leaf's type: then an entry of the least magnitude, half of that,
# still moves by a number that is right to 1.6 %, and what it really moves by is counted.
_LEAST_SPACINGS = 64.0
# In doubt, steps may be this many times smaller still: the residual is computed from the moves that
# were really made.
_BELOW_LEAST = 4
# A step up to this many times as long as the first one is the same but for rounding.
_ROUNDED_STEP = 1.01
# A direction is calibrated to show an error of this share of a typical entry, if noise allows: a
# missing factor of 1.05, in the worst of places. Half of it needs steps a quarter longer.
VISIBLE = 0.05
# Smallest step that shows a residual: its noise bound must be below a twentieth of it.
_TELLING = 20.0
# Two residuals are taken for the same if they differ by less than this share: the truncation of
# both, as granted to single entries (MOST_OWN).
_SAME = 0.02
# In doubt a step is divided by this: about two, and no power of it.
_NEARER = 2.3
# A residual is real if it changes by less than this share at the next step, where truncation would
# shrink to a fifth; and it is a kink if the gap shrinks less than to this share, where it would
# shrink to 1 / 2.3. Both lie halfway between, in ratio.
_STEADY, _CLOSING = 0.2, 0.7
# Steps of a residual that is in doubt, at most: 7.3^8 = 2^23 is half the digits of float64.
_MOST_ROWS = 8
# Change between two steps that ends the search for the limit, relatively: a residual is wanted to
# two digits, for it is only compared with its bound.
_SETTLED = 1e-2
# The gap is no kink below this many noise bounds, as each one-sided quotient has twice the noise.
_GAP_BOUNDS = 4.0
# A second difference is curvature beyond this many noise bounds: its noise is sqrt(6) of f's.
_CURVED = 8.0
# What kinks leave of the gap counts beyond this many bounds of the residual: it is the sum of four
# values with a standard deviation of 12 of those of f, where the bound holds four.
_KINK_BOUNDS = 12.0
# ... and beyond this share of what is granted to the gradient: half of it widens what counts by a
# sixteenth. In float32 moves are rounded, which leaves a fortieth of it where `f` bends.
_KINK_SHARE = 0.25
# Two steps that tell noise and truncation from a residual: more than one row of a table apart, and
# no power of two.
_APART = 7.3
# An error of which this share of the noise would be made between two points of its measurement
# may be what was measured, as for a single entry.
_MEASURED = 0.1
# Noise at the scale of a step is measured from values this share of it from each other: seven of
# them reach from there to half of it, where the sixth differences of anything smooth are noise.
_BESIDE = 0.083
# A residual of this many times the noise on one side is not noise on the other: `f` would have to
# be a thousand times as noisy there, and estimates from 7 values are right to a factor 2.
_FAR_BEYOND = 1000.0
# Where small moves change nothing, moves of up to half a length may.
_FAR = (0.5, -0.5, 0.1, -0.1)
# Noise that is measured so counts if it is more than this many times the noise that was known: an
# estimate from 7 values is no better.
_NOISIER = 2.0


class Directional:
    """Derivatives along directions in one leaf."""

    def __init__(self, claim: Claimed, moves: Moves) -> None:
        self.moved = False  # whether f was seen to move with the leaf, at the smallest step
        self.jumps = False  # whether it was seen to jump from one value to another
        self.last: Row | None = None
        self._claim, self._moves, self._model = claim, moves, claim.model
        self._step = claim.model.relative
        # Smaller moves would be lost as the parameters are rounded.
        self._least = _LEAST_SPACINGS * claim.model.spacing
        self._typical = 0.0  # what is claimed of an entry over its length, where that is known
        self._truncation = 0.0  # found by `calibrate`, over step^2 and the root of the block's size
        self._own_noise: float | None = None  # on top, where the whole leaf moves
        self._irregular = False  # whether there is some

    def calibrate(self, box: Box, *, at_once: bool = False, typical: float = 0.0) -> Residual:
        """Measure a block's residual, at a step at which errors in typical entries would show.

        Along a random direction in many dimensions `f` is smoother than along single entries, and
        noise weighs more: it is divided by the length of the move, which all entries share.
        With `at_once`, a residual that shows at the first step is enough, as it is seen there.
        `typical` is what is claimed of an entry over its length, about, where that is known.
        """
        # All entries move: by `time` each, and together by `time * root`, which is the step.
        root = self._moves.root(box)
        self._typical = typical or self._typical
        lower = self._later(box) or self._row(box, max(self._step / root, self._least))
        visible = min(VISIBLE * lower.norm / root, self._moves.wanted)
        granted = self._model.direction_truncation(max(self._step, lower.time * root), lower.norm)
        best = lower.noise + granted
        if at_once and abs(lower.central) > _TELLING * (lower.noise + lower.slack):
            return Residual(lower.central, lower.noise + lower.slack)
        best, row = by_longer_steps(partial(self._row, box), lower, best, visible, root)
        self._step = row.time * root
        self._truncation = max(best - row.noise, 0.0) / (self._step**2 * root)
        return self.residual_of(box, row)

    def _later(self, box: Box) -> Row | None:
        """The row before the one that noise asks for, if that is beyond the first.

        It is trusted only if `f` moves there as claimed, all but for noise.
        """
        root = self._moves.root(box)
        if not self._typical or box != self._claim.whole:
            return None
        noise = self._model.direction_noise(self._noise(box), 1.0)
        time = before_needed(noise, VISIBLE * self._typical, root)
        if time <= max(self._step / root, self._least):
            return None
        row = self._row(box, time)
        self.moved = self.moved or row.as_claimed
        return row if row.as_claimed else None

    def glance(self, box: Box, whole: float) -> Residual:
        """Residual of a block at one step, which shows one as large as `whole`."""
        row = self.first_row(box, whole)
        return Residual(row.central, self._allowed(box, row) + row.slack)

    def measure(self, box: Box, whole: float = 0.0) -> Residual:
        """Residual of a block: at one step, if it is nothing, or all of `whole`.

        `whole` is the residual of a block around this one, whose errors may all lie in here.
        Anything else is measured at many steps.
        """
        return self.residual_of(box, self.first_row(box, whole), whole)

    def first_row(self, box: Box, whole: float = 0.0) -> Row:
        """The row at the one step."""
        return self._row(box, self._telling(box, whole))

    def _telling(self, box: Box, whole: float) -> float:
        """The time of the step, or of a smaller one that still shows a residual `whole`."""
        root = self._moves.root(box)
        time = max(self._step / root, self._least)
        if not whole:
            return time
        telling = _TELLING * SIGMAS * self._noise(box) / abs(whole)
        return min(time, max(self._model.relative / root, telling, self._least))

    def factor(self, halves: list[Box]) -> float:
        """Claimed over numeric, where it is the same in each half of a block and its rest."""
        assert self.last is not None
        whole, factor = self.last, self.last.factor
        for box in halves:
            half = self._row(box, whole.time)
            for row in (half, whole.without(half)):
                left = abs(row.claimed - factor * row.numeric)
                allowed = SAFETY * (max(1.0, abs(factor)) * row.noise + row.slack)
                if not left <= allowed + LEFT_OVER * abs(row.central):
                    return math.nan
        return factor

    def stands(self, box: Box, residual: Residual) -> bool:
        """Whether a residual is no matter of the step, of noise that was not known, or of kinks."""
        if residual.kink or self._is_too_fast(residual.value):
            return False
        time, known = max(self._step / self._moves.root(box), self._least), self.last
        self._look_beside(box, time, residual.value)
        if not self.moved:
            self._look_far(box)
        small = time / _APART
        hidden = SAFETY * SIGMAS * self._noise(box) >= abs(residual.value) * small
        if hidden or small < self._least / _BELOW_LEAST:
            small, time = time, time * _APART
        if time * self._moves.root(box) > FARTHEST:
            return False
        # As it was measured last, if nothing has been learnt of noise since.
        same = known is not None and known.box == box and known.time == time
        large = known if same and known and not self._own_noise else self._row(box, time)
        rows = self._row(box, small), large
        # Where `f` varies like noise at the scale of the steps, so does what vanishes with them.
        shows = all(abs(row.numeric) > SAFETY * row.noise for row in rows)
        return (shows or not self._irregular) and stand_alike(*rows)

    def _is_too_fast(self, error: float) -> bool:
        """Whether what was measured as noise could be what `f` does if the claim is right."""
        model = self._model
        return model.coarse and abs(error) * model.sampled >= _MEASURED * model.noise

    def kink_gap(self, box: Box) -> float:
        """What is left of the gap between both sides as the step goes to zero: that of kinks.

        It is asked of the residual that was measured last, and once more at a step that is far
        smaller: where `f` is symmetric, as at an optimum, nothing else tells how fast it bends.
        """
        row = self.last
        assert row is not None
        gap, counts = self._left_of_gap(box, row)
        small = row.time / _APART
        if gap <= counts or small < self._least / _BELOW_LEAST:
            return gap if gap > counts else 0.0
        left, counts = self._left_of_gap(box, self._row(box, small))
        # Where noise hides it at the smaller step, nothing speaks against the kink.
        closes = left <= _CLOSING * gap < math.inf and counts < gap
        return 0.0 if closes else gap

    def _left_of_gap(self, box: Box, row: Row) -> tuple[float, float]:
        """What curvature does not explain of the gap between both sides, and what of it counts.

        Curvature leaves a gap in proportion to the step, which one more value tells.
        """
        root = self._moves.root(box)
        counts = _KINK_BOUNDS * (row.noise + self._truncated(row.time * root) * root)
        counts += _KINK_SHARE * row.slack
        if row.gap <= counts:
            return 0.0, counts
        time = row.time / _NEARER
        found = self._change(box, (time,))
        nearer = (found.claimed[0] - (float(found.values[0]) - self._model.base)) / time
        curved = 2 * (row.ahead - nearer) / (1 - 1 / _NEARER)
        gap = abs(row.ahead - row.behind - curved)
        return gap if math.isfinite(gap) else math.inf, counts

    def residual_of(self, box: Box, row: Row, whole: float = 0.0) -> Residual:
        """The residual that a row shows, or smaller steps where it is something: see `measure`."""
        self.last = row
        allowed = self._allowed(box, row)
        # Near to nothing, or near to all of `whole`: no smaller step would say more.
        near = min(abs(row.central), abs(row.central - whole) - _SAME * abs(whole))
        if near <= allowed + row.slack < math.inf:
            return Residual(row.central, allowed + row.slack)
        return self._refined(box, row)

    def _allowed(self, box: Box, row: Row) -> float:
        """Noise and truncation of a residual."""
        root = self._moves.root(box)
        granted = self._moves.granted * min(abs(row.claimed), abs(row.numeric))
        return row.noise + self._truncated(row.time * root) * root + granted

    def _truncated(self, step: float) -> float:
        return self._truncation * step**2

    def _refined(self, box: Box, first: Row) -> Residual:
        """Measure at smaller steps: a residual is real if it does not shrink with the step."""
        rows = [self._row(box, first.time / _NEARER)]
        value, change = rows[0].central, abs(rows[0].central - first.central)
        # At a kink the quotients on both sides keep their distance, and it may hide the residual.
        smooth = rows[0].gap <= max(abs(value), _CLOSING * first.gap)
        # Where steps are far too large the numeric part vanishes, and the residual, now the claim
        # alone, stays the same without being real.
        means = max(_STEADY * abs(rows[0].numeric), SAFETY * (rows[0].noise + first.noise))
        if change <= min(_STEADY * abs(value), means) and smooth:
            # The truncation left is a quarter of the change; a half is on the safe side.
            return Residual(value, change / 2 + rows[0].noise + rows[0].slack)
        # The noise of `f` was measured with other moves.
        if self._look_beside(box, first.time):
            return self.calibrate(box)
        return self._limit(box, first, rows)

    def _limit(self, box: Box, first: Row, rows: list[Row]) -> Residual:
        """The residual for small steps; the step that shows it is for the next blocks too."""
        while len(rows) < _MOST_ROWS and rows[-1].time / RATIO > self._least / _BELOW_LEAST:
            rows.append(self._row(box, rows[-1].time / RATIO))
            change = abs(rows[-1].central - rows[-2].central)
            steady = change <= max(SAFETY * rows[-1].noise, _SETTLED * abs(rows[-1].central))
            if steady and rows[-1].gap < max(abs(rows[-1].central), _GAP_BOUNDS * rows[-1].noise):
                break
        if self._jumps_between(box, [first, *rows]):
            return Residual(first.central, math.inf)
        residual, found = limit_of(rows)
        if found is not None:
            step = RATIO * float(found.step[0]) * self._moves.root(box)
            self._step = min(self._step, step)
        return residual

    def _jumps_between(self, box: Box, rows: list[Row]) -> bool:
        """Whether `f`, which smaller steps leave alone, begins to move by a jump."""
        still = next((k for k, row in enumerate(rows) if row.still), 0)
        # At the first of them, or where none is, nothing larger moved.
        if not still:
            return False
        direction, model = self._moves.direction(box), self._model
        low, high = rows[still].time, rows[still - 1].time
        with quiet():
            self.jumps = any(
                begins_by_jump(
                    self._claim.run, direction, model.base, model.noise, sign * low, sign * high
                )
                for sign in (1.0, -1.0)
            )
        return self.jumps

    def _look_beside(self, box: Box, time: float, value: float = 0.0) -> bool:
        """Measure noise at the scale of the step, once; return whether more was found than known.

        Rounding inside `f` may not show in steps that suit it, and a sum over many entries is
        rounded anew for each that moves; the noise in the baseline was measured with other moves.
        A residual `value` that is far beyond what shows ahead is not looked at behind.
        """
        if self._own_noise is not None:
            return False
        measured, self._own_noise = 0.0, 0.0
        # Each side by itself: a kink at the parameters is no noise.
        for sign in (1.0, -1.0):
            times = tuple(sign * time * (1 - _BESIDE * k) for k in range(noise.POINTS))
            found = self._change(box, times)
            off = [float(v) - c for v, c in zip(found.values, found.claimed, strict=True)]
            if not all(map(math.isfinite, off)):
                continue
            measured = max(measured, noise.noise_of(off))
            if _FAR_BEYOND * max(measured, self._model.noise) < abs(value) * time:
                break
        if not _NOISIER * self._model.noise < measured < math.inf:
            return False
        # Noise of independent roundings grows with the root of the number of moved entries.
        self._own_noise, self._irregular = measured / math.sqrt(self._share(box)), True
        self._step = self._model.relative
        return True

    def _look_far(self, box: Box) -> None:
        """Take the rounding of far values for noise, where `f` does not move beside the point.

        What is lost in the rounding of values elsewhere may be what is claimed: a loss of exactly
        zero has no rounding of its own.
        """
        with quiet():
            values = self._change(box, _FAR).values
        far = max((abs(_finite(v)) for v in values if math.isfinite(_finite(v))), default=0.0)
        self._own_noise = max(self._own_noise or 0.0, self._model.unit * far)

    def _share(self, box: Box) -> float:
        """Share of the leaf's entries that move with a block, by their squares."""
        return (self._moves.root(box) / self._moves.root(self._claim.whole)) ** 2

    def _noise(self, box: Box) -> float:
        """Standard deviation of the noise of `f` where a block moves."""
        if not self._own_noise:
            return self._model.noise
        return math.hypot(self._model.noise, self._own_noise * math.sqrt(self._share(box)))

    def _largest_norm(self, box: Box) -> float:
        """A bound on the norm of the claimed derivative, where squares of its terms overflow."""
        return self._claim.largest(box) * self._moves.reach_of(box)

    def _granted(self, box: Box) -> float:
        """What an absolute tolerance of the user's grants to the derivative along the direction."""
        return self._model.atol * self._moves.reach_of(box) if self._model.atol else 0.0

    def _change(self, box: Box, times: tuple[float, ...]) -> Changes:
        """Move a block; the values, and what the gradient claims of the moves."""
        direction = self._moves.direction(box)
        return self._claim.run.along(Along(direction, times), self._claim.parts(box))

    def _row(self, box: Box, time: float) -> Row:
        """Residuals of a block at one step, from two evaluations."""
        model, base = self._model, self._model.base
        found = self._change(box, (time, -time))
        above, below = (_finite(value) for value in found.values)
        rise, fall = found.claimed
        # Only at the smallest step, give or take its rounding: truncation moves f at others.
        small = (
            time * self._moves.root(box) <= _ROUNDED_STEP * model.relative or time <= self._least
        )
        still = above == below == base
        self.moved = self.moved or (small and not still)
        level = max(self._noise(box), model.unit * max(abs(above), abs(below)))
        claimed, numeric = (rise / 2 - fall / 2) / time, (above / 2 - below / 2) / time
        norm = found.norm / time if found.norm < math.inf else self._largest_norm(box)
        second = (above - 2 * base + below) / time
        curved = _CURVED * SIGMAS * level < abs(second) * time < math.inf
        return Row(
            time,
            claimed - numeric,
            (rise - (above - base)) / time,
            ((below - base) - fall) / time,
            model.direction_noise(level, time),
            norm,
            claimed,
            numeric,
            model.direction_slack(norm) + self._granted(box),
            abs(second) / time if curved else 0.0,
            still,
            box,
        )


def _finite(value: float) -> float:
    """Infinity as NaN: neither is the value of a function that has a derivative."""
    number = float(value)
    return number if math.isfinite(number) else math.nan
