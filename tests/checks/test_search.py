"""Probes of problems that are hostile to directions: what is right is never called wrong, and an
error of ten times the stated limit is found.

Each family draws problems with a right gradient: `f`, the gradient, and the parameters.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import one_backend, quick

import fastgrad as fg
from fastgrad import Cause, Verdict
from fastgrad._checks.directional import Directional
from fastgrad._checks.moves import ClaimedMoves

pytestmark = [pytest.mark.usefixtures("backend"), one_backend]
SIZES = (20, 90, 700)


def lasso(random):
    """Kinks at the parameters that are zero."""
    x = random.normal(size=random.choice(SIZES))
    x[random.random(x.size) < random.choice([0.01, 0.1, 0.5])] = 0
    w, c = random.normal(size=x.size), random.choice([0.01, 0.1, 1.0])
    return lambda x: float(w @ x + x @ x / 2 + c * np.abs(x).sum()), w + x + c * np.sign(x), x


def integer_relu(random):
    """Units that are exactly zero, so that kinks of many entries meet."""
    inputs = random.integers(-1, 2, size=(12, random.integers(3, 9))).astype(float)
    w = np.round(random.normal(size=(inputs.shape[1], random.integers(4, 30))))
    v = random.normal(size=w.shape[1])
    on = inputs @ w > 0
    return lambda w: float((np.maximum(inputs @ w, 0) @ v).mean()), inputs.T @ (on * v) / 12, w


def pole(random):
    x = random.uniform(1, 2, size=random.choice(SIZES))
    x[0] = 10.0 ** random.uniform(-12, -1)
    return lambda x: float((1 / x).sum()), -1 / x**2, x


def entropy(random):
    """The derivative has no bound beside the edge of the domain."""
    x = random.uniform(1, 2, size=random.choice(SIZES))
    x[:3] = 10.0 ** random.uniform(-18, -6, size=3)
    return lambda x: float((x * np.log(x)).sum()), np.log(x) + 1, x


def tiny(random):
    """Parameters far below the least step, and a function that changes over their size."""
    x = random.normal(size=random.choice(SIZES)) * 10.0 ** random.uniform(-20, -8)
    s = 10.0 ** random.uniform(8, 18)
    return lambda x: float(np.arctan(s * x).sum()), s / (1 + (s * x) ** 2), x


def times(random):
    """Parameters that are seconds since 1970."""
    x = 1.7e9 + random.uniform(0, 1e4, size=random.choice(SIZES))
    return lambda x: float(np.sin((x - 1.7e9) / 1e3).sum()), np.cos((x - 1.7e9) / 1e3) / 1e3, x


def offset_inside(random):
    """Rounding on a grid inside `f`, which its values do not show."""
    x, c = random.normal(size=random.choice(SIZES)), 10.0 ** random.integers(3, 11)
    return lambda x: float((((x + c) - c) ** 2).sum()), 2 * x, x


def staircase(random):
    """Steps of any width, with the mean slope as the gradient."""
    x = random.normal(size=random.choice(SIZES))
    a, width = random.normal(size=x.size), 10.0 ** random.uniform(-12, -0.3)
    return lambda x: float((np.floor(x / width) * width) @ a), a, x


def hinge(random):
    """Kinks at all parameters."""
    n = random.choice(SIZES)
    inputs, y = random.normal(size=(50, n)), np.sign(random.normal(size=50))
    return (
        lambda w: float(np.maximum(0, 1 - y * (inputs @ w)).mean() + 0.01 * np.abs(w).sum()),
        -(inputs.T @ y) / 50,
        np.zeros(n),
    )


def single_precision(random):
    inputs = random.normal(size=(32, 60)).astype("f4")
    w, v = (random.normal(size=(60, 80)) / 8).astype("f4"), random.normal(size=80).astype("f4")
    if random.integers(2):
        act, slope = np.tanh, lambda h: 1 - np.tanh(h) ** 2
    else:
        act, slope = (lambda h: np.maximum(h, 0)), (lambda h: h > 0)
    g = inputs.T @ (slope(inputs @ w) * v) / 32
    return lambda w: float((act(inputs @ w) @ v).mean()), g.astype("f4"), w


FAMILIES = (
    lasso,
    integer_relu,
    pole,
    entropy,
    tiny,
    times,
    offset_inside,
    staircase,
    hinge,
    single_precision,
)


def probed(f, g, x, **options):
    with np.errstate(all="ignore"):
        return fg.check_gradient(f, g, x, strategy="probe", **options)


@pytest.mark.parametrize("family", FAMILIES)
@quick(20)
@given(seed=st.integers(0, 10**6))
def test_right_is_never_wrong_and_what_is_stated_is_seen(family, seed):
    f, g, x = family(np.random.default_rng(seed))
    report = probed(f, g, x, seed=seed)
    assert report.verdict is not Verdict.WRONG, report
    if report.verdict is Verdict.RIGHT:
        wrong, at = g.copy(), seed % g.size
        wrong.flat[at] += 10 * report.detection_limit * (-1) ** seed
        assert probed(f, wrong, x, seed=seed).verdict is not Verdict.RIGHT


@pytest.mark.parametrize("family", [lasso, integer_relu, pole, times, offset_inside])
@quick(10)
@given(seed=st.integers(0, 10**6), factor=st.sampled_from([-1.0, 0.0, 0.5, 3.0]))
def test_what_is_wrong_throughout_is_never_right(family, seed, factor):
    f, g, x = family(np.random.default_rng(seed))
    assert probed(f, factor * g, x, seed=seed).verdict is not Verdict.RIGHT


def test_a_limit_of_the_size_of_the_gradient_is_not_right():
    """Kinks at ten of a thousand parameters: along directions all between both sides is right."""
    random = np.random.default_rng(0)
    x, w = random.normal(size=1000), random.normal(size=1000)
    x[:10] = 0
    report = probed(
        lambda x: float(w @ x + 0.1 * np.abs(x).sum()), w + 0.1 * np.sign(x), x, budget=30
    )
    typical = np.sqrt(((w + 0.1 * np.sign(x)) ** 2).mean())
    assert report.verdict is Verdict.CANNOT_TELL or report.detection_limit < typical


# ------------------------------------------------------------------------------------- staircases


@pytest.mark.parametrize("width", [1e-9, 1e-7, 1e-5, 1e-3, 0.1, 0.7])
@pytest.mark.parametrize("n", [3, 40, 600])
def test_a_staircase_is_never_right_for_a_claim_of_zero(width, n):
    for seed in range(3):
        x = np.random.default_rng(seed).uniform(0.5, 1.5, size=n)
        report = probed(
            lambda x: float((np.floor(x / width) * width).sum()), np.zeros(n), x, seed=seed
        )
        assert report.verdict is not Verdict.RIGHT
        assert "another copy" not in report.reason


# ----------------------------------------------------------------- along the claimed gradient


def layer(n=30_000):
    """A layer in single precision, so wide that noise hides a twentieth of any single entry."""
    random = np.random.default_rng(0)
    inputs = random.normal(size=(16, n // 100)).astype("f4")
    w = (random.normal(size=(n // 100, 100)) / 8).astype("f4")
    v = random.normal(size=100).astype("f4")
    f = lambda w: (np.tanh(inputs @ w) @ v).mean()  # noqa: E731
    return f, (inputs.T @ ((1 - np.tanh(inputs @ w) ** 2) * v) / 16).astype("f4"), w


@pytest.mark.parametrize("factor", [1.05, 1.06, 0.9, 1.5, -1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_factor_in_single_precision_is_named(factor, seed):
    f, g, w = layer()
    report = probed(f, (np.float32(factor) * g), w, seed=seed)
    assert report.verdict is Verdict.WRONG
    assert report.causes[0].kind in (Cause.FACTOR, Cause.SIGN)
    if report.causes[0].kind is Cause.FACTOR:
        assert report.causes[0].evidence["factor"] == pytest.approx(factor, rel=5e-3)


@pytest.mark.parametrize("seed", range(3))
def test_half_a_layer_that_is_off_is_no_factor_of_all_of_it(seed):
    f, g, w = layer()
    wrong = g.copy()
    wrong[: len(g) // 2] *= 1.3
    report = probed(f, wrong, w, seed=seed)
    assert report.verdict is Verdict.WRONG
    assert not [c for c in report.causes if c.kind is Cause.FACTOR and "slice" not in c.evidence]


def test_the_claimed_gradient_is_looked_along_only_where_noise_hides_a_factor():
    """A right gradient takes nine evaluations, and five more for each array."""
    params = {name: np.linspace(0.1, 1, 400) for name in "abc"}
    report = probed(
        lambda p: float(sum((v**3).sum() for v in p.values())),
        {name: 3 * value**2 for name, value in params.items()},
        params,
    )
    assert report.verdict is Verdict.RIGHT
    assert report.evaluations <= 9 + 5 * len(params)


@pytest.mark.parametrize("seed", range(5))
def test_what_one_entry_explains_is_not_asked_in_halves_whether_it_is_a_factor(seed, monkeypatch):
    """A factor would show more along the claimed gradient: that it does not, one row tells."""
    rows = []
    row = Directional._row

    def noted(self, box, time):
        if isinstance(self._moves, ClaimedMoves):
            rows.append(time)
        return row(self, box, time)

    monkeypatch.setattr(Directional, "_row", noted)
    x = np.random.default_rng(seed).normal(size=4000)
    claimed = np.cos(x)
    claimed[17] += 1.0
    report = probed(lambda x: float(np.sin(x).sum()), claimed, x, seed=seed)
    assert [entry.path for entry in report.wrong] == ["params[17]"]
    assert len(rows) == 1
    rows.clear()
    report = probed(lambda x: float(np.sin(x).sum()), 1.05 * np.cos(x), x, seed=seed)
    assert report.causes[0].kind is Cause.FACTOR
    assert len(rows) > 1


def test_a_tolerance_holds_for_directions_as_well():
    x = np.linspace(1, 2, 400)
    f = lambda x: float((x**3).sum())  # noqa: E731
    assert not probed(f, 3.01 * x**2, x)
    assert probed(f, 3.01 * x**2, x, rtol=0.01)
    assert not probed(f, 3 * x**2 + 0.01, x)
    assert probed(f, 3 * x**2 + 0.01, x, atol=0.02)
    assert not probed(f, 3 * x**2 + 0.1, x, atol=0.02)


# ----------------------------------------------------------------- claims that are not finite


@pytest.mark.parametrize("claim", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("count", [1, 50, 400])
@pytest.mark.parametrize("slope", [0.0, 1.0])
def test_infinite_claims_are_wrong_where_the_derivative_is_finite(claim, count, slope):
    w = np.ones(1000)
    w[:count] = slope
    claimed = w.copy()
    claimed[:count] = claim
    report = probed(lambda x: float(w @ x), claimed, np.ones(1000))
    assert report.verdict is Verdict.WRONG
    assert all(entry.index[0] < count for entry in report.wrong)


def test_an_infinite_claim_that_may_be_right_is_not_dropped():
    x = np.linspace(0, 1, 300)
    g = np.divide(0.5, np.sqrt(x), out=np.full(300, np.inf), where=x > 0)
    report = probed(lambda x: float(np.sqrt(np.abs(x)).sum()), g, x)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "infinite or NaN" in report.reason


# -------------------------------------------------------------------------------------- magnitudes


@pytest.mark.filterwarnings("error")
@quick(60)
@given(
    exponent=st.floats(-300, 300),
    where=st.sampled_from(["value", "parameters", "claim", "entry"]),
    n=st.sampled_from([3, 10, 300]),
    seed=st.integers(0, 1000),
)
def test_no_magnitude_brings_a_warning_a_false_alarm_or_a_miss(exponent, where, n, seed):
    x, size = np.random.default_rng(seed).normal(size=n), 10.0**exponent
    g, factor = 2 * x, 1.0
    if where == "value":
        g, factor = g * size, size
    elif where == "parameters":
        x, g, factor = x * size, np.full(n, 2.0), 0.0
    elif where == "claim":
        g = g * size
    else:
        g[seed % n] = size

    def f(x):
        with np.errstate(all="ignore"):
            return float(factor * (x @ x)) if factor else float(2 * x.sum())

    report = fg.check_gradient(f, g, x, strategy="probe", seed=seed)
    if where in ("value", "parameters"):
        assert report.verdict is not Verdict.WRONG
    elif abs(exponent) > 1:
        assert report.verdict is not Verdict.RIGHT
    assert str(report)


# ---------------------------------------------------------------------------------------- budgets


def budgets(kind):
    """`f`, a gradient, the parameters, and whether it is right."""
    random = np.random.default_rng(0)
    x, w = random.normal(size=90), random.normal(size=90)
    g = 3 * w * x**2
    if kind == "entry":
        g[7] *= 1.5
    elif kind == "block":
        g[30:60] *= 2
    elif kind == "all":
        g *= 2
    elif kind == "zero":
        g *= 0
    elif kind == "infinite":
        g[:5] = np.inf
    elif kind == "scattered":
        g[::30] *= -1
    return lambda x: float((w * x**3).sum()), g, x


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["right", "entry", "block", "all", "zero", "infinite", "scattered"]
)
def test_a_budget_may_end_anywhere(kind):
    f, g, x = budgets(kind)
    whole = probed(f, g, x).evaluations
    # Each of the first hundred; of the others, which only judge further entries, one in seven.
    for budget in (*range(1, min(whole, 100)), *range(100, whole, 7), whole):
        report = probed(f, g, x, budget=budget)
        assert report.evaluations <= budget
        wanted = {Verdict.CANNOT_TELL, Verdict.RIGHT if kind == "right" else Verdict.WRONG}
        assert report.verdict in wanted, budget
        assert str(report)


@pytest.mark.slow
@pytest.mark.parametrize("spoilt", ["", "a", "b", "c"])
def test_a_budget_may_end_in_any_array(spoilt):
    random = np.random.default_rng(1)
    p = {"a": random.normal(size=(6, 8)), "b": random.normal(size=40), "c": random.normal(size=2)}
    f = lambda p: float((p["a"] ** 3).sum() + np.sin(p["b"]).sum() + p["c"] @ p["c"])  # noqa: E731
    g = {"a": 3 * p["a"] ** 2, "b": np.cos(p["b"]), "c": 2 * p["c"]}
    if spoilt:
        g[spoilt] = 3 * g[spoilt]
    for budget in range(1, probed(f, g, p).evaluations + 1):
        report = probed(f, g, p, budget=budget)
        assert report.evaluations <= budget
        assert report.verdict is not (Verdict.RIGHT if spoilt else Verdict.WRONG)


@pytest.mark.parametrize("count", [1, 2, 5, 30])
@pytest.mark.parametrize("factor", [1.3, -1.0, 0.5])
def test_a_factor_of_a_few_entries_that_move_f_is_told_of_these(count, factor):
    """Of a leaf of which all others are claimed to be zero, and are."""
    x = np.linspace(0.5, 1.5, 20_000)
    few = np.random.default_rng(count).choice(x.size, count, replace=False)

    def f(x):
        return float((x[few] ** 2).sum())

    claim = np.zeros(x.size)
    claim[few] = 2 * x[few]
    assert fg.check_gradient(f, claim, x, strategy="probe")
    report = fg.check_gradient(f, factor * claim, x, strategy="probe")
    assert report.verdict is fg.Verdict.WRONG
    assert sorted(entry.index[0] for entry in report.wrong) == sorted(few.tolist())
    assert report.causes[0].kind in (fg.Cause.FACTOR, fg.Cause.SIGN)
    assert report.evaluations <= 100 + 60 * min(count, 4) + 4 * count
    wrong = claim.copy()
    wrong[few[0]] *= factor
    report = fg.check_gradient(f, wrong, x, strategy="probe")
    assert [entry.index[0] for entry in report.wrong] == [few[0]]
