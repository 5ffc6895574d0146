"""The switch: which kernel runs, the compiled one or its pure twin.

``FASTGRAD_BACKEND=pure|compiled`` chooses at import; without it the compiled kernel is taken
where it was built.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import TYPE_CHECKING

from fastgrad import _reference
from fastgrad._errors import InputValueError

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np

__all__ = ["backend", "kernel", "kernel_for", "use"]

backend: str
# The kernel in use: `_reference`, or the compiled module with the same names and signatures.
kernel: ModuleType = _reference


# Other modules look the kernel up where they use it: tests, and workers that serve callers with
# another backend, switch it at run time.
def use(name: str) -> None:
    """Run the kernel of one backend, ``"pure"`` or ``"compiled"``, from now on."""
    global backend, kernel
    kernel = _reference if name == "pure" else importlib.import_module("fastgrad._kernel")
    backend = name


def kernel_for(*arrays: np.ndarray) -> ModuleType:
    """The kernel in use, or its twin where the kernel cannot work on this memory."""
    return kernel if all(map(kernel.is_native, arrays)) else _reference


def _choose() -> None:
    # An empty variable counts as none, as shells leave them.
    choice = os.environ.get("FASTGRAD_BACKEND", "")
    if choice not in ("", "pure", "compiled"):
        raise InputValueError(f"FASTGRAD_BACKEND must be pure or compiled; got {choice!r}")
    if choice:
        use(choice)
        return
    try:
        use("compiled")
    except ModuleNotFoundError:
        # Without a compiler the install goes on with the twin; only a checkout is a mistake.
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
