"""Which checks of which hostile problems are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hostile_check import CHANGES, Claim, Instance
from hostile_problems import FAMILIES, Family

# Seeds of the random directions with which a share of the claims is checked.
SEEDS = 8


def plan(family: Family, seeds: range) -> Iterator[tuple[Instance, list[Claim]]]:
    """The checks of one family.

    A third of the instances is probed. In turn, and alike for even and odd numbers, the right
    gradient or a wrong one is checked with several seeds, or for multiples of f.
    """
    step = max(1, round(1 / family.share))
    for number in seeds[::step]:
        instance = Instance(family, number)
        strategy = "probe" if family.probes and number % 3 == 2 else "auto"
        turn = number // 2 // step % 4
        many = {0: 0, 2: 1 + number % 3}.get(turn)
        changed = {1: 0, 3: 1 + number % 3}.get(turn)
        found = []
        for place, name in enumerate(instance.claims()):
            seeds_ = range(SEEDS if place == many else 1)
            found += [Claim(family.name, number, name, seed, strategy) for seed in seeds_]
            if place == changed and instance.oracle.problem.changes:
                some = [change for change in CHANGES if change]
                found += [Claim(family.name, number, name, 0, strategy, each) for each in some]
        yield instance, found


def chosen(half: str | None, name: str | None) -> list[Family]:
    """Families by name, by group or by a part of their name, or a half of them."""
    if name:
        tests: tuple[Callable[[Family], bool], ...] = (
            lambda family: family.name == name,
            lambda family: family.group == name,
            lambda family: name in family.name,
        )
        return next(filter(None, ([f for f in FAMILIES.values() if test(f)] for test in tests)), [])
    wanted = {None: (True, False), "tune": (False,), "held-out": (True,)}[half]
    return [family for family in FAMILIES.values() if family.held_out in wanted]


def numbers(half: str | None, first: int, count: int) -> range:
    """Generator seeds from the first on: even ones to tune on, odd ones to report."""
    if half is None:
        return range(first, first + count)
    start = first - first % 2 + int(half == "held-out")
    return range(start, start + 2 * count, 2)
