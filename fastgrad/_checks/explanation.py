"""What explains the wrong entries of one leaf: relations, and the places they hold in.

The data flow: wrong entries, in candidate places, are given to the relations, the most specific
first; what explains all of them beyond chance is said of the simplest place that holds them. Where
no single relation does, the entries are split among a few. A place alone is named where no relation
fits, and where chance does not explain it either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from fastgrad._checks.case import Case, chance, relative_error
from fastgrad._checks.chain_rules import CHAINED
from fastgrad._checks.elsewhere import Elsewhere, Found, copied, exchanged
from fastgrad._checks.misplaced import (
    MIRRORED,
    MISPLACED,
    REPEATED,
    SHAPED,
    TURNED,
    is_rare_order,
)
from fastgrad._checks.places import (
    Kind,
    Place,
    bounding_box,
    find_place,
    is_rare,
    place_of_boxes,
    runs,
)
from fastgrad._checks.relations import ADDED, FITTED, SIMPLE, Relation, Search
from fastgrad._leaf import Box
from fastgrad._report.causes import Cause

__all__ = [
    "Explained",
    "elementwise",
    "explain",
    "is_isolated",
    "is_nearby",
    "is_nearby_there",
    "misplaced",
    "unexplained",
    "with_place",
]

# Relations that share the wrong entries of a leaf, at most: with more, nothing is explained.
_MOST_RELATIONS = 3
# Ways in which a matrix may be turned: transposed, or reshaped where it should be transposed; or in
# which its values may be repeated: along rows or columns.
_TURNS = 2
# Stretches of wrong entries that are tried one by one.
_MOST_RUNS = 8
# Entries that a relation must explain where it explains only some of them.
_FEWEST = 3
# Alternatives among which a relation of some entries is chosen: those of `_shares`.
_WAYS = 20
# Entries are isolated if they are at most this many, or one in this many of those that could be
# wrong.
_ISOLATED, _ONE_IN = 3, 10
# An entry is clearly not zero beyond this many of its bounds: one digit of it is known.
_TELLING = 10.0
# The relative error of a leaf below which its gradient is that of a nearby function: truncated
# constants, tolerances and short formats. A lost term or a wrong index changes the first digits.
_NEARBY = 1e-2
# Errors below this share of the largest entry are near by wherever they are: a wrong index, or an
# entry written twice, changes more than the fifth digit.
_TINY = 1e-4
# It is near by everywhere if so many of the entries have errors of at least this share of the
# typical wrong one.
_MOST, _COMPARABLE = 0.5, 0.1

# Relations of single entries with a number that is fitted, or of the parameters.
_FITTED = (*FITTED, *CHAINED, *ADDED)


@dataclass(frozen=True)
class Explained:
    """Wrong entries of a leaf, where they are, and the relation that explains them, if any."""

    case: Case
    wrong: np.ndarray
    place: Place
    relation: Relation | None
    all_of_leaf: bool  # whether there are no other wrong entries in the leaf


def explain(case: Case, elsewhere: Elsewhere) -> list[Explained]:
    """Explain the wrong entries of a leaf that are numbers."""
    wrong = case.wrong & case.known
    found = _relation(case, wrong, elsewhere)
    if found is not None:
        return [_explained(case, wrong, *found)]
    shares = list(_shared(case, wrong, elsewhere))
    return shares or [unexplained(case)]


def unexplained(case: Case) -> Explained:
    """The wrong entries of a leaf for which no relation was sought."""
    wrong = case.wrong & case.known
    return Explained(case, wrong, _place_alone(case, wrong), None, True)


def with_place(case: Case, relation: Relation) -> Explained:
    """A relation that is known to explain all wrong entries of a leaf."""
    wrong = case.wrong & case.known
    return _explained(case, wrong, relation, ())


def elementwise(case: Case) -> Relation | None:
    """The first relation of single entries that explains all entries of a case."""
    return _first(case, (*SIMPLE, *_FITTED))


def _first(case: Case, searches: Sequence[Search]) -> Relation | None:
    return next((relation for search in searches for relation in search(case)), None)


def _relation(case: Case, wrong: np.ndarray, elsewhere: Elsewhere) -> Found | None:
    """What explains all wrong entries."""
    chosen, whole = case.at(wrong), tuple(slice(0, n) for n in wrong.shape)
    if chosen.kinks.all():
        words = "is not between the one-sided derivatives at a kink of `f`"
        return Relation(Cause.KINK, words, lambda c: (c.analytic, 1.0)), ()
    mirrored = _first(case, MIRRORED) if (wrong == case.wrong).all() else None
    if mirrored is not None:
        return mirrored, (whole,)
    simple = _first(chosen, SIMPLE)
    if simple is not None:
        return simple, ()
    other = elsewhere.holder(case) if not case.sampled else None
    if other is not None:
        return other, (whole,)
    if not case.sampled:
        misplaced = _in_boxes(case, wrong)
        if misplaced is not None:
            return misplaced
    added = _first(chosen, _FITTED)
    if added is not None:
        return added, ()
    return _shaped(case, wrong)


def _in_boxes(case: Case, wrong: np.ndarray) -> Found | None:
    """Right values in wrong places: of the leaf, or of the box of the wrong entries."""
    if not wrong.ndim:
        return None
    whole, box = tuple(slice(0, n) for n in wrong.shape), bounding_box(wrong)
    of_whole = misplaced(case)
    if of_whole is not None and of_whole.kind is not Cause.PERMUTED:
        return exchanged(case, wrong) or (of_whole, (whole,))
    # In a part of a leaf what any order of a few values may look like is not named.
    of_box = misplaced(case.at(box)) if box != whole else None
    if of_box is not None and is_rare_order(of_box, wrong[box].shape):
        return exchanged(case, wrong) or (of_box, (box,))
    found = exchanged(case, wrong) or copied(case, box) or _matrix_in_vector(case, box, TURNED)
    return found or ((of_whole, (whole,)) if of_whole is not None else None)


def misplaced(case: Case) -> Relation | None:
    """The relation of right values in wrong places that fits an array."""
    return _first(case, MISPLACED) if case.known.all() else None


def _matrix_in_vector(case: Case, box: Box, searches: Sequence[Search]) -> Found | None:
    """A matrix that is a stretch of a vector, and is transposed there, or repeats its values."""
    if case.analytic.ndim != 1:
        return None
    shapes = _matrices(box[0].start, box[0].stop, case.size)
    # Of all orders of these values such are few, or it is a coincidence.
    if not is_rare(_TURNS * len(shapes), _orders(case.analytic[box][case.wrong[box]])):
        return None
    for side, rows, columns in shapes:
        part = case.at(side)
        relation = _first(part.shaped((rows, columns)), searches) if part.known.all() else None
        if relation is not None:
            return _as_matrix(relation, rows, columns), ((side,),)
    return None


def _orders(values: np.ndarray) -> float:
    """Logarithm of the number of orders of some values, of which some may be equal."""
    equal = np.unique(values, return_counts=True)[1]
    return math.lgamma(len(values) + 1) - sum(math.lgamma(int(count) + 1) for count in equal)


def _matrices(low: int, high: int, n: int) -> list[tuple[slice, int, int]]:
    """Stretches of a vector, and the shapes of matrices they may be."""
    found = []
    # The first and the last entry of a matrix stay where they are when it is transposed.
    for start, stop in ((low - 1, high + 1), (low, high)):
        size = stop - start
        if start >= 0 and stop <= n:
            shapes = [(rows, size // rows) for rows in range(2, size // 2 + 1) if size % rows == 0]
            found += [(slice(start, stop), *shape) for shape in shapes]
    return found


def _as_matrix(relation: Relation, rows: int, columns: int) -> Relation:
    return Relation(
        relation.kind,
        f"{relation.words}, as a {rows} x {columns} matrix",
        lambda c: (c.analytic, 1.0),
        relation.meaning,
        relation.evidence,
    )


def _shaped(case: Case, wrong: np.ndarray) -> Found | None:
    """Structure of the values of the leaf, or of the box of the wrong ones."""
    if not wrong.ndim:
        return None
    whole, box = tuple(slice(0, n) for n in wrong.shape), bounding_box(wrong)
    for each in (whole, box) if box != whole and not case.sampled else (whole,):
        part = case.at(each)
        relation = _first(part, SHAPED) if part.known.all() else None
        if relation is not None:
            return relation, (each,)
    return _matrix_in_vector(case, box, REPEATED) if not case.sampled else None


def _explained(
    case: Case, wrong: np.ndarray, relation: Relation, boxes: tuple[Box, ...]
) -> Explained:
    """A relation of some wrong entries, with the place that they are in."""
    if boxes:
        place = place_of_boxes(case, boxes, wrong)
    else:
        free = case.agrees(*relation.predict(case)) | ~case.known
        place = find_place(case, wrong, free & ~case.wrong)
    if place.kind is Kind.NEGATIVE and relation.kind in (Cause.SIGN, Cause.ZERO):
        relation = _absolute(relation)
    every = bool((wrong == case.wrong).all())
    return Explained(case, wrong, place, relation, every)


def _absolute(relation: Relation) -> Relation:
    what = "the positive part" if relation.kind is Cause.ZERO else "the absolute value"
    return Relation(
        Cause.ABSOLUTE,
        relation.words,
        relation.predict,
        f"it is {what} of the gradient, or its negative",
        relation.evidence,
    )


# ------------------------------------------------------------------- several relations in a leaf


def _shared(case: Case, wrong: np.ndarray, elsewhere: Elsewhere) -> Iterator[Explained]:
    """Explanations of disjoint sets of the wrong entries, if any of them is explained."""
    found: list[Explained] = []
    left = wrong.copy()
    while left.any() and len(found) < _MOST_RELATIONS:
        part = _largest_share(case, left)
        if part is None:
            break
        found.append(_explained(case, part[1], part[0], ()))
        left &= ~part[1]
    if left.any() and not case.sampled and wrong.ndim == 1 and (found or len(runs(left)) > 1):
        found += _by_runs(case, left, elsewhere)
        for each in found:
            left &= ~each.wrong
    if not found:
        return
    yield from found
    if left.any():
        yield Explained(case, left, _place_alone(case, left), None, False)


def _by_runs(case: Case, left: np.ndarray, elsewhere: Elsewhere) -> list[Explained]:
    """Explanations of single stretches of a vector."""
    stretches = runs(left)
    if len(stretches) > _MOST_RUNS:
        return []
    found = []
    for stretch in stretches:
        mine = np.zeros(left.shape, bool)
        mine[stretch] = True
        relation = _relation(case, mine, elsewhere)
        if relation is not None:
            found.append(_explained(case, mine, *relation))
    return found


def _largest_share(case: Case, left: np.ndarray) -> tuple[Relation, np.ndarray] | None:
    """The relation that explains most of some entries, and those that it explains."""
    chosen = case.at(left)
    sizes = [(int(part.sum()), k, part) for k, part in enumerate(_shares(chosen))]
    for count, _, part in sorted(sizes, key=lambda each: (-each[0], each[1])):
        if count < min(_FEWEST, len(part)) or count == len(part):
            continue
        some = chosen.at(part)
        relation = elementwise(some)
        if relation is None or not _beyond_choice(some, relation, len(part)):
            continue
        mine = left.copy()
        mine[left] = part
        return relation, mine
    return None


def _beyond_choice(some: Case, relation: Relation, among: int) -> bool:
    """Whether a relation of `some` entries is no coincidence, though they were chosen to fit."""
    choices = math.lgamma(among + 1) - math.lgamma(some.size + 1)
    choices -= math.lgamma(among - some.size + 1)
    shares = some.allowed(*relation.predict(some)) / np.abs(some.error)
    return chance(shares, 1, 1.0) + choices + math.log(_WAYS) <= math.log(1e-3)


def _shares(case: Case) -> Iterator[np.ndarray]:
    """For each relation with one number the entries that agree on that number."""
    if np.iscomplexobj(case.analytic):
        return
    error, x = case.error, case.parameters
    allowed = case.allowed(case.numeric)
    for values, shape in (
        (case.analytic, case.numeric),
        (error, np.ones_like(error)),
        (error, x),
        (error, np.sign(x)),
    ):
        yield _agreed(values, shape, allowed)


def _agreed(values: np.ndarray, shape: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The entries, as many as possible, at which values are one multiple of a shape."""
    center, width = values / shape, allowed / np.abs(shape)
    usable = np.isfinite(center) & np.isfinite(width)
    if not usable.any():
        return np.zeros(values.shape, bool)
    low, high = (center - width)[usable], (center + width)[usable]
    # The point that lies in most of the intervals: their number rises at their beginnings.
    at = np.concatenate([low, high])
    rises = np.concatenate([np.ones(len(low)), -np.ones(len(high))])
    order = np.lexsort((-rises, at))  # a beginning before an end
    most = int(np.argmax(np.cumsum(rises[order])))
    best = at[order][most] / 2 + at[order][most + 1] / 2  # between two edges, as they are rounded
    agreed: np.ndarray = usable & (np.abs(center - best) <= width)
    return agreed


# ------------------------------------------------------------------- where no relation fits


def _place_alone(case: Case, wrong: np.ndarray) -> Place:
    """The place of wrong entries that no relation explains: vanishing ones may be wrong as well."""
    faint = ~(np.abs(case.numeric) > _TELLING * case.bound) & ~case.wrong
    return find_place(case, wrong, faint | (~case.known & ~case.wrong))


def is_isolated(each: Explained) -> bool:
    """Whether few entries are wrong, of many that could be."""
    case, count = each.case, each.place.count
    could = int(((np.abs(case.numeric) > _TELLING * case.bound) | case.wrong).sum())
    return count <= max(_ISOLATED, could // _ONE_IN) and count < max(could, 2) and case.size > 1


def is_nearby_there(each: Explained) -> bool:
    """Whether the errors of several entries that make a place are small."""
    part = each.case.at(each.wrong)
    together = each.place.kind in (Kind.WHOLE, Kind.BOX, Kind.TEST)
    return together and part.size >= _FEWEST and relative_error(part) < _NEARBY


def _is_alone(known: Case, error: np.ndarray) -> bool:
    """Whether one entry is wrong, and all others are known to be right far more closely."""
    others = ~known.wrong
    if known.wrong.sum() != 1 or others.sum() < _FEWEST:
        return False
    closest = np.fmax(error, known.bound)[others].max()
    return bool(closest < _COMPARABLE * error[known.wrong].item())


def is_nearby(case: Case) -> bool:
    """Whether the errors of a leaf are small, and spread over most of its entries or tiny.

    One entry that tells anything shows no spread: a factor close to one would look the same.
    """
    known = case.at(case.known)
    if not known.wrong.any() or not relative_error(case) < _NEARBY:
        return False
    error, size = np.abs(known.error), np.abs(known.numeric)
    if _is_alone(known, error):
        return False
    if error.max() < _TINY * size.max():
        return True
    telling = (size > _TELLING * known.bound) | known.wrong
    comparable = error >= _COMPARABLE * np.median(error[known.wrong])
    comparable |= error >= _COMPARABLE * np.median((error / size)[known.wrong]) * size
    return bool(telling.sum() > 1 and comparable[telling].mean() > _MOST)
