"""Some entries of one leaf, differentiated by one stencil, each at its own step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.higher import Higher
from fastgrad._evaluation.protocol import Samples, Single, Where
from fastgrad._leaf import Leaf
from fastgrad._stencils import Stencil
from fastgrad._steps import Steps

__all__ = ["CHUNK", "Entries", "Found", "Piece"]

# Entries of a leaf at a time, so that what is held stays small: 256 KiB for each number of them.
CHUNK = 2**15


class Entries(Protocol):
    """What of an `Evaluator` moves each entry alone; see there."""

    leaves: Sequence[Leaf]

    def base(self) -> Any:
        """Value at the unperturbed parameters, or values of all entries."""

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured."""

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameters themselves."""

    def single(self, request: Single) -> Samples:
        """Move each entry alone."""


@dataclass(frozen=True)
class Found:
    """Derivatives of entries, with what the values say of them: arrays of shape (entries,)."""

    derivatives: np.ndarray
    inner: np.ndarray  # the inner differences; NaN of a stencil that has none
    largest: np.ndarray  # the largest size of a value
    width: np.ndarray  # what the rounding of values is divided by


@dataclass(frozen=True)
class Piece:
    """Entries of one leaf that are differentiated by one stencil, each at its own step.

    Without a stencil the entries have no room, and no derivative.
    """

    leaf: int
    entries: np.ndarray
    stencil: Stencil | Higher | None
    steps: np.ndarray
    shrunk: np.ndarray  # whether the step is smaller than what was asked for, and may vanish

    @property
    def uses_base(self) -> bool:
        """Whether the value at the parameters is used."""
        return self.stencil is not None and self.stencil.uses_base

    def first(self) -> tuple[Piece, Piece]:
        """The first entry, and the others."""
        return self.part(slice(0, 1)), self.part(slice(1, None))

    def part(self, which: Any) -> Piece:
        """Some of the entries."""
        part = (self.steps[which], self.shrunk[which])
        return Piece(self.leaf, self.entries[which], self.stencil, *part)

    def at(self, steps: np.ndarray) -> Piece:
        """The same at smaller steps."""
        return replace(self, steps=steps, shrunk=np.ones(len(steps), bool)).exact()

    def exact(self) -> Piece:
        """The same, where higher derivatives are wanted, at steps that are powers of two.

        The points then lie where their weights take them to be: their rounding would be divided by
        the n-th power of the step.
        """
        if not isinstance(self.stencil, Higher):
            return self
        return replace(self, steps=np.ldexp(1.0, np.frexp(self.steps)[1] - 1))

    def found(self, run: Entries, base: Any) -> Found:
        """The derivatives, from the values at all points."""
        count = len(self.entries)
        if self.stencil is None or not count:
            return Found(*np.full((4, count), np.nan))
        stencil = self.stencil
        offsets = tuple(int(k) for k in stencil.offsets if k)
        samples = run.single(Single(self.leaf, self.entries, Steps(given=self.steps), offsets))
        largest = np.fmax.reduce(np.abs(samples.values), axis=1)
        if stencil.uses_base:
            largest = np.fmax(largest, np.abs(base))
        if isinstance(stencil, Higher):
            self._refuse_lost(run.leaves[self.leaf], (samples.moved == 0).any(axis=1))
            total, inner = (
                _weighted(each, samples, offsets, base, self.steps)
                for each in (stencil, stencil.inner)
            )
            with np.errstate(over="ignore"):
                power = self.steps**stencil.nth
            return Found(total, inner, largest, power)
        return self._quotients(run.leaves[self.leaf], stencil, samples, offsets, base, largest)

    def _quotients(
        self,
        leaf: Leaf,
        stencil: Stencil,
        samples: Samples,
        offsets: Sequence[int],
        base: Any,
        largest: np.ndarray,
    ) -> Found:
        """The weighted sums of difference quotients, as the kernel makes them."""
        total, inner, first = np.zeros((3, len(largest)))
        inside = () if stencil.inner is None else stencil.inner
        for j, (upper, lower, weight) in enumerate(stencil.quotients):
            (a, f_a), (b, f_b) = (_at(samples, offsets, k, base) for k in (upper, lower))
            with np.errstate(all="ignore"):
                width = np.asarray(a - b)
                self._refuse_lost(leaf, width == 0)
                # Beyond the range of the type there is no point, whatever `f` is there.
                quotient = np.where(np.abs(width) < np.inf, (f_a - f_b) / width, np.nan)
                total += float(weight) * quotient
                inner += (inside[j] if j < len(inside) else 0.0) * quotient
            first = width if not j else first
        if stencil.inner is None:
            inner.fill(np.nan)
        return Found(total, inner, largest, first)

    def _refuse_lost(self, leaf: Leaf, lost: np.ndarray) -> None:
        """Refuse a step that vanishes in rounding, unless there was no room for a larger one."""
        chosen = np.flatnonzero(lost & ~self.shrunk)
        if chosen.size:
            at = int(chosen[0])
            entry, step = int(self.entries[at]), float(self.steps[at])
            x = leaf.real.flat[entry]
            raise _errors.step_vanished_error(leaf.name(entry), x, step, leaf.real.dtype)


def _weighted(
    stencil: Higher | None,
    samples: Samples,
    offsets: Sequence[int],
    base: Any,
    steps: np.ndarray,
) -> np.ndarray:
    """The weighted sums of values, over the n-th power of the steps; NaN without a stencil."""
    total = np.zeros(len(steps))
    if stencil is None:
        return np.full(len(steps), np.nan)
    with np.errstate(all="ignore"):
        for k, weight in stencil.weights.items():
            if weight:
                total += float(weight) * _at(samples, offsets, k, base)[1]
        away = np.isfinite(samples.moved).all(axis=1)
        return np.asarray(np.where(away, total / steps**stencil.nth, np.nan))


def _at(found: Samples, offsets: Sequence[int], offset: int, base: Any) -> tuple[Any, Any]:
    """Displacements and values at one offset."""
    if not offset:
        return 0.0, base
    column = offsets.index(offset)
    return found.moved[:, column], found.values[:, column]
