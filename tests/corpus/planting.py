"""From a problem and an error to a Bug, with its mask and size computed, never written by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .base import Bug, Case, Problem, edit, leaves, relative_size, tree_map, wrong_entries
from .errors import Spoil

Spoiler = Callable[[Case], Case]


def plant(
    problem: Problem,
    cause: str,
    label: str,
    spoil: Spoiler,
    *,
    source: str | None = None,
    size: float | None = None,
    place: str = "",
) -> Bug:
    """The bug that ``spoil`` makes of a problem; ``size`` only where computing it needs extras."""

    def make() -> Case:
        return spoil(problem.make())

    def both() -> tuple[Any, Any]:
        case = make()
        return problem.make().grad(case.params), case.grad(case.params)

    name = f"{problem.name}__{(place or cause).lower()}__{label}" if source is None else label
    return Bug(
        name,
        problem.name,
        make,
        lambda: wrong_entries(*both()),
        cause,
        relative_size(*both()) if size is None else size,
        source,
        problem.requires,
        place,
    )


def in_leaves(changes: dict[str, Spoil]) -> Spoiler:
    """Spoil the leaves named by path, each on its own."""

    def spoil(case: Case) -> Case:
        def grad(p: Any) -> Any:
            g, at = case.grad(p), dict(leaves(p))
            old = dict(leaves(g))
            return edit(
                g,
                {path: np.asarray(change(old[path], at[path])) for path, change in changes.items()},
            )

        return Case(case.f, grad, case.params)

    return spoil


def everywhere(change: Spoil) -> Spoiler:
    """Spoil every leaf the same way."""

    def spoil(case: Case) -> Case:
        def grad(p: Any) -> Any:
            return tree_map(lambda g, t: np.asarray(change(g, t)), case.grad(p), p)

        return Case(case.f, grad, case.params)

    return spoil


def exchanged(first: str, second: str) -> Spoiler:
    """The gradients of two leaves of one shape change places."""

    def spoil(case: Case) -> Case:
        def grad(p: Any) -> Any:
            g = case.grad(p)
            old = dict(leaves(g))
            return edit(g, {first: old[second], second: old[first]})

        return Case(case.f, grad, case.params)

    return spoil


def one_step_late(rate: float) -> Spoiler:
    """The gradient is the one that the last descent step was taken with."""

    def spoil(case: Case) -> Case:
        step = tree_map(lambda g: rate * g, case.grad(case.params))
        now = tree_map(lambda t, s: t - s, case.params, step)
        return Case(case.f, lambda p: case.grad(tree_map(lambda t, s: t + s, p, step)), now)

    return spoil


def leaf_late(path: str, rate: float) -> Spoiler:
    """One leaf was updated first, the rest of the gradient still saw its old value."""

    def spoil(case: Case) -> Case:
        step = rate * dict(leaves(case.grad(case.params)))[path]

        def grad(p: Any) -> Any:
            return case.grad(edit(p, {path: dict(leaves(p))[path] + step}))

        return Case(case.f, grad, edit(case.params, {path: dict(leaves(case.params))[path] - step}))

    return spoil


def momentum_late(rate: float, decay: float) -> Spoiler:
    """The gradient dates from before a momentum step (two gradients mixed)."""

    def spoil(case: Case) -> Case:
        first = case.grad(case.params)
        middle = tree_map(lambda t, g: t - rate * g, case.params, first)
        step = tree_map(lambda a, b: rate * (decay * a + b), first, case.grad(middle))
        now = tree_map(lambda t, s: t - s, middle, step)
        return Case(case.f, lambda p: case.grad(tree_map(lambda t, s: t + s, p, step)), now)

    return spoil
