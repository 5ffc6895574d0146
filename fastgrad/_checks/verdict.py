"""The verdict on a whole gradient, and the sentence that gives its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fastgrad._checks.baseline import Survey
from fastgrad._report.entries import Entries, Verdict

__all__ = ["conclude"]


def conclude(
    entries: Entries, seen: Survey | None, jumps: Sequence[str], still: bool
) -> tuple[Verdict, str]:
    """Conclude from the judged entries.

    `jumps` are the leaves with which `f` moves in jumps only; `still` says that nothing moved it.
    """
    if seen is None:
        return Verdict.CANNOT_TELL, "nothing was tested: the parameters hold no entries"
    if seen.trouble:
        return Verdict.CANNOT_TELL, seen.trouble
    _, wrong, unclear = np.bincount(entries.codes, minlength=3).tolist()
    if wrong:
        return Verdict.WRONG, _wrong_reason(entries, wrong)
    if still and not jumps and not entries.analytic.any():
        return Verdict.CANNOT_TELL, (
            "both gradients are exactly zero: `f` does not move with these parameters, here at "
            "least, and a gradient that was never computed would look the same"
        )
    if unclear:
        return Verdict.CANNOT_TELL, _unclear_reason(seen, jumps, entries)
    return Verdict.RIGHT, _right_reason(entries)


def _right_reason(entries: Entries) -> str:
    reason = f"all {len(entries):,} entries agree with central differences"
    count = int(np.count_nonzero(entries.kinks))
    if count:
        first = entries.at(int(np.argmax(entries.kinks)))
        reason += (
            f"; at {count:,} of them `f` has a kink, and the analytic value lies between the "
            f"one-sided derivatives (for example {first.path})"
        )
    return reason


def _wrong_reason(entries: Entries, wrong: int) -> str:
    worst = entries.only(Verdict.WRONG)[0]
    reason = (
        f"{wrong:,} of {len(entries):,} entries disagree; the worst is {worst.path}: analytic "
        f"{worst.analytic:.6g}, numeric {worst.numeric:.6g}"
    )
    for block in entries.spans:
        mine = slice(block.start, block.stop)
        if not entries.numeric[mine].any() and (entries.codes[mine] == Verdict.WRONG.code).any():
            reason += (
                f". No entry of {block.path} moves `f`: it may be reading another copy of that "
                "array"
            )
    return reason


def _unclear_reason(seen: Survey, jumps: Sequence[str], entries: Entries) -> str:
    unclear = entries.only(Verdict.CANNOT_TELL)
    if jumps:
        return (
            f"`f` moves in jumps only with {', '.join(jumps)}: it is piecewise constant (an "
            "accuracy, a count, something rounded), and its derivative says nothing; check a "
            "smooth loss"
        )
    entry = unclear[0]
    if not math.isfinite(entry.numeric):
        why = (
            "`f` is not finite beside it, however small the step; move the parameters away from "
            "the edge of its domain"
        )
    elif not math.isfinite(entry.uncertainty):
        why = (
            "the differences do not converge as the step shrinks; `f` jumps there, or its noise "
            "hides the derivative"
        )
    elif seen.base != seen.again:
        why = (
            f"`f` is not deterministic: two calls differ by {abs(seen.base - seen.again):.1e}, "
            "too much to see the gradient; fix the seed"
        )
    else:
        why = (
            f"the noise of `f`, {seen.noise:.1e}, leaves +/- {entry.uncertainty:.1e}, more than "
            "the gradient itself; evaluate in float64, or subtract large constants from `f`"
        )
    return (
        f"{len(unclear):,} of {len(entries):,} entries cannot be judged, for example "
        f"{entry.path}: {why}"
    )
