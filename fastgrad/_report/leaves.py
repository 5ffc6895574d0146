"""What was found in one parameter array, and its columns as arrays of its shape."""

# Without `annotations` from `__future__`, for the reason given in `causes.py`.

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._report.entries import Entries, Entry, LeafSpan, Verdict

__all__ = [
    "LeafReport",
    "as_array",
    "as_columns",
    "columns_of",
    "detection_limit",
    "granted",
    "leaf_report",
    "limits",
]


@dataclass(frozen=True)
class LeafReport:
    """What was found in one parameter array, or in one block of a Jacobian.

    Attributes
    ----------
    path : str
        Path of the array.
    shape : tuple of int
    dtype : str
    entries, wrong, unclear : int
        Number of real numbers in the array (two for a complex entry), and how many of them are
        wrong or cannot be judged. With `where`, all numbers of the array are counted.
    relative_error : float
        ``|a - d| / (|a| + |d|)`` in the Euclidean norm over the array, where `a` is the analytic
        and `d` the numeric gradient; an estimate after a probe.
    worst : Entry, optional
        The judged entry with the largest error, of the wrong ones where there are any; None if
        there is none.
    verdict : Verdict
        CANNOT_TELL too where `where` chose no entry, so that nothing was judged.
    judged : int
        Number of entries that were judged one by one: after a probe some, otherwise all, or those
        that `where` chose.
    blocks : tuple of str
        Blocks that a probe found wrong throughout; only some of their entries were judged.
    limit : float
        Smallest error that the check would have seen in every single entry; infinite if no entry
        was judged, or if errors beside those that were found were not looked for.
    typical_limit : float
        The same for a typical entry: the median over the entries that were judged, or `limit` after
        a probe.
    output : str, optional
        Path of the array that `f` returned, of a block of a Jacobian.
    chosen : int, optional
        How many of the entries `where` chose; all of them without it.
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    path: str
    shape: tuple[int, ...]
    dtype: str
    entries: int
    wrong: int
    unclear: int
    relative_error: float
    worst: Entry | None
    verdict: Verdict
    judged: int
    blocks: tuple[str, ...]
    limit: float
    typical_limit: float = math.nan  # in pickles of 0.1
    output: str | None = None
    chosen: int | None = None  # in pickles of earlier versions


def leaf_report(
    span: LeafSpan, entries: Entries, rtol: float = 0.0, atol: float = 0.0
) -> LeafReport:
    """Count the entries of one leaf by verdict, and measure their errors."""
    mine = slice(span.start, span.stop)
    codes, analytic, numeric = entries.codes[mine], entries.analytic[mine], entries.numeric[mine]
    wrong, unclear = (
        int((codes == verdict.code).sum()) for verdict in (Verdict.WRONG, Verdict.CANNOT_TELL)
    )
    left_out = span.size == 0 < span.whole
    verdict = Verdict.RIGHT
    if wrong or unclear or left_out:
        verdict = Verdict.WRONG if wrong else Verdict.CANNOT_TELL
    probe, apart = span.probe, _backend.kernel.norm_error
    typical, largest = _leaf_limits(span, entries, rtol, atol)
    return LeafReport(
        path=span.path,
        shape=span.shape,
        dtype=span.dtype,
        entries=span.whole,
        wrong=wrong,
        unclear=unclear,
        relative_error=probe.relative_error if probe else apart(analytic, numeric),
        worst=_worst(span, entries),
        verdict=probe.verdict if probe and not left_out else verdict,
        judged=len(codes),
        blocks=probe.blocks if probe else (),
        limit=largest,
        typical_limit=typical,
        output=span.output,
        chosen=span.size,
    )


def _leaf_limits(span: LeafSpan, entries: Entries, rtol: float, atol: float) -> tuple[float, float]:
    if span.probe is None:
        return limits(granted(entries, rtol, atol, slice(span.start, span.stop)))
    # A limit of zero says that other errors were not looked for.
    known = span.probe.limit > 0 and span.probe.verdict is not Verdict.CANNOT_TELL
    limit = span.probe.limit if known else math.inf
    return limit, limit


def limits(allowed: np.ndarray) -> tuple[float, float]:
    """The errors that a typical and the worst of the judged entries hide; infinite if none is."""
    allowed = allowed[allowed < np.inf]
    if not len(allowed):
        return math.inf, math.inf
    with np.errstate(over="ignore"):  # the sum of two of them
        return float(np.median(allowed)), float(allowed.max())


def granted(entries: Entries, rtol: float, atol: float, rows: slice = slice(None)) -> np.ndarray:
    """How far entries may be off, by error bar and tolerance; infinite where none was judged."""
    allowed = entries.uncertainty[rows]
    if rtol or atol:
        with np.errstate(over="ignore", invalid="ignore"):
            allowed = allowed + atol + rtol * np.abs(entries.numeric[rows])
    judged = entries.codes[rows] != Verdict.CANNOT_TELL.code
    return np.where(judged & (allowed < np.inf), allowed, math.inf)


def detection_limit(entries: Entries, rtol: float, atol: float) -> float:
    """The largest limit of the leaves in which something was judged; infinite if nothing was."""
    found = (_leaf_limits(span, entries, rtol, atol)[1] for span in entries.spans)
    return max((limit for limit in found if limit < math.inf), default=math.inf)


def _worst(span: LeafSpan, entries: Entries) -> Entry | None:
    """The judged entry of a leaf with the largest error; one that is not a number comes first.

    Of wrong entries it is the one that `Entries.only` puts first.
    """
    if span.start == span.stop:
        return None
    mine = slice(span.start, span.stop)
    with np.errstate(invalid="ignore"):
        errors = np.abs(entries.analytic[mine] - entries.numeric[mine])
    errors = np.nan_to_num(errors, nan=np.inf)
    wrong = entries.codes[mine] == Verdict.WRONG.code
    if wrong.any():  # a large entry that is right may be off by more; in the order of `wrong`
        with np.errstate(invalid="ignore"):  # where both are infinite
            beyond = np.nan_to_num(errors - entries.uncertainty[mine], nan=np.inf)
        errors = np.where(wrong, beyond, -np.inf)
    return entries[span.start + int(np.argmax(errors))]


def as_array(column: np.ndarray, span: LeafSpan, missing: float) -> np.ndarray:
    """A column's values of one leaf in the leaf's shape."""
    values = column[span.start : span.stop]
    if span.numbers is not None:
        values = np.full(span.whole, missing)
        values[span.numbers] = column[span.start : span.stop]
    values = values.astype(np.float64)  # a copy: it is the user's to write into
    return (values.view(np.complex128) if span.is_complex else values).reshape(span.shape)


def columns_of(entries: Entries) -> list[list[np.ndarray]]:
    """Those of `as_columns`, of each leaf."""
    return [as_columns(entries, span) for span in entries.spans]


def as_columns(entries: Entries, span: LeafSpan) -> list[np.ndarray]:
    """Analytic, numeric and codes of a leaf, in its order; NaN where an entry was not judged."""
    mine = slice(span.start, span.stop)
    columns = [column[mine] for column in (entries.analytic, entries.numeric, entries.codes)]
    if span.numbers is None:
        return columns
    # A picture draws no NaN, whatever its code.
    blanks: tuple[Any, ...] = (np.nan, np.nan, Verdict.RIGHT.code)
    full = [np.full(span.whole, blank) for blank in blanks]
    for column, place in zip(columns, full, strict=True):
        place[span.numbers] = column
    return full
