"""What checks and gradients of small parameters cost: ``python bench/tight_loops.py [--quick]``.

README.md, beside this file, says what is measured.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from competitors import BARE, Competitor, bare_loop
from measure import (
    Effort,
    Section,
    Target,
    arguments,
    figure,
    point,
    refuse_unless_installed,
    report,
    table,
    take_turns,
)
from recipes import central_differences, norm_ratio

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy")
SIZES = (1, 10, 100)
ARRAYS, ENTRIES = 4, 35
BARE_CALLS = 100  # of the bare loop that prices a call of `f`
FASTGRAD, SCIPY, RECIPE, GRADIENT = "fastgrad", "scipy check_grad", "course recipe", "fg.gradient"
# Of one check beyond its evaluations, against SciPy's, for each of the sizes; and microseconds.
AGAINST_SCIPY, MICROSECONDS = (0.8, 0.4, 0.1), 30.0


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    effort: Effort
    starts: int


FULL = Scale(Effort(300, 4.0), 15)
QUICK = Scale(Effort(3, 0.03), 1)


@dataclass(frozen=True)
class Linear:
    """Moves with every entry, and costs little more than a call; its gradient is `weights`."""

    weights: Any

    def __call__(self, x: np.ndarray) -> float:
        return float(self.weights.dot(x))


@dataclass(frozen=True)
class Nested:
    """The same of a dict of arrays."""

    weights: dict[str, np.ndarray]

    def __call__(self, params: dict[str, np.ndarray]) -> float:
        return float(sum(weights.dot(params[key]) for key, weights in self.weights.items()))


def small_arrays(entries: int = ENTRIES) -> dict[str, np.ndarray]:
    return {f"layer {k}": point(entries) + k for k in range(ARRAYS)}


def firsts(params: dict[str, np.ndarray]) -> float:
    """Moves with each array, and costs so little that a gradient's own cost shows beside it."""
    return sum(array.item(0) for array in params.values())


# ---------------------------------------------------------------- who takes part


def checks(weights: Any) -> dict[str, Callable[[Any, Any], object]]:
    """Whole checks of the gradient of a linear function."""
    from scipy.optimize import check_grad

    limit = 1e-5 * float(np.linalg.norm(weights)) if isinstance(weights, np.ndarray) else 0.0

    def by_fastgrad(f: Any, x: Any) -> None:
        assert fg.check_gradient(f, weights, x)

    def by_scipy(f: Any, x: np.ndarray) -> None:
        assert check_grad(f, lambda x: weights, x) < limit

    def by_recipe(f: Any, x: np.ndarray) -> None:
        assert norm_ratio(central_differences(f, x, 1e-7), weights) < 2e-7

    return {FASTGRAD: by_fastgrad, SCIPY: by_scipy, RECIPE: by_recipe, GRADIENT: fg.gradient}


def beyond(
    f: Any, x: Any, works: dict[str, Callable[[Any, Any], object]], scale: Scale
) -> tuple[dict[str, float], dict[str, int]]:
    """Microseconds of each work beyond its calls of `f`, and how many these are."""
    everyone = [Competitor(name, work, np.inf, 1) for name, work in works.items()]
    times = take_turns([bare_loop(BARE_CALLS), *everyone], f, x, scale.effort)
    calls = {name: calls_of(work, f, x) for name, work in works.items()}
    costs = {
        name: 1e6 * times.combined(lambda t, b, c=calls[name]: t - c / BARE_CALLS * b, name, BARE)
        for name in works
    }
    return costs, calls


def calls_of(work: Callable[[Any, Any], object], f: Any, x: Any) -> int:
    calls: list[int] = []
    work(lambda x: calls.append(1) or f(x), x)
    return len(calls)


# ---------------------------------------------------------------- tables


def right(scale: Scale) -> Section:
    """One array, right: the first look. The calls of `f` are the limit; SciPy judges nothing."""
    rows: dict[str, list[str]] = {}
    targets = []
    for n, limit in zip(SIZES, AGAINST_SCIPY, strict=True):
        f, x = Linear(point(n)), point(n)
        costs, calls = beyond(f, x, checks(f.weights), scale)
        for name, cost in costs.items():
            cells = [str(calls[name]), figure(cost), figure(cost / costs[SCIPY])]
            rows.setdefault(name, []).extend(cells)
        ratio = costs[FASTGRAD] / costs[SCIPY]
        targets += [
            Target(f"a check, n = {n}: beyond its calls, x SciPy's", ratio, limit, " x"),
            Target(f"a check, n = {n}: beyond its calls", costs[FASTGRAD], MICROSECONDS, " µs"),
        ]
    head = [f"n = {n}: {what}" for n in SIZES for what in ("calls", "µs beyond", "x SciPy")]
    return Section(
        "Right gradients in one array: µs of a check beyond its calls of f",
        table(["", *head], [[name, *cells] for name, cells in rows.items()]),
        targets,
    )


def refused(f: Any, x: np.ndarray) -> None:
    """A check that finds one wrong entry."""
    assert not fg.check_gradient(f, SPOILED, x)


SPOILED = point(10) * np.where(np.arange(10) == 3, 1.01, 1.0)


def others(scale: Scale) -> Section:
    """Nested parameters, and a gradient that is wrong. SciPy gets all entries in one array."""
    nested, ten = Nested(small_arrays()), Linear(point(10))
    flat = Linear(np.concatenate([*nested.weights.values()]))
    ours, scipys = checks(nested.weights)[FASTGRAD], checks(flat.weights)[SCIPY]
    size = f"{ARRAYS} nested arrays"
    rows, targets = [], []
    for what, f, x, work, limit in (
        (f"a check, {size} of {ENTRIES}", nested, small_arrays(), ours, 60),
        (f"SciPy's, one array of {flat.weights.size}", flat, 1 * flat.weights, scipys, None),
        (f"a gradient, {size} of 3", firsts, small_arrays(3), fg.gradient, 12),
        ("a check, n = 10, one entry wrong by 1 %", ten, point(10), refused, 400),
    ):
        costs, calls = beyond(f, x, {what: work}, scale)
        rows.append([what, str(calls[what]), figure(costs[what])])
        if limit is not None:
            targets.append(Target(f"{what}: beyond its calls", costs[what], limit, " µs"))
    return Section("Others: µs beyond the calls of f", table(["", "calls", "µs"], rows), targets)


def relative_error(scale: Scale) -> Section:
    """Beside the formula as one writes it in NumPy."""
    a, b = point(10), point(10) + 1e-6
    formula = "np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b))"
    everyone = [
        Competitor("fg.relative_error", lambda a, b: fg.relative_error(a, b), 0.0, 10),
        Competitor(formula, lambda a, b: norm_ratio(a, b), 0.0, 10),
    ]
    both = [each.differentiate(a, b) for each in everyone]
    np.testing.assert_allclose(*both, rtol=1e-12)
    times = take_turns(everyone, a, b, scale.effort)
    cost = 1e6 * times.seconds("fg.relative_error")
    rows = [[each.name, figure(1e6 * times.seconds(each.name))] for each in everyone]
    target = Target("fg.relative_error of two arrays of 10", cost, 5, " µs")
    return Section("Two arrays of 10 compared", table(["", "µs"], rows), [target])


def imports(scale: Scale) -> Section:
    """Processor time of fresh processes, in turn: seconds would show what others do."""
    statements = {"import numpy": "import numpy", "import fastgrad": "import numpy, fastgrad"}
    found = [[_start(each) for each in statements.values()] for _ in range(scale.starts + 1)][1:]
    rows = [
        [name, figure(median(column))]
        for name, column in zip(statements, zip(*found, strict=True), strict=True)
    ]
    extra = median(after - before for before, after in found)
    rows.append(["beyond NumPy's", figure(extra)])
    target = Target("import fastgrad, beyond NumPy's", extra, 40, " ms")
    return Section("Imports: ms of processor time", table(["", "ms"], rows), [target])


def _start(statement: str) -> float:
    code = f"import time; t = time.process_time(); {statement}; print(time.process_time() - t)"
    command: Sequence[str] = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    return 1e3 * float(done.stdout)


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    sections = [each(scale) for each in (right, others, relative_error, imports)]
    report("tight_loops.md", "Checks and gradients in tight loops", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
