"""Estimates the noise in values of `f`, and the step for differences of such values.

Noise is estimated from a difference table of values at equally spaced points: smooth functions
have tiny high differences, so what is left there is noise (J. J. Moré and S. M. Wild, Estimating
computational noise, SIAM J. Sci. Comput. 33 (2011) 1292-1314).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from math import factorial
from typing import Any

import numpy as np

from fastgrad import _backend

__all__ = [
    "POINTS",
    "SIGMAS",
    "is_single",
    "noise_beside",
    "noise_of",
    "relative_step",
    "rounding_unit",
    "unit_of_table",
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


def varies(values: Sequence[float]) -> bool:
    """Whether the spacing was large enough for the values to differ from each other."""
    return len(set(values)) > max(len(values) // 2, 1)


def noise_of(values: Sequence[float], unit: float | None = None) -> float:
    """Noise in equally spaced values of a function, as a standard deviation.

    Not less than the rounding of the values themselves, in float32 if that is what they are:
    `unit`, where their `rounding_unit` is known.
    """
    # Scaled, so that squares of large values do not overflow.
    largest = max(map(abs, values))
    if largest == 0.0:
        return 0.0
    table = _from_table([value / largest for value in values])
    return max(table, rounding_unit(values) if unit is None else unit) * largest


def unit_of_table(values: Sequence[float]) -> float:
    """Relative rounding error of equally spaced values of a function: see `rounding_unit`.

    Values of a straight line through round points lack bits as well: where they are rounded to
    float32, their differences show it.
    """
    unit, largest = rounding_unit(values), max(map(abs, values))
    if unit != _SINGLE or len(values) < POINTS or not 0 < largest < math.inf:
        return unit
    scaled = [value / largest for value in values]
    # A few roundings in each step may be as many in all.
    step = max(abs(after - before) for before, after in pairwise(scaled))
    shows = step < _FEW_STEPS * unit or _from_table(scaled) > unit / _SHOWS
    return unit if shows else _DOUBLE


def rounding_unit(values: Sequence[float]) -> float:
    """Relative rounding error of numbers as precise as these."""
    for value in values:  # mostly the first one tells
        if not _has_bits(_SINGLE_BITS, value):
            return _rounding_of_decimals(values)
    # Float32 is recognized by its lack of bits, which short or equal values lack in any type.
    telling = len(set(values)) > 1 and not all(map(_is_short, values))
    return _SINGLE if telling else _DOUBLE


def _rounding_of_decimals(values: Sequence[float]) -> float:
    """Relative rounding error of numbers that came as text, with some number of digits."""
    for value in values:
        if _digits(value) > _FEW_DIGITS:
            return _DOUBLE
    if len(set(values)) < _DIFFERENT:
        return _DOUBLE
    if all(_has_bits(_BINARY_BITS, value) for value in values):
        return _DOUBLE
    return float(0.5 * 10.0 ** (1 - max(map(_digits, values))))


def _digits(value: float) -> int:
    """How many significant decimal digits say which number it is."""
    mantissa = repr(abs(value)).partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))


def is_single(unit: Any) -> Any:
    """Whether values with this relative rounding error are float32; elementwise."""
    return unit == _SINGLE


def _is_short(value: float) -> bool:
    """Whether a number would look the same in any format, as a count or a half does."""
    return _has_bits(_SHORT_BITS, value) or (value.is_integer() and abs(value) < _LARGEST_COUNT)


def _has_bits(bits: int, value: float) -> bool:
    """Whether a number fits into this many significant bits and the range of float32."""
    mantissa, exponent = math.frexp(value)
    return abs(exponent) < _SINGLE_EXPONENT and math.ldexp(mantissa, bits).is_integer()


def _from_table(values: list[float]) -> float:
    """Noise by the first order of differences at which the estimates settle."""
    found: float = _backend.kernel.table_noise(values, _WEIGHTS, _ORDERS, _AGREE)
    return found


def noise_beside(values: np.ndarray) -> np.ndarray:
    """Noise in equally spaced values of many functions on one side of a point, as deviations.

    `values` is of shape (n, points), a row for each function. 0 where the differences of third and
    higher order shrink, or do not change sign, as those of a smooth function; NaN where a value is
    not finite.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        table, levels, turns = values, [], []
        for k in range(1, values.shape[1]):
            table = np.diff(table, axis=1)
            if k >= _SMOOTH_UP_TO and table.shape[1] > 1:
                weight = math.sqrt(factorial(k) ** 2 / factorial(2 * k))
                levels.append(weight * np.sqrt((table**2).mean(axis=1)))
                turns.append((table.min(axis=1) < 0) & (table.max(axis=1) > 0))
        heights = np.array(levels)
        settled = heights.max(axis=0) <= _AGREE * heights.min(axis=0)
        settled &= np.array(turns).any(axis=0)
        found: np.ndarray = np.where(settled, heights[0], 0.0)
    found[~np.isfinite(values).all(axis=1)] = np.nan
    return found


def relative_step(noise: float, variation: float, eps: float) -> float:
    """Step of a central difference relative to the parameter's own length.

    ``(3 noise / variation)**(1/3)`` minimizes the sum of truncation and noise where `f` varies by
    `variation` over that length; `eps` is the spacing of the parameter's type (H.-J. M. Shi,
    Y. Xie, M. Q. Xuan, J. Nocedal, Adaptive finite-difference interval estimation for noisy
    derivative-free optimization, SIAM J. Sci. Comput. 44 (2022) A2302-A2321).
    """
    ratio = 3.0 * noise / variation if variation > 0 else 0.0
    least = max(_LEAST_STEP, _LEAST_SPACINGS * eps)
    return float(min(max(ratio ** (1 / 3), least), max(_LARGEST_STEP, least)))
