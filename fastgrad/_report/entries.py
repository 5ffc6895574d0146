"""Judged entries of a gradient: columns of numbers that look like a sequence."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import overload

import numpy as np

from fastgrad._leaf import entry_path

__all__ = ["Block", "Entries", "Entry", "Probe", "Verdict", "norm_error"]


class Verdict(Enum):
    """What a check concludes; the value is the sentence that says it.

    Examples
    --------
    >>> import fastgrad as fg
    >>> print(fg.Verdict.RIGHT.sentence)
    the analytic gradient agrees with the finite differences
    """

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
        Where it is, for example ``layers[1].W[3, 2]``; of a complex entry, which part.
    leaf : str
        Path of the array that holds it.
    index : tuple of int
        Its index in that array.
    analytic, numeric : float
        The gradient that was checked, and the difference quotient.
    uncertainty : float
        Bound on the error of `numeric` from rounding and truncation.
    verdict : Verdict
    """

    path: str
    leaf: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    uncertainty: float
    verdict: Verdict

    @property
    def error(self) -> float:
        """Absolute difference between analytic and numeric."""
        return abs(self.analytic - self.numeric)


@dataclass(frozen=True, eq=False)
class Probe:
    """What random directions told of one leaf, of which only some entries were judged.

    Attributes
    ----------
    judged : ndarray of int
        Those entries, in C order of the leaf's real numbers.
    verdict : Verdict
    directions : int
        How many directions in a row agreed in the end.
    limit : float
        Smallest error in a single entry that would have been seen.
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
class Block:
    """Which stretch of the columns belongs to one leaf; with a probe, to some of its entries."""

    path: str
    shape: tuple[int, ...]
    dtype: str
    start: int
    stop: int
    is_complex: bool
    probe: Probe | None = None

    @property
    def size(self) -> int:
        """How many numbers the leaf holds."""
        return math.prod(self.shape) * (2 if self.is_complex else 1)

    def locate(self, position: int) -> tuple[str, tuple[int, ...]]:
        """Path and index of the entry at this position of the columns."""
        parts = 2 if self.is_complex else 1
        entry = position - self.start
        flat, part = divmod(entry if self.probe is None else int(self.probe.judged[entry]), parts)
        index = tuple(int(i) for i in np.unravel_index(flat, self.shape))
        suffix = (".real", ".imag")[part] if self.is_complex else ""
        return entry_path(self.path, index) + suffix, index


@dataclass(frozen=True, eq=False)
class Entries(Sequence[Entry]):
    """Judged entries as columns; an `Entry` is made only when it is looked at.

    Attributes
    ----------
    blocks : tuple of Block
        The leaves, in order.
    analytic, numeric, uncertainty : ndarray of float64, shape (n,)
    codes : ndarray of int8, shape (n,)
        ``Verdict.code`` of each entry.
    kinks : ndarray of bool, shape (n,)
        Where the one-sided derivatives of `f` differ.
    selection : ndarray of int, optional
        Positions of the columns that this sequence shows, in its order; None for all of them.
    """

    blocks: tuple[Block, ...]
    analytic: np.ndarray
    numeric: np.ndarray
    uncertainty: np.ndarray
    codes: np.ndarray
    kinks: np.ndarray
    selection: np.ndarray | None = None

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
        at = at % len(self)
        return self.at(at if self.selection is None else int(self.selection[at]))

    def __iter__(self) -> Iterator[Entry]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"<{len(self)} entries>"

    def at(self, position: int) -> Entry:
        """The entry at this position of the columns."""
        # The last that starts here or before: empty leaves start where the next one does.
        block = self.blocks[bisect_right(self.blocks, position, key=lambda each: each.start) - 1]
        path, index = block.locate(position)
        return Entry(
            path,
            block.path,
            index,
            float(self.analytic[position]),
            float(self.numeric[position]),
            float(self.uncertainty[position]),
            _VERDICTS[self.codes[position]],
        )

    def only(self, verdict: Verdict) -> Entries:
        """The entries with this verdict, largest error beyond the uncertainty first."""
        positions = np.flatnonzero(self.codes == verdict.code)
        with np.errstate(invalid="ignore"):
            excess = np.abs(self.analytic[positions] - self.numeric[positions])
            excess -= self.uncertainty[positions]
        excess[np.isnan(excess)] = np.inf
        order = positions[np.argsort(-excess, kind="stable")]
        columns = (self.analytic, self.numeric, self.uncertainty, self.codes, self.kinks)
        return Entries(self.blocks, *columns, selection=order)


def norm_error(a: np.ndarray, b: np.ndarray) -> float:
    """``|a - b| / (|a| + |b|)`` in the Euclidean norm, 0 where both are 0, never overflowing."""
    largest = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    if not np.isfinite(largest):
        return float("nan")
    with np.errstate(invalid="ignore"):
        a, b = a / largest, b / largest
    return float(np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b)))
