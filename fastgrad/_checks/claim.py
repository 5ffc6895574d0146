"""The analytic gradient that the user claims: called or taken, checked, and copied."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._derivatives.given import arrays_of, column_of, given_pair, split
from fastgrad._errors import FastgradError, InputTypeError, InputValueError
from fastgrad._evaluation.local import check_callable
from fastgrad._evaluation.selected import Selection
from fastgrad._leaf import Leaf
from fastgrad._memory import bounds
from fastgrad._report.entries import LeafSpan
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params, check_places, describe, is_function

# Spacing of the types a gradient can come in; the column that holds it has float64's at best.
_EPS = {char: max(float(np.finfo(char).eps), float(np.finfo("d").eps)) for char in "efdgFDG"}
# Two calls of a gradient may differ by this share of its largest entry in a leaf: a sum in float32
# over 10,000 terms in another order by 1e-5, and dropout, a fresh batch or a state by far more.
_REPEATS = 1e-3
# ... or by this many spacings of the largest entry of all leaves: a leaf whose gradient is zero but
# for rounding has other digits each time.
_ROUNDED = 64.0
# A gradient that adds to its last result has summed up k + 1 of them at the second call, and k at
# the first, with one k for all entries: looked for up to this k, beyond which a factor of 1 + 1 / k
# is close to any other.
_MOST_SUMMED = 100
# A gradient beyond this many bytes is read where the user has it, and not copied: a copy of 64 MiB
# takes some 30 ms, and less memory than NumPy, SciPy and this package take by themselves.
LENT_BYTES = 2**26
# Paths in a sentence, at most.
_NAMED = 3

__all__ = [
    "Analytic",
    "NotRepeatable",
    "Repeated",
    "analytic",
    "check_arguments",
    "chosen",
    "compared",
    "glanced",
    "raised",
    "repeated",
    "spacing_of",
    "spans_of",
]


def check_arguments(f: Any, grad: Any, params: Any, name: str = "grad") -> None:
    """Refuse the arguments of a check in the order of another library."""
    order = f"the order of the arguments is f, {name}, params"
    if not callable(f) and (callable(grad) or callable(params)):
        raise InputTypeError(f"`f` must be callable as f(params); got {describe(f)}: {order}")
    # As in check_gradient(f, params, grad), where a function stands for the parameters.
    if callable(f) and not callable(grad) and grad is not True and is_function(params):
        raise InputTypeError(f"`params` is a function, and `{name}` is {describe(grad)}: {order}")
    check_callable(f, "f")


class NotRepeatable(Enum):
    """Why two calls of a gradient have little to do with each other."""

    ACCUMULATES = (
        "at its second call, `grad` gave {} times what it gave at the first{}: it adds to its last "
        "result; let it start from zero at each call, as with zero_grad()"
    )
    CHANGES = (
        "at its second call, with the same parameters, `grad` gave other values than at the first"
        "{}, by up to {:.2g} of {:.2g}; if it is random, as with dropout or a fresh batch, fix the "
        "seed inside of it; if it keeps a state, put that back"
    )
    RAISES = (
        "`grad` could be called only once: at its second call it raised {}; let it compute all "
        "that it needs anew, as with a forward pass before each backward pass"
    )


@dataclass(frozen=True)
class Repeated:
    """What a second call of a gradient has shown, in kind and as a sentence."""

    kind: NotRepeatable
    sentence: str


@dataclass  # not frozen, which takes a microsecond in each check of a few entries
class Analytic:
    """The gradient to be checked: one column of real numbers in the order of the leaves.

    `eps` is the spacing of each leaf's gradient type, or how far a second call of the gradient was
    off, relative to the largest entry, where that is more; `value` is the value of `f` that came
    with the gradient, if one did; `spans` say which stretch of the column belongs to which leaf. If
    the second call was off by more than rounding explains, `trouble` says so: then the gradient is
    not one, and nothing can be judged. `rtol` and `atol` are what the user grants to it beyond the
    error bar.
    """

    column: np.ndarray
    eps: tuple[float, ...]
    value: float | None
    spans: tuple[LeafSpan, ...]
    trouble: Repeated | None = None
    rtol: float = 0.0
    atol: float = 0.0
    # The checksum of a column that is the user's own memory, which `f` could write into.
    lent: int | None = None

    @property
    def untouched(self) -> bool:
        """Whether the column holds what the user passed."""
        return self.lent is None or _backend.kernel.checksum(self.column) == self.lent

    def check(self) -> None:
        """Refuse an `f` that wrote into the gradient, of which there is no copy."""
        if not self.untouched:
            raise _errors.lent_error()

    def kept(self) -> Analytic:
        """The same, with a column that is not the user's."""
        if self.lent is None:
            return self
        kept = replace(self, column=self.column.copy(), lent=None)
        self.check()
        return kept


def analytic(
    f: Callable[[Any], Any],
    grad: Any,
    argument: Params,
    leaves: Sequence[Leaf],
    *,
    lend: bool = False,
) -> Analytic:
    """The analytic gradient as a copy, from whichever form of `grad` the user passed.

    With `lend`, the column may be the user's own memory where it is large: see `Analytic`.
    """
    arrays, value = _given(f, grad, argument, leaves)
    found = _copied if not (lend and _may_lend(grad, arrays, leaves)) else _lent
    return found(arrays, value, leaves)


def glanced(
    grad: Any, argument: Params, leaves: Sequence[Leaf], count: int
) -> tuple[np.ndarray, tuple[float, ...], float | None]:
    """Column, spacings and value of a claim of so many entries, mostly seen at a glance.

    They are those of `analytic`; `grad` is not True.
    """
    called = callable(grad)
    given = _called(grad, argument, leaves) if called else grad
    # Of several arrays that are no result some may be the parameters: that takes a closer look.
    seen = _backend.kernel.take(argument, given, count, not called and len(leaves) > 1)
    if seen is not None:
        return seen[0], _spacings(seen[1]), None
    arrays, value = split(argument, given) if called else (_passed(grad, argument, leaves), None)
    return column_of(arrays, leaves), tuple(map(spacing_of, arrays)), _number(value)


def _may_lend(grad: Any, arrays: Sequence[np.ndarray], leaves: Sequence[Leaf]) -> bool:
    """Whether a gradient is one large array as the column is, and lies beside the parameters."""
    if callable(grad) or grad is True or len(arrays) != 1 or leaves[0].is_complex:
        return False  # what a function returned it may use again at its second call
    array = arrays[0]
    plain = type(array) is np.ndarray and array.dtype.char == "d" and array.flags.c_contiguous
    if not plain or array.nbytes <= LENT_BYTES or not _backend.kernel.is_native(array):
        return False
    (low, high), (start, stop) = bounds(array), bounds(leaves[0].array)
    return high <= start or stop <= low


def _given(
    f: Callable[[Any], Any], grad: Any, argument: Params, leaves: Sequence[Leaf]
) -> tuple[list[np.ndarray], Any]:
    """The gradient's arrays, and the value of `f` if one came with them."""
    if grad is True:
        return given_pair(argument, f(argument))
    if callable(grad):
        return split(argument, _called(grad, argument, leaves))
    return _passed(grad, argument, leaves), None


def _called(grad: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf]) -> Any:
    """What it returned, if the parameters are where they were: a claim is compared with these."""
    given = grad(argument)
    check_places(argument, leaves, "grad")
    return given


def _passed(grad: Any, argument: Params, leaves: Sequence[Leaf]) -> list[np.ndarray]:
    """The arrays of a gradient that is no function."""
    if grad is None or grad is False:
        raise InputTypeError(
            f"`grad` must be a function, the gradient itself, or True; got {grad!r}"
        )
    # It may be memory of the parameters, as the gradient of x^2 / 2 is x itself: it is copied.
    arrays = arrays_of(argument, grad)
    _refuse_some_aliases(arrays, leaves)
    return arrays


def chosen(claim: Analytic, selection: Selection | None) -> Analytic:
    """What is claimed of the entries that a selection holds."""
    if selection is None:
        return claim
    parts, spans, start = [], [], 0
    for k, span in enumerate(claim.spans):
        mine, numbers = claim.column[span.start : span.stop], selection.chosen(k)
        parts.append(mine if numbers is None else mine[numbers])
        stop = start + len(parts[-1])
        spans.append(replace(span, start=start, stop=stop, chosen=numbers))
        start = stop
    return replace(claim, column=np.concatenate(parts), spans=tuple(spans))


def repeated(
    claim: Analytic,
    f: Callable[[Any], Any],
    grad: Any,
    argument: Params,
    leaves: Sequence[Leaf],
    selection: Selection | None = None,
) -> Analytic:
    """The claim of the chosen entries, with what a second call shows: see `Analytic`."""
    try:
        # The first result is a copy, as `grad` may use its memory again.
        second = column_of(_given(f, grad, argument, leaves)[0], leaves)
    except FastgradError:
        raise
    except Exception as error:
        return replace(chosen(claim, selection), trouble=raised(error))
    again = chosen(replace(claim, column=second, lent=None), selection)
    return compared(chosen(claim, selection), again.column)


def raised(error: Exception) -> Repeated:
    """What it means that the second call raised."""
    said = f"{type(error).__name__}: {error}".removesuffix(": ")
    return Repeated(NotRepeatable.RAISES, NotRepeatable.RAISES.value.format(said))


def compared(claim: Analytic, second: np.ndarray) -> Analytic:
    """The claim with what the column of a second call shows: see `Analytic`."""
    found = _backend.kernel.Fingerprint
    if found(second).same_bits(found(claim.column)):
        return claim
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.abs(second - claim.column)
    same = (claim.column == second) | (np.isnan(claim.column) & np.isnan(second))
    spread[same] = 0.0  # also where both are infinite
    spread[np.isnan(spread)] = np.inf
    off = [k for k, span in enumerate(claim.spans) if _is_off(claim, second, spread, k, span)]
    trouble = _told_apart(claim, second, spread, off) if off else None
    return replace(claim, eps=_widened(claim, spread), trouble=trouble)


def _widened(claim: Analytic, spread: np.ndarray) -> tuple[float, ...]:
    """The spacing of each leaf's gradient, or how far two calls are apart where that is more."""
    found = []
    for eps, span in zip(claim.eps, claim.spans, strict=True):
        mine = slice(span.start, span.stop)
        largest = _largest(claim.column[mine])
        share = _largest(spread[mine]) / largest if largest else 0.0
        found.append(max(eps, share))
    return tuple(found)


def _is_off(
    claim: Analytic, second: np.ndarray, spread: np.ndarray, k: int, span: LeafSpan
) -> bool:
    """Whether two gradients differ by more in a leaf than rounding explains."""
    mine = slice(span.start, span.stop)
    largest = max(_largest(claim.column[mine]), _largest(second[mine]))
    of_all = max(_largest(claim.column), _largest(second))
    allowed = max(_REPEATS * largest, _ROUNDED * claim.eps[k] * of_all)
    return not spread[mine].max(initial=0.0) <= allowed


def _largest(column: np.ndarray) -> float:
    return float(np.abs(column).max(initial=0.0, where=np.isfinite(column)))


def _told_apart(
    claim: Analytic, second: np.ndarray, spread: np.ndarray, off: Sequence[int]
) -> Repeated:
    """Name why two gradients differ in the leaves that are `off`."""
    spans = [claim.spans[k] for k in off]
    part = np.concatenate([np.arange(span.start, span.stop) for span in spans])
    paths = ", ".join(f"`{span.path}`" for span in spans[:_NAMED]) + ", ..." * (len(off) > _NAMED)
    place = f" in {paths}" if len(off) < len(claim.spans) else ""
    first, then = claim.column[part], second[part]
    # Infinite and NaN entries stay so, whatever is added to them.
    finite = np.isfinite(first)
    unit = first[finite] / max(_largest(first), np.finfo(float).tiny)  # so that no square overflows
    factor = float(then[finite] @ unit) / max(float(first[finite] @ unit), np.finfo(float).tiny)
    summed = round(1 / (factor - 1)) if factor > 1 + 0.5 / _MOST_SUMMED else 0
    if summed:
        rounding = _ROUNDED * max(claim.eps[k] for k in off) * _largest(first)
        left = np.abs(then - (1 + 1 / summed) * first)[finite]
        if left.max(initial=0.0) <= rounding:
            kind = NotRepeatable.ACCUMULATES
            return Repeated(kind, kind.value.format(f"{1 + 1 / summed:.4g}", place))
    kind = NotRepeatable.CHANGES
    most = float(spread[part].max())
    return Repeated(kind, kind.value.format(place, most, max(_largest(first), _largest(then))))


def _lent(arrays: Sequence[np.ndarray], value: Any, leaves: Sequence[Leaf]) -> Analytic:
    """The one array itself, read-only."""
    column = arrays[0].reshape(-1)
    column.flags.writeable = False
    return replace(_described(column, arrays, value, leaves), lent=_backend.kernel.checksum(column))


def _copied(arrays: Sequence[np.ndarray], value: Any, leaves: Sequence[Leaf]) -> Analytic:
    """Copy arrays, before `f` is called again, which may reuse their memory."""
    return _described(column_of(arrays, leaves), arrays, value, leaves)


def _described(
    column: np.ndarray, arrays: Sequence[np.ndarray], value: Any, leaves: Sequence[Leaf]
) -> Analytic:
    spans = []
    start = 0
    for leaf in leaves:
        stop, array = start + leaf.real.size, leaf.array
        spans.append(_span(leaf.path, array.shape, array.dtype, start, stop, leaf.is_complex))
        start = stop
    return Analytic(column, tuple(map(spacing_of, arrays)), _number(value), tuple(spans))


def spans_of(
    paths: Sequence[str], kinds: Sequence[str], shapes: Sequence[tuple[int, ...]]
) -> tuple[LeafSpan, ...]:
    """Where leaves of these real types lie in the column."""
    spans, start = [], 0
    for path, kind, shape in zip(paths, kinds, shapes, strict=True):
        stop = start + math.prod(shape)
        spans.append(_span(path, shape, np.dtype(kind), start, stop, False))
        start = stop
    return tuple(spans)


def _number(value: Any) -> float | None:
    """The value that came with a gradient."""
    return None if value is None else float(as_scalar(value, at_base, 0))


@lru_cache(maxsize=64)
def _spacings(kinds: str) -> tuple[float, ...]:
    """Spacings of claims of these types."""
    return tuple(_EPS[kind] for kind in kinds)


def spacing_of(array: np.ndarray) -> float:
    """Spacing of the numbers of a claim, which float64 holds; integers count as exact."""
    return _EPS.get(array.dtype.char, _EPS["d"])


@lru_cache(maxsize=1024)
def _span(
    path: str, shape: tuple[int, ...], dtype: np.dtype, start: int, stop: int, is_complex: bool
) -> LeafSpan:
    """Where a leaf lies in the column; the same models are checked again and again."""
    return LeafSpan(path, shape, _name(dtype), start, stop, is_complex)


@cache
def _name(dtype: np.dtype) -> str:
    return str(dtype)  # slow, and a model has many leaves of one type


def _refuse_some_aliases(arrays: Sequence[np.ndarray], leaves: Sequence[Leaf]) -> None:
    """Refuse arrays for a gradient of which some are the parameters themselves, and others not."""
    # Sorted by first byte, so that a model of a thousand arrays takes no million comparisons.
    spans = sorted((*bounds(leaf.array), k) for k, leaf in enumerate(leaves) if leaf.array.size)
    lows = [low for low, _, _ in spans]
    # The farthest end of all that start as early: where it ends before an array, so do they all.
    ends = list(accumulate((high for _, high, _ in spans), max))
    aliases: dict[int, int] = {}
    for k, array in enumerate(arrays):
        low, high = bounds(array)
        at = bisect_left(lows, high) if array.size else 0
        while at and ends[at - 1] > low and k not in aliases:
            at -= 1
            if np.shares_memory(array, leaves[spans[at][2]].array):
                aliases[k] = spans[at][2]
    if aliases and any(array.size and k not in aliases for k, array in enumerate(arrays)):
        mine, other = next(iter(aliases.items()))
        raise InputValueError(
            f"`grad` at `{leaves[mine].path}` shares memory with the parameters "
            f"`{leaves[other].path}`, and other arrays of it do not: pass a copy if they are the "
            "gradient, or the function that computes it"
        )
