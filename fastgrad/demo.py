"""The demonstration: backpropagation written by hand, on Fisher's Iris measurements.

A network of two layers (tanh, softmax) with an L2 penalty classifies 150 flowers. Its gradient is
written out in plain NumPy, as in a first course; `BUGS` are the usual mistakes.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

import numpy as np

__all__ = ["BUGS", "Problem", "iris_network"]

Arrays = dict[str, np.ndarray]

L2 = 0.1
HIDDEN = 4


@dataclass(frozen=True)
class Problem:
    """What a check needs: the cost, its gradient, and the parameters."""

    cost: Callable[[Arrays], float]
    grad: Callable[[Arrays], Arrays]
    params: Arrays


def load_iris() -> tuple[np.ndarray, np.ndarray]:
    """Standardized measurements, shape (150, 4), and one-hot species, shape (150, 3).

    R. A. Fisher, The use of multiple measurements in taxonomic problems, Annals of Eugenics 7
    (1936) 179-188.
    """
    text = files("fastgrad").joinpath("data/iris.csv").read_text(encoding="ascii")
    rows = list(csv.reader(text.splitlines()))[1:]
    measured = np.array([row[:4] for row in rows], dtype=float)
    species = np.array([row[4] for row in rows])
    standardized = (measured - measured.mean(axis=0)) / measured.std(axis=0)
    return standardized, (species[:, None] == np.unique(species)).astype(float)


def iris_network(bug: str | None = None) -> Problem:
    """Return the network; `bug` names what is wrong with its backpropagation, None for nothing.

    Examples
    --------
    >>> import fastgrad as fg
    >>> from fastgrad.demo import iris_network
    >>> right, wrong = iris_network(), iris_network("one-entry")
    >>> bool(fg.check_gradient(right.cost, right.grad, right.params))
    True
    >>> [e.path for e in fg.check_gradient(wrong.cost, wrong.grad, wrong.params).wrong]
    ['W1[2, 1]']
    """
    x, y = load_iris()
    rng = np.random.default_rng(1936)  # any seed would do; this is the year of Fisher's paper
    params = {
        "W1": rng.normal(size=(4, HIDDEN)) / 2,
        "b1": rng.normal(size=HIDDEN) / 10,
        "W2": rng.normal(size=(HIDDEN, 3)) / 2,
        "b2": rng.normal(size=3) / 10,
    }
    change = BUGS[bug].change if bug else None

    def grad(p: Arrays) -> Arrays:
        g = _backward(p, x, y)
        if change:
            change(g, p, x, y)
        return g

    return Problem(lambda p: _cost(p, x, y), grad, params)


def _forward(p: Arrays, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.tanh(x @ p["W1"] + p["b1"])
    scores = hidden @ p["W2"] + p["b2"]
    scores -= scores.max(axis=1, keepdims=True)  # or the exponential might overflow
    return hidden, scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))


def _cost(p: Arrays, x: np.ndarray, y: np.ndarray) -> float:
    _, log_probabilities = _forward(p, x)
    penalty = L2 / 2 * ((p["W1"] ** 2).sum() + (p["W2"] ** 2).sum())
    return float(-(y * log_probabilities).sum() / len(x) + penalty)


def _deltas(p: Arrays, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hidden activations, and the errors of the hidden and the output layer."""
    hidden, log_probabilities = _forward(p, x)
    delta2 = (np.exp(log_probabilities) - y) / len(x)
    delta1 = delta2 @ p["W2"].T * (1 - hidden**2)
    return hidden, delta1, delta2


def _backward(p: Arrays, x: np.ndarray, y: np.ndarray) -> Arrays:
    hidden, delta1, delta2 = _deltas(p, x, y)
    return {
        "W1": x.T @ delta1 + L2 * p["W1"],
        "b1": delta1.sum(axis=0),
        "W2": hidden.T @ delta2 + L2 * p["W2"],
        "b2": delta2.sum(axis=0),
    }


# ------------------------------------------------------------------------------- planted bugs


@dataclass(frozen=True)
class Bug:
    """A mistake: the sentence that describes it, and what it does to the right gradient."""

    sentence: str
    change: Callable[[Arrays, Arrays, np.ndarray, np.ndarray], None]


def _missing_mean(g: Arrays, p: Arrays, x: np.ndarray, y: np.ndarray) -> None:
    for name in ("b1", "b2"):
        g[name] *= len(x)


def _missing_l2(g: Arrays, p: Arrays, x: np.ndarray, y: np.ndarray) -> None:
    g["W2"] -= L2 * p["W2"]


def _transposed(g: Arrays, p: Arrays, x: np.ndarray, y: np.ndarray) -> None:
    g["W1"] = g["W1"].T.copy()


def _bias_sum(g: Arrays, p: Arrays, x: np.ndarray, y: np.ndarray) -> None:
    _, delta1, _ = _deltas(p, x, y)
    g["b1"] = np.full_like(g["b1"], delta1.sum())


def _wrong_sign(g: Arrays, p: Arrays, x: np.ndarray, y: np.ndarray) -> None:
    g["b2"] *= -1


def _one_entry(g: Arrays, p: Arrays, x: np.ndarray, y: np.ndarray) -> None:
    g["W1"][2, 1] *= 1.01


BUGS = {
    "missing-mean": Bug("the bias gradients lack the 1/m of the mean over samples", _missing_mean),
    "missing-l2": Bug("the gradient of W2 lacks its L2 term", _missing_l2),
    "transposed": Bug("the gradient of W1 is transposed", _transposed),
    "bias-sum": Bug("the gradient of b1 is summed over all units, not for each", _bias_sum),
    "wrong-sign": Bug("the gradient of b2 has the wrong sign", _wrong_sign),
    "one-entry": Bug("one entry of the gradient of W1 is off by 1 %", _one_entry),
}
