"""Blocks of entries that are moved as one, and the lengths by which steps are measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fastgrad import _backend
from fastgrad._leaf import Leaf

__all__ = [
    "UNIT",
    "Box",
    "Moved",
    "Place",
    "Shift",
    "length_of",
    "lengths",
    "pieces",
    "size_of",
    "spacing",
    "thinned",
]

Box: TypeAlias = tuple[slice, ...]  # a block of a leaf: one slice for each axis

# Directions hold integers of 16 bits, in this unit: quickly drawn, and little to read.
UNIT = 2.0**-14
_SPACINGS = {char: float(np.finfo(char).eps) for char in "efdg"}
# Blocks are moved so many entries at a time, that what is computed on the way stays in the cache.
_PIECE = 2**15
# Along one direction for all, this many entries of a leaf are moved at most.
_MOST_MOVED = 2**16
_MANY_ROWS = 16


@dataclass(frozen=True)
class Shift:
    """What moving a block to both sides did to `f`, and what the gradient claims it does."""

    above: float
    below: float
    claimed_above: float
    claimed_below: float
    norm: float  # of the claimed contributions of the entries, to one side


@dataclass(frozen=True)
class Place:
    """Memory of a leaf that is moved as a whole, and the values it had."""

    leaf: Leaf
    view: np.ndarray
    saved: np.ndarray

    def restore(self) -> None:
        """Put the saved bits back, unless `f` has given the memory away."""
        if self.leaf.found is None or self.leaf.found.stands():
            self.view[...] = self.saved

    def shifted(
        self, into: np.ndarray, direction: np.ndarray, time: float, claim: np.ndarray
    ) -> Iterator[np.ndarray]:
        """Write a moved block, piece by piece; yield the rise claimed for each move really made.

        The block is moved by `time` times its direction and its lengths. `direction`, in units of
        `UNIT`, and `claim`, the gradient, have its shape.
        """
        self.leaf.check_found()
        run = _backend.kernel_for(into).shift
        scratch = np.empty(min(self.saved.size, _PIECE))
        for piece in pieces(self.saved.shape):
            target = into[piece]
            if target.size > scratch.size:
                scratch = np.empty(target.size)
            parts = scratch[: target.size]
            run(target, self.saved[piece], direction[piece], claim[piece], time * UNIT, parts)
            yield parts


@dataclass(frozen=True)
class Moved:
    """A place and how it moves."""

    place: Place
    move: np.ndarray

    def to(self, time: float) -> None:
        """Move by `time` times the move."""
        self.place.leaf.check_found()
        view = self.place.view
        _backend.kernel_for(view).displace(view, self.place.saved, self.move, time)


def thinned(leaf: Leaf) -> np.ndarray:
    """The leaf's entries, or of a large leaf some, evenly spaced, as a view of its memory."""
    real = leaf.real
    if real.size <= _MOST_MOVED:
        return real
    step = -(-real.size // _MOST_MOVED)
    # Whole rows, where there are many: they lie together in the memory.
    axis = 0 if real.shape[0] >= _MANY_ROWS * step else int(np.argmax(real.shape))
    view: np.ndarray = real[(slice(None),) * axis + (slice(None, None, step),)]
    return view


def pieces(shape: tuple[int, ...]) -> Iterator[Box]:
    """Cut an array into boxes of a bounded number of entries, if its rows allow."""
    size = math.prod(shape)
    axis = next((k for k, n in enumerate(shape) if n > 1), None)
    if axis is None or size <= _PIECE:
        yield (slice(None),) * len(shape)
        return
    row = size // shape[axis]
    step = max(1, _PIECE // row)
    for start in range(0, shape[axis], step):
        head = (*(slice(None),) * axis, slice(start, start + step))
        for rest in pieces(shape[axis + 1 :]) if row > _PIECE else [()]:
            yield head + rest


def size_of(box: Box) -> int:
    """How many entries a block holds."""
    return math.prod(side.stop - side.start for side in box)


def lengths(leaf: Leaf, entries: np.ndarray | None = None) -> np.ndarray:
    """The length by which each entry's steps are measured: ``max(1, |x|)``, in C order."""
    real = leaf.real if entries is None else leaf.real.flat[entries]
    return length_of(real.ravel())


def length_of(x: np.ndarray) -> np.ndarray:
    """``max(1, |x|)``, and 1 where that is not finite."""
    size = np.abs(x).astype(np.float64, copy=False)
    length: np.ndarray = np.asarray(np.maximum(size, 1.0))  # of a 0-d array, a scalar
    if not length.max(initial=1.0) < np.inf:
        length[~(length < np.inf)] = 1.0
    return length


def spacing(leaf: Leaf) -> float:
    """Distance from 1 to the next number of the leaf's type."""
    return _SPACINGS[leaf.real.dtype.char]
