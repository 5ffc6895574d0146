"""One evaluation of a vector-valued `f` serves all of its outputs, each an evaluator of its own.

`Shared` keeps what was evaluated around the parameters. An `Output` of it, or the inner product of
a vector with all of them, asks as if `f` were a function with one value: what another one has asked
before is not evaluated again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction, Given
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Changes, Evaluator, Samples, Single, Steps

__all__ = ["Cotangent", "Output", "Shared"]

# Numbers that are kept, at most: 256 MiB. With more, all are forgotten, and evaluated again where
# they are asked for again.
_MOST_KEPT = 2**25
# Numbers in the values of one piece of a request for single entries: 32 MiB.
_PIECE = 2**22
# Two odd numbers that mix an entry and a displacement to a key; keys only sort, and are never
# trusted.
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))


@dataclass(frozen=True, eq=False)
class Cotangent:
    """A vector whose inner product with what `f` returns is asked for, without its zeros.

    Where it is zero, `f` may return anything, NaN too.
    """

    outputs: np.ndarray  # their numbers
    weights: np.ndarray

    @classmethod
    def of(cls, u: np.ndarray) -> Cotangent:
        """The same vector."""
        outputs = np.flatnonzero(u)
        return cls(outputs, u[outputs])

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The inner product with each vector of values, the last axis."""
        # One by one: a product with a matrix may sum in another order, and what is the same at two
        # points has to stay so.
        rows = values.reshape(-1, values.shape[-1])
        with np.errstate(over="ignore", invalid="ignore"):
            found = np.array([row[self.outputs] @ self.weights for row in rows])
        return found.reshape(values.shape[:-1])


def _seen(values: np.ndarray, by: int | Cotangent) -> np.ndarray:
    """One output of vectors of values, by its number, or their inner product with a vector."""
    return by(values) if isinstance(by, Cotangent) else values[..., by]


class Shared:
    """What a vector-valued `f` returned at and around its parameters.

    Within bounds a point along a direction is another one beside other points: `whole` requests are
    kept then, and of other runs each point.
    """

    def __init__(
        self, run: Metered, rounding: np.ndarray | None = None, *, whole: bool = False
    ) -> None:
        self.run = run
        self.whole = whole
        self.rounding = rounding  # of each output, if it is more than that of its type
        self.size = 0  # of the vector, which the first value shows
        self.bases: list[np.ndarray] = []  # at the parameters, in the order of the calls
        self._points: list[_Points] = []
        self._tables: dict[Any, np.ndarray] = {}
        self._last: tuple[Direction, Any] | None = None  # direction, and its key
        self._at_last_base = 0  # how many evaluations there were then

    def know(self, base: np.ndarray, request: Along, values: Sequence[np.ndarray]) -> None:
        """Keep what was evaluated before: at the parameters, and along a direction."""
        self.size, self.bases = len(base), [base]
        key, times = self._key(request), request.times[: len(values)]
        self._tables |= {(key, time): value for time, value in zip(times, values, strict=True)}

    def knows(self, request: Along) -> bool:
        """Whether nothing is left to be evaluated."""
        key = self._key(request)
        return all((key, time) in self._tables for time in request.times)

    def _key(self, request: Along) -> Any:
        # All outputs ask for the same direction, one after the other.
        if self._last is None or self._last[0] != request.direction:
            self._last = request.direction, _key(request.direction)
        return self._last[1], request.times if self.whole else None

    def base(self, number: int) -> np.ndarray:
        """What the first, second, ... call at the parameters returned."""
        while len(self.bases) <= number:
            self.bases.append(self.run.base())
            self.size = len(self.bases[0])
            self._at_last_base = self.run.evaluations
        return self.bases[number]

    def base_now(self) -> np.ndarray:
        """What a call at the parameters returned after all others."""
        if self.run.evaluations > self._at_last_base:
            self.base(len(self.bases))
        return self.bases[-1]

    def single(self, request: Single, by: int | Cotangent) -> Samples:
        """One output where each entry is moved alone; only points not known are evaluated."""
        if not self._points:
            self._points = [_Points(self.size) for _ in self.run.leaves]
        points, entries = self._points[request.leaf], request.entries
        steps = request.steps.given
        if steps is None:
            steps = request.steps.relative * self.run.scale(request.leaf, entries)
        shifts = np.multiply.outer(steps, np.array(request.offsets, dtype=np.float64))
        points.make_room(shifts.size)
        rows = points.rows_of(entries, shifts)
        missing = np.flatnonzero((rows < 0).any(axis=1))
        if len(missing) == len(rows):
            found = self._made(request.leaf, entries, steps, request.offsets)
            points.keep(entries, shifts, found)
            return Samples(found.moved, np.array(_seen(found.values, by)))
        known = points.at(rows, by)
        if len(missing):
            some = np.ascontiguousarray(entries[missing])
            found = self._made(request.leaf, some, steps[missing], request.offsets)
            points.keep(some, shifts[missing], found)
            known.moved[missing], known.values[missing] = found.moved, _seen(found.values, by)
        return known

    def _made(
        self, leaf: int, entries: np.ndarray, steps: np.ndarray, offsets: tuple[int, ...]
    ) -> Samples:
        return self.run.single(Single(leaf, entries, Steps(given=steps), offsets))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Values along a direction, of which those not known are evaluated."""
        direction, times = request.direction, request.times
        key = self._key(request)
        missing = tuple(time for time in times if (key, time) not in self._tables)
        made = None
        if missing:
            whole = missing == times
            made = self.run.along(Along(direction, missing), claims if whole else None)
            if self.size * len(self._tables) > _MOST_KEPT:
                self._tables = {k: v for k, v in self._tables.items() if k[0] == key}
            self._tables.update(
                ((key, time), np.asarray(value))
                for time, value in zip(missing, made.values, strict=True)
            )
            if whole:
                return made
        values = tuple(self._tables[key, time] for time in times)
        if claims is None:
            return Changes(values)
        return replace(self.run.claimed(request, claims), values=values)

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Shared]:
        """The same at displaced parameters, about which nothing is known yet."""
        with self.run.displaced(direction, time) as there:
            moved = Shared(there, whole=self.whole)
            moved.size = self.size
            yield moved


class Output(Around):
    """One number made of what a vector-valued `f` returns, as the value of a function."""

    def __init__(self, shared: Shared, by: int | Cotangent) -> None:
        super().__init__(shared.run)
        self._shared, self._by = shared, by
        self._called = 0

    @property
    def outputs(self) -> None:
        """None, as a function has that returns a number."""

    def base(self) -> float:
        """Value at the unperturbed parameters: that of the next call, as for a function.

        A third one is the last look at `f`, which is after all others.
        """
        self._called += 1
        shared = self._shared
        found = shared.base(self._called - 1) if self._called <= 2 else shared.base_now()
        return float(_seen(found, self._by))

    def single(self, request: Single) -> Samples:
        """Move each entry alone, in pieces that do not hold too many vectors: see `Evaluator`."""
        most = max(1, _PIECE // (max(1, self._shared.size) * len(request.offsets)))
        if request.count <= most or not isinstance(self._by, Cotangent):
            return self._shared.single(request, self._by)
        parts = [
            self._shared.single(request.part(low, min(low + most, request.count)), self._by)
            for low in range(0, request.count, most)
        ]
        moved = np.concatenate([part.moved for part in parts])
        return Samples(moved, np.concatenate([part.values for part in parts]))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`."""
        if request.still is None:
            return self._along(request, claims)
        at_once = self._shared.whole or self._shared.knows(request)
        found = self._along(request if at_once else request.part(0, 2), claims)
        if found.values[:2] == (request.still,) * 2:
            return Changes(found.values[:2], found.claimed[:2], found.norm)
        return found if at_once else self._along(request, claims)

    def _along(self, request: Along, claims: Sequence[np.ndarray] | None) -> Changes:
        found = self._shared.along(request, claims)
        return replace(found, values=tuple(float(_seen(each, self._by)) for each in found.values))

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Evaluator]:
        """An evaluator at displaced parameters: see `Evaluator`."""
        with self._shared.displaced(direction, time) as there:
            yield Output(there, self._by)


class _Points:
    """Values at points where one entry of a leaf is displaced, by entry and displacement."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._forget()

    def _forget(self) -> None:
        self._keys = np.empty(0, np.uint64)  # sorted
        self._rows = np.empty(0, np.intp)  # of the columns below, in the order of the keys
        self._entries = np.empty(0, np.intp)
        self._shifts, self._moved = np.empty(0), np.empty(0)
        self._values = np.empty((0, self._size))

    def make_room(self, points: int) -> None:
        """Forget all if more points would be too many."""
        if self._size * (len(self._keys) + points) > _MOST_KEPT:
            self._forget()

    def rows_of(self, entries: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """The row of the value at each point, or -1 where it is not known."""
        if not len(self._keys):
            return np.full(shifts.shape, -1)
        wide = np.broadcast_to(entries[:, np.newaxis], shifts.shape)
        at = np.searchsorted(self._keys, _mixed(wide, shifts))
        rows = self._rows[np.minimum(at, len(self._keys) - 1)]
        same = (self._entries[rows] == wide) & (self._shifts[rows] == shifts)
        return np.where(same, rows, -1)

    def at(self, rows: np.ndarray, by: int | Cotangent) -> Samples:
        """One output in some rows; of row -1 it is any."""
        values = by(self._values[rows]) if isinstance(by, Cotangent) else self._values[rows, by]
        return Samples(self._moved[rows], values)

    def keep(self, entries: np.ndarray, shifts: np.ndarray, found: Samples) -> None:
        """Keep values at points."""
        start, stop = len(self._keys), len(self._keys) + shifts.size
        if stop > len(self._entries):
            self._grow(stop)
        wide = np.repeat(entries, shifts.shape[1])
        self._entries[start:stop], self._shifts[start:stop] = wide, shifts.ravel()
        self._moved[start:stop] = found.moved.ravel()
        self._values[start:stop] = found.values.reshape(-1, self._size)
        keys = np.concatenate([self._keys, _mixed(wide, shifts.ravel())])
        order = np.argsort(keys, kind="stable")
        self._rows = np.concatenate([self._rows, np.arange(start, stop)])[order]
        self._keys = keys[order]

    def _grow(self, points: int) -> None:
        """Make the columns twice as long as they must be, so that they are seldom copied."""
        for name in ("_entries", "_shifts", "_moved", "_values"):
            old = getattr(self, name)
            new = np.empty((2 * points, *old.shape[1:]), old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


def _mixed(entries: np.ndarray, shifts: np.ndarray) -> np.ndarray:
    """One number for an entry and its displacement: of two that share one, one is forgotten."""
    bits = np.ascontiguousarray(shifts).view(np.uint64)
    mixed: np.ndarray = (entries.astype(np.uint64) * _MIX[0]) ^ (bits * _MIX[1])
    return mixed


def _key(direction: Direction) -> Any:
    """What tells a direction from others."""
    moves = direction.moves if isinstance(direction, Given) else ()
    # Of moves a digest, as they may be as large as the parameters.
    return repr(direction), tuple(hashlib.blake2b(move.tobytes()).digest() for move in moves)
