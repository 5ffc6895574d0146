"""Patterns that lead from the numeric to the analytic values of one leaf.

Each is a function of a `Case` that yields what it found, if it explains every entry to within a
small share of the errors and the uncertainty of the numeric values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastgrad._report.report import Cause

__all__ = ["LOCAL", "PATTERNS", "Case", "Found", "moved_gain", "share"]

# A pattern may leave this share of the largest error of the leaf unexplained, this share of each,
# and this share of the sum of their squares in units of the uncertainty.
_LEFT_OVER, _LEFT_OVER_EACH, _UNEXPLAINED = 3e-3, 0.1, 0.1
# In a sample, a threshold that tells the wrong entries from the right ones means something if
# these could be chosen in so many ways.
_UNLIKELY = 20
Found: TypeAlias = tuple[Cause, str, dict[str, Any]]


@dataclass(frozen=True)
class Case:
    """One leaf: analytic, numeric, its bound, the parameters, and which entries are wrong."""

    path: str
    a: np.ndarray
    d: np.ndarray
    bound: np.ndarray
    theta: np.ndarray
    wrong: np.ndarray
    kinks: np.ndarray
    precise: float  # spacing of the analytic gradient's type
    sampled: bool = False  # whether these are only some entries of the leaf

    @property
    def slack(self) -> np.ndarray:
        """How much of each entry a pattern may leave unexplained."""
        errors, claimed = np.abs(self.a - self.d), np.abs(self.a)
        sizes = (each[np.isfinite(each)].max(initial=0.0) for each in (errors[self.wrong], claimed))
        slack: np.ndarray = np.fmin(_LEFT_OVER * min(sizes), _LEFT_OVER_EACH * (errors + claimed))
        return slack

    @property
    def telling(self) -> np.ndarray:
        """Entries that are wrong, or could well be: not those whose gradient vanishes."""
        clear: np.ndarray = np.abs(self.d) > 10 * self.bound
        clear |= self.wrong
        return clear

    def fits(self, predicted: np.ndarray, gain: Any = 1.0) -> bool:
        """Whether `predicted`, in which errors of `d` are multiplied by `gain`, explains `a`."""
        with np.errstate(invalid="ignore", over="ignore"):
            left, slack = np.abs(self.a - predicted), self.slack
            allowed = 2 * np.abs(gain) * self.bound + slack + 1e-9 * np.abs(predicted)
            unit = self.bound + slack
            explained = _squares(left / unit) <= _UNEXPLAINED * _squares((self.a - self.d) / unit)
            return bool((left <= allowed).all()) and explained


def _squares(x: np.ndarray) -> float:
    return float((np.abs(x) ** 2).sum())


def share(case: Case) -> str:
    """How many of the entries are wrong, in words."""
    count, size = int(case.wrong.sum()), case.wrong.size
    return _all(case) if count == size else f"{count:,} of {size:,} entries{_sampled(case)}"


def _all(case: Case) -> str:
    size = case.a.size
    return f"all {size:,} entries{_sampled(case)}" if size > 1 else "its only entry"


def _sampled(case: Case) -> str:
    return " sampled" if case.sampled else ""


# ----------------------------------------------------------------------- patterns of whole leaves


def _kink(case: Case) -> Iterator[Found]:
    if case.kinks[case.wrong].all():
        yield (
            Cause.KINK,
            f": at a kink of `f` the analytic value is not between the one-sided derivatives, in "
            f"{share(case)}",
            {},
        )


def _zero(case: Case) -> Iterator[Found]:
    if np.abs(case.a).max() <= 1e-12 * np.abs(case.d).max():
        yield Cause.ZERO, f" is zero in {_all(case)}: it was never computed", {}


def _conjugate(case: Case) -> Iterator[Found]:
    if np.iscomplexobj(case.a) and case.fits(case.d.conj()) and case.d.imag.any():
        yield (
            Cause.CONJUGATE,
            " is the complex conjugate of the numeric gradient df/dRe + i df/dIm: another "
            "convention",
            {},
        )


def _factor(case: Case) -> Iterator[Found]:
    unit = np.fmax(case.bound, 1e-12 * np.abs(case.d).max())
    a, d = case.a / unit, case.d / unit
    square = _squares(d)
    c = float((a * d.conj()).real.sum() / square) if square else 0.0
    if not np.isfinite(c) or c == 0 or not case.fits(c * case.d, c):
        return
    if abs(c + 1) < 1e-3 + min(2 / np.sqrt(square), 0.1):
        yield Cause.SIGN, f" has the wrong sign in {_all(case)}", {"factor": -1.0}
    elif case.a.size > 1 or _simple(c):
        yield (
            Cause.FACTOR,
            f" is {c:.4g} x the numeric gradient in {_all(case)}: {_missing(c)}",
            {"factor": c},
        )


def _simple(c: float) -> bool:
    """Whether a factor is a whole number or one over a whole number."""
    c = max(abs(c), 1 / abs(c))
    return abs(c - round(c)) < 1e-4 * c


def _missing(c: float) -> str:
    inverse = 1 / c
    for value, word in ((inverse, "is missing"), (c, "is too much")):
        if value > 1 and abs(value - round(value)) < 1e-3 * value:
            return f"a factor {round(value):,} {word}"
    return f"a factor {inverse:.4g} is missing"


def _log_parameter(case: Case) -> Iterator[Found]:
    theta = case.theta
    if np.iscomplexobj(theta) or not theta.all():
        return
    forms = (
        (theta, "times the parameter", "the derivative with respect to its logarithm"),
        (1 / theta, "over the parameter", "the chain rule of a logarithm, applied once too often"),
        (np.exp(-theta), "times exp(-parameter)", "the factor exp(parameter) is missing"),
        (np.exp(theta), "times exp(parameter)", "the chain rule of an exponential, once too often"),
    )
    for gain, words, meaning in forms:
        even = np.ptp(gain) <= 1e-3 * np.abs(gain).max()  # then a factor says more
        usable = np.isfinite(gain).all() and not (even and gain.size > 1)
        if usable and case.fits(gain * case.d, gain):
            yield (
                Cause.LOG_PARAMETER,
                f" is the numeric gradient {words} in {_all(case)}: {meaning}",
                {},
            )


def _added(case: Case) -> Iterator[Found]:
    """A multiple of the parameters, of their signs, or a constant, added or left out."""
    residual, size = case.a - case.d, case.a.size
    for kind, shape in (
        (Cause.MISSING_L2, case.theta),
        (Cause.MISSING_L1, np.sign(case.theta.real)),
        (Cause.OFFSET, np.ones(case.a.shape)),
    ):
        square = float((np.abs(shape) ** 2).sum())
        even = kind is Cause.MISSING_L2 and np.ptp(np.abs(shape)) <= 1e-2 * np.abs(shape).max()
        if size < 2 or square == 0 or even:
            continue
        c = float((residual * np.conj(shape)).real.sum() / square)
        if c and case.fits(case.d + c * shape):
            yield kind, _added_sentence(kind, c, case), {"coefficient": c}


def _added_sentence(kind: Cause, c: float, case: Case) -> str:
    if kind is Cause.OFFSET:
        return f" has the constant {c:.4g} added to {_all(case)}"
    term = "the parameter" if kind is Cause.MISSING_L2 else "the parameter's sign"
    name = "L2" if kind is Cause.MISSING_L2 else "L1"
    what = f"lacks {-c:.4g}" if c < 0 else f"has {c:.4g}"
    said = f"an {name} term is missing" if c < 0 else f"an {name} term is counted twice or more"
    extra = "" if c < 0 else " too much"
    return f" {what} x {term}{extra} in {_all(case)}: {said}"


# ----------------------------------------------------------------------------- entries out of place


def _transposed(case: Case) -> Iterator[Found]:
    if case.a.ndim == 2 and min(case.a.shape) > 1:
        shape = case.a.shape
        if case.fits(case.d.T.reshape(shape), moved_gain(case, case.bound.T.reshape(shape))):
            how = "" if shape[0] == shape[1] else ", laid out in the wrong shape"
            yield Cause.TRANSPOSED, f" is the transpose of the numeric gradient{how}", {}


def moved_gain(case: Case, bound: np.ndarray) -> np.ndarray:
    """Bounds that moved with their entries, in units of those in place."""
    return np.fmax(1.0, bound / np.where(case.bound > 0, case.bound, 1.0))


def _reordered(case: Case) -> Iterator[Found]:
    for axis in range(case.a.ndim):
        a, d = _rows(case.a, axis), _rows(case.d, axis)
        if len(a) < 2:
            continue
        along = f"along axis {axis}" if case.a.ndim > 1 else "in order"
        for kind, order, words, evidence in _orders(a, d):
            gain = moved_gain(case, np.take(case.bound, order, axis))
            moved = not np.array_equal(order, np.arange(len(a)))
            if moved and case.fits(np.take(case.d, order, axis), gain):
                yield kind, f" is the numeric gradient {words} {along}", evidence
    if case.a.ndim > 1:
        yield from _flat_roll(case)


def _rows(x: np.ndarray, axis: int) -> np.ndarray:
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _orders(
    a: np.ndarray, d: np.ndarray
) -> Iterator[tuple[Cause, np.ndarray, str, dict[str, Any]]]:
    """Orders in which the rows of `d` might be those of `a`."""
    n = len(a)
    shift = int(np.argmin(np.abs(d - a[0]).sum(axis=1)))
    by = (n - shift) % n
    signed = by if by <= n // 2 else by - n
    rolled = (np.arange(n) + shift) % n
    yield Cause.SHIFTED, rolled, f"shifted by {signed}", {"shift": signed}
    yield Cause.REVERSED, np.arange(n)[::-1], "reversed", {}
    if n > 2:
        weights = np.random.default_rng(0).normal(size=a.shape[1])
        matched = np.empty(n, dtype=np.intp)
        matched[np.argsort((a @ weights).real)] = np.argsort((d @ weights).real)
        yield Cause.PERMUTED, matched, "with its slices in another order", {}


def _flat_roll(case: Case) -> Iterator[Found]:
    flat = case.d.ravel()
    shift = int(np.argmin(np.abs(flat - case.a.flat[0])))
    moved = np.roll(flat, -shift).reshape(case.a.shape)
    bound = np.roll(case.bound.ravel(), -shift).reshape(case.a.shape)
    if shift and case.fits(moved, moved_gain(case, bound)):
        yield Cause.SHIFTED, " is the numeric gradient shifted, read row by row", {"shift": -shift}
    if case.fits(flat[::-1].reshape(case.a.shape)):
        yield Cause.REVERSED, " is the numeric gradient reversed, read row by row", {}


# ------------------------------------------------------------------------------------- structure


def _broadcast(case: Case) -> Iterator[Found]:
    size = np.abs(case.a)
    scale = float(size.max())
    for axis in (None, *range(case.a.ndim)):
        length = case.a.size if axis is None else case.a.shape[axis]
        spread = np.ptp(case.a.real, axis=axis).max() + np.ptp(case.a.imag, axis=axis).max()
        if length > 1 and scale and spread <= max(1e-12, 8 * case.precise) * scale:
            where = "all entries are" if axis is None else f"along axis {axis} all entries are"
            yield (
                Cause.BROADCAST,
                f": {where} the same: a sum over the wrong axis, or one value broadcast",
                {"axis": axis},
            )
            return


def _symmetric(case: Case) -> Iterator[Found]:
    a, d = case.a, case.d
    if a.ndim != 2 or a.shape[0] != a.shape[1] or len(a) < 2 or case.wrong.diagonal().any():
        return
    off = ~np.eye(len(a), dtype=bool)
    pairs, claimed = (d + d.T)[off], (a + a.T)[off]
    c = float((claimed * pairs).sum().real / (np.abs(pairs) ** 2).sum())
    allowed = 2 * (case.bound + case.bound.T)[off] * (1 + abs(c)) + case.slack[off]
    if not (np.abs(claimed - c * pairs) <= allowed).all():
        return
    even = np.abs(a - a.T).max() <= 1e-9 * np.abs(a).max()
    if even or not np.tril(a, -1).any() or not np.triu(a, 1).any():
        words = f"off-diagonal entries are {c:.3g} x the numeric ones, in pairs, the diagonal right"
        yield (
            Cause.SYMMETRIC,
            f": {words}: a symmetric argument counted once, not twice",
            {"factor": c},
        )


def _precision(case: Case) -> Iterator[Found]:
    """Values with fewer bits than their type has, and errors of that size."""
    values = np.concatenate([case.a.real.ravel(), case.a.imag.ravel()])
    values = values[values != 0]
    if len(values) < 4:
        return
    mantissa, exponent = np.frexp(values)
    whole = np.abs(np.ldexp(mantissa, 53)).astype(np.int64)
    bits = 53 - int(np.log2((whole & -whole).min()))
    full = 1 - int(np.log2(case.precise))
    lowest = np.ldexp((whole & -whole).astype(float), exponent - 53).min()
    errors, size = np.abs(case.a - case.d), np.abs(case.a)
    few = bits <= 0.75 * full and case.wrong.mean() > 0.5
    short = few and bits >= 4 and (errors <= 2 * case.bound + 1.01 * 2.0**-bits * size).all()
    if short or (few and (errors <= 2 * case.bound + lowest).all() and size.max() > 4 * lowest):
        yield (
            Cause.PRECISION,
            f" has only about {bits} significant bits, in {share(case)}: it was computed in a "
            "shorter format",
            {"bits": bits},
        )


# ------------------------------------------------------------------------------ parts of a leaf


def _slice(case: Case) -> Iterator[Found]:
    wrong = np.argwhere(case.wrong)
    if case.wrong[case.telling].all() or len(wrong) < 2:
        return
    low, high = wrong.min(axis=0), wrong.max(axis=0) + 1
    box = tuple(slice(i, j) for i, j in zip(low, high, strict=True))
    inside = case.wrong[box]
    # Entries that happen to be right inside the slice must be few.
    if inside.mean() < 0.6 or case.wrong.size == inside.size:
        return
    if case.wrong.ndim == 1 and (inside.mean() < 1 or len(wrong) < 2):
        return
    text = ", ".join(
        ":" if j - i == n else str(i) if j - i == 1 else f"{i}:{j}"
        for i, j, n in zip(low, high, case.wrong.shape, strict=True)
    )
    full = any(j - i == n and n > 1 for i, j, n in zip(low, high, case.wrong.shape, strict=True))
    if case.wrong.ndim == 1 or full:
        yield Cause.SLICE, f" is wrong in the slice [{text}] only", {"slice": text}


def _masked(case: Case) -> Iterator[Found]:
    """Wrong where the parameter lies on one side of a threshold."""
    theta, wrong = case.theta.real[case.telling], case.wrong[case.telling]
    n, count = len(wrong), int(wrong.sum())
    by_chance = case.sampled and n < _UNLIKELY and math.comb(n, count) < _UNLIKELY
    if count in (0, 1, n) or by_chance or np.iscomplexobj(case.theta):
        return
    for values, name in ((theta, "the parameter"), (np.abs(theta), "its absolute value")):
        inside, outside = values[wrong], values[~wrong]
        if np.ptp(inside) == 0 and not (outside == inside[0]).any():
            yield _mask(case, f"{name} is {inside[0]:g}")
        if inside.max() < outside.min():
            limit = (
                0.0 if inside.max() < 0 <= outside.min() else _between(inside.max(), outside.min())
            )
            yield _mask(case, f"{name} is below {limit:.3g}")
        if inside.min() > outside.max():
            limit = (
                0.0 if outside.max() <= 0 < inside.min() else _between(outside.max(), inside.min())
            )
            yield _mask(case, f"{name} is above {limit:.3g}")


def _between(a: float, b: float) -> float:
    return float((a + b) / 2)


def _mask(case: Case, where: str) -> Found:
    return Cause.MASKED, f" is wrong where {where}, and only there: {share(case)}", {}


def _single(case: Case) -> Iterator[Found]:
    count, could = int(case.wrong.sum()), int(case.telling.sum())
    if count <= max(3, could // 10) and count < max(could, 2):
        what = "one entry" if count == 1 else f"{count} isolated entries"
        yield Cause.SINGLE, f" is wrong in {what} only", {}


# Those that hold for some of the entries as they do for all.
LOCAL: tuple[Callable[[Case], Iterator[Found]], ...] = (
    _kink,
    _zero,
    _conjugate,
    _factor,
    _added,
    _log_parameter,
    _broadcast,
    _symmetric,
    _masked,
    _precision,
)
PATTERNS: tuple[Callable[[Case], Iterator[Found]], ...] = (
    _kink,
    _zero,
    _conjugate,
    _factor,
    _transposed,
    _reordered,
    _added,
    _log_parameter,
    _broadcast,
    _symmetric,
    _masked,
    _precision,
    _slice,
    _single,
)
