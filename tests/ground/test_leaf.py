"""One parameter array: complex memory as reals, and the names of entries."""

from __future__ import annotations

import numpy as np
import pytest

from fastgrad._leaf import Leaf, entry_path


@pytest.mark.parametrize(
    ("path", "index", "name"),
    [("W", (3, 2), "W[3, 2]"), ("b", (), "b"), ("layers[1].W", (0,), "layers[1].W[0]"),
     ("x", np.array([4, 5]), "x[4, 5]"), ("x", (np.int64(1),), "x[1]")],
)  # fmt: skip
def test_paths_of_entries(path, index, name):
    assert entry_path(path, index) == name


def test_a_real_array_is_its_own_memory():
    array = np.ones((2, 3))
    leaf = Leaf("W", array)
    assert leaf.real is array
    assert not leaf.is_complex
    assert [leaf.name(entry) for entry in (0, 5)] == ["W[0, 0]", "W[1, 2]"]


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (0,), (2, 0)])
@pytest.mark.parametrize("dtype", ["F", "D", "G"])
def test_a_complex_array_is_seen_as_pairs(shape, dtype):
    leaf = Leaf("z", np.ones(shape, dtype))
    assert leaf.is_complex
    assert leaf.real.shape == (*shape, 2)
    assert leaf.real.size == 2 * leaf.array.size
    assert not leaf.real.size or np.shares_memory(leaf.real, leaf.array)
    if leaf.real.size:
        last = leaf.real.size - 1
        assert leaf.name(last) == entry_path("z", [n - 1 for n in shape]) + ".imag"


def test_entries_of_an_array_that_was_resized_are_named_by_their_leaf():
    leaf = Leaf("W", np.ones(3))
    leaf.array.resize(1, refcheck=False)
    assert leaf.name(2) == "W"
