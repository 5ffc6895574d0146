"""Derivatives of functions of one real number: `derivative`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastgrad._derivatives.complex_steps import elementwise_complex, refuse_options
from fastgrad._derivatives.doubt import Base, Doubts, doubtful, settled
from fastgrad._derivatives.elementwise import Elementwise
from fastgrad._derivatives.gradient import gradient
from fastgrad._derivatives.higher import Higher, check_nth, higher
from fastgrad._derivatives.pieces import Piece
from fastgrad._derivatives.steps import steps_of
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.local import check_callable, of_numbers
from fastgrad._leaf import Leaf
from fastgrad._returns import as_scalar
from fastgrad._stencils import ComplexStep, Stencil, resolve
from fastgrad._steps import Steps
from fastgrad._tree import as_params, flatten

__all__ = ["derivative"]


def derivative(
    f: Callable[[Any], Any],
    x: Any,
    *,
    n: int = 1,
    method: Stencil | ComplexStep | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
) -> Any:
    """Differentiate a function of one real number, at a point or at each point of an array.

    Parameters
    ----------
    f : callable
        ``f(t)`` takes a number of the type of `x` and returns a real number. Where `x` is an array,
        it takes an array of the same shape and type, and returns an array with its value at each
        point: it must be vectorized, as NumPy's functions are.
    x : float, NumPy floating scalar or array of floating type
        Where to differentiate. The derivative has its shape and type.
    n : int, default 1
        Which derivative, 0 to 6: ``n=2`` is the second one, and ``n=0`` the value of `f`.
    method : Stencil, ComplexStep or str, default "central"
        The method: ``fg.forward()``, ``fg.backward()``, ``fg.central(order=4)``, or its name
        alone; or ``fg.complex_step()``, for a first derivative of an `f` that takes complex
        numbers. A central difference costs no more than a forward one here, two evaluations, and is
        far more accurate. For ``n > 1`` it says on which side the points lie, and how many there
        are: ``n + order`` of them, or one less in the middle of a central difference.
    eps : float, or array of the shape of `x`, optional
        Absolute step. By default ``u**(1 / (n + order)) * max(1, |x|)`` with the machine epsilon
        `u` of the type of `x`, which balances truncation and rounding where `f` changes on the
        scale of this length. What it leaves in doubt gets a smaller one: see `gradient`.
    rel_eps : float, or array of the shape of `x`, optional
        Relative step: points lie ``rel_eps * |x|`` apart, and by the automatic step where `x` is 0.

    Returns
    -------
    float, NumPy floating scalar or array
        In an array of longdoubles differences are those of float64.

    Raises
    ------
    InputTypeError
        `x` is neither one real number nor an array of them, or `f` does not return what it should.
    InputValueError
        `n` is not one of 0 to 6, `eps` is not a positive number, or so small that
        ``x + eps == x``, or both `eps` and `rel_eps` are given.

    Warns
    -----
    StepWarning
        An automatic step is too large, and smaller ones do not agree either.

    See Also
    --------
    gradient : for a function of many numbers.

    Notes
    -----
    Weights are those of Lagrange's interpolation (Fornberg, "Generation of finite difference
    formulas on arbitrarily spaced grids", Mathematics of Computation 51, 1988), in exact rationals.
    Rounding leaves ``u**(order / (n + order))`` of an n-th derivative: eight digits of a second one
    and four of a sixth one of order 2, and more at higher orders. An array takes as many calls of
    `f` as one point does. An element in doubt makes them more; the others then stay at `x`.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> round(fg.derivative(lambda t: t**3, 1.0, eps=0.01), 10)
    3.0001
    >>> round(fg.derivative(lambda t: t**3, 1.0, eps=0.01, method="forward"), 10)
    3.0301
    >>> fg.derivative(np.sin, np.array([0.0, 1.0]), n=2, method=fg.central(4)).round(6)
    array([ 0.      , -0.841471])
    """
    check_callable(f, "f")
    nth = check_nth(n)
    if isinstance(x, np.ndarray) and x.ndim:
        return _of_array(f, _checked(x), nth, method, eps, rel_eps)
    place = as_params(x)
    if not isinstance(place, np.ndarray) or place.ndim or place.dtype.kind != "f":
        raise InputTypeError(
            f"`x` must be one real number, or an array of them; got {x!r} (use fg.gradient for a "
            "function of many numbers)"
        )
    plain = isinstance(x, (int, float)) and not isinstance(x, np.floating)
    convert: Any = np.ndarray.item if plain else lambda at: at[()]
    if nth == 1:
        # `x` may be the user's own 0-d array.
        start, options = place.copy(), {"method": method, "eps": eps, "rel_eps": rel_eps}
        found = gradient(of_numbers(f, convert), start, **options)
    else:
        found = _of_array(_of_number(f, convert), place, nth, method, eps, rel_eps)
    return float(found) if plain else found[()]


def _checked(x: np.ndarray) -> np.ndarray:
    """The points as an array of a floating type that is no matrix and has no mask."""
    leaf = flatten({"x": x})[0]
    if leaf.is_complex:
        raise InputTypeError(
            "`x` must hold real numbers; got complex ones (use fg.gradient for a real function of "
            "complex numbers)"
        )
    return leaf.array


def _of_number(f: Callable[[Any], Any], convert: Callable[[np.ndarray], Any]) -> Any:
    """`f`, a function of one number, as a vectorized function of 0-d arrays."""
    return lambda at: np.asarray(as_scalar(f(convert(at)), lambda _: "a point near `x`", 0))


def _of_array(
    f: Callable[[Any], Any],
    x: np.ndarray,
    nth: int,
    method: Stencil | ComplexStep | str,
    eps: Any,
    rel_eps: Any,
) -> np.ndarray:
    """The derivatives at all points."""
    run = Elementwise(f, x)
    if isinstance(method, ComplexStep):
        refuse_options(eps=eps, rel_eps=rel_eps)
        if nth != 1:
            raise InputValueError(
                f"fg.complex_step() is for first derivatives; got `n` = {nth}: take fg.central()"
            )
        found = elementwise_complex(f, run)
    elif nth == 0:
        if eps is not None or rel_eps is not None:
            raise InputValueError("`eps` and `rel_eps` do not go with `n` = 0, which takes no step")
        resolve(method)
        found = run.base()
    else:
        stencil = resolve(method)
        found = _differences(run, stencil if nth == 1 else higher(stencil, nth), eps, rel_eps)
    result = np.empty_like(x, subok=False)
    with np.errstate(over="ignore"):
        result[...] = found.reshape(x.shape)
    return result


def _differences(run: Elementwise, stencil: Stencil | Higher, eps: Any, rel_eps: Any) -> np.ndarray:
    x: Leaf = run.leaves[0]
    given = [None if each is None else {"x": each} for each in (eps, rel_eps)]
    (own,) = steps_of({"x": x.array}, [x], stencil, *given)
    entries = np.arange(x.array.size)
    piece = Piece(0, entries, stencil, _lengths(run, own), np.zeros(len(entries), bool))
    if own.agreed:
        piece = piece.exact()
    base = Base(run)
    found = piece.found(run, base.at(entries) if piece.uses_base else np.nan)
    if not own.agreed:
        return found.derivatives
    doubts = Doubts()
    better = settled(run, piece, doubtful(found, own), base, own)
    doubts.note(piece, better)
    doubts.warn(run.leaves)
    return better.derivatives


def _lengths(run: Elementwise, own: Steps) -> np.ndarray:
    if own.given is not None:
        return own.given
    return np.asarray(own.absolute + own.relative * run.scale(0))
