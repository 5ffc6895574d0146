"""Residuals of least squares: the test functions of More, Garbow and Hillstrom, and SciPy's.

J. J. More, B. S. Garbow and K. E. Hillstrom, ACM Trans. Math. Softw. 7 (1981) 17, whose numbers
are given, and the test problems of `scipy.optimize.least_squares`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Function = tuple[str, Callable[[Any], Any], Any]

KOWALIK_Y = np.array(
    [0.1957, 0.1947, 0.1735, 0.1600, 0.0844, 0.0627, 0.0456, 0.0342, 0.0323, 0.0235, 0.0246]
)
KOWALIK_U = np.array([4, 2, 1, 0.5, 0.25, 0.167, 0.125, 0.1, 0.0833, 0.0714, 0.0625])
TENTHS = np.arange(1.0, 11) / 10
BARD_Y = np.array([14, 18, 22, 25, 29, 32, 35, 39, 37, 58, 73, 96, 134, 210, 439]) / 100

_PROBLEMS: list[Function] = []


def functions() -> Iterator[Function]:
    yield from _PROBLEMS


def problem(name: str, x: Any) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Take a function into the list, with the point where its Jacobian is checked."""

    def take(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
        _PROBLEMS.append((name, f, np.asarray(x, dtype=float)))
        return f

    return take


# ---------------------------------------------------------------------------------- few parameters
# Away from the usual starts, some of which have zeros: a relative move would leave these.


@problem("MGH 1 rosenbrock", [-1.2, 1.0])
def rosenbrock(x: Any) -> Any:
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]])


@problem("MGH 2 freudenstein and roth", [0.5, -2.0])
def freudenstein(x: Any) -> Any:
    a = x[0] - 13 + ((5 - x[1]) * x[1] - 2) * x[1]
    return np.array([a, x[0] - 29 + ((x[1] + 1) * x[1] - 14) * x[1]])


@problem("MGH 3 powell badly scaled", [0.1, 1.0])
def powell_badly(x: Any) -> Any:
    return np.array([1e4 * x[0] * x[1] - 1, np.exp(-x[0]) + np.exp(-x[1]) - 1.0001])


@problem("MGH 4 brown badly scaled", [1.0, 1.0])
def brown_badly(x: Any) -> Any:
    return np.array([x[0] - 1e6, x[1] - 2e-6, x[0] * x[1] - 2])


@problem("MGH 5 beale", [1.0, 0.7])
def beale(x: Any) -> Any:
    return np.array([y - x[0] * (1 - x[1] ** i) for i, y in ((1, 1.5), (2, 2.25), (3, 2.625))])


@problem("MGH 7 helical valley", [0.8, 0.6, 0.4])
def helical(x: Any) -> Any:
    angle = np.arctan(x[1] / x[0]) / (2 * np.pi)
    return np.array([10 * (x[2] - 10 * angle), 10 * (np.sqrt(x[0] ** 2 + x[1] ** 2) - 1), x[2]])


@problem("MGH 13 powell singular", [3.0, -1.0, 0.5, 1.0])
def powell_singular(x: Any) -> Any:
    return np.array(
        [
            x[0] + 10 * x[1],
            np.sqrt(5) * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            np.sqrt(10) * (x[0] - x[3]) ** 2,
        ]
    )


@problem("MGH 14 wood", [-3.0, -1.0, -3.0, -1.0])
def wood(x: Any) -> Any:
    return np.array(
        [
            10 * (x[1] - x[0] ** 2),
            1 - x[0],
            np.sqrt(90) * (x[3] - x[2] ** 2),
            1 - x[2],
            np.sqrt(10) * (x[1] + x[3] - 2),
            (x[1] - x[3]) / np.sqrt(10),
        ]
    )


@problem("MGH 8 bard", [1.0, 1.1, 0.9])
def bard(x: Any) -> Any:
    u = np.arange(1.0, 16)
    v, w = 16 - u, np.minimum(u, 16 - u)
    return BARD_Y - (x[0] + u / (v * x[1] + w * x[2]))


@problem("MGH 15 kowalik and osborne", [0.25, 0.39, 0.415, 0.39])
def kowalik(x: Any) -> Any:
    u = KOWALIK_U
    return KOWALIK_Y - x[0] * (u**2 + u * x[1]) / (u**2 + u * x[2] + x[3])


# ------------------------------------------------------------------------------------ exponentials


@problem("MGH 12 box", [0.5, 10.0, 20.0])
def box(x: Any) -> Any:
    t = TENTHS
    return np.exp(-t * x[0]) - np.exp(-t * x[1]) - x[2] * (np.exp(-t) - np.exp(-10 * t))


@problem("MGH 9 gaussian", [0.4, 1.0, 0.1])
def gaussian(x: Any) -> Any:
    s = (8 - np.arange(1.0, 16)) / 2
    return x[0] * np.exp(-x[1] * (s - x[2]) ** 2 / 2) - 0.2 * np.exp(-(s**2) / 3)


@problem("MGH 10 meyer", [0.02, 4000.0, 250.0])
def meyer(x: Any) -> Any:
    s = 45 + 5 * np.arange(1.0, 17)
    return x[0] * np.exp(x[1] / (s + x[2])) - 34780 * np.exp(-s / 30)


@problem("MGH 16 brown and dennis", [25.0, 5.0, -5.0, -1.0])
def brown_dennis(x: Any) -> Any:
    s = np.arange(1.0, 21) / 5
    a, b = x[0] + s * x[1] - np.exp(s), x[2] + x[3] * np.sin(s) - np.cos(s)
    return a**2 + b**2


@problem("MGH 6 jennrich and sampson", [0.3, 0.4])
def jennrich(x: Any) -> Any:
    i = np.arange(1.0, 11)
    return 2 + 2 * i - (np.exp(i * x[0]) + np.exp(i * x[1]))


@problem("MGH 17 osborne", [0.5, 1.5, -1.0, 0.01, 0.02])
def osborne(x: Any) -> Any:
    s = 10 * np.arange(33.0)
    return 0.9 - (x[0] + x[1] * np.exp(-s * x[3]) + x[2] * np.exp(-s * x[4]))


@problem("MGH 18 biggs", [1.0, 2.0, 1.0, 1.5, 3.0, 0.5])
def biggs(x: Any) -> Any:
    t = TENTHS
    y = np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t)
    return x[2] * np.exp(-t * x[0]) - x[3] * np.exp(-t * x[1]) + x[5] * np.exp(-t * x[4]) - y


@problem("scipy exponential decay", [1.0, 1.0, -0.3])
def decay(x: Any) -> Any:  # of SciPy's tutorial on least squares
    s = np.linspace(0, 10, 15)
    return x[0] + x[1] * np.exp(x[2] * s) - 0.5 - 2 * np.exp(-s)


@problem("MGH 11 gulf", [5.0, 2.5, 0.15])
def gulf(x: Any) -> Any:
    u = np.arange(1.0, 20) / 100
    y = 25 + (-50 * np.log(u)) ** (2 / 3)
    return np.exp(-(((y - x[1]) ** 2) ** (x[2] / 2)) / x[0]) - u


# ------------------------------------------------------------------------ any number of parameters


@problem("MGH 21 extended rosenbrock", np.linspace(-1.2, 1.0, 10))
def extended(x: Any) -> Any:
    return np.stack([10 * (x[1::2] - x[::2] ** 2), 1 - x[::2]], axis=1).reshape(-1)


@problem("MGH 30 broyden tridiagonal", np.linspace(-1.0, -0.5, 12))
def broyden(x: Any) -> Any:
    y = np.concatenate([[0], x, [0]])
    return (3 - 2 * x) * x - y[:-2] - 2 * y[2:] + 1


@problem("MGH 31 broyden banded", np.linspace(-1.0, -0.6, 12))
def banded(x: Any) -> Any:
    n = len(x)
    other = x * (1 + x)
    near = [sum(other[j] for j in range(max(0, i - 5), min(n, i + 2)) if j != i) for i in range(n)]
    return x * (2 + 5 * x**2) + 1 - np.array(near)


@problem("MGH 28 boundary value", np.linspace(-0.3, -0.1, 10))
def boundary(x: Any) -> Any:
    n, y = len(x), np.concatenate([[0], x, [0]])
    h = 1 / (n + 1)
    t = h * np.arange(1, n + 1)
    return 2 * x - y[:-2] - y[2:] + h**2 * (x + t + 1) ** 3 / 2


@problem("MGH 29 integral equation", np.linspace(-0.4, -0.1, 10))
def integral(x: Any) -> Any:
    n = len(x)
    h = 1 / (n + 1)
    t = h * np.arange(1, n + 1)
    c = (x + t + 1) ** 3
    low, high = np.cumsum(t * c), np.cumsum(((1 - t) * c)[::-1])[::-1] - (1 - t) * c
    return x + h * ((1 - t) * low + t * high) / 2


@problem("MGH 26 trigonometric", np.linspace(0.1, 0.4, 8))
def trigonometric(x: Any) -> Any:
    n = len(x)
    return n - np.cos(x).sum() + np.arange(1, n + 1) * (1 - np.cos(x)) - np.sin(x)


@problem("MGH 35 chebyquad", np.arange(1.0, 8) / 8)
def chebyquad(x: Any) -> Any:
    n, y = len(x), 2 * x - 1
    last, this, found = np.ones_like(y), y, []
    for i in range(1, n + 1):
        found.append(this.mean() + (1 / (i**2 - 1) if i % 2 == 0 else 0))
        last, this = this, 2 * y * this - last
    return np.array(found)


@problem("MGH 20 watson", np.linspace(0.2, 0.9, 6))
def watson(x: Any) -> Any:
    t, j = np.arange(1.0, 30)[:, None] / 29, np.arange(len(x))
    slope = (j[1:] * x[1:] * t ** (j[1:] - 1)).sum(axis=1)
    value = (x * t**j).sum(axis=1)
    return np.concatenate([slope - value**2 - 1, [x[0], x[1] - x[0] ** 2 - 1]])


@problem("MGH 27 brown almost linear", np.linspace(0.4, 0.7, 7))
def brown(x: Any) -> Any:
    return np.concatenate([x[:-1] + x.sum() - len(x) - 1, [np.prod(x) - 1]])


@problem("MGH 33 linear, rank one", np.linspace(0.5, 1.0, 6))
def linear(x: Any) -> Any:
    return np.arange(1, 13) * (np.arange(1, len(x) + 1) * x).sum() - 1
