"""The network on Iris: the data, the exact gradient, and what each planted bug damages."""

import numpy as np
import pytest

import fastgrad as fg
from fastgrad.demo import BUGS, iris_network, load_iris

DAMAGED = {
    "missing-mean": {"b1", "b2"},
    "missing-l2": {"W2"},
    "transposed": {"W1"},
    "bias-sum": {"b1"},
    "wrong-sign": {"b2"},
    "one-entry": {"W1"},
}


def check(bug=None):
    problem = iris_network(bug)
    return fg.check_gradient(problem.cost, problem.grad, problem.params)


def test_data_are_fishers():
    x, y = load_iris()
    assert x.shape == (150, 4)
    assert y.shape == (150, 3)
    assert (y.sum(axis=0) == 50).all()
    assert (y.sum(axis=1) == 1).all()
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-12)


def test_right_gradient(backend):
    report = check()
    assert report.verdict is fg.Verdict.RIGHT
    assert report.backend == backend
    assert {leaf.path: leaf.shape for leaf in report.leaves} == {
        "W1": (4, 4),
        "b1": (4,),
        "W2": (4, 3),
        "b2": (3,),
    }


@pytest.mark.parametrize("bug", BUGS)
def test_each_bug_is_found_where_it_is(bug, backend):
    report = check(bug)
    assert report.verdict is fg.Verdict.WRONG
    assert {entry.leaf for entry in report.wrong} == DAMAGED[bug]


@pytest.mark.parametrize("bug", BUGS)
def test_wrong_entries_are_those_that_the_bug_changed(bug):
    right, buggy = iris_network(), iris_network(bug)
    exact, claimed = right.grad(right.params), buggy.grad(buggy.params)
    changed = {
        (name, index)
        for name in exact
        for index in np.ndindex(exact[name].shape)
        if abs(exact[name][index] - claimed[name][index]) > 1e-4 * abs(exact[name]).max()
    }
    assert {(entry.leaf, entry.index) for entry in check(bug).wrong} == changed


def test_one_entry_by_its_path():
    assert [entry.path for entry in check("one-entry").wrong] == ["W1[2, 1]"]


def test_every_network_is_the_same():
    first, second = iris_network(), iris_network()
    assert first.cost(first.params) == second.cost(second.params)
    assert all((first.params[name] == second.params[name]).all() for name in first.params)
