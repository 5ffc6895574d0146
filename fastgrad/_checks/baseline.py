"""Measures `f` before any entry is judged: whether it is repeatable, its noise, the first steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from fastgrad._checks.claim import Analytic
from fastgrad._derivatives import noise
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.direction import Direction, Jumps, PowersOfTwo, Proportional, Region
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._leaf import Leaf, lengths_of, thin_box

__all__ = ["MOST_MOVED", "Baseline", "Trouble", "measure_baseline", "moves_in_jumps"]

# Along the direction for noise, this many entries of a leaf are moved at most: 512 KiB, so that the
# table of a large model costs little beside its evaluations.
MOST_MOVED = 2**16
# Spacings of the table, relative to the entries' lengths, tried until the values differ. The least
# first, where f is smooth: 2^-40 is 4096 spacings of float64; 2^-20 is 8 of float32, and 2^-12 of
# float16 is a quarter of one, which `PowersOfTwo` lifts to 4.
_SPACINGS = (2.0**-40, 2.0**-30, 2.0**-20, 2.0**-12)
# The same relative to the entries themselves, where these are tiny: the least, and one at which a
# single term of a sum moves it.
_PROPORTIONS = (2.0**-40, 2.0**-6)
# An entry below this many of the least spacings is tiny: the table would cross zero with it.
_TINY_SPACINGS = 64.0
# Moves far enough to change what f rounds away beside the point: a length, and 64 of them.
_FAR, _FAR_TIMES = 0.25, ((1.0, -64.0), (64.0, -64.0))
# Noise above this share of the values: neighboring points have little to do with each other, and
# float32, at 6e-8, is far below.
_COARSE = 1e-3
# Two calls may differ by this share of the value: the order of summation in threads, say, is 1e-7
# in float32, and 1e-5 in a sum of 10,000 terms. Dropout and fresh batches change more than 1e-3.
_REPEATS = 1e-5
# f is taken to vary by at least this share of its value over a length: otherwise the step grows
# without need where the gradient claimed is zero.
_LEAST_VARIATION = 1e-4
# The value that came with the gradient may be off by this many standard deviations of the noise,
# or by this share: it is computed by other code, in another order.
_OFF_NOISE, _OFF_SHARE = 64.0, 1e-12
# Moves in search of jumps, in parts of half a length, both ways; so that bins up to a length wide
# are left at least once.
_JUMP_TIMES = (1e-3, 1e-2, 0.1, -0.1, 0.3, -0.3, 1.0, -1.0)
# The first change is sudden if it is this share of the largest: a smooth f that does not move at a
# step of 1e-5 changes by far less at 1e-3 than at 1.
_SUDDEN = 1e-2
# Further along by this share f must stand still between jumps: beyond rounding, below any bin.
_BESIDE = 1e-7
# Noise is at least the smallest normal number, so that no step and no bound is zero.
_TINY = float(np.finfo(float).tiny)
# Where the points of the table lie, in spacings; `base` is the one at 0.
_TIMES = tuple(float(k) for k in range(1, noise.POINTS))


class Trouble(Enum):
    """Why no difference of `f` says anything about the gradient."""

    NOT_FINITE = auto()
    NOT_REPEATABLE = auto()
    OTHER_VALUE = auto()  # than the one that came with the gradient
    DRIFTED = auto()


@dataclass(frozen=True)
class Baseline:
    """`f` at the unperturbed parameters: two values, their noise, and the first step to take."""

    base: float
    again: float
    noise: float
    unit: float  # relative rounding of the values
    relative: tuple[float, ...]  # first step of each leaf, over the entries' lengths
    trouble: Trouble | None
    value: float | None = None  # what came with the gradient
    last: float = math.nan  # once more, after all other evaluations


def measure_baseline(run: Metered, analytic: Analytic, base: float, seed: int) -> Baseline:
    """Evaluate `f` once more, and along one random direction, and choose each leaf's step."""
    again = float(run.base()) if math.isfinite(base) else base
    trouble = _trouble(base, again)
    if trouble:
        return Baseline(base, again, abs(base - again), noise.rounding_unit(()), (), trouble)
    regions = tuple(_thinned(k, leaf) for k, leaf in enumerate(run.leaves) if leaf.real.size)
    x = [run.read(region.leaf, region.box) for region in regions]
    values, measured, unit = _table(run, regions, x, base, seed)
    if measured is None:  # near the edge of the domain, or nothing moves f: rounding is left
        measured = unit * max(abs(value) for value in values if math.isfinite(value))
    # Two calls that differ show noise that a table may miss, as of a busy thread.
    level = max(measured, abs(base - again), _TINY)
    variation = max(_variation(analytic, regions, x), _LEAST_VARIATION * abs(base))
    relative = tuple(
        noise.relative_step(level, variation, eps_of(leaf.real)) for leaf in run.leaves
    )
    value = analytic.value
    # Negated, so that a value of NaN is another value.
    other = value is not None and not (
        abs(value - base) <= max(_OFF_NOISE * level, _OFF_SHARE * abs(base))
    )
    trouble = Trouble.OTHER_VALUE if other else None
    return Baseline(base, again, level, unit, relative, trouble, value)


def _trouble(base: float, again: float) -> Trouble | None:
    if not math.isfinite(base):
        return Trouble.NOT_FINITE
    if not abs(base - again) <= _REPEATS * max(abs(base), abs(again)):
        return Trouble.NOT_REPEATABLE
    return None


def _thinned(number: int, leaf: Leaf) -> Region:
    shape = leaf.real.shape
    return Region(number, thin_box(shape, MOST_MOVED), shape)


def _along(
    run: Metered, direction: Direction, times: Sequence[float], still: float | None = None
) -> list[float]:
    return list(map(float, run.along(Along(direction, tuple(times), still)).values))


def _table(
    run: Metered, regions: tuple[Region, ...], x: Sequence[np.ndarray], base: float, seed: int
) -> tuple[list[float], float | None, float]:
    """Values at equally spaced points along a random direction, `base` first.

    With them their noise, unless the table is incomplete, and the rounding of the values.
    """
    values = [base]
    for width in _SPACINGS:
        values = [base, *_along(run, PowersOfTwo(seed, regions, width), _TIMES, still=base)]
        if values == [base] * 3:  # `still` ended it: this spacing moves nothing
            continue
        if noise.varies(values) or not all(map(math.isfinite, values)):
            break
    if len(values) < noise.POINTS:
        # Nothing moves f here: what is lost in the rounding of its values elsewhere may still be.
        for same_sign, times in zip((False, True), _FAR_TIMES, strict=True):
            values += _along(run, PowersOfTwo(seed, regions, _FAR, same_sign), times)
        return values, None, _noise(values)[1]  # not equally spaced
    level, unit = _noise(values)
    # Values that have little to do with each other look like noise, and may be a steep f.
    if _coarse(values, level) or any(map(_some_tiny, x)):
        # f may vary within that spacing, and so the moves must be as tiny as the parameters.
        for share in _PROPORTIONS:
            finer = [base, *_along(run, Proportional(regions, share), _TIMES)]
            finer_level, finer_unit = _noise(finer) if noise.varies(finer) else (None, unit)
            if finer_level is not None and (level is None or finer_level < level):
                return finer, finer_level, finer_unit
    return values, level, unit


def _some_tiny(x: np.ndarray) -> bool:
    """Whether an entry is so small that the moves may cross what happens between it and zero."""
    size = np.abs(x)
    return bool(np.count_nonzero((size > 0) & (size < _TINY_SPACINGS * _SPACINGS[0])))


def _noise(values: list[float]) -> tuple[float | None, float]:
    """Noise of a table, if it is complete, and the rounding of its values."""
    finite = [value for value in values if math.isfinite(value)]
    unit = noise.rounding_unit(finite)
    complete = len(values) == len(finite) == noise.POINTS
    return (noise.noise_of(values, unit) if complete else None), unit


def _coarse(values: list[float], level: float | None) -> bool:
    """Whether values at neighboring points have little to do with each other."""
    return level is not None and level > _COARSE * max(map(abs, values))


def _variation(analytic: Analytic, regions: Sequence[Region], x: Sequence[np.ndarray]) -> float:
    """How much `f` varies over the length of an entry, going by the gradient that is claimed."""
    largest = 0.0
    for region, part in zip(regions, x, strict=True):
        span = analytic.spans[region.leaf]
        claimed = analytic.column[span.start : span.stop]
        if len(part) < len(claimed):
            claimed = claimed.reshape(region.shape)[region.box].ravel()
        # Infinities and NaN in the gradient are wrong, and no reason for a larger step.
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = np.abs(claimed) * lengths_of(part)
        most = float(sizes.max(initial=0.0))
        if not most < math.inf:
            most = float(sizes.max(initial=0.0, where=sizes < math.inf))
        largest = max(largest, most)
    return largest


def moves_in_jumps(run: Metered, leaf: int, base: float, seed: int) -> bool:
    """Whether a leaf that small steps do not move `f` with does so by sudden jumps."""
    direction = Jumps(seed, (_thinned(leaf, run.leaves[leaf]),))
    values = _along(run, direction, _JUMP_TIMES)
    moved = [i for i, v in enumerate(values) if math.isfinite(v) and v != base]
    if not moved:
        return False
    first = moved[0]
    sudden = abs(values[first] - base) >= _SUDDEN * max(abs(values[i] - base) for i in moved)
    # Between jumps f stands still; one that is steep, and not sudden, moves on.
    further = (_JUMP_TIMES[first] * (1 + _BESIDE),)
    return sudden and _along(run, direction, further) == [values[first]]
