"""The judged entries of a leaf, all or some, as cases that relations are tested on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastgrad._checks.case import Case
from fastgrad._checks.entry_table import EntryTable
from fastgrad._leaf import Leaf, in_double
from fastgrad._report.entries import Verdict

__all__ = ["Judged", "case_of", "whole_case"]

_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code


@dataclass(frozen=True)
class Judged:
    """The entries of one leaf that were judged, all or some, and its whole analytic gradient."""

    leaf: Leaf
    analytic: np.ndarray  # in the shape of leaf.real
    eps: float  # spacing of the analytic gradient's type
    entries: np.ndarray  # those that were judged, with `table` in their order
    table: EntryTable


def case_of(judged: Judged, entries: np.ndarray) -> Case:
    """Some of the judged entries as a case that has the shape of `entries`."""
    leaf, table, flat = judged.leaf, judged.table, entries.ravel()
    # The table is in the order in which entries were judged: they are found by a sorted index.
    order = np.argsort(judged.entries)
    rows = order[np.searchsorted(judged.entries, flat, sorter=order)]
    parameters: np.ndarray = in_double(leaf.real.flat[flat]).reshape(entries.shape)
    columns = (table.analytic, table.numeric, table.uncertainty, table.codes == _WRONG, table.kinks)
    analytic, numeric, bound, wrong, kinks = (x[rows].reshape(entries.shape) for x in columns)
    # A complex number is one entry if both its parts are there: patterns such as a conjugate are of
    # numbers, and it is wrong where one part is.
    if leaf.is_complex and entries.ndim == leaf.real.ndim and entries.shape[-1] == 2:
        numbers = (analytic, numeric, parameters)
        analytic, numeric, parameters = (x.view(np.complex128)[..., 0] for x in numbers)
        bound, wrong, kinks = bound.max(-1), wrong.any(-1), kinks.any(-1)
    sampled = entries.size < leaf.real.size
    unclear = bool((table.codes == _UNCLEAR).any())
    seen = (analytic, numeric, bound, parameters, wrong, kinks)
    return Case(leaf.path, *seen, judged.eps, sampled, unclear)


def whole_case(judged: Judged) -> Case | None:
    """The case of the whole leaf, if all of it was judged."""
    shape, size = judged.leaf.real.shape, judged.leaf.real.size
    return case_of(judged, np.arange(size).reshape(shape)) if len(judged.entries) == size else None
