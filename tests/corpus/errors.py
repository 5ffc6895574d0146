"""Ways to spoil one leaf: each maps (gradient, parameters) to a wrong gradient."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import rng

Spoil = Callable[[np.ndarray, np.ndarray], np.ndarray]


def factor(c: float) -> Spoil:
    return lambda g, t: g * np.asarray(c, g.dtype)


def sign() -> Spoil:
    return lambda g, t: -g


def zero() -> Spoil:
    return lambda g, t: np.zeros_like(g)


def transpose() -> Spoil:
    """The transpose, laid out in the leaf's own shape."""
    return lambda g, t: np.ascontiguousarray(g.T).reshape(g.shape)


def shift(by: int, axis: int | None = None) -> Spoil:
    return lambda g, t: np.roll(g, by, axis)


def reverse(axis: int | None = None) -> Spoil:
    return lambda g, t: np.flip(g, axis).copy()


def permute(order: list[int], axis: int = 0) -> Spoil:
    return lambda g, t: np.take(g, order, axis)


def add_parameters(c: float) -> Spoil:
    """An L2 term counted wrongly: minus the weight when missing, plus when doubled."""
    return lambda g, t: g + c * t


def add_signs(c: float) -> Spoil:
    return lambda g, t: g + c * np.sign(t)


def same_everywhere(how: Callable = np.mean, axis: int | None = None) -> Spoil:
    """One number for all entries, or one per row or column."""
    return lambda g, t: np.broadcast_to(how(g, axis=axis, keepdims=True), g.shape).copy()


def first_only(axis: int = 0) -> Spoil:
    """The first slice stands for all of them."""
    return lambda g, t: np.broadcast_to(np.take(g, [0], axis), g.shape).copy()


def scale_slice(where: tuple, c: float) -> Spoil:
    def spoil(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        g = g.copy()
        g[where] *= np.asarray(c, g.dtype)
        return g

    return spoil


def overwrite_slice(where: tuple, source: tuple) -> Spoil:
    """One slice is written where another belongs."""

    def spoil(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        out = g.copy()
        out[where] = g[source]
        return out

    return spoil


def scale_where(test: Callable[[np.ndarray], np.ndarray], c: float) -> Spoil:
    """Wrong by a factor only where the parameters pass a test."""
    return lambda g, t: np.where(test(t), g * np.asarray(c, g.dtype), g)


def set_where(test: Callable[[np.ndarray], np.ndarray], value: float | list[float]) -> Spoil:
    """A fixed value where the parameters pass a test, say at a kink."""
    return lambda g, t: np.where(test(t), np.asarray(value, g.dtype), g)


def offset(c: float) -> Spoil:
    """A constant added, in units of the leaf's largest entry."""
    return lambda g, t: g + np.asarray(c * np.max(np.abs(g)), g.dtype)


def bump(errors: dict[tuple, float]) -> Spoil:
    """Isolated entries moved, in units of the leaf's largest entry."""

    def spoil(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        out = g.copy()
        for index, c in errors.items():
            out[index] += np.asarray(c * np.max(np.abs(g)), g.dtype)
        return out

    return spoil


def conjugate() -> Spoil:
    return lambda g, t: np.conj(g)


def keep_bits(bits: int) -> Spoil:
    """Rounded to a short mantissa: 8 is bfloat16's, 11 is half precision's."""

    def short(x: np.ndarray) -> np.ndarray:
        mantissa, exponent = np.frexp(x)
        return np.ldexp(np.round(mantissa * 2.0**bits) / 2.0**bits, exponent)

    return lambda g, t: short(g)


def absorbed(big: float, kind: type = np.float32) -> Spoil:
    """Added to a big number and taken out again in a short format."""
    return lambda g, t: ((g.astype(kind) + kind(big)) - kind(big)).astype(g.dtype)


def times_parameters() -> Spoil:
    """The derivative with respect to log theta in place of theta."""
    return lambda g, t: g * t


def over_parameters() -> Spoil:
    """Divided by theta: what is right for a parameter taken to be a logarithm, but is not."""
    return lambda g, t: g / t


def off_diagonal(c: float) -> Spoil:
    return lambda g, t: g * np.where(np.eye(*g.shape, dtype=bool), 1.0, c)


def one_triangle(lower: bool = True) -> Spoil:
    """Off-diagonals folded into one triangle, nothing in the other."""
    fold = np.tril if lower else np.triu
    return lambda g, t: fold(g + g.T, -1 if lower else 1) + np.diag(np.diag(g))


def scatter(spread: float, seed: int) -> Spoil:
    """Every entry wrong by its own random factor."""

    def spoil(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        r = rng(seed)
        signs = np.where(r.random(g.shape) < 0.5, -1, 1)
        return g * (1 + spread * signs * r.uniform(0.4, 1, g.shape))

    return spoil


def apply(f: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    """A function of the gradient that has no business there."""
    return lambda g, t: f(g)


def only_slice(where: tuple, spoil: Spoil) -> Spoil:
    """Another error, in a slice only."""

    def there(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        out = g.copy()
        out[where] = spoil(g, t)[where]
        return out

    return there


def only_where(test: Callable[[np.ndarray], np.ndarray], spoil: Spoil) -> Spoil:
    """Another error, only where the parameters pass a test."""
    return lambda g, t: np.where(test(t), spoil(g, t), g)


def times(gain: Callable[[np.ndarray], np.ndarray]) -> Spoil:
    """A factor that the chain rule has for other parameters."""
    return lambda g, t: g * gain(t)


def projected(unit: bool = False) -> Spoil:
    """Without its part along the parameters, as where these are normalized."""

    def spoil(g: np.ndarray, t: np.ndarray) -> np.ndarray:
        out = g - t * (g * t).sum() / (t * t).sum()
        return out / np.sqrt((t * t).sum()) if unit else out

    return spoil
