"""Which runs are at work on which memory, and whether every bit is back in its place."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import count
from threading import get_ident

import numpy as np

from fastgrad import _errors
from fastgrad._errors import ConcurrencyError, MutationError
from fastgrad._leaf import entry_path

__all__ = [
    "Fingerprint",
    "all_same",
    "any_changed",
    "bounds",
    "checksum",
    "copied",
    "lock",
    "locks",
    "first_difference",
    "is_native",
    "is_plain",
    "next_key",
    "overwritten",
    "owner",
    "refuse_if_locked",
    "unlock",
    "undo",
]

# Runs in progress, oldest first: thread and arrays of each. Operations on a dict are atomic.
locks: dict[int, tuple[int, Sequence[np.ndarray]]] = {}
next_key = count().__next__
# Bytes up to which memory is compared by copying it, which is faster than a loop over chunks, and
# entries in each chunk of larger memory.
_CHUNK = 8192

if hasattr(os, "register_at_fork"):
    # In a forked child the other threads, and so their runs, do not exist.
    os.register_at_fork(after_in_child=locks.clear)


class Fingerprint:
    """An array's memory as it was found, whatever `f` does to the array object.

    `view` has its own shape, strides, type and flags. It may be read and written only as long as
    `alive` is true: after that its memory may be freed.
    """

    __slots__ = ("_at", "array", "owner", "view")

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.view = array.view(np.ndarray)
        self.owner = owner(array)
        self._at = _place(self.owner)

    def alive(self) -> bool:
        """Whether the memory is still there; a view's owner may have been resized."""
        return _place(self.owner) == self._at

    def same_bits(self, other: Fingerprint) -> bool:
        """Whether two arrays of one kind, both alive, hold the same bits in small, plain memory.

        False may also mean that it takes a closer look to tell.
        """
        a, b = self.view, other.view
        return a.nbytes <= _CHUNK and self.alive() and a.tobytes() == b.tobytes()

    def changed(self) -> bool:
        """Whether the array is no longer what was found."""
        now, then = self.array, self.view
        return (
            (now.shape, now.strides, now.dtype) != (then.shape, then.strides, then.dtype)
            or now.flags.writeable != then.flags.writeable
            or not self.alive()
        )


def copied(arrays: Sequence[np.ndarray]) -> tuple[list[Fingerprint], list[Fingerprint]]:
    """What was found of arrays, and of copies of them."""
    found = list(map(Fingerprint, arrays))
    return found, [Fingerprint(each.view.copy()) for each in found]


def any_changed(found: Sequence[Fingerprint]) -> bool:
    """Whether one of the arrays is no longer what was found."""
    return any(each.changed() for each in found)


def all_same(found: Sequence[Fingerprint], copies: Sequence[Fingerprint]) -> bool:
    """Whether copies of arrays hold the same bits as these: see `Fingerprint.same_bits`."""
    both = zip(found, copies, strict=True)
    return all(copy.alive() and each.same_bits(copy) for each, copy in both)


def _place(array: np.ndarray) -> tuple[int, int]:
    """Address and length of an array's memory."""
    return array.__array_interface__["data"][0], array.nbytes


def owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory this one is a view of."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def lock(key: int, arrays: Sequence[np.ndarray]) -> None:
    """Register a run on this memory, and refuse it if another thread is at work there.

    The caller takes `key` from `next_key` and calls `unlock` whatever happens, also if an
    interrupt arrives in here.
    """
    # Entered before it looks for others: of two threads at least one then sees the other.
    locks[key] = (get_ident(), arrays)
    if len(locks) > 1:
        refuse_if_locked(key, arrays)


def refuse_if_locked(key: int, arrays: Sequence[np.ndarray]) -> None:
    """Withdraw a lock, with an error, if an older one of another thread overlaps it."""
    mine = [bounds(array) for array in arrays]
    me = get_ident()
    for other, (thread, taken) in locks.copy().items():
        if other == key:
            break  # later ones find this one, and give way
        if thread == me:
            continue  # `f` may differentiate in turn, with the same memory: runs nest
        spans = [bounds(array) for array in taken]
        if any(a < d and c < b for a, b in mine for c, d in spans):
            unlock(key)
            raise ConcurrencyError(
                "these parameters are being perturbed by another thread right now; "
                "give each thread its own copy, or let one wait for the other"
            )


def unlock(key: int) -> None:
    """End the run that `lock` registered."""
    locks.pop(key, None)


def bounds(array: np.ndarray) -> tuple[int, int]:
    """First byte of the array's memory, and the one after its last."""
    low = high = array.__array_interface__["data"][0]
    if array.size == 0:
        return low, low
    for length, stride in zip(array.shape, array.strides, strict=True):
        reach = (length - 1) * stride
        low, high = low + min(reach, 0), high + max(reach, 0)
    return low, high + array.itemsize


def is_native(array: np.ndarray) -> bool:
    """Whether the compiled kernel could work on this memory."""
    dtype = array.dtype
    return dtype.char in "fd" and dtype.isnative and array.flags.aligned


def is_plain(array: np.ndarray) -> bool:
    """Whether it is native, writable and C-contiguous: no two entries overlap."""
    flags = array.flags
    return is_native(array) and flags.c_contiguous and flags.writeable


def undo(
    path: str, memory: Fingerprint, saved: np.ndarray, function: str = "f"
) -> MutationError | None:
    """Put a copy's bits back where they are not in place, and return what to say of it."""
    if not memory.alive():
        return _errors.moved_error(path, function)
    view = memory.view
    if saved.nbytes <= _CHUNK:
        if view.tobytes() == saved.tobytes():
            return None
    elif first_difference(view, saved) is None:  # without another copy
        return None
    now = view.tobytes()  # for the error, which names the first entry
    view[...] = saved
    return overwritten(path, now, saved.tobytes(), view, function)


def overwritten(
    path: str, now: bytes, before: bytes, like: np.ndarray, function: str = "f"
) -> MutationError:
    """Name the first entry, in an array like this one, whose bits are not what they were."""
    a, b = (np.frombuffer(bits, dtype=like.dtype).reshape(like.shape) for bits in (now, before))
    where = entry_path(path, first_difference(a, b) or ())
    return _errors.written_error(where, function, undone=True)


def checksum(array: np.ndarray) -> int:
    """Checksum of the array's bits, in constant memory; the compiled kernel has another one."""
    if array.flags.c_contiguous and array.size:
        return zlib.crc32(array.reshape(-1).view(np.uint8).data)
    total = 0
    for (piece,) in _chunks(array):
        total = zlib.crc32(piece.tobytes(), total)
    return total


def first_difference(a: np.ndarray, b: np.ndarray) -> tuple[int, ...] | None:
    """Index of the first entry, in C order, whose bits differ."""
    done = 0
    for x, y in _chunks(a, b):
        if not _same(x, y):
            left, right = (
                np.frombuffer(z.tobytes(), dtype=np.uint8).reshape(len(z), -1) for z in (x, y)
            )
            entry = done + int(np.argmax((left != right).any(axis=1)))
            return tuple(int(i) for i in np.unravel_index(entry, a.shape))
        done += len(x)
    return None


def _same(x: np.ndarray, y: np.ndarray) -> bool:
    """Whether two chunks hold the same bits."""
    if x.itemsize > 8:
        return x.tobytes() == y.tobytes()
    kind = f"u{x.itemsize}"  # not as numbers: NaN differs from itself, and -0.0 does not from 0.0
    return np.array_equal(x.view(kind), y.view(kind))


def _chunks(*arrays: np.ndarray) -> Iterator[tuple[np.ndarray, ...]]:
    """Corresponding pieces of the arrays in C order, a bounded number of entries at a time."""
    if arrays[0].size:
        flags = ["external_loop", "buffered"]
        for pieces in np.nditer(arrays, flags=flags, order="C", buffersize=_CHUNK):  # type: ignore[call-overload]
            yield pieces if len(arrays) > 1 else (pieces,)
