"""Is this gradient right? `check_gradient`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from fastgrad import _backend
from fastgrad._checks.baseline import Trouble, measure_baseline
from fastgrad._checks.claim import Analytic, analytic, check_arguments, chosen, repeated
from fastgrad._checks.error_model import has_drifted
from fastgrad._checks.exhaustive import judge_all
from fastgrad._checks.first_look import FirstLook, may_look
from fastgrad._checks.options import tolerance, whole_seed
from fastgrad._checks.plan import Plan, plan_of
from fastgrad._checks.probe import probe
from fastgrad._checks.result import Result, unjudged
from fastgrad._checks.verdict import conclude
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.guard import check_layout
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import of_pairs
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Verdict
from fastgrad._report.leaves import detection_limit
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
    """
    started = time.perf_counter()
    check_arguments(f, grad, params)
    seed = whole_seed(seed)
    rtol, atol = tolerance("rtol", rtol), tolerance("atol", atol)
    argument = as_params(params)
    leaves = flatten(argument)
    limits = bounds_of(bounds, argument, leaves)
    selection = selection_of(where, argument, leaves)
    plan = plan_of(strategy, budget, leaves if selection is None else selection.leaves)
    value = of_pairs(f) if grad is True else f
    look = None
    usual = all(each is None for each in (workers, limits, selection)) and not progress
    # Without a budget every entry is judged.
    if usual and grad is not True and plan.budget == math.inf and may_look(f, leaves):
        check_layout(leaves)
        look = FirstLook(f, grad, argument, leaves, seed, rtol, atol)
        if look.seen():
            check_places(argument, leaves)
            return _first_report(look, plan, started)
    run = evaluator(
        Lenient(value),
        argument,
        leaves,
        workers=workers,
        budget=plan.budget,
        expected=plan.expected,
        progress=progress,
        bounds=limits,
        measured=None if look is None else look.measured,
        selection=selection,
    )
    try:
        with run:
            how = (run, f, grad, argument, leaves)
            claim = _first_call(*how) if look is None else look.claim
            claim = replace(claim, rtol=rtol, atol=atol)
            called = look is None and _is_called(grad)
            again = partial(_called_again, *how, claim) if called else None
            result = _look(run, claim, again, selection, plan, seed)
            result = _seen(result, run, value, argument, limits, selection)
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    result = replace(result, rtol=rtol, atol=atol)
    return _report(result, structure_of(argument), run.evaluations, plan, seed, started)


def _is_called(grad: Any) -> bool:
    return callable(grad) or grad is True


def _first_call(
    run: Metered, f: Callable[[Any], Any], grad: Any, argument: Params, leaves: Sequence[Leaf]
) -> Analytic:
    """The claim, of one call of the gradient where it is a function."""
    claim = analytic(f, grad, argument, leaves)
    if grad is True:
        run.count_call()
    if _is_called(grad):
        run.guard.check("grad")
    return claim


def _called_again(
    run: Metered,
    f: Callable[[Any], Any],
    grad: Any,
    argument: Params,
    leaves: Sequence[Leaf],
    claim: Analytic,
) -> Analytic:
    """The claim, with what a second call of the gradient shows."""
    if grad is True:
        run.spend()
    claim = repeated(claim, f, grad, argument, leaves)
    run.guard.check("grad")
    return claim


def _look(
    run: Metered,
    whole: Analytic,
    again: Callable[[], Analytic] | None,
    selection: Selection | None,
    plan: Plan,
    seed: int,
) -> Result:
    """Take the baseline of `f`, judge its gradient, and look at `f` once more."""
    claim = chosen(whole, selection)
    if not len(claim.column):
        return Result(unjudged(claim))
    run.phase("baseline")
    try:
        claim = claim if again is None else chosen(again(), selection)
        base = float(run.base())
        if plan.strategy == "probe":
            run.guard.thin()
        baseline = measure_baseline(run, claim, base, seed)
    except OutOfBudget:
        return Result(unjudged(claim), measured=0)
    if claim.trouble:
        return Result(unjudged(claim), baseline=baseline, trouble=claim.trouble.sentence)
    if baseline.trouble:
        return Result(unjudged(claim), baseline=baseline)
    run.calibrate()
    strategy = probe if plan.strategy == "probe" else judge_all
    result = strategy(run, claim, baseline, seed)
    last = float(run.last())
    if not has_drifted(baseline.base, last, baseline.noise):
        return result
    return result.distrusted(replace(baseline, trouble=Trouble.DRIFTED, last=last))


def _seen(
    result: Result,
    run: Metered,
    f: Callable[[Any], Any],
    argument: Params,
    bounds: Bounds | None,
    selection: Selection | None,
) -> Result:
    """The result, or why nothing is known where no leaf moves `f`."""
    if not result.leaves or any(leaf.moves or leaf.jumps for leaf in result.leaves):
        return result
    assert result.baseline is not None
    try:
        seen = sees_moves(run, f, argument, result.baseline.base, bounds, selection)
    except OutOfBudget:
        return result
    claimed = any(not leaf.still for leaf in result.leaves)
    if seen is Sees.CACHED or (seen is Sees.UNRELATED and claimed):
        return result.distrusted(result.baseline, seen.value)
    return result


def _first_report(look: FirstLook, plan: Plan, started: float) -> Report:
    """The report of a gradient that is right at first look; its sentences are made on demand."""
    evaluations, seconds = look.evaluations, time.perf_counter() - started
    structure = structure_of(look.argument)
    look.forget()

    def rest() -> Report:
        return _report(look.result(), structure, evaluations, plan, look.seed, started)

    return Report.unfinished(
        rest,
        verdict=Verdict.RIGHT,
        evaluations=evaluations,
        noise=look.noise,
        strategy=plan.strategy,
        backend=_backend.backend,
        seed=look.seed,
        seconds=seconds,
        steps=look.steps,
        rtol=look.rtol,
        atol=look.atol,
        structure=structure,
    )


def _report(
    result: Result, structure: Any, evaluations: int, plan: Plan, seed: int, started: float
) -> Report:
    verdict, reason = conclude(result, plan.strategy, plan.budget)
    baseline, limit = result.baseline, result.detection_limit
    # It holds for all entries of a right gradient that was granted nothing.
    if verdict is not Verdict.RIGHT or result.rtol or result.atol:
        limit = detection_limit(result.entries, result.rtol, result.atol)
    return Report(
        verdict=verdict,
        reason=reason,
        causes=result.causes,
        entries=result.entries,
        evaluations=evaluations,
        noise=baseline.noise if baseline else math.nan,
        detection_limit=limit,
        strategy=plan.strategy,
        backend=_backend.backend,
        seed=seed,
        seconds=time.perf_counter() - started,
        curve=result.curve,
        steps=baseline.relative if baseline else (),
        miss_probability=result.miss_probability,
        rtol=result.rtol,
        atol=result.atol,
        structure=structure,
    )
