"""Real functions with gradients and exact Hessians: costs, likelihoods, energies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
from jacobian_problems import Second, hessian_of, random_of

Vector = np.ndarray


def functions() -> Iterator[Second]:
    yield from _least_squares()
    yield from _likelihoods()
    yield from _energies()
    yield from _forms()
    if find_spec("scipy"):
        from jacobian_second_more import more_functions

        yield from more_functions()
    if find_spec("statsmodels"):
        yield from _statsmodels()


# ---------------------------------------------------------------------------------- sums of squares


def _squares(name: str, r: Callable[[Any], Any], jac: Callable[[Any], Any], x: Vector) -> Second:
    """Half the sum of squares of residuals; `jac` takes complex numbers as well."""

    def grad(x: Any) -> Any:
        return jac(x).T @ r(x)

    slips = {"Gauss-Newton": lambda x: jac(x).T @ jac(x)}
    return Second(name, lambda x: float((r(x) ** 2).sum() / 2), grad, hessian_of(grad), x, slips)


T = np.linspace(0, 2, 12)
DATA = 2 * np.exp(-0.7 * T) + 0.3 + random_of("least squares").normal(size=12) / 10
ANCHORS = np.array([[0.0, 0.0], [2.0, 0.3], [0.5, 2.5], [-1.0, 1.0]])


def decay(x: Any) -> Any:
    return x[0] * np.exp(-x[1] * T) + x[2] - DATA


def decay_jac(x: Any) -> Any:
    e = np.exp(-x[1] * T)
    return np.stack([e, -x[0] * T * e, 0 * e + 1], axis=1)


def rosen(x: Any) -> Any:
    return np.concatenate([10 * (x[1:] - x[:-1] ** 2), 1 - x[:-1]])


def rosen_jac(x: Any) -> Any:
    n = len(x)
    J = np.zeros((2 * n - 2, n), x.dtype)
    i = np.arange(n - 1)
    J[i, i + 1], J[i, i], J[n - 1 + i, i] = 10, -20 * x[:-1], -1
    return J


def logistic(x: Any) -> Any:
    return x[0] / (1 + np.exp(-x[1] * (T - x[2]))) - DATA


def logistic_jac(x: Any) -> Any:
    e = np.exp(-x[1] * (T - x[2]))
    s = 1 / (1 + e)
    return np.stack([s, x[0] * s**2 * e * (T - x[2]), -x[0] * s**2 * e * x[1]], axis=1)


def sines(x: Any) -> Any:
    return x[0] * np.sin(x[1] * T + x[2]) - DATA


def sines_jac(x: Any) -> Any:
    angle = x[1] * T + x[2]
    return np.stack([np.sin(angle), x[0] * T * np.cos(angle), x[0] * np.cos(angle)], axis=1)


def ranges(x: Any) -> Any:
    return np.sqrt(((x - ANCHORS) ** 2).sum(axis=1)) - np.array([1.0, 1.5, 2.0, 1.2])


def ranges_jac(x: Any) -> Any:
    return (x - ANCHORS) / np.sqrt(((x - ANCHORS) ** 2).sum(axis=1))[:, None]


SQUARES = (
    ("squares, decay", decay, decay_jac, [1.5, 0.9, 0.1]),
    ("squares, rosenbrock", rosen, rosen_jac, np.linspace(-1.2, 1.3, 6)),
    ("squares, logistic growth", logistic, logistic_jac, [2.0, 1.3, 0.6]),
    ("squares, a sine", sines, sines_jac, [1.5, 1.8, 0.4]),
    ("squares, ranges", ranges, ranges_jac, [0.4, 0.7]),
)


def _least_squares() -> Iterator[Second]:
    for name, r, jac, x in SQUARES:
        yield _squares(name, r, jac, np.array(x))


# -------------------------------------------------------------------------------------- likelihoods


def _analytic(
    name: str, f: Callable[[Any], Any], grad: Callable[[Any], Any], x: Vector, **slips: Any
) -> Second:
    named = {key.replace("_", " "): slip for key, slip in slips.items()}
    return Second(name, lambda x: float(f(x)), grad, hessian_of(grad), x, named)


def _likelihoods() -> Iterator[Second]:
    rng = random_of("likelihoods")
    X = rng.normal(size=(20, 4))
    y, counts = rng.integers(0, 2, 20).astype(float), rng.poisson(2.0, 20).astype(float)
    times = rng.exponential(1.5, 20)

    def softplus(z: Any) -> Any:
        return np.log(1 + np.exp(z))

    def logit(b: Any) -> Any:
        return (softplus(X @ b) - y * (X @ b)).sum() + (b**2).sum() / 2

    def logit_grad(b: Any) -> Any:
        return X.T @ (1 / (1 + np.exp(-X @ b)) - y) + b

    def logit_without(b: Any) -> Any:
        return hessian_of(logit_grad)(b) - np.eye(4)

    def poisson(b: Any) -> Any:
        return (np.exp(X @ b) - counts * (X @ b)).mean()

    def poisson_grad(b: Any) -> Any:
        return X.T @ (np.exp(X @ b) - counts) / 20

    def weibull(p: Any) -> Any:
        z = p[0] * (np.log(times) - p[1])
        return (np.exp(z) - z + np.log(times)).sum() - 20 * np.log(p[0])

    def weibull_grad(p: Any) -> Any:
        d = np.exp(p[0] * (np.log(times) - p[1])) - 1
        return np.array([(d * (np.log(times) - p[1])).sum() - 20 / p[0], -(d * p[0]).sum()])

    def normal(p: Any) -> Any:
        return (((times - p[0]) / np.exp(p[1])) ** 2 / 2 + p[1]).sum()

    def normal_grad(p: Any) -> Any:
        z = (times - p[0]) / np.exp(p[1])
        return np.array([-(z / np.exp(p[1])).sum(), (1 - z**2).sum()])

    b = rng.normal(size=4) / 3
    yield _analytic("ridge logit", logit, logit_grad, b, no_penalty=logit_without)
    yield _analytic("poisson regression", poisson, poisson_grad, b)
    yield _analytic("weibull", weibull, weibull_grad, np.array([1.2, 0.4]))
    yield _analytic("normal", normal, normal_grad, np.array([1.4, 0.2]))


# ----------------------------------------------------------------------------------------- energies


PAIRS = ((0, 1), (0, 2), (1, 2))


def chain(x: Any) -> Any:
    """Springs of Fermi, Pasta, Ulam and Tsingou."""
    d = np.diff(np.concatenate([[0], x, [0]]))
    return (d**2 / 2 + d**3 / 12 + d**4 / 4).sum()


def chain_grad(x: Any) -> Any:
    d = np.diff(np.concatenate([[0], x, [0]]))
    force = d + d**2 / 4 + d**3
    return force[:-1] - force[1:]


def atoms(x: Any) -> Any:
    """Lennard-Jones, three atoms in the plane."""
    at = x.reshape(3, 2)
    r2 = np.array([((at[i] - at[j]) ** 2).sum() for i, j in PAIRS])
    return (r2**-6 - 2 * r2**-3).sum()


def atoms_grad(x: Any) -> Any:
    at, g = x.reshape(3, 2), np.zeros((3, 2), x.dtype)
    for i, j in PAIRS:
        d = at[i] - at[j]
        r2 = (d**2).sum()
        force = (-6 * r2**-7 + 6 * r2**-4) * 2 * d
        g[i] += force
        g[j] -= force
    return g.reshape(-1)


def entropy(x: Any) -> Any:
    return (x * np.log(x)).sum() + (x[:-1] * x[1:]).sum()


def entropy_grad(x: Any) -> Any:
    g = np.log(x) + 1
    g[:-1] += x[1:]
    g[1:] += x[:-1]
    return g


def barrier(x: Any) -> Any:
    return (x**2).sum() / 2 - np.log(3 - x.sum()) - np.log(x).sum()


def barrier_grad(x: Any) -> Any:
    return x + 1 / (3 - x.sum()) - 1 / x


def sumexp(x: Any) -> Any:
    return np.log(np.exp(x).sum())


def sumexp_grad(x: Any) -> Any:
    return np.exp(x) / np.exp(x).sum()


ENERGIES = (
    ("chain of springs", chain, chain_grad, [0.2, -0.3, 0.5, 0.1, -0.2]),
    ("three atoms", atoms, atoms_grad, [0.0, 0.1, 1.05, 0.0, 0.45, 0.95]),
    ("entropy", entropy, entropy_grad, [0.2, 0.5, 0.9, 0.4]),
    ("barrier", barrier, barrier_grad, [0.4, 0.7, 0.5]),
    ("log of a sum", sumexp, sumexp_grad, [0.1, 1.0, -0.5, 0.4]),
)


def _energies() -> Iterator[Second]:
    for name, f, grad, x in ENERGIES:
        yield _analytic(name, f, grad, np.array(x))


def _forms() -> Iterator[Second]:
    """Forms of a matrix that is not symmetric: their Hessian is, and that matrix is not."""
    for n in (3, 6):
        name = f"form of {n} variables"
        rng = random_of(name)
        A, c = rng.normal(size=(n, n)), rng.normal(size=n)
        yield _analytic(
            name,
            lambda x, A=A, c=c: x @ A @ x / 2 + c @ x,
            lambda x, A=A, c=c: (A + A.T) @ x / 2 + c,
            rng.normal(size=n),
            not_symmetrized=lambda x, A=A: A + 0 * x,
        )
        yield _analytic(
            f"{name}, curved",
            lambda x, A=A: np.exp(x @ A @ x / 8),
            lambda x, A=A: np.exp(x @ A @ x / 8) * ((A + A.T) @ x) / 8,
            rng.normal(size=n) / 2,
        )


# -------------------------------------------------------------------------------------- statsmodels


def _statsmodels() -> Iterator[Second]:
    import statsmodels.api as sm

    rng = random_of("statsmodels")
    data = sm.datasets.fair.load_pandas()
    X = np.asarray(data.exog[::90], dtype=float)
    X = sm.add_constant((X - X.mean(axis=0)) / X.std(axis=0))
    y = np.asarray(data.endog[::90] > 0, dtype=float)
    counts = np.round(np.asarray(data.endog[::90], dtype=float))
    choices = rng.integers(0, 3, len(y))
    b = rng.normal(size=X.shape[1]) / 5
    binomial = sm.NegativeBinomial(counts, X)
    # As made, it takes the logarithm of alpha, for which its Hessian lacks the chain rule.
    binomial._transparams = False
    for name, model, x in (
        ("logit", sm.Logit(y, X), b),
        ("probit", sm.Probit(y, X), b),
        ("poisson", sm.Poisson(counts, X), b),
        ("negative binomial", binomial, np.append(b, 0.7)),
        ("multinomial logit", sm.MNLogit(choices, X[:, :4]), rng.normal(size=8) / 4),
    ):
        yield Second(
            f"statsmodels {name}",
            lambda x, m=model: float(m.loglike(x)),
            lambda x, m=model: np.asarray(m.score(x), dtype=float).ravel(order="F"),
            lambda x, m=model: np.asarray(m.hessian(x), dtype=float),
            x,
        )
