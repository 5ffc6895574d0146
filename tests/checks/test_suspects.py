"""Entries that are judged one by one while a search goes on, and what becomes of their claims."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from strategies import one_backend

from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.moves import LeafClaim
from fastgrad._checks.suspects import Suspects
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._tree import flatten

pytestmark = [pytest.mark.usefixtures("backend"), one_backend]
EPS = float(np.finfo(float).eps)
X = np.linspace(-2, 2, 60)


def cubes(x):
    return float((x**3).sum())


@pytest.fixture
def suspects_of():
    """Makes suspects, with their runs and claims."""
    with contextlib.ExitStack() as stack:

        def make(claimed, f=cubes):
            x = X.copy()
            run = stack.enter_context(Metered(local(f, x, Guard(flatten(x)))))
            base = run.base()
            model = ErrorModel(base, 1e-15 * max(abs(base), 1), EPS / 2, 1e-5, EPS, EPS)
            claim = LeafClaim(run, 0, np.array(claimed, float), model)
            return Suspects(claim), claim

        yield make


def test_repair_puts_numeric_values_in_place_and_finish_the_claims(suspects_of):
    claimed = 3 * X**2
    claimed[[3, 44]] += 0.5
    suspects, claim = suspects_of(claimed)
    assert suspects.judge(np.array([3, 4, 44])).tolist() == [True, False, True]
    assert suspects.wrong.tolist() == [3, 44]
    suspects.repair()
    np.testing.assert_allclose(claim.analytic, 3 * X**2, atol=1e-8)
    suspects.finish()
    assert np.array_equal(claim.analytic, claimed)


def test_entries_are_judged_once(suspects_of):
    suspects, claim = suspects_of(3 * X**2)
    suspects.judge(np.array([5, 6]))
    before = claim.run.evaluations
    suspects.judge(np.array([6, 5]))
    assert claim.run.evaluations == before
    assert suspects.judged.tolist() == [5, 6]


def test_examples_cost_two_evaluations_where_they_are_clear_and_say_the_same(suspects_of):
    claimed = 3 * X**2
    claimed[:30] *= 2
    claimed[31] += 1e-9  # doubtful at first sight, and right
    entries = np.array([0, 7, 20, 31, 40])
    quick, claim = suspects_of(claimed)
    before = claim.run.evaluations
    found = quick.judge(entries, examples=True)
    cost = claim.run.evaluations - before
    thorough, _ = suspects_of(claimed)
    assert found.tolist() == thorough.judge(entries).tolist() == [True] * 3 + [False] * 2
    assert cost <= 2 * len(entries) + 30
    np.testing.assert_allclose(quick.table.numeric, thorough.table.numeric, atol=1e-7)


def test_a_kink_is_no_clear_example(suspects_of):
    claimed = np.sign(X)
    claimed[30] = 0.9  # between both sides
    suspects, claim = suspects_of(claimed, lambda x: float(np.abs(x - X[30]).sum()))
    claim.analytic[:] = np.sign(X - X[30])
    claim.analytic[30] = 0.9
    assert not suspects.judge(np.array([30]), examples=True).any()


def test_claims_that_are_not_finite_and_not_settled_are_counted(suspects_of):
    claimed = 3 * X**2
    claimed[:10] = np.inf
    suspects, claim = suspects_of(claimed)
    suspects.leave_out(np.arange(10))
    assert suspects.unsettled == 10
    assert np.isfinite(claim.analytic).all()
    suspects.judge(np.array([0, 1, 50]))
    assert suspects.wrong.tolist() == [0, 1]
    assert suspects.unsettled == 8
    suspects.finish()
    assert np.array_equal(claim.analytic, claimed)
