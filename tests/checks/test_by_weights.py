"""One wrong entry, or array, is told by weights; what looks like one and is none is halved."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from network import Network
from strategies import one_backend, quick

import fastgrad as fg
from fastgrad._checks.by_weights import _parts, _weights
from fastgrad._evaluation.direction import UNIT, Region, Uniform

pytestmark = pytest.mark.usefixtures("backend")


@given(count=st.integers(2, 200))
@quick(60)
def test_weights_are_as_far_from_each_other_as_from_nothing(count):
    weights = _weights(count)
    apart = np.diff(np.append(weights, 0.0)[np.argsort(np.append(weights, 0.0))])
    assert len(weights) == count
    assert np.abs(weights).max() == 1
    np.testing.assert_allclose(apart, np.abs(weights).min())


@given(count=st.integers(2, 20), n=st.integers(1, 60), start=st.integers(0, 5))
@quick(60)
def test_parts_make_the_whole(count, n, start):
    parts = _parts((slice(3, 4), slice(start, start + n)), 1, count)
    assert len(parts) == min(count, n)
    held = [k for part in parts for k in range(part[1].start, part[1].stop)]
    assert held == list(range(start, start + n))
    assert all(part[0] == slice(3, 4) and part[1].stop > part[1].start for part in parts)


def waves(n):
    """A smooth function of one array, and its gradient."""
    rng = np.random.default_rng(n)
    x, w = rng.normal(size=n), rng.normal(size=n)
    return (lambda x: float(w @ np.sin(x))), w * np.cos(x), x


def equal_errors(x, entries, size, seed=0):
    """Errors that change the derivative along the first direction alike, one by one."""
    region = Region(0, (slice(0, len(x)),), x.shape)
    moves = UNIT * Uniform(seed, 0, (region,), (1.0,)).at(0, np.array(entries)).astype(float)
    return size / (moves * np.maximum(1, np.abs(x[entries])))


@pytest.mark.parametrize("n", [1000, 60_000])
@pytest.mark.parametrize("seed", range(4))
def test_one_wrong_entry_takes_a_few_looks(n, seed):
    f, g, x = waves(n)
    entry = int(np.random.default_rng(seed).integers(n))
    g[entry] += 0.1
    report = fg.check_gradient(f, g, x, strategy="probe", seed=seed)
    assert [int(e.index[0]) for e in report.wrong] == [entry]
    assert report.evaluations <= 60


@pytest.mark.parametrize(
    "entries", [(10, 12), (10, 14), (3, 29), (0, 59), (10, 12, 14), (58, 59), (7, 9, 50, 52)]
)
@pytest.mark.parametrize("n", [60, 6400])
def test_errors_that_look_like_one_elsewhere_are_found(n, entries):
    """Of 10 and 12 the mean weight is that of 11, whether these are entries or parts."""
    f, g, x = waves(n)
    wrong = [k * n // 60 for k in entries]
    g[wrong] += equal_errors(x, wrong, 0.1)
    report = fg.check_gradient(f, g, x, strategy="probe")
    assert sorted(int(e.index[0]) for e in report.wrong) == wrong


@one_backend
@pytest.mark.slow
@given(
    seed=st.integers(0, 2**20), count=st.integers(1, 12),
    shape=st.sampled_from([(3000,), (60, 50), (7, 20, 30)]),
)  # fmt: skip
@quick(100)
def test_any_few_errors_are_named_and_nothing_else(seed, count, shape):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=shape), rng.normal(size=shape)
    g = w * np.cos(x)
    wrong = np.sort(rng.choice(x.size, count, replace=False))
    g.flat[wrong] += rng.choice([-1, 1], count) * rng.uniform(0.01, 1.0, count)
    before = x.tobytes()
    report = fg.check_gradient(
        lambda x: float(np.sum(w * np.sin(x))), g, x, strategy="probe", seed=seed
    )
    named = sorted(int(np.ravel_multi_index(e.index, shape)) for e in report.wrong)
    assert named == wrong.tolist()
    assert x.tobytes() == before
    assert report.evaluations <= 60 + 45 * count


@pytest.mark.parametrize("seed", range(3))
def test_twenty_wrong_entries_take_a_fifth_of_what_each_took_alone(seed):
    net = Network(sizes=(40, 50, 20, 10))
    wrong = net.gradient(net.params)
    entries = np.sort(np.random.default_rng(seed).choice(2000, 20, replace=False))
    wrong["W1"].flat[entries] *= 1.1
    report = fg.check_gradient(net.cost, wrong, net.params, strategy="probe", seed=seed)
    named = sorted(int(np.ravel_multi_index(e.index, (40, 50))) for e in report.wrong)
    assert named == entries.tolist()
    assert report.evaluations <= 600


def test_parts_are_weighted_where_some_entries_are_left_out():
    f, g, x = waves(9000)
    where = np.random.default_rng(0).random(x.size) < 0.6
    entry = int(np.flatnonzero(where)[1234])
    g[entry] += 0.1
    g[~where] = 7.0  # nobody looks there
    report = fg.check_gradient(f, g, x, strategy="probe", where=where)
    assert [int(e.index[0]) for e in report.wrong] == [entry]
    assert report.evaluations <= 60


def test_many_arrays_that_are_off_are_told_together():
    """Eighteen of ninety-six: the others are asked once more together, and not one by one."""
    rng = np.random.default_rng(1)
    p = [rng.normal(size=300) for _ in range(96)]
    w = [rng.normal(size=300) for _ in p]
    g = [b * np.cos(a) for a, b in zip(p, w, strict=True)]
    off = sorted(rng.choice(96, 18, replace=False).tolist())
    for k in off:
        g[k][rng.integers(300)] += 0.2
    calls = []

    def f(p):
        calls.append(1)
        return sum(float(b @ np.sin(a)) for a, b in zip(p, w, strict=True))

    report = fg.check_gradient(f, g, p, strategy="probe")
    assert sorted({e.leaf for e in report.wrong}) == sorted(f"params[{k}]" for k in off)
    assert report.evaluations <= 60 * len(off)


@one_backend
@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 21, 41, 45])
def test_one_wrong_entry_of_a_million_takes_a_hundred_evaluations(seed):
    """Of the last three the error just shows in all arrays together, and not in half of them."""
    net = Network()
    wrong = net.gradient(net.params)
    entry = int(np.random.default_rng(1000 + seed).choice(wrong["W1"].size, 1, replace=False)[0])
    wrong["W1"].flat[entry] *= 1.01
    report = fg.check_gradient(net.cost, wrong, net.params, strategy="probe", seed=seed)
    named = [(e.leaf, int(np.ravel_multi_index(e.index, (784, 1000)))) for e in report.wrong]
    assert named == [("W1", entry)]
    assert report.evaluations <= 100
