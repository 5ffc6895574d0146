"""A network of about a million parameters in plain NumPy, with its backpropagation."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

Params = dict[str, np.ndarray]
SIZES = (784, 1000, 200, 10)
ACTIVATIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {
    # The function, and its derivative in terms of its value.
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda z: np.maximum(z, 0), lambda h: h > 0),
}


class Network:
    """Cross-entropy of a fully connected network on random data, at random parameters."""

    def __init__(
        self, activation: str = "tanh", dtype: str = "f8", sizes: tuple[int, ...] = SIZES, seed=0
    ) -> None:
        random, batch = np.random.default_rng(seed), 64
        self.act, self.slope = ACTIVATIONS[activation]
        self.layers = len(sizes) - 1
        self.X = random.normal(size=(batch, sizes[0])).astype(dtype)
        self.Y = np.eye(sizes[-1], dtype=dtype)[random.integers(0, sizes[-1], batch)]
        self.params: Params = {}
        for k, (m, n) in enumerate(pairwise(sizes), 1):
            self.params[f"W{k}"] = (random.normal(size=(m, n)) / np.sqrt(m)).astype(dtype)
            self.params[f"b{k}"] = (random.normal(size=n) * 0.1).astype(dtype)

    def forward(self, p: Params) -> tuple[list[np.ndarray], np.ndarray]:
        """Values of all layers, and the logarithms of the probabilities."""
        values = [self.X]
        for k in range(1, self.layers):
            values.append(self.act(values[-1] @ p[f"W{k}"] + p[f"b{k}"]))
        scores = values[-1] @ p[f"W{self.layers}"] + p[f"b{self.layers}"]
        scores = scores - scores.max(axis=1, keepdims=True)
        return values, scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))

    def cost(self, p: Params) -> np.floating:
        return -(self.Y * self.forward(p)[1]).sum() / self.X.dtype.type(len(self.X))

    def gradient(self, p: Params) -> Params:
        values, logs = self.forward(p)
        delta = (np.exp(logs) - self.Y) / self.X.dtype.type(len(self.X))
        found: Params = {}
        for k in range(self.layers, 0, -1):
            found[f"W{k}"] = values[k - 1].T @ delta
            found[f"b{k}"] = delta.sum(axis=0)
            if k > 1:
                delta = delta @ p[f"W{k}"].T * self.slope(values[k - 1])
        return {key: found[key] for key in p}
