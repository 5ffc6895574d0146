"""A vector that a user passes beside the parameters, such as the direction of a product."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._tree import Params, as_params, describe, pair

__all__ = ["vectors_of"]


def vectors_of(argument: Params, v: Any) -> list[np.ndarray]:
    """The vector `v`, leaf by leaf, as finite numbers in float64."""
    vectors = []
    for leaf, given in pair(argument, as_params(v, "v"), "v"):
        array = np.asarray(given)
        if array.dtype.kind not in "iuf":
            raise InputTypeError(
                f"`v` at `{leaf.path}` must hold real numbers; got {describe(given)} of dtype "
                f"{array.dtype}"
            )
        if array.shape != leaf.array.shape:
            raise InputValueError(
                f"`v` at `{leaf.path}` must have shape {leaf.array.shape}; got {array.shape} "
                "(nothing is broadcast)"
            )
        vectors.append(np.array(array, np.float64))
        if not np.isfinite(vectors[-1]).all():
            raise InputValueError(f"`v` at `{leaf.path}` must be finite; got {array}")
    return vectors
