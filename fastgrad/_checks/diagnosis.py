"""Names the likely bug from wrong entries, where all entries of a leaf were judged, or a few.

Patterns are tried in order, the most specific ones first, and the first that explains a leaf is
named; where none does the cause is `Cause.UNKNOWN`. Most patterns hold for a grid of entries as for
the whole leaf. The others look for values in the wrong place: for a grid these are searched for in
the analytic gradient, which is known everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._checks.case import Case, Found, moved_gain, share
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.moves import size_of
from fastgrad._checks.patterns import PATTERNS
from fastgrad._checks.result import Dense, LeafProbe
from fastgrad._leaf import Box, Leaf, in_double
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Verdict

__all__ = ["Case", "Judged", "box_text", "case_of", "diagnose", "diagnose_probes", "kink_met"]

# Shifts that are tried where values may be in the wrong place: an index off by a few.
_SHIFTS = (1, -1, 2, -2, 3, -3)
# Entries are one multiple of the numeric ones if their ratios agree to this share, as the factor of
# a whole leaf (`patterns`).
_SAME_RATIO = 1e-3
# The values of a grid must differ by this many times what is allowed: equal ones fit anywhere.
_SPREAD = 4
_WRONG = Verdict.WRONG.code


@dataclass(frozen=True)
class Judged:
    """The entries of one leaf that were judged, all or some, and its whole analytic gradient."""

    leaf: Leaf
    analytic: np.ndarray  # in the shape of leaf.real
    eps: float  # spacing of the analytic gradient's type
    entries: np.ndarray  # those that were judged, with `table` in their order
    table: EntryTable


def case_of(judged: Judged, entries: np.ndarray) -> Case:
    """Some of the judged entries as a case that has the shape of `entries`."""
    leaf, table, flat = judged.leaf, judged.table, entries.ravel()
    # The table is in the order in which entries were judged: they are found by a sorted index.
    order = np.argsort(judged.entries)
    rows = order[np.searchsorted(judged.entries, flat, sorter=order)]
    parameters: np.ndarray = in_double(leaf.real.flat[flat]).reshape(entries.shape)
    columns = (table.analytic, table.numeric, table.uncertainty, table.codes == _WRONG, table.kinks)
    analytic, numeric, bound, wrong, kinks = (x[rows].reshape(entries.shape) for x in columns)
    # A complex number is one entry if both its parts are there: patterns such as a conjugate are of
    # numbers, and it is wrong where one part is.
    if leaf.is_complex and entries.ndim == leaf.real.ndim and entries.shape[-1] == 2:
        numbers = (analytic, numeric, parameters)
        analytic, numeric, parameters = (x.view(np.complex128)[..., 0] for x in numbers)
        bound, wrong, kinks = bound.max(-1), wrong.any(-1), kinks.any(-1)
    sampled = entries.size < leaf.real.size
    return Case(leaf.path, analytic, numeric, bound, parameters, wrong, kinks, judged.eps, sampled)


# --------------------------------------------------------------- all entries of a leaf were judged


def diagnose(cases: Sequence[Case]) -> tuple[Finding, ...]:
    """Name the likely cause in each wrong leaf, those that explain most entries first."""
    bad = [case for case in cases if case.wrong.any()]
    findings = [_named(case, _exchange(case, cases) or _first(case)) for case in bad]
    order = sorted(range(len(bad)), key=lambda i: (_doubt(findings[i]), -int(bad[i].wrong.sum())))
    return tuple(findings[i] for i in order)


def _named(case: Case, found: Found) -> Finding:
    kind, sentence, evidence = found
    return Finding(kind, case.path, f"`{case.path}`{sentence}", {**_counts(case), **evidence})


def _counts(case: Case) -> dict[str, Any]:
    return {"wrong": int(case.wrong.sum()), "entries": int(case.wrong.size)}


def _doubt(finding: Finding) -> bool:
    """Whether a finding tells only that something is wrong, and so comes after all others."""
    return finding.kind in (Cause.UNKNOWN, Cause.SINGLE)


def _first(case: Case) -> Found:
    """The first pattern that fits, the most specific ones before the more general ones."""
    if not np.isfinite(case.analytic[case.wrong]).all():
        return Cause.UNKNOWN, ": the analytic gradient is not finite", {}
    for pattern in PATTERNS:
        if case.sampled and not pattern.on_samples:
            continue
        # A pattern divides by what may be zero, and compares what may be infinite: then none fits.
        with np.errstate(all="ignore"):
            found = next(iter(pattern.explain(case)), None)
        if found:
            return found
    return Cause.UNKNOWN, f" is wrong in {share(case)}, and no known pattern fits", {}


def _exchange(case: Case, cases: Sequence[Case]) -> Found | None:
    """Two leaves of one shape that hold each other's gradients."""
    for other in cases:
        if other is case or other.analytic.shape != case.analytic.shape or not other.wrong.any():
            continue
        if case.fits(other.numeric, moved_gain(case, other.bound)) and other.fits(
            case.numeric, moved_gain(other, case.bound)
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


# --------------------------------------------------------------------- a few entries were judged


def diagnose_probes(judged: Sequence[Judged], probes: Sequence[LeafProbe]) -> tuple[Finding, ...]:
    """Name the likely causes in leaves that were probed, those that concern most entries first."""
    spread, single = [], []  # errors of whole blocks, and of single entries
    others = [each for each, p in zip(judged, probes, strict=True) if p.dense]
    for each, p in zip(judged, probes, strict=True):
        spread += _unlike([_of_block(each, dense, others) for dense in p.dense])
        if p.unexplained:
            spread.append(_diffuse(p, each.leaf))
        elif not p.dense and (p.table.codes == _WRONG).any():
            single.append(_of_entries(each))
    return (*spread, *single)


def _unlike(findings: Sequence[Finding]) -> list[Finding]:
    """The findings of one leaf without those that repeat an earlier one for another block."""
    kinds: dict[tuple[Cause, str], Finding] = {}
    for each in findings:
        kinds.setdefault((each.kind, str(each.evidence.get("inside"))), each)
    return list(kinds.values())


def _diffuse(p: LeafProbe, leaf: Leaf) -> Finding:
    """The finding for a leaf that is wrong along every direction, though in no entry clearly."""
    if math.isfinite(p.factor):
        sentence = (
            f"`{leaf.path}` is {p.factor:.4g} x the derivative along every direction tried, though "
            "noise hides that in single entries"
        )
        return Finding(Cause.FACTOR, leaf.path, sentence, {"factor": p.factor})
    sentence = f"`{leaf.path}` is wrong along every direction tried, but in no single entry clearly"
    return Finding(Cause.UNKNOWN, leaf.path, sentence, {})


def _of_block(judged: Judged, dense: Dense, others: Sequence[Judged]) -> Finding:
    """The likely bug in a block that is wrong throughout."""
    # Of a small leaf every entry was judged: patterns of whole leaves say more than those of grids.
    whole = _whole(judged)
    if whole is not None and whole.wrong.any():
        return diagnose([whole])[0]
    leaf = judged.leaf
    case = case_of(judged, np.ravel_multi_index(np.ix_(*dense.grid), leaf.real.shape))
    if case.wrong.any():
        misplaced = _misplaced(judged, case, dense.grid, others)
    else:  # the wrong ones were found elsewhere in the block
        case, misplaced = case_of(judged, judged.entries), None
    finding = misplaced or next(iter(diagnose([case])), None)
    if finding is None:
        sentence = f"`{case.path}` is wrong, though in none of the entries that were judged"
        return Finding(Cause.UNKNOWN, case.path, sentence, {"entries": int(case.wrong.size)})
    if size_of(dense.box) == leaf.real.size:
        return finding
    return _inside(finding, case, box_text(dense.box, leaf.array.shape))


def _inside(finding: Finding, case: Case, text: str) -> Finding:
    """Turn what was found in a block into a finding about a slice of the leaf."""
    there = finding.sentence.removeprefix(f"`{case.path}`")
    there = there[1:] if there.startswith(":") else f" it{there}"
    most = "" if case.wrong.all() else "most of "
    sentence = f"`{case.path}` is wrong in {most}the slice {text}: there{there}"
    evidence = {**finding.evidence, "slice": text[1:-1], "inside": finding.kind.name}
    return Finding(Cause.SLICE, case.path, sentence, evidence)


def _of_entries(judged: Judged) -> Finding:
    """The likely bug in a leaf with some wrong entries, and no block that is wrong throughout."""
    whole = _whole(judged)
    if whole is not None:
        return diagnose([whole])[0]
    case = case_of(judged, judged.entries)
    count = int(case.wrong.sum())
    what = "one entry" if count == 1 else f"{count} isolated entries"
    sentence = f"`{case.path}` is wrong in {what}" + (" only" if count == 1 else "")
    evidence: dict[str, Any] = {"wrong": count, "entries": judged.leaf.real.size}
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = (case.analytic / case.numeric)[case.wrong]
    if count > 1 and np.isfinite(ratios).all() and np.ptp(ratios) <= _SAME_RATIO * abs(ratios[0]):
        sentence += f", each {ratios[0]:.4g} x the numeric gradient"
        evidence["factor"] = float(np.real(ratios[0]))
    return Finding(Cause.SINGLE, case.path, sentence, evidence)


def _whole(judged: Judged) -> Case | None:
    """The case of the whole leaf, if all of it was judged."""
    shape, size = judged.leaf.real.shape, judged.leaf.real.size
    return case_of(judged, np.arange(size).reshape(shape)) if len(judged.entries) == size else None


def _misplaced(
    judged: Judged, case: Case, grid: Sequence[np.ndarray], others: Sequence[Judged]
) -> Finding | None:
    """Whether the numeric values of the grid stand elsewhere in the gradient."""
    if judged.leaf.is_complex:
        return None
    for kind, words, evidence, values in _elsewhere(judged, grid, others):
        slack = SAFETY * case.bound + case.slack
        if (np.abs(values - case.numeric) <= slack).all() and np.ptp(
            case.numeric
        ) > _SPREAD * slack.max():
            evidence = {**_counts(case), **evidence}
            return Finding(kind, case.path, f"`{case.path}` {words}", evidence)
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
        places = [*grid[:axis], n - 1 - grid[axis], *grid[axis + 1 :]]
        words = f"is the numeric gradient reversed{along}"
        yield Cause.REVERSED, words, {}, analytic[np.ix_(*places)]
    for other in others:
        if other is not judged and other.analytic.shape == shape:
            words = f"holds the gradient of another parameter: its own is in `{other.leaf.path}`"
            yield Cause.SWAPPED, words, {"with": other.leaf.path}, other.analytic[index]


def box_text(box: Box, shape: Sequence[int]) -> str:
    """``[0:392, 17]``, or nothing for the whole leaf."""
    # `shape` is the array's: the box of a complex leaf has one more axis, of real and imaginary.
    sides = [
        ":" if j - i == n else str(i) if j - i == 1 else f"{i}:{j}"
        for i, j, n in zip((s.start for s in box), (s.stop for s in box), shape, strict=False)
    ]
    return f"[{', '.join(sides)}]" if any(side != ":" for side in sides) else ""
