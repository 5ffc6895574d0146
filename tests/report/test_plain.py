"""Results as JSON's types."""

import json
from collections import namedtuple
from dataclasses import dataclass
from enum import Enum

import numpy as np
import pytest

from fastgrad._report.plain import plain

Pair = namedtuple("Pair", "a b")


class Colour(Enum):
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
        (Colour.RED, "RED"),
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
def test_values(value, expected):
    seen = plain(value)
    assert seen == expected
    assert type(seen) is type(expected)
    assert json.loads(json.dumps(seen, allow_nan=False)) == seen
