"""Every error that fastgrad raises itself; all derive from `FastgradError`."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

__all__ = [
    "ConcurrencyError",
    "FastgradError",
    "FastgradWarning",
    "InputTypeError",
    "InputValueError",
    "MissingPackageError",
    "MutationError",
    "ObjectiveError",
    "StepWarning",
    "WorkerError",
]

# What stands between two functions of fastgrad: contexts, and threads.
_OWN_FRAMES = {"fastgrad", "contextlib", "concurrent", "threading"}


class FastgradError(Exception):
    """Root of fastgrad's own errors; what `f` raises passes through unchanged.

    Examples
    --------
    >>> import fastgrad as fg
    >>> try:
    ...     fg.gradient(sum, "text")
    ... except fg.FastgradError as error:
    ...     print(type(error).__name__)
    InputTypeError
    """

    # Whether it came out of a function of the user's in a worker, from which no traceback comes.
    nested = False


class InputTypeError(FastgradError, TypeError):
    """A parameter, a gradient or a value returned by `f` is of the wrong kind."""


class InputValueError(FastgradError, ValueError):
    """An argument is of the right kind, but its value, shape or memory cannot be used."""


class MutationError(FastgradError, RuntimeError):
    """`f` wrote into, resized or replaced the parameters it was given to read."""


class ConcurrencyError(FastgradError, RuntimeError):
    """Two threads tried to differentiate with respect to the same memory at once."""


class WorkerError(FastgradError, RuntimeError):
    """A worker died again and again, or its copy of `f` does not behave as the original."""


class ObjectiveError(FastgradError, RuntimeError):
    """A native objective returned an error code.

    Attributes
    ----------
    code : int
        What it returned.
    where : str
        The path of the entry that had been moved; empty at the unperturbed parameters.
    """

    def __init__(self, code: int, where: str = "") -> None:
        super().__init__(code, where)
        self.code = code
        self.where = where

    def __str__(self) -> str:
        place = f"while `{self.where}` was moved (its value was put back)" if self.where else ""
        return f"`f` returned the error code {self.code} {place}".rstrip()


class FastgradWarning(UserWarning):
    """A result may not be what was meant; it is returned all the same.

    Examples
    --------
    >>> import warnings, numpy as np, fastgrad as fg
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", fg.FastgradWarning)
    ...     fg.gradient(lambda x: 1.0, np.ones(2))
    array([0., 0.])
    """


class StepWarning(FastgradWarning):
    """A derivative is uncertain: its automatic step was too large, and smaller ones disagree.

    Examples
    --------
    >>> import warnings, numpy as np, fastgrad as fg
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     slope = fg.derivative(lambda x: np.sin(1 / x), 1e-9)
    >>> caught[0].category.__name__
    'StepWarning'
    """


class MissingPackageError(FastgradError, ImportError):
    """What was asked for needs a package that is not installed; the text says which."""


def missing_package_error(package: str, purpose: str, extra: str) -> MissingPackageError:
    """The error for an optional package that cannot be imported."""
    return MissingPackageError(
        f'{purpose} needs {package}, which cannot be imported; pip install "fastgrad[{extra}]"'
    )


def warn(text: str, kind: type[FastgradWarning] = FastgradWarning) -> None:
    """Give a warning that points to the line that called fastgrad."""
    level = 2  # the caller of this function
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == "fastgrad":
        frame, level = frame.f_back, level + 1
    warnings.warn(text, kind, stacklevel=level)


def step_vanished_error(where: str, x: float, h: float, dtype: np.dtype) -> InputValueError:
    """The error for a step that rounding swallows."""
    least = 2.0 * float(np.finfo(dtype).eps) * max(1.0, abs(float(x)))
    return InputValueError(
        f"`eps` = {float(h):g} vanishes at `{where}` = {float(x):g}: in {dtype} the moved entry "
        f"equals the old one; use a step of at least {least:.1e}, or eps=None"
    )


def written_error(where: str, function: str = "f", *, undone: bool) -> MutationError:
    """The error for a function of the user's, `f` or `grad`, that wrote into its input."""
    outcome = (
        "the old value was put back"
        if undone
        else "not at its first evaluation, so the old values could not be kept: reload them"
    )
    return MutationError(
        f"`{function}` wrote into its input: `{where}` is not what it was ({outcome}); let it work "
        "on a copy, for example x = x.copy()"
    )


@contextmanager
def written_by(function: str) -> Iterator[None]:
    """Errors about an `f` that wrote, said of the function of the user's that stands for it."""
    with renamed("f", function, MutationError):
        yield


@contextmanager
def renamed(theirs: str, ours: str, *kinds: type[FastgradError]) -> Iterator[None]:
    """Errors of these kinds whose subject is one name, said of another one.

    Only the subject, with which they begin, is another one: an array may have the same name. What
    a function of the user's raised, as by a call of fastgrad's own in it, is about its functions.
    """
    try:
        yield
    except kinds as error:
        said, subject = str(error), f"`{theirs}`"
        if theirs != ours and said.startswith(subject) and not is_nested(error):
            error.args = (f"`{ours}`" + said.removeprefix(subject),)
        raise


def is_nested(error: BaseException) -> bool:
    """Whether an error that was caught in fastgrad came out of a function of the user's."""
    if isinstance(error, FastgradError) and error.nested:
        return True
    trace = error.__traceback__
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__") or ""
        if module.partition(".")[0] not in _OWN_FRAMES:
            return True
        trace = trace.tb_next
    return False


def lent_error() -> MutationError:
    """The error for an `f` that wrote into a gradient that is too large to be copied."""
    return MutationError(
        "`f` wrote into the array that was passed as `grad`, which is too large for a copy to be "
        "kept; pass `grad`.copy(), or the function that computes it"
    )


def moved_error(path: str, function: str = "f") -> MutationError:
    """The error for a function that resized, retyped, froze or moved the memory of a leaf."""
    return MutationError(
        f"`{function}` resized, retyped, froze or moved the memory of `{path}` while it was being "
        "differentiated; let it leave its input's shape, dtype, flags and data alone"
    )


def replaced_error(path: str, who: str) -> MutationError:
    """The error for a function that put other arrays into the containers it was given."""
    return MutationError(
        f"`{who}` replaced `{path}`, or took it out, so that later calls did not see it move; let "
        "it build new containers instead of changing the ones it was given"
    )


def annotate(error: Exception, where: str) -> None:
    """Say in the traceback of an error raised by `f` which entry was being moved."""
    # The C function knew its error code and no entry, so that the error has room for it.
    if isinstance(error, ObjectiveError) and not error.where:
        error.where = where
    if not isinstance(error, FastgradError) and hasattr(error, "add_note"):  # Python >= 3.11
        error.add_note(f"while fastgrad had moved `{where}` (its value was put back)")


def note(error: BaseException, text: str) -> None:
    """Attach a sentence to an exception on its way; from Python 3.11 on tracebacks show it."""
    if hasattr(error, "add_note"):
        error.add_note(text)
    else:  # a place where reports and later versions of Python find it
        error.__notes__ = [*getattr(error, "__notes__", ()), text]  # type: ignore[attr-defined]


def annotate_batch(error: Exception, where: str) -> None:
    """Say in the traceback of an error raised by a batched `f` which points it was given."""
    if not isinstance(error, FastgradError) and hasattr(error, "add_note"):  # Python >= 3.11
        error.add_note(f"while fastgrad evaluated a batch, {where}")
