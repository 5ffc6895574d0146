"""Trees whose leaves differ in everything: 0-d, of one entry, empty, of every type, still or not.

Arithmetic on a 0-d array gives a NumPy scalar, on an empty one nothing to reduce, and types widen
differently; whatever computes with a leaf's array has to bear it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import bits, quick

import fastgrad as fg
from fastgrad._tree import flatten, unflatten

pytestmark = pytest.mark.usefixtures("backend")
DTYPES = ("e", "f", "d", "g", "F", "D", "G")
SHAPES = ((), (1,), (0,), (2,), (1, 1), (2, 3), (0, 2))
KINDS = ("cubic", "linear", "still")
BUGS = ("none", "one", "double", "scattered", "stale", "nan", "offset")


@dataclass(frozen=True)
class Spec:
    """One leaf: its type, its shape, and how `f` depends on it."""

    dtype: str
    shape: tuple[int, ...]
    kind: str = "cubic"

    def wide(self) -> type:
        return np.complex128 if self.dtype in "FDG" else np.float64


def tree(specs, seed: int) -> dict:
    """Each second leaf stands alone, the others in a list."""
    random = np.random.default_rng(seed)
    leaves = []
    for spec in specs:
        size = random.uniform(0.5, 1.5, spec.shape) * random.choice([-1, 1], spec.shape)
        if spec.dtype in "FDG":
            size = size + 1j * random.uniform(0.5, 1.5, spec.shape)
        leaves.append(np.array(size).astype(spec.dtype))
    return {"first": leaves[::2], "second": tuple(leaves[1::2])}


def in_turn(nest) -> list:
    """The leaves in the order of the specs."""
    leaves = [None] * (len(nest["first"]) + len(nest["second"]))
    leaves[::2], leaves[1::2] = nest["first"], nest["second"]
    return leaves


def parts(array) -> list[np.ndarray]:
    """What `f` reads: the real and the imaginary part in double precision, rows of a batch kept."""
    array = np.asarray(array)
    return [
        part.astype(np.float64)
        for part in (array.real, array.imag)[: 1 + (array.dtype.kind == "c")]
    ]


def cost(specs, nest, rows: bool = False):
    """Cubic, linear or not at all, in every part of every leaf; of a batch, one for each row."""
    total = 0.0
    for spec, leaf in zip(specs, in_turn(nest), strict=True):
        for k, x in enumerate(parts(leaf)):
            axes = tuple(range(int(rows), x.ndim))
            if spec.kind == "cubic":
                total = total + (k + 1) * (x**3 + x).sum(axis=axes)
            elif spec.kind == "linear":
                total = total + (k + 2) * x.sum(axis=axes)
            elif rows:
                total = total + 0.0 * np.asarray(x).sum(axis=axes)
    return total if rows else float(total)


def exact(specs, nest) -> dict:
    """The gradient in double precision, in the structure of the parameters."""
    slopes = {
        "cubic": lambda x, k: (k + 1) * (3 * x**2 + 1),
        "linear": lambda x, k: np.full(x.shape, k + 2.0),
        "still": lambda x, k: np.zeros(x.shape),
    }
    whole = []
    for spec, leaf in zip(specs, in_turn(nest), strict=True):
        slope = [np.asarray(slopes[spec.kind](x, k)) for k, x in enumerate(parts(leaf))]
        whole.append(np.asarray(slope[0] if len(slope) == 1 else slope[0] + 1j * slope[1]))
    return {"first": whole[::2], "second": tuple(whole[1::2])}


def planted(specs, nest, bug: str, seed: int):
    """A gradient with a bug in the last leaf that is not empty, and the path of that leaf."""
    g = exact(specs, nest)
    if bug == "stale":
        before = unflatten(
            nest,
            iter(
                [
                    np.asarray(x - 0.01 * d).astype(x.dtype)
                    for x, d in zip(leaves_of(nest), leaves_of(g), strict=True)
                ]
            ),
        )
        return exact(specs, before), None
    arrays = leaves_of(g)
    filled = [leaf for leaf, a in zip(flatten(nest), arrays, strict=True) if a.size]
    if bug == "none" or not filled:
        return g, None
    k = flatten_paths(nest).index(filled[-1].path)
    array = arrays[k].copy()
    entry = (-1,) * array.ndim
    if bug == "one":
        array[entry] += 3.0
    elif bug == "nan":
        array[entry] = np.nan
    elif bug == "double":
        array = np.asarray(2 * array + 1)
    elif bug == "offset":
        array = np.asarray(array + 2.5)
    else:
        array = np.asarray(array + np.random.default_rng(seed).uniform(1, 2, array.shape))
    arrays[k] = array
    return unflatten(nest, iter(arrays)), filled[-1].path


def leaves_of(nest) -> list[np.ndarray]:
    return [leaf.array for leaf in flatten(nest)]


def flatten_paths(nest) -> list[str]:
    return [leaf.path for leaf in flatten(nest)]


specs_of_trees = st.lists(
    st.builds(Spec, st.sampled_from(DTYPES), st.sampled_from(SHAPES), st.sampled_from(KINDS)),
    min_size=1,
    max_size=4,
)
ZERO_D = [Spec("d", (2, 3)), Spec("f", (2,)), Spec("d", ())]
STILL = [Spec("d", (2, 3)), Spec("f", (2,)), Spec("d", (), "still")]
NOTHING = [Spec("d", (0,)), Spec("g", (0, 2))]


@quick(25)
@example(ZERO_D, 0)
@example(STILL, 0)
@example(NOTHING, 0)
@given(specs_of_trees, st.integers(0, 99))
@pytest.mark.filterwarnings("ignore:the gradient is zero")
def test_gradients_are_right_whatever_the_leaves(specs, seed):
    nest = tree(specs, seed)
    kept = [bits(array) for array in leaves_of(nest)]
    numeric = fg.gradient(lambda p: cost(specs, p), nest)
    rows = fg.gradient(fg.batched(lambda p: cost(specs, p, rows=True)), nest)
    assert [bits(array) for array in leaves_of(nest)] == kept
    wanted = leaves_of(exact(specs, nest))
    for leaf, spec, one, many, d in zip(
        flatten(nest), ordered(specs), leaves_of(numeric), leaves_of(rows), wanted, strict=True
    ):
        assert (one.dtype, one.shape) == (leaf.array.dtype, leaf.array.shape)
        near = {"e": 0.1, "f": 1e-3, "F": 1e-3}.get(spec.dtype, 1e-6)
        np.testing.assert_allclose(one, d, rtol=near, atol=near)
        np.testing.assert_allclose(many, d, rtol=near, atol=near)


def ordered(specs) -> list[Spec]:
    """The specs in the order of the leaves."""
    return [*specs[::2], *specs[1::2]]


@quick(60)
@example(ZERO_D, "scattered", "exhaustive", False, 0)
@example(ZERO_D, "stale", "exhaustive", False, 0)
@example(STILL, "none", "exhaustive", False, 0)
@example(STILL, "one", "probe", True, 0)
@example(NOTHING, "none", "probe", False, 0)
@given(
    specs_of_trees,
    st.sampled_from(BUGS),
    st.sampled_from(["exhaustive", "probe"]),
    st.booleans(),
    st.integers(0, 99),
)
def test_checks_of_any_leaves_end_in_a_verdict(specs, bug, strategy, rows, seed):
    nest = tree(specs, seed)
    kept = [bits(array) for array in leaves_of(nest)]
    claimed, where = planted(specs, nest, bug, seed)
    f = fg.batched(lambda p: cost(specs, p, rows=True)) if rows else (lambda p: cost(specs, p))
    report = fg.check_gradient(f, claimed, nest, strategy=strategy, seed=seed)
    assert [bits(array) for array in leaves_of(nest)] == kept
    assert str(report)
    assert report.to_html()
    assert report.to_dict()["verdict"] == report.verdict.name
    # Of few digits, a direction's derivative may not settle; whatever it says is not RIGHT.
    rounded = {"e"} if strategy == "exhaustive" else {"e", "f", "F"}
    coarse = not rounded.isdisjoint(spec.dtype for spec in specs)
    if bug == "none":
        assert report.verdict is not fg.Verdict.WRONG
    elif where is not None:
        unmoved = all(spec.kind == "still" or 0 in spec.shape for spec in specs)
        assert report.verdict is fg.Verdict.WRONG or ((coarse or unmoved) and not report)
    if where is not None:
        assert {entry.leaf for entry in report.wrong} <= {where}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("dtype", ["e", "f", "d", "g"])
def test_a_leaf_that_does_not_count_may_hold_anything(dtype, value):
    nest = {"first": [np.ones(2), np.array(value, dtype)], "second": ()}
    specs = [Spec("d", (2,)), Spec(dtype, (), "still")]
    claimed = {"first": [np.full(2, 4.0), 0.0], "second": ()}
    report = fg.check_gradient(
        lambda p: cost(specs[:1], {**p, "first": p["first"][:1]}), claimed, nest
    )
    assert report.verdict is not fg.Verdict.WRONG
    assert not report.wrong


@quick(15)
@example(ZERO_D, "scattered", "exhaustive")
@example(STILL, "one", "probe")
@given(specs_of_trees, st.sampled_from(BUGS), st.sampled_from(["exhaustive", "probe"]))
def test_workers_say_the_same_of_any_leaves(specs, bug, strategy):
    nest = tree(specs, 1)
    claimed, _ = planted(specs, nest, bug, 1)
    f = partial(cost, specs)
    alone = fg.check_gradient(f, claimed, nest, strategy=strategy)
    with ThreadPoolExecutor(1) as pool:
        helped = fg.check_gradient(f, claimed, nest, strategy=strategy, workers=pool)
    assert (helped.verdict, helped.reason) == (alone.verdict, alone.reason)
    np.testing.assert_array_equal(helped.entries.numeric, alone.entries.numeric)


@quick(25)
@example([Spec("d", ()), Spec("F", ()), Spec("e", (0,))], 0)
@given(specs_of_trees, st.integers(0, 99))
def test_relative_errors_of_any_leaves(specs, seed):
    nest = tree(specs, seed)
    assert fg.relative_error(nest, nest) == 0
    for leaf, error in zip(
        flatten(nest), parts_of(fg.relative_error(nest, nest, elementwise=True)), strict=True
    ):
        assert np.shape(error) == leaf.array.shape
        assert not np.any(error)


def parts_of(nest) -> list:
    """The leaves in order, scalars among them."""
    return [*nest["first"], *nest["second"]]


@pytest.mark.parametrize("bug", ["one", "stale"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_report_of_a_0_d_leaf_is_drawn(dtype, bug):
    pytest.importorskip("matplotlib")
    specs = [Spec("d", (3,)), Spec(dtype, ())]
    nest = tree(specs, 1)
    claimed, _ = planted(specs, nest, bug, 1)
    report = fg.check_gradient(lambda p: cost(specs, p), claimed, nest)
    assert report.plot().get_axes()


def extremes(dtype: str) -> np.ndarray:
    """The largest and the least numbers of a type, infinity, and both kinds of NaN."""
    real = np.dtype(dtype.lower())
    limits = np.finfo(real)
    x = np.array([limits.max, -limits.max, limits.tiny, limits.smallest_subnormal, -0.0, 1], real)
    if real.itemsize <= 8:  # a signalling NaN: the least bit alone
        word = np.array([np.inf], real).view(f"u{real.itemsize}") + 1
        x = np.append(x, [np.inf, np.nan]).astype(real)
        x = np.concatenate([x, word.view(real)])
    if dtype != dtype.lower():
        return x[: len(x) // 2 * 2].view(dtype)
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("strategy", ["exhaustive", "probe"])
@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("kind", ["still", "square", "tanh"])
@pytest.mark.parametrize("claim", [0.0, 1.0, 1e300, np.nan])
def test_extreme_parameters_are_borne_in_silence(dtype, strategy, batched, kind, claim):
    """No warning is fastgrad's own (here they are errors), and every bit comes back."""
    x = extremes(dtype)
    before = x.tobytes()
    curve = {"still": np.zeros_like, "square": np.square, "tanh": np.tanh}[kind]

    def f(x):
        with np.errstate(all="ignore"):
            return curve(np.nan_to_num(x.real.astype(float), posinf=1e3, neginf=-1e3)).sum(axis=-1)

    grad = np.full(x.shape, claim)
    fg.check_gradient(fg.batched(f) if batched else f, grad, x, strategy=strategy)
    assert x.tobytes() == before
