"""More costs of public trackers: lookups, orders, small networks."""

from __future__ import annotations

import numpy as np

from .base import Case, rng
from .likelihoods import sigmoid
from .public_costs import public_costs

DIVIDEND = np.array([7.3, 5.1, 9.4, 3.3, 8.2, 6.7])
WORDS = np.array([0, 2, 4, 2, 1, 2])
PLACES = np.array([0, 0, 1, 2, 3, 4])
FILTERED = rng(930).normal(size=(8, 3))
READ = rng(931).normal(size=(6, 3))


@public_costs
def public_remainder_in_divisor() -> Case:
    """The remainder with the sign of the dividend, as a function of the divisor."""
    return Case(
        lambda y: np.sum(np.fmod(DIVIDEND, y)),
        lambda y: -np.trunc(DIVIDEND / y),
        np.array([2.1, -1.4, 1.7, -2.3, -1.9, 0.9]),
    )


@public_costs
def public_weights_of_logsumexp() -> Case:
    a = rng(932).normal(size=5)
    return Case(
        lambda b: np.log(np.sum(b * np.exp(a))),
        lambda b: np.exp(a) / np.sum(b * np.exp(a)),
        np.array([1.0, 0.0, 0.6, 0.0, 2.0]),
    )


@public_costs
def public_repeated_lookup() -> Case:
    """One word occurs three times in the sentence."""

    def grad(table):
        g = np.zeros_like(table)
        np.add.at(g, WORDS, READ * np.cos(table[WORDS]))
        return g

    return Case(
        lambda table: np.sum(READ * np.sin(table[WORDS])), grad, rng(933).normal(size=(5, 3))
    )


@public_costs
def public_overwritten_row() -> Case:
    """The first row is replaced by a constant before it is used."""

    def grad(x):
        g = READ * np.cos(x)
        g[0] = 0
        return g

    def f(x):
        y = np.array(x)
        y[0] = 1.0
        return np.sum(READ * np.sin(y))

    return Case(f, grad, rng(934).normal(size=(6, 3)))


@public_costs
def public_copied_rows() -> Case:
    """Rows are copied to named places; the first two share one, so the second stays."""

    def grad(x):
        g = READ[PLACES] * np.cos(x)
        g[0] = 0
        return g

    def f(x):
        z = np.zeros_like(x)
        z[PLACES] = x
        return np.sum(READ * np.sin(z))

    return Case(f, grad, rng(935).normal(size=(6, 3)))


@public_costs
def public_filters_and_taps() -> Case:
    y = rng(936).normal(size=(8, 4))

    def grad(w):
        h = np.tanh(FILTERED @ w.T)
        return (2 * (h - y) * (1 - h**2)).T @ FILTERED

    return Case(
        lambda w: np.sum((np.tanh(FILTERED @ w.T) - y) ** 2), grad, rng(937).normal(size=(4, 3))
    )


@public_costs
def public_three_in_three_out() -> Case:
    x, y = np.array([8.5, 0.65, 1.2]), np.array([0.1, 1.0, 0.3])
    return Case(
        lambda w: 0.5 * np.sum((w @ x - y) ** 2),
        lambda w: np.outer(w @ x - y, x),
        np.array([[0.1, 0.1, -0.3], [0.1, 0.2, 0.0], [0.0, 1.3, 0.1]]),
    )


@public_costs
def public_sorted_scores() -> Case:
    c = np.array([1.0, -2.0, 0.5, 3.0, -0.7])

    def grad(x):
        g = np.empty_like(x)
        g[np.argsort(x)] = c
        return g

    return Case(lambda x: np.sort(x) @ c, grad, np.array([0.4, -1.1, 2.2, 0.9, -0.3]))


@public_costs
def public_lookup_in_half_precision() -> Case:
    """Very many small contributions to few rows."""
    words, small = np.arange(2400) % 6, 0.01 * rng(938).uniform(0.5, 1.5, 2400)
    total = np.bincount(words, small, 6)
    return Case(
        lambda t: np.sum(total * np.sin(t)),
        lambda t: total * np.cos(t),
        np.zeros(6) + np.linspace(-0.3, 0.3, 6),
    )


@public_costs
def public_network_with_linear_loss() -> Case:
    r = rng(939)
    x, c = r.normal(size=(7, 3)), r.normal(size=(7, 2))

    def grad(p):
        h = np.tanh(x @ p["first"])
        return {"first": x.T @ ((c @ p["second"].T) * (1 - h**2)), "second": h.T @ c}

    return Case(
        lambda p: np.sum(c * (np.tanh(x @ p["first"]) @ p["second"])),
        grad,
        {"first": r.normal(size=(3, 4)), "second": r.normal(size=(4, 2))},
    )


@public_costs
def public_word_vectors() -> Case:
    """Weighted squares of inner products of two sets of vectors against log-counts."""
    r = rng(940)
    weight, seen = r.uniform(0.2, 1, (4, 4)), r.normal(size=(4, 4))

    def grad(p):
        e = 2 * weight * (p["main"] @ p["context"].T - seen)
        return {"main": e @ p["context"], "context": e.T @ p["main"]}

    return Case(
        lambda p: np.sum(weight * (p["main"] @ p["context"].T - seen) ** 2),
        grad,
        {"main": r.normal(size=(4, 2)), "context": r.normal(size=(4, 2))},
    )


def sigmoid_output(last_slope: bool = True) -> Case:
    """Squared error of a two-layer sigmoid network, with or without the last derivative."""
    r = rng(941)
    x, y = r.normal(size=(9, 4)), r.random(9)

    def run(p):
        h = sigmoid(x @ p["W"])
        return h, sigmoid(h @ p["v"])

    def grad(p):
        h, out = run(p)
        delta = 2 * (out - y) * (out * (1 - out) if last_slope else 1.0)
        return {"W": x.T @ (delta[:, None] * p["v"] * h * (1 - h)), "v": h.T @ delta}

    return Case(
        lambda p: np.sum((run(p)[1] - y) ** 2),
        grad,
        {"W": r.normal(size=(4, 3)), "v": r.normal(size=3)},
    )


def profiled_gamma(partial: bool = False) -> Case:
    """Gamma regression with its scale estimated inside, or held fixed in the derivative."""
    r = rng(942)
    x, y = 0.5 * r.normal(size=(20, 3)), r.gamma(2.0, 1.0, 20)

    def parts(b):
        mu = np.exp(x @ b)
        return y / mu, np.mean((y / mu - 1) ** 2)

    def f(b):
        ratio, scale = parts(b)
        return np.sum(ratio - np.log(ratio)) / scale + 20 * np.log(scale)

    def grad(b):
        ratio, scale = parts(b)
        fixed = x.T @ (1 - ratio) / scale
        slope = -2 * x.T @ (ratio * (ratio - 1)) / 20
        through = 20 / scale - np.sum(ratio - np.log(ratio)) / scale**2
        return fixed if partial else fixed + through * slope

    return Case(f, grad, 0.5 * r.normal(size=3))


public_costs.add("public_sigmoid_output", sigmoid_output)
public_costs.add("public_profiled_gamma", profiled_gamma)
