"""Estimates one derivative from differences at many steps, with a bound that holds.

Neighboring rows of a step table are compared as in Richardson's extrapolation, and the pair with
the smallest bound is taken (C. J. F. Ridders, Accurate computation of F'(x) and F'(x)F''(x), Adv.
Eng. Softw. 4 (1982) 75-76).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgrad import _backend
from fastgrad._derivatives.step_table import RATIO, StepTable
from fastgrad._reference_steps import EstimateRules

__all__ = [
    "ONE_SIDED_NOISE",
    "OPEN_BOUNDS",
    "OPEN_SHARE",
    "SETTLED",
    "SHRINKS",
    "Estimate",
    "estimate",
]

# Bound on the noise of a one-sided quotient, in units of that of the central one with the same
# step: both are differences of two values, over h and over 2 h.
ONE_SIDED_NOISE = 2.0
# The same for Richardson's combination ``c + (c - C) / 52`` of a quotient c with the one above,
# C, whose noise is a seventh: ``53/52 + 1/380 < 1.1``.
EXTRAPOLATED_NOISE = 1.1
# ... and for that of one-sided quotients, ``c + (c - C) / 6.3``: ``7.3/6.3 + 1/46 < 1.2``.
ONE_SIDED_EXTRAPOLATED_NOISE = 1.2
# One over the share of the change from the step above that bounds the truncation left. Theory:
# 1 / 52 for second order, 1 / 6 for first; the bounds are 1 / 4 and 1 / 3, for functions on
# which the orders have not set in yet.
CENTRAL_SHRINK, ONE_SIDED_SHRINK = 4.0, 3.0
# Where changes are seen to shrink more slowly than that, from each to the next by a factor r, they
# are taken for a geometric series, of which ``r / (1 - r)`` of the last change is left: as for
# ``x + x**1.5`` beside 0. Quotients of which r is larger than this do not converge in practice.
SLOWEST = 0.9
# ... and are taken to be slower by this: the bound of a series that is exactly geometric holds.
SERIES_MARGIN = 1.1
# A pair of quotients is taken to converge if they differ by noise and by this share of their
# size: 1e-3 / 4 is then the largest relative truncation of a result, and it is in its bound.
SETTLED = 1e-3
# Pairs that differ by less than this share are asked for their noise: beyond, truncation changes
# them.
NEAR = 2e-2
# Changes must shrink at least by this from step to step, where noise explains no more. A function
# of any order shrinks them by 7; what is left is a factor 2 for orders that have not set in.
SHRINKS = 4.0
# Changes that noise does not hide, and of which each is more than this share of the one before,
# are a drift: quotients of ``x log x`` beside 0 change as much from step to step for ever. Those of
# the square root's derivative, the slowest that converges in practice, shrink to 0.37.
DRIFTS = 0.5
# Noise may turn out to be this much larger than was measured: from the rounding of float64 to that
# of float32 it is 5e8. Beyond, it is a jump.
MOST_NOISE = 1e9
# Where changes grow as the step shrinks, noise is this many times what they imply: a change is
# the difference of two values, and either may be the luckier one.
IMPLIED_NOISE = 2.0
# Part of the gap between forward and backward quotients, beyond a parabola's, that passes for
# noise, in noise bounds of the central quotient: 1.5 bounds are 6 standard deviations of f over h,
# and the gap itself has sqrt(6). What is more widens the bound, so too little here costs power.
PARABOLA_NOISE = 1.5
# A gap between the one-sided quotients is open beyond this many noise bounds of the central one:
# 33 of its own standard deviations, as the noise may be underestimated.
OPEN_BOUNDS = 20.0
# ... and above this share of the largest quotient: less is how the parameter is rounded.
KINKED = 1e-3
# At a kink the gap stays as the step shrinks, elsewhere a seventh of it is left: see KINK_STAYS.
OPEN_SHARE = 0.5
# Below the last telling step this share of the gap must still be possible within the noise, or the
# kink was a corner that is rounded off.
STILL_OPEN = 0.3


# All of these, as the kernel is handed them. Extrapolation divides by the factor by which
# truncation of second order, or of first, shrinks from step to step, less one.
_RULES = EstimateRules(
    central_order=RATIO**2 - 1,
    one_sided_order=RATIO - 1,
    ratio=RATIO,
    one_sided_noise=ONE_SIDED_NOISE,
    extrapolated_noise=EXTRAPOLATED_NOISE,
    one_sided_extrapolated_noise=ONE_SIDED_NOISE * ONE_SIDED_EXTRAPOLATED_NOISE,
    central_shrink=CENTRAL_SHRINK,
    one_sided_shrink=ONE_SIDED_SHRINK,
    slowest=SLOWEST,
    series_margin=SERIES_MARGIN,
    settled=SETTLED,
    near=NEAR,
    shrinks=SHRINKS,
    drifts=DRIFTS,
    most_noise=MOST_NOISE,
    implied_noise=IMPLIED_NOISE,
    parabola_noise=PARABOLA_NOISE,
    open_bounds=OPEN_BOUNDS,
    kinked=KINKED,
    open_share=OPEN_SHARE,
    still_open=STILL_OPEN,
)


@dataclass(frozen=True)
class Estimate:
    """Derivatives with bounds, as the kernel has them: properties are of shape (entries,).

    `lower` and `upper` are the one-sided derivatives, in order, where there is a kink, and the
    derivative twice elsewhere. An infinite bound: the differences do not converge. NaN: `f` is
    not finite on either side.
    """

    numbers: np.ndarray  # value, bound, lower, upper and step: (5, entries)
    flags: np.ndarray  # whether there is a kink, and whether differences converge: (2, entries)

    @property
    def value(self) -> np.ndarray:
        """The derivatives."""
        found: np.ndarray = self.numbers[0]
        return found

    @property
    def bound(self) -> np.ndarray:
        """How far they may be off."""
        found: np.ndarray = self.numbers[1]
        return found

    @property
    def lower(self) -> np.ndarray:
        """The lower one-sided derivatives."""
        found: np.ndarray = self.numbers[2]
        return found

    @property
    def upper(self) -> np.ndarray:
        """The upper ones."""
        found: np.ndarray = self.numbers[3]
        return found

    @property
    def step(self) -> np.ndarray:
        """The step of the lower row of the pair that was taken."""
        found: np.ndarray = self.numbers[4]
        return found

    @property
    def kink(self) -> np.ndarray:
        """Whether there is one."""
        found: np.ndarray = self.flags[0]
        return found

    @property
    def converged(self) -> np.ndarray:
        """Whether differences do."""
        found: np.ndarray = self.flags[1]
        return found

    def among(self, chosen: np.ndarray | slice) -> Estimate:
        """Some of the entries."""
        return Estimate(self.numbers[:, chosen], self.flags[:, chosen])


def estimate(table: StepTable) -> Estimate:
    """Combine all steps of each entry into the estimate with the smallest bound."""
    return Estimate(*_backend.kernel.estimates(table.stacked, _RULES))
