"""Directions: large regions are cut into pieces, and every entry of them is moved."""

import numpy as np
import pytest

import fastgrad as fg
from fastgrad._evaluation.direction import pieces

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
