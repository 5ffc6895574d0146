"""Copies of the parameters for the points of a batch, and the test that rows keep to themselves.

The caller's parameters are only read: what `f` receives is fastgrad's own memory, in which each
row is one point, and a last row, which `f` does not receive, holds the parameters as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._dtypes import EPS, FLOATS, is_extended
from fastgrad._errors import FastgradError, InputValueError
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.guard import Guard
from fastgrad._leaf import Leaf, as_real
from fastgrad._memory import Fingerprint
from fastgrad._outputs import Outputs
from fastgrad._returns import as_scalars, at_base
from fastgrad._tree import Params, as_params, flatten, unflatten

__all__ = ["Rows", "check_rows", "unperturbed", "value_at"]

# The test that rows do not influence each other scales the two rows beside the parameters by these
# shares: nearer to zero, as most domains hold the points between zero and the parameters. They
# differ, so that neither a sum over the rows nor a mean hides it.
_NEARER = {0: 0.9375, 2: 0.875}
# Where a parameter is zero, no share of it is another point: the two rows take this value.
_OFF_ZERO = 2.0**-7
# All rows but the last.
_ROWS_OF_F = slice(0, -1)
# Values of one row may differ by this share, as `f` sums in another order in a larger batch: half
# of the digits of the type, and no less than 1e-5, for sums in float32 inside `f`.
_ROUNDING = {char: max(1e-5, EPS[char] ** 0.5) for char in FLOATS}


Read: TypeAlias = Callable[[Any, int, Callable[[], str]], np.ndarray]


class Rows:
    """Copies of the parameters: one for each point of a batch, and one more as they are."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Params,
        leaves: Sequence[Leaf],
        found: Sequence[Fingerprint],
        count: int,
    ) -> None:
        self._f, self._argument, self._leaves, self.count = f, argument, leaves, count
        self._found = found
        # By leaf: what was moved, as rows and columns of `real`.
        self._moved: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self._stacks = [_stack(leaf.array, count + 1) for leaf in leaves]
        # The same memory, as real numbers in C order: (count + 1, entries) for each leaf.
        self.real = [_flat(*pair) for pair in zip(self._stacks, leaves, strict=True)]

    def values(
        self,
        where: Callable[[], str],
        kind: Any = np.float64,
        part: slice = _ROWS_OF_F,
        read: Read | None = None,
    ) -> np.ndarray:
        """Evaluate all rows but the last, or those of `part`: one value for each.

        ``where()`` says what the rows are, in case of an error. Of vectors, ``read(value, count,
        where)`` makes an array of a row for each.
        """
        found = self.evaluate(where, part)
        count = len(range(self.count + 1)[part])
        if read is not None:
            return read(found, count, where)
        return as_scalars(found, count, where, kind)

    def evaluate(self, where: Callable[[], str], part: slice = _ROWS_OF_F) -> Any:
        """What `f` returns for these rows."""
        inputs = [stack[part] for stack in self._stacks]
        try:
            return self._f(unflatten(self._argument, iter(inputs)))
        except Exception as error:
            _errors.annotate_batch(error, where())
            raise

    def view(self, leaf: int, row: int) -> np.ndarray:
        """One row of a leaf, in its shape, as real numbers."""
        return as_real(self._stacks[leaf][row, ...])  # of a 0-d leaf too it is a view

    def note_moves(self, leaf: int, entries: np.ndarray, groups: np.ndarray, each: int) -> None:
        """Note for `put_back` that all `each` rows of an entry's group have it moved."""
        rows = (groups[:, np.newaxis] * each + np.arange(each)).reshape(-1)
        self._moved[leaf] = rows, np.repeat(entries, each)

    def put_back(self, leaf: int) -> None:
        """Undo the moves in a leaf's rows; refuse an `f` that wrote there."""
        if leaf not in self._moved:
            return
        real = self.real[leaf]
        # As raw bytes: a copy of numbers may quiet a signaling NaN, or lose a longdouble's padding.
        bits = real.view(f"V{real.itemsize}")
        # Only what was moved is put back: a batch may hold a thousand rows of a large array.
        rows, columns = self._moved.pop(leaf)
        bits[rows, columns] = bits[-1, columns]
        self.refuse_writes()

    def spread_out(self, bounds: Bounds | None = None) -> None:
        """Move rows as a whole, nearer to zero, within the bounds."""
        with np.errstate(all="ignore"):
            for leaf, real in enumerate(self.real):
                for row, share in _NEARER.items():
                    real[row] *= share
                if not real[-1].any():
                    real[list(_NEARER)] = _OFF_ZERO
                if bounds is not None:
                    for row in _NEARER:
                        bounds.clip(leaf, self.view(leaf, row))

    def refuse_moved(self) -> None:
        """Refuse an `f` that knows the originals and resized one: they will be read again."""
        for leaf, found in zip(self._leaves, self._found, strict=True):
            if found.changed():
                raise _errors.moved_error(leaf.path)

    def refuse_writes(self) -> None:
        """Refuse an `f` that wrote into rows, none of which is moved now."""
        for leaf, real in zip(self._leaves, self.real, strict=True):
            changed = _first_change(real)
            if changed is not None:
                raise _errors.written_error(leaf.name(changed), undone=True)


def _stack(array: np.ndarray, count: int) -> np.ndarray:
    """Copies of an array, in memory that nobody can resize.

    Its memory belongs to a `bytearray`, and NumPy resizes only arrays that own theirs.
    """
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


def unperturbed() -> str:
    """Name the row that holds the parameters as they are."""
    return at_base(0)


def _first_change(rows: np.ndarray) -> int | None:
    """The first entry in which a row is not like the last one."""
    # As integers, so that equal NaNs are equal; numbers of 16 bytes are two integers each.
    size = min(rows.itemsize, 8)
    bits = rows.view(f"u{size}")
    changed = bits[:-1] != bits[-1]
    if not changed.any():
        return None
    return int(changed.any(axis=0).argmax()) * size // rows.itemsize


def value_at(f: Callable[[Any], Any], params: Params) -> Any:
    """The value of a batched `f` at one point, given without the batch axis."""
    argument = as_params(params)
    leaves = flatten(argument)
    found = [_backend.kernel.Fingerprint(leaf.array) for leaf in leaves]
    rows = Rows(f, argument, leaves, found, 1)
    value = rows.evaluate(unperturbed)
    rows.refuse_moved()
    outputs = Outputs.of(value, unperturbed, rows=1)
    if outputs.is_number:
        kind = np.longdouble if any(map(is_extended, rows.real)) else np.float64
        return as_scalars(value, 1, unperturbed, kind)[0].item()
    numbers = outputs.flat_rows(value, 1, unperturbed)[0]
    return outputs.tree(leaf.part(numbers) for leaf in outputs.leaves)


def check_rows(
    f: Callable[[Any], Any],
    argument: Params,
    guard: Guard,
    bounds: Bounds | None = None,
    read: Read | None = None,
) -> int:
    """Refuse an `f` whose value at a point depends on the other rows; return the rows evaluated.

    The value alone is compared with that between two rows nearer to zero: most domains contain
    them, and a sum over the wrong axis, or a mean taken off, shows. `read` is for vectors.
    """
    rows = Rows(f, argument, guard.leaves, guard.found, 3)
    alone = rows.values(unperturbed, part=slice(1, 2), read=read)[0]
    rows.refuse_writes()
    together = _among_others(rows, bounds, read)
    rows.refuse_moved()
    rounding = max(_ROUNDING[real.dtype.char] for real in rows.real)
    if together is None or _agree(alone, together, rounding):
        return 4
    again = Rows(f, argument, guard.leaves, guard.found, 1).values(unperturbed, read=read)[0]
    if not _agree(alone, again, rounding):
        return 5  # not deterministic, which others find
    at = int(np.argmax(_apart(alone, together)))
    one, other = np.ravel(alone).item(at), np.ravel(together).item(at)
    raise InputValueError(
        f"the rows of the batched `f` influence each other: its value at the parameters is "
        f"{one:.9g} alone and {other:.9g} among others; let it sum, average and normalize "
        "over all axes but the first"
    )


def _among_others(rows: Rows, bounds: Bounds | None, read: Read | None) -> Any:
    """The value of the middle one of three rows, unless `f` does not like the others."""
    rows.spread_out(bounds)
    try:
        with np.errstate(all="ignore"):
            return rows.values(lambda: f"{at_base(0)} and two other points", read=read)[1]
    except FastgradError:
        raise
    except Exception:  # the batches to come will show whether it likes them
        return None


def _agree(a: Any, b: Any, rounding: float) -> bool:
    """Whether two values, numbers or vectors, are equal but for rounding."""
    size = np.maximum(np.abs(a), np.abs(b))
    largest = np.max(size, initial=0.0, where=np.isfinite(size))
    return bool((_apart(a, b) <= rounding * largest).all())


def _apart(a: Any, b: Any) -> np.ndarray:
    """How far they are apart: not at all where neither is finite."""
    with np.errstate(invalid="ignore"):
        apart = np.abs(np.subtract(a, b))
    # Which of inf and nan comes out depends on the order of a sum.
    neither = ~(np.isfinite(a) | np.isfinite(b))
    return np.where(neither, 0.0, np.where(np.isnan(apart), np.inf, apart))
