"""The whole check of a right gradient of a few small arrays; anything doubtful is left to others.

It makes the evaluations with which an ordinary check begins, in their order, and judges by the same
error model. What was measured until a doubt came up is handed on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np

from fastgrad import _backend, _errors
from fastgrad._checks.baseline import (
    LEAST_VARIATION,
    SPACINGS,
    TIMES,
    TINY,
    TINY_ENTRY,
    Baseline,
    NoiseTable,
    noise_table,
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
from fastgrad._evaluation.lenient import Raised
from fastgrad._evaluation.local import is_plain_function
from fastgrad._evaluation.measured import Measured
from fastgrad._evaluation.protocol import Samples
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Entries, Verdict
from fastgrad._returns import as_scalar, at_base
from fastgrad._tree import Params

__all__ = ["FirstLook", "may_look"]

# Entries and arrays, at most: with more, what is saved is little beside the evaluations.
_MOST_ENTRIES, _MOST_LEAVES = 4096, 32
# Seconds that a call of `f` may take: beyond, nothing is saved, and an interrupt would lose more.
_SLOW = 1e-4


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
        self._moved = _backend.kernel.forgiving(self.f, self._raised, _nothing)
        self._steps: list[float] = []
        self._spacings = [EPS[leaf.array.dtype.char] for leaf in leaves]
        self._found: tuple[np.ndarray, np.ndarray] | None = None  # numeric entries, their bounds

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
        entries = sum([values.size for _, values in made.samples])
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
        for width in SPACINGS:
            values = [base, *self._table(guard, base, width)]
            if len(values) == 3:  # this spacing moves nothing
                continue
            if not all(map(math.isfinite, values)):
                return False
            if varies(values):
                break
        else:
            return False
        steepest, tiny = _backend.kernel.survey(self.claim.column, guard.found, TINY_ENTRY)
        table = noise_table(values, width)
        if tiny or table.coarse or table.is_wild(values):
            return False
        self._table_of_noise, self._level = table, max(table.level, TINY)
        variation = max(LEAST_VARIATION * abs(base), steepest)
        self._steps = [relative_step(self._level, variation, eps) for eps in self._spacings]
        return True

    def _table(self, guard: Guard, base: float, width: float) -> list[float]:
        """Values along a direction; two of them where these show that nothing moves `f`."""
        values: list[float] = []
        self.measured.tables.append(values)
        leaves = self.leaves
        factors = [signs(key_of(self.seed, 0, k), leaf.real.size) for k, leaf in enumerate(leaves)]
        widths = [odd_width(width, eps) for eps in self._spacings]
        how = (self.argument, leaves, guard.found, guard.log, factors, widths)
        try:
            _backend.kernel.odd_table(self._moved, *how, TIMES, base, values)
        except Exception as error:
            if len(leaves) == 1:
                _errors.annotate(error, f"{leaves[0].path}[...]")
            raise
        return values

    def _entries_agree(self, guard: Guard, base: float) -> bool:
        kernel, steps, claim, samples = (
            _backend.kernel,
            self._steps,
            self.claim,
            self.measured.samples,
        )
        how = (self.argument, self.leaves, guard.found, steps)
        kernel.central_samples(self._moved, *how, samples)
        noise = bounds_of_noise(self._level, self._table_of_noise.unit)
        factors = list(map(first_factors, steps, claim.eps, self._spacings))
        known = (base, *noise, factors, self.rtol, self.atol)
        self._found = kernel.agreement(claim.column, samples, *known, KINK_SHARE, POWER_LEAF)
        return self._found is not None

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
        claim = self.claim
        assert self._found is not None
        numeric, bounds = self._found
        n = len(numeric)
        right = LeafResult(Verdict.RIGHT, moves=True, still=False, jumps=False)
        codes, none = np.full(n, Verdict.RIGHT.code, np.int8), np.zeros(n, bool)
        return Result(
            Entries(claim.spans, claim.column, numeric, bounds, codes, none),
            (right,) * len(self._steps),
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
