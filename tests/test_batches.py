"""Batched objectives: entry by entry and in batches the results are the same."""

from __future__ import annotations

import copy
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import bugs, problems
from strategies import (
    ALL,
    LAYOUTS,
    STENCIL_IDS,
    STENCILS,
    arrays,
    bits,
    complex_specials,
    lay_out,
    on,
    quick,
    run_python,
    same,
    specials,
    stencils,
    steps,
    weigh,
)

import fastgrad as fg
from fastgrad import _backend
from fastgrad.batches import Batched, capacity, values
from fastgrad.sampling import Sampler
from fastgrad.trees import flatten

pytestmark = pytest.mark.usefixtures("backend")

BOUNDS = st.sampled_from([1, 100, 1000, 2**21])


def row_by_row(f):
    """A batched objective that is exact in each row, whatever the others hold."""
    return lambda X: [f(row) for row in X]


def tree_rows(tree, count):
    """The points of a batch of nested parameters, one after the other."""
    if tree is None:
        return [None] * count
    if isinstance(tree, dict):
        columns = [tree_rows(child, count) for child in tree.values()]
        return [dict(zip(tree, row, strict=True)) for row in zip(*columns, strict=True)]
    if isinstance(tree, (list, tuple)):
        columns = [tree_rows(child, count) for child in tree]
        made = getattr(tree, "_make", type(tree))
        return [made(row) for row in zip(*columns, strict=True)] if columns else [tree] * count
    if dataclasses.is_dataclass(tree):
        names = [field.name for field in dataclasses.fields(tree)]
        columns = [tree_rows(getattr(tree, name), count) for name in names]
        fields = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        return [dataclasses.replace(tree, **each) for each in fields]
    assert len(tree) == count
    return [row[...] for row in tree]


def first_leaf(tree):
    while not isinstance(tree, np.ndarray):
        if dataclasses.is_dataclass(tree):
            tree = vars(tree)
        children = tree.values() if isinstance(tree, dict) else tree
        tree = next(child for child in children if child is not None)
    return tree


def nested_rows(f):
    return lambda tree: [f(row) for row in tree_rows(tree, len(first_leaf(tree)))]


def outcome(call):
    try:
        return call()
    except fg.FastgradError as error:
        return type(error), str(error)


def assert_alike(values, layout, f=weigh, memory=2**21, **options):
    """The same results and errors entry by entry and in batches, with the compiled and the pure."""
    x = lay_out(values, layout)
    before = bits(x)
    objective = fg.batched(row_by_row(f), memory=memory)
    expected = outcome(lambda: fg.gradient(f, x, **options))
    for backend in ("compiled", "pure"):
        found = on(backend, lambda: outcome(lambda: fg.gradient(objective, x, **options)))
        assert bits(x) == before
        if isinstance(expected, tuple):
            assert found == expected
        else:
            assert same(found, expected)


# ---------------------------------------------------------------- as entry by entry


@given(arrays(), stencils, BOUNDS)
@quick(150)
def test_automatic_steps(array, stencil, memory):
    assert_alike(*array, memory=memory, method=stencil)


@given(arrays(), stencils, steps | st.floats(1e-300, 1e300), BOUNDS)
@quick(100)
def test_one_absolute_step(array, stencil, eps, memory):
    assert_alike(*array, memory=memory, method=stencil, eps=eps)


@given(arrays(), stencils, st.data())
@quick(100)
def test_a_step_for_every_entry(array, stencil, data):
    count = array[0].size
    eps = data.draw(st.lists(steps, min_size=count, max_size=count))
    assert_alike(*array, method=stencil, eps=np.reshape(eps, array[0].shape))


@pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
@pytest.mark.parametrize("dtype", ALL)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_special_values_in_every_type_and_layout(dtype, layout, stencil):
    table = complex_specials(dtype) if dtype in ("c8", "c16") else specials(dtype)
    assert_alike(table.reshape(2, -1), layout, memory=500, method=stencil)


@pytest.mark.parametrize("eps", [1e-20, 5e-324])
def test_a_vanishing_step(eps):
    assert_alike(np.ones((2, 3)), "C", eps=eps)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["e", "f", "d", "g"])
def test_results_in_arrays_of_any_layout_and_type(dtype, layout):
    x, out = np.linspace(1, 2, 6).reshape(2, 3), lay_out(np.zeros((2, 3), dtype), layout)
    assert fg.gradient(fg.batched(row_by_row(weigh), memory=300), x, out=out) is out
    assert same(out, fg.gradient(weigh, x, out=np.zeros((2, 3), out.dtype)))


def nested():
    return {
        "W": np.linspace(-1, 1, 12).reshape(3, 4),
        "layers": [{"b": np.array(0.5), "none": None}, (np.zeros((2, 0)), np.ones(3, "f4"))],
        "z": np.array([1 - 2j, 0.5j]),
        "h": SimpleNamespace,
    }


def nested_cost(p):
    scale = float(p["layers"][0]["b"]) + float((p["layers"][1][1] ** 2).sum())
    return float((p["W"] ** 3).sum() * scale + np.abs(p["z"]).sum() + np.sin(p["z"].real).sum())


@pytest.mark.parametrize("memory", [1, 700, 2**21])
@pytest.mark.parametrize("method", ["forward", "central"])
def test_nested_parameters(memory, method):
    params = nested()
    del params["h"]
    shapes = []

    def f(tree):
        shapes.append(tree["W"].shape)
        assert tree["layers"][1][0].shape == (len(tree["W"]), 2, 0)
        return nested_rows(nested_cost)(tree)

    found = fg.gradient(fg.batched(f, memory=memory), params, method=method)
    expected = fg.gradient(nested_cost, params, method=method)
    for a, b in zip(flatten(found), flatten(expected), strict=True):
        assert a.path == b.path
        assert same(a.array, b.array)
    assert all(shape[1:] == (3, 4) for shape in shapes)


def test_what_f_receives():
    """Copies in C order and native byte order, of the leaf's type, never the originals."""
    for layout in LAYOUTS:
        x = lay_out(np.ones((2, 3), "f4"), layout)

        def f(X, x=x):
            assert (X.dtype, X.shape[1:]) == (np.dtype("f4"), (2, 3))
            assert X.flags.c_contiguous
            assert X.flags.writeable
            assert X.flags.aligned
            assert not np.shares_memory(X, x)
            return X.sum(axis=(1, 2))

        np.testing.assert_allclose(fg.gradient(fg.batched(f), x), 1, rtol=1e-3)


def test_two_rows_for_each_entry_and_the_base_once():
    sizes = []

    def f(X):
        sizes.append(len(X))
        return (X**2).sum(axis=1)

    fg.gradient(fg.batched(f), np.arange(5.0))
    assert sizes == [1, 3, 10]  # alone, among others, and all
    sizes.clear()
    fg.gradient(fg.batched(f), np.arange(5.0), method="forward")
    assert sizes == [1, 3, 1, 5]


def test_batches_fit_into_the_memory_and_have_one_size():
    x, sizes = np.arange(50.0), []

    def f(X):
        sizes.append(X.nbytes)
        return (X**2).sum(axis=1)

    g = fg.gradient(fg.batched(f, memory=20 * x.nbytes), x)
    np.testing.assert_allclose(g, 2 * x, atol=1e-6)
    batches = sizes[2:]
    assert set(batches) == {18 * x.nbytes}  # 50 entries in six batches of nine
    assert len(batches) == 6
    sizes.clear()
    fg.gradient(fg.batched(f, memory=1), x)
    assert set(sizes[2:]) == {2 * x.nbytes}


def test_capacity_counts_all_leaves_and_the_row_as_it_is():
    leaves = flatten([np.zeros(10), np.zeros(30, "f4")])
    assert capacity(Batched(abs, 200 * 8), leaves) == 7
    assert capacity(Batched(abs, 1), leaves) == 1
    assert capacity(Batched(abs, 100), flatten(np.zeros(0))) == 99


def test_empty_parameters():
    assert fg.gradient(fg.batched(lambda X: X.sum(axis=1)), np.zeros(0)).shape == (0,)
    report = fg.check_gradient(fg.batched(lambda X: X.sum(axis=1)), np.zeros(0), np.zeros(0))
    assert not report


def test_a_single_number():
    f = fg.batched(lambda t: t**3)
    assert fg.derivative(f, 1.0, eps=0.01) == pytest.approx(3.0001, abs=1e-10)
    assert fg.derivative(f, np.float32(1.0)) == pytest.approx(3, rel=1e-3)
    assert type(fg.derivative(f, np.float32(1.0))) is np.float32
    assert fg.gradient(f, 1.0) == pytest.approx(3.0)
    assert fg.gradient(fg.batched(lambda X: X.sum(axis=1)), [1.0, 2]) == pytest.approx([1, 1])


def test_called_like_any_objective():
    f = fg.batched(nested_rows(nested_cost))
    params = nested()
    del params["h"]
    assert f(params) == nested_cost(params)
    assert type(fg.batched(lambda X: X.sum(axis=1))([1, 2.5])) is float
    third = np.array([1.0], "g") / 3
    assert fg.batched(lambda X: X[:, 0])(third) == third[0]


# ---------------------------------------------------------------- checks


def told(report):
    """What a report says, without what depends on the way it was made."""
    told = report.to_dict()
    return {k: v for k, v in told.items() if k not in ("seconds", "evaluations")}


def exact_in_rows(items):
    """Those that need no other package, and whose sums do not depend on the memory's order."""
    wanted = [each for each in items if not each.requires and not each.name.startswith("layout")]
    return [pytest.param(each, id=each.name) for each in wanted]


@pytest.mark.parametrize("item", exact_in_rows([*problems()[::6], *bugs()[::12]]))
def test_a_check_says_the_same(item):
    with np.errstate(all="ignore"):
        plain, mine = item.make(), item.make()
        expected = fg.check_gradient(plain.f, plain.grad, plain.params)
        f = fg.batched(nested_rows(mine.f), memory=2**16)
        found = fg.check_gradient(f, mine.grad, mine.params)
    assert told(found) == told(expected)
    pairs = zip(flatten(mine.params), flatten(plain.params), strict=True)
    assert all(same(a.array, b.array) for a, b in pairs)


def test_evaluations_are_counted_in_rows():
    count = []

    def f(X):
        count.append(len(X))
        return (X**3).sum(axis=1)

    report = fg.check_gradient(fg.batched(f), lambda x: 3 * x**2, np.arange(1.0, 9.0))
    assert report
    assert report.evaluations == sum(count)
    plain = fg.check_gradient(lambda x: (x**3).sum(), lambda x: 3 * x**2, np.arange(1.0, 9.0))
    assert report.evaluations == plain.evaluations + 4
    assert len(count) < 10


def test_a_batched_objective_returns_no_gradient():
    with pytest.raises(fg.InputTypeError, match="a batched `f` returns values only"):
        fg.check_gradient(fg.batched(lambda X: (X.sum(axis=1), X)), True, np.ones(3))


def test_assert_gradient():
    fg.testing.assert_gradient(fg.batched(lambda X: (X**2).sum(1)), lambda x: 2 * x, np.ones(3))


@pytest.mark.parametrize("memory", [1, 100, 2**21])
def test_values_at_points_that_are_moved_to(memory):
    x = np.arange(4.0)
    f = Batched(lambda X: X.sum(axis=1), memory)

    def places():
        for i in range(5):
            x[...] = i
            yield

    assert values(f, x, flatten(x), places(), 5) == [0, 4, 8, 12, 16]


def test_a_sampler_gives_points_in_one_call_and_stops_at_dull_ones():
    x, sizes = np.arange(4.0), []

    def f(X):
        sizes.append(len(X))
        return X.sum(axis=1) * 0 + 1

    sampler = Sampler(fg.batched(f), x, flatten(x))
    moves = [np.ones(4)]
    assert sampler.along(moves, (1.0, 2.0, 3.0)) == [1.0, 1.0, 1.0]
    assert sampler.along(moves, (1.0, 2.0, 3.0), dull=1.0) == [1.0, 1.0]
    assert sizes == [3, 3]
    assert x.tolist() == [0, 1, 2, 3]


# ---------------------------------------------------------------- what f returns


@pytest.mark.parametrize(
    "convert",
    [
        lambda v: v.astype("f4"),
        lambda v: v.astype("i8"),
        lambda v: v.tolist(),
        lambda v: list(v),
        lambda v: v[::-1][::-1],
        lambda v: v.astype(">f8"),
        lambda v: v.astype("g"),
    ],
)
def test_real_numbers_of_any_kind(convert):
    f = fg.batched(lambda X: convert(X.sum(axis=1)))
    np.testing.assert_allclose(fg.gradient(f, np.ones(3), eps=1.0), 1.0)


def test_a_view_of_the_input_and_a_buffer_of_its_own_are_measured_right():
    np.testing.assert_allclose(
        fg.gradient(fg.batched(lambda X: X[:, 1], memory=100), np.ones(3)), [0, 1, 0], atol=1e-9
    )
    buffer = np.zeros(64)

    def f(X):
        np.sum(X, axis=1, out=buffer[: len(X)])
        return buffer[: len(X)]

    np.testing.assert_allclose(fg.gradient(fg.batched(f, memory=100), np.ones(3)), 1, atol=1e-9)


@pytest.mark.parametrize(
    ("f", "kind", "said"),
    [
        (lambda X: (X**2).sum(axis=1, keepdims=True), ValueError, "shape (1, 1)"),
        (lambda X: (X**2).sum(), ValueError, "shape ()"),
        (lambda X: 1.0, ValueError, "shape ()"),
        (lambda X: X, ValueError, "shape (1, 3)"),
        (lambda X: np.ones(len(X) + 1), ValueError, "shape (2,)"),
        (lambda X: np.ones(1), ValueError, "shape (1,) at the unperturbed parameters and two"),
        (lambda X: (X**2).sum(axis=0), ValueError, "shape (3,)"),
        (lambda X: [], ValueError, "shape (0,)"),
        (lambda X: None, TypeError, "did you forget to return the losses?"),
        (lambda X: "text", TypeError, "a str"),
        (lambda X: ["1.0"] * len(X), TypeError, "a list of dtype <U3"),
        (lambda X: X.sum(axis=1) + 0j, TypeError, "complex128"),
        (lambda X: X.sum(axis=1).astype(object), TypeError, "object"),
        (lambda X: np.ma.array(X.sum(axis=1)), TypeError, "masked"),
        (lambda X: [[1.0], [1.0, 2.0]], TypeError, "a list"),
        (lambda X: {1.0}, TypeError, "a set"),
        (lambda X: (v for v in [1.0]), TypeError, "a generator"),
    ],
)
def test_anything_else_is_refused(f, kind, said):
    x = np.ones(3)
    for run in (fg.gradient, lambda f, x: fg.check_gradient(f, x, x.copy())):
        with pytest.raises(fg.FastgradError) as caught:
            run(fg.batched(f), x)
        assert isinstance(caught.value, kind)
        assert said in str(caught.value)
        assert "one for each point of the batch" in str(caught.value)
    assert (x == 1).all()


def test_a_wrong_shape_in_a_late_batch_names_the_rows():
    calls = []

    def f(X):
        calls.append(1)
        return X.sum(axis=1)[: None if len(calls) < 4 else -1]

    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(fg.batched(f, memory=5 * 32), np.ones(4))
    assert "at the rows that move `params[2]` to `params[3]`" in str(caught.value)


def test_nan_and_infinity_spoil_the_entries_that_they_belong_to():
    def f(X):
        with np.errstate(invalid="ignore"):
            return np.where(X[:, 1] > 2, np.nan, X.sum(axis=1))

    g = fg.gradient(fg.batched(f), np.array([1.0, 2.0, 3.0]))
    assert np.isnan(g).tolist() == [False, True, False]
    for x in (np.array([1.0, 3.0]), np.array([np.nan, 1.0])):
        assert np.isnan(fg.gradient(fg.batched(f), x)).all()
        report = fg.check_gradient(fg.batched(f), np.ones(2), x)
        assert report.verdict is fg.Verdict.CANNOT_TELL


# ---------------------------------------------------------------- rows that influence each other


@pytest.mark.parametrize(
    "f",
    [
        lambda X: ((X - X.mean(axis=0)) ** 2).sum(axis=1),
        lambda X: np.cos((X - X.mean(axis=0)).sum(axis=1)) + (X / (1e-9 + X.std(axis=0))).sum(1),
        lambda X: (np.exp(X) / np.exp(X).sum(axis=0)).sum(axis=1),
        lambda X: ((1 + X) / np.linalg.norm(1 + X)).sum(axis=1),
        lambda X: np.full(len(X), (X**2).sum()),
        lambda X: (X - X[0]).sum(axis=1),
        lambda X: (X - X[-1]).sum(axis=1),
        lambda X: np.cumsum(X.sum(axis=1)),
    ],
)
@pytest.mark.parametrize("x", [np.arange(4.0), np.zeros(4), np.full((3, 2), -0.3, "f4")])
def test_rows_that_influence_each_other_are_refused(f, x):
    def flat(X):
        return f(X.reshape(len(X), -1))

    for run in (fg.gradient, lambda f, x: fg.check_gradient(f, x, x.copy())):
        with pytest.raises(fg.InputValueError, match="rows of the batched `f` influence each oth"):
            run(fg.batched(flat), x)


@given(arrays(("f8", "f4", "c16")))
@quick(50)
def test_sums_in_another_order_are_no_influence(array):
    x = lay_out(*array)
    flat = x.reshape(-1)
    matrix = np.random.default_rng(0).normal(size=(flat.size, 7)).astype(x.real.dtype)

    def f(X):
        with np.errstate(all="ignore"):
            return np.abs(X.reshape(len(X), -1) @ matrix).sum(axis=1)

    fg.gradient(fg.batched(f), x)


def test_an_f_without_a_value_at_the_other_points_is_not_refused():
    """The test for influence leaves the parameters by some percent, the difference does not."""

    def f(X):
        if (X < 0.999).any():
            raise ValueError("outside")
        with np.errstate(invalid="raise"):
            return np.sqrt(X - 0.99).sum(axis=1)

    np.testing.assert_allclose(fg.gradient(fg.batched(f), np.ones(2)), 5, rtol=1e-5)


def test_randomness_is_told_as_it_is_entry_by_entry():
    rng = np.random.default_rng(0)
    f = fg.batched(lambda X: X.sum(axis=1) + rng.normal(size=len(X)))
    report = fg.check_gradient(f, np.ones(3), np.ones(3))
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "fix the seed" in report.reason


# ---------------------------------------------------------------- faults


@pytest.mark.parametrize("bad", [None, 3, "text", [abs]])
def test_f_must_be_callable(bad):
    with pytest.raises(fg.InputTypeError, match="`f` must be a function that is not batched yet"):
        fg.batched(bad)
    with pytest.raises(fg.InputTypeError, match="not batched yet"):
        fg.batched(fg.batched(abs))


@pytest.mark.parametrize(
    ("memory", "kind"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), (True, TypeError)]
)
def test_memory_must_be_a_number_of_bytes(memory, kind):
    with pytest.raises(kind, match="`memory` must be a"):
        fg.batched(abs, memory=memory)


def test_immutable():
    with pytest.raises(dataclasses.FrozenInstanceError):
        fg.batched(abs).memory = 3


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("when", range(1, 6))
@pytest.mark.parametrize("method", ["forward", "central"])
def test_what_f_raises_passes_and_names_the_rows(kind, when, method):
    params = {"a": lay_out(specials("f8"), "strided"), "b": np.ones((2, 2), "f4")}
    before = [bits(leaf.array) for leaf in flatten(params)]
    calls = []

    def f(tree):
        calls.append(1)
        if len(calls) == when:
            raise kind("mine")
        return np.ones(len(tree["b"]))

    if when == 2 and kind is LookupError:  # among others: it may not like them
        fg.gradient(fg.batched(f, memory=500), params, method=method)
        return
    with pytest.raises(kind, match="mine") as caught:
        fg.gradient(fg.batched(f, memory=500), params, method=method)
    assert [bits(leaf.array) for leaf in flatten(params)] == before
    assert len(calls) == when
    if kind is LookupError and hasattr(caught.value, "__notes__"):
        (note,) = caught.value.__notes__
        late = when > (2 if method == "central" else 3)
        assert ("the rows that move `a[" if late else "the unperturbed parameters") in note


@pytest.mark.parametrize("kind", [LookupError, KeyboardInterrupt])
@pytest.mark.parametrize("when", [1, 3, 4, 5, 6, 7, 8])
def test_parameters_come_back_from_a_check(kind, when):
    x = np.array([-0.0, 5e-324, 0.1, 1 / 3, -7.7, 1e3])
    before, calls = bits(x), []

    def f(X):
        calls.append(1)
        if len(calls) == when:
            raise kind
        return (X**2).sum(axis=1)

    with pytest.raises(kind):
        fg.check_gradient(fg.batched(f, memory=200), lambda x: 2 * x, x)
    assert bits(x) == before


@pytest.mark.parametrize("memory", [300, 2**21])
@pytest.mark.parametrize("which", ["w", "b"])
def test_writes_into_the_batch_are_refused(which, memory):
    params = {"w": np.arange(6.0).reshape(2, 3), "b": np.ones(2)}

    def f(tree):
        value = tree["w"].sum(axis=(1, 2)) + tree["b"].sum(axis=1)
        tree[which][..., 1] += 1
        return value

    named = {"w": r"w\[0, 1\]", "b": r"b\[1\]"}[which]
    for run in (fg.gradient, lambda f, p: fg.check_gradient(f, copy.deepcopy(p), p)):
        with pytest.raises(fg.MutationError, match=f"wrote into its input: `{named}`"):
            run(fg.batched(f, memory=memory), params)
    assert params["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert params["b"].tolist() == [1, 1]


@pytest.mark.parametrize("dtype", ALL)
def test_late_writes_are_refused_before_the_rows_are_used_again(dtype):
    x, calls = np.ones(4, dtype), []

    def f(X):
        calls.append(1)
        value = np.abs(X).sum(axis=1)
        if len(calls) == 3:
            X[0, 3] = 7
        return value

    with pytest.raises(fg.MutationError, match=r"`params\[3\]"):
        fg.gradient(fg.batched(f, memory=3 * x.nbytes), x)
    assert (x == 1).all()


def test_writes_into_the_originals_are_undone():
    x = np.ones(4)

    def f(X):
        x[2] = 5.0
        return X.sum(axis=1)

    with pytest.raises(fg.MutationError, match=r"`params\[2\]` is not what it was"):
        fg.gradient(fg.batched(f), x)
    assert (x == 1).all()


RESIZED = """
import sys, numpy as np, fastgrad as fg
from fastgrad import _backend
_backend.use(sys.argv[1])
for size in (1, 2**23):
    for form in ("view", "other", "out", "batch", "batch base"):
        for when in range(1, 6):
            base, calls = np.ones(2**17), []
            def f(tree):
                calls.append(1)
                if len(calls) == when:
                    target = {"batch": tree["a"], "batch base": tree["a"].base}.get(form, base)
                    target.resize(size, refcheck=False)
                return tree["a"].sum(axis=1)
            part = base[5:10]
            params = {"a": part if form == "view" else np.ones(5), "b": np.ones(3)}
            out = None
            if form == "other":
                params["b"] = part
            if form == "out":
                out = {"a": part, "b": np.ones(3)}
            try:
                fg.gradient(fg.batched(f, memory=200), params, out=out)
                print("nothing")
            except Exception as error:
                print(type(error).__name__)
"""


def test_resizing_is_no_crash(backend):
    done = run_python(RESIZED, backend)
    assert done.returncode == 0, done.stderr
    said = done.stdout.split()
    assert len(said) == 50
    assert set(said) <= {"MutationError", "ValueError", "nothing"}
    assert said.count("nothing") <= 4  # where f did it among others, and was not asked again


def test_the_loop_is_that_of_batches():
    f, native = fg.batched(abs), np.ones(3)
    for array in (native, np.ones(3, ">f8"), np.ones(3, "f2")):
        assert _backend.sweep_for(f, array, native) is not _backend.sweep


# ---------------------------------------------------------------- other libraries


def rosenbrock(x, sum_):
    return sum_(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def exact(x):
    g = np.zeros_like(x)
    g[:-1] = -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def test_torch_vmap():
    torch = pytest.importorskip("torch")
    rows = torch.func.vmap(lambda x: rosenbrock(x, torch.sum))
    f = fg.batched(lambda X: rows(torch.from_numpy(X)))
    x = np.linspace(0.5, 2, 30)
    np.testing.assert_allclose(fg.gradient(f, x), exact(x), rtol=1e-6, atol=1e-6)
    assert fg.check_gradient(f, exact, x)
    weights = torch.ones(30, dtype=torch.float64, requires_grad=True)
    with_gradient = fg.batched(lambda X: (torch.from_numpy(X) * weights).sum(dim=1))
    np.testing.assert_allclose(fg.gradient(with_gradient, x), 1, rtol=1e-6)


def test_jax_vmap():
    jax = pytest.importorskip("jax")
    with jax.enable_x64(True):
        rows = jax.jit(jax.vmap(lambda x: rosenbrock(x, jax.numpy.sum)))
        x = np.linspace(0.5, 2, 30)
        f = fg.batched(rows)
        np.testing.assert_allclose(fg.gradient(f, x), exact(x), rtol=1e-6, atol=1e-6)
        assert fg.check_gradient(f, exact, x)
