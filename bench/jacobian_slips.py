"""Slips in Jacobians and Hessians: what they do to the right matrix, and which causes name them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Matrix = np.ndarray
# Causes that say that nothing simple explains the errors.
NO_PATTERN = frozenset({"UNKNOWN", "NEARBY", "SLICE"})


@dataclass(frozen=True)
class Site:
    """A right matrix (outputs, parameters), the parameters and outputs, and random numbers."""

    right: Matrix
    x: np.ndarray
    outputs: np.ndarray
    elsewhere: Matrix  # the right matrix of another point
    dice: np.random.Generator
    # The shapes of what is returned and of the parameters: of axes, slices are exchanged, not rows.
    out: tuple[int, ...]
    params: tuple[int, ...]

    def along(self, axis: int) -> tuple[np.ndarray, int]:
        """The matrix with all axes of one side, and the first of them that is long enough."""
        shape = (*self.out, len(self.x)) if axis == 0 else (len(self.right), *self.params)
        side = range(len(self.out)) if axis == 0 else range(1, 1 + len(self.params))
        longest = max(side, key=lambda k: shape[k])
        return self.right.reshape(shape), longest

    def row(self) -> int:
        """A row that is not zero."""
        return int(self.dice.choice(np.flatnonzero(self.right.any(axis=1))))

    def column(self) -> int:
        """A column that is not zero."""
        return int(self.dice.choice(np.flatnonzero(self.right.any(axis=0))))

    def entry(self) -> tuple[int, int]:
        """An entry of at least a tenth of the largest of its row."""
        i = self.row()
        size = np.abs(self.right[i])
        return i, int(self.dice.choice(np.flatnonzero(size > 0.1 * size.max())))


@dataclass(frozen=True)
class Slip:
    """The matrix with a slip in it, and the causes that name it."""

    wrong: Matrix
    kinds: frozenset[str]


Make = Callable[[Site], Slip | None]


def _slip(wrong: Matrix, *kinds: str) -> Slip:
    return Slip(wrong, frozenset(kinds))


def _times(site: Site, which: tuple[object, object], c: float, *kinds: str) -> Slip:
    wrong = site.right.copy()
    wrong[which] *= c
    return _slip(wrong, *kinds)


def _single(site: Site, c: float, *kinds: str) -> Slip:
    i, j = site.entry()
    # Alone in its row or column, it is a factor of these.
    mine = (site.right[i], site.right[:, j])
    alone = min(int(np.count_nonzero(each)) for each in mine) == 1
    return _times(site, (i, j), c, "SINGLE", *kinds, *["FACTOR"] * alone)


def _ordered(site: Site, wrong: Matrix, *kinds: str) -> Slip | None:
    return None if np.allclose(wrong, site.right, rtol=1e-3) else _slip(wrong, *kinds)


def _transposed(site: Site) -> Slip | None:
    m, n = site.right.shape
    return _ordered(site, site.right.T.copy(), "TRANSPOSED") if m == n > 2 else None


def _exchanged(site: Site, axis: int) -> Slip | None:
    shaped, along = site.along(axis)
    n = shaped.shape[along]
    if n < 3:
        return None
    i, j = site.dice.choice(n, 2, replace=False)
    order = np.arange(n)
    order[[i, j]] = j, i
    near = ("SHIFTED", "REVERSED") if n == 3 else ()
    wrong = np.take(shaped, order, along).reshape(site.right.shape)
    return _ordered(site, wrong, "PERMUTED", "SWAPPED", *near)


def _shifted(site: Site, axis: int) -> Slip | None:
    shaped, along = site.along(axis)
    if shaped.shape[along] < 4:
        return None
    wrong = np.roll(shaped, 1, along).reshape(site.right.shape)
    return _ordered(site, wrong, "SHIFTED", "PERMUTED")


def _reversed(site: Site) -> Slip | None:
    shaped, along = site.along(0)
    if shaped.shape[along] < 4:
        return None
    wrong = np.flip(shaped, along).reshape(site.right.shape)
    return _ordered(site, wrong, "REVERSED", "PERMUTED", "SHIFTED")


def _logarithm(site: Site) -> Slip | None:
    """The derivative with respect to the logarithms of all parameters."""
    if not (np.abs(site.x) > 1e-3).all() or np.ptp(np.abs(site.x)) < 0.05 * np.abs(site.x).max():
        return None
    kinds = ("LOG_PARAMETER", "CHAIN_RULE", "FACTOR")
    return _slip(site.right * site.x, *kinds)


def _activation(site: Site) -> Slip | None:
    """The derivative of tanh left out: a factor for each row."""
    return _slip(site.right * (1 - np.tanh(site.outputs) ** 2)[:, None], "FACTOR", "CHAIN_RULE")


def _added(site: Site) -> Slip:
    wrong = site.right.copy()
    wrong[:, site.column()] += 0.3 * np.abs(site.right).max()
    return _slip(wrong, "OFFSET", "SLICE", "UNKNOWN", "BROADCAST")


def _spoiled(site: Site) -> Slip | None:
    """Some rows with errors that have no pattern."""
    if site.right.shape[0] < 4:
        return None
    wrong, start = site.right.copy(), int(site.dice.integers(0, site.right.shape[0] - 2))
    wrong[start : start + 2] *= site.dice.uniform(0.5, 2.0, wrong[start : start + 2].shape)
    return _slip(wrong, *NO_PATTERN, "SINGLE")


def _stale(site: Site) -> Slip:
    return _slip(site.elsewhere, *NO_PATTERN, "STALE", "FACTOR", "SINGLE")


OF_JACOBIANS: dict[str, Make] = {
    "transposed": _transposed,
    "sign of a row": lambda s: _times(s, (s.row(), slice(None)), -1.0, "SIGN"),
    "sign of a column": lambda s: _times(s, (slice(None), s.column()), -1.0, "SIGN"),
    "sign": lambda s: _times(s, (slice(None), slice(None)), -1.0, "SIGN"),
    "factor of a row": lambda s: _times(s, (s.row(), slice(None)), 0.5, "FACTOR", "SINGLE"),
    "factor of a column": lambda s: _times(s, (slice(None), s.column()), 2.0, "FACTOR", "SINGLE"),
    "factor": lambda s: _times(s, (slice(None), slice(None)), 1 / len(s.right), "FACTOR"),
    "rows exchanged": lambda s: _exchanged(s, 0),
    "columns exchanged": lambda s: _exchanged(s, 1),
    "rows shifted": lambda s: _shifted(s, 0),
    "columns shifted": lambda s: _shifted(s, 1),
    "rows reversed": _reversed,
    "a row of zeros": lambda s: _times(s, (s.row(), slice(None)), 0.0, "ZERO"),
    "a column of zeros": lambda s: _times(s, (slice(None), s.column()), 0.0, "ZERO"),
    "one entry 1 % off": lambda s: _single(s, 1.01),
    "sign of an entry": lambda s: _single(s, -1.0, "SIGN"),
    "one entry zero": lambda s: _single(s, 0.0, "ZERO"),
    "by the logarithm": _logarithm,
    "without an activation": _activation,
    "constant added to a column": _added,
    "two rows spoiled": _spoiled,
    "of another point": _stale,
}


def _diagonal(site: Site, c: float) -> Slip:
    wrong = site.right.copy()
    np.fill_diagonal(wrong, c * np.diag(wrong))
    return _slip(wrong, "FACTOR", "SINGLE")


def _beside(site: Site, c: float) -> Slip | None:
    n = len(site.right)
    off = ~np.eye(n, dtype=bool)
    if n < 3 or np.abs(site.right[off]).max() < 0.01 * np.abs(site.right).max():
        return None
    wrong = np.where(off, c * site.right, site.right)
    return _slip(wrong, "FACTOR", "ASYMMETRIC") if c else _slip(wrong, "ZERO")


def _triangle(site: Site) -> Slip | None:
    n = len(site.right)
    below = np.tril(site.right, -1)
    if n < 3 or np.abs(below).max() < 0.01 * np.abs(site.right).max():
        return None
    return _slip(np.triu(site.right), "ZERO", "ASYMMETRIC")


def _pair(site: Site) -> Slip:
    """One off-diagonal entry and its mirror image."""
    i, j = site.entry()
    wrong = site.right.copy()
    for k in {(i, j), (j, i)}:
        wrong[k] = 1.02 * site.right[k]
    return _slip(wrong, "SINGLE", "FACTOR")


OF_HESSIANS: dict[str, Make] = {
    "half the diagonal": lambda s: _diagonal(s, 0.5),
    "twice the diagonal": lambda s: _diagonal(s, 2.0),
    "half beside the diagonal": lambda s: _beside(s, 0.5),
    "twice beside the diagonal": lambda s: _beside(s, 2.0),
    "diagonal alone": lambda s: _beside(s, 0.0),
    "upper triangle": _triangle,
    "half": lambda s: _times(s, (slice(None), slice(None)), 0.5, "FACTOR"),
    "twice": lambda s: _times(s, (slice(None), slice(None)), 2.0, "FACTOR"),
    "sign": OF_JACOBIANS["sign"],
    "sign of a row": OF_JACOBIANS["sign of a row"],
    "a pair 2 % off": _pair,
    "one entry 1 % off": OF_JACOBIANS["one entry 1 % off"],
    "a row of zeros": OF_JACOBIANS["a row of zeros"],
    "columns exchanged": OF_JACOBIANS["columns exchanged"],
    "of another point": _stale,
}
# What some problems have of their own: see `jacobian_problems.Second.slips`.
OF_SOME = {
    "Gauss-Newton": NO_PATTERN | {"APPROXIMATION", "SINGLE"},
    "no penalty": frozenset({"OFFSET", "UNKNOWN", "MISSING_L2"}),
    "not symmetrized": NO_PATTERN | {"ASYMMETRIC", "SINGLE"},
}
