"""The verdict on the whole, and its reason."""

import numpy as np
import pytest

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


def edge(x):
    """Fit to be judged along the first entry only."""
    return x[0] ** 2 + (0.0 if x[1] == 0 else np.nan)


def test_one_wrong_entry_outweighs_any_that_cannot_be_judged():
    report = fg.check_gradient(edge, np.array([5.0, 0.0]), np.array([1.0, 0.0]))
    assert report.verdict is fg.Verdict.WRONG
    assert "1 of 2 entries disagree" in report.reason
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
