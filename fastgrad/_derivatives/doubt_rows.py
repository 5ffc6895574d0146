"""Rows of a Jacobian that automatic steps leave in doubt: those of entries small beside their step.

Each output has derivatives of its own, so the outputs that a look at a smaller step contradicts are
settled as so many functions of one entry, from evaluations that they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad._derivatives.doubt import Base, Doubts, Looks, Settled
from fastgrad._derivatives.pieces import Piece
from fastgrad._dtypes import EPS
from fastgrad._evaluation.protocol import Evaluator, Samples, Single, Where
from fastgrad._leaf import Leaf
from fastgrad._reference_many import combined
from fastgrad._stencils import Stencil
from fastgrad._steps import OWN_SCALE, ROUNDING, Steps

__all__ = ["settle_rows", "small_beside"]


def settle_rows(
    run: Evaluator, piece: Piece, rows: np.ndarray, base: np.ndarray, own: Steps, doubts: Doubts
) -> None:
    """Look again at the rows of entries that are small beside their step, and mend them."""
    stencil = piece.stencil
    if not isinstance(stencil, Stencil) or not rows.size:
        return
    size = np.abs(run.read(piece.leaf, piece.entries))
    with np.errstate(invalid="ignore"):
        small = (size > 0) & (size * own.relative < small_beside(own, stencil) * piece.steps)
    for at in np.flatnonzero(small).tolist():
        mine = piece.part(slice(at, at + 1))
        near = mine.at(own.relative * size[at : at + 1])
        wrong = _contradicted(run, near, rows[at], base, own)
        if wrong.size:
            pairs = _Pairs(run, mine, wrong)
            looks = Looks(pairs, pairs.piece, rows[at, wrong], Base(pairs, base[wrong]), own)
            found = Settled(*looks.smaller())
            rows[at, wrong] = found.derivatives
            doubts.note(pairs.named, found)


def small_beside(own: Steps, stencil: Stencil) -> float:
    """The size below which an entry is small beside its automatic step.

    Differences of higher order, which for one value are doubted by their inner ones, have it where
    their truncation is that of a second-order one at its own limit.
    """
    return own.small or own.relative * OWN_SCALE ** (-1 / stencil.order)


def _contradicted(
    run: Evaluator, near: Piece, first: np.ndarray, base: np.ndarray, own: Steps
) -> np.ndarray:
    """The outputs whose derivatives differ at a smaller step by more than rounding explains."""
    stencil = near.stencil
    assert isinstance(stencil, Stencil)
    moved = stencil.offsets != 0
    offsets = tuple(int(k) for k in stencil.offsets[moved])
    found = run.single(Single(near.leaf, near.entries, Steps(given=near.steps), offsets))
    points = np.zeros((1, len(moved)))
    points[:, moved] = found.moved
    eps = max(EPS[run.leaves[near.leaf].real.dtype.char], EPS["d"])
    with np.errstate(all="ignore"):
        second = combined(stencil, points, found.values, base)[0]
        largest = np.fmax(np.abs(found.values[0]).max(axis=0), np.abs(base))
        room = ROUNDING * eps * stencil.amplification * largest / near.steps[0]
        stands = np.abs(second - first) <= room + own.agreed * np.abs(first)
    # What has no value at the parameters has no derivative either.
    wrong: np.ndarray = np.flatnonzero(~stands & np.isfinite(base))
    return wrong


class _Pairs:
    """One entry with each of some outputs, as entries of their own: see `Entries`."""

    def __init__(self, run: Evaluator, piece: Piece, outputs: np.ndarray) -> None:
        self.leaves: Sequence[Leaf] = run.leaves
        self._run, self._entry, self._outputs = run, int(piece.entries[0]), outputs
        count = len(outputs)
        steps, shrunk = np.repeat(piece.steps, count), np.repeat(piece.shrunk, count)
        numbers = np.arange(count, dtype=np.intp)
        self.piece = Piece(piece.leaf, numbers, piece.stencil, steps, shrunk)
        # The same by the number of the entry, for a warning.
        named = np.repeat(piece.entries, count)
        self.named = Piece(piece.leaf, named, piece.stencil, steps, shrunk)

    def base(self) -> Any:
        """Values at the parameters, which are known here."""
        raise AssertionError("values at the parameters are given")

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured: that of the entry."""
        return np.repeat(self._run.scale(leaf, np.array([self._entry])), len(where))

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameter itself."""
        return np.repeat(self._run.read(leaf, np.array([self._entry])), len(where))

    def single(self, request: Single) -> Samples:
        """Move the entry to each step once, for all outputs that ask for it."""
        assert request.steps.given is not None
        steps, which = np.unique(request.steps.given, return_inverse=True)
        entries = np.full(len(steps), self._entry, np.intp)
        how = (entries, Steps(given=steps), request.offsets)
        found = self._run.single(Single(request.leaf, *how))
        outputs = self._outputs[request.entries]
        return Samples(found.moved[which], found.values[which, :, outputs])
