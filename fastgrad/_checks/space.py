"""The arrays that a linear map takes or gives: as one vector of real numbers, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._checks.places import box_text
from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Box, entry_path
from fastgrad._tree import (
    as_params,
    children,
    describe,
    only_numbers,
    same_kind,
    unflatten,
    with_children,
)

__all__ = ["PARTS", "Space", "SpaceLeaf"]

PARTS = (".real", ".imag")  # of a complex array


@dataclass(frozen=True)
class SpaceLeaf:
    """One array; its real numbers are those from `start` to `stop` - 1 of the vector."""

    path: str  # `x`, `x.W`, `y[0]`
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    order: Any = "C"  # in which its numbers lie in the memory
    is_number: bool = False  # and no array

    @property
    def is_complex(self) -> bool:
        """Whether two real numbers make one of the array."""
        return self.dtype.kind == "c"

    @property
    def real_shape(self) -> tuple[int, ...]:
        """The shape of its real numbers: a complex array has one axis more, of both parts."""
        return (*self.shape, 2) if self.is_complex else self.shape

    @property
    def stop(self) -> int:
        """Behind its last real number."""
        return self.start + math.prod(self.real_shape)

    @property
    def whole(self) -> Box:
        """The box of all its real numbers."""
        return tuple(slice(0, n) for n in self.real_shape)

    @property
    def eps(self) -> float:
        """Spacing of its type, or of float64, in which vectors are, where that is coarser."""
        return max(EPS[self.dtype.char], EPS["d"])

    def of(self, vector: np.ndarray) -> np.ndarray:
        """Its real numbers, as a view of the vector in their shape."""
        return vector[self.start : self.stop].reshape(self.real_shape)

    def only(self, vector: np.ndarray, box: Box) -> np.ndarray:
        """The vector with zeros everywhere but in a box of this array."""
        part = np.zeros_like(vector)
        self.of(part)[box] = self.of(vector)[box]
        return part

    def name(self, entry: int) -> str:
        """Path of a real number, by its place in the array."""
        index = np.unravel_index(entry, self.real_shape)
        return self.text(tuple(slice(int(i), int(i) + 1) for i in index))

    def text(self, box: Box) -> str:
        """A box in words: ``x.W[0:10, 3]``, and ``x.imag[3]`` for imaginary parts alone."""
        sides = box[: len(self.shape)]
        half = self.is_complex and box[-1].stop - box[-1].start == 1
        path = self.path + PARTS[box[-1].start] * half if self.is_complex else self.path
        if all(side.stop - side.start == 1 for side in sides):
            return entry_path(path, [side.start for side in sides])
        return path + box_text(sides, self.shape)


@dataclass(frozen=True)
class Space:
    """The arrays of one side of a linear map."""

    leaves: tuple[SpaceLeaf, ...]
    # The containers, with the number of a leaf in place of each.
    _structure: Any

    @staticmethod
    def of(value: Any, name: str, who: str = "") -> Space:
        """Describe the arrays in `value`: the argument `name`, or what `who` returned first."""
        leaves: list[SpaceLeaf] = []
        said = f"`{who}` returned" if who else f"`{name}` is"
        if value is None:
            raise InputTypeError(
                f"{said} None; it must {'return' if who else 'be'} an array, or a nest of arrays"
            )
        node = value if who else as_params(value, name)
        try:
            structure = _described(node, name, leaves, who)
        except RecursionError:
            raise InputValueError(f"{said} a nest that contains itself") from None
        return Space(tuple(leaves), structure)

    @property
    def size(self) -> int:
        """How many real numbers the arrays hold."""
        return self.leaves[-1].stop if self.leaves else 0

    @property
    def eps(self) -> float:
        """Spacing of the coarsest of their types."""
        return max((leaf.eps for leaf in self.leaves), default=0.0)

    def zeros(self) -> np.ndarray:
        """The vector of zeros."""
        return np.zeros(self.size)

    def unit(self, entry: int) -> np.ndarray:
        """The vector of zeros with a one at this position."""
        vector = self.zeros()
        vector[entry] = 1.0
        return vector

    def arrays(self, vector: np.ndarray) -> list[np.ndarray]:
        """New arrays with the numbers of a vector, one for each leaf."""
        made = []
        for leaf in self.leaves:
            part = vector[leaf.start : leaf.stop]
            array = np.empty(leaf.shape, leaf.dtype, leaf.order)
            array[...] = (part.view(np.complex128) if leaf.is_complex else part).reshape(leaf.shape)
            made.append(array)
        return made

    def nest(self, arrays: Sequence[np.ndarray]) -> Any:
        """These in the containers, and numbers in place of arrays where numbers were."""
        pairs = zip(self.leaves, arrays, strict=True)
        nodes = [array[()] if leaf.is_number else array for leaf, array in pairs]
        return unflatten(self._structure, iter(nodes))

    def vector(self, value: Any, root: str, who: str) -> np.ndarray:
        """The numbers in what `who` returned, copied; it must be laid out like `root`."""
        out = np.empty(self.size)
        self._fill(self._structure, value, root, who, out)
        return out

    def name(self, entry: int) -> str:
        """Path of the real number at this position of the vector."""
        leaf = next(leaf for leaf in self.leaves if leaf.start <= entry < leaf.stop)
        return leaf.name(entry - leaf.start)

    def _fill(self, mine: Any, value: Any, path: str, who: str, out: np.ndarray) -> None:
        """Write the numbers below one node of the structure."""
        if mine is None and value is None:
            return
        if isinstance(mine, int):
            _read(self.leaves[mine], value, who, out)
            return
        parts = children(mine, path)
        theirs = children(value, path) if parts is not None and same_kind(mine, value) else None
        if parts is None or theirs is None:
            wanted = "None" if mine is None else describe(mine)
            raise InputTypeError(
                f"`{who}` returned {describe(value)} for `{path}`, which is {wanted}; it must "
                "return the same containers"
            )
        found = dict(theirs)
        labels = [label for label, _ in parts]
        if set(labels) != set(found):
            lost = [label for label in labels if label not in found]
            new = [label for label in found if label not in labels]
            said = f"nothing for `{lost[0]}`" if lost else f"`{new[0]}`, which is not there"
            raise InputValueError(
                f"`{who}` returned {said}; it must return the containers of `{path}`"
            )
        for label, child in parts:
            self._fill(child, found[label], label, who, out)


def _described(node: Any, path: str, leaves: list[SpaceLeaf], who: str) -> Any:
    """The structure of a node; its leaves are added to the list."""
    if node is None:
        return None
    numbers = isinstance(node, (list, tuple)) and only_numbers(node, ())
    parts = None if numbers else children(node, path)
    if parts is not None:
        below = [_described(child, label, leaves, who) for label, child in parts]
        return with_children(node, below)
    said = f"`{who}` returned" if who else f"`{path}` is"
    array = _as_array(node, said, path)
    start = leaves[-1].stop if leaves else 0
    # What is given back as whole numbers is paired with vectors of real ones.
    dtype = array.dtype if array.dtype.kind in "fc" else np.dtype(float)
    if not who and array.dtype.kind not in "fc":
        raise InputTypeError(
            f"`{path}` has dtype {array.dtype}, and random vectors of its type are drawn; use "
            f"`{path}`.astype(float)"
        )
    order = "F" if array.flags.fnc else "C"
    is_number = bool(who) and not isinstance(node, np.ndarray) and not array.ndim
    leaves.append(SpaceLeaf(path, array.shape, dtype, start, order, is_number))
    return len(leaves) - 1


def _as_array(node: Any, said: str, path: str) -> np.ndarray:
    """An array, a number, or a list of numbers as an array of numbers."""
    if hasattr(node, "compressed"):  # NumPy would read what the mask hides
        raise InputTypeError(f"{said} a masked array at `{path}`; use .filled(0.0), or .data")
    if isinstance(node, np.matrix):
        raise InputTypeError(f"{said} an np.matrix at `{path}`; use np.asarray of it")
    try:
        array = np.asarray(node)
    except (TypeError, ValueError, RuntimeError):  # ragged, or a tensor with a gradient
        array = np.asarray(None)
    if array.dtype.kind not in "biufc":
        kind = f" and dtype {array.dtype}" if isinstance(node, np.ndarray) else ""
        # The path of an argument is its name, which was said.
        at = "" if said == f"`{path}` is" else f" at `{path}`"
        raise InputTypeError(
            f"{said} {describe(node)}{kind}{at}; it must be an array of numbers, or a nest of such "
            "arrays"
        )
    return array


def _read(leaf: SpaceLeaf, value: Any, who: str, out: np.ndarray) -> None:
    """Write the numbers of one array."""
    array = _as_array(value, f"`{who}` returned", leaf.path)
    if array.shape != leaf.shape:
        raise InputValueError(
            f"`{who}` returned shape {array.shape} for `{leaf.path}`, which has shape "
            f"{leaf.shape} (nothing is broadcast)"
        )
    if array.dtype.kind == "c" and not leaf.is_complex:
        raise InputTypeError(
            f"`{who}` returned complex numbers for `{leaf.path}`, which is real; return their real "
            "part, which is the adjoint with respect to real arrays, or make that complex"
        )
    place = leaf.of(out)
    with np.errstate(over="ignore", invalid="ignore"):  # of longdoubles, and signalling NaNs
        if leaf.is_complex:
            place[..., 0], place[..., 1] = array.real, array.imag
        else:
            place[...] = array
