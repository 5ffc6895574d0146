"""Functions that are rounded inside, jump, or end: each kind with random sizes and claims."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kinds import RIGHT, SIDES, UNCLEAR, WRONG, check, expect, few, power_of_ten, randoms

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


# ---------------------------------------------------------------------------------- rounded inside


@few(30)
@given(rng=randoms)
def test_offset_inside(rng):
    """What `f` computes with is a multiple of a spacing that belongs to no value that is seen."""
    offset, n = power_of_ten(rng, 2, 9), int(rng.integers(1, 4))
    x, a = rng.uniform(0.5, 2, n), rng.uniform(0.5, 2, n)

    def f(x):
        return float(np.sum(a * np.sin((x + offset) - offset)))

    for seed in range(2):
        expect(check(f, a * np.cos(x), x, seed=seed), RIGHT, UNCLEAR)
    expect(check(f, 3 * a * np.cos(x), x), WRONG, UNCLEAR)


@few(20)
@given(rng=randoms)
def test_small_offset_inside_costs_no_verdict(rng):
    offset, x = power_of_ten(rng, 0, 3), rng.uniform(0.5, 1.2, 2)

    def f(x):
        return float(np.sum(np.sin((x + offset) - offset)))

    expect(check(f, np.cos(x), x), RIGHT)
    expect(check(f, 2 * np.cos(x), x), WRONG)


@few(20)
@given(rng=randoms)
def test_fixed_point_inputs(rng):
    grid, x, a = 2.0 ** -rng.integers(8, 33), rng.uniform(0.5, 2, 2), rng.uniform(0.5, 2, 2)

    def f(x):
        return float(np.sum(a * np.round(x / grid) * grid))

    expect(check(f, a, x, seed=int(rng.integers(8))), RIGHT, UNCLEAR)


@few(20)
@given(rng=randoms)
def test_short_type_inside_times_a_factor(rng):
    w, x, factor = rng.normal(size=4), rng.normal(size=4), rng.uniform(0.05, 3)

    def f(x):
        return factor * float(np.tanh(np.float32(w) @ np.float32(x)))

    claim = factor * w / np.cosh(w @ x) ** 2
    expect(check(f, claim, x), RIGHT, UNCLEAR)
    expect(check(f, -claim, x), WRONG, UNCLEAR)


@few(30)
@given(rng=randoms, linear=st.booleans())
def test_linear_in_a_short_type(rng, linear):
    """Moves by powers of two leave no rounding to be seen, of values that have one."""
    w, x = rng.normal(size=5).astype("f4"), rng.normal(size=5)

    def f(x):
        terms = w * x.astype("f4")
        return float(terms.sum(dtype="f4") if linear else np.maximum(terms, 0).sum(dtype="f4"))

    claim = w if linear else np.where(w * x > 0, w, 0)
    for seed in range(2):
        expect(check(f, claim, x, seed=seed), RIGHT, UNCLEAR)


# ------------------------------------------------------------------------------ piecewise constant


@few(40)
@given(rng=randoms)
def test_staircase(rng):
    """The mean slope is as right as a slope of zero, and neither is shown by small steps."""
    width, slope = power_of_ten(rng, -9, 0), rng.choice(SIDES) * power_of_ten(rng, -2, 2)
    x, offset, seed = rng.normal(size=1), rng.uniform(-3, 3), int(rng.integers(8))

    def f(x):
        return float(slope * width * np.floor(x[0] / width) + offset)

    mean = check(f, slope, x, seed=seed)
    # Many stairs in every step are as good as a slope; one is not.
    expect(mean, UNCLEAR, *[RIGHT] * (width < 1e-2))
    expect(check(f, 0.0, x, seed=seed), UNCLEAR, *[WRONG] * (width < 1e-2))


@few(25)
@given(rng=randoms)
def test_stairs_that_slope(rng):
    """Each piece has a slope, and all of them together have another."""
    width, whole, x = power_of_ten(rng, -9, -4), rng.uniform(2, 9), rng.normal(size=1)

    def f(x):
        return float(x[0] + (whole - 1) * width * math.floor(x[0] / width))

    expect(check(f, whole, x), RIGHT, UNCLEAR)
    expect(check(f, -whole, x), WRONG, UNCLEAR)


@pytest.mark.parametrize("seed", range(3))
@few(8)
@given(rng=randoms)
def test_probe_of_stairs_and_jumps(seed, rng):
    """Along directions, too, what is moved by many entries at once moves in jumps."""
    width, x = power_of_ten(rng, -8, -1), rng.normal(size=30)

    def stairs(x):
        return float(np.sum(np.round(x / width) * width))

    def jump(x, at=x.copy()):  # noqa: B008
        return float(np.sum(x) + np.sum(x > at))

    for f, claim in ((stairs, 1.0), (jump, 1.0), (jump, 0.0)):
        report = check(f, claim, x, strategy="probe", seed=seed)
        expect(report, UNCLEAR, *[RIGHT] * (f is stairs))
    expect(check(stairs, 0.0, x, strategy="probe", seed=seed), WRONG, UNCLEAR)


@few(10)
@given(rng=randoms)
def test_probe_of_offsets_inside(rng):
    offset, x = power_of_ten(rng, 2, 8), rng.uniform(0.5, 1.2, 30)

    def f(x):
        return float(np.sum(np.sin((x + offset) - offset)))

    for seed in range(2):
        expect(check(f, np.cos(x), x, strategy="probe", seed=seed), RIGHT, UNCLEAR)


@few(10)
@given(rng=randoms)
def test_probe_of_a_short_type_inside(rng):
    w, x = rng.normal(size=(8, 5)).astype("f4"), rng.normal(size=5)

    def f(x):
        return 0.1 * float(np.maximum(w @ x.astype("f4"), 0).sum(dtype="f4"))

    claim = 0.1 * ((w @ x > 0)[:, np.newaxis] * w).sum(axis=0)
    for seed in range(2):
        expect(check(f, claim, x, strategy="probe", seed=seed), RIGHT, UNCLEAR)
    expect(check(f, 2 * claim, x, strategy="probe"), WRONG, UNCLEAR)


@few(20)
@given(rng=randoms)
def test_staircase_in_several_entries(rng):
    width, x = power_of_ten(rng, -6, -1), rng.normal(size=3)

    def f(x):
        return float(np.sum(np.round(x / width) * width))

    expect(check(f, np.ones(3), x), RIGHT, UNCLEAR)
    expect(check(f, np.zeros(3), x), WRONG, UNCLEAR)


@few(20)
@given(rng=randoms)
def test_table_without_interpolation(rng):
    table, x = np.sin(np.linspace(0, 3, int(rng.integers(8, 4000)))), rng.uniform(0.2, 0.8, 1)

    def f(x):
        return float(table[int(np.clip(x[0], 0, 1) * (len(table) - 1))])

    expect(check(f, 3 * np.cos(3 * x), x), RIGHT, UNCLEAR)
    expect(check(f, 0.0, x), WRONG, UNCLEAR)


@pytest.mark.parametrize("which", ["slope", "zero", "random", "huge"])
@few(15)
@given(rng=randoms)
def test_jump_at_the_point(which, rng):
    """Differences grow without end as the step shrinks, and no claim is right."""
    height, at = rng.choice(SIDES) * power_of_ten(rng, -1, 3), rng.normal()
    slope, inclusive = rng.uniform(0.1, 1), bool(rng.integers(2))
    claims = {
        "slope": slope,
        "zero": 0.0,
        "random": rng.normal(),
        "huge": height * power_of_ten(rng, 0, 9),
    }

    def f(x):
        beyond = x[0] >= at if inclusive else x[0] > at
        return float(slope * x[0] + height * beyond)

    # Nor is the slope beside the jump ever called wrong.
    expect(check(f, claims[which], [at]), UNCLEAR, *[WRONG] * (which != "slope"))


@few(5)
@given(rng=randoms)
def test_labels_among_the_leaves(rng):
    """The one leaf with which `f` jumps is named, and the others are judged."""
    params = {"labels": rng.integers(0, 5, 4).astype(float), "w": rng.normal(size=3)}

    def f(p):
        return float(np.sum(p["w"] ** 2) + np.sum(np.floor(p["labels"]) ** 2))

    def grad(p):
        return {"labels": np.zeros(4), "w": 2 * p["w"]}

    report = fg.check_gradient(f, grad, params, strategy="exhaustive")
    expect(report, UNCLEAR)
    verdicts = {leaf.path: leaf.verdict for leaf in report.leaves}
    assert verdicts == {"labels": UNCLEAR, "w": RIGHT}

    def wrong(p):
        return {"labels": np.zeros(4), "w": 3 * p["w"]}

    report = fg.check_gradient(f, wrong, params, strategy="exhaustive")
    expect(report, WRONG)
    assert all("w" in entry.path for entry in report.wrong)


# ----------------------------------------------------------------------------------------- domains

OUTSIDE = ("nan", "inf", "-inf", "raise")


def edged(outside, distance, side):
    """x**2 + x, which ends at this distance on this side of 1."""

    def f(x):
        if side * (x[0] - 1.0) > distance:
            if outside == "raise":
                raise ValueError("outside")
            return float(outside)
        return float(x[0] ** 2 + x[0] + x[1])

    return f


@few(40)
@given(rng=randoms, outside=st.sampled_from(OUTSIDE), side=st.sampled_from(SIDES))
def test_edge_of_the_domain(rng, outside, side):
    distance = float(rng.choice([0.0, power_of_ten(rng, -12, 0)]))
    f, x = edged(outside, distance, side), np.array([1.0, 2.0])
    accepted = (RIGHT, UNCLEAR) if 0 < distance < 1e-9 else (RIGHT,)
    expect(check(f, [3.0, 1.0], x), *accepted)
    accepted = (WRONG, UNCLEAR) if 0 < distance < 1e-9 else (WRONG,)
    expect(check(f, [6.0, 1.0], x), *accepted)


@few(20)
@given(outside=st.sampled_from(OUTSIDE))
def test_both_sides_are_outside(outside):
    def f(x):
        if x[0] != 1.0:
            if outside == "raise":
                raise ValueError("outside")
            return float(outside)
        return 2.0

    report = check(f, 1.0, [1.0])
    expect(report, UNCLEAR)
    assert "edge of its domain" in report.reason


@few(20)
@given(rng=randoms, side=st.sampled_from(SIDES))
def test_guards_do_not_cost_the_verdict(rng, side):
    """The curve of a wrong entry and its causes are not looked for where `f` raises."""
    n = int(rng.integers(1, 6))
    x = rng.uniform(0.001, 0.5, n)

    def f(x):
        assert (side * x > 0).all(), "outside of the domain"
        return float(np.log(side * x).sum())

    expect(check(f, 1 / (side * x), side * x), RIGHT)
    expect(check(f, -1 / (side * x), side * x), WRONG)
