"""Estimates the noise in values of `f`, and the step for differences of such values.

Noise is estimated from a difference table of values at equally spaced points: smooth functions
have tiny high differences, so what is left there is noise (J. J. Moré and S. M. Wild, Estimating
computational noise, SIAM J. Sci. Comput. 33 (2011) 1292-1314).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from math import factorial
from typing import Any

import numpy as np

from fastgrad import _backend, _reference_noise
from fastgrad._reference_noise import NoiseRules, StepRules

__all__ = [
    "COARSE_MOVE",
    "COARSE_ROUNDINGS",
    "POINTS",
    "RULES",
    "SIGMAS",
    "STEP_RULES",
    "is_single",
    "least_different",
    "most_noise_beside",
    "noise_beside",
    "noise_of",
    "noise_table",
    "relative_step",
    "rounding_unit",
    "varies",
]

# A bound on noise is this many of its standard deviations: normal noise exceeds it once in 16,000
# values, and the rounding of one operation, which is uniform, never beyond sqrt(3).
SIGMAS = 4.0
# Values in the difference table: what Moré and Wild recommend. They give orders up to 6, of which
# the first three that agree are taken.
POINTS = 7
# Standard deviation of k-th differences to that of the values: ``sqrt((k!)^2 / (2k)!)``, over the
# root of their number (Moré and Wild, eq. 1.2).
_WEIGHTS = tuple(
    math.sqrt(factorial(k) ** 2 / factorial(2 * k) / (POINTS - k)) for k in range(1, POINTS)
)
# Neighboring orders of differences whose estimates must agree, and the factor to within which:
# both as in Moré and Wild's ECNoise.
_ORDERS, _AGREE = 3, 4.0
# Differences from this order on count as noise beside a point: smooth functions have small ones.
_SMOOTH_UP_TO = 3
# Standard deviation of k-th differences to that of the values, as above, from that order on.
_SMOOTH_WEIGHTS = tuple(
    math.sqrt(factorial(k) ** 2 / factorial(2 * k)) for k in range(_SMOOTH_UP_TO, POINTS - 1)
)
# Unit roundoff of float32 and float64.
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53
# Significant bits of float32, which tell whether values are of that type.
_SINGLE_BITS = 24
# Exponents of float32's normal range are at most this, with one spare bit.
_SINGLE_EXPONENT = 126
# Values of at most this many bits say nothing of their type: counts, halves, quarters, and straight
# lines through them, for moves of 11 bits, up to six of them, in three sizes. One value in 64 of
# float32 with random bits has 18 by chance, and all must.
_SHORT_BITS = 18
# Whole numbers up to this are counts as well, whatever their bits.
_LARGEST_COUNT = 2**20
# Digits up to which values are taken for decimal numbers that were printed and read again: one
# double in 1,000 has as few by chance, and so must at least four different values: one round value,
# such as 0.1 or -0.13, says nothing of how the others are rounded.
_FEW_DIGITS, _DIFFERENT = 13, 4
# Values that fit into this many bits are binary fractions, and their few digits mean nothing.
_BINARY_BITS = 32
# Least and largest first step, relative to the entry's length. At 2^-30 one rounding of `f` makes
# 2^-23 = 1.2e-7 of `f` over the length, the errors that matter at all (MATERIAL); at 0.05 the
# truncation of ``exp(7 x)`` is 2 % (MOST_OWN), and what varies faster could not be judged.
_LEAST_STEP, _LARGEST_STEP = 2.0**-30, 0.05
# The least step in units of the spacing of the parameter's type, for short types: a step of 32
# spacings is exact to 1.6 %, and the displacement really made is what is divided by.
_LEAST_SPACINGS = 32.0
# Rounding that is that of the values shows in their differences, to within this factor.
_SHOWS = 256.0
# ... where the values lie more than this many roundings apart.
_FEW_STEPS = 128.0
# Noise above this many roundings of the values is coarse, for sums of a million terms are rounded a
# thousand times.
COARSE_ROUNDINGS = 1024.0
# ... unless it is below this share of what moves the values, as where large terms cancel.
COARSE_MOVE = 3e-4

# All of these, as the kernel is handed them.
RULES = NoiseRules(
    weights=_WEIGHTS,
    window=_ORDERS,
    alike=_AGREE,
    single=_SINGLE,
    double=_DOUBLE,
    single_bits=_SINGLE_BITS,
    exponent=_SINGLE_EXPONENT,
    short_bits=_SHORT_BITS,
    counts=float(_LARGEST_COUNT),
    digits=_FEW_DIGITS,
    different=_DIFFERENT,
    binary_bits=_BINARY_BITS,
    shows=_SHOWS,
    steps=_FEW_STEPS,
    coarse=COARSE_ROUNDINGS,
    move=COARSE_MOVE,
)
STEP_RULES = StepRules(least=_LEAST_STEP, spacings=_LEAST_SPACINGS, largest=_LARGEST_STEP)


def varies(values: Sequence[float]) -> bool:
    """Whether the spacing was large enough for the values to differ from each other."""
    return len(set(values)) > least_different(len(values))


def least_different(count: int) -> int:
    """With more different ones than this, so many values vary."""
    return max(count // 2, 1)


def noise_table(values: list[float], least: float = 0.0) -> tuple[float, float, bool]:
    """Noise of `POINTS` equally spaced values, their relative rounding, and whether it is coarse.

    The noise is a standard deviation, at least the rounding of the values themselves, in float32
    if that is what they are, and at least what is known to be lost in rounding, `least`.
    """
    found: tuple[float, float, bool] = _backend.kernel.noise_table(values, least, RULES)
    return found


def noise_of(values: list[float]) -> float:
    """Noise in equally spaced values, `POINTS` or more, whose differences may not show rounding."""
    found: float = _backend.kernel.noise_of(values, rounding_unit(values), RULES)
    return found


def rounding_unit(values: Sequence[float]) -> float:
    """Relative rounding error of numbers as precise as these."""
    return _reference_noise.rounding_unit(values, RULES)


def is_single(unit: Any) -> Any:
    """Whether values with this relative rounding error are float32; elementwise."""
    return unit == _SINGLE


def noise_beside(values: np.ndarray) -> np.ndarray:
    """Noise in equally spaced values of many functions on one side of a point, as deviations.

    `values` is of shape (n, points), a row for each function. 0 where the differences of third and
    higher order shrink, or do not change sign, as those of a smooth function; NaN where a value is
    not finite.
    """
    found: np.ndarray = _backend.kernel.heights(values, _SMOOTH_WEIGHTS, _AGREE)[0]
    return found


def most_noise_beside(values: np.ndarray) -> np.ndarray:
    """The same, whatever differences of higher order look like: at most so much noise is in them.

    Infinite where values stand still, as of an `f` that rounds its input, or are not finite.
    """
    found: np.ndarray = _backend.kernel.heights(values, _SMOOTH_WEIGHTS, _AGREE)[1]
    moves = (np.diff(values, axis=1) != 0).sum(axis=1) > values.shape[1] // 2
    found[~moves | ~np.isfinite(values).all(axis=1)] = np.inf
    return found


def relative_step(noise: float, variation: float, eps: float) -> float:
    """Step of a central difference relative to the parameter's own length.

    ``(3 noise / variation)**(1/3)`` minimizes the sum of truncation and noise where `f` varies by
    `variation` over that length; `eps` is the spacing of the parameter's type (H.-J. M. Shi,
    Y. Xie, M. Q. Xuan, J. Nocedal, Adaptive finite-difference interval estimation for noisy
    derivative-free optimization, SIAM J. Sci. Comput. 44 (2022) A2302-A2321).
    """
    return _reference_noise.relative_step(noise, variation, eps, STEP_RULES)
