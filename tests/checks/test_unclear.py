"""The sentence about an entry that cannot be judged: what is the matter, and the way out."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Verdict
from fastgrad._checks.baseline import Baseline
from fastgrad._checks.entry_table import Doubt
from fastgrad._checks.unclear import advice_on_noise, why_unclear
from fastgrad._report.entries import Entry

pytestmark = pytest.mark.usefixtures("backend")

SINGLE, DOUBLE = 2.0**-24, 2.0**-53


def baseline(base=1.0, noise=1e-16, unit=DOUBLE, again=None):
    return Baseline(base, base if again is None else again, noise, unit, (1e-5,), None)


def entry(analytic=1.0, numeric=2.0, uncertainty=0.5):
    return Entry(
        path="params[0]",
        leaf="params",
        index=(0,),
        analytic=analytic,
        numeric=numeric,
        uncertainty=uncertainty,
        verdict=Verdict.CANNOT_TELL,
    )


@pytest.mark.parametrize("doubt", [doubt for doubt in Doubt if doubt is not Doubt.NONE])
def test_every_doubt_has_a_sentence(doubt):
    said = why_unclear(entry(), doubt, baseline(), 1e-5)
    assert len(said) > 40
    assert not said.endswith(".")


def test_each_doubt_says_something_else():
    said = {why_unclear(entry(), doubt, baseline(), 1e-5) for doubt in Doubt if doubt}
    assert len(said) == len(Doubt) - 1


def test_inexact_names_the_tolerance_that_would_do():
    said = why_unclear(entry(1.0003, 1.0), Doubt.INEXACT, baseline(), 1e-5)
    assert "off by 3.0e-04" in said
    assert "rtol=0.001" in said


@pytest.mark.parametrize("numeric", [0.0, math.inf])
def test_inexact_without_a_share(numeric):
    assert "rtol=" in why_unclear(entry(1e-3, numeric), Doubt.INEXACT, baseline(), 1e-5)


def test_noise_is_blamed_for_its_own_bound_alone():
    noisy = why_unclear(entry(uncertainty=1.0), Doubt.WEAK, baseline(noise=1e-6), 1e-5)
    assert "the noise of `f`, 1.0e-06, leaves +/- 1.0e+00" in noisy
    bent = why_unclear(entry(uncertainty=1.0), Doubt.WEAK, baseline(noise=1e-12), 1e-5)
    assert "noise" not in bent
    assert "bends" in bent


def test_two_calls_that_differ_are_named():
    apart = baseline(noise=1e-3, again=1.001)
    said = why_unclear(entry(uncertainty=1e3), Doubt.WEAK, apart, 1e-5)
    assert "not deterministic: two calls differ by 1.0e-03" in said


def test_advice_fits_what_makes_the_noise():
    assert "float64" in advice_on_noise(baseline(unit=SINGLE), 0.1)
    assert "constants" in advice_on_noise(baseline(base=1e12), 0.1)
    assert advice_on_noise(baseline(), 0.1) == "; check at parameters where the gradient is larger"


@pytest.mark.parametrize(("dtype", "told"), [("f4", True), ("f8", False)])
def test_float64_is_advised_to_users_of_float32_alone(dtype, told):
    def f(x):
        return float(np.asarray(constant + np.sum(np.sin(x)), dtype))

    constant = {"f4": 3e6, "f8": 3e15}[dtype]
    report = fg.check_gradient(f, np.cos, np.array([0.3, 0.7], dtype))
    assert report.verdict is Verdict.CANNOT_TELL
    assert ("float64" in report.reason) is told
    assert ("constants" in report.reason) is not told


@pytest.mark.parametrize(
    ("f", "x", "said"),
    [
        (lambda x: float(np.floor(100 * x).sum()), [0.305], "piecewise constant"),
        (lambda x: 1.0 if x[0] == 1 else math.nan, [1.0], "edge of its domain"),
        (lambda x: float(np.nansum(x)), [math.nan], "parameter is not finite"),
        (lambda x: float(x[0] >= 1), [1.0], "jumps"),
    ],
    ids=["staircase", "edge", "nan", "jump"],
)
def test_reason_of_a_report(f, x, said):
    report = fg.check_gradient(f, lambda x: np.ones(1), np.array(x))
    assert report.verdict is Verdict.CANNOT_TELL
    assert said in report.reason
    assert "params" in report.reason
