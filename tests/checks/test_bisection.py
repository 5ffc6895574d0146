"""The search for wrong entries: what it leaves of the gradient that it was given."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import thirds

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")
SIZE = 6000


def slopes(x):
    return 3 * x**2 / 1e4


class Drifting:
    """A sum of cubes that is off from a certain call on."""

    def __init__(self, drifts_at: int | None = None) -> None:
        self.calls, self.drifts_at = 0, drifts_at

    def __call__(self, x: np.ndarray) -> float:
        self.calls += 1
        off = 1e-3 if self.drifts_at is not None and self.calls >= self.drifts_at else 0.0
        return float((x**3).sum() / 1e4 + off)


def shown(report) -> dict[int, float]:
    return {entry.index[0]: entry.analytic for entry in report.entries}


@pytest.mark.parametrize(
    ("value", "count", "how"),
    thirds([np.nan, np.inf, -np.inf], [1, 99, 100, 101, 450], ["to the end", "drift", "budget"]),
)
def test_a_report_shows_what_the_gradient_holds(value, count, how):
    x = np.random.default_rng(0).normal(size=SIZE)
    claimed = slopes(x)
    bad = np.random.default_rng(1).choice(SIZE, count, replace=False)
    claimed[bad] = value
    f = Drifting()
    report = fg.check_gradient(f, claimed, x, strategy="probe")
    if how == "drift":
        steady = shown(report)
        report = fg.check_gradient(Drifting(f.calls), claimed, x, strategy="probe")
        assert "drift" in report.reason
        assert len(report.unclear) == len(report.entries)
        assert list(shown(report)) == list(steady)
    elif how == "budget":
        report = fg.check_gradient(f, claimed, x, strategy="probe", budget=20 + count)
    for entry, analytic in shown(report).items():
        np.testing.assert_array_equal(analytic, claimed[entry])
    if how == "to the end":
        assert report.verdict is fg.Verdict.WRONG


def test_a_kink_hides_no_entry_that_is_not_finite():
    """At kinks the search goes on beyond the entries that it looks at first."""
    x = np.zeros(SIZE)
    claimed = np.zeros(SIZE)
    claimed[:150] = np.nan
    report = fg.check_gradient(lambda x: float(np.abs(x).sum()), claimed, x, strategy="probe")
    for entry, analytic in shown(report).items():
        np.testing.assert_array_equal(analytic, claimed[entry])
    assert report.verdict is not fg.Verdict.RIGHT
