"""The one part of a block that makes all of its residual, if one does, told by weights.

Parts that move by weights of their own leave of such a residual the weight of the part that makes
it: two evaluations tell one part of many, where halving tells one of two.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Protocol

import numpy as np

from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.moves import Weighable
from fastgrad._checks.residual import Residual
from fastgrad._leaf import Box

__all__ = ["narrowed"]

# Weights are apart by so many times what was known of the residual leaves open of them: by two they
# could just be told, and the bound on what is seen is not known yet.
_APART = 5.0


class Look(Protocol):
    """What shows the residual of a block."""

    def glance(self, box: Box, whole: float) -> Residual:
        """That of all of it, where one as large as `whole` shows."""


def narrowed(
    look: Look, moves: Weighable, box: Box, residual: Residual, most: int
) -> tuple[Box, Residual]:
    """A part of a block that seems to make all of its residual; the block itself if none does.

    A block is cut into `most` parts at most. What the last look shows is not confirmed: several
    errors may look like one that is elsewhere.
    """
    while True:
        found = _part(look, moves, box, residual, most)
        if found is None:
            return box, residual
        box, residual = found


def _part(
    look: Look, moves: Weighable, box: Box, residual: Residual, most: int
) -> tuple[Box, Residual] | None:
    """The part that one look shows."""
    axis = int(np.argmax([side.stop - side.start for side in box]))
    parts = _parts(box, axis, min(most, 2 * _levels(residual)))
    if len(parts) < 2:
        return None
    weights = _weights(len(parts))
    with moves.weighted(parts, weights.tolist()):
        seen = look.glance(box, residual.value / len(parts))
    share = seen.value / residual.value
    doubt = SAFETY * (seen.bound + residual.bound) / abs(residual.value)
    at = int(np.abs(weights - share).argmin()) if math.isfinite(share) else 0
    if not abs(weights[at] - share) <= doubt < np.abs(weights).min() / 2:
        return None
    weight = float(weights[at])
    alone = Residual(seen.value / weight, seen.bound / abs(weight))
    return parts[at], min(alone, residual, key=lambda each: each.bound)


def _levels(residual: Residual) -> int:
    """How many weights of one sign can be told from each other, as far as is known."""
    doubt = _APART * SAFETY * residual.bound
    return int(min(abs(residual.value) / doubt, 2.0**31)) if doubt else 2**31


def _weights(count: int) -> np.ndarray:
    """Weights of either sign, as far apart from each other as from zero."""
    steps = np.arange(1, (count + 1) // 2 + 1)
    weights: np.ndarray = np.concatenate([-steps[::-1], steps])[:count] / steps[-1]
    return weights


def _parts(box: Box, axis: int, count: int) -> list[Box]:
    """A box in so many parts along an axis, if it is long enough."""
    start, stop = box[axis].start, box[axis].stop
    edges = np.linspace(start, stop, min(count, stop - start) + 1).astype(int).tolist()
    return [(*box[:axis], slice(a, b), *box[axis + 1 :]) for a, b in pairwise(edges)]
