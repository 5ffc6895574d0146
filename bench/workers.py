"""What two workers gain, and what handing out a slice costs.

    python bench/workers.py [--quick] [--out DIR]

Writes `workers.md`. A function that sleeps leaves the cores alone, so its ratio tells what the
machinery costs; one that computes is at the mercy of what else the two cores have to do.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
from measure import Section, arguments, figure, refuse_unless_installed, report, table

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "loky", "distributed")
ENTRIES = 4  # few enough for a slice each
GAINS = """\
*Ratio* is what two workers gain, *running pool* the same with a ProcessPoolExecutor of two that
runs already, *bare loops* what two processes gain that call `f` as often and do nothing else: what
other work on the machine takes, it takes from all. The results were those of the serial run to the
bit. The times include the start of the processes and the evaluations that compare a worker's copy
of `f` with the original, two here and two in each worker."""
OVERHEADS = f"""\
`fg.gradient` of {ENTRIES} entries and an `f` that does nothing. The processes of fastgrad start and
end with the call, the others run already. *Each slice* is what one entry more takes, which is a
slice of its own here."""


def cubes(x: np.ndarray) -> float:
    return float((x**3).sum())


def sleeping(seconds: float, x: np.ndarray) -> float:
    sleep(seconds)
    return cubes(x)


def computing(seconds: float, x: np.ndarray) -> float:
    """Busy for a time that counts this process alone, whatever else the machine does."""
    end = process_time() + seconds
    while process_time() < end:
        pass
    return cubes(x)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = perf_counter()
    result = work()
    return perf_counter() - start, result


def call(f: Callable[[Any], float], x: np.ndarray, times: int) -> None:
    for _ in range(times):
        f(x)


def compare(f: Callable[[Any], float], n: int, rounds: int) -> list[float]:
    """Medians: seconds serial and with two workers, and how many times faster two are.

    The speed-ups are those of processes started for the call, of a pool that runs already, and of
    two bare loops, which make the same calls of `f` and nothing else: no more is to be had on this
    machine at this time.
    """
    x = np.linspace(-1.0, 2.0, n)
    rows = []
    with ProcessPoolExecutor(2) as pool:
        for _ in range(rounds):
            bare, _ = timed(lambda: list(pool.map(call, [f] * 2, [x] * 2, [n] * 2)))
            serial, expected = timed(lambda: fg.gradient(f, x))
            started, found = timed(lambda: fg.gradient(f, x, workers=2))
            running, again = timed(lambda: fg.gradient(f, x, workers=pool))
            assert found.tobytes() == again.tobytes() == expected.tobytes()
            rows.append((serial, started, serial / started, serial / running, serial / bare))
    return [median(column) for column in zip(*rows, strict=True)]


@contextmanager
def pools() -> Iterator[dict[str, Any]]:
    """Pools of one worker, by kind."""
    with ExitStack() as stack:
        made: dict[str, Any] = {
            "ProcessPoolExecutor": stack.enter_context(ProcessPoolExecutor(1)),
            "ThreadPoolExecutor": stack.enter_context(ThreadPoolExecutor(1)),
        }
        if importlib.util.find_spec("loky"):
            import loky

            made["loky"] = stack.enter_context(loky.ProcessPoolExecutor(1))
        if importlib.util.find_spec("distributed"):
            from distributed import Client, LocalCluster

            options = {"n_workers": 1, "threads_per_worker": 1, "dashboard_address": None}
            cluster = stack.enter_context(LocalCluster(processes=True, **options))
            made["dask, one process here"] = stack.enter_context(Client(cluster))
        yield made


def costs(workers: Any, calls: int) -> tuple[float, float, float]:
    """Seconds of the first call, of a later one, and of each slice beyond the first.

    A pool of one gets each entry of a few as a slice of its own.
    """
    few, one = np.ones(ENTRIES), np.ones(1)
    first, _ = timed(lambda: fg.gradient(cubes, few, workers=workers))
    later = [
        [timed(lambda x=x: fg.gradient(cubes, x, workers=workers))[0] for x in (few, one)]
        for _ in range(calls)
    ]
    whole = median(long for long, _ in later)
    return first, whole, median(long - short for long, short in later) / (ENTRIES - 1)


def gains(quick: bool) -> Section:
    n, seconds, rounds = (10, 1e-3, 1) if quick else (200, 20e-3, 3)
    rows = []
    for what, f in (("sleeps", sleeping), ("computes", computing)):
        serial, spread, *ratios = compare(partial(f, seconds), n, rounds)
        rows.append([what, figure(serial), figure(spread), *(f"{ratio:.2f}" for ratio in ratios)])
    head = ["serial, s", "workers=2, s", "ratio", "running pool", "bare loops"]
    text = table([f"`f` of {seconds * 1e3:.0f} ms, n = {n}", *head], rows)
    return Section("What two workers gain", f"{text}\n\n{GAINS}")


def overheads(quick: bool) -> Section:
    first, _ = timed(lambda: fg.gradient(cubes, np.ones(ENTRIES), workers=2))
    rows = [["two processes of fastgrad", figure(first * 1e3), "", ""]]
    with pools() as made:
        for name, workers in made.items():
            first, later, each = costs(workers, 3 if quick else 100)
            rows.append([name, figure(first * 1e3), figure(later * 1e3), figure(each * 1e6)])
    text = table(["one worker", "first call, ms", "later, ms", "each slice, µs"], rows)
    return Section("What handing out costs", f"{text}\n\n{OVERHEADS}")


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    sections = [gains(options.quick), overheads(options.quick)]
    report("workers.md", "Workers", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
