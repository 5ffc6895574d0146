"""The promise kept: every bit comes back, whatever interrupts a run, thousands of times over."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import numbers
from strategies import (
    arrays,
    bits,
    complex_specials,
    lay_out,
    quick,
    run_python,
    specials,
    stencils,
    weigh,
)

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation.guard import COPIED_BYTES
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


class Stopped(Exception):
    pass


def awkward():
    """Nested parameters of every type, with values whose bits arithmetic would not keep."""
    return {
        "d": lay_out(specials("f8"), "strided"),
        "layers": [
            {"f": specials("f4"), "h": lay_out(specials("f2").reshape(5, 2), "fortran")},
            {"g": specials("g"), "none": None},
        ],
        "z": complex_specials("c8")[:4],
        "swapped": lay_out(specials("f8")[:4], "swapped"),
        "unaligned": lay_out(specials("f4")[:4], "unaligned"),
        "b": np.array(-0.0),
    }


def small():
    return specials("f8")


def large():
    """Beyond what is copied; a few entries of it are visited before the run is stopped."""
    x = np.zeros(COPIED_BYTES // 8 + 1)
    x[: len(specials("f8"))] = specials("f8")
    return x


def everything(params):
    return b"".join(bits(leaf.array) for leaf in flatten(params))


def evaluations(params, method):
    calls = []
    fg.gradient(lambda p: calls.append(1) or numbers(p)[0], params, method=method)
    return len(calls)


class StopAt:
    """An objective that does something else at one of its evaluations; its numbers mean nothing."""

    def __init__(self, when, act):
        self.left, self.act = when, act

    def __call__(self, params):
        self.left -= 1
        return self.act() if self.left < 0 else float(self.left)


def throw(error):
    def act():
        raise error

    return act


STOPS = [
    *((throw(kind), kind) for kind in (Stopped, KeyboardInterrupt, SystemExit, GeneratorExit)),
    (throw(fg.MutationError), fg.MutationError),
    *(
        (lambda value=value: value, fg.InputTypeError)
        for value in (None, "1.0", b"1.0", 1j, [1.0], np.ones(2), {"loss": 1.0})
    ),
]


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("make", [small, awkward])
def test_bit_identical_after_a_stop_at_every_evaluation(make, method):
    params = make()
    before = everything(params)
    total = evaluations(params, method)
    assert everything(params) == before
    assert total > 10
    for when in range(total):
        for act, error in STOPS:
            with pytest.raises(error):
                fg.gradient(StopAt(when, act), params, method=method)
            assert everything(params) == before
    assert not _memory.locks


@pytest.mark.parametrize("when", [0, 1, 2, 3, 7, 12])
@pytest.mark.parametrize(("act", "error"), STOPS)
def test_bit_identical_after_a_stop_in_a_large_array(when, act, error):
    params = large()
    before = params.tobytes()
    with pytest.raises(error):
        fg.gradient(StopAt(when, act), params, method="forward")
    assert params.tobytes() == before


@given(arrays().filter(lambda pair: pair[0].size), stencils, st.integers(0, 60))
@quick(150)
@pytest.mark.filterwarnings("ignore:the gradient is zero")
def test_bit_identical_whatever_the_array(pair, stencil, when):
    x = lay_out(*pair)
    before = bits(x)
    fg.gradient(weigh, x, method=stencil)
    assert bits(x) == before
    total = evaluations(x, stencil)
    with pytest.raises(Stopped):
        fg.gradient(StopAt(when % total, throw(Stopped)), x, method=stencil)
    assert bits(x) == before


def test_arithmetic_would_not_have_brought_them_back():
    """Why the saved bits are put back, and not the step taken off again."""
    x = np.random.default_rng(0).normal(size=1000)
    h = 6e-6
    assert ((((x + h) - 2 * h) + h) != x).mean() > 0.2
    kept = x.tobytes()
    fg.gradient(lambda x: x[0], x, eps=h)
    assert x.tobytes() == kept


SIGNALS = """
import math, os, random, signal, sys, time
import numpy as np, fastgrad as fg
from fastgrad import _backend
from fastgrad import _memory

_backend.use(sys.argv[1])
rounds = int(sys.argv[2])
read, write = os.pipe()
killer = os.fork()
if not killer:  # for every byte that arrives, one SIGINT after a while
    parent, rng = os.getppid(), random.Random(7)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.close(write)
    while os.read(read, 1):
        time.sleep(rng.random() * 0.003)
        os.kill(parent, signal.SIGINT)
    os._exit(0)

def slow(x):
    return float(abs(x).sum()) if isinstance(x, np.ndarray) else 1.0

rng = np.random.default_rng(0)
small, big = rng.normal(size=30_000), rng.normal(size=300_000)
nest = {"a": big[:150_000:2], "b": [rng.normal(size=30_000).astype("f4"), np.ones(50, "g")]}
cases = [(slow, small), (math.fsum, small[:3000]), (slow, big), (slow, nest), (abs, np.ones(())),
         (slow, np.ones(40_000, "g")[::2]), (slow, rng.normal(size=(40, 50)).astype(complex))]

def arrays(p):
    if isinstance(p, np.ndarray):
        return [p]
    return [leaf for part in (p.values() if isinstance(p, dict) else p) for leaf in arrays(part)]

# Imports before signals come: where an exec (of a dataclass) is interrupted, CPython notes it, and
# ends the process by SIGINT after all was done.
fg.gradient(slow, nest)
inside = turn = 0
while inside < rounds:  # a signal that comes outside of the runs, as under load, does not count
    f, params = cases[turn % len(cases)]
    turn += 1
    before = [a.tobytes() for a in arrays(params)]
    running = False
    try:
        os.write(write, b"!")
        running = True
        while True:  # until the signal comes, however late
            fg.gradient(f, params)
    except KeyboardInterrupt:
        inside += running
    assert [a.tobytes() for a in arrays(params)] == before, (turn, f)
    assert not _memory.locks, turn
os.close(write)
os.waitpid(killer, 0)
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="sends itself signals from a fork")
def test_ctrl_c_at_random_moments_five_hundred_times(backend):
    done = run_python(SIGNALS, backend, "500")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr + done.stdout


MANY_CALLS = """
import ctypes, gc, sys
import numpy as np, fastgrad as fg
from fastgrad import _backend
from fastgrad import _memory

_backend.use(sys.argv[1])
calls = int(sys.argv[2])
x, half, nest = np.ones(1), np.ones(1, "f2"), {"x": np.ones(1)}
number, more = 0.5, 0.75
stencil = fg.central()

def good(p):
    # Where nothing moves f, that is looked into, which takes a hundred times as long.
    return more if p is x and x[0] > 1 else number

def bad(x):
    raise LookupError

def wrong(x):
    return None

def attempt(f, params, **options):
    try:
        fg.gradient(f, params, **options)
    except (LookupError, TypeError, ValueError):
        pass

def burst(plain=920):
    for _ in range(plain):
        fg.gradient(good, x, method=stencil)
    for _ in range(50):
        attempt(bad, x)
    for params in (nest, half, [x, half]):
        for _ in range(5):
            attempt(good, params)
            attempt(bad, params)
    attempt(wrong, x)
    attempt(good, x, eps=1e-30)

def counts():
    gc.collect()
    watched = (good, bad, wrong, x, half, nest, stencil, stencil.table, number,
               more, None)
    return [sys.getrefcount(each) for each in watched], sys.getallocatedblocks()

class Heap(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in (
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split())]

def allocated():
    # By malloc, to the byte: the pages that the system keeps resident depend on the others.
    if not hasattr(ctypes.CDLL(None), "mallinfo2"):  # not glibc
        return 0
    measure = ctypes.CDLL(None).mallinfo2
    measure.restype = Heap
    heap = measure()
    return heap.uordblks + heap.hblkhd

for _ in range(60):  # Python specializes what is run often: this takes and frees some objects
    burst(20)
burst()
references, blocks = counts()
grown, moved = [], []
for _ in range(3):  # what Python itself takes or frees once is not in all of them; a leak is
    memory = allocated()
    for _ in range(calls // 3000):
        burst()
    before, (references, blocks_after) = references, counts()
    moved.append([abs(a - b) for a, b in zip(references, before)])
    grown.append(allocated() - memory)
assert max(map(min, zip(*moved))) <= 7, moved
assert blocks_after - blocks < 200, blocks_after - blocks
assert min(grown) < 2**15, grown
assert not _memory.locks
assert x[0] == half[0] == nest["x"][0] == 1.0
print("done")
"""


@pytest.mark.slow
def test_a_hundred_thousand_calls_leave_nothing_behind(backend):
    """In proportion to the speed of the backends. A block for every fiftieth call would be seen."""
    done = run_python(MANY_CALLS, backend, "100000" if backend == "compiled" else "10000")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
