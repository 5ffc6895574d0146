"""What `fastgrad.check_gradient` costs: ``python bench/check_cost.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from statistics import median
from time import perf_counter

import numpy as np
from competitors import BARE, Competitor, Objective
from measure import (
    Effort,
    Section,
    Target,
    arguments,
    figure,
    interleave,
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
from recipes import central_differences, norm_ratio

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy")
SMALL = 10


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


def quadratic(x: np.ndarray) -> float:
    """Not `x.dot(x)`: a threaded BLAS takes ten times as long when the machine is busy."""
    return 0.5 * float(np.einsum("i,i->", x, x))


def check(f: Objective, x: np.ndarray, grad: Callable | np.ndarray) -> fg.Report:
    found = fg.check_gradient(f, grad, x, strategy="exhaustive")
    assert found, found
    return found


def by_scipy(f: Objective, x: np.ndarray) -> None:
    from scipy.optimize import check_grad

    assert check_grad(f, lambda x: WEIGHTS, x) < 1e-6


def by_course(f: Objective, x: np.ndarray) -> None:
    assert norm_ratio(central_differences(f, x, 1e-7), WEIGHTS) < 2e-7


def competitors() -> list[Competitor]:
    """Those who check; `differentiate` is the whole check."""
    limit = {"tolerance": 0.0, "largest": SMALL}
    return [
        Competitor("fastgrad", partial(check, grad=WEIGHTS), **limit),
        Competitor("fastgrad.gradient alone", fg.gradient, **limit),
        Competitor("scipy check_grad", by_scipy, **limit),
        Competitor("course recipe", by_course, **limit),
    ]


def fixed_cost(scale: Scale) -> Section:
    """Microseconds of one small check beyond its evaluations."""
    x, everyone = point(SMALL), competitors()
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


def _calls(competitor: Competitor, x: np.ndarray) -> int:
    calls = []
    competitor.differentiate(lambda x: calls.append(1) or linear(x), x)
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
    calls = check(f, x, grad).evaluations
    middle = perf_counter()
    for _ in repeat(None, calls):
        f(x)
    return middle - start, perf_counter() - middle, calls


def _clocked(f: Objective, x: np.ndarray, grad: np.ndarray) -> tuple[float, float, int]:
    """The same from one run: what else the machine does cancels. The clock counts as outside."""
    inside = 0.0

    def timed(x: np.ndarray) -> float:
        nonlocal inside
        start = perf_counter()
        value = f(x)
        inside += perf_counter() - start
        return value

    start = perf_counter()
    calls = check(timed, x, grad).evaluations
    return perf_counter() - start, inside, calls


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


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    sections = [measure(scale) for measure in (fixed_cost, large_checks, memory)]
    report("check_cost.md", "What a check costs", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
