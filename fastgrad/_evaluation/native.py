"""Objectives in C: `native` checks and wraps the address of a compiled function."""

# Without `annotations` from `__future__`, for the reason given in `_report/causes.py`.

import ctypes
import math
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError, ObjectiveError
from fastgrad._evaluation.pointers import STATUS, VECTOR, WIDE, address_of_data, find, kind_of

__all__ = ["Native", "check_native", "native"]

_PLACE = ctypes.c_void_p  # any pointer: an array's address is passed as a number
_PROTOTYPES = {
    wide + flags: ctypes.CFUNCTYPE(result, size, _PLACE, *values, _PLACE)
    for wide, size in ((0, ctypes.c_int), (WIDE, ctypes.c_ssize_t))
    for flags, result, values in (
        (0, ctypes.c_double, ()),
        (STATUS, ctypes.c_int, (_PLACE,)),
        (STATUS + VECTOR, ctypes.c_int, (size, _PLACE)),
    )
}
# Largest number of entries that `n` can count, by the width flag of a kind.
_LARGEST = {0: 2 ** (8 * ctypes.sizeof(ctypes.c_int) - 1) - 1, WIDE: 2**63 - 1}


@dataclass(frozen=True, eq=False)
class Native:
    """A C function as an objective; build one with `native`.

    It can be called with one contiguous float64 array, and returns its value there: a float, or
    an array of `outputs` numbers.

    Attributes
    ----------
    signature : str
        The type of the function in C.
    address, user : int
        The address of the function, and the pointer that it gets as `user_data`.
    kind : int
        Which of the known signatures the function has: 1 if `n` is an ``intptr_t``, plus 2 if it
        returns an error code, plus 4 if it has `m` values.
    outputs : int or None
        How many values it has, if its signature has an `m`.

    Examples
    --------
    >>> import ctypes, numpy as np, fastgrad as fg
    >>> pointer = ctypes.POINTER(ctypes.c_double)
    >>> prototype = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, pointer, ctypes.c_void_p)
    >>> f = fg.native(prototype(lambda n, x, user_data: x[0] ** 2))
    >>> f(np.array([3.0]))
    9.0
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    signature: str
    address: int
    user: int
    kind: int
    outputs: int | None
    # Keeps the objects alive in whose memory the addresses lie.
    _owners: tuple[Any, ...]
    _function: Any

    def __call__(self, x: np.ndarray) -> Any:
        """Value at one contiguous float64 array."""
        check_native(self, x, "x")
        if self.outputs is not None:
            return self._vector(x, self.outputs)
        if not self.kind & STATUS:
            return float(self._function(x.size, x.ctypes.data, self.user))
        value = ctypes.c_double(math.nan)
        code = self._function(x.size, x.ctypes.data, ctypes.byref(value), self.user)
        if code:
            raise ObjectiveError(code)
        return value.value

    def _vector(self, x: np.ndarray, m: int) -> np.ndarray:
        y = np.full(m, math.nan)
        code = self._function(x.size, x.ctypes.data, m, y.ctypes.data, self.user)
        if code:
            raise ObjectiveError(code)
        return y

    def __repr__(self) -> str:
        return f"<fastgrad.native {self.signature} at {self.address:#x}>"

    def __reduce__(self) -> NoReturn:
        raise InputTypeError(
            "a native objective cannot be pickled or copied: its address means nothing in another "
            "process; build it there"
        )


def native(obj: Any, *, user_data: Any = None, outputs: int | None = None) -> Native:
    """Turn a compiled function into an objective that is called without Python.

    Parameters
    ----------
    obj : scipy.LowLevelCallable, numba cfunc, ctypes or cffi function pointer, or capsule
        Holds the address of a C function ``double f(int n, double *x, void *user_data)``, or
        ``int f(int n, const double *x, double *value, void *user_data)``, which returns 0, or an
        error code, or, of many values, ``int f(int n, const double *x, int m, double *y,
        void *user_data)``, which writes them to `y`. In all of them `n` and `m` may be of type
        ``intptr_t``. A ctypes function needs its `restype` and `argtypes`; the name of a capsule
        must be the signature, as in ``module.__pyx_capi__``, where Cython puts its ``cdef api``
        functions.
    user_data : address (int), ctypes data, array, capsule or cffi pointer, optional
        Passed to the function as a pointer. By default the user data of `obj`, or NULL if it has
        none.
    outputs : int, optional
        How many values a vector-valued function has: its `m`. Only such a function takes it.

    Returns
    -------
    Native
        An objective for `gradient` and `check_gradient`, or, with `outputs`, for `jacobian`. It
        keeps `obj` and `user_data` alive.

    Raises
    ------
    InputTypeError
        `obj` holds no C function, or one with another signature; it is not called. Or `outputs` is
        no whole number, or does not go with the signature.
    InputValueError
        `outputs` is negative, or too large for an int.

    Notes
    -----
    The function runs without the GIL. With ``workers=k`` it runs in several threads at once, and
    must be thread-safe, its user data included. It must not write to `x`, and must not raise: an
    exception of a Python function behind a ctypes or numba pointer is lost. Declare a ``cdef``
    function ``noexcept nogil``. No other thread may resize the array during the call.

    Examples
    --------
    >>> import ctypes, numpy as np, fastgrad as fg
    >>> pointer = ctypes.POINTER(ctypes.c_double)
    >>> prototype = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int, pointer, ctypes.c_void_p)
    >>> def compiled(n, x, user_data):  # stands for a function in a shared library
    ...     return x[0] * x[1]
    >>> f = fg.native(prototype(compiled))
    >>> print(fg.gradient(f, np.array([2.0, 5.0])).round(6))
    [5. 2.]
    """
    address, signature, user = find(obj)
    kind = kind_of(signature)
    if not address:
        raise InputTypeError("`obj` is a null pointer; it must point to a C function")
    _check_outputs(outputs, kind, signature)
    if user_data is not None:
        user = address_of_data(user_data)
    owners = (obj, user_data)
    return Native(signature, address, user, kind, outputs, owners, _PROTOTYPES[kind](address))


def _check_outputs(outputs: Any, kind: int, signature: str) -> None:
    if not kind & VECTOR:
        if outputs is not None:
            raise InputTypeError(
                f"`outputs` is for functions of many values, such as int (int n, const double *x, "
                f"int m, double *y, void *user_data); got {outputs!r} for {signature!r}"
            )
        return
    if isinstance(outputs, bool) or not isinstance(outputs, (int, np.integer)):
        raise InputTypeError(
            f"`outputs` must be the number of values of {signature!r}; got {outputs!r}"
        )
    if not 0 <= outputs <= _LARGEST[kind & WIDE]:
        raise InputValueError(
            f"`outputs` must be from 0 to {_LARGEST[kind & WIDE]}; got {outputs!r}"
        )


def check_native(f: Native, params: Any, name: str) -> None:
    """Refuse what a native objective cannot take; `name` is what the caller calls it."""
    if not isinstance(params, np.ndarray):
        raise InputTypeError(
            f"`{name}` must be one float64 array, because `f` is native; got a "
            f"{type(params).__name__} (put nested parameters into one vector and let `f` take it "
            "apart)"
        )
    if params.dtype != np.float64:
        raise InputTypeError(
            f"`{name}` must be float64, because `f` is native; got {params.dtype} "
            f"(`{name}`.astype(float))"
        )
    if not params.flags.c_contiguous or not params.flags.aligned:
        raise InputValueError(
            f"`{name}` must be contiguous, because `f` is native; got shape {params.shape}, "
            f"strides {params.strides} (np.ascontiguousarray(`{name}`))"
        )
    if params.size > _LARGEST[f.kind & WIDE]:
        raise InputValueError(
            f"`{name}` has {params.size} entries, more than an int `n` can count; let `f` take "
            "an intptr_t"
        )
