"""Memory of a probe beyond the parameters and the gradient: ``probe_memory.py INSTRUMENT n``."""

from __future__ import annotations

import sys

import numpy as np
from memory import CONTROL, resident, traced

import fastgrad as fg


def half_square(x: np.ndarray) -> float:
    return 0.5 * float(x @ x)


def main(instrument: str, n: int) -> None:
    measure = {"tracemalloc": traced, "resident": resident}[instrument]
    fg.check_gradient(half_square, np.ones(5000), np.ones(5000), strategy="probe")  # imports
    control = measure(lambda: np.ones(CONTROL // 8))  # first: later it would take what is free
    x = np.linspace(-1.0, 1.0, n)
    claimed = x.copy()
    reports = []
    used = measure(
        lambda: reports.append(fg.check_gradient(half_square, claimed, x, strategy="probe"))
    )
    assert reports[0], reports[0]
    assert (x == claimed).all()
    print(used, control)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
