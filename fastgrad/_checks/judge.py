"""Judges analytic against numeric entries of one leaf.

First every entry by one central difference; then the few that do not agree, or at which a kink
shows, by a ladder of steps. Nothing here makes sentences, and `f` is called only through the
function that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from fastgrad._derivatives.extrapolation import RATIO, Estimate, Ladder, estimate, quotients, rung
from fastgrad._report.report import Verdict

__all__ = [
    "UNJUDGED",
    "Columns",
    "Terms",
    "first_pass",
    "judge",
    "looked_at",
    "scale_of",
    "unsettled",
    "without_power",
]

# Takes entries and steps, returns displacements and values: see Sampler.beside.
Measure: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]

_RIGHT, _WRONG, _UNCLEAR = (v.code for v in (Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL))
UNJUDGED = -1  # in place of a verdict's code
# Truncation granted to the first difference, in units of the squared relative step: of the
# entry's own size, and of the largest in its leaf.
_OWN, _LEAF = 300.0, 3.0
_MOST_OWN = 0.02
# Rounding granted to the analytic value: of its largest neighbour, and, in units of the rounding
# of the parameter itself, of how much it changes over that.
_ANALYTIC, _CONDITION = 16.0, 4.0
# Relative errors this small are what a tolerance inside of f leaves, and no bug.
_MATERIAL = 1e-7
# An entry can be judged if its bound is below this share of its leaf, or of the whole gradient.
_POWER_LEAF, _POWER_WHOLE = 0.1, 1e-4
_MOST_DOWN, _MOST_UP = 20, 3
_LABELLED = 256
_CHUNK = 4096


@dataclass(frozen=True)
class Terms:
    """What the entries of one leaf are judged by."""

    base: float  # value of f at the unperturbed parameters
    noise: float  # standard deviation of the noise of f
    unit: float  # relative rounding of its values
    relative: float  # first step over the entry's length
    eps: float  # spacing of the analytic gradient's type
    spacing: float  # spacing of the leaf's type


@dataclass(frozen=True)
class Columns:
    """What is known of the entries of one leaf: arrays of shape (n,)."""

    analytic: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    gaps: np.ndarray  # forward minus backward quotient; where there is a kink, inside the bound
    codes: np.ndarray
    kinks: np.ndarray


def first_pass(
    columns: Columns,
    measure: Measure,
    length: np.ndarray,
    terms: Terms,
    pieces: Iterable[tuple[int, int]],
) -> None:
    """One central difference for every entry; the uncertainty is, for now, that of rounding."""
    for start, stop in pieces:
        part = slice(start, stop)
        entries = np.arange(part.start, part.stop)
        raw = measure(entries, terms.relative * length[part])
        found = quotients(raw, terms.base, terms.noise, terms.unit)
        _, columns.numeric[part], forward, backward, columns.uncertainty[part] = found
        with np.errstate(invalid="ignore"):
            np.subtract(forward, backward, out=columns.gaps[part])


def judge(columns: Columns, measure: Measure, length: np.ndarray, terms: Terms) -> bool:
    """Fill in codes, uncertainties and kinks, measuring more where the first pass leaves doubt.

    Returns whether every bound is small beside the gradient of the leaf.
    """
    leaf_scale = scale_of(columns)
    doubtful = []
    for start in range(0, len(length), _CHUNK):
        part = slice(start, start + _CHUNK)
        agrees, bound = _first_look(columns, part, terms, leaf_scale)
        columns.codes[part] = _RIGHT
        if np.count_nonzero(agrees) == len(agrees):
            columns.uncertainty[part] = bound
            continue
        columns.codes[part][~agrees] = _UNCLEAR
        columns.uncertainty[part] = np.where(agrees, bound, columns.uncertainty[part])
        doubtful.append(start + np.flatnonzero(~agrees))
    candidates = _kink_candidates(columns, leaf_scale)
    if len(candidates) and not _stays_open(columns, candidates[:1], measure, length, terms):
        candidates = candidates[:0]
    for entries in (*doubtful, candidates):
        if len(entries):
            _climb(columns, entries, measure, length, terms, leaf_scale)
    return bool(columns.uncertainty.max(initial=0.0) <= _POWER_LEAF * leaf_scale)


def _first_look(
    columns: Columns, part: slice, terms: Terms, leaf_scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first differences agree, and the bounds that they are held against."""
    allowed = terms.relative**2 * _LEAF * leaf_scale + _rounding_of_analytic(terms, leaf_scale)
    share = min(max(_OWN * terms.relative**2, _MATERIAL), _MOST_OWN)
    a, d, rounding = columns.analytic[part], columns.numeric[part], columns.uncertainty[part]
    with np.errstate(invalid="ignore"):
        bound = 2 * rounding + share * np.fmin(np.abs(a), np.abs(d)) + allowed
        bound += _condition(columns.gaps[part], terms)
        return np.abs(a - d) <= bound, bound


def unsettled(columns: Columns, terms: Terms) -> np.ndarray:
    """Entries that were looked at and, so far, neither agree nor are known to be wrong."""
    agrees, _ = _first_look(columns, slice(None), terms, scale_of(columns))
    opened = (columns.codes == _UNCLEAR) | ((columns.codes == UNJUDGED) & ~agrees)
    return np.flatnonzero(opened & looked_at(columns))


def looked_at(columns: Columns) -> np.ndarray:
    """Whether each entry was differenced at all."""
    seen: np.ndarray = ~np.isnan(columns.uncertainty)
    return seen


def without_power(columns: Columns, terms: Terms, scale: float) -> np.ndarray:
    """Whether each agreement proves nothing, as the bound is as large as the gradient.

    `scale` is the size of the whole gradient. Where a gradient vanishes, as at an optimum, the
    measure is how fast it grows beside the point: the second difference over the length. At a
    kink it is how much the derivative jumps.
    """
    jumps = np.abs(columns.gaps[columns.kinks]).max(initial=0.0)
    leaf_scale = max(scale_of(columns), float(jumps))
    with np.errstate(invalid="ignore"):
        curved = np.abs(columns.gaps) > 4 * columns.uncertainty
        growth = np.abs(columns.gaps[curved & ~columns.kinks]).max(initial=0.0) / terms.relative
        enough = max(_POWER_LEAF * leaf_scale, _POWER_WHOLE * scale, _POWER_WHOLE * growth)
        weak: np.ndarray = columns.uncertainty > enough
        weak &= ~columns.kinks & (columns.codes == _RIGHT)
        return weak


def scale_of(columns: Columns) -> float:
    """Size of the gradient, on which neither one wild analytic nor numeric entry counts."""
    return min(_largest(columns.analytic), _largest(columns.numeric))


def _largest(values: np.ndarray) -> float:
    """Largest finite absolute value."""
    largest = 0.0
    for start in range(0, len(values), _CHUNK):
        sizes = np.abs(values[start : start + _CHUNK])
        most = float(sizes.max())
        if not most < np.inf:
            most = float(sizes.max(initial=0.0, where=sizes < np.inf))
        largest = max(largest, most)
    return largest


def _rounding_of_analytic(terms: Terms, leaf_scale: float) -> float:
    return _ANALYTIC * terms.eps * leaf_scale


def _condition(gaps: np.ndarray, terms: Terms) -> np.ndarray:
    """Change of the derivative as the parameter is rounded: no gradient is more certain."""
    change: np.ndarray = _CONDITION * terms.spacing / terms.relative * np.abs(gaps)
    return change


def _kink_candidates(columns: Columns, leaf_scale: float) -> np.ndarray:
    """Entries that agree although the quotients on both sides differ much, worst first."""
    if not _largest(columns.gaps) > 0.1 * leaf_scale:
        return np.zeros(0, dtype=np.intp)
    with np.errstate(invalid="ignore"):
        gaps = np.where(columns.codes == _RIGHT, np.abs(columns.gaps), 0.0)
        gaps[~(gaps > np.fmax(0.1 * leaf_scale, 8 * columns.uncertainty))] = 0.0
    order = np.argsort(-gaps, kind="stable")[:_LABELLED]
    return order[gaps[order] > 0]


def _stays_open(
    columns: Columns, entry: np.ndarray, measure: Measure, length: np.ndarray, terms: Terms
) -> bool:
    """Whether the quotients on both sides still differ as much at a smaller step."""
    raw = measure(entry, terms.relative / RATIO * length[entry])
    _, _, forward, backward, _ = quotients(raw, terms.base, terms.noise, terms.unit)
    return bool(np.abs(forward - backward)[0] > 0.5 * np.abs(columns.gaps[entry])[0])


def _climb(
    columns: Columns,
    entries: np.ndarray,
    measure: Measure,
    length: np.ndarray,
    terms: Terms,
    leaf_scale: float,
) -> None:
    """Judge these entries by differences at many steps."""
    analytic = columns.analytic[entries]
    first = _first_row(columns, entries, terms.relative * length[entries])
    ladder = _go_up(first, entries, analytic, measure, length, terms)
    ladder = _go_down(ladder, entries, analytic, measure, length, terms).grained()
    found = estimate(ladder)
    own = np.fmax(np.where(np.isfinite(analytic), np.abs(analytic), 0.0), np.abs(found.value))
    floor = _rounding_of_analytic(terms, leaf_scale) + max(8 * terms.eps, _MATERIAL) * own
    floor += np.where(found.kink, 0.0, np.nan_to_num(_condition(columns.gaps[entries], terms)))
    _decide(columns, entries, found, floor)
    _enclose(columns, entries, ladder, _POWER_LEAF * leaf_scale)


def _first_row(columns: Columns, entries: np.ndarray, steps: np.ndarray) -> Ladder:
    """The differences of the first pass again."""
    central, half_gap = columns.numeric[entries], columns.gaps[entries] / 2
    with np.errstate(invalid="ignore"):
        rows = (
            steps,
            central,
            central + half_gap,
            central - half_gap,
            columns.uncertainty[entries],
        )
    return Ladder(*(row[np.newaxis].copy() for row in rows))


def _decide(columns: Columns, entries: np.ndarray, found: Estimate, floor: np.ndarray) -> None:
    analytic = columns.analytic[entries]
    with np.errstate(invalid="ignore"):
        bound = 2 * found.bound + floor
        outside = np.fmax(found.lower - analytic, analytic - found.upper)
        agrees = outside <= bound
        differs = found.converged & ~agrees
        differs &= ~(np.isinf(analytic) & (bound > 0.1 * np.abs(found.value)))
    differs |= np.isfinite(found.value) & np.isnan(analytic)
    columns.numeric[entries] = np.where(
        np.isnan(found.value), columns.numeric[entries], found.value
    )
    columns.uncertainty[entries] = bound + (found.upper - found.lower) / 2
    columns.codes[entries] = np.where(
        differs, _WRONG, np.where(agrees & found.converged, _RIGHT, _UNCLEAR)
    )
    columns.kinks[entries] = found.kink


def _enclose(columns: Columns, entries: np.ndarray, ladder: Ladder, widest: float) -> None:
    """Let pass what no limit was found for, if it lies between the one-sided quotients.

    So it is among kinks too close to each other to be told apart. From some step down all
    quotients must enclose it; the closest that do are its uncertainty.
    """
    analytic = columns.analytic[entries]
    with np.errstate(invalid="ignore"):
        reach = np.abs(ladder.kinks) / 2 + 2 * ladder.noise
        outside = np.abs(analytic - ladder.central) > reach
    reach[np.logical_or.accumulate(outside[::-1])[::-1] | np.isnan(reach)] = np.inf
    closest = reach.min(axis=0)
    passes = (columns.codes[entries] == _UNCLEAR) & (closest <= widest)
    passed, row = entries[passes], reach.argmin(axis=0)[passes]
    columns.codes[passed] = _RIGHT
    columns.uncertainty[passed] = closest[passes]
    columns.numeric[passed] = ladder.central[row, passes]


def _measured(
    entries: np.ndarray, wanted: np.ndarray, steps: np.ndarray, measure: Measure, terms: Terms
) -> Ladder:
    """One row of a ladder; what is not wanted stays NaN."""
    raw = np.full((len(entries), 2, 2), np.nan)
    if wanted.any():
        raw[wanted] = measure(entries[wanted], steps[wanted])
    row = rung(raw, terms.base, terms.noise, terms.unit)
    row.steps[0] = steps
    return row


def _go_up(
    ladder: Ladder,
    entries: np.ndarray,
    analytic: np.ndarray,
    measure: Measure,
    length: np.ndarray,
    terms: Terms,
) -> Ladder:
    """Larger steps for entries whose first difference, or its error, is mostly noise."""
    for _ in range(_MOST_UP):
        with np.errstate(invalid="ignore"):
            size = np.fmax(np.abs(analytic), np.abs(ladder.central[0]))
            size = np.fmin(size, np.abs(analytic - ladder.central[0]))
            steps = ladder.steps[0] * RATIO
            noisy = (ladder.noise[0] > 0.01 * size) & (steps <= 0.5 * length[entries])
        if not noisy.any():
            break
        ladder = _measured(entries, noisy, steps, measure, terms).stacked(ladder)
    return ladder


def _go_down(
    ladder: Ladder,
    entries: np.ndarray,
    analytic: np.ndarray,
    measure: Measure,
    length: np.ndarray,
    terms: Terms,
) -> Ladder:
    """Smaller steps until they tell nothing new."""
    going = np.ones(len(entries), dtype=bool)
    least = 2 * terms.spacing * np.where(length[entries] > 1, length[entries], 0.0)
    for _ in range(_MOST_DOWN):
        steps = ladder.steps[-1] / RATIO
        going = going & (steps > least)
        if not going.any() and len(ladder.steps) > 1:
            break
        ladder = ladder.stacked(_measured(entries, going, steps, measure, terms))
        going = going & ~_settled(ladder, analytic)
    return ladder


def _settled(ladder: Ladder, analytic: np.ndarray) -> np.ndarray:
    """Whether the last row decides, or one below it could only be noisier."""
    new, old, noise = ladder.central[-1], ladder.central[-2], ladder.noise[-1]
    gap, gap_before = np.abs(ladder.kinks[-1]), np.abs(ladder.kinks[-2])
    with np.errstate(invalid="ignore"):
        change, error = np.abs(new - old), np.abs(analytic - new)
        close = change <= 1e-3 * np.abs(new)
        level = change <= 2 * noise + 1e-9 * np.abs(new)
        clear = close & (change <= 1e-3 * error)
        agrees = close & (error <= change / 4 + noise)
        open_kink = (gap > 20 * noise) & (gap > 0.5 * gap_before) & (gap >= 1.5 * error)
        straight = gap <= np.fmax(0.5 * np.fmax(np.abs(new), np.abs(analytic)), 4 * noise)
        drowned = noise > 10 * np.fmax(np.fmax(np.abs(new), np.abs(old)), np.abs(analytic))
    settled: np.ndarray = ((level | clear | agrees) & straight & ~open_kink) | drowned
    return settled
