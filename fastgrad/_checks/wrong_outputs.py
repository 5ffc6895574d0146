"""Which outputs a vector-Jacobian product is wrong in, and one report on these."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from fastgrad._checks.case import ROUNDED
from fastgrad._checks.error_model import MATERIAL
from fastgrad._checks.product_claims import Pulled
from fastgrad._checks.verdict import listed
from fastgrad._report.entries import Entries, LeafSpan
from fastgrad._report.report import Report

__all__ = ["LOCATED", "Sums", "of_outputs", "positions_of", "wrong_outputs"]

# Outputs that are located and judged by themselves, at most.
LOCATED = 3


def positions_of(report: Report) -> list[int]:
    """The wrong entries, worst first, as positions in the column of all parameters."""
    wrong = report.wrong
    assert wrong.selection is not None
    starts = np.cumsum([0, *(span.size for span in wrong.spans)])
    found = []
    for position in wrong.selection.tolist():
        k = next(k for k, span in enumerate(wrong.spans) if position < span.stop)
        span = wrong.spans[k]
        inside = position - span.start
        inside = inside if span.probe is None else int(span.probe.judged[inside])
        found.append(int(starts[k]) + inside)
    return found


@dataclass
class Sums:
    """What `vjp` and `f` say of some entries, of any set of outputs."""

    pulled: Pulled
    u: np.ndarray
    entries: np.ndarray
    numeric: np.ndarray  # (entries, outputs)
    bound: np.ndarray

    def excess(self, low: int, high: int) -> float:
        """By how many bounds the outputs of a stretch are off together, in the worst entry."""
        part = np.zeros_like(self.u)
        part[low:high] = self.u[low:high]
        claimed = self.pulled.column(part)[self.entries]
        mine, terms = self.u[low:high], slice(low, high)
        right = self.numeric[:, terms] @ mine
        size = np.abs(self.numeric[:, terms]) @ np.abs(mine)
        bound = self.bound[:, terms] @ np.abs(mine) + (MATERIAL + ROUNDED) * size
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(claimed - right) / np.fmax(bound, MATERIAL * np.abs(claimed))
        return float(np.nan_to_num(off, nan=math.inf).max())


def wrong_outputs(sums: Sums) -> list[int]:
    """Outputs that are wrong, those first that are found first: one more than are judged."""
    return list(_halved(sums))


def _halved(sums: Sums) -> Iterator[int]:
    count, found = len(sums.u), 0
    stretches = [(-sums.excess(0, count), 0, count)]
    while stretches and found <= LOCATED:
        excess, low, high = heapq.heappop(stretches)
        if -excess <= 1.0:
            return
        if high - low == 1:
            found += 1
            yield low
            continue
        middle = (low + high) // 2
        for ends in ((low, middle), (middle, high)):
            heapq.heappush(stretches, (-sums.excess(*ends), *ends))


def of_outputs(parts: list[tuple[str, Report]], more: bool) -> Report:
    """One report of those on single outputs."""
    names, reports = [name for name, _ in parts], [report for _, report in parts]
    columns = [
        np.concatenate([getattr(report.entries, name) for report in reports])
        for name in ("analytic", "numeric", "uncertainty", "codes", "kinks")
    ]
    spans: list[LeafSpan] = []
    start = 0
    for name, report in parts:
        for span in report.entries.spans:
            path = f"{name} / {span.path}"
            moved = replace(span, start=span.start + start, stop=span.stop + start)
            spans.append(replace(moved, path=path, output=name, leaf=span.path))
        start += len(report.entries)
    others = " and others" if more else ""
    said = f"with a cotangent for {names[0]} alone, {reports[0].reason}"
    if len(names) > 1 or more:
        said += (
            f"; {listed(names[1:])}{others} {'are' if more or len(names) > 2 else 'is'} wrong too"
        )
    causes = tuple(
        replace(cause, sentence=f"for `{name}`: {cause.sentence}")
        for name, report in parts
        for cause in report.causes
    )
    return replace(
        reports[0],
        reason=said,
        causes=causes,
        entries=Entries(tuple(spans), *columns),
        detection_limit=max(report.detection_limit for report in reports),
        structure=None,
    )
