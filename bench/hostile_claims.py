"""Wrong gradients of hostile problems: the mistakes that people make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hostile_problems import Problem, leaves, like
from hostile_problems.base import Rng

Edit = Callable[[np.ndarray, np.ndarray, Rng], "np.ndarray | None"]


def _times(factor: float) -> Edit:
    return lambda g, x, rng: g * g.dtype.type(factor)


def _one(change: Callable[[np.ndarray], Any]) -> Edit:
    """Change one of the larger entries."""

    def edit(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray:
        g = g.copy()
        size = np.abs(g).reshape(-1)
        at = rng.choice(np.flatnonzero(size >= size.max() / 2))
        g.reshape(-1)[at] = change(g.reshape(-1)[at])
        return g

    return edit


def _half(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    """The wrong sign in the second half."""
    if g.size < 4:
        return None
    g = g.copy()
    g.reshape(-1)[g.size // 2 :] *= -1
    return g


def _shift(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    return np.roll(g, 1) if g.size > 2 else None


def _reverse(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    return g.reshape(-1)[::-1].reshape(g.shape).copy() if g.size > 2 else None


def _permute(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    return rng.permutation(g.reshape(-1)).reshape(g.shape) if g.size > 4 else None


def _transpose(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    square = g.ndim == 2 and g.shape[0] == g.shape[1] and g.shape[0] > 1
    return g.T.copy() if square else None


def _penalty(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    size = np.abs(x).max(initial=0.0)
    if size == 0 or g.size < 2:
        return None
    c = 0.3 * np.abs(g).max() / size
    return (g - c * x.astype(g.dtype)).astype(g.dtype)


def _offset(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray:
    return (g + 0.3 * np.abs(g).max()).astype(g.dtype)


def _logarithm(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    return (g * x.astype(g.dtype)).astype(g.dtype) if g.size > 2 else None


def _slice(g: np.ndarray, x: np.ndarray, rng: Rng) -> np.ndarray | None:
    """A slice that was never computed."""
    if g.size < 6:
        return None
    g = g.copy()
    start = int(rng.integers(1, g.size // 2))
    g.reshape(-1)[start : start + g.size // 3] = 0
    return g


EDITS: dict[str, Edit] = {
    "x 2": _times(2.0),
    "x 1.1": _times(1.1),
    "x 1/20": _times(0.05),
    "x -1": _times(-1.0),
    "all zero": _times(0.0),
    "one zero": _one(lambda v: v * 0),
    "one off by 1 %": _one(lambda v: v * 1.01),
    "one twice": _one(lambda v: v * 2),
    "one infinite": _one(lambda v: np.inf),
    "one NaN": _one(lambda v: np.nan),
    "sign in half": _half,
    "shifted": _shift,
    "reversed": _reverse,
    "permuted": _permute,
    "transposed": _transpose,
    "L2 missing": _penalty,
    "offset": _offset,
    "times x": _logarithm,
    "slice zero": _slice,
}


def wrong_claims(problem: Problem, rng: Rng, count: int) -> Iterator[tuple[str, Any]]:
    """Some mistakes in one leaf, or in all of them."""
    names = rng.permutation(list(EDITS)).tolist()
    at = [i for i, (_, g) in enumerate(leaves(problem.right)) if _usable(g)]
    while count and names and at:
        name, which = names.pop(), int(rng.choice(at))
        only = len(list(leaves(problem.right))) == 1 or rng.random() < 0.7
        claim = _edited(problem, EDITS[name], which if only else None, rng)
        if claim is not None:
            count -= 1
            yield name if only else f"{name}, all leaves", claim


def _usable(g: np.ndarray) -> bool:
    return bool(g.size and np.isfinite(g).all() and g.any())


def _edited(problem: Problem, edit: Edit, which: int | None, rng: Rng) -> Any:
    number = -1

    def each(g: Any, x: Any) -> Any:
        nonlocal number
        number += 1
        g = np.asarray(g)
        if (which is not None and number != which) or not _usable(g):
            return g.copy()
        with np.errstate(all="ignore"):
            new = edit(g, np.asarray(x), rng)
        return g.copy() if new is None else new

    claim = like(problem.right, each, problem.params)
    pairs = zip(leaves(claim), leaves(problem.right), strict=True)
    same = all(np.array_equal(a, b, equal_nan=True) for (_, a), (_, b) in pairs)
    return None if same else claim
