"""Derivatives with respect to entries that have bounds: one-sided differences, or smaller steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._dtypes import is_extended
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.protocol import Evaluator, Samples, Single
from fastgrad._leaf import Leaf, lengths_of
from fastgrad._stencils import Stencil, Steps, backward, forward

__all__ = ["Piece", "pieces_within"]

# Entries of a leaf at a time, so that what is held stays small: 256 KiB for each number of them.
_CHUNK = 2**15
# Orders of one-sided differences that there are.
_HIGHEST = 4
# Room is taken to be smaller by this share, for the rounding of itself and of what is compared with
# it: so a point within it is on this side of the bound once it is rounded.
_ROUNDED = 4 * 2.0**-52


@dataclass(frozen=True)
class Piece:
    """Entries of one leaf that are differentiated by one stencil, each at its own step.

    Without a stencil the entries have no room, and no derivative.
    """

    leaf: int
    entries: np.ndarray
    stencil: Stencil | None
    steps: np.ndarray
    shrunk: np.ndarray  # whether a bound made the step smaller

    @property
    def uses_base(self) -> bool:
        """Whether the value at the parameters is used."""
        return self.stencil is not None and self.stencil.uses_base

    def first(self) -> tuple[Piece, Piece]:
        """The first entry, and the others."""
        return self._part(slice(0, 1)), self._part(slice(1, None))

    def _part(self, which: slice) -> Piece:
        part = (self.steps[which], self.shrunk[which])
        return Piece(self.leaf, self.entries[which], self.stencil, *part)

    def derivatives(self, run: Evaluator, base: float) -> np.ndarray:
        """The derivatives, from the values at all points."""
        if self.stencil is None:
            return np.full(len(self.entries), np.nan)
        stencil = self.stencil
        offsets = tuple(int(k) for k in stencil.offsets if k)
        found = run.single(Single(self.leaf, self.entries, Steps(given=self.steps), offsets))
        total = np.zeros(len(self.entries))
        for upper, lower, weight in stencil.quotients:
            (a, f_a), (b, f_b) = (_at(found, offsets, k, base) for k in (upper, lower))
            with np.errstate(all="ignore"):
                self._refuse_lost(run.leaves[self.leaf], np.asarray(a - b == 0))
                total += float(weight) * ((f_a - f_b) / (a - b))
        return total

    def _refuse_lost(self, leaf: Leaf, lost: np.ndarray) -> None:
        """Refuse a step that vanishes in rounding, unless a bound left no more room."""
        chosen = np.flatnonzero(lost & ~self.shrunk)
        if chosen.size:
            at = int(chosen[0])
            entry, step = int(self.entries[at]), float(self.steps[at])
            x = leaf.real.flat[entry]
            raise _errors.step_vanished_error(leaf.name(entry), x, step, leaf.real.dtype)


def _at(found: Samples, offsets: Sequence[int], offset: int, base: float) -> tuple[Any, Any]:
    """Displacements and values at one offset."""
    if not offset:
        return 0.0, base
    column = offsets.index(offset)
    return found.moved[:, column], found.values[:, column]


def pieces_within(
    bounds: Bounds, number: int, leaf: Leaf, stencil: Stencil, steps: Steps
) -> Iterator[Piece]:
    """All entries of a leaf, by the stencils that keep them within their bounds.

    Where the one that is wanted does not fit, a one-sided one of the same order points inward;
    where this does not fit either, the one that allows for the longer step has a smaller one.
    """
    order = min(stencil.order, _HIGHEST)
    choices = (stencil, forward(order), backward(order))
    for start in range(0, leaf.real.size, _CHUNK):
        entries = np.arange(start, min(start + _CHUNK, leaf.real.size), dtype=np.intp)
        wide = leaf.real.flat[entries].astype(np.result_type(leaf.real.dtype, np.float64))
        low, high = bounds.of(number, entries, leaf.real.shape)
        with np.errstate(invalid="ignore", over="ignore"):
            rooms = [np.asarray(r * (1 - _ROUNDED), float) for r in (high - wide, wide - low)]
        # A NaN has no neighbors, and any points will do.
        rooms = [np.where(np.isnan(room), np.inf, room) for room in rooms]
        wanted = [_lengths(each, leaf, steps, wide, entries) for each in choices]
        which, chosen = _chosen(choices, wanted, *rooms)
        for k, each in enumerate((*choices, None)):
            mine = np.flatnonzero(which == k)
            if mine.size:
                shrunk = chosen[mine] < (wanted[k][mine] if each else np.inf)
                yield Piece(number, entries[mine], each, chosen[mine], shrunk)


def _lengths(
    stencil: Stencil, leaf: Leaf, steps: Steps, x: np.ndarray, entries: np.ndarray
) -> np.ndarray:
    """The steps that a stencil takes: the user's, or automatic ones."""
    if steps.given is not None:
        given: np.ndarray = steps.given[entries]
        return given
    if not steps.relative:
        return np.full(len(x), steps.absolute)
    # Values are float64 here, and so are what a longdouble's differences are worth.
    dtype = np.dtype(float) if is_extended(leaf.real) else leaf.real.dtype
    return stencil.relative_step(dtype) * lengths_of(x)


def _chosen(
    choices: Sequence[Stencil], wanted: Sequence[np.ndarray], ahead: np.ndarray, behind: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Which stencil each entry takes, by its number (that of none is behind the last), and steps.

    `ahead` and `behind` are the rooms of the entries.
    """
    most = []  # the longest step that each stencil allows for
    for stencil in choices:
        up, down = stencil.offsets.max(), -stencil.offsets.min()
        most.append(np.fmin(ahead / up if up else np.inf, behind / down if down else np.inf))
    inward = np.where(ahead >= behind, 1, 2)  # towards the larger room
    rows = np.arange(len(ahead))
    other_wanted, other_most = np.stack(wanted)[inward, rows], np.stack(most)[inward, rows]
    fits, other_fits = wanted[0] <= most[0], other_wanted <= other_most
    longer = other_most > most[0]
    which = np.where(fits, 0, np.where(other_fits | longer, inward, 0))
    step = np.fmin(np.stack(wanted)[which, rows], np.stack(most)[which, rows])
    return np.where(step > 0, which, len(choices)), step
