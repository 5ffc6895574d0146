"""Compares derivatives of `f` along random directions within one leaf with the gradient.

Along a direction `v` the derivative of `f` must be the inner product of `v` with the gradient.
Their difference is the residual: the sum of the errors of all entries, each times its part in the
direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from fastgrad._checks import judge
from fastgrad._checks.baseline import MOST_MOVED
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import SAFETY, ErrorModel
from fastgrad._derivatives import noise
from fastgrad._derivatives.extrapolation import RATIO, SHRINKS, StepTable, estimate
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._evaluation.direction import UNIT, Region, Uniform
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Changes
from fastgrad._leaf import Box, Leaf
from fastgrad._report.entries import Verdict

__all__ = ["Directional", "Residual", "size_of"]

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
_VISIBLE = 0.05
# Longest move along a direction, where that of a single entry at a step of its length is one. With
# all entries moving by twice their length little is left of where the gradient was asked for.
_FARTHEST = 2.0
# From one step of the calibration to the next: noise falls by 4, and truncation grows by 16.
_GROWTH = 4.0
# Smallest step that shows a residual: its noise bound must be below a twentieth of it.
_TELLING = 20.0
# Two residuals are taken for the same if they differ by less than this share: the truncation of
# both, as granted to single entries (MOST_OWN).
_SAME = 0.02
# A residual is real if it changes by less than this share at half the step, where truncation would
# shrink to a quarter; and it is a kink if the gap shrinks less than to this share, where it would
# shrink to a half. Both lie halfway between, in ratio.
_STEADY, _CLOSING = 0.2, 0.7
# Steps of a residual that is in doubt, at most: 8^8 = 2^24 is half the digits of float64.
_MOST_ROWS = 8
# Change between two steps that ends the search for the limit, relatively: a residual is wanted to
# two digits, for it is only compared with its bound.
_SETTLED = 1e-2
# The gap is no kink below this many noise bounds, as each one-sided quotient has twice the noise.
_GAP_BOUNDS = 4.0
# A second difference is curvature beyond this many noise bounds: its noise is sqrt(6) of f's.
_CURVED = 8.0
# A leaf's own noise is measured from values at this fraction of a single entry's step from each
# other: seven of them stay within a ninth of it, where their differences are noise.
_FINER = 64.0
# Noise that is measured so counts if it is more than this many times the noise that was known: an
# estimate from 7 values is no better.
_NOISIER = 2.0


_WRONG = Verdict.WRONG.code


def size_of(box: Box) -> int:
    """How many entries a box holds."""
    return math.prod([side.stop - side.start for side in box])


@dataclass(frozen=True)
class Residual:
    """Claimed minus numeric derivative of a block along a direction, and the bound on its error."""

    value: float
    bound: float
    kink: bool = False

    @property
    def significant(self) -> bool:
        """Whether something in the block must be wrong."""
        return abs(self.value) > SAFETY * self.bound

    def minus(self, other: Residual) -> Residual:
        """Residual of the rest of the block, inferred without an evaluation."""
        return Residual(self.value - other.value, self.bound + other.bound)


@dataclass(frozen=True)
class _Row:
    """Residuals at one step, per unit of the direction."""

    time: float
    central: float
    ahead: float
    behind: float
    noise: float  # bound on the noise of `central`
    norm: float  # of the claimed derivative, entry by entry
    numeric: float  # derivative of f along the direction
    slack: float  # granted to the gradient
    growth: float  # of the derivative, over the length of an entry

    @property
    def gap(self) -> float:
        return abs(self.ahead - self.behind)


class Directional:
    """Derivatives along random directions in one leaf, and the entries of it judged so far."""

    def __init__(
        self,
        run: Metered,
        number: int,
        analytic: np.ndarray,
        model: ErrorModel,
        seed: int,
    ) -> None:
        self.leaf: Leaf = run.leaves[number]
        self.analytic = analytic.reshape(self.leaf.real.shape)
        # Grows as entries are judged; both are in the order in which they were.
        self.table = EntryTable.blank(np.zeros(0), math.inf, Verdict.CANNOT_TELL.code)
        self.judged = np.zeros(0, dtype=np.intp)
        self.moves = False  # whether f was seen to move with the leaf, at the smallest step
        self.last: _Row | None = None
        self._run = run
        self._number = number
        self._model = model
        self._step = model.relative
        # Smaller moves would be lost as the parameters are rounded.
        self._least = _LEAST_SPACINGS * model.spacing
        self._truncation = 0.0  # found by `calibrate`, over step^2 and the root of the block's size
        self._own_noise: float | None = None  # on top, where the whole leaf moves
        self._seed, self._turn = seed, 0
        self._without: tuple[Box, ...] = ()
        self._left_out = np.zeros(0, dtype=np.intp), np.zeros(0)  # entries, and what is claimed

    def turn_to(self, turn: int, without: tuple[Box, ...]) -> None:
        """Take the random direction of this number, along which the boxes `without` stay still."""
        self._turn, self._without = turn, without

    def _direction(self, box: Box) -> Uniform:
        region = Region(self._number, box, self.leaf.real.shape)
        return Uniform(self._seed, self._turn, (region,), (1.0,), self._without)

    def calibrate(self, box: Box) -> Residual:
        """Measure a block's residual, at a step at which errors in typical entries would show.

        Along a random direction in many dimensions `f` is smoother than along single entries, and
        noise weighs more: it is divided by the length of the move, which all entries share.
        """
        # All entries move: by `time` each, and together by `time * root`, which is the step.
        root = math.sqrt(size_of(box))
        lower = self._row(box, max(self._step / root, self._least))
        visible = _VISIBLE * lower.norm / root
        best, row = lower.noise + self._model.direction_truncation(self._step, lower.norm), lower
        while SAFETY * best > visible and _GROWTH * lower.time * root <= _FARTHEST:
            upper = self._row(box, _GROWTH * lower.time)
            change = abs(upper.central - lower.central)
            # The change is the truncation of the upper row, of which a share is left in the lower.
            for bound, each in (
                (change / SHRINKS + lower.noise, lower),
                (change + upper.noise, upper),
            ):
                if bound < best:
                    best, row = bound, each
            if not change <= SAFETY * (upper.noise + lower.noise):
                break  # truncation shows, and longer steps have more of it
            lower = upper
        self._step = row.time * root
        self._truncation = max(best - row.noise, 0.0) / (self._step**2 * root)
        return self._residual_of(box, row)

    def measure(self, box: Box, whole: float = 0.0) -> Residual:
        """Residual of a block: at one step, if it is nothing, or all of `whole`.

        `whole` is the residual of a block around this one, whose errors may all lie in here.
        Anything else is measured at many steps.
        """
        root = math.sqrt(size_of(box))
        time = max(self._step / root, self._least)
        if whole:  # as small a step as still shows it
            telling = _TELLING * SIGMAS * self._noise(box) / abs(whole)
            time = min(time, max(self._model.relative / root, telling, self._least))
        return self._residual_of(box, self._row(box, time), whole)

    def _residual_of(self, box: Box, row: _Row, whole: float = 0.0) -> Residual:
        root = math.sqrt(size_of(box))
        self.last = row
        allowed = row.noise + self._truncation * (row.time * root) ** 2 * root
        # Near to nothing, or near to all of `whole`: no smaller step would say more.
        near = min(abs(row.central), abs(row.central - whole) - _SAME * abs(whole))
        if near <= allowed + row.slack:
            return Residual(row.central, allowed + row.slack)
        return self._refined(box, row)

    def _refined(self, box: Box, first: _Row) -> Residual:
        """Measure at smaller steps: a residual is real if it does not shrink with the step."""
        rows = [self._row(box, first.time / 2)]
        value, change = rows[0].central, abs(rows[0].central - first.central)
        # At a kink the quotients on both sides keep their distance, and it may hide the residual.
        smooth = rows[0].gap <= max(abs(value), _CLOSING * first.gap)
        # Where steps are far too large the numeric part vanishes, and the residual, now the claim
        # alone, stays the same without being real.
        means = max(_STEADY * abs(rows[0].numeric), SAFETY * (rows[0].noise + first.noise))
        if change <= min(_STEADY * abs(value), means) and smooth:
            # The truncation left is a third of the change; a half is on the safe side.
            return Residual(value, change / 2 + rows[0].noise + rows[0].slack)
        # The noise of `f` was measured with some of a large leaf's entries moved, not with all.
        some = self.leaf.real.size > MOST_MOVED
        if some and self._own_noise is None and self._measure_noise(box) > 0.0:
            return self.calibrate(box)
        root = math.sqrt(size_of(box))
        while len(rows) < _MOST_ROWS and rows[-1].time / RATIO > self._least / _BELOW_LEAST:
            rows.append(self._row(box, rows[-1].time / RATIO))
            change = abs(rows[-1].central - rows[-2].central)
            steady = change <= max(SAFETY * rows[-1].noise, _SETTLED * abs(rows[-1].central))
            if steady and rows[-1].gap < max(abs(rows[-1].central), _GAP_BOUNDS * rows[-1].noise):
                break
        return self._limit(rows, root)

    def _measure_noise(self, box: Box) -> float:
        """Measure the noise that moving a block brings, beyond what is known.

        A sum over many entries is rounded anew for each that moves, and the noise in the baseline
        was measured with some of a large leaf's entries moved.
        """
        time = max(self._model.relative / math.sqrt(size_of(box)) / _FINER, self._least)
        # Each side by itself: a kink at the parameters is no noise.
        ahead, behind = [self._model.base], [self._model.base]
        for k in range(1, noise.POINTS):
            found = self._change(box, k * time)
            ahead.append(found.values[0] - found.claimed[0])
            behind.append(found.values[1] - found.claimed[1])
        finite = [side for side in (ahead, behind) if all(map(math.isfinite, side))]
        measured = max(map(noise.noise_of, finite), default=0.0)
        self._own_noise = 0.0
        if measured > _NOISIER * self._model.noise:
            # Noise of independent roundings grows with the root of the number of moved entries.
            self._own_noise = measured * math.sqrt(self.leaf.real.size / size_of(box))
            self._step = self._model.relative
        return self._own_noise

    def _noise(self, box: Box) -> float:
        """Standard deviation of the noise of `f` where a block moves."""
        share = size_of(box) / self.leaf.real.size
        return math.hypot(self._model.noise, (self._own_noise or 0.0) * math.sqrt(share))

    def _change(self, box: Box, time: float) -> Changes:
        """Move a block to both sides; the values, and what the gradient claims of the moves."""
        return self._run.along(Along(self._direction(box), (time, -time)), self.analytic[box])

    def _limit(self, rows: list[_Row], root: float) -> Residual:
        """The residual for small steps; the step that shows it is for the next blocks too."""
        names = ("time", "central", "ahead", "behind", "noise")
        table = StepTable(*(np.array([[getattr(row, n)] for row in rows]) for n in names))
        if len(rows) < 2:
            return Residual(rows[0].central, math.inf)
        found = estimate(table)
        if not found.converged[0]:
            return Residual(float(found.value[0]), math.inf)
        self._step = min(self._step, RATIO * float(found.step[0]) * root)
        low, high = float(found.lower[0]), float(found.upper[0])
        if not math.isfinite(low + high + float(found.bound[0]) + rows[-1].slack):
            return Residual(math.nan, math.inf)
        # At a kink any value between the one-sided derivatives is right, and none can be seen.
        value = low if low > 0 else high if high < 0 else (low + high) / 2 if low == high else 0.0
        bound = float(found.bound[0]) + (high - low) / 2 + rows[-1].slack
        return Residual(value, bound, bool(found.kink[0]))

    def _row(self, box: Box, time: float) -> _Row:
        """Residuals of a block at one step, from two evaluations."""
        model, base = self._model, self._model.base
        found = self._change(box, time)
        above, below = found.values
        rise, fall = found.claimed
        # Only at the smallest step, give or take its rounding: truncation moves f at others.
        small = (
            time * math.sqrt(size_of(box)) <= _ROUNDED_STEP * model.relative or time <= self._least
        )
        self.moves = self.moves or (small and not above == below == base)
        level = max(self._noise(box), model.unit * max(abs(above), abs(below)))
        claimed = (rise - fall) / (2 * time)
        numeric = (above - below) / (2 * time)
        norm, second = found.norm / time, (above - 2 * base + below) / time
        return _Row(
            time,
            claimed - numeric,
            (rise - (above - base)) / time,
            ((below - base) - fall) / time,
            model.direction_noise(level, time),
            norm,
            numeric,
            model.direction_slack(norm),
            abs(second) / time if _CURVED * SIGMAS * level < abs(second) * time < math.inf else 0.0,
        )

    def judge(self, entries: np.ndarray) -> np.ndarray:
        """Judge entries one by one; return whether each is wrong."""
        fresh = np.setdiff1d(entries, self.judged)
        if len(fresh):
            table = self._measured(fresh)
            names = [each.name for each in fields(EntryTable)]
            pairs = ((getattr(self.table, n), getattr(table, n)) for n in names)
            self.table = EntryTable(*map(np.concatenate, pairs))
            self.judged = np.concatenate([self.judged, fresh])
        # Entries are in the order in which they were judged: they are found by a sorted index.
        order = np.argsort(self.judged)
        rows = order[np.searchsorted(self.judged, entries, sorter=order)]
        wrong: np.ndarray = self.table.codes[rows] == _WRONG
        return wrong

    def _measured(self, entries: np.ndarray) -> EntryTable:
        """Judge entries by the rules of an exhaustive check, as if they were the leaf."""
        table = EntryTable.blank(self._claimed(entries), math.inf, Verdict.CANNOT_TELL.code)
        at = Differences(self._run, self._number, entries)
        judge.first_pass(table, at, self._model)
        judge.judge(table, at, self._model)
        return table

    def _claimed(self, entries: np.ndarray) -> np.ndarray:
        """What the gradient claims of entries, those that were left out among them."""
        values: np.ndarray = self.analytic.reshape(-1)[entries]
        left, claims = self._left_out
        if left.size:
            places = np.searchsorted(left, entries).clip(max=left.size - 1)
            known = left[places] == entries
            values[known] = claims[places[known]]
        return values

    @property
    def kinks(self) -> int:
        """At how many of the judged entries `f` has a kink."""
        return int(self.table.kinks.sum())

    @property
    def _replaced(self) -> np.ndarray:
        """Whether the error of each judged entry is known, or its value one of many at a kink."""
        known: np.ndarray = (self.table.codes == _WRONG) | self.table.kinks
        return known

    @property
    def wrong(self) -> np.ndarray:
        """The entries judged wrong."""
        wrong: np.ndarray = self.judged[self.table.codes == _WRONG]
        return wrong

    def repair(self) -> None:
        """Put the numeric values of wrong entries, and at kinks, in place of the analytic ones."""
        flat, table = self.analytic.reshape(-1), self.table
        known = self._replaced & np.isfinite(table.numeric)
        flat[self.judged[known]] = table.numeric[known]

    def leave_out(self, entries: np.ndarray) -> None:
        """Let the gradient claim nothing of some entries, until `finish` puts them back."""
        flat = self.analytic.reshape(-1)
        self._left_out = entries, flat[entries]
        flat[entries] = 0.0

    def finish(self) -> None:
        """Put the analytic values back."""
        entries, values = self._left_out
        self.analytic.reshape(-1)[entries] = values
        self.analytic.reshape(-1)[self.judged] = self.table.analytic

    def with_repair_errors(self, residual: Residual) -> Residual:
        """A residual of the whole leaf, its bound widened by those of the repaired entries."""
        known = self._replaced
        if not known.any():
            return residual
        entries = self.judged[known]
        whole = tuple(slice(0, n) for n in self.leaf.real.shape)
        parts = UNIT * np.abs(self._direction(whole).at(0, entries).astype(np.float64))
        with np.errstate(over="ignore", invalid="ignore"):
            parts *= self._run.scale(self._number, entries)
            doubt = float(parts @ self.table.uncertainty[known])
        # Infinity times nothing is no number: nothing is known then.
        return replace(residual, bound=residual.bound + (doubt if doubt < math.inf else math.inf))
