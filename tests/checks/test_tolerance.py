"""What a user grants to a gradient, on top of what is measured: `rtol` and `atol`."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad import Verdict

pytestmark = pytest.mark.usefixtures("backend")

randoms = st.integers(0, 2**30).map(np.random.default_rng)
both = pytest.mark.parametrize("strategy", ["exhaustive", "probe"])


def waves(x):
    return float(np.sum(np.exp(np.sin(x))))


def slopes(x):
    return np.cos(x) * np.exp(np.sin(x))


def check(claim, x, **options):
    return fg.check_gradient(waves, lambda _: claim.copy(), x, **options)


def points(rng):
    return rng.uniform(-1.2, 1.2, int(rng.integers(2, 7)))


@quick(30)
@given(rng=randoms)
def test_as_allclose(rng):
    """Right if NumPy says that both gradients are close: the error bar is far smaller here."""
    x = points(rng)
    rtol, atol = 10.0 ** rng.uniform(-4, -1, 2)
    granted = rtol * np.abs(slopes(x)) + atol
    share = float(rng.choice([0.9, 1.1]))
    off = np.where(np.arange(len(x)) == rng.integers(len(x)), share, 0.5) * granted
    claim = slopes(x) + rng.choice([-1, 1], len(x)) * off
    report = check(claim, x, rtol=rtol, atol=atol)
    assert np.allclose(claim, slopes(x), rtol=rtol, atol=atol) == (share < 1)
    assert report.verdict is (Verdict.RIGHT if share < 1 else Verdict.WRONG), str(report)
    assert len(report.wrong) == (share > 1)


@quick(15)
@given(rng=randoms)
def test_reason_tells_what_was_granted(rng):
    x = points(rng)
    rtol = 10.0 ** rng.uniform(-4, -2)
    claim = slopes(x)
    worst = int(rng.integers(len(x)))
    claim[worst] *= 1 + rtol / 2
    report = check(claim, x, rtol=rtol)
    assert f"within rtol = {rtol:g}; the largest deviation is {rtol / 2:.1e}" in report.reason
    assert f"beyond the noise (params[{worst}])" in report.reason


def test_reason_tells_both_and_an_amount():
    x = np.linspace(0.1, 1, 4)
    report = check(slopes(x) + 1e-4, x, rtol=1e-3, atol=1e-3)
    assert "within rtol = 0.001 and atol = 0.001; the largest" in report.reason
    report = check(slopes(x) + 1e-4, x, atol=1e-3)
    assert "within atol = 0.001; the largest deviation is 1.0e-04, beyond" in report.reason


def test_what_was_not_needed_is_not_told():
    x = np.linspace(0.1, 1, 4)
    assert "within" not in check(slopes(x), x, rtol=1e-3, atol=1e-3).reason


@both
@pytest.mark.parametrize("n", [3, 60])
def test_without_one_nothing_is_granted(strategy, n):
    x = np.linspace(0.1, 1, n)
    report = check(slopes(x) * (1 + 1e-3), x, strategy=strategy)
    assert report.verdict is Verdict.WRONG


@both
@quick(15)
@given(rng=randoms)
def test_gradient_within_it_is_right_by_any_strategy(strategy, rng):
    x = rng.uniform(-1.2, 1.2, 40)
    claim = slopes(x) * (1 + rng.uniform(-5e-3, 5e-3, 40))
    report = check(claim, x, rtol=1e-2, strategy=strategy)
    assert report.verdict is Verdict.RIGHT, str(report)


@both
@quick(15)
@given(rng=randoms)
def test_large_errors_are_seen_by_any_strategy(strategy, rng):
    x = rng.uniform(-1, 1, 40)
    claim = slopes(x)
    bad = int(rng.integers(40))
    claim[bad] += 5.0
    report = check(claim, x, rtol=1e-3, strategy=strategy)
    assert report.verdict is Verdict.WRONG, str(report)
    assert [entry.path for entry in report.wrong] == [f"params[{bad}]"]


@both
def test_limit_includes_it(strategy):
    x = np.linspace(0.1, 1, 30)
    plain, granted = (
        check(slopes(x), x, strategy=strategy, **o) for o in ({}, {"rtol": 1e-2, "atol": 0.1})
    )
    assert granted.detection_limit >= 0.1 > plain.detection_limit


def test_nothing_is_granted_to_claims_without_a_number():
    x = np.linspace(0.1, 1, 3)
    for value in (math.nan, math.inf):
        claim = slopes(x)
        claim[1] = value
        assert check(claim, x, rtol=10.0, atol=1e6).verdict is Verdict.WRONG


def test_reports_keep_it():
    x = np.linspace(0.1, 1, 3)
    report = check(slopes(x), x, rtol=1e-3, atol=1e-6)
    assert (report.rtol, report.atol) == (1e-3, 1e-6)


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", [-1e-3, math.nan, math.inf])
def test_bad_values(name, value):
    with pytest.raises(ValueError, match=f"`{name}` must be finite, 0 or more"):
        check(np.ones(2), np.ones(2), **{name: value})


@pytest.mark.parametrize("name", ["rtol", "atol"])
@pytest.mark.parametrize("value", ["1e-3", None, True, [1e-3], 1j])
def test_bad_types(name, value):
    with pytest.raises(TypeError, match=f"`{name}` must be a number, 0 or more"):
        check(np.ones(2), np.ones(2), **{name: value})
