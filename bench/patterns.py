"""Patterns of Jacobians found by moving blocks: ``python bench/patterns.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured. Nothing is timed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from measure import Section, Target, arguments, refuse_unless_installed, report, table
from scipy import sparse
from sparse_patterns import arrow, band, blocks, scattered

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy")


@dataclass(frozen=True)
class Scale:
    """How large, and how many seeds: the benchmark proper, or the smoke run."""

    columns: int
    seeds: int


FULL = Scale(10**5, 50)
QUICK = Scale(500, 2)


def smooth(pattern: sparse.csc_array, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """A map whose derivatives vanish at zero in part, and nowhere else but by structure.

    ``y + y**3`` with ``y = A x + B x**2``, where each entry of the pattern is in `A` or in `B`.
    """
    rows = sparse.csr_array(pattern)
    n = rows.shape[1]
    random = np.random.default_rng(seed)
    weights = random.choice([-1.0, 1.0], rows.nnz) * random.uniform(0.5, 2, rows.nnz)
    squared = n * random.integers(0, 2, rows.nnz, dtype=rows.indices.dtype)
    both = sparse.csr_array((weights, rows.indices + squared, rows.indptr), (rows.shape[0], 2 * n))

    def f(x: np.ndarray) -> np.ndarray:
        y = both @ np.concatenate([x, x * x])
        return y + y * y * y

    return f


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
        for name, pattern in kinds(scale.columns, seed):
            count, right = look(pattern, seed)
            evaluations.setdefault(name, []).append(count)
            wrong[name] = wrong.get(name, 0) + (not right)
    rows = [
        [name, f"{median(each):,.0f}", f"{max(each):,}", f"{wrong[name]} of {len(each)}"]
        for name, each in evaluations.items()
    ]
    head = [f"{scale.columns:,} columns", "evaluations, median", "most", "wrong"]
    target = Target("patterns found wrong", sum(wrong.values()), 0, "")
    title = "Evaluations, where each column by itself takes one for each"
    return Section(title, table(head, rows), [target])


def look(pattern: sparse.csc_array, seed: int) -> tuple[int, bool]:
    """Evaluations, and whether exactly this pattern is found."""
    n = pattern.shape[1]
    x = np.random.default_rng(seed).uniform(-1, 1, n) if seed % 2 else np.zeros(n)
    result = fg.jacobian_sparsity(smooth(pattern, seed), x, seed=seed)
    planted = sparse.csr_array(pattern.astype(bool).astype(int))
    return result.evaluations, (result.pattern.astype(int) != planted).nnz == 0


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    sections = [found(QUICK if options.quick else FULL)]
    report("patterns.md", "Patterns found", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
