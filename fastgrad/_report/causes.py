"""Kinds of bugs, each with its meaning and the advice that goes with it."""

# Without `annotations` from `__future__`: public classes say that they live in `fastgrad` (see its
# `__init__.py`), and there `typing.get_type_hints` would look up `Any` and find nothing.

from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Cause", "Finding"]

_PENALTY = (
    "compare the penalty in the cost with the one in the gradient: its coefficient, its factor "
    "1/2, the arrays it covers"
)


class Cause(Enum):
    """Kinds of bugs that explain a wrong gradient; the value says what the kind means.

    Attributes
    ----------
    value : str
        What is wrong with the gradient.
    advice : str
        Where to look for the bug, or what to do about it.

    Examples
    --------
    >>> import fastgrad as fg
    >>> print(fg.Cause.TRANSPOSED.value)
    the transpose of the right gradient
    >>> print(fg.Cause.TRANSPOSED.advice)
    look at the order of the factors in the matrix product that makes it
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    # The members are pairs, and `value` is their first: declared for those who read types.
    _value_: str
    advice: str

    def __new__(cls, meaning: str, advice: str) -> "Cause":
        # The meaning alone is the value: `Cause(meaning)` finds the member, and pickles hold it.
        member = object.__new__(cls)
        member._value_ = meaning
        member.advice = advice
        return member

    FACTOR = (
        "a constant factor too large or too small",
        "look for a mean taken for a sum, a lost 1/m, or the 2 of a square",
    )
    SIGN = (
        "the wrong sign",
        "look for a difference taken the wrong way round, or a minus too many",
    )
    ZERO = (
        "zero: never computed",
        "look for a term that is left out, an array that is made and never filled, or = where "
        "+= is meant",
    )
    TRANSPOSED = (
        "the transpose of the right gradient",
        "look at the order of the factors in the matrix product that makes it",
    )
    SHIFTED = (
        "shifted against the right gradient",
        "look for an index that is off by one, or a roll in the wrong direction",
    )
    REVERSED = (
        "the right gradient in reverse",
        "look for a flipped axis, as between convolution and correlation",
    )
    PERMUTED = (
        "the right gradient with rows or columns in another order",
        "look for rows or columns ordered differently in the cost and in the gradient",
    )
    SWAPPED = (
        "the gradient of another parameter",
        "look at the order in which the gradients are returned",
    )
    MISSING_L2 = ("a multiple of the parameter is missing or too much", _PENALTY)
    MISSING_L1 = ("a multiple of the parameter's sign is missing or too much", _PENALTY)
    BROADCAST = (
        "one value broadcast over an axis, or summed over the wrong one",
        "look at the axis of the sum over samples",
    )
    SLICE = (
        "wrong in one row, column or slice",
        "look for a loop or a slice that starts too late or ends too early",
    )
    MASKED = (
        "wrong only where the parameter passes a test",
        "look at the condition of the mask, clipping or activation where the gradient is computed",
    )
    OFFSET = (
        "a constant added",
        "look for a term linear in the parameter that only one of the two functions has",
    )
    SINGLE = (
        "isolated entries",
        "look at how just these entries are indexed: written twice, or overwritten",
    )
    KINK = (
        "a kink of the function",
        "return a value between the one-sided derivatives, or check at another point",
    )
    CONJUGATE = (
        "another convention for complex parameters",
        "return df/dRe + 1j * df/dIm, or conjugate the gradient before the check",
    )
    NOT_CONJUGATED = (
        "the transpose of a complex map, not conjugated",
        "conjugate the coefficients: the adjoint is the conjugate transpose",
    )
    INVERSE = (
        "the inverse, where the transpose is meant",
        "multiply by the transpose; the two are one only where all lengths are kept, as by a "
        "rotation",
    )
    NOT_LINEAR = (
        "a product that is not linear in its vector",
        "look for a square, a clipping or a constant: the product is a matrix times the vector",
    )
    APPROXIMATION = (
        "an approximation of the Hessian",
        "add the second derivatives of the residuals, each times its residual",
    )
    PRECISION = (
        "computed in too short a format",
        "compute the gradient in float64, or look for a cast on the way",
    )
    STALE = (
        "right for other parameters",
        "compute the gradient from the parameters it is given, not from kept ones",
    )
    LOG_PARAMETER = (
        "the derivative with respect to the parameter's logarithm",
        "look at the chain rule between the parameter and its logarithm",
    )
    SYMMETRIC = (
        "the argument treated as symmetric",
        "decide whether the two triangles are one set of parameters or two",
    )
    ASYMMETRIC = (
        "a Hessian that is not symmetric",
        "fill both triangles from the same second derivatives; each pair of entries is one number",
    )
    CHAIN_RULE = (
        "the chain rule of a reparametrization is missing or too much",
        "look at how the parameter is constrained: by a softplus, a sigmoid, a square",
    )
    NORMALIZATION = (
        "the chain rule of a normalization, or a projection, is missing or too much",
        "look at where the parameter is divided by its norm, and whether both functions do that",
    )
    ABSOLUTE = (
        "the absolute value, or the positive part, of the gradient",
        "look for an absolute value, a square or a clipping where the gradient is computed",
    )
    NEARBY = (
        "the gradient of a nearby function",
        "look for rounded constants, a tolerance inside the cost, or an approximation in one of "
        "the two; rtol= allows for it",
    )
    UNKNOWN = (
        "no simple relation to the right gradient",
        "switch terms of the cost off, one after the other, until the gradient is right; "
        "report.plot() shows where it is wrong",
    )


@dataclass(frozen=True)
class Finding:
    """A likely bug: how the gradient differs from the right one, and where.

    Attributes
    ----------
    kind : Cause
        The relation to the right gradient, as a factor; where none was found, what is known of
        the place.
    leaf : str
        Path of the parameter array; of several with one bug, of that with most wrong entries.
    place : str
        Where it is so, as ``W``, ``W[5:11]`` or ``W where the parameter is above 0``.
    sentence : str
        What was found, in words.
    evidence : dict
        The numbers behind the sentence: a factor, a shift, a count of entries.
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

    kind: Cause
    leaf: str
    place: str
    sentence: str
    evidence: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickles of 0.1 know no place: what they say is said of the leaf.
        vars(self).update({"place": state.get("leaf", "")} | state)
