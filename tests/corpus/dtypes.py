"""Parameters and computations that are not plain float64.

Complex convention: the gradient is df/dRe + 1j * df/dIm.
"""

from __future__ import annotations

import numpy as np

from .base import Case, Family, rng

dtypes = Family("dtypes")


def _ridge(dtype: type) -> Case:
    """Least squares whose data and parameters share one dtype; the cost is a Python float."""
    r = rng(50)
    x, y = r.normal(size=(16, 6)).astype(dtype), r.normal(size=16).astype(dtype)

    def f(p):
        return float(0.5 * np.sum((x @ p["w"] + p["b"] - y) ** 2) + 0.05 * np.sum(p["w"] ** 2))

    def grad(p):
        residual = x @ p["w"] + p["b"] - y
        return {
            "w": x.T @ residual + np.asarray(0.1, dtype) * p["w"],
            "b": residual.sum(keepdims=True),
        }

    return Case(f, grad, {"w": r.normal(size=6).astype(dtype), "b": np.full(1, 0.3, dtype)})


dtypes.add("ridge_float32", lambda: _ridge(np.float32))
dtypes.add("ridge_longdouble", lambda: _ridge(np.longdouble))


@dtypes
def half_precision_waves() -> Case:
    """float16 parameters, float64 arithmetic on them."""
    w = rng(51).uniform(1, 2, 6)
    return Case(
        lambda x: float(np.sum(w * np.sin(x.astype(float)))),
        lambda x: w * np.cos(x.astype(float)),
        rng(52).normal(size=6).astype(np.float16),
    )


@dtypes
def float32_waves_in_double() -> Case:
    """float32 parameters, float64 arithmetic on them."""
    w = rng(53).uniform(1, 2, 8)
    return Case(
        lambda x: float(np.sum(w * np.exp(-(x.astype(float) ** 2)))),
        lambda x: -2 * w * x * np.exp(-(x.astype(float) ** 2)),
        rng(54).normal(size=8).astype(np.float32),
    )


@dtypes
def float32_rosenbrock() -> Case:
    def f(x):
        return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))

    def grad(x):
        g = np.zeros_like(x)
        g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
        g[1:] += 200 * (x[1:] - x[:-1] ** 2)
        return g

    return Case(f, grad, np.array([-0.5, 0.8, 0.3, -0.6], np.float32))


@dtypes
def single_inside_double() -> Case:
    """float64 in, float64 out, float32 in between: noise the dtype does not confess."""
    w = rng(55).uniform(1, 2, 7)

    def f(x):
        return float(np.sum((w * np.sin(x)).astype(np.float32)))

    return Case(f, lambda x: w * np.cos(x), rng(56).normal(size=7))


@dtypes
def single_network_inside_double() -> Case:
    r = rng(57)
    x, y = r.normal(size=(10, 3)), r.normal(size=10)

    def f(p):
        hidden = np.tanh(x.astype(np.float32) @ p["W"].astype(np.float32))
        return float(np.mean((hidden @ p["v"].astype(np.float32) - y.astype(np.float32)) ** 2))

    def grad(p):
        hidden = np.tanh(x @ p["W"])
        delta = 2 * (hidden @ p["v"] - y) / y.size
        return {"W": x.T @ (delta[:, None] * p["v"] * (1 - hidden**2)), "v": hidden.T @ delta}

    return Case(f, grad, {"W": r.normal(size=(3, 4)), "v": r.normal(size=4)})


@dtypes
def mixed_precision_leaves() -> Case:
    def f(p):
        return float(np.sum(np.sin(p["w"].astype(float))) * np.sum(p["b"] ** 2))

    def grad(p):
        wide = p["w"].astype(float)
        return {
            "w": (np.cos(wide) * np.sum(p["b"] ** 2)).astype(np.float32),
            "b": 2 * p["b"] * np.sum(np.sin(wide)),
        }

    return Case(
        f, grad, {"w": rng(58).normal(size=5).astype(np.float32), "b": rng(59).normal(size=3)}
    )


@dtypes
def longdouble_exponentials() -> Case:
    return Case(
        lambda x: float(np.sum(np.exp(x) * np.cos(x))),
        lambda x: np.exp(x) * (np.cos(x) - np.sin(x)),
        rng(60).normal(size=5).astype(np.longdouble),
    )


def _complex(seed: int, *shape: int) -> np.ndarray:
    r = rng(seed)
    return r.normal(size=shape) + 1j * r.normal(size=shape)


@dtypes
def complex_quadratic() -> Case:
    a = _complex(61, 5, 5)
    a = a @ a.conj().T / 5
    return Case(lambda z: float(np.real(np.vdot(z, a @ z))), lambda z: 2 * (a @ z), _complex(62, 5))


@dtypes
def complex_least_squares() -> Case:
    a, b = _complex(63, 8, 4), _complex(64, 8)
    return Case(
        lambda z: float(np.sum(np.abs(a @ z - b) ** 2)),
        lambda z: 2 * a.conj().T @ (a @ z - b),
        _complex(65, 4),
    )


@dtypes
def complex_holomorphic_real_part() -> Case:
    """Re h(z) has the gradient conj(h'(z))."""
    return Case(
        lambda z: float(np.real(np.sum(np.exp(z) + z**3))),
        lambda z: np.conj(np.exp(z) + 3 * z**2),
        _complex(66, 6),
    )


@dtypes
def complex_phase_retrieval() -> Case:
    a, seen = _complex(67, 10, 4), rng(68).uniform(0, 4, 10)

    def grad(z):
        out = a @ z
        return 4 * a.conj().T @ ((np.abs(out) ** 2 - seen) * out)

    return Case(lambda z: float(np.sum((np.abs(a @ z) ** 2 - seen) ** 2)), grad, _complex(69, 4))


@dtypes
def complex_spectrum() -> Case:
    """Weighted power of a Fourier transform, beside a real leaf."""
    weights = rng(70).uniform(1, 2, 8)

    def grad(p):
        spectrum = np.fft.fft(p["z"])
        power = np.sum(weights * np.abs(spectrum) ** 2)
        return {
            "z": 2 * 8 * np.fft.ifft(weights * spectrum) * p["gain"][0],
            "gain": np.array([power, 2 * p["gain"][1]]),
        }

    def f(p):
        power = np.sum(weights * np.abs(np.fft.fft(p["z"])) ** 2)
        return float(power * p["gain"][0] + p["gain"][1] ** 2)

    return Case(f, grad, {"z": _complex(71, 8), "gain": np.array([0.7, -1.1])})


@dtypes
def complex64_quadratic() -> Case:
    target = _complex(72, 6).astype(np.complex64)
    return Case(
        lambda z: float(np.sum(np.abs(z - target) ** 2)),
        lambda z: 2 * (z - target),
        _complex(73, 6).astype(np.complex64),
    )
