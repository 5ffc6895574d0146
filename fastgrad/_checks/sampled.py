"""Causes that a few judged entries of a leaf give away, in blocks that are wrong throughout.

Relations of single entries hold for a grid as for the whole. Values in the wrong place are searched
for in the analytic gradient, which is known everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, combinations
from typing import Any

import numpy as np

from fastgrad._checks import findings
from fastgrad._checks.case import Case
from fastgrad._checks.elsewhere import Elsewhere
from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.explanation import elementwise, explain
from fastgrad._checks.judged import Judged, case_of
from fastgrad._checks.misplaced import along_axes
from fastgrad._checks.moves import size_of
from fastgrad._checks.places import box_text
from fastgrad._checks.relations import Relation, factor_text
from fastgrad._checks.result import Dense, LeafProbe
from fastgrad._leaf import Leaf
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Verdict

__all__ = ["of_sample"]

# Shifts that are tried where values may be in the wrong place: an index off by a few.
_SHIFTS = (1, -1, 2, -2, 3, -3)
# The values of a grid must differ by this many times what is allowed: equal ones fit anywhere.
_SPREAD = 4
# Entries that are listed by name.
_LISTED = 3
# What a misplaced value may leave unexplained of each error, beyond the bounds: as in `case`.
_SLACK = 1e-6
_WRONG = Verdict.WRONG.code


def of_sample(
    judged: Judged, p: LeafProbe, every: Sequence[Judged], probes: Sequence[LeafProbe]
) -> list[Finding]:
    """The likely causes in a leaf of which some entries were judged."""
    others = [each for each, probed in zip(every, probes, strict=True) if probed.dense]
    found = _unlike([_of_block(judged, dense, others) for dense in p.dense])
    if math.isfinite(p.factor):
        # A direction shows a factor that noise hides in the entries of a block.
        found = [each for each in found if each.kind is not Cause.UNKNOWN]
    if p.unexplained or (p.dense and not found):
        found.append(_diffuse(p, judged.leaf))
    elif not p.dense and (p.table.codes == _WRONG).any():
        found += _of_entries(judged)
    return found


def _unlike(found: Sequence[Finding]) -> list[Finding]:
    """The findings of one leaf without those that repeat an earlier one for another block."""
    kinds: dict[tuple[Cause, str], Finding] = {}
    for each in found:
        kinds.setdefault((each.kind, str(each.evidence.get("slice"))), each)
    return list(kinds.values())


def _diffuse(p: LeafProbe, leaf: Leaf) -> Finding:
    """The finding for a leaf that is wrong along every direction, though in no entry clearly."""
    if math.isfinite(p.factor):
        sentence = (
            f"`{leaf.path}` is {factor_text(p.factor)} x the derivative along every direction "
            "tried, though noise hides that in single entries"
        )
        return Finding(Cause.FACTOR, leaf.path, leaf.path, sentence, {"factor": p.factor})
    sentence = f"`{leaf.path}` is wrong along every direction tried, but in no single entry clearly"
    return Finding(Cause.UNKNOWN, leaf.path, leaf.path, sentence, {})


def _of_block(judged: Judged, dense: Dense, others: Sequence[Judged]) -> Finding:
    """The likely bug in a block that is wrong throughout."""
    leaf = judged.leaf
    text = box_text(dense.box, leaf.array.shape) if size_of(dense.box) < leaf.real.size else ""
    path = leaf.path + text
    case = replace(
        case_of(judged, np.ravel_multi_index(np.ix_(*dense.grid), leaf.real.shape)), path=path
    )
    found = None
    if case.wrong.any():
        found = _misplaced(judged, case, dense.grid, others)
    else:  # the wrong ones were found elsewhere in the block
        case = replace(case_of(judged, judged.entries), path=path)
    found = found or _of_case(case)
    evidence = {**found.evidence, "slice": text[1:-1]} if text else found.evidence
    return replace(found, leaf=leaf.path, evidence=evidence)


def _of_case(case: Case) -> Finding:
    """What explains judged entries, the finding that says most."""
    if not (case.wrong & case.known).any():
        if case.wrong.any():
            return findings.not_finite(case)
        sentence = f"`{case.path}` is wrong, though in none of the entries that were judged"
        evidence = {"wrong": 0, "entries": case.size}
        return Finding(Cause.UNKNOWN, case.path, case.path, sentence, evidence)
    if not (case.numeric.any() or case.kinks.any()):
        return findings.still(case)
    named = findings.of_explained(explain(case, Elsewhere(())))
    return findings.in_order(named)[0]


def _of_entries(judged: Judged) -> list[Finding]:
    """The likely bugs in a leaf with some wrong entries, and no block that is wrong throughout."""
    case = case_of(judged, judged.entries)
    wrong = case.at(case.wrong)
    if not wrong.known.any():
        return [findings.not_finite(case)]
    if not (wrong.numeric.any() or wrong.kinks.any()):
        return [findings.still(case)]
    relation = elementwise(wrong.at(wrong.known))
    at, leaf = judged.entries[case.wrong], judged.leaf
    if relation is not None and leaf.is_complex and relation.kind is Cause.SIGN and (at % 2).all():
        relation = Relation(
            Cause.CONJUGATE,
            "has the wrong sign in its imaginary part",
            relation.predict,
            "the complex conjugate, another convention",
        )
    return [_listed(relation, leaf, at)]


def _listed(relation: Relation | None, leaf: Leaf, at: np.ndarray) -> Finding:
    """The finding for entries that were found one by one."""
    few = len(at) <= _LISTED
    count = "" if few else f" in {len(at):,} scattered entries that were found"
    names = [leaf.name(int(k)) for k in at] if few else [leaf.path]
    named, place = ", ".join(f"`{name}`" for name in names), ", ".join(names) + count
    evidence: dict[str, Any] = {"wrong": len(at), "entries": leaf.real.size}
    if relation is None:
        alone = ", the only wrong entry that was found" if len(at) == 1 else ""
        verb = "are" if 1 < len(at) <= _LISTED else "is"
        sentence = f"{named} {verb} wrong{count}{alone}"
        return Finding(Cause.SINGLE, leaf.path, place, sentence, evidence)
    each = ": each" if 1 < len(at) <= _LISTED else ""
    meaning = f": {relation.meaning}" if relation.meaning else ""
    sentence = f"{named}{each} {relation.words}{count}{meaning}"
    return Finding(relation.kind, leaf.path, place, sentence, {**evidence, **relation.evidence})


def _misplaced(
    judged: Judged, case: Case, grid: Sequence[np.ndarray], others: Sequence[Judged]
) -> Finding | None:
    """Whether the numeric values of the grid stand elsewhere in the gradient."""
    if judged.leaf.is_complex:
        return None
    for kind, words, evidence, values in _elsewhere(judged, grid, others):
        slack = SAFETY * case.bound + _SLACK * np.abs(case.error)
        if (np.abs(values - case.numeric) <= slack).all() and np.ptp(
            case.numeric
        ) > _SPREAD * slack.max():
            counts = {"wrong": int(case.wrong.sum()), "entries": case.size}
            sentence = f"`{case.path}` {words}"
            return Finding(kind, case.path, case.path, sentence, {**counts, **evidence})
    return None


def _elsewhere(
    judged: Judged, grid: Sequence[np.ndarray], others: Sequence[Judged]
) -> Iterator[tuple[Cause, str, dict[str, Any], np.ndarray]]:
    """Kinds of misplacement: what each says, and the analytic values it predicts for the grid."""
    analytic, shape = judged.analytic, judged.analytic.shape
    index = np.ix_(*grid)
    if len(shape) == 2 and min(shape) > 1:
        # The transpose d.T of the right values d, laid out in the shape of d: d[i, j] stands where
        # d.T in C order has its entry (j, i).
        flat = index[1] * shape[0] + index[0]
        words = "is the transpose of the numeric gradient"
        yield Cause.TRANSPOSED, words, {}, analytic.ravel()[flat]
    for axis, n in enumerate(shape):
        along = f" along axis {axis}" if len(shape) > 1 else ""
        for by in _SHIFTS:
            places = [*grid[:axis], (grid[axis] + by) % n, *grid[axis + 1 :]]
            words = f"is the numeric gradient shifted by {by}{along}"
            yield Cause.SHIFTED, words, {"shift": by}, analytic[np.ix_(*places)]
    long = [axis for axis, n in enumerate(shape) if n > 1]
    for axes in chain.from_iterable(combinations(long, k) for k in (1, 2)):
        places = [
            n - 1 - g if axis in axes else g
            for axis, (g, n) in enumerate(zip(grid, shape, strict=True))
        ]
        words = f"is the numeric gradient reversed{along_axes(axes, len(shape))}"
        yield Cause.REVERSED, words, {"axes": axes}, analytic[np.ix_(*places)]
    for other in others:
        if other is not judged and other.analytic.shape == shape:
            words = f"holds the gradient of another parameter: its own is in `{other.leaf.path}`"
            yield Cause.SWAPPED, words, {"with": other.leaf.path}, other.analytic[index]
