"""What large checks cost: ``python bench/check_cost.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from competitors import Objective
from from_tests import Network
from measure import (
    Section,
    Target,
    arguments,
    figure,
    point,
    refuse_unless_installed,
    report,
    table,
)
from memory import (
    in_fresh_process,
    instruments,
    objects_in_fresh_process,
    reading,
    reading_gradient,
)

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy")
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SMALL_NETWORK = (40, 50, 20, 10)


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    reading: int
    quadratic: int
    rounds: int
    probes: int
    network: tuple[int, ...] | None  # None: that of a million parameters
    largest: int  # array that is probed


FULL = Scale(10**6, 10**5, 3, 30, None, 10**7)
QUICK = Scale(10**4, 10**3, 1, 2, SMALL_NETWORK, 10**5)


def quadratic(x: np.ndarray) -> float:
    """Not `x.dot(x)`: a threaded BLAS takes ten times as long when the machine is busy."""
    return 0.5 * float(np.einsum("i,i->", x, x))


def check(f: Objective, x: np.ndarray, grad: Callable | np.ndarray) -> fg.Report:
    found = fg.check_gradient(f, grad, x, strategy="exhaustive")
    assert found, found
    return found


def large_checks(scale: Scale) -> Section:
    """A cheap `f` beside its calls in a bare loop; a costly one with a clock in it."""
    rows, targets = [], []
    check(quadratic, point(3), np.copy)  # imports
    for name, n, f, grad, split in (
        ("x[0]², bare loop", scale.reading, reading, reading_gradient, _beside_bare),
        ("x·x / 2, clock in f", scale.quadratic, quadratic, np.copy, _clocked),
    ):
        x = point(n)
        rounds = [split(f, x, grad(x)) for _ in range(scale.rounds)]
        calls = rounds[0][2]
        assert calls >= 2 * n
        rows.append([f"{name}, n = {n}", f"{calls - 2 * n:+d}", *_shares(rounds, n)])
        targets.append(Target(f"{name}, n = {n}: calls beyond 2n", calls - 2 * n, 20, ""))
    head = ["f", "beyond 2n", "µs/call", "s", "outside f", "(rounds)", "µs/entry beyond"]
    return Section("Large checks: what is not spent in f", table(head, rows), targets)


def _shares(rounds: list[tuple[float, float, int]], n: int) -> list[str]:
    """Medians of figures made within a round; their range shows whether to trust them."""
    checks, inside, calls = np.array(rounds).T
    outside = 100 * (1 - inside / checks)
    return [
        figure(median(inside / calls) * 1e6),
        figure(median(checks)),
        f"{median(outside):.1f} %",
        f"{outside.min():.1f} to {outside.max():.1f} %",
        figure(median(checks - inside) / n * 1e6),
    ]


def _beside_bare(f: Objective, x: np.ndarray, grad: np.ndarray) -> tuple[float, float, int]:
    """Seconds of the check, of its calls alone, and how many they are."""
    start = perf_counter()
    calls = check(f, x, grad).evaluations
    middle = perf_counter()
    for _ in repeat(None, calls):
        f(x)
    return middle - start, perf_counter() - middle, calls


def _clocked(f: Objective, x: np.ndarray, grad: np.ndarray) -> tuple[float, float, int]:
    """The same from one run: what else the machine does cancels. The clock counts as outside."""
    clock = Clock(f)
    start = perf_counter()
    calls = check(clock, x, grad).evaluations
    return perf_counter() - start, clock.seconds, calls


def memory(scale: Scale) -> Section:
    """In arrays of n float64, beyond the parameters and the analytic gradient."""
    n = scale.reading
    rows, targets = [], []
    for instrument, what in instruments().items():
        arrays = in_fresh_process(instrument, "check", n) / (8 * n)
        rows.append([what, f"{figure(arrays)} arrays"])
        targets.append(Target(f"{what}, in arrays of n floats", arrays, 8, ""))
    during, after = objects_in_fresh_process(n)
    rows += [
        ["Python objects during the check", f"{during:+d}"],
        ["Python objects that the report keeps", f"{after:+d}"],
    ]
    targets.append(Target("Python objects per entry", max(during, after) / n, 0.01, ""))
    return Section(f"Memory: x[0]², n = {n}", table(["", "beyond"], rows), targets)


def probes(scale: Scale) -> Section:
    """The share of a probe that is not spent in `f`, with one BLAS thread; and its memory."""
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    command = [sys.executable, __file__, "--probe", *["--quick"] * (scale is QUICK)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    outside = 100 * float(done.stdout)
    arrays = in_fresh_process("resident", "probe", scale.largest) / (8 * scale.largest)
    rows = [
        ["a network of 987,210 parameters, right: not spent in f", figure(outside, " %")],
        [f"{scale.largest:,} in one array: peak beyond them", f"{figure(arrays)} arrays"],
    ]
    targets = [
        Target("a right probe of a network: outside f", outside, 20, " %"),
        Target("a right probe: peak memory, in arrays", arrays, 1.5, ""),
    ]
    return Section("Probes, one BLAS thread", table(["", ""], rows), targets)


def outside_of_probes(scale: Scale) -> float:
    """The median share of the time outside `f`, of right probes."""
    net = Network(**({"sizes": scale.network} if scale.network else {}))
    claimed = net.gradient(net.params)
    shares = []
    for seed in range(scale.probes):
        clock = Clock(net.cost)
        start = perf_counter()
        assert fg.check_gradient(clock, claimed, net.params, strategy="probe", seed=seed)
        shares.append(1 - clock.seconds / (perf_counter() - start))
    return median(shares)


class Clock:
    """A function that keeps count of the time spent in it."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f, self.seconds = f, 0.0

    def __call__(self, params: Any) -> Any:
        start = perf_counter()
        value = self.f(params)
        self.seconds += perf_counter() - start
        return value


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--probe", action="store_true", help="print one share and no more")
    options = parser.parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    if options.probe:
        print(outside_of_probes(scale))
        return
    sections = [measure(scale) for measure in (large_checks, memory, probes)]
    report("check_cost.md", "What a check costs", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
