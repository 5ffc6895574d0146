"""Steps of differences of fourth order, by what functions show."""

import numpy as np
import pytest

from fastgrad._derivatives.positions import Positions
from fastgrad._derivatives.smooth_steps import smooth_steps
from fastgrad._evaluation.guard import Guard
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.local import local
from fastgrad._evaluation.meter import Metered
from fastgrad._tree import flatten

pytestmark = pytest.mark.usefixtures("backend")
STEP, LEAST, NOISE = 2.0**-10, 2.0**-44, 1e-16


def found(f, x):
    """The steps, and the evaluations that they took."""
    x = np.array(x, float)
    before = x.tobytes()
    with Metered(local(Lenient(f), x, Guard(flatten(x)))) as run:
        base = float(run.base())
        n = len(x)
        steps = smooth_steps(Positions(run), np.full(n, STEP), np.full(n, LEAST), base, NOISE)
        count = run.evaluations
    assert x.tobytes() == before
    return steps, count - 1


def test_steps_for_functions_of_scale_one_stay():
    steps, evaluations = found(lambda x: float(np.sin(x).sum()), [0.3, 1.2, -0.7])
    assert (steps == STEP).all()
    assert evaluations == 6 * 3


@pytest.mark.parametrize("part", [np.sin, np.cos, lambda z: np.exp(-(z**2)), lambda z: 1 / (2 + z)])
@pytest.mark.parametrize("at", [0.0, 0.4])
def test_they_shrink_to_the_scale_on_which_it_varies(part, at):
    """Wherever the parameters stand: even and odd functions are seen at zero as well."""
    for scale in (1e-2, 1e-4, 1e-6):
        steps, evaluations = found(lambda x, s=scale: float(part(x[0] / s) + x[1]), [at * scale, 1])
        assert scale * 1e-4 < steps[0] < 0.02 * scale
        assert steps[1] == STEP
        assert evaluations <= 12 + 2 * 24


def test_values_that_are_not_finite_are_avoided():
    with np.errstate(invalid="ignore"):
        steps, _ = found(lambda x: float(np.log(x[0])), [1e-5])
    assert 1e-9 < steps[0] < 2e-7


@pytest.mark.parametrize("f", [lambda x: np.nan if x[0] else 0.0, lambda x: 3.0])
def test_where_nothing_is_seen_they_stay(f):
    steps, _ = found(lambda x: float(f(x)), [0.0])
    assert steps[0] == STEP
