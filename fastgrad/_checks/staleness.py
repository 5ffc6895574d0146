"""Whether a wrong gradient is the right one of other parameters, as before the last step.

A gradient computed before the parameters were updated is that of ``theta + t * v``, where `v` is
the gradient itself, or its part in one parameter that was updated before the others. `t`, the rate,
is found by Gauss-Newton steps on a few entries; one unknown number has to explain all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad._checks.diagnosis import Case
from fastgrad._evaluation.blocks import lengths
from fastgrad._evaluation.sampling import Sampler
from fastgrad._leaf import Leaf
from fastgrad._report.report import Cause, Finding

__all__ = ["name_stale"]

_ENTRIES, _LEAST, _ITERATIONS, _MOST_PARTS = 8, 3, 6, 8


@dataclass(frozen=True)
class _Picked:
    """A few wrong entries: where they are, and what they claim and measure."""

    picks: list[tuple[int, np.ndarray, np.ndarray]]
    analytic: np.ndarray
    numeric: np.ndarray
    bound: np.ndarray


def name_stale(
    sampler: Sampler,
    leaves: Sequence[Leaf],
    cases: Sequence[Case],
    findings: tuple[Finding, ...],
    relative: Sequence[float],
) -> tuple[Finding, ...]:
    """Replace what is unexplained among the findings by STALE, if that explains it."""
    unexplained = {f.leaf for f in findings if f.kind is Cause.UNKNOWN}
    picked = _pick(leaves, cases, unexplained, relative)
    if picked is None:
        return findings
    for what, moves in _directions(leaves, cases):
        rate = _rate(sampler, moves, leaves, picked)
        if rate is not None:
            stale = [_finding(f, what, rate) if f.leaf in unexplained else f for f in findings]
            return tuple(sorted(stale, key=lambda f: f.kind is not Cause.STALE))
    return findings


def _pick(
    leaves: Sequence[Leaf], cases: Sequence[Case], unexplained: set[str], relative: Sequence[float]
) -> _Picked | None:
    """The clearest errors of each unexplained leaf."""
    picks, columns = [], []
    for k, (leaf, case) in enumerate(zip(leaves, cases, strict=True)):
        if case.path not in unexplained or np.iscomplexobj(case.a):
            continue
        a, d, bound = case.a.ravel(), case.d.ravel(), case.bound.ravel()
        with np.errstate(invalid="ignore", divide="ignore"):
            clear = np.nan_to_num(np.abs(a - d) / bound, nan=0.0, posinf=0.0)
        entries = np.argsort(-clear, kind="stable")[:_ENTRIES]
        entries = np.sort(entries[case.wrong.ravel()[entries]])
        picks.append((k, entries, relative[k] * lengths(leaf)[entries]))
        columns.append((a[entries], d[entries], bound[entries]))
    if sum(len(entries) for _, entries, _ in picks) < _LEAST:
        return None
    analytic, numeric, bound = (np.concatenate(column) for column in zip(*columns, strict=True))
    return _Picked(picks, analytic, numeric, bound)


def _directions(
    leaves: Sequence[Leaf], cases: Sequence[Case]
) -> list[tuple[str, list[np.ndarray]]]:
    """The whole analytic gradient, and its part in each single parameter."""
    whole = [np.nan_to_num(case.a) for case in cases]
    directions = [("all parameters", whole)]
    for k in range(min(len(cases), _MOST_PARTS) if len(cases) > 1 else 0):
        part = [a if i == k else np.zeros_like(a) for i, a in enumerate(whole)]
        directions.append((f"`{cases[k].path}`", part))
    as_real = [
        (what, [_real(move, leaf) for move, leaf in zip(moves, leaves, strict=True)])
        for what, moves in directions
    ]
    return [(what, moves) for what, moves in as_real if any(move.any() for move in moves)]


def _real(move: np.ndarray, leaf: Leaf) -> np.ndarray:
    return Leaf("", np.asarray(move)).real.reshape(leaf.real.shape)


def _rate(
    sampler: Sampler, moves: list[np.ndarray], leaves: Sequence[Leaf], picked: _Picked
) -> float | None:
    """The multiple of `moves` at which the numeric gradient is what the analytic one claims."""
    largest = max(
        float((np.abs(move).ravel() / lengths(leaf)).max(initial=0.0))
        for move, leaf in zip(moves, leaves, strict=True)
    )
    previous, time = 0.0, 1e-3 / largest
    before = picked.numeric
    error = picked.analytic - picked.numeric
    for _ in range(_ITERATIONS):
        now = sampler.gradient_at(moves, time, picked.picks)
        left = picked.analytic - now
        if not np.isfinite(left).all():
            return None
        if (np.abs(left) <= 2e-3 * np.abs(error).max() + 4 * picked.bound).all():
            return time
        slope = (now - before) / (time - previous)
        square = float(slope @ slope)
        if square == 0:
            return None
        previous, before = time, now
        time += float(left @ slope) / square
        if time == previous or abs(time) * largest > 10:
            return None
    return None


def _finding(old: Finding, what: str, rate: float) -> Finding:
    sentence = (
        f"`{old.leaf}` is the right gradient of other parameters: of {what} plus {rate:.3g} x the "
        "gradient. It was computed before an update, and used after it"
    )
    return Finding(Cause.STALE, old.leaf, sentence, {**old.evidence, "rate": rate})
