"""Estimates one derivative from differences at many steps, with a bound that holds.

Neighboring rows of a step table are compared as in Richardson's extrapolation, and the pair with
the smallest bound is taken (C. J. F. Ridders, Accurate computation of F'(x) and F'(x)F''(x), Adv.
Eng. Softw. 4 (1982) 75-76).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from fastgrad._derivatives.step_table import RATIO, StepTable

__all__ = [
    "ONE_SIDED_NOISE",
    "OPEN_BOUNDS",
    "OPEN_SHARE",
    "SETTLED",
    "SHRINKS",
    "Estimate",
    "estimate",
]

# Bound on the noise of a one-sided quotient, in units of that of the central one with the same
# step: both are differences of two values, over h and over 2 h.
ONE_SIDED_NOISE = 2.0
# The same for Richardson's combination ``c + (c - C) / 52`` of a quotient c with the one above,
# C, whose noise is a seventh: ``53/52 + 1/380 < 1.1``.
EXTRAPOLATED_NOISE = 1.1
# ... and for that of one-sided quotients, ``c + (c - C) / 6.3``: ``7.3/6.3 + 1/46 < 1.2``.
ONE_SIDED_EXTRAPOLATED_NOISE = 1.2
# One over the share of the change from the step above that bounds the truncation left. Theory:
# 1 / 52 for second order, 1 / 6 for first; the bounds are 1 / 4 and 1 / 3, for functions on
# which the orders have not set in yet.
CENTRAL_SHRINK, ONE_SIDED_SHRINK = 4.0, 3.0
# Where changes are seen to shrink more slowly than that, from each to the next by a factor r, they
# are taken for a geometric series, of which ``r / (1 - r)`` of the last change is left: as for
# ``x + x**1.5`` beside 0. Quotients of which r is larger than this do not converge in practice.
SLOWEST = 0.9
# ... and are taken to be slower by this: the bound of a series that is exactly geometric holds.
SERIES_MARGIN = 1.1
# A pair of quotients is taken to converge if they differ by noise and by this share of their
# size: 1e-3 / 4 is then the largest relative truncation of a result, and it is in its bound.
SETTLED = 1e-3
# Pairs that differ by less than this share are asked for their noise: beyond, truncation changes
# them.
NEAR = 2e-2
# Changes must shrink at least by this from step to step, where noise explains no more. A function
# of any order shrinks them by 7; what is left is a factor 2 for orders that have not set in.
SHRINKS = 4.0
# Changes that noise does not hide, and of which each is more than this share of the one before,
# are a drift: quotients of ``x log x`` beside 0 change as much from step to step for ever. Those of
# the square root's derivative, the slowest that converges in practice, shrink to 0.37.
DRIFTS = 0.5
# Noise may turn out to be this much larger than was measured: from the rounding of float64 to that
# of float32 it is 5e8. Beyond, it is a jump.
MOST_NOISE = 1e9
# Where changes grow as the step shrinks, noise is this many times what they imply: a change is
# the difference of two values, and either may be the luckier one.
IMPLIED_NOISE = 2.0
# Part of the gap between forward and backward quotients, beyond a parabola's, that passes for
# noise, in noise bounds of the central quotient: 1.5 bounds are 6 standard deviations of f over h,
# and the gap itself has sqrt(6). What is more widens the bound, so too little here costs power.
PARABOLA_NOISE = 1.5
# A gap between the one-sided quotients is open beyond this many noise bounds of the central one:
# 33 of its own standard deviations, as the noise may be underestimated.
OPEN_BOUNDS = 20.0
# ... and above this share of the largest quotient: less is how the parameter is rounded.
KINKED = 1e-3
# At a kink the gap stays as the step shrinks, elsewhere a seventh of it is left: see KINK_STAYS.
OPEN_SHARE = 0.5
# Below the last telling step this share of the gap must still be possible within the noise, or the
# kink was a corner that is rounded off.
STILL_OPEN = 0.3


@dataclass(frozen=True)
class Estimate:
    """Derivatives with bounds: arrays of shape (entries,).

    `lower` and `upper` are the one-sided derivatives, in order, where there is a kink, and the
    derivative twice elsewhere. An infinite bound: the differences do not converge. NaN: `f` is
    not finite on either side.
    """

    value: np.ndarray
    bound: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    kink: np.ndarray
    converged: np.ndarray
    step: np.ndarray

    def among(self, chosen: np.ndarray | slice) -> Estimate:
        """Some of the entries."""
        return Estimate(*(getattr(self, each.name)[chosen] for each in fields(self)))


def estimate(table: StepTable) -> Estimate:
    """Combine all steps of each entry into the estimate with the smallest bound."""
    with np.errstate(invalid="ignore", over="ignore"):
        kinds = _columns(table)
        # Side by side, as one array takes a tenth of the time of six small ones.
        best = _best(np.hstack([table.steps] * len(kinds)), _Columns.side_by_side(kinds))
        central, ahead, behind, *finer = (
            best.among(part) for part in _parts(len(kinds), len(best.value))
        )
        central, ahead, behind = (
            _choose(better.bound < plain.bound, better, plain)
            for plain, better in zip((central, ahead, behind), finer, strict=True)
        )
        one_sided = np.isnan(central.bound)
        # At the edge of the domain only one side has values.
        side = _choose(np.isfinite(ahead.bound) | np.isnan(behind.bound), ahead, behind)
        smooth = _choose(one_sided, side, central)
        # An open gap is a kink if both sides have limits; otherwise nothing converges there.
        open_to_the_end = _kinks(table)
        kink = open_to_the_end & ahead.converged & behind.converged
    low, high = np.fmin(ahead.value, behind.value), np.fmax(ahead.value, behind.value)
    return replace(
        smooth,
        value=np.where(kink, (low + high) / 2, smooth.value),
        bound=np.where(kink, np.fmax(ahead.bound, behind.bound), smooth.bound),
        lower=np.where(kink, low, smooth.value),
        upper=np.where(kink, high, smooth.value),
        kink=kink,
        # Between one-sided derivatives that disagree, the central difference means nothing.
        converged=kink | (smooth.converged & ~open_to_the_end),
    )


def _parts(count: int, size: int) -> list[slice]:
    """So many equal parts of an array."""
    width = size // count
    return [slice(k * width, (k + 1) * width) for k in range(count)]


@dataclass(frozen=True)
class _Columns:
    """Quotients of one kind at all steps, and the quantities that bound their error."""

    quotients: np.ndarray
    noise: np.ndarray
    size: np.ndarray  # of the largest quotient of any kind
    nonlinearity: np.ndarray  # of each pair, what a kink within reach may hide
    # One over the share of a change that truncation may still hide below it: (entries,).
    shrink: np.ndarray

    @classmethod
    def side_by_side(cls, each: Sequence[_Columns]) -> _Columns:
        """Columns of many kinds as one."""
        return cls(*(np.hstack([getattr(one, name.name) for one in each]) for name in fields(cls)))

    @property
    def change(self) -> np.ndarray:
        return np.abs(np.diff(self.quotients, axis=0))


def _columns(table: StepTable) -> list[_Columns]:
    """Central, forward, backward and extrapolated quotients, with the noise that they show."""
    one_sided = ONE_SIDED_NOISE * ONE_SIDED_EXTRAPOLATED_NOISE * table.noise
    kinds = (
        (table.central, table.noise, CENTRAL_SHRINK),
        (table.forward, ONE_SIDED_NOISE * table.noise, ONE_SIDED_SHRINK),
        (table.backward, ONE_SIDED_NOISE * table.noise, ONE_SIDED_SHRINK),
        (_extrapolated(table.central, 2), EXTRAPOLATED_NOISE * table.noise, CENTRAL_SHRINK),
        (_extrapolated(table.forward, 1), one_sided, CENTRAL_SHRINK),
        (_extrapolated(table.backward, 1), one_sided, CENTRAL_SHRINK),
    )
    size = table.size
    off = _nonlinearity(table)
    # One-sided quotients see one side of a kink, and it hides nothing from them.
    nonlinear = (off, np.zeros_like(off), np.zeros_like(off)) * 2
    columns = [
        _Columns(quotients, noise, size, each, np.full(size.shape[1], shrink))
        for (quotients, noise, shrink), each in zip(kinds, nonlinear, strict=True)
    ]
    # Noise of f is in all of them: what only some show is a kink, and no noise.
    shown = _noise_factor(_Columns.side_by_side(columns[:3])).reshape(3, -1)
    factor = np.nan_to_num(np.fmin.reduce(shown), nan=1.0)
    return [replace(each, noise=factor * each.noise) for each in columns]


def _extrapolated(plain: np.ndarray, order: int) -> np.ndarray:
    """Richardson's combination of each difference with the one above, free of its order."""
    finer = np.full(plain.shape, np.nan)
    finer[1:] = plain[1:] + np.diff(plain, axis=0) / (RATIO**order - 1)
    return finer


def _nonlinearity(table: StepTable) -> np.ndarray:
    """How far each pair of steps is from one parabola through both.

    On a parabola forward and backward quotients differ in proportion to the step. What they
    differ by beyond that and beyond noise is a kink within the step, or curvature that changes.
    """
    gap = table.gaps
    excess = np.abs(gap[1:] - gap[:-1] / RATIO) - PARABOLA_NOISE * table.noise[1:]
    return np.fmax(np.nan_to_num(excess), 0.0)


def _best(steps: np.ndarray, column: _Columns) -> Estimate:
    """Take the pair of neighboring steps with the smallest bound.

    From one step to the next truncation shrinks by RATIO**order, so a share ``1 / shrink`` of
    their difference bounds, with room to spare, what is left in the lower one. A pair counts only
    if nothing unexpected happens below it: a derivative is a limit.
    """
    change, lower, rounding = column.change, column.quotients[1:], column.noise[1:]
    good = change <= rounding + SETTLED * column.size[1:]
    good &= ~_drifting(change, rounding, SETTLED * column.size[1:])
    # Where the derivative is 0 no change is small beside it; but all of them shrink.
    good |= _shrinking(change)
    good &= ~_upset_below(change, rounding)
    left = np.fmax(1 / column.shrink, _left_of_series(change, rounding))
    bound = left * change + rounding + column.nonlinearity
    known = np.isfinite(bound)
    good &= known
    # Where no pair converges the value is that of the largest step: noise tells least of it.
    pick = np.where(good.any(axis=0), np.where(good, bound, np.inf).argmin(axis=0), known.argmax(0))
    at = (pick, np.arange(bound.shape[1]))
    found = known.any(axis=0)
    value = np.where(found, lower[at], np.nan)
    converged = good[at] & found
    limit = np.where(found, np.where(converged, bound[at], np.inf), np.nan)
    return Estimate(value, limit, value, value, np.zeros_like(found), converged, steps[1:][at])


def _upset_below(change: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """For each pair, whether it or a later one changed more than truncation and noise explain."""
    # A change must be a fraction of the one before it, or within the noise.
    upset = np.zeros(change.shape, dtype=bool)
    upset[1:] = change[1:] > np.fmax(change[:-1] / SHRINKS, rounding[1:])
    # The pair above the upset one is spoilt by it; the upset one itself may be the new start.
    spoilt = np.zeros_like(upset)
    spoilt[:-1] = np.logical_or.accumulate(upset[:0:-1], axis=0)[::-1]
    return spoilt


def _drifting(change: np.ndarray, rounding: np.ndarray, small: np.ndarray) -> np.ndarray:
    """For each pair, whether the last changes that noise does not hide are of one size."""
    drifts = np.zeros(change.shape, dtype=bool)
    last = np.full(change.shape[1], np.nan)
    state = np.zeros(change.shape[1], dtype=bool)
    for k, (now, hidden) in enumerate(zip(change, np.fmax(rounding, small), strict=True)):
        visible = now > hidden
        # Hidden changes go on as they were, unless they would show.
        stopped = hidden < DRIFTS * last
        state = np.where(visible, now > DRIFTS * last, state & ~stopped)
        last = np.where(visible, now, last)
        drifts[k] = state
    return drifts


def _shrinking(change: np.ndarray) -> np.ndarray:
    """For each pair, whether its change and the one above are each a fraction of the one before."""
    less = np.zeros(change.shape, dtype=bool)
    less[1:] = change[1:] <= change[:-1] / SHRINKS
    shrinks = np.zeros(change.shape, dtype=bool)
    shrinks[1:] = less[1:] & less[:-1]
    return shrinks


def _left_of_series(change: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """The share of each change that is left below it, going by the one above; 0 within noise."""
    shown = change > rounding
    ratio = np.zeros(change.shape)
    both = shown[1:] & shown[:-1]
    np.divide(change[1:], change[:-1], out=ratio[1:], where=both)
    ratio = np.fmin(SERIES_MARGIN * ratio, SLOWEST)
    return ratio / (1 - ratio)


def _noise_factor(column: _Columns) -> np.ndarray:
    """How much larger the noise is than was measured: it shows where changes grow with the row.

    NaN where there are no three values to tell it from.
    """
    change, noise = column.change, column.noise
    near = change <= noise[1:] + NEAR * column.size[1:]
    grows = near[:-1] & (change[1:] > change[:-1]) & (noise[2:] > 0)
    # Noise of a quotient grows by RATIO from row to row: of the two pairs the smaller one counts.
    growth = IMPLIED_NOISE * np.fmin(RATIO * change[:-1], change[1:])
    implied = np.where(grows, growth / np.where(grows, noise[2:], 1.0), 1.0)
    implied = np.where(np.isfinite(change[1:] + change[:-1]), implied, np.nan)
    factor = np.fmax.reduce(implied, axis=0, initial=np.nan)
    found: np.ndarray = np.clip(factor, 1.0, MOST_NOISE)
    return found


def _kinks(table: StepTable) -> np.ndarray:
    """Whether forward and backward keep their distance down to the smallest telling step."""
    gap = np.abs(table.gaps)
    size = np.fmax.reduce(np.fmax(np.abs(table.forward), np.abs(table.backward)))
    telling = np.isfinite(gap) & (gap > np.fmax(OPEN_BOUNDS * table.noise, KINKED * size))
    # The last row at which the gap is clearly not noise; -1 where there is none.
    rows = np.arange(len(gap))[:, np.newaxis]
    last = np.where(telling, rows, -1).max(axis=0)
    columns = np.arange(gap.shape[1])
    kept = (last >= 1) & (gap[last, columns] > OPEN_SHARE * gap[np.fmax(last - 1, 0), columns])
    # Further down the distance must have drowned in the noise, not vanished.
    drowned = gap + ONE_SIDED_NOISE * table.noise > STILL_OPEN * gap[last, columns]
    found: np.ndarray = kept & (drowned | (rows <= last) | np.isnan(gap)).all(axis=0)
    return found


def _choose(condition: np.ndarray, yes: Estimate, no: Estimate) -> Estimate:
    names = ("value", "bound", "lower", "upper", "kink", "converged", "step")
    return Estimate(*(np.where(condition, getattr(yes, n), getattr(no, n)) for n in names))
