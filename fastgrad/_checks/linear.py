"""A map from arrays to arrays, and whether it is linear: how exactly, or in what way it is not.

Random vectors lie on a grid so coarse that sums and small multiples of them are exact. So what
``A(u + v) - A(u) - A(v)`` leaves is the rounding of the map itself, or shows that it is not linear.
A multiple by a power of two changes no digit of a linear map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._checks.space import Space
from fastgrad._evaluation.protocol import OutOfBudget

__all__ = [
    "CANCELS",
    "CLEARLY",
    "LAST_BITS",
    "SCALE",
    "SHORT_SCALE",
    "LinearMap",
    "Measured",
    "Meter",
    "NotFinite",
    "measure",
    "random_vector",
    "root_mean",
]

# Points of the grid in one half, by the type's size in bytes: the largest multiple below, of 6.4,
# then has half the digits of the type at most.
_GRID = {2: 2**6, 4: 2**10}
# The same for all longer types.
_FINE_GRID = 2**20
# Multiples of two vectors whose sum is looked at: neither is a power of two, and both are exact.
_FIRST, _SECOND = 3.0, -1.25
# The error of a value at such a sum, in units of that of one of the two: they are orthogonal.
_ROOTS = math.hypot(_FIRST, _SECOND)
# The multiple that a linear map does not round; of float16 less, whose numbers end at 65504.
SCALE, SHORT_SCALE = -256.0, -4.0
# A map that misses a sum by this share of its values is not linear. Solvers inside a map that stop
# early leave less: SciPy's stop at 1e-5.
CLEARLY = 1e-3
# Of the same vector the last bits may differ, by the order of sums in threads: in spacings.
LAST_BITS = 64.0
# What two calls with the same vector differ by may be this many times as large in other calls.
_MORE_NOISE = 8.0
# An array this far below the others, in spacings of these, is what their cancellation leaves.
CANCELS = 1e4


class NotFinite(Exception):
    """A map returned infinities or NaN; the text says where."""

    def __init__(self, who: str, text: str) -> None:
        super().__init__(text)
        self.who = who


@dataclass
class Meter:
    """How many evaluations were made, and how many may be."""

    budget: float = math.inf
    made: int = 0

    def spend(self, count: int = 1) -> None:
        """Count evaluations that are about to be made; none of them if too few are left."""
        if self.made + count > self.budget:
            raise OutOfBudget
        self.made += count


@dataclass
class LinearMap:
    """A function on arrays, as one on vectors of real numbers.

    `gives` is None until it is known from the first value.
    """

    function: Callable[[Any], Any]
    name: str  # `forward` or `adjoint`
    takes: Space
    gives: Space | None
    given_name: str  # of what it gives: `y` of `forward`, `x` of `adjoint`
    meter: Meter

    def __call__(self, vector: np.ndarray) -> np.ndarray:
        """Its value at a vector, as a new vector."""
        self.meter.spend()
        arrays = self.takes.arrays(vector)
        saved = [array.copy() for array in arrays]
        value = self.function(self.takes.nest(arrays))
        if self.gives is None:
            self.gives = Space.of(value, self.given_name, self.name)
        # Copied before anything else: it may be the argument itself, or memory that is used again.
        out = self.gives.vector(value, self.given_name, self.name)
        for leaf, array, before in zip(self.takes.leaves, arrays, saved, strict=True):
            if not np.array_equal(array, before):
                at = int(np.flatnonzero((array != before).ravel())[0]) * (1 + leaf.is_complex)
                raise _errors.written_error(leaf.name(at), self.name, undone=True)
        if not np.isfinite(out).all():
            at = int(np.flatnonzero(~np.isfinite(out))[0])
            raise NotFinite(
                self.name, f"`{self.name}` returned {out[at]} at `{self.gives.name(at)}`"
            )
        return out

    @property
    def image(self) -> Space:
        """What it gives, once that is known."""
        assert self.gives is not None
        return self.gives


@dataclass(frozen=True)
class Measured:
    """Two random vectors, what a map gives for them, and how exactly."""

    inputs: tuple[np.ndarray, np.ndarray]
    outputs: tuple[np.ndarray, np.ndarray]
    # Standard deviation of the error of each number given, for vectors as large as these.
    spread: np.ndarray
    inexact: float  # the largest share of an array's values that the spread is
    trouble: str = ""  # in what way it is not linear, as a sentence
    clearly: bool = False  # whether it is beyond doubt that another map is


def root_mean(vector: np.ndarray) -> float:
    """The root of the mean of squares; no square overflows."""
    largest = float(np.abs(vector).max(initial=0.0))
    if not largest:
        return 0.0
    with np.errstate(invalid="ignore"):  # one that is infinite
        return largest * math.sqrt(float(np.mean((vector / largest) ** 2)))


def random_vector(space: Space, rng: np.random.Generator) -> np.ndarray:
    """Numbers of sizes from 0.5 to 1.5 and random signs, on the grid of their types."""
    out = space.zeros()
    for leaf in space.leaves:
        size = leaf.dtype.itemsize // (2 if leaf.is_complex else 1)
        grid = _GRID.get(size, _FINE_GRID)
        n = leaf.stop - leaf.start
        sizes = rng.integers(grid // 2, grid + grid // 2, n, endpoint=True) / grid
        out[leaf.start : leaf.stop] = sizes * rng.choice([-1.0, 1.0], n)
    return out


def measure(linear: LinearMap, rng: np.random.Generator, rtol: float = 0.0) -> Measured:
    """Whether a map is linear, and how large its errors are, from five values."""
    u, v = random_vector(linear.takes, rng), random_vector(linear.takes, rng)
    at_u, at_v = linear(u), linear(v)
    scale = _scale(linear.takes)
    of_sum, of_both, of_multiple = (
        linear(u + v),
        linear(_FIRST * u + _SECOND * v),
        linear(scale * u),
    )
    with np.errstate(over="ignore", invalid="ignore"):
        # The errors of the three values in a sum, in units of that of one.
        added = (of_sum - at_u - at_v) / 2
        combined = (of_both - _FIRST * at_u - _SECOND * at_v) / math.hypot(_FIRST, _SECOND, _ROOTS)
        spread = np.hypot(added, combined) / math.sqrt(2)
        turned = of_multiple / scale
        turned_off = turned - at_u
    sizes = _sizes(linear, (at_u, at_v, of_sum, turned))
    found = Measured((u, v), (at_u, at_v), spread, _share(linear, spread, sizes))
    missed = _Missed(
        max(_share(linear, added, sizes), _share(linear, combined, sizes)),
        _share(linear, turned_off, sizes),
        scale,
    )
    return _judged(linear, found, missed, sizes, rtol)


@dataclass(frozen=True)
class _Missed:
    """By what share of its values a map misses sums, and a multiple."""

    sums: float
    multiple: float
    scale: float  # of the multiple

    def within(self, inexact: float) -> bool:
        """Whether a linear map may miss them by so much, if its values are so inexact."""
        return self.sums <= max(CLEARLY, inexact) and self.multiple <= inexact


def _scale(space: Space) -> float:
    short = any(leaf.eps > np.finfo(np.float32).eps for leaf in space.leaves)
    return SHORT_SCALE if short else SCALE


def _sizes(linear: LinearMap, values: Sequence[np.ndarray]) -> list[float]:
    """How large the values in each array are; zero where they are but the rounding of others."""
    leaves = linear.image.leaves
    sizes = [max(root_mean(leaf.of(value)) for value in values) for leaf in leaves]
    most = max(sizes, default=0.0)
    pairs = zip(leaves, sizes, strict=True)
    return [size if size > CANCELS * leaf.eps * most else 0.0 for leaf, size in pairs]


def _share(linear: LinearMap, part: np.ndarray, sizes: Sequence[float]) -> float:
    """The largest share that a part is of an array's values."""
    pairs = zip(linear.image.leaves, sizes, strict=True)
    return max((root_mean(leaf.of(part)) / size for leaf, size in pairs if size), default=0.0)


def _judged(
    linear: LinearMap, found: Measured, missed: _Missed, sizes: Sequence[float], rtol: float
) -> Measured:
    """What was measured, with the way in which the map is not linear, if it is not."""
    inexact = LAST_BITS * max(linear.takes.eps, linear.image.eps) + rtol
    if missed.within(inexact):
        return found
    again = linear(found.inputs[0]) - found.outputs[0]
    noise = _share(linear, again, sizes)
    if noise > max(CLEARLY, rtol):
        trouble = (
            f"`{linear.name}` is not repeatable: two calls with the same vector differ by a "
            f"relative {noise:.2g}; fix its seed, or put back the state it keeps"
        )
        return replace(found, trouble=trouble)
    inexact += _MORE_NOISE * noise
    if missed.within(inexact):
        return found
    clearly = max(missed.sums, missed.multiple) > max(CLEARLY, inexact)
    trouble = _not_linear(linear, missed, sizes, clearly)
    return replace(found, trouble=trouble, clearly=clearly)


def _not_linear(linear: LinearMap, missed: _Missed, sizes: Sequence[float], clearly: bool) -> str:
    """The simplest sum or multiple that the map misses."""
    name, said = linear.name, f"`{linear.name}` is not linear: "
    at_zero = _share(linear, linear(linear.takes.zeros()), sizes)
    if at_zero > CLEARLY:
        return (
            f"{said}{name}(0) is not 0, but {at_zero:.2g} times as large as {name} of a random "
            f"vector; check its linear part, v -> {name}(v) - {name}(0)"
        )
    if missed.multiple >= missed.sums:
        said += f"{name}({missed.scale:.0f} v) is not {missed.scale:.0f} {name}(v), by a relative "
        said += f"{missed.multiple:.2g}"
    else:
        said += f"{name}(u + v) is not {name}(u) + {name}(v), by a relative {missed.sums:.2g}"
    if clearly:
        return f"{said}; fg.check_vjp judges derivatives of maps that are not linear"
    return f"{said}; if that is the tolerance of a solver inside it, rtol= allows for it"
