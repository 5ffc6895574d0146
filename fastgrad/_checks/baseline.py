"""Measures `f` before any entry is judged: whether it is repeatable, its noise, the first steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple

import numpy as np

from fastgrad import _backend
from fastgrad._checks.claim import Analytic
from fastgrad._checks.error_model import ErrorModel
from fastgrad._derivatives import noise
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.direction import (
    Direction,
    OddMultiples,
    Proportional,
    Region,
    odd_width,
)
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._leaf import Leaf, thin_box

__all__ = [
    "LEAST_VARIATION",
    "MOST_MOVED",
    "NO_VALUE",
    "SPACINGS",
    "TIMES",
    "TINY",
    "TINY_ENTRY",
    "WILD",
    "Baseline",
    "NoiseTable",
    "Trouble",
    "measure_baseline",
    "noise_table",
]

# Along the direction for noise, this many entries of a leaf are moved at most: 512 KiB, so that the
# table of a large model costs little beside its evaluations.
MOST_MOVED = 2**16
# Spacings of the table, relative to the entries' lengths, tried until the values differ. The least
# first, where f is smooth: 2^-40 is 4096 spacings of float64; 2^-20 is 8 of float32, and 2^-12 of
# float16 is a quarter of one, which `OddMultiples` lifts to 4.
SPACINGS = (2.0**-40, 2.0**-30, 2.0**-20, 2.0**-12)
# Where leaves are thinned, spacings are left out at which `f` would not change by this many
# roundings of its value over the table, going by the gradient that is claimed. With few of them
# too few values differ; with 30, in a sum of ten million squares, only the last rounding shows,
# which is a tenth of all.
_ROUNDINGS = 64.0
# The same relative to the entries themselves, where these are tiny: the least, and one at which a
# single term of a sum moves it.
_PROPORTIONS = (2.0**-40, 2.0**-6)
# An entry below 64 of the least spacings is tiny: the table would cross zero with it.
TINY_ENTRY = 64.0 * SPACINGS[0]
# Moves far enough to change what f rounds away beside the point: a length, and 64 of them.
_FAR, _FAR_TIMES = 0.25, ((1.0, -64.0), (64.0, -64.0))
# Noise above this share of the values: neighboring points have little to do with each other, and
# float32, at 6e-8, is far below.
WILD = 1e-3
# Coarse noise is looked at leaf by leaf in a model of up to this many: each takes six evaluations.
_MOST_APART = 32
# Two calls may differ by this share of the value: the order of summation in threads, say, is 1e-7
# in float32, and 1e-5 in a sum of 10,000 terms. Dropout and fresh batches change more than 1e-3.
_REPEATS = 1e-5
# f is taken to vary by at least this share of its value over a length: otherwise the step grows
# without need where the gradient claimed is zero.
LEAST_VARIATION = 1e-4
# The value that came with the gradient may be off by this many standard deviations of the noise,
# or by this share: it is computed by other code, in another order.
_OFF_NOISE, _OFF_SHARE = 64.0, 1e-12
# Noise is at least the smallest normal number, so that no step and no bound is zero.
TINY = float(np.finfo(float).tiny)
# Another direction is asked where noise would not be coarse with a move this many times below what
# is claimed of a typical one: it moves `f` by as much in nine of ten cases.
_LUCK = 8.0
# How much wider a second table against the direction is: no multiple of three, which the moves are
# a third of, and exact.
_WIDER = 5.0
# Where the points of the table lie, in spacings; `base` is the one at 0.
TIMES = tuple(float(k) for k in range(1, noise.POINTS))
# What is said of a function that has no value where the check begins.
NO_VALUE = "is {base} at the unperturbed parameters; check where it is finite"


class Trouble(Enum):
    """Why no difference of `f` says anything about the gradient."""

    NOT_FINITE = auto()
    NOT_REPEATABLE = auto()
    OTHER_VALUE = auto()  # than the one that came with the gradient
    DRIFTED = auto()


class Baseline(NamedTuple):
    """`f` at the unperturbed parameters: two values, their noise, and the first step to take."""

    base: float
    again: float
    noise: float
    unit: float  # relative rounding of the values
    relative: tuple[float, ...]  # first step of each leaf, over the entries' lengths
    trouble: Trouble | None
    value: float | None = None  # what came with the gradient
    last: float = math.nan  # once more, after all other evaluations
    levels: tuple[float, ...] = ()  # noise where each leaf moves; none where nothing was measured
    sampled: float = SPACINGS[0]  # distance of the values it was told from, over the lengths
    coarse: tuple[bool, ...] = ()  # whether, as a leaf moves, its values have little in common

    def model(self, leaf: int, claim: Analytic, spacing: float) -> ErrorModel:
        """The error model of a leaf, of which `spacing` is that of its type."""
        level, relative = self.levels[leaf], self.relative[leaf]
        known = (self.base, level, self.unit, relative)
        seen = (self.sampled, self.coarse[leaf])
        return ErrorModel(*known, claim.eps[leaf], spacing, *seen, claim.rtol, claim.atol)


def measure_baseline(
    run: Metered, analytic: Analytic, base: float, seed: int, rounding: float = 0.0
) -> Baseline:
    """Evaluate `f` once more, and along one random direction, and choose each leaf's step.

    `rounding` is that of its values where it is known to be more than that of their type.
    """
    again = float(run.base()) if math.isfinite(base) else base
    trouble = _trouble(base, again)
    if trouble:
        return Baseline(base, again, abs(base - again), noise.rounding_unit(()), (), trouble)
    regions = tuple(_thinned(k, leaf) for k, leaf in enumerate(run.leaves) if leaf.real.size)
    x = [run.read(region.leaf, region.box) for region in regions]
    claims = [_claimed(analytic, region) for region in regions]
    spacings = _spacings(claims, x, base) if _is_thinned(run, x) else SPACINGS
    table = _table(run, regions, x, claims, base, seed, rounding, spacings)
    tables = [table] * len(run.leaves)
    if 1 < len(regions) <= _MOST_APART and table.coarse:
        # One leaf at which f jumps as soon as it moves hides what it does with the others.
        for region, part, claim in zip(regions, x, claims, strict=True):
            alone = (region,), [part], [claim]
            tables[region.leaf] = _table(run, *alone, base, seed, rounding, spacings)
    # Two calls that differ show noise that a table may miss, as of a busy thread.
    least = max(abs(base - again), TINY)
    levels = [max(each.level, least) for each in tables]
    level = min(levels[region.leaf] for region in regions)
    least_variation = LEAST_VARIATION * max(abs(base), table.far)
    variation = max(_variation(claims, x), least_variation)
    relative = tuple(
        noise.relative_step(levels[k], variation, eps_of(leaf.real))
        for k, leaf in enumerate(run.leaves)
    )
    return Baseline(
        base,
        again,
        level,
        table.unit,
        relative,
        Trouble.OTHER_VALUE if _is_other(analytic.value, base, level) else None,
        analytic.value,
        levels=tuple(levels),
        sampled=table.spacing,
        coarse=tuple(each.coarse for each in tables),
    )


def _trouble(base: float, again: float) -> Trouble | None:
    if not math.isfinite(base):
        return Trouble.NOT_FINITE
    if not abs(base - again) <= _REPEATS * max(abs(base), abs(again)):
        return Trouble.NOT_REPEATABLE
    return None


def _is_other(value: float | None, base: float, noise: float) -> bool:
    """Whether the value that came with the gradient is not that of `f`; NaN is not."""
    return value is not None and not (
        abs(value - base) <= max(_OFF_NOISE * noise, _OFF_SHARE * abs(base))
    )


def _thinned(number: int, leaf: Leaf) -> Region:
    shape = leaf.real.shape
    return Region(number, thin_box(shape, MOST_MOVED), shape)


def _along(
    run: Metered, direction: Direction, times: Sequence[float], still: float | None = None
) -> list[float]:
    return list(map(float, run.along(Along(direction, tuple(times), still)).values))


class NoiseTable(NamedTuple):
    """What values near the parameters say of the noise of `f`."""

    level: float  # as a standard deviation
    unit: float  # relative rounding of the values
    spacing: float  # of the points, over the entries' lengths
    coarse: bool  # whether it is more than rounding, and not far below what moves the values
    far: float = 0.0  # the largest value far away, where nothing near by moves `f`

    def is_wild(self, values: Sequence[float]) -> bool:
        """Whether values have little in common: they look like noise, and `f` may be steep."""
        return self.level > WILD * max(map(abs, values))


def _table(
    run: Metered,
    regions: tuple[Region, ...],
    x: Sequence[np.ndarray],
    claims: Sequence[np.ndarray],
    base: float,
    seed: int,
    least: float,
    spacings: Sequence[float],
) -> NoiseTable:
    """Measure noise at equally spaced points along a random direction."""
    values, width = [base], spacings[0]
    direction = OddMultiples(seed, regions, width)
    for width in spacings:
        direction = OddMultiples(seed, regions, width)
        values = _complete(run, direction, base)
        if values == [base] * 3:  # `still` ended it: this spacing moves nothing
            continue
        if noise.varies(values) or not all(map(math.isfinite, values)):
            break
    if len(values) < noise.POINTS:
        # Nothing moves f here: what is lost in the rounding of its values elsewhere may still be.
        with quiet():
            for same_sign, times in zip((False, True), _FAR_TIMES, strict=True):
                values += _along(run, OddMultiples(seed, regions, _FAR, same_sign), times)
        far = max(abs(value) for value in values if math.isfinite(value))
        return noise_table(values, width, least, equally=False)._replace(far=far)
    found = noise_table(values, width, least)
    if found.coarse:
        typical = _typical(run, direction, claims, x)
        values, found = _doubted(run, direction, typical, values, found, least)
    if found.is_wild(values) or any(map(_some_tiny, x)):
        # f may vary within that spacing, and so the moves must be as tiny as the parameters.
        for share in _PROPORTIONS:
            finer = [base, *_along(run, Proportional(regions, share), TIMES)]
            if noise.varies(finer) and all(map(math.isfinite, finer)):
                closer = noise_table(finer, width, least)
                if closer.level < found.level or not all(map(math.isfinite, values)):
                    return closer
    return found


def _doubted(
    run: Metered,
    direction: OddMultiples,
    typical: float,
    values: list[float],
    found: NoiseTable,
    least: float,
) -> tuple[list[float], NoiseTable]:
    """Values and noise where it is coarse along a direction, and need not be elsewhere."""
    base = values[0]
    if _LUCK * found.level <= noise.COARSE_MOVE * typical < math.inf:
        # By chance f moves far less along this direction than along most.
        others = _complete(run, replace(direction, seed=direction.seed + 1), base)
        other = noise_table(others, found.spacing, least)
        if not other.coarse and all(map(math.isfinite, others)):
            return others, other
    # A jump at the parameters, to one side, is no noise.
    behind = _behind(run, direction, base, found.spacing, least)
    return values, behind if behind is not None and behind.level < found.level else found


def _typical(
    run: Metered, direction: OddMultiples, claims: Sequence[np.ndarray], x: Sequence[np.ndarray]
) -> float:
    """By how much `f` is claimed to move over a table, about, with random signs of the moves."""
    square = 0.0
    for region, *both in zip(direction.regions, claims, x, strict=True):
        width, _ = odd_width(direction.width, eps_of(run.leaves[region.leaf].real))
        square += width**2 * _backend.kernel.slope_square(*both)
    return TIMES[-1] * math.sqrt(square)


def _behind(
    run: Metered, direction: Direction, base: float, width: float, least: float
) -> NoiseTable | None:
    """The noise against a direction, if `f` is finite there."""
    found = None
    # Seven values that are rounded to a grid lie on a line in one of six cases: asked twice.
    for times in (1.0, _WIDER):
        values = [base, *_along(run, direction, [-times * time for time in TIMES])]
        if not all(map(math.isfinite, values)):
            return found
        table = noise_table(values, times * width, least)
        found = table if found is None or table.level > found.level else found
        if found.coarse:
            break
    return found


def _complete(run: Metered, direction: Direction, base: float) -> list[float]:
    """The values along a direction, or against it where that leaves the domain of `f`."""
    values: list[float] = []
    for sign in (1.0, -1.0):
        times = [sign * time for time in TIMES]
        values = [base, *_along(run, direction, times, still=base)]
        if all(map(math.isfinite, values)):
            break
    return values


def noise_table(
    values: list[float], spacing: float, least: float = 0.0, *, equally: bool = True
) -> NoiseTable:
    """Noise of equally spaced values, or where they are not complete, their rounding.

    `least` is the rounding that is known: seven values that are rounded alike show none.
    """
    finite = list(filter(math.isfinite, values))
    if equally and len(values) == len(finite) == noise.POINTS:
        level, unit, coarse = noise.noise_table(values, least)
        return NoiseTable(level, unit, spacing, coarse)
    unit = noise.rounding_unit(finite)
    return NoiseTable(max(unit * max(map(abs, finite)), least), unit, spacing, coarse=False)


def _some_tiny(x: np.ndarray) -> bool:
    """Whether an entry is so small that the moves may cross what happens between it and zero."""
    found: bool = _backend.kernel_for(x).has_tiny(x, TINY_ENTRY)
    return found


def _claimed(analytic: Analytic, region: Region) -> np.ndarray:
    """What is claimed of a region's entries, in a row."""
    span = analytic.spans[region.leaf]
    claimed = analytic.column[span.start : span.stop]
    return np.ascontiguousarray(claimed.reshape(region.shape)[region.box]).reshape(-1)


def _variation(claims: Sequence[np.ndarray], x: Sequence[np.ndarray]) -> float:
    """How much `f` varies over the length of an entry, going by the gradient that is claimed."""
    # Infinities and NaN in the gradient are wrong, and no reason for a larger step.
    pairs = zip(claims, x, strict=True)
    return max((_backend.kernel.steepest(*pair) for pair in pairs), default=0.0)


def _is_thinned(run: Metered, x: Sequence[np.ndarray]) -> bool:
    """Whether not all entries are moved."""
    return sum(map(len, x)) < sum(leaf.real.size for leaf in run.leaves)


def _spacings(
    claims: Sequence[np.ndarray], x: Sequence[np.ndarray], base: float
) -> Sequence[float]:
    """The spacings of the table at which `f` is claimed to change by enough, and one at least."""
    square = sum(_backend.kernel.slope_square(*pair) for pair in zip(claims, x, strict=True))
    change, unit = TIMES[-1] * math.sqrt(square), noise.rounding_unit((base,))
    if not 0.0 < change < math.inf:  # nothing is claimed, or nothing that can be
        return SPACINGS
    found = [each for each in SPACINGS if change * each >= _ROUNDINGS * unit * abs(base)]
    return found or SPACINGS[-1:]
