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
    "ORDER",
    "compact",
    "compared",
    "count",
    "derivative_named",
    "entries_in_words",
    "facts",
    "headline_of",
    "is_left_out",
    "limit",
    "number",
    "printable",
    "relative_error",
    "shape",
    "shorten",
    "steps",
    "to_json",
    "two_numbers",
    "where",
    "width",
    "worst_first",
    "wrap",
    "wrong_count",
]

# By the names of verdicts: renderings have JSON values alone, and no enumeration.
HEADLINES = {"RIGHT": "RIGHT", "WRONG": "WRONG", "CANNOT_TELL": "CANNOT TELL"}
# Of an array of which `where` chose no entry.
_NOT_JUDGED = "NOT JUDGED"
# An index is one word: ``W[3, 2]:`` is not broken.
_WORDS = re.compile(r"\S*?\[\d+(?:, \d+)*\]\S*|\S+")
# Of an array that is right, a relative error above this is one of zeros but for rounding or of a
# kink: else its error bar, which holds the error, is below a tenth of it (`POWER_LEAF`).
_MEANINGLESS = 0.1
# Limits are printed to one digit; the worst is told apart from the typical one a decade above it.
_MIXED = 10.0
# Verdicts, the worst first.
ORDER = ("WRONG", "CANNOT_TELL", "RIGHT")
# What is said of gradients by complex parameters, said of complex outputs.
_OF_MATRICES = {
    " df/dRe + i df/dIm": "",
    ": another convention": "",
    ", as where the convention is half of": "",
    "return df/dRe + 1j * df/dIm, or conjugate the gradient before the check": (
        "look for a conjugate that is missing or too much, as in .T for .conj().T"
    ),
}


def derivative_named(text: str, derivative: str) -> str:
    """A sentence on gradients, said of a derivative of another name."""
    if derivative == "adjoint":  # no difference is taken
        text = text.replace("the finite differences", "`forward`").replace(
            "analytic gradient", "adjoint"
        )
        text = text.replace("terms of the cost", "terms of the map")
    if derivative in ("Jacobian", "Hessian"):  # by real parameters there is one convention
        for of_gradients, of_matrices in _OF_MATRICES.items():
            text = text.replace(of_gradients, of_matrices)
    return text if derivative == "gradient" else text.replace("gradient", derivative)


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


def headline_of(leaf: Mapping[str, Any]) -> str:
    """The verdict on a leaf in capitals."""
    return _NOT_JUDGED if is_left_out(leaf) else HEADLINES[leaf["verdict"]]


def is_left_out(leaf: Mapping[str, Any]) -> bool:
    """Whether `where` chose none of the entries of a leaf."""
    return leaf.get("chosen") == 0 and bool(leaf["entries"])


def count(leaf: Mapping[str, Any]) -> str:
    """How many entries of a leaf are wrong, or cannot be judged."""
    if is_left_out(leaf):
        return "-"
    if leaf["unclear"] and not (leaf["wrong"] or leaf["blocks"]):
        return f"{compact(leaf['unclear'])} unclear"
    # A probe did not count those in blocks that are wrong throughout.
    wrong = "many" if leaf["blocks"] else compact(leaf["wrong"])
    return f"{wrong} of {compact(leaf['entries'])}"


def wrong_count(report: Mapping[str, Any]) -> str:
    """How many of all entries are wrong."""
    wrong = "many" if _has_blocks(report) else f"{report['n_wrong']:,}"
    return f"{wrong} of {counted(report['n_entries'], 'entry')}"


def entries_in_words(report: Mapping[str, Any]) -> str:
    """How many entries were looked at, and of how many where others were left out."""
    entries = counted(report["n_entries"], "entry")
    chosen = report.get("n_chosen", report["n_entries"])
    return entries if chosen == report["n_entries"] else f"{chosen:,} of {entries}"


def _has_blocks(report: Mapping[str, Any]) -> bool:
    """Whether a probe found a block that is wrong throughout, whose entries it did not count."""
    return any(leaf["blocks"] for leaf in report["leaves"])


def shape(leaf: Mapping[str, Any]) -> str:
    """The shape of a leaf in the form ``4x3``."""
    return "x".join(map(str, leaf["shape"])) or "scalar"


def where(leaf: Mapping[str, Any]) -> str:
    """Index of the worst entry of a leaf, as it follows the leaf's path."""
    worst = leaf["worst"]
    alike = leaf["relative_error"] == 0 or leaf["unclear"] == leaf["entries"] > 1
    if worst is None or alike:  # none is worse than others
        return "-"
    output, name = worst.get("output"), worst["leaf"]
    if output is None:
        return worst["path"][len(leaf["path"]) :] or "-"
    # Of a block: that of the output, and that of the parameter.
    mine = output[len(leaf["path"]) - len(f" / {name}") :]
    theirs = worst["path"][len(f"{output} / {name}") :]
    return f"{mine or '-'} / {theirs or '-'}" if mine or theirs else "-"


def compared(report: Mapping[str, Any]) -> tuple[str, str]:
    """What the two columns of numbers hold."""
    is_adjoint = report.get("derivative") == "adjoint"
    return ("adjoint", "forward") if is_adjoint else ("analytic", "numeric")


def worst_first(leaves: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Wrong leaves first, then unclear ones, then right ones, then others; by relative error."""

    def rank(leaf: Mapping[str, Any]) -> tuple[int, float]:
        last = is_left_out(leaf)
        return len(ORDER) if last else ORDER.index(leaf["verdict"]), -_size(leaf)

    return sorted(leaves, key=rank)


def _size(leaf: Mapping[str, Any]) -> float:
    error = leaf["relative_error"]
    return float("inf") if isinstance(error, str) else float(error)


def relative_error(of: Mapping[str, Any]) -> str:
    """The relative error of a leaf or report; a dash where it says nothing.

    Zeros but for rounding, or a kink, are right and have any relative error.
    """
    error = of["relative_error"]
    if of["verdict"] == "RIGHT" and not isinstance(error, str) and error > _MEANINGLESS:
        return "-"
    if "entries" in of and is_left_out(of):
        return "-"
    return number(error, 2)


def facts(report: Mapping[str, Any]) -> list[str]:
    """Sentences: the check's cost, what its numbers go by, and its detection limit."""
    derivative = report.get("derivative", "gradient")
    said, noise = f"seed {report['seed']}, ", number(report["noise"], 1)
    if derivative == "adjoint":
        of, how = "both maps", report["strategy"]
        said += f"both are linear to a relative {noise}" if noise != "nan" else "not judged"
    else:
        of = report.get("function", "f")
        how = f"{report['strategy']}, {report['backend']} kernel"
        said += f"noise of {of} {noise}{steps(report)}"
    error = relative_error(report)
    # Where nothing could be judged, as of a map that is not linear, no error is known.
    if error != "-" and not (derivative == "adjoint" and error == "nan"):
        whole = "the worst array" if report["strategy"] == "probe" else f"the {derivative}"
        said += f", rel. error of {whole} {error}"
    return [
        f"{entries_in_words(report)}, {counted(report['evaluations'], 'evaluation')} of {of} in "
        f"{report['seconds']:.2g} s ({how})",
        said,
        limit(report),
    ]


def limit(report: Mapping[str, Any]) -> str:
    """The detection limit in a sentence."""
    throughout = _has_blocks(report)  # such a block hides the other errors in it
    none = report["detection_limit"] in (0.0, "inf")  # reports of 0.1 have zero
    located = report.get("derivative") == "adjoint" and report["n_wrong"]
    if none and (throughout or located):
        return "other errors were not looked for"
    if report["n_unclear"] == report["n_judged"] > 0 or none:
        return "no entry could be judged"
    some = "judged " if report["n_unclear"] else ""
    if throughout:
        some = "other "
    entry = "entry of the product" if report.get("derivative") == "product" else "entry"
    worst, typical = (number(report[key], 1) for key in ("detection_limit", "typical_limit"))
    sure = f" with {1 - report['miss_probability']:.0%} certainty"
    seen = "would have been seen" + sure * (report["miss_probability"] > 0)
    if report["detection_limit"] > _MIXED * float(report["typical_limit"]):
        where = report["limit_at"]
        return f"errors above {typical} in a typical {some}{entry}, {worst} in {where}, {seen}"
    return f"an error above {worst} in any one {some}{entry} {seen}"


def steps(report: Mapping[str, Any]) -> str:
    """The relative step of the first differences, or its range over the leaves."""
    if not report["steps"]:
        return ""
    ends = dict.fromkeys(number(end(report["steps"]), 1) for end in (min, max))
    return f", rel. step {' to '.join(ends)}"


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
