"""The whole check of a right gradient of a few small arrays; anything doubtful is left to others.

It makes the evaluations with which an ordinary check begins, in their order, and judges by the same
error model. What was measured until a doubt came up is handed on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._checks.baseline import (
    LEAST_VARIATION,
    SPACINGS,
    TIMES,
    TINY,
    Baseline,
    NoiseTable,
    noise_table,
    some_tiny,
)
from fastgrad._checks.claim import Analytic, analytic, repeated
from fastgrad._checks.entry_table import EntryTable
from fastgrad._checks.error_model import KINK_SHARE, POWER_LEAF, first_factors, has_drifted
from fastgrad._checks.result import LeafResult, Part, Result
from fastgrad._checks.so_far import entries_so_far
from fastgrad._derivatives.noise import relative_step, varies
from fastgrad._derivatives.step_table import bounds_of_noise
from fastgrad._dtypes import EPS
from fastgrad._evaluation.direction import key_of, odd_width, signs
from fastgrad._evaluation.guard import COPIED_BYTES, Guard
from fastgrad._evaluation.inplace import offsets_of
from fastgrad._evaluation.lenient import Raised
from fastgrad._evaluation.local import is_plain_function
from fastgrad._evaluation.measured import Measured
from fastgrad._evaluation.protocol import Samples
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Entries, Verdict
from fastgrad._returns import as_scalar, at_base
from fastgrad._stencils import Steps
from fastgrad._tree import Params

__all__ = ["FirstLook", "may_look"]

# Entries and arrays, at most: with more, what is saved is little beside the evaluations.
_MOST_ENTRIES, _MOST_LEAVES = 4096, 32
# Seconds that a call of `f` may take: beyond, nothing is saved, and an interrupt would lose more.
_SLOW = 1e-4
# Points of each entry, in steps.
_OFFSETS = (1, -1)


def may_look(f: Any, leaves: Sequence[Leaf]) -> bool:
    """Whether these are a Python function and a few small plain arrays."""
    if not is_plain_function(f) or len(leaves) > _MOST_LEAVES:
        return False
    is_plain = _backend.kernel.is_plain
    size = entries = 0
    for leaf in leaves:
        array = leaf.array
        if type(array) is not np.ndarray or not array.size or not is_plain(array):
            return False
        size, entries = size + array.nbytes, entries + array.size
    return size <= COPIED_BYTES and entries <= _MOST_ENTRIES


class FirstLook:
    """A look at the gradient `grad` of `f`: `seen` does it, and the rest is what it has found."""

    claim: Analytic
    _table_of_noise: NoiseTable
    _level: float  # of the noise

    def __init__(
        self,
        f: Callable[[Any], Any],
        grad: Any,
        argument: Params,
        leaves: Sequence[Leaf],
        seed: int,
        rtol: float,
        atol: float,
    ) -> None:
        self.f, self.grad, self.argument, self.leaves = f, grad, argument, leaves
        self.seed, self.rtol, self.atol = seed, rtol, atol
        self.measured = Measured()
        self._raised = Raised()
        self._moved = _backend.kernel.forgiving(self.f, self._raised, lambda: math.nan)
        self._steps: list[float] = []
        self._found: list[tuple[np.ndarray, np.ndarray]] = []

    def seen(self) -> bool:
        """Whether the gradient is right beyond doubt. Exceptions are those of an ordinary check."""
        guard = Guard(self.leaves)
        try:
            with guard:
                self.claim = self._claimed(guard)
                return self.claim.trouble is None and self._agrees(guard)
        finally:
            guard.close()
            self.measured.raised = self._raised.first

    def forget(self) -> None:
        """Let go of what a report does not need, and might keep alive: the parameters above all."""
        self.f = self._moved = _forgotten
        self.grad = self.argument = None
        self.leaves = ()

    @property
    def evaluations(self) -> int:
        """How often `f` was evaluated."""
        made = self.measured
        entries = sum([each.values.size for each in made.samples])
        return len(made.bases) + sum(map(len, made.tables)) + entries

    def _claimed(self, guard: Guard) -> Analytic:
        claim = analytic(self.f, self.grad, self.argument, self.leaves)
        if self.rtol or self.atol:
            claim = replace(claim, rtol=self.rtol, atol=self.atol)
        if not callable(self.grad):
            return claim
        guard.check("grad")
        claim = repeated(claim, self.f, self.grad, self.argument, self.leaves)
        guard.check("grad")
        return claim

    def _agrees(self, guard: Guard) -> bool:
        started = perf_counter()
        base = self._base()
        slow = perf_counter() - started > _SLOW
        if slow or not math.isfinite(base) or self.claim.value is not None:
            return False
        if self._base() != base or not self._knows_noise(guard, base):
            return False
        try:
            if not self._entries_agree(guard, base):
                return False
        except KeyboardInterrupt as error:
            _errors.note(error, self._so_far())
            raise
        return not has_drifted(base, self._base(), self._level)

    def _base(self) -> float:
        value = self.f(self.argument)
        value = value if type(value) is float else as_scalar(value, at_base, 0)
        self.measured.bases.append(value)
        return float(value)

    def _knows_noise(self, guard: Guard, base: float) -> bool:
        """Find the noise of `f` and the steps, if the first table that varies leaves no doubt."""
        x = [guard.view(k) for k in range(len(self.leaves))]
        for width in SPACINGS:
            values = [base, *self._table(guard, base, width)]
            if len(values) == 3:  # this spacing moves nothing
                continue
            if not all(map(math.isfinite, values)) or any(map(some_tiny, x)):
                return False
            if varies(values):
                break
        else:
            return False
        table = noise_table(values, width)
        if table.coarse or table.is_wild(values):
            return False
        self._table_of_noise, self._level = table, max(table.level, TINY)
        variation = LEAST_VARIATION * abs(base)
        for k, span in enumerate(self.claim.spans):
            claimed = self.claim.column[span.start : span.stop]
            wide = x[k].reshape(-1).astype(np.float64, copy=False)
            variation = max(variation, _backend.kernel.steepest(claimed, wide))
        self._steps = [relative_step(self._level, variation, EPS[each.dtype.char]) for each in x]
        return True

    def _table(self, guard: Guard, base: float, width: float) -> list[float]:
        """Values along a direction; two of them where these show that nothing moves `f`."""
        kernel, log = _backend.kernel, guard.log
        values: list[float] = []
        self.measured.tables.append(values)
        before, moves = [], []
        try:
            for k, found in enumerate(guard.found):
                part = log.register(found, guard.view(k))
                factors = signs(key_of(self.seed, 0, k), part.size)
                before.append(part)
                moves.append(kernel.odd_moves(part, factors, *odd_width(width, part)))
            how = (self.argument, self.leaves, guard.found, before, moves)
            kernel.follow(self._moved, *how, TIMES, base, values)
        except Exception as error:
            if len(before) == 1:
                _errors.annotate(error, f"{self.leaves[0].path}[...]")
            raise
        finally:
            log.undo()
        return values

    def _entries_agree(self, guard: Guard, base: float) -> bool:
        kernel, table = _backend.kernel, self._table_of_noise
        for k, leaf in enumerate(self.leaves):
            guard.view(k)
            n = leaf.array.size
            moved, values = np.empty((2, n, 2))
            values.fill(math.nan)  # up to where an interrupt came
            self.measured.samples.append(Samples(moved, values))
            steps = Steps(relative=self._steps[k])
            how = (self.argument, leaf, offsets_of(_OFFSETS), steps, _numbers(n))
            kernel.sample(self._moved, *how, moved, values)
        for k, (leaf, span) in enumerate(zip(self.leaves, self.claim.spans, strict=True)):
            sample = self.measured.samples[k]
            claimed = self.claim.column[span.start : span.stop]
            spacing = EPS[leaf.array.dtype.char]
            factors = first_factors(self._steps[k], self.claim.eps[k], spacing)
            noise = bounds_of_noise(self._level, table.unit)
            known = (base, *noise, factors, self.rtol, self.atol)
            found = kernel.agreement(
                claimed, sample.moved, sample.values, *known, KINK_SHARE, POWER_LEAF
            )
            if found is None:
                return False
            self._found.append(found)
        return True

    def _baseline(self) -> Baseline:
        base, n = self.measured.bases[0], len(self._steps)
        table = self._table_of_noise
        return Baseline(
            base,
            base,
            self._level,
            table.unit,
            tuple(self._steps),
            None,
            levels=(self._level,) * n,
            sampled=table.spacing,
            coarse=(table.coarse,) * n,
        )

    def result(self) -> Result:
        """The result of a gradient that is right."""
        claim, found = self.claim, self._found
        numeric, bounds = found[0] if len(found) == 1 else _joined(found)
        n = len(numeric)
        right = LeafResult(Verdict.RIGHT, moves=True, still=False, jumps=False)
        codes, none = np.full(n, Verdict.RIGHT.code, np.int8), np.zeros(n, bool)
        return Result(
            Entries(claim.spans, claim.column, numeric, bounds, codes, none),
            (right,) * len(found),
            self._baseline(),
            detection_limit=float(bounds.max()),
            doubts=np.zeros(n, np.int8),
            rtol=self.rtol,
            atol=self.atol,
        )

    @property
    def noise(self) -> float:
        """Noise of `f`, as a standard deviation."""
        return self._level

    @property
    def steps(self) -> tuple[float, ...]:
        """First step of each leaf, over the entries' lengths."""
        return tuple(self._steps)

    def _so_far(self) -> str:
        """What was known at an interrupt."""
        table, baseline, parts = EntryTable.blank(self.claim.column), self._baseline(), []
        for k, (leaf, span) in enumerate(zip(self.leaves, self.claim.spans, strict=True)):
            mine = slice(span.start, span.stop)
            part = EntryTable(**{name: column[mine] for name, column in vars(table).items()})
            model = baseline.model(k, self.claim, EPS[leaf.array.dtype.char])
            if k < len(self.measured.samples):
                sample = self.measured.samples[k]
                known = np.flatnonzero(~np.isnan(sample.values).any(axis=1))
                found = Samples(sample.moved[known], sample.values[known])
                _, numeric, ahead, behind, bound = model.quotients(found)
                part.numeric[known], part.gaps[known] = numeric, ahead - behind
                part.uncertainty[known] = bound
            parts.append(Part(k, leaf, part, model))
        return entries_so_far(parts)


def _forgotten(argument: Any) -> float:
    raise AssertionError("a look that is over calls nothing")


def _joined(found: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])


@lru_cache(maxsize=64)
def _numbers(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.intp)
