"""Packs `f` and its parameters into bytes for another process, with the memory that they share.

A closure `f` may read its parameters through the same arrays, or through other views of their
memory. An ordinary pickle makes each view an array of its own, and strided arrays lose their
strides. Here the pickle holds a number in place of each array, and the memory is sent beside it,
once: arrays that share memory here share it there, in the same layout.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError
from fastgrad._evaluation.lenient import Objective
from fastgrad._memory import bounds

__all__ = ["dump", "pack", "unpack"]

_PROTOCOL = 5
# Memory is sent whole, with the gaps between the entries, unless its size is above this many times
# that of the entries, plus some bytes: a few entries of a large array must not send all of it.
_MOST_GAPS, _FEW_BYTES = 4, 4096
# Bytes of a cache line. A vectorized loop may sum in another order where the data start elsewhere
# in a line; a copy starts at the same place, so that values are the same to the last bit.
_LINE = 64


def pack(f: Objective, argument: Any) -> bytes:
    """Pickle `f` and its argument; with cloudpickle, if installed, where pickle cannot."""
    stream, arrays = _dumped((f, argument), f)
    return pickle.dumps((stream, *_laid_out(arrays)), _PROTOCOL)


def unpack(payload: bytes) -> tuple[Objective, Any]:
    """A copy of `f` and of its argument, in memory of their own."""
    stream, blocks, places = pickle.loads(payload)
    memory = [block.unpacked() for block in blocks]
    arrays = [place.array(memory[place.block]) for place in places]
    # Last: an array that may be written to may be a view of one that may not.
    for place, array in zip(places, arrays, strict=True):
        array.flags.writeable = place.writeable
    f, argument = _Unpickler(stream, arrays).load()
    return f, argument


def dump(thing: Any) -> bytes:
    """Pickle something small; with cloudpickle, if installed, where pickle cannot."""
    try:
        return pickle.dumps(thing)
    except Exception:
        return importlib.import_module("cloudpickle").dumps(thing)  # type: ignore[no-any-return]


def _dumped(pair: Any, f: Any) -> tuple[bytes, list[np.ndarray]]:
    """The pickle of `f` and its argument, and the arrays it refers to by number."""
    failure: Exception | None = None
    try:
        found = _dump(pair, pickle.Pickler)
        # Pickle names what is in `__main__` and does not send it; a worker's own `__main__` may be
        # another one, or hold arrays of its own. cloudpickle sends it.
        if b"__main__" not in found[0]:
            return found
    except Exception as error:  # a user's `__reduce__` may raise anything
        failure = error
    try:
        return _dump(pair, importlib.import_module("cloudpickle").Pickler)
    except ImportError:
        if failure is None:  # names of `__main__`: good enough without cloudpickle
            return found
    except Exception as error:
        failure = error
    raise InputTypeError(
        f"`f` must be picklable, together with its parameters, to be sent to workers; got {f!r}: "
        f"{failure}. Define it at the top level of a module, install cloudpickle, or use "
        "workers=None"
    ) from failure


def _dump(pair: Any, pickler: Any) -> tuple[bytes, list[np.ndarray]]:
    # By address; the arrays are kept alive, so that no address is used again.
    arrays: dict[int, tuple[int, np.ndarray]] = {}

    class Pickler(pickler):  # type: ignore[misc]
        def persistent_id(self, thing: Any) -> int | None:
            # A subclass may hold more than its memory, and the memory of objects is addresses.
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
    """Where an array lies in its block, and its layout."""

    block: int  # number of the block
    offset: int  # of the first entry, in bytes
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype
    writeable: bool
    owns: bool  # whether the array owns its memory, and is no view

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
    """A piece of memory: its bits, as a whole or, where there are large gaps, array by array.

    `owner` is the place of the array that owns all of the memory, if one does. `phase` is where in
    a cache line the memory begins.
    """

    size: int
    phase: int
    bits: tuple[tuple[_Place, bytes], ...]
    owner: _Place | None

    def unpacked(self) -> np.ndarray:
        if self.owner is not None:
            # The array owns its memory again: `f` can resize it, as it can the original.
            ((_, bits),) = self.bits
            look = (self.owner.shape, self.owner.dtype, bits, 0, self.owner.strides)
            whole: np.ndarray = np.ndarray(*look).copy(order="K")
            return whole
        # One line more than needed, to begin anywhere in a line.
        spacious = np.empty(self.size + _LINE, np.uint8)
        start = (self.phase - spacious.__array_interface__["data"][0]) % _LINE
        memory: np.ndarray = spacious[start : start + self.size]
        for place, bits in self.bits:
            part = np.frombuffer(bits, place.dtype).reshape(place.shape)
            place.array(memory)[...] = part
        return memory


def _laid_out(arrays: Sequence[np.ndarray]) -> tuple[list[_Block], list[_Place]]:
    """Blocks of memory that do not overlap, and the place of each array in them."""
    blocks: list[_Block] = []
    places: dict[int, _Place] = {}
    for members in _clusters(arrays):
        low = min(bounds(arrays[i])[0] for i in members)
        high = max(bounds(arrays[i])[1] for i in members)
        places |= {i: _place(arrays[i], len(blocks), low) for i in members}
        blocks.append(_block([(places[i], arrays[i]) for i in members], low, high - low))
    return blocks, [places[i] for i in range(len(arrays))]


def _clusters(arrays: Sequence[np.ndarray]) -> list[list[int]]:
    """Groups of arrays, by number, whose memory overlaps."""
    clusters: list[list[int]] = []
    end = 0
    # In the order of addresses an array overlaps those before it if it starts before their end.
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
    """Whether a copy of the array has the same strides."""
    return array.size > 0 and np.empty_like(array).strides == array.strides


def _place(array: np.ndarray, block: int, low: int) -> _Place:
    offset = array.__array_interface__["data"][0] - low
    look = (array.shape, array.strides, array.dtype)
    return _Place(block, offset, *look, array.flags.writeable, array.flags.owndata)
