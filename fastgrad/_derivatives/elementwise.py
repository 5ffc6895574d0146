"""Evaluates a vectorized `f` of an array: every element at once, each a problem of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.inplace import group_points, part_of
from fastgrad._evaluation.protocol import Samples, Single, Where
from fastgrad._leaf import Leaf, in_double, lengths_of
from fastgrad._tree import describe

__all__ = ["Elementwise"]


class Elementwise:
    """Answers requests for single entries: those of all entries in one call for each point.

    `f` gets a copy for each call. Entries that nobody asks for stay where they are.
    """

    def __init__(self, f: Callable[[np.ndarray], Any], x: np.ndarray) -> None:
        self._f, self._vectorized = f, x.ndim > 0
        self.leaves: Sequence[Leaf] = [Leaf("x", x)]

    def values(self, x: np.ndarray) -> np.ndarray:
        """Values of `f`: (n,) float64, or longdouble."""
        try:
            value = self._f(x)
        except Exception as error:
            if self._vectorized:
                _errors.note(
                    error,
                    "while `f` had an array of points: it must be vectorized, as NumPy's functions "
                    "are (np.vectorize makes it so)",
                )
            raise
        try:
            array = np.asarray(value)
        except (TypeError, ValueError):  # ragged
            array = np.asarray(None)
        if value is None or array.dtype.kind not in "biuf":
            seen = describe(value) if value is None else f"{describe(value)} ({array.dtype})"
            raise InputTypeError(
                f"`f` returned {seen}; for an array of points it must return an array of real "
                "numbers, the value of each point (use np.vectorize for an `f` of one number)"
            )
        if array.shape != x.shape:
            raise InputValueError(
                f"`f` returned shape {array.shape} for points of shape {x.shape}; it must return "
                "the value of each point (use fg.gradient for one value that depends on all, and "
                "fg.jacobian for several)"
            )
        return array.ravel().astype(np.result_type(array.dtype, np.float64))

    def base(self) -> np.ndarray:
        """Values at the points themselves."""
        return self.values(self.leaves[0].array.copy())

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured: see `Evaluator`."""
        return lengths_of(part_of(self.leaves[leaf].real, where))

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The points: see `Evaluator`."""
        return in_double(part_of(self.leaves[leaf].real, where))

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        x = self.leaves[0].array
        places, moves = group_points(x.flat[request.entries], request, slice(None))
        columns = []
        for place in places:
            moved = x.copy()
            moved.flat[request.entries] = place
            columns.append(self.values(moved)[request.entries])
        return Samples(np.stack(moves, axis=1), np.stack(columns, axis=1))
