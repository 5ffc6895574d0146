"""The gradient that a user's function returns: checked, and as one column of real numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import starmap
from typing import Any

import numpy as np

from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Leaf
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params, describe, pair, pair_flat
from fastgrad._words import with_article

__all__ = [
    "GradientFunction",
    "arrays_of",
    "column_of",
    "given_pair",
    "got_type",
    "read_array",
    "split",
]


class GradientFunction:
    """A user's gradient as a function that returns one column: (n,) float64.

    With `pairs`, it returns (value, gradient). `eps` is the largest spacing of the types that
    gradients came in so far. Of the entries some may be meant only.
    """

    def __init__(
        self, grad: Callable[[Any], Any], *, pairs: bool, meant: np.ndarray | None = None
    ) -> None:
        self.grad, self.pairs, self.eps, self.meant = grad, pairs, EPS["d"], meant

    @property
    def name(self) -> str:
        """Which function of the user's is called: with ``grad=True`` `f` returns the gradient."""
        return "f" if self.pairs else "grad"

    def of(self, meant: np.ndarray) -> GradientFunction:
        """The same of some entries, by their numbers."""
        return GradientFunction(self.grad, pairs=self.pairs, meant=meant)

    def __call__(self, params: Params) -> np.ndarray:
        """The gradient at some real parameters, as a copy."""
        given = self.grad(params)
        arrays, _ = given_pair(params, given) if self.pairs else split(params, given)
        self.eps = max(self.eps, *(EPS.get(array.dtype.char, 0.0) for array in arrays), 0.0)
        flat = [array.reshape(-1).astype(np.float64) for array in arrays]
        column = np.concatenate(flat) if flat else np.empty(0)
        return column if self.meant is None else column[self.meant]


def given_pair(argument: Params, given: Any) -> tuple[list[np.ndarray], Any]:
    """The gradient's arrays and the value, of the pair (value, gradient) that `f` returned."""
    if not _is_pair(given):
        raise InputTypeError(
            f"with grad=True `f` must return the pair (value, gradient); got {describe(given)}"
        )
    return arrays_of(argument, given[1]), given[0]


def split(argument: Params, given: Any) -> tuple[list[np.ndarray], Any]:
    """The gradient's arrays, and the value if the pair (value, gradient) was returned.

    Two things are the pair only where they are not the gradient, and the first is one number.
    """
    try:
        return arrays_of(argument, given), None
    except (InputTypeError, InputValueError) as error:
        if _is_one_number(given) and not (type(argument) is np.ndarray and argument.size == 1):
            said = f"{error}. It returned one number, as `f` should: are the two exchanged?"
            raise type(error)(said) from None
        if not _is_pair(given) or not _is_one_number(given[0]):
            raise
    return arrays_of(argument, given[1]), given[0]


def _is_pair(given: Any) -> bool:
    """Whether it is a tuple of two, and no namedtuple, which may be the user's parameters."""
    return isinstance(given, tuple) and len(given) == 2 and not hasattr(given, "_fields")


def _is_one_number(value: Any) -> bool:
    try:
        as_scalar(value, at_base, 0)
    except (InputTypeError, InputValueError):
        return False
    return True


def arrays_of(argument: Params, given: Any, name: str = "grad") -> list[np.ndarray]:
    """What stands in `given`, the user's `name`, for each leaf: arrays of exactly their shapes."""
    # The commonest cases first: a check of a few entries feels a microsecond.
    if type(argument) is np.ndarray:
        both: list[tuple[np.ndarray, Any]] | None = [(argument, given)]
    else:
        both = pair_flat(argument, given)
    if both is not None and all(starmap(_fits_plainly, both)):
        return [part for _, part in both]
    return [_gradient_array(leaf, part, name) for leaf, part in pair(argument, given, name)]


def _fits_plainly(array: np.ndarray, given: Any) -> bool:
    """Whether nothing has to be asked about what stands in an array's place."""
    return type(given) is np.ndarray and given.dtype.char in "df" and given.shape == array.shape


def column_of(arrays: Sequence[np.ndarray], leaves: Sequence[Leaf]) -> np.ndarray:
    """Copy the arrays of a gradient to one column of real numbers."""
    if len(arrays) == 1 and not leaves[0].is_complex:
        return np.array(arrays[0], np.float64, order="C").reshape(-1)
    flat = [array.reshape(-1) for array in arrays]
    for k, leaf in enumerate(leaves):
        if leaf.is_complex:
            flat[k] = flat[k].astype(np.complex128, copy=False).view(np.float64)
    return np.concatenate(flat, dtype=np.float64) if flat else np.empty(0)


def _gradient_array(leaf: Leaf, value: Any, name: str) -> np.ndarray:
    """The gradient of one leaf as an array of exactly its shape."""
    path, shape = leaf.path, leaf.array.shape
    array = read_array(f"`{name}` at `{path}`", shape, value)
    allowed = "iufc" if leaf.is_complex else "iuf"
    if array.dtype.kind not in allowed:
        raise InputTypeError(
            f"`{name}` at `{path}` must hold {'complex' if 'c' in allowed else 'real'} numbers; "
            f"{got_type(array)}"
        )
    if array.shape != shape:
        said = f"`{name}` at `{path}` must have shape {shape}; got {array.shape}"
        said += " (nothing is broadcast)"
        if (
            name == "grad"
            and shape
            and array.ndim > len(shape)
            and array.shape[-len(shape) :] == shape
        ):
            said += (
                "; if that is the Jacobian of a vector-valued `f`, fg.check_jacobian judges it: "
                "here `f` must return one real number, and `grad` its gradient"
            )
        raise InputValueError(said)
    return array


def got_type(array: np.ndarray) -> str:
    """The type that a claim has instead of the one it must have, and the way out."""
    said = f"got dtype {array.dtype}"
    return said + "; pass its .real, if it is real" * (array.dtype.kind == "c")


def read_array(place: str, shape: tuple[int, ...], value: Any) -> np.ndarray:
    """A claim as an array: arrays and tensors of any library, numbers, lists of numbers."""
    if type(value) is np.ndarray:
        return value
    if hasattr(value, "compressed"):
        raise InputTypeError(
            f"{place} is a masked array; pass .filled(0.0) of it, or .data, so that it holds a "
            "number for each entry"
        )
    number = isinstance(value, (int, float, complex, np.number)) and not isinstance(value, bool)
    kind = with_article(type(value).__name__)
    if isinstance(value, (list, tuple)) and shape:
        try:
            return np.asarray(value)
        except (TypeError, ValueError, RuntimeError):
            raise InputValueError(
                f"{place} must have shape {shape}; got {kind} that makes no "
                "array: it is ragged, or does not hold numbers"
            ) from None
    if not hasattr(value, "__array__") and not (number and shape == ()):
        said = f"{place} must be an array of shape {shape}; got {describe(value)}"
        if hasattr(value, "toarray"):  # a sparse matrix of SciPy's
            said += f"; pass .toarray().reshape({shape}) of it"
        raise InputTypeError(said)
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputTypeError(
            f"{place} is {kind} that NumPy cannot read ({error}); pass "
            ".detach().numpy() of it, of bfloat16 .detach().float().numpy()"
        ) from None
