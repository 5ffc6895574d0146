"""Is this Hessian-vector product right? `check_hvp`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from fastgrad._checks.claim import check_arguments
from fastgrad._checks.hessian import (
    EACH,
    as_outputs,
    called,
    evaluated,
    gradient_of,
    gradients,
    judge_hessian,
    watched_of,
)
from fastgrad._checks.jvp import MOST_UNITS, Columns, TangentJudge
from fastgrad._checks.layout import Layout
from fastgrad._checks.options import Options
from fastgrad._checks.product_claims import pushed_of
from fastgrad._errors import InputTypeError, InputValueError, written_by
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import OutOfBudget
from fastgrad._evaluation.selected import selection_of
from fastgrad._report.report import Report
from fastgrad._tree import Params, as_params, check_places, describe, flatten

__all__ = ["check_hvp"]

# Evaluations that show the noise of `f`, at most, and one at the parameters; and those that show at
# each entry that `f` is smooth, at least: before a gradient is taken from values.
_NOISE, _SMOOTH = 19, 6


def check_hvp(
    f: Callable[[Any], Any],
    hvp: Callable[[Any, Any], Any],
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
    """Judge a Hessian-vector product against differences of gradients.

    Parameters
    ----------
    f : callable
        ``f(params)`` returns one real number. With ``grad=True`` it returns the pair
        ``(value, gradient)``. It is not called where `grad` is a function.
    hvp : callable
        ``hvp(params, v)`` returns the product of the Hessian with `v`; both have the structure and
        the shapes of `params`.
    params : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way
        The point at which to check, of real numbers. The entries are moved in place; afterwards
        every bit is as it was.
    grad : callable or True, optional
        ``grad(params)``, the gradient, as for `check_hessian`. By default it is taken from values
        of `f`, with four evaluations for each parameter, and six more at first.
    budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_hessian`.

    Returns
    -------
    Report
        Its entries are those of the Hessian, ``b[3] / W[2, 0]``, for up to 64 parameters, or along
        a tangent, ``b[3] / v``, or along the parameter that was found to be wrong.

    Raises
    ------
    InputTypeError, InputValueError
        The parameters cannot be moved in place, or are complex; or `hvp` or `grad` does not return
        what it should.
    MutationError, ConcurrencyError, WorkerError, MissingPackageError
        As for `check_gradient`.

    See Also
    --------
    hvp : to compute one.
    check_hessian : for the matrix.

    Notes
    -----
    Up to 64 parameters `hvp` is called with each unit vector, so that the whole Hessian is judged
    as by `check_hessian`, and whether it is symmetric. Of more, two random tangents are taken, each
    with a dozen gradients, and parameters that are wrong are located by bisection of the tangent,
    as by `check_jvp`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> x = np.array([1.0, 2.0, 3.0])
    >>> def f(x):
    ...     return (x**4).sum() / 12
    >>> bool(fg.check_hvp(f, lambda x, v: x**2 * v, x))
    True
    >>> report = fg.check_hvp(f, lambda x, v: 2 * x**2 * v, x, grad=lambda x: x**3 / 3)
    >>> report.verdict.name, report.causes[0].kind.name
    ('WRONG', 'FACTOR')
    """
    started = time.perf_counter()
    check_arguments(f, hvp, params, "hvp")
    if not callable(hvp):
        raise InputTypeError(f"`hvp` must be callable as hvp(params, v); got {describe(hvp)}")
    options = Options.of(budget, rtol, atol, bounds, workers, progress, seed, where)
    argument = as_params(params)
    leaves = flatten(argument)
    with called("jvp", "hvp"):
        selection = selection_of(where, argument, leaves)
        layout = Layout(as_outputs(argument, leaves), argument, leaves, selection, square=True)
        if layout.shape[1] <= MOST_UNITS:
            columns = Columns(hvp, "hvp", options)
            return columns.told(judge_hessian(f, grad, columns, argument, options, "hvp"))
        function = gradient_of(f, grad, layout.meant)
        _refuse_small_budget(options.budget, layout.shape[0], function is None)
        run, numeric = gradients(f, function, argument, leaves, options, selection)
        try:
            with written_by(evaluated(grad)), run:
                pushed = pushed_of(hvp, layout, argument)
                limits = bounds_of(options.bounds, argument, leaves)
                base = _base(run, options.budget)
                rounding = None if numeric is None else numeric.rounding
                watched = watched_of(run, numeric, f, function, argument, limits, selection)
                judge = TangentJudge(run, pushed, layout, options, limits, base, watched, rounding)
                report = judge.report("hvp")
                check_places(argument, leaves)
        finally:
            run.guard.close()  # a Ctrl-C could come in between `__exit__` and its body
    seconds = time.perf_counter() - started
    reason = report.reason.replace("`f`", f"`{evaluated(grad)}`")
    report = replace(report, function=evaluated(grad), reason=reason)
    return replace(report, evaluations=run.evaluations, seconds=seconds)


def _refuse_small_budget(budget: float, n: int, from_values: bool) -> None:
    """Refuse a budget that never reaches for one gradient."""
    least = (EACH + _SMOOTH) * n + _NOISE
    if from_values and budget < least:
        raise InputValueError(
            f"`budget` must be at least {least:,} evaluations, which one gradient of {n:,} entries "
            f"from values of `f` takes; got {budget:,.0f} (pass `grad`)"
        )


def _base(run: Metered, budget: float) -> np.ndarray:
    """The gradient at the parameters; an error where the budget does not reach for it."""
    try:
        found: np.ndarray = run.base()
    except OutOfBudget:
        raise InputValueError(
            "`budget` must reach for one gradient from values of `f`, which varies on scales that "
            f"take more than {budget:,.0f} evaluations to find; pass a larger one, or `grad`"
        ) from None
    return found
