"""Whether `f` is computed on stairs that are wider than the steps that settled its derivative.

Terms that cancel leave stairs, as do rounding or a table inside `f`, and solvers that stop early.
On each of them `f` is smooth, and its slope is not that of the function it stands for: steps longer
than the stairs see that one. Where `f` leaves its tangent at such steps, the question is how that
begins. What is smooth begins gradually; what has kinks has no jumps; and a single jump adds less to
quotients the longer their steps are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from fastgrad._derivatives.step_levels import Rows
from fastgrad._derivatives.step_table import RATIO, StepTable

__all__ = ["Settled", "largest_change", "stairs_of"]

# Share of its size by which a quotient may be off at the far step, a 20th of the entry: those of
# ``log(x)`` are by 0.001, of ``1 / x**2`` by 0.006 and of ``x**12`` by 0.06. What varies faster
# costs another look or more. With a tenth of it the functions in bench/estimates.py cost 2 % more
# evaluations, and slopes of stairs that are off by less are found too: most are off by about as
# much as they are themselves.
_ALIKE = 0.05
# ... and the bounds on noise by which it may be off as well, as noise may be underestimated.
_BOUNDS = 3.0
# Truncation of second order grows by this from level to level; four times that is abrupt. Where
# truncation is seen this tells across three levels as well.
_GROWTH, _MARGIN, _NEAR = RATIO**2, 4.0, 3
# Smooth functions leave their tangents on both sides, as curvature shows first. Where noise hides
# how it begins, and one side is off by less than this share of the other, a jump is on the other.
_STAYS = 1e-2
# From step to step, what a single jump adds to the difference stays, and what stairs add grows by
# RATIO: halfway between, on a scale of factors.
_GROWS = RATIO**0.5
# Two times so many halvings: after the first ones 1 / 128 of the change beyond a kink is left, and
# 15 stairs fit between two steps, the highest of which has a 15th of the change; after all of them
# 1e-5 of what is continuous is left, however steep.
_HALVINGS, _JUMP = 8, 1 / 64
# Outputs of an entry at which a jump is looked for: the one that is off most, and then others that
# do not jump where it does.
_MOST_OUTPUTS = 3


@dataclass(frozen=True)
class Settled:
    """Derivatives of some pairs of an entry and an output: arrays of one shape."""

    pairs: np.ndarray
    value: np.ndarray
    bound: np.ndarray
    forward: np.ndarray
    backward: np.ndarray
    size: np.ndarray  # what they are compared with
    pick: np.ndarray  # level of the step that they are from ...
    top: np.ndarray  # ... of the longest one in the rows above it
    far: np.ndarray  # ... of one to compare with, a 20th of the entry
    highest: np.ndarray  # ... and of the longest one that may be taken

    def among(self, chosen: np.ndarray) -> Settled:
        """Some of them."""
        return Settled(*(getattr(self, each.name)[chosen] for each in fields(self)))

    def off(self, row: StepTable) -> np.ndarray:
        """How far quotients are from the derivative."""
        found: np.ndarray = np.abs(row.central - self.value)
        return found

    def deviates(self, row: StepTable) -> np.ndarray:
        """Whether that is more than noise and most smooth functions show; False without values."""
        allowed = np.fmax(_ALIKE * self.size, _BOUNDS * (row.noise + self.bound))
        found: np.ndarray = self.off(row) > allowed
        return found

    def leaves_one_side(self, row: StepTable) -> np.ndarray:
        """Whether one side is still on its tangent and the other is not; False without values."""
        ahead, behind = np.abs(row.forward - self.forward), np.abs(row.backward - self.backward)
        found: np.ndarray = np.minimum(ahead, behind) < _STAYS * np.maximum(ahead, behind)
        return found


def stairs_of(rows: Rows, known: Settled) -> np.ndarray:
    """The height of the stairs of `f` that each pair is on; 0: there are none."""
    found = np.zeros(len(known.pairs))
    low, high = _beyond(rows, known)
    open_ = np.flatnonzero(high > low)
    open_ = _abrupt(rows, known, low, high, open_)
    open_ = open_[_goes_on(rows, known.among(open_), high[open_])]
    for _ in range(_MOST_OUTPUTS):
        if not len(open_):
            break
        part = known.among(open_)
        found[open_], again = _jumps(rows, part, low[open_], high[open_])
        open_ = open_[again]
    return found


def _beyond(rows: Rows, known: Settled) -> tuple[np.ndarray, np.ndarray]:
    """A level at which quotients deviate, and the last one below it at which they were seen not to.

    The same one twice where they nowhere do. The far one is looked at where no other does.
    """
    low, high = known.pick.copy(), known.pick.copy()
    going = np.ones(len(low), dtype=bool)
    for ahead in range(1, int((known.top - known.pick).max(initial=0)) + 1):
        here = np.flatnonzero(going & (known.pick + ahead <= known.top))
        level = known.pick[here] + ahead
        deviates = known.among(here).deviates(rows.look(known.pairs[here], level))
        high[here] = level
        low[here[~deviates]] = level[~deviates]
        going[here[deviates]] = False
    here = np.flatnonzero((low == high) & (known.far > known.top))
    level = known.far[here]
    deviates = known.among(here).deviates(rows.look(known.pairs[here], level))
    high[here[deviates]] = level[deviates]
    return low, high


def _abrupt(
    rows: Rows, known: Settled, low: np.ndarray, high: np.ndarray, here: np.ndarray
) -> np.ndarray:
    """Those of these pairs that leave their tangents abruptly.

    Brings `low` and `high` next to each other, in place, where they do.
    """
    while True:
        part, apart = known.among(here), high[here] - low[here]
        below, above = rows.look(part.pairs, low[here]), rows.look(part.pairs, high[here])
        before = part.off(below)
        hidden = before <= below.noise
        # Over more than one level nearly all could have grown out of noise.
        seen = ~hidden & (apart <= _NEAR)
        before += np.where(seen, 0.0, below.noise)
        gradual = part.off(above) <= _MARGIN * _GROWTH**apart * before
        gradual &= ~(hidden & part.leaves_one_side(above))
        here = here[~(gradual & (seen | (apart == 1)))]
        open_ = here[high[here] - low[here] > 1]
        if not len(open_):
            return here
        middle = np.fmax(high[open_] - _NEAR, low[open_] + 1)
        deviates = known.among(open_).deviates(rows.look(known.pairs[open_], middle))
        high[open_[deviates]], low[open_[~deviates]] = middle[deviates], middle[~deviates]


def _goes_on(rows: Rows, known: Settled, high: np.ndarray) -> np.ndarray:
    """Whether differences over longer steps are off by more than a single jump explains."""
    first = rows.look(known.pairs, high)
    most = _GROWS * known.off(first) * first.steps
    found = np.zeros(len(high), dtype=bool)
    for level in (known.far, np.fmax(known.far, high) + 1):
        here = np.flatnonzero(~found & (level > high) & (level <= known.highest))
        part = known.among(here)
        longer = rows.look(part.pairs, level[here])
        # Negated: where there is no value nothing is explained.
        found[here] = ~(part.off(longer) * longer.steps <= most[here])
    return found


def _jumps(
    rows: Rows, known: Settled, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The jumps of each pair where the worst output of its entry jumps, between two levels.

    And which pairs do not jump there: they may elsewhere.
    """
    above = rows.look(known.pairs, high)
    ahead = np.nan_to_num(np.abs(above.forward - known.forward) * above.steps)
    behind = np.nan_to_num(np.abs(above.backward - known.backward) * above.steps)
    whole, side = np.fmax(ahead, behind), np.where(ahead >= behind, 1.0, -1.0)
    entries, owner = np.unique(known.pairs // rows.outputs, return_inverse=True)
    worst = _worst(owner, whole, known.size)
    start = side[worst] * rows.look(known.pairs[worst], low[worst]).steps
    end = side[worst] * above.steps[worst]
    slopes = np.where(side[worst][owner] > 0, known.forward, known.backward)
    columns = known.pairs % rows.outputs
    heights, left = np.zeros(len(whole)), np.arange(len(worst))
    for _ in range(2):
        one = worst[left]

        def off(at: np.ndarray, one: np.ndarray = one) -> np.ndarray:
            """How far `f` is from its tangent."""
            moved, change = rows.changes(entries[owner[one]], at)
            return _from_tangent(change, moved, columns[one], slopes[one])

        change, start[left], end[left] = largest_change(off, start[left], end[left], _HALVINGS)
        heights[one] = _real(change, whole[one])
        left = left[heights[one] > 0]
    others = np.setdiff1d(np.arange(len(whole)), worst)
    if not len(others):
        return heights, others
    at_start, at_end = (
        _from_tangent(change[owner[others]], moved[owner[others]], columns[others], slopes[others])
        for moved, change in (rows.changes(entries, each) for each in (start, end))
    )
    # Elsewhere a change may be that of many stairs, or of none.
    alike = (low == low[worst][owner]) & (high == high[worst][owner])
    heights[others] = np.where(alike[others], _real(at_end - at_start, whole[others]), 0.0)
    return heights, others[heights[others] == 0]


def _worst(owner: np.ndarray, whole: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The pair of each entry whose output leaves its tangent most, for its size."""
    with np.errstate(divide="ignore"):
        order = np.lexsort((-whole / size, owner))
    found: np.ndarray = order[np.unique(owner[order], return_index=True)[1]]
    return found


def _from_tangent(
    change: np.ndarray, moved: np.ndarray, columns: np.ndarray, slopes: np.ndarray
) -> np.ndarray:
    """How far some outputs are from their tangents, of changes of shape (entries, outputs)."""
    found: np.ndarray = change[np.arange(len(columns)), columns] - slopes * moved
    return found


def _real(change: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Sizes of changes that are jumps, and 0 for those that are what halving left."""
    size = np.abs(change)
    found: np.ndarray = np.where(size > _JUMP * whole, size, 0.0)
    return found


def largest_change(
    off: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, halvings: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The change of a function over what halving leaves of an interval, where it is largest.

    At a jump it is the jump; of anything continuous nothing is left. One interval for each entry;
    the ends of what is left are returned as well.
    """
    if not len(low):
        return np.zeros(0), low, high
    before, after = off(low), off(high)
    for _ in range(halvings):
        middle = (low + high) / 2
        now = off(middle)
        # Negated, so that what is not finite lies beyond.
        nearer = ~(np.abs(now - before) < np.abs(after - now))
        low, high = np.where(nearer, low, middle), np.where(nearer, middle, high)
        before, after = np.where(nearer, before, now), np.where(nearer, now, after)
    return after - before, low, high
