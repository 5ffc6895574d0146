"""Derivatives of one real number with respect to many: `gradient`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.complex_steps import complex_gradient, refuse_options
from fastgrad._derivatives.filling import Filling
from fastgrad._derivatives.known import known_number
from fastgrad._derivatives.steps import steps_of
from fastgrad._errors import InputValueError
from fastgrad._evaluation.batched import as_tested
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.guard import check_layout
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import check_callable, small_gradient, small_gradients
from fastgrad._evaluation.masks import chosen_entries
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._stencils import ComplexStep, Stencil, Steps, resolve
from fastgrad._tree import Params, as_params, check_places, flatten, pair, unflatten
from fastgrad._words import with_article
from fastgrad._workers.evaluator import evaluator

__all__ = ["all_still", "gradient", "refuse_unseen"]


def gradient(
    f: Callable[[Any], Any],
    params: Params,
    *,
    method: Stencil | ComplexStep | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    where: Any = None,
    out: Params | None = None,
    workers: Any = None,
    progress: bool = False,
) -> Any:
    """Differentiate a real function with respect to every entry of its parameters.

    Each entry is moved in place, `f` is called with the very object that was passed as `params`,
    and the saved bits are put back: after success, after an exception, after Ctrl-C.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. It may ignore its argument and read the same arrays
        in another way, for example as a closure. It must not write into them.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        Writable arrays of a floating or complex type that share no memory, of any shape, strides
        and byte order. A number or a list of numbers is converted to an array first.
    method : Stencil, ComplexStep or str, default "central"
        The method: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or its name
        alone; or ``fg.complex_step()``, for an `f` that takes complex numbers.
    eps : float, or the structure of `params`, optional
        Absolute step: one for all entries, or one for each. By default
        ``u**(1 / (order + 1)) * max(1, |x|)`` with the machine epsilon `u` of the array's type,
        which balances truncation and rounding where `f` changes on the scale of this length; what
        it leaves in doubt gets a smaller one (see Notes). A step that is given is never changed.
    rel_eps : float, or the structure of `params`, optional
        Relative step: entries move by ``rel_eps * |x|``, and those that are 0 by the automatic
        step, as with ``rel_step`` of SciPy. Both parts of a complex entry move in proportion to its
        modulus.
    f0 : real number, optional
        The value of `f` at `params`, where it is known. One-sided differences take it instead of an
        evaluation; central ones use it only where they look again (see Notes). It is not verified.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, bounds included. Each of the two is a number for all entries,
        None, or the structure of `params` with an array, a number or None in place of each leaf;
        those of a complex entry hold for both of its parts. An entry that `method` would move
        across a bound is differentiated by a one-sided difference of the same order (4 at most)
        that points inward; where this has no room either, by a smaller step. It is NaN where both
        bounds are equal, as it cannot be moved. Differences are those of float64.
    where : structure of `params`, optional
        A boolean array of the shape of each leaf, or True or False for all of its entries: the
        entries to differentiate with respect to. Only these are moved, and the others are NaN.
        Differences are those of float64.
    out : structure of `params`, optional
        Arrays to write the result to; they are returned. They may have another floating type.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f`: a number of processes to start for this call (-1: one for
        each core); a ``concurrent.futures.Executor`` or dask Client, which stays open; or a
        function like ``pool.map``. By default, and with 1, this process evaluates `f`. For a native
        `f` (see `native`), the number of threads, each with its own copy of the parameters. The
        result is the same to the last bit.
    progress : bool, default False
        Show a bar with the evaluations made and expected, if standard error is a terminal, or in
        a notebook. This needs tqdm.

    Returns
    -------
    structure of `params`
        Arrays with the shapes and types of those in `params`. In a complex array an entry is
        ``df/dRe + 1j * df/dIm``, the direction of steepest ascent. An entry is NaN where `f` is,
        and where it is left out by `where`.

    Raises
    ------
    InputTypeError
        A parameter is not an array of a floating type, `f0` is not one real number, `where` holds
        anything but booleans, or `f` did not return one real number.
    InputValueError
        An array is read-only or shares memory with another, `eps` or `rel_eps` is not a usable
        step, or both are given, `out` or `where` does not fit, or a parameter lies outside of its
        bounds. With ``complex_step``, `f` is not complex-analytic. Or `f` does not see
        parameters that are moved in place, and sees a moved copy: it caches by the identity of its
        argument.
    MutationError
        `f` wrote into its input or resized it. What it wrote is undone; in parameters beyond
        256 KiB, where no copy is kept, only if it did so at the first entry.
    ConcurrencyError
        Another thread is differentiating with respect to the same memory.
    WorkerError
        A copy of `f` in a worker does not reproduce the original's values, or a part of the work
        killed three workers.
    MissingPackageError
        `progress` is true, and tqdm is not installed.
    ObjectiveError
        A native `f` returned an error code.

    Warns
    -----
    StepWarning
        An automatic step is too large for an entry, and smaller ones do not agree either: the text
        names the entry and says how uncertain its derivative is.
    FastgradWarning
        Nothing that is done to the parameters moves `f`: it reads another copy of them, or is
        constant. This takes up to seven evaluations more where all entries of the gradient are
        zero, which also tell `f` from one that caches.

    Notes
    -----
    A central difference of order `p` takes `p` evaluations for each entry; a forward or backward
    difference takes `p` for each entry, and one more.

    An automatic step goes by ``max(1, |x|)``, and `f` may change on a smaller scale. Three kinds of
    entries are looked at again, for `p` evaluations each, and one at the parameters: those that are
    small beside their step, ``0 < |x| < 1000 h`` for a second-order central difference of float64,
    and in general where the truncation of a function like ``log`` would be more than 3e-7, or ten
    times the rounding that the type allows for; those so large that the step is longer than 1; and
    those whose derivative is NaN or infinite at an `f` that has a value. A difference of higher
    order doubts itself, instead of small entries: it compares its result with that of its inner
    points, at no cost. Where the two do not agree, up to five smaller steps follow until two do, or
    the best one is taken, with a `StepWarning`. A function whose scale is 1 keeps the digits of the
    first step. Steps that are given are not doubted.

    Memory beyond the parameters and the result
    stays below 1 MiB.

    With workers, `f` and the parameters are pickled together, with the memory that their arrays
    share; cloudpickle is used where pickle fails, if it is installed. They are sent to each worker
    about once. A worker keeps the bytes and a copy, and a second copy while it works. Before a copy
    is used, it must reproduce two values of `f`: at the parameters, and with all of them moved a
    little. This takes two evaluations here and two in each worker. An `f` that reads its
    parameters elsewhere, for example in a global of a module, is refused. Exceptions of `f` are
    those of a serial run. A worker that dies is replaced; if an executor breaks because of it, new
    processes do the rest. New processes are spawned, so that a script needs
    ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> params = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
    >>> g = fg.gradient(lambda p: (p["w"] ** 2).sum() * p["b"], params)
    >>> print(g["w"].round(6), g["b"].round(6))
    [ 6. 12.] 5.0
    """
    check_callable(f, "f")
    if method.__class__ is ComplexStep:
        refuse_options(eps=eps, rel_eps=rel_eps, f0=f0, workers=workers)
        return _complex(f, params, bounds, where, out, progress)
    stencil = resolve(method)  # type: ignore[arg-type]
    known = None if f0 is None else known_number(f0)
    # Everything else costs some fifty microseconds, which a tight loop over small fits would feel.
    if eps is rel_eps is bounds is where is out is workers is None and not progress:
        found = small_gradient(f, params, stencil, known)
        if found is not None:
            small, doubt, base = found
            if doubt:
                _settle(f, params, [Leaf("params", params)], stencil, [small], base)
            # A look at the first entry is cheaper still, and mostly enough.
            if small.size and not small.item(0) and not np.count_nonzero(small):
                refuse_unseen(f, params, [Leaf("params", params)])
            return small
        small = _of_small_arrays(f, params, stencil, known)
        if small is not None:
            return small
    argument = as_params(params)
    leaves = flatten(argument)
    limits = bounds_of(bounds, argument, leaves)
    chosen = chosen_entries(where, argument, leaves)
    results = results_of(argument, leaves, out)
    steps = steps_of(argument, leaves, stencil, eps, rel_eps)
    # Now, as `f` may put more into the containers it is given.
    answer = unflatten(argument, iter([result.array for result in results]))
    if chosen is not None and not any(map(len, chosen)):
        for result in results:
            result.array.fill(np.nan)
    else:
        how = {"bounds": limits, "results": results, "workers": workers, "progress": progress}
        _differenced(f, argument, leaves, stencil, steps, chosen, known, how)
        if all_still(result.array for result in results):
            refuse_unseen(
                f, argument, leaves, limits, selection=selection_of(where, argument, leaves)
            )
    return out if out is not None else _answer(params, argument, answer)


def _of_small_arrays(f: Callable[[Any], Any], params: Params, stencil: Stencil, known: Any) -> Any:
    """The gradient by a few small arrays in a container; None for other parameters."""
    parts = small_gradients(f, params, stencil, known)
    if parts is None:
        return None
    leaves, answer, arrays, doubt, base = parts
    if doubt:
        _settle(f, params, leaves, stencil, arrays, base)
    check_places(params, leaves)
    if not any(map(np.count_nonzero, arrays)):
        refuse_unseen(f, params, leaves)
    return answer


def _differenced(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    stencil: Stencil,
    steps: Sequence[Steps],
    chosen: Sequence[np.ndarray] | None,
    known: Any,
    how: dict[str, Any],
) -> None:
    """Fill the results, which are among what the evaluator takes, `how`, with differences."""
    limits, results = how["bounds"], how["results"]
    sizes = [leaf.real.size for leaf in leaves] if chosen is None else list(map(len, chosen))
    expected = stencil.evaluations * sum(sizes)
    run = evaluator(f, argument, leaves, expected=expected, **how)
    filling = Filling(run, stencil, steps, results, known)
    try:
        with run:
            if limits is None and chosen is None:
                filling.fill()
            else:
                filling.fill_pieces(limits, chosen)
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    filling.warn()


def _answer(params: Params, argument: Params, answer: Any) -> Any:
    """What the user gets: a number for a number, or the structure of the parameters."""
    if argument is not params and isinstance(argument, np.ndarray) and not argument.ndim:
        return answer[()]
    return answer


def _settle(
    f: Callable[[Any], Any],
    params: Params,
    leaves: Sequence[Leaf],
    stencil: Stencil,
    found: Sequence[np.ndarray],
    known: Any,
) -> None:
    """Look again at what is in doubt of the gradient of small arrays."""
    results = [Leaf("gradient", each) for each in found]
    run = evaluator(as_tested(f), params, leaves)
    steps = [stencil.steps(leaf.array.dtype) for leaf in leaves]
    filling = Filling(run, stencil, steps, results, known)
    try:
        with run:
            filling.settle()
    finally:
        run.guard.close()
    filling.warn()


def _complex(
    f: Callable[[Any], Any], params: Params, bounds: Any, where: Any, out: Any, progress: bool
) -> Any:
    """The gradient by complex steps."""
    argument = as_params(params)
    leaves = flatten(argument)
    limits = bounds_of(bounds, argument, leaves)
    chosen = chosen_entries(where, argument, leaves)
    results = results_of(argument, leaves, out)
    answer = unflatten(argument, iter([result.array for result in results]))
    complex_gradient(f, argument, leaves, results, chosen, limits, progress)
    return out if out is not None else _answer(params, argument, answer)


def all_still(derivatives: Iterable[np.ndarray]) -> bool:
    """Whether all derivatives are zero, but for those that are not there (NaN), and some are."""
    some = False
    for array in derivatives:
        if not array.size:
            continue
        # Both ends of the numbers: a mask of a large gradient would be its eighth part.
        ends = [part.reduce(array, axis=None) for part in (np.fmin, np.fmax)]
        if any(end == end and end != 0 for end in ends):
            return False
        some = some or bool(ends[0] == ends[0])
    return some


def refuse_unseen(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    bounds: Bounds | None = None,
    outputs: Outputs | None = None,
    selection: Selection | None = None,
    *,
    name: str = "f",
    warns: bool = True,
) -> None:
    """Of derivatives that are all zero: refuse an `f` that does not see the moves.

    Warn of one that nothing moves, which may be meant, but not of a selection: others may be what
    `f` depends on. `outputs` are those of a vector-valued `f`; the user calls it by `name`.
    """
    how: dict[str, Any] = {"bounds": bounds, "vector": outputs or False, "selection": selection}
    run = evaluator(Lenient(f), argument, leaves, **how)
    try:
        with run:
            try:
                base = run.base()
            except Exception:  # it need not be defined there: a central difference leaves it out
                return
            sees = sees_moves(run, f, argument, base, bounds, selection)
    finally:
        run.guard.close()
    if sees is Sees.CACHED:
        raise InputValueError(sees.value.replace("`f`", f"`{name}`"))
    if sees is Sees.UNRELATED and selection is None and warns:
        zero = "the gradient is" if outputs is None else "all derivatives are"
        _errors.warn(f"{zero} zero: {sees.value}")


def results_of(argument: Params, leaves: Sequence[Leaf], out: Params | None) -> list[Leaf]:
    """Arrays for the derivatives: the caller's where given, else like the leaves."""
    if out is None:
        return [Leaf(leaf.path, np.empty_like(leaf.array, subok=False)) for leaf in leaves]
    results = []
    for leaf, array in pair(argument, out, "out"):
        path = f"out.{leaf.path}" if leaf.path != "params" else "out"
        kind = leaf.array.dtype.kind
        fits = isinstance(array, np.ndarray) and array.shape == leaf.array.shape
        if not fits or array.dtype.kind != kind:
            raise InputValueError(
                f"`{path}` must be an array of shape {leaf.array.shape} and a "
                f"{'complex' if kind == 'c' else 'floating'} type; got {_describe(array)}"
            )
        results.append(Leaf(path, array))
    check_layout([*leaves, *results])
    return results


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"shape {value.shape}, dtype {value.dtype}"
    return with_article(type(value).__name__)
