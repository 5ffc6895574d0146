"""Whether a Jacobian's sparsity pattern is complete, and which entry it lacks.

The derivative of `f` along a random direction must be what the Jacobian says. Where a row disagrees
by more than rounding and truncation explain, all entries of `x` on which it should not depend move
by themselves: a value that follows them lacks an entry, and bisection finds the entry. Nothing is
called undeclared by the size of a difference alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._derivatives.colored import Group, Plan
from fastgrad._derivatives.pattern import Pattern
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.direction import UNIT, key_of
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Grouped
from fastgrad._stencils import Steps, central, forward

__all__ = ["Moves", "Residual", "residual_of", "Undeclared", "find_undeclared", "moves_of"]

# Random moves lie between a third of the step of their entry and the whole step: so all points
# along the direction are as close as those of the differences.
_LARGEST = 1.5
# Roundings in a value of `f`, in machine epsilons of the numbers that it is made of: a sum of some
# tens of terms has as many at most, and in the mean the root of that.
_ROUNDINGS = 8.0
# Where a function bends over about the length of its entries, a plain difference is off by a share
# of (step / length)**order; it may bend twice as sharply.
_BENDS = 4.0
# ... and over four hundredths of that length with the step of 6e-6 of a central difference.
_LEAST_SHARE = 2.0**-20
# Rows that are looked at closely, the worst ones first: each costs two evaluations if nothing is
# missing there. A forgotten entry mostly stands out by orders of magnitude.
_ROWS = 8
# A value that depends on an entry moves about this many times as far when the entry does, and at
# least the root of that; noise and rounding that spreads hardly grow.
_FARTHER, _GROWS = 64.0, 8.0


@dataclass(frozen=True, eq=False)
class Moves:
    """How far each entry moves along the direction, and whether it moves as far the other way."""

    ahead: np.ndarray  # (n,); zero where an entry has no room
    both_ways: np.ndarray  # (n,) bool

    @property
    def behind(self) -> np.ndarray:
        """Moves to the second point."""
        return np.where(self.both_ways, -self.ahead, 0.0)


@dataclass(frozen=True, eq=False)
class Residual:
    """By how much each row disagrees along the direction: all arrays are of shape (rows,)."""

    apart: np.ndarray  # between the change of `f` and that which the Jacobian says
    bound: np.ndarray  # of what rounding and truncation explain of it
    size: np.ndarray  # the sum of what all entries of the row add, without signs

    @property
    def rows(self) -> np.ndarray:
        """Those that disagree, the worst one first; not those with a value that is not finite."""
        rows = np.flatnonzero(self.apart > self.bound)
        return rows[np.argsort(-self.apart[rows] / self.bound[rows], kind="stable")]


@dataclass(frozen=True)
class Undeclared:
    """An entry that is not zero and not in the pattern."""

    row: int
    column: int
    derivative: float


def moves_of(run: Metered, plan: Plan, seed: int = 0, *, automatic: bool) -> Moves:
    """Random moves of at most one step, to both sides where the entry's stencil has both.

    Automatic steps of higher orders are too long for a plain difference, which this is.
    """
    n = run.leaves[0].real.size
    drawn = np.empty((1, n), np.int16)
    _backend.kernel.draw(drawn, key_of(seed, 0, 0), 0, 0)
    ahead, both_ways = drawn[0] * (UNIT / _LARGEST), np.ones(n, bool)
    for group in plan.groups:
        columns, stencil = group.columns, group.stencil
        if stencil is None:
            ahead[columns] = 0
            continue
        h = _steps_of(run, group, eps_of(run.leaves[0].real) if automatic else None)
        if stencil.offsets.min() >= 0:
            ahead[columns], both_ways[columns] = np.abs(ahead[columns]) * h, False
        elif stencil.offsets.max() <= 0:
            ahead[columns], both_ways[columns] = -np.abs(ahead[columns]) * h, False
        else:
            ahead[columns] *= h
    return Moves(ahead, both_ways)


def _steps_of(run: Metered, group: Group, eps: float | None) -> np.ndarray:
    """The steps of a group; with an `eps`, no longer than those of plain differences."""
    assert group.stencil is not None
    steps, scale = group.steps, run.scale(0, group.columns)
    h = steps.absolute + steps.relative * scale if steps.given is None else steps.given
    if eps is None:
        return h
    one_sided = group.stencil.offsets.min() >= 0 or group.stencil.offsets.max() <= 0
    plain = central() if not one_sided else forward()
    shorter: np.ndarray = np.minimum(h, eps ** (1 / (plain.order + 1)) * scale)
    return shorter


def residual_of(
    run: Metered,
    pattern: Pattern,
    data: np.ndarray,
    plan: Plan,
    moves: Moves,
    base: np.ndarray | None,
) -> Residual:
    """Compare the change of `f` along the moves with that which the Jacobian says.

    Rows with values that are not finite drop out: what is NaN exceeds no bound.
    """
    columns = np.arange(pattern.shape[1])
    moved, change = _moved(run, columns, moves.ahead)
    values = np.abs(change)
    behind: Any = base
    back: Any = 0.0
    if base is None or moves.both_ways.any():
        back, behind = _moved(run, columns, moves.behind)
    with np.errstate(all="ignore"):
        moved -= back
        np.maximum(values, np.abs(behind), out=values)
        change -= behind
        del columns, behind, back  # arrays as long as `x` are few here: see `sparse_jacobian`
        change -= pattern.matrix(data) @ moved
        sizes = pattern.matrix(np.abs(data))
        size = sizes @ np.abs(moved, out=moved)
        values += sizes @ np.abs(run.read(0))
        most = max((g.stencil.amplification for g in plan.groups if g.stencil), default=1.0)
        values *= 2 * _ROUNDINGS * max(eps_of(run.leaves[0].real), 2.0**-52)
        bound = values * (1 + most * pattern.in_rows) + _share(run, moves) * size
    return Residual(np.abs(change), bound, size)


def _moved(run: Metered, columns: np.ndarray, move: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacements really made, and the value of `f`, where these entries move at once."""
    starts = np.array([0, len(columns)], np.intp)
    found = run.grouped(Grouped(0, columns, starts, Steps(given=move), (1,)))
    return found.moved[:, 0], found.values[0, 0]


def _share(run: Metered, moves: Moves) -> float:
    """The share of a row that truncation may have put wrong, along the direction as well."""
    reach = np.abs(moves.ahead) / run.scale(0) * _LARGEST
    both, one = (
        float(reach[which].max(initial=0)) for which in (moves.both_ways, ~moves.both_ways)
    )
    return max(_LEAST_SHARE, _BENDS * (both * both), _BENDS * one)  # `**` raises beyond 1e154


def find_undeclared(
    run: Metered, pattern: Pattern, residual: Residual, moves: Moves, base: np.ndarray
) -> Undeclared | None:
    """An entry that is not zero and not in the pattern, in the rows that disagree most."""
    for row in residual.rows[:_ROWS].tolist():
        others = moves.ahead != 0
        places = np.flatnonzero(pattern.rows == row)
        others[np.searchsorted(pattern.starts, places, side="right") - 1] = False
        search = _Search(run, row, moves.ahead, float(base[row]))
        column = search.column(np.flatnonzero(others))
        if column is not None:
            return Undeclared(row, column, search.derivative(column))
    return None


@dataclass(frozen=True, eq=False)
class _Search:
    """Looks for an entry of `x` that a value of `f` follows."""

    run: Metered
    row: int
    moves: np.ndarray
    base: float

    def column(self, columns: np.ndarray) -> int | None:
        """The one among these that moves the value most, by bisection; None if none does."""
        near = self._change(columns, 1.0)
        if not len(columns) or not np.isfinite(near) or near == 0:
            return None
        factor, change = _FARTHER, self._change(columns, _FARTHER)
        if not np.isfinite(change):  # it is defined near `x` only
            factor, change = 1.0, near
        elif abs(change) < _GROWS * abs(near):
            return None
        while len(columns) > 1:
            half = len(columns) // 2
            part = self._change(columns[:half], factor)
            # One half at least moves it by half as much, or else they would not together.
            if abs(part) >= abs(change) / 2:
                columns, change = columns[:half], part
            else:
                columns, change = columns[half:], change - part
        return int(columns[0])

    def _change(self, columns: np.ndarray, factor: float) -> float:
        _, values = _moved(self.run, columns, factor * self.moves[columns])
        return float(values[self.row]) - self.base

    def derivative(self, column: int) -> float:
        """With respect to one entry: one-sided, as it is for a message only."""
        moved, values = _moved(self.run, np.array([column]), self.moves[[column]])
        return (float(values[self.row]) - self.base) / float(moved[0])
