"""What the user may pass as `workers`, and what is refused."""

from __future__ import annotations

import os
import sys
import threading
import types
from concurrent import futures

import numpy as np
import pytest
import sendable
from strategies import PATIENCE

import fastgrad as fg
from fastgrad._workers.pools import pool_of
from fastgrad._workers.processes import Lost, Processes


@pytest.mark.parametrize("workers", [True, 2.0, "2", [2], np.True_, futures.ThreadPoolExecutor])
def test_the_wrong_kind(workers):
    for call in (fg.gradient, lambda f, x, **how: fg.check_gradient(f, 3 * x**2, x, **how)):
        with pytest.raises(fg.InputTypeError, match=r"`workers` must be None.*pool\.map; got"):
            call(sendable.cubes, np.ones(3), workers=workers)


@pytest.mark.parametrize("workers", [0, -2, np.int64(0)])
def test_the_wrong_number(workers):
    with pytest.raises(fg.InputValueError, match=r"`workers` must be at least 1, or -1.*; got"):
        fg.gradient(sendable.cubes, np.ones(3), workers=workers)


@pytest.mark.parametrize("client", [None, "Client", print, type("Client", (), {})])
def test_a_module_of_the_users_own_named_like_dasks(client, monkeypatch):
    module = types.ModuleType("distributed")
    if client is not None:
        module.Client = client
    monkeypatch.setitem(sys.modules, "distributed", module)
    with futures.ThreadPoolExecutor(1) as pool:
        for workers in (1, pool, map):
            slope = fg.gradient(sendable.cubes, np.array([1.0, 2.0]), workers=workers)
            np.testing.assert_allclose(slope, [3.0, 12.0])


def test_numbers():
    assert pool_of(None) is pool_of(1) is None
    assert pool_of(np.int32(3))().size == 3
    cores = os.cpu_count()
    everything = pool_of(-1)
    assert everything is None if cores == 1 else everything().size == cores
    assert isinstance(pool_of(2)(), Processes)


def test_executors_tell_their_size_or_are_given_one():
    class Bare(futures.Executor):
        pass

    with futures.ThreadPoolExecutor(3) as pool:
        assert pool_of(pool)().size == 3
    assert pool_of(Bare())().size > 0


def test_no_more_tasks_are_out_than_keep_an_executor_busy():
    with futures.ThreadPoolExecutor(1) as pool:
        hands = pool_of(pool)()
        assert hands.has_room()
        for number in range(2):
            hands.submit(number, ("unknown", None, fg.backend, None))
        assert not hands.has_room()
        assert sorted([hands.next(), hands.next()]) == [(0, None), (1, None)]


class Keeping(futures.ThreadPoolExecutor):
    """Remembers the futures it gave out."""

    def submit(self, *args):
        self.kept = [*getattr(self, "kept", ()), super().submit(*args)]
        return self.kept[-1]


def test_what_is_queued_is_cancelled_and_what_runs_is_not():
    started, ended = threading.Event(), threading.Event()
    with Keeping(1) as pool:
        pool.submit(lambda: started.set() or ended.wait(PATIENCE))
        started.wait(PATIENCE)
        hands = pool_of(pool)()
        hands.submit(0, ("unknown", None, fg.backend, None))
        hands.close()
        ended.set()
    assert [future.cancelled() for future in pool.kept] == [False, True]


def test_an_executor_that_was_shut_down():
    pool = futures.ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(fg.InputValueError, match="takes no work: cannot schedule"):
        fg.gradient(sendable.cubes, np.ones(3), workers=pool)


def test_an_executor_that_was_broken_before():
    with futures.ThreadPoolExecutor(1, initializer=divmod, initargs=(1, 0)) as pool:
        hands = pool_of(pool)()
        for number in range(2):  # the first may be accepted, the second is not
            hands.submit(number, ("unknown", None, fg.backend, None))
            assert isinstance(hands.next()[1], Lost)


class Strange(futures.Executor):
    def submit(self, function, /, *args, **kwargs):
        future = futures.Future()
        future.set_exception(OSError("no network"))
        return future


def test_an_executor_that_fails_by_itself():
    with pytest.raises(fg.WorkerError, match=r"could not run a task: OSError\('no network'\)"):
        fg.gradient(sendable.cubes, np.ones(3), workers=Strange())


@pytest.mark.parametrize(
    "strange", [lambda f, items: None, lambda f, items: [], lambda f, items: [1, 2, 3] * 9]
)
def test_functions_that_are_no_map(strange):
    with pytest.raises(fg.InputTypeError, match=r"as map\(function, iterable\) does.*; got"):
        fg.gradient(sendable.cubes, np.ones(3), workers=strange)


def test_what_map_raises_passes_through():
    def strange(f, items):
        raise OSError("no network")

    with pytest.raises(OSError, match="no network"):
        fg.gradient(sendable.cubes, np.ones(3), workers=strange)


@pytest.mark.parametrize(
    ("grad", "who"),
    [(sendable.slopes_that_call_later, "f"), (sendable.slopes_that_write_later, "grad")],
)
@pytest.mark.parametrize("workers", [None, 2])
def test_an_error_in_a_worker_is_about_the_same_function_as_without(grad, who, workers):
    with pytest.raises(fg.MutationError, match=f"^`{who}` wrote into its input: `params"):
        fg.hessian(sendable.cubes, np.ones(12), grad, workers=workers)
