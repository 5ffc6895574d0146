"""Arrays awkward on purpose, hypothesis strategies for them, and comparisons to the last bit."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import textwrap
import threading
from itertools import product

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import _backend

# Seconds after which what a test waits for has failed: ten times what it takes beside four others.
PATIENCE = 600
NATIVE = ("f8", "f4")
REAL = (*NATIVE, "f2", "g")
ALL = (*REAL, "c8", "c16")
STENCILS = (
    *(fg.forward(order) for order in (1, 2, 3, 4)),
    *(fg.backward(order) for order in (1, 2, 3, 4)),
    *(fg.central(order) for order in (2, 4, 6, 8)),
)
# For long tests of what both backends compute to the last bit, which others assert.
one_backend = pytest.mark.parametrize("backend", [_backend.backend], indirect=True)
STENCIL_IDS = [repr(stencil) for stencil in STENCILS]


def thirds(*axes):
    """A third of the product of three axes, in which any two values of two axes meet."""
    assert len(axes) == 3
    assert min(map(len, axes)) >= 3
    numbers = product(*(range(len(axis)) for axis in axes))
    places = [place for place in numbers if sum(place) % 3 == 0]
    return [tuple(axis[i] for axis, i in zip(axes, place, strict=True)) for place in places]


# Zeros of both signs, denormals, infinities, NaNs that carry a payload, signalling NaNs.
_BITS = {
    "f2": [0x0000, 0x8000, 0x0001, 0x03FF, 0x7BFF, 0x7C00, 0xFC00, 0x7E2A, 0x7C01, 0xFD55],
    "f4": [0, 0x80000000, 1, 0x007FFFFF, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC0ABCD,
           0x7F800001, 0xFFA12345],
    "f8": [0, 1 << 63, 1, (1 << 52) - 1, 0x7FEF << 48 | 0xFFFFFFFFFFFF, 0x7FF0 << 48,
           0xFFF0 << 48, 0x7FF8 << 48 | 0xABCDEF, 0x7FF0 << 48 | 1, 0xFFF4 << 48 | 0x1234],
}  # fmt: skip


def quick(examples: int):
    """Settings for a property with so many examples; in a thorough run in proportion more."""
    return settings(max_examples=examples * settings.default.max_examples // 100)


def named(value: object) -> str:
    """An id for a parameter of a test, the same in every process: without an address."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))[:40]


def specials(dtype: str) -> np.ndarray:
    """Every special value of a real dtype, bit by bit; for longdouble with dirty padding."""
    if dtype == "g":
        with np.errstate(invalid="ignore"):  # a signalling NaN is quieted on the way
            array = specials("f8").astype("g")
        raw = array.view(np.uint8).reshape(len(array), -1)
        raw[:, np.finfo("g").nmant // 8 + 3 :] = 0xAB
        return array
    return np.array(_BITS[dtype], dtype=f"u{dtype[1:]}").view(dtype)


def complex_specials(dtype: str) -> np.ndarray:
    part = specials({"c8": "f4", "c16": "f8"}[dtype])
    return part.repeat(2).view(dtype)


def _strided(values: np.ndarray) -> np.ndarray:
    big = np.zeros([2 * n + 1 for n in values.shape], values.dtype)
    return big[tuple(slice(1, None, 2) for _ in values.shape)] if values.ndim else values.copy()


def _reversed(values: np.ndarray) -> np.ndarray:
    return np.zeros_like(values)[tuple(slice(None, None, -1) for _ in values.shape)]


def _unaligned(values: np.ndarray) -> np.ndarray:
    buffer = np.zeros(values.nbytes + 1, np.uint8)
    return buffer[1:].view(values.dtype).reshape(values.shape)


def _swapped(values: np.ndarray) -> np.ndarray:
    return np.zeros(values.shape, values.dtype.newbyteorder())


_PLACES = {
    "C": lambda values: np.zeros(values.shape, values.dtype),
    "fortran": lambda values: np.zeros(values.shape, values.dtype, order="F"),
    "strided": _strided,
    "reversed": _reversed,
    "transposed": lambda values: np.zeros(values.shape[::-1], values.dtype).T,
    "unaligned": _unaligned,
    "swapped": _swapped,
}
LAYOUTS = tuple(_PLACES)
# For what needs no more; test_kernel has the whole product.
in_thirds = pytest.mark.parametrize(
    ("dtype", "layout", "stencil"), thirds(ALL, LAYOUTS, STENCILS), ids=str
)


def lay_out(values: np.ndarray, layout: str) -> np.ndarray:
    """Return an array of this memory layout that holds the bits of `values`."""
    place = _PLACES[layout](values)[...]
    with np.errstate(invalid="ignore"):
        place[...] = values
    return place


def bits(array: np.ndarray) -> bytes:
    """Every byte of the entries, padding included."""
    return array.tobytes()


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two results agree to the last bit, all NaNs being one."""
    a, b = np.asarray(a), np.asarray(b)
    if (a.dtype, a.shape) != (b.dtype, b.shape):
        return False
    x, y = (z.astype(z.dtype.newbyteorder("=")).ravel() for z in (a, b))
    if a.dtype.kind == "c":
        x, y = x.view(x.real.dtype), y.view(y.real.dtype)
    both = np.isnan(x) & np.isnan(y)
    agree = (x == y) & (np.signbit(x) == np.signbit(y))
    return bool((both | agree).all())


def on(backend: str, call):
    """Return what `call` returns on one backend."""
    before = _backend.backend
    _backend.use(backend)
    try:
        return call()
    finally:
        _backend.use(before)


@st.composite
def values(draw, dtype: str, max_side: int = 3) -> np.ndarray:
    """A C-ordered array of up to three axes, empty ones and 0-d among them."""
    shape = tuple(draw(st.lists(st.integers(0, max_side), max_size=3)))
    if draw(st.booleans()):
        shape = (*shape, 1)
    parts = {"c8": "f4", "c16": "f8"}.get(dtype, dtype)
    count = int(np.prod(shape, dtype=int)) * (2 if dtype in ("c8", "c16") else 1)
    table = specials(parts)
    finite = st.floats(-1e4, 1e4, width=16 if parts == "f2" else 32)
    special = st.integers(0, len(table) - 1)
    flat = np.zeros(count, parts)
    for i, kind in enumerate(draw(st.lists(finite | special, min_size=count, max_size=count))):
        with np.errstate(invalid="ignore"):
            flat[i] = table[kind] if type(kind) is int else kind
    return flat.view(dtype).reshape(shape)


def arrays(dtypes=ALL):
    """Pairs of values and a layout to put them in."""
    return st.tuples(st.sampled_from(dtypes).flatmap(values), st.sampled_from(LAYOUTS))


stencils = st.sampled_from(STENCILS)
steps = st.floats(1e-3, 10.0)


def weigh(params) -> float:
    """An objective with a different slope in every entry, for any dtype and any value."""
    with np.errstate(all="ignore"):
        flat = np.asarray(params).ravel()
        parts = np.concatenate([flat.real, flat.imag]).astype(float)
        return float(np.sum(np.arange(1, parts.size + 1) * parts + np.cos(parts)))


def run_python(source: str, *args: str, **options) -> subprocess.CompletedProcess:
    """Run a program in a Python of its own, so that a crash or a signal stays there."""
    command = [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(source), *args]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options
    )


def run_on_terminal(command, **options) -> tuple[subprocess.CompletedProcess, str]:
    """Run a command with a terminal of 110 columns for standard error; and what is seen there."""
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    fcntl = pytest.importorskip("fcntl")
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 110, 0, 0))
    seen: list[bytes] = []
    reader = threading.Thread(target=lambda: seen.extend(_until_closed(master)))
    reader.start()
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=slave, timeout=PATIENCE, check=False, **options
        )
    finally:
        os.close(slave)
        reader.join()
        os.close(master)
    return done, b"".join(seen).decode()


def _until_closed(descriptor: int):
    try:
        while piece := os.read(descriptor, 4096):
            yield piece
    except OSError:  # how Linux says that nobody writes any more
        return
