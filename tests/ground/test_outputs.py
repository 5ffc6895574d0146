"""What a vector-valued `f` returns is one vector of real numbers, or refused by name."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import lay_out, quick

import fastgrad as fg
from fastgrad._outputs import Outputs


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Model:
    flux: Any
    loss: Any


def at(entry):
    return f"x[{entry}]"


def flat(value):
    return Outputs.of(value).flat(value, at, 0)


# ---------------------------------------------------------------- numbers, in order

ONE = [
    (2.5, [2.5]),
    (3, [3.0]),
    (True, [1.0]),
    (np.float32(0.5), [0.5]),
    (1 + 2j, [1.0, 2.0]),
    (Decimal("0.25"), [0.25]),
    (np.array(4.0), [4.0]),
    (np.zeros((0, 3)), []),
    ([1, 2.5], [1.0, 2.5]),
    (((1.0, 2.0), (3.0, 4.0)), [1.0, 2.0, 3.0, 4.0]),
    (np.array([1, 2]), [1.0, 2.0]),
    (np.array([[1.0, 2.0], [3.0, 4.0]], order="F"), [1.0, 2.0, 3.0, 4.0]),
    (np.array([1 + 2j, 3 - 4j], "c8"), [1.0, 2.0, 3.0, -4.0]),
    (np.array([1.0, np.nan, np.inf], "f2"), [1.0, np.nan, np.inf]),
    (np.arange(6.0)[::-2], [5.0, 3.0, 1.0]),
    ({"b": np.ones(2), "a": 3.0}, [1.0, 1.0, 3.0]),
    (Pair([np.zeros(1), None], {"z": 1j}), [0.0, 0.0, 1.0]),
    (Model(np.ones((2, 1)), 5.0), [1.0, 1.0, 5.0]),
    ({}, []),
]


@pytest.mark.parametrize(("value", "numbers"), ONE, ids=lambda v: type(v).__name__)
def test_numbers_in_order(value, numbers):
    outputs = Outputs.of(value)
    found = outputs.flat(value, at, 0)
    assert found.dtype == np.float64
    assert outputs.size == len(numbers)
    np.testing.assert_array_equal(found, numbers)


@pytest.mark.parametrize("layout", ["strided", "swapped", "unaligned", "reversed", "fortran"])
@pytest.mark.parametrize("kind", ["f8", "f4", "f2", "g", "c16", "c8"])
def test_any_layout_and_type(layout, kind):
    values = (np.arange(6.0) + 1).reshape(2, 3).astype(kind)
    assert np.array_equal(flat(lay_out(values, layout)), flat(values))


def test_a_copy_is_returned():
    """As `f` may return its own buffer, or a view of what is about to move."""
    buffer = np.ones(3)
    outputs = Outputs.of(buffer)
    found = outputs.flat(buffer, at, 0)
    buffer[:] = 7.0
    assert found.tolist() == [1.0, 1.0, 1.0]


def test_nothing_warns_beside_the_range():
    value = np.array([np.finfo("g").max, 1], "g")
    with np.errstate(all="raise"):
        assert flat(value)[1] == 1.0


@given(st.recursive(
    st.integers(1, 3).map(lambda n: np.arange(float(n))),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from("abc"), below),
    max_leaves=6,
))  # fmt: skip
@quick(50)
def test_a_tree_of_the_parts_is_what_was_returned(value):
    outputs = Outputs.of(value)
    numbers = outputs.flat(value, at, 0)
    parts = [numbers[leaf.start : leaf.stop].reshape(leaf.shape) for leaf in outputs.leaves]
    np.testing.assert_equal(outputs.tree(parts), value)
    assert len({outputs.name(k) for k in range(outputs.size)}) == outputs.size


# ---------------------------------------------------------------- names


def test_names():
    outputs = Outputs.of(
        {"flux": np.ones(4), "a b": [np.ones((2, 2)), 1.0], "z": np.ones(1, complex)}
    )
    names = [outputs.name(k) for k in range(outputs.size)]
    assert names[3:5] == ["out.flux[3]", "out['a b'][0][0, 0]"]
    assert names[-4:] == ["out['a b'][0][1, 1]", "out['a b'][1]", "out.z[0].real", "out.z[0].imag"]
    assert [leaf.path for leaf in outputs.leaves] == [
        "out.flux",
        "out['a b'][0]",
        "out['a b'][1]",
        "out.z",
    ]
    assert Outputs.of(np.ones(3)).name(2) == "out[2]"
    assert Outputs.of(1.0).name(0) == "out"


# ---------------------------------------------------------------- types of derivatives

TYPES = [
    (np.ones(1), "f4", "f8"),
    (np.ones(1, "f4"), "f8", "f8"),
    (np.ones(1, "f4"), "f4", "f4"),
    (1.0, "f4", "f4"),
    (1, "f2", "f2"),
    (1j, "f4", "c8"),
    (np.ones(1, "c8"), "f8", "c16"),
    (np.ones(1, int), "f4", "f8"),
    (np.ones(1, ">f8"), "f8", "f8"),
]


@pytest.mark.parametrize(("value", "parameter", "expected"), TYPES)
def test_types_of_derivatives(value, parameter, expected):
    (leaf,) = Outputs.of(value).leaves
    assert leaf.derivative_type(np.dtype(parameter)) == np.dtype(expected)


def test_the_coarsest_type_counts():
    assert Outputs.of([np.ones(1), np.ones(1, "f4")]).kind == np.float32
    assert Outputs.of([np.ones(1, "c8"), np.ones(1, "f2")]).kind == np.float16
    for value in (np.ones(1, int), np.ones(1, "g"), 1.0, {}):
        assert Outputs.of(value).kind == np.float64


# ---------------------------------------------------------------- other values than the first

SAME = [
    (np.ones(2), [1.0, 1.0]),
    (np.ones(2), np.ones(2, int)),
    (np.ones(2, "f4"), np.ones(2)),
    (np.ones(2, complex), np.ones(2)),
    (1.0, np.array(1.0)),
    ({"a": 1.0, "b": 2.0}, {"b": 2.0, "a": 1.0}),
    ({"a": 1.0}, OrderedDict(a=1.0)),
    ([np.ones(1), None], (np.ones(1), None)),
]


@pytest.mark.parametrize(("first", "then"), SAME, ids=repr)
def test_the_same_in_another_form(first, then):
    outputs = Outputs.of(first)
    np.testing.assert_array_equal(outputs.flat(then, at, 0), outputs.flat(first, at, 0))


OTHER = [
    (np.ones(2), np.ones(3), r"shape \(3,\) as `out` at x\[7\], and \(2,\) is expected"),
    (np.ones((2, 3)), np.ones((3, 2)), "the shape must not change"),
    (np.ones(2), np.ones(2, complex), "complex128 as `out` at .* complex numbers everywhere"),
    (np.ones(2), np.ones(2, "f4"), "float32 as `out` at .*, and float64 .* mostly rounding"),
    (np.ones(2, int), np.ones(2, "f4"), "mostly rounding"),
    (np.ones(2), None, r"returned None as `out` at x\[7\]"),
    (np.ones(2), "text", "returned a str as `out`"),
    (np.ones(2), {"a": 1.0}, "returned a dict as `out`"),
    ({"a": 1.0}, np.ones(2), "returned an array as `out` at .*, and a dict at"),
    ({"a": 1.0}, [1.0], "structure must not change"),
    ({"a": 1.0}, {"b": 1.0}, r"`out` without `out.a` at x\[7\]"),
    ({"a": 1.0}, {"a": 1.0, "b": 1.0}, r"`out` with `out.b` at x\[7\]"),
    ([np.ones(1)], [np.ones(1)] * 2, r"with `out\[1\]`"),
    ([np.ones(1), None], [np.ones(1)] * 2, r"an array as `out\[1\]` at .*, and None"),
    (Pair(1.0, 2.0), (1.0, 2.0), "returned a tuple as `out` at .*, and a Pair"),
    ({"a": [np.ones(2), 1.0]}, {"a": [np.ones(1), 1.0]}, r"as `out.a\[0\]`"),
]


@pytest.mark.parametrize(("first", "then", "said"), OTHER, ids=lambda v: type(v).__name__)
def test_what_must_not_change_is_named(first, then, said):
    outputs = Outputs.of(first)
    with pytest.raises(fg.FastgradError, match=said):
        outputs.flat(then, at, 7)


# ---------------------------------------------------------------- what is no number


class Sparse:
    def toarray(self):
        return np.ones((2, 2))


BAD = [
    (None, "returned None at the unperturbed parameters; .*did you forget to return them"),
    ("text", "returned a str as `out` at the unperturbed parameters; it must return real"),
    ({1.0}, "returned a set as `out`"),
    (object(), "returned an object as `out`"),
    (np.array([None, 1.0]), r"returned an array of dtype object as `out` .*\(.astype\(float\)\)"),
    (np.array(["a"]), "of dtype <U1"),
    (np.ma.masked, "a masked array as `out`"),
    ({"a": np.ma.ones(2)}, r"a masked array as `out.a` .*\(.filled"),
    ([1.0, "text"], r"returned a str as `out\[1\]`"),
    ([[1.0], [1.0, 2.0]], "it is a ragged list: return arrays"),
    (Sparse(), r"returned a Sparse as `out` .*\(.toarray\(\)\)"),
    (iter([1.0]), "as `out`"),
]


@pytest.mark.parametrize(("value", "said"), BAD, ids=lambda v: type(v).__name__)
def test_what_is_no_number_is_named(value, said):
    with pytest.raises(fg.InputTypeError, match=said):
        Outputs.of(value)


def test_a_nest_without_end():
    nest = {}
    nest["a"] = nest
    with pytest.raises(fg.InputValueError, match="contains itself"):
        Outputs.of(nest)


# ---------------------------------------------------------------- tensors


def test_tensors():
    torch = pytest.importorskip("torch")
    tensor = torch.tensor([[1.0, 2.0]], requires_grad=True)
    outputs = Outputs.of({"a": tensor * 2, "b": torch.tensor(1.0, dtype=torch.float64)})
    assert [leaf.dtype for leaf in outputs.leaves] == [np.float32, np.float64]
    value = {"a": tensor * 3, "b": tensor[0, 0]}
    with pytest.raises(fg.InputTypeError, match=r"float32 as `out.b`"):
        outputs.flat(value, at, 0)
    value["b"] = 5.0
    assert outputs.flat(value, at, 0).tolist() == [3.0, 6.0, 5.0]


# ---------------------------------------------------------------- rows of a batch


def test_rows():
    value = {"a": np.arange(6.0).reshape(3, 2), "z": np.array([1j, 2j, 3j])}
    outputs = Outputs.of(value, rows=3)
    assert [leaf.shape for leaf in outputs.leaves] == [(2,), ()]
    rows = outputs.flat_rows(value, 3, lambda: "a batch")
    assert rows.tolist() == [[0, 1, 0, 1], [2, 3, 0, 2], [4, 5, 0, 3]]
    shorter = {"a": np.ones((1, 2)), "z": np.array([2j])}
    assert outputs.flat_rows(shorter, 1, lambda: "").tolist() == [[1, 1, 0, 2]]
    with pytest.raises(fg.InputValueError, match=r"shape \(2, 2\) as `out.a` at a batch"):
        outputs.flat_rows(value | {"a": np.ones((2, 2))}, 3, lambda: "a batch")
    assert Outputs.of([1.0, 2.0], rows=2).size == 1
    assert Outputs.of(np.ones((2, 0)), rows=2).flat_rows(np.ones((2, 0)), 2, str).shape == (2, 0)
    with pytest.raises(fg.InputValueError, match="a first axis of length 3"):
        Outputs.of(np.ones((2, 3)), rows=3)
