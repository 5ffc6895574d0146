"""Whether the values of a leaf, or of a part of it, are the right ones of another place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from fastgrad._checks.case import Case, moved_gain
from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.places import box_text, runs
from fastgrad._checks.relations import Relation, is_round
from fastgrad._leaf import Box
from fastgrad._report.causes import Cause

__all__ = ["Elsewhere", "Found", "copied", "exchanged"]

# A part that stands this many entries beside its own place is shifted: an index is off by a few.
_FEW = 3
# Candidates, by their first entries, that are compared as a whole.
_MOST = 16
# One number that equals another one is told among at least this many different ones.
_FEWEST = 3
# Digits by which numbers are told apart: differences of doubles have six or more.
_DIGITS = 5
# The golden ratio, less one: no two numbers of few digits lie in one line that is so inclined.
_SLANT = 0.6180339887498949

# A relation, and the boxes that it is one of: none where it holds entry by entry.
Found: TypeAlias = tuple[Relation, tuple[Box, ...]]


class Elsewhere:
    """All leaves, found by the first of their numeric values."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._by_size: dict[int, tuple[list[Case], np.ndarray, np.ndarray]] = {}
        groups: dict[int, list[Case]] = {}
        for case in cases:
            if case.size and not case.sampled:
                groups.setdefault(case.size, []).append(case)
        for size, group in groups.items():
            firsts = np.array([case.numeric.flat[0] for case in group])
            bounds = np.array([case.bound.flat[0] for case in group])
            self._by_size[size] = group, firsts, bounds

    def holder(self, case: Case) -> Relation | None:
        """The relation to another leaf whose gradient this leaf holds, if there is one."""
        group, firsts, bounds = self._by_size.get(case.size, ([], None, None))
        if len(group) < 2 or firsts is None or bounds is None or not case.known.all():
            return None
        near = (
            np.abs(firsts - case.analytic.flat[0])
            <= SAFETY * bounds + case.allowed(case.numeric).flat[0]
        )
        for k in np.flatnonzero(near)[:_MOST]:
            other = group[k]
            if other is not case and other.known.all() and _holds(case, other, len(group)):
                back = _holds(other, case, len(group))
                if not back and _may_be_chance(case.analytic, firsts):
                    continue
                words = f"holds the gradient of `{other.path}`"
                return Relation(
                    Cause.SWAPPED,
                    words + (", and the other way round" if back else ""),
                    lambda c: (c.analytic, 1.0),
                    evidence={"with": other.path},
                )
        return None


def _holds(case: Case, other: Case, ways: int) -> bool:
    shape = case.analytic.shape
    gain = moved_gain(case, other.own_bound.reshape(shape))
    return case.fits(other.numeric.reshape(shape), gain, ways=ways)


def exchanged(case: Case, wrong: np.ndarray) -> Found | None:
    """Two stretches of a vector hold each other's values, as blocks in the wrong order do."""
    pair = _pair(runs(wrong)) if wrong.ndim == 1 else None
    if pair is None:
        return None
    one, other = pair
    parts = [case.at(one), case.at(other)]
    if not all(part.known.all() for part in parts) or all(
        _is_one_value(part.analytic) for part in parts
    ):
        return None
    for here, there in ((parts[0], parts[1]), (parts[1], parts[0])):
        if not here.fits(there.numeric, moved_gain(here, there.own_bound), ways=case.size):
            return None
    source = case.path + box_text((other,), case.analytic.shape)
    words = f"holds the gradient of `{source}`, and the other way round"
    relation = Relation(
        Cause.SWAPPED, words, lambda c: (c.analytic, 1.0), evidence={"with": source}
    )
    return relation, ((one,), (other,))


def _pair(stretches: Sequence[slice]) -> tuple[slice, slice] | None:
    """Two stretches of one length, or the halves of one; an index off by a few is a shift."""
    if len(stretches) == 1:
        start, stop = stretches[0].start, stretches[0].stop
        middle = (start + stop) // 2
        halves = slice(start, middle), slice(middle, stop)
        return halves if stop - start > 2 * _FEW and (stop - start) % 2 == 0 else None
    if len(stretches) != 2:
        return None
    one, other = stretches
    length = one.stop - one.start
    return (one, other) if 1 < length == other.stop - other.start else None


def copied(case: Case, box: Box) -> Found | None:
    """The values of a box of a leaf are those of a box beside it."""
    part = case.at(box)
    if not part.known.all():
        return None
    for axis, side in enumerate(box):
        length, n = side.stop - side.start, case.analytic.shape[axis]
        if length == n:
            continue
        first = _at(case.numeric, box, axis, slice(0, n))
        bound = _at(case.bound, box, axis, slice(0, n))
        claimed = np.take(part.analytic, [0], axis)
        limit = np.take(part.allowed(part.numeric), [0], axis) + SAFETY * bound
        others = tuple(k for k in range(case.analytic.ndim) if k != axis)
        near = (np.abs(first - claimed) <= limit).all(axis=others)
        for start in np.flatnonzero(near[: n - length + 1])[:_MOST]:
            if start == side.start:
                continue
            there = (*box[:axis], slice(int(start), int(start) + length), *box[axis + 1 :])
            gain = moved_gain(part, case.own_bound[there])
            if not part.fits(case.numeric[there], gain, ways=n):
                continue
            if _may_be_chance(part.analytic, case.numeric[~case.wrong]):
                return None  # which depends on the box alone
            return _copy(case, box, there, int(start) - side.start), (box,)
    return None


def _may_be_chance(claimed: np.ndarray, right: np.ndarray) -> bool:
    """Whether one number that equals another one says nothing: where numbers are often equal.

    So are round ones, and those of an array with equal ones in it; in a few values none may show.
    """
    if not _is_one_value(claimed):
        return False
    value, finite = claimed.flat[0], right[np.isfinite(right)]
    return is_round(value) or _distinct(finite) < max(finite.size, _FEWEST)


def _is_one_value(values: np.ndarray) -> bool:
    """Whether all values are one, as far as their digits tell."""
    if not values.size or not np.isfinite(values).all():
        return False
    first = values.flat[0]
    with np.errstate(over="ignore"):
        return bool((np.abs(values - first) <= 10.0**-_DIGITS * np.abs(first)).all())


def _distinct(values: np.ndarray) -> int:
    """How many finite numbers are different in the digits that differences of doubles tell."""
    # Complex ones in an order in which equal ones are neighbors, though rounding be in both parts.
    values = values[np.argsort(values.real + _SLANT * values.imag)]
    before, after = values[:-1], values[1:]
    with np.errstate(over="ignore"):
        apart = np.abs(after - before) > 10.0**-_DIGITS * np.abs(after)
    return min(values.size, 1) + int(np.count_nonzero(apart))


def _at(values: np.ndarray, box: Box, axis: int, side: slice) -> np.ndarray:
    index = (*box[:axis], side, *box[axis + 1 :])
    part: np.ndarray = values[index]
    return part


def _copy(case: Case, box: Box, there: Box, by: int) -> Relation:
    source = case.path + box_text(there, case.analytic.shape)
    overlap = all(a.start < b.stop and b.start < a.stop for a, b in zip(box, there, strict=True))
    if abs(by) <= _FEW and overlap:
        return Relation(
            Cause.SHIFTED,
            f"is the numeric gradient shifted by {-by}",
            lambda c: (c.analytic, 1.0),
            f"it holds that of `{source}`",
            {"shift": -by},
        )
    return Relation(
        Cause.SWAPPED,
        f"holds the gradient of `{source}`",
        lambda c: (c.analytic, 1.0),
        evidence={"with": source},
    )
