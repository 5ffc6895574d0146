"""What the user passes as `f` and `grad`, normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Leaf
from fastgrad._report.entries import LeafSpan
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params, describe, pair

# Spacing of the types a gradient can come in; the column that holds it has float64's at best.
_EPS = {char: max(float(np.finfo(char).eps), float(np.finfo("d").eps)) for char in "efdgFDG"}

__all__ = ["Analytic", "analytic"]


@dataclass(frozen=True)
class Analytic:
    """The gradient to be checked: one column of real numbers in the order of the leaves.

    `eps` is the spacing of each leaf's gradient type; `value` is the value of `f` that came with
    the gradient, if one did; `spans` say which stretch of the column belongs to which leaf.
    """

    column: np.ndarray
    eps: tuple[float, ...]
    value: float | None
    spans: tuple[LeafSpan, ...]


def analytic(
    f: Callable[[Any], Any], grad: Any, argument: Params, leaves: Sequence[Leaf]
) -> Analytic:
    """Call and copy the analytic gradient."""
    if grad is None or grad is False:
        raise InputTypeError(
            f"`grad` must be a function, the gradient itself, or True; got {grad!r}"
        )
    given = (f if grad is True else grad)(argument) if callable(grad) or grad is True else grad
    if grad is True:
        if not _is_pair(given, leaves):
            raise InputTypeError(
                f"with grad=True `f` must return the pair (value, gradient); got {describe(given)}"
            )
        return _copied(given[1], given[0], argument, leaves)
    if callable(grad) and not isinstance(argument, tuple) and _is_pair(given, leaves):
        return _copied(given[1], given[0], argument, leaves)
    return _copied(given, None, argument, leaves)


def _is_pair(given: Any, leaves: Sequence[Leaf]) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and not hasattr(given, "_fields")


def _copied(given: Any, value: Any, argument: Params, leaves: Sequence[Leaf]) -> Analytic:
    column = np.empty(sum(leaf.real.size for leaf in leaves))
    spans, eps = [], []
    start = 0
    for leaf, part in pair(argument, given, "grad"):
        array = _gradient_array(leaf, part)
        if any(np.may_share_memory(array, each.array) for each in leaves if each.array.size):
            _refuse_alias(leaf, array, leaves)
        stop = start + leaf.real.size
        wide = array.astype(np.complex128 if leaf.is_complex else np.float64, copy=False)
        column[start:stop] = wide.ravel().view(np.float64)
        dtype = _name(leaf.array.dtype)
        spans.append(LeafSpan(leaf.path, leaf.array.shape, dtype, start, stop, leaf.is_complex))
        start = stop
        eps.append(_EPS.get(array.dtype.char, _EPS["d"]))
    number = None if value is None else float(as_scalar(value, at_base, 0))
    return Analytic(column, tuple(eps), number, tuple(spans))


@cache
def _name(dtype: np.dtype) -> str:
    return str(dtype)  # slow, and a model has many leaves of one type


def _gradient_array(leaf: Leaf, value: Any) -> np.ndarray:
    """The gradient of one leaf as an array of exactly its shape."""
    path, shape = leaf.path, leaf.array.shape
    number = isinstance(value, (int, float, complex, np.number)) and not isinstance(value, bool)
    if not hasattr(value, "__array__") and not (number and shape == ()):
        raise InputTypeError(
            f"`grad` at `{path}` must be an array of shape {shape}; got {describe(value)}"
        )
    array = np.asarray(value)
    if array.shape != shape:
        raise InputValueError(
            f"`grad` at `{path}` must have shape {shape}; got {array.shape} (nothing is broadcast)"
        )
    allowed = "iufc" if leaf.array.dtype.kind == "c" else "iuf"
    if array.dtype.kind not in allowed:
        raise InputTypeError(
            f"`grad` at `{path}` must hold {'complex' if 'c' in allowed else 'real'} numbers; "
            f"got dtype {array.dtype}"
        )
    return array


def _refuse_alias(leaf: Leaf, array: np.ndarray, leaves: Sequence[Leaf]) -> None:
    for each in leaves:
        if np.shares_memory(array, each.array):
            raise InputValueError(
                f"`grad` at `{leaf.path}` shares memory with the parameters `{each.path}`: "
                "moving them would move it; return a new array"
            )
