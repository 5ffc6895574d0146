"""The verdict on the whole, and its reason."""

import fnmatch
import itertools
import re

import numpy as np
import pytest

import fastgrad as fg
from fastgrad._checks import verdict
from fastgrad._checks.baseline import Baseline
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.result import LeafProbe, LeafResult, Result, Stop
from fastgrad._report.entries import Entries, LeafSpan, Probe
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


def edge(x):
    """Fit to be judged along the first entry only."""
    return x[0] ** 2 + (0.0 if x[1] == 0 else np.nan)


def test_one_wrong_entry_outweighs_any_that_cannot_be_judged():
    report = fg.check_gradient(edge, np.array([5.0, 0.0]), np.array([1.0, 0.0]))
    assert report.verdict is fg.Verdict.WRONG
    assert "1 of 2 entries disagrees; it is params[0]: " in report.reason
    assert "params[0]" in report.reason


def test_one_entry_that_cannot_be_judged_forbids_a_pass():
    report = fg.check_gradient(edge, np.array([2.0, 0.0]), np.array([1.0, 0.0]))
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "not finite beside it" in report.reason
    assert "params[1]" in report.reason


def test_a_leaf_that_moves_nothing_is_said_to_be_another_copy():
    params = {"a": np.ones(2), "b": np.ones(3)}
    stale = params["b"].copy()

    def f(p):
        return (p["a"] ** 2).sum() + (stale**2).sum()

    report = fg.check_gradient(f, {"a": 2 * params["a"], "b": 2 * stale}, params)
    assert report.verdict is fg.Verdict.WRONG
    assert "No entry of b moves `f`" in report.reason
    assert "No entry of a" not in report.reason


def test_a_leaf_that_f_takes_out_of_its_container_is_an_error():
    params = {"w": np.ones(3)}

    def f(p):
        value = (p["w"] ** 2).sum()
        p["w"] = p["w"].copy()
        return value

    with pytest.raises(fg.MutationError, match=r"^`f` replaced `w`"):
        fg.check_gradient(f, {"w": 2 * params["w"]}, params)


# ----------------------------------------------- the same sentence, however the entries are visited

STRATEGIES = pytest.mark.parametrize("strategy", ["exhaustive", "probe"])


def point():
    return np.linspace(0.5, 2, 40)


def square(x):
    return float((x**2).sum())


def reason_of(f, claimed, x=None, **options):
    report = fg.check_gradient(f, claimed, point() if x is None else x, **options)
    return report.verdict, report.reason


@STRATEGIES
def test_another_copy_is_suspected_of_all_leaves_that_move_nothing(strategy):
    params = {key: np.linspace(1, 2, 40) for key in "abcdef"}
    claimed = {key: 2 * value for key, value in params.items()}
    found, reason = reason_of(lambda p: square(p["c"]), claimed, params, strategy=strategy)
    assert found is fg.Verdict.WRONG
    assert reason.endswith(
        ". No entry of a, b, d and 2 more moves `f`: it may be reading another copy of those arrays"
    )


@STRATEGIES
def test_entries_at_the_tip_of_a_kink_do_move_f(strategy):
    """The central difference is zero there, and yet no other copy is being read."""
    claimed = np.full(2, 3.0)
    found, reason = reason_of(
        lambda x: float(np.abs(x).sum()), claimed, np.zeros(2), strategy=strategy
    )
    assert found is fg.Verdict.WRONG
    assert "moves `f`" not in reason


@STRATEGIES
def test_gradient_that_vanishes_with_f(strategy):
    found, reason = reason_of(lambda x: 1.0, np.zeros(40), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert reason.startswith("both gradients are exactly zero: ")


@STRATEGIES
def test_jumps(strategy):
    def count(x):
        return float((x > 0.1).sum())

    found, reason = reason_of(count, np.zeros(50), np.linspace(-1, 1, 50), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert reason.startswith("`f` moves in jumps only with params: it is piecewise constant")


@STRATEGIES
def test_noise_that_hides_the_gradient(strategy):
    def f(x):
        return 1e9 + 1e-6 * square(x)

    found, reason = reason_of(f, 2e-6 * point(), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert "the noise of `f`, " in reason
    assert reason.endswith("; subtract large constants from `f`")


@STRATEGIES
def test_two_calls_that_differ_a_little(strategy):
    random = np.random.default_rng(0)

    def f(x):
        return 1e3 + 1e-5 * square(x) + 1e-3 * random.normal()

    found, reason = reason_of(f, 2e-5 * point(), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert "`f` is not deterministic: two calls differ by " in reason
    assert ", too much to see the gradient" in reason
    assert reason.endswith("; fix the seed")


@STRATEGIES
def test_two_calls_that_differ_much(strategy):
    random = np.random.default_rng(0)
    found, reason = reason_of(lambda x: random.normal(), point(), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert "`f` is not deterministic: two calls with the same parameters gave " in reason
    assert reason.endswith(" apart; fix the seed, switch off dropout")


@STRATEGIES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_value_that_is_not_finite(strategy, value):
    found, reason = reason_of(lambda x: value, point(), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert reason == f"`f` is {value} at the unperturbed parameters; check where it is finite"


@STRATEGIES
def test_value_of_another_function(strategy):
    found, reason = reason_of(square, lambda x: (1.5, 2 * x), strategy=strategy)
    assert found is fg.Verdict.CANNOT_TELL
    assert reason.startswith("the value that came with the gradient, 1.5, is not that of `f`, ")


@STRATEGIES
def test_drift(strategy):
    """The numbers stay, and none of them is believed."""
    calls = []

    def f(x):
        calls.append(1)
        return square(x) + (1e-3 if len(calls) == last else 0.0)

    last = 0
    right = fg.check_gradient(f, 2 * point(), point(), strategy=strategy)
    assert right
    last, calls[:] = len(calls), []
    report = fg.check_gradient(f, 2 * point(), point(), strategy=strategy)
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert report.reason.startswith("`f` drifted during the check: ")
    assert len(report.entries) == len(report.unclear) == len(right.entries)
    assert np.array_equal(report.entries.numeric, right.entries.numeric)
    assert [leaf.verdict for leaf in report.leaves] == [fg.Verdict.CANNOT_TELL]
    assert report.causes == ()


@STRATEGIES
@pytest.mark.parametrize("budget", [1, 3, 8])
def test_budget_that_the_baseline_uses_up(strategy, budget):
    found, reason = reason_of(square, 2 * point(), strategy=strategy, budget=budget)
    assert found is fg.Verdict.CANNOT_TELL
    assert reason.startswith("the budget ran out before any entry was measured; raise `budget`: ")
    enough = int(re.search(r": (\d+) evaluations do", reason)[1])
    found, reason = reason_of(square, 2 * point(), strategy=strategy, budget=enough)
    assert found is fg.Verdict.RIGHT


def test_budget_that_first_differences_use_up():
    found, reason = reason_of(
        np.sum, np.ones(5000), np.ones(5000), strategy="exhaustive", budget=8900
    )
    assert found is fg.Verdict.CANNOT_TELL
    assert re.match(r"the budget ran out when [\d,]+ of 5,000 entries were measured; ", reason)
    assert "raise `budget`: 10,020 evaluations do for a right gradient of a smooth `f`" in reason


def test_budget_that_a_second_look_uses_up():
    """Every entry had its difference, which was at odds: more than for a right gradient is due."""
    given = {"f": square, "grad": np.full(2, 3.0), "params": np.ones(2), "strategy": "exhaustive"}
    short = fg.check_gradient(**given, budget=14)
    assert short.verdict is fg.Verdict.CANNOT_TELL
    enough = int(re.search(r"raise `budget`: (\d+) evaluations would do", short.reason)[1])
    assert fg.check_gradient(**given, budget=enough).verdict is fg.Verdict.WRONG


def test_values_that_differ_are_printed_so():
    """Of the gradient, of two calls, before and after: six or nine digits were not enough."""
    for error in (1e-3, 1e-7, 1e-11):
        x = np.array([1.1, 2.2])
        report = fg.check_gradient(square, 2 * x * [1, 1 + error], x)
        if report.verdict is fg.Verdict.WRONG:
            analytic, numeric = re.search(r"analytic (\S+), numeric (\S+)$", report.reason).groups()
            assert float(analytic) != float(numeric)
    calls = itertools.count()
    _, reason = reason_of(lambda x: 1e9 + 2e5 * (next(calls) % 2), np.ones(2), np.ones(2))
    assert "gave 1e+09 and 1.0002e+09" in reason


def test_every_entry_judged_is_said_so_by_a_probe_too():
    found, reason = reason_of(square, np.array([2.0, 5.0]), np.ones(2), strategy="probe")
    assert found is fg.Verdict.WRONG
    assert reason.startswith("1 of 2 entries disagrees; it is params[1]: ")


# ------------------------------------------------------------------ searches that ended early


def stopped_by(*stops):
    """The result of a probe of as many leaves, in which nothing wrong was found."""
    leaves = flatten({f"p{k}": np.ones(9) for k in range(len(stops))})
    empty = np.zeros(0)
    entries = np.zeros(0, np.intp)
    table = EntryTable.blank(empty)
    probes = [LeafProbe(entries, table, stopped=stop, claimed=1.0) for stop in stops]
    told = [Probe(entries, fg.Verdict.CANNOT_TELL, 0, 1.0, 0.0, ()) for _ in stops]
    spans = tuple(
        LeafSpan(leaf.path, (9,), "float64", 0, 0, False, probe)
        for leaf, probe in zip(leaves, told, strict=True)
    )
    found = tuple(
        LeafResult(verdict.of_probe(p, 1.0), True, False, p.stopped is Stop.JUMPS, p)
        for p in probes
    )
    baseline = Baseline(1.0, 1.0, 1e-16, 1e-16, (1e-5,), None)
    return Result(Entries(spans, empty, empty, empty, table.codes, table.kinks), found, baseline)


@pytest.mark.parametrize(
    ("stops", "reason"),
    [
        ([Stop.BUDGET, None], "the budget ran out (in p0), and * until then; raise `budget`: 36 *"),
        (
            [Stop.BUDGET] * 5,
            "the budget ran out (in p0, p1, p2 and 2 more), and * raise `budget`: 60 *",
        ),
        ([None, Stop.KINKS], "the search stopped after 100 kinks of `f` (in p1), and * try strat*"),
        (
            [Stop.KINKS, Stop.BUDGET],
            "the search * (in p0); the budget * (in p1), *raise `budget`: 36 *",
        ),
        ([Stop.BUDGET, Stop.JUMPS], "`f` moves in jumps only with p1: *"),
    ],
)
def test_why_a_search_ended_and_what_helps(stops, reason):
    found, said = verdict.conclude(stopped_by(*stops), "probe")
    assert found is fg.Verdict.CANNOT_TELL
    assert fnmatch.fnmatch(said, reason.replace("[", "[[]"))


# ------------------------------------------------------------------------------------- interrupted


@pytest.mark.parametrize("factor", [1.0, 2.0])
def test_interrupt_of_a_probe_tells_what_was_known(factor):
    params = {"a": point(), "b": point()}
    claimed = {key: 2 * value for key, value in params.items()}
    claimed["a"][7] *= factor
    calls = []

    def f(p):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return square(p["a"]) + square(p["b"])

    stop = 0
    fg.check_gradient(f, claimed, params, strategy="probe")
    stop = len(calls) - 1
    calls.clear()
    with pytest.raises(KeyboardInterrupt) as caught:
        fg.check_gradient(f, claimed, params, strategy="probe")
    (note,) = caught.value.__notes__
    # Right ones are looked at together, and finished together.
    done, said = (0, "nothing wrong was found") if factor == 1.0 else (1, "wrong: a[7]")
    assert note == f"the probe had finished {done} of 2 parameters; {said}"
