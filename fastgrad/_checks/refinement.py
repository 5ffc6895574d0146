"""Judges the entries that one difference leaves open by differences at many steps.

Steps grow while noise hides the difference, and then shrink until they tell nothing new; the
verdict goes by the estimate with the smallest bound.
"""

from __future__ import annotations

import numpy as np

from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import FINITE_FOR_SURE, POWER_LEAF, SAFETY, ErrorModel
from fastgrad._derivatives.extrapolation import (
    ONE_SIDED_NOISE,
    OPEN_BOUNDS,
    OPEN_SHARE,
    RATIO,
    SETTLED,
    SHRINKS,
    Estimate,
    StepTable,
    estimate,
)
from fastgrad._evaluation.protocol import Samples
from fastgrad._report.entries import Verdict

__all__ = ["refine"]

_RIGHT, _WRONG, _UNCLEAR = (v.code for v in (Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL))

# Smaller steps, at most: 8^20 = 2^60 leads from any first step below the spacing of float64.
_MOST_DOWN = 20
# Larger steps, at most: a factor 512, and the noise that much smaller. Beyond, the table holds
# nothing but truncation.
_MOST_UP = 3
# Larger steps are taken while noise is above this share of the entry or of its error: so the first
# digit of the smaller one is known, with a further one to spare.
_NOISY = 0.01
# Largest step in units of the entry's length: halfway to zero, for what is not defined there.
_FARTHEST = 0.5
# Least step in spacings of the entry, where |x| > 1: with one, x + h could round to x on one side.
_LEAST_SPACINGS = 2.0

# When the last two rows settle an entry (`_settled`). Nothing here grants anything: too large a
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


def refine(
    table: EntryTable,
    entries: np.ndarray,
    differences: Differences,
    model: ErrorModel,
    scale: float,
) -> None:
    """Judge these entries by differences at many steps."""
    analytic, length = table.analytic[entries], differences.lengths(entries)
    first = _first_row(table, entries, model.relative * length)
    steps = _with_larger_steps(first, entries, analytic, differences, length, model)
    steps = _with_smaller_steps(steps, entries, analytic, differences, length, model)
    steps = steps.with_quantization()
    found = estimate(steps)
    with np.errstate(invalid="ignore"):
        bound = model.refined_bound(
            analytic, found.value, found.bound, table.gaps[entries], found.kink, scale
        )
    _decide(table, entries, found, bound)
    _enclose(table, entries, steps, POWER_LEAF * scale)


def _first_row(table: EntryTable, entries: np.ndarray, steps: np.ndarray) -> StepTable:
    """The differences of the first pass as a table of one step; nothing is evaluated again."""
    # The two sides are not kept for every entry, but follow from the mean and the gap.
    central, half_gap = table.numeric[entries], table.gaps[entries] / 2
    with np.errstate(invalid="ignore"):
        ahead, behind = central + half_gap, central - half_gap
    # The uncertainty is still the bound on the noise: `judge` leaves it so where it is in doubt.
    rows = (steps, central, ahead, behind, table.uncertainty[entries])
    return StepTable(*(row[np.newaxis].copy() for row in rows))


def _decide(table: EntryTable, entries: np.ndarray, found: Estimate, bound: np.ndarray) -> None:
    """Call wrong what lies beyond the bound around the derivative, or around both at a kink."""
    analytic = table.analytic[entries]
    with np.errstate(invalid="ignore"):
        outside = np.fmax(found.lower - analytic, analytic - found.upper)
        agrees = outside <= bound
        differs = found.converged & ~agrees
        # f may be steeper than any step shows; then an infinite slope cannot be called wrong.
        differs &= ~(np.isinf(analytic) & (bound > FINITE_FOR_SURE * np.abs(found.value)))
    differs |= np.isfinite(found.value) & np.isnan(analytic)  # NaN compares false to every bound
    table.numeric[entries] = np.where(np.isnan(found.value), table.numeric[entries], found.value)
    table.uncertainty[entries] = bound + (found.upper - found.lower) / 2
    table.codes[entries] = np.where(
        differs, _WRONG, np.where(agrees & found.converged, _RIGHT, _UNCLEAR)
    )
    table.kinks[entries] = found.kink


def _enclose(table: EntryTable, entries: np.ndarray, steps: StepTable, widest: float) -> None:
    """Let entries pass whose limit was not found, if they lie between the one-sided quotients.

    This happens among kinks too close to each other to be told apart. From some step down all
    pairs of quotients must enclose the value; the closest pair is its uncertainty.
    """
    analytic = table.analytic[entries]
    with np.errstate(invalid="ignore"):
        reach = np.abs(steps.gaps) / 2 + ONE_SIDED_NOISE * steps.noise
        outside = np.abs(analytic - steps.central) > reach
    # A row counts only if no row below it, with a smaller step, leaves the value outside.
    outside_below = np.logical_or.accumulate(outside[::-1])[::-1]
    reach[outside_below | np.isnan(reach)] = np.inf
    closest = reach.min(axis=0)
    passes = (table.codes[entries] == _UNCLEAR) & (closest <= widest)
    passed, row = entries[passes], reach.argmin(axis=0)[passes]
    table.codes[passed] = _RIGHT
    table.uncertainty[passed] = closest[passes]
    table.numeric[passed] = steps.central[row, passes]


def _measured(
    entries: np.ndarray,
    wanted: np.ndarray,
    steps: np.ndarray,
    differences: Differences,
    model: ErrorModel,
) -> StepTable:
    """Measure one row of a table for the wanted entries; the others stay NaN."""
    found = Samples(*np.full((2, len(entries), 2), np.nan))
    if wanted.any():
        measured = differences.at(entries[wanted], steps[wanted])
        found.moved[wanted], found.values[wanted] = measured.moved, measured.values
    row = model.step_row(found)
    # Those that were asked for: the next row goes on from here, and NaN would end it.
    row.steps[0] = steps
    return row


def _with_larger_steps(
    rows: StepTable,
    entries: np.ndarray,
    analytic: np.ndarray,
    differences: Differences,
    length: np.ndarray,
    model: ErrorModel,
) -> StepTable:
    """Larger steps for entries whose first difference, or its error, is mostly noise."""
    for _ in range(_MOST_UP):
        with np.errstate(invalid="ignore"):
            size = np.fmax(np.abs(analytic), np.abs(rows.central[0]))
            # Of an entry that is nearly right the error must be seen, and not only the value.
            size = np.fmin(size, np.abs(analytic - rows.central[0]))
            steps = rows.steps[0] * RATIO
            noisy = (rows.noise[0] > _NOISY * size) & (steps <= _FARTHEST * length)
        if not noisy.any():
            break
        rows = _measured(entries, noisy, steps, differences, model).above(rows)
    return rows


def _with_smaller_steps(
    rows: StepTable,
    entries: np.ndarray,
    analytic: np.ndarray,
    differences: Differences,
    length: np.ndarray,
    model: ErrorModel,
) -> StepTable:
    """Smaller steps until they tell nothing new."""
    going = np.ones(len(entries), dtype=bool)
    # Entries within [-1, 1] may be tiny themselves, and are moved exactly by any step.
    least = _LEAST_SPACINGS * model.spacing * np.where(length > 1, length, 0.0)
    for _ in range(_MOST_DOWN):
        steps = rows.steps[-1] / RATIO
        going = going & (steps > least)
        if not going.any() and len(rows.steps) > 1:  # an estimate takes two rows
            break
        rows = rows.above(_measured(entries, going, steps, differences, model))
        going = going & ~_settled(rows, analytic)
    return rows


def _settled(rows: StepTable, analytic: np.ndarray) -> np.ndarray:
    """Whether the last row decides, or one below it could only be noisier."""
    new, old, noise = rows.central[-1], rows.central[-2], rows.noise[-1]
    gap, gap_before = np.abs(rows.gaps[-1]), np.abs(rows.gaps[-2])
    with np.errstate(invalid="ignore"):
        change, error = np.abs(new - old), np.abs(analytic - new)
        size = np.fmax(np.abs(new), np.abs(analytic))
        close = change <= SETTLED * np.abs(new)
        level = change <= SAFETY * noise + _LEVEL * np.abs(new)
        clear = close & (change <= _CLEAR * error)
        agrees = close & (error <= change / SHRINKS + noise)
        # The gap is beyond noise, does not close, and encloses the analytic value.
        is_open = (gap > OPEN_BOUNDS * noise) & (gap > OPEN_SHARE * gap_before)
        kink = is_open & (gap >= _GAP_OVER_ERROR * error)
        straight = gap <= np.fmax(_STRAIGHT * size, _STRAIGHT_BOUNDS * noise)
        drowned = noise > _DROWNED * np.fmax(size, np.abs(old))
    settled: np.ndarray = ((level | clear | agrees) & straight & ~kink) | drowned
    return settled
