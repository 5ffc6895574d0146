"""One parameter array: its path, its memory seen as real numbers, and the names of its entries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, SupportsInt, TypeAlias

import numpy as np

__all__ = [
    "Box",
    "Leaf",
    "as_real",
    "child_path",
    "entry_path",
    "in_double",
    "lengths_of",
    "thin_box",
]


Box: TypeAlias = tuple[slice, ...]  # a region of a leaf: one slice for each axis

# An array is thinned by whole rows if at least this many are left: fewer would say too little.
_MANY_ROWS = 16


class Leaf:
    """One parameter array: its path, the array, and the same memory seen as real numbers.

    A part of one holds copies of some of its entries, and names them as the array does.
    """

    # Slots, as a model has thousands of leaves.
    __slots__ = ("_path", "array", "is_complex", "part_of", "real")

    def __init__(
        self, path: str | tuple[str, Any], array: np.ndarray, real: np.ndarray | None = None
    ) -> None:
        self._path = path
        self.array = array
        # The whole leaf, and the numbers of the entries in its array, of a part.
        self.part_of: tuple[Leaf, np.ndarray] | None = None
        # Whether two entries of `real` make one of the array; `f` cannot change that.
        self.is_complex = real is not array and array.dtype.kind == "c"
        if real is None:
            real = as_real(array) if self.is_complex else array
        self.real = real

    @property
    def path(self) -> str:
        """Where it is, as `child_path` makes it of a container's path and a key.

        That takes a while, and in a tight loop nobody asks.
        """
        if not isinstance(self._path, str):
            self._path = child_path(*self._path)
        return self._path

    def name(self, entry: int) -> str:
        """Path of the entry with this C-order index in `real`."""
        parts = 2 if self.is_complex else 1
        if self.part_of is not None:
            whole, entries = self.part_of
            return whole.name(int(entries[entry // parts]) * parts + entry % parts)
        try:
            index = np.unravel_index(entry // parts, self.array.shape)
        except ValueError:  # `f` resized the array
            return self.path
        part = (".real", ".imag")[entry % 2] if self.is_complex else ""
        return entry_path(self.path, index) + part

    def kept(self) -> Leaf:
        """The same with a copy of the numbers: what the user does to the array changes it not."""
        return Leaf(self.path, self.array.copy())

    def part(self, mask: np.ndarray) -> Leaf:
        """The entries where a mask is true, in a row, as NumPy indexes by it."""
        made = Leaf(f"{self.path}[where]", self.array[mask])
        made.part_of = self, np.flatnonzero(mask)
        return made


def in_double(x: np.ndarray) -> np.ndarray:
    """A copy in float64: infinite where a longdouble is too large, and silent there."""
    if x.dtype.char == "d":  # the usual case, and the context takes longer than the copy
        return x.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # a signalling NaN is "invalid"
        return x.astype(np.float64)


def lengths_of(x: np.ndarray) -> np.ndarray:
    """``max(1, |x|)``, and 1 where that is not finite: an array of float64."""
    if x.dtype.char == "d":
        size = np.abs(x)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # as above
            size = np.abs(x, dtype=np.result_type(x.dtype, np.float64))
            size = size.astype(np.float64, copy=False)
    length = np.asarray(size)  # of a 0-d array NumPy makes a scalar
    np.maximum(length, 1.0, out=length)
    finite = length < np.inf
    if np.count_nonzero(finite) < finite.size:
        length[~finite] = 1.0
    return length


def thin_box(shape: tuple[int, ...], most: int) -> tuple[slice, ...]:
    """A box of an array that holds all its entries, or, evenly spaced, about `most` of them."""
    size = math.prod(shape)
    if size <= most:
        return (slice(None),) * len(shape)
    step = -(-size // most)  # rounded up
    # Whole rows, where there are many: they lie together in the memory.
    axis = 0 if shape[0] >= _MANY_ROWS * step else int(np.argmax(shape))
    return (slice(None),) * axis + (slice(None, None, step),)


def as_real(array: np.ndarray) -> np.ndarray:
    """The memory of a complex array as reals, with a last axis (real part, imaginary part)."""
    if array.dtype.kind != "c":
        return array
    return array[..., np.newaxis].view(array.real.dtype)


def child_path(path: str, key: Any) -> str:
    """The path as the user would write it: ``layers[0].W``, ``params['a b']``."""
    if isinstance(key, str) and key.isidentifier():
        return f"{path}.{key}" if path else key
    return f"{path or 'params'}[{key!r}]"


def entry_path(path: str, index: Iterable[SupportsInt]) -> str:
    """``W`` and ``(3, 2)`` become ``W[3, 2]``; a 0-d array is its own only entry."""
    inside = ", ".join(str(int(i)) for i in index)
    return f"{path}[{inside}]" if inside else path
