"""An `f` that does not see its parameters move: one that caches, one that reads elsewhere."""

from __future__ import annotations

import copy
import math
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from evaluators import bits_of
from hypothesis import given
from hypothesis import strategies as st
from oracle import numbers
from strategies import LAYOUTS, lay_out

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation.copies import Sees, sees_moves
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._tree import flatten
from fastgrad._workers.evaluator import evaluator

pytestmark = pytest.mark.usefixtures("backend")

TREES = {
    "array": lambda: np.array([0.5, -1.0, 2.0]),
    "number": lambda: np.array(3.0),
    "dict": lambda: {"a": np.ones((2, 2)), "b": np.array(2.0), "none": None},
    "types": lambda: [np.ones(2, "f2"), np.ones(2, "f4"), (np.ones(1, "g"), np.ones(2, "c16"))],
    "empty": lambda: {"a": np.ones(0), "b": np.array([1e6, 1e-6])},
}
trees = pytest.mark.parametrize("tree", TREES)


def value(params):
    return math.fsum(np.sin(numbers(params)))


class Kept:
    """Keeps its value until it is given another object; `part` finds the object."""

    def __init__(self, params, part=lambda p: p):
        self.last, self.part = None, part

    def __call__(self, params):
        if self.part(params) is not self.last:
            self.last, self.value = self.part(params), value(params)
        return self.value


class Derived(Kept):
    """Keeps what it has made of the parameters, and computes from that."""

    def __call__(self, params):
        if params is not self.last:
            self.last, self.made = params, copy.deepcopy(params)
        return value(self.made)


def reads_a_copy(params):
    mine = copy.deepcopy(params)
    return lambda _: value(mine)


def reads_the_same(params):
    return lambda _: value(params)


def dead(params):
    """Flat beside the parameters, and not far from them."""
    before = value(params)
    return lambda p: max(abs(value(p) - before) - 1e-2, 0.0)


def compares_with_itself(params):
    return lambda p: float(((numbers(p) - numbers(params)) ** 2).sum())


def ends(params):
    before = bits_of(params)

    def f(p):
        if bits_of(p) != before:
            raise ValueError("outside")
        return 1.0

    return f


def knows_its_own(params):
    def f(p):
        assert p is params
        return 1.0

    return f


KINDS = {
    Kept: Sees.CACHED,
    Derived: Sees.CACHED,
    compares_with_itself: Sees.CACHED,
    reads_a_copy: Sees.UNRELATED,
    knows_its_own: Sees.UNRELATED,
    (lambda params: lambda p: 1.0): Sees.UNRELATED,
    (lambda params: value): Sees.MOVES,
    reads_the_same: Sees.MOVES,
    dead: Sees.MOVES,
    ends: Sees.MOVES,
}


def seen(f, params, budget=math.inf):
    run = evaluator(Lenient(f), params, flatten(params), budget=budget)
    with run:
        return sees_moves(run, f, params, run.base()), run.evaluations


@trees
@pytest.mark.parametrize("kind", KINDS)
def test_kinds(kind, tree):
    params = TREES[tree]()
    before = bits_of(params)
    found, evaluations = seen(kind(params), params)
    assert found is KINDS[kind]
    assert evaluations <= 1 + 6
    assert bits_of(params) == before
    assert not _memory.locks


@trees
@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind, tree):
    params = TREES[tree]()
    before, f = bits_of(params), kind(params)
    if KINDS[kind] is Sees.CACHED:
        with pytest.raises(fg.InputValueError, match="does not see parameters that are moved in"):
            fg.gradient(f, params)
    elif KINDS[kind] is Sees.UNRELATED:
        with pytest.warns(fg.FastgradWarning, match="the gradient is zero: nothing") as caught:
            g = fg.gradient(f, params)
        assert [each.filename for each in caught] == [__file__]
        assert not numbers(g).any()
    elif kind is not ends:
        fg.gradient(f, params)  # and no warning
    assert bits_of(params) == before
    assert not _memory.locks


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", ["dict", "array"])
def test_whatever_object_the_cache_goes_by(part, layout):
    params = {"a": lay_out(np.arange(4.0).reshape(2, 2), layout), "b": np.ones(2)}
    f = Kept(params, (lambda p: p) if part == "dict" else (lambda p: p["a"]))
    with pytest.raises(fg.InputValueError, match="clear its cache"):
        fg.gradient(f, params)


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_nothing_is_said_of_what_moves(seed, n):
    """Not even where the gradient is zero: at an optimum, on a plateau, at a saddle."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    still = x.copy()
    for f in (
        lambda x: float(((x - still) ** 2).sum()),
        lambda x: float(np.abs(x - still).sum()),
        lambda x: float(np.maximum(np.abs(x - still) - 0.1, 0).sum()),
        lambda x: float(np.cos(x - still).sum()),
        lambda x: float(np.floor(8 * x).sum()),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fg.gradient(f, x)


def test_a_gradient_that_is_not_zero_takes_no_look():
    calls = []
    x = np.array([0.0, 0.0, 1.0])
    fg.gradient(lambda x: calls.append(1) or float((x**2).sum()), x)
    assert len(calls) == 6


def test_f_need_not_be_defined_at_the_parameters():
    assert fg.gradient(lambda x: 1 / x.item(0) ** 2, np.zeros(1)) == [0.0]


def test_derivative_points_to_its_caller():
    with pytest.warns(fg.FastgradWarning) as caught:
        assert fg.derivative(lambda t: 2.0, 1.0) == 0
    assert caught[0].filename == __file__


def test_out_and_workers():
    x, out = np.arange(3.0), np.ones(3)
    mine = x.copy()
    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(fg.InputValueError, match="moved copy"):
            fg.gradient(Kept(x), x, out=out, workers=executor)
        with pytest.warns(fg.FastgradWarning, match="another copy"):
            fg.gradient(lambda _: float(mine.sum()), x, out=out)
    assert not out.any()


def test_batched():
    with pytest.warns(fg.FastgradWarning, match="another copy"):
        fg.gradient(fg.batched(lambda X: np.ones(len(X))), np.ones(3))


def test_what_f_does_to_its_input_is_undone():
    x = np.arange(3.0)
    start = x.copy()

    def writes_far_away(x):
        if np.abs(x - start).max() > 0.1:
            x[0] = 7.0
        return 1.0

    with pytest.warns(fg.FastgradWarning):
        fg.gradient(writes_far_away, x)
    assert (x == start).all()


@pytest.mark.parametrize("budget", range(2, 10))
def test_budget(budget):
    x, calls = np.ones(2), []

    def f(x):
        calls.append(1)
        return 1.0

    try:
        found, evaluations = seen(f, x, budget)
        assert found is Sees.UNRELATED
        assert budget >= evaluations + 1
    except OutOfBudget:
        assert budget < 8
    assert len(calls) < budget
