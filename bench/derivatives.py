"""Benchmark of Jacobians and Hessians: ``python bench/derivatives.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured and how to read it. A table is a function of a
`Scale` that returns a `Section`, and a line in `TABLES`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
from competitors import PEERS, Competitor, Objective, bare_loop, count_calls
from measure import (
    Effort,
    Section,
    Target,
    Timings,
    arguments,
    figure,
    point,
    refuse_unless_installed,
    report,
    table,
    take_turns,
    using,
)

import fastgrad as fg

BARE = "bare loop that stores"
COMPILED = "fastgrad compiled"


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    effort: Effort
    sizes: tuple[int, ...]
    hessians: tuple[int, ...]


FULL = Scale(Effort(100, 4.0), (3, 30, 1000), (10, 100))
QUICK = Scale(Effort(3, 0.03), (3, 30), (10,))


def trivial(x: np.ndarray) -> np.ndarray:
    """The cheapest function of as many values: what is left is the cost of the loop."""
    return x


def curved(x: np.ndarray) -> np.ndarray:
    """Something to get right."""
    return np.cumsum(x**2) * x[0]


def curved_jacobian(x: np.ndarray) -> np.ndarray:
    exact = np.tril(np.broadcast_to(2 * x * x[0], (x.size, x.size)))
    exact[:, 0] += np.cumsum(x**2)
    return exact


# ---------------------------------------------------------------- who takes part


def storing(f: Objective, x: np.ndarray) -> np.ndarray:
    """The evaluations of a central difference, each value stored: the reference."""
    values = np.empty((2 * x.size, x.size))
    for k in range(2 * x.size):
        values[k] = f(x)
    return values


def peers() -> tuple[list[Competitor], list[str]]:
    """Everyone who is installed, and the names of the packages that are not."""
    missing = [package for package in PEERS if find_spec(package) is None]
    found = [
        Competitor(COMPILED, fg.jacobian, 1e-7, 10**4),
        Competitor("fastgrad pure", fg.jacobian, 1e-7, 10**3, backend="pure"),
    ]
    makers = {
        "scipy": _scipy,
        "statsmodels": _statsmodels,
        "numdifftools": _numdifftools,
        "jacobi": _jacobi,
    }
    return found + [make() for name, make in makers.items() if name not in missing], missing


def _scipy() -> Competitor:
    from scipy.optimize._numdiff import approx_derivative

    return Competitor("scipy approx_derivative", approx_derivative, 1e-7, 10**4)


def _statsmodels() -> Competitor:
    from statsmodels.tools.numdiff import approx_fprime

    def differentiate(f: Objective, x: np.ndarray) -> np.ndarray:
        return approx_fprime(x, f, centered=True)

    return Competitor("statsmodels", differentiate, 1e-7, 10**4)


def _numdifftools() -> Competitor:
    from numdifftools import Jacobian

    # At n = 1000 one Jacobian takes minutes, and gigabytes.
    return Competitor("numdifftools", lambda f, x: Jacobian(f)(x), 1e-7, 30)


def _jacobi() -> Competitor:
    from jacobi import jacobi

    return Competitor("jacobi", lambda f, x: jacobi(f, x)[0], 1e-4, 30)


def check(everyone: Sequence[Competitor]) -> None:
    """Assert, before anything is timed, that everyone gets a real Jacobian right."""
    x = point(10)
    exact = curved_jacobian(x)
    for each in everyone:
        with using(each.backend):
            found = np.reshape(each.differentiate(curved, x.copy()), exact.shape)
        error = float(np.linalg.norm(found - exact) / np.linalg.norm(exact))
        assert error <= each.tolerance, f"{each.name}: relative error {error:.1e}"


# ---------------------------------------------------------------- tables


def dense(scale: Scale) -> Section:
    """Dense Jacobians of n values by n entries."""
    everyone, missing = peers()
    check(everyone)
    columns, targets = [], []
    for n in scale.sizes:
        x = point(n)
        some = [each for each in everyone if n <= each.largest]
        times = take_turns(
            [Competitor(BARE, storing, np.inf, 10**9), *some], trivial, x, scale.effort
        )
        columns.append(_column(times, x, some))
        targets += _targets(times, n)
    names = [BARE, *(each.name for each in everyone)]
    rows = [
        [name, *(cell for column in columns for cell in column.get(name, ("", "", "")))]
        for name in names
    ]
    head = ["", *(f"n = {n}: {what}" for n in scale.sizes for what in ("µs", "x bare", "calls"))]
    text = table(head, rows)
    if missing:
        text += f"\n\nLeft out, not installed: {', '.join(missing)}."
    return Section("Dense Jacobians: f returns its input at once, m = n", text, targets)


def _column(
    times: Timings, x: np.ndarray, some: Sequence[Competitor]
) -> dict[str, tuple[str, str, str]]:
    calls = {BARE: 2 * x.size}
    for each in some:
        with using(each.backend):
            calls[each.name] = count_calls(each, trivial, x)
    return {
        name: (
            figure(times.seconds(name) * 1e6),
            figure(times.ratio(name, BARE)),
            str(count),
        )
        for name, count in calls.items()
    }


def _targets(times: Timings, n: int) -> list[Target]:
    if n == 3:
        beyond = times.combined(lambda mine, bare: mine - bare, COMPILED, BARE) * 1e6
        return [Target("n = m = 3: beyond a loop that stores", beyond, 4.0, " µs")]
    if n >= 1000:
        return [Target(f"n = m = {n}: compiled / loop", times.ratio(COMPILED, BARE), 1.1, " x")]
    return []


# ---------------------------------------------------------------- Hessians

BY_VALUES, BY_GRADIENTS = "fastgrad, from f", "fastgrad, from gradients"


@dataclass
class Bowl:
    """A convex function with an exact Hessian; how often it and its gradient are called."""

    calls: int = 0

    def __call__(self, x: np.ndarray) -> float:
        self.calls += 1
        return float(np.einsum("i,i,i->", x, x, x) / 6 + x.sum() ** 2 / 2)

    def gradient(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        found: np.ndarray = x * x / 2 + x.sum()
        return found

    @staticmethod
    def hessian(x: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.diag(x) + 1.0
        return found


def hessian_makers() -> dict[str, tuple[int, Callable[[Bowl, np.ndarray], Any]]]:
    """Everyone who is installed, and the n beyond which a measurement takes too long."""
    found: dict[str, tuple[int, Callable[[Bowl, np.ndarray], Any]]] = {
        BY_VALUES: (10**3, fg.hessian),
        BY_GRADIENTS: (10**3, lambda f, x: fg.hessian(f, x, f.gradient)),
    }
    if find_spec("statsmodels"):
        from statsmodels.tools.numdiff import approx_hess

        found["statsmodels approx_hess"] = (10**3, lambda f, x: approx_hess(x, f))
    if find_spec("numdifftools"):
        from numdifftools import Hessian

        found["numdifftools Hessian"] = (10, lambda f, x: Hessian(f)(x))
    return found


def hessians(scale: Scale) -> Section:
    """Evaluations, and time against a bare loop of as many calls of the same function."""
    rows: dict[str, list[str]] = {}
    targets = []
    for n in scale.hessians:
        x = point(n)
        for name, (largest, make) in hessian_makers().items():
            called = "gradient" if name == BY_GRADIENTS else "__call__"
            some = _one_hessian(make, called, x, scale) if n <= largest else ["", "", ""]
            rows.setdefault(name, []).extend(some)
        if n == 100:
            for name, limit in ((BY_VALUES, n**2 + 10 * n), (BY_GRADIENTS, 2 * n + 10)):
                calls = int(rows[name][-3])
                targets.append(Target(f"Hessian of n = {n}, {name}: calls", calls, limit, ""))
    head = [f"n = {n}: {what}" for n in scale.hessians for what in ("calls", "error", "x bare")]
    text = table(["", *head], [[name, *cells] for name, cells in rows.items()])
    return Section("Hessians: calls of f or of its gradient, largest error, time", text, targets)


def _one_hessian(make: Callable, called: str, x: np.ndarray, scale: Scale) -> list[str]:
    """Calls, error, and time against a loop over what is called."""
    f, exact = Bowl(), Bowl.hessian(x)
    error = float(np.abs(make(f, x) - exact).max() / np.abs(exact).max())
    calls = f.calls
    loop = bare_loop(calls).differentiate
    everyone = [
        Competitor(BARE, lambda _, x: loop(getattr(f, called), x), np.inf, x.size),
        Competitor(COMPILED, lambda _, x: make(f, x), np.inf, x.size),
    ]
    times = take_turns(everyone, f, x, scale.effort)
    return [str(calls), f"{error:.0e}", figure(times.ratio(COMPILED, BARE))]


def sparse(scale: Scale) -> Section:
    """Where the sparse ones are."""
    return Section(
        "Sparse ones",
        "Colors, evaluations and memory: [sparse.md](sparse.md). Patterns found: "
        "[patterns.md](patterns.md).",
    )


TABLES = (dense, hessians, sparse)


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    sections = [each(scale) for each in TABLES]
    report("derivatives.md", "Jacobians and Hessians by finite differences", sections, options)


if __name__ == "__main__":
    main()
