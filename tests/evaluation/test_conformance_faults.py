"""Whatever `f` does at whichever point: it is named, and every evaluator puts everything back."""

from __future__ import annotations

import numpy as np
import pytest
from evaluators import (
    ALL,
    BATCHED,
    NATIVE,
    PYTHON,
    WORKERS,
    Built,
    is_one_of,
    native_vector_of,
)
from oracle import (
    Disturbed,
    Freeze,
    Oracle,
    Raise,
    Resize,
    Return,
    Writes,
    fingerprint,
    weigh,
    weigh_rows,
)
from strategies import same

import fastgrad as fg
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.local import local
from fastgrad._evaluation.protocol import (
    Along,
    Displaced,
    Gradient,
    Grouped,
    OutOfBudget,
    Single,
    Steps,
    Target,
)
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


def params_for(name):
    """Native ones take one array."""
    array = np.array([1.0, -2.0, 0.5, 3.0])
    return array if is_one_of(name, NATIVE) else {"a": array, "s": np.array(2.0)}


_REGION = Region(0, (slice(1, 3),), (4,))
_DIRECTION = Given((_REGION,), (np.array([0.25, -0.5]),))
REQUESTS = {
    "single": Single(0, np.array([2, 0], np.intp), Steps(0.125)),
    "grouped": Grouped(0, np.array([1, 0, 2], np.intp), np.array([0, 2, 3]), Steps(0.25)),
    "along": Along(_DIRECTION, (1.0, -1.0)),
    "gradient": Gradient(0, 1, 3, fg.central(order=4), Steps(0.125)),
}
asked = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def points_of(name, request):
    """The points at which a request evaluates `f`."""
    oracle = Oracle(weigh, params_for(name))
    getattr(oracle, type(request).__name__.lower())(request)
    return oracle.points


def refused(name, f, request, pools, kind, **options):
    """The exception that a run ends with; the parameters are at rest again."""
    built = Built(name, f, params_for(name), pools, **options)
    with pytest.raises(kind) as caught:
        _run(built.evaluator, request)
    return built, caught


def _run(context, request):
    with context as evaluator:
        evaluator.base()
        request.run(evaluator)


# ---------------------------------------------------------------- exceptions


@pytest.mark.parametrize("name", ALL)
@asked
def test_exceptions(name, request_, pools):
    for point in points_of(name, request_):
        native = is_one_of(name, NATIVE)  # whatever it raises becomes an error code
        for kind in (ValueError, KeyboardInterrupt)[native:]:
            expected = fg.ObjectiveError if native else kind
            f = Disturbed(weigh, point, Raise(kind))
            built, _ = refused(name, f, request_, pools, expected)
            built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
def test_exceptions_at_displaced_parameters(name, pools):
    request = REQUESTS["single"]
    oracle = Oracle(weigh, params_for(name))
    there = oracle.moved(oracle.path(_DIRECTION, 2.0))
    there.single(request)
    for point in there.points:
        kind = fg.ObjectiveError if is_one_of(name, NATIVE) else KeyboardInterrupt
        f = Disturbed(weigh, point, Raise(KeyboardInterrupt))
        built = Built(name, f, params_for(name), pools)
        with (
            pytest.raises(kind),
            built.evaluator as evaluator,
            evaluator.displaced(_DIRECTION, 2.0) as displaced,
        ):
            displaced.single(request)
        built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
def test_exceptions_beside_displacements(name, pools):
    requests = [Displaced(_DIRECTION, time, REQUESTS["single"]) for time in (2.0, -1.0)]
    oracle = Oracle(weigh, params_for(name))
    for request in requests:
        there = oracle.moved(oracle.path(_DIRECTION, request.time))
        there.single(request.request)
        for point in there.points:
            kind = fg.ObjectiveError if is_one_of(name, NATIVE) else ValueError
            f = Disturbed(weigh, point, Raise(ValueError))
            built = Built(name, f, params_for(name), pools)
            with pytest.raises(kind), built.evaluator as evaluator:
                evaluator.beside(requests)
            built.assert_left_alone()


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("metered")])
def test_nothing_is_made_beside_displacements_beyond_the_budget(name, pools):
    requests = [Displaced(_DIRECTION, time, REQUESTS["single"]) for time in (2.0, -1.0)]
    total = sum(request.evaluations for request in requests)
    for spare in (0, 1):  # the last evaluation is kept
        built = Built(name, weigh, params_for(name), pools, budget=total + spare)
        with built.evaluator as evaluator:
            if spare:
                evaluator.beside(requests)
            with pytest.raises(OutOfBudget):
                evaluator.beside(requests)
        built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
def test_exceptions_of_the_caller(name, pools):
    built = Built(name, weigh, params_for(name), pools)
    with (
        pytest.raises(ZeroDivisionError),
        built.evaluator as evaluator,
        evaluator.displaced(_DIRECTION, 2.0),
    ):
        raise ZeroDivisionError
    built.assert_left_alone()


# ---------------------------------------------------------------- values that are none


@pytest.mark.parametrize("name", [*PYTHON, *BATCHED, *WORKERS])
@asked
@pytest.mark.parametrize("value", [None, "text", np.ones(2)], ids=["None", "text", "two"])
def test_no_number(name, request_, value, pools):
    named = r"`f` returned .* at .*(`?\['a'\]|point)"
    for point in points_of(name, request_):
        f = Disturbed(weigh, point, Return(value))
        built, caught = refused(name, f, request_, pools, fg.FastgradError)
        assert caught.match(named.replace(r"\['a'\]", flatten(built.params)[0].path[:6]))
        built.assert_left_alone()


@pytest.mark.parametrize("name", [*PYTHON, *BATCHED, *WORKERS])
def test_no_number_at_the_parameters(name, pools):
    for value in (None, "text", np.ones(2)):
        built, caught = refused(name, Return(value), REQUESTS["single"], pools, fg.FastgradError)
        assert caught.match("`f` returned .* at the unperturbed parameters")
        built.assert_left_alone()


# ---------------------------------------------------------------- vectors


@pytest.mark.parametrize("name", ALL)
def test_vectors(name, pools):
    oracle = Oracle(weigh_rows, params_for(name))
    built = Built(name, weigh_rows, params_for(name), pools, vector=True)
    with built.evaluator as evaluator:
        assert same(evaluator.base(), oracle.base())
        assert evaluator.outputs.size == 3
        for kind in ("single", "grouped"):
            found = getattr(evaluator, kind)(REQUESTS[kind])
            moved, values = getattr(oracle, kind)(REQUESTS[kind])
            assert same(found.moved, moved)
            assert same(found.values, values)
        found = evaluator.along(REQUESTS["along"])
        assert same(found.values, oracle.along(REQUESTS["along"])[0])
        none = evaluator.single(REQUESTS["single"].part(0, 0))
        assert none.values.shape == (0, 2, 3)
    built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("stencil", [fg.central(4), fg.forward(2)], ids=repr)
def test_derivatives_of_vectors(name, stencil, pools):
    built = Built(name, weigh_rows, params_for(name), pools, vector=True)
    target = Target(np.full((3, 3), 7.0), 1)
    with built.evaluator as evaluator:
        request = Gradient(0, 1, 4, stencil, Steps(0.125), evaluator.base())
        for part in (request.part(0, 1), request.part(1, 3)):
            evaluator.gradient((part,), (target,))
        assert same(request.run(evaluator).values, target.array)
    for k in range(3):
        oracle = Oracle(lambda params, k=k: float(weigh_rows(params)[k]), params_for(name))
        own = Gradient(0, 1, 4, stencil, Steps(0.125), oracle.base())
        assert same(target.array[:, k], oracle.gradient(own))
    built.assert_left_alone()


VECTORS = {kind: REQUESTS[kind] for kind in ("single", "grouped", "along")}
VECTORS["gradient"] = Gradient(0, 1, 3, fg.central(order=4), Steps(0.125), None)
vectors = pytest.mark.parametrize("request_", VECTORS.values(), ids=VECTORS)


@pytest.mark.parametrize("name", [*PYTHON, *BATCHED, *WORKERS])
@vectors
def test_vectors_that_change_their_shape(name, request_, pools):
    for point in points_of(name, request_):
        f = Disturbed(weigh_rows, point, Return(np.ones(4)))
        kinds = (fg.FastgradError, ValueError)  # the latter where rows are stacked
        built, _ = refused(name, f, request_, pools, kinds, vector=True)
        built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
@vectors
def test_exceptions_of_vectors(name, request_, pools):
    native = is_one_of(name, NATIVE)  # whatever it raises becomes an error code
    kind = ValueError if native or is_one_of(name, BATCHED) else KeyboardInterrupt
    for point in points_of(name, request_):
        f = Disturbed(weigh_rows, point, Raise(kind))
        expected = fg.ObjectiveError if native else kind
        built, _ = refused(name, f, request_, pools, expected, vector=True)
        built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "request_", [REQUESTS["single"], REQUESTS["along"]], ids=["single", "along"]
)
def test_exceptions_of_lenient_vectors_count_as_nan(name, request_, pools):
    for number, point in enumerate(points_of(name, request_)):
        f = Disturbed(weigh_rows, point, Raise(ValueError))
        built = Built(name, f, params_for(name), pools, vector=True, lenient=True)
        with built.evaluator as evaluator:
            evaluator.base()
            values = np.asarray(request_.run(evaluator).values).reshape(-1, 3)
            assert evaluator.raised
        nan = np.isnan(values)
        assert nan[number].all()
        assert nan.sum() == 3
        built.assert_left_alone()


def test_a_native_one_of_many_values_is_no_scalar(pools):
    with pytest.raises(fg.InputTypeError, match="this native one has `outputs` = 3"):
        local(native_vector_of(weigh_rows, 3), np.ones(2), Guard(flatten(np.ones(2))))


# ---------------------------------------------------------------- writes


@pytest.mark.parametrize("name", ALL)
@asked
@pytest.mark.parametrize(("leaf", "entry"), [(0, 1), (-1, 0)])
def test_writes(name, request_, leaf, entry, pools):
    built, caught = refused(name, Writes(leaf, entry), request_, pools, fg.MutationError)
    assert caught.match("`f` wrote into its input")
    built.assert_left_alone()


@pytest.mark.parametrize("name", [*PYTHON, *WORKERS])
@asked
@pytest.mark.parametrize("disturbance", [Resize(), Freeze()], ids=["resize", "freeze"])
def test_memory_that_is_given_away(name, request_, disturbance, pools):
    for point in points_of(name, request_):
        f = Disturbed(weigh, point, disturbance)
        built, caught = refused(name, f, request_, pools, fg.MutationError)
        assert caught.match("`f` resized, retyped, froze or moved the memory of `.*a")
        built.assert_over()
        if isinstance(disturbance, Freeze):
            built.assert_left_alone()


@pytest.mark.parametrize("name", [*PYTHON, *WORKERS])
def test_memory_is_not_read_when_it_is_gone(name, pools):
    f = Disturbed(weigh, fingerprint(params_for(name)), Resize())
    for ask in ("read", "scale"):
        built = Built(name, f, params_for(name), pools)
        with pytest.raises(fg.MutationError), built.evaluator as evaluator:
            _ask_afterwards(evaluator, ask)
        built.assert_over()


def _ask_afterwards(evaluator, ask):
    evaluator.base()
    with pytest.raises(fg.MutationError):
        getattr(evaluator, ask)(0)


# ---------------------------------------------------------------- budgets


@pytest.mark.parametrize("name", [name for name in ALL if name.startswith("metered")])
@asked
def test_nothing_is_made_beyond_the_budget(name, request_, pools):
    built = Built(name, weigh, params_for(name), pools, budget=request_.evaluations)
    with built.evaluator as evaluator:
        with pytest.raises(OutOfBudget):  # the last evaluation is kept
            request_.run(evaluator)
        assert built.evaluator.evaluations == 0
    built = Built(name, weigh, params_for(name), pools, budget=request_.evaluations + 1)
    with built.evaluator as evaluator:
        request_.run(evaluator)
        with pytest.raises(OutOfBudget):
            evaluator.base()
    built.assert_left_alone()
