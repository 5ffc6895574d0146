"""Large gradients are read where the user has them: judged as copies are, and never written to."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import fastgrad as fg
from fastgrad._checks import claim


@pytest.fixture
def lent(monkeypatch, backend):
    """Gradients of any size are read where the user has them."""
    monkeypatch.setattr(claim, "LENT_BYTES", 0)


def quadratic(x):
    return 0.5 * float(x @ x) + float(x[0] * x[1])


def quadratic_gradient(x):
    grad = x.copy()
    grad[:2] += x[1::-1]
    return grad


def many():
    return np.linspace(-1.0, 2.0, 300)


def probed(f, grad, x, **options):
    report = fg.check_gradient(f, grad, x, strategy="probe", **options)
    known = {**report.to_dict(), "seconds": 0}
    return report, known, [(e.path, e.analytic, e.numeric, e.uncertainty) for e in report.entries]


@pytest.mark.parametrize("change", [1.0, 1.3, np.nan, np.inf])
@pytest.mark.parametrize("places", [(), (7,), (3, 100, 250), range(300)], ids=len)
def test_what_is_read_in_place_is_judged_as_a_copy_and_left_alone(lent, change, places):
    x = many()
    grad = quadratic_gradient(x)
    grad[list(places)] *= change
    before = grad.tobytes()
    report, *found = probed(quadratic, grad, x)
    assert grad.tobytes() == before
    assert bool(report) == (change == 1.0 or not len(places))
    _, *copied = probed(quadratic, lambda x: np.frombuffer(before), x)
    assert str(found) == str(copied)


@pytest.mark.parametrize("factor", [1.0, 1.1])
def test_gradient_that_f_overwrites_at_each_point_is_judged_as_it_was(lent, factor):
    x = many()
    grad = factor * quadratic_gradient(x)
    calls = iter(range(10**6))

    def f(x):
        if next(calls) > 1:  # at the parameters it writes what stands there
            grad[:] = factor * quadratic_gradient(x)
        return quadratic(x)

    assert bool(probed(f, grad, x)[0]) == (factor == 1.0)


@pytest.mark.parametrize("when", [0, 9, 11])
def test_gradient_that_f_overwrites_at_once_or_late_is_an_error(lent, when):
    x = many()
    grad, before = quadratic_gradient(x), x.tobytes()
    calls = iter(range(10**6))

    def f(x):
        if next(calls) == when:
            grad[5] += 1.0
        return quadratic(x)

    with pytest.raises(fg.MutationError, match=r"`grad`\.copy\(\)"):
        probed(f, grad, x)
    assert x.tobytes() == before


def test_gradient_that_is_memory_of_the_parameters_is_copied(lent):
    x = many()
    assert probed(lambda x: 0.5 * float(x @ x), x, x)[0]
    assert probed(lambda x: 0.5 * float(x @ x), x.view(), x)[0]


@pytest.mark.parametrize("budget", [1, 2, 5, 8, 9, 10, 13])
def test_report_on_what_was_not_judged_keeps_its_own_numbers(lent, budget):
    x = many()
    grad = quadratic_gradient(x)
    report = fg.check_gradient(quadratic, grad, x, strategy="probe", budget=budget)
    known = [entry.analytic for entry in report.entries]
    grad[:] = 0.0
    assert [entry.analytic for entry in report.entries] == known


def test_large_right_gradient_takes_one_and_a_half_times_the_memory(lent):
    x = np.linspace(-1.0, 1.0, 2**20)
    grad = x.copy()
    tracemalloc.start()
    report = fg.check_gradient(lambda x: 0.5 * float(x @ x), grad, x, strategy="probe")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report
    assert report.evaluations <= 16
    assert peak <= 1.5 * x.nbytes
