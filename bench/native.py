"""Benchmark of native objectives: ``python bench/native.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured and how to read it.
"""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from competitors import Competitor, competitors, count_calls
from measure import (
    Effort,
    Section,
    Target,
    Timings,
    arguments,
    figure,
    point,
    refuse_unless_installed,
    report,
    table,
    take_turns,
)
from native_library import OBJECTIVES, by_hand, entry_point, load, objective, repeated, wrap

import fastgrad as fg

BY_HAND, CONTRACT = "loop by hand", "fastgrad"
NATIVE, WRAPPER = "fastgrad, native", "fastgrad, wrapper"
BLOCK = 2e-3  # seconds, against less than 1e-5 for the call from Python


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    effort: Effort
    sizes: tuple[int, ...]
    peers_n: int
    threads_n: int


FULL = Scale(Effort(200, 4.0), (10, 100, 10**4), 100, 10**4)
QUICK = Scale(Effort(3, 0.03), (10, 100), 10, 100)


def c_loops(scale: Scale) -> Section:
    """The entry point for C beside the loop by hand, both called from C."""
    rows, targets = [], []
    for name in OBJECTIVES:
        for n in scale.sizes:
            seconds, ratio = _one_c_loop(name, n, scale)
            rows.append(
                [name, str(n), *(figure(s / (2 * n) * 1e9) for s in seconds), figure(ratio)]
            )
            what = f"C loop, f {name}, n = {n}"
            targets.append(Target(what, ratio, 1.15 if name == "nothing" else 1.05, " x"))
    head = ["f", "n", "by hand, ns/call", "fastgrad, ns/call", "x by hand"]
    title = "The loop in C: nanoseconds for each call of f, its own work included"
    return Section(title, table(head, rows), targets)


def _one_c_loop(name: str, n: int, scale: Scale) -> tuple[tuple[float, float], float]:
    """Seconds per gradient of both, and the ratio."""
    f, x = objective(name), point(n)
    times = _enough(f, x)
    loops = {BY_HAND: by_hand(), CONTRACT: entry_point()}
    everyone = [
        Competitor(each, lambda f, x, at=at: repeated(at, f, x, times), 0.0, 10**6)
        for each, at in loops.items()
    ]
    first, second = (each.differentiate(f, x) for each in everyone)
    assert (first == second).all(), name
    timings = take_turns(everyone, f, x, scale.effort)
    seconds = [timings.seconds(each) / times for each in loops]
    return (seconds[0], seconds[1]), timings.ratio(CONTRACT, BY_HAND)


def _enough(f: fg.Native, x: np.ndarray) -> int:
    """How many gradients take so long that the call from Python does not count."""
    times, seconds = 1, 0.0
    while seconds < BLOCK:
        times *= 2
        start = perf_counter()
        repeated(by_hand(), f, x, times)
        seconds = perf_counter() - start
    return times


def from_python(scale: Scale) -> Section:
    """What one call of fg.gradient costs with a native objective, beyond its evaluations."""
    rows, targets = [], []
    for n in (1, 10, 100):
        f, x = objective("nothing"), point(n)
        everyone = [
            Competitor(NATIVE, fg.gradient, 0.0, 10**6),
            Competitor(BY_HAND, lambda f, x: repeated(by_hand(), f, x, 100), 0.0, 10**6),
        ]
        timings = take_turns(everyone, f, x, scale.effort)
        beyond = timings.combined(lambda a, b: a - b / 100, NATIVE, BY_HAND) * 1e6
        rows.append([str(n), figure(timings.seconds(NATIVE) * 1e6), figure(beyond)])
        if n == 10:
            targets.append(Target("one call of fg.gradient, n = 10", beyond, 2.0, " µs"))
    head = ["n", "µs/gradient", "beyond the loop by hand"]
    return Section("Called from Python: f nothing", table(head, rows), targets)


def peers(scale: Scale) -> Section:
    """The others on the same compiled function, which they can call through Python only."""
    native, x = objective("rosenbrock"), point(scale.peers_n)
    others = [each for each in competitors()[0] if not each.name.startswith("fastgrad")]
    everyone = [
        Competitor(NATIVE, lambda _, x: fg.gradient(native, x), 1e-7, 10**6),
        Competitor(WRAPPER, fg.gradient, 1e-7, 10**6),
        *others,
    ]
    wrapper = wrap("rosenbrock")
    exact = fg.gradient(native, x, method=fg.central(order=6))
    for each in everyone:
        found = np.reshape(each.differentiate(wrapper, x), x.shape)
        assert fg.relative_error(found, exact) <= max(each.tolerance, 1e-7), each.name
    timings = take_turns(everyone, wrapper, x, scale.effort)
    rows = []
    for each in everyone:
        calls = 2 * x.size if each.name == NATIVE else count_calls(each, wrapper, x)
        cells = [timings.seconds(each.name) * 1e6, timings.ratio(each.name, NATIVE), calls / x.size]
        rows.append([each.name, *map(figure, cells)])
    title = f"The same compiled function (Rosenbrock, n = {x.size}) through its Python wrapper"
    return Section(title, table(["", "µs/gradient", "x native", "calls/entry"], rows))


def threads(scale: Scale) -> Section:
    """Threads on the machine's cores, and what two processes get if others use these too."""
    f, x = objective("rosenbrock"), point(scale.threads_n)
    counts = sorted({1, 2, os.cpu_count() or 1})
    everyone = [
        Competitor(str(k), lambda f, x, k=k: fg.gradient(f, x, workers=k), 0.0, 10**6)
        for k in counts
    ]
    alone = fg.gradient(f, x)
    assert all((each.differentiate(f, x) == alone).all() for each in everyone)
    rounds = Effort(min(scale.effort.rounds, 25), 3 * scale.effort.seconds)
    timings = take_turns(everyone, f, x, rounds)
    rows = [[each.name, *_speed_up(timings, each.name)] for each in everyone]
    capacity = 2 * timings.seconds("1", min) / min(_two_processes(f, x) for _ in range(10))
    rows.append(["two processes", "", "", figure(capacity)])
    best = timings.seconds("1", min) / timings.seconds("2", min)
    targets = [Target("two threads / one, best rounds", best, 1.9, " x", at_least=True)]
    head = ["threads", "ms/gradient", "speed-up, median", "speed-up, best rounds"]
    return Section(f"Threads: Rosenbrock, n = {x.size}", table(head, rows), targets)


def _two_processes(f: fg.Native, x: np.ndarray) -> float:
    """Seconds that two processes take for a gradient each: what the machine has to give."""
    fork = multiprocessing.get_context("fork")
    ready = fork.Barrier(3)

    def run() -> None:
        ready.wait()
        fg.gradient(f, x)

    both = [fork.Process(target=run) for _ in range(2)]
    for each in both:
        each.start()
    ready.wait()
    start = perf_counter()
    for each in both:
        each.join()
    return perf_counter() - start


def _speed_up(timings: Timings, name: str) -> list[str]:
    ratio = 1 / timings.ratio(name, "1")
    best = timings.seconds("1", min) / timings.seconds(name, min)
    return [figure(timings.seconds(name) * 1e3), figure(ratio), figure(best)]


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    load()
    sections = [measure(scale) for measure in (c_loops, from_python, peers, threads)]
    report("native.md", "Native objectives", sections, options)


if __name__ == "__main__":
    main()
