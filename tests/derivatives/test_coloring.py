"""Colors of columns and of vertices: proper, few, and the same from both backends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import on, quick

import fastgrad as fg
from fastgrad import _backend
from fastgrad._derivatives.coloring import color_vertices, number_of
from fastgrad._derivatives.pattern import Pattern, pattern_of

sparse = pytest.importorskip("scipy.sparse")
numdiff = pytest.importorskip("scipy.optimize._numdiff")

pytestmark = pytest.mark.usefixtures("backend")


def drawn(seed, m, n, density):
    return np.random.default_rng(seed).random((m, n)) < density


patterns = st.builds(
    drawn,
    st.integers(0, 99),
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from([0, 0.03, 0.3, 1]),
)


def assert_proper(mask, colors):
    """No two columns of one color share a row."""
    assert colors.shape == mask.shape[1:]
    assert np.array_equal(np.unique(colors), np.arange(colors.max() + 1))
    for color in range(colors.max() + 1):
        assert mask[:, colors == color].sum(axis=1).max() <= 1


@given(patterns)
@quick(60)
def test_no_two_columns_of_one_color_share_a_row(mask):
    colors = fg.color_columns(mask)
    assert_proper(mask, colors)
    assert colors.max() + 1 >= mask.sum(axis=1).max()


@given(patterns)
@quick(60)
def test_backends_agree(mask):
    square = mask[: min(mask.shape), : min(mask.shape)]
    for color in (
        lambda: fg.color_columns(mask),
        lambda: color_vertices(pattern_of(square | square.T)),
    ):
        compiled, pure = on("compiled", color), on("pure", color)
        assert compiled.dtype == pure.dtype == np.intp
        assert np.array_equal(compiled, pure)


@given(patterns)
@quick(60)
def test_each_entry_of_a_symmetric_pattern_is_alone_in_one_of_its_places(mask):
    square = mask[: min(mask.shape), : min(mask.shape)]
    square = square | square.T
    colors = color_vertices(pattern_of(square))
    # (row, color): how many columns of the color the row has
    counts = square.astype(int) @ np.eye(colors.max() + 1, dtype=int)[colors]
    for i, j in np.argwhere(square):
        assert counts[i, colors[j]] == 1 or counts[j, colors[i]] == 1


@pytest.mark.parametrize("kind", [np.int32, np.int64])
def test_index_types(kind):
    mask = sparse.csc_array(drawn(1, 200, 150, 0.4))
    made = Pattern(mask.shape, mask.indptr.astype(kind), mask.indices.astype(kind))
    assert np.array_equal(fg.color_columns(mask), _colored(made))


def _colored(pattern):
    from fastgrad._derivatives.coloring import colored

    return colored(pattern)


def test_more_colors_than_a_word_has_bits():
    assert np.array_equal(fg.color_columns(np.ones((2, 200))), np.arange(200))


def band(n, lower, upper):
    return sparse.diags_array(
        [np.ones(n - abs(k)) for k in range(-lower, upper + 1)], offsets=range(-lower, upper + 1)
    )


def brusselator(points):
    """Two species on a periodic grid, as in the examples of SparseDiffTools."""
    ring = band(points, 1, 1).tolil()
    ring[0, -1] = ring[-1, 0] = 1
    one = sparse.eye_array(points)
    laplacian = sparse.kron(ring, one) + sparse.kron(one, ring)
    reaction = sparse.eye_array(points**2)
    return sparse.csc_array(sparse.block_array([[laplacian, reaction], [reaction, laplacian]]))


def power_law(n, seed, links=3):
    """Preferential attachment: few vertices have many neighbors."""
    random = np.random.default_rng(seed)
    ends = list(range(links))
    pairs = []
    for vertex in range(links, n):
        for other in {ends[k] for k in random.integers(len(ends), size=links)}:
            pairs.append((vertex, other))
            ends += [vertex, other]
    rows, columns = np.array(pairs).T
    half = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=(n, n))
    return sparse.csc_array(half + half.T + sparse.eye_array(n))


@pytest.mark.parametrize(
    ("pattern", "most"),
    [(band(50, 1, 1), 3), (band(60, 3, 4), 8), (band(40, 0, 0), 1), (brusselator(16), 11),
     (brusselator(32), 12), (power_law(300, 0), None), (power_law(300, 1), None),
     (sparse.random_array((400, 300), density=0.01, rng=2), None),
     (sparse.kron(sparse.eye_array(20), np.ones((4, 4))), 4)],
    ids=["tridiagonal", "band", "diagonal", "brusselator 16", "brusselator 32", "power law",
         "another power law", "random", "blocks"],
)  # fmt: skip
def test_no_more_colors_than_scipy(pattern, most):
    """`most` is what SparseDiffTools says or what is known to be possible, where either is."""
    colors = fg.color_columns(pattern)
    assert_proper(pattern.toarray() != 0, colors)
    assert number_of(colors) <= numdiff.group_columns(sparse.csc_array(pattern)).max() + 1
    assert most is None or number_of(colors) <= most


@pytest.mark.parametrize("hub", [0, 17, 49])
def test_an_arrow_takes_two_colors_where_it_is_symmetric(hub):
    arrow = np.eye(50, dtype=bool)
    arrow[hub], arrow[:, hub] = True, True
    assert number_of(color_vertices(pattern_of(arrow))) == 2
    assert number_of(fg.color_columns(arrow)) == 50


# ---------------------------------------------------------------- what a pattern may be


def mask_of(pattern):
    found = np.zeros(pattern.shape, bool)
    found[pattern.rows, np.repeat(np.arange(pattern.shape[1]), np.diff(pattern.starts))] = True
    return found


@pytest.mark.parametrize("form", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("make", ["array", "matrix"])
def test_every_kind_of_sparse_array(form, make):
    mask = drawn(3, 12, 9, 0.3)
    given = (sparse.csr_array if make == "array" else sparse.csr_matrix)(mask.astype(float))
    assert np.array_equal(mask_of(pattern_of(given.asformat(form))), mask)


def test_stored_zeros_count_and_doubles_count_once():
    rows, columns = [0, 0, 2, 2], [1, 1, 0, 2]
    given = sparse.coo_array(([1.0, 1.0, 0.0, 2.0], (rows, columns)), shape=(3, 3))
    expected = np.zeros((3, 3), bool)
    expected[rows, columns] = True
    assert np.array_equal(mask_of(pattern_of(given)), expected)
    # Out of order and doubled, in arrays of the user's that stay as they are.
    indices = np.array([2, 0, 2], np.int32)
    given = sparse.csc_array((np.ones(3), indices, np.array([0, 3, 3, 3])), shape=(3, 3))
    assert pattern_of(given).rows.tolist() == [0, 2]
    assert indices.tolist() == [2, 0, 2]


@given(patterns, st.sampled_from(["csr", "csc"]), st.booleans())
@quick(60)
def test_patterns_by_row_and_by_column(mask, form, symmetric):
    if symmetric:
        square = mask[: min(mask.shape), : min(mask.shape)]
        mask = square | square.T
    given = sparse.coo_array(mask).asformat(form)
    made = pattern_of(given)
    assert np.array_equal(mask_of(made), mask)
    # No copy is made of what serves.
    serves = form == "csc" or (mask.shape == mask.shape[::-1] and np.array_equal(mask, mask.T))
    assert not mask.any() or np.shares_memory(made.rows, given.indices) == serves
    given.indices = np.append(given.indices, 0)  # more than is in use
    assert np.array_equal(mask_of(pattern_of(given)), mask)


def order_of(starts, rows, m, *, square):
    """What `order_of_rows` is to say, from its definition."""
    fits = starts[0] == 0 and starts[-1] <= len(rows) and all(np.diff(starts) >= 0)
    if not fits or any(not 0 <= i < m for i in rows[: starts[-1]]):
        return -1
    columns = [rows[a:b].tolist() for a, b in pairwise(starts)]
    if any(column != sorted(set(column)) for column in columns):
        return 0
    entries = {(i, j) for j, column in enumerate(columns) for i in column}
    return 1 + (square and entries == {(j, i) for i, j in entries})


@given(patterns, st.booleans(), st.sampled_from([np.int32, np.int64]), st.data())
@quick(200)
def test_order_of_patterns(mask, square, kind, data):
    mask = mask[:6, :6]
    if square:
        mask = mask[: min(mask.shape), : min(mask.shape)]
        mask = mask | mask.T
    whole = sparse.csc_array(mask)
    starts, rows = whole.indptr.astype(kind), whole.indices.astype(kind)
    for array in (starts, rows):  # entries that may be wrong
        if len(array) and data.draw(st.booleans()):
            at = data.draw(st.integers(0, len(array) - 1))
            array[at] = data.draw(st.integers(-2, 8) | st.sampled_from([np.iinfo(kind).max]))
    m, n = mask.shape
    ends = np.empty(n, kind) if square else None
    expected = order_of(starts, rows, m, square=square)
    assert _backend.kernel.order_of_rows(starts, rows, m, ends) == expected
    if expected < 0:
        for form, shape in ((sparse.csc_array, (m, n)), (sparse.csr_array, (n, m))):
            given = form(shape)
            given.indptr, given.indices = starts, rows
            with pytest.raises(fg.InputValueError, match="indices within its shape"):
                fg.color_columns(given)


def test_indptr_of_another_shape():
    given = sparse.csc_array(np.eye(3))
    given.indptr = given.indptr[:-1]
    with pytest.raises(fg.InputValueError, match="indices within its shape"):
        fg.color_columns(given)


@pytest.mark.parametrize(("lower", "upper"), [(0, 0), (1, 1), (2, 0), (0, 3), (9, 9), (1, 20)])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_bands(lower, upper, n):
    expected = np.tri(n, k=upper) - np.tri(n, k=-lower - 1)
    assert np.array_equal(mask_of(pattern_of((lower, upper), n)), expected != 0)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [(None, TypeError, r"`sparsity` must be a SciPy sparse array.*got None"),
     ("band", TypeError, "`sparsity` must be"),
     ([[1, 0], [1]], TypeError, "`sparsity` must be"),
     (np.ones(3), ValueError, r"got an array of shape \(3,\)"),
     (np.ones((2, 2), object), TypeError, "`sparsity` must be"),
     (np.ma.masked_array(np.eye(2), np.eye(2)), TypeError, r"masked array: pass .filled\(False\)"),
     ((1, -1), ValueError, r"numbers of diagonals, 0 or more; got \(1, -1\)"),
     ((True, 1), ValueError, r"got an array of shape \(2,\)"),
     ((1, 1), ValueError, "does not say how many columns")],
    ids=repr,
)  # fmt: skip
def test_what_is_no_pattern(given, error, said):
    with pytest.raises(error, match=said) as caught:
        fg.color_columns(given)
    assert isinstance(caught.value, fg.FastgradError)


def test_nothing_to_color():
    assert fg.color_columns(np.ones((3, 0))).shape == (0,)
    assert fg.color_columns(np.ones((0, 3))).tolist() == [0, 0, 0]
    assert fg.color_columns(sparse.csr_array((4, 3))).tolist() == [0, 0, 0]


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "scipy", None)
    with pytest.raises(fg.MissingPackageError, match=r"needs SciPy.*fastgrad\[sparse\]"):
        fg.color_columns(np.ones((2, 2)))
