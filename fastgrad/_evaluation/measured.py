"""Evaluations that were made before, for whoever asks for them again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastgrad._evaluation.around import Around
from fastgrad._evaluation.protocol import Along, Changes, Evaluator, Samples, Single

__all__ = ["Measured", "Remembering"]


@dataclass
class Measured:
    """Values of `f`, in the order of the requests that a check begins with."""

    bases: list[float] = field(default_factory=list)  # at the parameters
    tables: list[list[float]] = field(default_factory=list)  # along directions
    # Displacements and values, as of `Samples`, of all entries of the first leaves.
    samples: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    raised: str = ""  # what `f` raised first, in words
    counted: int = 0  # evaluations that nobody will ask for again

    def past_start(self) -> Measured:
        """The same for whoever knows what the values before those of entries say."""
        start, rest = self.bases[:2], self.bases[2:]
        counted = len(start) + sum(map(len, self.tables))
        return Measured(rest, [], self.samples, self.raised, counted)


class Remembering(Around):
    """Answers the first requests with what was measured: no evaluation is made twice."""

    def __init__(self, inner: Evaluator, measured: Measured) -> None:
        super().__init__(inner)
        self._bases, self._tables = iter(measured.bases), iter(measured.tables)
        self._samples, self._raised = measured.samples, measured.raised
        self._served = measured.counted
        self._done = 0  # entries of the leaf that were asked for
        self._next = 0  # the leaf

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated, with what was measured and asked for."""
        return self._served + self._inner.evaluations

    @property
    def raised(self) -> str:
        """What a lenient `f` raised first, in words."""
        return self._raised or self._inner.raised

    def base(self) -> Any:
        """Value at the unperturbed parameters."""
        known = next(self._bases, None)
        if known is None:
            return self._inner.base()
        self._served += 1
        return known

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once."""
        known = next(self._tables, None)
        if known is None:
            return self._inner.along(request, claims)
        self._served += len(known)
        return Changes(tuple(known), (0.0,) * len(known))

    def single(self, request: Single) -> Samples:
        """Move each entry alone."""
        if request.leaf != self._next or self._next >= len(self._samples):
            return self._inner.single(request)
        moved, values = self._samples[self._next]
        mine = slice(self._done, self._done + request.count)
        self._served += request.evaluations
        self._done = mine.stop
        if self._done == len(moved):
            self._next, self._done = self._next + 1, 0
        return Samples(moved[mine], values[mine])
