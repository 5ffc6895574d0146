"""Who hands over a C function, with which signature, and what comes of the wrong ones."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from clibrary import DOUBLES, NAMES, SIGNATURES, address, callback, capsule

import fastgrad as fg
from fastgrad._evaluation.pointers import STATUS, VECTOR, WIDE, address_of_data, find, kind_of

NARROW = "double (int, double *, void *)"
VOID = ctypes.c_void_p
MANY = STATUS + VECTOR
X = np.array([1.0, 2.0, 0.5])
CUBES = 1 + 2 * 8 + 3 * 0.125
EXPECTED = r"double \(int n, double \*x, void \*user_data\), or int \(int n, const double"


# ------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize(
    ("signature", "kind"),
    [
        *zip(SIGNATURES, (0, WIDE, STATUS, STATUS + WIDE, MANY, MANY + WIDE), strict=True),
        ("double(int,double*,void*)", 0),
        ("double (int, const double *, void *)", 0),
        ("double (int, double const *, const void *)", 0),
        ("double (signed int, double *, struct params *)", 0),
        ("double (npy_intp, double *, void *)", WIDE),
        ("double (Py_ssize_t, double *, void *)", WIDE),
        ("double (long long int, double *, void *)", WIDE),
        ("double(*)(int, double *, void *)", 0),
        ("int(*)(intptr_t, double *, double *, void *)", STATUS + WIDE),
        ("int(*)(Py_ssize_t, double *, npy_intp, double *, void *)", MANY + WIDE),
    ],
)
def test_signatures_that_there_are(signature, kind):
    assert kind_of(signature) == kind


@pytest.mark.parametrize(
    "signature",
    [
        "double (double)",
        "double (int, double *)",
        "double (int, float *, void *)",
        "double (int, double **, void *)",
        "double (int, double, void *)",
        "double (int, double *, void *, void *)",
        "double (int, double *, double)",
        "double (unsigned int, double *, void *)",
        "double (size_t, double *, void *)",
        "double (short, double *, void *)",
        "float (int, double *, void *)",
        "void (int, double *, double *, void *)",
        "int (int, double *, void *)",
        "double (int, double *, double *, void *)",
        "double (int, double *, int, double *, void *)",
        "int (int, const double *, intptr_t, double *, void *)",
        "int (intptr_t, const double *, int, double *, void *)",
        "int (int, const double *, int, double *)",
        "double *(int, double *, void *)",
        "double ()",
        "double",
        "",
        "double *",
    ],
)
def test_other_signatures_are_refused_with_what_was_expected_and_seen(signature):
    with pytest.raises(fg.InputTypeError, match=EXPECTED) as caught:
        kind_of(signature)
    assert repr(signature) in str(caught.value)


# ------------------------------------------------------------------- who hands over a function


def from_ctypes(library, name, signature):
    return getattr(library, name)


def from_prototype(library, name, signature):
    prototype = ctypes.CFUNCTYPE(*SIGNATURES[signature], VOID)
    return prototype(address(getattr(library, name)))


def from_capsule(library, name, signature):
    return capsule(address(getattr(library, name)), signature)


def from_scipy(library, name, signature):
    scipy = pytest.importorskip("scipy")
    return scipy.LowLevelCallable(getattr(library, name))


def from_scipys_capsule(library, name, signature):
    scipy = pytest.importorskip("scipy")
    return scipy.LowLevelCallable(from_capsule(library, name, signature))


def from_cffi(library, name, signature):
    ffi = pytest.importorskip("cffi").FFI()
    return ffi.cast(signature.replace(" (", "(*)(", 1), address(getattr(library, name)))


def from_a_cffi_library(library, name, signature):
    ffi = pytest.importorskip("cffi").FFI()
    ffi.cdef(signature.replace(" (", f" {name}(", 1) + ";")
    return getattr(ffi.dlopen(str(library.path)), name)


CALLERS = [
    from_ctypes,
    from_prototype,
    from_capsule,
    from_scipy,
    from_scipys_capsule,
    from_cffi,
    from_a_cffi_library,
]


@pytest.mark.parametrize("name", ["cubes", "cubes_wide", "checked", "checked_wide"])
@pytest.mark.parametrize("caller", CALLERS)
def test_every_caller_with_every_signature(caller, name, library, backend):
    f = fg.native(caller(library, name, NAMES[name]))
    assert f(X) == CUBES
    np.testing.assert_allclose(fg.gradient(f, X), 3 * np.array([1, 2, 3]) * X**2, rtol=1e-9)


@pytest.mark.parametrize("name", ["products", "products_wide"])
@pytest.mark.parametrize("caller", CALLERS[:3] + CALLERS[5:])  # SciPy knows no such signature
def test_functions_of_many_values(caller, name, library):
    f = fg.native(caller(library, name, NAMES[name]), outputs=4)
    assert f(X).tolist() == [2.0, 1.0, 0.5, 2.0]
    limit = np.array([1.5])
    f = fg.native(caller(library, name, NAMES[name]), user_data=limit, outputs=1)
    with pytest.raises(fg.ObjectiveError, match="error code 7"):
        f(X)
    assert f(X / 2).tolist() == [0.5]


def test_values_that_are_not_written_are_nan(library):
    np.testing.assert_array_equal(fg.native(library.partial, outputs=2)(X), [1.0, np.nan])


@pytest.mark.parametrize(
    ("outputs", "kind", "said"),
    [
        (None, fg.InputTypeError, "`outputs` must be the number of values of 'int .*; got None"),
        (2.0, fg.InputTypeError, "got 2.0"),
        (True, fg.InputTypeError, "got True"),
        (-1, fg.InputValueError, "`outputs` must be from 0 to 2147483647; got -1"),
        (2**31, fg.InputValueError, "got 2147483648"),
    ],
)
def test_bad_numbers_of_values(outputs, kind, said, library):
    with pytest.raises(kind, match=said):
        fg.native(library.products, outputs=outputs)
    with pytest.raises(fg.InputTypeError, match="`outputs` is for functions of many values"):
        fg.native(library.cubes, outputs=3)


@pytest.mark.parametrize("n", ["intc", "int32", "intp", "int64"])
def test_numba(n, backend):
    numba = pytest.importorskip("numba")
    types = numba.types
    doubles = types.CPointer(types.float64)

    @numba.cfunc(types.float64(getattr(types, n), doubles, types.voidptr))
    def f(n, x, user_data):
        return x[0] * x[n - 1]

    native = fg.native(f)
    np.testing.assert_allclose(fg.gradient(native, X), [0.5, 0.0, 1.0], atol=1e-9)

    @numba.cfunc(types.int32(getattr(types, n), doubles, doubles, types.CPointer(types.float64)))
    def g(n, x, value, user_data):
        value[0] = user_data[0] * x[0]
        return 0

    native = fg.native(g, user_data=np.array([3.0]))
    np.testing.assert_allclose(fg.gradient(native, X), [3.0, 0.0, 0.0], atol=1e-9)


def test_numba_with_another_signature_is_refused():
    numba = pytest.importorskip("numba")

    @numba.cfunc("float64(float64)")
    def f(x):
        return x

    with pytest.raises(fg.InputTypeError, match=r"'double \(double\)'"):
        fg.native(f)
    with pytest.raises(fg.InputTypeError, match=r"@numba\.cfunc"):
        fg.native(numba.njit(lambda x: x))


# ------------------------------------------------------------------------ what is refused there


def bad_types(restype, *argtypes):
    def make(library):
        function = library.wrong
        function.restype, function.argtypes = restype, argtypes
        return function

    return make


def without_types(library):
    return library.wrong


def of_the_python_api(library):
    return ctypes.PYFUNCTYPE(*SIGNATURES[NARROW], VOID)(address(library.cubes))


def null(library):
    return ctypes.CFUNCTYPE(*SIGNATURES[NARROW], VOID)(0)


def null_of_cffi(library):
    return pytest.importorskip("cffi").FFI().cast("double(*)(int, double *, void *)", 0)


def cffi_data(library):
    return pytest.importorskip("cffi").FFI().new("double *")


FLOATS = ctypes.POINTER(ctypes.c_float)
BAD = [
    (bad_types(ctypes.c_float, ctypes.c_int, FLOATS, VOID), r"'float \(int, float \*, void \*\)'"),
    (bad_types(ctypes.c_int, ctypes.c_int, DOUBLES, VOID), r"'int \(int, double \*, void \*\)'"),
    (bad_types(ctypes.c_double, ctypes.c_uint, DOUBLES, VOID), "c_uint"),
    (bad_types(ctypes.c_double, ctypes.c_int, VOID, VOID), r"'double \(int, void \*, void \*\)'"),
    (bad_types(None, ctypes.c_int, DOUBLES, VOID), r"'void \(int"),
    (bad_types(ctypes.c_double, ctypes.c_int, DOUBLES), r"'double \(int, double \*\)'"),
    (bad_types(ctypes.c_double), r"'double \(\)'"),
    (
        bad_types(ctypes.c_double, ctypes.c_int, np.ctypeslib.ndpointer("f4"), VOID),
        r"'double \(int, void \*, void \*\)'",
    ),
    (without_types, r"obj\.argtypes = \[c_int, POINTER\(c_double\), c_void_p\]"),
    (of_the_python_api, r"ctypes\.PYFUNCTYPE"),
    (null, "null pointer"),
    (null_of_cffi, "null pointer"),
    (cffi_data, r"'double \*'"),
    (lambda library: capsule(address(library.wrong), "float (float *)"), r"'float \(float \*\)'"),
    (lambda library: capsule(address(library.wrong), None), "capsule without a name"),
]


@pytest.mark.parametrize(("make", "said"), BAD)
def test_wrong_functions_are_refused(make, said, library):
    with pytest.raises(fg.InputTypeError, match=said):
        fg.native(make(library))


@pytest.mark.parametrize("obj", [None, 5, "cubes", abs, lambda x: x[0], ctypes.c_double(1.0)])
def test_what_is_no_c_function_is_refused_with_the_ways_out(obj):
    with pytest.raises(fg.InputTypeError, match=r"a scipy\.LowLevelCallable, a @numba\.cfunc"):
        fg.native(obj)


def test_scipys_signature_counts():
    """Where its user states one: SciPy lets them, for capsules with another name."""
    scipy = pytest.importorskip("scipy")
    f = callback(lambda n, x, user: x[0])
    wrong = scipy.LowLevelCallable(f, signature="double (double, void *)")
    with pytest.raises(fg.InputTypeError, match=r"'double \(double, void \*\)'"):
        fg.native(wrong)


# ---------------------------------------------------------------------------------- user data


def as_array(_):
    return np.array([2.5])


def as_c_double(_):
    return ctypes.c_double(2.5)


def as_c_array(_):
    return (ctypes.c_double * 1)(2.5)


def as_pointer(keep):
    keep.append(ctypes.c_double(2.5))
    return ctypes.pointer(keep[0])


def as_void_pointer(keep):
    keep.append(ctypes.c_double(2.5))
    return ctypes.c_void_p(ctypes.addressof(keep[0]))


def as_address(keep):
    keep.append(ctypes.c_double(2.5))
    return ctypes.addressof(keep[0])


def as_structure(_):
    kind = type("Params", (ctypes.Structure,), {"_fields_": [("factor", ctypes.c_double)]})
    return kind(2.5)


def as_capsule(keep):
    return capsule(as_address(keep), "anything")


def as_nameless_capsule(keep):
    return capsule(as_address(keep), None)


def as_cffi(_):
    return pytest.importorskip("cffi").FFI().new("double *", 2.5)


DATA = [
    as_array,
    as_c_double,
    as_c_array,
    as_pointer,
    as_void_pointer,
    as_address,
    as_structure,
    as_capsule,
    as_nameless_capsule,
    as_cffi,
]


@pytest.mark.parametrize("data", DATA)
def test_user_data_is_passed_through(data, library, backend):
    keep = []
    f = fg.native(library.scaled, user_data=data(keep))
    assert f(X) == 2.5 * CUBES
    np.testing.assert_allclose(fg.gradient(f, X), 7.5 * np.array([1, 2, 3]) * X**2, rtol=1e-9)


@pytest.mark.parametrize("data", [as_void_pointer, as_capsule])
def test_user_data_of_scipy(data, library, backend):
    scipy = pytest.importorskip("scipy")
    keep = []
    wrapped = scipy.LowLevelCallable(library.scaled, data(keep))
    assert fg.native(wrapped)(X) == 2.5 * CUBES
    assert fg.native(wrapped, user_data=np.array([1.0]))(X) == CUBES


def test_user_data_in_the_context_of_a_capsule(library, backend):
    data = ctypes.c_double(2.5)
    f = fg.native(capsule(address(library.scaled), NARROW, ctypes.addressof(data)))
    assert f(X) == 2.5 * CUBES


def test_no_user_data_is_a_null_pointer(backend):
    seen = []
    f = fg.native(callback(lambda n, x, user: seen.append(user) or x[0]))
    fg.gradient(f, X)
    assert set(seen) == {None}


@pytest.mark.parametrize("data", ["text", 1.5, True, [1.0], np.ones((4, 4))[:, 0]])
def test_other_user_data_is_refused(data):
    with pytest.raises(fg.InputTypeError, match="`user_data` must be an address, ctypes data"):
        address_of_data(data)


@pytest.mark.parametrize("data", [-1, 2**70])
def test_an_address_has_its_range(data):
    with pytest.raises(fg.InputValueError, match="`user_data` must be a valid address"):
        address_of_data(data)


def test_what_is_found_is_where_it_is(library):
    assert find(library.cubes) == (address(library.cubes), "double (int, double *, void *)", 0)
