"""Jacobians of any output by any parameters: values, structures, types, faults, awkward `f`."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from evaluators import bits_of
from hypothesis import given
from hypothesis import strategies as st
from strategies import STENCILS, lay_out, quick

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")

A = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
X = np.array([0.5, -1.5, 2.0])


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Model:
    w: Any
    b: Any


def curved(x):
    return np.array([x[0] * x[1], np.sin(x[2]), x[0] ** 2, x.sum()])


def exact(x):
    return np.array([[x[1], x[0], 0], [0, 0, np.cos(x[2])], [2 * x[0], 0, 0], [1, 1, 1]])


# ---------------------------------------------------------------- values


@pytest.mark.parametrize("stencil", STENCILS, ids=repr)
def test_exact_values(stencil):
    found = fg.jacobian(curved, X.copy(), method=stencil)
    tolerance = {1: 1e-7, 2: 1e-8}.get(stencil.order, 1e-9)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found, exact(X), atol=10 * tolerance)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 2**32 - 1))
@quick(30)
def test_linear_maps_are_exact(m, n, seed):
    matrix = np.random.default_rng(seed).integers(-9, 9, (m, n)).astype(float)
    found = fg.jacobian(lambda x: matrix @ x, np.zeros(n), eps=2.0**-10, method="forward")
    np.testing.assert_array_equal(found, matrix + 0.0)


@pytest.mark.parametrize("method", STENCILS, ids=repr)
def test_of_one_number_it_is_the_gradient_to_the_bit(method):
    x = np.array([0.3, -2.0])

    def f(x):
        return float(x[0] ** 3 * np.exp(x[1]))

    gradient = fg.gradient(f, x, method=method, eps=1e-3)
    for long_way in (f, lambda x: np.array(f(x)), lambda x: [f(x)], lambda x: {"a": f(x)}):
        found = fg.jacobian(long_way, x, method=method, eps=1e-3)
        found = found["a"] if isinstance(found, dict) else found
        assert np.reshape(found, 2).tobytes() == gradient.tobytes()
    small, long = fg.jacobian(curved, X.copy()), fg.jacobian(curved, X.copy(), workers=1)
    assert small.tobytes() == long.tobytes()


def test_both_backends_agree(backend, monkeypatch):
    from fastgrad import _backend

    params = {"a": X.copy(), "b": np.array([[1.0, 2.0]], "f4")}

    def f(p):
        return [curved(p["a"]) * p["b"].sum(), np.exp(1j * p["b"])]

    found = []
    for name in {"pure", backend}:
        _backend.use(name)
        found.append([bits_of(each) for each in fg.jacobian(f, params)])
    _backend.use(backend)
    assert all(each == found[0] for each in found)


# ---------------------------------------------------------------- structures


def test_structure_of_outputs_then_of_parameters():
    params = Model([X.copy(), np.array(2.0)], {"k": np.ones((2, 1))})

    def f(p):
        return Pair({"y": A @ p.w[0] * p.w[1]}, (p.b["k"].sum(), None, p.w[0][None, :]))

    found = fg.jacobian(f, params)
    assert isinstance(found, Pair)
    assert found.second[1] is None
    leaf = found.first["y"]
    assert isinstance(leaf, Model)
    np.testing.assert_allclose(leaf.w[0], 2 * A, atol=1e-8)
    np.testing.assert_allclose(leaf.w[1], A @ X, atol=1e-8)
    assert leaf.b["k"].shape == (2, 2, 1)
    assert not leaf.b["k"].any()
    number = found.second[0]
    np.testing.assert_allclose(number.b["k"], np.ones((2, 1)), atol=1e-8)
    assert found.second[2].w[0].shape == (1, 3, 3)
    np.testing.assert_allclose(found.second[2].w[0][0], np.eye(3), atol=1e-8)


def test_shapes():
    def f(x):
        return np.outer(x.ravel()[:2], x.ravel()[2:])[..., None]

    values = np.arange(1.0, 7.0).reshape(2, 3)
    for x in (values, np.asfortranarray(values)):
        found = fg.jacobian(f, x)
        assert found.shape == (2, 4, 1, 2, 3)
        assert found[1, 2, 0, 0, 1] == pytest.approx(5.0)
        assert found[1, 2, 0, 1, 1] == pytest.approx(2.0)


def test_numbers_and_lists():
    assert fg.jacobian(lambda x: x**2, 3.0) == pytest.approx(6.0)
    assert not isinstance(fg.jacobian(lambda x: x**2, 3.0), np.ndarray)
    assert fg.jacobian(lambda x: [float(x), 2.0 * float(x)], 3.0).shape == (2,)
    found = fg.jacobian(lambda p: p[0] * p[1], [1.0, 2.0])
    np.testing.assert_allclose(found, [2.0, 1.0], atol=1e-9)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0)])
def test_empty_outputs_and_parameters(shape):
    assert fg.jacobian(lambda x: np.empty(shape), np.ones(2)).shape == (*shape, 2)
    assert fg.jacobian(lambda x: np.empty(shape), [np.ones(2)])[0].shape == (*shape, 2)
    assert fg.jacobian(lambda x: np.ones(2), np.empty(shape)).shape == (2, *shape)


# ---------------------------------------------------------------- types

KINDS = [
    ("f8", "f8", "f8"),
    ("f4", "f4", "f4"),
    ("f4", "f8", "f8"),
    ("f8", "f4", "f8"),
    ("f2", "f2", "f2"),
    ("f8", "c16", "c16"),
    ("f4", "c8", "c8"),
    ("f8", "c8", "c16"),
    ("f8", ">f8", "f8"),
    (">f8", "f8", "f8"),
    ("g", "f8", "g"),
]


@pytest.mark.parametrize(("parameter", "output", "expected"), KINDS)
def test_types(parameter, output, expected):
    x = np.array([0.5, 1.5], parameter)
    factor = 2 + 1j if np.dtype(output).kind == "c" else 2.0
    found = fg.jacobian(
        lambda x: (factor * x.astype(complex if factor != 2 else float)).astype(output), x
    )
    assert found.dtype == np.dtype(expected)
    coarse = {"f2": 3e-2, "f4": 1e-3, "c8": 1e-3}
    tolerance = max(coarse.get(parameter, 1e-8), coarse.get(output, 1e-8))
    np.testing.assert_allclose(found.astype(complex), factor * np.eye(2), atol=tolerance)


def test_complex_outputs():
    z = fg.jacobian(lambda x: np.exp(1j * x), X.copy())
    np.testing.assert_allclose(z, np.diag(1j * np.exp(1j * X)), atol=1e-9)


@pytest.mark.parametrize("layout", ["strided", "swapped", "unaligned", "reversed", "fortran"])
@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "g"])
def test_awkward_parameters_and_outputs(layout, kind):
    values = np.array([[0.5, -1.5], [2.0, 0.25]], kind)
    x = lay_out(values, layout)
    before = x.tobytes()

    def f(p):
        return lay_out(p.astype(kind), layout)

    found = fg.jacobian(f, x)
    tolerance = {"f8": 1e-8, "f4": 1e-3, "f2": 3e-2, "g": 1e-8}[kind]
    np.testing.assert_allclose(found.reshape(4, 4).astype(float), np.eye(4), atol=tolerance)
    assert x.tobytes() == before


def test_complex_parameters_are_refused_with_the_way_out():
    z = np.array([1 + 2j])
    with pytest.raises(fg.InputTypeError, match=r"`params` is complex.*`params`.view\(float\)"):
        fg.jacobian(lambda z: z, z)
    with pytest.raises(fg.InputTypeError, match="`a` is complex"):
        fg.jacobian(lambda p: p["a"], {"a": z})
    found = fg.jacobian(lambda x: x.view(complex) ** 2, z.view(float))
    np.testing.assert_allclose(found, [[2 + 4j, -4 + 2j]], atol=1e-8)


# ---------------------------------------------------------------- awkward values


def test_its_own_buffer_and_views_of_its_input():
    buffer = np.zeros(3)

    def reused(x):
        np.multiply(x, x, out=buffer)
        return buffer

    for method in ("central", "forward"):
        np.testing.assert_allclose(
            fg.jacobian(reused, X.copy(), method=method), np.diag(2 * X), atol=1e-6
        )
        for view in (lambda x: x, lambda x: x[::-1], lambda x: {"a": x[1:], "b": x[0]}):
            found = fg.jacobian(view, X.copy(), method=method, eps=2.0**-8)
            parts = list(found.values()) if isinstance(found, dict) else [found]
            assert sum(float(np.abs(part).sum()) for part in parts) == 3.0


CHANGES = [
    (np.ones(4), r"shape \(4,\) as `out` at (x|params)\[1\]"),
    (np.ones((1, 3)), "the shape must not change"),
    (np.ones(3, "f4"), "mostly rounding"),
    (np.ones(3, complex), "complex numbers everywhere"),
    (None, r"returned None as `out` at params\[1\]"),
    ({"a": np.ones(3)}, "returned a dict as `out`"),
    (1.0, r"shape \(\) as `out`"),
]


@pytest.mark.parametrize(("then", "said"), CHANGES, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("eps", [None, 0.25])
def test_values_that_change_are_named_with_the_entry(then, said, eps):
    x = X.copy()
    with pytest.raises(fg.FastgradError, match=said):
        fg.jacobian(lambda x: x * 2 if x[1] == X[1] else then, x, eps=eps)
    assert x.tobytes() == X.tobytes()


def test_the_same_in_another_layout():
    def f(x):
        y = np.outer(x, x)
        return y if x[0] == X[0] else np.asfortranarray(y)

    found = fg.jacobian(f, X.copy())
    np.testing.assert_allclose(found[0, 1], [X[1], X[0], 0], atol=1e-8)


def test_values_that_are_not_finite():
    with np.errstate(all="ignore"):
        found = fg.jacobian(lambda x: np.array([np.log(x[0]), x[1]]), np.array([-1.0, 2.0]))
    assert np.isnan(found[0]).all()
    np.testing.assert_allclose(found[1], [0, 1], atol=1e-9)


# ---------------------------------------------------------------- options


def test_steps_and_bounds():
    inside = []

    def f(x):
        inside.append((x >= 0).all() and x[2] == 4.0)
        return x**2

    x = np.array([0.0, 1.0, 4.0])
    found = fg.jacobian(f, x, bounds=([0, 0, 4.0], [np.inf, 1.0, 4.0]))
    assert all(inside)
    np.testing.assert_allclose(found[:2, :2], np.diag([0.0, 2.0]), atol=1e-8)
    assert np.isnan(found[:, 2]).all()
    found = fg.jacobian(lambda x: x**3, np.ones(2), eps=[0.5, 0.25])
    np.testing.assert_allclose(found, np.diag([3.25, 3.0625]))
    with pytest.raises(fg.InputValueError, match="`eps` = 1e-30 vanishes"):
        fg.jacobian(lambda x: x, np.ones(2), eps=1e-30)
    with pytest.raises(fg.InputValueError, match="`eps` = 1e-30 vanishes"):
        fg.jacobian(lambda x: x, np.ones(2), eps=1e-30, bounds=(0, 2))


def test_relative_steps():
    x = np.array([1e-6, -3e4, 0.0])

    def f(x):
        return np.array([np.log(x[0]), x[1] ** 2, np.cos(x[2]), x[0] * x[2]])

    found = fg.jacobian(f, x, rel_eps=1e-5)
    np.testing.assert_allclose(np.diag(found[:3]), [1e6, -6e4, 0.0], rtol=1e-8, atol=1e-9)
    each = fg.jacobian(f, x, rel_eps=np.full(3, 1e-5), method=fg.central(4))
    np.testing.assert_allclose(np.diag(each[:3]), [1e6, -6e4, 0.0], rtol=1e-8, atol=1e-9)
    first = fg.gradient(lambda x: float(f(x)[1]), x, rel_eps=1e-5)
    np.testing.assert_array_equal(found[1], first)
    with pytest.raises(fg.InputValueError, match="`eps` and `rel_eps` both"):
        fg.jacobian(f, x, eps=1e-5, rel_eps=1e-5)
    with pytest.raises(fg.InputValueError, match="`rel_eps` must be a positive"):
        fg.jacobian(f, x, rel_eps=-1.0)


def poles(x):
    with np.errstate(all="ignore"):
        powers = [np.log(x[0]), np.cos(x[0]), 1 / x[0], np.sqrt(x[0]) * x[1]]
        return {"powers": np.array(powers), "linear": x[0] + 1e-3 * x[1]}


@pytest.mark.parametrize("method", ["central", fg.central(4), fg.central(8), "forward"], ids=str)
@pytest.mark.parametrize("at", [1e-3, 1e-5, 1e-6, 1e-9])
@pytest.mark.parametrize("way", ["plain", "nested", "bounds", "batched"])
def test_entries_that_are_small_beside_their_steps(method, at, way):
    x = np.array([at, 2.0])
    exact = [1 / at, -np.sin(at), -1 / at**2, 0.5 * 2.0 / np.sqrt(at)]
    f, params, options = poles, x, {}
    if way == "nested":
        f, params = (lambda p: poles(np.array([p["a"][0], p["b"]]))), {"a": x[:1], "b": 2.0}
    elif way == "bounds":
        options = {"bounds": (0.0, None)}
    elif way == "batched":
        f = fg.batched(lambda x: {"powers": poles(x.T)["powers"].T, "linear": x @ [1.0, 1e-3]})
    before = x.tobytes()
    with warnings.catch_warnings():
        if method == "forward":
            warnings.simplefilter("ignore", fg.FastgradWarning)
        found = fg.jacobian(f, params, method=method, **options)
    assert x.tobytes() == before
    mine = found["powers"]["a"][:, 0] if way == "nested" else found["powers"][:, 0]
    coarse = method == "forward" or way == "bounds"
    np.testing.assert_allclose(mine, exact, rtol=3e-5 if coarse else 1e-7, atol=2e-8)
    linear = found["linear"]["a"] if way == "nested" else found["linear"]
    assert np.ravel(linear)[0] == pytest.approx(1.0, rel=1e-7)


def test_small_entries_cost_some_evaluations_and_no_others_do():
    calls = []

    def f(x):
        calls.append(None)
        return np.cos(x) * np.arange(1.0, 5.0)

    fg.jacobian(f, np.array([0.5, 1e-5, 0.0, 3.0]))
    assert len(calls) == 1 + 2 * 4 + 2  # and cos at 1e-5 is as it was
    calls.clear()
    fg.jacobian(f, np.array([0.5, 1e-5, 0.0, 3.0]), eps=1e-6)
    assert len(calls) == 1 + 2 * 4


def test_a_derivative_that_does_not_stand_is_told_of():
    def f(x):
        return np.array([x[0], np.sin(1e9 * x[0])])

    with pytest.warns(fg.StepWarning, match="params"):
        found = fg.jacobian(f, np.array([1e-5, 1.0]))
    assert found[0, 0] == pytest.approx(1.0)


def test_chunks_change_nothing(monkeypatch):
    from fastgrad._derivatives import jacobian_rows as module

    params = [np.linspace(0, 1, 7).astype("f4"), np.ones((2, 2))]

    def f(p):
        return np.concatenate([p[0] ** 2, np.sin(p[1]).ravel()])

    whole = [fg.jacobian(f, params), fg.jacobian(f, params, bounds=(0, 2))]
    monkeypatch.setattr(module, "BYTES", 200)
    parts = [fg.jacobian(f, params), fg.jacobian(f, params, bounds=(0, 2))]
    assert [bits_of(each) for each in whole] == [bits_of(each) for each in parts]


def test_out():
    out = {
        "a": [np.full((2, 3), 9.0, "f4"), np.empty(2)],
        "z": [np.empty((3,), complex)[::1], None],
    }
    params = [X.copy(), np.array(1.0)]
    out["z"] = [np.empty((1, 6), complex)[:, ::2], np.empty(1, complex)]

    def f(p):
        return {"a": A @ p[0] * p[1], "z": np.array([1j * p[0].sum()])}

    found = fg.jacobian(f, params, out=out)
    assert found is out
    np.testing.assert_allclose(out["a"][0], A, atol=1e-6)
    np.testing.assert_allclose(out["a"][1], A @ X, atol=1e-8)
    np.testing.assert_allclose(out["z"][0], [[1j] * 3], atol=1e-8)


@pytest.mark.parametrize(
    ("out", "said"),
    [
        (np.empty((3, 2)), r"`out` must hold an array of shape \(2, 3\) and a floating type"),
        (np.empty((2, 3), complex), "dtype complex128"),
        (np.empty((2, 3), int), "dtype int64"),
        ([np.empty((2, 3))], r"shape \(2, 3\)"),
        (np.broadcast_to(0.0, (2, 3)), "read-only"),
    ],
)
def test_bad_out(out, said):
    with pytest.raises(fg.InputValueError, match=said):
        fg.jacobian(lambda x: A @ x, X.copy(), out=out)


def test_bad_structure_of_out():
    def f(x):
        return {"a": A @ x}

    for out, said in (
        (np.empty((2, 3)), "`out` must be a dict, like what `f` returns"),
        ({"b": 1}, "with `out.a`"),
    ):
        with pytest.raises(fg.FastgradError, match=said):
            fg.jacobian(f, X.copy(), out=out)


def test_out_may_not_be_the_parameters():
    x = np.ones(1)
    with pytest.raises(fg.InputValueError, match="share memory"):
        fg.jacobian(lambda x: x[0] ** 2, x, out=x)


# ---------------------------------------------------------------- counts


def test_counts():
    for params in (X.copy(), [X.copy()]):
        calls = []

        def f(p, calls=calls):
            calls.append(1)
            return curved(np.asarray(p).ravel())

        fg.jacobian(f, params)
        assert len(calls) == 1 + 2 * 3
        calls.clear()
        fg.jacobian(f, params, method="forward")
        assert len(calls) == 1 + 3
        calls.clear()
        fg.jacobian(lambda p: {"a": f(p)}, params)
        assert len(calls) == 1 + 2 * 3


# ---------------------------------------------------------------- other kinds of f


def test_batched():
    f = fg.batched(lambda p: {"y": p["x"] ** 2, "z": 1j * p["x"][:, 0]})
    found = fg.jacobian(f, {"x": X.copy()})
    np.testing.assert_allclose(found["y"]["x"], np.diag(2 * X), atol=1e-8)
    np.testing.assert_allclose(found["z"]["x"], [1j, 0, 0], atol=1e-8)
    assert f({"x": X})["y"].tolist() == (X**2).tolist()
    with pytest.raises(fg.InputValueError, match="rows of the batched `f` influence each other"):
        fg.jacobian(fg.batched(lambda x: x - x.mean(axis=0)), X.copy())
    with pytest.raises(fg.InputValueError, match="a first axis of length"):
        fg.jacobian(fg.batched(lambda x: (x**2).sum(axis=0)), X.copy())


@pytest.mark.parametrize("workers", [None, 2])
def test_native(workers, library):
    f = fg.native(library.products_wide, outputs=4)
    expected = [[X[1], X[0], 0], [0, X[2], X[1]], [X[2], 0, X[0]], [X[1], X[0], 0]]
    found = fg.jacobian(f, X.copy(), workers=workers)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    assert found.tobytes() == fg.jacobian(lambda x: f(x), X.copy()).tobytes()
    forward = fg.jacobian(f, X.copy(), workers=workers, method="forward")
    np.testing.assert_allclose(forward, expected, atol=1e-6)
    limit = fg.native(library.products, user_data=np.array([2.0]), outputs=2)
    with pytest.raises(fg.ObjectiveError, match=r"error code 7 while `params\[2\]` was moved"):
        fg.jacobian(limit, X.copy(), workers=workers)
    scalar = fg.jacobian(fg.native(library.cubes), X.copy(), workers=workers)
    np.testing.assert_allclose(scalar, 3 * np.arange(1, 4) * X**2, atol=1e-7)


def test_a_native_one_of_many_values_is_no_objective(library):
    f = fg.native(library.products, outputs=2)
    with pytest.raises(fg.InputTypeError, match="this native one has `outputs` = 2"):
        fg.gradient(f, X.copy())


def test_workers():
    params = {"a": X.copy(), "b": np.ones((2, 2), "f4")}

    def f(p):
        return {"y": p["a"] ** 2 * p["b"].sum(), "z": np.exp(1j * p["b"])}

    serial = fg.jacobian(f, params)
    with ThreadPoolExecutor(2) as executor:
        for workers in (executor, map):
            found = fg.jacobian(f, params, workers=workers)
            assert bits_of(found["y"]) == bits_of(serial["y"])
            assert bits_of(found["z"]) == bits_of(serial["z"])
            within = fg.jacobian(f, params, workers=workers, bounds=(-9, 9))
            assert bits_of(within) == bits_of(fg.jacobian(f, params, bounds=(-9, 9)))


# ---------------------------------------------------------------- does not see its moves


def test_constants_and_caches():
    with pytest.warns(fg.FastgradWarning, match="all derivatives are zero"):
        assert not fg.jacobian(lambda x: np.ones(3), X.copy()).any()
    with pytest.warns(fg.FastgradWarning, match="all derivatives are zero"):
        fg.jacobian(lambda x: [np.ones(3)], X.copy())
    cache = {}

    def caching(x):
        return cache.setdefault(id(x), (x**2, x))[0]  # kept, so that no id is used again

    for eps in (None, 0.5):
        x = X.copy()
        with pytest.raises(fg.InputValueError, match="does not see parameters that are moved"):
            fg.jacobian(caching, x, eps=eps)


# ---------------------------------------------------------------- faults


def asked(way):
    """Parameters, and options that go one way or the other."""
    params = X.copy() if way != "nested" else {"a": X.copy(), "b": np.array([1.0, 2.0], "f4")}
    return params, {"bounds": {"bounds": (-9, 9)}, "small": {}}.get(way, {"workers": 1})


ways = pytest.mark.parametrize("way", ["small", "long", "nested", "bounds"])


@ways
@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_a_fault_at_every_evaluation(way, kind):
    calls = 0

    def f(p):
        nonlocal calls
        calls += 1
        if calls == fault:
            raise kind
        parts = p.values() if isinstance(p, dict) else [p]
        return np.concatenate([part**2 for part in parts])

    params, options = asked(way)
    fault = 0
    fg.jacobian(f, params, **options)
    total = calls
    for each in range(1, total + 1):
        params, options = asked(way)
        before, calls, fault = bits_of(params), 0, each
        with pytest.raises(kind):
            fg.jacobian(f, params, **options)
        assert bits_of(params) == before
    fault = 0  # nothing is locked
    fg.jacobian(f, params, **options)


@ways
def test_writes_are_undone_and_named(way):
    params, options = asked(way)
    before = bits_of(params)

    def f(p):
        x = p["a"] if isinstance(p, dict) else p
        x[1] += 1.0
        return x**2

    with pytest.raises(fg.MutationError, match="wrote into its input"):
        fg.jacobian(f, params, **options)
    assert bits_of(params) == before


def test_memory_that_is_given_away():
    for eps in (None, 0.5):
        x = np.arange(1.0, 4.0)
        calls = []

        def f(x, calls=calls):
            calls.append(1)
            if len(calls) == 3:
                x.resize((1,), refcheck=False)
            return np.ones(2)

        with pytest.raises(fg.MutationError, match="resized, retyped, froze or moved"):
            fg.jacobian(f, x, eps=eps)


def test_a_resized_value_is_not_read_beyond_its_end():
    buffer = np.ones(64)
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) == 2:
            buffer.resize((2,), refcheck=False)
        return buffer

    with pytest.raises(fg.InputValueError, match="the shape must not change"):
        fg.jacobian(f, X.copy())


def test_warnings_of_f_are_the_users():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RuntimeWarning):
            fg.jacobian(lambda x: np.log(-x), np.ones(2))


def test_bad_arguments():
    with pytest.raises(fg.InputTypeError, match="`f` must be callable"):
        fg.jacobian(3, X.copy())
    with pytest.raises(fg.InputValueError, match="`method` must be"):
        fg.jacobian(curved, X.copy(), method="sideways")
    with pytest.raises(fg.InputTypeError, match="has dtype int64"):
        fg.jacobian(curved, np.arange(3))
    with pytest.raises(fg.InputTypeError, match="returned None at the unperturbed parameters"):
        fg.jacobian(lambda x: None, X.copy())
