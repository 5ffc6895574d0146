"""Difference quotients at many steps, in tables.

A step table is a matrix: one column per entry, one row per step, the largest step first, each
step a factor `RATIO` below the one above. Rows that were not measured are NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgrad import _backend
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._evaluation.protocol import Samples

__all__ = [
    "RATIO",
    "StepTable",
    "bounds_of_noise",
    "quotients",
    "step_row",
    "vector_row",
]

# Each step over the next. No power of two, nor near one: on a binary grid inside `f`, as of
# ``(x + C) - C``, steps a power of two apart share their rounding, which then passes for
# convergence. 7.3 shrinks the truncation of a central difference by 53, and twenty steps reach
# from 1 to the spacing of float64. Ridders takes 1.4, for a table of high orders: more
# evaluations, and no use where noise is the limit.
RATIO = 7.3


@dataclass(frozen=True)
class StepTable:
    """Difference quotients at many steps, stacked in one array of shape (5, steps, entries)."""

    stacked: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """The steps, of shape (steps, entries), as all that follow."""
        found: np.ndarray = self.stacked[0]
        return found

    @property
    def central(self) -> np.ndarray:
        """Central quotients."""
        found: np.ndarray = self.stacked[1]
        return found

    @property
    def forward(self) -> np.ndarray:
        """Forward quotients."""
        found: np.ndarray = self.stacked[2]
        return found

    @property
    def backward(self) -> np.ndarray:
        """Backward quotients."""
        found: np.ndarray = self.stacked[3]
        return found

    @property
    def noise(self) -> np.ndarray:
        """Bound on the noise of central quotients; twice that for the one-sided ones."""
        found: np.ndarray = self.stacked[4]
        return found

    @property
    def gaps(self) -> np.ndarray:
        """Forward minus backward quotients."""
        gap: np.ndarray = self.forward - self.backward
        return gap

    @property
    def size(self) -> np.ndarray:
        """The largest of the three quotients."""
        three = (np.abs(each) for each in (self.central, self.forward, self.backward))
        found: np.ndarray = np.fmax.reduce(list(three))
        return found

    @property
    def moves(self) -> np.ndarray:
        """Whether any step of each entry was seen to move f."""
        found: np.ndarray = (np.abs(self.stacked[2:4]) > 0).any(axis=(0, 1))  # NaN is no move
        return found

    @property
    def all_move(self) -> bool:
        """Whether each step of each entry moved f, on both sides, or has no values."""
        sides = self.stacked[2:4]
        return bool(np.count_nonzero(sides) == sides.size)

    @property
    def shows_all(self) -> bool:
        """Whether each step of each entry was measured and moved f, on both sides."""
        return self.all_move and not np.count_nonzero(np.isnan(self.noise))

    def with_quantization(self, where: np.ndarray | None = None) -> StepTable:
        """The same, with noise of at least the quantum that the values of f move by.

        Where f moves at one step, and not at all at the next smaller one, on both sides, the
        move was one quantum of its values: f rounds them, or counts. `where` says for which
        entries that is so; it could also be a corner.
        """
        if self.shows_all:
            return self
        quantum = np.fmin(
            *(_quantum(np.abs(q) * self.steps) for q in (self.forward, self.backward))
        )
        if where is not None:
            quantum = np.where(where, quantum, 0.0)
        return self.with_noise(np.fmax(self.noise, SIGMAS * quantum / self.steps))

    def with_noise(self, noise: np.ndarray) -> StepTable:
        """The same with other bounds on the noise."""
        stacked = self.stacked.copy()
        stacked[4] = noise
        return StepTable(stacked)

    def above(self, below: StepTable) -> StepTable:
        """Continue the table by smaller steps."""
        return StepTable(np.concatenate((self.stacked, below.stacked), axis=1))

    def among(self, chosen: np.ndarray) -> StepTable:
        """Some of the entries."""
        return StepTable(self.stacked[:, :, chosen])


def quotients(found: Samples, base: float, noise: float, unit: float) -> np.ndarray:
    """Width, central, forward and backward quotient, and the bound on the noise of the central.

    Displacements and values are of shape (entries, 2), ahead and behind. Values are uncertain by
    `noise`, or by `unit` times their size where that is more.
    """
    bounds = bounds_of_noise(noise, unit)
    rows: np.ndarray = _backend.kernel.quotients(found.moved, found.values, base, *bounds)
    return rows


def bounds_of_noise(noise: float, unit: float) -> tuple[float, float]:
    """Bounds on the noise of a difference over the width: by itself, and in units of the values."""
    # The width is 2 h: the sum of two independent errors, each of them bounded.
    return 2 * SIGMAS * noise, 2 * SIGMAS * unit


def step_row(found: Samples, base: float, noise: float, unit: float) -> StepTable:
    """A table of one step, from displacements and values at both sides."""
    row = quotients(found, base, noise, unit)
    row[0] /= 2  # the step is half the width
    return StepTable(row[:, np.newaxis])


def vector_row(
    moved: np.ndarray, values: np.ndarray, base: np.ndarray, noise: np.ndarray, unit: np.ndarray
) -> StepTable:
    """Quotients of a vector-valued f at one step of each entry: arrays of shape (entries, m).

    Displacements are of shape (entries, 2), ahead and behind, and values of shape (entries, 2, m).
    The noise is one for each entry and output, or for each output; the others, of shape (m,), are
    as for `quotients`.
    """
    ahead, behind = moved[:, :1], moved[:, 1:]
    above, below = values[:, 0], values[:, 1]
    width = ahead - behind
    by_itself, by_size = 2 * SIGMAS * noise, 2 * SIGMAS * unit
    with np.errstate(all="ignore"):  # values may be NaN, and widths 0
        bound = np.fmax(by_itself, by_size * np.fmax(np.abs(above), np.abs(below)))
        central = (above - below) / width
        sides = (above - base) / ahead, (below - base) / behind
        steps = np.broadcast_to(width / 2, bound.shape)
        return StepTable(np.array((steps, central, *sides, bound / width)))


def _quantum(moves: np.ndarray) -> np.ndarray:
    """The amount that values of f seem to change by at least; 0 where any step changes them."""
    # The move that was seen may be up to RATIO quanta: at the next step it would be one.
    lost = (moves[:-1] > 0) & (moves[1:] == 0)
    found: np.ndarray = np.where(lost, moves[:-1] / RATIO, 0.0).max(axis=0, initial=0.0)
    return found
