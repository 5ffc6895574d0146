"""What the rows of a Jacobian have shown, as a result of blocks, with its verdict and causes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._checks import diagnosis, verdict
from fastgrad._checks.by_rows import Row, Rows
from fastgrad._checks.claim import Analytic
from fastgrad._checks.diagnosis import Case
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.exhaustive import curve_of
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.layout import Block, Layout
from fastgrad._checks.result import LeafResult, Result, unjudged
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._leaf import in_double
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Entries, Verdict
from fastgrad._report.leaves import detection_limit
from fastgrad._report.report import Curve
from fastgrad._words import counted

__all__ = ["Told", "told", "untold"]

# Outputs whose derivatives differ by more than this factor are not of one size: errors of 1 % of
# one are 1e-5 of the other, and seem to be those of a nearby function.
_ALIKE = 1e3
_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code


@dataclass(frozen=True)
class Told:
    """All that a report of a Jacobian says."""

    result: Result
    conclusion: tuple[Verdict, str]
    noise: float = math.nan
    steps: tuple[float, ...] = ()
    base: Any = None  # what `f` returned at the parameters

    def distrusted(self, trouble: str) -> Told:
        """The same numbers without a verdict."""
        result = self.result.distrusted(None, trouble)
        return replace(self, result=result, conclusion=(Verdict.CANNOT_TELL, trouble))

    @property
    def detection_limit(self) -> float:
        """The largest of the blocks in which something was judged."""
        return detection_limit(self.result.entries, self.result.rtol, self.result.atol)


def untold(layout: Layout, claim: Analytic, measured: int | None = None) -> Told:
    """What is said where nothing was judged."""
    result = Result(unjudged(claim), measured=measured, rtol=claim.rtol, atol=claim.atol)
    if claim.trouble is not None:
        result = replace(result, trouble=claim.trouble.sentence)
    concluded, reason = verdict.conclude(result, budget=math.inf)
    if layout.shape[1] and not layout.shape[0]:
        reason = reason.replace(verdict.NO_ENTRIES, "what `f` returns holds no entries")
    return Told(result, (concluded, reason))


def told(rows: Rows, layout: Layout, claim: Analytic, run: Metered) -> Told:
    """The result, with its verdict."""
    result = _result(rows, layout, claim)
    if (result.entries.codes == _WRONG).any() or result.entries.kinks.any():
        result = _explained(result, rows, layout, claim, run)
    judged = [row for row in rows.rows if row.trouble is None]
    noise = max((row.baseline.noise for row in judged), default=math.nan)
    steps = sorted({step for row in judged for step in row.baseline.relative})
    base = np.array([row.baseline.base for row in rows.rows])
    return Told(result, _conclusion(result, rows, layout), noise, tuple(steps), base)


def _result(rows: Rows, layout: Layout, claim: Analytic) -> Result:
    table = rows.table
    columns = (table.numeric, table.uncertainty, table.codes, table.kinks)
    entries = Entries(layout.spans, claim.column, *map(layout.column_of, columns))
    return Result(
        entries,
        tuple(_leaf_result(_of_block(table, block)) for block in layout.blocks),
        doubts=layout.column_of(table.doubts),
        measured=rows.measured,
        rtol=claim.rtol,
        atol=claim.atol,
    )


def _of_block(table: EntryTable, block: Block) -> EntryTable:
    """The part of the matrices that is a block, in rows of outputs."""
    return EntryTable(
        **{name: column[block.rows, block.columns] for name, column in vars(table).items()}
    )


def _leaf_result(table: EntryTable) -> LeafResult:
    flat = EntryTable(**{name: column.reshape(-1) for name, column in vars(table).items()})
    still = not (flat.moves or flat.jumps_only or np.count_nonzero(flat.analytic))
    return LeafResult(verdict.of_entries(flat.codes), flat.moves, still, flat.jumps_only)


# ------------------------------------------------------------------------------------- causes


def _explained(result: Result, rows: Rows, layout: Layout, claim: Analytic, run: Metered) -> Result:
    """Add the likely bugs of a wrong Jacobian and the worst entry's curve, or kinks."""
    cases = [
        _case(rows.table, block, claim.eps[k])
        for k, block in enumerate(layout.blocks)
        if block.size
    ]
    if not (result.entries.codes == _WRONG).any():
        met = tuple(diagnosis.kink_met(case) for case in cases if case.kinks.any())
        return replace(result, causes=met)
    run.phase("causes")
    result = replace(result, causes=_causes(cases, layout))
    try:
        return replace(result, curve=_curve(result.entries, rows.rows, layout))
    except OutOfBudget:
        return result  # evaluations for a picture never cost the verdict


def _causes(cases: Sequence[Case], layout: Layout) -> tuple[Finding, ...]:
    """The likely bugs, if need be of rows of one size.

    The errors of a small output are nothing beside a large one: where no relation explains them
    they are compared with their own row.
    """
    found = diagnosis.diagnose(cases)
    if not any(each.kind in (*DOUBTFUL, Cause.NEARBY) for each in found):
        return found
    blocks = {block.path: block for block in layout.blocks}
    scaled = [_scaled(case, len(blocks[case.path].output.shape)) for case in cases]
    again = scaled if any(new is not old for new, old in zip(scaled, cases, strict=True)) else None
    return found if again is None else diagnosis.diagnose(again)


def _scaled(case: Case, axes: int) -> Case:
    """The case with rows divided by their largest entries, if these are far apart."""
    parameters = tuple(range(axes, case.analytic.ndim))
    with np.errstate(invalid="ignore"):
        size = np.where(np.isfinite(case.numeric), np.abs(case.numeric), 0.0)
    largest = size.max(axis=parameters, keepdims=True, initial=0.0)
    told = largest[largest > 0]
    if not len(told) or told.max() <= _ALIKE * told.min():
        return case
    # By powers of two, so that no digit changes.
    unit = np.exp2(-np.frexp(np.where(largest > 0, largest, 1.0))[1].astype(float))
    columns = {name: getattr(case, name) * unit for name in ("analytic", "numeric", "bound")}
    return replace(case, **columns)


def _case(table: EntryTable, block: Block, eps: float) -> Case:
    """The entries of a block as relations see them: in the shape of both arrays, complex or not."""
    mine, shape = _of_block(table, block), block.shape
    analytic, numeric, bound = mine.analytic, mine.numeric, mine.uncertainty
    wrong, kinks = mine.codes == _WRONG, mine.kinks
    if block.output.is_complex:
        analytic, numeric = (x[::2] + 1j * x[1::2] for x in (analytic, numeric))
        bound = np.fmax(bound[::2], bound[1::2])
        wrong, kinks = wrong[::2] | wrong[1::2], kinks[::2] | kinks[1::2]
    parameters = np.broadcast_to(in_double(block.leaf.real), shape)
    return Case(
        block.path,
        analytic.reshape(shape),
        numeric.reshape(shape),
        bound.reshape(shape),
        parameters,
        wrong.reshape(shape),
        kinks.reshape(shape),
        eps,
        unclear=bool((mine.codes == _UNCLEAR).any()),
    )


def _curve(entries: Entries, rows: Sequence[Row], layout: Layout) -> Curve:
    """Differences of the worst of the wrong entries at many steps."""
    wrong = entries.only(Verdict.WRONG)
    assert wrong.selection is not None
    number, column = layout.place(int(wrong.selection[0]))
    row = rows[number]
    k = next(k for k, side in enumerate(layout.columns) if column < side.stop)
    return curve_of(row.run, row.parts[k], column - layout.columns[k].start, wrong[0])


# -------------------------------------------------------------------------------- the verdict


def _conclusion(result: Result, rows: Rows, layout: Layout) -> tuple[Verdict, str]:
    """The verdict, and its reason; of what cannot be judged the first output gives it."""
    troubled = [row for row in rows.rows if row.trouble is not None]
    codes = result.entries.codes
    is_wrong = bool((codes == _WRONG).any())
    said = _troubles(troubled, len(rows.rows), layout) if troubled else ""
    if troubled and not is_wrong:
        return Verdict.CANNOT_TELL, said
    unclear = np.flatnonzero(codes == _UNCLEAR)
    if len(unclear):
        row = rows.rows[layout.place(int(unclear[0]))[0]]
        steps = row.baseline.relative * len(layout.outputs.leaves)
        result = replace(result, baseline=row.baseline._replace(trouble=None, relative=steps))
    concluded, reason = verdict.conclude(result, budget=math.inf)
    return concluded, f"{reason}; besides, {said}" if said else reason


def _troubles(rows: Sequence[Row], outputs: int, layout: Layout) -> str:
    """What forbids to judge some outputs, or all."""
    said = verdict.trouble_in_words(rows[0].baseline)
    if len(rows) == outputs > 1 and len({row.trouble for row in rows}) == 1:
        # Of all alike: the first one gives the numbers.
        return f"{said} (`{rows[0].name}`, and likewise all {outputs:,} outputs)"
    # The rows of a Hessian are those of a gradient, and no parameters.
    name = f"`f` at `{rows[0].name}`" if layout.square else f"`{rows[0].name}`"
    said = said.replace("`f`", name)
    return f"{said} ({counted(len(rows), 'output')} of {outputs:,} cannot be judged)"
