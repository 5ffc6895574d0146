"""Nested parameters: what is a container, what is a leaf, what its path is called."""

from __future__ import annotations

import re
from array import array as buffer
from collections import ChainMap, OrderedDict, UserDict, defaultdict, deque, namedtuple
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad._tree import as_params, check_places, flatten, pair, pair_flat, unflatten

pytestmark = pytest.mark.usefixtures("backend")
Layer = namedtuple("Layer", "W b")


@dataclass
class Plain:
    W: np.ndarray
    b: np.ndarray | None = None
    cache: list = field(default_factory=list)


@dataclass(frozen=True)
class Frozen:
    W: np.ndarray
    b: np.ndarray

    def __post_init__(self):
        if not hasattr(self.W, "shape"):
            raise TypeError("W must be an array")


@dataclass(frozen=True, slots=True)
class Slotted:
    W: np.ndarray
    b: np.ndarray


@dataclass(slots=True)
class Loose:
    W: np.ndarray
    b: np.ndarray


def ab():
    return np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([5.0, 6.0], dtype=np.float32)


def make(kind):
    W, b = ab()
    return {
        "dict": {"W": W, "b": b},
        "list": [W, b],
        "tuple": (W, b),
        "namedtuple": Layer(W, b),
        "dataclass": Plain(W, b),
        "frozen": Frozen(W, b),
        "slots": Slotted(W, b),
        "loose slots": Loose(W, b),
        "OrderedDict": OrderedDict(W=W, b=b),
        "defaultdict": defaultdict(list, W=W, b=b),
        "nested": {"W": [W], "rest": ({"b": b, "none": None},)},
    }[kind]


KINDS = ("dict", "list", "tuple", "namedtuple", "dataclass", "frozen", "slots", "loose slots",
         "OrderedDict", "defaultdict", "nested")  # fmt: skip


def total(params):
    return float(sum((leaf.array.astype(float) ** 2).sum() for leaf in flatten(params)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_result_has_the_structure_of_the_parameters(kind):
    params = make(kind)
    g = fg.gradient(total, params)
    assert type(g) is type(params)
    for leaf, array in pair(params, g, "g"):
        assert array.dtype == leaf.array.dtype
        assert array.shape == leaf.array.shape
        assert not np.shares_memory(array, leaf.array)
        np.testing.assert_allclose(array, 2 * leaf.array, rtol=2e-3)


def test_a_defaultdict_keeps_its_factory_and_an_ordered_dict_its_order():
    assert fg.gradient(total, make("defaultdict")).default_factory is list
    params = OrderedDict(z=np.ones(1), a=np.ones(1))
    assert list(fg.gradient(total, params)) == ["z", "a"]


def test_none_stands_for_no_parameter():
    g = fg.gradient(total, {"W": np.ones(2), "b": None, "more": [None]})
    assert g["b"] is None
    assert g["more"] == [None]


@pytest.mark.parametrize(
    ("params", "paths"),
    [
        (np.ones(1), ["params"]),
        ([np.ones(1)], ["params[0]"]),
        ({"W": np.ones(1)}, ["W"]),
        ({"layers": [{"W": np.ones(1)}, {"W": np.ones(1)}]}, ["layers[0].W", "layers[1].W"]),
        ({3: np.ones(1), (1, 2): np.ones(1)}, ["params[3]", "params[(1, 2)]"]),
        ({"not a name": {"W": np.ones(1)}}, ["params['not a name'].W"]),
        ([Layer(np.ones(1), np.ones(1))], ["params[0].W", "params[0].b"]),
        (Plain(np.ones(1), None, [np.ones(1)]), ["W", "cache[0]"]),
        ((((np.ones(1),),),), ["params[0][0][0]"]),
    ],
)
def test_paths(params, paths):
    assert [leaf.path for leaf in flatten(params)] == paths


def test_names_of_entries():
    leaf, plain = flatten([np.ones((2, 3), complex), np.ones(())])
    assert leaf.name(0) == "params[0][0, 0].real"
    assert leaf.name(11) == "params[0][1, 2].imag"
    assert plain.name(0) == "params[1]"


nests = st.recursive(
    st.none() | st.builds(lambda n: np.full(n, 1.5), st.integers(0, 2)),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.text("ab'. 0", max_size=2) | st.integers(0, 3), children, max_size=3)
        | st.tuples(children, children).map(lambda pair: Layer(*pair))
        | st.builds(Loose, children, children)
    ),
    max_leaves=6,
)
nests = nests.filter(lambda nest: nest is not None)  # None alone holds no parameters: see below


@given(nests)
@quick(80)
def test_flatten_and_rebuild_are_inverse(params):
    leaves = flatten(params)
    again = unflatten(params, iter([leaf.array for leaf in leaves]))
    pairs = list(pair(params, again, "again"))
    assert [leaf.path for leaf, _ in pairs] == [leaf.path for leaf in leaves]
    assert all(leaf.array is array for leaf, array in pairs)
    check_places(params, leaves)


@given(nests)
@quick(40)
def test_gradients_of_any_nest(params):
    g = fg.gradient(total, params)
    for _, array in pair(params, g, "g"):
        np.testing.assert_allclose(array, np.full(array.shape, 3.0), rtol=1e-7)


@dataclass
class Slopes:
    W: np.ndarray
    b: np.ndarray


OTHERS = (
    Layer, namedtuple("Grads", "b W"), namedtuple("Plenty", "W b c"), Frozen, Slopes, dict,
    UserDict, MappingProxyType, list, tuple,
)  # fmt: skip


def holding(kind, W, b):
    """A container of a kind, in the order of its own fields."""
    if kind in (list, tuple):
        return kind([W, b])
    named = {"W": W, "b": b} | ({"c": b} if "c" in getattr(kind, "_fields", ()) else {})
    return kind(named) if issubclass(kind, Mapping) or kind is MappingProxyType else kind(**named)


@pytest.mark.parametrize("theirs", OTHERS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("mine", [Layer, Frozen, dict, tuple], ids=lambda kind: kind.__name__)
def test_a_gradient_in_another_container_is_taken_where_it_fits_exactly(mine, theirs):
    """By the names, where both have names, and a namedtuple's parts by their order as well."""
    W, b = np.arange(1.0, 7.0).reshape(2, 3), np.array([0.5, -2.0])
    params = [holding(mine, W, b)]

    def f(p):
        return float(sum((leaf.array**3).sum() for leaf in flatten(p)))

    def checked(factor):
        return fg.check_gradient(f, [holding(theirs, 3 * W**2, factor * 3 * b**2)], params)

    ordered = (list, tuple, Layer)
    fits = theirs in ordered and mine in ordered
    fits = fits or (mine is not tuple and theirs not in (list, tuple) and theirs is not OTHERS[2])
    if not fits:
        with pytest.raises((fg.InputTypeError, fg.InputValueError), match=r"^`grad` (must|at)"):
            checked(1.0)
        return
    assert checked(1.0)
    (finding,) = checked(2.0).causes
    assert finding.kind is fg.Cause.FACTOR
    assert "b" in finding.sentence or mine is tuple


def test_what_does_not_fit_a_container_with_names_says_what_would():
    for params in (Layer(np.ones(2), np.ones(1)), Frozen(np.ones(2), np.ones(1))):
        for other, got in (((1.0,), "a tuple of 1"), ([1.0] * 3, "a list of 3"), (1.0, "a float")):
            with pytest.raises(fg.InputTypeError, match=f"or a dict of its fields at.*{got}"):
                fg.check_gradient(total, other, params)


# ---------------------------------------------------------------- what is refused

DEEP = {"layers": [{"W": np.ones(2)}, {"W": None}]}


class Module:
    """Of torch's, as far as it is looked at."""

    def __call__(self, x):
        return x

    def named_parameters(self):
        return iter([("W", Tensor())])


class Tensor:
    """What PyTorch's tensors have."""

    def detach(self):
        return self


flat = st.lists(st.sampled_from("abcd"), unique=True, min_size=1, max_size=3).flatmap(
    lambda names: st.sampled_from(
        [
            {name: np.ones(len(names)) for name in names},
            [np.zeros(2) for _ in names],
            tuple(np.zeros(()) for _ in names),
            OrderedDict((name, np.ones(1)) for name in names),
            dict.fromkeys(names),
            {name: [np.ones(1)] for name in names},
            [np.ones(2), 3.0],
            np.ones(3),
        ]
    )
)


@given(flat, flat)
@quick(200)
def test_what_is_seen_at_a_glance_is_what_a_closer_look_sees(params, other):
    seen = pair_flat(params, other)
    if seen is None:
        return
    closer = list(pair(params, other, "grad"))
    assert [id(array) for array, _ in seen] == [id(leaf.array) for leaf, _ in closer]
    assert [id(part) for _, part in seen] == [id(part) for _, part in closer]


def test_a_glance_is_enough_for_the_commonest_nests():
    x, y = np.ones(2), np.zeros(3)
    assert pair_flat({"a": x, "b": y}, {"b": 2, "a": 1}) == [(x, 1), (y, 2)]
    assert pair_flat([x, y], [1, 2]) == [(x, 1), (y, 2)]
    assert pair_flat((x,), (1,)) == [(x, 1)]


def deep(leaf):
    return {"layers": [{"W": np.ones(2)}, {"W": leaf}]}


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (np.arange(3), "has dtype int64, which cannot hold a small step; "
                       "use `layers[1].W`.astype(float)"),
        (np.array([True]), "has dtype bool"),
        (np.array([1.0, None]), "has dtype object"),
        (np.array(["a"]), "has dtype <U1"),
        (np.zeros(2, "m8[s]"), "has dtype timedelta64"),
        (np.zeros(2, "f8,f8"), "has dtype [('f0'"),
        (np.ma.masked_array([1.0, 2.0], [0, 1]), "is a masked array; pass its .data, or .compr"),
        (Decimal(1), "is a Decimal, not an array; pass arrays such as np.asarray(value, dtype=f"),
        ("text", "is a str, not an array; leave it out: `f` can read it elsewhere"),
        (True, "is a bool, not an array; leave it out"),
        (len, "is a builtin_function_or_method, not an array; leave it out"),
        (total, "is a function, not an array; leave it out"),
        (Module(), "is a Module, not an array; pass {n: p.detach().numpy() for n, p in "),
        (iter([np.ones(2)]), "is a list_iterator, not an array; pass list(`layers[1].W`)"),
        (Tensor(), "is a Tensor, not an array; pass `layers[1].W`.detach().numpy(), which shares"),
        ({1.0, 2.0}, "is a set, not an array"),
        (Plain, "is a type, not an array"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_leaves_that_cannot_be_moved(leaf, said):
    with pytest.raises(fg.InputTypeError) as caught:
        fg.gradient(total, deep(leaf))
    assert str(caught.value).startswith(f"`layers[1].W` {said}")


@pytest.mark.filterwarnings("ignore:the matrix subclass")
def test_np_matrix():
    with pytest.raises(fg.InputTypeError) as caught:
        fg.gradient(total, deep(np.matrix([[1.0]])))
    assert str(caught.value) == "`layers[1].W` is an np.matrix; pass np.asarray(`layers[1].W`)"


@pytest.mark.parametrize("params", ["text", b"bytes", {1.0}, object, np.arange(3)], ids=repr)
def test_parameters_that_are_no_arrays(params):
    with pytest.raises(fg.InputTypeError, match=r"^`params` (is a|has dtype)"):
        fg.gradient(total, params)


ODD = (
    None, "text", b"bytes", {1.0, 2.0}, (x for x in (1.0, 2.0)), np.sin, total, object, object(),
    range(3), slice(3), ..., np, bytearray(b"ab"), buffer("d", [1.0]), {"a": 1.0}.values(),
    deque([1.0]), np.array(["2026"], "M8[Y]"), np.array([1.0, None], object),
)  # fmt: skip
ON_PARAMS = {
    "gradient": lambda p: fg.gradient(total, p),
    "jacobian": lambda p: fg.jacobian(total, p),
    "hessian": lambda p: fg.hessian(total, p),
    "jvp": lambda p: fg.jvp(total, p, p),
    "vjp": lambda p: fg.vjp(total, p, 1.0),
    "hvp": lambda p: fg.hvp(total, p, p),
    "estimate": lambda p: fg.estimate(total, p),
    "derivative": lambda p: fg.derivative(total, p),
    "sparse_jacobian": lambda p: fg.sparse_jacobian(total, p, np.ones((1, 1))),
    "jacobian_sparsity": lambda p: fg.jacobian_sparsity(total, p),
    "propagate": lambda p: fg.propagate(total, p, np.eye(1)),
    "check_gradient": lambda p: fg.check_gradient(total, total, p),
    "check_jacobian": lambda p: fg.check_jacobian(total, total, p),
    "check_hessian": lambda p: fg.check_hessian(total, total, p, total),
    "check_jvp": lambda p: fg.check_jvp(total, total, p),
    "check_vjp": lambda p: fg.check_vjp(total, total, p),
    "check_hvp": lambda p: fg.check_hvp(total, total, p, total),
    "assert_gradient": lambda p: fg.testing.assert_gradient(total, total, p),
}


@pytest.mark.parametrize("name", ON_PARAMS)
def test_what_holds_no_parameters_is_named_by_every_function(name):
    for params in ODD:
        # An array of numbers is made of what can be one, by some that take one array alone.
        with pytest.raises(fg.InputTypeError, match=r"^`(params|x|f)` ") as caught:
            ON_PARAMS[name](params)
        assert not re.search("an array, not an array|at 0x", str(caught.value))


def test_what_holds_no_parameters_has_a_way_out_that_works():
    ways = {
        "np.asarray(value, dtype=float)": lambda each: np.asarray(each, dtype=float),
        "sorted(`params`)": sorted,
        "list(`params`)": list,
    }
    followed = set()
    for params in (range(3), deque([1.0]), buffer("d", [1.0]), Decimal(1), bytearray(b"ab"),
                   {2.0, 1.0}, frozenset([1.0]), {"a": 1.0}.values(), {1.0: 2}.keys(),
                   (x for x in (1.0, 2.0)), memoryview(np.ones(2))):  # fmt: skip
        with pytest.raises(fg.InputTypeError) as caught:
            fg.gradient(total, params)
        (way,) = (way for way in ways if way in str(caught.value))
        followed.add(way)
        fg.gradient(total, ways[way](params))
    assert followed == set(ways)


FOLLOWED = {
    "use `params`.astype(float)": lambda x: x.astype(float),
    "pass list(`params`), a list of arrays": list,
    "pass its fields as arrays, such as {name: `params`[name].copy()}": lambda x: {
        name: x[name].copy() for name in x.dtype.names
    },
}


@pytest.mark.parametrize(
    "array",
    [np.arange(3), np.array([True]), np.array([1, 2.0], object), np.zeros(2, "m8[s]"),
     np.array([np.ones(2), np.ones(3)], object), np.zeros(2, "f8,f8"),
     np.zeros(3, [("mean", float), ("scale", "f4")])],
    ids=lambda array: str(array.dtype),
)  # fmt: skip
def test_the_way_out_works_when_it_is_followed(array):
    with pytest.raises(fg.InputTypeError) as caught:
        fg.gradient(total, array)
    way = str(caught.value).partition("step; ")[2]
    fg.gradient(total, FOLLOWED[way](array))


def weighed(p):
    return float(p["w"][0] * p["lam"] ** 2 + 3 * p["w"][1] + p["rest"][0] * p["rest"][1])


NUMBERS = (2.0, 2, np.float64(2), np.float32(2), np.int64(2), np.longdouble(2))


@pytest.mark.parametrize("lam", NUMBERS, ids=lambda lam: type(lam).__name__)
@pytest.mark.parametrize("w", [[3.0, 4.0], (3, 4), np.array([3.0, 4.0])], ids=repr)
def test_numbers_and_lists_of_them_stand_for_arrays(lam, w):
    params = {"w": w, "lam": lam, "rest": [5.0, 7.0]}
    kept = {"w": w, "lam": lam, "rest": [5.0, 7.0]}
    g = fg.gradient(weighed, params)
    assert list(g) == ["w", "lam", "rest"]
    near = 1e-3 if isinstance(lam, np.float32) else 1e-8
    np.testing.assert_allclose(g["w"], [4.0, 3.0], rtol=near)
    np.testing.assert_allclose(g["lam"], 12.0, rtol=near)
    np.testing.assert_allclose(g["rest"], [7.0, 5.0], rtol=near)
    assert fg.check_gradient(weighed, g, params, strategy="exhaustive").verdict.name != "WRONG"
    for key, value in kept.items():
        assert type(params[key]) is type(value)
        np.testing.assert_array_equal(params[key], value)


@pytest.mark.parametrize(
    "params",
    [[1.5, np.ones(2)], {"a": 1.5, "b": np.ones(2)}, Layer(1.5, np.ones(2)),
     Plain(1.5, np.ones(2)), ChainMap({"a": 1.5}, {"b": np.ones(2)}),
     {"deep": [{"a": 1.5}, None, ([1, 2], np.ones(2))]}],
    ids=lambda params: type(params).__name__,
)  # fmt: skip
def test_numbers_beside_arrays_in_any_container(params):
    """`f` gets arrays in place of numbers, and the very arrays that were passed beside them."""
    arrays = [leaf.array for leaf in flatten(as_params(params))]
    assert all(isinstance(array, np.ndarray) for array in arrays)
    given = [node for node in _nodes(params) if isinstance(node, np.ndarray)]
    assert all(any(array is each for array in arrays) for each in given)
    g = fg.gradient(total, params)
    for leaf, slope in zip(flatten(as_params(params)), flatten(g), strict=True):
        assert leaf.path == slope.path
        np.testing.assert_allclose(slope.array, 2 * leaf.array, rtol=1e-8)


def _nodes(node):
    yield node
    if isinstance(node, (list, tuple)):
        children = node
    elif isinstance(node, Mapping):
        children = node.values()
    else:
        children = vars(node).values() if isinstance(node, Plain) else ()
    for child in children:
        yield from _nodes(child)


def test_a_tree_without_numbers_is_not_copied():
    for kind in KINDS:
        params = make(kind)
        assert as_params(params) is params


@pytest.mark.parametrize("kind", [MappingProxyType, ChainMap, UserDict])
def test_parameters_in_any_mapping(kind):
    params = kind({"W": np.ones(2), "b": np.array(2.0)})
    g = fg.gradient(total, params)
    np.testing.assert_allclose(g["W"], 2.0)
    np.testing.assert_allclose(g["b"], 4.0)
    assert fg.check_gradient(total, g, params, strategy="exhaustive").verdict.name != "WRONG"


@pytest.mark.parametrize("ragged", [[[1.0], [1.0, 2.0]], [1.0, [2.0]]], ids=repr)
def test_ragged_lists_of_numbers(ragged):
    with pytest.raises(fg.InputValueError, match=r"^`params` is a ragged list of numbers"):
        fg.gradient(total, ragged)


def test_a_namedtuple_of_numbers_keeps_its_fields():
    """`f` would ask an array for fields that it does not have."""
    g = fg.gradient(lambda p: p.W**2 + 3 * p.b, Layer(1.0, 2.0))
    assert isinstance(g, Layer)
    np.testing.assert_allclose([g.W, g.b], [2.0, 3.0])


def test_containers_that_contain_themselves():
    loop = [np.ones(1)]
    loop.append({"again": loop})
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(total, loop)
    said = "`params[1].again` contains itself; parameters must be a finite nest"
    assert str(caught.value) == said
    numbers = [1.0]
    numbers.append(numbers)
    keyed = {"a": 1.0}
    keyed["again"] = [keyed]
    for endless in (numbers, keyed):
        with pytest.raises(fg.InputValueError, match="contains itself"):
            fg.gradient(total, endless)


# ---------------------------------------------------------------- `out` and `eps` must match


@pytest.mark.parametrize("kind", KINDS)
def test_out_and_eps_of_the_same_structure(kind):
    params, out = make(kind), make(kind)
    eps = unflatten(params, (np.full(leaf.array.shape, 1e-2) for leaf in flatten(params)))
    assert fg.gradient(total, params, out=out, eps=eps) is out
    for leaf, array in pair(params, out, "out"):
        np.testing.assert_allclose(array, 2 * leaf.array, rtol=2e-3)


def test_eps_may_hold_one_number_per_leaf():
    x = {"a": np.ones(2), "b": np.ones(3)}
    g = fg.gradient(
        lambda p: float((p["a"] ** 2).sum() + (p["b"] ** 2).sum()),
        x,
        eps={"a": 0.5, "b": 0.25},
        method="forward",
    )
    np.testing.assert_array_equal(g["a"], 2.5)
    np.testing.assert_array_equal(g["b"], 2.25)


@pytest.mark.parametrize("name", ["out", "eps"])
@pytest.mark.parametrize(
    ("other", "error", "said"),
    [
        ({"a": np.ones(1)}, fg.InputValueError, "lacks `b`"),
        ({"a": np.ones(1), "b": [np.ones(1)], "c": 1}, fg.InputValueError, "has `c`, unknown to"),
        ({"a": np.ones(1), "c": 1}, fg.InputValueError, "lacks `b` and has `c`, unknown"),
        ({"a": np.ones(1), "b": []}, fg.InputValueError, "at `b`: it lacks `b[0]`"),
        ({"a": np.ones(1), "b": {}}, fg.InputTypeError, "must be a list at `b`, like the param"),
        ({"a": np.ones(1), "b": np.ones(1)}, fg.InputTypeError, "got an array of shape (1,)"),
        ([np.ones(1), np.ones(1)], fg.InputTypeError, "must be a dict at `params`"),
        (np.ones(1), fg.InputTypeError, "must be a dict at `params`"),
    ],
)
def test_structures_that_do_not_match(name, other, error, said):
    params = {"a": np.ones(1), "b": [np.ones(1)]}
    with pytest.raises(error, match=f"^`{name}` .*{re.escape(said)}"):
        fg.gradient(total, params, **{name: other})


@pytest.mark.parametrize("name", ["out", "eps"])
def test_a_value_where_there_is_no_parameter(name):
    with pytest.raises(fg.InputTypeError, match=f"`{name}` holds a value for `b`, which is None"):
        fg.gradient(total, {"a": np.ones(1), "b": None}, **{name: {"a": np.ones(1), "b": 1.0}})


def test_lists_and_tuples_count_as_one_kind():
    out = (np.zeros(2), np.zeros(1))
    assert fg.gradient(total, [np.ones(2), np.ones(1)], out=out) is out
    np.testing.assert_allclose(out[0], 2.0, rtol=1e-8)


# ---------------------------------------------------------------- `f` that changes its containers


def test_a_leaf_replaced_by_f_is_named():
    """Later calls would not see it move, and its derivative would come out as zero."""
    params = {"layers": [np.ones(2)], "b": np.ones(1)}
    w = params["layers"][0]

    def normalise(p):
        p["layers"][0] = p["layers"][0] / 2
        return float(p["layers"][0].sum())

    with pytest.raises(fg.MutationError, match=r"^`f` replaced `layers\[0\]`, or took it out"):
        fg.gradient(normalise, params)
    np.testing.assert_array_equal(w, 1.0)


@pytest.mark.parametrize("change", [dict.clear, lambda p: p.pop("a"), lambda p: p.update(a=1)])
def test_entries_taken_out_by_f(change):
    params = {"a": np.ones(2), "b": np.ones(3)}
    a = params["a"]
    calls = []

    def f(p):
        calls.append(1)
        if len(calls) == 3:
            change(p)
        return 1.0

    with pytest.raises(fg.MutationError, match=r"^`f` replaced `a`"):
        fg.gradient(f, params)
    np.testing.assert_array_equal(a, 1.0)


def test_a_list_emptied_by_f_frees_nothing_that_is_still_moved():
    params = [np.ones(3) for _ in range(50)]
    with pytest.raises(fg.MutationError, match=r"^`f` replaced `params\[0\]`"):
        fg.gradient(lambda p: p.clear() or 1.0, params)


def test_a_cache_that_f_keeps_in_its_parameters_is_harmless():
    params = {"a": np.ones(2)}

    def f(p):
        p["cache"] = p["a"] * 2
        return float(p["cache"].sum())

    g = fg.gradient(f, params)
    assert list(g) == ["a"]
    np.testing.assert_allclose(g["a"], 2.0)


def test_entries_put_back_by_f_are_fine():
    params = {"a": np.ones(2)}

    def f(p):
        a = p.pop("a")
        p["a"] = a
        return float(a.sum())

    np.testing.assert_allclose(fg.gradient(f, params)["a"], 1.0)
