"""Whether `f` is as steep as claimed, at scales below those of the steps that say it is not.

What was measured as noise may be what a steep `f` does between two points, or what it does with
other entries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from fastgrad._checks.differences import Differences
from fastgrad._checks.error_model import CONDITION, ErrorModel
from fastgrad._derivatives.extrapolation import Estimate
from fastgrad._derivatives.noise import COARSE_ROUNDINGS
from fastgrad._derivatives.step_table import RATIO

__all__ = ["HOLDS", "ROUNDING", "agree_at_small", "hidden", "out_of_reach", "spread", "too_fast"]

# A move of `f` up to this many times its noise may be rounding, and is no jump.
ROUNDING = 16.0
# One-sided quotients hold to a derivative as long as they are off by less than this share of the
# error that it shows.
HOLDS = 0.25
# Wrong entries of a leaf of which larger steps are looked at: each takes six evaluations, and what
# `f` does there it does with most entries.
_LOOKED_AT = 4
# A claim of which this share of the noise would be made between two points at which it was measured
# may be what was measured: a sine, say, that is faster than these are apart.
_VISIBLE = 0.1
# ... unless it would be this many times as much: nothing varies as little, and is as steep.
_FASTEST = 1e9
# Steps at which a claim is looked for that would move `f`, at a scale below that of the first step,
# by as much as is seen as noise there: over the scale on which it would.
_OWN_SCALE = (0.1, 0.01, 0.001)
# Steps beside one at which such a claim holds, over it, at which it must hold as well: one quotient
# of noise is within a quarter of a claim in 1 of 36 cases, and all three in 1 of 50,000. Near it,
# so that what `f` does there has not changed.
_BESIDE = (0.73, 1.37)
# A derivative that is known no better than to this share of its error may have steps above the
# scale of something, though noise is that of rounding: where what is flat between fast waves was
# called wrong, its bound was a 7th of the error and an 11th.
_UNSURE = 0.02
# Share of an entry by which a pole at zero lets quotients hold, a quarter, and a step further down:
# the steps at which claims are looked for are that far apart.
_SIDE = 0.25 / RATIO
# An `f` that is as steep amplifies the roundings on its way as it does moves of the parameter. In
# eighty steps of a chaotic map these are some ten spacings, and over this many a quotient is right
# to a tenth.
_ROUNDED_WITH = 256.0
# Least step in spacings of the parameter, with which a quotient is right to an eighth.
_LEAST_SPACINGS = 4.0
# From this many on quotients show how far the derivative changes over one: noise that changes with
# the last bit would do so by a sixteenth of its quotients, and passes for a claim in 1 of 10,000.
_SMOOTH_SPACINGS = 64.0
# Of what quotients change from the second of three small steps to the least, when they do as
# truncation does, a 52nd is left below it, and the derivative changes by as much three times over
# the spacings to which a parameter is known.
_LEFT = 4.0 / 52.0


def too_fast(
    error: np.ndarray,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """The positions of entries of which `f` is as steep as claimed, and faster than the steps.

    It is asked where noise is coarse: less is no part of a steep `f`.
    """
    # A claim of nothing would make no noise.
    size, length = np.fmin(error, np.abs(analytic)), differences.lengths(entries)
    fast = np.flatnonzero(_may_be_fast(size, length, model))
    if not len(fast):
        return fast
    some = spread(fast, error)
    rounding = _rounding_beside(model)
    noise = np.full(len(some), model.noise)
    near = agree_at_small(differences, entries[some], analytic[some], size[some], noise, rounding)
    # Faster than the parameters can be moved, or than `f` is computed.
    near |= _OWN_SCALE[0] * noise < _ROUNDED_WITH * model.spacing * length[some] * size[some]
    return fast if near.all() else some[near]


def hidden(
    found: Estimate,
    error: np.ndarray,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """The positions of entries whose claims hold at much smaller steps than that which decided.

    What was measured as noise may be that of other entries, beside a pole say, and has kept the
    steps of these above the scale on which they change; or it is what `f` does farther away, which
    is flat where a wave of it is at its top. So all steps are looked at by which the type of the
    entries still tells a quotient.
    """
    size = np.fmin(error, np.abs(analytic))
    told = np.isfinite(size) & np.isfinite(found.step) & (found.step > 0)
    if model.noise <= COARSE_ROUNDINGS * model.unit * abs(model.base):
        told &= found.bound > _UNSURE * error
    some = told.nonzero()[0]
    if not len(some):
        return np.empty(0, np.intp)
    some = spread(some, error)
    rounding, known = _rounding_beside(model), (model.base, model.spacing)
    claims = _Claims(differences, entries[some], analytic[some], size[some], rounding, *known)
    may: np.ndarray = some[claims.may_hold_below(found.step[some])]
    return may


def out_of_reach(
    found: Estimate,
    analytic: np.ndarray,
    differences: Differences,
    entries: np.ndarray,
    model: ErrorModel,
) -> np.ndarray:
    """The positions of entries that are too near zero for their claims to show.

    By moves that stay on their side of zero the claims would change `f` by no more than its
    rounding, or by too little for `hidden`. The moves that decided go beyond zero, where there may
    be a pole, and what they show is that `f` is flat there.
    """
    some: np.ndarray = (np.abs(found.value) <= found.bound).nonzero()[0]
    if not len(some):
        return some
    size = np.abs(differences.parameters(entries[some]))
    lost = np.abs(analytic[some]) * _SIDE * size <= ROUNDING * _rounding_beside(model)
    # What is zero but for the rounding of what it was computed from has no scale of its own.
    hidden_there: np.ndarray = some[lost & (model.spacing < size) & (size < found.step[some])]
    return hidden_there


def _rounding_beside(model: ErrorModel) -> float:
    """That of the values near by, which may be far from that at the parameters."""
    return model.unit * (abs(model.base) + model.noise)


def _may_be_fast(size: np.ndarray, length: np.ndarray, model: ErrorModel) -> np.ndarray:
    """Whether what was measured as noise could be what an `f` does that is as steep as claimed."""
    claimed = size * length * model.sampled
    found: np.ndarray = (claimed >= _VISIBLE * model.noise) & (claimed <= _FASTEST * model.noise)
    return found


def agree_at_small(
    differences: Differences,
    entries: np.ndarray,
    analytic: np.ndarray,
    size: np.ndarray,
    noise: np.ndarray,
    rounding: float,
) -> np.ndarray:
    """Whether claims hold at the small scale on which a slope of this size makes such noise.

    `rounding` is that of the values of `f`, which hides what happens at still smaller scales.
    """
    claims = _Claims(differences, entries, analytic, size, rounding)
    held, _ = claims.hold_at(np.multiply.outer(_OWN_SCALE, noise / size))
    agrees: np.ndarray = np.logical_or.reduce(held)
    return agrees


@dataclass(frozen=True)
class _Claims:
    """What is claimed of entries of which larger steps show something else."""

    differences: Differences
    entries: np.ndarray
    analytic: np.ndarray
    size: np.ndarray
    rounding: float  # of the values of `f`
    base: float = 0.0
    spacing: float = 0.0  # of the parameters; 0 where their rounding grants nothing

    def may_hold_below(self, steps: np.ndarray) -> np.ndarray:
        """Whether claims hold at a smaller step, or no step is small enough to tell."""
        least = _LEAST_SPACINGS * self.spacing * self.differences.lengths(self.entries)
        levels = math.ceil(np.log(steps / least).max() / math.log(RATIO))
        below = np.multiply.outer(RATIO ** np.arange(max(levels, 0)), least)
        held, slopes = self.hold_at(np.where(below < steps, below, np.nan))
        if len(slopes) < 3:
            return np.asarray(held.any(axis=0))
        return np.asarray(held.any(axis=0) | self._go_on_to(slopes[:3]))

    def _go_on_to(self, slopes: np.ndarray) -> np.ndarray:
        """Whether quotients at the three least steps have not come to their end: see `_LEFT`."""
        change = np.abs(np.diff(slopes, axis=0))
        left = HOLDS * self.size + _LEFT * change[0]
        going_on = RATIO * change[0] <= change[1]
        return np.asarray(going_on & (np.abs(slopes[0] - self.analytic) <= left))

    def hold_at(self, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whether claims hold at steps of shape (levels, entries), and at some beside each.

        Returns the quotients as well: NaN where `f` would not move beyond its rounding.
        """
        held, slopes = np.zeros(steps.shape, bool), np.full(steps.shape, np.nan)
        # Not where nothing is claimed, nor infinity.
        tells = (steps > 0) & (steps < np.inf) & (self.size * steps > ROUNDING * self.rounding)
        level, some = tells.nonzero()
        for times in (1.0, *_BESIDE):
            if not len(some):
                break
            found, blur = self._quotients(some, times * steps[level, some])
            if times == 1.0:
                slopes[level, some] = found
            near = np.abs(found - self.analytic[some]) <= HOLDS * self.size[some] + blur
            level, some = level[near], some[near]
        held[level, some] = True
        return held, slopes

    def _quotients(self, some: np.ndarray, steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Central quotients, and how far the derivative changes as the parameter is rounded."""
        found = self.differences.at(self.entries[some], steps)
        slopes = (found.values[:, 0] - found.values[:, 1]) / (found.moved[:, 0] - found.moved[:, 1])
        ahead, behind = ((found.values - self.base) / found.moved).T
        spacing = self.spacing * self.differences.lengths(self.entries[some])
        blur = CONDITION * spacing / steps * np.abs(ahead - behind)
        return slopes, np.where(steps >= _SMOOTH_SPACINGS * spacing, blur, 0.0)


def spread(columns: np.ndarray, error: np.ndarray, most: int = _LOOKED_AT) -> np.ndarray:
    """A few of them, with the largest error, the least, and some between."""
    if len(columns) < 2:  # the usual case
        return columns
    order: np.ndarray = columns[(-error[columns]).argsort(kind="stable")]
    if len(order) <= most:
        return order
    some = np.unique(np.linspace(0, len(order) - 1, most).astype(np.intp))
    picked: np.ndarray = order[some]
    return picked
