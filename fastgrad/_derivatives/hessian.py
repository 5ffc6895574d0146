"""Second derivatives by finite differences: `hessian` and `hvp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastgrad._derivatives.given import GradientFunction
from fastgrad._derivatives.gradient import refuse_unseen
from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.second import Curvature
from fastgrad._derivatives.settling import Look, settled
from fastgrad._derivatives.slopes import NEAR_ZERO, Slopes
from fastgrad._derivatives.steps import steps_of
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.local import check_callable, is_plain_function
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._stencils import central
from fastgrad._tree import Params, as_params, check_places, describe, flatten, pair, unflatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["hessian", "hvp"]

# The product along `v` itself, and the second difference along it, agree to this share and this
# many error bars of the latter; truncation of both is far below.
_DISAGREE, _BARS = 1e-3, 4.0
_COMPLEX = (
    "`{}` is complex, and second derivatives are those by real parameters; pass its real and its "
    "imaginary part as two arrays"
)


def hessian(
    f: Callable[[Any], Any],
    params: Params,
    grad: Any = None,
    *,
    eps: Any = None,
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
        `grad` is not finite at a point that it needs.

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
    it is, with ``n**2 + n + 1`` evaluations.

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
    function = _function(f, grad)
    argument, leaves = _real_parameters(params)
    steps = None if eps is None else steps_of(argument, leaves, central(), eps)
    n = sum(leaf.real.size for leaf in leaves)
    expected = n * n + 3 * n + 7 if function is None else 2 * n + 1
    run = evaluator(
        f if function is None else function,
        argument,
        leaves,
        workers=workers,
        progress=progress,
        expected=expected,
        vector=function is not None,
    )
    try:
        with run:
            at = Positions(run)
            given = None if steps is None else at.given(steps)
            if not n:
                matrix = np.empty((0, 0))
            elif function is None:
                matrix = _from_values(run, at, given)
            else:
                matrix = _from_gradients(run, at, function, given)
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if function is None and n and not np.count_nonzero(matrix):
        refuse_unseen(f, argument, leaves)
    return _nested(argument, leaves, matrix, is_number=argument is not params)


def hvp(
    f: Callable[[Any], Any],
    params: Params,
    v: Params,
    grad: Any = None,
    *,
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
    are tried as well, at two gradients each.

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
    function = _function(f, grad)
    argument, leaves = _real_parameters(params)
    column = _column(argument, v)
    results = [Leaf(leaf.path, np.zeros_like(leaf.array, subok=False)) for leaf in leaves]
    run = evaluator(
        f if function is None else function,
        argument,
        leaves,
        workers=workers,
        progress=progress,
        expected=4 * len(column) + 12 if function is None else 3,
        vector=function is not None,
    )
    try:
        with run:
            found = np.zeros(len(column))
            if np.count_nonzero(column):
                at = Positions(run)
                if function is None:
                    found = _product_of_values(run, at, column)
                else:
                    found = _product_of_gradients(run, at, function, column)
            check_places(argument, leaves)
    finally:
        run.guard.close()  # as above
    start = 0
    for result in results:
        stop = start + result.array.size
        result.array[...] = found[start:stop].reshape(result.array.shape)
        start = stop
    if argument is not params and isinstance(argument, np.ndarray) and not argument.ndim:
        return results[0].array[()]
    return unflatten(argument, iter([result.array for result in results]))


# ---------------------------------------------------------------- arguments and results


def _function(f: Any, grad: Any) -> GradientFunction | None:
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


def _real_parameters(params: Params) -> tuple[Params, list[Leaf]]:
    argument = as_params(params)
    leaves = flatten(argument)
    for leaf in leaves:
        if leaf.is_complex:
            raise InputTypeError(_COMPLEX.format(leaf.path))
    return argument, leaves


def _column(argument: Params, v: Any) -> np.ndarray:
    """The vector as one column of finite numbers."""
    parts = [np.empty(0)]
    for leaf, given in pair(argument, as_params(v), "v"):
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
        parts.append(array.reshape(-1).astype(np.float64))
        if not np.isfinite(parts[-1]).all():
            raise InputValueError(f"`v` at `{leaf.path}` must be finite; got {array}")
    return np.concatenate(parts)


def _nested(argument: Params, leaves: Sequence[Leaf], matrix: np.ndarray, is_number: bool) -> Any:
    """The matrix as blocks, one for each pair of leaves."""
    stops = np.cumsum([0, *(leaf.array.size for leaf in leaves)])
    outer = []
    for a, rows in zip(leaves, _spans(stops), strict=True):
        inner = []
        for b, columns in zip(leaves, _spans(stops), strict=True):
            dtype = np.result_type(a.array.dtype, b.array.dtype).newbyteorder("=")
            block = matrix[rows, columns].reshape(a.array.shape + b.array.shape)
            inner.append(block.astype(dtype))
        outer.append(unflatten(argument, iter(inner)))
    if is_number and isinstance(argument, np.ndarray) and not argument.ndim:
        return outer[0][()]
    return unflatten(argument, iter(outer))


def _spans(stops: np.ndarray) -> list[slice]:
    return [slice(int(low), int(high)) for low, high in pairwise(stops)]


# ---------------------------------------------------------------- from values, and from gradients


def _from_values(run: Metered, at: Positions, steps: np.ndarray | None) -> np.ndarray:
    run.phase("steps")
    curvature = Curvature(run, at)
    if steps is None:
        curvature.learn_noise()
    run.guard.thin()
    if steps is None:
        look, errors = curvature.settle()
        curvature.warn_of(look, errors)
    else:
        look = curvature.look(np.arange(at.count), steps)
        at.refuse_lost(look.moved, steps)
    run.phase("pairs")
    return curvature.mixed(look)


def _from_gradients(
    run: Metered, at: Positions, function: GradientFunction, given: np.ndarray | None
) -> np.ndarray:
    slopes = Slopes(run, at, function)
    run.guard.thin()
    found, steps = slopes.jacobian(given)
    slopes.warn_of_asymmetry(found, steps)
    with np.errstate(all="ignore"):
        mean: np.ndarray = (found + found.T) / 2
    return mean


def _product_of_values(run: Metered, at: Positions, v: np.ndarray) -> np.ndarray:
    curvature = Curvature(run, at)
    curvature.learn_noise()
    run.guard.thin()
    steps = curvature.first_steps()
    near = at.near_zero(steps, NEAR_ZERO)
    if len(near):
        steps[near] = curvature.settled_steps(near, steps[near])
    along, error = _settled_along(curvature, at, v, curvature.first_steps())
    length = float(along.steps[0])
    found = curvature.times(v, length, steps)
    # The direction has found a step of its own; entries that need one do not agree with it.
    terms = v * found
    apart = abs(float(terms.sum()) - float(along.estimate[0]))
    if apart > _DISAGREE * float(np.abs(terms).sum()) + _BARS * float(error[0]):
        steps = curvature.settled_steps(np.arange(at.count), curvature.first_steps())
        found = curvature.times(v, length, steps)
    return found


def _product_of_gradients(
    run: Metered, at: Positions, function: GradientFunction, v: np.ndarray
) -> np.ndarray:
    slopes = Slopes(run, at, function)
    run.guard.thin()
    steps = slopes.first_steps()
    length = at.reach(v, steps)
    near = at.near_zero(length * np.abs(v), NEAR_ZERO)
    look = slopes.look_along(v, length) if not len(near) else None
    look = look or _settled_along(slopes, at, v, steps)[0]
    found: np.ndarray = look.estimate[0]
    return found


def _settled_along(
    what: Curvature | Slopes, at: Positions, v: np.ndarray, steps: np.ndarray
) -> tuple[Look, np.ndarray]:
    """The derivative along `v`, at the length that suits it best, with a bound on its error."""

    def look(_: np.ndarray, lengths: np.ndarray) -> Look:
        return what.look_along(v, lengths)

    # The direction counts as one position, of number 0.
    return settled(look, np.zeros(1, np.intp), at.reach(v, steps), at.reach(v, at.sizes()))
