"""One parameter array: its path, its memory seen as real numbers, and the names of its entries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, SupportsInt

import numpy as np

from fastgrad import _errors

if TYPE_CHECKING:
    from fastgrad._memory import Fingerprint

__all__ = ["Leaf", "entry_path"]


class Leaf:
    """One parameter array: its path, the array, and the same memory seen as real numbers."""

    __slots__ = ("array", "found", "path", "real")

    def __init__(self, path: str, array: np.ndarray, real: np.ndarray | None = None) -> None:
        self.path = path
        self.array = array
        self.found: Fingerprint | None = None  # set by the guard: the memory before `f` was called
        self.real = _as_real(array) if real is None else real

    @property
    def is_complex(self) -> bool:
        """Whether two entries of `real` make one of the array; `f` cannot change that."""
        return self.real is not self.array

    def check_found(self) -> None:
        """Refuse to go on with an array that `f` has resized, retyped or frozen."""
        if self.found is not None and self.found.moved():
            raise _errors.moved_error(self.path)

    def name(self, entry: int) -> str:
        """Path of the entry with this C-order index in `real`."""
        parts = 2 if self.is_complex else 1
        try:
            index = np.unravel_index(entry // parts, self.array.shape)
        except ValueError:  # `f` resized the array
            return self.path
        part = (".real", ".imag")[entry % 2] if self.is_complex else ""
        return entry_path(self.path, index) + part


def _as_real(array: np.ndarray) -> np.ndarray:
    """The memory of a complex array as reals, with a last axis (real part, imaginary part)."""
    if array.dtype.kind != "c":
        return array
    return array[..., np.newaxis].view(array.real.dtype)


def entry_path(path: str, index: Iterable[SupportsInt]) -> str:
    """``W`` and ``(3, 2)`` become ``W[3, 2]``; a 0-d array is its own only entry."""
    inside = ", ".join(str(int(i)) for i in index)
    return f"{path}[{inside}]" if inside else path
