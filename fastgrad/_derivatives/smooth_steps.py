"""Steps of differences of fourth order, halved where `f` varies on a smaller scale."""

from __future__ import annotations

import numpy as np

from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.sides import offsets_of

__all__ = ["smooth_steps"]

# Differences at the step h and at its half, both of fourth order, are apart by the truncation of
# the first; it is told from noise where it is this many times the bound on noise. Half the step
# makes it 16 times smaller, and noise twice as large, or four times: so it is halved once too often
# at most.
_OUTWEIGHS = 16.0
# Bounds on what noise s of values makes of slopes and curvatures of fourth order, in ``s / h`` and
# in ``s / h**2``: ``(4 + 1 / 2) / 3`` and ``(4 * 4 + 4 / 4) / 3``.
_SLOPE, _CURVATURE = 1.5, 17 / 3


def smooth_steps(
    at: Positions,
    steps: np.ndarray,
    least: np.ndarray,
    base: float,
    level: float,
    sides: np.ndarray | None = None,
) -> np.ndarray:
    """The steps of all entries, or as small ones as make truncation no more than noise.

    Even and odd parts of `f` are looked at, by its curvature and its slope, for either may have no
    truncation. An entry of which none is found keeps the step at which it is least beside noise.
    It takes six evaluations for each entry, and two for each time that a step is halved.

    Parameters
    ----------
    steps, least : (n,) array
        Where to begin, and the least steps.
    base, level : float
        The value of `f`, and the noise of its values.
    sides : (n,) array, optional
        Whether entries move to both sides (0), only up (1) or only down (-1): then by three
        evaluations each time in place of two. By default to both.
    """
    sides = np.zeros(at.count, int) if sides is None else sides
    found: np.ndarray = steps.copy()
    rows, best = np.arange(at.count), np.full(at.count, np.inf)
    far, near = (_differences(at, rows, times * steps, base, sides) for times in (2.0, 1.0))
    while len(rows):
        half = _differences(at, rows, steps / 2, base, sides)
        with np.errstate(over="ignore", invalid="ignore"):
            coarse, fine = (4 * near - far) / 3, (4 * half - near) / 3
        excess = _excess(coarse, fine, steps, level)
        better = excess < best[rows]
        best[rows[better]], found[rows[better]] = excess[better], steps[better]
        again = (excess > _OUTWEIGHS) & (steps / 2 >= least)
        rows, steps, least = rows[again], steps[again] / 2, least[again]
        far, near = near[:, again], half[:, again]
    return found


def _differences(
    at: Positions, rows: np.ndarray, steps: np.ndarray, base: float, sides: np.ndarray
) -> np.ndarray:
    """Slopes and curvatures by differences of second order: (2, n)."""
    found = np.empty((2, len(rows)))
    for side in (0, 1, -1):
        mine = np.flatnonzero(sides[rows] == side)
        if len(mine):
            part = _aside if side else _central
            found[:, mine] = part(at, rows[mine], steps[mine], base, side)
    return found


def _aside(
    at: Positions, rows: np.ndarray, steps: np.ndarray, base: float, side: int
) -> np.ndarray:
    """The same from three points on one side."""
    values = at.single(rows, steps, offsets_of(side)).values
    with np.errstate(all="ignore"):
        one, two, three = values.T
        slope = (4 * one - two - 3 * base) / (2 * side * steps)
        return np.array([slope, (2 * base - 5 * one + 4 * two - three) / steps**2])


def _central(at: Positions, rows: np.ndarray, steps: np.ndarray, base: float, _: int) -> np.ndarray:
    found = at.single(rows, steps)
    (ahead, behind), (up, down) = found.moved.T, found.values.T
    with np.errstate(all="ignore"):
        width = ahead - behind
        curved = 2.0 * ((up - base) / ahead - (down - base) / behind) / width
        return np.array([(up - down) / width, curved])


def _excess(coarse: np.ndarray, fine: np.ndarray, steps: np.ndarray, level: float) -> np.ndarray:
    """How many times as large as noise truncation is; infinite where a value is not finite."""
    with np.errstate(all="ignore"):
        noise = level * np.array([_SLOPE / steps, _CURVATURE / steps**2])
        apart = np.abs(coarse - fine)
        ratio = np.where(apart <= noise, 0.0, apart / noise)
    ratio[~np.isfinite(ratio)] = np.inf
    found: np.ndarray = ratio.max(axis=0)
    return found
