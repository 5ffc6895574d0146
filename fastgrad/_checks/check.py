"""Is this gradient right? `check_gradient`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastgrad._checks.baseline import Trouble, measure_baseline
from fastgrad._checks.claim import Analytic, analytic, check_arguments, chosen, repeated
from fastgrad._checks.error_model import has_drifted
from fastgrad._checks.exhaustive import judge_all
from fastgrad._checks.first_look import FirstLook, may_look
from fastgrad._checks.manifold import Manifold, directions_of
from fastgrad._checks.options import tolerance, whole_seed
from fastgrad._checks.plan import Plan, plan_of
from fastgrad._checks.probe import probe
from fastgrad._checks.reporting import first_report, report_of
from fastgrad._checks.result import Result, unjudged, with_held
from fastgrad._errors import InputValueError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.guard import Guard, check_layout
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import of_pairs
from fastgrad._evaluation.measured import Measured
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._leaf import Leaf
from fastgrad._report.report import Report
from fastgrad._tree import Params, as_params, check_places, flatten, structure_of
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
        shapes of its leaves. It is copied before `f` is called again; it may be memory of the
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
    if plain and every and grad is not True and may_look(f, leaves):
        check_layout(leaves)
        look = FirstLook(f, grad, argument, leaves, seed, rtol, atol)
        if look.seen():
            check_places(argument, leaves)
            return first_report(look, started)
    limits = bounds_of(bounds, argument, leaves)
    selection = selection_of(where, argument, leaves)
    plan = plan_of(strategy, budget, leaves if selection is None else selection.leaves)
    asked = _Asked(
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
        measured=None if look is None else look.measured,
    )
    return _judged(asked) if retraction is None else _on_manifold(asked, retraction, bounds)


@dataclass(frozen=True)
class _Asked:
    """What is asked of a check, each part of it checked by itself."""

    f: Callable[[Any], Any]
    value: Callable[[Any], Any]  # of the pairs that `f` returns, or `f`
    grad: Any
    argument: Params
    leaves: Sequence[Leaf]
    bounds: Bounds | None
    selection: Selection | None
    plan: Plan
    tolerances: tuple[float, float]
    workers: Any
    progress: bool
    seed: int
    started: float
    claim: Analytic | None = None  # where `grad` was called already
    calls: int = 0  # of `f`, for that
    measured: Measured | None = None  # by a first look that left doubts


def _judged(asked: _Asked) -> Report:
    """The report, where a first look is not enough."""
    argument, plan, (rtol, atol) = asked.argument, asked.plan, asked.tolerances
    run = evaluator(
        Lenient(asked.value),
        argument,
        asked.leaves,
        workers=asked.workers,
        budget=plan.budget,
        expected=plan.expected,
        progress=asked.progress,
        bounds=asked.bounds,
        measured=asked.measured,
        selection=asked.selection,
    )
    try:
        with run:
            known = asked.claim is not None
            claim = replace(asked.claim or _first_call(run, asked), rtol=rtol, atol=atol)
            for _ in range(asked.calls):
                run.count_call()
            called = not known and _is_called(asked.grad)
            again = partial(_called_again, run, asked, claim) if called else None
            result = _look(run, claim, again, asked)
            result = _seen(result, run, asked)
            check_places(argument, asked.leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    result = with_held(result, asked.bounds, asked.leaves, asked.selection)
    result = replace(result, rtol=rtol, atol=atol)
    structure = structure_of(argument)
    return report_of(result, structure, run.evaluations, plan, asked.seed, asked.started)


def _on_manifold(asked: _Asked, retraction: Any, bounds: Any) -> Report:
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
            moved = replace(
                asked,
                value=manifold.f,
                argument=manifold.moves,
                leaves=manifold.leaves,
                selection=selection,
                plan=plan,
                claim=manifold.claimed(claim),
                calls=2 if asked.grad is True else 0,
            )
            guard.check("retraction")
            report = _judged(moved)
            clause = manifold.clause(claim, report.verdict)
    finally:
        guard.close()  # as above
    return replace(report, reason=report.reason + clause)


def _called_twice(guard: Guard, asked: _Asked) -> Analytic:
    """The claim, with what a second call shows where the gradient is a function."""
    asks = (asked.f, asked.grad, asked.argument, asked.leaves)
    claim = analytic(*asks)
    if _is_called(asked.grad):
        guard.check("grad")
        claim = repeated(claim, *asks)
        guard.check("grad")
    return claim


def _is_called(grad: Any) -> bool:
    return callable(grad) or grad is True


def _first_call(run: Metered, asked: _Asked) -> Analytic:
    """The claim, of one call of the gradient where it is a function."""
    lend = asked.plan.strategy == "probe" and asked.selection is None
    claim = analytic(asked.f, asked.grad, asked.argument, asked.leaves, lend=lend)
    if asked.grad is True:
        run.count_call()
    if _is_called(asked.grad):
        run.guard.check("grad")
    return claim


def _called_again(run: Metered, asked: _Asked, claim: Analytic) -> Analytic:
    """What is claimed of the entries that are meant, with what a second call shows."""
    if asked.grad is True:
        run.spend()
    asks = (asked.f, asked.grad, asked.argument, asked.leaves, asked.selection)
    claim = repeated(claim, *asks)
    run.guard.check("grad")
    return claim


def _look(
    run: Metered, whole: Analytic, again: Callable[[], Analytic] | None, asked: _Asked
) -> Result:
    """Take the baseline of `f`, judge its gradient, and look at `f` once more."""
    claim = kept = chosen(whole, asked.selection)
    if not len(claim.column):
        return Result(unjudged(claim))
    run.phase("baseline")
    try:
        claim = claim if again is None else again()
        base = float(run.base())
        if asked.plan.strategy == "probe":
            run.guard.thin()
        # By then the copy of the parameters is gone, and one of the gradient takes its place: an
        # `f` that writes into it does so at the first points, and if it does not, none is needed.
        kept = claim.kept()
        baseline = measure_baseline(run, kept, base, asked.seed)
    except OutOfBudget:
        return Result(unjudged(kept.kept()), measured=0)
    if kept.trouble:
        return Result(unjudged(kept), baseline=baseline, trouble=kept.trouble.sentence)
    if baseline.trouble:
        return Result(unjudged(kept), baseline=baseline)
    claim = claim if claim.untouched else kept
    del kept
    run.calibrate()
    strategy = probe if asked.plan.strategy == "probe" else judge_all
    result = strategy(run, claim, baseline, asked.seed)
    last = float(run.last())
    claim.check()
    if not has_drifted(baseline.base, last, baseline.noise):
        return result
    return result.distrusted(replace(baseline, trouble=Trouble.DRIFTED, last=last))


def _seen(result: Result, run: Metered, asked: _Asked) -> Result:
    """The result, or why nothing is known where no leaf moves `f`."""
    if not result.leaves or any(leaf.moves or leaf.jumps for leaf in result.leaves):
        return result
    assert result.baseline is not None
    try:
        base = result.baseline.base
        seen = sees_moves(run, asked.value, asked.argument, base, asked.bounds, asked.selection)
    except OutOfBudget:
        return result
    claimed = any(not leaf.still for leaf in result.leaves)
    if seen is Sees.CACHED or (seen is Sees.UNRELATED and claimed):
        return result.distrusted(result.baseline, seen.value)
    return result
