"""Flat and singular points, odd claims, and luck: with random sizes, places and claims."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kinds import RIGHT, SIDES, UNCLEAR, WRONG, check, expect, few, power_of_ten, randoms

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


# --------------------------------------------------------------------------- claims without number


@few(30)
@given(rng=randoms, claim=st.sampled_from([math.inf, -math.inf, math.nan]))
def test_claims_that_are_no_numbers(rng, claim):
    n = int(rng.integers(1, 6))
    x, a = rng.normal(size=n), rng.normal(size=n) * rng.integers(0, 2, n)
    right = a * np.cos(x)
    bad = right.copy()
    bad[rng.integers(n)] = claim

    def f(x):
        return float(np.sum(a * np.sin(x)) + 0.5)

    for strategy in ("exhaustive", "probe"):
        report = check(f, bad, x, strategy=strategy)
        if a.any():
            expect(report, WRONG)
        else:  # nothing moves f: it may be reading a copy
            expect(report, WRONG, UNCLEAR)


# -------------------------------------------------------------------------- what `f` does not read


@few(15)
@given(rng=randoms)
def test_another_copy_is_read(rng):
    x = rng.normal(size=3)
    copy = x.copy()

    def f(_):
        return float(np.sum(copy**2))

    report = check(f, 2 * x, x)
    expect(report, UNCLEAR)
    assert not report.causes


@few(15)
@given(rng=randoms)
def test_results_cached_by_identity(rng):
    x, cache = rng.normal(size=3), {}

    def f(x):
        if id(x) not in cache:
            cache[id(x)] = float(np.sum(x**2)), x  # kept, so that no id is used again
        return cache[id(x)][0]

    report = check(f, 2 * x, x)
    expect(report, UNCLEAR)
    assert not report.causes


# ----------------------------------------------------------------------------- vanishing gradients

FLAT = {
    "cubes": (lambda x, k: np.sum(k * (x - 1) ** 3), 1.0),
    "powers": (lambda x, k: np.sum((x - 1) ** int(4 + 2 * k)), 1.0),
    "high_powers": (lambda x, k: np.sum((x - 1) ** int(6 + 3 * k)), 1.0),
    "huber": (lambda x, k: np.sum(np.where(abs(x) < k, x**2 / 2, k * (abs(x) - k / 2))), 0.0),
    "smooth_abs": (lambda x, k: np.sum(np.sqrt(x**2 + 10.0 ** (5 * k - 9))), 0.0),
    "sharp_abs": (lambda x, k: np.sum(np.sqrt(x**2 + 10.0 ** (4 * k - 14))), 0.0),
    "optimum": (lambda x, k: np.sum((1 + 9 * k) * (x - 3) ** 2), 3.0),
}


@few(25)
@given(rng=randoms)
def test_beside_a_parameter_of_huge_effect(rng):
    """What its rounding hides of other entries is not right, and no vanishing gradient."""
    n = int(rng.integers(2, 5))
    weights = rng.uniform(0.5, 2, n)
    at = rng.uniform(1, 3, n)
    at[rng.integers(n)] *= 10.0 ** rng.uniform(0, 14)
    slopes = 2 * weights * at

    def f(x):
        return float(weights @ (x * x))

    report = check(f, slopes, at)
    assert "vanishes" not in report.reason
    unseen = report.uncertainty > slopes.max() / 10
    expect(report, UNCLEAR if unseen.any() else RIGHT)
    # A claim that the bars allow proves no more.
    report = check(f, np.where(unseen, -slopes, slopes), at)
    expect(report, UNCLEAR if unseen.any() else RIGHT)


@pytest.mark.parametrize("kind", FLAT)
@few(12)
@given(rng=randoms)
def test_vanishing_gradient(kind, rng):
    (formula, at), k, n = FLAT[kind], rng.uniform(0.02, 1), int(rng.integers(1, 4))
    f = lambda x: float(formula(x, k))  # noqa: E731
    report = check(f, np.zeros(n), np.full(n, at))
    expect(report, RIGHT)
    assert "vanishes here" in report.reason
    assert "sign could not be seen" in report.reason
    assert "float64" not in report.reason
    expect(check(f, np.full(n, 0.5), np.full(n, at)), WRONG)


@few(15)
@given(rng=randoms)
def test_gradient_that_does_not_vanish_is_not_said_to(rng):
    x = rng.uniform(0.2, 1.2, 3)
    report = check(lambda x: float(np.sum(np.sin(x))), np.cos(x), x)
    expect(report, RIGHT)
    assert "vanishes" not in report.reason


# ------------------------------------------------ singular points, cancellation, fast functions


@few(25)
@given(rng=randoms)
def test_singular_point_under_a_constant(rng):
    x, constant = np.array([power_of_ten(rng, -18, -10)]), power_of_ten(rng, 2, 8)
    f = lambda x: float(x[0] * np.log(x[0]) + constant)  # noqa: E731
    with np.errstate(all="ignore"):
        expect(check(f, np.log(x) + 1, x), RIGHT, UNCLEAR)


POLES = {
    "1 / x": (lambda t: 1 / t, lambda t: -1 / t**2),
    "1 / sqrt x": (lambda t: 1 / np.sqrt(t), lambda t: -0.5 / t**1.5),
    "exp -x": (lambda t: np.exp(-t), lambda t: -np.exp(-t)),
    "tanh x": (lambda t: np.tanh(t), lambda t: 1 / np.cosh(np.fmin(t, 300)) ** 2),
}


@pytest.mark.parametrize("kind", POLES)
@few(15)
@given(rng=randoms)
def test_what_rounding_hides_on_the_own_side_of_zero(kind, rng):
    """Tiny entries on whose scale `f` varies by its rounding, and no more beyond zero."""
    f, slope = POLES[kind]
    x, size = power_of_ten(rng, -15, -8) * rng.uniform(0.5, 2, 2), power_of_ten(rng, -13, -11)
    constant = power_of_ten(rng, 3, 8)

    def shifted(x):
        with np.errstate(all="ignore"):
            return float(f(x / size).sum() * 1e-9 + constant)

    expect(check(shifted, 1e-9 * slope(x / size) / size, x), RIGHT, UNCLEAR)


@few(10)
@given(rng=randoms)
def test_wrong_claims_of_tiny_entries_are_wrong(rng):
    """Where `f` moves with them, and where it does not and the claim would show."""
    x, a = power_of_ten(rng, -16, -8) * rng.uniform(0.5, 2, 3), rng.normal(size=3)
    f = lambda x: float(a @ np.sin(x)) + 1.0  # noqa: E731
    expect(check(f, a, x), RIGHT)
    expect(check(f, 3 * a, x), WRONG)
    x, a = power_of_ten(rng, -10, -5) * np.ones(3), np.sign(a)
    expect(check(lambda x: float(x[0]) + 1.0, a + a * [1, 0, 0], x), WRONG)


@few(20)
@given(rng=randoms)
def test_cancellation(rng):
    x = np.array([power_of_ten(rng, -9, -3)])
    f = lambda x: float((1 - np.cos(x[0])) / x[0] ** 2)  # noqa: E731
    expect(check(f, -x / 12, x), RIGHT, UNCLEAR)


@few(20)
@given(rng=randoms)
def test_faster_than_the_steps(rng):
    speed, x = power_of_ten(rng, 9, 14), rng.uniform(0.5, 2, 1)
    f = lambda x: float(np.sin(speed * x[0]))  # noqa: E731
    expect(check(f, speed * np.cos(speed * x), x), RIGHT, UNCLEAR)


WAVES = {  # which are flat for most of their length
    "square": (
        lambda t: np.tanh(10 * np.sin(t)),
        lambda t: 10 * np.cos(t) / np.cosh(10 * np.sin(t)) ** 2,
    ),
    "pulses": (
        lambda t: np.exp(-50 * np.sin(t) ** 2),
        lambda t: -50 * np.sin(2 * t) * np.exp(-50 * np.sin(t) ** 2),
    ),
    "powers": (lambda t: np.sin(t) ** 9, lambda t: 9 * np.sin(t) ** 8 * np.cos(t)),
}


@pytest.mark.parametrize("kind", WAVES)
@few(40)
@example(rng=np.random.default_rng(7996630))  # where the processor has no AVX
@given(rng=randoms)
def test_flat_between_waves_faster_than_the_steps(kind, rng):
    wave, slope = WAVES[kind]
    speed, x = power_of_ten(rng, 9, 13), rng.uniform(0.5, 2, 1)
    expect(check(lambda x: float(wave(speed * x[0])), speed * slope(speed * x), x), RIGHT, UNCLEAR)


@few(40)
@given(rng=randoms)
def test_waves_too_small_to_show_at_the_steps(rng):
    """They are as steep as what they are added to: 3 of 10 right claims were called wrong."""
    speed, x = power_of_ten(rng, 8, 10), rng.uniform(0.5, 2, 1)
    f = lambda x: float(np.cos(speed * x[0]) / speed + x[0])  # noqa: E731
    if np.sin(speed * x[0]) > 0.8:
        return  # there `f` stands still at a tiny step, as it does on stairs
    expect(check(f, 1 - np.sin(speed * x), x), RIGHT, UNCLEAR)
    expect(check(f, rng.choice([-1.0, 4.0]) - np.sin(speed * x), x), WRONG, UNCLEAR)


TOPS = {  # whose slopes vanish there, and are rounded with what they are computed from
    "cosine": (np.cos, lambda t: -np.sin(t)),
    "square": (lambda t: np.sin(t) ** 2, lambda t: 2 * np.sin(t) * np.cos(t)),
    "cube": (lambda t: np.sin(t) ** 3, lambda t: 3 * np.sin(t) ** 2 * np.cos(t)),
    "fourth": (lambda t: np.sin(t) ** 4, lambda t: 4 * np.sin(t) ** 3 * np.cos(t)),
    "steep": (
        lambda t: np.tanh(3 * np.sin(t)),
        lambda t: 3 * np.cos(t) / np.cosh(3 * np.sin(t)) ** 2,
    ),
}


@pytest.mark.parametrize("kind", TOPS)
@few(40)
@given(rng=randoms)
def test_at_the_tops_of_waves_faster_than_the_steps(kind, rng):
    """No small step is small enough for their slopes: 3 of 100 were called wrong."""
    wave, slope = TOPS[kind]
    speed, x, a = power_of_ten(rng, 9, 12), rng.uniform(0.5, 2), rng.integers(2) * rng.normal()
    x = np.array([np.round(speed * x / (np.pi / 2)) * (np.pi / 2) / speed])
    f = lambda x: float(wave(speed * x[0]) + a * x[0])  # noqa: E731
    expect(check(f, speed * slope(speed * x) + a, x), RIGHT, UNCLEAR)


@few(20)
@example(rng=np.random.default_rng(35))
@example(rng=np.random.default_rng(111))
@example(rng=np.random.default_rng(281))
@example(rng=np.random.default_rng(317))
@given(rng=randoms)
def test_chaotic_map(rng):
    x, times = rng.uniform(0.1, 0.9, 1), int(rng.integers(20, 80))

    def f(x):
        y = x[0]
        for _ in range(times):
            y = 3.9 * y * (1 - y)
        return float(y)

    y, slope = x[0], 1.0
    for _ in range(times):
        slope, y = slope * 3.9 * (1 - 2 * y), 3.9 * y * (1 - y)
    expect(check(f, slope, x), RIGHT, UNCLEAR)


def iterated(x, tolerance):
    """The fixed point of ``0.5 cos(y) + x``, and after how many iterations it was close enough."""
    y = 0.0
    for k in range(1000):
        y, old = 0.5 * math.cos(y) + x, y
        if abs(y - old) < tolerance:
            return y, k
    return y, 1000


@few(20)
@given(rng=randoms)
def test_fixed_point_to_a_tolerance(rng):
    """The number of iterations jumps, and `f` with it; where it does is part of the problem."""
    tolerance, x = power_of_ten(rng, -10, -4), rng.uniform(0.2, 1)
    near = {iterated(x + d, tolerance)[1] for d in np.linspace(-0.01, 0.01, 101)}
    f = lambda x: iterated(x[0], tolerance)[0] ** 2  # noqa: E731
    y, _ = iterated(x, 0.0)
    claim = 2 * y / (1 + 0.5 * math.sin(y))
    # Where nothing jumps near by the gradient is that of another function.
    expect(check(f, claim, [x]), RIGHT, UNCLEAR, *[WRONG] * (len(near) == 1))
    expect(check(f, claim, [x], rtol=100 * tolerance), RIGHT, UNCLEAR)
    expect(check(f, 2 * claim, [x]), WRONG)


# ------------------------------------------------------------------------- zero by invariance, NaN


@few(20)
@given(rng=randoms)
def test_zero_by_invariance(rng):
    """A constant added to all cancels out; the claim is rounded to a shorter type."""
    params = {"bias": rng.normal(), "x": rng.normal(size=5)}
    targets = rng.normal(size=5)

    def f(p):
        z = p["x"] + p["bias"]
        z = z - z.mean()
        return float(np.sum((z - targets) ** 2))

    centred = params["x"] - params["x"].mean() - targets
    g = 2 * (centred - centred.mean())
    rounding = float(np.float32(g).sum(dtype="f4")) + 1e-8 * rng.normal()
    params["bias"] = np.array(params["bias"])
    claim = {"bias": np.array(rounding, "f4"), "x": np.float32(g)}
    report = fg.check_gradient(f, lambda _: claim, params)
    expect(report, RIGHT)


@few(15)
@given(rng=randoms, value=st.sampled_from([math.nan, math.inf]))
def test_parameters_that_are_no_numbers(rng, value):
    x = rng.normal(size=4)
    x[1] = value

    def f(x):
        return float(np.sum(np.where(np.isfinite(x), x, 0.0) ** 2))

    claim = np.where(np.isfinite(x), 2 * np.nan_to_num(x, posinf=0.0), 0.0)
    report = check(f, claim, x)
    expect(report, UNCLEAR)
    assert "not finite" in report.reason
    assert report.entries[0].verdict is RIGHT


# -------------------------------------------------------------------------------- verdict and luck


def problem(rng):
    """A smooth function of a few parameters, and its gradient."""
    n = int(rng.integers(1, 6))
    a, b, x = rng.uniform(0.5, 2, n), rng.uniform(-2, 2, n), rng.normal(size=n)
    f = lambda x: float(np.sum(np.sin(a * x) + b * x**2) + np.prod(np.cos(x)))  # noqa: E731

    def grad(x):
        others = np.array([np.prod(np.delete(np.cos(x), i)) for i in range(n)])
        return a * np.cos(a * x) + 2 * b * x - np.sin(x) * others

    return f, grad(x), x


@few(6)
@given(rng=randoms)
def test_seed_and_unit_do_not_matter(rng):
    f, right, x = problem(rng)
    for factor in (1e-9, 1.0, 1e9):
        scaled = lambda x: factor * f(x)  # noqa: B023, E731
        for seed in (0, 7):
            expect(check(scaled, factor * right, x, seed=seed), RIGHT)
        expect(check(scaled, 1.01 * factor * right, x), WRONG)


@few(6)
@given(rng=randoms)
def test_seeds(rng):
    f, right, x = problem(rng)
    for claim in (right, right + 0.1):
        assert len({check(f, claim, x, seed=seed).verdict for seed in range(8)}) == 1


@few(20)
@given(rng=randoms)
def test_constant_costs_power_and_no_alarm(rng):
    f, right, x = problem(rng)
    expect(check(lambda x: f(x) + 1e8, right, x), RIGHT, UNCLEAR)
    expect(check(lambda x: f(x) + 1e8, right + 100.0, x), WRONG)


@few(30)
@given(rng=randoms)
def test_no_warning_leaks(rng):
    """Whatever the sizes, what is computed of them warns of nothing."""
    n = int(rng.integers(1, 4))
    x = rng.choice(SIDES, n) * 10.0 ** rng.uniform(-200, 100, n)
    a = rng.choice(SIDES, n) * 10.0 ** rng.uniform(-200, 200, n)
    with np.errstate(all="ignore"):
        claim = a * rng.choice([0.0, 1.0, 2.0, 1e200, math.inf, math.nan], n)

    def f(x):
        with np.errstate(all="ignore"):
            return float(np.dot(a, x))

    with warnings.catch_warnings(), np.errstate(all="raise", under="ignore"):
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", fg.FastgradWarning)
        for strategy in ("exhaustive", "probe"):
            assert str(check(f, claim, x, strategy=strategy))


# -------------------------------------------------------------------------- evaluations and faults


@few(25)
@given(rng=randoms)
def test_evaluations_of_a_right_gradient(rng):
    f, right, x = problem(rng)
    report = check(f, right, x)
    expect(report, RIGHT)
    assert report.evaluations <= 2 * len(x) + 20


HARD = {
    "staircase": (lambda x: float(np.floor(x * 300).sum() / 300), [0.4, 1.3], 1.0),
    "jump": (lambda x: float(np.sum(x >= 1)), [1.0, 2.0], 0.0),
    "offset": (lambda x: float(np.sum(np.sin((x + 1e6) - 1e6))), [0.4, 1.3], 0.5),
    "edge": (lambda x: float(np.sum(x)) if x[0] <= 1 else math.nan, [1.0, 2.0], 2.0),
    "flat": (lambda x: float(np.sum((x - 1) ** 4)), [1.0, 1.0], 0.0),
}


@pytest.mark.parametrize("kind", HARD)
def test_every_budget_gives_a_verdict_within_it(kind):
    f, x, claim = HARD[kind]
    whole = check(f, claim, x)
    budgets = sorted(
        {*range(2, 24), *np.linspace(24, whole.evaluations + 1, 12).astype(int).tolist()}
    )
    for budget in budgets:
        report = check(f, claim, x, budget=budget)
        assert report.evaluations <= budget
        expect(report, UNCLEAR, whole.verdict)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("kind", HARD)
def test_interrupt_at_any_evaluation_leaves_every_bit(kind, error):
    f, x, claim = HARD[kind]
    whole = check(f, claim, x).evaluations
    for at in sorted({*range(1, 8), *np.linspace(8, whole, 12).astype(int).tolist()}):
        params, left = np.array(x), iter(range(at - 1))

        def stops(x, left=left):
            if next(left, None) is None:
                raise error
            return f(x)

        with pytest.raises(error):
            fg.check_gradient(stops, lambda x: np.full(len(x), claim), params)
        assert params.tobytes() == np.array(x).tobytes()
