"""What `f` may return, and what is said of anything else."""

from __future__ import annotations

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import named, quick

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")
X = 1.5


class Real(float):
    pass


class Convertible:
    def __init__(self, value):
        self.value = value

    def __float__(self):
        return float(self.value)


GOOD = {
    "float": float,
    "subclass of float": Real,
    "float64": np.float64,
    "float32": lambda v: np.float32(v),
    "longdouble": np.longdouble,
    "0-d array": lambda v: np.array(v),
    "shape (1,)": lambda v: np.array([v]),
    "shape (1, 1)": lambda v: np.array([[v]]),
    "0-d longdouble array": lambda v: np.array(v, np.longdouble),
    "0-d object array": lambda v: np.array(float(v), object),
    "strided": lambda v: np.array([v, 0.0])[::2],
    "Fraction": Fraction,
    "Decimal": Decimal,
    "__float__": Convertible,
}


@pytest.mark.parametrize("kind", GOOD)
@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("dtype", ["f8", "g"])
def test_one_real_number_in_any_form(kind, method, dtype):
    x = np.array([X, 2.0], dtype)
    g = fg.gradient(lambda x: GOOD[kind](float(3 * x[0] + x[1])), x, method=method, eps=0.25)
    np.testing.assert_array_equal(g, [3.0, 1.0])


@pytest.mark.parametrize(
    "make", [int, bool, np.int8, np.uint64, np.bool_, lambda v: np.array([int(v)])],
    ids=["int", "bool", "int8", "uint64", "bool_", "array of int"],
)  # fmt: skip
def test_whole_numbers(make):
    g = fg.gradient(lambda x: make(x[0] > X), np.array([X]), eps=0.5)
    np.testing.assert_array_equal(g, [1.0])


def test_mpmath_numbers():
    mpmath = pytest.importorskip("mpmath")
    g = fg.gradient(lambda x: mpmath.mpf(float(x[0])) ** 2, np.array([X]))
    np.testing.assert_allclose(g, 2 * X)
    with pytest.raises(fg.InputTypeError, match="`f` returned a mpc at "):
        fg.gradient(lambda x: mpmath.mpc(1, 1), np.array([X]))


def test_torch_scalars():
    torch = pytest.importorskip("torch")
    x = np.array([X, 2.0])
    tensor = torch.from_numpy(x)
    for f in (
        lambda _: (tensor**2).sum(),
        lambda _: (tensor**2).sum().reshape(1),
        lambda x: (torch.tensor(x, requires_grad=True) ** 2).sum(),
    ):
        np.testing.assert_allclose(fg.gradient(f, x), 2 * x)
    with pytest.raises(fg.InputTypeError, match=r"an array of shape \(2,\) and dtype torch"):
        fg.gradient(lambda _: tensor, x)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
@pytest.mark.parametrize("dtype", ["f8", "f4", "g"])
def test_f_that_returns_its_input(shape, dtype):
    """The value must be read before the entry is put back."""
    x = np.full(shape, X, dtype)
    for f in (lambda x: x, lambda x: x[...], lambda x: x.reshape(())):
        np.testing.assert_allclose(fg.gradient(f, x).astype(float), np.ones(shape), rtol=1e-6)


@pytest.mark.parametrize("shape", [(), (1,)])
@pytest.mark.parametrize("method", ["central", "forward"])
def test_f_that_reuses_its_own_buffer(shape, method):
    buffer = np.zeros(shape)

    def f(x):
        buffer[...] = x[0] * x[1]
        return buffer

    x = np.array([2.0, 3.0])
    np.testing.assert_allclose(fg.gradient(f, x, method=method), [3.0, 2.0], rtol=1e-6)


def test_longdouble_results_keep_their_digits():
    """With longdouble parameters the difference is taken in longdouble."""
    x = np.array([1.0], np.longdouble)
    if np.finfo("g").eps == np.finfo("d").eps:
        assert fg.gradient(np.sum, x).dtype == x.dtype
        return
    g = fg.gradient(lambda x: x[0] ** 3, x, method=fg.central(4))
    assert abs(g[0] - 3) < 1e-14
    derivative = fg.derivative(np.exp, np.longdouble(1), method=fg.central(8))
    assert abs(derivative - np.exp(np.longdouble(1))) < 1e-16


@given(st.floats(-1e3, 1e3, width=32).filter(bool))
@quick(50)
def test_all_forms_of_a_number_are_one(value):
    results = [
        fg.gradient(lambda x, make=make: make(value * float(x[0])), np.array([0.5]), eps=0.25)
        for kind, make in GOOD.items()
        if kind != "float32"
    ]
    assert all(result == results[0] for result in results)


BAD = [
    (None, "returned None at"),
    (None, "it must return one real number (did you forget to return the loss?)"),
    ("1.0", "returned '1.0', a str, at"),
    (b"1.0", "returned b'1.0', a bytes, at"),
    (1j, "returned 1j, a complex, at"),
    (np.complex64(1), "a complex64, at"),
    ([1.0], "returned a list at"),
    ((1.0, 2.0, 3.0), "returned a tuple at"),
    ((1.0, 2.0), "returned a pair at"),
    ((1.0, np.ones(2)), "must return the value alone, one real number (fg.check_gradient takes"),
    ({"loss": 1.0}, "returned a dict at"),
    ({1.0}, "returned a set at"),
    (object(), "returned an object at"),
    (np.ones(2), "returned an array of shape (2,) and dtype float64 at"),
    (np.ones((1, 3), "f4"), "returned an array of shape (1, 3) and dtype float32 at"),
    (np.ones(0), "returned an array of shape (0,) and dtype float64 at"),
    (np.ones(1, complex), "returned an array of shape (1,) and dtype complex128 at"),
    (np.array("1.0"), "returned an array of shape () and dtype <U3 at"),
    (np.array([None]), "returned an array of shape (1,) and dtype object at"),
    (np.ones(2), "(sum or average the loss before returning it; of several numbers"),
    (lambda: 1.0, "returned a function at"),
    (np.ma.masked, "returned np.ma.masked at"),
]


@pytest.mark.parametrize(("value", "said"), BAD, ids=named)
def test_everything_else_is_named_with_the_entry(value, said):
    x = np.array([[0.0, X], [2.0, 3.0]])
    with pytest.raises(fg.InputTypeError) as caught:
        fg.gradient(lambda p: value if p["W"][1, 0] != 2.0 else 1.0, {"W": x})
    assert said in str(caught.value)
    assert "W[1, 0]" in str(caught.value)
    with pytest.raises(fg.InputTypeError, match="at the unperturbed parameters"):
        fg.gradient(lambda x: value, x, method="forward")
    with pytest.raises(fg.InputTypeError, match=r"at params\[0, 0\]"):
        fg.gradient(lambda x: value, x)


def test_the_part_of_a_complex_entry_is_named():
    z = np.ones(2, complex)
    with pytest.raises(fg.InputTypeError, match=r"at params\[1\]\.imag"):
        fg.gradient(lambda z: None if z[1].imag else 1.0, z)


def test_integers_beyond_the_range_of_floats():
    with pytest.raises(
        fg.InputValueError, match=r"integer beyond the range of floats at params\[0"
    ):
        fg.gradient(lambda x: 10**400, np.ones(2))
    with pytest.warns(fg.FastgradWarning):
        assert fg.gradient(lambda x: 10**300, np.ones(1)) == [0.0]


def test_errors_inside_a_conversion_that_are_not_about_types():
    class Lazy:
        def __float__(self):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        fg.gradient(lambda x: Lazy(), np.ones(2))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, np.float32("nan")], ids=repr)
def test_values_that_are_not_finite_give_nan(value):
    assert np.isnan(fg.gradient(lambda x: value, np.ones(3))).all()
    assert np.isnan(fg.gradient(lambda x: value, np.ones(3, "g"), method="forward")).all()
