"""Is this gradient right? `relative_error` and `check_gradient`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from fastgrad import _backend, diagnosis, judging
from fastgrad.conclusions import conclude
from fastgrad.custody import claims
from fastgrad.entries import Block, Entries, Verdict, norm_error
from fastgrad.errors import InputValueError
from fastgrad.judging import Columns, Terms
from fastgrad.ladder import rung
from fastgrad.memory import Guard, check_layout
from fastgrad.natives import Native, check_native
from fastgrad.objectives import Analytic, analytic, check_callable
from fastgrad.results import Curve, Finding, Report
from fastgrad.sampling import Sampler, lengths, spacing
from fastgrad.staleness import name_stale
from fastgrad.survey import Survey, moves_in_jumps, survey
from fastgrad.threads import thread_count
from fastgrad.trees import Leaf, Params, adopt, as_numbers, check_places, flatten, match, rebuild

__all__ = ["check_gradient", "relative_error"]

# Steps of the curve of the worst entry, relative to its length.
_CURVE_STEPS = np.logspace(0, -14, 29)


def relative_error(a: Params, b: Params, *, elementwise: bool = False) -> Any:
    """How far two gradients are apart, relative to their size.

    Parameters
    ----------
    a, b : array, number, or nested containers of arrays
        Of the same structure and shapes; nothing is broadcast.
    elementwise : bool, default False
        Compare entry by entry instead of as a whole.

    Returns
    -------
    float, or the structure of `a` with elementwise=True
        ``|a - b| / (|a| + |b|)`` in the Euclidean norm, between 0 and 1, and 0 where both are 0.
        NaN where an entry is not finite.

    Raises
    ------
    InputTypeError, InputValueError
        The structures or shapes differ.

    Notes
    -----
    As a whole this is the number of the lectures: in float64 below 1e-7 is fine, above 1e-3 is
    not. It hides errors in entries much smaller than the largest; `check_gradient` does not.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.relative_error(np.array([3.0, 4.0]), np.array([3.0, 4.0]))
    0.0
    >>> fg.relative_error(np.array([1.0, 2.0]), np.array([1.0, 6.0]), elementwise=True)
    array([0. , 0.5])
    """
    first, second = as_numbers(a, "a"), as_numbers(b, "b")
    pairs = [(leaf.array, other) for leaf, other in match(first, second, "b")]
    for x, y in pairs:
        if x.shape != y.shape:
            raise InputValueError(
                f"`a` and `b` must have equal shapes, nothing is broadcast; got {x.shape} and "
                f"{y.shape}"
            )
    if elementwise:
        return rebuild(first, iter([_entry_errors(x, y) for x, y in pairs]))
    columns = ([np.zeros(0)] + [pair[i].ravel() for pair in pairs] for i in (0, 1))
    return norm_error(*map(np.concatenate, columns))


def _entry_errors(a: np.ndarray, b: np.ndarray) -> Any:
    """Entry by entry; halved first, so that no sum overflows."""
    a, b = a / 2, b / 2
    size = np.abs(a) + np.abs(b)
    with np.errstate(invalid="ignore"):
        error = np.abs(a - b) / np.where(size == 0, 1.0, size)
    return error[()]


def check_gradient(
    f: Callable[[Any], Any], grad: Any, params: Params, *, workers: Any = None, seed: int = 0
) -> Report:
    """Judge an analytic gradient, entry by entry, against central differences.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. With ``grad=True`` it returns the pair
        ``(value, gradient)``.
    grad : callable, gradient, or True
        ``grad(params)``, or the gradient itself: arrays in the structure of `params` with the
        shapes of its leaves. It is copied before `f` is called again. For a complex leaf it is
        ``df/dRe + 1j * df/dIm``.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested at will
        Where to check. Moved in place, and bit-identical afterwards.
    workers : int, optional
        For a native `f` (see `native`): the number of threads, each with its own copy of the
        parameters. The results are the same to the last bit.
    seed : int, default 0
        Of the random direction along which the noise of `f` is measured.

    Returns
    -------
    Report
        Its truth value is True only for the verdict RIGHT; printed, it fills one screen.

    Raises
    ------
    InputTypeError, InputValueError
        The parameters cannot be moved in place, or the gradient does not have their structure
        and shapes.
    MutationError
        `f` or `grad` wrote into the parameters; what was written is undone.
    ConcurrencyError
        Another thread is differentiating with respect to the same memory.
    ObjectiveError
        A native `f` returned an error code.

    Notes
    -----
    First `f` is evaluated along a random direction; a difference table of the values gives their
    noise, and the noise the step. Then every entry is compared with one central difference, two
    evaluations each. Where analytic and numeric do not agree to within noise and truncation, the
    difference is repeated at many steps, and the verdict goes by the one with the smallest bound.
    Forward and backward quotients that keep their distance as the step shrinks show a kink, at
    which every value between them is right. Where the bound is as large as the gradient itself
    the verdict is CANNOT_TELL. A smooth, correct problem takes about ``2 n + 9`` evaluations.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> report = fg.check_gradient(lambda x: (x**3).sum(), lambda x: 3 * x**2, x)
    >>> bool(report), report.evaluations
    (True, 15)
    >>> report = fg.check_gradient(lambda x: (x**3).sum(), lambda x: 3 * x, x)
    >>> [entry.path for entry in report.wrong]
    ['params[2]', 'params[1]']
    """
    started = time.perf_counter()
    check_callable(f, "f")
    threads = thread_count(f, workers)
    argument = adopt(params)
    if type(f) is Native:
        check_native(f, argument, "params")
    leaves = flatten(argument)
    check_layout(leaves)
    guard = Guard(leaves, culprit="grad")
    try:
        with guard:
            claimed, f = analytic(f, grad, argument, leaves)
            if callable(grad) or grad is True:
                guard.check_base()
            guard.culprit = "f"
            sampler = Sampler(f, argument, leaves, threads)
            found = _look(sampler, leaves, claimed, seed) if len(claimed.column) else None
            check_places(argument, leaves)
    finally:
        # Inline: a Ctrl-C could come in between the call of `__exit__` and its body.
        claims.pop(guard.key, None)
    return _report(found or _Found(leaves, _unjudged(claimed.column)), sampler, seed, started)


@dataclass(frozen=True)
class _Found:
    """What a check has found."""

    leaves: Sequence[Leaf]
    columns: Columns
    seen: Survey | None = None
    jumps: tuple[str, ...] = ()
    causes: tuple[Finding, ...] = ()
    curve: Curve | None = None

    @cached_property
    def entries(self) -> Entries:
        c = self.columns
        blocks = _blocks(self.leaves)
        return Entries(blocks, c.analytic, c.numeric, c.uncertainty, c.codes, c.kinks)


def _look(sampler: Sampler, leaves: Sequence[Leaf], claimed: Analytic, seed: int) -> _Found:
    """Survey `f`, judge every entry, look at `f` once more, and explain what is wrong."""
    base = sampler.base()
    seen = survey(sampler, leaves, claimed, base, seed)
    if seen.trouble:
        return _Found(leaves, _unjudged(claimed.column), seen)
    n = len(claimed.column)
    numbers = (np.empty(n), np.empty(n), np.empty(n))
    columns = Columns(claimed.column, *numbers, np.empty(n, np.int8), np.zeros(n, bool))
    jumps = _fill(columns, sampler, leaves, claimed, seen, seed)
    seen = _compare_last(seen, sampler.base())
    if seen.trouble:
        columns.codes[:] = Verdict.CANNOT_TELL.code
    found = _Found(leaves, columns, seen, jumps)
    if (columns.codes == Verdict.WRONG.code).any():
        return _explained(found, sampler)
    if columns.kinks.any():
        cases = [_case(*each, columns) for each in zip(leaves, found.entries.blocks, strict=True)]
        met = tuple(diagnosis.kink_met(case) for case in cases if case.kinks.any())
        return replace(found, causes=met)
    return found


def _explained(found: _Found, sampler: Sampler) -> _Found:
    """Add the likely bugs of a wrong gradient, and the worst entry's curve."""
    blocks, seen = found.entries.blocks, found.seen
    assert seen is not None
    cases = [_case(*each, found.columns) for each in zip(found.leaves, blocks, strict=True)]
    findings = diagnosis.diagnose(cases)
    causes = name_stale(sampler, found.leaves, cases, findings, seen.relative)
    return replace(found, causes=causes, curve=_curve(found, sampler, seen))


def _unjudged(claimed: np.ndarray) -> Columns:
    """Columns that say nothing of any entry."""
    n = len(claimed)
    return Columns(
        analytic=claimed,
        numeric=np.full(n, math.nan),
        uncertainty=np.full(n, math.inf),
        gaps=np.zeros(n),
        codes=np.full(n, Verdict.CANNOT_TELL.code, np.int8),
        kinks=np.zeros(n, bool),
    )


def _fill(
    columns: Columns,
    sampler: Sampler,
    leaves: Sequence[Leaf],
    claimed: Analytic,
    seen: Survey,
    seed: int,
) -> tuple[str, ...]:
    """Judge all entries; return the paths of the leaves with which `f` moves in jumps only."""
    steps = []
    for k, (leaf, part) in enumerate(zip(leaves, _parts(columns, leaves), strict=True)):
        terms = Terms(
            base=seen.base,
            noise=seen.noise,
            unit=seen.unit,
            relative=seen.relative[k],
            eps=claimed.eps[k],
            spacing=spacing(leaf),
        )
        how = (partial(sampler.beside, leaf), seen.lengths[k], terms)
        judging.first_pass(part, *how)
        steps.append((part, how))
    jumps, faint = [], []
    for k, (part, how) in enumerate(steps):
        if _unmoved(part) and moves_in_jumps(sampler, leaves, k, seen.base, seed):
            jumps.append(leaves[k].path)
            part.codes[:] = Verdict.CANNOT_TELL.code
        elif not judging.judge(part, *how):
            faint.append((part, how[-1]))
    scale = judging.scale_of(columns) if faint else 0.0
    for part, terms in faint:
        part.codes[judging.without_power(part, terms, scale)] = Verdict.CANNOT_TELL.code
    return tuple(jumps)


def _unmoved(part: Columns) -> bool:
    """Whether no entry of a leaf moves `f` at all."""
    return bool(len(part.numeric)) and not part.numeric.any() and not part.gaps.any()


def _parts(columns: Columns, leaves: Sequence[Leaf]) -> list[Columns]:
    """Each leaf's stretch of the columns."""
    if len(leaves) == 1:
        return [columns]
    parts, start = [], 0
    for leaf in leaves:
        mine = slice(start, start + leaf.real.size)
        views = {field.name: getattr(columns, field.name)[mine] for field in fields(Columns)}
        parts.append(Columns(**views))
        start = mine.stop
    return parts


def _compare_last(seen: Survey, last: float) -> Survey:
    """Whether `f` still gives the value it gave at first."""
    if abs(last - seen.base) <= 16 * seen.noise:
        return seen
    return replace(
        seen,
        trouble=f"`f` drifted during the check: {seen.base:.9g} before and {last:.9g} after it at "
        "the same parameters; it keeps a state or a cache",
    )


def _report(found: _Found, sampler: Sampler, seed: int, started: float) -> Report:
    entries, seen = found.entries, found.seen
    verdict, reason = conclude(entries, seen, found.jumps, _unmoved(found.columns))
    limits = entries.uncertainty
    largest = float(limits.max(initial=0.0, where=limits < np.inf))
    return Report(
        verdict=verdict,
        reason=reason,
        causes=found.causes,
        entries=entries,
        evaluations=sampler.evaluations,
        noise=seen.noise if seen else math.nan,
        detection_limit=largest,
        strategy="exhaustive",
        backend=_backend.backend,
        seed=seed,
        seconds=time.perf_counter() - started,
        curve=found.curve,
        steps=seen.relative if seen else (),
    )


def _blocks(leaves: Sequence[Leaf]) -> tuple[Block, ...]:
    blocks, start = [], 0
    for leaf in leaves:
        stop = start + leaf.real.size
        array = leaf.array
        is_complex = leaf.real is not array
        blocks.append(Block(leaf.path, array.shape, _name(array.dtype), start, stop, is_complex))
        start = stop
    return tuple(blocks)


@cache
def _name(dtype: np.dtype) -> str:
    return str(dtype)


def _curve(found: _Found, sampler: Sampler, seen: Survey) -> Curve:
    """Differences of the worst of the wrong entries, from large steps to the smallest."""
    worst = found.entries.only(Verdict.WRONG)[0]
    k = next(i for i, block in enumerate(found.entries.blocks) if block.path == worst.leaf)
    leaf = found.leaves[k]
    part = int(worst.path.endswith(".imag"))
    flat = int(np.ravel_multi_index(worst.index, leaf.array.shape)) if worst.index else 0
    entry = np.array([2 * flat + part if leaf.real is not leaf.array else flat], dtype=np.intp)
    steps = lengths(leaf)[entry] * _CURVE_STEPS
    raw = sampler.beside(leaf, np.repeat(entry, len(steps)), steps)
    row = rung(raw, seen.base, seen.noise, seen.unit)
    return Curve(worst.path, worst.analytic, row.steps[0], row.central[0], row.forward[0])


def _case(leaf: Leaf, block: Block, columns: Columns) -> diagnosis.Case:
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
        precise=spacing(leaf),
    )
