"""Sparse Jacobians: colors and the time to color beside SciPy's, evaluations and memory.

    python bench/sparse.py [--quick] [--out DIR]

README.md, beside this file, says what is measured.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
from measure import Section, Target, arguments, figure, refuse_unless_installed, report, table
from scipy.optimize._numdiff import group_columns
from sparse_patterns import band, brusselator, power_law, scattered

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy")


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    columns: int  # of the tridiagonal Jacobian
    rounds: int


FULL = Scale(10**6, 9)
QUICK = Scale(10**4, 3)


# ---------------------------------------------------------------- colors


def seconds(work: Callable[[], object]) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def turns(rounds: int, *works: Callable[[], object]) -> list[list[float]]:
    """Seconds of each, in turn, after one round that warms up."""
    return [[seconds(work) for work in works] for _ in range(rounds + 1)][1:]


def coloring(scale: Scale) -> Section:
    """Both from the same matrix: SciPy's loop wants CSC, so CSR is the usual case."""
    rows, ratios = [], {}
    for form in ("csc", "csr"):
        matrix = band(scale.columns, 1).asformat(form)
        times = turns(
            scale.rounds,
            lambda m=matrix: fg.color_columns(m),
            lambda m=matrix: group_columns(m),
        )
        ours, theirs = (median(column) for column in zip(*times, strict=True))
        ratios[form] = median(b / a for a, b in times)
        cells = [figure(1e3 * ours), figure(1e3 * theirs), figure(ratios[form])]
        rows.append([f"tridiagonal, {scale.columns:,} columns, {form}", *cells])
    targets = [
        Target(
            f"coloring, {form}: SciPy's group_columns / fastgrad", ratio, 10, " x", at_least=True
        )
        for form, ratio in ratios.items()
    ]
    head = ["ms, in turn", "fastgrad", "SciPy", "SciPy / fastgrad"]
    return Section("Time to color", table(head, rows), targets)


def colors(quick: bool) -> Section:
    side = (16,) if quick else (32, 100)
    n = 300 if quick else 20_000
    patterns = {
        "tridiagonal": band(1000, 1),
        "seven diagonals": band(1000, 3),
        **{f"Brusselator, {s} x {s}": brusselator(s) for s in side},
        **{f"power law, {n:,}, seed {seed}": power_law(n, seed) for seed in range(3)},
        "random, 5 in a row": scattered(n, 5, 0),
    }
    rows, worse = [], 0
    for name, pattern in patterns.items():
        ours, theirs = (f(pattern).max() + 1 for f in (fg.color_columns, group_columns))
        least = np.bincount(pattern.indices).max()
        rows.append([name, str(ours), str(theirs), str(least)])
        worse += int(ours > theirs)
    head = ["colors", "fastgrad", "SciPy", "fullest row"]
    target = Target("patterns with more colors than SciPy's", worse, 0, "")
    return Section("Colors", table(head, rows), [target])


# ---------------------------------------------------------------- a tridiagonal Jacobian


class Tridiagonal:
    """A map with a tridiagonal Jacobian that NumPy evaluates in a few passes."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.calls += 1
        y = x * x
        y[1:] += x[:-1]
        y[:-1] += 2 * x[1:]
        return y


def jacobian(scale: Scale) -> Section:
    f, x = Tridiagonal(), np.linspace(0.5, 2.0, scale.columns)
    small = fg.sparse_jacobian(f, x[:50].copy(), (1, 1)).toarray()
    exact = np.diag(2 * x[:50]) + np.diag(np.ones(49), -1) + np.diag(np.full(49, 2.0), 1)
    np.testing.assert_allclose(small, exact, atol=1e-8)
    f.calls = 0
    tracemalloc.start()
    found = fg.sparse_jacobian(f, x, (1, 1))
    peak, evaluations = tracemalloc.get_traced_memory()[1], f.calls
    tracemalloc.stop()
    size = found.data.nbytes + found.indices.nbytes + found.indptr.nbytes
    times = turns(scale.rounds, lambda: fg.sparse_jacobian(f, x, (1, 1)), lambda: f(x))
    ours, once = (median(column) for column in zip(*times, strict=True))
    rows = [
        ["evaluations", str(evaluations)],
        ["seconds", figure(ours)],
        ["seconds of the evaluations alone", figure(evaluations * once)],
        ["peak of tracemalloc, MB", figure(peak / 1e6)],
        ["the result, MB", figure(size / 1e6)],
    ]
    targets = [
        Target("tridiagonal Jacobian: evaluations", evaluations, 8, ""),
        Target("tridiagonal Jacobian: peak memory / result", peak / size, 4, " x"),
    ]
    head = [f"tridiagonal, {scale.columns:,} columns", ""]
    return Section("A Jacobian", table(head, rows), targets)


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    sections = [coloring(scale), colors(options.quick), jacobian(scale)]
    report("sparse.md", "Sparse Jacobians", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
