"""Judges analytic against numeric entries of one leaf.

First every entry by one central difference; then the few that do not agree, or at which a kink
shows, by differences at many steps. Nothing here makes sentences.
"""

from __future__ import annotations

import numpy as np

from fastgrad import _backend
from fastgrad._checks import refinement
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import CHUNK, UNJUDGED, EntryTable
from fastgrad._checks.error_model import (
    CURVED,
    KINK_CLEAR,
    KINK_SHARE,
    KINK_STAYS,
    POWER_LEAF,
    SAFETY,
    ErrorModel,
    enough_power,
)
from fastgrad._derivatives.step_table import RATIO, bounds_of_noise
from fastgrad._evaluation.protocol import Samples
from fastgrad._report.entries import Verdict

__all__ = [
    "first_differences",
    "first_pass",
    "judge",
    "rounded_to_zero",
    "unsettled",
    "without_power",
]

_RIGHT, _UNCLEAR = Verdict.RIGHT.code, Verdict.CANNOT_TELL.code
# Entries of a leaf that are looked at as kinks, at most: each costs some ten evaluations, and what
# lies between the one-sided quotients is right with or without the label.
_MOST_LABELED = 256


def first_pass(table: EntryTable, differences: Differences, model: ErrorModel) -> None:
    """Take one central difference of every entry; its uncertainty is, for now, that of noise."""
    for start, stop in differences.pieces(len(table.analytic)):
        part = slice(start, stop)
        first_differences(table, part, differences.first(start, stop, model.relative), model)


def first_differences(table: EntryTable, part: slice, found: Samples, model: ErrorModel) -> None:
    """Fill in the differences of some entries, from the values on both sides of each."""
    columns = table.numeric[part], table.gaps[part], table.uncertainty[part], table.moved[part]
    bounds = bounds_of_noise(model.noise, model.unit)
    _backend.kernel.first_differences(found.moved, found.values, model.base, *bounds, *columns)


def judge(
    table: EntryTable, differences: Differences, model: ErrorModel, whole: float = 0.0
) -> bool:
    """Fill in codes, uncertainties and kinks, measuring more where the first pass leaves doubt.

    `whole` is the size of the whole gradient. Returns whether every bound is small beside the
    gradient of the leaf.
    """
    scale = table.scale
    # In chunks, so that the temporaries of a large leaf stay in the cache.
    doubtful = []
    for start in range(0, len(table.analytic), CHUNK):
        part = slice(start, start + CHUNK)
        agrees, bound = _first_look(table, part, model, scale)
        if np.count_nonzero(agrees) < len(agrees):
            agrees |= rounded_to_zero(table, part, model, whole)
        table.codes[part] = _RIGHT  # the rule, and so written first; exceptions below
        open_ = start + (~agrees).nonzero()[0]
        # These keep the bound on their noise: it is the first row of their refinement.
        kept = table.uncertainty[open_]
        table.uncertainty[part] = bound
        if len(open_):
            table.codes[open_], table.uncertainty[open_] = _UNCLEAR, kept
            doubtful.append(open_)
    candidates = _kink_candidates(table, model, scale)
    # The widest gap is tried first: if it closes, it was curvature, and so are the others.
    if len(candidates) and not _stays_open(table, candidates[:1], differences, model):
        candidates = candidates[:0]
    for entries in (*doubtful, candidates):
        if len(entries):
            refinement.refine(table, entries, differences, model, scale)
    return bool(table.uncertainty.max(initial=0.0) <= POWER_LEAF * scale)


def _first_look(
    table: EntryTable, part: slice, model: ErrorModel, scale: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the first differences agree, and the bounds that they are held against."""
    analytic, numeric = table.analytic[part], table.numeric[part]
    noise, gaps = table.uncertainty[part], table.gaps[part]
    bound = model.first_bound(analytic, numeric, noise, gaps, scale)
    return model.agrees(analytic, numeric, bound), bound


def rounded_to_zero(table: EntryTable, part: slice, model: ErrorModel, whole: float) -> np.ndarray:
    """Whether each entry of a part is zero but for the rounding of the gradient, and of `f`.

    So it is where a parameter cancels out, as a bias before a normalization.
    """
    with np.errstate(invalid="ignore"):
        lost: np.ndarray = np.abs(table.analytic[part]) <= model.analytic_rounding(whole)
        if np.count_nonzero(lost):  # which is rare
            lost &= np.abs(table.numeric[part]) <= SAFETY * table.uncertainty[part]
    return lost


def unsettled(table: EntryTable, model: ErrorModel) -> np.ndarray:
    """Entries that were looked at and, so far, neither agree nor are known to be wrong."""
    agrees, _ = _first_look(table, slice(None), model, table.scale)
    opened = (table.codes == _UNCLEAR) | ((table.codes == UNJUDGED) & ~agrees)
    return np.flatnonzero(opened & table.looked_at)


def without_power(
    table: EntryTable, model: ErrorModel, whole: float, farther: float = 0.0
) -> np.ndarray:
    """Whether each agreement proves nothing, as the bound is as large as the gradient.

    `whole` is the size of the whole gradient. Where a gradient vanishes, as at an optimum, the
    measure is how fast it grows beside the point: the second difference over the length, or
    `farther`, the slope that `f` was seen to have farther away. At a kink it is how much the
    derivative jumps.
    """
    # At a kink both gradients may be zero, while the derivative jumps from -1 to 1.
    jumps = np.abs(table.gaps[table.kinks]).max(initial=0.0)
    scale = max(table.scale, float(jumps))
    with np.errstate(invalid="ignore"):
        curved = np.abs(table.gaps) > CURVED * table.uncertainty
        growth = max(model.growth(table.gaps[curved & ~table.kinks]), farther)
        weak: np.ndarray = table.uncertainty > enough_power(scale, whole, growth)
        weak &= ~table.kinks & (table.codes == _RIGHT)
        return weak


def _kink_candidates(table: EntryTable, model: ErrorModel, scale: float) -> np.ndarray:
    """Entries that agree although the quotients on both sides differ much, worst first."""
    # Almost always false, and without a temporary as large as the leaf.
    if not _backend.kernel.largest_size(table.gaps) > KINK_SHARE * scale:
        return np.zeros(0, dtype=np.intp)
    with np.errstate(invalid="ignore"):
        gaps = np.where(table.codes == _RIGHT, np.abs(table.gaps), 0.0)
        # Without what is granted to curvature, for a kink has none.
        clear = KINK_CLEAR * (table.uncertainty - model.condition(table.gaps))
        gaps[~(gaps > np.fmax(KINK_SHARE * scale, clear))] = 0.0
    order = np.argsort(-gaps, kind="stable")[:_MOST_LABELED]
    return order[gaps[order] > 0]


def _stays_open(
    table: EntryTable,
    entry: np.ndarray,
    differences: Differences,
    model: ErrorModel,
) -> bool:
    """Whether the quotients on both sides still differ as much at a smaller step."""
    steps = model.relative / RATIO * differences.lengths(entry)
    _, _, forward, backward, _ = model.quotients(differences.at(entry, steps))
    return bool(np.abs(forward - backward)[0] > KINK_STAYS * np.abs(table.gaps[entry])[0])
