"""Whether `f` sees parameters that are moved in place, or only those of a fresh copy, or none.

An `f` that keeps its value until it is given another object, and one that reads arrays of its own,
both look constant from here: all differences are zero. One more call, with a copy that is moved by
as much, tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.bounds import Bounds, Within
from fastgrad._evaluation.direction import Direction, Region, Uniform
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._evaluation.selected import Selection
from fastgrad._leaf import Leaf, as_real
from fastgrad._outputs import Outputs
from fastgrad._returns import as_scalar, at_block
from fastgrad._tree import Params, flatten, unflatten

__all__ = ["Sees", "sees_moves"]

# Far moves, in lengths ``max(1, |x|)`` of the entries: an `f` that is flat beside its parameters,
# as with dead or saturated units, is most often moved by these.
_FAR, _BOTH_WAYS = 1.0, (1.0, -1.0)


class Sees(Enum):
    """What moves `f`; the values of members are sentences for the user."""

    MOVES = "`f` sees its parameters move"
    CACHED = (
        "`f` does not see parameters that are moved in place, and it does see a moved copy: it "
        "keeps its value, or what it once made of the parameters, as long as it is given the same "
        "object, or compares its argument with the same memory (x0 = x in place of x.copy()). Let "
        "it compute from what its argument holds at each call, or clear its cache"
    )
    UNRELATED = (
        "nothing that is done to the parameters moves `f`, and moved arrays in their place do not "
        "either: it reads another copy of them, such as the arrays of a model, or does not depend "
        "on them, or is constant around them. Let it read its argument, or pass the arrays that it "
        "reads"
    )


def sees_moves(
    run: Metered,
    f: Callable[[Any], Any],
    argument: Params,
    base: Any,
    bounds: Bounds | None = None,
    selection: Selection | None = None,
) -> Sees:
    """What moves an `f` whose value at the parameters is `base`: at most six evaluations.

    The value is a number, or a vector, which `f` returns as `run` evaluates it.

    `run` evaluates `f` leniently and within the bounds, with a selection that of these entries, and
    raises `OutOfBudget` where it has no evaluation left.
    """
    with quiet():
        moves = _moves(run.leaves, bounds is not None)
        for direction, times in moves:
            values = run.along(Along(direction, times)).values
            if not all(_same(value, base) for value in values):
                return Sees.MOVES
        leaves = run.leaves if selection is None else flatten(argument)
        for direction, times in moves:  # of copies as `run` moves the parameters
            if selection is not None:
                direction = selection.scattered(direction)
            if bounds is not None:
                direction = Within.for_times(direction, bounds, times)
            for time in times:
                run.spend()
                value = _of_copy(f, argument, leaves, direction, time, base, run.outputs)
                if not _same(value, base):
                    return Sees.CACHED
    return Sees.UNRELATED


def _moves(leaves: Sequence[Leaf], bounded: bool) -> list[tuple[Direction, tuple[float, ...]]]:
    """Near and far, forward and backward, with their times; each move is one of all leaves."""
    regions = tuple(
        Region(k, tuple(slice(0, n) for n in leaf.real.shape), leaf.real.shape)
        for k, leaf in enumerate(leaves)
        if leaf.real.size
    )
    near = tuple(eps_of(leaves[region.leaf].real) ** (1 / 3) for region in regions)
    far = Uniform(0, 0, regions, (_FAR,) * len(regions))
    # Within bounds both at once, for then entries go as far as these; alone, those that have no
    # room for all of a move would stay.
    ways = (_BOTH_WAYS,) if bounded else tuple((time,) for time in _BOTH_WAYS)
    return [(Uniform(0, 0, regions, near), (1.0,)), *((far, times) for times in ways)]


def _of_copy(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    move: Direction,
    time: float,
    base: Any,
    outputs: Outputs | None,
) -> Any:
    """The value at a moved copy of the parameters, of new objects; `base` where there is none."""
    arrays = [leaf.array.copy(order="K") for leaf in leaves]
    for which, region in enumerate(move.regions):
        before, target = as_real(leaves[region.leaf].array), as_real(arrays[region.leaf])
        mover = move.mover(which, region.of(before), _backend.kernel_for(before))
        mover(region.of(target), time, None)
    try:
        value = f(unflatten(argument, iter(arrays)))
        if outputs is not None:
            return outputs.flat(value, at_block, 0)
        return as_scalar(value, at_block, 0)
    except Exception:  # such as of an `f` that knows its parameters by identity, and no others
        return base


def _same(a: Any, b: Any) -> bool:
    return bool(np.array_equal(a, b, equal_nan=True))
