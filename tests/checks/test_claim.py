"""What is taken as an analytic gradient, and what is refused: path, constraint, value, way out."""

from __future__ import annotations

import copy
from collections import ChainMap, UserDict, namedtuple
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastgrad as fg
from fastgrad import InputTypeError, InputValueError, MutationError, Verdict
from fastgrad._checks.claim import NotRepeatable, analytic, repeated
from fastgrad._tree import as_params, flatten

pytestmark = pytest.mark.usefixtures("backend")


def cube(x):
    return float((x**3).sum())


def cube_gradient(x):
    return 3 * x**2


def point():
    return np.array([1.0, -2.0, 0.5])


def nested():
    return {"layers": [{"W": np.ones((2, 3)), "b": np.zeros(2)}], "scale": np.array(2.0)}


def nested_cost(p):
    return float(p["scale"] * ((p["layers"][0]["W"].sum(axis=1) + p["layers"][0]["b"]) ** 2).sum())


def nested_gradient(p):
    W, b, s = p["layers"][0]["W"], p["layers"][0]["b"], p["scale"]
    out = 2 * s * (W.sum(axis=1) + b)
    return {
        "layers": [{"W": np.repeat(out[:, None], 3, axis=1), "b": out}],
        "scale": np.array(((W.sum(axis=1) + b) ** 2).sum()),
    }


def said(error):
    return " ".join(str(error.value).split())


# -------------------------------------------------------------------------------------- accepted


def test_function_array_pair_and_true():
    def pair(x):
        return (cube(x), cube_gradient(x))

    for f, grad in (
        (cube, cube_gradient),
        (cube, cube_gradient(point())),
        (cube, pair),
        (pair, True),
    ):
        assert fg.check_gradient(f, grad, point())


def test_nested_structure_and_numbers_for_scalar_leaves():
    assert fg.check_gradient(nested_cost, nested_gradient, nested())
    assert fg.check_gradient(nested_cost, nested_gradient(nested()), nested())
    assert fg.check_gradient(lambda x: x**2, 6.0, 3.0)
    assert fg.check_gradient(lambda x: x**2, lambda x: 6, 3.0)


def test_tuple_of_two_parameters_is_no_pair_of_value_and_gradient():
    def f(p):
        return float((p[0] ** 2).sum() + p[1].sum())

    assert fg.check_gradient(f, lambda p: (2 * p[0], np.ones(2)), (point(), np.ones(2)))


def test_namedtuple_gradient():
    Pair = namedtuple("Pair", "a b")

    def f(p):
        return float((p.a**2).sum() + p.b.sum())

    p = Pair(point(), np.ones(2))
    assert fg.check_gradient(f, lambda p: Pair(2 * p.a, np.ones(2)), p)


def test_gradient_in_another_layout_or_a_coarser_type():
    def f(x):
        return float((np.sin(x) * [[1, 2], [3, 4], [5, 6]]).sum())

    x = np.linspace(0, 1, 6).reshape(3, 2)
    g = np.cos(x) * [[1, 2], [3, 4], [5, 6]]
    for other in (np.asfortranarray(g), g.astype("f4"), g.astype("g"), g.astype(">f8")):
        assert fg.check_gradient(f, other, x)
    assert not fg.check_gradient(f, g * (1 + 1e-5), x)


def test_integer_gradient():
    assert fg.check_gradient(lambda x: float(x @ [1.0, -3.0]), np.array([1, -3]), np.ones(2))


def test_complex_leaf_has_both_parts_judged():
    z = np.array([1 + 2j, -0.5j])

    def f(z):
        return float((np.abs(z) ** 2).sum())

    assert fg.check_gradient(f, lambda z: 2 * z, z)
    report = fg.check_gradient(f, lambda z: 2 * z.conj(), z)
    assert {entry.path for entry in report.wrong} == {"params[0].imag", "params[1].imag"}


@pytest.mark.parametrize("kind", [list, tuple])
def test_numbers_in_lists_for_an_array(kind):
    assert fg.check_gradient(cube, lambda x: kind(3 * each**2 for each in x), point())
    assert fg.check_gradient(cube, kind(3 * point() ** 2), point())
    assert fg.check_gradient(cube, kind([3, 12, 0.75]), point())
    assert not fg.check_gradient(cube, kind([3, 12, 0.8]), point())
    matrix = np.arange(6.0).reshape(2, 3)
    rows = kind(kind(2 * row) for row in matrix)
    assert fg.check_gradient(lambda x: float((x**2).sum()), rows, matrix)
    assert fg.check_gradient(lambda z: float((np.abs(z) ** 2).sum()), kind([2j, 4.0]), [1j, 2.0])


def product(p):
    return float(p[0] * p[1])


TWO = {
    "numbers": (product, lambda p: (p[1], p[0]), (2.0, 3.0)),
    "array of two": (product, lambda x: (x[1], 3.0), np.array([3.0, 2.0])),
    "0-d arrays": (product, lambda p: (p[1], p[0]), [np.array(2.0), np.array(3.0)]),
    "list of arrays": (
        lambda p: float((p[0] ** 2).sum() + p[1].sum()),
        lambda p: (2 * p[0], np.ones(2)),
        [point(), np.ones(2)],
    ),
    "arrays of one": (lambda p: (p[0] * p[1]).sum(), lambda p: (p[1], p[0]),
                      [np.array([2.0]), np.array([3.0])]),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
def test_two_things_that_fit_are_the_gradient_and_else_value_and_gradient(name):
    f, grad, params = TWO[name]

    def doubled(p):
        return tuple(2 * each + 1 for each in grad(p))

    assert fg.check_gradient(f, grad, params)
    assert fg.check_gradient(f, lambda p: (f(p), grad(p)), params)
    assert fg.check_gradient(lambda p: (f(p), grad(p)), True, params)
    for wrong in (doubled, lambda p: (f(p), doubled(p))):
        assert fg.check_gradient(f, wrong, params).verdict is Verdict.WRONG
    off = fg.check_gradient(f, lambda p: (f(p) + 1, grad(p)), params)
    assert "two different functions" in off.reason


def test_value_may_come_as_an_array_of_one_number():
    for value in (np.float32, np.array, lambda v: np.array([v])):
        assert fg.check_gradient(
            lambda x: float(x @ [1.0, 2.0, 4.0]),
            lambda x, value=value: (value(float(x @ [1.0, 2.0, 4.0])), np.array([1.0, 2.0, 4.0])),
            point(),
        )


def test_a_gradient_that_is_the_parameters_is_copied():
    """As x is that of x @ x / 2; what is copied does not move with the parameters."""
    assert fg.check_gradient(lambda x: float(x @ x) / 2, lambda x: x, point())
    assert fg.check_gradient(lambda x: float(x @ x[::-1]) / 2, lambda x: x[::-1], point())
    assert not fg.check_gradient(lambda x: float(x @ x), lambda x: x, point())
    assert fg.check_gradient(lambda x: (float(x @ x) / 2, x), True, point())
    params = [np.ones(3), point()]
    assert fg.check_gradient(lambda p: float(p[0] @ p[1]), lambda p: (p[1], p[0]), params)


@pytest.mark.parametrize("kind", [MappingProxyType, ChainMap, UserDict, lambda d: ChainMap({}, d)])
def test_gradient_in_any_mapping(kind):
    params = {"a": point(), "b": np.array(3.0)}

    def f(p):
        return cube(p["a"]) + float(p["b"] ** 2)

    grad = {"a": cube_gradient(point()), "b": 6.0}
    assert fg.check_gradient(f, kind(grad), params)
    assert fg.check_gradient(f, lambda p: kind(grad), params)
    with pytest.raises(InputValueError, match="lacks `b`"):
        fg.check_gradient(f, kind({"a": grad["a"]}), params)


@pytest.mark.parametrize("budget", [None, 1, 3, 12, 15, 40])
@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
def test_the_call_that_gives_the_gradient_is_counted(budget, strategy):
    calls = []

    def f(x):
        calls.append(1)
        return cube(x), cube_gradient(x)

    report = fg.check_gradient(f, True, point(), budget=budget, strategy=strategy)
    assert report.evaluations == len(calls) <= (budget or 1000)


def test_buffer_shared_with_f_is_copied_before_f_runs_again():
    buffer = np.empty(3)

    def grad(x):
        buffer[:] = 3 * x**2
        return buffer

    def f(x):
        buffer[:] = x**3
        return buffer.sum()

    assert fg.check_gradient(f, grad, point())
    assert not fg.check_gradient(f, lambda x: 1.1 * grad(x), point())


def test_f_that_returns_its_own_reused_buffer():
    buffer = np.empty(1)

    def f(x):
        buffer[0] = cube(x)
        return buffer

    assert fg.check_gradient(f, cube_gradient, point())


# --------------------------------------------------------------------------------------- refused


class Unreadable:
    """A tensor that requires a gradient, or one of a type that NumPy does not know."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad")


REFUSED = {
    "none": (None, InputTypeError, "got None"),
    "false": (False, InputTypeError, "got False"),
    "returns_none": (lambda x: None, InputTypeError, "got None"),
    "text": (lambda x: "large", InputTypeError, "got"),
    "column": (lambda x: np.ones((3, 1)), InputValueError, "must have shape (3,); got (3, 1)"),
    "longer": (lambda x: np.ones(4), InputValueError, "must have shape (3,); got (4,)"),
    "zero_d": (lambda x: np.array(1.0), InputValueError, "nothing is broadcast"),
    "number": (lambda x: 1.0, InputTypeError, "an array of shape (3,)"),
    "longer list": (lambda x: [1.0, 2.0, 3.0, 4.0], InputValueError, "(3,); got (4,)"),
    "column of lists": (lambda x: [[1.0], [2.0], [3.0]], InputValueError, "(3,); got (3, 1)"),
    "ragged": (lambda x: [1.0, [2.0], 3.0], InputValueError, "got a list that makes no array"),
    "texts": (lambda x: ["1", "2", "3"], InputTypeError, "must hold real numbers"),
    "flags": (lambda x: [True, False, True], InputTypeError, "dtype bool"),
    "empty": (lambda x: (), InputValueError, "(3,); got (0,)"),
    "masked": (lambda x: np.ma.masked_array(x, [0, 1, 0]), InputTypeError, "a masked array"),
    "unreadable": (lambda x: Unreadable(), InputTypeError, "pass .detach().numpy()"),
    "jacobian": (lambda x: np.ones((4, 3)), InputValueError, "`f` must return one real number"),
    "pair of a wrong gradient": (lambda x: (1.0, np.ones(4)), InputValueError, "got (4,)"),
    "pair without a number": (lambda x: (np.ones(2), np.ones(3)), InputValueError, "no array"),
    "object": (lambda x: np.array([1, 2, None]), InputTypeError, "dtype object"),
    "complex": (lambda x: np.ones(3) + 1j, InputTypeError, "must hold real numbers"),
    "boolean": (lambda x: np.ones(3, bool), InputTypeError, "dtype bool"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    grad, kind, words = REFUSED[name]
    with pytest.raises(kind) as error:
        fg.check_gradient(cube, grad, point())
    assert "grad" in said(error)
    assert words in said(error)


def spoilt(change):
    g = nested_gradient(nested())
    change(g)
    return g


def set_leaf(key, value):
    return lambda g: g["layers"][0].__setitem__(key, value)


NESTED = {
    "shape": (set_leaf("W", np.ones((3, 2))), "layers[0].W", "(2, 3); got (3, 2)"),
    "transposed": (set_leaf("b", np.ones((2, 1))), "layers[0].b", "(2,); got (2, 1)"),
    "none": (set_leaf("b", None), "layers[0].b", "None"),
    "longer list": (set_leaf("b", [1.0, 2.0, 3.0]), "layers[0].b", "(2,); got (3,)"),
    "text": (set_leaf("b", "bias"), "layers[0].b", "got a str"),
    "missing": (lambda g: g["layers"][0].pop("b"), "layers[0]", "b"),
    "extra": (set_leaf("c", np.ones(2)), "layers[0]", "c"),
    "shorter": (lambda g: g["layers"].pop(), "layers", "0"),
}


@pytest.mark.parametrize("name", NESTED)
def test_refused_inside_a_structure(name):
    change, path, words = NESTED[name]
    with pytest.raises((InputTypeError, InputValueError)) as error:
        fg.check_gradient(nested_cost, spoilt(change), nested())
    assert f"`{path}`" in said(error)
    assert words in said(error)


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
def test_an_array_that_is_the_parameters_is_copied(strategy):
    x = point()
    assert fg.check_gradient(lambda x: float(x @ x) / 2, x, x, strategy=strategy)
    assert not fg.check_gradient(lambda x: float(x @ x) / 2, x[::-1], x, strategy=strategy)
    p = {"a": point(), "b": 2 * point()}
    swapped = {"a": p["b"], "b": p["a"]}
    assert fg.check_gradient(
        lambda p: float((p["a"] * p["b"]).sum()), swapped, p, strategy=strategy
    )
    assert not fg.check_gradient(lambda p: float((p["a"] * p["b"]).sum()), p, p, strategy=strategy)


# ------------------------------------------------------------------------------ called twice


def claim_of(grad, params, f=None):
    argument = as_params(params)
    leaves = flatten(argument)
    claim = analytic(f, grad, argument, leaves)
    return repeated(claim, f, grad, argument, leaves)


def in_turn(*gradients):
    """A function that returns one after the other, in the same memory, and the last for ever."""
    left = list(gradients)
    memory = copy.deepcopy(gradients[0])

    def grad(params):
        now = left.pop(0) if len(left) > 1 else left[0]
        for mine, theirs in zip(flatten(memory), flatten(now), strict=True):
            mine.array[...] = theirs.array
        return memory

    return grad


def tree_of(*arrays):
    return {f"p{k}": np.array(array) for k, array in enumerate(arrays)}


def scaled(tree, *factors):
    return {
        name: np.asarray(tree[name] * factor) for name, factor in zip(tree, factors, strict=True)
    }


def test_a_gradient_that_repeats_itself():
    tree = tree_of([1.0, np.nan, np.inf], 2.0)
    claim = claim_of(in_turn(tree), tree_of(np.ones(3), 1.0))
    assert claim.trouble is None
    assert claim.eps == claim_of(tree, tree_of(np.ones(3), 1.0)).eps


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "c16"])
@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_a_gradient_that_adds_to_its_last_result(dtype, before, scale):
    scale = 1.0 if dtype == "f2" else scale
    once = np.array([1.25, -0.3, 0.0, 4.0], dtype) * np.dtype(dtype).type(scale)
    kept = np.zeros_like(once)
    for _ in range(before):
        kept += once

    def grad(x):
        nonlocal kept
        kept += once
        return kept

    params = np.ones(4, "c16" if dtype == "c16" else "f8")
    claim = claim_of(grad, params)
    assert claim.trouble.kind is NotRepeatable.ACCUMULATES
    assert f"gave {(before + 2) / (before + 1):.4g} times" in claim.trouble.sentence
    assert np.allclose(claim.column.view(params.dtype), (before + 1) * once, rtol=1e-2)


def test_one_array_that_is_not_set_to_zero():
    params = tree_of(np.ones(3), np.ones(2))
    right = tree_of([1.0, 2.0, 3.0], [4.0, 5.0])
    claim = claim_of(in_turn(right, scaled(right, 1.0, 2.0)), params)
    assert claim.trouble.kind is NotRepeatable.ACCUMULATES
    assert "2 times what it gave at the first in `p1`: it adds" in claim.trouble.sentence
    assert claim.eps == (np.finfo(float).eps, 1.0)


@pytest.mark.parametrize("factors", [(1.0, 1.37), (1.37, 1.0), (0.5, 0.5), (-1, -1), (2.0, 1.5)])
def test_a_gradient_that_is_not_repeatable(factors):
    params = tree_of(np.ones(3), 1.0)
    right = tree_of([1.0, 2.0, 3.0], 4.0)
    claim = claim_of(in_turn(right, scaled(right, *factors)), params)
    assert claim.trouble.kind is NotRepeatable.CHANGES
    for name, factor in zip(right, factors, strict=True):
        named = f"`{name}`" in claim.trouble.sentence
        assert named == (factor != 1 and 1 in factors)


@pytest.mark.parametrize("second", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_always_finite(second):
    right = np.array([1.0, 2.0])
    for pair in ([right, [1.0, second]], [[1.0, second], right], [[1.0, np.inf], [1.0, -np.inf]]):
        claim = claim_of(in_turn(*map(np.array, pair)), np.ones(2))
        assert claim.trouble.kind is NotRepeatable.CHANGES


@given(st.integers(0, 2**32), st.sampled_from([1e-3, 0.1, 1.0]))
def test_randomness_is_no_sum(seed, size):
    rng = np.random.default_rng(seed)
    claim = claim_of(lambda x: 1 + size * rng.normal(size=3), np.ones(3))
    assert claim.trouble is None or claim.trouble.kind is NotRepeatable.CHANGES
    if claim.trouble is None:
        # Of the larger one of both gradients it is a thousandth.
        assert claim.eps[0] <= 1e-3 / (1 - 1e-3)


@pytest.mark.parametrize("off", [1e-16, 1e-9, 1e-4])
def test_rounding_goes_into_the_error_bar(off):
    right = tree_of([1.0, 2.0, 3.0], 0.0)
    other = tree_of([1.0, 2.0 * (1 + off), 3.0], 1e-16)
    claim = claim_of(in_turn(right, other), tree_of(np.ones(3), 1.0))
    assert claim.trouble is None
    eps = np.finfo(float).eps
    assert claim.eps == (max(eps, abs(2 * (1 + off) - 2) / 3), eps)


def test_a_gradient_for_one_call():
    left = [cube_gradient(point())]

    def grad(x):
        if not left:
            raise RuntimeError("backward through the graph a second time")
        return left.pop()

    claim = claim_of(grad, point())
    assert claim.trouble.kind is NotRepeatable.RAISES
    assert "RuntimeError: backward through the graph a second time" in claim.trouble.sentence
    assert (claim.column == cube_gradient(point())).all()


def test_the_second_gradient_is_looked_at_as_well():
    two = [cube_gradient(point()), np.ones(4)]
    with pytest.raises(InputValueError, match="must have shape"):
        fg.check_gradient(cube, lambda x: two.pop(0), point())

    def writes_late(x, calls=[]):  # noqa: B006
        calls.append(1)
        x[1] += len(calls) - 1
        return cube_gradient(x)

    x = point()
    with pytest.raises(MutationError, match=r"`grad` wrote .* `params\[1\]`"):
        fg.check_gradient(cube, writes_late, x)
    assert np.array_equal(x, point())


ORDERS = {
    "f, params, grad": (cube, point(), cube_gradient),
    "params, f, grad": (point(), cube, cube_gradient),
    "params, grad, f": (point(), cube_gradient, cube),
    "f, nested, grad": (nested_cost, nested(), nested_gradient),
    "long, f, grad": ({f"layer{k}": np.ones((8, 8)) for k in range(40)}, cube, cube_gradient),
}


@pytest.mark.parametrize("order", ORDERS)
def test_arguments_in_the_order_of_another_library(order):
    with pytest.raises(InputTypeError, match="the order of the arguments is f, grad, params") as e:
        fg.check_gradient(*ORDERS[order])
    assert len(said(e)) < 200


def test_parameters_that_can_be_called_are_no_function():
    @dataclass
    class Line:
        slope: np.ndarray

        def __call__(self, x):
            return self.slope * x

    params = Line(np.array([1.0, 2.0]))
    assert fg.check_gradient(lambda p: p(3.0).sum(), lambda p: Line(np.full(2, 3.0)), params)


def test_a_function_among_the_parameters_is_not_the_order():
    with pytest.raises(InputTypeError, match="`act` is a function, not an array; leave it out"):
        fg.check_gradient(lambda p: 0.0, lambda p: p, {"W": np.ones(2), "act": cube})


def test_true_wants_a_pair():
    with pytest.raises(InputTypeError, match=r"must return the pair \(value, gradient\)"):
        fg.check_gradient(cube, True, point())


@pytest.mark.parametrize("f", [None, 3.0, "cube", np.ones(3)])
def test_objective_that_is_none(f):
    with pytest.raises(InputTypeError, match="`f` must be callable"):
        fg.check_gradient(f, cube_gradient, point())


@pytest.mark.parametrize("value", [None, "1", 1j, np.ones(2), [1.0, 2.0], {}])
def test_value_that_is_no_real_number(value):
    with pytest.raises(InputTypeError):
        fg.check_gradient(lambda x: value, cube_gradient, point())


def test_forgotten_return_is_guessed():
    with pytest.raises(InputTypeError, match="did you forget to return the loss"):
        fg.check_gradient(lambda x: None, cube_gradient, point())


# ----------------------------------------------------------------------------- caught in the act


@pytest.mark.parametrize("who", ["f", "grad"])
def test_input_mutation_is_named_and_undone(who):
    def writes(x):
        x[1] += 1e-3
        return cube(x) if who == "f" else cube_gradient(x)

    functions = {"f": cube, "grad": cube_gradient, who: writes}
    x = point()
    with pytest.raises(MutationError, match=rf"`{who}`.*params\[1\]"):
        fg.check_gradient(functions["f"], functions["grad"], x)
    assert np.array_equal(x, point())


def test_input_mutation_from_a_late_call_on():
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) > 10:
            x *= 0.5
        return cube(x)

    x = point()
    with pytest.raises(MutationError):
        fg.check_gradient(f, cube_gradient, x)
    assert np.array_equal(x, point())


def test_exception_in_f_is_an_edge_of_its_domain_and_bits_come_back():
    def f(x):
        if x[2] != 0.5:
            raise ZeroDivisionError("on the way")
        return cube(x)

    x = point()
    report = fg.check_gradient(f, cube_gradient, x)
    assert report.verdict is Verdict.CANNOT_TELL
    assert [entry.verdict for entry in report.entries][2] is Verdict.CANNOT_TELL
    assert np.array_equal(x, point())


def test_exception_in_f_at_the_parameters_passes_through():
    def f(x):
        raise ZeroDivisionError("at once")

    for strategy in ("exhaustive", "probe"):
        with pytest.raises(ZeroDivisionError, match="at once"):
            fg.check_gradient(f, cube_gradient, point(), strategy=strategy)


@pytest.mark.parametrize("error", [1e-3, -1.0, 1e6])
def test_value_that_comes_with_the_gradient_is_compared(error):
    report = fg.check_gradient(cube, lambda x: (cube(x) + error, cube_gradient(x)), point())
    assert report.verdict is Verdict.CANNOT_TELL
    assert "is not that of `f`" in report.reason
    assert "two different functions" in report.reason


def test_value_may_differ_by_rounding():
    def value(x):
        return cube(x) * (1 + 4e-16)

    assert fg.check_gradient(cube, lambda x: (value(x), cube_gradient(x)), point())


def test_wrong_pair_with_true_is_wrong():
    report = fg.check_gradient(lambda x: (cube(x), 2 * x), True, point())
    assert report.verdict is Verdict.WRONG
