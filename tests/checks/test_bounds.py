"""Checks within bounds: no evaluation outside, and the verdicts of a problem without an edge."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sendable import bounded
from strategies import quick

import fastgrad as fg
from fastgrad import Verdict

pytestmark = pytest.mark.usefixtures("backend")


class Cost:
    """Smooth inside of a box, and refuses to be called outside."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __call__(self, x):
        if (x < self.low).any() or (x > self.high).any():
            raise KeyboardInterrupt(f"called outside: {x}")  # which no check catches
        return float((np.exp(x / 2)).sum() + np.cos(x).sum() + 3 * x.sum())

    @staticmethod
    def gradient(x):
        return np.exp(x / 2) / 2 - np.sin(x) + 3


@st.composite
def places(draw, widths=(0.5, 4.0)):
    """Up to six entries, none of them zero: inside, on a bound, or closer to one than a step."""
    n = draw(st.integers(1, 6))
    low = np.array(draw(st.lists(st.floats(0.5, 3, width=16), min_size=n, max_size=n)))
    high = low + np.array([draw(st.sampled_from(widths)) for _ in range(n)])
    share = np.array([draw(st.sampled_from([0, 1, 0.5, 1e-7, 1 - 1e-7])) for _ in range(n)])
    return np.clip(low + share * (high - low), low, high), low, high


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
@quick(40)
@given(places(widths=(1e-3, 0.5, 4.0)), st.integers(0, 20))
def test_never_outside(strategy, place, seed):
    x, low, high = place
    f, how = Cost(low, high), {"bounds": (low, high), "strategy": strategy, "seed": seed}
    right = fg.check_gradient(f, f.gradient, x, **how)
    assert right.verdict is not Verdict.WRONG
    wrong = fg.check_gradient(f, lambda x: 1.5 * f.gradient(x), x, **how)
    assert wrong.verdict is not Verdict.RIGHT
    # In a narrow box less can be told.
    if strategy == "exhaustive" and (high - low).min() >= 0.5:
        assert right.verdict is Verdict.RIGHT
        assert wrong.verdict is Verdict.WRONG


@quick(40)
@given(places(), st.data())
def test_one_wrong_entry_is_found_wherever_it_lies(place, data):
    x, low, high = place
    at = data.draw(st.integers(0, len(x) - 1))
    f = Cost(low, high)
    claim = f.gradient(x)
    claim[at] *= 1.25
    report = fg.check_gradient(f, claim, x, bounds=(low, high))
    assert [entry.path for entry in report.wrong] == [f"params[{at}]"]


@pytest.mark.parametrize("workers", [None, 2])
def test_forms_of_bounds(workers):
    params = {"w": np.array([0.0, 0.5, 1.0]), "s": np.array(2.0)}
    sides = ({"w": np.zeros(3), "s": 2.0}, {"w": 1.0, "s": None})
    for factor, verdict in ((1.0, Verdict.RIGHT), (1.5, Verdict.WRONG)):
        report = fg.check_gradient(
            bounded, {"w": factor * (2 * params["w"] + 1), "s": 4.0}, params,
            bounds=sides, workers=workers,
        )  # fmt: skip
        assert report.verdict is verdict
    with pytest.raises(AssertionError, match="WRONG"):
        fg.testing.assert_gradient(bounded, {"w": np.ones(3), "s": 4.0}, params, bounds=sides)


def test_an_f_that_does_not_move_within_the_bounds():
    x = np.array([0.25, 0.75])
    kept = x.copy()

    def f(x):
        if (x < 0).any() or (x > 1).any():
            raise KeyboardInterrupt
        return float((kept**2).sum())

    report = fg.check_gradient(f, 2 * x, x, bounds=(0, 1))
    assert report.verdict is Verdict.CANNOT_TELL
    assert "copy" in report.reason


# ---------------------------------------------------------------- Hessians from values


class Waves:
    """Exponentials and sines of linear forms, with their Hessian; it keeps where it was called."""

    def __init__(self, n, seed):
        self.A, self.seen = np.random.default_rng(seed).normal(size=(6, n)), []

    def __call__(self, x):
        self.seen.append(x.copy())
        return float(np.exp(0.3 * self.A @ x).sum() + np.sin(self.A @ x).sum())

    def hessian(self, x):
        z = self.A @ x
        return (self.A.T * (0.09 * np.exp(0.3 * z) - np.sin(z))) @ self.A


@pytest.mark.parametrize("seed", range(8))
def test_hessians_from_values_at_bounds(seed):
    """On a bound, near one, between two that are close, and with room on one side."""
    rng = np.random.default_rng(seed)
    x, width, kind = rng.uniform(0.3, 2, 4), 10.0 ** rng.uniform(-4, 0, 4), rng.integers(0, 4, 4)
    low = np.select([kind == 0, kind == 1], [x, x - 9], x - width)
    high = np.select([kind == 1, kind == 0], [x, x + 9], x + width)
    f = Waves(4, seed)
    H = f.hessian(x)
    report = fg.check_hessian(f, H, x, bounds=(low, high))
    assert report, str(report)
    assert ((np.array(f.seen) >= low) & (np.array(f.seen) <= high)).all()
    i, j = rng.integers(0, 4, 2)
    H[i, j] += 0.3 * np.abs(H).max()
    H[j, i] = H[i, j]
    report = fg.check_hessian(f, H, x, bounds=(low, high))
    assert report.verdict is Verdict.WRONG
    assert {each.path for each in report.wrong} <= {
        f"params[{a}] / params[{b}]" for a, b in ((i, j), (j, i))
    }


def test_equal_bounds_are_the_reason():
    x = np.array([1.0, 2.0, 0.5])
    bounds = (np.array([1.0, 0.0, 0.0]), np.array([1.0, 3.0, 3.0]))
    f, H = Waves(3, 0), Waves(3, 0).hessian(x)
    z = f.A @ x
    slopes = f.A.T @ (0.3 * np.exp(0.3 * z) + np.cos(z))

    def grad(x):
        z = f.A @ x
        return f.A.T @ (0.3 * np.exp(0.3 * z) + np.cos(z))

    def checks(**how):
        yield fg.check_gradient(f, slopes, x, strategy="exhaustive", **how)
        yield fg.check_jacobian(grad, H, x, **how)
        yield fg.check_hessian(f, H, x, grad, **how)
        yield fg.check_hessian(f, H, x, **how)

    for report in checks(bounds=bounds):
        assert report.verdict is Verdict.CANNOT_TELL
        assert "cannot be moved" in report.reason
        assert "leave it out by `where`" in report.reason
        assert "nan" not in report.reason
    # And that helps.
    for report in checks(bounds=bounds, where=np.array([False, True, True])):
        assert report, str(report)
    # The edge of a domain is another reason.
    edge = fg.check_gradient(
        lambda x: x[1:].sum() if x[0] == 1 else np.nan, np.ones(3), x, bounds=(0, 3)
    )
    assert "not finite beside it" in edge.reason


class Keeps:
    """Keeps what it returned until it is given another object."""

    def __init__(self, f):
        self.f, self.last = f, None

    def __call__(self, x):
        if x is not self.last:
            self.last, self.value = x, self.f(x)
        return self.value


@pytest.mark.parametrize("n", [1, 4, 40, 3000])
def test_what_cannot_move_is_not_seen_to_leave_the_domain(n):
    """With held entries an `f` that caches, or reads another copy, is told as without them."""
    rng = np.random.default_rng(n)
    x, chosen = rng.normal(size=n + 2), np.ones(n + 2, bool)
    own = x.copy()
    low, high = x - 1.0, x + 1.0
    low[:2], high[:2] = x[:2], x[:2]
    chosen[1] = False

    def f(x):
        return float((np.sin(x) ** 2).sum())

    for how in ({}, {"where": chosen}):
        for strategy in ("auto", "exhaustive", "probe"):
            for kept in (Keeps(f), lambda _: f(own)):
                report = fg.check_gradient(
                    kept, np.sin(2 * x), x, bounds=(low, high), strategy=strategy, **how
                )
                assert report.verdict is Verdict.CANNOT_TELL
                assert "copy" in report.reason
                assert not report.causes
                assert not report.wrong
    if n > 40:
        return
    for report in (
        fg.check_jacobian(Keeps(np.sin), np.diag(np.cos(x)), x, bounds=(low, high)),
        fg.check_hessian(
            f, np.diag(2 * np.cos(2 * x)), x, Keeps(lambda x: np.sin(2 * x)), bounds=(low, high)
        ),
    ):
        assert report.verdict is Verdict.CANNOT_TELL
        assert "copy" in report.reason


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
@pytest.mark.parametrize("count", [1, 2])
def test_which_array_f_reads_is_told_with_held_entries(strategy, count):
    params = {"a": np.array([0.3, -0.7, 1.1]), "b": np.array([0.5, 0.9])}
    own, held = params["a"].copy(), {name: np.full(x.shape, 9.0) for name, x in params.items()}
    low = {name: -bound for name, bound in held.items()}
    low["a"][:count] = held["a"][:count] = params["a"][:count]
    report = fg.check_gradient(
        lambda p: float((own**2).sum() + (p["b"] ** 4).sum()),
        {"a": 2 * own, "b": 4 * params["b"] ** 3},
        params,
        bounds=(low, held),
        strategy=strategy,
    )
    assert report.verdict is Verdict.WRONG
    assert "No entry of a moves `f`" in report.reason
    assert {each.leaf for each in report.wrong} == {"a"}
