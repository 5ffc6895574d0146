"""What a worker does: it keeps copies of `f` and its parameters, and runs tasks on them.

A parcel (see `parcels`) crosses to a worker once. A task names it by a token; a worker that does
not know the token says so, and gets the task again with the parcel.
"""

from __future__ import annotations

import math
import os
import pickle
import time
import traceback
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np

from fastgrad import _backend
from fastgrad._checks.claim import base_value
from fastgrad._errors import InputValueError, WorkerError, annotate
from fastgrad._evaluation.guard import Guard
from fastgrad._leaf import Leaf
from fastgrad._returns import as_scalar, at_block
from fastgrad._stencils import Stencil
from fastgrad._tree import Params, check_places, flatten
from fastgrad._workers.payload import dump, unpack

__all__ = [
    "PROOFS",
    "Blocks",
    "Failure",
    "Outcome",
    "Proof",
    "Rule",
    "Slice",
    "Task",
    "deposit",
    "perform",
    "prove",
    "withdraw",
]

_KEPT = 2  # parcels that a process remembers
_GOLDEN = 2654435761  # 2**32 over the golden ratio: multiples of it are spread evenly
PROOFS = 2  # evaluations that a proof takes


class Task(Protocol):
    """A piece of a run: small enough to be sent, large enough to be worth it."""

    @property
    def start(self) -> int:
        """Its place in the plan."""

    @property
    def evaluations(self) -> int:
        """Evaluations of `f` that it takes."""

    def run(self, f: Any, argument: Params, leaves: Sequence[Leaf]) -> np.ndarray:
        """Its values, measured on these leaves, which are as before afterwards."""

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The entries it moves."""


@dataclass(frozen=True)
class Rule:
    """How each entry is differentiated; `store` is the derivatives' type.

    Without it, what is wanted are the displacements and values themselves.
    """

    stencil: Stencil
    absolute: float = 0.0
    relative: float = 0.0
    base: Any = math.nan
    store: np.dtype | None = None


@dataclass(frozen=True)
class Slice:
    """Some entries of one leaf, to be swept; `start` is the position of the first in the plan."""

    leaf: int
    start: int
    entries: np.ndarray
    steps: np.ndarray | None
    rule: Rule

    @property
    def evaluations(self) -> int:
        """The stencil's for each entry."""
        return self.rule.stencil.evaluations * len(self.entries)

    def run(self, f: Any, argument: Params, leaves: Sequence[Leaf]) -> np.ndarray:
        """Derivatives of the entries, or displacements and values."""
        leaf, rule, count = leaves[self.leaf], self.rule, len(self.entries)
        out = raw = None
        if rule.store is None:
            raw = np.empty((count, 2 * len(rule.stencil.quotients), 2))
        else:
            out = np.empty(leaf.real.shape, rule.store)  # pages that are not touched cost nothing
        how = (rule.stencil, rule.absolute, rule.relative, self.steps, rule.base, out)
        run = _backend.sweep_for(f, leaf.real, out)
        run(f, argument, leaf, *how, 0, count, self.entries, raw)
        values = raw if out is None else out.reshape(-1)[self.entries]
        assert values is not None
        return values

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The first and the last entry."""
        first, last = (leaves[self.leaf].name(int(self.entries[i])) for i in (0, -1))
        return f"`{first}`" if first == last else f"`{first}` to `{last}`"


@dataclass(frozen=True)
class Blocks:
    """Values of `f` with a box of one leaf replaced by one block of numbers after the other."""

    leaf: int
    start: int
    box: tuple[slice, ...]
    blocks: tuple[np.ndarray, ...]

    @property
    def evaluations(self) -> int:
        """One for each block."""
        return len(self.blocks)

    def run(self, f: Any, argument: Params, leaves: Sequence[Leaf]) -> np.ndarray:
        """Values of `f`, one for each block."""
        leaf = leaves[self.leaf]
        part = leaf.real[self.box]
        saved = part.copy()
        values = []
        try:
            for block in self.blocks:
                part[...] = block
                values.append(as_scalar(f(argument), at_block, 0))
                leaf.check_found()
        except Exception as error:
            annotate(error, f"{leaf.path}[...]")
            raise
        finally:
            if leaf.found is None or leaf.found.stands():
                part[...] = saved
        return np.array(values)

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The leaf."""
        return f"a block of `{leaves[self.leaf].path}`"


# ---------------------------------------------------------------- is a copy as the original


@dataclass(frozen=True)
class Proof:
    """What `f` gives at the parameters, and with all of them moved a little.

    A value, or the name of the exception. A copy of `f` that reads other memory than that of its
    parameters gives the same value at both. `seconds` is the shorter time that one took.
    """

    base: Any
    moved: Any
    seconds: float


def prove(f: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf]) -> Proof:
    """Take the two evaluations."""
    base, seconds = _outcome(f, argument, leaves)
    saved = [leaf.array.copy() for leaf in leaves]
    try:
        for number, leaf in enumerate(leaves):
            _nudge(leaf, number)
        moved, again = _outcome(f, argument, leaves)
        return Proof(base, moved, min(seconds, again))
    finally:
        for leaf, before in zip(leaves, saved, strict=True):
            if leaf.found is None or leaf.found.stands():
                place = leaf.array if leaf.found is None else leaf.found.view
                place[...] = before


def _nudge(leaf: Leaf, number: int) -> None:
    """Move every entry of a leaf by its own share of a usual step, in either direction."""
    real = leaf.real
    spread = (np.arange(number, number + real.size, dtype=np.uint64) * _GOLDEN) % 2**32
    share = np.ldexp(spread.astype(np.float64), -31) - 1
    step = float(np.finfo(real.dtype).eps) ** (1 / 3)
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(real), 1).astype(np.float64)
        real += (step * share.reshape(real.shape) * size).astype(real.dtype)


def _outcome(
    f: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf]
) -> tuple[Any, float]:
    outcome: Any
    started = time.perf_counter()
    try:
        outcome = base_value(f, argument, leaves)
    except Exception as error:  # the sweep will meet it, and name the entry
        outcome = type(error).__qualname__
    seconds = time.perf_counter() - started
    for leaf in leaves:
        leaf.check_found()
    return outcome, seconds


# ---------------------------------------------------------------- in the worker


@dataclass(frozen=True)
class Failure:
    """An exception on its way back: pickled where that works, and as text."""

    kind: str
    text: str
    pickled: bytes | None
    notes: tuple[str, ...]

    @staticmethod
    def of(error: BaseException) -> Failure:
        """What can be sent of an exception."""
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
        kind = traceback.format_exception_only(type(error), error)[0].strip()
        pickled: bytes | None
        try:
            pickled = dump(error)
            if type(pickle.loads(pickled)) is not type(error):
                pickled = None
        except Exception:  # of the user's own __reduce__ or __init__
            pickled = None
        return Failure(kind, text, pickled, tuple(getattr(error, "__notes__", ())))

    def error(self) -> BaseException:
        """The exception, with the worker's traceback as its cause."""
        try:
            error = pickle.loads(self.pickled or b"")
        except Exception:
            return WorkerError(
                f"`f` raised {self.kind} in a worker, which cannot be sent back:\n{self.text}"
            )
        for note in self.notes[len(getattr(error, "__notes__", ())) :]:
            error.add_note(note)
        error.__cause__ = WorkerError(f"raised in a worker:\n{self.text}")
        return error  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Outcome:
    """What a task came to: values, or a failure; and, of a copy just made, its proof."""

    values: np.ndarray | None
    evaluations: int
    proof: Proof | None = None
    failure: Failure | None = None


class _Copy:
    """`f` and parameters that one task at a time may move."""

    def __init__(self, parcel: bytes) -> None:
        self._f, self._argument = unpack(parcel)
        self._leaves = flatten(self._argument)
        self._proven = False

    def run(self, task: Task) -> Outcome:
        proof, evaluations = None, task.evaluations
        # The guard copies whatever the size: only so is every write undone before the next task.
        with Guard(self._leaves):
            if not self._proven:
                proof, evaluations = (
                    prove(self._f, self._argument, self._leaves),
                    evaluations + PROOFS,
                )
            values = task.run(self._f, self._argument, self._leaves)
        check_places(self._argument, self._leaves)
        self._proven = True
        return Outcome(values, evaluations, proof)


class _Depot:
    """A parcel, and the copies made from it that no task is using."""

    def __init__(self, parcel: bytes) -> None:
        self.parcel = parcel
        self.free: list[_Copy] = []


_depots: OrderedDict[str, _Depot] = OrderedDict()
_lock = Lock()


def _renew_lock() -> None:
    """In a forked child: a thread that held the lock is not there to release it."""
    global _lock
    _lock = Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def deposit(token: str, parcel: bytes) -> _Depot:
    """Make a parcel known in this process: to its threads, and to those it forks."""
    with _lock:
        depot = _depots.setdefault(token, _Depot(parcel))
        _depots.move_to_end(token)
        while len(_depots) > _KEPT:
            _depots.popitem(last=False)
    return depot


def withdraw(token: str) -> None:
    """Forget a parcel and its copies."""
    with _lock:
        _depots.pop(token, None)


def perform(token: str, parcel: bytes | None, backend: str, task: Task) -> Outcome | None:
    """Run a task on a copy of its own. None means that the parcel is needed."""
    with _lock:
        depot = _depots.get(token)
    if depot is None:
        if parcel is None:
            return None
        depot = deposit(token, parcel)
    try:
        _same_backend(backend)
        copy = _taken(depot)
        outcome = copy.run(task)
    except BaseException as error:  # also an exit that `f` asks for: it is the caller's
        return Outcome(None, 0, failure=Failure.of(error))
    depot.free.append(copy)
    return outcome


def _taken(depot: _Depot) -> _Copy:
    try:
        return depot.free.pop()
    except IndexError:
        pass
    try:
        return _Copy(depot.parcel)
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
