"""Negative log-likelihoods of regressions, gradients by hand."""

from __future__ import annotations

import numpy as np

from .base import Case, Family, rng

likelihoods = Family("likelihoods")


def design(n: int, k: int, seed: int) -> np.ndarray:
    """A regression design with an intercept."""
    x = rng(seed).normal(size=(n, k))
    x[:, 0] = 1.0
    return x


def sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _logistic(penalty: float) -> Case:
    x, y = design(40, 5, 200), rng(201).integers(0, 2, 40)

    def f(w):
        z = x @ w
        return np.mean(np.logaddexp(0, z) - y * z) + 0.5 * penalty * np.sum(w**2)

    return Case(f, lambda w: x.T @ (sigmoid(x @ w) - y) / 40 + penalty * w, rng(202).normal(size=5))


likelihoods.add("logistic", lambda: _logistic(0.0))
likelihoods.add("logistic_l2", lambda: _logistic(0.1))


@likelihoods
def logistic_elastic_net() -> Case:
    x, y = design(40, 8, 203), rng(204).integers(0, 2, 40)

    def f(w):
        z = x @ w
        return np.mean(np.logaddexp(0, z) - y * z) + 0.2 * np.sum(np.abs(w)) + 0.1 * np.sum(w**2)

    return Case(
        f,
        lambda w: x.T @ (sigmoid(x @ w) - y) / 40 + 0.2 * np.sign(w) + 0.2 * w,
        rng(205).normal(size=8),
    )


@likelihoods
def logistic_weight_and_bias() -> Case:
    """The course's own layout: a column of weights, a bias, mean cross-entropy."""
    x, y = rng(206).normal(size=(30, 6)), rng(207).integers(0, 2, 30)

    def f(p):
        z = x @ p["w"] + p["b"]
        return np.mean(np.logaddexp(0, z) - y * z)

    def grad(p):
        delta = (sigmoid(x @ p["w"] + p["b"]) - y) / 30
        return {"w": x.T @ delta, "b": np.sum(delta, keepdims=True)}

    return Case(f, grad, {"w": rng(208).normal(size=6), "b": np.array([0.3])})


@likelihoods
def poisson() -> Case:
    x, y = 0.5 * design(30, 4, 210), rng(211).poisson(2, 30)
    return Case(
        lambda b: np.sum(np.exp(x @ b) - y * (x @ b)),
        lambda b: x.T @ (np.exp(x @ b) - y),
        0.5 * rng(212).normal(size=4),
    )


@likelihoods
def zero_inflated_poisson() -> Case:
    x, y = 0.5 * design(30, 3, 213), rng(214).poisson(1, 30)

    def f(p):
        eta, z = x @ p["rate"], x @ p["zero"]
        none = np.logaddexp(z, -np.exp(eta))
        return np.sum(np.logaddexp(0, z) - np.where(y == 0, none, y * eta - np.exp(eta)))

    def grad(p):
        mu, z = np.exp(x @ p["rate"]), x @ p["zero"]
        posterior = sigmoid(z + mu) * (y == 0)
        return {"rate": x.T @ (mu * (1 - posterior) - y), "zero": x.T @ (sigmoid(z) - posterior)}

    return Case(f, grad, {"rate": rng(215).normal(size=3), "zero": rng(216).normal(size=3)})


@likelihoods
def gamma_log_link() -> Case:
    x, y = 0.5 * design(30, 4, 217), rng(218).gamma(2.0, 1.0, 30)
    return Case(
        lambda b: np.sum(2 * (x @ b + y * np.exp(-(x @ b)))),
        lambda b: 2 * x.T @ (1 - y * np.exp(-(x @ b))),
        rng(219).normal(size=4),
    )


@likelihoods
def normal_log_scale() -> Case:
    x, y = design(25, 3, 220), rng(221).normal(size=25)

    def f(p):
        z = (y - x @ p["mean"]) * np.exp(-p["log_sd"])
        return np.sum(0.5 * z**2 + p["log_sd"])

    def grad(p):
        z = (y - x @ p["mean"]) * np.exp(-p["log_sd"])
        return {"mean": -x.T @ z * np.exp(-p["log_sd"]), "log_sd": np.asarray(np.sum(1 - z**2))}

    return Case(f, grad, {"mean": rng(222).normal(size=3), "log_sd": np.array(-0.4)})


@likelihoods
def normal_group_scales() -> Case:
    """One positive scale per group, not in logs."""
    group, y = np.repeat(np.arange(5), 6), rng(223).normal(size=30)

    def f(p):
        z = (y - p["mean"][group]) / p["sd"][group]
        return np.sum(0.5 * z**2 + np.log(p["sd"][group]))

    def grad(p):
        z = (y - p["mean"][group]) / p["sd"][group]
        return {
            "mean": np.bincount(group, -z / p["sd"][group]),
            "sd": np.bincount(group, (1 - z**2) / p["sd"][group]),
        }

    return Case(f, grad, {"mean": rng(224).normal(size=5), "sd": rng(225).uniform(0.4, 3, 5)})


@likelihoods
def student_t() -> Case:
    x, y = design(25, 3, 226), rng(227).standard_t(3, 25)

    def f(p):
        z = (y - x @ p["b"]) * np.exp(-p["s"][0])
        return np.sum(2.5 * np.log1p(z**2 / 4) + p["s"][0])

    def grad(p):
        z = (y - x @ p["b"]) * np.exp(-p["s"][0])
        score = 5 * z / (4 + z**2)
        return {"b": -x.T @ score * np.exp(-p["s"][0]), "s": np.sum(1 - score * z, keepdims=True)}

    return Case(f, grad, {"b": rng(228).normal(size=3), "s": np.array([0.2])})


@likelihoods
def weibull_censored() -> Case:
    """Survival times with right censoring, log-scale and log-shape."""
    x, t = design(30, 3, 229), rng(230).weibull(1.5, 30) + 0.05
    died = rng(231).random(30) < 0.7

    def parts(p):
        k = np.exp(p["log_shape"][0])
        u = k * (np.log(t) - x @ p["b"])
        return k, u

    def f(p):
        _, u = parts(p)
        return np.sum(np.exp(u) - died * (p["log_shape"][0] + u - np.log(t)))

    def grad(p):
        k, u = parts(p)
        slope = np.exp(u) - died
        return {"b": -k * x.T @ slope, "log_shape": np.sum(slope * u - died, keepdims=True)}

    return Case(f, grad, {"b": rng(232).normal(size=3), "log_shape": np.array([0.3])})


@likelihoods
def cox_partial() -> Case:
    """Cox partial likelihood, rows sorted by falling time."""
    x, died = rng(233).normal(size=(25, 4)), rng(234).random(25) < 0.6

    def f(b):
        eta = x @ b
        return -np.sum(died * (eta - np.log(np.cumsum(np.exp(eta)))))

    def grad(b):
        risk = np.exp(x @ b)
        at_risk = np.cumsum(risk[:, None] * x, axis=0) / np.cumsum(risk)[:, None]
        return -np.sum(died[:, None] * (x - at_risk), axis=0)

    return Case(f, grad, rng(235).normal(size=4))


def cumulative(p: dict, x: np.ndarray) -> np.ndarray:
    """Chances of at most each category; cuts are a first value and log-gaps."""
    cuts = p["first"][0] + np.concatenate([[0.0], np.cumsum(np.exp(p["log_gaps"]))])
    below = sigmoid(cuts - (x @ p["b"])[:, None])
    return np.hstack([np.zeros((len(x), 1)), below, np.ones((len(x), 1))])


@likelihoods
def ordinal_logit() -> Case:
    """Proportional odds of four categories."""
    x, y = rng(236).normal(size=(30, 3)), rng(237).integers(0, 4, 30)
    row = np.arange(30)

    def f(p):
        c = cumulative(p, x)
        return -np.sum(np.log(c[row, y + 1] - c[row, y]))

    def grad(p):
        c = cumulative(p, x)
        chance, to_cut = c[row, y + 1] - c[row, y], np.zeros_like(c)
        to_cut[row, y + 1] -= 1 / chance
        to_cut[row, y] += 1 / chance
        to_cut = (to_cut * c * (1 - c))[:, 1:-1]
        tails = np.cumsum(to_cut.sum(axis=0)[::-1])[::-1]
        log_gaps = tails[1:] * np.exp(p["log_gaps"])
        return {"b": -x.T @ to_cut.sum(axis=1), "first": tails[:1], "log_gaps": log_gaps}

    b, gaps = rng(238).normal(size=3), np.array([-0.3, 0.2])
    return Case(f, grad, {"b": b, "first": np.array([-0.8]), "log_gaps": gaps})


@likelihoods
def complementary_log_log() -> Case:
    x, y = design(30, 3, 239), rng(240).integers(0, 2, 30)

    def f(b):
        hazard = np.exp(x @ b)
        return np.sum((1 - y) * hazard - y * np.log(-np.expm1(-hazard)))

    def grad(b):
        hazard = np.exp(x @ b)
        return x.T @ (hazard * (1 - y / -np.expm1(-hazard)))

    return Case(f, grad, 0.5 * rng(241).normal(size=3))


@likelihoods
def softmax_regression() -> Case:
    x, y = design(25, 4, 242), rng(243).integers(0, 3, 25)
    hot = np.eye(3)[y]

    def probabilities(w):
        e = np.exp(x @ w - (x @ w).max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    return Case(
        lambda w: -np.sum(hot * np.log(probabilities(w))) / 25,
        lambda w: x.T @ (probabilities(w) - hot) / 25,
        rng(244).normal(size=(4, 3)),
    )


@likelihoods
def bradley_terry() -> Case:
    r = rng(245)
    winner, loser = r.integers(0, 4, 30), r.integers(4, 8, 30)

    def grad(s):
        p = sigmoid(s[loser] - s[winner])
        return np.bincount(loser, p, 8) - np.bincount(winner, p, 8) + 0.2 * s

    return Case(
        lambda s: np.sum(np.logaddexp(0, s[loser] - s[winner])) + 0.1 * np.sum(s**2),
        grad,
        r.normal(size=8),
    )


@likelihoods
def von_mises_mean() -> Case:
    angles = rng(246).uniform(-3, 3, (20, 4))
    return Case(
        lambda m: -1.7 * np.sum(np.cos(angles - m)),
        lambda m: -1.7 * np.sum(np.sin(angles - m), axis=0),
        rng(247).normal(size=4),
    )


@likelihoods
def negative_binomial_mean() -> Case:
    x, y = 0.5 * design(30, 4, 248), rng(249).poisson(3, 30)
    size = 2.5

    def grad(b):
        mu = np.exp(x @ b)
        return x.T @ (mu * (y + size) / (mu + size) - y)

    return Case(
        lambda b: np.sum((y + size) * np.log(np.exp(x @ b) + size) - y * (x @ b)),
        grad,
        rng(250).normal(size=4),
    )
