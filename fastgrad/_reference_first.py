"""The functions of `_reference` for a first look at a gradient, as src/first.pxi has them in C."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import inf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad import _errors
from fastgrad._leaf import lengths_of
from fastgrad._reference_many import displace, quotients
from fastgrad._returns import as_scalar, at_block

if TYPE_CHECKING:
    from fastgrad._leaf import Leaf
    from fastgrad._memory import Fingerprint

__all__ = [
    "agreement",
    "first_bounds",
    "follow",
    "has_tiny",
    "odd_moves",
    "steepest",
    "table_noise",
]


def follow(
    f: Callable[[Any], Any],
    argument: Any,
    leaves: Sequence[Leaf],
    found: Sequence[Fingerprint],
    before: Sequence[np.ndarray],
    moves: Sequence[np.ndarray],
    times: tuple[float, ...],
    still: float,
    values: list[float],
) -> None:
    """Evaluate `f` with small plain arrays moved together, and append its values.

    Each lies at ``before + time * move`` (float64), and stays there: whoever asks puts the bits
    back. Where the first two values both equal `still`, nothing moves `f`, and no more are taken.
    """
    for time in times:
        for leaf, each, start, move in zip(leaves, found, before, moves, strict=True):
            if each.changed():  # by the evaluation before
                raise _errors.moved_error(leaf.path)
            displace(each.view, start, move, time)
        value = f(argument)
        values.append(value if type(value) is float else as_scalar(value, at_block, 0))
        if values == [still] * 2:
            break
    for leaf, each in zip(leaves, found, strict=True):
        if each.changed():
            raise _errors.moved_error(leaf.path)


def first_bounds(
    analytic: np.ndarray,
    numeric: np.ndarray,
    noise: np.ndarray,
    gaps: np.ndarray,
    scale: float,
    factors: tuple[float, ...],
) -> np.ndarray:
    """How far analytic and numeric entries may be apart after one central difference.

    All arrays are of shape (entries,), float64; `noise` is the bound on that of the numeric ones,
    and `scale` the largest entry. The factors are those of the noise, of the entry itself, of the
    largest one for its truncation and its rounding, and of the gaps of the one-sided quotients.
    """
    safety, share, truncation, rounding, condition = factors
    with np.errstate(invalid="ignore", over="ignore"):
        # The smaller of both values, so that a huge wrong one does not buy itself room.
        own = np.fmin(np.abs(analytic), np.abs(numeric))
        bound: np.ndarray = safety * noise + share * own + (truncation * scale + rounding * scale)
        bound += condition * np.abs(gaps)
    return bound


def agreement(
    analytic: np.ndarray,
    moved: np.ndarray,
    values: np.ndarray,
    base: float,
    noise: float,
    unit: float,
    factors: tuple[float, ...],
    rtol: float,
    atol: float,
    kink: float,
    power: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Numeric entries and their bounds, where nothing about a gradient is in doubt; else None.

    `moved` and `values` are those of `quotients`, and `factors` those of `first_bounds`; `rtol` and
    `atol` are granted on top. In doubt is what is not finite, does not move, or does not agree; a
    gap above the share `kink` of the largest entry, and a bound above the share `power` of it.
    """
    _, numeric, ahead, behind, bound = quotients(moved, values, base, noise, unit)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = ahead - behind
        if not (np.isfinite(analytic) & np.isfinite(numeric) & np.isfinite(gaps)).all():
            return None
        scale = float(min(np.abs(analytic).max(), np.abs(numeric).max()))
        bounds = first_bounds(analytic, numeric, bound, gaps, scale, factors)
        agrees = np.abs(analytic - numeric) <= bounds + (atol + rtol * np.abs(numeric))
        agrees &= (numeric != 0) | (gaps != 0)
        settled = np.abs(gaps).max() <= kink * scale and bounds.max() <= power * scale
    return (numeric, bounds) if settled and agrees.all() else None


def table_noise(
    values: list[float], weights: tuple[float, ...], window: int, alike: float
) -> float:
    """Noise in a table of equally spaced values, by the first order of differences that settles.

    `weights` are those of the norm of the differences of each order. A level counts if the levels
    of so many orders (`window`) from there on are `alike` to this factor, and its differences are
    not of one sign, as are those of something smooth, or of a trend in the noise.
    """
    levels: list[float] = []
    turns: list[bool] = []
    for weight in weights:
        values = [after - before for before, after in pairwise(values)]
        total = 0.0
        for value in values:
            total += value * value
        levels.append(weight * sqrt(total))
        turns.append(min(values) < 0 < max(values))
        last = levels[-window:]
        if len(last) == window and turns[-window] and max(last) <= alike * min(last):
            return last[0]
    return levels[-1]  # the smooth part, at least, is smallest here


def steepest(claimed: np.ndarray, x: np.ndarray) -> float:
    """Largest change that a gradient claims over the length of an entry, of those not infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(claimed) * lengths_of(x)
    return float(sizes.max(initial=0.0, where=sizes < inf))


def has_tiny(x: np.ndarray, below: float) -> bool:
    """Whether an entry is not zero, and smaller than this."""
    size = np.abs(x)
    return bool(np.count_nonzero((size > 0) & (size < below)))


def odd_moves(before: np.ndarray, factors: np.ndarray, width: float, odd: float) -> np.ndarray:
    """Moves by small factors (int8, one for each entry) of an odd number near `width` lengths.

    The number is `odd` times a quarter of a power of two.
    """
    _, exponents = np.frexp(width * lengths_of(before))
    with np.errstate(over="ignore"):
        moves = np.ldexp(factors.reshape(before.shape), exponents - 2, dtype=np.float64)
        return np.asarray(moves * odd)
