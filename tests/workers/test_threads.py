"""Native work shared among threads: the same bits, the first error, nothing left behind."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
from clibrary import callback
from hypothesis import given
from hypothesis import strategies as st
from strategies import STENCILS, bits, quick, same, stencils

import fastgrad as fg
from fastgrad._workers.threads import _Shares


@given(st.integers(0, 300), st.integers(1, 9), stencils)
@quick(60)
def test_any_number_of_threads_gives_the_same_bits(library, n, workers, stencil):
    f = fg.native(library.cubes)
    x = np.random.default_rng(n).normal(size=n)
    alone = fg.gradient(f, x, method=stencil)
    assert same(fg.gradient(f, x, method=stencil, workers=workers), alone)


@pytest.mark.parametrize("workers", [1, 2, 3, np.int64(2), 64])
def test_how_many(workers, library, backend):
    f = fg.native(library.cubes)
    x = np.linspace(1, 2, 50)
    for eps in (None, 1e-3, np.full(50, 1e-2)):
        out = np.empty(50, "f4")
        got = fg.gradient(f, x, eps=eps, workers=workers, out=out).copy()
        assert same(got, fg.gradient(f, x, eps=eps, out=out))


@pytest.mark.parametrize("workers", [0, -2, np.int64(0)])
def test_at_least_one(workers, library, backend):
    with pytest.raises(fg.InputValueError, match=f"`workers` must be at least 1, .* got {workers}"):
        fg.gradient(fg.native(library.cubes), np.ones(2), workers=workers)


@pytest.mark.parametrize("workers", [2.0, True, "2", [2]])
def test_a_whole_number(workers, library, backend):
    with pytest.raises(fg.InputTypeError, match="`workers` must be the number of threads"):
        fg.check_gradient(fg.native(library.cubes), np.ones(2), np.ones(2), workers=workers)


def test_the_threads_end_with_the_run(library, backend):
    before = set(threading.enumerate())  # among them others' that are about to end
    fg.gradient(fg.native(library.cubes), np.ones(20), workers=5)
    assert set(threading.enumerate()) <= before


def test_the_caller_s_array_is_not_moved(backend):
    """Each thread has its own copy; only the caller's own evaluations see the array itself."""
    x = np.ones(100)
    places = set()

    def f(n, at, user):
        places.add(ctypes.addressof(at.contents))
        return at[0]

    fg.gradient(fg.native(callback(f)), x, workers=3)
    assert x.ctypes.data not in places
    assert 1 <= len(places) <= 3


@given(st.lists(st.floats(0, 1), min_size=1, max_size=200), st.floats(0, 1), st.integers(2, 6))
@quick(60)
def test_the_first_error_in_the_order_of_the_entries(library, numbers, limit, workers):
    """Whichever thread meets one first."""
    f = fg.native(library.checked, user_data=np.array([max(limit, *numbers)]))
    x = np.array(numbers)
    before = bits(x)
    first = np.flatnonzero(x + 1e-5 > max(limit, *numbers))
    if len(first):
        with pytest.raises(fg.ObjectiveError) as caught:
            fg.gradient(f, x, eps=1e-5, workers=workers)
        assert caught.value.where == f"params[{first[0]}]"
    else:
        assert same(fg.gradient(f, x, eps=1e-5, workers=workers), fg.gradient(f, x, eps=1e-5))
    assert bits(x) == before


# ---------------------------------------------------------------------------- handing out shares


def test_shares_cover_everything_once():
    shares = _Shares(1000, 4)
    taken, size = [], 1
    while share := shares._take(size):
        taken.append(share)
        size = 3 * size + 1
    assert [share[0] for share in taken] == [0, *(share[1] for share in taken[:-1])]
    assert taken[-1][1] == 1000
    assert max(stop - start for start, stop in taken) <= 125


def test_no_more_after_an_error_and_the_first_counts():
    shares, done = _Shares(100, 1), []

    def run(start, stop):
        done.append(start)
        if start >= 5:
            raise ValueError(start)

    shares.work(run)
    with pytest.raises(ValueError, match=f"^{done[-1]}$"):
        shares.raise_first()
    assert shares._take(1) is None
    assert done[-2] < 5 <= done[-1]


def test_every_stencil_in_threads(library, backend):
    f = fg.native(library.checked_wide)
    x = np.linspace(-2, 2, 30).reshape(5, 6)
    for stencil in STENCILS:
        got = fg.gradient(f, x, method=stencil, workers=2)
        assert same(got, fg.gradient(lambda x: f(x), x, method=stencil))
