"""What a hostile problem is, the smooth functions that families start from, and the registry."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

Rng = np.random.Generator

# Verdicts that may be said of a gradient.
RIGHT = frozenset({"RIGHT"})
UNSURE = frozenset({"RIGHT", "CANNOT_TELL"})
UNKNOWN = frozenset({"CANNOT_TELL"})
NOT_RIGHT = frozenset({"WRONG", "CANNOT_TELL"})
WRONG = frozenset({"WRONG"})


@dataclass(frozen=True)
class Problem:
    """A function, the point, and its gradient as a user means it.

    `low` and `high` are one-sided derivatives at a kink: each claim between them is right. `plain`
    says that plain differences may be expected to converge; whether they do is measured as well.
    With `inexact`, f is off by a tolerance of its own, and no smoother than that. `changes`
    says that multiples of f, and f with a constant added, have the same verdict.
    `clean` is a smooth function with the same gradient, by which that is verified; with `analytic`,
    it takes complex arguments. `size` is the size of the gradient nearby, where it vanishes.
    """

    f: Callable[[Any], Any]
    params: Any
    right: Any
    accept: frozenset[str] = UNSURE
    plain: bool = True
    smooth: bool = False
    low: Any = None
    high: Any = None
    clean: Callable[[Any], Any] | None = None
    analytic: bool = False
    size: float | None = None
    extra: dict[str, tuple[Any, frozenset[str]]] = field(default_factory=dict)
    variants: bool = True
    raises: bool = False
    quiet: bool = True
    verified: bool = True
    inexact: bool = False
    changes: bool = True
    pair: bool = False
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """A multiple of f, and a constant added."""

    factor: float
    constant: float

    @property
    def plain(self) -> bool:
        return self.factor == 1 and self.constant == 0

    def of(self, problem: Problem) -> Problem:
        f = problem.f
        return replace(problem, f=lambda v: self.factor * f(v) + self.constant)


@dataclass(frozen=True)
class Family:
    name: str
    group: str
    make: Callable[[Rng], Problem]
    share: float  # of the generator seeds: slow families get fewer
    probes: bool

    @property
    def held_out(self) -> bool:
        return bool(_hash(self.name) & 1)

    def problem(self, seed: int) -> Problem:
        with np.errstate(all="ignore"):
            return self.make(np.random.default_rng([_hash(self.name), seed]))


FAMILIES: dict[str, Family] = {}


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")


class Group:
    """Registers the families of one file: ``@group`` under the function's own name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(
        self, make: Callable[[Rng], Problem] | None = None, *, share: float = 1, probes: bool = True
    ) -> Any:
        def register(make: Callable[[Rng], Problem]) -> Callable[[Rng], Problem]:
            name = make.__name__
            if name in FAMILIES:
                raise ValueError(f"two families are called {name}")
            FAMILIES[name] = Family(name, self.name, make, share, probes)
            return make

        return register if make is None else register(make)


@dataclass(frozen=True)
class Smooth:
    """A smooth function of one vector that takes complex arguments, with its gradient."""

    f: Callable[[np.ndarray], Any]
    grad: Callable[[np.ndarray], np.ndarray]
    x: np.ndarray

    def problem(self, f: Callable[[np.ndarray], Any] | None = None, **changes: Any) -> Problem:
        """The problem of `f`, which has the same gradient."""
        clean = Problem(
            f=f or (lambda v: float(self.f(v))),
            params=self.x.copy(),
            right=self.grad(self.x),
            clean=self.f,
            analytic=True,
        )
        return replace(clean, **changes)


def sizes(rng: Rng, most: int = 12) -> int:
    """Numbers of parameters: few are as common as many."""
    return int(rng.choice([n for n in (1, 2, 3, 5, 8, 12, 30) if n <= most]))


def waves(rng: Rng, n: int) -> Smooth:
    w, x = rng.normal(size=n), rng.normal(size=n)
    return Smooth(lambda v: w @ np.sin(v), lambda v: w * np.cos(v), x)


def quadratic(rng: Rng, n: int) -> Smooth:
    a, b, x = rng.normal(size=(n, n)), rng.normal(size=n), rng.normal(size=n)
    a = a @ a.T / n + np.eye(n)
    return Smooth(lambda v: v @ a @ v / 2 + b @ v, lambda v: a @ v + b, x)


def cubic(rng: Rng, n: int) -> Smooth:
    w, x = rng.normal(size=n), rng.uniform(0.3, 2, size=n) * rng.choice([-1, 1], n)
    return Smooth(lambda v: w @ v**3, lambda v: 3 * w * v**2, x)


def bumps(rng: Rng, n: int) -> Smooth:
    w, x = rng.normal(size=n), rng.uniform(-1.2, 1.2, size=n)
    return Smooth(lambda v: w @ np.exp(-(v**2)), lambda v: -2 * w * v * np.exp(-(v**2)), x)


def logistic(rng: Rng, n: int) -> Smooth:
    data, x = rng.normal(size=(30, n)), rng.normal(size=n) / n**0.5
    y = np.sign(rng.normal(size=30))

    def grad(v: np.ndarray) -> np.ndarray:
        return -data.T @ (y / (1 + np.exp(y * (data @ v)))) / 30

    return Smooth(lambda v: np.log(1 + np.exp(-y * (data @ v))).mean(), grad, x)


def softened_maximum(rng: Rng, n: int) -> Smooth:
    w, x = rng.normal(size=n), rng.normal(size=n)

    def grad(v: np.ndarray) -> np.ndarray:
        e = np.exp(w * v)
        return w * e / e.sum()

    return Smooth(lambda v: np.log(np.exp(w * v).sum()), grad, x)


def rosenbrock(rng: Rng, n: int) -> Smooth:
    x = rng.uniform(-1.5, 1.5, size=max(n, 2))

    def grad(v: np.ndarray) -> np.ndarray:
        g = np.zeros_like(v)
        g[1:] += 200 * (v[1:] - v[:-1] ** 2)
        g[:-1] += -400 * v[:-1] * (v[1:] - v[:-1] ** 2) - 2 * (1 - v[:-1])
        return g

    return Smooth(lambda v: (100 * (v[1:] - v[:-1] ** 2) ** 2 + (1 - v[:-1]) ** 2).sum(), grad, x)


SMOOTH = (waves, quadratic, cubic, bumps, logistic, softened_maximum, rosenbrock)


def some_smooth(rng: Rng, n: int | None = None) -> Smooth:
    kind = SMOOTH[int(rng.integers(len(SMOOTH)))]
    return kind(rng, sizes(rng) if n is None else n)


def slopes(f: Callable[[np.ndarray], Any], x: np.ndarray) -> np.ndarray:
    """The gradient of an analytic function by complex steps, whose error is below rounding."""
    return np.array([np.imag(f(x + 1e-30j * e)) / 1e-30 for e in np.eye(len(x))])


def hashed(v: np.ndarray) -> float:
    """Noise between -1 and 1, the same for the same bits."""
    return zlib.crc32(v.tobytes()) / 2**31 - 1


def log_uniform(rng: Rng, low: float, high: float, size: Any = None) -> Any:
    """Between ``10**low`` and ``10**high``, no rounder than need be."""
    return 10.0 ** rng.uniform(low, high, size=size)


def leaves(tree: Any, path: str = "params") -> Iterator[tuple[str, np.ndarray]]:
    """Paths as a report writes them, and arrays."""
    if isinstance(tree, dict):
        for key, child in tree.items():
            yield from leaves(child, key if path == "params" else f"{path}.{key}")
    elif isinstance(tree, list | tuple):
        for index, child in enumerate(tree):
            yield from leaves(child, f"{path}[{index}]")
    else:
        yield path, np.asarray(tree)


def like(tree: Any, function: Callable[..., Any], *others: Any) -> Any:
    """`function` of each leaf, and of its fellows in other trees of the same structure."""
    if isinstance(tree, dict):
        return {key: like(tree[key], function, *(o[key] for o in others)) for key in tree}
    if isinstance(tree, list | tuple):
        return type(tree)(like(p[0], function, *p[1:]) for p in zip(tree, *others, strict=True))
    return function(tree, *others)
