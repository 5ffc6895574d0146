"""Central differences of the entries of one leaf, as the judge asks for them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgrad._evaluation.protocol import Evaluator, Samples, Single
from fastgrad._stencils import Steps

__all__ = ["Differences"]


@dataclass(frozen=True)
class Differences:
    """Entries of one leaf, known by their positions: all of them, or those listed."""

    run: Evaluator
    leaf: int
    entries: np.ndarray | None = None

    def first(self, start: int, stop: int, relative: float) -> Samples:
        """Values on both sides of the entries at some positions, at a step over their length."""
        steps = Steps(relative=relative)
        return self.run.single(Single(self.leaf, self._listed(slice(start, stop)), steps))

    def at(self, positions: np.ndarray, steps: np.ndarray) -> Samples:
        """The same at steps of their own."""
        entries = positions if self.entries is None else self.entries[positions]
        return self.run.single(Single(self.leaf, entries, Steps(given=steps)))

    def lengths(self, positions: np.ndarray) -> np.ndarray:
        """The length by which each entry's steps are measured."""
        return self.run.scale(
            self.leaf, positions if self.entries is None else self.entries[positions]
        )

    def _listed(self, part: slice) -> np.ndarray:
        if self.entries is None:
            return np.arange(part.start, part.stop, dtype=np.intp)
        return self.entries[part]
