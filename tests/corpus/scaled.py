"""Badly scaled costs and points: constant steps and tolerances fail here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng, tree_map
from .smooth import rosenbrock, rosenbrock_gradient

scaled = Family("scaled")


def _times(make: Callable[[], Case], factor: float, shift: float = 0.0) -> Case:
    """The same cost in other units and from another zero."""
    case = make()
    return Case(
        lambda x: factor * case.f(x) + shift,
        lambda x: tree_map(lambda g: factor * g, case.grad(x)),
        case.params,
    )


def _rosenbrock() -> Case:
    return Case(rosenbrock, rosenbrock_gradient, rng(30).normal(size=6))


def _waves() -> Case:
    w = rng(31).uniform(1, 2, 8)
    return Case(lambda x: np.sum(w * np.sin(x)), lambda x: w * np.cos(x), rng(32).normal(size=8))


for _label, _factor, _shift in [
    ("times_1e10", 1e10, 0.0),
    ("times_1e-9", 1e-9, 0.0),
    ("plus_1e8", 1.0, 1e8),
    ("times_1e-9_plus_1", 1e-9, 1.0),
    ("times_1e-250", 1e-250, 0.0),
    ("times_1e250", 1e250, 0.0),
]:
    scaled.add(
        f"rosenbrock_{_label}",
        lambda factor=_factor, shift=_shift: _times(_rosenbrock, factor, shift),
    )
    scaled.add(
        f"waves_{_label}", lambda factor=_factor, shift=_shift: _times(_waves, factor, shift)
    )


def _separate(f: Callable, df: Callable, point: list[float]) -> Callable[[], Case]:
    """A sum of one function over the entries."""
    return lambda: Case(lambda x: np.sum(f(x)), df, np.array(point))


scaled.add("exp_far_apart", _separate(np.exp, np.exp, [-30.0, 0.0, 30.0]))
scaled.add("exp_negative", _separate(np.exp, np.exp, [-30.0, -29.0, -31.0]))
scaled.add("log_near_zero", _separate(np.log, lambda x: 1 / x, [1e-8, 3e-8, 2e-8]))
scaled.add("sqrt_near_zero", _separate(np.sqrt, lambda x: 0.5 / np.sqrt(x), [1e-10, 4e-10]))
scaled.add(
    "reciprocal_near_zero", _separate(lambda x: 1 / x, lambda x: -1 / x**2, [1e-5, -2e-5, 3e-5])
)
scaled.add(
    "sine_of_1000x",
    _separate(lambda x: np.sin(1000 * x), lambda x: 1000 * np.cos(1000 * x), [1.0, 0.3, -0.7]),
)
scaled.add("sine_at_1e10", _separate(np.sin, np.cos, [1e10, 1e10 + 1, -1e10]))
scaled.add(
    "quartic_near_flat", _separate(lambda x: x**4, lambda x: 4 * x**3, [1e-3, -2e-3, 1.5e-3])
)
scaled.add(
    "steep_step",
    _separate(
        lambda x: np.arctan(1e4 * x), lambda x: 1e4 / (1 + (1e4 * x) ** 2), [1e-4, -5e-5, 2e-4]
    ),
)
scaled.add(
    "narrow_bump",
    _separate(
        lambda x: np.exp(-((x - 1) ** 2) / 2e-6),
        lambda x: -(x - 1) / 1e-6 * np.exp(-((x - 1) ** 2) / 2e-6),
        [1.0005, 0.999, 1.002],
    ),
)
scaled.add(
    "tiny_entries",
    _separate(
        lambda x: x * np.cos(1e12 * x),
        lambda x: np.cos(1e12 * x) - 1e12 * x * np.sin(1e12 * x),
        [1e-12, -2e-12, 0.5e-12],
    ),
)
scaled.add(
    "huge_entries",
    _separate(
        lambda x: np.log1p((x / 1e15) ** 2), lambda x: 2 * x / (1e30 + x**2), [1e15, -3e15, 5e14]
    ),
)


@scaled
def mixed_coordinates() -> Case:
    """One coordinate lives at 1e8, its neighbour at 1e-4; both matter equally."""
    units = np.array([1e8, 1e-4, 1.0, 1e3])

    def f(x):
        u = x / units
        return np.sum(np.sin(u)) + u[0] * u[1]

    def grad(x):
        u = x / units
        g = np.cos(u)
        g[0] += u[1]
        g[1] += u[0]
        return g / units

    return Case(f, grad, units * np.array([1.2, -0.7, 0.4, 2.0]))


@scaled
def leaves_of_unlike_scale() -> Case:
    """One leaf whose gradient is 1e8 times the other's."""

    def grad(p):
        return {"steep": 1e8 * np.cos(p["steep"]), "gentle": 2 * p["gentle"]}

    return Case(
        lambda p: 1e8 * np.sum(np.sin(p["steep"])) + np.sum(p["gentle"] ** 2),
        grad,
        {"steep": rng(33).normal(size=3), "gentle": 100 * rng(34).normal(size=4)},
    )


@scaled
def heavy_l2() -> Case:
    """The penalty outweighs the data a million times: the data term is nearly invisible."""
    x, y = rng(35).normal(size=(12, 5)), rng(36).normal(size=12)

    def grad(w):
        return x.T @ (x @ w - y) / 12 + 1e6 * w

    return Case(
        lambda w: 0.5 * np.mean((x @ w - y) ** 2) + 0.5e6 * np.sum(w**2),
        grad,
        rng(37).normal(size=5),
    )


@scaled
def variance_far_from_zero() -> Case:
    """Mean square minus squared mean, at a mean of a thousand: the cost cancels."""
    return Case(
        lambda x: np.mean(x**2) - np.mean(x) ** 2,
        lambda x: 2 * (x - np.mean(x)) / x.size,
        1e3 + rng(38).normal(size=10),
    )


@scaled
def stiff_valley() -> Case:
    weights = 10.0 ** np.arange(-4, 5)
    return Case(
        lambda x: np.sum(weights * (np.cosh(x) - 1)),
        lambda x: weights * np.sinh(x),
        rng(39).normal(size=9),
    )


@scaled
def noisy_last_digits() -> Case:
    """A cost rounded to eleven digits, as one read from a text file would be."""

    def f(x):
        return float(f"{float(np.sum(np.exp(0.3 * x))):.10e}")

    return Case(f, lambda x: 0.3 * np.exp(0.3 * x), rng(40).normal(size=5))
