"""An evaluator around another one, which answers what is not asked of itself."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Displaced,
    Evaluator,
    Gradient,
    Grouped,
    Samples,
    Single,
    Target,
    Where,
)
from fastgrad._outputs import Outputs

__all__ = ["Around"]

Own = TypeVar("Own", bound="Around")


class Around:
    """Hands everything on to the evaluator inside: see `Evaluator`.

    One that meters, bounds or shares out overrides what it does in a way of its own.
    """

    _inner: Evaluator

    def __init__(self, inner: Evaluator) -> None:
        self.leaves = inner.leaves
        self.batch = inner.batch
        self._inner = inner

    @property
    def outputs(self) -> Outputs | None:
        """How a vector-valued `f` lays its values out, once one is known."""
        return self._inner.outputs

    @property
    def guard(self) -> Guard:
        """The memory of the parameters."""
        return self._inner.guard

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated."""
        return self._inner.evaluations

    @property
    def raised(self) -> str:
        """What a lenient `f` raised first, in words."""
        return self._inner.raised

    def __enter__(self: Own) -> Own:
        self._inner.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._inner.__exit__(kind, error, traceback)

    def base(self) -> Any:
        """Value at the unperturbed parameters."""
        return self._inner.base()

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured."""
        return self._inner.scale(leaf, where)

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameters themselves."""
        return self._inner.read(leaf, where)

    def single(self, request: Single) -> Samples:
        """Move each entry alone."""
        return self._inner.single(request)

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one."""
        return self._inner.grouped(request)

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once."""
        return self._inner.along(request, claims)

    def claimed(self, request: Along, claims: Sequence[np.ndarray]) -> Changes:
        """What is claimed of moves that are not made."""
        return self._inner.claimed(request, claims)

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine in one loop."""
        self._inner.gradient(requests, targets)

    def displaced(self, direction: Direction, time: float) -> AbstractContextManager[Evaluator]:
        """An evaluator at displaced parameters."""
        return self._inner.displaced(direction, time)

    def beside(self, requests: Sequence[Displaced]) -> list[Samples]:
        """Answer many requests, each at displaced parameters of its own."""
        return [request.run(self) for request in requests]
