"""Is this Jacobian-vector product right? `check_jvp`."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._checks.by_rows import judge_rows
from fastgrad._checks.case import ROUNDED
from fastgrad._checks.claim import Analytic, check_arguments, compared, raised
from fastgrad._checks.error_model import MATERIAL, SAFETY
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.jacobian import Watched, judge_jacobian, report_of, seen
from fastgrad._checks.jacobian_result import Told, told, untold
from fastgrad._checks.layout import Layout
from fastgrad._checks.linearity import Linearity, linearity_of, with_linearity
from fastgrad._checks.options import Options
from fastgrad._checks.product_claims import Pushed, by_columns, fractions, pushed_of, spacings
from fastgrad._checks.wording import Wording
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._errors import FastgradError, InputTypeError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, OutOfBudget
from fastgrad._evaluation.selected import selection_of
from fastgrad._evaluation.shared import Shared
from fastgrad._evaluation.tangent import Tangent
from fastgrad._leaf import Leaf, lengths_of
from fastgrad._report.causes import Cause
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Report
from fastgrad._tree import Params, as_params, check_places, describe, flatten
from fastgrad._words import counted

__all__ = ["MOST_UNITS", "Columns", "TangentJudge", "check_jvp"]

# Parameters up to which `jvp` is called with each unit vector, so that the whole Jacobian is
# judged: two calls and two evaluations each.
MOST_UNITS = 64
# Random tangents: an error that one of them hides is in the other.
_TANGENTS = 2
# Parameters that are located, at most.
_LOCATED = 3
# Share of the step at which differences are taken once more, to see how they converge.
_CLOSER = 0.25
# How the reason of a right Jacobian begins, of which other words are said here.
_AGREE = "all {:,} entries agree with central differences"


def check_jvp(
    f: Callable[[Any], Any],
    jvp: Callable[[Any, Any], Any],
    params: Params,
    *,
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    bounds: Any = None,
    where: Any = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> Report:
    """Judge a Jacobian-vector product, the forward derivative of a vector-valued function.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns an array of any shape, a number, or a nest of these.
    jvp : callable
        ``jvp(params, v)`` returns the derivative of ``f(params + t * v)`` by `t` at 0, in the
        structure of what `f` returns. `v` has the structure, shapes and types of `params`. Of a
        function of JAX's: ``lambda p, v: jax.jvp(f, (p,), (v,))[1]``; of PyTorch's
        ``lambda p, v: torch.func.jvp(f, (p,), (v,))[1]``.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check, of real numbers. The entries are moved in place; afterwards
        every bit is as it was.
    budget, rtol, atol, bounds, workers, progress, seed
        As for `check_jacobian`.
    where : structure of `params` of bool arrays, optional
        Which entries of the parameters to check, as for `check_jacobian`: `v` is zero elsewhere.

    Returns
    -------
    Report
        With few parameters it is that of `check_jacobian`. With many its entries are the
        derivatives of each output along a random tangent, named as ``out[3] / v``; if some are
        wrong, those by one or a few parameters, as ``out[3] / W[2, 0]``.

    Raises
    ------
    InputTypeError, InputValueError
        As for `check_jacobian`; `jvp` does not return the structure and shapes of what `f` returns.

    See Also
    --------
    check_vjp, check_jacobian, check_adjoint

    Notes
    -----
    With up to 64 parameters `jvp` is called with each unit vector, and all entries of the Jacobian
    are judged, from ``2 n + 9`` evaluations.

    With more, two random tangents are drawn, which move each parameter by about its length. Along
    each of them `f` is a function of one number, whose derivative every output has to agree with:
    some thirty evaluations, whatever the numbers of parameters and outputs. Where an output does
    not, halves of the tangent tell which parameters are wrong, by two evaluations each, and these
    are judged by themselves.

    That `jvp` is linear in `v` is checked too, as by `check_vjp`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> A = np.arange(6.0).reshape(3, 2)
    >>> x = np.array([0.3, 0.5])
    >>> bool(fg.check_jvp(lambda x: np.sin(A @ x), lambda x, v: np.cos(A @ x) * (A @ v), x))
    True
    >>> report = fg.check_jvp(lambda x: np.sin(A @ x), lambda x, v: A @ v, x)
    >>> report.wrong[0].path
    'out[2] / params[1]'
    """
    started = time.perf_counter()
    check_arguments(f, jvp, params, "jvp")
    if not callable(jvp):
        raise InputTypeError(f"`jvp` must be callable as jvp(params, v); got {describe(jvp)}")
    options = Options.of(budget, rtol, atol, bounds, workers, progress, seed, where)
    argument = as_params(params)
    leaves = flatten(argument)
    selection = selection_of(where, argument, leaves)
    chosen = leaves if selection is None else selection.leaves
    if sum(leaf.real.size for leaf in chosen) <= MOST_UNITS:
        columns = Columns(jvp, "jvp", options)
        return columns.told(judge_jacobian(f, columns, argument, options, "jvp"))
    limits = bounds_of(bounds, argument, leaves)
    how: dict[str, Any] = {"vector": True, "selection": selection}
    options.needs_a_value()
    run = options.evaluator(Lenient(f), argument, leaves, limits, **how)
    try:
        with run:
            base = run.base()
            assert run.outputs is not None
            layout = Layout(run.outputs, argument, leaves, selection)
            pushed = pushed_of(jvp, layout, argument)
            watched = Watched(run, f, argument, limits, selection)
            judge = TangentJudge(run, pushed, layout, options, limits, base, watched)
            report = judge.report("jvp")
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    seconds = time.perf_counter() - started
    return replace(report, evaluations=run.evaluations, seconds=seconds)


@dataclass
class Columns:
    """Makes the Jacobian of products with unit vectors, and finds out whether they are linear."""

    jvp: Callable[[Any, Any], Any]
    name: str
    options: Options
    linearity: Linearity | None = None

    def __call__(self, run: Metered, layout: Layout, argument: Params) -> Analytic:
        """The Jacobian."""
        claim = by_columns(self.jvp, run, layout, argument)
        pushed = pushed_of(self.jvp, layout, argument)
        how = (units_of(layout.leaves), self.options.seed, self.options.rtol)
        self.linearity = linearity_of(pushed, run, self.name, *how)
        return claim

    def told(self, report: Report) -> Report:
        """The report, with what was found."""
        return with_linearity(report, self.linearity)


def units_of(leaves: Sequence[Leaf]) -> np.ndarray:
    """Moves of about the length of each parameter, by powers of two, which all float types hold."""
    exponents = [np.empty(0)]
    for leaf in leaves:
        lengths, most = lengths_of(leaf.real).ravel(), np.finfo(leaf.real.dtype).maxexp - 1
        exponents.append(np.fmin(np.round(np.log2(lengths)), most))
    units: np.ndarray = np.exp2(np.concatenate(exponents))
    return units


@dataclass
class TangentJudge:
    """Judges derivatives along tangents, and finds the parameters that are wrong."""

    run: Metered
    pushed: Pushed
    layout: Layout
    options: Options
    limits: Bounds | None
    base: np.ndarray
    watched: Watched
    rounding: np.ndarray | None = None  # of each value, if it is more than that of its type
    level: float = 0.0  # their noise then

    def report(self, name: str) -> Report:
        """The verdict on random tangents, and whether products of this name are linear."""
        how = (units_of(self.layout.leaves), self.options.seed, self.options.rtol)
        linearity = linearity_of(self.pushed, self.run, name, *how)
        return with_linearity(self._along_tangents(), linearity)

    def _along_tangents(self) -> Report:
        """The verdict on random tangents or, where one is wrong, on what is behind it."""
        units = units_of(self.layout.leaves)
        found: Report | None = None
        for number in range(_TANGENTS):
            rng = np.random.default_rng([self.options.seed, number])
            v = self._inward(units * fractions(rng, len(units)))
            report = self._judged(v, "v")
            if report.verdict is Verdict.WRONG:
                return self._located(report, v)
            if found is None or found.verdict is Verdict.RIGHT:
                found = report
        assert found is not None
        if found.verdict is not Verdict.RIGHT:
            return found
        count, entries = counted(len(found.entries), "output"), counted(len(units), "entry")
        if self.layout.meant is not None:
            entries += f" that `where` chose of {self.layout.whole.shape[1]:,}"
        said = f"the derivatives of {count} along {_TANGENTS} random tangents of {entries} agree"
        return replace(found, reason=found.reason.replace(_AGREE.format(len(found.entries)), said))

    def _judged(self, v: np.ndarray, name: str) -> Report:
        """The derivatives of all outputs along one tangent."""
        tangent = Tangent(self.run, self._direction(v), name)
        layout = Layout(self.layout.outputs, np.zeros(()), tangent.leaves)
        claim = replace(self._claim(v, layout), rtol=self.options.rtol, atol=self.options.atol)
        wording = Wording(layout.spans, "product", "jvp")
        found = seen(self._rows(v, name, layout, claim), self.watched)
        report = report_of(found, layout, wording, 0, self.options.seed, 0.0, "product")
        return replace(report, strategy="probe")

    def _rows(self, v: np.ndarray, name: str, layout: Layout, claim: Analytic) -> Told:
        if claim.trouble is not None or not len(claim.column):
            return untold(layout, claim)
        try:
            along = Metered(Tangent(self.run, self._direction(v), name, self._range(v)))
            rows = judge_rows(along, Shared(along, self.rounding), layout, claim, self.options.seed)
        except OutOfBudget:
            return untold(layout, claim, measured=0)
        return told(rows, layout, claim, along)

    def _claim(self, v: np.ndarray, layout: Layout) -> Analytic:
        self.run.guard.check()
        vector, eps = self.pushed.measured(v)
        self.run.guard.check("jvp")
        column = layout.column_of(vector[:, np.newaxis])
        claim = Analytic(column, tuple(eps), None, layout.spans)
        try:
            again = layout.column_of(self.pushed.vector(v)[:, np.newaxis])
        except FastgradError:
            raise
        except Exception as error:
            return replace(claim, trouble=raised(error))
        self.run.guard.check("jvp")
        return compared(claim, again)

    def _rooms(self) -> tuple[np.ndarray, np.ndarray]:
        """How far each parameter may go down and up."""
        downs, ups = [np.empty(0)], [np.empty(0)]
        for k, leaf in enumerate(self.pushed.leaves):
            x = leaf.real.astype(float)
            low, high = np.array(-np.inf), np.array(np.inf)
            if self.limits is not None:
                low, high = self.limits.lower[k], self.limits.upper[k]
            downs.append((x - low).ravel())
            ups.append((high - x).ravel())
        down, up, meant = np.concatenate(downs), np.concatenate(ups), self.layout.meant
        return (down, up) if meant is None else (down[meant], up[meant])

    def _inward(self, v: np.ndarray) -> np.ndarray:
        """A tangent whose entries point to where their bounds leave more room, if any."""
        down, up = self._rooms()
        inward = np.where(up >= down, np.abs(v), -np.abs(v))
        bounded = np.isfinite(down) | np.isfinite(up)
        return np.where(bounded, np.where(np.fmax(down, up) > 0, inward, 0.0), v)

    def _range(self, v: np.ndarray) -> tuple[float, float]:
        """The multiples of a tangent that leave all parameters within their bounds."""
        down, up = self._rooms()
        moving = v != 0
        size, rises = np.abs(v[moving]), v[moving] > 0
        ahead = np.where(rises, up[moving], down[moving]) / size
        behind = np.where(rises, down[moving], up[moving]) / size
        # A rounding less, so that no sum is beyond a bound.
        shares = (float(behind.min(initial=math.inf)), float(ahead.min(initial=math.inf)))
        return -shares[0] * (1 - ROUNDED), shares[1] * (1 - ROUNDED)

    def _direction(self, v: np.ndarray) -> Given:
        """The moves of the leaves of which some entry moves."""
        regions, moves, start = [], [], 0
        for k, leaf in enumerate(self.layout.leaves):
            shape = leaf.real.shape
            part = v[start : start + leaf.real.size].reshape(shape)
            start += leaf.real.size
            if part.any():
                regions.append(Region(k, tuple(slice(0, n) for n in shape), shape))
                moves.append(part)
        return Given(tuple(regions), tuple(moves))

    # -------------------------------------------------------------------- which parameters

    def _located(self, report: Report, v: np.ndarray) -> Report:
        """The report on the first of the parameters that are wrong, or on the tangent."""
        if report.causes and report.causes[0].kind not in (*DOUBTFUL, Cause.NEARBY):
            return report  # it says already what is wrong
        step = max(report.steps, default=1e-5)
        self.level = float(np.nan_to_num(report.noise)) if self.rounding is not None else 0.0
        with quiet():
            try:
                wrong = list(self._halved(v, step))
            except OutOfBudget:
                return report
        if not wrong or len(wrong) > _LOCATED:
            return report
        unit = np.zeros(len(v))
        unit[wrong[0]] = abs(v[wrong[0]])
        name = self._name(wrong[0])
        alone = self._judged(unit / unit[wrong[0]], name)
        if alone.verdict is not Verdict.WRONG:
            return report
        others = [f"{self._name(k)}" for k in wrong[1:]]
        said = f"; {' and '.join(others)} {'are' if len(others) > 1 else 'is'} wrong too"
        reason = f"with a tangent along {name} alone, {alone.reason}{said * bool(others)}"
        return replace(alone, reason=reason)

    def _name(self, k: int) -> str:
        start = 0
        for leaf in self.layout.leaves:
            if k < start + leaf.real.size:
                return leaf.name(k - start)
            start += leaf.real.size
        raise IndexError(k)

    def _halved(self, v: np.ndarray, step: float) -> Iterator[int]:
        """The parameters that are wrong, those first that are found first."""
        moving = np.flatnonzero(v)
        stretches = [(-self._excess(v, moving, step), 0, len(moving))]
        found = 0
        while stretches and found <= _LOCATED:
            excess, low, high = heapq.heappop(stretches)
            if -excess <= 1.0:
                return
            if high - low == 1:
                found += 1
                yield int(moving[low])
                continue
            middle = (low + high) // 2
            for a, b in ((low, middle), (middle, high)):
                heapq.heappush(stretches, (-self._excess(v, moving[a:b], step), a, b))

    def _excess(self, v: np.ndarray, entries: np.ndarray, step: float) -> float:
        """By how many bounds the worst output is off where only these parameters move."""
        part = np.zeros_like(v)
        part[entries] = v[entries]
        claimed = self.pushed.vector(part)
        times = (step, -step, _CLOSER * step, -_CLOSER * step)
        low, high = self._range(part)
        if not low <= -step < step <= high:  # what bounds hold back shows no derivative
            return 0.0
        values = self.run.along(Along(self._direction(part), times)).values
        slopes = [(values[k] - values[k + 1]) / (2 * times[k]) for k in (0, 2)]
        level = np.fmax(spacings(self.layout.outputs) * np.abs(self.base), self.level)
        noise = SIGMAS * level / (_CLOSER * step)
        bound = SAFETY * (np.abs(slopes[0] - slopes[1]) + noise) + (MATERIAL + ROUNDED) * np.fmax(
            np.abs(claimed), np.abs(slopes[0])
        )
        with np.errstate(invalid="ignore", divide="ignore"):
            off = np.abs(claimed - slopes[0]) / np.fmax(bound, np.finfo(float).tiny)
        return float(np.nan_to_num(off, nan=0.0, posinf=math.inf).max())
