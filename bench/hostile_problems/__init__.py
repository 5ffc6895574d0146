"""Families of objectives, with exact gradients, that make gradient checkers err."""

from . import domains, flat, kinks, models, noisy, rounding, singular, solvers, steps
from .base import FAMILIES, Family, Problem, leaves, like

__all__ = [
    "FAMILIES", "Family", "Problem", "domains", "flat", "kinks", "leaves", "like", "models",
    "noisy", "rounding", "singular", "solvers", "steps",
]  # fmt: skip
