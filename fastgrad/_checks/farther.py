"""Judges by moves far away what small steps leave open: entries that stand still, and weak ones."""

from __future__ import annotations

import numpy as np

from fastgrad._checks import judge
from fastgrad._checks.entry_table import Doubt, EntryTable
from fastgrad._checks.error_model import ANALYTIC_ROUNDING, ErrorModel
from fastgrad._checks.movement import Movement, look_far, of_entries, of_leaf
from fastgrad._evaluation.meter import Metered
from fastgrad._report.entries import Verdict

__all__ = ["judge_still", "judge_weak"]

_RIGHT = Verdict.RIGHT.code


def judge_still(
    run: Metered, leaf: int, table: EntryTable, entries: np.ndarray, model: ErrorModel, seed: int
) -> None:
    """Look whether entries that their steps left without effect move `f` farther away, and how.

    `entries` are those of the rows of the table.
    """
    still = np.flatnonzero(table.still)
    if not still.size:
        return
    direction = of_entries(run, {leaf: entries[still]}, seed)
    seen = look_far(run, direction, model.base, model.noise)
    if seen.movement is Movement.JUMPS:
        table.doubt(still, Doubt.JUMPS)
    elif seen.movement is Movement.SMOOTH:
        table.moved[still] = True
        # What is saturated: the claim is lost in the rounding of what f does elsewhere.
        size = np.abs(table.analytic[still])
        lost = still[size <= ANALYTIC_ROUNDING * model.eps * seen.slope]
        table.codes[lost] = _RIGHT
        table.doubts[lost] = Doubt.NONE


def judge_weak(
    run: Metered, leaf: int, table: EntryTable, model: ErrorModel, whole: float, seed: int
) -> None:
    """Leave undecided what agrees though the bounds are as large as the gradient.

    `whole` is the size of the whole gradient.
    """
    weak = judge.without_power(table, model, whole)
    if not weak.any():
        return
    # Entries that are weak beside others are moved alone: the others' slope says nothing of them.
    some = {leaf: np.flatnonzero(weak)}
    direction = of_leaf(run, leaf, seed) if weak.all() else of_entries(run, some, seed)
    seen = look_far(run, direction, model.base, model.noise)
    if seen.movement is Movement.NONE and not model.coarse:
        # Not even far away, beyond rounding: a claim of zero is right.
        weak &= ~judge.rounded_to_zero(table, slice(None), model, whole)
    elif seen.movement is Movement.SMOOTH:
        weak &= judge.without_power(table, model, whole, seen.slope)
    table.doubt(np.flatnonzero(weak), Doubt.WEAK)
