"""Random directions: the same bits whoever draws them, and nothing that they favor."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import on, quick

import fastgrad as fg
from fastgrad import _backend, _reference
from fastgrad._evaluation.direction import (
    UNIT,
    Given,
    Jumps,
    OddMultiples,
    Proportional,
    Region,
    Uniform,
    key_of,
    pieces,
)
from fastgrad._evaluation.weighted import Weighted

pytestmark = pytest.mark.usefixtures("backend")


def whole(shape):
    return tuple(slice(0, n) for n in shape)


def drawn(shape, box=None, seed=0, turn=0, leaf=0, without=()):
    """The moves in a box of a leaf, in units of its entries' lengths."""
    box = whole(shape) if box is None else box
    direction = Uniform(seed, turn, (Region(leaf, box, shape),), (1.0,), without)
    # Exact: the entries are zeros, and the moves integers.
    before = np.zeros([side.stop - side.start for side in box])
    moved = before.copy()
    direction.mover(0, before, _backend.kernel)(moved, 1 / UNIT, None)
    return moved.astype(np.int16)


@st.composite
def boxes(draw, shape=None):
    """A shape, and two boxes in it, which may be empty."""
    shape = tuple(draw(st.lists(st.integers(1, 9), max_size=4))) if shape is None else shape
    found = []
    for _ in range(2):
        ends = [sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))) for n in shape]
        found.append(tuple(slice(*each) for each in ends))
    return shape, *found


@given(boxes(), st.integers(0, 2**70), st.integers(0, 9), st.integers(0, 9))
@quick(200)
def test_a_box_is_drawn_as_the_slice_of_its_leaf_by_either_kernel(drawing, seed, turn, leaf):
    shape, box, _ = drawing
    which = {"seed": seed, "turn": turn, "leaf": leaf}
    found = drawn(shape, box, **which)
    assert found.dtype == np.int16
    assert np.array_equal(found, drawn(shape, **which)[(*box, ...)])
    assert np.array_equal(found, on("pure", lambda: drawn(shape, box, **which)))


@given(boxes(), st.data())
@quick(100)
def test_single_entries_are_the_same_moves(drawing, data):
    shape, box, hole = drawing
    holes = (hole, data.draw(boxes(shape))[1])
    direction = Uniform(0, 0, (Region(0, box, shape),), (1.0,), holes)
    entries = np.arange(math.prod(shape))
    assert np.array_equal(direction.at(0, entries), drawn(shape, without=holes).ravel())


@given(boxes(), st.data())
@quick(100)
def test_boxes_that_are_left_out_do_not_move(drawing, data):
    shape, box, hole = drawing
    holes = (hole, *data.draw(boxes(shape))[1:])
    mask = np.zeros(shape, bool)
    for each in holes:
        mask[(*each, ...)] = True
    found = drawn(shape, box, without=holes)
    assert np.array_equal(found == 0, mask[(*box, ...)])
    assert np.array_equal(found[found != 0], drawn(shape, box)[found != 0])


@pytest.mark.parametrize("start", [0, 1, 2, 3, 2**40 + 1])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 11])
def test_kernels_draw_the_same_bits_from_any_entry_on(start, size):
    found = []
    for kernel in (_backend.kernel, _reference):
        out = np.zeros((3, size), np.int16)
        kernel.draw(out, key_of(5, 6, 7), start, 13)
        found.append(out)
    assert np.array_equal(*found)


@pytest.mark.parametrize("size", [1, 3, 4, 255, 256, 257, 70_001])
def test_factors_are_those_of_the_integers_that_are_drawn(size):
    found = []
    for kernel in (_backend.kernel, _reference):
        out = np.zeros(size, np.int8)
        kernel.draw_factors(out, key_of(5, 6, 7))
        found.append(out)
    assert np.array_equal(*found)
    wide = drawn((size,), seed=5, turn=6, leaf=7).astype(int)
    assert np.array_equal(found[0], np.sign(wide) * 2 ** (np.abs(wide) % 3))


def test_magnitudes_lie_between_a_half_and_one_and_a_half():
    moves = UNIT * drawn((300, 500))
    sizes = np.abs(moves)
    assert 0.5 <= sizes.min() < 0.501
    assert 1.499 < sizes.max() < 1.5
    assert abs(sizes.mean() - 1.0) < 0.01
    assert len(np.unique(moves)) > 30_000
    assert abs((moves > 0).mean() - 0.5) < 0.01


def test_neither_signs_nor_magnitudes_favor_anything_anywhere():
    """Of n independent draws a mean or a correlation is within 5 / sqrt(n), but once in 10^6."""
    n = 2**16
    vectors = [
        (np.sign(each), (np.abs(each.astype(float)) * UNIT - 1) * math.sqrt(12))
        for each in (
            drawn((n,), seed=seed, turn=turn, leaf=leaf)
            for seed, turn, leaf in itertools.product((0, 1, 2**64), (0, 1), (0, 1))
        )
    ]
    columns = np.array([column for pair in vectors for column in pair])
    assert (np.abs(columns.mean(axis=1)) < 5 / math.sqrt(n)).all()
    related = columns @ columns.T / n - np.eye(len(columns))
    assert np.abs(related).max() < 5 / math.sqrt(n)
    for lag in (1, 2, 3, 4):  # four entries come from one word
        assert np.abs((columns[:, lag:] * columns[:, :-lag]).mean(axis=1)).max() < 5 / math.sqrt(n)


@pytest.mark.parametrize(
    "make",
    [
        lambda regions: Uniform(2**70, 3, regions, (1.0, 0.5), (whole((9, 9)),)),
        lambda regions: OddMultiples(1, regions, 2.0**-40, same_sign=True),
        lambda regions: Jumps(1, regions),
        lambda regions: Proportional(regions, 0.01),
    ],
)
def test_a_direction_is_sent_in_a_few_hundred_bytes(make):
    """However large what it moves: it is drawn where the parameters are."""
    regions = tuple(Region(k, whole((10**4, 10**4)), (10**4, 10**4)) for k in range(2))
    direction = make(regions)
    sent = pickle.dumps(direction)
    assert len(sent) < 800
    assert pickle.loads(sent) == direction


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "g", ">f8"])
@pytest.mark.parametrize("kind", ["uniform", "powers", "jumps", "own", "given"])
def test_moves_are_even_in_time_and_of_the_size_that_is_said(kind, dtype):
    before = np.array([[0.5, -3.0, 0.25], [7.0, -0.125, 1.0]]).astype(dtype)
    regions = (Region(0, whole(before.shape), before.shape),)
    width = 2.0**-5
    directions = {
        "uniform": Uniform(0, 0, regions, (width,)),
        "powers": OddMultiples(0, regions, width),
        "jumps": Jumps(0, regions),
        "own": Proportional(regions, width),
        "given": Given(regions, (np.full(before.shape, width),)),
    }
    length = np.maximum(1.0, np.abs(before.astype(float)))
    low, high = {
        "uniform": (0.5 * width, 1.5 * width),
        "powers": (width / 4, 4 * width),
        "jumps": (0.5, 2.0),
        "own": (0.0, width),
        "given": (width / 7, width),
    }[kind]
    move = directions[kind].mover(0, before.copy(), _backend.kernel_for(before))
    ahead, behind = np.empty_like(before), np.empty_like(before)
    move(ahead, 1.0, None)
    move(behind, -1.0, None)
    moved, back = ahead.astype(float) - before, behind.astype(float) - before
    np.testing.assert_allclose(moved, -back, atol=float(np.finfo(before.dtype).eps) * 16)
    assert (np.abs(moved) / length >= 0.98 * low).all()
    assert (np.abs(moved) / length <= 1.02 * high).all()


def test_what_a_claim_says_of_a_move_is_of_the_move_really_made():
    before = np.array([1.0, -2.0, 0.5, 1e4], "f4")
    claim = np.array([1.0, 10.0, 100.0, 1000.0])
    target = np.empty_like(before)
    direction = Uniform(0, 0, (Region(0, whole((4,)), (4,)),), (1e-4,))
    rise, square = direction.mover(0, before, _backend.kernel)(target, 1.0, claim)
    terms = (target.astype(float) - before) * claim
    assert rise == pytest.approx(terms.sum(), rel=1e-12)
    assert square == pytest.approx((terms**2).sum(), rel=1e-12)


@pytest.mark.parametrize(
    "shape", [(), (1,), (5,), (100_000,), (3, 50_000), (2, 3, 40_000), (300, 200)]
)
def test_pieces_cover_an_array_once(shape):
    seen = np.zeros(shape, dtype=int)
    for piece in pieces(shape):
        assert seen[piece].size <= 40_000
        seen[piece] += 1
    assert (seen == 1).all()


# ---------------------------------------------------------------- arrays that are cut

LARGE = 2**15  # entries beyond which a region is moved in pieces
SHAPES = [
    (),
    (0,),
    (5,),
    (3, 4),
    (LARGE + 1,),
    (300, 1000),
    (2, LARGE + 3),
    (1, 3, 2 * LARGE),
    (7, 1, 900, 50),
    (40_000, 2),
]


@pytest.mark.parametrize("shape", SHAPES)
def test_pieces_are_boxes_that_cover_an_array_once(shape):
    seen = np.zeros(shape)
    for piece in pieces(shape):
        assert len(piece) == len(shape)
        part = seen[(*piece, ...)]
        assert part.size <= LARGE
        part += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape not in ((), (0,))])
def test_arrays_of_any_shape_can_be_probed(shape, backend):
    x = np.linspace(-1.0, 1.0, int(np.prod(shape))).reshape(shape)
    before = x.tobytes()

    def f(x):
        return 0.5 * float((x**2).sum())

    assert fg.check_gradient(f, x.copy(), x, strategy="probe")
    wrong = x.copy()
    wrong.flat[-1] += 1.0
    report = fg.check_gradient(f, wrong, x, strategy="probe")
    assert [entry.index for entry in report.wrong] == [tuple(n - 1 for n in shape)]
    assert x.tobytes() == before


@given(boxes(), st.integers(1, 4), st.integers(0, 2**30), st.booleans())
@quick(150)
def test_weighted_parts_move_as_regions_of_their_own(drawing, count, seed, with_hole):
    shape, box, hole = drawing
    x = np.random.default_rng(seed).normal(size=shape)
    claim = np.random.default_rng(seed + 1).normal(size=shape)[(*box, ...)]
    axis = seed % max(len(shape), 1)
    if shape:
        side = box[axis]
        edges = np.linspace(side.start, side.stop, count + 1).astype(int).tolist()
        parts = [(*box[:axis], slice(a, b), *box[axis + 1 :]) for a, b in itertools.pairwise(edges)]
    else:
        parts = [box]
    weights = np.linspace(-1.0, 0.7, len(parts)).tolist()
    inner = Uniform(seed, 1, (Region(0, box, shape),), (0.5,), (hole,) if with_hole else ())
    region, kernel = x[(*box, ...)], _backend.kernel_for(x)
    moved = region.copy()
    mover = Weighted(inner, tuple(parts), tuple(weights)).mover(0, region.copy(), kernel)
    rise, square = mover(moved, 1e-3, claim)
    expected = x.copy()
    for part, weight in zip(parts, weights, strict=True):
        one = Uniform(seed, 1, (Region(0, part, shape),), (0.5 * weight,), inner.without)
        one.mover(0, x[(*part, ...)].copy(), kernel)(expected[(*part, ...)], 1e-3, None)
    assert np.array_equal(moved, expected[(*box, ...)])
    terms = (moved - region) * claim
    assert rise == pytest.approx(float(terms.sum()), abs=1e-12)
    assert square == pytest.approx(float((terms**2).sum()), abs=1e-12)
    assert np.array_equal(x[(*box, ...)], region)
