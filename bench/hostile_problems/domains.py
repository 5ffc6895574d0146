"""Functions with an edge: undefined, infinite or refused beyond it, near by or at the point."""

from __future__ import annotations

import math
import warnings

import numpy as np
from scipy import special

from .base import (
    RIGHT,
    UNKNOWN,
    UNSURE,
    WRONG,
    Group,
    Problem,
    Rng,
    Smooth,
    log_uniform,
    sizes,
    some_smooth,
    waves,
)

group = Group("domains")


def distance(rng: Rng) -> float:
    """From the edge of the domain: on it, hardly inside, or well inside."""
    return float(rng.choice([0.0, log_uniform(rng, -12, -4), log_uniform(rng, -4, 0)]))


def _outside(kind: str):
    """What an `f` does beyond its domain."""
    if kind == "raises":
        raise ValueError("parameters must lie inside")
    if kind == "warns":
        warnings.warn("outside of the domain", RuntimeWarning, stacklevel=2)
        return math.nan
    return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf, "huge": 1e300, "1e10": 1e10}[kind]


KINDS = ("raises", "warns", "nan", "inf", "-inf")


def _guarded(rng: Rng, base: Smooth, kinds=KINDS, at: float | None = None) -> Problem:
    """A smooth function that is defined on one side only of one entry's value."""
    kind, away = str(rng.choice(kinds)), distance(rng) if at is None else at
    which, side = int(rng.integers(len(base.x))), float(rng.choice([-1, 1]))
    edge = base.x[which] + side * away

    def f(v):
        if side * (v[which] - edge) > 0:
            return _outside(kind)
        return float(base.f(v))

    return base.problem(f, quiet=away > 0.3, plain=away > 1e-5)


@group
def user_guard(rng: Rng) -> Problem:
    return _guarded(rng, some_smooth(rng))


@group
def user_guard_at_edge(rng: Rng) -> Problem:
    return _guarded(rng, some_smooth(rng), at=0.0)


@group
def penalty_beyond(rng: Rng) -> Problem:
    """A huge penalty outside the feasible set: a jump near the parameters, or at them."""
    return _guarded(rng, some_smooth(rng), ("huge", "1e10"), at=log_uniform(rng, -7, 0))


@group
def box(rng: Rng) -> Problem:
    """NaN outside of the unit box, with parameters on its faces, and round values of `f`."""
    n, c = sizes(rng, 5), float(rng.choice([0.3, 0.25, 0.5, 0.31234567]))
    x = rng.choice([0.0, 0.5, 1.0, rng.uniform(0.1, 0.9)], size=n)
    outside = float(rng.choice([np.nan, np.inf, -np.inf]))

    def f(v):
        return float(-((v - c) ** 2).sum()) if (v >= 0).all() and (v <= 1).all() else outside

    return Problem(f, x, -2 * (x - c), UNSURE, clean=lambda v: -((v - c) ** 2).sum(), analytic=True)


@group
def bounded_box(rng: Rng) -> Problem:
    """The same with the bounds given: the right gradient is confirmed."""
    problem = box(rng)
    bounds = (np.zeros_like(problem.params), np.ones_like(problem.params))
    return Problem(**{**vars(problem), "options": {"bounds": bounds}})


@group
def logarithm(rng: Rng) -> Problem:
    n = sizes(rng)
    x = log_uniform(rng, -8, 2, n) if rng.random() < 0.5 else rng.uniform(0.2, 3, n)
    w, scalar = rng.normal(size=n), rng.random() < 0.5

    def f(v):
        if scalar:
            return sum(float(a) * math.log(b) for a, b in zip(w, v, strict=True))
        return float(w @ np.log(v))

    quiet = x.min() > 0.1
    return Problem(f, x, w / x, UNSURE, clean=lambda v: w @ np.log(v), analytic=True, quiet=quiet)


@group
def square_root(rng: Rng) -> Problem:
    n = sizes(rng)
    x, w = log_uniform(rng, -10, 2, n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sqrt(v)),
        x,
        w / (2 * np.sqrt(x)),
        clean=lambda v: w @ np.sqrt(v),
        analytic=True,
        quiet=x.min() > 0.1,
    )


@group
def arcsine(rng: Rng) -> Problem:
    n = sizes(rng, 5)
    x, w = rng.choice([-1, 1], n) * (1 - log_uniform(rng, -8, -0.1, n)), rng.normal(size=n)
    right = w / np.sqrt((1 - x) * (1 + x))

    def clean(v):
        return w @ np.arcsin(v)

    return Problem(lambda v: float(clean(v)), x, right, clean=clean, quiet=np.abs(x).max() < 0.9)


@group
def cholesky(rng: Rng) -> Problem:
    """Half the log-determinant by Cholesky, which raises where the matrix is not definite."""
    n = int(rng.integers(2, 5))
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a = q @ np.diag(log_uniform(rng, -7, 1, n)) @ q.T
    a = (a + a.T) / 2
    both = rng.random() < 0.5

    def f(v):
        s = (v + v.T) / 2 if both else v
        return float(np.log(np.diag(np.linalg.cholesky(s))).sum())

    right = np.linalg.inv(a) / 2
    if not both:  # the lower triangle alone is read
        right = 2 * np.tril(right, -1) + np.diag(np.diag(right))
    return Problem(f, a, right, plain=np.linalg.cond(a) < 1e4)


@group
def gamma_likelihood(rng: Rng) -> Problem:
    data, x = rng.gamma(2.0, 1.5, 60), rng.uniform(0.02, 3, size=2)

    def clean(t):
        k, s = t
        return -((k - 1) * np.log(data) - data / s - k * np.log(s) - special.loggamma(k)).sum()

    def f(t):
        if t[0] <= 0 or t[1] <= 0:
            raise ValueError("shape and scale must be positive")
        return -float(
            ((t[0] - 1) * np.log(data) - data / t[1]).sum()
            - 60 * (t[0] * math.log(t[1]) + math.lgamma(t[0]))
        )

    k, s = x
    right = np.array(
        [
            -np.log(data).sum() + 60 * (np.log(s) + special.digamma(k)),
            -data.sum() / s**2 + 60 * k / s,
        ]
    )
    return Problem(f, x, right, clean=clean, analytic=True)


@group
def gamma_function(rng: Rng) -> Problem:
    """Poles at zero and at whole numbers below."""
    n = sizes(rng, 5)
    x = rng.integers(-3, 2, n) + rng.choice([-1, 1], n) * log_uniform(rng, -6, -0.35, n)
    w = rng.normal(size=n) / np.abs(special.gamma(x))
    right = w * special.gamma(x) * special.digamma(x)
    return Problem(lambda v: float(w @ special.gamma(v)), x, right, plain=False)


@group
def pole_near_by(rng: Rng) -> Problem:
    n = sizes(rng)
    x, w = log_uniform(rng, -9, 0.5, n) * rng.choice([-1, 1], n), rng.normal(size=n)
    w = w * np.abs(x)

    def clean(v):
        return w @ (1 / v)

    plain = np.abs(x).min() > 1e-3
    return Problem(lambda v: float(clean(v)), x, -w / x**2, clean=clean, analytic=True, plain=plain)


@group
def infinite_claim(rng: Rng) -> Problem:
    """Claims of infinity or NaN where the derivative is finite, zero among them."""
    n = sizes(rng)
    w, x = rng.normal(size=n) * (rng.random(n) < 0.7), rng.normal(size=n)
    kind = rng.choice([np.inf, -np.inf, np.nan])
    claim = w.copy()
    claim[rng.random(n) < 0.5] = kind
    claim[int(rng.integers(n))] = kind
    return Problem(
        lambda v: float(w @ v),
        x,
        w,
        RIGHT if w.any() else UNSURE,
        extra={str(kind): (claim, WRONG)},
        clean=lambda v: w @ v,
        analytic=True,
        variants=bool(w.any()),
        smooth=True,
    )


@group
def truly_infinite(rng: Rng) -> Problem:
    """sqrt(|x|) at 0 has no finite derivative: infinity and zero are both beyond judging."""
    base = waves(rng, sizes(rng, 5))
    at = int(rng.integers(len(base.x)))
    base.x[at] = 0.0
    g = base.grad(base.x)
    g[at] = np.inf

    def f(v):
        return float(base.f(v) + np.sqrt(abs(v[at])))

    return base.problem(f, right=g, accept=UNSURE, plain=False, variants=False, verified=False)


@group
def nan_entries(rng: Rng) -> Problem:
    """Missing data: parameters that are NaN and do not count."""
    n = int(rng.integers(3, 10))
    x, w = rng.normal(size=n), rng.normal(size=n)
    x[int(rng.integers(n))] = np.nan
    right = np.where(np.isnan(x), 0.0, w * np.cos(x))
    return Problem(
        lambda v: float(np.nansum(w * np.sin(v))), x, right, UNSURE, False,
        variants=False,
    )  # fmt: skip


@group
def probability_edge(rng: Rng) -> Problem:
    """Cross-entropy with probabilities that are nearly 0 or 1."""
    n = sizes(rng, 5)
    y = rng.integers(0, 2, n).astype(float)
    x = np.abs(y - log_uniform(rng, -9, -0.4, n))

    def clean(v):
        return -(y * np.log(v) + (1 - y) * np.log1p(-v)).sum()

    right = -(y / x - (1 - y) / (1 - x))
    return Problem(lambda v: float(clean(v)), x, right, clean=clean, analytic=True, quiet=False)


@group
def undefined_at_point(rng: Rng) -> Problem:
    """`f` itself is NaN or infinite where the check begins."""
    x = rng.normal(size=3)
    value = float(rng.choice([np.nan, np.inf, -np.inf]))
    return Problem(lambda v: value, x, np.zeros(3), UNKNOWN, False, variants=False, verified=False)


@group
def overflow_near_by(rng: Rng) -> Problem:
    """exp just below overflow, or a huge f: fastgrad's own arithmetic must not warn."""
    if rng.random() < 0.5:
        x = np.array([709.78 - log_uniform(rng, -6, 1), rng.normal()])
        return Problem(
            lambda v: float(np.exp(v).sum()), x, np.exp(x), clean=lambda v: np.exp(v).sum(),
            plain=False, quiet=False, changes=False,
        )  # fmt: skip
    x, c = rng.normal(size=3), log_uniform(rng, 290, 306)
    return Problem(
        lambda v: c * float(v @ v), x, 2 * c * x, clean=lambda v: c * (v @ v), analytic=True,
        changes=False,
    )  # fmt: skip


@group
def huge_claim(rng: Rng) -> Problem:
    base = some_smooth(rng, 3)
    claim = base.grad(base.x)
    claim[int(rng.integers(len(claim)))] = float(rng.choice([1e308, -1e305, 1e200, 1e160]))
    return base.problem(extra={"huge": (claim, WRONG)}, smooth=True)
