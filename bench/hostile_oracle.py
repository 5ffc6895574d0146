"""What can be known of a hostile problem by differences alone, its exact gradient being given."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from hostile_problems import Problem, leaves, like

# Entries that are looked at: a large leaf is as good as some of it.
MOST = 10
# Between two steps; no power of two, nor of ten.
RATIO = 10**-0.45
# An entry is known where three differences in a row are right to within this share of its leaf.
CONVERGED = 1e-3
# An error shows if it is this many times what differences are off by, and this share of its leaf.
CLEAR = 10.0
SHARE = 1e-5
# A leaf whose gradient is below this many roundings of the whole holds nothing else.
ROUNDING = 1000.0
# Agreement of a gradient with that of the clean function.
AGREES = 1e-5


def reals(leaf: np.ndarray) -> np.ndarray:
    """A flat view of real numbers: writing to it moves the leaf."""
    flat = leaf.reshape(-1)
    return flat.view(flat.real.dtype) if np.iscomplexobj(flat) else flat


def flat(tree: Any) -> list[np.ndarray]:
    """Each leaf as a flat vector of float64."""
    return [reals(np.array(leaf, order="C")).astype(float) for _, leaf in leaves(tree)]


def copied(tree: Any) -> Any:
    return like(tree, lambda leaf: np.array(leaf, order="C"))


def times(tree: Any, factor: float) -> Any:
    """A multiple of a gradient in its own types; what is infinite stays what it is."""
    new = copied(tree)
    for _, leaf in leaves(new):
        with np.errstate(over="ignore", under="ignore"):
            reals(leaf)[...] *= leaf.real.dtype.type(factor)
    return new


def distances(problem: Problem, claim: Any) -> list[np.ndarray]:
    """How far each claimed entry is from the right ones; not finite is infinitely far."""
    found = []
    for a, b, c in zip(flat(claim), *_ends(problem), strict=True):
        with np.errstate(invalid="ignore"):
            error = np.maximum(np.maximum(b - a, a - c), 0.0)
        found.append(np.where(np.isnan(error), np.where(a == b, 0.0, np.inf), error))
    return found


def _ends(problem: Problem) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The least and the largest right values of each leaf, which differ at a kink."""
    low = problem.right if problem.low is None else problem.low
    high = problem.right if problem.high is None else problem.high
    return flat(low), flat(high)


@dataclass
class Oracle:
    """The differences of one problem at many steps, beside the right gradient."""

    problem: Problem

    @cached_property
    def scales(self) -> list[float]:
        """The size of the gradient in each leaf, or of the whole where it vanishes."""
        own = [float(np.abs(g[np.isfinite(g)]).max(initial=0.0)) for g in flat(self.problem.right)]
        whole = max([*own, self.problem.size or 0.0])
        types = [np.asarray(g).dtype for _, g in leaves(self.problem.right)]
        least = [ROUNDING * float(np.finfo(each).eps) * whole for each in types]
        return [each if each > floor else whole for each, floor in zip(own, least, strict=True)]

    @cached_property
    def accuracy(self) -> list[np.ndarray]:
        """How far differences are off at the best three steps in a row; NaN: not looked at."""
        return self._errors(_best)

    @cached_property
    def first(self) -> list[np.ndarray]:
        """How far differences with the usual step are off."""
        return self._errors(_usual)

    def _errors(self, off_by: Callable[..., float]) -> list[np.ndarray]:
        params = copied(self.problem.params)
        found = []
        for (_, leaf), a, b in zip(leaves(params), *_ends(self.problem), strict=True):
            x, errors = reals(leaf), np.full(len(a), np.nan)
            for j in _some(len(a)):
                errors[j] = off_by(self.problem.f, params, x, j, a[j], b[j])
            found.append(errors)
        return found

    @property
    def empty(self) -> bool:
        """Whether nothing moves f, so that there is nothing to be confirmed."""
        return not any(self.scales)

    def converges(self) -> bool:
        """Whether plain differences lead to the right gradient in all entries."""
        return self._within(self.accuracy)

    def converges_at_once(self) -> bool:
        """Whether one central difference with the usual step is right in all entries."""
        return self._within(self.first)

    def _within(self, errors: list[np.ndarray]) -> bool:
        return all(
            bool((off[~np.isnan(off)] <= CONVERGED * scale).all())
            for off, scale in zip(errors, self.scales, strict=True)
        )

    def shows(self, claim: Any) -> bool:
        """Whether some entry of a claim is off by more than differences are."""
        granted = [self.problem.options.get(name, 0.0) for name in ("rtol", "atol")]
        parts = zip(
            distances(self.problem, claim), self.accuracy, self.scales, flat(self.problem.right),
            strict=True,
        )  # fmt: skip
        for error, best, scale, right in parts:
            known = ~np.isnan(best)
            worst = best[known].max(initial=0.0)
            limit = np.maximum(CLEAR * np.where(known, best, worst), SHARE * scale)
            limit += granted[0] * np.abs(right) + granted[1]
            if (error > limit).any():
                return True
        return False


def _some(n: int) -> Iterator[int]:
    yield from (range(n) if n <= MOST else np.linspace(0, n - 1, MOST).astype(int).tolist())


def _best(
    f: Callable[[Any], Any], params: Any, x: np.ndarray, j: int, low: float, high: float
) -> float:
    if np.isnan(x[j]):
        return float("nan")
    size = abs(float(x[j])) or 1.0
    top, bottom = 10 * max(size, 1.0), 1e-11 * min(size, 1.0)
    steps = top * RATIO ** np.arange(int(np.log(bottom / top) / np.log(RATIO)))
    errors = np.array([_off(f, params, x, j, h, low, high) for h in steps])
    rows = np.stack([errors[:-2], errors[1:-1], errors[2:]])
    return float(rows.max(axis=0).min())


def _usual(
    f: Callable[[Any], Any], params: Any, x: np.ndarray, j: int, low: float, high: float
) -> float:
    step = float(np.finfo(x.dtype).eps) ** (1 / 3) * max(abs(float(x[j])), 1.0)
    return _off(f, params, x, j, step, low, high)


def _off(
    f: Callable[[Any], Any],
    params: Any,
    x: np.ndarray,
    j: int,
    h: float,
    low: float,
    high: float,
) -> float:
    """How far one central difference is from the right values."""
    kept, ends = x[j].copy(), []
    for side in (1, -1):
        x[j] = kept + side * h
        ends.append((float(x[j]), _value(f, params)))
    x[j] = kept
    (right, above), (left, below) = ends
    with np.errstate(all="ignore"):
        d = (above - below) / (right - left) if right != left else np.nan
        return max(low - d, d - high, 0.0) if np.isfinite(d) else np.inf


def _value(f: Callable[[Any], Any], params: Any) -> float:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return float(np.real(f(params)))
        except (ValueError, ArithmeticError, np.linalg.LinAlgError):
            return float("nan")


def verify(problem: Problem) -> bool:
    """Whether the right gradient is that of the clean function: by a complex step, if it can.

    At a kink the function itself must be differenced.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if problem.low is None and problem.clean is not None:
            if problem.analytic:
                return _by_complex_step(problem)
            problem = replace(problem, f=problem.clean)
        return Oracle(problem).converges()


def _by_complex_step(problem: Problem) -> bool:
    params = like(problem.params, lambda leaf: np.array(leaf, dtype=complex, order="C"))
    parts = zip(leaves(params), flat(problem.right), Oracle(problem).scales, strict=True)
    for (_, leaf), right, scale in parts:
        x = leaf.reshape(-1)
        for j in _some(len(right)):
            step = 1e-30 * (abs(x[j]) or 1.0)
            kept = x[j]
            x[j] += 1j * step
            slope = float(np.imag(problem.clean(params))) / step
            x[j] = kept
            if abs(slope - right[j]) > AGREES * scale + 1e-7 * abs(right[j]):
                return False
    return True
