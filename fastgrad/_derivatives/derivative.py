"""Derivatives of functions of one real number: `derivative`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import numpy as np

from fastgrad._derivatives.complex_steps import elementwise_complex, refuse_options
from fastgrad._derivatives.doubt import Base, Doubts, doubtful, settled
from fastgrad._derivatives.elementwise import Elementwise
from fastgrad._derivatives.gradient import gradient
from fastgrad._derivatives.higher import Higher, check_nth, higher
from fastgrad._derivatives.known import known_number
from fastgrad._derivatives.pieces import Piece
from fastgrad._derivatives.steps import steps_of
from fastgrad._derivatives.within import pieces_within
from fastgrad._dtypes import is_extended
from fastgrad._errors import InputTypeError, InputValueError, is_nested
from fastgrad._evaluation.bounds import bounds_of
from fastgrad._evaluation.lenient import quiet
from fastgrad._evaluation.local import check_callable, is_plain_function, of_numbers
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Single
from fastgrad._leaf import Leaf
from fastgrad._returns import as_scalar
from fastgrad._stencils import ComplexStep, Stencil, Steps, resolve
from fastgrad._tree import as_params, describe, flatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["derivative"]

# Where `f` has no value at 0, values beside it are compared at three steps so far apart. They have
# no limit if more than half of a change is left in the next: of the logarithm all, and a third at
# most where there is a derivative. Less than this share of a value is rounding, which makes 1e-3 of
# ``(1 - cos(t)) / t**2``.
_CLOSER, _LASTS, _MATTERS = 3.0, 0.5, 1e-2


def derivative(
    f: Callable[[Any], Any],
    x: Any,
    *,
    n: int = 1,
    method: Stencil | ComplexStep | str = "central",
    eps: Any = None,
    rel_eps: Any = None,
    f0: Any = None,
    bounds: Any = None,
    workers: Any = None,
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
    f0 : float, or array of the shape of `x`, optional
        The value of `f` at `x`, where it is known: one evaluation less where `method` uses it. It
        is not verified.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, bounds included: numbers, or arrays of the shape of `x`; see
        `gradient`. Where `method` does not fit, a one-sided difference points inward.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f` at one point `x`; see `gradient`. An array of points takes one
        call of `f` for each step, in which `f` may use all cores by itself.

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
        ``x + eps == x``, both `eps` and `rel_eps` are given, `x` lies outside of `bounds`, or
        `workers` are given for an array of points.

    Warns
    -----
    StepWarning
        An automatic step is too large, and smaller ones do not agree either. So it is at a pole, as
        of ``1 / t`` at 0; of even order, as of ``1 / t**2``, it is told where values on both sides
        cancel to the last bit: at 0, and wherever else the derivative comes out as 0.

    See Also
    --------
    gradient : for a function of many numbers.

    Notes
    -----
    Weights are those of Lagrange's interpolation (Fornberg, "Generation of finite difference
    formulas on arbitrarily spaced grids", Mathematics of Computation 51, 1988), in exact rationals.
    Rounding leaves ``u**(order / (n + order))`` of an n-th derivative: eight digits of a second one
    and four of a sixth one of order 2, and more at higher orders. An array takes as many calls of
    `f` as one point does. An element in doubt makes them more; the others then stay at `x`. A point
    at 0, which does not say on which scale `f` changes beside it, is looked at by one smaller step
    too. Where `f` is not finite at 0 itself, or raises, it has a pole there if its values beside it
    have no limit, and else, as of ``sin(t) / t``, the derivative is that of the function with the
    gap closed. A finite value at 0 is believed, whatever lies beside it.

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
    how = {"eps": eps, "rel_eps": rel_eps, "f0": f0, "bounds": bounds, "workers": workers}
    if isinstance(x, np.ndarray) and x.ndim:
        return _of_array(f, _checked(x), nth, method, how)
    place = as_params(x, "x")
    if not isinstance(place, np.ndarray) or place.ndim or place.dtype.kind != "f":
        # Of most things their own text says more than their type, but for where they are.
        said = describe(x) if " at 0x" in repr(x) else repr(x)
        raise InputTypeError(
            f"`x` must be one real number, or an array of them; got {said} (use fg.gradient for a "
            "function of many numbers)"
        )
    plain = isinstance(x, (int, float)) and not isinstance(x, np.floating)
    convert: Any = np.ndarray.item if plain else itemgetter(())
    # `x` may be the user's own 0-d array.
    found = _of_point(f, convert, place.copy(), nth, method, how)
    return float(found) if plain else np.asarray(found)[()]


def _of_point(
    f: Callable[[Any], Any],
    convert: Callable[[np.ndarray], Any],
    x: np.ndarray,
    nth: int,
    method: Stencil | ComplexStep | str,
    how: dict[str, Any],
) -> Any:
    """The derivative at one point, a 0-d array."""
    if nth == 1:
        with _said_of_x():
            found = gradient(of_numbers(f, convert), x, method=method, **how)
        if (x and found) or not is_plain_function(f) or isinstance(method, ComplexStep):
            return found
        # At 0 an entry does not say how small a step has to be; and a derivative of 0 may be what
        # the values on both sides of a pole leave.
        return _looked_at(_of_number(f, convert), x, resolve(method), found, how)
    if how["workers"] is None or nth == 0 or isinstance(method, ComplexStep):
        return _of_array(_of_number(f, convert), x, nth, method, how)
    leaves = [Leaf("x", x)]
    limits = bounds_of(how["bounds"], x, leaves)
    run = evaluator(of_numbers(f, convert), x, leaves, workers=how["workers"], bounds=limits)
    try:
        with run:
            (found,) = _differences(run, higher(resolve(method), nth), how).astype(x.dtype)
            return found
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body


@contextmanager
def _said_of_x() -> Iterator[None]:
    """Errors about parameters, said of the one number that there is."""
    try:
        yield
    except (InputTypeError, InputValueError) as error:
        if not is_nested(error):
            error.args = (re.sub(r"\bparams\b", "x", str(error)),)
        raise


def _looked_at(
    f: Callable[[Any], Any], x: np.ndarray, stencil: Stencil, found: Any, how: dict[str, Any]
) -> Any:
    """The derivative after one look at a smaller step, where steps are automatic."""
    if how["eps"] is not None or how["rel_eps"] is not None or is_extended(x):
        return found
    run = Elementwise(f, x)
    own = stencil.steps(x.dtype)
    limits = bounds_of(how["bounds"], x, run.leaves)
    (piece,) = pieces_within(limits, 0, run.leaves[0], stencil, own)
    if piece.stencil is None:
        return found
    first, doubts = np.array([float(found)]), Doubts()
    better = _settled(run, piece, first, _known(run, stencil, how["f0"]), doubts)
    doubts.warn(run.leaves)
    return x.dtype.type(better[0])


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
    how: dict[str, Any],
) -> np.ndarray:
    """The derivatives at all points."""
    run = Elementwise(f, x)
    if isinstance(method, ComplexStep):
        refuse_options(**how)
        if nth != 1:
            raise InputValueError(
                f"fg.complex_step() is for first derivatives; got `n` = {nth}: take fg.central()"
            )
        found = elementwise_complex(f, run)
    elif nth == 0:
        _refuse_all(how)
        resolve(method)
        found = run.base()
    else:
        if how["workers"] is not None:
            raise InputValueError(
                "`workers` evaluate `f` at one point `x`, and an array of points takes one call of "
                "`f` for each step; leave them out, or differentiate at one point after the other"
            )
        stencil = resolve(method)
        found = _differences(run, stencil if nth == 1 else higher(stencil, nth), how)
    result = np.empty_like(x, subok=False)
    with np.errstate(over="ignore"):
        result[...] = found.reshape(x.shape)
    return result


def _refuse_all(how: dict[str, Any]) -> None:
    """Refuse what says how differences are taken, where none is."""
    if how["eps"] is not None or how["rel_eps"] is not None:
        raise InputValueError("`eps` and `rel_eps` do not go with `n` = 0, which takes no step")
    for name, value in how.items():
        if value is not None:
            raise InputValueError(
                f"`{name}` does not go with `n` = 0, the value of `f` at `x` itself; leave it out"
            )


def _differences(
    run: Elementwise | Metered, stencil: Stencil | Higher, how: dict[str, Any]
) -> np.ndarray:
    x: Leaf = run.leaves[0]
    given = [None if how[name] is None else {"x": how[name]} for name in ("eps", "rel_eps")]
    (own,) = steps_of({"x": x.array}, [x], stencil, *given)
    base, doubts = _known(run, stencil, how["f0"]), Doubts()
    derivatives = np.empty(x.array.size)
    for piece in pieces_within(bounds_of(how["bounds"], x.array, [x]), 0, x, stencil, own):
        piece = piece.exact() if own.agreed else piece
        found = piece.found(run, base.at(piece.entries) if piece.uses_base else np.nan)
        first = found.derivatives
        if own.agreed and piece.stencil is not None:
            first = doubtful(found, piece.stencil.steps(x.array.dtype))
            first = _settled(run, piece, first, base, doubts)
        derivatives[piece.entries] = first
    doubts.warn(run.leaves)
    return derivatives


def _settled(
    run: Elementwise | Metered, piece: Piece, first: np.ndarray, base: Base, doubts: Doubts
) -> np.ndarray:
    """The derivatives at automatic steps after a second look where they are in doubt."""
    assert piece.stencil is not None
    own = piece.stencil.steps(run.leaves[0].array.dtype)._replace(zeros=True)
    better = settled(run, piece, first, base, own)
    better.off[:] = np.fmax(better.off, _off_at_poles(run, piece, better.derivatives, base))
    doubts.note(piece, better)
    return better.derivatives


def _off_at_poles(
    run: Elementwise | Metered, piece: Piece, derivatives: np.ndarray, base: Base
) -> np.ndarray:
    """How far derivatives are off at poles, whose values on both sides cancel; 0 elsewhere.

    They do so at 0, and elsewhere where the moves are as long on both sides, which leaves 0.
    """
    off = np.zeros(len(derivatives))
    perhaps = (run.read(piece.leaf, piece.entries) == 0) | (derivatives == 0)
    at = np.flatnonzero(perhaps & np.isfinite(derivatives))
    at = at[~np.isfinite(base.size(piece.entries[at]))] if len(at) else at
    if not len(at):
        return off
    steps = piece.steps[at] / _CLOSER ** np.arange(3.0)[:, np.newaxis]
    requests = (Single(piece.leaf, piece.entries[at], Steps(given=h), (1,)) for h in steps)
    with np.errstate(all="ignore"):
        first, second, third = (run.single(each).values[:, 0] for each in requests)
        last = np.abs(third - second)
        lasts = last > np.fmax(_LASTS * np.abs(second - first), _MATTERS * np.abs(second))
        off[at] = np.where(lasts, np.fmin(last / steps[-1], np.finfo(float).max), 0.0)
    return off


class _Quiet(Base):
    """Values at the points, which only say how exact others are: NaN where `f` raises."""

    def at(self, entries: np.ndarray | None) -> Any:
        """The value, or the values of these entries."""
        try:
            with quiet():
                return super().at(entries)
        except Exception:
            self._value = np.full(self._run.leaves[0].array.size, np.nan)
            return super().at(entries)


def _known(run: Elementwise | Metered, stencil: Stencil | Higher, f0: Any) -> Base:
    """The values at the points, which are asked for where they are needed."""
    if f0 is None:
        return Base(run) if stencil.uses_base else _Quiet(run)
    x = run.leaves[0].array
    if not x.ndim:
        return Base(run, np.array([known_number(f0)], float))
    values = np.asarray(f0)
    if values.shape != x.shape or values.dtype.kind not in "iuf":
        raise InputValueError(
            f"`f0` must hold the real value of `f` at each point, in shape {x.shape}; got "
            f"{describe(f0)}"
        )
    return Base(run, values.ravel().astype(float))
