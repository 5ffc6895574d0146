"""What automatic steps leave in doubt: small entries, higher orders, edges of domains, noise."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from clibrary import callback
from scales import IDS, POINTS, exact_derivative
from strategies import LAYOUTS, bits, lay_out

import fastgrad as fg

mpmath = pytest.importorskip("mpmath")
pytestmark = pytest.mark.usefixtures("backend")
calm = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
ORDERS = (2, 4, 6, 8)
METHODS = [fg.central(2), fg.central(6), fg.forward(), fg.forward(3), fg.backward(2)]


def relative_error(found, exact):
    return abs(found - exact) / abs(exact) if exact else abs(found)


@calm
@pytest.mark.parametrize(("name", "f", "exact", "x"), POINTS, ids=IDS)
def test_default_steps_are_right_where_f_has_a_scale_of_its_own(name, f, exact, x):
    slope = exact_derivative(mpmath, exact, x)
    error = [
        relative_error(fg.derivative(f, x, method=fg.central(order)), slope) for order in ORDERS
    ]
    small = abs(x) < 1e-2
    assert error[0] < (1e-6 if small else 5e-6), error
    assert max(error[1:]) < max(10 * error[0], 1e-10), error


@calm
@pytest.mark.parametrize("method", METHODS, ids=repr)
@pytest.mark.parametrize("x", [1e-3, 1e-5, 1e-9])
def test_every_method_is_right_for_small_entries(method, x):
    inside = x if method.name != "forward" else -x
    slope = fg.derivative(lambda t: np.log(abs(t)), inside, method=method)
    assert relative_error(slope, 1 / inside) < (1e-5 if method.order == 1 else 1e-6)


@pytest.mark.parametrize("x", [1e-3, 1e-5, 1e-7])
def test_a_function_whose_scale_is_one_keeps_its_digits(x):
    for f, slope in ((np.cos, -np.sin(x)), (np.sin, np.cos(x)), (lambda t: 1e3 + t, 1.0)):
        first = fg.derivative(f, x, eps=np.finfo(float).eps ** (1 / 3))
        assert fg.derivative(f, x) == first
        assert abs(first - slope) < 1e-10 * max(1.0, abs(f(x)))


def test_an_explicit_step_is_never_changed():
    calls = []
    f = lambda t: calls.append(t) or t * t  # noqa: E731
    for options in ({"eps": 1e-3}, {"rel_eps": 0.5}, {"eps": 1e-3, "method": fg.central(4)}):
        calls.clear()
        fg.derivative(f, 1e-4, **options)
        assert len(calls) == options.get("method", fg.central()).evaluations


def test_only_small_entries_pay():
    x = np.array([1.0, -2.0, 1e-4, 0.0, 3.0, -1e-5, 0.5])
    calls = []
    fg.gradient(lambda x: calls.append(0) or float(np.exp(x).sum()), x)
    assert len(calls) == 2 * len(x) + 2 * 2 + 1
    calls.clear()
    fg.gradient(lambda x: calls.append(0) or float(np.exp(x).sum()), x[[0, 1, 3, 4, 6]].copy())
    assert len(calls) == 2 * 5


def test_higher_orders_doubt_themselves_at_no_cost():
    calls = []
    for order in (4, 6, 8):
        calls.clear()
        fg.gradient(
            lambda x: calls.append(0) or float(np.exp(x).sum()),
            np.array([1.0, 1e-4, 0.3]),
            method=fg.central(order),
        )
        assert len(calls) == 3 * order


@calm
@pytest.mark.parametrize("method", [fg.central(), fg.central(8), fg.forward(2)], ids=repr)
def test_at_the_edge_of_a_domain(method):
    x = 1 - 1e-6
    slope = fg.derivative(np.arcsin, x, method=method)
    assert relative_error(slope, 1 / np.sqrt(1 - x * x)) < 1e-5


def test_nan_stays_where_f_has_no_value():
    calls = []
    x = np.array([1.0, 2.0, 3.0])
    found = fg.gradient(lambda x: calls.append(0) or np.nan, x)
    assert np.isnan(found).all()
    assert len(calls) == 2 * 3 + 1


@calm
def test_nan_stays_where_no_step_helps():
    assert np.isnan(fg.derivative(np.sqrt, 0.0))


@pytest.mark.parametrize(("order", "noise"), [(2, 1e-8), (8, 1e-5)])
def test_noise_is_told_and_the_first_step_kept(order, noise):
    x, random = 1e-3, np.random.default_rng(0)
    with pytest.warns(fg.StepWarning, match=r"`params` = 0.001, .* is uncertain by about .*`eps`"):
        slope = fg.derivative(
            lambda t: t + noise * random.standard_normal(), x, method=fg.central(order)
        )
    assert abs(slope - 1) < 0.02


@calm
def test_a_warning_names_the_entry_and_counts_the_others():
    random = np.random.default_rng(0)
    tree = {"a": np.ones(2), "b": np.array([[1.0, 1e-4], [2e-4, 3e-4]])}
    with pytest.warns(
        fg.StepWarning, match=r"`b\[0, 1\]` = 0.0001.*\(2 other entries too\)"
    ) as caught:
        fg.gradient(lambda t: t["b"].sum() + 1e-6 * random.standard_normal(), tree)
    assert caught[0].filename == __file__


def test_the_warning_is_a_warning_of_ours():
    assert issubclass(fg.StepWarning, fg.FastgradWarning)


@pytest.mark.parametrize("method", [fg.forward(2), fg.backward(3), fg.central(4)], ids=repr)
@pytest.mark.parametrize("power", [2, 3, 4])
@pytest.mark.parametrize("factor", [1.0, 1e3, 1e-30])
def test_a_derivative_that_vanishes_with_the_step_is_zero(method, power, factor):
    """No two differences agree by their own size, and each is closer to zero than the last."""
    found = fg.gradient(lambda x: factor * x[0] ** power, np.zeros(1), method=method)
    assert abs(found[0]) <= 1e-9 * factor


@pytest.mark.parametrize(
    "f",
    [
        lambda x: abs(x[0]) ** 1.5,  # its second derivative is infinite
        lambda x: np.sin(1e9 * x[0]) + x[0] ** 2,
        lambda x: x[0] ** 2 * (1 + 0.5 * np.sin(1e9 * x[0])) + 1e-9 * np.sin(3e9 * x[0]),
    ],
)
def test_one_that_does_not_vanish_is_told(f):
    with pytest.warns(fg.StepWarning):
        fg.gradient(f, np.zeros(1), method=fg.forward(2))


@calm
def test_nothing_is_told_of_functions_that_differentiate_well():
    with warnings.catch_warnings():
        warnings.simplefilter("error", fg.FastgradWarning)
        for _, f, _, x in POINTS[::3]:
            for order in (2, 6):
                fg.derivative(f, x, method=fg.central(order))


# ---------------------------------------------------------------- every way gives the same bits


def cost(x):
    return float(np.log(np.abs(x)).sum() + np.cos(x).sum())


X = np.array([1e-3, 2.0, -1e-5, 0.3, 1e-9, 40.0])


@calm
@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_all_evaluators_agree(method):
    native = fg.native(callback(lambda n, x, _: cost(np.array(x[:n]))))
    expected = fg.gradient(cost, X.copy(), method=method)
    same = [
        fg.gradient(lambda t: cost(t["x"]), {"x": X.copy()}, method=method)["x"],
        fg.gradient(cost, X.copy(), method=method, workers=map),
        fg.gradient(cost, X.copy(), method=method, where=np.ones(6, bool)),
        fg.gradient(fg.batched(lambda rows: [cost(row) for row in rows]), X.copy(), method=method),
        fg.gradient(cost, X.copy(), method=method, out=np.empty(6)),
        fg.gradient(native, X.copy(), method=method),
    ]  # fmt: skip
    for found in same:
        np.testing.assert_array_equal(found, expected)
    exact = 1 / X - np.sin(X)
    np.testing.assert_allclose(expected, exact, rtol=1e-5 if method.order == 1 else 1e-6)


@calm
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "g"])
def test_every_type_and_layout(dtype, layout):
    x = lay_out(np.array([[0.02, 2.0], [-0.3, 1e-3]], dtype), layout)
    before = bits(x)
    found = fg.gradient(lambda x: np.log(np.abs(x.astype("g"))).sum(), x)
    assert bits(x) == before
    np.testing.assert_allclose(
        found.astype(float), 1 / x.astype(float), rtol=2e-3 if dtype == "f4" else 1e-6
    )


@calm
def test_within_bounds():
    x, seen = np.array([1e-6, 1e-3, 2.0]), []

    def f(x):
        seen.append(x.min())
        return float(np.log(x).sum())

    found = fg.gradient(f, x, bounds=(0.0, None))
    assert min(seen) >= 0
    np.testing.assert_allclose(found, 1 / x, rtol=1e-6)


@calm
@pytest.mark.parametrize("method", [fg.central(), fg.central(4)], ids=repr)
def test_a_fault_at_every_evaluation_leaves_the_parameters_alone(method):
    x, count = X.copy(), 0

    class Stop(Exception):
        pass

    def failing(at):
        calls = 0

        def f(x):
            nonlocal calls
            calls += 1
            if calls == at:
                raise Stop
            return cost(x)

        return f

    while True:
        count += 1
        try:
            fg.gradient(failing(count), x, method=method)
        except Stop:
            assert bits(x) == bits(X)
            continue
        break
    assert count > method.evaluations * len(x) + 10
