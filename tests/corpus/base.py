"""What a corpus entry is, and the few functions on trees that its files share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np


@dataclass(frozen=True)
class Case:
    """A cost, its claimed gradient and the point, in arrays nobody else holds."""

    f: Callable[[Any], float]
    grad: Callable[[Any], Any]
    params: Any


@dataclass(frozen=True)
class Problem:
    """A cost with its exact gradient (at a kink: a valid subgradient)."""

    name: str
    family: str
    make: Callable[[], Case]
    kinks: bool = False
    requires: tuple[str, ...] = ()


@dataclass(frozen=True)
class Bug:
    """A problem whose gradient was made wrong in a known way."""

    name: str
    problem: str
    make: Callable[[], Case]
    mask: Callable[[], Any]
    cause: str
    size: float
    source: str | None = None
    requires: tuple[str, ...] = ()
    place: str = ""  # MASKED or SLICE, where it is not a whole leaf


class Family:
    """Collects the problems of one file; ``@family`` registers a maker under its own name."""

    def __init__(self, name: str, requires: tuple[str, ...] = ()) -> None:
        self.name = name
        self.requires = requires
        self.problems: list[Problem] = []

    def __call__(self, make: Callable[[], Case]) -> Callable[[], Case]:
        self.add(make.__name__, make)
        return make

    def kink(self, make: Callable[[], Case]) -> Callable[[], Case]:
        """Register a maker whose point sits exactly at a kink."""
        self.add(make.__name__, make, kinks=True)
        return make

    def add(self, name: str, make: Callable[[], Case], *, kinks: bool = False) -> Problem:
        """Register a maker under a given name."""
        self.problems.append(Problem(name, self.name, make, kinks, self.requires))
        return self.problems[-1]


def rng(seed: int) -> np.random.Generator:
    """The only source of random numbers in the corpus."""
    return np.random.default_rng(seed)


def leaves(tree: Any, path: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Pairs of path (``layers[1].W``; empty for a bare array) and array, in storage order."""
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from leaves(child, f"{path}.{key}" if path else str(key))
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path, tree


def tree_map(fn: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply ``fn`` leaf by leaf to trees of one structure."""
    if isinstance(tree, dict):
        return {key: tree_map(fn, tree[key], *(o[key] for o in others)) for key in tree}
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(fn, *parts) for parts in zip(tree, *others, strict=True))
    return fn(tree, *others)


def edit(tree: Any, changes: dict[str, Any]) -> Any:
    """A copy of ``tree`` with the leaves named by path replaced."""
    missing = set(changes) - {path for path, _ in leaves(tree)}
    if missing:
        raise KeyError(f"no leaf {sorted(missing)} among {[path for path, _ in leaves(tree)]}")
    values = iter([changes.get(path, leaf) for path, leaf in leaves(tree)])
    return tree_map(lambda _: next(values), tree)


def leaf_scale(exact: Any) -> float:
    """Largest magnitude in a leaf, 1 when it is all zero or empty."""
    return float(np.max(np.abs(exact), initial=0.0)) or 1.0


def wrong_entries(exact: Any, planted: Any) -> Any:
    """Bool tree: where two gradients differ by more than the rounding of their own dtype."""

    def leaf(e: Any, p: Any) -> np.ndarray:
        e, p = np.asarray(e), np.asarray(p)
        rounding = max(1e-12, 4 * float(np.finfo(e.dtype).eps)) * leaf_scale(e)
        return np.asarray(~(np.abs(p - e) <= rounding))

    return tree_map(leaf, exact, planted)


def relative_size(exact: Any, planted: Any) -> float:
    """Largest error, each leaf measured by its own largest exact entry."""
    sizes = tree_map(
        lambda e, p: float(np.max(np.abs(p - e), initial=0)) / leaf_scale(e), exact, planted
    )
    return max((float(size) for _, size in leaves(sizes)), default=0.0)


Item = TypeVar("Item", Problem, Bug)


def split(items: Iterable[Item]) -> tuple[list[Item], list[Item]]:
    """Halves by a hash of the name: tune on the first, report on the second."""
    halves: tuple[list[Item], list[Item]] = ([], [])
    for item in items:
        halves[hashlib.sha256(item.name.encode()).digest()[0] & 1].append(item)
    return halves
