"""Derivatives by finite differences: `derivative` and `gradient`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._derivatives.within import pieces_within
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.guard import check_layout
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import check_callable, of_numbers, small_gradient
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Gradient, Target
from fastgrad._leaf import Leaf
from fastgrad._stencils import Stencil, Steps, resolve
from fastgrad._tree import Params, as_params, check_places, flatten, pair, unflatten
from fastgrad._words import with_article
from fastgrad._workers.evaluator import evaluator

__all__ = ["derivative", "gradient", "refuse_unseen", "steps_of"]


def derivative(
    f: Callable[[Any], Any],
    x: float,
    *,
    method: Stencil | str = "central",
    eps: float | None = None,
) -> float:
    """Differentiate a function of one real number.

    Parameters
    ----------
    f : callable
        ``f(t)`` takes a number of the type of `x` and returns a real number.
    x : float or NumPy floating scalar
        Where to differentiate. The derivative has its type.
    method : Stencil or str, default "central"
        The method: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or its name
        alone. A central difference costs no more than a forward one here, two evaluations, and is
        far more accurate.
    eps : float, optional
        Absolute step. By default ``u**(1 / (order + 1)) * max(1, |x|)`` with the machine epsilon
        `u` of the type of `x`, which balances truncation and rounding.

    Returns
    -------
    float or NumPy floating scalar

    Raises
    ------
    InputTypeError
        `x` is not one real number, or `f` does not return one.
    InputValueError
        `eps` is not a positive number, or so small that ``x + eps == x``.

    See Also
    --------
    gradient : for arrays and nested parameters.

    Examples
    --------
    >>> import fastgrad as fg
    >>> round(fg.derivative(lambda t: t**3, 1.0, eps=0.01), 10)
    3.0001
    >>> round(fg.derivative(lambda t: t**3, 1.0, eps=0.01, method="forward"), 10)
    3.0301
    """
    check_callable(f, "f")
    place = as_params(x)
    if not isinstance(place, np.ndarray) or place.ndim or place.dtype.kind != "f":
        raise InputTypeError(f"`x` must be one real number; got {x!r} (use fg.gradient for arrays)")
    if isinstance(x, (int, float)) and not isinstance(x, np.floating):
        return float(gradient(of_numbers(f, np.ndarray.item), place, method=method, eps=eps))
    place = place.copy()  # `x` may be the user's own 0-d array
    return gradient(of_numbers(f, lambda at: at[()]), place, method=method, eps=eps)[()]


def gradient(
    f: Callable[[Any], Any],
    params: Params,
    *,
    method: Stencil | str = "central",
    eps: Any = None,
    bounds: Any = None,
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
    method : Stencil or str, default "central"
        The method: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or its name
        alone.
    eps : float, or the structure of `params`, optional
        Absolute step: one for all entries, or one for each. By default
        ``u**(1 / (order + 1)) * max(1, |x|)`` with the machine epsilon `u` of the array's type,
        which balances truncation and rounding.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, bounds included. Each of the two is a number for all entries,
        None, or the structure of `params` with an array, a number or None in place of each leaf;
        those of a complex entry hold for both of its parts. An entry that `method` would move
        across a bound is differentiated by a one-sided difference of the same order (4 at most)
        that points inward; where this has no room either, by a smaller step. It is NaN where both
        bounds are equal, as it cannot be moved. Differences are those of float64.
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
        ``df/dRe + 1j * df/dIm``, the direction of steepest ascent. An entry is NaN where `f` is.

    Raises
    ------
    InputTypeError
        A parameter is not an array of a floating type, or `f` did not return one real number.
    InputValueError
        An array is read-only or shares memory with another, `eps` is not a usable step, `out` does
        not fit, or a parameter lies outside of its bounds. Or `f` does not see parameters that are
        moved in place, and sees a moved copy: it caches by the identity of its argument.
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
    FastgradWarning
        Nothing that is done to the parameters moves `f`: it reads another copy of them, or is
        constant. This takes up to seven evaluations more where all entries of the gradient are
        zero, which also tell `f` from one that caches.

    Notes
    -----
    A central difference of order `p` takes `p` evaluations for each entry; a forward or backward
    difference takes `p` for each entry, and one more. Memory beyond the parameters and the result
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
    stencil = resolve(method)
    # Everything else costs some fifty microseconds, which a tight loop over small fits would feel.
    if eps is bounds is out is workers is None and not progress:
        small = small_gradient(f, params, stencil)
        if small is not None:
            # A look at the first entry is cheaper still, and mostly enough.
            if small.size and not small.item(0) and not np.count_nonzero(small):
                refuse_unseen(f, params, [Leaf("params", params)])
            return small
    argument = as_params(params)
    leaves = flatten(argument)
    limits = bounds_of(bounds, argument, leaves)
    results = _results(argument, leaves, out)
    steps = steps_of(argument, leaves, stencil, eps)
    answer = unflatten(argument, iter([result.array for result in results]))
    expected = stencil.evaluations * sum([leaf.real.size for leaf in leaves])
    how = {"results": results, "workers": workers, "expected": expected, "progress": progress}
    run = evaluator(f, argument, leaves, bounds=limits, **how)
    try:
        with run:
            if limits is None:
                _fill(run, stencil, steps, results)
            else:
                _fill_within(run, limits, stencil, steps, results)
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if expected and not any(np.count_nonzero(result.array) for result in results):
        refuse_unseen(f, argument, leaves, limits)
    if out is not None:
        return out
    if argument is not params and isinstance(argument, np.ndarray) and not argument.ndim:
        return results[0].array[()]
    return answer


def _fill(run: Metered, stencil: Stencil, steps: Sequence[Steps], results: Sequence[Leaf]) -> None:
    """Differentiate with respect to all leaves.

    Results are stored only after the first evaluations, for until then they may hold the copy of
    large parameters.
    """
    found = [_backend.kernel.Fingerprint(result.array) for result in results]
    base = run.base() if stencil.uses_base else math.nan
    requests = [
        Gradient(k, 0, result.real.size, stencil, each, base, result.real.dtype)
        for k, (result, each) in enumerate(zip(results, steps, strict=True))
        if result.real.size
    ]
    first = None
    if run.guard.large:
        # One entry alone, so that a write by `f` at its first evaluations can still be undone.
        first = requests[0].part(0, 1).run(run).values
        run.guard.thin()
        requests[0] = requests[0].part(1, requests[0].count)
    elif stencil.uses_base:
        run.guard.check()
    # Nothing is stored in memory that `f` has given away meanwhile.
    for result, before in zip(results, found, strict=True):
        if before.changed():
            raise _errors.moved_error(result.path)
    targets = [Target(results[request.leaf].real) for request in requests]
    if first is not None:
        targets[0].array.flat[:1] = first
    run.gradient(requests, targets)


def refuse_unseen(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    bounds: Bounds | None = None,
) -> None:
    """Of a gradient that is zero throughout: refuse an `f` that does not see the moves.

    Warn of one that nothing moves, which may be meant.
    """
    run = evaluator(Lenient(f), argument, leaves, bounds=bounds)
    try:
        with run:
            try:
                base = run.base()
            except Exception:  # it need not be defined there: a central difference leaves it out
                return
            sees = sees_moves(run, f, argument, base, bounds)
    finally:
        run.guard.close()
    if sees is Sees.CACHED:
        raise InputValueError(sees.value)
    if sees is Sees.UNRELATED:
        _errors.warn(f"the gradient is zero: {sees.value}")


def _fill_within(
    run: Metered,
    bounds: Bounds,
    stencil: Stencil,
    steps: Sequence[Steps],
    results: Sequence[Leaf],
) -> None:
    """Differentiate with respect to all leaves, within bounds; store results as `_fill` does."""
    found = [_backend.kernel.Fingerprint(result.array) for result in results]
    base = math.nan
    fresh = run.guard.large  # one entry alone, as in `_fill`
    for number, (leaf, each, result) in enumerate(zip(run.leaves, steps, results, strict=True)):
        run.phase(leaf.path)
        for piece in pieces_within(bounds, number, leaf, stencil, each):
            if math.isnan(base) and piece.uses_base:
                base = float(run.base())
            for part in piece.first() if fresh else (piece,):
                derivatives = part.derivatives(run, base)
                if fresh:
                    run.guard.thin()
                    fresh = False
                if found[number].changed():
                    raise _errors.moved_error(result.path)
                result.real.flat[part.entries] = derivatives


def _results(argument: Params, leaves: Sequence[Leaf], out: Params | None) -> list[Leaf]:
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


def steps_of(argument: Params, leaves: Sequence[Leaf], stencil: Stencil, eps: Any) -> list[Steps]:
    """The steps of each leaf."""
    if eps is None:
        return [stencil.steps(leaf.real.dtype) for leaf in leaves]
    if isinstance(eps, (int, float, np.floating, np.integer, np.bool_)):
        return [Steps(absolute=_positive(eps, "eps"))] * len(leaves)
    steps = []
    for leaf, given in pair(argument, eps, "eps"):
        name = f"eps of {leaf.path}"
        if isinstance(given, (int, float, np.floating, np.integer, np.bool_)):
            steps.append(Steps(absolute=_positive(given, name)))
            continue
        array = _array_of_steps(given, name)
        if array.shape != leaf.array.shape:
            raise InputValueError(
                f"`{name}` must be a number or have shape {leaf.array.shape}; got {array.shape}"
            )
        if not ((array > 0) & (array < np.inf)).all():
            raise InputValueError(f"`{name}` must hold positive finite steps; got {array}")
        # Both parts of a complex entry move by its step.
        steps.append(Steps(given=np.repeat(array.ravel(), 2 if leaf.is_complex else 1)))
    return steps


def _array_of_steps(given: Any, name: str) -> np.ndarray:
    try:
        if np.asarray(given).dtype.kind == "b":
            raise TypeError
        return np.array(given, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputTypeError(
            f"`{name}` must be a positive number, or an array of them; got {given!r}"
        ) from None


def _positive(eps: Any, name: str) -> float:
    if isinstance(eps, (bool, np.bool_)):
        raise InputTypeError(f"`{name}` must be a positive number, or None; got {eps!r}")
    try:
        step = float(eps)
    except OverflowError:
        step = math.inf
    if not 0 < step < math.inf:
        raise InputValueError(f"`{name}` must be a positive finite step, or None; got {eps!r}")
    return step
