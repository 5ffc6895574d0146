"""What is known when a check is interrupted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad._checks.judge import Columns, Terms, looked_at, unsettled
from fastgrad._leaf import Leaf
from fastgrad._report.report import Verdict

__all__ = ["Part", "so_far"]

_NAMED = 5


@dataclass(frozen=True)
class Part:
    """A leaf with what has been found of its entries."""

    leaf: Leaf
    columns: Columns
    terms: Terms


def so_far(parts: Sequence[Part]) -> str:
    """One or two sentences: how many entries were looked at, and which are wrong or doubtful."""
    seen = sum(int(np.count_nonzero(looked_at(part.columns))) for part in parts)
    whole = sum(len(part.columns.analytic) for part in parts)
    wrong = _list((p, np.flatnonzero(p.columns.codes == Verdict.WRONG.code)) for p in parts)
    doubtful = _list((part, unsettled(part.columns, part.terms)) for part in parts)
    said = []
    if wrong:
        said.append(f"wrong: {wrong}")
    if doubtful:
        said.append(f"at odds with their first difference, and not settled: {doubtful}")
    head = f"the check had looked at {seen} of {whole} entries"
    return f"{head}; {'; '.join(said)}" if said else f"{head}, and none of them disagreed"


def _list(found: Iterable[tuple[Part, np.ndarray]]) -> str:
    """How many, and the paths of those with the largest errors."""
    picked: list[tuple[float, str]] = []
    count = 0
    for part, entries in found:
        count += len(entries)
        with np.errstate(invalid="ignore"):
            errors = np.abs(part.columns.analytic[entries] - part.columns.numeric[entries])
        errors = np.where(np.isnan(errors), np.inf, errors)
        worst = np.argsort(-errors, kind="stable")[:_NAMED]
        picked += [(float(errors[i]), part.leaf.name(int(entries[i]))) for i in worst]
    picked.sort(key=lambda pair: -pair[0])
    names = ", ".join(name for _, name in picked[:_NAMED])
    return f"{count} ({names}{', ...' if count > _NAMED else ''})" if count else ""
