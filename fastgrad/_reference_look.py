"""The functions of `_reference` for a whole first look, as src/first.pxi has them in C."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from time import perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastgrad import _errors
from fastgrad._memory import bounds, is_native, is_plain
from fastgrad._reference_first import FactorRules, agreement, first_factors, odd_table, survey
from fastgrad._reference_loop import central_samples
from fastgrad._reference_noise import NoiseRules, StepRules, noise_table, relative_step
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import pair_flat

if TYPE_CHECKING:
    from fastgrad._evaluation.guard import UndoLog
    from fastgrad._leaf import Leaf
    from fastgrad._memory import Fingerprint

__all__ = ["LookParts", "LookRules", "first_look", "plain_layout", "same_bits", "take"]


class LookRules(NamedTuple):
    """What decides in a first look: `_checks.first_look` says where from."""

    noise_bound: float  # of a difference over the width, in units of the noise ...
    unit_bound: float  # ... and of the rounding of values
    slow: float  # seconds of a call of `f` from which on it is not for this look
    times: tuple[float, ...]  # where the points of the table lie, in spacings
    different: int  # with more different values than this, a table varies
    tiny: float  # entries that are smaller, and not zero, are for a closer look
    wild: float  # and so is noise above this share of the values
    noise: float  # there is at least so much
    variation: float  # `f` varies by at least this share of its value over a length
    kink: float  # see `agreement`
    power: float
    noises: NoiseRules
    steps: StepRules
    factors: FactorRules


class LookParts(NamedTuple):
    """How arrays move in a first look, whatever they hold."""

    spacings: tuple[float, ...]  # of the types of the arrays
    factors: list[np.ndarray]  # see `odd_table`
    widths: tuple[list[tuple[float, float]], ...]  # for each table that may be needed


def first_look(
    f: Callable[[Any], Any],
    moved: Callable[[Any], Any],
    argument: Any,
    leaves: list[Leaf],
    found: list[Fingerprint],
    log: UndoLog,
    claimed: np.ndarray,
    eps: tuple[float, ...],
    parts: LookParts,
    rules: LookRules,
    bases: list[float],
    tables: list[list[float]],
    samples: list[tuple[np.ndarray, np.ndarray]],
    told: list[Any],
    rtol: float,
    atol: float,
) -> tuple[np.ndarray, np.ndarray] | None:
    """Evaluate `f` as a check begins, and judge what is claimed of all entries: see `agreement`.

    None where anything is in doubt. `moved` is `f` at moved points; `claimed` is a column, and
    `eps` the spacings of its parts. Evaluations are appended to `bases` (at the parameters),
    `tables` (along directions) and `samples`; `told` is extended by the noise, the relative
    rounding, the number of the table that showed them, and the steps.
    """
    started = perf_counter()
    base = _at_base(f, argument)
    bases.append(base)
    if perf_counter() - started > rules.slow or not math.isfinite(base):
        return None
    bases.append(_at_base(f, argument))
    if bases[1] != base:
        return None
    memory = (argument, leaves, found, log)
    values = _varying(moved, memory, base, parts, rules, tables)
    if values is None:
        return None
    steepest, tiny = survey(claimed, found, rules.tiny)
    level, unit, coarse = noise_table(values, 0.0, rules.noises)
    if tiny or coarse or level > rules.wild * max(map(abs, values)):
        return None
    level, variation = max(level, rules.noise), max(rules.variation * abs(base), steepest)
    steps = [relative_step(level, variation, each, rules.steps) for each in parts.spacings]
    both = zip(steps, eps, parts.spacings, strict=True)
    factors: list[Any] = [first_factors(*each, rules.factors) for each in both]
    told += (level, unit, len(tables) - 1, steps)
    central_samples(moved, argument, leaves, found, steps, samples)
    known = (base, rules.noise_bound * level, rules.unit_bound * unit, factors)
    return agreement(claimed, samples, *known, rtol, atol, rules.kink, rules.power)


def _varying(
    moved: Callable[[Any], Any],
    memory: tuple[Any, list[Leaf], list[Fingerprint], UndoLog],
    base: float,
    parts: LookParts,
    rules: LookRules,
    tables: list[list[float]],
) -> list[float] | None:
    """The first table whose values vary, with the one at the parameters; None if in doubt."""
    leaves = memory[1]
    for widths in parts.widths:
        values: list[float] = []
        tables.append(values)
        try:
            odd_table(moved, *memory, parts.factors, widths, rules.times, base, values)
        except Exception as error:
            if len(leaves) == 1:
                _errors.annotate(error, f"{leaves[0].path}[...]")
            raise
        if len(values) == 2:  # this spacing moves nothing
            continue
        if not all(map(math.isfinite, values)):
            return None
        if len({base, *values}) > rules.different:
            return [base, *values]
    return None


def _at_base(f: Callable[[Any], Any], argument: Any) -> float:
    value = f(argument)
    return value if type(value) is float else float(as_scalar(value, at_base, 0))


def plain_layout(
    arrays: Sequence[Any], most_bytes: int, most_entries: int
) -> tuple[str, tuple[tuple[int, ...], ...]] | None:
    """Type characters and shapes of plain arrays that share no memory; None of others.

    They have so many bytes and entries at most together, and each has one at least.
    """
    if not arrays or not all(type(a) is np.ndarray and a.size and is_plain(a) for a in arrays):
        return None
    bytes_, entries = sum(a.nbytes for a in arrays), sum(a.size for a in arrays)
    if bytes_ > most_bytes or entries > most_entries or _share_memory(arrays):
        return None
    return "".join(a.dtype.char for a in arrays), tuple(a.shape for a in arrays)


def _share_memory(arrays: Sequence[np.ndarray]) -> bool:
    """Whether two plain arrays have a byte in common."""
    spans = sorted(map(bounds, arrays))
    return any(high > low for (_, high), (low, _) in pairwise(spans))


def take(argument: Any, given: Any, count: int, apart: bool) -> tuple[np.ndarray, str] | None:
    """A gradient by so many entries as one column, and the type characters of its arrays.

    Where it is seen at a glance: one plain array for each of the parameters', all of them native,
    and with `apart`, which wants plain parameters, no two in the same memory. None where it takes a
    closer look.
    """
    both = [(argument, given)] if type(argument) is np.ndarray else pair_flat(argument, given)
    if both is None or not all(_fits_plainly(*each) for each in both):
        return None
    parts = [part for _, part in both]
    if sum(part.size for part in parts) != count:
        return None
    if apart and _share_memory([array for each in both for array in each]):
        return None
    column = np.concatenate([part.reshape(-1) for part in parts], dtype=np.float64)
    return column, "".join(part.dtype.char for part in parts)


def _fits_plainly(array: np.ndarray, part: Any) -> bool:
    if type(part) is not np.ndarray or not is_native(array) or not is_native(part):
        return False
    return bool(part.flags.c_contiguous) and part.shape == array.shape


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two columns of numbers hold the same bits."""
    return a.tobytes() == b.tobytes()
