"""What has to be known of `f` before any entry is judged: its repeatability and its noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fastgrad._checks.claim import Analytic
from fastgrad._derivatives import noise
from fastgrad._evaluation.blocks import length_of, spacing, thinned
from fastgrad._evaluation.sampling import Sampler
from fastgrad._leaf import Leaf

__all__ = ["Survey", "moves_in_jumps", "survey"]

# Spacings of the table, relative to the entries' lengths, tried until the values differ.
_SPACINGS = (2.0**-40, 2.0**-30, 2.0**-20, 2.0**-12)
# The same relative to the entries themselves, where these are tiny.
_OWN_SPACINGS = (2.0**-40, 2.0**-6)
# Two calls may differ by this share of the value: the order of summation in threads, say.
_REPEATS = 1e-5
_FEW = 4096
_TINY = float(np.finfo(float).tiny)


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
    trouble: str | None


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
    variation = max(_variation(leaves, reach, analytic), 1e-4 * abs(base))
    relative = tuple(noise.relative_step(level, variation, spacing(leaf)) for leaf in leaves)
    trouble = _off_value(analytic, base, level)
    return Survey(base, again, level, unit, relative, reach, trouble)


def _trouble(base: float, again: float) -> str | None:
    if not math.isfinite(base):
        return f"`f` is {base} at the unperturbed parameters; check where it is finite"
    if not abs(base - again) <= _REPEATS * max(abs(base), abs(again)):
        return (
            f"`f` is not deterministic: two calls with the same parameters gave {base:.9g} and "
            f"{again:.9g}, {abs(base - again):.2g} apart; fix the seed, switch off dropout"
        )
    return None


def _off_value(analytic: Analytic, base: float, level: float) -> str | None:
    value = analytic.value
    if value is None or abs(value - base) <= max(64 * level, 1e-12 * abs(base)):
        return None
    return (
        f"the value that came with the gradient, {value:.9g}, is not that of `f`, {base:.9g}: "
        "they are two different functions"
    )


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
            far = _exact_moves(leaves, reach, direction, 0.25)
            values += sampler.along(far, (1.0, -64.0))
        return values, None, _noise(values)[1]  # not equally spaced
    level, unit = _noise(values)
    if _coarse(values, level) or _some_tiny(leaves):
        # f may vary within that spacing, and so the moves must be as tiny as the parameters.
        for width in _OWN_SPACINGS:
            own = [np.asarray(width * np.abs(_wide(thinned(leaf)))) for leaf in leaves]
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
    return any(np.count_nonzero((size > 0) & (size < 64 * _SPACINGS[0])) for size in sizes)


def _noise(values: list[float]) -> tuple[float | None, float]:
    """Noise of a table, if it is complete, and the rounding of its values."""
    finite = [value for value in values if math.isfinite(value)]
    unit = noise.rounding_unit(finite)
    complete = len(values) == len(finite) == noise.POINTS
    return (noise.noise_of(values, unit) if complete else None), unit


def _coarse(values: list[float], level: float | None) -> bool:
    """Whether values at neighbouring points have little to do with each other."""
    return level is not None and level > 1e-3 * max(map(abs, values))


@lru_cache(maxsize=8)
def _few_signs(seed: int, size: int) -> np.ndarray:
    # Not all of one size: along such a direction, equal slopes cancel too often.
    table = np.array([-4, -2, -1, 1, 2, 4], dtype=np.int8)
    return table[np.random.default_rng(seed).integers(0, 6, size, dtype=np.int8)]


def _signs(seed: int, size: int) -> np.ndarray:
    """A random direction of small powers of two, one byte each."""
    return _few_signs(seed, size) if size <= _FEW else _few_signs.__wrapped__(seed, size)


def _exact_moves(
    leaves: Sequence[Leaf], reach: Sequence[np.ndarray], signs: np.ndarray, width: float
) -> list[np.ndarray]:
    """Powers of two, so that adding multiples of them to the entries is exact."""
    moves, start = [], 0
    for leaf, length in zip(leaves, reach, strict=True):
        _, exponents = np.frexp(max(width, 16 * spacing(leaf)) * length)
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
    moves[which] = np.asarray(signs * (length_of(view) / 2))
    times = (1e-3, 1e-2, 0.1, -0.1, 0.3, -0.3, 1.0, -1.0)
    values = sampler.along(moves, times)
    moved = [i for i, v in enumerate(values) if math.isfinite(v) and v != base]
    if not moved:
        return False
    first = moved[0]
    sudden = abs(values[first] - base) >= 1e-2 * max(abs(values[i] - base) for i in moved)
    # Between jumps it stands still.
    return sudden and sampler.along(moves, (times[first] * (1 + 1e-7),)) == [values[first]]
