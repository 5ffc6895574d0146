"""The twins in a whole first look: the same bits, whatever `f` is and whatever is claimed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import bits, quick

from fastgrad import _reference
from fastgrad._checks import first_look
from fastgrad._checks.error_model import FACTORS
from fastgrad._derivatives.noise import RULES, STEP_RULES
from fastgrad._evaluation.guard import UndoLog
from fastgrad._evaluation.lenient import Raised
from fastgrad._leaf import Leaf
from fastgrad._reference_look import LookParts

pytestmark = pytest.mark.once
_kernel = pytest.importorskip("fastgrad._kernel")

randoms = st.integers(0, 2**30).map(np.random.default_rng)


def same_in_both(name, *arguments):
    mine, twin = (getattr(kernel, name)(*arguments) for kernel in (_kernel, _reference))
    assert mine == twin
    return mine


@quick(100)
@given(
    rng=randoms,
    dtypes=st.lists(st.sampled_from("df"), min_size=1, max_size=3),
    kind=st.sampled_from(["smooth", "steps", "constant", "rough", "NaN", "raises", "drifts"]),
    off=st.sampled_from([0.0, 1e-3]),
)
def test_both_look_alike(rng, dtypes, kind, off):
    arrays = [rng.normal(size=rng.integers(1, 5)).astype(each) for each in dtypes]
    weights = [rng.normal(size=array.size) for array in arrays]
    count = [0]

    def f(parts):
        count[0] += 1
        each = [float(w @ np.sin(p.astype(float))) for w, p in zip(weights, parts, strict=True)]
        value = sum(each) + 2.0
        if kind == "raises" and count[0] > 5:
            raise ZeroDivisionError
        return {
            "steps": round(value, 6),
            "constant": 1,
            "rough": value + 1e-3 * float(np.sin(1e17 * value)),
            "NaN": np.nan if count[0] > 5 else value,
            "drifts": value + 1e-3 * count[0],
        }.get(kind, value)

    claimed = np.concatenate(
        [w * np.cos(a.astype(float)) for w, a in zip(weights, arrays, strict=True)]
    )
    claimed[0] += off
    eps = tuple(float(np.finfo(each).eps) for each in dtypes)
    factors = [rng.choice(np.array([-4, -1, 1, 2], np.int8), array.size) for array in arrays]
    widths = tuple([(max(w, 4 * e), 1.25) for e in eps] for w in (2.0**-40, 2.0**-20))
    rules = first_look._RULES._replace(slow=np.inf)

    def seen(kernel):
        leaves = [Leaf(f"params[{k}]", array) for k, array in enumerate(arrays)]
        found, log, told = [kernel.Fingerprint(array) for array in arrays], UndoLog(), []
        bases, tables, samples, raised = [], [], [], Raised()
        moved = kernel.forgiving(f, raised, lambda: np.nan)
        known = (claimed, eps, LookParts(eps, factors, widths), rules)
        count[0], before = 0, [bits(array) for array in arrays]
        lists = (bases, tables, samples, told)
        agreed = kernel.first_look(f, moved, arrays, leaves, found, log, *known, *lists, 0.0, 0.0)
        assert [bits(array) for array in arrays] == before
        assert not log.entries
        columns = [(moved.tobytes(), values.tobytes()) for moved, values in samples]
        return (
            agreed and [part.tobytes() for part in agreed],
            repr((bases, tables, told)),
            columns,
            raised.first,
            count,
        )

    mine = seen(_kernel)
    assert mine == seen(_reference)
    if kind == "smooth" and off == 0.0 and "f" not in dtypes:
        assert mine[0] is not None
    if kind in ("constant", "NaN", "raises", "drifts"):
        assert mine[0] is None


def test_both_see_the_same_layout_at_a_glance():
    x, y = np.ones((2, 3)), np.zeros(2, "f4")
    for arrays in (
        [x], [x, y], [], [x, np.empty(0)], [x.T], [x, x[1]], [x[:1], x[1:]], [y.astype(">f4")],
        [1.0], [np.ma.array(x)], [x, y, np.ones(30)], [np.array(1.0)], [x.astype(complex)],
    ):  # fmt: skip
        same_in_both("plain_layout", arrays, 200, 20)
    assert _kernel.plain_layout([x, y], 200, 20) == ("df", ((2, 3), (2,)))
    assert _kernel.plain_layout([x, y], 55, 20) is _kernel.plain_layout([x, y], 200, 7) is None
    assert _kernel.plain_layout([x, x[1]], 200, 20) is None
    x.flags.writeable = False
    assert same_in_both("plain_layout", [x], 200, 20) is None


class Own(dict):
    """A dict that is no plain one."""


def test_both_take_the_same_gradients_at_a_glance():
    x, y = np.ones((2, 3)), np.zeros(2, "f4")
    a, b = np.arange(6.0).reshape(2, 3), np.array([0.5, 1.5], "f4")
    seen = [(x, a, 6), (y, b, 2), (x, a.astype("f4"), 6), ({"x": x, 1: y}, {1: b, "x": a}, 8)]
    seen += [([x, y], [a, b], 8), ((x, y), (a, b), 8)]
    for argument, claimed, count in seen:
        how = (argument, claimed, count)
        mine, twin = (kernel.take(*how, True) for kernel in (_kernel, _reference))
        assert (mine[0].tobytes(), mine[1]) == (twin[0].tobytes(), twin[1])
        assert not np.shares_memory(mine[0], a)
        assert _kernel.take(argument, claimed, count - 1, False) is None
        assert _reference.take(argument, claimed, count - 1, False) is None
    closer = [(x, a.T, 6), (x, a[:, ::-1], 6), (x, a.astype(">f8"), 6), (x, a.astype(int), 6)]
    closer += [(x, a.tolist(), 6), (x.astype(complex), a, 12), (x, None, 6), (x, np.ma.array(a), 6)]
    closer += [({"x": x}, {"y": a}, 6), ({"x": x}, Own(x=a), 6), ([x, y], (a, b), 8), ([], [], 0)]
    closer += [([x, y], [a], 8), ({"x": {"y": x}}, {"x": {"y": a}}, 6), ("x", "y", 1)]
    for argument, claimed, count in closer:
        assert _kernel.take(argument, claimed, count, False) is None
        assert _reference.take(argument, claimed, count, False) is None


def test_both_look_closer_at_a_gradient_in_the_memory_of_the_parameters():
    x, y, a = np.ones(3), np.zeros(2), np.arange(8.0)
    for claimed in ([x, a[:2]], [a[:3], y], [x[::1], y], [a[:3], a[2:4]]):
        for kernel in (_kernel, _reference):
            assert kernel.take([x, y], claimed, 5, True) is None
            assert kernel.take([x, y], claimed, 5, False)[1] == "dd"
    for kernel in (_kernel, _reference):
        assert kernel.take([x, y], [a[:3], a[3:5]], 5, True)[1] == "dd"


@quick(200)
@given(rng=randoms)
def test_both_choose_steps_and_factors_alike(rng):
    noise, variation, eps, spacing = 10.0 ** rng.uniform(-300, 0, 4)
    for claimed in (0.0, float(variation)):
        same_in_both("relative_step", float(noise), claimed, float(eps), STEP_RULES)
    relative = float(10.0 ** rng.uniform(-10, -1))
    same_in_both("first_factors", relative, float(eps), float(spacing), FACTORS)


def test_both_compare_columns_by_their_bits():
    zeros, nans = np.zeros(3), np.full(3, np.nan)
    for kernel in (_kernel, _reference):
        assert kernel.same_bits(zeros, zeros.copy())
        assert kernel.same_bits(nans, nans.copy())
        assert not kernel.same_bits(zeros, -zeros)
        assert not kernel.same_bits(zeros, np.zeros(4))


def test_both_see_what_became_of_arrays():
    for kernel in (_kernel, _reference):
        arrays = [np.ones(3), np.zeros((2, 2), "f4")]
        found, copies = kernel.copied(arrays)
        assert kernel.all_same(found, copies)
        assert not any(np.shares_memory(f.view, c.view) for f, c in zip(found, copies, strict=True))
        assert not kernel.any_changed(found)
        arrays[1].flags.writeable = False
        assert kernel.any_changed(found)


@quick(300)
@given(digits=st.integers(1, 17), mantissa=st.integers(1, 10**17), power=st.integers(-320, 290))
def test_both_count_the_digits_of_decimal_numbers_alike(digits, mantissa, power):
    number = float(f"{mantissa % 10**digits}e{power}")
    values = [number * (1 + k * 10.0 ** (2 - digits)) for k in range(7)]
    rounded = [float(f"{value:.{digits - 1}e}") for value in values]
    same_in_both("noise_table", rounded, 0.0, RULES)
    same_in_both("noise_table", [number, *rounded[1:]], 0.0, RULES)
