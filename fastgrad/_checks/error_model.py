"""The error model: how far right values may be apart, and which bounds are too wide to prove any.

Exhaustive checks and probes judge by the same model. Every constant that decides a verdict stands
here with its unit and its reason, but for those of the noise estimate and of the extrapolation,
which stand beside that code. ``docs/verdict.md`` explains the formulas.

Units: a *relative step* r is a step over the entry's length ``L = max(1, |x|)``; *spacing* is the
distance from 1 to the next number of a type; *unit* is half of that for the values of `f`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad import _backend, _reference_first
from fastgrad._checks.entry_table import Doubt
from fastgrad._derivatives.extrapolation import ONE_SIDED_NOISE
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._derivatives.step_table import StepTable, quotients, step_row
from fastgrad._evaluation.protocol import Samples
from fastgrad._reference_first import FactorRules
from fastgrad._reference_steps import VerdictRules
from fastgrad._report.entries import Verdict

__all__ = [
    "FACTORS",
    "ErrorModel",
    "detection_limit",
    "enough_power",
    "first_factors",
    "has_drifted",
    "own_rounding",
]

_RIGHT, _WRONG, _UNCLEAR = (v.code for v in (Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL))

# ---------------------------------------------------------------- every bound, before a verdict

# Bounds are multiplied by this before *wrong* is said: 8 standard deviations of f over h, eleven of
# the quotient's own. The noise is estimated from 7 values, and comes out too small by a factor 2 in
# 7 % of tables and by 4 in 0.4 % (20,000 tables of normal noise): 11 / 4 is still 2.8 of them.
SAFETY = 2.0

# ------------------------------------------------------------------- truncation, at first sight

# Truncation granted to the first difference, in units of r^2 times the entry's own size. The
# truncation is ``r^2 L^2 |f'''| / 6``; 300 covers ``f' = exp(k x / L)`` up to k = 42. What varies
# faster is refined, which costs evaluations and no verdict.
OWN_TRUNCATION = 300.0
# The same in units of r^2 times the largest entry of the leaf, for entries that happen to be
# small: k = 4, one or two radians over a length. With more, small wrong entries would be hidden.
LEAF_TRUNCATION = 3.0
# Own truncation granted at most, as a share of the entry. It binds where r > 0.008, which is what
# float32 values ask for. The smallest planted factor of the corpus is 1.1: five times this.
MOST_OWN = 0.02

# -------------------------------------------------------------- granted to the analytic gradient

# Relative errors below this are no bugs: one rounding to float32 is 6e-8, and tolerances of
# solvers inside `f` are of this size. It is the threshold of the field as well: "1e-7 and less,
# you should be happy" (Stanford CS231n, notes on gradient checks).
MATERIAL = 1e-7
# Rounding granted to an entry in units of the spacing of its type and of the largest entry of its
# leaf: sums of n terms are off by about ``sqrt(n)`` roundings (N. J. Higham and T. Mary, SIAM J.
# Sci. Comput. 41 (2019) A2815). 16 spacings are 32 roundings, for n = 1000.
ANALYTIC_ROUNDING = 16.0
# The same for the derivative along a direction, a sum over the entries on top: n = 16,000.
DIRECTION_ROUNDING = 64.0
# Rounding granted in units of the spacing and of the entry itself: a chain of eight functions,
# each right to one spacing. It exceeds `MATERIAL` for types shorter than float64 alone.
OWN_ROUNDING = 8.0
# A parameter is known to half its spacing, and no derivative better than it changes over that.
# 4 spacings: the parameter as it is, and some three rounded results computed from it.
CONDITION = 4.0

# ------------------------------------------------------------------------------------------ power

# An entry proves something if its bound is below this share of the largest entry of its leaf: a
# sign, a zero, or a factor of 1.1 in the largest entries would show.
POWER_LEAF = 0.1
# A leaf whose gradient vanishes beside the others' is judged against the whole gradient, and at an
# optimum against how fast the gradient grows over a length. 1e-4 is what a gradient is reduced by
# before optimizers stop: SciPy's `gtol` is 1e-5, for costs of size one.
POWER_WHOLE = 1e-4
# One-sided quotients that differ by more than this many bounds show curvature and no noise: each
# of them carries twice the noise of the central one, so their difference four times.
CURVED = 4.0

# ------------------------------------------------------------------------------------------ kinks

# A gap between the one-sided quotients is looked at as a kink from this share of the largest
# entry on: the power above, for below that either side would pass as the derivative.
KINK_SHARE = 0.1
# It must exceed this many bounds: twice `CURVED`, as the largest of many gaps is looked at first.
KINK_CLEAR = 8.0
# At a kink the gap stays as the step shrinks by 7.3; of a smooth function a seventh is left.
# Anything between tells them apart; a half leaves noise the same room on both sides, in ratio.
KINK_STAYS = 0.5
# An infinite analytic value is wrong where the numeric one is known to this share: finite for sure.
FINITE_FOR_SURE = 0.1

# ---------------------------------------------------------------------------------- the whole run

# `f` has drifted if its last value is this many standard deviations of its noise from the first.
# The difference of two values has sqrt(2) of them, so 16 are 11: no matter of luck.
DRIFT = 16.0
# Probability with which an error at the detection limit is missed. Chosen, not derived: the limit
# is 10 floors with two directions; a third would make it 4.6, for half as much again.
MISSED = 0.01

# What the first bound is made of, as the kernel is handed it.
FACTORS = FactorRules(
    safety=SAFETY,
    own=OWN_TRUNCATION,
    material=MATERIAL,
    most=MOST_OWN,
    leaf=LEAF_TRUNCATION,
    rounding=ANALYTIC_ROUNDING,
    condition=CONDITION,
)


@dataclass(frozen=True)
class ErrorModel:
    """Bounds for the entries of one leaf, and for its derivatives along directions."""

    base: float  # value of f at the unperturbed parameters
    noise: float  # standard deviation of the noise of f
    unit: float  # relative rounding of its values
    relative: float  # first step over the entry's length
    eps: float  # spacing of the analytic gradient's type
    spacing: float  # spacing of the leaf's type
    sampled: float = 2.0**-40  # distance over the entry's length of values that noise was told from
    coarse: bool = False  # whether the noise is far more than the rounding of values
    rtol: float = 0.0  # what the user grants: a share of the derivative, and an amount
    atol: float = 0.0

    def agrees(self, analytic: np.ndarray, numeric: np.ndarray, bounds: np.ndarray) -> np.ndarray:
        """Whether entries are off by no more than their error bar, and what the user grants."""
        found: np.ndarray = _backend.kernel.agreeing(
            analytic, numeric, bounds, self.rtol, self.atol
        )
        return found

    def quotients(self, found: Samples) -> np.ndarray:
        """Width, central, forward and backward quotients, and the bound on their noise."""
        return quotients(found, self.base, self.noise, self.unit)

    def step_row(self, found: Samples) -> StepTable:
        """One row of a table of steps, from displacements and values at both sides."""
        return step_row(found, self.base, self.noise, self.unit)

    def first_bound(
        self,
        analytic: np.ndarray,
        numeric: np.ndarray,
        noise_bound: np.ndarray,
        gaps: np.ndarray,
        scale: float,
    ) -> np.ndarray:
        """How far analytic and numeric values may be apart after one central difference.

        `scale` is the largest entry of the leaf. Truncation is not measured yet, only granted.
        """
        found: np.ndarray = _backend.kernel.first_bounds(
            analytic, numeric, noise_bound, gaps, scale, self.first_factors
        )
        return found

    @property
    def first_factors(self) -> tuple[float, float, float, float, float]:
        """What the first bound is made of: see `_reference.first_bounds`."""
        return first_factors(self.relative, self.eps, self.spacing)

    def verdict_rules(self, scale: float) -> VerdictRules:
        """What estimates from many steps are judged by in a leaf whose largest entry is `scale`."""
        *_, condition = self.first_factors
        return VerdictRules(
            safety=SAFETY,
            rounding=self.analytic_rounding(scale),
            own=own_rounding(self.eps),
            condition=condition,
            relative=self.relative,
            rtol=self.rtol,
            atol=self.atol,
            scale=scale,
            finite=FINITE_FOR_SURE,
            widest=POWER_LEAF * scale,
            curved=CURVED,
            one_sided_noise=ONE_SIDED_NOISE,
            right=_RIGHT,
            wrong=_WRONG,
            unclear=_UNCLEAR,
            edge=Doubt.EDGE,
            no_limit=Doubt.NO_LIMIT,
        )

    def analytic_rounding(self, scale: float) -> float:
        """Rounding of an analytic entry in a leaf whose largest one is `scale`."""
        return ANALYTIC_ROUNDING * self.eps * scale

    def condition(self, gaps: np.ndarray) -> np.ndarray:
        """Change of the derivative as the parameter is rounded: no gradient is more certain.

        Forward and backward quotients differ by ``f'' r L``, so ``gaps / r`` is the change over
        one length.
        """
        *_, condition = self.first_factors
        change: np.ndarray = condition * np.abs(gaps)
        return change

    def growth(self, gaps: np.ndarray) -> float:
        """How much the derivative grows over one length, at most."""
        with np.errstate(over="ignore"):
            return float(np.abs(gaps).max(initial=0.0) / self.relative)

    def direction_noise(self, level: float, time: float) -> float:
        """Bound on the noise of a derivative along a direction, at values noisy by `level`."""
        return SIGMAS * level / time

    def direction_truncation(self, relative: float, norm: float) -> float:
        """Truncation granted along a direction, as to an entry of the size `norm`."""
        return OWN_TRUNCATION * relative**2 * norm

    def direction_slack(self, norm: float) -> float:
        """What is granted to the analytic derivative along a direction."""
        return (MATERIAL + DIRECTION_ROUNDING * self.eps + SAFETY * self.rtol) * norm


def first_factors(
    relative: float, eps: float, spacing: float
) -> tuple[float, float, float, float, float]:
    """The factors of `ErrorModel.first_bound`, of its first step and both spacings."""
    return _reference_first.first_factors(relative, eps, spacing, FACTORS)


def own_rounding(eps: float) -> float:
    """What is granted to each analytic value, as a share of it, where its type has this spacing."""
    return max(OWN_ROUNDING * eps, MATERIAL)


def enough_power(leaf: float, whole: float, growth: float) -> float:
    """Largest bound that proves something, from the sizes of the gradients and the growth."""
    return max(POWER_LEAF * leaf, POWER_WHOLE * whole, POWER_WHOLE * growth)


def has_drifted(first: float, last: float, noise: float) -> bool:
    """Whether two values of `f` at the same parameters differ by more than its noise."""
    return not abs(last - first) <= DRIFT * noise


def detection_limit(floors: Sequence[float]) -> float:
    """Error of a single entry that all directions miss with the probability `MISSED`.

    Along one direction an error e is missed with a probability of at most ``floor / e``: its part
    in the direction is uniform on [-1.5, -0.5] and [0.5, 1.5], and e times that must hit an
    interval of width 2 floor. Along k independent directions it is the product, whatever else is
    wrong.
    """
    # The geometric mean, as the probabilities multiply; by logarithms, which do not underflow. No
    # floor is zero: the noise is at least the smallest normal number.
    mean = math.exp(sum(math.log(floor) for floor in floors) / len(floors))
    return mean / math.pow(MISSED, 1 / len(floors))
