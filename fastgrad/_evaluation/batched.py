"""Evaluates an `f` that takes many points at once, along a leading batch axis."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any, NoReturn

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._dtypes import is_extended
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.direction import Direction, added
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.inplace import Guarded, group_points, offsets_of
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.protocol import (
    Along,
    Changes,
    Gradient,
    Grouped,
    Samples,
    Single,
    Target,
)
from fastgrad._evaluation.rows import (
    Read,
    Rows,
    RowTest,
    all_of,
    along,
    beside,
    moving,
    takes_another,
    unperturbed,
    value_at,
)
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._reference_many import combined
from fastgrad._stencils import Stencil
from fastgrad._tree import Params

__all__ = ["Batched", "InBatches", "as_tested", "batched", "small_batch"]

# Bytes of a batch by default: large enough that the cost of a call is shared by many rows, small
# enough that the rows stay in the caches. Measured by bench/batched.py for other sizes.
MEMORY = 2**20


@dataclass(frozen=True)
class Batched:
    """An objective that takes arrays with a leading batch axis; see `batched`."""

    f: Callable[[Any], Any]
    memory: int
    # Whether its rows were tested at these parameters just now, so that it need not be done again.
    tested: bool = field(default=False, repr=False)

    def __call__(self, params: Params) -> Any:
        """The value at one point, given without the batch axis."""
        return value_at(self.f, params)


def batched(f: Callable[[Any], Any], *, memory: int = MEMORY) -> Batched:
    """Mark an objective as one that evaluates many points in one call.

    Every function that takes an objective evaluates the result in batches. Called with parameters,
    it returns one number, like any objective.

    Parameters
    ----------
    f : callable
        Takes the structure of the parameters with arrays of shape ``(B, *shape)`` and returns `B`
        real numbers: an array of shape ``(B,)``, a tensor, or a list. Each must depend on its own
        row alone. The arrays are copies, in C order and native byte order, of the types of the
        parameters. Unlike a plain objective, `f` must use these arrays and not the originals.
    memory : int, default 1 MiB
        Largest number of bytes of a batch, all arrays together. A batch holds at least one entry
        moved to all points of its difference, however large the parameters are. A larger bound may
        pay for an `f` whose calls are expensive, as on a GPU.

    Returns
    -------
    Batched

    Raises
    ------
    InputTypeError, InputValueError
        `f` is not callable or batched already, or `memory` is not a positive number. Later: `f`
        did not return one real number for each row, or rows influence each other.

    Notes
    -----
    Results are those of one evaluation after the other, up to the order in which `f` itself sums.
    Once for each gradient, `f` is evaluated at one point together with two other points, and once
    more there in a batch that is evaluated anyway, to test that rows do not influence each other.
    Evaluations are counted in rows. Up to four copies of the parameters are held, even if `memory`
    is smaller.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> X, y = np.eye(3), np.array([1.0, 2.0, 3.0])
    >>> cost = fg.batched(lambda w: ((w @ X.T - y) ** 2).sum(axis=1))  # w has shape (B, 3)
    >>> fg.gradient(cost, np.zeros(3)).round(6)
    array([-2., -4., -6.])
    >>> cost(np.zeros(3))
    14.0
    """
    if not callable(f) or isinstance(f, Batched):
        raise InputTypeError(f"`f` must be a function that is not batched yet; got {f!r}")
    if isinstance(memory, bool) or not isinstance(memory, (int, np.integer)):
        raise InputTypeError(f"`memory` must be a number of bytes; got {memory!r}")
    if memory <= 0:
        raise InputValueError(f"`memory` must be a positive number of bytes; got {memory!r}")
    return Batched(f, int(memory))


def as_tested(f: Any) -> Any:
    """The same objective, whose rows, if it has any, are not tested again."""
    return replace(f, tested=True) if isinstance(f, Batched) else f


def capacity(f: Batched, leaves: Sequence[Leaf]) -> int:
    """How many rows a batch may have, besides the one that holds the parameters as they are."""
    row = max(1, sum(leaf.array.nbytes for leaf in leaves))
    return max(1, f.memory // row - 1)


def small_batch(
    f: Batched, leaf: Leaf, stencil: Stencil, known: Any
) -> tuple[np.ndarray, bool, Any] | None:
    """The gradient by one small plain array at automatic steps, if its rows are one batch.

    And whether it is in doubt, and the value at the parameters. None also where something is odd.
    """
    count = leaf.array.size * stencil.evaluations
    if not takes_another(count, capacity(f, (leaf,))):
        return None
    how = stencil.steps(leaf.array.dtype), beside(leaf.array.dtype.char), partial(all_of, leaf)
    found: tuple[np.ndarray, bool, Any] | None = _backend.kernel.small_batch(
        f.f, leaf, stencil, *how, known
    )
    return found


class InBatches(Guarded):
    """Evaluates a batched objective; see `Evaluator`.

    Before its first request it makes sure that rows do not influence each other.
    """

    in_threads = False

    def __init__(
        self,
        f: Batched | Lenient,
        argument: Params,
        guard: Guard,
        *,
        vector: bool | Outputs = False,
        bounds: Bounds | None = None,
    ) -> None:
        super().__init__(guard)
        self.given = f
        self.f: Batched = f.f if isinstance(f, Lenient) else f  # type: ignore[assignment]
        self.argument = argument
        self._lenient = isinstance(f, Lenient)
        self.batch = capacity(self.f, guard.leaves)
        self.vector = bool(vector)
        self.outputs = vector if isinstance(vector, Outputs) else None
        self._tested = self.f.tested
        self._bounds = bounds
        extended = any(is_extended(leaf.real) for leaf in guard.leaves)
        self._kind: Any = np.longdouble if extended else np.float64

    def _rows(self, count: int, *, whole: bool = True) -> Rows:
        """Rows for this many points; with the first, the test that rows keep to themselves.

        It takes a row more of these if they are the `whole` request, and have room.
        """
        test = None
        if not self._tested:
            self._tested = True
            how = (self.argument, self.guard, self._bounds, self._read)
            test = RowTest(self.f.f, *how, note=self._count)
            if whole and takes_another(count, self.batch):
                self._count(1)
            else:
                test.finish()
                test = None
        rows = count if test is None else count + 1
        return Rows(self.f.f, self.argument, self.leaves, self.guard.found, rows, test)

    def _count(self, rows: int) -> None:
        self.evaluations += rows

    def _values(self, rows: Rows, where: Callable[[], str], kind: Any = np.float64) -> np.ndarray:
        """The values of all rows."""
        try:
            return rows.values(where, kind, read=self._read)
        except Exception as error:
            if not self._lenient or (where is unperturbed and self.at_rest):
                raise
            self._raised.note(error)
            return self._row_by_row(rows, where, kind)

    @property
    def _read(self) -> Read | None:
        return self._vectors if self.vector else None

    def _vectors(self, value: Any, count: int, where: Callable[[], str]) -> np.ndarray:
        """The numbers of a value for many points, of which the first is looked at."""
        if self.outputs is None:
            self.outputs = Outputs.of(value, where, rows=count)
        return self.outputs.flat_rows(value, count, where)

    @property
    def _width(self) -> tuple[int, ...]:
        """The axis that values have beside those of their points: (m,) of vectors."""
        return () if self.outputs is None else (self.outputs.size,)

    def _row_by_row(self, rows: Rows, where: Callable[[], str], kind: Any) -> np.ndarray:
        """The values of rows of which one at least raises: NaN for those that do so alone.

        One bad point must not cost the others their values, and most `f` that work on arrays raise
        for a batch as a whole. One by one and not in halves: compilers of array code work anew for
        each number of rows.
        """
        found = np.full((rows.count, *self._width), np.nan, kind)
        for row in range(rows.count if rows.count > 1 else 0):
            self.evaluations += 1
            try:
                found[row] = rows.values(where, kind, slice(row, row + 1), self._read)[0]
            except Exception as error:
                self._raised.note(error)
        return found

    def base(self) -> Any:
        """Value at the unperturbed parameters: see `Evaluator`."""
        rows = self._rows(1)
        value = self._values(rows, unperturbed, self._kind)[0]
        rows.refuse_moved()
        self.evaluations += 1
        return value if self.vector else value.item()

    def single(self, request: Single) -> Samples:
        """Move each entry alone: see `Evaluator`."""
        points, count = len(request.offsets), len(request.entries)
        moved, values = np.empty((count, points)), []
        leaf, offsets = self.leaves[request.leaf], offsets_of(request.offsets)
        for rows, low, high in self._batches(count, points):
            mine, part = rows.real[request.leaf], request.part(low, high)
            entries, how = part.entries, (offsets, part.steps)
            rows.put_back(request.leaf)  # what the last batch has moved
            places = np.empty((high - low, points), _kind_of(mine))
            kernel = _backend.kernel_for(mine)
            kernel.scatter(mine, None, *how, 0, high - low, entries, places)
            rows.note_moves(request.leaf, entries, np.arange(high - low), points)
            found = self._values(rows, partial(moving, leaf, entries))
            with np.errstate(invalid="ignore", over="ignore"):  # beside infinity
                moved[low:high] = places - mine[-1, entries].astype(places.dtype)[:, np.newaxis]
            values.append(_folded(found, high - low, points))
            self.evaluations += (high - low) * points
        return Samples(moved, self._joined(values, points))

    def _joined(self, values: list[np.ndarray], points: int) -> np.ndarray:
        return np.concatenate(values) if values else np.empty((0, points, *self._width))

    def _batches(self, count: int, each: int) -> Iterator[tuple[Rows, int, int]]:
        """Rows for all positions, in batches of one size, with the positions that they hold.

        The last rows are filled up with the parameters as they are: compilers of array code, such
        as jax's, work anew for each number of rows. Writes by `f` are refused before the next use.
        """
        if not count:
            return
        parts = ceil(count / max(1, self.batch // each))
        size = ceil(count / parts)
        rows = self._rows(size * each, whole=parts == 1)
        for low in range(0, count, size):
            yield rows, low, min(low + size, count)
        rows.refuse_moved()

    def grouped(self, request: Grouped) -> Samples:
        """Move each group of entries as one: see `Evaluator`."""
        points, groups = len(request.offsets), len(request.starts) - 1
        moved, values = np.empty((len(request.entries), points)), []
        leaf = self.leaves[request.leaf]
        for rows, low, high in self._batches(groups, points):
            mine = rows.real[request.leaf]
            rows.put_back(request.leaf)
            for group in range(low, high):
                part = slice(int(request.starts[group]), int(request.starts[group + 1]))
                entries = request.entries[part]
                places, moves = group_points(mine[-1, entries], request, part)
                for k in range(points):
                    mine[(group - low) * points + k, entries] = places[k]
                    moved[part, k] = moves[k]
            named = request.entries[int(request.starts[low]) : int(request.starts[high])]
            owners = np.repeat(np.arange(high - low), np.diff(request.starts[low : high + 1]))
            rows.note_moves(request.leaf, named, owners, points)
            found = self._values(rows, partial(moving, leaf, named))
            values.append(_folded(found, high - low, points))
            self.evaluations += (high - low) * points
        return Samples(moved, self._joined(values, points))

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Move all regions of a direction at once, in rows: see `Evaluator`."""
        values: list[Any] = []
        moves: list[tuple[float, float]] = []
        times = request.times
        most = max(1, min(len(times), self.batch))
        rows = self._rows(most, whole=most >= len(times))
        move = self._row_mover(request.direction, rows, claims)
        for start in range(0, len(times), most):
            part = times[start : start + most]
            moves += [move(row, time) for row, time in enumerate(part)]
            # The last batch may leave rows at earlier points: their values are not asked for.
            found = self._values(rows, along)[: len(part)]
            values += list(found) if self.vector else found.tolist()
            rows.refuse_moved()
            self.evaluations += len(part)
            if request.still is not None and values[:2] == [request.still] * 2:
                values, moves = values[:2], moves[:2]
                break
        norm = moves[0][1] ** 0.5 if moves else 0.0
        return Changes(tuple(values), tuple(rise for rise, _ in moves), norm)

    def _row_mover(
        self, direction: Direction, rows: Rows, claims: Sequence[np.ndarray] | None
    ) -> Callable[[int, float], tuple[float, float]]:
        """How a row is moved along a direction; returns what all its regions claim: see `Mover`."""
        before = [region.of(self.guard.view(region.leaf)) for region in direction.regions]
        movers = [
            direction.mover(k, part, _backend.kernel_for(part)) for k, part in enumerate(before)
        ]

        parts: Sequence[np.ndarray | None] = [None] * len(movers) if claims is None else claims

        def move(row: int, time: float) -> tuple[float, float]:
            return added(
                each(region.of(rows.view(region.leaf, row)), time, claim)
                for region, each, claim in zip(direction.regions, movers, parts, strict=True)
            )

        return move

    def gradient(self, requests: Sequence[Gradient], targets: Sequence[Target]) -> None:
        """Sample and combine: see `Evaluator`."""
        for request, target in zip(requests, targets, strict=True):
            self._differentiate(request, target)

    def _differentiate(self, request: Gradient, target: Target) -> None:
        stencil, leaf = request.stencil, self.leaves[request.leaf]
        each, out = stencil.evaluations, _backend.kernel.Fingerprint(target.array)
        for rows, low, high in self._batches(request.stop - request.start, each):
            part = (request.start + low, request.start + high)
            mine = rows.real[request.leaf]
            rows.put_back(request.leaf)
            kernel, entries = _backend.kernel_for(mine, target.array), np.arange(*part)
            points = np.empty((high - low, len(stencil.offsets)), _kind_of(mine))
            steps = request.steps.part(low, high)
            lost = kernel.scatter(mine, stencil.table, stencil.offsets, steps, *part, None, points)
            rows.note_moves(request.leaf, entries, np.arange(high - low), each)
            if lost >= 0:
                self._refuse_step(request, lost, mine[-1].item(lost))
            # In the type to compute in, as the derivative may be a longdouble; samples are float64.
            column = rows.values(partial(moving, leaf, entries), _kind_of(mine), read=self._read)
            if out.changed():
                raise _errors.moved_error("out")
            if self.vector:
                found = _folded(column, high - low, each)
                place = slice(part[0] - target.first, part[1] - target.first)
                target.array[place] = combined(stencil, points, found, request.base)
            else:
                how = (points, column, request.base, *part, target.array, target.first)
                kernel.gather(stencil, steps, *how)
            self.evaluations += (high - low) * each

    def _refuse_step(self, request: Gradient, entry: int, x: float) -> NoReturn:
        steps, leaf = request.steps, self.leaves[request.leaf]
        if steps.given is not None:
            h = steps.given.item(entry - request.start)
        else:
            h = steps.absolute + steps.relative * max(1.0, abs(x))
        raise _errors.step_vanished_error(leaf.name(entry), x, h, leaf.real.dtype)


def _folded(values: np.ndarray, positions: int, points: int) -> np.ndarray:
    """Values of the rows in use, by position and point."""
    return values[: positions * points].reshape(positions, points, *values.shape[1:])


def _kind_of(array: np.ndarray) -> Any:
    """The type to compute in."""
    return np.longdouble if is_extended(array) else np.float64
