"""Cuts requests into tasks for a pool of workers: processes, the user's executor, or a map.

Every worker moves entries of its own copy of the parameters, by the very loop that would move them
here, so the results are those of a serial run, to the bit. The user's executor stays open.
"""

from __future__ import annotations

import math
import os
import sys
import uuid
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._errors import WorkerError
from fastgrad._evaluation.around import Around
from fastgrad._evaluation.batched import InBatches
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.inplace import InPlace
from fastgrad._evaluation.lenient import is_quiet
from fastgrad._evaluation.meter import Bar
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Displaced,
    Evaluator,
    Gradient,
    Grouped,
    Request,
    Samples,
    Single,
    Target,
)
from fastgrad._workers.payload import pack
from fastgrad._workers.pools import PoolFactory
from fastgrad._workers.processes import Lost, Processes
from fastgrad._workers.tasks import Queue, Task
from fastgrad._workers.worker import (
    TaskResult,
    Verification,
    forget,
    remember,
    verify,
)

__all__ = ["Scheduler"]

# Seconds that a task should take: long against the 0.3 ms that it costs to send one.
_SECONDS = 0.05
# Bytes of the values of a task: a few tasks' answers for each worker, which are on their way at
# once, shall stay small beside what they are part of.
_BYTES = 2**22
# Tasks for each worker at least, so that none waits long for the last.
_TASKS = 4
# After this many deaths of its workers a task is given up: a machine may be out of memory once.
_DEATHS = 3
# Two values of one function on two machines agree to this share: they round in another order.
_CLOSE = 1e-5
# ... and so does what a small move adds, to this many times the difference of the values.
_FACTOR = 64.0

_DIES = (
    "{} worker processes died ({}) while `f` was evaluated with {} moved; see what kills them with "
    'workers=None, or start scripts under `if __name__ == "__main__":` if they died at their start'
)
_BROKEN = (
    "`workers` broke ({}) and takes no more work: the rest runs in {} processes of fastgrad's own, "
    "with the same results; pass a new executor next time"
)
_ROUNDS = (
    "workers round differently from this process: {}. Results may differ from a serial run in "
    "their last digits; use as many BLAS threads here as there (OMP_NUM_THREADS)"
)
_DOES_NOT_MOVE = (
    "does not see its parameters move: `f` reads them from another place, such as a global of a "
    "module, or a tensor of the same memory. Let it read its argument"
)
_DIFFERS = (
    "does not behave as the original: `f` is random, keeps a state, or reads what pickle does not "
    "bring along. Fix that"
)


class Scheduler(Around):
    """An evaluator that has requests evaluated by the workers of a pool.

    What a worker's copy of `f` gives is compared with what `f` gives here before it counts. In the
    context `displaced` `f` is evaluated here, as the copies have not moved; `beside` moves them,
    and with `follow` workers get copies of the displaced parameters.
    """

    _inner: InPlace | InBatches

    def __init__(
        self,
        inner: InPlace | InBatches,
        make_pool: PoolFactory,
        bar: Bar | None = None,
        bounds: Bounds | None = None,
        *,
        follow: bool = False,
    ) -> None:
        super().__init__(inner)
        self.batch = sys.maxsize  # it cuts requests itself
        self._make_pool = make_pool
        self._bounds, self._follow = bounds, follow
        self._bar = bar  # shows evaluations as they come in, and not with the answer alone
        self._remote = 0  # evaluations that workers made
        self._raised = ""  # there, by a lenient `f`
        self._token = uuid.uuid4().hex  # under which workers keep the payload
        self._payload = b""  # packed at the first request: a check may end before
        self._verified: Verification | None = None  # what every copy has to reproduce, from then on

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated, here and by the workers."""
        return self._inner.evaluations + self._remote

    @property
    def raised(self) -> str:
        """What a lenient `f` raised first, in words: see `Evaluator`."""
        return self._inner.raised or self._raised

    def __enter__(self) -> Scheduler:
        # The parameters first: they may be refused, and a pool is slow to start.
        super().__enter__()
        try:
            self._pool = self._make_pool()
        except BaseException as error:
            self._inner.__exit__(type(error), error, error.__traceback__)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            forget(self._token)
            self._pool.close()
        finally:
            self._inner.__exit__(kind, error, traceback)

    def start(self) -> None:
        """Pack the payload, and evaluate here what every copy has to reproduce."""
        if self._payload:
            return
        vector = self._inner.outputs or self._inner.vector
        self._payload = pack(self._inner.given, (self._inner.argument, self._bounds, vector))
        remember(self._token, self._payload)  # for a pool of threads, or of forks of this process
        if isinstance(self._pool, Processes):
            self._pool.open()  # they start while `f` is evaluated here
        self._verified = verify(self._inner, self._bounds)

    @property
    def _verification(self) -> Verification:
        assert self._verified is not None, "asked for before the payload is packed"
        return self._verified

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        if request.count < 2:
            return self._inner.single(request)  # to send it would cost more
        return _joined(self._answers((request,)))

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        if request.count < 2:
            return self._inner.grouped(request)
        return _joined(self._answers((request,)))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`.

        Workers draw the direction themselves; the claims stay here. One point alone, and those of
        which the first decide whether more are taken, are taken here.
        """
        if request.still is not None or (claims is None and request.count < 2):
            return self._inner.along(request, claims)
        answers = self._answers((request,))
        values = tuple(value for _, answer in answers for value in answer.values)
        if claims is None:
            return Changes(values, (0.0,) * len(values))
        return replace(self.claimed(request, claims), values=values)

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine, in tasks of all leaves together: see `Evaluator`."""
        found = [_backend.kernel.Fingerprint(target.array) for target in targets]
        for task, answer in self._finished(requests):
            target = targets[task.which]
            if found[task.which].changed():
                raise _errors.moved_error("out")
            start = requests[task.which].start + task.start - target.first
            place = slice(start, start + len(answer.values))
            if self.outputs is None:
                target.array.flat[place] = answer.values
            else:  # a row for each entry
                target.array[place] = answer.values

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Evaluator]:
        """An evaluator at displaced parameters: see `Evaluator`."""
        with self._inner.displaced(direction, time) as there:
            if not self._follow:
                yield there
                return
            here = self._token, self._payload, self._verified
            self._token, self._payload = uuid.uuid4().hex, b""  # packed there
            try:
                yield self
            finally:
                forget(self._token)
                self._token, self._payload, self._verified = here

    def beside(self, requests: Sequence[Displaced]) -> list[Samples]:
        """Answer many requests, each at displaced parameters of the workers: see `Evaluator`."""
        found: list[list[tuple[Task, Samples]]] = [[] for _ in requests]
        for task, answer in self._answers(requests):
            found[task.which].append((task, answer))
        return [
            _joined(answers) if answers else request.run(self._inner)  # one without entries
            for request, answers in zip(requests, found, strict=True)
        ]

    def _answers(self, requests: Sequence[Request]) -> list[tuple[Task, Any]]:
        """All tasks with their answers, in the order of a serial run."""
        return sorted(self._finished(requests), key=lambda pair: pair[0][:2])

    def _finished(self, requests: Sequence[Request]) -> Iterator[tuple[Task, Any]]:
        """Tasks as they are finished, with their answers.

        Where `f` fails, the exception that a serial run meets first is raised.
        """
        self.start()
        queue = Queue(self._cut(requests))
        while True:
            while self._pool.has_room() and (given := queue.take()):
                number, task, with_payload = given
                payload = self._payload if with_payload else None
                message = (self._token, payload, _backend.backend, task.request, is_quiet())
                self._pool.submit(number, message)
            if not queue.waits():
                break
            # A pool answers in four ways: lost, asked for the payload, failed, or done.
            number, answer = self._pool.next()
            if isinstance(answer, Lost):
                self._recover(queue, number, answer)
            elif answer is None:
                queue.give_back(number, with_payload=True)
            elif answer.failure is not None:
                queue.fail(number, answer.failure)
            else:
                yield queue.out.pop(number), self._accepted(answer)
        if queue.failure is not None:
            raise queue.failure.error()

    def _cut(self, requests: Sequence[Request]) -> Iterator[Task]:
        """Cut requests into tasks of about equal duration, on which no answer depends."""
        share = math.ceil(sum(each.count for each in requests) / (_TASKS * self._pool.size))
        for which, request in enumerate(requests):
            if not request.count:
                continue
            # Seconds for one position; the clock may not have moved during a short evaluation.
            once = max(self._verification.seconds * request.evaluations, 1e-9) / request.count
            most = int(_BYTES / (8 * self._width() * request.evaluations / request.count))
            length = max(1, min(int(_SECONDS / once), share, most))
            for start in range(0, request.count, length):
                part = request.part(start, min(start + length, request.count))
                yield Task(which, start, part)

    def _width(self) -> int:
        """Numbers that one evaluation gives."""
        return 1 if self.outputs is None else max(1, self.outputs.size)

    def _accepted(self, result: TaskResult) -> Any:
        """Count and compare before an answer is used."""
        self._remote += result.evaluations
        self._raised = self._raised or result.raised
        if self._bar is not None:
            self._bar.to(self.evaluations)
        if result.verification is not None:
            _compare(self._verification, result.verification)
        return result.answer

    def _recover(self, queue: Queue, number: int, lost: Lost) -> None:
        """Give a lost task to a new process, or all tasks to our own in place of an executor."""
        if isinstance(self._pool, Processes):
            queue.deaths[number] += 1
            if queue.deaths[number] == _DEATHS:
                where = queue.out[number].request.name(self.leaves)
                raise WorkerError(_DIES.format(_DEATHS, lost.how, where))
            queue.give_back(number)
            return
        self._pool.close()
        self._pool = Processes(min(self._pool.size, os.cpu_count() or 1))
        for each in sorted(queue.out):
            queue.give_back(each)
        text = _BROKEN.format(lost.how, self._pool.size)
        warnings.warn(text, RuntimeWarning, stacklevel=2)


def _joined(answers: Sequence[tuple[Task, Samples]]) -> Samples:
    """The answers of the parts of one request as one."""
    moved = np.concatenate([answer.moved for _, answer in answers])
    return Samples(moved, np.concatenate([answer.values for _, answer in answers]))


def _compare(mine: Verification, theirs: Verification) -> None:
    """Refuse a copy that behaves otherwise than `f` does here."""
    if _same(mine.base, theirs.base) and _same(mine.moved, theirs.moved):
        return
    here, there = _told(mine, theirs)
    said = (
        f"at the parameters `f` gives {here.base!r} here and {there.base!r} in a worker, with all "
        f"entries moved a little {here.moved!r} here and {there.moved!r} there"
    )
    if _close(mine, theirs):
        warnings.warn(_ROUNDS.format(said), RuntimeWarning, stacklevel=2)
        return
    why = _DOES_NOT_MOVE if _same(theirs.base, theirs.moved) else _DIFFERS
    raise WorkerError(f"a worker's copy of `f` {why}, or use workers=None ({said})")


def _same(a: Any, b: Any) -> bool:
    """Whether two values are equal, or two names; NaN equals NaN."""
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str) and a == b
    return np.array_equal(a, b, equal_nan=True)


def _told(mine: Verification, theirs: Verification) -> tuple[Verification, Verification]:
    """What an error says of them: of vectors the number that differs most."""
    values = [mine.base, mine.moved, theirs.base, theirs.moved]
    shapes = {np.shape(value) for value in values}
    if any(isinstance(value, str) for value in values) or shapes == {()} or len(shapes) > 1:
        return mine, theirs
    apart = np.nan_to_num(np.abs(values[0] - values[2]) + np.abs(values[1] - values[3]), nan=np.inf)
    at = int(apart.argmax())
    told = [value.item(at) for value in values]
    return replace(mine, base=told[0], moved=told[1]), replace(theirs, base=told[2], moved=told[3])


def _close(mine: Verification, theirs: Verification) -> bool:
    """Whether the values differ by rounding only, and no more where all entries have moved."""
    values = (mine.base, mine.moved, theirs.base, theirs.moved)
    if any(isinstance(value, str) or not np.isfinite(value).all() for value in values):
        return False
    if len({np.shape(value) for value in values}) > 1:
        return False
    # Of vectors by their largest numbers: what cancels is rounded like what it came from.
    size, off = _largest(mine.base), _largest(mine.base - theirs.base)
    apart = _largest((mine.moved - mine.base) - (theirs.moved - theirs.base))
    return off <= _CLOSE * size and apart <= _FACTOR * max(off, 2.0**-53 * size)


def _largest(value: Any) -> float:
    return float(np.max(np.abs(value), initial=0.0))
