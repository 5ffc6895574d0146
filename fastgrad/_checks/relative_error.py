"""How far two gradients are apart: `relative_error`."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._errors import InputValueError
from fastgrad._leaf import as_real
from fastgrad._tree import Params, as_numbers, pair, unflatten

__all__ = ["relative_error"]


def relative_error(a: Params, b: Params, *, elementwise: bool = False) -> Any:
    """How far two gradients are apart, relative to their size.

    Parameters
    ----------
    a, b : array, number, or nested containers of arrays
        Of the same structure and shapes; nothing is broadcast.
    elementwise : bool, default False
        Compare entry by entry instead of as a whole.

    Returns
    -------
    float, or the structure of `a` with elementwise=True
        ``|a - b| / (|a| + |b|)`` in the Euclidean norm, between 0 and 1, and 0 where both are 0.
        NaN where an entry is not finite.

    Raises
    ------
    InputTypeError, InputValueError
        The structures or shapes differ.

    Notes
    -----
    As a whole this is the number of the lectures: in float64 below 1e-7 is fine, above 1e-3 is
    not. It hides errors in entries much smaller than the largest; `check_gradient` does not.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.0]))
    0.0
    >>> fg.relative_error(np.array([1.0, 2.0]), np.array([1.0, 6.0]), elementwise=True)
    array([0. , 0.5])
    """
    plain = type(a) is type(b) is np.ndarray and a.dtype.char == b.dtype.char == "d"
    if plain and not elementwise and a.shape == b.shape:  # in loops a microsecond counts
        return _whole_error(a, b)
    first, second = as_numbers(a, "a"), as_numbers(b, "b")
    pairs = [(leaf.array, other) for leaf, other in pair(first, second, "b")]
    for x, y in pairs:
        if x.shape != y.shape:
            raise InputValueError(
                f"`a` and `b` must have equal shapes, nothing is broadcast; got {x.shape} and "
                f"{y.shape}"
            )
    if elementwise:
        return unflatten(first, iter([_entry_errors(x, y) for x, y in pairs]))
    columns = ([np.zeros(0), *(_column(each[i]) for each in pairs)] for i in (0, 1))
    return _whole_error(*map(np.concatenate, columns))


def _column(array: np.ndarray) -> np.ndarray:
    """Its numbers, the real and the imaginary parts of complex ones, one after the other."""
    flat = np.ascontiguousarray(array).reshape(-1)
    return as_real(flat).reshape(-1) if array.dtype.kind == "c" else flat


def _whole_error(a: np.ndarray, b: np.ndarray) -> float:
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    error: float = _backend.kernel_for(a, b).norm_error(a, b)
    return error


def _entry_errors(a: np.ndarray, b: np.ndarray) -> Any:
    """Entry by entry; halved first, so that no sum overflows."""
    with np.errstate(invalid="ignore"):
        a, b = a / 2, b / 2
        size = np.abs(a) + np.abs(b)
        error = np.abs(a - b) / np.where(size == 0, 1.0, size)
    return error[()]
