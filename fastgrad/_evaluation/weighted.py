"""Random moves of which parts take a share each: what they show tells which part it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._evaluation.direction import Mover, Region, Uniform, inside
from fastgrad._leaf import Box

__all__ = ["Weighted"]


@dataclass(frozen=True)
class Weighted:
    """Random moves of one region, of which parts side by side move by weights of their own."""

    inner: Uniform
    parts: tuple[Box, ...]  # in the coordinates of the leaf, with nothing of the region beside them
    weights: tuple[float, ...]

    @property
    def regions(self) -> Sequence[Region]:
        """What moves."""
        return self.inner.regions

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves such a region: see `Direction`."""
        (region,), (width,) = self.inner.regions, self.inner.widths
        movers = []
        for box, weight in zip(self.parts, self.weights, strict=True):
            one = replace(self.inner, regions=(replace(region, box=box),), widths=(width * weight,))
            part = inside(region.box, box)
            movers.append((part, one.mover(0, before[part], kernel)))

        def move(target: np.ndarray, time: float, claim: np.ndarray | None) -> tuple[float, float]:
            rise = square = 0.0
            for part, mover in movers:
                claimed = None if claim is None else claim[part]
                made = mover(target[part], time, claimed)
                rise, square = rise + made[0], square + made[1]
            return rise, square

        return move
