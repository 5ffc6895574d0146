"""What a check finds within a budget does not depend on how long `f` takes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad._checks import by_rows
from fastgrad._evaluation import meter

# Seconds that an evaluation takes, at most: pieces of the work are meant to take a tenth of one.
SPEEDS = (0.0, 1e-5, 3e-3, 1.0)


class Clock:
    """A clock that only evaluations move on, by a different time each."""

    def __init__(self, monkeypatch):
        self.now, self.slow = 0.0, 0.0
        for module in (meter, by_rows):
            monkeypatch.setattr(module, "perf_counter", lambda: self.now)

    def timed(self, f, calls):
        def call(*arguments):
            calls.append(1)
            self.now += self.slow * (1 + len(calls) % 3) / 3
            return f(*arguments)

        return call


def told(report):
    """All that a report says, but for how long it took."""
    known = report.to_dict()
    del known["seconds"]
    return known


def at_all_speeds(clock, check, f):
    """What the check says, and how often it evaluates `f`, however long that takes."""
    found = []
    for clock.slow in SPEEDS:
        calls = []
        report = check(clock.timed(f, calls))
        found.append((repr(told(report)), len(calls)))
    assert found.count(found[0]) == len(found)
    return report


@quick(25)
@given(
    n=st.sampled_from([1, 3, 40, 300]),
    budget=st.integers(1, 700),
    off=st.sampled_from([0.0, 1e-3, 1.0]),
    strategy=st.sampled_from(["exhaustive", "probe"]),
)
@pytest.mark.parametrize("grouped", [False, True])
def test_a_budget_goes_as_far_however_long_f_takes(grouped, n, budget, off, strategy, backend):
    x = np.linspace(-1.5, 2.0, n)
    claimed = np.cos(x)
    claimed[:: max(1, n // 3)] *= 1 + off
    f, params, grad = (lambda x: float(np.sin(x).sum())), x, claimed
    if grouped and n > 1:
        at = n // 2
        f = lambda p: float(np.sin(p[0]).sum() + np.sin(p[1]).sum())  # noqa: E731
        params, grad = [x[:at].copy(), x[at:].copy()], [claimed[:at], claimed[at:]]
    with pytest.MonkeyPatch.context() as patch:
        report = at_all_speeds(
            Clock(patch),
            lambda f: fg.check_gradient(f, grad, params, strategy=strategy, budget=budget),
            f,
        )
    assert report.evaluations <= max(budget, 3)


@quick(12)
@given(
    n=st.sampled_from([2, 50, 200]),
    budget=st.integers(2, 500),
    off=st.sampled_from([0.0, 1e-3]),
)
def test_so_it_does_for_a_jacobian(n, budget, off, backend):
    x, weights = np.linspace(-1.5, 2.0, n), np.array([[1.0], [-2.0]])
    claimed = weights * np.cos(x)
    claimed[1, n // 2] *= 1 + off
    with pytest.MonkeyPatch.context() as patch:
        at_all_speeds(
            Clock(patch),
            lambda f: fg.check_jacobian(f, claimed, x, budget=budget),
            lambda x: weights @ np.sin(x)[:, np.newaxis].sum(axis=0) + x[:1],
        )


def test_a_budget_is_used_up_to_the_last_entry_that_it_affords(backend):
    """It was left unused where the entries did not fit into it together."""
    x = np.linspace(-1.5, 2.0, 100)
    report = fg.check_gradient(
        lambda x: float(np.sin(x).sum()), np.cos(x), x, strategy="exhaustive", budget=100
    )
    assert report.evaluations in (99, 100)
    assert report.reason.startswith("the budget ran out when 45 of 100 entries were measured; ")


@pytest.mark.parametrize("small", [True, False])
@pytest.mark.parametrize("what", ["jacobian", "jvp", "vjp"])
def test_a_budget_that_no_value_fits_into_is_refused(what, small):
    x = np.ones(2 if small else 400)
    given = {"jacobian": np.eye(x.size), "jvp": lambda x, v: v, "vjp": lambda x, u: u}[what]
    check = getattr(fg, f"check_{what}")
    if what == "vjp" and not small:  # which then looks along random vectors
        assert check(lambda x: 1 * x, given, x, budget=1).verdict is fg.Verdict.CANNOT_TELL
        return
    with pytest.raises(fg.InputValueError, match="`budget` must be at least 2 evaluations"):
        check(lambda x: 1 * x, given, x, budget=1)
    assert check(lambda x: 1 * x, given, x, budget=2).verdict is fg.Verdict.CANNOT_TELL
