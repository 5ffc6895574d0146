"""Sparse Jacobians: colors and coloring against SciPy's, evaluations, memory, patterns found.

``python bench/sparse.py`` takes an hour, nearly all of it for the patterns of a hundred thousand
columns and fifty seeds.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter

import numpy as np
from measure import Section, Target, arguments, figure, refuse_unless_installed, report, table
from scipy import sparse
from scipy.optimize._numdiff import group_columns

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy")


@dataclass(frozen=True)
class Scale:
    columns: int  # of the tridiagonal Jacobian
    rounds: int
    found: int  # columns of the patterns to be found
    seeds: int
    random_seeds: int  # of random patterns, which take ten times as long


FULL = Scale(10**6, 9, 10**5, 50, 50)
QUICK = Scale(10**4, 3, 500, 2, 1)


# ---------------------------------------------------------------- patterns


def band(n: int, width: int) -> sparse.csc_array:
    offsets = range(-width, width + 1)
    return sparse.diags_array(
        [np.ones(n - abs(k)) for k in offsets], offsets=offsets, format="csc", dtype=float
    )


def brusselator(side: int) -> sparse.csc_array:
    """Two species on a periodic grid, as in the examples of SparseDiffTools."""
    ring = band(side, 1).tolil()
    ring[0, -1] = ring[-1, 0] = 1
    one, both = sparse.eye_array(side), sparse.eye_array(side**2)
    laplacian = sparse.kron(ring, one, "csr") + sparse.kron(one, ring, "csr")
    return sparse.csc_array(sparse.block_array([[laplacian, both], [both, laplacian]]))


def power_law(n: int, seed: int, links: int = 3) -> sparse.csc_array:
    """Preferential attachment (Barabási and Albert): few vertices have many neighbors."""
    random = np.random.default_rng(seed)
    ends, rows, columns = list(range(links)), [], []
    for vertex in range(links, n):
        for other in {ends[k] for k in random.integers(len(ends), size=links)}:
            rows.append(vertex)
            columns.append(other)
            ends += [vertex, other]
    half = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    return sparse.csc_array(half + half.T + sparse.eye_array(n))


def blocks(n: int, size: int) -> sparse.csc_array:
    return sparse.csc_array(sparse.kron(sparse.eye_array(n // size), np.ones((size, size))))


def arrow(n: int, hub: int) -> sparse.csc_array:
    each, at = np.arange(n), np.full(n, hub)
    rows, columns = np.concatenate([each, at, each]), np.concatenate([each, each, at])
    return sparse.csc_array(sparse.coo_array((np.ones(3 * n), (rows, columns)), shape=(n, n)))


def scattered(n: int, in_row: int, seed: int) -> sparse.csc_array:
    rows = np.repeat(np.arange(n), in_row)
    columns = np.random.default_rng(seed).integers(0, n, len(rows))
    return sparse.csc_array(sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n)))


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


# ---------------------------------------------------------------- patterns found


def smooth(pattern: sparse.csc_array, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A map whose derivatives vanish at zero in part, and nowhere else but by structure."""
    rows = sparse.csr_array(pattern)
    random = np.random.default_rng(seed)
    sign = random.choice([-1.0, 1.0], rows.nnz)
    first = sparse.csr_array(
        (sign * random.uniform(0.5, 2, rows.nnz), rows.indices, rows.indptr), rows.shape
    )
    second = sparse.csr_array(
        (random.uniform(0.5, 2, rows.nnz), rows.indices, rows.indptr), rows.shape
    )
    return lambda x: np.sin(first @ x) + second @ (x * x)


def kinds(n: int, seed: int) -> Iterator[tuple[str, sparse.csc_array]]:
    random = np.random.default_rng(seed)
    yield "banded", band(n, int(random.integers(1, 4)))
    yield "block-diagonal", blocks(n, int(random.integers(2, 7)))
    yield "arrow", arrow(n, int(random.integers(0, n)))
    yield "random, 3 in a row", scattered(n, 3, seed)


def found(scale: Scale) -> Section:
    """Every other seed starts at zero, where half of the derivatives vanish."""
    evaluations: dict[str, list[int]] = {}
    wrong: dict[str, int] = {}
    for seed in range(scale.seeds):
        for name, pattern in kinds(scale.found, seed):
            if name.startswith("random") and seed >= scale.random_seeds:
                continue
            n = pattern.shape[1]
            x = np.random.default_rng(seed).uniform(-1, 1, n) if seed % 2 else np.zeros(n)
            result = fg.jacobian_sparsity(smooth(pattern, seed), x, seed=seed)
            evaluations.setdefault(name, []).append(result.evaluations)
            apart = result.pattern.astype(int) != sparse.csr_array(pattern.astype(bool).astype(int))
            wrong[name] = wrong.get(name, 0) + bool(apart.nnz)
    rows = [
        [name, f"{median(each):,.0f}", f"{max(each):,}", f"{wrong[name]} of {len(each)}"]
        for name, each in evaluations.items()
    ]
    head = [f"{scale.found:,} columns", "evaluations, median", "most", "wrong"]
    target = Target("patterns found wrong", sum(wrong.values()), 0, "")
    return Section("Patterns found", table(head, rows), [target])


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    sections = [coloring(scale), colors(options.quick), jacobian(scale), found(scale)]
    report("sparse.md", "Sparse Jacobians", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
