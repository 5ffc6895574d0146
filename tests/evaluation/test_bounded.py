"""No evaluator calls `f` outside of the bounds; points there are NaN, and others as ever."""

from __future__ import annotations

import numpy as np
import pytest
from evaluators import ALL, NATIVE, Built, is_one_of
from oracle import Guarded, Oracle, weigh
from strategies import same

import fastgrad as fg
from fastgrad._evaluation.bounded import Bounded
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.direction import Given, Jumps, OddMultiples, Region, Uniform
from fastgrad._evaluation.protocol import Along, Grouped, Single, Steps
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


START = np.array([1.0, -2.0, 0.5, 3.0])
LOW = np.array([1.0, -np.inf, 0.5, 2.0])
HIGH = np.array([2.0, -2.0, 0.5, np.inf])


def params_for(name):
    return START.copy() if is_one_of(name, NATIVE) else {"a": START.copy(), "s": np.array(2.0)}


def bounds_for(params):
    sides = (LOW, HIGH) if isinstance(params, np.ndarray) else (
        {"a": LOW, "s": 1.75}, {"a": HIGH, "s": None}
    )  # fmt: skip
    return bounds_of(sides, params, flatten(params))


def nan_outside(params):
    try:
        return Guarded(LOW, HIGH)(params)
    except AssertionError:
        return np.nan


SINGLE = Single(0, np.array([0, 1, 2, 3], np.intp), Steps(0.125), (1, -1, 2))
GROUPED = Grouped(
    0, np.array([0, 3, 1, 2, 0], np.intp), np.array([0, 2, 3, 3, 5]), Steps(0.25), (1, -1)
)
given_steps = Steps(given=np.array([0.5, 0.25, 2.0, 1.5]))


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "request_",
    [
        SINGLE,
        Single(0, np.array([3, 3, 0], np.intp), Steps(given=np.array([0.5, 1.5, 0.1])), (1, -1)),
        Single(0, np.array([2, 2], np.intp), Steps(0.5), (1, -1)),
        GROUPED,
        Grouped(0, GROUPED.entries, GROUPED.starts, Steps(given=np.linspace(0.1, 2, 5))),
    ],
    ids=["single", "steps", "nowhere", "grouped", "grouped steps"],
)
def test_outside_is_nan(name, request_, pools):
    params = params_for(name)
    built = Built(name, Guarded(LOW, HIGH), params, pools)
    kind = type(request_).__name__.lower()
    moved, values = getattr(Oracle(nan_outside, params), kind)(request_)
    with Bounded(built.evaluator, bounds_for(params)) as evaluator:
        found = getattr(evaluator, kind)(request_)
    assert same(found.values, values)
    assert same(found.moved, moved)
    built.assert_left_alone()


def regions_of(params):
    return tuple(
        Region(k, tuple(slice(0, n) for n in leaf.real.shape), leaf.real.shape)
        for k, leaf in enumerate(flatten(params))
    )


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("times", [(1.0,), (1.0, -1.0), (-2.0, -1.0), (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("kind", ["uniform", "powers", "jumps"])
def test_along(name, times, kind, pools):
    params = params_for(name)
    regions = regions_of(params)
    direction = {
        "uniform": Uniform(0, 0, regions, (0.5,) * len(regions)),
        "powers": OddMultiples(0, regions, 0.25),
        "jumps": Jumps(0, regions),
    }[kind]
    claims = [np.ones(leaf.real.shape) for leaf in flatten(params)]
    built = Built(name, Guarded(LOW, HIGH), params, pools)
    with Bounded(built.evaluator, bounds_for(params)) as evaluator:
        found = evaluator.along(Along(direction, times), claims)
        assert evaluator.claimed(Along(direction, times), claims).claimed == found.claimed
    assert len(found.values) == len(times)
    assert np.isfinite(found.values).all()
    assert np.isfinite(found.claimed).all()
    assert found.norm > 0
    built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
def test_displaced(name, pools):
    params = params_for(name)
    regions = regions_of(params)
    direction = Given(regions[:1], (np.array([0.5, 0.5, 0.5, -9.0]),))
    built = Built(name, Guarded(LOW, HIGH), params, pools)
    with (
        Bounded(built.evaluator, bounds_for(params)) as evaluator,
        evaluator.displaced(direction, 1.0) as there,
    ):
        assert there.read(0).tolist() == [1.5, -2.0, 0.5, 2.0]
        found = there.single(Single(0, np.arange(4, dtype=np.intp), Steps(0.25)))
        assert np.isnan(found.values).tolist() == [
            [False, False], [True, False], [True, True], [False, True],
        ]  # fmt: skip
        assert np.isfinite(there.base())
    built.assert_left_alone()


def test_leaves_without_bounds_are_left_alone(pools):
    params = {"a": START.copy(), "s": np.array(2.0)}
    bounds = bounds_of(({"a": None, "s": 0}, None), params, flatten(params))
    with Bounded(Built("in place", weigh, params, pools).evaluator, bounds) as evaluator:
        assert np.isfinite(evaluator.single(SINGLE).values).all()


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_what_evaluators_ask_by_themselves_stays_inside(workers, batched):
    """Batched ones look at points beside the parameters, and workers are compared there."""
    params = {"a": START.copy(), "s": np.array(2.0)}
    sides = ({"a": LOW, "s": 1.75}, {"a": HIGH, "s": None})
    f = fg.batched(Rows()) if batched else Guarded(LOW, HIGH)
    found = fg.gradient(f, params, bounds=sides, workers=workers)
    exact = np.arange(1, 6) - np.sin([*START, 2.0])
    np.testing.assert_allclose(found["a"][[0, 1, 3]], exact[[0, 1, 3]], rtol=1e-7)
    np.testing.assert_allclose(found["s"], exact[4], rtol=1e-7)
    assert np.isnan(found["a"][2])
    claim = {"a": np.append(exact[:2], [7.0, exact[3]]), "s": exact[4]}
    report = fg.check_gradient(f, claim, params, bounds=sides, workers=workers)
    assert [entry.verdict.name for entry in report.entries] == [
        "RIGHT", "RIGHT", "CANNOT_TELL", "RIGHT", "RIGHT",
    ]  # fmt: skip


class Rows:
    """The same for many points."""

    def __call__(self, tree):
        a, s = tree["a"], tree["s"]
        return [Guarded(LOW, HIGH)({"a": a[i], "s": s[i, ...]}) for i in range(len(a))]
