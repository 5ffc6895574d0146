"""What a table of many steps says of the next one."""

from __future__ import annotations

import numpy as np

from fastgrad._derivatives.extrapolation import ONE_SIDED_NOISE, Estimate
from fastgrad._derivatives.step_table import RATIO, StepTable

__all__ = ["StepView"]

# Truncation limits an estimate where its bound is more than this many noise bounds.
_MOSTLY_NOISE = 2.0


class StepView:
    """What decides about the next step: one number or truth for each column of a table."""

    def __init__(self, table: StepTable, found: Estimate) -> None:
        self._table, self._found = table, found
        measured = np.isfinite(table.steps)
        self._columns = np.arange(measured.shape[1])
        rows = np.arange(len(measured))[:, np.newaxis]
        self.top = measured.argmax(axis=0)
        # The last row before the first gap below the top.
        gap = ~measured & (rows > self.top)
        self.end = np.where(gap.any(axis=0), gap.argmax(axis=0), len(measured)) - 1
        self._below = measured & (rows > self.end)
        # The row of the estimate: the lower one of its pair.
        distance = np.abs(table.steps - found.step)
        self.pick = np.where(np.isnan(distance), np.inf, distance).argmin(axis=0)

    def _at(self, rows: np.ndarray, array: np.ndarray) -> np.ndarray:
        found: np.ndarray = array[rows, self._columns]
        return found

    def _shows_nothing(self, rows: np.ndarray) -> np.ndarray:
        """Whether noise hides the derivative, and the gap between both sides."""
        noise = self._at(rows, self._table.noise)
        hidden = np.abs(self._at(rows, self._table.central)) <= noise
        gap = np.abs(self._at(rows, self._table.gaps))
        found: np.ndarray = hidden & (gap <= 2 * ONE_SIDED_NOISE * noise)
        return found

    @property
    def nothing_on_top(self) -> np.ndarray:
        """Whether noise hides all at the largest step."""
        return self._shows_nothing(self.top)

    @property
    def drowned(self) -> np.ndarray:
        """Whether the last two rows show nothing: smaller steps would show less."""
        above = np.fmax(self.end - 1, 0)
        found: np.ndarray = self._shows_nothing(self.end) & self._shows_nothing(above)
        return found

    @property
    def at_end(self) -> np.ndarray:
        """Whether the smallest step is that of the estimate."""
        found: np.ndarray = self.pick == self.end
        return found

    @property
    def mostly_truncation(self) -> np.ndarray:
        """Whether it is truncation that limits the estimate."""
        one_sided = np.isnan(self._at(self.pick, self._table.central))
        noise = self._at(self.pick, self._table.noise) * np.where(one_sided, ONE_SIDED_NOISE, 1.0)
        found: np.ndarray = self._found.bound > _MOSTLY_NOISE * noise
        return found

    @property
    def alone(self) -> np.ndarray:
        """Whether one change is all that tells of truncation: it may not shrink as it should."""
        # Extrapolated quotients start one row below the top.
        first = self.pick <= self.top + 2
        found: np.ndarray = first & self.at_end & self.mostly_truncation
        return found

    @property
    def astray(self) -> np.ndarray:
        """Whether smaller steps, beyond a gap in the table, contradict the estimate."""
        off = np.abs(self._table.central - self._found.value)
        contradicts = off > self._found.bound + self._table.noise
        found: np.ndarray = (contradicts & self._below).any(axis=0)
        return found

    @property
    def has_gap_to_fill(self) -> np.ndarray:
        """Whether the rows above a gap do not go with those below it, or have no estimate."""
        lost = self.astray | (self.pick > self.end)
        found: np.ndarray = self._below.any(axis=0) & lost
        return found

    def hidden_up_to(self, own: np.ndarray) -> np.ndarray:
        """What noise hides at the step of the row `own`, if the estimate is of larger ones; else 0.

        A derivative that is not seen there may be one of which larger steps see the mean.
        """
        noise, above = self._at(self.pick, self._table.noise), own - self.pick
        found: np.ndarray = np.where(above > 0, noise * RATIO ** np.fmax(above, 0), 0.0)
        return np.where(np.isfinite(self._found.bound), found, 0.0)

    @property
    def settled(self) -> np.ndarray:
        """Whether there is one derivative, and no smaller step contradicts it."""
        found: np.ndarray = self._found.converged & ~self._found.kink & ~self.astray
        return found

    @property
    def size(self) -> np.ndarray:
        """What relative tolerances refer to: the derivative, or differences beside a zero."""
        ahead, behind = (
            np.abs(self._at(self.pick, each))
            for each in (self._table.forward, self._table.backward)
        )
        found: np.ndarray = np.fmax(np.fmax(ahead, behind), np.abs(self._found.value))
        return found

    @property
    def sides(self) -> tuple[np.ndarray, np.ndarray]:
        """The derivatives ahead and behind: NaN where there are no values."""
        found, table = self._found, self._table
        rises = self._at(self.pick, table.gaps) > 0
        ahead = np.where(rises, found.upper, found.lower)
        behind = np.where(rises, found.lower, found.upper)
        lost = (np.isnan(self._at(self.pick, each)) for each in (table.forward, table.backward))
        forward, backward = (
            np.where(none, np.nan, side) for none, side in zip(lost, (ahead, behind), strict=True)
        )
        return forward, backward
