"""What is said of claims and values that cannot be used: the name, what is wanted, the way out."""

import re

import numpy as np
import pytest

import fastgrad as fg

X = np.array([1.0, 2.0, 3.0])
NEST = {"a": np.ones(2), "b": np.ones(3)}
HUGE = 10**400


def squares(x):
    return (x**2).sum()


def of_nest(p):
    return squares(p["a"]) + squares(p["b"])


def slopes_of_nest(p):
    return {"a": 2 * p["a"], "b": 2 * p["b"]}


def said(check, kind=fg.FastgradError):
    with pytest.raises(kind) as caught:
        check()
    return str(caught.value)


# ------------------------------------------------------------------------------------- structures

WRONG_HESSIANS = {
    "flat": (np.eye(5), "`hess` must be a dict, like the parameters; got an array of shape (5, 5)"),
    "gradient": (slopes_of_nest, "`hess` at `a` must be a dict, like the parameters; got an array"),
    "key": (
        {"a": NEST, "c": NEST},
        "`hess` must have the structure of the parameters: it lacks `b` and has `c`, unknown there",
    ),
    "shape": (
        {"a": {"a": np.eye(2), "b": np.eye(3)}, "b": NEST},
        "`hess` at `a / b` must have shape (2, 3), that of `a` followed by that of `b`",
    ),
}


@pytest.mark.parametrize("case", WRONG_HESSIANS.values(), ids=WRONG_HESSIANS)
def test_a_hessian_is_said_to_be_of_the_parameters(case):
    hess, start = case
    text = said(lambda: fg.check_hessian(of_nest, hess, NEST))
    assert text.startswith(start)
    assert "what `f` returns" not in text
    assert "Jacobian" not in text


def test_a_jacobian_in_the_wrong_order_is_told_whose_structure_comes_first():
    claimed = {"a": {"u": np.eye(2)}, "b": {"u": np.zeros((2, 3))}}
    text = said(lambda: fg.check_jacobian(lambda p: {"u": p["a"]}, claimed, NEST))
    assert text.startswith("`jac` must have the structure of what `f` returns: it lacks `out.u`")
    text = said(lambda: fg.check_jacobian(lambda p: {"u": p["a"]}, {"u": np.eye(2)}, NEST))
    assert text.startswith("`jac` at `out.u` must be a dict, like the parameters; got an array")


@pytest.mark.parametrize("x", [np.array(1.0), np.ones(1), np.ones(2), np.ones((2, 2))])
def test_the_reshape_that_is_advised_is_right(x):
    n = x.size
    flat = np.full((n, n), 3.0) if x.ndim != 1 else np.full(n * n, 3.0)
    text = said(lambda: fg.check_jacobian(np.sin, flat, x), fg.InputValueError)
    advised = re.search(r"\.reshape\((.*)\) makes it so", text)
    if x.ndim == 1:
        assert advised is None
        return
    assert flat.reshape(eval(advised[1])).shape == 2 * x.shape


@pytest.mark.parametrize("check", [fg.check_hessian, fg.check_hvp])
def test_hessians_by_complex_parameters_are_refused_as_hessians(check):
    text = said(lambda: check(squares, lambda *_: 0, X + 1j))
    assert "`params` is complex, and Hessians are those by real parameters" in text


@pytest.mark.parametrize(
    "check",
    [
        lambda f, x: fg.check_jacobian(f, np.zeros((0, 3)), x),
        lambda f, x: fg.check_vjp(f, lambda x, u: 0 * x, x),
        lambda f, x: fg.check_jvp(f, lambda x, v: v[:0], x),
    ],
)
def test_outputs_without_entries_are_no_parameters_without(check):
    report = check(lambda x: x[:0], X)
    assert report.reason == "nothing was tested: what `f` returns holds no entries"


def test_one_number_from_grad_asks_whether_it_was_exchanged_with_f():
    asked = "It returned one number, as `f` should: are the two exchanged?"
    assert said(lambda: fg.check_gradient(lambda x: 2 * x, squares, X)).endswith(asked)
    assert said(lambda: fg.check_gradient(slopes_of_nest, of_nest, NEST)).endswith(asked)
    assert asked not in said(lambda: fg.check_gradient(squares, lambda x: 2 * x[0], np.ones(1)))


class Sparse:
    """As much of a sparse matrix as is asked for."""

    def toarray(self):
        return 2 * X[np.newaxis]


def test_the_way_out_of_sparse_and_complex_gradients():
    text = said(lambda: fg.check_gradient(squares, lambda x: Sparse(), X))
    assert text.endswith("; pass .toarray().reshape((3,)) of it")
    complex_ones = [
        lambda: fg.check_gradient(squares, lambda x: 2 * x + 0j, X),
        lambda: fg.check_jacobian(np.sin, np.eye(3) + 0j, X),
        lambda: fg.check_vjp(np.sin, lambda x, u: u + 0j, X),
        lambda: fg.check_jvp(np.sin, lambda x, v: v + 0j, X),
    ]
    for check in complex_ones:
        assert said(check, fg.InputTypeError).endswith("complex128; pass its .real, if it is real")


# ----------------------------------------------------------------------------------- values of `f`


@pytest.mark.parametrize("value", [HUGE, [1, HUGE], np.array([1, HUGE], object), {"a": -HUGE}])
@pytest.mark.parametrize(
    "call",
    [
        lambda f: fg.check_jacobian(f, np.eye(3), X),
        lambda f: fg.jacobian(f, X),
        lambda f: fg.estimate(f, X),
    ],
)
def test_integers_beyond_all_floats_are_named(value, call):
    text = said(lambda: call(lambda x: value), fg.InputValueError)
    assert "`f` returned an integer beyond the range of floats as `out" in text


@pytest.mark.parametrize("value", [[1, 2], (1, 2, 3), {"a": 1}, len, object()])
def test_what_f_returned_has_an_article(value):
    text = said(lambda: fg.gradient(lambda x: value, X))
    assert re.match(r"`f` returned an? \w+ at", text), text


@pytest.mark.parametrize("v", [np.ones(4), np.ones((3, 1)), 3.0])
def test_the_wrong_shape_of_a_vector_is_a_wrong_value(v):
    calls = [
        lambda: fg.vjp(lambda x: x, X, v),
        lambda: fg.jvp(lambda x: x, X, v),
        lambda: fg.hvp(squares, X, v),
    ]
    for call in calls:
        assert "must have shape (3,); got" in said(call, fg.InputValueError)


def test_steps_of_the_wrong_shape_are_named_as_the_argument_is():
    text = said(lambda: fg.gradient(squares, X, eps=[1e-3, 1e-3]))
    assert text.startswith("`eps` at `params` must be a number or have shape (3,)")


# ---------------------------------------------------------------------------- arguments called `x`


@pytest.mark.parametrize("x", [[[1.0, 2.0], [3.0]], "a", None, {1.0}])
@pytest.mark.parametrize(
    "call",
    [lambda x: fg.derivative(np.sin, x), lambda x: fg.check_adjoint(np.sin, np.sin, x)],
)
def test_functions_of_x_know_no_params(x, call):
    text = said(lambda: call(x))
    assert text.startswith("`x` ")
    assert "params" not in text
    assert text.count("`x`") - text.count("`x`.astype") == 1


def test_a_value_of_none_is_said_at_x():
    assert "params" not in said(lambda: fg.derivative(lambda t: None, 1.0))


@pytest.mark.parametrize("kind", [object, "U1", "f8,f8"])
def test_the_type_that_an_adjoint_cannot_use_is_named(kind):
    x = np.zeros(2, kind)
    text = said(lambda: fg.check_adjoint(np.sin, np.sin, x), fg.InputTypeError)
    assert text.startswith(f"`x` is an array of shape (2,) and dtype {x.dtype};")


# ------------------------------------------------------------------------- gradients without value


def test_a_gradient_that_is_nan_is_said_to_be_that_of_grad(backend):
    def grad(x):
        return np.array([2 * x[0], np.nan, 2 * x[2]])

    for check in (
        lambda: fg.check_hessian(squares, 2 * np.eye(3), X, grad),
        lambda: fg.check_hvp(squares, lambda x, v: 2 * v, X, grad),
    ):
        assert "`grad` at `params[1]` is nan at the unperturbed parameters" in check().reason


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_none_ends_a_check_of_second_derivatives_at_once(value, backend):
    for check in (
        lambda f: fg.check_hessian(f, np.eye(3), X),
        lambda f: fg.check_hvp(f, lambda x, v: v, X),
    ):
        report = check(lambda x: value)
        assert report.verdict is fg.Verdict.CANNOT_TELL
        assert report.reason.startswith(f"`f` is {value} at the unperturbed parameters")
        assert report.evaluations == 1


# ------------------------------------------------------------------------------ what noise leaves


@pytest.mark.parametrize("scale", [1.0, 3.0, 10.0])
def test_noise_is_said_to_be_more_than_a_gradient_only_where_it_is(scale, backend):
    told = set()
    for n in range(1, 6):
        x = (scale * np.arange(1.0, n + 1)).astype("f2")
        report = fg.check_gradient(squares, 2 * x, x)
        found = re.search(r"([\w\[\]]+): the noise of `f`.*\+/- (\S+), (.+?);", report.reason)
        if found is None:
            continue
        (entry,) = (each for each in report.entries if each.path == found[1])
        more = abs(entry.numeric) <= entry.uncertainty
        assert (found[3] == "more than the gradient itself") == more
        told.add(more)
    assert told


@pytest.mark.parametrize("name", ["params", "a"])
def test_the_place_of_a_container_is_told_whatever_its_name(name):
    def f(p):
        return (p[name]["w"] ** 2).sum()

    with pytest.raises(fg.FastgradError) as caught:
        fg.check_hessian(f, {name: np.eye(2)}, {name: {"w": np.ones(2)}})
    said = f"`hess` must be a dict at `{name}`, like the parameters; got an array of shape (2, 2)"
    assert str(caught.value).startswith(said)
