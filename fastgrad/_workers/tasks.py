"""The tasks that a run is cut into: which are out, and which are to be given out again."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterator
from typing import NamedTuple

from fastgrad._evaluation.protocol import Request
from fastgrad._workers.worker import Failure

__all__ = ["Queue", "Task"]


class Task(NamedTuple):
    """A part of one request in a list of them."""

    which: int  # the position of the request in the list
    start: int  # the position in the request at which the part starts
    request: Request  # the part, a request of its own


class Queue:
    """Tasks, numbered as in a serial run: those that are out, and those to be given out again."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self.out: dict[int, Task] = {}  # by number: those that the pool has
        self.deaths: Counter[int] = Counter()
        self.failure: Failure | None = None
        self._failed: float = math.inf  # number of the first task that failed
        self._fresh = enumerate(tasks)
        self._again: deque[tuple[int, Task, bool]] = deque()

    def take(self) -> tuple[int, Task, bool] | None:
        """The next task with its number, and whether to send the payload with it."""
        while self._again:
            # A serial run would not have come to tasks after the one that failed.
            if self._again[0][0] < self._failed:
                return self._taken(*self._again.popleft())
            self._again.popleft()
        if self.failure is not None:
            return None  # what is fresh comes after what has failed
        return next((self._taken(number, task, False) for number, task in self._fresh), None)

    def _taken(self, number: int, task: Task, with_payload: bool) -> tuple[int, Task, bool]:
        self.out[number] = task
        return number, task, with_payload

    def give_back(self, number: int, with_payload: bool = False) -> None:
        """Let a task be given out again."""
        self._again.append((number, self.out.pop(number), with_payload))

    def fail(self, number: int, failure: Failure) -> None:
        """Remember the failure, if it is the first in the order of a serial run."""
        del self.out[number]
        if number < self._failed:
            self._failed, self.failure = number, failure

    def waits(self) -> bool:
        """Whether something that matters is out."""
        return any(number < self._failed for number in self.out)
