"""Nested parameters: containers of arrays, seen as a list of named leaves in place.

Containers are mappings, lists, tuples, namedtuples and dataclass instances, nested at will; None
stands for "no parameter here". Leaves are NumPy arrays of a floating or complex type. No array is
ever copied: `f` receives the very object the user passed, or, where that holds Python numbers, a
copy of the containers with arrays in place of the numbers.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Iterator, Mapping, Sequence
from operator import is_
from typing import Any, TypeAlias

import numpy as np

from fastgrad import _errors
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._leaf import Leaf, child_path
from fastgrad._refusals import AT_THE_TOP, WAY_OUT, kind_of, refuse_kind, refuse_type
from fastgrad._words import with_article

__all__ = [
    "Params",
    "as_numbers",
    "as_params",
    "check_places",
    "children",
    "describe",
    "flatten",
    "is_function",
    "only_numbers",
    "pair",
    "pair_flat",
    "plain_or_none",
    "same_kind",
    "structure_of",
    "unflatten",
    "with_children",
]

Params: TypeAlias = Any  # an array, or a nest of containers of arrays; typing cannot say more

_LIKE = "the parameters"  # what other nests must be like


def as_params(params: Params, name: str = "params") -> Params:
    """Return what `f` will receive: `params` itself, or a copy in which numbers are arrays.

    `name` is what the user calls them.
    """
    if type(params) is np.ndarray or _is_flat(params):
        return params
    if isinstance(params, bool):  # alone it is no flag
        return np.array(params, dtype=np.float64)
    return _with_arrays(params, "", (), name)


def _is_flat(node: Any) -> bool:
    """Whether it is a dict, list or tuple of arrays and nothing else: the commonest nest.

    A check of a few small arrays feels every other question.
    """
    kind = type(node)
    if kind is not dict and kind is not list and kind is not tuple:
        return False
    return set(map(type, node.values() if kind is dict else node)) == {np.ndarray}


def _with_arrays(node: Any, path: str, above: tuple[int, ...], name: str) -> Any:
    """The node itself if it holds no numbers; otherwise a copy that shares its arrays."""
    if isinstance(node, np.ndarray) or node is None or isinstance(node, bool):
        return node  # `f` tests a flag: it is refused later, and not moved as a number
    if isinstance(node, (int, np.integer)):
        return np.array(node, dtype=np.float64)
    if isinstance(node, (float, complex, np.number)):
        return np.array(node)
    if isinstance(node, (list, tuple)) and only_numbers(node, ()):
        return _array_of_numbers(node, path or name)
    parts = children(node, path)
    if parts is None:
        return node
    _check_finite(node, path, above)
    made = [_with_arrays(child, label, (*above, id(node)), name) for label, child in parts]
    # `f` gets the very containers of the user wherever these hold arrays already.
    same = all(new is old for new, (_, old) in zip(made, parts, strict=True))
    return node if same else with_children(node, made)


def only_numbers(node: Any, above: tuple[int, ...]) -> bool:
    """Whether it is a list of numbers, or of such lists, that stands for one array."""
    if isinstance(node, (list, tuple)):
        if hasattr(node, "_fields") or id(node) in above:
            return False  # `f` wants its fields by name; a nest without end is refused later
        return bool(node) and all(only_numbers(child, (*above, id(node))) for child in node)
    return isinstance(node, (int, float, complex, np.number))


def _array_of_numbers(numbers: Any, path: str) -> np.ndarray:
    try:
        array = np.array(numbers)
    except ValueError:
        raise InputValueError(
            f"`{path}` is a ragged list of numbers; {WAY_OUT} for each row"
        ) from None
    return array if array.dtype.kind in "fc" else array.astype(np.float64)


def flatten(params: Params) -> list[Leaf]:
    """Return the leaves of `params` in order; every leaf is an array of an accepted type."""
    if type(params) is np.ndarray:
        return [_leaf("params", params)]
    if _is_flat(params):
        return [_leaf(path, node) for path, node in children(params, "") or ()]
    if params is None:
        raise InputTypeError(f"`params` is None, not an array; {AT_THE_TOP}")
    return [_leaf(path, node) for path, node in _walk(params, "", ())]


def check_places(params: Params, leaves: Sequence[Leaf], who: str = "f") -> None:
    """Refuse what was measured if `who` took a leaf out of the containers it was found in."""
    if type(params) is np.ndarray or _holds(params, leaves):
        return
    # By address: some mappings make a new view at each look.
    nodes = [node for _, node in _walk(params, "", ()) if isinstance(node, np.ndarray)]
    places = {node.__array_interface__["data"][0] for node in nodes}
    for leaf in leaves:
        if leaf.array.size and leaf.array.__array_interface__["data"][0] not in places:
            raise _errors.replaced_error(leaf.path, who)


def _holds(params: Params, leaves: Sequence[Leaf]) -> bool:
    """Whether they are a dict, list or tuple of just these leaves, which is seen at a glance."""
    kind = type(params)
    if kind is not dict and kind is not list and kind is not tuple:
        return False
    now = list(params.values()) if kind is dict else params
    return len(now) == len(leaves) and all(map(is_, now, [leaf.array for leaf in leaves]))


def _walk(node: Any, path: str, above: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """What is no container, with its path; `above` are the ids of the containers around it."""
    if node is None:
        return
    parts = children(node, path)
    if parts is None:
        yield path, node
        return
    _check_finite(node, path, above)
    for label, child in parts:
        yield from _walk(child, label, (*above, id(node)))


def _check_finite(node: Any, path: str, above: tuple[int, ...]) -> None:
    if id(node) in above:
        raise InputValueError(f"`{path}` contains itself; parameters must be a finite nest")


def children(node: Any, path: str) -> list[tuple[str, Any]] | None:
    """Labelled children of a container, or None for anything else."""
    if type(node) is np.ndarray:  # the commonest, which the questions below take a while for
        return None
    if isinstance(node, tuple) and hasattr(node, "_fields"):
        return [(child_path(path, key), getattr(node, key)) for key in node._fields]
    if isinstance(node, (list, tuple)):
        return [(child_path(path, i), child) for i, child in enumerate(node)]
    if isinstance(node, (dict, Mapping)):  # asking for an abstract class takes a while
        return [(child_path(path, key), node[key]) for key in node]
    if dataclasses.is_dataclass(node) and not isinstance(node, type):  # an instance
        names = [field.name for field in dataclasses.fields(node)]
        return [(child_path(path, name), getattr(node, name)) for name in names]
    return None


def _leaf(path: str, node: Any) -> Leaf:
    """A leaf; the path of one that is no part of a nest is empty, or `params`."""
    if type(node) is not np.ndarray:
        refuse_kind(path or "params", node, nested=bool(path))
    path = path or "params"
    if node.dtype.kind not in "fc":
        refuse_type(path, node)
    return Leaf(path, node)


def unflatten(params: Params, arrays: Iterator[Any]) -> Params:
    """Return a nest like `params` whose leaves are taken from `arrays`, in order."""
    if params is None:
        return None
    parts = children(params, "")
    if parts is None:
        return next(arrays)
    return with_children(params, [unflatten(child, arrays) for _, child in parts])


def structure_of(params: Params) -> Any:
    """The containers of `params` with zeros in place of the arrays, which it does not keep."""
    if type(params) is np.ndarray:
        return 0
    if _is_flat(params):
        return dict.fromkeys(params, 0) if type(params) is dict else type(params)([0] * len(params))
    return unflatten(params, itertools.repeat(0))


def plain_or_none(node: Any) -> Any:
    """A structure in Python's own containers, or None where its keys are not Python's own."""
    try:
        return _plain(node)
    except TypeError:
        return None


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        if not all(type(key) in (str, int, float, bool, bytes) for key in node):
            raise TypeError
        return {key: _plain(node[key]) for key in node}
    if _is_plain_sequence(node):
        made = [_plain(child) for child in node]
        return tuple(made) if isinstance(node, tuple) else made
    parts = children(node, "")
    return node if parts is None else {label: _plain(child) for label, child in parts}


def with_children(node: Any, made: list[Any]) -> Any:
    """A container like `node` that holds what was `made`."""
    if isinstance(node, tuple):
        make: Any = getattr(node, "_make", tuple)
        return make(made)
    if isinstance(node, Mapping) and not isinstance(node, dict):  # it may be a read-only view
        return dict(zip(node, made, strict=True))
    clone = copy.copy(node)  # keeps what a subclass adds, such as a default factory
    if isinstance(node, dict):
        clone.update(zip(node, made, strict=True))
    elif isinstance(node, list):
        clone[:] = made
    else:  # a dataclass, frozen or not; __post_init__ is for the user's values, not for ours
        for field, child in zip(dataclasses.fields(node), made, strict=True):
            object.__setattr__(clone, field.name, child)
    return clone


def as_numbers(node: Any, name: str) -> Any:
    """Copy a nest with all its leaves as arrays of floating or complex numbers."""
    node = as_params(node)
    parts = None if node is None else children(node, "")
    if parts is not None:
        return with_children(node, [as_numbers(child, name) for _, child in parts])
    if node is None:
        return None
    array = np.asarray(node)
    if array.dtype.kind not in "biufc":
        raise InputTypeError(f"`{name}` must hold numbers; got {describe(node)}")
    wide = np.complex128 if array.dtype.kind == "c" else np.float64
    return array if array.dtype == np.longdouble else array.astype(wide)


def pair(
    params: Params, other: Any, name: str, path: str = "", like: str = "", *, top: bool = True
) -> Iterator[tuple[Leaf, Any]]:
    """Pair each leaf of `params` with what stands in its place in `other`.

    Kinds of containers must agree, keys and lengths exactly: list and tuple count as one kind, and
    so do all that have names for what they hold. A plain sequence stands for a namedtuple, and the
    other way round, in its order. `name` is what the caller calls `other`, and `like` the words for
    what it must be like, where `name` alone says what has that place at the top.
    """
    if type(params) is np.ndarray:
        yield _leaf(path or "params", params), other
        return
    parts = children(params, path)
    if params is None or parts is None:
        if params is None and other is not None:
            raise InputTypeError(f"`{name}` holds a value for `{path}`, which is None in `params`")
        if params is not None:
            yield _leaf(path or "params", params), other
        return
    labels = [label for label, _ in parts]
    others = _counterparts(params, other, path, labels)
    if others is None:
        wanted = with_article(type(params).__name__)
        if _has_names(params) and not isinstance(params, Mapping):
            wanted += " or a dict of its fields"
        raise InputTypeError(
            f"`{name}` must be {wanted}{_place(path, like, top)}, like {like or _LIKE}; "
            f"got {_sized(other)}"
        )
    theirs = dict(others)
    if set(labels) != set(theirs):
        said = f"`{name}` must have the structure of {like or _LIKE}{_place(path, like, top)}"
        there = "there" if like else "to `params`"
        raise InputValueError(f"{said}: it {_differing(labels, list(theirs), there)}")
    for label, child in parts:
        yield from pair(child, theirs[label], name, label, like, top=False)


def _place(path: str, like: str, top: bool) -> str:
    """Where a container stands, in words."""
    return "" if like and top else f" at `{path or 'params'}`"


def _counterparts(
    params: Params, other: Any, path: str, labels: Sequence[str]
) -> list[tuple[str, Any]] | None:
    """What a container holds in place of the children of another one; None for another kind."""
    if same_kind(params, other) or (_has_names(params) and _has_names(other)):
        return children(other, path)
    both = isinstance(params, (list, tuple)) and isinstance(other, (list, tuple))
    if both and len(params) == len(other):  # a namedtuple, and a plain sequence
        return list(zip(labels, other, strict=True))
    return None


def _has_names(node: Any) -> bool:
    """Whether a container names what it holds."""
    fields = dataclasses.is_dataclass(node) and not isinstance(node, type)
    return fields or isinstance(node, Mapping) or hasattr(node, "_fields")


def _sized(value: Any) -> str:
    """A value in a few words, with the length of a plain sequence."""
    said = describe(value)
    return f"{said} of {len(value)}" if _is_plain_sequence(value) else said


def pair_flat(params: Params, other: Any) -> list[tuple[np.ndarray, Any]] | None:
    """Each array of a dict, list or tuple with what stands in its place in another one of its kind.

    None where that is not seen at a glance: then `pair` tells.
    """
    kind = type(params)
    if type(other) is not kind or not _is_flat(params) or len(params) != len(other):
        return None
    if kind is not dict:
        return list(zip(params, other, strict=True))
    if params.keys() != other.keys():
        return None
    return [(array, other[key]) for key, array in params.items()]


def same_kind(a: Any, b: Any) -> bool:
    if type(a) is type(b):
        return True
    # A gradient often comes in other containers than the parameters: a dict for an ordered one.
    if isinstance(a, Mapping):
        return isinstance(b, Mapping)
    return _is_plain_sequence(a) and _is_plain_sequence(b)


def _is_plain_sequence(node: Any) -> bool:
    """Whether something is a list or a tuple without names."""
    return isinstance(node, (list, tuple)) and not hasattr(node, "_fields")


def describe(value: Any) -> str:
    """A value in a few words, for an error message."""
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return "None" if value is None else kind_of(value)


def is_function(params: Any) -> bool:
    """Whether what should be parameters is a function instead, and holds none."""
    return callable(params) and not hasattr(params, "__array__") and children(params, "") is None


def _differing(wanted: list[str], seen: list[str], there: str) -> str:
    """What a container lacks, and what it has that is not wanted."""
    missing = ", ".join(f"`{label}`" for label in wanted if label not in seen)
    extra = ", ".join(f"`{label}`" for label in seen if label not in wanted)
    said = [f"lacks {missing}" * bool(missing), f"has {extra}, unknown {there}" * bool(extra)]
    return " and ".join(filter(None, said))
