"""Finds the wrong entries of a large parameter without visiting all of them.

Random directions show that something is wrong: one wrong entry does, among any number of right
ones. Halving the block that is moved finds it in about ``log2(n)`` steps. Where most of a block is
wrong the halving stops, and a sample of it tells what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastgrad._checks.directional import Directional, Residual, size_of
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import SAFETY, detection_limit
from fastgrad._checks.result import Dense, LeafProbe, Stop
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._leaf import Box, Leaf

__all__ = ["MOST_WRONG", "probe_leaf"]

# Directions in a row that must agree. One misses an error of ten floors in one check of ten, two
# in one of a hundred (see `detection_limit`).
DIRECTIONS = 2
# Entries drawn from a block to tell whether it is wrong throughout.
_SAMPLED = 8
# Wrong ones among them that show it; if there are fewer, yet at least `_DOUBTFUL`, those among
# twice as many. Together they take a block with a tenth of its entries wrong in 0.3 % of draws,
# with half of them in 88 %, with three quarters in 99.9 % (binomial).
_ENOUGH, _DOUBTFUL = (5, 6), 2
# Halvings in a row with both halves wrong after which a block is suspected to be wrong throughout:
# of eight parts each holds a wrong entry.
_SUSPECT = 3
# The same, after which it is known: of 4,096 parts each does, in the path that was followed.
_CERTAIN = 12
# Entries of such a block that are located one by one, as examples of what is wrong.
_EXAMPLES = 6
# The search ends after this many located entries that turn out to be right: what is wrong is spread
# too thin to be seen in single entries, and each costs some ten evaluations.
_FRUITLESS = 4
# Wrong entries with an index in common after which all that share it are suspected: of three at
# random in a 40 x 40 matrix, all share a row or column once in 860 cases (2 * 39 * 38 / 1599 /
# 1598).
_ALIGNED = 3
# Side of the grid of entries that tells what is wrong with a block: 25 entries, where a pattern
# with one free number leaves 24 to confirm it.
_GRID = 5
# A wrong half that was only inferred is measured where its bound is above one over this of it.
_INFERRED = 4
# The search ends after this many wrong entries, or kinks: nobody reads a longer list, and each
# costs fifty evaluations.
MOST_WRONG = 100
# Directions, at most. Each finds the largest errors; only scattered ones need as many as 40.
_MOST_DIRECTIONS = 40
# This many directions whose residual no entry explains prove the gradient wrong. One would do, as
# its residual is beyond `SAFETY` bounds; there are three, in case the noise came in a burst.
_UNEXPLAINED = 3


@dataclass(frozen=True)
class _Suspect:
    """A block in which something is wrong.

    Since the block `top`, of which it is a part, both halves were wrong at each of `times`
    halvings in a row.
    """

    box: Box
    residual: Residual
    top: Box
    times: int = 0


def probe_leaf(
    directional: Directional, random: np.random.Generator, in_jumps: Callable[[], bool]
) -> LeafProbe:
    """Look for wrong entries of a leaf along random directions until nothing is left.

    ``in_jumps()`` tells whether `f`, which small moves do not change, moves in jumps.
    """
    return _Search(directional, random, in_jumps).run()


class _Search:
    """The state of the search in one leaf."""

    def __init__(
        self, directional: Directional, random: np.random.Generator, in_jumps: Callable[[], bool]
    ) -> None:
        self._directional = directional
        self._random = random
        self._in_jumps = in_jumps
        self._kink = False
        self._whole: Box = tuple(slice(0, n) for n in directional.leaf.real.shape)
        self._dense: list[Dense] = []
        # Of the last directions in a row that agreed: the smallest residuals that would count.
        self._agreed: list[float] = []
        # Of all directions: residuals after which no wrong entry, kink or block was found.
        self._unexplained: list[Residual] = []
        self._rows: list[tuple[float, float, float]] = []  # residual, claimed, numeric
        self._norm = self._growth = 0.0
        self._stopped: Stop | None = None

    def run(self) -> LeafProbe:
        """Draw directions until enough of them agree, or it is clear that they will not."""
        directional = self._directional
        try:
            # Fewer entries than directions: to judge them costs less, and says more.
            if directional.leaf.real.size <= DIRECTIONS:
                directional.judge(np.arange(directional.leaf.real.size))
                return self._result()
            self._judge_not_finite()
            # Each runs over the repaired gradient: what is known no longer hides the rest.
            for turn in range(_MOST_DIRECTIONS):
                if self._is_over():
                    break
                self._look_along(turn)
        except OutOfBudget:
            self._stopped = Stop.BUDGET
        return self._result()

    def _judge_not_finite(self) -> None:
        """Judge NaN and infinities in the gradient first: they would spoil every inner product."""
        analytic = self._directional.analytic
        finite = np.isfinite(analytic)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            self._directional.judge(bad[:MOST_WRONG])
            # Beyond MOST_WRONG of them the others count as zero from here on.
            self._directional.leave_out(bad)
            self._directional.repair()

    def _is_over(self) -> bool:
        everything = sum(size_of(block.box) for block in self._dense) >= size_of(self._whole)
        if len(self._directional.wrong) >= MOST_WRONG:
            self._stopped = self._stopped or Stop.WRONG
        if self._directional.kinks >= MOST_WRONG:
            self._stopped = self._stopped or Stop.KINKS
        enough = len(self._agreed) == DIRECTIONS or len(self._unexplained) == _UNEXPLAINED
        return everything or enough or self._stopped is not None

    def _look_along(self, turn: int) -> None:
        """Measure the residual along one direction, and look for the entries that explain it."""
        directional = self._directional
        directional.turn_to(turn, tuple(block.box for block in self._dense))
        residual = directional.measure(self._whole) if turn else directional.calibrate(self._whole)
        row = directional.last
        assert row is not None
        self._norm = max(self._norm, row.norm)
        self._growth = max(self._growth, 0.0 if residual.kink else row.growth)
        self._rows.append((residual.value, residual.value + row.numeric, row.numeric))
        if not directional.moves and self._in_jumps():
            self._stopped = Stop.JUMPS
            return
        left = directional.with_repair_errors(residual)
        if not left.significant:
            self._agreed.append(SAFETY * left.bound)
            self._kink = self._kink or left.kink
            return
        self._agreed.clear()  # what agreed so far may have missed what this direction shows
        known = len(directional.wrong), directional.kinks, len(self._dense)
        self._locate(residual)
        if known == (len(directional.wrong), directional.kinks, len(self._dense)):
            self._unexplained.append(left)
        directional.repair()

    def _locate(self, residual: Residual) -> None:
        """Halve what is wrong until single entries are left, or most of a block is wrong."""
        directional = self._directional
        # A stack: one wrong entry is found before the search turns to the next.
        blocks = [_Suspect(self._whole, residual, self._whole)]
        certain: Box | None = None
        examples = fruitless = 0
        while blocks and max(len(directional.wrong), directional.kinks) < MOST_WRONG:
            block = blocks.pop()
            if block.times >= _CERTAIN:
                certain = block.top
            if size_of(block.box) == 1:
                fruitless += not self._explains(block.box)
                examples += certain is not None
                if fruitless == _FRUITLESS or self._aligned():
                    return
            elif certain is not None and examples >= _EXAMPLES:
                self._mark_dense(certain)
                return
            elif block.times == _SUSPECT and self._is_dense(block.top):
                return
            else:
                halves = self._halves(block)
                both = len(halves) == 2
                for box, half in halves:
                    # A row of halvings goes on, begins here, or is broken by a half that is right.
                    top = block.top if both and block.times else block.box if both else box
                    blocks.append(_Suspect(box, half, top, block.times + 1 if both else 0))

    def _explains(self, box: Box) -> bool:
        """Judge a single entry: whether it is wrong, or `f` has a kink there."""
        before = len(self._directional.wrong) + self._directional.kinks
        self._directional.judge(_entries(box, self._directional.leaf))
        return len(self._directional.wrong) + self._directional.kinks > before

    def _halves(self, block: _Suspect) -> list[tuple[Box, Residual]]:
        """The halves of a block in which something is wrong."""
        left, right = _split(block.box)
        first = self._directional.measure(left, block.residual.value)
        second = block.residual.minus(first)
        # What is inferred is as uncertain as both together: measure it where that matters.
        nowhere = not first.significant and not second.significant
        if nowhere or (second.significant and second.bound > abs(second.value) / _INFERRED):
            second = self._directional.measure(right, block.residual.value)
        wrong, kinks = [], []
        for half in ((left, first), (right, second)):
            if half[1].significant:
                wrong.append(half)
            elif half[1].kink:
                kinks.append(half)
        # Several kinks together may look like an error that no half shows: follow the kinks.
        return wrong or kinks

    def _is_dense(self, box: Box) -> bool:
        """Whether a sample shows that a block is wrong throughout; if so, mark it."""
        if size_of(box) < 2 * _SAMPLED:
            return False
        wrong = 0
        for enough in _ENOUGH:
            picks = _entries(box, self._directional.leaf, self._random, _SAMPLED)
            wrong += int(self._directional.judge(picks).sum())
            if wrong >= enough:
                self._mark_dense(box)
                return True
            if wrong < _DOUBTFUL:
                return False
        return False

    def _aligned(self) -> bool:
        """Whether the wrong entries point to a row, column or slice that is wrong throughout."""
        leaf, directional = self._directional.leaf, self._directional
        wrong = directional.wrong
        if leaf.array.ndim < 2 or len(wrong) < _ALIGNED:
            return False
        indices = np.unravel_index(wrong, leaf.real.shape)
        for axis, column in enumerate(indices[: leaf.array.ndim]):
            last = int(column[-1])  # of the entry judged last; earlier rows had their turn
            if (column == last).sum() != _ALIGNED or leaf.real.shape[axis] == 1:
                continue
            box = (*self._whole[:axis], slice(last, last + 1), *self._whole[axis + 1 :])
            picks = _entries(box, leaf, self._random, _SAMPLED)
            if directional.judge(picks).sum() > _ALIGNED:
                self._mark_dense(box)
                return True
        return False

    def _mark_dense(self, box: Box) -> None:
        """Judge a grid of the block's entries, to find the cause; directions leave it alone now."""
        leaf = self._directional.leaf
        grid = _grid(box, leaf, self._random)
        self._dense = _merged(self._dense, Dense(box, grid))
        self._directional.judge(np.ravel_multi_index(np.ix_(*grid), leaf.real.shape).ravel())

    def _result(self) -> LeafProbe:
        directional = self._directional
        directional.finish()
        floors = self._agreed or [math.inf]
        error, claimed, numeric = _root_mean_squares(self._rows)
        # Parts of one sign may cancel along all directions: the norm of the terms does not.
        floor, claimed = max(floors), max(claimed, self._norm)
        limit = detection_limit(floors)
        if not self._rows:  # all entries were judged, or as many as could be
            floor = limit = float(directional.table.uncertainty.max(initial=0.0))
            error, claimed, numeric = _sizes(directional.table)
        return LeafProbe(
            entries=directional.judged,
            table=directional.table,
            dense=tuple(self._dense),
            directions=len(self._agreed),
            floor=floor,
            limit=limit,
            error=error,
            claimed=claimed,
            numeric=numeric,
            growth=self._growth,
            factor=_factor(self._rows, self._unexplained),
            kink=self._kink,
            moves=directional.moves or not self._rows,
            unexplained=len(self._unexplained) == _UNEXPLAINED,
            stopped=self._stopped,
        )


def _root_mean_squares(rows: list[tuple[float, float, float]]) -> list[float]:
    """Each column's over the directions that gave numbers: estimates of norms over the entries."""
    table = np.array(rows or [(0.0, 0.0, 0.0)])
    finite = np.isfinite(table).all(axis=1)
    table = table[finite] if finite.any() else table
    scale = np.frexp(np.abs(table).max())[1]  # so that no square overflows
    means = np.sqrt((np.ldexp(table, -scale) ** 2).mean(axis=0))
    sizes: list[float] = np.ldexp(means, scale).tolist()
    return sizes


def _merged(blocks: list[Dense], new: Dense) -> list[Dense]:
    """The blocks and a new one; two that are neighbours along an axis make one."""
    for k, old in enumerate(blocks):
        differ = [axis for axis, (a, b) in enumerate(zip(old.box, new.box, strict=True)) if a != b]
        if len(differ) != 1:
            continue
        axis = differ[0]
        a, b = sorted((old.box[axis], new.box[axis]), key=lambda side: int(side.start))
        if a.stop == b.start:
            box = (*old.box[:axis], slice(a.start, b.stop), *old.box[axis + 1 :])
            # The new one's grid would be of entries that may be right, at the edge of the bug.
            return _merged(blocks[:k] + blocks[k + 1 :], Dense(box, old.grid))
    return [*blocks, new]


def _sizes(columns: EntryTable) -> tuple[float, float, float]:
    """Norms of the errors, and of both gradients; what is not finite counts for nothing."""
    vectors = (columns.analytic - columns.numeric, columns.analytic, columns.numeric)
    finite = [vector[np.isfinite(vector)] for vector in vectors]
    error, claimed, numeric = (float(np.linalg.norm(vector)) for vector in finite)
    return error, claimed, numeric


def _factor(rows: list[tuple[float, float, float]], unexplained: list[Residual]) -> float:
    """Claimed over numeric, if that is the same along all directions that disagree."""
    if len(unexplained) < _UNEXPLAINED:
        return math.nan
    _, claimed, numeric = np.array(rows).T
    # Least squares through the origin; then every direction has to lie on the line.
    factor = float(claimed @ numeric / (numeric @ numeric))
    off = np.abs(claimed - factor * numeric)
    return factor if (off <= SAFETY * max(each.bound for each in unexplained)).all() else math.nan


def _split(box: Box) -> tuple[Box, Box]:
    """Halve a box along its longest axis."""
    lengths = [side.stop - side.start for side in box]
    axis = int(np.argmax(lengths))
    middle = box[axis].start + lengths[axis] // 2
    left, right = list(box), list(box)
    left[axis] = slice(box[axis].start, middle)
    right[axis] = slice(middle, box[axis].stop)
    return tuple(left), tuple(right)


def _entries(
    box: Box, leaf: Leaf, random: np.random.Generator | None = None, count: int = 0
) -> np.ndarray:
    """Entries of a block in C order: all of them, or some drawn at random."""
    size = size_of(box)
    picks = np.arange(size) if random is None or size <= count else _drawn(random, size, count)
    inner = np.unravel_index(picks, [side.stop - side.start for side in box])
    index = [part + side.start for part, side in zip(inner, box, strict=True)]
    entries: np.ndarray = np.ravel_multi_index(index, leaf.real.shape)
    return entries


def _drawn(random: np.random.Generator, size: int, count: int) -> np.ndarray:
    return np.sort(random.choice(size, count, replace=False, shuffle=False))


def _grid(box: Box, leaf: Leaf, random: np.random.Generator) -> tuple[np.ndarray, ...]:
    """A few places along each axis; the same along both where a matrix is square."""
    shape = [side.stop - side.start for side in box]
    long = [n for n in shape[: leaf.array.ndim] if n > 1]
    most = max(2, round((_GRID**2) ** (1 / max(len(long), 1))))
    drawn: dict[int, np.ndarray] = {}
    for n in dict.fromkeys(shape):
        drawn[n] = _drawn(random, n, most) if n > most else np.arange(n)
    return tuple(drawn[n] + side.start for n, side in zip(shape, box, strict=True))
