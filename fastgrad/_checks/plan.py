"""How a check goes about it: every entry or random directions, and how many evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fastgrad._checks.options import whole_budget
from fastgrad._errors import InputValueError
from fastgrad._leaf import Leaf

__all__ = ["EVERY_ENTRY", "Plan", "plan_of"]

# Evaluations of a probe, at most, and of an exhaustive check before "auto" probes instead: 10,000
# entries, 0.2 s where `f` takes 10 microseconds, and a minute where it takes three milliseconds.
_BUDGET = 20_000
# Evaluations that a check takes beside two for each entry: two at the parameters, six for the
# noise, one at the end.
_OVERHEAD = 9


@dataclass(frozen=True)
class Plan:
    """How entries are visited, and after how many evaluations to stop."""

    strategy: str
    budget: float
    expected: int  # evaluations of a right gradient; 0 if that is not known


# The plan of a first look, which has few entries; 0, as nothing is left to be expected.
EVERY_ENTRY = Plan("exhaustive", math.inf, 0)


def plan_of(strategy: str, budget: int | None, leaves: Sequence[Leaf]) -> Plan:
    """What the user asks for, checked, with the strategy chosen."""
    if strategy not in ("auto", "exhaustive", "probe"):
        raise InputValueError(
            f'`strategy` must be "auto", "exhaustive" or "probe"; got {strategy!r}'
        )
    whole_budget(budget)
    most = _BUDGET if budget is None else int(budget)
    least = 2 * sum(leaf.real.size for leaf in leaves) + _OVERHEAD
    if strategy == "auto":
        strategy = "probe" if least > most else "exhaustive"
    unbounded = strategy == "exhaustive" and budget is None
    expected = least if strategy == "exhaustive" else 0
    return Plan(strategy, math.inf if unbounded else most, expected)
