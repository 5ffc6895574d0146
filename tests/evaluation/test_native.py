"""Native objectives: the results of the loop over their Python wrapper, without Python."""

from __future__ import annotations

import copy
import ctypes
import gc
import importlib.util
import math
import pickle
import threading
import warnings
import weakref

import numpy as np
import pytest
from clibrary import SIGNATURES, callback
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    LAYOUTS,
    STENCIL_IDS,
    STENCILS,
    bits,
    lay_out,
    on,
    quick,
    same,
    specials,
    stencils,
    steps,
)

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation.native import check_native

every = pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
BACKENDS = ["pure", *["compiled"] * (importlib.util.find_spec("fastgrad._kernel") is not None)]
KINDS = ["cubes", "cubes_wide", "checked", "checked_wide"]


def exact(x):
    return 3 * np.arange(1, x.size + 1).reshape(x.shape) * x**2


def wrapped(f):
    """The same function as an objective in Python."""
    return lambda x: f(x)


def outcome(f, x, **options):
    """Result or error of a gradient; the parameters are as they were either way."""
    before = bits(x)
    try:
        return fg.gradient(f, x, **options)
    except fg.FastgradError as error:
        return type(error), str(error)
    finally:
        assert bits(x) == before


def agree(a, b):
    return a == b if isinstance(a, tuple) or isinstance(b, tuple) else same(a, b)


# ------------------------------------------------------------------------------- the same bits


@every
@pytest.mark.parametrize("name", KINDS)
def test_every_stencil_and_kind(name, stencil, library, backend):
    f = fg.native(getattr(library, name))
    x = np.random.default_rng(1).normal(size=(4, 5)) * 10
    for eps in (None, 1e-3, np.full(x.shape, 1e-2)):
        for out in (None, np.empty((4, 5)), np.empty((5, 4)).T, np.empty((4, 5), "f4")):
            result = fg.gradient(f, x, method=stencil, eps=eps, out=out)
            assert out is None or result is out
            result = result.copy()
            expected = fg.gradient(wrapped(f), x, method=stencil, eps=eps, out=out)
            assert same(result, expected)
            np.testing.assert_allclose(result, exact(x), rtol=0.2, atol=0.2)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0), (2, 3)])
@pytest.mark.parametrize("method", ["central", "forward"])
def test_any_shape(shape, method, library, backend):
    f = fg.native(library.logs)
    x = np.linspace(1, 2, math.prod(shape)).reshape(shape)[...]
    g = fg.gradient(f, x, method=method)
    assert same(g, fg.gradient(wrapped(f), x, method=method))
    np.testing.assert_allclose(g, 1 / x, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "workers"), [("central", None), ("forward", 3)])
def test_more_entries_than_are_copied(method, workers, library):
    f = fg.native(library.ends)
    x = np.random.default_rng(4).normal(size=(2, 20_000))
    g = fg.gradient(f, x, method=method, workers=workers)
    assert same(g, fg.gradient(wrapped(f), x, method=method))
    expected = np.zeros_like(x)
    expected[0, 0], expected[-1, -1], expected[1, 0] = x[-1, -1], x[0, 0], 1.0
    np.testing.assert_allclose(g, expected, atol=1e-6)


def test_a_list_of_numbers_is_turned_into_an_array(library, backend):
    f = fg.native(library.cubes)
    np.testing.assert_allclose(fg.gradient(f, [1.0, 2.0]), [3.0, 24.0], rtol=1e-9)


finite = st.floats(-1e150, 1e150) | st.sampled_from(specials("f8").tolist())


@given(st.lists(finite, max_size=12), stencils, st.none() | steps | st.floats(1e-300, 1e300))
@quick(300)
@pytest.mark.filterwarnings("ignore::fastgrad.StepWarning")
def test_fuzz_of_values_and_steps(library, numbers, stencil, eps):
    """Zeros, denormals, infinities, NaNs, steps that vanish: as the loop over a Python `f`."""
    f = fg.native(library.cubes)
    x = np.array(numbers)
    expected = outcome(wrapped(f), x, method=stencil, eps=eps)
    for backend in BACKENDS:
        got = on(backend, lambda: outcome(f, x, method=stencil, eps=eps))
        assert agree(got, expected)


@given(st.data())
@quick(200)
def test_fuzz_of_codes_threads_and_layouts(library, data):
    n = data.draw(st.integers(0, 30))
    x = np.array(data.draw(st.lists(st.floats(-3, 3), min_size=n, max_size=n)))
    limit = np.array([data.draw(st.floats(-3, 4))])
    name = data.draw(st.sampled_from(["checked", "checked_wide"]))
    layout = data.draw(st.sampled_from(LAYOUTS))
    workers = data.draw(st.none() | st.integers(1, 5))
    method = data.draw(stencils)
    f = fg.native(getattr(library, name), user_data=limit)
    array = lay_out(x, layout)
    fits = array.dtype.isnative and array.flags.aligned and array.flags.c_contiguous
    got = outcome(f, array, method=method, workers=workers)
    if not fits:
        assert got[0] in (fg.InputTypeError, fg.InputValueError)
        return
    assert agree(got, outcome(wrapped(f), array, method=method))


# ------------------------------------------------------------------------------- what is refused

REFUSED = [
    ({"w": np.ones(3)}, fg.InputTypeError, "got a dict .put nested parameters into one vector"),
    ([np.ones(3), np.ones(2)], fg.InputTypeError, "got a list"),
    (np.ones(3, "f4"), fg.InputTypeError, r"got float32 \(`params`.astype\(float\)\)"),
    (np.ones(3, ">f8"), fg.InputTypeError, "got >f8"),
    (np.ones(3, complex), fg.InputTypeError, "got complex128"),
    (np.ones((4, 4))[:, 1], fg.InputValueError, r"strides \(32,\) \(np.ascontiguousarray"),
    (np.ones((4, 3)).T, fg.InputValueError, "must be contiguous"),
    (lay_out(np.ones(3), "unaligned"), fg.InputValueError, "must be contiguous"),
]


@pytest.mark.parametrize(("params", "error", "said"), REFUSED)
def test_other_parameters_are_refused_before_any_evaluation(params, error, said, backend):
    calls = []
    f = fg.native(callback(lambda n, x, user: calls.append(n) or 0.0))
    for run in (fg.gradient, lambda f, x: fg.check_gradient(f, x, x)):
        with pytest.raises(error, match=said) as caught:
            run(f, params)
        assert "`params` must be" in str(caught.value)
    with pytest.raises(error, match=said.replace("params", "x")):
        f(params)
    assert not calls


def test_no_parameters_are_refused_as_for_any_objective(backend):
    calls = []
    f = fg.native(callback(lambda n, x, user: calls.append(n) or 0.0))
    for run in (fg.gradient, lambda f, x: fg.check_gradient(f, x, x)):
        with pytest.raises(fg.InputTypeError, match=r"^`params` is None, not an array"):
            run(f, None)
    with pytest.raises(fg.InputTypeError, match=r"`x` must be one float64 array.*got a NoneType"):
        f(None)
    assert not calls


def test_integers_are_refused_before_any_evaluation(backend):
    calls, x = [], np.ones(3, int)
    f = fg.native(callback(lambda n, x, user: calls.append(n) or 0.0))
    for run in (fg.gradient, lambda f, x: fg.check_gradient(f, x, x)):
        with pytest.raises(fg.InputTypeError, match="`params` has dtype int64, which cannot hold"):
            run(f, x)
    with pytest.raises(fg.InputTypeError, match=r"`x` must be float64, .* got int64"):
        f(x)
    assert not calls


def test_read_only_parameters_are_refused_as_ever(library, backend):
    x = np.ones(3)
    x.flags.writeable = False
    with pytest.raises(fg.InputValueError, match="`params` is read-only"):
        fg.gradient(fg.native(library.cubes), x)


def test_more_entries_than_an_int_can_count():
    """Without the memory that they would take: a view of one entry, which comes after that."""
    narrow = fg.native(callback(lambda n, x, user: 0.0))
    wide = fg.native(callback(lambda n, x, user: 0.0, "double (intptr_t, double *, void *)"))
    many = np.empty((0, 2**31))
    check_native(narrow, many, "params")

    class Many(np.ndarray):
        size = 2**31

    with pytest.raises(fg.InputValueError, match="let `f` take an intptr_t"):
        check_native(narrow, many.view(Many), "params")
    check_native(wide, many.view(Many), "params")


def test_derivative_names_the_array_that_is_needed(library, backend):
    with pytest.raises(fg.InputTypeError, match="`x` must be one float64 array"):
        fg.derivative(fg.native(library.cubes), 1.0)


# --------------------------------------------------------------------------- what `f` says and does


def test_nan_is_a_value(library, backend):
    f = fg.native(library.logs)
    x = np.array([1.0, 1e-9, 2.0])
    g = fg.gradient(f, x, eps=6e-6)
    assert np.isnan(g).tolist() == [False, True, False]
    assert same(g, fg.gradient(wrapped(f), x, eps=6e-6))
    # Steps of its own are looked at again.
    g = fg.gradient(f, x)
    np.testing.assert_allclose(g, 1 / x, rtol=1e-8)
    assert same(g, fg.gradient(wrapped(f), x))
    verdict = fg.check_gradient(f, 1 / x, x).verdict
    assert verdict is fg.check_gradient(wrapped(f), 1 / x, x).verdict
    assert fg.check_gradient(f, x, -x).verdict is fg.Verdict.CANNOT_TELL


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("method", ["central", "forward", fg.central(order=4)])
@pytest.mark.parametrize("name", ["checked", "checked_wide"])
def test_an_error_code_is_reported_with_the_entry(name, method, workers, library, backend):
    f = fg.native(getattr(library, name), user_data=np.array([2.0]))
    x = np.array([[1.0, 1.5], [2.0 - 1e-12, 1.0]])
    before = bits(x)
    with pytest.raises(fg.ObjectiveError) as caught:
        fg.gradient(f, x, method=method, workers=workers)
    assert (caught.value.code, caught.value.where) == (7, "params[1, 0]")
    said = "`f` returned the error code 7 while `params[1, 0]` was moved (its value was put back)"
    assert str(caught.value) == said
    assert bits(x) == before


def test_an_error_code_at_the_unperturbed_parameters(library, backend):
    f = fg.native(library.checked, user_data=np.array([0.5]))
    for run in (
        lambda: f(np.ones(2)),
        lambda: fg.gradient(f, np.ones(2), method="forward"),
        lambda: fg.check_gradient(f, np.ones(2), np.ones(2)),
    ):
        with pytest.raises(fg.ObjectiveError, match=r"^`f` returned the error code 7$"):
            run()


def test_an_objective_error_survives_pickling():
    error = fg.ObjectiveError(3, "w[1]")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.where, str(again)) == (
        fg.ObjectiveError,
        3,
        "w[1]",
        str(error),
    )


def test_a_value_that_was_not_written_is_nan(library, backend):
    assert np.isnan(fg.gradient(fg.native(library.silent), np.ones(2))).all()


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("method", ["central", fg.central(order=4)])
@pytest.mark.parametrize("which", [0, 1, 2])
def test_an_f_that_writes_is_found_out_and_undone(which, method, workers, library, backend):
    """Into the entry that is moved (1, the one above 9), or into one before or after it."""
    f = fg.native(library.writes, user_data=ctypes.c_int(which))
    x = np.array([1.0, 9.0, 2.0])
    before = bits(x)
    with pytest.raises(fg.MutationError, match=rf"`params\[{which}\]` is not what it was"):
        fg.gradient(f, x, method=method, workers=workers)
    assert bits(x) == before


def called_back(signature, act):
    """A function of one value in this signature, of which each call does this to its input."""
    returned, *types = SIGNATURES[signature]
    prototype = ctypes.CFUNCTYPE(returned, *types, ctypes.c_void_p)

    def call(n, x, *rest):
        act(x)
        if returned is ctypes.c_double:
            return x[0] + x[1]
        rest[0][0] = x[0] + x[1]
        return 0

    return fg.native(prototype(call))


@pytest.mark.parametrize("value", [7.0, -0.0, math.nan, 0.5000000000000001])
@pytest.mark.parametrize("when", [1, 2, 3, 4])
@pytest.mark.parametrize("signature", list(SIGNATURES)[:4])
def test_a_write_at_every_evaluation(signature, when, value, backend):
    """Also of the other zero and of the next number: bits are compared, of each call."""
    if backend == "pure" and not value:
        value = 5e-324  # the twin compares numbers
    x, seen = np.array([0.25, 0.25]), []
    before = bits(x)

    def act(at):
        seen.append(at[0] + at[1])
        if len(seen) == when:
            at[(when - 1) // 2] = value

    with pytest.raises(fg.MutationError, match=rf"`params\[{(when - 1) // 2}\]` is not what"):
        fg.gradient(called_back(signature, act), x, eps=0.25)  # from 0.5 to 0.0
    assert seen == [0.75, 0.25, 0.75, 0.25][:when]
    assert bits(x) == before


@pytest.mark.parametrize("eps", [None, 1e-3, 1e-20])
@pytest.mark.parametrize("name", KINDS)
def test_where_entries_stop_being_ordinary(name, eps, library):
    """Up to 1 steps are as long, and beyond 1e300, or with none left, the loop gives way."""
    f = fg.native(getattr(library, name))
    edges = [0.0, 1.0, 1e300, 4.5e3, 2.0**-1022, math.inf, math.nan, np.finfo(float).max]
    with np.errstate(over="ignore"):
        x = np.concatenate([np.nextafter(edges, to) for to in (edges, 0.0, math.inf)])
    for entry in [*x, *-x]:
        alone = np.array([entry, 0.75])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", fg.StepWarning)
            expected = outcome(wrapped(f), alone, eps=eps)
            for backend in BACKENDS:
                assert agree(on(backend, lambda: outcome(f, alone, eps=eps)), expected)  # noqa: B023


def test_a_large_array_that_f_writes_into(library):
    """Beyond what is copied, the first evaluations are looked at, and the sum in the end."""
    x = np.ones(40_000)
    x[0] = 9.0
    f = fg.native(library.writes, user_data=ctypes.c_int(7))
    before = bits(x)
    with pytest.raises(fg.MutationError, match=r"`params\[7\]` .*put back"):
        fg.gradient(f, x)
    assert bits(x) == before


@pytest.mark.parametrize("n", [3, 40_000])
def test_an_array_that_is_frozen_meanwhile_is_noticed(n, backend):
    x = np.ones(n)

    def freeze(n, at, user):
        x.flags.writeable = False
        return 1.0

    with pytest.raises(fg.MutationError, match="resized, retyped, froze or moved"):
        fg.gradient(fg.native(callback(freeze)), x)
    assert (x == 1.0).all()


def test_a_step_that_vanishes(library, backend):
    f = fg.native(library.cubes)
    x = np.array([1.0, 1e9, 1.0])
    for workers in (None, 2):
        got = outcome(f, x, eps=1e-9, workers=workers)
        assert got == outcome(wrapped(f), x, eps=1e-9)
        assert got[0] is fg.InputValueError
        assert "`params[1]`" in got[1]


# ------------------------------------------------------------------------------------ checking


def test_check_gradient_judges_as_through_the_wrapper(library, backend):
    f = fg.native(library.cubes)
    x = np.random.default_rng(2).normal(size=(3, 4))
    wrong = exact(x)
    wrong[1, 2] *= 1.01
    for claimed in (exact(x), wrong, exact, 2 * x):
        for workers in (None, 3):
            report = fg.check_gradient(f, claimed, x, workers=workers)
            expected = fg.check_gradient(wrapped(f), claimed, x)
            assert report.verdict is expected.verdict
            assert report.evaluations == expected.evaluations
            assert same(report.entries.numeric, expected.entries.numeric)
            assert [e.path for e in report.wrong] == [e.path for e in expected.wrong]


def test_a_pair_is_more_than_a_native_function_returns(library, backend):
    with pytest.raises(fg.InputTypeError, match=r"must return the pair"):
        fg.check_gradient(fg.native(library.cubes), True, np.ones(2))


# ------------------------------------------------------------------------- what it is and keeps


def test_owners_live_as_long_as_the_objective():
    class Data(np.ndarray):
        """Of which there can be weak references."""

    data = np.array([2.0]).view(Data)
    function = callback(lambda n, x, user: x[0])
    there = weakref.ref(data), weakref.ref(function)
    f = fg.native(function, user_data=data)
    del data, function
    gc.collect()
    assert all(ref() is not None for ref in there)
    assert fg.gradient(f, np.ones(1)) == pytest.approx([1.0])
    del f
    gc.collect()
    assert all(ref() is None for ref in there)


def test_it_says_what_it_is(library):
    f = fg.native(library.cubes)
    assert type(f) is fg.Native
    assert repr(f).startswith("<fastgrad.native double (int, double *, void *) at 0x")


@pytest.mark.parametrize("attempt", [pickle.dumps, copy.copy, copy.deepcopy])
def test_it_cannot_leave_its_process(attempt, library):
    with pytest.raises(fg.InputTypeError, match="address means nothing in another process"):
        attempt(fg.native(library.cubes))


def test_a_callback_into_python_may_differentiate_itself(backend):
    """It takes the GIL that the loop has let go of."""
    inner = fg.native(callback(lambda n, x, user: x[0] ** 2))

    def outer(n, x, user):
        return float(fg.gradient(inner, np.array([x[0]]))[0])

    assert fg.gradient(fg.native(callback(outer)), np.array([3.0]))[0] == pytest.approx(
        2.0, rel=1e-4
    )


def test_the_same_memory_in_two_threads_is_refused(library, backend):
    x, refused = np.ones(3), []
    flags = np.zeros(2, np.int64)
    f = fg.native(library.waits, user_data=flags)
    run = threading.Thread(target=fg.gradient, args=(f, x))
    run.start()
    while not flags[0]:
        pass
    try:
        fg.gradient(fg.native(library.cubes), x)
    except fg.ConcurrencyError as error:
        refused.append(error)
    flags[1] = 1
    run.join()
    assert refused
    assert not _memory.locks
