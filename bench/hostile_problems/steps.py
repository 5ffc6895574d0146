"""Functions that jump: staircases of all widths, and jumps at the parameters or close by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy.special import ndtr

from .base import (
    UNKNOWN,
    UNSURE,
    Group,
    Problem,
    Rng,
    Smooth,
    log_uniform,
    sizes,
    some_smooth,
    waves,
)

group = Group("steps")


def _staircase(base: Smooth, f: Callable, width: float) -> Problem:
    """The mean slope is what is meant; nothing of the kind can be confirmed by differences.

    Zero is the derivative almost everywhere: it may be said to be right of steps that are as wide
    as a unit, and of no narrower ones, where it is off by the whole slope.
    """
    zero = np.zeros_like(base.x)
    extra = {"zero": (zero, UNSURE if width > 0.2 else UNKNOWN)} if width > 1e-6 else {}
    return base.problem(f, plain=False, extra=extra, accept=UNSURE)


@group
def floored(rng: Rng) -> Problem:
    base, width = waves(rng, sizes(rng)), log_uniform(rng, -8, -1)
    return _staircase(base, lambda v: float(base.f((np.floor(v / width) + 0.5) * width)), width)


@group
def linear_floor(rng: Rng) -> Problem:
    n, width = sizes(rng), log_uniform(rng, -8, -1)
    w = rng.normal(size=n)
    base = Smooth(lambda v: w @ v, lambda v: w, rng.normal(size=n))
    return _staircase(base, lambda v: float(w @ (np.floor(v / width) * width)), width)


@group
def rounded_decimals(rng: Rng) -> Problem:
    base, digits = some_smooth(rng), int(rng.integers(1, 9))
    return _staircase(base, lambda v: float(base.f(np.round(v, digits))), 10.0**-digits)


@group
def float16_inputs(rng: Rng) -> Problem:
    base = some_smooth(rng)
    width = 2.0**-11 * float(np.abs(base.x).max())
    return _staircase(base, lambda v: float(base.f(v.astype(np.float16).astype(float))), width)


@group
def whole_numbers(rng: Rng) -> Problem:
    """Floor, round, trunc of parameters, and the derivative almost everywhere, zero."""
    kind = [np.floor, np.rint, np.trunc, np.ceil][int(rng.integers(4))]
    x = rng.choice([rng.normal(size=3) * 3, 100 + rng.normal(size=3) * 1e-3])
    return Problem(lambda v: float(kind(v).sum()), x, np.zeros(3), plain=False, variants=False)


@group
def seeded_shots(rng: Rng) -> Problem:
    """An expectation estimated with the same seed each time."""
    shots, x = int(10 ** rng.uniform(2, 4.3)), rng.uniform(0.3, 1.2, size=3)
    u = rng.uniform(size=shots)

    def clean(v):
        return np.cos(v).prod()

    right = -np.tan(x) * clean(x)
    return Problem(
        lambda v: 2 * float((u < (1 + clean(v)) / 2).mean()) - 1,
        x,
        right,
        plain=False,
        clean=clean,
        analytic=True,
        extra={"zero": (np.zeros(3), UNKNOWN)},
    )


@group
def bisection(rng: Rng) -> Problem:
    """The root of v**3 + v = theta, by halving an interval a few times."""
    halvings, w = int(rng.integers(6, 45)), rng.normal(size=2)
    x = rng.uniform(1, 8, size=2)

    def root(t):
        low, high = np.zeros_like(t), np.full_like(t, 3.0)
        for _ in range(halvings):
            middle = (low + high) / 2
            above = middle**3 + middle > t
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return (low + high) / 2

    def newton(t):
        v = t / (1 + np.abs(t)) + 0 * t
        for _ in range(60):
            v = v - (v**3 + v - t) / (3 * v**2 + 1)
        return v

    return Problem(
        lambda v: float(w @ root(v)),
        x,
        w / (3 * newton(x) ** 2 + 1),
        plain=halvings > 38,
        clean=lambda v: w @ newton(v),
        analytic=True,
    )


@group
def nearest_in_table(rng: Rng) -> Problem:
    base, points = waves(rng, sizes(rng, 5)), int(10 ** rng.uniform(1, 6))
    table = np.linspace(-4, 4, points)
    width = table[1] - table[0]

    def f(v):
        return float(base.f(table[np.clip(np.rint((v + 4) / width).astype(int), 0, points - 1)]))

    return _staircase(base, f, width)


@group
def memoized_on_rounded(rng: Rng) -> Problem:
    """A cache whose key is the parameter to a few digits: the first value of a cell is kept."""
    base, digits, cache = some_smooth(rng, 3), int(rng.integers(2, 12)), {}

    def f(v):
        key = tuple(np.round(v, digits))
        if key not in cache:
            cache[key] = float(base.f(v))
        return cache[key]

    return _staircase(base, f, 10.0**-digits)


@group
def warm_started(rng: Rng) -> Problem:
    """A solver that goes on from its last result, to a tolerance: values depend on the calls."""
    tolerance, w = log_uniform(rng, -10, -2), rng.normal(size=3)
    x, last = rng.uniform(1, 4, size=3), np.full(3, 1.5)

    def f(v):
        nonlocal last
        while np.abs(last**2 - v).max() > tolerance:
            last = (last + v / last) / 2
        return float(w @ last)

    return Problem(
        f, x, w / (2 * np.sqrt(x)), plain=False, clean=lambda v: w @ np.sqrt(v), analytic=True
    )


@group
def counted_samples(rng: Rng) -> Problem:
    """A share of samples below a threshold, the density as its derivative."""
    n = int(10 ** rng.uniform(2, 4.5))
    data, x = rng.normal(size=n), rng.uniform(-1, 1, size=2)
    w = rng.normal(size=2)

    def density(v):
        return np.exp(-(v**2) / 2) / np.sqrt(2 * np.pi)

    return Problem(
        lambda v: float(w[0] * (data < v[0]).mean() + w[1] * (data < v[1]).mean()),
        x,
        w * density(x),
        plain=False,
        clean=lambda v: w @ ndtr(v),
        extra={"zero": (np.zeros(2), UNKNOWN)},
    )


@group
def jump_at_point(rng: Rng) -> Problem:
    """A step of the Heaviside kind exactly at one parameter."""
    base, height = waves(rng, sizes(rng)), log_uniform(rng, -3, 3)
    at = int(rng.integers(len(base.x)))
    place = base.x[at]
    strict = rng.random() < 0.5

    def f(v):
        beyond = v[at] > place if strict else v[at] >= place
        return float(base.f(v) + (height if beyond else 0.0))

    g = base.grad(base.x)
    extra = {}
    for times in (3.0, 30.0, 300.0, -10.0):
        claim = g.copy()
        claim[at] *= times
        extra[f"{times:g} x at the jump"] = (claim, UNKNOWN)
    return base.problem(f, accept=UNKNOWN, plain=False, extra=extra, variants=False)


@group
def jump_behind_rounding(rng: Rng) -> Problem:
    """A jump at the parameter that shows only once 1 + x is another number."""
    w, height = rng.normal(size=2), log_uniform(rng, -2, 2)

    def f(v):
        return float(w @ v + (height if 1.0 + v[0] > 1.0 else 0.0))

    extra = {f"{c:g}": (np.array([c, w[1]]), UNKNOWN) for c in (3.0, 30.0, 300.0)}
    x = np.array([0.0, 1.0])
    return Problem(
        f, x, w.copy(), UNKNOWN, False, extra=extra, variants=False, clean=lambda v: w @ v
    )


@group
def jump_near_by(rng: Rng) -> Problem:
    """A step a little beside the parameter: right where smaller steps stay on one side."""
    base, height = waves(rng, sizes(rng)), log_uniform(rng, -4, 2)
    at, distance = int(rng.integers(len(base.x))), log_uniform(rng, -9, -1)
    place = base.x[at] + distance * rng.choice([-1, 1])

    def f(v):
        return float(base.f(v) + (height if v[at] > place else 0.0))

    return base.problem(f, plain=distance > 1e-4)


@group
def label_leaf(rng: Rng) -> Problem:
    """Labels as floats among the parameters: `f` jumps as soon as they move."""
    n = int(rng.integers(2, 8))
    x, y = rng.normal(size=n), rng.choice([-1.0, 1.0], size=n)

    def f(p):
        return float(np.where(p["y"] == 1, p["x"] ** 2, np.sin(p["x"])).sum())

    right = {"x": np.where(y == 1, 2 * x, np.cos(x)), "y": np.zeros(n)}
    return Problem(f, {"x": x, "y": y}, right, UNSURE, False)


@group
def count_leaf(rng: Rng) -> Problem:
    """A number of terms, as a float among the parameters, is cut to a whole number."""
    x, count = rng.normal(size=6), float(rng.integers(2, 6))

    def f(p):
        return float((p["x"][: int(p["n"])] ** 2).sum() + p["x"].sum())

    def clean(p):
        return (p["x"][: int(count)] ** 2).sum() + p["x"].sum()

    right = {"x": 2 * x * (np.arange(6) < count) + 1, "n": np.zeros(())}
    return Problem(f, {"x": x, "n": np.array(count)}, right, UNSURE, False, clean=clean)


@group
def accepted_by_metropolis(rng: Rng) -> Problem:
    """A seeded random walk that is accepted or not: jumps in between, smooth elsewhere."""
    base = waves(rng, 3)
    noise, u = rng.normal(size=40) * 0.3, rng.uniform(size=40)

    def f(v):
        at, total = 0.0, 0.0
        for step, each in zip(noise, u, strict=True):
            if each < np.exp(min(0.0, -((at + step) ** 2 - at**2) * (1 + v[0] ** 2))):
                at += step
            total += at * 0.01
        return float(base.f(v) + total)

    return replace(base.problem(f), plain=True, clean=None)
