"""Differences along one direction: from ever smaller steps, or by one stencil; within bounds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad._derivatives.jacobian_rows import coarser
from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.within import HIGHEST, fitting, rooms_of
from fastgrad._dtypes import EPS
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._reference_many import combined
from fastgrad._stencils import Stencil, Steps, backward, central, forward

__all__ = ["Line", "Tangent", "tangent_of"]

# From one difference to the next the step shrinks by this factor; two of them extrapolate to an
# error of fourth order, 256 times smaller at each, or of third order to one side.
_RATIO = 4.0
# Differences at least: three show the error of the first extrapolation.
_FEWEST = 3
# ... and at most: in float64 the last step is 2e-10 of the length of an entry.
_MOST = 12
# No step is shorter than this many spacings of the entries: its rounding would be the result.
_SPACINGS = 256.0
# An error of this share of a derivative is no reason to look at one more step.
_FINE = 1e-9
# The rounding of a value of `f`, in its spacings: a few operations, the last of which rounds.
_ROUNDINGS = 2.0


@dataclass(frozen=True)
class Tangent:
    """A direction as one column, in units in which the entry moves by 1 that moves farthest.

    That is farthest in its own length, ``max(1, |x|)``.
    """

    moves: np.ndarray  # (n,)
    scale: float  # how many lengths that entry moves along the direction itself
    starts: np.ndarray  # where the entries of each leaf begin

    def time(self, steps: np.ndarray) -> float:
        """When the first entry has moved by its step."""
        with np.errstate(divide="ignore", over="ignore"):
            return float((steps / np.abs(self.moves)).min())

    def direction(self, leaves: Sequence[Leaf], which: np.ndarray | None = None) -> Given:
        """How all entries move, or some that a mask tells, and the others stay."""
        regions, parts = [], []
        moves = self.moves if which is None else np.where(which, self.moves, 0.0)
        for k, leaf in enumerate(leaves):
            mine = slice(self.starts[k], self.starts[k + 1])
            if not np.count_nonzero(moves[mine]):
                continue
            shape = leaf.real.shape
            regions.append(Region(k, tuple(slice(0, n) for n in shape), shape))
            parts.append(moves[mine].reshape(shape))
        return Given(tuple(regions), tuple(parts))


def tangent_of(run: Metered, moves: Sequence[np.ndarray]) -> Tangent:
    """The moves of all leaves as one column."""
    starts = np.cumsum([0, *(move.size for move in moves)])
    column = np.concatenate([np.empty(0), *(move.reshape(-1) for move in moves)])
    lengths = [np.empty(0), *(run.scale(k) for k in range(len(moves)))]
    scale = float((np.abs(column) / np.concatenate(lengths)).max(initial=0.0))
    return Tangent(column / scale if scale else column, scale, starts)


@dataclass(frozen=True)
class _Part:
    """Entries that move together: by one stencil, with points no farther than `time` steps."""

    direction: Given
    stencil: Stencil
    time: float


class Line:
    """Differences of all that a function returns along a direction."""

    def __init__(
        self, run: Metered, outputs: Outputs, tangent: Tangent, bounds: Bounds | None
    ) -> None:
        self._run, self._outputs, self._tangent, self._bounds = run, outputs, tangent, bounds
        # Values are float64, and rounded as coarsely as the parameters and the outputs are.
        moving = (run.leaves[region.leaf] for region in tangent.direction(run.leaves).regions)
        own = [max(EPS[leaf.real.dtype.char], EPS["d"]) for leaf in moving]
        self._spacing = max([EPS[outputs.kind.char], *own])
        # Of each number: its own type tells how it is rounded.
        self._rounding = np.empty(outputs.size)
        for leaf in outputs.leaves:
            self._rounding[leaf.start : leaf.stop] = max([leaf.eps, *own])

    def extrapolated(self, base: np.ndarray) -> tuple[np.ndarray, bool]:
        """The derivatives with the smallest error, and whether nothing moved `f`."""
        first = self._spacing**0.2
        parts = self._parts((central(), forward(2), backward(2)), [first] * 3)
        found = [self._settled(part, base) for part in parts or ()]
        still = parts is not None and all(each for _, each in found)
        return self._sum(base, parts, [slope for slope, _ in found]), still

    def differenced(
        self, base: np.ndarray, stencil: Stencil, steps: Sequence[Steps] | None
    ) -> tuple[np.ndarray, bool]:
        """The same by one stencil: at the user's steps of all leaves, or automatic ones."""
        order = min(stencil.order, HIGHEST)
        choices = (stencil, forward(order), backward(order))
        times = [self._tangent.time(self._steps(each, steps)) for each in choices]
        if steps is not None:
            moves, own = self._tangent.moves, self._steps(stencil, steps)
            Positions(self._run).refuse_still(moves, own, times[0])
        parts = self._parts(choices, times)
        slopes, still = [], parts is not None
        for part in parts or ():
            values = self._values(part, [part.time])
            slopes.append(self._slope(part.stencil, part.time, values[0], base))
            still = still and all(np.array_equal(value, base) for value in values[0])
        return self._sum(base, parts, slopes), still

    def _sum(
        self, base: np.ndarray, parts: list[_Part] | None, slopes: list[np.ndarray]
    ) -> np.ndarray:
        if parts is None:
            return np.full(len(base), np.nan)
        with np.errstate(all="ignore"):
            return self._tangent.scale * sum(slopes, np.zeros(len(base)))

    def _steps(self, stencil: Stencil, steps: Sequence[Steps] | None) -> np.ndarray:
        """The step of each entry."""
        found = [np.empty(0)]
        for k, leaf in enumerate(self._run.leaves):
            if steps is None:
                dtype = coarser(leaf.real.dtype, self._outputs.kind)
                found.append(stencil.relative_step(dtype) * self._run.scale(k))
            else:
                given = steps[k].given
                found.append(np.full(leaf.real.size, steps[k].absolute) if given is None else given)
        return np.concatenate(found)

    def _parts(self, choices: Sequence[Stencil], times: Sequence[float]) -> list[_Part] | None:
        """Entries that one stencil keeps within their bounds; None if one has no room at all."""
        moves = self._tangent.moves
        moving = moves != 0
        if self._bounds is None:
            return [self._part(moving, choices[0], times[0])]
        ahead, behind = self._rooms(self._bounds)
        which, reach = fitting(choices, [np.full(len(moves), t) for t in times], ahead, behind)
        if (which[moving] == len(choices)).any():
            return None
        parts = []
        for k, stencil in enumerate(choices):
            mine = moving & (which == k)
            # One entry with little room must not take their digits from those that have it.
            for part in (mine & (reach >= times[k]), mine & (reach < times[k])):
                if part.any():
                    parts.append(self._part(part, stencil, float(reach[part].min())))
        return parts

    def _part(self, which: np.ndarray, stencil: Stencil, time: float) -> _Part:
        return _Part(self._tangent.direction(self._run.leaves, which), stencil, time)

    def _rooms(self, bounds: Bounds) -> tuple[np.ndarray, np.ndarray]:
        """How long entries can move ahead, and back; not at all where they would not move."""
        up, down = [np.empty(0)], [np.empty(0)]
        for k, leaf in enumerate(self._run.leaves):
            found = rooms_of(bounds, k, np.arange(leaf.real.size), leaf)
            spacing = EPS[leaf.real.dtype.char] * np.abs(self._run.read(k))
            for each, room in zip((up, down), found, strict=True):
                each.append(np.where(room > spacing, room, 0.0))
        moves = self._tangent.moves
        with np.errstate(all="ignore"):
            above, below = (np.concatenate(each) / np.abs(moves) for each in (up, down))
        above[moves == 0] = below[moves == 0] = np.inf
        return np.where(moves < 0, below, above), np.where(moves < 0, above, below)

    def _settled(self, part: _Part, base: np.ndarray) -> tuple[np.ndarray, bool]:
        """Extrapolated derivatives along a part, and whether nothing moved `f`."""
        best, error = np.full(len(base), np.nan), np.full(len(base), np.inf)
        still, last, finer = True, None, None
        with np.errstate(all="ignore"):
            for level, (step, values) in enumerate(self._levels(part)):
                slope = self._slope(part.stencil, step, values, base)
                used = [*values, base] if part.stencil.uses_base else values
                largest = np.maximum.reduce([np.abs(value) for value in used])
                amplified = part.stencil.amplification * _ROUNDINGS * self._rounding
                noise = amplified * largest / step
                still = still and all(np.array_equal(value, base) for value in values)
                if last is not None:
                    before, finer = finer, slope + (slope - last) / (_RATIO**2 - 1)
                    gap = np.abs(finer - (last if before is None else before))
                    self._offer(best, error, finer, gap + noise)
                last = slope
                enough = error <= np.maximum(_FINE * np.abs(best), 4 * noise)
                if level + 1 >= _FEWEST and enough.all():
                    break
        return best, still

    def _levels(self, part: _Part) -> Iterator[tuple[float, list[np.ndarray]]]:
        """Ever smaller steps, and the values there."""
        steps = [part.time / _RATIO**level for level in range(_MOST)]
        # Two differences at any rate, one of which extrapolates the other.
        steps = [s for k, s in enumerate(steps) if k < 2 or s >= _SPACINGS * self._spacing]
        # Where others evaluate them, the first ones are asked for at once.
        ahead = min(_FEWEST, len(steps)) if self._run.batch > 1 else 1
        yield from zip(steps[:ahead], self._values(part, steps[:ahead]), strict=True)
        for step in steps[ahead:]:
            yield step, self._values(part, [step])[0]

    def _values(self, part: _Part, steps: Sequence[float]) -> list[list[np.ndarray]]:
        """The values at the points of the stencil, step by step."""
        offsets = part.stencil.offsets[part.stencil.offsets != 0].tolist()
        times = tuple(offset * step for step in steps for offset in offsets)
        with quiet():
            values = list(self._run.along(Along(part.direction, times)).values)
        return [values[k : k + len(offsets)] for k in range(0, len(values), len(offsets))]

    def _slope(
        self, stencil: Stencil, step: float, values: Sequence[np.ndarray], base: np.ndarray
    ) -> np.ndarray:
        points = stencil.offsets[np.newaxis] * step
        found: np.ndarray = combined(stencil, points, np.array(values)[np.newaxis], base)[0]
        return found

    def _offer(
        self, best: np.ndarray, error: np.ndarray, estimate: np.ndarray, bound: np.ndarray
    ) -> None:
        better = bound < error
        best[better], error[better] = estimate[better], bound[better]
