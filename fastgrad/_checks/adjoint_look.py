"""The look at an adjoint: are both maps linear, do products agree, and where do they not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fastgrad._checks.adjoint_causes import Relation, cause_of, findings
from fastgrad._checks.adjoint_entries import Cells, all_entries, no_entries, of_matrix, some_entries
from fastgrad._checks.adjoint_search import Maps, Region, locate, matrices
from fastgrad._checks.error_model import MISSED
from fastgrad._checks.inner_products import Pair, Product, Rounding, sensitivity
from fastgrad._checks.linear import LinearMap, Measured, NotFinite, measure
from fastgrad._checks.result import distrusted
from fastgrad._checks.verdict import listed
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Entries, Verdict
from fastgrad._report.format import two_numbers
from fastgrad._words import counted, verb

__all__ = ["Found", "Plan", "look"]

# Arrays on both sides, at most, that are looked at one by one, with two evaluations each: their
# values may be of any sizes. Of more all are looked at together, unless something is wrong.
_APART = 32
# Blocks that are wrong, at most, in which is located what: others are named as they are.
_MOST_BLOCKS = 8
_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code
# Streams of random numbers, for either side.
_X, _Y = 0, 1


@dataclass(frozen=True)
class Plan:
    """What the user asks for."""

    exhaustive: bool
    few: float  # evaluations that judging every entry may take where something is wrong
    budget: float
    rtol: float
    atol: float
    seed: int

    def stream(self, side: int) -> np.random.Generator:
        """Random numbers for one side."""
        return np.random.default_rng([self.seed, side])


@dataclass(frozen=True)
class Found:
    """All that a report says."""

    verdict: Verdict
    reason: str
    entries: Entries
    causes: tuple[Finding, ...] = ()
    inexact: float = math.nan
    detection_limit: float = math.inf
    miss_probability: float = 0.0
    all_judged: bool = False


def look(forward: LinearMap, adjoint: LinearMap, plan: Plan) -> Found:
    """Look as far as it takes."""
    try:
        if not forward.takes.size:
            return _untold(forward, "nothing was tested: `x` holds no entries")
        there = measure(forward, plan.stream(_X), plan.rtol)
        if there.trouble:
            return _untold(forward, there.trouble)
        if not forward.image.size:
            return _untold(forward, "nothing was tested: what `forward` returns holds no entries")
        adjoint.takes = forward.image
        back = measure(adjoint, plan.stream(_Y), plan.rtol)
        if back.trouble:
            return _of_adjoint(forward, back.trouble, wrong=back.clearly)
        return _looked(forward, adjoint, there, back, plan)
    except NotFinite as error:
        said = f"{error}, of finite numbers"
        if error.who == "adjoint":
            return _of_adjoint(forward, said, wrong=True)
        return _untold(forward, said)
    except OutOfBudget:
        return _untold(
            forward,
            f"the budget of {counted(int(plan.budget), 'evaluation')} ran out; raise `budget`",
        )


def _untold(forward: LinearMap, reason: str) -> Found:
    return Found(Verdict.CANNOT_TELL, reason, no_entries(forward.takes, forward.gives))


def _of_adjoint(forward: LinearMap, reason: str, *, wrong: bool) -> Found:
    """What is said of an adjoint that is none, of whatever map."""
    found = _untold(forward, reason)
    if not wrong:
        return found
    cause = Finding(Cause.UNKNOWN, "x", "y / x", reason, {"wrong": found.entries.spans[0].size})
    return replace(found, verdict=Verdict.WRONG, causes=(cause,))


def _looked(
    forward: LinearMap, adjoint: LinearMap, there: Measured, back: Measured, plan: Plan
) -> Found:
    """Compare the inner products of two linear maps."""
    rounding = Rounding.of(there, back, forward.takes, forward.image, plan.rtol, plan.atol)
    maps = Maps(forward, adjoint, forward.takes, forward.image, rounding)
    if not any(each.any() for each in (*there.outputs, *back.outputs)):
        return _untold(
            forward,
            "both maps are zero along all random vectors: an adjoint that was never computed would "
            "look the same",
        )
    regions = _blocks(maps)
    inexact = max(there.inexact, back.inexact)
    agree = all(region.verdict is Verdict.RIGHT for region in regions)
    whole = maps.x.size + maps.y.size
    if plan.exhaustive or (not agree and whole <= min(plan.few, plan.budget - forward.meter.made)):
        return replace(_entry_by_entry(maps, regions), inexact=inexact)
    return replace(_by_probes(maps, regions), inexact=inexact)


def _blocks(maps: Maps) -> list[Region]:
    """Each array of one side with each of the other; one region if all are right together."""
    xs, ys = ([leaf for leaf in s.leaves if leaf.stop > leaf.start] for s in (maps.x, maps.y))
    pairs = [Pair(x, y, x.whole, y.whole) for y in ys for x in xs]
    there, back = maps.rounding.forward, maps.rounding.adjoint
    together = Region(
        pairs[0], maps.rounding, there.inputs, there.outputs, back.inputs, back.outputs
    )
    many = len(xs) + len(ys) > _APART
    if len(pairs) == 1 or (many and together.verdict is Verdict.RIGHT):
        return [together]
    of_x = {x.path: [x.only(each, x.whole) for each in there.inputs] for x in xs}
    of_y = {y.path: [y.only(each, y.whole) for each in back.inputs] for y in ys}
    forwards = {path: [maps.forward(each) for each in parts] for path, parts in of_x.items()}
    adjoints = {path: [maps.adjoint(each) for each in parts] for path, parts in of_y.items()}
    return [
        Region(
            pair,
            maps.rounding,
            of_x[pair.x.path],
            forwards[pair.x.path],
            of_y[pair.y.path],
            adjoints[pair.y.path],
        )
        for pair in pairs
    ]


# -------------------------------------------------------------------------------- entry by entry


def _entry_by_entry(maps: Maps, regions: Sequence[Region]) -> Found:
    """Judge every entry of both matrices; what else is asked of the maps they answer."""
    forward, adjoint = matrices(maps)
    entries = all_entries(maps, forward, adjoint)
    known = replace(maps, forward=lambda v: forward @ v, adjoint=lambda v: adjoint.T @ v)
    wrong, unclear = entries.only(Verdict.WRONG), entries.only(Verdict.CANNOT_TELL)
    limits = entries.uncertainty + maps.rounding.atol
    limit = float((limits + maps.rounding.rtol * np.abs(entries.numeric)).max(initial=0.0))
    found = Found(Verdict.RIGHT, "", entries, detection_limit=limit, all_judged=True)
    told = _explained([r for r in regions if _differs(r)], known) if len(wrong) else []
    if len(wrong) and not (told and all(relation.doubtful for _, relation in told)):
        causes = findings([each for each in told if not each[1].doubtful])
        if any(cause.kind is Cause.UNKNOWN for cause in causes):
            causes = of_matrix(entries) or causes
        return replace(found, verdict=Verdict.WRONG, reason=_worst(entries, wrong), causes=causes)
    if len(wrong):
        return _without_pattern(found, told)
    if len(unclear):
        return replace(
            found,
            verdict=Verdict.CANNOT_TELL,
            reason=_doubtful(unclear[0].path, len(unclear), len(entries)),
        )
    if any(region.verdict is Verdict.WRONG for region in regions):
        return replace(
            found,
            verdict=Verdict.CANNOT_TELL,
            reason="every entry agrees, and random vectors do not: the maps are not linear, or "
            "their errors along random vectors are far larger than along single entries",
        )
    return replace(found, reason=f"{_agree(len(entries))}; {_linear(maps)}")


def _without_pattern(found: Found, told: Sequence[tuple[Region, Relation]]) -> Found:
    """What is said of small errors everywhere, and no pattern in them."""
    entries = found.entries
    codes = np.where(entries.codes == _WRONG, _UNCLEAR, entries.codes).astype(np.int8)
    pair = told[0][0].pair
    off = max(float(relation.evidence["relative_error"]) for _, relation in told)
    reason = (
        f"`adjoint` has a relative error of {off:.1g} in {pair.y_name} / {pair.x_name}, without a "
        "pattern: maps that are inverted lose so many digits, each of the two its own; rtol= "
        "allows for it"
    )
    spans = tuple(map(distrusted, entries.spans))
    return replace(
        found,
        verdict=Verdict.CANNOT_TELL,
        reason=reason,
        entries=replace(entries, spans=spans, codes=codes),
    )


def _agree(count: int) -> str:
    return f"all {counted(count, 'entry')} agree" if count > 1 else "the only entry agrees"


def _linear(maps: Maps) -> str:
    inexact = max(maps.rounding.forward.inexact, maps.rounding.adjoint.inexact)
    return f"both maps are linear to a relative {inexact:.1g}"


def _worst(entries: Entries, wrong: Entries) -> str:
    worst, count, judged = wrong[0], len(wrong), len(entries)
    of = f"{count:,} of {judged:,} entries" if judged > 1 else "the only entry"
    which = "the worst" if count > 1 else "it"
    adjoint, forward = two_numbers(worst.analytic, worst.numeric)
    return (
        f"{of} {verb(count, 'disagree')}; {which} is {worst.path}: {adjoint} by `adjoint`, "
        f"{forward} by `forward`"
    )


def _doubtful(path: str, count: int, judged: int) -> str:
    return (
        f"{count:,} of {counted(judged, 'entry')} differ by a few times the errors of the maps, "
        f"which are not exact, for example {path}; rtol= allows for it"
    )


# ----------------------------------------------------------------------------------- by probes


def _by_probes(maps: Maps, regions: Sequence[Region]) -> Found:
    """The verdict of random vectors, and of what bisection finds."""
    differing = [region for region in regions if _differs(region)]
    if any(region.verdict is Verdict.WRONG for region in differing):
        return _wrong(maps, differing, regions)
    entries = some_entries(maps, regions, [])
    limit = max(sensitivity(region.products) for region in regions)
    found = Found(Verdict.RIGHT, "", entries, detection_limit=limit, miss_probability=MISSED)
    worst = max(_relative(each) for region in regions for each in region.products)
    if differing:
        pair = differing[0].pair
        name = f"{pair.y_name} / {pair.x_name}"
        return replace(
            found,
            verdict=Verdict.CANNOT_TELL,
            reason=f"<forward(x), y> and <x, adjoint(y)> differ by a relative {worst:.1g} in "
            f"{name}, a few times the errors of the maps, which are not exact; rtol= allows for it",
        )
    reason = f"<forward(x), y> and <x, adjoint(y)> agree to a relative {worst:.1g}"
    return replace(found, reason=f"{reason} along random vectors; {_linear(maps)}")


def _relative(product: Product) -> float:
    return product.error / product.size if product.size else 0.0


def _differs(region: Region) -> bool:
    return region.verdict is not Verdict.RIGHT


def _wrong(maps: Maps, differing: Sequence[Region], regions: Sequence[Region]) -> Found:
    """What is wrong, where, and why."""
    stopped = ""
    cells: list[Cells] = []
    told: list[tuple[Region, Relation]] = []
    try:
        told = _explained(differing, maps)
        cells = [Cells.of(region, maps) for region, _ in told[:_MOST_BLOCKS]]
    except OutOfBudget:
        stopped = "; the budget ran out before more was known of it"
    entries = some_entries(maps, regions, cells)
    if told and all(relation.doubtful for _, relation in told):
        found = Found(Verdict.CANNOT_TELL, "", entries, miss_probability=MISSED)
        return _without_pattern(found, told)
    causes = findings([each for each in told if not each[1].doubtful])
    places = [f"{region.pair.y_name} / {region.pair.x_name}" for region in differing]
    places = [cause.place for cause in causes] or places
    worst = max((p for region in differing for p in region.products), key=_relative)
    left, right = two_numbers(worst.forward, worst.adjoint)
    reason = (
        f"`adjoint` is not that of `forward` in {listed(places)}: along random vectors "
        f"<forward(x), y> is {left} and <x, adjoint(y)> is {right}{stopped}"
    )
    return Found(Verdict.WRONG, reason, entries, causes, miss_probability=MISSED)


def _explained(differing: Sequence[Region], maps: Maps) -> list[tuple[Region, Relation]]:
    """The smallest boxes in which something is wrong, each with what it is; the worst first."""
    order = sorted(differing, key=lambda r: -max(map(_relative, r.products)))
    told = []
    for k, region in enumerate(order):
        # A relation of whole arrays, such as a shift, is none of the boxes in them.
        whole = cause_of(region, maps)
        small = [region]
        if whole.kind in (Cause.UNKNOWN, Cause.NEARBY, Cause.PRECISION) and k < _MOST_BLOCKS:
            small = locate(region, maps)
        if len(small) == 1 and small[0].pair == region.pair:
            told.append((region, whole))
        else:
            told += [(each, cause_of(each, maps)) for each in small]
    return told
