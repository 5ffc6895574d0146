"""The functions of `_reference` for sparse matrices, as src/coloring.pxi has them in C."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from fastgrad._stencils import Steps

__all__ = ["color", "holds_group", "move_group", "order_of_rows", "spread"]

# One word of 64 bits for each row: see src/coloring.pxi.
_COLORS_PER_ROUND = 64
_ALL = 2**_COLORS_PER_ROUND - 1


def move_group(
    target: np.ndarray,
    entries: np.ndarray,
    before: np.ndarray,
    steps: Steps,
    offset: float,
    moved: np.ndarray,
) -> None:
    """Move entries from their values `before` by `offset` steps; store how far they really went."""
    points, wide = _points(before, steps, offset)
    target.flat[entries] = points
    with np.errstate(over="ignore", invalid="ignore"):
        moved[...] = points.astype(wide.dtype) - wide


def holds_group(
    target: np.ndarray, entries: np.ndarray, before: np.ndarray, steps: Steps, offset: float
) -> bool:
    """Whether entries hold the very bits that `move_group` wrote."""
    points, _ = _points(before, steps, offset)
    now = target.flat[entries]
    if now.itemsize > 8:  # a longdouble has padding, of which copies differ
        return bool(np.array_equal(now, points, equal_nan=True))
    return now.tobytes() == points.tobytes()


def _points(before: np.ndarray, steps: Steps, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Where entries go, and where they were, in the type to compute in."""
    wide = before.astype(np.result_type(before.dtype, np.float64), copy=False)
    with np.errstate(over="ignore", invalid="ignore"):
        if steps.given is None:
            size = np.abs(wide)  # in full: of a longdouble `lengths_of` would drop digits
            size = np.where(size < np.inf, np.maximum(size, 1.0), 1.0)
            h = steps.absolute + steps.relative * size
        else:
            h = steps.given
        return (wide + offset * h).astype(before.dtype), wide


def order_of_rows(starts: np.ndarray, rows: np.ndarray, m: int, ends: np.ndarray | None) -> int:
    """What a pattern of `m` rows in CSC form is like: see `color`.

    -1: these arrays are no pattern; 0: the rows of a column are not in order, or one is there
    twice; 1: they are in order; 2: and the matrix is symmetric. That is looked at with `ends`
    alone, scratch memory of their type and of shape (m,), and of square matrices.
    """
    if starts[0] != 0 or starts[-1] > len(rows) or (np.diff(starts) < 0).any():
        return -1
    rows = rows[: starts[-1]]
    if ((rows < 0) | (rows >= m)).any():
        return -1
    first = np.zeros(len(rows) + 1, bool)
    first[starts[:-1]] = True
    if not (first[1:-1] | (rows[1:] > rows[:-1])).all():
        return 0
    if ends is None:
        return 1
    by_row = np.argsort(rows, kind="stable")
    columns = np.repeat(np.arange(m), np.diff(starts))
    return 1 + int((rows[by_row] == columns).all() and (columns[by_row] == rows).all())


def color(
    star: bool,
    starts: np.ndarray,
    rows: np.ndarray,
    order: np.ndarray | None,
    words: np.ndarray,
    most: int,
    colors: np.ndarray,
) -> tuple[int, int]:
    """Color columns first-fit, in this order; return how many colors there are.

    With them comes how many of the last 64 colors the row has that has most of them: if there are
    no more than 64 colors, that is how many entries the fullest row has. If it takes far more than
    `most` colors, -1 is returned instead, and 0.

    The rows of column `j` are ``rows[starts[j]:starts[j + 1]]``, both arrays int32 or int64. No two
    columns of one color share a row. With `star`, rows and columns are the vertices of a graph,
    each of which may be its own neighbor; neighbors differ, and of three vertices in a row the
    first and the last have one color only where that of the middle one is lower. So no path of four
    vertices has two colors: a star coloring (A. H. Gebremedhin, F. Manne, A. Pothen, What color is
    your Jacobian?, SIAM Review 47, 2005). `words`, of shape (rows,) and uint64, is scratch memory;
    `colors`, of shape (columns,) and intp, is the result, complete unless -1 is returned.
    """
    colors.fill(-1)
    listed = range(len(colors)) if order is None else order.tolist()
    each = _each(starts, rows)
    one_round = _round_of_vertices if star else _round_of_columns
    for first in range(0, most, _COLORS_PER_ROUND):
        found, bits = colors.tolist(), [0] * len(words)
        listed = one_round(each, listed, bits, first, found)
        colors[:] = found
        if not listed:
            count = max(found, default=-1) + 1
            return count, max((word.bit_count() for word in bits), default=0)
    return -1, 0


def _each(starts: np.ndarray, rows: np.ndarray) -> list[list[int]]:
    """The rows of each column."""
    flat, at = rows.tolist(), starts.tolist()
    return [flat[low:high] for low, high in pairwise(at)]


def _round_of_columns(
    each: list[list[int]],
    listed: list[int] | range,
    taken: list[int],
    first: int,
    colors: list[int],
) -> list[int]:
    """Give out the 64 colors from `first` on; return the columns left without one."""
    left = []
    for j in listed:
        used = 0
        for i in each[j]:
            used |= taken[i]
        free = ~used & (used + 1) & _ALL
        if not free:
            left.append(j)
            continue
        for i in each[j]:
            taken[i] |= free
        colors[j] = first + free.bit_length() - 1
    return left


def _round_of_vertices(
    each: list[list[int]], listed: list[int] | range, near: list[int], first: int, colors: list[int]
) -> list[int]:
    """The same for a star coloring; `near` holds the colors of the neighbors of each vertex."""
    left = []
    for v in listed:
        used = 0
        for w in each[v]:
            if w == v:
                continue
            if colors[w] < 0:
                used |= near[w]
            elif colors[w] >= first:
                bit = 1 << (colors[w] - first)
                used |= bit | (near[w] & (bit - 1))
        free = ~used & (used + 1) & _ALL
        if not free:
            left.append(v)
            continue
        for w in each[v]:
            if w != v:
                near[w] |= free
        colors[v] = first + free.bit_length() - 1
    return left


def spread(
    starts: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    widths: np.ndarray,
    change: np.ndarray,
    weight: float,
    data: np.ndarray,
) -> None:
    """Add to the entries of some columns what one weighted quotient of each says.

    The columns, intp, of a matrix in CSC form have moved by `widths` together, and `change`, of
    shape (rows,), is what that added to `f`: ``data += weight * (change / width)``.
    """
    counts = (starts[columns + 1] - starts[columns]).astype(np.intp)
    at = np.repeat(starts[columns] - (np.cumsum(counts) - counts), counts)
    at += np.arange(len(at), dtype=at.dtype)
    with np.errstate(all="ignore"):
        data[at] += weight * (change[rows[at]] / np.repeat(widths, counts))
