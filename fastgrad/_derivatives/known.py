"""The value of `f` at the parameters that a user knows: what is passed as `f0`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params, describe
from fastgrad._workers.evaluator import evaluator

__all__ = ["known_number", "known_values", "values_of"]

_SOURCE = "`f0` was taken for what `f` returns at the unperturbed parameters"


def known_number(f0: Any) -> Any:
    """The value of `f` that the user knows, as one real number."""
    try:
        extended = isinstance(f0, np.longdouble)
        return as_scalar(f0, at_base, 0, np.longdouble if extended else float)
    except InputTypeError:
        seen = describe(f0) if isinstance(f0, np.ndarray) else repr(f0)
        raise InputTypeError(
            f"`f0` must be one real number, the value of `f` at the parameters; got {seen}"
        ) from None


def known_values(f0: Any) -> tuple[Outputs, np.ndarray]:
    """How a vector-valued `f` lays its values out, as the known one does, and its numbers."""
    try:
        outputs = Outputs.of(f0)
        return replace(outputs, source=_SOURCE), outputs.flat(f0, at_base, 0)
    except (InputTypeError, InputValueError):
        raise InputTypeError(
            "`f0` must be what `f` returns at the parameters, real or complex numbers in the same "
            f"structure, shapes and types; got {describe(f0)}"
        ) from None


def values_of(
    f: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf]
) -> tuple[Outputs, np.ndarray]:
    """What `f` returns at the parameters, and its numbers."""
    run = evaluator(f, argument, leaves, vector=True)
    try:
        with run:
            base = run.base()
            outputs = run.outputs
    finally:
        run.guard.close()
    assert outputs is not None
    return outputs, base
