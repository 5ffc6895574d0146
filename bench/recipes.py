"""The checkers that need nothing but NumPy and scipy: fastgrad, and what people write by hand.

A checker gets a case and says right, wrong, or that it cannot tell. `how` states the reading: where
a peer returns a number, the threshold that its documents, its tests or its users apply.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
from vectors import Flat, Vector

import fastgrad as fg

RIGHT, WRONG, UNCLEAR = "right", "wrong", "cannot tell"


@dataclass(frozen=True)
class Answer:
    """What a checker says: `wrong` marks entries, `score` is the number that it goes by."""

    verdict: str
    wrong: Vector | None = None
    cause: str | None = None
    score: float | None = None


@dataclass(frozen=True)
class Checker:
    """A way to check a gradient; `ask` gets a function, its claimed gradient and the parameters."""

    name: str
    how: str
    ask: Callable[[Callable, Callable, Any], Answer]
    package: str = "numpy"


def on_vector(ask: Callable[[Flat], Answer]) -> Callable[[Callable, Callable, Any], Answer]:
    """For those who take a vector of float64 only."""

    @wraps(ask)
    def flattened(f: Callable, grad: Callable, params: Any) -> Answer:
        return ask(Flat(f, grad, params))

    return flattened


def by_score(score: float, limit: float, wrong: Vector | None = None) -> Answer:
    """Wrong above the limit, and where the number is NaN."""
    score = float("inf") if np.isnan(score) else float(score)
    return Answer(RIGHT if score <= limit else WRONG, wrong, score=score)


def ask_fastgrad(f: Callable, grad: Callable, params: Any) -> Answer:
    """As users call it: with the case's own, nested parameters."""
    report = fg.check_gradient(f, grad, params)
    cause = report.causes[0].kind.name if report.causes else None
    wrong = report.entries.codes == fg.Verdict.WRONG.code
    return Answer(report.verdict.name.lower().replace("_", " "), wrong, cause)


def central_differences(f: Callable[[Vector], float], x: Vector, step: float) -> Vector:
    """The loop of the course notes: a fixed, absolute step."""
    x = x.copy()
    result = np.empty_like(x)
    for i, saved in enumerate(x.tolist()):
        x[i] = saved + step
        above = f(x)
        x[i] = saved - step
        below = f(x)
        x[i] = saved
        result[i] = (above - below) / (2 * step)
    return result


def norm_ratio(a: Vector, b: Vector) -> float:
    total = np.linalg.norm(a) + np.linalg.norm(b)
    return np.linalg.norm(a - b) / total if total else 0.0


@on_vector
def cs231n(flat: Flat) -> Answer:
    numeric = central_differences(flat.value, flat.x, 1e-5)
    size = np.abs(numeric) + np.abs(flat.claimed)
    error = np.abs(numeric - flat.claimed) / np.maximum(1e-8, size)
    return by_score(error.max(initial=0.0), 1e-2, ~(error <= 1e-2))


@on_vector
def course(flat: Flat) -> Answer:
    numeric = central_differences(flat.value, flat.x, 1e-7)
    return by_score(norm_ratio(numeric, flat.claimed), 2e-7)


@on_vector
def scipy_check_grad(flat: Flat) -> Answer:
    from scipy.optimize import check_grad

    error = check_grad(flat.value, flat.gradient, flat.x)
    return by_score(error / max(1.0, float(np.linalg.norm(flat.claimed))), 1e-6)


@on_vector
def scipy_three_point(flat: Flat) -> Answer:
    from scipy.optimize._numdiff import approx_derivative

    numeric = np.reshape(approx_derivative(flat.value, flat.x), flat.x.shape)
    return by_score(norm_ratio(numeric, flat.claimed), 1e-5)


@on_vector
def statsmodels(flat: Flat) -> Answer:
    from statsmodels.tools.numdiff import approx_fprime

    numeric = np.reshape(approx_fprime(flat.x, flat.value, centered=True), flat.x.shape)
    agree = np.isclose(flat.claimed, numeric, rtol=1e-5)
    return Answer(RIGHT if agree.all() else WRONG, ~agree)


FASTGRAD = Checker("fastgrad", "check_gradient, as shipped", ask_fastgrad)
RECIPES = [
    Checker(
        "scipy check_grad",
        "forward, step 1.5e-8; returns |a - d| and no threshold: wrong above 1e-6 max(1, |a|)",
        scipy_check_grad,
        "scipy",
    ),
    Checker(
        "scipy 3-point",
        "approx_derivative, central; wrong where |a - d| / (|a| + |d|) is above 1e-5",
        scipy_three_point,
        "scipy",
    ),
    Checker(
        "statsmodels",
        "approx_fprime, central; wrong unless np.isclose(a, d, rtol=1e-5, atol=1e-8) for all",
        statsmodels,
        "statsmodels",
    ),
    Checker(
        "CS231n recipe",
        "central, step 1e-5; wrong where max |a - d| / max(1e-8, |a| + |d|) is above 1e-2",
        cs231n,
    ),
    Checker(
        "course recipe",
        "deeplearning.ai: central, step 1e-7; wrong where the ratio of norms is above 2e-7",
        course,
    ),
]
