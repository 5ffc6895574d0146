"""Native runs as users have them: with other threads, Ctrl-C, and README's examples."""

from __future__ import annotations

import re
import subprocess
import threading

import numpy as np
import pytest
from clibrary import HERE, build
from strategies import run_python

import fastgrad as fg
from fastgrad import _backend

# --------------------------------------------------------------------------- the GIL and Ctrl-C


@pytest.mark.parametrize("workers", [None, 2])
@pytest.mark.parametrize("n", [3, 200])
def test_another_thread_makes_progress_meanwhile(n, workers, library, backend):
    """It answers what the function waits for; with the GIL held it could not."""
    flags = np.zeros(2, np.int64)
    f = fg.native(library.waits, user_data=flags)

    def answer():
        while not flags[0]:
            pass
        flags[1] = 1

    thread = threading.Thread(target=answer)
    thread.start()
    g = fg.gradient(f, np.ones(n), workers=workers)
    thread.join()
    assert np.isfinite(g).all()


INTERRUPTED = """
import ctypes, os, signal, sys, threading, time
import numpy as np, fastgrad as fg
from fastgrad import _backend
from fastgrad import _memory

_backend.use(sys.argv[1])
workers = int(sys.argv[2]) or None
sys.path.insert(0, sys.argv[4])
from clibrary import Library
# Some 20 microseconds a call; all the calls would take an hour.
turns = np.array([int(sys.argv[5])])
f = fg.native(Library(sys.argv[3]).slow, user_data=turns)
x = np.random.default_rng(0).normal(size=10**6)
before = x.tobytes()
sent = []

def interrupt():
    time.sleep(0.5)
    sent.append(time.perf_counter())
    os.kill(os.getpid(), signal.SIGINT)

interrupter = threading.Thread(target=interrupt)
interrupter.start()
try:
    fg.gradient(f, x, workers=workers)
    sys.exit("not interrupted")
except KeyboardInterrupt:
    late = time.perf_counter() - sent[0]
assert x.tobytes() == before
assert not _memory.locks
interrupter.join()
assert threading.active_count() == 1, threading.enumerate()
print(f"{late * 1e3:.0f} ms")
"""


@pytest.mark.parametrize("workers", [0, 2])
def test_ctrl_c_ends_a_long_run_and_the_parameters_are_intact(workers, library, backend):
    try:
        done = run_python(INTERRUPTED, backend, str(workers), str(library.path), str(HERE), "20000")
    except subprocess.TimeoutExpired:
        pytest.fail("not interrupted in two minutes")
    assert done.returncode == 0, done.stderr
    print(done.stdout)  # how late, for whoever runs this with -s


def test_the_backend_is_said_as_ever(library, backend):
    report = fg.check_gradient(fg.native(library.cubes), 3 * np.array([1.0, 2.0]), np.ones(2))
    assert report.backend == backend == _backend.backend


# ------------------------------------------------------------------------------- README's examples


def readme(language, start):
    text = (HERE.parent / "README.md").read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return next(block for block in found if block.startswith(start))


def run_example(code):
    names = {"np": np, "fg": fg}
    exec(code, names)
    x = names["x"]
    np.testing.assert_allclose(names["g"], 4 * x**3, rtol=1e-8)


def test_readmes_example_with_numba(backend):
    pytest.importorskip("numba")
    run_example(readme("python", "import numba"))


def test_readmes_example_in_c(tmp_path, monkeypatch, backend):
    (tmp_path / "energy.c").write_text(readme("c", "double energy"))
    build(tmp_path, "energy.c")
    monkeypatch.chdir(tmp_path)
    run_example(readme("python", "from ctypes import"))
