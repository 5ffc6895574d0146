"""Reads the derivative of `f` along random directions within one leaf, against the gradient.

Along a direction `v` the derivative of `f` must be the inner product of `v` with the gradient.
What is left of their difference is the residual: the sum of the errors of all entries, each times
its part in the direction.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from fastgrad._checks import judge
from fastgrad._checks.judge import Columns, Terms
from fastgrad._derivatives import noise
from fastgrad._derivatives.extrapolation import RATIO, Ladder, estimate
from fastgrad._evaluation.blocks import UNIT, Box, Shift, lengths, pieces, size_of, thinned
from fastgrad._evaluation.sampling import Sampler
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Verdict

__all__ = ["Prober", "Reading"]

# Magnitudes of the entries of a direction lie between these: none is too small to be seen, and no
# two errors, equal ones least of all, cancel but by chance.
_SMALLEST, _LARGEST = round(0.5 / UNIT), round(1.5 / UNIT)
_BITS = _LARGEST - _SMALLEST - 1  # of a random number, for the magnitude
# A direction is calibrated to show an error of this share of a typical entry, if noise allows, by
# moves of up to this length, where that of a single entry's is one.
_VISIBLE, _FARTHEST = 0.05, 2.0
_GROWTH = 4.0
_SIGMAS = 4.0
# Truncation granted at first: in units of the squared relative step.
_TRUNCATION = 300.0
# Granted to the analytic gradient: relative errors that are no bugs, and its own rounding.
_MATERIAL, _ROUNDING = 1e-7, 64.0
# Two residuals are taken for the same if they differ by less than this share.
_SAME = 0.02
_STEADY, _CLOSING = 0.2, 0.7
_MOST_ROWS = 8
# Spacing of the table that tells a leaf's own noise, in parts of a single entry's step; more than
# this many times the noise that was known counts.
_FINER, _NOISIER = 64.0, 2.0


@dataclass(frozen=True)
class Reading:
    """Residual of a block along the direction, and the bound on its error."""

    value: float
    bound: float
    kink: bool = False

    @property
    def significant(self) -> bool:
        """Whether something in the block must be wrong."""
        return abs(self.value) > 2 * self.bound

    def minus(self, other: Reading) -> Reading:
        """Residual of the rest of the block, without looking at it."""
        return Reading(self.value - other.value, self.bound + other.bound)


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


class Prober:
    """Probes one leaf: holds a direction, and the entries judged so far."""

    def __init__(self, sampler: Sampler, leaf: Leaf, analytic: np.ndarray, terms: Terms) -> None:
        self.leaf = leaf
        self.analytic = analytic.reshape(leaf.real.shape)
        self.columns = _columns(np.zeros(0))
        self.judged = np.zeros(0, dtype=np.intp)
        self.moves = False  # whether f was seen to move with the leaf, at the smallest step
        self.last: _Row | None = None
        self._sampler = sampler
        self._terms = terms
        self._step = terms.relative
        # Smaller moves would be lost in the rounding of the parameters.
        self._least = 64 * terms.spacing
        self._truncation = 0.0
        self._own_noise: float | None = None  # on top, where the whole leaf moves
        self._direction = np.zeros(0, dtype=np.int16)
        self._left_out = np.zeros(0, dtype=np.intp), np.zeros(0)

    def draw(self, random: np.random.Generator, without: tuple[Box, ...]) -> None:
        """Draw a new direction, in units of the entries' lengths; leave some blocks alone."""
        if not self._direction.size:
            self._direction = np.empty(self.leaf.real.shape, dtype=np.int16)
        flat = self._direction.reshape(-1)
        for (piece,) in pieces(flat.shape):
            part = flat[piece]
            words = random.bit_generator.random_raw(-(-part.size // 4))
            drawn = words.view(np.int16)[: part.size]
            np.bitwise_and(drawn, _BITS, out=part)
            part += _SMALLEST
            drawn >>= 15  # the sign bit: 0, or -1 to negate by
            part ^= drawn
            part -= drawn
        for box in without:
            self._direction[box] = 0

    def calibrate(self, box: Box) -> Reading:
        """Read a block at a step at which errors in typical entries would show.

        Along a random direction in many dimensions `f` is smoother than along single entries, and
        noise weighs more: it is divided by the length of the move, which all entries share.
        """
        root = math.sqrt(size_of(box))
        lower = self._row(box, max(self._step / root, self._least))
        visible = _VISIBLE * lower.norm / root
        best, row = lower.noise + _TRUNCATION * self._step**2 * lower.norm, lower
        while 2 * best > visible and _GROWTH * lower.time * root <= _FARTHEST:
            upper = self._row(box, _GROWTH * lower.time)
            change = abs(upper.central - lower.central)
            for bound, each in ((change / 4 + lower.noise, lower), (change + upper.noise, upper)):
                if bound < best:
                    best, row = bound, each
            if not change <= 2 * (upper.noise + lower.noise):
                break
            lower = upper
        self._step = row.time * root
        self._truncation = max(best - row.noise, 0.0) / (self._step**2 * root)
        return self._judged(box, row)

    def read(self, box: Box, whole: float = 0.0) -> Reading:
        """Residual of a block: at one step, if it is nothing, or all of `whole`.

        `whole` is the residual of a block around this one, all of which may lie in here. Anything
        else is measured by a ladder of steps.
        """
        root = math.sqrt(size_of(box))
        time = max(self._step / root, self._least)
        if whole:  # as small a step as still shows it
            telling = 20 * _SIGMAS * self._noise(box) / abs(whole)
            time = min(time, max(self._terms.relative / root, telling, self._least))
        return self._judged(box, self._row(box, time), whole)

    def _judged(self, box: Box, row: _Row, whole: float = 0.0) -> Reading:
        root = math.sqrt(size_of(box))
        self.last = row
        allowed = row.noise + self._truncation * (row.time * root) ** 2 * root
        near = min(abs(row.central), abs(row.central - whole) - _SAME * abs(whole))
        if near <= allowed + row.slack:
            return Reading(row.central, allowed + row.slack)
        return self._careful(box, row)

    def _careful(self, box: Box, first: _Row) -> Reading:
        """A residual is real if it does not shrink with the step."""
        rows = [self._row(box, first.time / 2)]
        value, change = rows[0].central, abs(rows[0].central - first.central)
        # At a kink the quotients on both sides keep their distance, and it may hide the residual.
        smooth = rows[0].gap <= max(abs(value), _CLOSING * first.gap)
        # Steps that are far too large leave nothing but the claim of the residual.
        means = max(_STEADY * abs(rows[0].numeric), 2 * (rows[0].noise + first.noise))
        if change <= min(_STEADY * abs(value), means) and smooth:
            return Reading(value, change / 2 + rows[0].noise + rows[0].slack)
        some = thinned(self.leaf).size < self.leaf.real.size
        if some and self._own_noise is None and self._hear(box) > 0.0:
            return self.calibrate(box)
        root = math.sqrt(size_of(box))
        while len(rows) < _MOST_ROWS and rows[-1].time / RATIO > self._least / 4:
            rows.append(self._row(box, rows[-1].time / RATIO))
            change = abs(rows[-1].central - rows[-2].central)
            steady = change <= max(2 * rows[-1].noise, 1e-2 * abs(rows[-1].central))
            if steady and rows[-1].gap < max(abs(rows[-1].central), 4 * rows[-1].noise):
                break
        return self._limit(rows, root)

    def _hear(self, box: Box) -> float:
        """Measure the noise that moving a block brings, beyond what is known.

        A sum over many entries is rounded anew for each that moves; of a large leaf the survey
        moves but a few.
        """
        time = max(self._terms.relative / math.sqrt(size_of(box)) / _FINER, self._least)
        # Both sides for themselves: a kink at the parameters is no noise.
        ahead, behind = [self._terms.base], [self._terms.base]
        for k in range(1, noise.POINTS):
            found = self._shift(box, k * time)
            ahead.append(found.above - found.claimed_above)
            behind.append(found.below - found.claimed_below)
        finite = [side for side in (ahead, behind) if all(map(math.isfinite, side))]
        heard = max(map(noise.noise_of, finite), default=0.0)
        self._own_noise = 0.0
        if heard > _NOISIER * self._terms.noise:
            self._own_noise = heard * math.sqrt(self.leaf.real.size / size_of(box))
            self._step = self._terms.relative
        return self._own_noise

    def _noise(self, box: Box) -> float:
        share = size_of(box) / self.leaf.real.size
        return math.hypot(self._terms.noise, (self._own_noise or 0.0) * math.sqrt(share))

    def _shift(self, box: Box, time: float) -> Shift:
        direction, claim = self._direction[box], self.analytic[box]
        return self._sampler.block(self.leaf, box, direction, time, claim)

    def _limit(self, rows: list[_Row], root: float) -> Reading:
        """The residual for small steps; the step that shows it is for the next blocks too."""
        names = ("time", "central", "ahead", "behind", "noise")
        ladder = Ladder(*(np.array([[getattr(row, n)] for row in rows]) for n in names))
        if len(rows) < 2:
            return Reading(rows[0].central, math.inf)
        found = estimate(ladder)
        if not found.converged[0]:
            return Reading(float(found.value[0]), math.inf)
        self._step = min(self._step, RATIO * float(found.step[0]) * root)
        low, high = float(found.lower[0]), float(found.upper[0])
        if not math.isfinite(low + high + float(found.bound[0]) + rows[-1].slack):
            return Reading(math.nan, math.inf)
        # At a kink any value between the one-sided derivatives is right, and none can be seen.
        value = low if low > 0 else high if high < 0 else (low + high) / 2 if low == high else 0.0
        bound = float(found.bound[0]) + (high - low) / 2 + rows[-1].slack
        return Reading(value, bound, bool(found.kink[0]))

    def _row(self, box: Box, time: float) -> _Row:
        terms, base = self._terms, self._terms.base
        found = self._shift(box, time)
        above, below = found.above, found.below
        small = time * math.sqrt(size_of(box)) <= 1.01 * terms.relative or time <= self._least
        self.moves = self.moves or (small and not above == below == base)
        level = max(self._noise(box), terms.unit * max(abs(above), abs(below)))
        claimed = (found.claimed_above - found.claimed_below) / (2 * time)
        numeric = (above - below) / (2 * time)
        norm, second = found.norm / time, (above - 2 * base + below) / time
        return _Row(
            time,
            claimed - numeric,
            (found.claimed_above - (above - base)) / time,
            ((below - base) - found.claimed_below) / time,
            _SIGMAS * level / time,
            norm,
            numeric,
            (_MATERIAL + _ROUNDING * terms.eps) * norm,
            abs(second) / time if 8 * _SIGMAS * level < abs(second) * time < math.inf else 0.0,
        )

    def judge(self, entries: np.ndarray) -> np.ndarray:
        """Judge entries one by one; return whether each is wrong."""
        fresh = np.setdiff1d(entries, self.judged)
        if len(fresh):
            columns = self._measured(fresh)
            names = [each.name for each in fields(Columns)]
            pairs = ((getattr(self.columns, n), getattr(columns, n)) for n in names)
            self.columns = Columns(*map(np.concatenate, pairs))
            self.judged = np.concatenate([self.judged, fresh])
        order = np.argsort(self.judged)
        rows = order[np.searchsorted(self.judged, entries, sorter=order)]
        wrong: np.ndarray = self.columns.codes[rows] == Verdict.WRONG.code
        return wrong

    def _measured(self, entries: np.ndarray) -> Columns:
        columns = _columns(self._claimed(entries))
        length = lengths(self.leaf, entries)

        def measure(which: np.ndarray, steps: np.ndarray) -> np.ndarray:
            return self._sampler.beside(self.leaf, entries[which], steps)

        judge.first_pass(columns, measure, length, self._terms, ((0, len(entries)),))
        judge.judge(columns, measure, length, self._terms)
        return columns

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
        return int(self.columns.kinks.sum())

    @property
    def _replaced(self) -> np.ndarray:
        """Entries whose error is known, and those whose value is one of many at a kink."""
        known: np.ndarray = (self.columns.codes == Verdict.WRONG.code) | self.columns.kinks
        return known

    @property
    def wrong(self) -> np.ndarray:
        """The entries judged wrong."""
        wrong: np.ndarray = self.judged[self.columns.codes == Verdict.WRONG.code]
        return wrong

    def repair(self) -> None:
        """Put the numeric values of wrong entries, and at kinks, in place of the analytic ones."""
        flat, columns = self.analytic.reshape(-1), self.columns
        known = self._replaced & np.isfinite(columns.numeric)
        flat[self.judged[known]] = columns.numeric[known]

    def leave_out(self, entries: np.ndarray) -> None:
        """Let the gradient claim nothing of some entries, until `finish` puts them back."""
        flat = self.analytic.reshape(-1)
        self._left_out = entries, flat[entries]
        flat[entries] = 0.0

    def finish(self) -> None:
        """Put the analytic values back, and give up the direction."""
        self._direction = np.zeros(0, dtype=np.int16)
        entries, values = self._left_out
        self.analytic.reshape(-1)[entries] = values
        self.analytic.reshape(-1)[self.judged] = self.columns.analytic

    def doubted(self, reading: Reading) -> Reading:
        """A reading of the whole leaf, less certain by the errors of the repaired entries."""
        known = self._replaced
        if not known.any():
            return reading
        drawn = self._direction.reshape(-1)[self.judged[known]].astype(np.float64)
        parts = UNIT * np.abs(drawn)
        parts *= lengths(self.leaf, self.judged[known])
        doubt = float(parts @ self.columns.uncertainty[known])
        return replace(reading, bound=reading.bound + doubt)


def _columns(analytic: np.ndarray) -> Columns:
    n = len(analytic)
    return Columns(
        analytic=analytic,
        numeric=np.full(n, np.nan),
        uncertainty=np.full(n, np.inf),
        gaps=np.zeros(n),
        codes=np.full(n, Verdict.CANNOT_TELL.code, dtype=np.int8),
        kinks=np.zeros(n, dtype=bool),
    )
