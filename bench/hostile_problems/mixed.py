"""Several troubles at once, and gradients that are no fixed arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from .base import NOT_RIGHT, UNSURE, Group, Problem, Rng, hashed, log_uniform, some_smooth

group = Group("mixed")
F = Callable[[np.ndarray], float]


def _constant(f: F, x: np.ndarray, rng: Rng) -> F:
    c = log_uniform(rng, 2, 9)
    return lambda v: f(v) + c


def _offset(f: F, x: np.ndarray, rng: Rng) -> F:
    c = log_uniform(rng, 3, 9)
    return lambda v: f((v + c) - c)


def _noise(f: F, x: np.ndarray, rng: Rng) -> F:
    size = log_uniform(rng, -13, -6)
    return lambda v: f(v) + size * hashed(v)


def _float32(f: F, x: np.ndarray, rng: Rng) -> F:
    return lambda v: float(np.float32(f(v)))


def _decimals(f: F, x: np.ndarray, rng: Rng) -> F:
    digits = int(rng.integers(6, 13))
    return lambda v: round(f(v), digits)


def _grid(f: F, x: np.ndarray, rng: Rng) -> F:
    unit = 2.0 ** -int(rng.integers(20, 40))
    return lambda v: f(np.rint(v / unit) * unit)


def _beyond(x: np.ndarray, rng: Rng) -> F:
    """How far one parameter is beyond a place that is a little beside it, to one side."""
    at, away = int(rng.integers(len(x))), log_uniform(rng, -6, -1)
    side, place = float(rng.choice([-1, 1])), x[at]
    return lambda v: side * (v[at] - place) - away


def _kink(f: F, x: np.ndarray, rng: Rng) -> F:
    """Flat at the parameter, a slope from a little beside it on."""
    beyond = _beyond(x, rng)
    return lambda v: f(v) + max(beyond(v), 0.0)


def _jump(f: F, x: np.ndarray, rng: Rng) -> F:
    beyond, height = _beyond(x, rng), log_uniform(rng, -4, 2)
    return lambda v: f(v) + (height if beyond(v) > 0 else 0.0)


def _edge(f: F, x: np.ndarray, rng: Rng) -> F:
    beyond, value = _beyond(x, rng), float(rng.choice([np.nan, np.inf, -np.inf]))
    return lambda v: value if beyond(v) > 0 else f(v)


def _guard(f: F, x: np.ndarray, rng: Rng) -> F:
    beyond = _beyond(x, rng)

    def guarded(v: np.ndarray) -> float:
        if beyond(v) > 0:
            raise ValueError("outside")
        return f(v)

    return guarded


def _ripple(f: F, x: np.ndarray, rng: Rng) -> F:
    """A fast ripple whose slope is zero at the parameters."""
    speed, height = log_uniform(rng, 2, 7), log_uniform(rng, -9, -3)
    place = x.copy()
    return lambda v: f(v) + height * float((1 - np.cos(speed * (v - place))).sum())


WRAPS = (
    _constant, _offset, _noise, _float32, _decimals, _grid, _kink, _jump, _edge, _guard, _ripple,
)  # fmt: skip


def _wrapped(rng: Rng, count: int) -> Problem:
    base = some_smooth(rng)
    f: F = lambda v: float(base.f(v))  # noqa: E731
    for wrap in rng.choice(len(WRAPS), count, replace=False):
        f = WRAPS[wrap](f, base.x, rng)
    return base.problem(f)


@group
def one_trouble(rng: Rng) -> Problem:
    return _wrapped(rng, 1)


@group
def two_troubles(rng: Rng) -> Problem:
    return _wrapped(rng, 2)


@group
def three_troubles(rng: Rng) -> Problem:
    return _wrapped(rng, 3)


@group
def two_troubles_scaled(rng: Rng) -> Problem:
    """The same with parameters on another scale."""
    problem, s = _wrapped(rng, 2), log_uniform(rng, -6, 6)
    f, clean = problem.f, problem.clean
    return replace(
        problem, f=lambda v: f(v / s), params=problem.params * s, right=problem.right / s,
        clean=lambda v: clean(v / s), plain=False,
    )  # fmt: skip


@group
def accumulating_gradient(rng: Rng) -> Problem:
    """The gradient is added to the last one: right once, and never again."""
    base = some_smooth(rng)
    kept = np.zeros(len(base.x))

    def grad(v):
        kept[:] += base.grad(v)
        return kept

    return base.problem(
        extra={"accumulates": (grad, NOT_RIGHT)}, variants=False, smooth=True, raises=True
    )


@group
def gradient_in_place(rng: Rng) -> Problem:
    """The gradient is written into the same array each time, and a list or tuple of numbers."""
    base, kept = some_smooth(rng), []

    def reused(v):
        kept[:] = base.grad(v).tolist()
        return kept

    return base.problem(extra={"the same list": (reused, UNSURE)}, variants=False, smooth=True)


@group
def noisy_gradient(rng: Rng) -> Problem:
    """A gradient that differs a little from call to call."""
    base, size, draw = some_smooth(rng), log_uniform(rng, -12, -3), np.random.default_rng(2)

    def grad(v):
        g = base.grad(v)
        return g * (1 + size * draw.normal(size=g.shape))

    return base.problem(extra={"noisy": (grad, UNSURE)}, variants=False)


@group
def stochastic_gradient(rng: Rng) -> Problem:
    """The gradient of another batch each time."""
    base, draw = some_smooth(rng), np.random.default_rng(2)

    def grad(v):
        g = base.grad(v)
        return g + 0.3 * np.abs(g).max() * draw.normal(size=g.shape)

    return base.problem(extra={"another batch": (grad, NOT_RIGHT)}, variants=False)
