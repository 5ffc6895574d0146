"""Probes of a million parameters, in a network and in many arrays: evaluations, what is found.

    python bench/probe.py [--quick] [--out DIR]

Writes probe.md and probe.png. Nothing is timed. Every row is a number of runs with other seeds,
errors in other places; a run that misses what was planted, unless that is below the detection limit
it states, or names anything else, fails the benchmark.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from from_tests import Network, Params
from measure import (
    Section,
    Target,
    arguments,
    folder_of,
    refuse_unless_installed,
    report,
    table,
)

import fastgrad as fg

SMALL = (40, 50, 20, 10)


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
    Case("one entry off by 1 %", "one", "tanh", "f8", 100),
    Case("20 entries off by 10 %", "twenty", "tanh", "f8", 900),
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


BELOW = "below the limit"


def judged_well(case: Case, found: fg.Report, entries: list[int], errors: np.ndarray) -> str:
    """What is wrong with the report, in a word; nothing if it is as it should be.

    `errors` are those planted into W1. Not to be able to tell whether a right gradient is right is
    no false alarm: it is counted.
    """
    if case.kind == "right":
        return "false alarm" if found.verdict is fg.Verdict.WRONG else ""
    if found.verdict is not fg.Verdict.WRONG:
        return BELOW if np.abs(errors).max() <= found.leaves[0].limit else "missed"
    if any(entry.leaf != "W1" for entry in found.wrong):
        return "falsely named"
    if entries:
        named = {int(np.ravel_multi_index(entry.index, errors.shape)) for entry in found.wrong}
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


def tally(case: Case, seeds: int, sizes: tuple[int, ...] | None) -> Tally:
    """Run a case with many seeds."""
    net = Network(case.activation, case.dtype, **({"sizes": sizes} if sizes else {}))
    right = net.gradient(net.params)
    evaluations, failures, limits, unclear = [], [], [], 0
    for seed in range(seeds):
        claimed, entries = plant(case.kind, right, np.random.default_rng(1000 + seed))
        found = fg.check_gradient(net.cost, claimed, net.params, strategy="probe", seed=seed)
        failure = judged_well(case, found, entries, claimed["W1"] - right["W1"])
        failures += [failure] if failure else []
        unclear += found.verdict is fg.Verdict.CANNOT_TELL
        evaluations.append(found.evaluations)
        limits.append(found.leaves[0].limit)
    return Tally(evaluations, failures, unclear, limits)


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
                f"{found.failures.count(BELOW)}",
                f"{found.unclear}",
                f"{np.median(finite):.1g}" if finite else "",
            ]
        )
        broken += [f"{case.name}: {each}" for each in sorted({*found.failures} - {BELOW})]
        print(" | ".join(rows[-1]), flush=True)
    head = [
        "planted",
        "evaluations",
        "at most",
        "limit",
        "as planted",
        BELOW,
        "cannot tell",
        "detects",
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


# ---------------------------------------------------------------- many arrays


@dataclass(frozen=True)
class Planted:
    """An error in some of many arrays, and how many evaluations finding it may take."""

    name: str
    kind: str
    dtype: str
    limit: int
    seeds: int = 20


PLANTED = (
    Planted("nothing wrong", "right", "f8", 16),
    Planted("one entry off by 1 %", "one", "f8", 100),
    Planted("one array off by a factor 1.05", "array", "f8", 60),
    Planted("20 entries off by 10 %", "twenty", "f8", 900, seeds=5),
    Planted("nothing wrong, float32", "right", "f4", 60),
)


class Arrays:
    """A quadratic form of parameters in many arrays, which costs a few passes over them.

    Its terms have both signs: a sum of squares would be a large number, whose rounding hides one
    entry of a million.
    """

    def __init__(self, arrays: int, entries: int, dtype: str) -> None:
        random = np.random.default_rng(arrays)
        sizes = np.diff(np.linspace(0, entries, arrays + 1).astype(int))

        def normal() -> Params:
            return {f"p{k}": random.normal(size=n).astype(dtype) for k, n in enumerate(sizes)}

        self.params, self.first, self.second = normal(), normal(), normal()

    def __call__(self, p: Params) -> float:
        """In float64: a float32 sum of a million terms would be noise."""
        total = 0.0
        for key, x in p.items():
            slope = np.multiply(self.second[key], x, dtype=float) / 2
            total += float((slope + self.first[key]) @ x)
        return total

    def gradient(self, p: Params) -> Params:
        return {key: self.first[key] + self.second[key] * x for key, x in p.items()}


def plant_in_arrays(
    kind: str, gradient: Params, random: np.random.Generator
) -> tuple[Params, set[tuple[str, int]]]:
    """A copy with errors in it, and where they are: entries, or a whole array as entry -1."""
    wrong = {key: value.copy() for key, value in gradient.items()}
    keys, places = list(wrong), set()
    if kind == "array":
        key = keys[random.integers(len(keys))]
        wrong[key] *= 1.05
        return wrong, {(key, -1)}
    while len(places) < {"one": 1, "twenty": 20}.get(kind, 0):
        key = keys[random.integers(len(keys))]
        entry = int(random.integers(wrong[key].size))
        if abs(wrong[key][entry]) >= 1:  # typical: a hundredth of less is below the limit
            places.add((key, entry))
    for key, entry in places:
        wrong[key][entry] *= 1.01 if kind == "one" else 1.1
    return wrong, places


def as_planted(found: fg.Report, places: set[tuple[str, int]]) -> str:
    """What is wrong with the report, in a word; nothing if it is as it should be."""
    if not places:
        return "false alarm" if found.verdict is fg.Verdict.WRONG else ""
    if found.verdict is not fg.Verdict.WRONG:
        return "missed"
    named = {(entry.leaf, int(entry.index[0])) for entry in found.wrong}
    if -1 not in {entry for _, entry in places}:
        return "" if named == places else "missed" if named < places else "falsely named"
    if {leaf for leaf, _ in named} != {leaf for leaf, _ in places}:
        return "falsely named"
    cause = found.causes[0]
    factor = cause.kind is fg.Cause.FACTOR and abs(cause.evidence["factor"] - 1.05) < 1e-3
    return "" if factor else "cause not named"


def many_arrays(quick: bool) -> tuple[Section, list[str]]:
    """The same number of parameters in 1 to 96 arrays."""
    entries, counts = (40_000, (1, 6)) if quick else (10**6, (1, 6, 24, 96))
    rows, broken, targets = [], [], []
    for planted in PLANTED:
        row: list[str] = []
        most = 0
        for count in counts:
            evaluations, failures = many_of(planted, count, entries, 1 if quick else planted.seeds)
            row.append(f"{int(np.median(evaluations)):,}")
            most = max(most, *evaluations)
            broken += [f"{planted.name}, {count} arrays: {each}" for each in sorted(failures)]
            print(planted.name, count, row[-1], flush=True)
        rows.append([planted.name, *row, f"{most:,}", f"{planted.limit:,}"])
        targets.append(Target(f"{planted.name}, any number of arrays", most, planted.limit, ""))
    head = ["planted", *(f"in {count}" for count in counts), "at most", "limit"]
    title = f"{entries:,} parameters in one array and in many: evaluations, medians"
    return Section(title, table(head, rows), targets), broken


def many_of(planted: Planted, arrays: int, entries: int, seeds: int) -> tuple[list[int], set[str]]:
    """Evaluations of each seed, and what went wrong."""
    f = Arrays(arrays, entries, planted.dtype)
    right = f.gradient(f.params)
    evaluations, failures = [], set()
    for seed in range(seeds):
        claimed, places = plant_in_arrays(planted.kind, right, np.random.default_rng(seed))
        found = fg.check_gradient(f, claimed, f.params, strategy="probe", seed=seed)
        evaluations.append(found.evaluations)
        failure = as_planted(found, places)
        error = max(float(np.abs(claimed[key] - right[key]).max()) for key in right)
        # Nobody was told that smaller ones would be seen.
        if failure != "missed" or error > found.detection_limit:
            failures |= {failure} - {""}
    return evaluations, failures


READ = (
    "*Evaluations* is the median, *detects* the stated detection limit for a single entry of W1 in "
    "the median."
)


def main() -> int:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    counted, broken = counts(options.quick)
    many, more_broken = many_arrays(options.quick)
    points = curve(options.quick)
    rows = [[f"{n:,}", f"{2 * n + 9:,}", str(right), str(wrong)] for n, right, wrong in points]
    head = ["parameters", "entry by entry", "probe, right", "probe, one wrong"]
    parts = [
        Section("A network of 987,210 parameters", f"{counted}\n\n{READ}"),
        many,
        Section("Networks of other sizes", table(head, rows)),
    ]
    folder = folder_of(options)
    if folder and draw(points, folder / "probe.png"):
        parts.append(Section("", "![Evaluations against parameters](probe.png)"))
    report("probe.md", "Probes", parts, options, ("fastgrad", "numpy"))
    for each in broken + more_broken:
        print(each, file=sys.stderr)
    return int(bool(broken + more_broken))


if __name__ == "__main__":
    sys.exit(main())
