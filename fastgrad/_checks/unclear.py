"""Why an entry, or a leaf along directions, cannot be judged, in words, with the way out."""

from __future__ import annotations

import math

import numpy as np

from fastgrad._checks.baseline import Baseline
from fastgrad._checks.entry_table import Doubt
from fastgrad._checks.result import LeafProbe
from fastgrad._derivatives.noise import SIGMAS, is_single
from fastgrad._report.entries import Entry
from fastgrad._words import counted

__all__ = ["advice_on_noise", "why_unclear", "why_unclear_along"]

# Noise makes a bound if it is at least this share of it; what is more comes from how `f` bends.
_MAKES = 0.1
# A value is large beside what the parameters move if it is this many times as large: then its
# rounding leaves half of the digits.
_LARGE = 1e8

_SENTENCES = {
    Doubt.JUMPS: (
        "`f` jumps there, or is piecewise constant (an accuracy, a count, something rounded or "
        "drawn): its derivative says nothing; check a smooth loss"
    ),
    Doubt.EDGE: (
        "`f` is not finite beside it, or raises, however small the step; move the parameters away "
        "from the edge of its domain"
    ),
    Doubt.FIXED: (
        "the parameter is not finite, and so it cannot be moved; leave it out, or give it a number"
    ),
    Doubt.HELD: (
        "its bounds leave the parameter no room, and so it cannot be moved; leave it out by `where`"
    ),
    Doubt.NO_LIMIT: (
        "the differences do not converge as the step shrinks: `f` jumps or has a singular point "
        "there, or varies faster than any step"
    ),
    Doubt.SCALES: (
        "small and large steps show different derivatives, and `f` jumps in between: something "
        "inside of it is rounded, cancels, or stops at a tolerance; smooth that, or give `rtol`"
    ),
}


def why_unclear(entry: Entry, doubt: Doubt, baseline: Baseline, relative: float) -> str:
    """The sentence about one entry; `relative` is the first step of its leaf."""
    if doubt in (Doubt.WEAK, Doubt.NO_LIMIT) and baseline.base != baseline.again:
        return _two_calls_differ(baseline)
    if doubt in _SENTENCES:
        return _SENTENCES[doubt]
    if doubt is Doubt.INEXACT:
        off = abs(entry.analytic - entry.numeric)
        share = off / abs(entry.numeric) if entry.numeric else math.inf
        return (
            f"it is off by {off:.1e}, {share:.1e} of the derivative, and `f` itself has errors of "
            "that size on coarser scales, as where a solver inside of it stops at a tolerance; "
            f"tighten that, or grant it: rtol={_above(share):g}"
        )
    if SIGMAS * baseline.noise / relative >= _MAKES * entry.uncertainty:
        return (
            f"the noise of `f`, {baseline.noise:.1e}, leaves +/- {entry.uncertainty:.1e}, "
            f"{_beside(entry)}{advice_on_noise(baseline, entry.uncertainty)}"
        )
    return (
        f"`f` bends so fast beside it that +/- {entry.uncertainty:.1e} is left, "
        f"{_beside(entry)}; check at parameters where it is smoother"
    )


def _beside(entry: Entry) -> str:
    """What an error bar is too large for."""
    size = abs(entry.numeric)
    if not size > entry.uncertainty:
        return "more than the gradient itself"
    return f"too much beside the gradient, {size:.3g}"


def _above(share: float) -> float:
    """The next power of ten."""
    return float(10.0 ** math.ceil(math.log10(share))) if 0 < share < math.inf else 1.0


def _two_calls_differ(baseline: Baseline, where: str = "") -> str:
    """What makes the noise, where two calls at the same parameters show it."""
    return (
        f"`f` is not deterministic: two calls differ by {abs(baseline.base - baseline.again):.1e}, "
        f"too much to see the gradient{where}; fix the seed"
    )


def advice_on_noise(baseline: Baseline, bound: float) -> str:
    """What helps against noise, where something does."""
    if is_single(baseline.unit):
        return "; evaluate in float64"
    if abs(baseline.base) > _LARGE * bound and abs(baseline.base) > 1.0:
        return "; subtract large constants from `f`"
    return "; check at parameters where the gradient is larger"


def why_unclear_along(path: str, p: LeafProbe, baseline: Baseline) -> str:
    """The same of a leaf that was looked at along directions."""
    if p.not_finite:
        several = p.not_finite > 1
        return (
            f"{p.not_finite:,} {'entries' if several else 'entry'} of the gradient of {path} "
            f"{'are' if several else 'is'} infinite or NaN, and it could not be shown that "
            f"{'those derivatives are' if several else 'this derivative is'} finite"
        )
    if p.jumps:
        jumps, judged = np.count_nonzero(p.table.doubts == Doubt.JUMPS), len(p.table.codes)
        return (
            f"`f` moves in jumps with {jumps:,} of {counted(judged, 'entry')} of {path} "
            'that were judged one by one; try strategy="exhaustive"'
        )
    if p.doubtful:
        return (
            f"derivatives of `f` along random directions in {path} differ from the gradient, but "
            "neither alike at two steps nor in any entry: `f` may have kinks, jumps or noise "
            'there; try strategy="exhaustive"'
        )
    if not math.isfinite(p.floor):
        return (
            f"the derivative of `f` along random directions in {path} does not converge as the "
            "step shrinks: it is not finite, jumps or has kinks there; try "
            'strategy="exhaustive"'
        )
    if p.kink:
        return (
            f"`f` has a kink at the parameters: along a direction in {path} all derivatives "
            f"within {p.floor:.1e} are right, too wide to judge its gradient by; try "
            'strategy="exhaustive", or parameters beside the kink'
        )
    beside = f"too much beside its gradient, {p.claimed:.1e}"
    return _drowned(baseline, p.floor, f" along a direction in {path}", beside)


def _drowned(baseline: Baseline, bound: float, where: str, beside: str) -> str:
    """Why a derivative that is finite and converges is not seen: two calls differ, or noise."""
    if baseline.base != baseline.again:
        return _two_calls_differ(baseline, where)
    return (
        f"the noise of `f`, {baseline.noise:.1e}, leaves +/- {bound:.1e}{where}, {beside}"
        f"{advice_on_noise(baseline, bound)}"
    )
