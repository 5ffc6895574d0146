"""Products with a transposed Jacobian that is never made: `vjp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._derivatives.gradient import gradient
from fastgrad._derivatives.jacobian_rows import coarser
from fastgrad._derivatives.known import known_values, values_of
from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.batched import Batched
from fastgrad._evaluation.local import check_callable
from fastgrad._leaf import Leaf, lengths_of
from fastgrad._outputs import Outputs
from fastgrad._returns import at_block
from fastgrad._stencils import Stencil, resolve
from fastgrad._tree import Params, as_params, describe, flatten, unflatten

__all__ = ["vjp"]


def vjp(
    f: Callable[[Any], Any],
    params: Params,
    u: Any,
    *,
    method: Stencil | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    where: Any = None,
    out: Params | None = None,
    workers: Any = None,
    progress: bool = False,
) -> Any:
    """Differentiate the inner product of `u` with all that a function returns.

    This is the product of the transposed Jacobian with `u`, without room for the Jacobian.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns real or complex numbers, in any nest: see `jacobian`.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        Where to differentiate, as for `gradient`.
    u : structure of what `f` returns
        The weight of each number: arrays of the shapes that `f` returns, real where these are.
    method, eps, rel_eps, bounds, where, out, workers, progress : optional
        As of `gradient`; automatic steps are those of `jacobian`.
    f0 : structure of what `f` returns, optional
        What `f` returns at `params`, where it is known, in the same shapes and types: one
        evaluation less. It is not verified.

    Returns
    -------
    structure of `params`
        The gradient of ``Re(sum(conj(u) * f(params)))``, in arrays with the shapes and types of
        those in `params`. Of complex outputs both parts count: by ``u.real`` the derivatives of the
        real part, by ``u.imag`` those of the imaginary part, as in PyTorch; jax.vjp takes the
        conjugate of this `u`.

    Raises
    ------
    InputTypeError, InputValueError
        As of `gradient` and `jacobian`; or `u` does not have the structure, shapes and kinds of
        what `f` returns.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
        As of `gradient`.

    Warns
    -----
    FastgradWarning
        As of `gradient`.

    See Also
    --------
    jvp, jacobian

    Notes
    -----
    Without `f0`, `f` is evaluated once at the parameters, to see what it returns.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x, u = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> fg.vjp(lambda x: np.array([x[0] * x[1], x.sum()]), x, u).round(6) + 0.0
    array([1., 0.])
    """
    check_callable(f, "f")
    stencil = resolve(method)
    argument = as_params(params)
    leaves = flatten(argument)
    outputs, base = values_of(f, argument, leaves) if f0 is None else known_values(f0)
    weights = _weights(outputs, u)
    weighted: Any = _Weighted(f, outputs, weights)
    if isinstance(f, Batched):
        weighted = Batched(_WeightedRows(f.f, outputs, weights), f.memory)
    if eps is None and rel_eps is None:
        eps = _coarse_steps(argument, leaves, stencil, outputs)
    steps = {"method": method, "eps": eps, "rel_eps": rel_eps, "bounds": bounds, "where": where}
    how = {"out": out, "workers": workers, "progress": progress}
    value = _product(weights, base)
    return gradient(weighted, params, f0=value, **steps, **how)


def _weights(outputs: Outputs, u: Any) -> np.ndarray:
    """The weights of the numbers that `f` returns."""
    weights = np.empty(outputs.size)
    for leaf, given in zip(outputs.leaves, outputs.nodes(u, "u"), strict=True):
        array = np.asarray(given)
        kinds = "biufc" if leaf.is_complex else "biuf"
        if array.dtype.kind in kinds and array.shape != leaf.shape:
            raise InputValueError(
                f"`u` in place of `{leaf.path}` must have shape {leaf.shape}; got {array.shape} "
                "(nothing is broadcast)"
            )
        if array.dtype.kind not in kinds:
            kind = "complex" if leaf.is_complex else "real"
            raise InputTypeError(
                f"`u` must hold {kind} numbers of shape {leaf.shape} in place of `{leaf.path}`; "
                f"got {describe(given)}"
                + (f" and dtype {array.dtype}" if isinstance(given, np.ndarray) else "")
            )
        leaf.read(array, lambda: "u", weights[leaf.start : leaf.stop])
    if not np.isfinite(weights).all():
        raise InputValueError(f"`u` must be finite; got {u!r}")
    return weights


def _product(weights: np.ndarray, numbers: np.ndarray) -> float:
    with np.errstate(all="ignore"):  # of infinities
        return float(weights @ numbers)


@dataclass(frozen=True)
class _Weighted:
    """The inner product of weights with what `f` returns; it can be sent to workers."""

    f: Callable[[Any], Any]
    outputs: Outputs
    weights: np.ndarray

    def __call__(self, params: Params) -> float:
        return _product(self.weights, self.outputs.flat(self.f(params), at_block, 0))


@dataclass(frozen=True)
class _WeightedRows:
    """The same for many points."""

    f: Callable[[Any], Any]
    outputs: Outputs
    weights: np.ndarray

    def __call__(self, params: Params) -> np.ndarray:
        count = len(flatten(params)[0].array)
        rows = self.outputs.flat_rows(self.f(params), count, lambda: "the rows of a batch")
        with np.errstate(all="ignore"):  # of infinities
            found: np.ndarray = rows @ self.weights
        return found


def _coarse_steps(
    argument: Params, leaves: Sequence[Leaf], stencil: Stencil, outputs: Outputs
) -> Any:
    """Steps for outputs of a coarser type than the parameters; None where `gradient` knows them."""
    kind = outputs.kind
    if all(EPS[leaf.real.dtype.char] >= EPS[kind.char] for leaf in leaves):
        return None
    steps = []
    for leaf in leaves:
        own = coarser(leaf.real.dtype, kind)
        steps.append(stencil.relative_step(own) * lengths_of(np.abs(leaf.array)))
    return unflatten(argument, iter(steps))
