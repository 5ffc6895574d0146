"""Bounds, paces and shows the evaluations of any evaluator, as an evaluator around it."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np

from fastgrad._errors import missing_package_error
from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Displaced,
    Evaluator,
    Gradient,
    Grouped,
    OutOfBudget,
    Samples,
    Single,
    Target,
)

__all__ = ["Bar", "Metered"]

# Seconds that a piece of the work shall take: short for the eye, long against a look at the clock.
_PIECE = 0.1
# From one piece to the next its size grows by this factor at most: `f` may slow down.
_GROWTH = 8.0
# Seconds before a bar appears: what is over sooner needs none.
_DELAY = 0.5


class Bar:
    """A bar of tqdm's that shows evaluations made, evaluations expected, and what they are for."""

    def __init__(self, expected: int) -> None:
        try:
            from tqdm.auto import tqdm  # type: ignore[import-untyped,import-not-found,unused-ignore]
        except ImportError:
            raise missing_package_error("tqdm", "progress=True", "progress") from None
        # None: not unless standard error is a terminal; tqdm's bar for notebooks takes it for a
        # yes. Pieces are few, so that each of them may look at the clock.
        options = {"unit": " evaluations", "delay": _DELAY, "miniters": 1, "disable": None}
        self._bar = tqdm(total=expected, **options)
        self._made = 0

    @property
    def seen(self) -> bool:
        """Whether anybody can see it."""
        return not self._bar.disable

    def to(self, evaluations: int) -> None:
        """Show this many evaluations."""
        self._bar.total = max(self._bar.total, evaluations)
        self._bar.update(evaluations - self._made)
        self._made = evaluations

    def expect(self, evaluations: int) -> None:
        """Leave room for evaluations to come."""
        self._bar.total = max(self._bar.total, self._made + evaluations)

    def phase(self, text: str) -> None:
        """Say what is being looked at."""
        self._bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Take the bar away."""
        self._bar.close()


class Metered(Around):
    """An evaluator with a budget, whose requests are paced and shown.

    Requests are cut into pieces of about a tenth of a second where a bar is to move, and, after
    `calibrate`, where an interrupt should not lose much. The last look at `f` is part of a budget,
    and so one evaluation is kept for it from the start.
    """

    def __init__(
        self,
        inner: Evaluator,
        budget: float = math.inf,
        bar: Bar | None = None,
        held: Sequence[np.ndarray] | None = None,
    ) -> None:
        super().__init__(inner)
        self.held = held  # of each leaf, which entries no bounds let move; None: each may
        self._left = budget - 1
        self._made_past = 0  # evaluations that the caller made by itself
        self._bar = bar
        # Evaluations in a piece.
        self._pace = math.inf if bar is None else 1.0
        self._started = perf_counter()

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated."""
        return self._made_past + self._inner.evaluations

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._bar is not None:
                self._bar.close()
        finally:
            self._inner.__exit__(kind, error, traceback)

    def part(self, inner: Evaluator, budget: float) -> Metered:
        """A budget for an evaluator that asks this one, and shows what it does here."""
        return Metered(inner, budget, self._bar, self.held)

    def count_call(self) -> None:
        """Count an evaluation that was made before: the one that gave the gradient."""
        self._left -= 1
        self._made_past += 1

    def spend(self) -> None:
        """Count an evaluation that will be made past the meter, if one is left."""
        if self._left < 1:
            raise OutOfBudget
        self.count_call()

    def affordable(self, count: int, each: int) -> int:
        """How many of some positions that take `each` evaluations the budget is enough for.

        To be asked before positions are cut by the time that they take: else what is measured when
        a budget runs out would depend on that time.
        """
        if count * each <= self._left:
            return count
        return max(0, int(self._left)) // each

    def base(self) -> Any:
        """Value at the unperturbed parameters: see `Evaluator`."""
        if self._left < 1:
            raise OutOfBudget
        self._left -= 1
        return self._inner.base()

    def last(self) -> Any:
        """The same, once more at the end, whatever was spent."""
        value = self._inner.base()
        if self._bar is not None:
            self._bar.to(self.evaluations)
        return value

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        evaluations = len(request.entries) * len(request.offsets)
        if evaluations > self._left:
            raise OutOfBudget
        self._left -= evaluations
        if evaluations <= self._pace:
            return self._inner.single(request)
        return self._in_pieces(request)

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        if request.evaluations > self._left:
            raise OutOfBudget
        self._left -= request.evaluations
        if request.evaluations <= self._pace:
            return self._inner.grouped(request)
        return self._in_pieces(request)

    def beside(self, requests: Sequence[Displaced]) -> list[Samples]:
        """Answer many requests, each at displaced parameters: see `Evaluator`."""
        evaluations = sum(request.evaluations for request in requests)
        if evaluations > self._left:
            raise OutOfBudget
        self._left -= evaluations
        # Workers share out all of them together, and move the bar as they answer.
        if self._pace == math.inf or self.batch == sys.maxsize:
            return self._inner.beside(requests)
        return [
            self._in_pieces(request) if request.count else request.run(self._inner)
            for request in requests
        ]

    def _in_pieces(self, request: Single | Grouped | Displaced) -> Samples:
        parts = [
            request.part(low, high).run(self._inner)
            for low, high in self.pieces(request.count, request.evaluations // request.count)
        ]
        moved = np.concatenate([part.moved for part in parts])
        return Samples(moved, np.concatenate([part.values for part in parts]))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`."""
        if len(request.times) > self._left:
            raise OutOfBudget
        before = self._inner.evaluations
        found = self._inner.along(request, claims)
        # Where nothing moves `f`, a batch has evaluated more points than it has values for.
        self._left -= min(self._inner.evaluations - before, len(request.times))
        if self._bar is not None:
            self._bar.to(self.evaluations)
        return found

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine in one loop: see `Evaluator`."""
        evaluations = [request.evaluations for request in requests]
        if sum(evaluations) > self._left:
            raise OutOfBudget
        self._left -= sum(evaluations)
        if self._pace == math.inf or self.batch > max(evaluations, default=0):
            self._inner.gradient(requests, targets)
            return
        for request, target in zip(requests, targets, strict=True):
            self.phase(self.leaves[request.leaf].path)
            each = request.stencil.evaluations
            for low, high in self.pieces(request.stop - request.start, each):
                self._inner.gradient((request.part(low, high),), (target,))

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Metered]:
        """The same at displaced parameters: see `Evaluator`."""
        inner = self._inner
        with inner.displaced(direction, time) as there:
            self._inner = there
            try:
                yield self
            finally:
                self._inner = inner

    def phase(self, text: str) -> None:
        """Say what is being looked at."""
        if self._bar is not None:
            self._bar.phase(text)

    def calibrate(self) -> None:
        """Take the evaluations so far for the measure of how long the next ones take."""
        if self._inner.evaluations:
            seconds = max(perf_counter() - self._started, 1e-9)
            self._pace = _PIECE * self._inner.evaluations / seconds

    def pieces(self, count: int, each: int, most: int = sys.maxsize) -> Iterator[tuple[int, int]]:
        """Cut positions that take `each` evaluations; pieces fill batches, and hold `most`."""
        if self._bar is not None:
            self._bar.expect(count * each)
        grain = max(1, self.batch // each)
        start = 0
        while start < count:
            size = min(count - start, most)
            if self._pace < size * each:
                size = min(size, max(grain, int(self._pace / each) // grain * grain))
            began = perf_counter()
            yield start, start + size
            rate = size * each / max(perf_counter() - began, 1e-9)
            if self._pace < math.inf:
                self._pace = min(_PIECE * rate, _GROWTH * max(self._pace, size * each))
            start += size
            if self._bar is not None:
                self._bar.to(self.evaluations)
