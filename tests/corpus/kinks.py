"""Costs with kinks: at the point (with a valid subgradient) and beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng

kinks = Family("kinks")


def _weighted(f: Callable, df: Callable, point: list[float]) -> Callable[[], Case]:
    """A weighted sum of one function over the entries."""

    def make() -> Case:
        x = np.array(point)
        w = 1 + 0.25 * np.arange(x.size)
        return Case(lambda x: np.sum(w * f(x)), lambda x: w * df(x), x)

    return make


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def _step(at_zero: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(x > 0, 1.0, np.where(x < 0, 0.0, at_zero))


def _sign(at_zero: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda x: np.where(x == 0, at_zero, np.sign(x))


for _value, _label in [(0.0, "left"), (0.5, "middle"), (1.0, "right")]:
    kinks.add(
        f"relu_at_zero_{_label}", _weighted(_relu, _step(_value), [0.0, 1.0, -0.5, 0.0]), kinks=True
    )
for _value, _label in [(0.0, "middle"), (0.3, "inside"), (-1.0, "left")]:
    kinks.add(
        f"abs_at_zero_{_label}", _weighted(np.abs, _sign(_value), [0.0, 0.7, 0.0, -2.0]), kinks=True
    )
kinks.add(
    "leaky_relu_at_zero",
    _weighted(
        lambda x: np.where(x > 0, x, 0.1 * x), lambda x: np.where(x > 0, 1.0, 0.1), [0.0, 0.4, -0.3]
    ),
    kinks=True,
)
kinks.add(
    "elu_at_zero",
    _weighted(
        lambda x: np.where(x > 0, x, 0.5 * np.expm1(np.minimum(x, 0))),
        lambda x: np.where(x > 0, 1.0, 0.5 * np.exp(np.minimum(x, 0))),
        [0.0, 0.4, -0.3],
    ),
    kinks=True,
)
kinks.add(
    "clip_at_bounds",
    _weighted(
        lambda x: np.clip(x, -1, 1) ** 3,
        lambda x: np.where(np.abs(x) <= 1, 3 * x**2, 0.0),
        [-1.0, 1.0, 0.4, 2.0],
    ),
    kinks=True,
)
kinks.add(
    "quantile_at_tie",
    _weighted(
        lambda x: np.maximum(0.9 * x, -0.1 * x),
        lambda x: np.where(x > 0, 0.9, np.where(x < 0, -0.1, 0.2)),
        [0.0, 1.5, -0.5, 0.0],
    ),
    kinks=True,
)
kinks.add(
    "soft_threshold_at_edge",
    _weighted(
        lambda x: np.maximum(np.abs(x) - 0.5, 0.0),
        lambda x: np.where(np.abs(x) > 0.5, np.sign(x), 0.0),
        [0.5, -0.5, 0.2, 0.9],
    ),
    kinks=True,
)
# Huber is once differentiable at its threshold, so nothing but its curvature jumps there.
kinks.add(
    "huber_at_threshold",
    _weighted(
        lambda x: np.where(np.abs(x) <= 1, 0.5 * x**2, np.abs(x) - 0.5),
        lambda x: np.clip(x, -1, 1),
        [1.0, -1.0, 0.4, 2.5],
    ),
)
kinks.add(
    "squared_relu_at_zero",
    _weighted(lambda x: _relu(x) ** 2, lambda x: 2 * _relu(x), [0.0, 1.0, -0.5]),
)
kinks.add(
    "signed_square_at_zero",
    _weighted(lambda x: x * np.abs(x), lambda x: 2 * np.abs(x), [0.0, 0.5, -0.5]),
)

for _power in (3, 5, 7, 9, 12):
    _d = 10.0**-_power
    kinks.add(
        f"relu_near_zero_1e-{_power}", _weighted(_relu, _step(0.0), [_d, -_d, 3 * _d, -2 * _d])
    )
    kinks.add(f"abs_near_zero_1e-{_power}", _weighted(np.abs, np.sign, [_d, -_d, 2 * _d]))
for _power in (3, 5, 7):
    _d = 10.0**-_power
    kinks.add(
        f"hinge_near_margin_1e-{_power}",
        _weighted(
            lambda x: np.maximum(0, 1 - x),
            lambda x: np.where(x < 1, -1.0, 0.0),
            [1 - _d, 1 + _d, 1 + 2 * _d, 1 - 3 * _d],
        ),
    )
    kinks.add(
        f"curved_kink_near_1e-{_power}",
        _weighted(
            lambda x: np.exp(np.abs(x - 0.3)),
            lambda x: np.sign(x - 0.3) * np.exp(np.abs(x - 0.3)),
            [0.3 + _d, 0.3 - _d, 0.3 - 2 * _d],
        ),
    )


@kinks.kink
def maximum_tie_first() -> Case:
    def grad(x):
        g = np.zeros_like(x)
        g[np.argmax(x)] = 1.0
        return g

    return Case(lambda x: np.max(x), grad, np.array([0.2, 1.4, -1.0, 1.4]))


@kinks.kink
def maximum_tie_shared() -> Case:
    def grad(x):
        top = x == x.max()
        return top / top.sum()

    return Case(lambda x: np.max(x), grad, np.array([1.4, 0.2, 1.4, 1.4]))


@kinks
def maximum_near_tie() -> Case:
    return Case(
        lambda x: np.max(x) ** 2, lambda x: 2 * x * (x == x.max()), np.array([1.4, 1.4 + 1e-7, 0.3])
    )


@kinks.kink
def hinge_at_margin() -> Case:
    """A linear support vector machine with two samples exactly on the margin."""
    x = np.array([[1.0, 0.0, 2.0], [0.0, 2.0, 0.0], [1.0, 1.0, -1.0], [3.0, -1.0, 0.5]])
    y = np.array([1.0, -1.0, 1.0, -1.0])

    def grad(w):
        return -(x * y[:, None]).T @ (1 - y * (x @ w) > 0) + 0.1 * w

    return Case(
        lambda w: np.sum(np.maximum(0, 1 - y * (x @ w))) + 0.05 * np.sum(w**2),
        grad,
        np.array([1.0, -0.5, 0.0]),
    )


@kinks.kink
def sorted_weights_tie() -> Case:
    """Weights by rank, two entries of one rank."""
    c = np.array([2.0, 1.0, 0.5, -1.0, 3.0])

    def grad(x):
        g = np.empty_like(x)
        g[np.argsort(x, kind="stable")] = c
        return g

    return Case(lambda x: np.sort(x) @ c, grad, np.array([0.5, -0.2, 0.5, 1.0, -2.0]))


@kinks.kink
def lasso_at_zeros() -> Case:
    r = rng(120)
    x, y = r.normal(size=(10, 5)), r.normal(size=10)

    def grad(w):
        return x.T @ (x @ w - y) / 10 + 0.3 * np.sign(w)

    return Case(
        lambda w: 0.05 * np.sum((x @ w - y) ** 2) + 0.3 * np.sum(np.abs(w)),
        grad,
        np.array([0.0, 0.8, 0.0, -0.4, 0.0]),
    )


@kinks.kink
def euclidean_norm_at_zero() -> Case:
    def grad(p):
        norm = np.sqrt(np.sum(p["b"] ** 2))
        return {"a": np.zeros_like(p["a"]), "b": p["b"] / norm}

    return Case(
        lambda p: np.sqrt(np.sum(p["a"] ** 2)) + np.sqrt(np.sum(p["b"] ** 2)),
        grad,
        {"a": np.zeros(3), "b": np.array([1.0, -2.0])},
    )


@kinks.kink
def total_variation_flat() -> Case:
    def grad(x):
        s = np.sign(np.diff(x))
        return np.concatenate([[0.0], s]) - np.concatenate([s, [0.0]]) + 0.2 * x

    return Case(
        lambda x: np.sum(np.abs(np.diff(x))) + 0.1 * np.sum(x**2),
        grad,
        np.array([1.0, 1.0, 2.0, 2.0, 2.0, -1.0]),
    )


@kinks.kink
def median_distance_tie() -> Case:
    """Sum of distances to the data, from one of the data."""
    data = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 3.0]])
    return Case(
        lambda m: np.sum(np.abs(data - m)),
        lambda m: np.sum(np.sign(m - data), axis=0),
        np.array([0.5, 0.2]),
    )


@kinks.kink
def max_pool_tie() -> Case:
    """Pairwise maxima of a row with equal neighbours."""
    w = np.array([1.0, -2.0, 0.5])

    def grad(x):
        pairs = x.reshape(3, 2)
        first = pairs[:, 0] >= pairs[:, 1]
        return (w[:, None] * np.stack([first, ~first], axis=1)).ravel()

    return Case(
        lambda x: w @ x.reshape(3, 2).max(axis=1), grad, np.array([0.7, 0.7, 0.1, 0.4, -0.3, -0.3])
    )


@kinks.kink
def relu_network_at_zero() -> Case:
    """A hidden unit whose input is exactly zero for one sample."""
    x, y = np.array([[1.0, 2.0], [2.0, -1.0], [0.5, 0.25]]), np.array([0.5, -0.2, 1.0])

    def grad(p):
        pre = x @ p["W"]
        delta = 2 * (_relu(pre) @ p["v"] - y)
        return {"W": x.T @ (delta[:, None] * p["v"] * (pre > 0)), "v": _relu(pre).T @ delta}

    return Case(
        lambda p: np.sum((_relu(x @ p["W"]) @ p["v"] - y) ** 2),
        grad,
        {"W": np.array([[1.0, -0.5, 0.3], [2.0, 1.0, -0.6]]), "v": np.array([0.8, -0.7, 1.1])},
    )


@kinks.kink
def floor_of_smooth_parts() -> Case:
    """The lower of two parabolas where they cross."""
    return Case(
        lambda x: np.sum(np.minimum((x - 1) ** 2, (x + 1) ** 2 + 0.0 * x)),
        lambda x: np.where(x >= 0, 2 * (x - 1), 2 * (x + 1)),
        np.array([0.0, 0.5, -0.2]),
    )
