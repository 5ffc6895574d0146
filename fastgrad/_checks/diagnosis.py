"""From wrong entries to the likely bug.

The first pattern that explains a leaf is named, the most specific ones are tried first; no pattern
fits: `Cause.UNKNOWN`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastgrad._checks.patterns import LOCAL, PATTERNS, Case, Found, moved_gain, share
from fastgrad._report.report import Cause, Finding

__all__ = ["Case", "diagnose", "kink_met"]


def diagnose(cases: Sequence[Case]) -> tuple[Finding, ...]:
    """Name the likely causes, the ones that explain most entries first."""
    bad = [case for case in cases if case.wrong.any()]
    findings = [_named(case, _exchange(case, cases) or _first(case)) for case in bad]
    order = sorted(range(len(bad)), key=lambda i: (_doubt(findings[i]), -int(bad[i].wrong.sum())))
    return tuple(findings[i] for i in order)


def _named(case: Case, found: Found) -> Finding:
    kind, sentence, evidence = found
    evidence = {"wrong": int(case.wrong.sum()), "entries": int(case.wrong.size), **evidence}
    return Finding(kind, case.path, f"`{case.path}`{sentence}", evidence)


def _doubt(finding: Finding) -> bool:
    return finding.kind in (Cause.UNKNOWN, Cause.SINGLE)


def _first(case: Case) -> Found:
    """The first pattern that fits, the most specific ones before the more general ones."""
    if not np.isfinite(case.a[case.wrong]).all():
        return Cause.UNKNOWN, ": the analytic gradient is not finite", {}
    for pattern in LOCAL if case.sampled else PATTERNS:
        with np.errstate(all="ignore"):
            found = next(iter(pattern(case)), None)
        if found:
            return found
    return Cause.UNKNOWN, f" is wrong in {share(case)}, and no known pattern fits", {}


def _exchange(case: Case, cases: Sequence[Case]) -> Found | None:
    """Two leaves of one shape that hold each other's gradients."""
    for other in cases:
        if other is case or other.a.shape != case.a.shape or not other.wrong.any():
            continue
        if case.fits(other.d, moved_gain(case, other.bound)) and other.fits(
            case.d, moved_gain(other, case.bound)
        ):
            return (
                Cause.SWAPPED,
                f" holds the gradient of `{other.path}`, and the other way round",
                {"with": other.path},
            )
    return None


def kink_met(case: Case) -> Finding:
    """The finding for entries at a kink where the analytic value is a valid subgradient."""
    count = int(case.kinks.sum())
    sentence = (
        f"`{case.path}`: `f` has a kink at {count:,} of {case.kinks.size:,} entries; the analytic "
        "value lies between the one-sided derivatives"
    )
    return Finding(Cause.KINK, case.path, sentence, {"kinks": count, "entries": case.kinks.size})
