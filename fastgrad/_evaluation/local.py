"""Which evaluator serves an `f`: the one place that asks what kind of `f` it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.batched import Batched, InBatches, small_batch
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.guard import COPIED_BYTES, Guard, is_small
from fastgrad._evaluation.inplace import NATIVE, InPlace
from fastgrad._evaluation.lenient import Lenient, Objective
from fastgrad._evaluation.native import Native, check_native
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._stencils import Stencil
from fastgrad._tree import Params, describe

__all__ = [
    "check_callable",
    "is_plain_function",
    "local",
    "of_numbers",
    "of_pairs",
    "small_gradient",
    "small_gradients",
    "small_jacobian",
]


# Arrays in a container that go straight to the kernel, at most: it compares the memory of any two.
_MOST_ARRAYS = 32

_ONE_NUMBER = (
    "`f` must return one real number here, and this native one has `outputs` = {}; pass one of the "
    "signature double (n, x, user_data), or see fg.jacobian"
)


def check_callable(f: Any, name: str) -> None:
    """Refuse an objective that cannot be called."""
    if not callable(f):
        raise InputTypeError(f"`{name}` must be callable as {name}(params); got {describe(f)}")


def _kind(f: Any) -> type:
    """`Native`, `Batched`, or `object` for any other callable."""
    kind = type(f)
    if kind is Lenient:
        kind = type(f.f)
    return kind if kind is Native or kind is Batched else object


def is_plain_function(f: Any) -> bool:
    """Whether `f` is called with the parameters themselves, and is no C function."""
    return _kind(f) is object


def local(
    f: Objective,
    argument: Params,
    guard: Guard,
    *,
    vector: bool | Outputs = False,
    bounds: Bounds | None = None,
) -> InPlace | InBatches:
    """An evaluator that calls `f` here, in this thread.

    With `bounds`, what it asks by itself stays within them.
    """
    kind = _kind(f)
    if kind is Batched:
        return InBatches(f, argument, guard, vector=vector, bounds=bounds)  # type: ignore[arg-type]
    if kind is Native:
        plain: Any = f.f if isinstance(f, Lenient) else f
        if plain.outputs is not None and not vector:
            raise InputTypeError(_ONE_NUMBER.format(plain.outputs))
        check_native(plain, argument, "params")
        return InPlace(f, argument, guard, loops=NATIVE, vector=vector)
    return InPlace(f, argument, guard, vector=vector)


def small_gradient(
    f: Callable[[Any], Any], params: Any, stencil: Stencil, known: Any = None
) -> tuple[np.ndarray, bool, Any] | None:
    """Gradient with automatic steps with respect to one small plain array; None for others.

    And whether it is in doubt, so that it wants a second look, with the value of `f` at the
    parameters, if it was evaluated. `known` is that value, if it was evaluated before.

    The commonest case, where a microsecond counts: it goes straight to the kernel.
    """
    if type(params) is not np.ndarray or not is_small(params):
        return None
    kind, leaf = _kind(f), Leaf("params", params, params)
    if kind is Batched:
        return small_batch(f, leaf, stencil, known)  # type: ignore[arg-type]
    if kind is Native and not _in_small_loop(f, params):
        return None
    steps = stencil.steps(params.dtype)
    found: tuple[np.ndarray, bool, Any] = _backend.kernel.small_gradient(
        f, leaf, stencil, steps, kind is Native, known
    )
    return found


def small_gradients(
    f: Callable[[Any], Any], params: Any, stencil: Stencil, known: Any = None
) -> tuple[list[Leaf], Params, list[np.ndarray], bool, Any] | None:
    """The same for a dict, list or tuple of a few small plain arrays.

    Their leaves, the gradient as a container of arrays, these arrays, doubt, and value.
    """
    kind = type(params)
    if (kind is not dict and kind is not list and kind is not tuple) or _kind(f) is not object:
        return None
    if len(params) > _MOST_ARRAYS:
        return None
    arrays = list(params.values() if kind is dict else params)
    if _backend.kernel.plain_layout(arrays, COPIED_BYTES, COPIED_BYTES) is None:
        return None
    keys = list(params if kind is dict else range(len(arrays)))  # now: `f` may put more into it
    leaves = [Leaf(("", key), array, array) for key, array in zip(keys, arrays, strict=True)]
    steps = [stencil.steps(array.dtype) for array in arrays]
    made, doubt, base = _backend.kernel.small_gradients(f, params, leaves, stencil, steps, known)
    answer = dict(zip(keys, made, strict=True)) if kind is dict else kind(made)
    return leaves, answer, made, doubt, base


def small_jacobian(
    f: Callable[[Any], Any], params: Any, stencil: Stencil
) -> tuple[Any, np.ndarray | None] | None:
    """The same for an `f` that returns arrays: its value, and the derivatives in rows.

    Without derivatives where `f` returns anything but one plain array.
    """
    if type(params) is not np.ndarray or not is_small(params):
        return None
    kind = _kind(f)
    if kind is Batched or (kind is Native and params.dtype.char != "d"):
        return None
    leaf, steps = Leaf("params", params, params), stencil.steps(params.dtype)
    found: tuple[Any, np.ndarray | None] = _backend.kernel.small_jacobian(
        f, leaf, stencil, steps, kind is Native
    )
    return found


def _in_small_loop(f: Any, params: np.ndarray) -> bool:
    """Whether the loop over a C function of one value takes it: it knows float64 alone."""
    return f.outputs is None and params.dtype.char == "d"


def of_numbers(f: Callable[[Any], Any], convert: Callable[[np.ndarray], Any]) -> Any:
    """`f`, a function of one number, as a function of a 0-d array; rows of a batch are arrays."""
    return f if _kind(f) is Batched else _OfNumber(f, convert)


@dataclass(frozen=True)
class _OfNumber:
    """At the top level, so that it can be sent to workers."""

    f: Callable[[Any], Any]
    convert: Callable[[np.ndarray], Any]

    def __call__(self, at: np.ndarray) -> Any:
        return self.f(self.convert(at))


def of_pairs(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The value of an `f` that returns the pair (value, gradient)."""
    if _kind(f) is Batched:
        raise InputTypeError(
            "with grad=True `f` must return the pair (value, gradient), and a batched `f` returns "
            "values only; pass the gradient, or a function that returns it, as `grad`"
        )
    return partial(_value, f)


def _value(f: Callable[[Any], Any], params: Params) -> Any:
    """At the top level, so that it can be sent to workers."""
    return f(params)[0]
