"""Evaluates `f` with the parameters moved in place, by the kernel: a Python `f`, or one in C."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar
from weakref import ref

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._dtypes import is_extended
from fastgrad._errors import ObjectiveError
from fastgrad._evaluation.direction import Direction, Region, claimed_changes
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import Lenient, Objective, Raised
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Displaced,
    Gradient,
    Grouped,
    Samples,
    Single,
    Target,
    Where,
)
from fastgrad._leaf import in_double, lengths_of
from fastgrad._outputs import Outputs
from fastgrad._returns import as_scalar, at_base, at_block

__all__ = ["NATIVE", "PYTHON", "Guarded", "InPlace", "Loops", "group_points", "offsets_of"]

Own = TypeVar("Own", bound="Guarded")  # `typing.Self` is of Python 3.11


class Loops(NamedTuple):
    """Names of the kernel's loops for one kind of `f`."""

    differentiate: str
    vectors: str
    sample: str


PYTHON = Loops("differentiate", "differentiate_vectors", "sample")
NATIVE = Loops("native_differentiate", "native_differentiate_vectors", "native_sample")


class Guarded:
    """What every evaluator does that reads the parameters where they are, under a guard."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.leaves = guard.leaves
        self.evaluations = 0
        self._raised = Raised()

    @property
    def raised(self) -> str:
        """What a lenient `f` raised first, in words: see `Evaluator`."""
        return self._raised.first

    @property
    def at_rest(self) -> bool:
        """Whether the parameters are where the user left them, and not displaced."""
        return not self.guard.log.entries

    def __enter__(self: Own) -> Own:
        self.guard.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.guard.__exit__(kind, error, traceback)

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured: see `Evaluator`."""
        return lengths_of(part_of(self.guard.view(leaf), where))

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameters themselves: see `Evaluator`."""
        real = self.guard.view(leaf)
        # As `part_of`, with one copy of a box.
        part = real.flat[where] if isinstance(where, np.ndarray) else real[where]
        return in_double(part).reshape(-1)

    def claimed(self, request: Along, claims: Sequence[np.ndarray]) -> Changes:
        """What is claimed of moves that are not made: see `Evaluator`."""
        direction = request.direction
        before = [region.of(self.guard.view(region.leaf)) for region in direction.regions]
        rises, norm = claimed_changes(direction, before, request.times, claims)
        return Changes((), rises, norm)

    # The parameters themselves have moved, and with them whatever else reads them.
    @contextmanager
    def displaced(self: Own, direction: Direction, time: float) -> Iterator[Own]:
        """The same at displaced parameters: see `Evaluator`."""
        with self.guard.displaced(direction, time):
            yield self

    def beside(self: Any, requests: Sequence[Displaced]) -> list[Samples]:
        """Answer many requests, each at displaced parameters: see `Evaluator`."""
        return [request.run(self) for request in requests]


class InPlace(Guarded):
    """Moves the parameters in the user's own memory.

    With `vector`, `f` returns arrays, which the first value describes if they are not given.
    """

    batch = 1

    def __init__(
        self,
        f: Objective,
        argument: Any,
        guard: Guard,
        *,
        loops: Loops = PYTHON,
        vector: bool | Outputs = False,
    ) -> None:
        super().__init__(guard)
        self.given = f
        self.argument = argument
        self.in_threads = loops is NATIVE  # whether several may run at once in one process
        self._loops = loops
        self.vector = bool(vector)
        self.outputs = vector if isinstance(vector, Outputs) else None
        # So many evaluations had been made when all parameters were put back at once.
        self._restored_after = -1
        # What is called at the parameters, at moved points, and by the loops.
        self.f = self._moved = self._looped = f.f if isinstance(f, Lenient) else f
        if isinstance(f, Lenient):
            # A method would keep this object alive, and with it `f` and the parameters.
            nothing = partial(_nothing_of, ref(self))
            self._moved = _backend.kernel.forgiving(f.f, self._raised, nothing)
            self._looped = f.f if loops is NATIVE else self._moved

    def on(self, argument: Any, guard: Guard) -> InPlace:
        """The same for other parameters."""
        vector = self.outputs or self.vector
        made = InPlace(self.given, argument, guard, loops=self._loops, vector=vector)
        made._raised = self._raised
        return made

    def base(self) -> Any:
        """Value at the unperturbed parameters: see `Evaluator`."""
        self.guard.settle()
        self.evaluations += 1
        value = (self.f if self.at_rest else self._moved)(self.argument)
        if self.vector:
            return self._flat(value, at_base)
        if type(value) is float:
            return value
        extended = any(is_extended(leaf.real) for leaf in self.leaves)
        return as_scalar(value, at_base, 0, np.longdouble if extended else float)

    def _flat(self, value: Any, name: Callable[[int], str]) -> np.ndarray:
        """The numbers of a value of `f`, of which the first is looked at."""
        if self.outputs is None:
            self.outputs = Outputs.of(value, partial(name, 0))
        return self.outputs.flat(value, name, 0)

    @property
    def _known_width(self) -> tuple[int, ...]:
        """The axis that values have beside those of their points: (m,) of vectors."""
        return () if self.outputs is None else (self.outputs.size,)

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        leaf, entries = self.leaves[request.leaf], request.entries
        self.guard.settle()
        # Looked at here and not by the kernel: it may have been changed since the last request.
        if self.guard.found[request.leaf].changed():
            self.guard.view(request.leaf)  # which says so
        shape = (len(entries), len(request.offsets))
        if self.vector and self.outputs is None:
            self.base()  # which learns how long the vectors are
        moved, values = np.empty(shape), np.empty(shape + self._known_width)
        if self._looped is not self._moved:
            self._past_error_codes(request, moved, values)
        else:
            sample = getattr(self.guard.kernels[request.leaf], self._loops.sample)
            how = (leaf, offsets_of(request.offsets), request.steps, entries)
            sample(self._moved, self.argument, *how, moved, values, self.outputs)
        self.evaluations += moved.size
        return Samples(moved, values)

    def _past_error_codes(self, request: Single, moved: np.ndarray, values: np.ndarray) -> None:
        """Have a lenient C function sampled: its loop stops at an error code, and goes on behind.

        The entry at which it stopped is sampled once more, each point by itself, because an error
        at one of its points says nothing about the others.
        """
        moved.fill(math.nan)  # the loop fills it row by row
        kernel, start = self.guard.kernels[request.leaf], 0
        how = (self.argument, self.leaves[request.leaf], offsets_of(request.offsets))

        def sample(loop: str, f: Any, low: int, high: int) -> None:
            part, rows = request.part(low, high), slice(low, high)
            call = getattr(kernel, loop)
            call(f, *how, part.steps, part.entries, moved[rows], values[rows], self.outputs)

        while start < request.count:
            try:
                sample(self._loops.sample, self._looped, start, request.count)
                return
            except ObjectiveError as error:
                self._raised.note(error)
                # Beside an infinite parameter moves are NaN as well; then some are made twice.
                at = start + int(np.isnan(moved[start:, 0]).argmax())
                sample(PYTHON.sample, self._moved, at, at + 1)
                points = values[at].reshape(len(request.offsets), -1)
                self.evaluations += 1 + int(np.isnan(points).all(axis=1).argmax())
                start = at + 1

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        shape = (request.count, len(request.offsets))
        moved = np.empty((len(request.entries), len(request.offsets)))
        found: list[np.ndarray] = []  # the values, once the size of vectors is known
        for group in range(request.count):
            self._one_group(request, group, moved, found)
        return Samples(moved, found[0] if found else np.empty(shape + self._known_width))

    def _one_group(
        self, request: Grouped, group: int, moved: np.ndarray, found: list[np.ndarray]
    ) -> None:
        log, leaf, number = self.guard.log, self.leaves[request.leaf], request.leaf
        low, high = int(request.starts[group]), int(request.starts[group + 1])
        view, entries = self.guard.view(number), request.entries[low:high]
        steps, kernel, mark = (
            request.steps.part(low, high),
            self.guard.kernels[number],
            len(log.entries),
        )
        # A view where the memory allows: NumPy's flat iterators take three times as long.
        flat = view.reshape(-1) if view.flags.c_contiguous else view.flat
        before = log.register(self.guard.found[number], flat, entries)
        try:
            for k, offset in enumerate(request.offsets):
                kernel.move_group(view, entries, before, steps, offset, moved[low:high, k])
                value = self._reduced(self._moved(self.argument))
                self.evaluations += 1
                if not found:
                    found.append(
                        np.empty((request.count, len(request.offsets), *self._known_width))
                    )
                found[0][group, k] = value
                self.guard.view(number)
                if not kernel.holds_group(view, entries, before, steps, offset):
                    raise _errors.written_error(leaf.name(int(entries[0])), undone=True)
        except Exception as error:
            _errors.annotate(error, f"{leaf.path}[...]")
            raise
        finally:
            log.undo(mark)

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`."""
        values: list[Any] = []
        claimed: list[float] = []
        square, log, done = 0.0, self.guard.log, False
        mark = 0 if self.guard.stayed else len(log.entries)
        regions = request.direction.regions
        try:
            moving = self.guard.moving(
                request.direction, untouched=self._restored_after == self.evaluations
            )
            each: Sequence[np.ndarray | None] = [None] * len(moving) if claims is None else claims
            for time in request.times:
                rise = 0.0
                for (found, view, move), claim in zip(moving, each, strict=True):
                    if found.changed():  # by the evaluation before
                        self._refuse_change(regions)
                    part, squares = move(view, time, claim)
                    rise += part
                    square += 0.0 if claimed else squares
                claimed.append(rise)
                # Most objectives return a Python float: no call for those.
                value = self._moved(self.argument)
                plain = type(value) is float and not self.vector
                values.append(value if plain else self._reduced(value))
                if request.still is not None and values == [request.still] * 2:
                    break
            for found, _, _ in moving:
                if found.changed():
                    self._refuse_change(regions)
            done = self.guard.stays and self.guard.whole and not mark
        except Exception as error:
            if len(regions) == 1:
                _errors.annotate(error, f"{self.leaves[regions[0].leaf].path}[...]")
            raise
        finally:
            # An interrupt before `undo` ends leaves the rest to whoever ends the run.
            self.evaluations += len(values)
            self.guard.stayed = done
            if not done:
                log.undo(mark)
        if self.guard.whole and not mark:
            self._restored_after = self.evaluations
        return Changes(tuple(values), tuple(claimed), square**0.5)

    def _refuse_change(self, regions: Sequence[Region]) -> None:
        for region in regions:
            self.guard.view(region.leaf)

    def _reduced(self, value: Any) -> Any:
        """A value of `f` at a moved point as a number, or as an array of numbers."""
        return self._flat(value, at_block) if self.vector else as_scalar(value, at_block, 0)

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine in one loop: see `Evaluator`."""
        outputs = self.outputs
        loop, more = (
            (self._loops.differentiate, ())
            if outputs is None
            else (self._loops.vectors, (outputs,))
        )
        for request, target in zip(requests, targets, strict=True):
            view = self.guard.view(request.leaf)
            # The array of the results may be of another type or layout than the leaf.
            kernel = _backend.kernel_for(view, target.array)
            getattr(kernel, loop)(
                self._looped,
                self.argument,
                self.leaves[request.leaf],
                request.stencil,
                request.steps,
                request.base,
                target.array,
                request.start,
                request.stop,
                target.first,
                *more,
            )
            self.evaluations += request.evaluations


@lru_cache(maxsize=64)
def offsets_of(offsets: tuple[int, ...]) -> np.ndarray:
    """Offsets as the kernel reads them."""
    return np.array(offsets, dtype=np.float64)


def _nothing_of(evaluator: ref[InPlace]) -> Any:
    """What stands for the value of an `f` that raises."""
    mine = evaluator()
    assert mine is not None  # it is what calls `f`
    return math.nan if mine.outputs is None else mine.outputs.nothing()


def part_of(real: np.ndarray, where: Where) -> np.ndarray:
    """Entries of a leaf, by their numbers, in a box, or all of them: (n,), perhaps a view."""
    return real.flat[where] if isinstance(where, np.ndarray) else real[where].reshape(-1)


def group_points(
    x: np.ndarray, request: Single | Grouped, part: slice
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Where the entries of one group go for each offset, and how far that is."""
    wide = x.astype(np.result_type(x.dtype, np.float64), copy=False)
    steps = request.steps
    if steps.given is None:
        size = np.abs(wide)  # in full: of a longdouble `lengths_of` would drop digits
        h = steps.absolute + steps.relative * np.where(size < np.inf, np.maximum(size, 1.0), 1.0)
    else:
        h = steps.given[part]
    with np.errstate(over="ignore", invalid="ignore"):
        places = [(wide + offset * h).astype(x.dtype) for offset in request.offsets]
        return places, [(place.astype(wide.dtype) - wide).astype(np.float64) for place in places]
