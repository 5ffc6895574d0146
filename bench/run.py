"""Run every benchmark, write all results, and README's tables from them: ``python bench/run.py``.

``--times`` runs those that time something, ``--counts`` the others, which a busy machine does not
change, and ``--only NAME ...`` some. ``--quick`` is a smoke run that leaves README alone; ``--out
DIR`` writes the results elsewhere.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from measure import table

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
# What they report depends on what else the machine does, if little: ratios of one run.
TIMES = (
    "gradient",
    "tight_loops",
    "derivatives",
    "sparse",
    "native",
    "batched",
    "workers",
    "check_cost",
)
# Evaluations and verdicts, which are the same in every run.
COUNTS = (
    "walk",
    "instructions",
    "probe",
    "patterns",
    "checkers",
    "estimates",
    "mutants",
    "jacobians",
    "hostile",
)
# README's section, and the file and section of the results that its table is taken from. README
# shows some of the columns and rows.
SHOWN = {
    "## Speed": ("gradient.md", "## The loop"),
    "## Compiled objectives": ("native.md", "## The same compiled function"),
    "## False alarms and misses": ("checkers.md", "## The half on which nothing was tuned"),
}


def run_all(names: Sequence[str], folder: Path, quick: bool) -> None:
    """One after the other: side by side they would disturb each other."""
    for name in names:
        if name == "instructions" and (quick or not shutil.which("valgrind")):
            print(f"\n== {name}: left out, as it takes minutes and needs valgrind\n", flush=True)
            continue
        script = str(HERE / f"{name}.py")
        command = [sys.executable, script, "--out", str(folder), *["--quick"] * quick]
        print(f"\n== {name}\n", flush=True)
        start = perf_counter()
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{name} failed.")
        print(f"\n== {name}: {perf_counter() - start:.0f} s\n", flush=True)


def update(readme: str, results: Path) -> str:
    """README with the figures of its tables replaced by those of the results."""
    for heading, (file, section) in SHOWN.items():
        text = (results / file).read_text(encoding="utf-8")
        rows = cells(text[text.index(section) :].split("\n## ")[0])
        start = readme.index(heading)
        old = re.search(r"(?:^\|.*\n)+", readme[start:], re.MULTILINE)
        shown = cells(old[0])
        columns = [rows[""].index(title) for title in shown[""]]
        chosen = [[name, *(rows[name][i] for i in columns)] for name in shown]
        readme = (
            readme[: start + old.start()]
            + table(chosen[0], chosen[1:])
            + "\n"
            + readme[start + old.end() :]
        )
    return readme


def cells(markdown: str) -> dict[str, list[str]]:
    """Cells of a table by the first of their row, ``""`` for the header."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and "---" not in line]
    parts = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    some = parser.add_mutually_exclusive_group()
    some.add_argument("--times", action="store_true", help="only those that time something")
    some.add_argument("--counts", action="store_true", help="only those that time nothing")
    some.add_argument(
        "--only", nargs="+", choices=TIMES + COUNTS, metavar="NAME", help="only these"
    )
    parser.add_argument("--quick", action="store_true", help="smoke run; its figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    options = parser.parse_args()
    if options.quick and not options.out:
        parser.error("--quick needs --out: its figures mean nothing, and would replace real ones")
    names = options.only or TIMES * (not options.counts) + COUNTS * (not options.times)
    run_all(names, options.out or HERE / "results", options.quick)
    if not options.out:
        README.write_text(update(README.read_text("utf-8"), HERE / "results"), encoding="utf-8")


if __name__ == "__main__":
    main()
