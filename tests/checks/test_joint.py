"""Probes look along directions in which all arrays move before they look at each by itself."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import one_backend, quick

import fastgrad as fg
from fastgrad import Verdict
from fastgrad._checks import probe as probes

pytestmark = [pytest.mark.usefixtures("backend"), one_backend, pytest.mark.slow]

randoms = st.integers(0, 2**30).map(np.random.default_rng)
counts = st.sampled_from([2, 3, 7, 30, 100])


def model(rng, count, most=60):
    """A smooth function of many arrays, of many sizes and shapes, and its gradient."""
    sizes = rng.integers(3, most, count)
    p = [rng.normal(size=(n, 2) if n % 3 == 0 else n) for n in sizes]
    w = [rng.normal(size=a.shape) for a in p]

    def f(p):
        return sum(float(np.sum(np.cos(a) * b)) for a, b in zip(p, w, strict=True))

    return f, [-np.sin(a) * b for a, b in zip(p, w, strict=True)], p


def check(f, g, p, **options):
    return fg.check_gradient(f, g, p, strategy="probe", **options)


def wrong_leaves(report):
    return [leaf.path for leaf in report.leaves if leaf.verdict is Verdict.WRONG]


@quick(60)
@given(rng=randoms, count=counts, seed=st.integers(0, 7))
def test_right_gradients_of_any_number_of_arrays_cost_the_same(rng, count, seed):
    f, g, p = model(rng, count)
    report = check(f, g, p, seed=seed)
    assert report.verdict is Verdict.RIGHT
    assert report.evaluations <= 20
    assert all(leaf.limit < np.inf for leaf in report.leaves)


@quick(30)
@given(rng=randoms, count=counts.filter(lambda count: count <= 30))
def test_limits_are_hardly_worse_than_those_of_arrays_alone(rng, count):
    f, g, p = model(rng, count)
    together = [leaf.limit for leaf in check(f, g, p).leaves]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(probes, "look_jointly", lambda *_: {})
        alone = [leaf.limit for leaf in check(f, g, p).leaves]
    # A factor of 3 where noise decides; small arrays take longer steps alone.
    assert np.median(np.array(together) / alone) <= 6


@quick(60)
@given(
    rng=randoms, count=counts, seed=st.integers(0, 7),
    how=st.sampled_from(["entry", "factor", "sign", "zero"]),
)  # fmt: skip
def test_what_is_wrong_is_found_in_its_array_and_nowhere_else(rng, count, seed, how):
    f, g, p = model(rng, count)
    k = int(rng.integers(count))
    if how == "entry":
        g[k].flat[rng.integers(g[k].size)] += 0.1
    else:
        g[k] = g[k] * {"factor": 1.05, "sign": -1.0, "zero": 0.0}[how]
    report = check(f, g, p, seed=seed)
    assert report.verdict is Verdict.WRONG
    assert wrong_leaves(report) == [f"params[{k}]"]
    assert {entry.leaf for entry in report.wrong} == {f"params[{k}]"}


@pytest.mark.parametrize("off", [(0,), (17,), (39,), (5, 31)])
def test_halving_tells_which_arrays_are_off_and_the_others_are_asked_together(off):
    rng = np.random.default_rng(len(off))
    f, g, p = model(rng, 40, most=2000)
    for k in off:
        g[k] = g[k] * 1.05
    report = check(f, g, p)
    assert wrong_leaves(report) == [f"params[{k}]" for k in off]
    assert all(cause.kind is fg.Cause.FACTOR for cause in report.causes)
    # One is told by weights; of two each takes two evaluations for each halving.
    assert report.evaluations <= 60 * len(off) + 10 * (len(off) > 1)


@pytest.mark.parametrize("seed", [0, 3])
def test_beside_a_fourth_of_the_arrays_that_is_off_no_right_one_is_asked_alone(seed, monkeypatch):
    rng = np.random.default_rng(seed)
    f, g, p = model(rng, 96)
    off = sorted(rng.choice(96, 24, replace=False).tolist())
    claimed = [1.05 * part if k in off else part for k, part in enumerate(g)]
    asked, search = [], probes.Search

    def noted(claim, *rest):
        asked.append(claim.number)
        return search(claim, *rest)

    monkeypatch.setattr(probes, "Search", noted)
    report = check(f, claimed, p, seed=seed)
    assert asked == off
    assert wrong_leaves(report) == [f"params[{k}]" for k in off]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("n", [300, 3000])
def test_rounded_moves_of_float32_are_no_kinks(n, seed):
    """What bends has a gap between both sides that is off by the rounding of the moves."""
    rng = np.random.default_rng(seed)
    p, first, second = ([rng.normal(size=n).astype("f4") for _ in range(6)] for _ in range(3))

    def f(p):
        slopes = (
            np.multiply(b, x, dtype=float) / 2 + a for x, a, b in zip(p, first, second, strict=True)
        )
        return sum(float(slope @ x) for slope, x in zip(slopes, p, strict=True))

    claimed = [a + b * x for x, a, b in zip(p, first, second, strict=True)]
    report = check(f, claimed, p, seed=seed)
    assert report.verdict is Verdict.RIGHT
    assert report.evaluations <= 20


@pytest.mark.parametrize("off", range(0, 96, 19))
def test_one_array_of_ninety_six_is_told_by_weights(off):
    rng = np.random.default_rng(off)
    f, g, p = model(rng, 96, most=200)
    g[off] = g[off] * 1.05
    report = check(f, g, p)
    assert wrong_leaves(report) == [f"params[{off}]"]
    assert [cause.kind for cause in report.causes] == [fg.Cause.FACTOR]
    assert report.causes[0].evidence["factor"] == pytest.approx(1.05, rel=1e-4)
    assert report.evaluations <= 60


@quick(30)
@given(rng=randoms, count=counts)
def test_arrays_that_others_would_hide_are_looked_at_alone(rng, count):
    """A millionth of the rest, an array without effect, one with a gradient of zero."""
    f, g, p = model(rng, count)
    faint, unused, flat = rng.normal(size=20), rng.normal(size=9), rng.normal(size=5)

    def with_faint(p):
        return f(p[:-3]) + 1e-6 * float(np.sin(p[-3]).sum()) + 0.0 * float(p[-1].sum())

    right = [*g, 1e-6 * np.cos(faint), 0 * unused, 0 * flat]
    params = [*p, faint, unused, flat]
    assert wrong_leaves(check(with_faint, right, params)) == []
    right[-3] = 2 * right[-3]
    assert wrong_leaves(check(with_faint, right, params)) == [f"params[{count}]"]
    right[-3] = right[-3] / 2
    right[-2] = right[-2] + 1.0
    assert wrong_leaves(check(with_faint, right, params)) == [f"params[{count + 1}]"]


def test_kinks_leave_directions_to_arrays_alone():
    rng = np.random.default_rng(0)
    p = [rng.normal(size=50) for _ in range(6)]
    p[2][7] = 0.0
    g = [np.sign(a) for a in p]
    report = check(lambda p: sum(float(np.abs(a).sum()) for a in p), g, p)
    assert report.verdict is not Verdict.WRONG
    g[4][3] *= -1
    report = check(lambda p: sum(float(np.abs(a).sum()) for a in p), g, p)
    assert [entry.path for entry in report.wrong] == ["params[4][3]"]


def test_errors_at_the_limit_are_seen_as_often_as_stated():
    f, g, p = model(np.random.default_rng(3), 12)
    unseen = eligible = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        k = int(rng.integers(len(p)))
        limit = check(f, g, p, seed=seed).leaves[k].limit
        wrong = [part.copy() for part in g]
        wrong[k].flat[rng.integers(wrong[k].size)] += rng.choice([-1.2, 1.2]) * limit
        eligible += 1
        unseen += check(f, wrong, p, seed=seed).verdict is Verdict.RIGHT
    # 1 % is the bound: it is exceeded this far with a probability below 1 %.
    assert unseen <= 0.01 * eligible + 2.5 * np.sqrt(0.01 * eligible)


@quick(40)
@given(rng=randoms, budget=st.integers(1, 60))
def test_every_budget_ends_in_a_verdict(rng, budget):
    f, g, p = model(rng, 9)
    g[4] = 1.5 * g[4]
    report = check(f, g, p, budget=budget)
    assert report.evaluations <= budget + 1
    assert report.verdict is not Verdict.RIGHT
