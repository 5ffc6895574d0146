"""Stencils for higher derivatives: weights in exact rationals, and steps of their own."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import factorial

import numpy as np

from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._stencils import Stencil, backward, central, forward
from fastgrad._steps import INNER, INNER_PROMISES, OWN_SCALE, PROMISES, ROUNDING, Steps

__all__ = ["HIGHEST", "Higher", "check_nth", "higher"]

_MAKERS = {"backward": backward, "central": central, "forward": forward}
# Beyond, rounding leaves less than four digits: u**(2/8) = 1e-4 of a sixth derivative of order 2.
HIGHEST = 6


@dataclass(frozen=True)
class Higher:
    """A weighted sum of values at equidistant points, over the n-th power of the step."""

    nth: int
    order: int
    weights: dict[int, Fraction]
    within: Higher | None  # the same of the next lower order, where there is one

    @property
    def inner(self) -> Higher | None:
        """The difference by which this one is doubted: see `Stencil`."""
        return self.within

    @property
    def inner_order(self) -> int:
        """Order of the inner difference, or 0."""
        return self.within.order if self.within else 0

    @property
    def offsets(self) -> np.ndarray:
        """Points that have a weight, in steps."""
        return np.array([k for k, w in self.weights.items() if w], dtype=np.float64)

    @property
    def uses_base(self) -> bool:
        """Whether the value at the unperturbed point has a weight."""
        return bool(self.weights.get(0))

    @property
    def amplification(self) -> float:
        """Sum of the absolute weights."""
        return float(sum(map(abs, self.weights.values())))

    @property
    def truncation(self) -> float:
        """Factor of ``h**order * f^(nth+order)(x)`` in the truncation error."""
        power = self.nth + self.order
        moment = sum(w * Fraction(k) ** power for k, w in self.weights.items())
        return abs(float(moment / factorial(power)))

    def relative_step(self, dtype: np.dtype) -> float:
        """The automatic step of an entry that is 0."""
        return self.steps(dtype).relative

    def steps(self, dtype: np.dtype) -> Steps:
        """Automatic steps: ``u**(1 / (n + order))``, and what makes them doubtful.

        It minimizes ``h**order + u / h**n``, up to a factor near 1. All goes by a function like
        ``log``, as for a first derivative.
        """
        eps = EPS[dtype.char]
        relative = eps ** (1.0 / (self.nth + self.order))
        agreed = max(OWN_SCALE, PROMISES * eps / relative**self.nth)
        if self.within is None:
            small = (self.growth / agreed) ** (1.0 / self.order) * relative
            return Steps(relative=relative, small=small, large=1 / relative, agreed=agreed)
        power = self.within.order / self.order
        most = max(INNER, INNER_PROMISES * eps / relative**self.nth)
        apart = (most / self.growth) ** power * self.within.growth
        noise = ROUNDING * eps * self.amplification
        return Steps(relative=relative, large=1 / relative, agreed=agreed, apart=apart, noise=noise)

    @property
    def growth(self) -> float:
        """Truncation of ``log`` at 1, relative to the derivative, is this times ``h**order``."""
        return self.truncation * factorial(self.nth + self.order - 1) / factorial(self.nth - 1)


def check_nth(n: object) -> int:
    """Refuse what is no number of a derivative."""
    if isinstance(n, (bool, np.bool_)) or not isinstance(n, (int, np.integer)):
        raise InputTypeError(f"`n` must be an integer from 0 to {HIGHEST}; got {n!r}")
    if not 0 <= n <= HIGHEST:
        raise InputValueError(f"`n` must be one of 0 to {HIGHEST}; got {n}")
    return int(n)


@lru_cache(maxsize=64)
def higher(stencil: Stencil, n: int) -> Higher:
    """The stencil for an n-th derivative of the kind and the order of one for the first."""
    reach = n + stencil.order - 1
    if stencil.name == "central":
        points = range(-(reach // 2), reach // 2 + 1)
    elif stencil.name == "forward":
        points = range(reach + 1)
    elif stencil.name == "backward":
        points = range(-reach, 1)
    else:
        raise InputValueError(
            f"`method` must be fg.central, fg.forward or fg.backward where `n` is {n}; got "
            f"{stencil!r}, a stencil for first derivatives"
        )
    lower = stencil.order - (2 if stencil.name == "central" else 1)
    within = higher(_MAKERS[stencil.name](lower), n) if lower > 0 else None
    return Higher(n, stencil.order, _weights(list(points), n), within)


def _weights(points: list[int], n: int) -> dict[int, Fraction]:
    """The n-th derivative at 0 of the polynomial through values at the points.

    It is n! times the coefficient of ``t**n`` in each of Lagrange's polynomials.
    """
    weights = {}
    for k in points:
        polynomial = [Fraction(1)]
        for other in points:
            if other != k:
                scale = Fraction(1, k - other)
                shifted = [Fraction(0), *polynomial]
                lowered = [*(other * c for c in polynomial), Fraction(0)]
                polynomial = [(a - b) * scale for a, b in zip(shifted, lowered, strict=True)]
        weights[k] = factorial(n) * polynomial[n]
    return weights
