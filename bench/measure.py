"""Interleaved timing, facts about the machine, and Markdown tables."""

from __future__ import annotations

import gc
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from math import ceil
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
from contestants import Contestant, Objective, bare_loop

from fastgrad import _backend

PACKAGES = ("fastgrad", "numpy", "scipy", "statsmodels", "numdifftools", "jacobi")
BLOCK = 2e-3  # seconds: long against the clock, short against the machine's moods


@dataclass(frozen=True)
class Effort:
    """Rounds, and about how many seconds each contestant may take of them."""

    rounds: int
    seconds: float


class Timings:
    """Seconds per gradient: for each contestant, by the number of the round."""

    def __init__(self, blocks: dict[str, dict[int, float]]) -> None:
        self.blocks = blocks

    def seconds(self, name: str, which: Callable[[Iterable[float]], float] = median) -> float:
        return which(self.blocks[name].values())

    def combined(self, how: Callable[[float, float], float], name: str, other: str) -> float:
        """Median over the rounds of a figure made from two blocks of the same round."""
        mine, others = self.blocks[name], self.blocks[other]
        return median(how(mine[number], others[number]) for number in mine.keys() & others.keys())

    def ratio(self, name: str, other: str) -> float:
        return self.combined(lambda a, b: a / b, name, other)


def interleave(
    contestants: Sequence[Contestant],
    f: Objective,
    x: np.ndarray,
    effort: Effort,
    bare_calls: int | None = None,
) -> Timings:
    """Time everyone and a bare loop in turn, round by round.

    The bare loop makes the 2n calls of a central difference, or `bare_calls`.
    """
    return take_turns([bare_loop(bare_calls or 2 * x.size), *contestants], f, x, effort)


def take_turns(
    everyone: Sequence[Contestant], f: Objective, x: np.ndarray, effort: Effort
) -> Timings:
    """Time everyone in turn, round by round."""
    plans = [_plan(each, f, x, effort) for each in everyone]
    blocks: dict[str, dict[int, float]] = {each.name: {} for each in everyone}
    for number in range(effort.rounds):
        for each, (repeats, stride) in zip(everyone, plans, strict=True):
            if number % stride == 0:
                blocks[each.name][number] = _block(each, f, x, repeats)
    return Timings(blocks)


def _plan(contestant: Contestant, f: Objective, x: np.ndarray, effort: Effort) -> tuple[int, int]:
    """Gradients in a block, and from round to round until this contestant takes part again."""
    once = min(_block(contestant, f, x, 1) for _ in range(3))  # the first imports and caches
    repeats = max(1, round(BLOCK / once))
    stride = ceil(effort.rounds * once * repeats / effort.seconds)
    return repeats, min(stride, effort.rounds // 3)


def _block(contestant: Contestant, f: Objective, x: np.ndarray, repeats: int) -> float:
    run = contestant.differentiate
    with using(contestant.backend), _without_collector():
        if repeats > 1:
            run(f, x)  # warms the caches that the others have cooled
        start = perf_counter()
        for _ in range(repeats):
            run(f, x)
        return (perf_counter() - start) / repeats


@contextmanager
def using(backend: str) -> Iterator[None]:
    before = _backend.backend
    _backend.use(backend)
    try:
        yield
    finally:
        _backend.use(before)


@contextmanager
def _without_collector() -> Iterator[None]:
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def circumstances(packages: Sequence[str] = PACKAGES) -> list[str]:
    """Machine, versions and date: without them a figure means nothing."""
    cores = os.cpu_count()
    python = f"Python {platform.python_version()}"
    versions = [f"{name} {found}" for name in packages if (found := _version(name))]
    return [
        f"{_processor()}, {cores} cores, {platform.system()}; {date.today()}",
        f"{python}, {', '.join(versions[:3])}" + ("," if versions[3:] else ""),
        *([", ".join(versions[3:])] if versions[3:] else []),
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that can be read as it is: the first column left, the others right."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join(_row(cells, widths) for cells in (head, rule, *rows))


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
    return "| " + " | ".join([cells[0].ljust(widths[0]), *others]) + " |"


def figure(value: float, unit: str = "") -> str:
    """Two or three significant digits without an exponent."""
    digits = sum(abs(value) < limit for limit in (100, 10, 0.1))
    return f"{value:.{digits}f}{unit}"
