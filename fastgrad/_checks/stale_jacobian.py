"""Whether a wrong Jacobian is the right one of other parameters, as one that was kept from before.

Where it was taken, `x + d`, is unknown: `d` has as many numbers as there are parameters, and the
Jacobian has as many equations for each output. Gauss-Newton steps find it from a few columns, and
all others have to agree.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from fastgrad._checks.case import chance
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.jacobian_result import Told
from fastgrad._checks.layout import Layout
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget, Single, Steps
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Verdict

__all__ = ["name_other_point"]

# Parameters at most: an iteration takes two evaluations for each of them and each column in use.
_MOST_PARAMETERS = 16
# Equations for each unknown number, at least: with two, half of them are left to confirm it.
_EQUATIONS = 2
# Columns that are used, at least: a single one may not depend on all parameters.
_COLUMNS = 4
# Directions in which the Jacobian changes by less than this share of the most are left alone: the
# noise of its derivatives is 1e-6 of it, that of a difference over the step below.
_RANK = 1e-6
# Gauss-Newton iterations, which shrink the error by the step below each time, once they are near.
_ITERATIONS = 6
# Step of the derivatives of the Jacobian, over an entry's length: a thousandth, so that their error
# is about as small, and the noise of the differences smaller.
_STEP = 2.0**-10
# Share of the squared errors that the first linear model must explain to be followed.
_FOLLOWS = 0.5
# Largest move over an entry's length: no update of an optimizer that works is larger.
_LARGEST_MOVE = 3.0
# May be left unexplained: this share of the largest error, which two iterations near the point are
# below, and so many bounds, as differences there are as uncertain as those that were judged. More
# would hide the small errors, which confirm a point that a few large ones determine.
_LEFT_OVER, _LEFT_BOUNDS = 1e-5, 4
# Share of random errors that such a point explains, at most.
_BY_CHANCE = 1e-3
# Kinds of findings that leave the relation open.
_UNEXPLAINED = (*DOUBTFUL, Cause.NEARBY)
# Coordinates that are printed, at most.
_PRINTED = 3


def name_other_point(found: Told, run: Metered, layout: Layout) -> Told:
    """The same, with STALE for its cause if the claim is right at other parameters."""
    causes, n = found.result.causes, layout.shape[1]
    open_ones = bool(causes) and all(each.kind in _UNEXPLAINED for each in causes)
    if not open_ones or n > _MOST_PARAMETERS or layout.shape[0] < _EQUATIONS:
        return found
    search = _Search.of(found, run, layout)
    # As many wrong entries as unknown numbers are always explained.
    if not (search.known.all() and np.count_nonzero(search.wrong) > n):
        return found
    # What `f` says or raises at parameters that nobody asked for is of no interest.
    with quiet():
        try:
            move = search.move()
        except OutOfBudget:  # evaluations for a cause never cost the verdict
            return found
    if move is None:
        return found
    return replace(found, result=replace(found.result, causes=(search.finding(move),)))


@dataclass(frozen=True)
class _Search:
    """The claim as a matrix, what was measured, and what evaluates it elsewhere."""

    run: Metered
    layout: Layout
    claimed: np.ndarray
    numeric: np.ndarray
    bound: np.ndarray
    wrong: np.ndarray
    step: float  # relative, of the differences

    @classmethod
    def of(cls, found: Told, run: Metered, layout: Layout) -> _Search:
        entries, matrix = found.result.entries, layout.matrix_of
        return cls(
            run,
            layout,
            matrix(entries.analytic),
            matrix(entries.numeric),
            matrix(entries.uncertainty),
            matrix(entries.codes) == Verdict.WRONG.code,
            float(np.median(found.steps)) if found.steps else _STEP,
        )

    @property
    def known(self) -> np.ndarray:
        """Entries of which all is known."""
        known: np.ndarray = np.isfinite(self.claimed) & np.isfinite(self.numeric)
        known &= np.isfinite(self.bound)
        return known

    def move(self) -> np.ndarray | None:
        """How far the parameters are from where the claim is right; None if it is nowhere."""
        some, lengths = self._columns(), self._lengths()
        move: np.ndarray = np.zeros(len(lengths))
        for iteration in range(_ITERATIONS):
            here = self._jacobian(move, some)
            slopes = [
                (self._jacobian(move + h * unit, some) - here).ravel() / h
                for unit, h in zip(np.eye(len(lengths)), _STEP * lengths, strict=True)
            ]
            model = np.array(slopes).T
            left = (self.claimed[:, some] - here).ravel()
            if not (np.isfinite(model).all() and np.isfinite(left).all()):
                return None
            # In units of lengths, so that parameters of all sizes count alike.
            step = lengths * np.linalg.lstsq(model * lengths, left, rcond=_RANK)[0]
            unexplained = float(np.sum((left - model @ step) ** 2))
            if iteration == 0 and not unexplained < (1 - _FOLLOWS) * float(left @ left):
                return None
            move = move + step
            if not (np.abs(move) <= _LARGEST_MOVE * lengths).all():
                return None
            if self._explains(move, some) and self._explains(move, np.arange(len(move))):
                return move
        return None

    def _columns(self) -> np.ndarray:
        """The columns with the clearest errors, as many as determine a point."""
        m, n = self.claimed.shape
        clear = np.abs(self.claimed - self.numeric) / self.bound
        order = np.argsort(-np.sqrt((clear**2).sum(axis=0)), kind="stable")
        return np.sort(order[: min(n, max(_COLUMNS, -(-(_EQUATIONS + 1) * n // m)))])

    def _lengths(self) -> np.ndarray:
        """The length of each parameter."""
        leaves = enumerate(self.layout.leaves)
        scales = [self.run.scale(k, np.arange(leaf.real.size)) for k, leaf in leaves]
        return np.concatenate(scales)

    def _jacobian(self, move: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """Some columns of the Jacobian with all parameters moved."""
        regions, moves = [], []
        for k, (leaf, side) in enumerate(zip(self.layout.leaves, self.layout.columns, strict=True)):
            shape = leaf.real.shape
            if leaf.real.size and move[side].any():
                regions.append(Region(k, (slice(None),) * len(shape), shape))
                moves.append(np.ascontiguousarray(move[side]).reshape(shape))
        if not regions:
            return self._here(self.run, columns)
        with self.run.displaced(Given(tuple(regions), tuple(moves)), 1.0) as there:
            return self._here(there, columns)

    def _here(self, there: Metered, columns: np.ndarray) -> np.ndarray:
        """The same where the parameters are."""
        parts = []
        for k, side in enumerate(self.layout.columns):
            mine = columns[(columns >= side.start) & (columns < side.stop)] - side.start
            if len(mine):
                found = there.single(Single(k, mine, Steps(relative=self.step)))
                width = found.moved[:, 0] - found.moved[:, 1]
                parts.append((found.values[:, 0] - found.values[:, 1]) / width[:, np.newaxis])
        matrix: np.ndarray = np.concatenate(parts).T
        return matrix

    def _explains(self, move: np.ndarray, columns: np.ndarray) -> bool:
        """Whether these columns are those that are claimed, and chance does not explain that."""
        error = np.abs(self.claimed - self.numeric)
        allowed = (_LEFT_OVER * error.max() + _LEFT_BOUNDS * self.bound)[:, columns]
        left = np.abs(self.claimed[:, columns] - self._jacobian(move, columns))
        if not (left <= allowed).all():
            return False
        mine = error[:, columns]
        told = mine > allowed
        shares = allowed[told] / mine[told]
        return chance(shares, fitted=len(move), ways=1.0) <= math.log(_BY_CHANCE)

    def finding(self, move: np.ndarray) -> Finding:
        """The finding that says where the claim is right."""
        names = [leaf.name(i) for leaf in self.layout.leaves for i in range(leaf.real.size)]
        order = np.argsort(-np.abs(move) / self._lengths(), kind="stable")[:_PRINTED]
        moved = ", ".join(f"{names[k]} {move[k]:+.3g}" for k in order)
        more = ", ..." if len(move) > _PRINTED else ""
        place = "the gradient"
        sentence = f"{place} is that of other parameters: of these with {moved}{more}"
        evidence = {
            "wrong": int(self.wrong.sum()),
            "entries": self.wrong.size,
            "move": move.tolist(),
        }
        return Finding(Cause.STALE, self.layout.blocks[0].path, place, sentence, evidence)
