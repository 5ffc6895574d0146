"""Exceptions of `f` at moved points count as NaN, for every evaluator; and what is said of them."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, combinations

import numpy as np
import pytest
from evaluators import ALL, BATCHED, NATIVE, PYTHON, WORKERS, Built, among, is_one_of
from oracle import Disturbed, Oracle, Raise, Return, Warns, fingerprint, weigh, weigh_rows
from sendable import guarded, guarded_gradient
from strategies import same

import fastgrad as fg
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.lenient import is_quiet, quiet
from fastgrad._evaluation.protocol import Along, Grouped, Single, Steps

pytestmark = pytest.mark.usefixtures("backend")


def params_for(name):
    """Native ones take one array."""
    array = np.array([1.0, -2.0, 0.5, 3.0])
    return array if is_one_of(name, NATIVE) else {"a": array, "s": np.array(2.0)}


_REGION = Region(0, (slice(1, 3),), (4,))
_DIRECTION = Given((_REGION,), (np.array([0.25, -0.5]),))
REQUESTS = {
    "single": Single(0, np.array([2, 0], np.intp), Steps(0.125)),
    # As for a curve: one entry, many steps.
    "steps": Single(0, np.array([1, 1, 1], np.intp), Steps(given=np.array([0.5, 0.25, 0.125]))),
    "grouped": Grouped(0, np.array([1, 0, 2], np.intp), np.array([0, 2, 3]), Steps(0.25)),
    "along": Along(_DIRECTION, (1.0, -1.0, 2.0)),
}
asked = pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)


def answers(evaluator, request):
    found = request.run(evaluator)
    return found.values, () if isinstance(request, Along) else found.moved


def expected(name, f, request):
    oracle = Oracle(f, params_for(name))
    found = getattr(oracle, type(request).__name__.lower())(request)
    values, moved = (found[0], ()) if isinstance(request, Along) else (found[1], found[0])
    return oracle.points, values, moved


def disturbed(points, disturbance, f=weigh):
    for point in points:
        f = Disturbed(f, point, disturbance)
    return f


def subsets(points):
    return chain.from_iterable(combinations(points, k) for k in (1, 2, len(points)))


@pytest.mark.parametrize("name", ALL)
@asked
def test_nan_where_f_raises_and_nowhere_else(name, request_, pools):
    points, _, _ = expected(name, weigh, request_)
    for chosen in subsets(points):
        wanted = expected(name, disturbed(chosen, Return(np.nan)), request_)
        f = disturbed(chosen, Raise(ArithmeticError))
        built = Built(name, f, params_for(name), pools, lenient=True)
        with built.evaluator as evaluator:
            assert evaluator.base() == weigh(params_for(name))
            assert not evaluator.raised
            values, moved = answers(evaluator, request_)
            assert same(np.array(values), np.array(wanted[1]))
            assert same(moved, wanted[2])
            said = "the error code 7" if is_one_of(name, NATIVE) else "ArithmeticError: on purpose"
            assert evaluator.raised == said
        built.assert_left_alone()


@pytest.mark.parametrize("name", among((*PYTHON, *BATCHED)))
@asked
def test_vectors_of_nan(name, request_, pools):
    points, _, _ = expected(name, weigh_rows, request_)
    f = disturbed(points[1:2], Raise(ValueError), weigh_rows)
    wanted = expected(
        name, disturbed(points[1:2], Return(np.full(3, np.nan)), weigh_rows), request_
    )
    with Built(name, f, params_for(name), pools, vector=True, lenient=True).evaluator as evaluator:
        evaluator.base()
        assert same(np.array(answers(evaluator, request_)[0]), np.array(wanted[1]))


@pytest.mark.parametrize("name", ALL)
def test_at_the_parameters_exceptions_are_raised(name, pools):
    f = Disturbed(weigh, fingerprint(params_for(name)), Raise(ZeroDivisionError))
    kind = fg.ObjectiveError if is_one_of(name, NATIVE) else ZeroDivisionError
    built = Built(name, f, params_for(name), pools, lenient=True)
    with pytest.raises(kind), built.evaluator as evaluator:
        evaluator.base()
    built.assert_left_alone()


@pytest.mark.parametrize("name", ALL)
def test_displaced_parameters_are_a_moved_point(name, pools):
    with (
        Built(name, weigh, params_for(name), pools, lenient=True).evaluator as evaluator,
        evaluator.displaced(_DIRECTION, 2.0) as there,
    ):
        assert there.base() != weigh(params_for(name))

    oracle = Oracle(weigh, params_for(name))
    away = oracle.moved(oracle.path(_DIRECTION, 2.0))
    f = Disturbed(weigh, fingerprint(away.params), Raise(ValueError))
    built = Built(name, f, params_for(name), pools, lenient=True)
    with built.evaluator as evaluator:
        evaluator.base()  # where a batched `f` is tested
        with evaluator.displaced(_DIRECTION, 2.0) as there:
            assert np.isnan(there.base())
    built.assert_left_alone()


@pytest.mark.parametrize("name", among((*PYTHON, *BATCHED, *WORKERS)))
@asked
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, fg.MutationError])
def test_what_is_not_about_a_point_is_raised(name, request_, kind, pools):
    points, _, _ = expected(name, weigh, request_)
    f = disturbed(points[-1:], Raise(kind))
    built = Built(name, f, params_for(name), pools, lenient=True)
    with pytest.raises(kind), built.evaluator as evaluator:
        request_.run(evaluator)
    built.assert_left_alone()


@pytest.mark.parametrize("name", among((*PYTHON, *BATCHED, *WORKERS)))
@asked
def test_no_number_is_refused(name, request_, pools):
    points, _, _ = expected(name, weigh, request_)
    f = disturbed(points[-1:], Return(None))
    built = Built(name, f, params_for(name), pools, lenient=True)
    with pytest.raises(fg.InputTypeError), built.evaluator as evaluator:
        request_.run(evaluator)


@pytest.mark.parametrize("name", among(("native", "threads", "in place")))
@asked
def test_every_call_is_counted(name, request_, pools):
    points, _, _ = expected(name, weigh, request_)
    for chosen in subsets(points):
        calls = []
        inner = disturbed(chosen, Raise(ValueError))

        def counted(params, calls=calls, inner=inner):
            calls.append(1)
            return inner(params)

        with Built(name, counted, params_for(name), pools, lenient=True).evaluator as evaluator:
            answers(evaluator, request_)
            assert evaluator.evaluations == len(calls)


# ---------------------------------------------------------------- warnings


# Processes have filters of their own.
@pytest.mark.parametrize("name", among((*PYTHON, *BATCHED, "executor", "map")))
@asked
def test_warnings_are_exceptions_where_the_user_says_so(name, request_, pools):
    params = params_for(name)
    built = Built(name, Warns(fingerprint(params)), params, pools, lenient=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with built.evaluator as evaluator:
            values, _ = answers(evaluator, request_)
    assert np.isnan(values).all()


@pytest.mark.parametrize("name", among((*PYTHON, *BATCHED, *WORKERS)))
@asked
def test_quiet_is_quiet(name, request_, pools, capfd):
    params = params_for(name)
    built = Built(name, Warns(fingerprint(params)), params, pools, lenient=True)
    with warnings.catch_warnings(record=True) as found, quiet(), built.evaluator as evaluator:
        values, _ = answers(evaluator, request_)
    assert same(np.array(values), np.array(expected(name, weigh, request_)[1]))
    assert not found
    assert not capfd.readouterr().err


def test_quiet_inside_of_quiet_ends_with_the_outer_one():
    filters = warnings.filters[:]
    with quiet():
        with quiet():
            warnings.warn("unheard", UserWarning, stacklevel=1)
            np.log(-np.ones(1))
        assert is_quiet()
        warnings.warn("unheard", UserWarning, stacklevel=1)
        np.log(-np.ones(1))
    assert not is_quiet()
    assert warnings.filters == filters
    with pytest.warns(RuntimeWarning, match="log"):
        np.log(-np.ones(1))


def test_quiet_ends_with_its_context():
    with pytest.raises(ZeroDivisionError), quiet():
        raise ZeroDivisionError
    with pytest.warns(UserWarning, match="heard"):
        warnings.warn("heard", UserWarning, stacklevel=1)
    with pytest.warns(RuntimeWarning, match="log"):
        np.log(-np.ones(1))


# ---------------------------------------------------------------- in a check


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
@pytest.mark.parametrize("workers", [None, 2, "threads"])
def test_a_check_at_the_edge_of_the_domain(strategy, workers):
    for at in ([0.5, 0.25, 0.75], [1e-9, 0.5, 1 - 1e-9]):
        x = np.array(at)
        bits = x.tobytes()
        with ThreadPoolExecutor(2) as executor:
            pool = executor if workers == "threads" else workers
            for factor in (1.0, 1.5):
                report = fg.check_gradient(
                    guarded, factor * guarded_gradient(x), x, strategy=strategy, workers=pool
                )
                assert report.verdict is not (fg.Verdict.WRONG, fg.Verdict.RIGHT)[factor > 1]
        assert x.tobytes() == bits


def test_gradient_raises_as_ever():
    x = np.array([0.5, 0.0, 0.5])
    with pytest.raises(ValueError, match="outside") as caught:
        fg.gradient(guarded, x)
    assert "params[1]" in "".join(getattr(caught.value, "__notes__", ["params[1]"]))
