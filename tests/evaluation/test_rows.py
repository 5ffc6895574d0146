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


def nested(f):
    return lambda tree: f(tree["x"])


@pytest.mark.parametrize("method", ["central", "forward"])
@pytest.mark.parametrize("way", ["small", "nested", "workers"])
@pytest.mark.parametrize("n", [1, 2, 3, 40])
@pytest.mark.parametrize(
    "f",
    [
        lambda X: (X**2).sum(axis=1) * len(X),
        lambda X: (X + np.roll(X, 1, axis=0)).sum(axis=1),
        lambda X: (X + np.roll(X, -1, axis=0)).sum(axis=1),
        lambda X: (X / np.abs(X).min(axis=0)).sum(axis=1),
        lambda X: X.sum(axis=1) / (1 + np.arange(len(X))),
        lambda X: X.sum(axis=1) - np.median(X.sum(axis=1)),
    ],
    ids=[
        "their number",
        "the one above",
        "the one below",
        "the smallest",
        "its place",
        "the median",
    ],
)
def test_what_a_row_may_be_influenced_by(f, n, way, method):
    x = np.linspace(1.0, 2.0, n)
    objective, params = (nested(f), {"x": x}) if way == "nested" else (f, x)
    workers = 1 if way == "workers" else None
    with pytest.raises(fg.InputValueError, match="rows of the batched `f` influence each oth"):
        fg.gradient(fg.batched(objective), params, method=method, workers=workers)


@pytest.mark.parametrize("way", ["small", "nested"])
def test_an_f_that_keeps_the_first_rows_alone_is_refused(way):
    """As one does that has a buffer for so many, and says nothing of others."""

    def f(X):
        values = np.zeros(len(X))
        values[:8] = (X[:8] ** 2).sum(axis=1)
        return values

    x = np.arange(1.0, 6.0)
    with pytest.raises(fg.InputValueError, match="in a batch of 3 and 0 in a batch of 11; let it"):
        fg.gradient(*((fg.batched(f), x) if way == "small" else (fg.batched(nested(f)), {"x": x})))


def test_a_batch_that_is_full_is_not_made_larger_for_the_test():
    sizes = []

    def f(X):
        sizes.append(len(X))
        return (X**2).sum(axis=1)

    x = np.arange(4.0)
    for room, expected in ((8, [3, 1, 8]), (9, [3, 9]), (7, [3, 1, 4, 4])):
        sizes.clear()
        fg.gradient(fg.batched(f, memory=(room + 1) * x.nbytes), x)
        assert sizes == expected


@pytest.mark.parametrize("way", ["small", "nested"])
@pytest.mark.parametrize("row", [0, 1, 2])
def test_writes_into_any_row_are_refused(row, way):
    def f(X):
        value = (X**2).sum(axis=1)
        X[min(row, len(X) - 1), 3] += 1.0
        return value

    x = np.arange(1.0, 5.0)
    name = r"params\[3\]" if way == "small" else r"x\[3\]"
    with pytest.raises(fg.MutationError, match=f"wrote into its input: `{name}`"):
        fg.gradient(*((fg.batched(f), x) if way == "small" else (fg.batched(nested(f)), {"x": x})))
    assert x.tolist() == [1, 2, 3, 4]


def test_an_f_that_likes_no_other_points_is_tested_alone():
    def f(X):
        if (X < 0.999).any():
            raise ValueError("outside")
        return np.cumsum(X.sum(axis=1))

    with pytest.raises(fg.InputValueError, match="is 2 alone and 10"):
        fg.gradient(fg.batched(f), np.ones(2))
