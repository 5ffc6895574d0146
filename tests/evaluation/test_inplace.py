"""Values where they are asked for, in place; the parameters back afterwards."""

from __future__ import annotations

import numpy as np
import pytest
from strategies import LAYOUTS, lay_out

from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.inplace import InPlace
from fastgrad._evaluation.protocol import Along, Gradient, Grouped, Single
from fastgrad._leaf import lengths_of
from fastgrad._stencils import Steps, central
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")


def nested():
    return {"a": np.array([[1.0, -2.0], [3.0, 0.5]]), "z": np.array([1 - 2j]), "s": np.array(4.0)}


def cost(p):
    return float((p["a"] ** 2).sum() + np.abs(p["z"][0]) ** 2 + p["s"])


def run_on(params, f=cost):
    return InPlace(f, params, Guard(flatten(params)))


def steps_of(*given):
    return Steps(given=np.array(given, float))


def everywhere(leaves, size=1.0):
    """All entries of all leaves, moved by the same."""
    shapes = [leaf.real.shape for leaf in leaves]
    regions = [Region(k, tuple(slice(0, n) for n in s), s) for k, s in enumerate(shapes)]
    return Given(tuple(regions), tuple(np.full(s, size) for s in shapes))


def test_base_and_count():
    with run_on(nested()) as run:
        assert run.base() == run.base() == cost(nested())
        assert run.evaluations == 2


def test_single_moves_one_entry_to_both_sides():
    with run_on(nested()) as run:
        found = run.single(Single(0, np.array([1, 3]), steps_of(0.5, 0.25)))
    base = cost(nested())
    assert found.moved.tolist() == [[0.5, -0.5], [0.25, -0.25]]
    assert found.values.tolist() == [
        [base + 1.5**2 - 4, base + 2.5**2 - 4],
        [base + 0.75**2 - 0.25, base + 0.25**2 - 0.25],
    ]
    assert run.evaluations == 4


def test_single_goes_to_every_offset():
    with run_on(nested()) as run:
        request = Single(2, np.array([0]), Steps(absolute=0.25), (3, -1, 2))
        found = run.single(request)
    assert found.moved.tolist() == [[0.75, -0.25, 0.5]]
    assert found.values.tolist() == [[cost(nested()) + moved for moved in (0.75, -0.25, 0.5)]]
    assert run.evaluations == request.evaluations == 3


def test_single_visits_real_and_imaginary_parts():
    with run_on(nested()) as run:
        values = run.single(Single(1, np.array([0, 1]), steps_of(1.0, 1.0))).values
    assert (values[:, 0] - values[:, 1]).tolist() == [4.0, -8.0]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "g"])
def test_single_tells_the_displacement_really_made(layout, dtype):
    x = lay_out(np.array([[0.1, 3.0], [-70.0, 1e-3]], dtype), layout)
    with run_on(x, lambda x: float(x.sum(dtype="g"))) as run:
        found = run.single(Single(0, np.arange(4), Steps(absolute=0.03)))
    to = (np.asarray(x, "g") + np.array([0.03], dtype)[0]).astype(dtype)
    moved, values = found.moved, found.values
    assert moved[:, 0] == pytest.approx((to - x).ravel().astype(float), rel=1e-2)
    assert (values[:, 0] - values[:, 1]) == pytest.approx(moved[:, 0] - moved[:, 1], rel=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "g"])
def test_a_group_of_one_entry_is_a_single_one(layout, dtype):
    x = lay_out(np.array([[0.1, 3.0], [-70.0, 1e-3]], dtype), layout)
    entries, steps = np.array([3, 0, 2]), Steps(relative=2.0**-6)
    with run_on(x, lambda x: float((x.astype("f8") ** 2).sum())) as run:
        alone = run.single(Single(0, entries, steps, (2, -1)))
        found = run.grouped(Grouped(0, entries, np.arange(4), steps, (2, -1)))
    assert found.moved.tolist() == alone.moved.tolist()
    assert found.values.tolist() == alone.values.tolist()
    assert run.evaluations == 12


def test_grouped_moves_all_of_a_group_at_once():
    with run_on(nested()) as run:
        request = Grouped(0, np.array([0, 3, 2]), np.array([0, 2, 3]), steps_of(0.5, 0.25, 1.0))
        found = run.grouped(request)
    base = cost(nested())
    assert found.moved.tolist() == [[0.5, -0.5], [0.25, -0.25], [1.0, -1.0]]
    assert found.values.tolist() == [
        [base + 1.5**2 - 1 + 0.75**2 - 0.25, base + 0.5**2 - 1 + 0.25**2 - 0.25],
        [base + 16 - 9, base + 4 - 9],
    ]
    assert run.evaluations == request.evaluations == 4


def test_along_moves_all_leaves():
    params = nested()
    with run_on(params) as run:
        direction = everywhere(run.leaves)
        values = run.along(Along(direction, (0.0, 1.0))).values
        assert params["a"].tolist() == nested()["a"].tolist()
    expected = {"a": params["a"] + 1, "z": params["z"] + 1 + 1j, "s": params["s"] + 1}
    assert list(values) == [cost(params), cost(expected)]


def test_along_stops_at_two_values_where_f_stands_still():
    with run_on(nested(), lambda p: 1.0) as run:
        direction = everywhere(run.leaves)
        for still, count in ((None, 3), (2.0, 3), (1.0, 2)):
            found = run.along(Along(direction, (1.0, 2.0, 3.0), still))
            assert found.values == (1.0,) * count
    assert run.evaluations == 8


def test_gradient_elsewhere():
    params = nested()
    out = np.empty(2), np.empty(1)
    stencil, steps = central(), Steps(absolute=1e-3)
    with (
        run_on(params) as run,
        run.displaced(everywhere(run.leaves), 2.0) as there,
    ):
        for leaf, entries, place in ((0, (2, 4), out[0]), (2, (0, 1), out[1])):
            place[:] = Gradient(leaf, *entries, stencil, steps).run(there).values
    assert out[0] == pytest.approx([2 * 5.0, 2 * 2.5], rel=1e-9)
    assert out[1] == pytest.approx([1.0], rel=1e-9)
    assert params["a"].tolist() == nested()["a"].tolist()


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
@pytest.mark.parametrize("how", ["along", "displaced", "gradient", "single", "grouped"])
def test_parameters_come_back_when_f_raises(how, error):
    def fails(p):
        if any((p[k] != nested()[k]).any() for k in p):
            raise error
        return 1.0

    params = nested()
    with run_on(params, fails) as run:
        direction, entries, steps = everywhere(run.leaves, 0.1), np.array([0]), steps_of(0.1)
        calls = {
            "along": lambda: run.along(Along(direction, (1.0,))),
            "gradient": lambda: Gradient(0, 0, 1, central(), steps).run(run),
            "single": lambda: run.single(Single(0, entries, steps)),
            "grouped": lambda: run.grouped(Grouped(0, entries, np.array([0, 1]), steps)),
        }

        def displaced():
            with run.displaced(direction, 1.0) as there:
                there.base()

        with pytest.raises(error):
            calls.get(how, displaced)()
        # Before the context is left, which would put everything back.
        assert all(params[key].tobytes() == nested()[key].tobytes() for key in params)


def test_lengths_are_at_least_one_and_finite():
    x = np.array([0.0, -3.0, 1e-9, np.inf, np.nan, 1e300])
    assert lengths_of(x).tolist() == [1, 3, 1, 1, 1, 1e300]
