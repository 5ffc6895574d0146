"""Packs `f` and its parameters into bytes for another process, memory and all.

An `f` may read its parameters through what it closes over: the same arrays, or other views of
their memory. Pickled as they are, views become arrays of their own, and strided arrays lose their
strides. So the pickle holds numbers in the arrays' place, and the memory that they cover travels
beside it, once: what shared memory here shares it there, in the same layout.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError
from fastgrad._memory import bounds

__all__ = ["dump", "pack", "unpack"]

_PROTOCOL = 5
# Memory is sent with the gaps between the entries as long as these do not outweigh them.
_MOST_GAPS, _FEW_BYTES = 4, 4096
_LINE = 64  # bytes whose boundaries vectorised loops may care about


def pack(f: Callable[[Any], Any], argument: Any) -> bytes:
    """Pickle the pair; with cloudpickle, where that is installed, what pickle cannot send."""
    stream, arrays = _dumped((f, argument), f)
    return pickle.dumps((stream, *_laid_out(arrays)), _PROTOCOL)


def unpack(payload: bytes) -> tuple[Callable[[Any], Any], Any]:
    """The pair again, in memory of its own."""
    stream, blocks, places = pickle.loads(payload)
    memory = [block.unpacked() for block in blocks]
    arrays = [place.array(memory[place.block]) for place in places]
    for place, array in zip(places, arrays, strict=True):  # last: views of frozen arrays may write
        array.flags.writeable = place.writeable
    f, argument = _Unpickler(stream, arrays).load()
    return f, argument


def dump(thing: Any) -> bytes:
    """Pickle something small; with cloudpickle, where that is installed, what pickle cannot."""
    try:
        return pickle.dumps(thing)
    except Exception:
        return importlib.import_module("cloudpickle").dumps(thing)  # type: ignore[no-any-return]


def _dumped(pair: Any, f: Any) -> tuple[bytes, list[np.ndarray]]:
    failure: Exception | None = None
    try:
        found = _dump(pair, pickle.Pickler)
        # By reference: a worker may have another `__main__`, or one with arrays of its own.
        if b"__main__" not in found[0]:
            return found
    except Exception as error:  # whatever the user's own __reduce__ may raise, too
        failure = error
    try:
        return _dump(pair, importlib.import_module("cloudpickle").Pickler)
    except ImportError:
        if failure is None:
            return found
    except Exception as error:
        failure = error
    raise InputTypeError(
        f"`f` must be picklable, together with its parameters, to be sent to workers; got {f!r}: "
        f"{failure}. Define it at the top level of a module, install cloudpickle, or use "
        "workers=None"
    ) from failure


def _dump(pair: Any, pickler: Any) -> tuple[bytes, list[np.ndarray]]:
    arrays: dict[int, tuple[int, np.ndarray]] = {}  # holds them, so that no address is used twice

    class Pickler(pickler):  # type: ignore[misc]
        def persistent_id(self, thing: Any) -> int | None:
            if type(thing) is not np.ndarray or thing.dtype.hasobject:
                return None
            return arrays.setdefault(id(thing), (len(arrays), thing))[0]

    file = io.BytesIO()
    Pickler(file, protocol=_PROTOCOL).dump(pair)
    return file.getvalue(), [array for _, array in arrays.values()]


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: bytes, arrays: Sequence[np.ndarray]) -> None:
        super().__init__(io.BytesIO(stream))
        self._arrays = arrays

    def persistent_load(self, number: int) -> np.ndarray:
        return self._arrays[number]


@dataclass(frozen=True)
class _Place:
    """Where an array lies in its block, and what it looks like."""

    block: int
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    writeable: bool
    owns: bool

    def array(self, memory: np.ndarray) -> np.ndarray:
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        if self.owns and memory.dtype == self.dtype and memory.shape == self.shape:
            return memory
        flat = memory.ravel(order="K").view(np.uint8)  # no copy: a block has no gaps
        view: np.ndarray = np.ndarray(self.shape, self.dtype, flat, self.offset, self.strides)
        return view


@dataclass(frozen=True)
class _Block:
    """A piece of memory: its bits, whole or, where there are large gaps, array by array.

    `owner` describes the array that owns it, if it does so whole.
    """

    size: int
    phase: int
    bits: tuple[tuple[_Place, bytes], ...]
    owner: _Place | None

    def unpacked(self) -> np.ndarray:
        if self.owner is not None:
            # A copy owns its memory, so that an `f` may do to it what it may do to the original.
            ((_, bits),) = self.bits
            look = (self.owner.shape, self.owner.dtype, bits, 0, self.owner.strides)
            whole: np.ndarray = np.ndarray(*look).copy(order="K")
            return whole
        spacious = np.empty(self.size + _LINE, np.uint8)  # pages that are not touched cost nothing
        start = (self.phase - spacious.__array_interface__["data"][0]) % _LINE
        memory: np.ndarray = spacious[start : start + self.size]
        for place, bits in self.bits:
            part = np.frombuffer(bits, place.dtype).reshape(place.shape)
            place.array(memory)[...] = part
        return memory


def _laid_out(arrays: Sequence[np.ndarray]) -> tuple[list[_Block], list[_Place]]:
    """Blocks of memory that do not overlap, and the arrays' places in them."""
    blocks: list[_Block] = []
    places: dict[int, _Place] = {}
    for members in _clusters(arrays):
        low = min(bounds(arrays[i])[0] for i in members)
        high = max(bounds(arrays[i])[1] for i in members)
        places |= {i: _place(arrays[i], len(blocks), low) for i in members}
        blocks.append(_block([(places[i], arrays[i]) for i in members], low, high - low))
    return blocks, [places[i] for i in range(len(arrays))]


def _clusters(arrays: Sequence[np.ndarray]) -> list[list[int]]:
    """Numbers of the arrays whose memory hangs together."""
    clusters: list[list[int]] = []
    end = 0
    for (low, high), i in sorted((bounds(array), i) for i, array in enumerate(arrays)):
        if clusters and low < end:
            clusters[-1].append(i)
        else:
            clusters.append([i])
        end = max(end, high)
    return clusters


def _block(members: Sequence[tuple[_Place, np.ndarray]], low: int, size: int) -> _Block:
    phase = low % _LINE
    if size > _MOST_GAPS * sum(array.nbytes for _, array in members) + _FEW_BYTES:
        return _Block(
            size, phase, tuple((place, array.tobytes()) for place, array in members), None
        )
    owners = (
        place
        for place, array in members
        if array.flags.owndata and array.nbytes == size and _is_dense(array)
    )
    all_of_it = _Place(0, 0, (size,), (1,), np.dtype(np.uint8), True, False)
    return _Block(size, phase, ((all_of_it, ctypes.string_at(low, size)),), next(owners, None))


def _is_dense(array: np.ndarray) -> bool:
    """Whether a copy of the array has its strides again."""
    return array.size > 0 and np.empty_like(array).strides == array.strides


def _place(array: np.ndarray, block: int, low: int) -> _Place:
    offset = array.__array_interface__["data"][0] - low
    look = (array.shape, array.strides, array.dtype)
    return _Place(block, offset, *look, array.flags.writeable, array.flags.owndata)
