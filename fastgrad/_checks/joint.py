"""Directions along which all leaves of a model move at once: a right gradient shows there soonest.

Leaves move by as much as makes their shares in the bound on the residual alike, so that an error
that would show in one of them alone shows beside the others. Where they do not agree together,
halving tells which of them does not: those are asked by themselves, and the others once more.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import numpy as np

from fastgrad import _backend
from fastgrad._checks.by_weights import narrowed
from fastgrad._checks.directional import VISIBLE, Directional
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import SAFETY, ErrorModel, detection_limit
from fastgrad._checks.halving import measured_halves
from fastgrad._checks.moves import LeafClaim
from fastgrad._checks.residual import Residual
from fastgrad._checks.result import LeafProbe
from fastgrad._evaluation.direction import Uniform, pieces
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._leaf import Box

__all__ = ["look_jointly"]

# Directions that must agree, as for a single leaf.
_DIRECTIONS = 2
# Mean square of what an entry moves by, over its width: uniform between 0.5 and 1.5.
_MEAN_SQUARE = 13 / 12
# An error that shows may be this many times what each leaf alone would show.
_COARSER = 3.0
# A leaf in which an error shows from this share of that of another leaf on is looked at alone: for
# 1e-3 steps are ten times as long where noise falls with the step.
_FAINT = 1e-3
# Sums of entries with random signs stay within this many standard deviations.
_SIGMAS = 4.0
# A leaf of which more is claimed could overflow a sum: moves are below two lengths.
_WIDEST = 2.0
# Of more leaves that are off none is told by halving where they are more than this share of those
# that were told so far: it costs as much as to ask each by itself.
_MOST_OFF, _MOST_SHARE = 6, 0.5
# Of more members than these the one that is off is told by weights, if it is one: by halving it
# takes six evaluations or more, and weights take four.
_FEW = 4


@dataclass(frozen=True)
class _Member:
    """A leaf that may move with others."""

    claim: LeafClaim
    root: float  # of the number of entries
    norm: float  # of the claimed derivative along a random direction
    alone: float  # the bound on a residual that the leaf alone would have at its first step

    @classmethod
    def of(cls, claim: LeafClaim) -> _Member | None:
        """The leaf, if something finite is claimed of it, so that it moves `f`."""
        size, model = claim.analytic.size, claim.model
        if not size or model.coarse:
            return None
        norm = math.hypot(*map(math.sqrt, _squares(claim)))
        most = sys.float_info.max / (_WIDEST * size)
        # No entry is larger than the norm, as no length is below one.
        if not 0 < norm < math.inf or (norm > most and claim.largest(claim.whole) > most):
            return None
        root, norm = math.sqrt(size), math.sqrt(_MEAN_SQUARE) * norm
        alone = root * model.direction_noise(model.noise, model.relative)
        alone += model.direction_truncation(model.relative, norm) + model.direction_slack(norm)
        return cls(claim, root, norm, alone)

    @property
    def visible(self) -> float:
        """Smallest residual that it would be asked to show, in units of the bound alone."""
        return VISIBLE * self.norm / self.root / self.alone


class _Joint:
    """Several leaves as one: claims and moves of a `Directional`."""

    granted = 0.0

    def __init__(self, members: Sequence[_Member], seed: int) -> None:
        claims = [member.claim for member in members]
        self.run: Metered = claims[0].run
        self.members, self._seed, self._turn = members, seed, 0
        self._regions = tuple(claim.region(claim.whole) for claim in claims)
        # A box of one axis, along which the leaves lie.
        self.whole: Box = (slice(0, len(members)),)
        # The leaf that moves farthest moves as far as it would alone.
        self.unit = min(member.alone / member.root for member in members)
        self.widths = tuple(self.unit / member.alone for member in members)
        self._moves = [w * member.root for w, member in zip(self.widths, members, strict=True)]
        self.model = _model_of(members, self.root(self.whole), max(self._moves))
        # As coarse as that, and of most leaves an entry that is off.
        seen = min(member.visible for member in members if not _is_faint(member, members))
        self.wanted = self.unit * min(SAFETY * _COARSER, seen)

    def turn_to(self, turn: int) -> None:
        """Take the random direction of this number."""
        self._turn = turn

    @contextmanager
    def weighted(self, parts: Sequence[Box], weights: Sequence[float]) -> Iterator[None]:
        """See `WeightedMoves`."""
        before = self.widths, self._moves
        factors = np.ones(len(self.members))
        for box, weight in zip(parts, weights, strict=True):
            factors[box] = weight
        self.widths = tuple((factors * self.widths).tolist())
        self._moves = (factors * self._moves).tolist()
        try:
            yield
        finally:
            self.widths, self._moves = before

    def parts(self, box: Box) -> list[np.ndarray]:
        """What is claimed, leaf by leaf."""
        return [member.claim.analytic for member in self.members[box[0]]]

    def largest(self, box: Box) -> float:
        """The largest entry that is claimed."""
        claims = [member.claim for member in self.members[box[0]]]
        return max(claim.largest(claim.whole) for claim in claims)

    def direction(self, box: Box) -> Uniform:
        """See `Moves`."""
        return Uniform(self._seed, self._turn, self._regions[box[0]], self.widths[box[0]])

    def root(self, box: Box) -> float:
        """See `Moves`."""
        return math.hypot(*self._moves[box[0]])

    def reach_of(self, box: Box) -> float:
        """See `Moves`: they have random signs, and so the sum does."""
        squares = [
            float(np.linalg.norm(self.run.scale(member.claim.number))) * width
            for member, width in zip(self.members[box[0]], self.widths[box[0]], strict=True)
        ]
        return _SIGMAS * math.hypot(*squares)


def _squares(claim: LeafClaim) -> Iterator[float]:
    """Squares of what is claimed over the lengths, summed box by box: no copy of a large leaf.

    One sum where the leaf lies as it is claimed: the norm's last bits may differ from those of
    boxes, which moves and bounds of a few digits do not need.
    """
    guard, k, square = claim.run.guard, claim.number, _backend.kernel.slope_square
    if guard.leaves[k] is claim.leaf:  # and not some of its entries
        x = guard.view(k)
        if x.dtype.char == "d" and guard.kernels[k].is_plain(x):
            yield square(claim.analytic.reshape(-1), x.reshape(-1))
            return
    for box in pieces(claim.analytic.shape):
        claimed = np.ascontiguousarray(claim.analytic[box]).reshape(-1)
        yield square(claimed, claim.run.read(k, box))


def _model_of(members: Sequence[_Member], root: float, farthest: float) -> ErrorModel:
    """The error model of leaves that move together: of each number, that of the worst."""
    models = [member.claim.model for member in members]
    first = max(m.relative for m in models)
    # No move may be lost in a leaf, whatever its share in the direction.
    shares = [member.alone for member in members]
    spacing = max(m.spacing * share for m, share in zip(models, shares, strict=True))
    return replace(
        models[0],
        noise=max(m.noise for m in models),
        # The noise is shared by all: the first step is the one at which it may be low enough.
        relative=first * max(1.0, root / farthest / _COARSER),
        eps=max(m.eps for m in models),
        spacing=spacing / min(member.alone / member.root for member in members),
    )


def look_jointly(claims: Sequence[LeafClaim], seed: int) -> dict[int, LeafProbe]:
    """What is known of the leaves, by their numbers, that agree along joint directions."""
    if len(claims) < 2:
        return {}
    members = [member for member in map(_Member.of, claims) if member is not None]
    found: dict[int, LeafProbe] = {}
    # What runs out of budget is met again, and said, where the others are asked.
    with suppress(OutOfBudget), claims[0].run.guard.staying():
        _look(members, seed, found)
    return found


def _look(members: Sequence[_Member], seed: int, found: dict[int, LeafProbe]) -> None:
    if len(members) < 2:
        return
    joint = _Joint(members, seed)
    directional = Directional(joint, joint)
    residuals: list[Residual] = []
    gap = 0.0
    for turn in range(_DIRECTIONS):
        joint.turn_to(turn)
        whole = joint.whole
        residual = (
            directional.measure(whole) if turn else directional.calibrate(whole, at_once=True)
        )
        one = _only(joint, directional, residual) if residual.significant else None
        if one is None and residual.significant and not turn:
            residual = directional.calibrate(whole)  # is it one at other steps as well?
        if residual.kink or not residual.bound < math.inf or directional.jumps:
            return  # of more than directions can tell
        if residual.significant:
            off = {one} if one is not None else _off(joint, directional, residual)
            others = [member for k, member in enumerate(members) if k not in off]
            if off:
                _look(others, seed, found)
            return
        if not turn:
            gap = directional.kink_gap(whole)
        residuals.append(residual)
    if gap or not directional.moved:
        return
    for member, width in zip(members, joint.widths, strict=True):
        probe = _probe_of(member, width, residuals)
        if _shows(member, members, probe):
            found[member.claim.number] = probe


def _only(joint: _Joint, directional: Directional, residual: Residual) -> int | None:
    """The one member that makes a residual, if it is one."""
    count = len(joint.members)
    if count <= _FEW:
        return None
    box, found = narrowed(directional, joint, joint.whole, residual, count)
    at = box[0].start
    if box[0].stop - at > 1:
        return None
    alone = directional.measure(box, found.value)
    rest = residual.minus(alone)
    clear = not (alone.kink or directional.jumps)
    return at if clear and alone.significant and not rest.significant else None


def _off(joint: _Joint, directional: Directional, residual: Residual) -> set[int]:
    """The members that make a residual, by halving; all members where these are many."""
    off: set[int] = set()
    told = 0
    blocks = [(joint.whole, residual)]
    while blocks:
        box, whole = blocks.pop()
        start, stop = box[0].start, box[0].stop
        if stop - start == 1:
            off.add(start)
            told += 1
            continue
        halves = measured_halves(directional.measure, box, whole)
        (_, first), (_, second) = halves
        wrong = [each for each in halves if each[1].significant] or _by_exclusion(halves, whole)
        blocks += wrong
        told += stop - start - sum(box[0].stop - box[0].start for box, _ in wrong)
        # Kinks and jumps are of more than halving can tell.
        clear = not (first.kink or second.kink or directional.jumps)
        if not clear or len(off) > max(_MOST_OFF, _MOST_SHARE * told):
            return set(range(len(joint.members)))
    return off


def _by_exclusion(
    halves: Sequence[tuple[Box, Residual]], whole: Residual
) -> list[tuple[Box, Residual]]:
    """The half that a residual must lie in, as the other one would show it, if there is one.

    It may be an error that just shows, and a half is known a little less well than all. Where this
    is mistaken, leaves are asked by themselves that are right.
    """
    held = [
        (box, whole)
        for box, half in halves
        if not SAFETY * half.bound + abs(half.value) < abs(whole.value)
    ]
    return held if len(held) == 1 else []


def _is_faint(member: _Member, members: Sequence[_Member]) -> bool:
    """Whether the entries of a leaf are so small that all others would take longer steps for it."""
    return member.visible < _FAINT * max(each.visible for each in members)


def _shows(member: _Member, members: Sequence[_Member], probe: LeafProbe) -> bool:
    """Whether a small factor of a leaf, or an entry of a faint one, would show beside others."""
    if _is_faint(member, members) and probe.floor > VISIBLE * member.norm / member.root:
        return False
    return probe.floor < VISIBLE * member.norm


def _probe_of(member: _Member, width: float, residuals: Sequence[Residual]) -> LeafProbe:
    """What the residuals say of one leaf, along its part of the directions."""
    floors = [SAFETY * residual.bound / width for residual in residuals]
    off = math.hypot(*(residual.value for residual in residuals)) / math.sqrt(len(residuals))
    return LeafProbe(
        entries=np.zeros(0, np.intp),
        table=EntryTable.blank(np.zeros(0)),
        directions=len(residuals),
        floor=max(floors),
        limit=detection_limit(floors),
        error=off / width,
        claimed=member.norm,
        numeric=member.norm,
        noise=max(floors),
    )
