"""One leaf as the patterns see it: analytic and numeric values, and the errors to be explained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastgrad._checks.error_model import SAFETY
from fastgrad._report.report import Cause

__all__ = ["ROUNDED", "Case", "Found", "moved_gain", "share", "squares", "whole"]

# A pattern may leave this share of the largest error of the leaf unexplained: two
# digits of the error must be right, as truncation and the noise of `f` allow all over the corpus.
_LEFT_OVER = 3e-3
# It may leave this share of each error and value, so that small entries are explained as well.
_LEFT_OVER_EACH = 0.1
# It may leave this share of the sum of squared errors, each in units of what is allowed: without
# that, a pattern that explains none of many small errors would pass by their bounds.
_UNEXPLAINED = 0.1
# An entry is clearly not zero beyond this many of its bounds: one digit of it is known.
_TELLING = 10.0
# Relative rounding of a predicted value: half the digits of float64, as in `refinement`.
ROUNDED = 1e-9

Found: TypeAlias = tuple[Cause, str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One leaf: analytic, numeric, its bound, the parameters, and which entries are wrong."""

    path: str
    analytic: np.ndarray
    numeric: np.ndarray
    bound: np.ndarray
    parameters: np.ndarray
    wrong: np.ndarray
    kinks: np.ndarray
    eps: float  # spacing of the analytic gradient's type
    sampled: bool = False  # whether these are only some entries of the leaf

    @property
    def slack(self) -> np.ndarray:
        """How much of each entry a pattern may leave unexplained."""
        errors, claimed = np.abs(self.analytic - self.numeric), np.abs(self.analytic)
        # The smaller maximum: a wild error or a wild value must not make room for itself.
        sizes = (each[np.isfinite(each)].max(initial=0.0) for each in (errors[self.wrong], claimed))
        slack: np.ndarray = np.fmin(_LEFT_OVER * min(sizes), _LEFT_OVER_EACH * (errors + claimed))
        return slack

    @property
    def telling(self) -> np.ndarray:
        """Entries that are wrong, or could well be: not those whose gradient vanishes."""
        clear: np.ndarray = np.abs(self.numeric) > _TELLING * self.bound
        clear |= self.wrong
        return clear

    def fits(self, predicted: np.ndarray, gain: Any = 1.0) -> bool:
        """Whether `predicted`, with `gain` times the errors of `numeric`, explains `analytic`."""
        with np.errstate(invalid="ignore", over="ignore"):
            left, slack = np.abs(self.analytic - predicted), self.slack
            allowed = SAFETY * np.abs(gain) * self.bound + slack
            allowed += ROUNDED * np.abs(predicted)
            # Each value within its bounds is not enough: most of the errors must be explained.
            unit = self.bound + slack
            explained = squares(left / unit) <= _UNEXPLAINED * squares(
                (self.analytic - self.numeric) / unit
            )
            return bool((left <= allowed).all()) and explained


def squares(x: np.ndarray) -> float:
    """Sum of the squared absolute values."""
    return float((np.abs(x) ** 2).sum())


def share(case: Case) -> str:
    """How many of the entries are wrong, in words."""
    count, size = int(case.wrong.sum()), case.wrong.size
    return whole(case) if count == size else f"{count:,} of {size:,} entries{_sampled(case)}"


def whole(case: Case) -> str:
    """All of the entries, in words."""
    size = case.analytic.size
    return f"all {size:,} entries{_sampled(case)}" if size > 1 else "its only entry"


def _sampled(case: Case) -> str:
    return " sampled" if case.sampled else ""


def moved_gain(case: Case, bound: np.ndarray) -> np.ndarray:
    """Gain of a prediction that moves entries, and their bounds with them; at least 1."""
    return np.fmax(1.0, bound / np.where(case.bound > 0, case.bound, 1.0))
