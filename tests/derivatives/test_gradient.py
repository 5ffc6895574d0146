"""`derivative` and `gradient`: the numbers, the calls, the shapes and types of what comes back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    ALL,
    LAYOUTS,
    REAL,
    STENCIL_IDS,
    STENCILS,
    bits,
    in_thirds,
    lay_out,
    quick,
    stencils,
    weigh,
)

import fastgrad as fg
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")
every = pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("forward", 3.0301), ("central", 3.0001), ("backward", 2.9701)],
)
def test_the_lecture(method, expected):
    """The cube at 1 with a step of 0.01; the exact slope is 3."""
    assert fg.derivative(lambda t: t**3, 1.0, eps=0.01, method=method) == pytest.approx(
        expected, abs=1e-12
    )
    assert fg.gradient(
        lambda x: float((x**3).sum()), np.ones(4), eps=0.01, method=method
    ) == pytest.approx(np.full(4, expected), abs=1e-12)


def test_halving_the_step_halves_or_quarters_the_error():
    for method, factor in (("forward", 2), ("backward", 2), ("central", 4)):
        error = [
            abs(fg.derivative(lambda t: t**3, 1.0, eps=eps, method=method) - 3)
            for eps in (0.02, 0.01)
        ]
        assert error[0] / error[1] == pytest.approx(factor, rel=0.02)


@given(st.floats(-1e6, 1e6), stencils, st.floats(1e-6, 1e3))
@quick(150)
def test_the_step_really_taken_is_the_denominator(x, stencil, eps):
    """The identity comes out as 1 up to the rounding of the weights, at any step."""
    weights = sum(abs(v) for _, _, v in stencil.quotients)
    slope = fg.derivative(lambda t: t, x, method=stencil, eps=eps)
    assert abs(slope - 1.0) <= 4 * np.finfo(float).eps * float(weights)
    assert len(stencil.quotients) > 1 or slope == 1.0


@given(st.sampled_from("ef"), st.floats(-1e3, 1e3, width=16), stencils)
@quick(80)
def test_the_step_really_taken_in_narrow_types(char, x, stencil):
    x = np.array([x], dtype=char)
    (slope,) = fg.gradient(lambda x: float(x[0]), x, method=stencil)
    assert float(slope) == pytest.approx(1.0, abs=2 * float(np.finfo(char).eps))


@in_thirds
def test_right_in_every_type_and_layout(dtype, layout, stencil):
    x = lay_out((np.arange(6).reshape(2, 3) / 4).astype(dtype), layout)
    slopes = np.array([[1.0, -2.0, 3.0], [0.5, 0.25, -1.0]])
    before = bits(x)
    g = fg.gradient(lambda x: float((slopes * x.real).sum() + 2 * x.imag.sum()), x, method=stencil)
    exact = slopes + 2j if x.dtype.kind == "c" else slopes
    eps = float(np.finfo(dtype).eps)
    step = stencil.relative_step(x.real.dtype)
    rounding = 40 * stencil.amplification * max(eps, np.finfo(float).eps) / step
    np.testing.assert_allclose(g, exact, atol=rounding)
    assert g.shape == x.shape
    assert g.dtype == x.dtype
    assert bits(x) == before


@every
def test_default_steps_give_the_accuracy_they_promise(stencil):
    x = np.array([0.3, -1.2, 4.0])
    g = fg.gradient(lambda x: float(np.exp(np.sin(x)).sum()), x, method=stencil)
    exact = np.cos(x) * np.exp(np.sin(x))
    promised = np.finfo(float).eps ** (stencil.order / (stencil.order + 1))
    np.testing.assert_allclose(g, exact, atol=500 * promised)


@every
@pytest.mark.parametrize("n", [1, 3, 40])
def test_evaluations_are_counted_exactly(stencil, n):
    seen = []
    fg.gradient(lambda x: seen.append(bits(x)) or x.sum(), np.ones(n), method=stencil)
    assert len(seen) == stencil.order * n + stencil.uses_base
    assert len(set(seen)) == len(seen)


@every
def test_evaluations_of_nested_parameters(stencil):
    calls = []
    params = {"w": np.ones((2, 3)), "z": np.ones(2, complex), "none": None, "b": np.ones(())}
    fg.gradient(lambda p: calls.append(p) or p["b"], params, method=stencil)
    assert len(calls) == stencil.order * (6 + 4 + 1) + stencil.uses_base


@pytest.mark.parametrize(
    "params",
    [np.ones(3), np.ones((3, 3))[:, 1], {"w": np.ones(3)}, [np.ones(2), None], np.ones(2, "g")],
    ids=["plain", "strided", "dict", "list", "longdouble"],
)
def test_f_receives_the_very_object(params):
    def first_of(p):
        return float(flatten(p)[0].array[0])

    seen = []
    fg.gradient(lambda p: seen.append(p is params) or first_of(p), params)
    assert seen
    assert all(seen)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_f_may_ignore_its_argument_and_read_the_same_array(layout):
    x = lay_out(np.arange(4.0).reshape(2, 2), layout)
    g = fg.gradient(lambda _: float((x**2).sum()), x)
    np.testing.assert_allclose(g, 2 * np.arange(4.0).reshape(2, 2), atol=1e-8)


def test_only_one_entry_is_moved_at_a_time():
    x, moves = np.arange(5.0), []
    start = x.copy()
    fg.gradient(lambda x: moves.append(np.flatnonzero(x != start).tolist()) or x.sum(), x)
    assert moves == [[i] for i in range(5) for _ in range(2)]


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_sizes(n):
    g = fg.gradient(lambda x: float((x**2).sum()), np.arange(float(n)))
    np.testing.assert_allclose(g, 2 * np.arange(float(n)), atol=1e-8)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0, 2)])
@pytest.mark.parametrize("dtype", ALL)
def test_nothing_to_differentiate(shape, dtype):
    calls = []
    g = fg.gradient(lambda x: calls.append(x) or 0.0, np.ones(shape, dtype))
    assert g.shape == shape
    assert g.dtype == dtype
    assert not calls


@pytest.mark.parametrize("empty", [[], {}, (), [None], [None, {}]], ids=repr)
def test_containers_without_any_parameter(empty):
    assert fg.gradient(lambda p: 0.0, empty) == empty


def test_a_complex_gradient_is_the_direction_of_steepest_ascent():
    z = np.array([1 + 2j, -0.5j])
    g = fg.gradient(lambda z: float((abs(z) ** 2).sum()), z)
    np.testing.assert_allclose(g, 2 * z, atol=1e-8)


def test_nan_where_f_is_nan_and_nowhere_else():
    x = np.array([1.0, -1.0, 2.0])
    g = fg.gradient(lambda x: math.nan if x[1] != -1.0 else float(x.sum()), x)
    np.testing.assert_array_equal(np.isnan(g), [False, True, False])


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_an_entry_at_the_edge_of_its_type_gives_nan_not_a_wrong_number(dtype):
    x = np.array([np.finfo(dtype).max, 1.0], dtype=dtype)
    g = fg.gradient(lambda x: float(x[1]), x)
    assert np.isnan(g[0])
    assert g[1] == pytest.approx(1.0)


# ---------------------------------------------------------------- numbers and lists of numbers


@pytest.mark.parametrize(
    ("x", "kind"),
    [(2.0, float), (2, float), (True, float), (np.float64(2), np.float64),
     (np.float32(2), np.float32), (np.float16(2), np.float16), (np.longdouble(2), np.longdouble),
     (np.int32(2), np.float64), (np.array(2.0), np.float64)],
    ids=repr,
)  # fmt: skip
def test_derivative_has_the_type_of_its_argument(x, kind):
    seen = []
    slope = fg.derivative(lambda t: seen.append(type(t)) or t, x)
    assert type(slope) is kind
    assert set(seen) == {kind}
    assert float(slope) == pytest.approx(1.0, abs=1e-3)


def test_derivative_leaves_a_given_array_alone():
    x = np.array(2.0)
    seen = []
    fg.derivative(lambda t: seen.append(float(x)) or t * t, x)
    assert set(seen) == {2.0}


@pytest.mark.parametrize("x", ["1", None, [1.0], 1j], ids=repr)
def test_derivative_refuses_what_is_not_one_real_number(x):
    with pytest.raises(fg.InputTypeError, match=r"`x` must be one real number.*use fg\.gradient"):
        fg.derivative(math.sin, x)


@pytest.mark.parametrize(
    ("params", "expected"),
    [(3.0, 6.0), (3, 6.0), ([1, 2], [2.0, 4.0]), ((1.0, 2.0), [2.0, 4.0]),
     ([[1.0, 2], [3, 4]], [[2.0, 4.0], [6.0, 8.0]]), ([True, 2.0], [2.0, 4.0]),
     ([np.float64(1), 2], [2.0, 4.0])],
    ids=repr,
)  # fmt: skip
def test_numbers_are_turned_into_one_array(params, expected):
    seen = set()
    g = fg.gradient(lambda x: seen.add(id(x)) or float((x**2).sum()), params)
    np.testing.assert_allclose(g, expected, atol=1e-7)
    assert len(seen) == 1


def test_complex_numbers():
    assert fg.gradient(lambda z: abs(complex(z)) ** 2, 1 + 2j) == pytest.approx(2 + 4j)
    g = fg.gradient(lambda z: float((abs(z) ** 2).sum()), [1j, 2.0])
    np.testing.assert_allclose(g, [2j, 4], atol=1e-8)


@pytest.mark.parametrize("dtype", REAL)
def test_numpy_scalars_keep_their_type(dtype):
    x = np.ones((), dtype)[()]
    g = fg.gradient(lambda x: float(x) * 2, x)
    assert type(g) is type(x)


# ---------------------------------------------------------------- callables


class Cost:
    def __call__(self, x):
        return float(x.sum())

    def method(self, x):
        return float(x.sum())

    @staticmethod
    def static(x):
        return float(x.sum())


@pytest.mark.parametrize(
    "f",
    [Cost(), Cost().method, Cost.static, np.sum, np.ndarray.sum, math.fsum, sum,
     lambda x, scale=1.0: float(scale * x.sum()), lambda *args: float(args[0].sum())],
)  # fmt: skip
def test_anything_that_can_be_called(f):
    np.testing.assert_allclose(fg.gradient(f, np.ones(3)), np.ones(3), atol=1e-9)


@pytest.mark.parametrize("f", [None, 1.0, "f", np.ones(2)], ids=repr)
@pytest.mark.parametrize("function", [fg.gradient, fg.derivative])
def test_what_cannot_be_called(function, f):
    with pytest.raises(fg.InputTypeError, match=r"`f` must be callable as f\(params\); got"):
        function(f, 1.0)


def test_a_callable_of_the_wrong_arity_raises_its_own_error():
    with pytest.raises(TypeError, match="positional argument"):
        fg.gradient(lambda: 0.0, np.ones(2))


def test_nested_and_flat_parameters_agree_to_the_last_bit():
    x = np.array([0.25, -3.5, 1e-3])
    flat = fg.gradient(weigh, x)
    nested = fg.gradient(lambda p: weigh(p["a"][0]), {"a": [x]})
    np.testing.assert_array_equal(flat, nested["a"][0])


@pytest.mark.parametrize("method", ["forward", "backward", "central"])
@pytest.mark.parametrize("other", ["e", "f", "d", "g", ">f8"])
def test_a_leaf_has_the_same_bits_beside_any_other(method, other):
    """Values of `f` are taken in the leaf's own arithmetic, the one at the parameters too."""
    x = np.array([0.3, 0.7])
    for kind in "efd":  # a longdouble alone is what the longdouble beside it is
        leaf = x.astype(kind)
        alone = fg.gradient(lambda x: np.sin(x.astype("g")).sum(), leaf, method=method)
        tree = [leaf, np.ones(1, other)]
        beside = fg.gradient(lambda p: np.sin(p[0].astype("g")).sum(), tree, method=method)
        assert bits(beside[0]) == bits(alone)
