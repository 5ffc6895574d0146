"""Causes that matrices share with gradients: claims of another point, and complex slips.

Each is planted, and each has a healthy or differently wrong neighbor that must not be taken for it.
"""

import json

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause, Verdict

RNG = np.random.default_rng(7)
A, B = RNG.normal(size=(2, 6, 4))
X = RNG.normal(size=4)
AWAY = np.array([0.05, -0.1, 0.02, 0.07])


def f(x):
    return np.sin(A @ x) + np.exp(0.3 * B @ x)


def jac(x):
    return np.cos(A @ x)[:, None] * A + 0.3 * np.exp(0.3 * B @ x)[:, None] * B


def kinds(report):
    assert report.verdict is Verdict.WRONG
    return [cause.kind for cause in report.causes]


@pytest.mark.parametrize("size", [1e-3, 1.0, 2.0])
def test_a_jacobian_of_another_point_is_told_with_the_way_there(size, backend):
    x, away = X.copy(), size * AWAY
    report = fg.check_jacobian(f, jac(x + away), x)
    assert kinds(report) == [Cause.STALE]
    assert report.causes[0].evidence["move"] == pytest.approx(away, rel=1e-2, abs=1e-2 * size)
    assert report.causes[0].sentence.startswith("the Jacobian is that of other parameters: of ")
    assert "params[1]" in report.causes[0].sentence
    assert x.tobytes() == X.tobytes()


def test_a_buffer_that_is_filled_too_late():
    class Kept:
        """Returns what it has computed for the call before."""

        def __init__(self):
            self.buffer = jac(X + AWAY)

        def __call__(self, x):
            return self.buffer

    assert kinds(fg.check_jacobian(f, Kept(), X.copy())) == [Cause.STALE]


def test_nested_parameters_of_another_point():
    def nested(p):
        return {"y": f(np.concatenate([p["a"], [p["b"]]])), "z": p["a"] ** 3}

    def claim(p):
        whole = jac(np.concatenate([p["a"], [p["b"]]]))
        cubes = {"a": np.diag(3 * p["a"] ** 2), "b": np.zeros(3)}
        return {"y": {"a": whole[:, :3], "b": whole[:, 3]}, "z": cubes}

    p = {"a": X[:3].copy(), "b": np.array(X[3])}
    q = {"a": p["a"] + AWAY[:3], "b": p["b"] + AWAY[3]}
    report = fg.check_jacobian(nested, claim(q), p)
    assert kinds(report) == [Cause.STALE]
    assert report.causes[0].evidence["move"] == pytest.approx(AWAY, rel=1e-2, abs=1e-3)


def test_a_hessian_of_another_point():
    def cost(x):
        return np.log(np.cosh(A @ x)).sum() + (x**4).sum()

    def grad(x):
        return A.T @ np.tanh(A @ x) + 4 * x**3

    def hess(x):
        return A.T @ (A / np.cosh(A @ x)[:, None] ** 2) + np.diag(12 * x**2)

    report = fg.check_hessian(cost, hess(X + AWAY), X.copy(), grad)
    assert kinds(report) == [Cause.STALE]
    assert report.causes[0].sentence.startswith("the Hessian is that of other parameters")


@pytest.mark.parametrize(
    "slip",
    [
        lambda J: J + 1e-3 * np.random.default_rng(1).normal(size=J.shape),
        lambda J: J * (1 + 0.01 * np.random.default_rng(2).normal(size=J.shape)),
        lambda J: J + 0.01 * J**2,
        lambda J: np.where(np.arange(6)[:, None] < 3, jac(X + AWAY), jac(X - AWAY)),
    ],
    ids=["noise", "factors", "squares", "two points"],
)
def test_no_other_point_is_made_up(slip):
    assert Cause.STALE not in kinds(fg.check_jacobian(f, slip(jac(X)), X.copy()))


def test_a_simpler_relation_is_said_first():
    """A linear function has the same Jacobian everywhere, and a factor is a factor."""
    assert fg.check_jacobian(lambda x: A @ x, lambda x: A, X.copy())
    assert Cause.STALE not in kinds(fg.check_jacobian(f, 2 * jac(X), X.copy()))


def test_evaluations_for_a_cause_never_cost_the_verdict():
    whole = fg.check_jacobian(f, jac(X + AWAY), X.copy())
    less = fg.check_jacobian(f, jac(X + AWAY), X.copy(), budget=whole.evaluations - 20)
    assert less.verdict is Verdict.WRONG
    assert Cause.STALE not in kinds(less)


# ------------------------------------------------------------------------------ complex outputs


def wave(x):
    return np.exp(1j * (A @ x)) * (B @ x)


def of_wave(x):
    return (1j * A * (B @ x)[:, None] + B) * np.exp(1j * (A @ x))[:, None]


def one_row(J, slip):
    return np.where(np.arange(6)[:, None] == 2, slip(J), J)


SLIPS = {
    "conjugate": (np.conj, Cause.CONJUGATE, "is the complex conjugate of the numeric Jacobian in"),
    "i": (lambda J: 1j * J, Cause.FACTOR, "is i x the numeric Jacobian"),
    "-i": (lambda J: -1j * J, Cause.FACTOR, "a factor i is missing"),
    "phase": (lambda J: np.exp(0.7j) * J, Cause.FACTOR, "(0.7648+0.6442i) x"),
    "complex factor": (lambda J: (1 + 2j) * J, Cause.FACTOR, "(1+2i) x"),
    "exchanged": (lambda J: J.imag + 1j * J.real, Cause.CONJUGATE, "imaginary parts exchanged"),
    "real part": (lambda J: J.real, Cause.ZERO, "real part alone"),
    "imaginary part": (lambda J: 1j * J.imag, Cause.ZERO, "imaginary part alone"),
    "sign": (lambda J: -J, Cause.SIGN, "wrong sign"),
    "half": (lambda J: J / 2, Cause.FACTOR, "0.5 x the numeric Jacobian"),
}


@pytest.mark.parametrize("place", ["all", "row"])
@pytest.mark.parametrize("name", SLIPS)
def test_complex_slips_are_named(name, place, backend):
    slip, kind, words = SLIPS[name]
    claim = slip if place == "all" else lambda J: one_row(J, slip)
    report = fg.check_jacobian(wave, lambda x: claim(of_wave(x)), X.copy())
    assert kinds(report) == [kind], str(report)
    assert words in report.causes[0].sentence
    assert "convention" not in str(report)
    assert "df/dRe" not in str(report)
    if place == "row":
        assert report.causes[0].place == "out[2] / params"
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "slip",
    [
        lambda J: J * np.exp(1j * np.arange(6))[:, None],  # phases of its rows' own
        lambda J: J + 0.1 * np.conj(J),
        lambda J: J.real + 1.1j * J.imag,
    ],
    ids=["phases", "a share of the conjugate", "the imaginary part off"],
)
def test_other_complex_errors_are_not_taken_for_a_factor(slip):
    report = fg.check_jacobian(wave, lambda x: slip(of_wave(x)), X.copy())
    assert not {Cause.CONJUGATE, Cause.ZERO, Cause.SIGN} & set(kinds(report))
    assert all(cause.place != "out / params" for cause in report.causes
               if cause.kind is Cause.FACTOR)  # fmt: skip


def test_right_complex_jacobians_are_right():
    assert fg.check_jacobian(wave, of_wave, X.copy())
    real = fg.check_jacobian(lambda x: f(x) + 0j, lambda x: jac(x) + 0j, X.copy())
    assert real.verdict is Verdict.RIGHT


def test_gradients_by_complex_parameters_keep_their_convention():
    z = np.array([1 + 2j, -0.5j, 0.3 + 0.1j])
    report = fg.check_gradient(
        lambda z: (np.abs(z) ** 4).sum().real, 4 * np.conj(z) * abs(z) ** 2, z
    )
    assert kinds(report) == [Cause.CONJUGATE]
    assert "df/dRe + i df/dIm" in report.causes[0].sentence
    turned = fg.check_gradient(lambda z: (np.abs(z) ** 4).sum().real, 4j * z * abs(z) ** 2, z)
    assert kinds(turned) == [Cause.FACTOR]


@pytest.mark.parametrize("share", [1e-5, 1e-4, 1e-3])
def test_one_small_slip_is_that_of_one_entry(share):
    """The others are right far more closely than it is wrong: no function near by is."""
    A = np.random.default_rng(0).normal(size=(6, 4))
    y = np.full(4, 0.3)
    J = np.cos(A @ y)[:, np.newaxis] * A
    J[2, 1] *= 1 + share
    report = fg.check_jacobian(lambda x: np.sin(A @ x), J, y)
    assert [entry.path for entry in report.wrong] == ["out[2] / params[1]"]
    assert report.causes[0].kind is fg.Cause.SINGLE
    # All of them are off by as much where a constant is rounded.
    rounded = np.float32(A).astype(float)
    J = np.cos(rounded @ y)[:, np.newaxis] * rounded
    report = fg.check_jacobian(lambda x: np.sin(A @ x), J, y)
    if report.verdict is fg.Verdict.WRONG:
        assert report.causes[0].kind is not fg.Cause.SINGLE


@pytest.mark.parametrize("column", range(3))
def test_a_constant_in_a_column_of_flows_that_sum_to_zero_is_no_normalization(column, backend):
    """Of flows between compartments each column sums to zero, and all its parameters are alike."""
    k = np.array([0.7, 1.9, 0.4])

    def flows(y):
        back, forth, on = k * np.array([y[0] ** 2, y[0] * y[1], y[2]])
        return np.array([forth - back, back - forth - on, on])

    y = np.array([1.2, 0.8, 1.7])
    exact = fg.jacobian(flows, y, method=fg.central(order=4))
    wrong = exact.copy()
    wrong[:, column] += 0.1
    (cause,) = fg.check_jacobian(flows, wrong, y).causes
    assert cause.kind is Cause.OFFSET
    assert cause.evidence["coefficient"] == pytest.approx(0.1, rel=1e-4)
