"""Estimates one derivative from differences at many steps, with a bound that holds.

A ladder is a matrix: one column per entry, one row per step, the largest step first, each step a
factor `RATIO` below the one above. Rows that were not measured are NaN.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fastgrad import _backend

__all__ = ["RATIO", "Estimate", "Ladder", "estimate", "quotients", "rung"]

RATIO = 8.0
# A bound on the noise of a difference is this many standard deviations of the noise of f over h.
_SIGMAS = 4.0
# Neighbouring quotients this close, relatively, are taken to converge.
_CLOSE, _LOOSE = 1e-3, 2e-2
# Noise may turn out to be this much larger than was measured; beyond, it is something else.
_MOST_NOISE = 1e9


@dataclass(frozen=True)
class Ladder:
    """Difference quotients at many steps: arrays of shape (steps, entries)."""

    steps: np.ndarray
    central: np.ndarray
    forward: np.ndarray
    backward: np.ndarray
    noise: np.ndarray  # bound on the noise of `central`; twice that for the one-sided ones

    @property
    def kinks(self) -> np.ndarray:
        """What the two one-sided quotients differ by."""
        gap: np.ndarray = self.forward - self.backward
        return gap

    def grained(self) -> Ladder:
        """The same, with noise of at least the grain that the values of f show themselves.

        Where f moves at one step, and not at all at the next smaller one, on both sides, the
        move was a grain of its values.
        """
        grain = np.fmin(*(_grain(np.abs(q) * self.steps) for q in (self.forward, self.backward)))
        return replace(self, noise=np.fmax(self.noise, _SIGMAS * grain / self.steps))

    def stacked(self, below: Ladder) -> Ladder:
        """Continue the ladder by smaller steps."""
        names = ("steps", "central", "forward", "backward", "noise")
        return Ladder(*(np.vstack([getattr(self, n), getattr(below, n)]) for n in names))


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


def quotients(raw: np.ndarray, base: float, noise: float, unit: float) -> np.ndarray:
    """Width, central, forward and backward quotient, and the bound on the noise of the central.

    `raw`, of shape (entries, 2, 2), holds displacement and value, ahead and behind. Values
    are uncertain by `noise`, or by `unit` times their size where that is more.
    """
    found: np.ndarray = _backend.quotients(raw, base, 2 * _SIGMAS * noise, 2 * _SIGMAS * unit)
    return found


def rung(raw: np.ndarray, base: float, noise: float, unit: float) -> Ladder:
    """One row of a ladder, from displacements and values at both sides."""
    width, *rest = quotients(raw, base, noise, unit)
    return Ladder(*(row[np.newaxis] for row in (width / 2, *rest)))


def _grain(moves: np.ndarray) -> np.ndarray:
    lost = (moves[:-1] > 0) & (moves[1:] == 0)
    found: np.ndarray = np.where(lost, moves[:-1] / RATIO, 0.0).max(axis=0, initial=0.0)
    return found


def estimate(ladder: Ladder) -> Estimate:
    """Combine all steps of each entry into the estimate with the smallest bound."""
    with np.errstate(invalid="ignore", over="ignore"):
        columns = _columns(ladder)
        central, ahead, behind, finer = (_best(ladder.steps, column) for column in columns)
        central = _choose(finer.bound < central.bound, finer, central)
        one_sided = np.isnan(central.bound)
        side = _choose(np.isfinite(ahead.bound) | np.isnan(behind.bound), ahead, behind)
        smooth = _choose(one_sided, side, central)
        open_to_the_end = _kinks(ladder)
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


@dataclass(frozen=True)
class _Column:
    """One kind of quotient at all steps, and what is compared with its changes."""

    quotients: np.ndarray
    noise: np.ndarray
    size: np.ndarray  # of the quotients of any kind
    bend: np.ndarray  # of each pair, what a kink within reach may hide
    shrink: float  # one over the share of a change that truncation may still hide below it

    @property
    def change(self) -> np.ndarray:
        return np.abs(np.diff(self.quotients, axis=0))


def _columns(ladder: Ladder) -> Iterator[_Column]:
    """Central, forward, backward and extrapolated quotients, with the noise that they show."""
    kinds = (
        (ladder.central, ladder.noise, 4.0),
        (ladder.forward, 2 * ladder.noise, 3.0),
        (ladder.backward, 2 * ladder.noise, 3.0),
        (_extrapolated(ladder.central), 1.1 * ladder.noise, 4.0),
    )
    size = np.fmax.reduce([np.abs(quotients) for quotients, _, _ in kinds[:3]])
    bend = _bend(ladder)
    bends = (bend, np.zeros_like(bend), np.zeros_like(bend), bend)
    columns = [
        _Column(quotients, noise, size, each, shrink)
        for (quotients, noise, shrink), each in zip(kinds, bends, strict=True)
    ]
    # Noise of f is in all of them: what only some show is a kink, and no noise.
    factor = np.nan_to_num(
        np.fmin.reduce([_noise_factor(column) for column in columns[:3]]), nan=1.0
    )
    return (replace(column, noise=factor * column.noise) for column in columns)


def _extrapolated(central: np.ndarray) -> np.ndarray:
    """Richardson's combination of each difference with the one above, free of second order."""
    finer = np.full(central.shape, np.nan)
    finer[1:] = central[1:] + np.diff(central, axis=0) / (RATIO**2 - 1)
    return finer


def _bend(ladder: Ladder) -> np.ndarray:
    """How far each pair of steps is from one parabola through both.

    On a parabola forward and backward quotients differ in proportion to the step. What they
    differ by beyond that and beyond noise is a kink within the step, or curvature that changes.
    """
    gap = ladder.kinks
    excess = np.abs(gap[1:] - gap[:-1] / RATIO) - 1.5 * ladder.noise[1:]
    return np.fmax(np.nan_to_num(excess), 0.0)


def _best(steps: np.ndarray, column: _Column) -> Estimate:
    """Of all pairs of neighbouring steps, the one with the smallest bound.

    From one step to the next truncation shrinks by RATIO**order, so a share ``1 / shrink`` of
    their difference bounds, with room to spare, what is left in the lower one. A pair counts only
    if nothing unexpected happens below it: a derivative is a limit.
    """
    change, lower, rounding = column.change, column.quotients[1:], column.noise[1:]
    good = (change <= rounding + _CLOSE * column.size[1:]) & ~_upset_below(change, rounding)
    bound = change / column.shrink + rounding + column.bend
    known = np.isfinite(bound)
    pick = np.argmin(np.where(known, np.where(good, bound, 1e150 + bound), np.inf), axis=0)
    at = (pick, np.arange(bound.shape[1]))
    found = known.any(axis=0)
    value = np.where(found, lower[at], np.nan)
    converged = good[at] & found
    limit = np.where(found, np.where(converged, bound[at], np.inf), np.nan)
    return Estimate(value, limit, value, value, np.zeros_like(found), converged, steps[1:][at])


def _upset_below(change: np.ndarray, rounding: np.ndarray) -> np.ndarray:
    """For each pair, whether it or a later one changed more than truncation and noise explain."""
    upset = np.zeros(change.shape, dtype=bool)
    upset[1:] = change[1:] > np.fmax(change[:-1] / 4, rounding[1:])
    # The pair above the upset one is spoilt by it; the upset one itself may be the new start.
    spoilt = np.zeros_like(upset)
    spoilt[:-1] = np.logical_or.accumulate(upset[:0:-1], axis=0)[::-1]
    return spoilt


def _noise_factor(column: _Column) -> np.ndarray:
    """How much larger the noise is than was thought: it shows where changes grow downwards.

    NaN where there are no three values to tell it from.
    """
    change, noise = column.change, column.noise
    near = change <= noise[1:] + _LOOSE * column.size[1:]
    grows = near[:-1] & (change[1:] > change[:-1]) & (noise[2:] > 0)
    growth = 2 * np.fmin(RATIO * change[:-1], change[1:])
    implied = np.where(grows, growth / np.where(grows, noise[2:], 1.0), 1.0)
    implied = np.where(np.isfinite(change[1:] + change[:-1]), implied, np.nan)
    factor = np.fmax.reduce(implied, axis=0, initial=np.nan)
    found: np.ndarray = np.clip(factor, 1.0, _MOST_NOISE)
    return found


def _kinks(ladder: Ladder) -> np.ndarray:
    """Whether forward and backward keep their distance down to the smallest telling step."""
    gap = np.abs(ladder.kinks)
    telling = np.isfinite(gap) & (gap > 20 * ladder.noise)
    rows = np.arange(len(gap))[:, np.newaxis]
    last = np.where(telling, rows, -1).max(axis=0)
    columns = np.arange(gap.shape[1])
    kept = (last >= 1) & (gap[last, columns] > 0.5 * gap[np.fmax(last - 1, 0), columns])
    # Further down the distance must have drowned in the noise, not vanished.
    drowned = gap + 2 * ladder.noise > 0.3 * gap[last, columns]
    found: np.ndarray = kept & (drowned | (rows <= last) | np.isnan(gap)).all(axis=0)
    return found


def _choose(condition: np.ndarray, yes: Estimate, no: Estimate) -> Estimate:
    names = ("value", "bound", "lower", "upper", "kink", "converged", "step")
    return Estimate(*(np.where(condition, getattr(yes, n), getattr(no, n)) for n in names))
