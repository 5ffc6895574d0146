"""Turns results into what JSON knows: dicts, lists, strings, numbers, true, false and null."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

import numpy as np

__all__ = ["plain"]


def plain(value: Any) -> Any:
    """A result as JSON-ready values; infinities and NaN, which JSON lacks, become words."""
    if isinstance(value, Enum):
        return value.name
    if dataclasses.is_dataclass(value):
        fields = dataclasses.fields(value)
        return {field.name: plain(getattr(value, field.name)) for field in fields}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    return _array(value) if isinstance(value, (np.ndarray, np.generic)) else _scalar(value)


def _array(value: np.ndarray | np.generic) -> Any:
    if value.dtype.kind in "fc":  # longdouble has no Python twin
        value = value.astype(np.float64 if value.dtype.kind == "f" else np.complex128)
    return plain(value.tolist())


def _scalar(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)
