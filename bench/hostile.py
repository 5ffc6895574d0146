"""Hostile random problems: ``python bench/hostile.py [--seeds N] [--half HALF] [--out DIR]``.

README.md, beside this file, says what is counted and how to read it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from time import perf_counter

from hostile_check import CHANGES, Claim, Instance, Outcome, check
from hostile_problems import FAMILIES
from hostile_run import chosen, numbers, plan
from hostile_tables import sections
from measure import arguments, report

EVERY = 12  # of the families, for the smoke run
PACKAGES = ("fastgrad", "numpy", "scipy")


def run(options: argparse.Namespace) -> list[Outcome]:
    """All checks, family after family."""
    outcomes: list[Outcome] = []
    families = chosen(options.half, options.family)
    seeds = numbers(options.half, options.first, 1 if options.quick else options.seeds)
    for family in families[:: EVERY if options.quick else 1]:
        start, before = perf_counter(), len(outcomes)
        for instance, claims in plan(family, seeds):
            outcomes += [check(instance, claim)[0] for claim in claims]
        if options.progress:
            new = outcomes[before:]
            faults = sum(bool(each.fault) for each in new)
            seconds = perf_counter() - start
            print(f"{family.name}: {len(new)} checks, {faults} faults, {seconds:.1f} s",
                  file=sys.stderr)  # fmt: skip
    return outcomes


def show(options: argparse.Namespace) -> None:
    """One check again, with its whole report."""
    family = FAMILIES[options.family]
    instance = Instance(family, options.instance)
    strategy = "probe" if options.probe else "auto"
    claim = Claim(
        family.name, options.instance, options.claim, options.check_seed, strategy, options.change
    )
    outcome, found = check(instance, claim)
    problem = instance.oracle.problem
    print(f"params {problem.params}\nright {problem.right}")
    print(f"claimed {instance.claims()[options.claim][0]}")
    print(f"differences are off by {instance.oracle.accuracy}")
    print(outcome.verdict if found is None else found)
    print(f"{outcome.verdict}: {outcome.fault or 'as it should be'}; causes {outcome.causes}")


def parsed(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument("--seeds", type=int, default=8, help="problems of each family (8)")
    parser.add_argument("--first", type=int, default=0, help="number of the first of them (0)")
    parser.add_argument("--family", help="this family or group, or those with this in their names")
    parser.add_argument("--half", choices=["tune", "held-out"], help="half of families and seeds")
    parser.add_argument("--progress", action="store_true", help="a line for each family")
    parser.add_argument("--instance", type=int, help="show one check of a family: this problem,")
    parser.add_argument("--claim", default="right", help="this claim,")
    parser.add_argument("--check-seed", type=int, default=0, help="this seed of the check,")
    parser.add_argument("--change", default="", choices=list(CHANGES), help="of this multiple,")
    parser.add_argument("--probe", action="store_true", help="as a probe")
    options = parser.parse_args(words)
    if options.instance is None:
        for_one = ("claim", "check_seed", "change", "probe")
        if any(getattr(options, name) != parser.get_default(name) for name in for_one):
            parser.error("--claim, --check-seed, --change and --probe need --instance")
    elif options.family not in FAMILIES:
        parser.error("--instance needs --family with the whole name of one family")
    return options


def main() -> None:
    options = parsed()
    if options.instance is not None:
        show(options)
        return
    start = perf_counter()
    outcomes = run(options)
    found = list(sections(outcomes, perf_counter() - start))
    report("hostile.md", "Hostile random problems", found, options, PACKAGES)


if __name__ == "__main__":
    main()
