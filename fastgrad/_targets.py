"""What a target of the command line names: functions, claims about them, and parameters."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from fastgrad._words import with_article

__all__ = ["CLAIMS", "Target", "UsageError", "found"]


@dataclass(frozen=True)
class Claim:
    """A derivative that a target may hold."""

    of: str  # the function whose derivative it is
    derivative: str


# By the name of the attribute or key, in the order in which they are judged.
CLAIMS = {
    "grad": Claim("cost", "gradient"),
    "jac": Claim("residual", "Jacobian"),
    "hess": Claim("cost", "Hessian"),
}
# What stands in a tuple, and what a target for a Jacobian needs.
_TUPLE = ("cost", "grad", "params")
_OF_VECTORS = ("residual", "jac", "params")
_ROLES = ("cost", "residual", *CLAIMS, "params")


class UsageError(Exception):
    """The command cannot be carried out; the message is the line that the user sees."""


@dataclass(frozen=True)
class Target:
    """Parameters, functions of them, and derivatives that are claimed of these."""

    parts: Mapping[str, Any]  # by their names, without those that are None

    @property
    def claims(self) -> list[str]:
        """The names of what is to be judged, in this order."""
        return [name for name in CLAIMS if name in self.parts]

    def __getitem__(self, name: str) -> Any:
        return self.parts[name]

    def get(self, name: str) -> Any:
        """A part, or None where there is none."""
        return self.parts.get(name)


def found(target: str) -> Target:
    """Import the object that ``MODULE:NAME`` names, and take what is to be judged from it."""
    place, colon, name = target.rpartition(":")
    if not colon or not place or not name:
        raise UsageError(
            f"what to check must be MODULE:NAME, as mymodel.py:problem; got {target!r}"
        )
    thing: Any = _module(place)
    for part in name.split("."):
        if not hasattr(thing, part):
            raise UsageError(f"{place} has no {name!r}")
        thing = getattr(thing, part)
    if callable(thing) and not (
        hasattr(thing, "params") and any(hasattr(thing, each) for each in CLAIMS)
    ):
        thing = _called(thing, target)
    if isinstance(thing, tuple) and len(thing) == len(_TUPLE):
        named: Any = dict(zip(_TUPLE, thing, strict=True))
    else:
        named = thing if isinstance(thing, Mapping) else _Attributes(thing)
    parts = {each: named[each] for each in _ROLES if each in named and named[each] is not None}
    _refuse_incomplete(parts, thing, target)
    return Target(parts)


def _refuse_incomplete(parts: Mapping[str, Any], thing: object, target: str) -> None:
    """Refuse what cannot be judged, and a claim without its function, which would be ignored."""
    claims = [each for each in CLAIMS if each in parts]
    orphans = [each for each in claims if CLAIMS[each].of not in parts]
    if claims and "params" in parts:
        for each in orphans:
            claim = CLAIMS[each]
            other = "; the gradient of cost is called grad" * (each == "jac" and "cost" in parts)
            raise UsageError(
                f"{target} has {each}, the {claim.derivative} of {claim.of}, but no {claim.of}: "
                f"add it, or leave {each} out{other}"
            )
        return
    family = _OF_VECTORS if "residual" in parts and "cost" not in parts else _TUPLE
    wanted = [*(CLAIMS[each].of for each in orphans), "params"] if claims else family
    missing = [each for each in wanted if each not in parts]
    got = with_article(type(thing).__name__)
    if isinstance(thing, tuple):
        got = f"a tuple of {len(thing)}"
    elif parts:
        got += f" without {' and '.join(dict.fromkeys(missing))}"
    raise UsageError(
        f"{target} must be, or return, something with cost, grad and params (attributes, keys, or "
        "a tuple of the three), and hess if there is one, or with residual, jac and params; got "
        f"{got}"
    )


class _Attributes:
    """The attributes of an object, as a mapping has its keys."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __contains__(self, name: str) -> bool:
        return hasattr(self._thing, name)

    def __getitem__(self, name: str) -> Any:
        return getattr(self._thing, name)


def _called(make: Callable[[], Any], target: str) -> Any:
    try:
        inspect.signature(make).bind()
    except ValueError:  # of some functions in C nothing is known
        pass
    except TypeError as error:
        raise UsageError(
            f"{target} must be a function without arguments that returns cost, grad and params; "
            f"this one is called with {inspect.signature(make)}"
        ) from error
    return make()


def _module(place: str) -> ModuleType:
    if place.endswith(".py"):
        if not os.path.isfile(place):
            what = "a directory" if os.path.isdir(place) else "not there"
            raise UsageError(f"{place} must be a file; it is {what}")
        spec = importlib.util.spec_from_file_location(_free_name(place), place)
        if spec is None or spec.loader is None:
            raise UsageError(f"{place} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        _add_folder(os.path.dirname(os.path.abspath(place)))
        spec.loader.exec_module(module)
        return module
    if not all(part.isidentifier() for part in place.split(".")):
        raise UsageError(f"{place} must be a module or a .py file")
    sys.path.insert(0, os.getcwd())  # fastgrad itself is imported already: this cannot hide it
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{place}.".startswith(f"{error.name}."):
            raise
        if os.path.exists(place):
            raise UsageError(f"{place} must be a module or a .py file") from None
        raise UsageError(f"there is no module {place} here or on the Python path") from None


def _free_name(place: str) -> str:
    """The name of a file as a module, or another where something installed has that name."""
    name = os.path.basename(place)[:-3]
    try:
        other = importlib.util.find_spec(name) if "." not in name else None
    except ValueError:  # a module that says nothing of itself, such as __main__
        return f"{name}_file"
    here = os.path.realpath(place)
    taken = other is not None and os.path.realpath(other.origin or "") != here
    return f"{name}_file" if taken else name


def _add_folder(folder: str) -> None:
    """Let a file's neighbors be imported, but none in place of the standard library's modules."""
    library = os.path.dirname(os.__file__)
    standard = (library, os.path.join(library, "lib-dynload"))
    last = max((k for k, each in enumerate(sys.path) if each in standard), default=-1)
    sys.path.insert(last + 1, folder)
