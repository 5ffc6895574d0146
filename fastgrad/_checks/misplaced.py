"""Relations of arrays: the right values in the wrong places, one value for many, mirrored pairs.

Each is tested on all entries of a box of a leaf, right ones as well as wrong ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import combinations, permutations
from typing import Any, TypeAlias

import numpy as np

from fastgrad._checks.case import ROUNDED, Case, moved_gain
from fastgrad._checks.error_model import OWN_ROUNDING, SAFETY
from fastgrad._checks.relations import NOTHING, Relation, Search, factor_text, fits, large
from fastgrad._report.causes import Cause

__all__ = ["MIRRORED", "MISPLACED", "REPEATED", "SHAPED", "TURNED", "along_axes", "is_rare_order"]

# Axes, at most, of an array whose axes may be in any other order: 4 have 23 other orders.
_MOST_AXES = 4
# Of the orders of the values in a part of a leaf, at most this share may be shifts, or the
# reverse, or these are what chance makes of a permutation: one of a hundred.
_BY_CHANCE = 1e-2
# Logarithm of a number that float64 can hold.
_LARGEST_LOG = 700.0
# Arrays of at most this many different numbers have few orders, so that chance makes any of them.
_TWO_VALUES = 2
# Candidates for a shift, where rows are equal.
_MOST_SHIFTS = 8
# One value for several entries: two may be equal by chance, as whole numbers are.
_FEWEST = 3
# Pairs counted once, twice, or as they are: a factor is one of these if it differs by less.
_SAME = 1e-3
# Significant bits of float64.
_BITS = 53
# Fewer values, or fewer bits, say nothing of a format: one value in 2^4 lacks four bits by chance.
_FEWEST_VALUES, _FEWEST_BITS = 4, 4
# A format is shorter if it has at most this share of the bits; float32 has 0.45, float16 0.2.
_SHORTER = 0.75
# Most of the entries: a format is that of a whole array.
_MOST = 0.5
# Errors of a shorter format, in its roundings, and some for the second rounding.
_ROUNDINGS = 1.01
# The largest fixed-point value is more than this many units: less is a sign or a count.
_FEW_UNITS = 4

Move: TypeAlias = Callable[[np.ndarray], np.ndarray]

# ------------------------------------------------------------------------------ misplaced values


def _moved(kind: Cause, words: str, move: Move, **evidence: Any) -> Relation:
    """The relation that the values are those of other places."""
    return Relation(
        kind,
        words,
        # The bounds are moved as well: an uncertain value is uncertain where it went.
        lambda c: (move(c.numeric), moved_gain(c, move(c.own_bound))),
        evidence=evidence,
    )


def _same_values(case: Case) -> bool:
    """Whether the claimed values may be the numeric ones in another order."""
    most = float(case.allowed(case.numeric).max())
    pairs = [(case.analytic.real, case.numeric.real), (case.analytic.imag, case.numeric.imag)]
    return all(
        bool((np.abs(np.sort(a, axis=None) - np.sort(d, axis=None)) <= most).all())
        for a, d in pairs
    )


def _misplaced(case: Case) -> Iterator[Relation]:
    if case.size < 2 or not _same_values(case):
        return
    for search in (_transposed, _shifted, _reversed, _permuted):
        for relation, ways in search(case):
            if fits(case, relation, ways=ways) and not _is_coincidence(case, ways):
                yield relation
                return


def _is_coincidence(case: Case, ways: float) -> bool:
    """Whether an array holds two numbers alone, as a mask does, and few orders of these exist."""
    counts = np.unique(case.analytic, return_counts=True)[1]
    if len(counts) > _TWO_VALUES:
        return False
    orders = math.lgamma(case.size + 1) - sum(math.lgamma(int(count) + 1) for count in counts)
    return math.log(ways) - orders > math.log(_BY_CHANCE)


def _turned(case: Case) -> Iterator[Relation]:
    """Transposes alone, for the many shapes that a stretch of a vector may have."""
    for relation, ways in _transposed(case):
        if fits(case, relation, ways=ways):
            yield relation
            return


def _transposed(case: Case) -> Iterator[tuple[Relation, float]]:
    """Axes in another order, laid out in the shape of the array."""
    shape = case.analytic.shape
    if not 2 <= len(shape) <= _MOST_AXES:
        return
    whole = tuple(range(len(shape)))[::-1]
    orders = sorted(permutations(range(len(shape))), key=lambda order: order != whole)
    for order in orders:
        turned = tuple(shape[axis] for axis in order)
        long = [axis for axis in order if shape[axis] > 1]
        if long == sorted(long):  # it moves axes of length 1 alone, and so no value
            continue
        how = "is the transpose of the numeric gradient"
        if len(shape) > 2 and order != whole:
            how = f"is the numeric gradient with its axes in the order {order}"
        kinds = [
            ("" if turned == shape else ", laid out in the wrong shape", _transpose(order, shape))
        ]
        if turned != shape:
            reshaped = _reshape(turned, np.argsort(order))
            kinds.append((", reshaped where it should be transposed", reshaped))
        for laid, move in kinds:
            relation = _moved(Cause.TRANSPOSED, how + laid, move, axes=order)
            yield relation, math.factorial(len(shape))


def _shifted(case: Case) -> Iterator[tuple[Relation, float]]:
    shape = case.analytic.shape
    for axis in (*range(len(shape)), None):
        if axis is None and len(shape) == 1:
            continue
        n = case.size if axis is None else shape[axis]
        along = ", read row by row" if axis is None else along_axes((axis,), len(shape))
        axes = tuple(range(len(shape))) if axis is None else (axis,)
        for by in _shifts(case, axis):
            words = f"is the numeric gradient shifted by {by}{along}"
            yield _moved(Cause.SHIFTED, words, _roll(by, axis), shift=by, axes=axes), n


def _pushed(case: Case) -> Iterator[Relation]:
    """Shifted, with zeros where nothing was moved to: a value that falls off the end is lost."""
    shape = case.analytic.shape
    for axis, n in enumerate(shape):
        for by in _shifts(case, axis):
            if 2 * abs(by) < n:
                along = along_axes((axis,), len(shape))
                words = f"is the numeric gradient shifted by {by}{along}, with zeros in the gap"
                evidence = {"shift": by, "axes": (axis,), "zeros": abs(by)}
                relation = _moved(Cause.SHIFTED, words, _push(by, axis), **evidence)
                if fits(case, relation, ways=n):
                    yield relation
                    return


def _shifts(case: Case, axis: int | None) -> list[int]:
    """The shifts along an axis that may have brought the largest row to its place."""
    analytic, numeric = _rows(case.analytic, axis), _rows(case.numeric, axis)
    n = len(analytic)
    if n < 2:
        return []
    here = int(np.argmax(np.abs(analytic).sum(axis=1)))
    off = np.abs(numeric - analytic[here]).sum(axis=1)
    # Equal rows make for several candidates; `fits` tests all rows.
    nearest = np.flatnonzero(off <= 2 * off.min() + float(case.bound.max()))[:_MOST_SHIFTS]
    shifts = [(here - int(at)) % n for at in nearest]
    return sorted((by if by <= n // 2 else by - n for by in shifts if by), key=abs)


def _rows(x: np.ndarray, axis: int | None) -> np.ndarray:
    """The slices of an array across an axis, each as one row; or its entries."""
    if axis is None:
        return x.reshape(-1, 1)
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _reversed(case: Case) -> Iterator[tuple[Relation, float]]:
    """Reversed along any axes: a kernel is flipped along two."""
    long = [axis for axis, n in enumerate(case.analytic.shape) if n > 1]
    if len(long) > _MOST_AXES:
        return
    for count in range(1, len(long) + 1):
        for axes in combinations(long, count):
            words = f"is the numeric gradient reversed{along_axes(axes, case.analytic.ndim)}"
            move = _flip(axes)
            yield _moved(Cause.REVERSED, words, move, axes=axes), 2 ** len(long)


def _transpose(order: tuple[int, ...], shape: tuple[int, ...]) -> Move:
    return lambda x: x.transpose(order).reshape(shape)


def _reshape(turned: tuple[int, ...], back: np.ndarray) -> Move:
    return lambda x: x.reshape(turned).transpose(tuple(back))


def _roll(by: int, axis: int | None) -> Move:
    return lambda x: np.roll(x, by, axis)


def _push(by: int, axis: int) -> Move:
    def move(x: np.ndarray) -> np.ndarray:
        moved = np.roll(x, by, axis)
        gap = slice(0, by) if by > 0 else slice(by, None)
        moved[(slice(None),) * axis + (gap,)] = 0
        return moved

    return move


def _take(order: np.ndarray, axis: int) -> Move:
    return lambda x: np.take(x, order, axis)


def _flip(axes: tuple[int, ...]) -> Move:
    return lambda x: np.flip(x, axes)


def along_axes(axes: tuple[int, ...], ndim: int) -> str:
    """Which axes of an array, in words: nothing for a vector."""
    if ndim == 1:
        return ""
    if len(axes) == 1:
        return f" along axis {axes[0]}"
    return f" along the axes {', '.join(map(str, axes[:-1]))} and {axes[-1]}"


def _permuted(case: Case) -> Iterator[tuple[Relation, float]]:
    """Rows, columns or entries in another order."""
    shape = case.analytic.shape
    for axis in range(len(shape)):
        n = shape[axis]
        if n < 2:
            continue
        # Rows are matched by one random number each; a wrong match does not fit.
        weights = np.random.default_rng(0).normal(size=case.size // n)
        matched = np.empty(n, dtype=np.intp)
        analytic, numeric = _rows(case.analytic, axis), _rows(case.numeric, axis)
        matched[np.argsort((analytic @ weights).real, kind="stable")] = np.argsort(
            (numeric @ weights).real, kind="stable"
        )
        moved = np.flatnonzero(matched != np.arange(n))
        what = "entries" if len(shape) == 1 else "slices"
        words = f"is the numeric gradient with its {what} in another order"
        if len(moved) == 2:
            words = f"is the numeric gradient with {what} {moved[0]} and {moved[1]} exchanged"
        words += along_axes((axis,), len(shape))
        ways = math.exp(min(math.lgamma(len(moved) + 1), _LARGEST_LOG))
        yield (
            _moved(
                Cause.PERMUTED,
                words,
                _take(matched, axis),
            ),
            ways,
        )


# -------------------------------------------------------------------------------- structure


def _broadcast(case: Case) -> Iterator[Relation]:
    # Where most of the values are right, it is the right ones that are equal.
    if 2 * np.count_nonzero(case.wrong) <= case.size:
        return
    scale = float(np.abs(case.analytic).max(initial=0.0))
    limit = max(NOTHING, OWN_ROUNDING * case.eps) * scale
    for axis in (None, *range(case.analytic.ndim)):
        length = case.size if axis is None else case.analytic.shape[axis]
        spreads = [
            np.ptp(part, axis=axis).max() for part in (case.analytic.real, case.analytic.imag)
        ]
        repeated = case.size - case.size // length if length else 0
        if repeated >= min(_FEWEST, case.size) - 1 > 0 and scale and sum(spreads) <= limit:
            where = "the same in all entries" if axis is None else f"the same along axis {axis}"
            yield Relation(
                Cause.BROADCAST,
                f"is {where}",
                lambda c: (c.analytic, 1.0),
                "a sum over the wrong axis, or one value broadcast",
                {"axis": axis},
            )
            return


def _symmetric(case: Case) -> Iterator[Relation]:
    analytic, numeric = case.analytic, case.numeric
    if analytic.ndim != 2 or analytic.shape[0] != analytic.shape[1] or len(analytic) < 2:
        return
    if case.wrong.diagonal().any():
        return
    off = ~np.eye(len(analytic), dtype=bool)
    # Where f reads one triangle, or means both as one, pairs of entries agree in their sums alone.
    pairs, claimed = (numeric + numeric.T)[off], (analytic + analytic.T)[off]
    square = float((np.abs(pairs) ** 2).sum())
    c = float((claimed * pairs).sum().real / square) if square else 0.0
    slack = case.allowed(numeric)
    allowed = SAFETY * (case.bound + case.bound.T)[off] * (1 + abs(c)) + (slack + slack.T)[off]
    if not (np.abs(claimed - c * pairs) <= allowed).all():
        return
    # Any other factor beside the diagonal is a factor.
    if not np.isclose(abs(c), (0.5, 1.0, 2.0), rtol=_SAME).any():
        return
    even = np.abs(analytic - analytic.T).max() <= ROUNDED * np.abs(analytic).max()
    if even or not np.tril(analytic, -1).any() or not np.triu(analytic, 1).any():
        words = f"has off-diagonal entries that are {factor_text(c)} x the numeric ones, in pairs"
        yield Relation(
            Cause.SYMMETRIC,
            f"{words}, and a right diagonal",
            lambda each: (each.analytic, 1.0),
            "a symmetric argument counted once, not twice",
            {"factor": c},
        )


def _by_slices(case: Case) -> Iterator[Relation]:
    """Each row or column is a multiple of its own."""
    for axis in range(case.analytic.ndim if case.analytic.ndim > 1 else 0):
        others = tuple(k for k in range(case.analytic.ndim) if k != axis)
        unit = np.fmax(case.bound, NOTHING * np.abs(case.numeric).max())
        analytic, numeric = case.analytic / unit, case.numeric / unit
        squares = (np.abs(numeric) ** 2).sum(axis=others, keepdims=True)
        c = (analytic * numeric.conj()).real.sum(axis=others, keepdims=True) / squares
        c = np.where(squares > 0, c, 1.0)
        told = np.count_nonzero(large(case) & case.wrong) > c.size
        if told and case.fits(c * case.numeric, c, fitted=c.size):
            yield Relation(
                Cause.FACTOR,
                f"is the numeric gradient times a factor for each index of axis {axis}, of "
                f"{factor_text(float(c.min()))} to {factor_text(float(c.max()))}",
                lambda each: (each.analytic, 1.0),
                "a factor that varies along this axis is missing, or too much",
                {"factors": c.ravel()},
            )
            return


def _precision(case: Case) -> Iterator[Relation]:
    """Values with fewer bits than their type has, and errors of that size."""
    values = np.concatenate([case.analytic.real.ravel(), case.analytic.imag.ravel()])
    values = values[(values != 0) & np.isfinite(values)]
    if len(values) < _FEWEST_VALUES or not case.wrong.mean() > _MOST:
        return
    mantissa, exponent = np.frexp(values)
    # As whole numbers of 53 bits; ``n & -n`` is the lowest bit that is set.
    whole = np.abs(np.ldexp(mantissa, _BITS)).astype(np.int64)
    bits = _BITS - int(np.log2((whole & -whole).min()))
    full = 1 - int(np.log2(case.eps))
    lowest = np.ldexp((whole & -whole).astype(float), exponent - _BITS).min()  # as a number
    errors, size = np.abs(case.error), np.abs(case.analytic)
    few, limit = bits <= _SHORTER * full, SAFETY * case.bound
    short = (
        few and bits >= _FEWEST_BITS and (errors <= limit + _ROUNDINGS * 2.0**-bits * size).all()
    )
    # A floating-point format, by relative errors, or a fixed-point one, by errors of one unit.
    if short or (few and (errors <= limit + lowest).all() and size.max() > _FEW_UNITS * lowest):
        yield Relation(
            Cause.PRECISION,
            f"has only about {bits} significant bits",
            lambda c: (c.analytic, 1.0),
            "it was computed in a shorter format",
            {"bits": bits},
        )


def is_rare_order(relation: Relation, shape: tuple[int, ...]) -> bool:
    """Whether few of the orders of the slices of a box are such a shift, or the reverse."""
    if "zeros" in relation.evidence:
        return True  # it is no order of the right values: one of them is lost
    axes = relation.evidence.get("axes")
    if axes is None or relation.kind is Cause.PERMUTED:
        return False
    count = math.prod(shape[axis] for axis in axes)
    ways = count if relation.kind is Cause.SHIFTED else 1
    return math.log(ways) - math.lgamma(count + 1) <= math.log(_BY_CHANCE)


MISPLACED: tuple[Search, ...] = (_misplaced, _pushed)
TURNED: tuple[Search, ...] = (_turned,)
MIRRORED: tuple[Search, ...] = (_symmetric,)
REPEATED: tuple[Search, ...] = (_broadcast,)
SHAPED: tuple[Search, ...] = (*REPEATED, _precision, _by_slices)
