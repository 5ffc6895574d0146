"""What batches gain: ``python bench/batched.py [--quick] [--out DIR]``.

README.md, beside this file, says what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from competitors import Competitor, rosenbrock_gradient, trivial
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

import fastgrad as fg

PACKAGES = ("fastgrad", "numpy", "scipy", "torch")
ONE, MANY, ALONE = "entry by entry", "batched", "f on the same rows"
HAND, BUILD = "by hand", "building the rows"


@dataclass(frozen=True)
class Scale:
    """How large and how long: the benchmark proper, or the smoke run."""

    effort: Effort
    sizes: tuple[int, ...]
    bounds: tuple[int, ...]


FULL = Scale(Effort(50, 1.0), (10, 30, 100, 300, 1000, 3000), tuple(range(16, 24)))
QUICK = Scale(Effort(3, 0.02), (10, 100), (16, 21))


def settle_allocator() -> None:
    """Free a large block, as every program that works on data has done before long.

    Until then glibc may give memory back to the system after each operation on a batch.
    """
    np.ones(2**21)


def rosenbrock(x: np.ndarray) -> float:
    """In NumPy, as one writes it."""
    return float(np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2))


def rosenbrock_rows(x: np.ndarray) -> np.ndarray:
    """The same for the points of a batch."""
    return np.sum(100 * (x[:, 1:] - x[:, :-1] ** 2) ** 2 + (1 - x[:, :-1]) ** 2, axis=1)


def network_rows(w: np.ndarray) -> np.ndarray:
    """The loss of one hidden layer, whose weights are the parameters, on 50 samples."""
    hidden = np.tanh(INPUTS @ w.reshape(len(w), 10, -1))
    return ((hidden.sum(axis=2) - 1) ** 2).mean(axis=1)


INPUTS = np.random.default_rng(0).normal(size=(50, 10))


def functions() -> dict[str, tuple[Callable, Callable]]:
    """By name: for one point, and for a batch."""
    found = {"NumPy": (rosenbrock, rosenbrock_rows)}
    if find_spec("scipy"):
        from scipy.optimize import rosen

        found["scipy's rosen"] = (rosen, lambda x: rosen(x.T))
    if find_spec("torch"):
        import torch

        torch.set_num_threads(1)  # its threads would fight over few cores
        one = _in(torch.sum)
        rows = torch.func.vmap(one)
        found["torch"] = (
            lambda x: one(torch.from_numpy(x)),
            lambda x: rows(torch.from_numpy(x)),
        )
    return found


def _in(total: Callable) -> Callable:
    return lambda x: total(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def batched(f: Callable, memory: int | None = None, name: str = MANY) -> Competitor:
    objective = fg.batched(f) if memory is None else fg.batched(f, memory=memory)
    return Competitor(name, lambda _, x: fg.gradient(objective, x), 1e-6, 10**6)


def gains(scale: Scale) -> Section:
    rows, targets = [], []
    for name, (one, many) in functions().items():
        ratios = []
        for n in scale.sizes:
            x = point(n)
            np.testing.assert_allclose(
                fg.gradient(fg.batched(many), x), rosenbrock_gradient(x), rtol=1e-5, atol=1e-4
            )
            everyone = [Competitor(ONE, fg.gradient, 1e-6, 10**6), batched(many)]
            times = interleave(everyone, one, x, scale.effort, bare_calls=2)
            ratios.append(times.ratio(ONE, MANY))
            if n == 100 and name != "torch":
                promise = f"{name}, n = 100: entry by entry / batched"
                targets.append(Target(promise, ratios[-1], 20, " x", at_least=True))
        rows.append([name, *map(figure, ratios)])
    head = ["Rosenbrock in", *(f"n = {n}" for n in scale.sizes)]
    return Section("Times faster than entry by entry", table(head, rows), targets)


def ceilings(scale: Scale) -> list[Section]:
    """What `f` takes for the same rows alone, beyond which nothing can be gained.

    And what stands between: building the rows in NumPy, and all that one would write by hand, which
    tests nothing.
    """
    n = 100
    x, rows, parts, targets = point(n), [], [], []
    for name, (one, many) in functions().items():
        batches = _batches_of(many, x)
        everyone = [
            Competitor(ONE, fg.gradient, 1e-6, 10**6),
            batched(many),
            Competitor(ALONE, lambda _, x, m=many, b=batches: [*map(m, b)], np.inf, 10**6),
            Competitor(HAND, lambda _, x, m=many: by_hand(m, x), 1e-6, 10**6),
            Competitor(BUILD, lambda _, x: moved_rows(x), np.inf, 10**6),
        ]
        times = interleave(everyone, one, x, scale.effort, bare_calls=2)
        micro = {each.name: 1e6 * times.seconds(each.name) for each in everyone}
        beyond = times.ratio(MANY, ALONE) - 1
        gains = [times.ratio(ONE, MANY), times.ratio(ONE, ALONE)]
        rows.append([name, *(figure(micro[each]) for each in (ONE, MANY, ALONE))])
        rows[-1] += map(figure, (beyond, *gains))
        parts.append([name, *(figure(micro[each]) for each in (MANY, HAND, BUILD, ALONE))])
        parts[-1].append(figure(times.ratio(HAND, ALONE) - 1))
        if name != "torch":
            promise = f"{name}, n = {n}: beyond f / f alone"
            targets.append(Target(promise, beyond, 0.5, " x"))
    head = [f"n = {n}", "one by one", "batched", "f alone", "beyond / f", "gain", "ceiling"]
    hand = [f"n = {n}", "batched", "by hand", "rows alone", "f alone", "beyond / f"]
    return [
        Section("The ceiling: f on the same rows alone, µs", table(head, rows), targets),
        Section("The same by hand, with no test of anything, µs", table(hand, parts)),
    ]


def moved_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of a central difference as one writes them in NumPy, and how far they are apart."""
    each = np.arange(len(x))
    h = np.finfo(float).eps ** (1 / 3) * np.maximum(1.0, np.abs(x))
    rows = np.repeat(x[np.newaxis], 2 * len(x), axis=0)
    rows[2 * each, each] += h
    rows[2 * each + 1, each] -= h
    return rows, rows[2 * each, each] - rows[2 * each + 1, each]


def by_hand(many: Callable, x: np.ndarray) -> np.ndarray:
    """The gradient of a batched function, with no test of anything."""
    rows, widths = moved_rows(x)
    values = np.asarray(many(rows))
    return (values[::2] - values[1::2]) / widths


def _batches_of(many: Callable, x: np.ndarray) -> list[np.ndarray]:
    """The batches that a gradient asks for."""
    seen: list[np.ndarray] = []

    def noting(rows: np.ndarray) -> np.ndarray:
        seen.append(rows.copy())
        return many(rows)

    fg.gradient(fg.batched(noting), x)
    return seen


def bounds(scale: Scale) -> Section:
    """Time against the bound on memory, relative to the best of each row."""
    rows = []
    for name, f, n in (
        *(("NumPy", rosenbrock_rows, n) for n in scale.sizes if n >= 100),
        *(("network", network_rows, n) for n in scale.sizes if n >= 100 and n % 10 == 0),
        *(("torch", each[1], n) for n in (100, 1000) if (each := functions().get("torch"))),
    ):
        everyone = [batched(f, 2**power, f"2^{power}") for power in scale.bounds]
        times = interleave(everyone, trivial, point(n), scale.effort, bare_calls=1)
        seconds = [times.seconds(each.name) for each in everyone]
        rows.append([f"{name}, n = {n}", *(figure(s / min(seconds)) for s in seconds)])
    head = ["", *(_size(2**power) for power in scale.bounds)]
    return Section("Time against the bound on memory, x the best of the row", table(head, rows))


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 2**10} KiB"


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    scale = QUICK if options.quick else FULL
    settle_allocator()
    sections = [gains(scale), *ceilings(scale), bounds(scale)]
    report("batched.md", "Batched objectives", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
