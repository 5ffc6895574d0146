"""`rel_eps`, `f0` and `where` of `gradient`."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import LAYOUTS, STENCIL_IDS, STENCILS, bits, lay_out

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")
every = pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)


def cost(x):
    return float(np.exp(np.sin(x)).sum())


X = np.array([0.3, -2.0, 5.0, 0.0])


# ---------------------------------------------------------------- rel_eps


@every
def test_relative_steps_are_absolute_ones_in_proportion(stencil):
    automatic = stencil.relative_step(X.dtype)
    steps = np.where(X == 0, automatic, 1e-4 * np.abs(X))
    expected = fg.gradient(cost, X.copy(), method=stencil, eps=steps)
    found = fg.gradient(cost, X.copy(), method=stencil, rel_eps=1e-4)
    np.testing.assert_array_equal(found, expected)


def test_relative_steps_of_nested_parameters():
    tree = {"a": np.array([1.0, 10.0]), "z": np.array([3 + 4j])}
    f = lambda p: float((p["a"] ** 3).sum() + (p["z"].real ** 3).sum())  # noqa: E731
    found = fg.gradient(f, tree, rel_eps={"a": [0.1, 0.01], "z": 0.1})
    np.testing.assert_allclose(found["a"], [3 + 0.1**2, 300 + 0.1**2], rtol=1e-10)
    np.testing.assert_allclose(found["z"], [27 + 0.5**2], rtol=1e-10)


@pytest.mark.parametrize(
    ("rel_eps", "error", "said"),
    [
        (0.0, fg.InputValueError, "`rel_eps` must be a positive finite step"),
        (-1e-6, fg.InputValueError, "`rel_eps` must be a positive finite step"),
        (True, fg.InputTypeError, "`rel_eps` must be a positive number"),
        ("x", fg.InputTypeError, "`rel_eps` at `params` must be a positive number"),
        (np.ones(3), fg.InputValueError, r"`rel_eps` at `params` must be a number or have shape"),
        (np.array([1, 1, 1, 0.0]), fg.InputValueError, "must hold positive finite steps"),
    ],
)
def test_no_relative_step(rel_eps, error, said):
    with pytest.raises(error, match=said):
        fg.gradient(cost, X.copy(), rel_eps=rel_eps)


def test_both_kinds_of_steps():
    with pytest.raises(fg.InputValueError, match="`eps` and `rel_eps` both choose the step"):
        fg.gradient(cost, X.copy(), eps=1e-6, rel_eps=1e-6)


def test_a_relative_step_that_vanishes():
    with pytest.raises(fg.InputValueError, match=r"vanishes at `params\[0\]`"):
        fg.gradient(cost, X.copy(), rel_eps=1e-20)


# ---------------------------------------------------------------- f0


@every
@pytest.mark.parametrize("tree", [False, True])
def test_a_known_value_saves_an_evaluation(stencil, tree):
    calls = []
    f = lambda p: calls.append(0) or cost(p["x"] if tree else p)  # noqa: E731
    params = {"x": X.copy()} if tree else X.copy()
    expected = fg.gradient(f, params, method=stencil, eps=1e-4)
    before = len(calls)
    found = fg.gradient(f, params, method=stencil, eps=1e-4, f0=cost(X))
    assert len(calls) == 2 * before - stencil.uses_base
    np.testing.assert_array_equal(
        found["x"] if tree else found, expected["x"] if tree else expected
    )


def test_a_known_value_on_the_fast_path():
    calls = []
    x = np.array([0.3, -2.0])
    f = lambda x: calls.append(0) or cost(x)  # noqa: E731
    expected = fg.gradient(f, x, method="forward")
    assert len(calls) == 3
    assert (fg.gradient(f, x, method="forward", f0=np.array([cost(x)])) == expected).all()
    assert len(calls) == 5
    assert np.isnan(fg.gradient(f, x, method="forward", f0=np.nan)).all()


@pytest.mark.parametrize("f0", ["1", None.__class__, np.ones(2), 1j, (1.0, 2.0)], ids=repr)
@pytest.mark.parametrize("method", ["forward", "central"])
def test_what_is_no_value(f0, method):
    with pytest.raises(fg.InputTypeError, match="`f0` must be one real number, the value of `f`"):
        fg.gradient(cost, X.copy(), f0=f0, method=method)


# ---------------------------------------------------------------- where


@every
@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_chosen_entries_move(stencil, layout):
    x = lay_out(np.array([[0.3, -2.0], [5.0, 0.7]]), layout)
    mask = np.array([[True, False], [False, True]])
    expected, before, moved = fg.gradient(cost, x, method=stencil), bits(x), []
    start = x.copy()
    found = fg.gradient(
        lambda x: moved.append(x != start) or cost(x), x, method=stencil, where=mask
    )
    np.testing.assert_array_equal(found, np.where(mask, expected, np.nan))
    assert bits(x) == before
    assert len(moved) == 2 * stencil.evaluations + stencil.uses_base
    assert not np.any(moved, axis=0)[~mask].any()


def test_where_in_a_tree():
    tree = {"w": np.ones((2, 2)), "b": np.array(2.0), "z": np.array([1 + 2j, 3.0]), "none": None}
    f = lambda p: float((p["w"] ** 2).sum() + p["b"] ** 2 + (abs(p["z"]) ** 2).sum())  # noqa: E731
    masks = {"w": False, "b": True, "z": np.array([True, False]), "none": None}
    found = fg.gradient(f, tree, where=masks)
    assert np.isnan(found["w"]).all()
    assert found["b"] == pytest.approx(4.0)
    assert found["z"][0] == pytest.approx(2 + 4j)
    assert np.isnan(found["z"][1].real)
    assert np.isnan(found["z"][1].imag)
    assert {k: v.dtype for k, v in found.items() if v is not None} == {
        k: v.dtype for k, v in tree.items() if v is not None
    }


@pytest.mark.parametrize("large", [False, True])
def test_nothing_chosen(large):
    x, calls = np.ones(50_000 if large else 3), []
    out = np.zeros_like(x)
    found = fg.gradient(lambda x: calls.append(0) or 0.0, x, where=False, out=out)
    assert found is out
    assert np.isnan(out).all()
    assert not calls


def test_where_of_a_large_array_into_an_array():
    x = np.linspace(0.5, 2, 50_000)
    mask = np.zeros(50_000, bool)
    mask[[0, 7, 49_999]] = True
    out = np.zeros(50_000)
    fg.gradient(lambda x: float(x @ x), x, where=mask, out=out)
    assert np.isnan(out).sum() == 50_000 - 3
    np.testing.assert_allclose(out[mask], 2 * x[mask], rtol=1e-5)


def test_where_with_bounds_workers_and_steps():
    mask = np.array([True, False, True, False])
    plain = fg.gradient(cost, X.copy(), eps=1e-5)
    for options in ({"bounds": (-10, 10)}, {"workers": map}, {"f0": cost(X)}):
        found = fg.gradient(cost, X.copy(), eps=1e-5, where=mask, **options)
        np.testing.assert_array_equal(found, np.where(mask, plain, np.nan))


@pytest.mark.parametrize(
    ("where", "error", "said"),
    [
        (np.ones(4, int), fg.InputTypeError, "`where` must be True or False, or .*dtype int64"),
        ([0, 2], fg.InputTypeError, "boolean array.* got a list"),
        (np.ones(3, bool), fg.InputValueError, r"have shape \(4,\); got \(3,\)"),
        ({"a": True}, fg.InputTypeError, "boolean array"),
        ("all", fg.InputTypeError, "boolean array"),
    ],
)
def test_no_mask(where, error, said):
    with pytest.raises(error, match=said):
        fg.gradient(cost, X.copy(), where=where)


def test_a_fault_at_every_evaluation():
    x, mask = X.copy(), np.array([True, False, True, True])
    for at in range(1, 7):
        calls = []

        def failing(x, at=at, calls=calls):
            calls.append(0)
            if len(calls) == at:
                raise ZeroDivisionError
            return cost(x)

        with pytest.raises(ZeroDivisionError):
            fg.gradient(failing, x, where=mask)
        assert bits(x) == bits(X)
