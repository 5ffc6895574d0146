"""Addresses of C functions and of their user data, in the objects of ctypes, cffi, SciPy, numba.

None of these packages is imported: an object of a package shows that it is imported already.
"""

from __future__ import annotations

import ctypes
import re
import sys
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError

__all__ = ["STATUS", "VECTOR", "WIDE", "Found", "address_of_data", "find", "kind_of"]

# A kind is a sum of flags. WIDE: `n` is an intptr_t, not an int. STATUS: an error code is returned.
# VECTOR, with STATUS: there are `m` values, and `m` has the type of `n`.
WIDE, STATUS, VECTOR = 1, 2, 4

Found = tuple[int, str, int]  # address of the function, its signature, address of its user data

_EXPECTED = (
    "double (int n, double *x, void *user_data), or int (int n, const double *x, double *value, "
    "void *user_data), which returns 0 or an error code, or, for many values, int (int n, const "
    "double *x, int m, double *y, void *user_data); in all of them `n` and `m` may be intptr_t"
)
_WAYS_OUT = (
    "pass a scipy.LowLevelCallable, a @numba.cfunc, a ctypes or cffi function pointer, or a "
    "capsule such as module.__pyx_capi__['name']; of a cffi library in API mode, "
    "ffi.addressof(lib, 'name')"
)
_FUNCTION: Any = ctypes.CFUNCTYPE(None).__base__  # the base class of all ctypes functions
_FROM_PYTHON_API = 0x4  # ctypes' FUNCFLAG_PYTHONAPI: the function needs the GIL, and may raise

# Bytes of the types that `n` may have, by their names in a signature.
_SIZES = {
    "int": ctypes.sizeof(ctypes.c_int),
    "int32_t": 4,
    "npy_int32": 4,
    "int64_t": 8,
    "npy_int64": 8,
    "long": ctypes.sizeof(ctypes.c_long),
    "long long": ctypes.sizeof(ctypes.c_longlong),
    **dict.fromkeys(
        ("intptr_t", "npy_intp", "ptrdiff_t", "ssize_t", "Py_ssize_t"),
        ctypes.sizeof(ctypes.c_ssize_t),
    ),
}
# Names in C by ctypes' type codes: c_int64 is c_long or c_longlong, as the platform has it.
_CTYPES = {"d": "double", "f": "float", "i": "int", "l": "long", "q": "long long", "P": "void *"}


def find(obj: Any) -> Found:
    """Address and signature of the C function that an object holds, and its user data."""
    if isinstance(obj, _FUNCTION):
        return address_of_data(obj), _of_ctypes(obj), 0
    # By name: to import SciPy or numba for this would take longer than the gradient.
    name = f"{type(obj).__module__.partition('.')[0]}.{type(obj).__name__}"
    if name == "builtins.PyCapsule":
        return _in_capsule(obj)
    if name == "scipy.LowLevelCallable":
        return _in_scipy(obj)
    if name == "numba.CFunc":
        return find(obj.ctypes)
    if _is_cffi(obj):
        return _address_of_cffi(obj), sys.modules["_cffi_backend"].typeof(obj).cname, 0
    raise InputTypeError(f"`obj` must hold the address of a C function; got {obj!r}: {_WAYS_OUT}")


def kind_of(signature: str) -> int:
    """The kind of a signature; any other signature is refused, and its function never called."""
    # In `result (*)(types)` the star is that of cffi's names.
    match = re.fullmatch(r"(.*?)(?:\(\*\))?\((.*)\)", re.sub(r"\b(const|signed)\b", "", signature))
    if match:
        result, *types = (_plain(each) for each in (match[1], *match[2].split(",")))
        size = _SIZES.get(types[0])
        # Sizes in place of names: `n` and `m` are of one type, whatever its names.
        between = [result, *(_SIZES.get(each, each) for each in types[1:-1])]
        flags = _flags(size).get(tuple(between))
        if flags is not None and types[-1].endswith("*") and size in _WIDTHS:
            return _WIDTHS[size] + flags
    raise InputTypeError(
        f"`obj` has the signature {signature!r}; it must be {_EXPECTED} (not called)"
    )


def _flags(size: int | None) -> dict[tuple[Any, ...], int]:
    """Flags by the result of a function and its arguments between `n` and the user data."""
    return {
        ("double", "double*"): 0,
        ("int", "double*", "double*"): STATUS,
        ("int", "double*", size, "double*"): STATUS + VECTOR,
    }


_WIDTHS = {ctypes.sizeof(ctypes.c_ssize_t): WIDE, ctypes.sizeof(ctypes.c_int): 0}


def _plain(text: str) -> str:
    """A type in one spelling: single spaces, none around stars, `long` for `long int`."""
    return re.sub(r"\s*\*\s*", "*", " ".join(text.split())).removesuffix(" int")


# ---------------------------------------------------------------- ctypes


def _of_ctypes(function: Any) -> str:
    if type(function)._flags_ & _FROM_PYTHON_API:
        raise InputTypeError(
            "`obj` is a ctypes.PYFUNCTYPE, which runs with the GIL; use ctypes.CFUNCTYPE"
        )
    if function.argtypes is None:
        raise InputTypeError(
            f"`obj` is {function!r}, which does not know its signature; state it, for example "
            "obj.restype = c_double; obj.argtypes = [c_int, POINTER(c_double), c_void_p]"
        )
    types = ", ".join(map(_name, function.argtypes))
    return f"{_name(function.restype)} ({types})"


def _name(ctype: Any) -> str:
    """The name of a ctypes type in C."""
    if isinstance(ctype, type) and issubclass(ctype, ctypes._Pointer):
        return f"{_name(ctype._type_)} *"
    own = "void" if ctype is None else getattr(ctype, "__name__", repr(ctype))
    code = getattr(ctype, "_type_", None)
    return _CTYPES.get(code, own) if isinstance(code, str) else own


# ---------------------------------------------------------------- capsules, SciPy, cffi


def _capsule_function(name: str, result: Any, *types: Any) -> Any:
    """A function of Python's C API on capsules, which Python itself does not offer."""
    prototype = ctypes.PYFUNCTYPE(result, ctypes.py_object, *types)
    return prototype((name, ctypes.pythonapi))


_capsule_name = _capsule_function("PyCapsule_GetName", ctypes.c_char_p)
_capsule_context = _capsule_function("PyCapsule_GetContext", ctypes.c_void_p)
_capsule_pointer = _capsule_function("PyCapsule_GetPointer", ctypes.c_void_p, ctypes.c_char_p)


def _in_capsule(capsule: Any) -> Found:
    name = _capsule_name(capsule)
    if name is None:
        raise InputTypeError(
            f"`obj` is a capsule without a name; its name must be its signature: {_EXPECTED}"
        )
    user = _capsule_context(capsule) or 0
    return _capsule_pointer(capsule, name), name.decode("utf-8", "replace"), user


def _in_scipy(callable_: Any) -> Found:
    """Address, signature and user data of a LowLevelCallable."""
    # Its own signature counts, as the user may have stated it for a bare pointer.
    address, _, context = find(callable_.function)
    data = callable_.user_data
    return address, callable_.signature, context if data is None else address_of_data(data)


def _is_cffi(obj: Any) -> bool:
    cffi = sys.modules.get("_cffi_backend")
    return cffi is not None and isinstance(obj, cffi.FFI.CData)


def _address_of_cffi(pointer: Any) -> int:
    cffi = sys.modules["_cffi_backend"]
    return int(cffi.cast(cffi.new_primitive_type("uintptr_t"), pointer))


def address_of_data(data: Any) -> int:
    """The address that a pointer holds, or at which ctypes or NumPy data lie."""
    if data is None:
        return 0
    if isinstance(data, (int, np.integer)) and not isinstance(data, bool):
        if not 0 <= data <= sys.maxsize * 2 + 1:
            raise InputValueError(f"`user_data` must be a valid address; got {data!r}")
        return int(data)
    if isinstance(data, (ctypes.c_void_p, ctypes._Pointer, _FUNCTION)):
        return ctypes.cast(data, ctypes.c_void_p).value or 0
    if isinstance(data, (ctypes.Structure, ctypes.Union, ctypes.Array, ctypes._SimpleCData)):
        return ctypes.addressof(data)
    if isinstance(data, np.ndarray) and data.flags.c_contiguous:
        return int(data.ctypes.data)
    if type(data).__name__ == "PyCapsule":
        return _capsule_pointer(data, _capsule_name(data)) or 0
    if _is_cffi(data):
        return _address_of_cffi(data)
    raise InputTypeError(
        "`user_data` must be an address, ctypes data, a contiguous array, a capsule or a cffi "
        f"pointer; got {data!r}"
    )
