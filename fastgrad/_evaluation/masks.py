"""Which entries of the parameters are meant: what a user passes as `where`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Leaf
from fastgrad._tree import Params, describe, pair

__all__ = ["chosen_entries", "masks_of"]

_EXPECTED = (
    "`where` must be True or False, or have the structure of the parameters with a boolean array, "
    "True or False in place of each leaf"
)


def chosen_entries(where: Any, argument: Params, leaves: Sequence[Leaf]) -> list[np.ndarray] | None:
    """Numbers of the real entries that are meant, in C order; None where all are."""
    if where is None:
        return None
    chosen = []
    for leaf, mask in zip(leaves, masks_of(where, argument, leaves), strict=True):
        numbers = np.flatnonzero(mask)
        if leaf.is_complex:
            numbers = (2 * numbers[:, np.newaxis] + (0, 1)).ravel()
        chosen.append(numbers.astype(np.intp, copy=False))
    return chosen


def masks_of(where: Any, argument: Params, leaves: Sequence[Leaf]) -> list[np.ndarray]:
    """A boolean array for each leaf, of its shape: True where an entry is meant."""
    if isinstance(where, (bool, np.bool_)):
        return [np.full(leaf.array.shape, bool(where)) for leaf in leaves]
    return [_mask(leaf, given) for leaf, given in pair(argument, where, "where")]


def _mask(leaf: Leaf, given: Any) -> np.ndarray:
    try:
        mask = np.asarray(given)
    except ValueError:  # ragged
        mask = np.asarray(None)
    if mask.dtype.kind != "b":
        seen = f"{describe(given)} of dtype {mask.dtype}" if mask.ndim else describe(given)
        raise InputTypeError(f"{_EXPECTED}; got {seen} at `{leaf.path}`")
    if mask.shape not in ((), leaf.array.shape):
        raise InputValueError(
            f"`where` at `{leaf.path}` must be True, False or have shape {leaf.array.shape}; got "
            f"{mask.shape} (nothing is broadcast)"
        )
    return np.broadcast_to(mask, leaf.array.shape)
