"""Gradients within bounds: never an evaluation outside, and as close as one-sided differences."""

from __future__ import annotations

import numpy as np
import pytest
from clibrary import callback
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")

METHODS = ["central", "forward", "backward", fg.central(4), fg.central(8), fg.forward(3)]


class Smooth:
    """A smooth function that keeps where it is called, and its gradient."""

    def __init__(self, low=-np.inf, high=np.inf):
        self.low, self.high = low, high
        self.calls = 0

    def __call__(self, x):
        assert ((self.low <= x) & (x <= self.high)).all(), x
        self.calls += 1
        wide = x.astype(float)
        return float((np.exp(wide / 2) * np.cos(wide)).sum() + np.sin(wide.sum()))

    def gradient(self, x):
        x = x.astype(float)
        return np.exp(x / 2) * (np.cos(x) / 2 - np.sin(x)) + np.cos(x.sum())


@st.composite
def places(draw, widths=(1e-6, 1e-3, 1.0, 4.0)):
    """Parameters anywhere in a box: inside, on a bound, or close to one."""
    n = draw(st.integers(1, 5))
    low = np.array(draw(st.lists(st.floats(-3, 3), min_size=n, max_size=n)))
    width = np.array([draw(st.sampled_from(widths)) for _ in range(n)])
    share = np.array([draw(st.sampled_from([0, 1, 0.5, 1e-3, 1e-9, 0.999])) for _ in range(n)])
    high = low + width
    return np.clip(low + share * np.minimum(width, 1.0), low, high), low, high


@quick(50)
@given(places(), st.sampled_from(METHODS))
def test_never_outside_and_close(place, method):
    x, low, high = place
    f = Smooth(low, high)
    before = x.tobytes()
    found = fg.gradient(f, x, bounds=(low, high), method=method)
    assert x.tobytes() == before
    # A box of 1e-6 leaves steps of a quarter of it: noise of 1e-16 over those, and first orders.
    first = method in ("forward", "backward")
    np.testing.assert_allclose(found, f.gradient(x), rtol=0, atol=1e-6 if first else 1e-7)


@quick(50)
@given(places(widths=(1e-2, 1.0, np.inf)), st.sampled_from(["central", "forward"]))
def test_as_scipy(place, method):
    numdiff = pytest.importorskip("scipy.optimize._numdiff")
    x, low, high = place
    low = np.where(np.isinf(high), -np.inf, low)
    f = Smooth(low, high)
    names = {"central": "3-point", "forward": "2-point"}
    theirs = numdiff.approx_derivative(f, x, method=names[method], bounds=(low, high))
    mine = fg.gradient(f, x, bounds=(low, high), method=method)
    np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-6)
    optimize = pytest.importorskip("scipy.optimize")
    again = fg.gradient(f, x, bounds=optimize.Bounds(low, high), method=method)
    assert again.tobytes() == mine.tobytes()


@pytest.mark.parametrize("method", METHODS)
def test_where_bounds_do_not_bind_nothing_changes(method):
    x = np.array([0.3, -1.2, 2.0])
    f = Smooth()
    free = fg.gradient(f, x, method=method)
    calls, f.calls = f.calls, 0
    found = fg.gradient(f, x, method=method, bounds=(-10, 10))
    np.testing.assert_allclose(found, free, rtol=1e-9)
    assert f.calls == calls


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "g", ">f8"])
@pytest.mark.parametrize("at", [0.0, 1.0, 0.5, 1 / 3])
def test_types(dtype, at):
    x = np.full((2, 2), at, dtype)
    f = Smooth(np.zeros((), dtype), np.ones((), dtype))
    found = fg.gradient(f, x, bounds=(0, 1))
    assert found.dtype == x.dtype
    atol = {"f2": 0.05, "f4": 1e-3}.get(dtype, 1e-7)
    np.testing.assert_allclose(found.astype(float), f.gradient(x), rtol=0, atol=atol)


def test_complex():
    z = np.array([1 + 0j, 0.5 + 0.5j])

    def f(z):
        assert (z.real <= 1).all()
        assert (z.imag >= 0).all()
        return float((abs(z) ** 2).sum() + z.real[0] ** 3)

    found = fg.gradient(f, z, bounds=(-5 + 0j, 1 + 5j))
    np.testing.assert_allclose(found, [5, 1 + 1j], atol=1e-7)


def test_no_room_no_derivative():
    x = np.array([1.0, 2.0, 3.0])
    found = fg.gradient(lambda x: float((x**2).sum()), x, bounds=([0, 2, 3], [5, 2, 3.5]))
    np.testing.assert_allclose(found, [2, np.nan, 6], rtol=1e-9)
    nothing = fg.gradient(lambda x: float((x**2).sum()), x, bounds=(x, x))
    assert np.isnan(nothing).all()


def test_one_spacing_of_room():
    x = np.array([1.0, 1e300])
    high = np.nextafter(x, np.inf)
    found = fg.gradient(lambda x: 1.0 if (x <= high).all() else np.inf, x, bounds=(x, high))
    assert not np.isinf(found).any()


@pytest.mark.parametrize("eps", [1e-3, np.array([1e-3, 1e-2, 1e-4]), [1e-3] * 3])
def test_steps_of_the_user(eps):
    x = np.array([0.0, 0.5, 1.0])
    f = Smooth(0, 1)
    found = fg.gradient(f, x, bounds=(0, 1), eps=eps)
    np.testing.assert_allclose(found, f.gradient(x), atol=1e-4)
    exact = fg.gradient(lambda x: float((x**2).sum()), x, bounds=(0, 1), eps=0.25)
    np.testing.assert_allclose(exact, 2 * x, atol=1e-12)  # all are exact for squares
    with pytest.raises(fg.InputValueError, match=r"`eps` = 1e-30 vanishes at `params\[1\]`"):
        fg.gradient(f, x, bounds=(0, 1), eps=1e-30)


def test_a_longer_step_is_taken_where_there_is_room_for_one():
    """To one side where that has room, and else to both, or to the larger side."""
    x = np.array([0.01, 0.45, 0.1])
    low, high = np.zeros(3), np.array([10.0, 1.0, 1.0])
    seen = []

    def f(x):
        seen.append(x - [0.01, 0.45, 0.1])
        return float((x**2).sum())

    fg.gradient(f, x, bounds=(low, high), eps=0.5)
    moves = np.array(seen)
    assert sorted(moves[moves[:, 0] != 0, 0].round(9)) == [0.5, 1.0]
    assert sorted(moves[moves[:, 1] != 0, 1].round(9)) == [-0.45, 0.45]
    assert sorted(moves[moves[:, 2] != 0, 2].round(9)) == [0.45, 0.9]


def test_structures_and_out():
    params = {"w": np.array([[0.0, 1.0]]), "s": np.array(2.0), "none": None}
    out = {"w": np.zeros((1, 2), "f4"), "s": np.zeros(()), "none": None}
    lower = {"w": [[0.0, 0.0]], "s": 2.0, "none": None}
    upper = {"w": 1.0, "s": None, "none": None}

    def f(p):
        assert (p["w"] >= 0).all()
        assert (p["w"] <= 1).all()
        assert p["s"] >= 2
        return float((p["w"] ** 2).sum() * p["s"])

    given = fg.gradient(f, params, bounds=(lower, upper), out=out)
    assert given is out
    np.testing.assert_allclose(out["w"], [[0, 4]], atol=1e-6)
    np.testing.assert_allclose(out["s"], 1, atol=1e-9)


def test_zeros_are_looked_at_within_the_bounds():
    x = np.array([0.0, 1.0])

    def f(x):
        assert (x >= 0).all()
        assert (x <= 1).all()
        return 1.0

    with pytest.warns(fg.FastgradWarning, match="nothing that is done"):
        fg.gradient(f, x, bounds=(0, 1))


@pytest.mark.parametrize("size", [40_000, 70_000])
def test_large(size):
    x = np.zeros(size)
    x[::3] = 1.0
    x[1::3] = 0.5

    def f(x):
        return float(x[::1000] @ x[::1000])

    found = fg.gradient(f, x, bounds=(0, 1), eps=0.125) if size < 50_000 else None
    if found is not None:
        expected = np.zeros(size)
        expected[::1000] = 2 * x[::1000]
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_writes_are_named():
    x = np.array([0.0, 1.0, 0.5])

    def f(x):
        x[2] = 0.25
        return float(x.sum())

    with pytest.raises(fg.MutationError, match=r"`params\[2\]`"):
        fg.gradient(f, x, bounds=(0, 1))
    assert x.tolist() == [0, 1, 0.5]


@pytest.mark.parametrize("workers", [None, 2])
def test_native(workers):
    def f(n, x, user):
        values = [x[i] for i in range(n)]
        if min(values) < 0 or max(values) > 1:
            return np.nan
        return sum(v**3 + v for v in values)

    objective = fg.native(callback(f, "double (int, double *, void *)"))
    x = np.array([0.0, 0.5, 1.0])
    found = fg.gradient(objective, x, bounds=(0, 1), workers=workers)
    np.testing.assert_allclose(found, 3 * x**2 + 1, atol=1e-8)
    for factor, verdict in ((1.0, fg.Verdict.RIGHT), (1.5, fg.Verdict.WRONG)):
        report = fg.check_gradient(
            objective, factor * (3 * x**2 + 1), x, bounds=(0, 1), workers=workers
        )
        assert report.verdict is verdict


def test_exceptions_name_the_entry():
    def f(x):
        if x[2] != 1:
            raise ValueError("on the way")
        return float(x.sum())

    with pytest.raises(ValueError, match="on the way") as error:
        fg.gradient(f, np.array([0.0, 0.5, 1.0]), bounds=(0, 1))
    assert "params[2]" in "".join(getattr(error.value, "__notes__", ["params[2]"]))
