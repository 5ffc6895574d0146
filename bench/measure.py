"""What the benchmarks share: timing in turns, Markdown tables, and how they start and end."""

from __future__ import annotations

import argparse
import gc
import os
import platform
import sys
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
from competitors import Competitor, Objective, bare_loop

import fastgrad
from fastgrad import _backend

HERE = Path(__file__).resolve().parent
PACKAGES = ("fastgrad", "numpy", "scipy", "statsmodels", "numdifftools", "jacobi")
# Seconds of a block of calls: long beside the resolution of the clock (0.1 µs), short beside the
# changes of a machine that others use too (tens of milliseconds), so that a round sees one of them.
BLOCK = 2e-3


@dataclass(frozen=True)
class Effort:
    """The number of rounds, and about how many seconds each competitor may use."""

    rounds: int
    seconds: float


class Timings:
    """Seconds per gradient, for each competitor and round."""

    def __init__(self, blocks: dict[str, dict[int, float]]) -> None:
        self.blocks = blocks

    def seconds(self, name: str, which: Callable[[Iterable[float]], float] = median) -> float:
        return which(self.blocks[name].values())

    def combined(self, how: Callable[[float, float], float], name: str, other: str) -> float:
        """Combine two blocks of the same round, and take the median over the rounds."""
        mine, others = self.blocks[name], self.blocks[other]
        return median(how(mine[number], others[number]) for number in mine.keys() & others.keys())

    def ratio(self, name: str, other: str) -> float:
        return self.combined(lambda a, b: a / b, name, other)


def interleave(
    competitors: Sequence[Competitor],
    f: Objective,
    x: np.ndarray,
    effort: Effort,
    bare_calls: int | None = None,
) -> Timings:
    """Time all competitors and a bare loop in turn, round by round.

    The bare loop makes the 2n calls of a central difference, or `bare_calls`.
    """
    return take_turns([bare_loop(bare_calls or 2 * x.size), *competitors], f, x, effort)


def take_turns(
    everyone: Sequence[Competitor], f: Objective, x: np.ndarray, effort: Effort
) -> Timings:
    """Time all competitors in turn, round by round."""
    plans = [_plan(each, f, x, effort) for each in everyone]
    blocks: dict[str, dict[int, float]] = {each.name: {} for each in everyone}
    for number in range(effort.rounds):
        for each, (repeats, stride) in zip(everyone, plans, strict=True):
            if number % stride == 0:
                blocks[each.name][number] = _block(each, f, x, repeats)
    return Timings(blocks)


def _plan(competitor: Competitor, f: Objective, x: np.ndarray, effort: Effort) -> tuple[int, int]:
    """Number of gradients in a block, and of rounds from one block to the next."""
    # The best of three: the first call imports modules and fills caches.
    once = min(_block(competitor, f, x, 1) for _ in range(3))
    repeats = max(1, round(BLOCK / once))
    stride = ceil(effort.rounds * once * repeats / effort.seconds)
    return repeats, min(stride, effort.rounds // 3)


def _block(competitor: Competitor, f: Objective, x: np.ndarray, repeats: int) -> float:
    run = competitor.differentiate
    with using(competitor.backend), _without_collector():
        if repeats > 1:
            run(f, x)  # the caches hold what the others needed
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
    """Machine, date and versions: a figure means nothing without them."""
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


def point(n: int) -> np.ndarray:
    """Parameters with no zero and no two entries alike."""
    return np.linspace(0.5, 2.0, n)


@dataclass(frozen=True)
class Target:
    """A promise of the design, and what was measured."""

    promise: str
    measured: float
    limit: float
    unit: str
    at_least: bool = False

    def row(self) -> list[str]:
        met = self.measured >= self.limit if self.at_least else self.measured <= self.limit
        limit = f"{'>=' if self.at_least else '<='} {self.limit:g}{self.unit}"
        counted = isinstance(self.measured, int)
        measured = str(self.measured) if counted else figure(self.measured, self.unit)
        return [self.promise, limit, measured, "yes" if met else "NO"]


@dataclass(frozen=True)
class Section:
    """One part of the report, and the targets that it decides; without a title, a paragraph."""

    title: str
    text: str
    targets: Sequence[Target] = ()

    def __str__(self) -> str:
        return f"## {self.title}\n\n{self.text}" if self.title else self.text


def arguments(doc: str) -> argparse.ArgumentParser:
    """The options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke run; its figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    return parser


def from_source() -> bool:
    """Whether the fastgrad that runs is that of the source folder, not an installed one."""
    return Path(fastgrad.__file__).resolve().parents[1] == HERE.parent


def refuse_unless_installed(quick: bool) -> None:
    """Stop where not the installed, compiled package would be measured."""
    if fastgrad.backend != "compiled":
        sys.exit(f"Nothing to measure: the fastgrad found runs on its {fastgrad.backend} backend.")
    if from_source() and not quick:
        sys.exit(f"Measure an installed fastgrad (pip install .), not {fastgrad.__file__}.")


def folder_of(options: argparse.Namespace) -> Path | None:
    """Where the results go. A smoke run leaves none, unless it is told where."""
    if options.quick and not options.out:
        return None
    folder: Path = options.out or HERE / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(
    file: str,
    title: str,
    sections: Sequence[Section],
    options: argparse.Namespace,
    packages: Sequence[str] = PACKAGES,
) -> None:
    """Print title, circumstances, targets and sections, and write them to the folder of results."""
    parts = [f"# {title}", "\\\n".join(circumstances(packages))]
    rows = [target.row() for section in sections for target in section.targets]
    if rows:
        parts.append(f"## Targets\n\n{table(['', 'target', 'measured', 'met'], rows)}")
    parts += map(str, sections)
    if options.quick:
        parts.append("Smoke run: these figures mean nothing.")
    if options.quick and from_source():
        parts.append("This is the fastgrad of the source folder, not an installed one.")
    text = "\n\n".join(parts)
    print(text)
    if folder := folder_of(options):
        (folder / file).write_text(text + "\n", encoding="utf-8")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that reads well as plain text: first column left, others right."""
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
