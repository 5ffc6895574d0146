"""Sparse Jacobians and Hessians: columns of one color are measured together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.colored import Plan, differences, name_of_row, plan_of
from fastgrad._derivatives.coloring import color_vertices, colored
from fastgrad._derivatives.gradient import all_still, refuse_unseen
from fastgrad._derivatives.known import known_values
from fastgrad._derivatives.pattern import Pattern, SparseArray, pattern_of
from fastgrad._derivatives.steps import steps_of
from fastgrad._derivatives.undeclared import (
    Residual,
    Undeclared,
    find_undeclared,
    moves_of,
    residual_of,
)
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.local import check_callable, is_plain_function
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._stencils import Stencil, Steps, resolve
from fastgrad._tree import as_params, describe, flatten, pair
from fastgrad._workers.evaluator import evaluator

__all__ = ["one_real_array", "sparse_hessian", "sparse_jacobian"]

# A row whose derivative along the random direction differs from what its entries say by more than
# this share of them is told of: three digits are what most users of a Jacobian rely on.
_MISLEADING = 1e-3
# Evaluations that compare the derivative along a direction.
_TO_VERIFY = 2


def sparse_jacobian(
    f: Callable[[Any], Any],
    x: Any,
    sparsity: Any,
    *,
    method: Stencil | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> SparseArray:
    """Differentiate a function of many numbers whose Jacobian is sparse.

    Columns that share no row have one color and are measured together, in place: a tridiagonal
    Jacobian takes six evaluations, whatever its size. Two evaluations more verify that `sparsity`
    is complete.

    Parameters
    ----------
    f : callable
        ``f(x)`` returns `m` real numbers: an array of any shape, or a nest of arrays, whose entries
        in order are the rows of the Jacobian. It must not write into `x`.
    x : array of a real floating type, of any shape, or numbers
        Where to differentiate. Its `n` entries, in C order, are the columns of the Jacobian. They
        are moved in place and put back to the bit.
    sparsity : scipy.sparse array or matrix, mask, Sparsity, or pair of int
        Where the Jacobian, of shape (m, n), may be other than zero: every stored entry of a sparse
        array, whatever its value; every entry of a mask that is not zero; ``(lower, upper)``, how
        many diagonals a square band has below and above the main one; or what `jacobian_sparsity`
        returned.
    method : Stencil or str, default "central"
        The method: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or its name
        alone. A central difference takes twice as many evaluations as a forward one, and has twice
        as many correct digits.
    eps : float or array of the shape of `x`, optional
        Absolute step: one for all entries, or one for each. By default
        ``u**(1 / (order + 1)) * max(1, |x|)`` with the machine epsilon `u` of the type of `x`.
    rel_eps : float or array of the shape of `x`, optional
        Relative step, instead of `eps`: an entry moves by ``rel_eps * |x|``, and by the automatic
        step where that is 0.
    f0 : structure of what `f` returns, optional
        What `f` returns at `x`, where it is known, in the same shapes and types: one evaluation
        less for one-sided differences. It is not verified.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, as for `gradient`. Entries beside a bound have differences that
        point inward; if a color has such entries and others, it is measured once for each kind.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f`, as for `gradient`.
    progress : bool, default False
        Show a bar with the evaluations made and expected, as for `gradient`.

    Returns
    -------
    scipy.sparse.csr_array of shape (m, n), float64
        It stores every entry of `sparsity`, also where it is zero. An entry is NaN where `f` is not
        finite at its points, and in a column whose bounds leave no room.

    Raises
    ------
    InputTypeError
        `x` is not one real array, `sparsity` is of the wrong kind, or `f` did not return real
        numbers.
    InputValueError
        `sparsity` lacks an entry: the error names its row and its column. Or `sparsity` has not one
        row for each value of `f` and one column for each entry of `x`; or `x`, `eps`, `rel_eps` or
        `bounds` cannot be used, as for `gradient`.
    MutationError, ConcurrencyError, WorkerError, ObjectiveError
        As for `gradient`.
    MissingPackageError
        SciPy is not installed, or `progress` is true and tqdm is not.

    Warns
    -----
    FastgradWarning
        A row disagrees with the derivative along the random direction by more than 0.1 %, although
        `sparsity` lacks nothing there: `f` has a kink or a jump, or is noisy, or its step is too
        large.

    See Also
    --------
    jacobian_sparsity : finds the pattern.
    color_columns : the colors.
    sparse_hessian : the same of a gradient, with fewer colors.

    Notes
    -----
    The pattern is verified along one random direction, in which each entry moves by a third of its
    step to a whole one. What this adds to a value of `f` must be what the row of the Jacobian says,
    to within a millionth of what its entries add up to without their signs, or more where the step
    explains it; and to within ``16 u (|f| + |J| |x|)`` for the row itself and for each of its
    entries, with the machine epsilon `u`. An undeclared entry below that is not seen. One above it
    is missed if several in one row happen to cancel. In the eight rows that disagree most, all
    entries of `x` that are not declared there are moved alone, by two lengths: only what then moves
    `f`, and farther by the longer one, is an error. So neither a kink nor noise nor a coarse step
    is taken for an entry. Rows with values that are not finite are not verified.

    Memory beyond `x` is less than four times that of the result, if `f` has about as many values as
    `x` has entries.

    References
    ----------
    A. Curtis, M. J. D. Powell, J. Reid, On the estimation of sparse Jacobian matrices, J. Inst.
    Math. Appl. 13 (1974).

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> def f(x):
    ...     return np.diff(x, prepend=0.0, append=0.0)[:-1] ** 2
    >>> J = fg.sparse_jacobian(f, np.array([1.0, 3.0, 2.0]), (1, 0))
    >>> print(J.toarray().round(6))
    [[ 2.  0.  0.]
     [-4.  4.  0.]
     [ 0.  2. -2.]]
    """
    check_callable(f, "f")
    leaf = one_real_array(x)
    pattern = pattern_of(sparsity, leaf.real.size)
    known = None if f0 is None else known_values(f0)
    stepping = _stepping(leaf, method, eps, rel_eps)
    data = _measured(f, leaf, pattern, _How(*stepping, known, bounds, workers, progress))
    return pattern.matrix(data).tocsr()


def sparse_hessian(
    grad: Callable[[Any], Any],
    x: Any,
    sparsity: Any,
    *,
    method: Stencil | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    bounds: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> SparseArray:
    """Differentiate a gradient whose Jacobian, the Hessian, is sparse.

    As the Hessian is symmetric, each entry needs to be alone in one of its two places only: columns
    may move together that would share a row in `sparse_jacobian`. An arrow takes two colors, where
    its columns have as many as there are.

    Parameters
    ----------
    grad : callable
        ``grad(x)`` returns the gradient, an array of `n` real numbers. It must not write into `x`.
    x : array of a real floating type, of any shape, or numbers
        Where to differentiate, as for `sparse_jacobian`.
    sparsity : scipy.sparse array or matrix, mask, Sparsity, or pair of int
        Where the Hessian, of shape (n, n), may be other than zero, as for `sparse_jacobian`; one of
        the two triangles is enough.
    method, eps, rel_eps, bounds, workers, progress
        As for `sparse_jacobian`.

    Returns
    -------
    scipy.sparse.csr_array of shape (n, n), float64
        It is symmetric to the bit, and stores every entry of `sparsity` and of its transpose. Where
        both places of an entry could be measured, it is the mean of the two.

    Raises
    ------
    InputTypeError, InputValueError, MutationError, ConcurrencyError, WorkerError
        As for `sparse_jacobian`; `sparsity` must be square.
    MissingPackageError
        SciPy is not installed, or `progress` is true and tqdm is not.

    Warns
    -----
    FastgradWarning
        As for `sparse_jacobian`; here `grad` may also not be the gradient of anything, if its
        Jacobian is not symmetric.

    See Also
    --------
    sparse_jacobian : for functions whose Jacobian is not symmetric.

    Notes
    -----
    The pattern gets a star coloring: neighbors have different colors, and so do at least three of
    four vertices on a path. See T. F. Coleman, J. J. Moré, Estimation of sparse Hessian matrices
    and graph coloring problems, Math. Program. 28 (1984), and A. H. Gebremedhin, F. Manne,
    A. Pothen, What color is your Jacobian?, SIAM Review 47 (2005).

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> def grad(x):  # of x[0]**2 * (x[1] + x[2])
    ...     return np.array([2 * x[0] * (x[1] + x[2]), x[0] ** 2, x[0] ** 2])
    >>> arrow = [[1, 1, 1], [0, 1, 0], [0, 0, 1]]
    >>> print(fg.sparse_hessian(grad, np.array([1.0, 2.0, 3.0]), arrow).toarray().round(6))
    [[10.  2.  2.]
     [ 2.  0.  0.]
     [ 2.  0.  0.]]
    """
    check_callable(grad, "grad")
    leaf = one_real_array(x)
    pattern = _symmetric(pattern_of(sparsity, leaf.real.size))
    stepping = _stepping(leaf, method, eps, rel_eps)
    how = _How(*stepping, None, bounds, workers, progress)
    with _errors.written_by("grad"):
        data = _measured(grad, leaf, pattern, how, symmetric=True)
    return pattern.matrix(data).tocsr()


def one_real_array(x: Any) -> Leaf:
    """The only array of the parameters, which must be real."""
    argument = as_params(x, "x")
    if not isinstance(argument, np.ndarray):
        if argument is not None:
            flatten(argument)  # which says what is wrong with a tensor and the like
        raise InputTypeError(
            f"`x` must be one array of real numbers; got {describe(x)} (fg.jacobian takes nested "
            "parameters)"
        )
    leaf, _ = next(pair(argument, None, "x", "x"))
    if leaf.is_complex:
        raise InputTypeError(
            "`x` must be one array of real numbers; got a complex one: pass its parts as one real "
            "array, x.view(float), and let `f` put them together"
        )
    return leaf


def _symmetric(pattern: Pattern) -> Pattern:
    """The pattern and its transpose."""
    if pattern.shape[0] != pattern.shape[1]:
        raise InputValueError(f"`sparsity` of a Hessian must be square; got shape {pattern.shape}")
    ones = pattern.matrix(np.ones(pattern.count, np.int8))
    return pattern_of(ones + ones.T)


@dataclass(frozen=True, eq=False)
class _How:
    """What a user passes to differentiate sparsely, with the steps that it makes."""

    stencil: Stencil
    steps: Steps
    automatic: bool
    known: tuple[Outputs, np.ndarray] | None  # the value at the parameters, and how it is laid out
    bounds: Any
    workers: Any
    progress: bool


def _stepping(leaf: Leaf, method: Any, eps: Any, rel_eps: Any) -> tuple[Stencil, Steps, bool]:
    """The stencil, its steps, and whether these are automatic."""
    stencil = resolve(method)
    (steps,) = steps_of(leaf.array, [leaf], stencil, eps, rel_eps)
    return stencil, steps, eps is None and rel_eps is None


def _measured(
    f: Callable[[Any], Any], leaf: Leaf, pattern: Pattern, how: _How, *, symmetric: bool = False
) -> np.ndarray:
    """The verified entries of a sparse matrix, in the order of its pattern."""
    argument, limits = leaf.array, bounds_of(how.bounds, leaf.array, [leaf])
    colors = color_vertices(pattern) if symmetric else colored(pattern)
    plan = plan_of(leaf, colors, how.stencil, how.steps, limits)
    run = evaluator(
        f,
        argument,
        [leaf],
        bounds=limits,
        vector=True if how.known is None else how.known[0],
        workers=how.workers,
        progress=how.progress,
        expected=plan.evaluations + _TO_VERIFY,
    )
    try:
        with run:
            if not all(pattern.shape):
                return np.zeros(0)
            base = None if how.known is None else how.known[1]
            if base is None and plan.uses_base:
                base = run.base().copy()
            data = differences(run, pattern, plan, base)
            if symmetric:
                data = _mirrored(pattern, colors, data)
            del colors
            residual = _verified(run, pattern, plan, data, base, automatic=how.automatic)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if residual is not None:
        _warn_if_misleading(run, residual)
    elif is_plain_function(f) and all_still([data]):
        # The gradient of a linear function may well be constant.
        name, warns = ("grad", False) if symmetric else ("f", True)
        refuse_unseen(f, argument, [leaf], limits, run.outputs, name=name, warns=warns)
    return data


def _mirrored(pattern: Pattern, colors: np.ndarray, data: np.ndarray) -> np.ndarray:
    """The entries of a symmetric matrix: each from where it was alone with its color in its row."""
    of_entry = np.repeat(colors, np.diff(pattern.starts))
    place = pattern.rows * (int(colors.max()) + 1) + of_entry
    _, where, counts = np.unique(place, return_inverse=True, return_counts=True)
    alone = counts[where] == 1
    # Row by row, a symmetric pattern has its entries where their images are column by column.
    image = pattern.matrix(np.arange(pattern.count)).tocsr().data
    mean = data / 2 + data[image] / 2
    return np.where(alone & alone[image], mean, np.where(alone, data, data[image]))


def _verified(
    run: Metered,
    pattern: Pattern,
    plan: Plan,
    data: np.ndarray,
    base: np.ndarray | None,
    *,
    automatic: bool,
) -> Residual | None:
    """Refuse a pattern that lacks an entry; return what disagrees for another reason."""
    moves = moves_of(run, plan, automatic=automatic)
    residual = residual_of(run, pattern, data, plan, moves, base)
    if not len(residual.rows):
        return None
    run.guard.check()  # an `f` that wrote into `x` has measured another Jacobian
    base = run.base().copy() if base is None else base
    missing = find_undeclared(run, pattern, residual, moves, base)
    if missing is not None:
        raise _missing_error(run, missing)
    return residual


def _missing_error(run: Metered, missing: Undeclared) -> InputValueError:
    row, column = name_of_row(run, missing.row), run.leaves[0].name(missing.column)
    return InputValueError(
        f"`sparsity` lacks the entry in row {missing.row}, column {missing.column}: `{row}` "
        f"depends on `{column}` (its derivative is about {missing.derivative:.3g}), and the "
        "Jacobian would be wrong in that row; add the entry, or let fg.jacobian_sparsity find the "
        "pattern"
    )


def _warn_if_misleading(run: Metered, residual: Residual) -> None:
    with np.errstate(all="ignore"):
        share = np.where(residual.apart > residual.bound, residual.apart / residual.size, 0.0)
    row = int(share.argmax())
    if share[row] > _MISLEADING:
        _errors.warn(
            f"row {row} of the Jacobian, `{name_of_row(run, row)}`, differs by {share[row]:.1%} "
            "from the derivative along a random direction, and `sparsity` lacks nothing there: `f` "
            "has a kink or a jump, or is noisy, or its step is too large (see `eps`)"
        )
