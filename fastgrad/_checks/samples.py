"""The likely bug, from the few entries of a large leaf that were judged.

Most patterns hold for a grid of entries as for the whole. Where the right values lie elsewhere, the
analytic gradient, all of which is known, is searched for the numeric values of the grid.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._checks.diagnosis import Case, diagnose
from fastgrad._checks.judge import Columns
from fastgrad._evaluation.blocks import Box, size_of
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Cause, Finding

__all__ = ["Sample", "box_text", "find_cause"]

_SHIFTS = (1, -1, 2, -2, 3, -3)


@dataclass(frozen=True)
class Sample:
    """What is known of one leaf: its gradient, and the entries judged with their columns."""

    leaf: Leaf
    analytic: np.ndarray  # in the shape of leaf.real
    judged: np.ndarray
    columns: Columns
    eps: float  # spacing of the gradient's type

    def case(self, grid: Sequence[np.ndarray] | None) -> Case:
        """The judged entries on a grid as a case of its shape; without one, all of them."""
        if grid is None:
            rows, shape = np.arange(len(self.judged)), (len(self.judged),)
        else:
            wanted = np.ravel_multi_index(np.ix_(*grid), self.leaf.real.shape)
            order = np.argsort(self.judged)
            rows = order[np.searchsorted(self.judged, wanted.ravel(), sorter=order)]
            shape = wanted.shape
        return self._case(rows, shape)

    @property
    def whole(self) -> Case | None:
        """The case of the whole leaf, if all of it was judged."""
        if len(self.judged) < self.leaf.real.size:
            return None
        order = np.argsort(self.judged)
        case = self._case(order, self.leaf.real.shape)
        return replace(case, sampled=False)

    def _case(self, rows: np.ndarray, shape: tuple[int, ...]) -> Case:
        is_complex = self.leaf.is_complex
        c = self.columns
        theta = self.leaf.real.flat[self.judged[rows]].astype(np.float64)
        numbers = (c.analytic[rows], c.numeric[rows], theta)
        bound, wrong, kinks = (
            column[rows].reshape(shape)
            for column in (c.uncertainty, c.codes == Verdict.WRONG.code, c.kinks)
        )
        a, d, theta = (x.reshape(shape) for x in numbers)
        # Of a complex number both parts are needed.
        if is_complex and len(shape) == self.leaf.real.ndim and shape[-1] == 2:
            a, d, theta = (x.view(np.complex128)[..., 0] for x in (a, d, theta))
            bound, wrong, kinks = bound.max(-1), wrong.any(-1), kinks.any(-1)
        return Case(self.leaf.path, a, d, bound, theta, wrong, kinks, self.eps, True)


def find_cause(
    sample: Sample,
    box: Box | None,
    grid: Sequence[np.ndarray] | None,
    others: Sequence[Sample],
) -> Finding:
    """The likely bug in a block that is wrong throughout, or, without one, in single entries."""
    case = sample.whole or sample.case(grid)
    if not case.wrong.any():
        case = sample.case(None)
    if not case.sampled and case.wrong.any():
        return diagnose([case])[0]
    if box is None:
        return _isolated(sample, case)
    finding = _misplaced(sample, case, grid, others) or next(iter(diagnose([case])), None)
    if finding is None:
        sentence = f"`{case.path}` is wrong, though in none of the entries that were judged"
        return Finding(Cause.UNKNOWN, case.path, sentence, {"entries": int(case.wrong.size)})
    if size_of(box) == sample.leaf.real.size:
        return finding
    text = box_text(box, sample.leaf.array.shape)
    there = finding.sentence.replace(f"`{case.path}`", "it", 1)
    most = "" if case.wrong.all() else "most of "
    sentence = f"`{case.path}` is wrong in {most}the slice {text}: there {there}"
    sentence = sentence.replace("there it:", "there")
    evidence = {**finding.evidence, "slice": text[1:-1], "inside": finding.kind.name}
    return Finding(Cause.SLICE, case.path, sentence, evidence)


def _isolated(sample: Sample, case: Case) -> Finding:
    count = int(case.wrong.sum())
    what = "one entry" if count == 1 else f"{count} isolated entries"
    sentence = f"`{case.path}` is wrong in {what}" + " only" * (count == 1)
    evidence: dict[str, Any] = {"wrong": count, "entries": sample.leaf.real.size}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (case.a / case.d)[case.wrong]
    if count > 1 and np.isfinite(ratios).all() and np.ptp(ratios) <= 1e-3 * abs(ratios[0]):
        sentence += f", each {ratios[0]:.4g} x the numeric gradient"
        evidence["factor"] = float(np.real(ratios[0]))
    return Finding(Cause.SINGLE, case.path, sentence, evidence)


def _misplaced(
    sample: Sample, case: Case, grid: Sequence[np.ndarray] | None, others: Sequence[Sample]
) -> Finding | None:
    """Whether the numeric values of the grid stand elsewhere in the gradient."""
    if grid is None or sample.leaf.is_complex or case.a.shape != _shape(grid):
        return None
    for kind, words, evidence, values in _elsewhere(sample, grid, others):
        slack = 2 * case.bound + case.slack
        if (np.abs(values - case.d) <= slack).all() and np.ptp(case.d) > 4 * slack.max():
            evidence = {"wrong": int(case.wrong.sum()), "entries": int(case.wrong.size), **evidence}
            return Finding(kind, case.path, f"`{case.path}` {words}", evidence)
    return None


def _shape(grid: Sequence[np.ndarray]) -> tuple[int, ...]:
    return tuple(map(len, grid))


def _elsewhere(
    sample: Sample, grid: Sequence[np.ndarray], others: Sequence[Sample]
) -> Iterator[tuple[Cause, str, dict[str, Any], np.ndarray]]:
    """Places where the right values may stand: what that says, and the values found there."""
    a, shape = sample.analytic, sample.analytic.shape
    index = np.ix_(*grid)
    if a.ndim == 2 and min(shape) > 1:
        # a = d.T laid out in the shape of d: d[i, j] stands where (j, i) is in a d.T read in order.
        flat = index[1] * shape[0] + index[0]
        yield Cause.TRANSPOSED, "is the transpose of the numeric gradient", {}, a.ravel()[flat]
    for axis, n in enumerate(shape):
        along = f" along axis {axis}" if a.ndim > 1 else ""
        for by in _SHIFTS:
            places = [*grid[:axis], (grid[axis] + by) % n, *grid[axis + 1 :]]
            words = f"is the numeric gradient shifted by {by}{along}"
            yield Cause.SHIFTED, words, {"shift": by}, a[np.ix_(*places)]
        places = [*grid[:axis], n - 1 - grid[axis], *grid[axis + 1 :]]
        words = f"is the numeric gradient reversed{along}"
        yield Cause.REVERSED, words, {}, a[np.ix_(*places)]
    for other in others:
        if other is not sample and other.analytic.shape == shape:
            words = f"holds the gradient of another parameter: its own is in `{other.leaf.path}`"
            yield Cause.SWAPPED, words, {"with": other.leaf.path}, other.analytic[index]


def box_text(box: Box, shape: Sequence[int]) -> str:
    """``[0:392, 17]``, nothing for all; of complex leaves without the axis of the parts."""
    sides = [
        ":" if j - i == n else str(i) if j - i == 1 else f"{i}:{j}"
        for i, j, n in zip((s.start for s in box), (s.stop for s in box), shape, strict=False)
    ]
    return f"[{', '.join(sides)}]" if any(side != ":" for side in sides) else ""
