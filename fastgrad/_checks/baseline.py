"""What has to be known of `f` before any entry is judged: its repeatability and its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache

import numpy as np

from fastgrad._checks.claim import Analytic
from fastgrad._derivatives import noise
from fastgrad._evaluation.blocks import length_of, spacing, thinned
from fastgrad._evaluation.sampling import Sampler
from fastgrad._leaf import Leaf

__all__ = ["Survey", "Trouble", "moves_in_jumps", "survey"]

# Spacings of the table, relative to the entries' lengths, tried until the values differ. The least
# first, where f is smooth: 2^-40 is 4096 spacings of float64; 2^-20 is 8 of float32, and 2^-12 of
# float16 is a quarter of one, which `_exact_moves` lifts to 16.
_SPACINGS = (2.0**-40, 2.0**-30, 2.0**-20, 2.0**-12)
# The same relative to the entries themselves, where these are tiny: the least, and one at which a
# single term of a sum moves it.
_OWN_SPACINGS = (2.0**-40, 2.0**-6)
# Least move in spacings of the leaf's type, so that the smallest step of the table is 4 of them.
_LEAST_SPACINGS = 16.0
# An entry below so many of the least spacings is tiny: the table would cross zero with it.
_TINY_SPACINGS = 64.0
# Sizes in a direction. Not all of one, for along such a direction equal slopes cancel too often;
# powers of two, so that seven multiples of them are exact.
_SIZES = (-4, -2, -1, 1, 2, 4)
# Moves far enough to change what f rounds away beside the point: a length, and 64 of them.
_FAR, _FAR_TIMES = 0.25, (1.0, -64.0)
# Noise above this share of the values: neighbouring points have little to do with each other, and
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
# Directions up to this size are kept for the next check: 8 of them take 32 KiB.
_FEW = 4096
# Noise is at least the smallest normal number, so that no step and no bound is zero.
_TINY = float(np.finfo(float).tiny)


class Trouble(Enum):
    """Why no difference of `f` says anything about the gradient."""

    NOT_FINITE = auto()
    NOT_REPEATABLE = auto()
    OTHER_VALUE = auto()  # than the one that came with the gradient
    DRIFTED = auto()


@dataclass(frozen=True)
class Survey:
    """`f` at the unperturbed parameters: two values, their noise, and the first step to take.

    `lengths` are those of the entries that ``thinned(leaf)`` shows.
    """

    base: float
    again: float
    noise: float
    unit: float
    relative: tuple[float, ...]
    lengths: tuple[np.ndarray, ...]
    trouble: Trouble | None
    value: float | None = None  # what came with the gradient
    last: float = math.nan  # once more, after all other evaluations


def survey(
    sampler: Sampler, leaves: Sequence[Leaf], analytic: Analytic, base: float, seed: int
) -> Survey:
    """Evaluate `f` once more, and along one random direction, and choose each leaf's step."""
    again = sampler.base() if math.isfinite(base) else base
    trouble = _trouble(base, again)
    if trouble:
        return Survey(base, again, abs(base - again), noise.rounding_unit(()), (), (), trouble)
    reach = tuple(length_of(thinned(leaf).ravel()) for leaf in leaves)
    values, measured, unit = _table(sampler, leaves, reach, base, seed)
    if measured is None:  # near the edge of the domain, or nothing moves f
        measured = unit * max(abs(value) for value in values if math.isfinite(value))
    level = max(measured, abs(base - again), _TINY)
    variation = max(_variation(leaves, reach, analytic), _LEAST_VARIATION * abs(base))
    relative = tuple(noise.relative_step(level, variation, spacing(leaf)) for leaf in leaves)
    value = analytic.value
    bound = max(_OFF_NOISE * level, _OFF_SHARE * abs(base))
    other = value is not None and not abs(value - base) <= bound
    trouble = Trouble.OTHER_VALUE if other else None
    return Survey(base, again, level, unit, relative, reach, trouble, value)


def _trouble(base: float, again: float) -> Trouble | None:
    if not math.isfinite(base):
        return Trouble.NOT_FINITE
    if not abs(base - again) <= _REPEATS * max(abs(base), abs(again)):
        return Trouble.NOT_REPEATABLE
    return None


def _table(
    sampler: Sampler, leaves: Sequence[Leaf], reach: Sequence[np.ndarray], base: float, seed: int
) -> tuple[list[float], float | None, float]:
    """Values at equally spaced points along a random direction, `base` first.

    With them their noise, unless the table is incomplete, and the rounding of the values.
    """
    signs = _signs(seed, sum(length.size for length in reach))
    values = [base]
    for width in _SPACINGS:
        moves = _exact_moves(leaves, reach, signs, width)
        values = [base, *sampler.along(moves, range(1, noise.POINTS), dull=base)]
        if values == [base] * 3:
            continue
        if noise.varies(values) or not all(map(math.isfinite, values)):
            break
    if len(values) < noise.POINTS:
        # Nothing moves f here: what is lost in the rounding of its values elsewhere may still be.
        for direction in (signs, np.abs(signs)):
            far = _exact_moves(leaves, reach, direction, _FAR)
            values += sampler.along(far, _FAR_TIMES)
        return values, None, _noise(values)[1]  # not equally spaced
    level, unit = _noise(values)
    if _coarse(values, level) or _some_tiny(leaves):
        # f may vary within that spacing, and so the moves must be as tiny as the parameters.
        for width in _OWN_SPACINGS:
            own = [width * np.abs(_wide(thinned(leaf))) for leaf in leaves]
            finer = [base, *sampler.along(own, range(1, noise.POINTS))]
            finer_level, finer_unit = _noise(finer) if noise.varies(finer) else (None, unit)
            if finer_level is not None and (level is None or finer_level < level):
                return finer, finer_level, finer_unit
    return values, level, unit


def _wide(x: np.ndarray) -> np.ndarray:
    """As numbers of at least double precision."""
    return x.astype(np.result_type(x.dtype, np.float64), copy=False)


def _some_tiny(leaves: Sequence[Leaf]) -> bool:
    """Whether an entry is so small that the moves may cross what happens between it and zero."""
    sizes = (np.abs(thinned(leaf)) for leaf in leaves)
    return any(
        np.count_nonzero((size > 0) & (size < _TINY_SPACINGS * _SPACINGS[0])) for size in sizes
    )


def _noise(values: list[float]) -> tuple[float | None, float]:
    """Noise of a table, if it is complete, and the rounding of its values."""
    finite = [value for value in values if math.isfinite(value)]
    unit = noise.rounding_unit(finite)
    complete = len(values) == len(finite) == noise.POINTS
    return (noise.noise_of(values, unit) if complete else None), unit


def _coarse(values: list[float], level: float | None) -> bool:
    """Whether values at neighbouring points have little to do with each other."""
    return level is not None and level > _COARSE * max(map(abs, values))


@lru_cache(maxsize=8)
def _few_signs(seed: int, size: int) -> np.ndarray:
    table = np.array(_SIZES, dtype=np.int8)
    return table[np.random.default_rng(seed).integers(0, len(_SIZES), size, dtype=np.int8)]


def _signs(seed: int, size: int) -> np.ndarray:
    """A random direction of small powers of two, one byte each."""
    return _few_signs(seed, size) if size <= _FEW else _few_signs.__wrapped__(seed, size)


def _exact_moves(
    leaves: Sequence[Leaf], reach: Sequence[np.ndarray], signs: np.ndarray, width: float
) -> list[np.ndarray]:
    """Powers of two, so that adding multiples of them to the entries is exact."""
    moves, start = [], 0
    for leaf, length in zip(leaves, reach, strict=True):
        _, exponents = np.frexp(max(width, _LEAST_SPACINGS * spacing(leaf)) * length)
        exponents -= 2
        mine = signs[start : start + length.size]
        moves.append(np.ldexp(mine, exponents, dtype=np.float64).reshape(thinned(leaf).shape))
        start += length.size
    return moves


def _variation(leaves: Sequence[Leaf], reach: Sequence[np.ndarray], analytic: Analytic) -> float:
    """How much `f` varies over the length of an entry, going by the gradient that is claimed."""
    largest, start = 0.0, 0
    for leaf, length in zip(leaves, reach, strict=True):
        stop = start + leaf.real.size
        claimed = analytic.column[start:stop]
        if length.size < claimed.size:
            claimed = thinned(Leaf(leaf.path, claimed.reshape(leaf.real.shape))).ravel()
        with np.errstate(over="ignore", invalid="ignore"):
            sizes = np.abs(claimed) * length
        most = float(sizes.max(initial=0.0))
        if not most < math.inf:
            most = float(sizes.max(initial=0.0, where=sizes < math.inf))
        largest = max(largest, most)
        start = stop
    return largest


def moves_in_jumps(
    sampler: Sampler, leaves: Sequence[Leaf], which: int, base: float, seed: int
) -> bool:
    """Whether a leaf that small steps do not move `f` with does so by sudden jumps."""
    view = thinned(leaves[which])
    moves: list[np.ndarray | None] = [None] * len(leaves)
    signs = _signs(seed, view.size).reshape(view.shape)
    moves[which] = signs * (length_of(view) / 2)
    values = sampler.along(moves, _JUMP_TIMES)
    moved = [i for i, v in enumerate(values) if math.isfinite(v) and v != base]
    if not moved:
        return False
    first = moved[0]
    sudden = abs(values[first] - base) >= _SUDDEN * max(abs(values[i] - base) for i in moved)
    # Between jumps it stands still.
    return sudden and sampler.along(moves, (_JUMP_TIMES[first] * (1 + _BESIDE),)) == [values[first]]
