"""Objectives that take many points at once, along a leading batch axis.

The rows of a batch are copies in fastgrad's own memory: the caller's parameters are only read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from math import ceil, isfinite
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._errors import FastgradError, InputTypeError, InputValueError
from fastgrad._leaf import Leaf
from fastgrad._memory import Fingerprint
from fastgrad._returns import as_scalars, at_base
from fastgrad._stencils import Stencil
from fastgrad._tree import Params, as_params, flatten, unflatten

__all__ = ["Batched", "batched", "capacity", "check_rows", "sweep", "values"]

# Bytes of a batch unless the user says: few calls of an `f` that has a price for each, and not
# so many rows that they leave the caches. bench/batched.py shows what others cost.
MEMORY = 2**20
# In the test for rows that influence each other: how far the others are off, and what values may
# differ by, relatively, as `f` sums in another order.
_NEARER, _OFF_ZERO = {0: 0.9375, 2: 0.875}, 2.0**-7
_ROWS_OF_F = slice(0, -1)
_ROUNDING = {char: max(1e-5, float(np.finfo(char).eps) ** 0.5) for char in "efdg"}


@dataclass(frozen=True)
class Batched:
    """An objective that takes arrays with a leading batch axis; see `batched`."""

    f: Callable[[Any], Any]
    memory: int

    def __call__(self, params: Params) -> Any:
        """The value at one point, given without the batch axis."""
        argument = as_params(params)
        rows = _Rows(self, argument, flatten(argument), 1)
        kind = np.longdouble if any(map(_is_extended, rows.real)) else np.float64
        value = rows.values(_at_base, kind)[0].item()
        rows.refuse_moved()
        return value


def batched(f: Callable[[Any], Any], *, memory: int = MEMORY) -> Batched:
    """Mark an objective as one that evaluates many points in one call.

    Wherever an objective is taken, the result is evaluated in batches. Called with parameters
    like any other, it returns one number.

    Parameters
    ----------
    f : callable
        Takes the structure of the parameters with arrays of shape ``(B, *shape)`` and returns `B`
        real numbers: an array of shape ``(B,)``, a tensor, or a list. Each must depend on its own
        row alone. The arrays are copies, in C order and native byte order, of the types of the
        parameters; other than a plain objective, `f` must use them and not the originals.
    memory : int, default 1 MiB
        Most bytes of a batch, all arrays together; however large the parameters, a batch holds
        one entry moved to all points of its difference. A larger bound may pay for an `f` with
        a high price of a call, as on a GPU.

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
    That rows do not influence each other is tested once for each gradient, at one point alone
    and among two others. Evaluations are counted in rows. However small `memory` is, up to four
    copies of the parameters are held.

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


def capacity(f: Any, leaves: Sequence[Leaf]) -> int:
    """How many rows a batch may have, besides the one that holds the parameters as they are.

    1 for an `f` that is not batched.
    """
    if not isinstance(f, Batched):
        return 1
    row = max(1, sum(leaf.array.nbytes for leaf in leaves))
    return max(1, f.memory // row - 1)


class _Rows:
    """Copies of the parameters: one for each point of a batch, and one more as they are."""

    def __init__(self, f: Batched, argument: Params, leaves: Sequence[Leaf], count: int) -> None:
        self._f, self._argument, self._leaves, self.count = f.f, argument, leaves, count
        self._found = [leaf.found or Fingerprint(leaf.array) for leaf in leaves]
        self._stacks = [_stack(leaf.array, count + 1) for leaf in leaves]
        # As real numbers in C order, the row as they are at the end.
        self.real = [_flat(*pair) for pair in zip(self._stacks, leaves, strict=True)]

    def values(
        self,
        where: Callable[[], str],
        kind: Any = np.float64,
        part: slice = _ROWS_OF_F,
    ) -> np.ndarray:
        """One value for each row, or for part of them; ``where()`` says what the rows are."""
        inputs = [stack[part] for stack in self._stacks]
        count = len(range(self.count + 1)[part])
        try:
            return as_scalars(self._f(unflatten(self._argument, iter(inputs))), count, where, kind)
        except Exception as error:
            _errors.annotate_batch(error, where())
            raise

    def take(self, row: int) -> None:
        """Copy the parameters, wherever they are now, into a row."""
        for leaf, stack in zip(self._leaves, self._stacks, strict=True):
            stack[row] = leaf.array

    def put_back(self, which: int, columns: np.ndarray) -> None:
        """Undo the moves in these columns of a leaf's rows."""
        real = self.real[which]
        bits = real.view(f"V{real.itemsize}")
        bits[np.arange(len(columns)), columns] = bits[-1, columns]

    def spread_out(self) -> None:
        """Move rows as a whole, nearer to zero."""
        with np.errstate(all="ignore"):
            for real in self.real:
                for row, share in _NEARER.items():
                    real[row] *= share
                if not real[-1].any():
                    real[list(_NEARER)] = _OFF_ZERO

    def refuse_moved(self) -> None:
        """Refuse an `f` that knows the originals and resized one: they will be read again."""
        for leaf, found in zip(self._leaves, self._found, strict=True):
            if found.moved():
                raise _errors.moved_error(leaf.path)

    def refuse_writes(self) -> None:
        """Refuse an `f` that wrote into rows, none of which is moved now."""
        for leaf, real in zip(self._leaves, self.real, strict=True):
            changed = _first_change(real)
            if changed is not None:
                raise _errors.written_error(leaf.name(changed), undone=True)


def _stack(array: np.ndarray, count: int) -> np.ndarray:
    """Copies of an array, in memory that nobody can resize."""
    dtype = array.dtype.newbyteorder("=")
    memory = np.frombuffer(bytearray(count * array.nbytes or 1), np.uint8)
    stack: np.ndarray = memory[: count * array.nbytes].view(dtype).reshape(count, *array.shape)
    stack[0] = array
    rows = memory[: count * array.nbytes].reshape(count, array.nbytes)
    rows[1:] = rows[0]  # bit by bit: the padding of longdoubles too
    return stack


def _flat(stack: np.ndarray, leaf: Leaf) -> np.ndarray:
    flat: np.ndarray = stack.reshape(len(stack), leaf.array.size)
    return flat.view(flat.real.dtype) if leaf.is_complex else flat


def _is_extended(array: np.ndarray) -> bool:
    return array.dtype.type is np.longdouble


def _at_base() -> str:
    return at_base(0)


def _first_change(rows: np.ndarray) -> int | None:
    """The first entry in which a row is not like the last one."""
    size = min(rows.itemsize, 8)
    bits = rows.view(f"u{size}")
    changed = bits[:-1] != bits[-1]
    if not changed.any():
        return None
    return int(changed.any(axis=0).argmax()) * size // rows.itemsize


def sweep(
    kernel: Any,
    f: Batched,
    argument: Params,
    leaf: Leaf,
    stencil: Stencil,
    absolute: float,
    relative: float,
    steps: np.ndarray | None,
    base: float,
    out: np.ndarray | None,
    start: int,
    stop: int,
    entries: np.ndarray | None = None,
    raw: np.ndarray | None = None,
) -> None:
    """Do what `_reference.sweep` does, for a batched objective.

    All batches have the same number of rows, the last ones filled up with the parameters as they
    are: compilers of array code, such as jax's, work anew for each number.
    """
    leaf.check_found()
    if start >= stop:
        return
    leaves, which = _located(argument, leaf)
    each = stencil.evaluations
    parts = ceil((stop - start) / max(1, capacity(f, leaves) // each))
    size = ceil((stop - start) / parts)
    rows = _Rows(f, argument, leaves, size * each)
    mine = rows.real[which]
    kind = np.longdouble if _is_extended(mine) else np.float64
    points = np.empty((size, 2 * len(stencil.quotients)), kind)
    target = None if out is None else Fingerprint(out)
    for low in range(start, stop, size):
        part = (low, min(low + size, stop), entries)
        if low > start:
            rows.put_back(which, np.repeat(_entries(low - size, low, entries), each))
            rows.refuse_writes()
        lost = kernel.spread(mine, stencil, absolute, relative, steps, *part, points)
        if raw is None and lost >= 0:
            entry = int(_entries(lost, lost + 1, entries)[0])
            x = mine[-1].item(entry)
            h = absolute + relative * max(1.0, abs(x)) if steps is None else steps.item(lost)
            raise _errors.step_vanished_error(leaf.name(entry), x, h, leaf.real.dtype)
        column = rows.values(partial(_name, leaf, *part), kind)
        if target is not None and target.moved():
            raise _errors.moved_error("out")
        kernel.gather(mine, stencil, points, column, base, *part, out, raw)
    rows.refuse_moved()


def _located(argument: Params, leaf: Leaf) -> tuple[list[Leaf], int]:
    """All leaves, and which of them this one is."""
    leaves = flatten(argument)
    for which, each in enumerate(leaves):
        if each.array is leaf.array:
            return leaves, which
    raise _errors.replaced_error(leaf.path)


def _entries(start: int, stop: int, entries: np.ndarray | None) -> np.ndarray:
    return np.arange(start, stop) if entries is None else entries[start:stop]


def _name(leaf: Leaf, start: int, stop: int, entries: np.ndarray | None) -> str:
    """What is moved in the rows of a batch."""
    first, *_, last = _entries(start, stop, entries)[[0, 0, -1]].tolist()
    return f"the rows that move `{leaf.name(first)}` to `{leaf.name(last)}`"


def values(
    f: Batched,
    argument: Params,
    leaves: Sequence[Leaf],
    places: Iterable[object],
    count: int,
) -> list[float]:
    """Values at up to `count` points: each step of `places` moves the parameters to the next."""
    most = min(count, capacity(f, leaves))
    rows = _Rows(f, argument, leaves, most)
    found: list[float] = []
    steps = iter(places)
    while len(found) < count:
        row = -1
        for row, _ in enumerate(islice(steps, most)):
            rows.take(row)
        if row < 0:
            break
        found += rows.values(_along)[: row + 1].tolist()
        rows.refuse_moved()
    return found


def _along() -> str:
    return "points along a direction"


def check_rows(f: Batched, argument: Params, leaves: Sequence[Leaf]) -> int:
    """Refuse an `f` whose value at a point depends on the other rows; return the rows evaluated.

    The value alone is compared with that between two rows nearer to zero: most domains contain
    them, and a sum over the wrong axis, or a mean taken off, shows.
    """
    rows = _Rows(f, argument, leaves, 3)
    alone = float(rows.values(_at_base, part=slice(1, 2))[0])
    rows.refuse_writes()
    together = _among_others(rows)
    rows.refuse_moved()
    rounding = max(_ROUNDING[real.dtype.char] for real in rows.real)
    if together is None or _agree(alone, together, rounding):
        return 4
    if not _agree(alone, float(f(argument)), rounding):
        return 5  # not deterministic, which others find
    raise InputValueError(
        f"the rows of the batched `f` influence each other: its value at the parameters is "
        f"{alone:.9g} alone and {together:.9g} among others; let it sum, average and normalise "
        "over all axes but the first"
    )


def _among_others(rows: _Rows) -> float | None:
    """The value of the middle one of three rows, unless `f` does not like the others."""
    rows.spread_out()
    try:
        with np.errstate(all="ignore"):
            return float(rows.values(lambda: f"{at_base(0)} and two other points")[1])
    except FastgradError:
        raise
    except Exception:  # the batches to come will show whether it likes them
        return None


def _agree(a: float, b: float, rounding: float) -> bool:
    if not (isfinite(a) or isfinite(b)):
        return True  # which of inf and nan comes out depends on the order of a sum
    return abs(a - b) <= rounding * max(abs(a), abs(b))
