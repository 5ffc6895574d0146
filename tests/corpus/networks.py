"""Dense networks with hand-written backpropagation, nested parameters."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from .base import Case, Family, rng

networks = Family("networks")

Pointwise = tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]


def _gelu(z: np.ndarray) -> np.ndarray:
    return 0.5 * z * (1 + np.tanh(0.8 * z + 0.035 * z**3))


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    t = np.tanh(0.8 * z + 0.035 * z**3)
    return 0.5 * (1 + t) + 0.5 * z * (1 - t**2) * (0.8 + 0.105 * z**2)


def logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


POINTWISE: dict[str, Pointwise] = {
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "relu": (lambda z: np.maximum(z, 0), lambda z: (z > 0).astype(z.dtype)),
    "sigmoid": (logistic, lambda z: logistic(z) * logistic(-z)),
    "swish": (lambda z: z * logistic(z), lambda z: logistic(z) * (1 + z * logistic(-z))),
    "gelu": (_gelu, _gelu_slope),
    "softplus": (lambda z: np.logaddexp(0, z), logistic),
}


def softmax(z: np.ndarray, axis: int = -1) -> np.ndarray:
    e = np.exp(z - z.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def forward(layers: list, x: np.ndarray, act: Callable) -> tuple[list, list]:
    """Inputs and pre-activations of every layer; the last layer is linear."""
    inputs, pres = [x], []
    for layer in layers:
        pres.append(inputs[-1] @ layer["W"] + layer["b"])
        inputs.append(act(pres[-1]))
    return inputs, pres


def backward(layers: list, inputs: list, pres: list, delta: np.ndarray, slope: Callable) -> list:
    """Gradients of every layer from the error at the last pre-activation."""
    grads: list = []
    for k in range(len(layers) - 1, -1, -1):
        grads.insert(0, {"W": inputs[k].T @ delta, "b": delta.sum(axis=0)})
        if k:
            delta = (delta @ layers[k]["W"].T) * slope(pres[k - 1])
    return grads


def draw_layers(sizes: list[int], seed: int) -> list:
    r = rng(seed)
    return [
        {"W": r.normal(size=(a, b)) / np.sqrt(a), "b": 0.3 * r.normal(size=b)}
        for a, b in pairwise(sizes)
    ]


def perceptron(name: str, sizes: list[int], seed: int, l2: float = 0.0, m: int = 12) -> Case:
    """Mean squared error of a dense network, optionally with weight decay."""
    act, slope = POINTWISE[name]
    x, y = rng(seed).normal(size=(m, sizes[0])), rng(seed + 1).normal(size=(m, sizes[-1]))

    def f(p):
        out = forward(p["layers"], x, act)[1][-1]
        decay = sum(np.sum(layer["W"] ** 2) for layer in p["layers"]) if l2 else 0.0
        return 0.5 * np.sum((out - y) ** 2) / m + 0.5 * l2 * decay

    def grad(p):
        inputs, pres = forward(p["layers"], x, act)
        grads = backward(p["layers"], inputs, pres, (pres[-1] - y) / m, slope)
        for g, layer in zip(grads, p["layers"], strict=True):
            g["W"] += l2 * layer["W"]
        return {"layers": grads}

    return Case(f, grad, {"layers": draw_layers(sizes, seed + 2)})


for _name in POINTWISE:
    networks.add(f"mlp_{_name}", lambda name=_name: perceptron(name, [4, 5, 2], 400))
networks.add("mlp_tanh_l2", lambda: perceptron("tanh", [5, 5, 5, 1], 410, l2=0.3))
networks.add("mlp_deep_sigmoid", lambda: perceptron("sigmoid", [3, 4, 4, 4, 4, 2], 420))
networks.add("mlp_wide_relu", lambda: perceptron("relu", [6, 20, 4], 430))
networks.add("mlp_square_layers", lambda: perceptron("swish", [4, 4, 4, 4], 440, l2=0.02))


def _classifier(smoothing: float, focus: float) -> Case:
    """Cross-entropy of a tanh network; label smoothing or focal weighting."""
    act, slope = POINTWISE["tanh"]
    x, labels = rng(450).normal(size=(14, 4)), rng(451).integers(0, 3, 14)
    hot = (1 - smoothing) * np.eye(3)[labels] + smoothing / 3

    def f(layers):
        p = softmax(forward(layers, x, act)[1][-1])
        return -np.sum(hot * (1 - p) ** focus * np.log(p)) / 14

    def grad(layers):
        inputs, pres = forward(layers, x, act)
        p = softmax(pres[-1])
        to_p = -hot * ((1 - p) ** focus / p - focus * (1 - p) ** max(focus - 1, 0) * np.log(p))
        delta = p * (to_p - np.sum(p * to_p, axis=1, keepdims=True)) / 14
        return backward(layers, inputs, pres, delta, slope)

    return Case(f, grad, draw_layers([4, 6, 3], 452))


networks.add("classifier_softmax", lambda: _classifier(0.0, 0))
networks.add("classifier_label_smoothing", lambda: _classifier(0.1, 0))
networks.add("classifier_focal", lambda: _classifier(0.0, 2))


@networks
def residual_network() -> Case:
    """Two residual blocks of one shape: every leaf of a block is square."""
    x, y = rng(460).normal(size=(10, 4)), rng(461).normal(size=(10, 4))

    def run(p):
        hidden = [x]
        for block in p:
            hidden.append(hidden[-1] + np.tanh(hidden[-1] @ block["in"]) @ block["out"])
        return hidden

    def grad(p):
        hidden, grads = run(p), []
        back = 2 * (hidden[-1] - y)
        for block, h in zip(p[::-1], hidden[-2::-1], strict=True):
            a = np.tanh(h @ block["in"])
            to_pre = (back @ block["out"].T) * (1 - a**2)
            grads.insert(0, {"in": h.T @ to_pre, "out": a.T @ back})
            back = back + to_pre @ block["in"].T
        return tuple(grads)

    r = rng(462)
    return Case(
        lambda p: np.sum((run(p)[-1] - y) ** 2),
        grad,
        tuple({k: 0.6 * r.normal(size=(4, 4)) for k in ("in", "out")} for _ in range(2)),
    )


@networks
def tied_autoencoder() -> Case:
    """One matrix encodes and decodes: two contributions to one gradient."""
    x = rng(463).normal(size=(10, 5))

    def grad(p):
        h = np.tanh(x @ p["W"] + p["b"])
        e = 2 * (h @ p["W"].T + p["c"] - x) / 10
        to_pre = (e @ p["W"]) * (1 - h**2)
        return {"W": x.T @ to_pre + e.T @ h, "b": to_pre.sum(axis=0), "c": e.sum(axis=0)}

    def f(p):
        h = np.tanh(x @ p["W"] + p["b"])
        return np.sum((h @ p["W"].T + p["c"] - x) ** 2) / 10

    r = rng(464)
    return Case(f, grad, {"W": r.normal(size=(5, 3)), "b": r.normal(size=3), "c": r.normal(size=5)})


@networks
def dropout_fixed_mask() -> Case:
    """Inverted dropout with a mask drawn once: deterministic, some entries exactly zero."""
    x, y = rng(465).normal(size=(9, 4)), rng(466).normal(size=9)
    keep = (rng(467).random(6) < 0.5) / 0.5

    def grad(p):
        h = np.tanh(x @ p["W"]) * keep
        delta = 2 * (h @ p["v"] - y) / 9
        inner = delta[:, None] * p["v"] * keep * (1 - np.tanh(x @ p["W"]) ** 2)
        return {"W": x.T @ inner, "v": h.T @ delta}

    return Case(
        lambda p: np.mean(((np.tanh(x @ p["W"]) * keep) @ p["v"] - y) ** 2),
        grad,
        {"W": rng(468).normal(size=(4, 6)), "v": rng(469).normal(size=6)},
    )


@networks
def variational_bottleneck() -> Case:
    """Reparameterised Gaussian code with frozen noise, plus its divergence from the prior."""
    x, noise = rng(470).normal(size=(8, 4)), rng(471).normal(size=(8, 2))

    def code(p):
        m, s = x @ p["mean"], x @ p["log_sd"]
        return m, s, m + np.exp(s) * noise

    def f(p):
        m, s, z = code(p)
        prior = 0.5 * np.sum(np.exp(2 * s) + m**2 - 1 - 2 * s)
        return (np.sum((z @ p["out"] - x) ** 2) + prior) / 8

    def grad(p):
        m, s, z = code(p)
        e = 2 * (z @ p["out"] - x) / 8
        to_z = e @ p["out"].T
        to_s = to_z * np.exp(s) * noise + (np.exp(2 * s) - 1) / 8
        return {"mean": x.T @ (to_z + m / 8), "log_sd": x.T @ to_s, "out": z.T @ e}

    r = rng(472)
    mean, log_sd, out = r.normal(size=(4, 2)), 0.4 * r.normal(size=(4, 2)), r.normal(size=(2, 4))
    return Case(f, grad, {"mean": mean, "log_sd": log_sd, "out": out})


@networks
def contrastive_cosines() -> Case:
    """InfoNCE on cosines of two views through one projection."""
    a, b = rng(473).normal(size=(6, 5)), rng(474).normal(size=(6, 5))

    def unit(z):
        norm = np.sqrt(np.sum(z**2, axis=1, keepdims=True))
        return z / norm, norm

    def f(w):
        u, v = unit(a @ w)[0], unit(b @ w)[0]
        s = 3 * u @ v.T
        return np.mean(np.logaddexp.reduce(s, axis=1) - np.diag(s))

    def grad(w):
        (u, nu), (v, nv) = unit(a @ w), unit(b @ w)
        to_s = 3 * (softmax(3 * u @ v.T) - np.eye(6)) / 6
        to_u, to_v = to_s @ v, to_s.T @ u
        to_u = (to_u - u * np.sum(u * to_u, axis=1, keepdims=True)) / nu
        to_v = (to_v - v * np.sum(v * to_v, axis=1, keepdims=True)) / nv
        return a.T @ to_u + b.T @ to_v

    return Case(f, grad, rng(475).normal(size=(5, 3)))
