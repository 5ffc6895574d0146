"""`derivative` of arrays of points, and derivatives of any order, against exact ones."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from strategies import LAYOUTS, bits, lay_out

import fastgrad as fg
from fastgrad._derivatives.higher import HIGHEST, higher

pytestmark = pytest.mark.usefixtures("backend")
calm = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
METHODS = [
    *(fg.central(order) for order in (2, 4, 6, 8)),
    *(make(order) for make in (fg.forward, fg.backward) for order in (1, 2, 3, 4)),
]
every = pytest.mark.parametrize("method", METHODS, ids=repr)
orders = pytest.mark.parametrize("n", range(1, HIGHEST + 1))


# ---------------------------------------------------------------- stencils


@every
@orders
def test_weights_are_exact_for_polynomials(method, n):
    weights = higher(method, n).weights
    for power in range(n + method.order):
        moment = sum(w * Fraction(k) ** power for k, w in weights.items())
        assert moment == (math.factorial(n) if power == n else 0)


@every
@orders
def test_the_truncation_is_of_the_order_that_is_said(method, n):
    stencil = higher(method, n)
    power = n + method.order
    moment = sum(w * Fraction(k) ** power for k, w in stencil.weights.items())
    assert moment != 0
    assert stencil.truncation == abs(float(moment / math.factorial(power)))


def test_known_weights():
    """Fornberg, Math. Comp. 51 (1988), tables 1 and 3."""
    assert list(higher(fg.central(), 2).weights.values()) == [1, -2, 1]
    fourth = [Fraction(*w) for w in [(-1, 12), (4, 3), (-5, 2), (4, 3), (-1, 12)]]
    assert list(higher(fg.central(4), 2).weights.values()) == fourth
    assert list(higher(fg.central(), 4).weights.values()) == [1, -4, 6, -4, 1]
    assert list(higher(fg.forward(2), 2).weights.values()) == [2, -5, 4, -1]


@every
def test_the_first_is_the_stencil_itself(method):
    mine = {k: w for k, w in higher(method, 1).weights.items() if w}
    assert mine == {k: w for k, w in method.weights.items() if w}


# ---------------------------------------------------------------- values


@every
@orders
def test_accuracy_of_higher_derivatives(method, n):
    x = np.array([0.3, 1.0, -0.7])
    found = fg.derivative(np.exp, x, n=n, method=method)
    stencil = higher(method, n)
    promise = np.finfo(float).eps ** (method.order / (n + method.order))
    error = 2 * (stencil.truncation + 4 * stencil.amplification) * promise
    np.testing.assert_allclose(found, np.exp(x), rtol=error)
    assert fg.derivative(math.exp, 0.3, n=n, method=method) == found[0]


@calm
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("order", [2, 4])
def test_small_points(n, order):
    x = np.array([1e-6, 1e-3, 0.1, 7.0])
    found = fg.derivative(np.log, x, n=n, method=fg.central(order))
    exact = (-1) ** (n - 1) * math.factorial(n - 1) / x**n
    np.testing.assert_allclose(found, exact, rtol=1e-6 if n < 3 else 2e-5)


def test_the_value_is_the_derivative_of_order_0():
    x = np.array([0.5, 2.0], "f4")
    found = fg.derivative(np.sqrt, x, n=0)
    np.testing.assert_array_equal(found, np.sqrt(x))
    assert found.dtype == x.dtype
    assert fg.derivative(math.sqrt, 4.0, n=0) == 2.0
    with pytest.raises(fg.InputValueError, match="`eps` and `rel_eps` do not go with `n` = 0"):
        fg.derivative(np.sqrt, x, n=0, eps=0.1)


@every
def test_an_array_has_the_bits_of_its_points(method):
    x = np.array([0.3, -2.0, 5.0, 0.0])
    found = fg.derivative(np.sin, x, method=method)
    assert found.tolist() == [fg.derivative(np.sin, float(each), method=method) for each in x]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", "g"])
@pytest.mark.parametrize("n", [0, 1, 2])
def test_shapes_and_types_are_kept(dtype, layout, n):
    x = lay_out(np.array([[0.5, 2.0], [-1.0, 3.0]], dtype), layout)
    before, seen = bits(x), []

    def f(t):
        seen.append((t.shape, t.dtype))
        return np.cos(t)

    found = fg.derivative(f, x, n=n)
    assert bits(x) == before
    assert found.shape == x.shape
    assert found.dtype == x.dtype
    assert set(seen) == {(x.shape, x.dtype)}
    exact = [np.cos, lambda t: -np.sin(t), lambda t: -np.cos(t)][n](x.astype(float))
    tolerance = {"f2": 0.3, "f4": 5e-3}.get(dtype, 1e-6)
    np.testing.assert_allclose(found.astype(float), exact, atol=tolerance)


@pytest.mark.parametrize("shape", [(0,), (2, 0)])
def test_no_points(shape):
    assert fg.derivative(np.sin, np.zeros(shape)).shape == shape


def test_an_array_takes_as_many_calls_as_a_point():
    calls = []
    fg.derivative(lambda t: calls.append(0) or np.sin(t), np.linspace(0.1, 2, 1000))
    assert len(calls) == 2


def test_points_that_nobody_asks_for_stay():
    x, seen = np.array([1.0, 1e-4, 2.0]), []
    fg.derivative(lambda t: seen.append(t.copy()) or np.exp(t), x)
    assert len(seen) == 2 + 1 + 2  # both first points, the values, and a look at the small entry
    assert all((t[[0, 2]] == x[[0, 2]]).all() for t in seen[2:])


def test_a_step_for_each_point():
    x = np.array([1.0, 2.0])
    found = fg.derivative(lambda t: t**3, x, eps=np.array([0.01, 0.1]))
    np.testing.assert_allclose(found, [3.0001, 12.01], rtol=1e-12)
    found = fg.derivative(lambda t: t**3, x, rel_eps=0.01)
    np.testing.assert_allclose(found, [3.0001, 12.0004], rtol=1e-12)
    found = fg.derivative(lambda t: t**4, 1.0, n=2, eps=0.1)
    assert found == pytest.approx(12 + 2 * 0.1**2, rel=1e-9)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize("n", [-1, 7, 100])
def test_there_is_no_such_derivative(n):
    with pytest.raises(fg.InputValueError, match=f"`n` must be one of 0 to 6; got {n}"):
        fg.derivative(np.sin, 1.0, n=n)


@pytest.mark.parametrize("n", [1.0, True, "2", None])
def test_n_is_an_integer(n):
    with pytest.raises(fg.InputTypeError, match="`n` must be an integer from 0 to 6; got"):
        fg.derivative(np.sin, 1.0, n=n)


def test_a_stencil_of_ones_own_is_for_first_derivatives():
    mine = fg.Stencil("mine", 2, ((1, -1, Fraction(1)),))
    with pytest.raises(fg.InputValueError, match="where `n` is 2; got mine"):
        fg.derivative(np.sin, 1.0, n=2, method=mine)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.arange(3), r"`x` has dtype int64.*`x`\.astype\(float\)"),
        (np.ones(3, complex), "`x` must hold real numbers; got complex ones"),
        (np.ma.masked_array([1.0, 2.0]), "`x` is a masked array"),
        ([1.0, 2.0], "`x` must be one real number, or an array of them; got"),
    ],
)
def test_points_of_another_kind(x, said):
    with pytest.raises(fg.InputTypeError, match=said):
        fg.derivative(np.sin, x)


@pytest.mark.parametrize(
    ("f", "error", "said"),
    [
        (np.sum, fg.InputValueError, r"`f` returned shape \(\) for points of shape \(3,\)"),
        (lambda t: None, fg.InputTypeError, "`f` returned None; for an array of points"),
        (lambda t: t + 1j, fg.InputTypeError, "complex128"),
        (lambda t: [t, 1.0], fg.InputTypeError, "for an array of points"),
    ],
)  # fmt: skip
def test_values_of_another_kind(f, error, said):
    with pytest.raises(error, match=said):
        fg.derivative(f, np.ones(3))


def test_a_function_of_one_number_is_told_apart():
    with pytest.raises(TypeError) as caught:
        fg.derivative(math.sin, np.ones(3))
    assert "np.vectorize" in "".join(getattr(caught.value, "__notes__", ["np.vectorize"]))


def test_both_kinds_of_steps():
    with pytest.raises(fg.InputValueError, match="`eps` and `rel_eps` both choose the step"):
        fg.derivative(np.sin, np.ones(3), eps=0.1, rel_eps=0.1)


def test_a_step_that_vanishes():
    with pytest.raises(fg.InputValueError, match=r"`eps` = 1e-20 vanishes at `x\[0\]` = 1"):
        fg.derivative(np.sin, np.ones(2), eps=1e-20)
    with pytest.raises(fg.InputValueError, match="`eps` = 1e-20 vanishes at `x` = 1"):
        fg.derivative(np.sin, 1.0, n=2, eps=1e-20)
