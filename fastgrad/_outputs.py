"""What a vector-valued `f` returns: its structure, the names of its numbers, and these as a vector.

A difference needs one vector of real numbers from each evaluation. The first value says how it is
laid out: arrays in C order, one after the other, a complex number as its two parts.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError, note
from fastgrad._leaf import entry_path
from fastgrad._returns import at_base
from fastgrad._tree import children, only_numbers, same_kind, unflatten, with_children
from fastgrad._words import with_article

__all__ = ["OutputLeaf", "Outputs"]

_EXPECTED = "it must return real or complex numbers: an array, a number, or a nest of these"
# Python's own numbers, and NumPy's booleans, which all float types can hold.
_NUMBERS = (bool, int, float, complex)


def _at_parameters() -> str:
    return at_base(0)


@dataclass(frozen=True)
class OutputLeaf:
    """One array among what `f` returns, or one number.

    Its real numbers are those from `start` to `stop` - 1 of the vector.
    """

    path: str  # `out`, `out.flux`, `out[0]`
    shape: tuple[int, ...]
    dtype: np.dtype
    start: int
    is_number: bool  # of Python: its derivatives have the type of the parameter

    @property
    def is_complex(self) -> bool:
        """Whether two real numbers make one of the array."""
        return self.dtype.kind == "c"

    @property
    def size(self) -> int:
        """How many real numbers it has."""
        return math.prod(self.shape) * (2 if self.is_complex else 1)

    @property
    def stop(self) -> int:
        """Behind its last real number."""
        return self.start + self.size

    @property
    def eps(self) -> float:
        """Distance from 1 to the next number of its type, as far as float64 holds it."""
        return max(EPS.get(self.dtype.char, EPS["d"]), EPS["d"])

    def name(self, k: int) -> str:
        """Path of the real number at this position of the vector."""
        parts = 2 if self.is_complex else 1
        entry = k - self.start
        part = (".real", ".imag")[entry % 2] if self.is_complex else ""
        return entry_path(self.path, np.unravel_index(entry // parts, self.shape)) + part

    def part(self, numbers: np.ndarray) -> np.ndarray:
        """Its part of vectors, which lie along the last axis, in its own shape: a view."""
        mine = numbers[..., self.start : self.stop]
        if self.is_complex:
            mine = mine.view(np.complex128)
        return mine.reshape(numbers.shape[:-1] + self.shape)

    def derivative_type(self, dtype: np.dtype) -> np.dtype:
        """The type of its derivatives by parameters of this type: that of a sum of both."""
        zero: Any = self.dtype.type(0).item() if self.is_number else self.dtype
        return np.result_type(dtype, zero)

    def read(self, value: Any, where: Callable[[], str], out: np.ndarray) -> None:
        """Write its numbers to the last axis of `out`; other axes are those of points."""
        lead = out.shape[:-1]
        array = _as_array(value, self.path, where)
        if lead and array.shape[:1] != lead:
            raise _rows_error(array, self.path, where, *lead)
        if array.shape != lead + self.shape:
            raise InputValueError(
                f"`f` returned shape {array.shape} as `{self.path}` at {where()}, and "
                f"{lead + self.shape} is expected, as at the unperturbed parameters; the shape "
                "must not change"
            )
        self._check_type(array.dtype, where)
        flat = array.reshape(*lead, math.prod(self.shape))
        with np.errstate(over="ignore", invalid="ignore"):  # of longdoubles, and signalling NaNs
            if self.is_complex:
                out[..., ::2], out[..., 1::2] = flat.real, flat.imag
            else:
                out[...] = flat

    def _check_type(self, dtype: np.dtype, where: Callable[[], str]) -> None:
        """Refuse numbers that lack a part or digits that those at the parameters have."""
        if dtype == self.dtype:
            return
        said = f"`f` returned {dtype} as `{self.path}` at {where()}, and {self.dtype} at the "
        said += "unperturbed parameters"
        if dtype.kind == "c" and not self.is_complex:
            raise InputTypeError(f"{said}; let it return complex numbers everywhere")
        if EPS.get(dtype.char, 0.0) > self.eps:
            raise InputTypeError(
                f"{said}: their difference is mostly rounding; let it return one type everywhere"
            )


@dataclass(frozen=True)
class Outputs:
    """How what `f` returns becomes a vector of real numbers; build one with `of`."""

    leaves: tuple[OutputLeaf, ...]
    # The containers of what `f` returned, with the number of a leaf in place of each leaf.
    _structure: Any
    # What to say beside a refusal of another structure: who told that it is this one.
    source: str = field(default="", compare=False)

    @staticmethod
    def of(
        value: Any, where: Callable[[], str] = _at_parameters, *, rows: int | None = None
    ) -> Outputs:
        """Describe what `f` returned first; ``where()`` says at which parameters.

        With `rows`, every array has a first axis of this length, for the points of a batch.
        """
        leaves: list[OutputLeaf] = []
        if value is None:
            raise InputTypeError(
                f"`f` returned None at {where()}; {_EXPECTED} (did you forget to return them?)"
            )
        try:
            structure = _described(value, "out", leaves, rows, where)
        except RecursionError:
            raise InputValueError(
                f"`f` returned a nest that contains itself at {where()}; {_EXPECTED}"
            ) from None
        return Outputs(tuple(leaves), structure)

    @property
    def size(self) -> int:
        """How many real numbers `f` returns."""
        return self.leaves[-1].stop if self.leaves else 0

    @property
    def kind(self) -> np.dtype:
        """The coarsest float type of its numbers, by which steps are chosen; float64 at least."""
        eps = max((leaf.eps for leaf in self.leaves), default=0.0)
        return next((np.dtype(char) for char in "ef" if EPS[char] == eps), np.dtype("d"))

    @property
    def is_number(self) -> bool:
        """Whether `f` returns one real number."""
        only = isinstance(self._structure, int) and self.leaves[0]
        return bool(only and not only.shape and not only.is_complex)

    @property
    def plain(self) -> OutputLeaf | None:
        """The only array, if `f` returns one and no containers, and it is float64 or float32."""
        if isinstance(self._structure, int) and self.leaves[0].dtype.char in "df":
            return self.leaves[0]
        return None

    def flat(self, value: Any, name: Callable[[int], str], entry: int) -> np.ndarray:
        """The numbers of what `f` returned: (m,) float64, a copy.

        ``name(entry)`` tells what was being moved, in case of an error.
        """
        return self._read(value, lambda: name(entry), np.empty(self.size))

    def flat_rows(self, value: Any, count: int, where: Callable[[], str]) -> np.ndarray:
        """The numbers of what a batched `f` returned for `count` points: (count, m) float64."""
        return self._read(value, where, np.empty((count, self.size)))

    def _read(self, value: Any, where: Callable[[], str], out: np.ndarray) -> np.ndarray:
        try:
            self._fill(self._structure, value, "out", where, out)
        except (InputTypeError, InputValueError) as error:
            if self.source:
                note(error, self.source)
            raise
        return out

    def tree(self, nodes: Iterable[Any]) -> Any:
        """A nest like what `f` returned, with these, one for each leaf, in place of the leaves."""
        return unflatten(self._structure, iter(nodes))

    def nodes(self, value: Any, name: str) -> list[Any]:
        """What stands in place of each leaf in a nest like what `f` returned.

        `name` is what the caller calls this nest.
        """
        found: list[Any] = [None] * len(self.leaves)

        def look(mine: Any, theirs: Any, path: str) -> None:
            if isinstance(mine, int):
                found[mine] = theirs
                return
            if mine is None and theirs is None:
                return
            parts = children(mine, path)
            others = (
                children(theirs, path) if mine is not None and same_kind(mine, theirs) else None
            )
            if parts is None or others is None:
                raise InputTypeError(
                    f"`{path}` must be {_named(mine)}, like what `f` returns; got {_named(theirs)}"
                )
            labels = [label for label, _ in parts]
            if sorted(labels) != sorted(label for label, _ in others):
                raise InputValueError(
                    f"`{path}` must have the structure of what `f` returns, with "
                    f"{', '.join(f'`{label}`' for label in labels)}"
                )
            for label, child in parts:
                look(child, dict(others)[label], label)

        look(self._structure, value, name)
        return found

    def nothing(self) -> Any:
        """What stands for the value of an `f` that raises: NaN in place of each number."""
        nans = (
            np.full(leaf.shape, np.nan, np.complex128 if leaf.is_complex else np.float64)
            for leaf in self.leaves
        )
        return self.tree(nans)

    def name(self, k: int) -> str:
        """Path of the `k`-th real number: ``out.flux[3]``, of a complex one ``out[3].imag``."""
        return next(leaf.name(k) for leaf in self.leaves if leaf.start <= k < leaf.stop)

    def _fill(
        self, mine: Any, value: Any, path: str, where: Callable[[], str], out: np.ndarray
    ) -> None:
        """Write the numbers below one node of the structure."""
        if isinstance(mine, int):
            leaf = self.leaves[mine]
            leaf.read(value, where, out[..., leaf.start : leaf.stop])
            return
        if mine is None and value is None:
            return
        parts = children(mine, path)
        theirs = children(value, path) if parts is not None and same_kind(mine, value) else None
        if parts is None or theirs is None:
            raise InputTypeError(
                f"`f` returned {_named(value)} as `{path}` at {where()}, and {_named(mine)} at the "
                "unperturbed parameters; the structure must not change"
            )
        found = dict(theirs)
        _check_labels(path, [label for label, _ in parts], list(found), where)
        for label, child in parts:
            self._fill(child, found[label], label, where, out)


def _rows_error(
    array: np.ndarray, path: str, where: Callable[[], str], rows: int
) -> InputValueError:
    return InputValueError(
        f"`f` returned shape {array.shape} as `{path}` at {where()}; it must return arrays "
        f"with a first axis of length {rows}, one row for each point of the batch"
    )


def _described(
    value: Any,
    path: str,
    leaves: list[OutputLeaf],
    rows: int | None,
    where: Callable[[], str],
) -> Any:
    """The structure of a value; its leaves are added to the list."""
    if value is None:
        return None
    # A list of numbers is one array, as among the parameters.
    parts = None if _is_array_of_numbers(value) else children(value, path)
    if parts is not None:
        below = [_described(child, label, leaves, rows, where) for label, child in parts]
        return with_children(value, below)
    array, shape = _as_array(value, path, where), None
    if rows is None:
        shape = array.shape
    elif array.shape[:1] == (rows,):
        shape = array.shape[1:]
    else:
        raise _rows_error(array, path, where, rows)
    start = leaves[-1].stop if leaves else 0
    is_number = type(value) in _NUMBERS
    leaves.append(OutputLeaf(path, shape, array.dtype, start, is_number))
    return len(leaves) - 1


def _is_array_of_numbers(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and only_numbers(value, ())


def _as_array(value: Any, path: str, where: Callable[[], str]) -> np.ndarray:
    """An array, a tensor, a number or a list of numbers as an array of numbers."""
    if hasattr(value, "compressed"):  # NumPy would read what the mask hides
        raise InputTypeError(
            f"`f` returned a masked array as `{path}` at {where()}; {_EXPECTED} (.filled(...))"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor with a gradient, or on a device
        array = _unpacked(value)
    if array.dtype.kind == "O" and not array.ndim:
        array = _number(value)
    if array.dtype.kind not in "biufc":
        if _is_too_large(value):
            raise InputValueError(
                f"`f` returned an integer beyond the range of floats as `{path}` at {where()}"
            )
        raise InputTypeError(
            f"`f` returned {_named(value)}{_of_type(array)} as `{path}` at {where()}; {_EXPECTED}"
            + _way_out(value, array)
        )
    return array


def _is_too_large(value: Any) -> bool:
    """Whether it is an integer that no float holds, or an array or a list with one in it."""
    if isinstance(value, (list, tuple)):
        return any(map(_is_too_large, value))
    if isinstance(value, np.ndarray) and value.dtype.kind == "O":
        return any(map(_is_too_large, value.flat))
    try:
        return isinstance(value, int) and not math.isfinite(value)
    except OverflowError:
        return True


def _unpacked(value: Any) -> np.ndarray:
    """A tensor through a list of its numbers; None as an array if it has no such list."""
    try:
        numbers = value.tolist() if hasattr(value, "tolist") else None
        return np.asarray(numbers, _type_named(getattr(value, "dtype", None)))
    except (TypeError, ValueError):  # ragged
        return np.asarray(None)


def _type_named(dtype: Any) -> np.dtype | None:
    """NumPy's type of the name of another library's: of ``torch.float32`` float32."""
    try:  # by its name, as no other library is imported here
        return np.dtype(str(dtype).rpartition(".")[2])
    except TypeError:
        return None


def _number(value: Any) -> np.ndarray:
    """A number of another library, such as a Fraction or one of mpmath's."""
    try:
        return np.asarray(float(value))
    except (TypeError, ValueError, OverflowError):
        return np.asarray(None)


def _named(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return "an array"
    return "None" if value is None else with_article(type(value).__name__)


def _of_type(array: np.ndarray) -> str:
    return f" of dtype {array.dtype}" if array.ndim else ""


def _way_out(value: Any, array: np.ndarray) -> str:
    """How to make numbers of it, where that is known."""
    if hasattr(value, "toarray"):  # a sparse matrix
        return " (.toarray())"
    if isinstance(value, (list, tuple)):
        return " (it is a ragged list: return arrays)"
    return " (.astype(float))" if array.ndim else ""


def _check_labels(
    path: str, mine: Sequence[str], theirs: Sequence[str], where: Callable[[], str]
) -> None:
    """Refuse keys or a length that are not those at the unperturbed parameters."""
    lost = [label for label in mine if label not in theirs]
    new = [label for label in theirs if label not in mine]
    if lost or new:
        said = f"without `{lost[0]}`" if lost else f"with `{new[0]}`"
        raise InputValueError(
            f"`f` returned `{path}` {said} at {where()}, unlike at the unperturbed parameters; the "
            "structure must not change"
        )
