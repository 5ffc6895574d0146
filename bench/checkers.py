"""Gradient checkers on the corpus: ``python bench/checkers.py [--quick] [--out DIR]``.

README.md, beside this file, says what is counted and how to read it.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from time import perf_counter

import numpy as np
from frameworks import FRAMEWORKS
from from_tests import Bug, Problem, bugs, problems, public_bugs, split
from measure import Section, arguments, refuse_unless_installed, report
from recipes import FASTGRAD, RECIPES, Answer, Checker
from tables import (
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
from vectors import Counting, entries, walk

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
    """In turn about each item, so that what else the machine does meets all alike."""
    results: Results = {checker.name: [] for checker in checkers}
    for checker in checkers:
        ask(checker, entrants[0])  # imports
    for entrant in entrants:
        for checker in checkers:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                results[checker.name].append(ask(checker, entrant))
    return results


def tables(results: Results, checkers: Sequence[Checker]) -> Iterator[Section]:
    ours = results[FASTGRAD.name]
    held_out = {name: [r for r in each if r.item.held_out] for name, each in results.items()}
    yield Section(f"All: {_sizes(ours)}", verdict_table(results))
    title = f"The half on which nothing was tuned: {_sizes(held_out[FASTGRAD.name])}"
    yield Section(title, verdict_table(held_out))
    yield Section("False alarms by family of problems", alarm_table(results))
    yield Section("Which entries are wrong", naming_table(results))
    groups = {"all": ours, "held-out half": held_out[FASTGRAD.name]}
    groups |= {o: [r for r in ours if r.item.origin == o] for o in ("planted", "public")}
    yield Section("Why: the first cause named", cause_table(groups))
    yield Section(
        "With the best threshold in hindsight",
        "Fewest mistakes that any threshold makes on all of these gradients.\n\n"
        + hindsight_table(results),
    )
    lines = [f"* **{each.name}**: {each.how}." for each in checkers]
    yield Section("How each was read", "\n".join(lines))
    yield Section("What fastgrad got wrong or could not tell, by name", failures(ours))


def _sizes(results: Sequence[Result]) -> str:
    counts = [sum(r.item.origin == o for r in results) for o in ("correct", "planted", "public")]
    return "{} correct gradients, {} planted and {} public errors".format(*counts)


def main() -> None:
    options = arguments(__doc__).parse_args()
    refuse_unless_installed(options.quick)
    wanted = [FASTGRAD, *RECIPES, *([] if options.quick else FRAMEWORKS)]
    checkers = [each for each in wanted if not missing([each.package])]
    sections = list(tables(ask_all(checkers, corpus(EVERY if options.quick else 1)), checkers))
    if absent := missing([each.package for each in wanted]):
        sections.insert(0, Section("", f"Left out, not installed: {', '.join(absent)}."))
    report("checkers.md", "Gradient checkers", sections, options, PACKAGES)


if __name__ == "__main__":
    main()
