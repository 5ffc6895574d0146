"""Derivatives with respect to entries that have bounds: one-sided differences, or smaller steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastgrad._derivatives.higher import Higher, higher
from fastgrad._derivatives.pieces import CHUNK, Piece
from fastgrad._dtypes import is_extended
from fastgrad._evaluation.bounds import Bounds
from fastgrad._leaf import Leaf, lengths_of
from fastgrad._stencils import Stencil, Steps, backward, forward

__all__ = ["HIGHEST", "fitting", "pieces_within", "rooms_of"]

# Orders of one-sided differences that there are.
HIGHEST = 4
# Room is taken to be smaller by this share, for the rounding of itself and of what is compared with
# it: so a point within it is on this side of the bound once it is rounded.
_ROUNDED = 4 * 2.0**-52


def pieces_within(
    bounds: Bounds | None,
    number: int,
    leaf: Leaf,
    stencil: Stencil | Higher,
    steps: Steps,
    chosen: np.ndarray | None = None,
    dtype: np.dtype | None = None,
) -> Iterator[Piece]:
    """All entries of a leaf, or chosen ones, by the stencils that keep them within their bounds.

    Where the one that is wanted does not fit, a one-sided one of the same order points inward;
    where this does not fit either, the one that allows for the longer step has a smaller one.
    Automatic steps go by the type of the leaf, or by `dtype`.
    """
    if dtype is None:
        # Values are float64 here, and so are what a longdouble's differences are worth.
        dtype = np.dtype(float) if is_extended(leaf.real) else leaf.real.dtype
    for start in range(0, leaf.real.size if chosen is None else len(chosen), CHUNK):
        if chosen is None:
            entries = np.arange(start, min(start + CHUNK, leaf.real.size), dtype=np.intp)
        else:
            entries = chosen[start : start + CHUNK]
        wide = leaf.real.flat[entries].astype(np.result_type(leaf.real.dtype, np.float64))
        if bounds is not None:
            yield from _within(bounds, number, leaf, stencil, steps, entries, wide, dtype)
        else:
            wanted = _lengths(stencil, dtype, steps, wide, entries)
            yield Piece(number, entries, stencil, wanted, np.zeros(len(entries), bool))


def _within(
    bounds: Bounds,
    number: int,
    leaf: Leaf,
    stencil: Stencil | Higher,
    steps: Steps,
    entries: np.ndarray,
    wide: np.ndarray,
    dtype: np.dtype,
) -> Iterator[Piece]:
    choices = (stencil, *_one_sided(stencil))
    rooms = rooms_of(bounds, number, entries, leaf)
    wanted = [_lengths(each, dtype, steps, wide, entries) for each in choices]
    which, chosen = fitting(choices, wanted, *rooms)
    for k, each in enumerate((*choices, None)):
        mine = np.flatnonzero(which == k)
        if mine.size:
            shrunk = chosen[mine] < (wanted[k][mine] if each else np.inf)
            yield Piece(number, entries[mine], each, chosen[mine], shrunk)


def _one_sided(stencil: Stencil | Higher) -> tuple[Stencil | Higher, Stencil | Higher]:
    """Those of the same derivative and order that point ahead and back."""
    order = min(stencil.order, HIGHEST)
    ahead, back = forward(order), backward(order)
    if isinstance(stencil, Higher):
        return higher(ahead, stencil.nth), higher(back, stencil.nth)
    return ahead, back


def rooms_of(
    bounds: Bounds, number: int, entries: np.ndarray, leaf: Leaf
) -> tuple[np.ndarray, np.ndarray]:
    """How far entries may move up, and down."""
    wide = leaf.real.flat[entries].astype(np.result_type(leaf.real.dtype, np.float64))
    low, high = bounds.of(number, entries, leaf.real.shape)
    with np.errstate(invalid="ignore", over="ignore"):
        rooms = [np.asarray(r * (1 - _ROUNDED), float) for r in (high - wide, wide - low)]
    # A NaN has no neighbors, and any points will do.
    up, down = (np.where(np.isnan(room), np.inf, room) for room in rooms)
    return up, down


def _lengths(
    stencil: Stencil | Higher, dtype: np.dtype, steps: Steps, x: np.ndarray, entries: np.ndarray
) -> np.ndarray:
    """The steps that a stencil takes: the user's, or automatic ones."""
    if steps.given is not None:
        given: np.ndarray = steps.given[entries]
        return given
    if not steps.relative:
        return np.full(len(x), steps.absolute)
    return stencil.relative_step(dtype) * lengths_of(x)


def fitting(
    choices: Sequence[Stencil | Higher],
    wanted: Sequence[np.ndarray],
    ahead: np.ndarray,
    behind: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Which stencil each entry takes, by its number (that of none is behind the last), and steps.

    The choices are the stencil that is wanted, and two that point ahead and back; `ahead` and
    `behind` are the rooms of the entries.
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
