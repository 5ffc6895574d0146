"""The entries of a sparse matrix, from differences along groups of columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._derivatives.coloring import groups_of
from fastgrad._derivatives.higher import Higher
from fastgrad._derivatives.pattern import Pattern
from fastgrad._derivatives.within import pieces_within
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Grouped, Samples
from fastgrad._leaf import Leaf
from fastgrad._stencils import Stencil, Steps
from fastgrad._words import counted

__all__ = ["Group", "Plan", "differences", "name_of_row", "plan_of", "refuse_complex"]

# Bytes of the values that one request asks for, where `f` is evaluated here: some groups of small
# ones at once, and one of those that are large beside it.
_VALUES = 2**24
# Groups that are asked for at once where others evaluate them.
_SHARED = 64


@dataclass(frozen=True, eq=False)
class Group:
    """Columns that move together, by one stencil. Without one they have no room to move."""

    columns: np.ndarray  # (k,) intp
    stencil: Stencil | None
    steps: Steps
    shrunk: np.ndarray | None = None  # (k,) bool: whether a bound made the step smaller


@dataclass(frozen=True, eq=False)
class Plan:
    """Groups of columns, by which a Jacobian is measured."""

    groups: list[Group]

    @property
    def evaluations(self) -> int:
        """How often `f` is evaluated."""
        moved = sum(group.stencil.evaluations for group in self.groups if group.stencil)
        return moved + self.uses_base

    @property
    def uses_base(self) -> bool:
        """Whether the value at the parameters is used."""
        return any(group.stencil.uses_base for group in self.groups if group.stencil)


def plan_of(
    leaf: Leaf, colors: np.ndarray, stencil: Stencil, steps: Steps, bounds: Bounds | None
) -> Plan:
    """One group for each color; within bounds, one for each stencil that a color needs."""
    if bounds is None:
        columns, starts = groups_of(colors)
        return Plan([Group(part, stencil, _of(steps, part)) for part in _cut(columns, starts)])
    return Plan(list(_within(leaf, colors, stencil, steps, bounds)))


def _cut(columns: np.ndarray, starts: np.ndarray) -> Iterator[np.ndarray]:
    """Each of the groups."""
    for low, high in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if low < high:
            yield columns[low:high]


def _of(steps: Steps, columns: np.ndarray) -> Steps:
    return steps if steps.given is None else Steps(given=steps.given[columns])


def _within(
    leaf: Leaf, colors: np.ndarray, stencil: Stencil, steps: Steps, bounds: Bounds
) -> Iterator[Group]:
    """Groups of which no entry leaves its bounds: see `pieces_within`."""
    lengths, shrunk = np.zeros(len(colors)), np.zeros(len(colors), bool)
    which = np.zeros(len(colors), np.intp)
    kinds: list[Stencil | None] = []
    for piece in pieces_within(bounds, 0, leaf, stencil, steps):
        kind = piece.stencil
        assert not isinstance(kind, Higher)  # `stencil` and one-sided ones are for first ones
        if kind not in kinds:
            kinds.append(kind)
        which[piece.entries] = kinds.index(kind)
        lengths[piece.entries], shrunk[piece.entries] = piece.steps, piece.shrunk
    for columns in _cut(*groups_of(colors * len(kinds) + which)):
        kind = kinds[int(which[columns[0]])]
        yield Group(columns, kind, Steps(given=lengths[columns]), shrunk[columns])


def differences(run: Metered, pattern: Pattern, plan: Plan, base: np.ndarray | None) -> np.ndarray:
    """The entries of the matrix, in the order of the pattern; `base` is the value of `f`.

    They are NaN where `f` is not finite, and where a column has no room to move.
    """
    data = np.zeros(pattern.count)
    for part in _batches(run, pattern, plan):
        request = _request(part)
        found = run.grouped(request)
        _check_outputs(run, found, pattern)
        if run.guard.large:
            run.guard.thin()  # from here on the copy of the parameters is memory for the result
        for number, group in enumerate(part):
            low, high = request.starts[number : number + 2]
            moved = found.moved[low:high]
            _add(pattern, group, moved, found.values[number], base, data, run.leaves[0])
    for group in plan.groups:
        if group.stencil is None:
            nothing = np.full(pattern.shape[0], np.nan)
            _spread(pattern, group.columns, np.ones(len(group.columns)), nothing, 1.0, data)
    return data


def _batches(run: Metered, pattern: Pattern, plan: Plan) -> Iterator[list[Group]]:
    """Groups of one stencil that are asked for in one request, the first one alone."""
    part: list[Group] = []
    most = 1
    for group in plan.groups:
        if group.stencil is None:
            continue
        if part and (len(part) >= most or group.stencil != part[0].stencil):
            yield part
            part = []
            bytes_of_one = 8 * max(1, pattern.shape[0]) * group.stencil.evaluations
            most = max(1, _VALUES // bytes_of_one, min(run.batch, _SHARED))
        part.append(group)
    if part:
        yield part


def _request(part: list[Group]) -> Grouped:
    columns = np.concatenate([group.columns for group in part])
    starts = np.concatenate([[0], np.cumsum([len(group.columns) for group in part])])
    stencil, steps = part[0].stencil, part[0].steps
    assert stencil is not None
    if steps.given is not None:
        each = [group.steps.given for group in part if group.steps.given is not None]
        steps = Steps(given=np.concatenate(each))
    return Grouped(0, columns, starts.astype(np.intp), steps, _offsets(stencil))


def _offsets(stencil: Stencil) -> tuple[int, ...]:
    return tuple(int(k) for k in stencil.offsets if k)


def refuse_complex(run: Metered) -> None:
    """Refuse an `f` whose values are complex, once one is known."""
    if run.outputs is not None and any(leaf.is_complex for leaf in run.outputs.leaves):
        raise InputTypeError(
            "`f` returned complex numbers, and a sparse Jacobian holds real ones; let it return "
            "both parts, np.concatenate([z.real, z.imag]), or use fg.jacobian"
        )


def name_of_row(run: Metered, row: int) -> str:
    """The path of a value of `f`, once one is known."""
    return run.outputs.name(row) if run.outputs is not None else f"value {row} of `f`"


def _check_outputs(run: Metered, found: Samples, pattern: Pattern) -> None:
    refuse_complex(run)
    size = found.values.shape[-1]
    if size != pattern.shape[0]:
        raise InputValueError(
            f"`sparsity` must have one row for each number that `f` returns; it has "
            f"{counted(pattern.shape[0], 'row')}, and `f` returned {counted(size, 'number')}"
        )


def _add(
    pattern: Pattern,
    group: Group,
    moved: np.ndarray,
    values: np.ndarray,
    base: np.ndarray | None,
    data: np.ndarray,
    leaf: Leaf,
) -> None:
    """Add the quotients of one group to the entries of its columns."""
    assert group.stencil is not None
    offsets = _offsets(group.stencil)

    def at(offset: int) -> tuple[Any, Any]:
        """Displacements and values at one offset."""
        if not offset:
            return 0.0, base
        k = offsets.index(offset)
        return moved[:, k], values[k]

    for upper, lower, weight in group.stencil.quotients:
        (a, f_a), (b, f_b) = at(upper), at(lower)
        with np.errstate(all="ignore"):  # beside infinity
            widths, change = a - b, f_a - f_b
            _refuse_lost(leaf, group, widths)
            widths[~(np.abs(widths) < np.inf)] = np.nan
        _spread(pattern, group.columns, widths, change, float(weight), data)


def _spread(
    pattern: Pattern,
    columns: np.ndarray,
    widths: np.ndarray,
    change: np.ndarray,
    weight: float,
    data: np.ndarray,
) -> None:
    spread = _backend.kernel.spread
    spread(pattern.starts, pattern.rows, columns, widths, change, weight, data)


def _refuse_lost(leaf: Leaf, group: Group, widths: np.ndarray) -> None:
    """Refuse a step that vanishes in rounding, unless a bound left no more room."""
    lost = widths == 0
    if group.shrunk is not None:
        lost &= ~group.shrunk
    if lost.any():
        at = int(lost.argmax())
        column, steps = int(group.columns[at]), group.steps
        x = float(leaf.real.flat[column])
        step = steps.absolute + steps.relative * max(1.0, abs(x))
        if steps.given is not None:
            step = float(steps.given[at])
        raise _errors.step_vanished_error(leaf.name(column), x, step, leaf.real.dtype)
