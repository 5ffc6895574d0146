"""Nested parameters: what is a container, what is a leaf, what its path is called."""

from __future__ import annotations

import re
from collections import OrderedDict, defaultdict, namedtuple
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad._tree import check_places, flatten, pair, unflatten

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


# ---------------------------------------------------------------- what is refused

DEEP = {"layers": [{"W": np.ones(2)}, {"W": None}]}


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
        (1.0, "is a float, not an array; pass arrays such as np.asarray(value, dtype=float)"),
        ("text", "is a str, not an array"),
        (np.float64(1.0), "is a float64, not an array"),
        (MappingProxyType({"a": np.ones(1)}), "is a mappingproxy, not an array"),
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


def test_numbers_and_arrays_mixed():
    with pytest.raises(fg.InputTypeError, match=r"^`params\[0\]` is a float, not an array"):
        fg.gradient(total, [1.0, np.ones(2)])


@pytest.mark.parametrize("ragged", [[[1.0], [1.0, 2.0]], [1.0, [2.0]]], ids=repr)
def test_ragged_lists_of_numbers(ragged):
    with pytest.raises(fg.InputValueError, match=r"^`params` is a ragged list of numbers"):
        fg.gradient(total, ragged)


def test_a_namedtuple_of_numbers_is_not_made_an_array():
    """`f` would ask the array for fields that it does not have."""
    with pytest.raises(fg.InputTypeError, match=r"^`W` is a float, not an array"):
        fg.gradient(lambda p: p.W + p.b, Layer(1.0, 2.0))


def test_containers_that_contain_themselves():
    loop = [np.ones(1)]
    loop.append({"again": loop})
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(total, loop)
    said = "`params[1].again` contains itself; parameters must be a finite nest"
    assert str(caught.value) == said
    numbers = [1.0]
    numbers.append(numbers)
    with pytest.raises(fg.FastgradError):
        fg.gradient(total, numbers)


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
