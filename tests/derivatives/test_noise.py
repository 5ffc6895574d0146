"""The noise of a function from seven values, and the step from the noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

from fastgrad._derivatives.noise import POINTS, noise_of, relative_step, rounding_unit, varies

DOUBLE, SINGLE = 2.0**-53, 2.0**-24
GRID = np.arange(POINTS)


def values(f, spacing, at=1.0):
    return [float(f(at + k * spacing)) for k in GRID]


@pytest.mark.parametrize("level", [1e-12, 1e-6, 1e-2])
def test_noise_is_found_within_a_small_factor(level):
    random = np.random.default_rng(0)
    found = [
        noise_of(values(lambda x: np.sin(x) + level * random.normal(), 1e-3 * level**0.3))
        for _ in range(200)
    ]
    assert level / 2 < np.median(found) < 2 * level
    assert np.quantile(found, 0.02) > level / 5
    assert np.quantile(found, 0.98) < 5 * level


@pytest.mark.parametrize("f", [np.sin, np.exp, lambda x: x**5, lambda x: 1 / x, lambda x: 1e8 + x])
def test_smooth_functions_have_only_their_rounding(f):
    found = noise_of(values(f, 2.0**-30))
    assert DOUBLE * abs(f(1.0)) <= found <= 8 * DOUBLE * abs(f(1.0))


def test_single_precision_shows():
    found = values(lambda x: np.float32(np.sin(x)), 2.0**-12)
    assert rounding_unit(found) == SINGLE
    assert noise_of(found) >= SINGLE * 0.8


def test_numbers_that_happen_to_be_short_are_not_single_precision():
    """A constant says nothing; neither do values that do not differ."""
    assert rounding_unit([1.0] * POINTS) == DOUBLE
    assert rounding_unit(values(np.sin, 2.0**-12)) == DOUBLE
    assert rounding_unit([0.0]) == DOUBLE


def test_few_values_tell_single_precision_if_they_are_long():
    grained = [float(np.float32(v)) for v in (5000.1, 5000.1, 5000.1, 4990.7)]
    assert rounding_unit(grained) == SINGLE
    assert rounding_unit([0.25, 0.25, 0.25, 0.75]) == DOUBLE
    assert rounding_unit([35.0, 35.0, 35.0, 5123.0]) == DOUBLE


def test_single_precision_of_large_and_tiny_numbers():
    for size in (1e30, 1e-30):
        assert rounding_unit(values(lambda x, s=size: np.float32(s * x), 1e-3)) == SINGLE
    assert rounding_unit(values(lambda x: 1e300 * x, 1e-3)) == DOUBLE
    assert rounding_unit(values(lambda x: 1e-300 * x, 1e-3)) == DOUBLE


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e200])
def test_noise_scales_with_the_values(scale):
    random = np.random.default_rng(1)
    plain = [1 + 1e-6 * random.normal() for _ in GRID]
    assert noise_of([scale * v for v in plain]) == pytest.approx(scale * noise_of(plain))


def test_zeros_have_no_noise():
    assert noise_of([0.0] * POINTS) == 0.0


def test_varies_when_most_values_differ():
    assert varies([1, 2, 3, 4, 5, 6, 7])
    assert not varies([1, 1, 1, 2, 2, 2, 2])


@given(
    st.floats(0, 1e300),
    st.floats(0, 1e300),
    st.sampled_from([2.0**-52, 2.0**-23, 2.0**-10]),
)
@quick(200)
def test_step_is_never_too_small_to_move_an_entry_nor_large(noise, variation, eps):
    step = relative_step(noise, variation, eps)
    assert 32 * eps <= step or step >= 2.0**-30
    assert step >= 2.0**-30
    assert step <= max(0.05, 32 * eps)


def test_step_balances_noise_and_truncation():
    """The error of a central difference is smallest near the step chosen."""
    noise, step = 1e-9, relative_step(1e-9, 1.0, 2.0**-52)

    def error(h):
        return noise / h + h**2 / 6

    assert error(step) < 1.01 * min(error(step * k) for k in (0.25, 0.5, 2, 4))


def test_rounding_of_numbers_that_came_as_text():
    values = [float(f"{np.exp(1 + k * 1e-7):.9e}") for k in range(7)]
    assert rounding_unit(values) == pytest.approx(0.5e-9)
    assert noise_of(values) >= 0.5e-9 * max(values)
    assert rounding_unit([np.exp(1 + k * 1e-7) for k in range(7)]) == 2.0**-53
    assert rounding_unit([0.5, 0.75, 0.125]) == 2.0**-53
    assert rounding_unit([1.0 + k * 2.0**-40 for k in range(7)]) == 2.0**-53
    assert rounding_unit([0.0]) == 2.0**-53
