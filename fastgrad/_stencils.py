"""Finite-difference stencils as values: offsets, exact weights and their error model.

A first derivative is approximated by an affine combination of *difference quotients*::

    D = sum_j v_j * (f(x + a_j h) - f(x + b_j h)) / ((a_j - b_j) h),    sum_j v_j = 1

Each quotient is divided by the difference of the points as they are in floating point, so that
every stencil is exact for linear functions, whatever the step. The `v_j` extrapolate the quotients
to `h = 0`: they are the weights of Lagrange's formula at 0, in `h` for one-sided and in `h**2` for
central quotients, computed in exact rationals.
"""

# Without `annotations` from `__future__`, for the reason given in `_report/causes.py`.

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import factorial, prod
from typing import Any, ClassVar, TypeAlias

import numpy as np

from fastgrad._dtypes import EPS, FLOATS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._steps import GROWTH, INNER, INNER_PROMISES, OWN_SCALE, PROMISES, ROUNDING, Steps

__all__ = [
    "ComplexStep",
    "Stencil",
    "Steps",
    "backward",
    "central",
    "complex_step",
    "forward",
    "resolve",
]

MAX_QUOTIENTS = 4  # what the compiled kernel has room for
# How far the sum of weights that are floats may be from one, relative to the sum of their sizes:
# half a spacing for each as it is rounded, and half a spacing for each of three additions (Higham,
# Accuracy and Stability of Numerical Algorithms, 2nd ed., section 4.2), and twice that.
_ROUNDED = 4 * 2.0**-52
Quotient: TypeAlias = tuple[int, int, Fraction]


@dataclass(frozen=True)
class Stencil:
    """A finite-difference method for a first derivative.

    Build one with `forward`, `backward` or `central`, and read its attributes.

    Attributes
    ----------
    name : str
        ``"forward"``, ``"backward"`` or ``"central"``.
    order : int
        Order of accuracy: the truncation error is ``truncation * h**order * f^(order+1)(x)``, to
        leading order in the step `h`.
    quotients : tuple of (int, int, Fraction)
        The quotients: offset of the upper and of the lower point, in steps, and the weight.
    uses_base : bool
        Whether the stencil uses the value at the unperturbed point.

    Examples
    --------
    >>> import fastgrad as fg
    >>> print(fg.central(order=4))
    central(order=4): f(x-2h) * 1/12, f(x-h) * -2/3, f(x+h) * 2/3, f(x+2h) * -1/12; error O(h^4)
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    nth: ClassVar[int] = 1  # of the derivative
    name: str
    order: int
    quotients: tuple[Quotient, ...]
    # One row for each quotient, as the kernel reads it: upper offset, lower offset, weight.
    table: np.ndarray = field(init=False, repr=False, compare=False)
    # Offsets of the points, in steps: the upper and the lower one of each quotient.
    offsets: np.ndarray = field(init=False, repr=False, compare=False)
    uses_base: bool = field(init=False, repr=False, compare=False)
    # Weights of the same quotients without the last one, or None where there is but one, or where
    # the quotients are not those of `central`, `forward` or `backward`.
    inner: np.ndarray | None = field(init=False, repr=False, compare=False)
    _automatic: dict[str, Steps] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 1 <= len(self.quotients) <= MAX_QUOTIENTS:
            raise InputValueError(
                f"`quotients` must be 1 to {MAX_QUOTIENTS} triples; got {len(self.quotients)}"
            )
        _check_quotients(self.quotients)
        # Floats are taken as weights too: a Fraction holds them exactly.
        exact = tuple((a, b, Fraction(v)) for a, b, v in self.quotients)
        object.__setattr__(self, "quotients", exact)
        rows = [(float(a), float(b), float(v)) for a, b, v in self.quotients]
        table = np.array(rows, dtype=np.float64)
        table.flags.writeable = False
        object.__setattr__(self, "table", table)
        offsets = table[:, :2].ravel()
        offsets.flags.writeable = False
        object.__setattr__(self, "offsets", offsets)
        # Steps for every type, made once: a gradient of a small array has no time for powers.
        object.__setattr__(self, "inner", _inner(exact))
        object.__setattr__(self, "_automatic", {char: self._steps(EPS[char]) for char in FLOATS})
        object.__setattr__(self, "uses_base", bool((table[:, :2] == 0).any()))

    def _steps(self, eps: float) -> Steps:
        """Automatic steps in a type with this spacing, and what makes them doubtful.

        All goes by a function like ``log`` or ``1 / x``, whose derivatives grow by ``k / x`` from
        one to the next: truncation is ``truncation * order! * (h / x)**order`` of its derivative.
        """
        relative = eps ** (1.0 / (self.order + 1))
        promise = eps / relative
        agreed = max(OWN_SCALE, PROMISES * promise)
        if self.inner is None:
            ratio = (self.truncation * factorial(self.order) / agreed) ** (1.0 / self.order)
            small = ratio * relative
            return Steps(relative=relative, small=small, large=1 / relative, agreed=agreed)
        most = max(INNER, INNER_PROMISES * promise)
        apart = (most / GROWTH) ** (self.inner_order / self.order)
        noise = ROUNDING * eps * self.amplification
        return Steps(relative=relative, large=1 / relative, agreed=agreed, apart=apart, noise=noise)

    @property
    def inner_order(self) -> int:
        """Order of the difference without the last quotient, of a stencil that has an inner one."""
        return self.order * (len(self.quotients) - 1) // len(self.quotients)

    def __getstate__(self) -> dict[str, Any]:
        # The rest follows from these.
        return {name: getattr(self, name) for name in ("name", "order", "quotients")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name in ("name", "order", "quotients"):
            object.__setattr__(self, name, state[name])
        self.__post_init__()

    @property
    def weights(self) -> dict[int, Fraction]:
        """Weight of ``f(x + k h)`` for each offset `k`; the sum is divided by `h`."""
        weights: dict[int, Fraction] = {}
        for upper, lower, v in self.quotients:
            for offset, sign in ((upper, 1), (lower, -1)):
                weights[offset] = weights.get(offset, Fraction(0)) + sign * v / (upper - lower)
        return dict(sorted(weights.items()))

    @cached_property
    def evaluations(self) -> int:
        """Evaluations of `f` for each entry, without the one at the unperturbed point."""
        return sum((upper != 0) + (lower != 0) for upper, lower, _ in self.quotients)

    @property
    def truncation(self) -> float:
        """Factor of ``h**order * f^(order+1)(x)`` in the truncation error."""
        power = self.order + 1
        moment = sum(w * Fraction(k) ** power for k, w in self.weights.items())
        return abs(float(moment / factorial(power)))

    @property
    def amplification(self) -> float:
        """Sum of the absolute weights: the noise of `f` is amplified by this, divided by `h`."""
        return float(sum(abs(w) for w in self.weights.values()))

    def relative_step(self, dtype: np.dtype) -> float:
        """Step, relative to ``max(1, |x|)``, that balances truncation and rounding.

        This is ``eps**(1 / (order + 1))`` with the machine epsilon `eps` of the type. It minimizes
        ``h**order + eps / h``, up to a factor near 1 (Nocedal & Wright, Numerical Optimization,
        2nd ed., section 8.1).
        """
        return self._automatic[dtype.char].relative

    def steps(self, dtype: np.dtype) -> "Steps":
        """The automatic steps of entries of this type: see `relative_step`."""
        return self._automatic[dtype.char]

    def __repr__(self) -> str:
        return f"{self.name}(order={self.order})"

    def __str__(self) -> str:
        points = ", ".join(f"f({_point(k)}) * {w}" for k, w in self.weights.items())
        return f"{self!r}: {points}; error O(h^{self.order})"


def _check_quotients(quotients: tuple[Quotient, ...]) -> None:
    """Refuse what is no first derivative: two equal points, or weights whose sum is not one."""
    for upper, lower, _ in quotients:
        if upper == lower:
            raise InputValueError(
                f"`quotients` must each have two different offsets; got {upper} twice"
            )
    total: Any = sum(weight for _, _, weight in quotients)  # floats, if a user's weights are
    # As floats, thirds and the like do not sum to one exactly.
    if not abs(total - 1) <= _ROUNDED * sum(abs(weight) for _, _, weight in quotients):
        weights = " + ".join(str(weight) for _, _, weight in quotients)
        raise InputValueError(
            f"the weights of `quotients` must sum to 1; got {weights} = {total}, a factor of "
            "every derivative: divide the weights by their sum"
        )


def _point(k: int) -> str:
    """``x+2h`` for 2, ``x-h`` for -1."""
    return "x" if k == 0 else f"x{k:+d}h".replace("1h", "h")


def forward(order: int = 1) -> Stencil:
    """Forward difference: `order` evaluations for each entry and one more, error O(h^order).

    Parameters
    ----------
    order : {1, 2, 3, 4}, default 1
        Order of accuracy.

    Returns
    -------
    Stencil

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.derivative(lambda t: t**3, 1.0, eps=0.01, method=fg.forward()).__round__(4)
    3.0301
    """
    return Stencil("forward", order, _one_sided("forward", order, +1))


def backward(order: int = 1) -> Stencil:
    """Backward difference: `order` evaluations for each entry and one more, error O(h^order).

    Parameters
    ----------
    order : {1, 2, 3, 4}, default 1
        Order of accuracy.

    Returns
    -------
    Stencil

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.derivative(lambda t: t**3, 1.0, eps=0.01, method=fg.backward()).__round__(4)
    2.9701
    """
    return Stencil("backward", order, _one_sided("backward", order, -1))


def central(order: int = 2) -> Stencil:
    """Central difference: `order` evaluations for each entry, error O(h^order).

    Parameters
    ----------
    order : {2, 4, 6, 8}, default 2
        Order of accuracy. A higher order pays where `f` is smooth, precise and cheap: it allows a
        larger step, and so loses fewer digits to rounding.

    Returns
    -------
    Stencil

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.derivative(lambda t: t**3, 1.0, eps=0.01, method=fg.central()).__round__(4)
    3.0001
    """
    _check_order("central", order, (2, 4, 6, 8))
    nodes = range(1, order // 2 + 1)
    weights = _at_zero([Fraction(k * k) for k in nodes])
    return Stencil("central", order, tuple((k, -k, v) for k, v in zip(nodes, weights, strict=True)))


def _one_sided(name: str, order: int, sign: int) -> tuple[Quotient, ...]:
    """Quotients of the points at 1 to `order` steps, to one side, with the one at 0."""
    _check_order(name, order, (1, 2, 3, 4))
    nodes = range(1, order + 1)
    weights = _at_zero([Fraction(k) for k in nodes])
    pairs = zip(nodes, weights, strict=True)
    return tuple((k, 0, v) if sign > 0 else (0, -k, v) for k, v in pairs)


def _at_zero(nodes: list[Fraction]) -> list[Fraction]:
    """Weights of the values at `nodes` in Lagrange's interpolation at 0."""
    return [prod((b / (b - a) for b in nodes if b != a), start=Fraction(1)) for a in nodes]


def _inner(quotients: tuple[Quotient, ...]) -> np.ndarray | None:
    """Weights of all quotients but the last, at the next lower order; None where there are none."""
    count = len(quotients)
    nodes = [Fraction(k) for k in range(1, count + 1)]
    central = all(q[:2] == (k, -k) for k, q in enumerate(quotients, 1))
    forward = all(q[:2] == (k, 0) for k, q in enumerate(quotients, 1))
    backward = all(q[:2] == (0, -k) for k, q in enumerate(quotients, 1))
    if count == 1 or not (central or forward or backward):
        return None
    if central:
        nodes = [node * node for node in nodes]
    exact = zip(quotients, _at_zero(nodes), strict=True)
    if not all(abs(q[2] - v) <= _ROUNDED * abs(v) for q, v in exact):
        return None
    weights = np.array([float(v) for v in _at_zero(nodes[:-1])])
    weights.flags.writeable = False
    return weights


@dataclass(frozen=True)
class ComplexStep:
    """The derivative from one evaluation at ``x + i h``, as `complex_step` makes it.

    Examples
    --------
    >>> import fastgrad as fg
    >>> fg.ComplexStep() == fg.complex_step()
    True
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    def __repr__(self) -> str:
        return "complex_step()"


def complex_step() -> ComplexStep:
    """Complex step: one evaluation for each entry, exact to rounding.

    The imaginary part of ``f(x + i h) / h`` is the derivative of an `f` that is real on the real
    numbers and complex-analytic, without the subtraction that costs differences half of their
    digits. So the step can be so small, 1e-100, that no truncation is left.

    `f` gets a complex copy of the parameters, and must compute with it as with real numbers: it
    must use NumPy's functions instead of those of `math`, and neither ``abs``, ``conj`` nor a
    buffer of real numbers. One that does not is found by a comparison with a central difference
    along a direction, three evaluations, and is refused.

    Returns
    -------
    ComplexStep

    Notes
    -----
    float64 becomes complex128. float32 and float16 become complex64, with a step of 1e-12; the
    derivatives are exact to the rounding of float32. A longdouble becomes a complex of two. See
    Squire and Trapp, "Using complex variables to estimate derivatives of real functions", SIAM
    Review 40 (1998).

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> slope = fg.derivative(np.log, 1e-6, method=fg.complex_step())
    >>> abs(slope / 1e6 - 1) < 1e-15
    True
    """
    return ComplexStep()


def _check_order(name: str, order: int, allowed: tuple[int, ...]) -> None:
    if isinstance(order, (bool, float)) or order not in allowed:
        choices = ", ".join(map(str, allowed))
        raise InputValueError(f"`order` of {name} must be one of {choices}; got {order!r}")


_SHORTHANDS: dict[str, Callable[[], Stencil]] = {
    "backward": backward,
    "central": central,
    "forward": forward,
}
_RESOLVED = {name: make() for name, make in _SHORTHANDS.items()}


def resolve(method: Stencil | str) -> Stencil:
    """The stencil that `method` names, or `method` itself if it is a stencil."""
    if isinstance(method, str) and method in _RESOLVED:
        return _RESOLVED[method]
    if isinstance(method, Stencil):
        return method
    names = ", ".join(map(repr, _RESOLVED))
    if isinstance(method, str):
        hint = ", which has no name: pass fg.complex_step()" if method == "complex_step" else ""
        raise InputValueError(f"`method` must be one of {names}; got {method!r}{hint}")
    if isinstance(method, ComplexStep):
        raise InputTypeError(
            "`method` must be a stencil such as fg.central(order=4) here; got fg.complex_step(), "
            "which is for fg.derivative, fg.gradient, fg.jacobian and fg.jvp"
        )
    raise InputTypeError(
        f"`method` must be a stencil such as fg.central(order=4), or one of {names}; got {method!r}"
    )
