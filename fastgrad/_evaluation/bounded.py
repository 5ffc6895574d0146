"""Keeps every evaluation within bounds, as an evaluator around another one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

import numpy as np

from fastgrad._evaluation.around import Around
from fastgrad._evaluation.bounds import Bounds, Within
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.inplace import group_points
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Evaluator,
    Grouped,
    Samples,
    Single,
)

__all__ = ["Bounded"]

Asked = TypeVar("Asked", Single, Grouped)


class Bounded(Around):
    """An evaluator that never calls `f` outside of the bounds.

    Single entries and groups that would leave them count as points outside of the domain: NaN.
    Along a direction each entry moves as far as it may. `gradient` is the caller's to keep inside.
    """

    def __init__(self, inner: Evaluator, bounds: Bounds) -> None:
        super().__init__(inner)
        self.bounds = bounds

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        if not self.bounds.binds(request.leaf) or not request.count:
            return self._inner.single(request)
        moved, inside = self._looked_at(request)

        def part(rows: np.ndarray, offsets: tuple[int, ...]) -> Single:
            entries, given = request.entries[rows], request.steps.given
            steps = request.steps if given is None else request.steps._replace(given=given[rows])
            return replace(request, entries=entries, steps=steps, offsets=offsets)

        return Samples(moved, self._values(request, inside, part))

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        if not self.bounds.binds(request.leaf) or not request.count:
            return self._inner.grouped(request)
        moved, each = self._looked_at(request)
        sizes = np.diff(request.starts)
        # A group is inside where all its entries are; an empty one does not move.
        owners = np.repeat(np.arange(request.count), sizes)
        inside = np.ones((request.count, len(request.offsets)), bool)
        np.logical_and.at(inside, owners, each)

        def part(rows: np.ndarray, offsets: tuple[int, ...]) -> Grouped:
            mine, given = np.isin(owners, rows), request.steps.given
            steps = request.steps if given is None else request.steps._replace(given=given[mine])
            starts = np.concatenate([[0], np.cumsum(sizes[rows])]).astype(request.starts.dtype)
            entries = request.entries[mine]
            return replace(request, entries=entries, starts=starts, steps=steps, offsets=offsets)

        return Samples(moved, self._values(request, inside, part))

    def _looked_at(self, request: Single | Grouped) -> tuple[np.ndarray, np.ndarray]:
        """Displacements of each entry, and whether these leave it inside: (k, p) both."""
        real = self.guard.view(request.leaf)
        low, high = self.bounds.of(request.leaf, request.entries, real.shape)
        places, moves = group_points(real.flat[request.entries], request, slice(None))
        with np.errstate(invalid="ignore"):
            # Negated, so that NaN is inside: `f` may not look at it.
            inside = [~((place < low) | (place > high)) for place in places]
        return np.stack(moves, axis=1), np.stack(inside, axis=1)

    def _values(
        self,
        request: Asked,
        inside: np.ndarray,
        part: Callable[[np.ndarray, tuple[int, ...]], Asked],
    ) -> np.ndarray:
        """Values of the positions that are inside, in one request for each set of their points."""
        if inside.all():
            return request.run(self._inner).values
        values = None
        sets, which = np.unique(inside, axis=0, return_inverse=True)
        for number, points in enumerate(sets):
            if not points.any():
                continue
            rows, columns = np.flatnonzero(which.reshape(-1) == number), np.flatnonzero(points)
            offsets = tuple(request.offsets[k] for k in columns)
            found = part(rows, offsets).run(self._inner).values
            if values is None:
                values = np.full(inside.shape + found.shape[2:], np.nan)
            values[np.ix_(rows, columns)] = found
        if values is None:
            width = () if self.outputs is None else (self.outputs.size,)
            return np.full(inside.shape + width, np.nan)
        return values

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`."""
        return self._inner.along(self._within(request), claims)

    def claimed(self, request: Along, claims: Sequence[np.ndarray]) -> Changes:
        """What is claimed of such moves: see `Evaluator`."""
        return self._inner.claimed(self._within(request), claims)

    def _within(self, request: Along) -> Along:
        within = Within.for_times(request.direction, self.bounds, request.times)
        return replace(request, direction=within)

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Bounded]:
        """The same at displaced parameters, within the bounds: see `Evaluator`."""
        # Both signs: each entry is moved as far as it may, and none the other way.
        within = Within(direction, self.bounds)
        with self._inner.displaced(within, time) as there:
            yield Bounded(there, self.bounds)
