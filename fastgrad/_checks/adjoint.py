"""Is this the adjoint of that linear map? `check_adjoint`."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._checks.adjoint_look import Found, Plan, look
from fastgrad._checks.linear import LinearMap, Meter
from fastgrad._checks.options import tolerance, whole_budget, whole_seed
from fastgrad._checks.space import Space
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._report.report import Report
from fastgrad._tree import Params, describe

__all__ = ["check_adjoint"]

# Evaluations, at most, unless the user says otherwise: as many as a probe of a gradient may take.
_BUDGET = 20_000
# A wrong adjoint is judged entry by entry if that takes at most so many evaluations: bisection
# takes a few hundred, and tells less.
_FEW = 1_000


def check_adjoint(
    forward: Any,
    adjoint: Any = None,
    x: Params = None,
    *,
    strategy: str = "auto",
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    seed: int = 0,
) -> Report:
    """Judge the adjoint of a linear map by inner products: the dot-product test.

    For all `x` and `y`, ``<forward(x), y>`` must equal ``<x, adjoint(y)>``. It is a question of
    rounding only, so that errors of 1e-12 are told where the maps compute in float64.

    Parameters
    ----------
    forward : callable or scipy.sparse.linalg.LinearOperator
        ``forward(x)`` returns an array, a number, or a nest of these. It must be linear, which is
        tested; maps of complex arrays may be linear with respect to real factors alone.
    adjoint : callable, optional
        ``adjoint(y)`` takes what `forward` returns, and returns what `forward` takes: the
        structure and shapes of `x`. For complex arrays it is the conjugate transpose. It may be
        left out for a LinearOperator (or one of PyLops), whose `rmatvec` it is then.
    x : array, or dict, list, tuple, namedtuple or dataclass of arrays, nested in any way, optional
        An argument of `forward`. Its structure, shapes and types count, and not its values: the
        test draws random vectors like it, and neither moves nor passes on `x` itself. It may be
        left out for a LinearOperator.
    strategy : {"auto", "exhaustive", "probe"}, default "auto"
        ``"probe"`` compares inner products of random vectors and, where they differ, bisects the
        arrays on both sides. ``"exhaustive"`` compares every entry of both matrices, with one
        evaluation for each number in `x` and in `y`. ``"auto"`` begins with the first, and goes on
        with the second if something is wrong and that takes at most 1,000 evaluations.
    budget : int, optional
        Largest number of evaluations of both functions together, 20,000 by default; without limit
        if every entry is judged. If it is used up, the report says what is known by then.
    rtol, atol : float, default 0.0
        How far an entry of the matrix may be off beyond rounding and still be right: by
        ``atol + rtol * |entry|``. For maps that are exact to a tolerance only, such as a solver's;
        `rtol` also allows for maps that are linear to that tolerance. By default nothing but what
        was measured counts.
    seed : int, default 0
        Seed of the random vectors.

    Returns
    -------
    Report
        Its entries are those of the matrix of `forward`: named ``y[3] / x[7]``, with what `adjoint`
        makes of it as `analytic`, and what `forward` does as `numeric`. A complex array is two, as
        in ``y.imag[3] / x.real[7]``. Its `leaves` are the blocks of the matrix, and its `noise` is
        the relative error of the maps, as the sums show that they should satisfy.

    Raises
    ------
    InputTypeError, InputValueError
        An argument is of the wrong kind, or `adjoint` does not return what `forward` takes.
    MutationError
        A function wrote into its argument.

    See Also
    --------
    check_gradient : for functions that are not linear, and return one number.

    Notes
    -----
    Two random vectors are drawn on either side. Their sums and multiples show whether the maps are
    linear, and how exact they are, in ten evaluations in all; for nests of arrays each array is
    looked at by itself, with two evaluations more for each. The four inner products may then differ
    by the measured errors, and by what coefficients lose where both maps compute them: a fifth of
    the digits of the type, 3e-13 of float64. A multiple by -256 must have the same digits, so that
    a map that is not linear, or a solver with an absolute tolerance, shows in the last ones.

    Larger differences are WRONG, but for those of less than 2e-9 that have no pattern: two inverses
    of one matrix may differ so, by its condition, and the verdict is CANNOT_TELL.

    What is wrong is located by bisection of the arrays on both sides: a single wrong entry of a
    million by a million takes some hundred evaluations. The likely cause is sought among factors,
    signs, conjugates, flips, shifts and transposes, `forward` itself or its inverse, and arrays
    that are exchanged.

    The inner product is the real one: the sum of the products of real parts, and of those of
    imaginary parts.

    References
    ----------
    J. F. Claerbout, Earth Soundings Analysis: Processing Versus Inversion (Blackwell, 1992), has
    the dot-product test.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> A = np.arange(6.0).reshape(2, 3)
    >>> report = fg.check_adjoint(lambda x: A @ x, lambda y: A.T @ y, np.zeros(3))
    >>> bool(report), report.evaluations
    (True, 10)
    >>> report = fg.check_adjoint(np.fft.fft, np.fft.ifft, np.zeros(8, complex))
    >>> print(report.causes[0].sentence)
    `y / x`: `adjoint` is 0.125 x the adjoint of `forward`
    """
    started = time.perf_counter()
    forward, adjoint, x = _functions(forward, adjoint, x)
    seed = whole_seed(seed)
    plan = _plan(strategy, budget, tolerance("rtol", rtol), tolerance("atol", atol), seed)
    space, meter = Space.of(x, "x"), Meter(plan.budget)
    there = LinearMap(forward, "forward", space, None, "y", meter)
    back = LinearMap(adjoint, "adjoint", space, space, "x", meter)
    found = look(there, back, plan)
    return _report(found, plan, meter.made, started)


def _functions(
    forward: Any, adjoint: Any, x: Any
) -> tuple[Callable[[Any], Any], Callable[[Any], Any], Any]:
    """Both functions, and an argument, from what the user passed."""
    if _is_operator(forward):
        x = _argument(forward, x)
        adjoint = _rmatvec(forward) if adjoint is None else adjoint
        forward = forward.matvec
    if not callable(forward):
        raise InputTypeError(
            f"`forward` must be callable as forward(x), or a LinearOperator; got "
            f"{describe(forward)} (of a matrix A pass lambda v: A @ v and lambda v: A.conj().T @ v)"
        )
    if _is_operator(adjoint):
        adjoint = adjoint.matvec
    if not callable(adjoint):
        raise InputTypeError(
            f"`adjoint` must be callable as adjoint(y); got {describe(adjoint)} (it may be left "
            "out where `forward` is a LinearOperator)"
        )
    if x is None:
        raise InputTypeError(
            "`x` must be an argument of `forward`, such as np.zeros(n); it may be left out where "
            "`forward` is a LinearOperator"
        )
    return forward, adjoint, x


def _is_operator(value: Any) -> bool:
    """Whether it is a LinearOperator of SciPy's, or what looks like one."""
    return all(hasattr(value, name) for name in ("matvec", "rmatvec", "shape"))


def _argument(operator: Any, x: Any) -> Any:
    """The user's argument, or zeros of the operator's shape and type."""
    n = int(operator.shape[1])
    if x is not None:
        if np.shape(x) != (n,):
            raise InputValueError(
                f"`x` must have shape ({n},) for a LinearOperator of shape "
                f"{tuple(operator.shape)}; got {np.shape(x)}"
            )
        return x
    dtype = np.dtype(getattr(operator, "dtype", None) or float)
    return np.zeros(n, dtype if dtype.kind in "fc" else float)


def _rmatvec(operator: Any) -> Callable[[Any], Any]:
    def adjoint(y: Any) -> Any:
        try:
            return operator.rmatvec(y)
        except NotImplementedError as error:  # what SciPy raises where there is none
            raise InputTypeError(
                "`forward` has no rmatvec; pass the function that it lacks as `adjoint`"
            ) from error

    return adjoint


def _plan(strategy: str, budget: int | None, rtol: float, atol: float, seed: int) -> Plan:
    if strategy not in ("auto", "exhaustive", "probe"):
        raise InputValueError(
            f'`strategy` must be "auto", "exhaustive" or "probe"; got {strategy!r}'
        )
    whole_budget(budget)
    most = math.inf if strategy == "exhaustive" else _BUDGET
    few = {"auto": _FEW, "exhaustive": math.inf, "probe": 0}[strategy]
    most = most if budget is None else int(budget)
    return Plan(strategy == "exhaustive", few, most, rtol, atol, seed)


def _report(found: Found, plan: Plan, evaluations: int, started: float) -> Report:
    return Report(
        verdict=found.verdict,
        reason=found.reason,
        causes=found.causes,
        entries=found.entries,
        evaluations=evaluations,
        noise=found.inexact,
        detection_limit=found.detection_limit,
        strategy="exhaustive" if found.all_judged else "probe",
        backend=_backend.backend,
        seed=plan.seed,
        seconds=time.perf_counter() - started,
        miss_probability=found.miss_probability,
        rtol=plan.rtol,
        atol=plan.atol,
        derivative="adjoint",
    )
