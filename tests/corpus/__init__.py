"""Costs with exact gradients, and the same costs with planted errors: plain NumPy data."""

from .base import Bug, Case, Problem, split
from .registry import bugs, problems, public_bugs

__all__ = ["Bug", "Case", "Problem", "bugs", "problems", "public_bugs", "split"]
