"""Entries of the matrix of a linear map, as its adjoint claims them and as it has them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._checks.adjoint_search import Maps, Region, wrong_cell
from fastgrad._checks.case import Case
from fastgrad._checks.diagnosis import diagnose
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.inner_products import Rounding, sensitivity
from fastgrad._checks.space import PARTS, Space, SpaceLeaf
from fastgrad._checks.wording import Wording
from fastgrad._report.causes import Finding
from fastgrad._report.entries import Entries, LeafSpan, Probe, Verdict

__all__ = ["Cells", "all_entries", "no_entries", "of_matrix", "some_entries"]

_RIGHT, _WRONG, _UNCLEAR = (
    verdict.code for verdict in (Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL)
)
# Rows, and columns, of a wrong region of which entries are judged.
_ROWS = 3


@dataclass(frozen=True)
class _Side:
    """The real numbers of an array, or one part of a complex one: where they are in the vector."""

    leaf: SpaceLeaf
    part: int  # 1 of imaginary parts

    @property
    def path(self) -> str:
        return self.leaf.path + (PARTS[self.part] if self.leaf.is_complex else "")

    @property
    def numbers(self) -> np.ndarray:
        """Positions in the vector."""
        stride = 2 if self.leaf.is_complex else 1
        return np.arange(self.leaf.start + self.part, self.leaf.stop, stride)


def _sides(space: Space) -> list[_Side]:
    return [_Side(leaf, part) for leaf in space.leaves for part in range(1 + leaf.is_complex)]


def _blocks(x: Space, y: Space) -> Iterator[tuple[_Side, _Side]]:
    yield from ((there, here) for there in _sides(y) for here in _sides(x))


def _span(y: _Side, x: _Side, start: int, stop: int, probe: Probe | None = None) -> LeafSpan:
    """The stretch of the columns that belongs to one block."""
    shape, dtype = y.leaf.shape + x.leaf.shape, str(x.leaf.dtype)
    return LeafSpan(
        path=f"{y.path} / {x.path}",
        shape=shape,
        dtype=dtype,
        start=start,
        stop=stop,
        is_complex=False,
        probe=probe,
        output=y.path,
        leaf=x.path,
        output_axes=len(y.leaf.shape),
    )


def no_entries(x: Space, y: Space | None) -> Entries:
    """Blocks in which nothing was judged; none if the other side is not known."""
    nothing = Probe(np.empty(0, np.intp), Verdict.CANNOT_TELL, 0, 0.0, np.nan, ())
    spans = [_span(there, here, 0, 0, nothing) for there, here in _blocks(x, y)] if y else []
    return _entries(spans, [np.empty(0)] * 4)


def _entries(spans: Sequence[LeafSpan], columns: Sequence[np.ndarray]) -> Entries:
    """Entries from what is claimed, what is right, error bars and verdicts."""
    analytic, numeric, bar, codes = columns
    kinks = np.zeros(len(codes), bool)
    return Entries(tuple(spans), analytic, numeric, bar, codes.astype(np.int8), kinks)


def _judged(
    rounding: Rounding,
    forward: np.ndarray,
    adjoint: np.ndarray,
    rows: Any = slice(None),
    columns: Any = slice(None),
) -> list[np.ndarray]:
    """What is claimed, what is right, error bars and verdicts of the entries of a matrix."""
    bar, granted, doubt = rounding.entries(forward, adjoint, rows, columns)
    off = np.abs(forward - adjoint)
    codes = np.where(off <= bar + granted, _RIGHT, _WRONG).astype(np.int8)
    codes[(codes == _WRONG) & (off <= bar + granted + doubt)] = _UNCLEAR
    return [adjoint, forward, bar, codes]


def all_entries(maps: Maps, forward: np.ndarray, adjoint: np.ndarray) -> Entries:
    """Every entry of both matrices, (m, n)."""
    judged = _judged(maps.rounding, forward, adjoint)
    spans, parts, start = [], [], 0
    for y, x in _blocks(maps.x, maps.y):
        rows, columns = y.numbers, x.numbers
        stop = start + len(rows) * len(columns)
        spans.append(_span(y, x, start, stop))
        parts.append([each[np.ix_(rows, columns)].ravel() for each in judged])
        start = stop
    return _entries(spans, [np.concatenate(column) for column in zip(*parts, strict=True)])


def of_matrix(entries: Entries) -> tuple[Finding, ...]:
    """Causes that the whole matrix shows, such as rows in another order; none where none is found.

    They are those of Jacobians, which are matrices as well.
    """
    cases = []
    for span in entries.spans:
        mine = slice(span.start, span.stop)
        columns = (entries.analytic, entries.numeric, entries.uncertainty)
        analytic, numeric, bound = (each[mine].reshape(span.shape) for each in columns)
        wrong = (entries.codes[mine] == _WRONG).reshape(span.shape)
        # There are no parameters: a linear map is the same everywhere.
        nothing = np.zeros(span.shape)
        eps = float(np.finfo(float).eps)
        cases.append(Case(span.path, analytic, numeric, bound, nothing, wrong, nothing > 0, eps))
    found = [each for each in diagnose(cases) if each.kind not in DOUBTFUL]
    worded = Wording(entries.spans, "adjoint", "adjoint").all(found)
    return tuple(replace(each, sentence=_reworded(each.sentence)) for each in worded)


def _reworded(sentence: str) -> str:
    return sentence.replace("numeric adjoint", "adjoint of `forward`")


@dataclass(frozen=True)
class Cells:
    """Some entries of a wrong region: a grid of rows and columns of the matrix."""

    rows: np.ndarray
    columns: np.ndarray
    judged: list[np.ndarray]  # as of `_judged`

    @staticmethod
    def of(region: Region, maps: Maps) -> Cells:
        """Judge a few entries of a wrong region, by unit vectors."""
        found = Cells._of(region, maps)
        if (found.judged[3] == _RIGHT).all():  # sparse errors: one of them is looked for
            found = Cells._of(wrong_cell(region, maps), maps)
        return found

    @staticmethod
    def _of(region: Region, maps: Maps) -> Cells:
        pair = region.pair
        rows = _few(np.arange(pair.y.start, pair.y.stop).reshape(pair.y.real_shape)[pair.y_box])
        columns = _few(np.arange(pair.x.start, pair.x.stop).reshape(pair.x.real_shape)[pair.x_box])
        forward = np.stack([maps.forward(maps.x.unit(k))[rows] for k in columns], axis=1)
        adjoint = np.stack([maps.adjoint(maps.y.unit(k))[columns] for k in rows])
        return Cells(rows, columns, _judged(maps.rounding, forward, adjoint, rows, columns))


def _few(numbers: np.ndarray) -> np.ndarray:
    at = np.unique(np.linspace(0, numbers.size - 1, _ROWS).round().astype(np.intp))
    few: np.ndarray = numbers.ravel()[at]
    return few


def some_entries(maps: Maps, regions: Sequence[Region], cells: Sequence[Cells]) -> Entries:
    """The entries that were judged, and what random vectors show of each block."""
    of_pairs = {(each.pair.x.path, each.pair.y.path): each for each in regions}
    spans, parts, start = [], [], 0
    for y, x in _blocks(maps.x, maps.y):
        positions, judged = _in_block(y, x, cells)
        stop = start + len(positions)
        # One region alone stands for all, where all are right together.
        region = of_pairs.get((x.leaf.path, y.leaf.path), regions[0])
        spans.append(_span(y, x, start, stop, _probe(region, positions, judged[3])))
        parts.append(judged)
        start = stop
    return _entries(spans, [np.concatenate(column) for column in zip(*parts, strict=True)])


def _in_block(y: _Side, x: _Side, cells: Sequence[Cells]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Positions in a block of those that were judged, in order, and what was found of them."""
    positions, parts = [np.empty(0, np.intp)], [[np.empty(0)] * 4]
    for each in cells:
        rows, columns = y.numbers, x.numbers
        i, j = np.isin(each.rows, rows), np.isin(each.columns, columns)
        at = np.searchsorted(rows, each.rows[i])[:, None] * len(columns)
        positions.append((at + np.searchsorted(columns, each.columns[j])[None, :]).ravel())
        parts.append([column[np.ix_(i, j)].ravel() for column in each.judged])
    found, first = np.unique(np.concatenate(positions), return_index=True)
    return found, [np.concatenate(column)[first] for column in zip(*parts, strict=True)]


def _probe(region: Region, positions: np.ndarray, codes: np.ndarray) -> Probe:
    products = region.products
    shares = [each.error / each.size for each in products if each.size]
    # As |a - d| / (|a| + |d|), of two that are of one size.
    relative = float(np.sqrt(np.mean(np.square(shares))) / 2) if shares else 0.0
    verdict = region.verdict
    blocks: tuple[str, ...] = ()
    if verdict is Verdict.WRONG and int((codes == _WRONG).sum()) > 1:
        blocks = (f"{region.pair.y_name} / {region.pair.x_name}",)
    limit = sensitivity(products) if verdict is not Verdict.WRONG else 0.0
    return Probe(positions, verdict, len(region.xs), limit, relative, blocks)
