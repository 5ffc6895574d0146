"""Which entries of `x` each value of `f` depends on, by moving blocks of entries.

A binary tree of blocks: the block of all entries first, then halves of those blocks that a value
was seen to follow. Each evaluation shows all values, so blocks that no value may follow both of are
moved together: they have one color in the pattern of values and blocks that are still open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fastgrad._derivatives.coloring import colored, groups_of
from fastgrad._derivatives.pattern import Pattern
from fastgrad._evaluation.protocol import Evaluator, Grouped
from fastgrad._stencils import Steps

__all__ = ["Entries", "Outside", "dependences"]

# Bytes of the values that one request asks for.
_VALUES = 2**24
# A value that follows more blocks than this would keep all of them from moving together. It is
# looked at by itself: columns that are moved alone tell whether it follows every entry.
_CROWDED = 32
# If a value follows so many columns drawn at random, it follows 93 % of all or more, or a chance of
# one in a hundred has come true; it then counts as one that follows all.
_DRAWN = 64
# So many columns are all moved alone: four times as many evaluations, and nothing left to chance.
_ALL = 256


class Outside(Exception):
    """A value that is not finite was met, beside `x`."""


@dataclass(frozen=True, eq=False)
class Entries:
    """Entries of a pattern, and its full rows, of which no entry is listed."""

    rows: np.ndarray
    columns: np.ndarray
    full: np.ndarray  # (m,) bool

    def together(self, other: Entries) -> Entries:
        """All entries of both."""
        full = self.full | other.full
        n = int(max(self.columns.max(initial=-1), other.columns.max(initial=-1))) + 1
        both = np.union1d(self.rows * n + self.columns, other.rows * n + other.columns)
        rows, columns = np.divmod(both, max(n, 1))
        return Entries(rows[~full[rows]], columns[~full[rows]], full)


def dependences(
    run: Evaluator, base: np.ndarray, moves: np.ndarray, which: np.ndarray, seed: int
) -> Entries:
    """The entries of these rows, at the point where `run` is and `f` is `base`.

    `which` is a mask of rows, and `moves` how far each entry moves. A value counts as moved if any
    of its bits is. `Outside` is raised where a value is not finite.
    """
    search = _Search(run, base, moves)
    rows, columns, crowded = search.down(which, _CROWDED)
    full = np.zeros(len(base), bool)
    if crowded.any():
        more, full = search.alone(crowded, seed)
        if more is None:
            more = search.down(crowded & ~full, len(moves))[:2]
        rows, columns = (np.concatenate(both) for both in zip((rows, columns), more, strict=True))
    return Entries(rows, columns, full)


@dataclass(frozen=True, eq=False)
class _Search:
    """Moves blocks, and tells which values follow."""

    run: Evaluator
    base: np.ndarray
    moves: np.ndarray

    def down(self, which: np.ndarray, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """From the root to the leaves: rows and columns of the entries, and crowded rows.

        Pairs of a row and a block that it follows are kept sorted by block, then by row.
        """
        n = len(self.moves)
        size = 1 << max(n - 1, 0).bit_length()
        rows = np.flatnonzero(which)
        blocks = np.zeros(len(rows), np.intp)
        crowded = np.zeros(len(self.base), bool)
        kept = self._follow(rows, blocks, size, np.ones(len(rows), bool))
        rows, blocks = rows[kept], blocks[kept]
        while size > 1:
            size //= 2
            rows, blocks = self._halved(rows, blocks, size)
            counts = np.bincount(rows, minlength=len(crowded))
            crowded |= counts > most
            kept = ~crowded[rows]
            rows, blocks = rows[kept], blocks[kept]
        return rows, blocks, crowded

    def _halved(
        self, rows: np.ndarray, blocks: np.ndarray, size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Halves, of this size, of the blocks that rows follow.

        The right one is moved only where a row follows the left one: where it does not, it must
        follow the right one.
        """
        left, right = 2 * blocks, 2 * blocks + 1
        cut = right * size < len(self.moves)  # else the right half lies behind the last entry
        follows_left = self._follow(rows, left, size, cut) | ~cut
        open_ = cut & follows_left
        # Rows that must follow a right half count as well: those halves may not move together.
        maybe = np.flatnonzero(cut)
        follows_right = ~follows_left
        follows_right[maybe] |= self._follow(rows[maybe], right[maybe], size, open_[maybe])
        rows = np.concatenate([rows[follows_left], rows[follows_right]])
        blocks = np.concatenate([left[follows_left], right[follows_right]])
        order = np.argsort(blocks, kind="stable")  # fast: it merges two sorted halves
        return rows[order], blocks[order]

    def _follow(
        self, rows: np.ndarray, blocks: np.ndarray, size: int, asked: np.ndarray
    ) -> np.ndarray:
        """Whether rows follow blocks of this size, pair by pair: False where it is not asked.

        The pairs are all that there may be, so that no two blocks that a row may follow both of are
        moved together. They are sorted by block, then by row.
        """
        follows = np.zeros(len(rows), bool)
        mine = _of_asked_blocks(blocks, asked)
        rows, blocks, asked = rows[mine], blocks[mine], asked[mine]
        starts, number = _runs(blocks)
        shape = (len(self.base), len(starts) - 1)
        colors = colored(Pattern(shape, starts, rows))
        together, groups = groups_of(colors)
        color = np.where(asked, colors[number], len(groups) - 1)  # those not asked come last
        by_color, of_color = groups_of(color)
        names = blocks[starts[:-1]]
        for low, high, values in self._values(names[together], groups, size):
            pairs = by_color[of_color[low] : of_color[high]]
            seen = values[color[pairs] - low, rows[pairs]]
            if not np.isfinite(seen).all():
                raise Outside
            follows[mine[pairs]] = seen != self.base[rows[pairs]]
        return follows

    def _values(
        self, blocks: np.ndarray, groups: np.ndarray, size: int
    ) -> Iterator[tuple[int, int, np.ndarray]]:
        """Values where the blocks of each group have moved: groups `low` to `high` - 1."""
        first = blocks * size
        lengths = np.minimum(first + size, len(self.moves)) - first
        ends = np.concatenate([[0], np.cumsum(lengths)])
        count = len(groups) - 1
        step = max(1, _VALUES // (8 * max(1, len(self.base))), min(self.run.batch, _CROWDED))
        for low in range(0, count, step):
            high = min(low + step, count)
            part = slice(groups[low], groups[high])
            entries = np.repeat(first[part] - ends[:-1][part], lengths[part])
            entries += np.arange(ends[groups[low]], ends[groups[high]])
            starts = ends[groups[low : high + 1]] - ends[groups[low]]
            given = Steps(given=self.moves[entries])
            request = Grouped(0, entries.astype(np.intp), starts.astype(np.intp), given, (1,))
            yield low, high, self.run.grouped(request).values[:, 0]

    def alone(
        self, which: np.ndarray, seed: int
    ) -> tuple[tuple[np.ndarray, np.ndarray] | None, np.ndarray]:
        """Rows and columns of the entries of some rows, by moving each column alone, if few.

        Else None, and a mask of those rows that follow each of some columns drawn at random.
        """
        n = len(self.moves)
        few = n <= _ALL
        random = np.random.default_rng(seed)
        drawn = np.arange(n) if few else np.sort(random.choice(n, _DRAWN, replace=False))
        seen = np.zeros((len(drawn), len(which)), bool)
        for low, high, values in self._values(drawn, np.arange(len(drawn) + 1), 1):
            if not np.isfinite(values[:, which]).all():
                raise Outside
            seen[low:high] = (values != self.base) & which
        if not few:
            return None, np.asarray(seen.all(axis=0))
        columns, rows = np.nonzero(seen)
        return (rows, columns), np.zeros(len(which), bool)


def _of_asked_blocks(blocks: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Positions of the pairs whose block is asked of by any row; blocks are sorted."""
    starts, number = _runs(blocks)
    which = np.zeros(len(starts) - 1, bool)
    which[number[asked]] = True
    return np.flatnonzero(which[number])


def _runs(blocks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each of the sorted blocks starts, and the end; the number of each pair's block."""
    new = np.ones(len(blocks), bool)
    new[1:] = blocks[1:] != blocks[:-1]
    return np.append(np.flatnonzero(new), len(blocks)), np.cumsum(new) - 1
