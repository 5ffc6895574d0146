"""What is taken for bounds and what is refused; directions along which no entry leaves them."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import quick

import fastgrad as fg
from fastgrad import InputTypeError, InputValueError, _backend
from fastgrad._evaluation.bounds import Within, bounds_of
from fastgrad._evaluation.direction import (
    Given,
    Jumps,
    OddMultiples,
    Proportional,
    Region,
    Uniform,
    made,
)
from fastgrad._tree import as_params, flatten

pytestmark = pytest.mark.usefixtures("backend")


@dataclass
class Scipys:
    """What scipy.optimize.Bounds looks like: numbers are arrays of one."""

    lb: Any
    ub: Any
    keep_feasible: bool = False


def parsed(given, params):
    argument = as_params(params)
    return bounds_of(given, argument, flatten(argument))


def nested():
    return {"a": np.ones((2, 2), "f4"), "b": [np.array(2.0), None], "c": np.full(1, 1 + 1j)}


TAKEN = {
    "none": (None, np.ones(2), None),
    "free": ((None, None), np.ones(2), None),
    "infinite": ((-np.inf, np.inf), np.ones(2), None),
    "numbers": ((0, 1.5), np.ones(2), ([0.0, 0.0], [1.5, 1.5])),
    "one side": ((None, 1), np.ones(2), ([-np.inf] * 2, [1.0, 1.0])),
    "arrays": ((np.zeros(2), [1, 3]), np.ones(2), ([0.0, 0.0], [1.0, 3.0])),
    "a number for an array": ((0, np.array([1.0, 2.0])), np.ones(2), ([0.0, 0.0], [1.0, 2.0])),
    "scipy, numbers": (Scipys(np.zeros(1), np.ones(1)), np.ones(2), ([0.0, 0.0], [1.0, 1.0])),
    "scipy, arrays": (Scipys(np.zeros(2), [1, 2]), np.ones(2), ([0.0, 0.0], [1.0, 2.0])),
    "numbers as parameters": (([0.0, 0.0], [2.0, 2.0]), [1.0, 2.0], ([0.0, 0.0], [2.0, 2.0])),
}


@pytest.mark.parametrize("name", TAKEN)
def test_taken(name):
    given, params, wanted = TAKEN[name]
    found = parsed(given, params)
    if wanted is None:
        assert found is None
        return
    for mine, theirs in zip(found.of(0, (...,), (2,)), wanted, strict=True):
        assert mine.tolist() == theirs


def test_of_a_structure():
    lower = {"a": np.zeros((2, 2)), "b": [1, None], "c": 0.5 - 1j}
    upper = {"a": None, "b": (3.0, None), "c": 1}
    found = parsed((lower, upper), nested())
    assert [each.dtype.char for each in found.lower] == ["f", "d", "d"]
    low, high = found.of(2, (...,), (1, 2))
    assert low.tolist() == [[0.5, -1.0]]
    assert high.tolist() == [[1.0, 1.0]]  # of both parts
    low, high = found.of(0, np.array([3, 1]), (2, 2))
    assert low.tolist() == [0, 0]
    assert high.tolist() == [np.inf, np.inf]
    assert [found.binds(k) for k in range(3)] == [True, True, True]
    again = pickle.loads(pickle.dumps(found))
    assert [each.tolist() for each in again.upper] == [each.tolist() for each in found.upper]


REFUSED = {
    "a number": (3.0, InputTypeError, "must be a pair (lower, upper)"),
    "an array": (np.zeros((2, 2)), InputTypeError, "must be a pair (lower, upper)"),
    "a dict": ({"a": (0, 1)}, InputTypeError, "must be a pair (lower, upper)"),
    "pairs": ([(0, 1)] * 3, InputValueError, "zip(*bounds)"),
    "too long": ((np.zeros(3), 2), InputValueError, "(2,); got (3,) (nothing is broadcast)"),
    "text": (("zero", 2), InputTypeError, "must be a number"),
    "texts": ((["0", "1"], 2), InputTypeError, "the lower bound of `params`"),
    "ragged": (([0.0, [1.0]], 2), InputTypeError, "the lower bound of `params`"),
    "NaN": ((np.nan, 2), InputValueError, "must not be NaN"),
    "crossed": ((2, 0), InputValueError, "`params[0]`, 2, lies above the upper one, 0"),
    "complex": ((1j, 2), InputTypeError, "the lower bound"),
    "below": (([0, 1.5], 2), InputValueError, "`params[1]` = 1 lies outside of its bounds, below"),
    "above": ((0, [0.5, 2]), InputValueError, "`params[0]` = 1 lies outside of its bounds, above"),
    "structure": (({"a": 0}, 1), InputTypeError, "the lower bound"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("run", [fg.gradient, lambda f, x, **k: fg.check_gradient(f, x, x, **k)])
def test_refused(name, run):
    given, kind, words = REFUSED[name]
    with pytest.raises(kind) as error:
        run(lambda x: pytest.fail("evaluated"), np.ones(2), bounds=given)
    assert words in str(error.value)


def test_refused_in_a_structure():
    for lower, words in (
        ({"a": 0, "b": [2.5, None], "c": None}, "`b[0]` = 2 lies outside of its bounds, below"),
        ({"a": 0, "b": [0, 1], "c": None}, "`b[1]`, which is None in `params`"),
        ({"a": 0, "b": [0, None], "c": 1.5}, "`c[0].real` = 1 lies outside"),
        ({"a": np.zeros(2), "b": [0, None], "c": None}, "must be a number or have shape (2, 2)"),
        ({"a": 0}, "lower bounds"),
    ):
        with pytest.raises((InputTypeError, InputValueError)) as error:
            parsed((lower, None), nested())
        assert words in str(error.value)


def test_parameters_may_be_nan_or_on_the_bound_as_their_type_has_it():
    assert parsed((0, 1), np.array([np.nan, 1.0, 0.0])) is not None
    third = np.array([1 / 3], "f4")
    assert float(third[0]) > 1 / 3
    assert parsed((0, 1 / 3), third).upper[0] == third
    _, high = parsed((0, 1 / 3), np.zeros(2, "f4")).of(0, (...,), (2,))
    assert (high == np.nextafter(third, np.float32(0))).all()
    with pytest.raises(InputValueError, match="lies outside"):
        parsed((0, 1 / 3), np.nextafter(third, np.float32(1)))
    assert parsed((-1e300, 1e300), third) is None


# ---------------------------------------------------------------- directions


DIRECTIONS = {
    "uniform": lambda regions: Uniform(3, 1, regions, (0.3,) * len(regions)),
    "powers of two": lambda regions: OddMultiples(3, regions, 0.25),
    "jumps": lambda regions: Jumps(3, regions),
    "proportional": lambda regions: Proportional(regions, 0.25),
    "given": lambda regions: Given(regions, (np.linspace(-2, 2, 6).reshape(2, 3),)),
}


@st.composite
def boxes(draw):
    """Entries with room on both sides, on one, or on none."""
    dtype = draw(st.sampled_from(["f8", "f4", "f2", "g", ">f8"]))
    x = np.array(draw(st.lists(st.floats(-8, 8, width=16), min_size=6, max_size=6)), dtype)
    rooms = st.sampled_from([0.0, 1e-3, 0.125, 10.0, np.inf])
    low, high = (np.array([draw(rooms) for _ in range(6)]) for _ in range(2))
    x = x.reshape(2, 3).astype(dtype)
    return x, x - low.reshape(2, 3), x + high.reshape(2, 3)


@pytest.mark.parametrize("name", DIRECTIONS)
@quick(50)
@given(boxes(), st.sampled_from([(1.0,), (1.0, 2.0, 5.0), (-1.0, -3.0), (1.0, -1.0), (0.5, -2.0)]))
def test_no_entry_leaves_its_bounds(name, box, times):
    x, low, high = box
    region = Region(0, (slice(0, 2), slice(1, 3)), x.shape)
    bounds = parsed((low, high), x)
    inner = DIRECTIONS[name]((region,))
    if name == "given":
        inner = Given((region,), (inner.moves[0][:, 1:],))
    within = Within.for_times(inner, bounds, times) if bounds else inner
    part = region.of(x)
    kernel = _backend.kernel_for(part)
    claim = np.arange(4.0).reshape(2, 2)
    makes, plain = within.mover(0, part, kernel), inner.mover(0, part, kernel)
    free, steps = np.empty_like(part), []
    for time in times:
        target = np.full_like(part, 77)
        said = makes(target, time, claim)
        assert ((region.of(low) <= target) & (target <= region.of(high))).all()
        assert said == made(target, part, claim)
        plain(free, time, None)
        inside = (region.of(low) <= free) & (free <= region.of(high))
        if time == max(times, key=abs):
            assert (target == free)[inside].all()
        steps.append((target.astype("g") - part) / time)
    # Along one side moves are multiples of one, forward or backward.
    if name != "uniform" and part.dtype.itemsize >= 8 and min(times) * max(times) > 0:
        for step in steps[1:]:
            np.testing.assert_allclose(step, steps[0], rtol=1e-9, atol=1e-9)


def test_entries_turn_to_where_there_is_room():
    x = np.array([0.0, 0.0, 1.0, 1.0, 0.5])
    bounds = parsed((np.array([0, 0, 0, 1, 0.5]), np.array([1, 0, 1, 1, 0.5])), x)
    region = Region(0, (slice(0, 5),), (5,))
    moves = np.array([-0.25, 0.25, 0.25, 0.25, 0.25])
    within = Within.for_times(Given((region,), (moves,)), bounds, (1.0, 2.0))
    target = np.empty(5)
    within.mover(0, x, _backend.kernel)(target, 1.0, None)
    assert target.tolist() == [0.25, 0.0, 0.75, 1.0, 0.5]
