"""More real functions with gradients and exact Hessians, of other kinds and sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jacobian_problems import Second, hessian_of, random_of
from scipy.special import digamma, gammaln

Vector = np.ndarray
Function = Callable[[Any], Any]


def more_functions() -> Iterator[Second]:
    yield from _of_data()
    yield from _of_models()
    yield from _of_bodies()
    yield from _of_odd_sizes()
    yield from _ridges()


def _second(name: str, f: Function, grad: Function, x: Vector) -> Second:
    return Second(name, lambda x: float(f(x)), grad, hessian_of(grad), x)


# ---------------------------------------------------------------------------------- likelihoods


def _of_data() -> Iterator[Second]:
    rng = random_of("more likelihoods")
    X, t = rng.normal(size=(15, 3)), rng.standard_t(3, size=15)
    counts = rng.integers(1, 9, size=(6, 4)).astype(float)
    risk = np.triu(np.ones((15, 15)))  # those who are left at each time

    def student(p: Any) -> Any:
        z = (t - X @ p[:3]) * np.exp(-p[3])
        return (2 * np.log(1 + z**2 / 3) + p[3]).sum()

    def student_grad(p: Any) -> Any:
        z = (t - X @ p[:3]) * np.exp(-p[3])
        d = 4 * z / (3 + z**2)
        return np.append(-X.T @ d * np.exp(-p[3]), (1 - d * z).sum())

    def cox(b: Any) -> Any:
        return (np.log(risk @ np.exp(X @ b)) - X @ b).sum()

    def cox_grad(b: Any) -> Any:
        e = np.exp(X @ b)
        return (e * (risk.T @ (1 / (risk @ e)))) @ X - X.sum(axis=0)

    def dirichlet(a: Any) -> Any:
        n = counts.sum(axis=1)
        return (
            -(gammaln(a.sum()) - gammaln(n + a.sum())).sum()
            - (gammaln(counts + a) - gammaln(a)).sum()
        )

    def dirichlet_grad(a: Any) -> Any:
        n = counts.sum(axis=1)
        both = (digamma(a.sum()) - digamma(n + a.sum())).sum()
        return -both - (digamma(counts + a) - digamma(a)).sum(axis=0)

    yield _second("student regression", student, student_grad, np.array([0.3, -0.2, 0.5, 0.1]))
    yield _second("partial likelihood of Cox", cox, cox_grad, np.array([0.4, -0.3, 0.2]))
    yield _second("multinomial of Dirichlet", dirichlet, dirichlet_grad, np.array([1.5, 0.8, 2, 1]))


# --------------------------------------------------------------------------------------- models


def _of_models() -> Iterator[Second]:
    rng = random_of("more models")
    at, y = np.linspace(0, 1, 8), rng.normal(size=8)
    X, out = rng.normal(size=(9, 2)), rng.normal(size=9)
    M = rng.normal(size=(4, 3))
    square = (at[:, None] - at) ** 2

    def kernels(p: Any) -> Any:
        K = np.exp(p[0] - square * np.exp(p[1]))
        return K + np.exp(p[2]) * np.eye(8), [
            K,
            -K * square * np.exp(p[1]),
            np.exp(p[2]) * np.eye(8),
        ]

    def process(p: Any) -> Any:
        K, _ = kernels(p)
        return y @ np.linalg.solve(K, y) / 2 + np.linalg.slogdet(K)[1] / 2

    def process_grad(p: Any) -> Any:
        K, parts = kernels(p)
        inverse = np.linalg.inv(K)
        a = inverse @ y
        return np.array([(np.trace(inverse @ part) - a @ part @ a) / 2 for part in parts])

    def network(p: Any) -> Any:
        h = np.tanh(X @ p[:6].reshape(2, 3) + p[6:9])
        return ((h @ p[9:] - out) ** 2).mean()

    def network_grad(p: Any) -> Any:
        h = np.tanh(X @ p[:6].reshape(2, 3) + p[6:9])
        r = 2 * (h @ p[9:] - out) / 9
        d = np.outer(r, p[9:]) * (1 - h**2)
        return np.concatenate([(X.T @ d).ravel(), d.sum(axis=0), h.T @ r])

    def factors(p: Any) -> Any:
        return ((p[:8].reshape(4, 2) @ p[8:].reshape(2, 3) - M) ** 2).sum() / 2

    def factors_grad(p: Any) -> Any:
        U, V = p[:8].reshape(4, 2), p[8:].reshape(2, 3)
        R = U @ V - M
        return np.concatenate([(R @ V.T).ravel(), (U.T @ R).ravel()])

    yield _second("gaussian process", process, process_grad, np.array([0.2, 1.5, -1.0]))
    yield _second("network of tanh", network, network_grad, rng.normal(size=12) / 2)
    yield _second("two factors", factors, factors_grad, rng.normal(size=14))


# --------------------------------------------------------------------------------------- bodies


def _of_bodies() -> Iterator[Second]:
    def arm(q: Any) -> Any:
        """A planar arm of four links that reaches for a point, with springs in its joints."""
        a = np.cumsum(q)
        return (np.cos(a).sum() - 1.5) ** 2 + (np.sin(a).sum() - 2) ** 2 + (q**2).sum() / 10

    def arm_grad(q: Any) -> Any:
        a = np.cumsum(q)
        x, y = np.cos(a).sum() - 1.5, np.sin(a).sum() - 2
        by_angle = 2 * (y * np.cos(a) - x * np.sin(a))
        return np.cumsum(by_angle[::-1])[::-1] + q / 5

    def charges(x: Any) -> Any:
        """Charges of one sign on a line, in a trap."""
        return (x**2).sum() / 2 + sum(1 / (x[j] - x[i]) for i in range(4) for j in range(i + 1, 4))

    def charges_grad(x: Any) -> Any:
        g = x + 0
        for i in range(4):
            for j in range(i + 1, 4):
                push = 1 / (x[j] - x[i]) ** 2
                g[i] += push
                g[j] -= push
        return g

    def rod(u: Any) -> Any:
        """An elastic rod that is bent, pressed, and stands in a field."""
        d = np.diff(np.concatenate([[0.1], u, [-0.2]]))
        return 40 * (d**2).sum() + 3 * np.cos(u).sum() + (u**4).sum()

    def rod_grad(u: Any) -> Any:
        d = np.diff(np.concatenate([[0.1], u, [-0.2]]))
        return 80 * (d[:-1] - d[1:]) - 3 * np.sin(u) + 4 * u**3

    yield _second("arm of four links", arm, arm_grad, np.array([0.6, 0.4, -0.3, 0.7]))
    yield _second("charges in a trap", charges, charges_grad, np.array([-1.5, -0.4, 0.6, 1.6]))
    yield _second("elastic rod", rod, rod_grad, np.linspace(0.3, -0.4, 7))


# -------------------------------------------------------------------- values of unusual sizes


def _of_odd_sizes() -> Iterator[Second]:
    rng = random_of("odd sizes")
    A = rng.normal(size=(6, 4))
    unit = np.array([1e4, 1e-3, 1.0, 30.0])

    def dollars(x: Any) -> Any:
        """Parameters whose natural sizes differ by seven orders."""
        return np.log(np.cosh(A @ (x / unit))).sum()

    def dollars_grad(x: Any) -> Any:
        return A.T @ np.tanh(A @ (x / unit)) / unit

    def solved(x: Any) -> Any:
        """A fit at its solution, where almost nothing is left of the residuals."""
        r = np.sin(A @ (x - 1)) + 1e-3
        return (r**2).sum() / 2

    def solved_grad(x: Any) -> Any:
        z = A @ (x - 1)
        return A.T @ ((np.sin(z) + 1e-3) * np.cos(z))

    def lifted(x: Any) -> Any:
        """A cost with a large constant."""
        return 1e5 + np.exp(A @ x / 4).sum()

    def steep(x: Any) -> Any:
        return np.exp(A @ x).sum() * 1e-7

    yield _second("sizes far apart", dollars, dollars_grad, np.array([9e3, 2e-3, 0.7, 20.0]))
    yield _second("solved fit", solved, solved_grad, np.array([1.0, 1.0, 1.001, 0.999]))
    yield _second(
        "large constant", lifted, lambda x: A.T @ np.exp(A @ x / 4) / 4, rng.normal(size=4)
    )
    yield _second("steep", steep, lambda x: 1e-7 * A.T @ np.exp(A @ x), 2 * rng.normal(size=4))


# --------------------------------------------------- random sums of functions of one number each


def _tanh_slope(z: Any) -> Any:
    return 1 - np.tanh(z) ** 2


# Functions of one number and their derivatives, of complex numbers as well.
SHAPES: tuple[tuple[Function, Function], ...] = (
    (np.sin, np.cos),
    (np.tanh, _tanh_slope),
    (np.exp, np.exp),
    (lambda z: np.log(1 + z * z), lambda z: 2 * z / (1 + z * z)),
    (lambda z: np.exp(-z * z / 2), lambda z: -z * np.exp(-z * z / 2)),
    (lambda z: np.sqrt(1 + z * z), lambda z: z / np.sqrt(1 + z * z)),
    (lambda z: 1 / (1.2 + np.sin(z)), lambda z: -np.cos(z) / (1.2 + np.sin(z)) ** 2),
)
RIDGES = 12


def _ridges() -> Iterator[Second]:
    """Of parameters whose natural sizes are anywhere from 1e-4 to 1e3."""
    for number in range(RIDGES):
        name = f"ridges {number}"
        rng = random_of(name)
        n = int(rng.integers(2, 6))
        A, shift = rng.normal(size=(5, n)) / 10 ** rng.uniform(-4, 3, n), rng.normal(size=5)
        size, shapes = rng.normal(size=5), rng.integers(0, len(SHAPES), 5)
        # Solves A x = z in the mean, so that x has the natural sizes.
        x = np.linalg.lstsq(A, rng.normal(size=5), rcond=None)[0]

        def f(x: Any, A: Any = A, b: Any = shift, c: Any = size, kinds: Any = shapes) -> Any:
            return sum(c[k] * SHAPES[kinds[k]][0]((A @ x + b)[k]) for k in range(5))

        def grad(x: Any, A: Any = A, b: Any = shift, c: Any = size, kinds: Any = shapes) -> Any:
            z = A @ x + b
            return A.T @ np.array([c[k] * SHAPES[kinds[k]][1](z[k]) for k in range(5)])

        yield _second(name, f, grad, x)
