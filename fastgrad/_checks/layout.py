"""How the entries of a Jacobian are laid out: a matrix for the judge, and blocks for the report.

The matrix has a row for each real number that `f` returns, and a column for each parameter. A block
holds the derivatives of one returned array by one parameter array, in the shape of both; blocks
follow each other in a column, as the leaves of a gradient do.

Where some entries of the parameters are chosen, it is laid out as that of a function of these.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fastgrad._checks.claim import Analytic
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.selected import Selection
from fastgrad._leaf import Leaf
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._report.entries import LeafSpan
from fastgrad._tree import Params, structure_of

__all__ = ["Block", "Layout"]


@dataclass(frozen=True)
class Block:
    """The derivatives of one returned array by one parameter array."""

    output: OutputLeaf
    number: int  # of the parameter array
    leaf: Leaf
    columns: slice  # of the matrix

    @property
    def rows(self) -> slice:
        """Those of the matrix that belong to it."""
        return slice(self.output.start, self.output.stop)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array, or of the complex array."""
        return self.output.shape + self.leaf.array.shape

    @property
    def path(self) -> str:
        """Its name, from which those of its entries are made."""
        return f"{self.output.path} / {self.leaf.path}"

    @property
    def size(self) -> int:
        """How many real numbers it has."""
        return self.output.size * self.leaf.array.size


class Layout:
    """The blocks of a Jacobian, and where their entries stand in the matrix.

    With a `selection`, columns are those of its entries, and where the matrix is `square`, as a
    Hessian, rows too; `whole` is then the layout of all of it, and the same otherwise.
    """

    def __init__(
        self,
        outputs: Outputs,
        argument: Params,
        leaves: Sequence[Leaf],
        selection: Selection | None = None,
        *,
        square: bool = False,
    ) -> None:
        _refuse_complex(leaves, "Hessians" if square else "Jacobians")
        self._selection, self.square = selection, square
        # Not itself, which would keep it alive, and with it the parameters.
        self._whole: Layout | None = None
        if selection is not None:
            self._whole = Layout(outputs, argument, leaves, square=square)
            leaves = selection.leaves
            outputs = _of_parts(outputs, leaves) if square else outputs
        self.outputs, self.leaves = outputs, leaves
        self._argument = structure_of(argument)
        stops = np.cumsum([leaf.array.size for leaf in leaves], dtype=int).tolist()
        sides = [
            slice(stop - leaf.array.size, stop) for leaf, stop in zip(leaves, stops, strict=True)
        ]
        self.columns: list[slice] = sides
        self.shape = (outputs.size, stops[-1] if stops else 0)
        self.blocks = [
            Block(output, k, leaf, side)
            for output in outputs.leaves
            for k, (leaf, side) in enumerate(zip(leaves, sides, strict=True))
        ]

    @property
    def whole(self) -> Layout:
        """The layout of all entries."""
        return self._whole or self

    @property
    def structure(self) -> Any:
        """The containers of the Jacobian: those of what `f` returns, each leaf a nest."""
        return self.outputs.tree([self._argument] * len(self.outputs.leaves))

    @cached_property
    def meant(self) -> np.ndarray | None:
        """The columns, by their numbers in the whole matrix; None: all of them."""
        if self._selection is None:
            return None
        return self._selection.meant(self.whole.leaves)

    def of_meant(self, columns: np.ndarray) -> np.ndarray:
        """What is said of each column of the whole matrix, of those that are meant."""
        return columns if self.meant is None else columns[self.meant]

    def part_of(self, claim: Analytic) -> Analytic:
        """What is claimed of these entries, of a claim of the whole."""
        if self.meant is None:
            return claim
        matrix = self.whole.matrix_of(claim.column)[:, self.meant]
        column = self.column_of(matrix[self.meant] if self.square else matrix)
        return replace(claim, column=column, spans=self.spans)

    def row_name(self, row: int) -> str:
        """Path of the output of a row."""
        if self._selection is None or not self.square:
            return self.outputs.name(row)
        k = next(k for k, side in enumerate(self.columns) if row < side.stop)
        return self.leaves[k].name(row - self.columns[k].start)

    @cached_property
    def spans(self) -> tuple[LeafSpan, ...]:
        """The stretches of the column that belong to the blocks, of the whole matrix."""
        if self._selection is None:
            return self.parts
        of_whole = zip(self.parts, self.whole.parts, self._places(), strict=True)
        return tuple(
            replace(whole, start=part.start, stop=part.stop, chosen=places)
            for part, whole, places in of_whole
        )

    def _places(self) -> Iterator[np.ndarray | None]:
        """Where the entries of each block stand among the real numbers of the whole one."""
        assert self._selection is not None
        count = len(self.leaves)
        for k, block in enumerate(self.whole.blocks):
            size, parts = block.leaf.array.size, 2 if block.output.is_complex else 1
            columns = self._selection.chosen(block.number)
            rows = self._selection.chosen(k // count) if self.square else None
            if rows is None and columns is None:
                yield None
                continue
            rows = np.arange(math.prod(block.output.shape)) if rows is None else rows
            columns = np.arange(size) if columns is None else columns
            numbers = size * rows[:, np.newaxis] + columns
            yield (parts * numbers[..., np.newaxis] + np.arange(parts)).ravel()

    @cached_property
    def parts(self) -> tuple[LeafSpan, ...]:
        """The same of blocks of chosen entries alone, as sentences name them."""
        found, start = [], 0
        for block in self.blocks:
            stop, dtype = start + block.size, str(block.leaf.array.dtype)
            where = (block.output.path, block.leaf.path, len(block.output.shape))
            shape, is_complex = block.shape, block.output.is_complex
            found.append(LeafSpan(block.path, shape, dtype, start, stop, is_complex, None, *where))
            start = stop
        return tuple(found)

    @cached_property
    def row_spans(self) -> tuple[LeafSpan, ...]:
        """The stretches of one row that belong to the parameter arrays."""
        return tuple(
            LeafSpan(
                leaf.path, leaf.array.shape, str(leaf.array.dtype), side.start, side.stop, False
            )
            for leaf, side in zip(self.leaves, self.columns, strict=True)
        )

    @cached_property
    def _order(self) -> np.ndarray | None:
        """Position in the matrix of each entry of the column; None if they are the same."""
        if len(self.blocks) == 1 and not self.blocks[0].output.is_complex:
            return None
        numbers = np.arange(math.prod(self.shape)).reshape(self.shape)
        parts = [np.empty(0, int)]
        for block in self.blocks:
            mine = numbers[block.rows, block.columns]
            if block.output.is_complex:  # the real and imaginary part of a number, side by side
                mine = mine.reshape(len(mine) // 2, 2, mine.shape[1]).swapaxes(1, 2)
            parts.append(mine.ravel())
        return np.concatenate(parts)

    def column_of(self, matrix: np.ndarray) -> np.ndarray:
        """The entries of a matrix, block after block."""
        flat = matrix.reshape(-1)
        return flat if self._order is None else flat[self._order]

    def matrix_of(self, column: np.ndarray) -> np.ndarray:
        """The matrix of entries that stand block after block."""
        if self._order is None:
            return column.reshape(self.shape)
        matrix = np.empty(len(column), column.dtype)
        matrix[self._order] = column
        return matrix.reshape(self.shape)

    def place(self, position: int) -> tuple[int, int]:
        """Row and column in the matrix of the entry at this position of the column."""
        at = position if self._order is None else int(self._order[position])
        row, column = divmod(at, self.shape[1])
        return row, column


def _refuse_complex(leaves: Sequence[Leaf], derivatives: str) -> None:
    for leaf in leaves:
        if leaf.is_complex:
            raise InputTypeError(
                f"`{leaf.path}` is complex, and {derivatives} are those by real parameters; pass "
                "its real and imaginary part as two arrays, and let `f` make one of them"
            )


def _of_parts(outputs: Outputs, leaves: Sequence[Leaf]) -> Outputs:
    """Outputs that are laid out as the parameters are, of some of their entries."""
    made: list[OutputLeaf] = []
    for output, leaf in zip(outputs.leaves, leaves, strict=True):
        start = made[-1].stop if made else 0
        made.append(replace(output, path=leaf.path, shape=leaf.array.shape, start=start))
    return replace(outputs, leaves=tuple(made))
