"""What `hessian` and `hvp` share: their parameters, gradients, and the entries that move."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._derivatives.given import GradientFunction
from fastgrad._derivatives.gradient import refuse_unseen
from fastgrad._derivatives.second import Curvature
from fastgrad._derivatives.sides import rooms_within
from fastgrad._derivatives.slopes import Slopes
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.local import check_callable, is_plain_function
from fastgrad._evaluation.masks import masks_of
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._stencils import Steps
from fastgrad._tree import Params, as_params, describe, flatten, unflatten

__all__ = ["Moving", "gradient_function", "real_parameters", "refuse_unseen_moves"]

_COMPLEX = (
    "`{}` is complex, and second derivatives are those by real parameters; pass its real and its "
    "imaginary part as two arrays"
)


def gradient_function(f: Any, grad: Any) -> GradientFunction | None:
    """The gradient as a function that returns one column, or None without one."""
    check_callable(f, "f")
    if grad is None:
        return None
    if grad is not True and not callable(grad):
        raise InputTypeError(
            f"`grad` must be callable as grad(params), or True where `f` returns (value, "
            f"gradient); got {describe(grad)}"
        )
    made = f if grad is True else grad
    if not is_plain_function(made):
        raise InputTypeError(
            f"`{'f' if grad is True else 'grad'}` must return a gradient at one point, and a "
            "batched or native objective returns numbers; pass a Python function as `grad`"
        )
    return GradientFunction(made, pairs=grad is True)


def real_parameters(params: Params) -> tuple[Params, list[Leaf]]:
    """The parameters, none of which is complex, and their leaves."""
    argument = as_params(params)
    leaves = flatten(argument)
    for leaf in leaves:
        if leaf.is_complex:
            raise InputTypeError(_COMPLEX.format(leaf.path))
    return argument, leaves


def refuse_unseen_moves(
    f: Callable[[Any], Any],
    function: GradientFunction | None,
    argument: Params,
    moving: Moving,
    limits: Bounds | None,
) -> None:
    """Of second derivatives that are all zero: refuse an `f` or a gradient that sees no moves."""
    where = (argument, moving.leaves, limits)
    if function is None:
        refuse_unseen(f, *where, selection=moving.selection)
        return
    outputs = Outputs.of(np.empty(sum(leaf.array.size for leaf in moving.leaves)))
    name = "f" if function.pairs else "grad"
    # The gradient of a linear function is constant.
    refuse_unseen(function, *where, outputs, moving.selection, name=name, warns=False)


@dataclass(frozen=True, eq=False)
class Moving:
    """The entries that move: those that are meant, and have room within their bounds."""

    leaves: Sequence[Leaf]
    selection: Selection | None  # None: all of them
    numbers: np.ndarray  # (k,) of those that move, among all entries of all leaves
    up: np.ndarray  # (k,) how far they may move
    down: np.ndarray
    bounded: bool

    @staticmethod
    def of(argument: Params, leaves: Sequence[Leaf], where: Any, bounds: Bounds | None) -> Moving:
        """What `where` and bounds leave."""
        up, down = rooms_within(bounds, leaves)
        move = np.maximum(up, down) > 0
        if where is not None:
            masks = [mask.reshape(-1) for mask in masks_of(where, argument, leaves)]
            move &= np.concatenate([np.empty(0, bool), *masks])
        parts, start = [], 0
        for leaf in leaves:
            stop = start + leaf.array.size
            parts.append(move[start:stop].reshape(leaf.array.shape))
            start = stop
        selection = None
        if not move.all():
            selection = selection_of(unflatten(argument, iter(parts)), argument, leaves)
        numbers = np.flatnonzero(move)
        return Moving(leaves, selection, numbers, up[move], down[move], bounds is not None)

    def steps(self, steps: Sequence[Steps]) -> list[Steps]:
        """The steps of the entries that move, of those of all."""
        if self.selection is None:
            return list(steps)
        found = []
        for k, each in enumerate(steps):
            mine = self.selection.chosen(k)
            given = each.given is not None and mine is not None
            found.append(Steps(given=each.given[mine]) if given else each)  # type: ignore[index]
        return found

    def keep_inside(
        self, what: Curvature | Slopes, steps: np.ndarray | None, share: float = 1.0
    ) -> np.ndarray | None:
        """Have differences use this share of the rooms; the user's steps, cut where that asks."""
        if not self.bounded:
            return steps
        what.stay(share * self.up, share * self.down, steps)
        assert what.sides is not None
        return None if steps is None else what.sides.cut(steps)
