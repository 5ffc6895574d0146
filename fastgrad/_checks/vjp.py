"""Is this vector-Jacobian product right? `check_vjp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from fastgrad._checks.baseline import TINY
from fastgrad._checks.check import check_gradient
from fastgrad._checks.claim import check_arguments
from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.jacobian import judge_jacobian
from fastgrad._checks.linearity import Linearity, linearity_of, with_linearity
from fastgrad._checks.options import Options
from fastgrad._checks.product_claims import Pulled, by_rows, fractions, spacings
from fastgrad._checks.wording import Wording
from fastgrad._checks.wrong_outputs import LOCATED, Sums, of_outputs, positions_of, wrong_outputs
from fastgrad._derivatives.noise import SIGMAS
from fastgrad._errors import InputTypeError
from fastgrad._evaluation.batched import Batched
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.direction import Region, Uniform
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.protocol import Along, Single, Steps
from fastgrad._evaluation.selected import selection_of
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._report.causes import Cause
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Report
from fastgrad._returns import at_block
from fastgrad._tree import Params, as_params, describe, flatten
from fastgrad._words import counted

__all__ = ["check_vjp"]

# Outputs up to which `vjp` is called with each unit vector, so that the whole Jacobian is judged:
# two calls each. And entries of the parameters: 2 evaluations each, as in `check_gradient`.
MOST_UNITS, MOST_ENTRIES = 64, 10_000
# Random cotangents: an error that one of them hides is in the other.
_COTANGENTS = 2
# Wrong entries of the parameters by which outputs are told right from wrong.
_ENTRIES = 4
# Evaluations after which a probe knows whether something is wrong, and mostly one wrong entry.
_ENOUGH = 300
# Share of the step at which differences are taken once more, to see how they converge.
_CLOSER = 0.25
# Exponents of weights, which float32 holds, with room for the numbers they are multiplied by; and
# float16, of which this is above the spacing.
_EXPONENT, _SHORT_EXPONENT, _SHORT = 100, 13, 1e-4
# Move along which the outputs' sizes are measured, over the parameters' lengths.
_MOVE = 2.0**-16
# An output that varies over a length by less than this share of its value counts as if it varied
# that much: its rounding would drown all others else.
_LEAST_VARIATION = 0.1


def check_vjp(
    f: Callable[[Any], Any],
    vjp: Callable[[Any, Any], Any],
    params: Params,
    *,
    strategy: str = "auto",
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    bounds: Any = None,
    where: Any = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> Report:
    """Judge a vector-Jacobian product, the backward pass of a vector-valued function.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns an array of any shape, a number, or a nest of these.
    vjp : callable
        ``vjp(params, u)`` returns the gradient of the inner product of `u` with ``f(params)``, in
        the structure of `params`. `u` has the structure, shapes and float types of what `f`
        returns; where that is complex, the inner product is that of its real and imaginary parts.
        Of a function of JAX's: ``lambda p, u: jax.vjp(f, p)[1](u)[0]``; of PyTorch's autograd
        ``torch.autograd.grad(outputs, inputs, grad_outputs=u)``.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check. The entries are moved in place; afterwards every bit is as
        it was.
    strategy, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_gradient`. The budget holds for each of the two or more gradients that are
        judged.

    Returns
    -------
    Report
        Where the Jacobian is small it is that of `check_jacobian`. Where it is not, its entries are
        those of the gradient of ``<u, f(params)>``; if that is wrong, those of the derivatives of
        one or a few outputs, named as ``out[3] / W[2, 0]``.

    Raises
    ------
    InputTypeError, InputValueError
        As for `check_gradient`; `vjp` does not return the structure and shapes of `params`.

    See Also
    --------
    check_jvp, check_jacobian, check_adjoint

    Notes
    -----
    With up to 64 outputs and 10,000 parameters, `vjp` is called with each unit vector, and all
    entries of the Jacobian are judged, from ``2 n + 9`` evaluations.

    With more, two random cotangents are drawn, in which each output has the weight that makes it
    count as much as any other, and the gradients of the numbers ``<u, f(params)>`` are judged as
    by `check_gradient`: along random directions where the parameters are many. An error is in one
    of these numbers whatever output it belongs to. If there is one, halves of the cotangent tell
    which outputs are wrong, by calls of `vjp` alone, and these are judged by themselves.

    A product is linear in its vector. Five calls more, with random vectors, their sum and
    multiples, tell how exactly: a power of two changes no digit of a linear product, and its
    rounding shows at another multiple. What it misses by more is WRONG if differences would have
    seen as much, and is said in the reason if not.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> A = np.arange(6.0).reshape(3, 2)
    >>> x = np.array([0.3, 0.5])
    >>> bool(fg.check_vjp(lambda x: np.sin(A @ x), lambda x, u: A.T @ (u * np.cos(A @ x)), x))
    True
    >>> report = fg.check_vjp(lambda x: np.sin(A @ x), lambda x, u: A.T @ u, x)
    >>> report.wrong[0].output
    'out[2]'
    """
    check_arguments(f, vjp, params, "vjp")
    if not callable(vjp):
        raise InputTypeError(f"`vjp` must be callable as vjp(params, u); got {describe(vjp)}")
    options = Options.of(budget, rtol, atol, bounds, workers, progress, seed, where)
    argument = as_params(params)
    look = _Look.at(f, vjp, argument, options)
    entries = sum(leaf.real.size for leaf in look.leaves)
    is_complex = any(leaf.is_complex for leaf in look.pulled.leaves)
    small = look.outputs.size <= MOST_UNITS and entries <= MOST_ENTRIES and not is_complex
    if small and strategy != "probe":
        report = judge_jacobian(f, partial(by_rows, vjp), argument, options, "vjp")
        report = replace(report, evaluations=report.evaluations + look.evaluations)
        return with_linearity(report, look.linearity)
    names = ("rtol", "atol", "bounds", "where", "workers", "progress")
    how = {"budget": budget} | {name: getattr(options, name) for name in names}
    report = _Judge(f, argument, look, options, how, strategy).report()
    return with_linearity(report, look.linearity)


@dataclass(frozen=True)
class _Look:
    """What one evaluation and two moves show of the outputs."""

    pulled: Pulled
    leaves: Sequence[Leaf]  # those of the entries that are meant
    outputs: Outputs
    weights: np.ndarray  # that make outputs alike: powers of two
    linearity: Linearity | None
    evaluations: int

    @classmethod
    def at(
        cls, f: Callable[[Any], Any], vjp: Callable[[Any, Any], Any], argument: Params, how: Options
    ) -> _Look:
        leaves = flatten(argument)
        limits = bounds_of(how.bounds, argument, leaves)
        selection = selection_of(how.where, argument, leaves)
        run = replace(how, workers=None, progress=False).evaluator(
            Lenient(f), argument, leaves, limits, vector=True, selection=selection
        )
        try:
            with run:
                base = run.base()
                assert run.outputs is not None
                outputs = run.outputs
                regions = tuple(
                    Region(k, tuple(slice(0, n) for n in leaf.real.shape), leaf.real.shape)
                    for k, leaf in enumerate(run.leaves)
                    if leaf.real.size
                )
                ends = [base, base]
                if regions:
                    direction = Uniform(how.seed, 0, regions, (_MOVE,) * len(regions))
                    with quiet():
                        ends = list(run.along(Along(direction, (1.0, -1.0))).values)
                weights = _weights(base, np.abs(ends[0] - ends[1]), outputs)
                meant = None if selection is None else selection.meant(leaves)
                pulled = Pulled(vjp, argument, leaves, outputs, meant)
                linearity = linearity_of(pulled, run, "vjp", weights, how.seed, how.rtol)
        finally:
            run.guard.close()
        return cls(pulled, run.leaves, outputs, weights, linearity, run.evaluations)


def _weights(base: np.ndarray, change: np.ndarray, outputs: Outputs) -> np.ndarray:
    """Powers of two that make all outputs change alike, and none by noise alone."""
    least = 2 * _MOVE * _LEAST_VARIATION * np.abs(base)
    with np.errstate(invalid="ignore"):
        size = np.fmax(np.where(np.isfinite(change), change, 0.0), least)
    known = size[(size > 0) & np.isfinite(size)]
    typical = float(np.median(known)) if len(known) else 1.0
    size = np.where((size > 0) & np.isfinite(size), size, typical) / typical
    most = _EXPONENT if spacings(outputs).max(initial=0.0) < _SHORT else _SHORT_EXPONENT
    weights: np.ndarray = np.exp2(np.clip(-np.round(np.log2(size)), -most, most))
    return weights


@dataclass(frozen=True)
class _Projected:
    """The inner product of a vector with what `f` returns, as a function of its own."""

    f: Callable[[Any], Any]
    outputs: Outputs
    u: np.ndarray

    def __call__(self, params: Any) -> float:
        """Its value; outputs with weight zero may be anything, NaN too."""
        values = self.outputs.flat(self.f(params), at_block, 0)
        return float(values[self.u != 0] @ self.u[self.u != 0])


@dataclass(frozen=True)
class _ProjectedRows:
    """The same of an `f` of many points."""

    f: Callable[[Any], Any]
    outputs: Outputs
    u: np.ndarray

    def __call__(self, params: Any) -> np.ndarray:
        """Its values."""
        count = len(flatten(params)[0].array)
        rows = self.outputs.flat_rows(self.f(params), count, partial(at_block, 0))
        values: np.ndarray = rows[:, self.u != 0] @ self.u[self.u != 0]
        return values


@dataclass
class _Judge:
    """Judges projections of a large Jacobian, and finds the outputs that are wrong."""

    f: Callable[[Any], Any]
    argument: Params
    look: _Look
    options: Options
    how: dict[str, Any]
    strategy: str
    evaluations: int = 0

    def report(self) -> Report:
        """The verdict on two random cotangents or, where one is wrong, on what is behind it."""
        self.evaluations = self.look.evaluations
        rng = np.random.default_rng([self.options.seed, self.look.outputs.size])
        found = None
        outputs = counted(self.look.outputs.size, "output")
        for strategy in (self.strategy, *("probe",) * (_COTANGENTS - 1)):
            u = self.look.weights * fractions(rng, self.look.outputs.size)
            report = self._first_judged(u, strategy)
            if report.verdict is Verdict.WRONG:
                said = f"with a random cotangent of all {outputs}, {report.reason}"
                return self._named(self._located(replace(report, reason=said), u))
            if found is None or found.verdict is Verdict.RIGHT:
                found = report if found is None or report.verdict is not Verdict.RIGHT else found
        assert found is not None
        said = f"with {_COTANGENTS} random cotangents of {outputs}, {found.reason}"
        return self._named(replace(found, reason=said))

    def _first_judged(self, u: np.ndarray, strategy: str) -> Report:
        """The same, of many parameters only until it is known whether something is wrong."""
        budget = self.how["budget"]
        many = 2 * sum(leaf.real.size for leaf in self.look.leaves) > 2 * MOST_ENTRIES
        probes = strategy == "probe" or (many and strategy == "auto")
        if probes and (budget is None or budget > _ENOUGH):
            report = self._judged(u, "probe", _ENOUGH)
            if not (report.verdict is Verdict.CANNOT_TELL and "budget" in report.reason):
                return report
        return self._judged(u, strategy)

    def _judged(self, u: np.ndarray, strategy: str, budget: int | None = None) -> Report:
        """The gradient of the number that a cotangent makes of the outputs."""
        f: Any = _Projected(self.f, self.look.outputs, u)
        if isinstance(self.f, Batched):
            f = replace(self.f, f=_ProjectedRows(self.f.f, self.look.outputs, u))
        report = check_gradient(
            f,
            partial(_pulled, self.look.pulled, u),
            self.argument,
            strategy=strategy,
            seed=self.options.seed,
            **self.how | ({} if budget is None else {"budget": budget}),
        )
        self.evaluations += report.evaluations
        return report

    def _named(self, report: Report) -> Report:
        """The report in the words for products, with all evaluations."""
        words = Wording((), "product", "vjp")
        return replace(
            report,
            reason=words.said(report.reason),
            causes=words.all(report.causes),
            evaluations=self.evaluations,
            derivative="product",
        )

    # ------------------------------------------------------------------------ which outputs

    def _located(self, report: Report, u: np.ndarray) -> Report:
        """The report on the outputs that are wrong or, where all are, on their sum."""
        outputs = self.look.outputs
        if outputs.size == 1 or not len(report.wrong):
            return report
        wrong = wrong_outputs(self._differences(report, u))
        if not wrong:
            return report
        names = [f"`{outputs.name(j)}`" for j in wrong]
        relation = bool(report.causes) and report.causes[0].kind not in (*DOUBTFUL, Cause.NEARBY)
        if relation and len(wrong) > LOCATED:
            if "budget" in report.reason:
                report = self._judged(u, self.strategy)
            said = f"{report.reason}; it is so for every output that was looked at, as {names[0]}"
            return replace(report, reason=said)
        parts = [
            self._judged(np.eye(1, outputs.size, j)[0], self.strategy) for j in wrong[:LOCATED]
        ]
        bad = [
            (name[1:-1], part)
            for name, part in zip(names, parts, strict=False)
            if part.verdict is Verdict.WRONG
        ]
        return of_outputs(bad, len(wrong) > LOCATED) if bad else report

    def _differences(self, report: Report, u: np.ndarray) -> Sums:
        """What `f` says of a few wrong entries, for every output."""
        leaves = self.look.pulled.leaves
        limits = bounds_of(self.options.bounds, self.argument, leaves)
        selection = selection_of(self.options.where, self.argument, leaves)
        run = replace(self.options, workers=None, progress=False).evaluator(
            Lenient(self.f), self.argument, leaves, limits, vector=True, selection=selection
        )
        starts = np.cumsum([0, *(leaf.real.size for leaf in run.leaves)])
        positions, columns = [], []
        with quiet():
            try:
                with run:
                    base = run.base()
                    for at in positions_of(report)[:_ENTRIES]:
                        k = int(np.searchsorted(starts, at, side="right")) - 1
                        found = self._column(run, k, at - int(starts[k]), report, base)
                        positions.append(at)
                        columns.append(found)
            finally:
                run.guard.close()
        self.evaluations += run.evaluations
        numeric, bound = (np.array(each) for each in zip(*columns, strict=True))
        return Sums(self.look.pulled, u, np.array(positions), numeric, bound)

    def _column(
        self, run: Any, leaf: int, entry: int, report: Report, base: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of all outputs by one entry, and how far off they may be."""
        entries = np.array([entry], dtype=np.intp)
        relative = report.steps[leaf] if report.steps else 1e-5
        slopes, width = [], 1.0
        for step in (relative, _CLOSER * relative):
            found = run.single(Single(leaf, entries, Steps(relative=step)))
            width = float(found.moved[0, 0] - found.moved[0, 1])
            slopes.append((found.values[0, 0] - found.values[0, 1]) / width)
        noise = 2 * SIGMAS * spacings(self.look.outputs) * np.abs(base) / abs(width)
        return slopes[0], SAFETY * (np.abs(slopes[0] - slopes[1]) + noise) + TINY


def _pulled(pulled: Pulled, u: np.ndarray, params: Params) -> Any:
    """The claim for one cotangent, as a gradient function at the parameters."""
    return pulled.nest(u)
