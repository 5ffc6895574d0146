"""What two workers gain, and what handing out a slice costs.

    python bench/workers.py [--quick] [--out DIR]

Writes `workers.md`. A function that sleeps leaves the cores alone, so its ratio tells what the
machinery costs; one that computes is at the mercy of what else the two cores have to do.
"""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time, sleep
from typing import Any

import numpy as np
from measure import circumstances, figure, table

import fastgrad as fg
from fastgrad._tree import flatten
from fastgrad._workers.pools import workforce
from fastgrad._workers.processes import Processes
from fastgrad._workers.scheduler import hired

HERE = Path(__file__).resolve().parent
PACKAGES = ("fastgrad", "numpy", "loky", "distributed")
SLICES = 4  # of one entry each: what a crew of one makes of four entries


def cubes(x: np.ndarray) -> float:
    return float((x**3).sum())


def sleeping(seconds: float, x: np.ndarray) -> float:
    sleep(seconds)
    return cubes(x)


def computing(seconds: float, x: np.ndarray) -> float:
    """Busy for so many seconds of processor time, whatever else the machine does."""
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
    """Medians of: seconds serial and with two workers, and how many times faster two are.

    With processes started for the call, in a pool that runs already, and as two bare loops, which
    make the same calls of `f` and nothing else: no better is to be had on this machine now.
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
def kinds() -> Iterator[dict[str, Any]]:
    """Workers of each kind, one of each."""
    with ExitStack() as stack:
        made: dict[str, Any] = {
            "processes of fastgrad": None,
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


def per_slice(workers: Any, calls: int) -> tuple[float, float]:
    """Seconds until the first slices are back, and for each slice from then on."""
    x = np.ones(SLICES)
    entries, steps = np.arange(SLICES), np.full(SLICES, 1e-5)
    makes = workforce(workers) if workers is not None else partial(Processes, 1)
    with hired(makes, cubes, x, flatten(x)) as crew:
        first, _ = timed(lambda: crew.beside(0, entries, steps))
        again = [timed(lambda: crew.beside(0, entries, steps))[0] for _ in range(calls)]
    return first, median(again) / SLICES


def gains(quick: bool) -> str:
    n, seconds, rounds = (10, 1e-3, 1) if quick else (200, 20e-3, 3)
    rows = []
    for what, f in (("sleeps", sleeping), ("computes", computing)):
        serial, spread, *ratios = compare(partial(f, seconds), n, rounds)
        rows.append([what, figure(serial), figure(spread), *(f"{ratio:.2f}" for ratio in ratios)])
    head = ["serial, s", "workers=2, s", "ratio", "running pool", "bare loops"]
    return table([f"`f` of {seconds * 1e3:.0f} ms, n = {n}", *head], rows)


def overheads(quick: bool) -> str:
    rows = []
    with kinds() as made:
        for name, workers in made.items():
            first, slice_ = per_slice(workers, 3 if quick else 100)
            rows.append([name, figure(first * 1e3), figure(slice_ * 1e6)])
    return table(["one worker", "start, ms", "each slice, µs"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a smoke run")
    parser.add_argument("--out", type=Path, default=HERE / "results")
    given = parser.parse_args()
    text = "\n".join(
        [
            "# Workers",
            "",
            *circumstances(PACKAGES),
            "",
            gains(given.quick),
            "",
            "*Ratio* is what two workers gain, *running pool* the same with a ProcessPoolExecutor",
            "of two that runs already, *bare loops* what two processes gain that call `f` as often",
            "and do nothing else: what other work on the machine takes, it takes from all. The",
            "results were those of the serial run to the bit. The times include the start of the",
            "processes and the evaluations that compare a worker's copy of `f` with the original,",
            "two here and two in each worker. A slice is one entry here.",
            "",
            overheads(given.quick),
            "",
            "Of four slices of one entry each, of an `f` that does nothing: *start* is the time",
            "until the first four are back, with the processes of fastgrad started, others running",
            "already; *each slice* the median of later calls.",
            "",
        ]
    )
    print(text)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "workers.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
