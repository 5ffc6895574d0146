"""Fills arrays with derivatives: from the kernel's loop, or piece by piece."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._derivatives.doubt import Base, Doubts, doubtful, settled
from fastgrad._derivatives.pieces import Piece
from fastgrad._derivatives.within import pieces_within
from fastgrad._dtypes import is_extended
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.inplace import part_of
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Gradient, Target
from fastgrad._leaf import Leaf, in_double
from fastgrad._stencils import Stencil, Steps

__all__ = ["Filling"]

# Entries that are looked at for doubt at a time: a dozen arrays of 32 KiB.
_CHUNK = 2**12


class Filling:
    """Fills the arrays of results with the derivatives that a run evaluates.

    Results are stored only after the first evaluations, for until then they may hold the copy of
    large parameters.
    """

    def __init__(
        self,
        run: Metered,
        stencil: Stencil,
        steps: Sequence[Steps],
        results: Sequence[Leaf],
        known: float | None = None,
    ) -> None:
        self._run, self._stencil, self._steps, self._results = run, stencil, steps, results
        self._base = Base(run, known)
        self._doubts = Doubts()
        self._looks = [_backend.kernel.Fingerprint(result.array) for result in results]

    def warn(self) -> None:
        """Tell which derivatives do not stand."""
        self._doubts.warn(self._run.leaves)

    def fill(self) -> None:
        """Differentiate with respect to all entries."""
        run, stencil = self._run, self._stencil
        base = self._base.at(None) if stencil.uses_base else math.nan
        requests = [
            Gradient(k, 0, result.real.size, stencil, each, base, result.real.dtype)
            for k, (result, each) in enumerate(zip(self._results, self._steps, strict=True))
            if result.real.size
        ]
        first = None
        if run.guard.large:
            # One entry alone, so that a write by `f` at its first evaluations can still be undone.
            first = requests[0].part(0, 1).run(run).values
            run.guard.thin()
            requests[0] = requests[0].part(1, requests[0].count)
        elif stencil.uses_base:
            run.guard.check()
        # Nothing is stored in memory that `f` has given away meanwhile.
        for k in range(len(self._results)):
            self._check_result(k)
        targets = [Target(self._results[request.leaf].real) for request in requests]
        if first is not None:
            targets[0].array.flat[:1] = first
        run.gradient(requests, targets)
        self.settle()

    def _check_result(self, k: int) -> None:
        if self._looks[k].changed():
            raise _errors.moved_error(self._results[k].path)

    def settle(self) -> None:
        """Look again at what automatic steps have left in doubt, and store what is better."""
        for k, (own, result) in enumerate(zip(self._steps, self._results, strict=True)):
            if not own.agreed:
                continue
            for start in range(0, result.real.size, _CHUNK):
                entries = np.arange(start, min(start + _CHUNK, result.real.size), dtype=np.intp)
                first = in_double(part_of(result.real, entries))
                steps = own.relative * self._run.scale(k, entries)
                piece = Piece(k, entries, self._stencil, steps, np.zeros(len(entries), bool))
                found = settled(self._run, piece, first, self._base, own)
                changed = np.flatnonzero(found.derivatives.view(np.int64) != first.view(np.int64))
                self._check_result(k)
                with np.errstate(over="ignore"):
                    result.real.flat[entries[changed]] = found.derivatives[changed]
                self._doubts.note(piece, found)

    def fill_pieces(self, bounds: Bounds | None, chosen: Sequence[np.ndarray] | None) -> None:
        """Differentiate within bounds, or with respect to chosen entries; NaN for the others."""
        fresh = self._run.guard.large  # one entry alone, as in `fill`
        if not fresh:
            self._blank(chosen)
        for number, leaf in enumerate(self._run.leaves):
            self._run.phase(leaf.path)
            for piece in self._pieces(number, leaf, bounds, chosen):
                for part in piece.first() if fresh else (piece,):
                    derivatives = self._derivatives(part, self._steps[number])
                    if fresh:
                        self._run.guard.thin()
                        fresh = False
                        self._blank(chosen)
                    self._check_result(number)
                    with np.errstate(over="ignore"):
                        self._results[number].real.flat[part.entries] = derivatives

    def _blank(self, chosen: Sequence[np.ndarray] | None) -> None:
        """Entries that are not chosen have no derivative."""
        if chosen is not None:
            for k, result in enumerate(self._results):
                self._check_result(k)
                result.real.fill(np.nan)

    def _pieces(
        self,
        number: int,
        leaf: Leaf,
        bounds: Bounds | None,
        chosen: Sequence[np.ndarray] | None,
    ) -> Iterator[Piece]:
        mine = None if chosen is None else chosen[number]
        return pieces_within(bounds, number, leaf, self._stencil, self._steps[number], mine)

    def _derivatives(self, piece: Piece, steps: Steps) -> np.ndarray:
        """The derivatives of a piece, settled where the steps are automatic."""
        base = self._base.at(piece.entries) if piece.uses_base else math.nan
        found = piece.found(self._run, base)
        if not steps.agreed or piece.stencil is None:
            return found.derivatives
        # Values are float64 here, and so are what a longdouble's differences are worth.
        real = self._run.leaves[piece.leaf].real
        own = piece.stencil.steps(np.dtype(float) if is_extended(real) else real.dtype)
        better = settled(self._run, piece, doubtful(found, own), self._base, own)
        self._doubts.note(piece, better)
        return better.derivatives
