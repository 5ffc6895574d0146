"""Functions that are computed on stairs, with the derivatives of what they stand for.

Terms that cancel leave stairs, as do rounding and tables inside a function, and solvers that stop
early. For `estimates.py`; each closed form is written once, for NumPy and for mpmath.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mpmath
import numpy as np
from estimate_problems import EXACT, FLOATS, Hard, Problem, derivative, elementwise

# Digits of the exact derivatives: some 40 of them cancel.
DIGITS = 90

SMALL = (
    *(1.3e-10, 1.2e-8, 3.7e-8, 1e-7, 4.1e-7, 1e-6, 5.3e-6),
    *(1e-5, 1e-4, 7.7e-4, 1e-3, 1e-2, 0.05, 0.3),
)
LARGE = (3.0, 31.0, 1e2, 1.7e3, 1e4, 2.3e5, 1e6, 3.1e7, 1e8, 4.4e9)
BESIDE_1 = (0.99, 0.9999, 1.001, 1.00001, 1.01, 1.2)

# Terms that cancel, and where: constants are those of float64 in both namespaces.
FORMS: dict[str, tuple[Callable[[Any, Any], Any], tuple[float, ...]]] = {
    "versine / x^2": (lambda x, m: (1 - m.cos(x)) / x**2, SMALL),
    "versine": (lambda x, m: 1 - m.cos(x), SMALL),
    "exponential - 1 - x": (lambda x, m: (m.exp(x) - 1 - x) / x**2, SMALL),
    "exponential - 1": (lambda x, m: (m.exp(x) - 1) / x, SMALL),
    "log(1 + x) / x": (lambda x, m: m.log(1 + x) / x, SMALL),
    "x - log(1 + x)": (lambda x, m: (x - m.log(1 + x)) / x**2, SMALL),
    "tangent - sine": (lambda x, m: (m.tan(x) - m.sin(x)) / x**3, SMALL),
    "roots": (lambda x, m: m.sqrt(1 + x) - m.sqrt(1 - x), SMALL),
    "roots / x": (lambda x, m: (m.sqrt(1 + x) - m.sqrt(1 - x)) / x, SMALL),
    "sinh by exponentials": (lambda x, m: (m.exp(x) - m.exp(-x)) / 2 / x, SMALL),
    "tanh by exponentials": (
        lambda x, m: (m.exp(x) - m.exp(-x)) / (m.exp(x) + m.exp(-x)),
        SMALL,
    ),
    "x - sine": (lambda x, m: (x - m.sin(x)) / x**3, SMALL),
    "annuity": (lambda x, m: (1 - (1 + x) ** -30) / x, SMALL),
    "monthly savings": (lambda x, m: ((1 + x / 12) ** 360 - 1) / (x / 12), SMALL),
    "installment": (lambda x, m: x * (1 + x) ** 60 / ((1 + x) ** 60 - 1), SMALL),
    "root - 1": (lambda x, m: m.sqrt(1 + x * x) - 1, SMALL),
    "arccosine beside 1": (lambda x, m: m.arccos(1 - x), SMALL[:-1]),
    "log of a ratio": (lambda x, m: m.log((1 + x) / (1 - x)), SMALL),
    "limit of e": (lambda x, m: (1 + x) ** (1 / x), SMALL[1:]),
    "distance on a sphere": (
        lambda x, m: m.arccos(m.cos(0.7) ** 2 + m.sin(0.7) ** 2 * m.cos(x)),
        SMALL[6:],
    ),
    "logistic - 1/2": (lambda x, m: 1 / (1 + m.exp(-x)) - 0.5, SMALL),
    "langevin": (lambda x, m: m.cosh(x) / m.sinh(x) - 1 / x, SMALL[3:]),
    "quotient of a sine": (lambda x, m: (m.sin(1.3 + x) - m.sin(1.3)) / x, SMALL),
    "second quotient": (
        lambda x, m: (m.exp(1 + x) - 2 * math.e + m.exp(1 - x)) / x**2,
        SMALL[6:],
    ),
    "heat kernel": (lambda x, m: (1 - m.exp(-x)) / x - m.exp(-x), SMALL),
    "nelson-siegel": (
        lambda x, m: 3 + 2 * (1 - m.exp(-x / 2)) / (x / 2) - m.exp(-x / 2),
        SMALL,
    ),
    "box-cox": (lambda x, m: (3.3**x - 1) / x, SMALL),
    "risk aversion": (lambda x, m: (2.7**x - 1) / x, SMALL),
    "differences of roots": (lambda x, m: m.sqrt(x + 1) - m.sqrt(x), LARGE),
    "differences of reciprocals": (lambda x, m: 1 / x - 1 / (x + 1), LARGE),
    "differences of logarithms": (lambda x, m: m.log(x + 1) - m.log(x), LARGE),
    "hyperbola": (lambda x, m: x - m.sqrt(x * x - 1), LARGE),
    "root of a quadratic": (lambda x, m: (-x + m.sqrt(x * x - 4)) / 2, LARGE),
    "small root of a quadratic": (lambda x, m: (-1 + m.sqrt(1 - 4 * x)) / 2, SMALL[:-1]),
    "differences of cubes": (lambda x, m: (x + 1) ** 3 - x**3 - 3 * x * x - 3 * x, LARGE[:6]),
    "tail of the arctangent": (lambda x, m: math.pi / 2 - m.arctan(x), LARGE[:7]),
    "x times roots": (lambda x, m: x * (m.sqrt(x + 1) - m.sqrt(x)), LARGE),
    "far wave": (lambda x, m: m.sin(x + 1e6), (1e-3, 0.2, 3.0)),
    "x + 1e9 - 1e9": (lambda x, m: m.exp((x + 1e9) - 1e9), SMALL[8:]),
    "variance": (
        lambda x, m: (
            sum((x + d) ** 2 for d in (0.1, 0.4, 0.9)) / 3
            - (sum(x + d for d in (0.1, 0.4, 0.9)) / 3) ** 2
        ),
        LARGE,
    ),
    "variance of scaled": (
        lambda x, m: (
            sum((1e4 + x * d) ** 2 for d in (1.0, 4.0, 9.0)) / 3
            - (sum(1e4 + x * d for d in (1.0, 4.0, 9.0)) / 3) ** 2
        ),
        (*SMALL[3:], 1.0, 7.0),
    ),
    "1 + x^2 - 1": (lambda x, m: ((1 + x * x) - 1) * 3 + x**3, SMALL),
    "expanded polynomial": (
        lambda x, m: x**7 - 7 * x**6 + 21 * x**5 - 35 * x**4 + 35 * x**3 - 21 * x**2 + 7 * x - 1,
        BESIDE_1,
    ),
    "log-cosh": (lambda x, m: m.log(m.exp(x) + m.exp(-x)) - m.log(2), SMALL),
    "kepler": (lambda x, m: x - m.sin(x), SMALL),
    "entropy": (
        lambda x, m: -(0.5 + x) * m.log(0.5 + x) - (0.5 - x) * m.log(0.5 - x),
        SMALL[:-1],
    ),
    "relativity": (lambda x, m: 1 / m.sqrt(1 - x * x) - 1, SMALL[:-1]),
    "sine + versine": (lambda x, m: m.sin(x) + 1e3 * (1 - m.cos(x)) / x, SMALL[2:]),
    "exponential of stairs": (lambda x, m: m.exp((1 - m.cos(x)) / x**2), SMALL),
}


def stairs() -> tuple[Problem, ...]:
    """All of them; every second one, from the first on, was seen while fastgrad was tuned."""
    return tuple(
        Problem(f"{name} at {x:.15g}", elementwise(f), x, exact)
        for name, f, x, exact in itertools.chain(_forms(), _rounded(), _solved(), _read())
    )


def _forms() -> Iterator[Hard]:
    for name, (f, points) in FORMS.items():
        for x in points:
            exact = derivative(lambda t, f=f: f(t, EXACT), x, DIGITS)
            yield name, lambda t, f=f: f(np.float64(t), FLOATS), x, exact


def _rounded() -> Iterator[Hard]:
    """Numbers of single precision inside a function, and decimal ones."""
    single = np.float32
    for x in (1e-6, 1e-4, 1e-2, 0.3, 2.0, 30.0, 1e3):
        slow, grown = math.exp(-x / 50), math.exp(x / 40)
        yield (
            "float32 factor",
            lambda t: float(np.exp(-single(t) / single(50))) * t,
            x,
            slow * (1 - x / 50),
        )
        yield "float32 sum", lambda t: float(single(1) + single(t)) + t, x, 2.0
        yield (
            "float32 value",
            lambda t: float(single(math.sin(t) * t)),
            x,
            math.cos(x) * x + math.sin(x),
        )
        for digits in (3, 6, 9):
            title = f"in {digits} digits"
            yield f"x {title}", lambda t, k=digits: round(t, k) ** 2 * t, x, 3 * x * x
            yield (
                f"factor {title}",
                lambda t, k=digits: t * round(math.exp(t / 40), k),
                x,
                grown * (1 + x / 40),
            )
            yield (
                f"value {title}",
                lambda t, k=digits: round(math.exp(t / 40), k),
                x,
                grown / 40,
            )


def _solved() -> Iterator[Hard]:
    """Solutions by bisection, to tolerances."""
    for x in (0.02, 0.5, 2.0, 7.0, 40.0):
        with mpmath.workdps(DIGITS):
            start = min(x, x ** (1 / 3))
            solution = float(mpmath.findroot(lambda z, x=x: z**3 + z - x, start))
        slope = 1 / (3 * solution * solution + 1)
        for tolerance in (1e-4, 1e-8, 1e-11):
            solve = partial(_bisection, tolerance=tolerance)
            title = f"bisection to {tolerance:g}"
            yield title, solve, x, slope
            yield f"{title}, times x", lambda t, f=solve: f(t) * t, x, slope * x + solution


def _bisection(t: float, tolerance: float) -> float:
    """The solution of z^3 + z = t."""
    low, high = 0.0, 2 * max(1.0, t)
    while high - low > tolerance * high:
        middle = (low + high) / 2
        if middle**3 + middle < t:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _read() -> Iterator[Hard]:
    """Tables without interpolation, and amounts in cents."""
    coarse, fine = np.sin(np.linspace(0, 10, 10**4 + 1)), np.sin(np.linspace(0, 10, 10**6 + 1))
    for x in (0.02342, 0.5123, 2.31237, 7.71234):
        product = math.cos(x) * x + math.sin(x)
        yield "table", lambda t: _entry(coarse, int(t * 1e3)) * t, x, product
        yield "nearest in a table", lambda t: _entry(coarse, round(t * 1e3)) + t, x, math.cos(x) + 1
        yield "fine table", lambda t: _entry(fine, int(t * 1e5)) * t, x, product
        yield (
            "cents",
            lambda t: math.floor(t * 1e5 * math.exp(0.3 * t) * 100) / 100,
            x,
            1e5 * math.exp(0.3 * x) * (1 + 0.3 * x),
        )


def _entry(table: np.ndarray, place: int) -> float:
    return float(table[place]) if 0 <= place < len(table) else math.nan
