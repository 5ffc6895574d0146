"""Derivatives by finite differences: `derivative` and `gradient`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastgrad import _backend
from fastgrad._checks.claim import base_value, check_callable
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.batched import Batched, capacity, check_rows
from fastgrad._evaluation.guard import Guard, check_disjoint, check_layout, is_small
from fastgrad._evaluation.meter import Progress
from fastgrad._evaluation.native import Native, check_native
from fastgrad._leaf import Leaf
from fastgrad._memory import claims
from fastgrad._stencils import Stencil, resolve
from fastgrad._tree import Params, as_params, check_places, flatten, pair, unflatten
from fastgrad._workers.pools import Makes, crew_of
from fastgrad._workers.scheduler import Sweep, hired
from fastgrad._workers.threads import spread
from fastgrad._workers.worker import Rule

__all__ = ["derivative", "gradient"]

# Stencil, absolute step or 0, steps entry by entry, value at the unperturbed parameters.
_Rule: TypeAlias = tuple[Stencil, float, np.ndarray | None, float]


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
        Takes a number of the type of `x` and returns a real number.
    x : float or NumPy floating scalar
        Where to differentiate. The derivative has its type.
    method : Stencil or str, default "central"
        The difference to take: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or
        the name alone. Central costs one evaluation more than forward and is worth it.
    eps : float, optional
        Absolute step. By default ``u**(1 / (order + 1)) * max(1, |x|)`` with `u` the machine
        epsilon of the type of `x`, which balances truncation and rounding.

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
        objective = f if isinstance(f, Batched) else lambda at: f(at.item())
        return float(gradient(objective, place, method=method, eps=eps))
    place = place.copy()  # `x` may be the user's own 0-d array
    if isinstance(f, Batched):
        return gradient(f, place, method=method, eps=eps)[()]
    return gradient(lambda at: f(at[()]), place, method=method, eps=eps)[()]


def gradient(
    f: Callable[[Any], Any],
    params: Params,
    *,
    method: Stencil | str = "central",
    eps: Any = None,
    out: Params | None = None,
    workers: Any = None,
    progress: bool = False,
) -> Any:
    """Differentiate a real function with respect to every entry of its parameters.

    Each entry is moved in place, `f` is called with the very object passed as `params`, and the
    saved bits are put back: after success, after any exception, after Ctrl-C.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. It may ignore its argument and read the same
        arrays another way. It must not write into them.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested at will
        Arrays of a floating or complex type, writable, sharing no memory; any shape, strides
        and byte order. A number or a list of numbers is turned into an array first.
    method : Stencil or str, default "central"
        The difference to take: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or
        the name alone.
    eps : float, or the structure of `params`, optional
        Absolute step, for all entries or entry by entry. By default
        ``u**(1 / (order + 1)) * max(1, |x|)`` with `u` the machine epsilon of the leaf's type.
    out : structure of `params`, optional
        Arrays to write the result to; they are returned. They may have another floating type.
    workers : int, Executor, dask Client or map-like callable, optional
        Who evaluates `f`: so many processes, started for this call (-1: one for each core); any
        ``concurrent.futures.Executor``, which stays open; or a function like ``pool.map``. By
        default, and with 1, this process. For a native `f` (see `native`) the number of threads,
        each with its own copy of the parameters. The result is the same to the bit.
    progress : bool, default False
        Show a bar with the evaluations made and expected, if standard error is a terminal, or in
        a notebook. It needs tqdm.

    Returns
    -------
    structure of `params`
        Arrays with the shapes and types of the leaves. For a complex leaf an entry is
        ``df/dRe + 1j * df/dIm``, the direction of steepest ascent. An entry is NaN where `f` is.

    Raises
    ------
    InputTypeError
        A leaf is not an array of a floating type, or `f` did not return one real number.
    InputValueError
        A leaf is read-only or shares memory, `eps` is unusable, or `out` does not fit.
    MutationError
        `f` wrote into its input or resized it. What it wrote is undone; in parameters beyond
        256 KiB, where no copy is kept, only if it did so at the first entry.
    ConcurrencyError
        Another thread is differentiating with respect to the same memory.
    WorkerError
        A copy of `f` in a worker does not behave as the original, or a part of the work killed
        three workers.
    MissingPackageError
        `progress` is true, and tqdm is not installed.
    ObjectiveError
        A native `f` returned an error code.

    Notes
    -----
    Central differences of order `p` take `p` evaluations per entry, one-sided ones `p` per entry
    and one more. Memory beyond the parameters and the result stays below 1 MiB.

    With workers, `f` and the parameters are pickled together, by cloudpickle where pickle cannot
    and that is installed, and with the memory that their arrays share. They cross to each worker
    about once; it keeps them as bytes and as copies, of which a second one while it works.
    Before a copy counts it must give the values that `f` gives here, at the parameters and with
    all of them moved a little: two evaluations here, and two of each copy. An `f` that reads its
    parameters elsewhere, as in a global of a module, is refused. Errors of `f` are those of a
    serial run. A worker that dies is replaced; if an executor breaks by that, processes started
    here do the rest. Processes started here are spawned: a script needs its
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
    plain = type(params) is np.ndarray and eps is out is workers is None
    if plain and not progress and is_small(params) and _takes_one(f, params):
        # The commonest case, where a microsecond counts.
        relative = stencil.relative_step(params.dtype)
        return _backend.small_gradient(f, Leaf("params", params, params), stencil, relative)
    makes, threads = crew_of(f, workers)
    argument = as_params(params)
    if type(f) is Native:
        check_native(f, argument, "params")
    leaves = flatten(argument)
    check_layout(leaves)
    results = _results(argument, leaves, out)
    steps = _steps(argument, leaves, eps)
    answer = unflatten(argument, iter([result.array for result in results]))
    guard = Guard(leaves, [result.array for result in results])
    expected = stencil.evaluations * sum(leaf.real.size for leaf in leaves)
    watch = Progress(expected, shown=progress, batch=capacity(f, leaves))
    try:
        with guard, watch:
            if isinstance(f, Batched):
                check_rows(f, argument, leaves)
            base = base_value(f, argument, leaves) if stencil.uses_base else math.nan
            if stencil.uses_base:
                guard.check_base()
            rules = [(stencil, absolute, given, base) for absolute, given in steps]
            plan = list(zip(leaves, results, rules, strict=True))
            if makes is None:
                for part in plan:
                    _fill(guard, watch, f, argument, *part, threads)
            else:
                _spread(makes, guard, watch, f, argument, plan)
            check_places(argument, leaves)
    finally:
        # Inline: a Ctrl-C could come in between the call of `__exit__` and its body.
        claims.pop(guard.key, None)
    if out is not None:
        return out
    if argument is not params and isinstance(argument, np.ndarray) and not argument.ndim:
        return results[0].array[()]
    return answer


def _takes_one(f: Any, params: np.ndarray) -> bool:
    """Whether `f` is called with this very array, one point at a time."""
    if type(f) is Native:
        return params.dtype.char == "d"
    return type(f) is not Batched


def _fill(
    guard: Guard,
    watch: Progress,
    f: Callable[[Any], Any],
    argument: Params,
    leaf: Leaf,
    result: Leaf,
    rule: _Rule,
    threads: int,
) -> None:
    """Differentiate with respect to one leaf; look for writes by `f` after its first entry."""
    leaf.check_found()
    result.check_found()
    if not leaf.real.size:
        return
    stencil, absolute, given, base = rule
    relative = 0.0 if absolute else stencil.relative_step(leaf.real.dtype)
    how = (stencil, absolute, relative, given, base, result.real)
    run = _backend.sweep_for(f, leaf.real, result.real)
    watch.phase(leaf.path)
    done = 0
    if guard.awaits_first:
        run(f, argument, leaf, *how, 0, 1)
        guard.check_first()
        done = 1
    for low, high in watch.pieces(done, leaf.real.size, stencil.evaluations):
        spread(run, threads)(f, argument, leaf, *how, low, high)
        watch.update((high - low) * stencil.evaluations)


def _spread(
    makes: Makes,
    guard: Guard,
    watch: Progress,
    f: Callable[[Any], Any],
    argument: Params,
    plan: Sequence[tuple[Leaf, Leaf, _Rule]],
) -> None:
    """Differentiate with respect to all leaves, by workers; the derivatives are stored here."""
    sweeps = []
    for number, (leaf, result, (stencil, absolute, given, base)) in enumerate(plan):
        relative = 0.0 if absolute else stencil.relative_step(leaf.real.dtype)
        rule = Rule(stencil, absolute, relative, base, result.real.dtype)
        sweeps.append(Sweep(number, rule, steps=given))
    with hired(makes, f, argument, [leaf for leaf, _, _ in plan], watch.update) as crew:
        assert crew is not None
        crew.start()
        if guard.awaits_first:
            guard.check_first()  # no derivative is stored yet, and all copies are whole
        for task, values in crew.sweep(sweeps):
            result = plan[task.leaf][1]
            result.check_found()
            result.real.flat[task.start : task.start + len(values)] = values


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
    check_layout(results)
    check_disjoint([*leaves, *results])
    for result in results:
        result.found = _backend.Memory(result.array)
    return results


def _describe(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"shape {value.shape}, dtype {value.dtype}"
    return f"a {type(value).__name__}"


def _steps(
    argument: Params, leaves: Sequence[Leaf], eps: Any
) -> list[tuple[float, np.ndarray | None]]:
    """For each leaf the absolute step, 0 for automatic, and the steps entry by entry."""
    if eps is None:
        return [(0.0, None)] * len(leaves)
    if isinstance(eps, (int, float, np.floating, np.integer, np.bool_)):
        return [(_positive(eps, "eps"), None)] * len(leaves)
    steps: list[tuple[float, np.ndarray | None]] = []
    for leaf, given in pair(argument, eps, "eps"):
        name = f"eps of {leaf.path}"
        if isinstance(given, (int, float, np.floating, np.integer, np.bool_)):
            steps.append((_positive(given, name), None))
            continue
        array = _array_of_steps(given, name)
        if array.shape != leaf.array.shape:
            raise InputValueError(
                f"`{name}` must be a number or have shape {leaf.array.shape}; got {array.shape}"
            )
        if not ((array > 0) & (array < np.inf)).all():
            raise InputValueError(f"`{name}` must hold positive finite steps; got {array}")
        parts = 2 if leaf.is_complex else 1
        steps.append((1.0, np.repeat(array.ravel(), parts)))
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
