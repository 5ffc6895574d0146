"""Residuals at one step and at several: which of them stand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fastgrad._checks.residual import Residual, Row, limit_of, stand_alike

# An error of 0.1 in a derivative of 1, of a function that curves.
ERROR, CURVATURE = 0.1, 3.0


def row(time, error=ERROR, kink=0.0, numeric=1.0, noise=1e-6):
    """Residuals of a function with a gap of its one-sided derivatives, and curvature."""
    gap = kink + CURVATURE * time
    return Row(
        time=time,
        central=error,
        ahead=error - gap / 2,
        behind=error + gap / 2,
        noise=noise / time,
        norm=1.0,
        claimed=numeric + error,
        numeric=numeric,
        slack=1e-7,
        growth=CURVATURE,
    )


SMALL, LARGE = 1e-3, 7.3e-3


def test_an_error_stands_at_two_steps():
    assert stand_alike(row(SMALL), row(LARGE))


@pytest.mark.parametrize(
    ("small", "large"),
    [
        (row(SMALL, error=0.1), row(LARGE, error=0.3)),  # truncation, or noise
        (row(SMALL, error=0.1), row(LARGE, error=-0.1)),
        (row(SMALL, noise=1e-4), row(LARGE)),  # noise at the smaller step
        (row(SMALL, kink=0.4), row(LARGE, kink=0.4)),
        # Steps that are far too large: the derivative of f vanishes beside what is claimed.
        (row(SMALL, numeric=7.3e-2), row(LARGE, numeric=1e-2)),
        (row(SMALL, error=math.nan), row(LARGE)),
        (row(SMALL), row(LARGE, error=math.inf)),
    ],
)
def test_what_does_not_stand(small, large):
    assert not stand_alike(small, large)


def test_curvature_is_no_kink():
    """The gap may be larger than the error, where it closes in proportion to the step."""
    steep = [replace(row(t), ahead=ERROR - 200 * t, behind=ERROR + 200 * t) for t in (SMALL, LARGE)]
    assert stand_alike(*steep)


def test_nothing_is_known_from_one_row_or_from_none_that_is_finite():
    assert limit_of([row(SMALL)]) == (Residual(ERROR, math.inf), None)
    rows = [row(LARGE, error=math.nan), row(SMALL, error=math.nan)]
    assert not limit_of(rows)[0].significant


def test_rest_of_a_block():
    rest = Residual(1.0, 0.1).minus(Residual(0.25, 0.05))
    assert (rest.value, rest.bound) == (0.75, pytest.approx(0.15))
    assert not Residual(math.nan, 1.0).significant
    assert not Residual(1.0, math.inf).significant
