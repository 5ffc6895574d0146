"""Where to look next, by the name of a cause."""

from __future__ import annotations

__all__ = ["advice"]

_PENALTY = (
    "compare the penalty in the cost with the one in the gradient: its coefficient, its factor "
    "1/2, the arrays it covers"
)
_ADVICE = {
    "FACTOR": "look for a mean taken for a sum, a lost 1/m, or the 2 of a square",
    "SIGN": "look for a difference taken the wrong way round, or a minus too many",
    "ZERO": "look for a term the backward pass skips, or an array that is made and never filled",
    "TRANSPOSED": "look at the order of the factors in the matrix product that makes it",
    "SHIFTED": "look for an index that is off by one, or a roll in the wrong direction",
    "REVERSED": "look for a flipped axis, as between convolution and correlation",
    "PERMUTED": "look for rows or columns ordered differently in the cost and in the gradient",
    "SWAPPED": "look at the order in which the gradients are returned",
    "MISSING_L2": _PENALTY,
    "MISSING_L1": _PENALTY,
    "BROADCAST": "look at the axis of the sum over samples",
    "SLICE": "look for a loop or a slice that starts too late or ends too early",
    "MASKED": "look at the condition of the mask, clipping or activation in the backward pass",
    "OFFSET": "look for a term linear in the parameter that only one of the two functions has",
    "SINGLE": "look at how just these entries are indexed: written twice, or overwritten",
    "KINK": "return a value between the one-sided derivatives, or check at another point",
    "CONJUGATE": "return df/dRe + 1j * df/dIm, or conjugate the gradient before the check",
    "PRECISION": "compute the gradient in float64, or look for a cast on the way",
    "STALE": "compute the gradient from the parameters it is given, not from kept ones",
    "LOG_PARAMETER": "look at the chain rule between the parameter and its logarithm",
    "SYMMETRIC": "decide whether the two triangles are one set of parameters or two",
}
_OTHERWISE = (
    "switch terms of the cost off, one after the other, until the gradient is right; "
    "report.plot() shows where it is wrong"
)


def advice(kind: str) -> str:
    """What to do about a cause of this name."""
    return _ADVICE.get(kind, _OTHERWISE)
