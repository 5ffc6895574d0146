"""Places: where in a leaf the wrong entries stand, in words, the simplest description first.

A place holds every entry to be described, and no other that is known to be right: `free` entries
fit either way, as a gradient of zero fits a wrong sign. A description that chance explains is not
made: it is then a list of entries.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np

from fastgrad._checks.case import Case
from fastgrad._checks.moves import size_of
from fastgrad._leaf import Box, entry_path

__all__ = [
    "Kind",
    "Place",
    "bounding_box",
    "box_text",
    "find_place",
    "is_rare",
    "place_of_boxes",
    "runs",
]

# Of the sets of so many wrong entries at most this share may be described as simply, or the
# description is a coincidence: one of a hundred.
_BY_CHANCE = 1e-2
# Entries that are listed by their indices.
_LISTED = 3
# Tests of a parameter that are tried: below and above a threshold, itself and its absolute value.
_THRESHOLDS = 4
# Rows, columns or steps of a slice that are named.
_FEW_ROWS = 6


class Kind(Enum):
    """What a place is, where it is all that can be said."""

    WHOLE = auto()
    BOX = auto()
    TEST = auto()  # where a value passes a test
    NEGATIVE = auto()  # where the right gradient is negative
    SCATTERED = auto()
    ONE = auto()


@dataclass(frozen=True)
class Place:
    """Some entries of a leaf, in words; `path` and `where` make the beginning of a sentence."""

    kind: Kind
    path: str  # "W", "W[3:5]"
    where: str  # " where the parameter is above 0", or nothing
    count: int  # of wrong entries
    size: int  # of the place
    rare: bool  # whether chance does not explain it
    sampled: bool = False
    others: tuple[str, ...] = ()  # paths of other boxes, where the relation is one between boxes

    @property
    def text(self) -> str:
        """The place in a few words."""
        if self.kind is Kind.SCATTERED and not self.where:
            return f"{self.count:,} of {self.size:,} entries of {self.path}"
        return ", ".join([self.path + self.where, *self.others])

    @property
    def share(self) -> str:
        """How many entries of the place are wrong: " in all 12 entries"."""
        sampled = " sampled" if self.sampled else ""
        if self.size == 1:
            return ""
        if self.count == self.size:
            return f" in all {self.size:,} entries{sampled}"
        return f" in {self.count:,} of {self.size:,} entries{sampled}"


def find_place(case: Case, wrong: np.ndarray, free: np.ndarray) -> Place:
    """Describe the `wrong` entries of a leaf; those `free` may belong to the place or not."""
    count = int(wrong.sum())
    inside = wrong | free
    candidates = _described(case, wrong, inside, _choices(count, int((~inside).sum())))
    return next(candidates, None) or _listed(case, wrong, count)


def place_of_boxes(case: Case, boxes: Sequence[Box], wrong: np.ndarray) -> Place:
    """The boxes that a relation is one of, whole: entries that it leaves right are part of it."""
    shape = wrong.shape
    first, *others = (case.path + box_text(box, shape) for box in boxes)
    count, size = sum(int(wrong[box].sum()) for box in boxes), sum(map(size_of, boxes))
    kind = Kind.WHOLE if first == case.path else Kind.BOX
    return Place(kind, first, "", count, size, True, case.sampled, tuple(others))


def _choices(count: int, right: int) -> float:
    """Logarithm of the number of ways to choose the wrong entries."""
    return math.lgamma(count + right + 1) - math.lgamma(count + 1) - math.lgamma(right + 1)


def is_rare(ways: float, choices: float) -> bool:
    """Whether chance rarely makes a set that one of `ways` descriptions fits."""
    return math.log(max(ways, 1.0)) - choices <= math.log(_BY_CHANCE)


def _described(
    case: Case, wrong: np.ndarray, inside: np.ndarray, choices: float
) -> Iterator[Place]:
    count = int(wrong.sum())
    if inside.all():
        yield Place(Kind.WHOLE, case.path, "", count, case.size, True, case.sampled)
    if case.sampled:  # indices of a sample say nothing
        yield from _tests(case, wrong, inside, choices)
        return
    if count == 1:
        index = np.argwhere(wrong)[0]
        yield Place(Kind.ONE, entry_path(case.path, index), "", 1, 1, True)
    box = bounding_box(wrong)
    if inside[box].all():
        text, size = box_text(box, wrong.shape), int(inside[box].size)
        rare = is_rare(_boxes(box, wrong.shape), choices)
        yield Place(Kind.BOX, case.path + text, "", count, size, rare)
    yield from _tests(case, wrong, inside, choices)
    yield from _rows(case, wrong, inside, choices)
    yield from _triangles(case, wrong, inside)


def _boxes(box: Box, shape: Sequence[int]) -> float:
    """Places of a box of these sides, and of others with as many entries."""
    places = [n - (s.stop - s.start) + 1 for s, n in zip(box, shape, strict=True)]
    return float(math.prod(places) * 2 ** (len(shape) - 1))


def _tests(case: Case, wrong: np.ndarray, inside: np.ndarray, choices: float) -> Iterator[Place]:
    """Where the parameter, or the right gradient, passes a threshold."""
    if not is_rare(_THRESHOLDS, choices) or np.iscomplexobj(case.parameters):
        return
    count, right = int(wrong.sum()), ~inside
    for values, name in (
        (case.parameters, "the parameter"),
        (np.abs(case.parameters), "its absolute value"),
    ):
        words = _threshold(values[wrong], values[right], name)
        if words:
            where = f" where {words}"
            yield Place(Kind.TEST, case.path, where, count, case.size, True, case.sampled)
    for word, values in (("negative", case.numeric), ("positive", -case.numeric)):
        if values[wrong].max() < 0 <= values[right].min(initial=0.0):
            where = f" where the right gradient is {word}"
            yield Place(Kind.NEGATIVE, case.path, where, count, case.size, True, case.sampled)


def _threshold(inside: np.ndarray, outside: np.ndarray, name: str) -> str:
    """The test that these values pass and those do not, or nothing."""
    if not len(outside) or not (np.isfinite(inside).all() and np.isfinite(outside).all()):
        return ""
    if np.ptp(inside) == 0 and not (outside == inside[0]).any():
        return f"{name} is {inside[0]:g}"
    if inside.max() < outside.min():
        limit = 0.0 if inside.max() < 0 <= outside.min() else _between(inside.max(), outside.min())
        return f"{name} is below {limit:.3g}"
    if inside.min() > outside.max():
        limit = 0.0 if outside.max() <= 0 < inside.min() else _between(outside.max(), inside.min())
        return f"{name} is above {limit:.3g}"
    return ""


def _between(a: float, b: float) -> float:
    return float(a / 2 + b / 2)  # the sum may overflow


def _rows(case: Case, wrong: np.ndarray, inside: np.ndarray, choices: float) -> Iterator[Place]:
    """Several whole rows or columns, or every so-many-th entry of a vector."""
    shape = wrong.shape
    if wrong.ndim == 1:
        at = np.flatnonzero(wrong)
        step = int(at[1] - at[0])
        every = np.zeros(len(wrong), bool)
        every[at[0] % step :: step] = True
        if step > 1 and (inside | ~every).all() and (every | ~wrong).all():
            path = f"{case.path}[{at[0] % step or ''}::{step}]"
            if is_rare(2 * step, choices):
                yield Place(Kind.BOX, path, "", len(at), int(every.sum()), True)
        return
    for axis in range(wrong.ndim):
        others = tuple(k for k in range(wrong.ndim) if k != axis)
        some, full = wrong.any(axis=others), inside.all(axis=others)
        if (full | ~some).all() and 1 < some.sum() <= _FEW_ROWS:
            named = ", ".join(map(str, np.flatnonzero(some)))
            sides = [":"] * wrong.ndim
            sides[axis] = f"[{named}]"
            ways = math.comb(shape[axis], int(some.sum())) * wrong.ndim
            size = int(some.sum()) * (wrong.size // shape[axis])
            path = f"{case.path}[{', '.join(sides)}]"
            yield Place(Kind.BOX, path, "", int(wrong.sum()), size, is_rare(ways, choices))


def _triangles(case: Case, wrong: np.ndarray, inside: np.ndarray) -> Iterator[Place]:
    """The diagonal of a matrix, or what lies above, below or beside it."""
    if wrong.ndim != 2 or min(wrong.shape) < 3:
        return
    row, column = np.arange(wrong.shape[0])[:, np.newaxis], np.arange(wrong.shape[1])
    for words, part in (
        ("on the diagonal", row == column),
        ("off the diagonal", row != column),
        ("above the diagonal", row < column),
        ("below the diagonal", row > column),
    ):
        if (inside | ~part).all() and (part | ~wrong).all():
            size = int(part.sum())
            yield Place(Kind.BOX, case.path, f" {words}", int(wrong.sum()), size, True)


def _listed(case: Case, wrong: np.ndarray, count: int) -> Place:
    where = ""
    if not case.sampled and count <= _LISTED:
        names = [entry_path("", index) for index in np.argwhere(wrong)]
        where = f" at {', '.join(names)}"
    return Place(Kind.SCATTERED, case.path, where, count, case.size, True, case.sampled)


def bounding_box(wrong: np.ndarray) -> Box:
    """The smallest box that holds all marked entries."""
    sides = []
    for axis in range(wrong.ndim):
        others = tuple(k for k in range(wrong.ndim) if k != axis)
        at = np.flatnonzero(wrong.any(axis=others))
        sides.append(slice(int(at[0]), int(at[-1]) + 1))
    return tuple(sides)


def runs(wrong: np.ndarray) -> list[slice]:
    """The stretches of marked entries of a vector."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], wrong, [False]]).astype(np.int8)))
    return [slice(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def box_text(box: Box, shape: Sequence[int]) -> str:
    """``[0:392, 17]``, or nothing for the whole leaf."""
    # `shape` is the array's: the box of a complex leaf has one more axis, of real and imaginary.
    sides = [
        ":" if j - i == n else str(i) if j - i == 1 else f"{i}:{j}"
        for i, j, n in zip((s.start for s in box), (s.stop for s in box), shape, strict=False)
    ]
    return f"[{', '.join(sides)}]" if any(side != ":" for side in sides) else ""
