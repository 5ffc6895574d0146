"""What users pass to every check, checked."""

from __future__ import annotations

import math
import numbers
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError

__all__ = ["tolerance", "whole_budget", "whole_seed"]


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
