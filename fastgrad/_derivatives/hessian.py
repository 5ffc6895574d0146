"""Second derivatives by finite differences: `hessian`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.given import GradientFunction
from fastgrad._derivatives.gradient import all_still
from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.second import Curvature
from fastgrad._derivatives.slopes import Slopes
from fastgrad._derivatives.steps import steps_of
from fastgrad._derivatives.twice import (
    Moving,
    gradient_function,
    real_parameters,
    refuse_unseen_moves,
)
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._stencils import Steps, central
from fastgrad._tree import Params, check_places, unflatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["hessian"]


def hessian(
    f: Callable[[Any], Any],
    params: Params,
    grad: Any = None,
    *,
    eps: Any = None,
    rel_eps: Any = None,
    bounds: Any = None,
    where: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> Any:
    """Differentiate a real function twice, with respect to every pair of entries.

    Entries are moved in place and put back, as by `gradient`. The result is symmetric to the last
    bit.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. With ``grad=True`` it returns the pair
        ``(value, gradient)``. It is not called where `grad` is a function.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        Where to differentiate: writable arrays of a floating type that share no memory, as for
        `gradient`. Complex ones are refused.
    grad : callable or True, optional
        ``grad(params)`` returns the gradient in the structure of `params`, or the pair (value,
        gradient). Differences of it are more precise than those of `f`, at 2 evaluations for each
        entry instead of `n`.
    eps : float, or the structure of `params`, optional
        Absolute step: one for all entries, or one for each. By default the step is sought: see
        Notes.
    rel_eps : float, or the structure of `params`, optional
        Relative step, instead of `eps`: an entry moves by ``rel_eps * |x|``, and by the automatic
        step of a central difference where that is 0.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` or `grad` may be evaluated, bounds included; see `gradient`. Where an entry would
        leave them, differences point inward, with an error of second order too. All second
        derivatives by an entry that has no room are NaN.
    where : structure of `params`, optional
        A boolean array of the shape of each leaf, or True or False for all of its entries: the
        entries to differentiate with respect to. Only these are moved, and second derivatives by
        the others are NaN.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f` or `grad`: see `gradient`.
    progress : bool, default False
        Show a bar, as `gradient` does.

    Returns
    -------
    structure of `params`, each leaf of which holds the structure of `params`
        As of `jax.hessian`: at `a` and there at `b` stands an array of shape ``a.shape + b.shape``
        with the second derivatives by the entries of `a` and of `b`. Of one array of `n` entries it
        is an (n, n) array. The type is the common one of `a` and `b`. An entry is NaN where `f` or
        `grad` is not finite at a point that it needs, and where `where` or bounds leave it out.

    Raises
    ------
    InputTypeError, InputValueError
        As of `gradient`; or `grad` is neither a function nor True, or does not return a gradient.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
        As of `gradient`.

    Warns
    -----
    FastgradWarning
        A second derivative of an entry by itself may be off by 1 % or more at any step, as at a
        kink: the worst entry is named. Or the derivatives of `grad` are not symmetric, beyond what
        truncation and rounding explain: the worst pair is named, and the mean is returned. Or
        nothing that is done to the parameters moves `f`.

    See Also
    --------
    hvp : the product with a vector, for a few gradients.

    Notes
    -----
    *From values.* Every entry is moved up and down, and every pair of entries together: ``n**2``
    evaluations, and ``3 n + 7`` more. Six of these (for each type of parameters) show how noisy `f`
    is, so that an `f` of float32 gets steps of its own; the others show the truncation at each
    entry by a second step. Where it outweighs noise, as beside the pole of a logarithm, smaller
    steps are tried, at 2 evaluations each, and larger ones where noise hides the second derivative.
    By the balance of both, eight digits are left of a smooth `f` in float64. An `eps` is taken as
    it is, with ``n**2 + n + 1`` evaluations. A pair takes four evaluations instead of two where
    bounds let one of its entries move to one side only.

    *From gradients.* Central differences of `grad`: ``2 n + 1`` gradients, two to six more for each
    entry that is not zero but smaller than 300 steps, and four for a pair that is not symmetric.
    Eleven digits are left. At a kink of `f` differences of either kind are meaningless.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x = np.array([1.0, 2.0])
    >>> fg.hessian(lambda x: x[0] ** 2 * x[1], x).round(5) + 0.0
    array([[4., 2.],
           [2., 0.]])
    >>> grad = lambda x: np.array([2 * x[0] * x[1], x[0] ** 2])
    >>> fg.hessian(lambda x: x[0] ** 2 * x[1], x, grad).round(9) + 0.0
    array([[4., 2.],
           [2., 0.]])
    """
    function = gradient_function(f, grad)
    argument, leaves = real_parameters(params)
    limits = bounds_of(bounds, argument, leaves)
    moving = Moving.of(argument, leaves, where, limits)
    steps = None
    if eps is not None or rel_eps is not None:
        steps = moving.steps(steps_of(argument, leaves, central(), eps, rel_eps))
    n, k = sum(leaf.real.size for leaf in leaves), len(moving.numbers)
    matrix = np.full((n, n), np.nan)
    if k:
        how = {"bounds": limits, "workers": workers, "progress": progress}
        found = _differenced(f, function, argument, moving, steps, how)
        matrix[np.ix_(moving.numbers, moving.numbers)] = found
        if all_still([found]):
            refuse_unseen_moves(f, function, argument, moving, limits)
    return _nested(argument, leaves, matrix, is_number=argument is not params)


def _differenced(
    f: Callable[[Any], Any],
    function: GradientFunction | None,
    argument: Params,
    moving: Moving,
    steps: Sequence[Steps] | None,
    how: dict[str, Any],
) -> np.ndarray:
    """The matrix of the entries that move; `how` is what the evaluator takes."""
    k = len(moving.numbers)
    if function is not None and moving.selection is not None:
        function = function.of(moving.numbers)
    run = evaluator(
        f if function is None else function,
        argument,
        moving.leaves,
        expected=k * k + 3 * k + 7 if function is None else 2 * k + 1,
        vector=function is not None,
        selection=moving.selection,
        **how,
    )
    try:
        with _errors.written_by("f" if function is None else function.name), run:
            at = Positions(run)
            given = None if steps is None else at.given(steps)
            if function is None:
                matrix = _from_values(run, at, moving, given)
            else:
                matrix = _from_gradients(run, at, moving, function, given)
            check_places(argument, moving.leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    return matrix


# ---------------------------------------------------------------- arguments and results


def _nested(argument: Params, leaves: Sequence[Leaf], matrix: np.ndarray, is_number: bool) -> Any:
    """The matrix as blocks, one for each pair of leaves."""
    stops = np.cumsum([0, *(leaf.array.size for leaf in leaves)])
    outer = []
    for a, rows in zip(leaves, _spans(stops), strict=True):
        inner = []
        for b, columns in zip(leaves, _spans(stops), strict=True):
            dtype = np.result_type(a.array.dtype, b.array.dtype).newbyteorder("=")
            block = matrix[rows, columns].reshape(a.array.shape + b.array.shape)
            with np.errstate(over="ignore"):
                inner.append(block.astype(dtype))
        outer.append(unflatten(argument, iter(inner)))
    if is_number and isinstance(argument, np.ndarray) and not argument.ndim:
        return outer[0][()]
    return unflatten(argument, iter(outer))


def _spans(stops: np.ndarray) -> list[slice]:
    return [slice(int(low), int(high)) for low, high in pairwise(stops)]


# ---------------------------------------------------------------- from values, and from gradients


def _from_values(
    run: Metered, at: Positions, moving: Moving, given: np.ndarray | None
) -> np.ndarray:
    run.phase("steps")
    curvature = Curvature(run, at)
    if given is None:
        curvature.learn_noise()
    run.guard.thin()
    steps = moving.keep_inside(curvature, given)
    if steps is None:
        look, errors = curvature.settle()
        curvature.warn_of(look, errors)
    else:
        look = curvature.look(np.arange(at.count), steps)
        at.refuse_lost(look.moved, steps)
    run.phase("pairs")
    return curvature.mixed(look)


def _from_gradients(
    run: Metered,
    at: Positions,
    moving: Moving,
    function: GradientFunction,
    given: np.ndarray | None,
) -> np.ndarray:
    slopes = Slopes(run, at, function)
    run.guard.thin()
    found, steps = slopes.jacobian(moving.keep_inside(slopes, given))
    slopes.warn_of_asymmetry(found, steps)
    with np.errstate(all="ignore"):
        mean: np.ndarray = (found + found.T) / 2
    return mean
