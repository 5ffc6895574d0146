"""Gradients that are right, but of the parameters before an update."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause

pytestmark = pytest.mark.usefixtures("backend")
MIX = np.random.default_rng(6).normal(size=(7, 5))


def cost(x):
    return float(np.log(np.cosh(MIX @ x)).sum() + (x**4).sum() / 10)


def gradient(x):
    return MIX.T @ np.tanh(MIX @ x) + 0.4 * x**3


def point():
    return np.linspace(-1, 1.5, 5)


def kinds(report):
    return [cause.kind for cause in report.causes]


@pytest.mark.parametrize("rate", [1e-4, 1e-2, 0.3])
def test_gradient_of_before_the_last_step(rate):
    before = point()
    now = before - rate * gradient(before)
    report = fg.check_gradient(cost, gradient(before), now)
    assert kinds(report) == [Cause.STALE]
    assert report.causes[0].evidence["rate"] == pytest.approx(rate, rel=0.02)
    assert "before an update" in report.causes[0].sentence


def product(p):
    return cost(p["u"]) * (1 + 0.1 * cost(p["v"]))


def product_gradient(p):
    return {
        "u": gradient(p["u"]) * (1 + 0.1 * cost(p["v"])),
        "v": 0.1 * cost(p["u"]) * gradient(p["v"]),
    }


def test_one_parameter_updated_before_the_others():
    p = {"u": point(), "v": point()[::-1].copy()}
    old = product_gradient(p)
    moved = {"u": p["u"] - 0.01 * old["u"], "v": p["v"]}
    late = {"u": product_gradient(p)["u"], "v": product_gradient(p)["v"]}
    report = fg.check_gradient(product, late, moved)
    assert Cause.STALE in kinds(report)


def test_one_block_of_a_vector_updated_before_the_rest():
    def f(x):
        return float((np.exp(x[:5]) * np.sin(x[5:])).sum())

    def g(x):
        return np.concatenate([np.exp(x[:5]) * np.sin(x[5:]), np.exp(x[:5]) * np.cos(x[5:])])

    x = np.concatenate([point(), point()[::-1]])
    early = x.copy()
    early[:5] += 0.01 * g(x)[:5]
    late = np.concatenate([g(x)[:5], g(early)[5:]])
    (cause,) = fg.check_gradient(f, late, x).causes
    assert (cause.kind, cause.evidence["rate"]) == (Cause.STALE, pytest.approx(0.01, rel=0.02))
    assert "of `params[0:5]` plus" in cause.sentence


def test_complex_parameters_are_moved_along_too():
    def joint(p):
        return float((np.abs(p["z"]) ** 4).sum()) * (1 + 0.1 * cost(p["x"]))

    def joint_gradient(p):
        z, rest = p["z"], 1 + 0.1 * cost(p["x"])
        size = float((np.abs(z) ** 4).sum())
        return {"z": 4 * np.abs(z) ** 2 * z * rest, "x": 0.1 * size * gradient(p["x"])}

    old = {"z": np.exp(1j * np.arange(4)).reshape(2, 2), "x": point()}
    now = {key: value - 1e-3 * joint_gradient(old)[key] for key, value in old.items()}
    report = fg.check_gradient(joint, joint_gradient(old), now)
    assert (Cause.STALE, "x") in [(cause.kind, cause.leaf) for cause in report.causes]


@pytest.mark.parametrize("seed", range(10))
def test_scattered_errors_are_not_stale(seed):
    off = 1 + 0.1 * np.random.default_rng(seed).normal(size=5)
    report = fg.check_gradient(cost, lambda x: gradient(x) * off, point())
    assert kinds(report) == [Cause.UNKNOWN]


def test_named_pattern_is_not_called_stale():
    assert kinds(fg.check_gradient(cost, lambda x: -gradient(x), point())) == [Cause.SIGN]


def test_gradient_at_points_of_another_direction_is_not_stale():
    elsewhere = point() + np.array([0.3, -0.2, 0.4, 0.1, -0.5])
    report = fg.check_gradient(cost, gradient(elsewhere), point())
    assert kinds(report) == [Cause.UNKNOWN]


def test_two_wrong_entries_are_too_few_to_tell():
    def f(x):
        return float((x**4).sum())

    x = np.array([1.0, 2.0])
    report = fg.check_gradient(f, 4 * (x + 0.05 * 4 * x**3) ** 3, x)
    assert Cause.STALE not in kinds(report)


def test_parameters_come_back():
    before = point()
    now = before - 0.1 * gradient(before)
    bits = now.tobytes()
    assert kinds(fg.check_gradient(cost, gradient(before), now)) == [Cause.STALE]
    assert now.tobytes() == bits


def test_f_that_is_not_finite_elsewhere():
    def f(x):
        return cost(x) if np.abs(x - point()).max() < 1e-2 else np.nan

    report = fg.check_gradient(f, gradient(point() + 0.1 * gradient(point())), point())
    assert report.verdict is fg.Verdict.WRONG
