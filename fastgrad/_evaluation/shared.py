"""One evaluation of a vector-valued `f` serves all of its outputs, each an evaluator of its own.

`Shared` keeps what was evaluated around the parameters. An `Output` of it asks as if `f` were
a function with one value: what another output has asked before is not evaluated again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction, Given
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Changes, Evaluator, Samples, Single, Steps

__all__ = ["Output", "Shared"]

# Numbers that are kept, at most: 256 MiB. With more, all are forgotten, and evaluated again where
# they are asked for again.
_MOST_KEPT = 2**25
# Two odd numbers that mix an entry and a displacement to a key; keys only sort, and are never
# trusted.
_MIX = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9))


class Shared:
    """What a vector-valued `f` returned at and around its parameters."""

    def __init__(self, run: Metered, rounding: np.ndarray | None = None) -> None:
        self.run = run
        self.rounding = rounding  # of each output, if it is more than that of its type
        self.size = 0  # of the vector, which the first value shows
        self.bases: list[np.ndarray] = []  # at the parameters, in the order of the calls
        self._points: list[_Points] = []
        self._tables: dict[Any, np.ndarray] = {}

    def base(self, number: int) -> np.ndarray:
        """What the first, second, ... call at the parameters returned."""
        while len(self.bases) <= number:
            self.bases.append(self.run.base())
            self.size = len(self.bases[0])
        return self.bases[number]

    def single(self, request: Single, number: int) -> Samples:
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
            return Samples(found.moved, found.values[..., number].copy())
        known = points.at(rows, number)
        if len(missing):
            some = np.ascontiguousarray(entries[missing])
            found = self._made(request.leaf, some, steps[missing], request.offsets)
            points.keep(some, shifts[missing], found)
            known.moved[missing], known.values[missing] = found.moved, found.values[..., number]
        return known

    def _made(
        self, leaf: int, entries: np.ndarray, steps: np.ndarray, offsets: tuple[int, ...]
    ) -> Samples:
        return self.run.single(Single(leaf, entries, Steps(given=steps), offsets))

    def along(self, direction: Direction, times: Sequence[float]) -> list[np.ndarray]:
        """Values along a direction, of which those not known are evaluated."""
        key = _key(direction)
        missing = [time for time in times if (key, time) not in self._tables]
        if missing:
            found = self.run.along(Along(direction, tuple(missing))).values
            if self.size * len(self._tables) > _MOST_KEPT:
                self._tables = {k: v for k, v in self._tables.items() if k[0] == key}
            self._tables.update(
                ((key, time), np.asarray(value)) for time, value in zip(missing, found, strict=True)
            )
        return [self._tables[key, time] for time in times]

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Shared]:
        """The same at displaced parameters, about which nothing is known yet."""
        with self.run.displaced(direction, time) as there:
            moved = Shared(there)
            moved.size = self.size
            yield moved


class Output(Around):
    """One number of a vector-valued `f` as the value of a function."""

    def __init__(self, shared: Shared, number: int) -> None:
        super().__init__(shared.run)
        self._shared, self._number = shared, number
        self._called = 0

    def base(self) -> float:
        """Value at the unperturbed parameters: that of the next call, as for a function."""
        self._called += 1
        return float(self._shared.base(self._called - 1)[self._number])

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        return self._shared.single(request, self._number)

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once, without claims: see `Evaluator`."""
        times, values = request.times, []
        if request.still is not None:
            values = self._along(request.direction, times[:2])
            if values == [request.still] * 2:
                return Changes(tuple(values))
        values += self._along(request.direction, times[len(values) :])
        return Changes(tuple(values))

    def _along(self, direction: Direction, times: Sequence[float]) -> list[float]:
        found = self._shared.along(direction, times) if times else []
        return [float(each[self._number]) for each in found]

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Evaluator]:
        """An evaluator at displaced parameters: see `Evaluator`."""
        with self._shared.displaced(direction, time) as there:
            yield Output(there, self._number)


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

    def at(self, rows: np.ndarray, number: int) -> Samples:
        """One output in some rows; of row -1 it is any."""
        return Samples(self._moved[rows], self._values[rows, number])

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
    return repr(direction), tuple(move.tobytes() for move in moves)
