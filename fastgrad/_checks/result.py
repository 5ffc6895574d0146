"""The findings of a check, exhaustive or by probes: all that a verdict and its reason go by."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from typing import TypeAlias

import numpy as np

from fastgrad._checks.baseline import Baseline
from fastgrad._checks.claim import Analytic
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import ErrorModel
from fastgrad._leaf import Box, Leaf
from fastgrad._report.causes import Finding
from fastgrad._report.entries import Entries, LeafSpan, Verdict
from fastgrad._report.report import Curve

__all__ = [
    "Dense",
    "LeafProbe",
    "LeafResult",
    "Part",
    "Result",
    "Stop",
    "Untold",
    "distrusted",
    "unjudged",
]


class Stop(Enum):
    """Why the search in a leaf ended early."""

    BUDGET = auto()
    WRONG = auto()  # it found as many wrong entries as it looks for
    KINKS = auto()  # it found as many kinks
    JUMPS = auto()  # `f` moves in jumps only


@dataclass(frozen=True)
class Part:
    """A leaf of which every entry is judged: its entries, and the error model for them."""

    number: int  # of the leaf
    leaf: Leaf
    table: EntryTable
    model: ErrorModel


@dataclass(frozen=True)
class Dense:
    """A block that is wrong throughout, and the grid of entries in it that were judged."""

    box: Box
    grid: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class LeafProbe:
    """What probing has found in one leaf.

    `entries` were judged one by one, and `table` is in their order. `error`, `claimed` and
    `numeric` are root mean squares over the directions: of the residuals, of the derivatives by the
    analytic gradient, and of the numeric ones.
    """

    entries: np.ndarray
    table: EntryTable
    dense: tuple[Dense, ...] = ()
    directions: int = 0
    floor: float = 0.0  # smallest residual that counts
    limit: float = 0.0  # smallest error in a single entry that would have been seen
    error: float = 0.0
    claimed: float = 0.0
    numeric: float = 0.0
    noise: float = 0.0  # what of the floor is noise, at most
    # How fast the derivative grows beside the point, or `f` farther away, over a length.
    growth: float = 0.0
    factor: float = math.nan  # of claimed over numeric, if it is the same along all directions
    kink: bool = False  # whether kinks hide errors of the size of an entry from directions
    moves: bool = True
    all_judged: bool = False  # whether every entry of the leaf was
    unexplained: bool = False  # the directions disagree, but no entry could be named
    doubtful: bool = False  # so do some, but not at all steps alike
    not_finite: int = 0  # entries claimed to be NaN or infinite that are not known to be wrong
    stopped: Stop | None = None  # None where the search ended by itself

    @property
    def jumps(self) -> bool:
        """Whether `f` moves in jumps, with the leaf or with an entry that was judged."""
        return self.stopped is Stop.JUMPS or self.table.jumps

    @property
    def jumps_only(self) -> bool:
        """Whether it moves in no other way."""
        everything = self.all_judged and self.table.jumps_only
        return self.stopped is Stop.JUMPS or everything


# Likely bugs, and the worst entry's curve: made of copies, so that neither `f` nor the parameters
# are kept for them.
Untold: TypeAlias = Callable[[], tuple[tuple[Finding, ...], Curve | None]]


@dataclass(frozen=True)
class LeafResult:
    """What a check has found in one leaf."""

    verdict: Verdict
    moves: bool  # whether small steps were seen to move `f`
    still: bool  # whether `f` does not move at all, and the analytic gradient is zero as well
    jumps: bool = False  # whether `f` moves in jumps only
    probe: LeafProbe | None = None  # None where every entry was judged


@dataclass(frozen=True)
class Result:
    """What a check has found; `leaves` are in the order of the spans of `entries`."""

    entries: Entries
    leaves: tuple[LeafResult, ...] = ()  # none if something forbids to judge at all
    baseline: Baseline | None = None  # None if `f` was not looked at, or not often enough
    causes: tuple[Finding, ...] = ()
    curve: Curve | None = None
    untold: Untold | None = None  # what makes both when they are looked at, where nothing has yet
    detection_limit: float = 0.0
    miss_probability: float = 0.0
    measured: int | None = None  # entries that were measured when the budget ran out
    doubts: np.ndarray | None = None  # why entries cannot be judged: see `Doubt`
    trouble: str = ""  # what forbids to judge at all, as a sentence
    rtol: float = 0.0  # what the user granted
    atol: float = 0.0

    def distrusted(self, baseline: Baseline | None, trouble: str = "") -> Result:
        """The same numbers without a verdict: `baseline` or `trouble` says what is wrong."""
        # Of the leaves and causes nothing is left: they were concluded from the same numbers.
        codes = np.full_like(self.entries.codes, Verdict.CANNOT_TELL.code)
        spans = tuple(map(distrusted, self.entries.spans))
        entries = replace(self.entries, spans=spans, codes=codes)
        return replace(
            self,
            entries=entries,
            leaves=(),
            baseline=baseline,
            trouble=trouble,
            causes=(),
            curve=None,
            untold=None,
            measured=None,
        )


def distrusted(span: LeafSpan) -> LeafSpan:
    """A leaf of which nothing can be told."""
    if span.probe is None:
        return span
    return replace(span, probe=replace(span.probe, verdict=Verdict.CANNOT_TELL))


def unjudged(analytic: Analytic) -> Entries:
    """All entries of a gradient, none of which can be judged."""
    n = len(analytic.column)
    return Entries(
        analytic.spans,
        analytic.column,
        numeric=np.full(n, math.nan),
        uncertainty=np.full(n, math.inf),
        codes=np.full(n, Verdict.CANNOT_TELL.code, np.int8),
        kinks=np.zeros(n, bool),
    )
