"""Bounds of the parameters, and moves that respect them.

What a user passes as `bounds` becomes two arrays for each leaf, in its own type. Beyond them `f` is
never evaluated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.direction import Direction, Mover, Region, made
from fastgrad._leaf import Leaf
from fastgrad._tree import Params, describe, pair

__all__ = ["Bounds", "Within", "bounds_of"]

_PAIR = (
    "`bounds` must be a pair (lower, upper), each a number, None, or the structure of the "
    "parameters, or an object with the attributes `lb` and `ub`"
)


@dataclass(frozen=True, eq=False)
class Bounds:
    """Lower and upper bounds of each leaf: arrays of its type that fit its real numbers.

    Where one bound holds for a whole leaf, it is a 0-d array.
    """

    lower: tuple[np.ndarray, ...]
    upper: tuple[np.ndarray, ...]

    def of(self, leaf: int, where: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Both bounds of some entries of a leaf of this shape, or of a box of it."""
        both = (np.broadcast_to(each[leaf], shape) for each in (self.lower, self.upper))
        low, high = (b.flat[where] if isinstance(where, np.ndarray) else b[where] for b in both)
        return low, high

    def binds(self, leaf: int) -> bool:
        """Whether a leaf has any bound."""
        return bool((self.lower[leaf] > -np.inf).any() or (self.upper[leaf] < np.inf).any())

    def held(self, leaves: Sequence[Leaf]) -> np.ndarray:
        """Which real numbers of all leaves have two equal bounds: (n,) bool."""
        parts = [np.empty(0, bool)]
        for k, leaf in enumerate(leaves):
            low, high = self.of(k, ..., leaf.real.shape)
            parts.append((low == high).ravel())
        return np.concatenate(parts)

    def clip(self, leaf: int, real: np.ndarray) -> None:
        """Put the entries of a whole leaf within their bounds."""
        np.clip(real, self.lower[leaf], self.upper[leaf], out=real)


def bounds_of(given: Any, argument: Params, leaves: Sequence[Leaf]) -> Bounds | None:
    """The bounds that the user passed, checked; None where there are none."""
    if given is None:
        return None
    lower, upper = _two(given)
    found = Bounds(
        tuple(_side(lower, argument, leaves, -np.inf, "lower")),
        tuple(_side(upper, argument, leaves, np.inf, "upper")),
    )
    for k, leaf in enumerate(leaves):
        _check_order(leaf, found.lower[k], found.upper[k])
        _check_inside(leaf, found.lower[k], "below the lower one", np.less)
        _check_inside(leaf, found.upper[k], "above the upper one", np.greater)
    return found if any(map(found.binds, range(len(leaves)))) else None


def _two(given: Any) -> tuple[Any, Any]:
    if hasattr(given, "lb") and hasattr(given, "ub"):  # such as scipy.optimize.Bounds
        # There one number for all is an array of one.
        both = [np.asarray(each) for each in (given.lb, given.ub)]
        low, high = (each.item() if each.size == 1 else each for each in both)
        return low, high
    if isinstance(given, np.ndarray) or not isinstance(given, (tuple, list)):
        raise InputTypeError(f"{_PAIR}; got {describe(given)}")
    if len(given) != 2:
        raise InputValueError(
            f"{_PAIR}; got a {type(given).__name__} of length {len(given)} (of a pair for each "
            "entry, zip(*bounds) makes a pair of two)"
        )
    return given[0], given[1]


def _side(
    given: Any, argument: Params, leaves: Sequence[Leaf], free: float, side: str
) -> list[np.ndarray]:
    """One of the two bounds, as an array for each leaf."""
    if given is None or isinstance(given, (int, float, np.number)):
        each: list[Any] = [given] * len(leaves)
    else:
        each = [part for _, part in pair(argument, given, f"{side} bounds")]
    return [
        _array(leaf, free if part is None else part, side)
        for leaf, part in zip(leaves, each, strict=True)
    ]


def _array(leaf: Leaf, given: Any, side: str) -> np.ndarray:
    name = f"the {side} bound of `{leaf.path}`"
    try:
        array = np.asarray(given)
    except ValueError:  # ragged
        array = np.asarray(None)
    kinds = "iufc" if leaf.is_complex else "iuf"
    if array.dtype.kind not in kinds:
        raise InputTypeError(f"{name} must be a number or an array of them; got {given!r}")
    if array.shape not in ((), leaf.array.shape):
        raise InputValueError(
            f"{name} must be a number or have shape {leaf.array.shape}; got {array.shape} "
            "(nothing is broadcast)"
        )
    with np.errstate(over="ignore"):  # beyond the largest number of the type: no bound
        if array.dtype.kind == "c":
            wide = array.astype(np.result_type(leaf.array.dtype, np.complex64)).reshape(array.shape)
            array = np.stack([wide.real, wide.imag], axis=-1)
        elif leaf.is_complex:  # it holds for both parts
            array = array[..., np.newaxis]
        if array.dtype.kind != "f":
            array = array.astype(np.float64)
        if np.isnan(array).any():
            raise InputValueError(f"{name} must not be NaN; got {given!r}")
        return _rounded(leaf, array, -np.inf if side == "upper" else np.inf)


def _rounded(leaf: Leaf, bound: np.ndarray, inward: float) -> np.ndarray:
    """A bound in the type of the leaf, rounded inward: what `f` compares with is the original.

    Parameters that were rounded to the nearest number may lie just beyond it, and stay there.
    """
    near = np.asarray(bound.astype(leaf.real.dtype.newbyteorder("=")))

    def beyond(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.asarray(a > b if inward < 0 else a < b)

    with np.errstate(invalid="ignore"):
        off = beyond(near, bound) & np.isfinite(near)  # beyond all numbers there is no bound
        if not off.any():
            return near
        inside = np.where(off, np.nextafter(near, near.dtype.type(inward)), near)
        held = beyond(leaf.real, inside) & ~beyond(leaf.real, near)
    return np.where(held, leaf.real, inside) if held.any() else inside


def _check_order(leaf: Leaf, lower: np.ndarray, upper: np.ndarray) -> None:
    crossed = np.broadcast_to(lower > upper, leaf.real.shape)
    if crossed.any():
        entry = int(crossed.argmax())
        low, high = (float(np.broadcast_to(b, crossed.shape).flat[entry]) for b in (lower, upper))
        raise InputValueError(
            f"the lower bound of `{leaf.name(entry)}`, {low:g}, lies above the upper one, {high:g}"
        )


def _check_inside(leaf: Leaf, bound: np.ndarray, how: str, outside: Any) -> None:
    with np.errstate(invalid="ignore"):
        out = np.broadcast_to(outside(leaf.real, bound), leaf.real.shape)
    if out.any():
        entry = int(out.argmax())
        limit = float(np.broadcast_to(bound, out.shape).flat[entry])
        raise InputValueError(
            f"`{leaf.name(entry)}` = {float(leaf.real.flat[entry]):.9g} lies outside of its "
            f"bounds, {how}, {limit:.9g}; pass parameters within them"
        )


@dataclass(frozen=True, eq=False)
class Within:
    """A direction along which no entry leaves its bounds.

    With a `reach`, times are of its sign and no larger: an entry moves the other way if it
    has room there only, and not at all if it has none, so that moves are still multiples of one.
    Without one, times are of both signs, and an entry moves as far as its bounds.
    """

    inner: Direction
    bounds: Bounds
    reach: float = 0.0

    @staticmethod
    def for_times(inner: Direction, bounds: Bounds, times: Sequence[float]) -> Within:
        """The direction for these times."""
        one_sided = all(time >= 0 for time in times) or all(time <= 0 for time in times)
        return Within(inner, bounds, max(times, key=abs, default=0.0) if one_sided else 0.0)

    @property
    def regions(self) -> Sequence[Region]:
        """What moves."""
        return self.inner.regions

    def mover(self, which: int, before: np.ndarray, kernel: Any) -> Mover:
        """What moves a region: see `Direction`."""
        region, inner = self.regions[which], self.inner.mover(which, before, kernel)
        low, high = self.bounds.of(region.leaf, (*region.box, ...), region.shape)
        back, still = self._turned(inner, before, low, high) if self.reach else (None, None)
        scratch = None if back is None else np.empty_like(before)

        def move(target: np.ndarray, time: float, claim: np.ndarray | None) -> tuple[float, float]:
            inner(target, time, None)
            if scratch is None:
                np.clip(target, low, high, out=target)
            else:
                inner(scratch, -time, None)
                np.copyto(target, scratch, where=back)
                np.copyto(target, before, where=still)
            return made(target, before, claim)

        return move

    def _turned(
        self, inner: Mover, before: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Which entries have to move the other way, and which have to stay; None: all are free."""
        there = np.empty_like(before)

        def fits(time: float) -> np.ndarray:
            inner(there, time, None)
            outside: np.ndarray = (there < low) | (there > high)  # NaN is neither
            return ~outside

        ahead = fits(self.reach)
        if ahead.all():
            return None, None
        behind = fits(-self.reach)
        return np.asarray(~ahead & behind), np.asarray(~ahead & ~behind)
