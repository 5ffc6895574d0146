"""How `f` moves, as parameters are moved far that small steps leave without effect."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

from fastgrad._checks.movement import (
    Movement,
    begins_by_jump,
    look_far,
    moves_in_jumps,
    of_entries,
    of_leaf,
)
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")

randoms = st.integers(0, 2**30).map(np.random.default_rng)


def run_of(f, x):
    return Metered(local(Lenient(f), x, Guard(flatten(x))))


def looked(f, x, noise=0.0, seed=0):
    before = x.tobytes()
    with run_of(f, x) as run:
        seen = look_far(run, of_leaf(run, 0, seed), float(run.base()), noise)
    assert x.tobytes() == before
    return seen


@quick(20)
@given(rng=randoms)
def test_constant_does_not_move(rng):
    value = rng.normal()
    assert looked(lambda x: value, rng.normal(size=3)).movement is Movement.NONE


@quick(20)
@given(rng=randoms)
def test_noise_is_no_move(rng):
    level, x = 10.0 ** rng.uniform(-12, 0), rng.normal(size=3)
    f = lambda x: level * math.sin(1e9 * x.sum())  # noqa: E731
    assert looked(f, x, noise=level).movement is Movement.NONE


@quick(20)
@given(rng=randoms)
def test_smooth_moves_smoothly(rng):
    x, a = rng.normal(size=4), rng.uniform(0.5, 3, 4)
    seen = looked(lambda x: float(np.sum(a * np.tanh(x))), x, seed=int(rng.integers(8)))
    assert seen.movement is Movement.SMOOTH
    assert seen.slope > 0


@quick(20)
@given(rng=randoms)
def test_steps_of_a_staircase_are_jumps(rng):
    width, x = 10.0 ** rng.uniform(-4, -0.5), rng.normal(size=1)
    f = lambda x: float(np.floor(x / width).sum() * width)  # noqa: E731
    assert looked(f, x, noise=1e-16).movement is Movement.JUMPS


@quick(20)
@given(rng=randoms)
def test_kink_far_away_is_no_jump(rng):
    """A saturated unit that wakes up, at any distance."""
    distance = rng.uniform(0.01, 0.3)
    f = lambda x: float(np.maximum(np.abs(x) - distance, 0).sum())  # noqa: E731
    assert looked(f, np.zeros(1), noise=1e-16).movement is Movement.SMOOTH


@pytest.mark.parametrize("slope", [1e-6, 7.0, 1e6])
def test_slope_is_that_of_f(slope):
    """To within the factor by which moves of single entries differ."""
    seen = looked(lambda x: slope * float(x[0]), np.zeros(1))
    assert slope / 2 <= seen.slope <= 4 * slope


@pytest.mark.parametrize("outside", ["nan", "raise"])
def test_domain_ends_quietly(outside):
    """What lies outside of the domain is no move, and neither warns nor raises."""

    def f(x):
        if abs(x[0] - 1.0) > 1e-4:
            if outside == "raise":
                raise ValueError("outside")
            warnings.warn("outside", RuntimeWarning, stacklevel=1)
            return math.nan
        return 2.0

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert looked(f, np.ones(1)).movement is Movement.NONE


@quick(20)
@given(rng=randoms)
def test_begins_by_jump_tells_a_step_from_a_ramp(rng):
    at, height = rng.uniform(0.1, 0.9), 10.0 ** rng.uniform(-3, 3)
    x = np.zeros(1)

    def step(x):
        return height * float(abs(x[0]) > at / 2)

    def ramp(x):
        return height * max(abs(float(x[0])) - at / 2, 0.0)

    for f, jumps in ((step, True), (ramp, False)):
        with run_of(f, x) as run:
            # The direction moves by half a length in one unit of time.
            found = begins_by_jump(run, of_leaf(run, 0, 0), 0.0, 1e-16, 0.0, 1.0)
        assert found is jumps
    assert not x.any()


def test_only_the_given_entries_are_moved():
    x = np.arange(6.0).reshape(2, 3)
    seen = []

    def f(x):
        seen.append(x.copy())
        return 1.0

    with run_of(f, x) as run:
        direction = of_entries(run, {0: np.array([1, 5])}, 0)
        look_far(run, direction, 1.0, 0.0)
    moved = np.any([point != x for point in seen], axis=0)
    assert np.flatnonzero(moved).tolist() == [1, 5]


def test_leaf_of_labels_moves_in_jumps():
    labels = np.array([0.0, 1.0, 2.0])
    with run_of(lambda x: float(np.sum(x.round() ** 2)), labels) as run:
        assert moves_in_jumps(run, 0, 5.0, 0)
    with run_of(lambda x: float(np.sum(x**2)), labels) as run:
        assert not moves_in_jumps(run, 0, 5.0, 0)
