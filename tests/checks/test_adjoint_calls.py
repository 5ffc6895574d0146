"""How the two maps of `check_adjoint` are called, what is refused, and what the report tells."""

import numpy as np
import pytest
from kinds import UNCLEAR, WRONG, expect
from linear_maps import A, C, times

import fastgrad as fg


def test_x_is_not_touched_and_not_passed_on():
    x = np.full(5, 3.0)
    x.flags.writeable = False
    seen = []

    def forward(v):
        seen.append(v)
        return A @ v

    assert fg.check_adjoint(forward, times(A.T), x)
    assert not any(v is x for v in seen)
    assert (x == 3).all()


def test_what_is_returned_may_be_one_buffer_or_the_argument():
    buffer = np.empty(7)

    def forward(x):
        np.matmul(A, x, out=buffer)
        return buffer

    assert fg.check_adjoint(forward, times(A.T), np.zeros(5))
    assert fg.check_adjoint(lambda x: x, lambda y: y[:], np.zeros(5))


def test_arguments_have_the_layout_of_x():
    x = np.zeros((3, 4), ">f4", order="F")
    seen = []

    def forward(v):
        seen.append((v.dtype, v.flags.f_contiguous, v.shape))
        return v.T

    assert fg.check_adjoint(forward, lambda y: y.T, x)
    assert set(seen) == {(np.dtype(">f4"), True, (3, 4))}


@pytest.mark.parametrize("which", [0, 1])
def test_writing_into_the_argument_is_refused(which):
    def writes(v):
        v[0] = 0.0
        return v + 0

    functions = [lambda v: v + 0] * 2
    functions[which] = writes
    name = ("forward", "adjoint")[which]
    with pytest.raises(fg.MutationError, match=f"`{name}` wrote into its input: `{'xy'[which]}"):
        fg.check_adjoint(*functions, np.zeros(3))


@pytest.mark.parametrize("at", range(20))
def test_an_exception_at_any_evaluation_passes_through(at):
    left = [at]

    def counted(matrix):
        def call(v):
            if not left[0]:
                raise KeyError("mine")
            left[0] -= 1
            return matrix @ v

        return call

    with pytest.raises(KeyError, match="mine"):
        fg.check_adjoint(counted(A), counted(2 * A.T), np.zeros(5))


def test_a_budget_is_kept():
    for budget in range(1, 40):
        wrong = np.eye(64)
        wrong[3, 3] = 2.0
        report = fg.check_adjoint(lambda x: x, times(wrong), np.zeros(64), budget=budget)
        assert report.evaluations <= budget
        expect(report, UNCLEAR if budget < 10 else WRONG)
        assert "budget" in report.reason or budget >= 30
        assert str(report)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ((A, times(A.T), np.zeros(5)), TypeError, "`forward` must be callable"),
        ((times(A), A.T, np.zeros(5)), TypeError, "`adjoint` must be callable"),
        ((times(A), None, np.zeros(5)), TypeError, "LinearOperator"),
        ((times(A), times(A.T)), TypeError, "`x` must be an argument"),
        ((times(A), times(A.T), np.zeros(5, int)), TypeError, r"`x`.astype\(float\)"),
        ((times(A), times(A.T), "text"), TypeError, "`x` is a str"),
        ((times(A), times(A.T), {"a": np.ma.zeros(5)}), TypeError, "masked array at `x.a`"),
        ((lambda x: None, times(A.T), np.zeros(5)), TypeError, "`forward` returned None"),
        ((lambda x: "text", times(A.T), np.zeros(5)), TypeError, "`forward` returned a str"),
        ((times(A), lambda y: None, np.zeros(5)), TypeError, "`adjoint` returned None"),
        ((times(A), lambda y: y, np.zeros(5)), ValueError, r"shape \(7,\) for `x`, which has"),
        ((times(C), times(C.conj().T), np.zeros(5)), TypeError, "complex numbers for `x`"),
        (
            (lambda x: x["a"], lambda y: {"b": y}, {"a": np.zeros(5)}),
            ValueError,
            "nothing for `x.a`",
        ),
        (
            (lambda x: x["a"], lambda y: {"a": y, "b": y}, {"a": np.zeros(5)}),
            ValueError,
            "`x.b`, which is not there",
        ),
        ((lambda x: x["a"], lambda y: y, {"a": np.zeros(5)}), TypeError, "which is a dict"),
        ((lambda x: x["a"], lambda y: {"a": [y]}, {"a": np.zeros(5)}), ValueError, "`x.a`"),
    ],
)
def test_what_is_refused(arguments, error, words):
    with pytest.raises(error, match=words) as caught:
        fg.check_adjoint(*arguments)
    assert isinstance(caught.value, fg.FastgradError)


def test_forward_must_keep_its_shape():
    with pytest.raises(fg.InputValueError, match="`forward` returned shape"):
        fg.check_adjoint(lambda x: x[: 2 + (x[0] > 0)], lambda y: y, np.zeros(9), seed=3)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"strategy": "all"}, "`strategy`"),
        ({"budget": 0}, "`budget`"),
        ({"rtol": -1.0}, "`rtol`"),
        ({"atol": np.inf}, "`atol`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_options_are_checked(options, words):
    with pytest.raises(fg.InputValueError, match=words):
        fg.check_adjoint(times(A), times(A.T), np.zeros(5), **options)


def test_the_same_seed_says_the_same():
    reports = [fg.check_adjoint(times(A), times(A.T), np.zeros(5), seed=3) for _ in range(2)]
    assert reports[0].reason == reports[1].reason


def test_the_report_tells_of_both_maps():
    report = fg.check_adjoint(times(A), times(2 * A.T), np.zeros(5))
    text = str(report)
    assert "evaluations of both maps" in text
    assert "kernel" not in text
    assert "gradient" not in text + report.to_html() + report.to_dict()["sentence"]
    right = fg.check_adjoint(times(A), times(A.T), np.zeros(5))
    assert "finite" not in right.to_dict()["sentence"]
    pictured = pytest.importorskip("matplotlib")
    assert pictured
    assert report.plot()
    assert right.plot()


def test_assert_adjoint():
    fg.testing.assert_adjoint(times(A), times(A.T), np.zeros(5))
    with pytest.raises(AssertionError, match="2 x the adjoint") as caught:
        fg.testing.assert_adjoint(times(A), times(2 * A.T), np.zeros(5))
    assert caught.value.report.verdict is WRONG
