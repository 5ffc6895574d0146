"""Pictures about finite differences; `Report.plot` draws the result of a check.

Each function returns a matplotlib figure. It opens no window and does not touch pyplot. matplotlib
(``pip install "fastgrad[plot]"``) is imported when a function is called.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastgrad._derivatives.derivative import derivative as difference
from fastgrad._report.figure import BLACK, BLUE, GREEN, GREY, VERMILION, new_figure, tidy
from fastgrad._stencils import Stencil, resolve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["error_against_step"]

_COLORS = (VERMILION, BLUE, GREEN, BLACK)
_EPS = float(np.finfo(float).eps)


def error_against_step(
    f: Callable[[float], float],
    derivative: float,
    x: float,
    *,
    methods: Sequence[Stencil | str] = ("forward", "central"),
    steps: Sequence[float] | None = None,
) -> Figure:
    """Draw the error of finite differences against the step, both axes logarithmic.

    As the step shrinks, the truncation error falls with the slope of the method's order. Below
    some step the rounding error, about ``eps * abs(f(x)) / step``, is larger, and the error rises
    again.

    Parameters
    ----------
    f : callable
        ``f(t)`` of one real number.
    derivative : float
        The exact derivative of `f` at `x`.
    x : float
        The point at which to differentiate.
    methods : sequence of Stencil or str, default ("forward", "central")
        The methods to draw, one line each: `forward`, `backward` or `central` of any order, or
        their names.
    steps : sequence of float, optional
        The steps to take. By default 53 steps, four to a decade, from 1 down to 1e-13, times
        ``max(1, abs(x))``.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``figure.savefig("error.png")``; a notebook shows it.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.

    Examples
    --------
    >>> import fastgrad as fg
    >>> figure = fg.plots.error_against_step(lambda t: t**3, 3.0, 1.0)  # doctest: +SKIP
    >>> figure.savefig("lecture.png")  # doctest: +SKIP
    """
    figure = new_figure(6.4, 4.2, "fastgrad.plots")
    axes = figure.subplots()
    tidy(axes, f"Error of the difference quotient at {x:g}", "step", "error")
    axes.set(xscale="log", yscale="log")
    taken = np.logspace(0, -13, 53) * max(1.0, abs(x)) if steps is None else np.array(steps, float)
    floor = _EPS * abs(float(f(x))) / taken
    for method, color in zip(map(resolve, methods), _COLORS * len(methods), strict=False):
        numbers = [difference(f, x, eps=step, method=method) for step in taken]
        errors = np.abs(np.array(numbers, float) - derivative)
        _draw(axes, method, color, taken, errors, floor)
    axes.plot(taken, floor, ":", color=GREY, label="rounding: eps |f| / step")
    axes.legend(frameon=False, fontsize=9)
    return figure


def _draw(
    axes: Axes,
    method: Stencil,
    color: str,
    steps: np.ndarray,
    errors: np.ndarray,
    floor: np.ndarray,
) -> None:
    """Draw errors as dots on a line, and a straight line with the slope of the method's order."""
    shown = np.isfinite(errors) & (errors > 0)  # a logarithmic axis has no place for zero
    name = f"{method.name}, order {method.order}"
    axes.plot(steps[shown], errors[shown], ".-", color=color, markersize=5, lw=1, label=name)
    # Where the error is far above rounding it is truncation, and shows the slope.
    truncation = shown & (errors > 30 * floor)
    if truncation.sum() < 3:  # the method is exact for `f`: all that is left is rounding
        return
    share = float(np.median(errors[truncation] / steps[truncation] ** method.order))
    guide = share * steps**method.order
    low = guide > floor / 30
    axes.plot(steps[low], guide[low], "--", color=color, lw=0.8)
    at = int(np.flatnonzero(truncation)[truncation.sum() // 2])
    axes.annotate(
        f"slope {method.order}",
        (steps[at], guide[at]),
        (-6, 4),
        textcoords="offset points",
        ha="right",
        color=color,
    )
