"""Singular points, cancellation, very fast functions, and kinks at the point or close by."""

from __future__ import annotations

import numpy as np

from .base import UNSURE, Group, Problem, Rng, log_uniform, sizes, waves

group = Group("singular")


def _constant(rng: Rng) -> float:
    return float(rng.choice([0.0, 1.0, log_uniform(rng, 0, 8)]))


def _singular(rng: Rng, clean, grad) -> Problem:
    n, c = sizes(rng, 3), _constant(rng)
    x = log_uniform(rng, -16, -3) * rng.uniform(1, 5, n)
    return Problem(
        lambda v: float(clean(v).sum() + c),
        x,
        grad(x),
        UNSURE,
        False,
        clean=lambda v: clean(v).sum(),
        analytic=True,
        quiet=False,
    )


@group
def x_log_x(rng: Rng) -> Problem:
    return _singular(rng, lambda x: x * np.log(x), lambda x: 1 + np.log(x))


@group
def root_on_constant(rng: Rng) -> Problem:
    return _singular(rng, np.sqrt, lambda x: 0.5 / np.sqrt(x))


@group
def power_one_and_half(rng: Rng) -> Problem:
    return _singular(rng, lambda x: x**1.5, lambda x: 1.5 * np.sqrt(x))


@group
def log_on_constant(rng: Rng) -> Problem:
    return _singular(rng, np.log, lambda x: 1 / x)


@group
def cube_root_near_zero(rng: Rng) -> Problem:
    n, c = sizes(rng, 3), _constant(rng)
    x = log_uniform(rng, -12, 0, n) * rng.choice([-1, 1], n)
    return Problem(
        lambda v: float(np.cbrt(v).sum() + c), x, np.cbrt(x) / (3 * x), UNSURE, False,
        clean=lambda v: np.cbrt(v).sum(),
    )  # fmt: skip


@group
def entropy(rng: Rng) -> Problem:
    """p log p with some probabilities that nearly vanish."""
    p = rng.dirichlet(np.full(4, 0.2)) + 1e-14
    c = _constant(rng)
    return Problem(
        lambda v: float((v * np.log(v)).sum() + c), p, 1 + np.log(p), UNSURE, False,
        clean=lambda v: (v * np.log(v)).sum(), analytic=True, quiet=False,
    )  # fmt: skip


# What is coded, and the series of its derivative.
_CANCELLING = (
    (lambda x: (1 - np.cos(x)) / x**2, lambda x: -x / 12 + x**3 / 180 - x**5 / 6720),
    (lambda x: (np.exp(x) - 1 - x) / x**2, lambda x: 1 / 6 + x / 12 + x**2 / 40 + x**3 / 180),
    (lambda x: (np.log(1 + x) - x) / x**2, lambda x: 1 / 3 - x / 2 + 3 * x**2 / 5 - 2 * x**3 / 3),
    (lambda x: (np.exp(x) - 1) / x, lambda x: 1 / 2 + x / 3 + x**2 / 8 + x**3 / 30),
    (lambda x: (np.sin(x) - x) / x**3, lambda x: x / 60 - x**3 / 1260),
    (lambda x: (np.sqrt(1 + x) - 1) / x, lambda x: -1 / 8 + x / 8 - 15 * x**2 / 128),
)


@group
def cancellation(rng: Rng) -> Problem:
    f, slope = _CANCELLING[int(rng.integers(len(_CANCELLING)))]
    n, c = sizes(rng, 3), float(rng.choice([0.0, 1.0]))
    x = log_uniform(rng, -8, -3, n)
    return Problem(lambda v: float(f(v).sum() + c), x, slope(x), UNSURE, False, verified=False)


@group
def variance_by_squares(rng: Rng) -> Problem:
    """E[x^2] - E[x]^2 of numbers with a large mean."""
    n, mean = int(rng.integers(3, 8)), log_uniform(rng, 1, 7)
    x = mean + rng.normal(size=n)
    return Problem(
        lambda v: float((v**2).mean() - v.mean() ** 2), x, 2 * (x - x.mean()) / n, UNSURE,
        clean=lambda v: ((v - v.mean()) ** 2).mean(), analytic=True,
    )  # fmt: skip


@group
def distance_of_far_points(rng: Rng) -> Problem:
    """|a|^2 + |b|^2 - 2 a.b for points that are close to each other, far from the origin."""
    far = log_uniform(rng, 1, 6)
    p = {"a": far + rng.normal(size=3), "b": far + rng.normal(size=3)}
    d = 2 * (p["a"] - p["b"])

    def f(p):
        a, b = p["a"], p["b"]
        return float(a @ a + b @ b - 2 * (a @ b))

    return Problem(
        f, p, {"a": d, "b": -d}, UNSURE, clean=lambda p: ((p["a"] - p["b"]) ** 2).sum(),
        analytic=True,
    )  # fmt: skip


@group
def fast_sine(rng: Rng) -> Problem:
    n, speed = sizes(rng, 3), log_uniform(rng, 3, 13)
    x = rng.normal(size=n)
    return Problem(
        lambda v: float(np.sin(speed * v).sum()), x, speed * np.cos(speed * x), UNSURE,
        speed < 1e4, clean=lambda v: np.sin(speed * v).sum(), analytic=True,
    )  # fmt: skip


@group
def fast_on_slow(rng: Rng) -> Problem:
    """A slow function with a fast ripple that has its own, larger slope."""
    base, speed = waves(rng, sizes(rng, 3)), log_uniform(rng, 3, 9)
    height = log_uniform(rng, -9, -2)
    right = base.grad(base.x) + height * speed * np.cos(speed * base.x)

    def clean(v):
        return base.f(v) + height * np.sin(speed * v).sum()

    return Problem(
        lambda v: float(clean(v)), base.x, right, UNSURE, speed < 1e4, clean=clean, analytic=True,
        changes=False,  # a constant hides the ripple altogether
    )  # fmt: skip


@group
def logistic_map(rng: Rng) -> Problem:
    """x -> r x (1 - x), many times: chaotic from some length on."""
    times = int(rng.integers(5, 60))
    x = np.array([rng.uniform(0.1, 0.9), rng.uniform(3.6, 4.0)])
    z, dz, dr = x[0], 1.0, 0.0
    for _ in range(times):
        slope = x[1] * (1 - 2 * z)
        dz, dr, z = slope * dz, slope * dr + z * (1 - z), x[1] * z * (1 - z)

    def clean(v):
        z, r = v
        for _ in range(times):
            z = r * z * (1 - z)
        return z

    return Problem(
        lambda v: float(clean(v)), x, np.array([dz, dr]), UNSURE, times < 12, clean=clean,
        analytic=True,
    )  # fmt: skip


@group
def lorenz(rng: Rng) -> Problem:
    """Lorenz' system by Euler steps, the end's first coordinate against its start."""
    steps, x = int(rng.integers(50, 1500)), rng.normal(size=3) + np.array([1.0, 1.0, 20.0])

    def run(v, tangent=None):
        a, b, c = (float(each) for each in v)
        t = np.eye(3)
        for _ in range(steps):
            if tangent is not None:
                j = np.array([[-10, 10, 0], [28 - c, -1, -a], [b, a, -8 / 3]])
                t = t + 0.01 * j @ t
            a, b, c = (
                a + 0.1 * (b - a),
                b + 0.01 * (a * (28 - c) - b),
                c + 0.01 * (a * b - 8 / 3 * c),
            )
        return a if tangent is None else t[0]

    return Problem(lambda v: float(run(v)), x, run(x, True), UNSURE, steps < 200)


@group
def close_eigenvalues(rng: Rng) -> Problem:
    """The largest eigenvalue where the next one is close: nearly a kink."""
    n, gap = int(rng.integers(2, 5)), log_uniform(rng, -9, 0)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    values = np.sort(rng.uniform(-1, 1, n))
    values[-1] = values[-2] + gap
    a = q @ np.diag(values) @ q.T
    a = (a + a.T) / 2
    _, vectors = np.linalg.eigh(a)
    top = vectors[:, -1]

    def f(v):
        return float(np.linalg.eigvalsh((v + v.T) / 2)[-1])

    return Problem(f, a, np.outer(top, top), UNSURE, gap > 1e-2)


@group
def close_singular_values(rng: Rng) -> Problem:
    gap = log_uniform(rng, -8, 0)
    u, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    v, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    a = u @ np.diag([1 + gap, 1.0, 0.3]) @ v
    left, _, right = np.linalg.svd(a)

    return Problem(
        lambda m: float(np.linalg.svd(m, compute_uv=False)[0]), a, np.outer(left[:, 0], right[0]),
        UNSURE, gap > 1e-2,
    )  # fmt: skip


@group
def narrow_bump(rng: Rng) -> Problem:
    """A Gaussian of width 1e-8 ... 1e-2 on a slow function, at the parameter."""
    base, width = waves(rng, sizes(rng, 3)), log_uniform(rng, -8, -2)
    at = base.x + width * rng.uniform(-1, 1, len(base.x))

    def clean(v):
        return base.f(v) + np.exp(-(((v - at) / width) ** 2)).sum()

    x = base.x
    right = base.grad(x) - 2 * (x - at) / width**2 * np.exp(-(((x - at) / width) ** 2))
    return Problem(
        lambda v: float(clean(v)), x, right, UNSURE, width > 1e-3, clean=clean, analytic=True
    )


@group
def steep_sigmoid(rng: Rng) -> Problem:
    """tanh(c x) with c up to 1e9: a jump to all but the smallest steps."""
    n, c = sizes(rng, 3), log_uniform(rng, 1, 9)
    x = rng.uniform(-1, 1, n) / c

    def clean(v):
        return np.tanh(c * v).sum()

    return Problem(
        lambda v: float(clean(v)), x, c * (1 - np.tanh(c * x) ** 2), UNSURE, c < 1e3, clean=clean,
        analytic=True,
    )  # fmt: skip
