"""Covariances through a function, to first order: `propagate`."""

# Without `annotations` from `__future__`, for the reason given in `_report/causes.py`.

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastgrad._derivatives.jacobian import differentiated, jacobian, real_leaves
from fastgrad._derivatives.known import known_values, values_of
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.local import check_callable
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._stencils import ComplexStep, Stencil, resolve
from fastgrad._tree import as_params, describe

__all__ = ["Propagated", "propagate"]

# A covariance may miss symmetry, and exceed the product of two standard deviations, by this share
# of that product: the rounding of the products that most are made of, in float64.
_INEXACT = 1e-8
# ... where variances are known to this share of the largest: of one that is rounded to zero, the
# covariances need not be.
_ROUNDED = 2.0**-46


class Propagated(NamedTuple):
    """What `propagate` returns: the value of `f`, and the covariance of its numbers.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.propagate(lambda x: 2.0 * x, 3.0, 0.25).value
    6.0
    """

    value: Any
    covariance: Any


def propagate(
    f: Callable[[Any], Any],
    x: Any,
    cov: Any,
    *,
    method: Stencil | ComplexStep | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> Propagated:
    """Propagate the covariance of an input through a function, to first order.

    Parameters
    ----------
    f : callable
        ``f(x)`` returns one real array or number.
    x : array of a floating type, or number
        The input, of `n` numbers, where `f` is evaluated and differentiated.
    cov : array
        The covariance of its numbers in C order, of shape ``(n, n)`` and symmetric; or their
        variances, of shape ``(n,)`` or that of `x`, where they are independent.
    method, eps, rel_eps, f0, bounds, workers, progress : optional
        As of `jacobian`.

    Returns
    -------
    Propagated
        A pair: `value`, what `f` returns at `x`, and `covariance`, ``J @ cov @ J.T`` with the
        Jacobian `J`, of shape ``(m, m)`` for `m` numbers in C order, and symmetric to the bit. Of
        an `f` that returns one number it is a float, the variance.

    Raises
    ------
    InputTypeError
        `x` or what `f` returns is not one real array, or `cov` holds no real numbers.
    InputValueError
        `cov` has another shape, is not symmetric or not finite, or has a negative variance; or as
        of `jacobian`.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
        As of `gradient`.

    See Also
    --------
    jacobian

    Notes
    -----
    To first order the covariance is that of the linear approximation of `f` at `x` (K. O. Arras,
    An Introduction to Error Propagation, EPFL-ASL-TR-98-01, 1998): good where `f` is nearly linear
    over a few standard deviations.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x, variances = np.array([3.0, 4.0]), np.array([0.01, 0.04])
    >>> value, covariance = fg.propagate(lambda x: x.prod(), x, variances)
    >>> print(value, round(covariance, 6))
    12.0 0.52
    """
    check_callable(f, "f")
    argument = as_params(x, "x")
    if not isinstance(argument, np.ndarray):
        raise InputTypeError(
            f"`x` must be one real array or number; got {describe(x)} (put all of them into one "
            "array, in the order of `cov`)"
        )
    leaves = real_leaves(argument)
    spread = _covariance(cov, argument)
    outputs, base = values_of(f, argument, leaves) if f0 is None else known_values(f0)
    leaf = _only_output(outputs)
    how = {"bounds": bounds, "workers": workers, "progress": progress}
    if isinstance(method, ComplexStep):
        slopes = jacobian(f, argument, method=method, eps=eps, rel_eps=rel_eps, f0=f0, **how)
    else:
        known = outputs, base
        slopes = differentiated(f, argument, resolve(method), known, eps, rel_eps, None, None, how)
    found = np.asarray(slopes, np.float64)
    rows = found.reshape(len(base), argument.size)
    with np.errstate(over="ignore", invalid="ignore"):
        product = (rows * spread if spread.ndim == 1 else rows @ spread) @ rows.T
        symmetric = (product + product.T) / 2
    value = leaf.part(base).copy()
    if leaf.shape:
        return Propagated(value, symmetric)
    return Propagated(value.item(), symmetric.item())


def _only_output(outputs: Outputs) -> OutputLeaf:
    """The one real array or number that `f` returns."""
    if outputs.plain is None and not outputs.is_number and len(outputs.leaves) != 1:
        raise InputTypeError(
            f"`f` must return one real array or number here; it returned {len(outputs.leaves)} "
            "arrays (np.concatenate makes one of them)"
        )
    (leaf,) = outputs.leaves
    if leaf.is_complex or leaf.path != "out":
        raise InputTypeError(
            "`f` must return one real array or number here; it returned "
            + ("complex numbers (return both parts)" if leaf.is_complex else f"`{leaf.path}`")
        )
    return leaf


def _covariance(cov: Any, x: np.ndarray) -> np.ndarray:
    """The covariance, or the variances as one vector, checked."""
    array = np.asarray(cov)
    if array.dtype.kind not in "biuf":
        raise InputTypeError(f"`cov` must hold real numbers; got {describe(cov)}")
    spread = array.astype(np.float64)
    n = x.size
    if spread.shape in (x.shape, (n,)) and (spread.shape != (n, n) or spread.ndim < 2):
        spread = spread.reshape(-1)
    elif spread.shape != (n, n):
        raise InputValueError(
            f"`cov` must have shape {(n, n)}, or {(n,)} for variances, as `x` has {n} numbers; got "
            f"{spread.shape}"
        )
    if not np.isfinite(spread).all():
        raise InputValueError("`cov` must be finite; it holds NaN or infinity")
    _check_covariance(spread)
    return spread


def _check_covariance(spread: np.ndarray) -> None:
    """Refuse negative variances, a matrix that is not symmetric, and correlations above 1."""
    variances = spread if spread.ndim == 1 else spread.diagonal()
    if (variances < 0).any():
        at = int(np.argmax(variances < 0))
        raise InputValueError(
            f"`cov` must have no negative variance; that of number {at} is {variances[at]}"
        )
    if spread.ndim == 2:
        with np.errstate(over="ignore"):
            deviations = np.sqrt(variances + _ROUNDED * variances.max(initial=0.0))
            most = np.multiply.outer(deviations, deviations)
            apart = np.abs(spread - spread.T)
        wrong = apart > _INEXACT * most
        if wrong.any():
            raise InputValueError(
                "`cov` must be symmetric; it and its transpose differ by "
                f"{apart[wrong].max():.3g} (pass (cov + cov.T) / 2)"
            )
        beyond = np.abs(spread) > (1 + _INEXACT) * most
        if beyond.any():
            one, two = (int(k) for k in np.argwhere(beyond)[0])
            raise InputValueError(
                f"`cov` must have no covariance larger than the deviations allow; that of numbers "
                f"{one} and {two} is {spread[one, two]:.6g}, and the product of their standard "
                f"deviations {most[one, two]:.6g}"
            )
