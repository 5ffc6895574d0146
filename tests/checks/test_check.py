"""The verdicts: what must come out right, wrong or undecided, and in which words."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause, Verdict

pytestmark = pytest.mark.usefixtures("backend")

X = np.random.default_rng(1).normal(size=(30, 4))


def check(f, grad, point, dtype=float, **options):
    x = np.array(point, dtype)
    with np.errstate(all="ignore"):
        report = fg.check_gradient(f, grad, x, **options)
    assert np.array_equal(x, np.array(point, dtype))
    return report


def paths(report):
    return {entry.path for entry in report.wrong}


def words(report):
    return report.reason


# --------------------------------------------------------------------------------- relative error


def test_relative_error_is_the_number_of_the_lectures():
    a, b = np.array([3.0, 4.0]), np.array([3.0, 4.5])
    assert fg.relative_error(a, b) == pytest.approx(0.5 / (5 + np.hypot(3, 4.5)))
    assert fg.relative_error(a, a) == 0
    assert fg.relative_error(a, -a) == 1
    assert fg.relative_error(np.zeros(2), np.zeros(2)) == 0
    assert fg.relative_error({"W": a, "b": [1.0]}, {"W": a, "b": [1.0]}) == 0


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_relative_error_does_not_hang_on_the_scale(scale):
    a, b = np.array([3.0, 4.0]), np.array([3.0, 4.5])
    assert fg.relative_error(scale * a, scale * b) == pytest.approx(fg.relative_error(a, b))


def test_relative_error_of_entries():
    each = fg.relative_error(
        {"W": np.array([0.0, 1.0, -1.0])}, {"W": [0.0, 3.0, 1.0]}, elementwise=True
    )
    assert each["W"].tolist() == [0.0, 0.5, 1.0]


def test_relative_error_broadcasts_nothing():
    with pytest.raises(fg.InputValueError, match="nothing is broadcast"):
        fg.relative_error(np.ones((2, 1)), np.ones(2))
    with pytest.raises(fg.InputTypeError):
        fg.relative_error({"W": np.ones(2)}, np.ones(2))


def test_relative_error_of_what_is_not_finite_is_nan():
    assert np.isnan(fg.relative_error(np.array([np.nan, 1.0]), np.ones(2)))
    assert np.isnan(fg.relative_error(np.array([np.inf, 1.0]), np.ones(2)))


def network(target, penalty=0.0):
    """Cost and gradient of a small regression network."""

    def value(p):
        hidden = np.tanh(X @ p["W"] + p["b"])
        return float(((hidden @ p["v"] - target) ** 2).mean() + penalty * (p["W"] ** 2).sum())

    def gradient(p):
        hidden = np.tanh(X @ p["W"] + p["b"])
        residual = 2 * (hidden @ p["v"] - target) / len(X)
        inner = np.outer(residual, p["v"]) * (1 - hidden**2)
        return {
            "W": X.T @ inner + 2 * penalty * p["W"],
            "b": inner.sum(axis=0),
            "v": hidden.T @ residual,
        }

    return value, gradient


def weights():
    random = np.random.default_rng(2)
    return {"W": random.normal(size=(4, 3)), "b": np.zeros(3), "v": random.normal(size=3)}


def outputs(p):
    return np.tanh(X @ p["W"] + p["b"]) @ p["v"]


NOISY_TARGET = outputs(weights()) + np.random.default_rng(3).normal(size=30)


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6])
def test_network_at_its_optimum_is_never_wrong(scale):
    """Residuals and gradient are zero there, to the last bit or nearly."""
    value, gradient = network(scale * outputs(weights()))
    p = weights()
    p["v"] *= scale
    report = fg.check_gradient(value, gradient, p)
    assert report.verdict is not Verdict.WRONG, str(report)


@pytest.mark.parametrize("seed", range(8))
def test_least_squares_at_its_optimum_is_never_wrong(seed):
    random = np.random.default_rng(seed)
    A, w = random.normal(size=(20, 4)), np.array([1.0, 2.0, 3.0, 4.0])
    for target in (A @ w, A @ w + random.normal(size=20)):
        best = np.linalg.lstsq(A, target, rcond=None)[0]
        for point in (w, best):

            def f(w, t=target):
                return ((A @ w - t) ** 2).sum()

            report = check(f, lambda w, t=target: 2 * A.T @ (A @ w - t), point)
            assert report.verdict is not Verdict.WRONG, str(report)


@pytest.mark.parametrize("penalty", [1e2, 1e3, 1e4])
def test_large_regulariser_hides_neither_right_nor_wrong(penalty):
    """Of the data term, the gradient of one row has the wrong sign."""
    value, gradient = network(NOISY_TARGET, penalty)
    assert fg.check_gradient(value, gradient, weights())

    def spoilt(p):
        data, g = network(NOISY_TARGET)[1](p), gradient(p)
        g["W"][1] -= 2 * data["W"][1]
        return g

    report = fg.check_gradient(value, spoilt, weights())
    assert paths(report) == {"W[1, 0]", "W[1, 1]", "W[1, 2]"}


def test_regulariser_a_million_times_the_data_term():
    value, gradient = network(NOISY_TARGET, 1e6)
    assert fg.check_gradient(value, gradient, weights())


# ------------------------------------------------------------------------------------------ wrong


def test_wrong_sign_in_a_bias_that_is_a_ten_millionth_of_the_whole():
    params = {"W": np.linspace(-1, 2, 5), "b": np.array([0.3, -0.8, 2.0])}

    def f(p):
        return 1e7 * np.sin(p["W"]).sum() + np.sin(p["b"]).sum()

    def right(p):
        return {"W": 1e7 * np.cos(p["W"]), "b": np.cos(p["b"])}

    def wrong(p):
        return {"W": 1e7 * np.cos(p["W"]), "b": -np.cos(p["b"])}

    assert fg.check_gradient(f, right, params)
    report = fg.check_gradient(f, wrong, params)
    assert report.relative_error < 2e-7
    assert paths(report) == {"b[0]", "b[1]", "b[2]"}
    assert [(c.kind, c.leaf) for c in report.causes] == [(Cause.SIGN, "b")]


@pytest.mark.parametrize("decade", range(7))
def test_small_entry_beside_large_ones(decade):
    sizes, off = 10.0 ** -np.arange(7), np.ones(7)
    off[decade] = 1.05
    f, grad = lambda x: (sizes * np.sin(x)).sum(), lambda x: sizes * np.cos(x)
    assert check(f, grad, np.full(7, 0.3))
    report = check(f, lambda x: grad(x) * off, np.full(7, 0.3))
    assert paths(report) == {f"params[{decade}]"}


def test_float32_entries_off_by_five_percent():
    off = np.array([1, 1, 1, 1.05, 1, 0.95, 1], "f4")
    f, grad = lambda x: np.sum(np.sin(x) + x), lambda x: (np.cos(x) + 1) * off
    assert paths(check(f, grad, np.linspace(-2, 2, 7), "f4")) == {"params[3]", "params[5]"}


@pytest.mark.parametrize("factor", [2.0, -1.0, 0.0])
def test_gradient_that_is_wrong_throughout_costs_four_evaluations_an_entry(factor):
    x = np.random.default_rng(0).normal(size=300)
    report = fg.check_gradient(
        lambda x: float(np.sin(x).sum()), factor * np.cos(x), x, strategy="exhaustive"
    )
    assert len(report.wrong) == 300
    assert report.evaluations <= 4 * 300 + 150


def test_leaf_that_f_does_not_read():
    """`f` works on a copy made before: the gradient it would have is claimed in vain."""
    params = {"W": np.ones((2, 2)), "b": np.array([1.0, 2.0])}
    old = params["W"].copy()

    def f(p):
        return float((old**2).sum() + (p["b"] ** 2).sum())

    report = fg.check_gradient(f, lambda p: {"W": 2 * p["W"], "b": 2 * p["b"]}, params)
    assert paths(report) == {"W[0, 0]", "W[0, 1]", "W[1, 0]", "W[1, 1]"}
    assert "No entry of W moves `f`: it may be reading another copy of that array" in words(report)


def test_closure_over_the_same_array_is_seen():
    x = np.array([1.0, -2.0])

    def f(_):
        return float((x**3).sum())

    assert fg.check_gradient(f, lambda _: 3 * x**2, x)
    assert not fg.check_gradient(f, lambda _: 3 * x, x)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_gradient_that_is_not_finite_is_wrong(bad):
    report = check(lambda x: (x**2).sum(), np.array([2.0, bad]), [1.0, 1.0])
    assert paths(report) == {"params[1]"}
    assert "not finite" in report.causes[0].sentence


# ------------------------------------------------------------------------------------- cannot tell


def fluctuation(x):
    """A number in [0, 1) that depends on every bit of `x`."""
    return (hash(x.tobytes()) % 1000) / 1000


def test_dropout_names_the_spread_and_the_seed():
    random = np.random.default_rng(4)
    report = check(lambda x: (x * (random.random(50) > 0.5)).sum(), np.full(50, 0.5), np.ones(50))
    assert report.verdict is Verdict.CANNOT_TELL
    assert "not deterministic" in words(report)
    assert "apart; fix the seed" in words(report)
    assert len(report.unclear) == 50


UNDECIDED = {
    "noise_above_the_gradient": (
        lambda x: 1e3 + 1e-4 * x.sum() + 1e-2 * fluctuation(x),
        np.full(3, 1e-4),
        "noise",
    ),
    "integer_valued": (lambda x: int((10 * x).sum()), np.full(3, 10.0), "moves in jumps only"),
    "count": (lambda x: float((x > 1).sum()), np.zeros(3), "check a smooth loss"),
    "constant": (lambda x: 3.0, np.zeros(3), "a gradient that was never computed would look"),
    "nan_at_the_point": (lambda x: np.nan, np.ones(3), "check where it is finite"),
    "inf_at_the_point": (lambda x: np.inf, np.ones(3), "`f` is inf at the unperturbed"),
    "nan_around_the_point": (
        lambda x: x.sum() if (x == UNDECIDED_AT).all() else np.nan,
        np.ones(3),
        "not finite beside it, or raises, however small the step",
    ),
    "out_of_the_domain_along_one_entry": (
        lambda x: x.sum() if x[1] == UNDECIDED_AT[1] else np.nan,
        np.ones(3),
        "params[1]: `f` is not finite beside it",
    ),
    "jump": (
        lambda x: x.sum() + float(x[0] >= UNDECIDED_AT[0]),
        np.ones(3),
        "params[0]: the differences do not converge",
    ),
    "infinite_slope": (lambda x: np.cbrt(x - UNDECIDED_AT).sum(), np.full(3, np.inf), "converge"),
}
UNDECIDED_AT = np.array([0.5, 1.03, 2.0])


@pytest.mark.parametrize("name", UNDECIDED)
def test_undecided_says_why(name):
    f, grad, reason = UNDECIDED[name]
    report = check(f, grad, UNDECIDED_AT)
    assert report.verdict is Verdict.CANNOT_TELL, str(report)
    assert not report
    assert reason in words(report)


def test_constant_with_a_gradient_that_claims_otherwise_may_read_a_copy():
    report = check(lambda x: 3.0, np.ones(3), UNDECIDED_AT)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "nothing that is done to the parameters moves `f`" in words(report)
    assert not report.causes


def test_small_noise_is_measured_and_lived_with():
    random = np.random.default_rng(5)

    def f(x):
        return float(x.sum()) + 1e-7 * random.normal()

    assert check(f, np.ones(5), np.ones(5))
    assert paths(check(f, np.array([1, 1, 1.2, 1, 1]), np.ones(5))) == {"params[2]"}


def test_drift_over_the_run():
    calls = []

    def f(x):
        calls.append(1)
        return float((x**2).sum()) + (1e-3 if len(calls) > 12 else 0.0)

    report = check(f, lambda x: 2 * x, [1.0, 2.0, 3.0])
    assert report.verdict is Verdict.CANNOT_TELL
    assert "drifted during the check" in words(report)


@pytest.mark.parametrize("empty", [np.zeros(0), {"a": np.zeros((3, 0)), "b": []}, {}, []])
def test_no_entries_at_all(empty):
    report = fg.check_gradient(lambda p: 1.0, empty, empty)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "nothing was tested" in words(report)
    assert len(report.entries) == 0


@pytest.mark.parametrize(
    ("seed", "kind"),
    [(-1, ValueError), (np.int64(-3), ValueError), ("x", TypeError), (1.5, TypeError),
     (None, TypeError), (True, TypeError), (np.random.default_rng(0), TypeError)],
)  # fmt: skip
def test_a_seed_that_is_none_is_named(seed, kind):
    calls = []
    with pytest.raises(fg.FastgradError, match=r"^`seed` must be .*0 or more; got") as caught:
        check(lambda x: calls.append(1) or 0.0, lambda x: x, [1.0], seed=seed)
    assert isinstance(caught.value, kind)
    assert not calls


@pytest.mark.parametrize("seed", [0, np.uint8(7), 2**70])
def test_any_whole_number_is_a_seed(seed):
    for strategy in ("exhaustive", "probe"):
        report = check(
            lambda x: (x**3).sum(),
            lambda x: 3 * x**2,
            [1.0, 2.0, 3.0],
            seed=seed,
            strategy=strategy,
        )
        assert report


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
def test_an_exception_beside_the_parameters_costs_no_verdict(strategy, nested):
    """Whatever was moved: from single entries to all leaves along a direction."""
    for least in (0.0, 1e-12):
        params = {"a": np.array([0.3, 0.0, 1.0]), "b": np.ones(2)}

        def f(p, least=least):
            if (p["a"] < -least).any():
                raise ValueError("outside the bounds")
            return float((p["a"] ** 2).sum() + p["b"].sum())

        grad = {"a": 2 * params["a"], "b": np.ones(2)}
        point, right = (params, grad) if nested else (params["a"], grad["a"])
        report = fg.check_gradient(
            f if nested else lambda a, f=f: f({"a": a, "b": np.ones(2)}),
            right,
            point,
            strategy=strategy,
        )
        assert report.verdict is not fg.Verdict.WRONG
