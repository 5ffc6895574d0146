"""What is asked of a vector-Jacobian product, and what a first look at `f` shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._checks.linearity import Linearity, linearity_of
from fastgrad._checks.options import Options
from fastgrad._checks.plan import plan_of
from fastgrad._checks.product_claims import Pulled, spacings
from fastgrad._dtypes import EPS, eps_of
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.direction import Region, Uniform
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._tree import Params, flatten

__all__ = ["AskedProduct", "ProductLook", "random_direction"]

# Exponents of weights, which float32 holds, with room for the numbers they are multiplied by; and
# float16, of which this is above the spacing.
_EXPONENT, _SHORT_EXPONENT, _SHORT = 100, 13, 1e-4
# An output that varies over a length by less than this share of its value counts as if it varied
# that much: its rounding would drown all others else.
_LEAST_VARIATION = 0.1


@dataclass(frozen=True)
class AskedProduct:
    """What is asked of a check, each part of it checked by itself."""

    f: Callable[[Any], Any]
    vjp: Callable[[Any, Any], Any]
    argument: Params
    leaves: Sequence[Leaf]
    limits: Bounds | None
    selection: Selection | None
    options: Options  # whose budget is that of each gradient
    strategy: str
    budget: int | None

    @classmethod
    def of(
        cls,
        f: Callable[[Any], Any],
        vjp: Callable[[Any, Any], Any],
        argument: Params,
        options: Options,
        strategy: str,
        budget: int | None,
    ) -> AskedProduct:
        leaves = flatten(argument)
        plan_of(strategy, budget, leaves)  # refuses what is no strategy
        limits = bounds_of(options.bounds, argument, leaves)
        selection = selection_of(options.where, argument, leaves)
        options = replace(options, budget=math.inf)
        return cls(f, vjp, argument, leaves, limits, selection, options, strategy, budget)

    def run(self, options: Options) -> Metered:
        """What evaluates `f`, whose values are vectors."""
        how: dict[str, Any] = {"vector": True, "selection": self.selection}
        return options.evaluator(Lenient(self.f), self.argument, self.leaves, self.limits, **how)


@dataclass(frozen=True)
class ProductLook:
    """What one evaluation and two moves show of the outputs."""

    pulled: Pulled
    leaves: Sequence[Leaf]  # those of the entries that are meant
    outputs: Outputs
    base: np.ndarray
    move: float  # over the lengths of the parameters
    ends: tuple[np.ndarray, ...]  # values at both ends of the move; none where nothing moves
    weights: np.ndarray  # that make outputs alike: powers of two
    linearity: Linearity | None
    evaluations: int

    @classmethod
    def at(cls, asked: AskedProduct) -> ProductLook:
        how = asked.options
        # Few evaluations, for which no pool is worth while, nor a bar.
        run = asked.run(replace(how, workers=None, progress=False))
        try:
            with run:
                base = run.base()
                outputs = run.outputs
                assert outputs is not None
                move, ends = _move(run.leaves, outputs), ()
                direction = random_direction(run.leaves, how.seed)
                if direction.regions:
                    with quiet():
                        ends = run.along(Along(direction, (move, -move))).values
                with np.errstate(over="ignore", invalid="ignore"):
                    change = np.abs(ends[0] - ends[1]) if ends else np.zeros_like(base)
                weights = _weights(base, change, outputs, move)
                meant = None if asked.selection is None else asked.selection.meant(asked.leaves)
                pulled = Pulled(asked.vjp, asked.argument, asked.leaves, outputs, meant)
                linearity = linearity_of(pulled, run, "vjp", weights, how.seed, how.rtol)
        finally:
            run.guard.close()
        done = run.evaluations
        return cls(pulled, run.leaves, outputs, base, move, ends, weights, linearity, done)


def random_direction(leaves: Sequence[Leaf], seed: int) -> Uniform:
    """A random move of all parameters."""
    regions = tuple(
        Region(k, tuple(slice(0, n) for n in leaf.real.shape), leaf.real.shape)
        for k, leaf in enumerate(leaves)
        if leaf.real.size
    )
    return Uniform(seed, 0, regions, (1.0,) * len(regions))


def _move(leaves: Sequence[Leaf], outputs: Outputs) -> float:
    """How far parameters move at first: rounding and truncation of a difference are alike then."""
    types = [eps_of(leaf.real) for leaf in leaves if leaf.real.size]
    coarsest = max(*types, float(spacings(outputs).max(initial=0.0)), EPS["d"])
    return math.pow(coarsest, 1 / 3)


def _weights(base: np.ndarray, change: np.ndarray, outputs: Outputs, move: float) -> np.ndarray:
    """Powers of two that make all outputs change alike, and none by noise alone."""
    least = 2 * move * _LEAST_VARIATION * np.abs(base)
    with np.errstate(invalid="ignore"):
        size = np.fmax(np.where(np.isfinite(change), change, 0.0), least)
    known = size[(size > 0) & np.isfinite(size)]
    typical = float(np.median(known)) if len(known) else 1.0
    size = np.where((size > 0) & np.isfinite(size), size, typical) / typical
    most = _EXPONENT if spacings(outputs).max(initial=0.0) < _SHORT else _SHORT_EXPONENT
    weights: np.ndarray = np.exp2(np.clip(-np.round(np.log2(size)), -most, most))
    return weights
