"""What small steps leave open is judged by moves far away, in checks and probes alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import one_backend, quick

import fastgrad as fg
from fastgrad import Verdict

pytestmark = [pytest.mark.usefixtures("backend"), one_backend]

randoms = st.integers(0, 2**30).map(np.random.default_rng)
# Judged entry by entry from the start, in doubt, and along directions alone.
sizes = st.sampled_from([1, 2, 5, 30, 300])


def verdicts(f, claimed, x, seed=0):
    probe, exhaustive = (
        fg.check_gradient(f, claimed, x, strategy=strategy, seed=seed)
        for strategy in ("probe", "exhaustive")
    )
    return probe, exhaustive


def stairs(rng, n):
    """Wider than the steps, with the mean slope as the gradient, and the parameters."""
    x, slope, width = rng.normal(size=n), rng.normal(size=n), 10.0 ** rng.uniform(-3, -0.3)
    return lambda x: float(np.floor(x / width) @ slope * width), slope, x


@quick(60)
@given(rng=randoms, seed=st.integers(0, 7))
def test_claim_that_nothing_moves_f_is_not_right_of_stairs(rng, seed):
    f, _, x = stairs(rng, 1)
    for report in verdicts(f, np.zeros(1), x, seed):
        assert report.verdict is Verdict.CANNOT_TELL
        assert "jumps" in report.reason


@quick(40)
@given(rng=randoms, n=sizes, seed=st.integers(0, 7))
def test_stairs_are_never_wrong(rng, n, seed):
    f, slope, x = stairs(rng, n)
    for claimed in (slope, np.zeros(n)):
        assert all(r.verdict is not Verdict.WRONG for r in verdicts(f, claimed, x, seed))


@quick(40)
@given(rng=randoms, n=sizes.filter(lambda n: n > 1), planted=st.booleans())
def test_stairs_beside_smooth_entries_hide_no_error(rng, n, planted):
    jumping = np.arange(n) < rng.integers(1, n)
    rng.shuffle(jumping)
    stepped, slope, x = stairs(rng, n)
    smooth = np.flatnonzero(~jumping)
    f = lambda x: stepped(np.where(jumping, x, 0)) + float(np.sin(x[smooth]).sum())  # noqa: E731
    claimed = np.where(jumping, slope, np.cos(x))
    if planted:
        claimed[smooth[0]] += 0.5
    for report in verdicts(f, claimed, x):
        assert {e.index for e in report.wrong} <= {(smooth[0],)} if planted else not report.wrong
        assert report.verdict is not (Verdict.RIGHT if planted else Verdict.WRONG)


def likelihood(rng, n):
    """Even around its optimum, where the gradient is nothing but rounding."""
    x, sharp = rng.normal(size=n), 10.0 ** rng.uniform(-1, 1, size=n)
    best, offset = x.copy(), rng.normal()
    return lambda x: float(np.log1p(sharp * (x - best) ** 2).sum() + offset), x


@quick(40)
@given(rng=randoms, n=sizes, seed=st.integers(0, 7))
def test_gradient_that_vanishes_at_an_optimum_is_right(rng, n, seed):
    f, x = likelihood(rng, n)
    for report in verdicts(f, 1e-16 * rng.normal(size=n), x, seed):
        assert report.verdict is Verdict.RIGHT
        assert "vanishes" in report.reason or "could be wrong by up to" in report.reason
    off = np.zeros(n)
    off[rng.integers(n)] = 0.5
    for report in verdicts(f, off, x, seed):
        assert [e.index for e in report.wrong] == [(int(off.argmax()),)]


@quick(30)
@given(rng=randoms, n=st.sampled_from([1, 2]))
def test_flat_bottom_that_bends_farther_away_is_right(rng, n):
    """Where the second differences of small steps show nothing either."""
    width = 10.0 ** rng.uniform(-8, -3)
    f = lambda x: float(np.sqrt(x**2 + width**2).sum())  # noqa: E731
    for report in verdicts(f, np.zeros(n), np.zeros(n)):
        assert report.verdict is Verdict.RIGHT
