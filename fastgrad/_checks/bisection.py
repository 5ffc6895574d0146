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

from fastgrad._checks.directional import Directional, Reading, size_of
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
# Entries located that turn out to be right, after which the search ends: what is wrong is spread
# too thin to be seen in single entries, and each costs some ten evaluations.
_FRUITLESS = 4
# Wrong entries with an index in common after which all that share it are suspected: of three at
# random in a 40 x 40 matrix, all share a row or column once in 860 cases (2 * 39 * 38 / 1599 /
# 1598).
_ALIGNED = 3
# Side of the grid of entries that tells what is wrong with a block: 25 entries, where a pattern
# with one free number leaves 24 to confirm it.
_GRID = 5
# A wrong half that was only inferred is read itself where its bound is above this share of it.
_INFERRED = 4
# Wrong entries, or kinks, after which the search ends: nobody reads more, and each costs fifty
# evaluations.
MOST_WRONG = 100
# Directions, at most. Each finds what is largest; 40 are reached by scattered errors alone.
_MOST_DIRECTIONS = 40
# Directions whose residual no entry explains that prove the gradient wrong: each one does by
# itself, beyond `SAFETY` bounds; three, in case the noise came in a burst.
_UNEXPLAINED = 3


@dataclass(frozen=True)
class _Suspect:
    """A block in which something is wrong.

    `top` is the block from which on both halves were wrong each time, `times` how often.
    """

    box: Box
    reading: Reading
    top: Box
    times: int = 0


def probe_leaf(
    prober: Directional, random: np.random.Generator, in_jumps: Callable[[], bool]
) -> LeafProbe:
    """Look for wrong entries of a leaf along random directions until nothing is left.

    `in_jumps` tells whether `f`, which small moves leave alone, goes in jumps.
    """
    return _Search(prober, random, in_jumps).run()


class _Search:
    """The state of the search in one leaf."""

    def __init__(
        self, prober: Directional, random: np.random.Generator, in_jumps: Callable[[], bool]
    ) -> None:
        self._prober = prober
        self._random = random
        self._in_jumps = in_jumps
        self._kink = False
        self._whole: Box = tuple(slice(0, n) for n in prober.leaf.real.shape)
        self._dense: list[Dense] = []
        self._clean: list[float] = []
        self._strange: list[Reading] = []
        self._rows: list[tuple[float, float, float]] = []  # residual, claimed, numeric
        self._norm = self._growth = 0.0
        self._stopped: Stop | None = None

    def run(self) -> LeafProbe:
        """Draw directions until enough of them agree, or it is clear that they will not."""
        prober = self._prober
        try:
            if prober.leaf.real.size <= DIRECTIONS:
                prober.judge(np.arange(prober.leaf.real.size))
                return self._result()
            self._judge_not_finite()
            for turn in range(_MOST_DIRECTIONS):
                if self._is_over():
                    break
                self._look_along(turn)
        except OutOfBudget:
            self._stopped = Stop.BUDGET
        return self._result()

    def _judge_not_finite(self) -> None:
        """NaN and infinities in the gradient are wrong at once, and would spoil every sum."""
        analytic = self._prober.analytic
        finite = np.isfinite(analytic)
        if not finite.all():
            bad = np.flatnonzero(~finite)
            self._prober.judge(bad[:MOST_WRONG])
            self._prober.leave_out(bad)
            self._prober.repair()

    def _is_over(self) -> bool:
        everything = sum(size_of(block.box) for block in self._dense) >= size_of(self._whole)
        if len(self._prober.wrong) >= MOST_WRONG:
            self._stopped = self._stopped or Stop.WRONG
        if self._prober.kinks >= MOST_WRONG:
            self._stopped = self._stopped or Stop.KINKS
        enough = len(self._clean) == DIRECTIONS or len(self._strange) == _UNEXPLAINED
        return everything or enough or self._stopped is not None

    def _look_along(self, turn: int) -> None:
        """Read one direction, and look for what is wrong along it."""
        prober = self._prober
        prober.turn_to(turn, tuple(block.box for block in self._dense))
        reading = prober.read(self._whole) if turn else prober.calibrate(self._whole)
        row = prober.last
        assert row is not None
        self._norm = max(self._norm, row.norm)
        self._growth = max(self._growth, 0.0 if reading.kink else row.growth)
        self._rows.append((reading.value, reading.value + row.numeric, row.numeric))
        if not prober.moves and self._in_jumps():
            self._stopped = Stop.JUMPS
            return
        left = prober.doubted(reading)
        if not left.significant:
            self._clean.append(SAFETY * left.bound)
            self._kink = self._kink or left.kink
            return
        self._clean.clear()
        known = len(prober.wrong), prober.kinks, len(self._dense)
        self._locate(reading)
        if known == (len(prober.wrong), prober.kinks, len(self._dense)):
            self._strange.append(left)
        prober.repair()

    def _locate(self, reading: Reading) -> None:
        """Halve what is wrong until single entries are left, or most of a block is wrong."""
        prober = self._prober
        blocks = [_Suspect(self._whole, reading, self._whole)]
        certain: Box | None = None
        examples = fruitless = 0
        while blocks and max(len(prober.wrong), prober.kinks) < MOST_WRONG:
            block = blocks.pop()
            if block.times >= _CERTAIN:
                certain = block.top
            if size_of(block.box) == 1:
                fruitless += not self._explains(block.box)
                examples += certain is not None
                if fruitless == _FRUITLESS or self._in_line():
                    return
            elif certain is not None and examples >= _EXAMPLES:
                self._give_up(certain)
                return
            elif block.times == _SUSPECT and self._throughout(block.top):
                return
            else:
                halves = self._halves(block)
                both = len(halves) == 2
                for box, half in halves:
                    top = block.top if both and block.times else block.box if both else box
                    blocks.append(_Suspect(box, half, top, block.times + 1 if both else 0))

    def _explains(self, box: Box) -> bool:
        """Judge a single entry: whether it is wrong, or `f` has a kink there."""
        before = len(self._prober.wrong) + self._prober.kinks
        self._prober.judge(_entries(box, self._prober.leaf))
        return len(self._prober.wrong) + self._prober.kinks > before

    def _halves(self, block: _Suspect) -> list[tuple[Box, Reading]]:
        """The halves of a block in which something is wrong."""
        left, right = _split(block.box)
        first = self._prober.read(left, block.reading.value)
        second = block.reading.minus(first)
        # What is inferred is as uncertain as both together: look where that matters.
        nowhere = not first.significant and not second.significant
        if nowhere or (second.significant and second.bound > abs(second.value) / _INFERRED):
            second = self._prober.read(right, block.reading.value)
        wrong, kinks = [], []
        for half in ((left, first), (right, second)):
            if half[1].significant:
                wrong.append(half)
            elif half[1].kink:
                kinks.append(half)
        # The effect of several kinks may look like an error, and that of each of them like none.
        return wrong or kinks

    def _throughout(self, box: Box) -> bool:
        """Whether a block is wrong throughout; if so, it no longer takes part."""
        if size_of(box) < 2 * _SAMPLED:
            return False
        wrong = 0
        for enough in _ENOUGH:
            picks = _entries(box, self._prober.leaf, self._random, _SAMPLED)
            wrong += int(self._prober.judge(picks).sum())
            if wrong >= enough:
                self._give_up(box)
                return True
            if wrong < _DOUBTFUL:
                return False
        return False

    def _in_line(self) -> bool:
        """Whether the wrong entries point to a row, column or slice that is wrong throughout."""
        leaf, prober = self._prober.leaf, self._prober
        wrong = prober.wrong
        if leaf.array.ndim < 2 or len(wrong) < _ALIGNED:
            return False
        indices = np.unravel_index(wrong, leaf.real.shape)
        for axis, column in enumerate(indices[: leaf.array.ndim]):
            last = int(column[-1])
            if (column == last).sum() != _ALIGNED or leaf.real.shape[axis] == 1:
                continue
            box = (*self._whole[:axis], slice(last, last + 1), *self._whole[axis + 1 :])
            picks = _entries(box, leaf, self._random, _SAMPLED)
            if prober.judge(picks).sum() > _ALIGNED:
                self._give_up(box)
                return True
        return False

    def _give_up(self, box: Box) -> None:
        """Judge a grid of the block's entries, for its cause, and leave it alone from now on."""
        leaf = self._prober.leaf
        grid = _grid(box, leaf, self._random)
        self._dense = _merged(self._dense, Dense(box, grid))
        self._prober.judge(np.ravel_multi_index(np.ix_(*grid), leaf.real.shape).ravel())

    def _result(self) -> LeafProbe:
        prober = self._prober
        prober.finish()
        floors = self._clean or [math.inf]
        rows = np.array(self._rows or [(0.0, 0.0, 0.0)])
        finite = np.isfinite(rows).all(axis=1)
        rows = rows[finite] if finite.any() else rows
        error, claimed, numeric = np.sqrt((rows**2).mean(axis=0)).tolist()
        floor, claimed = max(floors), max(claimed, self._norm)
        limit = detection_limit(floors)
        if not self._rows:  # all entries were judged, or as many as could be
            floor = limit = float(prober.columns.uncertainty.max(initial=0.0))
            error, claimed, numeric = _sizes(prober.columns)
        return LeafProbe(
            entries=prober.judged,
            table=prober.columns,
            dense=tuple(self._dense),
            directions=len(self._clean),
            floor=floor,
            limit=limit,
            error=error,
            claimed=claimed,
            numeric=numeric,
            growth=self._growth,
            factor=_factor(self._rows, self._strange),
            kink=self._kink,
            moves=prober.moves or not self._rows,
            unexplained=len(self._strange) == _UNEXPLAINED,
            stopped=self._stopped,
        )


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


def _factor(rows: list[tuple[float, float, float]], strange: list[Reading]) -> float:
    """Claimed over numeric, if that is the same along all directions that disagree."""
    if len(strange) < _UNEXPLAINED:
        return math.nan
    _, claimed, numeric = np.array(rows).T
    factor = float(claimed @ numeric / (numeric @ numeric))
    off = np.abs(claimed - factor * numeric)
    return factor if (off <= SAFETY * max(each.bound for each in strange)).all() else math.nan


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
