"""Is this gradient right? `check_gradient`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fastgrad._checks.asked import Asked, caller, is_called, judged_by, report_on
from fastgrad._checks.claim import Analytic, analytic, check_arguments, repeated
from fastgrad._checks.first_look import FirstLook, may_look
from fastgrad._checks.manifold import Manifold, directions_of
from fastgrad._checks.options import tolerance, whole_seed
from fastgrad._checks.plan import plan_of
from fastgrad._checks.reporting import first_report
from fastgrad._errors import InputValueError, written_by
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import of_pairs
from fastgrad._evaluation.selected import selection_of
from fastgrad._report.report import Report
from fastgrad._tree import Params, as_params, check_places, flatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["check_gradient"]


def check_gradient(
    f: Callable[[Any], Any],
    grad: Any,
    params: Params,
    *,
    strategy: str = "auto",
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    bounds: Any = None,
    where: Any = None,
    retraction: Callable[[Any, Any], Any] | None = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> Report:
    """Judge an analytic gradient against central differences.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. With ``grad=True`` it returns the pair
        ``(value, gradient)``.
    grad : callable, gradient, or True
        ``grad(params)``, or the gradient itself: arrays in the structure of `params` with the
        shapes of its leaves. A function may return the pair (value, gradient) as well; True says
        that `f` does. It is copied before `f` is called again; it may be memory of the
        parameters. A function is called twice: the report says whether it adds to its last result
        or is random, and smaller differences are part of the error bar. For a complex leaf it is
        ``df/dRe + 1j * df/dIm``.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check. The entries are moved in place; afterwards every bit is as
        it was.
    strategy : {"auto", "exhaustive", "probe"}, default "auto"
        ``"exhaustive"`` judges every entry, with two evaluations or more for each. ``"probe"``
        looks for wrong entries along random directions, with some twenty evaluations, whatever the
        number of arrays, and about a hundred more for the first wrong entry. ``"auto"`` probes if
        judging every entry would exceed the budget.
    budget : int, optional
        Largest number of evaluations. If it is used up, the report says what is known by then.
        By default 20,000 for a probe; without limit if every entry is judged.
    rtol, atol : float, default 0.0
        How far an entry may be off beyond its error bar and still be right: by
        ``atol + rtol * |numeric|``, as in `numpy.allclose`. For an `f` that is exact to a tolerance
        only, such as a solver's. By default nothing but what was measured counts.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, as for `gradient`. Points outside of them count as outside of
        its domain: entries near a bound are judged by smaller steps, or by one-sided differences.
        One whose bounds are equal cannot be judged.
    where : structure of `params` of bool arrays, optional
        Which entries to check: arrays of the shapes of those in `params`, or True or False for a
        whole array, or for all. Only these are moved, judged and counted; the gradient that is
        claimed of others may be anything. The report names an array of which some are left out
        ``W[where]`` where it says what is wrong, as NumPy would index it, and says how many of how
        many entries were looked at.
    retraction : callable, optional
        For parameters on a manifold: ``retraction(params, v)`` returns new parameters, moved along
        `v`, which has the structure of `params`, and is zero where they stay. See Notes.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f` at moved points: see `gradient`. The report is that of a
        serial run, except for the time and for two evaluations more in each worker. For a native
        `f` (see `native`), the number of threads.
    progress : bool, default False
        Show a bar with the evaluations made and expected, and the stage of the check, if standard
        error is a terminal, or in a notebook. This needs tqdm.
    seed : int, default 0
        Seed of the random directions.

    Returns
    -------
    Report
        Its truth value is True only for the verdict RIGHT; printed, it fills one screen.

    Raises
    ------
    InputTypeError, InputValueError
        The parameters cannot be moved in place, or the gradient does not have their structure
        and shapes.
    MutationError
        `f` or `grad` wrote into the parameters. What it wrote is undone.
    ConcurrencyError
        Another thread is differentiating with respect to the same memory.
    WorkerError
        A copy of `f` in a worker does not reproduce the original's values, or a part of the work
        killed three workers.
    MissingPackageError
        `progress` is true, and tqdm is not installed.
    ObjectiveError
        A native `f` returned an error code at the parameters.

    Notes
    -----
    Where `f` raises at a moved point, is infinite, or a native `f` returns an error code, its value
    counts as NaN: that lies outside of its domain, and the check goes on with smaller steps, and to
    one side. At the parameters exceptions are raised. Each point of a batch that raises is
    evaluated once more by itself.

    If the check is interrupted (Ctrl-C), a note of the KeyboardInterrupt says what was known.
    First `f` is evaluated along a random direction. A difference table of these values gives their
    noise, and that the step. Then every entry is compared with one central difference. If the two
    do not agree to within noise and truncation error, the difference is repeated at many steps, and
    the one with the smallest error bound decides. If the quotients on both sides keep their
    distance as the step shrinks, `f` has a kink, and every value between is right. If the bound is
    as large as the gradient itself, the verdict is CANNOT_TELL. A right gradient of a smooth `f`
    takes about ``2 n + 9`` evaluations, a wrong entry some seventy more.

    Before an entry is called wrong, larger steps are asked as well. Where `f` jumps between two
    derivatives, is piecewise constant, or has errors as large as the deviation, as a solver's, the
    verdict is CANNOT_TELL. A tolerance is granted on top of the error bars.

    A probe computes the derivative along random directions in which all parameter arrays move, and
    where it is not that of the gradient, in halves of the arrays, and in one after the other. Two
    directions show an error above a certain size in any entry. Wrong entries are located by
    bisection of the region that is moved, and judged one by one. ``report.detection_limit`` is the
    size of an error that is missed with the probability ``report.miss_probability``, 1 %, whatever
    else is wrong.

    *On a manifold* entries of `v` are moved in place of those of `params`: `f` is evaluated at
    ``retraction(params, v)``, and has to read its argument. What is claimed of an entry of `v` is
    the inner product of the gradient with the tangent vector along which it moves `params`, found
    by differences of `retraction`, which is called four times for each entry. So a Riemannian
    gradient (of the metric of the space around) and a Euclidean one are judged alike; where the
    gradient is not tangent, the reason says so. `v` is any array: a retraction that wants tangent
    vectors has to project it first. A probe moves along 16 random directions, which the report
    lists as ``directions``, and locates nothing (N. Boumal, An Introduction to Optimization on
    Smooth Manifolds, Cambridge 2023).

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> report = fg.check_gradient(lambda x: (x**3).sum(), lambda x: 3 * x**2, x)
    >>> bool(report), report.evaluations
    (True, 15)
    >>> report = fg.check_gradient(lambda x: (x**3).sum(), lambda x: 3 * x, x)
    >>> [entry.path for entry in report.wrong]
    ['params[2]', 'params[1]']

    On the unit sphere:

    >>> x, a = np.array([0.6, 0.8]), np.array([1.0, 2.0])
    >>> step = lambda x, v: (x + v) / np.linalg.norm(x + v)
    >>> bool(fg.check_gradient(lambda x: a @ x, a - (a @ x) * x, x, retraction=step))
    True
    """
    started = time.perf_counter()
    check_arguments(f, grad, params)
    seed = whole_seed(seed)
    rtol, atol = tolerance("rtol", rtol), tolerance("atol", atol)
    argument = as_params(params)
    leaves = flatten(argument)
    look = None
    # A first look knows no other options, and without a budget every entry is judged.
    plain = bounds is where is retraction is workers is budget is None and not progress
    every = strategy in ("auto", "exhaustive")
    layout = may_look(f, leaves, seed) if plain and every and grad is not True else None
    if layout:
        look = FirstLook(f, grad, argument, leaves, layout, seed, rtol, atol)
        if look.seen():
            check_places(argument, leaves)
            return first_report(look, started)
    limits = bounds_of(bounds, argument, leaves)
    selection = selection_of(where, argument, leaves)
    plan = plan_of(strategy, budget, leaves if selection is None else selection.leaves)
    asked = Asked(
        f=f,
        value=of_pairs(f) if grad is True else f,
        grad=grad,
        argument=argument,
        leaves=leaves,
        bounds=limits,
        selection=selection,
        plan=plan,
        tolerances=(rtol, atol),
        workers=workers,
        progress=progress,
        seed=seed,
        started=started,
        claim=None if look is None else look.claim,
        measured=None if look is None else look.left,
        baseline=None if look is None else look.baseline,
    )
    return _judged(asked) if retraction is None else _on_manifold(asked, retraction, bounds)


def _judged(asked: Asked) -> Report:
    """The report, where a first look is not enough."""
    run = evaluator(
        Lenient(asked.value),
        asked.argument,
        asked.leaves,
        workers=asked.workers,
        budget=asked.plan.budget,
        expected=asked.plan.expected,
        progress=asked.progress,
        bounds=asked.bounds,
        measured=asked.measured,
        selection=asked.selection,
    )
    try:
        with run:
            result = judged_by(run, asked)
            check_places(asked.argument, asked.leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    return report_on(result, run.evaluations, asked)


def _on_manifold(asked: Asked, retraction: Any, bounds: Any) -> Report:
    """The report on a gradient of which moves along a manifold are claimed: see `manifold`."""
    if bounds is not None:
        raise InputValueError(
            "`bounds` cannot be combined with `retraction`, which decides where parameters move; "
            "let it stay within them, and pass bounds=None"
        )
    directions, plan, selection = None, asked.plan, asked.selection
    if plan.strategy == "probe":
        chosen_ones = [selection and selection.chosen(k) for k in range(len(asked.leaves))]
        directions = directions_of(asked.leaves, chosen_ones, asked.seed)
        plan, selection = replace(plan, strategy="exhaustive"), None
    guard = Guard(asked.leaves)
    try:
        with guard:
            claim = _called_twice(guard, asked)
            manifold = Manifold(asked.value, retraction, asked.argument, asked.leaves, directions)
            moved = asked._replace(
                value=manifold.f,
                argument=manifold.moves,
                leaves=manifold.leaves,
                selection=selection,
                plan=plan,
                claim=manifold.claimed(claim),
                calls=2 if asked.grad is True else 0,
            )
            guard.check("retraction")
            with written_by("retraction"):  # which gives `f` what it works on
                report = _judged(moved)
            guard.check("retraction")
            clause = manifold.clause(claim, report.verdict)
    finally:
        guard.close()  # as above
    return replace(report, reason=report.reason + clause)


def _called_twice(guard: Guard, asked: Asked) -> Analytic:
    """The claim, with what a second call shows where the gradient is a function."""
    asks = (asked.f, asked.grad, asked.argument, asked.leaves)
    claim = analytic(*asks)
    if is_called(asked.grad):
        guard.check(caller(asked.grad))
        claim = repeated(claim, *asks)
        guard.check(caller(asked.grad))
    return claim
