"""What `f` does at other scales than that of the smallest steps, before a verdict is given.

Differences that converge are no proof by themselves: a function that is rounded on the inside,
that solves something to a tolerance, or that is piecewise constant, has small pieces with slopes of
their own. They show where one looks at a larger scale: there `f` is noisy, or jumps from piece to
piece.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgrad import _backend
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import Doubt
from fastgrad._checks.error_model import SAFETY, ErrorModel
from fastgrad._checks.own_errors import HALVINGS, errors_of, values_beside
from fastgrad._checks.steep import HOLDS, agree_at_small, hidden, out_of_reach, spread, too_fast
from fastgrad._derivatives.extrapolation import Estimate
from fastgrad._derivatives.noise import SIGMAS, is_single, noise_beside, rounding_unit
from fastgrad._derivatives.stairs import largest_change
from fastgrad._derivatives.step_table import RATIO, StepTable

__all__ = [
    "Edges",
    "doubts_of_wrong",
    "edges_of",
    "jumps_between",
    "noise_at",
    "stands_at_others",
]

_NONE, _NO_LIMIT = Doubt.NONE.value, Doubt.NO_LIMIT.value

# Noise on one side beyond this many times that on the other is a kink, or a jump, on that side.
_ONE_SIDED = 16.0
# A jump is this share of the whole change between both ends, which may have many equal steps: six
# hundred times what is left of a slope after the halvings.
_JUMP = 0.01
# ... and certainly none up to this many: noise of sums that cancel is easily underestimated.
_CLEAR_JUMP = 256.0
# Values noisier than this share are no rounding of float32, which is a sixteenth of it.
_SHORT = 2.0**-20
# An `f` that is piecewise constant stands still at steps this many times smaller; and where an edge
# is nearer than that, at the second.
_MUCH_SMALLER = (1.5e5, 4e8)
# Steps beside the one that was taken, which it is divided by: between those of the sequence.
_OTHERS = (0.37, 2.7)
# ... and of which errors of `f` itself are looked for: each takes 72 evaluations.
_OWN = 2
# Larger steps, over the length of an entry, at which a derivative is compared with that of small
# ones: up to where parameters may be moved without leaving what they mean.
_LARGER = (3e-4, 2.5e-3, 2e-2)
# ... and a tiny one, at which the error would move `f` by this many times its noise: there a claim
# holds that a small fast wave has made, of which longer steps show nothing.
_TINY = 64.0
# ... and how much more `agree_at_small` is told, which looks at a tenth first, and then below: at
# the same step again, with steps beside it.
_AROUND_TINY = 10.0
# Deviations of up to this share of the gradient may be those of a solver's tolerance: users ask
# for 1e-3 and less, and its effect on a slope is up to ten times as large.
_SMALL, _SMALL_ALONE = 0.03, 1e-3


def noise_at(
    differences: Differences,
    entries: np.ndarray,
    steps: np.ndarray,
    base: float,
    enough: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Noise in the values of `f` at the scale of a step of each entry; 0 where it is smooth.

    Where no more than `enough` shows ahead, nobody looks behind: where nothing does, whatever shows
    there is one-sided.
    """
    found = _noise_beside(differences, entries, steps, base)
    rest = (~(found <= enough)).nonzero()[0]
    if len(rest):
        sides = found[rest], _noise_beside(differences, entries[rest], -steps[rest], base)
        less, more = np.fmin(*sides), np.fmax(*sides)
        found[rest] = np.where(more <= _ONE_SIDED * less, more, less)
    found[np.isnan(found)] = 0.0
    return found


def _noise_beside(
    differences: Differences, entries: np.ndarray, steps: np.ndarray, base: float
) -> np.ndarray:
    """The same on one side alone, NaN where `f` is not finite."""
    return noise_beside(values_beside(differences, entries, steps, base))


# ---------------------------------------------------------------------- where `f` begins to move


@dataclass(frozen=True)
class Edges:
    """For each entry whether `f`, which its smallest steps do not move, jumps where it begins to.

    Both are False where the smallest steps move `f`, or none does.
    """

    jumps: np.ndarray
    continuous: np.ndarray


def edges_of(
    rows: StepTable, differences: Differences, entries: np.ndarray, model: ErrorModel
) -> Edges:
    """Look where `f` begins to move, as the step grows."""
    jumps, continuous = np.zeros((2, len(entries)), bool)
    if rows.all_move:
        return Edges(jumps, continuous)
    for side, quotients in ((1, rows.forward), (-1, rows.backward)):
        moved = np.isfinite(quotients) & (quotients != 0)
        index = np.arange(len(quotients))[:, np.newaxis]
        last = np.where(moved, index, -1).max(axis=0)
        below = (quotients == 0) & (index > last)
        columns = np.flatnonzero((last >= 0) & below.any(axis=0))
        if not len(columns):
            continue
        high = rows.steps[last[columns], columns]
        change = np.abs(quotients[last[columns], columns]) * high
        noise = (rows.noise * rows.steps)[last[columns], columns] / SIGMAS
        clear = change > _CLEAR_JUMP * noise
        columns, high = columns[clear], high[clear]
        if not len(columns):
            continue
        low = rows.steps[below.argmax(axis=0)[columns], columns]
        flat = np.zeros(len(columns))
        found = jumps_between(
            differences, entries[columns], side * low, side * high, flat, model.base
        )
        jumps[columns] |= found
        continuous[columns] |= ~found
    return Edges(jumps, continuous & ~jumps)


def jumps_between(
    differences: Differences,
    entries: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    slopes: np.ndarray,
    base: float,
) -> np.ndarray:
    """Whether `f` leaves a straight line by a jump, between two steps of each entry.

    At the step `low` it is still on the line of this slope, and at `high` it is not.
    """

    def off(steps: np.ndarray) -> np.ndarray:
        found = differences.around(entries, steps, (1,))
        away: np.ndarray = found.values[:, 0] - base - slopes * found.moved[:, 0]
        return away

    change, _, _ = largest_change(off, low, high, HALVINGS)
    found: np.ndarray = np.abs(change) >= _JUMP * np.abs(off(high))
    return found


# ------------------------------------------------------------ before an entry is called wrong


def doubts_of_wrong(
    rows: StepTable,
    found: Estimate,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """Why entries that small steps show to be wrong cannot be called so: codes of `Doubt`."""
    doubts: np.ndarray = np.full(len(entries), _NONE, np.int8)
    error = np.abs(analytic - found.value)
    if model.coarse:
        doubts[too_fast(error, analytic, differences, entries, model)] = _NO_LIMIT
    doubts[hidden(found, error, analytic, differences, entries, model)] = _NO_LIMIT
    doubts[out_of_reach(found, analytic, differences, entries, model)] = _NO_LIMIT
    # Where `f` is piecewise constant a claim of zero is right, whatever larger steps show.
    if _quantized(model) and len(zero := np.flatnonzero(analytic == 0)):
        doubts[zero[_stands_still(zero, found, differences, entries, model)]] = Doubt.JUMPS
    larger = _contradicted(rows, found, analytic, differences, entries, model)
    if np.count_nonzero(larger):
        doubts = np.where(doubts == _NONE, larger, doubts)
    rest = ((doubts == _NONE) & np.isfinite(error)).nonzero()[0]
    if len(rest):
        some = spread(rest, error)
        why = _right_elsewhere(found.among(some), analytic[some], differences, entries[some], model)
        doubts[some] = why
        # Of those that were not looked at, what all others show is taken for granted.
        if np.count_nonzero(why) == len(why):
            doubts[rest] = np.where(doubts[rest] == _NONE, why.max(), doubts[rest])
        rest = rest[(doubts[rest] == _NONE) & ~found.kink[rest]]
    # What a probe has found by its errors is alone; elsewhere its directions agree.
    most = _SMALL if differences.entries is None else _SMALL_ALONE
    small = rest[error[rest] <= most * np.abs(found.value[rest])]
    inexact = _inexact(small, error, differences, entries, model)
    doubts[inexact] = Doubt.INEXACT
    if len(inexact):
        # Of a small entry such errors are a larger share than of those beside it.
        left = rest[doubts[rest] == _NONE]
        left = left[error[left] <= most * np.abs(found.value).max()]
        doubts[_inexact(left, error, differences, entries, model)] = Doubt.INEXACT
    return doubts


def _inexact(
    columns: np.ndarray,
    error: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """Those of some entries whose errors are not larger than those that `f` itself makes."""
    if not len(columns):
        return columns
    some = spread(columns, error)[:_OWN]
    slopes = errors_of(differences, entries[some], model)
    found: np.ndarray = columns[error[columns] <= slopes.max(initial=0.0)]
    return found


def _quantized(model: ErrorModel) -> bool:
    """Whether values of `f` are coarser than those of its type: counts, or decimals, or noise."""
    if model.noise > _SHORT * abs(model.base):
        return True
    return not (model.unit == rounding_unit(()) or is_single(model.unit))


def _stands_still(
    columns: np.ndarray,
    found: Estimate,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """Whether `f` does not change by a bit at much smaller steps."""
    still = np.zeros(len(columns), bool)
    for times in _MUCH_SMALLER:
        near = differences.at(entries[columns], found.step[columns] / times)
        still |= (near.values == model.base).all(axis=1)
    return still


def _contradicted(
    rows: StepTable,
    found: Estimate,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """Doubts in derivatives that larger steps contradict on both sides: codes of `Doubt`."""
    doubts = np.full(len(entries), _NONE, np.int8)
    error = np.abs(analytic - found.value)
    last = _backend.kernel.held_up_to(rows.stacked, found.value, found.step, error, HOLDS)
    columns = ((last[0] > 0) & (last[1] > 0) & ~found.kink).nonzero()[0]
    if not len(columns):
        return doubts
    # On the side on which it holds longer there are several pieces in reach, if there are any.
    side = np.where(last[0][columns] <= last[1][columns], 1, -1)
    row = last.min(axis=0)[columns]
    low, high = side * rows.steps[row, columns], side * rows.steps[row - 1, columns]
    mine, slopes = entries[columns], found.value[columns]
    jumps = jumps_between(differences, mine, low, high, slopes, model.base)
    # Where values are wild two quotients may be equal by chance.
    stands = stands_at_others(differences, mine, found.among(columns), analytic[columns], model)
    doubts[columns] = np.where(jumps, Doubt.SCALES, np.where(stands, _NONE, _NO_LIMIT))
    return doubts


def stands_at_others(
    differences: Differences,
    entries: np.ndarray,
    found: Estimate,
    analytic: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """Whether derivatives that were found stand at other steps near by, and beyond their noise."""
    noise = noise_at(differences, entries, found.step, model.base)
    error = np.abs(found.value - analytic)
    stands: np.ndarray = error > SAFETY * (found.bound + SIGMAS * noise / found.step)
    for smaller in _OTHERS:
        off = np.abs(differences.slopes(entries, found.step / smaller) - found.value)
        stands &= off <= HOLDS * error
        stands &= off <= HOLDS * np.abs(found.value) + smaller * found.bound
    return stands


def _right_elsewhere(
    found: Estimate,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """Doubts where claims hold at other steps: at larger ones beyond jumps, or at a tiny one."""
    doubts = np.full(len(entries), _NONE, np.int8)
    error = np.abs(found.value - analytic)
    noise = max(model.noise, model.unit * abs(model.base))
    tiny = _TINY * noise / error
    steps = np.concatenate((np.multiply.outer(_LARGER, differences.lengths(entries)), tiny[None]))
    fits = _holds_at(steps, found, analytic, differences, entries)
    low = fits[-1].nonzero()[0]
    if len(low):
        moved = _AROUND_TINY * tiny[low] * error[low]
        own = entries[low], analytic[low], error[low]
        doubts[low[agree_at_small(differences, *own, moved, noise)]] = _NO_LIMIT
    columns = (fits[:-1].any(axis=0) & (doubts == _NONE)).nonzero()[0]
    reach = steps[fits.argmax(axis=0), np.arange(len(entries))]  # the smallest that fits
    some = found.among(columns), reach[columns], differences, entries[columns]
    doubts[columns[_jumps_before(*some, model.base)]] = Doubt.SCALES
    return doubts


def _holds_at(
    steps: np.ndarray,
    found: Estimate,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
) -> np.ndarray:
    """Whether claims hold at larger steps (no kinks'), and at those in the last row, if smaller."""
    other = (steps > found.step) & ~found.kink
    other[-1] = steps[-1] < found.step / RATIO
    rows, columns = other.nonzero()
    slopes = np.full(steps.shape, np.nan)
    if len(rows):
        # All in one request: each of four would cost more than its evaluations.
        slopes[rows, columns] = differences.slopes(entries[columns], steps[rows, columns])
    fits: np.ndarray = np.abs(slopes - analytic) <= HOLDS * np.abs(found.value - analytic)
    fits[-1] &= slopes[-1] != 0  # where `f` stands still, as on stairs, it agrees with nothing
    return fits


def _jumps_before(
    found: Estimate,
    reach: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    base: float,
) -> np.ndarray:
    """Whether `f` leaves the line of its derivative by a jump, on either side up to some steps."""
    jumps = np.zeros(len(entries), bool)
    for side in (1, -1):
        left = (~jumps).nonzero()[0]
        if len(left):
            low, high = side * found.step[left], side * reach[left]
            own = entries[left], low, high, found.value[left]
            jumps[left] = jumps_between(differences, *own, base)
    return jumps
