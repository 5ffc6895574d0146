"""Longer and longer steps along a direction, until noise hides no error that shall show."""

from __future__ import annotations

from collections.abc import Callable

from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.residual import Row
from fastgrad._derivatives.extrapolation import SHRINKS

__all__ = ["FARTHEST", "before_needed", "by_longer_steps"]

# Longest move along a direction, where that of a single entry at a step of its length is one. With
# all entries moving by twice their length little is left of where the gradient was asked for.
FARTHEST = 2.0
# From one step to the next: noise falls by 4, and truncation grows by 16. No power of two, in which
# rounding could repeat itself.
_GROWTH = 4.1
# The step that noise asks for is taken twice as long: its bound holds the change from the row
# before, too, of which noise has a standard deviation of 2.9 (4.1 over the root of two) where that
# of the step counts as 4. Twice the step has room for the change in five of six rows.
_ENOUGH = 2.0


def before_needed(noise: float, visible: float, root: float) -> float:
    """Where the steps may begin to grow: at the last one but that of which the noise is low enough.

    `noise` is the bound on it at a step of one, and `visible` the error that shall show.
    """
    return min(_ENOUGH * SAFETY * noise / visible, FARTHEST / root) / _GROWTH


def by_longer_steps(
    measure: Callable[[float], Row], lower: Row, best: float, visible: float, root: float
) -> tuple[float, Row]:
    """The row with the least bound, and the bound: at most `best`, which is that of `lower`."""
    row = lower
    while SAFETY * best > visible and _GROWTH * lower.time * root <= FARTHEST:
        upper = measure(_GROWTH * lower.time)
        change = abs(upper.central - lower.central)
        # The change is the truncation of the upper row, of which a share is left in the lower.
        for bound, each in (
            (change / SHRINKS + lower.noise, lower),
            (change + upper.noise, upper),
        ):
            if bound < best:
                best, row = bound, each
        if not change <= SAFETY * (upper.noise + lower.noise):
            break  # truncation shows, and longer steps have more of it
        lower = upper
    return best, row
