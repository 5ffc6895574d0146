"""Kinks: at the parameters, where each claim between the slopes is right, and close by."""

from __future__ import annotations

import numpy as np

from .base import UNSURE, Group, Problem, Rng, Smooth, log_uniform, sizes, some_smooth, waves

group = Group("kinks")


def _with_kinks(rng: Rng, base: Smooth, at: np.ndarray, below, above, kink, rest=0.0) -> Problem:
    """`base` and a term with a kink in the entries `at`, whose slopes are `below` and `above`.

    Elsewhere the slope of that term is `rest`.
    """
    g = base.grad(base.x) + rest
    low, high = g + at * below, g + at * above
    share = rng.choice([0.0, 0.5, 1.0, rng.random()])
    return Problem(
        lambda v: float(base.f(v) + kink(v)), base.x, low + share * (high - low), UNSURE,
        low=low, high=high, clean=base.f,
    )  # fmt: skip


@group
def absolute_at_point(rng: Rng) -> Problem:
    base, c = some_smooth(rng), log_uniform(rng, -2, 1)
    at = rng.random(len(base.x)) < 0.5
    place = base.x.copy()
    return _with_kinks(rng, base, at, -c, c, lambda v: c * np.abs(v - place)[at].sum())


@group
def relu_at_zero(rng: Rng) -> Problem:
    base = waves(rng, sizes(rng))
    at = rng.random(len(base.x)) < 0.5
    base.x[at] = 0.0
    return _with_kinks(rng, base, at, 0.0, 1.0, lambda v: np.maximum(v, 0)[at].sum())


@group
def lasso(rng: Rng) -> Problem:
    """L1 with some parameters exactly zero."""
    base, c = some_smooth(rng), log_uniform(rng, -3, 0)
    at = rng.random(len(base.x)) < 0.3
    base.x[at] = 0.0
    rest = c * np.sign(base.x) * ~at
    return _with_kinks(rng, base, at, -c, c, lambda v: c * np.abs(v).sum(), rest)


@group
def quantile_loss(rng: Rng) -> Problem:
    """The pinball loss where the quantile is one of the data."""
    q, data = rng.uniform(0.1, 0.9), rng.normal(size=7)
    x = np.array([data[3], 0.3])

    def f(v):
        d = data - v[0]
        return float(np.maximum(q * d, (q - 1) * d).sum() + v[1] ** 2)

    others = np.delete(data, 3)
    slope = np.where(others > x[0], -q, 1 - q).sum()
    low, high = np.array([slope - q, 0.6]), np.array([slope + 1 - q, 0.6])
    right = low + np.array([rng.random(), 0]) * (high - low)
    return Problem(f, x, right, UNSURE, low=low, high=high)


@group
def maximum_of_ties(rng: Rng) -> Problem:
    n = int(rng.integers(2, 6))
    x = rng.normal(size=n)
    x[: max(2, n // 2)] = x.max() + 0.5
    tied = x == x.max()
    right = tied / tied.sum() if rng.random() < 0.5 else 1.0 * (np.arange(n) == 0)
    return Problem(
        lambda v: float(v.max()), x, right, UNSURE, low=np.zeros(n), high=1.0 * tied,
        variants=False,
    )  # fmt: skip


@group
def sorted_weights(rng: Rng) -> Problem:
    """Weighted sorted values, tied or nearly so."""
    n, gap = int(rng.integers(2, 6)), float(rng.choice([0.0, log_uniform(rng, -9, -2)]))
    x = np.sort(rng.normal(size=n))
    x[1] = x[0] + gap
    w = rng.normal(size=n)
    low, high = w.copy(), w.copy()
    if gap == 0:
        low[:2], high[:2] = min(w[:2]), max(w[:2])
    return Problem(
        lambda v: float(w @ np.sort(v)), x, w, UNSURE, gap > 1e-3, low=low, high=high,
    )  # fmt: skip


@group
def median(rng: Rng) -> Problem:
    n, gap = int(rng.choice([3, 5, 7])), log_uniform(rng, -9, 0)
    x = np.sort(rng.normal(size=n)) * 3
    middle = n // 2
    x[:middle] = np.minimum(x[:middle], x[middle] - gap)
    x[middle + 1 :] = np.maximum(x[middle + 1 :], x[middle] + gap)
    return Problem(
        lambda v: float(np.median(v)), x, 1.0 * (np.arange(n) == middle), UNSURE, gap > 1e-3
    )


@group
def hinge_at_margin(rng: Rng) -> Problem:
    """A hinge loss of whole numbers: some samples lie exactly on the margin."""
    data, y = rng.integers(-2, 3, size=(8, 2)) * 0.5, rng.choice([-1.0, 1.0], 8)
    x = rng.integers(-2, 3, size=2) * 1.0
    x[0] = x[0] or 1.0
    margin = 1 - y * (data @ x)
    slopes = -(y[:, None] * data)
    inside = (margin > 0) @ slopes
    ties = slopes[margin == 0]
    low, high = inside + np.minimum(ties, 0).sum(0), inside + np.maximum(ties, 0).sum(0)
    return Problem(
        lambda v: float(np.maximum(1 - y * (data @ v), 0).sum()), x, inside, UNSURE,
        low=low, high=high,
    )  # fmt: skip


@group
def clipped_at_edge(rng: Rng) -> Problem:
    base = waves(rng, sizes(rng))
    at = rng.random(len(base.x)) < 0.4
    base.x[at] = rng.choice([-1.0, 1.0], size=int(at.sum()))
    rest = np.where(at, 0.0, 1.0 * (np.abs(base.x) < 1))
    return _with_kinks(rng, base, at, 0.0, 1.0, lambda v: np.clip(v, -1, 1).sum(), rest)


@group
def joint_relu(rng: Rng) -> Problem:
    """Whole weights and data: several units are exactly 0, and every entry alone is right."""
    data = np.eye(3)[rng.integers(0, 3, 6)] - np.eye(3)[rng.integers(0, 3, 6)]
    w, v = np.round(rng.normal(size=(3, 4))), rng.normal(size=4)
    z = data @ w
    right = data.T @ ((z > 0) * v) / 6
    ties = (z == 0) * v
    up, down = np.maximum(data, 0).T @ ties / 6, -np.maximum(-data, 0).T @ ties / 6
    low = right + np.minimum(np.minimum(up, down), 0)
    high = right + np.maximum(np.maximum(up, down), 0)
    return Problem(
        lambda m: float((np.maximum(data @ m, 0) @ v).mean()), w, right, UNSURE, low=low,
        high=high, variants=False,
    )  # fmt: skip


@group
def norm_at_zero(rng: Rng) -> Problem:
    """The Euclidean norm of a block that is zero: the group lasso."""
    base, n = waves(rng, 6), 3
    base.x[:n] = 0.0
    g = base.grad(base.x)
    low, high = g.copy(), g.copy()
    low[:n] -= 1
    high[:n] += 1
    return Problem(
        lambda v: float(base.f(v) + np.sqrt((v[:n] ** 2).sum())), base.x, g, UNSURE, low=low,
        high=high,
    )  # fmt: skip


@group
def kink_near_by(rng: Rng) -> Problem:
    """A kink 1e-9 ... 1e-1 beside the parameter: the slope at it is the right one."""
    base, c = some_smooth(rng), log_uniform(rng, -2, 1)
    at, away = int(rng.integers(len(base.x))), log_uniform(rng, -9, -1)
    side = float(rng.choice([-1, 1]))
    place = base.x[at] + side * away
    right = base.grad(base.x)
    right[at] -= c * side
    return base.problem(
        lambda v: float(base.f(v) + c * abs(v[at] - place)), right=right, plain=away > 1e-4,
        clean=None,
    )  # fmt: skip


@group
def curvature_jump(rng: Rng) -> Problem:
    """max(x, 0)^2 at 0: the second derivative jumps, the first does not."""
    base, k = waves(rng, sizes(rng)), float(rng.choice([2.0, 1.5, 3.0]))
    at = rng.random(len(base.x)) < 0.6
    base.x[at] = 0.0
    rest = k * np.maximum(base.x, 0) ** (k - 1)
    return base.problem(
        lambda v: float(base.f(v) + (np.maximum(v, 0) ** k).sum()),
        right=base.grad(base.x) + rest,
        clean=None,
        plain=k >= 2,
    )


@group
def linear_interpolation(rng: Rng) -> Problem:
    """A table with straight lines between its points, and parameters on points or between."""
    knots = np.sort(rng.normal(size=9))
    values = rng.normal(size=9)
    slopes = np.diff(values) / np.diff(knots)
    n = sizes(rng, 5)
    k = rng.integers(1, 8, size=n)
    on = rng.random(n) < 0.5
    x = np.where(on, knots[k], (knots[k] + knots[k + 1]) / 2)
    below, above = slopes[np.where(on, k - 1, k)], slopes[k]
    low, high = np.minimum(below, above), np.maximum(below, above)
    right = above if rng.random() < 0.5 else (below + above) / 2
    return Problem(
        lambda v: float(np.interp(v, knots, values).sum()), x, right, UNSURE, False, low=low,
        high=high,
    )  # fmt: skip


@group
def relu_network_kinks(rng: Rng) -> Problem:
    """Many kinks 1e-6 ... 1e-1 around: steps cross some of them."""
    width = int(rng.choice([20, 100, 400]))
    data, y = rng.normal(size=3), rng.normal()
    w, v = rng.normal(size=(3, width)), rng.normal(size=width) / width**0.5

    def f(m):
        return float((np.maximum(data @ m, 0) @ v - y) ** 2)

    hidden = data @ w
    d = 2 * (np.maximum(hidden, 0) @ v - y)
    nearest = np.abs(hidden).min()
    return Problem(f, w, np.outer(data, d * v * (hidden > 0)), UNSURE, nearest > 1e-3)


@group
def absolute_error(rng: Rng) -> Problem:
    """Least absolute deviations through some of the points exactly."""
    data, n = rng.normal(size=(9, 3)), 3
    x = rng.normal(size=3)
    y = data @ x
    y[n:] += rng.normal(size=9 - n)
    outer = -np.sign(y[n:] - data[n:] @ x) @ data[n:]
    reach = np.abs(data[:n]).sum(0)
    return Problem(
        lambda v: float(np.abs(data @ v - y).sum()), x, outer, UNSURE, False, low=outer - reach,
        high=outer + reach,
    )  # fmt: skip
