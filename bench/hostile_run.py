"""Runs checks of hostile problems, and says of each whether its outcome is acceptable."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from hostile_causes import is_true
from hostile_claims import wrong_claims
from hostile_oracle import Oracle, copied, distances
from hostile_problems import FAMILIES, Family, Problem, leaves
from hostile_problems.base import NOT_RIGHT

import fastgrad as fg

HOME = str(Path(fg.__file__).resolve().parent)
# Seeds of the random directions with which a share of the claims is checked.
SEEDS = 8
# Wrong gradients of each problem.
MISTAKES = 3
# A probe misses an error at its limit with 1 %, one of this many times the limit with 0.1 %.
PROBE_LIMIT = 3.2
# A limit of this share of the gradient admits everything.
NO_POWER = 0.3
# Evaluations of a right smooth problem: this many for each entry, and these on top.
PER_ENTRY, ON_TOP = 2, 20


@dataclass(frozen=True)
class Claim:
    """A gradient of one problem that is to be judged."""

    family: str
    instance: int
    name: str
    check_seed: int = 0
    strategy: str = "auto"

    def __str__(self) -> str:
        probe = " --probe" if self.strategy == "probe" else ""
        return (
            f"python bench/hostile.py --family {self.family} --instance {self.instance} "
            f'--claim "{self.name}" --check-seed {self.check_seed}{probe}'
        )


@dataclass(frozen=True)
class Outcome:
    """What came of one check, and what is to be said against it."""

    claim: Claim
    verdict: str  # or the exception
    reason: str
    kind: str  # "right", "extra" or "wrong": what was claimed
    fault: str  # "", or what is wrong about the outcome
    causes: tuple[tuple[str, bool | None], ...]
    leaks: tuple[str, ...]  # warnings from lines of fastgrad
    heard: bool  # f warned, though its domain is far away
    changed: bool  # the parameters are not what they were
    plain: bool  # plain differences converge at some steps; looked at where it matters
    at_once: bool  # so does the usual step
    evaluations: int
    entries: int
    smooth: bool


class Instance:
    """A problem made anew for each check, as its f may remember calls."""

    def __init__(self, family: Family, number: int) -> None:
        self.family, self.number = family, number
        self.oracle = Oracle(self.make())

    def make(self) -> Problem:
        return self.family.problem(self.number)

    def claims(self) -> dict[str, tuple[Any, frozenset[str]]]:
        problem = self.oracle.problem
        claims = {"right": (problem.right, problem.accept), **problem.extra}
        if problem.variants:
            rng = np.random.default_rng([self.number, 7])
            claims |= {n: (c, NOT_RIGHT) for n, c in wrong_claims(problem, rng, MISTAKES)}
        return claims


def plan(family: Family, seeds: range) -> Iterator[tuple[Instance, list[Claim]]]:
    """The checks of one family: a third of the instances is probed, a half has eight seeds."""
    step = max(1, round(1 / family.share))
    for number in seeds[::step]:
        instance = Instance(family, number)
        strategy = "probe" if family.probes and number % 3 == 2 else "auto"
        found = []
        for place, name in enumerate(instance.claims()):
            # In turn, and alike for even and odd numbers: the right gradient, none, a wrong one.
            wanted = (0, None, 1 + number % 3, None)[number // 2 % 4]
            found += [
                Claim(family.name, number, name, seed, strategy)
                for seed in range(SEEDS if place == wanted else 1)
            ]
        yield instance, found


def check(instance: Instance, claim: Claim) -> tuple[Outcome, Any]:
    """One check, on a problem of its own."""
    problem = instance.make()
    gradient, accept = instance.claims()[claim.name]
    options = dict(problem.options)
    if claim.strategy == "probe":
        options["strategy"] = "probe"
    gradient, params = copied(gradient), problem.params
    before = [leaf.tobytes() for _, leaf in leaves(params)]
    report, verdict = None, ""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        try:
            report = fg.check_gradient(
                problem.f, gradient, params, seed=claim.check_seed, **options
            )
            verdict = report.verdict.name
        except Exception as error:  # whatever comes: it is counted
            verdict = f"{type(error).__name__}: {' '.join(str(error).split())[:150]}"
            refused = isinstance(error, fg.FastgradError) and problem.raises
            verdict = "CANNOT_TELL" if refused else verdict
    kind = "right" if claim.name == "right" else "extra" if claim.name in problem.extra else "wrong"
    own = sorted({f"{w.filename.rpartition('/')[2]}:{w.lineno} {w.message}" for w in heard
                  if w.filename.startswith(HOME)})  # fmt: skip
    outcome = Outcome(
        claim=claim,
        verdict=verdict,
        reason=report.reason if report is not None else "",
        kind=kind,
        fault="",
        causes=_causes(instance, claim, gradient, report),
        leaks=tuple(own),
        heard=problem.quiet
        and not _warns(instance.make())
        and any(not w.filename.startswith(HOME) for w in heard),
        changed=before != [leaf.tobytes() for _, leaf in leaves(params)],
        plain=False,
        at_once=False,
        evaluations=report.evaluations if report is not None else 0,
        entries=sum(leaf.size for _, leaf in leaves(params)),
        smooth=problem.smooth,
    )
    return _judged(outcome, instance, gradient, accept, report), report


def _warns(problem: Problem) -> bool:
    """Whether f warns where the check begins."""
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        problem.f(problem.params)
    return bool(heard)


def _causes(instance: Instance, claim: Claim, gradient: Any, report: Any) -> Any:
    if report is None or claim.name == "right":
        return ()
    problem = instance.oracle.problem
    return tuple((c.kind.name, is_true(c, problem, gradient, report)) for c in report.causes)


def _judged(
    outcome: Outcome, instance: Instance, gradient: Any, accept: frozenset[str], report: Any
) -> Outcome:
    """The outcome with the fault that is found in it."""
    verdict, oracle = outcome.verdict, instance.oracle
    if report is None and verdict != "CANNOT_TELL":
        return replace(outcome, fault="exception")
    if verdict == "RIGHT" and "RIGHT" not in accept:
        # What nothing can support needs no size.
        seen = outcome.kind == "extra" or oracle.shows(gradient)
        admitted = outcome.kind != "extra" and _admitted(oracle, gradient, report)
        return replace(outcome, fault="admitted" if seen and admitted else "miss" if seen else "")
    if verdict == "WRONG" and "WRONG" not in accept:
        alarm = outcome.kind == "right" or "RIGHT" in accept
        return replace(outcome, fault="false alarm" if alarm else "overclaim")
    if verdict == "CANNOT_TELL" and outcome.kind != "extra":
        at_once = oracle.problem.plain and not oracle.empty and oracle.converges_at_once()
        return replace(outcome, plain=_plain(oracle), at_once=at_once)
    return outcome


def _plain(oracle: Oracle) -> bool:
    return oracle.problem.plain and not oracle.empty and oracle.converges()


def _admitted(oracle: Oracle, gradient: Any, report: Any) -> bool:
    """Whether the report says that errors of this size could not be seen.

    It is no excuse where no error could be.
    """
    whole = max(oracle.scales)
    margin = PROBE_LIMIT if report.strategy == "probe" else 1.0
    for error, leaf in zip(distances(oracle.problem, gradient), report.leaves, strict=True):
        if error.max(initial=0.0) > margin * leaf.limit or not leaf.limit <= NO_POWER * whole:
            return False
    return True


def chosen(half: str | None, name: str | None) -> list[Family]:
    """Families by name, or a half of them."""
    if name:
        return [family for key, family in FAMILIES.items() if name == key] or [
            family for key, family in FAMILIES.items() if name in key
        ]
    wanted = {None: (True, False), "tune": (False,), "held-out": (True,)}[half]
    return [family for family in FAMILIES.values() if family.held_out in wanted]


def numbers(half: str | None, count: int) -> range:
    """Generator seeds: even ones to tune on, odd ones to report."""
    if half is None:
        return range(count)
    return range(int(half == "held-out"), 2 * count, 2)
