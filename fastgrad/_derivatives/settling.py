"""The step at which a difference with an error of second order is best, sought where it matters.

Differences at two steps show truncation, which grows as the square of the step, and noise is known:
where the first outweighs the second, the step is quartered, until one look more makes it no better.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

__all__ = ["TOLD", "VARIES", "Look", "Looks", "gaps", "grown", "settled"]

# From this share of a derivative on its error is told: two digits are left. `f`, or its gradient,
# is taken to vary by the other share of itself over a length, as in the baseline of a check.
TOLD, VARIES = 1e-2, 1e-4

# From one look to the next the step shrinks to a quarter, or grows to four times.
_RATIO = 4.0
# The first two looks are half a step apart: near enough that both are good where one is.
_FIRST = 2.0
# Truncation is told from noise where it is this many times as large; a quarter of the step makes
# truncation 16 times smaller, and the noise of a second difference 16 times larger.
_OUTWEIGHS = 16.0
# A step of a quarter of an entry stays on its side of zero, with all that lies there.
_INSIDE = 0.25
# Looks, at most: quarters down to 1e-8 of the first step, 1e-12 of the length of an entry. Smaller
# steps are below what float64 resolves beside an entry of 1.
_MOST = 14
# Noise of this share of an estimate, or of the largest one, is no reason to look farther.
_FINE = 1e-5


@dataclass(frozen=True)
class Look:
    """Differences of some positions at one step each, from values on both sides."""

    steps: np.ndarray  # (n,)
    moved: np.ndarray  # (n, 2) displacements really made
    values: np.ndarray  # (n, 2[, m]) values there
    estimate: np.ndarray  # (n[, m])
    noise: np.ndarray  # (n,) bound on what noise of the values makes of the estimate


# Differences of the positions listed, each at its own step.
Looks = Callable[[np.ndarray, np.ndarray], Look]


class _Best:
    """The best look at each position so far, with a bound on its error."""

    def __init__(self, look: Look) -> None:
        self.steps, self.moved, self.values = look.steps, look.moved, look.values
        self.estimate, self.noise = look.estimate, look.noise
        self.error = np.full(len(look.steps), np.inf)

    def offer(self, positions: np.ndarray, look: Look, error: np.ndarray) -> np.ndarray:
        """Take a look where its error is smaller; return where it is."""
        better: np.ndarray = error < self.error[positions]
        mine = positions[better]
        self.error[mine] = error[better]
        for name in ("steps", "moved", "values", "estimate", "noise"):
            getattr(self, name)[mine] = getattr(look, name)[better]
        return better

    def look(self) -> Look:
        return Look(self.steps, self.moved, self.values, self.estimate, self.noise)


def settled(
    look: Looks, positions: np.ndarray, steps: np.ndarray, sizes: np.ndarray
) -> tuple[Look, np.ndarray]:
    """Look at positions until a smaller step is no better; return looks, and bounds on errors.

    Where steps reach beyond the `sizes` of positions, there may be a pole in between, and smaller
    ones are tried whatever is found. Errors are those of the largest of the estimates of a
    position, and infinite where none is finite.
    """
    rows = np.arange(len(positions))
    last = look(positions, steps)
    found = _Best(_copy(last))
    ratio = _FIRST
    for _ in range(_MOST):
        if not len(rows):
            break
        smaller = last.steps / ratio
        new = look(positions[rows], smaller)
        gap = gaps(last.estimate, new.estimate)
        truncation = gap / (ratio**2 - 1)  # of the new one
        found.offer(rows, last, last.noise + gap + truncation)
        better = found.offer(rows, new, new.noise + truncation)
        with np.errstate(invalid="ignore"):
            enough = truncation <= _OUTWEIGHS * new.noise
        # Worse than before: a kink, a jump, or noise that was not known of.
        across = ~enough & ~better & (smaller > _INSIDE * sizes[rows])
        found.error[rows[across]] = np.inf  # what was found on the way says nothing
        again = across | (~enough & (better | ~np.isfinite(truncation)))
        rows, last, ratio = rows[again], _rows(new, again), _RATIO
    return found.look(), found.error


def grown(
    look: Looks,
    found: tuple[Look, np.ndarray],
    positions: np.ndarray,
    largest: np.ndarray,
    matters: np.ndarray,
) -> tuple[Look, np.ndarray]:
    """Look at larger steps, up to the `largest`, where noise is all that limits an estimate.

    An error below `matters` is no reason to look farther.
    """
    best = _Best(_copy(found[0]))
    best.error = found[1].copy()
    rows = np.arange(len(positions))
    last = best.look()
    while True:
        with np.errstate(invalid="ignore"):
            coarse = best.error[rows] > np.fmax(_FINE * np.abs(last.estimate), matters[rows])
            wanted = coarse & (best.error[rows] <= 2 * last.noise)
            wanted &= _RATIO * last.steps <= largest[rows]
        rows, last = rows[wanted], _rows(last, wanted)
        if not len(rows):
            return best.look(), best.error
        new = look(positions[rows], _RATIO * last.steps)
        gap = gaps(last.estimate, new.estimate)
        # What noise explains is no truncation, for which the next look asks again.
        with np.errstate(invalid="ignore"):  # where all of them are infinite
            gap = np.maximum(gap - last.noise - new.noise, 0.0)
        best.offer(rows, new, new.noise + gap * _RATIO**2 / (_RATIO**2 - 1))
        last = new


def gaps(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """How far estimates are apart, position by position: infinite where either is not finite."""
    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(one - other)
    apart[np.isnan(apart)] = np.inf
    widest: np.ndarray = apart.reshape(len(apart), -1).max(axis=1, initial=0.0)
    return widest


def _rows(look: Look, which: np.ndarray) -> Look:
    return Look(*(part[which] for part in vars(look).values()))


def _copy(look: Look) -> Look:
    return Look(*(part.copy() for part in vars(look).values()))
