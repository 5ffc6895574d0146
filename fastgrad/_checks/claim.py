"""What the user passes as `f` and `grad`, normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.batched import Batched
from fastgrad._leaf import Leaf
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params, describe, pair

# Spacing of the types a gradient can come in; the column that holds it has float64's at best.
_EPS = {char: max(float(np.finfo(char).eps), float(np.finfo("d").eps)) for char in "efdgFDG"}

__all__ = ["Analytic", "analytic", "base_value", "check_callable"]


def check_callable(f: Any, name: str) -> None:
    """Refuse an objective that cannot be called."""
    if not callable(f):
        raise InputTypeError(f"`{name}` must be callable as {name}(params); got {f!r}")


def base_value(f: Callable[[Any], Any], argument: Any, leaves: Sequence[Leaf]) -> Any:
    """Value of `f` at the unperturbed parameters, in the precision of the widest leaf."""
    extended = any(leaf.real.dtype.type is np.longdouble for leaf in leaves)
    kind = np.longdouble if extended else float
    return as_scalar(f(argument), at_base, 0, kind)


@dataclass(frozen=True)
class Analytic:
    """The gradient to be checked: one column of real numbers in the order of the leaves.

    `eps` is the spacing of each leaf's gradient type; `value` is the value of `f` that came with
    the gradient, if one did.
    """

    column: np.ndarray
    eps: tuple[float, ...]
    value: float | None


def analytic(
    f: Callable[[Any], Any], grad: Any, argument: Params, leaves: Sequence[Leaf]
) -> tuple[Analytic, Callable[[Any], Any]]:
    """Copy the analytic gradient, and return with it `f` as a function that returns the value."""
    if grad is True and isinstance(f, Batched):
        raise InputTypeError(
            "with grad=True `f` must return the pair (value, gradient), and a batched `f` returns "
            "values only; pass the gradient, or a function that returns it, as `grad`"
        )
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
        return _copied(given[1], given[0], argument, leaves), partial(_value, f)
    if callable(grad) and not isinstance(argument, tuple) and _is_pair(given, leaves):
        return _copied(given[1], given[0], argument, leaves), f
    return _copied(given, None, argument, leaves), f


def _value(f: Callable[[Any], Any], params: Params) -> Any:
    """At the top level, so that it can be sent to workers."""
    return f(params)[0]


def _is_pair(given: Any, leaves: Sequence[Leaf]) -> bool:
    return isinstance(given, tuple) and len(given) == 2 and not hasattr(given, "_fields")


def _copied(given: Any, value: Any, argument: Params, leaves: Sequence[Leaf]) -> Analytic:
    column = np.empty(sum(leaf.real.size for leaf in leaves))
    eps = []
    start = 0
    for leaf, part in pair(argument, given, "grad"):
        array = _gradient_array(leaf, part)
        if any(np.may_share_memory(array, each.array) for each in leaves if each.array.size):
            _refuse_alias(leaf, array, leaves)
        kind = np.complex128 if leaf.is_complex else np.float64
        wide = array.astype(kind, copy=False)
        column[start : start + leaf.real.size] = wide.ravel().view(np.float64)
        start += leaf.real.size
        eps.append(_EPS.get(array.dtype.char, _EPS["d"]))
    number = None if value is None else float(as_scalar(value, at_base, 0))
    return Analytic(column, tuple(eps), number)


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
