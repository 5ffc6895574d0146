"""Families of objectives, with exact gradients, that make gradient checkers err."""

from . import (
    assorted,
    domains,
    flat,
    kinks,
    mixed,
    models,
    noisy,
    probes,
    rounding,
    singular,
    solvers,
    steps,
)
from .base import FAMILIES, Family, Problem, leaves, like

__all__ = [
    "FAMILIES", "Family", "Problem", "assorted", "domains", "flat", "kinks", "leaves", "like",
    "mixed", "models", "noisy", "probes", "rounding", "singular", "solvers", "steps",
]  # fmt: skip
