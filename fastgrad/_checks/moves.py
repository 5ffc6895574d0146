"""Moves of all entries of a block at once, for derivatives along directions within one leaf."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fastgrad import _backend
from fastgrad._checks.error_model import MOST_OWN, OWN_TRUNCATION, SAFETY, ErrorModel
from fastgrad._evaluation.direction import UNIT, Direction, Given, Region, Uniform
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.weighted import Weighted
from fastgrad._leaf import Box, Leaf, thin_box

__all__ = [
    "LEFT_OVER",
    "Claimed",
    "ClaimedMoves",
    "LeafClaim",
    "Moves",
    "RandomMoves",
    "Weighable",
    "WeightedMoves",
    "size_of",
]

# A factor may leave this share of the error of each part of a leaf, and its noise: truncation of
# the rows that it is taken from is well below.
LEFT_OVER = 0.05
# A typical entry is known from this many: their mean square to a tenth, where some are ten times as
# large as most.
_SOME = 2**14
# A sum with random signs stays within this many of its standard deviations, but once in 16,000.
_SIGMAS = 4.0


def size_of(box: Box) -> int:
    """How many entries a box holds."""
    return math.prod([side.stop - side.start for side in box])


class Claimed(Protocol):
    """What moves along a direction, and what is claimed of it."""

    @property
    def run(self) -> Metered:
        """What evaluates `f`."""

    @property
    def model(self) -> ErrorModel:
        """How well differences tell."""

    @property
    def whole(self) -> Box:
        """All entries."""

    def parts(self, box: Box) -> list[np.ndarray]:
        """What is claimed of some of them, region by region."""

    def largest(self, box: Box) -> float:
        """The largest claim about some of them."""


@dataclass(eq=False)
class LeafClaim:
    """One leaf, the gradient that is claimed of it, and how well differences tell."""

    run: Metered
    number: int  # of the leaf
    analytic: np.ndarray  # in the shape of leaf.real
    model: ErrorModel

    @property
    def leaf(self) -> Leaf:
        """The parameters."""
        return self.run.leaves[self.number]

    @property
    def whole(self) -> Box:
        """All entries."""
        return tuple(slice(0, n) for n in self.leaf.real.shape)

    def parts(self, box: Box) -> list[np.ndarray]:
        """What is claimed of some of them, region by region."""
        return [self.analytic[box]]

    def largest(self, box: Box) -> float:
        """The largest claim about some of them."""
        return _largest(self.analytic[box])

    def typical(self) -> float:
        """What is claimed of an entry over its length, by the root of the mean square of some."""
        box = thin_box(self.leaf.real.shape, _SOME)
        claimed = np.ascontiguousarray(self.analytic[box]).reshape(-1)
        square = _backend.kernel.slope_square(claimed, self.run.read(self.number, box))
        return math.sqrt(square / len(claimed)) if 0.0 < square < math.inf else 0.0

    def region(self, box: Box) -> Region:
        """Some of them."""
        return Region(self.number, box, self.leaf.real.shape)

    def writable(self) -> np.ndarray:
        """What is claimed, as one axis to write to: a copy where it is the user's own memory."""
        if not self.analytic.flags.writeable:
            self.analytic = self.analytic.copy()
        return self.analytic.reshape(-1)


class Moves(Protocol):
    """How the entries of a leaf move; at time t, none by much more than t lengths."""

    granted: float  # truncation at first sight, as a share of the claimed derivative
    wanted: float  # smallest residual that it shall show, if noise and truncation allow

    def direction(self, box: Box) -> Direction:
        """The move of a block."""

    def root(self, box: Box) -> float:
        """The norm of the move of a block, over the lengths of its entries, per unit of time."""

    def reach_of(self, box: Box) -> float:
        """By how much errors of one make the derivative along it wrong, all but certainly."""


class Weighable(Protocol):
    """A block of which parts may take a share each."""

    def weighted(
        self, parts: Sequence[Box], weights: Sequence[float]
    ) -> AbstractContextManager[None]:
        """Let each part of a block count as its weight says, as long as the context lasts."""


class WeightedMoves(Moves, Weighable, Protocol):
    """Moves of which parts of a block are moved by their weights times as far."""


class RandomMoves:
    """Random directions, one after the other."""

    granted, wanted = 0.0, math.inf

    def __init__(self, claim: LeafClaim, seed: int) -> None:
        self._claim, self._seed, self._turn = claim, seed, 0
        self._without: tuple[Box, ...] = ()
        self._shares: tuple[tuple[Box, ...], tuple[float, ...]] | None = None

    def turn_to(self, turn: int, without: tuple[Box, ...]) -> None:
        """Take the random direction of this number, along which the boxes `without` stay still."""
        self._turn, self._without = turn, without

    @contextmanager
    def weighted(self, parts: Sequence[Box], weights: Sequence[float]) -> Iterator[None]:
        """See `WeightedMoves`."""
        self._shares = tuple(parts), tuple(weights)
        try:
            yield
        finally:
            self._shares = None

    def direction(self, box: Box) -> Direction:
        """See `Moves`."""
        moves = self._uniform(box)
        return Weighted(moves, *self._shares) if self._shares else moves

    def _uniform(self, box: Box) -> Uniform:
        region = self._claim.region(box)
        return Uniform(self._seed, self._turn, (region,), (1.0,), self._without)

    def root(self, box: Box) -> float:
        """See `Moves`."""
        if self._shares is None:
            return math.sqrt(size_of(box))
        parts = zip(*self._shares, strict=True)
        return math.sqrt(sum(weight**2 * size_of(part) for part, weight in parts))

    def reach_of(self, box: Box) -> float:
        """See `Moves`: they have random signs, and so the sum does."""
        with np.errstate(over="ignore"):
            return _SIGMAS * float(np.linalg.norm(self._claim.run.scale(self._claim.number, box)))

    def reach(self, entries: np.ndarray) -> np.ndarray:
        """How far each of these entries moves per unit of time."""
        parts = UNIT * np.abs(self._uniform(self._claim.whole).at(0, entries).astype(np.float64))
        with np.errstate(over="ignore"):
            parts *= self._claim.run.scale(self._claim.number, entries)
        return parts


class ClaimedMoves:
    """Moves along the gradient that is claimed, over the lengths of the entries.

    The derivative along it is that of a random direction times the root of the number of entries:
    a factor that noise hides from those is seen here.
    """

    wanted = math.inf

    def __init__(self, claim: LeafClaim) -> None:
        self._claim = claim
        truncation = min(OWN_TRUNCATION * claim.model.relative**2, MOST_OWN)
        # What the user grants may be a factor.
        self.granted = max(truncation, SAFETY * claim.model.rtol)
        lengths = claim.run.scale(claim.number).reshape(claim.analytic.shape)
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            # In place, as they may be large: slopes, then shares of a length, then moves.
            moves = claim.analytic / (_largest(claim.analytic) or 1.0)
            moves *= lengths
            steepest = _largest(moves)
            moves /= steepest or 1.0
            self._root = float(np.linalg.norm(moves))
            moves *= lengths
        self._moves = moves
        # Also where lengths overflow.
        self.usable = 0.0 < steepest < math.inf and _largest(moves) < math.inf

    def direction(self, box: Box) -> Given:
        """See `Moves`."""
        return Given((self._claim.region(box),), (self._moves[box],))

    def root(self, box: Box) -> float:
        """See `Moves`."""
        if box == self._claim.whole:
            return self._root
        moves = self._moves[box]
        lengths = self._claim.run.scale(self._claim.number, box).reshape(moves.shape)
        with np.errstate(under="ignore"):
            return float(np.linalg.norm(moves / lengths))

    def reach_of(self, box: Box) -> float:
        """See `Moves`: errors may have the signs of the gradient."""
        with np.errstate(over="ignore"):
            return float(np.abs(self._moves[box]).sum())


def _largest(values: np.ndarray) -> float:
    """Largest absolute value, NaN if there is one, without a temporary."""
    return max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
