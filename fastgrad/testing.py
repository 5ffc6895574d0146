"""Checks of gradients, Jacobians and products as assertions, for test suites."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastgrad._checks.adjoint import check_adjoint
from fastgrad._checks.check import check_gradient
from fastgrad._checks.hessian import check_hessian
from fastgrad._checks.hvp import check_hvp
from fastgrad._checks.jacobian import check_jacobian
from fastgrad._checks.jvp import check_jvp
from fastgrad._checks.vjp import check_vjp
from fastgrad._report.report import Report
from fastgrad._tree import Params

__all__ = [
    "assert_adjoint",
    "assert_gradient",
    "assert_hessian",
    "assert_hvp",
    "assert_jacobian",
    "assert_jvp",
    "assert_vjp",
]


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
    _raise_unless_right(report)


def assert_jacobian(
    f: Callable[[Any], Any],
    jac: Any,
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
) -> None:
    """Raise an AssertionError that shows the report, unless the Jacobian is right.

    Parameters
    ----------
    f, jac, params, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_jacobian`.

    Raises
    ------
    AssertionError
        As from `assert_gradient`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_jacobian(np.sin, lambda x: np.diag(np.cos(x)), np.ones(3))
    """
    __tracebackhide__ = True
    report = check_jacobian(
        f,
        jac,
        params,
        budget=budget,
        rtol=rtol,
        atol=atol,
        bounds=bounds,
        where=where,
        workers=workers,
        progress=progress,
        seed=seed,
    )
    _raise_unless_right(report)


def assert_vjp(
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
) -> None:
    """Raise an AssertionError that shows the report, unless the vector-Jacobian product is right.

    Parameters
    ----------
    f, vjp, params, strategy, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_vjp`.

    Raises
    ------
    AssertionError
        As from `assert_gradient`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_vjp(np.sin, lambda x, u: u * np.cos(x), np.ones(3))
    """
    __tracebackhide__ = True
    report = check_vjp(
        f,
        vjp,
        params,
        strategy=strategy,
        budget=budget,
        rtol=rtol,
        atol=atol,
        bounds=bounds,
        where=where,
        workers=workers,
        progress=progress,
        seed=seed,
    )
    _raise_unless_right(report)


def assert_jvp(
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
) -> None:
    """Raise an AssertionError that shows the report, unless the Jacobian-vector product is right.

    Parameters
    ----------
    f, jvp, params, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_jvp`.

    Raises
    ------
    AssertionError
        As from `assert_gradient`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_jvp(np.sin, lambda x, v: v * np.cos(x), np.ones(3))
    """
    __tracebackhide__ = True
    report = check_jvp(
        f,
        jvp,
        params,
        budget=budget,
        rtol=rtol,
        atol=atol,
        bounds=bounds,
        where=where,
        workers=workers,
        progress=progress,
        seed=seed,
    )
    _raise_unless_right(report)


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
    _raise_unless_right(report)


def _raise_unless_right(report: Report) -> None:
    __tracebackhide__ = True
    if not report:
        error = AssertionError(str(report))
        vars(error)["report"] = report
        raise error


def assert_hessian(
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
) -> None:
    """Raise an AssertionError that shows the report, unless the Hessian is right.

    Parameters
    ----------
    f, hess, params, grad, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_hessian`.

    Raises
    ------
    AssertionError
        The verdict is WRONG, or CANNOT_TELL; its attribute `report` is the `Report`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_hessian(lambda x: (x**3).sum(), lambda x: np.diag(6 * x), np.ones(2))
    """
    __tracebackhide__ = True
    report = check_hessian(
        f,
        hess,
        params,
        grad,
        budget=budget,
        rtol=rtol,
        atol=atol,
        bounds=bounds,
        where=where,
        workers=workers,
        progress=progress,
        seed=seed,
    )
    _raise_unless_right(report)


def assert_hvp(
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
) -> None:
    """Raise an AssertionError that shows the report, unless the product is right.

    Parameters
    ----------
    f, hvp, params, grad, budget, rtol, atol, bounds, where, workers, progress, seed
        As for `check_hvp`.

    Raises
    ------
    AssertionError
        The verdict is WRONG, or CANNOT_TELL; its attribute `report` is the `Report`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> fg.testing.assert_hvp(lambda x: (x**3).sum(), lambda x, v: 6 * x * v, np.ones(2))
    """
    __tracebackhide__ = True
    report = check_hvp(
        f,
        hvp,
        params,
        grad,
        budget=budget,
        rtol=rtol,
        atol=atol,
        bounds=bounds,
        where=where,
        workers=workers,
        progress=progress,
        seed=seed,
    )
    _raise_unless_right(report)
