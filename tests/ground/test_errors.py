"""Errors: their kinds, and that each names the place, the constraint, the value, the way out."""

from __future__ import annotations

import math
import pickle
import sys

import numpy as np
import pytest
from strategies import named

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")
KINDS = {
    fg.InputTypeError: TypeError,
    fg.InputValueError: ValueError,
    fg.MutationError: RuntimeError,
    fg.ConcurrencyError: RuntimeError,
}


@pytest.mark.parametrize("kind", KINDS)
def test_one_root_and_the_builtin_that_users_expect(kind):
    assert issubclass(kind, fg.FastgradError)
    assert issubclass(kind, KINDS[kind])
    assert kind.__doc__
    copy = pickle.loads(pickle.dumps(kind("text")))
    assert (type(copy), str(copy)) == (kind, "text")


# ---------------------------------------------------------------- eps


NO_STEPS = [0, 0.0, -1e-3, math.nan, math.inf, -math.inf, np.float32(0), np.int64(-1),
            10**400, np.longdouble("1e-4000")]  # fmt: skip


@pytest.mark.parametrize("eps", NO_STEPS, ids=lambda eps: repr(eps)[:20])
@pytest.mark.parametrize("nest", [lambda x: x, lambda x: {"w": x}], ids=["array", "dict"])
def test_a_step_that_is_no_step(eps, nest):
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(lambda x: 0.0, nest(np.ones(2)), eps=eps)
    said = f"`eps` must be a positive finite step, or None; got {eps!r}"
    assert str(caught.value) == said
    with pytest.raises(fg.InputValueError, match="`eps` must be a positive finite step"):
        fg.derivative(math.sin, 1.0, eps=eps)


@pytest.mark.parametrize(
    "eps", ["0.1", "text", [[0.1], [0.1, 0.2]], object(), 1j, [1j, 2]], ids=named
)
def test_a_step_of_another_kind(eps):
    with pytest.raises(fg.FastgradError, match="`eps` at `params` must be a"):
        fg.gradient(lambda x: 0.0, np.ones(2), eps=eps)


@pytest.mark.parametrize("eps", [True, False, np.True_, np.array([True, False])], ids=repr)
@pytest.mark.parametrize("inside", [False, True])
def test_a_flag_is_no_step(eps, inside):
    """True would be a step of 1."""
    params, eps = ({"x": np.ones(2)}, {"x": eps}) if inside else (np.ones(2), eps)
    with pytest.raises(fg.InputTypeError, match=r"^`eps.*` must be a positive number"):
        fg.gradient(lambda x: 0.0, params, eps=eps)
    if not inside:
        with pytest.raises(fg.InputTypeError, match=r"^`eps.*` must be a positive number"):
            fg.derivative(math.sin, 1.0, eps=eps)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 1), (1, 2)], ids=str)
def test_steps_are_never_broadcast(shape):
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(lambda x: 0.0, {"W": np.ones(2)}, eps={"W": np.ones(shape)})
    said = f"`eps` at `W` must be a number or have shape (2,); got {shape}"
    assert str(caught.value) == said


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_one_bad_step_among_many(bad):
    with pytest.raises(
        fg.InputValueError, match=r"`eps` at `b\[0\]` must hold positive finite steps"
    ):
        fg.gradient(lambda x: 0.0, {"b": [np.ones(2)]}, eps={"b": [np.array([0.1, bad])]})
    with pytest.raises(fg.InputValueError, match="`eps` at `b` must be a positive finite step"):
        fg.gradient(lambda x: 0.0, {"b": np.ones(2)}, eps={"b": bad})


@pytest.mark.parametrize(
    ("dtype", "x", "eps", "least"),
    [("f8", 1.0, 1e-17, "4.4e-16"), ("f8", 1e10, 1e-7, "4.4e-06"), ("f4", 1.0, 1e-9, "2.4e-07"),
     ("f2", 4.0, 1e-4, "7.8e-03"), ("g", 1.0, 1e-30, None)],
)  # fmt: skip
def test_a_step_that_rounding_swallows(dtype, x, eps, least):
    array = np.array([[0.0, x]], dtype)
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(lambda p: 0.0, {"W": array}, eps=eps)
    said = str(caught.value)
    assert said.startswith(f"`eps` = {eps:g} vanishes at `W[0, 1]` = {x:g}: in {array.dtype} ")
    assert "or eps=None" in said
    assert least is None or f"use a step of at least {least}" in said
    enough = float(said.split("at least ")[1].split(",")[0])
    assert np.isfinite(fg.gradient(lambda p: p["W"].sum(), {"W": array}, eps=enough)["W"]).all()


def test_a_step_is_refused_at_its_entry_before_f_sees_it():
    seen = []
    with pytest.raises(fg.InputValueError, match=r"`params\[1\]` = 1e\+20"):
        fg.gradient(lambda x: seen.append(x.copy()) or 0.0, np.array([1.0, 1e20]), eps=1e-3)
    assert len(seen) == 2


# ---------------------------------------------------------------- what f itself raises


class Mine(Exception):
    pass


def raising(error, at):
    def f(p):
        if p["W"][at] != 1.0:
            raise error
        return 0.0

    return f


def test_errors_of_f_pass_through_with_a_note():
    error = Mine("text")
    with pytest.raises(Mine, match=r"^text") as caught:
        fg.gradient(raising(error, (1, 0)), {"W": np.ones((2, 2))})
    assert caught.value is error
    assert error.args == ("text",)
    if sys.version_info >= (3, 11):
        assert error.__notes__ == [
            "while fastgrad had moved `W[1, 0]` (its value was put back)",
        ]


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exceptions carry notes from 3.11 on")
def test_which_errors_carry_a_note():
    x = np.ones((2, 2))
    for error in (KeyboardInterrupt(), SystemExit(3), GeneratorExit(), fg.InputValueError("own")):
        with pytest.raises(type(error)) as caught:
            fg.gradient(raising(error, (0, 1)), {"W": x})
        assert caught.value is error
        assert not hasattr(error, "__notes__")
    with pytest.raises(fg.InputTypeError) as caught:
        fg.gradient(lambda p: None, x)
    assert not hasattr(caught.value, "__notes__")
    with pytest.raises(Mine) as caught:
        fg.gradient(lambda p: (_ for _ in ()).throw(Mine), x, method="forward")
    assert not hasattr(caught.value, "__notes__")  # nothing was moved yet


def test_a_note_names_the_part_of_a_complex_entry():
    z = np.ones(2, complex)

    def f(z):
        if z[1].imag:
            raise Mine
        return 0.0

    with pytest.raises(Mine) as caught:
        fg.gradient(f, z)
    if sys.version_info >= (3, 11):
        assert "`params[1].imag`" in caught.value.__notes__[0]


def test_runs_inside_runs_add_a_note_each():
    x, y = np.ones(1), np.ones(1)

    def inner(y):
        raise Mine

    with pytest.raises(Mine) as caught:
        fg.gradient(lambda p: fg.gradient(inner, {"y": y})["y"][0], {"x": x})
    if sys.version_info >= (3, 11):
        assert [note.split("`")[1] for note in caught.value.__notes__] == ["y[0]", "x[0]"]


def test_the_traceback_leads_to_f():
    def guilty(x):
        return 1 / 0

    with pytest.raises(ZeroDivisionError) as caught:
        fg.gradient(guilty, np.ones(2))
    assert caught.traceback[-1].name == "guilty"
