"""The entries of one leaf that are judged one by one while a search goes on."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np

from fastgrad._checks import judge
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.moves import LEFT_OVER, LeafClaim
from fastgrad._report.entries import Verdict

__all__ = ["Suspects"]

# The error of an example is clear beyond this many of the bounds of the first difference.
_CLEAR = 10.0
_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code


class Suspects:
    """Entries that were judged, and what they claim, which a search repairs and puts back."""

    def __init__(self, claim: LeafClaim) -> None:
        self._claim = claim
        # Both grow as entries are judged, and are in the order in which they were.
        self.table = EntryTable.blank(np.zeros(0), math.inf, _UNCLEAR)
        self.judged = np.zeros(0, dtype=np.intp)
        self._left_out = np.zeros(0, dtype=np.intp), np.zeros(0)  # entries, and what is claimed

    def judge(self, entries: np.ndarray, *, examples: bool = False) -> np.ndarray:
        """Judge entries one by one; return whether each is wrong.

        Examples of what is known to be wrong are not looked at twice where their error is clear.
        """
        fresh = np.setdiff1d(entries, self.judged)
        if len(fresh):
            table = self._measured(fresh, examples)
            names = [each.name for each in fields(EntryTable)]
            pairs = ((getattr(self.table, n), getattr(table, n)) for n in names)
            self.table = EntryTable(*map(np.concatenate, pairs))
            self.judged = np.concatenate([self.judged, fresh])
        # Entries are in the order in which they were judged: they are found by a sorted index.
        order = np.argsort(self.judged)
        rows = order[np.searchsorted(self.judged, entries, sorter=order)]
        wrong: np.ndarray = self.table.codes[rows] == _WRONG
        return wrong

    def _measured(self, entries: np.ndarray, examples: bool) -> EntryTable:
        """Judge entries by the rules of an exhaustive check, as if they were the leaf."""
        claim, model = self._claim, self._claim.model
        table = EntryTable.blank(self._claimed(entries), math.inf, _UNCLEAR)
        # All of a small leaf are judged as an exhaustive check would judge them.
        listed = None if len(entries) == claim.analytic.size else entries
        judge.first_pass(table, Differences(claim.run, claim.number, listed), model)
        rest = (
            np.flatnonzero(~_clearly_wrong(table, model)) if examples else np.arange(len(entries))
        )
        if len(rest):
            part = table.rows(rest)
            some = listed if len(rest) == len(entries) else entries[rest]
            judge.judge(part, Differences(claim.run, claim.number, some), model)
            table.put(rest, part)
        return table

    def _claimed(self, entries: np.ndarray) -> np.ndarray:
        """What the gradient claims of entries, those that were left out among them."""
        values: np.ndarray = self._claim.analytic.reshape(-1)[entries]
        left, claims = self._left_out
        if left.size:
            places = np.searchsorted(left, entries).clip(max=left.size - 1)
            known = left[places] == entries
            values[known] = claims[places[known]]
        return values

    @property
    def all_judged(self) -> bool:
        """Whether no entry of the leaf is left."""
        return len(self.judged) == self._claim.analytic.size

    @property
    def kinks(self) -> int:
        """At how many of the judged entries `f` has a kink."""
        return int(self.table.kinks.sum())

    @property
    def unclear(self) -> int:
        """How many of the judged entries nothing can be told of."""
        return int((self.table.codes == _UNCLEAR).sum())

    @property
    def replaced(self) -> np.ndarray:
        """Whether the error of each judged entry is known, or its value one of many at a kink."""
        known: np.ndarray = (self.table.codes == _WRONG) | self.table.kinks
        return known

    @property
    def wrong(self) -> np.ndarray:
        """The entries judged wrong."""
        wrong: np.ndarray = self.judged[self.table.codes == _WRONG]
        return wrong

    @property
    def unsettled(self) -> int:
        """How many entries that are claimed to be NaN or infinite are not known to be wrong."""
        _, claims = self._left_out
        bad = ~np.isfinite(self.table.analytic) & (self.table.codes != _UNCLEAR)
        return int((~np.isfinite(claims)).sum()) - int(bad.sum())

    def allow(self, factor: float) -> bool:
        """Whether no judged entry contradicts that claims are this multiple of derivatives."""
        table = self.table
        with np.errstate(over="ignore", invalid="ignore"):
            off = np.abs(table.analytic - factor * table.numeric)
            allowed = max(1.0, abs(factor)) * table.uncertainty
            allowed += LEFT_OVER * np.abs(table.analytic - table.numeric)
            return bool((off <= allowed).all())

    def repair(self) -> None:
        """Put the numeric values of wrong entries, and at kinks, in place of the analytic ones."""
        table = self.table
        known = self.replaced & np.isfinite(table.numeric)
        if known.any():
            self._claim.writable()[self.judged[known]] = table.numeric[known]

    def leave_out(self, entries: np.ndarray) -> None:
        """Let the gradient claim nothing of some entries, until `finish` puts them back."""
        flat = self._claim.writable()
        self._left_out = entries, flat[entries]
        flat[entries] = 0.0

    def finish(self) -> None:
        """Put the analytic values back."""
        if not self._claim.analytic.flags.writeable:
            return  # the user's own memory, of which nothing was repaired
        flat = self._claim.writable()
        entries, values = self._left_out
        flat[entries] = values
        flat[self.judged] = self.table.analytic


def _clearly_wrong(table: EntryTable, model: ErrorModel) -> np.ndarray:
    """Mark the entries wrong that the first difference shows to be so beyond any doubt."""
    scale = table.scale
    with np.errstate(invalid="ignore", over="ignore"):
        bound = model.first_bound(
            table.analytic, table.numeric, table.uncertainty, table.gaps, scale
        )
        error = np.abs(table.analytic - table.numeric)
        # Both sides must show it: there is no kink in between.
        clear: np.ndarray = (error > _CLEAR * bound) & (error > np.abs(table.gaps))
    clear &= np.isfinite(error)
    table.codes[clear], table.uncertainty[clear] = _WRONG, bound[clear]
    return clear
