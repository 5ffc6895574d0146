"""What `f` is like at and right beside the parameters: its values, and the noise in them.

All entries move at once, so that the cost does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastgrad._derivatives import noise
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.direction import Given, Region, key_of, signs
from fastgrad._evaluation.protocol import Along, Evaluator

__all__ = ["Surroundings", "look_around"]

# Spacings of the values, relative to the entries, tried until the values differ: the least first,
# where `f` is smooth. 2^-40 is 4096 spacings of float64, and 2^-20 is 8 of float32.
_SPACINGS = (2.0**-40, 2.0**-30, 2.0**-20)
# Spacings at which noise that is larger than rounding is looked at again: `f` may only be steep.
# With 64 spacings of float64 rounding is still random; nothing limits that beside an entry of 0.
_FINER, _FINER_AT_ZERO = (2.0**-46,), (2.0**-46, 2.0**-60, 2.0**-80)
# Numbers near 1.4: twice them, or four times, no power of two is near, so that a binary grid to
# which `f` rounds its input shows.
_ODD = 1.37
# Where the values lie, in spacings; the one at 0 is that at the parameters.
_TIMES = tuple(float(k) for k in range(1, noise.POINTS))
# The moves are signs with factors of 1, 2 and 4: one way, the other way, then all entries upward
# and all downward, for functions that are defined on one side.
_WAYS = ((False, 1.0), (False, -1.0), (True, 1.0), (True, -1.0))
# Noise is at least the smallest normal number, so that no bound is 0.
_LEAST = float(np.finfo(float).tiny)


@dataclass(frozen=True)
class Surroundings:
    """Values of a vector-valued `f` at the parameters, and their noise: arrays of shape (m,)."""

    base: np.ndarray
    noise: np.ndarray  # as standard deviations
    unit: np.ndarray  # relative rounding of the values
    coarse: np.ndarray  # whether the noise is more than rounding explains
    moves: np.ndarray  # whether anything moved them here
    entries: int  # that moved together

    def with_values(self, values: np.ndarray) -> Surroundings:
        """The same, with the rounding of float64 where values at a larger step have more digits.

        Close to a zero of `f`, where terms cancel, its values have as few as those of float32.
        """
        with np.errstate(over="ignore"):
            more = (values.astype(np.float32) != values) & ~np.isnan(values)
        finer = more.any(axis=(0, 1)) & noise.is_single(self.unit)
        if not finer.any():
            return self
        return replace(self, unit=np.where(finer, noise.rounding_unit(()), self.unit))


def look_around(run: Evaluator) -> Surroundings:
    """Evaluate `f` at the parameters, and at six points or more beside them."""
    base = np.asarray(run.base())
    found = _Found.of(base)
    regions = [
        Region(k, (slice(None),) * leaf.real.ndim, leaf.real.shape)
        for k, leaf in enumerate(run.leaves)
        if leaf.real.size
    ]
    if regions and base.size:
        for spacing in _SPACINGS:
            wanted = found.open & np.isfinite(base)
            if not wanted.any():
                break
            found.take(_values(run, regions, spacing, base, wanted), wanted)
        zeros = any((run.read(region.leaf) == 0).any() for region in regions)
        for spacing in _FINER_AT_ZERO if zeros else _FINER:
            wanted = found.coarse
            if not wanted.any():
                break
            found.take(_values(run, regions, spacing, base, wanted), wanted)
    count = sum(run.leaves[region.leaf].real.size for region in regions)
    return Surroundings(
        base, np.fmax(found.level, _LEAST), found.unit, found.coarse, ~found.open, count
    )


@dataclass(frozen=True)
class _Found:
    """What is known of the noise of each output so far: arrays of shape (m,)."""

    level: np.ndarray
    unit: np.ndarray
    largest: np.ndarray  # of the values
    open: np.ndarray  # whether its values did not differ yet

    @classmethod
    def of(cls, base: np.ndarray) -> _Found:
        unit = np.array([noise.rounding_unit([value]) for value in base.tolist()])
        level = np.where(np.isfinite(base), unit * np.abs(base), np.nan)
        return cls(level, unit, np.abs(base), np.ones(base.shape, dtype=bool))

    @property
    def coarse(self) -> np.ndarray:
        """Whether there is more noise than rounding explains."""
        found: np.ndarray = ~self.open & (
            self.level > noise.COARSE_ROUNDINGS * self.unit * self.largest
        )
        return found

    def take(self, values: np.ndarray, wanted: np.ndarray) -> None:
        """Learn from equally spaced values of the wanted outputs, (points, m); NaN: none."""
        for k in np.flatnonzero(wanted & np.isfinite(values).all(axis=0)).tolist():
            column = values[:, k].tolist()
            if not noise.varies(column):
                continue
            level, unit, _ = noise.noise_table(column)
            # Of two looks the one with less noise: the other one saw what is no noise.
            if self.open[k] or level < self.level[k]:
                self.level[k], self.unit[k], self.largest[k] = level, unit, max(map(abs, column))
            self.open[k] = False


def _values(
    run: Evaluator,
    regions: Sequence[Region],
    spacing: float,
    base: np.ndarray,
    wanted: np.ndarray,
) -> np.ndarray:
    """Equally spaced values along some direction, for each output along the first that has them."""
    found = np.full((noise.POINTS, len(base)), np.nan)
    alone = sum(run.leaves[region.leaf].real.size for region in regions) == 1
    for same_sign, way in _WAYS[:2] if alone else _WAYS:
        moves = tuple(_moves(run, region, spacing, same_sign) for region in regions)
        direction = Given(tuple(regions), moves)
        values = run.along(Along(direction, tuple(way * time for time in _TIMES))).values
        taken = np.vstack([base, *values])
        fresh = np.isnan(found[0]) & np.isfinite(taken).all(axis=0)
        found[:, fresh] = taken[:, fresh]
        if not np.isnan(found[0, wanted]).any():
            break
    return found


def _moves(run: Evaluator, region: Region, spacing: float, same_sign: bool) -> np.ndarray:
    """Moves that make no rounding of their own: odd multiples of twice the spacing of the type."""
    leaf = run.leaves[region.leaf]
    x = np.abs(run.read(region.leaf))
    with np.errstate(invalid="ignore", over="ignore"):
        quantum = 2 * eps_of_double(leaf.real) * 2.0 ** np.floor(np.log2(np.where(x > 0, x, 1.0)))
        count = np.fmax(np.rint(_ODD * spacing * x / quantum), 1.0)
        moves = np.where(x > 0, (2 * np.floor(count / 2) + 1) * quantum, _ODD * spacing)
        moves = np.where(np.isfinite(moves), moves, 0.0)
    factors = signs(key_of(0, 0, region.leaf), x.size).astype(float)
    found: np.ndarray = moves * (np.abs(factors) if same_sign else factors)
    return found.reshape(region.shape)


def eps_of_double(array: np.ndarray) -> float:
    """Distance from 1 to the next number that both the array's type and float64 hold."""
    return max(eps_of(array), 2.0**-52)
