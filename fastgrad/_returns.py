"""Reduces what `f` returned to a real number, or says what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._words import with_article

__all__ = ["as_scalar", "as_scalars", "at_base", "at_block"]


def as_scalar(value: Any, name: Callable[[int], str], entry: int, kind: Any = float) -> Any:
    """Return `value` as a `kind`, float or np.longdouble.

    Accepted are real numbers and arrays or tensors with exactly one real element, whatever
    library they come from. ``name(entry)`` tells what was being moved, in case of an error.
    """
    # The usual kinds first: this runs after every evaluation that did not return a float.
    if isinstance(value, (float, int, np.floating, np.integer, np.bool_)):
        return _convert(value, name, entry, kind)
    if type(value).__name__ == "MaskedConstant":  # without importing np.ma for this
        raise InputTypeError(
            f"`f` returned np.ma.masked at {name(entry)}, which is no number; "
            "are all the values that it reduces masked?"
        )
    if value is None:
        raise InputTypeError(
            f"`f` returned None at {name(entry)}; it must return one real number "
            "(did you forget to return the loss?)"
        )
    if isinstance(value, (str, bytes, complex, np.complexfloating)):
        raise InputTypeError(
            f"`f` returned {value!r}, {with_article(type(value).__name__)}, at {name(entry)}; "
            "it must return one real number"
        )
    if isinstance(value, tuple) and len(value) == 2:
        raise InputTypeError(
            f"`f` returned a pair at {name(entry)}; it must return the value alone, one real "
            "number (fg.check_gradient takes (value, gradient) with grad=True)"
        )
    return _convert(_only_element(value, name, entry), name, entry, kind)


def _convert(value: Any, name: Callable[[int], str], entry: int, kind: Any) -> Any:
    """A number as a `kind`; Python's integers may be too large."""
    try:
        return kind(value)
    except OverflowError:
        raise InputValueError(
            f"`f` returned an integer beyond the range of floats at {name(entry)}"
        ) from None


def _only_element(value: Any, name: Callable[[int], str], entry: int) -> Any:
    """The one real number inside an array, a tensor or a number type of another library."""
    try:
        # Arrays and tensors have item(), which insists on one element; Decimal, Fraction and
        # mpmath numbers have only __float__.
        number = value.item() if hasattr(value, "item") else float(value)
    except (TypeError, ValueError, RuntimeError):
        number = None
    if isinstance(number, (float, int, np.floating)):
        return number
    shape = getattr(value, "shape", None)
    seen = (
        with_article(type(value).__name__) if shape is None else f"an array of shape {tuple(shape)}"
    )
    if shape is not None and hasattr(value, "dtype"):
        seen += f" and dtype {value.dtype}"
    raise InputTypeError(
        f"`f` returned {seen} at {name(entry)}; it must return one real number "
        "(sum or average the loss before returning it; of several numbers fg.jacobian gives the "
        "derivatives, and fg.check_jacobian or fg.check_vjp judge them)"
    )


def as_scalars(
    value: Any, count: int, where: Callable[[], str], kind: Any = np.float64
) -> np.ndarray:
    """Return what a batched `f` returned for `count` points as that many numbers of a `kind`.

    Accepted are arrays, tensors and lists of exactly this length. ``where()`` tells what the
    points are, in case of an error.
    """
    expected = f"it must return real numbers of shape ({count},), one for each point of the batch"
    if hasattr(value, "compressed"):  # NumPy would read what the mask hides
        raise InputTypeError(f"`f` returned a masked array at {where()}; {expected}")
    try:
        column = np.asarray(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor with a gradient or on a device
        column = _unpacked(value)
    if value is None or column.dtype.kind not in "biuf":
        seen = type(value).__name__ + (f" of dtype {column.dtype}" if column.ndim else "")
        seen = "None" if value is None else with_article(seen)
        hint = " (did you forget to return the losses?)" if value is None else ""
        raise InputTypeError(f"`f` returned {seen} at {where()}; {expected}{hint}")
    if column.shape != (count,):
        raise InputValueError(
            f"`f` returned shape {column.shape} at {where()}; {expected} (did you forget to sum or "
            "average over all axes but the first?)"
        )
    return np.ascontiguousarray(column, dtype=kind)


def _unpacked(value: Any) -> np.ndarray:
    """A tensor through a list of its numbers; None as an array if it has no such list."""
    try:
        return np.asarray(value.tolist() if hasattr(value, "tolist") else None)
    except ValueError:  # ragged
        return np.asarray(None)


def at_base(entry: int) -> str:
    """Name what is evaluated before any entry is moved."""
    return "the unperturbed parameters"


def at_block(entry: int) -> str:
    """Name what is evaluated with many entries moved at once."""
    return "a point near the parameters"
