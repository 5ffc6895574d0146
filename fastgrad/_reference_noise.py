"""The functions of `_reference` that tell noise from values, as src/noise.pxi has them in C."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

__all__ = [
    "NoiseRules",
    "StepRules",
    "heights",
    "noise_of",
    "noise_table",
    "relative_step",
    "rounding_unit",
]


class NoiseRules(NamedTuple):
    """What decides how noise and rounding are told from values: `_derivatives.noise` says why."""

    weights: tuple[float, ...]  # of the norm of the differences of each order
    window: int  # neighboring orders whose estimates must agree ...
    alike: float  # ... and to within which factor
    single: float  # unit roundoff of float32
    double: float  # ... and of float64
    single_bits: int  # of float32
    exponent: int  # of float32, at most
    short_bits: int  # values of so few bits say nothing of their type
    counts: float  # whole numbers below this neither
    digits: int  # decimal numbers have at most so many
    different: int  # values, of which decimal numbers have at least so many
    binary_bits: int  # values of so few bits are binary fractions, and not decimal
    shows: float  # rounding shows in the differences of values, to within this factor ...
    steps: float  # ... where they lie more than this many roundings apart
    coarse: float  # noise of more than this many roundings is coarse ...
    move: float  # ... if it is more than this share of how far the values move


class StepRules(NamedTuple):
    """What bounds a first step: `_derivatives.noise` says why."""

    least: float  # relative to the entry's length
    spacings: float  # the least one in units of the spacing of the parameter's type
    largest: float  # as the least


def relative_step(noise: float, variation: float, eps: float, rules: StepRules) -> float:
    """The step that suits noise, and a function that varies by so much over an entry's length.

    It is relative to that length; `eps` is the spacing of the parameter's type.
    """
    ratio = 3.0 * noise / variation if variation > 0 else 0.0
    least = max(rules.least, rules.spacings * eps)
    return float(min(max(ratio ** (1 / 3), least), max(rules.largest, least)))


def noise_table(values: list[float], least: float, rules: NoiseRules) -> tuple[float, float, bool]:
    """Noise of equally spaced values, their relative rounding, and whether the noise is coarse.

    The noise is at least what is known to be lost in rounding, `least`. There are as many finite
    values as there are weights, and one. Coarse is what is more than rounding, and not far below
    what moves the values away from the first one.
    """
    unit = _unit_of_table(values, rules)
    level = max(noise_of(values, unit, rules), least)
    rounding = max(unit * max(map(abs, values)), least)
    moved = max(max(values) - values[0], values[0] - min(values))
    return level, unit, level > rules.coarse * rounding and level > rules.move * moved


def noise_of(values: list[float], unit: float, rules: NoiseRules) -> float:
    """Noise in equally spaced values, as a standard deviation; at least `unit` of the largest."""
    # Scaled, so that squares of large values do not overflow.
    largest = max(map(abs, values))
    if largest == 0.0:
        return 0.0
    return max(_from_table([value / largest for value in values], rules), unit) * largest


def _unit_of_table(values: list[float], rules: NoiseRules) -> float:
    """Relative rounding error of equally spaced values of a function.

    Values of a straight line through round points lack bits as well: where they are rounded to
    float32, their differences show it.
    """
    unit, largest = rounding_unit(values, rules), max(map(abs, values))
    if unit != rules.single or len(values) <= len(rules.weights) or not 0 < largest < math.inf:
        return unit
    scaled = [value / largest for value in values]
    # A few roundings in each step may be as many in all.
    step = max(abs(after - before) for before, after in pairwise(scaled))
    shows = step < rules.steps * unit or _from_table(scaled, rules) > unit / rules.shows
    return unit if shows else rules.double


def rounding_unit(values: Sequence[float], rules: NoiseRules) -> float:
    """Relative rounding error of numbers as precise as these."""
    for value in values:  # mostly the first one tells
        if not _has_bits(rules.single_bits, value, rules):
            return _rounding_of_decimals(values, rules)
    # Float32 is recognized by its lack of bits, which short or equal values lack in any type.
    short = all(
        _has_bits(rules.short_bits, value, rules)
        or (value.is_integer() and abs(value) < rules.counts)
        for value in values
    )
    return rules.double if short or len(set(values)) < 2 else rules.single


def _rounding_of_decimals(values: Sequence[float], rules: NoiseRules) -> float:
    """Relative rounding error of numbers that came as text, with some number of digits."""
    for value in values:
        if _digits(value) > rules.digits:
            return rules.double
    if len(set(values)) < rules.different:
        return rules.double
    if all(_has_bits(rules.binary_bits, value, rules) for value in values):
        return rules.double
    return float(0.5 * 10.0 ** (1 - max(map(_digits, values))))


def _digits(value: float) -> int:
    """How many significant decimal digits say which number it is."""
    mantissa = repr(abs(value)).partition("e")[0]
    return len(mantissa.replace(".", "").strip("0"))


def _has_bits(bits: int, value: float, rules: NoiseRules) -> bool:
    """Whether a number fits into this many significant bits and the range of float32."""
    mantissa, exponent = math.frexp(value)
    return abs(exponent) < rules.exponent and math.ldexp(mantissa, bits).is_integer()


def _from_table(values: list[float], rules: NoiseRules) -> float:
    """Noise in a table of equally spaced values, by the first order of differences that settles.

    The weights are those of the norm of the differences of each order. A level counts if the levels
    of so many orders (`window`) from there on are `alike` to this factor, and its differences are
    not of one sign, as are those of something smooth, or of a trend in the noise.
    """
    levels: list[float] = []
    turns: list[bool] = []
    window = rules.window
    for weight in rules.weights:
        values = [after - before for before, after in pairwise(values)]
        total = 0.0
        for value in values:
            total += value * value
        levels.append(weight * math.sqrt(total))
        turns.append(min(values) < 0 < max(values))
        last = levels[-window:]
        if len(last) == window and turns[-window] and max(last) <= rules.alike * min(last):
            return last[0]
    return levels[-1]  # the smooth part, at least, is smallest here


def heights(values: np.ndarray, weights: tuple[float, ...], alike: float) -> np.ndarray:
    """What differences of high orders along each row tell of its noise, of shape (2, n).

    `values` is of shape (n, points). The orders are the highest ones but for the last, of which
    there is one number: as many as `weights`, by which the root mean squares are multiplied. The
    first row is that of the lowest order where all are within the factor `alike` of each other,
    and the signs of any order change; 0 elsewhere, and NaN where a value is not finite. The second
    is the largest of all orders.
    """
    first = values.shape[1] - 1 - len(weights)
    with np.errstate(all="ignore"):
        table, levels, turned = values, [], np.zeros(len(values), bool)
        for _ in range(first - 1):
            table = table[:, 1:] - table[:, :-1]
        for weight in weights:
            table = table[:, 1:] - table[:, :-1]
            squares = table * table
            # The first one comes last, as in NumPy's own sums of a few.
            rest = squares[:, 1:].cumsum(axis=1)[:, -1]
            levels.append(weight * np.sqrt((squares[:, 0] + rest) / squares.shape[1]))
            turned |= (table.min(axis=1) < 0) & (table.max(axis=1) > 0)
        most = np.max(levels, axis=0)
        settled = turned & (most <= alike * np.min(levels, axis=0))
    found = np.array((np.where(settled, levels[0], 0.0), most))
    found[0, ~np.isfinite(values).all(axis=1)] = math.nan
    return found
