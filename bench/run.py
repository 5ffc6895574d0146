"""Run every benchmark, write all results, and README's tables from them: ``python bench/run.py``.

``--quick`` is a smoke run that leaves README alone; ``--out DIR`` writes the results elsewhere.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from pathlib import Path

from measure import table

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
SCRIPTS = (
    "gradient.py",
    "derivatives.py",
    "native.py",
    "batched.py",
    "workers.py",
    "probe.py",
    "check_cost.py",
    "checkers.py",
    "estimates.py",
    "mutants.py",
    "jacobians.py",
    "hostile.py",
    "sparse.py",
    "walk.py",
)
# README's section, and the file and section of the results that its table is taken from. README
# shows some of the columns and rows.
SHOWN = {
    "## Speed": ("gradient.md", "## The loop"),
    "## Compiled objectives": ("native.md", "## The same compiled function"),
}


def run_all(folder: Path, quick: bool) -> None:
    """One after the other: side by side they would disturb each other."""
    for script in SCRIPTS:
        command = [sys.executable, str(HERE / script), "--out", str(folder), *["--quick"] * quick]
        print(f"\n== {script}\n", flush=True)
        if subprocess.run(command, check=False).returncode:
            sys.exit(f"{script} failed.")
    if shutil.which("valgrind") and not quick:
        command = [sys.executable, str(HERE / "instructions.py"), "--out", str(folder)]
        subprocess.run(command, check=True)


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
    parser.add_argument("--quick", action="store_true", help="smoke run; its figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    options = parser.parse_args()
    if options.quick and not options.out:
        parser.error("--quick needs --out: its figures mean nothing, and would replace real ones")
    run_all(options.out or HERE / "results", options.quick)
    if not options.out:
        README.write_text(update(README.read_text("utf-8"), HERE / "results"), encoding="utf-8")


if __name__ == "__main__":
    main()
