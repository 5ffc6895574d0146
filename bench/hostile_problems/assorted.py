"""More of what people differentiate: training loops, samples, penalties, layouts, types."""

from __future__ import annotations

import numpy as np

from .base import (
    UNSURE,
    Group,
    Problem,
    Rng,
    log_uniform,
    sizes,
    slopes,
    some_smooth,
    waves,
)

group = Group("assorted")


@group
def norm_near_zero(rng: Rng) -> Problem:
    """The distance to a point that is 1e-9 ... 1 away."""
    n, away = int(rng.integers(1, 5)), log_uniform(rng, -9, 0)
    x, d = rng.normal(size=n), rng.normal(size=n)
    d *= away / np.linalg.norm(d)
    place = x - d
    return Problem(
        lambda v: float(np.sqrt(((v - place) ** 2).sum())), x,
        (x - place) / np.linalg.norm(x - place), UNSURE, away > 1e-2,
        clean=lambda v: np.sqrt(((v - place) ** 2).sum()), analytic=True,
    )  # fmt: skip


@group
def stiff_penalty(rng: Rng) -> Problem:
    """A squared penalty of 1e2 ... 1e10, from a little beside the parameters on, or at them."""
    base, c = waves(rng, sizes(rng, 5)), log_uniform(rng, 2, 10)
    away = float(rng.choice([0.0, log_uniform(rng, -8, -1)]))
    place = base.x + away
    return base.problem(
        lambda v: float(base.f(v) + c * (np.maximum(v - place, 0) ** 2).sum()), clean=None,
        plain=False, verified=c < 1e6,
    )  # fmt: skip


@group
def small_barrier(rng: Rng) -> Problem:
    """A logarithmic barrier with a weight of 1e-10 ... 1 beside a smooth function."""
    base, c = waves(rng, sizes(rng, 5)), log_uniform(rng, -10, 0)
    base.x[:] = np.abs(base.x) + log_uniform(rng, -8, 0)

    def clean(v):
        return base.f(v) - c * np.log(v).sum()

    return base.problem(
        lambda v: float(clean(v)), right=base.grad(base.x) - c / base.x, clean=clean,
        plain=base.x.min() > 1e-2, quiet=base.x.min() > 0.3,
    )  # fmt: skip


@group
def float32_mean(rng: Rng) -> Problem:
    """A mean over a thousand samples in float32, of float64 parameters."""
    n = int(rng.integers(1, 5))
    data, y = rng.normal(size=(1000, n)), rng.normal(size=1000)
    short, x = data.astype(np.float32), rng.normal(size=n)

    def f(v):
        left = short @ v.astype(np.float32) - y.astype(np.float32)
        return float((left**2).mean(dtype=np.float32))

    wide, target = short.astype(float), y.astype(np.float32).astype(float)
    return Problem(
        f, x, 2 * wide.T @ (wide @ x - target) / 1000, UNSURE,
        clean=lambda v: ((wide @ v - target) ** 2).mean(), analytic=True,
    )  # fmt: skip


@group
def clipped_probability(rng: Rng) -> Problem:
    """Cross-entropy of probabilities clipped at 1e-7: flat where they saturate."""
    data, w = rng.normal(size=(20, 3)), rng.normal(size=3) * log_uniform(rng, 0, 1.5)
    y = (rng.random(20) < 0.5).astype(float)

    def f(v):
        p = np.clip(1 / (1 + np.exp(-(data @ v))), 1e-7, 1 - 1e-7)
        return float(-(y * np.log(p) + (1 - y) * np.log(1 - p)).mean())

    p = 1 / (1 + np.exp(-(data @ w)))
    inside = (p > 1e-7) & (p < 1 - 1e-7)
    nearest = np.abs(np.abs(data @ w) - np.log(1e7)).min()
    return Problem(f, w, data.T @ ((p - y) * inside) / 20, UNSURE, nearest > 1e-2)


@group
def training_loop(rng: Rng) -> Problem:
    """The loss after some steps of gradient descent, by its learning rate and penalty."""
    steps = int(rng.integers(1, 60))
    data, y = rng.normal(size=(10, 3)), rng.normal(size=10)
    x = np.array([rng.uniform(0.01, 0.25), rng.uniform(0.0, 0.5)])

    def clean(v):
        w = np.zeros(3, dtype=v.dtype)
        for _ in range(steps):
            w = w - v[0] * (data.T @ (np.tanh(data @ w) - y) / 10 + v[1] * w)
        return ((np.tanh(data @ w) - y) ** 2).sum()

    return Problem(
        lambda v: float(clean(v)),
        x,
        slopes(clean, x),
        UNSURE,
        steps < 20,
        clean=clean,
        analytic=True,
    )


@group
def common_random_numbers(rng: Rng) -> Problem:
    """A Monte Carlo mean with a fixed seed and a smooth payoff, or one with kinks."""
    z, smooth = rng.normal(size=300), rng.random() < 0.5
    x = np.array([rng.uniform(0.8, 1.2), rng.uniform(0.1, 0.4)])

    def paths(v):
        return v[0] * np.exp(v[1] * z - v[1] ** 2 / 2)

    def f(v):
        s = paths(v)
        return float((np.log1p(s) if smooth else np.maximum(s - 1, 0)).mean())

    s = paths(x)
    slope = 1 / (1 + s) if smooth else 1.0 * (s > 1)
    nearest = np.abs(s - 1).min()
    return Problem(
        f, x, np.array([(slope * s / x[0]).mean(), (slope * s * (z - x[1])).mean()]), UNSURE,
        smooth or nearest > 1e-3,
    )  # fmt: skip


@group
def sample_quantile(rng: Rng) -> Problem:
    """A quantile of the parameters, between two of them."""
    n, q = int(rng.integers(4, 20)), rng.uniform(0.2, 0.8)
    x = rng.normal(size=n)
    order, at = np.argsort(x), q * (n - 1)
    low = int(at)
    right = np.zeros(n)
    right[order[low]] = 1 - (at - low)
    right[order[low + 1]] += at - low
    gaps = np.diff(np.sort(x))
    return Problem(
        lambda v: float(np.quantile(v, q)), x, right, UNSURE, gaps.min() > 1e-3,
        verified=gaps.min() > 1e-6,
    )  # fmt: skip


@group
def fresh_dropout(rng: Rng) -> Problem:
    """Another mask at each call."""
    base, draw = waves(rng, int(rng.integers(3, 12))), np.random.default_rng(3)

    def f(v):
        return float(base.f(v * (draw.random(len(v)) < 0.8)))

    return base.problem(f, plain=False)


@group
def other_batch_each_time(rng: Rng) -> Problem:
    """A loss on another sample of the data at each call."""
    base, draw = waves(rng, 4), np.random.default_rng(4)
    size = log_uniform(rng, -2, 0)
    return base.problem(lambda v: float(base.f(v) * (1 + size * draw.normal())), plain=False)


@group
def every_other_entry(rng: Rng) -> Problem:
    """A strided, a Fortran-ordered or a reversed view as the parameters."""
    kind, w = int(rng.integers(3)), rng.normal(size=(4, 3))
    x = rng.normal(size=(8, 3))
    x = (x[::2], np.asfortranarray(x[:4]), x[3::-1])[kind]
    return Problem(
        lambda v: float((w * np.sin(v)).sum()), x, w * np.cos(x), UNSURE, smooth=True,
        clean=lambda v: (w * np.sin(v)).sum(), analytic=True,
    )  # fmt: skip


@group
def long_doubles(rng: Rng) -> Problem:
    """Parameters of extended precision, arithmetic in it or in float64."""
    base, wide = waves(rng, sizes(rng)), rng.random() < 0.5
    x = base.x.astype(np.longdouble)
    return Problem(
        lambda v: (base.f(v) if wide else float(base.f(v.astype(float)))), x,
        base.grad(x.astype(float)), UNSURE,
    )  # fmt: skip


@group
def complex_troubles(rng: Rng) -> Problem:
    """A complex least squares problem with a constant, noise by rounding, or a factor."""
    n = int(rng.integers(1, 5))
    a, b, z = (rng.normal(size=s) + 1j * rng.normal(size=s) for s in ((6, n), 6, n))
    c, kind = log_uniform(rng, 3, 9), int(rng.integers(3))

    def f(v):
        value = (np.abs(a @ ((v + c) - c if kind == 0 else v) - b) ** 2).sum()
        return float(value + c if kind == 1 else np.float32(value) if kind == 2 else value)

    return Problem(f, z, 2 * a.conj().T @ (a @ z - b), UNSURE)


@group
def magnitudes(rng: Rng) -> Problem:
    """Phase retrieval: |a . z| of complex parameters, some of them real or zero."""
    n = int(rng.integers(1, 4))
    a, z = rng.normal(size=(8, n)) + 1j * rng.normal(size=(8, n)), rng.normal(size=n) + 0j
    y = np.abs(rng.normal(size=8)) + 0.5
    inner = a @ z
    size = np.abs(inner)
    right = a.conj().T @ (2 * (size - y) * inner / size)
    return Problem(lambda v: float(((np.abs(a @ v) - y) ** 2).sum()), z, right, UNSURE)


@group
def leaky_slopes(rng: Rng) -> Problem:
    """Slopes of 1 and of 1e-12 ... 1e-2 on either side of kinks near by."""
    n, leak = sizes(rng, 8), log_uniform(rng, -12, -2)
    x, w = rng.normal(size=n) * log_uniform(rng, -4, 0, n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.where(v > 0, v, leak * v)), x, w * np.where(x > 0, 1.0, leak),
        UNSURE, np.abs(x).min() > 1e-3,
    )  # fmt: skip


@group
def products(rng: Rng) -> Problem:
    """A product of many factors: values and derivatives of widely different sizes."""
    n = int(rng.integers(2, 40))
    x = rng.uniform(0.2, 2.0, n) * rng.choice([-1, 1], n)
    return Problem(
        lambda v: float(np.prod(v)), x, np.prod(x) / x, UNSURE, clean=np.prod, analytic=True
    )


@group
def high_powers(rng: Rng) -> Problem:
    """x to the power of 20 ... 300: the relative slope is large."""
    k, n = int(rng.integers(20, 300)), sizes(rng, 5)
    x = rng.uniform(0.8, 1.2, n)
    return Problem(
        lambda v: float((v**k).sum()), x, k * x ** (k - 1), UNSURE, False,
        clean=lambda v: (v**k).sum(), analytic=True,
    )  # fmt: skip


@group
def rational(rng: Rng) -> Problem:
    """A quotient whose denominator nearly vanishes."""
    n, away = sizes(rng, 5), log_uniform(rng, -6, 0)
    x, w = rng.normal(size=n), rng.normal(size=n)
    roots = x + away * rng.choice([-1, 1], n)

    def clean(v):
        return (w * (v**2 + 1) / (v - roots)).sum()

    d = x - roots
    return Problem(
        lambda v: float(clean(v)), x, w * (2 * x * d - (x**2 + 1)) / d**2, UNSURE, away > 1e-2,
        clean=clean, analytic=True,
    )  # fmt: skip


@group
def oscillating_integral(rng: Rng) -> Problem:
    """A sum over a fine grid, whose terms nearly cancel."""
    n = int(rng.choice([100, 1000]))
    t, x = (np.arange(n) + 0.5) / n, np.array([rng.uniform(5, 60), rng.uniform(0.5, 2)])

    def clean(v):
        return (np.cos(v[0] * t) * np.exp(-v[1] * t)).mean()

    e = np.exp(-x[1] * t)
    right = np.array([(-t * np.sin(x[0] * t) * e).mean(), (-t * np.cos(x[0] * t) * e).mean()])
    return Problem(lambda v: float(clean(v)), x, right, smooth=True, clean=clean, analytic=True)


@group
def listed_parameters(rng: Rng) -> Problem:
    """Three leaves of different lengths in a list, one empty."""
    base = some_smooth(rng, 5)
    x = base.x

    def f(p):
        return float(base.f(np.concatenate(p)))

    cuts = [int(rng.integers(1, len(x)))] * 2
    right = np.split(base.grad(x), cuts)
    return Problem(
        f, [a.copy() for a in np.split(x, cuts)], right, UNSURE, smooth=True,
        clean=lambda p: base.f(np.concatenate(p)), analytic=True,
    )  # fmt: skip
