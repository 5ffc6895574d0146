"""The kernel's functions in plain Python and NumPy: contract, fallback and type stub in one.

`src/_kernel.pyx` has the same names and signatures and gives the same results to the last bit.
This twin also serves the arrays that the kernel leaves alone: float16, longdouble, byte-swapped
and unaligned ones, on either backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import inf, nan
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad import _errors
from fastgrad._memory import Fingerprint, lock, locks, next_key, owner, undo
from fastgrad._returns import as_scalar, at_base

if TYPE_CHECKING:
    from fastgrad._leaf import Leaf
    from fastgrad._stencils import Stencil

__all__ = [
    "Fingerprint",
    "displace",
    "gather",
    "is_native",
    "is_plain",
    "native_sweep",
    "quotients",
    "shift",
    "small_gradient",
    "spread",
    "sweep",
]


def sweep(
    f: Callable[[Any], Any],
    argument: Any,
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
    """Differentiate ``f(argument)`` with respect to entries `start` to `stop` of a leaf.

    Each entry is moved in place and gets its saved bits back, whatever happens. Entries count in
    C order; `entries` (intp) lists others than all. The step is ``absolute + relative * max(1,
    |x|)``, or ``steps[position]`` where given; `base` is the value at the unperturbed point, for
    stencils that use it. The derivatives go to `out`; or, in place of it, displacements and
    values to `raw` (float64, shape (positions, points, 2), C-contiguous).
    """
    array = leaf.real
    leaf.check_found()
    mover = _Mover(f, argument, leaf, stencil, base)
    target = None if out is None else _Look(out)
    store = float if out is None else _arithmetic(out.dtype)[2]
    for position, (entry, index) in enumerate(_where(array.shape, start, stop, entries), start):
        x = mover.wide(array[index])
        h = mover.step(x, absolute, relative) if steps is None else steps.item(position)
        points = mover.place(x, h)
        if raw is not None:
            values = mover.measure(entry, index, points)
            raw[position] = mover.displaced(x, points, values)
            continue
        if any(points[k] == points[k + 1] for k in range(0, len(points), 2)):
            raise _errors.step_vanished_error(leaf.name(entry), x, h, array.dtype)
        values = mover.measure(entry, index, points)
        if out is None or target is None or target.moved(out):
            raise _errors.moved_error("out")
        out[index] = store(mover.combine(points, values))


native_sweep = sweep  # a native objective can be called like any other


class _Mover:
    """Moves single entries of a leaf and evaluates: the kernel's arithmetic, entry by entry."""

    def __init__(
        self, f: Callable[[Any], Any], argument: Any, leaf: Leaf, stencil: Stencil, base: float
    ) -> None:
        self._f, self._argument, self._leaf, self._base = f, argument, leaf, base
        self._look = _Look(leaf.real)
        self._kind, self.wide, self._narrow = _arithmetic(leaf.real.dtype)
        kind = self._kind
        self._offsets = [k for a, b, _ in stencil.quotients for k in (a, b)]
        self._weights = [kind(v.numerator) / kind(v.denominator) for _, _, v in stencil.quotients]
        self._extended = self.wide is np.longdouble
        # A longdouble has padding bytes, which only a copy of the raw bytes brings back. (By its
        # name: NumPy swallows a Ctrl-C while it looks at a tuple such as (np.void, 16).)
        bits = np.dtype(f"V{leaf.real.itemsize}") if self._extended else leaf.real.dtype
        # The same memory, whatever `f` does to the shape or the flags of the array.
        self._home = leaf.real.view(bits, np.ndarray)
        if self._extended:  # unlike Python's floats, NumPy's warn of infinities and NaNs
            calm = np.errstate(all="ignore")
            for name in ("step", "place", "displaced", "combine"):
                setattr(self, name, calm(getattr(self, name)))

    def step(self, x: Any, absolute: float, relative: float) -> Any:
        """The step of an entry with this value."""
        return absolute + relative * max(1.0, abs(x))

    def place(self, x: Any, h: Any) -> list[Any]:
        """The points really evaluated: the nearest numbers that the entry's type can hold."""
        h = self.wide(h)
        return [self._narrow(x + k * h) for k in self._offsets]

    def displaced(self, x: Any, points: list[Any], values: list[Any]) -> list[tuple[Any, Any]]:
        """How far the points lie from `x`, and the values there."""
        return [(self.wide(p) - x, v) for p, v in zip(points, values, strict=True)]

    def combine(self, points: list[Any], values: list[Any]) -> Any:
        """Weighted sum of difference quotients, each over the step actually taken."""
        total: Any = 0.0
        for j, weight in enumerate(self._weights):
            width = self.wide(points[2 * j]) - self.wide(points[2 * j + 1])
            if not width < inf:
                return nan
            total += weight * ((values[2 * j] - values[2 * j + 1]) / width)
        return total

    def measure(self, entry: int, index: tuple[int, ...], points: list[Any]) -> list[Any]:
        """Values at the points; afterwards the entry has its bits back, whatever happens."""
        array, look, name = self._leaf.real, self._look, self._leaf.name
        saved = self._home[index]
        values = []
        try:
            for k, point in zip(self._offsets, points, strict=True):
                value = self._base
                if k:
                    array[index] = point
                    value = self._f(self._argument)
                    if type(value) is not self._kind:
                        value = as_scalar(value, name, entry, self._kind)
                    if look.moved(array):
                        raise _errors.moved_error(self._leaf.path)
                    now = array[index]
                    if now != point and (now == now or point == point):
                        raise _errors.written_error(name(entry), undone=True)
                # Last, and no branch: the jump back from one is outside of `try` in Python 3.13
                # (python/cpython#130279), and a Ctrl-C comes at jumps.
                values.append(value)
            (self._home if self._extended else array)[index] = saved
        except BaseException as error:
            # Inline, without a Python call: another interrupt could come in between.
            owner = look.owner
            stands = owner.nbytes == look.nbytes
            if stands and owner.__array_interface__["data"][0] == look.address:
                self._home[index] = saved
            if isinstance(error, Exception):
                _errors.annotate(error, name(entry))
            raise
        return values


def _where(
    shape: tuple[int, ...], start: int, stop: int, entries: np.ndarray | None
) -> Iterable[tuple[int, tuple[int, ...]]]:
    """Entries and their indices, at positions `start` to `stop`."""
    if entries is None:
        return zip(range(start, stop), islice(_indices(shape), start, stop), strict=True)
    wanted = entries[start:stop]
    columns = [axis.tolist() for axis in np.unravel_index(wanted, shape)] if shape else []
    indices = zip(*columns, strict=True) if columns else [()] * len(wanted)
    return zip(wanted.tolist(), indices, strict=True)


def small_gradient(
    f: Callable[[Any], Any], leaf: Leaf, stencil: Stencil, relative: float
) -> np.ndarray:
    """Gradient of ``f(array)`` for one small plain array, guarded, with automatic steps."""
    array = leaf.array
    out = np.empty_like(array)
    written = None
    key = next_key()
    try:
        lock(key, (array,))
        saved = array.copy()  # not before: another thread's moves would be taken for the values
        leaf.found = Fingerprint(array)
        base = as_scalar(f(array), at_base, 0) if stencil.uses_base else 0.0
        sweep(f, array, leaf, stencil, 0.0, relative, None, base, out, 0, out.size)
    finally:
        try:
            if leaf.found is not None:
                written = undo(leaf.path, leaf.found, saved)
        finally:
            locks.pop(key, None)  # inline: a Ctrl-C could come in between a call and its body
    if written is not None:
        raise written
    return out


def displace(target: np.ndarray, before: np.ndarray, move: np.ndarray, time: float) -> None:
    """Move entries from `before` by `time` times `move` (float64). All are of one shape."""
    if before.dtype == np.float64:
        np.add(before, time * move, out=target)
        return
    with np.errstate(over="ignore"):
        target[...] = before + (time * move).astype(before.dtype)


def shift(
    target: np.ndarray,
    before: np.ndarray,
    direction: np.ndarray,
    claim: np.ndarray,
    time: float,
    rise: np.ndarray,
) -> None:
    """Move a block from `before` by `time` times its direction, in units of ``max(1, |x|)``.

    `rise`, of shape (entries,), gets what the gradient `claim` says that each of the moves really
    made adds to `f`. The other arrays are of one shape; `direction` holds integers of 16 bits.
    """
    wide = before.astype(np.result_type(before.dtype, np.float64), copy=False)
    move = np.maximum(np.abs(wide), 1.0)
    move *= direction
    move *= time
    move += wide
    with np.errstate(over="ignore"):
        target[...] = move
    np.subtract(target, wide, out=move)
    np.multiply(move, lock, out=rise.reshape(move.shape), casting="unsafe")


def quotients(raw: np.ndarray, base: float, noise: float, unit: float) -> np.ndarray:
    """Width, central, forward and backward quotient, and a bound, of shape (5, entries).

    `raw`, of shape (entries, 2, 2) and C-contiguous, holds displacement and value, ahead and
    behind. The bound is `noise`, or `unit` times the larger value where that is more, over the
    width.
    """
    (ahead, above), (behind, below) = raw.transpose(1, 2, 0)
    found = np.empty((5, len(raw)))
    with np.errstate(all="ignore"):
        width = np.subtract(ahead, behind, out=found[0])
        np.divide(above - below, width, out=found[1])
        np.divide(above - base, ahead, out=found[2])
        np.divide(below - base, behind, out=found[3])
        size = np.fmax(np.abs(above), np.abs(below))
        np.divide(np.fmax(noise, unit * size), width, out=found[4])
    return found


def spread(
    rows: np.ndarray,
    stencil: Stencil,
    absolute: float,
    relative: float,
    steps: np.ndarray | None,
    start: int,
    stop: int,
    entries: np.ndarray | None,
    points: np.ndarray,
) -> int:
    """Move one entry in each row of a batch: positions `start` to `stop`, all points of each.

    The last of the `rows`, of shape (rows, entries), is the parameters as they are. The points
    really taken go to `points`, whose type is the one to compute in. Returns the first position
    whose step was lost in rounding, or -1.
    """
    offsets = stencil.table[:, :2].ravel()
    wanted = _wanted(start, stop, entries)
    with np.errstate(all="ignore"):
        x = rows[-1, wanted].astype(points.dtype)
        size = np.abs(x)
        h = absolute + relative * np.where(size > 1.0, size, 1.0)
        if steps is not None:
            h = steps[start:stop].astype(points.dtype)
        places = (x[:, np.newaxis] + offsets * h[:, np.newaxis]).astype(rows.dtype)
    taken = points[: len(wanted)]
    taken[...] = places
    moved = np.flatnonzero(offsets)
    columns = np.repeat(wanted, len(moved))
    rows[np.arange(len(columns)), columns] = places[:, moved].ravel()
    vanished = (taken[:, ::2] == taken[:, 1::2]).any(axis=1)
    return start + int(vanished.argmax()) if vanished.any() else -1


def gather(
    rows: np.ndarray,
    stencil: Stencil,
    points: np.ndarray,
    values: np.ndarray,
    base: float,
    start: int,
    stop: int,
    entries: np.ndarray | None,
    out: np.ndarray | None,
    raw: np.ndarray | None,
) -> None:
    """Turn the values of the rows that `spread` moved into derivatives, or into `raw`."""
    wanted = _wanted(start, stop, entries)
    moved = np.flatnonzero(stencil.table[:, :2])
    points = points[: len(wanted)]
    all_values = np.full(points.shape, base, points.dtype)
    all_values[:, moved] = values[: len(wanted) * len(moved)].reshape(-1, len(moved))
    with np.errstate(all="ignore"):
        if raw is not None:
            raw[start:stop, :, 0] = points - rows[-1, wanted].astype(points.dtype)[:, np.newaxis]
            raw[start:stop, :, 1] = all_values
        elif out is not None:
            out.flat[wanted] = _combined(stencil, points, all_values).astype(out.dtype)


def _combined(stencil: Stencil, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`_Mover.combine` for many entries."""
    kind = points.dtype.type
    total = np.zeros(len(points), points.dtype)
    for j, (_, _, v) in enumerate(stencil.quotients):
        width = points[:, 2 * j] - points[:, 2 * j + 1]
        quotient = (values[:, 2 * j] - values[:, 2 * j + 1]) / width
        total += kind(v.numerator) / kind(v.denominator) * quotient
        total[~(width < inf)] = nan
    return total


def _wanted(start: int, stop: int, entries: np.ndarray | None) -> np.ndarray:
    return np.arange(start, stop) if entries is None else entries[start:stop]


def is_native(array: np.ndarray) -> bool:
    """Whether the compiled kernel could work on this memory."""
    dtype = array.dtype
    return dtype.char in "fd" and dtype.isnative and array.flags.aligned


def is_plain(array: np.ndarray) -> bool:
    """Whether it is native, writable and C-contiguous: no two entries overlap."""
    flags = array.flags
    return is_native(array) and flags.c_contiguous and flags.writeable


class _Look:
    """What an array looked like before `f` was called."""

    __slots__ = ("address", "dtype", "nbytes", "owner", "shape", "strides", "writeable")

    def __init__(self, array: np.ndarray) -> None:
        self.shape, self.strides, self.dtype = array.shape, array.strides, array.dtype
        self.writeable = array.flags.writeable
        self.owner = owner(array)
        self.address = self.owner.__array_interface__["data"][0]
        self.nbytes = self.owner.nbytes

    def moved(self, array: np.ndarray) -> bool:
        owner = self.owner
        return (
            array.shape != self.shape
            or array.strides != self.strides
            or array.dtype is not self.dtype
            or array.flags.writeable != self.writeable
            or owner.nbytes != self.nbytes
            # NumPy writes safely into an array that owns its memory; a view is left dangling.
            or (owner is not array and owner.__array_interface__["data"][0] != self.address)
        )


def _indices(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """All indices in C order, in constant memory (itertools.product keeps every axis whole)."""
    if not shape:
        return iter(((),))
    heads, last = _indices(shape[:-1]), shape[-1]
    return ((*head, i) for head in heads for i in range(last))


def _arithmetic(dtype: np.dtype) -> tuple[Any, Any, Any]:
    """Types of a dtype: numbers f returns, entry to number, number to what an entry can hold."""
    real = dtype.type
    if real is np.longdouble:
        return np.longdouble, np.longdouble, np.longdouble
    if real is np.float64:
        return float, float, float
    largest = float(np.finfo(dtype).max)

    def narrow(value: float) -> Any:
        if abs(value) <= largest:
            return real(value)
        with np.errstate(over="ignore"):
            return real(value)

    return float, float, narrow
