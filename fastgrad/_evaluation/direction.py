"""Directions along which many entries move at once, drawn where the parameters live.

A direction says which regions of which leaves move, and how. What is random in it is a function of
(seed, turn, leaf, entry), by a counter-based generator; the turn is the number of the direction. A
worker that has the parameters draws the part it needs, in any order, and nothing large is sent.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol, TypeAlias

import numpy as np

from fastgrad import _backend
from fastgrad._dtypes import EPS
from fastgrad._leaf import Box, lengths_of

__all__ = [
    "UNIT",
    "Direction",
    "Given",
    "Jumps",
    "Mover",
    "Proportional",
    "OddMultiples",
    "Region",
    "Uniform",
    "claimed_changes",
    "inside",
    "key_of",
    "odd_multiple",
    "odd_width",
    "made",
    "pieces",
    "signs",
]

# Writes a region, moved by `time`, to `target`; returns the inner product of the move really made
# with `claim`, and the sum of the squares of its terms.
Mover: TypeAlias = Callable[[np.ndarray, float, "np.ndarray | None"], tuple[float, float]]

# Random moves are integers of 16 bits in this unit: quickly drawn, and little to read.
UNIT = 2.0**-14
# Regions are moved this many entries at a time, so that intermediate results stay in the cache.
_PIECE = 2**15
# Directions of at most this many entries are remembered: a check in a tight loop draws the same one
# each time.
_FEW = 4096
_MASK = 2**64 - 1


@dataclass(frozen=True)
class Region:
    """A part of one leaf, seen as real numbers; `shape` is that of the whole leaf."""

    leaf: int
    box: Box
    shape: tuple[int, ...]

    def of(self, array: np.ndarray) -> np.ndarray:
        """The region as a view of an array of the whole leaf's shape, a 0-d one too."""
        return _view(array, self.box)


def _view(array: np.ndarray, box: Box) -> np.ndarray:
    # Without the dots the box of a 0-d array would take a number out of it.
    index: Any = (*box, ...)
    view: np.ndarray = array[index]
    return view


class Direction(Protocol):
    """Regions that move, and how."""

    @property
    def regions(self) -> Sequence[Region]:
        """What moves."""

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves a region whose entries are `before`, with the kernel for their type."""


@dataclass(frozen=True)
class Uniform:
    """Random moves of 0.5 to 1.5 lengths ``max(1, |x|)``, times a width, in either direction.

    No entry moves so little that a sum over all would hide its error, and two errors cancel by
    chance only.
    `without` are boxes, in the coordinates of the leaf, that stay where they are.
    """

    seed: int
    turn: int
    regions: tuple[Region, ...]
    widths: tuple[float, ...]
    without: tuple[Box, ...] = ()

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        region, unit = self.regions[which], UNIT * self.widths[which]
        key, strides = key_of(self.seed, self.turn, region.leaf), _strides(region.shape)
        # Numbers are those of the whole leaf: they do not depend on what stays where it is.
        parts = [
            (inside(region.box, box), sum(map(operator.mul, _starts(box), strides)))
            for box in _beside(region.box, self.without)
        ]

        def move(target: np.ndarray, time: float, claim: np.ndarray | None) -> tuple[float, float]:
            rise = square = 0.0
            for part, start in parts:
                claimed = None if claim is None else claim[part]
                numbers = key, start, strides
                made = kernel.shift(target[part], before[part], *numbers, time * unit, claimed)
                rise, square = rise + made[0], square + made[1]
            return rise, square

        return move

    def at(self, which: int, entries: np.ndarray) -> np.ndarray:
        """The moves of some entries of a region's leaf, in units of `UNIT`."""
        region = self.regions[which]
        key = key_of(self.seed, self.turn, region.leaf)
        out = np.empty((len(entries), 1, 1), np.int16)  # entries are few: each is a call
        for row, entry in zip(out, entries.tolist(), strict=True):
            _backend.kernel.draw(row, key, entry, 0)
        index = np.unravel_index(entries, region.shape) if region.shape else ()
        for box in self.without:
            inside = np.ones(len(entries), bool)
            for i, side in zip(index, box, strict=True):
                inside &= (i >= side.start) & (i < side.stop)
            out[inside] = 0
        return out.reshape(-1)


def inside(box: Box, part: Box) -> Any:
    """A part of a box as an index of the box, also of one without axes."""
    pairs = zip(box, part, strict=True)
    # Without the dots the index of a 0-d array would take a number out of it.
    return (*(slice(b.start - a.start, b.stop - a.start) for a, b in pairs), ...)


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """By how much the number of an entry in C order grows along each axis."""
    return tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))


def _starts(box: Box) -> list[int]:
    return [side.start for side in box]


def _beside(box: Box, others: Sequence[Box]) -> list[Box]:
    """Boxes that together hold what lies in a box, and in none of the others."""
    boxes = [box]
    for other in others:
        boxes = [part for each in boxes for part in _without(each, other)]
    return boxes


def _without(box: Box, other: Box) -> Iterator[Box]:
    """What is left of a box, in boxes: slabs on both sides of the other, axis by axis."""
    both = [
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, other, strict=True)
    ]
    if any(side.start >= side.stop for side in both):
        yield box
        return
    for axis, (side, common) in enumerate(zip(box, both, strict=True)):
        for slab in (slice(side.start, common.start), slice(common.stop, side.stop)):
            if slab.start < slab.stop:
                yield (*both[:axis], slab, *box[axis + 1 :])


def odd_multiple(eps: float) -> float:
    """What powers of two are multiplied by in a type of this spacing, so that all is exact."""
    # In short types a move has two spacings, and becomes three. In float64 it has a thousand, and
    # becomes 4/3 of that: on any binary grid, however fine, it ends a third beside a point.
    return 1.5 if eps > 2.0**-40 else 1365 / 1024


@dataclass(frozen=True)
class OddMultiples:
    """Moves by 1, 2 or 4 times one number near `width` lengths, in either direction.

    Adding small multiples of them to the entries is exact: what the values of `f` show along such
    a direction is noise of `f`, and not of the moves. The number is an odd multiple of a power of
    two, so that a binary grid to which `f` rounds its input shows. The moves are not all of one
    size, along which equal slopes would cancel too often; `same_sign` moves all entries upward.
    """

    seed: int
    regions: tuple[Region, ...]
    width: float
    same_sign: bool = False

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        moves = kernel.odd_moves(
            before, self._factors(which, before), *odd_width(self.width, EPS[before.dtype.char])
        )
        return _multiples_of(moves, before, kernel)

    def _factors(self, which: int, before: np.ndarray) -> np.ndarray:
        factors = signs(key_of(self.seed, 0, self.regions[which].leaf), before.size)
        return np.abs(factors) if self.same_sign else factors


def odd_width(width: float, eps: float) -> tuple[float, float]:
    """The width of odd multiples that a type of this spacing can hold, and their odd factor."""
    # At least 2 spacings: no move is lost in an entry. Six of 16 spacings of float16 would be a
    # tenth of a length, and show how f curves.
    return max(width, 4 * eps), odd_multiple(eps)


@dataclass(frozen=True)
class Jumps:
    """Moves of half a length or more, in either direction: far enough to meet a jump of `f`."""

    seed: int
    regions: tuple[Region, ...]

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        factors = signs(key_of(self.seed, 0, self.regions[which].leaf), before.size)
        with np.errstate(over="ignore"):
            moves = factors.reshape(before.shape) * (lengths_of(before) / 2)
        # Here and below: of operations on 0-d arrays NumPy makes scalars.
        return _multiples_of(np.asarray(moves), before, kernel)


@dataclass(frozen=True)
class Proportional:
    """Moves by a share of the entries themselves, however tiny these are."""

    regions: tuple[Region, ...]
    share: float

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            wide = before.astype(np.result_type(before.dtype, np.float64), copy=False)
            return _multiples_of(np.asarray(self.share * np.abs(wide)), before, kernel)


@dataclass(frozen=True, eq=False)
class Given:
    """Moves that are given, such as along a gradient: arrays in the shapes of the regions."""

    regions: tuple[Region, ...]
    moves: tuple[np.ndarray, ...] = field(repr=False)

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        return _multiples_of(self.moves[which], before, kernel)


def claimed_changes(
    direction: Direction,
    before: Sequence[np.ndarray],
    times: Sequence[float],
    claims: Sequence[np.ndarray],
) -> tuple[tuple[float, ...], float]:
    """What claimed gradients say of moves that are made elsewhere: see `Changes`."""
    # Onto scratch memory, as the moves really made depend on the rounding of the entries.
    movers = [direction.mover(k, part, _backend.kernel_for(part)) for k, part in enumerate(before)]
    scratch = [np.empty_like(part) for part in before]
    rises, norms = [], []
    for time in times:
        rise, square = added(
            move(target, time, claim)
            for move, target, claim in zip(movers, scratch, claims, strict=True)
        )
        rises.append(rise)
        norms.append(square)
    return tuple(rises), norms[0] ** 0.5


def added(moves: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """What moves of several parts claim together, to the same bits wherever they are made.

    One after the other: from Python 3.12 on `sum` of floats compensates for their rounding.
    """
    rise = square = 0.0
    for each in moves:
        rise, square = rise + each[0], square + each[1]
    return rise, square


def _multiples_of(moves: np.ndarray, before: np.ndarray, kernel: Any) -> Mover:
    """A mover by multiples of an array."""
    displace = kernel.displace

    def move(target: np.ndarray, time: float, claim: np.ndarray | None) -> tuple[float, float]:
        displace(target, before, moves, time)
        return made(target, before, claim)

    return move


def made(target: np.ndarray, before: np.ndarray, claim: np.ndarray | None) -> tuple[float, float]:
    """What a claimed gradient says of moves that were made: see `Mover`."""
    if claim is None:
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # beside infinity
        moves = target - before.astype(np.result_type(before.dtype, np.float64), copy=False)
        terms = np.ravel(moves * claim).astype(np.float64, copy=False)
        return float(terms.sum()), float(terms @ terms)


@lru_cache(maxsize=256)  # a model has some shapes, which are cut for each move of each direction
def pieces(shape: tuple[int, ...]) -> tuple[Box, ...]:
    """Boxes of a bounded number of entries, if the rows allow, into which an array is cut."""
    return tuple(_cut(shape))


def _cut(shape: tuple[int, ...]) -> Iterator[Box]:
    size = math.prod(shape)
    axis = next((k for k, n in enumerate(shape) if n > 1), None)
    if axis is None or size <= _PIECE:
        yield (slice(None),) * len(shape)
        return
    row = size // shape[axis]
    step = max(1, _PIECE // row)
    for start in range(0, shape[axis], step):
        head = (*(slice(None),) * axis, slice(start, start + step))
        # A slice for each axis, whole rows included: a piece is a box of the array.
        for rest in _cut(shape[axis + 1 :]):
            yield head + rest


# ---------------------------------------------------------------- the counter-based generator


@lru_cache(maxsize=1024)
def key_of(seed: int, turn: int, leaf: int) -> int:
    """Where the random numbers of one direction in one leaf start.

    They are those of SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, Fast splittable pseudorandom
    number generators, OOPSLA 2014): word `i` is a hash of ``key + (i + 1) * golden ratio``, and
    makes the entries ``4 i`` to ``4 i + 3``.
    """
    key = 0
    # 64 bits of the seed at a time, which may have any number of them.
    while seed:
        key, seed = _mixed(key ^ (seed & _MASK)), seed >> 64
    return _mixed(_mixed(key + turn + 1) + leaf + 1)


def _mixed(z: int) -> int:
    """One step of SplitMix64."""
    z = (z + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def signs(key: int, size: int) -> np.ndarray:
    """Random factors of 1, 2 and 4 with either sign: (size,) int8."""
    return _few_signs(key, size) if size <= _FEW else _signs(key, size)


def _signs(key: int, size: int) -> np.ndarray:
    drawn = np.empty(size, np.int8)
    _backend.kernel.draw_factors(drawn, key)
    return drawn


_few_signs = lru_cache(maxsize=64)(_signs)
