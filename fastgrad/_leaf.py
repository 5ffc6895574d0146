"""One parameter array: its path, its memory seen as real numbers, and the names of its entries."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import SupportsInt

import numpy as np

__all__ = ["Leaf", "as_real", "entry_path", "lengths_of", "thin_box"]


# An array is thinned by whole rows if at least this many are left: fewer would say too little.
_MANY_ROWS = 16


class Leaf:
    """One parameter array: its path, the array, and the same memory seen as real numbers."""

    # Slots, as a model has thousands of leaves.
    __slots__ = ("array", "path", "real")

    def __init__(self, path: str, array: np.ndarray, real: np.ndarray | None = None) -> None:
        self.path = path
        self.array = array
        self.real = as_real(array) if real is None else real

    @property
    def is_complex(self) -> bool:
        """Whether two entries of `real` make one of the array."""
        # Not by the array's type, which `f` could change.
        return self.real is not self.array

    def name(self, entry: int) -> str:
        """Path of the entry with this C-order index in `real`."""
        parts = 2 if self.is_complex else 1
        try:
            index = np.unravel_index(entry // parts, self.array.shape)
        except ValueError:  # `f` resized the array
            return self.path
        part = (".real", ".imag")[entry % 2] if self.is_complex else ""
        return entry_path(self.path, index) + part


def lengths_of(x: np.ndarray) -> np.ndarray:
    """``max(1, |x|)``, and 1 where that is not finite: an array of float64."""
    size = np.abs(x, dtype=np.result_type(x.dtype, np.float64)).astype(np.float64, copy=False)
    length = np.asarray(np.maximum(size, 1.0))  # of a 0-d array NumPy makes a scalar
    if not length.max(initial=1.0) < np.inf:
        length[~(length < np.inf)] = 1.0
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


def entry_path(path: str, index: Iterable[SupportsInt]) -> str:
    """``W`` and ``(3, 2)`` become ``W[3, 2]``; a 0-d array is its own only entry."""
    inside = ", ".join(str(int(i)) for i in index)
    return f"{path}[{inside}]" if inside else path
