"""What a worker does: it keeps copies of `f` and its parameters, and runs requests on them.

A payload (see `payload`) crosses to a worker once. A task names it by a token; a worker that does
not know the token says so, and gets the task again with the payload.
"""

from __future__ import annotations

import os
import pickle
import time
import traceback
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any

from fastgrad import _backend
from fastgrad._dtypes import eps_of
from fastgrad._errors import FastgradError, InputValueError, WorkerError, is_nested
from fastgrad._evaluation.bounds import Bounds, Within
from fastgrad._evaluation.direction import Region, Uniform
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import quiet_if
from fastgrad._evaluation.local import local
from fastgrad._evaluation.protocol import Along, Changes, Evaluator, Request, Samples
from fastgrad._leaf import Leaf
from fastgrad._tree import check_places, flatten
from fastgrad._workers.payload import dump, unpack

__all__ = ["Failure", "TaskResult", "Verification", "forget", "remember", "run_task", "verify"]

# Payloads that a process remembers: that of the run at work, and that of one beside it.
_KEPT = 2


# ---------------------------------------------------------------- does a copy behave alike


@dataclass(frozen=True)
class Verification:
    """What `f` gives at the parameters, and with all of them moved a little.

    Each is a value, or a vector, or the name of an exception. A copy of `f` that reads other memory
    than its parameters gives the same value at both. `seconds` is the shorter time of the two.
    """

    base: Any
    moved: Any
    seconds: float


def verify(evaluator: Evaluator, bounds: Bounds | None = None) -> Verification:
    """Evaluate `f` at the two points."""
    nudge = _nudge(evaluator.leaves)
    if bounds is not None:
        nudge = replace(nudge, direction=Within.for_times(nudge.direction, bounds, nudge.times))
    started = time.perf_counter()
    base = _value_or_name(evaluator.base)
    between = time.perf_counter()
    moved = _value_or_name(lambda: evaluator.along(nudge).values[0])
    return Verification(base, moved, min(between - started, time.perf_counter() - between))


def _nudge(leaves: Sequence[Leaf]) -> Along:
    """A request that moves every entry by its own share of a usual step, in either direction."""
    regions = tuple(
        Region(k, tuple(slice(0, n) for n in leaf.real.shape), leaf.real.shape)
        for k, leaf in enumerate(leaves)
        if leaf.real.size
    )
    # The cube root of the rounding: the step of a central difference, in the leaf's own type.
    widths = tuple(eps_of(leaves[region.leaf].real) ** (1 / 3) for region in regions)
    return Along(Uniform(0, 0, regions, widths), (1.0,))


def _value_or_name(evaluate: Any) -> Any:
    try:
        return evaluate()
    except Exception as error:  # the request itself will meet it, and name the entry
        return type(error).__qualname__


# ---------------------------------------------------------------- in the worker


@dataclass(frozen=True)
class Failure:
    """An exception on its way back: pickled where that works, and as text."""

    kind: str
    text: str
    pickled: bytes | None
    notes: tuple[str, ...]
    nested: bool = False  # whether a function of the user's raised it

    @staticmethod
    def of(error: BaseException) -> Failure:
        """A failure with as much of the exception as can be sent."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        kind = traceback.format_exception_only(type(error), error)[0].strip()
        pickled: bytes | None
        try:
            pickled = dump(error)
            # Tried here: some exceptions can be pickled, and fail when they are loaded.
            if type(pickle.loads(pickled)) is not type(error):
                pickled = None
        except Exception:  # of the user's own __reduce__ or __init__
            pickled = None
        notes = tuple(getattr(error, "__notes__", ()))
        return Failure(kind, text, pickled, notes, is_nested(error))

    def error(self) -> BaseException:
        """The exception, with the worker's traceback as its cause."""
        try:
            error = pickle.loads(self.pickled or b"")
        except Exception:
            return WorkerError(
                f"`f` raised {self.kind} in a worker, which cannot be sent back:\n{self.text}"
            )
        # Some types bring their notes along.
        for note in self.notes[len(getattr(error, "__notes__", ())) :]:
            error.add_note(note)
        if isinstance(error, FastgradError):
            error.nested = self.nested
        error.__cause__ = WorkerError(f"raised in a worker:\n{self.text}")
        return error  # type: ignore[no-any-return]


@dataclass(frozen=True)
class TaskResult:
    """The answer to a request, or a failure; of a copy just made, a verification."""

    answer: Samples | Changes | None
    evaluations: int
    verification: Verification | None = None
    failure: Failure | None = None
    raised: str = ""  # by a lenient `f`, first, in words


class _Copy:
    """A copy of `f` and its parameters, for one task at a time."""

    def __init__(self, payload: bytes) -> None:
        f, (self._argument, self._bounds, vector) = unpack(payload)
        self._leaves = flatten(self._argument)
        # Its guard copies whatever the size: only so is every write undone before the next task.
        guard = Guard(self._leaves)
        self._evaluator = local(f, self._argument, guard, vector=vector, bounds=self._bounds)
        self._verified = False

    def run(self, request: Request) -> TaskResult:
        """The answer to a request; the first also shows whether the copy behaves alike."""
        verification, before = None, self._evaluator.evaluations
        with self._evaluator:
            if not self._verified:
                verification = verify(self._evaluator, self._bounds)
            answer = request.run(self._evaluator)
        check_places(self._argument, self._leaves)
        self._verified = True
        made = self._evaluator.evaluations - before
        return TaskResult(answer, made, verification, raised=self._evaluator.raised)


class _Cached:
    """A payload, and the copies made from it that no task is using."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.free: list[_Copy] = []


# By token, the one used last at the end.
_cache: OrderedDict[str, _Cached] = OrderedDict()
_lock = Lock()


def _renew_lock() -> None:
    """In a forked child: a thread that held the lock is not there to release it."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def remember(token: str, payload: bytes) -> _Cached:
    """Make a payload known in this process: to its threads, and to those it forks."""
    with _lock:
        cached = _cache.setdefault(token, _Cached(payload))
        _cache.move_to_end(token)
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)
    return cached


def forget(token: str) -> None:
    """Drop a payload and its copies."""
    with _lock:
        _cache.pop(token, None)


def run_task(
    token: str, payload: bytes | None, backend: str, request: Request, silent: bool = False
) -> TaskResult | None:
    """Run a request on a copy of its own. None means that the payload is needed.

    With `silent`, no warning is given: see `lenient.quiet`.
    """
    with _lock:
        cached = _cache.get(token)
    if cached is None:
        if payload is None:
            return None
        cached = remember(token, payload)
    try:
        _same_backend(backend)
        copy = _taken(cached)
        with quiet_if(silent):
            result = copy.run(request)
    except BaseException as error:  # also an exit that `f` asks for: it is the caller's
        return TaskResult(None, 0, failure=Failure.of(error))
    cached.free.append(copy)  # not after a failure, which may have left it in any state
    return result


def _taken(cached: _Cached) -> _Copy:
    """A copy that no task is using: threads of one worker may run tasks at once."""
    # To ask whether one is free would leave time for another thread to take it.
    try:
        return cached.free.pop()
    except IndexError:
        pass
    try:
        return _Copy(cached.payload)
    except Exception as error:
        raise WorkerError(
            f"`f` cannot be loaded in a worker: {type(error).__name__}: {error}. Install there "
            "what it needs, or install cloudpickle here and there"
        ) from error


def _same_backend(wanted: str) -> None:
    """Let the worker's kernel be the one that the caller's report names."""
    if _backend.backend == wanted:
        return
    try:
        _backend.use(wanted)
    except ModuleNotFoundError:
        raise InputValueError(
            "`workers` must run the compiled kernel as the caller does, and one has none; install "
            "fastgrad there with a C compiler, or set FASTGRAD_BACKEND=pure here"
        ) from None
