"""A function of one number: how far the parameters are moved along one direction."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastgrad import _backend
from fastgrad._dtypes import EPS
from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction, claimed_changes
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Changes, Samples, Single, Where
from fastgrad._leaf import Leaf

__all__ = ["Tangent"]


class Tangent(Around):
    """Evaluates ``f(params + t * v)`` for a direction `v`, as if the number `t` were all.

    It is within `room`: `f` is not evaluated outside, and counts as NaN there. It is zero, of the
    length 1 and of the coarsest type among the parameters, so that steps are those that these make.
    """

    def __init__(
        self,
        run: Metered,
        direction: Direction,
        name: str,
        room: tuple[float, float] = (-math.inf, math.inf),
    ) -> None:
        super().__init__(run)
        self._direction = direction
        self._room = room
        types = [leaf.real.dtype for leaf in run.leaves if leaf.real.size]
        coarsest = max(types, key=lambda dtype: EPS[dtype.char], default=np.dtype(float))
        zero = np.zeros((), coarsest.newbyteorder("="))
        self.leaves = [Leaf(name, zero)]
        self._zero = zero

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured: see `Evaluator`."""
        return np.ones(len(where) if isinstance(where, np.ndarray) else 1)

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The number itself: see `Evaluator`."""
        return np.zeros(len(where) if isinstance(where, np.ndarray) else 1)

    def single(self, request: Single) -> Samples:
        """Move the number to each offset, once for each time that it is listed."""
        steps = request.steps.given
        if steps is None:
            steps = np.full(request.count, request.steps.absolute + request.steps.relative)
        times = np.multiply.outer(steps, np.array(request.offsets, dtype=np.float64))
        found = self._at(times.ravel().tolist())
        return Samples(times, found.reshape(*times.shape, *found.shape[1:]))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move the number along a direction of its own: see `Evaluator`."""
        move = request.direction.mover(0, self._zero, _backend.kernel_for(self._zero))
        target, times = np.empty_like(self._zero), []
        for time in request.times:
            move(target, time, None)
            times.append(float(target))
        return Changes(tuple(self._at(times)))

    def claimed(self, request: Along, claims: Sequence[np.ndarray]) -> Changes:
        """What is claimed of such moves: see `Evaluator`."""
        rises, norm = claimed_changes(request.direction, (self._zero,), request.times, claims)
        return Changes((), rises, norm)

    def _at(self, times: Sequence[float]) -> np.ndarray:
        low, high = self._room
        inside = np.array([low <= time <= high for time in times], bool)
        asked = tuple(np.array(times)[inside].tolist())
        outputs = self._inner.outputs
        found = np.full((len(times), 0 if outputs is None else outputs.size), np.nan)
        if asked:
            found[inside] = self._inner.along(Along(self._direction, asked)).values
        return found
