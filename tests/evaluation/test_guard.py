"""The parameters' memory: which layouts can be moved entry by entry, and what a run may cost."""

from __future__ import annotations

import gc
import mmap
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import as_strided, sliding_window_view
from strategies import quick

import fastgrad as fg
from fastgrad._evaluation.guard import COPIED_BYTES, check_disjoint, check_layout
from fastgrad._leaf import Leaf
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


def square(x):
    return float((x**2).sum())


def strided(shape, strides, offset=0, size=64):
    """A writable view of 8-byte floats; strides and offset in bytes."""
    buffer = np.arange(size, dtype=float)
    return np.ndarray(shape, float, buffer, offset, strides)


# ---------------------------------------------------------------- one array


def overlaps(array):
    """Brute force: whether two entries of the array have a byte in common."""
    starts = [
        sum(i * s for i, s in zip(index, array.strides, strict=True))
        for index in np.ndindex(array.shape)
    ]
    taken = [start + byte for start in starts for byte in range(array.itemsize)]
    return len(set(taken)) < len(taken)


@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(-40, 40)), min_size=1, max_size=3),
    st.sampled_from(["f4", "f8"]),
)
@quick(300)
def test_the_overlap_test_is_exact(dims, dtype):
    shape, strides = zip(*dims, strict=True)
    reach = sum((n - 1) * abs(s) for n, s in dims)
    offset = sum((n - 1) * -s for n, s in dims if s < 0)
    buffer = np.zeros(reach + 8, np.uint8)
    array = np.ndarray(shape, dtype, buffer, offset, strides)
    if overlaps(array):
        with pytest.raises(fg.InputValueError, match="`W` overlaps itself"):
            check_layout([Leaf("W", array)])
    else:
        check_layout([Leaf("W", array)])


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3, 2), (16, 8), 0),
        ((4, 3), (8, 32), 0),
        ((2, 3), (24, 16), 0),  # neither axis steps over the other's span, yet nothing is shared
        ((2, 3), (-24, -8), 40),
        ((3, 1), (8, 0), 0),
        ((2, 2, 2), (8, 16, 32), 0),
        ((5,), (12,), 0),
    ],
)
def test_exotic_views_without_overlap_are_accepted(shape, strides, offset):
    array = strided(shape, strides, offset)
    if overlaps(array):
        pytest.fail("the example is wrong")
    array[...] = np.arange(array.size).reshape(shape)
    g = fg.gradient(square, array)
    np.testing.assert_allclose(g, 2 * np.arange(array.size).reshape(shape), atol=1e-6)


@pytest.mark.parametrize(
    "array",
    [
        as_strided(np.ones(4), (3, 2), (8, 8)),
        as_strided(np.ones(2), (3, 2), (0, 8)),
        as_strided(np.ones(1), (2,), (0,)),
        np.ndarray((3,), float, np.zeros(4), 0, (4,)),
        sliding_window_view(np.ones(5), 3, writeable=True),
    ],
    ids=["windows", "broadcast", "repeated", "half a number apart", "sliding"],
)
def test_arrays_that_overlap_themselves(array):
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(square, {"W": array})
    said = str(caught.value)
    assert f"`W` overlaps itself (shape {array.shape}, strides {array.strides})" in said
    assert "moving one entry would move others; pass `W`.copy()" in said


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
def test_read_only(shape):
    array = np.ones(shape)
    array.flags.writeable = False
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(square, [array])
    assert str(caught.value) == (
        "`params[0]` is read-only, and entries are moved in place; pass `params[0]`.copy(), or "
        "set its flags.writeable to True"
    )
    with pytest.raises(fg.InputValueError, match="`params` is read-only"):
        fg.gradient(square, array)


def test_a_broadcast_array_is_refused():
    with pytest.raises(fg.InputValueError, match="`params` is read-only"):
        fg.gradient(square, np.broadcast_to(np.ones(3), (2, 3)))


def test_refused_before_any_evaluation():
    calls = []
    with pytest.raises(fg.InputValueError):
        fg.gradient(calls.append, np.broadcast_to(1.0, (2,)))
    assert not calls


def test_memory_that_numpy_does_not_own():
    buffer = bytearray(np.arange(4.0).tobytes())
    g = fg.gradient(square, np.frombuffer(buffer))
    np.testing.assert_allclose(g, 2 * np.arange(4.0), atol=1e-8)
    assert buffer == np.arange(4.0).tobytes()
    with mmap.mmap(-1, 32) as mapped:
        array = np.frombuffer(mapped)
        array[...] = 3.0
        np.testing.assert_allclose(fg.gradient(square, array), 6.0)
        del array


def test_a_memory_mapped_file(tmp_path):
    array = np.memmap(tmp_path / "weights", float, "w+", shape=(2, 3))
    array[...] = 2.0
    seen = []
    g = fg.gradient(lambda x: seen.append(x is array) or square(x), array)
    np.testing.assert_allclose(g, 4.0)
    assert all(seen)
    assert (array == 2.0).all()


def test_fields_of_a_structured_array():
    table = np.zeros(3, dtype=[("tag", "i1"), ("w", "f8"), ("b", "f4")])
    table["w"], table["b"] = 1.5, 2.5
    g = fg.gradient(lambda p: square(p["w"]) + square(p["b"]), {"w": table["w"], "b": table["b"]})
    np.testing.assert_allclose(g["w"], 3.0)
    np.testing.assert_allclose(g["b"], 5.0, rtol=1e-3)
    assert not table["tag"].any()


# ---------------------------------------------------------------- several arrays


def test_leaves_that_share_memory_are_both_named():
    x = np.ones(6)
    for a, b in ((x, x), (x[:4], x[3:]), (x[::2], x[::-1]), (x, x[2:3].reshape(()))):
        with pytest.raises(fg.InputValueError) as caught:
            fg.gradient(lambda p: 0.0, {"enc": {"W": a}, "dec": [b]})
        said = str(caught.value)
        assert "`enc.W`" in said
        assert "`dec[0]`" in said
        assert "share memory: moving an entry of one would move the other" in said
        assert "pass the shared array once, or a copy" in said


@pytest.mark.parametrize(
    "parts",
    [
        lambda x: (x[:3], x[3:]),
        lambda x: (x[::2], x[1::2]),
        lambda x: (x[:0], x),
        lambda x: (x[4:], x[:2], x[2:4]),
    ],
)
def test_views_that_interleave_without_sharing_are_accepted(parts):
    x = np.arange(6.0)
    views = list(parts(x))
    g = fg.gradient(lambda p: square(x), views)
    for derivative, view in zip(g, views, strict=True):
        np.testing.assert_allclose(derivative, 2 * view, atol=1e-8)


def test_real_and_imaginary_parts_are_two_leaves():
    z = np.array([1 + 2j, 3 - 1j])
    re, im = fg.gradient(lambda p: float((abs(z) ** 2).sum()), [z.real, z.imag])
    np.testing.assert_allclose(re, 2 * z.real, atol=1e-7)
    np.testing.assert_allclose(im, 2 * z.imag, atol=1e-7)


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 3)), max_size=4))
@quick(100)
def test_the_test_for_shared_memory_is_exact(slices):
    x = np.zeros(12)
    views = [x[min(a, b) : max(a, b) : step] for a, b, step in slices]
    taken = np.concatenate([np.arange(12)[min(a, b) : max(a, b) : s] for a, b, s in slices] or [[]])
    leaves = flatten(views)
    if len(set(taken)) < len(taken):
        with pytest.raises(fg.InputValueError, match="share memory"):
            check_disjoint(leaves)
    else:
        check_disjoint(leaves)


# ---------------------------------------------------------------- the result's memory


def test_out_is_written_and_returned():
    for dtype in ("f2", "f4", "f8", "g", ">f8"):
        out = np.zeros(4, dtype)
        assert fg.gradient(square, np.arange(4.0), out=out) is out
        np.testing.assert_allclose(out, [0, 2, 4, 6], atol=1e-6)
    strided_out = np.zeros((4, 3))[:, 1]
    fg.gradient(square, np.arange(4.0), out=strided_out)
    np.testing.assert_allclose(strided_out, [0, 2, 4, 6], atol=1e-6)


@pytest.mark.parametrize(
    ("out", "got"),
    [
        (np.zeros(3), "shape (3,), dtype float64"),
        (np.zeros((4, 1)), "shape (4, 1), dtype float64"),
        (np.zeros(4, int), "shape (4,), dtype int64"),
        (np.zeros(4, complex), "shape (4,), dtype complex128"),
        ([0.0] * 4, "a list"),
        (1.0, "a float"),
    ],
    ids=str,
)
def test_out_that_does_not_fit(out, got):
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(square, np.ones(4), out=out)
    said = f"`out` must be an array of shape (4,) and a floating type; got {got}"
    assert str(caught.value) == said


def test_out_of_a_complex_leaf_must_be_complex():
    with pytest.raises(fg.InputValueError, match=r"`out\.z` must be .* and a complex type; got"):
        fg.gradient(lambda p: 0.0, {"z": np.ones(2, complex)}, out={"z": np.ones(2)})
    out = np.zeros(2, "c8")
    fg.gradient(lambda z: float((abs(z) ** 2).sum()), np.ones(2, complex), out=out)
    np.testing.assert_allclose(out, 2.0, rtol=1e-6)


def test_out_that_shares_memory():
    x = np.ones(6)
    for out in (x, x[::-1]):
        with pytest.raises(fg.InputValueError, match=r"`(params|out)` and `(params|out)` share"):
            fg.gradient(square, x, out=out)
    with pytest.raises(fg.InputValueError, match=re.escape("`out.a` and `out.b` share memory")):
        fg.gradient(lambda p: 0.0, {"a": np.ones(6), "b": np.ones(6)}, out={"a": x, "b": x})


def test_out_that_cannot_be_written():
    out = np.zeros(2)
    out.flags.writeable = False
    with pytest.raises(fg.InputValueError, match="`out` is read-only"):
        fg.gradient(square, np.ones(2), out=out)


def test_results_are_new_and_hold_nothing_back():
    x = np.ones((3, 4), order="F")
    g = fg.gradient(square, x)
    assert g.flags.owndata
    assert g.flags.writeable
    assert type(g) is np.ndarray


# ---------------------------------------------------------------- what a run costs


def peak_of(run):
    gc.collect()
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["plain", "strided", "nested"])
def test_memory_beyond_parameters_and_result_stays_below_one_mebibyte(backend, form):
    """Below half of one at a million entries, so that not even a byte for each of them fits.

    That is for the kernel; the pure one is given fewer, beyond what is copied.
    """
    dtype = "f8" if backend == "compiled" or form == "plain" else "g"
    n = 10**6 if backend == "compiled" else COPIED_BYTES // np.dtype(dtype).itemsize + 1
    x = np.zeros(2 * n, dtype)[::2] if form == "strided" else np.zeros(n, dtype)
    out = np.zeros_like(x)
    nested = form == "nested"
    params, results = ({"x": x}, {"x": out}) if nested else (x, out)
    how = {"out": results, "method": "central" if form == "plain" else "forward"}
    assert peak_of(lambda: fg.gradient(lambda _: x.item(0), params, **how)) < 2**19
    assert out[0] == pytest.approx(1)
    assert not out[1:].any()


def test_memory_of_parameters_that_are_copied():
    x = np.zeros(COPIED_BYTES // 8)
    assert peak_of(lambda: fg.gradient(lambda _: x.item(0), x[:2000])) < 2**17
