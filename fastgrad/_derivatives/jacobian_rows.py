"""The rows of a Jacobian, the derivatives of all numbers that `f` returns by one entry each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.doubt import Doubts
from fastgrad._derivatives.doubt_rows import settle_rows
from fastgrad._derivatives.jacobian_blocks import Blocks
from fastgrad._derivatives.pieces import Piece
from fastgrad._derivatives.within import pieces_within
from fastgrad._dtypes import EPS, is_extended
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Gradient, Single, Target
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._reference_many import combined
from fastgrad._stencils import Stencil, Steps

__all__ = ["BYTES", "Task", "coarser", "fill_rows", "steps_for"]

# Bytes of values, or of rows of derivatives, that are held beside the result.
BYTES = 2**22
# Entries at a time where workers share them out, even if their rows take more memory: fewer would
# leave workers without work.
_SHARED = 32


def steps_for(leaves: Sequence[Leaf], stencil: Stencil, outputs: Outputs) -> list[Steps]:
    """The automatic steps of each leaf: by its type, or that of the outputs if it is coarser."""
    return [stencil.steps(coarser(leaf.real.dtype, outputs.kind)) for leaf in leaves]


def coarser(one: np.dtype, other: np.dtype) -> np.dtype:
    """The type of two that has fewer digits."""
    return one if EPS[one.char] >= EPS[other.char] else other


@dataclass(frozen=True)
class Task:
    """How all leaves are differentiated."""

    stencil: Stencil
    steps: Sequence[Steps]
    base: np.ndarray
    limits: Bounds | None
    chosen: Sequence[np.ndarray] | None  # numbers of the entries that are meant; None: all of them
    automatic: bool
    shared: bool  # whether workers share the entries out
    kind: np.dtype  # the coarsest type of the outputs

    def entries(self, number: int, start: int, stop: int) -> np.ndarray:
        """The entries of a leaf from `start` to `stop` - 1 that are meant."""
        if self.chosen is None:
            return np.arange(start, stop, dtype=np.intp)
        mine = self.chosen[number]
        low, high = np.searchsorted(mine, (start, stop))
        return mine[low:high]


def fill_rows(run: Metered, task: Task, result: Blocks) -> None:
    """Differentiate with respect to all leaves."""
    width = max(1, result.outputs.size)
    pieces = task.limits is not None or task.chosen is not None
    # Of rows, and, piece by piece, of the values that they come from.
    each = 8 * width * (1 + task.stencil.evaluations if pieces else 1)
    most = max(_SHARED if task.shared else 1, BYTES // each)
    doubts = Doubts()
    for number, leaf in enumerate(run.leaves):
        run.phase(leaf.path)
        for start, rows in result.rows(number, most):
            if pieces:
                _fill_pieces(run, task, number, start, rows, most, doubts)
            else:
                _fill_all(run, task, number, start, rows, doubts)
    doubts.warn(run.leaves)


def _fill_all(
    run: Metered, task: Task, number: int, start: int, rows: np.ndarray, doubts: Doubts
) -> None:
    """The rows from entry `start` on, from one loop."""
    part = task.steps[number].part(start, start + len(rows))
    request = Gradient(number, start, start + len(rows), task.stencil, part, task.base)
    run.gradient((request,), (Target(rows, start),))
    if task.automatic:
        entries = np.arange(start, start + len(rows), dtype=np.intp)
        steps = part.relative * run.scale(number, entries)
        piece = Piece(number, entries, task.stencil, steps, np.zeros(len(rows), bool))
        settle_rows(run, piece, rows, task.base, part, doubts)


def _fill_pieces(
    run: Metered,
    task: Task,
    number: int,
    start: int,
    rows: np.ndarray,
    most: int,
    doubts: Doubts,
) -> None:
    """The rows from entry `start` on within bounds, or those that are meant; NaN for others."""
    leaf, how = run.leaves[number], (task.stencil, task.steps[number])
    dtype = coarser(np.dtype(float) if is_extended(leaf.real) else leaf.real.dtype, task.kind)
    if task.chosen is not None:
        rows.fill(np.nan)
    entries = task.entries(number, start, start + len(rows))
    for piece in pieces_within(task.limits, number, leaf, *how, entries, dtype):
        for low in range(0, len(piece.entries), most):
            part = piece.part(slice(low, low + most))
            found = _of_piece(run, part, task.base)
            if task.automatic and part.stencil is not None:
                own = part.stencil.steps(dtype)
                settle_rows(run, part, found, task.base, own, doubts)
            rows[part.entries - start] = found


def _of_piece(run: Metered, piece: Piece, base: np.ndarray) -> np.ndarray:
    """The rows of a piece, from the values at all points."""
    entries, steps, stencil = piece.entries, piece.steps, piece.stencil
    if not isinstance(stencil, Stencil):  # no room
        return np.full((len(entries), len(base)), np.nan)
    moved = stencil.offsets != 0
    offsets = tuple(int(k) for k in stencil.offsets[moved])
    found = run.single(Single(piece.leaf, entries, Steps(given=steps), offsets))
    points = np.zeros((len(entries), len(moved)))
    points[:, moved] = found.moved
    lost = (points[:, ::2] == points[:, 1::2]).any(axis=1) & ~piece.shrunk
    if lost.any():
        at, leaf = int(lost.argmax()), run.leaves[piece.leaf]
        entry = int(entries[at])
        how = (leaf.real.flat[entry], float(steps[at]), leaf.real.dtype)
        raise _errors.step_vanished_error(leaf.name(entry), *how)
    return combined(stencil, points, found.values, base)
