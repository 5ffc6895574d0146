"""Objectives and parameters in bytes: what shares memory, and how it lies, survives."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from hypothesis import given
from sendable import Net, cubes, global_table
from strategies import ALL, LAYOUTS, arrays, bits, lay_out, quick

import fastgrad as fg
from fastgrad._workers.payload import dump, pack, unpack


def there(f, argument):
    return unpack(pack(f, argument))


@given(arrays())
@quick(200)
def test_bits_and_layout_survive(pair):
    before = lay_out(*pair)
    _, after = there(cubes, before)
    assert bits(after) == bits(before)
    assert (after.dtype, after.shape) == (before.dtype, before.shape)
    assert not before.size or after.strides == before.strides
    for flag in ("aligned", "writeable", "owndata"):
        assert not before.size or getattr(after.flags, flag) == getattr(before.flags, flag)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ALL)
def test_no_memory_in_common_with_the_original(dtype, layout):
    before = lay_out(np.ones((2, 3), dtype), layout)
    _, after = there(cubes, before)
    assert not np.shares_memory(before, after)
    after[...] = 2
    assert (before == 1).all()


def aliasing():
    """Pairs of an objective that returns an array and parameters that share memory with it."""
    net = Net()
    x = np.arange(6.0)
    fortran = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    windows = np.lib.stride_tricks.sliding_window_view(x, 2)
    buffer = bytearray(48)
    return {
        "closure": (lambda _: x, x),
        "closure over the owner": (lambda _: x, x[::-2]),
        "closure over a view": (lambda _: x[2:5], x),
        "two views of what is not sent": (functools.partial(len, x[1:4]), x[2:6]),
        "bound method": (net.loss, net.w),
        "partial": (functools.partial(np.dot, net.flat), net.w),
        "fortran": (lambda _: fortran[1:], fortran.T[::2]),
        "windows": (lambda _: windows, x),
        "one buffer": (functools.partial(len, np.frombuffer(buffer)), np.frombuffer(buffer)[2:]),
        "read-only view": (lambda _: fg and np.broadcast_to(x, (2, 6)), x),
    }


def array_in(f):
    if isinstance(f, functools.partial):
        return f.args[0]
    return f(None) if not hasattr(f, "__self__") else f.__self__.flat


@pytest.mark.parametrize("name", aliasing())
def test_what_shares_memory_here_shares_it_there(name):
    pytest.importorskip("cloudpickle")
    f, params = aliasing()[name]
    f, params = there(f, params)
    seen = array_in(f)
    assert np.shares_memory(seen, params)
    params[...] = 77.0
    assert np.count_nonzero(seen == 77.0) == np.count_nonzero(array_in(f) == 77.0) > 0


def test_flags_are_each_arrays_own():
    x = np.arange(4.0)
    frozen = x.view()
    frozen.flags.writeable = False
    f, params = there(functools.partial(len, frozen), x)
    assert params.flags.writeable
    assert not f.args[0].flags.writeable
    f, params = there(functools.partial(len, x), frozen)
    assert not params.flags.writeable
    assert f.args[0].flags.writeable


def test_one_object_stays_one_object():
    x = np.arange(4.0)
    params = {"x": x, "same": x, "none": None}
    f, after = there(functools.partial(len, params), params)
    assert f.args[0] is after
    assert after["x"] is after["same"]


def test_a_column_of_a_large_matrix_does_not_take_the_matrix_along():
    column = np.ones((1000, 1000))[:, 3]
    assert len(pack(cubes, column)) < 2 * column.nbytes
    _, after = there(cubes, column)
    assert after.tolist() == column.tolist()
    assert after.strides == column.strides  # sums and products may round by them


def test_columns_of_a_large_matrix_share_what_they_share():
    matrix = np.arange(1e6).reshape(1000, 1000)
    f, after = there(functools.partial(len, matrix[::2, 3:5]), matrix[:, 4])
    after[...] = -1.0
    assert (f.args[0][:, 1] == -1.0).all()
    assert f.args[0][:, 0].tolist() == matrix[::2, 3].tolist()


def test_object_arrays_and_subclasses_go_as_they_are():
    class Tagged(np.ndarray):
        pass

    pytest.importorskip("cloudpickle")
    f, _ = there(functools.partial(len, np.array([1, "a", None])), np.ones(2))
    assert f.args[0].tolist() == [1, "a", None]
    _, tagged = there(cubes, np.ones(3).view(Tagged))
    assert type(tagged).__name__ == "Tagged"


def test_what_cannot_be_pickled_is_named_with_the_ways_out():
    generator = (x for x in ())
    with pytest.raises(fg.InputTypeError, match=r"picklable.*cannot pickle.*workers=None"):
        pack(functools.partial(next, generator), np.ones(2))


def test_without_cloudpickle(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)
    with pytest.raises(fg.InputTypeError, match="install cloudpickle"):
        pack(lambda x: 1.0, np.ones(2))
    assert there(global_table, np.ones(2))[0] is global_table


def test_what_main_defines_is_sent_by_value(monkeypatch):
    """A worker's `__main__` may be another, or have other arrays of that name."""
    pytest.importorskip("cloudpickle")
    main = __import__("sys").modules["__main__"]
    scope = {"__name__": "__main__", "data": np.arange(3.0)}
    exec("def cost(_): return data", scope)
    monkeypatch.setattr(main, "cost", scope["cost"], raising=False)
    f, params = there(scope["cost"], scope["data"][1:])
    assert np.shares_memory(f(None), params)
    assert not np.shares_memory(f(None), scope["data"])


def test_dump_falls_back_to_cloudpickle():
    cloudpickle = pytest.importorskip("cloudpickle")
    assert cloudpickle.loads(dump(lambda: 3))() == 3
