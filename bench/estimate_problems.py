"""Functions of one number with exact derivatives, for `estimates.py`: a table, and hard ones.

Each function is written once, for NumPy and for mpmath: it takes the number and a namespace.
"""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mpmath
import numpy as np
from scipy import special

# Digits of the exact derivatives: those of float64 twice, and once more for their difference.
DIGITS = 60
# Units of x: a table that is right at 1 alone would say little of dollars or of meters.
UNITS = (1e-6, 1.0, 1e6)

FLOATS = SimpleNamespace(
    **{
        name: getattr(np, name)
        for name in (
            *("sin", "cos", "tan", "exp", "log", "sqrt", "sinh", "cosh", "tanh", "log1p", "expm1"),
            *("arctan", "arcsin", "arccos", "arcsinh", "arctanh", "cbrt", "hypot", "abs"),
        )
    },
    erf=special.erf,
    erfc=special.erfc,
    gamma=special.gamma,
    gammaln=special.gammaln,
    digamma=special.digamma,
    j0=special.j0,
    j1=special.j1,
    i0=special.i0,
    k0=special.k0,
    airy=lambda x: special.airy(x)[0],
    lambertw=lambda x: special.lambertw(x).real,
    zeta=lambda x: special.zeta(x, 1),
    spence=special.spence,
    ellipk=special.ellipk,
    expi=special.expi,
    expit=special.expit,
    dawsn=special.dawsn,
    pi=np.pi,
)
EXACT = SimpleNamespace(
    **{
        name: getattr(mpmath, name)
        for name in [
            "sin",
            "cos",
            "tan",
            "exp",
            "log",
            "sqrt",
            "sinh",
            "cosh",
            "tanh",
            "log1p",
            "expm1",
            "cbrt",
            "hypot",
        ]
    },
    abs=abs,
    arctan=mpmath.atan,
    arcsin=mpmath.asin,
    arccos=mpmath.acos,
    arcsinh=mpmath.asinh,
    arctanh=mpmath.atanh,
    erf=mpmath.erf,
    erfc=mpmath.erfc,
    gamma=mpmath.gamma,
    gammaln=mpmath.loggamma,
    digamma=mpmath.digamma,
    j0=lambda x: mpmath.besselj(0, x),
    j1=lambda x: mpmath.besselj(1, x),
    i0=lambda x: mpmath.besseli(0, x),
    k0=lambda x: mpmath.besselk(0, x),
    airy=mpmath.airyai,
    lambertw=lambda x: mpmath.lambertw(x).real,
    zeta=mpmath.zeta,
    spence=lambda x: mpmath.polylog(2, 1 - x),
    ellipk=mpmath.ellipk,
    expi=mpmath.ei,
    expit=lambda x: 1 / (1 + mpmath.exp(-x)),
    dawsn=lambda x: mpmath.sqrt(mpmath.pi) / 2 * mpmath.exp(-x * x) * mpmath.erfi(x),
    pi=mpmath.pi,
)


@dataclass(frozen=True)
class Problem:
    """A function of one number, a point and the exact derivative there."""

    name: str
    f: Callable[[Any], Any]  # of a float64, or of an array of them, elementwise
    x: float
    exact: float


# What each function is, and where it is differentiated.
TABLE: dict[str, tuple[Callable[[Any, Any], Any], tuple[float, ...]]] = {
    "sine": (lambda x, m: m.sin(x), (0.3, 1.5, 20.0)),
    "cosine": (lambda x, m: m.cos(x), (0.01, 1.0, -7.0)),
    "tangent": (lambda x, m: m.tan(x), (0.2, 1.4)),
    "exponential": (lambda x, m: m.exp(x), (-3.0, 0.5, 9.0)),
    "steep exponential": (lambda x, m: m.exp(20 * x), (0.1, -0.5)),
    "decay": (lambda x, m: m.exp(-x), (0.7, 12.0)),
    "gaussian": (lambda x, m: m.exp(-x * x / 2), (0.1, 1.0, 4.0)),
    "narrow gaussian": (lambda x, m: m.exp(-200 * (x - 1) ** 2), (0.95, 1.1)),
    "logarithm": (lambda x, m: m.log(x), (0.02, 1.3, 50.0)),
    "log of log": (lambda x, m: m.log(m.log(x)), (2.0, 30.0)),
    "x log x": (lambda x, m: x * m.log(x), (0.05, 0.4, 3.0)),
    "log1p": (lambda x, m: m.log1p(x), (0.001, 2.0)),
    "expm1": (lambda x, m: m.expm1(x), (0.001, 1.0)),
    "square root": (lambda x, m: m.sqrt(x), (0.01, 2.0, 300.0)),
    "cube root": (lambda x, m: m.cbrt(x), (0.03, 5.0)),
    "square": (lambda x, m: x * x, (0.5, -30.0)),
    "cube": (lambda x, m: x**3, (1.0, -0.2)),
    "fourth power": (lambda x, m: x**4 - x, (0.9, 2.0)),
    "ninth power": (lambda x, m: x**9, (0.8, 3.0)),
    "high power": (lambda x, m: x**40, (0.9, 1.1)),
    "power 2.5": (lambda x, m: x**2.5, (0.1, 4.0)),
    "power -1.5": (lambda x, m: x**-1.5, (0.3, 10.0)),
    "reciprocal": (lambda x, m: 1 / x, (0.05, -2.0, 40.0)),
    "reciprocal square": (lambda x, m: 1 / x**2, (0.1, 3.0)),
    "lorentzian": (lambda x, m: 1 / (1 + x * x), (0.2, 3.0)),
    "resonance": (lambda x, m: 1 / ((x - 1) ** 2 + 1e-3), (1.02, 0.9)),
    "runge": (lambda x, m: 1 / (1 + 25 * x * x), (0.3, 0.9)),
    "quotient": (lambda x, m: (x * x - 2) / (x + 3), (1.0, -2.5)),
    "hyperbolic sine": (lambda x, m: m.sinh(x), (0.1, 4.0)),
    "hyperbolic cosine": (lambda x, m: m.cosh(x), (0.1, -3.0)),
    "hyperbolic tangent": (lambda x, m: m.tanh(x), (0.3, 2.0, 6.0)),
    "step of tanh": (lambda x, m: m.tanh(50 * (x - 1)), (1.01, 0.95)),
    "logistic": (lambda x, m: m.expit(x), (-1.0, 5.0)),
    "softplus": (lambda x, m: m.log1p(m.exp(x)), (-2.0, 3.0)),
    "swish": (lambda x, m: x * m.expit(x), (-1.0, 2.0)),
    "gelu": (lambda x, m: x * m.erfc(-x / 2**0.5) / 2, (-0.5, 1.5)),
    "log-cosh": (lambda x, m: m.log(m.cosh(x)), (0.5, 3.0)),
    "arctangent": (lambda x, m: m.arctan(x), (0.2, 10.0)),
    "arcsine": (lambda x, m: m.arcsin(x), (0.3, 0.99)),
    "arccosine": (lambda x, m: m.arccos(x), (-0.4, 0.9)),
    "arcsinh": (lambda x, m: m.arcsinh(x), (0.1, 25.0)),
    "arctanh": (lambda x, m: m.arctanh(x), (0.4, -0.98)),
    "error function": (lambda x, m: m.erf(x), (0.2, 2.0)),
    "complementary error": (lambda x, m: m.erfc(x), (0.5, 3.0)),
    "log of the normal tail": (lambda x, m: m.log(m.erfc(x)), (1.0, 4.0)),
    "gamma": (lambda x, m: m.gamma(x), (0.6, 4.5)),
    "log-gamma": (lambda x, m: m.gammaln(x), (0.3, 8.0, 100.0)),
    "digamma": (lambda x, m: m.digamma(x), (0.7, 5.0)),
    "bessel j0": (lambda x, m: m.j0(x), (1.0, 8.0)),
    "bessel j1": (lambda x, m: m.j1(x), (0.5, 12.0)),
    "bessel i0": (lambda x, m: m.i0(x), (1.0, 6.0)),
    "bessel k0": (lambda x, m: m.k0(x), (0.5, 3.0)),
    "airy": (lambda x, m: m.airy(x), (-2.0, 1.0)),
    "lambert": (lambda x, m: m.lambertw(x), (0.5, 10.0)),
    "zeta": (lambda x, m: m.zeta(x), (1.5, 4.0)),
    "dilogarithm": (lambda x, m: m.spence(x), (0.5, 3.0)),
    "elliptic": (lambda x, m: m.ellipk(x), (0.3, 0.95)),
    "exponential integral": (lambda x, m: m.expi(x), (0.5, 5.0)),
    "dawson": (lambda x, m: m.dawsn(x), (0.5, 2.0)),
    "fast sine": (lambda x, m: m.sin(100 * x), (0.31, 1.2)),
    "chirp": (lambda x, m: m.sin(x**3), (1.0, 4.0)),
    "sine of reciprocal": (lambda x, m: m.sin(1 / x), (0.03, 0.5)),
    "sine of exponential": (lambda x, m: m.sin(m.exp(x)), (1.0, 5.0)),
    "damped wave": (lambda x, m: m.exp(-x / 3) * m.cos(9 * x), (0.4, 6.0)),
    "two scales": (lambda x, m: m.sin(x) + m.sin(300 * x) / 300, (0.5, 2.1)),
    "small ripple": (lambda x, m: x * x + 1e-4 * m.sin(1e4 * x), (0.7, 1.9)),
    "beat": (lambda x, m: m.cos(20 * x) * m.cos(21 * x), (0.3, 2.0)),
    "tower": (lambda x, m: m.exp(m.sin(m.exp(m.cos(x)))), (0.5, 2.0)),
    "x to the x": (lambda x, m: m.exp(x * m.log(x)), (0.3, 2.5)),
    "sinc": (lambda x, m: m.sin(x) / x, (0.1, 4.0)),
    "planck": (lambda x, m: x**3 / m.expm1(x), (0.2, 5.0)),
    "gibbs": (lambda x, m: x * m.log(x) + (1 - x) * m.log(1 - x), (0.2, 0.97)),
    "logit": (lambda x, m: m.log(x / (1 - x)), (0.1, 0.999)),
    "lennard-jones": (lambda x, m: 4 * (x**-12 - x**-6), (0.95, 2.5)),
    "morse": (lambda x, m: (1 - m.exp(-2 * (x - 1))) ** 2, (0.7, 3.0)),
    "van der waals": (lambda x, m: 8 / (3 * x - 1) - 3 / x**2, (0.6, 2.0)),
    "kepler": (lambda x, m: x - 0.9 * m.sin(x), (0.1, 2.0)),
    "relativity": (lambda x, m: 1 / m.sqrt(1 - x * x), (0.1, 0.99)),
    "black-scholes": (
        lambda x, m: x * m.erfc(-m.log(x) / 2**0.5) / 2 - m.erfc(-m.log(x) / 2**0.5 + 0.1) / 2,
        (0.9, 1.2),
    ),
    "annuity": (lambda x, m: (1 - (1 + x) ** -30) / x, (0.03, 0.2)),
    "discount": (lambda x, m: m.exp(-30 * x) * 1e5, (0.04, 0.3)),
    "likelihood": (lambda x, m: -7 * m.log(x) - 3 * m.log(1 - x), (0.2, 0.7)),
    "poisson": (lambda x, m: x - 12 * m.log(x), (3.0, 20.0)),
    "cauchy": (lambda x, m: m.log(1 + (x - 2) ** 2) + m.log(1 + (x + 1) ** 2), (0.4, 8.0)),
    "student": (lambda x, m: -3 * m.log1p(x * x / 5), (0.7, 30.0)),
    "gompertz": (lambda x, m: m.exp(-2 * m.exp(-0.8 * x)), (0.5, 4.0)),
    "hill": (lambda x, m: x**4 / (1 + x**4), (0.6, 1.8)),
    "michaelis": (lambda x, m: 3 * x / (0.2 + x), (0.05, 6.0)),
    "arrhenius": (lambda x, m: m.exp(-8 / x), (0.9, 3.0)),
    "antoine": (lambda x, m: m.exp(4.7 - 1400 / (x + 200)), (25.0, 90.0)),
    "colebrook": (lambda x, m: (m.log(x / 3.7 + 1e-4)) ** -2, (0.002, 0.05)),
    "spring": (lambda x, m: (m.sqrt(1 + x * x) - 1) ** 2, (0.3, 2.0)),
    "catenary": (lambda x, m: x * m.cosh(1 / x), (0.5, 2.0)),
    "pendulum": (lambda x, m: m.ellipk(m.sin(x / 2) ** 2), (0.5, 2.8)),
    "wilkinson": (lambda x, m: (x - 1) * (x - 2) * (x - 3) * (x - 4) * (x - 5), (1.5, 4.9)),
    "chebyshev": (lambda x, m: ((16 * x * x - 20) * x * x + 5) * x, (0.3, 0.95)),
    "legendre": (lambda x, m: (63 * x**5 - 70 * x**3 + 15 * x) / 8, (0.2, 0.9)),
    "cancelling": (lambda x, m: (1 - m.cos(x)) / (x * x), (0.05, 1.0)),
    "differences": (lambda x, m: m.sqrt(x + 1) - m.sqrt(x), (10.0, 1e3)),
    "nested roots": (lambda x, m: m.sqrt(x + m.sqrt(x + m.sqrt(x))), (0.02, 3.0)),
    "log-sum": (lambda x, m: m.log(m.exp(x) + m.exp(2 * x) + m.exp(-x)), (0.1, 3.0)),
    "softmax": (lambda x, m: m.exp(x) / (m.exp(x) + m.exp(1.0) + m.exp(-0.5)), (0.3, -4.0)),
    "focal": (lambda x, m: -((1 - x) ** 2) * m.log(x), (0.1, 0.8)),
    "rosenbrock": (lambda x, m: 100 * (2 - x * x) ** 2 + (1 - x) ** 2, (-1.2, 1.4)),
    "rastrigin": (lambda x, m: x * x + 10 * (1 - m.cos(2 * m.pi * x)), (0.3, 2.8)),
}


def table(units: Sequence[float] = UNITS) -> tuple[Problem, ...]:
    """All functions of the table, at all points and in all units."""
    return tuple(
        _problem(name, f, point, unit)
        for name, (f, points) in TABLE.items()
        for point in points
        for unit in units
    )


def drawn(count: int, seed: int) -> tuple[Problem, ...]:
    """The same functions beside their points, at random ones and in random units."""
    rng = np.random.default_rng(seed)
    made = []
    for name, (f, points) in TABLE.items():
        for point in points * count:
            # Within 2 % of a point that lies well inside of the domain, and 1e-3 of one near 1,
            # where the domains of some functions end.
            share = 0.02 * min(1.0, abs(1 - abs(point)) + 0.05)
            there = point * (1 + share * rng.standard_normal())
            made.append(_problem(name, f, there, 10.0 ** rng.uniform(-8, 8)))
    return tuple(made)


def _problem(name: str, f: Callable[[Any, Any], Any], point: float, unit: float) -> Problem:
    x = float(point * unit)
    exact = derivative(lambda t: f(t / mpmath.mpf(unit), EXACT), x)
    title = f"{name} at {point:g} in units of {unit:g}"
    return Problem(title, lambda t: f(t / unit, FLOATS), x, exact)


def derivative(f: Callable[[Any], Any], x: float, digits: int = DIGITS) -> float:
    """The exact derivative of a function in mpmath's numbers."""
    with mpmath.workdps(digits):
        at = mpmath.mpf(x)
        h = abs(at) * mpmath.mpf(10) ** -(digits // 3) or mpmath.mpf(10) ** -(digits // 3)
        # Error h^2, of 1e-40 or less: far below what float64 holds.
        return float((f(at + h) - f(at - h)) / (2 * h))


def hashed(t: float, size: float) -> float:
    """Noise up to `size`, the same at the same point."""
    return size * (zlib.crc32(np.float64(t).tobytes()) / 2**31 - 1)


def hard() -> tuple[Problem, ...]:
    """Functions on which one step, or a sequence that starts large, goes wrong."""
    return tuple(
        Problem(f"{name} at {x:.15g}", elementwise(f), x, exact)
        for name, f, x, exact in itertools.chain(_steep(), _noisy(), _singular(), _one_sided())
    )


def elementwise(f: Callable[[float], float]) -> Callable[[Any], Any]:
    """A function of one number, for arrays as well; NaN outside of its domain."""

    def one(t: float) -> float:
        try:
            return float(f(float(t)))
        except (ValueError, OverflowError, ZeroDivisionError):
            return math.nan

    def call(t: Any) -> Any:
        return (
            one(t)
            if np.ndim(t) == 0
            else np.array([one(each) for each in np.ravel(t)]).reshape(np.shape(t))
        )

    return call


Hard = tuple[str, Callable[[float], float], float, float]


def _steep() -> Iterator[Hard]:
    for x in (1e-200, 1e-12, 1e-6, 1e-3, 1e10):
        yield "logarithm", math.log, x, 1 / x
    for w in (1e3, 1e6, 1e8, 1e10):
        for x in (0.0, 0.3, 0.7, 1.0):
            yield f"sin {w:g} x", lambda t, w=w: math.sin(w * t), x, w * math.cos(w * x)
    for x in (0.0, 1e-12, 1e-6, -1e-7):
        yield "sine", math.sin, x, math.cos(x)
        yield "cosine", math.cos, x, -math.sin(x)
        yield "cube", lambda t: t**3, x, 3 * x * x
        yield "steep sinh", lambda t: math.sinh(1e6 * t), x, 1e6 * math.cosh(1e6 * x)
        yield "log beside 0", lambda t: math.log(1e-6 + t), x, 1 / (1e-6 + x)
    yield "large exponential", math.exp, 700.0, math.exp(700.0)
    yield "large square", lambda t: t * t, 1e150, 2e150
    yield "ripple", lambda t: t + 1e-7 * math.sin(1e7 * t), 1.0, 1 + math.cos(1e7)


def _noisy() -> Iterator[Hard]:
    for size in (1e-9, 1e-6, 1e-3):
        for x in (0.3, 1.7):
            title = f"noise of {size:g} in"
            yield f"{title} sine", lambda t, s=size: math.sin(t) + hashed(t, s), x, math.cos(x)
            yield (
                f"{title} exponential",
                lambda t, s=size: math.exp(t) + hashed(t, s),
                x,
                math.exp(x),
            )
            fast = 1000 * math.cos(1000 * x)
            yield (
                f"{title} sin 1000 x",
                lambda t, s=size: math.sin(1000 * t) + hashed(t, s),
                x,
                fast,
            )
    for x in (0.3, 2.0, 30.0):
        yield "float32 sine", lambda t: float(np.sin(np.float32(t))), x, math.cos(x)
        yield (
            "float32 value",
            lambda t: float(np.float32(math.exp(t / 10))),
            x,
            math.exp(x / 10) / 10,
        )
        for c in (1e4, 1e8, 1e12):
            yield f"sine + {c:g}", lambda t, c=c: math.sin(t) + c, x, math.cos(x)
            yield (
                f"sine of (x + {c:g}) - {c:g}",
                lambda t, c=c: math.sin((t + c) - c),
                x,
                math.cos(x),
            )
    yield "sine in 6 digits", lambda t: round(math.sin(t), 6), 0.3, math.cos(0.3)


def _singular() -> Iterator[Hard]:
    for d in (1e-3, 1e-6, 1e-9):
        above, below = 1 + d, 1 - d
        yield "near a pole", lambda t: 1 / (t - 1), above, -1 / (above - 1) ** 2
        yield "near a kink", lambda t: abs(t - 1), above, 1.0
        yield "near a hinge", lambda t: max(t - 1, 0.0) + t * t, below, 2 * below
        off = above - 1
        yield "rounded corner", lambda t, d=d: math.hypot(t - 1, d), above, off / math.hypot(off, d)
    yield "constant", lambda t: 3.0, 1.0, 0.0
    for x in (0.0, 0.05, 0.1):
        flat = math.exp(-1 / x**2) * 2 / x**3 if x else 0.0
        yield "flat beside 0", lambda t: math.exp(-1 / t**2) if t else 0.0, x, flat


def _one_sided() -> Iterator[Hard]:
    yield "x + x^1.5", lambda t: t + t * math.sqrt(t), 0.0, 1.0
    yield "exponential + x^1.5", lambda t: math.exp(t) + t * math.sqrt(t), 0.0, 1.0
    yield "x + x |x|^0.5", lambda t: t + t * abs(t) ** 0.5, 0.0, 1.0
    yield "exponential from 1", lambda t: math.exp(t) if t >= 1 else math.nan, 1.0, math.e
    yield "sine up to 1", lambda t: math.sin(t) if t <= 1 else math.nan, 1.0, math.cos(1)
