"""The entries of one leaf as columns of numbers, without an object for each entry."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from enum import IntEnum

import numpy as np

from fastgrad import _backend
from fastgrad._report.entries import Verdict

__all__ = ["UNJUDGED", "Doubt", "EntryTable"]

# Code of an entry without a verdict yet; the codes of the verdicts are 0, 1 and 2.
UNJUDGED = -1
_UNCLEAR = Verdict.CANNOT_TELL.code
# Entries looked at together: 32 KiB of float64 each for a handful of temporaries, which the
# second-level cache of any machine of today holds.
CHUNK = 4096


class Doubt(IntEnum):
    """Why an entry cannot be judged. Arrays are compared with the values, ten times as fast."""

    NONE = 0
    WEAK = 1  # the bound is as large as the gradient
    NO_LIMIT = 2  # the differences do not converge
    JUMPS = 3  # `f` jumps, or is piecewise constant
    EDGE = 4  # `f` has no finite value beside the parameters
    FIXED = 5  # the parameter is not finite, and does not move
    SCALES = 6  # small and large steps show two different derivatives
    INEXACT = 7  # the error is of the size of the errors of `f` itself
    HELD = 8  # both bounds of the parameter are equal


@dataclass(frozen=True)
class EntryTable:
    """The entries of one leaf: arrays of shape (n,), filled in place."""

    analytic: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    gaps: np.ndarray  # forward minus backward quotient at the first step
    codes: np.ndarray  # of the verdicts, int8
    kinks: np.ndarray  # whether f has a kink there, bool
    doubts: np.ndarray  # why an entry cannot be judged, int8: see `Doubt`
    moved: np.ndarray  # whether its moves changed f by as much as a bit, bool

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
            doubts=np.zeros(n, np.int8),
            moved=np.zeros(n, bool),
        )

    def rows(self, entries: np.ndarray) -> EntryTable:
        """A copy of some entries."""
        return EntryTable(**{each.name: getattr(self, each.name)[entries] for each in fields(self)})

    def put(self, entries: np.ndarray, rows: EntryTable) -> None:
        """Overwrite some entries."""
        for each in fields(self):
            getattr(self, each.name)[entries] = getattr(rows, each.name)

    def doubt(self, entries: np.ndarray, why: Doubt) -> None:
        """Leave some entries undecided."""
        if len(entries):
            self.codes[entries] = _UNCLEAR
            self.doubts[entries] = why

    @property
    def still(self) -> np.ndarray:
        """Whether `f` has values beside each entry, and they are all the same."""
        found: np.ndarray = ~self.moved & np.isfinite(self.numeric)
        return found

    @property
    def moves(self) -> bool:
        """Whether any entry was seen to move `f`, or to leave its domain."""
        if np.count_nonzero(self.moved):
            return True
        # What is held by its bounds is NaN as well, and was not seen to do anything.
        left = np.isnan(self.numeric) & (self.doubts != Doubt.HELD.value)
        return bool(np.count_nonzero(left))

    @property
    def jumps(self) -> bool:
        """Whether any entry moves `f` in jumps."""
        return bool(np.count_nonzero(self.doubts == Doubt.JUMPS.value))

    @property
    def jumps_only(self) -> bool:
        """Whether some do, and none that moves `f` is known to be right."""
        return self.jumps and not np.count_nonzero(self.moved & (self.codes == Verdict.RIGHT.code))

    @property
    def scale(self) -> float:
        """Size of the gradient: the smaller of both maxima, so that no wild entry sets it."""
        size = _backend.kernel.largest_size
        return float(min(size(self.analytic), size(self.numeric)))

    @property
    def looked_at(self) -> np.ndarray:
        """Whether each entry was differenced at all."""
        seen: np.ndarray = ~np.isnan(self.uncertainty)
        return seen
