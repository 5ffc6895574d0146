"""What `f` does at other scales than that of the smallest steps."""

from __future__ import annotations

import contextlib
import math
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad import Verdict
from fastgrad._checks import scales, steep
from fastgrad._checks.differences import Differences
from fastgrad._checks.entry_table import Doubt
from fastgrad._checks.error_model import ErrorModel
from fastgrad._derivatives.extrapolation import Estimate
from fastgrad._derivatives.step_table import RATIO
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")

randoms = st.integers(0, 2**30).map(np.random.default_rng)
DOUBLE = 2.0**-53
SPACING = 2.0**-52


@contextlib.contextmanager
def looking(f, x, noise=1e-16):
    """Differences of `f` in a vector, and the error model of that noise."""
    x = np.array(x, float)
    before = x.tobytes()
    # As wherever the judge looks at them.
    with quiet(), Metered(local(Lenient(f), x, Guard(flatten(x)))) as run:
        base = float(run.base())
        model = ErrorModel(base, noise, DOUBLE, 1e-5, SPACING, SPACING)
        yield Differences(run, 0), model, np.arange(len(x))
    assert x.tobytes() == before


def rows_of(differences, model, entries, first=1e-3, count=8):
    """A table of steps that shrink from the first."""
    rows = None
    for k in range(count):
        steps = np.full(len(entries), first / RATIO**k)
        row = model.step_row(differences.at(entries, steps))
        rows = row if rows is None else rows.above(row)
    return rows


def estimate_of(value, step, n=1):
    """A derivative that converged to this value at this step."""
    full = np.zeros(n) + value
    off = np.zeros(n, bool)
    numbers = np.array((full, np.full(n, 1e-9), full, full, np.full(n, step)))
    return Estimate(numbers, np.array((off, ~off)))


# ------------------------------------------------------------------------------------------- noise


@quick(30)
@given(rng=randoms)
def test_smooth_functions_have_no_noise(rng):
    speed, x = rng.uniform(0.1, 2), rng.normal(size=3)
    step = 10.0 ** rng.uniform(-3, -1)
    with looking(lambda x: float(np.sum(np.exp(np.sin(speed * x)))), x) as seen:
        differences, model, entries = seen
        found = scales.noise_at(differences, entries, np.full(3, step), model.base)
    assert (found <= 1e-14).all()


@quick(30)
@given(rng=randoms)
def test_noise_of_a_grid_is_seen_at_its_scale(rng):
    """Whatever the grid, as long as it is not far coarser or finer than the step."""
    grid, slope = 10.0 ** rng.uniform(-8, -4), rng.uniform(0.5, 3)
    x = rng.normal(size=2)
    with looking(lambda x: float(slope * np.sum(np.round(x / grid) * grid)), x) as seen:
        differences, model, entries = seen
        found = scales.noise_at(differences, entries, np.full(2, 7.3 * grid), model.base)
    assert (found <= 2 * slope * grid).all()
    assert found.max() >= 0.05 * slope * grid


@quick(20)
@given(rng=randoms)
def test_kink_on_one_side_is_no_noise(rng):
    at, step = rng.normal(), 10.0 ** rng.uniform(-5, -2)
    f = lambda x: float(np.maximum(x[0] - at - 2.5 * step, 0))  # noqa: E731
    with looking(f, [at]) as seen:
        differences, model, entries = seen
        found = scales.noise_at(differences, entries, np.full(1, step), model.base)
    assert found[0] <= 1e-15


@quick(40)
@given(rng=randoms)
def test_where_nothing_shows_ahead_what_shows_behind_changes_nothing(rng):
    """The same as of both sides always, for smooth, noisy and one-sided functions of entries."""
    x, step = rng.normal(size=4), 1e-4
    noise = rng.normal(size=(2, 10_000)) * rng.choice([0, 1e-9, 1e-7], size=(2, 1))

    def f(p):
        away = (p - x) / step
        at = np.round(np.abs(away) * 1000).astype(int) % 10_000
        return float(np.sum(np.sin(p)) + np.sum(noise[(away < 0).astype(int), at]))

    with looking(f, x) as seen:
        differences, model, entries = seen
        ask = scales.noise_at, differences, entries, np.full(4, step), model.base
        calls = differences.run.evaluations
        found = ask[0](*ask[1:])
        calls = differences.run.evaluations - calls
        ahead, behind = (
            scales._noise_beside(differences, entries, sign * ask[3], model.base)
            for sign in (1, -1)
        )
    apart = np.maximum(ahead, behind) > scales._ONE_SIDED * np.minimum(ahead, behind)
    both = np.where(apart, np.minimum(ahead, behind), np.maximum(ahead, behind))
    assert np.array_equal(found, both)
    assert calls == 6 * 4 + 6 * np.count_nonzero(ahead)


def test_noise_behind_is_not_asked_where_that_ahead_is_enough():
    noisy = np.random.default_rng(0).normal(size=100_003)
    f = lambda x: float(x @ x + 1e-9 * noisy[int(abs(x[0] + x[1]) * 1e7) % len(noisy)])  # noqa: E731
    with looking(f, [1.0, 2.0]) as seen:
        differences, model, entries = seen
        before = differences.run.evaluations
        enough = np.array([1e-7, 0.0])
        scales.noise_at(differences, entries, np.full(2, 1e-4), model.base, enough)
        assert differences.run.evaluations - before == 6 * 2 + 6


def test_outside_of_the_domain_is_no_noise():
    with looking(lambda x: float(x[0] if x[0] == 1 else math.nan), [1.0]) as seen:
        differences, model, entries = seen
        found = scales.noise_at(differences, entries, np.full(1, 1e-4), model.base)
    assert found[0] == 0.0


# ------------------------------------------------------------------------------------------- jumps


@quick(30)
@given(rng=randoms)
def test_jumps_are_told_from_what_is_continuous(rng):
    slope, at = rng.normal(), rng.uniform(0.1, 0.9)
    size = float(rng.choice([-1, 1])) * 10.0 ** rng.uniform(-3, 3)

    def jump(x):
        return slope * x[0] + size * (x[0] > at)

    def bend(x):
        return slope * x[0] + size * max(x[0] - at, 0.0)

    def curve(x):
        return slope * x[0] + size * x[0] ** 3

    for f, jumps in ((jump, True), (bend, False), (curve, False)):
        with looking(lambda x, f=f: float(f(x)), [0.0]) as seen:
            differences, model, entries = seen
            low, high, slopes = np.full(1, 1e-9), np.full(1, 1.0), np.full(1, slope)
            found = scales.jumps_between(differences, entries, low, high, slopes, model.base)
        assert found.tolist() == [jumps]


@pytest.mark.parametrize(
    ("f", "jumps", "continuous"),
    [
        (lambda x: float(x[0] >= 0.5001), True, False),
        (lambda x: float(np.floor(1000 * x[0] + 0.3)), True, False),
        (lambda x: max(float(abs(x[0] - 0.5) - 1e-5), 0.0), False, True),
        (lambda x: float(x[0] ** 2), False, False),
        (lambda x: 1.0, False, False),
    ],
    ids=["step", "stairs", "dead_zone", "smooth", "constant"],
)
def test_edges(f, jumps, continuous):
    with looking(f, [0.5]) as seen:
        differences, model, entries = seen
        rows = rows_of(differences, model, entries)
        edges = scales.edges_of(rows, differences, entries, model)
    assert edges.jumps.tolist() == [jumps]
    assert edges.continuous.tolist() == [continuous]


# ------------------------------------------------------------------------- before wrong is said


def doubts(f, x, claim, value, step=1e-6, noise=1e-16):
    """The doubts about a claim, where small steps show this value."""
    with looking(f, x, noise) as seen:
        differences, model, entries = seen
        rows = rows_of(differences, model, entries, first=RATIO**2 * step)
        found = estimate_of(value, step, len(entries))
        claimed = np.zeros(len(entries)) + claim
        return scales.doubts_of_wrong(rows, found, claimed, differences, entries, model).tolist()


@quick(20)
@given(rng=randoms)
def test_smooth_functions_leave_no_doubt(rng):
    x, factor = rng.uniform(0.5, 1.2), float(rng.choice([-1.0, 0.0, 0.5, 1.001, 2.0]))
    value = math.cos(x)
    assert doubts(lambda x: math.sin(x[0]), [x], factor * value, value) == [Doubt.NONE]


@quick(20)
@given(rng=randoms)
def test_pieces_with_slopes_of_their_own(rng):
    """Between jumps the slope is 1, and over some of them it is that of the claim."""
    width, claim, x = 10.0 ** rng.uniform(-4.5, -4.2), rng.uniform(2, 9), rng.uniform(-1, 1)
    x = (math.floor(x / width) + rng.uniform(0.4, 0.6)) * width

    def f(x):
        return float(x[0] + (claim - 1) * width * math.floor(x[0] / width))

    assert doubts(f, [x], claim, 1.0) == [Doubt.SCALES]


@quick(20)
@given(rng=randoms)
def test_one_jump_on_either_side(rng):
    """Within a larger step there is one, ahead or behind, that makes up for the slope."""
    width, claim = 2 * scales._LARGER[1], rng.uniform(2, 9)
    place = rng.uniform(0.1, 0.4) + 0.5 * rng.integers(2)
    x = (math.floor(rng.uniform(-0.9, 0.9) / width) + place) * width

    def f(x):
        return float(x[0] + (claim - 1) * width * math.floor(x[0] / width))

    assert doubts(f, [x], claim, 1.0) == [Doubt.SCALES]


@pytest.mark.parametrize("width", [1e-9, 1e-10])
def test_stairs_on_which_f_stands_still_agree_with_no_claim(width):
    """Narrower than the step: a gradient that was never computed is wrong."""
    f = lambda x: float(width * math.floor(x[0] / width))  # noqa: E731
    for x in ([0.25 + 0.3 * width], [-0.75 + 0.6 * width]):
        assert doubts(f, x, 0.0, 1.0) == [Doubt.NONE]


def test_errors_of_the_size_of_those_of_f():
    """A solver's tolerance: jumps of 1e-6, each some 1e-3 apart."""

    def f(x):
        return float(x[0] + 1e-6 * math.sin(1e5 * math.floor(1e3 * x[0])))

    found = doubts(f, [0.5005], 1.0005, 1.0)
    assert found in ([Doubt.INEXACT], [Doubt.SCALES])
    assert doubts(f, [0.5005], 1.5, 1.0) == [Doubt.NONE]


def test_errors_of_f_are_a_larger_share_of_small_derivatives():
    def f(x):
        jumps = 1e-6 * math.sin(1e5 * math.floor(1e3 * (x[0] + x[1])))
        return float(x[0] + 1e-3 * x[1] + jumps)

    x, slopes = [0.25, 0.2505], np.array([1.0, 1e-3])
    inexact = [Doubt.INEXACT, Doubt.INEXACT]
    assert doubts(f, x, slopes + np.array([5e-4, 4e-4]), slopes) == inexact
    assert doubts(f, x, slopes + np.array([5e-4, 5e-2]), slopes)[1] == Doubt.NONE
    # Without errors that show, small deviations of small derivatives are wrong.
    assert doubts(lambda x: float(slopes @ x), x, slopes + 4e-4, slopes) == [Doubt.NONE] * 2


def test_slope_stands_at_steps_near_by():
    for f, stands in ((lambda x: 2 * x[0], True), (lambda x: x[0] * abs(x[0]), False)):
        with looking(f, [0.0]) as seen:
            differences, model, entries = seen
            found = estimate_of(2.0, 1e-3)
            seen = scales.stands_at_others(differences, entries, found, np.zeros(1), model)
        assert seen.tolist() == [stands]


@quick(40)
@given(rng=randoms)
def test_only_steps_that_can_tell_are_taken_before_wrong_is_said(rng):
    """Of kinks and long steps no larger one, and no tiny step that is not far below its own."""
    n, x = 6, rng.normal(size=6)
    error, step = 10.0 ** rng.uniform(-6, 0, n), 10.0 ** rng.uniform(-12, 0, n)
    kinked = rng.random(n) < 0.5
    found = estimate_of(1.0, step, n)
    found.flags[0] = kinked
    with looking(np.sum, x) as (differences, model, entries):
        noise = max(model.noise, model.unit * abs(model.base))
        tiny = scales._TINY * noise / error < step / RATIO
        lengths = np.maximum(np.abs(x), 1)
        larger = (np.multiply.outer(scales._LARGER, lengths) > step) & ~kinked
        before = differences.run.evaluations
        scales._right_elsewhere(found, 1 + error, differences, entries, model)
        taken = differences.run.evaluations - before
    assert taken == 2 * (np.count_nonzero(larger) + np.count_nonzero(tiny))


def test_nothing_to_look_at():
    with looking(lambda x: 1.0, []) as seen:
        differences, model, entries = seen
        nothing = np.zeros(0)
        found = estimate_of(1.0, 1e-3, 0)
        assert scales.stands_at_others(differences, entries, found, nothing, model).shape == (0,)
        agrees = steep.agree_at_small(differences, entries, nothing, nothing, nothing, model.noise)
        assert agrees.shape == (0,)


@quick(20)
@given(rng=randoms)
def test_claims_of_fast_functions_agree_on_their_own_scale(rng):
    speed, x = 10.0 ** rng.uniform(5, 8), rng.uniform(0.5, 1)
    slope = speed * math.cos(speed * x)
    if abs(math.cos(speed * x)) < 0.2:
        return
    with looking(lambda x: math.sin(speed * x[0]), [x]) as seen:
        differences, model, entries = seen
        for claim, agrees in ((slope, True), (-slope, False), (0.0, False)):
            claims = np.array([claim])
            found = steep.agree_at_small(
                differences, entries, claims, np.abs(claims), np.ones(1), model.noise
            )
            assert found.tolist() == [agrees]


# ------------------------------------------------------------------------- steep at small scales


def noisy(x):
    """Values that depend on the last bits of the parameters."""
    return float(np.sum(x) + 4e-6 * (crc32(x.tobytes()) / 2**32 - 0.5))


def test_noise_is_not_steep():
    """One quotient of noise is near a claim in one of 36 cases: several must be."""
    n = 300
    with looking(noisy, np.linspace(1, 2, n), noise=1e-6) as (differences, _, entries):
        claims = np.linspace(-3, 3, n) + 0.01
        found = steep.agree_at_small(
            differences, entries, claims, np.abs(claims), np.full(n, 1e-6), DOUBLE
        )
    assert not found.any()


def is_hidden(f, x, claim, noise, step=1e-6):
    """Whether a claim may hold below this step, at which `f` is seen to be flat."""
    with looking(f, [x], noise) as (differences, model, entries):
        claims = np.array([claim])
        found = estimate_of(0.0, step)
        return bool(len(steep.hidden(found, np.abs(claims), claims, differences, entries, model)))


@pytest.mark.parametrize("power", [1, 2])
@quick(20)
@given(rng=randoms)
def test_slopes_at_the_tops_of_waves_are_known_to_some_spacings(power, rng):
    """A sine near 0 to some power, at which no step is small enough for its slope."""
    speed, x = 10.0 ** rng.uniform(9, 11), rng.uniform(0.5, 0.9)
    start = x * (1 + rng.integers(-1, 2) * SPACING)
    f = lambda x: math.sin(speed * (x[0] - start)) ** power  # noqa: E731
    t = speed * (x - start)
    slope = power * speed * math.sin(t) ** (power - 1) * math.cos(t)
    if slope:
        assert is_hidden(f, x, slope, 0.3)
    # What it is at some hundred spacings is no rounding of it.
    far = power * speed * (300 * speed * SPACING) ** (power - 1)
    assert not is_hidden(f, x, 3 * far, 0.3)
    assert not is_hidden(f, x, -3 * far, 0.3)


@quick(20)
@given(rng=randoms)
def test_claims_are_not_hidden_by_noise(rng):
    claim = float(rng.choice([-1, 1])) * 10.0 ** rng.uniform(1, 9)
    assert not is_hidden(noisy, rng.uniform(1, 2), claim, 1e-6)


SMALL = {
    "sqrt": (np.sqrt, lambda x: 0.5 / np.sqrt(x)),
    "log": (np.log, lambda x: 1 / x),
    "cbrt": (np.cbrt, lambda x: 1 / (3 * np.cbrt(x) ** 2)),
}
ROUGH = {
    "pole": (
        lambda x: np.log(2 - x),
        lambda x: -1 / (2 - x),
        lambda rng: 2 - 10 ** rng.uniform(-14, -10),
    ),
    "fast": (
        lambda x: 0.01 * np.sin(1e12 * x**2) + x**2,
        lambda x: 0.02e12 * x * np.cos(1e12 * x**2) + 2 * x,
        lambda rng: rng.uniform(0.3, 1.0),
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("rough", ROUGH)
@pytest.mark.parametrize("small", SMALL)
def test_noise_of_another_entry_hides_what_happens_beside_zero(small, rough):
    """What one entry does near by passes for noise, and keeps the steps of the others large."""
    (f, slope), (g, other, draw) = SMALL[small], ROUGH[rough]
    rng = np.random.default_rng(7)
    for _ in range(15):
        x = np.array([10 ** rng.uniform(-12, -7), draw(rng)])
        right = np.array([slope(x[0]), other(x[1])])
        report = fg.check_gradient(lambda x: f(x[0]) + g(x[1]), right, x)
        assert report.verdict is not Verdict.WRONG, (x, report)
