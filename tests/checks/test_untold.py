"""What explains a wrong gradient is made when it is looked at, of what was known by then."""

import gc
import pickle
import weakref

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import Verdict


class Square:
    """A function that can be watched."""

    def __call__(self, x):
        return float(np.square(x).sum())


def off_by(*entries, x, factor=1.01):
    claimed = 2 * x
    claimed[list(entries)] *= factor
    return claimed


# One wrong entry is explained later; of three and more `f` is asked whether they are stale.
@pytest.mark.parametrize("entries", [(3,), (0, 4), (0, 3, 5), tuple(range(10))])
def test_a_wrong_report_keeps_neither_function_nor_parameters_alive(entries):
    f, x = Square(), np.linspace(-1.5, 2.0, 10)
    alive = weakref.ref(f), weakref.ref(x)
    report = fg.check_gradient(f, off_by(*entries, x=x), x)
    del f, x
    assert [each() for each in alive] == [None, None]
    assert report.verdict is Verdict.WRONG
    assert "reason" not in vars(report)
    assert report.reason.startswith(f"{len(entries)} of 10 entries disagree")
    assert report.causes
    assert report.curve is not None
    assert len(report.curve.steps) == 25
    assert "_rest" not in vars(report)


MATRIX = np.array([[1.0, 2.0], [3.0, 4.0]])
CHECKS = {
    "gradient": lambda f, x: fg.check_gradient(f, 2 * x, x, budget=100),
    "wrong gradient": lambda f, x: fg.check_gradient(f, 3 * x, x),
    "probe": lambda f, x: fg.check_gradient(f, 3 * x, x, strategy="probe"),
    "bounds": lambda f, x: fg.check_gradient(f, 2 * x, x, bounds=(x - 1, x + 1)),
    "where": lambda f, x: fg.check_gradient(f, 2 * x, x, where=np.array([True, False])),
    "retraction": lambda f, x: fg.check_gradient(f, 2 * x, x, retraction=lambda x, v: x + v),
    "hessian": lambda f, x: fg.check_hessian(f, 2 * np.eye(2), x),
    "hvp": lambda f, x: fg.check_hvp(f, lambda x, v: 2 * v, x),
    "jacobian": lambda f, x: fg.check_jacobian(lambda x: f(x) * MATRIX[0] + x, np.eye(2), x),
    "jvp": lambda f, x: fg.check_jvp(lambda x: f(x) + x, lambda x, v: v + 2 * (x @ v), x),
    "vjp": lambda f, x: fg.check_vjp(lambda x: f(x) + x, lambda x, u: u + 2 * u.sum() * x, x),
    "estimate": fg.estimate,
}


# Cycles of references would keep parameters of any size until Python looks for them.
@pytest.mark.parametrize("name", CHECKS)
def test_no_check_leaves_function_and_parameters_to_the_garbage_collector(name, backend):
    f, x = Square(), np.array([0.3, -1.2]).view()
    alive = weakref.ref(f), weakref.ref(x)
    gc.disable()
    try:
        report = CHECKS[name](f, x)
        del f, x
        assert [each() for each in alive] == [None, None]
    finally:
        gc.enable()
    assert report is not None


@pytest.mark.parametrize("name", ["causes", "reason", "curve", "detection_limit"])
def test_each_part_is_that_of_the_check_whatever_happens_afterwards(name):
    x = {"w": np.linspace(-1.5, 2.0, 6), "z": np.array([1.0 + 2.0j, -0.5j])}

    def f(p):
        penalty = 0.1 * float(np.square(p["w"]).sum())
        return float(np.sin(p["w"]).sum() + np.square(np.abs(p["z"])).sum()) + penalty

    def check():
        # The parameters themselves tell that an L2 term is missing.
        return fg.check_gradient(f, {"w": np.cos(x["w"]), "z": 2.2 * x["z"]}, x)

    told = check().to_dict()
    assert "L2" in str(told["causes"])
    report, copy = check(), pickle.loads(pickle.dumps(check()))
    for each in x.values():
        each[...] = 7.0
    assert getattr(report, name) is not None
    for each in (report, copy):
        assert {**each.to_dict(), "seconds": told["seconds"]} == told


def test_a_budget_that_ends_before_the_curve_costs_the_curve_alone():
    x = np.linspace(-1.5, 2.0, 10)
    whole = fg.check_gradient(Square(), off_by(3, x=x), x)
    assert whole.curve is not None
    report = fg.check_gradient(Square(), off_by(3, x=x), x, budget=whole.evaluations - 1)
    assert report.curve is None
    assert report.causes[0].sentence == whole.causes[0].sentence
    assert report.reason == whole.reason


def test_a_report_of_kinks_that_were_met_is_right():
    report = fg.check_gradient(lambda x: float(np.abs(x).sum()), np.zeros(2), np.zeros(2))
    assert report
    assert report.causes[0].kind is fg.Cause.KINK
    assert report.curve is None
