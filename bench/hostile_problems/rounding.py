"""Functions that round on the way: binary grids, short types inside, few digits in the result."""

from __future__ import annotations

import numpy as np

from .base import Group, Problem, Rng, log_uniform, quadratic, sizes, some_smooth, waves

group = Group("rounding")


@group
def offset_inside(rng: Rng) -> Problem:
    """Time stamps, Julian dates, reference energies: (x + C) - C."""
    base = some_smooth(rng)
    c = log_uniform(rng, 4, 11)
    return base.problem(lambda v: float(base.f((v + c) - c)))


@group
def offset_inside_binary(rng: Rng) -> Problem:
    """The same with a constant that is a power of two, and parameters on a binary grid."""
    base = some_smooth(rng)
    c = 2.0 ** int(rng.integers(15, 36))
    base.x[:] = np.round(base.x * 64) / 64
    return base.problem(lambda v: float(base.f((v + c) - c)))


@group
def offset_of_the_sum(rng: Rng) -> Problem:
    """Each term is added to a large reference first."""
    base = waves(rng, sizes(rng))
    c = log_uniform(rng, 4, 11)
    return base.problem(lambda v: float((base.f(v) + c) - c))


@group
def fixed_point_inputs(rng: Rng) -> Problem:
    """Inputs kept as whole multiples of a power of two."""
    base = some_smooth(rng)
    unit = 2.0 ** -int(rng.integers(14, 40))
    return base.problem(lambda v: float(base.f(np.rint(v / unit) * unit)))


@group
def julian_dates(rng: Rng) -> Problem:
    """A light curve in Julian dates: the parameters themselves are large."""
    t0, period = 2.4e6 + rng.uniform(0, 6e4), rng.uniform(0.5, 30)
    amplitude, phase = rng.normal(size=3), rng.uniform(0, 6, size=3)
    x = t0 + rng.uniform(0, 10, size=3)
    w = 2 * np.pi / period

    def f(v):
        return amplitude @ np.sin(w * (v - t0) + phase)

    right = amplitude * w * np.cos(w * (x - t0) + phase)
    return Problem(lambda v: float(f(v)), x, right, clean=f, analytic=True)


@group
def time_stamps(rng: Rng) -> Problem:
    """Seconds since 1970, of which only differences count."""
    x = 1.7e9 + np.sort(rng.uniform(0, 1000, size=4))
    w = rng.normal(size=3)

    def f(v):
        return w @ np.sin(np.diff(v) / 50)

    inner = w * np.cos(np.diff(x) / 50) / 50
    right = np.concatenate([[0.0], inner]) - np.concatenate([inner, [0.0]])
    return Problem(lambda v: float(f(v)), x, right, clean=f, analytic=True)


def _short_values(rng: Rng, n: int) -> np.ndarray:
    x = rng.normal(size=n)
    return x.astype(np.float32).astype(float) if rng.random() < 0.5 else x


def _linear_inside(rng: Rng, inner, slope, times: float = 1.0) -> Problem:
    n = sizes(rng)
    x, w = _short_values(rng, n), rng.normal(size=n)

    def f(v):
        return float(w @ inner(v.astype(np.float32)).astype(float)) * times

    return Problem(f, x, times * w * slope(x), clean=lambda v: times * (w @ inner(v)))


@group
def float32_identity(rng: Rng) -> Problem:
    return _linear_inside(rng, lambda x: x, np.ones_like)


@group
def float32_relu(rng: Rng) -> Problem:
    return _linear_inside(rng, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0))


@group
def float32_scaled(rng: Rng) -> Problem:
    """A float32 layer times 0.1, or a result in thousands: no binary grid any more."""
    times = float(rng.choice([0.1, 1e-3, 1 / 3, 7.0]))
    return _linear_inside(rng, lambda x: np.maximum(x, 0), lambda x: 1.0 * (x > 0), times)


@group
def float32_cumulative(rng: Rng) -> Problem:
    n = sizes(rng)
    x, w = _short_values(rng, n), rng.normal(size=n)

    def f(v):
        return float(w @ np.cumsum(v.astype(np.float32)).astype(float))

    right = np.cumsum(w[::-1])[::-1].copy()
    return Problem(f, x, right, clean=lambda v: w @ np.cumsum(v))


@group
def float32_matmul(rng: Rng) -> Problem:
    n, times = int(rng.integers(2, 6)), float(rng.choice([1, 0.1, 1e-3]))
    a, w = rng.normal(size=(4, n)), rng.normal(size=(4, 3)) * times
    x, short = _short_values(rng, 3 * n).reshape(n, 3), a.astype(np.float32)

    def f(v):
        return float((w * (short @ v.astype(np.float32)).astype(float)).sum())

    return Problem(
        f, x, short.astype(float).T @ w, clean=lambda v: (w * (short.astype(float) @ v)).sum()
    )


@group
def float32_convolution(rng: Rng) -> Problem:
    signal, k = rng.normal(size=20).astype(np.float32), int(rng.integers(2, 6))
    x, w = _short_values(rng, k), rng.normal(size=20 - k + 1)
    times = float(rng.choice([1, 0.1]))

    def clean(v):
        return times * (w @ np.convolve(signal.astype(v.dtype), v, "valid"))

    def f(v):
        inner = np.convolve(signal, v.astype(np.float32), "valid")
        return times * float(w @ inner.astype(float))

    windows = np.lib.stride_tricks.sliding_window_view(signal.astype(float), k)
    return Problem(f, x, times * (w @ windows)[::-1].copy(), clean=clean)


@group
def float32_network(rng: Rng) -> Problem:
    """A network in float32 behind float64 parameters."""
    data, y = rng.normal(size=(10, 4)), rng.normal(size=10)
    p = {"W": rng.normal(size=(4, 5)) / 2, "b": rng.normal(size=5) / 3, "v": rng.normal(size=5)}
    times = float(rng.choice([1, 0.1, 1e-3]))

    def forward(p, kind):
        p = {k: a.astype(kind) if kind else a for k, a in p.items()}
        hidden = np.tanh(data.astype(p["W"].dtype) @ p["W"] + p["b"])
        return hidden, ((hidden @ p["v"] - y) ** 2).mean() * times

    hidden = np.tanh(data @ p["W"] + p["b"])
    d = 2 * times * (hidden @ p["v"] - y) / 10
    back = d[:, None] * p["v"] * (1 - hidden**2)
    right = {"W": data.T @ back, "b": back.sum(0), "v": hidden.T @ d}

    return Problem(
        lambda p: float(forward(p, np.float32)[1]), p, right, clean=lambda p: forward(p, None)[1]
    )


@group
def float32_result(rng: Rng) -> Problem:
    base = some_smooth(rng)
    times = float(rng.choice([1, 1e3, 3]))
    return base.problem(lambda v: float(np.float32(times * base.f(v))) / times)


@group
def float16_result(rng: Rng) -> Problem:
    base = some_smooth(rng)
    return base.problem(lambda v: float(np.float16(base.f(v))), quiet=False)


@group
def printed_decimals(rng: Rng) -> Problem:
    """A simulator that prints its result with a few digits."""
    base, digits = some_smooth(rng), int(rng.integers(3, 13))
    return base.problem(lambda v: float(f"{float(base.f(v)):.{digits}f}"))


@group
def printed_significant(rng: Rng) -> Problem:
    base, digits = some_smooth(rng), int(rng.integers(4, 14))
    return base.problem(lambda v: float(f"{float(base.f(v)):.{digits}g}"))


@group
def read_from_text(rng: Rng) -> Problem:
    """Parameters written to an input file with a few digits, and read again."""
    base, digits = some_smooth(rng), int(rng.integers(5, 12))

    def f(v):
        return float(base.f(np.array([float(f"{each:.{digits}e}") for each in v])))

    return base.problem(f, plain=digits > 7)


@group
def float32_leaf(rng: Rng) -> Problem:
    """Parameters in float32, arithmetic in float32 or float64."""
    base, wide = some_smooth(rng), rng.random() < 0.5
    x = base.x.astype(np.float32)

    def f(v):
        return float(base.f(v.astype(float) if wide else v))

    right = base.grad(x.astype(float)).astype(np.float32)
    return Problem(f, x, right, clean=lambda v: base.f(v.astype(float)))


@group
def float16_leaf(rng: Rng) -> Problem:
    base = waves(rng, sizes(rng))
    x = base.x.astype(np.float16)
    right = base.grad(x.astype(float))
    return Problem(
        lambda v: float(base.f(v.astype(float))),
        x,
        right,
        clean=lambda v: base.f(v.astype(float)),
    )


@group
def float32_gradient(rng: Rng) -> Problem:
    """A float64 function and a gradient that was computed in float32."""
    base = some_smooth(rng)
    return base.problem(right=base.grad(base.x).astype(np.float32))


@group
def rounded_sum_order(rng: Rng) -> Problem:
    """Threads add in another order each time: the last bits of a large sum are random."""
    base = quadratic(rng, sizes(rng))
    terms, order = rng.normal(size=400) * log_uniform(rng, 0, 3), np.random.default_rng(0)

    def f(v):
        return float(np.cumsum(order.permutation(np.append(terms, base.f(v))))[-1])

    return base.problem(f)
