"""Evaluates `f` where a check asks for it, in place, and counts the evaluations."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._evaluation import batched
from fastgrad._evaluation.blocks import Box, Moved, Place, Shift, thinned
from fastgrad._evaluation.meter import Progress
from fastgrad._leaf import Leaf
from fastgrad._returns import as_scalar, at_base, at_block
from fastgrad._stencils import central
from fastgrad._tree import Params
from fastgrad._workers.threads import spread

if TYPE_CHECKING:
    from fastgrad._workers.scheduler import Crew

__all__ = ["OutOfBudget", "Sampler"]

_CENTRAL = central()
# Entries in a piece, whose displacements and values are held.
_MOST = 4096


class OutOfBudget(Exception):
    """No evaluations are left."""


class Sampler:
    """`f` at and around one set of parameters, here or with the help of a crew."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Params,
        leaves: Sequence[Leaf],
        crew: Crew | None = None,
        threads: int = 1,
        progress: Progress | None = None,
        budget: float = math.inf,
    ) -> None:
        self.progress = progress or Progress(0, shown=False)
        self._f = f
        self._threads = threads
        self._argument = argument
        self._leaves = leaves
        self._crew = crew
        self._left = budget - 1  # the last look is part of it
        self._here = 0
        self._spare = np.empty(0, np.uint8)

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated so far, here and by the crew."""
        return self._here + (self._crew.evaluations if self._crew else 0)

    def _spend(self, evaluations: int) -> None:
        """Ask for evaluations; what the crew's copies are compared by comes on top."""
        if evaluations > self._left:
            raise OutOfBudget
        self._left -= evaluations

    def _count(self, evaluations: int) -> None:
        self._here += evaluations
        self.progress.update(evaluations)

    def count_call(self) -> None:
        """Count an evaluation that was made before: the one that gave the gradient."""
        self._left -= 1
        self._count(1)

    def check_rows(self) -> None:
        """Refuse a batched `f` whose rows influence each other."""
        if isinstance(self._f, batched.Batched):
            self._count(batched.check_rows(self._f, self._argument, self._leaves))

    def base(self) -> float:
        """Value at the unperturbed parameters."""
        self._spend(1)
        return self._value(at_base)

    def last(self) -> float:
        """The same, once more at the end, whatever was spent."""
        return self._value(at_base)

    def _value(self, name: Callable[[int], str]) -> float:
        self._count(1)
        value = self._f(self._argument)
        return float(value if isinstance(value, float) else as_scalar(value, name, 0))

    def pieces(self, count: int) -> Iterable[tuple[int, int]]:
        """Ranges of so many entries, for `beside`, that are done soon one by one."""
        return self.progress.pieces(0, count, 2, _MOST)

    def beside(self, leaf: Leaf, entries: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Values with single entries moved: shape (entries, 2, 2).

        For each entry and both sides, ahead and behind, the displacement really made and the
        value there.
        """
        if self._crew is not None and len(entries) > 1:
            self._spend(2 * len(entries))
            return self._crew.beside(self._leaves.index(leaf), entries, steps)
        return self._beside(leaf, entries, steps)

    def _beside(self, leaf: Leaf, entries: np.ndarray, steps: np.ndarray) -> np.ndarray:
        self._spend(2 * len(entries))
        raw = np.empty((len(entries), 2, 2))
        run = spread(_backend.sweep_for(self._f, leaf.real), self._threads)
        rule = (_CENTRAL, 0.0, 0.0, steps, 0.0, None)
        for low, high in self.progress.pieces(0, len(entries), 2):
            run(self._f, self._argument, leaf, *rule, low, high, entries, raw)
            self._count(2 * (high - low))
        return raw

    def block(
        self, leaf: Leaf, box: Box, direction: np.ndarray, time: float, claim: np.ndarray
    ) -> Shift:
        """Move a block of a leaf to both sides: see `Place.shifted`."""
        view = leaf.real[box]
        place = Place(leaf, view, self._saved(view))
        rises: list[float] = []
        square = 0.0

        def sides(*into: np.ndarray) -> Iterator[None]:
            nonlocal square
            for target, signed in zip(into, (time, -time), strict=True):
                rise = 0.0
                for parts in place.shifted(target, direction, signed, claim):
                    rise += float(parts.sum())
                    if not rises:  # the other side's norm is the same
                        parts *= parts
                        square += float(parts.sum())
                rises.append(rise)
                yield

        if self._crew is None:
            above, below = self._in_place(place, sides(view, view))
        else:
            self._spend(2)
            blocks = [np.empty_like(place.saved) for _ in range(2)]
            for _ in sides(*blocks):
                pass
            above, below = self._crew.values(self._leaves.index(leaf), box, blocks)
        rise, fall = rises
        return Shift(above, below, rise, fall, math.sqrt(square))

    def _in_place(self, place: Place, sides: Iterable[object]) -> list[float]:
        """Values with a place moved to both sides, and put back."""
        try:
            values = self._at(sides, 2)
            place.leaf.check_found()
            place.view[...] = place.saved
            return values
        except BaseException as error:
            place.restore()
            if isinstance(error, Exception):
                _errors.annotate(error, f"{place.leaf.path}[...]")
            raise

    def _saved(self, view: np.ndarray) -> np.ndarray:
        """A copy of a block, in memory that serves for one block after the other."""
        if self._spare.size < view.nbytes:
            self._spare = np.empty(view.nbytes, np.uint8)
        saved = self._spare[: view.nbytes].view(view.dtype).reshape(view.shape)
        saved[...] = view
        return saved

    def along(
        self,
        moves: Sequence[np.ndarray | None],
        times: Sequence[float],
        dull: float | None = None,
    ) -> list[float]:
        """Values with all leaves moved at once, by the moves times each of `times`.

        Moves have the shapes of ``thinned(leaf)``; None leaves a leaf alone. No more than two
        values if both are `dull`.
        """
        with self._moving(moves, thinned) as moved:

            def steps() -> Iterator[None]:
                for time in times:
                    for each in moved:
                        each.to(time)
                    yield

            return self._at(steps(), len(times), dull)

    def _at(self, places: Iterable[object], count: int, dull: float | None = None) -> list[float]:
        """Values at `count` points, to each of which one step of `places` moves the parameters.

        A batched `f` gets them in one call. No more than two values if both are `dull`.
        """
        self._spend(count)
        if isinstance(self._f, batched.Batched):
            self._count(count)
            values = batched.values(self._f, self._argument, self._leaves, places, count)
            return values[:2] if values[:2] == [dull, dull] else values
        values = []
        for _ in places:
            values.append(self._value(at_block))
            if len(values) == 2 and values[0] == values[1] == dull:
                self._left += count - 2
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
                raw = self._beside(self._leaves[which], entries, steps)
                width = raw[:, 0, 0] - raw[:, 1, 0]
                columns.append((raw[:, 0, 1] - raw[:, 1, 1]) / width)
        return np.concatenate(columns)

    @contextmanager
    def _moving(
        self, moves: Sequence[np.ndarray | None], view: Callable[[Leaf], np.ndarray]
    ) -> Iterator[list[Moved]]:
        moved = [
            Moved(Place(leaf, (at := view(leaf)), at.copy()), move)
            for leaf, move in zip(self._leaves, moves, strict=True)
            if move is not None
        ]
        try:
            yield moved
        except Exception as error:
            _errors.annotate(error, ", ".join(f"{each.place.leaf.path}[...]" for each in moved[:3]))
            raise
        finally:
            for each in moved:
                each.place.restore()
