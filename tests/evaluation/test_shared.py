"""One evaluation of a vector-valued `f` serves its outputs, and inner products with all of them."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import same

from fastgrad._evaluation import shared as module
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.direction import Region, Uniform
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Single, Steps
from fastgrad._evaluation.shared import Cotangent, Output, Shared
from fastgrad._tree import flatten
from fastgrad._workers.evaluator import evaluator

pytestmark = pytest.mark.usefixtures("backend")

A = np.random.default_rng(0).normal(size=(6, 5))
U = np.array([0.5, -1.0, 0.0, 2.0, 0.0, 0.25])
EACH = np.arange(5, dtype=np.intp)


def f(x):
    return np.sin(A @ x)


@pytest.fixture
def run():
    x = np.linspace(0.1, 0.9, 5)
    with evaluator(f, x, flatten(x), vector=True) as run:
        yield run


def number_of(run, u=U):
    """The inner product as an evaluator, and the same function by itself."""
    by = Cotangent.of(u)
    x = run.leaves[0].array.copy()
    alone = evaluator(lambda x: float(by(f(x))), x, flatten(x))
    return Output(Shared(run), by), alone


def limits_of(x):
    return bounds_of((x - 0.3, x + 0.1), x, flatten(x))


def everywhere(turn=0):
    return Uniform(0, turn, (Region(0, (slice(0, 5),), (5,)),), (1.0,))


def test_an_inner_product_is_evaluated_like_a_function_of_its_own(run):
    output, alone = number_of(run)
    single = Single(0, EACH, Steps(relative=0.1), (1, -1, 2))
    along = Along(everywhere(), (0.25, -0.5))
    claims = [np.arange(5.0)]
    assert output.outputs is None
    with alone:
        assert output.base() == alone.base()
        for found, right in (
            (output.single(single), alone.single(single)),
            (output.single(single), alone.single(single)),
        ):
            assert same(found.moved, right.moved)
            assert same(found.values, right.values)
        assert output.along(along, claims) == alone.along(along, claims)
        assert output.along(along).values == alone.along(along).values
        with (
            output.displaced(everywhere(1), 0.5) as there,
            alone.displaced(everywhere(1), 0.5) as b,
        ):
            assert there.along(along, claims) == b.along(along, claims)
            assert same(there.single(single).values, b.single(single).values)


def test_what_one_has_asked_is_not_evaluated_for_another(run):
    shared = Shared(run)
    first, second = (Output(shared, Cotangent.of(u)) for u in (U, U + 1))
    claims = [np.arange(5.0)]
    for output in (first, second):
        output.base(), output.base()
        output.along(Along(everywhere(), (0.25, -0.5)), claims)
        output.single(Single(0, EACH, Steps(relative=0.1)))
        assert run.evaluations == 2 + 2 + 10
    # Claims are those of the moves of all times, whatever of them was known.
    found = second.along(Along(everywhere(), (-0.5, 2.0)), claims)
    assert run.evaluations == 15
    assert found.claimed == run.claimed(Along(everywhere(), (-0.5, 2.0)), claims).claimed
    assert found.norm == run.claimed(Along(everywhere(), (-0.5,)), claims).norm


def test_within_bounds_requests_are_kept_as_a_whole():
    x = np.linspace(0.1, 0.9, 5)
    right, claims = [], [np.arange(5.0)]
    requests = [Along(everywhere(), times) for times in ((0.5, -0.5), (0.5, 1.0), (0.5,))]
    for request in requests:  # each alone
        with evaluator(f, x, flatten(x), vector=True, bounds=limits_of(x)) as run:
            right.append(run.along(request, claims))
    with evaluator(f, x, flatten(x), vector=True, bounds=limits_of(x)) as run:
        output = Output(Shared(run, whole=True), Cotangent.of(U))
        for _ in range(2):
            for request, each in zip(requests, right, strict=True):
                found = output.along(request, claims)
                assert found.values == tuple(Cotangent.of(U)(value) for value in each.values)
                assert (found.claimed, found.norm) == (each.claimed, each.norm)
        assert run.evaluations == 5
        still = Along(everywhere(2), (0.0, 0.0, 1.0), still=float(U @ f(x)))
        assert len(output.along(still).values) == 2


def test_what_was_evaluated_before_is_known(run):
    shared, request = Shared(run), Along(everywhere(), (0.25, -0.25))
    shared.know(f(run.leaves[0].array), request, run.along(request).values)
    output = Output(shared, 3)
    assert output.base() == f(run.leaves[0].array)[3]
    output.along(request)
    assert run.evaluations == 2


def test_the_last_look_is_after_all_others(run):
    shared = Shared(run)
    first, second = (Metered(Output(shared, Cotangent.of(u))) for u in (U, U + 1))
    first.base(), first.base(), second.base(), second.base()
    assert run.evaluations == 2
    second.last()
    assert run.evaluations == 2
    first.along(Along(everywhere(), (0.25,)))
    second.last()
    assert run.evaluations == 4
    first.last()
    assert run.evaluations == 4


def test_two_values_alike_end_a_request(run):
    output, _ = number_of(run, np.array([0.0, 0, 0, 0, 0, 1]))
    nowhere = Uniform(0, 0, (Region(0, (slice(0, 5),), (5,)),), (0.0,))
    base = output.base()
    assert output.along(Along(nowhere, (1.0, 2.0, 3.0), still=base)).values == (base, base)
    assert len(output.along(Along(nowhere, (1.0, 2.0, 3.0), still=base + 1)).values) == 3


def test_other_outputs_may_be_no_numbers():
    x = np.ones(3)

    def g(x):
        return np.array([x.sum(), np.nan, np.inf])

    with evaluator(g, x, flatten(x), vector=True) as run:
        output = Output(Shared(run), Cotangent.of(np.array([2.0, 0.0, 0.0])))
        assert output.base() == 6.0
        assert np.isfinite(output.single(Single(0, EACH[:3], Steps(0.5))).values).all()


def test_many_vectors_are_asked_for_in_pieces(run, monkeypatch):
    whole, _ = number_of(run)
    pieces, _ = number_of(run)
    request = Single(0, EACH, Steps(relative=0.1))
    whole.base(), pieces.base()
    right = whole.single(request)
    asked = []
    original = Shared.single
    monkeypatch.setattr(module, "_PIECE", 30)  # two entries, of which each is two vectors of six
    monkeypatch.setattr(
        Shared, "single", lambda self, r, by: asked.append(r.count) or original(self, r, by)
    )
    found = pieces.single(request)
    assert asked == [2, 2, 1]
    assert same(found.moved, right.moved)
    assert same(found.values, right.values)
