"""Judges projections of a large Jacobian, and finds the outputs that are wrong."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastgrad._checks.asked import Asked, judged_by, report_on
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.plan import plan_of
from fastgrad._checks.product_claims import Pulled, fractions, spacings
from fastgrad._checks.vjp_look import AskedProduct, ProductLook, random_direction
from fastgrad._checks.wrong_outputs import (
    LOCATED,
    Sums,
    Way,
    of_outputs,
    positions_of,
    wrong_outputs,
)
from fastgrad._evaluation.direction import Direction, Given, Region
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._evaluation.shared import Cotangent, Output, Shared
from fastgrad._outputs import Outputs
from fastgrad._report.causes import Cause
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Report
from fastgrad._returns import at_block
from fastgrad._tree import Params
from fastgrad._words import counted

__all__ = ["ProjectionJudge"]

# Random cotangents: an error that one of them hides is in the other.
_COTANGENTS = 2
# Wrong entries of the parameters by which outputs are told right from wrong.
_ENTRIES = 4
# Evaluations after which a probe knows whether something is wrong, and mostly one wrong entry; and
# after which no other output is judged by itself, as many entries of each are wrong then.
_ENOUGH = 300
# Share of the step at which differences are taken once more, to see how they converge.
_CLOSER = 0.25


@dataclass(frozen=True)
class _Projected:
    """The inner product of a vector with what `f` returns, as a function of its own."""

    f: Callable[[Any], Any]
    outputs: Outputs
    by: Cotangent

    def __call__(self, params: Any) -> float:
        """Its value."""
        return float(self.by(self.outputs.flat(self.f(params), at_block, 0)))


@dataclass
class ProjectionJudge:
    """Judges projections of a large Jacobian, and finds the outputs that are wrong."""

    asked: AskedProduct
    look: ProductLook
    run: Metered
    shared: Shared
    beyond: int = 0  # evaluations that were made past `run`

    def report(self) -> Report:
        """The verdict on two random cotangents or, where one is wrong, on what is behind it."""
        look, seed = self.look, self.asked.options.seed
        direction = random_direction(look.leaves, seed)
        self.shared.know(look.base, Along(direction, (look.move, -look.move)), look.ends)
        rng = np.random.default_rng([seed, look.outputs.size])
        found = None
        outputs = counted(look.outputs.size, "output")
        for strategy in (self.asked.strategy, *("probe",) * (_COTANGENTS - 1)):
            u = look.weights * fractions(rng, look.outputs.size)
            few = self._of_few_outputs(u)
            if few is not None:
                return few
            report = self._first_judged(u, strategy)
            if report.verdict is Verdict.WRONG:
                said = f"with a random cotangent of all {outputs}, {report.reason}"
                return self._located(replace(report, reason=said), u)
            if found is None or found.verdict is Verdict.RIGHT:
                found = report if found is None or report.verdict is not Verdict.RIGHT else found
        assert found is not None
        said = f"with {_COTANGENTS} random cotangents of {outputs}, {found.reason}"
        return replace(found, reason=said)

    def _first_judged(self, u: np.ndarray, strategy: str) -> Report:
        """The same, of many parameters only until it is known whether something is wrong."""
        budget = self.asked.budget
        probes = plan_of(strategy, None, self.look.leaves).strategy == "probe"
        if probes and (budget is None or budget > _ENOUGH):
            report = self._judged(u, "probe", _ENOUGH)
            if not (report.verdict is Verdict.CANNOT_TELL and "budget" in report.reason):
                return report
        return self._judged(u, strategy)

    def _judged(self, u: np.ndarray, strategy: str, budget: int | None = None) -> Report:
        """The gradient of the number that a cotangent makes of the outputs."""
        asked, options, by = self.asked, self.asked.options, Cotangent.of(u)
        plan = plan_of(strategy, asked.budget if budget is None else budget, self.look.leaves)
        value = _Projected(asked.f, self.look.outputs, by)
        gradient = Asked(
            f=value,
            value=value,
            grad=partial(_pulled, self.look.pulled, u),
            argument=asked.argument,
            leaves=asked.leaves,
            bounds=asked.limits,
            selection=asked.selection,
            plan=plan,
            tolerances=(options.rtol, options.atol),
            workers=None,  # those of the evaluator that is asked
            progress=False,
            seed=options.seed,
            started=time.perf_counter(),
        )
        run = self.run.part(Output(self.shared, by), plan.budget)
        result = judged_by(run, gradient)
        self.beyond += run.evaluations - self.run.evaluations
        return report_on(result, run.evaluations, gradient)

    # ------------------------------------------------------------------------ which outputs

    def _of_few_outputs(self, u: np.ndarray) -> Report | None:
        """The report on a few outputs that the first look shows to be wrong, if they are."""
        if self.look.outputs.size == 1 or not self.look.ends:
            return None
        direction = random_direction(self.look.leaves, self.asked.options.seed)
        with quiet():
            sums = self._sums(u, self._way(direction, self.look.move))
            if not sums.measure(sums.whole).significant:
                return None
            self._look_closer(sums)
            wrong = wrong_outputs(sums)
            if not wrong or (len(wrong) > LOCATED and sums.in_many(self.asked.options.seed)):
                return None
        self.run.guard.check("vjp")
        return self._of_outputs(wrong)

    def _located(self, report: Report, u: np.ndarray) -> Report:
        """The report on the outputs that are wrong or, where all are, on their sum."""
        outputs = self.look.outputs
        if outputs.size == 1 or not len(report.wrong):
            return report
        with quiet():
            sums = self._sums(u, self._way(*self._worst_entries(report)))
            self._look_closer(sums)
            wrong = wrong_outputs(sums)
        self.run.guard.check("vjp")
        if not wrong:
            return report
        relation = bool(report.causes) and report.causes[0].kind not in (*DOUBTFUL, Cause.NEARBY)
        if relation and len(wrong) > LOCATED:
            if "budget" in report.reason:
                report = self._judged(u, self.asked.strategy)
            name = outputs.name(wrong[0])
            said = f"{report.reason}; it is so for every output that was looked at, as `{name}`"
            return replace(report, reason=said)
        found = self._of_outputs(wrong)
        return report if found is None else found

    def _of_outputs(self, wrong: Sequence[int]) -> Report | None:
        """The report on the first of these outputs, each judged by itself, if one is wrong."""
        outputs, before = self.look.outputs, self.run.evaluations
        parts = []
        for j in wrong[:LOCATED]:
            alone = np.zeros(outputs.size)
            alone[j] = 1.0
            parts.append((outputs.name(j), self._judged(alone, self.asked.strategy)))
            if self.run.evaluations - before > _ENOUGH:
                break
        bad = [(name, part) for name, part in parts if part.verdict is Verdict.WRONG]
        return of_outputs(bad, len(wrong) > len(parts)) if bad else None

    def _sums(self, u: np.ndarray, way: Way) -> Sums:
        options = self.asked.options
        return Sums(self.look.pulled, u, way, options.rtol, options.atol)

    def _way(self, direction: Direction, time: float) -> Way:
        """How all outputs change along a direction."""
        rounding = spacings(self.look.outputs) * np.abs(self.look.base)
        change = self._change(direction, time)
        return Way(self.run, direction, time, change, rounding, np.zeros_like(change))

    def _look_closer(self, sums: Sums) -> None:
        """Look how the change differs at smaller steps: it is as far off as that."""
        way = sums.way
        near = self._way(way.direction, _CLOSER * way.time)
        larger = way.length / (near.length or 1.0)  # zero where no entry may move
        sums.way = replace(way, drift=way.change - larger * near.change, noise=larger * way.noise)

    def _change(self, direction: Direction, time: float) -> np.ndarray:
        ahead, behind = self.shared.along(Along(direction, (time, -time))).values
        change: np.ndarray = ahead - behind
        return change

    def _worst_entries(self, report: Report) -> tuple[Given, float]:
        """A direction along which some wrong entries move, and how far at first."""
        leaves = self.look.leaves
        starts = np.cumsum([0, *(leaf.real.size for leaf in leaves)])
        rng = np.random.default_rng(self.asked.options.seed)
        regions, moves = [], []
        for at in positions_of(report)[:_ENTRIES]:
            k = int(np.searchsorted(starts, at, side="right")) - 1
            shape = leaves[k].real.shape
            index = np.unravel_index(at - int(starts[k]), shape) if shape else ()
            region = Region(k, tuple(slice(int(i), int(i) + 1) for i in index), shape)
            size = self.run.scale(k, region.box) * fractions(rng, 1)
            regions.append(region)
            moves.append(size.reshape((1,) * len(shape)))
        return Given(tuple(regions), tuple(moves)), min(report.steps, default=1e-5)


def _pulled(pulled: Pulled, u: np.ndarray, params: Params) -> Any:
    """The claim for one cotangent, as a gradient function at the parameters."""
    return pulled.nest(u)
