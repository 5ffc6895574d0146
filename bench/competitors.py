"""What is measured: ways to get a gradient by differences, and the functions they are given."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise, repeat

import numpy as np

import fastgrad as fg

BARE = "bare loop"

Objective = Callable[[np.ndarray], float]


@dataclass(frozen=True)
class Competitor:
    """A way to get a gradient; `largest` is the n beyond which a measurement takes too long."""

    name: str
    differentiate: Callable[[Objective, np.ndarray], np.ndarray | None]
    tolerance: float  # of the relative error, for a smooth function
    largest: int
    backend: str = "compiled"  # that fastgrad is switched to meanwhile


def trivial(x: np.ndarray) -> float:
    """The cheapest objective that moves: what is left is the cost of the loop.

    Of one that does not, `gradient` would find out why.
    """
    return x.item(0)  # type: ignore[no-any-return]


def rosenbrock(x: np.ndarray) -> float:
    """In plain Python, as much that is differentiated is: about 0.2 µs for each entry."""
    values = x.tolist()
    return sum(
        100.0 * (after - before * before) ** 2 + (1.0 - before) ** 2
        for before, after in pairwise(values)
    )


def rosenbrock_gradient(x: np.ndarray) -> np.ndarray:
    """The exact one, against which everyone is checked."""
    gradient = np.zeros_like(x)
    slack = x[1:] - x[:-1] ** 2
    gradient[:-1] = -400.0 * x[:-1] * slack - 2.0 * (1.0 - x[:-1])
    gradient[1:] += 200.0 * slack
    return gradient


def bare_loop(calls: int) -> Competitor:
    """The calls and nothing else: the reference."""

    def loop(f: Objective, x: np.ndarray) -> None:
        for _ in range(calls):
            f(x)

    return Competitor(BARE, loop, tolerance=np.inf, largest=10**6)


def lean_loop(calls: int) -> Competitor:
    """The leanest there is: `range` makes an integer for each turn beyond the 256th."""

    def loop(f: Objective, x: np.ndarray) -> None:
        for _ in repeat(None, calls):
            f(x)

    return Competitor("bare, over repeat()", loop, tolerance=np.inf, largest=10**6)


def mapped_loop(calls: int) -> Competitor:
    """The calls made from C, as fastgrad's are: each enters the interpreter anew."""

    def loop(f: Objective, x: np.ndarray) -> None:
        deque(map(f, repeat(x, calls)), maxlen=0)

    return Competitor("bare, by map()", loop, tolerance=np.inf, largest=10**6)


def in_place_loop(f: Objective, x: np.ndarray) -> np.ndarray:
    """What a careful user writes by hand, tuned: Python floats instead of NumPy scalars."""
    gradient = np.empty_like(x)
    step = float(np.finfo(x.dtype).eps) ** (1 / 3)
    for i, saved in enumerate(x.tolist()):
        h = step * max(1.0, abs(saved))
        above, below = saved + h, saved - h
        try:
            x[i] = above
            high = f(x)
            x[i] = below
            low = f(x)
        finally:
            x[i] = saved
        gradient[i] = (high - low) / (above - below)
    return gradient


def fastgrad_and_by_hand() -> list[Competitor]:
    return [
        Competitor("fastgrad compiled", fg.gradient, 1e-7, 10**6),
        Competitor("fastgrad pure", fg.gradient, 1e-7, 10**5, backend="pure"),
        Competitor("in-place NumPy loop", in_place_loop, 1e-7, 10**6),
    ]


def _scipy() -> list[Competitor]:
    from scipy.optimize import approx_fprime
    from scipy.optimize._numdiff import approx_derivative

    return [
        # 3-point is the default of approx_derivative; approx_fprime knows forward differences only.
        Competitor("scipy 3-point", approx_derivative, 1e-7, 10**4),
        Competitor("scipy forward", lambda f, x: approx_fprime(x, f), 1e-5, 10**4),
    ]


def _statsmodels() -> list[Competitor]:
    from statsmodels.tools.numdiff import approx_fprime

    def differentiate(f: Objective, x: np.ndarray) -> np.ndarray:
        return approx_fprime(x, f, centered=True)

    return [Competitor("statsmodels", differentiate, 1e-7, 10**4)]


def _numdifftools() -> list[Competitor]:
    from numdifftools import Gradient

    return [Competitor("numdifftools", lambda f, x: Gradient(f)(x), 1e-8, 10**3)]


def _jacobi() -> list[Competitor]:
    from jacobi import jacobi

    # It stops too early at a few entries near a sign change, and says so in its error estimate.
    return [Competitor("jacobi", lambda f, x: jacobi(f, x)[0], 2e-3, 10**3)]


PEERS = {
    "scipy": _scipy,
    "statsmodels": _statsmodels,
    "numdifftools": _numdifftools,
    "jacobi": _jacobi,
}


def competitors() -> tuple[list[Competitor], list[str]]:
    """Everyone who is installed, and the names of the packages that are not."""
    missing = [package for package in PEERS if find_spec(package) is None]
    peers = [each for package in PEERS if package not in missing for each in PEERS[package]()]
    return fastgrad_and_by_hand() + peers, missing


def count_calls(competitor: Competitor, f: Objective, x: np.ndarray) -> int:
    """Calls of `f` that one gradient takes."""
    calls = 0

    def counting(x: np.ndarray) -> float:
        nonlocal calls
        calls += 1
        return f(x)

    competitor.differentiate(counting, x.copy())
    return calls


def check(competitor: Competitor, x: np.ndarray) -> None:
    """Assert, before anything is timed, that the competitor gets a real gradient right."""
    exact = rosenbrock_gradient(x)
    result = np.reshape(competitor.differentiate(rosenbrock, x.copy()), exact.shape)
    error = relative_error(result, exact)
    assert error <= competitor.tolerance, f"{competitor.name}: relative error {error:.1e}"


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """The definition of fastgrad.relative_error, kept apart from what is measured."""
    total = np.linalg.norm(a) + np.linalg.norm(b)
    return float(np.linalg.norm(a - b) / total) if total else 0.0
