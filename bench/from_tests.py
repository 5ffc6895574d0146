"""The corpus and the network that the tests and the benchmarks share: they lie in tests/."""

from __future__ import annotations

import sys
from pathlib import Path

# The one place that reaches into tests/. A benchmark runs without pytest, whose `pythonpath` makes
# these modules importable for the tests.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from corpus import Bug, Problem, bugs, problems, public_bugs, split
from network import Network, Params

__all__ = ["Bug", "Network", "Params", "Problem", "bugs", "problems", "public_bugs", "split"]
