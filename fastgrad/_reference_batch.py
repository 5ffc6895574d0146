"""The whole gradient by one small array in two calls of a batched `f`, as src/batch.pxi has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad import _errors
from fastgrad._memory import Fingerprint, lock, locks, next_key, undo
from fastgrad._reference_many import gather, scatter
from fastgrad._returns import as_scalars

if TYPE_CHECKING:
    from fastgrad._leaf import Leaf
    from fastgrad._stencils import Stencil, Steps

__all__ = ["doubtful_entries", "small_batch"]


def small_batch(
    f: Callable[[Any], Any],
    leaf: Leaf,
    stencil: Stencil,
    steps: Steps,
    beside: tuple[tuple[float, float], float, float],
    where: Callable[[], str],
    known: Any = None,
) -> tuple[np.ndarray, bool, Any] | None:
    """`small_gradient` for an `f` that takes all rows of a batch in one call.

    `beside` says how rows are tested: the shares of the parameters in the two rows beside them, the
    value there where all are zero, and by which share values may differ. `where` names the rows
    that are moved. None where anything is odd, for the caller to find out what: rows influence each
    other, `f` does not like the two rows or wrote into them, or a step is lost in rounding.
    """
    array = leaf.array
    each = saved = found = written = None
    key = next_key()
    try:
        lock(key, [array])
        saved, each = array.copy(), Fingerprint(array)
        found = _in_two_calls(f, each, leaf, stencil, steps, beside, where, known)
    finally:
        try:
            if each is not None and saved is not None:
                written = undo(leaf.path, each, saved)
        finally:
            locks.pop(key, None)  # inline: a Ctrl-C could come in between a call and its body
    if written is not None:
        raise written
    return found


def _in_two_calls(
    f: Callable[[Any], Any],
    each: Fingerprint,
    leaf: Leaf,
    stencil: Stencil,
    steps: Steps,
    beside: tuple[tuple[float, float], float, float],
    where: Callable[[], str],
    known: Any,
) -> tuple[np.ndarray, bool, Any] | None:
    array, (shares, off_zero, rounding) = leaf.array, beside
    value = _value_beside(f, array, shares, off_zero, where)
    if each.changed():
        raise _errors.moved_error(leaf.path)
    if value is None:
        return None
    count = array.size * stencil.evaluations
    rows = np.broadcast_to(array, (count + 1, *array.shape)).copy()
    points = np.empty((array.size, len(stencil.offsets)))
    flat = rows.reshape(count + 1, array.size)
    if scatter(flat, stencil.table, stencil.offsets, steps, 0, array.size, None, points) >= 0:
        return None
    try:
        returned = f(rows)
    except Exception as error:
        _errors.annotate_batch(error, where())
        raise
    values = as_scalars(returned, count + 1, where)
    if each.changed():
        raise _errors.moved_error(leaf.path)
    if not _alike(value, values.item(-1), rounding):
        return None
    base = values.item(-1) if known is None else known
    out = np.empty_like(array)
    gather(stencil, steps, points, values[:-1], float(base), 0, array.size, out, 0)
    return out, doubtful_entries(array, out, steps), base


def _value_beside(
    f: Callable[[Any], Any],
    array: np.ndarray,
    shares: tuple[float, float],
    off_zero: float,
    where: Callable[[], str],
) -> float | None:
    """The value of the middle one of three rows, or None: `f` raised, or wrote into them."""
    with np.errstate(all="ignore"):
        nearer = [
            array * share if array.any() else np.full_like(array, off_zero) for share in shares
        ]
    rows = np.stack([nearer[0], array, nearer[1]])
    before = rows.tobytes()
    try:
        with np.errstate(all="ignore"):
            values = as_scalars(f(rows), 3, where)
    except Exception:
        return None
    return values.item(1) if rows.tobytes() == before else None


def _alike(a: float, b: float, rounding: float) -> bool:
    """Whether two values are equal but for rounding, or neither is finite."""
    if np.isfinite(a) and np.isfinite(b):
        return abs(a - b) <= rounding * max(abs(a), abs(b))
    return not (np.isfinite(a) or np.isfinite(b))


def doubtful_entries(array: np.ndarray, derivatives: np.ndarray, steps: Steps) -> bool:
    """Whether an entry is small or large, or a derivative is no number: see `Steps`."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is "invalid"
        size = np.abs(array, dtype=np.float64)
        odd = ((size < steps.small) & (size != 0)) | (size > steps.large)
    return bool(odd.any()) or not np.isfinite(derivatives).all()
