"""Judges every entry of a gradient, and explains what is wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, partial

import numpy as np

from fastgrad import _errors
from fastgrad._checks import diagnosis, judge
from fastgrad._checks.baseline import Survey, moves_in_jumps
from fastgrad._checks.claim import Analytic
from fastgrad._checks.interruption import Part, so_far
from fastgrad._checks.judge import Columns, Terms
from fastgrad._checks.staleness import name_stale
from fastgrad._derivatives.extrapolation import rung
from fastgrad._evaluation.blocks import lengths, spacing
from fastgrad._evaluation.sampling import OutOfBudget, Sampler
from fastgrad._leaf import Leaf
from fastgrad._report.entries import Block, Entries, Verdict
from fastgrad._report.report import Curve, Finding

__all__ = ["Found", "blocks_of", "judge_all", "unjudged"]

# Steps of the curve of the worst entry, relative to its length.
_CURVE_STEPS = np.logspace(0, -14, 29)


@dataclass(frozen=True)
class Found:
    """What judging every entry has found."""

    leaves: Sequence[Leaf]
    columns: Columns
    seen: Survey | None = None
    jumps: tuple[str, ...] = ()
    causes: tuple[Finding, ...] = ()
    curve: Curve | None = None
    stopped: str = ""  # why not all was looked at

    @cached_property
    def entries(self) -> Entries:
        """The columns as entries with paths."""
        c = self.columns
        blocks = blocks_of(self.leaves)
        return Entries(blocks, c.analytic, c.numeric, c.uncertainty, c.codes, c.kinks)

    @property
    def still(self) -> bool:
        """Whether `f` was looked at and moved with no entry at all."""
        return _unmoved(self.columns) and not self.stopped


def judge_all(
    sampler: Sampler, leaves: Sequence[Leaf], claimed: Analytic, seen: Survey, seed: int
) -> Found:
    """Judge every entry, and explain what is wrong."""
    columns = _blank(claimed.column, math.nan, judge.UNJUDGED)
    parts = _parts(columns, leaves, claimed, seen)
    found = Found(leaves, columns, seen)
    try:
        try:
            if jumps := _fill(parts, columns, sampler, seen, seed):
                found = replace(found, jumps=jumps)
        except OutOfBudget:
            found = replace(found, stopped=_out_of_budget(columns))
        return _explained(found, sampler, claimed.eps)
    except KeyboardInterrupt as error:
        _errors.note(error, so_far(parts))
        raise


def _out_of_budget(columns: Columns) -> str:
    known = int(judge.looked_at(columns).sum())
    columns.uncertainty[columns.codes == judge.UNJUDGED] = math.inf
    columns.codes[columns.codes == judge.UNJUDGED] = Verdict.CANNOT_TELL.code
    return f"the budget ran out when {known:,} of {len(columns.codes):,} entries were measured"


def _explained(found: Found, sampler: Sampler, eps: Sequence[float]) -> Found:
    """Add the likely bugs of a wrong gradient and the worst entry's curve, or kinks."""
    columns, seen = found.columns, found.seen
    assert seen is not None
    is_wrong = np.count_nonzero(columns.codes == Verdict.WRONG.code)
    if not is_wrong and not np.count_nonzero(columns.kinks):
        return found
    blocks = found.entries.blocks
    cases = [_case(*each, columns) for each in zip(found.leaves, blocks, eps, strict=True)]
    if not is_wrong:
        met = tuple(diagnosis.kink_met(case) for case in cases if case.kinks.any())
        return replace(found, causes=met)
    sampler.progress.phase("causes")
    found = replace(found, causes=diagnosis.diagnose(cases))
    try:
        causes = name_stale(sampler, found.leaves, cases, found.causes, seen.relative)
        return replace(found, causes=causes, curve=_curve(found, sampler, seen))
    except OutOfBudget:
        return found


def _blank(claimed: np.ndarray, uncertainty: float, code: int) -> Columns:
    """Columns that say nothing of any entry."""
    n = len(claimed)
    return Columns(
        analytic=claimed,
        numeric=np.full(n, math.nan),
        uncertainty=np.full(n, uncertainty),
        gaps=np.zeros(n),
        codes=np.full(n, code, np.int8),
        kinks=np.zeros(n, bool),
    )


def unjudged(claimed: np.ndarray) -> Columns:
    """The same, with the verdict that nothing can be told."""
    return _blank(claimed, math.inf, Verdict.CANNOT_TELL.code)


def _fill(
    parts: Sequence[Part], columns: Columns, sampler: Sampler, seen: Survey, seed: int
) -> tuple[str, ...]:
    """Judge all entries; return the paths of the leaves with which `f` moves in jumps only."""
    hows = [
        (partial(sampler.beside, part.leaf), _lengths(part.leaf, known), part.terms)
        for part, known in zip(parts, seen.lengths, strict=True)
    ]
    for part, how in zip(parts, hows, strict=True):
        sampler.progress.phase(f"first pass, {part.leaf.path}")
        judge.first_pass(part.columns, *how, sampler.pieces(len(part.columns.codes)))
    leaves = [part.leaf for part in parts]
    jumps, faint = [], []
    for k, (part, how) in enumerate(zip(parts, hows, strict=True)):
        sampler.progress.phase(f"ladder, {part.leaf.path}")
        if _unmoved(part.columns) and moves_in_jumps(sampler, leaves, k, seen.base, seed):
            jumps.append(part.leaf.path)
            part.columns.codes[:] = Verdict.CANNOT_TELL.code
        elif not judge.judge(part.columns, *how):
            faint.append(part)
    scale = judge.scale_of(columns) if faint else 0.0
    for part in faint:
        weak = judge.without_power(part.columns, part.terms, scale)
        part.columns.codes[weak] = Verdict.CANNOT_TELL.code
    return tuple(jumps)


def _lengths(leaf: Leaf, known: np.ndarray) -> np.ndarray:
    """Of all entries; of a large leaf only some are known."""
    return known if known.size == leaf.real.size else lengths(leaf)


def _unmoved(part: Columns) -> bool:
    """Whether no entry of a leaf moves `f` at all."""
    moved = np.count_nonzero(part.numeric) or np.count_nonzero(part.gaps)
    return bool(len(part.numeric)) and not moved


def _parts(columns: Columns, leaves: Sequence[Leaf], claimed: Analytic, seen: Survey) -> list[Part]:
    """Each leaf with its stretch of the columns, and what its entries are judged by."""
    parts, start = [], 0
    for k, leaf in enumerate(leaves):
        stop = start + leaf.real.size
        part = columns if len(leaves) == 1 else _stretch(columns, slice(start, stop))
        known = (seen.base, seen.noise, seen.unit, seen.relative[k], claimed.eps[k], spacing(leaf))
        parts.append(Part(leaf, part, Terms(*known)))
        start = stop
    return parts


def _stretch(columns: Columns, mine: slice) -> Columns:
    """Views of a part of the columns."""
    return Columns(**{each.name: getattr(columns, each.name)[mine] for each in fields(Columns)})


def blocks_of(leaves: Sequence[Leaf]) -> tuple[Block, ...]:
    """Which stretch of the columns belongs to which leaf."""
    blocks, start = [], 0
    for leaf in leaves:
        stop = start + leaf.real.size
        array = leaf.array
        is_complex = leaf.is_complex
        blocks.append(Block(leaf.path, array.shape, _name(array.dtype), start, stop, is_complex))
        start = stop
    return tuple(blocks)


@cache
def _name(dtype: np.dtype) -> str:
    return str(dtype)


def _curve(found: Found, sampler: Sampler, seen: Survey) -> Curve:
    """Differences of the worst of the wrong entries, from large steps to the smallest."""
    worst = found.entries.only(Verdict.WRONG)[0]
    k = next(i for i, block in enumerate(found.entries.blocks) if block.path == worst.leaf)
    leaf = found.leaves[k]
    part = int(worst.path.endswith(".imag"))
    flat = int(np.ravel_multi_index(worst.index, leaf.array.shape)) if worst.index else 0
    entry = np.array([2 * flat + part if leaf.is_complex else flat], dtype=np.intp)
    steps = lengths(leaf)[entry] * _CURVE_STEPS
    raw = sampler.beside(leaf, np.repeat(entry, len(steps)), steps)
    row = rung(raw, seen.base, seen.noise, seen.unit)
    return Curve(worst.path, worst.analytic, row.steps[0], row.central[0], row.forward[0])


def _case(leaf: Leaf, block: Block, eps: float, columns: Columns) -> diagnosis.Case:
    """A leaf's columns in its own shape; complex numbers put together again."""
    mine = slice(block.start, block.stop)

    def values(column: np.ndarray) -> np.ndarray:
        part = column[mine]
        return (part.view(np.complex128) if block.is_complex else part).reshape(block.shape)

    def flags(column: np.ndarray) -> np.ndarray:
        part = column[mine]
        return (part.reshape(-1, 2).any(axis=1) if block.is_complex else part).reshape(block.shape)

    bound = columns.uncertainty[mine]
    if block.is_complex:
        bound = bound.reshape(-1, 2).max(axis=1)
    return diagnosis.Case(
        path=block.path,
        a=values(columns.analytic),
        d=values(columns.numeric),
        bound=bound.reshape(block.shape),
        theta=leaf.array.astype(np.complex128 if block.is_complex else np.float64),
        wrong=flags(columns.codes == Verdict.WRONG.code),
        kinks=flags(columns.kinks),
        precise=eps,
    )
