"""Whether a wrong gradient is the right one of other parameters, as before the last step.

A gradient computed before the parameters were updated is that of ``theta + t * v``, where `v` is
the gradient itself, or its part in one parameter, or block of a vector, that was updated before the
others. `t`, the rate, is found by Gauss-Newton steps on a few entries; one unknown number has to
explain all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._checks.case import Case, chance
from fastgrad._checks.differences import Differences
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.places import box_text, runs
from fastgrad._checks.result import Part
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Verdict

__all__ = ["may_be_stale", "name_stale"]

# Wrong entries of each leaf that must be explained, the clearest first: two evaluations each, at
# each iteration.
_ENTRIES = 8
# Nothing is said of fewer entries than these, over all leaves: one of them determines the rate, and
# two more rarely fit by chance.
_LEAST = 3
# Gauss-Newton iterations. They converge quadratically from a small rate, or not at all: six double
# one digit to 64.
_ITERATIONS = 6
# First step, as the largest move over an entry's length: small enough for a slope, and large enough
# that the noise of the differences is below it.
_FIRST_MOVE = 1e-3
# Share of the squared errors that a straight line must explain to be followed.
_FOLLOWS = 0.1
# Largest move over an entry's length: no update of an optimizer that works is larger.
_LARGEST_MOVE = 3.0
# May be left unexplained: this share of the largest error, and this many bounds, as the differences
# at the displaced parameters are as uncertain as those that were judged.
_LEFT_OVER, _LEFT_BOUNDS = 2e-3, 4
# An error shows a change of the gradient beyond this many bounds: twice what may be left, and
# as much again for the noise of the differences. Errors of noise alone are explained by any rate.
_CLEAR = 16
# Of random errors, as large as those found, at most this share may be explained by one of the rates
# that are tried: one in a thousand, as there are up to nine directions.
_BY_CHANCE = 1e-3
# Leaves, at most, of which it is tried whether they alone were updated; or stretches of a vector:
# where more of them are right, these are no blocks.
_MOST_PARTS, _MOST_RUNS = 8, 3
# Kinds of findings that leave the relation open.
_UNEXPLAINED = (*DOUBTFUL, Cause.NEARBY)


@dataclass(frozen=True)
class _Picked:
    """A few wrong entries, with their analytic and numeric values and the bounds of the latter."""

    picks: list[tuple[int, np.ndarray, np.ndarray]]  # leaf, its picked entries, their steps
    analytic: np.ndarray
    numeric: np.ndarray
    bound: np.ndarray


def may_be_stale(parts: Sequence[Part]) -> bool:
    """Whether enough entries are wrong for `name_stale` to ask `f` about them."""
    wrong = Verdict.WRONG.code
    return sum(int(np.count_nonzero(part.table.codes == wrong)) for part in parts) >= _LEAST


def name_stale(
    run: Metered,
    parts: Sequence[Part],
    cases: Sequence[Case],
    findings: tuple[Finding, ...],
) -> tuple[Finding, ...]:
    """Replace what is unexplained among the findings by STALE, if that explains it."""
    unexplained = {f.leaf for f in findings if f.kind in _UNEXPLAINED}
    # What `f` says or raises at parameters that nobody asked for is of no interest.
    with quiet():
        picked = _pick(run, parts, cases, unexplained)
        if picked is None:
            return findings
        leaves = [part.leaf for part in parts]
        for what, moves in _directions(leaves, cases):
            rate = _rate(run, moves, picked)
            if rate is not None:
                stale = [_finding(f, what, rate) if f.leaf in unexplained else f for f in findings]
                return tuple(sorted(stale, key=lambda f: f.kind is not Cause.STALE))
    return findings


def _pick(
    run: Metered, parts: Sequence[Part], cases: Sequence[Case], unexplained: set[str]
) -> _Picked | None:
    """The clearest errors of each unexplained leaf, if there are enough clear ones."""
    picks, columns = [], []
    for k, (part, case) in enumerate(zip(parts, cases, strict=True)):
        # An entry of a complex case is two real numbers, of which each would need steps of its own.
        if case.path not in unexplained or np.iscomplexobj(case.analytic):
            continue
        a, d, bound = case.analytic.ravel(), case.numeric.ravel(), case.bound.ravel()
        clear = np.where((case.wrong & case.known).ravel(), np.abs(a - d) / bound, 0.0)
        entries = np.argsort(-clear, kind="stable")[:_ENTRIES]
        entries = np.sort(entries[clear[entries] > _CLEAR])
        if len(entries):
            picks.append((k, entries, part.model.relative * run.scale(k, entries)))
            columns.append((a[entries], d[entries], bound[entries]))
    if sum(len(entries) for _, entries, _ in picks) < _LEAST:
        return None
    analytic, numeric, bound = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _Picked(picks, analytic, numeric, bound)


def _directions(
    leaves: Sequence[Leaf], cases: Sequence[Case]
) -> list[tuple[str, list[np.ndarray]]]:
    """The whole analytic gradient, and its part in what may have been updated before the rest."""
    whole = [np.nan_to_num(case.analytic) for case in cases]
    directions = [("all parameters", whole)]
    for path, k, index in _early(cases):
        part = [np.zeros_like(a) for a in whole]
        part[k][index] = whole[k][index]
        directions.append((f"`{path}`", part))
    as_real = [
        (what, [_as_real(move, leaf) for move, leaf in zip(moves, leaves, strict=True)])
        for what, moves in directions
    ]
    return [(what, moves) for what, moves in as_real if any(move.any() for move in moves)]


def _early(cases: Sequence[Case]) -> list[tuple[str, int, Any]]:
    """The parts of the parameters: leaves, or the stretches of a single vector that are right."""
    if len(cases) > 1:
        return [(case.path, k, ...) for k, case in enumerate(cases[:_MOST_PARTS])]
    case = cases[0]
    right = runs(~case.wrong) if case.analytic.ndim == 1 else []
    shape = case.analytic.shape
    few = right if len(right) <= _MOST_RUNS else []
    return [(case.path + box_text((side,), shape), 0, side) for side in few]


def _as_real(move: np.ndarray, leaf: Leaf) -> np.ndarray:
    """A move of complex numbers as one of their parts."""
    return np.ascontiguousarray(move).view(np.float64).reshape(leaf.real.shape)


def _rate(run: Metered, moves: list[np.ndarray], picked: _Picked) -> float | None:
    """The multiple of `moves` at which the numeric gradient is what the analytic one claims."""
    largest = max(
        float((np.abs(move).ravel() / run.scale(k)).max(initial=0.0))
        for k, move in enumerate(moves)
    )
    # A secant gives the slope; the first one goes through the parameters as they are.
    previous, time = 0.0, _FIRST_MOVE / largest
    before = picked.numeric
    for _ in range(_ITERATIONS):
        now = _gradient_at(run, moves, time, picked.picks)
        if not np.isfinite(now).all():
            return None
        if _explains(picked, now):
            return time
        slope = (now - before) / (time - previous)
        left = picked.analytic - now
        square, along = float(slope @ slope), float(left @ slope)
        # Where the error has little to do with how the gradient changes there is nothing to follow.
        if not along**2 > _FOLLOWS * square * float(left @ left):
            return None
        previous, before = time, now
        time += along / square
        if time == previous or not abs(time) * largest <= _LARGEST_MOVE:
            return None
    return None


def _explains(picked: _Picked, now: np.ndarray) -> bool:
    """Whether the gradient found is the one that is claimed, and chance does not explain that."""
    error = np.abs(picked.analytic - picked.numeric)
    allowed = _LEFT_OVER * error.max() + _LEFT_BOUNDS * picked.bound
    if not (np.abs(picked.analytic - now) <= allowed).all():
        return False
    return chance(allowed / error, fitted=1, ways=1.0) <= math.log(_BY_CHANCE)


def _gradient_at(
    run: Metered,
    moves: Sequence[np.ndarray],
    time: float,
    picks: Sequence[tuple[int, np.ndarray, np.ndarray]],
) -> np.ndarray:
    """Central differences of the picked entries with all leaves moved by `time` times `moves`."""
    regions = tuple(
        Region(k, (slice(None),) * move.ndim, move.shape) for k, move in enumerate(moves)
    )
    quotients = []
    with run.displaced(Given(regions, tuple(moves)), time) as there:
        for leaf, entries, steps in picks:
            found = Differences(there, leaf, entries).at(np.arange(len(entries)), steps)
            rise, width = np.diff(found.values)[:, 0], np.diff(found.moved)[:, 0]
            quotients.append(rise / width)
    return np.concatenate(quotients)


def _finding(old: Finding, what: str, rate: float) -> Finding:
    sentence = (
        f"`{old.leaf}` is the right gradient of other parameters: of {what} plus {rate:.3g} x the "
        "gradient. It was computed before an update, and used after it"
    )
    return Finding(Cause.STALE, old.leaf, old.leaf, sentence, {**old.evidence, "rate": rate})
