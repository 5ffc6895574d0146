"""Judges every entry of a gradient, and explains what is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._checks import diagnosis, judge, verdict
from fastgrad._checks.baseline import Baseline
from fastgrad._checks.claim import Analytic
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import UNJUDGED, EntryTable
from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.farther import judge_still, judge_weak
from fastgrad._checks.movement import Movement, look_far, of_entries
from fastgrad._checks.result import LeafResult, Part, Result, Untold
from fastgrad._checks.so_far import entries_so_far
from fastgrad._checks.staleness import may_be_stale, name_stale
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget, Samples
from fastgrad._leaf import Leaf
from fastgrad._report.causes import Finding
from fastgrad._report.entries import Entries, Entry, Verdict
from fastgrad._report.report import Curve

__all__ = ["curve_of", "judge_all", "part_of_table"]

# Steps of the curve of the worst entry, relative to its length: from the largest at which an entry
# was looked at down to where rounding leaves nothing of a float64's difference, two in each decade.
_CURVE_STEPS = np.logspace(-2, -14, 25)
_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code


def judge_all(run: Metered, claim: Analytic, baseline: Baseline, seed: int) -> Result:
    """Judge every entry, and explain what is wrong."""
    table = EntryTable.blank(claim.column)
    parts = _parts(table, run.leaves, claim, baseline)
    # One of each leaf, which knows the lengths of its entries.
    differences = [Differences(run, part.number) for part in parts]
    try:
        done = _first_pass(run, parts, differences)
        # What is evaluated from here on no verdict on a right gradient of a smooth `f` needs.
        with quiet():
            done = done and _settled(run, parts, differences, table, seed)
            measured = None if done else _give_up(table)
            columns = (table.analytic, table.numeric, table.uncertainty, table.codes, table.kinks)
            entries, untold = Entries(claim.spans, *columns), None
            if np.count_nonzero(table.codes == _WRONG):
                untold = _explained(entries, parts, differences, run)
        return _result(entries, parts, table, baseline, measured, untold)
    except KeyboardInterrupt as error:
        _errors.note(error, entries_so_far(parts))
        raise


def _parts(
    table: EntryTable, leaves: Sequence[Leaf], claim: Analytic, baseline: Baseline
) -> list[Part]:
    """Each leaf with its rows of the table, and the error model that its entries are judged by."""
    parts = []
    for k, (leaf, span) in enumerate(zip(leaves, claim.spans, strict=True)):
        alone = len(leaves) == 1  # the usual case, and six views cost microseconds
        part = table if alone else part_of_table(table, slice(span.start, span.stop))
        model = baseline.model(k, claim, eps_of(leaf.real))
        parts.append(Part(k, leaf, part, model))
    return parts


def part_of_table(table: EntryTable, mine: Any) -> EntryTable:
    """A part of the table, as views of its columns."""
    return EntryTable(**{name: column[mine] for name, column in vars(table).items()})


def _first_pass(run: Metered, parts: Sequence[Part], differences: Sequence[Differences]) -> bool:
    """Take one difference of every entry; return whether the budget was enough."""
    try:
        for part in parts:
            run.phase(f"first pass, {part.leaf.path}")
            judge.first_pass(part.table, differences[part.number], part.model)
    except OutOfBudget:
        return False
    return True


def _settled(
    run: Metered,
    parts: Sequence[Part],
    differences: Sequence[Differences],
    table: EntryTable,
    seed: int,
) -> bool:
    """Judge all entries, of which the first differences are known; return as above."""
    whole, faint = table.scale, []
    try:
        for part in parts:
            run.phase(f"refinement, {part.leaf.path}")
            if not judge.judge(part.table, differences[part.number], part.model, whole):
                faint.append(part)
        if np.count_nonzero(table.still):
            _look_at_still(run, parts, seed)
        # A gradient that vanishes in one leaf is judged against that of all leaves.
        for part in faint:
            judge_weak(run, part.number, part.table, part.model, whole, seed)
    except OutOfBudget:
        return False
    return True


def _look_at_still(run: Metered, parts: Sequence[Part], seed: int) -> None:
    """Ask of all entries that stand still together, and where `f` moves then, leaf by leaf."""
    still = {part.number: np.flatnonzero(part.table.still) for part in parts}
    still = {number: entries for number, entries in still.items() if len(entries)}
    if len(still) > 1:
        noise = max(parts[number].model.noise for number in still)
        seen = look_far(run, of_entries(run, still, seed), parts[0].model.base, noise)
        if seen.movement is Movement.NONE:
            return
    for number in still:
        part = parts[number]
        everything = np.arange(len(part.table.codes))
        judge_still(run, number, part.table, everything, part.model, seed)


def _give_up(table: EntryTable) -> int:
    """Mark the entries not judged yet as unclear; return how many were measured."""
    measured = int(table.looked_at.sum())
    unjudged = table.codes == UNJUDGED
    table.uncertainty[unjudged] = math.inf
    table.codes[unjudged] = _UNCLEAR
    return measured


def _result(
    entries: Entries,
    parts: Sequence[Part],
    table: EntryTable,
    baseline: Baseline,
    measured: int | None,
    untold: Untold | None,
) -> Result:
    causes: tuple[Finding, ...] = ()
    # At a kink that is met the user learns that other values would be right as well.
    if untold is None and np.count_nonzero(table.kinks):
        cases = [_case(part) for part in parts]
        causes = tuple(diagnosis.kink_met(case) for case in cases if case.kinks.any())
    bounds, limit = table.uncertainty, 0.0
    if untold is None:  # else the report has one of its own
        limit = float(bounds.max(initial=0.0, where=bounds < math.inf))
    return Result(
        entries,
        tuple(map(_leaf_result, parts)),
        baseline,
        causes,
        untold=untold,
        detection_limit=limit,
        measured=measured,
        doubts=table.doubts,
    )


def _leaf_result(part: Part) -> LeafResult:
    moves, in_jumps = part.table.moves, part.table.jumps_only
    still = not (moves or in_jumps or np.count_nonzero(part.table.analytic))
    return LeafResult(verdict.of_entries(part.table.codes), moves, still, in_jumps)


def _explained(
    entries: Entries, parts: Sequence[Part], differences: Sequence[Differences], run: Metered
) -> Untold:
    """What tells the likely bugs of a wrong gradient, and the worst entry's curve."""
    run.phase("causes")
    # Copies: the parameters may have changed by when anything is told.
    kept = [Part(part.number, part.leaf.kept(), part.table, part.model) for part in parts]
    causes: tuple[Finding, ...] | None = None  # told later, unless `f` is asked for them
    curve: Callable[[], Curve] | None = None
    try:
        if may_be_stale(parts):
            cases = [_case(part) for part in kept]
            causes = diagnosis.diagnose(cases)
            causes = name_stale(run, parts, cases, causes)
        curve = _curve(entries, parts, differences)
    except OutOfBudget:
        pass  # evaluations for a cause or a picture never cost the verdict

    def untold() -> tuple[tuple[Finding, ...], Curve | None]:
        known = diagnosis.diagnose(list(map(_case, kept))) if causes is None else causes
        return known, curve and curve()

    return untold


def _case(part: Part) -> diagnosis.Case:
    shape, table = part.leaf.real.shape, part.table
    entries, analytic = np.arange(len(table.codes)), table.analytic.reshape(shape)
    judged = diagnosis.Judged(part.leaf, analytic, part.model.eps, entries, table)
    return diagnosis.case_of(judged, entries.reshape(shape))


def _curve(
    entries: Entries, parts: Sequence[Part], differences: Sequence[Differences]
) -> Callable[[], Curve]:
    """Differences of the worst of the wrong entries, from large steps to the smallest."""
    at = entries.worst(Verdict.WRONG)
    k = next(k for k, span in enumerate(entries.spans) if at < span.stop)
    model = parts[k].model
    found = _along_curve(differences[k], at - entries.spans[k].start)
    return lambda: _curve_of(found, model, entries.at(at))


def curve_of(run: Metered, part: Part, entry: int, shown: Entry) -> Curve:
    """Differences of one entry of a leaf, from large steps to the smallest."""
    return _curve_of(_along_curve(Differences(run, part.number), entry), part.model, shown)


def _along_curve(differences: Differences, entry: int) -> Samples:
    entries = np.full(len(_CURVE_STEPS), entry)  # one entry, many steps
    steps = differences.lengths(entries) * _CURVE_STEPS
    with quiet():
        return differences.at(entries, steps)


def _curve_of(found: Samples, model: ErrorModel, shown: Entry) -> Curve:
    row = model.step_row(found)
    return Curve(shown.path, shown.analytic, row.steps[0], row.central[0], row.forward[0])
