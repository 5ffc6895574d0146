"""How far entries are moved, and what makes an automatic step doubtful."""

# Without `annotations` from `__future__`, for the reason given in `_report/causes.py`.

from math import inf
from typing import NamedTuple

import numpy as np

__all__ = ["GROWTH", "INNER", "INNER_PROMISES", "OWN_SCALE", "PROMISES", "ROUNDING", "Steps"]

# Truncation that an automatic step may bring where `f` changes on the scale of the entry itself,
# relative to the derivative: it makes "small beside its step" 1000 steps for a second-order central
# difference of float64.
OWN_SCALE = 3e-7
# In coarser types the promise of the step is itself larger, and this many times it may be brought:
# in float32 entries below 0.2 are small then, and not nearly all of them.
PROMISES = 10.0
# Truncation that a difference of higher order may have by its own evidence: a hundredth of what a
# second-order one has at best, u**(2/3) = 4e-11 in float64, rounded up by its rounding.
INNER = 1e-11
# And where the promise of its step is larger, this many times it: so a function whose scale is a
# third of the length by which steps are measured passes at order 4, and a seventh at order 2.
INNER_PROMISES = 100.0
# Truncation is this times ``gap**(order / inner_order)``, where the inner difference is off by the
# share `gap`: computed for functions like ``log`` and ``1 / x``, for which it is 7.2 at each order
# of central differences, and 2.8 of one-sided ones; it is less for ``exp`` and ``sin``.
GROWTH = 8.0
# Rounding errors of `f` in two values, in spacings of the type: a sum of a thousand terms has five
# in the mean (Higham, section 4.2), and twice that.
ROUNDING = 10.0


# Made for each request: a dataclass that is frozen takes four times as long.
class Steps(NamedTuple):
    """Steps of many entries: ``absolute + relative * max(1, |x|)``, or one given for each.

    Automatic ones can be doubted. An entry of a size below `small`, but 0, may be the scale on
    which `f` changes, and beyond `large` the step is longer than 1, and may be too long. A stencil
    with an inner one, of fewer points, is doubted if both differ by more than the share `apart` of
    the derivative, and `noise` times the largest value over the width; NaN then takes the place of
    the derivative.
    """

    absolute: float = 0.0
    relative: float = 0.0
    given: np.ndarray | None = None  # (n,) float64, contiguous
    small: float = 0.0
    large: float = inf
    agreed: float = 0.0  # the share of a derivative by which those at two steps may differ
    apart: float = 0.0
    noise: float = 0.0
    zeros: bool = False  # whether an entry that is 0 is small, too

    def part(self, start: int, stop: int) -> "Steps":
        """The steps of the entries from `start` to `stop`."""
        return self if self.given is None else Steps(given=self.given[start:stop])
