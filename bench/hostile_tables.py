"""What came of the hostile problems, as tables and lists."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from hostile_check import Outcome
from hostile_problems import FAMILIES
from measure import Section, Target, table

# Evaluations of a right smooth problem: this many for each entry, and these on top.
PER_ENTRY, ON_TOP = 2, 20
FAULTS = {
    "false alarm": "False alarms",
    "tolerance": "Tolerances of solvers called wrong",
    "nearby": "Tolerances of solvers called wrong, and the gradient of a nearby function",
    "miss": "Misses",
    "exception": "Exceptions",
    "overclaim": "Wrong, where nothing can be known",
    "admitted": "Right, with an error below the stated limit that differences show",
}
# Faults that have a column.
SHOWN = ("false alarm", "tolerance", "miss", "exception", "overclaim")
# Claims of one family in a list, at most: the rest is counted.
MOST = 3
HEAD = (
    "", "checks", "alarms", "solvers", "misses", "raised", "too sure", "unsure", "of plain",
    "at once", "of wrong", "varied",
)  # fmt: skip


def sections(outcomes: Sequence[Outcome], seconds: float) -> Iterator[Section]:
    """Everything that is written of a run."""
    yield _summary(outcomes, seconds)
    groups: dict[str, list[Outcome]] = {}
    for each in outcomes:
        groups.setdefault(FAMILIES[each.claim.family].group, []).append(each)
    halves = {
        name: [o for o in outcomes if FAMILIES[o.claim.family].held_out is held]
        for name, held in (("tuned on", False), ("held out", True))
    }
    rows = [row(name, some) for name, some in {"all": outcomes, **halves, **groups}.items() if some]
    yield Section("By group of families", table(HEAD, rows))
    for fault, title in FAULTS.items():
        yield _list(title, [o for o in outcomes if o.fault == fault])
    yield _list("Verdicts that vary with the seed", [group[-1] for group in varied(outcomes)])
    yield _list("Verdicts that vary with a factor", [group[-1] for group in scaled(outcomes)])
    untrue = [o for o in outcomes if any(true is False for _, true in o.causes)]
    yield _list("Causes that are not true of the data", untrue)
    yield _list("Warnings from fastgrad", [o for o in outcomes if o.leaks])
    yield _list("Warnings of f, far from the edge of its domain", [o for o in outcomes if o.heard])
    yield _list("Parameters that were changed", [o for o in outcomes if o.changed])
    yield _list("Cannot tell, though plain differences converge", unsure_of_plain(outcomes))
    yield _list("Evaluations above the budget", [o for o in outcomes if _over_budget(o)])
    miscounted = [o for o in outcomes if o.evaluations != o.calls]
    yield _list("Evaluations that were not counted right", miscounted)
    yield _list("More than 2 n + 20 evaluations", [o for o in outcomes if _costly(o)])


def row(name: str, outcomes: Sequence[Outcome]) -> list[str]:
    faults = Counter(o.fault for o in outcomes)
    right = _right(outcomes)
    unsure = [o for o in right if o.verdict == "CANNOT_TELL"]
    wrong = [o for o in outcomes if o.kind == "wrong" and o.verdict == "CANNOT_TELL"]
    return [
        name,
        f"{len(outcomes):,}",
        *(str(faults[name]) for name in SHOWN),
        f"{len(unsure)}/{len(right)}",
        str(sum(o.plain for o in unsure)),
        str(sum(o.at_once for o in unsure)),
        str(sum(o.plain for o in wrong)),
        str(len(varied(outcomes))),
    ]


def _summary(outcomes: Sequence[Outcome], seconds: float) -> Section:
    causes = _causes(outcomes)
    families = len({o.claim.family for o in outcomes})
    text = (
        f"{len(outcomes):,} checks of {families} families in {seconds:.0f} s "
        f"({60 * len(outcomes) / seconds:,.0f} a minute); {len(_right(outcomes)):,} gradients are "
        f"right; {len(_seeded(outcomes)):,} claims were checked with eight seeds; "
        f"{len(causes):,} causes were named, {causes.count(False):,} of them untrue, "
        f"{causes.count(None):,} beyond testing."
    )
    return Section("", text, _targets(outcomes))


def _targets(outcomes: Sequence[Outcome]) -> list[Target]:
    faults = Counter(o.fault for o in outcomes)
    causes, right, unsure = _causes(outcomes), _right(outcomes), unsure_of_plain(outcomes)
    alarms = _share(faults["false alarm"], outcomes, 10_000)
    vary = _share(len(varied(outcomes)), _seeded(outcomes), 1000)
    untrue = _share(causes.count(False), causes, 100)
    at_once = _share(sum(o.at_once for o in unsure), right, 100)
    some = _share(len(unsure), right, 100)
    return [
        Target("false alarms in 10,000 checks", alarms, 5, ""),
        Target("tolerances of solvers called wrong", faults["tolerance"], 0, ""),
        Target("misses", faults["miss"], 0, ""),
        Target("exceptions", faults["exception"], 0, ""),
        Target("claims in 1,000 whose verdict varies", vary, 1, ""),
        Target("claims whose verdict varies with a factor", len(scaled(outcomes)), 0, ""),
        Target("causes not true of the data", untrue, 1, " %"),
        Target("warnings from fastgrad", sum(bool(o.leaks) for o in outcomes), 0, ""),
        Target("parameters changed", sum(o.changed for o in outcomes), 0, ""),
        Target("cannot tell, though the usual difference is right", at_once, 0.5, " %"),
        Target("cannot tell, though some differences are right", some, 0.5, " %"),
        Target("right smooth gradients above 2 n + 20", sum(map(_costly, outcomes)), 0, ""),
    ]


def _share(count: int, things: Sequence[Any], of: int) -> float:
    return of * count / max(1, len(things))


def _causes(outcomes: Sequence[Outcome]) -> list[bool | None]:
    """Whether each cause that was named is true."""
    return [true for o in outcomes for _, true in o.causes]


def _right(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [o for o in outcomes if o.kind == "right"]


def unsure_of_plain(outcomes: Sequence[Outcome]) -> list[Outcome]:
    return [o for o in _right(outcomes) if o.verdict == "CANNOT_TELL" and o.plain]


def _costly(o: Outcome) -> bool:
    known = o.smooth and o.kind == "right" and o.claim.strategy != "probe" and not o.claim.change
    return known and o.evaluations > PER_ENTRY * o.entries + ON_TOP


def _over_budget(o: Outcome) -> bool:
    return o.budget is not None and max(o.evaluations, o.calls) > o.budget


def _grouped(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """The outcomes of each claim that was checked more than once."""
    groups: dict[tuple[str, int, str], list[Outcome]] = {}
    for o in outcomes:
        groups.setdefault((o.claim.family, o.claim.instance, o.claim.name), []).append(o)
    return [group for group in groups.values() if len(group) > 1]


def _seeded(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    return _grouped([o for o in outcomes if not o.claim.change])


def varied(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Those whose verdict depends on the seed, the rarest verdict last."""
    return _mixed(_seeded(outcomes))


def scaled(outcomes: Sequence[Outcome]) -> list[list[Outcome]]:
    """Those whose verdict depends on a factor of f."""
    once = [o for o in outcomes if o.claim.check_seed == 0 and not o.claim.change.startswith("+")]
    return _mixed(_grouped(once))


def _mixed(groups: Sequence[list[Outcome]]) -> list[list[Outcome]]:
    found = []
    for group in groups:
        counts = Counter(o.verdict for o in group)
        if len(counts) > 1:
            found.append(sorted(group, key=lambda o: -counts[o.verdict]))
    return found


def _list(title: str, outcomes: Sequence[Outcome]) -> Section:
    """How many of each family, and the first few claims of each, all seeds of one as one."""
    title = f"{title[:1].upper()}{title[1:]}: {len(outcomes)}"
    if not outcomes:
        return Section(title, "None.")
    claims: dict[str, dict[tuple[int, str], list[Outcome]]] = {}
    for o in outcomes:
        family = claims.setdefault(o.claim.family, {})
        family.setdefault((o.claim.instance, o.claim.name), []).append(o)
    counts = Counter(o.claim.family for o in outcomes)
    lines = []
    for name, count in counts.most_common():
        lines.append(f"{name}: {count}")
        lines += [_line(group) for group in list(claims[name].values())[:MOST]]
    return Section(title, "```\n" + "\n".join(lines) + "\n```")


def _line(group: Sequence[Outcome]) -> str:
    o = group[0]
    causes = [name if true is not False else f"{name} (untrue)" for name, true in o.causes]
    said = " ".join([o.verdict, *causes, *o.leaks[:1]])
    seeds = f" (and {len(group) - 1} seeds more)" if len(group) > 1 else ""
    return f"  {o.claim}{seeds}\n    {said}; {o.reason[:110]}"
