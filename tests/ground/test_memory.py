"""Who may touch the memory: threads, forks, runs inside runs; and the bookkeeping of bits."""

from __future__ import annotations

import os
import sys
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import arrays, lay_out, quick, run_python

import fastgrad as fg
from fastgrad import _backend, _memory

pytestmark = pytest.mark.usefixtures("backend")


def square(x):
    return float((x**2).sum())


@pytest.fixture(autouse=True)
def no_claim_outlives_its_run():
    yield
    assert not _memory.locks


# ---------------------------------------------------------------- runs inside runs


def test_a_gradient_inside_f_gives_second_derivatives():
    x = np.array([1.0, 2.0])
    hessian = [
        fg.gradient(lambda x, i=i: fg.gradient(lambda x: float(x[0] ** 2 * x[1]), x)[i], x)
        for i in range(2)
    ]
    np.testing.assert_allclose(hessian, [[4.0, 2.0], [2.0, 0.0]], atol=1e-3)
    np.testing.assert_array_equal(x, [1.0, 2.0])


def test_runs_inside_runs_on_nested_parameters():
    params = {"a": np.array([2.0]), "b": np.array([3.0], np.longdouble)}
    inner = lambda p: float(p["a"][0] ** 3 * p["b"][0])  # noqa: E731
    outer = fg.gradient(lambda p: float(fg.gradient(inner, p)["a"][0]), params)
    np.testing.assert_allclose(float(outer["a"][0]), 36.0, rtol=1e-4)
    np.testing.assert_allclose(float(outer["b"][0]), 12.0, rtol=1e-4)
    assert params["a"][0] == 2.0


def test_endless_recursion_is_a_recursion_error_not_a_crash(backend):
    done = run_python(
        """
        import sys, numpy as np, fastgrad as fg
        from fastgrad import _backend
        from fastgrad import _memory
        _backend.use(sys.argv[1])
        for x in (np.ones(3), np.ones(4)[::2]):
            def f(a): return fg.gradient(f, a).sum()
            try: fg.gradient(f, x)
            except RecursionError: print((x == 1).all(), _memory.locks)
        """,
        backend,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True {}\nTrue {}\n"


# ---------------------------------------------------------------- threads


def overlapping(x, other, nest=lambda x: x):
    """Run on `x`; from inside, in another thread, on `other`. Return what both came to."""
    outcome = []

    def intruder():
        try:
            outcome.append(fg.gradient(square, other))
        except fg.ConcurrencyError as error:
            outcome.append(error)

    def f(_):
        if not outcome:
            thread = threading.Thread(target=intruder)
            thread.start()
            thread.join()
        return square(x)

    return fg.gradient(f, nest(x)), outcome[0]


@pytest.mark.parametrize("nest", [lambda x: x, lambda x: [x]], ids=["small", "nested"])
@pytest.mark.parametrize("part", [slice(None), slice(1, 3), slice(None, None, -1), slice(5, 6)])
def test_a_second_thread_on_the_same_memory_is_refused(nest, part):
    x = np.arange(6.0)
    mine, theirs = overlapping(x, x[part], nest)
    assert isinstance(theirs, fg.ConcurrencyError)
    assert "these parameters are being perturbed by another thread right now" in str(theirs)
    assert "give each thread its own copy" in str(theirs)
    np.testing.assert_allclose(np.squeeze(mine), 2 * np.arange(6.0), atol=1e-7)
    np.testing.assert_array_equal(x, np.arange(6.0))
    np.testing.assert_allclose(fg.gradient(square, x), 2 * np.arange(6.0), atol=1e-7)


@pytest.mark.parametrize("nest", [lambda x: x, lambda x: [x]], ids=["small", "nested"])
def test_another_array_is_another_matter(nest):
    whole = np.arange(12.0)
    mine, theirs = overlapping(whole[:6], whole[6:], nest)
    np.testing.assert_allclose(np.squeeze(mine), 2 * whole[:6], atol=1e-7)
    np.testing.assert_allclose(theirs, 2 * whole[6:], atol=1e-6)


def test_many_threads_on_arrays_of_their_own():
    starts = [np.arange(20.0) + i for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        gradients = list(pool.map(lambda x: [fg.gradient(square, x) for _ in range(5)], starts))
    for x, runs in zip(starts, gradients, strict=True):
        for g in runs:
            np.testing.assert_allclose(g, 2 * x, atol=1e-5)


RUNS = {
    "small": lambda x: fg.gradient(square, x),
    "with steps": lambda x: fg.gradient(square, x, eps=1e-6),
    "nested": lambda x: fg.gradient(lambda p: square(p[0]), [x])[0],
    "one-sided": lambda x: fg.gradient(square, x, method=fg.forward(2)),
    "batched": lambda x: fg.gradient(fg.batched(lambda rows: (rows**2).sum(axis=1)), x),
    "check": lambda x: fg.check_gradient(square, lambda x: 2 * x, x).entries.analytic,
}


@pytest.fixture
def eager_threads():
    """The interpreter changes threads wherever it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.usefixtures("eager_threads")
def test_of_many_threads_on_one_array_none_sees_the_moves_of_another(run):
    """Each either gets the right gradient or is refused, and the array comes back."""
    x = np.arange(10.0)

    def attempt(_):
        try:
            return RUNS[run](x)
        except fg.ConcurrencyError:
            return "refused"

    with ThreadPoolExecutor(4) as pool:
        results = [g for g in pool.map(attempt, range(400)) if not isinstance(g, str)]
    assert results
    for g in results:
        np.testing.assert_allclose(g, 2 * np.arange(10.0), atol=1e-5)
    np.testing.assert_array_equal(x, np.arange(10.0))


def test_the_later_claim_gives_way_whichever_key_was_drawn_first():
    x = np.ones(3)
    early, late = _memory.next_key(), _memory.next_key()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(_memory.lock, late, (x,)).result()
    with pytest.raises(fg.ConcurrencyError):
        _memory.lock(early, (x,))
    assert list(_memory.locks) == [late]
    _memory.unlock(late)


@pytest.mark.parametrize("nest", [lambda x: x, lambda x: {"x": x}], ids=["small", "nested"])
@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, fg.FastgradError])
def test_claims_are_released_after_any_outcome(nest, error):
    def f(_):
        assert len(_memory.locks) == 1
        raise error

    x = np.ones(2)
    with pytest.raises(error):
        fg.gradient(f, nest(x))
    with pytest.raises(fg.InputValueError):
        fg.gradient(lambda _: 1.0, nest(x), eps=1e-30)
    with ThreadPoolExecutor(1) as pool:
        np.testing.assert_allclose(pool.submit(fg.gradient, square, x).result(), 2.0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_fork_inside_f(backend):
    """The child may finish its run, and is not refused because of threads it does not have."""
    done = run_python(
        """
        import os, sys, threading, numpy as np, fastgrad as fg
        from fastgrad import _backend
        from fastgrad import _memory
        _backend.use(sys.argv[1])
        x, children = np.arange(3.0), []

        def f(x):
            if not children:
                children.append(os.fork())
                if not children[0]:
                    inside = []
                    thread = threading.Thread(target=lambda: inside.append(fg.gradient(np.sum, x)))
                    thread.start()
                    thread.join()
                    assert inside[0].shape == (3,)
            return float((x**2).sum())

        g = fg.gradient(f, x)
        assert abs(g - 2 * np.arange(3.0)).max() < 1e-6 and (x == np.arange(3.0)).all()
        assert not _memory.locks
        if not children[0]:
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
        print("done")
        """,
        backend,
    )
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


# ---------------------------------------------------------------- the parts


GRID = np.arange(24.0).reshape(4, 6)
LAYOUTS = {
    "plain": GRID,
    "transposed": GRID.T,
    "backward": GRID[::-1, ::-2],
    "both ways": GRID[1:, ::-1],
    "strided": GRID[::2, 1::3],
    "repeated": np.broadcast_to(GRID[0], (3, 6)),
    "one entry": GRID[2:3, 3:4],
    "0-d": GRID[2, 3, ...],
    "short": GRID.astype("f4")[:, ::-1],
    "complex": GRID.astype(complex)[::-1],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_bounds_of_memory_are_those_of_numpy(name):
    byte_bounds = getattr(np.lib, "array_utils", np).byte_bounds
    assert _backend.kernel.bounds(LAYOUTS[name]) == byte_bounds(LAYOUTS[name])


def test_an_empty_array_has_no_bytes():
    low, high = _backend.kernel.bounds(np.empty((3, 0)))
    assert low == high


@given(arrays().filter(lambda pair: pair[0].size), st.data())
@quick(80)
def test_first_difference_and_checksum(pair, data):
    x, y = lay_out(*pair), lay_out(*pair)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert _memory.first_difference(x, y) is None
        assert _backend.kernel.checksum(x) == _backend.kernel.checksum(y)
        entry = data.draw(st.integers(0, x.size - 1))
        where = np.unravel_index(entry, x.shape)
        y[where] = 12.5 if x[where] != 12.5 else 13.5
        assert _memory.first_difference(x, y) == tuple(map(int, where))
        assert _backend.kernel.checksum(x) != _backend.kernel.checksum(y)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 31, 32, 33, 1000])
def test_checksum_sees_signs_places_and_single_bits(size):
    x = np.arange(1.0, size + 1)
    changed = [-x, x[::-1].copy(), np.roll(x, 4), np.where(np.arange(size) % 4, x, -x), x + 0.5]
    bits = x.copy()
    bits.view(np.uint8)[-1] ^= 0x80
    changed += [bits, *(x[:k] for k in range(1, min(size, 9)))]
    sums = [_backend.kernel.checksum(each) for each in [x, *changed]]
    different = {each.tobytes() for each in [x, *changed]}
    assert len(set(sums)) == len(different)


def _reshape(x):
    x.shape = (x.size,)


def _restride(x):
    x.strides = (8, 16)


def _retype(x):
    x.dtype = x.dtype.newbyteorder()


def _freeze(x):
    x.flags.writeable = False


def _grow(x):
    (x if x.base is None else x.base).resize(1000, refcheck=False)


@pytest.mark.parametrize("change", [_reshape, _restride, _retype, _freeze, _grow])
@pytest.mark.parametrize("of_a_view", [False, True])
def test_a_fingerprint_sees_what_became_of_an_array(change, of_a_view):
    x = np.ones(20)[2:18].reshape(4, 4) if of_a_view else np.ones((4, 4))
    found = _backend.kernel.Fingerprint(x)
    x[2] = np.inf
    assert not found.changed()
    assert found.alive()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of setting a shape
        change(x)
    assert found.changed()
    assert found.alive() == (change is not _grow)
    assert found.view.shape == (4, 4)
    assert found.array is x


# NumPy 1 keeps it in its main name space.
BYTE_BOUNDS = np.byte_bounds if hasattr(np, "byte_bounds") else np.lib.array_utils.byte_bounds


@given(arrays())
@quick(80)
def test_bounds_are_those_of_numpy(pair):
    x = lay_out(*pair)
    low, high = _memory.bounds(x)
    assert (low, high) == BYTE_BOUNDS(x) if x.size else low == high
