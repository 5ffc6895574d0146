"""Products with a Jacobian: exact ones, structures, faults at every evaluation, awkward `f`."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from evaluators import bits_of
from hypothesis import given
from hypothesis import strategies as st
from strategies import lay_out, quick

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")

A = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
X = np.array([0.5, -1.5, 2.0])
V = np.array([1.0, 0.5, -2.0])


def curved(x):
    return np.array([x[0] * x[1], np.sin(x[2]), x[0] ** 2, x.sum()])


def exact(x):
    return np.array([[x[1], x[0], 0], [0, 0, np.cos(x[2])], [2 * x[0], 0, 0], [1, 1, 1]])


# ---------------------------------------------------------------- along a direction


def test_a_product_from_seven_evaluations():
    calls = []

    def f(x):
        calls.append(1)
        return curved(x)

    found = fg.jvp(f, X.copy(), V)
    np.testing.assert_allclose(found, exact(X) @ V, atol=1e-11)
    assert len(calls) == 7


@pytest.mark.parametrize("length", [1e-200, 1e-9, 1e9, 1e200])
def test_the_length_of_the_direction_does_not_matter(length):
    found = fg.jvp(curved, X.copy(), V * length)
    np.testing.assert_allclose(found / length, exact(X) @ V, rtol=1e-10, atol=1e-11)


HARD = [
    (np.log, 1e-3, 1e3),
    (np.log, 1e-6, 1e6),
    (lambda x: np.sin(1000 * x), 0.5, 1000 * math.cos(500.0)),
    (np.cos, 1e-5, -1e-5),
    (lambda x: 1 / x, 1e-4, -1e8),
    (np.exp, 20.0, math.exp(20.0)),
    (lambda x: x**3, 1e8, 3e16),
    (lambda x: np.array([1e8 + x, x**2]), 1.5, [1.0, 3.0]),
    (lambda x: x.astype("f4") ** 2, 1.5, 3.0),
]


@pytest.mark.parametrize(("f", "x", "slope"), HARD)
def test_hard_functions(f, x, slope):
    found = fg.jvp(lambda x: np.ravel(f(x[0])), np.array([x]), [2.0])
    # Of values near 1e8 rounding leaves that much.
    rough = 1e-3 if found.dtype == np.float32 else 1e-4 if len(found) > 1 else 1e-6
    expected = 2 * np.asarray(slope)
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=rough, atol=1e-9)


def test_points_outside_of_the_domain_count_as_nan():
    def f(p):
        return [math.log(p["x"]), 2.0 * p["x"]]

    found = fg.jvp(f, {"x": np.array(1e-4)}, {"x": 1.0})
    np.testing.assert_allclose(found, [1e4, 2.0], rtol=1e-8)
    with pytest.raises(fg.InputValueError, match=r"raised at every point along `v`.*ValueError: "):
        fg.jvp(_only_at(np.ones(1)), np.ones(1), [1.0])


def _only_at(place):
    def f(x):
        if not np.array_equal(x, place):
            raise ValueError("elsewhere")
        return np.ones(2)

    return f


def test_structures_and_types():
    params = {"a": X.copy(), "b": [np.array(2.0, "f4"), None]}

    def f(p):
        return {"y": A @ p["a"] * p["b"][0], "z": (np.exp(1j * p["a"][:1]), float(p["b"][0]))}

    found = fg.jvp(f, params, {"a": V, "b": [1.0, None]})
    np.testing.assert_allclose(found["y"], 2 * A @ V + A @ X, atol=1e-3)
    np.testing.assert_allclose(found["z"][0], 1j * np.exp(1j * X[:1]) * V[0], atol=1e-3)
    assert found["z"][1] == pytest.approx(1.0, abs=1e-4)
    assert type(found["z"][1]) is float
    half = fg.jvp(lambda x: x.astype("f4") * 2, X.copy(), V)
    assert half.dtype == np.float32
    np.testing.assert_allclose(half, 2 * V, rtol=1e-3)
    assert fg.jvp(lambda x: x**2, 3.0, 1.0) == pytest.approx(6.0)
    assert fg.jvp(lambda x: np.empty((0, 2)), X.copy(), V).shape == (0, 2)


def test_a_direction_of_zeros():
    assert not fg.jvp(curved, X.copy(), np.zeros(3)).any()
    assert not fg.jvp(lambda p: curved(p[0]), [X.copy(), np.empty(0)], [0 * V, []])[0].any()


@pytest.mark.parametrize("layout", ["strided", "swapped", "unaligned", "reversed", "fortran"])
@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "g"])
def test_awkward_parameters(layout, kind):
    x = lay_out(np.array([[0.5, -1.5], [2.0, 0.25]], kind), layout)
    before = x.tobytes()
    found = fg.jvp(lambda p: p.astype(kind) ** 2, x, np.ones((2, 2)))
    rough = {"f8": 1e-10, "f4": 1e-3, "f2": 3e-2, "g": 1e-10}[kind]
    np.testing.assert_allclose(found.astype(float), 2 * x.astype(float), atol=4 * rough)
    assert x.tobytes() == before


def test_batched_and_native(library):
    batched = fg.batched(lambda x: x**2)
    np.testing.assert_allclose(fg.jvp(batched, X.copy(), V), 2 * X * V, atol=1e-10)
    f = fg.native(library.products, outputs=2)
    expected = [X[1] * V[0] + X[0] * V[1], X[2] * V[1] + X[1] * V[2]]
    np.testing.assert_allclose(fg.jvp(f, X.copy(), V), expected, atol=1e-10)
    np.testing.assert_allclose(
        fg.vjp(f, X.copy(), [1.0, 2.0]), [X[1], X[0] + 2 * X[2], 2 * X[1]], atol=1e-8
    )
    np.testing.assert_allclose(fg.vjp(batched, X.copy(), V), 2 * X * V, atol=1e-8)


@pytest.mark.parametrize(
    ("v", "error", "said"),
    [
        (np.ones(2), fg.InputValueError, r"`v` at `params` must have shape \(3,\); got \(2,\)"),
        (np.ones(3, complex), fg.InputTypeError, "`v` at `params` must hold real numbers"),
        (np.array([1.0, np.nan, 0.0]), fg.InputValueError, "must be finite"),
        ({"a": 1.0}, fg.InputTypeError, "`v` at `params` must hold real numbers"),
    ],
)
def test_bad_directions(v, error, said):
    with pytest.raises(error, match=said):
        fg.jvp(curved, X.copy(), v)


def test_constants_and_caches():
    with pytest.warns(fg.FastgradWarning, match="all derivatives are zero"):
        fg.jvp(lambda x: np.ones(2), X.copy(), V)
    cache = {}
    with pytest.raises(fg.InputValueError, match="does not see parameters that are moved"):
        fg.jvp(lambda x: cache.setdefault(id(x), (x**2, x))[0], X.copy(), V)
    assert fg.jvp(lambda x: x[:1] * 2, X.copy(), [0.0, 1.0, 0.0]).tolist() == [0.0]


# ---------------------------------------------------------------- with a vector on the left


@pytest.mark.parametrize("method", ["central", "forward", fg.central(4)], ids=repr)
def test_the_transposed_product(method):
    u = np.array([1.0, -2.0, 0.5, 3.0])
    found = fg.vjp(curved, X.copy(), u, method=method)
    np.testing.assert_allclose(found, u @ exact(X), atol=1e-6)
    within = fg.vjp(curved, X.copy(), u, method=method, bounds=(-1.5, 2.0))
    np.testing.assert_allclose(within, u @ exact(X), atol=1e-6)


def test_structures_of_both_sides():
    params = {"a": X.copy(), "b": [np.array(2.0, "f4")]}

    def f(p):
        return {"y": A @ p["a"] * p["b"][0], "n": float(p["b"][0])}

    found = fg.vjp(f, params, {"n": 1.0, "y": [1.0, 2.0]})
    np.testing.assert_allclose(found["a"], 2 * np.array([1.0, 2.0]) @ A, atol=1e-6)
    np.testing.assert_allclose(found["b"][0], np.array([1, 2]) @ A @ X + 1, rtol=1e-3)


def test_complex_outputs_and_parameters():
    """As torch has it: the conjugate of `u` counts."""
    u = np.array([1 - 2j, 0.5j, 3])
    found = fg.vjp(lambda x: np.exp(1j * x), X.copy(), u)
    np.testing.assert_allclose(found, (u.conj() * 1j * np.exp(1j * X)).real, atol=1e-8)
    z = np.array([1 + 2j, -0.5j, 2])
    found = fg.vjp(lambda z: z**2, z, u)
    np.testing.assert_allclose(found, u * (2 * z).conj(), atol=1e-7)


def test_coarse_outputs_get_coarse_steps():
    found = fg.vjp(lambda x: (x**2).astype("f4"), X.copy(), np.ones(3))
    np.testing.assert_allclose(found, 2 * X, atol=3e-3)


@given(st.integers(0, 2**32 - 1))
@quick(20)
def test_both_products_are_transposes(seed):
    draw = np.random.default_rng(seed)
    matrix, u, v = draw.normal(size=(4, 3)), draw.normal(size=4), draw.normal(size=3)
    x = draw.normal(size=3)

    def f(x):
        return np.tanh(matrix @ x)

    assert u @ fg.jvp(f, x, v) == pytest.approx(fg.vjp(f, x, u) @ v, abs=1e-7)


@pytest.mark.parametrize(
    ("u", "said"),
    [
        (np.ones(3), r"`u` in place of `out` must have shape \(4,\); got \(3,\)"),
        (np.ones(4, complex), "must hold real numbers"),
        ({"a": 1.0}, "in place of `out`"),
        ([np.inf] * 4, "`u` must be finite"),
    ],
)
def test_bad_weights(u, said):
    with pytest.raises(fg.FastgradError, match=said):
        fg.vjp(curved, X.copy(), u)
    with pytest.raises(fg.FastgradError, match="`u` must be a list, like what `f` returns"):
        fg.vjp(lambda x: [curved(x)], X.copy(), u if isinstance(u, dict) else np.ones(4))


def test_workers_change_nothing():
    u = np.arange(4.0)
    serial = fg.vjp(curved, X.copy(), u)
    with ThreadPoolExecutor(2) as executor:
        assert fg.vjp(curved, X.copy(), u, workers=executor).tobytes() == serial.tobytes()


# ---------------------------------------------------------------- faults


def ask_jvp(f, params):
    return fg.jvp(f, params, {"a": V, "b": [1.0, 2.0]})


def ask_vjp(f, params):
    return fg.vjp(f, params, np.ones(5))


def ask_propagate(f, params):
    return fg.propagate(lambda x: f({"a": x[:3], "b": x[3:]}), params["whole"], np.ones(5))


asks = pytest.mark.parametrize("ask", [ask_jvp, ask_vjp, ask_propagate])


def parameters(ask):
    if ask is ask_propagate:
        return {"whole": np.concatenate([X, [1.0, 2.0]])}
    return {"a": X.copy(), "b": np.array([1.0, 2.0], "f4")}


@asks
def test_an_interrupt_at_every_evaluation(ask):
    calls = fault = 0

    def f(p):
        nonlocal calls
        calls += 1
        if calls == fault:
            raise KeyboardInterrupt
        return np.concatenate([p["a"] ** 2, p["b"]])

    ask(f, parameters(ask))
    for each in range(1, calls + 1):
        params = parameters(ask)
        before, calls, fault = bits_of(params), 0, each
        with pytest.raises(KeyboardInterrupt):
            ask(f, params)
        assert bits_of(params) == before
    fault = 0
    ask(f, params)


@asks
def test_writes_are_undone_and_named(ask):
    def f(p):
        p["a"][1] += 1.0
        return np.concatenate([p["a"] ** 2, p["b"]])

    params = parameters(ask)
    before = bits_of(params)
    with pytest.raises(fg.MutationError, match="wrote into its input"):
        ask(f, params)
    assert bits_of(params) == before


# ---------------------------------------------------------------- covariances


def test_covariance():
    cov = np.array([[0.5, 0.1, 0.0], [0.1, 1.0, -0.2], [0.0, -0.2, 2.0]])
    value, covariance = fg.propagate(curved, X.copy(), cov)
    np.testing.assert_array_equal(value, curved(X))
    np.testing.assert_allclose(covariance, exact(X) @ cov @ exact(X).T, atol=1e-7)
    assert covariance.tobytes() == covariance.T.tobytes()
    variances = fg.propagate(curved, X.copy(), cov.diagonal())
    expected = exact(X) * cov.diagonal() @ exact(X).T
    np.testing.assert_allclose(variances.covariance, expected, atol=1e-7)
    assert variances.covariance.tobytes() == variances.covariance.T.tobytes()


def test_covariance_of_numbers_and_shapes():
    value, variance = fg.propagate(lambda x: x**2, 3.0, 0.25)
    assert (value, variance) == pytest.approx((9.0, 36 * 0.25))
    assert type(variance) is float
    x = np.arange(1.0, 5.0).reshape(2, 2)
    found = fg.propagate(lambda x: x.T @ x, x, np.full((2, 2), 0.5))
    assert found.value.shape == (2, 2)
    assert found.covariance.shape == (4, 4)
    again = fg.propagate(lambda x: (x.T @ x).ravel(), x, np.diag(np.full(4, 0.5)))
    np.testing.assert_allclose(found.covariance, again.covariance)


@pytest.mark.parametrize(
    ("cov", "said"),
    [
        (np.ones(2), r"`cov` must have shape \(3, 3\), or \(3,\)"),
        (np.ones((3, 3)) * 1j, "must hold real numbers"),
        (np.array([1.0, -1.0, 1.0]), "that of number 1 is -1.0"),
        (np.triu(np.ones((3, 3))), "must be symmetric; it and its transpose differ by 1"),
        (np.full(3, np.nan), "must be finite"),
        (
            np.array([[1.0, 0.0, 0.0], [0.0, 4.0, -7.0], [0.0, -7.0, 9.0]]),
            "that of numbers 1 and 2 is -7, and the product of their standard deviations 6",
        ),
        # In any unit of another number.
        (
            np.array([[1e9, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 1.0]]),
            "that of numbers 1 and 2 is 2, and the product of their standard deviations 1",
        ),
        (
            np.array([[1e9, 0.0, 0.0], [0.0, 1.0, 0.5], [0.0, 0.4, 1.0]]),
            "must be symmetric; it and its transpose differ by 0.1",
        ),
    ],
)
def test_bad_covariances(cov, said):
    with pytest.raises(fg.FastgradError, match=said):
        fg.propagate(curved, X.copy(), cov)


@pytest.mark.parametrize("size", [1e-150, 1.0, 1e150])
def test_full_correlation_is_no_bad_covariance(size):
    deviations = size * np.array([0.1, 0.3, 0.7])
    cov = np.multiply.outer(deviations, deviations) * np.array(
        [[1, -1, 1], [-1, 1, -1], [1, -1, 1]]
    )
    found = fg.propagate(lambda x: x[0] + x[1], X.copy(), cov).covariance
    assert found == pytest.approx((0.2 * size) ** 2, rel=1e-6)
    cov[0] = cov[:, 0] = [0.0, 1e-17 * size**2, 0.0]  # of a variance that is rounded to zero
    assert fg.propagate(lambda x: x[1], X.copy(), cov).covariance == pytest.approx(cov[1, 1])


def test_what_cannot_be_propagated():
    for f, said in (
        (lambda x: {"a": x}, "it returned `out.a`"),
        (lambda x: [x, x], "it returned 2 arrays"),
        (lambda x: 1j * x, "complex numbers"),
    ):
        with pytest.raises(fg.InputTypeError, match=said):
            fg.propagate(f, X.copy(), np.ones(3))
    with pytest.raises(fg.InputTypeError, match="`x` must be one real array or number"):
        fg.propagate(lambda p: p["a"], {"a": X.copy()}, np.ones(3))


# ---------------------------------------------------------------- infinities, vectors


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", [{}, {"f0": np.array([np.inf, 0.5, -np.inf])}], ids=str)
@pytest.mark.parametrize("batched", [False, True])
def test_infinite_outputs_make_nan_and_no_warnings_of_numpy(options, batched):
    def f(x):
        infinite = np.full(x[..., 0].shape, np.inf)
        return np.stack([infinite, x[..., 0], -infinite], axis=-1)

    found = fg.vjp(fg.batched(f) if batched else f, X.copy(), np.ones(3), **options)
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    "v", [np.ones(3, bool), np.ones(3, complex), np.array(["a"] * 3)], ids=lambda v: str(v.dtype)
)
def test_all_products_refuse_the_same_vectors(v):
    said = []
    for call in (lambda: fg.jvp(curved, X.copy(), v), lambda: fg.hvp(np.sum, X.copy(), v)):
        with pytest.raises(fg.InputTypeError, match="`v` at `params` must hold real") as caught:
            call()
        said.append(str(caught.value))
    assert said[0] == said[1]
