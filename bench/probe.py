"""Probing a network of 987,210 parameters: evaluations, what is found, overhead, memory.

    python bench/probe.py [--quick] [--out DIR] [--outside]

Writes probe.md and probe.png. Every row is a number of runs with other seeds, errors in other
places; a run that misses what was planted, or names anything else, fails the benchmark.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from from_tests import Network, Params
from measure import Section, arguments, figure, folder_of, report, table
from memory import MIB, in_fresh_process

import fastgrad as fg

SMALL = (40, 50, 20, 10)
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Case:
    """What is planted into which network, and how many evaluations finding it may take."""

    name: str
    kind: str
    activation: str
    dtype: str
    limit: int | None


CASES = (
    Case("nothing wrong", "right", "tanh", "f8", 40),
    Case("one entry off by 1 %", "one", "tanh", "f8", 120),
    Case("20 entries off by 10 %", "twenty", "tanh", "f8", 1200),
    Case("a layer off by a factor 2", "layer", "tanh", "f8", 200),
    Case("a column off by a factor 2", "column", "tanh", "f8", None),
    Case("nothing wrong, ReLU", "right", "relu", "f8", None),
    Case("one entry off by 1 %, ReLU", "one", "relu", "f8", 160),
    Case("nothing wrong, float32", "right", "tanh", "f4", None),
    Case("one entry off by ten typical ones, float32", "ten", "tanh", "f4", 200),
    Case("nothing wrong, ReLU, float32", "right", "relu", "f4", None),
)


def plant(kind: str, gradient: Params, random: np.random.Generator) -> tuple[Params, list[int]]:
    """A copy of the gradient with errors in W1, and which entries they are in."""
    wrong = {key: value.copy() for key, value in gradient.items()}
    w = wrong["W1"]
    count = {"one": 1, "ten": 1, "twenty": 20}.get(kind, 0)
    entries = np.sort(random.choice(w.size, count, replace=False))
    if kind in ("one", "twenty"):
        w.flat[entries] *= 1.01 if kind == "one" else 1.1
    elif kind == "ten":
        w.flat[entries] += 10 * np.abs(w).mean()
    elif kind == "layer":
        w *= 2
    elif kind == "column":
        w[:, random.integers(w.shape[1])] *= 2
    return wrong, entries.tolist()


def judged_well(case: Case, found: fg.Report, entries: list[int], shape: tuple[int, ...]) -> str:
    """What is wrong with the report, in a word; nothing if it is as it should be.

    Not to be able to tell whether a right gradient is right is no false alarm: it is counted.
    """
    if case.kind == "right":
        return "false alarm" if found.verdict is fg.Verdict.WRONG else ""
    if found.verdict is not fg.Verdict.WRONG:
        return "missed"
    if any(entry.leaf != "W1" for entry in found.wrong):
        return "falsely named"
    if entries:
        named = {int(np.ravel_multi_index(entry.index, shape)) for entry in found.wrong}
        if named == set(entries):
            return ""
        return "missed" if named < set(entries) else "falsely named"
    cause = found.causes[0]
    factor = cause.kind is fg.Cause.FACTOR
    return "" if factor and abs(cause.evidence["factor"] - 2) < 1e-3 else "cause not named"


@dataclass(frozen=True)
class Tally:
    evaluations: list[int]
    failures: list[str]
    unclear: int
    limits: list[float]
    outside: list[float]


def tally(case: Case, seeds: int, sizes: tuple[int, ...] | None) -> Tally:
    """Run a case with many seeds."""
    net = Network(case.activation, case.dtype, **({"sizes": sizes} if sizes else {}))
    right = net.gradient(net.params)
    evaluations, failures, limits, outside, unclear = [], [], [], [], 0
    for seed in range(seeds):
        claimed, entries = plant(case.kind, right, np.random.default_rng(1000 + seed))
        clock = Clock(net.cost)
        start = time.perf_counter()
        found = fg.check_gradient(clock, claimed, net.params, strategy="probe", seed=seed)
        seconds = time.perf_counter() - start
        failure = judged_well(case, found, entries, right["W1"].shape)
        failures += [failure] if failure else []
        unclear += found.verdict is fg.Verdict.CANNOT_TELL
        evaluations.append(found.evaluations)
        limits.append(found.leaves[0].limit)
        outside.append(1 - clock.seconds / seconds)
    return Tally(evaluations, failures, unclear, limits, outside)


class Clock:
    """A function that keeps count of the time spent in it."""

    def __init__(self, f) -> None:
        self.f, self.seconds = f, 0.0

    def __call__(self, p):
        start = time.perf_counter()
        value = self.f(p)
        self.seconds += time.perf_counter() - start
        return value


def counts(quick: bool) -> tuple[str, list[str]]:
    rows, broken = [], []
    for case in CASES:
        seeds = 2 if quick else 100
        found = tally(case, seeds, SMALL if quick else None)
        finite = [limit for limit in found.limits if np.isfinite(limit)]
        rows.append(
            [
                case.name,
                f"{int(np.median(found.evaluations)):,}",
                f"{max(found.evaluations):,}",
                f"{case.limit:,}" if case.limit else "",
                f"{seeds - len(found.failures)} of {seeds}",
                f"{found.unclear}",
                f"{np.median(finite):.1g}" if finite else "",
                f"{np.median(found.outside):.0%}",
            ]
        )
        broken += [f"{case.name}: {each}" for each in sorted(set(found.failures))]
        print(" | ".join(rows[-1]), flush=True)
    head = [
        "planted",
        "evaluations",
        "at most",
        "limit",
        "as planted",
        "cannot tell",
        "detects",
        "outside f",
    ]
    return table(head, rows), broken


def curve(quick: bool) -> list[tuple[int, int, int]]:
    """Parameters, and evaluations of both strategies, for networks of growing width."""
    found = []
    for width in (4, 16, 64) if quick else (4, 16, 64, 250, 1000, 4000):
        sizes = (max(8, 784 * width // 1000), width, max(4, width // 5), 10)
        net = Network(sizes=sizes)
        n = sum(value.size for value in net.params.values())
        wrong, _ = plant("one", net.gradient(net.params), np.random.default_rng(0))
        passed = fg.check_gradient(net.cost, net.gradient(net.params), net.params, strategy="probe")
        located = fg.check_gradient(net.cost, wrong, net.params, strategy="probe")
        assert passed
        assert not located
        found.append((n, passed.evaluations, located.evaluations))
    return found


def draw(points: list[tuple[int, int, int]], path: Path) -> bool:
    """Evaluations against the number of parameters."""
    if find_spec("matplotlib") is None:
        return False
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    n, right, wrong = (np.array(column) for column in zip(*points, strict=True))
    figure_, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    lines = (
        (2 * n + 9, "entry by entry, 2n + 9", "#0072B2", -2, (-10, 6)),
        (wrong, "probe, one entry off by 1 %", "#D55E00", -1, (0, 9)),
        (right, "probe, nothing wrong", "#009E73", -1, (0, -16)),
    )
    for values, label, color, at, shift in lines:
        axes.plot(n, values, "o-", color=color, linewidth=1.8, markersize=5)
        where = {"xytext": shift, "textcoords": "offset points", "ha": "right"}
        axes.annotate(label, (n[at], values[at]), color=color, fontsize=10, **where)
    axes.set(xscale="log", yscale="log", ylim=(10, None))
    axes.set_xlabel("parameters of the network")
    axes.set_ylabel("evaluations of the cost")
    axes.set_title("What checking all parameters of a network costs", loc="left")
    axes.grid(which="major", color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure_.savefig(path, dpi=130)
    plt.close(figure_)
    return True


def outside_alone(quick: bool) -> str:
    """The share of the time outside the cost where BLAS has one thread, in a fresh process."""
    environment = {**os.environ, **dict.fromkeys(ONE_THREAD, "1")}
    command = [sys.executable, __file__, "--outside", *["--quick"] * quick]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return (
        f"With one BLAS thread the cost takes longer: {float(done.stdout):.0%} of the time of a "
        "run with nothing wrong are outside it."
    )


def memory_used(quick: bool) -> str:
    """Peak beyond parameters and gradient, in units of the largest leaf."""
    n = 10**5 if quick else 10**7
    used = in_fresh_process("resident", "probe", n)
    return (
        f"Peak resident memory of a probe of {n:,} parameters in one array, beyond them and the "
        f"gradient that is passed: {figure(used / (8 * n))} x the array, {figure(used / MIB)} MiB."
    )


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--outside", action="store_true", help="print one share and no more")
    options = parser.parse_args()
    if options.outside:
        print(np.median(tally(CASES[0], *((2, SMALL) if options.quick else (30, None))).outside))
        return 0
    memory = memory_used(options.quick)
    alone = outside_alone(options.quick)
    counted, broken = counts(options.quick)
    points = curve(options.quick)
    rows = [[f"{n:,}", f"{2 * n + 9:,}", str(right), str(wrong)] for n, right, wrong in points]
    head = ["parameters", "entry by entry", "probe, right", "probe, one wrong"]
    parts = [
        counted,
        "*Evaluations* is the median, *detects* the stated detection limit for a single entry of "
        "W1 in the median, *outside f* the share of the time not spent in the cost. " + alone,
        table(head, rows),
        memory,
    ]
    folder = folder_of(options)
    if folder and draw(points, folder / "probe.png"):
        parts.append("![Evaluations against parameters](probe.png)")
    sections = [Section("", part) for part in parts]
    report("probe.md", "Probing a network", sections, options, ("fastgrad", "numpy"))
    for each in broken:
        print(each, file=sys.stderr)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
