"""Pickles of 0.1 name the modules that its classes lived in; here they find them still.

Pickles written today name ``fastgrad`` alone, wherever in it a class lives.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Entries, Entry, LeafSpan, Probe, Verdict
from fastgrad._report.report import Curve, LeafReport, Report
from fastgrad._stencils import Stencil

__all__ = ["find_old_names"]

_CLASSES: dict[str, dict[str, Any]] = {
    "entries": {
        "Block": LeafSpan,
        "Entries": Entries,
        "Entry": Entry,
        "Probe": Probe,
        "Verdict": Verdict,
    },
    "results": {
        "Cause": Cause,
        "Curve": Curve,
        "Finding": Finding,
        "LeafReport": LeafReport,
        "Report": Report,
    },
    "stencils": {"Stencil": Stencil},
}


def find_old_names() -> None:
    """Make the modules known by which pickles of 0.1 call these classes."""
    for name, classes in _CLASSES.items():
        module = ModuleType(f"fastgrad.{name}", "Names in pickles of fastgrad 0.1.")
        vars(module).update(classes)
        sys.modules[module.__name__] = module
