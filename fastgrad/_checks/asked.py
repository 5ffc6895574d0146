"""A gradient judged by what evaluates `f`: called, looked at, probed or judged entry by entry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

from fastgrad._checks.baseline import Baseline, Trouble, measure_baseline
from fastgrad._checks.claim import Analytic, analytic, chosen, repeated
from fastgrad._checks.error_model import has_drifted
from fastgrad._checks.exhaustive import judge_all
from fastgrad._checks.plan import Plan
from fastgrad._checks.probe import probe
from fastgrad._checks.reporting import report_of
from fastgrad._checks.result import Result, unjudged
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.measured import Measured
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._evaluation.selected import Selection
from fastgrad._leaf import Leaf
from fastgrad._report.report import Report
from fastgrad._tree import Params, structure_of

__all__ = ["Asked", "caller", "is_called", "judged_by", "report_on"]


class Asked(NamedTuple):
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
    measured: Measured | None = None  # by a first look that left doubts ...
    baseline: Baseline | None = None  # ... and what it has found before any entry


def judged_by(run: Metered, asked: Asked) -> Result:
    """What a check has found, by what evaluates `f`, which is open."""
    rtol, atol = asked.tolerances
    known = asked.claim is not None
    claim = asked.claim or _first_call(run, asked)
    if rtol or atol:
        claim = replace(claim, rtol=rtol, atol=atol)
    for _ in range(asked.calls):
        run.count_call()
    called = not known and is_called(asked.grad)
    again = partial(_called_again, run, asked, claim) if called else None
    return _seen(_look(run, claim, again, asked), run, asked)


def report_on(result: Result, evaluations: int, asked: Asked) -> Report:
    """The report of what was found, in so many evaluations."""
    rtol, atol = asked.tolerances
    if rtol or atol:
        result = replace(result, rtol=rtol, atol=atol)
    structure = structure_of(asked.argument)
    return report_of(result, structure, evaluations, asked.plan, asked.seed, asked.started)


def is_called(grad: Any) -> bool:
    return callable(grad) or grad is True


def caller(grad: Any) -> str:
    """The name of the function that returns the gradient."""
    return "f" if grad is True else "grad"


def _first_call(run: Metered, asked: Asked) -> Analytic:
    """The claim, of one call of the gradient where it is a function."""
    lend = asked.plan.strategy == "probe" and asked.selection is None
    claim = analytic(asked.f, asked.grad, asked.argument, asked.leaves, lend=lend)
    if asked.grad is True:
        run.count_call()
    if is_called(asked.grad):
        run.guard.check(caller(asked.grad))
    return claim


def _called_again(run: Metered, asked: Asked, claim: Analytic) -> Analytic:
    """What is claimed of the entries that are meant, with what a second call shows."""
    if asked.grad is True:
        run.spend()
    asks = (asked.f, asked.grad, asked.argument, asked.leaves, asked.selection)
    claim = repeated(claim, *asks)
    run.guard.check(caller(asked.grad))
    return claim


def _look(
    run: Metered, whole: Analytic, again: Callable[[], Analytic] | None, asked: Asked
) -> Result:
    """Take the baseline of `f`, judge its gradient, and look at `f` once more."""
    claim = kept = chosen(whole, asked.selection)
    if not len(claim.column):
        return Result(unjudged(claim))
    run.phase("baseline")
    try:
        claim = claim if again is None else again()
        base = math.nan if asked.baseline else float(run.base())
        if asked.plan.strategy == "probe" and claim.lent is not None:
            # The copy of the parameters goes, and one of the gradient takes its place: an `f` that
            # writes into it does so at the first points, and if it does not, none is needed.
            run.guard.thin()
        kept = claim.kept()
        baseline = asked.baseline or measure_baseline(run, kept, base, asked.seed)
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
    return result.distrusted(baseline._replace(trouble=Trouble.DRIFTED, last=last))


def _seen(result: Result, run: Metered, asked: Asked) -> Result:
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
