"""Memory that a call needs beyond the parameters and the result.

Other benchmarks run it in a fresh process: ``python bench/memory.py INSTRUMENT WORK n`` prints the
bytes of the work (``gradient``, ``check`` or ``probe``), and of an 8 MiB array that the instrument
(``tracemalloc`` or ``resident``) has to see. ``objects check n`` counts blocks of Python objects.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from measure import point

import fastgrad as fg

MIB = 2**20
CONTROL = 8 * MIB
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
PEAK = "VmHWM"
STRIDE = 4096  # calls from one look at the number of Python objects to the next


def reciprocal(x: np.ndarray) -> float:
    return 1.0 / x[0]


def half_square(x: np.ndarray) -> float:
    return 0.5 * float(x @ x)


def reading(x: np.ndarray) -> float:
    """One entry squared, whatever n: the gradient is zero but for that entry, and so is known."""
    return x.item(0) ** 2


def reading_gradient(x: np.ndarray) -> np.ndarray:
    gradient = np.zeros_like(x)
    gradient[0] = 2 * x[0]
    return gradient


def traced(work: Callable[[], object]) -> int:
    """Peak of what Python and NumPy allocate during the work."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def resident(work: Callable[[], object]) -> int:
    """Growth of the peak resident set, whatever allocates."""
    gc.collect()
    before = _peak_resident(start=True)
    work()
    return _peak_resident() - before


def _peak_resident(start: bool = False) -> int:
    """The peak since the last start. (`ru_maxrss` cannot tell: it inherits the parent's peak.)"""
    if start:
        CLEAR.write_text("5")
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(PEAK))
    return int(line.split()[1]) * 1024


def instruments() -> dict[str, str]:
    """Instruments that work here: the resident set needs a Linux that can reset its peak."""
    found = {"tracemalloc": "tracemalloc peak"}
    if os.access(CLEAR, os.W_OK) and PEAK in STATUS.read_text():
        found["resident"] = "peak resident set"
    return found


def in_fresh_process(instrument: str, work: str, n: int) -> int:
    """Bytes that a work takes by an instrument, which has to see the control as well."""
    used, control = _run(instrument, work, n)
    assert abs(control - CONTROL) < MIB // 2, f"{instrument} saw {control} bytes of {CONTROL}"
    return used


def objects_in_fresh_process(n: int) -> tuple[int, int]:
    """Blocks of memory that Python objects take: at most during a check, and in its report."""
    return _run("objects", "check", n)


def _run(*words: str | int) -> tuple[int, int]:
    command = [sys.executable, __file__, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    first, second = map(int, done.stdout.split())
    return first, second


# ------------------------------------------------------------ in the fresh process


@contextmanager
def gradient(n: int) -> Iterator[Callable[[], object]]:
    x, out = np.empty(n), np.empty(n)
    x.fill(1.0)
    out.fill(2.0)  # touched: the pages are there before the count begins
    fg.gradient(reciprocal, np.ones(3), out=np.empty(3))  # imports and code pages
    yield lambda: fg.gradient(reciprocal, x, out=out)
    assert abs(out[0] + 1.0) < 1e-8
    assert not out[1:].any()
    assert (x == 1.0).all()


@contextmanager
def check(n: int) -> Iterator[Callable[[], object]]:
    x = point(n)
    grad = reading_gradient(x)
    few = x[:3].copy()
    assert fg.check_gradient(reading, reading_gradient(few), few)  # imports and code pages
    reports = []
    yield lambda: reports.append(fg.check_gradient(reading, grad, x, strategy="exhaustive"))
    assert reports[0], reports[0]


@contextmanager
def probe(n: int) -> Iterator[Callable[[], object]]:
    few = np.ones(5000)  # for imports and code pages
    assert fg.check_gradient(half_square, few.copy(), few, strategy="probe")
    x = np.linspace(-1.0, 1.0, n)
    claimed = x.copy()
    reports = []
    yield lambda: reports.append(fg.check_gradient(half_square, claimed, x, strategy="probe"))
    assert reports[0], reports[0]
    assert (x == claimed).all()


WORKS = {"gradient": gradient, "check": check, "probe": probe}


def objects(n: int) -> tuple[int, int]:
    """Blocks at most during the check, seen from inside `f`, and those that the report keeps."""
    x = point(n)
    grad = reading_gradient(x)
    calls, most = 0, 0

    def watching(x: np.ndarray) -> float:
        nonlocal calls, most
        calls += 1
        if calls % STRIDE == 0:
            most = max(most, sys.getallocatedblocks())
        return reading(x)

    few = x[:3].copy()
    assert fg.check_gradient(reading, reading_gradient(few), few)
    before = sys.getallocatedblocks()
    report = fg.check_gradient(watching, grad, x, strategy="exhaustive")
    after = sys.getallocatedblocks()
    assert report, report
    assert calls == report.evaluations
    return max(most, after) - before, after - before


def main(instrument: str, work: str, n: int) -> None:
    if instrument == "objects":
        print(*objects(n))
        return
    measure = {"tracemalloc": traced, "resident": resident}[instrument]
    with WORKS[work](n) as run:
        # The control first: after the work it would take memory that is free by then.
        control = measure(lambda: np.ones(CONTROL // 8))
        print(measure(run), control)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
