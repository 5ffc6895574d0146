"""Whether `f` moves at all with parameters that small steps leave without effect, and how.

A gradient of zero looks the same where `f` does not depend on a parameter, where it is flat, and
where it is piecewise constant. Moves of up to twice the parameters' length tell these apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from fastgrad._evaluation.direction import Direction, Given, Jumps, Region
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._leaf import thin_box

__all__ = [
    "Movement",
    "Seen",
    "begins_by_jump",
    "look_far",
    "moves_in_jumps",
    "of_entries",
    "of_leaf",
]

# Moves in parts of half a length, both ways: bins up to a length wide are left at least once.
_TIMES = (1e-3, 1e-2, 0.1, -0.1, 0.3, -0.3, 1.0, -1.0)
# Changes up to this many times the noise are no move of `f`: rounding, in 16 standard deviations.
_NOTHING = 16.0
# Further along by this share a smooth `f` has gone on, and no other jump of a few is met.
_BESIDE = 1e-3
# Halvings of the interval in which `f` begins to move: from 1e-3 of a half length to 1e-7.
_HALVINGS = 12
# Behind a jump by more than this many times the noise `f` stands still, up to this share of it;
# over an eighth of the interval anything smooth goes on by an eighth.
_JUMP, _FURTHER, _STANDS = 32.0, 0.125, 0.02
# Entries moved at most: half a MiB, as for the noise.
_MOST_MOVED = 2**16


class Movement(Enum):
    """How `f` moves, as the parameters move far."""

    NONE = auto()
    SMOOTH = auto()
    JUMPS = auto()


@dataclass(frozen=True)
class Seen:
    """How `f` moved, and its change per length over the farthest move."""

    movement: Movement
    slope: float = 0.0


def of_leaf(run: Metered, leaf: int, seed: int) -> Direction:
    """A direction along which a whole leaf moves, or an even sample of a large one."""
    shape = run.leaves[leaf].real.shape
    return Jumps(seed, (Region(leaf, thin_box(shape, _MOST_MOVED), shape),))


def of_entries(run: Metered, entries: dict[int, np.ndarray], seed: int) -> Direction:
    """A direction along which some entries of some leaves move by half a length, up or down."""
    regions, moves = [], []
    for leaf, mine in entries.items():
        shape = run.leaves[leaf].real.shape
        signs = np.random.default_rng([seed, leaf]).choice((-0.5, 0.5), len(mine))
        move = np.zeros(math.prod(shape))
        move[mine] = signs * run.scale(leaf, mine)
        regions.append(Region(leaf, tuple(slice(0, n) for n in shape), shape))
        moves.append(move.reshape(shape))
    return Given(tuple(regions), tuple(moves))


def moves_in_jumps(run: Metered, leaf: int, base: float, seed: int, noise: float = 0.0) -> bool:
    """Whether a leaf that small steps do not move `f` with does so by sudden jumps."""
    return look_far(run, of_leaf(run, leaf, seed), base, noise).movement is Movement.JUMPS


def look_far(run: Metered, direction: Direction, base: float, noise: float) -> Seen:
    """Move along a direction until `f` moves, and look at how it begins to."""
    with quiet():
        values = _along(run, direction, _TIMES)
        changes = [value - base for value in values]
        moved = [k for k, change in enumerate(changes) if _is_move(change, noise)]
        if not moved:
            return Seen(Movement.NONE)
        # Over the farthest: near by, a jump at the parameters would look as steep as any slope.
        farthest = max(abs(_TIMES[k]) for k in moved)
        slope = max(2 * abs(changes[k]) for k in moved if abs(_TIMES[k]) == farthest) / farthest
        first = _TIMES[moved[0]]
        # What goes on as the move does is smooth; only what stands still may have jumped.
        beside = _along(run, direction, (first * (1 + _BESIDE),))[0] - values[moved[0]]
        if _is_move(beside, noise):
            return Seen(Movement.SMOOTH, slope)
        # Nothing moved at the smaller times, those of the same sign among them.
        still = max((abs(t) for t in _TIMES[: moved[0]] if t * first > 0), default=0.0)
        sudden = begins_by_jump(run, direction, base, noise, math.copysign(still, first), first)
        return Seen(Movement.JUMPS if sudden else Movement.SMOOTH, slope)


def begins_by_jump(
    run: Metered, direction: Direction, base: float, noise: float, low: float, high: float
) -> bool:
    """Whether `f` begins to move by a jump between two times, and stands still behind it."""
    before, after = 0.0, math.nan
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        change = _along(run, direction, (middle,))[0] - base
        if _is_move(change, noise) or not math.isfinite(change):
            high, after = middle, change
        else:
            low, before = middle, change
    if math.isnan(after):
        after = _along(run, direction, (high,))[0] - base
    jump = abs(after - before)
    if not _JUMP * noise < jump < math.inf:
        return False
    further = _along(run, direction, (high + _FURTHER * (high - low),))[0] - base
    return abs(further - after) <= _STANDS * jump


def _is_move(change: float, noise: float) -> bool:
    return math.isfinite(change) and abs(change) > _NOTHING * noise


def _along(run: Metered, direction: Direction, times: tuple[float, ...]) -> list[float]:
    return list(map(float, run.along(Along(direction, times)).values))
