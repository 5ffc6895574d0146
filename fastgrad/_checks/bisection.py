"""Finds the wrong entries of a large parameter without visiting all of them.

Random directions show that something is wrong: one wrong entry does, among any number of right
ones. Halving the block that is moved finds it in about ``log2(n)`` steps. Where most of a block is
wrong the halving stops, and a sample of it tells what is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from fastgrad._checks.by_weights import narrowed
from fastgrad._checks.directional import Directional
from fastgrad._checks.halving import measured_halves
from fastgrad._checks.moves import LeafClaim, WeightedMoves, size_of
from fastgrad._checks.residual import Residual
from fastgrad._checks.result import Dense
from fastgrad._checks.suspects import Suspects
from fastgrad._leaf import Box, Leaf

__all__ = ["FEW", "GRID", "MOST_WRONG", "Bisection"]

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
GRID = 5
# All entries of a leaf with no more than this many are judged where directions leave a doubt: it
# costs as much as to locate eight wrong ones.
FEW = 200
# Wrong entries of a leaf that are judged at all steps, and at other scales; one step is enough for
# the others, where it shows them clearly wrong: as many as are looked at of a leaf that is judged
# entry by entry.
_LOOKED_AT = 4
# Parts that are told from each other by weights at once, at most: each is a call of the kernel, and
# 64 of them cost a tenth of what moves a million entries.
_PARTS = 64
# The search ends after this many wrong entries, or kinks: nobody reads a longer list, and each
# costs fifty evaluations.
MOST_WRONG = 100


@dataclass(frozen=True)
class _Block:
    """A block in which something is wrong.

    Since the block `top`, of which it is a part, both halves were wrong at each of `times`
    halvings in a row.
    """

    box: Box
    residual: Residual
    top: Box
    times: int = 0
    # Whether weights have shown no single part that makes all of it.
    spread: bool = False
    # What is halved where this, which weights have shown, is right after all.
    instead: _Block | None = None


class Bisection:
    """Finds what is wrong in one leaf by the residual along one direction after another."""

    def __init__(
        self,
        claim: LeafClaim,
        directional: Directional,
        moves: WeightedMoves,
        suspects: Suspects,
        random: np.random.Generator,
    ) -> None:
        self._leaf, self._whole, self._moves = claim.leaf, claim.whole, moves
        self._directional, self._suspects, self._random = directional, suspects, random
        self.dense: list[Dense] = []
        self._thin: list[Box] = []  # blocks of which a sample has shown hardly any wrong

    @property
    def found(self) -> tuple[int, int, int]:
        """How many wrong entries, kinks and blocks wrong throughout are known."""
        return len(self._suspects.wrong), self._suspects.kinks, len(self.dense)

    def locate(self, residual: Residual) -> None:
        """Halve what is wrong until single entries are left, or most of a block is wrong."""
        suspects = self._suspects
        # A stack: one wrong entry is found before the search turns to the next.
        blocks = [_Block(self._whole, residual, self._whole)]
        certain: Box | None = None
        examples = fruitless = 0
        while blocks and max(len(suspects.wrong), suspects.kinks) < MOST_WRONG:
            block = blocks.pop()
            if block.times >= _CERTAIN:
                certain = block.top
            if size_of(block.box) == 1:
                explained = self._explains(block.box)
                if not explained and block.instead is not None:
                    blocks.append(block.instead)
                    continue
                fruitless += not explained
                examples += certain is not None
                if fruitless == _FRUITLESS or self._aligned():
                    return
            elif certain is not None and examples >= _EXAMPLES:
                self.mark_dense(certain)
                return
            elif block.times == _SUSPECT and self._is_dense(block.top):
                return
            elif block.times == 0 and not block.spread:
                blocks.append(self._narrowed(block))
            else:
                halves = self._halves(block)
                both = len(halves) == 2
                for box, half in halves:
                    # A row of halvings goes on, begins here, or is broken by a half that is right.
                    top = block.top if both and block.times else block.box if both else box
                    blocks.append(_Block(box, half, top, block.times + 1 if both else 0))

    def meets_kinks(self) -> bool:
        """Whether `f` has kinks at some entries: at all of a small leaf, or at a few.

        Where several meet, they leave gaps along directions that may cancel.
        """
        count = _SAMPLED if size_of(self._whole) > FEW else FEW
        self._suspects.judge(_entries(self._whole, self._leaf, self._random, count))
        return self._suspects.kinks > 0

    def _explains(self, box: Box) -> bool:
        """Judge a single entry: whether it is wrong, or `f` has a kink there."""
        suspects = self._suspects
        before = len(suspects.wrong) + suspects.kinks
        # What `f` does beside the first wrong ones, it does beside the others.
        known = len(suspects.wrong) >= _LOOKED_AT and not suspects.unclear
        suspects.judge(_entries(box, self._leaf), examples=known)
        return len(suspects.wrong) + suspects.kinks > before

    def _narrowed(self, block: _Block) -> _Block:
        """A part that makes all of the residual, if there is one; else the block, to be halved."""
        residual, instead = block.residual, replace(block, spread=True)
        box, found = narrowed(self._directional, self._moves, block.box, residual, _PARTS)
        if size_of(box) == 1:
            return _Block(box, found, box, instead=instead)
        if box == block.box:
            return instead
        found = self._directional.measure(box, residual.value)
        alone = found.significant and not residual.minus(found).significant
        return _Block(box, found, box, spread=True) if alone else instead

    def _halves(self, block: _Block) -> list[tuple[Box, Residual]]:
        """The halves of a block in which something is wrong."""
        wrong, kinks = [], []
        for half in measured_halves(self._directional.measure, block.box, block.residual):
            if half[1].significant:
                wrong.append(half)
            elif half[1].kink:
                kinks.append(half)
        # Several kinks together may look like an error that no half shows: follow the kinks.
        return wrong or kinks

    def _is_dense(self, box: Box) -> bool:
        """Whether a sample shows that a block is wrong throughout; if so, mark it."""
        if size_of(box) < 2 * _SAMPLED or box in self._thin:
            return False
        wrong = 0
        for enough in _ENOUGH:
            picks = _entries(box, self._leaf, self._random, _SAMPLED)
            wrong += int(self._suspects.judge(picks).sum())
            if wrong >= enough:
                self.mark_dense(box)
                return True
            if wrong < _DOUBTFUL:
                self._thin.append(box)
                return False
        return False

    def _aligned(self) -> bool:
        """Whether the wrong entries point to a row, column or slice that is wrong throughout."""
        leaf, wrong = self._leaf, self._suspects.wrong
        if leaf.array.ndim < 2 or len(wrong) < _ALIGNED:
            return False
        indices = np.unravel_index(wrong, leaf.real.shape)
        for axis, column in enumerate(indices[: leaf.array.ndim]):
            last = int(column[-1])  # of the entry judged last; earlier rows had their turn
            if (column == last).sum() != _ALIGNED or leaf.real.shape[axis] == 1:
                continue
            box = (*self._whole[:axis], slice(last, last + 1), *self._whole[axis + 1 :])
            picks = _entries(box, leaf, self._random, _SAMPLED)
            if self._suspects.judge(picks).sum() > _ALIGNED:
                self.mark_dense(box)
                return True
        return False

    def mark_dense(self, box: Box, share: float = 0.0, side: int = GRID) -> None:
        """Judge a grid of the block's entries, to find the cause; directions leave it alone now.

        Unless a share of them is wrong, the block is not.
        """
        grid = _grid(box, self._leaf, self._random, side)
        # Judged first: where the budget ends here, no block is left with entries that were not.
        if self._wrong_of(grid).mean() >= share:
            self.dense = _merged(self.dense, Dense(box, grid))

    def drop_undecided(self) -> None:
        """Forget the blocks of which no entry of the grid is wrong any more."""
        self.dense = [block for block in self.dense if self._wrong_of(block.grid).any()]

    def _wrong_of(self, grid: tuple[np.ndarray, ...]) -> np.ndarray:
        """Whether each entry of a grid is wrong; what was not judged yet is."""
        picks = np.ravel_multi_index(np.ix_(*grid), self._leaf.real.shape).ravel()
        return self._suspects.judge(picks, examples=True)


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


def _grid(box: Box, leaf: Leaf, random: np.random.Generator, side: int) -> tuple[np.ndarray, ...]:
    """A few places along each axis; the same along both where a matrix is square."""
    shape = [side.stop - side.start for side in box]
    long = [n for n in shape[: leaf.array.ndim] if n > 1]
    most = max(2, round((side**2) ** (1 / max(len(long), 1))))
    drawn: dict[int, np.ndarray] = {}
    for n in dict.fromkeys(shape):
        drawn[n] = _drawn(random, n, most) if n > most else np.arange(n)
    return tuple(drawn[n] + side.start for n, side in zip(shape, box, strict=True))
