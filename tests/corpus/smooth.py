"""Textbook smooth functions, well scaled."""

from __future__ import annotations

import numpy as np

from .base import Case, Family, rng

smooth = Family("smooth")


@smooth
def cubic() -> Case:
    """The lecture's example: 3 at theta = 1."""
    return Case(lambda t: np.sum(t**3), lambda t: 3 * t**2, np.array([1.0]))


def rosenbrock(x: np.ndarray) -> float:
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosenbrock_gradient(x: np.ndarray) -> np.ndarray:
    g = np.zeros_like(x)
    inner = x[1:] - x[:-1] ** 2
    g[:-1] = -400 * x[:-1] * inner - 2 * (1 - x[:-1])
    g[1:] += 200 * inner
    return g


def _rosenbrock_at(point: np.ndarray) -> Case:
    return Case(rosenbrock, rosenbrock_gradient, point)


smooth.add("rosenbrock_2", lambda: _rosenbrock_at(np.array([-1.2, 1.0])))
smooth.add("rosenbrock_10", lambda: _rosenbrock_at(rng(1).normal(size=10)))
smooth.add("rosenbrock_at_optimum", lambda: _rosenbrock_at(np.ones(6)))


def _quadratic(n: int, seed: int, at_optimum: bool = False) -> Case:
    r = rng(seed)
    root = r.normal(size=(n, n)) / np.sqrt(n)
    a, b = root @ root.T + np.eye(n), r.normal(size=n)
    x = np.linalg.solve(a, b) if at_optimum else r.normal(size=n)
    return Case(lambda x: 0.5 * (x @ a @ x) - b @ x, lambda x: a @ x - b, x)


smooth.add("quadratic_5", lambda: _quadratic(5, 2))
smooth.add("quadratic_40", lambda: _quadratic(40, 3))
smooth.add("quadratic_300", lambda: _quadratic(300, 4))
smooth.add("quadratic_at_optimum", lambda: _quadratic(8, 5, at_optimum=True))


@smooth
def logsumexp_20() -> Case:
    def f(x):
        top = x.max()
        return top + np.log(np.sum(np.exp(x - top)))

    def grad(x):
        e = np.exp(x - x.max())
        return e / e.sum()

    return Case(f, grad, rng(6).normal(size=20))


@smooth
def beale() -> Case:
    def f(p):
        x, y = p
        return (1.5 - x + x * y) ** 2 + (2.25 - x + x * y**2) ** 2 + (2.625 - x + x * y**3) ** 2

    def grad(p):
        x, y = p
        r = [1.5 - x + x * y, 2.25 - x + x * y**2, 2.625 - x + x * y**3]
        dx = sum(2 * r[k] * (y ** (k + 1) - 1) for k in range(3))
        dy = sum(2 * r[k] * x * (k + 1) * y**k for k in range(3))
        return np.array([dx, dy])

    return Case(f, grad, np.array([0.7, -1.3]))


@smooth
def himmelblau() -> Case:
    def grad(p):
        u, v = p[0] ** 2 + p[1] - 11, p[0] + p[1] ** 2 - 7
        return np.array([4 * p[0] * u + 2 * v, 2 * u + 4 * p[1] * v])

    return Case(
        lambda p: (p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2,
        grad,
        np.array([1.0, -2.5]),
    )


@smooth
def branin() -> Case:
    a, b, c, t = 5.1 / (4 * np.pi**2), 5 / np.pi, 6.0, 10 * (1 - 1 / (8 * np.pi))

    def f(p):
        return (p[1] - a * p[0] ** 2 + b * p[0] - c) ** 2 + t * np.cos(p[0]) + 10

    def grad(p):
        r = p[1] - a * p[0] ** 2 + b * p[0] - c
        return np.array([2 * r * (b - 2 * a * p[0]) - t * np.sin(p[0]), 2 * r])

    return Case(f, grad, np.array([2.0, 4.5]))


@smooth
def rastrigin_6() -> Case:
    w = 2 * np.pi
    return Case(
        lambda x: np.sum(x**2 - 10 * np.cos(w * x) + 10),
        lambda x: 2 * x + 10 * w * np.sin(w * x),
        rng(7).uniform(-2, 2, 6),
    )


@smooth
def styblinski_tang_8() -> Case:
    return Case(
        lambda x: 0.5 * np.sum(x**4 - 16 * x**2 + 5 * x),
        lambda x: 0.5 * (4 * x**3 - 32 * x + 5),
        rng(8).uniform(-4, 4, 8),
    )


@smooth
def griewank_5() -> Case:
    root = np.sqrt(np.arange(1, 6))

    def grad(x):
        c = np.cos(x / root)
        others = np.array([np.prod(np.delete(c, i)) for i in range(5)])
        return x / 2000 + np.sin(x / root) / root * others

    return Case(
        lambda x: 1 + np.sum(x**2) / 4000 - np.prod(np.cos(x / root)), grad, rng(9).normal(size=5)
    )


@smooth
def ackley_4() -> Case:
    def grad(x):
        rms = np.sqrt(np.mean(x**2))
        radial = 4 * np.exp(-0.2 * rms) * x / (x.size * rms)
        wave = np.exp(np.mean(np.cos(2 * np.pi * x))) * 2 * np.pi * np.sin(2 * np.pi * x) / x.size
        return radial + wave

    def f(x):
        wave = np.exp(np.mean(np.cos(2 * np.pi * x)))
        return -20 * np.exp(-0.2 * np.sqrt(np.mean(x**2))) - wave + 20 + np.e

    return Case(f, grad, rng(10).normal(size=4))


@smooth
def powell_singular() -> Case:
    def grad(x):
        a, b, c, d = x[0] + 10 * x[1], x[2] - x[3], x[1] - 2 * x[2], x[0] - x[3]
        return np.array(
            [2 * a + 40 * d**3, 20 * a + 4 * c**3, 10 * b - 8 * c**3, -10 * b - 40 * d**3]
        )

    def f(x):
        return (
            (x[0] + 10 * x[1]) ** 2
            + 5 * (x[2] - x[3]) ** 2
            + (x[1] - 2 * x[2]) ** 4
            + 10 * (x[0] - x[3]) ** 4
        )

    return Case(f, grad, np.array([3.0, -1.0, 0.5, 1.0]))


@smooth
def cosine_similarity() -> Case:
    target = rng(11).normal(size=7)
    target /= np.linalg.norm(target)

    def grad(x):
        norm = np.sqrt(np.sum(x**2))
        return -(target / norm - x * (target @ x) / norm**3)

    return Case(lambda x: 1 - (target @ x) / np.sqrt(np.sum(x**2)), grad, rng(12).normal(size=7))


@smooth
def geometric_mean() -> Case:
    return Case(
        lambda x: np.exp(np.mean(np.log(x))),
        lambda x: np.exp(np.mean(np.log(x))) / (x.size * x),
        rng(13).uniform(0.5, 3, 6),
    )


@smooth
def softmax_entropy() -> Case:
    def probabilities(x):
        e = np.exp(x - x.max())
        return e / e.sum()

    def f(x):
        p = probabilities(x)
        return -np.sum(p * np.log(p))

    def grad(x):
        p = probabilities(x)
        return -p * (np.log(p) - np.sum(p * np.log(p)))

    return Case(f, grad, rng(14).normal(size=9))


@smooth
def polynomial_fit() -> Case:
    t = np.linspace(-1, 1, 25)
    powers, y = np.vander(t, 6, increasing=True), np.sin(2 * t)
    return Case(
        lambda c: np.mean((powers @ c - y) ** 2),
        lambda c: 2 * powers.T @ (powers @ c - y) / t.size,
        rng(15).normal(size=6),
    )


@smooth
def chained_sines() -> Case:
    return Case(
        lambda x: np.sin(np.sum(np.sin(x)) + x[0] * x[-1]),
        _chained_sines_gradient,
        rng(16).normal(size=5),
    )


def _chained_sines_gradient(x: np.ndarray) -> np.ndarray:
    inner = np.cos(x)
    inner[0] += x[-1]
    inner[-1] += x[0]
    return np.cos(np.sum(np.sin(x)) + x[0] * x[-1]) * inner


@smooth
def plane_and_curve() -> Case:
    """A tuple of two leaves that meet in one product."""

    def grad(p):
        a, b = p
        return 2 * a * np.sum(b**2), 2 * b * np.sum(a**2) + np.exp(b)

    return Case(
        lambda p: np.sum(p[0] ** 2) * np.sum(p[1] ** 2) + np.sum(np.exp(p[1])),
        grad,
        (rng(17).normal(size=3), rng(18).normal(size=(2, 2))),
    )


@smooth
def even_gradient() -> Case:
    """Every entry of the gradient within a factor of three: small errors stay visible in each."""
    r = rng(19)
    w = r.uniform(1, 2, 12) * np.where(r.random(12) < 0.5, -1, 1)
    return Case(
        lambda x: np.sum(w * np.sin(x)) + w @ x, lambda x: w * (np.cos(x) + 1), r.uniform(-1, 1, 12)
    )


@smooth
def even_gradient_matrix() -> Case:
    """As ``even_gradient``, for a square leaf beside a rectangular and a flat one."""
    r = rng(20)
    shapes = {"A": (5, 5), "B": (4, 6), "c": (7,), "d": (7,)}
    w = {k: r.uniform(1, 2, s) * np.where(r.random(s) < 0.5, -1, 1) for k, s in shapes.items()}

    def f(p):
        return sum(np.sum(w[k] * (np.sin(p[k]) + p[k])) for k in shapes)

    return Case(
        f,
        lambda p: {k: w[k] * (np.cos(p[k]) + 1) for k in shapes},
        {k: r.uniform(0.2, 1.2, s) * np.where(r.random(s) < 0.4, -1, 1) for k, s in shapes.items()},
    )
