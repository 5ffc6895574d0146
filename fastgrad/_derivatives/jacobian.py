"""Jacobians by finite differences: `jacobian`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._derivatives.complex_steps import ComplexCopy, refuse_options, tangents_of, verify
from fastgrad._derivatives.doubt import Doubts
from fastgrad._derivatives.doubt_rows import settle_rows, small_beside
from fastgrad._derivatives.gradient import refuse_unseen
from fastgrad._derivatives.jacobian_blocks import Blocks, outputs_first
from fastgrad._derivatives.pieces import Piece
from fastgrad._derivatives.steps import steps_of
from fastgrad._derivatives.within import pieces_within
from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.local import check_callable, small_jacobian
from fastgrad._evaluation.meter import Bar, Metered
from fastgrad._evaluation.protocol import Gradient, Single, Target
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._reference_many import combined
from fastgrad._returns import at_base
from fastgrad._stencils import ComplexStep, Stencil, Steps, resolve
from fastgrad._tree import Params, as_params, check_places, flatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["jacobian", "real_leaves", "steps_for"]

# Bytes of values, or of rows of derivatives, that are held beside the result.
_BYTES = 2**22
# Entries at a time where workers share them out, even if their rows take more memory: fewer would
# leave workers without work.
_SHARED = 32


def jacobian(
    f: Callable[[Any], Any],
    params: Params,
    *,
    method: Stencil | ComplexStep | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    bounds: Any = None,
    out: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> Any:
    """Differentiate all that a function returns with respect to every entry of its parameters.

    Each entry is moved in place, `f` is called with the very object that was passed as `params`,
    and the saved bits are put back: after success, after an exception, after Ctrl-C.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns real or complex numbers: an array of any shape, a number, or a dict,
        list, tuple, namedtuple or dataclass of these, nested in any way; a list of numbers is one
        array. It may return its own buffer or a view of its input. Structure, shapes and types must
        be the same at each call.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        Writable arrays of a floating type that share no memory, of any shape, strides and byte
        order. A number or a list of numbers is converted to an array first.
    method : Stencil, ComplexStep or str, default "central"
        The method: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or its name
        alone. With ``fg.complex_step()``, `f` gets complex numbers, and derivatives of real outputs
        are exact but for rounding: see `complex_step`.
    eps : float, or the structure of `params`, optional
        Absolute step: one for all entries, or one for each. By default
        ``u**(1 / (order + 1)) * max(1, |x|)``, which balances truncation and rounding, with the
        larger of the machine epsilons `u` of the array's type and of the types that `f` returns.
        An entry that is small beside its step is looked at once more: see Notes.
    rel_eps : float, or the structure of `params`, optional
        Relative step, instead of `eps`: an entry `x` moves by ``rel_eps * |x|``, and by the
        automatic step where that is 0.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, bounds included; see `gradient`.
    out : structure of the result, optional
        Arrays to write the result to; they are returned. They may have another floating, or
        complex, type.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f`; see `gradient`.
    progress : bool, default False
        Show a bar with the evaluations made and expected, if standard error is a terminal, or in
        a notebook. This needs tqdm.

    Returns
    -------
    structure of what `f` returns
        In place of each of its arrays stands the structure of `params`, with arrays of shape
        ``output.shape + parameter.shape``: those of ``jax.jacobian``. Their types are those of
        a sum of the two; a Python number takes the type of the parameter. A complex output has
        complex derivatives, ``dRe/dx + 1j * dIm/dx``. An entry is NaN where `f` is.

    Raises
    ------
    InputTypeError
        A parameter is not an array of a floating type, or is complex; `f` did not return numbers,
        or numbers of another type than before.
    InputValueError
        What `f` returns changed its structure or a shape; or as for `gradient`.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
        As for `gradient`.

    Warns
    -----
    FastgradWarning
        Nothing that is done to the parameters moves `f`. This takes up to seven evaluations more
        where all derivatives are zero, which also tell `f` from one that caches.
    StepWarning
        The derivative of an output by an entry that is small beside its step does not stand.

    See Also
    --------
    sparse_jacobian : where most derivatives are zero.
    jvp, vjp : products with the Jacobian, without computing it.

    Notes
    -----
    `f` is evaluated once at the parameters, and as often for each entry as by `gradient`. The
    value of each evaluation is copied as it comes, in float64, and combined for one entry at a
    time: memory beyond the parameters and the result stays below 8 MiB, or that of the values for
    one entry.

    Where an entry is small beside its automatic step, `f` is evaluated at one smaller step more.
    Outputs whose derivatives differ there by more than rounding explains, as of a logarithm, are
    settled at up to five steps, as by `gradient`; a derivative that does not stand at any is told
    of by a `StepWarning`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> J = fg.jacobian(lambda x: np.array([x[0] * x[1], x.sum()]), np.array([2.0, 3.0]))
    >>> print(J.round(6))
    [[3. 2.]
     [1. 1.]]
    >>> J = fg.jacobian(lambda p: {"flux": p["a"] ** 2}, {"a": np.array([1.0, 2.0])})
    >>> print(J["flux"]["a"].round(6))
    [[2. 0.]
     [0. 4.]]
    """
    check_callable(f, "f")
    if isinstance(method, ComplexStep):
        refuse_options(eps=eps, rel_eps=rel_eps, workers=workers)
        return _complex(f, params, bounds, out, progress)
    stencil = resolve(method)
    vector: bool | Outputs = True
    known = None
    if eps is rel_eps is bounds is out is workers is None and not progress:
        small = None if _has_small(params, stencil) else small_jacobian(f, params, stencil)
        if small is not None:
            value, rows = small
            if rows is not None:
                return _of_small(f, params, value, rows)
            vector = Outputs.of(value)
            known = vector.flat(value, at_base, 0)
    argument = as_params(params)
    leaves = real_leaves(argument)
    limits = bounds_of(bounds, argument, leaves)
    chosen = eps is not None or rel_eps is not None
    given = steps_of(argument, leaves, stencil, eps, rel_eps) if chosen else None
    expected = 1 + stencil.evaluations * sum([leaf.real.size for leaf in leaves])
    how = {"workers": workers, "expected": expected, "progress": progress, "bounds": limits}
    run = evaluator(f, argument, leaves, vector=vector, **how)
    try:
        with run:
            base = run.base() if known is None else known
            outputs = run.outputs
            assert outputs is not None
            run.guard.thin()  # the copy of large parameters is memory for the result
            result = Blocks(argument, leaves, outputs, out)
            steps = steps_for(leaves, stencil, outputs) if given is None else given
            room = _SHARED if workers is not None else 1
            _fill(
                run, _Task(stencil, steps, base, limits, given is None, outputs.kind, room), result
            )
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if expected > 1 and outputs.size and not result.moved:
        refuse_unseen(f, argument, leaves, limits, outputs)
    if out is not None:
        return out
    return result.nested(argument is not params)


def _has_small(params: Any, stencil: Stencil) -> bool:
    """Whether one plain array has entries that are small beside their automatic steps."""
    if type(params) is not np.ndarray or not _backend.kernel.is_plain(params):
        return False
    below = small_beside(stencil.steps(params.dtype), stencil)
    small: bool = _backend.kernel.has_tiny(params, below)
    return small


def _complex(f: Callable[[Any], Any], params: Params, bounds: Any, out: Any, progress: bool) -> Any:
    """The Jacobian by complex steps, compared with a difference along one direction."""
    argument = as_params(params)
    leaves = real_leaves(argument)
    limits = bounds_of(bounds, argument, leaves)
    run = evaluator(f, argument, leaves, vector=True, bounds=limits)
    copy = ComplexCopy(f, argument, leaves)
    bar = Bar(sum(leaf.real.size for leaf in leaves)) if progress else None
    try:
        with run:
            run.base()
            assert run.outputs is not None
            result = Blocks(argument, leaves, run.outputs, out)
            tangents = tangents_of(leaves, None, limits)
            verify(run, tangents, _complex_rows(copy, run.outputs, tangents, result, bar))
            check_places(argument, leaves)
    finally:
        run.guard.close()
        if bar is not None:
            bar.close()
    return result.nested(argument is not params) if out is None else out


def _complex_rows(
    copy: ComplexCopy,
    outputs: Outputs,
    tangents: Sequence[np.ndarray],
    result: Blocks,
    bar: Bar | None,
) -> np.ndarray:
    """Fill the rows of all leaves; returned are the derivatives along the tangents."""
    along, done = np.zeros(outputs.size), 0
    most = max(1, _BYTES // (8 * outputs.size + 1))
    for number, tangent in enumerate(tangents):
        parts = tangent.reshape(-1)
        for start, rows in result.rows(number, most):
            copy.fill(outputs, number, start, rows)
            with np.errstate(all="ignore"):
                along += parts[start : start + len(rows)] @ rows
            done += len(rows)
            if bar is not None:
                bar.to(done)
    copy.check()
    return along


def real_leaves(argument: Params) -> list[Leaf]:
    """The leaves of parameters with respect to which outputs are differentiated."""
    leaves = flatten(argument)
    for leaf in leaves:
        if leaf.is_complex:
            raise InputTypeError(
                f"`{leaf.path}` is complex, and so its derivatives would be two for each entry; "
                f"pass `{leaf.path}`.view(float), or both parts as arrays, and let `f` make "
                "complex numbers of them"
            )
    return leaves


def steps_for(leaves: Sequence[Leaf], stencil: Stencil, outputs: Outputs) -> list[Steps]:
    """The automatic steps of each leaf: by its type, or that of the outputs if it is coarser."""
    return [stencil.steps(_coarser(leaf.real.dtype, outputs.kind)) for leaf in leaves]


def _coarser(one: np.dtype, other: np.dtype) -> np.dtype:
    return one if EPS[one.char] >= EPS[other.char] else other


@dataclass(frozen=True)
class _Task:
    """How all leaves are differentiated."""

    stencil: Stencil
    steps: Sequence[Steps]
    base: np.ndarray
    limits: Bounds | None
    automatic: bool
    kind: np.dtype  # the coarsest type of the outputs
    room: int  # entries at a time, at least


# ---------------------------------------------------------------- rows


def _fill(run: Metered, task: _Task, result: Blocks) -> None:
    """Differentiate with respect to all leaves."""
    width = max(1, result.outputs.size)
    doubts = Doubts()
    for number, leaf in enumerate(run.leaves):
        run.phase(leaf.path)
        # Of rows, and with bounds of the values that they come from.
        each = 8 * width * (1 if task.limits is None else 1 + task.stencil.evaluations)
        most = max(task.room, _BYTES // each)
        for start, rows in result.rows(number, most):
            if task.limits is not None:
                _fill_within(run, task, number, start, rows, most, doubts)
                continue
            part = task.steps[number].part(start, start + len(rows))
            request = Gradient(number, start, start + len(rows), task.stencil, part, task.base)
            run.gradient((request,), (Target(rows, start),))
            if task.automatic:
                entries = np.arange(start, start + len(rows), dtype=np.intp)
                steps = part.relative * run.scale(number, entries)
                piece = Piece(number, entries, task.stencil, steps, np.zeros(len(rows), bool))
                settle_rows(run, piece, rows, task.base, part, doubts)
    doubts.warn(run.leaves)


def _fill_within(
    run: Metered,
    task: _Task,
    number: int,
    start: int,
    rows: np.ndarray,
    most: int,
    doubts: Doubts,
) -> None:
    """The rows from entry `start` on, within bounds."""
    assert task.limits is not None
    leaf, stop = run.leaves[number], start + len(rows)
    for piece in pieces_within(task.limits, number, leaf, task.stencil, task.steps[number]):
        mine = np.flatnonzero((piece.entries >= start) & (piece.entries < stop))
        for low in range(0, len(mine), most):
            part = mine[low : low + most]
            found = _of_piece(run, piece, part, task.base)
            if task.automatic and piece.stencil is not None:
                own = piece.stencil.steps(_coarser(leaf.real.dtype, task.kind))
                settle_rows(run, piece.part(part), found, task.base, own, doubts)
            rows[piece.entries[part] - start] = found


def _of_piece(run: Metered, piece: Piece, part: np.ndarray, base: np.ndarray) -> np.ndarray:
    """Rows of some of the entries of a piece, from the values at all points."""
    entries, steps, stencil = piece.entries[part], piece.steps[part], piece.stencil
    if not isinstance(stencil, Stencil):  # no room
        return np.full((len(entries), len(base)), np.nan)
    moved = stencil.offsets != 0
    offsets = tuple(int(k) for k in stencil.offsets[moved])
    found = run.single(Single(piece.leaf, entries, Steps(given=steps), offsets))
    points = np.zeros((len(entries), len(moved)))
    points[:, moved] = found.moved
    lost = (points[:, ::2] == points[:, 1::2]).any(axis=1) & ~piece.shrunk[part]
    if lost.any():
        at, leaf = int(lost.argmax()), run.leaves[piece.leaf]
        entry = int(entries[at])
        how = (leaf.real.flat[entry], float(steps[at]), leaf.real.dtype)
        raise _errors.step_vanished_error(leaf.name(entry), *how)
    return combined(stencil, points, found.values, base)


# ---------------------------------------------------------------- small and constant ones


def _of_small(
    f: Callable[[Any], Any], params: np.ndarray, value: np.ndarray, rows: np.ndarray
) -> np.ndarray:
    """The Jacobian of one small array from its rows."""
    if rows.size and not rows.item(0) and not np.count_nonzero(rows):
        leaves = [Leaf("params", params)]
        refuse_unseen(f, params, leaves, outputs=Outputs.of(value))
    if value.dtype.char == "f" and params.dtype.char == "f":
        rows = rows.astype(np.float32)
    if value.ndim == params.ndim == 1:
        turned: np.ndarray = rows.T
        return turned
    return outputs_first(rows.reshape(params.shape + value.shape), params.ndim)
