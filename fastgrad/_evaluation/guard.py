"""The memory of the parameters while a run moves them.

Before: every leaf is writable, and no two entries share memory. During: no other thread works on
the same memory, and whatever is moved stands in the undo log. After: every bit is where it was, or
the user is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np

from fastgrad import _backend, _errors, _memory
from fastgrad._dtypes import is_extended
from fastgrad._errors import InputValueError, MutationError
from fastgrad._evaluation.direction import Direction, Mover
from fastgrad._leaf import Leaf, as_real

__all__ = ["COPIED_BYTES", "Guard", "UndoLog", "check_disjoint", "check_layout", "is_small"]

# Parameters up to this size are copied for the whole run: 256 KiB, the second-level cache of small
# processors, cost some microseconds. Beyond it a copy would be the larger part of a run's memory.
COPIED_BYTES = 2**18

_C_OR_F_CONTIGUOUS = 0x1 | 0x2
_WRITEABLE = 0x400


def is_small(array: np.ndarray) -> bool:
    """Whether nothing else about the array needs a look: plain, and small enough to copy."""
    return _backend.kernel.is_plain(array) and 0 < array.nbytes <= COPIED_BYTES


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


class UndoLog:
    """What has to be put back: places in memory, and the bits that they had.

    A place is registered before the first write to it, and taken out after its bits are back. An
    interrupt in between leaves it registered, and whoever ends the run puts it back.
    """

    def __init__(self) -> None:
        self._entries: list[tuple[_memory.Fingerprint, Any, Any, np.ndarray]] = []
        self._spare = np.empty(0, np.uint8)

    def __len__(self) -> int:
        return len(self._entries)

    def register(self, found: _memory.Fingerprint, target: Any, key: Any = ...) -> np.ndarray:
        """Copy ``target[key]``, which lies in the memory that was found, to be put back.

        `target` is an array or the flat view of one.
        """
        saved = self._copied(target) if key is ... and not self._entries else target[key].copy()
        self._entries.append((found, target, key, saved))
        return saved

    def _copied(self, view: np.ndarray) -> np.ndarray:
        """A copy in memory that serves for one region after the other: pages cost when new."""
        if self._spare.size < view.nbytes:
            self._spare = np.empty(view.nbytes, np.uint8)
        saved = self._spare[: view.nbytes].view(view.dtype).reshape(view.shape)
        saved[...] = view
        return saved

    def undo(self, mark: int = 0) -> None:
        """Put back what was registered since the log was `mark` long, the last first."""
        entries = self._entries
        while len(entries) > mark:
            found, target, key, saved = entries[-1]
            if found.alive():  # else `f` gave the memory away, which is found and said elsewhere
                target[key] = saved
            del entries[-1]  # not before: see the class

    def finish(self) -> None:
        """Put everything back; an interrupt that comes meanwhile waits until that is done."""
        interrupt = None
        while self._entries:
            try:
                self.undo()
            except KeyboardInterrupt as error:
                interrupt = error
        if interrupt is not None:
            raise interrupt


class Guard:
    """Context in which the leaves belong to one run: lock, snapshot and undo log.

    The snapshot is a copy of every leaf, from which writes by `f` are undone, or, once large
    parameters are `thin`, a checksum of every leaf, by which they are found. The copy of large
    ones lies in `spare` where arrays of the same types are given, which hold nothing yet. Without
    `snapshot` the caller looks for writes.
    """

    def __init__(
        self,
        leaves: Sequence[Leaf],
        culprit: str = "f",
        spare: Sequence[np.ndarray] = (),
        *,
        snapshot: bool = True,
    ) -> None:
        self.leaves = leaves
        self.culprit = culprit  # who is told to have written
        # Whether the parameters are too large to be copied for the whole run.
        self.large = sum(leaf.array.nbytes for leaf in leaves) > COPIED_BYTES
        self.log = UndoLog()
        self.found: list[_memory.Fingerprint] = []
        self._reals: list[np.ndarray] = []
        self._key = _memory.next_key()
        self._copies: list[_memory.Fingerprint] | None = None
        self._sums: list[int] | None = None
        self._spare = spare
        self._snapshot = snapshot

    def __enter__(self) -> Guard:
        try:
            _memory.lock(self._key, [leaf.array for leaf in self.leaves])
            self.found = [_backend.kernel.Fingerprint(leaf.array) for leaf in self.leaves]
            # Of the memory as it was found: `f` may change shape and flags of the array itself.
            self._reals = [as_real(found.view) for found in self.found]
            self._sums = None
            self._copies = self._copied() if self._snapshot else None
        except BaseException:
            self.close()
            raise
        return self

    def _copied(self) -> list[_memory.Fingerprint]:
        copies = []
        for k, found in enumerate(self.found):
            view = found.view
            if self.large and k < len(self._spare) and self._spare[k].dtype == view.dtype:
                copy = _backend.kernel.Fingerprint(self._spare[k])
                copy.view[...] = view
            else:
                copy = _backend.kernel.Fingerprint(view.copy())
            copies.append(copy)
        return copies

    def view(self, leaf: int) -> np.ndarray:
        """A leaf's memory as real numbers, if it is what was found."""
        if self.found[leaf].changed():
            raise _errors.moved_error(self.leaves[leaf].path, self.culprit)
        return self._reals[leaf]

    def part(self, leaf: int, where: Any) -> np.ndarray:
        """Entries of a leaf, by number, in a box, or all of them: (n,), perhaps a view."""
        real = self._reals[leaf]
        return real.flat[where] if isinstance(where, np.ndarray) else real[where].reshape(-1)

    def check(self) -> None:
        """Refuse what was done so far if `f` wrote into the parameters, none of which is moved."""
        written, _ = self._difference()
        if written is not None:
            raise written

    def thin(self) -> None:
        """Check, and give up the copy of large parameters for checksums."""
        if self._copies is None or not self.large:
            return
        self.check()
        self._sums = [_memory.checksum(found.view) for found in self.found]
        self._copies = None

    def moving(self, direction: Direction) -> list[tuple[np.ndarray, Mover]]:
        """Views of the regions of a direction, registered to be put back, and how they move."""
        movers = []
        for which, region in enumerate(direction.regions):
            view = region.of(self.view(region.leaf))
            bits = view.view(f"V{view.itemsize}") if is_extended(view) else view  # padding, too
            saved = self.log.register(self.found[region.leaf], bits)
            movers.append((view, direction.mover(which, saved.view(view.dtype))))
        return movers

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[None]:
        """The parameters moved along a direction, as long as the context lasts."""
        mark = len(self.log)
        try:
            for view, move in self.moving(direction):
                move(view, time, None)
            yield
        finally:
            self.log.undo(mark)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        written, lost = None, False
        try:
            self.log.finish()
            written, lost = self._difference()
        finally:
            self.close()
        if written is not None and error is None:
            raise written
        if lost and error is not None:
            _errors.note(error, str(written))

    def close(self) -> None:
        """Put back what is still moved, and unlock the memory; twice does no harm."""
        try:
            if len(self.log):
                self.log.finish()
        finally:
            _memory.locks.pop(self._key, None)

    def _difference(self) -> tuple[MutationError | None, bool]:
        """What to say of bits that are not what they were, and whether they are lost.

        They are not where there is a copy, from which they are put back.
        """
        if self._copies is not None:
            undone = [
                self._undone(leaf, found, copy)
                for leaf, found, copy in zip(self.leaves, self.found, self._copies, strict=True)
            ]
            gone = not all(found.alive() for found in self.found)
            return next(filter(None, undone), None), gone
        if self._sums is not None:
            for leaf, found, before in zip(self.leaves, self.found, self._sums, strict=True):
                if not found.alive():
                    return _errors.moved_error(leaf.path, self.culprit), True
                if _memory.checksum(found.view) != before:
                    return _errors.written_error(leaf.path, self.culprit, undone=False), True
        return None, False

    def _undone(
        self, leaf: Leaf, found: _memory.Fingerprint, copy: _memory.Fingerprint
    ) -> MutationError | None:
        if not copy.alive():
            return _errors.moved_error(leaf.path, self.culprit)
        return _memory.undo(leaf.path, found, copy.view, self.culprit)
