"""Judges the entries that one difference leaves open by differences at many steps.

Steps grow while noise hides the difference, and then shrink until they tell nothing new; the
verdict goes by the estimate with the smallest bound. Before an entry is called wrong, `scales`
looks at what `f` does at other scales.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from fastgrad import _backend
from fastgrad._checks import scales, steep
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import Doubt, EntryTable
from fastgrad._checks.error_model import POWER_LEAF, SAFETY, ErrorModel
from fastgrad._derivatives.extrapolation import (
    OPEN_BOUNDS,
    OPEN_SHARE,
    SETTLED,
    SHRINKS,
    Estimate,
    estimate,
)
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._derivatives.step_table import RATIO, StepTable
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.protocol import Samples
from fastgrad._reference_steps import LargerRules, SettledRules
from fastgrad._report.entries import Verdict

__all__ = ["refine"]

_RIGHT, _WRONG = Verdict.RIGHT.code, Verdict.WRONG.code

# Smaller steps, at most: 7.3^20 = 2^57 leads from any first step below the spacing of float64.
_MOST_DOWN = 20
# Larger steps, at most: a factor 389, and the noise that much smaller. Beyond, the table holds
# nothing but truncation.
_MOST_UP = 3
# Larger steps are taken while noise is above this share of the entry or of its error: so the first
# digit of the smaller one is known, with a further one to spare.
_NOISY = 0.01
# Largest step in units of the entry's length: halfway to zero, for what is not defined there.
_FARTHEST = 0.5
# Least step in spacings of the entry, where |x| > 1: with one, x + h could round to x on one side.
_LEAST_SPACINGS = 2.0
# Values at the scale of the step are rough if their noise is more than this many times what the
# baseline shows: an estimate from seven values is right to a factor 4.
_ROUGH = 4.0
# An error this many times what noise ahead makes of it is not made by noise behind: that counts up
# to 16 times the noise ahead, and the error is sixty times as large.
_FAR_BEYOND = 1000.0
# Share of the step at whose scale stairs are looked at again that seem smooth.
_ASIDE = 0.73
# Wrong entries whose values are looked at for that first: those with the largest and least error.
_LOOKED_AT = 2

# When the last two rows settle an entry (`SettledRules`). Nothing here grants anything: too large a
# number ends early, with the larger bound of fewer rows, and too small a one costs evaluations.
#
# Two quotients are level if they differ by their noise, and this share for what noise leaves out:
# some rounding of the quotient itself and of the move, 1e-9 being half the digits of float64.
_LEVEL = 1e-9
# They show the error clearly if they change by this share of it: three digits of it are known.
_CLEAR = 1e-3
# A kink is open if the gap is this many times the error: the value may lie between both sides.
_GAP_OVER_ERROR = 1.5
# The function is straight if the gap is below this share of the derivative; or below this many
# noise bounds, for each of both quotients has twice the noise of the central one.
_STRAIGHT, _STRAIGHT_BOUNDS = 0.5, 4.0
# Noise this many times as large as the entry drowns it: no smaller step can be any better.
_DROWNED = 10.0

_LARGER = LargerRules(_NOISY, RATIO, _FARTHEST)
_SETTLED = SettledRules(
    settled=SETTLED,
    safety=SAFETY,
    level=_LEVEL,
    clear=_CLEAR,
    shrinks=SHRINKS,
    open_bounds=OPEN_BOUNDS,
    open_share=OPEN_SHARE,
    gap_over_error=_GAP_OVER_ERROR,
    straight=_STRAIGHT,
    straight_bounds=_STRAIGHT_BOUNDS,
    drowned=_DROWNED,
)


def refine(
    table: EntryTable,
    entries: np.ndarray,
    differences: Differences,
    model: ErrorModel,
    scale: float,
) -> None:
    """Judge these entries by differences at many steps."""
    held = differences.held(entries)
    if held is not None:
        table.doubt(entries[held], Doubt.HELD)
        entries = entries[~held]
    fixed = ~np.isfinite(differences.parameters(entries))
    if np.count_nonzero(fixed):
        table.doubt(entries[fixed], Doubt.FIXED)
        entries = entries[~fixed]
    if not len(entries):
        return
    with quiet():
        open_ = _Open.of(table, entries, differences, model, scale)
        _judge(table, open_)
        left = table.codes[entries] != _RIGHT
        if not differences.doubted:
            left &= table.codes[entries] != _WRONG
        if np.count_nonzero(left):
            _look_at_rough(table, open_.among(left))


def _look_at_rough(table: EntryTable, open_: _Open) -> None:
    """Judge again, by its noise, what is rough at the scale of the first step."""
    rough = _perhaps_rough(table, open_)
    if not len(rough.entries):
        return
    grown = rough.roughness(table.codes[rough.entries] == _WRONG)
    smooth = (grown == 1.0) & (table.doubts[rough.entries] == Doubt.JUMPS.value)
    if np.count_nonzero(smooth):
        # Seven values that are rounded to a grid lie on a line in one of six cases.
        grown[smooth] = rough.among(smooth).roughness(share=_ASIDE)
    chosen = (grown > 1.0).nonzero()[0]
    if not len(chosen):
        return
    rough = rough._replace(grown=grown).among(chosen)
    entries, analytic = rough.entries, rough.analytic
    before = table.rows(entries)
    _judge(table, rough)
    # What agrees within such noise may prove nothing; nor do the gaps.
    right = table.codes[entries] == _RIGHT
    right &= table.uncertainty[entries] <= POWER_LEAF * rough.scale
    # A piecewise constant `f` may be right by its noise, for the mean slope; never wrong by it, but
    # for a claim of NaN, which no slope is.
    stairs = (before.doubts == Doubt.JUMPS) & ~np.isnan(analytic)
    wrong = (table.codes[entries] == _WRONG) & ~stairs
    table.gaps[entries[~table.kinks[entries]]] = np.nan
    # A claim that is wrong for larger steps holds, maybe, on the scale of the roughness itself.
    noise = rough.table.noise[0] * rough.rows.steps[0] / SIGMAS
    small = np.flatnonzero(wrong)
    claims = analytic[small]
    fits = steep.agree_at_small(
        rough.differences, entries[small], claims, np.abs(claims), noise[small], rough.model.noise
    )
    table.doubt(entries[small[fits]], Doubt.SCALES)
    # Small steps show it wrong, and no jump leads to where larger ones show it right: it is steep.
    table.doubt(entries[right & (before.codes == _WRONG)], Doubt.SCALES)
    # Else small steps decide.
    rest = np.flatnonzero(~right & ~wrong)
    table.put(entries[rest], before.rows(rest))


def _perhaps_rough(table: EntryTable, open_: _Open) -> _Open:
    """Without the wrong entries where `f` is smooth at a few of them: it costs twelve values each.

    Those few are wrong then, so that the others are not what the verdict depends on.
    """
    is_wrong = table.codes[open_.entries] == _WRONG
    if np.count_nonzero(is_wrong) <= _LOOKED_AT:
        return open_
    error = np.abs(open_.analytic - table.numeric[open_.entries])
    some = steep.spread(np.flatnonzero(is_wrong), error, _LOOKED_AT)
    return open_ if (open_.among(some).roughness(True) > 1.0).any() else open_.among(~is_wrong)


# Made again with each row: a dataclass that is frozen takes four times as long.
class _Open(NamedTuple):
    """Entries of a leaf that are open, with what was measured of them."""

    differences: Differences
    model: ErrorModel
    scale: float  # of the leaf
    entries: np.ndarray
    analytic: np.ndarray
    length: np.ndarray
    grown: np.ndarray  # noise at the scale of the step over that of the baseline
    gaps: np.ndarray
    rows: StepTable  # with the noise of the baseline

    @classmethod
    def of(
        cls,
        table: EntryTable,
        entries: np.ndarray,
        differences: Differences,
        model: ErrorModel,
        scale: float,
    ) -> _Open:
        """Entries as the first pass left them."""
        length, grown = differences.lengths(entries), np.ones(len(entries))
        analytic, gaps = table.analytic[entries], table.gaps[entries]
        rows = _first_row(table, entries, model.relative * length, gaps)
        open_ = cls(differences, model, scale, entries, analytic, length, grown, gaps, rows)
        return open_.measured(_with_one_side(open_))

    def roughness(self, wrong: np.ndarray | bool = False, share: float = 1.0) -> np.ndarray:
        """How far noise has grown at the scale of the first step, or a share of it; 1 of none.

        Of entries that are `wrong` one side is enough, if their errors are far beyond its noise.
        """
        steps = share * self.model.relative * self.length
        known = self.rows.noise[0] * self.rows.steps[0] / SIGMAS
        error = np.abs(self.analytic - self.rows.central[0]) * steps
        enough = np.where(wrong, np.minimum(_ROUGH * known, error / _FAR_BEYOND), 0.0)
        noise = scales.noise_at(self.differences, self.entries, steps, self.model.base, enough)
        ratio = noise / known
        return np.where(ratio > _ROUGH, ratio, 1.0)

    def among(self, chosen: np.ndarray) -> _Open:
        """Some of the entries."""
        if _is_everything(chosen):
            return self
        return _Open(
            self.differences,
            self.model,
            self.scale,
            self.entries[chosen],
            self.analytic[chosen],
            self.length[chosen],
            self.grown[chosen],
            self.gaps[chosen],
            self.rows.among(chosen),
        )

    def measured(self, rows: StepTable) -> _Open:
        """The same with more rows."""
        return self if rows is self.rows else self._replace(rows=rows)

    @property
    def table(self) -> StepTable:
        """The rows with the noise of the scale of the step."""
        return self.rows.with_noise(self.rows.noise * self.grown)


def _is_everything(chosen: np.ndarray) -> bool:
    """Whether a mask leaves nothing out."""
    return chosen.dtype == bool and np.count_nonzero(chosen) == len(chosen)


def _judge(table: EntryTable, open_: _Open) -> None:
    """Measure what is missing, and decide."""
    open_ = open_.measured(_with_larger_steps(open_))
    open_ = open_.measured(_with_smaller_steps(open_))
    table.moved[open_.entries] |= open_.rows.moves
    rows = steps = open_.table
    edges = None
    if not rows.shows_all:
        edges = scales.edges_of(rows, open_.differences, open_.entries, open_.model)
        steps = rows.with_quantization(~edges.continuous)
    found = estimate(steps)
    _decide(table, open_, steps, found)
    if edges is not None:
        table.doubt(open_.entries[edges.jumps], Doubt.JUMPS)
    wrong = table.codes[open_.entries] == _WRONG
    if np.count_nonzero(wrong) and open_.differences.doubted:
        some = open_.among(wrong)
        all_wrong = some is open_
        doubts = scales.doubts_of_wrong(
            rows if all_wrong else rows.among(wrong),
            found if all_wrong else found.among(wrong),
            some.analytic,
            some.differences,
            some.entries,
            some.model,
        )
        for why in np.unique(doubts[doubts > 0]).tolist() if np.count_nonzero(doubts) else ():
            table.doubt(some.entries[doubts == why], why)


def _first_row(
    table: EntryTable, entries: np.ndarray, steps: np.ndarray, gaps: np.ndarray
) -> StepTable:
    """The differences of the first pass as a table of one step; nothing is evaluated again."""
    # The two sides are not kept for every entry, but follow from the mean and the gap.
    central, half_gap = table.numeric[entries], gaps / 2
    ahead, behind = central + half_gap, central - half_gap
    # The uncertainty is still the bound on the noise: `judge` leaves it so where it is in doubt.
    row = np.array((steps, central, ahead, behind, table.uncertainty[entries]))
    return StepTable(row[:, np.newaxis])


def _with_one_side(open_: _Open) -> StepTable:
    """The first row with what one side says where the other has no finite value."""
    lost = np.isnan(open_.rows.central[0])
    if not np.count_nonzero(lost):
        return open_.rows
    again = _measured(open_, lost, open_.rows.steps[0])[:, np.newaxis]
    return StepTable(np.where(lost, again, open_.rows.stacked))


def _decide(table: EntryTable, open_: _Open, steps: StepTable, found: Estimate) -> None:
    """Judge by the estimates, and fill in what they show."""
    entries = open_.entries
    known = np.array((open_.analytic, table.numeric[entries], open_.gaps, open_.length))
    rules = open_.model.verdict_rules(open_.scale)
    (table.numeric[entries], table.uncertainty[entries]), (codes, doubts) = (
        _backend.kernel.verdicts(
            steps.stacked, open_.rows.noise, found.numbers, found.flags, known, rules
        )
    )
    table.codes[entries], table.doubts[entries], table.kinks[entries] = codes, doubts, found.kink


def _measured(open_: _Open, wanted: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Measure one row of a table, (5, entries), for the wanted entries; the others stay NaN."""
    if np.count_nonzero(wanted) == len(wanted):
        found = open_.differences.at(open_.entries, steps)
    else:
        found = Samples(*np.full((2, len(open_.entries), 2), np.nan))
        measured = open_.differences.at(open_.entries[wanted], steps[wanted])
        found.moved[wanted], found.values[wanted] = measured.moved, measured.values
    row = open_.model.quotients(found)
    # Those that were asked for: the next row goes on from here, and NaN would end it.
    row[0] = steps
    return row


def _with_larger_steps(open_: _Open) -> StepTable:
    """Larger steps for entries whose first difference, or its error, is mostly noise."""
    rows, known = open_.rows, (open_.analytic, open_.grown, open_.length)
    for _ in range(_MOST_UP):
        noisy, steps = _backend.kernel.hidden_by_noise(rows.stacked[:, 0], *known, _LARGER)
        if not np.count_nonzero(noisy):
            break
        rows = StepTable(_measured(open_, noisy, steps)[:, np.newaxis]).above(rows)
    return rows


def _with_smaller_steps(open_: _Open) -> StepTable:
    """Smaller steps until they tell nothing new."""
    rows, length = open_.rows, open_.length
    going = np.ones(len(length), dtype=bool)
    # Entries within [-1, 1] may be tiny themselves, and are moved exactly by any step.
    least = _LEAST_SPACINGS * open_.model.spacing * (length * (length > 1))
    last = rows.stacked[:, -1]
    below: list[np.ndarray] = []
    for _ in range(_MOST_DOWN):
        steps = last[0] / RATIO
        going = going & (steps > least)
        # An estimate takes two rows.
        if not np.count_nonzero(going) and len(rows.steps) + len(below) > 1:
            break
        row = _measured(open_, going, steps)
        going &= ~_backend.kernel.settled(last, row, open_.analytic, open_.grown, _SETTLED)
        below.append(row)
        last = row
    if not below:
        return rows
    more = [row[:, np.newaxis] for row in below]
    return StepTable(np.concatenate((rows.stacked, *more), axis=1))
