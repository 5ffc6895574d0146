"""The twins on values beside an entry: the same bits, whatever the values are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

from fastgrad import _reference

pytestmark = pytest.mark.once
_kernel = pytest.importorskip("fastgrad._kernel")

AWKWARD = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 5e-324)
seeds, lost = st.integers(0, 2**30), st.sampled_from([0, 0.05, 0.5])


def spoiled(rng, values, share):
    """Some of the values are lost."""
    gone = rng.random(values.shape) < share
    values[gone] = rng.choice(AWKWARD, int(gone.sum()))
    return values


def alike(name, *how):
    """What both find is the same, and so is what is found of other layouts."""
    found = [getattr(kernel, name)(*how) for kernel in (_kernel, _reference)]
    mine, twin = (each if isinstance(each, tuple) else (each,) for each in found)
    for ours, theirs in zip(mine, twin, strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_array_equal(ours, theirs)
    return mine


@quick(200)
@given(seeds, st.integers(0, 4), st.integers(1, 7), lost)
def test_values_beside(seed, n, points, share):
    rng = np.random.default_rng(seed)
    steps = 10.0 ** rng.uniform(-9, 0, n) * rng.choice([-1, 1], n)
    moved = np.arange(1, points + 1) * steps[:, np.newaxis] * rng.uniform(0.9, 1.1, (n, points))
    values = 1 + moved**2 + rng.normal(size=(n, points)) * rng.choice([0, 1e-12, 1])
    moved, values = spoiled(rng, moved, share / 5), spoiled(rng, values, share)
    (seven,) = alike("values_beside", moved, values, steps, 1.0)
    (again,) = alike("values_beside", np.asfortranarray(moved), values, steps, 1.0)
    np.testing.assert_array_equal(seven, again)


def test_moves_that_were_rounded_do_not_bend_a_line(backend):
    kernel = _kernel if backend == "compiled" else _reference
    moved = np.array([[1.1, 2.0, 2.9]])
    seven = kernel.values_beside(moved, 5 + 3 * moved, np.ones(1), 5.0)
    np.testing.assert_allclose(seven, [[5, 8, 11, 14]], rtol=1e-15)


@quick(200)
@given(seeds, st.integers(0, 4), st.integers(6, 9), lost)
def test_third_differences(seed, n, points, share):
    rng = np.random.default_rng(seed)
    values = np.arange(points) ** rng.integers(0, 5, (n, 1)) * 1.0
    values += rng.choice([0, 1], (n, 1)) * (np.arange(points) > 2.5)
    values *= rng.choice([1, 1e-12, 1e300], (n, 1))
    alike("third_differences", spoiled(rng, values, share), rng.choice([0, 1e-9, 1]), 0.2)


@quick(200)
@given(seeds, st.integers(0, 4), st.integers(2, 8), lost)
def test_rows_up_to_which_sides_hold(seed, n, rows, share):
    rng = np.random.default_rng(seed)
    steps = np.repeat(0.5 ** np.arange(rows)[:, np.newaxis], n, axis=1)
    sides = 1 + rng.normal(size=(3, rows, n)) * rng.choice([0, 1], (rows, n))
    table = spoiled(rng, np.array([steps, *sides, 1e-3 * np.ones_like(steps)]), share)
    step = rng.choice([*steps.ravel(), 3.0], n) if n else np.empty(0)
    alike("held_up_to", table, np.ones(n), step, rng.uniform(0, 2, n), 0.25)


@quick(200)
@given(seeds, st.integers(0, 40), lost)
def test_sizes_and_infinities(seed, n, share):
    rng = np.random.default_rng(seed)
    values = spoiled(rng, rng.normal(size=n) * 10.0 ** rng.integers(-300, 300, n), share)
    assert _kernel.largest_size(values) == _reference.largest_size(values)
    assert _kernel.largest_size(values[::2]) == _reference.largest_size(values[::2])
    finite = np.abs(values[np.isfinite(values)])
    assert _kernel.largest_size(values) == finite.max(initial=0.0)
    expected = np.where(np.isinf(values), np.nan, values)
    for kernel in (_kernel, _reference):
        wide = np.repeat(values[:, np.newaxis], 3, axis=1)
        kernel.drop_infinities(wide[:, 1])  # with gaps
        np.testing.assert_array_equal(wide.T, [values, expected, values])
        kernel.drop_infinities(wide)
        np.testing.assert_array_equal(wide.T, [expected] * 3)


def test_what_the_kernel_does_not_read():
    with pytest.raises(ValueError, match="infinities are dropped from values of float64"):
        _kernel.drop_infinities(np.zeros(4, np.float32))
    for points in (5, 17):
        with pytest.raises(ValueError, match=f"{points} values have no third differences"):
            _kernel.third_differences(np.zeros((1, points)), 0.0, 0.2)
    with pytest.raises(ValueError, match="numbers of float64"):
        _kernel.values_beside(np.ones((2, 6)), np.ones((2, 5)), np.ones(2), 0.0)
    with pytest.raises(ValueError, match="numbers of float64"):
        _kernel.held_up_to(np.ones((5, 3, 2)), np.ones(2), np.ones(3), np.ones(2), 0.25)
