"""Exceptions and warnings of `f` at points that a check chose, and the user did not.

Where `f` is not defined it may return NaN or raise: math.log does, Cholesky does, and so does a
guard of the user's, or any warning that is turned into an error. A check takes both alike.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from fastgrad._errors import FastgradError, ObjectiveError

__all__ = ["Lenient", "Objective", "Raised", "is_quiet", "quiet", "quiet_if"]


@dataclass(frozen=True)
class Lenient:
    """An objective of any kind, whose exceptions at moved points count as NaN.

    At the parameters themselves they are raised: there the user has asked for a value. Errors of
    fastgrad's own are raised everywhere, as they speak of a misuse and not of a domain; so are
    Ctrl-C and exits, which are no `Exception`.
    """

    f: Callable[[Any], Any]


Objective: TypeAlias = Callable[[Any], Any] | Lenient


class Raised:
    """What `f` raised first, in words, for whoever explains the NaN that stands for it."""

    def __init__(self) -> None:
        self.first = ""

    def note(self, error: Exception) -> None:
        """Keep the first exception; raise what is not about a point."""
        if isinstance(error, FastgradError) and not isinstance(error, ObjectiveError):
            raise error
        if not self.first:
            self.first = _in_words(error)


def _in_words(error: Exception) -> str:
    if isinstance(error, ObjectiveError):
        return f"the error code {error.code}"
    return f"{type(error).__name__}: {error}".removesuffix(": ")


_is_quiet: ContextVar[bool] = ContextVar("_is_quiet", default=False)


def is_quiet() -> bool:
    """Whether evaluations are asked for inside of `quiet`."""
    return _is_quiet.get()


@contextmanager
def quiet() -> Iterator[None]:
    """Let evaluations that a verdict does not need say nothing: no warning, here or in workers."""
    if is_quiet():  # inside of another one there is nothing left to do
        yield
        return
    token = _is_quiet.set(True)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        _is_quiet.reset(token)


@contextmanager
def quiet_if(wanted: bool) -> Iterator[None]:
    """The same in a worker, for a request that was made inside of `quiet`."""
    if not wanted:
        yield
    elif threading.current_thread() is threading.main_thread():
        with quiet():
            yield
    else:
        # Filters of warnings belong to all threads: another one might put the old ones back late.
        with np.errstate(all="ignore"):
            yield
