"""How noisy the values of `f` are, and what step that noise asks for.

Noise is estimated from a difference table of values at equally spaced points: smooth functions
have tiny high differences, so what is left there is noise (J. J. Moré and S. M. Wild, Estimating
computational noise, SIAM J. Sci. Comput. 33 (2011) 1292-1314).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from math import factorial

__all__ = ["POINTS", "is_single", "noise_of", "relative_step", "rounding_unit", "varies"]

# Values in the table; their differences up to order 6 are looked at.
POINTS = 7
_WEIGHTS = [
    math.sqrt(factorial(k) ** 2 / factorial(2 * k) / (POINTS - k)) for k in range(1, POINTS)
]
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53
# Most doubles take 16 or 17 digits to write.
_FEW_DIGITS = 13
_LEAST_STEP, _LARGEST_STEP = 2.0**-30, 0.05


def varies(values: Sequence[float]) -> bool:
    """Whether the spacing was large enough for the values to differ from each other."""
    return len(set(values)) > max(len(values) // 2, 1)


def noise_of(values: Sequence[float], unit: float | None = None) -> float:
    """Noise in equally spaced values of a function, as a standard deviation.

    Not less than the rounding of the values themselves, in float32 if that is what they are:
    `unit`, where their `rounding_unit` is known.
    """
    largest = max(map(abs, values))
    if largest == 0.0:
        return 0.0
    table = _from_table([value / largest for value in values])
    return max(table, rounding_unit(values) if unit is None else unit) * largest


def rounding_unit(values: Sequence[float]) -> float:
    """Relative rounding error of numbers as precise as these."""
    if not all(_has_bits(24, value) for value in values):
        return _rounding_of_decimals(values)
    telling = len(set(values)) > 1 and not all(map(_is_short, values))
    return _SINGLE if telling else _DOUBLE


def _rounding_of_decimals(values: Sequence[float]) -> float:
    """The same for numbers that came as text, rounded to some number of digits."""
    if any(_digits(value) > _FEW_DIGITS for value in values):
        return _DOUBLE
    if all(_has_bits(32, value) for value in values):
        return _DOUBLE
    return float(0.5 * 10.0 ** (1 - max(map(_digits, values))))


def _digits(value: float) -> int:
    """How many significant decimal digits say which number it is."""
    mantissa = repr(abs(value)).partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))


def is_single(unit: float) -> bool:
    """Whether values with this relative rounding error are float32, or shorter."""
    return unit >= _SINGLE


def _is_short(value: float) -> bool:
    """Whether a number is one of those that say nothing of their format: a count, a half."""
    return _has_bits(12, value) or (value.is_integer() and abs(value) < 2**20)


def _has_bits(bits: int, value: float) -> bool:
    """Whether a format of so many significant bits, with the range of float32, holds a number."""
    mantissa, exponent = math.frexp(value)
    return abs(exponent) < 126 and math.ldexp(mantissa, bits).is_integer()


def _from_table(values: list[float]) -> float:
    """Noise by the first order of differences at which the estimates settle."""
    # Seven numbers: Python's own arithmetic is several times faster here than NumPy's.
    levels, changes_sign = [], []
    for weight in _WEIGHTS:
        values = [after - before for before, after in pairwise(values)]
        levels.append(weight * math.hypot(*values))
        changes_sign.append(min(values) < 0 < max(values))
        window = levels[-3:]
        if len(levels) > 2 and changes_sign[-3] and max(window) <= 4 * min(window):
            return window[0]
    return levels[-1]  # the smooth part, at least, is smallest here


def relative_step(noise: float, variation: float, eps: float) -> float:
    """Step of a central difference relative to the parameter's own length.

    ``(3 noise / variation)**(1/3)`` minimises the sum of truncation and noise where `f` varies by
    `variation` over that length; `eps` is the spacing of the parameter's type (H.-J. M. Shi,
    Y. Xie, M. Q. Xuan, J. Nocedal, Adaptive finite-difference interval estimation for noisy
    derivative-free optimization, SIAM J. Sci. Comput. 44 (2022) A2302-A2321).
    """
    ratio = 3.0 * noise / variation if variation > 0 else 0.0
    least = max(_LEAST_STEP, 32.0 * eps)
    return float(min(max(ratio ** (1 / 3), least), max(_LARGEST_STEP, least)))
