"""The twins on difference quotients at many steps: the same bits, whatever the quotients are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

from fastgrad import _reference
from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.refinement import _LARGER as LARGER
from fastgrad._checks.refinement import _SETTLED as SETTLED
from fastgrad._derivatives.extrapolation import _RULES as RULES
from fastgrad._derivatives.noise import _AGREE as AGREE
from fastgrad._derivatives.noise import _SMOOTH_WEIGHTS as WEIGHTS
from fastgrad._derivatives.noise import noise_beside
from fastgrad._derivatives.step_table import RATIO

pytestmark = pytest.mark.once
_kernel = pytest.importorskip("fastgrad._kernel")

AWKWARD = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e308, -1e308, 5e-324)


@st.composite
def tables(draw):
    """Quotients of smooth functions, kinks, corners, poles and noise, some of them lost."""
    rng = np.random.default_rng(draw(st.integers(0, 2**30)))
    rows, n = draw(st.integers(2, 9)), draw(st.integers(1, 5))
    steps = rng.uniform(1e-3, 1, n) * RATIO ** -np.arange(rows)[:, np.newaxis]
    slope, bend, third = rng.normal(size=(3, n)) * rng.choice([0, 1, 30], (3, n))
    central = slope + third * steps**2
    ahead, behind = central + bend * steps, central - bend * steps
    shape = draw(st.sampled_from(["smooth", "kink", "pole", "rounded"]))
    if shape == "kink":
        ahead += rng.normal(size=n)
    if shape == "pole":
        power = rng.uniform(0, 1)
        central, ahead, behind = (each * steps**-power for each in (central, ahead, behind))
    rounding = 10.0 ** draw(st.integers(-16, -2)) / steps
    table = np.array([steps, central, ahead, behind, 4 * rounding])
    table[1:4] += rounding * rng.normal(size=(3, rows, n))
    if shape == "rounded":
        table[1:4] = table[1:4].round(1)
    lost = rng.random(table.shape) < draw(st.sampled_from([0, 0, 0.1, 0.5]))
    table[lost] = rng.choice(AWKWARD, int(lost.sum()))
    return table


@quick(300)
@given(tables())
def test_both_estimate_the_same(table):
    for mine, twin in zip(
        _kernel.estimates(table, RULES), _reference.estimates(table, RULES), strict=True
    ):
        assert (mine.dtype, mine.shape) == (twin.dtype, twin.shape)
        np.testing.assert_array_equal(mine, twin)


@quick(300)
@given(tables(), st.sampled_from([0.0, 1e-9, 1e-4, 1.0]), st.sampled_from([1.0, 5.0, 1e6]))
def test_both_are_settled_alike(table, off, grown):
    with np.errstate(over="ignore"):
        analytic = table[1, -1] * (1 + off)
    how = (table[:, -2], table[:, -1], analytic, np.full(len(analytic), grown), SETTLED)
    np.testing.assert_array_equal(_kernel.settled(*how), _reference.settled(*how))


@quick(200)
@given(tables(), st.sampled_from([0, 1e-9, 1e-3, 1]), st.integers(0, 2**30))
def test_both_see_noise_that_hides_entries_alike(table, off, seed):
    rng = np.random.default_rng(seed)
    with np.errstate(over="ignore"):
        analytic = table[1, -1] * (1 + off)
    grown, length = rng.choice([1.0, 7.0], (2, len(analytic)))
    how = (table[:, rng.integers(table.shape[1])], analytic, grown, length, LARGER)
    for mine, twin in zip(*(k.hidden_by_noise(*how) for k in (_kernel, _reference)), strict=True):
        assert mine.dtype == twin.dtype
        np.testing.assert_array_equal(mine, twin)


def test_columns_are_read_as_they_lie():
    apart = np.abs(np.random.default_rng(1).normal(size=(8, 6)))
    row, columns = apart[:5, ::2], apart[5:, ::2]
    expected = _reference.hidden_by_noise(row.copy(), *columns.copy(), LARGER)
    for found, right in zip(_kernel.hidden_by_noise(row, *columns, LARGER), expected, strict=True):
        np.testing.assert_array_equal(found, right)
    for k in range(3):
        short = [each[:-1] if i == k else each for i, each in enumerate(columns)]
        with pytest.raises(ValueError, match="numbers of float64"):
            _kernel.hidden_by_noise(row, *short, LARGER)


@pytest.mark.parametrize("order", ["C", "F"])
def test_parts_of_tables_are_read_as_they_lie(order):
    whole = np.array(np.random.default_rng(0).normal(size=(5, 6, 8)), order=order)
    part = whole[:, ::2, [1, 4]]
    for kernel in (_kernel, _reference):
        expected = kernel.estimates(np.ascontiguousarray(part), RULES)
        for found, right in zip(kernel.estimates(part, RULES), expected, strict=True):
            np.testing.assert_array_equal(found, right)


def test_no_entry_has_no_estimate_and_one_step_has_none_either():
    for kernel in (_kernel, _reference):
        found, flags = kernel.estimates(np.empty((5, 3, 0)), RULES)
        assert (found.shape, flags.shape) == ((5, 0), (2, 0))
        with pytest.raises(ValueError, match="two steps or more, not 1"):
            kernel.estimates(np.ones((5, 1, 2)), RULES)
    with pytest.raises(ValueError, match="numbers of float64"):
        _kernel.estimates(np.ones((4, 3, 2)), RULES)
    with pytest.raises(ValueError, match="numbers of float64"):
        _kernel.estimates(np.ones((5, 3, 2), np.float32), RULES)


@quick(300)
@given(st.integers(0, 2**30), st.integers(0, 4), st.sampled_from([0, 0.05, 0.5]))
def test_both_find_the_same_noise_beside_a_point(seed, n, lost):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 7)) * rng.choice([1.0, 1e-12, 1e160], (n, 1))
    values += rng.choice([0, 1], (n, 1)) * np.arange(7.0) ** 2
    gone = rng.random(values.shape) < lost
    values[gone] = rng.choice(AWKWARD, int(gone.sum()))
    mine, twin = (kernel.heights(values, WEIGHTS, AGREE) for kernel in (_kernel, _reference))
    assert (mine.dtype, mine.shape) == (twin.dtype, twin.shape)
    np.testing.assert_array_equal(mine, twin)
    column = np.asfortranarray(values)
    np.testing.assert_array_equal(_kernel.heights(column, WEIGHTS, AGREE), mine)


def test_noise_beside_a_point_is_that_of_the_values(backend):
    rng = np.random.default_rng(1)
    noise = 1e-7 * rng.normal(size=(400, 7))
    found = noise_beside(np.sin(np.arange(7) / 1000) + noise)
    told = found[found > 0]
    assert len(told) > 300
    assert 0.5e-7 < np.median(told) < 2e-7
    smooth = np.sin(np.arange(7) / 10)[np.newaxis]
    assert noise_beside(smooth) == 0
    smooth[0, 3] = np.inf
    assert np.isnan(noise_beside(smooth))


def test_too_few_and_too_many_values_have_no_such_differences():
    for points in (4, 17):
        with pytest.raises(ValueError, match=f"{points} values have no 3 orders"):
            _kernel.heights(np.ones((2, points)), WEIGHTS, AGREE)
    with pytest.raises(ValueError, match="of float64"):
        _kernel.heights(np.ones((2, 7), np.float32), WEIGHTS, AGREE)


@quick(400)
@given(
    tables(),
    st.sampled_from([0.0, 1e-9, 1e-3, 1.0, np.nan, np.inf]),
    st.sampled_from([0.0, 1e-3, 10.0]),
    st.integers(0, 2**30),
)
def test_both_judge_alike(table, off, granted, seed):
    rng = np.random.default_rng(seed)
    n = table.shape[2]
    estimate, flags = _kernel.estimates(table, RULES)
    entries = rng.normal(size=(4, n))
    with np.errstate(all="ignore"):
        entries[0] = np.where(np.isnan(estimate[0]), entries[0], estimate[0]) * (1 + off)
        entries[3] = np.maximum(np.abs(entries[3]), 1)
    model = ErrorModel(1.0, 1e-16, 1e-16, 1e-5, 2e-16, 2e-16, rtol=granted, atol=granted)
    rules = model.verdict_rules(abs(rng.normal()))
    how = (table, table[4], estimate, flags, entries, rules)
    for mine, twin in zip(_kernel.verdicts(*how), _reference.verdicts(*how), strict=True):
        assert (mine.dtype, mine.shape) == (twin.dtype, twin.shape)
        np.testing.assert_array_equal(mine, twin)


def test_verdicts_read_what_they_are_given_and_nothing_else():
    table = np.array([1e-3, 1.0, 1.0, 1.0, 1e-9])[:, np.newaxis, np.newaxis] * np.ones((5, 2, 3))
    estimate, flags = _kernel.estimates(table, RULES)
    model = ErrorModel(1.0, 1e-16, 1e-16, 1e-5, 2e-16, 2e-16)
    known = np.array([[1.0, 2.0, np.nan], [1.0] * 3, [0.0] * 3, [1.0] * 3])
    how = [table, table[4], estimate, flags, known, model.verdict_rules(1.0)]
    for kernel in (_kernel, _reference):
        _, (codes, doubts) = kernel.verdicts(*how)
        assert codes.tolist() == [0, 1, 1]
        assert not doubts.any()
    for at, wrong in enumerate((table[:4], table[4, :1], estimate[:4], flags[:1], known[:3])):
        with pytest.raises(ValueError, match=r"numbers of float64|flags"):
            _kernel.verdicts(*how[:at], wrong, *how[at + 1 :])
