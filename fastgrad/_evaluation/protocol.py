"""The seam: what derivatives and checks ask for, and what evaluates it.

Above it nothing knows how a parameter is moved; below it nothing knows what a difference is. One
request asks for many moves, so that a loop in C, a batch or a message to a worker serves it whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastgrad._stencils import Stencil, Steps

if TYPE_CHECKING:
    from fastgrad._evaluation.direction import Direction
    from fastgrad._evaluation.guard import Guard
    from fastgrad._leaf import Leaf
    from fastgrad._outputs import Outputs

__all__ = [
    "Along",
    "Changes",
    "Displaced",
    "Evaluator",
    "Gradient",
    "Grouped",
    "OutOfBudget",
    "Request",
    "Samples",
    "Single",
    "Steps",
    "Target",
    "Where",
]

# Entries of a leaf: their numbers in C order, a box of slices, or all of them.
Where = Any


class OutOfBudget(Exception):
    """No evaluations are left for a request; none of it was made."""


@dataclass(frozen=True)
class Single:
    """Entries of one leaf, each moved alone to every offset: n entries, p points."""

    leaf: int
    entries: np.ndarray  # (n,) intp, in C order of the leaf's real numbers, contiguous
    steps: Steps
    offsets: tuple[int, ...] = (1, -1)  # in steps; none is 0

    @property
    def count(self) -> int:
        """How many positions it has, by which it can be cut."""
        return len(self.entries)

    @property
    def evaluations(self) -> int:
        """How often `f` is evaluated."""
        return len(self.entries) * len(self.offsets)

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The entries that move."""
        return _first_to_last(leaves[self.leaf], self.entries[0], self.entries[-1])

    def part(self, start: int, stop: int) -> Single:
        """The entries at some positions."""
        return replace(self, entries=self.entries[start:stop], steps=self.steps.part(start, stop))

    def run(self, evaluator: Evaluator) -> Samples:
        """Have it evaluated."""
        return evaluator.single(self)


@dataclass(frozen=True)
class Grouped:
    """Groups of entries, each moved as one: columns of one color, or the pairs of a Hessian.

    Group `k` holds the entries at the positions ``starts[k]`` to ``starts[k + 1] - 1``.
    """

    leaf: int
    entries: np.ndarray  # (k,) intp, one group after the other
    starts: np.ndarray  # (g + 1,) intp
    steps: Steps
    offsets: tuple[int, ...] = (1, -1)

    @property
    def count(self) -> int:
        """How many positions it has: its groups."""
        return len(self.starts) - 1

    @property
    def evaluations(self) -> int:
        """How often `f` is evaluated."""
        return self.count * len(self.offsets)

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The entries that move."""
        return _first_to_last(leaves[self.leaf], self.entries[0], self.entries[-1])

    def part(self, start: int, stop: int) -> Grouped:
        """The groups at some positions."""
        low, high = int(self.starts[start]), int(self.starts[stop])
        entries, steps = self.entries[low:high], self.steps.part(low, high)
        starts = self.starts[start : stop + 1] - low
        return replace(self, entries=entries, starts=starts, steps=steps)

    def run(self, evaluator: Evaluator) -> Samples:
        """Have it evaluated."""
        return evaluator.grouped(self)


@dataclass(frozen=True)
class Along:
    """A region, a leaf or all leaves, moved along one direction: t points.

    Where the first two values both equal `still`, nothing moves `f`, and no more are taken.
    """

    direction: Direction
    times: tuple[float, ...]
    still: float | None = None

    @property
    def count(self) -> int:
        """How many points it has."""
        return len(self.times)

    @property
    def evaluations(self) -> int:
        """How often `f` is evaluated, at most."""
        return len(self.times)

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The leaves of which entries move."""
        paths = dict.fromkeys(leaves[region.leaf].path for region in self.direction.regions)
        return "a region of " + ", ".join(f"`{path}`" for path in paths)

    def part(self, start: int, stop: int) -> Along:
        """Some of the points."""
        return replace(self, times=self.times[start:stop])

    def run(self, evaluator: Evaluator) -> Changes:
        """Have it evaluated."""
        return evaluator.along(self)


@dataclass(frozen=True)
class Gradient:
    """Derivatives with respect to the entries of one leaf from `start` to `stop` - 1.

    Steps that are given are those of these entries.
    """

    leaf: int
    start: int
    stop: int
    stencil: Stencil
    steps: Steps
    base: Any = np.nan  # value at the parameters, for a stencil that uses it; None of a vector
    store: Any = np.float64  # type of the derivatives

    @property
    def count(self) -> int:
        """How many positions it has: its entries."""
        return self.stop - self.start

    @property
    def evaluations(self) -> int:
        """How often `f` is evaluated."""
        return self.count * self.stencil.evaluations

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The entries that move."""
        return _first_to_last(leaves[self.leaf], self.start, self.stop - 1)

    def part(self, start: int, stop: int) -> Gradient:
        """The entries at some positions, of which the first is `start` of this request."""
        steps = self.steps.part(start, stop)
        return replace(self, start=self.start + start, stop=self.start + stop, steps=steps)

    def run(self, evaluator: Evaluator) -> Samples:
        """Have it evaluated into an array of its own, of shape (entries,), or (entries, m)."""
        width = () if evaluator.outputs is None else (evaluator.outputs.size,)
        out = np.empty((self.stop - self.start, *width), self.store)
        evaluator.gradient((self,), (Target(out, self.start),))
        return Samples(np.empty(0), out)


@dataclass(frozen=True)
class Displaced:
    """Single entries that are moved beside a displacement, which may be in other leaves."""

    direction: Direction
    time: float
    request: Single

    @property
    def count(self) -> int:
        """How many positions it has: its entries."""
        return self.request.count

    @property
    def evaluations(self) -> int:
        """How often `f` is evaluated."""
        return self.request.evaluations

    def name(self, leaves: Sequence[Leaf]) -> str:
        """The entries that move."""
        return self.request.name(leaves)

    def part(self, start: int, stop: int) -> Displaced:
        """The entries at some positions."""
        return replace(self, request=self.request.part(start, stop))

    def run(self, evaluator: Evaluator) -> Samples:
        """Have it evaluated."""
        with evaluator.displaced(self.direction, self.time) as there:
            return there.single(self.request)


Request = Single | Grouped | Along | Gradient | Displaced


def _first_to_last(leaf: Leaf, first: int, last: int) -> str:
    names = leaf.name(int(first)), leaf.name(int(last))
    return f"`{names[0]}`" if names[0] == names[1] else f"`{names[0]}` to `{names[1]}`"


@dataclass(frozen=True)
class Target:
    """Where derivatives of one leaf are stored: entry `first` and the next ones, in C order.

    Those of a vector-valued `f` are rows of an array of float64, C-contiguous.
    """

    array: np.ndarray
    first: int = 0


@dataclass(frozen=True)
class Samples:
    """Displacements really made, and values of `f` there.

    Of `Single` (n, p) both; of `Grouped` (k, p) displacements and (g, p) values. Values of a
    vector-valued `f` have one more axis, the last.
    """

    moved: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class Changes:
    """Values of `f` along a direction, and how far they lie from the start, going by a claim.

    `claimed`, of shape (t,), holds the inner product of the claimed gradient with each move really
    made, and `norm` the norm of its terms at the first point; zeros without a claim.
    """

    values: tuple[Any, ...]
    claimed: tuple[float, ...] = ()
    norm: float = 0.0


class Evaluator(Protocol):
    """Evaluates `f` at and around one set of parameters, and counts.

    It is a context: inside, the memory of the parameters belongs to it; when it is left, every bit
    is back in its place, or the user is told.
    """

    leaves: Sequence[Leaf]
    batch: int  # how many evaluations it likes to be asked for at once

    @property
    def outputs(self) -> Outputs | None:
        """How a vector-valued `f` lays its values out, once one is known."""

    @property
    def guard(self) -> Guard:
        """The memory of the parameters."""

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated."""

    @property
    def raised(self) -> str:
        """The first exception that counted as NaN, in words, of an `f` that is `Lenient`."""

    def __enter__(self) -> Evaluator: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def base(self) -> Any:
        """Value at the unperturbed parameters: a number, or a vector (m,)."""

    def scale(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The length by which steps are measured, ``max(1, |x|)``: (n,) float64."""

    def read(self, leaf: int, where: Where = ...) -> np.ndarray:
        """The parameters themselves: (n,) float64."""

    def single(self, request: Single) -> Samples:
        """Move each entry alone."""

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one."""

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once; `claims` are the gradients in its regions."""

    def claimed(self, request: Along, claims: Sequence[np.ndarray]) -> Changes:
        """What `along` says of claims, without a value: nothing is evaluated."""

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine in one loop; store the derivatives."""

    def displaced(self, direction: Direction, time: float) -> AbstractContextManager[Evaluator]:
        """An evaluator at displaced parameters, as long as the context lasts."""

    def beside(self, requests: Sequence[Displaced]) -> list[Samples]:
        """Answer many requests, each at displaced parameters of its own."""
