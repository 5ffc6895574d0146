"""Benchmark of `fastgrad.gradient`: ``python bench/gradient.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured and how to read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from competitors import (
    BARE,
    Competitor,
    Objective,
    check,
    competitors,
    count_calls,
    lean_loop,
    mapped_loop,
    rosenbrock,
    trivial,
)
from measure import (
    Effort,
    Section,
    Target,
    arguments,
    figure,
    folder_of,
    interleave,
    point,
    refuse_unless_installed,
    report,
    table,
    using,
)
from memory import MIB, in_fresh_process, instruments
from plot import draw

COMPILED, PURE = "fastgrad compiled", "fastgrad pure"
FIXED_CALLS = 1000  # of the bare loop against which the fixed cost is taken


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    effort: Effort
    n: int
    real_n: int
    memory_n: int
    sizes: tuple[int, ...]


SIZES = (1, 3, 10, 30, 100, 300, 1000, 3000, 10**4, 3 * 10**4, 10**5)
FULL = Scale(Effort(200, 4.0), 1000, 100, 10**7, SIZES)
QUICK = Scale(Effort(3, 0.03), 100, 10, 10**5, (1, 10, 100))


def loop_cost(scale: Scale, everyone: Sequence[Competitor]) -> Section:
    x = point(scale.n)
    everyone = [lean_loop(2 * x.size), mapped_loop(2 * x.size), *everyone]
    times = interleave(everyone, trivial, x, scale.effort)
    calls = {BARE: 2 * x.size} | counts(everyone, trivial, x)
    rows = [
        [
            name,
            figure(times.seconds(name) / x.size * 1e6),
            figure(times.ratio(name, BARE)),
            figure(times.ratio(name, COMPILED)),
            figure(calls[name] / x.size),
        ]
        for name in calls
    ]
    head = ["", "µs/entry", "x bare loop", "x compiled", "calls/entry"]
    targets = [
        Target("compiled / bare loop of 2n calls", times.ratio(COMPILED, BARE), 0.95, " x"),
        Target("pure twin / compiled", times.ratio(PURE, COMPILED), 5, " x", at_least=True),
    ]
    title = f"The loop: f returns x.item(0), n = {x.size}"
    return Section(title, table(head, rows), targets)


def fixed_cost(scale: Scale, everyone: Sequence[Competitor]) -> Section:
    costs: dict[str, list[float]] = {each.name: [] for each in everyone}
    for n in (1, 10):
        x = point(n)
        times = interleave(everyone, trivial, x, scale.effort, FIXED_CALLS)
        for name, calls in counts(everyone, trivial, x).items():
            share = calls / FIXED_CALLS
            beyond = times.combined(lambda t, bare, share=share: t - share * bare, name, BARE)
            costs[name].append(beyond * 1e6)
    rows = [[name, *(figure(cost) for cost in pair)] for name, pair in costs.items()]
    targets = [
        Target(f"compiled, n = {n}: beyond its calls", cost, 1.5, " µs")
        for n, cost in zip((1, 10), costs[COMPILED], strict=True)
    ]
    title = "Fixed cost: µs of one call beyond its evaluations (f as above)"
    return Section(title, table(["", "n = 1", "n = 10"], rows), targets)


def real_function(scale: Scale, everyone: Sequence[Competitor]) -> Section:
    x = point(scale.real_n)
    times = interleave(everyone, rosenbrock, x, scale.effort)
    calls = {BARE: 2 * x.size} | counts(everyone, rosenbrock, x)
    rows = [
        [
            name,
            figure(times.seconds(name) * 1e3),
            figure(times.ratio(name, COMPILED)),
            figure(calls[name] / x.size),
        ]
        for name in calls
    ]
    microseconds = figure(times.seconds(BARE) / (2 * x.size) * 1e6)
    title = f"An f of {microseconds} µs in Python (Rosenbrock), n = {x.size}"
    return Section(title, table(["", "ms", "x compiled", "calls/entry"], rows))


def memory(scale: Scale) -> Section:
    used = {
        what: in_fresh_process(instrument, "gradient", scale.memory_n) / MIB
        for instrument, what in instruments().items()
    }
    rows = [[what, figure(size)] for what, size in used.items()]
    targets = [Target(f"compiled, {what}", size, 1.0, " MiB") for what, size in used.items()]
    title = f"Memory: MiB beyond parameters and result, n = {scale.memory_n}"
    return Section(title, table(["compiled", "MiB"], rows), targets)


def counts(everyone: Sequence, f: Objective, x: np.ndarray) -> dict[str, int]:
    found = {}
    for each in everyone:
        with using(each.backend):
            found[each.name] = count_calls(each, f, x)
    return found


def sweep(scale: Scale, everyone: Sequence[Competitor]) -> dict[str, list[tuple[int, float]]]:
    """Seconds per entry against n, for the picture."""
    curves: dict[str, list[tuple[int, float]]] = {BARE: []}
    effort = Effort(min(scale.effort.rounds, 25), scale.effort.seconds / 10)
    for n in scale.sizes:
        some = [each for each in everyone if n <= each.largest]
        times = interleave(some, trivial, point(n), effort)
        for name in (BARE, *(each.name for each in some)):
            curves.setdefault(name, []).append((n, times.seconds(name) / n))
    return curves


def picture(scale: Scale, everyone: Sequence[Competitor], folder: Path) -> Section:
    drawn = draw(sweep(scale, everyone), folder / "gradient.png")
    text = "![Time per entry against n](gradient.png)" if drawn else "No picture: no matplotlib."
    return Section("", text)


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    everyone, missing = competitors()
    for each in everyone:
        with using(each.backend):
            check(each, point(100))
    measures = (loop_cost, fixed_cost, real_function)
    sections = [measure(scale, everyone) for measure in measures] + [memory(scale)]
    if missing:
        sections.insert(0, Section("", f"Left out, not installed: {', '.join(missing)}."))
    if folder := folder_of(options):
        sections.append(picture(scale, everyone, folder))
    report("gradient.md", "Gradients by finite differences", sections, options)


if __name__ == "__main__":
    main()
