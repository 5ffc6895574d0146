"""Colors of columns that may move together."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastgrad import _backend
from fastgrad._derivatives.pattern import Pattern, pattern_of

__all__ = ["color_columns", "color_vertices", "colored", "groups_of", "number_of"]

# Rounds in which columns are colored once more, in an order that the colors so far suggest. Each
# costs some 10 ns for an entry of the pattern, and a color that it saves two evaluations of `f`.
# Brusselators of 32 to 100 points a side lose their last color in the third round.
_AGAIN = 6
# Up to so many colors, `color` tells how full the fullest row is: see src/coloring.pxi.
COLORS_PER_ROUND = 64
# A graph with an edge needs as many; a path of four vertices one more.
_LEAST_STARS = 2


def color_columns(sparsity: Any) -> np.ndarray:
    """Color the columns of a sparse matrix so that no two of one color share a row.

    Columns of one color of a Jacobian can be measured together: each row shows the derivative with
    respect to the one entry that moves it. `sparse_jacobian` does so.

    Parameters
    ----------
    sparsity : scipy.sparse array or matrix, or mask with two axes
        Where the matrix, of shape (m, n), may be other than zero: every stored entry of a sparse
        array, whatever its value, and every entry of a mask that is not zero. What
        `jacobian_sparsity` returns will do as well.

    Returns
    -------
    ndarray of shape (n,), integers
        The color of each column, from 0 on. A column without entries has color 0.

    Raises
    ------
    InputTypeError, InputValueError
        `sparsity` is none of these.
    MissingPackageError
        SciPy is not installed.

    See Also
    --------
    sparse_jacobian : the Jacobian, from differences along all columns of one color at once.

    Notes
    -----
    Columns take the lowest color that is free, one after the other: in their own order, which is
    best for bands, then largest first, by how many entries their rows have in all. Up to six
    rounds follow in which the classes of one color go in another order (Culberson's iterated
    greedy), unless there are no more colors than the fullest row has entries: none can do with
    fewer. As a row keeps its colors as bits, no two columns are ever compared; see A. Curtis,
    M. J. D. Powell, J. Reid, On the estimation of sparse Jacobian matrices, J. Inst. Math. Appl. 13
    (1974), and A. H. Gebremedhin, F. Manne, A. Pothen, What color is your Jacobian?, SIAM Review 47
    (2005).

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.color_columns(np.tri(5, k=1) - np.tri(5, k=-2))
    array([0, 1, 2, 0, 1])
    """
    return colored(pattern_of(sparsity))


def colored(pattern: Pattern) -> np.ndarray:
    """Colors of a pattern's columns: see `color_columns`."""
    best = _first_fit(pattern, None, star=False)
    fullest = best.fullest
    if best.number > COLORS_PER_ROUND:
        fullest = int(pattern.in_rows.max())
    if best.number > fullest:
        best = _fewer(pattern, best, _largest_first(pattern), star=False)
    return _once_more(pattern, best, fullest, star=False)


def color_vertices(pattern: Pattern) -> np.ndarray:
    """Colors of a symmetric pattern's vertices, of which no path of four has two: see `color`.

    They do for a symmetric matrix, as each entry is alone in one of its two places.
    """
    largest_first = np.argsort(-np.diff(pattern.starts), kind="stable").astype(np.intp)
    best = _first_fit(pattern, largest_first, star=True)
    best = _fewer(pattern, best, None, star=True)
    return _once_more(pattern, best, _LEAST_STARS, star=True)


def number_of(colors: np.ndarray) -> int:
    """How many colors there are."""
    return int(colors.max(initial=-1)) + 1


def groups_of(colors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns, sorted by color, and where the columns of each color start: (n,), (colors + 1,)."""
    count = number_of(colors)
    starts = np.concatenate([[0], np.cumsum(np.bincount(colors, minlength=count))])
    return _sorted_by(colors, count), starts.astype(np.intp)


def _sorted_by(keys: np.ndarray, count: int) -> np.ndarray:
    """In which order the keys, which are from 0 to `count` - 1, are sorted."""
    # NumPy sorts short integers by radix, five times as fast.
    short = keys.astype(np.uint16, copy=False) if count <= 2**16 else keys
    return np.argsort(short, kind="stable").astype(np.intp, copy=False)


class _Coloring(NamedTuple):
    """Colors, and what `color` returns of them: see there."""

    colors: np.ndarray
    number: int
    fullest: int


def _first_fit(
    pattern: Pattern, order: np.ndarray | None, most: int | None = None, *, star: bool
) -> _Coloring:
    """First-fit colors in this order."""
    colors = np.empty(pattern.shape[1], np.intp)
    words = np.empty(pattern.shape[0], np.uint64)
    limit = max(1, len(colors)) if most is None else most
    color = _backend.kernel.color
    return _Coloring(
        colors, *color(star, pattern.starts, pattern.rows, order, words, limit, colors)
    )


def _fewer(pattern: Pattern, best: _Coloring, order: np.ndarray | None, *, star: bool) -> _Coloring:
    """First-fit colors in this order, or the `best` ones so far if these are no more."""
    made = _first_fit(pattern, order, best.number, star=star)
    return made if 0 <= made.number < best.number else best


def _largest_first(pattern: Pattern) -> np.ndarray:
    """Columns by how many entries all of their rows have, the largest first."""
    counts = np.zeros(pattern.shape[1], np.int64)
    full = np.diff(pattern.starts) > 0
    if full.any():
        each = pattern.in_rows.astype(np.int32).take(pattern.rows)
        counts[full] = np.add.reduceat(each, pattern.starts[:-1][full], dtype=np.int64)
    most = int(counts.max(initial=0))
    return _sorted_by(most - counts, most + 1)


def _once_more(pattern: Pattern, best: _Coloring, least: int, *, star: bool) -> np.ndarray:
    """Color in the order of the classes: in turn the last one first, and the largest one first.

    A class can have its old color, or a lower one, so that columns never need more colors.
    """
    made = best
    for again in range(_AGAIN):
        if best.number <= least:
            break
        rank = np.arange(made.number)[::-1]
        if again % 2:
            rank = np.argsort(np.argsort(-np.bincount(made.colors), kind="stable"))
        order = _sorted_by(rank.take(made.colors), made.number)
        made = _first_fit(pattern, order, star=star)
        if made.number < best.number:
            best = made
    return best.colors
