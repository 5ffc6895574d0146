"""The memory of the parameters while a run moves them.

Before: every leaf is writable, and no two entries share memory. During: no other thread works on
the same memory, and whatever is moved stands in the undo log. After: every bit is where it was, or
the user is told.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType, TracebackType
from typing import Any

import numpy as np

from fastgrad import _backend, _errors, _memory
from fastgrad._errors import InputValueError, MutationError
from fastgrad._evaluation.direction import Direction, Mover
from fastgrad._leaf import Leaf, as_real

__all__ = ["COPIED_BYTES", "Guard", "UndoLog", "check_disjoint", "check_layout", "is_small"]

# Parameters up to this size are copied for the whole run: 256 KiB, the second-level cache of small
# processors, cost some microseconds. Beyond it a copy would be the larger part of a run's memory.
COPIED_BYTES = 2**18

# Saved bits beyond this lie in memory that is used again: from 128 KiB on malloc takes pages anew.
_SPARE_BYTES = 2**17

_NO_BYTES = np.empty(0, np.uint8)
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
    bounds = _backend.kernel.bounds
    spans = sorted([(*bounds(leaf.array), k) for k, leaf in enumerate(leaves) if leaf.array.size])
    open_spans: list[tuple[int, Leaf]] = []
    for low, high, k in spans:
        leaf = leaves[k]
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


def _same(view: np.ndarray, copy: np.ndarray) -> bool:
    """Whether both hold the same bits."""
    kind = _backend.kernel.Fingerprint
    plainly: bool = kind(view).same_bits(kind(copy))
    return plainly or _memory.first_difference(view, copy) is None


class UndoLog:
    """What has to be put back: places in memory, and the bits that they had.

    A place is registered before the first write to it, and taken out after its bits are back. An
    interrupt in between leaves it registered, and whoever ends the run puts it back.
    """

    def __init__(self) -> None:
        # What was found, a target in its memory, the key of a place in the target, saved bits.
        self.entries: list[tuple[_memory.Fingerprint, Any, Any, np.ndarray]] = []
        self._spare = _NO_BYTES

    def register(self, found: _memory.Fingerprint, target: Any, key: Any = ...) -> np.ndarray:
        """Copy ``target[key]``, which lies in the memory that was found, to be put back.

        `target` is an array or the flat view of one.
        """
        if key is ... and not self.entries and target.nbytes > _SPARE_BYTES:
            saved = self._copied(target)
        else:
            saved = target[key]
            if not isinstance(key, np.ndarray):  # with one NumPy has made a copy
                saved = saved.copy()
        self.entries.append((found, target, key, saved))
        return saved

    def take(self, found: _memory.Fingerprint, target: np.ndarray, saved: np.ndarray) -> np.ndarray:
        """Register a target of which there is a copy, to be put back from that."""
        self.entries.append((found, target, ..., saved))
        return saved

    def _copied(self, view: np.ndarray) -> np.ndarray:
        """A copy in memory that serves for one region after the other: new pages cost more."""
        if self._spare.size < view.nbytes:
            self._spare = np.empty(view.nbytes, np.uint8)
        saved = self._spare[: view.nbytes].view(view.dtype).reshape(view.shape)
        saved[...] = view
        return saved

    def undo(self, mark: int = 0) -> None:
        """Put back what was registered since there were `mark` entries, the last first."""
        entries = self.entries
        while len(entries) > mark:
            found, target, key, saved = entries[-1]
            if found.alive():  # else `f` gave the memory away, which is found and said elsewhere
                target[key] = saved
            del entries[-1]  # not before: see the class

    def finish(self) -> None:
        """Put everything back; an interrupt that comes meanwhile waits until that is done."""
        interrupt = None
        while self.entries:
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
    ones lies in `spare` where arrays of the same types are given, which hold nothing yet. Memory
    that is `private` to the caller needs no lock, and the caller looks for writes.
    """

    def __init__(
        self,
        leaves: Sequence[Leaf],
        spare: Sequence[np.ndarray] = (),
        *,
        private: bool = False,
    ) -> None:
        self.leaves = leaves
        # Whether the parameters are too large to be copied for the whole run.
        self.large = sum([leaf.array.nbytes for leaf in leaves]) > COPIED_BYTES
        self.log = UndoLog()
        self.found: list[_memory.Fingerprint] = []
        self._reals: list[np.ndarray] | None = None
        self._kernels: list[ModuleType] | None = None
        self._key = _memory.next_key()
        self._spare = spare if self.large else ()
        self._private = private
        self._copies: list[_memory.Fingerprint] | None = None
        self._sums: list[int] | None = None
        # Whether what was moved last is all memory, as it was when it was copied.
        self.whole = False
        # Whether that may stay where it was moved, and whether it has: see `staying`.
        self.stays = self.stayed = False

    def __enter__(self) -> Guard:
        arrays = [leaf.array for leaf in self.leaves]
        try:
            if not self._private:
                _memory.lock(self._key, arrays)
            self._reals = self._kernels = self._sums = self._copies = None
            if self._private or self._spare:
                self.found = list(map(_backend.kernel.Fingerprint, arrays))
                self._copies = None if self._private else self._copied()
            else:
                self.found, self._copies = _backend.kernel.copied(arrays)
        except BaseException:
            self.close()
            raise
        return self

    @property
    def _as_reals(self) -> list[np.ndarray]:
        """The memory that was found as real numbers: `f` may change shape and flags of arrays."""
        if self._reals is None:
            both = zip(self.leaves, self.found, strict=True)
            self._reals = [
                as_real(found.view) if leaf.is_complex else found.view for leaf, found in both
            ]
        return self._reals

    @property
    def kernels(self) -> list[ModuleType]:
        """Which kernel can work on each of them."""
        if self._kernels is None:
            self._kernels = list(map(_backend.kernel_for, self._as_reals))
        return self._kernels

    def _copied(self) -> list[_memory.Fingerprint]:
        """Copies, of the memory that was found, as far as possible in what there is to spare."""
        copies = []
        for k, found in enumerate(self.found):
            view = found.view
            fits = k < len(self._spare) and self._spare[k].dtype == view.dtype
            copy = _backend.kernel.Fingerprint(self._spare[k] if fits else view.copy())
            if fits:
                copy.view[...] = view
            copies.append(copy)
        return copies

    @contextmanager
    def staying(self) -> Iterator[None]:
        """As long as the context lasts, all memory may stay where a direction has moved it.

        The next direction begins at the copy. Other parts read the parameters by `view` alone,
        which puts them back; what calls `f` calls `settle` before.
        """
        before, self.stays = self.stays, True
        try:
            yield
        finally:
            self.stays = before
            self.settle()

    def settle(self) -> None:
        """Put back what has stayed where it was moved."""
        if self.stayed:
            self.log.undo()
            self.stayed = False

    def view(self, leaf: int) -> np.ndarray:
        """A leaf's memory as real numbers, if it is what was found."""
        if self.stayed:
            self.settle()
        if self.found[leaf].changed():
            raise _errors.moved_error(self.leaves[leaf].path)
        return self._as_reals[leaf]

    def check(self, who: str = "f") -> None:
        """Refuse what was done if `who` wrote into the parameters, none of which is moved."""
        self.settle()
        written = self._written(who)
        if written is not None:
            raise written

    def thin(self) -> None:
        """Check, and give up the copy of large parameters for checksums."""
        if self._copies is None or not self.large:
            return
        self.check()
        self._sums = [_backend.kernel.checksum(found.view) for found in self.found]
        self._copies = None

    def moving(
        self, direction: Direction, *, untouched: bool = False
    ) -> list[tuple[_memory.Fingerprint, np.ndarray, Mover]]:
        """The regions of a direction, registered to be put back.

        What was found of the leaf, a view of the region, and how it moves. `untouched` says that
        all memory is known to hold what it held when it was copied.
        """
        moving = []
        if self.stayed and not self._is_whole(direction):
            self.settle()
        stayed, self.stayed = self.stayed, False
        kept = self._copies if self.large and (stayed or not self.log.entries) else None
        taken = 0
        for which, region in enumerate(direction.regions):
            found = self.found[region.leaf]
            if found.changed():
                raise _errors.moved_error(self.leaves[region.leaf].path)
            index: Any = (*region.box, ...)  # the dots make a view of a 0-d array too
            view: np.ndarray = self._as_reals[region.leaf][index]
            # A longdouble has padding, which copies of numbers may leave out, and of bytes do not.
            bits = view.view(f"V{view.itemsize}") if view.itemsize > 8 else view
            copy = None if kept is None else as_real(kept[region.leaf].view)[index].view(bits.dtype)
            if copy is not None and not (stayed or untouched or _same(bits, copy)):
                self.check()
                copy = None
            if copy is not None:
                saved = copy if stayed else self.log.take(found, bits, copy)
                taken += view.size
            else:
                saved = self.log.register(found, bits)
            mover = direction.mover(which, saved.view(view.dtype), self.kernels[region.leaf])
            moving.append((found, view, mover))
        self.whole = taken > 0 and taken == sum([leaf.real.size for leaf in self.leaves])
        return moving

    def _is_whole(self, direction: Direction) -> bool:
        """Whether a direction moves all entries."""
        moved = [region.of(self._as_reals[region.leaf]).size for region in direction.regions]
        return sum(moved) == sum([leaf.real.size for leaf in self.leaves])

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[None]:
        """The parameters moved along a direction, as long as the context lasts."""
        self.settle()
        mark = len(self.log.entries)
        try:
            for _, view, move in self.moving(direction):
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
        written = None
        try:
            if self.log.entries:
                self.log.finish()
            written = self._written()
            if error is None and written is None:
                written = self._moved()
        finally:
            self.close()
        if written is None:
            return
        if error is None:
            raise written
        lost = self._copies is None or not all(found.alive() for found in self.found)
        if lost and not isinstance(error, MutationError):  # which says it already
            _errors.note(error, str(written))

    def close(self) -> None:
        """Put back what is still moved, and unlock the memory; twice does no harm."""
        try:
            if self.log.entries:
                self.log.finish()
        finally:
            _memory.locks.pop(self._key, None)

    def _written(self, who: str = "f") -> MutationError | None:
        """What to say of bits that are not what they were; from a copy they are put back."""
        if self._sums is not None:
            return self._summed(who)
        if self._copies is None or _backend.kernel.all_same(self.found, self._copies):
            return None
        first = None
        for leaf, found, copy in zip(self.leaves, self.found, self._copies, strict=True):
            if not copy.alive():
                error: MutationError | None = _errors.moved_error(leaf.path, who)
            elif found.same_bits(copy):
                continue
            else:
                error = _memory.undo(leaf.path, found, copy.view, who)
            first = first or error
        return first

    def _moved(self) -> MutationError | None:
        """What to say of arrays that `f` changed while others were moved."""
        if not _backend.kernel.any_changed(self.found):
            return None
        for leaf, found in zip(self.leaves, self.found, strict=True):
            if found.changed():
                return _errors.moved_error(leaf.path)
        return None

    def _summed(self, who: str) -> MutationError | None:
        for leaf, found, before in zip(self.leaves, self.found, self._sums or (), strict=True):
            if not found.alive():
                return _errors.moved_error(leaf.path, who)
            if _backend.kernel.checksum(found.view) != before:
                return _errors.written_error(leaf.path, who, undone=False)
        return None
