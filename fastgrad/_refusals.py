"""What is said of parameters that are no arrays of numbers, and what to pass instead."""

from __future__ import annotations

from collections.abc import Iterator, KeysView, Set, ValuesView
from types import FunctionType
from typing import Any, NoReturn

import numpy as np

from fastgrad._errors import InputTypeError
from fastgrad._words import with_article

__all__ = ["AT_THE_TOP", "WAY_OUT", "kind_of", "refuse_kind", "refuse_type"]

WAY_OUT = "pass arrays such as np.asarray(value, dtype=float)"
# Of what is no part of a nest: `f` has to depend on something.
AT_THE_TOP = "pass the arrays that `f` depends on: one, or a dict or list of them"


def refuse_kind(path: str, node: Any, *, nested: bool) -> None:
    """Say of what is no plain array what to pass instead; other subclasses of arrays are taken."""
    if not isinstance(node, np.ndarray):
        way_out = _way_out(path, node, nested=nested)
        raise InputTypeError(f"`{path}` is {kind_of(node)}, not an array; {way_out}")
    # By an attribute: np.ma is a module of its own, which takes time to import.
    if hasattr(node, "compressed"):
        raise InputTypeError(
            f"`{path}` is a masked array; pass its .data, or .compressed() to leave entries out"
        )
    if isinstance(node, np.matrix):
        raise InputTypeError(f"`{path}` is an np.matrix; pass np.asarray(`{path}`)")


def refuse_type(path: str, array: np.ndarray) -> NoReturn:
    """Say of an array of another type than floating or complex what to pass instead."""
    raise InputTypeError(
        f"`{path}` has dtype {array.dtype}, which cannot hold a small step; "
        f"{_way_out_of_type(path, array)}"
    )


def kind_of(node: Any) -> str:
    """What something is, in a few words."""
    if isinstance(node, FunctionType):
        return "a function"
    kind = type(node)
    # What another module calls an array is none of NumPy's, and is not said to be one.
    name = f"{kind.__module__}.{kind.__name__}" if kind.__name__ == "array" else kind.__name__
    return with_article(name)


def _way_out(path: str, node: Any, *, nested: bool) -> str:
    """What to pass instead of something that is no array; following it must work."""
    library = type(node).__module__.partition(".")[0]
    if hasattr(node, "detach"):  # torch
        return f"pass `{path}`.detach().numpy(), which shares its memory"
    if hasattr(node, "named_parameters"):  # a module of torch's
        return f"pass {{n: p.detach().numpy() for n, p in `{path}`.named_parameters()}}"
    if isinstance(node, Iterator):
        return f"pass list(`{path}`), which can be looked at more than once"
    if isinstance(node, (KeysView, ValuesView)):
        return f"pass list(`{path}`)"
    if isinstance(node, Set):
        return f"pass sorted(`{path}`): a set has no order"
    if library in ("jax", "jaxlib", "tensorflow"):
        return f"pass np.array(`{path}`), and let `f` compute with what it is given"
    if isinstance(node, (str, bytes, bool, np.bool_)) or callable(node):
        return "leave it out: `f` can read it elsewhere" if nested else AT_THE_TOP
    return WAY_OUT if _makes_an_array(node) else "pass the arrays that it holds, as a dict or list"


def _makes_an_array(node: Any) -> bool:
    """Whether NumPy makes an array of numbers of something."""
    try:
        return np.asarray(node, dtype=float).dtype.kind == "f"
    except Exception:  # whatever the object's own methods raise
        return False


def _way_out_of_type(path: str, array: np.ndarray) -> str:
    if array.dtype.kind == "V":
        return f"pass its fields as arrays, such as {{name: `{path}`[name].copy()}}"
    if array.dtype.kind in "SU":
        return "leave it out: `f` can read it elsewhere"
    if array.dtype.kind == "O" and any(np.ndim(each) for each in array.flat):
        return f"pass list(`{path}`), a list of arrays"
    return f"use `{path}`.astype(float)"
