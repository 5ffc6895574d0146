"""Which outputs a vector-Jacobian product is wrong in, and one report on these.

Along one direction of the parameters `f` shows the derivatives of all its outputs at once, and any
vector `u` that a product is asked for tells what it claims of their sum with the weights `u`: to
find the outputs that are wrong takes calls of the product, and no evaluation.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np

from fastgrad._checks.by_weights import narrowed
from fastgrad._checks.error_model import DIRECTION_ROUNDING, MATERIAL, SAFETY
from fastgrad._checks.halving import measured_halves
from fastgrad._checks.product_claims import Pulled
from fastgrad._checks.residual import Residual
from fastgrad._checks.verdict import listed
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._leaf import Box
from fastgrad._report.entries import Entries, LeafSpan
from fastgrad._report.report import Report

__all__ = ["LOCATED", "Sums", "Way", "of_outputs", "positions_of", "wrong_outputs"]

# Outputs that are located and judged by themselves, at most.
LOCATED = 3
# Parts of the outputs that are told from each other by weights at once, at most: as in a leaf.
_PARTS = 64
# Outputs drawn to tell whether many are wrong, and how many of them must be: half of all pass for
# many in 86 % of draws, a tenth in 4 % (binomial). Both are found either way.
_SAMPLED, _MANY = 8, 3
# Errors of one size add up with random signs, within this many standard deviations of the sum but
# once in 16,000.
_SIGMAS = 4.0


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
class Way:
    """A direction of the parameters, and how all outputs change along it.

    `change` is the difference of their values at both sides, `noise` the standard deviation of its
    rounding, and `drift` by how much it is another one at smaller steps, zero where none were made.
    """

    run: Metered
    direction: Direction
    time: float
    change: np.ndarray
    noise: np.ndarray
    drift: np.ndarray

    def claimed(self, column: np.ndarray) -> tuple[float, float]:
        """What a claim about all parameters says of the same difference, and its terms' norm."""
        request = Along(self.direction, (self.time, -self.time))
        found = self.run.claimed(request, self._in_regions(column))
        return found.claimed[0] - found.claimed[1], 2 * found.norm

    @property
    def length(self) -> float:
        """How far apart both sides are: within bounds, not as far as the time says."""
        ones = self._in_regions(np.ones(sum(leaf.real.size for leaf in self.run.leaves)))
        # Of both the norm at the first time; one time alone would be other moves, within bounds.
        both = ((self.time, -self.time), (-self.time, self.time))
        return sum(self.run.claimed(Along(self.direction, times), ones).norm for times in both)

    def _in_regions(self, column: np.ndarray) -> list[np.ndarray]:
        starts = np.cumsum([0, *(leaf.real.size for leaf in self.run.leaves)])
        parts = []
        for region in self.direction.regions:
            whole = column[starts[region.leaf] : starts[region.leaf + 1]].reshape(region.shape)
            parts.append(np.asarray(region.of(whole)))
        return parts


@dataclass
class Sums:
    """What `vjp` and `f` say of any weighted sum of the outputs, along one direction.

    The outputs are a block of one axis, of which parts may have weights of their own.
    """

    pulled: Pulled
    u: np.ndarray
    way: Way
    rtol: float
    atol: float
    _factors: np.ndarray | None = field(default=None, init=False)

    @property
    def whole(self) -> Box:
        """All outputs."""
        return (slice(0, len(self.u)),)

    def measure(self, box: Box, whole: float = 0.0) -> Residual:
        """By how much the sum of some outputs is off, with the bound on what is right."""
        mine = np.zeros_like(self.u)
        mine[box[0]] = self.u[box[0]]
        if self._factors is not None:
            mine *= self._factors
        column, spacings = self.pulled.measured(mine)
        claimed, norm = self.way.claimed(column)
        used = mine != 0  # of others any value is as good, NaN too
        change, drift, noise = (
            mine[used] * each[used] for each in (self.way.change, self.way.drift, self.way.noise)
        )
        granted = (MATERIAL + DIRECTION_ROUNDING * max(spacings) + SAFETY * self.rtol) * norm
        if self.atol:
            granted += SAFETY * self.atol * _SIGMAS * self.way.length
        bound = abs(float(drift.sum())) + _norm(drift) + SIGMAS * _norm(noise) + granted
        return Residual(claimed - float(change.sum()), bound)

    def glance(self, box: Box, whole: float) -> Residual:
        """See `by_weights.Look`."""
        return self.measure(box)

    @contextmanager
    def weighted(self, parts: Sequence[Box], weights: Sequence[float]) -> Iterator[None]:
        """See `moves.Weighable`."""
        self._factors = np.ones_like(self.u)
        for (part,), weight in zip(parts, weights, strict=True):
            self._factors[part] = weight
        try:
            yield
        finally:
            self._factors = None

    def in_many(self, seed: int) -> bool:
        """Whether many outputs are wrong, as a sample of them says."""
        rng = np.random.default_rng(seed)
        picks = rng.choice(len(self.u), min(_SAMPLED, len(self.u)), replace=False).tolist()
        off = [self.measure((slice(j, j + 1),)).significant for j in picks]
        return sum(off) >= _MANY * len(off) / _SAMPLED


def _norm(vector: np.ndarray) -> float:
    return float(np.linalg.norm(vector))


def wrong_outputs(sums: Sums) -> list[int]:
    """Outputs that are wrong, those first that are off most: one more than are judged."""
    found: list[int] = []
    blocks = [_queued(sums.whole, sums.measure(sums.whole))]
    while blocks and len(found) <= LOCATED:
        _, start, box, residual, alone = heapq.heappop(blocks)
        if not residual.significant:
            continue
        if box[0].stop - start == 1:
            found.append(start)
            continue
        parts = _one(sums, box, residual) if alone else []
        if not parts:
            halves = measured_halves(sums.measure, box, residual)
            parts = [half for half in halves if half[1].significant]
        for part in parts:
            heapq.heappush(blocks, _queued(*part, len(parts) == 1))
    return found


_Queued = tuple[float, int, Box, Residual, bool]


def _queued(box: Box, residual: Residual, alone: bool = True) -> _Queued:
    """A block in the order of a heap; whether nothing is wrong beside it, as far as is known."""
    share = abs(residual.value) / residual.bound if residual.bound else np.inf
    return -share, box[0].start, box, residual, alone


def _one(sums: Sums, box: Box, residual: Residual) -> list[tuple[Box, Residual]]:
    """The one part of a block that makes all of its residual, if one does."""
    part, _ = narrowed(sums, sums, box, residual, _PARTS)
    if part == box:
        return []
    alone = sums.measure(part)
    explains = alone.significant and not residual.minus(alone).significant
    return [(part, alone)] if explains else []


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
