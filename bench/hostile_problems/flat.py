"""Gradients that vanish: at optima, by invariance, in dead units, or because nothing is read."""

from __future__ import annotations

import numpy as np

from .base import (
    NOT_RIGHT,
    RIGHT,
    UNKNOWN,
    UNSURE,
    Group,
    Problem,
    Rng,
    log_uniform,
    sizes,
    some_smooth,
    waves,
)

group = Group("flat")


@group
def smoothed_absolute_at_zero(rng: Rng) -> Problem:
    n, eps = sizes(rng, 5), log_uniform(rng, -14, -2)
    x, w = np.zeros(n), rng.normal(size=n)

    def clean(v):
        return w @ np.sqrt(v**2 + eps)

    return Problem(
        lambda v: float(clean(v)), x, np.zeros(n), clean=clean, size=1.0, plain=eps > 1e-8
    )


@group
def huber_at_zero(rng: Rng) -> Problem:
    n, delta = sizes(rng, 5), log_uniform(rng, -6, 0)
    x = np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n))

    def f(v):
        a = np.abs(v)
        return float(np.where(a < delta, a**2 / 2, delta * (a - delta / 2)).sum())

    return Problem(f, x, np.clip(x, -delta, delta), size=delta, plain=delta > 1e-4)


@group
def likelihood_optimum(rng: Rng) -> Problem:
    n = int(rng.integers(1, 5))
    data, y = rng.normal(size=(60, n)), (rng.random(60) < 0.5).astype(float)

    def score(b):
        return data.T @ (y - 1 / (1 + np.exp(-data @ b)))

    b = np.zeros(n)
    for _ in range(30):
        p = 1 / (1 + np.exp(-data @ b))
        b = b + np.linalg.solve((data.T * (p * (1 - p))) @ data, score(b))

    def f(v):
        return float((y * (data @ v) - np.logaddexp(0, data @ v)).sum())

    def clean(v):
        return (y * (data @ v) - np.log(1 + np.exp(data @ v))).sum()

    extra = {f"score x {c:g}": (c * score(b), UNSURE) for c in (-1.0, 50.0, 0.0)}
    extra["off"] = (score(b) + 0.5, NOT_RIGHT)
    return Problem(
        f, b, score(b), UNSURE, clean=clean, analytic=True, size=10.0, variants=False, extra=extra
    )


@group
def least_squares_optimum(rng: Rng) -> Problem:
    data, y = rng.normal(size=(20, 3)), rng.normal(size=20)
    x = np.linalg.lstsq(data, y, rcond=None)[0]
    right = data.T @ (data @ x - y)
    extra = {"off": (right + 0.3, NOT_RIGHT)}
    return Problem(
        lambda v: float(((data @ v - y) ** 2).sum() / 2),
        x,
        right,
        clean=lambda v: ((data @ v - y) ** 2).sum() / 2,
        analytic=True,
        size=10.0,
        variants=False,
        extra=extra,
    )


@group
def saddle(rng: Rng) -> Problem:
    """(x - c)^k at c, alone or beside something that moves."""
    k, c, n = int(rng.integers(2, 6)), float(rng.choice([1.0, 0.0, 0.7, -3.25])), sizes(rng, 5)
    constant, w = float(rng.choice([0.0, 1.0, 1e3])), float(rng.choice([0.0, 1.0]))

    def clean(v):
        return ((v[:n] - c) ** k).sum() + constant + w * np.sin(v[n])

    x = np.append(np.full(n, c), 0.5)
    right = np.append(np.zeros(n), w * np.cos(0.5))
    return Problem(
        lambda v: float(clean(v)), x, right, clean=clean, analytic=True, variants=False, size=1.0
    )


@group
def dead_relu(rng: Rng) -> Problem:
    """Units that no sample reaches: their weights have a gradient of zero."""
    data = np.abs(rng.normal(size=(12, 3)))
    w, v = rng.normal(size=(3, 4)), rng.normal(size=4)
    w[:, :2] = -np.abs(w[:, :2]) - 0.1
    y = rng.normal(size=12)

    def f(p):
        return float(((np.maximum(data @ p["W"], 0) @ p["v"] - y) ** 2).mean())

    hidden = np.maximum(data @ w, 0)
    d = 2 * (hidden @ v - y) / 12
    right = {"W": data.T @ (d[:, None] * v * (data @ w > 0)), "v": hidden.T @ d}
    return Problem(f, {"W": w, "v": v}, right, UNSURE)


@group
def all_units_dead(rng: Rng) -> Problem:
    """Nothing moves f at all, and the gradient says so."""
    data, x = np.abs(rng.normal(size=(12, 3))), -np.abs(rng.normal(size=3)) - 0.1
    return Problem(
        lambda v: float(np.maximum(data @ v, 0).sum()), x, np.zeros(3), UNSURE, False,
        variants=False,
    )  # fmt: skip


def _normalized(p, data):
    centred = data @ p["W"] + p["b"]
    centred = centred - centred.mean(0)
    scale = np.sqrt((centred**2).mean(0) + 1e-5)
    return centred / scale, scale


@group
def batch_norm_bias(rng: Rng) -> Problem:
    """A bias before batch normalization has no effect; backpropagation gives rounding."""
    data, y = rng.normal(size=(12, 4)), rng.normal(size=12)
    kind = [np.float64, np.float32][int(rng.random() < 0.3)]
    short = kind is np.float64 and rng.random() < 0.3
    p = {"W": rng.normal(size=(4, 5)) / 2, "b": rng.normal(size=5), "v": rng.normal(size=5)}
    p = {k: a.astype(kind) for k, a in p.items()}
    data, y = data.astype(kind), y.astype(kind)

    def f(p):
        hidden = np.tanh(_normalized(p, data)[0])
        return ((hidden @ p["v"] - y) ** 2).mean()

    def grad(p):
        unit, scale = _normalized(p, data)
        hidden = np.tanh(unit)
        d = 2 * (hidden @ p["v"] - y) / len(data)
        back = d[:, None] * p["v"] * (1 - hidden**2)
        back = (back - back.mean(0) - unit * (back * unit).mean(0)) / scale
        return {"W": data.T @ back, "b": back.sum(0), "v": hidden.T @ d}

    right = grad(p)
    if short:
        right = {k: a.astype(np.float32) for k, a in right.items()}
        right["b"] = right["b"] + rng.normal(size=5).astype(np.float32) * np.float32(1e-8)
    return Problem(f, p, right, RIGHT if kind is np.float64 else UNSURE, verified=not short)


@group
def softmax_sum(rng: Rng) -> Problem:
    """f is 1 whatever the parameters are, but for rounding."""
    x = rng.normal(size=sizes(rng))

    def soft(v):
        e = np.exp(v - v.max())
        return e / e.sum()

    p = soft(x)
    right = (np.diag(p) - np.outer(p, p)) @ np.ones(len(x))
    return Problem(
        lambda v: float(soft(v).sum()), x, right, UNSURE, False, variants=False, size=1.0
    )


@group
def softmax_shift(rng: Rng) -> Problem:
    """Logits beside a common shift, which cancels out."""
    n, y = int(rng.integers(2, 6)), 0
    p = {"z": rng.normal(size=n), "shift": np.array(rng.normal() * 10)}

    def f(p):
        z = p["z"] + p["shift"]
        return float(np.log(np.exp(z - z.max()).sum()) - (z - z.max())[y])

    soft = np.exp(p["z"]) / np.exp(p["z"]).sum()
    g = soft - (np.arange(n) == y)
    return Problem(f, p, {"z": g, "shift": np.array(g.sum())}, UNSURE)


@group
def unused_leaf(rng: Rng) -> Problem:
    """A leaf that f does not read, rightly claimed zero, beside one of size 1."""
    kind = [np.float64, np.float32][int(rng.integers(2))]
    data, y = rng.normal(size=(20, 3)).astype(kind), rng.normal(size=20).astype(kind)
    shape = [(3,), (), (2, 2), (40,)][int(rng.integers(4))]
    p = {"w": rng.normal(size=3).astype(kind), "unused": np.asarray(rng.normal(size=shape), kind)}
    right = {"w": 2 * data.T @ (data @ p["w"] - y) / kind(20), "unused": np.zeros(shape, kind)}
    return Problem(lambda p: ((data @ p["w"] - y) ** 2).mean(), p, right, RIGHT)


@group
def saturated(rng: Rng) -> Problem:
    """A logistic loss of exactly 0.0, or nearly, with its true gradient."""
    data, w = rng.normal(size=(20, 3)), rng.normal(size=3)
    data = data[np.abs(data @ w) > 0.3]
    y, w = np.sign(data @ w), log_uniform(rng, 1.2, 2.5) * w
    added = float(rng.choice([0.0, 1e-300, 1.0]))
    right = -(data.T @ (y / (1 + np.exp(y * (data @ w))))) / len(y)

    def f(v):
        return float(np.log(1 + np.exp(-y * (data @ v))).mean()) + added

    return Problem(f, w, right, UNSURE, False, variants=False, verified=False)


@group
def constant_function(rng: Rng) -> Problem:
    """f does not depend on its parameters, and the claim says that it does."""
    value, x = float(rng.choice([0.0, 0.1, 0.3, 2.5, 0.5, 0.123, np.log(2)])), rng.normal(size=3)
    return Problem(
        lambda v: value,
        x,
        np.zeros(3),
        UNSURE,
        False,
        extra={"a gradient": (rng.normal(size=3), UNKNOWN)},
        variants=False,
    )


@group
def other_copy(rng: Rng) -> Problem:
    """f reads a copy of the parameters that was made earlier, and so does the gradient."""
    p = {"W": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}
    kept = {k: a.copy() for k, a in p.items()}
    right = {k: 2 * a for k, a in kept.items()}
    return Problem(
        lambda _: float(sum((a**2).sum() for a in kept.values())), p, right, UNKNOWN, False,
        variants=False, verified=False,
    )  # fmt: skip


@group
def one_leaf_copied(rng: Rng) -> Problem:
    """One leaf of two was copied: the other is judged as ever."""
    p = {"W": rng.normal(size=(2, 3)), "b": rng.normal(size=3)}
    kept = p["W"].copy()
    right = {"W": 2 * kept, "b": np.cos(p["b"])}
    return Problem(
        lambda p: float((kept**2).sum() + np.sin(p["b"]).sum()), p, right,
        NOT_RIGHT, False, variants=False, verified=False,
    )  # fmt: skip


@group
def cached_by_identity(rng: Rng) -> Problem:
    base = some_smooth(rng)
    last: list = [None, 0.0]

    def f(v):
        if v is not last[0]:
            last[:] = v, float(base.f(v))
        return last[1]

    return base.problem(f, accept=UNSURE, plain=False, variants=False, raises=True)


@group
def frozen_entries(rng: Rng) -> Problem:
    """Most entries do not count: exact zeros beside a few that do."""
    n = int(rng.choice([10, 100, 300]))
    x, w = rng.normal(size=n), rng.normal(size=n) * (rng.random(n) < 0.1)
    w[0] = 1.0
    return Problem(
        lambda v: float(w @ np.sin(v)), x, w * np.cos(x), RIGHT, clean=lambda v: w @ np.sin(v),
        analytic=True, smooth=True,
    )  # fmt: skip


@group
def gradient_is_parameters(rng: Rng) -> Problem:
    x = rng.normal(size=sizes(rng))
    return Problem(
        lambda v: float(v @ v) / 2, x, x.copy(), RIGHT, clean=lambda v: v @ v / 2, analytic=True,
        smooth=True,
    )  # fmt: skip


@group
def exactly_zero_parts(rng: Rng) -> Problem:
    """Even functions at 0 beside odd ones: some derivatives are exactly zero."""
    base = waves(rng, sizes(rng, 5))
    at = rng.random(len(base.x)) < 0.5
    base.x[at] = np.pi / 2
    g = np.where(at, 0.0, base.grad(base.x))
    return base.problem(right=g, size=1.0, smooth=bool(g.any()))


@group
def tiny_beside_large(rng: Rng) -> Problem:
    """One leaf has a gradient of 1e-12 ... 1e-6, another of 1."""
    c = log_uniform(rng, -12, -6)
    p = {"a": rng.normal(size=3), "b": rng.normal(size=3)}
    right = {"a": np.cos(p["a"]), "b": -c * np.sin(p["b"])}

    def clean(p):
        return np.sin(p["a"]).sum() + c * np.cos(p["b"]).sum()

    return Problem(lambda p: float(clean(p)), p, right, UNSURE, clean=clean, analytic=True)
