"""One derivative from many steps: its bound holds, kinks show, noise is not taken for truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from strategies import quick

from fastgrad import _backend, _reference
from fastgrad._derivatives.extrapolation import estimate
from fastgrad._derivatives.step_table import RATIO, step_row
from fastgrad._evaluation.protocol import Samples

DOUBLE = 2.0**-53


def table_of(f, x, steps, noise=None, unit=DOUBLE):
    """The table of one entry at these steps, largest first."""
    base = float(f(x))
    noise = DOUBLE * abs(base) + 1e-300 if noise is None else noise
    rows = []
    for h in steps:
        up, down = x + h, x - h
        moved, values = np.array([[up - x, down - x]]), np.array([[float(f(up)), float(f(down))]])
        rows.append(step_row(Samples(moved, values), base, noise, unit))
    whole = rows[0]
    for row in rows[1:]:
        whole = whole.above(row)
    return whole


NUMBERS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e-300, np.inf, np.nan])


@pytest.mark.usefixtures("backend")
@given(
    npst.arrays(np.float64, st.tuples(st.integers(0, 9), st.just(2), st.just(2)), elements=NUMBERS),
    NUMBERS,
    st.floats(0, 1e300),
    st.floats(0, 1),
)
@example(np.array([[[1e308, -1e308], [1.7e308, -1.7e308]]]), 0.0, 0.0, 1.0)  # no width, no rise
@example(np.array([[[1.0, -1.0], [1.7e308, -1.7e308]]]), 0.0, 0.0, 1.0)
@example(np.array([[[5e-324, -5e-324], [1.0, -1.0]]]), 1.0, 1e300, 1.0)
@quick(200)
def test_quotients_and_their_twin_agree(pairs, base, noise, unit):
    moved, values = np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])
    ours = _backend.kernel.quotients(moved, values, base, noise, unit)
    theirs = _reference.quotients(moved, values, base, noise, unit)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.shape == (5, len(pairs))
    for (ahead, behind), (above, below), column in zip(moved, values, ours.T, strict=True):
        if np.isfinite(pairs).all() and ahead > 0 > behind:
            with np.errstate(all="ignore"):  # beyond the range they are infinite, as ours
                width, bound = ahead - behind, max(noise, unit * max(abs(above), abs(below)))
                expected = [width, (above - below) / width, bound / width]
            np.testing.assert_array_equal(column[[0, 1, 4]], expected)


_COLUMNS = ("value", "bound", "lower", "upper", "kink", "converged", "step")


def down_from(h, count=7):
    return h * RATIO ** -np.arange(count)


def found(f, x, h=1e-1, count=7, **options):
    with np.errstate(all="ignore"):
        result = estimate(table_of(f, x, down_from(h, count), **options).with_quantization())
    return {name: getattr(result, name)[0] for name in _COLUMNS}


SMOOTH = {
    "sin": (np.sin, np.cos),
    "exp": (np.exp, np.exp),
    "rational": (lambda x: 1 / (1 + x * x), lambda x: -2 * x / (1 + x * x) ** 2),
    "steep": (lambda x: np.tanh(30 * x), lambda x: 30 / np.cosh(30 * x) ** 2),
    "power": (lambda x: x**9, lambda x: 9 * x**8),
    "shifted": (lambda x: np.sin(x) + 1e8, np.cos),
}


@pytest.mark.parametrize("name", SMOOTH)
@given(x=st.floats(-3, 3), power=st.floats(-4, 0))
@quick(60)
def test_bound_holds_for_smooth_functions(name, x, power):
    f, derivative = SMOOTH[name]
    result = found(f, x, 10.0**power)
    # What rounding of x itself moves the derivative by is nobody's fault.
    slack = 1e-14 + 1e-13 * abs(derivative(x))
    assert not result["kink"]
    assert not result["converged"] or abs(result["value"] - derivative(x)) <= (
        2 * result["bound"] + slack
    )


@pytest.mark.parametrize("name", ["sin", "exp", "power"])
def test_bound_is_sharp_enough_to_be_of_use(name):
    f, derivative = SMOOTH[name]
    result = found(f, 1.1, 1e-2)
    assert result["converged"]
    assert result["bound"] <= 1e-9 * abs(derivative(1.1))


def test_extrapolation_gives_large_steps_their_worth():
    """Noise forbids small steps; at the large ones the second order cancels."""

    def noisy(x):
        return np.sin(x) + 1e-6 * np.sin(1e9 * x)

    result = found(noisy, 1.0, 0.3, 3, noise=1e-6)
    assert abs(result["value"] - np.cos(1.0)) <= result["bound"] < 1e-3


@pytest.mark.parametrize("left", [-1.0, 0.0, 0.7])
def test_kink_gives_both_derivatives(left):
    def f(x):
        return np.where(x > 1, 2 * (x - 1), left * (x - 1)) + np.sin(x)

    result = found(f, 1.0)
    assert result["kink"]
    assert result["converged"]
    assert result["lower"] == pytest.approx(left + np.cos(1), abs=1e-4)
    assert result["upper"] == pytest.approx(2 + np.cos(1), abs=1e-4)
    assert result["value"] == pytest.approx((result["lower"] + result["upper"]) / 2)


@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4])
def test_kink_beside_the_point_is_none(distance):
    result = found(lambda x: np.abs(x - 1 - distance), 1.0)
    assert not result["kink"]
    assert result["value"] == pytest.approx(-1, abs=1e-6)
    assert result["bound"] < 1e-3


def test_between_one_sided_derivatives_that_do_not_settle_nothing_converges():
    """A cusp: the central difference is 0 at every step, and means nothing."""
    result = found(lambda x: np.sqrt(np.abs(x)), 0.0)
    assert not result["converged"]


def test_jump_does_not_converge():
    assert not found(lambda x: x + (x > 1), 1.0)["converged"]


@pytest.mark.parametrize("side", [-1, 1])
def test_one_sided_where_the_other_side_is_not_finite(side):
    def f(x):
        return np.where(side * (x - 1) >= 0, np.sin(x), np.nan)

    result = found(f, 1.0)
    assert result["converged"]
    assert abs(result["value"] - np.cos(1)) <= 2 * result["bound"] < 1e-4


def test_nothing_finite_gives_nan():
    result = found(lambda x: np.where(x == 1, 1.0, np.nan), 1.0)
    assert np.isnan(result["value"])
    assert not result["converged"]


@pytest.mark.parametrize(("understated", "allowed"), [(1, 0.0), (3, 0.0), (10, 0.01), (100, 0.01)])
def test_noise_larger_than_stated_is_seen_in_the_table(understated, allowed):
    alarms = 0
    for seed in range(200):
        random = np.random.default_rng(seed)

        def f(x, random=random):
            return np.sin(x) + 1e-8 * random.normal()

        result = found(f, 1.0, 1e-2, noise=1e-8 / understated)
        off = abs(result["value"] - np.cos(1)) > 2 * result["bound"]
        alarms += result["converged"] and off
    assert alarms <= allowed * 200


def test_piecewise_constant_noise_is_no_derivative_of_zero():
    """Below the grain of the values all differences vanish: that is no convergence to zero."""

    def coarse(x):
        return np.round(x * 300) / 300

    result = found(coarse, 1.0004, 0.3, noise=1e-3)
    assert not result["converged"] or abs(result["value"] - 1) <= 2 * result["bound"]


def test_step_rows_use_the_displacements_really_made():
    samples = Samples(np.array([[0.25, -0.5]]), np.array([[3.0, 1.0]]))
    row = step_row(samples, 2.0, 1e-3, DOUBLE)
    assert row.steps[0, 0] == 0.375
    assert row.central[0, 0] == pytest.approx(2 / 0.75)
    assert row.forward[0, 0] == 4.0
    assert row.backward[0, 0] == 2.0
    assert row.gaps[0, 0] == 2.0
    assert row.noise[0, 0] == pytest.approx(8e-3 / 0.75)


def test_entries_do_not_disturb_each_other():
    steps = down_from(1e-1)
    parts = [table_of(f, 1.0, steps) for f in (np.sin, np.abs, lambda x: np.abs(x - 1))]
    together = type(parts[0])(np.concatenate([part.stacked for part in parts], axis=2))
    with np.errstate(all="ignore"):
        alone, joint = [estimate(part) for part in parts], estimate(together)
    for name in _COLUMNS:
        separate = np.concatenate([getattr(each, name) for each in alone])
        assert np.array_equal(getattr(joint, name), separate, equal_nan=True)


def test_grain_of_the_values_is_noise():
    """Where f moves by one grain at a step, and not at all at the next, a zero proves nothing."""
    grain = 1e-9

    def coarse(x):
        return np.round((x - 1) / grain + 0.3) * grain

    result = found(coarse, 1.0, 1e-5, 10, noise=1e-20)
    assert not result["converged"] or abs(result["value"] - 1) <= 2 * result["bound"]


def test_kinks_within_reach_widen_the_bound():
    """Of many kinks close by, the differences at large steps settle on some average slope."""
    random = np.random.default_rng(9)
    places, jumps = random.uniform(0.9, 1.1, 40), random.normal(size=40)

    def f(x):
        return float((jumps * np.abs(x - places)).sum())

    result = found(f, 1.0, 0.05, 3, noise=1e-3)
    exact = float((jumps * np.sign(1 - places)).sum())
    assert not result["converged"] or abs(result["value"] - exact) <= 2 * result["bound"]
