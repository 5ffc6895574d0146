"""The analytic Jacobian that the user claims: called or taken, checked, and copied."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastgrad._checks.claim import Analytic, spacing_of
from fastgrad._checks.layout import Block, Layout
from fastgrad._derivatives.given import got_type, read_array
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._tree import Params, pair

__all__ = ["check_claim", "claimed", "given"]


def check_claim(jac: Any, name: str = "jac", derivative: str = "Jacobian") -> None:
    """Refuse what cannot be a Jacobian, before anything is evaluated."""
    if jac is True:
        raise InputTypeError(
            f"`{name}` must be a function, or the {derivative} itself; got True. Where a function "
            f"returns (values, {derivative}), pass lambda p: both(p)[0] as `f` and lambda p: "
            f"both(p)[1] as `{name}`"
        )
    if jac is None or jac is False:
        raise InputTypeError(
            f"`{name}` must be a function, or the {derivative} itself; got {jac!r}"
        )


def given(jac: Any, argument: Params) -> Any:
    """What the user passed, or what it returns."""
    return jac(argument) if callable(jac) else jac


def claimed(value: Any, layout: Layout, argument: Params) -> Analytic:
    """A claimed Jacobian as a copy, in one column, block after block."""
    arrays = [
        _block_array(block, part)
        for block, part in zip(layout.blocks, _parts(value, layout, argument), strict=True)
    ]
    column, start = np.empty(sum(block.size for block in layout.blocks)), 0
    for block, array in zip(layout.blocks, arrays, strict=True):
        if block.output.is_complex:
            array = array.astype(np.complex128, copy=False).ravel().view(np.float64)
        column[start : start + block.size] = array.reshape(-1)
        start += block.size
    return Analytic(column, tuple(map(spacing_of, arrays)), None, layout.spans)


def _parts(value: Any, layout: Layout, argument: Params) -> Iterator[Any]:
    """What stands in the place of each block."""
    # Of what `f` returned only the containers are asked for.
    outputs = layout.outputs.tree([np.empty(leaf.shape) for leaf in layout.outputs.leaves])
    root, like, kind = ("out", "what `f` returns", "Jacobian")
    if layout.square:
        root, like, kind = "", "the parameters", "Hessian"
    try:
        for leaf, nest in pair(outputs, value, "jac", root, like):
            for _, part in pair(argument, nest, f"jac` at `{leaf.path}", "", "the parameters"):
                yield part
    except (InputTypeError, InputValueError) as error:
        again = " again" * layout.square
        raise type(error)(
            f"{error}. A {kind} has the structure of {like}, and in place of each array there that "
            f"of the parameters{again}, as with jax.{kind.lower()}"
        ) from None


def _block_array(block: Block, value: Any) -> np.ndarray:
    """One block as an array of exactly its shape."""
    place, shape = f"`jac` at `{block.path}`", block.shape
    if hasattr(value, "toarray") and hasattr(value, "nnz"):  # a sparse matrix of SciPy's
        _check_shape(block, value.shape)
        value = value.toarray()
    array = read_array(place, shape, value)
    allowed = "iufc" if block.output.is_complex else "iuf"
    if array.dtype.kind not in allowed:
        raise InputTypeError(
            f"{place} must hold {'complex' if 'c' in allowed else 'real'} numbers; "
            f"{got_type(array)}"
        )
    _check_shape(block, array.shape)
    return np.asarray(array)  # of an np.matrix too


def _check_shape(block: Block, shape: tuple[int, ...]) -> None:
    """Refuse another shape, and say what it may be instead."""
    if shape == block.shape:
        return
    outputs, parameters = block.output.shape, block.leaf.array.shape
    said = (
        f"`jac` at `{block.path}` must have shape {block.shape}, that of `{block.output.path}` "
        f"followed by that of `{block.leaf.path}`; got {shape}"
    )
    if shape == parameters + outputs:
        said += ": it is the transposed Jacobian, with the parameters before the outputs"
    elif shape == (block.output.size, block.leaf.array.size):
        said += f"; .reshape({block.shape}) makes it so"
    elif shape == outputs[::-1] + parameters[::-1]:
        said += ": its axes are in another order"
    raise InputValueError(said)
