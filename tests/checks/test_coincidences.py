"""A coincidence is not a pattern, and a number that has a name is named."""

from functools import partial

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Cause

ELSEWHERE = {Cause.SWAPPED, Cause.SHIFTED, Cause.PERMUTED, Cause.BROADCAST}
DEGREES = 180 / np.pi


def inclined(slopes, x):
    return (slopes * np.maximum(x, 0)).sum()


def points():
    """Small arrays, each with some entries above zero and some below."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 4, 5, 8):
        for _ in range(6):
            x = rng.normal(size=n)
            x[:2] = abs(x[0]), -abs(x[1])
            yield rng.permutation(x)


@pytest.mark.parametrize("slope", [1.0, 0.25, 0.12345678])
def test_a_mask_that_is_missing_is_no_array_of_values_from_elsewhere(slope, backend):
    # Where the mask lets everything through the claims are one number, that of the right entries.
    for x in points():
        report = fg.check_gradient(
            lambda x: slope * np.maximum(x, 0).sum(), np.full(x.shape, slope), x
        )
        assert report.verdict is fg.Verdict.WRONG
        assert not {cause.kind for cause in report.causes} & ELSEWHERE, report


def test_numbers_that_are_equal_but_for_rounding_are_one(backend):
    # As text of six digits they are two: 1.23456 and 1.23457.
    for x in points():
        claimed = 1.234565 + 1e-12 * (-1.0) ** np.arange(x.size)
        report = fg.check_gradient(partial(inclined, claimed), claimed, x)
        assert report.verdict is fg.Verdict.WRONG
        assert not {cause.kind for cause in report.causes} & ELSEWHERE, report


@pytest.mark.parametrize("slope", [1.0, 0.25, 0.12345678])
def test_equal_numbers_of_two_scalars_are_not_exchanged(slope):
    params = {"gain": np.array(0.3), "floor": np.array(-0.7)}

    def f(p):
        return slope * (np.maximum(p["gain"], 0) + np.maximum(p["floor"], 0))

    claimed = {"gain": slope, "floor": slope}
    report = fg.check_gradient(f, claimed, params)
    assert [entry.path for entry in report.wrong] == ["floor"]
    assert not {cause.kind for cause in report.causes} & ELSEWHERE, report


@pytest.mark.parametrize("n", [5, 9])
def test_one_entry_that_holds_anothers_value_is_told_where_all_differ(n, backend):
    x = np.random.default_rng(n).normal(size=n)
    claimed = np.cos(x)
    claimed[3] = claimed[1]
    (cause,) = fg.check_gradient(lambda x: np.sin(x).sum(), claimed, x).causes
    assert cause.kind is Cause.SWAPPED
    assert cause.sentence == "`params[3]` holds the gradient of `params[1]`"


@pytest.mark.parametrize("turned", [1, -1])
@pytest.mark.parametrize(("factor", "name"), [(DEGREES, "180/pi"), (1 / DEGREES, "pi/180")])
@pytest.mark.parametrize("x", [np.array(0.7), np.array([0.3, 0.5, -1.1])])
def test_degrees_for_radians_are_named(x, factor, name, turned, backend):
    c = turned * factor
    f, g = (lambda x: np.sin(x).sum()), (lambda x: c * np.cos(x))
    maps = (lambda x: np.cos(x) * np.ones(np.shape(x))), (lambda x, v: c * -np.sin(x) * v)
    found = [fg.check_gradient(f, g, x), fg.check_jvp(*maps, x)]
    if x.ndim:
        found.append(fg.check_adjoint(lambda x: 3 * x, lambda y: 3 * c * y, x))
    for report in found:
        (cause,) = report.causes
        assert (cause.kind, cause.evidence["factor"]) == (Cause.FACTOR, pytest.approx(c))
        assert f"it is {name}, as where degrees are taken for radians" in cause.sentence
        assert ("the sign is wrong" in cause.sentence) == (turned < 0)


def test_factors_beside_that_of_angles_are_not_named():
    x = np.array([0.3, 0.5, -1.1])
    for c in (57.0, 57.3, 0.0175):
        (cause,) = fg.check_gradient(lambda x: np.sin(x).sum(), c * np.cos(x), x).causes
        assert "radians" not in cause.sentence


@pytest.mark.parametrize("coefficient", [1 + 2j, 3 - 1j, -0.6 + 0.8j])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_conjugate_that_is_missing_is_no_complex_factor(coefficient, n):
    x = np.random.default_rng(n).normal(size=(2, n)).T @ [1, 1j]
    report = fg.check_adjoint(lambda x: coefficient * x, lambda y: coefficient * y, x)
    assert [cause.kind for cause in report.causes] == [Cause.NOT_CONJUGATED]
    A = np.random.default_rng(n).normal(size=(n, n)) * coefficient
    # With another phase than that of the conjugate a factor is all that is known.
    report = fg.check_adjoint(lambda x: A @ x, lambda y: 1j * (A.conj().T @ y), x)
    (cause,) = report.causes
    assert cause.kind is Cause.FACTOR
    assert complex(cause.evidence["factor"]) == pytest.approx(1j)


CHECKS_OF_ZEROS = {
    "jvp": lambda: fg.check_jvp(np.sin, lambda x, v: 0 * v, np.array([0.3, 0.5])),
    "jacobian": lambda: fg.check_jacobian(np.sin, np.zeros((2, 2)), np.array([0.3, 0.5])),
    "hessian": lambda: fg.check_hessian(
        lambda x: np.sin(x.sum()), np.zeros((2, 2)), np.array([0.3, 0.5])
    ),
    "adjoint": lambda: fg.check_adjoint(lambda x: 2 * x, lambda y: 0 * y, np.ones(2)),
}


@pytest.mark.parametrize("check", CHECKS_OF_ZEROS.values(), ids=CHECKS_OF_ZEROS)
def test_advice_on_zeros_knows_no_backward_pass_where_there_is_none(check):
    report = check()
    assert report.causes[0].kind is Cause.ZERO
    assert "overwritten" in report.causes[0].sentence
    assert "backward pass" not in str(report)


def test_no_advice_tells_of_a_backward_pass():
    assert not any("backward pass" in kind.advice for kind in Cause)


@pytest.mark.parametrize("n", [2, 3, 4, 6, 8])
def test_a_mask_that_is_turned_round_is_no_array_in_another_order(n, backend):
    # Each half holds one number, in the claims as in the right gradient: those of any other order.
    x = np.concatenate([0.3 + np.arange(n), -0.4 - np.arange(n)]) / n
    for point in (x, x.reshape(2, n)):
        report = fg.check_gradient(lambda x: np.maximum(x, 0).sum(), (point < 0) * 1.0, point)
        assert report.verdict is fg.Verdict.WRONG
        told = {cause.kind for cause in report.causes}
        assert n > 4 or not told & {*ELSEWHERE, Cause.REVERSED, Cause.TRANSPOSED}, report
