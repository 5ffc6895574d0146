"""Products with a Jacobian that is never made: `jvp` and `vjp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._derivatives.complex_steps import ComplexCopy, verify
from fastgrad._derivatives.gradient import gradient, refuse_unseen
from fastgrad._derivatives.jacobian import real_leaves
from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.batched import Batched
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.local import check_callable
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._leaf import Leaf, lengths_of
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._returns import at_block
from fastgrad._stencils import ComplexStep, Stencil, resolve
from fastgrad._tree import Params, as_params, check_places, describe, flatten, pair, unflatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["jvp", "value_of", "vjp"]

# From one central difference to the next the step shrinks by this factor; two of them extrapolate
# to an error of fourth order, 256 times smaller at each.
_RATIO = 4.0
# Differences at least: three show the error of the first extrapolation.
_FEWEST = 3
# ... and at most: in float64 the last step is 2e-10 of the length of an entry.
_MOST = 12
# No step is shorter than this many spacings of the entries: its rounding would be the result.
_SPACINGS = 256.0
# An error of this share of a derivative is no reason to look at one more step.
_FINE = 1e-9
# The rounding of a value of `f`, in its spacings: a few operations, the last of which rounds.
_ROUNDINGS = 2.0


def jvp(
    f: Callable[[Any], Any], params: Params, v: Params, *, method: ComplexStep | None = None
) -> Any:
    """Differentiate all that a function returns along one direction of its parameters.

    This is the product of the Jacobian with `v`, from a few evaluations, however many parameters
    there are. They move in place, all together, and get their saved bits back.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns real or complex numbers, in any nest: see `jacobian`.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        Where to differentiate: real arrays, as for `jacobian`.
    v : structure of `params`
        The direction: finite real numbers in the shapes of those in `params`. Its length does not
        matter for the precision.
    method : ComplexStep, optional
        With ``fg.complex_step()``, `f` gets complex numbers once, and derivatives of real outputs
        are exact but for rounding: see `complex_step`. By default differences are extrapolated.

    Returns
    -------
    structure of what `f` returns
        The derivatives, in the shapes and floating types of what `f` returns; a number where `f`
        returns one of Python's own. They are NaN where `f` is.

    Raises
    ------
    InputTypeError
        As of `jacobian`; or `v` does not have the structure of `params`, or no real numbers.
    InputValueError
        As of `jacobian`; or a shape of `v` is another, or it is not finite, or `f` raised at every
        point along it.
    MutationError, ConcurrencyError, ObjectiveError
        As of `gradient`.

    Warns
    -----
    FastgradWarning
        Nothing that is done to the parameters moves `f`.

    See Also
    --------
    vjp, jacobian, hvp

    Notes
    -----
    `f` is evaluated at the parameters and at three pairs of points on both sides. The first step
    is ``u**(1/5)`` of the length ``max(1, |x|)`` of the entry that moves farthest, with the machine
    epsilon `u`; each next one is a quarter. Pairs of central differences extrapolate to an error of
    fourth order (Ridders 1982, Advances in Engineering Software 4). For each number the one is
    taken whose estimated truncation and rounding are smallest; where these are not small, up to
    nine pairs more are evaluated. An exception of `f` at such a point counts as NaN.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x, v = np.array([1.0, 2.0]), np.array([1.0, -1.0])
    >>> fg.jvp(lambda x: np.array([x[0] * x[1], x.sum()]), x, v).round(9) + 0.0
    array([1., 0.])
    """
    check_callable(f, "f")
    argument = as_params(params)
    leaves = real_leaves(argument)
    moves = _moves(argument, leaves, v)
    if method is not None:
        if not isinstance(method, ComplexStep):
            raise InputTypeError(
                f"`method` must be fg.complex_step(), or None for differences; got {method!r}"
            )
        return _complex(f, argument, leaves, moves)
    run = evaluator(Lenient(f), argument, leaves, vector=True)
    try:
        with run:
            base = run.base()
            outputs = run.outputs
            assert outputs is not None
            run.guard.thin()
            found, still = _Line(run, outputs, leaves, moves).derivatives(base)
            check_places(argument, leaves)
            raised = run.raised
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if raised and len(found) and np.isnan(found).all():
        raise InputValueError(
            f"`f` raised at every point along `v`, as it lies there outside of its domain: {raised}"
        )
    if still and len(found):
        refuse_unseen(f, argument, leaves, outputs=outputs)
    return outputs.tree(_as_returned(found, leaf) for leaf in outputs.leaves)


def _complex(
    f: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf], moves: list[np.ndarray]
) -> Any:
    """The derivatives by one complex step, compared with a difference along the direction."""
    run = evaluator(f, argument, leaves, vector=True)
    copy = ComplexCopy(f, argument, leaves)
    # In units of the entry that moves farthest over its length, so that steps suit `f`.
    shares = [
        np.abs(move / lengths_of(leaf.real)).max(initial=0.0)
        for move, leaf in zip(moves, leaves, strict=True)
    ]
    unit = max(shares, default=0.0)
    # Of a 0-d array NumPy makes a number.
    tangents = [np.asarray(move / (unit or 1.0)) for move in moves]
    try:
        with run:
            run.base()
            outputs = run.outputs
            assert outputs is not None
            found = copy.slopes(outputs, tangents)
            copy.check()
            verify(run, tangents, found)
            check_places(argument, leaves)
    finally:
        run.guard.close()
    return outputs.tree(_as_returned(found * unit, leaf) for leaf in outputs.leaves)


def _moves(argument: Params, leaves: Sequence[Leaf], v: Any) -> list[np.ndarray]:
    """The direction, leaf by leaf, in float64."""
    moves = []
    for leaf, given in pair(argument, as_params(v), "v"):
        array = np.asarray(given)
        if array.dtype.kind not in "biuf":
            raise InputTypeError(f"`v` at `{leaf.path}` must hold real numbers; got {given!r}")
        if array.shape != leaf.array.shape:
            raise InputValueError(
                f"`v` at `{leaf.path}` must have shape {leaf.array.shape}; got {array.shape}"
            )
        moves.append(np.array(array, np.float64))
        if not np.isfinite(moves[-1]).all():
            raise InputValueError(f"`v` at `{leaf.path}` must be finite; got {array}")
    return moves


class _Line:
    """Central differences along a direction at smaller and smaller steps."""

    def __init__(
        self, run: Metered, outputs: Outputs, leaves: Sequence[Leaf], moves: Sequence[np.ndarray]
    ) -> None:
        self._run, self._outputs = run, outputs
        which = [k for k, move in enumerate(moves) if np.count_nonzero(move)]
        # How many lengths the entry moves that moves farthest.
        ratios = [float((np.abs(moves[k].reshape(-1)) / run.scale(k)).max()) for k in which]
        self.scale = max(ratios, default=0.0)
        regions = tuple(
            Region(k, tuple(slice(0, n) for n in leaves[k].real.shape), leaves[k].real.shape)
            for k in which
        )
        self._direction = Given(
            regions,  # of 0-d arrays NumPy makes scalars
            tuple(np.asarray(moves[k] / self.scale) for k in which),
        )
        # Values are float64, and rounded as coarsely as the parameters and the outputs are.
        own = [max(EPS[leaves[k].real.dtype.char], EPS["d"]) for k in which]
        self._spacing = max([EPS[outputs.kind.char], *own])
        # Of each number: its own type tells how it is rounded.
        self._rounding = np.empty(outputs.size)
        for leaf in outputs.leaves:
            self._rounding[leaf.start : leaf.stop] = max([leaf.eps, *own])

    def derivatives(self, base: np.ndarray) -> tuple[np.ndarray, bool]:
        """The derivatives with the smallest error, and whether nothing moved `f`."""
        best, error = np.full(len(base), np.nan), np.full(len(base), np.inf)
        if not self.scale or not len(base):
            return np.zeros(len(base)), False
        still, last, finer, step = True, None, None, self._spacing**0.2
        with np.errstate(all="ignore"):
            for level in range(_MOST):
                slope, noise, moved = self._slope(step, base)
                still = still and not moved
                if last is not None:
                    before, finer = finer, slope + (slope - last) / (_RATIO**2 - 1)
                    gap = np.abs(finer - (last if before is None else before))
                    self._offer(best, error, finer, gap + noise)
                last, step = slope, step / _RATIO
                enough = error <= np.maximum(_FINE * np.abs(best), 4 * noise)
                if level + 1 >= _FEWEST and enough.all():
                    break
                if level and step < _SPACINGS * self._spacing:
                    break
        return best * self.scale, still

    def _offer(
        self, best: np.ndarray, error: np.ndarray, estimate: np.ndarray, bound: np.ndarray
    ) -> None:
        better = bound < error
        best[better], error[better] = estimate[better], bound[better]

    def _slope(self, step: float, base: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """A central difference, a bound on its rounding, and whether anything moved."""
        with quiet():
            ahead, behind = self._run.along(Along(self._direction, (step, -step))).values
        size = np.maximum(np.abs(ahead), np.abs(behind))
        noise = _ROUNDINGS * self._rounding * size / step
        moved = not (np.array_equal(ahead, base) and np.array_equal(behind, base))
        return (ahead - behind) / (2 * step), noise, moved


def _as_returned(numbers: np.ndarray, leaf: OutputLeaf) -> Any:
    """The derivatives of one array that `f` returns, in its type."""
    part = leaf.part(numbers)
    if leaf.is_number:
        return part.item()
    if leaf.dtype.kind in "fc":
        with np.errstate(over="ignore", invalid="ignore"):  # of a narrow type
            return part.astype(leaf.dtype.newbyteorder("="))
    return part.copy()


# ---------------------------------------------------------------- with a vector on the left


def vjp(
    f: Callable[[Any], Any],
    params: Params,
    u: Any,
    *,
    method: Stencil | str = "central",
    eps: Any = None,
    bounds: Any = None,
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
    method, eps, bounds, workers, progress : optional
        As of `gradient`; automatic steps are those of `jacobian`.

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
    `f` is evaluated once more than by `gradient`, to see what it returns.

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
    outputs, _ = value_of(f, argument, leaves)
    weighted: Any = _Weighted(f, outputs, _weights(outputs, u))
    if isinstance(f, Batched):
        weighted = Batched(_WeightedRows(f.f, outputs, weighted.weights), f.memory)
    if eps is None:
        eps = _coarse_steps(argument, leaves, stencil, outputs)
    how = {"eps": eps, "bounds": bounds, "workers": workers, "progress": progress}
    return gradient(weighted, params, method=method, **how)


def value_of(
    f: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf]
) -> tuple[Outputs, np.ndarray]:
    """What `f` returns at the parameters, and its numbers."""
    run = evaluator(f, argument, leaves, vector=True)
    try:
        with run:
            base = run.base()
            outputs = run.outputs
    finally:
        run.guard.close()
    assert outputs is not None
    return outputs, base


def _weights(outputs: Outputs, u: Any) -> np.ndarray:
    """The weights of the numbers that `f` returns."""
    weights = np.empty(outputs.size)
    for leaf, given in zip(outputs.leaves, outputs.nodes(u, "u"), strict=True):
        array = np.asarray(given)
        kinds = "biufc" if leaf.is_complex else "biuf"
        if array.dtype.kind not in kinds or array.shape != leaf.shape:
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


@dataclass(frozen=True)
class _Weighted:
    """The inner product of weights with what `f` returns; it can be sent to workers."""

    f: Callable[[Any], Any]
    outputs: Outputs
    weights: np.ndarray

    def __call__(self, params: Params) -> float:
        return float(self.weights @ self.outputs.flat(self.f(params), at_block, 0))


@dataclass(frozen=True)
class _WeightedRows:
    """The same for many points."""

    f: Callable[[Any], Any]
    outputs: Outputs
    weights: np.ndarray

    def __call__(self, params: Params) -> np.ndarray:
        count = len(flatten(params)[0].array)
        rows = self.outputs.flat_rows(self.f(params), count, lambda: "the rows of a batch")
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
        own = leaf.real.dtype if EPS[leaf.real.dtype.char] >= EPS[kind.char] else kind
        lengths = lengths_of(np.abs(leaf.array))
        steps.append(stencil.relative_step(own) * lengths)
    return unflatten(argument, iter(steps))
