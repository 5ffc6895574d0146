"""Composes what evaluates `f`: here, in threads or by workers; and a meter around it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Meter, Metered
from fastgrad._evaluation.protocol import Evaluator
from fastgrad._tree import Params
from fastgrad._workers.pools import pool_of, thread_count
from fastgrad._workers.scheduler import Scheduler
from fastgrad._workers.threads import Threaded

__all__ = ["evaluator"]


def evaluator(
    f: Callable[[Any], Any],
    argument: Params,
    guard: Guard,
    meter: Meter,
    workers: Any = None,
    *,
    vector: bool = False,
) -> Metered:
    """What evaluates `f` at and around its argument, whatever kind of `f` it is.

    `workers` is what the user passed by that name. With `vector`, `f` returns arrays.
    """
    here = local(f, argument, guard, meter.update, vector=vector)
    inner: Evaluator = here
    if here.in_threads:
        threads = thread_count(workers)
        if threads > 1:
            inner = Threaded(here, threads)  # type: ignore[arg-type]
    elif (make_pool := pool_of(workers)) is not None:
        inner = Scheduler(here, make_pool, meter.update)
    return Metered(inner, meter)
