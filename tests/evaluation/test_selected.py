"""Some entries as if they were all: the answers of an evaluator of these entries alone."""

from __future__ import annotations

import numpy as np
import pytest
from evaluators import bits_of, running
from oracle import weigh
from strategies import LAYOUTS, REAL, lay_out, same

import fastgrad as fg
from fastgrad._evaluation.direction import Given, Jumps, OddMultiples, Proportional, Region, Uniform
from fastgrad._evaluation.masks import masks_of
from fastgrad._evaluation.protocol import Along, Displaced, Gradient, Grouped, Single, Steps, Target
from fastgrad._evaluation.selected import Selected, selection_of
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")
NAMES = ("in place", "batched", "executor", "metered, in place")


def params():
    return {
        "W": np.arange(12.0).reshape(3, 4) / 7 - 0.3,
        "b": np.array([1.0, -2.0, 0.25], "f4"),
        "z": np.array([1 - 2j, 0.3 + 5j]),
        "s": np.array(0.5),
        "n": np.array(2.0),
        "all": np.array([3.0, 4.0]),
    }


MASK = {
    "W": np.arange(12).reshape(3, 4) % 3 == 1,
    "b": np.array([True, False, True]),
    "z": np.array([False, True]),
    "s": True,
    "n": False,
    "all": True,
}


class Rest:
    """`weigh` of all parameters, as a function of those that are chosen, in rows."""

    def __call__(self, chosen):
        full = params()
        for key, part in chosen.items():
            full[key][MASK[key]] = part
        return weigh(full)


def chosen():
    return {
        key: value if np.all(MASK[key]) else value[MASK[key]] for key, value in params().items()
    }


def directions(leaves):
    whole = tuple(
        Region(k, tuple(slice(0, n) for n in x.real.shape), x.real.shape)
        for k, x in enumerate(leaves)
        if x.real.size
    )
    part = (Region(0, (slice(1, 3),), leaves[0].real.shape),)
    for regions in (whole, part):
        moves = tuple(np.full(leaves[r.leaf].real[r.box].shape, 0.25) for r in regions)
        yield Uniform(3, 1, regions, (0.5,) * len(regions))
        yield OddMultiples(4, regions, 0.01)
        yield Jumps(5, regions)
        yield Proportional(regions, 0.125)
        yield Given(regions, moves)


@pytest.mark.parametrize("name", NAMES)
def test_answers_are_those_of_an_evaluator_of_these_alone(name, pools):
    tree = params()
    selection = selection_of(MASK, tree, flatten(tree))
    with (
        running(name, weigh, tree, pools) as inner,
        running("in place", Rest(), chosen(), pools) as alone,
    ):
        some = Selected(inner, selection)
        assert some.base() == alone.base()
        for k, leaf in enumerate(alone.leaves):
            entries = np.arange(leaf.real.size, dtype=np.intp)[::-1].copy()
            assert some.leaves[k].real.shape == leaf.real.shape
            for where in (..., entries):
                assert same(some.scale(k, where), alone.scale(k, where))
                assert same(some.read(k, where), alone.read(k, where))
            if not len(entries):
                continue
            single = Single(k, entries, Steps(given=np.linspace(0.1, 0.2, len(entries))))
            starts = np.array([0, 1, len(entries)])[: min(len(entries), 2) + 1]
            group = Grouped(k, entries, starts, Steps(0.1, 0.1))
            for one, other in (
                (some.single(single), alone.single(single)),
                (some.grouped(group), alone.grouped(group)),
            ):
                assert same(one.moved, other.moved)
                assert same(one.values, other.values)
            beside = [Displaced(d, -0.5, single) for d in directions(alone.leaves)]
            for one, other in zip(some.beside(beside), alone.beside(beside), strict=True):
                assert same(one.values, other.values)
            _same_gradients(some, alone, k, leaf)
        _same_walks(some, alone)


def _same_walks(some, alone):
    for direction in directions(alone.leaves):
        claims = [np.ones(alone.leaves[r.leaf].real[r.box].shape) for r in direction.regions]
        for claim in (None, claims):
            one, other = (
                each.along(Along(direction, (1.0, -0.5)), claim) for each in (some, alone)
            )
            assert same(one.values, other.values)
            assert one.claimed == pytest.approx(other.claimed, rel=1e-12)
            assert one.norm == pytest.approx(other.norm, rel=1e-12)
            if claim is not None:
                claimed = some.claimed(Along(direction, (1.0, -0.5)), claim)
                assert (claimed.claimed, claimed.norm) == (one.claimed, one.norm)
        with some.displaced(direction, 2.0) as there, alone.displaced(direction, 2.0) as same_place:
            assert there.base() == same_place.base()
            assert same(there.read(0), same_place.read(0))


def _same_gradients(some, alone, k, leaf):
    n = leaf.real.size
    request = Gradient(k, 0, n, fg.central(), Steps(0.1))
    found = [Target(np.zeros(n + 1), -1) for _ in range(2)]
    some.gradient((request,), found[:1])
    alone.gradient((request,), found[1:])
    assert same(found[0].array, found[1].array)
    assert found[0].array[1:].all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [*REAL, "c16"])
def test_any_array(dtype, layout, pools):
    x = lay_out(np.arange(1.0, 7.0).reshape(2, 3).astype(dtype), layout)
    before, mask = bits_of(x), np.array([[True, False, False], [True, False, True]])
    with running("in place", weigh, x, pools) as inner:
        some = Selected(inner, selection_of(mask, x, flatten(x)))
        leaf = some.leaves[0]
        region = Region(0, tuple(slice(0, n) for n in leaf.real.shape), leaf.real.shape)
        seen = x.copy()

        def f(_):
            seen[...] = x
            return 0.0

        inner._moved = f
        some.along(Along(Given((region,), (np.full(leaf.real.shape, 0.5),)), (1.0,)))
        assert ((seen != np.arange(1.0, 7.0).reshape(2, 3)) == mask).all()
    assert bits_of(x) == before


def test_names_are_those_of_the_array():
    tree = params()
    selection = selection_of(MASK, tree, flatten(tree))
    names = [[leaf.name(k) for k in range(leaf.real.size)] for leaf in selection.leaves]
    assert names == [
        ["W[0, 1]", "W[1, 0]", "W[1, 3]", "W[2, 2]"],
        ["b[0]", "b[2]"],
        ["z[1].real", "z[1].imag"],
        ["s"],
        [],
        ["all[0]", "all[1]"],
    ]
    assert [leaf.path for leaf in selection.leaves][:2] == ["W[where]", "b[where]"]


def test_nothing_is_selected_where_all_is():
    tree = params()
    leaves = flatten(tree)
    assert selection_of(None, tree, leaves) is None
    assert selection_of(True, tree, leaves) is None
    assert selection_of(dict.fromkeys(tree, True), tree, leaves) is None
    assert not any(mask.any() for mask in masks_of(False, tree, leaves))


@pytest.mark.parametrize(
    ("where", "kind", "said"),
    [
        (np.ones(3), fg.InputTypeError, "boolean array.* got an array of shape .3,. of dtype flo"),
        ([True, 0, 2], fg.InputTypeError, "boolean array.* got a list of dtype int64 at `params`"),
        (1, fg.InputTypeError, "boolean array.* got an int at `params`"),
        ({"a": True}, fg.InputTypeError, "boolean array.* got a dict at `params`"),
        ([[True], [True, False]], fg.InputTypeError, "boolean array.* got a list"),
        (
            np.ones(4, bool),
            fg.InputValueError,
            r"must be True, False or have shape \(3,\); got \(4",
        ),
    ],
    ids=["floats", "numbers", "number", "dict", "ragged", "shape"],
)
def test_masks_that_are_none(where, kind, said):
    x = np.ones(3)
    with pytest.raises(kind, match=said):
        masks_of(where, x, flatten(x))
