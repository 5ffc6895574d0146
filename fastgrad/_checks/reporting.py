"""What a check has found as the report that the user gets."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import Any

from fastgrad import _backend
from fastgrad._checks.first_look import FirstLook
from fastgrad._checks.plan import EVERY_ENTRY, Plan
from fastgrad._checks.result import Result
from fastgrad._checks.verdict import conclude
from fastgrad._report.entries import Verdict
from fastgrad._report.leaves import detection_limit
from fastgrad._report.report import Report
from fastgrad._tree import structure_of

__all__ = ["first_report", "report_of"]


def first_report(look: FirstLook, started: float) -> Report:
    """The report of a gradient that is right at first look; its sentences are made on demand."""
    evaluations, structure = look.evaluations, structure_of(look.argument)
    look.forget()

    def rest() -> Report:
        return report_of(look.result(), structure, evaluations, EVERY_ENTRY, look.seed, started)

    return Report.unfinished(
        rest,
        verdict=Verdict.RIGHT,
        evaluations=evaluations,
        noise=look.told[0],
        strategy=EVERY_ENTRY.strategy,
        backend=_backend.backend,
        seed=look.seed,
        seconds=time.perf_counter() - started,
        steps=tuple(look.told[3]),
        rtol=look.rtol,
        atol=look.atol,
        structure=structure,
    )


def report_of(
    result: Result, structure: Any, evaluations: int, plan: Plan, seed: int, started: float
) -> Report:
    """The report of what a check has found; what explains it is told on demand."""
    how = (structure, evaluations, plan, seed, started)
    if result.untold is None:
        return _finished(result, *how)
    baseline = result.baseline
    assert baseline is not None

    def rest() -> Report:
        assert result.untold is not None
        causes, curve = result.untold()
        return _finished(replace(result, causes=causes, curve=curve, untold=None), *how)

    return Report.unfinished(
        rest,
        verdict=Verdict.WRONG,  # of others there is nothing to explain, or it is known
        entries=result.entries,
        evaluations=evaluations,
        noise=baseline.noise,
        strategy=plan.strategy,
        backend=_backend.backend,
        seed=seed,
        seconds=time.perf_counter() - started,
        steps=baseline.relative,
        rtol=result.rtol,
        atol=result.atol,
        structure=structure,
    )


def _finished(
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
