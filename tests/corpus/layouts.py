"""The same easy costs in arrays that are awkward on purpose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .base import Case, Family, rng

layouts = Family("layouts")


def _bowl(point: np.ndarray) -> Case:
    """Smooth, coupled through the neighbours in memory-independent order."""
    weights = 1 + np.arange(point.size).reshape(point.shape) / max(point.size, 1)

    def f(x):
        return np.sum(weights * np.cos(x)) + 0.25 * np.sum(x**2) ** 2

    return Case(f, lambda x: np.asarray(-weights * np.sin(x) + np.sum(x**2) * x), point)


def _unaligned(values: np.ndarray) -> np.ndarray:
    raw = np.zeros(values.nbytes + 1, np.uint8)
    view = raw[1:].view(values.dtype)
    view[...] = values
    return view


_draw: dict[str, Callable[[], np.ndarray]] = {
    "fortran_order": lambda: np.asfortranarray(rng(100).normal(size=(4, 5))),
    "transposed_view": lambda: rng(101).normal(size=(5, 3)).T,
    "strided_view": lambda: rng(102).normal(size=24)[::3],
    "column_of_matrix": lambda: rng(103).normal(size=(6, 4))[:, 2],
    "negative_stride": lambda: rng(104).normal(size=7)[::-1],
    "zero_dimensional": lambda: np.array(0.8),
    "one_by_one_by_one": lambda: np.full((1, 1, 1), -0.6),
    "permuted_cube": lambda: rng(105).normal(size=(2, 3, 4)).transpose(2, 0, 1),
    "window_of_larger": lambda: rng(106).normal(size=(9, 9))[2:5, 3:8],
    "byte_swapped": lambda: rng(107).normal(size=6).astype(">f8"),
    "unaligned": lambda: _unaligned(rng(108).normal(size=6)),
    "five_dimensional": lambda: rng(109).normal(size=(2, 1, 2, 1, 3)),
}
for _name, _point in _draw.items():
    layouts.add(f"layout_{_name}", lambda point=_point: _bowl(point()))


@layouts
def layout_deep_nest() -> Case:
    """Dicts in lists in tuples, an empty leaf, a 0-d leaf and a column view."""

    def f(p):
        first, (scale, none) = p["layers"], p["rest"]
        inner = sum(np.sum(np.sin(layer["W"])) + np.sum(layer["b"] ** 2) for layer in first)
        return inner * np.exp(scale) + np.sum(none)

    def grad(p):
        first, (scale, none) = p["layers"], p["rest"]
        inner = sum(np.sum(np.sin(layer["W"])) + np.sum(layer["b"] ** 2) for layer in first)
        return {
            "layers": [
                {"W": np.cos(layer["W"]) * np.exp(scale), "b": 2 * layer["b"] * np.exp(scale)}
                for layer in first
            ],
            "rest": (np.asarray(inner * np.exp(scale)), np.ones_like(none)),
        }

    r = rng(110)
    layers = [{"W": r.normal(size=(2, 3)), "b": r.normal(size=(3, 2))[:, 0]} for _ in range(2)]
    return Case(f, grad, {"layers": layers, "rest": (np.array(0.2), np.zeros((0, 3)))})


@layouts
def layout_many_small_leaves() -> Case:
    def f(p):
        return sum(np.sum(np.exp(0.5 * leaf)) * (1 + k) for k, leaf in enumerate(p))

    return Case(
        f,
        lambda p: [0.5 * np.exp(0.5 * leaf) * (1 + k) for k, leaf in enumerate(p)],
        [rng(111 + k).normal(size=1 + k % 3) for k in range(25)],
    )
