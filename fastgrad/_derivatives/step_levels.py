"""Difference quotients of all outputs by some entries, each entry at steps of many sizes.

Steps are told by their level, the first one being 0: each is `RATIO` times that of the level below.
"""

from __future__ import annotations

import numpy as np

from fastgrad._derivatives.noise import POINTS, SIGMAS, most_noise_beside, noise_beside
from fastgrad._derivatives.step_table import RATIO, StepTable, vector_row
from fastgrad._derivatives.surroundings import Surroundings, eps_of_double
from fastgrad._evaluation.protocol import Evaluator, Single
from fastgrad._stencils import Steps

__all__ = ["Rows"]

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


class Rows:
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
        self._beyond: dict[int, StepTable] = {}  # at steps that are only looked at
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
        if len(positions):
            self._keep(self._tables, positions, levels)

    def _keep(
        self, tables: dict[int, StepTable], positions: np.ndarray, levels: np.ndarray
    ) -> None:
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
            if level not in tables:
                tables[level] = StepTable(np.full((5, *shape), np.nan))
            here = levels == level
            tables[level].stacked[:, positions[here]] = row.stacked[:, here]

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

    def look(self, pairs: np.ndarray, levels: np.ndarray) -> StepTable:
        """The row of each pair at its level; one that was not measured stays out of the table."""
        found = self._seen(pairs, levels)
        lost = np.isnan(found.steps)
        if lost.any():
            wanted = np.stack([pairs[lost] // self.outputs, levels[lost]], axis=1)
            self._keep(self._beyond, *np.unique(wanted, axis=0).T)
            found = self._seen(pairs, levels)
        return found

    def top(self, pairs: np.ndarray, levels: np.ndarray) -> np.ndarray:
        """The highest levels that were measured, above others, without a gap."""
        top: np.ndarray = levels.copy()
        for level in sorted(self._tables):
            known = ~np.isnan(self._tables[level].steps.reshape(-1)[pairs])
            top[known & (top == level - 1)] = level
        return top

    def _seen(self, pairs: np.ndarray, levels: np.ndarray) -> StepTable:
        found = np.full((5, len(pairs)), np.nan)
        for tables in (self._beyond, self._tables):
            for level in tables.keys() & set(levels.tolist()):
                here = np.flatnonzero(levels == level)
                row = tables[level].stacked.reshape(5, -1)[:, pairs[here]]
                known = ~np.isnan(row[0])
                found[:, here[known]] = row[:, known]
        return StepTable(found)

    def changes(
        self, positions: np.ndarray, distances: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """How far entries moved that were to move so far, and changes: (positions, outputs)."""
        request = Single(self._leaf, self._entries[positions], Steps(given=distances), (1,))
        found = self._run.single(request)
        return found.moved[:, 0], found.values[:, 0] - self._around.base

    def roughen(self, pairs: np.ndarray, noise: np.ndarray) -> None:
        """Take it that there is at least so much noise."""
        self._rough[pairs] = np.fmax(self._rough[pairs], noise)

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
