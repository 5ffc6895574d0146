"""Relations of reparametrizations: a chain rule that is missing, or applied once too often."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from fastgrad._checks.case import Case
from fastgrad._checks.relations import (
    EVEN,
    Predicted,
    Relation,
    Search,
    coefficient,
    fits,
    product_noise,
    vanishes,
)
from fastgrad._report.causes import Cause

__all__ = ["CHAINED"]

# A normalization has one number that is fitted, or two: one more entry confirms it, beside the
# product with the parameters that vanishes. Where the parameters are alike, as in the column of a
# Jacobian, the same is an added constant beside values that sum to zero, as flows between a few
# compartments do.
_FEWEST, _FEWEST_ALIKE = 2, 4


def _sigmoid(x: np.ndarray) -> np.ndarray:
    sigmoid: np.ndarray = 1 / (1 + np.exp(-x))
    return sigmoid


# Gains by the parameter, what is said of them, and what they mean.
_CHAINS: tuple[tuple[Cause, Callable[[np.ndarray], np.ndarray], str, str], ...] = (
    (
        Cause.LOG_PARAMETER,
        lambda x: x,
        "times the parameter",
        "the derivative with respect to its logarithm",
    ),
    (
        Cause.LOG_PARAMETER,
        lambda x: 1 / x,
        "over the parameter",
        "the chain rule of a logarithm, applied once too often",
    ),
    (
        Cause.LOG_PARAMETER,
        lambda x: np.exp(-x),
        "times exp(-parameter)",
        "the factor exp(parameter) is missing",
    ),
    (
        Cause.LOG_PARAMETER,
        np.exp,
        "times exp(parameter)",
        "the chain rule of an exponential, once too often",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: 1 / _sigmoid(x),
        "over sigmoid(parameter)",
        "the derivative of softplus is missing",
    ),
    (
        Cause.CHAIN_RULE,
        _sigmoid,
        "times sigmoid(parameter)",
        "the derivative of softplus, once too often",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: 1 / (_sigmoid(x) * _sigmoid(-x)),
        "over the slope of sigmoid(parameter)",
        "the derivative of a sigmoid is missing",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: _sigmoid(x) * _sigmoid(-x),
        "times the slope of sigmoid(parameter)",
        "the derivative of a sigmoid, once too often",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: np.cosh(x) ** 2,
        "over the slope of tanh(parameter)",
        "the derivative of tanh is missing",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: 1 / np.cosh(x) ** 2,
        "times the slope of tanh(parameter)",
        "the derivative of tanh, once too often",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: 1 / (2 * x),
        "over twice the parameter",
        "the derivative with respect to its square",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: 2 * x,
        "times twice the parameter",
        "the chain rule of a square, once too often",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: x * (1 - x),
        "times parameter x (1 - parameter)",
        "the derivative with respect to its logit",
    ),
    (
        Cause.CHAIN_RULE,
        lambda x: -np.expm1(-x),
        "times 1 - exp(-parameter)",
        "the derivative with respect to its inverse softplus",
    ),
)


def _chain_rule(case: Case) -> Iterator[Relation]:
    x = case.parameters
    if np.iscomplexobj(x) or (case.size > 1 and np.ptp(x) <= EVEN * np.abs(x).max()):
        return  # of even parameters any function is a factor
    for kind, gain, words, meaning in _CHAINS:
        relation = Relation(
            kind,
            f"is the numeric gradient {words}",
            _times(gain),
            meaning,
        )
        if fits(case, relation, ways=len(_CHAINS)):
            yield relation
            return


def _times(gain: Callable[[np.ndarray], np.ndarray]) -> Callable[[Case], Predicted]:
    def predict(case: Case) -> Predicted:
        times = gain(case.parameters)
        return times * case.numeric, times

    return predict


# What is said of a claim that lacks a projection, and of one that has a needless one.
_NOT_PROJECTED = (
    "has a part along the parameter that the numeric gradient has not",
    "`f` normalizes the parameter, and the chain rule of that, or a projection, is missing",
)
_PROJECTED = (
    "lacks the part of the numeric gradient along the parameter",
    "it is projected, as for a parameter that is normalized, which `f` does not do",
)


def _normalization(case: Case) -> Iterator[Relation]:
    """A multiple of the parameters by which the gradient, or the claim, is projected."""
    x = case.parameters
    if case.size < _FEWEST or np.iscomplexobj(x):
        return
    if case.size < _FEWEST_ALIKE and not np.ptp(x):
        return
    for values, (what, meaning) in ((case.numeric, _NOT_PROJECTED), (case.analytic, _PROJECTED)):
        if not vanishes(values * x, case, x):
            continue
        # The share of random gradients of which it would vanish as well.
        ways = product_noise(values * x, case, x)
        # The scale is that of the normalized parameter: of a unit vector it is one.
        fitted = coefficient(case.analytic, case.numeric - _along(case.numeric, x))
        for a, numbers in ((1.0, 1), (fitted, 2)):
            b = coefficient(case.analytic - a * case.numeric, x)
            factors = {"factor": a, "coefficient": b}
            relation = Relation(Cause.NORMALIZATION, what, _combined(a, b), meaning, factors)
            if numbers < case.size and fits(case, relation, fitted=numbers, ways=ways):
                yield relation
                break


def _combined(a: float, b: float) -> Callable[[Case], Predicted]:
    return lambda case: (a * case.numeric + b * case.parameters, a)


def _along(values: np.ndarray, x: np.ndarray) -> np.ndarray:
    return coefficient(values, x) * x


# These come after relations with one factor, and before added terms.
CHAINED: tuple[Search, ...] = (_chain_rule, _normalization)
