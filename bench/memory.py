"""Memory that one `gradient` call needs beyond the parameters and the result.

Run by gradient.py in a process of its own: ``python bench/memory.py tracemalloc|resident n``
prints the bytes of the call, and of an 8 MiB array that the instrument has to see.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fastgrad as fg

MIB = 2**20
CONTROL = 8 * MIB
STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
PEAK = "VmHWM"


def reciprocal(x: np.ndarray) -> float:
    return 1.0 / x[0]


def traced(work: Callable[[], object]) -> int:
    """Peak of what Python and NumPy allocate meanwhile."""
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - before


def resident(work: Callable[[], object]) -> int:
    """Growth of the peak resident set, whoever allocates."""
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
    """Those that work here: the resident set needs a Linux that can reset its peak."""
    found = {"tracemalloc": "tracemalloc peak"}
    if os.access(CLEAR, os.W_OK) and PEAK in STATUS.read_text():
        found["resident"] = "peak resident set"
    return found


def in_fresh_process(instrument: str, n: int, script: Path = Path(__file__)) -> int:
    """Bytes by ``"tracemalloc"`` or ``"resident"``, after making sure that it sees a control."""
    command = [sys.executable, str(script), instrument, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    used, control = map(int, done.stdout.split())
    assert abs(control - CONTROL) < MIB // 2, f"{instrument} saw {control} bytes of {CONTROL}"
    return used


def main(instrument: str, n: int) -> None:
    measure = {"tracemalloc": traced, "resident": resident}[instrument]
    x, out = np.empty(n), np.empty(n)
    x.fill(1.0)
    out.fill(2.0)  # touched: the pages are there before the count begins
    fg.gradient(reciprocal, np.ones(3), out=np.empty(3))  # imports and code pages
    used = measure(lambda: fg.gradient(reciprocal, x, out=out))
    control = measure(lambda: np.ones(CONTROL // 8))
    assert abs(out[0] + 1.0) < 1e-8
    assert not out[1:].any()
    assert (x == 1.0).all()
    print(used, control)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
