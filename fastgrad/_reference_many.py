"""The functions of `_reference` for many entries at once: in C, src/many.pxi and directions.pxi."""

from __future__ import annotations

from math import inf, nan, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad._leaf import lengths_of

if TYPE_CHECKING:
    from fastgrad._stencils import Stencil, Steps

__all__ = [
    "combined",
    "displace",
    "draw",
    "draw_factors",
    "drop_infinities",
    "first_differences",
    "gather",
    "largest_size",
    "norm_error",
    "quotients",
    "scatter",
    "shift",
    "slope_square",
]

# Sums are those of so many lanes, and of chunks of so many entries: see src/directions.pxi.
_LANES, _CHUNK = 8, 32768


def drop_infinities(values: np.ndarray) -> None:
    """Put NaN in the place of infinities."""
    if not np.isfinite(values).all():
        values[np.isinf(values)] = nan


def largest_size(values: np.ndarray) -> float:
    """Largest finite absolute value; 0 where there is none."""
    largest = 0.0
    # In chunks, without a temporary as large as `values`.
    for start in range(0, len(values), _CHUNK):
        sizes = np.abs(values[start : start + _CHUNK])
        largest = max(largest, float(sizes.max(initial=0.0, where=sizes < inf)))
    return largest


def displace(target: np.ndarray, before: np.ndarray, move: np.ndarray, time: float) -> None:
    """Move entries from `before` by `time` times `move` (float64). All are of one shape."""
    with np.errstate(over="ignore", invalid="ignore"):
        if before.dtype == np.float64:
            np.add(before, time * move, out=target)
            return
        target[...] = before + (time * move).astype(before.dtype)


def shift(
    target: np.ndarray,
    before: np.ndarray,
    key: int,
    start: int,
    strides: tuple[int, ...],
    time: float,
    claim: np.ndarray | None,
) -> tuple[float, float]:
    """Move a region from `before` by `time` times random integers, in units of ``max(1, |x|)``.

    The integers are those that `draw` draws: `start` is the number of the region's first entry,
    and `strides` say by how much the number grows along each axis. With a claim, return the sum
    of what that gradient says that each of the moves really made adds to `f`, and the sum of the
    squares; without one zeros. The arrays are of one shape.
    """
    rise = square = 0.0
    lines = [None if each is None else _line(each) for each in (target, before, claim)]
    for low in range(0, target.size, _CHUNK):
        part = slice(low, min(low + _CHUNK, target.size))
        direction = _random(key, _numbers(target.shape, start, strides, part))
        made = _shifted(lines, part, direction, time)
        rise, square = rise + made[0], square + made[1]
    return rise, square


def slope_square(claimed: np.ndarray, x: np.ndarray) -> float:
    """Sum of the squares of what is claimed over the length of each entry; both of one axis."""
    square = 0.0
    for low in range(0, len(x), _CHUNK):
        part = slice(low, low + _CHUNK)
        with np.errstate(over="ignore", invalid="ignore"):
            rows = _rows(claimed[part] * lengths_of(x[part]))
            square += _sum_of(rows * rows)
    return square


def _line(array: np.ndarray) -> Any:
    """The entries of an array in C order, to be read and written by slices."""
    return array.reshape(-1) if array.flags.c_contiguous else array.flat


def _numbers(
    shape: tuple[int, ...], start: int, strides: tuple[int, ...], part: slice
) -> np.ndarray:
    """The numbers in a leaf of some entries of a region."""
    entries = np.arange(part.start, part.stop)
    found = np.full(len(entries), start, np.uint64)
    indices = np.unravel_index(entries, shape) if shape else ()
    for index, stride in zip(indices, strides, strict=True):
        found += index.astype(np.uint64) * np.uint64(stride)
    return found


def _shifted(
    lines: list[Any], part: slice, direction: np.ndarray, time: float
) -> tuple[float, float]:
    """Move a chunk; the sums of what is claimed of its moves."""
    target, before, claim = lines
    old = before[part]
    # Moves of infinities and NaNs are as silent as in the kernel.
    with np.errstate(over="ignore", invalid="ignore"):
        # One temporary, in the order of operations of the kernel: the last bit depends on it.
        wide = old.astype(np.result_type(old.dtype, np.float64), copy=False)
        move = np.maximum(np.abs(wide), 1.0)
        move *= direction
        move *= time
        move += wide
        target[part] = move
        if claim is None:
            return 0.0, 0.0
        np.subtract(target[part], wide, out=move)
        np.multiply(move, claim[part], out=move)
        rows = _rows(move)
        return _sum_of(rows), _sum_of(rows * rows)


def _rows(terms: np.ndarray) -> np.ndarray:
    """Terms in rows of one for each lane; what is missing in the last row adds nothing."""
    rows = np.zeros((-(-terms.size // _LANES), _LANES))
    rows.reshape(-1)[: terms.size] = terms
    return rows


def _sum_of(rows: np.ndarray) -> float:
    """The sum of all, of each lane row by row, and then of the halves of the lanes."""
    lanes: np.ndarray = np.add.reduce(rows, axis=0, initial=0.0)
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = lanes[:half] + lanes[half:]
    return float(lanes[0])


def draw(out: np.ndarray, key: int, start: int, stride: int) -> None:
    """Fill `out`, of shape (rows, entries), with random integers of 16 bits.

    Those of row `r` belong to the entries from ``start + r * stride`` on. Their magnitudes lie
    from 2**13 to 3 * 2**13 - 1; they are a function of the key and the entry alone: see
    `direction.key_of`.
    """
    rows, size = out.shape
    out[...] = _random(
        key,
        np.add.outer(
            np.arange(rows, dtype=np.uint64) * np.uint64(stride) + np.uint64(start),
            np.arange(size, dtype=np.uint64),
        ),
    )


def draw_factors(out: np.ndarray, key: int) -> None:
    """Fill `out`, of shape (entries,), int8, with random factors of 1, 2 and 4 with either sign."""
    drawn = _random(key, np.arange(len(out), dtype=np.uint64))
    out[...] = np.sign(drawn) * np.array([1, 2, 4])[np.abs(drawn) % 3]


def _random(key: int, entries: np.ndarray) -> np.ndarray:
    """The random integers of these entries."""
    # SplitMix64: one word for four entries, of which each takes 16 bits.
    z = np.uint64(key) + (entries // 4 + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    z >>= np.uint64(16) * (entries % 4)
    # 14 bits make a magnitude of 0.5 to 1.5 units of 2**14; the highest bit is the sign.
    size16 = (z & np.uint64(0x3FFF)).astype(np.int16) + np.int16(0x2000)
    found: np.ndarray = np.where(z & np.uint64(0x8000), -size16, size16)
    return found


def quotients(
    moved: np.ndarray, values: np.ndarray, base: float, noise: float, unit: float
) -> np.ndarray:
    """Width, central, forward and backward quotient, and a bound, of shape (5, entries).

    `moved` and `values`, of shape (entries, 2) and C-contiguous, hold displacements and values,
    ahead and behind. The bound is `noise`, or `unit` times the larger value where that is more,
    over the width.
    """
    (ahead, behind), (above, below) = moved.T, values.T
    found = np.empty((5, len(moved)))
    with np.errstate(all="ignore"):  # points that were not measured are NaN, widths may be 0
        width = np.subtract(ahead, behind, out=found[0])
        np.divide(above - below, width, out=found[1])
        np.divide(above - base, ahead, out=found[2])
        np.divide(below - base, behind, out=found[3])
        size = np.fmax(np.abs(above), np.abs(below))
        np.divide(np.fmax(noise, unit * size), width, out=found[4])
    return found


def first_differences(
    moved: np.ndarray,
    values: np.ndarray,
    base: float,
    noise: float,
    unit: float,
    numeric: np.ndarray,
    gaps: np.ndarray,
    bounds: np.ndarray,
    moves: np.ndarray,
) -> None:
    """Fill in what one difference of each entry shows: its `quotients`, and whether it moved `f`.

    The columns, of shape (entries,) and contiguous, are the central quotients, the forward ones
    minus the backward ones, the bounds, all float64, and a bool.
    """
    _, central, forward, backward, bound = quotients(moved, values, base, noise, unit)
    numeric[:], bounds[:] = central, bound
    with np.errstate(invalid="ignore"):  # infinity minus infinity
        np.subtract(forward, backward, out=gaps)
    # Both quotients may cancel, or be equal; what is not a number is no move.
    np.greater(np.fmax(np.abs(numeric), np.abs(gaps)), 0.0, out=moves)


def norm_error(a: np.ndarray, b: np.ndarray) -> float:
    """``|a - b| / (|a| + |b|)`` in the Euclidean norm; 0 where both are 0, NaN beside infinity.

    The arrays hold as many numbers, float64 and C-contiguous.
    """
    # Scaled by the largest entry: squares of 1e200 would overflow, those of 1e-200 vanish.
    largest = np.maximum(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    if largest == 0.0:
        return 0.0
    if not largest < inf:
        return nan
    with np.errstate(under="ignore"):
        x, y = a.reshape(-1) / largest, b.reshape(-1) / largest
        # Running sums, which add in the order of the kernel.
        apart, one, other = ((each * each).cumsum()[-1] for each in (x - y, x, y))
    return float(sqrt(apart) / (sqrt(one) + sqrt(other)))


def scatter(
    rows: np.ndarray,
    table: np.ndarray | None,
    offsets: np.ndarray,
    steps: Steps,
    start: int,
    stop: int,
    entries: np.ndarray | None,
    points: np.ndarray,
) -> int:
    """Move one entry in each row of a batch: positions `start` to `stop` - 1, all points of each.

    Steps that are given are those from position `start` on. The last of the `rows`, of shape
    (rows, entries), is the parameters as they are. The points really taken go to `points`, whose
    type is the one to compute in. With the `table` of a stencil it returns the first position whose
    step was lost in rounding; else, and if there is none, -1.
    """
    wanted = np.arange(start, stop) if entries is None else entries[start:stop]
    with np.errstate(all="ignore"):
        x = rows[-1, wanted].astype(points.dtype)
        size = np.abs(x)
        if table is None:  # samples beside infinity are no reason to stop: see `sample`
            size = np.where(size < inf, size, 1.0)
        h = steps.absolute + steps.relative * np.where(size > 1.0, size, 1.0)
        if steps.given is not None:
            h = steps.given[: stop - start].astype(points.dtype)
        places = (x[:, np.newaxis] + offsets * h[:, np.newaxis]).astype(rows.dtype)
    points[...] = places
    moved = np.flatnonzero(offsets)
    columns = np.repeat(wanted, len(moved))
    rows[np.arange(len(columns)), columns] = places[:, moved].ravel()
    if table is None:
        return -1
    vanished = (points[:, ::2] == points[:, 1::2]).any(axis=1)
    return start + int(vanished.argmax()) if vanished.any() else -1


def gather(
    stencil: Stencil,
    steps: Steps,
    points: np.ndarray,
    values: np.ndarray,
    base: float,
    start: int,
    stop: int,
    out: np.ndarray,
    first: int,
) -> None:
    """Turn the values of the rows that `scatter` moved into derivatives."""
    count = int(np.count_nonzero(stencil.offsets))
    mine = values[: len(points) * count].reshape(-1, count)
    derivatives = combined(stencil, points, mine, base, steps)
    with np.errstate(all="ignore"):
        out.flat[start - first : stop - first] = derivatives.astype(out.dtype)


def combined(
    stencil: Stencil,
    points: np.ndarray,
    values: np.ndarray,
    base: Any,
    steps: Steps | None = None,
) -> np.ndarray:
    """`_Mover.combine` for many entries: (n,), or of vectors (n, m).

    `points`, of shape (n, p), are those of the quotients; `values` has no column for those at which
    no entry is moved. Numbers that automatic `steps` leave in doubt are NaN.
    """
    kind, moved = points.dtype.type, stencil.offsets != 0
    columns = np.cumsum(moved) - 1
    total, inner = np.zeros((2, *values.shape[:1], *values.shape[2:]), points.dtype)
    apart, noise = (steps.apart, steps.noise) if steps else (0.0, 0.0)
    weights = stencil.inner if apart and stencil.inner is not None else ()
    for j, (_, _, v) in enumerate(stencil.quotients):
        above, below = (values[:, columns[k]] if moved[k] else base for k in (2 * j, 2 * j + 1))
        with np.errstate(all="ignore"):
            width = points[:, 2 * j] - points[:, 2 * j + 1]
            quotient = (above - below) / width.reshape(-1, *(1,) * (values.ndim - 2))
            total += kind(v.numerator) / kind(v.denominator) * quotient
        total[~(width < inf)] = nan  # later summands leave it so
        if j < len(weights):
            inner += kind(weights[j]) * quotient
    if len(weights):
        with np.errstate(all="ignore"):
            known = abs(base) if stencil.uses_base else 0.0
            largest = np.fmax(np.fmax.reduce(np.abs(values), axis=1, initial=0.0), known)
            room = noise * (largest / (points[:, 0] - points[:, 1]))
            total[~(np.abs(total - inner) <= apart * np.abs(total) + room)] = nan
    return np.asarray(total)
