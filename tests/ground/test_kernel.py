"""The twins: the compiled kernel and the pure one agree to the last bit, errors included."""

from __future__ import annotations

import inspect

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import (
    ALL,
    LAYOUTS,
    NATIVE,
    STENCIL_IDS,
    STENCILS,
    arrays,
    bits,
    complex_specials,
    lay_out,
    on,
    quick,
    same,
    specials,
    stencils,
    steps,
    values,
    weigh,
)

import fastgrad as fg
from fastgrad import _reference
from fastgrad._derivatives.noise import RULES
from fastgrad._evaluation.guard import UndoLog
from fastgrad._leaf import Leaf
from fastgrad._stencils import Steps

pytestmark = pytest.mark.once
_kernel = pytest.importorskip("fastgrad._kernel")


def visible(array):
    """The bytes of the entries, but not the padding that a longdouble leaves undefined."""
    whole = bits(array)
    if array.dtype.char not in "gG" or np.finfo(np.longdouble).nmant != 63:
        return whole
    each = np.frombuffer(whole, dtype=np.uint8).reshape(-1, np.dtype(np.longdouble).itemsize)
    held = each[:, :10] if array.dtype.isnative else each[:, -10:]
    return held.tobytes()


class Outcome:
    """All that can be seen of a run: result or error, what `f` saw, what was left behind."""

    def __init__(self, backend, array, f=None, **options):
        self.seen = []
        before = bits(array)

        def recorded(x):
            self.seen.append(visible(x))
            return f(x, len(self.seen)) if f else weigh(x)

        try:
            self.result = on(backend, lambda: fg.gradient(recorded, array, **options))
            self.error = None
        except fg.FastgradError as error:
            self.result, self.error = None, (type(error), str(error))
        self.restored = bits(array) == before


def assert_twins(values, layout="C", f=None, **options):
    compiled = Outcome("compiled", lay_out(values, layout), f, **options)
    pure = Outcome("pure", lay_out(values, layout), f, **options)
    assert compiled.restored
    assert pure.restored
    assert compiled.error == pure.error
    assert compiled.seen == pure.seen
    assert compiled.result is None or same(compiled.result, pure.result)


@given(arrays(), stencils)
@quick(250)
def test_automatic_steps(array, stencil):
    assert_twins(*array, method=stencil)


@given(arrays(), stencils, steps | st.floats(1e-300, 1e300))
@quick(150)
def test_one_absolute_step(array, stencil, eps):
    assert_twins(*array, method=stencil, eps=eps)


@given(arrays(), stencils, st.data())
@quick(150)
def test_a_step_for_every_entry(array, stencil, data):
    count = array[0].size
    eps = data.draw(st.lists(steps, min_size=count, max_size=count))
    assert_twins(*array, method=stencil, eps=np.reshape(eps, array[0].shape))


@given(st.sampled_from(NATIVE).flatmap(values), st.sampled_from(LAYOUTS), stencils)
@quick(150)
def test_results_in_arrays_of_any_layout_and_type(array, layout, stencil):
    for dtype in "edfg":
        place = lay_out(np.zeros(array.shape, dtype), layout)
        results = []
        for backend in ("compiled", "pure"):
            on(backend, lambda out=place: fg.gradient(weigh, array, method=stencil, out=out))
            results.append(place.copy())
        assert same(*results)


@given(arrays(NATIVE), stencils, st.integers(0, 40), st.sampled_from([np.nan, np.inf, -np.inf]))
@quick(100)
def test_values_of_f_that_are_not_finite(array, stencil, when, what):
    assert_twins(*array, lambda x, n: what if n % 41 == when else weigh(x), method=stencil)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from("fdeg"))
@example(1e-320, "d")
@example(1.7e308, "d")
@example(3.4e38, "f")
@quick(150)
def test_single_numbers_of_any_size(x, char):
    with np.errstate(over="ignore"):
        array = np.array(x, dtype=char)
    assert_twins(array)
    assert_twins(array, eps=max(abs(x), 1e-300) / 64)


@pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_special_values_in_every_type_and_layout(dtype, layout, stencil):
    table = complex_specials(dtype) if dtype in ("c8", "c16") else specials(dtype)
    assert_twins(table.reshape(2, -1), layout, method=stencil)


@pytest.mark.filterwarnings("ignore::fastgrad.StepWarning")  # such values follow no law
@given(stencils, st.lists(st.floats(-1e9, 1e9), min_size=8, max_size=8))
@quick(200)
@pytest.mark.filterwarnings("ignore:the gradient is zero")
def test_combination_is_what_the_reference_computes(stencil, results):
    """Rounding of weights, order of the sum: nothing may be rearranged."""
    assert_twins(np.array([0.7]), "C", lambda x, n: results[n % 8], method=stencil)


def test_an_infinite_entry_with_a_step_of_its_own_is_refused_alike():
    assert_twins(np.array([1.0, np.inf]), eps=np.array([1e-3, 1e-3]), method="forward")


@pytest.mark.parametrize("eps", [1e-20, 1e-17, 5e-324])
def test_a_vanishing_step_is_refused_alike(eps):
    assert_twins(np.ones((2, 3)), eps=eps)


def test_part_of_the_entries():
    """`start` and `stop` count entries in C order, whatever the memory's order."""
    for kernel in (_kernel, _reference):
        array = lay_out(np.arange(12.0).reshape(3, 4), "fortran")
        leaf = Leaf("params", array)
        out = np.full((3, 4), -1.0)
        stencil = fg.central()
        how = stencil, Steps(absolute=0.5), 0.0
        kernel.differentiate(lambda x: float((x**2).sum()), array, leaf, *how, out, 5, 9)
        expected = np.full(12, -1.0)
        expected[5:9] = 2 * np.arange(5, 9)
        np.testing.assert_array_equal(out.ravel(), expected)


def test_both_have_the_same_names():
    for name in _reference.__all__:
        assert callable(getattr(_kernel, name))
        assert callable(getattr(_reference, name))


FUNCTIONS = [name for name in _reference.__all__ if inspect.isfunction(getattr(_reference, name))]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_refuse_a_wrong_number_of_arguments(name):
    parameters = inspect.signature(getattr(_reference, name)).parameters.values()
    least = sum(each.default is each.empty for each in parameters)
    for count in (least - 1, len(parameters) + 1):
        with pytest.raises(TypeError):
            getattr(_kernel, name)(*[None] * count)


@pytest.mark.parametrize("dtype", [*ALL, "i8", "?", "O", ">f8", "<f8", ">f4"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_both_call_the_same_arrays_native_and_plain(dtype, layout):
    array = lay_out(np.ones((2, 3)).astype(dtype), layout) if dtype != "O" else np.ones(3, "O")
    assert _kernel.is_native(array) == _reference.is_native(array)
    assert _kernel.is_plain(array) == _reference.is_plain(array)
    array.flags.writeable = False
    assert not _kernel.is_plain(array)
    assert not _reference.is_plain(array)


randoms = st.integers(0, 2**30).map(np.random.default_rng)


def both(name, *arguments):
    """What both kernels make of the same arguments, as bytes."""
    found = [getattr(kernel, name)(*arguments) for kernel in (_kernel, _reference)]
    return [each if each is None or isinstance(each, float) else bits_of(each) for each in found]


def bits_of(found):
    return [
        np.asarray(part).tobytes() for part in (found if isinstance(found, tuple) else (found,))
    ]


@quick(100)
@given(rng=randoms, n=st.integers(1, 20), bad=st.sampled_from([None, np.nan, np.inf, 0.0, 5e-324]))
def test_both_bound_alike(rng, n, bad):
    columns = rng.normal(size=(4, n)) * 10.0 ** rng.uniform(-9, 9, (4, n))
    if bad is not None:
        columns[tuple(rng.integers((4, n)))] = bad
    factors = tuple(10.0 ** rng.uniform(-12, 0, 5))
    mine, twin = both("first_bounds", *columns, float(np.exp(rng.normal())), factors)
    assert mine == twin
    mine, twin = both("agreeing", *columns[:3], *factors[:2])
    assert mine == twin
    x = columns[1]
    for array in (x, x.astype("f4"), x[::2]):
        factors = rng.choice(np.array([-4, -2, -1, 1, 2, 4], np.int8), array.size)
        mine, twin = both("odd_moves", array, factors, 2.0 ** rng.integers(-40, -10), 1365 / 1024)
        assert mine == twin
        mine, twin = both("has_tiny", array, float(np.exp(rng.normal())))
        assert mine == twin
    mine, twin = both("steepest", columns[0], x)
    assert mine == twin
    halves = [_kernel.Fingerprint(part) for part in (x[: n // 2], x[n // 2 :])]
    twins = [_reference.Fingerprint(part) for part in (x[: n // 2], x[n // 2 :])]
    for below in (1e-9, float(np.exp(rng.normal()))):
        mine = _kernel.survey(columns[0], halves, below)
        assert mine == _reference.survey(columns[0], twins, below)


@quick(100)
@given(rng=randoms, n=st.integers(0, 20), bad=st.sampled_from([None, np.nan, np.inf, 0.0, 5e-324]))
def test_both_fill_in_first_differences_alike(rng, n, bad):
    moved = rng.uniform(1e-9, 1, (n, 2)) * [1, -1]
    values = rng.normal(size=(n, 2)) * 10.0 ** rng.uniform(-9, 9, (n, 2))
    if bad is not None:
        values[rng.random(values.shape) < 0.2] = bad
    base = float(rng.choice([*values.ravel(), 0.0, rng.normal()]))
    filled = []
    for kernel in (_kernel, _reference):
        columns = [*np.full((3, n), 7.0), np.ones(n, bool)]
        kernel.first_differences(moved, values, base, 1e-12, 1e-16, *columns)
        filled.append(columns)
    for mine, twin in zip(*filled, strict=True):
        np.testing.assert_array_equal(mine, twin)


def test_columns_that_cannot_be_filled_are_refused():
    moved, values, good = np.ones((2, 2)), np.ones((2, 2)), np.zeros(2)
    for bad in (np.zeros(3), np.zeros(2, "f4"), np.zeros(4)[::2]):
        for at in range(3):
            columns = [good] * 3
            columns[at] = bad
            with pytest.raises(ValueError, match="2 entries that lie side by side"):
                _kernel.first_differences(moved, values, 0.0, 0.0, 0.0, *columns, np.ones(2, bool))
    with pytest.raises(ValueError, match="2 entries that lie side by side"):
        _kernel.first_differences(moved, values, 0.0, 0.0, 0.0, *[good] * 4)


@quick(60)
@given(
    rng=randoms,
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    layout=st.sampled_from([np.s_[:], np.s_[::3], np.s_[:, 1:], np.s_[::2, ::-1], np.s_[:0]]),
    order=st.sampled_from("CF"),
    dtype=st.sampled_from(["f8", "f4"]),
    bad=st.sampled_from([None, np.nan, -np.inf, -0.0, 1.0, 5e-324]),
)
def test_both_look_alike_at_rows_of_any_length(rng, shape, layout, order, dtype, bad):
    """Rows longer and shorter than what is taken at once, side by side in the memory or not."""
    x = (rng.normal(size=shape) * 10.0 ** rng.integers(-12, 4, shape)).astype(dtype)
    if bad is not None:
        x[rng.random(shape) < 0.1] = bad
    x = np.asarray(x, order=order)[layout]
    factors = rng.choice(np.array([-4, -2, -1, 1, 2, 4], np.int8), x.size)
    mine, twin = both("odd_moves", x, factors, 2.0**-30, 1365 / 1024)
    assert mine == twin
    below = 10.0 ** rng.uniform(-14, 0)
    mine, twin = both("has_tiny", x, below)
    assert mine == twin
    flat = x.astype(float).reshape(-1)
    mine, twin = both("steepest", rng.normal(size=flat.size), flat)
    assert mine == twin


@quick(60)
@given(
    rng=randoms,
    shape=st.tuples(st.integers(0, 9), st.integers(1, 40)),
    layout=st.sampled_from([np.s_[:], np.s_[::3], np.s_[:, 1:], np.s_[::2, ::-1]]),
    dtype=st.sampled_from(["f8", "f4", ">f8", "g", "f2"]),
    other=st.sampled_from([np.nan, 0.0, -0.0, 1.5]),
    orders=st.sampled_from(["CC", "FF", "CF", "FC"]),
)
def test_arrays_are_only_the_same_if_all_of_their_bits_are(
    rng, shape, layout, dtype, other, orders
):
    x = rng.integers(-1, 2, shape).astype(dtype)
    mine, copy = (np.array(x, order=order)[layout] for order in orders)
    if mine.size:
        with np.errstate(invalid="ignore"):
            copy[tuple(rng.integers(mine.shape))] = other
    numbers = dtype == "g"  # the padding of which is no part of a number
    same = mine.tobytes() == copy.tobytes()
    for kernel in (_kernel, _reference):
        a, b, again = map(kernel.Fingerprint, (mine, copy, mine))
        assert not a.same_bits(b) or same or numbers
        assert a.same_bits(again) or dtype in (">f8", "g", "f2") or kernel is _reference
    if dtype in ("f8", "f4") and (mine.size <= 256 or orders in ("CC", "FF")):
        assert _kernel.Fingerprint(mine).same_bits(_kernel.Fingerprint(copy)) == same


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4"])
def test_large_arrays_in_either_order_are_compared_in_the_kernel(order, dtype):
    x = np.ones((60, 50), dtype, order)
    mine, copy = _kernel.Fingerprint(x), _kernel.Fingerprint(x.copy(order))
    assert mine.same_bits(copy)
    copy.array[-1, 0] = np.nan
    assert not mine.same_bits(copy)
    strided = _kernel.Fingerprint(x[:, ::2])  # left to NumPy, which is faster there
    assert not strided.same_bits(strided)


def rounded(kind, values, rng):
    """Values as numbers of some kind are: printed with few digits, float32, counts, ..."""
    if kind == "float32":
        with np.errstate(under="ignore"):
            return values.astype(np.float32).astype(float)
    if kind == "decimal":
        digits = rng.integers(1, 17)
        return np.array([float(f"{v:.{digits}g}") for v in values])
    if kind == "count":
        return np.rint(values * 10.0 ** rng.integers(0, 8))
    if kind == "binary":
        return np.rint(values * 2.0 ** rng.integers(0, 40)) / 2.0 ** rng.integers(0, 40)
    return values


@quick(400)
@given(
    rng=randoms,
    kind=st.sampled_from(["double", "float32", "decimal", "count", "binary"]),
    size=st.sampled_from([0.0, 1e-310, 1e-40, 1.0, 1e30]),
    scale=st.sampled_from([1.0, 2.0**850]),
)
def test_both_tell_noise_alike(rng, kind, size, scale):
    line = rng.normal() + 10.0 ** rng.uniform(-16, 0) * np.arange(7) * rng.choice([0.0, 1.0])
    noise = 10.0 ** rng.uniform(-17, 0) * rng.normal(size=7) * rng.choice([0.0, 1.0])
    values = rounded(kind, (line + noise) * size, rng) * scale
    if rng.random() < 0.3:
        values[rng.integers(7) :] = values[0]
    least = float(rng.choice([0.0, 10.0 ** rng.uniform(-20, 0)]))
    mine, twin = both("noise_table", values.tolist(), least, RULES)
    assert mine == twin
    for unit in (0.0, 1e-9):
        mine, twin = both("noise_of", values.tolist(), unit, RULES)
        assert mine == twin


@quick(100)
@given(rng=randoms, dtypes=st.lists(st.sampled_from("df"), min_size=1, max_size=3))
def test_both_move_and_sample_alike(rng, dtypes):
    arrays = [rng.normal(size=rng.integers(1, 5)).astype(each) for each in dtypes]
    weights = [rng.normal(size=array.size) for array in arrays]
    factors = [rng.choice(np.array([-4, -1, 1, 2], np.int8), array.size) for array in arrays]
    widths = [(2.0**-30 if array.itemsize == 8 else 2.0**-20, 1.25) for array in arrays]

    def f(parts):
        return sum(float(w @ part.astype(float)) for w, part in zip(weights, parts, strict=True))

    def seen(kernel):
        leaves = [Leaf(f"params[{k}]", array) for k, array in enumerate(arrays)]
        found, values, samples = [kernel.Fingerprint(array) for array in arrays], [], []
        before, log = [bits(array) for array in arrays], UndoLog()
        how = (f, arrays, leaves, found)
        kernel.odd_table(*how, log, factors, widths, (1.0, 2.0, -1.0), f(arrays), values)
        kernel.central_samples(*how, [1e-5, 1e-3, 1e-2][: len(arrays)], samples)
        assert [bits(array) for array in arrays] == before
        assert not log.entries
        return values, [(moved.tobytes(), column.tobytes()) for moved, column in samples]

    assert seen(_kernel) == seen(_reference)


def test_both_leave_what_is_moved_in_the_log():
    array, twin = np.ones(3), np.ones(3)
    for kernel, x in ((_kernel, array), (_reference, twin)):
        log, values = UndoLog(), []
        how = ([Leaf("params", x)], [kernel.Fingerprint(x)], log, [np.ones(3, np.int8)])
        with pytest.raises(ZeroDivisionError):
            kernel.odd_table(lambda _: 1 / 0, x, *how, [(2.0**-30, 1.25)], (1.0,), 0.0, values)
        assert x[0] != 1
        log.finish()
        assert (x == 1).all()


def test_both_compare_all_bits():
    arrays = [np.ones(3), np.array([0.0, np.nan], "f4")]
    for kernel in (_kernel, _reference):
        found = list(map(kernel.Fingerprint, arrays))
        copies = [kernel.Fingerprint(array.copy()) for array in arrays]
        assert kernel.all_same(found, copies)
        arrays[1][0] = -0.0
        assert not kernel.all_same(found, copies)
        arrays[1][0] = 0.0
        assert kernel.all_same(found, copies)


def test_the_kernel_refuses_samples_of_other_entries():
    samples = [(np.array([[1e-6, -1e-6]]), np.array([[1e-6, -1e-6]]))]
    factors = [(2.0, 1e-7, 1e-11, 1e-14, 1e-10)]
    for n in (0, 2):
        with pytest.raises(ValueError, match=f"{n} entries are claimed"):
            _kernel.agreement(np.ones(n), samples, 0.0, 0.0, 0.0, factors, 0.0, 0.0, 0.1, 0.01)


@quick(100)
@given(rng=randoms, n=st.integers(0, 40), size=st.sampled_from([0.0, 1e-300, 1.0, 1e300]))
def test_both_compare_norms_alike(rng, n, size):
    a = rng.normal(size=n) * size
    b = a + rng.normal(size=n) * size * rng.choice([0.0, 1e-9, 1.0])
    mine, twin = both("norm_error", a, b)
    assert mine == twin
    if n and size == 1.0:
        norms = np.linalg.norm(a - b) / (np.linalg.norm(a) + np.linalg.norm(b))
        assert mine == pytest.approx(norms, rel=1e-13)
    if n:
        b[-1] = rng.choice([np.nan, np.inf, -np.inf])
        assert np.isnan(both("norm_error", a, b)).all()


@quick(200)
@given(
    rng=randoms,
    n=st.integers(1, 20),
    bad=st.sampled_from([None, np.nan, np.inf, 0.0]),
    off=st.sampled_from([0.0, 1e-9, 1e-7, 1e-3]),
)
def test_both_agree_alike(rng, n, bad, off):
    slopes, base = rng.normal(size=n), float(rng.normal())
    moved = 1e-6 * np.array([1.0, -1.0]) * (1 + 1e-3 * rng.random((n, 1)))
    values = base + slopes[:, np.newaxis] * moved * (1 + 1e-5 * rng.normal(size=(n, 2)))
    claimed = slopes * (1 + off * rng.normal(size=n))
    if bad is not None:
        (claimed if rng.integers(2) else values.reshape(-1))[rng.integers(n)] = bad
    cut = int(rng.integers(1, n + 1))
    parts = [slice(cut), slice(cut, n)][: 1 if cut == n else 2]
    samples = [(moved[part].copy(), values[part].copy()) for part in parts]
    factors = [(2.0, 1e-7, 1e-11, 1e-14, 1e-10), (2.0, 1e-4, 1e-9, 1e-14, 1e-10)][: len(parts)]
    known = (base, 1e-16, 1e-16, factors, float(rng.choice([0.0, 1e-4])), 0.0, 0.1, 0.01)
    mine, twin = both("agreement", claimed, samples, *known)
    assert mine == twin
