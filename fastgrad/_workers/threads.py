"""Spreads the entries over threads, for native objectives, which run without the GIL."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from time import perf_counter
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.native import Native
from fastgrad._leaf import Leaf, entry_path
from fastgrad._memory import first_difference

__all__ = ["spread", "thread_count"]

Sweep = Callable[..., None]

_SHARE = 0.01  # seconds of a share of the work: after at most that a Ctrl-C is heard


def thread_count(workers: Any) -> int:
    """How many threads `workers` asks for."""
    if workers is None:
        return 1
    if isinstance(workers, bool) or not isinstance(workers, (int, np.integer)):
        raise InputTypeError(
            f"`workers` must be the number of threads, for a native `f`; got {workers!r}"
        )
    if workers == -1:
        return os.cpu_count() or 1
    if workers < 1:
        raise InputValueError(
            f"`workers` must be at least 1, or -1 for as many as there are cores; got {workers}"
        )
    return int(workers)


def spread(run: Sweep, threads: int) -> Sweep:
    """A `sweep` that shares its positions among threads."""
    return run if threads == 1 else partial(_sweep, run, threads)


def _sweep(
    run: Sweep,
    threads: int,
    f: Native,
    argument: np.ndarray,
    leaf: Leaf,
    *rule: Any,
) -> None:
    """As `_reference.sweep`, each thread on a copy of its own of the parameters."""
    *how, start, stop = rule[:8]
    rest = rule[8:]  # entries and raw
    leaf.check_found()
    shares = _Shares(start, stop, threads)

    def work() -> tuple[int, ...] | None:
        mine = leaf.array.copy()
        own = Leaf(leaf.path, mine)
        shares.work(lambda first, last: run(f, mine, own, *how, first, last, *rest))
        return first_difference(mine, leaf.array)

    threads = min(threads, max(stop - start, 1))
    with ThreadPoolExecutor(threads) as pool:
        try:
            futures = [pool.submit(work) for _ in range(threads)]
            written = [future.result() for future in futures]
        finally:
            shares.close()
    shares.raise_first()
    for index in written:
        if index is not None:
            raise _errors.written_error(entry_path(leaf.path, index), undone=True)


class _Shares:
    """Hands out ranges of positions in ascending order, until they or the patience end."""

    def __init__(self, start: int, stop: int, threads: int) -> None:
        self._next, self._stop, self._threads = start, stop, threads
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
