"""What is learnt of `f` before any entry is judged."""

from __future__ import annotations

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import _backend
from fastgrad._checks.baseline import SPACINGS, Trouble, measure_baseline
from fastgrad._checks.claim import Analytic
from fastgrad._checks.movement import moves_in_jumps
from fastgrad._evaluation.direction import OddMultiples, Region
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._report.entries import LeafSpan
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")
DOUBLE = 2.0**-53


def run_of(f, x):
    return Metered(local(f, x, Guard(flatten(x))))


def measured(f, x, claimed=None, value=None, seed=0):
    leaves = flatten(x)
    column = np.ones(sum(leaf.array.size for leaf in leaves)) if claimed is None else claimed
    ends = np.cumsum([0, *(leaf.real.size for leaf in leaves)]).tolist()
    spans = tuple(
        LeafSpan(
            leaf.path, leaf.array.shape, str(leaf.array.dtype), *ends[k : k + 2], leaf.is_complex
        )
        for k, leaf in enumerate(leaves)
    )
    analytic = Analytic(np.array(column, float), (DOUBLE * 2,) * len(leaves), value, spans)
    with run_of(f, x) as run:
        return measure_baseline(run, analytic, run.base(), seed), run


def waves(x):
    return float(np.sin(x).sum()) + 2


def point(n=5):
    return np.linspace(0.3, 1.7, n)


def test_smooth_function():
    seen, run = measured(waves, point())
    assert seen.trouble is None
    assert seen.base == seen.again == waves(point())
    assert DOUBLE < seen.noise / seen.base < 20 * DOUBLE
    assert seen.unit == DOUBLE
    assert 1e-6 < seen.relative[0] < 1e-4
    assert run.evaluations <= 12


def test_single_precision_inside_asks_for_larger_steps():
    seen, _ = measured(lambda x: float(np.float32(waves(x))), point())
    assert seen.unit == 2.0**-24
    assert seen.relative[0] > 1e-3


def test_each_leaf_has_its_own_step():
    params = {"double": point(), "single": point().astype("f4")}
    seen, _ = measured(lambda p: waves(p["double"]) + waves(p["single"]), params)
    assert len(seen.relative) == 2
    assert seen.relative[1] >= 32 * 2.0**-23


def test_large_constant_is_noise():
    plain, _ = measured(waves, point())
    shifted, _ = measured(lambda x: waves(x) + 1e8, point())
    assert shifted.noise > 1e6 * plain.noise
    assert shifted.relative[0] > plain.relative[0]


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_step_does_not_hang_on_the_unit_of_f(scale):
    plain, _ = measured(waves, point())
    scaled, _ = measured(lambda x: scale * waves(x), point(), np.full(5, scale))
    assert scaled.relative[0] == pytest.approx(plain.relative[0], rel=1)


def test_tiny_parameters_get_tiny_moves():
    with np.errstate(invalid="ignore"):
        seen, _ = measured(lambda x: float(np.log(x).sum()), np.array([1e-14, 3e-14]))
    assert seen.trouble is None
    assert seen.noise < 1e-10


@pytest.mark.parametrize("seed", range(10))
def test_kinks_beside_a_tiny_entry_are_not_taken_for_noise(seed):
    def relu(x):
        return float(np.maximum(x, 0).sum()) + 1.0

    seen, _ = measured(relu, np.array([1e-12, -1e-12, 3e-12, -2e-12]), seed=seed)
    assert seen.noise < 1e-15


@pytest.mark.parametrize("seed", range(10))
def test_equal_slopes_do_not_cancel_along_the_direction(seed):
    seen, _ = measured(lambda x: float(np.abs(x).sum()), np.full(2, 1e-6), seed=seed)
    assert seen.noise < 1e-15


def test_value_that_is_exactly_zero_here_but_not_elsewhere_has_noise():
    seen, _ = measured(lambda x: float(np.maximum(x - 1e-2, 0).sum()), np.array([-30.0, -20.0]))
    assert seen.base == 0
    assert seen.noise > 1e-16


def test_two_calls_that_differ():
    random = np.random.default_rng(0)
    seen, run = measured(lambda x: waves(x) + 0.1 * random.normal(), point())
    assert seen.trouble is Trouble.NOT_REPEATABLE
    assert run.evaluations == 2


def test_two_calls_that_differ_in_the_last_digits_are_noise():
    calls = iter(range(10**6))
    seen, _ = measured(lambda x: waves(x) * (1 + 1e-9 * (next(calls) % 2)), point())
    assert seen.trouble is None
    assert seen.noise >= 0.5e-9


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad):
    seen, run = measured(lambda x: bad, point())
    assert seen.trouble is Trouble.NOT_FINITE
    assert run.evaluations == 1


@pytest.mark.parametrize(("off", "troubled"), [(0.0, False), (1e-15, False), (1e-6, True)])
def test_value_that_came_with_the_gradient(off, troubled):
    seen, _ = measured(waves, point(), value=waves(point()) + off)
    assert seen.trouble is (Trouble.OTHER_VALUE if troubled else None)


def test_edge_of_the_domain_close_by():
    def f(x):
        return float(np.where(np.abs(x - point()) < 1e-13, x, np.nan).sum())

    seen, _ = measured(f, point())
    assert seen.trouble is None
    assert np.isfinite(seen.noise)


def test_parameters_come_back_bit_by_bit():
    x = {"a": point(), "b": point().astype("f2"), "c": point() * 1j}
    before = [leaf.array.tobytes() for leaf in flatten(x)]
    measured(lambda p: waves(p["a"]) + float(np.abs(p["c"]).sum()), x, np.ones(20))
    assert [leaf.array.tobytes() for leaf in flatten(x)] == before


JUMPS = {
    "count": (lambda x: float((x > 1).sum()), True),
    "rounded": (lambda x: float(np.round(10 * x).sum()), True),
    "constant": (lambda x: 1.0, False),
    "flat_quartic": (lambda x: float(((x - point()) ** 4).sum()), False),
    "linear": (lambda x: float(x.sum()), False),
    "never_finite": (lambda x: 1.0 if (x == point()).all() else np.nan, False),
}


@pytest.mark.parametrize("name", JUMPS)
def test_jumps(name):
    f, jumps = JUMPS[name]
    x = point()
    with np.errstate(all="ignore"), run_of(f, x) as run:
        assert moves_in_jumps(run, 0, float(f(x)), 0) is jumps
    assert np.array_equal(x, point())


def test_leaf_that_moves_in_jumps_is_named():
    p = {"threshold": np.array([0.5]), "w": point()}

    def f(p):
        return waves(p["w"]) + float((p["w"] > p["threshold"]).sum())

    report = fg.check_gradient(f, lambda p: {"threshold": np.zeros(1), "w": np.cos(p["w"])}, p)
    assert report.verdict is fg.Verdict.CANNOT_TELL
    assert "in jumps only with threshold" in report.reason


@pytest.mark.parametrize("dtype", ["f4", "f8", "g", ">f8"])
def test_moves_of_tiny_parameters_are_relative_in_every_type(dtype):
    x = (point() * 1e-15).astype(dtype)
    before = x.tobytes()
    seen = []

    def log_likelihood(x):
        seen.append(x.astype("f8") / (point() * 1e-15))
        with np.errstate(invalid="ignore"):  # the first moves leave the domain
            return float(np.log(x.astype("f8")).sum())

    found, _ = measured(log_likelihood, x)
    assert found.trouble is None
    assert x.tobytes() == before
    own = [np.abs(ratio - 1).max() for ratio in seen[-6:]]
    np.testing.assert_allclose(own, own[0] * np.arange(1, 7), rtol=1e-3)
    assert 1e-13 < own[0] < own[-1] < 0.1


@pytest.mark.parametrize("dtype", ["e", "f", ">f2", ">f4"])
@pytest.mark.parametrize("beside", ["d", "f", None])
@pytest.mark.parametrize("curve", [np.tanh, np.sin, np.exp, lambda x: np.sqrt(1 + x * x)])
def test_curvature_is_not_noise_in_short_types(dtype, beside, curve):
    """Along no direction: a table in wide steps would make the verdict a matter of the seed."""
    short = (np.array([63, -125, 19, 96, -45, 140]) / 64).astype(dtype)  # all moves are exact
    x = [short] if beside is None else [short, np.array([0.625, -1.375]).astype(beside)]
    f = lambda x: 3 + sum(float(curve(leaf.real.astype(float)).sum()) for leaf in x)  # noqa: E731
    seen = [measured(f, x, seed=seed)[0] for seed in range(25)]
    assert max(each.noise / abs(each.base) for each in seen) < 1e-9


def test_spacings_at_which_a_large_sum_stands_still_are_left_out():
    """Where all entries move, the least spacing is tried: two evaluations tell."""
    spacings = []
    for n, constant, claimed in (
        (70_000, 0.0, 1.0),
        (70_000, 1e8, 1.0),
        (60_000, 1e8, 1.0),
        (70_000, 1e8, 0.0),
    ):

        def f(x, constant=constant):
            return float(x.sum()) + constant

        seen, run = measured(f, np.full(n, 0.7), np.full(n, claimed))
        spacings.append((seen.sampled, run.evaluations))
    least, larger = 2.0**-40, 2.0**-30
    assert spacings == [(least, 8), (larger, 8), (larger, 10), (larger, 10)]


def moves_for_noise(x, seed):
    """How the first direction really moves parameters."""
    regions = tuple(Region(k, (slice(None),), part.shape) for k, part in enumerate(x))
    direction = OddMultiples(seed, regions, SPACINGS[0])
    made = []
    for k, part in enumerate(x):
        moved = part.copy()
        direction.mover(k, part, _backend.kernel)(moved, 1.0, None)
        made.append(moved.astype(float) - part)
    return made


@pytest.mark.parametrize("seed", [0, 2, 6])
def test_another_direction_is_asked_where_f_hardly_moves_along_the_first(seed):
    """Rounding of the moves looks coarse there; arrays by themselves cost six evaluations each."""
    random = np.random.default_rng(seed)
    x = [random.normal(size=n).astype("f4") for n in (40_000, 30_000)]
    slopes = [random.normal(size=part.size) for part in x]
    moves = moves_for_noise(x, seed)
    share = sum(map(np.dot, slopes, moves)) / sum(map(np.dot, moves, moves))
    slopes = [a - share * move for a, move in zip(slopes, moves, strict=True)]

    def f(x):
        return sum(float(a @ part.astype(float)) for a, part in zip(slopes, x, strict=True))

    seen, run = measured(f, x, np.concatenate(slopes), seed=seed)
    assert not any(seen.coarse)
    assert run.evaluations == 2 + 6 + 6
    assert abs(sum(map(np.dot, slopes, moves))) < 1e-9
