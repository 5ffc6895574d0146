"""Evaluates `f` where a check asks for it, in place, and counts the evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from fastgrad import _backend, errors
from fastgrad.stencils import central
from fastgrad.trees import Leaf, Params
from fastgrad.values import as_number, at_base, at_block

if TYPE_CHECKING:
    from fastgrad.executors import Crew

__all__ = [
    "Box",
    "OutOfBudget",
    "Sampler",
    "Shift",
    "length_of",
    "lengths",
    "pieces",
    "size_of",
    "spacing",
    "spread",
]

Box: TypeAlias = tuple[slice, ...]  # a block of a leaf: one slice for each axis

_CENTRAL = central()
_SPACINGS = {char: float(np.finfo(char).eps) for char in "efdg"}
# Blocks are moved so many entries at a time, that what is computed on the way stays in the cache.
_PIECE = 2**13
# Along one direction for all, this many entries of a leaf are moved at most.
_MOST_SPREAD = 2**16


class OutOfBudget(Exception):
    """No evaluations are left."""


@dataclass(frozen=True)
class Shift:
    """What moving a block to both sides did to `f`, and what the gradient claims it does."""

    above: float
    below: float
    claimed_above: float
    claimed_below: float
    norm: float  # of the claimed contributions of the entries, to one side


class Sampler:
    """`f` at and around one set of parameters, here or with the help of a crew."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Params,
        leaves: Sequence[Leaf],
        crew: Crew | None = None,
    ) -> None:
        self._f = f
        self._argument = argument
        self._leaves = leaves
        self._crew = crew
        self.budget: float = math.inf
        self._asked = self._here = 0

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated so far, here and by the crew."""
        return self._here + (self._crew.evaluations if self._crew else 0)

    def _spend(self, evaluations: int) -> None:
        """Count what is asked for; what the crew's copies are compared by comes on top."""
        if self._asked + evaluations > self.budget:
            raise OutOfBudget
        self._asked += evaluations

    def base(self) -> float:
        """Value at the unperturbed parameters."""
        self._spend(1)
        self._here += 1
        value = self._f(self._argument)
        return value if type(value) is float else float(as_number(value, at_base, 0))

    def beside(self, leaf: Leaf, entries: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Values with single entries moved: shape (entries, 2, 2).

        For each entry and both sides, ahead and behind, the displacement really made and the
        value there.
        """
        self._spend(2 * len(entries))
        if self._crew is not None and len(entries) > 1:
            return self._crew.beside(self._leaves.index(leaf), entries, steps)
        return self._beside(leaf, entries, steps)

    def _beside(self, leaf: Leaf, entries: np.ndarray, steps: np.ndarray) -> np.ndarray:
        raw = np.empty((len(entries), 2, 2))
        run = _backend.sweep_for(self._f, leaf.real)
        rule = (_CENTRAL, 0.0, 0.0, steps, 0.0, None)
        run(self._f, self._argument, leaf, *rule, 0, len(entries), entries, raw)
        self._here += 2 * len(entries)
        return raw

    def block(
        self, leaf: Leaf, box: Box, direction: np.ndarray, time: float, claim: np.ndarray
    ) -> Shift:
        """Move a block of a leaf to both sides, by `time` times its direction and its lengths.

        `direction` and `claim`, the gradient, have the shape of the block.
        """
        view = leaf.real[box]
        place = _Place(leaf, view, view.copy())
        if self._crew is not None:
            return self._block_elsewhere(self._crew, place, box, direction, time, claim)
        self._spend(2)
        try:
            # No loop: on Python 3.13 an interrupt could come in outside of `try` at its end.
            rise, norm = _shift(place, view, direction, time, claim)
            above = self._moved_value()
            fall, _ = _shift(place, view, direction, -time, claim)
            below = self._moved_value()
            leaf.check_found()
            view[...] = place.saved
        except BaseException as error:
            place.restore()
            if isinstance(error, Exception):
                errors.annotate(error, f"{leaf.path}[...]")
            raise
        return Shift(above, below, rise, fall, norm)

    def _moved_value(self) -> float:
        self._here += 1
        return float(as_number(self._f(self._argument), at_block, 0))

    def _block_elsewhere(
        self,
        crew: Crew,
        place: _Place,
        box: Box,
        direction: np.ndarray,
        time: float,
        claim: np.ndarray,
    ) -> Shift:
        """The same by a crew, both sides at once; nothing is moved here."""
        self._spend(2)
        ahead, behind = np.empty_like(place.saved), np.empty_like(place.saved)
        rise, norm = _shift(place, ahead, direction, time, claim)
        fall, _ = _shift(place, behind, direction, -time, claim)
        above, below = crew.values(self._leaves.index(place.leaf), box, [ahead, behind])
        return Shift(above, below, rise, fall, norm)

    def along(
        self,
        moves: Sequence[np.ndarray | None],
        times: Sequence[float],
        dull: float | None = None,
    ) -> list[float]:
        """Values with all leaves moved at once, by the moves times each of `times`.

        Moves have the shapes of ``spread(leaf)``; None leaves a leaf alone. No more than two
        values if both are `dull`.
        """
        values: list[float] = []
        with self._moving(moves, spread) as moved:
            for time in times:
                for each in moved:
                    each.to(time)
                values.append(self.base())
                if values == [dull, dull]:
                    break
        return values

    def gradient_at(
        self,
        moves: Sequence[np.ndarray],
        time: float,
        picks: Sequence[tuple[int, np.ndarray, np.ndarray]],
    ) -> np.ndarray:
        """Central differences of some entries with all leaves moved by `time` times `moves`.

        A pick is the number of a leaf, entries of it, and their steps.
        """
        columns = []
        with self._moving(moves, lambda leaf: leaf.real) as moved:
            for each in moved:
                each.to(time)
            for which, entries, steps in picks:
                # Here: the crew's copies have not moved.
                self._spend(2 * len(entries))
                raw = self._beside(self._leaves[which], entries, steps)
                width = raw[:, 0, 0] - raw[:, 1, 0]
                columns.append((raw[:, 0, 1] - raw[:, 1, 1]) / width)
        return np.concatenate(columns)

    @contextmanager
    def _moving(
        self, moves: Sequence[np.ndarray | None], view: Callable[[Leaf], np.ndarray]
    ) -> Iterator[list[_Moved]]:
        moved = [
            _Moved(_Place(leaf, (at := view(leaf)), at.copy()), move)
            for leaf, move in zip(self._leaves, moves, strict=True)
            if move is not None
        ]
        try:
            yield moved
        finally:
            for each in moved:
                each.place.restore()


@dataclass(frozen=True)
class _Place:
    """Memory of a leaf that is moved as a whole, and the values it had."""

    leaf: Leaf
    view: np.ndarray
    saved: np.ndarray

    def restore(self) -> None:
        """Put the saved bits back, unless `f` has given the memory away."""
        if self.leaf.found is None or self.leaf.found.stands():
            self.view[...] = self.saved


@dataclass(frozen=True)
class _Moved:
    """A place and how it moves."""

    place: _Place
    move: np.ndarray

    def to(self, time: float) -> None:
        """Move by `time` times the move."""
        saved, view = self.place.saved, self.place.view
        self.place.leaf.check_found()
        if saved.dtype == np.float64:
            np.add(saved, time * self.move, out=view)
            return
        with np.errstate(over="ignore"):
            view[...] = saved + (time * self.move).astype(saved.dtype)


def spread(leaf: Leaf) -> np.ndarray:
    """The leaf's entries, or of a large leaf some, evenly spaced, as a view of its memory."""
    real = leaf.real
    if real.size <= _MOST_SPREAD:
        return real
    axis = int(np.argmax(real.shape))
    every = slice(None, None, -(-real.size // _MOST_SPREAD))
    view: np.ndarray = real[(slice(None),) * axis + (every,)]
    return view


def _shift(
    place: _Place, into: np.ndarray, direction: np.ndarray, time: float, claim: np.ndarray
) -> tuple[float, float]:
    """Write a moved block; return the rise claimed for the moves really made, and its norm."""
    place.leaf.check_found()
    run = _backend.shift_for(into)
    scratch = np.empty(min(place.saved.size, 2 * _PIECE))
    rise = square = 0.0
    for piece in pieces(place.saved.shape):
        target = into[piece]
        if target.size > scratch.size:
            scratch = np.empty(target.size)
        parts = scratch[: target.size]
        run(target, place.saved[piece], direction[piece], claim[piece], time, parts)
        rise += float(parts.sum())
        square += float(parts @ parts)
    return rise, math.sqrt(square)


def pieces(shape: tuple[int, ...]) -> Iterator[Box]:
    """Cut an array into boxes of a bounded number of entries, if its rows allow."""
    size = math.prod(shape)
    axis = next((k for k, n in enumerate(shape) if n > 1), None)
    if axis is None or size <= _PIECE:
        yield (slice(None),) * len(shape)
        return
    row = size // shape[axis]
    step = max(1, _PIECE // row)
    for start in range(0, shape[axis], step):
        head = (*(slice(None),) * axis, slice(start, start + step))
        for rest in pieces(shape[axis + 1 :]) if row > _PIECE else [()]:
            yield head + rest


def size_of(box: Box) -> int:
    """How many entries a block holds."""
    return math.prod(side.stop - side.start for side in box)


def lengths(leaf: Leaf, entries: np.ndarray | None = None) -> np.ndarray:
    """The length by which each entry's steps are measured: ``max(1, |x|)``, in C order."""
    real = leaf.real if entries is None else leaf.real.flat[entries]
    return length_of(real.ravel())


def length_of(x: np.ndarray) -> np.ndarray:
    """``max(1, |x|)``, and 1 where that is not finite."""
    size = np.abs(x).astype(np.float64, copy=False)
    length: np.ndarray = np.maximum(size, 1.0)
    if not length.max(initial=1.0) < np.inf:
        length[~(length < np.inf)] = 1.0
    return length


def spacing(leaf: Leaf) -> float:
    """Distance from 1 to the next number of the leaf's type."""
    return _SPACINGS[leaf.real.dtype.char]
