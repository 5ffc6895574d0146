"""Judged entries of a gradient: columns of numbers that look like a sequence."""

# Without `annotations` from `__future__`, for the reason given in `causes.py`.

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, overload

import numpy as np

from fastgrad._leaf import entry_path
from fastgrad._words import counted

__all__ = ["Entries", "Entry", "LeafSpan", "Probe", "Verdict"]


class Verdict(Enum):
    """What a check concludes; the value is the sentence that says it.

    Notes
    -----
    An entry that agrees with its difference is right only if the error bar says something: if it is
    at most a tenth of the largest entry of its array, or 1e-4 of the largest one of the whole
    gradient, whichever is more (at an optimum, of how fast the gradient grows). Entries are not
    measured by their own size: a derivative that is a million times smaller than another one is
    judged on the scale of that one, some 1e-7 of which may pass unseen, and where it is 1e10 times
    smaller a factor of two may. A report prints its error bars, and its limit.

    Examples
    --------
    >>> import fastgrad as fg
    >>> print(fg.Verdict.RIGHT.sentence)
    the analytic gradient agrees with the finite differences
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    RIGHT = "the analytic gradient agrees with the finite differences"
    WRONG = "the analytic gradient disagrees with the finite differences"
    CANNOT_TELL = "the finite differences cannot tell whether the analytic gradient is right"

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        return self.value

    @property
    def code(self) -> int:
        """Position among the members: how a column of verdicts stores it."""
        return _CODES[self]


_VERDICTS = list(Verdict)
_CODES = {verdict: code for code, verdict in enumerate(_VERDICTS)}


@dataclass(frozen=True)
class Entry:
    """One judged entry of the gradient.

    Attributes
    ----------
    path : str
        Where it is, for example ``layers[1].W[3, 2]``; for a complex entry, ``.real`` or ``.imag``
        follows. Of a Jacobian ``out.flux[3] / layers[1].W[3, 2]``.
    leaf : str
        Path of the parameter array that holds it.
    index : tuple of int
        Its index in that array.
    analytic, numeric : float
        The derivative that was checked, and the difference quotient.
    uncertainty : float
        The error bar: `analytic` and `numeric` agree if they differ by no more. It bounds the
        error of `numeric` from the noise of `f` and from truncation, and holds what is granted to
        `analytic` for the rounding of its type. Infinite where nothing bounds the error.
    verdict : Verdict
    output : str, optional
        Of a Jacobian the number that `f` returned, as ``out.flux[3]``.
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    path: str
    leaf: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    uncertainty: float
    verdict: Verdict
    output: str | None = None

    @property
    def error(self) -> float:
        """Absolute difference between analytic and numeric."""
        return abs(self.analytic - self.numeric)


@dataclass(frozen=True, eq=False)
class Probe:
    """What random directions showed about one leaf; only some of its entries were judged.

    Attributes
    ----------
    judged : ndarray of int
        The entries that were judged: positions in the leaf's real numbers, in C order, or among
        those that were chosen.
    verdict : Verdict
    directions : int
        Number of directions in a row that agreed at the end.
    limit : float
        Smallest error in a single entry that the directions would have shown.
    relative_error : float
        ``|a - d| / (|a| + |d|)`` in the Euclidean norm, estimated from the directions.
    blocks : tuple of str
        Blocks that are wrong throughout.
    """

    judged: np.ndarray
    verdict: Verdict
    directions: int
    limit: float
    relative_error: float
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class LeafSpan:
    """The rows of the columns that belong to one leaf, from `start` to `stop`, and its layout.

    They hold all real numbers of the leaf, or those that were `chosen`; after a probe, those of
    them that were judged. Of a Jacobian it is a block: an array that `f` returned by a parameter
    array, of the shape of both, with the `output_axes` of the first before those of the second.
    Complex is then what `f` returned.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int
    is_complex: bool
    probe: Probe | None = None
    output: str | None = None  # path of the array that `f` returned
    leaf: str | None = None  # that of the parameter array, where it is not `path`
    output_axes: int = 0
    chosen: np.ndarray | None = None  # positions in the leaf's real numbers; None: all

    @property
    def whole(self) -> int:
        """Number of real numbers in the leaf: two for a complex entry."""
        return math.prod(self.shape) * (2 if self.is_complex else 1)

    @property
    def size(self) -> int:
        """How many of them were chosen."""
        return self.whole if self.chosen is None else len(self.chosen)

    @property
    def numbers(self) -> np.ndarray | None:
        """Which real numbers of the leaf the rows hold; None for all of them."""
        if self.probe is None:
            return self.chosen
        judged = self.probe.judged
        return judged if self.chosen is None else self.chosen[judged]

    def locate(self, position: int) -> tuple[str, tuple[int, ...]]:
        """Path and index of the entry at this position of the columns."""
        index, suffix = self._index(position)
        if self.output is None:
            return entry_path(self.path, index) + suffix, index
        mine = index[self.output_axes :]
        return f"{self.locate_output(position)} / {entry_path(self.leaf or '', mine)}", mine

    def locate_output(self, position: int) -> str | None:
        """Path of the output whose derivative it is, in a Jacobian."""
        if self.output is None:
            return None
        index, suffix = self._index(position)
        return entry_path(self.output, index[: self.output_axes]) + suffix

    def _index(self, position: int) -> tuple[tuple[int, ...], str]:
        """Index in the array, and which part of a complex number it is."""
        parts = 2 if self.is_complex else 1  # a complex entry is stored as real, imaginary
        number = position - self.start
        numbers = self.numbers
        if numbers is not None:
            number = int(numbers[number])
        flat, part = divmod(number, parts)
        index = tuple(int(i) for i in np.unravel_index(flat, self.shape))
        return index, (".real", ".imag")[part] if self.is_complex else ""


@dataclass(frozen=True, eq=False)
class Entries(Sequence[Entry]):
    """Judged entries as columns; an `Entry` is made only when it is looked at.

    Attributes
    ----------
    spans : tuple of LeafSpan
        The leaves, in order.
    analytic, numeric, uncertainty : ndarray of float64, shape (n,)
    codes : ndarray of int8, shape (n,)
        ``Verdict.code`` of each entry.
    kinks : ndarray of bool, shape (n,)
        Where the one-sided derivatives of `f` differ.
    selection : ndarray of int, optional
        Positions of the columns that this sequence shows, in its order; None for all of them.
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    spans: tuple[LeafSpan, ...]
    analytic: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    codes: np.ndarray
    kinks: np.ndarray
    selection: np.ndarray | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Spans as dicts: a pickle then names public classes alone, and can be read wherever the
        # private ones live by then.
        spans = [vars(span) | {"probe": span.probe and vars(span.probe)} for span in self.spans]
        return vars(self) | {"spans": spans}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "blocks" in state:  # a pickle of 0.1, which holds the spans themselves by that name
            spans = state.pop("blocks")
        else:
            spans = [
                LeafSpan(**s | {"probe": s["probe"] and Probe(**s["probe"])})
                for s in state["spans"]
            ]
        vars(self).update(state | {"spans": tuple(spans)})

    def __len__(self) -> int:
        return len(self.codes if self.selection is None else self.selection)

    @overload
    def __getitem__(self, at: int) -> Entry: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Entry]: ...
    def __getitem__(self, at: int | slice) -> Entry | Sequence[Entry]:
        """One entry, or a list of those in a slice."""
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(f"entry {at} of {len(self)}")
        at = at % len(self)  # negative ones count from the end
        return self.at(at if self.selection is None else int(self.selection[at]))

    def __iter__(self) -> Iterator[Entry]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'entry')}>"

    @property
    def blocks(self) -> tuple[LeafSpan, ...]:
        """The spans, by the name they had in version 0.1."""
        return self.spans

    def at(self, position: int) -> Entry:
        """The entry at this position of the columns."""
        # An empty leaf starts where the next one does: the last span that starts here is meant.
        span = self.spans[bisect_right(self.spans, position, key=lambda each: each.start) - 1]
        path, index = span.locate(position)
        return Entry(
            path,
            span.leaf or span.path,
            index,
            float(self.analytic[position]),
            float(self.numeric[position]),
            float(self.uncertainty[position]),
            _VERDICTS[self.codes[position]],
            span.locate_output(position),
        )

    def only(self, verdict: Verdict) -> "Entries":
        """The entries with this verdict; first those whose error exceeds the error bar most."""
        positions = self._with(verdict)
        order = positions[np.argsort(-self._excess(positions), kind="stable")]
        columns = (self.analytic, self.numeric, self.uncertainty, self.codes, self.kinks)
        return Entries(self.spans, *columns, selection=order)

    def worst(self, verdict: Verdict) -> int:
        """The position of the first of them; there is one."""
        positions = self._with(verdict)
        alone = len(positions) == 1
        return int(positions[0 if alone else self._excess(positions).argmax()])

    def _with(self, verdict: Verdict) -> np.ndarray:
        """The positions of entries with this verdict."""
        found: np.ndarray = (self.codes == verdict.code).nonzero()[0]
        return found

    def _excess(self, positions: np.ndarray) -> np.ndarray:
        """How far errors exceed the error bars."""
        with np.errstate(invalid="ignore"):
            excess: np.ndarray = np.abs(self.analytic[positions] - self.numeric[positions])
            excess -= self.uncertainty[positions]
        excess[np.isnan(excess)] = np.inf  # what is not finite comes before all numbers
        return excess
