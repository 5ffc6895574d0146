"""The rows of a batch: each must be evaluated as if it were alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from strategies import arrays, lay_out, quick

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


@pytest.mark.parametrize(
    "f",
    [
        lambda X: ((X - X.mean(axis=0)) ** 2).sum(axis=1),
        lambda X: np.cos((X - X.mean(axis=0)).sum(axis=1)) + (X / (1e-9 + X.std(axis=0))).sum(1),
        lambda X: (np.exp(X) / np.exp(X).sum(axis=0)).sum(axis=1),
        lambda X: ((1 + X) / np.linalg.norm(1 + X)).sum(axis=1),
        lambda X: np.full(len(X), (X**2).sum()),
        lambda X: (X - X[0]).sum(axis=1),
        lambda X: (X - X[-1]).sum(axis=1),
        lambda X: np.cumsum(X.sum(axis=1)),
    ],
)
@pytest.mark.parametrize("x", [np.arange(4.0), np.zeros(4), np.full((3, 2), -0.3, "f4")])
def test_rows_that_influence_each_other_are_refused(f, x):
    def flat(X):
        return f(X.reshape(len(X), -1))

    for run in (fg.gradient, lambda f, x: fg.check_gradient(f, x, x.copy())):
        with pytest.raises(fg.InputValueError, match="rows of the batched `f` influence each oth"):
            run(fg.batched(flat), x)


@given(arrays(("f8", "f4", "c16")))
@example((np.array([np.inf, np.finfo("d").max]), "C"))
@quick(50)
def test_sums_in_another_order_are_no_influence(array):
    x = lay_out(*array)
    flat = x.reshape(-1)
    matrix = np.random.default_rng(0).normal(size=(flat.size, 7)).astype(x.real.dtype)

    def f(X):
        with np.errstate(all="ignore"):
            return np.abs(X.reshape(len(X), -1) @ matrix).sum(axis=1)

    fg.gradient(fg.batched(f), x)


def test_an_f_without_a_value_at_the_other_points_is_not_refused():
    """The test for influence leaves the parameters by some percent, the difference does not."""

    def f(X):
        if (X < 0.999).any():
            raise ValueError("outside")
        with np.errstate(invalid="raise"):
            return np.sqrt(X - 0.99).sum(axis=1)

    np.testing.assert_allclose(fg.gradient(fg.batched(f), np.ones(2)), 5, rtol=1e-5)


def test_randomness_is_told_as_it_is_entry_by_entry():
    rng = np.random.default_rng(0)
    f = fg.batched(lambda X: X.sum(axis=1) + rng.normal(size=len(X)))
    report = fg.check_gradient(f, np.ones(3), np.ones(3))
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "fix the seed" in report.reason
