"""What a check said of a claimed matrix, beside what is known of it, and tables of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jacobian_subjects import Subject
from measure import table

import fastgrad as fg

# Kinds of checks that judge every entry; the others name examples.
DENSE = ("jacobian", "hessian", "hessian from values")


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    subject: Subject
    verdict: str
    evaluations: int = 0
    kind: str = ""
    right_kind: bool = False
    named: bool = False  # whether all that is wrong, or examples of it, and nothing else is named
    sentence: str = ""
    trouble: str = ""
    seconds: float = 0.0


def score(subject: Subject, report: fg.Report | None, trouble: str, seconds: float) -> Outcome:
    if report is None:
        return Outcome(subject, "exception", trouble=trouble, seconds=seconds)
    verdict = report.verdict.name.lower().replace("_", " ")
    kind, sentence = "", ""
    if report.causes and verdict == "wrong":
        kind, sentence = report.causes[0].kind.name, report.causes[0].sentence
    return Outcome(
        subject,
        verdict,
        report.evaluations,
        kind,
        kind in subject.kinds,
        _named(subject, report),
        sentence,
        trouble,
        seconds,
    )


def _named(subject: Subject, report: fg.Report) -> bool:
    named = np.zeros(subject.right.shape, bool)
    for entry in report.wrong:
        named[subject.place(entry)] = True
    wrong = subject.error > subject.floor
    if (named & (subject.error == 0)).any():
        return False
    every = subject.kind in DENSE or report.strategy == "exhaustive"
    return bool(named[wrong].all()) if every else bool(named.any())


# ------------------------------------------------------------------------------------------- tables


def half_table(halves: Mapping[str, Sequence[Outcome]]) -> str:
    columns = [_figures(half) for half in halves.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(["", *halves], rows)


def kind_table(outcomes: Sequence[Outcome]) -> str:
    kinds = dict.fromkeys(each.subject.kind for each in outcomes)
    return half_table({k: [o for o in outcomes if o.subject.kind == k] for k in kinds})


def _figures(outcomes: Sequence[Outcome]) -> dict[str, str]:
    right = [o for o in outcomes if not o.subject.slip]
    wrong = [o for o in outcomes if o.subject.slip]
    found = [o for o in wrong if o.verdict == "wrong"]
    costs = [o.evaluations for o in right if o.verdict != "exception"]
    return {
        "right": str(len(right)),
        "false alarms": _count([o.verdict == "wrong" for o in right]),
        "right, cannot tell": _count([o.verdict == "cannot tell" for o in right]),
        "wrong": str(len(wrong)),
        "misses": _count([o.verdict == "right" for o in wrong]),
        "wrong, cannot tell": _count([o.verdict == "cannot tell" for o in wrong]),
        "exceptions": _count([bool(o.trouble) for o in outcomes]),
        "entries exact": _share([o.named for o in found]),
        "first cause right": _share([o.right_kind for o in found]),
        "evaluations of a right one, median": f"{np.median(costs):.0f}" if costs else "-",
    }


def slip_table(outcomes: Sequence[Outcome]) -> str:
    slips = dict.fromkeys(o.subject.slip for o in outcomes if o.subject.slip)
    rows = []
    for slip in sorted(slips):
        mine = [o for o in outcomes if o.subject.slip == slip]
        found = [o for o in mine if o.verdict == "wrong"]
        rows.append(
            [
                slip,
                str(len(mine)),
                str(len(found)),
                _share([o.named for o in found]),
                _share([o.right_kind for o in found]),
            ]
        )
    return table(["slip", "checks", "wrong", "entries exact", "cause right"], rows)


def failure_list(outcomes: Sequence[Outcome]) -> str:
    """What came out otherwise than it should."""
    lines = []
    for o in outcomes:
        slip = o.subject.slip
        if o.verdict != ("wrong" if slip else "right") or o.trouble:
            lines.append(f"* {o.subject.name}: {o.verdict}{': ' * bool(o.trouble)}{o.trouble}")
        elif slip and not o.named:
            lines.append(f"* {o.subject.name}: entries")
        elif slip and not o.right_kind:
            lines.append(f"* {o.subject.name}: cause {o.kind or 'none'}: {o.sentence}")
    return "\n".join(lines) or "Nothing."


def _count(flags: Sequence[bool]) -> str:
    return str(sum(flags))


def _share(flags: Sequence[bool]) -> str:
    return f"{100 * sum(flags) / len(flags):.1f} %" if flags else "-"
