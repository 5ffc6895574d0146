"""Names the likely bugs of a wrong gradient as relation and place.

From wrong entries to a sentence: the entries of all leaves together, then those of each leaf
(`explanation`), are compared with what relations predict (`relations`, `misplaced`, `elsewhere`),
in the places that hold them (`places`); what explains them all, and more than chance would, is
told (`findings`). Where a few entries of a leaf were judged the same is done with these
(`sampled`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fastgrad._checks import findings
from fastgrad._checks.case import Case, joined
from fastgrad._checks.elsewhere import Elsewhere
from fastgrad._checks.explanation import (
    Explained,
    elementwise,
    explain,
    misplaced,
    unexplained,
    with_place,
)
from fastgrad._checks.judged import Judged, case_of, whole_case
from fastgrad._checks.places import box_text
from fastgrad._checks.relations import Relation
from fastgrad._checks.result import LeafProbe
from fastgrad._checks.sampled import of_sample
from fastgrad._report.causes import Cause, Finding

__all__ = ["Case", "Judged", "box_text", "case_of", "diagnose", "diagnose_probes", "kink_met"]

# Leaves whose relations are sought one by one, some 5 ms each; others are compared with what these
# have. Nobody reads a longer list.
_MOST_LEAVES = 200
# Of two arrays the table says as much as a sentence about their order.
_FEWEST_LAYERS = 3
# Between the two sides of the name of a block.
_BESIDE = " / "


def diagnose(cases: Sequence[Case]) -> tuple[Finding, ...]:
    """Name the likely causes, those that explain most entries first."""
    # Relations divide by what may be zero, and compare what may be infinite: then none fits.
    with np.errstate(all="ignore"):
        bad = [case for case in cases if case.wrong.any()]
        moving = [case for case in bad if _moves(case)]
        told = [findings.still(case) for case in bad if not _moves(case)]
        told += [findings.not_finite(case) for case in moving if (case.wrong & ~case.known).any()]
        usable = [case for case in moving if (case.wrong & case.known).any()]
        told += findings.of_explained(_explained(usable, cases))
        return findings.with_context(findings.in_order(told), _context(cases))


def _moves(case: Case) -> bool:
    """Whether any entry moves `f`; at a kink both sides may cancel."""
    return bool(case.numeric.any() or case.kinks.any())


def _explained(bad: Sequence[Case], cases: Sequence[Case]) -> list[Explained]:
    """All leaves by one relation, or each by its own, and those left by what others have."""
    together = _together(bad)
    if together:
        return together
    elsewhere = Elsewhere(cases)
    explained = [each for case in bad[:_MOST_LEAVES] for each in explain(case, elsewhere)]
    explained += map(unexplained, bad[_MOST_LEAVES:])
    # A leaf of one entry has some factor always: it is known where others have the same.
    known = [each.relation for each in explained if each.relation is not None]
    for k, each in enumerate(explained):
        if each.relation is None and each.all_of_leaf:
            shared = _shared(each.case, known)
            explained[k] = with_place(each.case, shared) if shared else each
    left = [e.case for e in explained if e.relation is None and e.all_of_leaf]
    again = _together(left) or (_in_another_order(left, cases) if len(left) == len(bad) else [])
    if again:
        named = {case.path for case in left}
        explained = [e for e in explained if e.case.path not in named] + again
    return explained


def _together(bad: Sequence[Case]) -> list[Explained]:
    """One relation that explains the wrong entries of several leaves."""
    if len(bad) < 2:
        return []
    parts = [case.at(case.wrong & case.known) for case in bad]
    relation = elementwise(joined(parts))
    # At kinks other words say more, and so they do where one leaf holds all the evidence.
    if relation is None or any(part.kinks.all() for part in parts):
        return []
    return [with_place(case, relation) for case in bad]


def _in_another_order(bad: Sequence[Case], cases: Sequence[Case]) -> list[Explained]:
    """The right values of all leaves, but not at their places: one row was cut up differently."""
    if len(bad) < 2 or len(bad) > _MOST_LEAVES or any(case.sampled for case in cases):
        return []
    row = joined(cases)
    relation = misplaced(row) if len({case.analytic.dtype for case in cases}) == 1 else None
    if relation is None:
        return []
    words = f"{relation.words}, read as one row of all arrays"
    shared = replace(relation, words=words, predict=lambda c: (c.analytic, 1.0))
    return [with_place(case, shared) for case in bad]


def _shared(case: Case, known: Sequence[Relation]) -> Relation | None:
    """A relation of other leaves that explains this one as well."""
    part = case.at(case.wrong & case.known)
    elementwise_kinds = (Cause.FACTOR, Cause.SIGN, Cause.MISSING_L1, Cause.MISSING_L2, Cause.OFFSET)
    for relation in known:
        if relation.kind in elementwise_kinds and part.fits(
            *relation.predict(part), ways=len(known)
        ):
            return relation
    return None


def _context(cases: Sequence[Case]) -> str:
    """Up to which layer of a network a gradient is wrong, if all later ones are right."""
    wrong = [bool(case.wrong.any()) for case in cases]
    count = sum(wrong)
    if len(cases) < _FEWEST_LAYERS or not 0 < count < len(cases) or not all(wrong[:count]):
        return ""
    if not _are_layers([case.path for case in cases]):
        return ""
    last, first = f"`{cases[count - 1].path}`", f"`{cases[count].path}`"
    if count == 1:
        return f"; {last} is the first array, and all after it are right"
    good = f"{first} and all after it are"
    good = good if count < len(cases) - 1 else f"{first}, the last one, is"
    return f"; {last} and all arrays before it are wrong, {good} right"


def _are_layers(paths: Sequence[str]) -> bool:
    """Whether numbers in the names of arrays rise: others, such as q, k and v, have no order.

    Blocks of a Jacobian, whose names have two sides, are no layers either.
    """
    found = [re.search(r"\d+", path) for path in paths]
    numbers = [int(each[0]) for each in found if each]
    rising = numbers == sorted(numbers) and len(set(numbers)) > 1
    return rising and not any(_BESIDE in path for path in paths)


def kink_met(case: Case) -> Finding:
    """The finding for entries at a kink where the analytic value is a valid subgradient."""
    count = int(case.kinks.sum())
    sentence = (
        f"`{case.path}`: `f` has a kink at {count:,} of {case.kinks.size:,} entries; the analytic "
        "value lies between the one-sided derivatives"
    )
    evidence = {"kinks": count, "entries": case.kinks.size}
    return Finding(Cause.KINK, case.path, case.path, sentence, evidence)


def diagnose_probes(judged: Sequence[Judged], probes: Sequence[LeafProbe]) -> tuple[Finding, ...]:
    """Name the likely causes in leaves that were probed, those that concern most entries first."""
    with np.errstate(all="ignore"):
        # Errors of whole blocks, and of single entries.
        spread: list[Finding] = []
        single: list[Finding] = []
        for each, p in zip(judged, probes, strict=True):
            whole = whole_case(each)
            if whole is not None and whole.wrong.any():
                # Of a small leaf every entry was judged: more can be said of all than of some.
                found, told = list(diagnose([whole])), bool(p.dense)
            else:
                found, told = of_sample(each, p, judged, probes), bool(p.dense or p.unexplained)
            (spread if told else single).extend(found)
        return (*spread, *single)
