"""The entry loop of `_reference`: move in place, evaluate, put the saved bits back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from math import inf, nan
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import proxy

import numpy as np

from fastgrad import _errors
from fastgrad._memory import Fingerprint, owner
from fastgrad._returns import as_scalar

if TYPE_CHECKING:
    from fastgrad._leaf import Leaf
    from fastgrad._outputs import Outputs
    from fastgrad._stencils import Stencil, Steps

__all__ = [
    "central_samples",
    "differentiate",
    "differentiate_vectors",
    "forgiving",
    "native_differentiate",
    "native_differentiate_vectors",
    "native_sample",
    "sample",
]


def differentiate(
    f: Callable[[Any], Any],
    argument: Any,
    leaf: Leaf,
    stencil: Stencil,
    steps: Steps,
    base: float,
    out: np.ndarray,
    start: int,
    stop: int,
    first: int = 0,
) -> None:
    """Differentiate ``f(argument)`` with respect to entries `start` to `stop` - 1 of a leaf.

    Each entry is moved in place and gets its saved bits back, whatever happens. Entries count in
    C order; steps that are given are those from entry `start` on. `base` is the value at the
    unperturbed point, for stencils that use it. The derivatives go to `out`, from that of entry
    `first` on.
    """
    array = leaf.real
    mover = _Mover(f, argument, leaf, stencil.offsets, base, stencil, steps=steps)
    # `f` may hold `out` as well, and resize it.
    target, store = _Look(out), _arithmetic(out.dtype)[2]
    places = out if out.shape == array.shape and not first else out.reshape(-1)
    for entry, index, points, values in _measured(mover, leaf, steps, start, stop):
        if target.moved(out):
            raise _errors.moved_error("out")
        places[index if places is out else entry - first] = store(mover.combine(points, values))


def differentiate_vectors(
    f: Callable[[Any], Any],
    argument: Any,
    leaf: Leaf,
    stencil: Stencil,
    steps: Steps,
    base: np.ndarray | None,
    out: np.ndarray,
    start: int,
    stop: int,
    first: int,
    outputs: Outputs,
) -> None:
    """`differentiate` for an `f` that returns `outputs`.

    The derivatives of all its numbers by one entry are a row of `out`: float64, C-contiguous.
    """
    mover = _Mover(f, argument, leaf, stencil.offsets, base, stencil, outputs)
    target = _Look(out)
    for entry, _, points, values in _measured(mover, leaf, steps, start, stop):
        if target.moved(out):
            raise _errors.moved_error("out")
        out[entry - first] = mover.combine(points, values)


def _measured(
    mover: _Mover, leaf: Leaf, steps: Steps, start: int, stop: int
) -> Iterator[tuple[int, tuple[int, ...], list[Any], list[Any]]]:
    """Entries of a leaf with their indices, the points of a stencil, and the values there."""
    array = leaf.real
    for entry, index in zip(
        range(start, stop), islice(_indices(array.shape), start, stop), strict=True
    ):
        x = mover.wide(array[index])
        h = mover.step(x, steps) if steps.given is None else steps.given.item(entry - start)
        points = mover.place(x, h)
        # The points of a quotient lie side by side; without a width it would divide by zero.
        if any(points[k] == points[k + 1] for k in range(0, len(points), 2)):
            raise _errors.step_vanished_error(leaf.name(entry), x, h, array.dtype)
        yield entry, index, points, mover.measure(entry, index, points)


def sample(
    f: Callable[[Any], Any],
    argument: Any,
    leaf: Leaf,
    offsets: np.ndarray,
    steps: Steps,
    entries: np.ndarray,
    moved: np.ndarray,
    values: np.ndarray,
    outputs: Outputs | None = None,
) -> None:
    """Move each of these entries (intp, C order) alone, by its step times each of the offsets.

    Displacements really made go to `moved`, of shape (entries, offsets), values of `f` to
    `values`, of the same shape, or with one more axis for an `f` that returns `outputs`: float64,
    C-contiguous.
    """
    array = leaf.real
    mover = _Mover(f, argument, leaf, offsets, nan, None, outputs)
    for position, (entry, index) in enumerate(_where(array.shape, entries)):
        x = mover.wide(array[index])
        h = steps.absolute + steps.relative  # beside infinity: no reason to stop
        if steps.given is not None:
            h = steps.given.item(position)
        elif abs(x) < inf:
            h = mover.step(x, steps)
        points = mover.place(x, h)
        values[position] = mover.measure(entry, index, points)
        moved[position] = mover.displaced(x, points)


def central_samples(
    f: Callable[[Any], Any],
    argument: Any,
    leaves: list[Leaf],
    found: list[Fingerprint],
    relative: list[float],
    samples: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Move each entry of small plain arrays ahead and behind, by this step over its length.

    Displacements and values of each leaf, as `sample` gives them, are appended before they are
    measured: values are NaN up to where `f` raised.
    """
    offsets = np.array([1.0, -1.0])
    for leaf, each, width in zip(leaves, found, relative, strict=True):
        if each.changed():
            raise _errors.moved_error(leaf.path)
        moved, values = np.empty((2, leaf.real.size, 2))
        values.fill(nan)
        samples.append((moved, values))
        steps: Any = SimpleNamespace(absolute=0.0, relative=width, given=None)
        sample(f, argument, leaf, offsets, steps, np.arange(len(moved)), moved, values)


# A native objective can be called like any other.
native_differentiate, native_sample = differentiate, sample
native_differentiate_vectors = differentiate_vectors


def forgiving(
    f: Callable[[Any], Any], raised: Any, nothing: Callable[[], Any]
) -> Callable[[Any], Any]:
    """`f`, which gives ``nothing()`` where it raises; ``raised.note`` is told of the exception."""

    # A closure, and no object with `__call__`, which would take longer to call.
    def call(argument: Any) -> Any:
        try:
            return f(argument)
        except Exception as error:
            raised.note(error)
            return nothing()

    return call


class _Mover:
    """Moves single entries of a leaf and evaluates: the kernel's arithmetic, entry by entry."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Any,
        leaf: Leaf,
        offsets: np.ndarray,
        base: Any,
        stencil: Stencil | None = None,
        outputs: Outputs | None = None,
        steps: Steps | None = None,
    ) -> None:
        self._f, self._argument, self._leaf = f, argument, leaf
        self._look = _Look(leaf.real)
        self._kind, self.wide, self._narrow = _arithmetic(leaf.real.dtype)
        kind = self._kind
        # Beside a longdouble leaf it is a longdouble, and the values at this leaf may be floats.
        self._base = kind(base) if outputs is None else base
        self._outputs = outputs
        self._offsets = [int(k) for k in offsets.tolist()]
        quotients = stencil.quotients if stencil else ()
        self._weights = [kind(v.numerator) / kind(v.denominator) for _, _, v in quotients]
        # Weights of the inner difference, where derivatives can be doubted.
        inner = stencil.inner if stencil and steps and steps.apart > 0 else None
        self._inner = [] if inner is None else [kind(v) for v in inner]
        self._doubt = (steps.apart, steps.noise) if steps else (0.0, 0.0)
        self._extended = self.wide is np.longdouble
        # A longdouble has padding bytes, which only a copy of the raw bytes brings back. (By its
        # name: NumPy swallows a Ctrl-C while it looks at a tuple such as (np.void, 16).)
        bits = np.dtype(f"V{leaf.real.itemsize}") if self._extended else leaf.real.dtype
        # The same memory, whatever `f` does to the shape or the flags of the array.
        self._home = leaf.real.view(bits, np.ndarray)
        # Unlike Python's floats, NumPy's warn of infinities and NaNs.
        loud = ["step", "place", "displaced"] * self._extended
        loud += ["combine"] * (self._extended or outputs is not None)
        # Bound to a proxy: what an object holds of itself keeps it alive, and `f` with it.
        bound = [partial(getattr(_Mover, name), proxy(self)) for name in loud]
        for name, method in zip(loud, bound, strict=True):
            setattr(self, name, np.errstate(all="ignore")(method))

    def step(self, x: Any, steps: Steps) -> Any:
        """The step of an entry with this value."""
        return steps.absolute + steps.relative * max(1.0, abs(x))

    def place(self, x: Any, h: Any) -> list[Any]:
        """The points really evaluated: the nearest numbers that the entry's type can hold."""
        h = self.wide(h)
        return [self._narrow(x + k * h) for k in self._offsets]

    def displaced(self, x: Any, points: list[Any]) -> list[Any]:
        """How far the points lie from `x`, as they were rounded."""
        return [float(self.wide(p) - x) for p in points]

    def combine(self, points: list[Any], values: list[Any]) -> Any:
        """Weighted sum of difference quotients, each over the step actually taken.

        NaN where the inner difference is too far from it.
        """
        total: Any = 0.0
        inner: Any = 0.0
        for j, weight in enumerate(self._weights):
            width = self.wide(points[2 * j]) - self.wide(points[2 * j + 1])
            if not width < inf:
                return nan
            quotient = (values[2 * j] - values[2 * j + 1]) / width
            total += weight * quotient
            if j < len(self._inner):
                inner += self._inner[j] * quotient
        if self._inner:
            width = self.wide(points[0]) - self.wide(points[1])
            largest = max(0.0, *map(abs, values))
            apart, noise = self._doubt
            if not abs(total - inner) <= apart * abs(total) + noise * (largest / width):
                return nan
        return total

    def measure(self, entry: int, index: tuple[int, ...], points: list[Any]) -> list[Any]:
        """Values at the points; afterwards the entry has its bits back, whatever happens."""
        array, look, name = self._leaf.real, self._look, self._leaf.name
        saved = self._home[index]
        values = []
        try:
            for k, point in zip(self._offsets, points, strict=True):
                value: Any = self._base
                if k:
                    array[index] = point
                    value = self._f(self._argument)
                    if self._outputs is not None:
                        value = self._outputs.flat(value, name, entry)
                    elif type(value) is not self._kind:
                        value = as_scalar(value, name, entry, self._kind)
                    if look.moved(array):
                        raise _errors.moved_error(self._leaf.path)
                    now = array[index]
                    if (now != point or not now) and not _stands(now, point):
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


def _stands(now: Any, point: Any) -> bool:
    """Whether an entry holds what was written: 0.0 is not -0.0, and two NaNs count as equal."""
    if now == point:
        return bool(np.signbit(now) == np.signbit(point))
    return bool(now != now and point != point)


def _where(shape: tuple[int, ...], entries: np.ndarray) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Entries and their indices, as Python's integers: NumPy's are slow to index with."""
    columns = [axis.tolist() for axis in np.unravel_index(entries, shape)] if shape else []
    indices = zip(*columns, strict=True) if columns else [()] * len(entries)
    return zip(entries.tolist(), indices, strict=True)


class _Look:
    """What an array looked like before `f` was called: a `Fingerprint` for the inner loop."""

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
