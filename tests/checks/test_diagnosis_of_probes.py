"""Causes that a few entries of a large leaf give away."""

from __future__ import annotations

import numpy as np
import pytest

from fastgrad._checks.diagnosis import Judged, box_text, diagnose_probes
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.result import Dense, LeafProbe
from fastgrad._report.causes import Cause
from fastgrad._report.entries import Verdict
from fastgrad._tree import flatten

SHAPE = (12, 30)
BOX = (slice(0, 12), slice(0, 30))


def judged_of(exact, claimed, grid, x=None):
    """A leaf in which the entries of a grid were judged."""
    x = np.random.default_rng(3).normal(size=exact.shape) if x is None else x
    (leaf,) = flatten({"W": x})
    judged = np.ravel_multi_index(np.ix_(*grid), exact.shape).ravel()
    a, d = claimed.ravel()[judged], exact.ravel()[judged]
    wrong = np.abs(a - d) > 1e-9
    table = EntryTable(
        analytic=a,
        numeric=d,
        uncertainty=np.full(len(a), 1e-10),
        gaps=np.zeros(len(a)),
        codes=np.where(wrong, Verdict.WRONG.code, Verdict.RIGHT.code).astype(np.int8),
        kinks=np.zeros(len(a), bool),
        doubts=np.zeros(len(a), np.int8),
        moved=np.ones(len(a), bool),
    )
    return Judged(leaf, claimed.reshape(leaf.real.shape), 2.0**-52, judged, table)


def find_cause(judged, box=None, grid=None, others=()):
    """The cause in the first of some leaves: in a block wrong throughout, or in single entries."""
    dense = () if box is None else (Dense(box, grid),)
    leaves = [judged, *others]
    probes = [LeafProbe(each.entries, each.table, dense) for each in leaves]
    return diagnose_probes(leaves, probes)[0]


def grid():
    return np.array([0, 3, 4, 8, 11]), np.array([1, 2, 17, 20, 29])


def exact():
    return np.random.default_rng(0).normal(size=SHAPE)


def cause(claimed, others=(), box=BOX):
    return find_cause(judged_of(exact(), claimed, grid()), box, grid(), others)


PLACES = {
    "transposed": (lambda d: d.T.reshape(d.shape), Cause.TRANSPOSED, {}),
    "rolled_rows": (lambda d: np.roll(d, -2, 0), Cause.SHIFTED, {"shift": -2}),
    "rolled_columns": (lambda d: np.roll(d, 3, 1), Cause.SHIFTED, {"shift": 3}),
    "reversed": (lambda d: d[:, ::-1], Cause.REVERSED, {}),
}


@pytest.mark.parametrize("name", PLACES)
def test_right_values_elsewhere(name):
    change, kind, evidence = PLACES[name]
    found = cause(np.ascontiguousarray(change(exact())))
    assert (found.kind, found.leaf) == (kind, "W")
    assert found.evidence | evidence == found.evidence


@pytest.mark.parametrize("name", PLACES)
def test_nearly_the_right_values_elsewhere_are_something_else(name):
    change, kind, _ = PLACES[name]
    moved = change(exact()) * np.random.default_rng(1).uniform(0.9, 1.1, SHAPE)
    assert cause(moved).kind is not kind


def test_another_parameter_holds_the_gradient():
    other = judged_of(np.ones(SHAPE), exact(), grid())
    found = cause(np.ones(SHAPE) + exact() ** 2, [other])
    assert (found.kind, found.evidence["with"]) == (Cause.SWAPPED, "W")


def test_patterns_that_need_all_entries_are_not_tried_on_a_few():
    claimed = exact()
    # A slice of the leaf, but nothing of the kind can be said of the grid.
    claimed[3:5] += np.random.default_rng(5).normal(size=(2, 30))
    assert cause(claimed).kind is Cause.UNKNOWN
    assert "10 of 25 entries sampled" in cause(claimed).sentence
    claimed[3:5] = exact()[3:5] + 1.0
    assert (cause(claimed).kind, cause(claimed).evidence["coefficient"]) == (Cause.OFFSET, 1.0)


def test_factor_in_a_part_of_the_leaf():
    box = (slice(0, 12), slice(0, 15))
    places = (grid()[0], np.array([1, 2, 5, 7, 14]))
    claimed = exact()
    claimed[:, :15] *= 4
    found = find_cause(judged_of(exact(), claimed, places), box, places)
    assert (found.kind, found.leaf, found.place) == (Cause.FACTOR, "W", "W[:, 0:15]")
    assert found.evidence["slice"] == ":, 0:15"
    assert found.sentence.startswith("`W[:, 0:15]` is 4 x the numeric gradient")


@pytest.mark.parametrize(("right", "kind"), [(1, Cause.UNKNOWN), (6, Cause.MASKED)])
def test_threshold_that_chance_may_explain_is_not_named(right, kind):
    """One right entry among five has the largest parameter with a probability of 1 / 5."""
    rows, columns = np.arange(5 if right == 1 else 12), np.array([4])
    x = np.linspace(-1, 1, 12 * 30).reshape(12, 30)
    claimed = np.where(np.isin(np.arange(12), rows[-right:])[:, None], exact(), exact() ** 3)
    judged = judged_of(exact(), claimed, (rows, columns), x)
    box = (slice(0, 12), slice(4, 5))
    assert find_cause(judged, box, (rows, columns)).kind is kind


def test_isolated_entries():
    claimed = exact()
    claimed[3, 2] *= 2
    claimed[8, 20] *= 2
    found = find_cause(judged_of(exact(), claimed, grid()))
    assert (found.kind, found.place) == (Cause.FACTOR, "W[3, 2], W[8, 20]")
    assert found.sentence.startswith("`W[3, 2]`, `W[8, 20]`: each is 2 x the numeric gradient")


def test_leaf_judged_as_a_whole_has_all_patterns():
    x = np.array([[0.3, 1.2], [2.0, -1.0]])
    d = np.array([[1.0, 2.0], [3.0, 4.0]])
    judged = judged_of(d, d.T.copy(), (np.arange(2), np.arange(2)), x)
    assert find_cause(judged, None, None, ()).kind is Cause.TRANSPOSED


def test_wrong_throughout_though_no_judged_entry_is():
    found = cause(exact())
    assert found.kind is Cause.UNKNOWN
    assert "in none of the entries that were judged" in found.sentence


def test_text_of_a_block():
    assert box_text((slice(0, 3), slice(4, 5)), (9, 9)) == "[0:3, 4]"
    assert box_text((slice(0, 9), slice(0, 9)), (9, 9)) == ""
    assert box_text((slice(0, 9), slice(2, 9), slice(0, 2)), (9, 9)) == "[:, 2:9]"
