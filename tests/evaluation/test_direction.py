"""Directions: the pieces that they are drawn in cover an array, of whatever shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad._evaluation.direction import pieces

# Rows beyond a piece, many rows in one piece, and axes of one entry before, between and after.
LARGE = [(200, 300), (3, 60_000), (1, 3, 60_000), (2, 3, 1, 20_000), (50_000, 1), (40, 40, 40)]


@given(st.sampled_from(LARGE).flatmap(st.permutations) | st.lists(st.integers(1, 60), max_size=3))
@quick(60)
def test_pieces_cover_an_array_once_and_name_every_axis(shape):
    seen = np.zeros(tuple(shape), np.int8)
    for piece in pieces(seen.shape):
        assert len(piece) == seen.ndim
        seen[piece] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("shape", LARGE, ids=str)
def test_a_large_leaf_of_any_shape_is_probed(shape, backend):
    x = np.linspace(1.0, 2.0, int(np.prod(shape))).reshape(shape)
    wrong = 2 * x
    wrong.flat[x.size // 2] += 1.0
    report = fg.check_gradient(lambda x: float((x**2).sum()), 2 * x, x, strategy="probe")
    assert report.verdict is fg.Verdict.RIGHT
    report = fg.check_gradient(lambda x: float((x**2).sum()), wrong, x, strategy="probe")
    assert [e.index for e in report.wrong] == [np.unravel_index(x.size // 2, shape)]
