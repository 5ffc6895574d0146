"""Correct gradients that look like a bug: nothing here may be accused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Case, Family, rng

near_misses = Family("near_miss")


def _weighted_sum(name: str, weights: np.ndarray, seed: int) -> None:
    """A linear cost: its gradient is ``weights`` whatever the point (stale ones are right too)."""

    def make() -> Case:
        w = np.array(weights, float)
        return Case(lambda x: np.sum(w * x), lambda x: w.copy(), rng(seed).normal(size=w.shape))

    near_misses.add(f"near_miss_{name}", make)


def _symmetric(seed: int) -> np.ndarray:
    a = rng(seed).normal(size=(5, 5))
    return a + a.T


_row = rng(700).normal(size=6)
_weighted_sum("constant_gradient", np.full(8, 0.7), 701)
_weighted_sum("constant_matrix", np.full((4, 5), -1.3), 702)
_weighted_sum("equal_rows", np.tile(_row, (4, 1)), 703)
_weighted_sum("equal_columns", np.tile(_row[:, None], (1, 3)), 704)
_weighted_sum("symmetric_gradient", _symmetric(705), 706)
_weighted_sum(
    "antisymmetric_gradient", np.triu(_symmetric(707), 1) - np.triu(_symmetric(707), 1).T, 708
)
_weighted_sum("diagonal_gradient", np.diag([1.0, 2.0, -1.5, 0.5]), 709)
_weighted_sum("periodic_gradient", np.tile([1.0, -2.0, 0.5], 4), 710)
_weighted_sum("palindrome_gradient", np.concatenate([_row, _row[::-1]]), 711)
_weighted_sum("alternating_signs", np.where(np.arange(10) % 2, 1.5, -1.5), 712)
_weighted_sum(
    "zero_row_and_column",
    rng(713).normal(size=(5, 4)) * np.outer([1, 1, 0, 1, 1], [1, 0, 1, 1]),
    714,
)
_weighted_sum("single_entry", np.eye(12)[7] * 3.0, 715)
_weighted_sum("large_common_offset", 1e6 + rng(716).normal(size=9), 717)
_weighted_sum("few_digits", np.array([0.5, -1.25, 3.0, 0.125, -2.0]), 718)
_weighted_sum("single_precision_digits", rng(719).normal(size=7).astype(np.float32), 720)


def _plain(
    name: str, f: Callable[[Any], Any], grad: Callable[[Any], Any], draw: Callable[[], Any]
) -> None:
    near_misses.add(f"near_miss_{name}", lambda: Case(f, grad, draw()))


_plain("pure_l2", lambda x: 0.05 * np.sum(x**2), lambda x: 0.1 * x, lambda: rng(721).normal(size=9))
_plain(
    "pure_l1",
    lambda x: 0.3 * np.sum(np.abs(x)),
    lambda x: 0.3 * np.sign(x),
    lambda: rng(722).normal(size=9) + np.where(np.arange(9) % 2, 1, -1),
)
_plain(
    "tiny_l2",
    lambda x: np.sum(np.sin(x)) + 0.5e-9 * np.sum(x**2),
    lambda x: np.cos(x) + 1e-9 * x,
    lambda: rng(723).normal(size=6),
)
_plain(
    "sum_of_logs", lambda x: np.sum(np.log(x)), lambda x: 1 / x, lambda: rng(724).uniform(0.3, 4, 7)
)
_plain(
    "log_squared",
    lambda x: 0.5 * np.sum(np.log(x) ** 2),
    lambda x: np.log(x) / x,
    lambda: rng(725).uniform(0.3, 4, 7),
)
_plain(
    "derivative_in_log_at_one",
    lambda x: np.sum(x**3 + np.exp(-x)),
    lambda x: 3 * x**2 - np.exp(-x),
    lambda: np.ones(5),
)
_plain(
    "zero_where_negative",
    lambda x: np.sum(np.maximum(x, 0) ** 2),
    lambda x: 2 * np.maximum(x, 0),
    lambda: rng(726).normal(size=10),
)
_plain(
    "zero_beyond_threshold",
    lambda x: np.sum(np.sin(np.clip(x, -1, 1))),
    lambda x: np.where(np.abs(x) < 1, np.cos(x), 0.0),
    lambda: 1.2 * rng(727).normal(size=10),
)
_plain(
    "dead_units",
    lambda x: np.sum(np.maximum(x, 0)),
    lambda x: np.zeros_like(x),
    lambda: -1 - rng(728).random(6),
)
_plain(
    "cube_of_absolute_at_zero",
    lambda x: np.sum(np.abs(x) ** 3),
    lambda x: 3 * x * np.abs(x),
    lambda: np.array([0.0, 0.5, -0.2, 0.0]),
)
_plain(
    "sharp_but_smooth",
    lambda x: np.sum(np.logaddexp(0, 1e3 * x)) / 1e3,
    lambda x: 1 / (1 + np.exp(-1e3 * x)),
    lambda: np.array([1e-4, -1e-3, 2e-3, 0.0]),
)
_plain(
    "one_real_direction",
    lambda z: float(np.sum(np.real(z) ** 2)),
    lambda z: 2 * np.real(z) + 0j,
    lambda: rng(729).normal(size=4) + 1j,
)
_plain(
    "complex_gradient_at_real_point",
    lambda z: float(np.sum(np.abs(z) ** 4)),
    lambda z: 4 * np.abs(z) ** 2 * z,
    lambda: rng(730).normal(size=4) + 0j,
)


@near_misses
def near_miss_proportional_leaves() -> Case:
    """One leaf's gradient is exactly twice another's, a third's is its opposite."""

    def f(p):
        return np.sum(np.sin(p["a"] + 2 * p["b"] - p["c"]))

    def grad(p):
        c = np.cos(p["a"] + 2 * p["b"] - p["c"])
        return {"a": c, "b": 2 * c, "c": -c}

    return Case(f, grad, {k: rng(731 + i).normal(size=6) for i, k in enumerate("abc")})


@near_misses
def near_miss_equal_leaves() -> Case:
    """Two leaves with the same gradient: exchanged, they would be right all the same."""

    def grad(p):
        e = np.exp(p["left"] + p["right"])
        return {"left": e, "right": e.copy()}

    return Case(
        lambda p: np.sum(np.exp(p["left"] + p["right"])),
        grad,
        {"left": rng(735).normal(size=5), "right": rng(736).normal(size=5)},
    )


@near_misses
def near_miss_unused_leaf() -> Case:
    """One leaf that the cost never reads."""
    return Case(
        lambda p: np.sum(p["used"] ** 4),
        lambda p: {"used": 4 * p["used"] ** 3, "spare": np.zeros_like(p["spare"])},
        {"used": rng(737).normal(size=4), "spare": rng(738).normal(size=(2, 3))},
    )


@near_misses
def near_miss_gradient_equals_parameters() -> Case:
    """Half the squared norm: gradient and parameters are the same numbers."""
    return Case(
        lambda p: 0.5 * (np.sum(p["W"] ** 2) + np.sum(p["b"] ** 2)),
        lambda p: {"W": p["W"].copy(), "b": p["b"].copy()},
        {"W": rng(739).normal(size=(4, 4)), "b": rng(740).normal(size=4)},
    )


@near_misses
def near_miss_after_a_step() -> Case:
    """The point is one descent step beyond another, and the gradient is the new one."""

    def grad(x):
        return np.sinh(x)

    start = rng(741).normal(size=7)
    return Case(lambda x: np.sum(np.cosh(x)), grad, start - 0.1 * grad(start))


@near_misses
def near_miss_repeated_entries() -> Case:
    """Equal parameters, hence equal gradients: permutations cannot be told apart."""
    return Case(
        lambda x: np.sum(np.exp(x)) * 0.5,
        lambda x: 0.5 * np.exp(x),
        np.repeat([[0.3, -0.8, 1.1]], 4, axis=0),
    )


@near_misses
def near_miss_all_gradients_zero() -> Case:
    """A constant cost."""
    return Case(
        lambda x: 2.5 + 0.0 * np.sum(x), lambda x: np.zeros_like(x), rng(742).normal(size=5)
    )
