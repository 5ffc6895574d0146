"""Errors of `f` itself, as those of a solver that stops at a tolerance: jumps on coarser scales."""

from __future__ import annotations

import numpy as np

from fastgrad import _backend
from fastgrad._checks.differences import Differences
from fastgrad._checks.error_model import ErrorModel
from fastgrad._derivatives.stairs import largest_change

__all__ = ["HALVINGS", "errors_of", "values_beside"]

# Points on each side at which noise beside the parameters is measured, with the one at 0: of sines
# with up to 0.8 radians between two points none passes for noise, and of 100 samples of noise 99.
_NEAR = tuple(range(1, 7))
# Spacings, over the length, of the points at which errors of `f` itself are looked for. Those of
# solvers, which stop when something is small enough, are jumps from some scale on.
_COARSE = (2e-5, 1e-4, 5e-4, 2e-3, 8e-3, 2e-2)
_SCALES = np.array((*_COARSE, *(-share for share in _COARSE)))  # on both sides
# A jump makes third differences of up to twice its size; what bends leaves less after the halvings.
_OF_THIRD = 0.2
# Fifth differences of a jump, or a kink, are larger than its third ones; of anything smooth they
# are smaller by the square of the spacing over the scale on which it varies.
_ROUGH = 0.2
# A move of `f` up to this many times its noise may be rounding.
_ROUNDING = 16.0
# Halvings that tell a jump from a slope: of the interval 1.5e-5 is left.
HALVINGS = 16


def values_beside(
    differences: Differences, entries: np.ndarray, steps: np.ndarray, base: float
) -> np.ndarray:
    """Seven values on one side of each entry, the first one at the parameters."""
    near = differences.around(entries, steps, _NEAR)
    seven: np.ndarray = _backend.kernel.values_beside(near.moved, near.values, steps, base)
    return seven


def errors_of(differences: Differences, entries: np.ndarray, model: ErrorModel) -> np.ndarray:
    """How far slopes may be off where a jump of `f` makes up for it, on coarser scales."""
    # All scales in one request: each of twelve would cost more than its evaluations.
    steps = np.multiply.outer(_SCALES, differences.lengths(entries)).ravel()
    each = entries[np.newaxis].repeat(len(_SCALES), axis=0).ravel()
    values = values_beside(differences, each, steps, model.base)
    third, rough = _backend.kernel.third_differences(values, _ROUNDING * model.noise, _ROUGH)
    rows = rough.nonzero()[0]
    if not len(rows):
        return np.zeros(len(entries))
    jumps = _jump_in(differences, each[rows], values[rows], steps[rows])
    real = (jumps > _ROUNDING * model.noise) & (jumps >= _OF_THIRD * third[rows])
    slopes = np.zeros(len(each))
    slopes[rows] = np.where(real, jumps / np.abs(steps[rows]), 0.0)
    most: np.ndarray = np.fmax.reduce(slopes.reshape(len(_SCALES), -1))
    return most


def _jump_in(
    differences: Differences, entries: np.ndarray, values: np.ndarray, steps: np.ndarray
) -> np.ndarray:
    """The largest jump of `f` between neighbors of equally spaced points: 0 where it has a kink."""
    rows = np.arange(len(entries))
    # The third difference around a jump is twice as large as the two beside it.
    at = np.abs(np.diff(values, 3, axis=1)).argmax(axis=1) + 1
    left = (values[rows, at] - values[rows, at - 1]) / steps
    # The slope changes from one side of the jump to the other.
    bend = ((values[rows, at + 2] - values[rows, at + 1]) / steps - left) / (2 * steps)
    start = (at - 0.5) * steps

    def off(at: np.ndarray) -> np.ndarray:
        """How far `f` is from a parabola with these slopes, but for a constant."""
        found = differences.around(entries, at, (1,)).values[:, 0]
        away: np.ndarray = found - left * at - bend / 2 * (at - start) ** 2
        return away

    low, high = at * steps, (at + 1) * steps
    change, _, _ = largest_change(off, low, high, HALVINGS)
    jump: np.ndarray = np.nan_to_num(np.abs(change))
    return jump
