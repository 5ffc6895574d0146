"""What `fastgrad.check_gradient` costs: ``python bench/check_cost.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured. ``check_cost.py --memory INSTRUMENT n`` is how
it starts itself in a fresh process.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from contestants import BARE, Contestant, Objective
from gradient import Section, Target, point, refuse_unless_installed
from measure import Effort, circumstances, figure, interleave, table
from memory import CONTROL, MIB, instruments, resident, traced
from recipes import central_differences, norm_ratio

import fastgrad as fg

HERE = Path(__file__).resolve().parent
SMALL = 10
STRIDE = 4096  # calls from one look at the number of Python objects to the next


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    effort: Effort
    reading: int
    quadratic: int
    rounds: int


FULL = Scale(Effort(300, 4.0), 10**6, 10**5, 3)
QUICK = Scale(Effort(3, 0.03), 10**4, 10**3, 1)


def linear(x: np.ndarray) -> float:
    """Moves with every entry, and costs little more than a call."""
    return float(WEIGHTS.dot(x))


WEIGHTS = point(SMALL)


def reading(x: np.ndarray) -> float:
    """One entry squared, whatever n: the gradient is zero but for that entry, and so is known."""
    return x.item(0) ** 2


def reading_gradient(x: np.ndarray) -> np.ndarray:
    gradient = np.zeros_like(x)
    gradient[0] = 2 * x[0]
    return gradient


def quadratic(x: np.ndarray) -> float:
    """Not `x.dot(x)`: a threaded BLAS takes ten times as long when the machine is busy."""
    return 0.5 * float(np.einsum("i,i->", x, x))


def check(f: Objective, x: np.ndarray, grad: Callable | np.ndarray) -> fg.Report:
    report = fg.check_gradient(f, grad, x, strategy="exhaustive")
    assert report, report
    return report


def by_scipy(f: Objective, x: np.ndarray) -> None:
    from scipy.optimize import check_grad

    assert check_grad(f, lambda x: WEIGHTS, x) < 1e-6


def by_course(f: Objective, x: np.ndarray) -> None:
    assert norm_ratio(central_differences(f, x, 1e-7), WEIGHTS) < 2e-7


def contestants() -> list[Contestant]:
    """Those who check; `differentiate` is the whole check."""
    limit = {"tolerance": 0.0, "largest": SMALL}
    return [
        Contestant("fastgrad", partial(check, grad=WEIGHTS), **limit),
        Contestant("fastgrad.gradient alone", fg.gradient, **limit),
        Contestant("scipy check_grad", by_scipy, **limit),
        Contestant("course recipe", by_course, **limit),
    ]


def fixed_cost(scale: Scale) -> Section:
    """Microseconds of one small check beyond its evaluations."""
    x, everyone = point(SMALL), contestants()
    bare = 100
    times = interleave(everyone, linear, x, scale.effort, bare)
    rows, beyond = [], {}
    for each in everyone:
        calls = _calls(each, x)
        share = calls / bare
        cost = times.combined(lambda t, b, share=share: t - share * b, each.name, BARE) * 1e6
        beyond[each.name] = cost
        whole = times.seconds(each.name) * 1e6
        rows.append([each.name, str(calls), figure(whole), figure(cost)])
    target = Target(f"n = {SMALL}: µs beyond the evaluations", beyond["fastgrad"], 150, " µs")
    head = ["", "evaluations", "µs", "µs beyond them"]
    call = figure(times.seconds(BARE) / bare * 1e6)
    title = f"Fixed cost: n = {SMALL}, an f of {call} µs"
    return Section(title, table(head, rows), [target])


def _calls(contestant: Contestant, x: np.ndarray) -> int:
    calls = []
    contestant.differentiate(lambda x: calls.append(1) or linear(x), x)
    return len(calls)


def large_checks(scale: Scale) -> Section:
    """A cheap `f` beside its calls in a bare loop; a costly one with a clock in it."""
    rows, targets = [], []
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
    report = check(f, x, grad)
    middle = perf_counter()
    for _ in repeat(None, report.evaluations):
        f(x)
    return middle - start, perf_counter() - middle, report.evaluations


def _clocked(f: Objective, x: np.ndarray, grad: np.ndarray) -> tuple[float, float, int]:
    """The same from one run, so that the machine's moods cancel; the clock counts as outside."""
    inside = 0.0

    def timed(x: np.ndarray) -> float:
        nonlocal inside
        start = perf_counter()
        value = f(x)
        inside += perf_counter() - start
        return value

    start = perf_counter()
    report = check(timed, x, grad)
    return perf_counter() - start, inside, report.evaluations


def memory(scale: Scale) -> Section:
    """In arrays of n float64, beyond the parameters and the analytic gradient."""
    n = scale.reading
    rows, targets = [], []
    for instrument, what in instruments().items():
        used, control = in_fresh_process(instrument, n)
        assert abs(control - CONTROL) < MIB // 2, f"{instrument} saw {control} bytes of {CONTROL}"
        arrays = used / (8 * n)
        rows.append([what, f"{figure(arrays)} arrays"])
        targets.append(Target(f"{what}, in arrays of n floats", arrays, 8, ""))
    during, after = in_fresh_process("objects", n)
    rows += [
        ["Python objects during the check", f"{during:+d}"],
        ["Python objects that the report keeps", f"{after:+d}"],
    ]
    targets.append(Target("Python objects per entry", max(during, after) / n, 0.01, ""))
    return Section(f"Memory: x[0]², n = {n}", table(["", "beyond"], rows), targets)


def in_fresh_process(instrument: str, n: int) -> tuple[int, int]:
    command = [sys.executable, __file__, "--memory", instrument, str(n)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
    first, second = map(int, done.stdout.split())
    return first, second


def measure_memory(instrument: str, n: int) -> None:
    """Print bytes of the check and of a control; or blocks of memory that Python objects take."""
    x = point(n)
    grad = reading_gradient(x)
    check(reading, x[:3].copy(), grad[:3].copy())  # imports and code pages
    if instrument == "objects":
        print(*_objects(x, grad))
        return
    count = {"tracemalloc": traced, "resident": resident}[instrument]
    control = count(lambda: np.ones(CONTROL // 8))  # first: later it would take what is free
    print(count(lambda: check(reading, x, grad)), control)


def _objects(x: np.ndarray, grad: np.ndarray) -> tuple[int, int]:
    """Blocks at most during the check, seen from inside `f`, and those that the report keeps."""
    calls, most = 0, 0

    def watching(x: np.ndarray) -> float:
        nonlocal calls, most
        calls += 1
        if calls % STRIDE == 0:
            most = max(most, sys.getallocatedblocks())
        return reading(x)

    before = sys.getallocatedblocks()
    report = check(watching, x, grad)
    after = sys.getallocatedblocks()
    assert calls == report.evaluations
    return max(most, after) - before, after - before


def report(scale: Scale) -> str:
    sections = [measure(scale) for measure in (fixed_cost, large_checks, memory)]
    rows = [target.row() for section in sections for target in section.targets]
    targets = Section("Targets", table(["", "target", "measured", "met"], rows))
    parts = ["# What a check costs", "\\\n".join(circumstances(("fastgrad", "numpy", "scipy")))]
    return "\n\n".join(parts + [f"## {s.title}\n\n{s.text}" for s in (targets, *sections)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke run; its figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    parser.add_argument("--memory", nargs=2, metavar=("INSTRUMENT", "N"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        measure_memory(options.memory[0], int(options.memory[1]))
        return
    remark = refuse_unless_installed(options.quick)
    text = report(QUICK if options.quick else FULL)
    if options.quick:
        text += f"\n\nSmoke run: these figures mean nothing.{remark}"
    print(text)
    if options.out or not options.quick:
        folder = options.out or HERE / "results"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "check_cost.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
