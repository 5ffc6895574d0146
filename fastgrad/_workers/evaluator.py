"""Composes what evaluates `f`: here, in threads or by workers; and a meter around it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgrad._evaluation.bounded import Bounded
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.guard import Guard, check_layout
from fastgrad._evaluation.lenient import Objective
from fastgrad._evaluation.local import local
from fastgrad._evaluation.measured import Measured, Remembering
from fastgrad._evaluation.meter import Bar, Metered
from fastgrad._evaluation.protocol import Evaluator
from fastgrad._evaluation.selected import Selected, Selection
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._tree import Params
from fastgrad._workers.pools import pool_of, thread_count
from fastgrad._workers.scheduler import Scheduler
from fastgrad._workers.threads import threaded

__all__ = ["evaluator"]


def evaluator(
    f: Objective,
    argument: Params,
    leaves: Sequence[Leaf],
    *,
    results: Sequence[Leaf] = (),
    workers: Any = None,
    budget: float = math.inf,
    expected: int = 0,
    progress: bool = False,
    vector: bool | Outputs = False,
    bounds: Bounds | None = None,
    measured: Measured | None = None,
    selection: Selection | None = None,
    follow: bool = False,
) -> Metered:
    """What evaluates `f` at and around its argument, whatever kind of `f` it is.

    `leaves` are those of the argument, and `results` the arrays that derivatives will be stored
    in. `workers` and `progress` are what the user passed by these names; a bar starts with
    `expected` evaluations. With `vector`, `f` returns arrays or a nest of them, which the first
    value describes if they are not given. No evaluation leaves the `bounds`. What was `measured`
    before is not evaluated again. With a `selection`, its leaves stand for those of the argument.
    With `follow`, workers go to displaced parameters too, for which they get copies anew.
    """
    check_layout(leaves)
    guard = Guard(leaves, spare=[result.array for result in results])
    # From the inside out: who moves, who shares the work out, who counts.
    here = local(f, argument, guard, vector=vector, bounds=bounds)
    # A bar that nobody sees would only cut the work into pieces.
    bar = Bar(expected) if progress else None
    if bar is not None and not bar.seen:
        bar = None
    inner: Evaluator = here
    if workers is not None:
        if here.in_threads:
            inner = threaded(here, thread_count(workers))
        elif (make_pool := pool_of(workers)) is not None:
            inner = Scheduler(here, make_pool, bar, bounds, follow=follow)
    if bounds is not None:
        inner = Bounded(inner, bounds)
    if measured is not None:
        inner = Remembering(inner, measured)
    if selection is not None:
        inner = Selected(inner, selection)
    return Metered(inner, budget, bar, None if bounds is None else _held(bounds, leaves, selection))


def _held(
    bounds: Bounds, leaves: Sequence[Leaf], selection: Selection | None
) -> Sequence[np.ndarray]:
    """Which entries of each leaf that is meant have two equal bounds."""
    held, meant = bounds.held(leaves), leaves
    if selection is not None:
        held, meant = held[selection.meant(leaves)], selection.leaves
    return np.split(held, np.cumsum([leaf.real.size for leaf in meant])[:-1])
