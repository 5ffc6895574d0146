"""Products of second derivatives with a vector, by finite differences: `hvp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.given import GradientFunction
from fastgrad._derivatives.gradient import all_still
from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.second import Curvature
from fastgrad._derivatives.settling import Look, settled
from fastgrad._derivatives.sides import Sides
from fastgrad._derivatives.slopes import NEAR_ZERO, Slopes
from fastgrad._derivatives.steps import steps_of
from fastgrad._derivatives.twice import (
    Moving,
    gradient_function,
    real_parameters,
    refuse_unseen_moves,
)
from fastgrad._derivatives.vectors import vectors_of
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._stencils import Steps, central
from fastgrad._tree import Params, check_places, unflatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["hvp"]

# The product along `v` itself, and the second difference along it, agree to this share and this
# many error bars of the latter; truncation of both is far below.
_DISAGREE, _BARS = 1e-3, 4.0


def hvp(
    f: Callable[[Any], Any],
    params: Params,
    v: Params,
    grad: Any = None,
    *,
    eps: Any = None,
    rel_eps: Any = None,
    bounds: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> Any:
    """Multiply the second derivatives of a real function with a vector.

    Entries are moved in place and put back, as by `gradient`; the matrix itself is never made.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. With ``grad=True`` it returns the pair
        ``(value, gradient)``. It is not called where `grad` is a function.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        Where to differentiate, as for `hessian`.
    v : structure of `params`
        The vector: real arrays of the shapes of those in `params`.
    grad : callable or True, optional
        ``grad(params)`` returns the gradient in the structure of `params`, or the pair (value,
        gradient): three gradients are taken instead of some ``4 n`` values of `f`.
    eps : float, or the structure of `params`, optional
        Absolute step: one for all entries, or one for each. The parameters move along `v` until the
        first entry has moved by its own; without `grad`, each entry moves by its own too. By
        default steps are sought: see Notes.
    rel_eps : float, or the structure of `params`, optional
        Relative step, instead of `eps`: ``rel_eps * |x|`` for an entry, and the automatic step of a
        central difference where that is 0.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` or `grad` may be evaluated, bounds included; see `gradient`. Differences point
        inward where that is needed, and those parts of `v` that have room on different sides are
        taken one by one, up to six of them. The product is NaN where an entry has to move and has
        no room; without `grad`, so is the entry of the product for one that has none.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f` or `grad`: see `gradient`.
    progress : bool, default False
        Show a bar, as `gradient` does.

    Returns
    -------
    structure of `params`
        The product ``H v``, in arrays with the shapes and types of those in `params`. An entry is
        NaN where `f` or `grad` is not finite at a point that it needs.

    Raises
    ------
    InputTypeError, InputValueError
        As of `hessian`; or `v` does not have the structure of `params`, or is not finite.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
        As of `gradient`.

    Warns
    -----
    FastgradWarning
        The second derivative along `v`, or by an entry close to zero, may be off by 1 % or more at
        any step.

    Notes
    -----
    From gradients it is their central difference along `v`. The first step moves no entry by more
    than 7e-6 of its length ``max(1, |x|)``; where it is more than 1/300 of an entry, smaller steps
    are tried as well, at two gradients each. Two more show whether the difference stands where the
    gradient changes by much along it, as at a kink, or at a minimum, where it is zero.

    From values it is the difference of two gradients along `v`, each by central differences:
    ``4 n`` evaluations, six that show the noise of `f`, and some five that settle the step along
    `v`. Entries that are not zero but below 300 steps, of 3e-4 each, take four evaluations or more
    to settle theirs; so do all entries, and the difference is repeated, where the product is not
    what the second difference along `v` shows. Both are as precise as `hessian`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> fg.hvp(lambda x: x[0] ** 2 * x[1], x, v).round(5)
    array([2., 2.])
    """
    function = gradient_function(f, grad)
    argument, leaves = real_parameters(params)
    column = np.concatenate([np.empty(0), *map(np.ravel, vectors_of(argument, v))])
    limits = bounds_of(bounds, argument, leaves)
    moving = Moving.of(argument, leaves, None, limits)
    steps = None
    if eps is not None or rel_eps is not None:
        steps = moving.steps(steps_of(argument, leaves, central(), eps, rel_eps))
    how = {"bounds": limits, "workers": workers, "progress": progress}
    found = np.full(len(column), np.nan)
    still = np.ones(len(column), bool)
    still[moving.numbers] = False
    if not np.count_nonzero(column):
        found.fill(0.0)
    elif not np.count_nonzero(column[still]):  # else an entry has to move and has no room
        part = _differenced(f, function, argument, moving, column[moving.numbers], steps, how)
        found[moving.numbers if function is None else slice(None)] = part
        if all_still([found]):
            refuse_unseen_moves(f, function, argument, moving, limits)
    arrays = _arrays(leaves, found)
    if argument is not params and isinstance(argument, np.ndarray) and not argument.ndim:
        return arrays[0][()]
    return unflatten(argument, iter(arrays))


def _arrays(leaves: Sequence[Leaf], column: np.ndarray) -> list[np.ndarray]:
    """A column as arrays of the shapes and types of the parameters."""
    arrays, start = [], 0
    for leaf in leaves:
        stop = start + leaf.array.size
        arrays.append(np.zeros_like(leaf.array, subok=False))
        with np.errstate(over="ignore"):
            arrays[-1][...] = column[start:stop].reshape(leaf.array.shape)
        start = stop
    return arrays


def _differenced(
    f: Callable[[Any], Any],
    function: GradientFunction | None,
    argument: Params,
    moving: Moving,
    v: np.ndarray,
    steps: Sequence[Steps] | None,
    how: dict[str, Any],
) -> np.ndarray:
    """The product, in all entries or, from values, in those that move."""
    run = evaluator(
        f if function is None else function,
        argument,
        moving.leaves,
        expected=4 * len(v) + 12 if function is None else 3,
        vector=function is not None,
        selection=moving.selection,
        **how,
    )
    try:
        with _errors.written_by("f" if function is None else function.name), run:
            at = Positions(run)
            given = None if steps is None else at.given(steps)
            if function is None:
                found = _from_values(run, at, moving, v, given)
            else:
                found = _from_gradients(run, at, moving, function, v, given)
            check_places(argument, moving.leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    return found


def _from_values(
    run: Metered, at: Positions, moving: Moving, v: np.ndarray, given: np.ndarray | None
) -> np.ndarray:
    curvature = Curvature(run, at)
    if given is None:
        curvature.learn_noise()
    run.guard.thin()
    # Half of the room for moves along `v`, and half for those of single entries beside.
    steps = moving.keep_inside(curvature, given, 0.5)
    if steps is None:
        steps = curvature.first_steps()
        near = at.near_zero(steps, NEAR_ZERO)
        if len(near):
            steps[near] = curvature.settled_steps(near, steps[near])
    first = curvature.first_steps() if given is None else given
    total = np.zeros(at.count)
    for part in _parts(moving, v, at.reach(v, first), 3):
        if given is None:
            total += _settled_product(curvature, at, part, first, steps)
        else:
            length = part.length(at, given)
            at.refuse_still(part.v, given, length)
            total += curvature.times(part.v, length, steps, part.side)
    return total


def _settled_product(
    curvature: Curvature, at: Positions, part: _Part, first: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """The product with a part of `v`, at the length that suits it best."""
    along, error = _settled_along(curvature, at, part, first)
    length = float(along.steps[0])
    told = curvature.warn_along(along, error, part.v)
    found = curvature.times(part.v, length, steps, part.side)
    # The direction has found a step of its own; entries that need one do not agree with it.
    with np.errstate(over="ignore", invalid="ignore"):
        terms = part.v * found
        total, size = float(terms.sum()), float(np.abs(terms).sum())
    apart = abs(total - float(along.estimate[0]))
    if apart > _DISAGREE * size + _BARS * float(error[0]):
        everything = np.arange(at.count)
        steps[...] = curvature.settled_steps(everything, curvature.first_steps(), told=told)
        found = curvature.times(part.v, length, steps, part.side)
    return found


def _from_gradients(
    run: Metered,
    at: Positions,
    moving: Moving,
    function: GradientFunction,
    v: np.ndarray,
    given: np.ndarray | None,
) -> np.ndarray:
    slopes = Slopes(run, at, function)
    run.guard.thin()
    steps = slopes.first_steps() if given is None else given
    total = np.zeros(len(slopes.base))
    for part in _parts(moving, v, at.reach(v, steps), 2):
        length = part.length(at, steps)
        if given is not None:
            at.refuse_still(part.v, given, length)
        near = at.near_zero(length * np.abs(part.v), NEAR_ZERO) if given is None else ()
        if len(near):
            look, error = _settled_along(slopes, at, part, steps)
            slopes.warn_along(look, error, part.v)
        else:
            look = slopes.look_along(part.v, np.array([length]), part.side)
            if given is None:
                slopes.verify_along(look, part.v, part.side)
        total += look.estimate[0]
    return total


@dataclass(frozen=True, eq=False)
class _Part:
    """Entries of `v` that move together: to both sides, or to one, and no farther than `most`."""

    v: np.ndarray
    side: int
    most: float

    def length(self, at: Positions, steps: np.ndarray) -> float:
        """The length at which the first entry has moved by its step, if there is room for it."""
        return min(float(at.reach(self.v, steps)[0]), self.most)


def _parts(moving: Moving, v: np.ndarray, first: np.ndarray, points: int) -> list[_Part]:
    """The parts of `v`: one, or with bounds one for each side, and for those with little room."""
    if not moving.bounded:
        return [_Part(v, 0, np.inf)]
    with np.errstate(all="ignore"):
        up, down = (np.where(v != 0, 0.5 * r / np.abs(v), np.inf) for r in (moving.up, moving.down))
    ahead, behind = np.where(v < 0, down, up), np.where(v < 0, up, down)
    sides = Sides.of(np.full(len(v), first[0]), ahead, behind, points)
    parts = []
    for side in (0, 1, -1):
        for little in (False, True):
            mine = (v != 0) & (sides.sides == side) & ((sides.most < first[0]) == little)
            if mine.any():
                parts.append(_Part(np.where(mine, v, 0.0), side, float(sides.most[mine].min())))
    return parts


def _settled_along(
    what: Curvature | Slopes, at: Positions, part: _Part, steps: np.ndarray
) -> tuple[Look, np.ndarray]:
    """The derivative along a part, at the length that suits it best, with a bound on its error."""

    def look(_: np.ndarray, lengths: np.ndarray) -> Look:
        return what.look_along(part.v, lengths, part.side)

    # The direction counts as one position, of number 0.
    length = np.array([part.length(at, steps)])
    return settled(look, np.zeros(1, np.intp), length, at.reach(part.v, at.sizes()))
