"""One check of a hostile problem, and what is to be said against its outcome."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hostile_causes import is_true
from hostile_claims import wrong_claims
from hostile_oracle import Oracle, copied, distances, times
from hostile_problems import Family, Problem, leaves
from hostile_problems.base import NOT_RIGHT, Change

import fastgrad as fg

HOME = str(Path(fg.__file__).resolve().parent)
# Wrong gradients of each problem.
MISTAKES = 3
# A probe misses an error at its limit with 1 %, one of this many times the limit with 0.1 %.
PROBE_LIMIT = 3.2
# A limit of this share of the gradient admits everything.
NO_POWER = 0.3
# Changes after which the verdict must be the same, and one that may cost power alone.
CHANGES: dict[str, Change] = {
    "": Change(1.0, 0.0),
    "x 1e9": Change(1e9, 0.0),
    "x 1e-9": Change(1e-9, 0.0),
    "+ 1e8": Change(1.0, 1e8),
}


@dataclass(frozen=True)
class Claim:
    """A gradient of one problem that is to be judged."""

    family: str
    instance: int
    name: str
    check_seed: int = 0
    strategy: str = "auto"
    change: str = ""

    def __str__(self) -> str:
        probe = " --probe" if self.strategy == "probe" else ""
        change = f' --change "{self.change}"' if self.change else ""
        return (
            f"python bench/hostile.py --family {self.family} --instance {self.instance} "
            f'--claim "{self.name}" --check-seed {self.check_seed}{change}{probe}'
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one check, and what is to be said against it."""

    claim: Claim
    verdict: str  # or the exception
    reason: str
    kind: str  # "right", "extra" or "wrong": what was claimed
    causes: tuple[tuple[str, bool | None], ...]
    leaks: tuple[str, ...]  # warnings from lines of fastgrad
    heard: bool  # f warned, though its domain is far away
    changed: bool  # the parameters are not what they were
    evaluations: int
    calls: int  # of f, in fact
    budget: int | None
    entries: int
    smooth: bool
    fault: str = ""  # what is wrong about the outcome
    # Of gradients of which it cannot tell: whether plain differences converge at some steps, and
    # whether the one with the usual step is right.
    plain: bool = False
    at_once: bool = False


class Instance:
    """A problem made anew for each check, as its f may remember calls."""

    def __init__(self, family: Family, number: int) -> None:
        self.family, self.number = family, number
        self.oracle = Oracle(self.make())

    def make(self) -> Problem:
        return self.family.problem(self.number)

    def changed(self, name: str) -> Problem:
        """The problem anew, with a multiple of f or a constant added."""
        problem, change = self.make(), CHANGES[name]
        return problem if change.plain else change.of(problem)

    def claims(self) -> dict[str, tuple[Any, frozenset[str]]]:
        problem = self.oracle.problem
        claims = {"right": (problem.right, problem.accept), **problem.extra}
        if problem.variants:
            rng = np.random.default_rng([self.number, 7])
            claims |= {n: (c, NOT_RIGHT) for n, c in wrong_claims(problem, rng, MISTAKES)}
        return claims


class Counting:
    """A function that counts its calls."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self._f, self.calls = f, 0

    def __call__(self, params: Any) -> Any:
        self.calls += 1
        return self._f(params)


def _asked(problem: Problem, f: Counting, gradient: Any, claim: Claim) -> Any:
    """What fastgrad says."""
    options = dict(problem.options)
    if claim.strategy == "probe":
        options["strategy"] = "probe"
    if problem.pair:
        return fg.check_gradient(
            lambda v: (f(v), copied(gradient)), True, problem.params, seed=claim.check_seed,
            **options,
        )  # fmt: skip
    return fg.check_gradient(f, gradient, problem.params, seed=claim.check_seed, **options)


def check(instance: Instance, claim: Claim) -> tuple[Outcome, Any]:
    """One check, on a problem of its own."""
    problem = instance.changed(claim.change)
    gradient, accept = _claimed(instance, claim, problem)
    before = [leaf.tobytes() for _, leaf in leaves(problem.params)]
    answer = _answered(problem, gradient, claim)
    report = answer.report
    own = [w for w in answer.heard if w.filename.startswith(HOME)]
    leaks = {f"{w.filename.rpartition('/')[2]}:{w.lineno} {w.message}" for w in own}
    outcome = Outcome(
        claim=claim,
        verdict=answer.verdict,
        reason=report.reason if report is not None else "",
        kind=_kind(claim, problem),
        causes=_causes(instance, claim, gradient, report),
        leaks=tuple(sorted(leaks)),
        heard=len(answer.heard) > len(own) and problem.quiet and not _warns(instance.make()),
        changed=before != [leaf.tobytes() for _, leaf in leaves(problem.params)],
        evaluations=report.evaluations if report is not None else answer.calls,
        calls=answer.calls,
        budget=problem.options.get("budget"),
        entries=sum(leaf.size for _, leaf in leaves(problem.params)),
        smooth=problem.smooth,
    )
    return _judged(outcome, instance, gradient, accept, report), report


def _claimed(instance: Instance, claim: Claim, problem: Problem) -> tuple[Any, frozenset[str]]:
    """The gradient that is claimed, and the verdicts that may be said of it."""
    gradient, accept = instance.claims()[claim.name]
    if callable(gradient):  # it may remember calls as well
        return problem.extra[claim.name][0], accept
    return times(gradient, CHANGES[claim.change].factor), accept


@dataclass(frozen=True)
class Answer:
    """What came back: a report or an exception's text, warnings, and calls of f."""

    report: Any
    verdict: str
    heard: list[warnings.WarningMessage]
    calls: int


def _answered(problem: Problem, gradient: Any, claim: Claim) -> Answer:
    f, report = Counting(problem.f), None
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            report = _asked(problem, f, gradient, claim)
            verdict = report.verdict.name
        except Exception as error:  # whatever comes: it is counted
            verdict = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            refused = isinstance(error, fg.FastgradError) and problem.raises
            verdict = "CANNOT_TELL" if refused else verdict
    return Answer(report, verdict, heard, f.calls)


def _kind(claim: Claim, problem: Problem) -> str:
    if claim.name == "right":
        return "right"
    return "extra" if claim.name in problem.extra else "wrong"


def _warns(problem: Problem) -> bool:
    """Whether f warns where the check begins."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        problem.f(problem.params)
    return bool(heard)


def _causes(instance: Instance, claim: Claim, gradient: Any, report: Any) -> Any:
    if report is None or callable(gradient):
        return ()
    if claim.name == "right" or claim.change:  # a false alarm says enough, a kink may be met
        return tuple((c.kind.name, None) for c in report.causes if c.kind.name != "KINK")
    problem = instance.oracle.problem
    return tuple((c.kind.name, is_true(c, problem, gradient, report)) for c in report.causes)


def _judged(
    outcome: Outcome, instance: Instance, gradient: Any, accept: frozenset[str], report: Any
) -> Outcome:
    """The outcome with the fault that is found in it."""
    verdict, oracle = outcome.verdict, instance.oracle
    change = CHANGES[outcome.claim.change]
    if change.constant:  # what can be seen is another thing
        oracle = Oracle(instance.changed(outcome.claim.change))
    if not callable(gradient):
        gradient = times(gradient, 1 / change.factor)
    if report is None and verdict != "CANNOT_TELL":
        return replace(outcome, fault="exception")
    if verdict == "RIGHT" and "RIGHT" not in accept:
        # What nothing can support needs no size.
        seen = outcome.kind == "extra" or oracle.shows(gradient)
        admitted = outcome.kind != "extra" and _admitted(oracle, gradient, report, change.factor)
        return replace(outcome, fault="admitted" if seen and admitted else "miss" if seen else "")
    if verdict == "WRONG" and "WRONG" not in accept:
        right = outcome.kind == "right" or "RIGHT" in accept
        return replace(outcome, fault=_alarm(outcome, oracle) if right else "overclaim")
    # A constant may cost power.
    if verdict == "CANNOT_TELL" and outcome.kind != "extra" and not change.constant:
        return _unsure(outcome, oracle, report)
    return outcome


def _alarm(outcome: Outcome, oracle: Oracle) -> str:
    if not oracle.problem.inexact:
        return "false alarm"
    return "nearby" if any(name == "NEARBY" for name, _ in outcome.causes) else "tolerance"


def _unsure(outcome: Outcome, oracle: Oracle, report: Any) -> Outcome:
    """The outcome with what plain differences show where the check cannot tell."""
    problem = oracle.problem
    # At a kink a direction has two derivatives, and a probe cannot tell.
    kink = problem.low is not None and report is not None and report.strategy == "probe"
    if not problem.plain or oracle.empty or kink:
        return outcome
    plain = Oracle(replace(problem, low=None, high=None))
    once = plain.converges_at_once()
    return replace(outcome, plain=once or plain.converges(), at_once=once)


def _admitted(oracle: Oracle, gradient: Any, report: Any, factor: float) -> bool:
    """Whether the report says that errors of this size could not be seen.

    It is no excuse where no error could be.
    """
    whole = max(oracle.scales)
    margin = PROBE_LIMIT if report.strategy == "probe" else 1.0
    for error, leaf in zip(distances(oracle.problem, gradient), report.leaves, strict=True):
        limit = leaf.limit / factor
        if error.max(initial=0.0) > margin * limit or not limit <= NO_POWER * whole:
            return False
    return True
