"""Which simple causes fit a wrong leaf to the last digit: keeps the corpus unambiguous."""

from __future__ import annotations

import numpy as np

from .base import leaf_scale


def constant(values):
    """Whether an array holds one number, up to rounding, and that number."""
    middle = np.median(np.real(values)) if values.size else np.nan
    return np.max(np.abs(values - middle), initial=0) <= 1e-6 * abs(middle), middle


def rearranged(exact, planted):
    """Names of the rearrangements of ``exact`` that give ``planted``."""
    if exact.ndim == 2 and np.array_equal(planted, exact.T.reshape(exact.shape)):
        yield "TRANSPOSED"
    for axis in [None, *range(exact.ndim)]:
        length = exact.size if axis is None else exact.shape[axis]
        if any(np.array_equal(planted, np.roll(exact, k, axis)) for k in range(1, length)):
            yield "SHIFTED"
        if np.array_equal(planted, np.flip(exact, axis)):
            yield "REVERSED"
    for axis in range(exact.ndim):
        rows = [np.moveaxis(a, axis, 0).reshape(a.shape[axis], -1) for a in (exact, planted)]
        if np.array_equal(*(a[np.lexsort(a.T)] for a in rows)):
            yield "PERMUTED"


def chain_rules(exact, params):
    """The derivative with respect to the log, and to the number whose log the parameter is."""
    return exact * params, exact / params, exact * np.exp(-params)


def proportional(exact, planted, params):
    """Names of the one-number formulas that lead from ``exact`` to ``planted``."""
    big = np.abs(exact) > 1e-9 * leaf_scale(exact)
    if not np.any(planted):
        yield "ZERO"
    elif big.any() and not np.any(planted[~big]):
        fits, ratio = constant(planted[big] / exact[big])
        if fits:
            yield "SIGN" if abs(ratio + 1) < 1e-6 else "FACTOR"
    patterns = {"OFFSET": np.ones_like(params), "MISSING_L2": params, "MISSING_L1": np.sign(params)}
    for name, pattern in patterns.items():
        if np.all(pattern != 0) and constant((planted - exact) / pattern)[0]:
            yield name


def by_slices(exact, planted):
    """Whether each row, or each column, is a multiple of its own, none of them right."""

    def multiple(a, b):
        fits, ratio = constant(b[a != 0] / a[a != 0])
        return fits and abs(ratio - 1) > 1e-6

    if exact.ndim < 2 or min(exact.shape) < 2:
        return False
    return any(
        all(map(multiple, np.moveaxis(exact, axis, 0), np.moveaxis(planted, axis, 0)))
        for axis in range(exact.ndim)
    )


def special_forms(exact, planted, params):
    """Names of the other formulas: logs, conjugates, one number for many entries."""
    if np.all(params != 0) and any(
        np.allclose(planted, x, rtol=1e-9, atol=0) for x in chain_rules(exact, params)
    ):
        yield "LOG_PARAMETER"
    if np.iscomplexobj(exact) and np.array_equal(planted, exact.conj()):
        yield "CONJUGATE"
    axes = [None, *range(planted.ndim)] if planted.size > 1 and np.any(planted) else []
    if any(np.ptp(np.abs(planted), axis=a).max() <= 1e-12 * leaf_scale(planted) for a in axes):
        yield "BROADCAST"


def of_entries(exact, planted, params):
    """The causes that fit some entries of a leaf, wherever they stand in it."""
    return set(proportional(exact, planted, params)) | set(special_forms(exact, planted, params))


def diagonal_kept(exact, planted):
    """Whether only the off-diagonal pairs changed, all by one factor."""
    if exact.ndim != 2 or exact.shape[0] != exact.shape[1] or len(exact) < 3:
        return False
    pairs, off = exact + exact.T, ~np.eye(len(exact), dtype=bool)
    fits, ratio = constant(((planted + planted.T) / np.where(pairs == 0, 1, pairs))[off])
    same = np.allclose(np.diag(planted), np.diag(exact), rtol=1e-12, atol=0)
    mirrored = any(np.allclose(a, a.T, rtol=1e-9) for a in (exact, planted))
    return same and fits and (abs(ratio - 1) > 1e-6 or mirrored)


def explanations(exact, planted, params):
    """Every simple cause that fits one leaf to the last digit."""
    symmetric = {"SYMMETRIC"} if diagonal_kept(exact, planted) else set()
    found = symmetric.union(
        rearranged(exact, planted),
        proportional(exact, planted, params),
        special_forms(exact, planted, params),
    )
    # Zeros, signs and factors of all are factors of each row as well: these are more special.
    return found or ({"FACTOR"} if by_slices(exact, planted) else found)
