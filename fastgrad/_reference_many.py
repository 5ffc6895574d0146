"""The functions of `_reference` for many entries at once, as src/many.pxi has them in C."""

from __future__ import annotations

from itertools import pairwise
from math import inf, nan, sqrt
from typing import TYPE_CHECKING

import numpy as np

from fastgrad._leaf import lengths_of

if TYPE_CHECKING:
    from fastgrad._stencils import Stencil, Steps

__all__ = [
    "agreement",
    "displace",
    "draw",
    "first_bounds",
    "gather",
    "has_tiny",
    "odd_moves",
    "quotients",
    "scatter",
    "shift",
    "steepest",
    "table_noise",
]


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
    direction: np.ndarray,
    time: float,
    claim: np.ndarray | None,
    rise: np.ndarray,
) -> None:
    """Move a region from `before` by `time` times its direction, in units of ``max(1, |x|)``.

    With a claim, `rise`, of shape (entries,), gets what that gradient says that each of the moves
    really made adds to `f`. The other arrays are of one shape; `direction` holds integers of 16
    bits.
    """
    # Moves of infinities and NaNs are as silent as in the kernel.
    with np.errstate(over="ignore", invalid="ignore"):
        # One temporary, in the order of operations of the kernel: the last bit depends on it.
        wide = before.astype(np.result_type(before.dtype, np.float64), copy=False)
        move = np.asarray(np.maximum(np.abs(wide), 1.0))  # of a 0-d array NumPy makes a scalar
        move *= direction
        move *= time
        move += wide
        target[...] = move
        if claim is not None:
            np.subtract(target, wide, out=move)
            np.multiply(move, claim, out=rise.reshape(move.shape), casting="unsafe")


def draw(out: np.ndarray, key: int, start: int, stride: int) -> None:
    """Fill `out`, of shape (rows, entries), with random integers of 16 bits.

    Those of row `r` belong to the entries from ``start + r * stride`` on. Their magnitudes lie
    from 2**13 to 3 * 2**13 - 1; they are a function of the key and the entry alone: see
    `direction.key_of`.
    """
    rows, size = out.shape
    entries = np.add.outer(
        np.arange(rows, dtype=np.uint64) * np.uint64(stride) + np.uint64(start),
        np.arange(size, dtype=np.uint64),
    )
    # SplitMix64: one word for four entries, of which each takes 16 bits.
    z = np.uint64(key) + (entries // 4 + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    z >>= np.uint64(16) * (entries % 4)
    # 14 bits make a magnitude of 0.5 to 1.5 units of 2**14; the highest bit is the sign.
    size16 = (z & np.uint64(0x3FFF)).astype(np.int16) + np.int16(0x2000)
    out[...] = np.where(z & np.uint64(0x8000), -size16, size16)


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


def first_bounds(
    analytic: np.ndarray,
    numeric: np.ndarray,
    noise: np.ndarray,
    gaps: np.ndarray,
    scale: float,
    factors: tuple[float, ...],
) -> np.ndarray:
    """How far analytic and numeric entries may be apart after one central difference.

    All arrays are of shape (entries,), float64; `noise` is the bound on that of the numeric ones,
    and `scale` the largest entry. The factors are those of the noise, of the entry itself, of the
    largest one for its truncation and its rounding, and of the gaps of the one-sided quotients.
    """
    safety, share, truncation, rounding, condition = factors
    with np.errstate(invalid="ignore", over="ignore"):
        # The smaller of both values, so that a huge wrong one does not buy itself room.
        own = np.fmin(np.abs(analytic), np.abs(numeric))
        bound: np.ndarray = safety * noise + share * own + (truncation * scale + rounding * scale)
        bound += condition * np.abs(gaps)
    return bound


def agreement(
    analytic: np.ndarray,
    moved: np.ndarray,
    values: np.ndarray,
    base: float,
    noise: float,
    unit: float,
    factors: tuple[float, ...],
    rtol: float,
    atol: float,
    kink: float,
    power: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Numeric entries and their bounds, where nothing about a gradient is in doubt; else None.

    `moved` and `values` are those of `quotients`, and `factors` those of `first_bounds`; `rtol` and
    `atol` are granted on top. In doubt is what is not finite, does not move, or does not agree; a
    gap above the share `kink` of the largest entry, and a bound above the share `power` of it.
    """
    _, numeric, ahead, behind, bound = quotients(moved, values, base, noise, unit)
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = ahead - behind
        if not (np.isfinite(analytic) & np.isfinite(numeric) & np.isfinite(gaps)).all():
            return None
        scale = float(min(np.abs(analytic).max(), np.abs(numeric).max()))
        bounds = first_bounds(analytic, numeric, bound, gaps, scale, factors)
        agrees = np.abs(analytic - numeric) <= bounds + (atol + rtol * np.abs(numeric))
        agrees &= (numeric != 0) | (gaps != 0)
        settled = np.abs(gaps).max() <= kink * scale and bounds.max() <= power * scale
    return (numeric, bounds) if settled and agrees.all() else None


def table_noise(
    values: list[float], weights: tuple[float, ...], window: int, alike: float
) -> float:
    """Noise in a table of equally spaced values, by the first order of differences that settles.

    `weights` are those of the norm of the differences of each order. A level counts if the levels
    of so many orders (`window`) from there on are `alike` to this factor, and its differences are
    not of one sign, as are those of something smooth, or of a trend in the noise.
    """
    levels: list[float] = []
    turns: list[bool] = []
    for weight in weights:
        values = [after - before for before, after in pairwise(values)]
        total = 0.0
        for value in values:
            total += value * value
        levels.append(weight * sqrt(total))
        turns.append(min(values) < 0 < max(values))
        last = levels[-window:]
        if len(last) == window and turns[-window] and max(last) <= alike * min(last):
            return last[0]
    return levels[-1]  # the smooth part, at least, is smallest here


def steepest(claimed: np.ndarray, x: np.ndarray) -> float:
    """Largest change that a gradient claims over the length of an entry, of those not infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        sizes = np.abs(claimed) * lengths_of(x)
    return float(sizes.max(initial=0.0, where=sizes < inf))


def has_tiny(x: np.ndarray, below: float) -> bool:
    """Whether an entry is not zero, and smaller than this."""
    size = np.abs(x)
    return bool(np.count_nonzero((size > 0) & (size < below)))


def odd_moves(before: np.ndarray, factors: np.ndarray, width: float, odd: float) -> np.ndarray:
    """Moves by small factors (int8, one for each entry) of an odd number near `width` lengths.

    The number is `odd` times a quarter of a power of two.
    """
    _, exponents = np.frexp(width * lengths_of(before))
    with np.errstate(over="ignore"):
        moves = np.ldexp(factors.reshape(before.shape), exponents - 2, dtype=np.float64)
        return np.asarray(moves * odd)


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
    moved = np.flatnonzero(stencil.offsets)
    all_values = np.full(points.shape, base, points.dtype)
    all_values[:, moved] = values[: len(points) * len(moved)].reshape(-1, len(moved))
    with np.errstate(all="ignore"):
        out.flat[start - first : stop - first] = _combined(stencil, points, all_values).astype(
            out.dtype
        )


def _combined(stencil: Stencil, points: np.ndarray, values: np.ndarray) -> np.ndarray:
    """`_Mover.combine` for many entries."""
    kind = points.dtype.type
    total = np.zeros(len(points), points.dtype)
    for j, (_, _, v) in enumerate(stencil.quotients):
        width = points[:, 2 * j] - points[:, 2 * j + 1]
        quotient = (values[:, 2 * j] - values[:, 2 * j + 1]) / width
        total += kind(v.numerator) / kind(v.denominator) * quotient
        total[~(width < inf)] = nan  # later summands leave it so
    return total
