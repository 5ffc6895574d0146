"""Words and numbers in few characters, and results as JSON's types."""

import json
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgrad._report.format import (
    compact,
    limit,
    number,
    printable,
    shorten,
    steps,
    to_json,
    width,
    wrap,
)

pytestmark = pytest.mark.once
TEXT = st.text(max_size=300)


@given(TEXT, st.integers(8, 60))
def test_shortened_text_fits(text, most):
    short = shorten(text, most)
    assert width(short) <= most
    assert short.isprintable()


@given(TEXT, st.integers(12, 90), st.integers(1, 5))
def test_wrapped_lines_fit_and_are_few(text, most, lines):
    done = wrap(text, most, "  next: ", "    ", lines=lines)
    assert len(done) <= lines
    assert all(width(line) <= most for line in done)


@given(TEXT, st.integers(12, 90))
def test_wrapping_loses_nothing(text, most):
    joined = "".join(wrap(text, most, "", "", lines=10**6)).replace(" ", "")
    assert joined == "".join(printable(text).split()).replace(" ", "")


def test_both_ends_of_a_path_survive():
    short = shorten("network.blocks[12].attention.query.weight[3, 2]", 28)
    assert short.startswith("network.")
    assert short.endswith("weight[3, 2]")
    assert len(short) == 28


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("層", 2), ("e\u0301", 1), ("🙂", 2), ("", 0)]
)
def test_width_is_that_on_a_terminal(text, columns):
    assert width(text) == columns


@pytest.mark.parametrize(
    ("n", "said"),
    [
        (0, "0"),
        (9_999, "9,999"),
        (10_000, "10k"),
        (100_000, "100k"),
        (999_499, "999k"),
        (999_999, "1M"),
        (1_230_000, "1.23M"),
        (5 * 10**9, "5G"),
        (10**13, "1e+13"),
    ],
)
def test_compact_counts(n, said):
    assert compact(n) == said


def test_numbers_that_are_not_finite_come_as_words():
    assert number("nan") == "nan"
    assert number(1 / 3, 2) == "0.33"


def test_steps_are_one_number_or_a_range():
    assert steps({"steps": []}) == ""
    assert steps({"steps": [1e-5, 1e-5]}) == ", rel. step 1e-05"
    assert steps({"steps": [1e-3, 1e-5]}) == ", rel. step 1e-05 to 0.001"


def test_a_limit_of_zero_is_none():
    report = {"n_unclear": 0, "n_judged": 3, "detection_limit": 0.0, "miss_probability": 0.0}
    assert limit({**report, "leaves": [{"blocks": []}]}) == "no entry could be judged"


Pair = namedtuple("Pair", "a b")


class Color(Enum):
    RED = "a long sentence"


@dataclass(frozen=True)
class Point:
    x: float
    where: tuple[int, ...]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (3, 3),
        ("a", "a"),
        (0.5, 0.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (Color.RED, "RED"),
        ((1, (2, 3)), [1, [2, 3]]),
        (Pair(1, np.int64(2)), [1, 2]),
        ({1: (2,)}, {"1": [2]}),
        (frozenset([1]), [1]),
        (np.float32(0.5), 0.5),
        (np.longdouble(0.5), 0.5),
        (np.array([1.0, np.inf]), [1.0, "inf"]),
        (np.array(2), 2),
        (np.bool_(True), True),
        (1j, "1j"),
        (np.complex64(1j), "1j"),
        (np.clongdouble(1j), "1j"),
        (np.datetime64("2020-01-01"), "2020-01-01"),
        (Point(0.5, (1, 2)), {"x": 0.5, "where": [1, 2]}),
    ],
)
def test_results_become_what_json_knows(value, expected):
    seen = to_json(value)
    assert seen == expected
    assert type(seen) is type(expected)
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen
