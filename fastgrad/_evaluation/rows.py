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

__all__ = [
    "RowTest",
    "Rows",
    "all_of",
    "along",
    "beside",
    "moving",
    "takes_another",
    "unperturbed",
    "value_at",
]

# The test that rows do not influence each other scales the two rows beside the parameters by these
# shares: nearer to zero, as most domains hold the points between zero and the parameters. They
# differ, so that neither a sum over the rows nor a mean hides it.
_NEARER = {0: 0.9375, 2: 0.875}
# Rows of that batch: the parameters, and one on each side.
_AMONG = 3
# Where a parameter is zero, no share of it is another point: the two rows take this value.
_OFF_ZERO = 2.0**-7
# All rows but the last.
_ROWS_OF_F = slice(0, -1)
# Values of one row may differ by this share, as `f` sums in another order in a larger batch: half
# of the digits of the type, and no less than 1e-5, for sums in float32 inside `f`.
_ROUNDING = {char: max(1e-5, EPS[char] ** 0.5) for char in FLOATS}


def beside(char: str) -> tuple[tuple[float, ...], float, float]:
    """How rows of this type are tested, for the kernel: shares, value off zero, rounding."""
    return tuple(_NEARER.values()), _OFF_ZERO, _ROUNDING[char]


Read: TypeAlias = Callable[[Any, int, Callable[[], str]], np.ndarray]


class Rows:
    """Copies of the parameters: one for each point of a batch, and one more as they are.

    With a `test` the last row that `f` receives is for its second value.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Params,
        leaves: Sequence[Leaf],
        found: Sequence[Fingerprint],
        count: int,
        test: RowTest | None = None,
    ) -> None:
        self._f, self._argument, self._leaves, self.count = f, argument, leaves, count
        self._test = test
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
        value = self.evaluate(where, part)
        which = range(self.count + 1)[part]
        if read is not None:
            found = read(value, len(which), where)
        else:
            found = as_scalars(value, len(which), where, kind)
        if self._test is not None and self.count - 1 in which:
            test, self._test = self._test, None
            test.compare(found[-1], len(which))
        return found

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

    def sums(self) -> list[int]:
        """A checksum of the rows of each leaf."""
        return [_backend.kernel.checksum(real) for real in self.real]

    def refuse_moved(self) -> None:
        """Refuse an `f` that knows the originals and resized one: they will be read again."""
        for leaf, found in zip(self._leaves, self._found, strict=True):
            if found.changed():
                raise _errors.moved_error(leaf.path)

    def refuse_writes(self) -> None:
        """Refuse an `f` that wrote into rows, none of which is moved now."""
        for leaf, real in zip(self._leaves, self.real, strict=True):
            _refuse_change(leaf, real[:-1], real[-1])

    def refuse_difference(self, like: Rows) -> None:
        """Refuse an `f` that wrote into rows that were like these."""
        for leaf, real, before in zip(self._leaves, self.real, like.real, strict=True):
            _refuse_change(leaf, real, before)


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


def moving(leaf: Leaf, entries: np.ndarray) -> str:
    """Name the rows that move some entries."""
    first, last = entries[[0, -1]].tolist()
    return f"the rows that move `{leaf.name(first)}` to `{leaf.name(last)}`"


def all_of(leaf: Leaf) -> str:
    """Name the rows that move all entries."""
    return moving(leaf, np.arange(leaf.real.size))


def along() -> str:
    """Name the rows of a direction."""
    return "points along a direction"


def _refuse_change(leaf: Leaf, rows: np.ndarray, like: np.ndarray) -> None:
    """Refuse rows that are not like these, or not all like this one, by the first such entry."""
    # As integers, so that equal NaNs are equal; numbers of 16 bytes are two integers each.
    size = min(rows.itemsize, 8)
    changed = rows.view(f"u{size}") != like.view(f"u{size}")
    if changed.any():
        entry = int(changed.any(axis=0).argmax()) * size // rows.itemsize
        raise _errors.written_error(leaf.name(entry), undone=True)


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


class RowTest:
    """The test that rows do not influence each other: values of one point in two companies.

    The first is that of the parameters between two rows nearer to zero: most domains contain them,
    and a sum over the wrong axis, or a mean taken off, shows. The second, of the last row of a
    batch that is evaluated anyway, costs no call. The batches differ in all that `f` may go by:
    other rows, how many there are, and where among them the one stands. `read` is for vectors, and
    `note` is told of rows that are evaluated for the test alone.
    """

    def __init__(
        self,
        f: Callable[[Any], Any],
        argument: Params,
        guard: Guard,
        bounds: Bounds | None,
        read: Read | None,
        note: Callable[[int], None],
    ) -> None:
        self._parts = f, argument, guard.leaves, guard.found
        self._bounds, self._read, self._note = bounds, read, note
        self._value = self._among_others()
        self._is_alone = self._value is None
        if self._is_alone:
            self._value = self._alone()

    def finish(self) -> None:
        """Take the second value from a call of its own."""
        if not self._is_alone:
            self.compare(self._alone(), 1)

    def compare(self, value: Any, count: int) -> None:
        """Refuse an `f` whose value at the parameters is another one as the last of so many."""
        rounding = max(_ROUNDING[leaf.real.dtype.char] for leaf in self._parts[2])
        if _agree(self._value, value, rounding):
            return
        again = self._alone() if self._is_alone else self._among_others()
        if again is None or not _agree(self._value, again, rounding):
            return  # not deterministic, which others find
        at = int(np.argmax(_apart(self._value, value)))
        one, other = np.ravel(self._value).item(at), np.ravel(value).item(at)
        raise InputValueError(
            f"the rows of the batched `f` influence each other: its value at the parameters is "
            f"{one:.9g} {_company(1 if self._is_alone else _AMONG)} and {other:.9g} "
            f"{_company(count)}; let it sum, average and normalize over all axes but the first"
        )

    def _alone(self) -> Any:
        rows = Rows(*self._parts, 1)
        self._note(1)
        value = rows.values(unperturbed, read=self._read)[0]
        rows.refuse_writes()
        rows.refuse_moved()
        return value

    def _among_others(self) -> Any:
        """The value of the middle one of three rows, unless `f` does not like the others."""
        rows = self._spread_out()
        sums = rows.sums()
        self._note(_AMONG)
        try:
            with np.errstate(all="ignore"):
                found = rows.values(_at_three, read=self._read)
        except FastgradError:
            raise
        except Exception:  # the batches to come will show whether it likes them
            return None
        rows.refuse_moved()
        if sums != rows.sums():
            rows.refuse_difference(self._spread_out())
        return found[1]

    def _spread_out(self) -> Rows:
        rows = Rows(*self._parts, _AMONG)
        rows.spread_out(self._bounds)
        return rows


def takes_another(count: int, most: int) -> bool:
    """Whether so many rows can take in another one, for the second value of the test.

    More than there are with the first one: an `f` may go by how many there are, or by the place.
    """
    return _AMONG <= count < most


def _at_three() -> str:
    return f"{at_base(0)} and two other points"


def _company(count: int) -> str:
    """In which batch a row is evaluated."""
    return "alone" if count == 1 else f"in a batch of {count}"


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
