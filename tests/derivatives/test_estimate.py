"""`estimate`: error bars that hold, statuses, structures, and parameters that come back."""

from __future__ import annotations

import math
import operator
import pickle
import statistics
import zlib
from dataclasses import dataclass

import numpy as np
import pytest
from evaluators import bits_of, native_of

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


def covers(found, exact):
    return abs(found.value - exact) <= found.uncertainty


# ---------------------------------------------------------------- error bars


SMOOTH = {
    "sin": (math.sin, math.cos, (0.3, 1.5, 20.0)),
    "cos": (math.cos, lambda x: -math.sin(x), (0.01, 1.0)),
    "exp": (math.exp, math.exp, (-3.0, 9.0)),
    "log": (math.log, lambda x: 1 / x, (0.02, 50.0)),
    "root": (math.sqrt, lambda x: 0.5 / math.sqrt(x), (0.01, 300.0)),
    "power": (lambda x: x**9, lambda x: 9 * x**8, (0.8, 3.0)),
    "high power": (lambda x: x**40, lambda x: 40 * x**39, (0.9, 1.1)),
    "reciprocal": (lambda x: 1 / x, lambda x: -1 / x**2, (0.05, -2.0)),
    "tanh": (
        lambda x: math.tanh(50 * (x - 1)),
        lambda x: 50 / math.cosh(50 * (x - 1)) ** 2,
        (1.01,),
    ),
    "atan": (math.atan, lambda x: 1 / (1 + x * x), (0.2, 10.0)),
    "erf": (math.erf, lambda x: 2 / math.sqrt(math.pi) * math.exp(-x * x), (0.2, 2.0)),
    "chirp": (lambda x: math.sin(x**3), lambda x: 3 * x * x * math.cos(x**3), (1.0, 4.0)),
    "two scales": (
        lambda x: math.sin(x) + math.sin(300 * x) / 300,
        lambda x: math.cos(x) + math.cos(300 * x),
        (0.5, 2.1),
    ),
    "beat": (
        lambda x: math.cos(20 * x) * math.cos(21 * x),
        lambda x: (
            -20 * math.sin(20 * x) * math.cos(21 * x) - 21 * math.cos(20 * x) * math.sin(21 * x)
        ),
        (0.3, 2.0),
    ),
    "kepler": (lambda x: x - 0.9 * math.sin(x), lambda x: 1 - 0.9 * math.cos(x), (0.1, 2.0)),
}
UNITS = (1e-6, 1.0, 1e6)


def test_error_bars_hold_in_any_unit():
    ratios, costs = [], []
    for name, (f, slope, points) in SMOOTH.items():
        for unit in UNITS:
            for point in points:
                x = point * unit
                found = fg.estimate(lambda t, f=f, unit=unit: f(t / unit), x)
                exact = slope(x / unit) / unit
                assert covers(found, exact), (name, point, unit, found)
                assert found.status in ("converged", "noisy")
                ratios.append(found.uncertainty / max(abs(found.value - exact), 1e-17 * abs(exact)))
                costs.append(found.evaluations)
    assert statistics.median(ratios) <= 50
    assert statistics.mean(costs) <= 20


def hashed(t, size):
    """Noise that is the same at the same point."""
    return size * (zlib.crc32(np.float64(t).tobytes()) / 2**31 - 1)


def inside(t, shift=1e8):
    return math.sin((t + shift) - shift)


def flat(t):
    return math.exp(-1 / t**2) if t else 0.0


HARD = {
    "log": [(math.log, x, 1 / x) for x in (1e-200, 1e-12, 1e-6, 1e10)],
    "aliased": [
        (lambda t, w=w: math.sin(w * t), x, w * math.cos(w * x))
        for w in (1e3, 1e6, 1e10)
        for x in (0.0, 0.3, 0.7)
    ],
    "noisy": [
        (lambda t, s=s: math.sin(t) + hashed(t, s), 0.3, math.cos(0.3)) for s in (1e-9, 1e-6, 1e-3)
    ],
    "fast and noisy": [
        (lambda t: math.sin(1000 * t) + hashed(t, 1e-6), 1.7, 1000 * math.cos(1700.0))
    ],
    "near a pole": [
        (lambda t: 1 / (t - 1), x, -1 / (x - 1) ** 2) for x in (1.001, 1 + 1e-6, 1 + 1e-9)
    ],
    "near a kink": [
        (lambda t: max(t - 1, 0.0) + t * t, x, 2 * x) for x in (0.999, 1 - 1e-6, 1 - 1e-9)
    ],
    "float32 inside": [
        (lambda t: float(np.sin(np.float32(t))), x, math.cos(x)) for x in (0.3, 30.0)
    ],
    "offset": [(lambda t: math.sin(t) + 1e8, x, math.cos(x)) for x in (0.3, 30.0)],
    "binary grid": [(inside, x, math.cos(x)) for x in (0.3, 2.0)],
    "rounded": [(lambda t, k=k: round(math.sin(t), k), 0.3, math.cos(0.3)) for k in (3, 6)],
    "flat": [(flat, 0.0, 0.0), (flat, 0.05, 2 / 0.05**3 * flat(0.05)), (lambda t: 3.0, 1.0, 0.0)],
    "one side": [
        (lambda t: t * math.sqrt(t) + math.exp(t), 0.0, 1.0),
        (lambda t: t + t * math.sqrt(t), 0.0, 1.0),
        (lambda t: math.exp(t) if t >= 1 else math.nan, 1.0, math.e),
        (lambda t: math.sin(t) if t <= 1 else math.inf, 1.0, math.cos(1)),
    ],
    "zero": [
        (math.sin, 0.0, 1.0),
        (math.cos, 0.0, 0.0),
        (lambda t: t * t, 0.0, 0.0),
        (lambda t: t**3, 0.0, 0.0),
        (lambda t: math.log(1e-6 + t), 0.0, 1e6),
        (lambda t: math.sin(1e15 * t), 0.0, 1e15),
        (lambda t: t + t * abs(t) ** 0.5, 0.0, 1.0),
    ],
    "small beside its scale": [(math.cos, x, -math.sin(x)) for x in (1e-12, 1e-6)],
    "extremes": [(math.exp, 700.0, math.exp(700.0)), (lambda t: 3 * t, 1e300, 3.0)],
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("rtol", [1e-3, 1e-8, 1e-12])
def test_error_bars_hold_where_it_is_hard(name, rtol):
    for f, x, exact in HARD[name]:
        found = fg.estimate(f, x, rtol)
        assert covers(found, exact), (x, str(found))
        assert math.isfinite(found.uncertainty)
        # Of a tolerance that was met the error is below it, too; beside a zero of the derivative
        # it is relative to differences.
        if found.status == "converged" and abs(exact) > 1e-5:
            assert abs(found.value - exact) <= 1.01 * rtol * abs(exact)


# What cancels beside 0, with the first terms of its derivative there.
CANCELLING = {
    "cosine": (lambda x: (1 - math.cos(x)) / x**2, lambda x: -x / 12),
    "exponential": (lambda x: (math.exp(x) - 1) / x, lambda x: 0.5 + x / 3),
    "logarithm": (lambda x: math.log(1 + x) / x, lambda x: -0.5 + 2 * x / 3),
    "roots": (lambda x: (math.sqrt(1 + x) - math.sqrt(1 - x)) / x, lambda x: x / 4),
    "discount": (lambda x: (1 - (1 + x) ** -30) / x, lambda x: -465 + 9920 * x),
    "sum": (lambda x: math.sin(x) + 1e3 * (1 - math.cos(x)) / x, lambda x: 501 - x / 2),
    "curvature": (lambda x: (math.exp(x) - 1 - x) / x**2, lambda x: 1 / 6 + x / 12),
}


@pytest.mark.parametrize("name", CANCELLING)
@pytest.mark.parametrize("rtol", [1e-3, 1e-8])
def test_error_bars_hold_on_stairs_of_terms_that_cancel(name, rtol):
    f, slope = CANCELLING[name]
    for x in np.geomspace(1e-7, 1e-5, 9).tolist():
        found = fg.estimate(f, x, rtol)
        assert covers(found, slope(x)), (x, str(found))
        assert found.status == "noisy" or found.uncertainty <= rtol * abs(slope(x))
        assert found.evaluations <= 80


# Slopes at small x of ``(exp(r x) - 1) / x``, for rates r of either sign.
def _slope_of_growth(r, x):
    return r**2 / 2 + r**3 * x / 3 + r**4 * x**2 / 8 + r**5 * x**3 / 30


@pytest.mark.parametrize("sign", [1, -1])
def test_error_bars_hold_where_noise_hides_how_a_stair_ends(sign):
    """Steps of a few spacings see one stair, and the next one on one side before the other.

    Before that both sides had noise out of which this could have grown: of these bars 30 % did not
    hold while the other side was not asked. Some that do not are of several stairs in a row.
    """
    rng = np.random.default_rng(1)
    missed, count = 0, 60
    for _ in range(count):
        r, x = sign * rng.uniform(0.5, 3.0), 10 ** rng.uniform(-4.5, -3.5)
        found = fg.estimate(lambda t, r=r: (math.exp(r * t) - 1) / t, x)
        missed += not covers(found, _slope_of_growth(r, x))
    assert missed <= count // 7


TABLE = np.sin(np.arange(10_001) / 1000)
ROUNDED = {
    "factor": (lambda t: t * round(math.exp(t / 4), 4), lambda t: math.exp(t / 4) * (1 + t / 4)),
    "argument": (lambda t: t * round(t, 4) ** 2, lambda t: 3 * t * t),
    "float32": (lambda t: t + float(np.float32(1) + np.float32(t)), lambda t: 2.0),
    "table": (lambda t: t * TABLE[int(t * 1000)], lambda t: math.sin(t) + t * math.cos(t)),
}


@pytest.mark.parametrize("name", ROUNDED)
def test_error_bars_hold_on_stairs_of_rounding(name):
    f, slope = ROUNDED[name]
    for x in (0.51234, 0.77123, 2.31237, 7.71234):
        found = fg.estimate(f, x)
        assert covers(found, slope(x)), (x, str(found))
        assert found.uncertainty <= 0.5 * abs(slope(x))
        assert found.status == "noisy"


def test_stairs_of_some_outputs_and_entries_are_told_apart():
    def f(p):
        a, b = p.tolist()
        cosine, growth = CANCELLING["cosine"][0], CANCELLING["exponential"][0]
        return np.array([cosine(a), math.sin(a) + b, growth(a) + b, b * round(math.exp(b), 4)])

    a, b = 3e-7, 0.7
    found = fg.estimate(f, np.array([a, b]))
    exact = [[-a / 12, 0], [math.cos(a), 1], [0.5 + a / 3, 1], [0, math.exp(b) * (1 + b)]]
    assert (np.abs(found.value - exact) <= found.uncertainty).all()
    assert found.status[[0, 2, 3], [0, 0, 1]].tolist() == ["noisy"] * 3
    assert found.status[1].tolist() == ["converged"] * 2


# Functions that do at long steps what short ones do not show, and no stairs.
NO_STAIRS = {
    "kink": (lambda t: abs(t - 1) + math.sin(t), lambda t: math.copysign(1, t - 1) + math.cos(t)),
    "jump": (lambda t: (t > 1) + math.sin(t), math.cos),
    "pole": (lambda t: 1 / (t - 1), lambda t: -1 / (t - 1) ** 2),
    "fast": (lambda t: math.sin(1000 * t), lambda t: 1000 * math.cos(1000 * t)),
    "edge": (
        lambda t: t + math.tanh(1e5 * (t - 1)),
        lambda t: 1 + 1e5 / math.cosh(min(1e5 * abs(t - 1), 300)) ** 2,
    ),
}


def _without_a_look(monkeypatch):
    where = "fastgrad._derivatives.many_steps.stairs_of"
    monkeypatch.setattr(where, lambda rows, known: np.zeros(len(known.pairs)))


@pytest.mark.parametrize("name", NO_STAIRS)
def test_what_long_steps_show_is_no_stairs(monkeypatch, name):
    f, slope = NO_STAIRS[name]
    points = [1 + side * d for d in (3e-2, 1e-3, 1e-5) for side in (1, -1)]
    found = [fg.estimate(f, x) for x in points]
    _without_a_look(monkeypatch)
    for x, one in zip(points, found, strict=True):
        alone = fg.estimate(f, x)
        assert covers(one, slope(x))
        assert (one.value, one.uncertainty) == (alone.value, alone.uncertainty)
        assert one.evaluations <= alone.evaluations + 32


def test_a_look_for_stairs_takes_two_evaluations_of_a_smooth_function(monkeypatch):
    easy = [(math.log, 1.3), (math.exp, 0.5), (math.sqrt, 300.0), (lambda t: 1 / t**2, 4e-6)]
    tolerances = (1e-3, 1e-8, 1e-12)
    found = [fg.estimate(f, x, rtol) for f, x in easy for rtol in tolerances]
    _without_a_look(monkeypatch)
    before = [fg.estimate(f, x, rtol) for f, x in easy for rtol in tolerances]
    for one, alone in zip(found, before, strict=True):
        assert (one.value, one.uncertainty) == (alone.value, alone.uncertainty)
        assert one.evaluations <= alone.evaluations + 2


def test_an_alias_is_not_believed():
    """At steps of 1e-3 and more sin(1000 x) shows a derivative of 3, with any extrapolation."""
    found = fg.estimate(lambda t: math.sin(1000 * t), 1.0)
    assert found.status == "converged"
    assert found.value == pytest.approx(1000 * math.cos(1000), rel=1e-8)


def test_units_of_different_size_beside_each_other():
    params = {"income": np.array([52_000.0, 8e4]), "rate": 0.03}
    found = fg.estimate(lambda p: np.log(p["income"]).sum() * math.exp(-30 * p["rate"]), params)
    decay = math.exp(-0.9)
    assert (
        np.abs(found.value["income"] - decay / params["income"]) <= found.uncertainty["income"]
    ).all()
    exact = -30 * decay * np.log(params["income"]).sum()
    assert abs(found.value["rate"] - exact) <= found.uncertainty["rate"]
    assert found.converged
    assert found.evaluations <= 7 + 3 * 14


@pytest.mark.parametrize("f", [math.sin, math.log, lambda t: 1 / t, math.exp])
def test_a_looser_tolerance_costs_less(f):
    costs, bars = [], []
    for rtol in (1e-12, 1e-8, 1e-5):
        found = fg.estimate(f, 0.7, rtol)
        costs.append(found.evaluations)
        bars.append(found.uncertainty)
    assert costs[0] > costs[1] > costs[2]
    assert bars[0] <= bars[1] <= bars[2]
    assert fg.estimate(f, 0.7, 1e-12, atol=0.1).evaluations == fg.estimate(f, 0.7, 0.1).evaluations


# ---------------------------------------------------------------- statuses


STATUSES = [
    (math.sin, 0.3, "converged", math.cos(0.3)),
    (lambda t: 5.0, 0.3, "flat", 0.0),
    (lambda t: max(t, 0.0), -1.0, "flat", 0.0),
    (lambda t: math.sin(t) + hashed(t, 1e-6), 0.3, "noisy", math.cos(0.3)),
    (abs, 0.0, "kink", 0.0),
    (lambda t: max(t - 1, 0.0) + 2 * t, 1.0, "kink", 2.5),
    (math.sqrt, 0.0, "divergent", None),
    (lambda t: float(t > 1), 1.0, "divergent", None),
    (
        lambda t: t * math.log(t) if t > 0 else 0.0 * t if t == 0 else math.nan,
        0.0,
        "divergent",
        None,
    ),
    (lambda t: math.nan, 1.0, "not finite", math.nan),
    (lambda t: 1.0 if t == 1 else math.nan, 1.0, "not finite", math.nan),
    (lambda t: math.inf, 1.0, "not finite", math.nan),
    (lambda t: 1 / t, math.inf, "not finite", math.nan),
    (lambda t: 5.0, math.nan, "not finite", math.nan),
]


@pytest.mark.parametrize(("f", "x", "status", "value"), STATUSES)
def test_statuses(f, x, status, value):
    found = fg.estimate(f, x)
    assert found.status == status
    assert found.converged == (status in ("converged", "flat"))
    if value is None:
        assert found.uncertainty == math.inf
    elif math.isnan(value):
        assert math.isnan(found.value)
        assert found.uncertainty == math.inf
    else:
        assert covers(found, value)
    assert status in str(found)
    assert status in repr(found)


def test_both_sides_of_a_kink():
    found = fg.estimate(lambda t: max(3 * (t - 1), t - 1), 1.0)
    assert (found.backward, found.forward) == pytest.approx((1.0, 3.0), rel=1e-6)
    assert found.value - found.uncertainty <= 1.0
    assert found.value + found.uncertainty >= 3.0
    falling = fg.estimate(lambda t: min(3 * (t - 1), t - 1), 1.0)
    assert (falling.backward, falling.forward) == pytest.approx((3.0, 1.0), rel=1e-6)


def test_sides_at_an_edge_and_away_from_it():
    edge = fg.estimate(lambda t: math.exp(t) if t >= 1 else math.nan, 1.0)
    assert edge.forward == edge.value
    assert math.isnan(edge.backward)
    edge = fg.estimate(lambda t: math.exp(t) if t <= 1 else math.nan, 1.0)
    assert edge.backward == edge.value
    assert math.isnan(edge.forward)
    smooth = fg.estimate(math.exp, 1.0)
    assert smooth.forward == smooth.backward == smooth.value


def test_a_flat_entry_counts_as_converged_where_a_change_would_have_been_seen():
    assert fg.estimate(lambda p: p[0] ** 2, np.array([1.0, 2.0])).converged
    found = fg.estimate(lambda t: 1e8, 1e-3)
    assert found.status == "flat"
    assert found.converged
    assert found.value == 0
    assert 0 < found.uncertainty < 1e-5
    assert not fg.estimate(lambda t: 1e8, 1e-3, 1e-15).converged
    assert fg.estimate(lambda t: 1e8, 1e-3, 1e-15, atol=1e-4).converged


def test_what_f_raised_is_told():
    found = fg.estimate(lambda t: math.sqrt(t) * t, 0.0)
    assert found.raised.startswith("ValueError")
    assert found.raised in str(found)
    assert fg.estimate(math.sin, 0.0).raised == ""


def test_noise_is_that_of_f():
    for size in (1e-9, 1e-3):
        found = fg.estimate(lambda t, size=size: math.sin(t) + hashed(t, size), 0.3)
        assert size / 20 <= found.noise <= 10 * size
    assert fg.estimate(lambda t: math.sin(t), 0.3).noise <= 1e-15


def test_noise_that_the_first_values_did_not_show_is_found():
    f = Counted(math.sin)
    found = fg.estimate(lambda t: f(t) + hashed(t, 1e-9) * (f.count > 7), 0.3)
    assert found.status == "noisy"
    assert covers(found, math.cos(0.3))
    assert found.noise < 1e-15 < 1e-10 < found.uncertainty < 1e-4


def test_a_ripple_below_the_first_step_is_no_noise():
    """Of 1 + cos(1e11) nothing is known; the slope of 1 around it is no answer."""
    found = fg.estimate(lambda t: t + 1e-11 * math.sin(1e11 * t), 1.0)
    assert found.status == "divergent"
    assert found.uncertainty == math.inf


# ---------------------------------------------------------------- structures


@dataclass
class Model:
    scale: np.ndarray
    shifts: list


def test_gradients_have_the_structure_of_the_parameters():
    model = Model(np.array([[1.0, 2.0, 3.0]]), [np.array(0.5), (np.array([4.0]),)])
    found = fg.estimate(lambda m: (m.scale**2).sum() * m.shifts[0] + m.shifts[1][0][0] ** 3, model)
    for each in (found.value, found.uncertainty, found.status, found.forward, found.backward):
        assert isinstance(each, Model)
        assert each.scale.shape == (1, 3)
        assert each.shifts[0].shape == ()
        assert each.shifts[1][0].shape == (1,)
    np.testing.assert_allclose(found.value.scale, model.scale, rtol=1e-8)
    np.testing.assert_allclose(found.value.shifts[0], 14.0, rtol=1e-8)
    np.testing.assert_allclose(found.value.shifts[1][0], [48.0], rtol=1e-8)
    assert isinstance(found.noise, float)


def test_jacobians_have_the_structure_of_the_output_and_then_the_parameters():
    params = {"a": np.array([1.0, 2.0]), "b": np.array(3.0)}
    found = fg.estimate(
        lambda p: {"m": np.outer(p["a"], p["a"]) * p["b"], "s": ({"x": p["b"] ** 2}, p["a"][0])},
        params,
    )
    a, b = params["a"], params["b"]
    assert found.value["m"]["a"].shape == found.status["m"]["a"].shape == (2, 2, 2)
    assert found.value["m"]["b"].shape == (2, 2)
    assert found.value["s"][0]["x"]["a"].shape == (2,)
    eye = np.eye(2)
    exact = b * (np.einsum("ik,j->ijk", eye, a) + np.einsum("i,jk->ijk", a, eye))
    assert (np.abs(found.value["m"]["a"] - exact) <= found.uncertainty["m"]["a"]).all()
    np.testing.assert_allclose(found.value["s"][0]["x"]["b"], 6.0, rtol=1e-8)
    np.testing.assert_array_equal(found.status["s"][0]["x"]["a"], "flat")
    assert found.noise["m"].shape == (2, 2)
    assert isinstance(found.noise["s"][0]["x"], float)
    assert found.converged
    # All outputs share the evaluations.
    assert found.evaluations <= 7 + 3 * 16
    assert "out.m[0, 0] / a[0]" in str(found)
    assert "out.s[1] / b" in str(found)


def test_entries_that_converge_differently_share_their_steps():
    found = fg.estimate(
        lambda p: np.array([math.sin(1e6 * p[0]), p[0] + 1e8, abs(p[0] - 1), p[0] ** 2, 7.0]),
        np.array([1.0]),
    )
    exact = np.array([1e6 * math.cos(1e6), 1.0, 0.0, 2.0, 0.0])[:, np.newaxis]
    assert (np.abs(found.value - exact) <= found.uncertainty).all()
    assert found.status[:, 0].tolist()[2:] == ["kink", "converged", "flat"]
    assert found.status[1, 0] == "noisy"


def test_complex_arrays():
    z = np.array([1 + 2j, 3.0])
    found = fg.estimate(lambda z: (np.abs(z) ** 2).sum(), z)
    np.testing.assert_allclose(found.value, 2 * z, atol=1e-7)
    assert (np.abs(found.value - 2 * z) <= found.uncertainty).all()
    assert found.uncertainty.dtype == np.float64
    out = fg.estimate(lambda x: np.array([x[0] * 1j + x[1], x[0] * x[1]]), np.array([2.0, 5.0]))
    np.testing.assert_allclose(out.value, [[1j, 1], [5, 2]], atol=1e-7)
    assert out.value.dtype == np.complex128
    assert out.noise.shape == (2,)
    with pytest.raises(fg.InputTypeError, match=r"`params` is complex.*one real number"):
        fg.estimate(lambda z: z * 2, z)


@pytest.mark.parametrize("number", [2.0, 2, np.float32(2), np.float64(2)])
def test_a_number_gives_a_number(number):
    seen = []
    found = fg.estimate(lambda t: seen.append(type(t)) or t**3, number, 1e-4)
    assert type(found.value) is type(found.uncertainty) is type(found.noise) is float
    assert type(found.status) is str
    assert found.value == pytest.approx(12, rel=1e-3)
    assert set(seen) == {type(number) if isinstance(number, np.generic) else float}
    vector = fg.estimate(lambda t: np.array([t, t**2]), number, 1e-4)
    assert vector.value.shape == vector.status.shape == (2,)


@pytest.mark.parametrize("dtype", "efdg")
@pytest.mark.parametrize("order", ["C", "F", "strided", "swapped"])
def test_types_and_layouts(dtype, order):
    x = np.linspace(0.5, 2, 6).reshape(2, 3).astype(dtype)
    if order == "strided":
        x = np.repeat(x, 2, axis=1)[:, ::2]
    elif order == "swapped":
        x = x.astype(x.dtype.newbyteorder())
    else:
        x = np.array(x, order=order)
    before = x.tobytes()
    found = fg.estimate(lambda x: (x.astype(float) ** 3).sum(), x, 1e-3)
    assert x.tobytes() == before
    assert found.value.dtype == np.float64
    assert (np.abs(found.value - 3 * x.astype(float) ** 2) <= found.uncertainty).all()


def test_nothing_to_differentiate():
    found = fg.estimate(lambda x: 1.0, np.empty((0, 3)))
    assert found.value.shape == (0, 3)
    assert found.converged
    assert "0 entries" in repr(found)
    assert fg.estimate(lambda x: np.empty(0), np.ones(2)).value.shape == (0, 2)


def test_many_entries_are_estimated_in_parts(monkeypatch):
    x = np.linspace(-2, 2, 7)
    f = lambda x: np.array([np.sin(x).sum(), (x**2).sum()])  # noqa: E731
    whole = fg.estimate(f, x)
    monkeypatch.setattr("fastgrad._derivatives.estimate._AT_ONCE", 4)
    parts = fg.estimate(f, x)
    np.testing.assert_array_equal(parts.value, whole.value)
    np.testing.assert_array_equal(parts.uncertainty, whole.uncertainty)
    assert parts.evaluations == whole.evaluations


# ---------------------------------------------------------------- evaluations


class Counted:
    """Counts its evaluations; does something at one of them."""

    def __init__(self, f, at=-1, act=None):
        self.f, self.at, self.act, self.count = f, at, act, 0

    def __call__(self, params):
        self.count += 1
        if self.count - 1 == self.at:
            self.act()
        return self.f(params)


def _interrupt():
    raise KeyboardInterrupt


def _fail():
    raise RuntimeError("here")


def tree():
    return {"w": np.array([0.3, -0.7]), "b": [np.array(2.0, dtype="f"), None]}


def smooth(p):
    return np.array([np.sin(p["w"]).sum() * float(p["b"][0]), p["w"][0]])


def test_an_interrupt_at_any_evaluation_leaves_the_parameters_alone():
    params = tree()
    before, total = bits_of(params), fg.estimate(smooth, params).evaluations
    for k in range(total):
        with pytest.raises(KeyboardInterrupt):
            fg.estimate(Counted(smooth, k, _interrupt), params)
        assert bits_of(params) == before
    f = Counted(smooth)
    assert fg.estimate(f, params).evaluations == f.count == total
    assert bits_of(params) == before


def test_an_exception_away_from_the_parameters_is_a_point_outside_of_the_domain():
    params = tree()
    before, plain = bits_of(params), fg.estimate(smooth, params)
    with pytest.raises(RuntimeError, match="here"):
        fg.estimate(Counted(smooth, 0, _fail), params)
    for k in range(1, plain.evaluations, 3):
        found = fg.estimate(Counted(smooth, k, _fail), params)
        assert found.raised == "RuntimeError: here"
        bars = found.uncertainty["w"] + plain.uncertainty["w"]
        assert (np.abs(found.value["w"] - plain.value["w"]) <= bars).all()
        assert bits_of(params) == before


def test_a_write_is_refused_and_undone():
    params = tree()
    before = bits_of(params)

    def writes(p):
        p["w"][1] += 1
        return smooth(p)

    with pytest.raises(fg.MutationError, match="w"):
        fg.estimate(writes, params)
    assert bits_of(params) == before


def test_no_evaluation_leaves_the_bounds():
    seen = []

    def f(x):
        seen.append(x.copy())
        return np.log(x).sum()

    x = np.array([1e-6, 0.5, 1.0, 3.0])
    found = fg.estimate(f, x, bounds=(1e-6, np.array([1.0, 1.0, 1.0, 3.0])))
    assert np.min(seen, axis=0).min() >= 1e-6
    assert (np.max(seen, axis=0) <= [1.0, 1.0, 1.0, 3.0]).all()
    assert (np.abs(found.value - 1 / x) <= found.uncertainty).all()
    assert np.isnan(found.backward[0])
    assert np.isnan(found.forward[3])
    held = fg.estimate(f, np.array([1.0]), bounds=(1.0, 1.0))
    assert held.status == ["not finite"]


def test_workers_give_the_same_bits():
    params = tree()
    alone, shared = fg.estimate(smooth, params), fg.estimate(smooth, params, workers=map)
    for a, b in zip(bits_of(alone.value), bits_of(shared.value), strict=True):
        assert a == b
    assert bits_of(alone.uncertainty) == bits_of(shared.uncertainty)
    scalar = fg.estimate(math.sin, 0.3, workers=map)
    assert scalar.value == fg.estimate(math.sin, 0.3).value


def test_batched_objectives():
    f = fg.batched(lambda x: np.sin(x).sum(axis=1))
    x = np.array([0.3, 1.0])
    found = fg.estimate(f, x)
    assert (np.abs(found.value - np.cos(x)) <= found.uncertainty).all()
    rows = fg.estimate(fg.batched(lambda x: np.stack([x[:, 0] ** 2, x[:, 1]], axis=1)), x)
    np.testing.assert_allclose(rows.value, [[0.6, 0], [0, 1]], atol=1e-8)


def test_native_objectives():
    x = np.array([0.3, 1.0])
    f = native_of(lambda x: math.exp(x[0]) + math.sin(x[1]))
    found = fg.estimate(f, x)
    assert (np.abs(found.value - [math.exp(0.3), math.cos(1)]) <= found.uncertainty).all()
    np.testing.assert_array_equal(fg.estimate(f, x, workers=2).value, found.value)


# ---------------------------------------------------------------- input and output


@pytest.mark.parametrize("name", ["rtol", "atol"])
def test_tolerances_are_checked(name):
    for wrong in (-1e-3, math.nan, math.inf):
        with pytest.raises(fg.InputValueError, match=f"`{name}` must be a finite number"):
            fg.estimate(math.sin, 1.0, **{name: wrong})
    for wrong in ("1e-3", None, True, np.ones(1)):
        with pytest.raises(fg.InputTypeError, match=f"`{name}` must be a number"):
            fg.estimate(math.sin, 1.0, **{name: wrong})


def test_what_is_no_function_or_no_parameter_is_refused():
    with pytest.raises(fg.InputTypeError, match="`f` must be callable"):
        fg.estimate(1.0, math.sin)
    with pytest.raises(fg.InputTypeError, match="cannot hold a small step"):
        fg.estimate(math.sin, np.array([1, 2]))
    with pytest.raises(fg.InputTypeError, match="None"):
        fg.estimate(lambda t: None, 1.0)


@pytest.mark.parametrize("shape", [(), (2,)])
def test_a_cache_by_identity_is_refused(shape):
    kept = {}

    def cached(x):
        return kept.setdefault(id(x), (np.full(shape, (x**2).sum()), x))[0]  # no id is used again

    with pytest.raises(fg.InputValueError, match="does not see parameters that are moved"):
        fg.estimate(cached, np.array([1.0, 2.0]))


def test_text():
    found = fg.estimate(lambda p: p["a"] ** 2 * p["b"], {"a": np.array(3.0), "b": np.array(2.0)})
    lines = str(found).splitlines()
    assert lines[0] == repr(found)
    assert lines[0].startswith("Estimate(2 entries, 2 converged, ")
    assert lines[2].split()[0] == "a"
    assert float(lines[2].split()[1]) == pytest.approx(12, rel=1e-8)
    assert repr(fg.estimate(lambda t: 2 * t, 4.0)).startswith("Estimate(2 ± ")
    many = str(fg.estimate(lambda x: (x**2).sum() + abs(x[40]), np.arange(41.0) - 40, 1e-3))
    assert "x" not in many.splitlines()[0].split("(")[0]
    assert "kink" in many
    assert "and 21 entries more" in many


def test_an_estimate_is_frozen_and_can_be_sent():
    found = fg.estimate(lambda x: x**2, np.array([1.0, 2.0]))
    with pytest.raises(AttributeError):
        found.value = 0
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found)
    assert operator.attrgetter("__module__")(type(found)) == "fastgrad"


# ---------------------------------------------------------------- some entries


def test_some_entries_are_estimated_as_if_they_were_all():
    rng = np.random.default_rng(4)
    params = {"a": rng.normal(size=(2, 3)), "z": rng.normal(size=2) + 1j, "b": np.ones(2)}
    where = {"a": np.array([[1, 0, 1], [0, 0, 1]], bool), "z": np.array([False, True]), "b": False}

    def f(p):
        return float((p["a"] ** 3).sum() + (abs(p["z"]) ** 2).sum() * np.exp(p["b"]).sum())

    found, whole = fg.estimate(f, params, 1e-4, where=where), fg.estimate(f, params, 1e-4)
    for key, mask in where.items():
        mask = np.broadcast_to(mask, params[key].shape)
        assert np.isnan(found.value[key][~mask]).all()
        assert np.isinf(found.uncertainty[key][~mask]).all()
        assert (found.status[key][~mask] == "left out").all()
        assert np.isnan(found.forward[key][~mask]).all()
        bars = (found.uncertainty[key] + whole.uncertainty[key])[mask]
        assert (abs(found.value[key] - whole.value[key])[mask] <= bars).all()
        assert (found.status[key][mask] == "converged").all()
    assert found.converged
    assert found.evaluations < whole.evaluations
    assert "4 of 10 entries, 4 converged" in repr(found)
    lines = str(found).splitlines()
    assert [line.split("  ")[1].strip() for line in lines[2:]] == [
        "a[0, 0]",
        "a[0, 2]",
        "a[1, 2]",
        "z[1]",
    ]


def test_nothing_and_everything_is_estimated():
    x = np.array([1.0, 2.0])
    none = fg.estimate(lambda x: (x**2).sum(), x, where=False)
    assert none.converged
    assert "0 of 2 entries" in str(none)
    every, plain = (fg.estimate(lambda x: (x**2).sum(), x, **o) for o in ({"where": True}, {}))
    assert str(every) == str(plain)
    one = fg.estimate(lambda x: (x**2).sum(), x, where=np.array([True, False]))
    assert "1 of 2 entries" in repr(one)


# ---------------------------------------------------------------- beside other entries


def test_what_another_entry_does_is_no_noise_of_this_one():
    """Beside a pole, or a fast entry, joint moves show what none of the others does alone."""
    for other in (lambda t: 1e-12 / (t - 1 - 1e-12), lambda t: 0.01 * math.sin(1e13 * t)):
        found = fg.estimate(lambda x, g=other: g(x[0]) + math.sin(x[1]), np.array([1.0, 0.3]))
        alone = fg.estimate(lambda t: math.sin(t), 0.3)
        assert abs(found.value[1] - math.cos(0.3)) <= found.uncertainty[1]
        assert found.status[1] == "converged"
        assert found.uncertainty[1] <= 1e-8 >= alone.uncertainty


@pytest.mark.parametrize("size", [1e-12, 1e-9, 1e-3])
def test_noise_of_f_stays_that_of_each_entry(size):
    def f(x):
        return math.sin(x[0]) + math.cos(x[1]) + hashed(x.sum(), size)

    found = fg.estimate(f, np.array([0.3, 0.7]))
    exact = np.array([math.cos(0.3), -math.sin(0.7)])
    assert (abs(found.value - exact) <= found.uncertainty).all()
    assert (found.uncertainty >= size).all()


@pytest.mark.parametrize("x", [5e-3, -8e-4, 1e-5])
@pytest.mark.parametrize("share", [0.1, 0.3, 1.0])
def test_a_mean_over_large_steps_is_no_derivative(x, share):
    """Noise hides all that an entry does on the scale of its own size."""
    level = share * abs(x)
    for phase in range(12):

        def f(t, phase=phase):
            return math.sin(t / x) * abs(x) + hashed(t + phase, level)

        found = fg.estimate(f, x)
        assert abs(found.value - math.copysign(math.cos(1.0), x)) <= found.uncertainty


@pytest.mark.parametrize("still", [1j, -2.0])
def test_a_complex_value_of_which_one_part_stands_still_is_not_flat(still):
    turn = 1.0 if still == 1j else 1j
    found = fg.estimate(lambda x: turn * (x**2).sum() + still + 0j, np.array([1.0, 2.0, 3.0]))
    assert found.converged
    assert (found.status == "converged").all()
    whole = fg.estimate(lambda x: still + 0j, np.array([1.0, 2.0]))
    assert (whole.status == "flat").all()
