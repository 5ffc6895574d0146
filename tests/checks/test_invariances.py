"""The promises of the numbers: no false alarm at any scale, a detection limit that holds."""

from __future__ import annotations

import zlib

import numpy as np
import pytest
from corpus import problems
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad import Verdict
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.judge import first_pass, judge, without_power
from fastgrad._evaluation.protocol import Samples
from fastgrad._leaf import Leaf

pytestmark = pytest.mark.usefixtures("backend")
RIGHT, WRONG, UNCLEAR = (v.code for v in (Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL))


class Waves:
    """A smooth cost with gradients of many sizes, times a factor, plus a constant."""

    def __init__(self, seed, n=8, factor=1.0, constant=0.0, spread=2.0):
        random = np.random.default_rng(seed)
        self.mix = random.normal(size=(n, n)) / np.sqrt(n)
        self.weights = random.choice((-1, 1), n) * 10.0 ** random.uniform(-spread, 0, n)
        self.point = random.normal(size=n)
        self.factor, self.constant = factor, constant

    def __call__(self, x):
        return self.factor * float(self.weights @ np.sin(self.mix @ x)) + self.constant

    def gradient(self, x):
        return self.factor * self.mix.T @ (self.weights * np.cos(self.mix @ x))

    def check(self, off=0.0):
        return fg.check_gradient(self, self.gradient(self.point) + off, self.point)


# --------------------------------------------------------------------------------------- scale

seeds = st.integers(0, 10**6)


@given(seeds, st.floats(-12, 12), st.floats(-0.1, 0.1))
@quick(40)
def test_scale_proves_nothing(seed, power, error):
    """Verdicts on f and on a multiple of it are the same, entry by entry."""
    plain, scaled = Waves(seed), Waves(seed, factor=10.0**power)
    off = np.zeros(8)
    off[seed % 8] = error * np.abs(plain.gradient(plain.point)).max() if abs(error) > 1e-4 else 0
    first, second = plain.check(off), scaled.check(10.0**power * off)
    assert first.verdict is second.verdict
    assert np.array_equal(first.entries.codes, second.entries.codes)
    assert first.verdict is (Verdict.WRONG if off.any() else Verdict.RIGHT)


@given(seeds, st.floats(2, 14), st.floats(-6, 6))
@quick(60)
def test_constant_costs_power_but_raises_no_alarm(seed, power, scale):
    waves = Waves(seed, factor=10.0**scale, constant=10.0**power)
    assert waves.check().verdict is not Verdict.WRONG


@pytest.mark.parametrize("seed", range(20))
def test_constant_of_1e8_leaves_the_large_errors_visible(seed):
    waves = Waves(seed, constant=1e8)
    off = np.zeros(8)
    off[seed % 8] = 3 * waves.check().detection_limit
    if np.isfinite(off).all():
        assert [e.index for e in waves.check(off).wrong] in ([(seed % 8,)], [])
        assert waves.check(off).verdict is not Verdict.RIGHT


# ------------------------------------------------------------------------------- detection limit


def cubic(seed):
    waves = Waves(seed, spread=0.0)
    return lambda x: waves(x) + float((x**3).sum()), lambda x: waves.gradient(x) + 3 * x**2


def coarse(seed):
    waves = Waves(seed)
    return lambda x: float(np.float32(waves(x))), waves.gradient


def shaky(seed):
    waves = Waves(seed)
    return lambda x: waves(x) * (1 + 1e-9 * (zlib.crc32(x.tobytes()) % 1000) / 1000), waves.gradient


def shifted(seed):
    waves = Waves(seed, constant=1e6)
    return waves, waves.gradient


@pytest.mark.parametrize("family", [cubic, coarse, shaky, shifted])
@pytest.mark.parametrize("seed", range(25))
def test_error_above_the_detection_limit_is_seen_and_named(family, seed):
    f, gradient = family(seed)
    random = np.random.default_rng(seed)
    x, entry = random.normal(size=8), int(random.integers(8))
    report = fg.check_gradient(f, gradient, x)
    assert report.verdict is Verdict.RIGHT, str(report)
    planted = gradient(x)
    planted[entry] += 1.5 * report.detection_limit * random.choice((-1, 1))
    report = fg.check_gradient(f, planted, x)
    assert [e.path for e in report.wrong] == [f"params[{entry}]"], str(report)


def test_detection_limit_is_not_a_trivial_one():
    limits = [Waves(seed, spread=0.0).check().detection_limit for seed in range(20)]
    assert max(limits) < 1e-6


# -------------------------------------------------------------------------------------- economy


@pytest.mark.parametrize("family", ["smooth", "likelihoods", "networks", "physics", "linalg"])
def test_smooth_and_right_costs_two_evaluations_per_entry_and_twenty(family):
    for problem in problems():
        if problem.family == family and not problem.kinks and not problem.requires:
            case = problem.make()
            with np.errstate(all="ignore"):
                report = fg.check_gradient(case.f, case.grad, case.params)
            assert report.evaluations <= 2 * len(report.entries) + 20, problem.name


def test_evaluations_are_counted():
    calls = []

    def f(x):
        return calls.append(1) or float((x**3).sum())

    for grad in (lambda x: 3 * x**2, lambda x: 3 * x):
        calls.clear()
        report = fg.check_gradient(f, grad, np.array([1.0, 2.0, -3.0]))
        assert report.evaluations == len(calls)


# ---------------------------------------------------------------------------------- single steps


def columns(analytic, **given):
    n = len(analytic)
    values = {
        "numeric": np.full(n, np.nan),
        "uncertainty": np.full(n, np.inf),
        "gaps": np.zeros(n),
        "codes": np.full(n, UNCLEAR, np.int8),
        "kinks": np.zeros(n, bool),
        "doubts": np.zeros(n, np.int8),
        "moved": np.ones(n, bool),
    }
    return EntryTable(np.array(analytic, float), **(values | given))


def terms(base, **given):
    values = {
        "noise": 1e-16,
        "unit": 2.0**-53,
        "relative": 1e-5,
        "eps": 2.0**-52,
        "spacing": 2.0**-52,
    }
    return ErrorModel(base, **(values | given))


class Separable:
    """Evaluates a sum of functions of single entries, and remembers which were asked for."""

    def __init__(self, f, x):
        self.f, self.x, self.asked = f, np.array(x, float), []
        self.leaves, self.held = (Leaf("x", self.x),), None

    def base(self):
        return float(self.f(self.x).sum())

    def read(self, leaf, entries):
        return self.x[entries]

    def affordable(self, count, each):
        return count

    def pieces(self, count, each, most):
        return ((low, min(low + most, count)) for low in range(0, count, most))

    def scale(self, leaf, where=...):
        return np.fmax(1.0, np.abs(self.x[where]))

    def single(self, request):
        self.asked.append(request.entries)
        x, steps = self.x[request.entries], request.steps
        h = steps.relative * self.scale(0, request.entries) if steps.given is None else steps.given
        places = x[:, np.newaxis] + np.array(request.offsets) * h[:, np.newaxis]
        values = self.base() + self.f(places) - self.f(x)[:, np.newaxis]
        return Samples(places - x[:, np.newaxis], values)


def judged(f, x, analytic):
    run, found = Separable(f, x), columns(analytic)
    how = Differences(run, 0), terms(run.base())
    first_pass(found, *how)
    judge(found, *how)
    return found, run


def test_only_doubtful_entries_are_measured_again():
    x = np.linspace(1, 2, 9)
    analytic = 3 * x**2
    analytic[4] *= 1.01
    found, run = judged(lambda x: x**3, x, analytic)
    assert list(np.flatnonzero(found.codes == WRONG)) == [4]
    assert {int(i) for asked in run.asked[1:] for i in asked} == {4}


def test_the_pieces_of_the_first_pass_make_no_difference(monkeypatch):
    x = np.linspace(1, 2, 10_000)
    whole, _ = judged(lambda x: x**3, x, 3 * x**2)
    monkeypatch.setattr("fastgrad._checks.differences.CHUNK", 3999)
    cut, run = judged(lambda x: x**3, x, 3 * x**2)
    assert (cut.codes == RIGHT).all()
    assert [len(asked) for asked in run.asked] == [3999, 3999, 2002]
    for name in ("numeric", "uncertainty", "gaps", "codes"):
        assert getattr(cut, name).tobytes() == getattr(whole, name).tobytes()


def test_kink_widens_the_uncertainty_by_half_its_gap():
    found, _ = judged(np.abs, [0.0, 1.0], [0.25, 1.0])
    assert list(found.kinks) == [True, False]
    assert found.numeric[0] == pytest.approx(0, abs=1e-12)
    assert found.uncertainty[0] == pytest.approx(1, rel=1e-6)


def test_agreement_without_power_is_told():
    found = columns(
        [1e-9, 1.0], codes=np.full(2, RIGHT, np.int8), uncertainty=np.array([0.5, 1e-9])
    )
    found.numeric[:] = [0.0, 1.0]
    assert list(without_power(found, terms(1.0), 1.0)) == [True, False]


def test_at_an_optimum_power_is_measured_by_the_curvature():
    at_optimum = {"codes": np.full(2, RIGHT, np.int8), "uncertainty": np.full(2, 1e-11)}
    flat = columns([0.0, 0.0], numeric=np.zeros(2), gaps=np.zeros(2), **at_optimum)
    curved = columns([0.0, 0.0], numeric=np.zeros(2), gaps=np.full(2, 2e-5), **at_optimum)
    assert without_power(flat, terms(1.0), 0.0).all()
    assert not without_power(curved, terms(1.0), 0.0).any()


def test_scale_is_not_that_of_one_wild_entry():
    found = columns([1e9, 1.0, np.nan], numeric=np.array([2.0, 1.0, np.inf]))
    assert found.scale == 2.0
