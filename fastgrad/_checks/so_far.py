"""What was known when a check was interrupted, for the note of the KeyboardInterrupt."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fastgrad._checks.judge import unsettled
from fastgrad._checks.result import Part
from fastgrad._checks.verdict import listed
from fastgrad._report.entries import Verdict
from fastgrad._words import counted

__all__ = ["entries_so_far", "leaves_so_far"]

_WRONG = Verdict.WRONG.code
# Entries that are named, at most.
_NAMED = 5


def entries_so_far(parts: Sequence[Part]) -> str:
    """One or two sentences: how many entries were looked at, and which are wrong or doubtful."""
    seen = sum(int(np.count_nonzero(part.table.looked_at)) for part in parts)
    whole = sum(len(part.table.analytic) for part in parts)
    wrong = _named((p, np.flatnonzero(p.table.codes == _WRONG)) for p in parts)
    doubtful = _named((part, unsettled(part.table, part.model)) for part in parts)
    said = []
    if wrong:
        said.append(f"wrong: {wrong}")
    if doubtful:
        said.append(f"at odds with their first difference, and not settled: {doubtful}")
    head = f"the check had looked at {seen:,} of {counted(whole, 'entry')}"
    return f"{head}; {'; '.join(said)}" if said else f"{head}, and none of them disagreed"


def _named(found: Iterable[tuple[Part, np.ndarray]]) -> str:
    """The number of entries, and the paths of those with the largest errors."""
    picked: list[tuple[float, str]] = []
    count = 0
    for part, entries in found:
        count += len(entries)
        with np.errstate(invalid="ignore"):
            errors = np.abs(part.table.analytic[entries] - part.table.numeric[entries])
        errors = np.where(np.isnan(errors), np.inf, errors)  # no number is the worst of all
        worst = np.argsort(-errors, kind="stable")[:_NAMED]
        picked += [(float(errors[i]), part.leaf.name(int(entries[i]))) for i in worst]
    picked.sort(key=lambda pair: -pair[0])
    names = ", ".join(name for _, name in picked[:_NAMED])
    return f"{count} ({names}{', ...' if count > _NAMED else ''})" if count else ""


def leaves_so_far(done: int, whole: int, wrong: Sequence[str]) -> str:
    """The same for a probe: how many parameters it had finished, and which entries are wrong."""
    said = f"wrong: {listed(wrong)}" if wrong else "nothing wrong was found"
    return f"the probe had finished {done:,} of {counted(whole, 'parameter')}; {said}"
