"""Counts what the checkers said, and makes the tables of checkers.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from measure import figure, table
from recipes import RIGHT, UNCLEAR, WRONG

LARGE = 0.01


@dataclass(frozen=True)
class Item:
    """A gradient to be checked: of a bug, which entries are wrong, why, and by how much."""

    name: str
    origin: str  # "correct", "planted" or "public"
    family: str  # of problems; that of a bug is not told
    held_out: bool
    wrong: np.ndarray | None = None
    cause: str | None = None
    size: float = 0.0


@dataclass(frozen=True)
class Result:
    """What a checker said of an item. `verdict` is None where it could not be asked."""

    item: Item
    verdict: str | None
    exact: bool | None  # the wrong entries are marked, and no others; None: it marks none
    cause: str | None
    score: float | None
    entries: int
    calls: int
    seconds: float
    trouble: str = ""

    @property
    def false_alarm(self) -> bool:
        return self.item.wrong is None and self.verdict == WRONG

    @property
    def miss(self) -> bool:
        return self.item.wrong is not None and self.verdict == RIGHT


Results = dict[str, list[Result]]


def count(results: Iterable[Result], what: Callable[[Result], object]) -> int:
    return sum(bool(what(result)) for result in results)


def verdict_table(results: Results) -> str:
    """False alarms, misses and the price, a line for each checker."""
    head = ["", "false alarms", "misses", "public", ">= 1 %", "cannot tell", "n/a"]
    head += ["f/entry", "f", "s"]
    return table(head, [_verdict_row(name, each) for name, each in results.items()])


def _verdict_row(name: str, results: list[Result]) -> list[str]:
    missed = [result for result in results if result.miss]
    unclear = [result for result in results if result.verdict == UNCLEAR]
    correct = count(unclear, lambda r: r.item.wrong is None)
    return [
        name,
        str(count(results, lambda r: r.false_alarm)),
        str(len(missed)),
        str(count(missed, lambda r: r.item.origin == "public")),
        str(count(missed, lambda r: r.item.size >= LARGE)),
        f"{correct} + {len(unclear) - correct}",
        str(count(results, lambda r: r.verdict is None)),
        f"{_calls(results, correct=True)}, {_calls(results, correct=False)}",
        str(sum(r.calls for r in results)),
        figure(sum(r.seconds for r in results)),
    ]


def _calls(results: list[Result], correct: bool) -> str:
    """Median over the gradients of the calls for each entry."""
    shares = [r.calls / r.entries for r in results if (r.item.wrong is None) is correct]
    return f"{median(shares):.1f}"


def alarm_table(results: Results) -> str:
    """Where the false alarms come from: a column for each family with any."""
    alarms = {
        name: [r.item.family for r in each if r.false_alarm] for name, each in results.items()
    }
    correct = [r.item.family for r in next(iter(results.values())) if r.item.wrong is None]
    raised = {family for each in alarms.values() for family in each}
    columns = [family for family in dict.fromkeys(correct) if family in raised]
    others = sum(family not in raised for family in correct)
    head = ["", *(f"{family} ({correct.count(family)})" for family in columns)]
    rows = [[name, *(str(each.count(f)) for f in columns), "0"] for name, each in alarms.items()]
    return table([*head, f"all others ({others})"], rows)


def naming_table(results: Results) -> str:
    """Of the errors that were found, those whose entries were marked, all of them and no others."""
    rows = []
    for name, each in results.items():
        marked = [r for r in each if r.exact is not None and r.verdict == WRONG and r.item.cause]
        if marked:
            exact = count(marked, lambda r: r.exact)
            rows.append([name, str(len(marked)), str(exact), _percent(exact, len(marked))])
    return table(["", "errors found", "entries named exactly", "share"], rows)


def cause_table(groups: dict[str, list[Result]]) -> str:
    """What the first cause said of the errors that were found."""
    rows = []
    for name, results in groups.items():
        found = [r for r in results if r.verdict == WRONG and r.item.cause]
        right = count(found, lambda r: r.cause == r.item.cause)
        unknown = count(found, lambda r: r.cause in (None, "UNKNOWN") and r.item.cause != r.cause)
        rows.append([name, *map(str, (len(found), right, len(found) - right - unknown, unknown))])
    return table(["fastgrad", "errors found", "right", "wrong", "unknown"], rows)


def hindsight_table(results: Results) -> str:
    """The fewest mistakes with any threshold, for those who go by one number."""
    rows = []
    for name, each in results.items():
        scored = [r for r in each if r.score is not None]
        if scored:
            limit, alarms, misses = best_threshold(scored)
            rows.append([name, f"{limit:.1e}", str(alarms), str(misses)])
    return table(["", "best threshold", "false alarms", "misses"], rows)


def best_threshold(results: Sequence[Result]) -> tuple[float, int, int]:
    """Of all thresholds the one with the fewest mistakes, and those."""
    scores = np.array([r.score for r in results])
    bug = np.array([r.item.wrong is not None for r in results])
    limits = np.unique(scores[np.isfinite(scores)])
    counts = [(int((scores[~bug] > x).sum()), int((scores[bug] <= x).sum())) for x in limits]
    best = int(np.argmin([alarms + misses for alarms, misses in counts]))
    return float(limits[best]), *counts[best]


def failures(results: Sequence[Result]) -> str:
    """Everything that is not as it should be, by name."""
    kinds: dict[str, Callable[[Result], object]] = {
        "False alarms": lambda r: r.false_alarm,
        "Misses": lambda r: r.miss,
        "Cannot tell, correct": lambda r: r.verdict == UNCLEAR and r.item.wrong is None,
        "Cannot tell, wrong": lambda r: r.verdict == UNCLEAR and r.item.wrong is not None,
        "Not applicable": lambda r: r.verdict is None,
        "Other entries named": lambda r: r.verdict == WRONG and r.item.cause and not r.exact,
        "Other cause named": lambda r: r.verdict == WRONG and r.cause != r.item.cause,
    }
    parts = []
    for kind, what in kinds.items():
        lines = [f"* {_described(r, kind)}" for r in results if what(r)]
        parts.append(f"{kind}: {len(lines) or 'none'}.")
        parts += ["\n".join(lines)] if lines else []
    return "\n\n".join(parts)


def _described(result: Result, kind: str) -> str:
    mark = "" if result.item.held_out else " (tuned on)"
    item = result.item
    if kind == "Other cause named":
        return f"`{item.name}`{mark}: {item.cause}, named {result.cause or 'none'}"
    if item.wrong is not None and kind != "Other entries named":
        return f"`{item.name}`{mark}: {item.cause}, error {item.size:.1g}"
    return f"`{item.name}`{mark}{result.trouble and ': ' + result.trouble}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %"
