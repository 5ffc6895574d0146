"""Findings from explanations: what leaves share is said once, and the surest comes first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastgrad._checks.case import Case, relative_error
from fastgrad._checks.explanation import (
    Explained,
    is_isolated,
    is_nearby,
    is_nearby_there,
)
from fastgrad._checks.places import Kind
from fastgrad._checks.relations import factor_text
from fastgrad._report.causes import Cause, Finding

__all__ = ["DOUBTFUL", "in_order", "not_finite", "of_explained", "still", "with_context"]

# Leaves of one finding that are named in its sentence.
_NAMED = 4
# Kinds that tell only that something is wrong, and where: they come after all others.
DOUBTFUL = (Cause.UNKNOWN, Cause.SINGLE, Cause.SLICE, Cause.MASKED)
# Kinds whose sentence tells where the values stand, so that a count of entries says nothing.
_WHOLE_ARRAYS = (Cause.SWAPPED, Cause.TRANSPOSED, Cause.SHIFTED, Cause.REVERSED, Cause.PERMUTED)


def of_explained(explained: Sequence[Explained]) -> list[Finding]:
    """One finding for each relation and, where there is none, for each place."""
    groups: dict[Any, list[Explained]] = {}
    for k, each in enumerate(explained):
        relation = each.relation
        # What the same words are said of is one bug, but for words that name another leaf.
        shared = relation is not None and relation.kind is not Cause.SWAPPED
        key = (relation.kind, relation.words, relation.meaning) if shared and relation else k
        groups.setdefault(key, []).append(each)
    return [_finding(group) for group in groups.values()]


def _finding(group: Sequence[Explained]) -> Finding:
    if group[0].relation is None:
        return _without_relation(group[0])
    return _of_one(group[0]) if len(group) == 1 else _of_several(group)


def _of_one(each: Explained) -> Finding:
    relation, place = each.relation, each.place
    assert relation is not None
    share = "" if relation.kind in _WHOLE_ARRAYS else place.share
    meaning = f": {relation.meaning}" if relation.meaning else ""
    comma = "," if place.where and share else ""
    sentence = f"`{place.path}` {relation.words}{place.where}{comma}{share}{meaning}"
    return Finding(
        relation.kind,
        each.case.path,
        place.text,
        sentence,
        {**_counts(each), **relation.evidence},
    )


def _of_several(group: Sequence[Explained]) -> Finding:
    first = max(group, key=lambda each: each.place.count)
    relation = first.relation
    assert relation is not None
    group = [first, *(each for each in group if each is not first)]
    places = [f"`{each.place.path}`{each.place.where}" for each in group[:_NAMED]]
    more = f" and {len(group) - _NAMED:,} more" if len(group) > _NAMED else ""
    meaning = f": {relation.meaning}" if relation.meaning else ""
    sentence = f"{', '.join(places)}{more}: each {relation.words}{meaning}"
    text = ", ".join(each.place.text for each in group[:_NAMED]) + more
    evidence = {
        "wrong": sum(each.place.count for each in group),
        "entries": sum(each.case.size for each in group),
        **relation.evidence,
        "leaves": tuple(dict.fromkeys(each.case.path for each in group)),
    }
    return Finding(relation.kind, first.case.path, text, sentence, evidence)


def _counts(each: Explained) -> dict[str, Any]:
    counts: dict[str, Any] = {"wrong": each.place.count, "entries": each.case.size}
    if each.place.kind is Kind.BOX and each.place.path != each.case.path:
        counts["slice"] = each.place.path.removeprefix(each.case.path)[1:-1]
    return counts


def _without_relation(each: Explained) -> Finding:
    """What can be said of errors without a pattern: how large they are, and where."""
    case, place = each.case, each.place
    size = relative_error(case)
    off = f"a relative error of {size:.2g}" if math.isfinite(size) else "no gradient to compare"
    evidence = {**_counts(each), "relative_error": size}
    start, leaf = f"`{place.path}`", case.path
    if is_nearby_there(each) or (each.all_of_leaf and is_nearby(case)):
        return _nearby(each, evidence)
    if case.size == 1:
        return Finding(Cause.UNKNOWN, leaf, leaf, _of_scalar(case), evidence)
    # Wrong entries are isolated only if the others are known to be right.
    if place.kind is Kind.ONE and not case.unclear:
        alone = f", alone of the {case.size:,} entries of `{leaf}`" if each.all_of_leaf else ""
        return Finding(Cause.SINGLE, leaf, place.text, f"{start} is wrong{alone}", evidence)
    if place.kind is Kind.BOX and place.rare:
        said = f"{start} is wrong{place.where}, and nothing else in `{leaf}`: {off}"
        return Finding(Cause.SLICE, leaf, place.text, said, evidence)
    if place.kind in (Kind.TEST, Kind.NEGATIVE):
        said = f"`{leaf}` is wrong{place.where}, and only there:{place.share}"
        return Finding(Cause.MASKED, leaf, place.text, said, evidence)
    if is_isolated(each) and place.kind is not Kind.WHOLE and not case.unclear:
        box = place.kind is Kind.BOX
        said = f"{start} is wrong{place.where}, and nothing else in `{leaf}`"
        said = said if box else f"`{leaf}` is wrong in {place.count} isolated entries{place.where}"
        return Finding(Cause.SINGLE, leaf, place.text, said, evidence)
    said = f"{start} is wrong{place.where}{place.share}, with {off} in `{leaf}`"
    return Finding(Cause.UNKNOWN, leaf, place.text, said, evidence)


def _nearby(each: Explained, evidence: dict[str, Any]) -> Finding:
    case, place = each.case, each.place
    part = is_nearby_there(each) and place.kind is not Kind.WHOLE
    path, where = (place.path, place.where) if part else (case.path, "")
    off = relative_error(case.at(each.wrong) if part else case)
    elsewhere = ", and right elsewhere" if part else ""
    sentence = (
        f"`{path}` is close to the numeric gradient{where}, with a relative error of {off:.2g} and "
        f"no pattern{elsewhere}: it is that of a nearby function"
    )
    return Finding(Cause.NEARBY, case.path, path + where, sentence, evidence)


def _of_scalar(case: Case) -> str:
    claimed, right = case.analytic.flat[0], case.numeric.flat[0]
    with np.errstate(all="ignore"):
        ratio = float(np.real(claimed / right)) if right else math.inf
    times = f", {factor_text(ratio)} x as much" if math.isfinite(ratio) else ""
    return f"`{case.path}` is {claimed:.4g} where the numeric derivative is {right:.4g}{times}"


def not_finite(case: Case) -> Finding:
    """The finding for wrong entries whose claims, or differences, are not numbers."""
    bad = case.wrong & ~case.known
    claims = ~np.isfinite(case.analytic) & bad
    what = "the analytic gradient" if claims.any() else "the numeric gradient"
    count = int((claims if claims.any() else bad).sum())
    share = "" if case.size == 1 else f" in {count:,} of {case.size:,} entries"
    sentence = f"`{case.path}`: {what} is not finite{share}"
    evidence = {"wrong": int(bad.sum()), "entries": case.size}
    return Finding(Cause.UNKNOWN, case.path, case.path, sentence, evidence)


def still(case: Case) -> Finding:
    """The finding for a leaf that does not move `f`, though the claims are not zero."""
    what = (
        f"no entry of `{case.path}` moves `f`"
        if case.size > 1
        else f"`{case.path}` does not move `f`"
    )
    sentence = f"{what}, though its gradient is not zero: `f` may read another copy of this array"
    evidence = {"wrong": int(case.wrong.sum()), "entries": case.size}
    return Finding(Cause.UNKNOWN, case.path, case.path, sentence, evidence)


def with_context(findings: Sequence[Finding], context: str) -> tuple[Finding, ...]:
    """Say beside the first leaf that no relation explains, once, what is known of all leaves."""
    at = [k for k, each in enumerate(findings) if each.kind is Cause.UNKNOWN]
    told = list(findings)
    if at and context:
        first = findings[at[0]]
        told[at[0]] = replace(first, sentence=first.sentence + context)
    return tuple(told)


def in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Those that explain most entries first, those that tell only where something is wrong last."""
    return tuple(sorted(findings, key=lambda f: (f.kind in DOUBTFUL, -int(f.evidence["wrong"]))))
