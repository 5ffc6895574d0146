"""Shares out the entries among threads, for native objectives, which run without the GIL."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.inplace import InPlace
from fastgrad._evaluation.protocol import Evaluator, Gradient, Samples, Single, Target
from fastgrad._leaf import Leaf, entry_path
from fastgrad._memory import first_difference

__all__ = ["Threaded", "threaded"]

# Seconds of a share of the work: after at most that a Ctrl-C is heard.
_SHARE = 0.01


def threaded(inner: Any, threads: int) -> Evaluator:
    """An evaluator in this many threads; with one, the evaluator itself."""
    return inner if threads == 1 else Threaded(inner, threads)


class Threaded(Around):
    """An evaluator that lets threads move copies of the parameters, each one its own."""

    _inner: InPlace

    def __init__(self, inner: InPlace, threads: int) -> None:
        super().__init__(inner)
        self._threads = threads

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        # Each thread fills rows of its own.
        shape = (request.count, len(request.offsets))
        width = () if self.outputs is None else (self.outputs.size,)
        moved, values = np.empty(shape), np.empty(shape + width)

        def run(own: InPlace, low: int, high: int) -> None:
            found = own.single(request.part(low, high))
            moved[low:high], values[low:high] = found.moved, found.values

        self._share(request.count, run)
        return Samples(moved, values)

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine: see `Evaluator`."""
        for request, target in zip(requests, targets, strict=True):

            def run(
                own: InPlace, low: int, high: int, part: Any = request.part, target: Any = target
            ) -> None:
                own.gradient((part(low, high),), (target,))

            self._share(request.count, run)

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Threaded]:
        """The same at displaced parameters, of which the threads' copies are taken."""
        with self._inner.displaced(direction, time):
            yield self

    def _share(self, count: int, run: Callable[[InPlace, int, int], None]) -> None:
        """Call ``run(evaluator, low, high)`` in threads until all positions are done."""
        leaf = self.leaves[0]
        array = self._inner.guard.view(0)
        threads = min(self._threads, max(count, 1))
        shares = _Shares(count, threads)

        def work() -> tuple[tuple[int, ...] | None, int]:
            # A copy of its own, for all threads move the same entries' neighbors at once.
            mine = array.copy()
            own = self._inner.on(mine, Guard([Leaf(leaf.path, mine)], private=True))
            with own:
                shares.work(lambda low, high: run(own, low, high))
                return first_difference(mine, array), own.evaluations

        with ThreadPoolExecutor(threads) as pool:
            # Whatever ends the wait, a Ctrl-C too, ends the handing out: threads then stop soon.
            try:
                futures = [pool.submit(work) for _ in range(threads)]
                ends = [future.result() for future in futures]
            finally:
                shares.close()
        shares.raise_first()
        for index, evaluations in ends:
            self._inner.evaluations += evaluations
            if index is not None:
                raise _errors.written_error(entry_path(leaf.path, index), undone=True)


class _Shares:
    """Hands out ranges of positions in ascending order, until they or the patience end."""

    def __init__(self, stop: int, threads: int) -> None:
        self._next, self._stop, self._threads = 0, stop, threads
        self._lock = Lock()
        self._errors: dict[int, Exception] = {}

    def work(self, run: Callable[[int, int], None]) -> None:
        """Run one share after the other; the time that one takes decides the size of the next."""
        size = 1
        while share := self._take(size):
            began = perf_counter()
            try:
                run(*share)
            except Exception as error:
                self._errors[share[0]] = error
                self.close()
            seconds = perf_counter() - began
            size = 4 * size if 4 * seconds < _SHARE else max(1, int(size * _SHARE / seconds))

    def _take(self, size: int) -> tuple[int, int] | None:
        with self._lock:
            first, left = self._next, self._stop - self._next
            if left <= 0:
                return None
            # No thread is left alone with a large share at the end.
            self._next += min(size, -(-left // (2 * self._threads)))
            return first, self._next

    def close(self) -> None:
        """Hand out no more; what is under way is finished."""
        with self._lock:
            self._stop = self._next

    def raise_first(self) -> None:
        """Raise what a single thread would have met first: all shares before it were finished."""
        if self._errors:
            raise self._errors[min(self._errors)]
