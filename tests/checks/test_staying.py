"""Large parameters stay where they were moved between joint directions, and are back afterwards."""

from __future__ import annotations

import contextlib
import tracemalloc

import numpy as np
import pytest
from strategies import bits

import fastgrad as fg
from fastgrad import Verdict, _memory
from fastgrad._evaluation.guard import COPIED_BYTES, Guard

pytestmark = pytest.mark.usefixtures("backend")
# The first is thinned where noise is measured: between its entries that move are some that do not.
SIZES = (70_000, 300)


class Stopped(Exception):
    """What an objective raises."""


def model(dtype="f8"):
    """Parameters in two arrays, with zeros of either sign, and the slopes of a smooth function."""
    random = np.random.default_rng(0)
    params = [random.normal(size=n).astype(dtype) for n in SIZES]
    params[0][[3, 4, 9]] = 0.0, -0.0, 1e-300
    slopes = [random.normal(size=n) for n in SIZES]
    assert sum(x.nbytes for x in params) > COPIED_BYTES
    return params, slopes


class Seen:
    """The objective, which notes where it is evaluated, and does something at one evaluation."""

    def __init__(self, slopes, when=0, act=None):
        self.slopes, self.when, self.act = slopes, when, act
        self.points = []

    def __call__(self, params):
        self.points.append(tuple(map(bits, params)))
        value = sum(float(a @ np.sin(x)) for a, x in zip(self.slopes, params, strict=True))
        if len(self.points) == self.when:
            self.act(params)
        return value


def claimed(params, slopes):
    return [a * np.cos(x) for a, x in zip(slopes, params, strict=True)]


def check(f, params, slopes):
    return fg.check_gradient(f, claimed(params, slopes), params, strategy="probe")


def plain_run(dtype="f8"):
    """The points of a run in which nothing happens, and its report."""
    params, slopes = model(dtype)
    f = Seen(slopes)
    report = check(f, params, slopes)
    assert report.verdict is Verdict.RIGHT
    return f.points, report


@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_points_and_results_are_those_of_parameters_put_back_each_time(dtype, monkeypatch):
    points, report = plain_run(dtype)
    monkeypatch.setattr(Guard, "staying", lambda _: contextlib.nullcontext())
    others, other = plain_run(dtype)
    assert points == others
    assert {**report.to_dict(), "seconds": 0} == {**other.to_dict(), "seconds": 0}


@pytest.mark.parametrize("leaf", [0, 1])
@pytest.mark.parametrize("entry", [0, 1, -1])
def test_what_f_writes_is_undone_and_told_unless_it_was_moved_anyway(leaf, entry):
    points, _ = plain_run()
    told = 0
    for when in range(1, len(points) + 1):
        params, slopes = model()
        before = tuple(map(bits, params))

        def write(params):
            params[leaf][entry] = 77.0

        f = Seen(slopes, when, write)
        own = np.frombuffer(points[when - 1][leaf])[entry] == params[leaf][entry]
        place = rf"params\[{leaf}\]\[{entry % SIZES[leaf]}\]` is not .*the old value was put back"
        refused = pytest.raises(fg.MutationError, match=place)
        with refused if own else contextlib.nullcontext():
            report = check(f, params, slopes)
        told += own
        if not own:  # all that is moved is written anew
            assert f.points == points
            assert report.verdict is Verdict.RIGHT
        assert tuple(map(bits, params)) == before
        assert not _memory.locks
    assert 3 <= told < len(points)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, Stopped])
def test_every_bit_is_back_wherever_f_raises(kind):
    points, _ = plain_run()
    for when in range(1, len(points) + 1):
        params, slopes = model()
        before = tuple(map(bits, params))

        def act(_):
            raise kind

        f = Seen(slopes, when, act)
        moved = points[when - 1] != points[0]
        with contextlib.nullcontext() if moved and kind is Stopped else pytest.raises(kind):
            check(f, params, slopes)
        assert tuple(map(bits, params)) == before
        assert not _memory.locks


def test_memory_beyond_parameters_and_gradient_is_little_more_than_two_copies(backend):
    """One of the parameters, one of the gradient, and what is thinned."""
    slopes = [np.ones(n) for n in (10**6, 300)]
    params = [np.linspace(-1, 1, n) for n in (10**6, 300)]

    def f(params):
        return sum(float(np.einsum("i,i->", a, x)) for a, x in zip(slopes, params, strict=True))

    fg.check_gradient(f, slopes, params)  # imports
    tracemalloc.start()
    report = fg.check_gradient(f, slopes, params)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.strategy == "probe"
    # The twin draws chunks by wider numbers.
    assert peak <= (2.3 if backend == "compiled" else 2.4) * params[0].nbytes
