"""Words, numbers, sentences and JSON values, as text, page and figure share them."""

from __future__ import annotations

import dataclasses
import math
import re
import unicodedata
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

from fastgrad._words import counted

__all__ = [
    "HEADLINES",
    "compact",
    "count",
    "facts",
    "limit",
    "number",
    "printable",
    "shape",
    "shorten",
    "steps",
    "to_json",
    "two_numbers",
    "where",
    "width",
    "worst_first",
    "wrap",
]

# By the names of verdicts: renderings have JSON values alone, and no enumeration.
HEADLINES = {"RIGHT": "RIGHT", "WRONG": "WRONG", "CANNOT_TELL": "CANNOT TELL"}
# An index is one word: ``W[3, 2]:`` is not broken.
_WORDS = re.compile(r"\S*?\[\d+(?:, \d+)*\]\S*|\S+")
_ORDER = ("WRONG", "CANNOT_TELL", "RIGHT")


def printable(text: str) -> str:
    """Line breaks, control characters and lone surrogates as escapes."""
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def width(text: str) -> int:
    """Number of columns that the text takes in a terminal."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def shorten(text: str, most: int) -> str:
    """Leave out the middle of a path that is too long: its root and its index both matter."""
    text = printable(text)
    if width(text) <= most:
        return text
    tail = (most - 3) // 2
    return _start(text, most - 3 - tail) + "..." + _start(text[::-1], tail)[::-1]


def _start(text: str, most: int) -> str:
    """The longest beginning that fits into `most` columns."""
    used = 0
    for i, character in enumerate(text):
        used += _columns(character)
        if used > most:
            return text[:i]
    return text


def wrap(
    text: str, most: int, first: str = "", later: str = "", lines: int | None = None
) -> list[str]:
    """Break a text into lines of at most `most` columns, and cut it off after `lines` lines.

    A word longer than a line is broken.
    """
    done, line = [], first
    empty = True
    for word in _WORDS.findall(printable(text)):
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
    if lines and len(done) > lines:
        done = [*done[: lines - 1], _cut(done[lines - 1], most - 4) + " ..."]
    return done


def _cut(line: str, most: int) -> str:
    """The beginning of a line, up to the end of a word where it has more than one."""
    start = _start(line, most)
    if start == line or line[len(start)] == " ":
        return start.rstrip()
    whole = start.rpartition(" ")[0].rstrip()
    return whole or start


def number(value: Any, digits: int = 6) -> str:
    """A number in few characters; an infinity or NaN is a word already (see `to_json`)."""
    return value if isinstance(value, str) else f"{value:.{digits}g}"


def two_numbers(a: Any, b: Any, digits: int = 6) -> tuple[str, str]:
    """Two numbers with so many digits that numbers that differ look different.

    Their difference is seen to two digits; it takes 17 to tell any two floats apart.
    """
    if not (isinstance(a, str) or isinstance(b, str)) and math.isfinite(a) and math.isfinite(b):
        a, b = float(a), float(b)
        if a != b:  # their difference may overflow, and is infinite then
            ratio = max(abs(a), abs(b)) / abs(a - b)
            digits = max(digits, min(17, math.ceil(math.log10(max(ratio, 1.0))) + 2))
    return number(a, digits), number(b, digits)


def compact(n: int) -> str:
    """A count in at most six characters."""
    if n < 10_000:
        return f"{n:,}"
    for unit, letter in ((10**6, "k"), (10**9, "M"), (10**12, "G")):
        # Below what three digits would round up to the next letter.
        if n < 0.9995 * unit:
            return f"{n * 1000 / unit:.3g}{letter}"
    return f"{n:.2g}"


def count(leaf: Mapping[str, Any]) -> str:
    """How many entries of a leaf are wrong, or cannot be judged."""
    if leaf["blocks"]:  # a probe did not count them
        return f"many of {compact(leaf['entries'])}"
    of = f" of {compact(leaf['entries'])}"
    if leaf["unclear"] and not leaf["wrong"]:
        return f"{compact(leaf['unclear'])} unclear"
    return compact(leaf["wrong"]) + of


def shape(leaf: Mapping[str, Any]) -> str:
    """The shape of a leaf in the form ``4x3``."""
    return "x".join(map(str, leaf["shape"])) or "scalar"


def where(leaf: Mapping[str, Any]) -> str:
    """Index of the worst entry of a leaf, as it follows the leaf's path."""
    worst = leaf["worst"]
    return "-" if worst is None else worst["path"][len(leaf["path"]) :] or "-"


def worst_first(leaves: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Wrong leaves first, then unclear ones, then right ones; each by relative error."""
    return sorted(leaves, key=lambda leaf: (_ORDER.index(leaf["verdict"]), -_size(leaf)))


def _size(leaf: Mapping[str, Any]) -> float:
    error = leaf["relative_error"]
    return float("inf") if isinstance(error, str) else float(error)


def facts(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """Three sentences: the check's cost, what repeats it, and its detection limit."""
    return (
        f"{counted(report['n_entries'], 'entry')}, "
        f"{counted(report['evaluations'], 'evaluation')} of f in "
        f"{report['seconds']:.2g} s ({report['strategy']}, {report['backend']} kernel)",
        f"seed {report['seed']}, noise of f {number(report['noise'], 1)}{steps(report)}, "
        f"relative error {number(report['relative_error'], 2)}",
        limit(report),
    )


def limit(report: Mapping[str, Any]) -> str:
    """The detection limit in a sentence."""
    # A block that is wrong throughout hides the other errors in it.
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


# -------------------------------------------------------------------------------- JSON values


def to_json(value: Any) -> Any:
    """A result as JSON-ready values; infinities and NaN become words, since JSON has none."""
    if isinstance(value, Enum):
        return value.name  # the value is a sentence, which may be reworded
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: to_json(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): to_json(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [to_json(each) for each in value]
    return _array(value) if isinstance(value, (np.ndarray, np.generic)) else _scalar(value)


def _array(value: np.ndarray | np.generic) -> Any:
    if value.dtype.kind in "fc":  # `tolist` leaves a longdouble as it is, and JSON knows none
        value = value.astype(np.float64 if value.dtype.kind == "f" else np.complex128)
    return to_json(value.tolist())


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
