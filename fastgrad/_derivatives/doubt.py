"""Derivatives that their automatic steps leave in doubt: a second look, and smaller steps.

An automatic step goes by ``max(1, |x|)``. Where `f` changes on a smaller scale, it is too large.
For an entry that is small beside its step, one look at a smaller one tells; a difference of higher
order is doubted by its own inner one. What does not stand is differenced at ever smaller steps,
until two of them agree.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.higher import Higher
from fastgrad._derivatives.pieces import Entries, Found, Piece
from fastgrad._dtypes import EPS
from fastgrad._leaf import Leaf
from fastgrad._stencils import Stencil
from fastgrad._steps import GROWTH, ROUNDING, Steps
from fastgrad._words import counted

__all__ = ["Base", "Doubts", "Looks", "Settled", "doubtful", "settled"]

# Smaller steps, at most, and the least ratio of one to the next. An eighth makes second-order
# truncation 64 times smaller, and rounding but 8 times larger.
_ROUNDS, _RATIO = 5, 8.0
# Of a higher derivative rounding grows by the n-th power of the ratio: by 64 here for a sixth one.
_HIGHER_RATIO = 2.0
# The last of them, where the entry does not say how small it is to be: this many times
# u**(1/(n+1)), relative to ``max(1, |x|)``, of an n-th derivative. Half of the digits of a first
# one are left there, even of a function of size 1.
_LAST = 0.1
# Derivatives that differ by more than this share follow no law yet: that they come apart at
# smaller steps is then no sign of rounding. Far inside of a singularity like that of ``1 / x`` or
# ``cbrt`` they differ by 0.1 to 0.2, computed from the weights of orders 4 to 8.
_APART = 0.01
# Two steps of a difference without an inner one agree within this share of what makes an entry
# small, so that what remains is below it.
_AGREED = 0.3
# A derivative is told to be uncertain beyond this many times that, which makes 1e-6 in float64.
_TOLD = 3.0
# Or this many times u**(2/3) of the size of `f`, if that is more: what a central difference loses
# to rounding where `f` changes on the scale of 1, and thus at any parameter.
_USUAL = 30.0
# Differences, with their gaps, that shrink at each of the steps like the step itself, to within
# this factor, have a derivative of zero as their limit: of ``x**2`` it is 1, less of higher powers,
# and 2.8 at steps of an eighth of ``|x|**1.5``, whose second derivative is infinite there.
_VANISHES = 2.0


@dataclass(frozen=True)
class Settled:
    """Derivatives after a second look, and how far they may be off: zero where they stand."""

    derivatives: np.ndarray
    off: np.ndarray


class Base:
    """The value of `f` at the parameters, evaluated where it is needed first, and once."""

    def __init__(self, run: Entries, value: Any = None) -> None:
        self._run, self._value = run, value

    def at(self, entries: np.ndarray | None) -> Any:
        """The value, for these entries where they have values of their own."""
        if self._value is None:
            self._value = self._run.base()
        if isinstance(self._value, np.ndarray) and entries is not None:
            return self._value[entries]
        return self._value

    def size(self, entries: np.ndarray) -> np.ndarray:
        """Its size, for each of these entries."""
        return np.broadcast_to(np.abs(np.asarray(self.at(entries), float)), len(entries))


def doubtful(found: Found, own: Steps) -> np.ndarray:
    """The derivatives, NaN where inner differences are too far from them: as the kernel does."""
    with np.errstate(all="ignore"):
        gap = np.abs(found.derivatives - found.inner)
        room = own.apart * np.abs(found.derivatives) + own.noise * (found.largest / found.width)
    return np.where(np.isnan(found.inner) | (gap <= room), found.derivatives, np.nan)


def settled(run: Entries, piece: Piece, first: np.ndarray, base: Base, own: Steps) -> Settled:
    """Look again at the entries in doubt; `first` holds the derivatives at automatic steps.

    In doubt are entries that are small beside their step, and those without a derivative; of these
    NaN stays NaN where `f` has no value at the parameters either.
    """
    derivatives, off = first.copy(), np.zeros(len(first))
    size = np.abs(run.read(piece.leaf, piece.entries))
    with np.errstate(all="ignore"):
        small = ((size > 0) | own.zeros) & (size * own.relative < own.small * piece.steps)
        large = (size > own.large) & (piece.steps > 1.0)
        which = np.flatnonzero((small | large | ~np.isfinite(first)) & (size < np.inf))
    if which.size:
        looks = Looks(run, piece.part(which), first[which], base, own)
        derivatives[which], off[which] = looks.settled()
    return Settled(derivatives, off)


class Doubts:
    """Derivatives that do not stand, to be told once and at the end."""

    def __init__(self) -> None:
        self._count = 0
        self._first: tuple[Piece, int, float, float] | None = None

    def note(self, piece: Piece, found: Settled) -> None:
        """Keep the first of a piece that do not stand, and count them."""
        which = np.flatnonzero(found.off)
        if which.size and self._first is None:
            at = int(which[0])
            self._first = (piece, at, float(found.derivatives[at]), float(found.off[at]))
        self._count += which.size

    def warn(self, leaves: Sequence[Leaf]) -> None:
        """Give the warning, if there is any, that names the first entry."""
        if self._first is None:
            return
        piece, at, derivative, off = self._first
        leaf, entry = leaves[piece.leaf], int(piece.entries[at])
        others = f" ({counted(self._count - 1, 'other entry')} too)"
        _errors.warn(
            f"the derivative with respect to `{leaf.name(entry)}` = "
            f"{float(leaf.real.flat[entry]):g}, {derivative:g}, is uncertain by about {off:.0e}"
            f"{others if self._count > 1 else ''}: the automatic step {piece.steps[at]:.1e} may be "
            "too large for it, and smaller ones do not agree, as where `f` is noisy or varies "
            "fast; choose a step by `eps`",
            _errors.StepWarning,
        )


class Looks:
    """Looks at entries at other steps than the first."""

    def __init__(
        self, run: Entries, piece: Piece, first: np.ndarray, base: Base, own: Steps
    ) -> None:
        assert piece.stencil is not None
        self._run, self._piece, self._first = run, piece, first
        self._base = base
        self._stencil: Stencil | Higher = piece.stencil
        self._own = own
        # Values are float64, even beside a longdouble.
        dtype = run.leaves[piece.leaf].real.dtype
        self._eps = max(EPS[dtype.char], EPS["d"])
        tiny = float(np.finfo(dtype).tiny)  # below it a step has few digits, or none
        self._rounding = ROUNDING * self._eps * self._stencil.amplification
        self._ratio = _RATIO if self._stencil.nth == 1 else _HIGHER_RATIO
        self._has_inner = self._stencil.inner is not None
        size = np.abs(run.read(piece.leaf, piece.entries))
        least = piece.steps / _RATIO
        small = (own.relative * size > tiny) & (own.relative * size < least)
        self._size = base.size(piece.entries)
        last = (
            _LAST
            * self._eps ** (1 / (self._stencil.nth + 1))
            * run.scale(piece.leaf, piece.entries)
        )
        self._end = np.where(small, own.relative * size, np.fmin(last, least))
        self._second = np.where(small, own.relative * size, least)

    def settled(self) -> tuple[np.ndarray, np.ndarray]:
        """The derivatives, and how far they may be off where that is to be told."""
        finite = np.isfinite(self._first)
        stands = ~finite & ~np.isfinite(self._size)
        stands[finite] = self._stands(np.flatnonzero(finite))
        which = np.flatnonzero(~stands)
        derivatives, off = self._first.copy(), np.zeros(len(finite))
        if which.size:
            derivatives[which], off[which] = self._smaller(which)
        return derivatives, off

    def smaller(self) -> tuple[np.ndarray, np.ndarray]:
        """The same where it is known that none of the first ones stands."""
        return self._smaller(np.arange(len(self._first)))

    def _stands(self, which: np.ndarray) -> np.ndarray:
        """Whether the first derivatives agree with others at one smaller step.

        That step is in proportion to the entry, or, where the rounding of `f` would hide a
        difference that counts, the smallest that shows it.
        """
        first, agreed = self._first[which], self._own.agreed
        noise = self._rounding
        with np.errstate(all="ignore"):
            telling = noise * self._size[which] / (agreed * np.abs(first))
            telling = telling ** (1 / self._stencil.nth)
        steps = np.fmax(self._second[which], telling)
        steps = np.fmin(steps, self._piece.steps[which] / _RATIO)
        found = self._at(which, steps)
        with np.errstate(all="ignore"):
            room = agreed * np.abs(first) + noise * found.largest / steps**self._stencil.nth
            return np.asarray(np.abs(found.derivatives - first) <= room)

    def _at(self, which: np.ndarray, steps: np.ndarray) -> Found:
        piece = self._piece.part(which).at(steps)
        base = self._base.at(piece.entries) if piece.uses_base else math.nan
        # Values at moved points are float64, whatever more the one at the parameters has.
        return piece.found(self._run, np.asarray(base, np.float64)[()])

    def _smaller(self, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The best of derivatives at smaller steps, and how far it is off if that is to be told."""
        rows = _Rows(self._piece.steps[which], self._first[which])
        ratio = np.maximum((rows.steps[0] / self._end[which]) ** (1 / _ROUNDS), self._ratio)
        active = np.arange(len(which))
        for k in range(1, _ROUNDS + 1):
            rows.steps[k] = rows.steps[k - 1] / ratio
            self._fill(rows, k, which, active)
            active = active[~self._ended(rows, k, active)]
            if k == 1:
                active = active[self._defined(which, active, rows)]
            if not active.size:
                break
        return self._best(rows, which)

    def _fill(self, rows: _Rows, k: int, which: np.ndarray, active: np.ndarray) -> None:
        """Fill a row for some of the entries."""
        steps = rows.steps[k, active]
        found = self._at(which[active], steps)
        rows.derivatives[k, active], rows.largest[k, active] = found.derivatives, found.largest
        with np.errstate(all="ignore"):
            rows.rounding[k, active] = self._rounding * found.largest / steps**self._stencil.nth
            other = found.inner if self._has_inner else rows.derivatives[k - 1, active]
            gap = np.abs(found.derivatives - other)
        rows.gaps[k, active] = np.where(np.isnan(gap), np.inf, gap)

    def _ended(self, rows: _Rows, k: int, active: np.ndarray) -> np.ndarray:
        """Which entries need no smaller step: they stand, or rounding has taken over."""
        gap, derivative = rows.gaps[k, active], rows.derivatives[k, active]
        share = self._own.apart if self._has_inner else _AGREED * self._own.agreed
        with np.errstate(all="ignore"):
            stands = gap <= share * np.abs(derivative) + rows.rounding[k, active]
        rows.stands[active] = stands
        before = rows.gaps[k - 1, active]
        law = (gap <= _APART * np.abs(derivative)) & np.isfinite(before)
        return np.asarray(stands | (law & (gap > before)))

    def _defined(self, which: np.ndarray, active: np.ndarray, rows: _Rows) -> np.ndarray:
        """Which entries have derivatives at the smallest step, if not at the one that was taken."""
        defined: np.ndarray = np.isfinite(rows.derivatives[1, active])
        unknown = which[active[~defined]]
        if unknown.size:
            found = self._at(unknown, self._end[unknown])
            defined[~defined] = np.isfinite(found.derivatives)
        return defined

    def _best(self, rows: _Rows, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The derivatives that are least off, by what is known of all."""
        if self._has_inner:
            self._fill_first(rows, which)
            off = rows.inner_errors(self._stencil.order / self._stencil.inner_order)
        else:
            off = rows.errors(self._stencil.order, self._stencil.nth)
        best, each = rows.best(off), np.arange(len(which))
        vanishes = rows.vanishes()
        best[vanishes], off[-1, vanishes] = _ROUNDS, 0.0
        derivatives, off = rows.derivatives[best, each], off[best, each]
        usual = _USUAL * self._eps ** (2 / 3) * rows.largest.max(axis=0)
        with np.errstate(all="ignore"):
            told = off > _TOLD * self._own.agreed * np.abs(derivatives) + usual
        return derivatives, np.where(told & ~rows.stands & ~np.isnan(derivatives), off, 0.0)

    def _fill_first(self, rows: _Rows, which: np.ndarray) -> None:
        """Difference once more at the first step where smaller ones have brought but rounding."""
        with np.errstate(all="ignore"):
            rounded = rows.rounding[1] > self._own.apart * np.abs(rows.derivatives[1])
        again = np.flatnonzero((rounded | ~rows.stands) & (rows.best(rows.gaps) == 1))
        if again.size:
            self._fill(rows, 0, which, again)


class _Rows:
    """Derivatives at ever smaller steps: a row for each step, a column for each entry."""

    def __init__(self, steps: np.ndarray, first: np.ndarray) -> None:
        shape = (_ROUNDS + 1, len(steps))
        self.steps, self.derivatives, self.gaps = np.full((3, *shape), np.nan)
        self.gaps.fill(np.inf)  # how far from the inner difference, or from that of the row above
        self.largest, self.rounding = np.zeros((2, *shape))
        self.stands = np.zeros(len(steps), bool)  # whether the last row that was filled does
        self.steps[0], self.derivatives[0] = steps, first

    def best(self, off: np.ndarray) -> np.ndarray:
        """The row of each entry that is off by the least share."""
        with np.errstate(all="ignore"):
            share = off / (np.abs(self.derivatives) + self.rounding)
        return np.asarray(np.argmin(np.where(np.isnan(share), np.inf, share), axis=0))

    def vanishes(self) -> np.ndarray:
        """Where differences shrink like their steps: the derivative is zero, as of ``x**3`` at 0.

        No two of them agree then, by their own size, and the last one is off by least.
        """
        with np.errstate(all="ignore"):
            size = np.abs(self.derivatives[1:]) + self.gaps[1:]
            ratio = self.steps[1:-1] / self.steps[2:]
            shrinks = size[1:] * ratio <= _VANISHES * size[:-1]
        return np.asarray((shrinks & (ratio >= _RATIO) & np.isfinite(size[1:])).all(axis=0))

    def inner_errors(self, power: float) -> np.ndarray:
        """How far each row may be off, where `gaps` are those to inner differences.

        That is the gap, if no more is known. The last row lies closer as long as gaps shrink: noise
        would have made them grow.
        """
        off = self.gaps + self.rounding / ROUNDING
        last = np.isfinite(self.gaps).cumsum(axis=0).argmax(axis=0), np.arange(off.shape[1])
        with np.errstate(all="ignore"):
            size = np.abs(self.derivatives[last])
            truncation = GROWTH * (self.gaps[last] / size) ** power * size
            shrinks = self.gaps[last] <= self.gaps.min(axis=0)
        off[last] = np.where(
            shrinks, np.fmin(off[last], truncation + self.rounding[last]), off[last]
        )
        return off

    def errors(self, order: int, nth: int) -> np.ndarray:
        """How far each row may be off, where `gaps` are those to the row above.

        Truncation shrinks from row to row, by the ratio of their steps to the order, and noise
        grows by its n-th power: what is between a row and the next is the noise of the next, or
        less. A ratio beyond `_RATIO` is not relied on: the step above may follow no law.
        """
        with np.errstate(all="ignore"):
            ratio = np.minimum(self.steps[0] / self.steps[1], _RATIO)
        growth = ratio**nth
        below = np.vstack([self.gaps[1:], np.full((1, self.gaps.shape[1]), np.inf)])
        noise = np.where(np.isfinite(below), below / growth, 0.0)
        off = self.gaps / (ratio**order - 1) + np.fmax(noise, self.rounding / ROUNDING)
        # Nothing is above the first row: it is as far off as the next is away from it, unless that
        # is mere noise, for which it grows from there on.
        only_noise = np.isfinite(self.gaps[2]) & (self.gaps[2] >= 2 * self.gaps[1])
        off[0] = np.where(only_noise, self.gaps[1] / growth, self.gaps[1])
        off[0, ~np.isfinite(self.derivatives[0])] = np.inf
        return np.asarray(np.where(np.isnan(off), np.inf, off))
