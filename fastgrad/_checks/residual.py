"""The residual along one direction at one step and at many, with the bound on its error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastgrad._checks.error_model import SAFETY
from fastgrad._derivatives.extrapolation import Estimate, estimate
from fastgrad._derivatives.step_table import StepTable
from fastgrad._leaf import Box

__all__ = ["Residual", "Row", "limit_of", "stand_alike"]

# Residuals at two steps are one if they differ by this share and their noise: truncation would
# shrink by the square of the ratio of the steps, and noise would differ by as much as it is.
_ALIKE = 0.2


@dataclass(frozen=True)
class Residual:
    """Claimed minus numeric derivative of a block along a direction, and the bound on its error."""

    value: float
    bound: float
    kink: bool = False

    @property
    def significant(self) -> bool:
        """Whether something in the block must be wrong."""
        return abs(self.value) > SAFETY * self.bound

    def minus(self, other: Residual) -> Residual:
        """Residual of the rest of the block, inferred without an evaluation."""
        return Residual(self.value - other.value, self.bound + other.bound)


@dataclass(frozen=True)
class Row:
    """Residuals at one step, per unit of the direction; NaN where `f` is not finite."""

    time: float
    central: float
    ahead: float
    behind: float
    noise: float  # bound on the noise of `central`
    norm: float  # of the claimed derivative, entry by entry
    claimed: float  # derivative along the direction, by the gradient
    numeric: float  # the same of f
    slack: float  # granted to the gradient
    growth: float  # of the derivative, over the length of an entry
    still: bool = False  # whether f did not change by a bit
    box: Box = ()  # what moved

    def without(self, part: Row) -> Row:
        """The row of the rest of the block, inferred from one of a part at the same step."""
        return replace(
            self,
            central=self.central - part.central,
            noise=self.noise + part.noise,
            claimed=self.claimed - part.claimed,
            numeric=self.numeric - part.numeric,
            slack=self.slack + part.slack,
        )

    @property
    def factor(self) -> float:
        """Claimed over numeric."""
        return self.claimed / self.numeric if self.numeric else math.nan

    @property
    def gap(self) -> float:
        """Distance of the derivatives on both sides."""
        return abs(self.ahead - self.behind)

    @property
    def significant(self) -> bool:
        """Whether the residual is beyond noise."""
        return abs(self.central) > SAFETY * (self.noise + self.slack)

    @property
    def as_claimed(self) -> bool:
        """Whether `f` moves, beyond noise, as the gradient says."""
        return abs(self.numeric) > SAFETY * self.noise and not self.significant


def limit_of(rows: Sequence[Row]) -> tuple[Residual, Estimate | None]:
    """The residual for small steps, from those at some; no estimate if nothing converges."""
    names = ("time", "central", "ahead", "behind", "noise")
    table = StepTable(np.array([[[getattr(row, n)] for row in rows] for n in names]))
    if len(rows) < 2:
        return Residual(rows[0].central, math.inf), None
    found = estimate(table)
    if not found.converged[0]:
        return Residual(float(found.value[0]), math.inf), None
    low, high = float(found.lower[0]), float(found.upper[0])
    if not math.isfinite(low + high + float(found.bound[0]) + rows[-1].slack):
        return Residual(math.nan, math.inf), found
    # At a kink any value between the one-sided derivatives is right, and none can be seen.
    value = low if low > 0 else high if high < 0 else (low + high) / 2 if low == high else 0.0
    bound = float(found.bound[0]) + (high - low) / 2 + rows[-1].slack
    return Residual(value, bound, bool(found.kink[0])), found


def stand_alike(small: Row, large: Row) -> bool:
    """Whether the residual is one at two steps, beyond the noise at both, and on both sides."""
    if not (small.significant and large.significant):
        return False
    # The derivative of f as well: where steps are far too large it vanishes beside the claim.
    if not (_alike(small, large, "central") and _alike(small, large, "numeric")):
        return False
    # What is left of the gap as the step goes to zero: curvature closes it in proportion.
    near, far = (each.ahead - each.behind for each in (small, large))
    left = near - (far - near) / (large.time / small.time - 1)
    return min(abs(near), abs(left)) <= abs(small.central) + small.noise


def _alike(small: Row, large: Row, name: str) -> bool:
    one, other = float(getattr(small, name)), float(getattr(large, name))
    allowed = _ALIKE * min(abs(one), abs(other)) + small.noise + large.noise
    return abs(one - other) <= allowed < math.inf  # what is not finite is like nothing
