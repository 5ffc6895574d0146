"""Words and numbers in few, printable characters, for all renderings."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Any

__all__ = [
    "HEADLINES",
    "compact",
    "count",
    "limit",
    "number",
    "printable",
    "shape",
    "shorten",
    "steps",
    "where",
    "width",
    "worst_first",
    "wrap",
]

HEADLINES = {"RIGHT": "RIGHT", "WRONG": "WRONG", "CANNOT_TELL": "CANNOT TELL"}
_ORDER = ("WRONG", "CANNOT_TELL", "RIGHT")


def printable(text: str) -> str:
    """Line breaks, control characters and lone surrogates as escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """How many columns a terminal needs for it."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, most: int) -> str:
    """Leave out the middle of a long path: both its root and its index matter."""
    text = printable(text)
    if width(text) <= most:
        return text
    tail = (most - 3) // 2
    return _start(text, most - 3 - tail) + "..." + _start(text[::-1], tail)[::-1]


def _start(text: str, most: int) -> str:
    """As much of the beginning as fits."""
    used = 0
    for i, character in enumerate(text):
        used += _columns(character)
        if used > most:
            return text[:i]
    return text


def wrap(text: str, most: int, first: str = "", later: str = "", lines: int = 99) -> list[str]:
    """Lines of `most` columns; words longer than a line are broken, lines too many cut off."""
    done, line = [], first
    empty = True
    for word in printable(text).split():
        if not empty and width(line) + 1 + width(word) > most:
            done.append(line)
            line, empty = later, True
        while width(line) + width(word) + (not empty) > most:
            piece = _start(word, most - width(line))
            done.append(line + piece)
            line, word = later, word[len(piece) :]
        line += word if empty else f" {word}"
        empty = False
    done.append(line)
    if len(done) > lines:
        done = [*done[: lines - 1], _start(done[lines - 1], most - 4) + " ..."]
    return done


def number(value: Any, digits: int = 6) -> str:
    """A number in few characters; what is not finite arrives as a word."""
    return value if isinstance(value, str) else f"{value:.{digits}g}"


def compact(n: int) -> str:
    """A count in at most six characters."""
    if n < 10_000:
        return f"{n:,}"
    for unit, letter in ((10**6, "k"), (10**9, "M"), (10**12, "G")):
        if n < 0.9995 * unit:
            return f"{n * 1000 / unit:.3g}{letter}"
    return f"{n:.2g}"


def count(leaf: Mapping[str, Any]) -> str:
    """How many entries of a leaf are wrong, or cannot be judged."""
    if leaf["blocks"]:
        return f"many of {compact(leaf['entries'])}"
    of = f" of {compact(leaf['entries'])}"
    if leaf["unclear"] and not leaf["wrong"]:
        return f"{compact(leaf['unclear'])} unclear"
    return compact(leaf["wrong"]) + of


def shape(leaf: Mapping[str, Any]) -> str:
    """``4x3``."""
    return "x".join(map(str, leaf["shape"])) or "scalar"


def where(leaf: Mapping[str, Any]) -> str:
    """Index of the worst entry of a leaf, as it follows the leaf's path."""
    worst = leaf["worst"]
    return "-" if worst is None else worst["path"][len(leaf["path"]) :] or "-"


def worst_first(leaves: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Wrong leaves before unclear before right ones, each by their relative error."""
    return sorted(leaves, key=lambda leaf: (_ORDER.index(leaf["verdict"]), -_size(leaf)))


def _size(leaf: Mapping[str, Any]) -> float:
    error = leaf["relative_error"]
    return float("inf") if isinstance(error, str) else float(error)


def limit(report: Mapping[str, Any]) -> str:
    """The detection limit in a sentence."""
    throughout = any(leaf["blocks"] for leaf in report["leaves"])
    if throughout and not report["detection_limit"]:
        return "other errors were not looked for"
    if report["n_unclear"] == report["n_judged"] > 0 or not report["detection_limit"]:
        return "no entry could be judged"
    some = "judged " if report["n_unclear"] else ""
    if throughout:
        some = "other "
    smallest = number(report["detection_limit"], 1)
    sure = f" with {1 - report['miss_probability']:.0%} certainty"
    seen = "would have been seen" + sure * (report["miss_probability"] > 0)
    return f"an error above {smallest} in any one {some}entry {seen}"


def steps(report: Mapping[str, Any]) -> str:
    """The relative step of the first differences, or its range over the leaves."""
    if not report["steps"]:
        return ""
    ends = dict.fromkeys(number(end(report["steps"]), 1) for end in (min, max))
    return f", relative step {' to '.join(ends)}"
