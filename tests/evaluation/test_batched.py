"""Batched objectives: entry by entry and in batches the results are the same."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
from corpus import bugs, problems
from hypothesis import given
from hypothesis import strategies as st
from strategies import (
    LAYOUTS,
    arrays,
    bits,
    complex_specials,
    in_thirds,
    lay_out,
    quick,
    same,
    specials,
    stencils,
    steps,
    weigh,
)

import fastgrad as fg
from fastgrad._evaluation.batched import Batched, InBatches, capacity
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.local import local
from fastgrad._evaluation.protocol import Along, Grouped, Single, Steps
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")

BOUNDS = st.sampled_from([1, 100, 1000, 2**20])


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


def assert_alike(values, layout, f=weigh, memory=2**20, **options):
    """The same results and errors entry by entry and in batches."""
    x = lay_out(values, layout)
    before = bits(x)
    objective = fg.batched(row_by_row(f), memory=memory)
    expected = outcome(lambda: fg.gradient(f, x, **options))
    found = outcome(lambda: fg.gradient(objective, x, **options))
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


@in_thirds
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


@pytest.mark.parametrize("memory", [1, 700, 2**20])
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
    assert sizes == [3, 11]  # at the parameters, among others, and all, with one more there
    sizes.clear()
    fg.gradient(fg.batched(f), np.arange(5.0), method="forward")
    assert sizes == [3, 6]  # the one more is the base
    sizes.clear()
    fg.gradient(fg.batched(f), np.arange(5.0), method="forward", workers=1)
    assert sizes == [3, 1, 1, 5]  # one row more would be in the same place as among others
    sizes.clear()
    fg.gradient(fg.batched(f), np.array([1.0]))
    assert sizes == [3, 1, 2]  # three rows again would not tell an `f` that goes by their number


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


def evaluator_of(f, x):
    return local(f, x, Guard(flatten(x)))


def ahead(*times, still=None):
    region = Region(0, (slice(0, 4),), (4,))
    return Along(Given((region,), (np.ones(4),)), times, still)


@pytest.mark.parametrize("memory", [1, 100, 2**20])
def test_values_at_points_that_are_moved_to(memory):
    x = np.arange(4.0)
    with evaluator_of(Batched(lambda X: X.sum(axis=1), memory), x) as run:
        assert run.along(ahead(0.0, 1.0, 2.0, 3.0, -1.5)).values == (6, 10, 14, 18, 0)
    assert run.evaluations == 5 + 4  # what tests the rows on top
    assert x.tolist() == [0, 1, 2, 3]


def test_points_along_a_direction_take_one_call_and_stop_where_f_stands_still():
    x, sizes = np.arange(4.0), []

    def f(X):
        sizes.append(len(X))
        return X.sum(axis=1) * 0 + 1

    with evaluator_of(fg.batched(f), x) as run:
        assert run.along(ahead(1.0, 2.0, 3.0)).values == (1.0, 1.0, 1.0)
        assert run.along(ahead(1.0, 2.0, 3.0, still=1.0)).values == (1.0, 1.0)
    assert sizes == [3, 4, 3]  # the first ones test the rows, too
    assert x.tolist() == [0, 1, 2, 3]


def test_the_loop_is_that_of_batches():
    for x in (np.ones(3), np.ones(3, ">f8"), np.ones(3, "f2")):
        assert isinstance(evaluator_of(fg.batched(abs), x), InBatches)


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


@pytest.mark.parametrize("kind", ["single", "grouped"])
def test_writes_between_two_batches_are_refused(kind):
    x = np.arange(1.0, 7.0)

    def writes(X):
        X[0, 5] += 1.0  # the last entry: the first batches do not move it
        return X[:, :5].sum(axis=1)

    evaluator = evaluator_of(Batched(lambda X: X[:, :5].sum(axis=1), memory=5 * x.nbytes), x)
    entries, h = np.arange(4), Steps(0.25)
    request = {
        "single": Single(0, entries, h),
        "grouped": Grouped(0, entries, np.array([0, 1, 2, 3, 4]), h),
    }[kind]
    with evaluator as run:
        run.base()
        evaluations = run.evaluations
        run.f = Batched(writes, memory=5 * x.nbytes)
        with pytest.raises(fg.MutationError, match=r"params\[5\]"):
            getattr(run, kind)(request)
    assert run.evaluations - evaluations < 2 * len(entries)
    assert x.tolist() == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
