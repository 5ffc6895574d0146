"""Processes of our own: started when needed, replaced when dead, gone afterwards."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pytest
import sendable
from strategies import PATIENCE, run_python

from fastgrad import _backend
from fastgrad._evaluation.protocol import Single
from fastgrad._stencils import Steps
from fastgrad._workers.payload import pack
from fastgrad._workers.processes import Lost, Processes

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


def message(f, payload=True, token="of this test"):
    x = np.arange(12.0)
    entries = np.array([6], dtype=np.intp)
    request = Single(0, entries, Steps(given=np.ones(1)))
    return token, pack(f, (x, None, False)) if payload else None, _backend.backend, request


@pytest.fixture
def two():
    processes = Processes(2)
    yield processes
    processes.close()
    assert not multiprocessing.active_children()


def test_they_are_started_when_there_is_work(two):
    assert not multiprocessing.active_children()
    assert two.has_room()
    two.submit(0, message(sendable.cubes))
    assert len(multiprocessing.active_children()) == 1
    two.submit(1, message(sendable.cubes))
    assert not two.has_room()
    assert len(multiprocessing.active_children()) == 2
    answers = dict([two.next(), two.next()])
    assert sorted(answers) == [0, 1]
    assert answers[0].answer.values.tobytes() == answers[1].answer.values.tobytes()
    assert two.has_room()


def test_a_payload_stays_with_its_process(two):
    two.submit(0, message(sendable.cubes, payload=False))
    assert two.next() == (0, None)
    two.submit(1, message(sendable.cubes))
    assert two.next()[1].answer is not None
    two.submit(2, message(sendable.cubes, payload=False))
    assert two.next()[1].answer is not None


@pytest.mark.skipif(os.name != "posix", reason="kills by signal")
def test_one_that_dies_is_told_with_its_exit_code(two, tmp_path):
    killer = sendable.Killer(tmp_path / "deaths", 6, 1)
    two.submit(5, message(killer))
    assert two.next() == (5, Lost("exit code -9"))
    two.submit(6, message(killer))
    assert two.next()[1].answer is not None


def test_one_that_died_idle_is_found_out(two):
    two.submit(0, message(sendable.cubes))
    two.next()
    (child,) = multiprocessing.active_children()
    child.kill()
    child.join()
    two.submit(1, message(sendable.cubes))
    number, answer = two.next()
    assert number == 1
    assert isinstance(answer, Lost)


def test_work_in_progress_is_no_reason_to_wait():
    processes = Processes(1)
    processes.submit(0, message(sendable.endless))
    processes.close()
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_every_start_method(method, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import multiprocessing, numpy as np, fastgrad as fg

def f(x):
    return float((x**3).sum())

if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    x = np.arange(5.0)
    print((fg.gradient(f, x, workers=2) == fg.gradient(f, x)).all())
""")
    done = run_python("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", script)
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_a_script_without_its_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("""
import multiprocessing, numpy as np, fastgrad as fg
multiprocessing.set_start_method("spawn", force=True)
fg.gradient(np.sum, np.arange(5.0), workers=2)
""")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 1
    assert 'if __name__ == "__main__":' in done.stderr.splitlines()[-1]


def test_what_a_worker_printed_and_left_for_its_end_is_done(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(f"""
import atexit, os, numpy as np, fastgrad as fg

def f(x):
    if os.getpid() != PARENT:
        print("evaluated")  # which a pipe holds back
        atexit.register(lambda: open({str(tmp_path)!r} + f"/{{os.getpid()}}", "w").close())
    return float((x**3).sum())

PARENT = int(os.environ.setdefault("PARENT", str(os.getpid())))
if __name__ == "__main__":
    fg.gradient(f, np.arange(5.0), workers=2)
    print("end")
""")
    environment = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=PATIENCE, env=environment
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines.count("evaluated") >= 10 + 2
    assert lines[-1] == "end"
    assert len(list(tmp_path.iterdir())) >= 1 + 1  # the script, and a file of a worker
