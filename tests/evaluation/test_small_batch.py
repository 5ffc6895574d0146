"""The gradient by one small array in two calls of a batched `f`: as in batches of any size."""

from __future__ import annotations

import threading
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import bits, quick, same, stencils, weigh

import fastgrad as fg
from fastgrad import _backend, _memory
from fastgrad._evaluation import local

pytestmark = pytest.mark.usefixtures("backend")


def rows(f):
    return fg.batched(lambda X: [f(row) for row in X])


def both_ways(f, x, **options):
    """The gradient in two calls, and with those switched off."""
    short = fg.gradient(fg.batched(f), x, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "small_batch", lambda *_: None)
        return short, fg.gradient(fg.batched(f), x, **options)


def taken(f, x, **options):
    """Whether the gradient was had in two calls."""
    answers = []
    with pytest.MonkeyPatch.context() as patch:
        real = _backend.kernel.small_batch

        def noted(*how):
            answers.append(real(*how))
            return answers[-1]

        patch.setattr(_backend.kernel, "small_batch", noted)
        found = fg.gradient(fg.batched(f), x, **options)
    return found, [answer is not None for answer in answers]


ordinary = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(st.lists(ordinary, min_size=1, max_size=7), st.sampled_from("fd"), stencils)
@quick(150)
def test_the_same_bits(values, dtype, stencil):
    x = np.array(values, dtype)
    before = bits(x)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", fg.StepWarning)
        short, long = both_ways(lambda X: [weigh(row) for row in X], x, method=stencil)
    assert same(short, long)
    assert bits(x) == before


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (3, 1, 2)])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("method", ["central", "forward", "backward", fg.central(order=4)])
def test_any_shape(shape, dtype, method):
    x = np.linspace(1.0, 2.0, int(np.prod(shape))).reshape(shape).astype(dtype)

    def f(X):
        assert X.shape[1:] == shape
        assert (X.dtype, X.flags.c_contiguous, X.flags.writeable) == (x.dtype, True, True)
        assert not np.shares_memory(X, x)
        return (X.reshape(len(X), -1).astype(float) ** 3).sum(axis=1)

    found, ways = taken(f, x, method=method)
    rows = x.size * {"central": 2, "forward": 1, "backward": 1}.get(method, 4)
    assert ways == [True] * (rows > 2)  # fewer rows take no other one in
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    np.testing.assert_allclose(found, 3 * x**2, rtol=5e-3 if dtype == "f4" else 1e-6)


@pytest.mark.parametrize(
    "f",
    [
        lambda X: X.sum(axis=1).astype("f4"),
        lambda X: X.sum(axis=1).tolist(),
        lambda X: X.sum(axis=1).astype(">f8"),
        lambda X: np.repeat(X.sum(axis=1), 2)[::2],
        lambda X: X[:, 0],
    ],
)
def test_any_numbers(f):
    x = np.linspace(1.0, 2.0, 5)
    found, ways = taken(f, x)
    assert ways == [True]
    assert same(found, both_ways(f, x)[1])


def test_small_and_large_entries_are_looked_at_again():
    x = np.array([1e-9, 3.0, 1e9])

    def f(X):
        return np.sin(1e9 * X[:, 0]) + X[:, 1] ** 2 + np.sqrt(X[:, 2])

    short, long = both_ways(f, x)
    np.testing.assert_allclose(short, [1e9 * np.cos(1.0), 6.0, 0.5 / np.sqrt(1e9)], rtol=1e-6)
    np.testing.assert_allclose(long, short, rtol=1e-9)


def test_what_is_looked_at_again_is_neither_tested_nor_evaluated_again():
    sizes = []

    def f(X):
        sizes.append(len(X))
        return (X**3).sum(axis=1)

    objective = fg.batched(f)
    np.testing.assert_allclose(fg.gradient(objective, np.array([1e-4, 2.0])), [3e-8, 12], atol=1e-8)
    assert sizes == [3, 5, 2]
    assert not objective.tested
    assert "tested=" not in repr(objective)


@pytest.mark.parametrize("method", ["central", "forward"])
def test_a_value_that_is_known_is_used(method):
    x = np.array([1.0, 2.0, 3.0])
    short, long = both_ways(lambda X: (X**2).sum(axis=1), x, method=method, f0=14.5)
    assert same(short, long)
    shift = 0.5 / 1.5e-8 if method == "forward" else 0.0  # a wrong value shows
    np.testing.assert_allclose(short, 2 * x - shift / np.maximum(x, 1), rtol=0.1)


@pytest.mark.parametrize(
    "x", [np.array([np.inf, 1.0]), np.array([np.nan, 1.0]), np.array([1e308, -1e308])]
)
def test_parameters_that_are_no_numbers(x):
    def f(X):
        with np.errstate(all="ignore"):
            return X.sum(axis=1)

    found = []
    for way in both_ways, lambda f, x: [fg.gradient(rows(lambda row: float(f(row[None])[0])), x)]:
        try:
            found += way(f, x)
        except fg.FastgradError as error:
            found.append(str(error))
    assert len({str(each) for each in found}) == 1


def test_a_constant_is_told():
    with pytest.warns(fg.FastgradWarning, match="the gradient is zero"):
        fg.gradient(fg.batched(lambda X: np.ones(len(X))), np.ones(5))


# ---------------------------------------------------------------- what goes another way


def not_taken(x=None, **options):
    x = np.linspace(1.0, 2.0, 6) if x is None else x
    plain = fg.batched(lambda X: (X**2).reshape(len(X), -1).sum(axis=1), memory=2**22)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_backend.kernel, "small_batch", lambda *_: pytest.fail("taken"))
        return fg.gradient(plain, x, **options)


def test_what_is_not_small_or_not_automatic_goes_the_usual_way():
    for x in (np.ones(3, "f2"), np.ones(3, "g"), np.ones(6)[::2], np.ones((2, 2), order="F")):
        not_taken(x)
    not_taken(np.ones(3, ">f8"))
    not_taken(np.ones(600))  # more rows than a batch may have
    for options in ({"eps": 1e-5}, {"rel_eps": 1e-5}, {"bounds": (0, 3)}, {"workers": 1}):
        not_taken(**options)
    not_taken(out=np.empty(6))
    not_taken(where=np.arange(6) > 2)


def test_an_f_that_does_not_like_the_rows_beside():
    def f(X):
        if (X < 0.999).any():
            raise ValueError("outside")
        return np.sqrt(X - 0.99).sum(axis=1)

    found, ways = taken(f, np.ones(3))
    assert ways == [False]
    np.testing.assert_allclose(found, 5, rtol=1e-5)


def test_floating_point_errors_beside_are_silent_and_others_are_not():
    f = fg.batched(lambda X: np.sqrt(X - 0.95).sum(axis=1))
    np.testing.assert_allclose(fg.gradient(f, np.ones(3)), 0.5 / np.sqrt(0.05), rtol=1e-6)
    with pytest.warns(RuntimeWarning, match="invalid value"):
        fg.gradient(f, np.array([0.95, 1.0, 2.0]))


def test_rounding_between_batches_is_no_influence_and_noise_is_another_s_to_find():
    matrix = np.random.default_rng(0).normal(size=(30, 7)).astype("f4")
    assert taken(lambda X: np.abs(X.astype("f4") @ matrix).sum(axis=1), np.ones(30))[1] == [True]
    rng = np.random.default_rng(1)
    noisy = taken(lambda X: X.sum(axis=1) + rng.normal(size=len(X)), np.ones(3))
    assert noisy[1] == [False]


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit, fg.MutationError])
@pytest.mark.parametrize("when", [1, 2])
@pytest.mark.parametrize("method", ["central", "forward"])
def test_a_fault_at_every_call(kind, when, method):
    x, calls = np.array([-0.0, 5e-324, 0.1, 1 / 3, -7.7]), []
    before = bits(x)

    def f(X):
        calls.append(1)
        if len(calls) == when:
            raise kind("mine")
        return (X**2).sum(axis=1)

    if when == 1 and issubclass(kind, Exception):  # among others: it need not like them
        fg.gradient(fg.batched(f), x, method=method)
    else:
        with pytest.raises(kind, match="mine") as caught:
            fg.gradient(fg.batched(f), x, method=method)
        assert len(calls) == when
        if kind is LookupError and hasattr(caught.value, "__notes__"):
            assert caught.value.__notes__ == [
                "while fastgrad evaluated a batch, the rows that move `params[0]` to `params[4]`"
            ]
    assert bits(x) == before
    assert not _memory.locks


def differentiated(change, x, when):
    """Differentiate by parameters that `f` changes in one of its two calls."""
    calls = []

    def f(X):
        calls.append(1)
        if len(calls) == when:
            change(x)
        return X.sum(axis=1)

    fg.gradient(fg.batched(f), x)


@pytest.mark.parametrize("when", [1, 2])
def test_writes_into_the_parameters_are_undone(when):
    x = np.ones(4)
    with pytest.raises(fg.MutationError, match=r"`params\[2\]` is not what it was"):
        differentiated(lambda x: x.__setitem__(2, 5.0), x, when)
    assert (x == 1).all()


@pytest.mark.parametrize("when", [1, 2])
def test_parameters_that_f_resizes(when):
    with pytest.raises(fg.MutationError, match="resized"):
        differentiated(lambda x: x.resize(2000, refcheck=False), np.ones(4), when)
    assert not _memory.locks


@pytest.mark.parametrize("size", [0, 1, 5000])
@pytest.mark.parametrize("when", [1, 2])
def test_rows_that_f_resizes_are_no_crash(size, when):
    calls = []

    def f(X):
        calls.append(1)
        values = X.sum(axis=1)
        if len(calls) == when:
            X.resize(size, refcheck=False)
        return values

    np.testing.assert_allclose(fg.gradient(fg.batched(f), np.ones(4)), 1.0)


def test_another_thread_is_refused():
    x, entered, leave, said = np.ones(4), threading.Event(), threading.Event(), []

    def waits(X):
        entered.set()
        leave.wait(60)
        return X.sum(axis=1)

    thread = threading.Thread(target=lambda: fg.gradient(fg.batched(waits), x))
    thread.start()
    entered.wait(60)
    try:
        fg.gradient(fg.batched(lambda X: X.sum(axis=1)), x)
    except fg.ConcurrencyError as error:
        said.append(error)
    finally:
        leave.set()
        thread.join()
    assert said
    assert not _memory.locks
