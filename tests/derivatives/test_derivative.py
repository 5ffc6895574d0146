"""`derivative` of arrays of points, and derivatives of any order, against exact ones."""

from __future__ import annotations

import math
import warnings
from concurrent.futures import ThreadPoolExecutor
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


def rational(t):
    """Of basic operations, whose values are the same to the bit in arrays and alone.

    Those of an `exp`, or of a sine, depend on the processor.
    """
    return (t + 2.0) / (1.0 + t * t)


@every
@orders
def test_accuracy_of_higher_derivatives(method, n):
    x = np.array([0.3, 1.0, -0.7])
    found = fg.derivative(np.exp, x, n=n, method=method)
    stencil = higher(method, n)
    promise = np.finfo(float).eps ** (method.order / (n + method.order))
    error = 2 * (stencil.truncation + 4 * stencil.amplification) * promise
    np.testing.assert_allclose(found, np.exp(x), rtol=error)
    found = fg.derivative(rational, x, n=n, method=method)
    assert [fg.derivative(rational, float(t), n=n, method=method) for t in x] == found.tolist()


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
    found = fg.derivative(rational, x, method=method)
    assert found.tolist() == [fg.derivative(rational, float(each), method=method) for each in x]


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


# ---------------------------------------------------------------- known values, bounds, workers


@every
@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("x", [1.0, 2.0, np.array([1.0, 1.5, 2.0])], ids=["low", "high", "array"])
def test_no_point_is_beyond_the_bounds(method, n, x):
    seen = []

    def f(t):
        seen.append(np.array(t))
        return np.exp(t)

    found = fg.derivative(f, x, n=n, method=method, bounds=(1.0, 2.0))
    assert all(((t >= 1.0) & (t <= 2.0)).all() for t in seen)
    order = min(method.order, 4)
    stencil = higher(fg.forward(order), n)
    promise = np.finfo(float).eps ** (order / (n + order))
    error = 3 * (stencil.truncation + 4 * stencil.amplification) * promise
    np.testing.assert_allclose(found, np.exp(x), rtol=error)


def test_bounds_of_each_point_and_of_a_step():
    x = np.array([1.0, 2.0])
    bounds = (np.array([1.0, 0.0]), np.array([1.0, 2.0]))
    found = fg.derivative(np.exp, x, bounds=bounds)
    assert np.isnan(found[0])  # it cannot be moved
    assert found[1] == pytest.approx(np.exp(2.0), rel=1e-8)
    found = fg.derivative(lambda t: t**3, 1.0, eps=0.01, bounds=(1.0, None))
    assert found == pytest.approx(3 - 2 * 0.01**2, rel=1e-9)
    for at in (1.0, x):
        with pytest.raises(fg.InputValueError, match="below the lower"):
            fg.derivative(np.exp, at, bounds=(1.5, 3.0))


@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("x", [1.5, np.array([1.5, 2.0])], ids=["point", "array"])
def test_a_known_value_is_not_evaluated(n, x):
    calls = []

    def f(t):
        calls.append(t)
        return np.exp(t)

    for method in (fg.forward(), fg.central(), fg.central(4)):
        calls.clear()
        plain, without = fg.derivative(f, x, n=n, method=method), len(calls)
        calls.clear()
        found = fg.derivative(f, x, n=n, method=method, f0=np.exp(x))
        np.testing.assert_array_equal(found, plain)
        assert len(calls) == without - higher(method, n).uses_base
        assert not any(np.array_equal(t, x) for t in calls)
    # It is taken as it is.
    shifted = fg.derivative(np.exp, x, n=n, method="forward", f0=np.exp(x) + 1.0, eps=0.5)
    expected = fg.derivative(np.exp, x, n=n, method="forward", eps=0.5)
    assert np.all(abs(shifted - expected) > 1.0)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_workers_give_the_same_bits(n):
    with ThreadPoolExecutor(2) as pool:
        for x in (0.75, np.float32(0.75)):
            for method in ("central", fg.central(4), "forward"):
                plain = fg.derivative(np.cos, x, n=n, method=method)
                for workers in (pool, map):
                    found = fg.derivative(np.cos, x, n=n, method=method, workers=workers)
                    assert found == plain
                    assert type(found) is type(plain)


def test_what_these_options_must_be():
    x = np.array([1.0, 2.0])
    with pytest.raises(fg.InputValueError, match="`workers` evaluate `f` at one point"):
        fg.derivative(np.exp, x, workers=map)
    with pytest.raises(fg.InputValueError, match=r"`f0` must hold .* in shape \(2,\); got"):
        fg.derivative(np.exp, x, f0=1.0)
    with pytest.raises(fg.InputTypeError, match="`f0` must be one real number"):
        fg.derivative(np.exp, 1.0, n=2, f0="e")
    for name, value in {"f0": 1.0, "bounds": (0, 3), "workers": map}.items():
        with pytest.raises(fg.InputValueError, match=f"`{name}` does not go with `n` = 0"):
            fg.derivative(np.exp, x, n=0, **{name: value})


def test_relative_steps_that_vanish_are_told_by_their_name():
    for x in (1.0, np.array([1.0, 3.0])):
        for n in (1, 2):
            with pytest.raises(
                fg.InputValueError, match=r"`rel_eps` = 1e-18 vanishes at `x(\[0\])?`"
            ):
                fg.derivative(np.sin, x, n=n, rel_eps=1e-18)
    with pytest.raises(
        fg.InputValueError, match=r"`rel_eps` = 1e-18 .* at least 4.4e-16, or rel_eps="
    ):
        fg.gradient(lambda p: p["w"].sum(), {"w": np.ones(2)}, rel_eps={"w": 1e-18})
    with pytest.raises(fg.InputValueError, match="`eps` = 1e-20 vanishes at `x` = 1"):
        fg.derivative(np.sin, 1.0, eps=1e-20)


# ---------------------------------------------------------------- at zero


@calm
@pytest.mark.parametrize("x", [0.0, np.array([0.0, 1.0])], ids=["point", "array"])
@pytest.mark.parametrize("scale", [1.0, 1e-12, 1e12])
@pytest.mark.parametrize("power", [1, 3])
def test_a_pole_at_zero_is_told(x, scale, power):
    with pytest.warns(fg.StepWarning, match=r"with respect to `x(\[0\])?` = 0"):
        found = fg.derivative(lambda t: scale / t**power, x)
    if np.ndim(x):
        assert found[1] == pytest.approx(-power * scale, rel=1e-6)


@pytest.mark.parametrize("f", [math.sin, lambda t: math.sin(t) / t, lambda t: t**3, abs, math.exp])
@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_what_is_smooth_at_zero_is_not(f, scale):
    """Nor does it matter that `f` has no value there."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fg.derivative(lambda t: scale * f(t), 0.0)
    exact = scale if f in (math.sin, math.exp) else 0.0
    assert found == pytest.approx(exact, rel=1e-9, abs=1e-9 * scale)
    if found:  # else it is zero but for rounding, of which smaller steps have less
        assert abs(found) <= abs(fg.gradient(lambda t: scale * f(t), 0.0))


EVEN_POLES = {
    "-2": lambda t: 1 / t**2,
    "-4": lambda t: t**-4.0,
    "-1": lambda t: 1 / abs(t),
    "-1/2": lambda t: abs(t) ** -0.5,
    "log": lambda t: np.log(abs(t)),
    "log, raised": lambda t: np.log(abs(t)) + 100.0,
}


@calm
@pytest.mark.parametrize("x", [0.0, np.float32(0.0), np.array([0.0, 1.0])], ids=str)
@pytest.mark.parametrize("how", [{}, {"method": fg.central(4)}, {"n": 3}], ids=str)
@pytest.mark.parametrize("name", EVEN_POLES)
def test_a_pole_whose_values_cancel_at_zero_is_told(name, how, x):
    f = EVEN_POLES[name]
    with pytest.warns(fg.StepWarning, match=r"with respect to `x(\[0\])?` = 0, 0, is uncertain"):
        found = fg.derivative(lambda t: 3 * f(t), x, **how)
    assert np.all(np.ravel(found)[:1] == 0)


@calm
@pytest.mark.parametrize("place", [3.0, -2.5, 1e3, 1e-3])
@pytest.mark.parametrize("name", sorted(EVEN_POLES.keys() - {"-4"}))  # its last bits go by the sign
def test_a_pole_whose_values_cancel_elsewhere_is_told(name, place):
    for x in (np.float64(place), np.array([place, place + 1])):
        with pytest.warns(fg.StepWarning, match=r"0, is uncertain"):
            found = fg.derivative(lambda t: EVEN_POLES[name](t - place), x)
        assert np.ravel(found)[0] == 0


GAPS = {
    "sinc": (lambda t: np.sin(t) / t, 0.0),
    "cosine": (lambda t: (1 - np.cos(t)) / t**2, 0.0),
    "exponential": (lambda t: np.expm1(t) / t, 0.5),
    "x log x": (lambda t: t**2 * np.log(abs(t)), 0.0),
    "flat": (lambda t: np.exp(-1 / t**2) / t, 0.0),
    "constant": (lambda t: t / t, 0.0),
}


@calm
@pytest.mark.parametrize("x", [0.0, np.array([0.0, 1.0])], ids=str)
@pytest.mark.parametrize("name", GAPS)
def test_a_gap_at_zero_is_closed(name, x):
    f, exact = GAPS[name]
    for scale in (1.0, 1e-9, 1e9):
        for method in ("central", fg.central(4)):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = fg.derivative(lambda t, s=scale: s * f(t), x, method=method)
            assert np.ravel(found)[0] == pytest.approx(scale * exact, rel=1e-6, abs=1e-4 * scale)


@calm
@pytest.mark.parametrize("name", ["sinc", "cosine", "x log x", "constant"])
def test_a_gap_elsewhere_is_closed(name):
    f, _ = GAPS[name]
    for place in (3.0, -2.5, 0.125):
        for x in (np.float64(place), np.array([place, place + 1])):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found = fg.derivative(lambda t, at=place: f(t - at), x)
            assert np.ravel(found)[0] == pytest.approx(0.0, abs=1e-4)


def test_the_value_is_looked_at_only_where_a_derivative_comes_out_as_zero():
    for f, calls in ((lambda t: (t - 3.0) ** 2, 5), (math.exp, 2)):
        seen = []
        fg.derivative(lambda t, f=f, seen=seen: seen.append(t) or f(t), 3.0)
        assert len(seen) == calls


FINITE = {
    "cosine": np.cos,
    "square": np.square,
    "cube": lambda t: abs(t) ** 3,
    "flat": lambda t: np.where(t == 0, 0.0, np.exp(-1 / np.square(t))),
    "logarithm": lambda t: np.where(t == 0, 0.0, t**2 * np.log(abs(t))),
}


@calm
@pytest.mark.parametrize("x", [0.0, np.array([0.0, 1.0])], ids=str)
@pytest.mark.parametrize("name", FINITE)
def test_poles_are_not_sought_where_there_is_a_value(monkeypatch, name, x):
    def count():
        calls = []
        with warnings.catch_warnings():
            warnings.simplefilter("error", fg.StepWarning)
            found = fg.derivative(lambda t: calls.append(t) or FINITE[name](t), x)
        assert np.ravel(found)[0] == 0
        return len(calls)

    with_a_look = count()
    where = "fastgrad._derivatives.derivative._off_at_poles"
    monkeypatch.setattr(where, lambda *_: np.zeros(1))
    assert count() == with_a_look
