"""Counts, bounds, paces and shows the evaluations of any evaluator, as an evaluator around it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import perf_counter
from types import TracebackType
from typing import Any

import numpy as np

from fastgrad._errors import missing_package_error
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Evaluator,
    Gradient,
    Grouped,
    OutOfBudget,
    Samples,
    Single,
    Target,
    Where,
)

__all__ = ["Meter", "Metered"]

# Seconds that a piece of the work shall take: short for the eye, long against a look at the clock.
_PIECE = 0.1
# From one piece to the next its size grows by this factor at most: `f` may slow down.
_GROWTH = 8.0
# Seconds before a bar appears: what is over sooner needs none.
_DELAY = 0.5


class Meter:
    """The evaluations made so far, those that are left, and a bar that shows them.

    `update` is what evaluators tell their evaluations to. The last look at `f` is part of a
    budget, and so one evaluation is kept for it from the start.
    """

    def __init__(self, expected: int = 0, *, shown: bool = False, budget: float = math.inf) -> None:
        self.evaluations = 0
        self.left = budget - 1
        self.bar = _bar(expected) if shown else None

    def update(self, evaluations: int) -> None:
        """Tell that evaluations were made."""
        self.evaluations += evaluations
        if self.bar is not None:
            self.bar.total = max(self.bar.total, self.evaluations)
            self.bar.update(evaluations)

    def spend(self, evaluations: int) -> None:
        """Take evaluations out of the budget."""
        if evaluations > self.left:
            raise OutOfBudget
        self.left -= evaluations

    def expect(self, evaluations: int) -> None:
        """Let the bar know of evaluations to come."""
        if self.bar is not None:
            self.bar.total = max(self.bar.total, self.evaluations + evaluations)

    def phase(self, text: str) -> None:
        """Say what is being looked at."""
        if self.bar is not None:
            self.bar.set_postfix_str(text, refresh=False)

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


class Metered:
    """An evaluator whose evaluations are counted, bounded and shown by a meter.

    Requests are cut into pieces of about a tenth of a second where a bar is to move, and, after
    `calibrate`, where an interrupt should not lose much.
    """

    def __init__(self, inner: Evaluator, meter: Meter) -> None:
        self.leaves = inner.leaves
        self.batch = inner.batch
        self.meter = meter
        self._inner = inner
        # Evaluations in a piece.
        self._pace = math.inf if meter.bar is None else 1.0
        self._started = perf_counter()

    def __enter__(self) -> Metered:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.meter.close()
        finally:
            self._inner.__exit__(kind, error, traceback)

    def base(self) -> Any:
        """Value at the unperturbed parameters: see `Evaluator`."""
        self.meter.spend(1)
        return self._inner.base()

    def last(self) -> Any:
        """The same, once more at the end, whatever was spent."""
        return self._inner.base()

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured: see `Evaluator`."""
        return self._inner.scale(leaf, where)

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameters themselves: see `Evaluator`."""
        return self._inner.read(leaf, where)

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        self.meter.spend(request.evaluations)
        if request.evaluations <= self._pace:
            return self._inner.single(request)
        parts = [
            self._inner.single(request.part(low, high))
            for low, high in self._pieces(len(request.entries), len(request.offsets))
        ]
        moved = np.concatenate([part.moved for part in parts])
        return Samples(moved, np.concatenate([part.values for part in parts]))

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        self.meter.spend(request.evaluations)
        parts = [
            self._inner.grouped(request.part(low, high))
            for low, high in self._pieces(len(request.starts) - 1, len(request.offsets))
        ]
        moved = np.concatenate([part.moved for part in parts])
        return Samples(moved, np.concatenate([part.values for part in parts]))

    def along(self, request: Along, claim: np.ndarray | None = None) -> Changes:
        """Move all regions of a direction at once: see `Evaluator`."""
        self.meter.spend(request.evaluations)
        found = self._inner.along(request, claim)
        self.meter.left += request.evaluations - len(found.values)
        return found

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine in one loop: see `Evaluator`."""
        if self._pace == math.inf or self.batch > _largest(requests):
            self._inner.gradient(requests, targets)
            return
        for request, target in zip(requests, targets, strict=True):
            self.meter.phase(self.leaves[request.leaf].path)
            each = request.stencil.evaluations
            for low, high in self._pieces(request.stop - request.start, each):
                self._inner.gradient((request.part(low, high),), (target,))

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Metered]:
        """The same at displaced parameters: see `Evaluator`."""
        with self._inner.displaced(direction, time) as inner:
            yield Metered(inner, self.meter)

    def calibrate(self) -> None:
        """Take the evaluations so far for the measure of how long the next ones take."""
        if self.meter.evaluations:
            seconds = max(perf_counter() - self._started, 1e-9)
            self._pace = _PIECE * self.meter.evaluations / seconds

    def _pieces(self, count: int, each: int) -> Iterator[tuple[int, int]]:
        """Cut positions that take `each` evaluations; pieces fill batches."""
        self.meter.expect(count * each)
        grain = max(1, self.batch // each)
        start = 0
        while start < count:
            size = count - start
            if self._pace < size * each:
                size = min(size, max(grain, int(self._pace / each) // grain * grain))
            began = perf_counter()
            yield start, start + size
            rate = size * each / max(perf_counter() - began, 1e-9)
            if self._pace < math.inf:
                self._pace = min(_PIECE * rate, _GROWTH * max(self._pace, size * each))
            start += size


def _largest(requests: Sequence[Gradient]) -> int:
    return max((request.evaluations for request in requests), default=0)


def _bar(expected: int) -> Any:
    """A bar of tqdm's, or None where it would not be seen."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError:
        raise missing_package_error("tqdm", "progress=True", "progress") from None
    # None: not unless standard error is a terminal; tqdm's bar for notebooks takes it for a yes.
    # Pieces are few, so that each of them may look at the clock.
    bar = tqdm(total=expected, unit=" evaluations", delay=_DELAY, miniters=1, disable=None)
    return None if bar.disable else bar
