"""What users pass to every check, checked."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.lenient import Objective
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.selected import Selection
from fastgrad._leaf import Leaf
from fastgrad._tree import Params
from fastgrad._workers.evaluator import evaluator

__all__ = ["Options", "tolerance", "whole_budget", "whole_seed"]


@dataclass(frozen=True)
class Options:
    """What checks of several outputs have in common."""

    budget: float
    rtol: float
    atol: float
    bounds: Any
    workers: Any
    progress: bool
    seed: int
    where: Any = None

    @classmethod
    def of(
        cls,
        budget: int | None,
        rtol: float,
        atol: float,
        bounds: Any,
        workers: Any,
        progress: bool,
        seed: int,
        where: Any = None,
    ) -> Options:
        """The same, checked."""
        whole_budget(budget)
        most = math.inf if budget is None else int(budget)
        granted = tolerance("rtol", rtol), tolerance("atol", atol)
        return cls(most, *granted, bounds, workers, progress, whole_seed(seed), where)

    def needs_a_value(self) -> None:
        """Refuse a budget that is not enough for a value, which says what `f` returns."""
        if self.budget < 2:
            raise InputValueError(
                "`budget` must be at least 2 evaluations where `f` returns arrays: one to see "
                f"them, and one at the end; got {self.budget:.0f}"
            )

    def evaluator(
        self,
        f: Objective,
        argument: Params,
        leaves: Sequence[Leaf],
        limits: Bounds | None,
        *,
        vector: bool,
        expected: int = 0,
        selection: Selection | None = None,
    ) -> Metered:
        """What evaluates `f` as is asked for."""
        return evaluator(
            f,
            argument,
            leaves,
            workers=self.workers,
            budget=self.budget,
            expected=expected,
            progress=self.progress,
            vector=vector,
            bounds=limits,
            selection=selection,
        )


def whole_seed(seed: Any) -> int:
    """Refuse what NumPy's generators would refuse, deep inside and in words of their own."""
    if type(seed) is int and seed >= 0:
        return seed
    if not isinstance(seed, (int, np.integer)) or isinstance(seed, bool):
        raise InputTypeError(f"`seed` must be a whole number, 0 or more; got {seed!r}")
    if seed < 0:
        raise InputValueError(f"`seed` must be 0 or more; got {seed}")
    return int(seed)  # one of NumPy's would overflow where it is hashed


def whole_budget(budget: Any) -> None:
    """Refuse what is no number of evaluations."""
    whole = isinstance(budget, (int, np.integer)) and not isinstance(budget, bool)
    if budget is not None and not whole:
        raise InputTypeError(f"`budget` must be a number of evaluations, or None; got {budget!r}")
    if budget is not None and budget < 1:
        raise InputValueError(f"`budget` must be at least 1 evaluation, or None; got {budget}")


def tolerance(name: str, value: Any) -> float:
    """What the user grants beyond the error bars."""
    if type(value) is float and 0 <= value < math.inf:
        return value
    if not isinstance(value, numbers.Real) or isinstance(value, bool):
        raise InputTypeError(f"`{name}` must be a number, 0 or more; got {value!r}")
    if not 0 <= float(value) < math.inf:
        raise InputValueError(f"`{name}` must be finite, 0 or more; got {value!r}")
    return float(value)
