"""Values where a check asks for them; the parameters back in place afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import LAYOUTS, lay_out

from fastgrad._evaluation.blocks import lengths
from fastgrad._evaluation.sampling import Sampler
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


def nested():
    return {"a": np.array([[1.0, -2.0], [3.0, 0.5]]), "z": np.array([1 - 2j]), "s": np.array(4.0)}


def cost(p):
    return float((p["a"] ** 2).sum() + np.abs(p["z"][0]) ** 2 + p["s"])


def sampler_of(params, f=cost):
    leaves = flatten(params)
    return Sampler(f, params, leaves), leaves


def test_base_and_count():
    sampler, _ = sampler_of(nested())
    assert sampler.base() == sampler.base() == cost(nested())
    assert sampler.evaluations == 2


def test_beside_moves_one_entry_to_both_sides():
    sampler, leaves = sampler_of(nested())
    raw = sampler.beside(leaves[0], np.array([1, 3]), np.array([0.5, 0.25]))
    base = cost(nested())
    assert raw.tolist() == [
        [[0.5, base + 1.5**2 - 4], [-0.5, base + 2.5**2 - 4]],
        [[0.25, base + 0.75**2 - 0.25], [-0.25, base + 0.25**2 - 0.25]],
    ]
    assert sampler.evaluations == 4


def test_beside_visits_real_and_imaginary_parts():
    sampler, leaves = sampler_of(nested())
    raw = sampler.beside(leaves[1], np.array([0, 1]), np.array([1.0, 1.0]))
    assert (raw[:, 0, 1] - raw[:, 1, 1]).tolist() == [4.0, -8.0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "g"])
def test_beside_tells_the_displacement_really_made(layout, dtype):
    x = lay_out(np.array([[0.1, 3.0], [-70.0, 1e-3]], dtype), layout)
    sampler, (leaf,) = sampler_of(x, lambda x: float(x.sum(dtype="g")))
    raw = sampler.beside(leaf, np.arange(4), np.full(4, 0.03))
    moved = (np.asarray(x, "g") + np.array([0.03], dtype)[0]).astype(dtype)
    assert raw[:, 0, 0] == pytest.approx((moved - x).ravel().astype(float), rel=1e-2)
    assert (raw[:, 0, 1] - raw[:, 1, 1]) == pytest.approx(raw[:, 0, 0] - raw[:, 1, 0], rel=1e-3)


def test_along_moves_all_leaves():
    params = nested()
    sampler, leaves = sampler_of(params)
    moves = [np.ones(leaf.real.shape) for leaf in leaves]
    values = sampler.along(moves, (0.0, 1.0))
    expected = {"a": params["a"] + 1, "z": params["z"] + 1 + 1j, "s": params["s"] + 1}
    assert list(values) == [cost(params), cost(expected)]
    assert params["a"].tolist() == nested()["a"].tolist()


def test_gradient_elsewhere():
    params = nested()
    sampler, leaves = sampler_of(params)
    moves = [np.ones(leaf.real.shape) for leaf in leaves]
    picks = [(0, np.array([0, 3]), np.full(2, 1e-3)), (2, np.array([0]), np.full(1, 1e-3))]
    there = sampler.gradient_at(moves, 2.0, picks)
    assert there == pytest.approx([2 * 3.0, 2 * 2.5, 1.0], rel=1e-9)


@pytest.mark.parametrize("how", ["along", "gradient_at", "beside"])
def test_parameters_come_back_when_f_raises(how):
    def fails(p):
        if any((p[k] != nested()[k]).any() for k in p):
            raise KeyboardInterrupt
        return 1.0

    params = nested()
    sampler, leaves = sampler_of(params, fails)
    moves = [np.full(leaf.real.shape, 0.1) for leaf in leaves]
    entries = np.array([0]), np.array([0.1])
    calls = {
        "along": lambda: sampler.along(moves, (1.0,)),
        "gradient_at": lambda: sampler.gradient_at(moves, 1.0, [(0, *entries)]),
        "beside": lambda: sampler.beside(leaves[0], *entries),
    }
    with pytest.raises(KeyboardInterrupt):
        calls[how]()
    assert all(params[key].tobytes() == nested()[key].tobytes() for key in params)


def test_lengths_are_at_least_one_and_finite():
    (leaf,) = flatten(np.array([0.0, -3.0, 1e-9, np.inf, np.nan, 1e300]))
    assert lengths(leaf).tolist() == [1, 3, 1, 1, 1, 1e300]
