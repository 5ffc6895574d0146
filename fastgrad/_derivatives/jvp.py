"""Derivatives along one direction, from a Jacobian that is never made: `jvp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgrad._derivatives.complex_steps import ComplexCopy, refuse_options, verify, within
from fastgrad._derivatives.gradient import refuse_unseen
from fastgrad._derivatives.jacobian import real_leaves
from fastgrad._derivatives.known import known_values
from fastgrad._derivatives.line import Line, tangent_of
from fastgrad._derivatives.steps import steps_of
from fastgrad._derivatives.vectors import vectors_of
from fastgrad._errors import InputValueError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import check_callable
from fastgrad._evaluation.meter import Bar, Metered
from fastgrad._leaf import Leaf
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._stencils import ComplexStep, Stencil, Steps, resolve
from fastgrad._tree import Params, as_params, check_places
from fastgrad._workers.evaluator import evaluator

__all__ = ["jvp"]

# Evaluations that a bar expects: at the parameters, and at three steps to both sides.
_EXPECTED = 7


def jvp(
    f: Callable[[Any], Any],
    params: Params,
    v: Params,
    *,
    method: Stencil | ComplexStep | str | None = None,
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    workers: Any = None,
    progress: bool = False,
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
    method : Stencil, ComplexStep or str, optional
        One difference, such as ``fg.central(order=4)`` or ``"forward"``; or ``fg.complex_step()``,
        for which `f` gets complex numbers once, and derivatives of real outputs are exact but for
        rounding. By default differences are extrapolated (see Notes), or, where a step is given, a
        central one is taken.
    eps : float, or the structure of `params`, optional
        Absolute step: one for all entries, or one for each. The parameters move until the first
        entry has moved by its own. By default steps are those of Notes, and with a `method`
        ``u**(1 / (order + 1)) * max(1, |x|)``, as of `jacobian`.
    rel_eps : float, or the structure of `params`, optional
        Relative step, instead of `eps`: ``rel_eps * |x|`` for an entry, and the automatic step
        where that is 0.
    f0 : structure of what `f` returns, optional
        What `f` returns at `params`, where it is known, in the same shapes and types: one
        evaluation less. With ``method="forward"`` one is left. It is not verified.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, bounds included; see `gradient`. Entries that would leave them
        have differences of their own, which point inward: up to six, which add up to the product.
        It is NaN where an entry has to move and has no room.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f`; see `gradient`.
    progress : bool, default False
        Show a bar with the evaluations made and expected, if standard error is a terminal, or in
        a notebook. This needs tqdm.

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
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
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
    if isinstance(method, ComplexStep):
        refuse_options(eps=eps, rel_eps=rel_eps, f0=f0, workers=workers)
    stencil = None
    if method is not None or eps is not None or rel_eps is not None:
        plain = method is None or isinstance(method, ComplexStep)
        stencil = resolve("central" if plain else method)  # type: ignore[arg-type]
    argument = as_params(params)
    leaves = real_leaves(argument)
    limits = bounds_of(bounds, argument, leaves)
    moves = vectors_of(argument, v)
    if isinstance(method, ComplexStep):
        return _complex(f, argument, leaves, moves, limits, progress)
    steps = None
    if stencil is not None and (eps is not None or rel_eps is not None):
        steps = steps_of(argument, leaves, stencil, eps, rel_eps)
    known = None if f0 is None else known_values(f0)
    how = {"bounds": limits, "workers": workers, "progress": progress}
    return _differenced(f, argument, leaves, moves, stencil, steps, known, how)


def _differenced(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    moves: Sequence[np.ndarray],
    stencil: Stencil | None,
    steps: Sequence[Steps] | None,
    known: tuple[Outputs, np.ndarray] | None,
    how: dict[str, Any],
) -> Any:
    """The derivatives by differences; `how` is what the evaluator takes."""
    vector = True if known is None else known[0]
    run = evaluator(Lenient(f), argument, leaves, vector=vector, expected=_EXPECTED, **how)
    try:
        with run:
            base = run.base() if known is None else known[1]
            outputs = run.outputs
            assert outputs is not None
            if known is None:  # else nothing was evaluated that may have written into them
                run.guard.thin()
            found, still = _along(run, outputs, moves, how["bounds"], base, stencil, steps)
            check_places(argument, leaves)
            raised = run.raised
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if raised and len(found) and np.isnan(found).all():
        raise InputValueError(
            f"`f` raised at every point along `v`, as it lies there outside of its domain: {raised}"
        )
    if still and len(found):
        refuse_unseen(f, argument, leaves, how["bounds"], outputs)
    return outputs.tree(_as_returned(found, leaf) for leaf in outputs.leaves)


def _along(
    run: Metered,
    outputs: Outputs,
    moves: Sequence[np.ndarray],
    limits: Bounds | None,
    base: np.ndarray,
    stencil: Stencil | None,
    steps: Sequence[Steps] | None,
) -> tuple[np.ndarray, bool]:
    """The derivatives, and whether nothing moved `f`."""
    tangent = tangent_of(run, moves)
    if not tangent.scale or not len(base):
        return np.zeros(len(base)), False
    line = Line(run, outputs, tangent, limits)
    if stencil is None:
        return line.extrapolated(base)
    return line.differenced(base, stencil, steps)


def _complex(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    moves: Sequence[np.ndarray],
    bounds: Bounds | None,
    progress: bool,
) -> Any:
    """The derivatives by one complex step, compared with a difference along the direction."""
    run = evaluator(f, argument, leaves, vector=True, bounds=bounds)
    copy = ComplexCopy(f, argument, leaves)
    bar = Bar(1) if progress else None
    try:
        with run:
            run.base()
            outputs = run.outputs
            assert outputs is not None
            # In units of the entry that moves farthest over its length, so that steps suit `f`.
            unit = tangent_of(run, moves).scale
            # Of a 0-d array NumPy makes a number.
            tangents = [np.asarray(move / (unit or 1.0)) for move in moves]
            found = copy.slopes(outputs, tangents)
            if bar is not None:
                bar.to(1)
            # Where bounds leave entries no room, the others alone are compared.
            free = tangents if bounds is None else within(leaves, tangents, bounds)
            stay = any((a != b).any() for a, b in zip(free, tangents, strict=True))
            verify(run, free, copy.slopes(outputs, free) if stay else found)
            copy.check()
            check_places(argument, leaves)
    finally:
        run.guard.close()
        if bar is not None:
            bar.close()
    return outputs.tree(_as_returned(found * unit, leaf) for leaf in outputs.leaves)


def _as_returned(numbers: np.ndarray, leaf: OutputLeaf) -> Any:
    """The derivatives of one array that `f` returns, in its type."""
    part = leaf.part(numbers)
    if leaf.is_number:
        return part.item()
    if leaf.dtype.kind in "fc":
        with np.errstate(over="ignore", invalid="ignore"):  # of a narrow type
            return part.astype(leaf.dtype.newbyteorder("="))
    return part.copy()
