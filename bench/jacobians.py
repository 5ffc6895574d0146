"""Right and wrong Jacobians, Hessians, products and adjoints: ``python bench/jacobians.py``.

Functions of least squares, robots, differential equations, networks and likelihoods, whose
derivatives are known exactly, with slips in them. One check is shown in full by ``--one NAME``.
README.md, beside this file, says what is counted.
"""

from __future__ import annotations

import os

# Before NumPy is loaded: for arrays of this size, threads only cost.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import warnings
from collections.abc import Iterator, Sequence
from time import perf_counter

from jacobian_scores import Outcome, failure_list, half_table, kind_table, score, slip_table
from jacobian_subjects import Subject, subjects
from measure import Section, arguments, report

PACKAGES = ("fastgrad", "numpy", "scipy", "statsmodels")
EVERY = 40  # of the checks, for the smoke run


def ask(subject: Subject) -> Outcome:
    """One check, scored."""
    start, found, trouble = perf_counter(), None, ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = subject.check()
        except Exception as error:
            trouble = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    return score(subject, found, trouble, perf_counter() - start)


def sections(outcomes: Sequence[Outcome]) -> Iterator[Section]:
    halves = {
        "tuned on": [each for each in outcomes if not each.subject.held_out],
        "held out": [each for each in outcomes if each.subject.held_out],
    }
    yield Section("Both halves", half_table({"all": outcomes, **halves}))
    yield Section("By kind of check", kind_table(outcomes))
    yield Section("By slip", slip_table(outcomes))
    yield Section("What came out otherwise, in the half tuned on", failure_list(halves["tuned on"]))


def show(wanted: str) -> None:
    found = [subject for subject in subjects() if subject.name == wanted]
    if not found:
        sys.exit(f"No check is called {wanted!r}.")
    for subject in found:
        print(ask(subject))
        print(subject.check())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--one", help="show one check in full: PROBLEM | KIND | SLIP")
    options = parser.parse_args()
    if options.one:
        return show(options.one)
    every = EVERY if options.quick else 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        chosen = list(subjects())[::every]
    outcomes = [ask(subject) for subject in chosen]
    title = "Right and wrong Jacobians, Hessians, products and adjoints"
    report("jacobians.md", title, list(sections(outcomes)), options, PACKAGES)
    return None


if __name__ == "__main__":
    main()
