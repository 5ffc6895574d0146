"""Looks for errors in one leaf along one direction after another, until it is clear what is wrong.

Two random directions that agree end the search. Where noise would hide a factor from them, a
direction along the claimed gradient comes first: a factor shows there most.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from fastgrad._checks.bisection import FEW, GRID, MOST_WRONG, Bisection
from fastgrad._checks.directional import VISIBLE, Directional
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import SAFETY, detection_limit
from fastgrad._checks.farther import judge_still
from fastgrad._checks.halving import halves_of
from fastgrad._checks.movement import moves_in_jumps
from fastgrad._checks.moves import LEFT_OVER, ClaimedMoves, LeafClaim, RandomMoves, size_of
from fastgrad._checks.residual import Residual
from fastgrad._checks.result import LeafProbe, Stop
from fastgrad._checks.suspects import Suspects
from fastgrad._derivatives.noise import is_single
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._leaf import Box

__all__ = ["Search"]

# Directions in a row that must agree. One misses an error of ten floors in one check of ten, two
# in one of a hundred (see `detection_limit`).
DIRECTIONS = 2
# Directions, at most. Each finds the largest errors; only scattered ones need as many as 40.
_MOST_DIRECTIONS = 40
# This many directions whose residual no entry explains end the search. They prove the gradient
# wrong if each of them stands at two steps; there are three, in case the noise came in a burst.
_UNEXPLAINED = 3
# Moves of an entry are below this many of its lengths, and most lengths are one.
_WIDEST = 2.0
# Entries of a finite claim that are judged beside those of an infinite one: they tell the scale.
_BESIDE = 4
# A leaf that is off by a factor is wrong throughout if this share of some entries is seen to be.
_MOSTLY = 0.5
# Side of the grid of these entries: 9, as directions in all four halves have shown one factor.
_FEWER = 3
# A factor that leaves more than this share of what a random direction shows is none, whatever noise
# was overlooked: along the claimed gradient one shows the root of the number of entries times as
# much.
_EXPLAINED = 0.5
# A typical entry shows an error beyond this many noise bounds: twice `SAFETY` of them, and most
# entries are larger than half of the typical one.
_SHOWN = 8.0
# Entries that are judged one by one where all others are claimed to be zero, and are as many times
# more: two evaluations each, as many together as halving takes for a few wrong ones.
_CLAIMED = 64


class Search:
    """The state of the search in one leaf."""

    def __init__(self, claim: LeafClaim, seed: int, random: np.random.Generator) -> None:
        self.suspects = Suspects(claim)
        self._claim, self._seed = claim, seed
        self._before = claim.run.evaluations
        self._moves = RandomMoves(claim, seed)
        self._directional = Directional(claim, self._moves)
        self._bisection = Bisection(claim, self._directional, self._moves, self.suspects, random)
        # Of the last directions in a row that agreed: the smallest residuals that would count.
        self._agreed: list[float] = []
        # Of all directions after which no wrong entry, kink or block was found: those whose
        # residual stands at two steps, and the others.
        self._standing = self._doubtful = 0
        self._kinked: bool | None = None  # whether kinks widen what counts; None: not looked at
        self._kinks_hide = False  # whether they do so more than noise
        self._off: float | None = None  # the factor along the claimed gradient, NaN if it is none
        self._rows: list[tuple[float, float, float]] = []  # residual, claimed, numeric
        self._norm = self._growth = self._noise = 0.0
        self._stopped: Stop | None = None

    def run(self) -> LeafProbe:
        """Draw directions until enough of them agree, or it is clear that they will not."""
        size = self._claim.leaf.real.size
        try:
            # Fewer entries than directions: to judge them costs less, and says more.
            if size <= DIRECTIONS:
                self.suspects.judge(np.arange(size))
            else:
                self._judge_not_finite()
                self._look_along_directions()
            if self._in_doubt() and size <= FEW:
                self.suspects.judge(np.arange(size))
                self._stopped = None
            elif self._is_cheap():
                self.suspects.judge(np.arange(size), examples=True)
            self._look_at_still()
        except OutOfBudget:
            self._stopped = Stop.BUDGET
        self.suspects.finish()
        return self._result()

    def _look_at_still(self) -> None:
        """Look whether judged entries that small steps leave without effect move `f` in jumps."""
        claim, suspects = self._claim, self.suspects
        judged = suspects.table, suspects.judged
        judge_still(claim.run, claim.number, *judged, claim.model, self._seed)
        if suspects.table.jumps:
            self._bisection.drop_undecided()

    def _judge_not_finite(self) -> None:
        """Judge NaN and infinities in the gradient first: they would spoil every inner product.

        So would entries of which a sum overflows.
        """
        most = sys.float_info.max / (_WIDEST * self._claim.leaf.real.size)
        if self._claim.largest(self._claim.whole) <= most:  # False for NaN
            return
        finite = np.abs(self._claim.analytic) <= most
        bad = np.flatnonzero(~finite)
        # Beyond MOST_WRONG of them the others count as zero from here on.
        self.suspects.leave_out(bad)
        sizes = np.abs(self._claim.analytic).ravel()
        # Beside the largest of the others a derivative of zero is known to be finite.
        beside = np.argsort(-sizes, kind="stable")[:_BESIDE]
        self.suspects.judge(np.concatenate([bad[:MOST_WRONG], beside[sizes[beside] > 0]]))
        self.suspects.repair()

    def _look_along_directions(self) -> None:
        # Each runs over the repaired gradient: what is known no longer hides the rest.
        for turn in range(_MOST_DIRECTIONS):
            if self._is_over():
                break
            self._look_along(turn)
        if self._standing == _UNEXPLAINED and self._off is None:
            self._look_along_claim(None)

    def _is_over(self) -> bool:
        dense = self._bisection.dense
        everything = sum(size_of(block.box) for block in dense) >= size_of(self._claim.whole)
        if len(self.suspects.wrong) >= MOST_WRONG:
            self._stopped = self._stopped or Stop.WRONG
        if self.suspects.kinks >= MOST_WRONG:
            self._stopped = self._stopped or Stop.KINKS
        enough = len(self._agreed) == DIRECTIONS
        enough = enough or self._standing + self._doubtful == _UNEXPLAINED
        # One factor all over: nothing else is to be found.
        explained = self._off is not None and math.isfinite(self._off)
        return everything or enough or explained or self._stopped is not None

    def _look_along(self, turn: int) -> None:
        """Measure the residual along one direction, and look for the entries that explain it."""
        directional, whole = self._directional, self._claim.whole
        self._moves.turn_to(turn, tuple(block.box for block in self._bisection.dense))
        if turn:
            residual = directional.measure(whole)
        else:
            residual = directional.calibrate(whole, typical=self._claim.typical())
        self._note(residual)
        # `f` was seen to jump, or is not moved by small steps and asked farther away.
        if directional.jumps or (not turn and not directional.moved and self._in_jumps()):
            self._stopped = Stop.JUMPS
            return
        left = self._with_repair_errors(residual)
        # Asked once: where it may be a factor, and where noise would hide one.
        if not turn and (left.significant or self._hides_factors(residual)):
            known = self._bisection.found
            self._look_along_claim(residual)
            if self._is_over() or known[0] < self._bisection.found[0]:
                return
        if not left.significant:
            self._agree(left)
            return
        self._agreed.clear()  # what agreed so far may have missed what this direction shows
        known = self._bisection.found
        self._bisection.locate(residual)
        if known == self._bisection.found:
            stands = directional.stands(whole, left) and not self._bisection.meets_kinks()
            self._standing, self._doubtful = self._standing + stands, self._doubtful + (not stands)
        self.suspects.repair()

    def _in_jumps(self) -> bool:
        """Whether the leaf, which small steps do not move `f` with, does so by sudden jumps."""
        claim, model = self._claim, self._claim.model
        return moves_in_jumps(claim.run, claim.number, model.base, self._seed, model.noise)

    def _note(self, residual: Residual) -> None:
        row = self._directional.last
        assert row is not None
        self._norm = max(self._norm, row.norm)
        self._noise = max(self._noise, SAFETY * row.noise)
        self._growth = max(self._growth, 0.0 if residual.kink else row.growth)
        self._rows.append((residual.value, residual.value + row.numeric, row.numeric))

    def _hides_factors(self, residual: Residual) -> bool:
        """Whether noise along this direction would hide a small factor."""
        row = self._directional.last
        assert row is not None
        return not SAFETY * residual.bound < VISIBLE * abs(row.claimed)

    def _look_along_claim(self, residual: Residual | None) -> None:
        """Measure along the claimed gradient, where a factor shows most.

        What a random direction has shown must agree with the factor.
        """
        moves, whole = ClaimedMoves(self._claim), self._claim.whole
        if not moves.usable:
            return
        directional = Directional(self._claim, moves)
        row = directional.first_row(whole)
        # Of anything but a factor the random directions tell more, where they show it.
        shown = residual if residual and not self._hides_factors(residual) else None
        if shown and not self._agrees_with(row.factor, shown, _EXPLAINED):
            return
        found = directional.residual_of(whole, row)
        if not found.significant:
            return
        factor = directional.factor(_first_halves(whole))
        if residual and not self._agrees_with(factor, residual):
            factor = math.nan
        if math.isnan(factor) and (shown or not residual):
            return
        if not directional.stands(whole, found):
            self._doubtful += 1
        elif self._shows_in_few():
            return
        elif self._shows_in_entries(factor):
            single = is_single(self._claim.model.unit)  # in which few entries tell
            self._bisection.mark_dense(whole, _MOSTLY, GRID if single else _FEWER)
            self._off = factor if self.suspects.allow(factor) else None
        elif self._bisection.meets_kinks():
            self._doubtful += 1
        else:
            self._off = factor

    def _shows_in_few(self) -> bool:
        """Whether single entries are wrong, of a gradient that is zero but in a few."""
        claimed, most = self._claim.analytic, min(_CLAIMED, self._claim.leaf.real.size // _CLAIMED)
        if np.count_nonzero(claimed) > most:
            return False
        if not self.suspects.judge(np.flatnonzero(claimed), examples=True).any():
            return False
        self.suspects.repair()
        return True

    def _agrees_with(self, factor: float, residual: Residual, left_over: float = LEFT_OVER) -> bool:
        """Whether the direction that was measured last allows for a factor, but for a share."""
        row = self._directional.last
        assert row is not None
        left = abs(row.claimed - factor * row.numeric)
        bound = SAFETY * max(1.0, abs(factor)) * residual.bound
        return left <= bound + left_over * abs(residual.value)

    def _shows_in_entries(self, factor: float) -> bool:
        """Whether single entries of a typical size would show a factor, and not by luck."""
        model = self._claim.model
        typical = self._norm / math.sqrt(self._claim.leaf.real.size)
        noise = model.direction_noise(model.noise, model.relative)
        return factor != 0.0 and abs(1 - 1 / factor) * typical > _SHOWN * noise

    def _with_repair_errors(self, residual: Residual) -> Residual:
        """A residual of the whole leaf, its bound widened by those of the repaired entries."""
        known = self.suspects.replaced
        if not known.any():
            return residual
        with np.errstate(over="ignore", invalid="ignore"):
            parts = self._moves.reach(self.suspects.judged[known])
            doubt = float(parts @ self.suspects.table.uncertainty[known])
        # Infinity times nothing is no number: nothing is known then.
        bound = residual.bound + (doubt if doubt < math.inf else math.inf)
        return Residual(residual.value, bound, residual.kink)

    def _agree(self, left: Residual) -> None:
        """Note what would have counted along a direction that agrees."""
        floor, gap = SAFETY * left.bound, 0.0
        # Kinks at the parameters lie in all directions: where one meets none, others need not ask.
        if self._kinked is not False and not left.kink and math.isfinite(floor):
            gap = self._directional.kink_gap(self._claim.whole)
            self._kinked = gap > 0.0
        # Any value between the one-sided derivatives passes.
        self._agreed.append(floor + gap / 2)
        self._kinks_hide = self._kinks_hide or left.kink or gap / 2 > floor

    def _in_doubt(self) -> bool:
        """Whether the directions leave open what a judgement of all entries would tell."""
        # In single precision steps are large, and single entries meet kinks as well.
        if is_single(self._claim.model.unit):
            return False
        if self._bisection.found[0] or self._bisection.dense:
            return False
        if self._stopped is not None:
            return self._stopped is Stop.KINKS
        if self._standing == _UNEXPLAINED or self._off is not None:
            return False
        # Bounds as large as the gradient itself.
        weak = not max(self._agreed, default=0.0) <= self._norm
        return bool(self._doubtful) or self._kinks_hide or weak

    def _is_cheap(self) -> bool:
        """Whether to judge all entries costs no more than finding the wrong ones did.

        Where all are known, what they have in common can be told, and how many they are.
        """
        if len(self.suspects.wrong) < 2 or self._stopped is not None:
            return False
        left = self._claim.leaf.real.size - len(self.suspects.judged)
        return 2 * left <= self._claim.run.evaluations - self._before

    def _result(self) -> LeafProbe:
        suspects, directional = self.suspects, self._directional
        everything = suspects.all_judged
        floors = self._agreed or [math.inf]
        error, claimed, numeric = _root_mean_squares(self._rows)
        # Parts of one sign may cancel along all directions: the norm of the terms does not.
        floor, claimed = max(floors), max(claimed, self._norm)
        limit = detection_limit(floors)
        if everything:
            floor, limit = _bounds(suspects.table, self._kinks_hide)
            error, claimed, numeric = _sizes(suspects.table)
        typical = claimed / math.sqrt(max(self._claim.leaf.real.size, 1))
        unexplained = self._standing == _UNEXPLAINED or self._is_off()
        alone = suspects.table.moves if len(suspects.judged) else not self._rows
        return LeafProbe(
            entries=suspects.judged,
            table=suspects.table,
            dense=tuple(self._bisection.dense),
            directions=0 if everything else len(self._agreed),
            floor=floor,
            limit=limit,
            error=error,
            claimed=claimed,
            numeric=numeric,
            noise=self._noise,
            growth=self._growth,
            factor=math.nan if self._off is None else self._off,
            kink=not everything and self._kinks_hide and limit > typical,
            moves=directional.moved or alone,
            all_judged=everything,
            unexplained=unexplained and not suspects.table.jumps,
            doubtful=bool(self._doubtful) and not everything,
            not_finite=suspects.unsettled,
            stopped=self._stopped,
        )

    def _is_off(self) -> bool:
        """Whether the claimed gradient is off along itself, and nothing else tells why."""
        if self._off is None:
            return False
        wrong, _, dense = self._bisection.found
        return not dense and (math.isfinite(self._off) or not wrong)


def _first_halves(whole: Box) -> list[Box]:
    """The first half of a leaf along each of its two longest axes."""
    axes = sorted(range(len(whole)), key=lambda axis: -int(whole[axis].stop))[:2]
    halves = [halves_of(whole, axis)[0] for axis in axes]
    return [half for half in halves if size_of(half)]


def _root_mean_squares(rows: list[tuple[float, float, float]]) -> list[float]:
    """Each column's over the directions that gave numbers: estimates of norms over the entries."""
    table = np.array(rows or [(0.0, 0.0, 0.0)])
    finite = np.isfinite(table).all(axis=1)
    if not finite.any():
        return [math.nan, 0.0, 0.0]
    table = table[finite]
    scale = np.frexp(np.abs(table).max())[1]  # so that no square overflows
    with np.errstate(over="ignore", under="ignore"):
        means = np.sqrt((np.ldexp(table, -scale) ** 2).mean(axis=0))
        sizes: list[float] = np.ldexp(means, scale).tolist()
    return sizes


def _bounds(table: EntryTable, has_kinks: bool) -> tuple[float, float]:
    """The smallest error that counts, and that would be seen, where all entries were judged."""
    # At a kink what lies between both sides is right, and proves nothing of the others.
    smooth = table.uncertainty[~table.kinks]
    limit = float(table.uncertainty.max(initial=0.0))
    if has_kinks:  # also at entries that agree at first sight, and so were not looked at as kinks
        limit = max(limit, float(np.abs(table.gaps).max(initial=0.0)) / 2)
    return float(smooth.max(initial=0.0)), limit


def _sizes(columns: EntryTable) -> tuple[float, float, float]:
    """Norms of the errors, and of both gradients; what is not finite counts for nothing."""
    with np.errstate(all="ignore"):
        vectors = (columns.analytic - columns.numeric, columns.analytic, columns.numeric)
        finite = [vector[np.isfinite(vector)] for vector in vectors]
        error, claimed, numeric = map(_norm, finite)
    return error, claimed, numeric


def _norm(vector: np.ndarray) -> float:
    largest = float(np.abs(vector).max(initial=0.0))
    return largest * float(np.linalg.norm(vector / largest)) if largest else 0.0
