"""Mistakes planted in adjoints: which entries are named, and which cause."""

import numpy as np
import pytest
from kinds import WRONG, expect
from linear_maps import SQUARE, A, C, times

import fastgrad as fg
from fastgrad import Cause

RNG = np.random.default_rng(8)


def check(forward, adjoint, x, **options):
    report = fg.check_adjoint(forward, adjoint, x, **options)
    expect(report, WRONG)
    assert str(report)
    return report


# -------------------------------------------------------------------------------- wrong entries


@pytest.mark.parametrize("strategy", ["auto", "probe"])
@pytest.mark.parametrize("off", [1e-2, 1e-6, 1e-10, -2.0])
def test_one_wrong_entry_is_named(strategy, off):
    wrong = A.copy()
    wrong[3, 2] *= 1 + off
    report = check(times(A), times(wrong.T), np.zeros(5), strategy=strategy)
    assert [entry.path for entry in report.wrong] == ["y[3] / x[2]"]
    worst = report.wrong[0]
    assert (worst.analytic, worst.numeric) == (wrong[3, 2], A[3, 2])
    assert (worst.leaf, worst.index, worst.output) == ("x", (2,), "y[3]")
    assert report.causes[0].kind is (Cause.SIGN if off == -2 else Cause.SINGLE)


def test_one_entry_of_billions_takes_a_hundred_evaluations():
    n = 2**16

    def forward(x):
        return np.cumsum(x)

    def adjoint(y):
        out = np.cumsum(y[::-1])[::-1]
        out[12_345] += 1e-3 * y[54_321]
        return out

    report = check(forward, adjoint, np.zeros(n))
    assert [entry.path for entry in report.wrong] == ["y[54321] / x[12345]"]
    assert report.evaluations < 100
    assert report.detection_limit > 0


def test_a_box_is_named():
    wrong = SQUARE.copy()
    wrong[1:3, 2:6] *= -1
    report = check(times(SQUARE), times(wrong.T), np.zeros(6), strategy="probe")
    assert report.causes[0].place == "y[1:3] / x[2:6]"
    assert report.causes[0].kind is Cause.SIGN
    assert {entry.path for entry in report.wrong} <= {
        f"y[{i}] / x[{j}]" for i in (1, 2) for j in range(2, 6)
    }
    report = check(times(SQUARE), times(wrong.T), np.zeros(6))
    assert len(report.wrong) == 8


def test_boxes_apart_are_named_one_by_one():
    wrong = np.eye(100)
    wrong[20, 20], wrong[70, 70] = 1.5, -2.0
    report = check(lambda x: x, times(wrong), np.zeros(100), strategy="probe")
    assert {cause.place for cause in report.causes} == {"y[20] / x[20]", "y[70] / x[70]"}


def test_boxes_of_arrays_with_axes():
    weights = RNG.normal(size=(6, 7, 8))

    def adjoint(y):
        out = weights * y
        out[1:3, :, 4] *= 1.5
        return out

    report = check(lambda x: weights * x, adjoint, np.zeros((6, 7, 8)), strategy="probe")
    assert report.causes[0].place == "y[1:3, :, 4] / x[1:3, :, 4]"
    assert report.causes[0].kind is Cause.FACTOR
    assert report.causes[0].evidence["factor"] == pytest.approx(1.5)


# ---------------------------------------------------------------------------------------- causes

N = 12
KERNEL = np.array([0.5, 1.0, 0.25])
IMAGE = RNG.normal(size=(5, 5))


def smooth(x):
    """A cyclic convolution with a kernel that is not symmetric."""
    return sum(k * np.roll(x, i, 0) for i, k in enumerate(KERNEL))


def smooth_adjoint(y):
    return sum(k * np.roll(y, -i, 0) for i, k in enumerate(KERNEL))


def lines(x):
    return np.linspace(1, 2, len(x))[:, None] * smooth(x)


def lines_adjoint(y):
    return smooth_adjoint(np.linspace(1, 2, len(y))[:, None] * y)


MISTAKES = {
    "factor": (times(A), times(2 * A.T), np.zeros(5), Cause.FACTOR, "2 x"),
    "a little": (times(A), times((1 + 1e-9) * A.T), np.zeros(5), Cause.FACTOR, "1.000000001 x"),
    "sign": (times(A), times(-A.T), np.zeros(5), Cause.SIGN, "sign"),
    "zero": (times(A), lambda y: np.zeros(5), np.zeros(5), Cause.ZERO, "zero"),
    "inverse transform": (np.fft.fft, np.fft.ifft, np.zeros(8, complex), Cause.FACTOR, "0.125 x"),
    "itself": (times(SQUARE), times(SQUARE), np.zeros(6), Cause.TRANSPOSED, "itself"),
    "inverse": (
        times(SQUARE),
        times(np.linalg.inv(SQUARE)),
        np.zeros(6),
        Cause.INVERSE,
        "inverse",
    ),
    "not conjugated": (times(C), times(C.T), np.zeros(5, complex), Cause.NOT_CONJUGATED, "not"),
    "its result conjugated": (
        times(C),
        lambda y: (C.conj().T @ y).conj(),
        np.zeros(5, complex),
        Cause.CONJUGATE,
        "result",
    ),
    "its argument conjugated": (
        times(C),
        lambda y: C.conj().T @ y.conj(),
        np.zeros(5, complex),
        Cause.CONJUGATE,
        "argument",
    ),
    "imaginary": (
        times(C),
        lambda y: 1j * C.conj().T @ y,
        np.zeros(5, complex),
        Cause.FACTOR,
        "(0+1j) x",
    ),
    "shifted": (smooth, lambda y: np.roll(smooth_adjoint(y), 1), np.zeros(N), Cause.SHIFTED, "1"),
    "shifted before": (
        lines,
        lambda y: lines_adjoint(np.roll(y, -2, 0)),
        np.zeros((N, 3)),
        Cause.SHIFTED,
        "argument shifted by -2",
    ),
    "reversed": (
        lines,
        lambda y: lines_adjoint(y)[::-1],
        np.zeros((N, 3)),
        Cause.REVERSED,
        "axis 0",
    ),
    "transposed": (
        lambda x: IMAGE @ x,
        lambda y: (IMAGE.T @ y).T,
        np.zeros((5, 5)),
        Cause.TRANSPOSED,
        "transposed",
    ),
    "exchanged": (
        lambda x: (A @ x[0], SQUARE @ np.append(x[1], 0)),
        lambda y: ((SQUARE.T @ y[1])[:5], A.T @ y[0]),
        (np.zeros(5), np.zeros(5)),
        Cause.SWAPPED,
        "belongs to",
    ),
    "float32": (
        times(A),
        times(A.T.astype("f4").astype(float)),
        np.zeros(5),
        Cause.PRECISION,
        "float32",
    ),
    "nearby": (
        times(A),
        times((A + 1e-5 * RNG.normal(size=A.shape)).T),
        np.zeros(5),
        Cause.NEARBY,
        "close",
    ),
    "another map": (times(A), times(RNG.normal(size=(5, 7))), np.zeros(5), Cause.UNKNOWN, "wrong"),
    "real part": (
        times(C),
        lambda y: (C.conj().T @ y).real + 0j,
        np.zeros(5, complex),
        Cause.ZERO,
        "x.imag",
    ),
}


@pytest.mark.parametrize("strategy", ["auto", "probe"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_cause_is_named(mistake, strategy):
    forward, adjoint, x, kind, words = MISTAKES[mistake]
    report = check(forward, adjoint, x, strategy=strategy)
    assert report.causes[0].kind is kind, str(report)
    assert words in report.causes[0].sentence
    assert len(report.wrong)


def test_what_forward_has_nowhere():
    extra = A.copy()
    extra[2] = 0

    report = check(times(extra), times(A.T), np.zeros(5), strategy="probe")
    assert "y[2] / x`: `adjoint` is not zero, where `forward` is" in report.causes[0].sentence
