"""The functions of `_reference` for a first look at a gradient, as src/first.pxi has them in C."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastgrad import _errors
from fastgrad._leaf import lengths_of
from fastgrad._reference_many import displace, quotients
from fastgrad._returns import as_scalar, at_block

if TYPE_CHECKING:
    from fastgrad._evaluation.guard import UndoLog
    from fastgrad._leaf import Leaf
    from fastgrad._memory import Fingerprint

__all__ = [
    "FactorRules",
    "agreeing",
    "agreement",
    "first_bounds",
    "first_factors",
    "has_tiny",
    "odd_moves",
    "odd_table",
    "steepest",
    "survey",
]


def odd_table(
    f: Callable[[Any], Any],
    argument: Any,
    leaves: list[Leaf],
    found: list[Fingerprint],
    log: UndoLog,
    factors: list[np.ndarray],
    widths: list[tuple[float, float]],
    times: tuple[float, ...],
    still: float,
    values: list[float],
) -> None:
    """Evaluate `f` with small plain arrays moved together, and append its values.

    Each moves by multiples, these `times`, of its `odd_moves`. What is moved stands in the log
    until the bits are back; where `f` raises it is left there. Where the first two values both
    equal `still`, nothing moves `f`, and no more are taken.
    """
    mark, moving = len(log.entries), []
    for leaf, each, factor, width in zip(leaves, found, factors, widths, strict=True):
        _intact(leaf, each)
        start = log.register(each, each.view)
        moving.append((leaf, each, start, odd_moves(start, factor, *width)))
    for time in times:
        for leaf, each, start, move in moving:
            _intact(leaf, each)  # by the evaluation before
            displace(each.view, start, move, time)
        value = f(argument)
        values.append(value if type(value) is float else as_scalar(value, at_block, 0))
        if values == [still] * 2:
            break
    for leaf, each in zip(leaves, found, strict=True):
        _intact(leaf, each)
    log.undo(mark)


def _intact(leaf: Leaf, each: Fingerprint) -> None:
    """Refuse what `f` did to an array."""
    if each.changed():
        raise _errors.moved_error(leaf.path)


class FactorRules(NamedTuple):
    """What the factors of `first_bounds` are made of: `_checks.error_model` says why."""

    safety: float  # of the noise
    own: float  # of the entry itself, for its truncation, over the square of the step ...
    material: float  # ... at least this share ...
    most: float  # ... and at most this one
    leaf: float  # of the largest entry, for its truncation, over the square of the step
    rounding: float  # of the largest entry, in spacings of the claim
    condition: float  # of the gaps, in spacings of the parameter over the step


def first_factors(
    relative: float, eps: float, spacing: float, rules: FactorRules
) -> tuple[float, float, float, float, float]:
    """The factors of `first_bounds` at this step, of a claim and a parameter of these spacings."""
    square = relative * relative
    share = min(max(rules.own * square, rules.material), rules.most)
    truncation, rounding = square * rules.leaf, rules.rounding * eps
    return rules.safety, share, truncation, rounding, rules.condition * spacing / relative


def first_bounds(
    analytic: np.ndarray,
    numeric: np.ndarray,
    noise: np.ndarray,
    gaps: np.ndarray,
    scale: float,
    factors: tuple[float, ...],
) -> np.ndarray:
    """How far analytic and numeric entries may be apart after one central difference.

    All arrays are of shape (entries,), float64; `noise` is the bound on that of the numeric ones,
    and `scale` the largest entry. The factors are those of the noise, of the entry itself, of the
    largest one for its truncation and its rounding, and of the gaps of the one-sided quotients.
    """
    safety, share, truncation, rounding, condition = factors
    with np.errstate(invalid="ignore", over="ignore"):
        # The smaller of both values, so that a huge wrong one does not buy itself room.
        own = np.fmin(np.abs(analytic), np.abs(numeric))
        bound: np.ndarray = safety * noise + share * own + (truncation * scale + rounding * scale)
        bound += condition * np.abs(gaps)
    return bound


def agreeing(
    analytic: np.ndarray, numeric: np.ndarray, bounds: np.ndarray, rtol: float, atol: float
) -> np.ndarray:
    """Whether entries agree to within their bounds, and what is granted on top."""
    with np.errstate(invalid="ignore", over="ignore"):
        found: np.ndarray = np.abs(analytic - numeric) <= bounds + (atol + rtol * np.abs(numeric))
    return found


def agreement(
    analytic: np.ndarray,
    samples: list[tuple[np.ndarray, np.ndarray]],
    base: float,
    noise: float,
    unit: float,
    factors: list[tuple[float, ...]],
    rtol: float,
    atol: float,
    kink: float,
    power: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Numeric entries and their bounds, where nothing about a gradient is in doubt; else None.

    There are samples and factors for each leaf: displacements and values as for `quotients`, and
    the factors of `first_bounds`. `rtol` and `atol` are granted on top. In doubt is what is not
    finite, does not move, or does not agree; a gap above the share `kink` of the leaf's largest
    entry, and a bound above the share `power` of it.
    """
    found: list[tuple[np.ndarray, np.ndarray]] = []
    start = 0
    for (moved, values), mine in zip(samples, factors, strict=True):
        rows = quotients(moved, values, base, noise, unit)
        claimed = analytic[start : start + len(moved)]
        bounds = _agree(claimed, rows, mine, rtol, atol, kink, power)
        if bounds is None:
            return None
        found.append((rows[1], bounds))
        start += len(moved)
    numeric, bound = zip(*found, strict=True)
    return np.concatenate(numeric), np.concatenate(bound)


def _agree(
    analytic: np.ndarray,
    rows: np.ndarray,
    factors: tuple[float, ...],
    rtol: float,
    atol: float,
    kink: float,
    power: float,
) -> np.ndarray | None:
    """The bounds of one leaf's entries, or None: see `agreement`."""
    _, numeric, ahead, behind, noise = rows
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = ahead - behind
        if not (np.isfinite(analytic) & np.isfinite(numeric) & np.isfinite(gaps)).all():
            return None
        scale = float(min(np.abs(analytic).max(), np.abs(numeric).max()))
        bounds = first_bounds(analytic, numeric, noise, gaps, scale, factors)
        agrees = agreeing(analytic, numeric, bounds, rtol, atol)
        agrees &= (numeric != 0) | (gaps != 0)
        settled = np.abs(gaps).max() <= kink * scale and bounds.max() <= power * scale
    return bounds if settled and agrees.all() else None


def survey(claimed: np.ndarray, found: list[Fingerprint], below: float) -> tuple[float, bool]:
    """What `steepest` says of all leaves, and whether one of them `has_tiny` entries."""
    most, tiny, start = 0.0, False, 0
    for each in found:
        stop = start + each.view.size
        most = max(most, steepest(claimed[start:stop], each.view.reshape(-1)))
        tiny = tiny or has_tiny(each.view, below)
        start = stop
    return most, tiny


def steepest(claimed: np.ndarray, x: np.ndarray) -> float:
    """Largest change that a gradient claims over the length of an entry, of those not infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(claimed) * lengths_of(x)
    return float(sizes.max(initial=0.0, where=sizes < inf))


def has_tiny(x: np.ndarray, below: float) -> bool:
    """Whether an entry is not zero, and smaller than this."""
    size = np.abs(x)
    return bool(np.count_nonzero((size > 0) & (size < below)))


def odd_moves(before: np.ndarray, factors: np.ndarray, width: float, odd: float) -> np.ndarray:
    """Moves by small factors (int8, one for each entry) of an odd number near `width` lengths.

    The number is `odd` times a quarter of a power of two.
    """
    _, exponents = np.frexp(width * lengths_of(before))
    with np.errstate(over="ignore"):
        moves = np.ldexp(factors.reshape(before.shape), exponents - 2, dtype=np.float64)
        return np.asarray(moves * odd)
