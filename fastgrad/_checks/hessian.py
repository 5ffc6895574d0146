"""Is this Hessian right? `check_hessian`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from fastgrad._checks.baseline import NO_VALUE
from fastgrad._checks.claim import Analytic, check_arguments
from fastgrad._checks.hessian_causes import asymmetry, causes_of
from fastgrad._checks.jacobian import Watched, claim_of, judged, report_of, seen
from fastgrad._checks.jacobian_claim import check_claim
from fastgrad._checks.jacobian_result import Told, untold
from fastgrad._checks.layout import Layout
from fastgrad._checks.options import Options
from fastgrad._checks.stale_jacobian import name_other_point
from fastgrad._checks.wording import Wording
from fastgrad._derivatives.given import GradientFunction
from fastgrad._derivatives.numeric_gradient import NumericGradient
from fastgrad._derivatives.sides import offsets_of, rooms_within, slope_weights
from fastgrad._errors import InputTypeError, InputValueError, MutationError, renamed, written_by
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.lenient import Lenient
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget, Single, Steps
from fastgrad._evaluation.selected import Selection, selection_of
from fastgrad._evaluation.shared import Shared
from fastgrad._leaf import Leaf
from fastgrad._outputs import Outputs
from fastgrad._report.entries import Verdict
from fastgrad._report.report import Report
from fastgrad._tree import Params, as_params, check_places, describe, flatten

__all__ = [
    "EACH",
    "as_outputs",
    "called",
    "check_hessian",
    "evaluated",
    "gradient_of",
    "gradients",
    "judge_hessian",
]

_WRONG, _UNCLEAR = Verdict.WRONG.code, Verdict.CANNOT_TELL.code
# Gradients beside two for each parameter, as of a Jacobian, and evaluations of each from values.
_OVERHEAD, EACH = 9, 4
# Columns with wrong entries in which the truncation of a numeric gradient is looked at, each with
# 16 evaluations for each parameter: in others it is taken to be no larger.
_COLUMNS = 32
# What is said of a gradient that has no value because the parameter has no room.
_HELD = "cannot be moved, as its bounds are equal; leave it out by `where`"
# Half the step leaves a sixteenth of the truncation of fourth order, so that what it changes is 15
# of 16 parts; with as much again, as other orders contribute too.
_TRUNCATION = 2.0


def check_hessian(
    f: Callable[[Any], Any],
    hess: Any,
    params: Params,
    grad: Any = None,
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
    """Judge an analytic Hessian, entry by entry, against differences of gradients.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. With ``grad=True`` it returns the pair
        ``(value, gradient)``. It is not called where `grad` is a function.
    hess : callable or Hessian
        ``hess(params)``, or the Hessian itself, as `jax.hessian` returns it: the structure of
        `params`, each array in it replaced by the structure of `params`, with arrays of the shape
        ``a.shape + b.shape``. For one array of n entries it is an (n, n) array, or a sparse matrix
        of SciPy's. A function is called twice, as for `check_jacobian`.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check, of real numbers. The entries are moved in place; afterwards
        every bit is as it was.
    grad : callable or True, optional
        ``grad(params)``, the gradient in the structure of `params`, or the pair (value, gradient).
        It must be right (see `check_gradient`): differences of it see errors of 1e-8 where those
        of values see 1e-6, and take 2 gradients for each parameter. By default the gradient is
        taken from values of `f`, which takes ``8 n**2`` evaluations and ``42 n`` more.
    budget : int, optional
        Largest number of evaluations of `f`, or of `grad`. If it is used up, the report says what
        is known by then. By default there is no limit.
    rtol, atol, bounds, workers, progress, seed
        As for `check_gradient`; `rtol` is relative to each entry.
    where : structure of `params` of bool arrays, optional
        Which entries of the parameters to check, as for `check_gradient`: second derivatives by two
        of these. Only these are moved, and other entries of the Hessian may be anything.

    Returns
    -------
    Report
        Its entries are named by both parameters, as ``b[3] / W[2, 0]``: the derivative of the
        gradient's entry `b[3]` by `W[2, 0]`.

    Raises
    ------
    InputTypeError, InputValueError
        The parameters cannot be moved in place, or are complex; or the Hessian, or the gradient,
        does not have the structure and shapes asked for.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError
        As for `check_gradient`.

    See Also
    --------
    hessian : to compute one.
    check_jacobian : for the derivative of any vector-valued function, and for what is judged how.

    Notes
    -----
    The Hessian is judged as the Jacobian of the gradient. From values, that is a numeric gradient
    of fourth order at fixed steps, which is as smooth as `f`. They are halved beforehand, by two
    evaluations each time, where `f` shows that it varies on a smaller scale, as beside a pole; and
    before an entry is called wrong, half of them tell whether their truncation explains it.

    A Hessian is symmetric. Where `hess` is not, by more than rounding, one of two entries is wrong,
    though differences may not tell which: the verdict is WRONG, and the worst pair is named.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x = np.array([1.0, 2.0])
    >>> def f(x):
    ...     return x[0] ** 2 * x[1]
    >>> def grad(x):
    ...     return np.array([2 * x[0] * x[1], x[0] ** 2])
    >>> def hess(x):
    ...     return np.array([[2 * x[1], 2 * x[0]], [2 * x[0], 0.0]])
    >>> bool(fg.check_hessian(f, hess, x, grad)), bool(fg.check_hessian(f, hess, x))
    (True, True)
    >>> print(fg.check_hessian(f, lambda x: np.triu(hess(x)), x, grad).causes[0].sentence)
    the Hessian holds its upper triangle alone, and zeros below: copy it to the other side
    """
    check_arguments(f, hess, params, "hess")
    check_claim(hess, "hess", "Hessian")
    options = Options.of(budget, rtol, atol, bounds, workers, progress, seed, where)
    with called("jac", "hess"):
        return judge_hessian(f, grad, partial(claim_of, hess), params, options, "hess")


def judge_hessian(
    f: Callable[[Any], Any],
    grad: Any,
    make: Callable[[Metered, Layout, Params], Analytic],
    params: Params,
    options: Options,
    name: str,
) -> Report:
    """Judge every entry of the Hessian that `make` makes of functions that `name` names."""
    started = time.perf_counter()
    argument = as_params(params)
    leaves = flatten(argument)
    selection = selection_of(options.where, argument, leaves)
    layout = Layout(as_outputs(argument, leaves), argument, leaves, selection, square=True)
    limits = bounds_of(options.bounds, argument, leaves)
    function = gradient_of(f, grad, layout.meant)
    run, numeric = gradients(f, function, argument, leaves, options, selection)
    try:
        with written_by(evaluated(grad)), run:
            claim = make(run, layout, argument)
            claim = replace(claim, rtol=options.rtol, atol=options.atol)
            found = _judged(run, numeric, layout, claim, options.seed, limits)
            if numeric is not None:
                found = _with_truncation(found, numeric, layout)
            if function is not None:
                found = name_other_point(found, run, layout)
            found = seen(found, watched_of(run, numeric, f, function, argument, limits, selection))
            check_places(argument, leaves)
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    found = _explained(found, layout, claim)
    wording = Wording(layout.parts, "Hessian", name)
    seconds = time.perf_counter() - started
    report = report_of(found, layout, wording, run.evaluations, options.seed, seconds, "Hessian")
    words = r"second difference\1 of `f`" if function is None else r"central difference\1 of `grad`"
    reason = re.sub("central difference(s?)", words, report.reason)
    if function is None:
        reason = reason.replace("`f` at `", "the derivative of `f` by `")
    reason = reason.replace("`f`", f"`{evaluated(grad)}`")
    return replace(report, reason=reason, function=evaluated(grad))


def evaluated(grad: Any) -> str:
    """The name of the function that is evaluated; with ``grad=True`` `f` returns the gradient."""
    return "grad" if callable(grad) else "f"


@contextmanager
def called(theirs: str, ours: str) -> Iterator[None]:
    """Errors about one of the user's functions, said of another name."""
    with renamed(theirs, ours, InputTypeError, InputValueError, MutationError):
        yield


def _judged(
    run: Metered,
    numeric: NumericGradient | None,
    layout: Layout,
    claim: Analytic,
    seed: int,
    bounds: Bounds | None,
) -> Told:
    """Judge all entries."""
    shared = Shared(run, whole=bounds is not None)
    try:
        value = 0.0 if numeric is None else numeric.value
        if not np.isfinite(value):  # beside it nothing is asked for
            return untold(layout, claim).distrusted("`f` " + NO_VALUE.format(base=value))
        shared.base(0)
        shared.rounding = None if numeric is None else numeric.rounding
    except OutOfBudget:
        return untold(layout, claim, measured=0)
    found = judged(run, shared, layout, claim, seed)
    if numeric is None or bounds is None:
        return found
    # A numeric gradient has no value where an entry cannot be moved.
    held = layout.of_meant(bounds.held(layout.whole.leaves))
    if not (held | np.isfinite(shared.base(0))).all():
        return found
    verdict, reason = found.conclusion
    told = reason.replace(NO_VALUE.format(base="nan"), _HELD)
    return replace(found, conclusion=(verdict, told))


def gradient_of(
    f: Callable[[Any], Any], grad: Any, meant: np.ndarray | None
) -> GradientFunction | None:
    """The user's gradient as a function of which some entries may be meant, if there is one."""
    if grad is None or grad is False:
        return None
    if grad is not True and not callable(grad):
        raise InputTypeError(
            f"`grad` must be callable as grad(params), or True; got {describe(grad)}, which does "
            "not say how the gradient changes"
        )
    return GradientFunction(f if grad is True else grad, pairs=grad is True, meant=meant)


def as_outputs(argument: Params, leaves: Sequence[Leaf]) -> Outputs:
    """The gradient as what a function returns: it is named and shaped as the parameters are."""
    outputs = Outputs.of(argument)
    pairs = zip(outputs.leaves, leaves, strict=True)
    return replace(outputs, leaves=tuple(replace(out, path=leaf.path) for out, leaf in pairs))


def gradients(
    f: Callable[[Any], Any],
    function: GradientFunction | None,
    argument: Params,
    leaves: Sequence[Leaf],
    options: Options,
    selection: Selection | None,
) -> tuple[Metered, NumericGradient | None]:
    """What evaluates the gradient of the chosen entries: the user's, or a numeric one."""
    chosen = leaves if selection is None else selection.leaves
    n = sum(leaf.real.size for leaf in chosen)
    limits, each = bounds_of(options.bounds, argument, leaves), 2 * n + _OVERHEAD
    how: dict[str, Any] = {"vector": function is not None, "selection": selection}
    if function is not None:
        lenient = Lenient(function)
        return options.evaluator(lenient, argument, leaves, limits, expected=each, **how), None
    expected = EACH * n * each
    run = options.evaluator(Lenient(f), argument, leaves, limits, expected=expected, **how)
    rooms = None if limits is None else rooms_within(limits, leaves)
    if rooms is not None and selection is not None:
        meant = selection.meant(leaves)
        rooms = rooms[0][meant], rooms[1][meant]
    numeric = NumericGradient(run, rooms=rooms)
    return Metered(numeric, held=run.held), numeric


def watched_of(
    run: Metered,
    numeric: NumericGradient | None,
    f: Callable[[Any], Any],
    function: GradientFunction | None,
    argument: Params,
    bounds: Bounds | None,
    selection: Selection | None,
) -> Watched:
    """The gradient that is differenced, or `f` if it is a numeric one."""
    limits = (argument, bounds, selection)
    if numeric is not None:
        return Watched(numeric.run, f, *limits)
    assert function is not None
    return Watched(run, function, *limits)


def _with_truncation(found: Told, gradient: NumericGradient, layout: Layout) -> Told:
    """Entries that truncation of the numeric gradient may explain are not called wrong."""
    entries = found.result.entries
    wrong = layout.matrix_of(entries.codes) == _WRONG
    columns = np.flatnonzero(wrong.any(axis=0))[:_COLUMNS]
    if not len(columns):
        return found
    try:
        steps = gradient.steps[columns]
        finer = _columns(gradient.halved(), columns, steps)
        off = np.abs(_columns(gradient, columns, steps) - finer)
    except OutOfBudget:
        return found
    codes, matrix = layout.matrix_of(entries.codes).copy(), layout.matrix_of
    doubt = np.repeat(off.max(axis=1, keepdims=True), len(off), axis=1)
    doubt[:, columns] = off
    error = np.abs(matrix(entries.analytic) - matrix(entries.numeric))
    bar = matrix(entries.uncertainty) + _TRUNCATION * doubt
    codes[wrong & ~(error > bar)] = _UNCLEAR
    entries = replace(entries, uncertainty=layout.column_of(bar), codes=layout.column_of(codes))
    if (codes == _WRONG).any():
        return replace(found, result=replace(found.result, entries=entries))
    reason = (
        "the deviations are as large as the truncation of a gradient from values of `f`, which "
        "varies on a scale below its steps; pass `grad`"
    )
    result = replace(found.result, entries=entries, causes=(), curve=None)
    return replace(found, result=result, conclusion=(Verdict.CANNOT_TELL, reason))


def _columns(gradient: NumericGradient, columns: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Some columns of the Hessian, by one difference of second order each: (n, columns).

    Steps like those of the gradient are far above its noise.
    """
    matrix, base = np.empty((gradient.positions.count, len(columns))), gradient.base()
    for side in (0, 1, -1):
        which = np.flatnonzero(gradient.sides[columns] == side)
        for leaf, entries, part in gradient.positions.pieces(columns[which]):
            mine = which[part]
            request = Single(leaf, entries, Steps(given=steps[mine]), offsets_of(side, 2))
            found = gradient.single(request)
            weights = slope_weights(found.moved)[..., np.newaxis]
            matrix[:, mine] = (weights * (found.values - base)).sum(axis=1).T
    return matrix


def _explained(found: Told, layout: Layout, claim: Analytic) -> Told:
    """What is known of Hessians alone: they are symmetric, and stand for products of residuals."""
    verdict, _ = found.conclusion
    if found.result.trouble or not len(claim.column):
        return found
    uneven = asymmetry(layout, claim)
    if verdict is Verdict.WRONG:
        causes = causes_of(layout, found.result)
        more = () if causes or uneven is None else (uneven,)
        causes = causes or (*found.result.causes, *more)
        return replace(found, result=replace(found.result, causes=causes))
    if uneven is None or found.result.measured is not None:
        return found
    result = replace(found.result, causes=(uneven,))
    said = "no entry is off by more than its error bar, but the Hessian is not symmetric"
    return replace(found, result=result, conclusion=(Verdict.WRONG, said))
