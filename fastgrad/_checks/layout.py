"""How the entries of a Jacobian are laid out: a matrix for the judge, and blocks for the report.

The matrix has a row for each real number that `f` returns, and a column for each parameter. A block
holds the derivatives of one returned array by one parameter array, in the shape of both; blocks
follow each other in a column, as the leaves of a gradient do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError
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
    """The blocks of a Jacobian, and where their entries stand in the matrix."""

    def __init__(self, outputs: Outputs, argument: Params, leaves: Sequence[Leaf]) -> None:
        for leaf in leaves:
            if leaf.is_complex:
                raise InputTypeError(
                    f"`{leaf.path}` is complex, and Jacobians are those by real parameters; pass "
                    "its real and imaginary part as two arrays, and let `f` make one of them"
                )
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
    def structure(self) -> Any:
        """The containers of the Jacobian: those of what `f` returns, each leaf a nest."""
        return self.outputs.tree([self._argument] * len(self.outputs.leaves))

    @cached_property
    def spans(self) -> tuple[LeafSpan, ...]:
        """The stretches of the column that belong to the blocks."""
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
                mine = mine.reshape(-1, 2, mine.shape[1]).swapaxes(1, 2)
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
