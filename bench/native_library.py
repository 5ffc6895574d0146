"""The C functions of loop.c, compiled here and now, and fastgrad's entry point for C."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np

import fastgrad as fg

FLAGS = ("-O3", "-ffp-contract=off", "-fPIC")  # with which setup.py builds the kernel
CENTRAL = 2  # of the enum Method in fastgrad/_kernel.pxd
RELATIVE = float(np.finfo(float).eps) ** (1 / 3)
OBJECTIVES = {
    "nothing": "reads one entry and returns it",
    "constant": "exp of a product, whatever n is",
    "rosenbrock": "all entries",
}
_ADDRESS = ctypes.c_void_p


@cache
def load() -> ctypes.CDLL:
    """Compile and load, or say what is missing."""
    source = Path(__file__).resolve().parent / "loop.c"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "loop.so"
        command = [*compiler, *FLAGS, "-shared", "-o", str(target), str(source), "-lm"]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True)
        except (OSError, subprocess.CalledProcessError) as error:
            sys.exit(f"The native benchmark needs a C compiler: {error}")
        library = ctypes.CDLL(str(target))
    library.repeated.argtypes = [
        *(ctypes.c_int, _ADDRESS, _ADDRESS, _ADDRESS, ctypes.c_ssize_t, _ADDRESS, _ADDRESS),
        *(ctypes.c_int, ctypes.c_int, ctypes.c_double),
    ]
    doubles = ctypes.POINTER(ctypes.c_double)
    for name in OBJECTIVES:
        function = getattr(library, name)  # the library keeps this one, but not library[name]
        function.restype = ctypes.c_double
        function.argtypes = [ctypes.c_ssize_t, doubles, ctypes.c_void_p]
    return library


def objective(name: str) -> fg.Native:
    return fg.native(getattr(load(), name))


def wrap(name: str) -> Callable[[np.ndarray], float]:
    """The function as Python calls it: as lean a wrapper as ctypes allows."""
    prototype = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_ssize_t, _ADDRESS, _ADDRESS)
    f = prototype(objective(name).address)
    return lambda x: f(x.size, x.ctypes.data, None)


def entry_point() -> int:
    """Where `gradient` of fastgrad/_kernel.pxd is."""
    from fastgrad import _kernel

    capsule = _kernel.__pyx_capi__["gradient"]
    call = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)
    name = call(("PyCapsule_GetName", ctypes.pythonapi))(capsule)
    call = ctypes.PYFUNCTYPE(_ADDRESS, ctypes.py_object, ctypes.c_char_p)
    return call(("PyCapsule_GetPointer", ctypes.pythonapi))(capsule, name)


def by_hand() -> int:
    """Where the loop written by hand is."""
    return ctypes.cast(load().by_hand, _ADDRESS).value


def repeated(gradient: int, f: fg.Native, x: np.ndarray, times: int) -> np.ndarray:
    """The gradient, taken so often that the call from Python does not count."""
    g = np.empty_like(x)
    places = x.size, x.ctypes.data, g.ctypes.data
    step = 0.0 if gradient == entry_point() else RELATIVE
    outcome = load().repeated(times, gradient, f.address, None, *places, CENTRAL, 2, step)
    assert outcome == 0, outcome
    return g
