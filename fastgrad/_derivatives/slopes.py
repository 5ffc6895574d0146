"""Second derivatives from gradients: central differences of a function that returns them."""

from __future__ import annotations

import math

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives import noise
from fastgrad._derivatives.given import GradientFunction
from fastgrad._derivatives.positions import Positions, short
from fastgrad._derivatives.settling import TOLD, VARIES, Look, gaps, settled
from fastgrad._derivatives.sides import Sides, offsets_of, put_together, slope_weights
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Samples

__all__ = ["NEAR_ZERO", "Slopes"]

# A central difference at the step h is off by ``h**2 g'' / 6`` and by ``u g / h`` for a rounding u
# of the gradient g: the sum is least at ``h**3 = 3 u g / g''``.
_BALANCE = 3.0
# The largest first step over the length, and the least one in spacings of the entry's type: as for
# second differences.
_LARGEST, _SPACINGS = 0.1, 256.0
# Entries, but for 0, of fewer steps than this are looked at with smaller ones too: beyond it the
# truncation of a logarithm or a power is below 1e-5 of the derivative, ``1 / 300**2``.
NEAR_ZERO = 300.0
# Unit roundoff of float32 and float64.
_SINGLE, _DOUBLE = 2.0**-24, 2.0**-53
# Gradients held at once, as columns of this many numbers together, at most: 1 MiB for each side.
_HELD = 2**17
# Numbers of a gradient that tell how it is rounded: as many as a difference table has, and more.
_TELLING = 64
# Pairs of entries whose asymmetry is looked at again, at most; each takes four gradients.
_PAIRS = 3
# An asymmetry is told where it is this many times what the error bars of both entries explain: they
# are estimates themselves, from two steps.
_EXPLAINED = 4.0
# A gradient that changes by this share of itself along the first steps may have a jump there: one
# that varies on the scale of its entries changes by some 1e-5.
_CHANGED = 1e-2


class Slopes:
    """Differences of a gradient around one point, by entries and along directions."""

    def __init__(self, run: Metered, at: Positions, function: GradientFunction) -> None:
        self.run, self.at = run, at
        self.sides: Sides | None = None  # None: all entries move to both sides
        base = self.base = np.array(run.base(), np.float64)
        sizes = np.abs(base[np.isfinite(base)])
        largest = float(sizes.max(initial=0.0))
        told = np.sort(sizes[sizes > 0])[-_TELLING:]
        single = noise.is_single(noise.rounding_unit(told.tolist()))
        self.unit = max(_SINGLE if single else _DOUBLE, function.eps / 2)
        self.level = self.unit * largest

    def first_steps(self) -> np.ndarray:
        """The steps at which a gradient of the size and the scale of its parameters is best."""
        relative = min((_BALANCE * self.unit) ** (1 / 3), _LARGEST)
        least = _SPACINGS * self.at.spacings()
        steps = short(np.maximum(relative, least) * self.at.lengths())
        return steps if self.sides is None else self.sides.cut(steps)

    def stay(self, up: np.ndarray, down: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Move entries by no more than this, to one side where the other has too little room."""
        self.sides = Sides.of(self.first_steps() if steps is None else steps, up, down, 2)

    def look(self, positions: np.ndarray, steps: np.ndarray) -> Look:
        """Derivatives of the gradient by entries: see `settling.Looks`."""
        if self.sides is None:
            return self._look(steps, self.at.single(positions, steps))
        parts = []
        for side, mine in self.sides.groups(positions):
            found = self.at.single(positions[mine], steps[mine], offsets_of(side, 2))
            look = self._aside if side else self._look
            parts.append((mine, look(steps[mine], found)))
        return put_together(len(positions), parts)

    def look_along(self, v: np.ndarray, lengths: np.ndarray, side: int = 0) -> Look:
        """The derivative along `v` in units of its length, for one step."""
        offsets = offsets_of(side, 2)
        direction = self.at.along(v, float(lengths[0]))
        values = self.run.along(Along(direction, tuple(map(float, offsets)))).values
        found = Samples(np.array([offsets]) * lengths[0], np.array([values], np.float64))
        return self._aside(lengths, found) if side else self._look(lengths, found)

    def verify_along(self, look: Look, v: np.ndarray, side: int = 0) -> None:
        """Look along `v` once more, at half the step, where the gradient changes by much."""
        with np.errstate(all="ignore"):
            change = np.abs(look.estimate * np.ptp(look.moved))
        if not change.max(initial=0.0) > _CHANGED * np.abs(self.base).max(initial=0.0):
            return
        half = self.look_along(v, look.steps / 2, side)
        # Truncation shrinks with the step; what a jump of the gradient makes of it grows.
        if np.abs(half.estimate).max() > np.abs(look.estimate).max():
            self.warn_along(look, gaps(look.estimate, half.estimate), v)

    def warn_along(self, look: Look, error: np.ndarray, v: np.ndarray) -> None:
        """Say that the derivative along `v` is not known well, if that is to be told."""
        largest = float(np.abs(look.estimate).max(initial=0.0))
        length = float(self.at.reach(v, self.at.lengths())[0])
        varies = VARIES * float(np.abs(self.base).max(initial=0.0)) / length
        # NaN says it itself.
        if not np.isfinite(largest) or not float(error[0]) > TOLD * max(largest, varies):
            return
        off = float(error[0]) / largest if largest else math.inf
        _errors.warn(
            f"the derivative of the gradient along `v`, {largest:.3g} at its largest entry, may be "
            f"off by {min(off, 1.0):.0%} or more: `f` has a kink there, its gradient has a jump or "
            "is noisy, or it varies on a scale below any step that can be seen; pass a step as "
            "`eps`"
        )

    def _look(self, steps: np.ndarray, found: Samples) -> Look:
        with np.errstate(all="ignore"):
            width = found.moved[:, 0] - found.moved[:, 1]
            estimate = (found.values[:, 0] - found.values[:, 1]) / width[:, np.newaxis]
            bound = noise.SIGMAS * math.sqrt(2.0) * self.level / np.abs(width)
        # The values themselves are not needed any more, and they are large.
        return Look(steps, found.moved, np.empty((len(steps), 0)), estimate, bound)

    def _aside(self, steps: np.ndarray, found: Samples) -> Look:
        """Differences to one side: the slope at 0 of a parabola."""
        weights = slope_weights(found.moved)
        with np.errstate(all="ignore"):
            estimate = (weights[..., np.newaxis] * (found.values - self.base)).sum(axis=1)
            norm = np.sqrt((weights**2).sum(axis=1) + weights.sum(axis=1) ** 2)
        bound = noise.SIGMAS * norm * self.level
        return Look(steps, found.moved, np.empty((len(steps), 0)), estimate, bound)

    def jacobian(self, steps: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Derivatives of all numbers of the gradient by each entry, one row for each, and steps.

        Without steps, small entries are looked at more closely.
        """
        n = self.at.count
        used = self.first_steps() if steps is None else steps.copy()
        found = np.empty((n, n))
        rows = max(1, _HELD // max(n, 1))
        for start in range(0, n, rows):
            mine = np.arange(start, min(start + rows, n))
            look = self.look(mine, used[mine])
            self.at.refuse_lost(look.moved, used[mine], start)
            found[mine] = look.estimate
        if steps is None:
            near = self.at.near_zero(used, NEAR_ZERO)
            for start in range(0, len(near), rows):
                mine = near[start : start + rows]
                look, _ = settled(self.look, mine, used[mine], self.at.sizes()[mine])
                found[mine], used[mine] = look.estimate, look.steps
        return found, used

    def warn_of_asymmetry(self, found: np.ndarray, steps: np.ndarray) -> None:
        """Name the least symmetric pair of entries, if only a wrong gradient explains it."""
        for i, j in self._suspects(found, steps):
            two = np.array([i, j])
            again = self.look(two, steps[two] / 2)
            first = found[two]
            bars = np.abs(first - again.estimate) * (4 / 3)
            bars += 2 * again.noise[:, np.newaxis]
            apart = abs(first[0, j] - first[1, i])
            if apart > _EXPLAINED * (bars[0, j] + bars[1, i]):
                names = self.at.name(i), self.at.name(j)
                _errors.warn(
                    f"the derivative of the gradient's entry `{names[1]}` by `{names[0]}` is "
                    f"{first[0, j]:.6g}, and that of its entry `{names[0]}` by `{names[1]}` is "
                    f"{first[1, i]:.6g}, which a gradient has alike: `grad` is wrong there, or not "
                    "smooth; their mean is returned; see fg.check_gradient"
                )
                return

    def _suspects(self, found: np.ndarray, steps: np.ndarray) -> list[tuple[int, int]]:
        """The pairs that differ most, as a share of their size, beyond rounding."""
        bars = noise.SIGMAS * self.level / steps
        with np.errstate(all="ignore"):
            apart = np.abs(found - found.T)
            sizes = np.maximum(np.abs(found), np.abs(found.T))
            share = np.where(apart > _EXPLAINED * (bars[:, np.newaxis] + bars), apart / sizes, 0.0)
        share = np.triu(np.nan_to_num(share, nan=0.0, posinf=0.0), 1)
        worst = np.argsort(share, axis=None)[::-1][:_PAIRS]
        pairs = [divmod(int(k), len(found)) for k in worst]
        return [pair for pair in pairs if share[pair] > 0]
