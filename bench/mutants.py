"""Slips in gradients of SciPy, scikit-learn, statsmodels and torch: ``python bench/mutants.py``.

Each model is checked with its parameters nested and in one vector. One check is shown in full by
``--one "MODEL | SLIP | LAYOUT"``. README.md, beside this file, says what is counted and how to read
it.
"""

from __future__ import annotations

import os

# Before NumPy and torch are loaded: for arrays of this size, threads only cost.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from time import perf_counter
from zlib import crc32

import numpy as np
from measure import Section, arguments, report
from mutant_models import LAYOUTS, Model, join
from mutant_scores import Outcome, Subject, failure_lists, half_table, score, slip_table
from mutations_more import MUTATIONS, Site, Slip

import fastgrad as fg

LIBRARIES = {"scipy": "scipy", "sklearn": "sklearn", "statsmodels": "statsmodels", "torch": "torch"}
PACKAGES = ("fastgrad", "numpy", "scipy", "scikit-learn", "statsmodels", "torch")
# Of the slips that a model has a place for, one in so many: all of them would take ten minutes.
# Slips that few models have a place for are all there.
ONE_IN, FEW = 4, 12
EVERY = 40  # of the checks, for the smoke run
# An error is visible beyond this many times the largest error of plain differences in that block,
# and a gradient counts as wrong where its largest is ten times as large: what is between may be
# called anything.
VISIBLE, CLEARLY = 30.0, 10.0


@dataclass(frozen=True)
class Place:
    """A model and what is known of it, found once for all its mutants."""

    model: Model
    right: np.ndarray
    floor: np.ndarray
    held_out: bool


def places(libraries: Sequence[str]) -> Iterator[Place]:
    for library in libraries:
        models = list(import_module(f"mutant_{library}").models())
        # Every other one, in an order that means nothing: each half has models of each library.
        order = sorted(models, key=lambda model: crc32(model.name.encode()))
        held_out = {model.name for model in order[1::2]}
        for model in models:
            right = model.gradient_at(model.vector())
            floor = _floor(model, right)
            yield Place(model, right, floor, model.name in held_out)


def _floor(model: Model, right: np.ndarray) -> np.ndarray:
    """What plain differences cannot see: their largest error in the block, and rounding."""
    error = np.abs(right - model.plain_differences())
    scale = np.abs(right).max()
    if not error.max() < 1e-4 * scale:
        sys.exit(f"{model.name}: its gradient is not right, so nothing can be measured.")
    floor = np.empty(right.size)
    for each in model.slices.values():
        floor[each] = error[each].max() + 1e-12 * scale
    return VISIBLE * floor


def slips(place: Place) -> Iterator[tuple[str, Slip]]:
    model = place.model
    gradient = model.split(place.right)
    for name, make in MUTATIONS.items():
        dice = np.random.default_rng(crc32(f"{model.name} | {name}".encode()))
        slip = make(Site(model, gradient, dice))
        if slip is not None:
            yield name, slip


def subjects(libraries: Sequence[str]) -> Iterator[Subject]:
    """All checks: the right gradients first, then the mutants."""
    found = [(place, dict(slips(place))) for place in places(libraries)]
    common = {name for name in MUTATIONS if sum(name in made for _, made in found) > FEW}
    for place, _ in found:
        for layout in LAYOUTS:
            yield Subject(place.model, place.right, place.floor, layout, place.held_out)
    for place, made in found:
        for name, slip in made.items():
            key = crc32(f"{name} x {place.model.name}".encode())
            if name in common and key // 2 % ONE_IN:
                continue
            for layout in LAYOUTS:
                yield Subject(
                    place.model, place.right, place.floor, layout, bool(key % 2), name, slip
                )


def ask(subject: Subject) -> Outcome | None:
    """One check; None where the slip changes nothing that could be seen, or is none here."""
    model, slip = subject.model, subject.slip
    claimed = subject.right
    if slip is not None:
        claimed = join(slip.apply(model.split(subject.right), model.params))
        error = np.abs(claimed - subject.right)
        if not slip.accepted(model, subject.layout) or not (error > CLEARLY * subject.floor).any():
            return None
    before, start = model.vector(), perf_counter()
    report, trouble = None, ""
    try:
        report = check(subject)
    except Exception as error:
        trouble = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
    if not np.array_equal(model.vector(), before):
        trouble = "the parameters were not put back"
    return score(subject, claimed, report, trouble, perf_counter() - start)


def check(subject: Subject) -> fg.Report:
    model, slip = subject.model, subject.slip
    grad = model.grad if slip is None else lambda p: slip.apply(model.grad(p), p)
    problem = LAYOUTS[subject.layout](model, grad)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fg.check_gradient(problem.f, problem.grad, problem.params)


def sections(outcomes: Sequence[Outcome], left_out: int) -> Iterator[Section]:
    halves = {
        "tuned on": [each for each in outcomes if not each.subject.held_out],
        "held out": [each for each in outcomes if each.subject.held_out],
    }
    note = f"{left_out} mutants whose error is hardly visible are left out."
    yield Section("Both halves", half_table(halves) + "\n\n" + note)
    for name, half in halves.items():
        yield Section(f"By slip: {name}", slip_table(half))
    yield Section(
        "What came out otherwise, in the half tuned on", failure_lists(halves["tuned on"])
    )


def show(libraries: Sequence[str], wanted: str) -> None:
    found = [subject for subject in subjects(libraries) if subject.name == wanted]
    if not found:
        sys.exit(f"No check is called {wanted!r}.")
    for subject in found:
        print(ask(subject) or "left out")
        print(check(subject))


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--one", help="show one check in full: MODEL | SLIP | LAYOUT")
    parser.add_argument("--library", choices=LIBRARIES, action="append", help="only this one")
    options = parser.parse_args()
    chosen = options.library or list(LIBRARIES)
    present = [name for name in chosen if find_spec(LIBRARIES[name])]
    if options.one:
        return show(present, options.one)
    every = EVERY if options.quick else 1
    answers = [ask(subject) for subject in list(subjects(present))[::every]]
    outcomes = [each for each in answers if each is not None]
    found = list(sections(outcomes, len(answers) - len(outcomes)))
    if absent := [name for name in chosen if name not in present]:
        found.insert(0, Section("", f"Left out, not installed: {', '.join(absent)}."))
    report("mutants.md", "Mutants of other people's gradients", found, options, PACKAGES)
    return None


if __name__ == "__main__":
    main()
