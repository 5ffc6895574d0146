"""The switch: which kernel runs, the compiled one or its pure twin.

``FASTGRAD_BACKEND=pure|compiled`` chooses at import; without it the compiled kernel is taken
where it was built.
"""

from __future__ import annotations

import importlib
import os
import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from fastgrad import _reference
from fastgrad._errors import InputValueError
from fastgrad._evaluation import batched
from fastgrad._evaluation.native import Native

if TYPE_CHECKING:
    import numpy as np

    from fastgrad._reference import (
        Memory,
        is_native,
        is_plain,
        native_sweep,
        quotients,
        small_gradient,
        sweep,
    )

__all__ = [
    "Memory",
    "backend",
    "is_native",
    "is_plain",
    "kernel_for",
    "native_sweep",
    "quotients",
    "small_gradient",
    "sweep",
    "sweep_for",
    "use",
]

backend: str
_kernel: Any = _reference


def use(name: str) -> None:
    """Make the functions of one backend, ``"pure"`` or ``"compiled"``, those of this module."""
    kernel: Any = _reference if name == "pure" else importlib.import_module("fastgrad._kernel")
    mine = {each: getattr(kernel, each) for each in _reference.__all__}
    globals().update(mine, backend=name, _kernel=kernel)


def sweep_for(f: Any, array: np.ndarray, out: np.ndarray | None = None) -> Any:
    """The `sweep` for this kind of `f` that can work on this memory.

    The kernel knows native float32 and float64; rows of batches are native whatever the array is.
    """
    if isinstance(f, batched.Batched):
        known = array.dtype.char in "fd" and (out is None or is_native(out))
        return partial(batched.sweep, _kernel if known else _reference)
    if not is_native(array) or (out is not None and not is_native(out)):
        return _reference.sweep
    return native_sweep if type(f) is Native else sweep


def kernel_for(array: np.ndarray) -> Any:
    """The kernel, or its twin, that can work on this memory."""
    return _kernel if is_native(array) else _reference


def _choose() -> None:
    choice = os.environ.get("FASTGRAD_BACKEND", "")
    if choice not in ("", "pure", "compiled"):
        raise InputValueError(f"FASTGRAD_BACKEND must be pure or compiled; got {choice!r}")
    if choice:
        use(choice)
        return
    try:
        use("compiled")
    except ModuleNotFoundError:
        use("pure")
        _warn_of_checkout()


def _warn_of_checkout() -> None:
    """A Python started in a source checkout finds this folder, not the installed package."""
    here = os.path.dirname(os.path.realpath(__file__))
    if os.path.exists(os.path.join(here, os.pardir, "src", "_kernel.pyx")):
        warnings.warn(
            f"fastgrad was imported from the source folder {here}, which has no compiled kernel, "
            "so the slower pure backend runs. Start Python elsewhere to use the installed "
            "package, install with pip install -e ., or set FASTGRAD_BACKEND=pure to say so.",
            RuntimeWarning,
            stacklevel=2,
        )


_choose()
