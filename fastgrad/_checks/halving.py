"""Halves of a block in which something is wrong."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastgrad._checks.residual import Residual
from fastgrad._leaf import Box

__all__ = ["halves_of", "measured_halves"]

# A half that was only inferred is measured where its bound is above one over this of it.
_INFERRED = 4


def halves_of(box: Box, axis: int | None = None) -> tuple[Box, Box]:
    """Halve a box along an axis, or along its longest one."""
    if axis is None:
        axis = int(np.argmax([side.stop - side.start for side in box]))
    start, stop = box[axis].start, box[axis].stop
    middle = start + (stop - start) // 2
    left, right = list(box), list(box)
    left[axis], right[axis] = slice(start, middle), slice(middle, stop)
    return tuple(left), tuple(right)


def measured_halves(
    measure: Callable[[Box, float], Residual], box: Box, whole: Residual
) -> list[tuple[Box, Residual]]:
    """The halves of a block along its longest axis, each with its residual."""
    left, right = halves_of(box)
    first = measure(left, whole.value)
    second = whole.minus(first)
    # What is inferred is as uncertain as both together: measure it where that matters.
    nowhere = not first.significant and not second.significant
    if nowhere or (second.significant and second.bound > abs(second.value) / _INFERRED):
        second = measure(right, whole.value)
    return [(left, first), (right, second)]
