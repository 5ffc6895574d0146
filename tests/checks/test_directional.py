"""Derivatives along random directions, against the gradient."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from strategies import LAYOUTS, lay_out, one_backend

import fastgrad as fg
from fastgrad import _backend, _reference
from fastgrad._checks.directional import Directional
from fastgrad._checks.error_model import ErrorModel
from fastgrad._checks.moves import LeafClaim, RandomMoves, size_of
from fastgrad._evaluation.direction import UNIT
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")
EPS = float(np.finfo(float).eps)


@pytest.fixture
def directional_of():
    """Makes directionals; their runs own the parameters until the test ends."""
    with contextlib.ExitStack() as stack:

        def make(x, f, claimed, relative=1e-5):
            run = stack.enter_context(Metered(local(f, x, Guard(flatten(x)))))
            base = run.base()
            model = ErrorModel(base, 1e-15 * max(abs(base), 1), EPS / 2, relative, EPS, EPS)
            claim = LeafClaim(run, 0, np.array(claimed, float).reshape(x.shape), model)
            return Directional(claim, RandomMoves(claim, 0)), run

        yield make


def whole(x):
    return tuple(slice(0, n) for n in x.shape)


def cubes(x):
    return float((x**3).sum())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_right_gradient_leaves_nothing(layout, directional_of):
    x = lay_out(np.linspace(-2, 2, 60).reshape(6, 10), layout)
    directional, _ = directional_of(x, cubes, 3 * x**2)
    bits = x.tobytes()
    residual = directional.calibrate(whole(x))
    assert not residual.significant
    assert residual.bound < 1e-4
    assert x.tobytes() == bits


def test_residual_is_the_error_times_its_part_of_the_direction(directional_of):
    x = np.linspace(-2, 2, 60).reshape(6, 10)
    claimed = 3 * x**2
    claimed[4, 7] += 0.5
    directional, _ = directional_of(x, cubes, claimed)
    residual = directional.calibrate(whole(x))
    assert residual.significant
    moves = directional._moves.direction(whole(x))
    (drawn,) = moves.at(0, np.array([47]))
    part = UNIT * drawn * max(1, abs(x[4, 7]))
    assert residual.value == pytest.approx(0.5 * part, abs=2 * residual.bound)
    left = directional.measure((slice(0, 3), slice(0, 10)), residual.value)
    right = directional.measure((slice(3, 6), slice(0, 10)), residual.value)
    assert not left.significant
    assert right.value == pytest.approx(residual.value, rel=1e-3)


def test_truncation_is_not_taken_for_an_error(directional_of):
    x = np.linspace(0.1, 0.2, 30)
    wave = lambda x: float(np.sin(3000 * x).sum())  # noqa: E731
    directional, _ = directional_of(x, wave, 3000 * np.cos(3000 * x), relative=1e-3)
    assert not directional.calibrate(whole(x)).significant


@pytest.mark.slow
@one_backend
def test_noise_that_grows_with_the_moved_entries_is_measured():
    x = np.linspace(-1.0, 1.0, 2**20)

    def running_sum(x):  # rounded at every one of the entries
        return 0.5 * float(np.add.accumulate(x * x)[-1])

    wrong = x.copy()
    wrong[123_456] += 3.0
    for seed in range(3):
        report = fg.check_gradient(running_sum, x.copy(), x, strategy="probe", seed=seed)
        assert report.verdict is fg.Verdict.RIGHT, report
        assert report.detection_limit < 1.0
        report = fg.check_gradient(running_sum, wrong, x, strategy="probe", seed=seed)
        assert [entry.index for entry in report.wrong] == [(123_456,)], report


def test_kink_accepts_what_lies_between_the_sides_and_refuses_what_does_not(directional_of):
    x = np.concatenate([np.zeros(1), np.linspace(1, 2, 9)])
    relu = lambda x: float(np.maximum(x, 0).sum() + (x**2).sum())  # noqa: E731
    right = np.where(x > 0, 1, 0) + 2 * x
    directional, _ = directional_of(x, relu, right)
    assert not directional.calibrate(whole(x)).significant
    wrong = right.copy()
    wrong[0] = 3.0
    directional, _ = directional_of(x, relu, wrong)
    assert directional.calibrate(whole(x)).significant


def test_budget_ends_a_measurement_and_the_parameters_are_back(directional_of):
    x = np.linspace(-2, 2, 60)
    directional, run = directional_of(x, cubes, 3 * x**2)
    run._left = 1
    with pytest.raises(OutOfBudget):
        directional.calibrate(whole(x))
    assert np.array_equal(x, np.linspace(-2, 2, 60))


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("strides", [(9, 1), (12, 1), (2, 5)])
def test_shift_and_its_twin_agree_to_the_last_bit(dtype, layout, flat, strides):
    random = np.random.default_rng(0)
    values = (random.normal(size=(7, 9)) * 10.0 ** random.integers(-4, 4, (7, 9))).astype(dtype)
    values = values[:, 3] if flat else values
    claim = random.normal(size=(9, 12))[1:8, 2:11]
    claim, strides = (claim[:, 1], strides[:1]) if flat else (claim, strides)
    numbers = 2**63 + 5, 17, strides
    found = []
    for kernel in (_reference, None):
        target = lay_out(values, layout)
        assert _backend.kernel.is_native(target) or _backend.kernel_for(target) is _reference
        run = (kernel or _backend.kernel_for(target)).shift
        made = run(target, values, *numbers, 3e-2 * UNIT, claim)
        found.append((target.tobytes(), made))
        assert run(target, values, *numbers, 3e-2 * UNIT, None) == (0.0, 0.0)
        assert target.tobytes() == found[-1][0]
    assert found[0] == found[1]
    assert (target != values).any()
    terms = (target.astype(float) - values) * claim
    size = float(np.linalg.norm(terms))
    assert made == pytest.approx((float(terms.sum()), size**2), abs=1e-14 * size, rel=1e-14)


@pytest.mark.parametrize("dtype", ["f8", "f4"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, 255, 256, 257, 6553, 6554, 30_001])
@pytest.mark.parametrize("special", [None, -0.0, np.nan, np.inf])
def test_sums_of_moves_are_the_twins_whatever_their_number(dtype, size, special):
    random = np.random.default_rng(size)
    values = (random.normal(size=(size, 5)) * 10.0 ** random.integers(-5, 6, (size, 5))).astype(
        dtype
    )
    claim = random.normal(size=(size, 5))
    if special is not None:
        claim[size // 2 :, 1:4] = special
    for columns in (slice(None), slice(1, 4), slice(2, 3)):  # runs of many, three and one
        before, claimed = values[:, columns], claim[:, columns]
        found = []
        for kernel in (_reference, _backend.kernel_for(values)):
            target = before.copy()
            made = kernel.shift(
                target, before, 11, columns.start or 0, (5, 1), 3e-4 * UNIT, claimed
            )
            found.append((target.tobytes(), np.array(made).tobytes()))
        assert found[0] == found[1]


@pytest.mark.parametrize("size", [0, 1, 7, 8, 255, 256, 257, 5001])
@pytest.mark.parametrize("special", [None, np.nan, np.inf, -0.0])
def test_slopes_over_lengths_are_summed_as_by_the_twin(size, special):
    random = np.random.default_rng(size)
    claimed, x = random.normal(size=(2, size)) * 10.0 ** random.integers(-3, 4, (2, size))
    if special is not None:
        x[size // 2 :] = special
    found = _backend.kernel.slope_square(claimed, x)
    assert found == _reference.slope_square(claimed, x)
    terms = claimed * np.where(np.abs(x) < np.inf, np.maximum(np.abs(x), 1), 1)
    assert found == pytest.approx(float(terms @ terms), rel=1e-12)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", ">f8"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("part", [np.s_[...], np.s_[::3], np.s_[:, 2], np.s_[2, 3]])
def test_displace_and_its_twin_agree_to_the_last_bit(dtype, layout, part):
    random = np.random.default_rng(0)
    values = (random.normal(size=(7, 9)) * 10.0 ** random.integers(-5, 4, (7, 9))).astype(dtype)
    move = np.asarray(random.normal(size=(9, 12))[1:8, 2:11][part])
    found = []
    for kernel in (_reference, None):
        whole = lay_out(values, layout)
        target = whole[part] if np.ndim(whole[part]) else whole[2:3, 3].reshape(())
        run = (kernel or _backend.kernel_for(target)).displace
        run(target, target.copy(), move, -3030.3)
        found.append(whole.tobytes())
    assert found[0] == found[1]
    assert found[0] != lay_out(values, layout).tobytes()


def test_size_of_a_box():
    assert size_of(()) == 1
    assert size_of((slice(2, 5), slice(0, 4))) == 12
