"""A report as text for a terminal: from the values of `Report.to_dict` alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fastgrad._report.causes import Cause
from fastgrad._report.format import (
    HEADLINES,
    compact,
    compared,
    count,
    derivative_named,
    entries_in_words,
    facts,
    headline_of,
    number,
    relative_error,
    shape,
    shorten,
    two_numbers,
    where,
    width,
    worst_first,
    wrap,
    wrong_count,
)
from fastgrad._report.names import NAME, Names, names_of
from fastgrad._words import counted

__all__ = ["as_headline", "as_line", "as_text"]

# Whatever is in it, a report fits a terminal of 80 columns and 40 lines; a usual one has 24 lines.
WIDTH = 80
MOST_CAUSES = 3
MOST_LEAVES = 9
LEAF_HEADER = ("shape", "wrong", "rel. error", "worst", "verdict")
MOST_NAMED = 6  # of the arrays of a right gradient
MOST_ENTRIES = 6
SHORT_NAME = 24  # the same in pytest's summary, beside the name of the test
REASON = 120  # columns of a reason in one line
NARROWEST = 9  # columns that a path keeps however wide the other cells are

Row = Sequence[str]
Values = Mapping[str, Any]


def as_text(report: Values) -> str:
    """One screen: the verdict and its reason, causes, parameters, worst entries, the run."""
    # A name is the same in all parts: as long as the table of parameters has room for.
    names = names_of(report, min(NAME, _room(LEAF_HEADER, _leaf_rows(report["leaves"]))))
    reason = names.within(report["reason"])
    parts = [wrap(f"{HEADLINES[report['verdict']]}: {reason}", WIDTH, lines=5)]
    if report["verdict"] == "RIGHT":
        # A right gradient takes a few lines: in a loop of checks they should pass by.
        parts.append(_passed(report["leaves"], names) + _facts(report, names))
    else:
        parts += [_causes(report, names), _leaves(report["leaves"], names)]
        # Beside wrong entries two unclear ones will do.
        shown = _entries("wrong", report, names, MOST_ENTRIES)
        parts += [shown, _entries("unclear", report, names, 2 if shown else MOST_ENTRIES)]
        parts.append(_facts(report, names))
    return "\n\n".join("\n".join(part) for part in parts if part)


def as_line(report: Values) -> str:
    """One line: the verdict, the beginning of the reason, and what the check cost."""
    said = [
        f"{HEADLINES[report['verdict']]}: {_short_reason(report)}",
        entries_in_words(report),
        counted(report["evaluations"], "evaluation"),
    ]
    return "; ".join((said[0], ", ".join(said[1:])))


def as_headline(report: Values) -> str:
    """The verdict in few columns: of a wrong gradient the worst entry comes first."""
    headline = HEADLINES[report["verdict"]]
    if not report["wrong"]:
        return f"{headline}: {_short_reason(report)}"
    worst = report["wrong"][0]
    name = names_of(report).entry(worst["path"], worst["leaf"], SHORT_NAME, worst["output"])
    return f"{headline}: {name}, {wrong_count(report)}"


def _short_reason(report: Values) -> str:
    return wrap(names_of(report).within(report["reason"]), REASON, lines=1)[0]


def table(header: Row, rows: Sequence[Row], left: int = 1) -> list[str]:
    """Columns as wide as their widest cell; the first `left` aligned left, the others right."""
    cells = [header, *rows]
    widths = [max(width(row[i]) for row in cells) for i in range(len(header))]
    lines = []
    for row in cells:
        pairs = enumerate(zip(row, widths, strict=True))
        padded = (_pad(cell, wide, left=i < left) for i, (cell, wide) in pairs)
        lines.append("  " + "  ".join(padded).rstrip())
    return lines


def _pad(cell: str, wide: int, *, left: bool) -> str:
    space = " " * (wide - width(cell))
    return cell + space if left else space + cell


def _passed(leaves: Sequence[Values], names: Names) -> list[str]:
    """Name the arrays that were checked; of a right gradient nothing else is of interest."""
    if not leaves:
        return []
    # Of thousands only the first fit the lines, and are named.
    named = [f"{names.short(leaf['path'])} {shape(leaf)}" for leaf in leaves[:MOST_NAMED]]
    among = ", among them" * (len(named) < len(leaves))
    of = "parameter" if leaves[0]["output"] is None else "block"
    said = f"{counted(len(leaves), of)}{among}: {', '.join(named)}"
    return wrap(said, WIDTH, "  ", "  ", lines=3)


def _causes(report: Values, names: Names) -> list[str]:
    if report["verdict"] != "WRONG" or not report["causes"]:
        return []
    lines = []
    for cause in report["causes"][:MOST_CAUSES]:
        lines += wrap(names.within(cause["sentence"]), WIDTH, "  * ", "    ", lines=2)
    left_out = len(report["causes"]) - MOST_CAUSES
    if left_out > 0:
        lines.append(f"    and {left_out:,} more in report.causes")
    return ["likely cause", *lines, *wrap(_next(report), WIDTH, "  next: ", "    ", lines=2)]


def _next(report: Values) -> str:
    advice = Cause[report["causes"][0]["kind"]].advice
    return derivative_named(advice, report["derivative"])


def _leaves(leaves: Sequence[Values], names: Names) -> list[str]:
    if not leaves:
        return []
    shown, rows = _shown(leaves), _leaf_rows(leaves)
    named = [(names.short(leaf["path"]), *row) for leaf, row in zip(shown, rows, strict=True)]
    of = "parameter" if leaves[0]["output"] is None else "block"
    return table((of, *LEAF_HEADER), named) + _left_out(leaves, shown)


def _shown(leaves: Sequence[Values]) -> Sequence[Values]:
    if len(leaves) <= MOST_LEAVES:
        return leaves
    return worst_first(list(leaves))[:MOST_LEAVES]


def _leaf_rows(leaves: Sequence[Values]) -> list[Row]:
    """What is said of the leaves that are shown, without their names."""
    return [
        (
            shorten(shape(leaf), 12),
            count(leaf),
            relative_error(leaf),
            shorten(where(leaf), 12 if leaf["output"] is None else 20),
            headline_of(leaf).lower(),
        )
        for leaf in _shown(leaves)
    ]


def _room(header: Row, rows: Sequence[Row]) -> int:
    """What the other columns leave to the names in the first one."""
    taken = sum(max(map(width, column)) + 2 for column in zip(header, *rows, strict=True))
    return max(NARROWEST, WIDTH - 2 - taken)


def _left_out(leaves: Sequence[Values], shown: Sequence[Values]) -> list[str]:
    """How many leaves are not shown, by verdict."""
    counts = Counter(dict.fromkeys(HEADLINES.values(), 0))
    counts.update(map(headline_of, leaves))
    counts.subtract(map(headline_of, shown))
    rest = ", ".join(f"{n:,} {headline.lower()}" for headline, n in counts.items() if n)
    return [f"  and more: {rest}"] if rest else []


def _entries(kind: str, report: Values, names: Names, most: int) -> list[str]:
    shown = report[kind][:most]
    if not shown:
        return []
    header = (*compared(report), "+/-")
    rows = [
        (*two_numbers(entry["analytic"], entry["numeric"], 9), number(entry["uncertainty"], 1))
        for entry in shown
    ]
    room = _room(header, rows)
    named = [
        (names.entry(entry["path"], entry["leaf"], room, entry["output"]), *row)
        for entry, row in zip(shown, rows, strict=True)
    ]
    total = report[f"n_{kind}"]
    title = f"{kind} entries, worst first" if total > 1 else f"{kind} entry"
    if total > len(shown):
        title = f"worst of {compact(total)} {kind} entries"
    return table((title, *header), named)


def _facts(report: Values, names: Names) -> list[str]:
    told = (names.within(each) for each in facts(report))
    return [line for each in told for line in wrap(each, WIDTH, "  ", "  ")]
