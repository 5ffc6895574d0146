"""Shared keyword arguments mean the same wherever they are taken.

The table says which function takes which; each has an effect there, and the right one, against
exact derivatives. Afterwards all bits are in place, whatever an evaluation raises.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from strategies import bits

import fastgrad as fg

tqdm = pytest.importorskip("tqdm.auto")

pytestmark = pytest.mark.usefixtures("backend")

SHARED = ("method", "eps", "rel_eps", "f0", "bounds", "where", "out", "workers", "progress")
STEPS = ("eps", "rel_eps", "bounds", "workers", "progress")
# What makes no sense is left out: a vector says by itself what moves, and a gradient has no `f0`.
TABLE = {
    "gradient": SHARED,
    "jacobian": SHARED,
    "vjp": SHARED,
    "jvp": ("method", "f0", *STEPS),
    "propagate": ("method", "f0", *STEPS),
    "sparse_jacobian": ("method", "f0", *STEPS),
    "sparse_hessian": ("method", *STEPS),
    "hessian": ("where", *STEPS),
    "hvp": STEPS,
    "estimate": ("bounds", "where", "workers", "progress"),
    "jacobian_sparsity": ("bounds", "workers", "progress"),
}
X = np.array([0.5, -1.25, 2.0, 1.5])
V, U = np.array([0.75, -2.0, 1.0, 0.25]), np.array([1.0, -0.5, 2.0])
COV = np.diag([0.5, 0.25, 1.0, 2.0]) + 0.125
# In a corner, beside an edge with room on one side for no step, and between two edges.
LOW, HIGH = np.array([0.5, -2.0, 1.75, 1.5]), np.array([3.0, -1.25, 2.25, 1.5 + 1e-2])


def vector(x):
    return np.array([np.exp(x[0]) * x[1], x[1] ** 3 + np.sin(x[2]), x[2] * x[3] ** 2])


def jacobian(x):
    a, b, c, d = x
    e = np.exp(a)
    return np.array([[e * b, e, 0, 0], [0, 3 * b**2, np.cos(c), 0], [0, 0, d**2, 2 * c * d]])


def value(x):
    return float(np.exp(x[0]) * x[1] + x[1] ** 2 * x[2] + np.sin(x[3]) * x[2])


def slopes(x):
    a, b, c, d = x
    e = np.exp(a)
    return np.array([e * b, e + 2 * b * c, b**2 + np.sin(d), np.cos(d) * c])


def curvature(x):
    a, b, c, d = x
    e = np.exp(a)
    return np.array(
        [
            [e * b, e, 0, 0],
            [e, 2 * c, 2 * b, 0],
            [0, 2 * b, 0, np.cos(d)],
            [0, 0, np.cos(d), -np.sin(d) * c],
        ]
    )


@dataclass(frozen=True)
class Case:
    """One function of fastgrad: how it is called, of what, and the exact answer."""

    name: str
    f: Callable
    call: Callable  # of a function, parameters and options
    exact: np.ndarray
    rtol: float = 1e-6


CASES = [
    Case("gradient", value, fg.gradient, slopes(X)),
    Case("jacobian", vector, fg.jacobian, jacobian(X)),
    Case("vjp", vector, lambda f, x, **o: fg.vjp(f, x, U, **o), U @ jacobian(X)),
    Case("jvp", vector, lambda f, x, **o: fg.jvp(f, x, V, **o), jacobian(X) @ V),
    Case(
        "propagate",
        vector,
        lambda f, x, **o: fg.propagate(f, x, COV, **o).covariance,
        jacobian(X) @ COV @ jacobian(X).T,
    ),
    Case(
        "sparse_jacobian",
        vector,
        lambda f, x, **o: fg.sparse_jacobian(f, x, np.ones((3, 4)), **o).toarray(),
        jacobian(X),
    ),
    Case(
        "sparse_hessian",
        slopes,
        lambda f, x, **o: fg.sparse_hessian(f, x, np.ones((4, 4)), **o).toarray(),
        curvature(X),
    ),
    Case("hessian", value, fg.hessian, curvature(X), 1e-5),
    Case(
        "hessian",
        slopes,
        lambda f, x, **o: fg.hessian(value, x, f, **o),
        curvature(X),
    ),
    Case("hvp", value, lambda f, x, **o: fg.hvp(f, x, V, **o), curvature(X) @ V, 1e-5),
    Case("hvp", slopes, lambda f, x, **o: fg.hvp(value, x, V, f, **o), curvature(X) @ V),
    Case("estimate", vector, lambda f, x, **o: fg.estimate(f, x, **o).value, jacobian(X)),
    Case(
        "jacobian_sparsity",
        vector,
        lambda f, x, **o: fg.jacobian_sparsity(f, x, **o).pattern.toarray().astype(float),
        (jacobian(X) != 0).astype(float),
    ),
]


def ident(case):
    return case.name + ("_of_gradients" if case.f is slopes and case.name[0] == "h" else "")


def takes(*options):
    mine = [case for case in CASES if set(options) <= set(TABLE[case.name])]
    return pytest.mark.parametrize("case", mine, ids=ident)


class Watched:
    """A function that keeps the parameters it was called with, and may raise at one call."""

    def __init__(self, f, x, fails_at=-1):
        self.f, self.x, self.fails_at, self.points = f, x, fails_at, []

    def __call__(self, x):
        assert x is self.x
        self.points.append(x.copy())
        if len(self.points) - 1 == self.fails_at:
            raise KeyError("planted")
        return self.f(x)

    @property
    def moves(self):
        return np.reshape(self.points, (-1, 4)) - X


def called(case, fails_at=-1, **options):
    """What a function returns, and where it evaluated; the parameters are as they were."""
    x = X.copy()
    f = Watched(case.f, x, fails_at)
    before = bits(x)
    try:
        return case.call(f, x, **options), f
    finally:
        assert bits(x) == before


def close(case, found, exact=None, rtol=None):
    exact = case.exact if exact is None else exact
    room = (case.rtol if rtol is None else rtol) * np.abs(case.exact).max()
    np.testing.assert_allclose(found, exact, rtol=0, atol=room)


def test_the_table_is_that_of_the_signatures():
    for name, options in TABLE.items():
        mine = [p for p in inspect.signature(getattr(fg, name)).parameters if p in SHARED]
        assert sorted(mine) == sorted(options), name


@pytest.mark.parametrize("case", CASES, ids=ident)
def test_right_without_options(case):
    close(case, called(case)[0])


# ---------------------------------------------------------------- steps


@takes("eps")
def test_absolute_steps(case):
    found, f = called(case, eps=2.0**-10)
    close(case, found, rtol=1e-4)
    # Along a direction, the first entry that gets there has moved by its step; and beside it, once
    # more.
    twice = 2 if case.name == "hvp" and case.f is value else 1
    assert np.abs(f.moves).max() == pytest.approx(twice * 2.0**-10)


@takes("eps")
def test_a_step_for_each_entry(case):
    steps = np.array([1, 2, 4, 8]) * 2.0**-12
    found, f = called(case, eps=steps)
    close(case, found, rtol=1e-4)
    twice = 2 if case.name == "hvp" and case.f is value else 1
    assert (np.abs(f.moves).max(axis=0) <= twice * steps).all()


@takes("rel_eps")
def test_relative_steps_are_absolute_ones_in_proportion(case):
    found, _ = called(case, rel_eps=2.0**-12)
    np.testing.assert_array_equal(found, called(case, eps=2.0**-12 * np.abs(X))[0])
    assert (found != called(case)[0]).any()
    with pytest.raises(fg.InputValueError, match="`eps` and `rel_eps` both choose the step"):
        called(case, eps=1e-6, rel_eps=1e-6)


@takes("eps")
def test_steps_that_vanish_are_refused(case):
    with pytest.raises(fg.InputValueError, match=r"vanishes at `(params|x)\["):
        called(case, eps=1e-30)


@takes("method")
@pytest.mark.parametrize("method", ["forward", fg.backward(2), fg.central(4)], ids=repr)
def test_methods(case, method):
    found, f = called(case, method=method)
    close(case, found, rtol=1e-6 if method != "forward" else 1e-5)
    # The pattern of a sparse matrix is verified to both sides.
    if "sparse" not in case.name and method != fg.central(4):
        sign = 1 if method == "forward" else -1
        ways = f.moves if case.name != "jvp" else f.moves * np.sign(V)
        assert (sign * ways >= 0).all()


# ---------------------------------------------------------------- a known value


@takes("f0")
@pytest.mark.parametrize("method", ["forward", fg.backward(3)], ids=repr)
def test_a_known_value_saves_an_evaluation(case, method):
    expected, unknown = called(case, method=method)
    found, known = called(case, method=method, f0=case.f(X))
    np.testing.assert_array_equal(found, expected)
    assert len(known.points) < len(unknown.points)
    assert (known.moves != 0).any(axis=1).all()


@takes("f0")
def test_a_known_value_is_used(case):
    close(case, called(case, f0=case.f(X))[0])
    try:
        off, _ = called(case, method="forward", f0=case.f(X) + 1e-3)
    except (fg.InputValueError, fg.FastgradWarning):  # a pattern is verified with it
        assert case.name == "sparse_jacobian"
    else:
        assert not np.allclose(off, case.exact, rtol=0.1)


@takes("f0")
@pytest.mark.parametrize("f0", ["1", object(), [np.ones(2), None, "x"]], ids=type)
def test_what_is_no_known_value(case, f0):
    with pytest.raises(fg.InputTypeError, match="`f0` must be"):
        called(case, f0=f0)


@takes("f0")
def test_a_known_value_of_another_shape(case):
    with pytest.raises((fg.InputTypeError, fg.InputValueError)) as caught:
        called(case, f0=[np.ones(3), np.ones(2)])
    if "`f` must return one real array" in str(caught.value):
        assert case.name == "propagate"  # whose `f` returns no nest
        return
    notes = getattr(caught.value, "__notes__", [])
    assert any(
        "`f0`" in said or "like what `f` returns" in said for said in (*caught.value.args, *notes)
    )


def notes_of(call):
    with pytest.raises((fg.InputTypeError, fg.InputValueError)) as caught:
        call()
    return getattr(caught.value, "__notes__", [])


@takes("f0")
def test_what_a_known_value_told_is_said_once_where_f_returns_another_shape(case):
    said = notes_of(lambda: called(case, f0=np.ones(7)))
    if case.name == "vjp":  # what is wrong is `u`, which is read first
        said = notes_of(lambda: fg.vjp(vector, X.copy(), np.ones(7), f0=np.ones(7)))
    elif case.name == "sparse_jacobian":
        pattern = np.ones((7, 4))
        said = notes_of(lambda: fg.sparse_jacobian(vector, X.copy(), pattern, f0=np.ones(7)))
    if case.f is not value:  # which has one known number, and no shape
        assert said == ["`f0` was taken for what `f` returns at the unperturbed parameters"]


@takes("f0")
def test_nothing_is_said_of_a_value_that_nobody_passed(case):
    def changing(x):
        turns.append(0)
        return case.f(x) if len(turns) < 3 else np.ones(7)

    turns = []
    said = notes_of(lambda: case.call(changing, X.copy()))
    assert not any("f0" in each for each in said)


@takes("f0")
@pytest.mark.parametrize(
    "options",
    [{"eps": -1}, {"bounds": (5, 6)}, {"eps": 1e-30}, {"where": 3}, {"out": np.ones(9)}],
    ids=str,
)
def test_a_known_value_is_not_blamed_for_what_else_is_wrong(case, options):
    if set(options) <= set(TABLE[case.name]):
        assert not notes_of(lambda: called(case, f0=case.f(X), **options))


# ---------------------------------------------------------------- bounds


@takes("bounds")
def test_no_point_lies_outside_of_bounds(case):
    _, free = called(case)
    assert ((free.points < LOW) | (free.points > HIGH)).any()
    found, f = called(case, bounds=(LOW, HIGH))
    assert ((f.points >= LOW) & (f.points <= HIGH)).all()
    close(case, found, rtol=20 * case.rtol)


@takes("bounds", "method")
@pytest.mark.parametrize("method", ["forward", "backward", fg.central(6)], ids=repr)
def test_no_point_of_another_stencil_lies_outside(case, method):
    found, f = called(case, bounds=(LOW, HIGH), method=method)
    assert ((f.points >= LOW) & (f.points <= HIGH)).all()
    close(case, found, rtol=1e-4)


@takes("bounds", "eps")
def test_bounds_cut_steps_that_are_given(case):
    found, f = called(case, bounds=(X - 2.0**-16, X + 2.0**-16), eps=0.25)
    assert np.abs(f.moves).max() <= 2.0**-16
    close(case, found, rtol=1e-3)


@takes("bounds")
def test_an_entry_without_room_has_no_derivative(case):
    low, high = np.full(4, -9.0), np.full(4, 9.0)
    low[2] = high[2] = X[2]
    found, f = called(case, bounds=(low, high))
    assert not f.moves[:, 2].any()
    if case.name == "jacobian_sparsity":
        assert not found[:, 2].any()
    elif case.name in ("jvp", "hvp"):  # along a vector that moves it
        assert np.isnan(found).all()
    elif case.name == "propagate":
        assert np.isnan(found).any()
    else:
        assert np.isnan(found[..., 2][case.exact[..., 2] != 0]).all()
        others = np.isfinite(found)
        close(case, found[others], case.exact[others])
        assert np.isfinite(found[..., 0]).sum() >= 1


# ---------------------------------------------------------------- some entries


@takes("where")
def test_only_some_entries_move(case):
    where = np.array([True, False, True, False])
    expected, whole = called(case)
    found, f = called(case, where=where)
    assert not f.moves[:, ~where].any()
    assert len(f.points) < len(whole.points)
    mask = np.broadcast_to(where, found.shape)
    if case.name == "hessian":
        mask = mask & where[:, np.newaxis]
    assert (np.isnan(found) == ~mask).all()
    close(case, found[mask], expected[mask])
    assert np.isnan(called(case, where=False)[0]).all()
    with pytest.raises(fg.InputTypeError, match="`where` must be True or False"):
        called(case, where=np.ones(4))


@takes("where", "bounds")
def test_some_entries_within_bounds(case):
    where = np.array([True, False, True, True])
    found, f = called(case, where=where, bounds=(LOW, HIGH))
    assert ((f.points >= LOW) & (f.points <= HIGH)).all()
    assert not f.moves[:, 1].any()
    finite = np.isfinite(found)
    assert finite.any()
    close(case, found[finite], case.exact[finite], rtol=20 * case.rtol)


# ---------------------------------------------------------------- results, workers


@takes("out")
def test_results_are_written_where_they_belong(case):
    expected, _ = called(case)
    out = np.zeros(case.exact.shape)
    assert called(case, out=out)[0] is out
    np.testing.assert_array_equal(out, expected)


@takes("workers")
@pytest.mark.parametrize("options", [{}, {"bounds": (X, None)}], ids=["free", "bounds"])
def test_workers_evaluate_and_change_no_bit(case, options):
    expected = case.call(case.f, X.copy(), **options)
    tasks = []

    def mapped(function, items):
        items = list(items)
        tasks.extend(items)
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(function, items))

    found = case.call(case.f, X.copy(), workers=mapped, **options)
    np.testing.assert_array_equal(found, expected)
    assert tasks


# ---------------------------------------------------------------- bars


class Drawn:
    """What stands for tqdm's bar: it keeps what it is told."""

    made: ClassVar[list] = []
    disable = False

    def __init__(self, total, **_):
        self.total, self.n, self.closed = total, 0, False
        Drawn.made.append(self)

    def update(self, n):
        self.n += n

    def close(self):
        self.closed = True

    def set_postfix_str(self, *_, **__):
        pass


def shown(case, f, monkeypatch, **options):
    expected = case.call(f, X.copy(), **options)
    monkeypatch.setattr(tqdm, "tqdm", Drawn)
    monkeypatch.setattr(Drawn, "made", [])
    found = case.call(f, X.copy(), progress=True, **options)
    np.testing.assert_array_equal(found, expected)
    assert Drawn.made
    assert all(bar.closed for bar in Drawn.made)
    assert sum(bar.n for bar in Drawn.made) >= 1


@takes("progress")
def test_a_bar_shows_evaluations(case, monkeypatch):
    shown(case, case.f, monkeypatch)


COMPLEX = [case for case in CASES if case.name in ("gradient", "jacobian", "jvp", "propagate")]


@pytest.mark.parametrize("case", COMPLEX, ids=ident)
def test_a_bar_shows_evaluations_of_complex_steps(case, monkeypatch):
    f = vector if case.f is vector else lambda x: vector(x).sum()
    shown(case, f, monkeypatch, method=fg.complex_step())


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("case", CASES, ids=ident)
def test_a_fault_at_every_evaluation(case):
    """`called` compares the bits; some functions take what raises for a point outside."""
    options = {"bounds": (LOW, HIGH)}
    if "where" in TABLE[case.name]:
        options["where"] = np.array([True, False, True, True])
    _, f = called(case, **options)
    raised, evaluations = 0, len(f.points)
    for k in range(0, evaluations, 1 + evaluations // 25):
        try:
            called(case, fails_at=k, **options)
        except (KeyError, fg.InputValueError):
            raised += 1
    assert raised
