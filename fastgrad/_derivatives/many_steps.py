"""Estimates derivatives from central differences at more and more steps, each entry at its own.

Steps start small, where `f` can do little unseen, and grow as long as noise is what limits the
estimate; they shrink where truncation does, or where nothing converges. An estimate at large steps
must agree with the values at small ones: what looks smooth on one scale only is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from fastgrad._derivatives.extrapolation import estimate
from fastgrad._derivatives.noise import POINTS, SIGMAS, most_noise_beside, noise_beside
from fastgrad._derivatives.step_table import RATIO, StepTable, vector_row
from fastgrad._derivatives.step_view import StepView
from fastgrad._derivatives.surroundings import Surroundings, eps_of_double
from fastgrad._evaluation.protocol import Evaluator, Single
from fastgrad._stencils import Steps

__all__ = ["Goal", "Outcome", "estimate_entries"]

# First step relative to the entry. At 1e-9 a float64 function shows its derivative to six digits,
# and one that turns around within 1e-9 of x is beyond what x itself can tell apart in practice.
_FIRST = 2.0**-30
# ... and at least this many spacings of the entry's type, whose values would hardly move else.
_FIRST_SPACINGS = 32.0
# Largest step, relative to the entry's length max(1, |x|): halfway to zero.
_FARTHEST = 0.5
# Least step in spacings of the entry: with one, x + h could round to x on one side.
_LEAST_SPACINGS = 2.0
# Smaller steps than the first one, at most, beside an entry of 0: a factor 7.3^14 = 1e12, which
# leads from 1e-9 to where nothing is left of the unit in which the entry was given.
_MOST_DOWN = 14
# Rows by which the largest step may be above the best one: at the next orders set in that help.
_AHEAD = 2
# Rows that are left out where noise hides all that two rows can show: a factor 7.3^3 = 389.
_LEFT_OUT = 3
# A kink is looked at with so many steps below the first ones: it may be a corner that is rounded.
_BELOW_KINKS = 4
# Values are rougher than was measured if they show more than this many times the noise: an estimate
# from seven of them is right to a factor 4.
_ROUGH = 4.0
# How far they are apart, relative to the entry, and at least in spacings of its type: about as far
# as those that were measured first, where a ripple as long as the first step is smooth.
_FINE, _FINE_SPACINGS = 1e-12, 4.0
# Noise of all entries together is that of others where values along one show less than this share
# of it: six random values do in less than 1 of 10^6 cases.
_OTHERS = 1 / 16
# What an entry shows by itself is taken this many times: its values show rounding to a factor 4.
_OWN = 4.0
# Noise is taken to be this many times what seven values show. Measured: with 1, one bound in 2,000
# at random points of the functions in bench/estimates.py is too small, by a tenth.
_MARGIN = 1.5
# Share of the rounding of the parameter that `f` repeats inside, as in `sin(20 * x)`: one rounding
# of a product is half a spacing at most, and 0.29 spacings on average. Measured: with a half, one
# bound in 660 of bench/estimates.py does not hold; with one, all do.
_ARGUMENT = 1.0


@dataclass(frozen=True)
class Goal:
    """How accurate derivatives have to be."""

    rtol: float
    atol: float

    def allowed(self, size: np.ndarray) -> np.ndarray:
        """How far derivatives of such sizes may be off."""
        return self.atol + self.rtol * size


@dataclass(frozen=True)
class Outcome:
    """Derivatives of outputs by entries: arrays of one shape."""

    value: np.ndarray
    bound: np.ndarray  # NaN: no values on either side; infinite: no limit was found
    forward: np.ndarray  # one-sided derivatives
    backward: np.ndarray
    kink: np.ndarray
    met: np.ndarray  # whether the goal was
    moves: np.ndarray  # whether any step moved the output

    @classmethod
    def blank(cls, shape: tuple[int, ...]) -> Outcome:
        """Nothing is known."""
        numbers = [np.full(shape, np.nan) for _ in range(4)]
        return cls(*numbers, *(np.zeros(shape, dtype=bool) for _ in range(3)))

    def put(self, where: np.ndarray, part: Outcome) -> None:
        """Replace some of them."""
        for each in fields(self):
            getattr(self, each.name).flat[where] = getattr(part, each.name)


def estimate_entries(
    run: Evaluator, leaf: int, entries: np.ndarray, around: Surroundings, goal: Goal
) -> Outcome:
    """Estimate the derivatives of all outputs by some entries: of shape (entries, outputs)."""
    outcome = Outcome.blank((len(entries), len(around.base)))
    # Where `f` has no value there is no derivative, whatever is beside it.
    open_ = np.flatnonzero(np.broadcast_to(np.isfinite(around.base), outcome.value.shape))
    if not len(open_):
        return outcome
    rows = _Rows(run, leaf, entries, around)
    both = np.repeat(np.arange(len(entries)), 2)
    rows.measure(both, np.arange(len(both)) % 2)
    _settle(rows, open_, outcome, goal)
    lost = np.flatnonzero(np.isinf(outcome.bound) & outcome.moves)
    if len(lost):
        # Seven values may all be lucky ones: of what has no limit the noise is looked at again.
        _settle(rows, rows.rougher(lost), outcome, goal)
    return outcome


def _settle(rows: _Rows, open_: np.ndarray, outcome: Outcome, goal: Goal) -> None:
    """Add steps as long as any of these pairs of an entry and an output wants one."""
    while len(open_):
        state = _State.of(rows, open_, goal)
        outcome.put(open_, state.outcome)
        wants = state.up | state.down
        rows.measure(*state.wanted())
        open_ = open_[wants]


class _Rows:
    """Difference quotients of all outputs by some entries, by the level of their step.

    The step of level `k` is ``RATIO**k`` times the first one of each entry.
    """

    def __init__(
        self, run: Evaluator, leaf: int, entries: np.ndarray, around: Surroundings
    ) -> None:
        self._run, self._leaf, self._entries, self._around = run, leaf, entries, around
        self.outputs, self.moves = len(around.base), around.moves
        x = np.abs(run.read(leaf, entries))
        x[~np.isfinite(x)] = 0.0
        eps = eps_of_double(run.leaves[leaf].real)
        share = max(_FIRST, _FIRST_SPACINGS * eps)
        self._first = share * np.where(x > 0, x, 1.0)
        self._fine = max(_FINE, _FINE_SPACINGS * eps) * np.where(x > 0, x, 1.0)
        # Rounding of the argument, relative to the derivative; entries that are 0 have none.
        self._argument = SIGMAS * _ARGUMENT * eps / 2 * x
        most, least = _FARTHEST * np.fmax(x, 1.0), _LEAST_SPACINGS * eps * x
        with np.errstate(divide="ignore"):
            self.highest = np.fmax(_levels(most / self._first), 1).astype(int)
            # The largest step below the size of the entry itself, which may be its scale.
            own = np.where(x > 0, _levels(_FARTHEST * x / self._first), np.inf)
            self.own = np.fmin(np.fmax(own, 1), self.highest).astype(int)
            self.lowest = np.fmax(-_levels(self._first / least), -_MOST_DOWN).astype(int)
        self._tables: dict[int, StepTable] = {}
        self._length = np.fmax(x, 1.0)
        self._noise = self._own_noise()
        # Noise of each pair of an entry and an output, where it was looked at again.
        self._rough = np.zeros(len(entries) * self.outputs)

    def slopes(self, pairs: np.ndarray) -> np.ndarray:
        """Derivatives by which `f` changes by itself over the length of an entry."""
        found: np.ndarray = (np.abs(self._around.base) / self._length[:, np.newaxis]).flat[pairs]
        return found

    def measure(self, positions: np.ndarray, levels: np.ndarray) -> None:
        """Evaluate `f` on both sides of the entries at these positions, at these levels."""
        if not len(positions):
            return
        steps = self._first[positions] * RATIO ** levels.astype(float)
        request = Single(self._leaf, self._entries[positions], Steps(given=steps))
        found = self._run.single(request)
        values = np.where(np.isinf(found.values), np.nan, found.values)
        around = self._around = self._around.with_values(values)
        spread = _MARGIN * self._noise[positions], _MARGIN * around.unit
        row = vector_row(found.moved, values, around.base, *spread)
        inside = self._argument[positions, np.newaxis] * row.size / steps[:, np.newaxis]
        row = row.with_noise(np.hypot(row.noise, inside))
        shape = (len(self._entries), self.outputs)
        for level in np.unique(levels).tolist():
            if level not in self._tables:
                self._tables[level] = StepTable(np.full((5, *shape), np.nan))
            here = levels == level
            self._tables[level].stacked[:, positions[here]] = row.stacked[:, here]

    def of(self, pairs: np.ndarray) -> tuple[StepTable, int]:
        """The table of some pairs of an entry and an output, and the level of its first row.

        Rows that were not measured are NaN, the steps too.
        """
        levels = range(max(self._tables), min(self._tables) - 1, -1)
        stacked = np.full((5, len(levels), len(pairs)), np.nan)
        for row, level in enumerate(levels):
            if level in self._tables:
                stacked[:, row] = self._tables[level].stacked.reshape(5, -1)[:, pairs]
        table = StepTable(stacked)
        with np.errstate(over="ignore"):
            rough = _MARGIN * SIGMAS * self._rough[pairs] / table.steps
        return table.with_noise(np.fmax(table.noise, rough)), levels[0]

    def rougher(self, pairs: np.ndarray) -> np.ndarray:
        """Those of these pairs that show more noise than was measured, at another spacing."""
        positions = np.unique(pairs // self.outputs)
        shown = self._noise_beside(positions, 1)
        lost = np.isnan(shown).all(axis=1)
        if lost.any():
            shown[lost] = self._noise_beside(positions[lost], -1)
        level = np.zeros((len(self._entries), self.outputs))
        level[positions] = np.where(shown > _ROUGH * self._noise[positions], shown, 0.0)
        self._rough[pairs] = level.flat[pairs]
        found: np.ndarray = pairs[self._rough[pairs] > 0]
        return found

    def _own_noise(self) -> np.ndarray:
        """Noise of each output as each entry moves: (entries, outputs).

        That of all entries together, unless it is more than rounding, and that of others: beside a
        pole, say, it is what one of them does.
        """
        around, count = self._around, len(self._entries)
        noise = np.tile(around.noise, (count, 1))
        if not around.coarse.any() or around.entries == 1 or not count:
            return noise
        values = self._beside(np.arange(count), 1)
        own = np.stack([most_noise_beside(values[..., k]) for k in range(self.outputs)], axis=1)
        least = np.fmax(_OWN * own, around.unit * np.abs(around.base))
        return np.where(own <= _OTHERS * noise, np.fmin(least, noise), noise)

    def _noise_beside(self, positions: np.ndarray, way: int) -> np.ndarray:
        """Noise in values at one side, without that at the entry: it may be the edge of a jump."""
        values = self._beside(positions, way)
        return np.stack([noise_beside(values[..., k]) for k in range(self.outputs)], axis=1)

    def _beside(self, positions: np.ndarray, way: int) -> np.ndarray:
        """Equally spaced values at one side of entries: (positions, points, outputs)."""
        offsets = tuple(way * k for k in range(1, POINTS + 1))
        steps = Steps(given=self._fine[positions])
        found = self._run.single(Single(self._leaf, self._entries[positions], steps, offsets))
        return found.values


def _levels(ratio: np.ndarray) -> np.ndarray:
    """How many whole levels there are between two steps."""
    found: np.ndarray = np.floor(np.log(ratio) / np.log(RATIO))
    return found


@dataclass(frozen=True)
class _State:
    """What is known of some pairs of an entry and an output, and what is to be measured next."""

    outcome: Outcome
    positions: np.ndarray  # of the entries
    up: np.ndarray  # whether a larger step is wanted
    down: np.ndarray  # ... a smaller one
    target: np.ndarray  # level of the larger one
    below: np.ndarray  # level of the smaller one
    top: np.ndarray  # level of the largest one so far

    def wanted(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and levels to be measured: all outputs of an entry share its steps."""
        positions, levels = [], []
        for wants, level in ((self.up, self.target), (self.down, self.below)):
            chosen, owner = np.unique(self.positions[wants], return_inverse=True)
            # The nearest level that any output asks for.
            nearest = np.full(len(chosen), np.iinfo(int).max)
            np.minimum.at(nearest, owner, level[wants])
            if wants is self.up:
                # Two neighbors, as one row estimates nothing: where some are left out.
                top = np.zeros(len(chosen), dtype=int)
                top[owner] = self.top[wants]
                apart = nearest > top + 1
                positions.append(chosen[apart])
                levels.append(nearest[apart] - 1)
            positions.append(chosen)
            levels.append(nearest)
        return np.concatenate(positions), np.concatenate(levels)

    @classmethod
    def of(cls, rows: _Rows, pairs: np.ndarray, goal: Goal) -> _State:
        """Estimate these pairs, and decide."""
        plain, first = rows.of(pairs)
        table = plain.with_quantization()
        found = estimate(table)
        view = StepView(table, found)
        positions = pairs // rows.outputs
        own = rows.own[positions]
        # A constant has no scale.
        moves = np.tile(rows.moves, len(rows.own))[pairs]
        beyond = np.where(moves, view.hidden_up_to(first - own), 0.0)
        bound = np.where(beyond > np.abs(found.value), np.fmax(found.bound, beyond), found.bound)
        highest, top, end = rows.highest[positions], first - view.top, first - view.end
        can_go_up, can_go_down = highest > top, rows.lowest[positions] < end
        flat, alone = ~table.moves & np.isfinite(found.value), view.alone & can_go_down
        # What stands still may move at larger steps, as a staircase does.
        still = flat & ~can_go_up & _no_change_matters(rows.slopes(pairs), found.bound, goal)
        met = still | (~flat & ~alone & view.settled & (bound <= goal.allowed(view.size)))
        telling = found.kink & (end > -_BELOW_KINKS)
        limited = ~found.converged | (view.at_end & view.mostly_truncation) | alone | telling
        unseen = (bound > found.bound) & (end > own)
        down = ~met & can_go_down & ((limited & ~view.drowned) | view.has_gap_to_fill | unseen)
        near = found.converged & (view.pick - view.top <= _AHEAD)
        up = ~met & ~down & can_go_up & (flat | view.nothing_on_top | near)
        far = top + _LEFT_OUT + 2
        target = np.where(view.nothing_on_top & (far <= highest), far, top + 1)
        target = np.where(flat, highest, target)
        outcome = Outcome(found.value, bound, *view.sides, found.kink, met, table.moves)
        return cls(outcome, positions, up, down, target, end - 1, top)


def _no_change_matters(slopes: np.ndarray, bound: np.ndarray, goal: Goal) -> np.ndarray:
    """Whether a change that matters would have been seen, of pairs at which nothing moves."""
    # Values that are all 0 have no rounding, and their least noise is ours.
    found: np.ndarray = (bound <= goal.allowed(slopes)) | (slopes == 0)
    return found
