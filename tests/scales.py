"""Functions with exact derivatives, at points where they change on a scale of their own."""

from __future__ import annotations

import numpy as np

# name, f for NumPy, f for mpmath, points; those of even position helped to choose constants.
FUNCTIONS = [
    ("log", np.log, lambda m, x: m.log(x), (1.0, 0.1, 1e-3, 1e-5, 1e-6, 1e-9, 50.0)),
    ("sqrt", np.sqrt, lambda m, x: m.sqrt(x), (1.0, 1e-2, 1e-4, 1e-7, 300.0)),
    ("exp", np.exp, lambda m, x: m.exp(x), (5.0, 1e-5, -20.0, 0.0)),
    ("sin", np.sin, lambda m, x: m.sin(x), (1.0, 100.0, 1e-5)),
    ("cos", np.cos, lambda m, x: m.cos(x), (1e-3, 2.0, 300.0)),
    ("1 / x", lambda x: 1 / x, lambda m, x: 1 / x, (1.0, 0.01, 1e-5, -1e-3, 1e-8)),
    ("arctanh", np.arctanh, lambda m, x: m.atanh(x), (0.5, 0.98, 1e-4)),
    ("x log x", lambda x: x * np.log(x), lambda m, x: x * m.log(x), (1e-6, 1e-3, 2.0)),
    ("x / (x + 1e-5)", lambda x: x / (x + 1e-5), lambda m, x: x / (x + m.mpf(1e-5)),
     (1e-5, 1e-4, 1e-6)),
    ("x ** 2.5", lambda x: np.power(x, 2.5), lambda m, x: x ** m.mpf(2.5), (1e-3, 1e-6, 40.0)),
    ("log1p", np.log1p, lambda m, x: m.log1p(x), (1e-8, -0.9, 3.0)),
    ("1 / x ** 2", lambda x: 1 / x**2, lambda m, x: 1 / x**2, (0.05, 1e-4, 7.0)),
    ("1e4 + log", lambda x: 1e4 + np.log(x), lambda m, x: 10**4 + m.log(x), (1e-3, 1e-6, 1.0)),
    ("cbrt", np.cbrt, lambda m, x: m.cbrt(x), (1e-3, 1e-8, 8.0)),
    ("logit", lambda x: np.log(x / (1 - x)), lambda m, x: m.log(x / (1 - x)), (1e-4, 0.5, 1e-7)),
    ("tanh(100 x)", lambda x: np.tanh(100 * x), lambda m, x: m.tanh(100 * x), (1e-3, 0.02, 1e-5)),
    ("1 / (1 + 25 x x)", lambda x: 1 / (1 + 25 * x * x), lambda m, x: 1 / (1 + 25 * x * x),
     (0.1, 0.9, 1e-3)),
    ("sin(1 / x)", lambda x: np.sin(1 / x), lambda m, x: m.sin(1 / x), (0.5, 0.05)),
]  # fmt: skip
POINTS = [(name, f, exact, x) for name, f, exact, points in FUNCTIONS for x in points]
IDS = [f"{name} at {x:g}" for name, _, _, x in POINTS]


def exact_derivative(mpmath, exact, x, n=1):
    """The n-th derivative to double precision."""
    with mpmath.workdps(60):
        return float(mpmath.diff(lambda t: exact(mpmath, t), mpmath.mpf(float(x)), n))
