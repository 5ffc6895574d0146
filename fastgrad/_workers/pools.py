"""Pools that run tasks: processes of our own, the user's executor, or the user's map."""

from __future__ import annotations

import operator
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import Any, Protocol, TypeAlias

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError, WorkerError
from fastgrad._workers.processes import Lost, Processes
from fastgrad._workers.worker import TaskResult, run_task

__all__ = ["Pool", "PoolFactory", "pool_of", "thread_count"]

# Workers of an executor that does not tell how many it has: too many tasks wait in its queue, too
# few leave workers idle.
_MANY = 32
_NO_MAP = "`workers` must return results as map(function, iterable) does, one for each; got {}"

PoolFactory: TypeAlias = "Callable[[], Pool]"


class Pool(Protocol):
    """Runs tasks, some at a time, in any order."""

    size: int

    def has_room(self) -> bool:
        """Whether one more task would not have to wait for long."""

    def submit(self, number: int, message: tuple[Any, ...]) -> None:
        """Have `run_task` called with the message."""

    def next(self) -> tuple[int, TaskResult | Lost | None]:
        """Wait for a task; return its number and the result of `run_task`."""

    def close(self) -> None:
        """End what was started, and cancel what waits."""


class _Futures:
    """The user's executor, which stays open."""

    def __init__(self, executor: futures.Executor, size: int) -> None:
        self.size = size
        self._executor = executor
        self._pending: dict[futures.Future[TaskResult | None], int] = {}

    def has_room(self) -> bool:
        # Twice as many as workers: each finds its next task waiting.
        return len(self._pending) < 2 * self.size

    def submit(self, number: int, message: tuple[Any, ...]) -> None:
        try:
            future = self._executor.submit(run_task, *message)
        except futures.BrokenExecutor as error:  # reported by `next`, like one that breaks later
            future = futures.Future()
            future.set_exception(error)
        except RuntimeError as error:
            raise InputValueError(
                f"`workers` is an executor that takes no work: {error}"
            ) from error
        self._pending[future] = number

    def next(self) -> tuple[int, TaskResult | Lost | None]:
        done, _ = futures.wait(self._pending, return_when=futures.FIRST_COMPLETED)
        future = min(done, key=self._pending.__getitem__)  # the earliest task
        number = self._pending.pop(future)
        try:
            return number, future.result()
        except futures.BrokenExecutor as error:
            return number, Lost(str(error))
        except Exception as error:  # of the executor: those of `f` are part of a result
            raise WorkerError(f"`workers` could not run a task: {error!r}") from error

    def close(self) -> None:
        for future in self._pending:
            future.cancel()
        self._pending = {}


class _Mapped:
    """A function like `map`: what is submitted waits until an answer is asked for."""

    def __init__(self, function: Callable[..., Iterable[Any]]) -> None:
        self.size = os.cpu_count() or 1
        self._map = function
        self._numbers: deque[int] = deque()
        self._messages: list[tuple[Any, ...]] = []
        self._answers: Iterator[Any] = iter(())

    def has_room(self) -> bool:
        return len(self._numbers) == len(self._messages)  # until `next` has called the map

    def submit(self, number: int, message: tuple[Any, ...]) -> None:
        self._numbers.append(number)
        self._messages.append(message)

    def next(self) -> tuple[int, TaskResult | Lost | None]:
        if self._messages:
            messages, self._messages = self._messages, []
            self._answers = self._iterated(self._map(_run_task, messages))
        answer = next(self._answers, "too few of them")
        if not isinstance(answer, (TaskResult, type(None))):
            raise InputTypeError(_NO_MAP.format(repr(answer)))
        return self._numbers.popleft(), answer

    # A map may be lazy, or return a list: both are iterated.
    @staticmethod
    def _iterated(answers: Any) -> Iterator[Any]:
        try:
            return iter(answers)
        except TypeError:
            raise InputTypeError(_NO_MAP.format(repr(answers))) from None

    def close(self) -> None:
        self._numbers.clear()
        self._messages.clear()


def _run_task(message: tuple[Any, ...]) -> TaskResult | None:
    return run_task(*message)


def pool_of(workers: Any) -> PoolFactory | None:
    """How to make the pool that the user passed as `workers`; None for a serial run."""
    if workers is None:
        return None
    if isinstance(workers, futures.Executor):
        return lambda: _Futures(workers, _size(workers))
    if _is_dask(workers):
        return lambda: _Futures(workers.get_executor(pure=False), _size(workers))
    if callable(workers) and not _is_executor_type(workers):
        return lambda: _Mapped(workers)
    count = _count(workers)
    return None if count == 1 else lambda: Processes(count)


def _size(workers: Any) -> int:
    """How many tasks run at once."""
    # No executor makes that public; those of the standard library and of loky keep it in one place.
    client = getattr(workers, "_client", workers)
    if _is_dask(client):
        threads: dict[str, int] = client.nthreads()
        return max(1, sum(threads.values()))
    size = getattr(workers, "_max_workers", None)
    return size if isinstance(size, int) and size > 0 else _MANY


def _is_dask(workers: Any) -> bool:
    # A client cannot exist where it is not imported; a module of that name may be the user's own.
    client = getattr(sys.modules.get("distributed"), "Client", None)
    return isinstance(client, type) and isinstance(workers, client)


def _is_executor_type(workers: Any) -> bool:
    return isinstance(workers, type) and issubclass(workers, futures.Executor)


def thread_count(workers: Any) -> int:
    """How many threads the user asks for by `workers`, of a native `f`."""
    return 1 if workers is None else _count(workers, "the number of threads, for a native `f`")


_EXPECTED = (
    "None, a number of processes, a concurrent.futures.Executor, a dask Client, or a function "
    "such as pool.map"
)


def _count(workers: Any, expected: str = _EXPECTED) -> int:
    try:
        if isinstance(workers, (bool, np.bool_)):
            raise TypeError
        count = operator.index(workers)
    except TypeError:
        raise InputTypeError(f"`workers` must be {expected}; got {workers!r}") from None
    if count == -1:
        return os.cpu_count() or 1
    if count < 1:
        raise InputValueError(
            f"`workers` must be at least 1, or -1 for as many as there are cores; got {count}"
        )
    return count
