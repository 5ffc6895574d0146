"""Gradient checkers on the corpus: ``python bench/checkers.py [--quick] [--out DIR]``.

README.md, beside this file, says what is counted and how to read it.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

import numpy as np
from flat import Counting, entries, walk
from frameworks import FRAMEWORKS
from gradient import refuse_unless_installed
from measure import circumstances
from recipes import FASTGRAD, RECIPES, Answer, Checker
from tallies import (
    Item,
    Result,
    Results,
    alarm_table,
    cause_table,
    failures,
    hindsight_table,
    naming_table,
    verdict_table,
)

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests"))

from corpus import Bug, Problem, bugs, problems, public_bugs, split  # noqa: E402

PACKAGES = ("fastgrad", "numpy", "scipy", "statsmodels", "torch", "autograd", "jax")
EVERY = 12  # of the items, for the smoke run


@dataclass(frozen=True)
class Entrant:
    """What the corpus holds, with what is known of it."""

    item: Item
    source: Problem | Bug


def corpus(every: int = 1) -> list[Entrant]:
    """All that can be made here: some need packages."""
    lists = {"correct": problems(), "planted": bugs(), "public": public_bugs()}
    found = []
    for origin, sources in lists.items():
        held_out = {source.name for source in split(sources)[1]}
        some = [s for s in sources[::every] if not missing(s.requires)]
        found += [_entrant(origin, source, source.name in held_out) for source in some]
    return found


def missing(packages: Sequence[str]) -> list[str]:
    return [package for package in packages if find_spec(package) is None]


def _entrant(origin: str, source: Problem | Bug, held_out: bool) -> Entrant:
    if isinstance(source, Problem):
        return Entrant(Item(source.name, origin, source.family, held_out), source)
    wrong = np.concatenate([np.ravel(leaf) for leaf in walk(source.mask())])
    item = Item(source.name, origin, "", held_out, wrong, source.cause, source.size)
    return Entrant(item, source)


def ask(checker: Checker, entrant: Entrant) -> Result:
    """One checker about one gradient, made anew for it."""
    case = entrant.source.make()
    f, trouble, answer = Counting(case.f), "", None
    size = sum(leaf.size for leaf in walk(case.params))
    start = perf_counter()
    try:
        answer = checker.ask(f, case.grad, case.params)
    except Exception as error:
        trouble = f"{type(error).__name__}: {str(error).splitlines()[0][:60]}"
    seconds = perf_counter() - start
    exact = _is_exact(answer, entrant.item, case.params)
    told = answer or Answer(verdict=None)
    return Result(
        entrant.item, told.verdict, exact, told.cause, told.score, size, f.calls, seconds, trouble
    )


def _is_exact(answer: Answer | None, item: Item, params: object) -> bool | None:
    if answer is None or answer.wrong is None:
        return None
    named = entries(answer.wrong, params)
    return bool((named == (False if item.wrong is None else item.wrong)).all())


def ask_all(checkers: Sequence[Checker], entrants: Sequence[Entrant]) -> Results:
    """In turn about each item, so that the machine's moods are shared."""
    results: Results = {checker.name: [] for checker in checkers}
    for checker in checkers:
        ask(checker, entrants[0])  # imports
    for entrant in entrants:
        for checker in checkers:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                results[checker.name].append(ask(checker, entrant))
    return results


def report(results: Results, checkers: Sequence[Checker]) -> Iterator[str]:
    """The tables, part by part."""
    ours = results[FASTGRAD.name]
    held_out = {name: [r for r in each if r.item.held_out] for name, each in results.items()}
    yield f"## All: {_sizes(ours)}\n\n{verdict_table(results)}"
    yield f"## The half on which nothing was tuned: {_sizes(held_out[FASTGRAD.name])}\n\n" + (
        verdict_table(held_out)
    )
    yield f"## False alarms by family of problems\n\n{alarm_table(results)}"
    yield f"## Which entries are wrong\n\n{naming_table(results)}"
    groups = {"all": ours, "held-out half": held_out[FASTGRAD.name]}
    groups |= {o: [r for r in ours if r.item.origin == o] for o in ("planted", "public")}
    yield f"## Why: the first cause named\n\n{cause_table(groups)}"
    yield (
        "## With the best threshold in hindsight\n\nFewest mistakes that any threshold makes on "
        f"all of these gradients.\n\n{hindsight_table(results)}"
    )
    lines = [f"* **{each.name}**: {each.how}." for each in checkers]
    yield "\n".join(["## How each was read", "", *lines])
    yield f"## What fastgrad got wrong or could not tell, by name\n\n{failures(ours)}"


def _sizes(results: Sequence[Result]) -> str:
    counts = [sum(r.item.origin == o for r in results) for o in ("correct", "planted", "public")]
    return "{} correct gradients, {} planted and {} public errors".format(*counts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smoke run; its figures mean nothing")
    parser.add_argument("--out", type=Path, help="folder for the results (default bench/results)")
    options = parser.parse_args()
    remark = refuse_unless_installed(options.quick)
    wanted = [FASTGRAD, *RECIPES, *([] if options.quick else FRAMEWORKS)]
    checkers = [each for each in wanted if not missing([each.package])]
    entrants = corpus(EVERY if options.quick else 1)
    parts = ["# Gradient checkers", "\\\n".join(circumstances(PACKAGES))]
    if absent := missing([each.package for each in wanted]):
        parts.append(f"Left out, not installed: {', '.join(absent)}.")
    parts += report(ask_all(checkers, entrants), checkers)
    if options.quick:
        parts.append(f"Smoke run: these figures mean nothing.{remark}")
    text = "\n\n".join(parts)
    print(text)
    if options.out or not options.quick:
        folder = options.out or HERE / "results"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "checkers.md").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
