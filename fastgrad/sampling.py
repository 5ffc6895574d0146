"""Evaluates `f` where a check asks for it, in place, and counts the evaluations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad.stencils import central
from fastgrad.threads import spread
from fastgrad.trees import Leaf, Params
from fastgrad.values import as_number, at_base

__all__ = ["Sampler", "lengths", "spacing"]


_CENTRAL = central()
_SPACINGS = {char: float(np.finfo(char).eps) for char in "efdg"}


class Sampler:
    """`f` at and around one set of parameters."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Params,
        leaves: Sequence[Leaf],
        threads: int = 1,
    ) -> None:
        self._f = f
        self._threads = threads
        self._argument = argument
        self._leaves = leaves
        self.evaluations = 0

    def base(self) -> float:
        """Value at the unperturbed parameters."""
        self.evaluations += 1
        value = self._f(self._argument)
        return value if type(value) is float else float(as_number(value, at_base, 0))

    def beside(self, leaf: Leaf, entries: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Values with single entries moved: shape (entries, 2, 2).

        For each entry and both sides, ahead and behind, the displacement really made and the
        value there.
        """
        raw = np.empty((len(entries), 2, 2))
        run = spread(_backend.sweep_for(self._f, leaf.real), self._threads)
        rule = (_CENTRAL, 0.0, 0.0, steps, 0.0, None)
        run(self._f, self._argument, leaf, *rule, 0, len(entries), entries, raw)
        self.evaluations += 2 * len(entries)
        return raw

    def along(
        self, moves: Sequence[np.ndarray], times: Sequence[float], dull: float | None = None
    ) -> list[float]:
        """Values with all leaves moved at once, by the moves times each of `times`.

        No more than two of them if both are `dull`.
        """
        values: list[float] = []
        with self._moving() as saved:
            for time in times:
                self._move(saved, moves, time)
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
        with self._moving() as saved:
            self._move(saved, moves, time)
            for which, entries, steps in picks:
                raw = self.beside(self._leaves[which], entries, steps)
                width = raw[:, 0, 0] - raw[:, 1, 0]
                columns.append((raw[:, 0, 1] - raw[:, 1, 1]) / width)
        return np.concatenate(columns)

    def _move(self, saved: Sequence[np.ndarray], moves: Sequence[np.ndarray], time: float) -> None:
        for leaf, before, move in zip(self._leaves, saved, moves, strict=True):
            if before.dtype == move.dtype:
                np.add(before, time * move, out=leaf.real)
                continue
            with np.errstate(over="ignore"):
                leaf.real[...] = before + (time * move).astype(before.dtype)

    @contextmanager
    def _moving(self) -> Iterator[list[np.ndarray]]:
        saved = [leaf.array.copy() for leaf in self._leaves]
        try:
            yield [Leaf("", before).real for before in saved]
        finally:
            for leaf, before in zip(self._leaves, saved, strict=True):
                leaf.array[...] = before


def lengths(leaf: Leaf) -> np.ndarray:
    """The length by which each entry's steps are measured: ``max(1, |x|)``, in C order."""
    size = np.abs(leaf.real).ravel().astype(np.float64, copy=False)
    length: np.ndarray = np.maximum(size, 1.0)
    if not length.max(initial=1.0) < np.inf:
        length[~(length < np.inf)] = 1.0
    return length


def spacing(leaf: Leaf) -> float:
    """Distance from 1 to the next number of the leaf's type."""
    return _SPACINGS[leaf.real.dtype.char]
