"""Products with a Jacobian as the user's functions compute them: called, checked, and copied.

Vectors that are handed to these functions hold short binary fractions: they are the same numbers in
every float type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from fastgrad._checks.claim import Analytic, compared, raised, spacing_of
from fastgrad._checks.layout import Layout
from fastgrad._derivatives.given import arrays_of, column_of, got_type, read_array
from fastgrad._dtypes import EPS, eps_of
from fastgrad._errors import FastgradError, InputTypeError, InputValueError
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._tree import Params, pair, unflatten

__all__ = ["Pulled", "Pushed", "by_columns", "by_rows", "fractions", "pushed_of", "spacings"]

# Random factors are multiples of 1/64 from 0.5 to 1.5: seven bits, which float16 holds.
_GRAIN = 64


def fractions(rng: np.random.Generator, count: int) -> np.ndarray:
    """Random factors of 0.5 to 1.5 with either sign: none hides an error, nor cancels others."""
    sizes = rng.integers(_GRAIN // 2, 3 * _GRAIN // 2, count, endpoint=True) / _GRAIN
    found: np.ndarray = sizes * rng.choice((-1.0, 1.0), count)
    return found


def spacings(outputs: Outputs) -> np.ndarray:
    """Distance from 1 to the next number, for each real number that `f` returns."""
    eps = [EPS.get(leaf.dtype.char, EPS["d"]) for leaf in outputs.leaves]
    return np.repeat(eps, [leaf.size for leaf in outputs.leaves])


@dataclass(frozen=True)
class Pulled:
    """The user's ``vjp(params, u)`` at some parameters: from outputs to parameters.

    Of these some may be meant only: `meant` are their numbers among all of them.
    """

    vjp: Callable[[Any, Any], Any]
    argument: Params
    leaves: Sequence[Leaf]
    outputs: Outputs
    meant: np.ndarray | None = None

    def nest(self, u: np.ndarray) -> Any:
        """What it makes of a vector of outputs, in the structure of the parameters."""
        return unflatten(self.argument, iter(self.arrays(u)))

    def arrays(self, u: np.ndarray) -> list[np.ndarray]:
        """The same, an array for each parameter array."""
        cotangent = self.outputs.tree([_shaped(leaf, u) for leaf in self.outputs.leaves])
        given = self.vjp(self.argument, cotangent)
        try:
            return arrays_of(self.argument, given, "vjp")
        except (InputTypeError, InputValueError) as error:
            if isinstance(given, tuple) and len(given) == 1:
                said = f"{error}. It is a tuple of one, as of jax.vjp: return its element [0]"
                raise type(error)(said) from None
            raise

    def column(self, u: np.ndarray) -> np.ndarray:
        """The entries that are meant, as one column."""
        return self.measured(u)[0]

    def measured(self, u: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The same, and the spacing of the type of each array."""
        arrays = self.arrays(u)
        column = column_of(arrays, self.leaves)
        return _those(column, self.meant), list(map(spacing_of, arrays))

    @property
    def sides(self) -> list[slice]:
        """Where each array stands in the column."""
        return _sides([leaf.real.size for leaf in self.leaves], self.meant)

    @property
    def eps(self) -> float:
        """The coarsest spacing of what `f` returns."""
        return float(spacings(self.outputs).max(initial=0.0))


def _those(vector: np.ndarray, meant: np.ndarray | None) -> np.ndarray:
    return vector if meant is None else vector[meant]


def _sides(sizes: Sequence[int], meant: np.ndarray | None) -> list[slice]:
    """Where arrays of these sizes stand in one vector, of which some numbers may be meant only."""
    stops = np.cumsum([0, *sizes])
    if meant is not None:
        stops = np.searchsorted(meant, stops)
    return [slice(*each) for each in pairwise(stops.tolist())]


@dataclass(frozen=True)
class Pushed:
    """The user's ``jvp(params, v)`` at some parameters: from parameters to outputs.

    Of the parameters some may be `meant` only, by their numbers: others stay where they are. So it
    may be of the numbers that it makes, where the `rows` are given.
    """

    jvp: Callable[[Any, Any], Any]
    argument: Params
    leaves: Sequence[Leaf]
    outputs: Outputs
    meant: np.ndarray | None = None
    rows: np.ndarray | None = None

    def arrays(self, v: np.ndarray) -> list[np.ndarray]:
        """What it makes of a column of parameters: an array for each array that `f` returns."""
        parts, start = [], 0
        if self.meant is not None:
            whole = np.zeros(sum(leaf.array.size for leaf in self.leaves))
            whole[self.meant] = v
            v = whole
        for leaf in self.leaves:
            part = v[start : start + leaf.array.size].reshape(leaf.array.shape)
            parts.append(part.astype(leaf.array.dtype.newbyteorder("=")))
            start += leaf.array.size
        given = self.jvp(self.argument, unflatten(self.argument, iter(parts)))
        nest = self.outputs.tree([np.empty(leaf.shape) for leaf in self.outputs.leaves])
        try:
            paired_parts = [part for _, part in pair(nest, given, "jvp", "out", "what `f` returns")]
            return [
                _output_array(leaf, part)
                for leaf, part in zip(self.outputs.leaves, paired_parts, strict=True)
            ]
        except (InputTypeError, InputValueError) as error:
            if isinstance(given, tuple) and len(given) == 2:
                said = f"{error}. It is a pair, as of jax.jvp: return the tangent alone, its [1]"
                raise type(error)(said) from None
            raise

    def vector(self, v: np.ndarray) -> np.ndarray:
        """The numbers that are meant, as one vector."""
        return self.measured(v)[0]

    def measured(self, v: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """The same, and the spacing of the type of each array."""
        arrays = self.arrays(v)
        vector = vector_of(arrays, self.outputs)
        return _those(vector, self.rows), list(map(spacing_of, arrays))

    @property
    def sides(self) -> list[slice]:
        """Where each array stands in the vector."""
        return _sides([leaf.size for leaf in self.outputs.leaves], self.rows)

    @property
    def eps(self) -> float:
        """The coarsest spacing of the parameters."""
        return max((eps_of(leaf.array) for leaf in self.leaves), default=0.0)


def _shaped(leaf: OutputLeaf, u: np.ndarray) -> Any:
    """The part of a vector that belongs to one output, in its shape and type."""
    part = np.array(leaf.part(np.ascontiguousarray(u)))
    return part.astype(leaf.dtype if leaf.dtype.kind in "fc" else np.float64)[()]


def _output_array(leaf: OutputLeaf, value: Any) -> np.ndarray:
    place = f"`jvp` at `{leaf.path}`"
    array = read_array(place, leaf.shape, value)
    allowed = "iufc" if leaf.is_complex else "iuf"
    if array.dtype.kind not in allowed:
        raise InputTypeError(f"{place} must hold numbers like those of `f`; {got_type(array)}")
    if array.shape != leaf.shape:
        raise InputValueError(
            f"{place} must have shape {leaf.shape}, as what `f` returns; got {array.shape}"
        )
    return array


def vector_of(arrays: Sequence[np.ndarray], outputs: Outputs) -> np.ndarray:
    """Copy arrays like those that `f` returns to one vector of real numbers."""
    vector = np.empty(outputs.size)
    for leaf, array in zip(outputs.leaves, arrays, strict=True):
        if leaf.is_complex:
            array = array.astype(np.complex128, copy=False).ravel().view(np.float64)
        vector[leaf.start : leaf.stop] = array.reshape(-1)
    return vector


# ------------------------------------------------------------- the whole Jacobian, of products


def by_rows(
    vjp: Callable[[Any, Any], Any], run: Metered, layout: Layout, argument: Params
) -> Analytic:
    """The Jacobian of which each row is a product with a unit vector."""
    pulled = Pulled(vjp, argument, layout.whole.leaves, layout.outputs, layout.meant)

    def matrix() -> tuple[np.ndarray, list[float]]:
        found, eps = np.empty(layout.shape), [0.0] * len(layout.leaves)
        for j, unit in enumerate(np.eye(layout.shape[0])):
            found[j], spacing = pulled.measured(unit)
            eps = list(map(max, eps, spacing))
        return found, eps * len(layout.outputs.leaves)

    return _twice(matrix, run, layout, "vjp")


def pushed_of(jvp: Callable[[Any, Any], Any], layout: Layout, argument: Params) -> Pushed:
    """The products of vectors of the entries that are meant, as far as these are asked for."""
    whole = layout.whole
    rows = layout.meant if layout.square else None
    return Pushed(jvp, argument, whole.leaves, whole.outputs, layout.meant, rows)


def by_columns(
    jvp: Callable[[Any, Any], Any], run: Metered, layout: Layout, argument: Params
) -> Analytic:
    """The Jacobian of which each column is a product with a unit vector."""
    pushed = pushed_of(jvp, layout, argument)

    def matrix() -> tuple[np.ndarray, list[float]]:
        found, eps = np.empty(layout.shape), [0.0] * len(layout.outputs.leaves)
        for k, unit in enumerate(np.eye(layout.shape[1])):
            found[:, k], spacing = pushed.measured(unit)
            eps = list(map(max, eps, spacing))
        return found, list(np.repeat(eps, len(layout.leaves)))

    return _twice(matrix, run, layout, "jvp")


def _twice(
    matrix: Callable[[], tuple[np.ndarray, list[float]]], run: Metered, layout: Layout, name: str
) -> Analytic:
    """The claim, with what is different when all is computed once more."""
    run.guard.check()
    first, eps = matrix()
    run.guard.check(name)
    claim = Analytic(layout.column_of(first), tuple(map(float, eps)), None, layout.spans)
    try:
        second, _ = matrix()
    except FastgradError:
        raise
    except Exception as error:
        return replace(claim, trouble=raised(error))
    run.guard.check(name)
    return compared(claim, layout.column_of(second))
