"""The steps that a user chooses by `eps` or `rel_eps`, or the automatic ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad._derivatives.higher import Higher
from fastgrad._dtypes import eps_of
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Leaf, entry_path
from fastgrad._stencils import Stencil, Steps
from fastgrad._tree import Params, pair

__all__ = ["steps_of"]

_NUMBERS = (int, float, np.floating, np.integer, np.bool_)


def steps_of(
    argument: Params,
    leaves: Sequence[Leaf],
    stencil: Stencil | Higher,
    eps: Any,
    rel_eps: Any = None,
) -> list[Steps]:
    """The steps of each leaf."""
    if eps is not None and rel_eps is not None:
        raise InputValueError(
            "`eps` and `rel_eps` both choose the step; got both: pass one of them, absolute or "
            "relative steps"
        )
    if rel_eps is not None:
        shares = _chosen(argument, leaves, rel_eps, "rel_eps")
        return [
            Steps(given=_relative(leaf, share, stencil))
            for leaf, share in zip(leaves, shares, strict=True)
        ]
    if eps is None:
        return [stencil.steps(leaf.real.dtype) for leaf in leaves]
    steps = []
    for leaf, each in zip(leaves, _chosen(argument, leaves, eps, "eps"), strict=True):
        if isinstance(each, float):
            steps.append(Steps(absolute=each))
        else:  # both parts of a complex entry move by its step
            steps.append(Steps(given=np.repeat(each.ravel(), 2 if leaf.is_complex else 1)))
    return steps


def _relative(leaf: Leaf, share: float | np.ndarray, stencil: Stencil | Higher) -> np.ndarray:
    """Steps in proportion to the entries, and automatic ones where these are 0 or not finite.

    Both parts of a complex entry move in proportion to its modulus.
    """
    with np.errstate(all="ignore"):
        size = np.abs(leaf.array).astype(np.float64, copy=False)
        steps = np.asarray(share * size).ravel()
    _refuse_lost(leaf, steps, share)
    automatic = stencil.relative_step(leaf.real.dtype)
    steps = np.where((steps > 0) & (steps < np.inf), steps, automatic)
    return np.repeat(steps, 2 if leaf.is_complex else 1)


def _refuse_lost(leaf: Leaf, steps: np.ndarray, share: Any) -> None:
    """Refuse relative steps that vanish in rounding, by the name that the user knows."""
    x = np.abs(leaf.array).ravel()
    with np.errstate(all="ignore"):
        lost = (x > 0) & (x < np.inf) & (steps > 0) & (x + steps.astype(x.dtype) == x)
    if lost.any():
        at = int(np.argmax(lost))
        chosen = float(np.broadcast_to(share, leaf.array.shape).flat[at])
        name = entry_path(leaf.path, np.unravel_index(at, leaf.array.shape))
        raise InputValueError(
            f"`rel_eps` = {chosen:g} vanishes at `{name}` = {float(x[at]):g}: in {x.dtype} the "
            f"moved entry equals the old one; use at least {2 * eps_of(x):.1e}, or rel_eps=None"
        )


def _chosen(
    argument: Params, leaves: Sequence[Leaf], given: Any, name: str
) -> list[float | np.ndarray]:
    """What the user gives for each leaf: a number, or an array of its shape."""
    if isinstance(given, _NUMBERS):
        return [_positive(given, name)] * len(leaves)
    chosen: list[float | np.ndarray] = []
    for leaf, each in pair(argument, given, name):
        mine = f"{name}` at `{leaf.path}"
        if isinstance(each, _NUMBERS):
            chosen.append(_positive(each, mine))
            continue
        array = _array_of_steps(each, mine)
        if array.shape != leaf.array.shape:
            raise InputValueError(
                f"`{mine}` must be a number or have shape {leaf.array.shape}; got {array.shape}"
            )
        if not ((array > 0) & (array < np.inf)).all():
            raise InputValueError(f"`{mine}` must hold positive finite steps; got {array}")
        chosen.append(array)
    return chosen


def _array_of_steps(given: Any, name: str) -> np.ndarray:
    try:
        if np.asarray(given).dtype.kind == "b":
            raise TypeError
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputTypeError(
            f"`{name}` must be a positive number, or an array of them; got {given!r}"
        ) from None


def _positive(eps: Any, name: str) -> float:
    if isinstance(eps, (bool, np.bool_)):
        raise InputTypeError(f"`{name}` must be a positive number, or None; got {eps!r}")
    try:
        step = float(eps)
    except OverflowError:
        step = math.inf
    if not 0 < step < math.inf:
        raise InputValueError(f"`{name}` must be a positive finite step, or None; got {eps!r}")
    return step
