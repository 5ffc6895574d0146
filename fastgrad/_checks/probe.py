"""Looks for wrong entries along random directions, in one leaf after the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np

from fastgrad import _errors
from fastgrad._checks import verdict
from fastgrad._checks.baseline import Baseline
from fastgrad._checks.claim import Analytic
from fastgrad._checks.diagnosis import Judged, box_text, diagnose_probes
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import MISSED
from fastgrad._checks.farther import judge_weak
from fastgrad._checks.joint import look_jointly
from fastgrad._checks.movement import Movement, look_far, of_leaf
from fastgrad._checks.moves import LeafClaim
from fastgrad._checks.result import LeafProbe, LeafResult, Result, Stop
from fastgrad._checks.search import Search
from fastgrad._checks.so_far import leaves_so_far
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Entries, LeafSpan, Probe, Verdict

__all__ = ["probe"]


def probe(run: Metered, claim: Analytic, baseline: Baseline, seed: int) -> Result:
    """Probe every leaf, and explain what is wrong."""
    random = np.random.default_rng(seed)
    claims = _leaf_claims(run, claim, baseline)
    searches: list[tuple[LeafClaim, Search]] = []
    probes: list[LeafProbe] = []
    try:
        run.phase("probe, all parameters")
        known = look_jointly(claims, seed)
        for each in claims:
            if each.number in known:
                probes.append(known[each.number])
                continue
            run.phase(f"probe, {each.leaf.path}")
            searches.append((each, Search(each, seed, random)))
            probes.append(searches[-1][1].run())
        # The largest leaf's size stands for that of the whole gradient, as the largest entry does
        # in an exhaustive check.
        whole = max((p.claimed for p in probes), default=0.0)
        probes = [_asked_farther(*each, whole, seed) for each in zip(claims, probes, strict=True)]
    except KeyboardInterrupt as error:
        wrong = [c.leaf.name(int(entry)) for c, s in searches for entry in s.suspects.wrong]
        _errors.note(error, leaves_so_far(len(probes), len(claims), wrong))
        raise
    judged = [
        Judged(each.leaf, each.analytic, eps, p.entries, p.table)
        for each, eps, p in zip(claims, claim.eps, probes, strict=True)
    ]
    found = _leaf_results(probes, whole)
    return Result(
        entries=_entries(claim.spans, run.leaves, probes, found),
        leaves=found,
        baseline=baseline,
        causes=diagnose_probes(judged, probes),
        doubts=np.concatenate([p.table.doubts for p in probes]),
        # That of the worst leaf: what is promised holds for each.
        detection_limit=max((p.limit for p in probes if p.limit < math.inf), default=math.inf),
        miss_probability=MISSED,
    )


def _leaf_claims(run: Metered, claim: Analytic, baseline: Baseline) -> list[LeafClaim]:
    """What is claimed of each leaf."""
    found = []
    for k, (leaf, span) in enumerate(zip(run.leaves, claim.spans, strict=True)):
        # A view: what a search repairs in it is put back at its end.
        column = claim.column[span.start : span.stop].reshape(leaf.real.shape)
        model = baseline.model(k, claim, eps_of(leaf.real))
        found.append(LeafClaim(run, k, column, model))
    return found


def _asked_farther(claim: LeafClaim, p: LeafProbe, whole: float, seed: int) -> LeafProbe:
    """What was found in a leaf, with what `f` does farther away where small steps are too weak."""
    run, k, model = claim.run, claim.number, claim.model
    try:
        if p.all_judged and not p.stopped:
            judge_weak(run, k, p.table, model, whole, seed)
        elif verdict.lacks_power_only(p, whole):
            seen = look_far(run, of_leaf(run, k, seed), model.base, model.noise)
            if seen.movement is Movement.SMOOTH:
                return replace(p, growth=max(p.growth, seen.slope))
    except OutOfBudget:
        return replace(p, stopped=Stop.BUDGET)
    return p


def _leaf_results(probes: Sequence[LeafProbe], whole: float) -> tuple[LeafResult, ...]:
    return tuple(
        LeafResult(
            verdict.of_probe(p, whole),
            p.moves,
            still=not (p.moves or p.claimed or p.jumps),
            jumps=p.jumps_only,
            probe=p,
        )
        for p in probes
    )


def _entries(
    spans: Sequence[LeafSpan],
    leaves: Sequence[Leaf],
    probes: Sequence[LeafProbe],
    found: Sequence[LeafResult],
) -> Entries:
    """The judged entries of all leaves, as one set of columns."""
    placed, start = [], 0
    for span, part, p, leaf in zip(spans, leaves, probes, found, strict=True):
        stop = start + len(p.entries)
        shown = _shown(part, p, leaf.verdict)
        placed.append(replace(span, start=start, stop=stop, probe=shown))
        start = stop
    # Gaps are of the first step, and doubts of the reason: no part of a report.
    names = [
        each.name for each in fields(EntryTable) if each.name not in {"gaps", "doubts", "moved"}
    ]
    columns = {n: np.concatenate([getattr(p.table, n) for p in probes]) for n in names}
    return Entries(tuple(placed), **columns)


def _shown(leaf: Leaf, p: LeafProbe, verdict: Verdict) -> Probe:
    """What a report shows of the directions in one leaf."""
    size = p.claimed + p.numeric
    return Probe(
        judged=p.entries,
        verdict=verdict,
        directions=p.directions,
        limit=p.limit,
        relative_error=p.error / size if size else 0.0,
        blocks=tuple(leaf.path + box_text(dense.box, leaf.array.shape) for dense in p.dense),
    )
