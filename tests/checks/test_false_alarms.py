"""Correct gradients that other checkers stumble over, kinks, and one small error."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause, Verdict

pytestmark = pytest.mark.usefixtures("backend")

CORNERS = np.array([-1.2, 1.0, 0.7, -0.3, 2.0])


def rosen(x):
    return float((100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum())


def rosen_gradient(x):
    g, gap = np.zeros_like(x), x[1:] - x[:-1] ** 2
    g[:-1] = -400 * x[:-1] * gap - 2 * (1 - x[:-1])
    g[1:] += 200 * gap
    return g


def check(f, grad, point, dtype=float, **options):
    x = np.array(point, dtype)
    with np.errstate(all="ignore"):
        report = fg.check_gradient(f, grad, x, **options)
    assert np.array_equal(x, np.array(point, dtype))
    return report


def paths(report):
    return {entry.path for entry in report.wrong}


def words(report):
    return report.reason


# ------------------------------------------------------------------------------------------ right

RIGHT = {
    "rosen": (rosen, rosen_gradient, CORNERS),
    "rosen_x_1e10": (lambda x: 1e10 * rosen(x), lambda x: 1e10 * rosen_gradient(x), CORNERS),
    "rosen_x_1e-9": (lambda x: 1e-9 * rosen(x), lambda x: 1e-9 * rosen_gradient(x), CORNERS),
    "rosen_plus_1e8": (lambda x: rosen(x) + 1e8, rosen_gradient, CORNERS),
    "exponentials_far_apart": (lambda x: np.exp(x).sum(), np.exp, [-30.0, 0.0, 30.0]),
    "log_near_zero": (lambda x: np.log(x).sum(), lambda x: 1 / x, [1e-8]),
    "log_near_zero_and_not": (lambda x: np.log(x).sum(), lambda x: 1 / x, [1e-8, 1.0, 3.0]),
    "cubes_far_apart": (lambda x: (x**3).sum(), lambda x: 3 * x**2, [1e8, 1e-4]),
    "fast_sine": (lambda x: np.sin(1e3 * x).sum(), lambda x: 1e3 * np.cos(1e3 * x), [1.0]),
    "far_out_sine": (lambda x: np.sin(x).sum(), np.cos, [1e10]),
    "single_precision_inside": (
        lambda x: float(np.sum(np.sin(x.astype("f4")) * x.astype("f4"))),
        lambda x: np.cos(x) * x + np.sin(x),
        np.linspace(-2, 2, 7),
    ),
    "one_side_of_the_domain_only": (
        lambda x: np.where(x >= 0, x + x * x, np.nan).sum(),
        lambda x: 1 + 2 * x,
        [0.0, 1.0, 2.0],
    ),
    "overflow_beside_the_point": (
        lambda x: np.exp(1e3 * x).sum(),
        lambda x: 1e3 * np.exp(1e3 * x),
        [0.7, 0.1],
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_correct_gradient_is_right(name):
    report = check(*RIGHT[name])
    assert report.verdict is Verdict.RIGHT, str(report)
    assert not report.causes
    assert report


@pytest.mark.parametrize("seed", range(10))
def test_verdict_does_not_hang_on_the_seed(seed):
    assert check(rosen, rosen_gradient, CORNERS, seed=seed)


def test_float32_parameters():
    f, grad = lambda x: np.sum(np.sin(x) * x), lambda x: np.cos(x) * x + np.sin(x)
    assert check(f, grad, np.linspace(-2, 2, 7), "f4")


@pytest.mark.parametrize("entry", range(5))
def test_one_entry_off_by_a_ten_thousandth(entry):
    def off(x):
        g = rosen_gradient(x)
        g[entry] *= 1 + 1e-4
        return g

    assert paths(check(rosen, off, CORNERS)) == {f"params[{entry}]"}


# ------------------------------------------------------------------------- once raised an alarm


def softmax_loss(x):
    shifted = x - x.max()
    return float(np.log(np.exp(shifted).sum()) - shifted[0])


def softmax_gradient(x):
    g = np.exp(x - x.max())
    g /= g.sum()
    g[0] = -g[1:].sum()
    return g


def solved(a, tolerance=1e-8):
    """The solution of y + sin(y) / 2 = a, iterated until it moves by less than a tolerance."""
    y = np.zeros_like(a)
    while True:
        step = y + 0.5 * np.sin(y) - a
        y = y - step
        if np.abs(step).max() < tolerance:
            return y


TINY, FAR = 7e-12, np.array([-2e-4, -5e-3, -4e4, -1.4e5])
FORMER = {
    # f is 0 to the last bit, its gradient is not.
    "saturated_softmax": (softmax_loss, softmax_gradient, [98.0, 75.0, -60.0, 9.0], float),
    "softmax_to_nothing": (softmax_loss, softmax_gradient, [300.0, 0.0, -200.0], float),
    # The central difference of a parabola is the same at every step, and hides what is finer.
    "fine_structure_on_a_parabola": (
        lambda x: (np.sin(x / TINY) + 0.3 * (x / TINY) ** 2).sum(),
        lambda x: (np.cos(x / TINY) + 0.6 * x / TINY) / TINY,
        [6.7e-12, 1e-11],
        float,
    ),
    "entries_of_very_different_length": (
        lambda x: (np.tanh(x / FAR) * np.cos(x / FAR)).sum(),
        lambda x: (
            (np.cos(x / FAR) / np.cosh(x / FAR) ** 2 - np.tanh(x / FAR) * np.sin(x / FAR)) / FAR
        ),
        FAR,
        float,
    ),
    # |x| + sin(x) cancels to x**3 / 6: the noise is that of its parts.
    "rounding_of_what_cancels": (
        lambda x: np.abs(x).sum() + np.sin(x).sum(),
        lambda x: np.sign(x) + np.cos(x),
        [-5e-6, -2.55e-5, 4.2e-12],
        float,
    ),
    "single_precision_that_nearby_points_do_not_show": (
        lambda x: float(np.float32(5e3 + 0.02 * x.sum())),
        lambda x: np.full_like(x, 0.02),
        [0.3, 0.4],
        "f4",
    ),
    "iteration_stopped_by_a_tolerance": (
        lambda x: solved(x).sum(),
        lambda x: 1 / (1 + 0.5 * np.cos(solved(x, 1e-15))),
        [0.4, -1.3, 2.2],
        float,
    ),
    "half_precision_with_room_for_one_step": (
        lambda x: float(np.sin(x.astype(float)).sum()),
        lambda x: np.cos(x.astype(float)).astype("f2"),
        [1.5, -2.0],
        "f2",
    ),
}


@pytest.mark.parametrize("name", FORMER)
@pytest.mark.parametrize("seed", range(3))
def test_former_false_alarm(name, seed):
    *problem, dtype = FORMER[name]
    report = check(*problem, dtype, seed=seed)
    assert report.verdict is not Verdict.WRONG, str(report)


@pytest.mark.parametrize("seed", range(6))
def test_float32_network_with_kinks_closer_than_its_steps(seed):
    random = np.random.default_rng(seed)
    inputs, target = random.normal(size=(40, 10)).astype("f4"), random.normal(size=40).astype("f4")

    def parts(p):
        inner = inputs @ p["W"] + p["b"]
        return inner, np.maximum(inner, 0) @ p["v"] - target

    def value(p):
        return np.mean(parts(p)[1] ** 2)

    def gradient(p):
        inner, residual = parts(p)
        out = (np.outer(residual, p["v"]) * (inner > 0)) * np.float32(2 / 40)
        v = np.maximum(inner, 0).T @ residual * np.float32(2 / 40)
        return {"W": inputs.T @ out, "b": out.sum(axis=0), "v": v}

    p = {
        "W": random.normal(size=(10, 20)).astype("f4") / 3,
        "b": np.zeros(20, "f4"),
        "v": random.normal(size=20).astype("f4") / 4,
    }
    assert fg.check_gradient(value, gradient, p).verdict is not Verdict.WRONG
    wrong = gradient(p)
    wrong["W"][3] *= -1
    report = fg.check_gradient(value, wrong, p)
    assert report.verdict is Verdict.WRONG
    assert all(entry.leaf == "W" and entry.index[0] == 3 for entry in report.wrong)


# ------------------------------------------------------------------------------------------ kinks

KINKS = {
    "relu": (lambda x: np.maximum(x, 0).sum(), [0.0, 1.0, -1.0], (0, 1)),
    "abs": (lambda x: np.abs(x).sum(), [0.0, 1.0, -1.0], (-1, 1)),
    "max": (np.max, [1.0, 1.0 - 1e-2, 1.0], (0, 1)),
    "hinge": (lambda x: np.maximum(0, 1 - x).sum(), [1.0, 3.0], (-1, 0)),
    "clip": (lambda x: np.clip(x, 0, 1).sum(), [1.0, 3.0, -1.0], (0, 1)),
    "sort": (lambda x: np.sort(x) @ np.arange(1.0, 4.0), [0.5, 0.5, 2.0], (1, 2)),
    "steep": (lambda x: 1e9 * np.abs(x).sum(), [0.0, 1.0], (-1e9, 1e9)),
}


def at_kink(name, share):
    """The report when the analytic value of the first entry lies at `share` of the interval."""
    f, point, (low, high) = KINKS[name]
    x = np.array(point)
    g = fg.gradient(f, x)
    if name == "max":
        g[2] = low
    if name == "sort":
        g[1] = 1.0
    g[0] = low + share * (high - low)
    return check(f, g, point)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("name", KINKS)
def test_valid_subgradient_is_right_and_the_kink_is_named(name, share):
    report = at_kink(name, share)
    assert report.verdict is Verdict.RIGHT, str(report)
    assert [cause.kind for cause in report.causes] == [Cause.KINK]
    assert "kink" in words(report)
    assert "kink" in str(report)


@pytest.mark.parametrize("share", [-0.1, 1.1, -3.0, 1e3])
@pytest.mark.parametrize("name", KINKS)
def test_value_outside_the_subgradient_is_wrong(name, share):
    report = at_kink(name, share)
    assert report.verdict is Verdict.WRONG, str(report)
    root = report.leaves[0].path
    assert paths(report) == {f"{root}[0]"}
    assert report.causes[0].kind is Cause.KINK


@pytest.mark.parametrize("power", range(3, 13))
@pytest.mark.parametrize("constant", [0.0, 1.0])
def test_kink_beside_the_point_is_resolved(power, constant):
    d = 10.0**-power
    report = check(
        lambda x: np.maximum(x, 0).sum() + constant,
        lambda x: np.where(x > 0, 1.0, 0.0),
        [d, -d, 3 * d, -2 * d],
    )
    if power == 12 and constant:
        # The rounding of f, 1e-16, leaves steps below 1e-12 no digits worth the name.
        assert report.verdict is not Verdict.WRONG
    else:
        assert report.verdict is Verdict.RIGHT, str(report)
    assert constant or not report.entries.kinks.any()


@pytest.mark.parametrize("power", range(3, 13))
def test_wrong_side_of_a_kink_beside_the_point(power):
    d = 10.0**-power

    def relu(x):
        return np.maximum(x, 0).sum()

    report = check(relu, lambda x: np.array([0.0, 1.0]), [d, -2 * d])
    assert paths(report) == {"params[0]", "params[1]"}
