"""Sparsity patterns: of examples of other packages, and of the shapes that problems have."""

from __future__ import annotations

import numpy as np
from scipy import sparse


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
