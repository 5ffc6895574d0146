"""Larger problems, which are probed along random directions, and budgets that end in between."""

from __future__ import annotations

import numpy as np

from .base import NOT_RIGHT, RIGHT, UNSURE, WRONG, Group, Problem, Rng, log_uniform, some_smooth

group = Group("probes")
PROBE = {"strategy": "probe"}


@group(probes=False)
def budget_ends(rng: Rng) -> Problem:
    """A budget that ends anywhere, also within a block that is wrong throughout."""
    n = int(rng.choice([5, 50, 400]))
    w, x = rng.normal(size=n), rng.normal(size=n)
    options = {"budget": int(rng.integers(1, 200)), "strategy": str(rng.choice(["probe", "auto"]))}
    if rng.random() < 0.2:
        options["strategy"] = "exhaustive"
    return Problem(
        lambda v: float(w @ v**3), x, 3 * w * x**2, UNSURE, False, clean=lambda v: w @ v**3,
        analytic=True, options=options,
    )  # fmt: skip


@group(probes=False)
def pair_returned(rng: Rng) -> Problem:
    """Value and gradient at once, within a budget or without one."""
    problem = some_smooth(rng).problem(pair=True)
    options = {"budget": int(rng.integers(5, 80))} if rng.random() < 0.3 else {}
    return Problem(**{**vars(problem), "options": options, "plain": not options})


@group(probes=False)
def large_lasso(rng: Rng) -> Problem:
    """1 % of the parameters are exactly zero, under an L1 term."""
    n = int(rng.choice([300, 1000]))
    x, w = rng.normal(size=n), rng.normal(size=n)
    at = rng.random(n) < 0.01
    x[at] = 0
    g = w + 0.1 * np.sign(x)
    low, high = g - 0.1 * at, g + 0.1 * at
    wrong = g.copy()
    wrong[int(rng.choice(np.flatnonzero(~at)))] += 0.5
    return Problem(
        lambda v: float(w @ v + 0.1 * np.abs(v).sum()), x, g, UNSURE, low=low, high=high,
        options=PROBE, extra={"one entry off by 0.5": (wrong, NOT_RIGHT)},
    )  # fmt: skip


@group(probes=False)
def large_relu_layer(rng: Rng) -> Problem:
    """Whole numbers: several units are exactly zero, jointly."""
    data = rng.integers(-1, 2, size=(8, 20)) * 1.0
    w, v = np.round(rng.normal(size=(20, 30))), rng.normal(size=30)
    z = data @ w
    right = data.T @ ((z > 0) * v) / 8
    ties = (z == 0) * v
    up, down = np.maximum(data, 0).T @ ties / 8, -np.maximum(-data, 0).T @ ties / 8
    reach = np.maximum(data, 0).T @ np.abs(ties) + np.maximum(-data, 0).T @ np.abs(ties)
    reach = np.maximum(reach / 8, np.maximum(np.abs(up), np.abs(down)))
    return Problem(
        lambda m: float((np.maximum(data @ m, 0) @ v).mean()), w, right, UNSURE, low=right - reach,
        high=right + reach, options=PROBE, variants=False, plain=False,
    )  # fmt: skip


@group(probes=False)
def large_float32_network(rng: Rng) -> Problem:
    """A float32 network: a whole layer that is 5 % too large is not one wrong entry."""
    data = rng.normal(size=(20, 40)).astype(np.float32)
    y = rng.normal(size=20).astype(np.float32)
    p = {
        "W": (rng.normal(size=(40, 60)) / 6).astype(np.float32),
        "b": rng.normal(size=60).astype(np.float32),
        "v": (rng.normal(size=60) / 8).astype(np.float32),
    }

    def f(p):
        return ((np.tanh(data @ p["W"] + p["b"]) @ p["v"] - y) ** 2).mean()

    hidden = np.tanh(data @ p["W"] + p["b"])
    d = 2 * (hidden @ p["v"] - y) / np.float32(20)
    back = d[:, None] * p["v"] * (1 - hidden**2)
    right = {"W": data.T @ back, "b": back.sum(0), "v": hidden.T @ d}
    wrong = {**right, "W": right["W"] * np.float32(rng.choice([1.05, 1.1, 0.9, 2.0]))}
    return Problem(
        f, p, right, UNSURE, extra={"a layer too large": (wrong, NOT_RIGHT)}, options=PROBE,
    )  # fmt: skip


@group(probes=False)
def large_four_scales(rng: Rng) -> Problem:
    """Parameters of 1e-18 ... 1e6 mixed, probed."""
    n = int(rng.choice([30, 400]))
    scale = rng.choice([1e-18, 1e-6, 1.0, 1e6], n)
    t, w = rng.uniform(0.3, 2, n) * rng.choice([-1, 1], n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sin(v / scale)), t * scale, w * np.cos(t) / scale, UNSURE, False,
        clean=lambda v: w @ np.sin(v / scale), analytic=True, options=PROBE,
    )  # fmt: skip


@group(probes=False)
def large_tiny_parameters(rng: Rng) -> Problem:
    """All parameters are 1e-18 or so."""
    n, s = int(rng.choice([30, 400])), log_uniform(rng, -20, -8)
    t, w = rng.uniform(0.3, 2, n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sin(v / s)), t * s, w * np.cos(t) / s, UNSURE, False,
        clean=lambda v: w @ np.sin(v / s), analytic=True, options=PROBE,
    )  # fmt: skip


@group(probes=False)
def large_pole_near_by(rng: Rng) -> Problem:
    """One of many parameters is close to a pole."""
    n = int(rng.choice([30, 300]))
    x, w = rng.uniform(1, 2, n), rng.normal(size=n)
    x[int(rng.integers(n))] = log_uniform(rng, -8, -1)
    w = w * x**2
    return Problem(
        lambda v: float(w @ (1 / v)), x, -w / x**2, UNSURE, x.min() > 1e-2,
        clean=lambda v: w @ (1 / v), analytic=True, options=PROBE,
    )  # fmt: skip


@group(probes=False)
def large_domain(rng: Rng) -> Problem:
    """One of many parameters is close to the edge of the domain of a logarithm."""
    n = int(rng.choice([30, 300]))
    x, w = rng.uniform(1, 2, n), rng.normal(size=n)
    x[int(rng.integers(n))] = log_uniform(rng, -8, -1)
    w = w * x
    return Problem(
        lambda v: float(w @ np.log(v)), x, w / x, UNSURE, x.min() > 1e-2,
        clean=lambda v: w @ np.log(v), analytic=True, options=PROBE, quiet=False,
    )  # fmt: skip


@group(probes=False)
def large_infinite_claims(rng: Rng) -> Problem:
    """Many infinite or missing claims where the derivative is zero."""
    n = int(rng.choice([100, 1000]))
    w = np.where(rng.random(n) < 0.5, 0.0, rng.normal(size=n))
    kind = float(rng.choice([np.inf, -np.inf, np.nan]))
    claim = np.where((w == 0) & (rng.random(n) < 0.5), kind, w)
    claim[int(np.argmin(np.abs(w)))] = kind
    return Problem(
        lambda v: float(w @ v), np.ones(n), w, RIGHT, clean=lambda v: w @ v, analytic=True,
        options=PROBE, extra={"not finite": (claim, WRONG)},
    )  # fmt: skip


@group(probes=False)
def large_float32_inside(rng: Rng) -> Problem:
    """A float32 result of float64 parameters, probed."""
    n = int(rng.choice([30, 300]))
    w, x = rng.normal(size=n), rng.normal(size=n)
    times = float(rng.choice([1.0, 0.1]))
    short = w.astype(np.float32)
    return Problem(
        lambda v: times * float(short @ np.maximum(v.astype(np.float32), 0)), x,
        times * short.astype(float) * (x > 0), UNSURE, options=PROBE, plain=False,
        clean=lambda v: times * (short.astype(float) @ np.maximum(v, 0)),
    )  # fmt: skip


@group(probes=False)
def large_offset_inside(rng: Rng) -> Problem:
    n, c = int(rng.choice([30, 300])), log_uniform(rng, 5, 11)
    w, x = rng.normal(size=n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ np.sin((v + c) - c)), x, w * np.cos(x), UNSURE, False,
        clean=lambda v: w @ np.sin(v), analytic=True, options=PROBE,
    )  # fmt: skip


@group(probes=False)
def large_staircase(rng: Rng) -> Problem:
    n, width = int(rng.choice([30, 300])), log_uniform(rng, -8, -1)
    w, x = rng.normal(size=n), rng.normal(size=n)
    return Problem(
        lambda v: float(w @ (np.floor(v / width) * width)), x, w, UNSURE, False,
        clean=lambda v: w @ v, analytic=True, options=PROBE,
    )  # fmt: skip


@group(probes=False)
def many_leaves(rng: Rng) -> Problem:
    """Dozens of leaves; one of them may be wrong."""
    count = int(rng.choice([4, 30]))
    p = [rng.normal(size=int(rng.integers(1, 40))) for _ in range(count)]
    w = [rng.normal(size=a.size) for a in p]

    def clean(p):
        return sum(np.cos(a) @ b for a, b in zip(p, w, strict=True))

    right = [-np.sin(a) * b for a, b in zip(p, w, strict=True)]
    return Problem(
        lambda p: float(clean(p)), p, right, RIGHT, clean=clean, analytic=True, options=PROBE,
        smooth=True,
    )  # fmt: skip


@group(probes=False)
def large_jump(rng: Rng) -> Problem:
    """f jumps in one of many entries as soon as it moves."""
    n = int(rng.choice([30, 300]))
    w, x = rng.normal(size=n), rng.normal(size=n)
    at, height = int(rng.integers(n)), log_uniform(rng, -2, 1)
    place = x[at]
    return Problem(
        lambda v: float(w @ v + (height if v[at] != place else 0.0)), x, w, UNSURE, False,
        options=PROBE, variants=False,
    )  # fmt: skip
