"""Stencils are what they claim: exact in rational arithmetic, of the order they print."""

from __future__ import annotations

import copy
import dataclasses
import math
import pickle
from fractions import Fraction
from math import factorial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import STENCIL_IDS, STENCILS, named, quick

import fastgrad as fg
from fastgrad._stencils import resolve

pytestmark = pytest.mark.once
every = pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
rationals = st.fractions(-10, 10, max_denominator=1000)
step_sizes = st.fractions(Fraction(1, 1000), 10, max_denominator=1000)


def apply(stencil, f, x, h):
    return sum(w * f(x + k * h) for k, w in stencil.weights.items()) / h


@every
def test_weights_sum_to_zero_and_have_first_moment_one(stencil):
    assert sum(stencil.weights.values()) == 0
    assert sum(k * w for k, w in stencil.weights.items()) == 1


@every
def test_higher_moments_vanish_up_to_the_order(stencil):
    for power in range(2, stencil.order + 1):
        assert sum(w * k**power for k, w in stencil.weights.items()) == 0


@every
def test_quotients_average_to_one(stencil):
    assert sum(weight for _, _, weight in stencil.quotients) == 1


@every
@given(x=rationals, h=step_sizes, data=st.data())
@quick(15)
def test_exact_for_polynomials_up_to_the_order(stencil, x, h, data):
    c = data.draw(st.lists(rationals, min_size=stencil.order + 1, max_size=stencil.order + 1))
    slope = sum(i * a * x ** (i - 1) for i, a in enumerate(c) if i)
    assert apply(stencil, lambda t: sum(a * t**i for i, a in enumerate(c)), x, h) == slope


@every
@given(x=rationals, h=step_sizes)
@quick(15)
def test_truncation_is_the_error_for_the_next_power(stencil, x, h):
    power = stencil.order + 1
    error = apply(stencil, lambda t: t**power, x, h) - power * x**stencil.order
    if stencil.name != "central":  # the power after next vanishes by symmetry only for central
        error = apply(stencil, lambda t: (t - x) ** power, x, h)
    expected = Fraction(stencil.truncation).limit_denominator(10**6) * factorial(power)
    assert abs(error) == expected * h**stencil.order


@pytest.mark.parametrize(
    ("stencil", "truncation", "amplification"),
    [
        (fg.forward(), 1 / 2, 2),
        (fg.backward(), 1 / 2, 2),
        (fg.forward(2), 1 / 3, 4),
        (fg.forward(3), 1 / 4, 20 / 3),
        (fg.forward(4), 1 / 5, 32 / 3),
        (fg.central(), 1 / 6, 1),
        (fg.central(4), 1 / 30, 3 / 2),
        (fg.central(6), 1 / 140, 11 / 6),
        (fg.central(8), 1 / 630, 25 / 12),
    ],
)
def test_known_error_constants(stencil, truncation, amplification):
    assert stencil.truncation == pytest.approx(truncation, rel=1e-15)
    assert stencil.amplification == pytest.approx(amplification, rel=1e-15)


@every
def test_amplification_is_the_sum_of_absolute_weights(stencil):
    assert stencil.amplification == float(sum(map(abs, stencil.weights.values())))


def test_known_weights():
    """Fornberg, Math. Comp. 51 (1988), tables 1 and 3."""
    eighth = [Fraction(*w) for w in [(1, 280), (-4, 105), (1, 5), (-4, 5)]]
    expected = dict(zip(range(-4, 0), eighth, strict=True))
    expected |= {-k: -w for k, w in expected.items()}
    weights = fg.central(8).weights
    assert {k: w for k, w in weights.items() if w} == expected
    assert list(fg.forward(4).weights.values()) == [
        Fraction(*w) for w in [(-25, 12), (4, 1), (-3, 1), (4, 3), (-1, 4)]
    ]


def test_backward_mirrors_forward():
    for order in (1, 2, 3, 4):
        mirrored = {-k: -w for k, w in fg.forward(order).weights.items()}
        assert fg.backward(order).weights == dict(sorted(mirrored.items()))


@every
def test_observed_order_of_convergence(stencil):
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        at = mpmath.mpf(7) / 10
        exact = mpmath.cos(at) * mpmath.exp(mpmath.sin(at))
        errors = []
        for h in (mpmath.mpf(1) / 2**10, mpmath.mpf(1) / 2**11):
            weights = {k: mpmath.mpf(w.numerator) / w.denominator
                       for k, w in stencil.weights.items()}  # fmt: skip
            values = [w * mpmath.exp(mpmath.sin(at + k * h)) for k, w in weights.items()]
            errors.append(abs(sum(values) / h - exact))
        assert float(mpmath.log(errors[0] / errors[1], 2)) == pytest.approx(stencil.order, abs=0.1)


@every
def test_evaluations_per_entry_are_the_order(stencil):
    assert stencil.evaluations == stencil.order
    assert stencil.uses_base == (stencil.name != "central")
    assert stencil.uses_base == (0 in {k for k, w in stencil.weights.items() if w})


@every
def test_table_holds_the_quotients_and_cannot_be_written(stencil):
    expected = [[float(a), float(b), float(v)] for a, b, v in stencil.quotients]
    np.testing.assert_array_equal(stencil.table, expected)
    with pytest.raises(ValueError, match="read-only"):
        stencil.table[0, 0] = 7.0


@every
def test_relative_step_balances_truncation_and_rounding(stencil):
    for dtype in ("f2", "f4", "f8", "g"):
        eps = float(np.finfo(dtype).eps)
        assert stencil.relative_step(np.dtype(dtype)) == eps ** (1 / (stencil.order + 1))


@pytest.mark.parametrize(
    ("stencil", "text"),
    [
        (fg.forward(), "forward(order=1): f(x) * -1, f(x+h) * 1; error O(h^1)"),
        (fg.backward(), "backward(order=1): f(x-h) * -1, f(x) * 1; error O(h^1)"),
        (fg.central(), "central(order=2): f(x-h) * -1/2, f(x+h) * 1/2; error O(h^2)"),
        (
            fg.central(order=4),
            "central(order=4): f(x-2h) * 1/12, f(x-h) * -2/3, f(x+h) * 2/3, f(x+2h) * -1/12; "
            "error O(h^4)",
        ),
        (
            fg.forward(order=2),
            "forward(order=2): f(x) * -3/2, f(x+h) * 2, f(x+2h) * -1/2; error O(h^2)",
        ),
    ],
    ids=repr,
)
def test_printed(stencil, text):
    assert str(stencil) == text


@every
def test_repr_builds_the_same_stencil(stencil):
    assert eval(f"fg.{stencil!r}") == stencil


@every
def test_a_value_equal_hashable_picklable_and_frozen(stencil):
    for twin in (copy.copy(stencil), copy.deepcopy(stencil), pickle.loads(pickle.dumps(stencil))):
        assert twin == stencil
        assert hash(twin) == hash(stencil)
        np.testing.assert_array_equal(twin.table, stencil.table)
    with pytest.raises(dataclasses.FrozenInstanceError):
        stencil.order = 3
    assert len(set(STENCILS)) == len(STENCILS)


@pytest.mark.parametrize(
    ("make", "order", "choices"),
    [
        (make, order, choices)
        for make, orders, choices in [
            (fg.forward, (0, 5, -1, 1.0, True, "1", None), "1, 2, 3, 4"),
            (fg.backward, (0, 5, 2.5), "1, 2, 3, 4"),
            (fg.central, (0, 1, 3, 10, 4.0, "2"), "2, 4, 6, 8"),
        ]
        for order in orders
    ],
)
def test_an_order_that_does_not_exist(make, order, choices):
    with pytest.raises(fg.InputValueError) as caught:
        make(order)
    said = str(caught.value)
    assert said == f"`order` of {make.__name__} must be one of {choices}; got {order!r}"


def test_a_numpy_integer_is_an_order():
    assert fg.central(np.int64(4)) == fg.central(4)


@pytest.mark.parametrize("count", [0, 5, 64])
def test_no_more_quotients_than_the_kernel_has_room_for(count):
    quotients = tuple((k, -k, Fraction(1, count)) for k in range(1, count + 1))
    with pytest.raises(fg.InputValueError, match=f"1 to 4 triples; got {count}"):
        fg.Stencil("mine", 2, quotients)


@pytest.mark.parametrize("name", ["forward", "backward", "central"])
def test_names_are_shorthands(name):
    expected = getattr(fg, name)()
    assert resolve(name) == expected
    assert resolve(np.str_(name)) == expected
    assert resolve(expected) is expected


def test_an_unknown_name():
    with pytest.raises(fg.InputValueError) as caught:
        fg.gradient(np.sum, np.ones(2), method="centred")
    expected = "`method` must be one of 'backward', 'central', 'forward'; got 'centred'"
    assert str(caught.value) == expected


@pytest.mark.parametrize("method", [None, 2, fg.central, ("central",)], ids=named)
def test_a_method_of_another_kind(method):
    with pytest.raises(fg.InputTypeError, match=r"`method` must be a stencil such as fg\.central"):
        fg.gradient(np.sum, np.ones(2), method=method)


CENTRAL = fg.central(order=4).quotients
THIRDS = ((1, 0, 3.0), (2, 0, -3.0), (3, 0, 1.0))


@pytest.mark.parametrize(
    "quotients",
    [((1, -1, Fraction(1)),), ((1, 0, Fraction(1, 2)), (0, -1, Fraction(1, 2))), THIRDS,
     tuple((a, b, float(v)) for a, b, v in CENTRAL), ((1, 0, 1),),
     ((1, 0, 1e6 + 0.1), (2, 0, -1e6 + 0.2), (3, 0, 1e6 + 0.3), (4, 0, -1e6 + 0.4))],
    ids=str,
)  # fmt: skip
def test_a_stencil_of_ones_own_is_exact_for_lines(quotients, backend):
    mine = fg.Stencil("mine", 1, quotients)
    assert fg.derivative(lambda t: 3 * t, 1.0, method=mine) == pytest.approx(3.0, rel=1e-8)


@pytest.mark.parametrize(
    ("quotients", "said"),
    [
        (((1, -1, Fraction(2)),), "must sum to 1; got 2 = 2, a factor of every derivative"),
        (((1, 0, Fraction(1, 2)), (0, -1, Fraction(1, 3))), "got 1/2 + 1/3 = 5/6"),
        (((1, 0, 0.5), (0, -1, 0.5 + 1e-9)), "divide the weights by their sum"),
        (((1, 0, math.nan),), "must sum to 1; got nan"),
        (((1, 0, math.inf), (2, 0, -math.inf)), "must sum to 1; got inf"),
        (((1, 1, Fraction(1)),), "two different offsets; got 1 twice"),
        (((1, 0, Fraction(1)), (0, 0, Fraction(0))), "two different offsets; got 0 twice"),
    ],
)
def test_a_stencil_that_is_no_first_derivative_is_refused(quotients, said):
    with pytest.raises(fg.InputValueError) as caught:
        fg.Stencil("mine", 2, quotients)
    assert said in str(caught.value)
