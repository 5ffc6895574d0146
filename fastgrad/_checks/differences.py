"""Central differences of the entries of one leaf, as the judge asks for them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fastgrad import _backend
from fastgrad._checks.entry_table import CHUNK
from fastgrad._derivatives.step_table import quotients
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget, Samples, Single
from fastgrad._stencils import Steps

__all__ = ["Differences"]


@dataclass(frozen=True)
class Differences:
    """Entries of one leaf, known by their positions: all of them, or those listed."""

    run: Metered
    leaf: int
    entries: np.ndarray | None = None  # None: all, so that no array of their numbers is made
    # Whether what one difference shows to be wrong is looked at on other scales as well.
    doubted: bool = True

    def pieces(self, count: int) -> Iterator[tuple[int, int]]:
        """Cut positions so that an interrupt loses little, and that what is held stays small.

        Where the budget is not enough for all of them, it ends behind those that it is enough for.
        """
        enough = self.run.affordable(count, 2)  # evaluations each
        yield from self.run.pieces(enough, 2, CHUNK)
        if enough < count:
            raise OutOfBudget

    def first(self, start: int, stop: int, relative: float) -> Samples:
        """Values on both sides of the entries at some positions, at a step over their length."""
        steps = Steps(relative=relative)
        return _finite(self.run.single(Single(self.leaf, self._listed(slice(start, stop)), steps)))

    def at(self, positions: np.ndarray, steps: np.ndarray) -> Samples:
        """Values on both sides of the entries at some positions, each at its own step."""
        return self.around(positions, steps, (1, -1))

    def around(self, positions: np.ndarray, steps: np.ndarray, offsets: tuple[int, ...]) -> Samples:
        """Values at multiples of a step of each entry."""
        return _finite(
            self.run.single(
                Single(self.leaf, self._numbers(positions), Steps(given=steps), offsets)
            )
        )

    def slopes(self, positions: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Central quotients of the entries at some positions, each at its own step."""
        found = self.at(positions, steps)
        # Neither those to one side are asked for, nor the noise.
        slopes: np.ndarray = quotients(found, 0.0, 0.0, 0.0)[1]
        return slopes

    def lengths(self, positions: np.ndarray) -> np.ndarray:
        """The length by which each entry's steps are measured."""
        numbers, whole = self._numbers(positions), self._lengths
        return self.run.scale(self.leaf, numbers) if whole is None else whole[numbers]

    @cached_property
    def _lengths(self) -> np.ndarray | None:
        """Those of all entries of a small leaf, which are asked for again and again."""
        small = self.run.leaves[self.leaf].real.size <= CHUNK
        return self.run.scale(self.leaf) if small else None

    def parameters(self, positions: np.ndarray) -> np.ndarray:
        """The entries' own values."""
        return self.run.read(self.leaf, self._numbers(positions))

    def held(self, positions: np.ndarray) -> np.ndarray | None:
        """Which of the entries both bounds hold where they are; None: all of them may move."""
        held = self.run.held
        return None if held is None else held[self.leaf][self._numbers(positions)]

    def _numbers(self, positions: np.ndarray) -> np.ndarray:
        return positions if self.entries is None else self.entries[positions]

    def _listed(self, part: slice) -> np.ndarray:
        if self.entries is None:
            return np.arange(part.start, part.stop, dtype=np.intp)
        return self.entries[part]


def _finite(found: Samples) -> Samples:
    """The same with NaN for infinities: no value outside the domain of `f` says anything."""
    _backend.kernel.drop_infinities(found.values)
    return found
