"""Judges a Jacobian row by row: each output as a function of its own, by the judge of gradients.

Evaluations are shared: those of the baseline, the first differences of each entry, and those at
further steps, which are the same for all outputs with one first step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from fastgrad import _errors
from fastgrad._checks import judge
from fastgrad._checks.baseline import Baseline, Trouble, measure_baseline
from fastgrad._checks.claim import Analytic
from fastgrad._checks.common_step import common_steps
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import CHUNK, UNJUDGED, EntryTable
from fastgrad._checks.error_model import has_drifted
from fastgrad._checks.exhaustive import part_of_table
from fastgrad._checks.farther import judge_still, judge_weak
from fastgrad._checks.layout import Layout
from fastgrad._checks.result import Part
from fastgrad._checks.so_far import entries_so_far
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget, Samples, Single, Steps
from fastgrad._evaluation.shared import Output, Shared
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Verdict

__all__ = ["Row", "Rows", "judge_rows"]

_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code
# Numbers in the values of one piece of the first differences: 32 MiB.
_PIECE = 2**22
# Entries of which all rows are looked at together: these first, and so many times more as long as
# the rows take more than this share of the time of the evaluations.
_FEW, _GROWTH, _OVERHEAD = 32, 4, 0.1
# Wrong rows of which other scales are looked at before those of further rows are taken to show the
# same: each takes about a hundred evaluations, and what one `f` does there it does in most rows.
_DOUBTED = 8
# Rows that stand still where the claim does not, of which it is looked at whether far moves do.
_STILL = 4


@dataclass
class Row:
    """One output, as a function with a gradient."""

    number: int
    name: str  # of the output
    run: Metered
    claim: Analytic
    table: EntryTable
    baseline: Baseline
    parts: list[Part] = field(default_factory=list)  # none where something forbids to judge

    @property
    def trouble(self) -> Trouble | None:
        """Why no difference says anything about this row."""
        return self.baseline.trouble


@dataclass
class Rows:
    """All rows, in order, and the columns of their tables as matrices."""

    rows: list[Row]
    table: EntryTable  # of matrices
    measured: int | None = None  # entries, where the budget ran out


def judge_rows(run: Metered, shared: Shared, layout: Layout, claim: Analytic, seed: int) -> Rows:
    """Judge every entry of a Jacobian."""
    table = _matrices(layout.matrix_of(claim.column))
    run.phase("baseline")
    rows = [_row(run.held, shared, layout, claim, table, j, seed) for j in range(layout.shape[0])]
    found = Rows(rows, table)
    judged = [row for row in rows if row.trouble is None]
    _settle_parts(layout, judged)
    try:
        try:
            _first_differences(run, layout, judged)
            _judge(run, judged, seed)
        except OutOfBudget:
            found.measured = int((~np.isnan(table.uncertainty)).sum())
        _give_up(table)
        _look_for_drift(run, judged)
    except KeyboardInterrupt as error:
        _errors.note(error, entries_so_far([part for row in rows for part in row.parts]))
        raise
    return found


def _matrices(analytic: np.ndarray) -> EntryTable:
    """An empty table of which each column is a matrix."""
    flat = EntryTable.blank(analytic.reshape(-1))
    shaped = {name: column.reshape(analytic.shape) for name, column in vars(flat).items()}
    return EntryTable(**shaped)


def _row(
    held: Sequence[np.ndarray] | None,
    shared: Shared,
    layout: Layout,
    claim: Analytic,
    table: EntryTable,
    j: int,
    seed: int,
) -> Row:
    """One row, with the baseline of its output."""
    mine = part_of_table(table, j)
    # A budget and a bar are those of the run that all rows share.
    run = Metered(Output(shared, j), held=held)
    output = next(k for k, leaf in enumerate(layout.outputs.leaves) if j < leaf.stop)
    count = len(layout.leaves)
    eps = claim.eps[output * count : (output + 1) * count]
    tolerances = (claim.rtol, claim.atol)
    own = Analytic(mine.analytic, eps, None, layout.row_spans, None, *tolerances)
    rounding = 0.0 if shared.rounding is None else float(shared.rounding[j])
    baseline = measure_baseline(run, own, run.base(), seed, rounding)
    return Row(j, layout.row_name(j), run, own, mine, baseline)


def _settle_parts(layout: Layout, rows: Sequence[Row]) -> None:
    """Give each row the error models of its entries, with first steps that rows share."""
    if not rows:
        return
    best = np.array([row.baseline.relative for row in rows])
    steps = np.empty_like(best)
    for k in range(best.shape[1]):
        for step, mine in common_steps(best[:, k]):
            steps[mine, k] = step
    for row, own in zip(rows, steps.tolist(), strict=True):
        row.baseline = row.baseline._replace(relative=tuple(own))
        for k, (leaf, side) in enumerate(zip(layout.leaves, layout.columns, strict=True)):
            named = Leaf(f"{row.name} / {leaf.path}", leaf.array, leaf.real)
            model = row.baseline.model(k, row.claim, eps_of(leaf.real))
            # As in an exhaustive check: views cost microseconds, for each row.
            alone = len(layout.leaves) == 1
            part = row.table if alone else part_of_table(row.table, side)
            row.parts.append(Part(k, named, part, model))


def _first_differences(run: Metered, layout: Layout, rows: Sequence[Row]) -> None:
    """Take one central difference of every entry: evaluations at one step serve all rows of it."""
    for k, leaf in enumerate(layout.leaves):
        by_step: dict[float, list[Row]] = {}
        for row in rows:
            by_step.setdefault(row.baseline.relative[k], []).append(row)
        for step, mine in by_step.items():
            run.phase(f"first pass, {leaf.path}")
            _of_leaf(run, k, step, mine, layout.shape[0])


def _of_leaf(run: Metered, k: int, step: float, rows: Sequence[Row], outputs: int) -> None:
    """The same for one leaf and one step."""
    whole = run.leaves[k].real.size
    start, size, enough = 0, _FEW, run.affordable(whole, 2)
    most = max(1, min(CHUNK, _PIECE // (2 * outputs)))
    while start < enough:
        part = slice(start, min(start + min(size, most), enough))
        began = perf_counter()
        entries = np.arange(part.start, part.stop, dtype=np.intp)
        found = run.single(Single(k, entries, Steps(relative=step)))
        evaluated = perf_counter()
        values = np.ascontiguousarray(np.moveaxis(found.values, 2, 0))
        values[np.isinf(values)] = np.nan
        for row in rows:
            mine = row.parts[k]
            here = Samples(found.moved, values[row.number])
            judge.first_differences(mine.table, part, here, mine.model)
        # The fewer entries at once, the less an interrupt loses, and the more each row costs.
        if perf_counter() - evaluated > _OVERHEAD * (evaluated - began):
            size *= _GROWTH
        start = part.stop
    if enough < whole:
        raise OutOfBudget


def _judge(run: Metered, rows: Sequence[Row], seed: int) -> None:
    """Judge every row by its own error models."""
    doubted = _DOUBTED
    for row in rows:
        run.phase(f"refinement, {row.name}")
        whole, faint = row.table.scale, []
        for part in row.parts:
            differences = Differences(row.run, part.number, doubted=doubted > 0)
            if not judge.judge(part.table, differences, part.model, whole):
                faint.append(part)
        # Where such a look finds doubts, it is needed in every row.
        if (row.table.codes == _WRONG).any() and not row.table.doubts.any():
            doubted -= 1
        for part in faint:
            judge_weak(row.run, part.number, part.table, part.model, whole, seed)
    _look_at_still(rows, seed)


def _look_at_still(rows: Sequence[Row], seed: int) -> None:
    """Ask of entries that stand still whether they do far away, and whether by jumps.

    In most Jacobians most entries do, as these outputs do not depend on those parameters. So it is
    asked of rows and of columns that stand still as a whole, all at once, and of a few others that
    are claimed to move.
    """
    if not rows:
        return
    still = np.array([row.table.still for row in rows])
    whole: np.ndarray = np.all(still, axis=1)
    columns = still[~whole].all(axis=0) & ~whole.all()
    claimed = still & (np.array([row.table.analytic for row in rows]) != 0) & ~columns
    claimed[whole] = False
    left = _STILL
    for row, all_still, own in zip(rows, whole.tolist(), claimed, strict=True):
        asked = np.ones(still.shape[1], bool) if all_still else columns.copy()
        if own.any() and left > 0:
            asked |= own
            left -= 1
        start = 0
        for part in row.parts:
            stop = start + len(part.table.codes)
            mine = np.flatnonzero(asked[start:stop])
            start = stop
            if len(mine):
                _judge_still(row, part, mine, seed)


def _judge_still(row: Row, part: Part, entries: np.ndarray, seed: int) -> None:
    """The same for some entries of one leaf."""
    some = part.table.rows(entries)
    judge_still(row.run, part.number, some, entries, part.model, seed)
    part.table.put(entries, some)


def _give_up(table: EntryTable) -> None:
    """Mark what is not judged as unclear."""
    unjudged = table.codes == UNJUDGED
    table.uncertainty[unjudged] = math.inf
    table.codes[unjudged] = _UNCLEAR


def _look_for_drift(run: Metered, rows: Sequence[Row]) -> None:
    """Look at `f` once more: of a row whose output has drifted nothing is known."""
    last = run.last()
    for row in rows:
        value = float(last[row.number])
        if has_drifted(row.baseline.base, value, row.baseline.noise):
            row.baseline = row.baseline._replace(trouble=Trouble.DRIFTED, last=value)
            row.table.codes[:] = _UNCLEAR
