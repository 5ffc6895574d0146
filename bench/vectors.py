"""A case of the corpus as the peers take it: a function of one vector of float64.

Peers differ in what they accept; a vector of float64 is what they share. So the leaves are copied
into plain arrays, of float64 or complex128 whatever they were, and `f` and `grad` are called with
those, as they would be by scipy. A peer is never made to work in float32 or float16, and is given
every complex entry as its two parts.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Vector = np.ndarray


class Counting:
    """A function that counts its calls."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self._f = f
        self.calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return self._f(x)


class Flat:
    """Value and claimed gradient at a vector; `x` is where to check."""

    def __init__(self, f: Callable[[Any], float], grad: Callable[[Any], Any], params: Any) -> None:
        self._f, self._grad = f, grad
        self._tree = _map(_widened, params)
        self._parts = [_as_real(leaf) for leaf in walk(self._tree)]
        self._ends = np.cumsum([len(part) for part in self._parts])[:-1]
        self.x = np.concatenate(self._parts)
        # The gradient as it is at x: nobody asks for it elsewhere.
        self.claimed = np.concatenate([_as_real(_widened(g)) for g in walk(grad(self._tree))])

    def value(self, x: Vector) -> float:
        for part, values in zip(self._parts, np.split(x, self._ends), strict=True):
            part[:] = values
        return float(self._f(self._tree))

    def gradient(self, x: Vector) -> Vector:
        return self.claimed


def entries(mask: Vector, params: Any) -> Vector:
    """A mask over the vector as one over array entries: a complex one is two numbers of it."""
    owners, start = [], 0
    for leaf in walk(params):
        own = np.arange(start, start + leaf.size)
        owners.append(np.repeat(own, 2 if np.iscomplexobj(leaf) else 1))
        start += leaf.size
    return np.bincount(np.concatenate(owners), weights=mask, minlength=start) > 0


def walk(tree: Any) -> Iterator[Any]:
    """The leaves in order."""
    if isinstance(tree, dict):
        tree = tree.values()
    elif not isinstance(tree, list | tuple):
        yield tree
        return
    yield from itertools.chain.from_iterable(map(walk, tree))


def _map(function: Callable[[Any], Any], tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _map(function, child) for key, child in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_map(function, child) for child in tree)
    return function(tree)


def _widened(leaf: Any) -> np.ndarray:
    kind = np.complex128 if np.iscomplexobj(leaf) else np.float64
    return np.array(leaf, dtype=kind, order="C")


def _as_real(leaf: np.ndarray) -> Vector:
    """A view: writing to it moves the leaf."""
    return leaf.reshape(-1).view(np.float64)
