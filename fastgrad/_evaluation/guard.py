"""Custody of the parameters' memory while they are perturbed in place.

Before a run: every leaf is writable and no two entries share memory. During it: no other thread
moves the same memory. After it: every bit is where it was, or the user is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np

from fastgrad import _backend, _errors, _memory
from fastgrad._errors import InputValueError, MutationError
from fastgrad._leaf import Leaf, entry_path

__all__ = ["Guard", "check_disjoint", "check_layout", "is_small"]

# Up to this size the guard keeps its own copy of the parameters.
COPIED_BYTES = 2**18

_C_OR_F_CONTIGUOUS = 0x1 | 0x2
_WRITEABLE = 0x400


def is_small(array: np.ndarray) -> bool:
    """Whether nothing else about the array needs a look: plain, and small enough to copy."""
    return _backend.is_plain(array) and 0 < array.nbytes <= COPIED_BYTES


def check_layout(leaves: Sequence[Leaf]) -> None:
    """Refuse leaves whose entries cannot be moved one at a time."""
    for leaf in leaves:
        flags = leaf.array.flags.num
        if not flags & _WRITEABLE:
            raise InputValueError(
                f"`{leaf.path}` is read-only, and entries are moved in place; pass "
                f"`{leaf.path}`.copy(), or set its flags.writeable to True"
            )
        if not flags & _C_OR_F_CONTIGUOUS and _overlaps_itself(leaf.array):
            raise InputValueError(
                f"`{leaf.path}` overlaps itself (shape {leaf.array.shape}, strides "
                f"{leaf.array.strides}): moving one entry would move others; pass "
                f"`{leaf.path}`.copy()"
            )
    if len(leaves) > 1:
        check_disjoint(leaves)


def check_disjoint(leaves: Sequence[Leaf]) -> None:
    """Refuse leaves of which two share memory."""
    spans = sorted(
        ((*_memory.bounds(leaf.array), leaf) for leaf in leaves if leaf.array.size),
        key=lambda span: span[:2],
    )
    open_spans: list[tuple[int, Leaf]] = []
    for low, high, leaf in spans:
        open_spans = [(end, other) for end, other in open_spans if end > low]
        for _, other in open_spans:
            if _share(leaf.array, other.array):
                raise InputValueError(
                    f"`{other.path}` and `{leaf.path}` share memory: moving an entry of one "
                    "would move the other; pass the shared array once, or a copy"
                )
        open_spans.append((high, leaf))


def _share(a: np.ndarray, b: np.ndarray) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10**6)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def _overlaps_itself(array: np.ndarray) -> bool:
    """Exact: whether two different entries of the array have a byte in common."""
    if array.size < 2:
        return False
    dims = [(abs(s), n) for n, s in zip(array.shape, array.strides, strict=True) if n > 1]
    reach = array.itemsize
    for stride, length in sorted(dims):
        if stride < reach:
            break
        reach += (length - 1) * stride
    else:
        return False  # each axis steps over all that the smaller ones span
    starts = np.zeros((), dtype=np.intp)
    for stride, length in dims:
        starts = np.add.outer(starts, np.arange(length) * stride)
    return bool(np.diff(np.sort(starts, axis=None)).min() < array.itemsize)


class Guard:
    """Context in which the leaves belong to one run and come back bit-identical.

    Small parameters are copied. For large ones `spare`, the arrays that the results will be
    written to, hold the copy until `check_first` has seen what the first evaluations did; from
    there on a checksum tells. Without `spare` the guard copies whatever the size, until `thin`.
    """

    def __init__(
        self,
        leaves: Sequence[Leaf],
        spare: Sequence[np.ndarray] | None = None,
        culprit: str = "f",
    ) -> None:
        self._leaves = leaves
        self.culprit = culprit
        self.key = _memory.next_key()
        size = sum(leaf.array.nbytes for leaf in leaves)
        self.awaits_first = spare is not None and size > COPIED_BYTES
        self._copied = not self.awaits_first
        self._spare = spare or ()

    def __enter__(self) -> Guard:
        try:
            _memory.lock(self.key, [leaf.array for leaf in self._leaves])
            self._found = [_backend.Memory(leaf.array) for leaf in self._leaves]
            for leaf, found in zip(self._leaves, self._found, strict=True):
                leaf.found = found
            self._remember()
        except BaseException:
            _memory.unlock(self.key)
            raise
        return self

    def _remember(self) -> None:
        if self._copied:
            self._saved = [found.view.copy() for found in self._found]
            return
        self._sums = [_memory.checksum(found.view) for found in self._found]
        pairs = zip(self._leaves, self._found, map(_backend.Memory, self._spare), strict=True)
        self._copies = [each for each in pairs if each[1].view.dtype == each[2].view.dtype]
        for _, found, copy in self._copies:
            copy.view[...] = found.view
        # The first derivative is written over the first entry's copy, so that is kept apart.
        first = next(i for i, found in enumerate(self._found) if found.view.size)
        view = self._found[first].view
        corner: Any = (*[slice(0, 1)] * view.ndim, ...)
        self._head = self._spare[first].view(np.ndarray)[corner]
        # A result of another type holds no copy, and so has nothing to keep apart.
        kept = view if self._head.dtype == view.dtype else self._spare[first]
        self._first = kept[corner].copy()

    def check_base(self) -> None:
        """Look for writes by `f` at the unperturbed parameters, where a copy is at hand."""
        if self.awaits_first:
            self._refuse_writes()
        elif self._copied and (written := self._undo()):
            raise written

    def thin(self) -> None:
        """Give up the copy of large parameters for a checksum, now that `f` was called once."""
        if not self._copied or sum(saved.nbytes for saved in self._saved) <= COPIED_BYTES:
            return
        self.check_base()
        self._sums = [_memory.checksum(found.view) for found in self._found]
        self._copied, self._saved = False, []

    def check_first(self) -> None:
        """Look for writes by `f` after the first entry, whose derivative is now in `spare`."""
        derivative = self._head.copy()
        self._head[...] = self._first
        self._refuse_writes()
        self._head[...] = derivative
        self.awaits_first = False

    def _refuse_writes(self) -> None:
        for leaf, found, copy in self._copies:
            if not (found.stands() and copy.stands()):
                raise _errors.moved_error(leaf.path)
            difference = _memory.first_difference(found.view, copy.view)
            if difference is not None:
                self._put_back()
                raise _errors.written_error(entry_path(leaf.path, difference), undone=True)

    def _put_back(self) -> None:
        self._head[...] = self._first
        for _, found, copy in self._copies:
            if found.stands() and copy.stands():
                found.view[...] = copy.view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self.awaits_first:
                self._put_back()
            written = self._undo() if self._copied else self._compare()
        finally:
            _memory.unlock(self.key)
        if written is not None and error is None:
            raise written

    def _undo(self) -> MutationError | None:
        triples = zip(self._leaves, self._found, self._saved, strict=True)
        undone = [
            _memory.undo(leaf.path, found, saved, self.culprit) for leaf, found, saved in triples
        ]
        return next(filter(None, undone), None)

    def _compare(self) -> MutationError | None:
        for leaf, found, before in zip(self._leaves, self._found, self._sums, strict=True):
            if not found.stands():
                return _errors.moved_error(leaf.path)
            if _memory.checksum(found.view) != before:
                return _errors.written_error(leaf.path, undone=False)
        return None
