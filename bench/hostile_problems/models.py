"""Ordinary models: most differ from easy only by their structure, types or conditioning."""

from __future__ import annotations

import numpy as np
from scipy import interpolate, linalg

from .base import RIGHT, UNSURE, WRONG, Group, Problem, Rng, log_uniform, some_smooth

group = Group("models")


@group
def polynomial(rng: Rng) -> Problem:
    """Degree up to 8."""
    c, n = rng.normal(size=int(rng.integers(2, 10))), int(rng.integers(1, 5))
    x = rng.uniform(-2, 2, n)
    return Problem(
        lambda v: float(np.polynomial.polynomial.polyval(v, c).sum()),
        x,
        np.polynomial.polynomial.polyval(x, np.polynomial.polynomial.polyder(c)),
        RIGHT,
        clean=lambda v: np.polynomial.polynomial.polyval(v, c).sum(),
        analytic=True,
        smooth=True,
    )


@group
def any_smooth(rng: Rng) -> Problem:
    return some_smooth(rng).problem(accept=RIGHT, smooth=True)


@group
def complex_parameters(rng: Rng) -> Problem:
    """|A z - b|^2 with its gradient df/dRe + i df/dIm."""
    n = int(rng.integers(1, 5))
    a, b, z = (rng.normal(size=s) + 1j * rng.normal(size=s) for s in ((6, n), 6, n))
    return Problem(
        lambda v: float((np.abs(a @ v - b) ** 2).sum()), z, 2 * a.conj().T @ (a @ z - b), RIGHT,
        smooth=True,
    )  # fmt: skip


@group
def nested(rng: Rng) -> Problem:
    """Dicts in lists, 0-d arrays, a float32 leaf."""
    p = {
        "layers": [
            {"W": rng.normal(size=(3, 2)), "b": rng.normal(size=2)},
            {"W": rng.normal(size=(2, 2))},
        ],
        "scale": np.array(rng.uniform(0.5, 2)),
        "short": rng.normal(size=3).astype(np.float32),
    }
    data = rng.normal(size=(5, 3))

    def clean(p):
        first, second = p["layers"]
        h = np.tanh(data @ first["W"] + first["b"])
        out = h @ second["W"] * p["scale"]
        return (out**2).sum() / 2 + (p["short"].astype(np.result_type(p["scale"])) ** 3).sum()

    first, second = p["layers"]
    h = np.tanh(data @ first["W"] + first["b"])
    raw = h @ second["W"]
    out = raw * p["scale"]
    back = (out * p["scale"]) @ second["W"].T * (1 - h**2)
    right = {
        "layers": [
            {"W": data.T @ back, "b": back.sum(0)},
            {"W": h.T @ (out * p["scale"])},
        ],
        "scale": np.array((out * raw).sum()),
        "short": 3 * p["short"].astype(float) ** 2,
    }
    return Problem(lambda p: float(clean(p)), p, right, UNSURE)


@group
def zero_d(rng: Rng) -> Problem:
    """One number, as an array of no dimensions."""
    x = np.array(rng.normal())
    a = rng.normal()
    return Problem(
        lambda v: float(np.sin(a * v)), x, np.array(a * np.cos(a * x)), UNSURE,
        clean=lambda v: np.sin(a * v), analytic=True,
    )  # fmt: skip


@group
def matrix_leaf(rng: Rng) -> Problem:
    n, m = int(rng.integers(2, 5)), int(rng.integers(2, 5))
    w, x = rng.normal(size=(n, m)), rng.normal(size=(n, m))
    return Problem(
        lambda v: float((w * np.sin(v)).sum()), x, w * np.cos(x), RIGHT,
        clean=lambda v: (w * np.sin(v)).sum(), analytic=True, smooth=True,
    )  # fmt: skip


@group
def heavy_tails(rng: Rng) -> Problem:
    """Student t log-likelihood with outliers up to 1e6."""
    data = rng.standard_t(1.1, size=30) * log_uniform(rng, 0, 3)
    x = np.array([rng.normal(), rng.uniform(-1, 1)])

    def clean(v):
        z = (data - v[0]) / np.exp(v[1])
        return (2 * np.log(1 + z**2 / 3)).sum() + 30 * v[1]

    z = (data - x[0]) / np.exp(x[1])
    d = 4 * z / 3 / (1 + z**2 / 3)
    right = np.array([-(d / np.exp(x[1])).sum(), -(d * z).sum() + 30])
    return Problem(lambda v: float(clean(v)), x, right, UNSURE, clean=clean, analytic=True)


@group
def log_sum_exp(rng: Rng) -> Problem:
    n, c = int(rng.integers(2, 10)), log_uniform(rng, 0, 2.5)
    x = rng.normal(size=n) * c
    soft = np.exp(x - x.max())

    def f(v):
        return float(v.max() + np.log(np.exp(v - v.max()).sum()))

    def clean(v):
        return x.max() + np.log(np.exp(v - x.max()).sum())

    return Problem(f, x, soft / soft.sum(), UNSURE, clean=clean, analytic=True)


@group
def gaussian_process(rng: Rng) -> Problem:
    """Log marginal likelihood in log-hyperparameters, one vector."""
    t = np.sort(rng.uniform(0, 5, 12))
    y, x = np.sin(t) + 0.1 * rng.normal(size=12), rng.uniform(-0.7, 0.7, 3)
    x[2] -= rng.uniform(1, 3)
    square = (t[:, None] - t) ** 2

    def clean(v):
        s, ell, noise = np.exp(v)
        k = s**2 * np.exp(-square / (2 * ell**2)) + noise**2 * np.eye(12)
        return y @ np.linalg.solve(k, y) / 2 + np.log(np.linalg.det(k)) / 2

    def f(v):
        s, ell, noise = np.exp(v)
        k = s**2 * np.exp(-square / (2 * ell**2)) + noise**2 * np.eye(12)
        low = np.linalg.cholesky(k)
        return float((np.linalg.solve(low, y) ** 2).sum() / 2 + np.log(np.diag(low)).sum())

    s, ell, noise = np.exp(x)
    kernel = s**2 * np.exp(-square / (2 * ell**2))
    inverse = np.linalg.inv(kernel + noise**2 * np.eye(12))
    alpha = inverse @ y
    parts = (2 * kernel, kernel * square / ell**2, 2 * noise**2 * np.eye(12))
    right = np.array([((inverse - np.outer(alpha, alpha)) * part).sum() / 2 for part in parts])
    return Problem(f, x, right, UNSURE, clean=clean, analytic=True)


@group
def penalized_regression(rng: Rng) -> Problem:
    """Logistic regression with L2 on all but the intercept, one flat vector."""
    data = np.column_stack([rng.normal(size=(40, 4)), np.ones(40)])
    y, x, c = np.sign(rng.normal(size=40)), rng.normal(size=5), log_uniform(rng, -1, 1)
    mask = np.array([1.0, 1, 1, 1, 0])

    def clean(v):
        return np.log(1 + np.exp(-y * (data @ v))).sum() + c / 2 * (mask * v**2).sum()

    slope = -data.T @ (y / (1 + np.exp(y * (data @ x))))
    right = slope + c * mask * x
    return Problem(
        lambda v: float(clean(v)), x, right, RIGHT, clean=clean, analytic=True, smooth=True,
        extra={"no penalty": (slope, WRONG)},
    )  # fmt: skip


@group
def many_bodies(rng: Rng) -> Problem:
    """Coulomb or Lennard-Jones energies; two of the bodies may be close."""
    n, close = int(rng.integers(2, 6)), log_uniform(rng, -3, 0)
    x = rng.normal(size=(n, 3))
    x[1] = x[0] + close * np.array([1.0, 0.3, -0.2])
    charge = rng.choice([-1.0, 1.0], n)
    upper = np.triu(np.ones((n, n)), 1)

    def clean(v):
        d = v[:, None] - v[None]
        r = np.sqrt((d**2).sum(-1) + np.eye(n))
        return (upper * np.outer(charge, charge) / r).sum()

    d = x[:, None] - x[None]
    r3 = ((d**2).sum(-1) + np.eye(n)) ** 1.5
    pair = np.outer(charge, charge) * (1 - np.eye(n)) / r3
    return Problem(
        lambda v: float(clean(v)), x, -(pair[..., None] * d).sum(1), UNSURE, close > 1e-1,
        clean=clean, analytic=True,
    )  # fmt: skip


@group
def lennard_jones(rng: Rng) -> Problem:
    n = int(rng.integers(2, 5))
    x = rng.normal(size=(n, 3)) * 0.2 + 1.2 * np.arange(n)[:, None] * np.array([1.0, 0.4, 0.1])
    i, j = np.triu_indices(n, 1)

    def clean(v):
        s = ((v[i] - v[j]) ** 2).sum(-1)
        return 4 * (s**-6 - s**-3).sum()

    d = x[i] - x[j]
    s = (d**2).sum(-1)
    pull = (4 * (-12 * s**-7 + 6 * s**-4))[:, None] * d
    right = np.zeros_like(x)
    np.add.at(right, i, pull)
    np.add.at(right, j, -pull)
    return Problem(lambda v: float(clean(v)), x, right, UNSURE, clean=clean, analytic=True)


@group(share=0.25)
def matrix_exponential(rng: Rng) -> Problem:
    n = int(rng.integers(2, 4))
    a, w = rng.normal(size=(n, n)), rng.normal(size=(n, n))
    right = linalg.expm_frechet(a.T, w, compute_expm=False)
    return Problem(
        lambda v: float((w * linalg.expm(v)).sum()), a, right, UNSURE,
        clean=lambda v: (w * linalg.expm(v)).sum(),
    )  # fmt: skip


@group
def determinant(rng: Rng) -> Problem:
    n, decades = int(rng.integers(2, 5)), rng.uniform(0, 8)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a = q @ np.diag(np.logspace(0, -decades, n)) @ linalg.expm(rng.normal(size=(n, n)) * 0.2)
    right = np.linalg.det(a) * np.linalg.inv(a).T
    return Problem(
        lambda v: float(np.linalg.det(v)), a, right, UNSURE, clean=np.linalg.det, analytic=True
    )


@group
def log_determinant(rng: Rng) -> Problem:
    n, decades = int(rng.integers(2, 5)), rng.uniform(0, 7)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a = q @ np.diag(np.logspace(0, -decades, n)) @ linalg.expm(rng.normal(size=(n, n)) * 0.2)
    return Problem(
        lambda v: float(np.linalg.slogdet(v)[1]), a, np.linalg.inv(a).T, UNSURE,
        plain=decades < 3,
    )  # fmt: skip


@group
def matrix_logarithm(rng: Rng) -> Problem:
    """The sum of squared logarithms of eigenvalues."""
    n = 3
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    values = log_uniform(rng, -4, 1, n)
    a = q @ np.diag(values) @ q.T

    def f(v):
        return float((np.log(np.linalg.eigvalsh((v + v.T) / 2)) ** 2).sum())

    right = q @ np.diag(2 * np.log(values) / values) @ q.T
    return Problem(f, a, right, UNSURE, values.min() > 1e-2, quiet=values.min() > 0.3)


@group
def condition_by_inverse(rng: Rng) -> Problem:
    """b . A^-1 c of ill-conditioned A."""
    n, decades = 3, rng.uniform(0, 10)
    q, _ = np.linalg.qr(rng.normal(size=(n, n)))
    p, _ = np.linalg.qr(rng.normal(size=(n, n)))
    a = q @ np.diag(np.logspace(0, -decades, n)) @ p
    b, c = rng.normal(size=n), rng.normal(size=n)
    left, u = np.linalg.solve(a.T, b), np.linalg.solve(a, c)
    return Problem(
        lambda v: float(b @ np.linalg.solve(v, c)), a, -np.outer(left, u), UNSURE, decades < 3,
        clean=lambda v: b @ np.linalg.solve(v, c), analytic=True,
    )  # fmt: skip


@group
def spline_table(rng: Rng) -> Problem:
    """A cubic spline through data: its third derivative jumps at the knots."""
    knots = np.linspace(0, 1, 12)
    spline = interpolate.CubicSpline(knots, rng.normal(size=12))
    n = int(rng.integers(1, 5))
    x = np.where(rng.random(n) < 0.5, knots[rng.integers(1, 11, n)], rng.uniform(0.1, 0.9, n))
    slope = spline.derivative()
    return Problem(lambda v: float(spline(v).sum()), x, slope(x), UNSURE)


@group
def monotone_table(rng: Rng) -> Problem:
    """A monotone interpolant: its second derivative jumps at the knots."""
    knots = np.linspace(0, 1, 12)
    table = interpolate.PchipInterpolator(knots, np.cumsum(rng.uniform(0, 1, 12)))
    n = int(rng.integers(1, 5))
    x = np.where(rng.random(n) < 0.5, knots[rng.integers(1, 11, n)], rng.uniform(0.1, 0.9, n))
    return Problem(lambda v: float(table(v).sum()), x, table.derivative()(x), UNSURE)


@group
def mixture(rng: Rng) -> Problem:
    """A Gaussian mixture: weights by softmax, scales by exp, all in one vector."""
    data, k = np.concatenate([rng.normal(-2, 1, 20), rng.normal(2, 0.5, 20)]), 2
    x = np.concatenate([rng.normal(size=k) / 2, [-1.5, 1.7], rng.normal(size=k) / 3])

    def clean(v):
        z, m, s = v[:k], v[k : 2 * k], np.exp(v[2 * k :])
        log_w = z - np.log(np.exp(z).sum())
        terms = np.exp(log_w - ((data[:, None] - m) / s) ** 2 / 2 - np.log(s))
        return -np.log(terms.sum(1)).sum()

    z, m, s = x[:k], x[k : 2 * k], np.exp(x[2 * k :])
    log_w = z - np.log(np.exp(z).sum())
    d = (data[:, None] - m) / s
    terms = np.exp(log_w - d**2 / 2 - np.log(s))
    r = terms / terms.sum(1, keepdims=True)
    right = -np.concatenate(
        [(r - np.exp(log_w)).sum(0), (r * d / s).sum(0), (r * (d**2 - 1)).sum(0)]
    )
    return Problem(
        lambda v: float(clean(v)), x, right, RIGHT, clean=clean, analytic=True, smooth=True
    )


@group
def recurrent(rng: Rng) -> Problem:
    """A recurrent network over many steps: gradients that explode or vanish."""
    n, steps = 3, int(rng.integers(2, 40))
    p = {"W": rng.normal(size=(n, n)) * rng.uniform(0.3, 1.2), "U": rng.normal(size=(n, 2))}
    inputs = rng.normal(size=(steps, 2))

    def clean(p):
        h = np.zeros(n)
        for each in inputs:
            h = np.tanh(p["W"] @ h + p["U"] @ each)
        return (h**2).sum()

    states = [np.zeros(n)]
    for each in inputs:
        states.append(np.tanh(p["W"] @ states[-1] + p["U"] @ each))
    d, right = 2 * states[-1], {"W": np.zeros((n, n)), "U": np.zeros((n, 2))}
    for k in range(steps, 0, -1):
        d = d * (1 - states[k] ** 2)
        right["W"] += np.outer(d, states[k - 1])
        right["U"] += np.outer(d, inputs[k - 1])
        d = p["W"].T @ d
    return Problem(
        lambda p: float(clean(p)), p, right, UNSURE, steps < 10, clean=clean, analytic=True
    )


@group
def option_price(rng: Rng) -> Problem:
    """Black and Scholes with a spot in cents and a time in days: badly scaled greeks."""
    from scipy.special import ndtr

    spot = rng.uniform(50, 150) * float(rng.choice([1.0, 1e-2]))
    strike, r = spot * rng.uniform(0.8, 1.2), 0.03
    x = np.array([spot, rng.uniform(0.1, 0.5), rng.uniform(0.05, 2)])

    def d1(v):
        return (np.log(v[0] / strike) + (r + v[1] ** 2 / 2) * v[2]) / (v[1] * np.sqrt(v[2]))

    def f(v):
        a = d1(v)
        return float(v[0] * ndtr(a) - strike * np.exp(-r * v[2]) * ndtr(a - v[1] * np.sqrt(v[2])))

    a = d1(x)
    root = np.sqrt(x[2])
    density = np.exp(-(a**2) / 2) / np.sqrt(2 * np.pi)
    right = np.array(
        [
            ndtr(a),
            x[0] * density * root,
            x[0] * density * x[1] / (2 * root)
            + r * strike * np.exp(-r * x[2]) * ndtr(a - x[1] * root),
        ]
    )
    return Problem(f, x, right, UNSURE)
