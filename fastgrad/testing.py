"""Gradient checks as assertions, for test suites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastgrad._checks.adjoint import check_adjoint
from fastgrad._checks.check import check_gradient
from fastgrad._tree import Params

__all__ = ["assert_adjoint", "assert_gradient"]


def assert_gradient(
    f: Callable[[Any], Any],
    grad: Any,
    params: Params,
    *,
    strategy: str = "auto",
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    bounds: Any = None,
    where: Any = None,
    retraction: Callable[[Any, Any], Any] | None = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> None:
    """Raise an AssertionError that shows the report, unless the gradient is right.

    Parameters
    ----------
    f, grad, params, strategy, budget, rtol, atol, bounds, where, retraction
        As for `check_gradient`.
    workers, progress, seed
        As for `check_gradient`.

    Raises
    ------
    AssertionError
        The verdict is WRONG, or CANNOT_TELL: a test that cannot tell tests nothing. The message
        is the report as text; the attribute `report` is the `Report`.

    Notes
    -----
    pytest has a fixture of the same name, which calls this function. ``pytest --fastgrad-html
    DIR`` writes the reports of failed checks to DIR, as web pages.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, np.ones(3))
    """
    __tracebackhide__ = True
    report = check_gradient(
        f,
        grad,
        params,
        strategy=strategy,
        budget=budget,
        rtol=rtol,
        atol=atol,
        bounds=bounds,
        where=where,
        retraction=retraction,
        workers=workers,
        progress=progress,
        seed=seed,
    )
    if not report:
        error = AssertionError(str(report))
        vars(error)["report"] = report
        raise error


def assert_adjoint(
    forward: Any,
    adjoint: Any = None,
    x: Params = None,
    *,
    strategy: str = "auto",
    budget: int | None = None,
    rtol: float = 0.0,
    atol: float = 0.0,
    seed: int = 0,
) -> None:
    """Raise an AssertionError that shows the report, unless the adjoint is right.

    Parameters
    ----------
    forward, adjoint, x, strategy, budget, rtol, atol, seed
        As for `check_adjoint`.

    Raises
    ------
    AssertionError
        The verdict is WRONG, or CANNOT_TELL; its attribute `report` is the `Report`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_adjoint(np.cumsum, lambda y: np.cumsum(y[::-1])[::-1], np.zeros(9))
    """
    __tracebackhide__ = True
    options: dict[str, Any] = {"strategy": strategy, "budget": budget, "seed": seed}
    report = check_adjoint(forward, adjoint, x, rtol=rtol, atol=atol, **options)
    if not report:
        error = AssertionError(str(report))
        vars(error)["report"] = report
        raise error
