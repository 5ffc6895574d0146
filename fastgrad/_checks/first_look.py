"""The whole check of a right gradient of a few small arrays; anything doubtful is left to others.

It makes the evaluations with which an ordinary check begins, in their order, and judges by the same
error model. What was measured until a doubt came up is handed on. A check in a tight loop feels
each microsecond here: one call of the kernel evaluates and judges, and is handed all constants.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._checks.baseline import (
    LEAST_VARIATION,
    SPACINGS,
    TIMES,
    TINY,
    TINY_ENTRY,
    WILD,
    Baseline,
)
from fastgrad._checks.claim import Analytic, compared, glanced, raised, spans_of
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import FACTORS, KINK_SHARE, POWER_LEAF, has_drifted
from fastgrad._checks.result import LeafResult, Part, Result
from fastgrad._checks.so_far import entries_so_far
from fastgrad._derivatives.noise import POINTS, RULES, STEP_RULES, least_different
from fastgrad._derivatives.step_table import bounds_of_noise
from fastgrad._dtypes import EPS
from fastgrad._errors import FastgradError
from fastgrad._evaluation.direction import key_of, odd_width, signs
from fastgrad._evaluation.guard import COPIED_BYTES, Guard
from fastgrad._evaluation.lenient import Raised
from fastgrad._evaluation.local import is_plain_function
from fastgrad._evaluation.measured import Measured
from fastgrad._evaluation.protocol import Samples
from fastgrad._leaf import Leaf
from fastgrad._reference_look import LookParts, LookRules
from fastgrad._report.entries import Entries, Verdict
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params

__all__ = ["FirstLook", "Layout", "may_look"]

# Entries and arrays, at most: with more, what is saved is little beside the evaluations.
_MOST_ENTRIES, _MOST_LEAVES = 4096, 32
# Seconds that a call of `f` may take: beyond, nothing is saved, and an interrupt would lose more.
_SLOW = 1e-4

# All that decides, as the kernel is handed it.
_RULES = LookRules(
    *bounds_of_noise(1.0, 1.0),
    slow=_SLOW,
    times=TIMES,
    different=least_different(POINTS),
    tiny=TINY_ENTRY,
    wild=WILD,
    noise=TINY,
    variation=LEAST_VARIATION,
    kink=KINK_SHARE,
    power=POWER_LEAF,
    noises=RULES,
    steps=STEP_RULES,
    factors=FACTORS,
)


class Layout(NamedTuple):
    """What a look has to know of the arrays, whatever they hold."""

    kinds: str  # type characters
    shapes: tuple[tuple[int, ...], ...]
    size: int  # entries of all
    parts: LookParts


def may_look(f: Any, leaves: Sequence[Leaf], seed: int) -> Layout | None:
    """What is to be known for a look at a function of a few small plain arrays; None of others."""
    if not is_plain_function(f) or len(leaves) > _MOST_LEAVES:
        return None
    arrays = [leaf.array for leaf in leaves]
    found = _backend.kernel.plain_layout(arrays, COPIED_BYTES, _MOST_ENTRIES)
    return None if found is None else _layout(*found, seed)


# A loop checks the same arrays again and again; each entry takes a few bytes.
@lru_cache(maxsize=64)
def _layout(kinds: str, shapes: tuple[tuple[int, ...], ...], seed: int) -> Layout:
    spacings = tuple(EPS[kind] for kind in kinds)
    sizes = list(map(math.prod, shapes))
    factors = [signs(key_of(seed, 0, k), size) for k, size in enumerate(sizes)]
    widths = tuple([odd_width(width, eps) for eps in spacings] for width in SPACINGS)
    return Layout(kinds, shapes, sum(sizes), LookParts(spacings, factors, widths))


class FirstLook:
    """A look at the gradient `grad` of `f`: `seen` does it, and the rest is what it has found."""

    # Noise of `f` as a standard deviation, its relative rounding, the table that showed them, and
    # the first step of each leaf, over the entries' lengths.
    told: list[Any]
    _column: np.ndarray  # what is claimed of all entries
    _eps: tuple[float, ...]  # spacing of each leaf's claim: see `Analytic`
    _value: float | None  # what came with the gradient
    _found: tuple[np.ndarray, np.ndarray] | None  # numeric entries, their bounds

    def __init__(
        self,
        f: Callable[[Any], Any],
        grad: Any,
        argument: Params,
        leaves: Sequence[Leaf],
        layout: Layout,
        seed: int,
        rtol: float,
        atol: float,
    ) -> None:
        self.f, self.grad, self.argument, self.leaves = f, grad, argument, leaves
        self.seed, self.rtol, self.atol = seed, rtol, atol
        self.measured = Measured([], [], [])
        self.told = []
        self._layout = layout
        self._claim: Analytic | None = None

    def seen(self) -> bool:
        """Whether the gradient is right beyond doubt. Exceptions are those of an ordinary check."""
        guard = Guard(self.leaves)
        try:
            with guard:
                return self._is_claimed(guard) and self._agrees(guard)
        finally:
            guard.close()

    def forget(self) -> None:
        """Let go of what a report does not need, and might keep alive: the parameters above all."""
        self._paths = [leaf.path for leaf in self.leaves]
        self.f, self.grad, self.argument, self.leaves = _forgotten, None, None, ()

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated for a gradient that is right."""
        made = self.measured
        return (
            len(made.bases) + sum([len(values) for values in made.tables]) + 2 * self._layout.size
        )

    @property
    def claim(self) -> Analytic:
        """What is claimed, with what a second call has shown."""
        if self._claim is None:
            paths = [leaf.path for leaf in self.leaves] or self._paths
            spans = spans_of(paths, self._layout.kinds, self._layout.shapes)
            self._claim = Analytic(self._column, self._eps, self._value, spans)
        return self._claim

    def _is_claimed(self, guard: Guard) -> bool:
        """Whether a gradient is claimed, the same at each call, and no value beside it."""
        asks = (self.grad, self.argument, self.leaves, self._layout.size)
        self._column, self._eps, self._value = glanced(*asks)
        if not callable(self.grad):
            return True
        guard.check("grad")
        try:
            second = glanced(*asks)[0]
            if not _backend.kernel.same_bits(self._column, second):
                self._claim = compared(self.claim, second)
        except FastgradError:
            raise
        except Exception as error:
            self._claim = replace(self.claim, trouble=raised(error))
        guard.check("grad")
        if self._claim is not None:
            self._eps = self._claim.eps
            return self._claim.trouble is None
        return self._value is None

    def _agrees(self, guard: Guard) -> bool:
        raised, made = Raised(), self.measured
        moved = _backend.kernel.forgiving(self.f, raised, _nothing)
        memory = (self.argument, self.leaves, guard.found, guard.log)
        claimed = (self._column, self._eps, self._layout.parts, _RULES)
        lists = (made.bases, made.tables, made.samples, self.told)
        try:
            self._found = _backend.kernel.first_look(
                self.f, moved, *memory, *claimed, *lists, self.rtol, self.atol
            )
        except KeyboardInterrupt as error:
            if self.told:
                _errors.note(error, self._so_far())
            raise
        finally:
            made.raised = raised.first
        if self._found is None:
            return False
        value = self.f(self.argument)
        made.bases.append(value if type(value) is float else as_scalar(value, at_base, 0))
        return not has_drifted(made.bases[0], made.bases[-1], self.told[0])

    @property
    def left(self) -> Measured:
        """What an ordinary check need not evaluate again."""
        return self.measured.past_start() if self.told else self.measured

    @property
    def baseline(self) -> Baseline | None:
        """What an ordinary check would find before any entry; None if the look ended earlier."""
        if not self.told:
            return None
        base = self.measured.bases[0]
        noise, unit, table, steps = self.told
        return Baseline(
            base,
            base,
            noise,
            unit,
            tuple(steps),
            None,
            levels=(noise,) * len(steps),
            sampled=SPACINGS[table],
            coarse=(False,) * len(steps),
        )

    def result(self) -> Result:
        """The result of a gradient that is right."""
        claim = self.claim
        assert self._found is not None
        numeric, bounds = self._found
        n = len(numeric)
        right = LeafResult(Verdict.RIGHT, moves=True, still=False, jumps=False)
        codes, none = np.full(n, Verdict.RIGHT.code, np.int8), np.zeros(n, bool)
        return Result(
            Entries(claim.spans, claim.column, numeric, bounds, codes, none),
            (right,) * len(self._layout.shapes),
            self.baseline,
            detection_limit=float(bounds.max()),
            doubts=np.zeros(n, np.int8),
            rtol=self.rtol,
            atol=self.atol,
        )

    def _so_far(self) -> str:
        """What was known at an interrupt."""
        claim = replace(self.claim, rtol=self.rtol, atol=self.atol)
        table, baseline, parts = EntryTable.blank(claim.column), self.baseline, []
        assert baseline is not None
        for k, (leaf, span) in enumerate(zip(self.leaves, claim.spans, strict=True)):
            mine = slice(span.start, span.stop)
            part = EntryTable(**{name: column[mine] for name, column in vars(table).items()})
            model = baseline.model(k, claim, EPS[leaf.array.dtype.char])
            if k < len(self.measured.samples):
                moved, values = self.measured.samples[k]
                known = np.flatnonzero(~np.isnan(values).any(axis=1))
                found = Samples(moved[known], values[known])
                _, numeric, ahead, behind, bound = model.quotients(found)
                part.numeric[known], part.gaps[known] = numeric, ahead - behind
                part.uncertainty[known] = bound
            parts.append(Part(k, leaf, part, model))
        return entries_so_far(parts)


def _nothing() -> float:
    return math.nan


def _forgotten(argument: Any) -> float:
    raise AssertionError("a look that is over calls nothing")
