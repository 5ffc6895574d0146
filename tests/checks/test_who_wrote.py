"""A function that writes into the parameters, or changes their containers, is named, and undone."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import bits

import fastgrad as fg

pytestmark = pytest.mark.usefixtures("backend")


def squares(x):
    return x * x


def energy(x):
    return (x * x).sum()


def slopes(x):
    return 2 * x


def product(x, v):
    return 2 * x * v


def of_hessian(x, v):
    return 2 * v


def step(x, v):
    return x + v


def writing(function):
    """The same function, which writes into its first argument."""

    def writes(x, *more):
        value = function(x, *more)
        x[0] = 0.0
        return value

    return writes


def diagonal(x):
    return np.diag(2 * x)


def constant(x):
    return 2 * np.eye(len(x))


# What is called, and by which name, of each function that takes some of the user's.
CALLS = {
    "gradient": (lambda x, f: fg.gradient(f, x), {"f": energy}),
    "jacobian": (lambda x, f: fg.jacobian(f, x), {"f": squares}),
    "jvp": (lambda x, f: fg.jvp(f, x, np.ones_like(x)), {"f": squares}),
    "vjp": (lambda x, f: fg.vjp(f, x, np.ones_like(x)), {"f": squares}),
    "estimate": (lambda x, f: fg.estimate(f, x), {"f": energy}),
    "propagate": (lambda x, f: fg.propagate(f, x, np.ones(3)), {"f": squares}),
    "sparsity": (lambda x, f: fg.jacobian_sparsity(f, x), {"f": squares}),
    "sparse_jacobian": (lambda x, f: fg.sparse_jacobian(f, x, (0, 0)), {"f": squares}),
    "sparse_hessian": (lambda x, grad: fg.sparse_hessian(grad, x, (0, 0)), {"grad": slopes}),
    "hessian of values": (lambda x, f: fg.hessian(f, x), {"f": energy}),
    "hessian": (lambda x, grad: fg.hessian(energy, x, grad), {"grad": slopes}),
    "hvp of values": (lambda x, f: fg.hvp(f, x, np.ones_like(x)), {"f": energy}),
    "hvp": (lambda x, grad: fg.hvp(energy, x, np.ones_like(x), grad), {"grad": slopes}),
    "check_gradient": (
        lambda x, f, grad: fg.check_gradient(f, grad, x),
        {"f": energy, "grad": slopes},
    ),
    "check_gradient probe": (
        lambda x, f, grad: fg.check_gradient(f, grad, x, strategy="probe"),
        {"f": energy, "grad": slopes},
    ),
    "check_gradient budget": (
        lambda x, f, grad: fg.check_gradient(f, grad, x, budget=900),
        {"f": energy, "grad": slopes},
    ),
    "retraction": (
        lambda x, grad, retraction: fg.check_gradient(energy, grad, x, retraction=retraction),
        {"grad": slopes, "retraction": step},
    ),
    "value and gradient": (
        lambda x, f: fg.check_gradient(f, True, x),
        {"f": lambda x: (energy(x), slopes(x))},
    ),
    "hessian of pairs": (
        lambda x, f: fg.hessian(f, x, True),
        {"f": lambda x: (energy(x), slopes(x))},
    ),
    "check_jacobian": (
        lambda x, f, jac: fg.check_jacobian(f, jac, x),
        {"f": squares, "jac": diagonal},
    ),
    "check_hessian of values": (
        lambda x, f, hess: fg.check_hessian(f, hess, x),
        {"f": energy, "hess": constant},
    ),
    "check_hessian": (
        lambda x, hess, grad: fg.check_hessian(energy, hess, x, grad),
        {"hess": constant, "grad": slopes},
    ),
    "check_jvp": (lambda x, f, jvp: fg.check_jvp(f, jvp, x), {"f": squares, "jvp": product}),
    "check_vjp": (lambda x, f, vjp: fg.check_vjp(f, vjp, x), {"f": squares, "vjp": product}),
    "check_vjp probe": (
        lambda x, f, vjp: fg.check_vjp(f, vjp, x, strategy="probe"),
        {"f": squares, "vjp": product},
    ),
    "check_hvp of values": (
        lambda x, f, hvp: fg.check_hvp(f, hvp, x),
        {"f": energy, "hvp": of_hessian},
    ),
    "check_hvp": (
        lambda x, hvp, grad: fg.check_hvp(energy, hvp, x, grad),
        {"hvp": of_hessian, "grad": slopes},
    ),
}


def in_place(x, v):
    """A retraction that moves the parameters themselves."""
    x += v
    return x


# With so many entries products are judged along tangents.
TALL = {"check_jvp", "check_hvp", "check_hvp of values"}
WRITERS = [
    (call, name, size)
    for call, (_, functions) in CALLS.items()
    for name in functions
    for size in ([3, 40] if call in TALL else [3])
]


# Where `f` wrote, an automatic step may be in doubt as well.
@pytest.mark.filterwarnings("ignore::fastgrad.FastgradWarning")
@pytest.mark.parametrize(("call", "writer", "size"), WRITERS)
def test_the_function_that_wrote_is_named(call, writer, size):
    ask, functions = CALLS[call]
    x = np.linspace(1.0, 3.0, size)
    before = bits(x)
    given = functions | {writer: writing(functions[writer])}
    with pytest.raises(fg.MutationError, match=f"^`{writer}` wrote into its input: `"):
        ask(x, **given)
    assert bits(x) == before


@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
def test_a_retraction_in_place_is_named(strategy):
    x = np.array([0.3, 0.5, 0.7])
    before = bits(x)
    with pytest.raises(fg.MutationError, match=r"^`retraction` wrote into its input: `"):
        fg.check_gradient(energy, slopes, x, strategy=strategy, retraction=in_place)
    assert bits(x) == before


@pytest.mark.parametrize("change", [dict.clear, lambda p: p.pop("b"), lambda p: p.update(b=p["a"])])
@pytest.mark.parametrize("options", [{}, {"rtol": 1e-9, "strategy": "probe"}, {"budget": 50}])
def test_a_gradient_that_takes_an_array_out_of_its_container_is_named(change, options):
    params = {"a": np.ones(3), "b": np.arange(3.0)}
    arrays = dict(params)
    before = {name: bits(array) for name, array in arrays.items()}

    def taking(p):
        found = {name: 2 * array for name, array in p.items()}
        change(p)
        return found

    with pytest.raises(fg.MutationError, match=r"^`grad` replaced `[ab]`, or took it out"):
        fg.check_gradient(lambda p: (p["a"] ** 2 + p["b"] ** 2).sum(), taking, params, **options)
    assert {name: bits(array) for name, array in arrays.items()} == before


def inner_error(call):
    """What a call says on its own."""
    with pytest.raises(fg.FastgradError) as caught:
        call()
    return type(caught.value), str(caught.value)


def refuses_integers():
    fg.check_gradient(energy, slopes, {"params": np.ones(2, int)})


def refuses_a_claim():
    fg.check_jacobian(squares, lambda x: np.ones(7), np.ones(3))


def finds_a_writer():
    fg.gradient(writing(energy), np.ones(3))


def finds_a_large_writer():
    fg.gradient(writing(energy), np.ones(40))


def finds_a_writing_slope():
    fg.hessian(energy, np.ones(3), writing(slopes))


@pytest.mark.parametrize(
    "inner",
    [
        refuses_integers,
        refuses_a_claim,
        finds_a_writer,
        finds_a_large_writer,
        finds_a_writing_slope,
    ],
)
@pytest.mark.parametrize(("call", "caller", "size"), WRITERS)
def test_an_error_of_a_call_inside_is_left_as_it_is(call, caller, size, inner):
    ask, functions = CALLS[call]

    def calling(x, *more):
        inner()
        return functions[caller](x, *more)

    kind, said = inner_error(inner)
    # A check goes on without the values at which `f` raises, and may say so instead.
    found = None
    try:
        ask(np.linspace(1.0, 3.0, size), **functions | {caller: calling})
    except fg.FastgradError as error:
        found = error
    if isinstance(found, (fg.InputTypeError, fg.InputValueError, fg.MutationError)):
        assert (type(found), str(found)) == (kind, said)


@pytest.mark.parametrize("inner", [refuses_integers, finds_a_writer])
def test_an_error_of_a_call_inside_a_derivative_is_left_as_it_is(inner):
    def calling(t):
        inner()
        return t

    kind, said = inner_error(inner)
    with pytest.raises(kind) as caught:
        fg.derivative(calling, 1.0)
    assert str(caught.value) == said


def sum_of_squares(p):
    return sum((array**2).sum() for array in p.values())


def identity(p):
    return {name: {name: 2 * np.eye(array.size)} for name, array in p.items()}


def doubled(p):
    return {name: 2 * array for name, array in p.items()}


@pytest.mark.parametrize("name", ["f", "params", "grad", "jac"])
@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize(
    "call",
    [
        lambda grad, p: fg.hessian(sum_of_squares, p, grad),
        lambda grad, p: fg.hvp(sum_of_squares, p, p, grad),
        lambda grad, p: fg.check_hessian(sum_of_squares, identity, p, grad),
    ],
)
def test_a_leaf_keeps_its_name_in_what_is_said_of_a_function(call, name, replaces):
    def changes(p):
        found = doubled(p)
        if replaces:
            p[name] = p[name].copy()
        else:
            p[name][...] = 0.0
        return found

    with pytest.raises(fg.MutationError) as caught:
        call(changes, {name: np.ones(3)})
    verb = "replaced" if replaces else "wrote into its input:"
    assert str(caught.value).startswith(f"`grad` {verb} `{name}")
