"""`hessian` and `hvp`: right, symmetric, counted, nested; and nothing is left moved."""

from __future__ import annotations

import itertools
import math
import warnings
from dataclasses import dataclass
from functools import partial

import mpmath
import numpy as np
import pytest
from clibrary import callback
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import rosen, rosen_der, rosen_hess
from strategies import LAYOUTS, REAL, bits, lay_out, quick

import fastgrad as fg
from fastgrad import _memory
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")
RANDOM = np.random.default_rng(7)
# Eight digits are promised of values, eleven of gradients: relative to the largest second
# derivative, with a factor for functions whose fourth derivatives are larger than they.
FROM_VALUES, FROM_GRADIENTS = 3e-7, 3e-9


class Problem:
    """A function, its gradient, and its second derivatives, all of one array."""

    def __init__(self, f, grad, hess, x):
        self.f, self.grad, self.hess, self.x = f, grad, hess, x


def logistic(n=6):
    a = RANDOM.normal(size=(40, n))
    y = np.where(RANDOM.random(40) < 0.5, -1.0, 1.0)

    def share(w):
        return 1 / (1 + np.exp(y * (a @ w)))

    return Problem(
        lambda w: float(np.logaddexp(0, -y * (a @ w)).sum()),
        lambda w: -a.T @ (y * share(w)),
        lambda w: (a.T * (share(w) * (1 - share(w)))) @ a,
        RANDOM.normal(size=n),
    )


def quadratic(n=5):
    a = RANDOM.normal(size=(n, n))
    a = a + a.T
    return Problem(
        lambda x: float(x @ a @ x / 2), lambda x: a @ x, lambda x: a, RANDOM.normal(size=n)
    )


def poisson():
    """A log-likelihood with a rate exp(a w)."""
    a, y = RANDOM.normal(size=(30, 3)), RANDOM.poisson(2.0, 30)
    return Problem(
        lambda w: float(np.exp(a @ w).sum() - y @ (a @ w)),
        lambda w: a.T @ (np.exp(a @ w) - y),
        lambda w: (a.T * np.exp(a @ w)) @ a,
        np.array([0.3, -0.2, 0.1]),
    )


def normal():
    """A log-likelihood of mean and standard deviation."""
    y = np.array([0.3, -1.2, 2.2, 0.9])

    def hess(x):
        m, s = x
        mixed = 2 * (y - m).sum() / s**3
        return np.array([[4 / s**2, mixed], [mixed, -4 / s**2 + 3 * ((y - m) ** 2).sum() / s**4]])

    return Problem(
        lambda x: float(((y - x[0]) ** 2).sum() / (2 * x[1] ** 2) + 4 * math.log(x[1])),
        lambda x: np.array(
            [-(y - x[0]).sum() / x[1] ** 2, -((y - x[0]) ** 2).sum() / x[1] ** 3 + 4 / x[1]]
        ),
        hess,
        np.array([0.4, 0.8]),
    )


PROBLEMS = {
    "rosenbrock": Problem(rosen, rosen_der, rosen_hess, np.array([1.2, -0.7, 0.3, 2.0, 1e-3])),
    "logistic": logistic(),
    "quadratic": quadratic(),
    "poisson": poisson(),
    "normal": normal(),
}
problems = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def off(found, exact):
    return np.abs(found - exact).max() / np.abs(exact).max()


class Counted:
    def __init__(self, f):
        self.f, self.calls = f, 0

    def __call__(self, x):
        self.calls += 1
        return self.f(x)


# ---------------------------------------------------------------- right


@problems
def test_second_derivatives_are_right(problem):
    exact, before = problem.hess(problem.x), bits(problem.x)
    assert off(fg.hessian(problem.f, problem.x), exact) < FROM_VALUES
    assert off(fg.hessian(problem.f, problem.x, problem.grad), exact) < FROM_GRADIENTS
    pairs = fg.hessian(lambda x: (problem.f(x), problem.grad(x)), problem.x, True)
    np.testing.assert_array_equal(pairs, fg.hessian(problem.f, problem.x, problem.grad))
    assert bits(problem.x) == before


@problems
def test_products_are_right(problem):
    v = np.random.default_rng(1).normal(size=problem.x.size)
    exact, before = problem.hess(problem.x) @ v, bits(problem.x)
    assert off(fg.hvp(problem.f, problem.x, v), exact) < 4 * FROM_VALUES
    assert off(fg.hvp(problem.f, problem.x, v, problem.grad), exact) < FROM_GRADIENTS
    assert bits(problem.x) == before


def test_against_mpmath():
    def f(x, lib=math):
        return lib.exp(x[0] * x[1]) * lib.sin(x[2]) + lib.log(x[1] + x[2] ** 2)

    x = [0.3, 1.7, -0.6]
    exact = np.empty((3, 3))
    for i, j in itertools.product(range(3), range(3)):
        orders = [(i == k) + (j == k) for k in range(3)]
        exact[i, j] = mpmath.diff(lambda *t: f(t, mpmath), x, orders)
    assert off(fg.hessian(f, np.array(x)), exact) < FROM_VALUES


@given(st.lists(st.floats(-3, 3), min_size=1, max_size=5), st.integers(0, 2**32 - 1))
@quick(40)
def test_symmetric_to_the_bit(x, seed):
    x = np.array(x)
    a = np.random.default_rng(seed).normal(size=(x.size, x.size))

    def f(x):
        return float(np.cos(a @ x).sum() + (x @ a @ x) ** 2)

    with warnings.catch_warnings():
        # The gradient is not that of any function.
        warnings.simplefilter("ignore", fg.FastgradWarning)
        for grad in (None, lambda x: a @ x):
            found = fg.hessian(f, x, grad)
            assert found.tobytes() == found.T.copy().tobytes()


# ---------------------------------------------------------------- counted


def test_evaluations_of_values():
    n = 100
    f = Counted(lambda x: float(np.cos(x).sum() + (x[1:] * x[:-1]).sum()))
    fg.hessian(f, np.linspace(1, 2, n))
    assert f.calls == n**2 + 3 * n + 7
    f.calls = 0
    fg.hessian(f, np.linspace(1, 2, n), eps=1e-4)
    assert f.calls == n**2 + n + 1
    f.calls = 0
    fg.hvp(f, np.linspace(1, 2, n), np.ones(n))
    assert f.calls <= 4 * n + 15


def test_evaluations_of_gradients():
    n = 100
    grad = Counted(lambda x: -np.sin(x))
    f = Counted(lambda x: float(np.cos(x).sum()))
    for eps in (None, 1e-5):
        grad.calls = 0
        fg.hessian(f, np.linspace(1, 2, n), grad, eps=eps)
        assert grad.calls == 2 * n + 1
    grad.calls = 0
    fg.hvp(f, np.linspace(1, 2, n), np.ones(n), grad)
    assert grad.calls == 3
    assert f.calls == 0


# ---------------------------------------------------------------- hard points


@pytest.mark.parametrize("x", [1e-1, 1e-3, 1e-6, 1e-9])
def test_entries_that_are_small_beside_a_step(x):
    """A logarithm near its pole, and a cosine, whose scale is one wherever it is."""
    at = np.array([x, 2.0])

    def f(x):
        with np.errstate(all="ignore"):
            return float(np.log(x[0]) * x[1] + np.cos(x[1]))

    def grad(x):
        return np.array([x[1] / x[0], np.log(abs(x[0])) - np.sin(x[1])])

    exact = np.array([[-2 / x**2, 1 / x], [1 / x, -np.cos(2.0)]])
    for found in (fg.hessian(f, at), fg.hessian(f, at, grad)):
        np.testing.assert_allclose(found[0], exact[0], rtol=1e-4)
        # What moves far beside a pole is lost in the values there.
        assert found[1, 1] == pytest.approx(exact[1, 1], rel=1e-6)
    v = np.array([1.0, 0.0])
    for found in (fg.hvp(f, at, v), fg.hvp(f, at, v, grad)):
        assert found[0] == pytest.approx(exact[0, 0], rel=1e-4)
    tame = fg.hessian(lambda x: math.cos(x[0]), at)
    assert tame[0, 0] == pytest.approx(-math.cos(x), abs=FROM_VALUES)


def test_a_function_that_varies_fast():
    x = np.array([1.0, 2.0])
    exact = -1e6 * np.sin(1e3 * x)

    def f(x):
        return float(np.sin(1e3 * x).sum())

    np.testing.assert_allclose(np.diag(fg.hessian(f, x)), exact, rtol=1e-5)
    np.testing.assert_allclose(fg.hvp(f, x, np.ones(2)), exact, rtol=1e-4)


def test_a_function_in_single_precision():
    """In float32 arithmetic the default step of a float64 function would show noise alone."""
    problem, random = PROBLEMS["logistic"], np.random.default_rng(5)
    a, y = np.float32(random.normal(size=(40, 6))), np.float32(np.sign(random.normal(size=40)))

    def f(w, kind=np.float32):
        return np.logaddexp(kind(0), -y * (a @ w.astype(kind))).sum()

    exact = fg.hessian(partial(f, kind=np.float64), problem.x)
    assert off(fg.hessian(f, problem.x), exact) < 1e-2
    assert off(fg.hessian(f, problem.x.astype("f4")), exact) < 1e-2
    grad = partial(fg.gradient, partial(f, kind=np.float64))
    single = fg.hessian(f, problem.x, lambda w: grad(w.astype(float)).astype("f4"))
    assert off(single, exact) < 1e-3


def test_a_large_constant_beside_the_function():
    problem = PROBLEMS["logistic"]
    found = fg.hessian(lambda x: problem.f(x) + 1e8, problem.x)
    assert off(found, problem.hess(problem.x)) < 1e-2


def test_a_kink_is_named():
    with pytest.warns(fg.FastgradWarning, match=r"`params\[1\]` may be off by .*kink"):
        fg.hessian(lambda x: float(np.abs(x - 1).sum() + x @ x), np.array([3.0, 1.0]))


@pytest.mark.parametrize(
    "f", [lambda x: float(x.sum()), lambda x: float(x @ x)], ids=["line", "x2"]
)
def test_no_warning_without_a_reason(f):
    fg.hessian(f, np.array([3.0, 1.0, 0.0]))
    fg.hessian(f, np.zeros(3))


def test_nothing_moves_f():
    with pytest.warns(fg.FastgradWarning, match="nothing that is done to the parameters moves `f`"):
        fg.hessian(lambda x: 3.0, np.ones(2))


def test_a_gradient_that_is_not_symmetric():
    def grad(x):
        return rosen_der(x) * np.array([1, 1, 1.001, 1])

    x = np.array([0.7, -0.4, 1.1, 0.2])
    with pytest.warns(
        fg.FastgradWarning, match=r"`params\[2\]` by `params\[1\]` is .*`grad` is"
    ) as w:
        found = fg.hessian(rosen, x, grad)
    assert len(w) == 1
    assert found[1, 2] == pytest.approx(rosen_hess(x)[1, 2] * 1.0005, rel=1e-8)


def test_not_finite_where_f_is_not():
    def f(x):
        return math.nan if x[0] > 1 and x[1] > 1 else float(x @ x)

    np.testing.assert_array_equal(
        np.isnan(fg.hessian(f, np.ones(3), eps=0.1)),
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],
    )
    found = fg.hessian(rosen, np.ones(2), lambda x: np.full(2, np.nan))
    assert np.isnan(found).all()
    assert np.isnan(fg.hvp(lambda x: math.nan, np.ones(2), np.ones(2))).all()


# ---------------------------------------------------------------- structures and types


@dataclass
class Point:
    x: np.ndarray
    y: float


def test_nested_like_jax():
    params = {"W": np.array([[1.0, 2.0]]), "p": Point(np.array([0.5]), 3.0), "none": None}

    def f(p):
        return float((p["W"] ** 2).sum() * p["p"].x[0] + p["p"].y ** 2 * p["W"][0, 1])

    found = fg.hessian(f, params)
    assert found["none"] is None
    assert found["W"]["W"].shape == (1, 2, 1, 2)
    assert found["W"]["p"].x.shape == (1, 2, 1)
    assert found["p"].x["W"].shape == (1, 1, 2)
    assert found["p"].y["p"].y.shape == ()
    np.testing.assert_allclose(found["W"]["W"].reshape(2, 2), np.eye(2), atol=1e-6)
    np.testing.assert_allclose(found["W"]["p"].x.ravel(), [2, 4], rtol=1e-6)
    np.testing.assert_allclose(found["p"].y["W"].ravel(), [0, 6], atol=1e-6)
    assert found["p"].y["p"].y == pytest.approx(4.0, rel=1e-6)
    v = {"W": np.array([[1.0, 1.0]]), "p": Point([0.0], 1.0), "none": None}
    product = fg.hvp(f, params, v)
    np.testing.assert_allclose(product["W"], [[1, 7]], rtol=1e-6)
    assert product["p"].y == pytest.approx(10.0, rel=1e-6)
    assert product["none"] is None


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", REAL)
def test_types_and_layouts(dtype, layout):
    x = lay_out(np.array([[0.5, -1.0], [2.0, 0.25]]).astype(dtype), layout)
    before = bits(x)
    weights = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = fg.hessian(lambda x: float((weights * x.astype(float) ** 2).sum()), x)
    assert found.dtype == np.dtype(dtype)
    assert found.shape == (2, 2, 2, 2)
    np.testing.assert_allclose(found.reshape(4, 4), np.diag(2 * weights.ravel()), atol=2e-3)
    found = fg.hvp(lambda x: float((weights * x.astype(float) ** 2).sum()), x, np.ones((2, 2)))
    assert found.dtype == x.dtype
    np.testing.assert_allclose(found, 2 * weights, rtol=2e-3)
    assert bits(x) == before


def test_numbers_and_nothing():
    assert fg.hessian(lambda t: t**3, 2.0) == pytest.approx(12.0, rel=1e-6)
    assert fg.hvp(lambda t: t**3, 2.0, 0.5) == pytest.approx(6.0, rel=1e-6)
    assert fg.hessian(lambda x: 1.0, np.empty((0, 2))).shape == (0, 2, 0, 2)
    assert fg.hessian(lambda x: 1.0, np.empty(0), lambda x: x).shape == (0, 0)
    assert fg.hvp(lambda x: 1.0, np.empty(0), np.empty(0)).shape == (0,)
    assert fg.hessian(lambda p: 1.0, {}) == {}
    np.testing.assert_array_equal(fg.hvp(rosen, np.ones(3), np.zeros(3)), np.zeros(3))


# ---------------------------------------------------------------- steps that are given


def test_eps_is_honored():
    """Of x**4 a second difference at the step h is 12 x**2 + 2 h**2."""
    seen = set()

    def f(x):
        seen.update(x.tolist())
        return float((x**4).sum())

    x = np.array([1.0, 2.0])
    found = fg.hessian(f, x, eps=[0.25, 0.5])
    np.testing.assert_allclose(found, [[12 + 2 * 0.25**2, 0], [0, 48 + 2 * 0.5**2]], atol=1e-12)
    assert seen == {1.0, 1.25, 0.75, 2.0, 2.5, 1.5}
    found = fg.hessian(f, x, lambda x: 4 * x**3, eps=0.25)
    np.testing.assert_allclose(found, np.diag(12 * x**2 + 4 * 0.25**2), atol=1e-12)


@pytest.mark.parametrize("grad", [None, lambda x: x], ids=["values", "gradients"])
def test_steps_that_vanish(grad):
    with pytest.raises(fg.InputValueError, match=r"`eps` = 1e-20 vanishes at `params\[0\]`"):
        fg.hessian(lambda x: float(x @ x), np.ones(2), grad, eps=1e-20)


# ---------------------------------------------------------------- every kind of objective


def quartic(x):
    return float((x**4).sum() + x[0] * x[1] * x[2])


def quartic_gradient(x):
    return 4 * x**3 + np.array([x[1] * x[2], x[0] * x[2], x[0] * x[1]])


X = np.array([0.3, -1.4, 2.2])


def test_batches_workers_and_c_give_the_same_bits():
    native = fg.native(
        callback(lambda n, x, y, u: _store(y, x), "int (int, const double *, double *, void *)")
    )
    expected, product = fg.hessian(quartic, X), fg.hvp(quartic, X, np.ones(3))
    rows = fg.batched(lambda x: [quartic(row) for row in x])
    for f, workers in ((rows, None), (native, None), (native, 2), (quartic, map)):
        np.testing.assert_array_equal(fg.hessian(f, X, workers=workers), expected)
        np.testing.assert_array_equal(fg.hvp(f, X, np.ones(3), workers=workers), product)


def test_workers_take_gradients():
    expected = fg.hessian(quartic, X, quartic_gradient)
    found = fg.hessian(quartic, X, quartic_gradient, workers=map)
    np.testing.assert_array_equal(found, expected)
    product = fg.hvp(quartic, X, np.ones(3), quartic_gradient, workers=map)
    np.testing.assert_array_equal(product, fg.hvp(quartic, X, np.ones(3), quartic_gradient))


def _store(y, x):
    y[0] = quartic(np.ctypeslib.as_array(x, (3,)))
    return 0


# ---------------------------------------------------------------- faults


class Stop(Exception):
    pass


CALLS = {
    "values": lambda f, g, x: fg.hessian(f, x),
    "gradients": lambda f, g, x: fg.hessian(f, x, g),
    "product": lambda f, g, x: fg.hvp(f, x, np.ones(3)),
    "product of gradients": lambda f, g, x: fg.hvp(f, x, np.ones(3), g),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("kind", [Stop, KeyboardInterrupt])
def test_a_fault_at_every_evaluation(call, kind):
    class Faulty:
        def __init__(self, f, state):
            self.f, self.state = f, state

        def __call__(self, x):
            self.state[0] -= 1
            if not self.state[0]:
                raise kind
            return self.f(x)

    x = X.copy()
    for number in itertools.count(1):
        state = [number]
        try:
            call(Faulty(quartic, state), Faulty(quartic_gradient, state), x)
        except kind:
            assert bits(x) == bits(X)
            assert not _memory.locks
        else:
            break
    assert number > 3


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_writes_are_refused_and_undone(call):
    x = X.copy()

    def writes(f, x):
        value = f(x)
        x[1] += 1.0
        return value

    with pytest.raises(fg.MutationError, match="wrote into its input"):
        call(partial(writes, quartic), partial(writes, quartic_gradient), x)
    assert bits(x) == bits(X)


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((3, np.ones(2)), "`f` must be callable"),
        ((rosen, np.ones(2), np.ones(2)), r"`grad` must be callable .* or True"),
        ((rosen, np.ones(2) + 1j), "`params` is complex, .* two arrays"),
        ((rosen, np.ones(2), lambda x: x[:1]), r"`grad` at `params` must have shape \(2,\)"),
        ((rosen, np.ones(2), True), r"must return the pair \(value, gradient\)"),
        ((rosen, np.ones(2), fg.batched(rosen_der)), "`grad` must return a gradient at one point"),
    ],
    ids=range(6),
)
def test_hessian_refuses(arguments, said):
    with pytest.raises((fg.InputTypeError, fg.InputValueError), match=said):
        fg.hessian(*arguments)


@pytest.mark.parametrize(
    ("v", "said"),
    [
        (np.ones(3), r"`v` at `params` must have shape \(2,\); got \(3,\)"),
        (np.array([1.0, np.nan]), "`v` at `params` must be finite"),
        (np.array([1j, 1]), "`v` at `params` must hold real numbers"),
        ({"a": 1.0}, "`v` at `params` must hold real numbers"),
    ],
    ids=["shape", "nan", "complex", "dict"],
)
def test_hvp_refuses(v, said):
    with pytest.raises((fg.InputTypeError, fg.InputValueError), match=said):
        fg.hvp(rosen, np.ones(2), v)


def test_steps_are_checked_as_for_a_gradient():
    with pytest.raises(fg.InputValueError, match="`eps` must be a positive finite step"):
        fg.hessian(rosen, np.ones(2), eps=-1.0)


def test_large_parameters_are_checked_by_sums():
    x = np.ones(2**16)
    product = fg.hvp(
        lambda x: float(x[:3] @ x[:3]),
        x,
        np.ones(2**16),
        lambda x: np.where(np.arange(x.size) < 3, 2 * x, 0),
    )
    np.testing.assert_allclose(product[:4], [2, 2, 2, 0], atol=1e-9)
    assert len(flatten(x)) == 1


# ---------------------------------------------------------------- what is told of errors


def told(call):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = call()
    return found, [str(each.message) for each in caught]


TIGHT = np.array([2.0, 1.0])
LIMITS = (TIGHT - 1e-9, TIGHT + 1e-9)


@pytest.mark.parametrize("f", [lambda x: x[0] ** 3 * x[1] ** 2, np.sum], ids=["cubic", "sum"])
def test_tight_bounds_do_not_make_f_look_constant(f):
    found, said = told(lambda: fg.hessian(f, TIGHT.copy(), bounds=LIMITS))
    assert not np.isfinite(found).all() or said
    assert not any("nothing that is done" in each for each in said)


def test_a_constant_is_still_found_within_tight_bounds():
    _, said = told(lambda: fg.hessian(lambda x: 3.0, TIGHT.copy(), bounds=LIMITS))
    assert any("nothing that is done" in each for each in said)


def test_a_copy_is_still_told_from_a_constant_within_tight_bounds():
    seen = {}

    def cached(x):
        return seen.setdefault(id(x), (float(x.sum()), x))[0]  # with `x`, whose id stays its own

    with pytest.raises(fg.InputValueError, match="does not see parameters"):
        told(lambda: fg.hessian(cached, TIGHT.copy(), bounds=LIMITS))


def test_a_product_that_noise_hides_is_told():
    _, said = told(
        lambda: fg.hvp(lambda x: x[0] ** 3 * x[1] ** 2, TIGHT.copy(), [4.0, 0.0], bounds=LIMITS)
    )
    assert any("along `v` may be off" in each for each in said)


@pytest.mark.parametrize("of_gradients", [False, True])
@pytest.mark.parametrize("v", [[1.0, 1.0], [1e-3, -2.0]], ids=str)
def test_a_product_across_a_kink_is_told(of_gradients, v):
    grad = (lambda x: np.array([np.sign(x[0]), 2 * x[1]])) if of_gradients else None
    kinked = np.array([0.0, 1.0])
    _, said = told(lambda: fg.hvp(lambda x: abs(x[0]) + x[1] ** 2, kinked, v, grad))
    assert any("along `v`" in each and "may be off" in each for each in said)


@pytest.mark.parametrize("x", [[0.0, 0.0], [1e-9, 1.0], [0.5, -2.0]], ids=str)
@pytest.mark.parametrize(
    "grad",
    [lambda x: 2 * x, lambda x: 4 * x**3, lambda x: np.ones(2), np.sinh, lambda x: np.zeros(2)],
    ids=["square", "quartic", "linear", "cosh", "constant"],
)
def test_products_of_smooth_gradients_are_not_doubted(grad, x):
    assert not told(lambda: fg.hvp(np.sum, np.array(x), [1.0, -0.5], grad))[1]


def test_what_may_be_off_is_told_once():
    """Along `v`, and not again of the entries that it moves."""
    for function, f in ((fg.hvp, lambda x: (x**4).sum()), (fg.hvp, lambda x: (abs(x) ** 3).sum())):
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            function(f, np.zeros(2), np.ones(2))
        assert len([each for each in told if each.category is fg.FastgradWarning]) <= 1
    with pytest.warns(fg.FastgradWarning, match="along `v`"):
        fg.hvp(lambda x: (x**4).sum(), np.zeros(2), np.ones(2))
