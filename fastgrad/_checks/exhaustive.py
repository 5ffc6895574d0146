"""Judges every entry of a gradient, and explains what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial

import numpy as np

from fastgrad import _errors
from fastgrad._checks import diagnosis, judge, verdict
from fastgrad._checks.baseline import Survey, moves_in_jumps
from fastgrad._checks.claim import Analytic
from fastgrad._checks.entry_table import UNJUDGED, EntryTable
from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.result import LeafResult, Part, Result
from fastgrad._checks.staleness import name_stale
from fastgrad._evaluation.blocks import lengths, spacing
from fastgrad._evaluation.sampling import OutOfBudget, Sampler
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Entries, LeafSpan, Verdict
from fastgrad._report.report import Curve

__all__ = ["judge_all"]

# Steps of the curve of the worst entry, relative to its length: from the length down to where
# rounding leaves nothing of a float64's difference, two in each decade.
_CURVE_STEPS = np.logspace(0, -14, 29)
_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code


def judge_all(
    sampler: Sampler, leaves: Sequence[Leaf], claimed: Analytic, baseline: Survey, seed: int
) -> Result:
    """Judge every entry, and explain what is wrong."""
    table = EntryTable.blank(claimed.column)
    parts = _parts(table, leaves, claimed, baseline)
    jumps: list[int] = []
    measured = None
    try:
        try:
            _fill(parts, table, sampler, baseline, seed, jumps)
        except OutOfBudget:
            measured = _give_up(table)
        result = _result(parts, claimed.spans, table, baseline, jumps)
        result = result if measured is None else replace(result, measured=measured)
        # Kinks at which the gradient is right are said too.
        if np.count_nonzero(table.codes == _WRONG) or np.count_nonzero(table.kinks):
            return _explained(result, parts, sampler)
        return result
    except KeyboardInterrupt as error:
        _errors.note(error, verdict.entries_so_far(parts))
        raise


def _parts(
    table: EntryTable, leaves: Sequence[Leaf], claimed: Analytic, baseline: Survey
) -> list[Part]:
    """Each leaf with its stretch of the table, and what its entries are judged by."""
    parts = []
    known = (baseline.base, baseline.noise, baseline.unit)
    for k, (leaf, span) in enumerate(zip(leaves, claimed.spans, strict=True)):
        alone = len(leaves) == 1
        part = table if alone else _stretch(table, slice(span.start, span.stop))
        model = ErrorModel(*known, baseline.relative[k], claimed.eps[k], spacing(leaf))
        parts.append(Part(leaf, part, model))
    return parts


def _stretch(table: EntryTable, mine: slice) -> EntryTable:
    """Views of a part of the table."""
    return EntryTable(**{each.name: getattr(table, each.name)[mine] for each in fields(EntryTable)})


def _fill(
    parts: Sequence[Part],
    table: EntryTable,
    sampler: Sampler,
    baseline: Survey,
    seed: int,
    jumps: list[int],
) -> None:
    """Judge all entries; gather the numbers of the leaves with which `f` moves in jumps only."""
    hows = []
    for part, known in zip(parts, baseline.lengths, strict=True):
        # Of a large leaf the baseline knows the lengths of some entries only.
        length = known if known.size == part.leaf.real.size else lengths(part.leaf)
        hows.append((partial(sampler.beside, part.leaf), length, part.model))
    for part, how in zip(parts, hows, strict=True):
        sampler.progress.phase(f"first pass, {part.leaf.path}")
        judge.first_pass(part.table, *how, sampler.pieces(len(part.table.codes)))
    faint = []
    for k, (part, how) in enumerate(zip(parts, hows, strict=True)):
        sampler.progress.phase(f"ladder, {part.leaf.path}")
        still = len(part.table.codes) > 0 and not _moves(part.table)
        if still and moves_in_jumps(sampler, [p.leaf for p in parts], k, baseline.base, seed):
            jumps.append(k)
            part.table.codes[:] = _UNCLEAR
        elif not judge.judge(part.table, *how):
            faint.append(part)
    scale = table.scale if faint else 0.0
    for part in faint:
        weak = judge.without_power(part.table, part.model, scale)
        part.table.codes[weak] = _UNCLEAR


def _moves(table: EntryTable) -> bool:
    """Whether an entry of a leaf moves `f`, if only to one side."""
    return bool(np.count_nonzero(table.numeric) or np.count_nonzero(table.gaps))


def _give_up(table: EntryTable) -> int:
    """Say of what is not judged that nothing can be told; return how many were measured."""
    measured = int(table.looked_at.sum())
    unjudged = table.codes == UNJUDGED
    table.uncertainty[unjudged] = math.inf
    table.codes[unjudged] = _UNCLEAR
    return measured


def _result(
    parts: Sequence[Part],
    spans: tuple[LeafSpan, ...],
    table: EntryTable,
    baseline: Survey,
    jumps: Sequence[int],
) -> Result:
    found = []
    for k, part in enumerate(parts):
        c = part.table
        claims = bool(np.count_nonzero(c.analytic))
        found.append(LeafResult(verdict.of_entries(c.codes), _moves(c), claims, k in jumps))
    c = table
    return Result(
        Entries(spans, c.analytic, c.numeric, c.uncertainty, c.codes, c.kinks),
        tuple(found),
        baseline,
        detection_limit=float(c.uncertainty.max(initial=0.0, where=c.uncertainty < math.inf)),
    )


def _explained(result: Result, parts: Sequence[Part], sampler: Sampler) -> Result:
    """Add the likely bugs of a wrong gradient and the worst entry's curve, or kinks."""
    cases = [_case(part) for part in parts]
    if Verdict.WRONG not in [leaf.verdict for leaf in result.leaves]:
        met = tuple(diagnosis.kink_met(case) for case in cases if case.kinks.any())
        return replace(result, causes=met)
    sampler.progress.phase("causes")
    result = replace(result, causes=diagnosis.diagnose(cases))
    try:
        result = replace(result, causes=name_stale(sampler, parts, cases, result.causes))
        return replace(result, curve=_curve(result.entries, parts, sampler))
    except OutOfBudget:
        return result


def _case(part: Part) -> diagnosis.Case:
    shape, c = part.leaf.real.shape, part.table
    entries = np.arange(len(c.codes))
    judged = diagnosis.Judged(part.leaf, c.analytic.reshape(shape), part.model.eps, entries, c)
    return diagnosis.case_of(judged, entries.reshape(shape))


def _curve(entries: Entries, parts: Sequence[Part], sampler: Sampler) -> Curve:
    """Differences of the worst of the wrong entries, from large steps to the smallest."""
    wrong = entries.only(Verdict.WRONG)
    assert wrong.selection is not None
    at = int(wrong.selection[0])
    k = next(k for k, span in enumerate(entries.spans) if at < span.stop)
    leaf, model = parts[k].leaf, parts[k].model
    entry = np.array([at - entries.spans[k].start])
    steps = lengths(leaf, entry) * _CURVE_STEPS
    raw = sampler.beside(leaf, np.repeat(entry, len(steps)), steps)
    row = model.step_row(raw)
    worst = wrong[0]
    return Curve(worst.path, worst.analytic, row.steps[0], row.central[0], row.forward[0])
