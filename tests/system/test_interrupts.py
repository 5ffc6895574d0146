"""Ctrl-C at any moment of any kind of run: every bit of the parameters comes back, all locks go."""

from __future__ import annotations

import os
import signal

import pytest
from strategies import run_python

# One signal in each run. A timer that the objective sets lets it come a little later, which is
# where parameters are put back; the moment is drawn, and that it is met does not matter.
PROGRAM = """
import ctypes, random, signal, sys
import numpy as np, fastgrad as fg
from fastgrad import _backend, _memory
from fastgrad._evaluation.direction import Region, Uniform
from fastgrad._evaluation.protocol import Along, Grouped
from fastgrad._stencils import Steps
from fastgrad._tree import flatten
from fastgrad._workers.evaluator import evaluator

backend, runs = sys.argv[1], int(sys.argv[2])
_backend.use(backend)
draw, rng = random.Random(3), np.random.default_rng(0)

class Clock:
    calls = at = 0
    delay = 0.0

    def tick(self):
        self.calls += 1
        if self.calls == self.at:
            signal.setitimer(signal.ITIMER_REAL, self.delay)

clock = Clock()
signal.signal(signal.SIGALRM, signal.default_int_handler)

def arrays(p):
    if isinstance(p, np.ndarray):
        return [p]
    return [leaf for part in (p.values() if isinstance(p, dict) else p) for leaf in arrays(part)]

def f(p):
    clock.tick()
    parts = arrays(p)
    # The slope of each entry is one, and cheap to compute.
    return float(sum(float(x.real.sum()) + float(x.imag.sum()) for x in parts))

def ones(p):
    return [np.ones(x.shape, x.dtype) * (1 + 1j if x.dtype.kind == "c" else 1) for x in arrays(p)]

def bent(p):
    clock.tick()
    return float(sum(np.sin(x).sum() for x in arrays(p)))

prototype = ctypes.CFUNCTYPE(
    ctypes.c_double, ctypes.c_int, ctypes.POINTER(ctypes.c_double), ctypes.c_void_p)

@prototype
def compiled(n, x, user_data):
    clock.tick()
    return sum(x[i] for i in range(n))

native = fg.native(compiled)
rows = fg.batched(lambda p: (clock.tick(), sum(x.sum(axis=1) for x in p))[1])
small = [rng.normal(size=30)]
nest = [rng.normal(size=5), rng.normal(size=(2, 3)).astype("f4"), np.array(0.5),
        rng.normal(size=3).astype("g"), rng.normal(size=2) + 1j, rng.normal(size=4).astype("f2")]
real = [x for x in nest if x.dtype.kind != "c"]
many = [rng.normal(size=300) for _ in range(120)]
large = [rng.normal(size=200_000)]
pair = [rng.normal(size=30_000), rng.normal(size=(30, 200))]  # beyond what is copied as small

def ticking(p):
    clock.tick()
    return ones(p)

def squares(x):
    clock.tick()
    return np.diff(x, prepend=0.0) ** 2

def parts(p):
    clock.tick()
    return {"sines": [np.sin(x) for x in p], "sum": float(sum(x.sum() for x in p))}

def with_zero(p):  # one wrong entry: bisection, refinement
    claimed = ones(p)
    claimed[-1].flat[0] = 0
    return claimed

def stale(p):
    return [np.cos(x + 0.01 * np.cos(x)) for x in p]

def requests(p):
    leaves = flatten(p)
    made = evaluator(f, p, leaves)
    whole = [Region(k, tuple(slice(0, n) for n in x.real.shape), x.real.shape)
             for k, x in enumerate(leaves)]
    direction = Uniform(0, 0, tuple(whole), (1e-3,) * len(whole))
    groups = Grouped(0, np.arange(4), np.array([0, 2, 4]), Steps(relative=1e-4))
    try:
        with made as run:
            run.along(Along(direction, (1.0, -1.0)))
            run.grouped(groups)
            with run.displaced(direction, 2.0) as there:
                there.grouped(groups)
    finally:
        made.guard.close()

KINDS = [
    (small, lambda p: fg.gradient(f, p)),
    (small[0], lambda p: fg.gradient(f, p, method="forward")),
    (nest, lambda p: fg.gradient(f, p)),
    (large, lambda p: fg.check_gradient(f, ones(p), p)),
    (pair, lambda p: fg.check_gradient(bent, [np.cos(x) for x in p], p)),
    (nest, lambda p: fg.check_gradient(f, ones(p), p, strategy="exhaustive")),
    (small, lambda p: fg.check_gradient(f, with_zero(p), p, strategy="exhaustive")),
    (small, lambda p: fg.check_gradient(bent, stale(p), p, strategy="exhaustive")),
    (many, lambda p: fg.check_gradient(f, ones(p), p, strategy="probe", budget=60)),
    (many[:9], lambda p: fg.check_gradient(f, with_zero(p), p, strategy="probe")),
    (small, lambda p: fg.gradient(rows, p)),
    (small[0], lambda p: fg.gradient(fg.batched(lambda X: (clock.tick(), X.sum(axis=1))[1]), p)),
    (small, lambda p: fg.check_gradient(rows, with_zero(p), p)),
    (small[0], lambda p: fg.gradient(native, p)),
    (small[0], lambda p: fg.check_gradient(native, ones(p)[0] * 2, p)),
    (small[0], lambda p: fg.gradient(native, p, workers=2)),
    (nest, lambda p: fg.check_gradient(f, ones(p), p, workers=map)),
    (many[:60], lambda p: fg.check_gradient(f, ones(p), p, strategy="probe", workers=map,
                                            budget=60)),
    (real, lambda p: fg.hessian(f, p, eps=1e-3)),
    (real, lambda p: fg.hessian(f, p, ticking)),
    (real, lambda p: fg.hvp(bent, p, ones(p))),
    (nest, lambda p: fg.check_gradient(f, ones(p), p, where=[x.real > 0 for x in p])),
    (many[:9], lambda p: fg.check_gradient(f, with_zero(p), p, strategy="probe",
                                           where=[x > 0 for x in p])),
    (small[0], lambda p: fg.check_gradient(f, ones(p)[0], p, retraction=lambda x, v: x + v)),
    (small[0], lambda p: fg.jacobian(squares, p)),
    (real, lambda p: fg.jacobian(parts, p)),
    (real, lambda p: fg.jacobian(parts, p, workers=map)),
    (real, lambda p: fg.jvp(parts, p, ones(p))),
    (nest, lambda p: fg.vjp(f, p, 1.0)),
    (small[0], lambda p: fg.sparse_jacobian(squares, p, (1, 1))),
    (small[0], lambda p: fg.jacobian_sparsity(squares, p)),
    (nest, requests),
    (many, requests),
]

met = [0] * len(KINDS)
for params, run in KINDS:  # what is imported at first use is imported now
    run(params)
for turn in range(runs):
    params, run = KINDS[turn % len(KINDS)]
    before = [x.tobytes() for x in arrays(params)]
    if turn < len(KINDS):
        clock.calls, clock.at = 0, 0
        run(params)
        met[turn] = clock.calls
        assert [x.tobytes() for x in arrays(params)] == before, turn
    clock.at = draw.randint(1, met[turn % len(KINDS)])
    clock.calls, clock.delay = 0, draw.choice([1e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4])
    try:
        run(params)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except KeyboardInterrupt:
        pass
    after = [x.tobytes() for x in arrays(params)]
    assert after == before, (turn % len(KINDS), clock.at, clock.delay)
    assert not _memory.locks, turn % len(KINDS)
print("done")
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timer on this system")
def test_every_bit_comes_back_whenever_ctrl_c_comes(backend):
    """Two thousand interrupts on each backend where one is thorough, some ten of each kind else."""
    thorough = os.environ.get("FASTGRAD_THOROUGH") == "1"
    runs = 2_000 if thorough else 180 if backend == "compiled" else 72
    done = run_python(PROGRAM, backend, str(runs))
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr[-4000:]
