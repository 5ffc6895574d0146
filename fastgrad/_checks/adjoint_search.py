"""Where an adjoint is wrong: in which boxes of the arrays on both sides.

What is wrong shows in the inner products of random vectors that are zero outside of a box. Boxes
are found by bisection: first on the side of `forward`'s argument, where each question is one value
of `forward`, then, for each box found, on the other side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from fastgrad._checks.inner_products import Pair, Product, Rounding
from fastgrad._checks.moves import size_of
from fastgrad._checks.space import Space
from fastgrad._leaf import Box
from fastgrad._report.entries import Verdict

__all__ = ["Function", "Maps", "Region", "locate", "matrices", "wrong_cell"]

Function: TypeAlias = Callable[[np.ndarray], np.ndarray]

# Boxes are halved so often at most, so that eight are named in an array: nobody reads a longer
# list, and each costs two evaluations for each halving of each of its sides.
_HALVINGS = 3
# A box is named, and not the smaller ones in it, where these fill more of it than this: the gaps
# between them are those of a sparse matrix then.
_FILLED = 0.5


@dataclass(frozen=True)
class Maps:
    """Both functions on vectors of real numbers, and how exact they are."""

    forward: Function
    adjoint: Function
    x: Space
    y: Space
    rounding: Rounding

    def at(self, pair: Pair) -> Region:
        """Random vectors in the boxes of a pair, with their values."""
        xs = [pair.x.only(each, pair.x_box) for each in self.rounding.forward.inputs]
        ys = [pair.y.only(each, pair.y_box) for each in self.rounding.adjoint.inputs]
        return Region(
            pair, self.rounding, xs, [*map(self.forward, xs)], ys, [*map(self.adjoint, ys)]
        )


@dataclass(frozen=True)
class Region:
    """Boxes on both sides, two random vectors in each, and the values of both functions there."""

    pair: Pair
    rounding: Rounding
    xs: Sequence[np.ndarray]
    forwards: Sequence[np.ndarray]  # of `xs`
    ys: Sequence[np.ndarray]
    adjoints: Sequence[np.ndarray]  # of `ys`

    @cached_property
    def products(self) -> list[Product]:
        """Both inner products of each of the vectors with each."""
        return [
            self.rounding.product(x, forward, y, adjoint)
            for x, forward in zip(self.xs, self.forwards, strict=True)
            for y, adjoint in zip(self.ys, self.adjoints, strict=True)
        ]

    @property
    def verdict(self) -> Verdict:
        """The worst of those of its products."""
        return max((each.verdict for each in self.products), key=_SEVERITY.index)

    def smaller(self, x_box: Box, y_box: Box, *, ask: Maps) -> Region:
        """Smaller boxes; only where a box is another one are values asked for."""
        pair, xs, forwards, ys, adjoints = self.pair, self.xs, self.forwards, self.ys, self.adjoints
        if x_box != pair.x_box:
            xs = [pair.x.only(each, x_box) for each in xs]
            forwards = [*map(ask.forward, xs)]
        if y_box != pair.y_box:
            ys = [pair.y.only(each, y_box) for each in ys]
            adjoints = [*map(ask.adjoint, ys)]
        smaller = replace(pair, x_box=x_box, y_box=y_box)
        return replace(self, pair=smaller, xs=xs, forwards=forwards, ys=ys, adjoints=adjoints)


_SEVERITY = (Verdict.RIGHT, Verdict.CANNOT_TELL, Verdict.WRONG)


def locate(region: Region, maps: Maps) -> list[Region]:
    """The smallest boxes that hold what is wrong in a region."""
    found = []
    for x_box in _boxes(region.pair.x_box, _in_x(region, maps)):
        columns = region.smaller(x_box, region.pair.y_box, ask=maps)
        for y_box in _boxes(columns.pair.y_box, _in_y(columns, maps)):
            found.append(columns.smaller(x_box, y_box, ask=maps))
    return found


def wrong_cell(region: Region, maps: Maps) -> Region:
    """One wrong entry of a region, by halving."""
    x_box = _halved(region.pair.x_box, _in_x(region, maps))
    column = region.smaller(x_box, region.pair.y_box, ask=maps)
    return column.smaller(x_box, _halved(column.pair.y_box, _in_y(column, maps)), ask=maps)


def _halved(box: Box, is_wrong: Callable[[Box], bool]) -> Box:
    """A box of one entry in one that is wrong: what is wrong is in one half, or in the other."""
    for axis in range(len(box)):
        while box[axis].stop - box[axis].start > 1:
            halves = _halves(box, axis)
            box = halves[0] if is_wrong(halves[0]) else halves[1]
    return box


def _in_x(region: Region, maps: Maps) -> Callable[[Box], bool]:
    """Whether something is wrong in a box on the side of `forward`'s argument."""

    def is_wrong(box: Box) -> bool:
        x = region.pair.x.only(region.xs[0], box)
        return _disagrees(replace(region, xs=[x], forwards=[maps.forward(x)]))

    return is_wrong


def _in_y(region: Region, maps: Maps) -> Callable[[Box], bool]:
    """The same on the side of what it gives."""

    def is_wrong(box: Box) -> bool:
        y = region.pair.y.only(region.ys[0], box)
        return _disagrees(replace(region, ys=[y], adjoints=[maps.adjoint(y)]))

    return is_wrong


def _disagrees(region: Region) -> bool:
    return any(each.verdict is not Verdict.RIGHT for each in region.products)


def _boxes(box: Box, is_wrong: Callable[[Box], bool], halvings: int = _HALVINGS) -> list[Box]:
    """The smallest boxes in one that is wrong that hold what is wrong in it."""
    tight = box
    for axis in range(len(box)):
        tight = _tightened(tight, axis, is_wrong)
    sides = [side.stop - side.start for side in tight]
    longest = max(range(len(sides)), key=sides.__getitem__, default=0)
    if not sides or sides[longest] == 1 or not halvings:
        return [tight]
    # Both halves are wrong: what is wrong reaches from the first slice to the last.
    halves = _halves(tight, longest)
    parts = [each for half in halves for each in _boxes(half, is_wrong, halvings - 1)]
    filled = sum(map(size_of, parts))
    return [tight] if filled > _FILLED * size_of(tight) else parts


def _halves(box: Box, axis: int) -> list[Box]:
    start, stop = box[axis].start, box[axis].stop
    middle = (start + stop) // 2
    return [_with_side(box, axis, slice(*ends)) for ends in ((start, middle), (middle, stop))]


def _tightened(box: Box, axis: int, is_wrong: Callable[[Box], bool]) -> Box:
    """A box without the slices at both ends of an axis in which nothing is wrong."""
    side = box[axis]
    # Of nested beginnings those are wrong that hold the first wrong slice; likewise at the end.
    first = _first(side.stop - side.start, lambda n: _part(box, axis, 0, n, is_wrong))
    box = _with_side(box, axis, slice(side.start + first - 1, side.stop))
    length = side.stop - side.start - first + 1
    last = _first(length, lambda n: _part(box, axis, length - n, length, is_wrong))
    return _with_side(box, axis, slice(box[axis].start, box[axis].stop - last + 1))


def _part(box: Box, axis: int, start: int, stop: int, is_wrong: Callable[[Box], bool]) -> bool:
    first = box[axis].start
    return is_wrong(_with_side(box, axis, slice(first + start, first + stop)))


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The smallest number from 1 to n for which something holds, as it does for n."""
    if n == 1 or holds(1):
        return 1
    low, high = 1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _with_side(box: Box, axis: int, side: slice) -> Box:
    return (*box[:axis], side, *box[axis + 1 :])


def matrices(maps: Maps) -> tuple[np.ndarray, np.ndarray]:
    """The matrix of `forward`, column by column, and that of which `adjoint` is the transpose."""
    forward, adjoint = (np.empty((maps.y.size, maps.x.size)) for _ in range(2))
    for k in range(maps.x.size):
        forward[:, k] = maps.forward(maps.x.unit(k))
    for k in range(maps.y.size):
        adjoint[k] = maps.adjoint(maps.y.unit(k))
    return forward, adjoint
