"""Relations of entries: what a bug makes of the numeric value of an entry, wherever it stands.

Each is tested on all entries of a case, which are those that are wrong in some place, and yields
what it found if it explains every one of them. Those that say most come first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from fastgrad._checks.case import Case
from fastgrad._checks.error_model import OWN_ROUNDING, SAFETY
from fastgrad._report.causes import Cause

__all__ = [
    "ADDED",
    "EVEN",
    "FITTED",
    "NEVER_COMPUTED",
    "NOTHING",
    "SIMPLE",
    "Predicted",
    "Relation",
    "Search",
    "coefficient",
    "factor_text",
    "is_round",
    "fits",
    "large",
    "named_factor",
    "product_noise",
    "vanishes",
]

# Values below this share of what they should be count as zero: 4096 spacings of float64.
NOTHING = 1e-12
# A factor is said to be whole, or one over a whole number, to this share: half of the last digit
# that is printed.
_WHOLE = 5e-5
# Digits of a factor that are printed, and digits of its difference from one, or from its nearest
# whole number, that are printed at least.
_DIGITS, _DIGITS_BEYOND_ONE = 4, 1
# Entries that a term with a fitted coefficient must explain: one determines it, another confirms
# it. Signs are equal too often, and want one more.
_FEWEST = 2
# A number is round if it has at most two digits. So many of them lie around any number for each
# unit of the precision that it is known to: they are 1 % apart, or more.
_ROUND_DIGITS, _ROUND_WAYS = 2, 200.0
# Parameters whose sizes differ by less than this share are even: a multiple of them is a constant.
EVEN = 1e-2
# Degrees in a radian, the one factor with a name that is not whole.
_DEGREES = 180.0 / math.pi

# What zeros come from: in a sum, what is assigned instead of added may be the last term, a zero.
NEVER_COMPUTED = "it was never computed, or was overwritten"

Predicted: TypeAlias = tuple[np.ndarray, Any]  # analytic values, and their gain of numeric errors


@dataclass(frozen=True)
class Relation:
    """How analytic values follow from numeric ones."""

    kind: Cause
    words: str  # what the gradient does: "has the wrong sign"
    predict: Callable[[Case], Predicted]  # for any entries, not only those it was found in
    meaning: str = ""  # what that may come from
    evidence: dict[str, Any] = field(default_factory=dict)


Search: TypeAlias = Callable[[Case], Iterator[Relation]]


def fits(case: Case, relation: Relation, fitted: int = 0, ways: float = 1.0) -> bool:
    """Whether a relation explains all entries of a case."""
    return case.fits(*relation.predict(case), fitted=fitted, ways=ways)


# ------------------------------------------------------------------------------- multiples


def _zero(case: Case) -> Iterator[Relation]:
    """Each value beside its own: a large neighbor makes no other value zero."""
    size = np.abs(case.numeric)
    nothing = np.fmin(case.bound, NOTHING * size.max())
    if (np.abs(case.analytic) <= np.fmax(nothing, NOTHING * size)).all():
        yield Relation(
            Cause.ZERO,
            "is zero",
            lambda c: (np.zeros_like(c.numeric), 0.0),
            NEVER_COMPUTED,
        )


def _sign(case: Case) -> Iterator[Relation]:
    relation = Relation(
        Cause.SIGN, "has the wrong sign", lambda c: (-c.numeric, 1.0), evidence={"factor": -1.0}
    )
    if fits(case, relation):
        yield relation


def _conjugate(case: Case) -> Iterator[Relation]:
    if not np.iscomplexobj(case.analytic) or not case.numeric.imag.any():
        return
    for c, times in ((1.0, ""), (0.5, "half "), (2.0, "twice ")):
        relation = Relation(
            Cause.CONJUGATE,
            f"is {times}the complex conjugate of the numeric gradient df/dRe + i df/dIm",
            _times_conjugate(c),
            "another convention",
            {"factor": c},
        )
        if fits(case, relation):
            yield relation
            return


def _times_conjugate(c: float) -> Callable[[Case], Predicted]:
    return lambda case: (c * case.numeric.conj(), c)


def _turned(case: Case) -> Iterator[Relation]:
    """A factor i or -i, and parts that are lost, or stand in the place of one another."""
    if not np.iscomplexobj(case.analytic) or not case.numeric.any():
        return
    for c, name, missing in ((1j, "i", "-i"), (complex(0, -1), "-i", "i")):
        words, meaning = f"is {name} x the numeric gradient", f"a factor {missing} is missing"
        yield from _fitting(case, Relation(Cause.FACTOR, words, _times(c), meaning, {"factor": c}))
    exchanged = "has its real and imaginary parts exchanged"
    yield from _fitting(case, Relation(Cause.CONJUGATE, exchanged, _exchanged))
    for part, name, other in ((np.real, "real", "imaginary"), (np.imag, "imaginary", "real")):
        if part(case.numeric).any() and not (case.analytic - _part(case.analytic, part)).any():
            words = f"has its {name} part alone, and zeros in place of the {other} one"
            predict = partial(_one_part, part)
            yield from _fitting(case, Relation(Cause.ZERO, words, predict, NEVER_COMPUTED))


def _fitting(case: Case, relation: Relation, fitted: int = 0) -> Iterator[Relation]:
    """The relation, if it explains all entries."""
    if fits(case, relation, fitted):
        yield relation


def _times(c: complex) -> Callable[[Case], Predicted]:
    return lambda case: (c * case.numeric, abs(c))


def _exchanged(case: Case) -> Predicted:
    return 1j * case.numeric.conj(), 1.0


def _part(values: np.ndarray, part: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The values with this part alone."""
    return part(values) * (1.0 if part is np.real else 1j)


def _one_part(part: Callable[[np.ndarray], np.ndarray], case: Case) -> Predicted:
    return _part(case.numeric, part), 1.0


def _complex_factor(case: Case) -> Iterator[Relation]:
    """A factor that turns numbers in the complex plane: a lost phase, or one too much."""
    if not np.iscomplexobj(case.analytic) or case.size == 1:
        return
    known, unit = case.known, np.fmax(case.bound, NOTHING * np.abs(case.numeric).max())
    claimed, numeric = ((each / unit)[known] for each in (case.analytic, case.numeric))
    square = float(np.vdot(numeric, numeric).real)
    c = complex(np.vdot(numeric, claimed)) / square if 0 < square < math.inf else 0j
    if np.isfinite(c) and abs(c.imag) > _WHOLE * abs(c.real):
        words = f"is ({c.real:.{_DIGITS}g}{c.imag:+.{_DIGITS}g}i) x the numeric gradient"
        meaning = f"its size is off by a factor {abs(c):.{_DIGITS}g}"
        if abs(abs(c) - 1) < _WHOLE:
            meaning = "its phase is off, and its size is right"
        relation = Relation(Cause.FACTOR, words, _times(c), meaning, {"factor": c})
        yield from _fitting(case, relation, fitted=2)


def _degrees(case: Case) -> Iterator[Relation]:
    """180 / pi, or its inverse: no number is fitted, so that one entry tells it."""
    named = named_factor(_fitted_factor(case))
    if named is not None:
        relation = _multiple(named[0], np.iscomplexobj(case.analytic))
        # It, its inverse, and both with the other sign.
        if fits(case, relation, ways=4):
            yield relation


def named_factor(c: float) -> tuple[float, str] | None:
    """The factor that has a name, if one is so near, and what it means."""
    for factor, text in ((_DEGREES, "180/pi"), (1 / _DEGREES, "pi/180")):
        if abs(abs(c) - factor) <= _WHOLE * factor:
            turned = " and the sign is wrong" if c < 0 else ""
            meaning = f"it is {text}, as where degrees are taken for radians{turned}"
            return math.copysign(factor, c), meaning
    return None


def _whole_factor(case: Case) -> Iterator[Relation]:
    """A whole number, or one over it."""
    c = _fitted_factor(case)
    if not np.isfinite(c) or c == 0 or not 1.5 < max(abs(c), 1 / abs(c)) < math.inf:
        return
    whole = _nearest_whole(c)
    # Whole numbers, and their inverses, lie so close around one that is larger or smaller. With
    # that, none is fitted, and every entry is evidence: of two in float32 one would say too little.
    ways = 2 * max(abs(whole), 1 / abs(whole))
    relation = _multiple(whole, np.iscomplexobj(case.analytic))
    near = _near_whole(max(abs(c), 1 / abs(c)))
    # Beside any number there is a whole one, which the noise of several entries may not tell from
    # it; one entry alone is not enough to round so far.
    if (near or case.size > 1) and fits(case, relation, ways=ways):
        yield relation
        return
    relation = _multiple(c, np.iscomplexobj(case.analytic))
    if case.size > 1 and near and fits(case, relation, fitted=1):
        yield relation


def _nearest_whole(c: float) -> float:
    return float(round(c)) if abs(c) > 1 else 1 / round(1 / c)


def _round_factor(case: Case) -> Iterator[Relation]:
    """A factor of two digits: of one entry alone no other means anything."""
    c = _rounded(_fitted_factor(case)) if case.size == 1 else math.nan
    if np.isfinite(c) and c not in (0.0, 1.0):
        relation = _multiple(c, np.iscomplexobj(case.analytic))
        if fits(case, relation, ways=_ROUND_WAYS):
            yield relation


def _rounded(c: float) -> float:
    """The nearest number of two digits."""
    return float(f"{c:.{_ROUND_DIGITS - 1}e}")


def is_round(value: complex) -> bool:
    """Whether a number, or each part of it, has at most two digits, as small whole numbers have."""
    parts = value.real, value.imag
    return all(abs(part - _rounded(part)) <= _WHOLE * abs(part) for part in parts)


def _factor(case: Case) -> Iterator[Relation]:
    c = _fitted_factor(case)
    if case.size == 1 or not np.isfinite(c) or c in (0.0, 1.0):
        return
    relation = _multiple(c, np.iscomplexobj(case.analytic))
    # Claims that may all be zero are any small multiple.
    told = 2 * np.count_nonzero(large(case)) >= case.size
    if told and fits(case, relation, fitted=1):
        yield relation


def large(case: Case) -> np.ndarray:
    """Claims that are not zero, as far as the bounds tell."""
    found: np.ndarray = np.abs(case.analytic) > SAFETY * case.bound
    return found


def _fitted_factor(case: Case) -> float:
    # Least squares with weights: entries whose numeric value is uncertain count for less.
    unit = np.fmax(case.bound, NOTHING * np.abs(case.numeric).max())
    return coefficient(case.analytic / unit, case.numeric / unit)


def _multiple(c: float, is_complex: bool) -> Relation:
    meaning = _too_much_or_missing(c)
    if is_complex and abs(c - 0.5) < _WHOLE:
        meaning += ", as where the convention is half of df/dRe + i df/dIm"
    words = f"is {factor_text(c)} x the numeric gradient"
    return Relation(Cause.FACTOR, words, lambda each: (c * each.numeric, c), meaning, {"factor": c})


def _too_much_or_missing(c: float) -> str:
    """What a factor means: of what is too large nothing is missing."""
    named = named_factor(c)
    if named is not None:
        return named[1]
    size = abs(c)
    turned = " and the sign is wrong" if c < 0 else ""
    if size < 1:
        inverse = 1 / size
        said = f"{round(inverse):,}" if _near_whole(inverse) else factor_text(inverse)
        return f"a factor {said} is missing{turned}"
    if _near_whole(size) and round(size) > 1:
        return f"a factor {round(size):,} is too much{turned}"
    return f"too large by {factor_text(size - 1, 0)} of its value{turned}"


def factor_text(c: float, apart_from: float = 1.0) -> str:
    """A factor with four digits, and with more where they tell it from 1."""
    off = abs(abs(c) - apart_from) / max(abs(c), apart_from) if c else 1.0
    needed = _DIGITS_BEYOND_ONE - math.floor(math.log10(off)) if 0 < off < 1 else 0
    return f"{c:.{min(max(_DIGITS, needed), 17)}g}"


def _near_whole(size: float) -> bool:
    return math.isfinite(size) and round(size) > 1 and abs(size - round(size)) < _WHOLE * size


def coefficient(values: np.ndarray, shape: np.ndarray) -> float:
    """The real multiple of a shape that is nearest to some values."""
    square = float((np.abs(shape) ** 2).sum())
    return float((values * np.conj(shape)).real.sum() / square) if square else 0.0


# ------------------------------------------------------------------- added terms


def _offset(case: Case) -> Iterator[Relation]:
    c = _weighted(case, np.ones(case.analytic.shape))
    if case.size < _FEWEST or not c:
        return
    still = vanishes(case.numeric, case)
    meaning = "the right ones sum to zero, as where a mean or a sum is divided out" if still else ""
    relation = Relation(
        Cause.OFFSET,
        f"has the constant {c:.4g} added",
        lambda each: (each.numeric + c, 1.0),
        meaning,
        {"coefficient": c},
    )
    if fits(case, relation, fitted=1):
        yield relation


def _penalty(case: Case) -> Iterator[Relation]:
    x = case.parameters
    c = _weighted(case, x)
    if case.size == 1:
        yield from _round_penalty(case, _rounded(c))
        return
    even = np.ptp(np.abs(x)) <= EVEN * np.abs(x).max()
    l2 = _added(Cause.MISSING_L2, c, _itself)
    if c and not even and case.size >= _FEWEST and fits(case, l2, fitted=1):
        yield l2
    c = _weighted(case, _signs(x))
    l1 = _added(Cause.MISSING_L1, c, _signs)
    if c and case.size > _FEWEST and fits(case, l1, fitted=1):
        yield l1


def _round_penalty(case: Case, c: float) -> Iterator[Relation]:
    """Of one entry only a round coefficient is told, and not where its error is round as well."""
    error = float(case.error.real.sum())
    near = abs(error - _rounded(error)) < _WHOLE * abs(error)
    l2 = _added(Cause.MISSING_L2, c, _itself)
    if c and not near and fits(case, l2, ways=_ROUND_WAYS):
        yield l2


def _added(kind: Cause, c: float, shape: Callable[[np.ndarray], np.ndarray]) -> Relation:
    """A multiple of the parameters, or of their signs, that is missing or too much."""
    l2 = kind is Cause.MISSING_L2
    term, name = ("the parameter", "L2") if l2 else ("the parameter's sign", "L1")
    what = f"lacks {-c:.4g} x {term}" if c < 0 else f"has {c:.4g} x {term} too much"
    meaning = f"an {name} term is {'missing' if c < 0 else 'counted twice or more'}"
    return Relation(kind, what, _plus(c, shape), meaning, {"coefficient": c})


def _plus(c: float, shape: Callable[[np.ndarray], np.ndarray]) -> Callable[[Case], Predicted]:
    return lambda case: (case.numeric + c * shape(case.parameters), 1.0)


def _itself(x: np.ndarray) -> np.ndarray:
    return x


def _signs(x: np.ndarray) -> np.ndarray:
    signs: np.ndarray = np.sign(x.real)
    return signs


def _weighted(case: Case, shape: np.ndarray) -> float:
    """The multiple of a shape in the errors, by least squares weighted by the bounds."""
    unit = np.fmax(case.bound, NOTHING * np.abs(case.error).max())
    c = coefficient(case.error / unit, shape / unit)
    return c if np.isfinite(c) else 0.0


def vanishes(terms: np.ndarray, case: Case, weights: Any = 1.0) -> bool:
    """Whether the sum of some terms is zero beside their size, though not each of them."""
    share, size = product_noise(terms, case, weights), float(np.abs(terms).sum())
    return abs(float(terms.real.sum())) <= share * size and share < EVEN


def product_noise(terms: np.ndarray, case: Case, weights: Any = 1.0) -> float:
    """How far the sum of some terms may be from what it is, as a share of their size."""
    noise, size = float((case.bound * np.abs(weights)).sum()), float(np.abs(terms).sum())
    return max(noise / size, NOTHING) if size else 1.0


# The first that explains a place is named: those with no number to fit come first. Misplaced values
# (`misplaced`), which have none either, come between the two.
def _same(case: Case) -> Iterator[Relation]:
    """One value in all entries that are wrong: more than two, as two are equal by chance."""
    values = case.analytic
    limit = max(NOTHING, OWN_ROUNDING * case.eps) * np.abs(values).max()
    spread = np.ptp(values.real) + np.ptp(values.imag)
    if case.size > _FEWEST and values.any() and spread <= limit:
        yield Relation(
            Cause.BROADCAST,
            f"is the same value, {values.flat[0]:.4g},",
            lambda c: (np.full_like(c.analytic, values.flat[0]), 0.0),
            "a sum over the wrong axis, or one value broadcast",
            {"axis": None},
        )


SIMPLE: tuple[Search, ...] = (_zero, _conjugate, _turned, _sign, _degrees, _whole_factor)
FITTED: tuple[Search, ...] = (_factor, _complex_factor)
ADDED: tuple[Search, ...] = (_round_factor, _offset, _penalty, _same)
