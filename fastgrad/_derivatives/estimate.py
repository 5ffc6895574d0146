"""Derivatives with error bars, from as many steps as they need: `estimate`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from fastgrad._derivatives.estimated import Estimate, assemble, columns_of
from fastgrad._derivatives.many_steps import Goal, Outcome, estimate_entries
from fastgrad._derivatives.surroundings import Surroundings, look_around
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.local import check_callable, of_numbers
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.selected import selection_of
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._tree import Params, as_params, check_places, flatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["estimate"]

# Derivatives that are estimated at once: their tables have about 1 KiB for each.
_AT_ONCE = 2**14
# Evaluations that a bar expects: beside the parameters, and for each entry.
_AROUND, _EACH = 7, 10


def estimate(
    f: Callable[[Any], Any],
    params: Params,
    rtol: float = 1e-8,
    atol: float = 0.0,
    *,
    bounds: Any = None,
    where: Any = None,
    workers: Any = None,
    progress: bool = False,
) -> Estimate:
    """Estimate derivatives with error bars that hold, of functions that are hard to differentiate.

    Each entry is moved by steps of many sizes until its derivative is known to the tolerance, or
    until noise, a kink or the edge of the domain allows no better. Steps are relative to the entry,
    start small and are compared with each other: ``log`` at 1e-6, ``sin(1000 x)``, dollars beside a
    rate, a noisy simulation, a point near a pole or a kink need no step from you.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns a real number, or an array, or a nest of arrays and numbers, real or
        complex. Where it raises or returns NaN at a moved point, the point lies outside of its
        domain. A native or batched `f` is taken as well.
    params : number, array, or dict, list, tuple, namedtuple or dataclass of arrays
        As for `gradient`. `f` receives a number where `params` is one. Complex arrays are taken if
        `f` returns one real number.
    rtol, atol : float, default 1e-8 and 0
        An entry has converged when its error bar is at most ``atol + rtol * size``. The size is
        that of its derivative, or, where this vanishes, of the differences a step away from it. By
        default eight digits are asked for, half of those of float64; a looser tolerance costs fewer
        evaluations.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, as for `gradient`; at a bound derivatives are one-sided.
    where : structure of `params`, optional
        A boolean array of the shape of each leaf, or True or False for all of its entries: the
        entries to differentiate with respect to, as for `gradient`. Only these are moved; others
        have the status ``"left out"``, and count for nothing.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f`, as for `gradient`. The result is the same to the last bit.
    progress : bool, default False
        Show a bar with the evaluations made and expected, as for `gradient`.

    Returns
    -------
    Estimate
        ``value``, ``uncertainty``, ``status`` and more, structured as the derivative: a number if
        `params` is a number, the structure of `params` for a real-valued `f`, else the structure of
        what `f` returns, each leaf of it holding that of `params` in arrays of shape
        ``out.shape + leaf.shape``.

    Raises
    ------
    InputTypeError
        A parameter is not an array of a floating type, `f` did not return numbers, a tolerance is
        not a number, or parameters are complex and `f` does not return one real number.
    InputValueError
        A tolerance is negative or not finite, an array is read-only or shares memory with another,
        or a parameter lies outside of its bounds. Or `f` does not see parameters that are moved in
        place, and sees a moved copy: it caches by the identity of its argument.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError, ObjectiveError
        As for `gradient`.

    See Also
    --------
    gradient, jacobian : at one step, for loops in which `f` is known to be smooth.
    check_gradient : whether a derivative that you have is right.

    Notes
    -----
    `f` is evaluated once at the parameters, at six points beside them that show its noise (more
    where this is larger than rounding, and then at seven beside each entry, as it may be what
    another one does), and at two for each step of each entry: the first two steps
    are 1e-9 and 7e-9 of the entry, or as many spacings of its type as `f` can tell apart. All
    numbers that `f` returns share these evaluations. Differences are combined as in Richardson's
    extrapolation; the pair of steps is taken whose bound on truncation and noise is smallest, if no
    smaller step contradicts it [1]_. Noise is measured by difference tables [2]_.

    The error bar is a bound: in ``bench/estimates.py`` it holds in at least 999 of 1,000 cases, and
    on stairs in 96 of 100.
    Terms that cancel, rounding inside `f` and solvers that stop early leave stairs, which are
    smooth in between: ``(1 - cos(x)) / x**2`` has some that are wider than the steps that seem to
    settle its derivative. So each entry is looked at once more, at a twentieth of its size, for two
    evaluations; where `f` has left its tangent there, a few more tell whether it jumps again and
    again. Then the height of the stairs is noise, and longer steps are taken. Bars need not hold on
    stairs wider than a twentieth of the entry, where the slope on the stairs is off by less than a
    twentieth of itself, where `f` is off in the same way at all points nearby, and where it has
    details smaller than 1e-12 of the entry.

    References
    ----------
    .. [1] C. J. F. Ridders, Accurate computation of F'(x) and F'(x)F''(x), Adv. Eng. Softw. 4
       (1982) 75-76.
    .. [2] J. J. Moré and S. M. Wild, Estimating computational noise, SIAM J. Sci. Comput. 33 (2011)
       1292-1314.

    Examples
    --------
    >>> import math, fastgrad as fg
    >>> slope = fg.estimate(lambda t: math.sin(1000 * t), 0.3)
    >>> abs(slope.value - 1000 * math.cos(300.0)) <= slope.uncertainty <= 1e-5
    True
    >>> fg.estimate(abs, 0.0).status
    'kink'
    """
    check_callable(f, "f")
    goal = Goal(_tolerance(rtol, "rtol"), _tolerance(atol, "atol"))
    argument = as_params(params)
    is_number = isinstance(params, (int, float, np.number)) and isinstance(argument, np.ndarray)
    if is_number:
        f = of_numbers(f, itemgetter(()) if isinstance(params, np.generic) else np.ndarray.item)
    leaves = flatten(argument)
    limits = bounds_of(bounds, argument, leaves)
    selection = selection_of(where, argument, leaves)
    chosen = leaves if selection is None else selection.leaves
    expected = _AROUND + _EACH * sum(leaf.real.size for leaf in chosen)
    how: dict[str, Any] = {"workers": workers, "expected": expected, "progress": progress}
    how["selection"] = selection
    run = evaluator(Lenient(f), argument, leaves, vector=True, bounds=limits, **how)
    try:
        with run, quiet():
            around = look_around(run)
            outputs = run.outputs
            assert outputs is not None  # `f` was evaluated
            _refuse_complex(leaves, outputs)
            outcomes = [_of_leaf(run, k, around, goal) for k in range(len(leaves))]
            if expected > _AROUND and not any(found.moves.any() for found in outcomes):
                _refuse_cached(sees_moves(run, f, argument, around.base, limits, selection))
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    columns = columns_of(leaves, selection, outcomes)
    return assemble(run, argument, outputs, columns, around, is_number=is_number)


def _of_leaf(run: Metered, number: int, around: Surroundings, goal: Goal) -> Outcome:
    """The derivatives by all entries of a leaf, some at a time."""
    leaf = run.leaves[number]
    run.phase(leaf.path)
    outcome = Outcome.blank((leaf.real.size, len(around.base)))
    width = max(_AT_ONCE // max(len(around.base), 1), 1)
    for start in range(0, leaf.real.size, width):
        entries = np.arange(start, min(start + width, leaf.real.size), dtype=np.intp)
        part = estimate_entries(run, number, entries, around, goal)
        size = part.value.size
        where = np.arange(start * len(around.base), start * len(around.base) + size)
        outcome.put(where, part)
    return outcome


def _refuse_complex(leaves: Sequence[Leaf], outputs: Outputs) -> None:
    if outputs.is_number:
        return
    for leaf in leaves:
        if leaf.is_complex:
            raise InputTypeError(
                f"`{leaf.path}` is complex, and `f` does not return one real number: a Jacobian "
                "by complex parameters depends on a convention; pass their real and imaginary "
                "parts as arrays of their own, and let `f` join them"
            )


def _refuse_cached(sees: Sees) -> None:
    """Refuse an `f` that does not see the moves; one that nothing moves is told by its status."""
    if sees is Sees.CACHED:
        raise InputValueError(sees.value)


def _tolerance(given: Any, name: str) -> float:
    if isinstance(given, (bool, np.bool_)) or not isinstance(given, (int, float, np.number)):
        raise InputTypeError(f"`{name}` must be a number, 0 or more; got {given!r}")
    if not 0 <= float(given) < math.inf:
        raise InputValueError(f"`{name}` must be a finite number, 0 or more; got {given!r}")
    return float(given)
