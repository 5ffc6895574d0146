"""Halves and doubles the constants of the judge: which verdicts on the corpus change?

``python bench/constants.py [NAME ...]`` prints one line for each change; without names it varies
the error model, the extrapolation and the refinement, which takes a quarter of an hour. The
corpus is split in two halves: what is concluded from one can be looked up in the other.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "docs")]

import constants as listed  # noqa: E402  (docs/constants.py, from the path above)
from corpus import bugs, problems, public_bugs  # noqa: E402
from corpus.base import leaves  # noqa: E402

import fastgrad as fg  # noqa: E402

VARIED = ("error_model", "extrapolation", "refinement")
# Judged entry by entry up to so many entries, and probed from so many on: cheap, and both at work.
MOST_JUDGED, LEAST_PROBED = 400, 30


def items() -> list[tuple[Any, bool]]:
    """Problems and bugs that can be run here, and whether their gradient is right."""
    every = [(p, True) for p in problems()] + [(b, False) for b in bugs() + public_bugs()]
    return [(i, ok) for i, ok in every if all(map(importlib.util.find_spec, i.requires))]


def verdicts(corpus: list[tuple[Any, bool]]) -> dict[tuple[int, str], str]:
    """The verdict on each item, by each strategy that suits its size."""
    found = {}
    for k, (item, _) in enumerate(corpus):
        size = sum(np.size(array) for _, array in leaves(item.make().params))
        for strategy in ("exhaustive", "probe"):
            if size > MOST_JUDGED if strategy == "exhaustive" else size <= LEAST_PROBED:
                continue
            case = item.make()
            with np.errstate(all="ignore"):
                report = fg.check_gradient(case.f, case.grad, case.params, strategy=strategy)
            found[k, strategy] = report.verdict.name
    return found


def modules() -> list[ModuleType]:
    """The loaded modules of the judge: a constant may have been imported into several."""
    folders = tuple(f"fastgrad.{folder}." for folder in listed.FOLDERS)
    return [module for name, module in sys.modules.items() if name.startswith(folders)]


def changes(names: list[str]) -> Iterator[tuple[list[ModuleType], str, Any, Any]]:
    """Where each constant stands, its name, its value and the one to be tried."""
    for constant in listed.constants():
        home = sys.modules[f"fastgrad.{constant.module}"]
        for name in constant.names:
            value = getattr(home, name)
            wanted = name in names if names else constant.module.split(".")[1] in VARIED
            if not wanted or not isinstance(value, (int, float)):
                continue
            # A private name of another module is another constant.
            shared = [m for m in modules() if hasattr(m, name)]
            where = [home] if name.startswith("_") else shared
            for factor in (0.5, 2):
                other = value * factor if isinstance(value, float) else max(1, int(value * factor))
                yield where, name, value, other


def main() -> None:
    """Print what changes."""
    warnings.simplefilter("ignore")
    corpus = items()
    usual = verdicts(corpus)
    print(f"{len(usual)} checks")
    for where, name, value, other in changes(sys.argv[1:]):
        for module in where:
            setattr(module, name, other)
        try:
            now = verdicts(corpus)
        finally:
            for module in where:
                setattr(module, name, value)
        off = [key for key in usual if now[key] != usual[key]]
        halves = [
            [f"{corpus[k][0].name}: {usual[k, s]} > {now[k, s]}" for k, s in off if k % 2 == half]
            for half in (0, 1)
        ]
        print(f"{name} = {other:g} for {value:g}: {halves}", flush=True)


if __name__ == "__main__":
    main()
