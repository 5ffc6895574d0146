"""Functions that hold a solver which stops at a tolerance: the exact gradient is off by as much."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from scipy import integrate, optimize, sparse

from .base import UNSURE, WRONG, Group, Problem, Rng, log_uniform, slopes, some_smooth, waves

group = Group("solvers")


@group(share=0.25, probes=False)
def adaptive_ode(rng: Rng) -> Problem:
    """x' = -a x + b to a time T, with the exact solution's gradient."""
    a, b, t = rng.uniform(0.5, 2), rng.uniform(-1, 1), rng.uniform(1, 3)
    method, rtol = str(rng.choice(["RK45", "RK23", "DOP853"])), log_uniform(rng, -10, -3)

    def solve(p):
        found = integrate.solve_ivp(
            lambda _, x: -p[0] * x + p[1], (0, t), [1.0], method, rtol=rtol, atol=rtol * 1e-3
        )
        return float(found.y[0, -1])

    def clean(p):
        e = np.exp(-p[0] * t)
        return e + p[1] / p[0] * (1 - e)

    e = math.exp(-a * t)
    right = np.array([-t * e - b / a**2 * (1 - e) + b / a * t * e, (1 - e) / a])
    return Problem(
        solve, np.array([a, b]), right, plain=False, clean=clean, analytic=True, inexact=True
    )


@group(share=0.12, probes=False)
def adaptive_oscillator(rng: Rng) -> Problem:
    """A damped oscillator by an adaptive method; the gradient comes from a tight tolerance."""
    x = np.array([rng.uniform(0.5, 2), rng.uniform(0.05, 0.3)])
    rtol = log_uniform(rng, -8, -3)

    def solve(p, rtol):
        k, c = p
        found = integrate.solve_ivp(
            lambda _, s: [s[1], -k * s[0] - c * s[1]], (0, 4.0), [1.0, 0.0], "RK45",
            rtol=rtol, atol=rtol * 1e-2,
        )  # fmt: skip
        return float(found.y[0, -1])

    def clean(p):
        k, c = p
        w = np.sqrt(k - c**2 / 4)
        return np.exp(-2 * c) * (np.cos(4 * w) + c / 2 / w * np.sin(4 * w))

    return Problem(
        lambda p: solve(p, rtol), x, slopes(clean, x), plain=False, clean=clean, analytic=True,
        inexact=True,
    )  # fmt: skip


@group(share=0.5, probes=False)
def adaptive_quadrature(rng: Rng) -> Problem:
    """Gauss-Kronrod on halved intervals until the error estimate is small enough."""
    x, tolerance = rng.uniform(0.5, 2, size=2), log_uniform(rng, -9, -2)

    def f(p):
        return integrate.quad(
            lambda t: math.exp(-p[0] * t) * math.cos(9 * p[1] * t) / (0.02 + (t - 0.3) ** 2),
            0, 2, epsabs=0, epsrel=tolerance,
        )[0]  # fmt: skip

    nodes, weights = np.polynomial.legendre.leggauss(200)
    t, weights = nodes + 1, weights / (0.02 + (nodes + 1 - 0.3) ** 2)

    def clean(p):
        return weights @ (np.exp(-p[0] * t) * np.cos(9 * p[1] * t))

    e = np.exp(-x[0] * t)
    right = np.array(
        [
            weights @ (-t * e * np.cos(9 * x[1] * t)),
            weights @ (-9 * t * e * np.sin(9 * x[1] * t)),
        ]
    )
    return Problem(f, x, right, plain=False, clean=clean, analytic=True, inexact=True)


@group
def fixed_point(rng: Rng) -> Problem:
    """z = tanh(W z + x), iterated to a tolerance; the gradient of the exact fixed point."""
    n, tolerance = int(rng.integers(2, 6)), log_uniform(rng, -14, -3)
    w, x = 0.4 * rng.normal(size=(n, n)) / n**0.5, rng.normal(size=n)

    def solve(v, tolerance):
        z = np.zeros_like(v)
        for _ in range(500):
            old, z = z, np.tanh(w @ z + v)
            if np.abs(z - old).max() < tolerance:
                break
        return z

    z = solve(x, 1e-16)
    slope = 1 - z**2
    right = slope * np.linalg.solve((np.eye(n) - slope[:, None] * w).T, z)

    def clean(v):
        z = np.zeros_like(v)
        for _ in range(200):
            z = np.tanh(w @ z + v)
        return (z**2).sum() / 2

    return Problem(
        lambda v: float((solve(v, tolerance) ** 2).sum() / 2), x, right, UNSURE, tolerance < 1e-12,
        clean=clean, analytic=True, inexact=True,
    )  # fmt: skip


@group
def implicit_layer(rng: Rng) -> Problem:
    """The same where the gradient, too, is that of the inexact fixed point."""
    n, tolerance = 4, log_uniform(rng, -9, -4)
    w, x = 0.5 * rng.normal(size=(n, n)) / n**0.5, rng.normal(size=n)

    def solve(v):
        z = np.zeros(n)
        for _ in range(500):
            old, z = z, np.tanh(w @ z + v)
            if np.abs(z - old).max() < tolerance:
                break
        return z

    z = solve(x)
    slope = 1 - z**2
    right = slope * np.linalg.solve((np.eye(n) - slope[:, None] * w).T, z)
    return Problem(
        lambda v: float((solve(v) ** 2).sum() / 2),
        x,
        right,
        UNSURE,
        False,
        inexact=True,
    )


@group(share=0.5)
def conjugate_gradients(rng: Rng) -> Problem:
    """b . A(x)^-1 b, solved by conjugate gradients to a tolerance."""
    n, tolerance = 12, log_uniform(rng, -12, -3)
    a, b, x = rng.normal(size=(n, n)), rng.normal(size=n), rng.uniform(0.5, 2, size=3)
    a = a @ a.T / n
    parts = [np.diag((np.arange(n) % 3 == k) * 1.0) for k in range(3)]

    def matrix(v):
        return a + sum(v[k] * parts[k] for k in range(3))

    def f(v):
        m, u, r = matrix(v), np.zeros(n), b.copy()
        p = r.copy()
        for _ in range(n * 3):
            step = (r @ r) / (p @ m @ p)
            u, new = u + step * p, r - step * (m @ p)
            if np.linalg.norm(new) < tolerance * np.linalg.norm(b):
                break
            p, r = new + (new @ new) / (r @ r) * p, new
        return float(b @ u)

    u = np.linalg.solve(matrix(x), b)
    right = np.array([-u @ part @ u for part in parts])
    return Problem(
        f, x, right, UNSURE, tolerance < 1e-10,
        clean=lambda v: b @ np.linalg.solve(matrix(v), b), analytic=True, inexact=True,
    )  # fmt: skip


@group
def newton_root(rng: Rng) -> Problem:
    """Kepler's equation by Newton's method to a tolerance."""
    tolerance, e = log_uniform(rng, -14, -2), rng.uniform(0.05, 0.7)
    x = np.array([rng.uniform(0.5, 2.5), e])

    def root(v, tolerance):
        u = v[0]
        for _ in range(50):
            step = (u - v[1] * math.sin(u) - v[0]) / (1 - v[1] * math.cos(u))
            u -= step
            if abs(step) < tolerance:
                break
        return u

    u = root(x, 0.0)
    slope = math.cos(u) / (1 - e * math.cos(u))
    return Problem(
        lambda v: math.sin(root(v, tolerance)), x, np.array([slope, slope * math.sin(u)]), UNSURE,
        tolerance < 1e-7, clean=_kepler, analytic=True, inexact=True,
    )  # fmt: skip


def _kepler(v):
    u = v[0]
    for _ in range(50):
        u = u - (u - v[1] * np.sin(u) - v[0]) / (1 - v[1] * np.cos(u))
    return np.sin(u)


@group(share=0.12, probes=False)
def inner_optimizer(rng: Rng) -> Problem:
    """The minimum over y, by an optimizer with a tolerance: the envelope theorem's gradient."""
    x, tolerance = rng.normal(size=2), log_uniform(rng, -8, -2)

    def inner(y, v):
        return (y - v[0]) ** 2 + 0.3 * math.cos(y * v[1]) + 0.1 * y**4

    def f(v):
        return optimize.minimize_scalar(
            lambda y: inner(y, v), bracket=(-1, 1), method="brent", options={"xtol": tolerance}
        ).fun

    best = optimize.minimize_scalar(
        lambda y: inner(y, x), bracket=(-1, 1), method="brent", options={"xtol": 1e-12}
    ).x
    right = np.array([-2 * (best - x[0]), -0.3 * best * math.sin(best * x[1])])
    return Problem(
        f,
        x,
        right,
        UNSURE,
        tolerance < 1e-5,
        inexact=True,
    )


@group
def euler_steps(rng: Rng) -> Problem:
    """An ODE by fixed steps, and the exact derivative of just these steps."""
    steps, x = int(rng.integers(10, 200)), rng.uniform(0.5, 1.5, size=2)
    h = 2.0 / steps

    def clean(v):
        z = 1.0 + 0 * v[0]
        for _ in range(steps):
            z = z + h * (v[0] * z * (1 - z / 3) - v[1] * z)
        return z

    return Problem(
        lambda v: float(clean(v)), x, slopes(clean, x), smooth=True, clean=clean, analytic=True
    )


@group
def euler_for_exact(rng: Rng) -> Problem:
    """The same with the gradient of the exact solution: the discretization error shows."""
    steps, a = int(10 ** rng.uniform(2.5, 3.5)), rng.uniform(0.3, 1.0)

    def f(v):
        return float((1 - v[0] / steps) ** steps)

    return Problem(
        f, np.array([a]), np.array([-math.exp(-a)]), UNSURE | WRONG,
        False, verified=False, variants=False,
    )  # fmt: skip


@group
def truncated_series(rng: Rng) -> Problem:
    """A series summed until its terms are small: the number of terms jumps."""
    tolerance, x = log_uniform(rng, -12, -3), rng.uniform(0.5, 3, size=2)

    def exponential(t):
        total = term = 1.0
        k = 0
        while abs(term) > tolerance:
            k += 1
            term *= t / k
            total += term
        return total

    return Problem(
        lambda v: sum(exponential(float(t)) for t in v), x, np.exp(x), UNSURE, tolerance < 1e-10,
        clean=lambda v: np.exp(v).sum(), analytic=True, inexact=True,
    )  # fmt: skip


@group(share=0.25)
def sparse_heat(rng: Rng) -> Problem:
    """Implicit Euler steps of the heat equation on a grid, by a sparse direct solver."""
    n, x = 20, rng.normal(size=20)
    lap = sparse.diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(n, n))
    step = np.linalg.inv(np.eye(n) - 0.1 * lap.toarray())
    w = rng.normal(size=n)
    factor = sparse.linalg.splu(sparse.csc_matrix(np.eye(n) - 0.1 * lap.toarray()))

    def f(v):
        for _ in range(3):
            v = factor.solve(np.ascontiguousarray(v))
        return float(w @ v**2)

    third = np.linalg.matrix_power(step, 3)
    return Problem(
        f, x, third.T @ (2 * w * (third @ x)), smooth=True, clean=lambda v: w @ (third @ v) ** 2,
        analytic=True,
    )  # fmt: skip


@group
def noisy_fit(rng: Rng) -> Problem:
    """Stochastic rounding of an inner result at 1e-9 ... 1e-5, from a hash of the input."""
    base, size = waves(rng, 3), log_uniform(rng, -9, -5)

    def f(v):
        noise = np.sin(1e17 * float(v.sum()) + 3.0)  # a hash: faster than the numbers are dense
        return float(base.f(v)) + size * noise

    return base.problem(f, plain=False)


def _granted(problem: Problem, rtol: float) -> Problem:
    """The same with a tolerance that is given: nothing is left to be called wrong."""
    return replace(problem, options={"rtol": rtol}, inexact=False)


@group(share=0.25, probes=False)
def adaptive_ode_granted(rng: Rng) -> Problem:
    return _granted(adaptive_ode(rng), 0.02)


@group
def fixed_point_granted(rng: Rng) -> Problem:
    return _granted(fixed_point(rng), 0.02)


@group
def implicit_layer_granted(rng: Rng) -> Problem:
    return _granted(implicit_layer(rng), 0.02)


@group
def euler_for_exact_granted(rng: Rng) -> Problem:
    return replace(_granted(euler_for_exact(rng), 0.02), accept=UNSURE, variants=True)


@group
def smooth_granted(rng: Rng) -> Problem:
    """A tolerance where none is needed must not cost a verdict: 1.1 x stays wrong."""
    options = {"rtol": log_uniform(rng, -8, -2), "atol": float(rng.choice([0.0, 1e-9]))}
    return some_smooth(rng).problem(options=options, smooth=True, changes=False)
