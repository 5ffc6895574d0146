"""Entries as relations see them: analytic and numeric values, and the errors to be explained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fastgrad._checks.error_model import SAFETY, own_rounding

__all__ = ["ROUNDED", "Case", "chance", "joined", "moved_gain", "relative_error"]

# A relation may leave this share of each error unexplained, beyond what the bounds allow: what
# extrapolation leaves of the truncation of a right difference, relative to its own value.
_LEFT_OVER = 1e-6
# It may leave this share of the sum of squared errors, each in units of what is allowed: without
# that, a relation that explains none of many small errors would pass by their bounds.
_UNEXPLAINED = 0.1
# Errors count at most as this many of their bounds, so that no square overflows.
_CLEAREST = 1e6
# Relative rounding of a predicted value: half the digits of float64, as in `refinement`.
ROUNDED = 1e-9
# Of random errors, as large as the ones found, at most this share may satisfy a relation, or it is
# a coincidence: one of a hundred then satisfies any of the
# ten that have a number to fit.
_BY_CHANCE = 1e-3
# Entries that are looked at before all others: a relation that fails does so at any of them.
_FEW = 64
# Digits of an entry that count as evidence, as a probability: a value has no more than float64.
_MOST_EVIDENCE = 1e-16


@dataclass(frozen=True)
class Case:
    """Entries of one leaf, all or some: what is claimed, what is measured, and what is wrong."""

    path: str
    analytic: np.ndarray
    numeric: np.ndarray
    bound: np.ndarray
    parameters: np.ndarray
    wrong: np.ndarray
    kinks: np.ndarray
    eps: float  # spacing of the analytic gradient's type
    sampled: bool = False  # whether these are only some entries of the leaf
    unclear: bool = False  # whether others of the leaf, or of these, cannot be judged

    @cached_property
    def error(self) -> np.ndarray:
        """Analytic minus numeric values."""
        error: np.ndarray = self.analytic - self.numeric
        return error

    @cached_property
    def own_bound(self) -> np.ndarray:
        """The bound without what is granted to a claim because it is larger than the numeric value.

        A factor multiplies the errors of the numeric value, and not what a claim is granted.
        """
        share, right = own_rounding(self.eps), np.abs(self.numeric)
        larger = np.fmax(np.abs(self.analytic), right)
        own: np.ndarray = self.bound - share * (larger - right)
        # A bound of less than what is granted was not made of it, as that of a right entry.
        return np.where(self.bound > share * larger, own, self.bound)

    @cached_property
    def known(self) -> np.ndarray:
        """Entries whose claim, difference and bound are numbers: relations are tested on these."""
        known: np.ndarray = np.isfinite(self.analytic) & np.isfinite(self.numeric)
        known &= np.isfinite(self.bound)
        return known

    @property
    def size(self) -> int:
        """Number of entries."""
        return self.analytic.size

    def at(self, index: Any) -> Case:
        """The entries at an index or a mask."""
        columns = ("analytic", "numeric", "bound", "parameters", "wrong", "kinks")
        return replace(self, **{name: getattr(self, name)[index] for name in columns})

    def shaped(self, shape: Sequence[int]) -> Case:
        """The same entries in another shape."""
        columns = ("analytic", "numeric", "bound", "parameters", "wrong", "kinks")
        return replace(self, **{name: getattr(self, name).reshape(shape) for name in columns})

    def allowed(self, predicted: np.ndarray, gain: Any = 1.0) -> np.ndarray:
        """How far `analytic` may be from a prediction with `gain` times the errors of `numeric`."""
        allowed: np.ndarray = SAFETY * np.abs(gain) * self.own_bound
        allowed = allowed + _LEFT_OVER * np.abs(self.error)
        allowed += ROUNDED * np.abs(predicted)
        return allowed

    def agrees(self, predicted: np.ndarray, gain: Any = 1.0) -> np.ndarray:
        """Where `analytic` is what is predicted."""
        near: np.ndarray = np.abs(self.analytic - predicted) <= self.allowed(predicted, gain)
        return near

    def _first_fit(self, predicted: np.ndarray, gain: Any) -> bool:
        few = np.linspace(0, self.size - 1, _FEW, dtype=np.intp)
        times = np.broadcast_to(gain, self.analytic.shape).ravel()[few] if np.ndim(gain) else gain
        return bool(self._flat(few).agrees(predicted.ravel()[few], times).all())

    def _flat(self, entries: np.ndarray) -> Case:
        return self.shaped((-1,)).at(entries)

    def fits(
        self, predicted: np.ndarray, gain: Any = 1.0, fitted: int = 0, ways: float = 1.0
    ) -> bool:
        """Whether a prediction explains every entry, most of the errors, and more than chance.

        `fitted` numbers in it were chosen to fit, and it is one of `ways` that were tried.
        """
        left = np.abs(self.analytic - predicted)
        # Most relations fail at the first few entries: of many, these are looked at first.
        if self.size > _FEW and not self._first_fit(predicted, gain):
            return False
        allowed = self.allowed(predicted, gain)
        if not (left <= allowed).all():
            return False
        errors = np.abs(self.error)
        clear = np.fmin(errors / allowed, _CLEAREST)
        rest = (left / allowed)[np.isfinite(clear)]
        # Each value within its bounds is not enough: most of the errors must be explained.
        if not _squares(rest) <= _UNEXPLAINED * _squares(clear[np.isfinite(clear)]):
            return False
        return chance(allowed / errors, fitted, ways) <= math.log(_BY_CHANCE)


def chance(shares: np.ndarray, fitted: int, ways: float) -> float:
    """Logarithm of the probability that random errors are explained.

    `shares` are what is allowed over the errors: the probability for each entry. The clearest
    entries determine the fitted numbers, and are no evidence.
    """
    logs = np.log(np.clip(np.nan_to_num(shares.ravel(), nan=1.0), _MOST_EVIDENCE, 1.0))
    if fitted >= logs.size:
        return math.log(ways)
    evidence = float(logs.sum())
    if fitted:
        evidence -= float(np.partition(logs, fitted - 1)[:fitted].sum())
    return evidence + math.log(ways)


def _squares(x: np.ndarray) -> float:
    return float((np.abs(x) ** 2).sum())


def joined(cases: Sequence[Case]) -> Case:
    """The entries of several cases in one row."""
    columns = ("analytic", "numeric", "bound", "parameters", "wrong", "kinks")
    rows: dict[str, Any] = {
        name: np.concatenate([getattr(c, name).ravel() for c in cases]) for name in columns
    }
    for flag in ("sampled", "unclear"):
        rows[flag] = any(getattr(case, flag) for case in cases)
    return Case(path="", eps=max(case.eps for case in cases), **rows)


def moved_gain(case: Case, bound: np.ndarray) -> np.ndarray:
    """Gain of a prediction that moves entries, and their own bounds with them; at least 1."""
    own = case.own_bound
    return np.fmax(1.0, bound / np.where(own > 0, own, 1.0))


def relative_error(case: Case) -> float:
    """Of the entries that are numbers: the norm of the errors over that of the numeric values."""
    known = case.at(case.known)
    scale = float(np.abs(known.numeric).max(initial=0.0))
    if not scale > 0:
        return math.inf
    size = float(np.linalg.norm(known.numeric / scale))
    return float(np.linalg.norm(known.error / scale)) / size
