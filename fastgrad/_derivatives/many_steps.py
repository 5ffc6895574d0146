"""Estimates derivatives from central differences at more and more steps, each entry at its own.

Steps start small, where `f` can do little unseen, and grow as long as noise is what limits the
estimate; they shrink where truncation does, or where nothing converges. An estimate at large steps
must agree with the values at small ones: what looks smooth on one scale only is not believed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from fastgrad._derivatives.extrapolation import estimate
from fastgrad._derivatives.stairs import Settled, stairs_of
from fastgrad._derivatives.step_levels import Rows
from fastgrad._derivatives.step_view import StepView
from fastgrad._derivatives.surroundings import Surroundings
from fastgrad._evaluation.protocol import Evaluator

__all__ = ["Goal", "Outcome", "estimate_entries"]

# Rows by which the largest step may be above the best one: at the next orders set in that help.
_AHEAD = 2
# Rows that are left out where noise hides all that two rows can show: a factor 7.3^3 = 389.
_LEFT_OUT = 3
# A kink is looked at with so many steps below the first ones: it may be a corner that is rounded.
_BELOW_KINKS = 4


@dataclass(frozen=True)
class Goal:
    """How accurate derivatives have to be."""

    rtol: float
    atol: float

    def allowed(self, size: np.ndarray) -> np.ndarray:
        """How far derivatives of such sizes may be off."""
        return self.atol + self.rtol * size


@dataclass(frozen=True)
class Outcome:
    """Derivatives of outputs by entries: arrays of one shape."""

    value: np.ndarray
    bound: np.ndarray  # NaN: no values on either side; infinite: no limit was found
    forward: np.ndarray  # one-sided derivatives
    backward: np.ndarray
    kink: np.ndarray
    met: np.ndarray  # whether the goal was
    moves: np.ndarray  # whether any step moved the output
    level: np.ndarray  # of the step that the derivative is from

    @classmethod
    def blank(cls, shape: tuple[int, ...]) -> Outcome:
        """Nothing is known."""
        value, bound, forward, backward = (np.full(shape, np.nan) for _ in range(4))
        kink, met, moves = (np.zeros(shape, dtype=bool) for _ in range(3))
        level = np.zeros(shape, dtype=int)
        return cls(value, bound, forward, backward, kink, met, moves, level)

    def put(self, where: np.ndarray, part: Outcome) -> None:
        """Replace some of them."""
        for each in fields(self):
            getattr(self, each.name).flat[where] = getattr(part, each.name)


def estimate_entries(
    run: Evaluator, leaf: int, entries: np.ndarray, around: Surroundings, goal: Goal
) -> Outcome:
    """Estimate the derivatives of all outputs by some entries: of shape (entries, outputs)."""
    outcome = Outcome.blank((len(entries), len(around.base)))
    # Where `f` has no value there is no derivative, whatever is beside it; nor where nothing moves.
    movable = np.isfinite(run.read(leaf, entries))[:, np.newaxis]
    open_ = np.flatnonzero(np.isfinite(around.base) & movable)
    if not len(open_):
        return outcome
    rows = Rows(run, leaf, entries, around)
    both = np.repeat(np.arange(len(entries)), 2)
    rows.measure(both, np.arange(len(both)) % 2)
    _settle(rows, open_, outcome, goal)
    lost = np.flatnonzero(np.isinf(outcome.bound) & outcome.moves)
    if len(lost):
        # Seven values may all be lucky ones: of what has no limit the noise is looked at again.
        _settle(rows, rows.rougher(lost), outcome, goal)
    _settle_stairs(rows, outcome, goal)
    return outcome


def _settle_stairs(rows: Rows, outcome: Outcome, goal: Goal) -> None:
    """Settle again what lies on stairs of `f`: their height is noise of larger steps."""
    pairs = np.flatnonzero(np.isfinite(outcome.bound) & outcome.moves)
    heights = stairs_of(rows, _settled(rows, pairs, outcome))
    steep = heights > 0
    rows.roughen(pairs[steep], heights[steep] / 2)
    _settle(rows, pairs[steep], outcome, goal)


def _settled(rows: Rows, pairs: np.ndarray, outcome: Outcome) -> Settled:
    """The derivatives of some pairs, with the levels of their steps."""
    names = ("value", "bound", "forward", "backward", "level")
    value, bound, forward, backward, level = (getattr(outcome, n).flat[pairs] for n in names)
    size = np.fmax(rows.look(pairs, level).size, np.abs(value))
    positions = pairs // rows.outputs
    levels = (level, rows.top(pairs, level), rows.own[positions] - 1, rows.highest[positions])
    return Settled(pairs, value, bound, forward, backward, size, *levels)


def _settle(rows: Rows, open_: np.ndarray, outcome: Outcome, goal: Goal) -> None:
    """Add steps as long as any of these pairs of an entry and an output wants one."""
    while len(open_):
        state = _State.of(rows, open_, goal)
        outcome.put(open_, state.outcome)
        wants = state.up | state.down
        rows.measure(*state.wanted())
        open_ = open_[wants]


@dataclass(frozen=True)
class _State:
    """What is known of some pairs of an entry and an output, and what is to be measured next."""

    outcome: Outcome
    positions: np.ndarray  # of the entries
    up: np.ndarray  # whether a larger step is wanted
    down: np.ndarray  # ... a smaller one
    target: np.ndarray  # level of the larger one
    below: np.ndarray  # level of the smaller one
    top: np.ndarray  # level of the largest one so far

    def wanted(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions and levels to be measured: all outputs of an entry share its steps."""
        positions, levels = [], []
        for wants, level in ((self.up, self.target), (self.down, self.below)):
            chosen, owner = np.unique(self.positions[wants], return_inverse=True)
            # The nearest level that any output asks for.
            nearest = np.full(len(chosen), np.iinfo(int).max)
            np.minimum.at(nearest, owner, level[wants])
            if wants is self.up:
                # Two neighbors, as one row estimates nothing: where some are left out.
                top = np.zeros(len(chosen), dtype=int)
                top[owner] = self.top[wants]
                apart = nearest > top + 1
                positions.append(chosen[apart])
                levels.append(nearest[apart] - 1)
            positions.append(chosen)
            levels.append(nearest)
        return np.concatenate(positions), np.concatenate(levels)

    @classmethod
    def of(cls, rows: Rows, pairs: np.ndarray, goal: Goal) -> _State:
        """Estimate these pairs, and decide."""
        plain, first = rows.of(pairs)
        table = plain.with_quantization()
        found = estimate(table)
        view = StepView(table, found)
        positions = pairs // rows.outputs
        own = rows.own[positions]
        # A constant has no scale.
        moves = np.tile(rows.moves, len(rows.own))[pairs]
        beyond = np.where(moves, view.hidden_up_to(first - own), 0.0)
        bound = np.where(beyond > np.abs(found.value), np.fmax(found.bound, beyond), found.bound)
        highest, top, end = rows.highest[positions], first - view.top, first - view.end
        can_go_up, can_go_down = highest > top, rows.lowest[positions] < end
        flat, alone = ~table.moves & np.isfinite(found.value), view.alone & can_go_down
        # What stands still may move at larger steps, as a staircase does.
        still = flat & ~can_go_up & _no_change_matters(rows.slopes(pairs), found.bound, goal)
        met = still | (~flat & ~alone & view.settled & (bound <= goal.allowed(view.size)))
        telling = found.kink & (end > -_BELOW_KINKS)
        limited = ~found.converged | (view.at_end & view.mostly_truncation) | alone | telling
        unseen = (bound > found.bound) & (end > own)
        down = ~met & can_go_down & ((limited & ~view.drowned) | view.has_gap_to_fill | unseen)
        near = found.converged & (view.pick - view.top <= _AHEAD)
        up = ~met & ~down & can_go_up & (flat | view.nothing_on_top | near)
        far = top + _LEFT_OUT + 2
        target = np.where(view.nothing_on_top & (far <= highest), far, top + 1)
        target = np.where(flat, highest, target)
        level = first - view.pick
        outcome = Outcome(found.value, bound, *view.sides, found.kink, met, table.moves, level)
        return cls(outcome, positions, up, down, target, end - 1, top)


def _no_change_matters(slopes: np.ndarray, bound: np.ndarray, goal: Goal) -> np.ndarray:
    """Whether a change that matters would have been seen, of pairs at which nothing moves."""
    # Values that are all 0 have no rounding, and their least noise is ours.
    found: np.ndarray = (bound <= goal.allowed(slopes)) | (slopes == 0)
    return found
