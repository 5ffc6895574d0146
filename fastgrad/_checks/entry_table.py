"""The entries of one leaf as columns of numbers, without an object for each entry."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

__all__ = ["UNJUDGED", "EntryTable"]

# Code of an entry without a verdict yet; the codes of the verdicts are 0, 1 and 2.
UNJUDGED = -1
# Entries looked at together: 32 KiB of float64 each for a handful of temporaries, which the
# second-level cache of any machine of today holds.
CHUNK = 4096


@dataclass(frozen=True)
class EntryTable:
    """The entries of one leaf: arrays of shape (n,), filled in place."""

    analytic: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    gaps: np.ndarray  # forward minus backward quotient at the first step
    codes: np.ndarray  # of the verdicts, int8
    kinks: np.ndarray  # whether f has a kink there, bool

    @classmethod
    def blank(
        cls, analytic: np.ndarray, uncertainty: float = math.nan, code: int = UNJUDGED
    ) -> EntryTable:
        """Return a table with the analytic values, and no other column measured."""
        n = len(analytic)
        return cls(
            analytic=analytic,
            numeric=np.full(n, math.nan),
            uncertainty=np.full(n, uncertainty),
            gaps=np.zeros(n),
            codes=np.full(n, code, np.int8),
            kinks=np.zeros(n, bool),
        )

    @property
    def scale(self) -> float:
        """Size of the gradient: the smaller of both maxima, so that no wild entry sets it."""
        return min(largest_size(self.analytic), largest_size(self.numeric))

    @property
    def looked_at(self) -> np.ndarray:
        """Whether each entry was differenced at all."""
        seen: np.ndarray = ~np.isnan(self.uncertainty)
        return seen


def largest_size(values: np.ndarray) -> float:
    """Largest finite absolute value, without a temporary as large as `values`."""
    largest = 0.0
    for start in range(0, len(values), CHUNK):
        sizes = np.abs(values[start : start + CHUNK])
        most = float(sizes.max())
        # Written so that NaN takes the slow way as well.
        if not most < np.inf:
            most = float(sizes.max(initial=0.0, where=sizes < np.inf))
        largest = max(largest, most)
    return largest
