"""The costs behind the errors of public trackers, with their correct gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng
from .likelihoods import sigmoid
from .networks import softmax

public_costs = Family("public")


def _elementwise(f: Callable, df: Callable, point: list[float]) -> Callable[[], Case]:
    """A weighted sum of one function over the entries."""

    def make() -> Case:
        x = np.array(point)
        w = 1 + 0.25 * np.arange(x.size)
        return Case(lambda x: np.sum(w * f(x)), lambda x: w * df(x), x)

    return make


for _name, _f, _df, _at in [
    (
        "scaled_tanh",
        lambda x: 1.1 * np.tanh(x),
        lambda x: 1.1 / np.cosh(x) ** 2,
        [0.3, -0.8, 1.2, 0.1],
    ),
    ("square", lambda x: x**2, lambda x: 2 * x, [0.7, -1.3, 2.0, 0.4]),
    ("tenth_of_cube", lambda x: 0.1 * x**3, lambda x: 0.3 * x**2, [7.0, -2.0, 3.0, 1.0]),
    ("five_times", lambda x: np.sin(5 * x), lambda x: 5 * np.cos(5 * x), [0.4, -0.3, 1.1]),
    (
        "ldexp",
        lambda x: np.ldexp(1.0, 3) * x,
        lambda x: np.full(x.shape, 8.0),
        [0.0, 1.0, 0.5, 0.0, -2.0],
    ),
    ("asinh", np.arcsinh, lambda x: 1 / np.sqrt(1 + x**2), [0.0, 0.8, -1.5, 0.0, 0.0]),
    (
        "negative_slope_relu",
        lambda x: np.where(x > 0, x, -0.2 * x),
        lambda x: np.where(x > 0, 1.0, -0.2),
        [0.5, -1.0, 2.0, -0.3, -2.2],
    ),
    ("sigmoid_sum", sigmoid, lambda x: sigmoid(x) * sigmoid(-x), [0.2, -1.4, 2.0, 0.7, -0.6]),
    (
        "scaled_huber",
        lambda x: 0.3 * np.where(np.abs(x) < 1, x**2 / 2, np.abs(x) - 0.5),
        lambda x: 0.3 * np.clip(x, -1, 1),
        [0.3, -2.0, 1.7, -0.4],
    ),
    (
        "saturated_bernoulli",
        lambda x: np.log1p(np.exp(-np.abs(x))),
        lambda x: -np.sign(x) * np.exp(-np.abs(x)) / (1 + np.exp(-np.abs(x))),
        [21.0, -22.0, 20.5, -21.5, 22.5],
    ),
]:
    public_costs.add(f"public_{_name}", _elementwise(_f, _df, _at))


@public_costs
def public_negative_product() -> Case:
    return Case(lambda x: -np.prod(x), lambda x: -np.prod(x) / x, np.array([2.0, 3.0, -0.5, 1.5]))


@public_costs
def public_negative_total_score() -> Case:
    """Minus the log of a sum over all paths."""
    return Case(lambda x: -np.logaddexp.reduce(x), lambda x: -softmax(x), rng(900).normal(size=6))


@public_costs
def public_filled_values() -> Case:
    """Every value is written to one slot, named twice by the index."""
    w = rng(901).normal(size=4)
    index = np.array([0, 1, 2, 3, 0, 1, 2, 3])

    def f(v):
        slots = np.zeros(4, v.dtype)
        slots[index] = v[index]
        return np.sum(w * np.sin(slots))

    return Case(f, lambda v: w * np.cos(v), rng(902).normal(size=4))


@public_costs
def public_divergence_in_log_probabilities() -> Case:
    target = softmax(rng(903).normal(size=8))
    return Case(
        lambda x: np.mean(target * (np.log(target) - x)),
        lambda x: -target / 8,
        np.log(softmax(rng(904).normal(size=8))),
    )


@public_costs
def public_tenth_of_cross_entropy() -> Case:
    labels = rng(905).integers(0, 4, 5)

    def f(x):
        return 0.1 * np.sum(np.logaddexp.reduce(x, axis=1) - x[np.arange(5), labels])

    return Case(f, lambda x: 0.1 * (softmax(x) - np.eye(4)[labels]), rng(906).normal(size=(5, 4)))


def _process(theta: np.ndarray, to_length: Callable, chain: Callable) -> Case:
    """Evidence of a Gaussian process in length scales, and in the weights of a linear mean."""
    r = rng(907)
    x, y = r.normal(size=(10, 3)), r.normal(size=10)
    gap = (x[:, None, :] - x) ** 2

    def parts(p):
        length = to_length(p["length"])
        k = np.exp(-0.5 * np.sum(gap / length**2, axis=2))
        return length, k, np.linalg.inv(k + 0.2 * np.eye(10)), y - x @ p["mean"]

    def f(p):
        _, k, inverse, e = parts(p)
        return 0.5 * (e @ inverse @ e + np.linalg.slogdet(k + 0.2 * np.eye(10))[1])

    def grad(p):
        length, k, inverse, e = parts(p)
        weight = inverse - np.outer(inverse @ e, inverse @ e)
        to_length = 0.5 * np.einsum("ij,ij,ijk->k", weight, k, gap) / length**3
        return {"length": to_length * chain(p["length"]), "mean": -x.T @ inverse @ e}

    return Case(f, grad, {"length": theta, "mean": r.normal(size=3)})


public_costs.add(
    "public_process_in_lengths",
    lambda: _process(np.array([0.8, 1.7, 2.6]), lambda t: t, np.ones_like),
)
public_costs.add(
    "public_process_in_log_lengths", lambda: _process(np.array([-0.3, 0.6, 1.1]), np.exp, np.exp)
)


@public_costs
def public_dispersion_in_logs() -> Case:
    """Normal counts with one log-dispersion per group."""
    y = 2 * rng(908).normal(size=(4, 8))

    def f(p):
        d = np.exp(p["log_d"])
        return np.sum(0.5 * np.sum((y - p["mean"]) ** 2, axis=1) / d + 4 * p["log_d"])

    def grad(p):
        e, d = y - p["mean"], np.exp(p["log_d"])
        return {
            "mean": -np.sum(e / d[:, None], axis=0),
            "log_d": 4 - 0.5 * np.sum(e**2, axis=1) / d,
        }

    return Case(
        f, grad, {"mean": rng(909).normal(size=8), "log_d": np.array([0.5, -0.7, 1.2, 0.3])}
    )


@public_costs
def public_scaling_in_logs() -> Case:
    """A model multiplied by a positive factor per sensor, kept as its log."""
    model, seen = rng(943).normal(size=(5, 9)), rng(944).normal(size=(5, 9))

    def grad(p):
        scaled = np.exp(p["log_rho"])[:, None] * model
        return {"log_rho": np.sum((scaled - seen) * scaled, axis=1)}

    def f(p):
        return 0.5 * np.sum((np.exp(p["log_rho"])[:, None] * model - seen) ** 2)

    return Case(f, grad, {"log_rho": np.array([0.4, -0.9, 0.8, 0.1, -0.3])})


def _complex(seed: int, *shape: int) -> np.ndarray:
    r = rng(seed)
    return r.normal(size=shape) + 1j * r.normal(size=shape)


@public_costs
def public_squared_modulus() -> Case:
    w = 1 + 0.25 * np.arange(5)
    return Case(
        lambda z: float(np.sum(w * (z.real**2 + z.imag**2))), lambda z: 2 * w * z, _complex(910, 5)
    )


@public_costs
def public_complex_contraction() -> Case:
    mix = _complex(911, 3, 3)
    mix = mix @ mix.conj().T
    return Case(
        lambda a: float(np.einsum("ij,jk,ik", a, mix, a.conj()).real),
        lambda a: 2 * a @ mix.conj().T,
        _complex(912, 3, 3),
    )


COMPLEX_LEFT = _complex(913, 4, 3)


@public_costs
def public_complex_product() -> Case:
    target = _complex(914, 4, 2)
    return Case(
        lambda x: float(np.sum(np.abs(COMPLEX_LEFT @ x - target) ** 2)),
        lambda x: 2 * COMPLEX_LEFT.conj().T @ (COMPLEX_LEFT @ x - target),
        _complex(915, 3, 2),
    )


def _positive(seed: int) -> np.ndarray:
    root = rng(seed).normal(size=(4, 4))
    return root @ root.T / 4 + np.eye(4)


def _half(a: np.ndarray) -> np.ndarray:
    return (a + a.T) / 2


@public_costs
def public_symmetrised_log_determinant() -> Case:
    return Case(
        lambda a: 2 * np.sum(np.log(np.diag(np.linalg.cholesky(_half(a))))),
        lambda a: np.linalg.inv(_half(a)),
        _positive(916),
    )


@public_costs
def public_symmetrised_trace_of_inverse() -> Case:
    def grad(a):
        inverse = np.linalg.inv(_half(a))
        return -inverse @ inverse

    return Case(lambda a: np.trace(np.linalg.inv(_half(a))), grad, _positive(917))


@public_costs
def public_symmetrised_spectrum() -> Case:
    return Case(
        lambda a: np.sum(np.log(np.linalg.eigvalsh(_half(a)))),
        lambda a: np.linalg.inv(_half(a)),
        _positive(918),
    )


@public_costs
def public_upper_cholesky() -> Case:
    """Reads the upper triangle only."""

    def full(a):
        return np.triu(a) + np.triu(a, 1).T

    def grad(a):
        inverse = np.linalg.inv(full(a))
        return np.diag(np.diag(inverse)) + 2 * np.triu(inverse, 1)

    return Case(lambda a: np.linalg.slogdet(full(a))[1], grad, _positive(919))


@public_costs
def public_censored_ridge() -> Case:
    """Squared error where seen, a soft one-sided loss where censored, ridge penalty."""
    r = rng(920)
    x, y, seen = r.normal(size=(20, 5)), r.normal(size=20), r.random(20) < 0.6

    def f(b):
        e = x @ b - y
        return np.sum(np.where(seen, e**2 / 2, np.logaddexp(0, -e))) + 0.4 * np.sum(b**2)

    def grad(b):
        e = x @ b - y
        return x.T @ np.where(seen, e, -sigmoid(-e)) + 0.8 * b

    return Case(f, grad, r.normal(size=5))


@public_costs
def public_multiclass_hinge() -> Case:
    r = rng(921)
    x, y = r.normal(size=(9, 5)), r.integers(0, 3, 9)
    rows = np.arange(9)

    def margins(w):
        s = x @ w
        m = np.maximum(0, s - s[rows, y][:, None] + 1)
        m[rows, y] = 0
        return m

    def grad(w):
        active = (margins(w) > 0).astype(float)
        active[rows, y] = -active.sum(axis=1)
        return x.T @ active / 9 + 0.1 * w

    return Case(lambda w: np.sum(margins(w)) / 9 + 0.05 * np.sum(w**2), grad, r.normal(size=(5, 3)))
