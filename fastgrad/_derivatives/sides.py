"""To which side of the parameters entries move for second derivatives, and how far: with bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad._derivatives.positions import short
from fastgrad._derivatives.settling import Look
from fastgrad._derivatives.within import rooms_of
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.bounds import Bounds
from fastgrad._leaf import Leaf

__all__ = ["REACH", "Sides", "offsets_of", "put_together", "rooms_within", "slope_weights"]

# Room is smaller by this many spacings of the entry: moves along a direction are rounded to numbers
# that can be added and taken away, by one spacing, and to one side there are three of them.
_ROUNDED = 4.0
# Points to one side of a second difference, whose error is of second order as that of a central
# one; the first two make the first difference of pairs.
REACH = 3
# A step that a bound cuts is shortened by this share, so that it can be rounded to eight bits.
_SHORTER = 2.0**-8


@dataclass(frozen=True)
class Sides:
    """Where each position moves: to both sides (0), up (1) or down (-1); and its longest step."""

    sides: np.ndarray  # (n,) int
    most: np.ndarray  # (n,)

    @staticmethod
    def of(steps: np.ndarray, up: np.ndarray, down: np.ndarray, points: float = REACH) -> Sides:
        """The sides that leave room for these steps, or else for the longest ones.

        A difference to one side has so many `points` there.
        """
        both, aside = np.minimum(up, down), np.maximum(up, down) / points
        central = (both >= steps) | (both >= aside)
        sides = np.where(central, 0, np.where(up >= down, 1, -1))
        return Sides(sides, np.where(central, both, aside))

    def cut(self, steps: np.ndarray) -> np.ndarray:
        """The steps, shorter where there is no room for them."""
        with np.errstate(invalid="ignore"):
            shorter = short(self.most * (1 - _SHORTER))
        return np.where(steps > self.most, shorter, steps)

    def groups(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """Those of some positions that move to one side, for each side."""
        mine = self.sides[positions]
        for side in (0, 1, -1):
            which = np.flatnonzero(mine == side)
            if which.size:
                yield side, which


def rooms_within(bounds: Bounds | None, leaves: Sequence[Leaf]) -> tuple[np.ndarray, np.ndarray]:
    """How far all entries of all leaves may move up, and down; 0 where that is mere rounding."""
    up, down = [np.empty(0)], [np.empty(0)]
    for k, leaf in enumerate(leaves):
        size = leaf.real.size
        rooms: Sequence[np.ndarray] = (np.full(size, np.inf),) * 2
        if bounds is not None:
            rooms = rooms_of(bounds, k, np.arange(size), leaf)
        with np.errstate(all="ignore"):
            near = _ROUNDED * eps_of(leaf.real) * np.abs(leaf.real.reshape(-1).astype(float))
        near = np.where(np.isfinite(near), near, 0.0)
        up.append(np.maximum(rooms[0] - near, 0.0))
        down.append(np.maximum(rooms[1] - near, 0.0))
    return np.concatenate(up), np.concatenate(down)


def offsets_of(side: int, count: int = REACH) -> tuple[int, ...]:
    """The points of a difference, in steps: on both sides, or so many to one side."""
    return (1, -1) if not side else tuple(side * k for k in range(1, count + 1))


def slope_weights(moved: np.ndarray) -> np.ndarray:
    """Weights of two points, less that at 0, for the slope at 0 of a parabola: (n, 2)."""
    a, b = moved.T
    with np.errstate(all="ignore"):
        return np.stack([b / (a * (b - a)), -a / (b * (b - a))], axis=1)


def put_together(count: int, parts: Sequence[tuple[np.ndarray, Look]]) -> Look:
    """Looks at some of the positions each as one look at all."""
    (_, first), *_ = parts
    if len(parts) == 1:
        return first
    whole = {
        name: np.empty((count, *getattr(first, name).shape[1:]))
        for name in ("steps", "moved", "values", "estimate", "noise")
    }
    for which, part in parts:
        for name, array in whole.items():
            array[which] = getattr(part, name)
    return Look(**whole)
