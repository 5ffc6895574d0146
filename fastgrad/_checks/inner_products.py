"""Inner products ``<A x, y>`` and ``<x, B y>`` of random vectors, and how far they may be apart.

Both are sums of terms, each with its rounding. The errors of ``A x`` do not depend on `y`, whose
signs are random, so that they add up as the root of the sum of squares; so do those of ``B y``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._checks.error_model import MISSED, SAFETY
from fastgrad._checks.linear import Measured, root_mean
from fastgrad._checks.space import Space, SpaceLeaf
from fastgrad._leaf import Box
from fastgrad._report.entries import Verdict

__all__ = ["Pair", "Product", "Rounding", "sensitivity"]

# Spacings granted to sums of rounded terms, relative to the root of the sum of their squares: 16 as
# for an analytic gradient (`ANALYTIC_ROUNDING`), for either side.
_ROUNDINGS = 32.0
# Standard deviations of the measured errors that are granted. A sum with random signs exceeds eight
# once in 10^14 times; twice as many, as the deviations are taken from two values.
_SIGMAS = 16.0
# Coefficients that both maps compute by themselves may have lost a fifth of the digits of the type,
# three of float64's: by the condition of what is inverted, or by subtraction.
_LOST = 0.8
# Systematic differences without a pattern prove nothing as long as they are this far below the
# spacing of the next shorter format, for maps of an even larger condition.
_BELOW_SHORT = 64.0
# So many times the granted deviations may be the systematic part of a solver's errors.
_SYSTEMATIC = 4.0
# Density of the product of two numbers of size 0.5 to 1.5 with random signs, at most: it is
# ln(1.5 / 0.5) / 2 where the product is 0.75.
_DENSITY = 0.55


@dataclass(frozen=True)
class Pair:
    """An array that `forward` takes, and one that it gives, or boxes in them."""

    x: SpaceLeaf
    y: SpaceLeaf
    x_box: Box
    y_box: Box

    @property
    def x_name(self) -> str:
        """The box in the array that `forward` takes."""
        return self.x.text(self.x_box)

    @property
    def y_name(self) -> str:
        """The box in the array that it gives."""
        return self.y.text(self.y_box)

    @property
    def is_whole(self) -> bool:
        """Whether these are whole arrays."""
        return self.x_box == self.x.whole and self.y_box == self.y.whole

    @property
    def size(self) -> int:
        """How many entries of the matrix it holds."""
        sides = (*self.x_box, *self.y_box)
        return math.prod(side.stop - side.start for side in sides)


@dataclass(frozen=True)
class Product:
    """Both inner products, and how far they may be apart."""

    forward: float
    adjoint: float
    size: float  # that is typical of them: the root of the sum of squares of their terms
    bar: float  # right up to this difference
    doubt: float  # wrong beyond this one

    @property
    def error(self) -> float:
        """How far they are apart."""
        return abs(self.forward - self.adjoint)

    @property
    def verdict(self) -> Verdict:
        """Whether they agree."""
        if self.error <= self.bar:
            return Verdict.RIGHT
        return Verdict.CANNOT_TELL if self.error <= self.doubt else Verdict.WRONG


@dataclass(frozen=True)
class Rounding:
    """How exact both functions are."""

    forward: Measured
    adjoint: Measured
    eps: float  # spacing of the coarsest type
    rtol: float
    atol: float

    @staticmethod
    def of(
        forward: Measured, adjoint: Measured, x: Space, y: Space, rtol: float, atol: float
    ) -> Rounding:
        """That which was measured."""
        return Rounding(forward, adjoint, max(x.eps, y.eps), rtol, atol)

    @property
    def granted(self) -> float:
        """The share of values that rounding may make: of sums, and of coefficients."""
        return float(max(_ROUNDINGS * self.eps, self.eps**_LOST))

    @property
    def doubtful(self) -> float:
        """The share of values up to which differences without a pattern are not called wrong."""
        shorter = np.finfo(np.float32 if self.eps < np.finfo(np.float32).eps else np.float16).eps
        return float(shorter) / _BELOW_SHORT

    @property
    def apart(self) -> float:
        """From what share on a fitted factor is another one."""
        inexact = max(self.forward.inexact, self.adjoint.inexact)
        return max(_SYSTEMATIC * self.granted, _SYSTEMATIC * _SIGMAS * inexact)

    def product(
        self, x: np.ndarray, forward: np.ndarray, y: np.ndarray, adjoint: np.ndarray
    ) -> Product:
        """Compare ``<forward, y>`` and ``<x, adjoint>``; `forward` is that of `x`."""
        left, right = forward * y, x * adjoint
        size = max(_norm(left), _norm(right))
        deviation = math.hypot(
            _norm(self.forward.spread * y) * self._share(x, self.forward),
            _norm(self.adjoint.spread * x) * self._share(y, self.adjoint),
        )
        granted = SAFETY * (self.atol * _norm(x) * _norm(y) + self.rtol * size)
        bar = self.granted * size + _SIGMAS * deviation + granted
        doubt = bar + _SYSTEMATIC * _SIGMAS * deviation
        # Summed in pairs, which rounds less than a library's inner product, and starts no threads.
        return Product(float(left.sum()), float(right.sum()), size, bar, doubt)

    def _share(self, vector: np.ndarray, measured: Measured) -> float:
        whole = _norm(measured.inputs[0])
        return _norm(vector) / whole if whole else 0.0

    def entries(
        self, forward: np.ndarray, adjoint: np.ndarray, rows: Any, columns: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of entries of a matrix: error bars, what is granted beyond, and what is doubtful.

        They are those in some `rows` and `columns`. A zero may be what the cancellation of its row,
        or column, leaves.
        """
        size = np.maximum(np.abs(forward), np.abs(adjoint))
        beside = np.minimum(size.max(axis=1, keepdims=True), size.max(axis=0, keepdims=True))
        n, m = (_norm(each.inputs[0]) for each in (self.forward, self.adjoint))
        of_rows, of_columns = self.forward.spread[rows] / n, self.adjoint.spread[columns] / m
        deviation = np.hypot(of_rows[:, None], of_columns[None, :])
        bar = self.granted * beside + _SIGMAS * deviation
        granted = self.atol + self.rtol * np.abs(forward)
        return bar, granted, _SYSTEMATIC * _SIGMAS * deviation


def sensitivity(products: list[Product]) -> float:
    """Error of a single entry that all these products miss with the probability `MISSED`.

    The products of independent vectors count: half of the four that two and two vectors make. An
    error e changes each by e times a product of two numbers, whose density is bounded, so that it
    is missed with a probability of at most ``2 bar density / e``, whatever else is wrong.
    """
    independent = products[:: len(products) // 2 + 1] if len(products) > 1 else products
    bars = [max(2 * _DENSITY * each.bar, np.finfo(float).tiny) for each in independent]
    mean = math.exp(sum(map(math.log, bars)) / len(bars))
    return mean / math.pow(MISSED, 1 / len(bars))


def _norm(vector: np.ndarray) -> float:
    return root_mean(vector) * math.sqrt(vector.size)
