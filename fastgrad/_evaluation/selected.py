"""Some entries of the parameters as if they were all: an evaluator around another one.

A leaf of which some entries are meant looks like a one-dimensional array of these, ``W[where]`` in
NumPy's words. Whoever asks needs to know nothing else; the others stay where they are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction, Mover, Region
from fastgrad._evaluation.masks import masks_of
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Displaced,
    Evaluator,
    Gradient,
    Grouped,
    Samples,
    Single,
    Target,
    Where,
)
from fastgrad._leaf import Box, Leaf
from fastgrad._tree import Params

__all__ = ["Selected", "Selection", "selection_of"]


@dataclass(frozen=True, eq=False)
class Selection:
    """The entries that are meant, leaf by leaf, as leaves of their own."""

    leaves: tuple[Leaf, ...]
    # Numbers of their real numbers in the leaf, in the shape of the new one; None: all of them.
    numbers: tuple[np.ndarray | None, ...]
    # The smallest part of each leaf that holds them, and where they stand in it, in that shape.
    regions: tuple[Region, ...]
    places: tuple[np.ndarray | None, ...]

    def scattered(self, direction: Direction) -> Direction:
        """A direction of the new leaves as one of the leaves themselves."""
        if all(self.numbers[region.leaf] is None for region in direction.regions):
            return direction
        return _Scattered.of(direction, self)

    def of(self, leaf: int, where: Where) -> Where:
        """Entries of a new leaf as entries of the leaf itself."""
        numbers = self.numbers[leaf]
        if numbers is None:
            return where
        # As in `inplace.part_of`: by their numbers, in a box, or all of them.
        picked = numbers.flat[where] if isinstance(where, np.ndarray) else numbers[where]
        return np.ascontiguousarray(picked.reshape(-1))

    def meant(self, leaves: Sequence[Leaf]) -> np.ndarray:
        """Numbers of these among the real numbers of all the leaves that it was made of."""
        parts, start = [np.empty(0, np.intp)], 0
        for k, leaf in enumerate(leaves):
            mine = self.chosen(k)
            parts.append(start + (np.arange(leaf.real.size) if mine is None else mine))
            start += leaf.real.size
        return np.concatenate(parts)

    def chosen(self, leaf: int) -> np.ndarray | None:
        """Numbers of the real numbers that are meant, in C order; None: all of them."""
        numbers = self.numbers[leaf]
        return None if numbers is None else numbers.reshape(-1)


def selection_of(where: Any, argument: Params, leaves: Sequence[Leaf]) -> Selection | None:
    """What the user passed as `where`, checked; None where all entries are meant."""
    if where is None:
        return None
    masks = masks_of(where, argument, leaves)
    if all(mask.all() for mask in masks):
        return None
    parts = [_part(k, *each) for k, each in enumerate(zip(leaves, masks, strict=True))]
    made, numbers, regions, places = zip(*parts, strict=True)
    return Selection(made, numbers, regions, places)


def _part(
    number: int, leaf: Leaf, mask: np.ndarray
) -> tuple[Leaf, np.ndarray | None, Region, np.ndarray | None]:
    """What a selection holds of one leaf."""
    shape = leaf.real.shape
    if mask.all():
        return leaf, None, Region(number, tuple(slice(0, n) for n in shape), shape), None
    numbers = np.arange(leaf.real.size, dtype=np.intp).reshape(shape)[mask]
    box, places = _around(numbers.reshape(-1), shape)
    return leaf.part(mask), numbers, Region(number, box, shape), places.reshape(numbers.shape)


@dataclass(frozen=True, eq=False)
class _Scattered:
    """A direction of some entries, in the boxes of their leaves that hold them."""

    inner: Direction
    regions: tuple[Region, ...]
    # Where the entries of each region stand in its box; None where the region is a box itself.
    places: tuple[np.ndarray | None, ...]

    @staticmethod
    def of(inner: Direction, selection: Selection) -> _Scattered:
        """The direction in the memory of the leaves themselves."""
        regions, places = [], []
        for region in inner.regions:
            inside = selection.places[region.leaf]
            regions.append(region if inside is None else selection.regions[region.leaf])
            index: Any = (*region.box, ...)  # as in `guard`
            places.append(None if inside is None else inside[index])
        return _Scattered(inner, tuple(regions), tuple(places))

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        places = self.places[which]
        if places is None:
            return self.inner.mover(which, before, kernel)
        mine = np.take(before.reshape(-1), places)  # in the shape of the region that was asked for
        move, there = self.inner.mover(which, mine, kernel), np.empty_like(mine)

        def scatter(
            target: np.ndarray, time: float, claim: np.ndarray | None
        ) -> tuple[float, float]:
            made = move(there, time, None if claim is None else np.take(claim, places))
            target[...] = before  # it may be memory that holds nothing yet
            # A flat view is slow, and the only one of memory that is not in a row.
            flat: Any = target.reshape(-1) if target.flags.c_contiguous else target.flat
            flat[places.reshape(-1)] = there.reshape(-1)
            return made

        return scatter


def _around(numbers: np.ndarray, shape: tuple[int, ...]) -> tuple[Box, np.ndarray]:
    """The smallest box of an array that holds some entries, and where they stand in it."""
    if not len(numbers):
        return tuple(slice(0, 0) for _ in shape), numbers
    index = np.unravel_index(numbers, shape) if shape else ()
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in index)
    inside = tuple(i - side.start for i, side in zip(index, box, strict=True))
    sides = tuple(side.stop - side.start for side in box)
    return box, np.ravel_multi_index(inside, sides) if sides else numbers


class Selected(Around):
    """An evaluator of some entries: see the module."""

    def __init__(self, inner: Evaluator, selection: Selection) -> None:
        super().__init__(inner)
        self.leaves = selection.leaves
        self._selection = selection

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured: see `Evaluator`."""
        return self._inner.scale(leaf, self._selection.of(leaf, where))

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameters themselves: see `Evaluator`."""
        return self._inner.read(leaf, self._selection.of(leaf, where))

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        return self._inner.single(self._single(request))

    def _single(self, request: Single) -> Single:
        return replace(request, entries=self._selection.of(request.leaf, request.entries))

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        entries = self._selection.of(request.leaf, request.entries)
        return self._inner.grouped(replace(request, entries=entries))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`."""
        asked = self._along(request)
        spread = None if claims is None else _spread_over(asked.direction, claims)
        return self._inner.along(asked, spread)

    def claimed(self, request: Along, claims: Sequence[np.ndarray]) -> Changes:
        """What is claimed of such moves: see `Evaluator`."""
        asked = self._along(request)
        return self._inner.claimed(asked, _spread_over(asked.direction, claims))

    def _along(self, request: Along) -> Along:
        return replace(request, direction=self._selection.scattered(request.direction))

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine, stretch by stretch of the leaf itself: see `Evaluator`."""
        parts, places = [], []
        for request, target in zip(requests, targets, strict=True):
            asked = np.arange(request.start, request.stop)
            numbers = self._selection.of(request.leaf, asked)
            ends = [*(np.flatnonzero(np.diff(numbers) != 1) + 1).tolist(), len(numbers)]
            for low, high in zip([0, *ends], ends, strict=False):
                if low < high:
                    first = int(numbers[low])
                    steps = request.steps.part(low, high)
                    part = replace(request, start=first, stop=first + high - low, steps=steps)
                    parts.append(part)
                    position = request.start + low - target.first  # in the array
                    places.append(Target(target.array, first - position))
        self._inner.gradient(parts, places)

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Selected]:
        """The same at displaced parameters: see `Evaluator`."""
        with self._inner.displaced(self._selection.scattered(direction), time) as there:
            yield Selected(there, self._selection)

    def beside(self, requests: Sequence[Displaced]) -> list[Samples]:
        """Answer many requests, each at displaced parameters: see `Evaluator`."""
        scattered = self._selection.scattered
        return self._inner.beside(
            [
                Displaced(scattered(each.direction), each.time, self._single(each.request))
                for each in requests
            ]
        )


def _spread(claim: np.ndarray, box: Box, places: np.ndarray) -> np.ndarray:
    """A claim of some entries as one of a whole box, of the others of which it says nothing."""
    spread = np.zeros([side.stop - side.start for side in box])
    spread.reshape(-1)[places] = claim.reshape(places.shape)
    return spread


def _spread_over(direction: Direction, claims: Sequence[np.ndarray]) -> Sequence[np.ndarray]:
    """Claims of the entries of a direction as those of the boxes that they are scattered in."""
    if not isinstance(direction, _Scattered):
        return claims
    return [
        claim if places is None else _spread(claim, region.box, places)
        for claim, region, places in zip(claims, direction.regions, direction.places, strict=True)
    ]
