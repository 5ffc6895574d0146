"""Functions that see no moves in place, and do see a moved copy: what differences them says so."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Verdict
from fastgrad._derivatives.gradient import all_still

A = np.random.default_rng(0).normal(size=(3, 4))
X = np.random.default_rng(1).normal(size=4)
CHOSEN = np.array([True, False, True, False])
FIXED = (np.where(CHOSEN, X, X - 1), np.where(CHOSEN, X, X + 1))
MANY = np.random.default_rng(2).normal(size=70)


def kept(f):
    """The same, but that it keeps its value as long as it is given the same object."""
    last = [None, None]

    def keeping(x):
        if last[0] is not x:
            last[:] = x, f(x)
        return last[1]

    return keeping


def value(x):
    return float((np.sin(x) ** 2).sum())


def gradient(x):
    return np.sin(2 * x)


def hessian(x):
    return np.diag(2 * np.cos(2 * x))


def hvp(x, v):
    return 2 * np.cos(2 * x) * v


def vector(x):
    return np.sin(A @ x)


def of_hvp(f, **named):
    return fg.hvp(f, X, np.where(CHOSEN, 0.0, 1.0), **named)


DERIVATIVES = {
    "gradient": lambda **named: fg.gradient(kept(value), X, **named),
    "jacobian": lambda **named: fg.jacobian(kept(vector), X, **named),
    "vjp": lambda **named: fg.vjp(kept(vector), X, np.ones(3), **named),
    "estimate": lambda **named: fg.estimate(kept(value), X, **named),
    "hessian": lambda **named: fg.hessian(kept(value), X, **named),
    "hessian of grad": lambda **named: fg.hessian(value, X, grad=kept(gradient), **named),
}
LIMITED = {"all": {}, "bounds": {"bounds": (X - 1, X + 1)}, "some fixed": {"bounds": FIXED}}
PRODUCTS = {
    "hvp": lambda **named: of_hvp(kept(value), **named),
    "hvp of grad": lambda **named: of_hvp(value, grad=kept(gradient), **named),
}


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("which", [*DERIVATIVES, *PRODUCTS])
@pytest.mark.parametrize("limits", LIMITED)
def test_derivatives_of_what_sees_no_moves_are_refused(which, limits):
    bits = X.tobytes()
    name = "grad" if "grad" in which.split() else "f"
    with pytest.raises(fg.InputValueError, match=f"`{name}` does not see parameters"):
        (DERIVATIVES | PRODUCTS)[which](**LIMITED[limits])
    assert X.tobytes() == bits


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("which", DERIVATIVES)
def test_also_those_by_some_entries(which):
    with pytest.raises(fg.InputValueError, match="does not see parameters"):
        DERIVATIVES[which](where=CHOSEN)


@pytest.mark.usefixtures("backend")
def test_patterns_and_sparse_matrices_are_refused():
    pytest.importorskip("scipy")
    with pytest.raises(fg.InputValueError, match="`f` does not see parameters"):
        fg.jacobian_sparsity(kept(vector), X)
    with pytest.raises(fg.InputValueError, match="`f` does not see parameters"):
        fg.sparse_jacobian(kept(vector), X, np.ones((3, 4)))
    with pytest.raises(fg.InputValueError, match="`grad` does not see parameters"):
        fg.sparse_hessian(kept(gradient), X, np.eye(4))


@pytest.mark.usefixtures("backend")
def test_what_does_not_depend_on_some_entries_is_not_warned_of():
    def first(x):
        return float(x[0] ** 2)

    assert np.array_equal(fg.gradient(first, X, where=~CHOSEN)[~CHOSEN], np.zeros(2))
    assert np.array_equal(fg.jacobian(lambda x: x[:1] ** 2, X, where=~CHOSEN)[0, ~CHOSEN], [0, 0])
    linear = fg.hessian(lambda x: float(x.sum()), X, grad=np.ones_like)
    assert np.array_equal(linear, np.zeros((4, 4)))
    assert np.array_equal(fg.hvp(lambda x: float(x.sum()), X, X, grad=np.ones_like), np.zeros(4))


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("x", [X, MANY], ids=["few", "many"])
def test_checks_of_second_derivatives_and_products_cannot_tell(x):
    B = np.random.default_rng(3).normal(size=(3, len(x)))
    checks = [
        fg.check_hvp(kept(value), hvp, x),
        fg.check_hvp(value, hvp, x, grad=kept(gradient)),
        fg.check_jvp(kept(lambda x: np.sin(B @ x)), lambda x, v: np.cos(B @ x) * (B @ v), x),
    ]
    if len(x) == 4:
        checks.append(fg.check_hessian(kept(value), hessian, x))
        checks.append(fg.check_hessian(value, hessian, x, grad=kept(gradient)))
        checks.append(fg.check_hessian(kept(value), hessian, x, where=CHOSEN))
    for report in checks:
        assert report.verdict is Verdict.CANNOT_TELL, str(report)
        assert "does not see parameters that are moved in place" in report.reason
        assert not report.causes
        assert f"`{report.function}` does not see" in report.reason


@pytest.mark.usefixtures("backend")
def test_a_hessian_of_another_copy_is_not_called_wrong():
    copy = X.copy()
    report = fg.check_hessian(lambda _: value(copy), hessian, X)
    assert report.verdict is Verdict.CANNOT_TELL
    assert "another copy" in report.reason
    assert not report.causes


@pytest.mark.usefixtures("backend")
def test_a_linear_function_moves_and_its_hessian_is_judged():
    report = fg.check_hessian(lambda x: float(x.sum()), np.eye(4), X)
    assert report.verdict is Verdict.WRONG
    assert fg.check_hessian(lambda x: float(x.sum()), np.zeros((4, 4)), X)


@pytest.mark.parametrize("dtype", ["f4", "f8", "g", "c16"])
def test_zeros_are_told_from_what_is_not_there(dtype):
    parts = [[], [0.0], [np.nan], [0.0, np.nan], [np.nan, 2.0], [0.0, -2.0], [-0.0, np.inf, 0.0]]
    for one in parts:
        for other in parts:
            arrays = [np.array(one, dtype), np.array([other, other], dtype)[:, ::-1]]
            known = np.concatenate([each[~np.isnan(each)] for each in arrays])
            expected = len(known) > 0 and not known.any()
            assert all_still(arrays) is expected, (one, other)
    assert not all_still([np.array([0, 1 - 1j, np.nan, -1j])])
    assert not all_still([np.array([0, -1j])])
