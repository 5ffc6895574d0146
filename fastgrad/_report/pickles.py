"""Pickles of 0.1 name the modules that its classes lived in; here they find them still.

Pickles written today name ``fastgrad`` alone, wherever in it a class lives.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__all__ = ["find_old_names"]

# By the modules of 0.1 and the names there: the modules of today. `Block` became `LeafSpan`.
_CLASSES: dict[str, dict[str, str]] = {
    "entries": {
        "Block": "_report.entries",
        "Entries": "_report.entries",
        "Entry": "_report.entries",
        "Probe": "_report.entries",
        "Verdict": "_report.entries",
    },
    "results": {
        "Cause": "_report.causes",
        "Curve": "_report.report",
        "Finding": "_report.causes",
        "LeafReport": "_report.report",
        "Report": "_report.report",
    },
    "stencils": {"Stencil": "_stencils"},
}
_RENAMED = {"Block": "LeafSpan"}


def find_old_names() -> None:
    """Make the modules known by which pickles of 0.1 call these classes."""
    for name, classes in _CLASSES.items():
        module = ModuleType(f"fastgrad.{name}", "Names in pickles of fastgrad 0.1.")
        vars(module)["__getattr__"] = _finder(module.__name__, classes)
        sys.modules[module.__name__] = module


def _finder(module: str, classes: dict[str, str]) -> Any:
    """What looks a name up when a pickle asks for it: most programs never read one."""

    def find(name: str) -> Any:
        if name not in classes:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        return getattr(import_module(f"fastgrad.{classes[name]}"), _RENAMED.get(name, name))

    return find
