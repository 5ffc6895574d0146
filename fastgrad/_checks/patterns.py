"""Bugs as patterns: what each would make of the numeric gradient of one leaf.

Each is a function of a `Case` that yields what it found, if it explains every entry to within a
small share of the errors and the uncertainty of the numeric values. A cause never decides a
verdict: the constants here say when a sentence is said, and too strict ones cost only that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._checks.case import ROUNDED, Case, Found, moved_gain, share, squares, whole
from fastgrad._checks.error_model import OWN_ROUNDING, SAFETY
from fastgrad._report.report import Cause

__all__ = ["PATTERNS", "Pattern"]

# Values below this share of the largest one count as zero: 4096 spacings of float64.
_NOTHING = 1e-12
# Two factors are the same if they differ by less than this share: a third of what a pattern may
# leave of the errors.
_SAME_FACTOR = 1e-3
# Doubt in the fitted factor, at most, that still makes it -1.
_LARGEST_DOUBT = 0.1
# A factor of one single entry is said only if it is whole to this share: any number has a factor.
_SIMPLE = 1e-4
# Gains, or parameters, this even are one factor, or one constant, which says more. The second is
# wider, as a multiple of even parameters explains a constant to within its own spread.
_EVEN_GAIN, _EVEN_SHAPE = 1e-3, 1e-2
# In a sample, a threshold that tells the wrong entries from the right ones means something if
# these could be chosen in at least this many ways: a chance of 5 %, as usual.
_UNLIKELY = 20
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
# Share of the entries of a slice that must be wrong: by chance half of them may happen to be right,
# as where half of the units of a network are dead.
_DENSE = 0.6
# Entries are isolated if they are at most this many, or one in this many of those that could be
# wrong.
_ISOLATED, _ONE_IN = 3, 10


@dataclass(frozen=True)
class Pattern:
    """A kind of bug: `explain` yields a finding where it explains the errors of a leaf."""

    explain: Callable[[Case], Iterator[Found]]
    on_samples: bool  # whether it holds for some of the entries as for all


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
    if np.abs(case.analytic).max() <= _NOTHING * np.abs(case.numeric).max():
        yield Cause.ZERO, f" is zero in {whole(case)}: it was never computed", {}


def _conjugate(case: Case) -> Iterator[Found]:
    if (
        np.iscomplexobj(case.analytic)
        and case.fits(case.numeric.conj())
        and case.numeric.imag.any()
    ):
        yield (
            Cause.CONJUGATE,
            " is the complex conjugate of the numeric gradient df/dRe + i df/dIm: another "
            "convention",
            {},
        )


def _factor(case: Case) -> Iterator[Found]:
    # Least squares with weights: entries whose numeric value is uncertain count for less.
    unit = np.fmax(case.bound, _NOTHING * np.abs(case.numeric).max())
    analytic, numeric = case.analytic / unit, case.numeric / unit
    square = squares(numeric)
    c = float((analytic * numeric.conj()).real.sum() / square) if square else 0.0
    if not np.isfinite(c) or c == 0 or not case.fits(c * case.numeric, c):
        return
    # A fitted factor is uncertain by one over the root of the sum of squares, in units of bounds.
    if abs(c + 1) < _SAME_FACTOR + min(SAFETY / np.sqrt(square), _LARGEST_DOUBT):
        yield Cause.SIGN, f" has the wrong sign in {whole(case)}", {"factor": -1.0}
    elif case.analytic.size > 1 or _simple(c):  # one entry alone has some factor always
        yield (
            Cause.FACTOR,
            f" is {c:.4g} x the numeric gradient in {whole(case)}: {_missing(c)}",
            {"factor": c},
        )


def _simple(c: float) -> bool:
    """Whether a factor is a whole number or one over a whole number."""
    c = max(abs(c), 1 / abs(c))
    return abs(c - round(c)) < _SIMPLE * c


def _missing(c: float) -> str:
    inverse = 1 / c
    for value, word in ((inverse, "is missing"), (c, "is too much")):
        if value > 1 and abs(value - round(value)) < _SAME_FACTOR * value:
            return f"a factor {round(value):,} {word}"
    return f"a factor {inverse:.4g} is missing"


def _log_parameter(case: Case) -> Iterator[Found]:
    x = case.parameters
    if np.iscomplexobj(x) or not x.all():
        return
    forms = (
        (x, "times the parameter", "the derivative with respect to its logarithm"),
        (1 / x, "over the parameter", "the chain rule of a logarithm, applied once too often"),
        (np.exp(-x), "times exp(-parameter)", "the factor exp(parameter) is missing"),
        (np.exp(x), "times exp(parameter)", "the chain rule of an exponential, once too often"),
    )
    for gain, words, meaning in forms:
        even = np.ptp(gain) <= _EVEN_GAIN * np.abs(gain).max()  # then `_factor` says more
        usable = np.isfinite(gain).all() and not (even and gain.size > 1)
        if usable and case.fits(gain * case.numeric, gain):
            yield (
                Cause.LOG_PARAMETER,
                f" is the numeric gradient {words} in {whole(case)}: {meaning}",
                {},
            )


def _added(case: Case) -> Iterator[Found]:
    """A multiple of the parameters, of their signs, or a constant, added or left out."""
    residual, size = case.analytic - case.numeric, case.analytic.size
    for kind, shape in (
        (Cause.MISSING_L2, case.parameters),
        (Cause.MISSING_L1, np.sign(case.parameters.real)),
        (Cause.OFFSET, np.ones(case.analytic.shape)),
    ):
        square = float((np.abs(shape) ** 2).sum())
        even = (
            kind is Cause.MISSING_L2 and np.ptp(np.abs(shape)) <= _EVEN_SHAPE * np.abs(shape).max()
        )
        if size < 2 or square == 0 or even:
            continue
        # Least squares; the coefficient is real for complex parameters too.
        c = float((residual * np.conj(shape)).real.sum() / square)
        if c and case.fits(case.numeric + c * shape):
            yield kind, _added_sentence(kind, c, case), {"coefficient": c}


def _added_sentence(kind: Cause, c: float, case: Case) -> str:
    if kind is Cause.OFFSET:
        return f" has the constant {c:.4g} added to {whole(case)}"
    term = "the parameter" if kind is Cause.MISSING_L2 else "the parameter's sign"
    name = "L2" if kind is Cause.MISSING_L2 else "L1"
    what = f"lacks {-c:.4g}" if c < 0 else f"has {c:.4g}"
    said = f"an {name} term is missing" if c < 0 else f"an {name} term is counted twice or more"
    extra = "" if c < 0 else " too much"
    return f" {what} x {term}{extra} in {whole(case)}: {said}"


# ----------------------------------------------------------------------------- entries out of place


def _transposed(case: Case) -> Iterator[Found]:
    if case.analytic.ndim == 2 and min(case.analytic.shape) > 1:
        shape = case.analytic.shape
        # The bounds are transposed as well: an uncertain value is uncertain where it went.
        if case.fits(case.numeric.T.reshape(shape), moved_gain(case, case.bound.T.reshape(shape))):
            how = "" if shape[0] == shape[1] else ", laid out in the wrong shape"
            yield Cause.TRANSPOSED, f" is the transpose of the numeric gradient{how}", {}


def _reordered(case: Case) -> Iterator[Found]:
    for axis in range(case.analytic.ndim):
        analytic, numeric = _rows(case.analytic, axis), _rows(case.numeric, axis)
        if len(analytic) < 2:
            continue
        along = f"along axis {axis}" if case.analytic.ndim > 1 else "in order"
        for kind, order, words, evidence in _orders(analytic, numeric):
            gain = moved_gain(case, np.take(case.bound, order, axis))
            moved = not np.array_equal(order, np.arange(len(analytic)))
            if moved and case.fits(np.take(case.numeric, order, axis), gain):
                yield kind, f" is the numeric gradient {words} {along}", evidence
    if case.analytic.ndim > 1:
        yield from _flat_roll(case)


def _rows(x: np.ndarray, axis: int) -> np.ndarray:
    """The slices of an array across an axis, each as one row."""
    return np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)


def _orders(
    analytic: np.ndarray, numeric: np.ndarray
) -> Iterator[tuple[Cause, np.ndarray, str, dict[str, Any]]]:
    """Orders in which the rows of `numeric` might be those of `analytic`."""
    n = len(analytic)
    # The row most like the first analytic one gives the shift; `fits` tests all rows.
    shift = int(np.argmin(np.abs(numeric - analytic[0]).sum(axis=1)))
    by = (n - shift) % n
    signed = by if by <= n // 2 else by - n
    rolled = (np.arange(n) + shift) % n
    yield Cause.SHIFTED, rolled, f"shifted by {signed}", {"shift": signed}
    yield Cause.REVERSED, np.arange(n)[::-1], "reversed", {}
    if n > 2:
        # Rows are matched by one random number each; a wrong match does not fit.
        weights = np.random.default_rng(0).normal(size=analytic.shape[1])
        matched = np.empty(n, dtype=np.intp)
        matched[np.argsort((analytic @ weights).real)] = np.argsort((numeric @ weights).real)
        yield Cause.PERMUTED, matched, "with its slices in another order", {}


def _flat_roll(case: Case) -> Iterator[Found]:
    """Entries shifted or reversed as if the array were one row, so that they wrap between rows."""
    flat = case.numeric.ravel()
    shift = int(np.argmin(np.abs(flat - case.analytic.flat[0])))
    moved = np.roll(flat, -shift).reshape(case.analytic.shape)
    bound = np.roll(case.bound.ravel(), -shift).reshape(case.analytic.shape)
    if shift and case.fits(moved, moved_gain(case, bound)):
        yield Cause.SHIFTED, " is the numeric gradient shifted, read row by row", {"shift": -shift}
    if case.fits(flat[::-1].reshape(case.analytic.shape)):
        yield Cause.REVERSED, " is the numeric gradient reversed, read row by row", {}


# ------------------------------------------------------------------------------------- structure


def _broadcast(case: Case) -> Iterator[Found]:
    size = np.abs(case.analytic)
    scale = float(size.max())
    for axis in (None, *range(case.analytic.ndim)):
        length = case.analytic.size if axis is None else case.analytic.shape[axis]
        spread = (
            np.ptp(case.analytic.real, axis=axis).max()
            + np.ptp(case.analytic.imag, axis=axis).max()
        )
        if length > 1 and scale and spread <= max(_NOTHING, OWN_ROUNDING * case.eps) * scale:
            where = "all entries are" if axis is None else f"along axis {axis} all entries are"
            yield (
                Cause.BROADCAST,
                f": {where} the same: a sum over the wrong axis, or one value broadcast",
                {"axis": axis},
            )
            return


def _symmetric(case: Case) -> Iterator[Found]:
    analytic, numeric = case.analytic, case.numeric
    if analytic.ndim != 2 or analytic.shape[0] != analytic.shape[1] or len(analytic) < 2:
        return
    if case.wrong.diagonal().any():
        return
    off = ~np.eye(len(analytic), dtype=bool)
    # Where f reads one triangle, or means both as one, pairs of entries agree in their sums alone.
    pairs, claimed = (numeric + numeric.T)[off], (analytic + analytic.T)[off]
    c = float((claimed * pairs).sum().real / (np.abs(pairs) ** 2).sum())
    allowed = SAFETY * (case.bound + case.bound.T)[off] * (1 + abs(c)) + case.slack[off]
    if not (np.abs(claimed - c * pairs) <= allowed).all():
        return
    even = np.abs(analytic - analytic.T).max() <= ROUNDED * np.abs(analytic).max()
    if even or not np.tril(analytic, -1).any() or not np.triu(analytic, 1).any():
        words = f"off-diagonal entries are {c:.3g} x the numeric ones, in pairs, the diagonal right"
        yield (
            Cause.SYMMETRIC,
            f": {words}: a symmetric argument counted once, not twice",
            {"factor": c},
        )


def _precision(case: Case) -> Iterator[Found]:
    """Values with fewer bits than their type has, and errors of that size."""
    values = np.concatenate([case.analytic.real.ravel(), case.analytic.imag.ravel()])
    values = values[values != 0]
    if len(values) < _FEWEST_VALUES:
        return
    mantissa, exponent = np.frexp(values)
    # As whole numbers of 53 bits; ``n & -n`` is the lowest bit that is set.
    whole = np.abs(np.ldexp(mantissa, _BITS)).astype(np.int64)
    bits = _BITS - int(np.log2((whole & -whole).min()))
    full = 1 - int(np.log2(case.eps))
    lowest = np.ldexp((whole & -whole).astype(float), exponent - _BITS).min()  # as a number
    errors, size = np.abs(case.analytic - case.numeric), np.abs(case.analytic)
    few = bits <= _SHORTER * full and case.wrong.mean() > _MOST
    limit = SAFETY * case.bound
    short = (
        few and bits >= _FEWEST_BITS and (errors <= limit + _ROUNDINGS * 2.0**-bits * size).all()
    )
    # A floating-point format, by relative errors, or a fixed-point one, by errors of one unit.
    if short or (few and (errors <= limit + lowest).all() and size.max() > _FEW_UNITS * lowest):
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
    if inside.mean() < _DENSE or case.wrong.size == inside.size:
        return
    # Between two wrong entries of a vector there is always a slice: it must be wrong throughout.
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
    # Where the right gradient vanishes, an entry looks right even if the mask spoils it.
    values, wrong = case.parameters.real[case.telling], case.wrong[case.telling]
    n, count = len(wrong), int(wrong.sum())
    by_chance = case.sampled and n < _UNLIKELY and math.comb(n, count) < _UNLIKELY
    if count in (0, 1, n) or by_chance or np.iscomplexobj(case.parameters):
        return
    for each, name in ((values, "the parameter"), (np.abs(values), "its absolute value")):
        inside, outside = each[wrong], each[~wrong]
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
    if count <= max(_ISOLATED, could // _ONE_IN) and count < max(could, 2):
        what = "one entry" if count == 1 else f"{count} isolated entries"
        yield Cause.SINGLE, f" is wrong in {what} only", {}


# The first that explains a leaf is named: those that say most come first.
PATTERNS = (
    Pattern(_kink, on_samples=True),
    Pattern(_zero, on_samples=True),
    Pattern(_conjugate, on_samples=True),
    Pattern(_factor, on_samples=True),
    Pattern(_transposed, on_samples=False),
    Pattern(_reordered, on_samples=False),
    Pattern(_added, on_samples=True),
    Pattern(_log_parameter, on_samples=True),
    Pattern(_broadcast, on_samples=True),
    Pattern(_symmetric, on_samples=True),
    Pattern(_masked, on_samples=True),
    Pattern(_precision, on_samples=True),
    Pattern(_slice, on_samples=False),
    Pattern(_single, on_samples=False),
)
