"""C functions for the tests, compiled on the spot and reached in every way that there is."""

from __future__ import annotations

import ctypes
import os
import shlex
import subprocess
import sysconfig
from pathlib import Path

import pytest
from strategies import PATIENCE

HERE = Path(__file__).resolve().parent
NATIVE = HERE / "native"
DOUBLES = ctypes.POINTER(ctypes.c_double)
# What C calls the signatures, and their types for ctypes.
SIGNATURES = {
    "double (int, double *, void *)": (ctypes.c_double, ctypes.c_int, DOUBLES),
    "double (intptr_t, double *, void *)": (ctypes.c_double, ctypes.c_ssize_t, DOUBLES),
    "int (int, const double *, double *, void *)": (ctypes.c_int, ctypes.c_int, DOUBLES, DOUBLES),
    "int (intptr_t, const double *, double *, void *)": (
        ctypes.c_int,
        ctypes.c_ssize_t,
        DOUBLES,
        DOUBLES,
    ),
    "int (int, const double *, int, double *, void *)": (
        ctypes.c_int,
        ctypes.c_int,
        DOUBLES,
        ctypes.c_int,
        DOUBLES,
    ),
    "int (intptr_t, const double *, intptr_t, double *, void *)": (
        ctypes.c_int,
        ctypes.c_ssize_t,
        DOUBLES,
        ctypes.c_ssize_t,
        DOUBLES,
    ),
}
_INDIVIDUALS = ("cubes", "cubes_wide", "checked", "checked_wide", "products", "products_wide")
NAMES = dict(zip(_INDIVIDUALS, SIGNATURES, strict=True))
NAMES |= dict.fromkeys(
    ("scaled", "logs", "writes", "slow", "waits", "ends"), next(iter(SIGNATURES))
)
NAMES["silent"] = NAMES["checked"]
NAMES["partial"] = NAMES["products"]


def skip_or_fail(reason):
    """Skip, unless everything has to be there."""
    if os.environ.get("FASTGRAD_REQUIRE_KERNEL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def build(folder, source=NATIVE / "objectives.c"):
    """A C file as a shared library in this folder."""
    source = folder / source
    target = folder / f"{source.stem}.so"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    flags = ["-O2", "-ffp-contract=off", "-fPIC", "-shared"]
    command = [*compiler, *flags, "-o", target, source, "-lm"]
    try:
        subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=PATIENCE)
    except (OSError, subprocess.CalledProcessError) as error:
        skip_or_fail(f"no C compiler: {error}")
    return target


class Library:
    """The functions with their types; each is a new object, so that nobody's types are changed."""

    def __init__(self, path):
        self.path = path

    def __getattr__(self, name):
        function = ctypes.CDLL(str(self.path))[name]
        if name in NAMES:
            function.restype, *types = SIGNATURES[NAMES[name]]
            function.argtypes = [*types, ctypes.c_void_p]
        return function


def callback(function, signature="double (int, double *, void *)"):
    """A Python function as a C function: where no compiler is needed."""
    return ctypes.CFUNCTYPE(*SIGNATURES[signature], ctypes.c_void_p)(function)


def address(function):
    return ctypes.cast(function, ctypes.c_void_p).value


_new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
_set_context = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p)(
    ("PyCapsule_SetContext", ctypes.pythonapi)
)
_names = {}  # a capsule only points to its name


def capsule(pointer, name, context=None):
    name = None if name is None else _names.setdefault(name, name.encode())
    made = _new(pointer, name, None)
    if context is not None:
        _set_context(made, context)
    return made
