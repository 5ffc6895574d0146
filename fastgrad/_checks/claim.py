"""The analytic gradient that the user claims: called or taken, checked, and copied."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.local import check_callable
from fastgrad._leaf import Leaf
from fastgrad._memory import bounds
from fastgrad._report.entries import LeafSpan
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params, describe, is_function, pair

# Spacing of the types a gradient can come in; the column that holds it has float64's at best.
_EPS = {char: max(float(np.finfo(char).eps), float(np.finfo("d").eps)) for char in "efdgFDG"}

__all__ = ["Analytic", "analytic", "check_arguments"]

_ORDER = "the order of the arguments is f, grad, params"


def check_arguments(f: Any, grad: Any, params: Any) -> None:
    """Refuse the arguments of a check in the order of another library."""
    if not callable(f) and (callable(grad) or callable(params)):
        raise InputTypeError(f"`f` must be callable as f(params); got {describe(f)}: {_ORDER}")
    # As in check_gradient(f, params, grad), where a function stands for the parameters.
    if callable(f) and not callable(grad) and grad is not True and is_function(params):
        raise InputTypeError(f"`params` is a function, and `grad` is {describe(grad)}: {_ORDER}")
    check_callable(f, "f")


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
    """The analytic gradient as a copy, from whichever form of `grad` the user passed."""
    if grad is None or grad is False:
        raise InputTypeError(
            f"`grad` must be a function, the gradient itself, or True; got {grad!r}"
        )
    if grad is True:
        given = f(argument)
        if not _is_pair(given):
            raise InputTypeError(
                f"with grad=True `f` must return the pair (value, gradient); got {describe(given)}"
            )
        return _copied(_arrays(argument, given[1]), given[0], leaves)
    if callable(grad):
        return _copied(*_split(argument, grad(argument)), leaves)
    # A function may return memory of the parameters, as the gradient of x^2 / 2 is x itself.
    arrays = _arrays(argument, grad)
    _refuse_aliases(arrays, leaves)
    return _copied(arrays, None, leaves)


def _is_pair(given: Any) -> bool:
    """Whether it is a tuple of two, and no namedtuple, which may be the user's parameters."""
    return isinstance(given, tuple) and len(given) == 2 and not hasattr(given, "_fields")


def _split(argument: Params, given: Any) -> tuple[list[np.ndarray], Any]:
    """The gradient's arrays, and the value if the pair (value, gradient) was returned.

    Two things are the pair only where they are not the gradient, and the first is one number.
    """
    try:
        return _arrays(argument, given), None
    except (InputTypeError, InputValueError):
        if not _is_pair(given) or not _is_one_number(given[0]):
            raise
    return _arrays(argument, given[1]), given[0]


def _is_one_number(value: Any) -> bool:
    try:
        as_scalar(value, at_base, 0)
    except (InputTypeError, InputValueError):
        return False
    return True


def _arrays(argument: Params, given: Any) -> list[np.ndarray]:
    """What stands in `given` for each leaf, as arrays of exactly their shapes."""
    return [_gradient_array(leaf, part) for leaf, part in pair(argument, given, "grad")]


def _copied(arrays: Sequence[np.ndarray], value: Any, leaves: Sequence[Leaf]) -> Analytic:
    """Copy arrays, before `f` is called again, which may reuse their memory."""
    column = np.empty(sum(leaf.real.size for leaf in leaves))
    spans = []
    start = 0
    for leaf, array in zip(leaves, arrays, strict=True):
        stop = start + leaf.real.size
        wide = array.astype(np.complex128 if leaf.is_complex else np.float64, copy=False)
        column[start:stop] = wide.ravel().view(np.float64)
        dtype = _name(leaf.array.dtype)
        spans.append(LeafSpan(leaf.path, leaf.array.shape, dtype, start, stop, leaf.is_complex))
        start = stop
    # Integers count as exact to float64.
    eps = tuple(_EPS.get(array.dtype.char, _EPS["d"]) for array in arrays)
    number = None if value is None else float(as_scalar(value, at_base, 0))
    return Analytic(column, eps, number, tuple(spans))


@cache
def _name(dtype: np.dtype) -> str:
    return str(dtype)  # slow, and a model has many leaves of one type


def _gradient_array(leaf: Leaf, value: Any) -> np.ndarray:
    """The gradient of one leaf as an array of exactly its shape."""
    path, shape = leaf.path, leaf.array.shape
    array = _read(leaf, value)
    allowed = "iufc" if leaf.is_complex else "iuf"
    if array.dtype.kind not in allowed:
        raise InputTypeError(
            f"`grad` at `{path}` must hold {'complex' if 'c' in allowed else 'real'} numbers; "
            f"got dtype {array.dtype}"
        )
    if array.shape != shape:
        said = (
            f"`grad` at `{path}` must have shape {shape}; got {array.shape} (nothing is broadcast)"
        )
        if shape and array.ndim > len(shape) and array.shape[-len(shape) :] == shape:
            said += (
                "; if that is the Jacobian of a vector-valued `f`: `f` must return one real "
                "number, such as weights @ f(params), and `grad` its gradient"
            )
        raise InputValueError(said)
    return array


def _read(leaf: Leaf, value: Any) -> np.ndarray:
    """A gradient as an array: arrays and tensors of any library, numbers, lists of numbers."""
    place = f"`grad` at `{leaf.path}`"
    if hasattr(value, "compressed"):
        raise InputTypeError(
            f"{place} is a masked array; pass .filled(0.0) of it, or .data, so that it holds a "
            "number for each entry"
        )
    number = isinstance(value, (int, float, complex, np.number)) and not isinstance(value, bool)
    shape = leaf.array.shape
    if isinstance(value, (list, tuple)) and shape:
        try:
            return np.asarray(value)
        except (TypeError, ValueError, RuntimeError):
            raise InputValueError(
                f"{place} must have shape {shape}; got a {type(value).__name__} that makes no "
                "array: it is ragged, or does not hold numbers"
            ) from None
    if not hasattr(value, "__array__") and not (number and shape == ()):
        raise InputTypeError(f"{place} must be an array of shape {shape}; got {describe(value)}")
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputTypeError(
            f"{place} is a {type(value).__name__} that NumPy cannot read ({error}); pass "
            ".detach().numpy() of it, of bfloat16 .detach().float().numpy()"
        ) from None


def _refuse_aliases(arrays: Sequence[np.ndarray], leaves: Sequence[Leaf]) -> None:
    """Refuse an array for a gradient that is the parameters themselves: it would move with them."""
    # Sorted by first byte, so that a model of a thousand arrays takes no million comparisons.
    spans = sorted((*bounds(leaf.array), k) for k, leaf in enumerate(leaves) if leaf.array.size)
    lows = [low for low, _, _ in spans]
    # The farthest end of all that start as early: where it ends before an array, so do they all.
    ends = list(accumulate((high for _, high, _ in spans), max))
    for leaf, array in zip(leaves, arrays, strict=True):
        low, high = bounds(array)
        at = bisect_left(lows, high) if array.size else 0
        while at and ends[at - 1] > low:
            at -= 1
            other = leaves[spans[at][2]]
            if np.shares_memory(array, other.array):
                raise InputValueError(
                    f"`grad` at `{leaf.path}` shares memory with the parameters `{other.path}`: "
                    "pass a copy if they are the gradient, or the function that computes it"
                )
