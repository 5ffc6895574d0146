"""Runs spread over workers: the same results to the bit, the same errors, and nothing left over."""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sendable
from corpus import bugs, problems
from strategies import (
    ALL,
    LAYOUTS,
    PATIENCE,
    REAL,
    STENCIL_IDS,
    STENCILS,
    bits,
    complex_specials,
    lay_out,
    same,
    specials,
    weigh,
)

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation.direction import Region, Uniform
from fastgrad._evaluation.protocol import Along, Grouped, Single
from fastgrad._stencils import Steps
from fastgrad._tree import flatten
from fastgrad._workers.evaluator import evaluator

# From Python 3.12 on a fork says that it may not be safe, and threads of dask may still be there.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")

METHODS = multiprocessing.get_all_start_methods()
KINDS = [
    "processes",
    *(f"pool, {method}" for method in ("fork", "spawn") if method in METHODS),
    "threads",
    "loky",
    "map",
    "pool.map",
    pytest.param("dask", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module")
def opened():
    """Workers by their kind, each made once."""
    made, closing = {}, []

    def get(kind):
        if kind not in made:
            made[kind], close = make(kind)
            closing.append(close)
        return made[kind]

    yield get
    for close in closing:
        close()


def make(kind):
    kind, _, method = kind.partition(", ")
    if kind == "pool":
        context = multiprocessing.get_context(method)
        pool = futures.ProcessPoolExecutor(2, mp_context=context)
        return pool, pool.shutdown
    if kind == "threads":
        pool = futures.ThreadPoolExecutor(2)
        return pool, pool.shutdown
    if kind == "loky":
        pool = pytest.importorskip("loky").ProcessPoolExecutor(2)
        return pool, pool.shutdown
    if kind == "pool.map":
        pool = multiprocessing.get_context("fork" if "fork" in METHODS else "spawn").Pool(2)
        return pool.map, lambda: (pool.close(), pool.join())
    if kind == "dask":
        return dask()
    return {"processes": 2, "map": map}[kind], lambda: None


def dask():
    distributed = pytest.importorskip("distributed")
    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": ":0"}
    cluster = distributed.LocalCluster(processes=True, **options)
    client = distributed.Client(cluster)
    return client, lambda: (client.close(), cluster.close())


@pytest.fixture(params=KINDS)
def workers(request, opened):
    return opened(request.param)


@pytest.fixture(autouse=True)
def nothing_stays():
    before = set(multiprocessing.active_children())
    yield
    wait_for(lambda: not _memory.locks)  # threads of an executor may still finish their slices
    ours = set(multiprocessing.active_children()) - before
    assert not [each for each in ours if "_serve" in repr(getattr(each, "_target", None))]


@pytest.fixture
def x():
    return np.arange(12.0)


def described(report):
    """All of a report but what depends on where it was made."""
    return repr(replace(report, seconds=0.0, evaluations=0)), report.to_dict() | {
        "seconds": 0,
        "evaluations": 0,
    }


# ---------------------------------------------------------------- the same results


def test_gradient_is_that_of_a_serial_run(workers, x, backend):
    before = bits(x)
    for method in ("central", "forward"):
        serial = fg.gradient(sendable.cubes, x, method=method)
        assert same(fg.gradient(sendable.cubes, x, method=method, workers=workers), serial)
    assert bits(x) == before


def test_reports_are_those_of_a_serial_run(workers, x, backend):
    for grad in (3 * x**2, 3 * x):
        serial = fg.check_gradient(sendable.cubes, grad, x)
        spread = fg.check_gradient(sendable.cubes, grad, x, workers=workers)
        assert described(spread) == described(serial)
        assert spread.backend == backend


def values_of(dtype):
    """Two rows of all special values, and of ordinary ones."""
    table = specials(dtype) if dtype in REAL else complex_specials(dtype)
    usual = np.linspace(-3, 3, 4).astype(dtype)
    return np.concatenate([table[: len(table) // 2 * 2], usual]).reshape(2, -1)


@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("kind", ["pool, spawn", "threads"])
def test_every_type_and_layout(kind, dtype, opened, backend):
    for layout in LAYOUTS:
        params = lay_out(values_of(dtype), layout)
        before = bits(params)
        with np.errstate(all="ignore"):
            serial = fg.gradient(weigh, params)
            assert same(fg.gradient(weigh, params, workers=opened(kind)), serial)
        assert bits(params) == before


@pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
def test_every_stencil_and_step(stencil, opened, x, backend):
    steps = np.linspace(1e-3, 1e-2, len(x))
    pool = opened("threads")
    for eps in (None, 1e-3, steps):
        how = {"method": stencil, "eps": eps}
        serial = fg.gradient(sendable.cubes, x, **how)
        assert same(fg.gradient(sendable.cubes, x, workers=pool, **how), serial)


def nest():
    return {"a": np.arange(6.0).reshape(2, 3), "z": np.array([1 - 2j, 3j]), "s": np.array(4.0)}


def test_nests_steps_and_out(opened, backend):
    out = {"a": np.empty((2, 3), ">f8").T.copy().T, "z": np.empty(4, "c16")[::2], "s": np.empty(())}
    eps = {"a": np.full((2, 3), 1e-4), "z": 1e-5, "s": 1e-3}
    for how in ({}, {"eps": eps}, {"out": out}):
        serial = fg.gradient(sendable.nested, nest(), **how)
        serial = {key: value.copy() for key, value in serial.items()}
        found = fg.gradient(sendable.nested, nest(), workers=opened("pool, spawn"), **how)
        assert all(same(found[key], serial[key]) for key in serial)
        assert how.get("out") in (None, found)


def test_numbers_and_nothing(opened):
    pool = opened("threads")
    assert fg.gradient(sendable.cubes, 2.0, workers=pool) == pytest.approx(12.0)
    assert fg.gradient(sendable.cubes, np.empty((0, 3)), workers=pool).shape == (0, 3)
    report = fg.check_gradient(sendable.cubes, np.empty(0), np.empty(0), workers=pool)
    assert len(report.entries) == 0


def test_large_parameters(opened):
    """Beyond what the guard copies, the result's memory is in use while the first values come."""
    n = 40_000
    x = np.zeros(n)
    x[7] = 2.0
    for workers in (opened("threads"), 2):
        serial = fg.gradient(sendable.one_square, x)
        assert same(fg.gradient(sendable.one_square, x, workers=workers), serial)
        with pytest.raises(fg.MutationError, match=r"params\[2\]"):
            fg.gradient(sendable.writes, x, workers=workers)
    assert x.sum() == 2.0


# Of every family one problem and one planted bug, as they come.
SAMPLE = list({each.family: each for each in problems()}.values())
PLANTED = list({each.cause: each for each in bugs()}.values())


@pytest.mark.parametrize("made", [*SAMPLE, *PLANTED], ids=lambda made: made.name)
def test_problems_of_the_corpus(made, opened):
    pytest.importorskip("cloudpickle")
    for package in made.requires:
        pytest.importorskip(package)
    case = made.make()
    serial = fg.check_gradient(case.f, case.grad, case.params)
    spread = fg.check_gradient(case.f, case.grad, case.params, workers=opened("pool, spawn"))
    assert described(spread) == described(serial)


def test_a_value_with_its_gradient(opened, x):
    f = lambda x: (sendable.cubes(x), 3 * x**2)  # noqa: E731
    pytest.importorskip("cloudpickle")
    assert fg.check_gradient(f, True, x, workers=opened("processes"))


def test_evaluations_are_counted_wherever_they_were_made(opened, x):
    serial = fg.check_gradient(sendable.cubes, 3 * x, x).evaluations
    for kind, copies in (("processes", 2), ("threads", 2), ("map", 1)):
        spread = fg.check_gradient(sendable.cubes, 3 * x, x, workers=opened(kind)).evaluations
        assert spread - serial in [2 * (1 + k) for k in range(1, copies + 1)]


def test_one_worker_is_this_process(x):
    assert fg.check_gradient(lambda x: sendable.cubes(x), 3 * x**2, x, workers=1)
    assert same(fg.gradient(lambda x: x[0], x, workers=1), fg.gradient(lambda x: x[0], x))


def region(leaf, shape, *box):
    return Region(leaf, box or tuple(slice(0, n) for n in shape), shape)


REQUESTS = {
    "single": Single(0, np.array([5, 0, 3], np.intp), Steps(relative=1e-3), (2, -1, 1)),
    "steps": Single(0, np.arange(6), Steps(given=np.linspace(0.1, 0.2, 6))),
    "grouped": Grouped(0, np.array([0, 4, 1, 2]), np.array([0, 2, 4]), Steps(absolute=0.5)),
    "along": Along(
        Uniform(3, 1, (region(0, (2, 3), slice(0, 2), slice(1, 3)),), (1.0,)),
        tuple(np.linspace(-1, 1, 5)),
    ),
    "all": Along(
        Uniform(3, 1, (region(0, (2, 3)), region(1, (2, 2)), region(2, ())), (1.0, 0.5, 0.1)),
        (1.0, -1.0),
    ),
}


def test_every_request_is_answered_as_in_a_serial_run(opened, backend):
    """All of them in one run, each twice."""
    claims = [np.linspace(-1, 1, 4).reshape(2, 2)]

    def answers(workers):
        params, found = nest(), {}
        with evaluator(sendable.nested, params, flatten(params), workers=workers) as run:
            for name, request in REQUESTS.items():
                first = run.along(request, claims) if name == "along" else request.run(run)
                found[name] = [repr(vars(each)) for each in (first, request.run(run))]
        return found, run.evaluations

    serial, evaluations = answers(None)
    assert evaluations == 2 * sum(request.evaluations for request in REQUESTS.values())
    for kind, copies in (("processes", 2), ("threads", 2), ("map", 1)):
        spread, more = answers(opened(kind))
        assert spread == serial
        assert more - evaluations in [0, *(2 * (1 + k) for k in range(1, copies + 1))]


# ---------------------------------------------------------------- what f reads


def readers():
    net, x = sendable.Net(), np.arange(5.0)
    inner = x[1:4]
    return {
        "closure": (lambda p: sendable.cubes(x), x),
        "closure over the owner": (lambda _: sendable.cubes(x), inner),
        "closure over a view": (lambda _: sendable.cubes(inner), x),
        "bound method": (net.loss, net.w),
        "partial": (functools.partial(lambda held, _: sendable.cubes(held), x), [inner]),
    }


@pytest.mark.parametrize("name", readers())
@pytest.mark.parametrize("kind", ["pool, spawn", "loky", "threads"])
def test_f_reads_the_memory_that_is_moved(name, kind, opened, backend):
    pytest.importorskip("cloudpickle")
    f, params = readers()[name]
    found = fg.gradient(f, params, workers=opened(kind))
    serial = fg.gradient(f, params)
    assert all(same(a, b) for a, b in zip(np.atleast_2d(found), np.atleast_2d(serial), strict=True))
    assert np.any(np.concatenate([np.ravel(serial)]))


def test_another_copy_in_a_module_is_refused(opened):
    for kind in ("processes", "threads"):
        with pytest.raises(fg.WorkerError, match="does not see its parameters move") as caught:
            fg.gradient(sendable.global_table, sendable.table, workers=opened(kind))
        assert "workers=None" in str(caught.value)


def test_a_tensor_of_the_same_memory_is_refused(opened):
    torch = pytest.importorskip("torch")
    x = np.arange(1.0, 4.0)
    tensor = torch.from_numpy(x)
    f = lambda _: float((tensor**3).sum())  # noqa: E731
    assert fg.gradient(f, x) == pytest.approx(3 * x**2, rel=1e-6)
    with pytest.raises(fg.WorkerError, match="does not see"):
        fg.gradient(f, x, workers=opened("threads"))
    assert x.tolist() == [1, 2, 3]


def test_only_one_of_the_leaves_is_cut_off(opened):
    params = {"w": np.arange(1.0, 4.0), "table": sendable.table}
    f = lambda p: sendable.cubes(p["w"]) + 1e-6 * sendable.global_table(p)  # noqa: E731
    with pytest.raises(fg.WorkerError, match="does not behave as the original"):
        fg.gradient(f, params, workers=opened("threads"))


@pytest.mark.parametrize("f", [sendable.random_value, sendable.where])
def test_what_is_not_the_same_everywhere_is_refused(f, x, opened):
    with pytest.raises(fg.WorkerError, match="worker's copy"):
        fg.gradient(f, x, workers=opened("processes"))


def test_rounding_is_warned_of_and_no_more(x, opened):
    with pytest.warns(RuntimeWarning, match="round differently.*OMP_NUM_THREADS"):
        g = fg.gradient(sendable.Rounding(), x, workers=opened("processes"))
    assert g == pytest.approx(3 * x**2, abs=1e-4)
    with pytest.raises(fg.WorkerError, match="does not behave as the original"):
        fg.gradient(sendable.Rounding(1e-3), x, workers=opened("processes"))


def test_what_a_worker_cannot_import_is_named(opened, tmp_path, monkeypatch, x):
    (tmp_path / "only_here.py").write_text("def cost(x): return float((x**3).sum())")
    opened("pool, spawn").submit(len, ()).result()  # its processes know the path as it was
    monkeypatch.syspath_prepend(tmp_path)
    cost = importlib.import_module("only_here").cost
    with pytest.raises(fg.WorkerError, match=r"cannot be loaded in a worker.*only_here"):
        fg.gradient(cost, x, workers=opened("pool, spawn"))


# ---------------------------------------------------------------- errors


def failing():
    return {
        "an exception": sendable.Raising(KeyError("no loss"), 5, 8),
        "an exit": sendable.Raising(SystemExit(3), 5),
        "an interrupt of its own": sendable.Raising(KeyboardInterrupt(), 5),
        "notes lost": sendable.Raising(sendable.Noted("no loss"), 5),
        "None": sendable.Returning(None, 3),
        "text": sendable.Returning("text", 3),
        "two numbers": sendable.Returning(np.ones(2), 3),
        "writing": sendable.writes,
        "writing later": sendable.writes_later,
        "resizing": sendable.resizes,
    }


@pytest.mark.parametrize("name", failing())
@pytest.mark.parametrize("kind", ["pool, spawn", "threads", "loky", "map"])
def test_errors_are_those_of_a_serial_run(name, kind, opened, backend):
    def outcome(**how):
        x = np.arange(12.0)  # owns its memory, and may be lost by resizing
        try:
            fg.gradient(failing()[name], x, **how)
        except BaseException as error:
            notes = getattr(error, "__notes__", None)
            return type(error), str(error), notes, name == "resizing" or bits(x)
        return None

    serial, spread = outcome(), outcome(workers=opened(kind))
    assert spread == serial
    assert serial is not None


@pytest.mark.parametrize("f", [sendable.replaces, sendable.replaces_later])
def test_replacing_a_leaf(f, opened):
    for how in ({}, {"workers": opened("threads")}):
        with pytest.raises(fg.MutationError, match="replaced `a`"):
            fg.gradient(f, {"a": np.arange(3.0)}, **how)


def test_the_traceback_of_the_worker_is_shown(opened, x):
    with pytest.raises(KeyError) as caught:
        fg.gradient(sendable.Raising(KeyError("no loss"), 5), x, workers=opened("processes"))
    assert "sendable.py" in str(caught.value.__cause__)
    if sys.version_info >= (3, 11):
        assert "params[5]" in caught.value.__notes__[0]


def test_an_exception_that_cannot_come_back_comes_as_text(opened, x):
    f = functools.partial(sendable.raise_unpicklable, 5)
    with pytest.raises(fg.WorkerError, match=r"Unpicklable: too many.*cannot be sent back"):
        fg.gradient(f, x, workers=opened("processes"))


def test_what_cannot_be_sent_is_refused(x):
    lock = threading.Lock()
    with pytest.raises(fg.InputTypeError, match="picklable"):
        fg.gradient(lambda x: (lock, 1.0)[1], x, workers=2)


def test_another_thread_is_refused_while_workers_run(opened, x):
    seen = []

    def intrude():
        while not _memory.locks:
            time.sleep(1e-4)
        try:
            fg.gradient(sendable.cubes, x)
        except fg.ConcurrencyError as error:
            seen.append(error)
        sendable.tried.set()

    sendable.tried.clear()
    thread = threading.Thread(target=intrude)
    thread.start()
    spread = fg.gradient(sendable.patient, x, workers=opened("threads"))
    thread.join()
    assert len(seen) == 1
    assert same(spread, fg.gradient(sendable.cubes, x))


def test_a_foreign_executor_stays_open_and_gets_rid_of_what_is_queued(x):
    with futures.ThreadPoolExecutor(1) as pool:
        with pytest.raises(KeyError):
            fg.gradient(sendable.Raising(KeyError(), 0), x, workers=pool)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


# ---------------------------------------------------------------- death

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")


@needs_kill
def test_a_worker_that_is_killed(tmp_path, x, backend):
    f = sendable.Killer(tmp_path / "deaths", 6, 1)
    assert same(fg.gradient(f, x, workers=2), fg.gradient(f, x))
    assert (tmp_path / "deaths").read_text() == "x"


@needs_kill
def test_a_worker_that_is_killed_in_a_check(tmp_path, x):
    f = sendable.Killer(tmp_path / "deaths", 6, 1)
    spread = fg.check_gradient(f, 3 * x, x, workers=2)
    assert (tmp_path / "deaths").read_text() == "x"
    assert described(spread) == described(fg.check_gradient(f, 3 * x, x))


@needs_kill
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind[:5] in ("pool,", "loky")])
def test_an_executor_that_breaks(kind, tmp_path, x):
    pool, close = make(kind)
    f = sendable.Killer(tmp_path / "deaths", 6, 1)
    f.home = os.getpid()
    try:
        with pytest.warns(RuntimeWarning, match=r"(?s)workers` broke.*same results; pass a new"):
            spread = fg.gradient(f, x, workers=pool)
    finally:
        close()
    assert same(spread, fg.gradient(f, x))
    assert (tmp_path / "deaths").read_text() == "x"


@needs_kill
@pytest.mark.slow
def test_a_dask_worker_that_is_killed(tmp_path, x, opened):
    f = sendable.Killer(tmp_path / "deaths", 6, 1)
    assert same(fg.gradient(f, x, workers=opened("dask")), fg.gradient(f, x))
    assert (tmp_path / "deaths").read_text() == "x"


@needs_kill
def test_what_kills_every_worker_is_named(tmp_path, x):
    f = sendable.Killer(tmp_path / "deaths", 6, 100)
    with pytest.raises(fg.WorkerError, match=r"3 worker processes died.*-9.*`params\[6\]`"):
        fg.gradient(f, x, workers=2)
    assert len((tmp_path / "deaths").read_text()) == 3


CTRL_C = """
    import os, sys, time, numpy as np, fastgrad as fg

    def f(x):
        if os.getpid() != home:
            open(os.path.join(sys.argv[1], str(os.getpid())), "w").close()
        time.sleep(0.0 if os.getpid() == home else 0.2)
        return float((x**3).sum())

    home = os.getpid()
    if __name__ == "__main__":
        x = np.arange(50.0)
        try:
            fg.{call}
        except KeyboardInterrupt:
            print((x == np.arange(50.0)).all(), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
@pytest.mark.parametrize(
    "call", ["gradient(f, x, workers=2)", "check_gradient(f, 3*x**2, x, workers=2)"]
)
def test_ctrl_c_leaves_no_process(call, tmp_path):
    pytest.importorskip("cloudpickle")
    source = textwrap.dedent(CTRL_C).format(call=call)
    script = tmp_path / "script.py"
    script.write_text(source)
    pids = tmp_path / "pids"
    pids.mkdir()
    command = [sys.executable, str(script), str(pids)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, start_new_session=True, **pipes) as process:
        wait_for(lambda: len(os.listdir(pids)) == 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: the whole group
        out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (0, "True\n", "")
    assert not [pid for pid in os.listdir(pids) if alive(int(pid))]


@needs_kill
def test_processes_end_when_the_caller_is_killed(tmp_path):
    pytest.importorskip("cloudpickle")
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(CTRL_C).format(call="gradient(f, x, workers=2)"))
    pids = tmp_path / "pids"
    pids.mkdir()
    with subprocess.Popen([sys.executable, str(script), str(pids)]) as process:
        wait_for(lambda: len(os.listdir(pids)) == 2)
        process.kill()
    wait_for(lambda: not [pid for pid in os.listdir(pids) if alive(int(pid))])


def wait_for(condition, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")  # where nobody buries the dead, they stay as zombies
    return not (status.exists() and "Z (zombie)" in status.read_text())
