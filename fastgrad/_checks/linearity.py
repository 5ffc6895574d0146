"""Whether a claimed product is linear in its vector, and how exactly.

Unit vectors, and a few random ones, cannot tell: a product that squares its vector is right for
all unit vectors. A linear map gives a multiple by a power of two without any rounding of its own;
what it gives for three times a vector shows how it rounds, and what it gives for a sum of two
vectors must be the sum of what it gives for both, up to such rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from fastgrad._checks.linear import (
    CANCELS,
    CLEARLY,
    LAST_BITS,
    SCALE,
    SHORT_SCALE,
    root_mean,
)
from fastgrad._checks.product_claims import fractions
from fastgrad._dtypes import EPS
from fastgrad._evaluation.meter import Metered
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Report

__all__ = ["Linearity", "linearity_of", "with_linearity"]

# A multiple that is no power of two: all that is computed is rounded otherwise.
_OTHER = 3.0
# The rounding of a sum, or of another call, may be this many times that of one that was looked at.
_MORE_ROUNDING = 8.0
# Products that a sum is made of: each may be off by what the check would not have seen.
_PRODUCTS = 3


class Product(Protocol):
    """A product with a Jacobian as a function of vectors: see `product_claims`."""

    @property
    def eps(self) -> float:
        """The coarsest spacing of the types of its vector."""
        ...

    @property
    def sides(self) -> list[slice]:
        """Where the arrays stand that it gives."""
        ...

    def measured(self, vector: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """What it gives, and the spacing of the type of each array."""
        ...


@dataclass(frozen=True)
class Linearity:
    """How exactly a product is linear."""

    name: str
    inexact: float  # the largest share of an array's values by which sums and multiples are missed
    off: float  # the same, the largest of all numbers
    reach: float  # errors of 1 in all entries of the Jacobian would make it miss a sum by so much
    trouble: str = ""  # in what way it is not linear, beyond its rounding


@dataclass(frozen=True)
class _Part:
    """One of the arrays that a product gives: where it stands, and the spacing of its type."""

    side: slice
    eps: float


@dataclass(frozen=True)
class _Values:
    """What a product gives for two random vectors, their sum, and multiples of the first."""

    u: np.ndarray
    v: np.ndarray
    both: np.ndarray
    scaled: np.ndarray  # already divided by the multiple
    other: np.ndarray

    @property
    def misses(self) -> tuple[np.ndarray, np.ndarray]:
        """How far off the multiple is, and the sum."""
        return self.scaled - self.u, self.both - self.u - self.v

    def share(self, miss: np.ndarray, parts: Sequence[_Part]) -> float:
        """The largest share that a miss is of an array's values."""
        sizes = [max(root_mean(each[part.side]) for each in (self.u, self.v)) for part in parts]
        most = max(sizes, default=0.0)
        shares = [
            root_mean(miss[part.side]) / size
            for part, size in zip(parts, sizes, strict=True)
            if size > CANCELS * part.eps * most
        ]
        return max(shares, default=0.0)


def linearity_of(
    product: Product, run: Metered, name: str, units: np.ndarray, seed: int, rtol: float
) -> Linearity | None:
    """How exactly a product is linear, from five calls; None where it is not finite.

    Random vectors have the sizes of `units`, which are powers of two. Two more calls tell what is
    wrong.
    """
    rng = np.random.default_rng([seed, len(units)])
    u, v = (units * fractions(rng, len(units)) for _ in range(2))
    scale = SHORT_SCALE if product.eps > EPS["f"] else SCALE
    run.guard.check()
    with np.errstate(all="ignore"):
        first, spacings = product.measured(u)
        values = _Values(
            first,
            product.measured(v)[0],
            product.measured(u + v)[0],
            product.measured(scale * u)[0] / scale,
            product.measured(_OTHER * u)[0] / _OTHER,
        )
        run.guard.check(name)
        if not all(np.isfinite(each).all() for each in vars(values).values()):
            return None
        parts = [_Part(*each) for each in zip(product.sides, spacings, strict=True)]
        multiple, total = (values.share(miss, parts) for miss in values.misses)
        off = max(float(np.abs(miss).max(initial=0.0)) for miss in values.misses)
        reach = 2 * float(np.abs(u).sum() + np.abs(v).sum())
        found = Linearity(name, max(multiple, total), off, reach)
        last_bits = LAST_BITS * max([product.eps, *spacings]) + rtol
        rounding = _MORE_ROUNDING * values.share(values.other - values.u, parts)
        if multiple <= last_bits and total <= max(last_bits, rounding):
            return found
        again = values.share(product.measured(u)[0] - values.u, parts)
        if found.inexact <= last_bits + _MORE_ROUNDING * again:  # it is not repeatable
            return found
        at_zero = values.share(product.measured(np.zeros_like(u))[0], parts)
        run.guard.check(name)
    return replace(found, trouble=_in_words(name, at_zero, multiple, total, scale))


def _in_words(name: str, at_zero: float, multiple: float, total: float, scale: float) -> str:
    """The simplest sum or multiple that the product misses."""
    if at_zero > 0:  # not NaN, as of a product that divides by the length of its vector
        return f"{name}(0) is not 0, but {at_zero:.2g} times as large as {name} of a random vector"
    if multiple >= total:
        return f"{name}({scale:.0f} v) is not {scale:.0f} {name}(v), by a relative {multiple:.2g}"
    return f"{name}(u + v) is not {name}(u) + {name}(v), by a relative {total:.2g}"


def with_linearity(report: Report, found: Linearity | None) -> Report:
    """The report, with what is known of how a product depends on its vector.

    A product that misses sums by more than the check would have seen is wrong; of one that misses
    them by less it is said.
    """
    if found is None or (not found.trouble and not report):
        return report
    if not found.trouble:
        said = f"{report.reason}; `{found.name}` is linear to a relative {found.inexact:.1g}"
        return replace(report, reason=said)
    sentence = f"`{found.name}` is not linear in its vector: {found.trouble}"
    if not _counts(report, found):
        said = f", though {sentence}, which is less than differences see"
        besides = f"; besides, {sentence}"
        return replace(report, reason=report.reason + (said if report else besides))
    if report:
        vectors = "" if report.derivative == "product" else "for unit vectors "
        reason = f"{sentence}; {vectors}{report.reason}"
    else:
        reason = f"{report.reason}; besides, {sentence}"
    leaf, place = report.entries.spans[0].path, f"`{found.name}`"
    evidence = {"inexact": found.inexact, "off": found.off}
    said = f"{place} is not linear in the vector that it is given"
    causes = (Finding(Cause.NOT_LINEAR, leaf, place, said, evidence), *report.causes)
    return replace(report, verdict=Verdict.WRONG, reason=reason, causes=causes)


def _counts(report: Report, found: Linearity) -> bool:
    """Whether it is off by more than errors that the check would have called wrong."""
    if found.inexact > CLEARLY:
        return True
    if report.verdict is Verdict.CANNOT_TELL:
        return False
    reach = _PRODUCTS if report.derivative == "product" else found.reach
    return found.off > reach * report.detection_limit
