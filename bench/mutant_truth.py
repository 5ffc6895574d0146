"""Whether what a cause says is true of the data, by the exact gradient: not by fastgrad's means.

What is said is a relation between the claimed and the right gradient, and a place in which it
holds. It is tested on all entries of that place, whose numbers are known here to the last digits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import chain, permutations, product
from math import comb
from typing import Any

import numpy as np

# A relation holds if it leaves at most this share of the largest error of the place, and of each
# value: two digits, as a reader expects of a number that is printed with four.
LEFT = 2e-2
# A place with fewer visible errors fits more than one relation.
TELLING = 3
# Of the sets of so many wrong entries, at most this share may pass a test of so many by chance.
BY_CHANCE, THRESHOLDS = 1e-2, 4
# They say that something is wrong, and no more.
SILENT = ("UNKNOWN",)


@dataclass(frozen=True)
class Region:
    """Claimed and right values in one place, the parameters there, and what of it is visible."""

    claimed: np.ndarray
    right: np.ndarray
    params: np.ndarray
    visible: np.ndarray  # where the two differ visibly
    floor: np.ndarray  # below which nothing is visible
    whole: np.ndarray  # the right gradient of all parameters, in one vector

    @property
    def error(self) -> np.ndarray:
        return np.abs(self.claimed - self.right)

    def fits(self, predicted: np.ndarray) -> bool:
        left = np.abs(self.claimed - predicted)
        size = np.abs(self.claimed) + np.abs(self.right)
        # The smaller maximum: beside large errors, small claimed values would fit anything.
        largest = min(self.error.max(initial=0.0), np.abs(self.claimed).max(initial=0.0))
        allowed = LEFT * np.fmin(largest, size) + self.floor
        return bool((left <= allowed).all())


def holds(kind: str, region: Region, evidence: dict[str, Any] | None = None) -> bool:
    """Whether a relation is true in a region, with the number that was stated, if one was."""
    test = _TESTS.get(kind)
    if test is None or not region.visible.any():
        return False
    with np.errstate(all="ignore"):
        return bool(test(region, evidence or {}))


# ---------------------------------------------------------------------------------------- relations


def _factor(r: Region, evidence: dict[str, Any]) -> bool:
    if "factors" in evidence:  # one for each index of an axis
        return any(r.fits(_along(r, axis) * r.right) for axis in range(r.right.ndim))
    c = evidence.get("factor") or _fitted(r.claimed, r.right)
    return c != 0 and r.fits(c * r.right)


def _along(r: Region, axis: int) -> np.ndarray:
    """The factor that fits best, for each index of an axis."""
    others = tuple(k for k in range(r.right.ndim) if k != axis)
    squares = (r.right * r.right).sum(axis=others, keepdims=True)
    found: np.ndarray = (r.claimed * r.right).sum(axis=others, keepdims=True) / squares
    return np.where(squares > 0, found, 1.0)


def _fitted(values: np.ndarray, shape: np.ndarray) -> float:
    square = float((shape * shape).sum())
    return float((values * shape).sum()) / square if square else 0.0


def _zero(r: Region, _: dict[str, Any]) -> bool:
    return bool(np.abs(r.claimed).max() <= 1e-9 * np.abs(r.right).max())


def _added(r: Region, shape: np.ndarray, evidence: dict[str, Any]) -> bool:
    c = _fitted(r.claimed - r.right, shape)
    stated = evidence.get("coefficient", c)
    return r.fits(r.right + c * shape) and abs(stated - c) <= 5 * LEFT * abs(c)


def _log(r: Region, _: dict[str, Any]) -> bool:
    x = r.params
    gains = (x, 1 / x, np.exp(x), np.exp(-x), 1 / (1 + np.exp(-x)), 1 + np.exp(-x), x * x, 1 / x**2)
    return any(np.isfinite(g).all() and r.fits(g * r.right) for g in gains)


def _transposed(r: Region, _: dict[str, Any]) -> bool:
    shapes = {r.right.shape} | {(a, r.right.size // a) for a in _divisors(r.right.size)}
    for shape in shapes:
        d, orders = r.right.reshape(shape), list(permutations(range(len(shape))))
        for order in orders[1:]:
            moved = d.transpose(order).reshape(r.claimed.shape)
            inverse = d.reshape([shape[i] for i in order]).transpose(np.argsort(order))
            if r.fits(moved) or r.fits(inverse.reshape(r.claimed.shape)):
                return True
    return False


def _divisors(n: int) -> list[int]:
    return [a for a in range(2, n // 2 + 1) if n % a == 0]


def _shifted(r: Region, _: dict[str, Any]) -> bool:
    for axis, n in chain([(None, r.right.size)], enumerate(r.right.shape)):
        for by in range(1, n):
            moved = np.roll(r.right, by, axis)
            edge = np.zeros(r.right.shape, dtype=bool)
            signed = by if by <= n // 2 else by - n
            cut = slice(0, signed) if signed > 0 else slice(n + signed, n)
            if axis is None:
                edge.flat[cut] = True
            else:
                edge[(slice(None),) * axis + (cut,)] = True
            few = abs(signed) <= max(1, n // 4)  # what falls off the end may be anything
            if r.fits(moved) or (few and r.fits(np.where(edge, r.claimed, moved))):
                return True
    return False


def _reversed(r: Region, _: dict[str, Any]) -> bool:
    flips = product([False, True], repeat=r.right.ndim)
    turned = [np.flip(r.right, [i for i, f in enumerate(flip) if f]) for flip in flips]
    return any(r.fits(each) for each in [*turned[1:], r.right.ravel()[::-1].reshape(r.right.shape)])


def _permuted(r: Region, _: dict[str, Any]) -> bool:
    order, other = np.argsort(r.claimed, axis=None), np.argsort(r.right, axis=None)
    matched = np.empty(r.right.size)
    matched[order] = r.right.ravel()[other]
    return r.right.size > 1 and r.fits(matched.reshape(r.right.shape))


def _swapped(r: Region, _: dict[str, Any]) -> bool:
    """Whether the claimed values are those that belong to other parameters of the model."""
    n, flat = r.claimed.size, r.whole
    rows = (flat[i : i + n].reshape(r.claimed.shape) for i in range(len(flat) - n + 1))
    return any(r.fits(row) for row in rows)


def _broadcast(r: Region, _: dict[str, Any]) -> bool:
    size = np.abs(r.claimed).max()
    shapes = {r.claimed.shape} | {(a, r.claimed.size // a) for a in _divisors(r.claimed.size)}
    spreads = (
        np.ptp(r.claimed.reshape(shape), axis=axis).max()
        for shape in shapes
        for axis, n in enumerate(shape)
        if n > 1
    )
    return r.claimed.size > 1 and size > 0 and any(each <= 1e-9 * size for each in spreads)


def _precision(r: Region, evidence: dict[str, Any]) -> bool:
    values = np.abs(r.claimed[r.claimed != 0])
    bits = next((b for b in range(3, 40) if _short(values, b)), 53)
    # One unit of the last bit, relative or, for fixed-point numbers and denormals, of the largest.
    size = np.fmax(np.abs(r.right), np.abs(r.right).max() * 1e-3)
    return bits <= 26 and bool((r.error <= 2.0 ** (1 - bits) * size + r.floor).all())


def _short(values: np.ndarray, bits: int) -> bool:
    mantissa = np.frexp(values)[0] * 2.0**bits
    return bool((np.round(mantissa) == mantissa).all())


def _single(r: Region, evidence: dict[str, Any]) -> bool:
    return int(r.visible.sum()) <= max(3, r.visible.size // 4)


def _nearby(r: Region, _: dict[str, Any]) -> bool:
    return bool(np.linalg.norm(r.claimed - r.right) <= 0.3 * np.linalg.norm(r.right))


def _normalised(r: Region, evidence: dict[str, Any]) -> bool:
    """Whether what differs is along the parameters, of all, of each row or of each column."""
    shapes = {r.claimed.shape} | {(a, r.claimed.size // a) for a in _divisors(r.claimed.size)}
    right = evidence.get("factor", 1.0) * r.right
    for shape in shapes:
        x, residual = r.params.reshape(shape), (r.claimed - right).reshape(shape)
        for axis in (None, *range(len(shape))):
            squares = (x * x).sum(axis=axis, keepdims=True)
            along = (residual * x).sum(axis=axis, keepdims=True) / squares * x
            if r.fits(right + along.reshape(right.shape)):
                return True
    return False


def partly(kind: str, region: Region, evidence: dict[str, Any], count: int) -> bool:
    """Whether a relation is true of so many visible errors of a region, whichever these are."""
    simple = {
        "FACTOR": evidence.get("factor", np.nan) * region.right,
        "SIGN": -region.right,
        "ZERO": 0 * region.right,
        "OFFSET": region.right + evidence.get("coefficient", np.nan),
        "MISSING_L2": region.right + evidence.get("coefficient", np.nan) * region.params,
        "MISSING_L1": region.right + evidence.get("coefficient", np.nan) * np.sign(region.params),
    }
    if kind not in simple:
        return holds(kind, region, evidence)
    left = np.abs(region.claimed - simple[kind])
    close = left <= LEFT * np.abs(region.right) + region.floor
    return int((close & region.visible).sum()) >= count


def _masked(r: Region, _: dict[str, Any]) -> bool:
    """Whether a threshold tells wrong entries from right ones, and that is no coincidence."""
    wrong, count = r.visible, int(r.visible.sum())
    if count == wrong.size or comb(wrong.size, count) * BY_CHANCE < THRESHOLDS:
        return False
    tests = (r.params, -r.params, np.abs(r.params), -np.abs(r.params))
    same = np.ptp(r.params[wrong]) == 0 and not (r.params[~wrong] == r.params[wrong][0]).any()
    return same or any(x[wrong].max() < x[~wrong].min() for x in tests)


def _absolute(r: Region, _: dict[str, Any]) -> bool:
    return any(r.fits(each) for each in (np.abs(r.right), np.fmax(r.right, 0), np.fmin(r.right, 0)))


_TESTS = {
    "FACTOR": _factor,
    "SIGN": lambda r, e: r.fits(-r.right),
    "ZERO": _zero,
    "TRANSPOSED": _transposed,
    "SHIFTED": _shifted,
    "REVERSED": _reversed,
    "PERMUTED": _permuted,
    "SWAPPED": _swapped,
    "MISSING_L2": lambda r, e: _added(r, r.params, e),
    "MISSING_L1": lambda r, e: _added(r, np.sign(r.params), e),
    "OFFSET": lambda r, e: _added(r, np.ones(r.params.shape), e),
    "LOG_PARAMETER": _log,
    "BROADCAST": _broadcast,
    "PRECISION": _precision,
    "SINGLE": _single,
    "NEARBY": _nearby,
    "NORMALIZATION": _normalised,
    "ABSOLUTE": _absolute,
    "MASKED": _masked,
}
# Relations that are tested here; of others it is known only that the slip was one of them or not.
TESTED = frozenset(_TESTS)
# Those that leave nothing open where they hold in three entries: then they are right, whatever slip
# was planted.
COMPLETE = TESTED - {
    "PERMUTED",
    "BROADCAST",
    "PRECISION",
    "SINGLE",
    "NEARBY",
    "NORMALIZATION",
    "MASKED",
}
# Two entries can be exchanged in one way, which has many names.
ORDERS = ("TRANSPOSED", "SHIFTED", "REVERSED", "PERMUTED", "SWAPPED")


def also_true(region: Region) -> set[str]:
    """Relations that hold for the errors of a block by coincidence, as well as the planted one."""
    count = region.visible.sum()
    kinds = COMPLETE if count >= TELLING else ORDERS if count > 1 else ()
    found = {kind for kind in kinds if holds(kind, region)}
    # Where all parameters have one sign, a constant is the simpler word.
    return found - {"MISSING_L1"} if np.ptp(np.sign(region.params)) == 0 else found


# ------------------------------------------------------------------------------------------- places

_INDEX = re.compile(r"\[([^\]\[]*)\]")


def index_of(place: str, shape: tuple[int, ...]) -> tuple[slice | int, ...] | None:
    """The index that ``[2:5, :]`` names; None where the text is of another kind."""
    found = _INDEX.fullmatch(place.strip())
    if found is None:
        return None
    try:
        index = tuple(_side(side) for side in found[1].split(",") if side.strip())
        np.empty(shape)[index]
    except (ValueError, IndexError):
        return None
    return index


def _side(text: str) -> slice | int:
    parts = [int(part) if part.strip() else None for part in text.split(":")]
    if len(parts) == 1 and parts[0] is not None:
        return parts[0]
    return slice(*parts)
