"""Likelihoods with latent structure: mixtures, chains, Gaussian processes, recursions."""

from __future__ import annotations

import numpy as np

from .base import Case, Family, rng
from .likelihoods import design
from .networks import softmax

latent = Family("likelihoods")


@latent
def gaussian_mixture() -> Case:
    y = np.concatenate([rng(260).normal(-1, 0.6, 15), rng(261).normal(2, 1.0, 15)])
    start = {"logits": [0.2, -0.5], "mean": [-0.5, 1.2], "log_sd": [0.1, -0.3]}

    def joint(p):
        weights = p["logits"] - np.logaddexp.reduce(p["logits"])
        z = (y[:, None] - p["mean"]) * np.exp(-p["log_sd"])
        return weights - p["log_sd"] - 0.5 * z**2, z

    def f(p):
        return -np.sum(np.logaddexp.reduce(joint(p)[0], axis=1))

    def grad(p):
        log_joint, z = joint(p)
        share = softmax(log_joint)
        return {
            "logits": y.size * softmax(p["logits"]) - share.sum(axis=0),
            "mean": -(share * z).sum(axis=0) * np.exp(-p["log_sd"]),
            "log_sd": (share * (1 - z**2)).sum(axis=0),
        }

    return Case(f, grad, {k: np.array(v) for k, v in start.items()})


def _chain(p, emission):
    """Scaled forward pass of a hidden Markov chain: filtered states and normalisers."""
    moves = np.exp(p["moves"] - np.logaddexp.reduce(p["moves"], axis=1, keepdims=True))
    state, states, norms = np.full(3, 1 / 3), [], []
    for b in emission:
        state = (state @ moves) * b
        norms.append(state.sum())
        state = state / norms[-1]
        states.append(state)
    return moves, states, norms


@latent
def hidden_markov_forward() -> Case:
    """Three states, Gaussian emissions; gradient by the backward recursion."""
    y = rng(262).normal(size=12)

    def emission(p):
        return np.exp(-0.5 * (y[:, None] - p["mean"]) ** 2)

    def f(p):
        return -np.sum(np.log(_chain(p, emission(p))[2]))

    def grad(p):
        b = emission(p)
        moves, states, norms = _chain(p, b)
        back, d_moves, d_mean = np.ones(3), np.zeros((3, 3)), np.zeros(3)
        for t in range(y.size - 1, -1, -1):
            before = states[t - 1] if t else np.full(3, 1 / 3)
            pair = before[:, None] * moves * (b[t] * back / norms[t])
            d_moves -= pair
            d_mean -= pair.sum(axis=0) * (y[t] - p["mean"])
            back = moves @ (b[t] * back) / norms[t]
        return {"moves": d_moves - d_moves.sum(axis=1, keepdims=True) * moves, "mean": d_mean}

    return Case(
        f, grad, {"moves": rng(263).normal(size=(3, 3)), "mean": np.array([-1.0, 0.2, 1.1])}
    )


@latent
def gaussian_process_marginal() -> Case:
    """RBF kernel plus noise: log length, log amplitude, log noise."""
    x, y = np.sort(rng(264).uniform(0, 4, 15)), rng(265).normal(size=15)
    squared = (x[:, None] - x) ** 2

    def kernels(t):
        smooth = np.exp(2 * t[1] - 0.5 * squared * np.exp(-2 * t[0]))
        return smooth, np.exp(2 * t[2]) * np.eye(15)

    def f(t):
        k = sum(kernels(t))
        return 0.5 * (y @ np.linalg.solve(k, y) + np.linalg.slogdet(k)[1])

    def grad(t):
        smooth, noise = kernels(t)
        inverse = np.linalg.inv(smooth + noise)
        weight = inverse - np.outer(inverse @ y, inverse @ y)
        by = [smooth * squared * np.exp(-2 * t[0]), 2 * smooth, 2 * noise]
        return 0.5 * np.array([np.sum(weight * d) for d in by])

    return Case(f, grad, np.array([-0.2, 0.3, -0.7]))


@latent
def autoregression_2() -> Case:
    y = np.cumsum(rng(266).normal(size=30)) / 3

    def f(p):
        e = y[2:] - p[0] * y[1:-1] - p[1] * y[:-2]
        return np.sum(0.5 * e**2 * np.exp(-2 * p[2]) + p[2])

    def grad(p):
        e = y[2:] - p[0] * y[1:-1] - p[1] * y[:-2]
        w = np.exp(-2 * p[2])
        return np.array([-w * e @ y[1:-1], -w * e @ y[:-2], np.sum(1 - e**2 * w)])

    return Case(f, grad, np.array([0.6, -0.2, -0.3]))


@latent
def garch_1_1() -> Case:
    """Conditional variance by recursion, its derivative carried along."""
    r = rng(267).normal(size=40)

    def run(p):
        h, dh, total, slope = 1.0, np.zeros(3), 0.0, np.zeros(3)
        for t in range(1, r.size):
            dh = np.array([1.0, r[t - 1] ** 2, h]) + p[2] * dh
            h = p[0] + p[1] * r[t - 1] ** 2 + p[2] * h
            total += 0.5 * (np.log(h) + r[t] ** 2 / h)
            slope += 0.5 * (1 / h - r[t] ** 2 / h**2) * dh
        return total, slope

    return Case(lambda p: run(p)[0], lambda p: run(p)[1], np.array([0.2, 0.15, 0.7]))


@latent
def local_level_kalman() -> Case:
    """Random walk in noise: innovations likelihood in the two log-variances."""
    y = np.cumsum(rng(268).normal(size=25)) + rng(269).normal(size=25)

    def run(t):
        q, s = np.exp(t)
        a, p, da, dp, total, slope = y[0], s, np.zeros(2), np.array([0.0, s]), 0.0, np.zeros(2)
        for obs in y[1:]:
            p, dp = p + q, dp + np.array([q, 0.0])
            v, dv, big, dbig = obs - a, -da, p + s, dp + np.array([0.0, s])
            total += 0.5 * (np.log(big) + v**2 / big)
            slope += 0.5 * (dbig / big + 2 * v * dv / big - v**2 * dbig / big**2)
            gain, dgain = p / big, dp / big - p * dbig / big**2
            a, da = a + gain * v, da + dgain * v + gain * dv
            p, dp = p * (1 - gain), dp * (1 - gain) - p * dgain
        return total, slope

    return Case(lambda t: run(t)[0], lambda t: run(t)[1], np.array([-0.5, 0.3]))


@latent
def chain_random_field() -> Case:
    """Linear-chain CRF: partition function by forward sums, marginals by both passes."""
    r = rng(270)
    labels = r.integers(0, 3, 7)

    def messages(p):
        a, b = [p["node"][0]], [np.zeros(3)]
        for t in range(1, 7):
            a.append(p["node"][t] + np.logaddexp.reduce(a[-1][:, None] + p["edge"], axis=0))
        for t in range(6, 0, -1):
            b.insert(0, np.logaddexp.reduce(p["edge"] + p["node"][t] + b[0], axis=1))
        return np.array(a), np.array(b)

    def f(p):
        score = p["node"][np.arange(7), labels].sum() + p["edge"][labels[:-1], labels[1:]].sum()
        return np.logaddexp.reduce(messages(p)[0][-1]) - score

    def grad(p):
        a, b = messages(p)
        z = np.logaddexp.reduce(a[-1])
        node = np.exp(a + b - z) - np.eye(3)[labels]
        pair = a[:-1, :, None] + p["edge"] + (p["node"] + b)[1:, None, :]
        edge = np.exp(pair - z).sum(axis=0)
        np.subtract.at(edge, (labels[:-1], labels[1:]), 1.0)
        return {"node": node, "edge": edge}

    return Case(f, grad, {"node": r.normal(size=(7, 3)), "edge": r.normal(size=(3, 3))})


@latent
def random_intercepts() -> Case:
    """Penalised mixed model: shared slopes, one intercept per group, precisions in logs."""
    x, y, group = design(24, 3, 271), rng(272).normal(size=24), np.repeat(np.arange(6), 4)
    size = np.array([12, 3])

    def parts(p):
        e = y - x @ p["slope"] - p["group"][group]
        return e, np.exp(p["log_tau"]), np.array([np.sum(e**2), np.sum(p["group"] ** 2)])

    def f(p):
        _, tau, squares = parts(p)
        return 0.5 * tau @ squares - size @ p["log_tau"]

    def grad(p):
        e, tau, squares = parts(p)
        group_slope = -tau[0] * np.bincount(group, e) + tau[1] * p["group"]
        log_tau = 0.5 * tau * squares - size
        return {"slope": -tau[0] * x.T @ e, "group": group_slope, "log_tau": log_tau}

    slope, intercepts = rng(273).normal(size=3), rng(274).normal(size=6)
    return Case(f, grad, {"slope": slope, "group": intercepts, "log_tau": np.array([0.2, -0.4])})


@latent
def matrix_factorisation() -> Case:
    r = rng(275)
    rows, cols, seen = r.integers(0, 6, 25), r.integers(0, 5, 25), r.normal(size=25)

    def f(p):
        e = np.sum(p["user"][rows] * p["item"][cols], axis=1) + p["bias"][rows] - seen
        return 0.5 * np.sum(e**2) + 0.05 * (np.sum(p["user"] ** 2) + np.sum(p["item"] ** 2))

    def grad(p):
        e = np.sum(p["user"][rows] * p["item"][cols], axis=1) + p["bias"][rows] - seen
        user, item = 0.1 * p["user"], 0.1 * p["item"]
        np.add.at(user, rows, e[:, None] * p["item"][cols])
        np.add.at(item, cols, e[:, None] * p["user"][rows])
        return {"user": user, "item": item, "bias": np.bincount(rows, e, 6)}

    return Case(
        f,
        grad,
        {"user": r.normal(size=(6, 3)), "item": r.normal(size=(5, 3)), "bias": r.normal(size=6)},
    )
