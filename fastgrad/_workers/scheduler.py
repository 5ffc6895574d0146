"""Slices a run over workers: processes, the user's executor, or the user's map.

Every worker moves entries of its own copy of the parameters, with the very loop that would move
them here, so the results are those of a serial run, to the bit. Of what is at work we end only
what we started.
"""

from __future__ import annotations

import math
import os
import uuid
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._errors import WorkerError
from fastgrad._leaf import Leaf
from fastgrad._stencils import central
from fastgrad._tree import Params
from fastgrad._workers.payload import pack
from fastgrad._workers.pools import Makes
from fastgrad._workers.processes import Lost, Processes
from fastgrad._workers.worker import (
    PROOFS,
    Blocks,
    Failure,
    Outcome,
    Proof,
    Rule,
    Slice,
    Task,
    deposit,
    prove,
    withdraw,
)

__all__ = ["Crew", "Sweep", "hired"]

_VALUES = Rule(central())
_SECONDS = 0.05  # that a slice should take: long against what it costs to send one
_SLICES = 4  # for each worker at least, so that none waits long for the last
_DEATHS = 3  # after so many a slice is given up
_CLOSE = 1e-5  # relative: two values of one function on two machines
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
    "workers round otherwise than this process: {}. Results may differ from a serial run in their "
    "last digits; use as many BLAS threads here as there (OMP_NUM_THREADS)"
)
_STANDS = (
    "does not see its parameters move: `f` reads them from another place, such as a global of a "
    "module, or a tensor of the same memory. Let it read its argument"
)
_DIFFERS = (
    "does not behave as the original: `f` is random, keeps a state, or reads what pickle does not "
    "bring along. Fix that"
)


@dataclass(frozen=True)
class Sweep:
    """Entries of one leaf to be differentiated by one rule: all of them, or those listed."""

    leaf: int
    rule: Rule
    entries: np.ndarray | None = None
    steps: np.ndarray | None = None

    def count(self, leaves: Sequence[Leaf]) -> int:
        """How many entries."""
        return leaves[self.leaf].real.size if self.entries is None else len(self.entries)

    def part(self, start: int, stop: int) -> Slice:
        """Those at some positions."""
        listed = self.entries
        entries = np.arange(start, stop, dtype=np.intp) if listed is None else listed[start:stop]
        steps = None if self.steps is None else self.steps[start:stop]
        return Slice(self.leaf, start, entries, steps, self.rule)


def _nobody(evaluations: int) -> None:
    """Tell nobody how far the run is."""


@contextmanager
def hired(
    makes: Makes | None,
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    tell: Callable[[int], None] = _nobody,
) -> Iterator[Crew | None]:
    """A crew for one run, dismissed after it; None for a serial run.

    The crew calls ``tell(n)`` when `n` evaluations were made.
    """
    if makes is None:
        yield None
        return
    crew = Crew(makes, f, argument, leaves, tell)
    try:
        yield crew
    finally:
        crew.dismiss()


class Crew:
    """Workers, each with its own copies of `f` and its parameters.

    `evaluations` counts those that were asked for, here and there.
    """

    def __init__(
        self,
        makes: Makes,
        f: Callable[[Any], Any],
        argument: Params,
        leaves: Sequence[Leaf],
        tell: Callable[[int], None] = _nobody,
    ) -> None:
        self.evaluations = 0
        self._tell = tell
        self._f, self._argument, self._leaves = f, argument, leaves
        self._token = uuid.uuid4().hex
        self._parcel = b""
        self._hands = makes()

    def start(self) -> None:
        """Pack the parcel, and evaluate here what every copy has to reproduce."""
        if self._parcel:
            return
        self._parcel = pack(self._f, self._argument)
        deposit(self._token, self._parcel)
        if isinstance(self._hands, Processes):
            self._hands.open()  # they start while `f` is evaluated here
        self._proof = prove(self._f, self._argument, self._leaves)
        self.evaluations += PROOFS
        self._tell(PROOFS)

    def dismiss(self) -> None:
        """Stop what still runs, and end what was started."""
        withdraw(self._token)
        self._hands.close()

    def sweep(self, sweeps: Sequence[Sweep]) -> Iterator[tuple[Slice, np.ndarray]]:
        """Slices as they are finished, with their derivatives, or displacements and values."""
        self.start()
        for task, values in self._results(self._cut(sweeps)):
            assert isinstance(task, Slice)
            yield task, values

    def beside(self, leaf: int, entries: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Values with single entries moved: see Sampler.beside."""
        raw = np.empty((len(entries), 2, 2))
        for task, values in self.sweep([Sweep(leaf, _VALUES, entries, steps)]):
            raw[task.start : task.start + len(values)] = values
        return raw

    def values(
        self, leaf: int, box: tuple[slice, ...], blocks: Sequence[np.ndarray]
    ) -> list[float]:
        """Values of `f` with a box of ``leaf.real`` replaced by one block after the other."""
        self.start()
        found = np.empty(len(blocks))
        tasks = (Blocks(leaf, i, box, (block,)) for i, block in enumerate(blocks))
        for task, values in self._results(tasks):
            found[task.start] = values[0]
        return list(map(float, found))

    def _cut(self, sweeps: Sequence[Sweep]) -> Iterator[Task]:
        """Slices that take about as long as each other; how long does not change their values."""
        counts = [each.count(self._leaves) for each in sweeps]
        share = math.ceil(sum(counts) / (_SLICES * self._hands.size))
        for each, count in zip(sweeps, counts, strict=True):
            once = max(self._proof.seconds * each.rule.stencil.evaluations, 1e-9)
            length = max(1, min(int(_SECONDS / once), share))
            for start in range(0, count, length):
                yield each.part(start, min(start + length, count))

    def _results(self, tasks: Iterator[Task]) -> Iterator[tuple[Task, np.ndarray]]:
        """Tasks as they are finished, and their values; every one counts here, as it comes in.

        Where `f` fails it is with the exception that a serial run meets first.
        """
        queue = _Queue(tasks)
        while True:
            while self._hands.has_room() and (given := queue.take()):
                number, task, with_parcel = given
                parcel = self._parcel if with_parcel else None
                self._hands.submit(number, (self._token, parcel, _backend.backend, task))
            if not queue.waits():
                break
            number, answer = self._hands.next()
            if isinstance(answer, Lost):
                self._recover(queue, number, answer)
            elif answer is None:
                queue.give_back(number, with_parcel=True)
            elif answer.failure is not None:
                queue.fail(number, answer.failure)
            else:
                yield queue.out.pop(number), self._accepted(answer)
        if queue.failure is not None:
            raise queue.failure.error()

    def _accepted(self, outcome: Outcome) -> np.ndarray:
        self.evaluations += outcome.evaluations
        self._tell(outcome.evaluations)
        if outcome.proof is not None:
            _compare(self._proof, outcome.proof)
        assert outcome.values is not None
        return outcome.values

    def _recover(self, queue: _Queue, number: int, lost: Lost) -> None:
        """Give out again what was lost: to a new process, or to our own in place of an executor."""
        if isinstance(self._hands, Processes):
            queue.deaths[number] += 1
            if queue.deaths[number] == _DEATHS:
                where = queue.out[number].name(self._leaves)
                raise WorkerError(_DIES.format(_DEATHS, lost.how, where))
            queue.give_back(number)
            return
        self._hands.close()
        self._hands = Processes(min(self._hands.size, os.cpu_count() or 1))
        for each in sorted(queue.out):
            queue.give_back(each)
        text = _BROKEN.format(lost.how, self._hands.size)
        warnings.warn(text, RuntimeWarning, stacklevel=2)


class _Queue:
    """Tasks, numbered as in a serial run: those that are out, and those to be given out again."""

    def __init__(self, tasks: Iterator[Task]) -> None:
        self.out: dict[int, Task] = {}
        self.deaths: Counter[int] = Counter()
        self.failure: Failure | None = None
        self._failed: float = math.inf  # the first that did
        self._fresh = enumerate(tasks)
        self._again: deque[tuple[int, Task, bool]] = deque()

    def take(self) -> tuple[int, Task, bool] | None:
        """The next task with its number, and whether to send the parcel with it."""
        while self._again:
            if self._again[0][0] < self._failed:
                return self._taken(*self._again.popleft())
            self._again.popleft()
        if self.failure is not None:
            return None  # what is fresh comes after what has failed
        return next((self._taken(number, task, False) for number, task in self._fresh), None)

    def _taken(self, number: int, task: Task, with_parcel: bool) -> tuple[int, Task, bool]:
        self.out[number] = task
        return number, task, with_parcel

    def give_back(self, number: int, with_parcel: bool = False) -> None:
        self._again.append((number, self.out.pop(number), with_parcel))

    def fail(self, number: int, failure: Failure) -> None:
        del self.out[number]
        if number < self._failed:
            self._failed, self.failure = number, failure

    def waits(self) -> bool:
        """Whether something that matters is out."""
        return any(number < self._failed for number in self.out)


def _compare(mine: Proof, theirs: Proof) -> None:
    """Refuse a copy that behaves otherwise than `f` does here."""
    pairs = ((mine.base, theirs.base), (mine.moved, theirs.moved))
    if all(a == b or (a != a and b != b) for a, b in pairs):
        return
    said = (
        f"at the parameters `f` gives {mine.base!r} here and {theirs.base!r} in a worker, with all "
        f"entries moved a little {mine.moved!r} here and {theirs.moved!r} there"
    )
    if _close(mine, theirs):
        warnings.warn(_ROUNDS.format(said), RuntimeWarning, stacklevel=2)
        return
    why = _STANDS if theirs.base == theirs.moved else _DIFFERS
    raise WorkerError(f"a worker's copy of `f` {why}, or use workers=None ({said})")


def _close(mine: Proof, theirs: Proof) -> bool:
    """Whether the values differ by rounding only, and no more where all entries have moved."""
    values = (mine.base, mine.moved, theirs.base, theirs.moved)
    if any(isinstance(value, str) or not math.isfinite(value) for value in values):
        return False
    size, off = abs(mine.base), abs(mine.base - theirs.base)
    apart = abs((mine.moved - mine.base) - (theirs.moved - theirs.base))
    return bool(off <= _CLOSE * size and apart <= _FACTOR * max(off, 2.0**-53 * size))
