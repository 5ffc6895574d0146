"""Structured layers by hand: normalisation, convolution, pooling, recurrence, attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng
from .networks import logistic, softmax

layers = Family("networks")


def normalise(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Zero mean, unit variance along an axis; also one over the deviation."""
    scale = 1 / np.sqrt(x.var(axis=axis, keepdims=True) + 1e-5)
    return (x - x.mean(axis=axis, keepdims=True)) * scale, scale


def normalise_back(z: np.ndarray, scale: np.ndarray, to_z: np.ndarray, axis: int) -> np.ndarray:
    """Backward of ``normalise``: mean and variance depend on every entry."""
    mean = to_z.mean(axis=axis, keepdims=True)
    return scale * (to_z - mean - z * (to_z * z).mean(axis=axis, keepdims=True))


def normalised(axis: int, seed: int, back: Callable = normalise_back) -> Case:
    """Linear, normalise, scale and shift, tanh; squared error."""
    r = rng(seed)
    x, y = r.normal(size=(8, 4)), r.normal(size=(8, 5))

    def grad(p):
        z, scale = normalise(x @ p["W"], axis)
        h = np.tanh(p["gamma"] * z + p["beta"])
        to_u = 2 * (h - y) * (1 - h**2)
        to_linear = back(z, scale, to_u * p["gamma"], axis)
        return {"W": x.T @ to_linear, "gamma": (to_u * z).sum(axis=0), "beta": to_u.sum(axis=0)}

    def f(p):
        z, _ = normalise(x @ p["W"], axis)
        return np.sum((np.tanh(p["gamma"] * z + p["beta"]) - y) ** 2)

    return Case(
        f,
        grad,
        {"W": r.normal(size=(4, 5)), "gamma": r.uniform(0.5, 1.5, 5), "beta": r.normal(size=5)},
    )


layers.add("batch_norm", lambda: normalised(0, 500))
layers.add("layer_norm", lambda: normalised(1, 501))


@layers
def rms_norm() -> Case:
    r = rng(502)
    x, y = r.normal(size=(7, 5)), r.normal(size=(7, 5))

    def grad(p):
        u = x * p["in"]
        scale = 1 / np.sqrt(np.mean(u**2, axis=1, keepdims=True) + 1e-6)
        e = 2 * (u * scale * p["gain"] - y)
        to_z = e * p["gain"]
        back = scale * (to_z - u * scale**2 * np.mean(to_z * u, axis=1, keepdims=True))
        return {"in": (back * x).sum(axis=0), "gain": (e * u * scale).sum(axis=0)}

    def f(p):
        u = x * p["in"]
        scale = 1 / np.sqrt(np.mean(u**2, axis=1, keepdims=True) + 1e-6)
        return np.sum((u * scale * p["gain"] - y) ** 2)

    return Case(f, grad, {"in": r.uniform(0.5, 2, 5), "gain": r.uniform(0.5, 2, 5)})


@layers
def convolution_1d() -> Case:
    """Two channels in, three out; tanh; learned read-out."""
    r = rng(503)
    x, y = r.normal(size=(5, 2, 9)), r.normal(size=5)
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, axis=-1)

    def run(p):
        h = np.tanh(np.einsum("nctk,ock->not", windows, p["kernel"]) + p["bias"][:, None])
        return h, np.einsum("not,ot->n", h, p["read"]) - y

    def grad(p):
        h, e = run(p)
        to_pre = 2 * e[:, None, None] * p["read"] * (1 - h**2)
        kernel = np.einsum("not,nctk->ock", to_pre, windows)
        read = 2 * np.einsum("n,not->ot", e, h)
        return {"kernel": kernel, "bias": to_pre.sum(axis=(0, 2)), "read": read}

    kernel, bias, read = r.normal(size=(3, 2, 3)), r.normal(size=3), r.normal(size=(3, 7))
    start = {"kernel": 0.5 * kernel, "bias": bias, "read": 0.4 * read}
    return Case(lambda p: np.sum(run(p)[1] ** 2), grad, start)


def blocks_of(image: np.ndarray) -> np.ndarray:
    """The 2x2 blocks of a 4x4 image, flattened last."""
    return image.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(2, 2, 4)


def image_of(blocks: np.ndarray) -> np.ndarray:
    """Back from 2x2 blocks to the 4x4 image."""
    return blocks.reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)


def _convolved_image(pool: str, seed: int) -> Case:
    """A learned image through a 3x3 filter and 2x2 pooling."""
    r = rng(seed)
    y = r.normal(size=(2, 2))
    window = np.lib.stride_tricks.sliding_window_view

    def run(p):
        pre = np.einsum("ijkl,kl->ij", window(p["image"], (3, 3)), p["kernel"]) + p["bias"]
        blocks = blocks_of(pre)
        return blocks, blocks.max(axis=2) if pool == "max" else blocks.mean(axis=2)

    def grad(p):
        blocks, out = run(p)
        share = blocks == out[:, :, None] if pool == "max" else np.full((2, 2, 4), 0.25)
        to_out = 2 * (np.tanh(out) - y) * (1 - np.tanh(out) ** 2)
        to_pre = image_of(to_out[:, :, None] * share)
        spread = window(np.pad(to_pre, 2), (3, 3))
        image = np.einsum("ijkl,kl->ij", spread, p["kernel"][::-1, ::-1])
        kernel = np.einsum("ij,ijkl->kl", to_pre, window(p["image"], (3, 3)))
        return {"image": image, "kernel": kernel, "bias": np.asarray(to_pre.sum())}

    image, kernel = r.normal(size=(6, 6)), 0.4 * r.normal(size=(3, 3))
    start = {"image": image, "kernel": kernel, "bias": np.array(0.2)}
    return Case(lambda p: np.sum((np.tanh(run(p)[1]) - y) ** 2), grad, start)


layers.add("convolution_2d_max_pool", lambda: _convolved_image("max", 504))
layers.add("convolution_2d_mean_pool", lambda: _convolved_image("mean", 505))


@layers
def recurrent_through_time() -> Case:
    r = rng(506)
    x, y = r.normal(size=(6, 3)), r.normal(size=4)

    def run(p):
        h = [np.zeros(4)]
        for u in x:
            h.append(np.tanh(u @ p["in"] + h[-1] @ p["loop"] + p["bias"]))
        return h

    def grad(p):
        h, g = run(p), {k: np.zeros_like(v) for k, v in p.items()}
        back = 2 * (h[-1] - y)
        for t in range(5, -1, -1):
            delta = back * (1 - h[t + 1] ** 2)
            g["in"] += np.outer(x[t], delta)
            g["loop"] += np.outer(h[t], delta)
            g["bias"] += delta
            back = p["loop"] @ delta
        return g

    enter, loop, bias = r.normal(size=(3, 4)), r.normal(size=(4, 4)), r.normal(size=4)
    start = {"in": 0.6 * enter, "loop": 0.5 * loop, "bias": 0.3 * bias}
    return Case(lambda p: np.sum((run(p)[-1] - y) ** 2), grad, start)


def lstm_step(p: dict, u: np.ndarray, h: np.ndarray, c: np.ndarray) -> tuple:
    """New output and memory, and what the way back needs; gates side by side."""
    z = u @ p["Wx"] + h @ p["Wh"] + p["b"]
    (i, forget, o), new = np.split(logistic(z[:9]), 3), np.tanh(z[9:])
    c2 = forget * c + i * new
    return o * np.tanh(c2), c2, (u, h, c, i, forget, o, new, c2)


def lstm_back(saved: tuple, dh: np.ndarray, dc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From output and memory of a step to its pre-activations and to the memory before."""
    _, _, c, i, forget, o, new, c2 = saved
    t = np.tanh(c2)
    dc = dc + dh * o * (1 - t**2)
    dz = np.concatenate(
        [
            dc * new * i * (1 - i),
            dc * c * forget * (1 - forget),
            dh * t * o * (1 - o),
            dc * i * (1 - new**2),
        ]
    )
    return dz, dc * forget


@layers
def lstm_cell() -> Case:
    """Four steps; gates input, forget, output, candidate."""
    r = rng(507)
    x, y = r.normal(size=(4, 3)), r.normal(size=3)

    def run(p):
        h, c, tape = np.zeros(3), np.zeros(3), []
        for u in x:
            h, c, saved = lstm_step(p, u, h, c)
            tape.append(saved)
        return h, tape

    def grad(p):
        h, tape = run(p)
        g = {k: np.zeros_like(v) for k, v in p.items()}
        dh, dc = 2 * (h - y), np.zeros(3)
        for saved in reversed(tape):
            dz, dc = lstm_back(saved, dh, dc)
            g["Wx"] += np.outer(saved[0], dz)
            g["Wh"] += np.outer(saved[1], dz)
            g["b"] += dz
            dh = p["Wh"] @ dz
        return g

    start = {k: r.normal(size=s) for k, s in {"Wx": (3, 12), "Wh": (3, 12), "b": 12}.items()}
    return Case(lambda p: np.sum((run(p)[0] - y) ** 2), grad, start)


@layers
def attention() -> Case:
    """One causal self-attention head."""
    r = rng(508)
    x, y = r.normal(size=(5, 4)), r.normal(size=(5, 4))
    future = np.triu(np.ones((5, 5), bool), 1)

    def run(p):
        q, k, v = (x @ p[name] for name in "QKV")
        a = softmax(np.where(future, -1e9, q @ k.T / 2))
        return q, k, v, a, a @ v @ p["O"] - y

    def grad(p):
        q, k, v, a, e = run(p)
        to_mix = 2 * e @ p["O"].T
        to_a = to_mix @ v.T
        to_s = a * (to_a - np.sum(a * to_a, axis=1, keepdims=True)) / 2
        inner = {"Q": x.T @ (to_s @ k), "K": x.T @ (to_s.T @ q)}
        return {**inner, "V": x.T @ (a.T @ to_mix), "O": 2 * (a @ v).T @ e}

    start = {name: 0.7 * r.normal(size=(4, 4)) for name in "QKVO"}
    return Case(lambda p: np.sum(run(p)[-1] ** 2), grad, start)


@layers
def embedding_mean() -> Case:
    """Words repeat within a sentence, two never occur: their rows are exactly zero."""
    r = rng(509)
    words, y = r.integers(0, 6, (7, 4)), r.normal(size=7)
    words[0] = 2

    def grad(p):
        pooled = p["table"][words].mean(axis=1)
        e = 2 * (pooled @ p["read"] - y)
        table = np.zeros_like(p["table"])
        np.add.at(table, words, (e[:, None] * p["read"] / 4)[:, None, :])
        return {"table": table, "read": pooled.T @ e}

    return Case(
        lambda p: np.sum((p["table"][words].mean(axis=1) @ p["read"] - y) ** 2),
        grad,
        {"table": r.normal(size=(8, 3)), "read": r.normal(size=3)},
    )


@layers
def graph_convolution() -> Case:
    r = rng(510)
    link = (r.random((7, 7)) < 0.4).astype(float)
    link = np.maximum(link, link.T) + np.eye(7)
    mix = link / np.sqrt(np.outer(link.sum(0), link.sum(1)))
    x, y = r.normal(size=(7, 3)), r.normal(size=(7, 2))

    def grad(p):
        h = np.tanh(mix @ x @ p[0])
        e = 2 * (mix @ h @ p[1] - y)
        return [(mix @ x).T @ ((mix.T @ e @ p[1].T) * (1 - h**2)), (mix @ h).T @ e]

    return Case(
        lambda p: np.sum((mix @ np.tanh(mix @ x @ p[0]) @ p[1] - y) ** 2),
        grad,
        [r.normal(size=(3, 4)), r.normal(size=(4, 2))],
    )


@layers
def weight_normalisation() -> Case:
    """Direction and length of each weight vector as separate leaves."""
    r = rng(511)
    x, y = r.normal(size=(9, 4)), r.normal(size=(9, 3))

    def grad(p):
        norm = np.sqrt(np.sum(p["v"] ** 2, axis=0))
        unit = p["v"] / norm
        to_w = x.T @ (2 * (x @ (unit * p["g"]) - y)) / 9
        along = np.sum(to_w * unit, axis=0)
        return {"v": p["g"] / norm * (to_w - along * unit), "g": along}

    def f(p):
        norm = np.sqrt(np.sum(p["v"] ** 2, axis=0))
        return np.sum((x @ (p["v"] / norm * p["g"]) - y) ** 2) / 9

    return Case(f, grad, {"v": r.normal(size=(4, 3)), "g": r.uniform(0.5, 2, 3)})
