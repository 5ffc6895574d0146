"""The functions of `_reference` on values beside an entry, as src/beside.pxi has them in C."""

from __future__ import annotations

import numpy as np

__all__ = ["held_up_to", "third_differences", "values_beside"]


def values_beside(
    moved: np.ndarray, values: np.ndarray, steps: np.ndarray, base: float
) -> np.ndarray:
    """Values at equal distances of a step on one side of each entry, the first one that at 0.

    Parameters of short types move by a little more or less than was asked for, `moved`: the slope
    tells by how much that moved `f`.
    """
    with np.errstate(all="ignore"):
        places = np.arange(1, moved.shape[1] + 1) * steps[:, np.newaxis]
        slopes = (values[:, :1] - base) / moved[:, :1]
        found = np.empty((len(steps), 1 + moved.shape[1]))
        found[:, 0], found[:, 1:] = base, values - slopes * (moved - places)
    return found


def third_differences(
    values: np.ndarray, least: float, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """The largest third difference of each row, and whether rows are rough.

    They are where third differences are more than `least`, and fifth ones more than a share of
    them. 0 where one is not a number.
    """
    with np.errstate(all="ignore"):
        thirds = np.diff(values, 3, axis=1)
        third, fifth = _largest(thirds), _largest(np.diff(thirds, 2, axis=1))
    return third, (third > least) & (fifth > share * third)


def _largest(values: np.ndarray) -> np.ndarray:
    """The largest size in each row, not beyond float64; 0 where one is not a number."""
    found: np.ndarray = np.nan_to_num(np.abs(values).max(axis=1))
    return found


def held_up_to(
    table: np.ndarray, value: np.ndarray, step: np.ndarray, error: np.ndarray, share: float
) -> np.ndarray:
    """The row of the largest step up to which each side holds to a value that a step has shown.

    It is off by a share of the error at most there, beside the noise. 0 where all do, or where
    nothing is known of the others. Of shape (2, entries); the table is that of `estimates`.
    """
    with np.errstate(all="ignore"):
        chosen = np.abs(table[0] - step).argmin(axis=0)
        off = np.abs(table[2:4] - value) > share * error + 2 * table[4]
    index = np.arange(table.shape[1])[:, np.newaxis]
    row: np.ndarray = np.where(off & (index < chosen), index, -1).max(axis=1) + 1
    return row
