"""All entries of all leaves under one numbering, for differences that pair one with any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from fastgrad import _errors
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Samples, Single, Steps

__all__ = ["Positions", "short", "whole"]

# Significant bits of an automatic step: few enough that each type of parameter holds it, float16
# too, so that an entry lands on the same number however it is moved there.
_BITS = 8


class Positions:
    """The entries of all leaves, in order: position 0 is the first one of the first leaf."""

    def __init__(self, run: Metered) -> None:
        self.run = run
        sizes = [leaf.real.size for leaf in run.leaves]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.intp)
        self.count = int(self.starts[-1])

    def pieces(self, positions: np.ndarray) -> Iterator[tuple[int, np.ndarray, slice]]:
        """Ascending positions leaf by leaf: the leaf, numbers of its entries, where they stand."""
        bounds = np.searchsorted(positions, self.starts)
        for leaf in np.flatnonzero(np.diff(bounds)).tolist():
            mine = slice(int(bounds[leaf]), int(bounds[leaf + 1]))
            yield leaf, positions[mine] - self.starts[leaf], mine

    def place(self, position: int) -> tuple[int, int]:
        """The leaf of a position, and the number of the entry."""
        leaf = int(np.searchsorted(self.starts, position, side="right")) - 1
        return leaf, position - int(self.starts[leaf])

    def name(self, position: int) -> str:
        """Path of the entry."""
        leaf, entry = self.place(position)
        return self.run.leaves[leaf].name(entry)

    def read(self) -> np.ndarray:
        """The parameters themselves: (n,) float64."""
        return self._joined([self.run.read(k) for k in range(len(self.run.leaves))])

    def lengths(self) -> np.ndarray:
        """``max(1, |x|)`` of each entry."""
        return self._joined([self.run.scale(k) for k in range(len(self.run.leaves))])

    def spacings(self) -> np.ndarray:
        """The spacing of the type of each entry."""
        return self._joined([np.full(x.real.size, eps_of(x.real)) for x in self.run.leaves])

    def given(self, steps: Sequence[Steps]) -> np.ndarray:
        """Steps that the user chose for each leaf, as numbers of the types of the entries."""
        parts = []
        for leaf, each in zip(self.run.leaves, steps, strict=True):
            one = each.absolute if each.given is None else each.given
            with np.errstate(over="ignore"):
                held = np.broadcast_to(one, leaf.real.size).astype(leaf.real.dtype)
            parts.append(held.astype(np.float64))
        return self._joined(parts)

    def refuse_lost(self, moved: np.ndarray, steps: np.ndarray, first: int = 0) -> None:
        """Refuse steps that vanish in rounding, of the positions from `first` on."""
        lost = np.flatnonzero((moved == 0).any(axis=1))
        if len(lost):
            leaf, entry = self.place(first + int(lost[0]))
            x = self.run.leaves[leaf]
            where, step = x.name(entry), float(steps[lost[0]])
            raise _errors.step_vanished_error(where, x.real.flat[entry], step, x.real.dtype)

    def refuse_still(self, v: np.ndarray, steps: np.ndarray, length: float) -> None:
        """Refuse steps at which the entry vanishes in rounding that moves by its own along `v`."""
        with np.errstate(divide="ignore", over="ignore"):
            position = int((steps / np.abs(v)).argmin())
        leaf, entry = self.place(position)
        x = self.run.leaves[leaf].real.flat[entry]
        moved = x + x.dtype.type(length * v[position]) - x
        self.refuse_lost(np.array([[float(moved)]]), steps[position : position + 1], position)

    def sizes(self) -> np.ndarray:
        """How far entries are from zero: infinite where that says nothing of the scale of `f`."""
        x = np.abs(self.read())
        return np.where((x > 0) & np.isfinite(x), x, np.inf)

    def near_zero(self, steps: np.ndarray, most: float) -> np.ndarray:
        """Entries that are not zero, and smaller than `most` of their steps."""
        return np.flatnonzero(self.sizes() < most * steps)

    def _joined(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate(parts) if parts else np.empty(0)

    def single(
        self, positions: np.ndarray, steps: np.ndarray, offsets: tuple[int, ...] = (1, -1)
    ) -> Samples:
        """Move each of some ascending positions alone, by its own step."""
        found = [
            self.run.single(Single(leaf, entries, Steps(given=steps[mine]), offsets))
            for leaf, entries, mine in self.pieces(positions)
        ]
        moved = np.concatenate([each.moved for each in found])
        return Samples(moved, np.concatenate([each.values for each in found]))

    def move(self, position: int, step: float) -> Given:
        """The direction that moves one entry alone."""
        leaf, entry = self.place(position)
        shape = self.run.leaves[leaf].real.shape
        index = np.unravel_index(entry, shape) if shape else ()
        box = tuple(slice(int(i), int(i) + 1) for i in index)
        return Given((Region(leaf, box, shape),), (np.full((1,) * len(shape), step),))

    def along(self, v: np.ndarray, length: float) -> Given:
        """The direction that moves every entry by `length` times its share of `v`.

        Moves are rounded to numbers that can be added and taken away: otherwise entries of short
        types would end up farther on one side than on the other.
        """
        moves = length * v
        with np.errstate(all="ignore"):
            reach = np.abs(self.read()) + np.abs(moves)
            unit = self.spacings() * np.exp2(np.ceil(np.log2(reach)))
            exact = np.rint(moves / unit) * unit
        moves = np.where(np.isfinite(exact) & (exact != 0), exact, moves)
        regions, parts = [], []
        for k, leaf in enumerate(self.run.leaves):
            if leaf.real.size:
                regions.append(whole(k, leaf.real.shape))
                mine = moves[self.starts[k] : self.starts[k + 1]]
                parts.append(mine.reshape(leaf.real.shape))
        return Given(tuple(regions), tuple(parts))

    def reach(self, v: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """The length of `v` at which the first entry has moved by its step, or its size: (1,)."""
        with np.errstate(divide="ignore", over="ignore"):
            return np.array([(steps / np.abs(v)).min()])


def whole(leaf: int, shape: tuple[int, ...]) -> Region:
    """All of a leaf."""
    return Region(leaf, tuple(slice(0, n) for n in shape), shape)


def short(steps: np.ndarray) -> np.ndarray:
    """Steps rounded to few bits."""
    mantissa, exponent = np.frexp(steps)
    rounded: np.ndarray = np.ldexp(np.rint(np.ldexp(mantissa, _BITS)), exponent - _BITS)
    return rounded
