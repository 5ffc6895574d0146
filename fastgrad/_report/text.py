"""A report as text for a terminal: from the values of `Report.to_dict` alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastgrad._report.causes import Cause
from fastgrad._report.format import (
    HEADLINES,
    compact,
    count,
    facts,
    number,
    shape,
    shorten,
    where,
    width,
    worst_first,
    wrap,
)

__all__ = ["as_text"]

# Whatever is in it, a report fits a terminal of 80 columns and 40 lines; a usual one has 24 lines.
WIDTH = 80
MOST_CAUSES = 3
MOST_LEAVES = 9
MOST_ENTRIES = 6
LONGEST = 48  # columns of a word in the reason: a longer one is a path, and is shortened
NARROWEST = 9  # columns that a path keeps however wide the other cells are

Row = Sequence[str]
Values = Mapping[str, Any]


def as_text(report: Values) -> str:
    """One screen: the verdict and its reason, causes, parameters, worst entries, the run."""
    reason = " ".join(shorten(word, LONGEST) for word in report["reason"].split())
    parts = [wrap(f"{HEADLINES[report['verdict']]}: {reason}", WIDTH, lines=5)]
    if report["verdict"] == "RIGHT":
        # A right gradient takes a few lines: in a loop of checks they should pass by.
        parts.append(_passed(report["leaves"]) + _facts(report))
    else:
        parts += [_causes(report), _leaves(report["leaves"])]
        # Beside wrong entries two unclear ones will do.
        shown = _entries("wrong", report, MOST_ENTRIES)
        parts += [shown, _entries("unclear", report, 2 if shown else MOST_ENTRIES)]
        parts.append(_facts(report))
    return "\n\n".join("\n".join(part) for part in parts if part)


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


def _passed(leaves: Sequence[Values]) -> list[str]:
    """Name the arrays that were checked; of a right gradient nothing else is of interest."""
    if not leaves:
        return []
    names = [f"{shorten(leaf['path'], 24)} {shape(leaf)}" for leaf in leaves]
    said = f"{len(leaves):,} parameter{'s' * (len(leaves) > 1)}: {', '.join(names)}"
    return wrap(said, WIDTH, "  ", "  ", lines=2)


def _causes(report: Values) -> list[str]:
    if report["verdict"] != "WRONG" or not report["causes"]:
        return []
    lines = []
    for cause in report["causes"][:MOST_CAUSES]:
        leaf = cause["leaf"]
        sentence = cause["sentence"].replace(f"`{leaf}`", f"`{shorten(leaf, 40)}`")
        lines += wrap(sentence, WIDTH, "  * ", "    ", lines=2)
    left_out = len(report["causes"]) - MOST_CAUSES
    if left_out > 0:
        lines.append(f"    and {left_out:,} more in report.causes")
    return ["likely cause", *lines, *wrap(_next(report), WIDTH, "  next: ", "    ", lines=2)]


def _next(report: Values) -> str:
    return Cause[report["causes"][0]["kind"]].advice


def _leaves(leaves: Sequence[Values]) -> list[str]:
    if not leaves:
        return []
    shown = list(leaves) if len(leaves) <= MOST_LEAVES else worst_first(list(leaves))[:MOST_LEAVES]
    rows = [
        (
            shorten(shape(leaf), 12),
            count(leaf),
            number(leaf["relative_error"], 2),
            shorten(where(leaf), 12),
            HEADLINES[leaf["verdict"]].lower(),
        )
        for leaf in shown
    ]
    header = ("shape", "wrong", "rel. error", "worst", "verdict")
    # The path gets what the other columns leave.
    taken = sum(max(map(len, column)) + 2 for column in zip(header, *rows, strict=True))
    room = max(NARROWEST, WIDTH - 2 - taken)
    named = [(shorten(leaf["path"], room), *row) for leaf, row in zip(shown, rows, strict=True)]
    return table(("parameter", *header), named) + _left_out(leaves, shown)


def _left_out(leaves: Sequence[Values], shown: Sequence[Values]) -> list[str]:
    """How many leaves are not shown, by verdict."""
    counts = dict.fromkeys(HEADLINES, 0)
    for leaf in leaves:
        counts[leaf["verdict"]] += 1
    for leaf in shown:
        counts[leaf["verdict"]] -= 1
    rest = ", ".join(f"{n:,} {HEADLINES[verdict].lower()}" for verdict, n in counts.items() if n)
    return [f"  and more: {rest}"] if rest else []


def _entries(kind: str, report: Values, most: int) -> list[str]:
    shown = report[kind][:most]
    if not shown:
        return []
    rows = [
        (
            shorten(entry["path"], 31),
            number(entry["analytic"], 9),
            number(entry["numeric"], 9),
            number(entry["uncertainty"], 1),
        )
        for entry in shown
    ]
    total = report[f"n_{kind}"]
    title = f"{kind} entries, worst first"
    if total > len(shown):
        title = f"worst of {compact(total)} {kind} entries"
    return table((title, "analytic", "numeric", "+/-"), rows)


def _facts(report: Values) -> list[str]:
    return [line for each in facts(report) for line in wrap(each, WIDTH, "  ", "  ")]
