"""Checks of one claim about a function, and settings for random ones of a kind."""

from __future__ import annotations

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad import Verdict

RIGHT, WRONG, UNCLEAR = Verdict.RIGHT, Verdict.WRONG, Verdict.CANNOT_TELL
randoms = st.integers(0, 2**30).map(np.random.default_rng)
SIDES = (1.0, -1.0)


def few(examples):
    """Settings for so many examples, none of which is shrunk: a smaller seed is no simpler."""
    return settings(quick(examples), phases=(Phase.explicit, Phase.generate))


def check(f, claim, x, **options):
    """Check a claim at a point of any shape, and see that every bit is put back."""
    x = np.array(x, dtype=getattr(x, "dtype", float))
    before = x.tobytes()
    claim = np.broadcast_to(np.asarray(claim, float), x.shape).copy()
    report = fg.check_gradient(f, lambda _: claim.copy(), x, **options)
    assert x.tobytes() == before
    return report


def expect(report, *verdicts):
    assert report.verdict in verdicts, str(report)


def power_of_ten(rng, low, high):
    return float(10.0 ** rng.uniform(low, high))
