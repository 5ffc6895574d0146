"""Sparsity patterns: which entries of a Jacobian may not be zero, however they are given."""

# Without `annotations` from `__future__`, for the reason given in `_report/causes.py`.

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastgrad import _backend
from fastgrad._errors import InputTypeError, InputValueError, missing_package_error
from fastgrad._tree import describe
from fastgrad._words import counted

__all__ = ["Pattern", "SparseArray", "Sparsity", "pattern_of", "sparse_of_scipy"]

# A `scipy.sparse.csr_array`, or `csc_array`: SciPy is imported where it is used.
SparseArray: TypeAlias = Any

_KINDS = (
    "`sparsity` must be a SciPy sparse array, a mask with two axes, what fg.jacobian_sparsity "
    "returned, or the pair (lower, upper) of how many diagonals there are below and above the main "
    "one"
)


def sparse_of_scipy() -> Any:
    """The module ``scipy.sparse``."""
    try:
        from scipy import sparse  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise missing_package_error("SciPy", "a sparse Jacobian", "sparse") from None
    return sparse


@dataclass(frozen=True, eq=False)
class Pattern:
    """Where a matrix may hold something other than zero, column by column (CSC).

    The rows of column `j` are ``rows[starts[j]:starts[j + 1]]``, ascending. Both arrays are of one
    type, int32 or int64, and must not be written to: they may be the user's.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    rows: np.ndarray

    @property
    def count(self) -> int:
        """How many entries it has."""
        return len(self.rows)

    @property
    def in_rows(self) -> np.ndarray:
        """How many entries each row has."""
        return np.bincount(self.rows, minlength=self.shape[0])

    def matrix(self, data: np.ndarray) -> SparseArray:
        """A matrix with these entries, which shares all memory."""
        sparse = sparse_of_scipy()
        return sparse.csc_array((data, self.rows, self.starts), shape=self.shape)


@dataclass(frozen=True, eq=False)
class Sparsity:
    """The sparsity pattern of a Jacobian, as `jacobian_sparsity` has found it.

    Pass it as `sparsity` wherever that is asked for.

    Attributes
    ----------
    pattern : scipy.sparse.csr_array of shape (m, n), bool
        True where a value of `f` depends on an entry of `x`; nothing else is stored.
    evaluations : int
        How often `f` was evaluated.
    widths : tuple of float
        How far from `x` the points lie where the pattern was found and verified, in lengths
        ``max(1, |x|)`` of the entries.
    full_rows : ndarray of int
        Rows that count as full, because each of 64 columns drawn at random has an entry there, and
        not because each column was looked at.
    missed : float
        Bound on the chance that an entry is missing whose derivative is other than zero at all of
        the points, by more than rounding.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.jacobian_sparsity(lambda x: np.diff(x) ** 2, np.zeros(100))
    Sparsity: 198 entries of 99 x 100, found in 58 evaluations, verified at 5 points
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    pattern: Any
    evaluations: int
    widths: tuple[float, ...]
    full_rows: np.ndarray
    missed: float

    def __repr__(self) -> str:
        m, n = self.pattern.shape
        return (
            f"Sparsity: {counted(self.pattern.nnz, 'entry')} of {m:,} x {n:,}, found in "
            f"{counted(self.evaluations, 'evaluation')}, verified at "
            f"{counted(len(self.widths), 'point')}"
        )


def pattern_of(sparsity: Any, size: int | None = None) -> "Pattern":
    """The pattern that the user gave; `size` is the number of columns, where it is known."""
    sparse = sparse_of_scipy()
    sparsity = sparsity.pattern if isinstance(sparsity, Sparsity) else sparsity
    if sparse.issparse(sparsity):
        made = _of_sparse(sparsity, sparse)
    elif isinstance(sparsity, tuple) and len(sparsity) == 2 and all(map(_is_count, sparsity)):
        made = _banded(int(sparsity[0]), int(sparsity[1]), size)
    else:
        made = _of_sparse(sparse.csc_array(_mask(sparsity)), sparse)
    if size is not None and made.shape[1] != size:
        raise InputValueError(
            f"`sparsity` must have one column for each of the {size} entries of `x`; got shape "
            f"{made.shape}"
        )
    return made


def _is_count(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _of_sparse(matrix: Any, sparse: Any) -> "Pattern":
    """Every stored entry counts, whatever its value: a zero may be one by accident."""
    if matrix.ndim != 2:
        raise InputValueError(f"{_KINDS}; got a sparse array of shape {matrix.shape}")
    if matrix.format not in ("csr", "csc"):
        matrix = sparse.csc_array(matrix)
    by_row = matrix.format == "csr"
    m, n = map(int, reversed(matrix.shape) if by_row else matrix.shape)
    starts, rows = matrix.indptr, matrix.indices
    kind = np.int32 if starts.dtype == np.int32 == rows.dtype else np.int64
    starts, rows = np.ascontiguousarray(starts, kind), np.ascontiguousarray(rows, kind)
    ends = np.empty(n, kind) if by_row and m == n else None
    order = _backend.kernel.order_of_rows(starts, rows, m, ends) if len(starts) == n + 1 else -1
    if order < 0:
        raise InputValueError(
            "`sparsity` must hold indices within its shape, and ascending ones in `indptr`; got "
            f"{describe(matrix)}, of which `check_format()` says more"
        )
    pattern = Pattern((m, n), starts, rows[: starts[-1]])
    pattern = pattern if order else _sorted(pattern)
    return _transposed(pattern) if by_row and order < 2 else pattern


def _sorted(pattern: "Pattern") -> "Pattern":
    """The pattern with its rows in order, and none of them twice."""
    matrix = _bytes(pattern).copy()  # the arrays may be the user's
    matrix.sum_duplicates()
    return Pattern(pattern.shape, matrix.indptr, matrix.indices)


def _transposed(pattern: "Pattern") -> "Pattern":
    turned = _bytes(pattern).tocsr()
    return Pattern(pattern.shape[::-1], turned.indptr, turned.indices)


def _bytes(pattern: "Pattern") -> SparseArray:
    """A matrix of small entries: the user's may be large, and of types that cannot be summed."""
    return pattern.matrix(np.ones(pattern.count, np.int8))


def _banded(lower: int, upper: int, size: int | None) -> "Pattern":
    """A square band: `lower` diagonals below the main one, `upper` above it."""
    if lower < 0 or upper < 0:
        raise InputValueError(
            f"the pair (lower, upper) of `sparsity` must hold numbers of diagonals, 0 or more; got "
            f"({lower}, {upper})"
        )
    if size is None:
        raise InputValueError(
            "the pair (lower, upper) of `sparsity` does not say how many columns there are; pass "
            "a sparse array, such as one of scipy.sparse.diags_array"
        )
    columns = np.arange(size)
    first = np.maximum(columns - upper, 0)
    counts = np.minimum(columns + lower + 1, size) - first
    starts = np.concatenate([[0], np.cumsum(counts)])
    kind = np.int32 if starts[-1] < 2**31 else np.int64
    starts = starts.astype(kind)
    rows = np.repeat((first - starts[:-1]).astype(kind), counts)
    rows += np.arange(starts[-1], dtype=kind)
    return Pattern((size, size), starts, rows)


def _mask(given: Any) -> np.ndarray:
    try:
        mask = np.asarray(given)
    except ValueError:  # ragged
        mask = np.asarray(None)
    if hasattr(given, "compressed"):  # without importing np.ma
        raise InputTypeError(f"{_KINDS}; got a masked array: pass .filled(False) of it")
    if mask.dtype.kind not in "biuf":
        raise InputTypeError(f"{_KINDS}; got {describe(given)}")
    if mask.ndim != 2:
        raise InputValueError(f"{_KINDS}; got an array of shape {mask.shape}")
    return np.asarray(mask != 0)
