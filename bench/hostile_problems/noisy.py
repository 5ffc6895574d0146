"""Noise, mixed scales, constants and factors."""

from __future__ import annotations

import numpy as np

from .base import (
    RIGHT,
    UNSURE,
    Group,
    Problem,
    Rng,
    hashed,
    log_uniform,
    sizes,
    some_smooth,
    waves,
)

group = Group("noisy")


@group
def hashed_noise(rng: Rng) -> Problem:
    """Noise that is a function of the bits of the parameters."""
    base, size = some_smooth(rng), log_uniform(rng, -12, -3)

    def f(v):
        return float(base.f(v)) + size * hashed(v)

    return base.problem(f)


@group
def random_noise(rng: Rng) -> Problem:
    """Noise that differs from call to call."""
    base, size, draw = some_smooth(rng), log_uniform(rng, -12, -4), np.random.default_rng(1)

    def f(v):
        return float(base.f(v)) + size * draw.normal()

    return base.problem(f, plain=size < 1e-9)


@group
def heavy_noise(rng: Rng) -> Problem:
    """Noise with heavy tails."""
    base, size = some_smooth(rng), log_uniform(rng, -12, -6)

    def f(v):
        return float(base.f(v)) + size * np.tan(1.5 * hashed(v))

    return base.problem(f)


@group
def relative_noise(rng: Rng) -> Problem:
    """Noise in proportion to the value."""
    base, size = some_smooth(rng), log_uniform(rng, -13, -5)

    def f(v):
        return float(base.f(v)) * (1 + size * hashed(v))

    return base.problem(f)


@group
def noise_in_one_direction(rng: Rng) -> Problem:
    """Only one parameter makes f noisy."""
    base, size = waves(rng, 4), log_uniform(rng, -10, -4)

    def f(v):
        return float(base.f(v)) + size * hashed(v[:1])

    return base.problem(f, plain=False)


@group
def drifting(rng: Rng) -> Problem:
    """f grows a little with every call."""
    base, size, calls = waves(rng, 3), log_uniform(rng, -9, -3), [0]

    def f(v):
        calls[0] += 1
        return float(base.f(v)) + size * calls[0]

    return base.problem(f, plain=False)


@group
def added_constant(rng: Rng) -> Problem:
    base, c = some_smooth(rng), log_uniform(rng, 3, 12) * rng.choice([-1, 1])
    return base.problem(lambda v: float(base.f(v) + c), plain=abs(c) < 1e6)


@group
def multiplied(rng: Rng) -> Problem:
    base, c = some_smooth(rng), log_uniform(rng, -9, 9) * rng.choice([-1, 1])
    return base.problem(
        lambda v: float(c * base.f(v)), right=c * base.grad(base.x), clean=lambda v: c * base.f(v),
        smooth=True,
    )  # fmt: skip


@group
def multiplied_far(rng: Rng) -> Problem:
    """Factors near the ends of the range of numbers."""
    base, c = some_smooth(rng), float(rng.choice([1e-280, 1e-200, 1e-100, 1e100, 1e200, 1e280]))
    return base.problem(
        lambda v: float(c * base.f(v)), right=c * base.grad(base.x), clean=lambda v: c * base.f(v),
    )  # fmt: skip


@group
def round_values(rng: Rng) -> Problem:
    """Whole data: values of f that look as if they were rounded."""
    n = sizes(rng)
    x, w = rng.integers(-3, 4, n) * 1.0, rng.integers(-3, 4, n) * 1.0
    w[0] = w[0] or 1.0
    return Problem(
        lambda v: float(w @ v + v @ v), x, w + 2 * x, UNSURE, clean=lambda v: w @ v + v @ v,
        analytic=True,
    )  # fmt: skip


@group
def few_digits(rng: Rng) -> Problem:
    """f is 0.1, -0.13 or exactly 0 at the parameters, by chance."""
    base, value = waves(rng, sizes(rng)), float(rng.choice([0.0, 0.1, -0.13, 0.5, 2.5, 1.0]))
    shift = float(base.f(base.x))
    return base.problem(lambda v: float(base.f(v)) - shift + value)


@group
def four_scales(rng: Rng) -> Problem:
    """Parameters of 1e-18, 1e-6, 1 and 1e6 in one vector."""
    scale = np.array([1e-18, 1e-6, 1.0, 1e6])
    t, w = rng.uniform(0.3, 2, 4) * rng.choice([-1, 1], 4), rng.normal(size=4)

    def clean(v):
        return w @ np.sin(v / scale)

    return Problem(
        lambda v: float(clean(v)), t * scale, w * np.cos(t) / scale, UNSURE, False, clean=clean,
        analytic=True,
    )  # fmt: skip


@group
def scales_in_leaves(rng: Rng) -> Problem:
    """The same scales in leaves of their own."""
    scales = {"charge": 1e-18, "strain": 1e-6, "ratio": 1.0, "energy": 1e6}
    t = {k: rng.uniform(0.3, 2, 2) for k in scales}
    w = {k: rng.normal(size=2) for k in scales}

    def clean(p):
        return sum(w[k] @ np.sin(p[k] / s) for k, s in scales.items())

    return Problem(
        lambda p: float(clean(p)),
        {k: t[k] * s for k, s in scales.items()},
        {k: w[k] * np.cos(t[k]) / s for k, s in scales.items()},
        UNSURE,
        False,
        clean=clean,
        analytic=True,
    )


@group
def income_and_rate(rng: Rng) -> Problem:
    """Dollars beside a rate: log-likelihood of a regression with badly scaled columns."""
    data = np.column_stack(
        [np.ones(40), 5e4 * np.exp(rng.normal(size=40)), rng.uniform(0, 0.1, 40)]
    )
    beta = np.array([1.0, 2e-5, 8.0]) * rng.uniform(0.5, 1.5, 3)
    y = data @ beta + rng.normal(size=40)
    x = beta * rng.uniform(0.8, 1.2, 3)

    def clean(v):
        return ((y - data @ v) ** 2).sum() / 2

    return Problem(
        lambda v: float(clean(v)), x, -data.T @ (y - data @ x), UNSURE, clean=clean, analytic=True
    )


@group
def ill_conditioned(rng: Rng) -> Problem:
    n, decades = int(rng.integers(2, 7)), rng.uniform(0, 14)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a = q @ np.diag(np.logspace(0, -decades, n)) @ q.T
    x = rng.normal(size=n)
    return Problem(
        lambda v: float(v @ a @ v) / 2, x, (a + a.T) @ x / 2, UNSURE, clean=lambda v: v @ a @ v / 2,
        analytic=True, smooth=decades < 6,
    )  # fmt: skip


@group
def diagonal_scales(rng: Rng) -> Problem:
    n = int(rng.integers(3, 12))
    d, x = np.logspace(0, rng.uniform(-12, 8), n), rng.normal(size=n)
    return Problem(
        lambda v: float(d @ v**2) / 2, x, d * x, UNSURE, clean=lambda v: d @ v**2 / 2,
        analytic=True, plain=False,
    )  # fmt: skip


@group
def large_leaf(rng: Rng) -> Problem:
    """300 to 3000 entries."""
    n = int(rng.choice([300, 1000, 3000]))
    x, w = rng.normal(size=n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sin(v)), x, w * np.cos(x), RIGHT, clean=lambda v: w @ np.sin(v),
        options={"strategy": "probe"} if n > 300 else {}, smooth=True,
    )  # fmt: skip


@group
def tiny_parameters(rng: Rng) -> Problem:
    """Parameters of 1e-30 ... 1e-4, each on its own scale."""
    n, scale = sizes(rng, 5), log_uniform(rng, -30, -4)
    t, w = rng.uniform(0.3, 2, n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sin(v / scale)), t * scale, w * np.cos(t) / scale, UNSURE, False,
        clean=lambda v: w @ np.sin(v / scale), analytic=True,
    )  # fmt: skip


@group
def huge_parameters(rng: Rng) -> Problem:
    n, scale = sizes(rng, 5), log_uniform(rng, 4, 30)
    t, w = rng.uniform(0.3, 2, n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sin(v / scale)), t * scale, w * np.cos(t) / scale, UNSURE,
        clean=lambda v: w @ np.sin(v / scale), analytic=True, smooth=True,
    )  # fmt: skip
