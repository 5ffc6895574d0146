"""Checks of some entries: only these are moved, judged and counted, whichever way is chosen."""

from __future__ import annotations

import contextlib
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sendable import cubes
from strategies import bits, quick

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")
STRATEGIES = ("exhaustive", "probe")
ways = pytest.mark.parametrize("strategy", STRATEGIES)


def params():
    rng = np.random.default_rng(0)
    return {
        "W": rng.normal(size=(6, 5)),
        "b": rng.normal(size=3),
        "z": rng.normal(size=2) + 1j,
        "s": np.array(0.3),
    }


def f(p):
    return float((p["W"] ** 3).sum() + np.sin(p["b"]).sum() * p["s"] + (abs(p["z"]) ** 2).sum())


def grad(p):
    return {
        "W": 3 * p["W"] ** 2,
        "b": np.cos(p["b"]) * p["s"],
        "z": 2 * p["z"],
        "s": np.sin(p["b"]).sum(),
    }


def mask():
    return {
        "W": np.arange(30).reshape(6, 5) % 2 == 0,
        "b": False,
        "z": np.array([True, False]),
        "s": True,
    }


@ways
def test_wrong_entries_that_are_left_out_do_not_matter(strategy):
    p, chosen = params(), mask()

    def wrong_elsewhere(p):
        g = grad(p)
        g["b"] = g["b"] * np.nan
        g["W"] = np.where(chosen["W"], g["W"], 9.0)
        return g

    report = fg.check_gradient(f, wrong_elsewhere, p, where=chosen, strategy=strategy)
    assert report
    assert "18 entries that `where` chose of 38" in report.reason
    assert "18 of 38 entries" in str(report)
    assert [leaf.entries for leaf in report.leaves] == [30, 3, 4, 1]
    assert report.leaves[1].judged == 0


@ways
def test_wrong_entries_are_named_by_their_place(strategy):
    p = params()
    claimed = grad(p)
    claimed["W"][3, 3] *= 1.5  # chosen
    claimed["W"][3, 2] *= 1.5  # not chosen
    report = fg.check_gradient(f, claimed, p, where=mask(), strategy=strategy)
    assert [(entry.path, entry.leaf, entry.index) for entry in report.wrong] == [
        ("W[3, 3]", "W", (3, 3))
    ]
    assert report.verdict is fg.Verdict.WRONG


def test_what_is_judged_is_counted_and_nothing_else_is_moved():
    p, chosen, seen = params(), mask(), []
    before = {key: value.copy() for key, value in p.items()}

    def watched(p):
        seen.append({key: np.asarray(value != before[key]) for key, value in p.items()})
        return f(p)

    report = fg.check_gradient(watched, grad(p), p, where=chosen, strategy="exhaustive")
    assert report.evaluations == len(seen) == 2 * 18 + 9
    moved = {key: np.any([each[key] for each in seen], axis=0) for key in p}
    for key in p:
        np.testing.assert_array_equal(moved[key], np.broadcast_to(chosen[key], p[key].shape))
        assert bits(p[key]) == bits(before[key])
    numeric = report.numeric
    np.testing.assert_array_equal(np.isnan(numeric["W"]), ~chosen["W"])
    np.testing.assert_allclose(numeric["W"][chosen["W"]], grad(p)["W"][chosen["W"]], rtol=1e-6)
    assert np.isnan(numeric["b"]).all()
    assert np.isinf(report.uncertainty["b"]).all()


def test_an_exhaustive_check_is_chosen_by_what_is_to_be_judged():
    x = np.ones(20_000)
    some = np.zeros(x.size, bool)
    some[:50] = True
    report = fg.check_gradient(cubes, 3 * x**2, x, where=some)
    assert report.strategy == "exhaustive"
    assert report.evaluations == 2 * 50 + 9
    assert fg.check_gradient(cubes, 3 * x**2, x).strategy == "probe"


def test_a_block_is_named_as_numpy_indexes_it():
    x = np.random.default_rng(1).normal(size=3000)
    some = np.arange(x.size) % 2 == 0
    claimed = 3 * x**2
    claimed[1000:2000] *= 2
    report = fg.check_gradient(cubes, claimed, x, where=some, strategy="probe")
    assert report.verdict is fg.Verdict.WRONG
    (block,) = report.leaves[0].blocks
    assert block.startswith("params[where][")
    index = block
    low, high = map(int, index.removeprefix("params[where][").rstrip("]").split(":"))
    assert 300 < low < high < 1200
    assert report.causes[0].kind is fg.Cause.FACTOR


@ways
@given(st.lists(st.booleans(), min_size=5, max_size=12), st.integers(0, 2**16))
@quick(25)
def test_the_verdict_is_that_on_a_function_of_these_entries(strategy, some, seed):
    rng = np.random.default_rng(seed)
    some = np.array(some)
    x, claimed = rng.normal(size=some.size), None
    claimed = 3 * x**2
    claimed[rng.integers(some.size)] += 1.0
    report = fg.check_gradient(cubes, claimed, x, where=some, strategy=strategy, seed=seed)

    def alone(y):
        full = x.copy()
        full[some] = y
        return cubes(full)

    expected = fg.check_gradient(alone, claimed[some], x[some], strategy=strategy, seed=seed)
    assert report.verdict is expected.verdict
    assert report.evaluations == expected.evaluations or not some.any() or some.all()
    np.testing.assert_array_equal(report.entries.codes, expected.entries.codes)


def test_nothing_and_everything():
    x = np.arange(3.0)
    report = fg.check_gradient(cubes, 3 * x**2, x, where=False)
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert report.reason == "nothing was tested: `where` chose no entry"
    assert report.evaluations == 0
    whole = fg.check_gradient(cubes, 3 * x**2, x, where=True)
    assert whole.reason == fg.check_gradient(cubes, 3 * x**2, x).reason


def test_with_bounds_workers_and_rows():
    x = np.array([0.0, 0.5, 2.0, 3.0])
    some = np.array([True, False, True, True])
    rows = fg.batched(lambda x: (x**3).sum(axis=1))
    for g, options in ((cubes, {"workers": map}), (rows, {}), (cubes, {"bounds": (0.0, 3.0)})):
        for strategy in STRATEGIES:
            report = fg.check_gradient(g, 3 * x**2, x, where=some, strategy=strategy, **options)
            assert report, (options, strategy)
    with pytest.raises(fg.InputValueError, match="`where` at `params` must be"):
        fg.check_gradient(cubes, 3 * x**2, x, where=some[:2])


def test_what_moves_nothing_is_told_apart():
    """Of entries that are chosen, as of all."""
    x, kept = np.arange(1.0, 5.0), {}

    def cached(x):
        if kept.get("of") is not x:
            kept.update(of=x, value=cubes(x))
        return kept["value"]

    some = np.array([True, True, False, True])
    report = fg.check_gradient(cached, 3 * x**2, x, where=some)
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "it keeps its value" in report.reason
    own = x.copy()
    report = fg.check_gradient(lambda _: cubes(own), 3 * x**2, x, where=some)
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "reads another copy" in report.reason


@ways
@pytest.mark.parametrize("kind", [ZeroDivisionError, KeyboardInterrupt])
def test_a_fault_at_every_evaluation(strategy, kind):
    p, chosen = params(), mask()
    before = {key: bits(value) for key, value in p.items()}
    total = fg.check_gradient(f, grad(p), p, where=chosen, strategy=strategy).evaluations
    for at in range(1, total + 1):
        state = [at]

        def faulty(p, state=state):
            state[0] -= 1
            if not state[0]:
                raise kind
            return f(p)

        # What is no interrupt counts as a point outside of the domain.
        with contextlib.suppress(kind):
            fg.check_gradient(faulty, grad(p), p, where=chosen, strategy=strategy)
        assert {key: bits(value) for key, value in p.items()} == before


def test_reports_are_pickled_and_rendered():
    report = fg.check_gradient(f, grad, params(), where=mask())
    again = pickle.loads(pickle.dumps(report))
    assert str(again) == str(report)
    assert again.to_dict()["n_chosen"] == 18
    assert "18 of 38 entries" in report.to_html()
