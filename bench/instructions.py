"""Machine instructions per evaluation, by valgrind: ``python bench/instructions.py [--out DIR]``.

Unlike seconds these do not depend on what else the machine does. Each loop runs with few and with
many calls, and the difference is taken, so that starting Python and importing cancel.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from measure import Section, arguments, report, table

SMALL, LARGE = 2_000, 30_000  # entries: both below the size from which fastgrad checks otherwise
PASSES = 20
LOOPS = ("fastgrad compiled", "bare loop", "in-place NumPy loop")  # of a Python f
C_LOOPS = ("fastgrad, native", "C loop by hand")
C_PASSES = 400  # where an evaluation is so short, the start of Python has to weigh less


def run_loop(name: str, n: int) -> None:
    """What valgrind watches: an `f` that does nothing, many times."""
    from competitors import bare_loop, fastgrad_and_by_hand, trivial

    x = np.ones(n)
    if name in C_LOOPS:
        _run_c_loop(name, x)
        return
    everyone = {each.name: each for each in [bare_loop(2 * n), *fastgrad_and_by_hand()]}
    for _ in range(PASSES):
        everyone[name].differentiate(trivial, x)


def _run_c_loop(name: str, x: np.ndarray) -> None:
    from native_library import by_hand, objective, repeated

    import fastgrad as fg

    f = objective("nothing")
    for _ in range(C_PASSES):
        fg.gradient(f, x) if name == C_LOOPS[0] else repeated(by_hand(), f, x, 1)


def count(name: str, n: int) -> int:
    """Instructions of a whole process that runs the loop."""
    with tempfile.TemporaryDirectory() as folder:
        output = f"--callgrind-out-file={Path(folder) / 'counts'}"
        command = ["valgrind", "--tool=callgrind", output, sys.executable, __file__, name, str(n)]
        fixed = os.environ | {"PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env=fixed, capture_output=True, text=True, check=False)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"valgrind did not count the instructions of the {name}:\n{done.stderr[-2000:]}")
    return int(found[1])


def main() -> None:
    options = arguments(__doc__).parse_args()
    if not shutil.which("valgrind"):
        sys.exit("Counting instructions needs valgrind, which was not found.")
    rows = []
    for name in (*LOOPS, *C_LOOPS):
        large = 2 * SMALL if options.quick else LARGE
        extra = count(name, large) - count(name, SMALL)
        evaluations = 2 * (large - SMALL) * (C_PASSES if name in C_LOOPS else PASSES)
        rows.append([name, f"{extra / evaluations:.1f}"])
        print(*rows[-1], sep=": ", flush=True)
    title = "Machine instructions for each evaluation of an f that does nothing"
    sections = [Section("", table(["", "instructions"], rows))]
    report("instructions.md", title, sections, options, ("fastgrad", "numpy"))


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[2].isdigit():
        run_loop(sys.argv[1], int(sys.argv[2]))
    else:
        main()
