"""An `f` that writes into, resizes, retypes, freezes or frees what it was given to read."""

from __future__ import annotations

import gc
import itertools
import os
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracle import numbers
from strategies import arrays, bits, lay_out, quick, run_python

import fastgrad as fg
from fastgrad import _memory
from fastgrad._evaluation.guard import COPIED_BYTES

pytestmark = pytest.mark.usefixtures("backend")
BIG = COPIED_BYTES // 8 + 1


@pytest.fixture(autouse=True)
def no_claim_outlives_its_run():
    yield
    assert not _memory.locks


# ---------------------------------------------------------------- writes


class Writer:
    """An `f` that writes into its input at one evaluation."""

    def __init__(self, when, where, value=7.0, array=None):
        self.calls, self.when, self.where, self.value = 0, when, where, value
        self.array = array

    def __call__(self, x):
        self.calls += 1
        value = numbers(x)[0]
        if self.calls == self.when:
            (x if self.array is None else self.array)[self.where] = self.value
        return value


@pytest.mark.parametrize("method", ["forward", "central"])
@pytest.mark.parametrize("when", range(1, 7))
@pytest.mark.parametrize("where", [0, 1, 2])
def test_small_parameters_are_undone_whenever_f_writes(method, when, where):
    x = np.array([1.0, 2.0, 3.0])
    f = Writer(when, where)
    wanted = 4 if method == "forward" else 6
    if when > wanted:
        assert fg.gradient(f, x, method=method).sum() == pytest.approx(1)
        return
    with pytest.raises(fg.MutationError) as caught:
        fg.gradient(f, x, method=method)
    assert f"`f` wrote into its input: `params[{where}]` is not what it was" in str(caught.value)
    assert "the old value was put back" in str(caught.value)
    assert "x = x.copy()" in str(caught.value)
    np.testing.assert_array_equal(x, [1.0, 2.0, 3.0])


@pytest.mark.parametrize("dtype", ["f4", "f8", "g", ">f8"])
@pytest.mark.parametrize("vector", [False, True])
def test_a_zero_of_the_other_sign_is_a_write_too(dtype, vector):
    x = np.array([1.0, 0.5], dtype)

    def f(x):
        value = float(x[0] + x[1])
        if x[1] == 0.0:
            x[1] = -0.0
        return np.array([value, value]) if vector else value

    with pytest.raises(fg.MutationError, match=r"`params\[1\]` is not what it was"):
        (fg.jacobian if vector else fg.gradient)(f, x, eps=0.5)
    assert bits(x) == bits(np.array([1.0, 0.5], dtype))


@pytest.mark.parametrize("when", [1, 3, 6])
def test_writes_into_another_leaf(when):
    params = {"a": np.ones(2), "deep": [np.ones((2, 2), np.float32)]}
    with pytest.raises(fg.MutationError, match=r"`deep\[0\]\[1, 0\]` is not what it was \(the old"):
        fg.gradient(Writer(when, (1, 0), array=params["deep"][0]), params)
    assert (params["deep"][0] == 1).all()


@given(arrays().filter(lambda pair: pair[0].size), st.data())
@quick(60)
def test_undone_in_every_type_and_layout(pair, data):
    x = lay_out(*pair)
    before = bits(x)
    where = tuple(data.draw(st.integers(0, n - 1)) for n in x.shape)

    def f(x):
        x[where] = 0.25
        return 1.0

    with pytest.raises(fg.FastgradError):
        fg.gradient(f, x)
    assert bits(x) == before


@pytest.mark.parametrize("method", ["forward", "central"])
@pytest.mark.parametrize("where", [0, 5, -1])
@pytest.mark.parametrize("always", [True, False])
def test_large_parameters_are_undone_if_f_writes_at_its_first_evaluation(method, where, always):
    x = np.arange(float(BIG))
    calls = []

    def f(x):
        calls.append(1)
        if always or len(calls) == 1:
            x[where] += 1.0
        return 1.0

    with pytest.raises(fg.MutationError, match="the old value was put back"):
        fg.gradient(f, x, method=method)
    np.testing.assert_array_equal(x, np.arange(float(BIG)))
    assert len(calls) <= 3


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
def test_large_parameters_are_undone_if_f_writes_and_raises_at_first(kind):
    params = [np.arange(3.0), np.arange(float(BIG))]

    def f(p):
        p[0][1] = p[1][9] = 77.0
        raise kind

    for method in ("forward", "central"):
        with pytest.raises(kind):
            fg.gradient(f, params, method=method)
        np.testing.assert_array_equal(params[0], np.arange(3.0))
        np.testing.assert_array_equal(params[1], np.arange(float(BIG)))


@pytest.mark.parametrize("dtype", ["d", "f", ">f8"])
@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("when", range(1, 6))
@pytest.mark.parametrize("tree", [False, True])
def test_a_change_of_the_byte_order_is_seen_at_once(dtype, back, when, tree):
    """What `f` computes of swapped bytes is no value of `f`, though it may swap them back."""
    x, calls = np.arange(1.0, 4).astype(dtype), []

    def f(p):
        calls.append(1)
        if len(calls) in ((when, when + 1) if back else (when,)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                x.dtype = x.dtype.newbyteorder()
        with np.errstate(all="ignore"):
            return float(np.tanh(x).sum())

    with pytest.raises(fg.MutationError, match="retyped"):
        fg.gradient(f, {"x": x} if tree else x)
    assert len(calls) == when


def test_a_late_write_into_large_parameters_is_told():
    x, calls = np.zeros(BIG), itertools.count(1)

    def f(x):  # in no time: it is called twice for each of the entries
        if next(calls) == 100:
            x[-1] = 7.0
        return x[0]

    with pytest.raises(fg.MutationError, match=r"`params` is not what .* reload them"):
        fg.gradient(f, x)


def test_a_large_result_is_right_where_the_copy_was_kept():
    x = np.zeros(BIG)
    x[:3] = [1.0, 2.0, 3.0]
    g = fg.gradient(lambda x: float(x[0] ** 2 + 3 * x[2] + x[-1]), x)
    expected = np.zeros(BIG)
    expected[[0, 2, -1]] = [2.0, 3.0, 1.0]
    np.testing.assert_allclose(g, expected, atol=1e-8)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_a_large_result_of_another_type(dtype):
    x = np.full(BIG, 1e300)
    out = np.zeros(BIG, dtype)
    fg.gradient(lambda x: x[0], x, out=out, eps=1e290)
    assert out[0] == pytest.approx(1)
    assert not out[1:].any()


# ---------------------------------------------------------------- shape, type, flags, memory


def set_shape(x):
    x.shape = (x.size, 1)


def set_dtype(x):
    x.dtype = np.int64


def set_strides(x):
    x.strides = (0,)


def freeze(x):
    x.flags.writeable = False


def shrink(x):
    x.resize(1, refcheck=False)


def grow(x):
    x.resize(x.size + 400_000, refcheck=False)  # at another place, as far as there is one


META = (set_shape, set_dtype, set_strides, freeze)


@pytest.mark.parametrize("change", [*META, shrink, grow])
@pytest.mark.parametrize("when", [1, 2, 4])
@pytest.mark.parametrize("method", ["forward", "central"])
@pytest.mark.parametrize("size", [4, BIG])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_array_that_is_no_longer_the_same(change, when, method, size):
    x = np.ones(size)
    calls = []

    def f(x):
        calls.append(1)
        if len(calls) == when:
            change(x)
        return 1.0

    with pytest.raises(fg.MutationError) as caught:
        fg.gradient(f, x, method=method)
    said = str(caught.value)
    assert "`f` resized, retyped, froze or moved the memory of `params` while it was being" in said
    assert "let it leave its input's shape, dtype, flags and data alone" in said
    if change in META:  # the memory is still there, and so are its bits
        whole = np.lib.stride_tricks.as_strided(x.view(float), (size,), (8,))
        assert (whole == 1.0).all()
    assert len(calls) == when


@pytest.mark.parametrize("change", [shrink, grow, freeze])
def test_another_leaf_that_is_no_longer_the_same(change):
    params = {"a": np.ones(3), "b": np.ones(3), "z": np.ones(3, complex)}
    for name in ("b", "z"):
        once = iter([1])
        with pytest.raises(fg.MutationError, match=f"memory of `{name}`"):
            fg.gradient(lambda p, n=name, o=once: float(any(change(p[n]) for _ in o)), params)
        params[name] = np.ones(3, params[name].dtype)


def test_the_users_own_error_is_not_replaced_when_f_resizes_first():
    def f(x):
        if x[3] != 0.0:
            x.resize(2, refcheck=False)
            raise LookupError("mine")
        return 1.0

    with pytest.raises(LookupError, match="mine"):
        fg.gradient(f, np.zeros(5))
    with pytest.raises(LookupError, match="mine"):
        fg.gradient(lambda p: f(p["x"]), {"x": np.zeros(5)})


DANGEROUS = """
import sys, numpy as np, fastgrad as fg
from fastgrad import _backend
_backend.use(sys.argv[1])
form, change, method, when, raises = *sys.argv[2:5], int(sys.argv[5]), sys.argv[6] == "raises"
size = 2**17
base = np.ones(size)  # large enough for pages of its own: touching them once freed is a crash
out = None
x = {"view": base[5:105], "strided": base[5:105:2], "big": base[5:], "window": base[5:8].reshape(3),
     "out": np.ones(50), "complex": base[:100].view(complex), "nested": base[7:107]}[form]
if form == "out":
    out = base[:50]
calls = []

def resize():
    if change == "shrink":
        base.resize(1, refcheck=False)
    else:
        base.resize(2**21, refcheck=False)
    if change == "and back":
        base.resize(size, refcheck=False)

def f(_):
    calls.append(1)
    if len(calls) == when:
        resize()
        if raises:
            raise LookupError
    return 1.0

params = {"w": np.ones(2), "x": x} if form == "nested" else x
try:
    fg.gradient(f, params, method=method, out=out)
    print("nothing")
except Exception as error:
    print(type(error).__name__)
"""


FORMS = ("view", "strided", "big", "window", "out", "complex", "nested")
RESIZES = (("grow", "central"), ("shrink", "forward"), ("and back", "central"))
WAYS = [
    (form, *resize, *when)
    for form in FORMS
    for resize in RESIZES
    for when in ((1, "returns"), (3, "raises"))
]
ALL_WAYS = f"""
import sys
for way in {WAYS!r}:
    sys.argv[2:] = map(str, way)
    print(*way[:2], flush=True, file=sys.stderr)
    exec(compile({DANGEROUS!r}, "dangerous", "exec"), {{}})
"""


def test_resizing_the_base_of_a_view_is_no_crash(backend):
    """All ways in one process, which is not this one; the last that it names has crashed it."""
    # As at its start glibc takes pages for each array, after some were freed too.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "131072"}
    done = run_python(ALL_WAYS, backend, env=environment)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert len(said) == len(WAYS)
    allowed = {"returns": {"MutationError", "nothing"}, "raises": {"LookupError"}}
    for (form, change, _, _, outcome), word in zip(WAYS, said, strict=True):
        assert word in allowed[outcome], (form, change)
        # It may come back to the same place.
        assert word != "nothing" or change == "and back", form


def test_a_view_holds_its_base_alive():
    def make():
        return np.arange(1000.0)[::2]

    x = make()
    gc.collect()
    np.testing.assert_allclose(fg.gradient(np.sum, x), 1.0, atol=1e-4)
