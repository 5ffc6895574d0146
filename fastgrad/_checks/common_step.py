"""One first step for all outputs of a vector-valued `f`, or as few as do for them.

Each output has a step of its own that is best for it, by its noise and by how much it varies. Its
bounds are hardly wider at others, and evaluations at one step serve every output that it suits.
"""

from __future__ import annotations

import numpy as np

from fastgrad._checks.error_model import MATERIAL, OWN_TRUNCATION
from fastgrad._derivatives.noise import SIGMAS

__all__ = ["common_steps"]

# A step suits if it is at most this many times larger or smaller than the best one: then the bound
# for noise is twice as wide, or what is granted to truncation four times as much.
_NEAR = 2.0
# Noise at the step r that is best is r^3 / 3 of what an output varies by, over its length.
_NOISE = SIGMAS / 3


def common_steps(best: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Steps, each with the numbers of the outputs that it serves; `best` are those of the outputs.

    Beside those near the best one, those suit at which neither noise nor truncation make errors
    that matter at all.
    """
    low = np.minimum(best / _NEAR, _NOISE * best**3 / MATERIAL)
    high = np.maximum(best * _NEAR, np.sqrt(MATERIAL / OWN_TRUNCATION))
    order = np.argsort(high, kind="stable")
    found = []
    while len(order):
        # As few points as possible that hit every interval: the first end, and those it lies in.
        hit = low[order] <= high[order[0]]
        mine, order = order[hit], order[~hit]
        step = np.clip(np.median(best[mine]), low[mine].max(), high[mine].min())
        found.append((float(step), np.sort(mine)))
    return found
