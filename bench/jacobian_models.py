"""Residuals of differential equations, outputs of networks, and scores of observations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jacobian_problems import random_of

Function = tuple[str, Callable[[Any], Any], Any]


def functions() -> Iterator[Function]:
    yield from _equations()
    yield from _chemistry()
    yield from _networks()
    yield from _layers()
    yield from _scores()


def _padded(u: Any) -> Any:
    return np.pad(u, 1)


def _equations() -> Iterator[Function]:
    def bratu(u: Any) -> Any:
        y, h = _padded(u), 1 / (len(u) + 1)
        return (y[:-2] - 2 * u + y[2:]) / h**2 + 2 * np.exp(u)

    def burgers(u: Any) -> Any:
        h = 1 / len(u)
        left, right = np.roll(u, 1), np.roll(u, -1)
        return u * (right - left) / (2 * h) - 0.01 * (left - 2 * u + right) / h**2

    def poisson(u: Any) -> Any:
        y = _padded(u)
        around = y[:-2, 1:-1] + y[2:, 1:-1] + y[1:-1, :-2] + y[1:-1, 2:]
        return 25 * (around - 4 * u) - u**3

    def conduction(u: Any) -> Any:
        y, k = _padded(u), 1 + _padded(u) ** 2
        flux = (k[1:] + k[:-1]) / 2 * (y[1:] - y[:-1])
        return flux[1:] - flux[:-1]

    def brusselator(p: Any) -> Any:
        u, v = p["u"], p["v"]
        reaction = u**2 * v
        du = 1 + reaction - 4 * u + 5 * (np.roll(u, 1) - 2 * u + np.roll(u, -1))
        dv = 3 * u - reaction + 5 * (np.roll(v, 1) - 2 * v + np.roll(v, -1))
        return np.stack([du, dv])

    def shallow(p: Any) -> Any:
        h, q = p["h"], p["q"]
        return np.stack([np.gradient(q), np.gradient(q**2 / h + 4.9 * h**2)])

    def lorenz96(x: Any) -> Any:
        return (np.roll(x, -1) - np.roll(x, 2)) * np.roll(x, 1) - x + 8

    x = np.linspace(0, 1, 12)
    yield "bratu", bratu, np.sin(np.pi * x[1:-1]) / 2 + 0.1
    yield "burgers", burgers, np.sin(2 * np.pi * x) + 0.3
    yield "poisson, with a cube", poisson, np.outer(np.sin(3 * x[1:6]), np.cos(x[:4])) + 0.2
    yield "conduction", conduction, np.cos(2 * x[:9])
    yield "brusselator", brusselator, {"u": 1 + np.sin(6 * x[:8]) / 2, "v": 3 + np.cos(5 * x[:8])}
    yield "shallow water", shallow, {"h": 2 + x[:8], "q": np.cos(x[:8])}
    yield "lorenz 96", lorenz96, 8 + np.sin(9 * x)


def _chemistry() -> Iterator[Function]:
    def robertson(y: Any) -> Any:
        a, b = 0.04 * y[0], 1e4 * y[1] * y[2]
        c = 3e7 * y[1] ** 2
        return np.array([-a + b, a - b - c, c])

    def kinetics(k: Any) -> Any:
        """Concentrations after 20 steps of a chain of reactions, by rates."""
        c, found = np.array([1.0, 0, 0, 0]), []
        for _ in range(20):
            flow = 0.1 * k * c[:3]
            c = c + np.concatenate([-flow, [0]]) + np.concatenate([[0], flow])
            found.append(c)
        return np.array(found[4::5])

    def predators(p: Any) -> Any:
        x, y, found = 2.0, 1.0, []
        for _ in range(30):
            x, y = x + 0.05 * x * (p[0] - p[1] * y), y + 0.05 * y * (p[2] * x - p[3])
            found.append((x, y))
        return np.array(found[9::10])

    yield "robertson", robertson, np.array([0.7, 0.02, 0.3])
    yield "chain of reactions", kinetics, np.array([1.0, 0.6, 0.3])
    yield "lotka and volterra", predators, np.array([1.1, 0.4, 0.3, 0.5])


def _networks() -> Iterator[Function]:
    rng = random_of("networks")
    X, image = rng.normal(size=(4, 3)), rng.normal(size=(6, 6))

    def network(p: Any) -> Any:
        return np.tanh(X @ p["W1"] + p["b1"]) @ p["W2"] + p["b2"]

    def recurrent(p: Any) -> Any:
        h = np.zeros(3)
        for row in X:
            h = np.tanh(p["W"] @ h + p["U"] @ row)
        return h

    def convolution(k: Any) -> Any:
        out = sum(k[i, j] * image[i : i + 4, j : j + 4] for i in range(3) for j in range(3))
        return 1 / (1 + np.exp(-out))

    def attention(p: Any) -> Any:
        scores = (X @ p["Q"]) @ (X @ p["K"]).T / np.sqrt(2)
        weights = np.exp(scores)
        return weights / weights.sum(axis=1, keepdims=True) @ X

    layers = {
        "W1": rng.normal(size=(3, 4)) / 2,
        "b1": rng.normal(size=4) / 2,
        "W2": rng.normal(size=(4, 2)),
        "b2": rng.normal(size=2),
    }
    yield "network", network, layers
    yield (
        "recurrent network",
        recurrent,
        {"W": rng.normal(size=(3, 3)) / 2, "U": rng.normal(size=(3, 3)) / 2},
    )
    yield "convolution", convolution, rng.normal(size=(3, 3))
    yield "attention", attention, {"Q": rng.normal(size=(3, 2)), "K": rng.normal(size=(3, 2))}


def _layers() -> Iterator[Function]:
    rng = random_of("layers")

    def softmax(z: Any) -> Any:
        e = np.exp(z)
        return e / e.sum(axis=-1, keepdims=True)

    def layer_norm(x: Any) -> Any:
        centered = x - x.mean(axis=-1, keepdims=True)
        return centered / np.sqrt((centered**2).mean(axis=-1, keepdims=True) + 1e-5)

    def cholesky(v: Any) -> Any:
        """The matrix of a vector of its factor, with a logarithmic diagonal."""
        L = np.zeros((3, 3), v.dtype)
        L[np.tril_indices(3)] = v
        L[np.diag_indices(3)] = np.exp(np.diag(L))
        return L @ L.T

    def inverse(a: Any) -> Any:
        return np.linalg.inv(a)

    yield "softmax", softmax, rng.normal(size=(3, 4))
    yield "layer norm", layer_norm, rng.normal(size=(2, 5))
    yield "cholesky parameters", cholesky, rng.normal(size=6)
    yield "inverse of a matrix", inverse, rng.normal(size=(3, 3)) + 2 * np.eye(3)


def _scores() -> Iterator[Function]:
    """Gradients of the likelihood of each observation, one in each row."""
    rng = random_of("scores")
    X, y = rng.normal(size=(8, 3)), rng.integers(0, 2, 8).astype(float)
    counts, times = rng.poisson(2.0, 8).astype(float), rng.exponential(1.5, 8)

    def logit(b: Any) -> Any:
        return (y - 1 / (1 + np.exp(-X @ b)))[:, None] * X

    def poisson(b: Any) -> Any:
        return (counts - np.exp(X @ b))[:, None] * X

    def weibull(p: Any) -> Any:
        shape, scale = p
        z = np.log(times / scale)
        power = np.exp(shape * z)
        return np.stack([1 / shape + z - power * z, shape / scale * (power - 1)], axis=1)

    def normal(p: Any) -> Any:
        z = (times - p[0]) / np.exp(p[1])
        return np.stack([z / np.exp(p[1]), z**2 - 1], axis=1)

    yield "scores of a logit", logit, rng.normal(size=3) / 2
    yield "scores of a poisson regression", poisson, rng.normal(size=3) / 3
    yield "scores of a weibull", weibull, np.array([1.3, 1.7])
    yield "scores of a normal", normal, np.array([1.2, 0.3])
