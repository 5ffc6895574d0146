"""Second derivatives by pairs of entries, from values where both have moved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.settling import Look
from fastgrad._derivatives.sides import Sides, offsets_of, slope_weights
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Displaced, Samples, Single, Steps

__all__ = ["Pairs"]

# Values of pairs that are held at once, at most: 512 KiB of them.
_HELD = 2**16


@dataclass(frozen=True, eq=False)
class Pairs:
    """Mixed second differences of all pairs, with a look at each entry on the diagonal.

    Of two entries that move to both sides, ``(f(+i, +j) - f(+i) - f(+j) + f) + (f(-i, -j) - f(-i) -
    f(-j) + f)`` over the products of the moves: exact for quadratic functions, for its first and
    third orders cancel, and two evaluations for each pair (M. Abramowitz and I. A. Stegun, Handbook
    of Mathematical Functions, 25.3.27). Where one of them moves to one side only, the slope of a
    slope, each that of a parabola: four evaluations.
    """

    run: Metered
    at: Positions
    base: float
    look: Look
    sides: Sides | None

    def matrix(self) -> np.ndarray:
        """The matrix of second derivatives, symmetric to the bit."""
        found = np.empty((self.at.count, self.at.count))
        np.fill_diagonal(found, self.look.estimate)
        for rows in self._blocks():
            requests = [each for i in rows for each in self._requests(i)]
            answers = iter(self.run.beside(requests))
            for i in rows:
                for later, crossed in self._groups(i):
                    fill = self._crossed if crossed else self._plain
                    found[i, later] = found[later, i] = fill(i, later, answers)
        return found

    def _blocks(self) -> Iterator[range]:
        rows = max(1, _HELD // max((2 if self.sides is None else 4) * self.at.count, 1))
        for start in range(0, self.at.count, rows):
            yield range(start, min(start + rows, self.at.count))

    def _side(self, position: int) -> int:
        return 0 if self.sides is None else int(self.sides.sides[position])

    def _groups(self, i: int) -> Iterator[tuple[np.ndarray, bool]]:
        """Later entries that move to the same side, and whether both differences are crossed."""
        later = np.arange(i + 1, self.at.count)
        if self.sides is None:
            if later.size:
                yield later, False
            return
        for side, mine in self.sides.groups(later):
            yield later[mine], bool(side or self._side(i))

    def _requests(self, i: int) -> Iterator[Displaced]:
        """The requests that move one entry to two points, with each of the later ones."""
        direction = self.at.move(i, self.look.steps[i])
        for later, crossed in self._groups(i):
            for time in offsets_of(self._side(i), 2):
                offsets = offsets_of(self._side(int(later[0])), 2) if crossed else (time,)
                for leaf, entries, mine in self.at.pieces(later):
                    steps = Steps(given=self.look.steps[later[mine]])
                    yield Displaced(direction, float(time), Single(leaf, entries, steps, offsets))

    def _answered(self, later: np.ndarray, answers: Iterator[Samples]) -> np.ndarray:
        """The values of the next requests, which are those of one point of an entry."""
        pieces = sum(1 for _ in self.at.pieces(later))
        return np.concatenate([next(answers).values for _ in range(pieces)])

    def _plain(self, i: int, later: np.ndarray, answers: Iterator[Samples]) -> np.ndarray:
        rise, area = np.zeros(len(later)), np.zeros(len(later))
        moved, values = self.look.moved, self.look.values
        with np.errstate(all="ignore"):
            for side in (0, 1):
                both = self._answered(later, answers)[:, 0]
                rise += (both - values[i, side]) - (values[later, side] - self.base)
                area += moved[i, side] * moved[later, side]
            return np.asarray(rise / area)

    def _crossed(self, i: int, later: np.ndarray, answers: Iterator[Samples]) -> np.ndarray:
        own, others = (
            slope_weights(self.look.moved[i : i + 1])[0],
            slope_weights(self.look.moved[later]),
        )
        values, total = self.look.values, np.zeros(len(later))
        with np.errstate(all="ignore"):
            for point in (0, 1):
                both = self._answered(later, answers)
                rise = (both - values[i, point]) - (values[later] - self.base)
                total += own[point] * (others * rise).sum(axis=1)
        return total
