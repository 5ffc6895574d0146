"""Arrays for the derivatives of each output by each parameter, and how rows get there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._errors import InputValueError
from fastgrad._evaluation.guard import check_layout
from fastgrad._leaf import Leaf
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._tree import Params, describe, pair, unflatten

__all__ = ["Blocks", "outputs_first"]


class Blocks:
    """The blocks of a Jacobian, one for each output and each leaf.

    A row holds the derivatives of all numbers that `f` returns by one entry. Where the result
    needs no other type, it is views of the rows, which are then memory of the result.
    """

    def __init__(
        self, argument: Params, leaves: Sequence[Leaf], outputs: Outputs, out: Any
    ) -> None:
        self._argument, self._leaves, self.outputs = argument, leaves, outputs
        self._zero = self._moved = False  # whether some derivative is zero, and whether one is not
        self._parts: list[list[np.ndarray]] = []  # by leaf and by output
        self._whole: list[np.ndarray | None] = [None] * len(leaves)
        self._found: list[Any] = []
        if out is None:
            for number, leaf in enumerate(leaves):
                self._parts.append(self._made(number, leaf))
            return
        trees = [list(pair(argument, tree, "out")) for tree in outputs.nodes(out, "out")]
        for number, leaf in enumerate(leaves):
            arrays = [tree[number][1] for tree in trees]
            for output, array in zip(outputs.leaves, arrays, strict=True):
                _check_fits(array, output, leaf)
            self._parts.append(arrays)
        given = [Leaf("out", array) for arrays in self._parts for array in arrays]
        check_layout([*leaves, *given])
        self._found = [_backend.kernel.Fingerprint(leaf.array) for leaf in given]

    def _made(self, number: int, leaf: Leaf) -> list[np.ndarray]:
        types = [output.derivative_type(leaf.array.dtype) for output in self.outputs.leaves]
        if all(kind.char in "dD" for kind in types):
            rows = np.empty((leaf.real.size, self.outputs.size))
            self._whole[number] = rows
            return [_seen(output.part(rows), output, leaf) for output in self.outputs.leaves]
        return [
            np.empty(output.shape + leaf.array.shape, kind)
            for output, kind in zip(self.outputs.leaves, types, strict=True)
        ]

    def rows(self, number: int, most: int) -> Iterator[tuple[int, np.ndarray]]:
        """Memory for the rows of a leaf, with the first entry; they are stored once filled."""
        size, whole = self._leaves[number].real.size, self._whole[number]
        if whole is not None:
            if size:
                yield 0, whole
                self._look_at(whole)
            return
        memory = np.empty((min(most, size), self.outputs.size))
        for start in range(0, size, max(1, most)):
            rows = memory[: min(most, size - start)]
            yield start, rows
            self._look_at(rows)
            self._store(number, start, rows)

    def _look_at(self, rows: np.ndarray) -> None:
        # Row by row, as the first one mostly tells.
        for row in rows:
            if self._moved:
                return
            nonzero = np.count_nonzero(row)
            self._moved = bool(nonzero) and nonzero != np.count_nonzero(np.isnan(row))
            self._zero = self._zero or nonzero < row.size

    @property
    def still(self) -> bool:
        """Whether all derivatives are zero, but for those that are not there, and some are."""
        return self._zero and not self._moved

    def _store(self, number: int, start: int, rows: np.ndarray) -> None:
        if any(found.changed() for found in self._found):
            raise _errors.moved_error("out")
        shape = self._leaves[number].array.shape
        place: Any = ...
        if shape:
            entries = np.arange(start, start + len(rows))
            place = (..., *np.unravel_index(entries, shape))
        for output, target in zip(self.outputs.leaves, self._parts[number], strict=True):
            part = np.moveaxis(output.part(rows), 0, -1)
            with np.errstate(over="ignore", invalid="ignore"):  # of a narrow type
                target[place] = part if shape else part[..., 0]

    def nested(self, converted: bool) -> Any:
        """The result, as the user gets it; `converted` tells that numbers were made arrays."""
        trees = []
        for which in range(len(self.outputs.leaves)):
            arrays: list[Any] = [parts[which] for parts in self._parts]
            if converted and isinstance(self._argument, np.ndarray) and not arrays[0].ndim:
                arrays = [arrays[0][()]]
            trees.append(unflatten(self._argument, iter(arrays)))
        return self.outputs.tree(trees)


def _seen(part: np.ndarray, output: OutputLeaf, leaf: Leaf) -> np.ndarray:
    """Rows of one output as an array of shape ``output.shape + leaf.shape``: a view."""
    shape = leaf.array.shape
    return outputs_first(part.reshape(shape + output.shape), len(shape))


def outputs_first(whole: np.ndarray, count: int) -> np.ndarray:
    """A view with the first axes, those of a leaf, as the last ones."""
    return np.moveaxis(whole, range(count), range(-count, 0))


def _check_fits(array: Any, output: OutputLeaf, leaf: Leaf) -> None:
    shape = output.shape + leaf.array.shape
    kind = "c" if output.is_complex else "f"
    if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != kind:
        seen = describe(array)
        if isinstance(array, np.ndarray):
            seen += f" and dtype {array.dtype}"
        raise InputValueError(
            f"`out` must hold an array of shape {shape} and a "
            f"{'complex' if kind == 'c' else 'floating'} type for the derivatives of "
            f"`{output.path}` by `{leaf.path}`; got {seen}"
        )
