"""The functions of `_reference` on difference quotients at many steps, as src/steps.pxi has them.

A table is of shape (5, steps, entries): the steps, the largest first, and at each of them the
central, forward and backward quotient, and the bound on the noise of the central one. A row is one
of its steps: (5, entries).
"""

from __future__ import annotations

from math import nan
from typing import NamedTuple

import numpy as np

__all__ = [
    "EstimateRules",
    "LargerRules",
    "SettledRules",
    "VerdictRules",
    "estimates",
    "hidden_by_noise",
    "settled",
    "verdicts",
]


class EstimateRules(NamedTuple):
    """What decides how steps are combined: `_derivatives.extrapolation` says why."""

    central_order: float  # what the change of a central quotient is divided by in extrapolation
    one_sided_order: float  # ... and that of a one-sided one
    ratio: float  # of each step over the next
    one_sided_noise: float  # of a one-sided quotient, in units of that of the central one ...
    extrapolated_noise: float  # ... of an extrapolated central one
    one_sided_extrapolated_noise: float  # ... and of an extrapolated one-sided one
    central_shrink: float  # one over the share of a change that truncation may hide below it
    one_sided_shrink: float
    slowest: float  # ratio of changes of a series that converges
    series_margin: float
    settled: float  # share of their size by which two quotients differ that have converged
    near: float  # ... that are asked for their noise
    shrinks: float  # by how much changes shrink
    drifts: float  # share of the change before, above which changes do not
    most_noise: float  # over what was measured
    implied_noise: float  # by a change that grows
    parabola_noise: float  # in the gap beyond a parabola's
    open_bounds: float  # noise bounds of an open gap ...
    kinked: float  # ... and its share of the largest quotient
    open_share: float  # of the gap that stays at a kink
    still_open: float  # share of the gap that noise may hide


class SettledRules(NamedTuple):
    """When two rows settle an entry: `_checks.refinement` says why."""

    settled: float  # share of their size by which quotients differ that are close
    safety: float  # noise bounds by which they differ that are level ...
    level: float  # ... and share of their size
    clear: float  # change over the error that shows it
    shrinks: float
    open_bounds: float
    open_share: float
    gap_over_error: float
    straight: float
    straight_bounds: float
    drowned: float


class LargerRules(NamedTuple):
    """When a larger step is taken: `_checks.refinement` says why."""

    share: float  # of an entry, or of its error, that noise may be
    ratio: float  # of the larger step to this one
    farthest: float  # step, in lengths


class VerdictRules(NamedTuple):
    """What an estimate is judged by, in one leaf: `_checks.error_model` says why."""

    safety: float  # bounds within which values may be right
    rounding: float  # granted to each analytic entry of the leaf ...
    own: float  # ... and the share of itself
    condition: float  # ... and of the gap between the one-sided quotients at the first step
    relative: float  # that step over the entry's length
    rtol: float  # what the user grants
    atol: float
    scale: float  # the largest entry of the leaf
    finite: float  # share of the size to which a value is known that is finite for sure
    widest: float  # distance of one-sided quotients that prove something
    curved: float  # bounds beyond which a gap shows curvature
    one_sided_noise: float  # of a one-sided quotient, in units of that of the central one
    right: int  # codes of the verdicts
    wrong: int
    unclear: int
    edge: int  # code of the doubt that there is no value ...
    no_limit: int  # ... and that there is no limit


def settled(
    old: np.ndarray, new: np.ndarray, analytic: np.ndarray, grown: np.ndarray, rules: SettledRules
) -> np.ndarray:
    """Whether two rows, at a step and the next one, settle each entry, or noise drowns the rest.

    The noise of the rows is multiplied by `grown`.
    """
    _, before, *sides_before, _ = old
    _, now, *sides, bound = new
    with np.errstate(all="ignore"):
        noise = bound * grown
        gap, gap_before = (np.abs(ahead - behind) for ahead, behind in (sides, sides_before))
        change, error = np.abs(now - before), np.abs(analytic - now)
        size = np.fmax(np.abs(now), np.abs(analytic))
        close = change <= rules.settled * np.abs(now)
        level = change <= rules.safety * noise + rules.level * np.abs(now)
        clear = close & (change <= rules.clear * error)
        agrees = close & (error <= change / rules.shrinks + noise)
        # The gap is beyond noise, does not close, and encloses the analytic value.
        is_open = (gap > rules.open_bounds * noise) & (gap > rules.open_share * gap_before)
        kink = is_open & (gap >= rules.gap_over_error * error)
        straight = gap <= np.fmax(rules.straight * size, rules.straight_bounds * noise)
        # A gap shows as well that small steps have more to tell.
        drowned = noise > rules.drowned * np.fmax(np.fmax(size, np.abs(before)), gap)
    found: np.ndarray = ((level | clear | agrees) & straight & ~kink) | drowned
    return found


def hidden_by_noise(
    row: np.ndarray,
    analytic: np.ndarray,
    grown: np.ndarray,
    length: np.ndarray,
    rules: LargerRules,
) -> tuple[np.ndarray, np.ndarray]:
    """Whether noise hides each entry or its error in this row of a table, and the step above it.

    Not where that step would be too long.
    """
    first, central, _, _, noise = row
    with np.errstate(all="ignore"):
        # Of an entry that is nearly right the error must be seen, and not only the value.
        size = np.fmin(np.fmax(np.abs(analytic), np.abs(central)), np.abs(analytic - central))
        steps = first * rules.ratio
        noisy = (grown * noise > rules.share * size) & (steps <= rules.farthest * length)
    return noisy, steps


def estimates(table: np.ndarray, rules: EstimateRules) -> tuple[np.ndarray, np.ndarray]:
    """Combine all steps of each entry into the estimate with the smallest bound.

    Returns the value, its bound, the lower and upper one-sided derivative, and the step, of shape
    (5, entries); and whether there is a kink, and whether the differences converge, of shape
    (2, entries).
    """
    if table.shape[1] < 2:
        raise ValueError(f"an estimate takes two steps or more, not {table.shape[1]}")
    with np.errstate(all="ignore"):
        # Three kinds of quotients, and the same extrapolated: one array takes a tenth of the time
        # of six small ones.
        best = _best(table[0], *_columns(table, rules), rules)
        finer = best[1][3:] < best[1][:3]
        value, bound, converged, step = (np.where(finer, each[3:], each[:3]) for each in best)
        # At the edge of the domain only one side has values.
        side = np.where(np.isfinite(bound[1]) | np.isnan(bound[2]), 1, 2)
        chosen = np.where(np.isnan(bound[0]), side, 0), np.arange(table.shape[2])
        # An open gap is a kink if both sides have limits; otherwise nothing converges there.
        open_to_the_end = _kinks(table, rules)
        kink = open_to_the_end & converged[1] & converged[2]
        low, high = np.fmin(value[1], value[2]), np.fmax(value[1], value[2])
        smooth = value[chosen]
        found = np.array(
            [
                np.where(kink, (low + high) / 2, smooth),
                np.where(kink, np.fmax(bound[1], bound[2]), bound[chosen]),
                np.where(kink, low, smooth),
                np.where(kink, high, smooth),
                step[chosen],
            ]
        )
    # Between one-sided derivatives that disagree, the central difference means nothing.
    return found, np.array([kink, kink | (converged[chosen] & ~open_to_the_end)])


def verdicts(
    table: np.ndarray,
    noise: np.ndarray,
    estimate: np.ndarray,
    flags: np.ndarray,
    entries: np.ndarray,
    rules: VerdictRules,
) -> tuple[np.ndarray, np.ndarray]:
    """Judge entries by their estimates: wrong is what lies beyond the bound around them.

    `estimate` and `flags` are those of `estimates`, and `noise` is that of the table before it was
    seen to be more. `entries` are the analytic and the first numeric values, the gaps at the first
    step, and the lengths: (4, entries). Returns numeric values and their uncertainty, of shape
    (2, entries), and the codes of verdicts and doubts: (2, entries).
    """
    (value, measured, lower, upper, step), (kink, converged) = estimate, flags
    analytic, first, _, _ = entries
    with np.errstate(all="ignore"):
        # The larger of both: an infinite one is judged by what is finite for sure.
        own = np.fmax(np.where(np.isfinite(analytic), np.abs(analytic), 0.0), np.abs(value))
        granted = rules.rounding + rules.own * own
        # Across a kink the gap is a jump of the derivative, and no curvature.
        change = rules.condition * _gaps(table, noise, step, entries, rules)
        granted += np.where(kink, 0.0, np.nan_to_num(change))
        bound = rules.safety * measured + granted
        # Beyond the bound around the derivative, or around both at a kink.
        outside = np.fmax(lower - analytic, analytic - upper)
        agrees = outside <= bound + (rules.atol + rules.rtol * np.abs(value))
        differs = converged & ~agrees
        # f may be steeper than any step shows; then an infinite slope cannot be called wrong.
        finite = bound <= rules.finite * np.fmax(np.abs(value), rules.scale)
        differs &= ~np.isinf(analytic) | finite
        differs |= np.isfinite(value) & np.isnan(analytic)  # NaN compares false to every bound
        lost = np.isnan(value)
        numeric = np.where(lost, first, value)
        uncertainty = bound + (upper - lower) / 2
        told = differs | (agrees & converged)
        codes = np.where(differs, rules.wrong, np.where(told, rules.right, rules.unclear))
        doubts = np.where(told, 0, np.where(lost, rules.edge, rules.no_limit))
        closest, center = _enclosed(table, analytic, rules)
        passes = ~told & (closest <= rules.widest)
        found = np.where(passes, (center, closest), (numeric, uncertainty))
    codes[passes], doubts[passes] = rules.right, 0
    return found, np.array((codes, doubts), np.int8)


def _gaps(
    table: np.ndarray,
    noise: np.ndarray,
    step: np.ndarray,
    entries: np.ndarray,
    rules: VerdictRules,
) -> np.ndarray:
    """What curvature at the step that was taken would make of the gap at the first one."""
    _, _, gaps, lengths = entries
    chosen = np.abs(table[0] - step).argmin(axis=0)
    at = (chosen, np.arange(len(chosen)))
    seen = np.fmax(np.abs(table[2][at] - table[3][at]) - rules.curved * noise[at], 0.0)
    first = rules.relative * lengths / table[0][at]
    found: np.ndarray = np.fmax(np.nan_to_num(first * seen), np.nan_to_num(np.abs(gaps)))
    return found


def _enclosed(
    table: np.ndarray, analytic: np.ndarray, rules: VerdictRules
) -> tuple[np.ndarray, np.ndarray]:
    """How far the closest pair of one-sided quotients lies that encloses a value, and its center.

    This happens among kinks too close to each other to be told apart. From some step down all
    pairs of quotients must enclose the value; infinite where they do not.
    """
    reach = np.abs(table[2] - table[3]) / 2 + rules.one_sided_noise * table[4]
    outside = np.abs(analytic - table[1]) > reach
    # A row counts only if no row below it, with a smaller step, leaves the value outside.
    outside_below = np.logical_or.accumulate(outside[::-1])[::-1]
    reach[outside_below | np.isnan(reach)] = np.inf
    row, columns = reach.argmin(axis=0), np.arange(len(analytic))
    return reach[row, columns], table[1][row, columns]


# What follows works on arrays of shape (kinds, steps, entries), or (kinds, pairs, entries).


def _columns(
    table: np.ndarray, rules: EstimateRules
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Quotients of each kind with the noise that they show, their size, and their nonlinearity."""
    plain, noise = table[1:4], table[4]
    times = (1.0, rules.one_sided_noise, rules.one_sided_noise)
    finer = (rules.extrapolated_noise, *(rules.one_sided_extrapolated_noise,) * 2)
    orders = np.array([rules.central_order, *(rules.one_sided_order,) * 2])[:, None, None]
    quotients = np.full((6, *noise.shape), nan)
    quotients[:3] = plain
    # Richardson's combination of each difference with the one above, free of its order.
    quotients[3:, 1:] = plain[:, 1:] + np.diff(plain, axis=1) / orders
    noises = np.array((*times, *finer))[:, None, None] * noise
    size = np.fmax.reduce(np.abs(plain))
    # Noise of f is in all of them: what only some show is a kink, and no noise.
    shown = np.fmin.reduce(_noise_factor(plain, noises[:3], size, rules))
    factor = np.where(np.isnan(shown), 1.0, shown)
    nonlinear = np.zeros((6, len(noise) - 1, noise.shape[1]))
    # One-sided quotients see one side of a kink, and it hides nothing from them.
    nonlinear[[0, 3]] = _nonlinearity(table, rules)
    return quotients, factor * noises, size, nonlinear


def _nonlinearity(table: np.ndarray, rules: EstimateRules) -> np.ndarray:
    """How far each pair of steps is from one parabola through both.

    On a parabola forward and backward quotients differ in proportion to the step. What they
    differ by beyond that and beyond noise is a kink within the step, or curvature that changes.
    """
    gap = table[2] - table[3]
    excess = np.abs(gap[1:] - gap[:-1] / rules.ratio) - rules.parabola_noise * table[4][1:]
    found: np.ndarray = np.fmax(np.nan_to_num(excess), 0.0)
    return found


def _best(
    steps: np.ndarray,
    quotients: np.ndarray,
    noise: np.ndarray,
    size: np.ndarray,
    nonlinear: np.ndarray,
    rules: EstimateRules,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Take the pair of neighboring steps with the smallest bound.

    From one step to the next truncation shrinks by ``ratio**order``, so a share ``1 / shrink`` of
    their difference bounds, with room to spare, what is left in the lower one. A pair counts only
    if nothing unexpected happens below it: a derivative is a limit.
    """
    change, lower, rounding = _changes(quotients), quotients[:, 1:], noise[:, 1:]
    small = rules.settled * size[1:]
    good = change <= rounding + small
    good &= ~_drifting(change, rounding, small, rules)
    # Where the derivative is 0 no change is small beside it; but all of them shrink.
    good |= _shrinking(change, rules)
    good &= ~_upset_below(change, rounding, rules)
    # An extrapolated quotient shrinks faster, and is not trusted to.
    shrink = np.array(
        [rules.central_shrink, *(rules.one_sided_shrink,) * 2, *(rules.central_shrink,) * 3]
    )
    left = np.fmax(1 / shrink[:, None, None], _left_of_series(change, rounding, rules))
    bound = left * change + rounding + nonlinear
    known = np.isfinite(bound)
    good &= known
    # Where no pair converges the value is that of the largest step: noise tells least of it.
    least = np.where(good, bound, np.inf).argmin(axis=1)
    pick = np.where(good.any(axis=1), least, known.argmax(axis=1))
    at = (np.arange(len(pick))[:, None], pick, np.arange(pick.shape[1]))
    found = known.any(axis=1)
    converged = good[at] & found
    limit = np.where(found, np.where(converged, bound[at], np.inf), nan)
    return np.where(found, lower[at], nan), limit, converged, steps[1:][at[1:]]


def _changes(quotients: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.abs(np.diff(quotients, axis=1))
    return found


def _upset_below(change: np.ndarray, rounding: np.ndarray, rules: EstimateRules) -> np.ndarray:
    """For each pair, whether a later one changed more than truncation and noise explain."""
    # A change must be a fraction of the one before it, or within the noise.
    upset = change[:, 1:] > np.fmax(change[:, :-1] / rules.shrinks, rounding[:, 1:])
    # The pair above the upset one is spoilt by it; the upset one itself may be the new start.
    spoilt = np.zeros(change.shape, dtype=bool)
    spoilt[:, :-1] = np.logical_or.accumulate(upset[:, ::-1], axis=1)[:, ::-1]
    return spoilt


def _drifting(
    change: np.ndarray, rounding: np.ndarray, small: np.ndarray, rules: EstimateRules
) -> np.ndarray:
    """For each pair, whether the last changes that noise does not hide are of one size."""
    drifts = np.zeros(change.shape, dtype=bool)
    last = np.full(change[:, 0].shape, nan)
    state = np.zeros(last.shape, dtype=bool)
    hidden = np.fmax(rounding, small)
    for k in range(change.shape[1]):
        now, visible = change[:, k], change[:, k] > hidden[:, k]
        # Hidden changes go on as they were, unless they would show.
        stopped = hidden[:, k] < rules.drifts * last
        state = np.where(visible, now > rules.drifts * last, state & ~stopped)
        last = np.where(visible, now, last)
        drifts[:, k] = state
    return drifts


def _shrinking(change: np.ndarray, rules: EstimateRules) -> np.ndarray:
    """For each pair, whether its change and the one above are each a fraction of the one before."""
    less = change[:, 1:] <= change[:, :-1] / rules.shrinks
    shrinks = np.zeros(change.shape, dtype=bool)
    shrinks[:, 2:] = less[:, 1:] & less[:, :-1]
    return shrinks


def _left_of_series(change: np.ndarray, rounding: np.ndarray, rules: EstimateRules) -> np.ndarray:
    """The share of each change that is left below it, going by the one above; 0 within noise."""
    shown = change > rounding
    ratio = np.zeros(change.shape)
    both = shown[:, 1:] & shown[:, :-1]
    np.divide(change[:, 1:], change[:, :-1], out=ratio[:, 1:], where=both)
    ratio = np.fmin(rules.series_margin * ratio, rules.slowest)
    return ratio / (1 - ratio)


def _noise_factor(
    quotients: np.ndarray, noise: np.ndarray, size: np.ndarray, rules: EstimateRules
) -> np.ndarray:
    """How much larger the noise is than was measured: it shows where changes grow with the row.

    NaN where there are no three values to tell it from.
    """
    change = _changes(quotients)
    near = change[:, :-1] <= noise[:, 1:-1] + rules.near * size[1:-1]
    grows = near & (change[:, 1:] > change[:, :-1]) & (noise[:, 2:] > 0)
    # Noise of a quotient grows from row to row: of the two pairs the smaller one counts.
    growth = rules.implied_noise * np.fmin(rules.ratio * change[:, :-1], change[:, 1:])
    implied = np.where(grows, growth / np.where(grows, noise[:, 2:], 1.0), 1.0)
    implied = np.where(np.isfinite(change[:, 1:] + change[:, :-1]), implied, nan)
    factor = np.fmax.reduce(implied, axis=1, initial=nan)
    found: np.ndarray = np.clip(factor, 1.0, rules.most_noise)
    return found


def _kinks(table: np.ndarray, rules: EstimateRules) -> np.ndarray:
    """Whether forward and backward keep their distance down to the smallest telling step."""
    noise, gap = table[4], np.abs(table[2] - table[3])
    size = np.fmax.reduce(np.fmax(np.abs(table[2]), np.abs(table[3])))
    telling = np.isfinite(gap) & (gap > np.fmax(rules.open_bounds * noise, rules.kinked * size))
    # The last row at which the gap is clearly not noise; -1 where there is none.
    rows = np.arange(len(gap))[:, np.newaxis]
    last = np.where(telling, rows, -1).max(axis=0)
    columns = np.arange(gap.shape[1])
    kept = (last >= 1) & (
        gap[last, columns] > rules.open_share * gap[np.fmax(last - 1, 0), columns]
    )
    # Further down the distance must have drowned in the noise, not vanished.
    drowned = gap + rules.one_sided_noise * noise > rules.still_open * gap[last, columns]
    found: np.ndarray = kept & (drowned | (rows <= last) | np.isnan(gap)).all(axis=0)
    return found
