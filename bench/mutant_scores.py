"""What a check said of a mutant, beside what is known of it, and tables of that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from measure import table
from mutant_models import Model
from mutant_reading import Data, Said, read
from mutant_truth import SILENT, TESTED, also_true
from mutations_more import Slip

import fastgrad as fg

# A place is right if at least this share of the entries that it names is wrong, or if it lies in
# the blocks that were spoiled: entries there may be right by chance, as on a diagonal.
MOSTLY = 0.8


@dataclass(frozen=True)
class Subject:
    """One check that is to be made; without a slip the gradient is right."""

    model: Model
    right: np.ndarray
    floor: np.ndarray
    layout: str
    held_out: bool
    mutation: str = ""
    slip: Slip | None = None

    @property
    def name(self) -> str:
        return f"{self.model.name} | {self.mutation or 'right'} | {self.layout}"


@dataclass(frozen=True)
class Outcome:
    """What came of it. Without a cause, `kind` is empty, and nothing is stated wrongly."""

    subject: Subject
    verdict: str
    kind: str = ""
    right_kind: bool = False
    untrue: bool = False
    any_untrue: bool = False  # among all causes
    right_place: bool | None = None  # None where no place can be read
    named: bool = False  # whether exactly the wrong entries were called wrong
    sentence: str = ""
    trouble: str = ""
    seconds: float = 0.0

    @property
    def is_granted(self) -> bool:
        slip = self.subject.slip
        return slip is not None and slip.granted and self.verdict == "right"


def score(
    subject: Subject, claimed: np.ndarray, report: fg.Report | None, trouble: str, seconds: float
) -> Outcome:
    if report is None:
        return Outcome(subject, "exception", trouble=trouble, seconds=seconds)
    verdict = report.verdict.name.lower().replace("_", " ")
    error = np.abs(claimed - subject.right)
    named = _named(report, subject)
    exact = bool(named[error > subject.floor].all() and not named[error == 0].any())
    if subject.slip is None or not report.causes or verdict != "wrong":
        return Outcome(subject, verdict, named=exact, trouble=trouble, seconds=seconds)
    data = _data(subject, claimed)
    accepted = _accepted(subject, data)
    said = [read(each, data) for each in report.causes]
    untrue = [_untrue(each, subject, error, accepted) for each in said]
    first = said[0]
    return Outcome(
        subject,
        verdict,
        first.kind,
        first.kind in accepted,
        untrue[0],
        any(untrue),
        _right_place(first, subject, error),
        exact,
        report.causes[0].sentence,
        trouble,
        seconds,
    )


def _named(report: fg.Report, subject: Subject) -> np.ndarray:
    named = np.zeros(subject.right.size, dtype=bool)
    leaves = leaves_of(subject)
    for entry in report.wrong:
        where = leaves[entry.leaf]
        named[where] |= _flagged(entry.index, subject, entry.leaf)
    return named


def _flagged(index: tuple[int, ...], subject: Subject, leaf: str) -> np.ndarray:
    flags = np.zeros(_shape(subject, leaf), dtype=bool)
    flags[index] = True
    return flags.ravel()


def leaves_of(subject: Subject) -> dict[str, slice]:
    """Where the leaves of a report lie in the vector, by their paths."""
    if subject.layout == "vector":
        return {"params": slice(0, subject.right.size)}
    return {_path(name): place for name, place in subject.model.slices.items()}


def _path(name: str) -> str:
    return name if name.isidentifier() else f"params[{name!r}]"


def _shape(subject: Subject, leaf: str) -> tuple[int, ...]:
    if subject.layout == "vector":
        return subject.right.shape
    return next(p.shape for name, p in subject.model.params.items() if _path(name) == leaf)


def _data(subject: Subject, claimed: np.ndarray) -> Data:
    model, numbers = subject.model, np.arange(claimed.size)
    leaves = {"params": numbers}
    if subject.layout == "nested":
        leaves = {_path(name): block for name, block in model.split(numbers).items()}
    return Data(claimed, subject.right, model.vector(), subject.floor, leaves)


def _accepted(subject: Subject, data: Data) -> set[str]:
    """Kinds that name the slip, and those that are true of its blocks as well."""
    if subject.slip is None:
        return set()
    accepted = set(subject.slip.accepted(subject.model, subject.layout))
    if subject.layout == "vector":
        places = [np.flatnonzero(_touched(subject) & data.visible)]
    else:
        places = [data.leaves[_path(name)] for name in subject.slip.blocks]
    coincident = {kind for there in places for kind in also_true(data.region(there))}
    # What is left out of a projection is a multiple of the parameters, and not because of an L2.
    return accepted | (coincident - {"MISSING_L2"} if "NORMALIZATION" in accepted else coincident)


def _touched(subject: Subject) -> np.ndarray:
    touched = np.zeros(subject.right.size, dtype=bool)
    for name in subject.slip.blocks if subject.slip else ():
        touched[subject.model.slices[name]] = True
    return touched


def _untrue(said: Said, subject: Subject, error: np.ndarray, accepted: set[str]) -> bool:
    if said.kind == "SLICE":
        return _right_place(said, subject, error) is False
    if said.kind in SILENT or (said.kind not in TESTED and said.kind in accepted):
        return False
    if said.kind == "MASKED" and "MASKED" in accepted and "UNKNOWN" not in accepted:
        return False  # the slip was a mask, so that in a small array too it is no coincidence
    return not said.is_true()


def _right_place(said: Said, subject: Subject, error: np.ndarray) -> bool | None:
    if said.stated is None or not said.stated.any():
        return None
    wrong = error > subject.floor
    within = np.zeros_like(wrong)
    for place in leaves_of(subject).values():
        if said.stated[place].any():
            within[place] = True
    covers = not (wrong & within & ~said.stated).any()
    mostly = (error[said.stated] > 0).mean() >= MOSTLY
    return bool(covers and (mostly or not (said.stated & ~_touched(subject)).any()))


# ------------------------------------------------------------------------------------------- tables


def half_table(halves: Mapping[str, Sequence[Outcome]]) -> str:
    groups = {
        f"{name}, {layout}": [o for o in half if o.subject.layout == layout]
        for name, half in halves.items()
        for layout in ("nested", "vector")
    }
    groups = {**halves, **groups}
    head = ["", *groups]
    columns = [_figures(group) for group in groups.values()]
    rows = [[name, *(column[name] for column in columns)] for name in columns[0]]
    return table(head, rows)


def _figures(outcomes: Sequence[Outcome]) -> dict[str, str]:
    right = [o for o in outcomes if o.subject.slip is None]
    mutants = [o for o in outcomes if o.subject.slip is not None and not o.is_granted]
    stated = [o for o in mutants if o.right_place is not None and o.right_kind]
    return {
        "right gradients": str(len(right)),
        "false alarms": _count(o.verdict == "wrong" for o in right),
        "right, cannot tell": _count(o.verdict == "cannot tell" for o in right),
        "mutants": str(len(mutants)),
        "rounding granted": _count(o.is_granted for o in outcomes),
        "misses": _count(o.verdict == "right" for o in mutants),
        "wrong, cannot tell": _count(o.verdict == "cannot tell" for o in mutants),
        "exceptions": _count(bool(o.trouble) for o in outcomes),
        "exactly the wrong entries": _share([o.named for o in mutants]),
        "first cause right": _share([o.right_kind for o in mutants]),
        "its place right": _share([bool(o.right_place) for o in stated]),
        "stated wrongly": _share([o.untrue for o in mutants]),
        "by any of the causes": _share([o.any_untrue for o in mutants]),
    }


def _count(flags: Any) -> str:
    return str(sum(flags))


def _share(flags: Sequence[bool]) -> str:
    return f"{100 * sum(flags) / len(flags):.1f} %" if flags else "-"


def slip_table(outcomes: Sequence[Outcome]) -> str:
    mutants = [o for o in outcomes if o.subject.slip is not None]
    rows = []
    for name in dict.fromkeys(o.subject.mutation for o in mutants):
        mine = [o for o in mutants if o.subject.mutation == name]
        good, bad = sum(o.right_kind for o in mine), sum(o.untrue for o in mine)
        missed = sum(o.verdict != "wrong" for o in mine)
        rows.append([name, *map(str, (len(mine), missed, good, bad))])
    return table(["slip", "mutants", "not called wrong", "cause right", "stated wrongly"], rows)


def failure_lists(outcomes: Sequence[Outcome]) -> str:
    """Each with the name under which `--one` shows it in full."""
    lines = [_line(o) for o in outcomes if _failed(o)]
    return "\n".join(lines) or "Nothing."


def _failed(o: Outcome) -> bool:
    if o.subject.slip is None:
        return o.verdict != "right"
    if o.is_granted:
        return False
    return o.verdict != "wrong" or not o.right_kind or o.untrue or bool(o.trouble)


def _line(o: Outcome) -> str:
    said = f"{o.kind}{' (untrue)' if o.untrue else ''}: {o.sentence}" if o.kind else ""
    what = f" ({o.subject.slip.what})" if o.subject.slip and o.subject.slip.what else ""
    return f"* `{o.subject.name}`{what}: {o.verdict}. {o.trouble}{said}"
