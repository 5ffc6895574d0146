"""Jacobians by finite differences: `jacobian`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._derivatives.complex_steps import ComplexCopy, refuse_options, tangents_of, verify
from fastgrad._derivatives.doubt_rows import small_beside
from fastgrad._derivatives.gradient import refuse_unseen
from fastgrad._derivatives.jacobian_blocks import Blocks, outputs_first
from fastgrad._derivatives.jacobian_rows import BYTES, Task, fill_rows, steps_for
from fastgrad._derivatives.known import known_values
from fastgrad._derivatives.steps import steps_of
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.local import check_callable, small_jacobian
from fastgrad._evaluation.masks import chosen_entries
from fastgrad._evaluation.meter import Bar
from fastgrad._evaluation.selected import selection_of
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._returns import at_base
from fastgrad._stencils import ComplexStep, Stencil, Steps, resolve
from fastgrad._tree import Params, as_params, check_places, flatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["differentiated", "jacobian", "real_leaves"]


def jacobian(
    f: Callable[[Any], Any],
    params: Params,
    *,
    method: Stencil | ComplexStep | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    where: Any = None,
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
    f0 : structure of what `f` returns, optional
        What `f` returns at `params`, where it is known, in the same shapes and types: one
        evaluation less. It is not verified.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, bounds included; see `gradient`.
    where : structure of `params`, optional
        A boolean array of the shape of each leaf, or True or False for all of its entries: the
        entries to differentiate with respect to. Only these are moved, and derivatives by the
        others are NaN.
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
        complex derivatives, ``dRe/dx + 1j * dIm/dx``. An entry is NaN where `f` is, and where its
        parameter is left out by `where`.

    Raises
    ------
    InputTypeError
        A parameter is not an array of a floating type, or is complex; `f` did not return numbers,
        or numbers of another type than before, or than `f0` holds; `f0` holds no numbers.
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
    `f` is evaluated once at the parameters, unless `f0` is given, and as often for each entry as
    by `gradient`. The
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
        refuse_options(eps=eps, rel_eps=rel_eps, f0=f0, workers=workers)
        return _complex(f, params, bounds, where, out, progress)
    stencil = resolve(method)
    known = None if f0 is None else known_values(f0)
    if eps is rel_eps is f0 is bounds is where is out is workers is None and not progress:
        small = None if _has_small(params, stencil) else small_jacobian(f, params, stencil)
        if small is not None:
            value, rows = small
            if rows is not None:
                return _of_small(f, params, value, rows)
            outputs = Outputs.of(value)
            known = outputs, outputs.flat(value, at_base, 0)
    how = {"bounds": bounds, "workers": workers, "progress": progress}
    return differentiated(f, params, stencil, known, eps, rel_eps, where, out, how)


def differentiated(
    f: Callable[[Any], Any],
    params: Params,
    stencil: Stencil,
    known: tuple[Outputs, np.ndarray] | None,
    eps: Any,
    rel_eps: Any,
    where: Any,
    out: Any,
    how: dict[str, Any],
) -> Any:
    """The Jacobian by differences, of known values if there are any; `how` holds other options."""
    argument = as_params(params)
    leaves = real_leaves(argument)
    limits = bounds_of(how["bounds"], argument, leaves)
    chosen = chosen_entries(where, argument, leaves)
    automatic = eps is None and rel_eps is None
    given = None if automatic else steps_of(argument, leaves, stencil, eps, rel_eps)
    how = {**how, "bounds": limits}
    result = _differenced(f, argument, leaves, stencil, given, chosen, known, out, how)
    if result.still:
        selection = selection_of(where, argument, leaves)
        refuse_unseen(f, argument, leaves, limits, result.outputs, selection)
    return result.nested(argument is not params) if out is None else out


def _differenced(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    stencil: Stencil,
    given: Sequence[Steps] | None,
    chosen: Sequence[np.ndarray] | None,
    known: tuple[Outputs, np.ndarray] | None,
    out: Any,
    how: dict[str, Any],
) -> Blocks:
    """The Jacobian by differences; `how` is what the evaluator takes."""
    count = sum(leaf.real.size for leaf in leaves) if chosen is None else sum(map(len, chosen))
    expected = int(known is None) + stencil.evaluations * count
    vector = True if known is None else known[0]
    run = evaluator(f, argument, leaves, vector=vector, expected=expected, **how)
    try:
        with run:
            base = run.base() if known is None else known[1]
            outputs = run.outputs
            assert outputs is not None
            if known is None:  # else nothing was evaluated that may have written into them
                run.guard.thin()  # the copy of large parameters is memory for the result
            result = Blocks(argument, leaves, outputs, out)
            steps = steps_for(leaves, stencil, outputs) if given is None else given
            shared, limits = how["workers"] is not None, how["bounds"]
            task = Task(stencil, steps, base, limits, chosen, given is None, shared, outputs.kind)
            fill_rows(run, task, result)
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    return result


def _has_small(params: Any, stencil: Stencil) -> bool:
    """Whether one plain array has entries that are small beside their automatic steps."""
    if type(params) is not np.ndarray or not _backend.kernel.is_plain(params):
        return False
    below = small_beside(stencil.steps(params.dtype), stencil)
    small: bool = _backend.kernel.has_tiny(params, below)
    return small


def _complex(
    f: Callable[[Any], Any], params: Params, bounds: Any, where: Any, out: Any, progress: bool
) -> Any:
    """The Jacobian by complex steps, compared with a difference along one direction."""
    argument = as_params(params)
    leaves = real_leaves(argument)
    limits = bounds_of(bounds, argument, leaves)
    chosen = chosen_entries(where, argument, leaves)
    run = evaluator(f, argument, leaves, vector=True, bounds=limits)
    copy = ComplexCopy(f, argument, leaves)
    numbers = [np.arange(leaf.array.size) for leaf in leaves] if chosen is None else chosen
    bar = Bar(sum(map(len, numbers))) if progress else None
    try:
        with run:
            run.base()
            assert run.outputs is not None
            result = Blocks(argument, leaves, run.outputs, out)
            tangents = tangents_of(leaves, chosen, limits)
            verify(run, tangents, _complex_rows(copy, run.outputs, tangents, numbers, result, bar))
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
    numbers: Sequence[np.ndarray],
    result: Blocks,
    bar: Bar | None,
) -> np.ndarray:
    """Fill the rows of the entries meant; returned are the derivatives along the tangents."""
    along, done = np.zeros(outputs.size), 0
    most = max(1, BYTES // (8 * outputs.size + 1))
    for number, (tangent, entries) in enumerate(zip(tangents, numbers, strict=True)):
        parts = tangent.reshape(-1)
        for start, rows in result.rows(number, most):
            low, high = np.searchsorted(entries, (start, start + len(rows)))
            mine = entries[low:high]
            rows.fill(np.nan)
            for entry in mine.tolist():
                copy.fill(outputs, number, entry, rows[entry - start])
            with np.errstate(all="ignore"):
                along += parts[mine] @ rows[mine - start]
            done += len(mine)
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
