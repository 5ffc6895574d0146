"""The floating types that parameters can have: the only table of their precision."""

from __future__ import annotations

import numpy as np

__all__ = ["EPS", "FLOATS", "eps_of", "is_extended"]

# Type characters of float16, float32, float64 and longdouble.
FLOATS = "efdg"
# Distance from 1 to the next number, by type character; a complex number has that of its parts.
EPS = {char: float(np.finfo(char).eps) for char in "efdgFDG"}


def eps_of(array: np.ndarray) -> float:
    """Distance from 1 to the next number of the array's type."""
    return EPS[array.dtype.char]


def is_extended(array: np.ndarray) -> bool:
    """Whether the numbers are longdoubles, which a Python float cannot hold."""
    return array.dtype.type is np.longdouble
