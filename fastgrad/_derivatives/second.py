"""Second derivatives from values of `f`: second differences, and mixed ones of pairs of entries."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives import noise
from fastgrad._derivatives.pairs import Pairs
from fastgrad._derivatives.positions import Positions, short, whole
from fastgrad._derivatives.settling import TOLD, VARIES, Look, grown, settled
from fastgrad._derivatives.sides import Sides, offsets_of, put_together, slope_weights
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.direction import OddMultiples
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Displaced, Samples, Single, Steps

__all__ = ["Curvature", "Near", "noise_near"]

# A second difference at the step h is off by ``h**2 f'''' / 12`` and by ``4 s / h**2`` for noise s
# of the values: the sum is least at ``h**4 = 48 s / f''''``. With s a share r of the values, and f
# that changes by its own size over the length L of an entry, that is ``h = (48 r)**(1/4) L``.
_BALANCE = 48.0
# Rounding of values, at least, as a share of them: half a spacing of float64.
_UNIT = 2.0**-53
# The largest first step over the length: beyond it, values say little of the point itself.
_LARGEST = 0.1
# The least step in spacings of the entry's type: so moves are exact to their last bit, or nearly.
_SPACINGS = 256.0
# A sum of values with the factors 1, -2, 1 has the noise of one value times the root of 6; one of
# eight values that of the root of 8, which is granted to both.
_SUMMED = math.sqrt(8.0)
# Spacings of the table of values that shows noise, over the lengths of entries, the least first:
# where `f` is smooth and values differ. As in the baseline of a check.
_WIDTHS = (2.0**-40, 2.0**-30, 2.0**-20)
# Where the points of the table lie, in spacings; the value at the parameters is the one at 0.
_TIMES = tuple(float(k) for k in range(1, noise.POINTS))
# Errors below this share of the largest curvature, or slope, over a length are of no account.
_SLIGHT = 1e-5
# The same of the four values of a second difference to one side: the root of 4 + 25 + 16 + 1.
_ASIDE = math.sqrt(46.0)


class Near(NamedTuple):
    """Values near the parameters."""

    level: float  # of their noise, as a standard deviation
    largest: float  # of their sizes
    unit: float  # their relative rounding


def noise_near(run: Metered, base: float, leaves: Sequence[int]) -> Near:
    """Noise of values as some leaves move.

    It takes six evaluations where `f` moves, and at most six where it does not.
    """
    regions = tuple(whole(k, run.leaves[k].real.shape) for k in leaves)
    values = [base]
    for width in _WIDTHS:
        direction = OddMultiples(0, regions, width)
        values = [base, *map(float, run.along(Along(direction, _TIMES, still=base)).values)]
        if noise.varies(values) or not all(map(math.isfinite, values)):
            break
    finite = [value for value in values if math.isfinite(value)]
    largest = max(map(abs, finite), default=0.0)
    if len(finite) < noise.POINTS:
        unit = noise.rounding_unit(finite)
        return Near(unit * largest, largest, unit)
    level, unit, _ = noise.noise_table(values)
    return Near(level, largest, unit)


class Curvature:
    """Second differences of `f` around one point, of entries and of pairs of them."""

    def __init__(self, run: Metered, at: Positions) -> None:
        self.run, self.at = run, at
        self.sides: Sides | None = None  # None: all entries move to both sides
        self.base = float(run.base())
        # Noise as each entry moves, and the same as a share of the values.
        self.level, self.share = np.zeros(at.count), np.full(at.count, _UNIT)

    def learn_noise(self) -> None:
        """Ask how noisy values are, which sets the first steps.

        Once for each type: what is computed from an entry of float16 is rounded as it moves, and
        stays as it is beside others.
        """
        spacings = self.at.spacings()
        for spacing in np.unique(spacings).tolist():
            of_type = [k for k, x in enumerate(self.run.leaves) if eps_of(x.real) == spacing]
            mine = [k for k in of_type if self.run.leaves[k].real.size]
            level, largest, _ = noise_near(self.run, self.base, mine)
            self.level[spacings == spacing] = level
            if largest > 0:
                self.share[spacings == spacing] = max(level / largest, _UNIT)

    def first_steps(self) -> np.ndarray:
        """The steps at which a function of the size and the scale of its parameters is best."""
        spacings = self.at.spacings()
        # What is computed from numbers of a short type is mostly rounded as they are, which need
        # not show close by: straight lines stay straight.
        share = np.maximum(self.share, spacings / 2)
        relative = np.minimum((_BALANCE * share) ** 0.25, _LARGEST)
        steps = short(np.maximum(relative, _SPACINGS * spacings) * self.at.lengths())
        return steps if self.sides is None else self.sides.cut(steps)

    def stay(self, up: np.ndarray, down: np.ndarray, steps: np.ndarray | None = None) -> None:
        """Move entries by no more than this, to one side where the other has too little room."""
        self.sides = Sides.of(self.first_steps() if steps is None else steps, up, down)

    def look(self, positions: np.ndarray, steps: np.ndarray) -> Look:
        """Second differences of entries, each at its own step: see `settling.Looks`."""
        if self.sides is None:
            return self._look(steps, self.at.single(positions, steps), self.level[positions])
        parts = []
        for side, mine in self.sides.groups(positions):
            found = self.at.single(positions[mine], steps[mine], offsets_of(side))
            look = self._aside if side else self._look
            parts.append((mine, look(steps[mine], found, self.level[positions[mine]])))
        return put_together(len(positions), parts)

    def look_along(self, v: np.ndarray, lengths: np.ndarray, side: int = 0) -> Look:
        """The second difference along `v` in units of its length, for one step."""
        offsets = offsets_of(side)
        direction = self.at.along(v, float(lengths[0]))
        values = self.run.along(Along(direction, tuple(map(float, offsets)))).values
        found = Samples(np.array([offsets]) * lengths[0], np.array([values], np.float64))
        look = self._aside if side else self._look
        return look(lengths, found, np.array([self.level.max()]))

    def _look(self, steps: np.ndarray, found: Samples, level: np.ndarray) -> Look:
        """Central second differences."""
        (ahead, behind), (up, down) = found.moved.T, found.values.T
        with np.errstate(all="ignore"):
            slopes = (up - self.base) / ahead - (down - self.base) / behind
            estimate = 2.0 * slopes / (ahead - behind)
            size = np.maximum(np.abs(found.values).max(axis=1), abs(self.base))
            level = np.maximum(level, _UNIT * size)
            bound = noise.SIGMAS * _SUMMED * level / np.abs(ahead * behind)
        return Look(steps, found.moved, found.values, estimate, bound)

    def _aside(self, steps: np.ndarray, found: Samples, level: np.ndarray) -> Look:
        """Second differences to one side: the second derivative at 0 of a cubic."""
        (a, b, c), (f_a, f_b, f_c) = found.moved.T, found.values.T
        with np.errstate(all="ignore"):
            # Newton's divided differences.
            first, second, third = (
                (f_a - self.base) / a,
                (f_b - f_a) / (b - a),
                (f_c - f_b) / (c - b),
            )
            bend, next_bend = (second - first) / b, (third - second) / (c - a)
            estimate = 2 * (bend - (a + b) * (next_bend - bend) / c)
            size = np.maximum(np.abs(found.values).max(axis=1), abs(self.base))
            level = np.maximum(level, _UNIT * size)
            bound = noise.SIGMAS * _ASIDE * level / a**2
        return Look(steps, found.moved[:, :2], found.values[:, :2], estimate, bound)

    def settle(self) -> tuple[Look, np.ndarray]:
        """All entries at the steps that suit them best, with bounds on the errors."""
        everything = np.arange(self.at.count)
        lengths = self.at.lengths()
        found = settled(self.look, everything, self.first_steps(), self.at.sizes())
        with np.errstate(all="ignore"):
            slight = _SLIGHT * self._largest(found[0], lengths) / lengths**2
        largest = _LARGEST * lengths
        if self.sides is not None:
            largest = np.minimum(largest, self.sides.most)
        return grown(self.look, found, everything, largest, slight)

    def _largest(self, look: Look, lengths: np.ndarray) -> float:
        """The largest change of the slope of `f` over a length, and of `f` itself."""
        with np.errstate(all="ignore"):
            slopes = (look.values[:, 0] - look.values[:, 1]) / np.ptp(look.moved, axis=1)
            sizes = np.fmax(np.abs(look.estimate) * lengths**2, np.abs(slopes) * lengths)
        return float(sizes.max(initial=0.0, where=np.isfinite(sizes)))

    def warn_of(self, look: Look, errors: np.ndarray, positions: np.ndarray | None = None) -> None:
        """Name the entry whose second derivative is known worst, if that is to be told.

        Of all entries, or of those at some positions.
        """
        everything = np.arange(self.at.count)
        positions = everything if positions is None else positions
        worst = self._worst(look, errors, self.at.lengths()[positions])
        if worst is not None:
            name = self.at.name(int(positions[worst]))
            self._tell(look.estimate[worst], errors[worst], f"with respect to `{name}`")

    def warn_along(self, look: Look, error: np.ndarray, v: np.ndarray) -> bool:
        """The same of the second derivative along `v`; returned is whether it was told."""
        told = self._worst(look, error, self.at.reach(v, self.at.lengths())) is not None
        if told:
            self._tell(look.estimate[0], error[0], "along `v`")
        return told

    def _worst(self, look: Look, errors: np.ndarray, lengths: np.ndarray) -> int | None:
        """Which second derivative is known worst, if that is to be told."""
        with np.errstate(all="ignore"):
            least = max(self._largest(look, lengths), VARIES * abs(self.base)) / lengths**2
            share = errors / np.fmax(np.abs(look.estimate), least)
        share[~np.isfinite(look.estimate)] = 0.0  # NaN says it itself
        worst = int(share.argmax())
        return worst if share[worst] > TOLD else None

    def _tell(self, estimate: float, error: float, where: str) -> None:
        off = error / abs(estimate) if estimate else math.inf
        _errors.warn(
            f"the second derivative {estimate:.3g} {where} may be off by "
            f"{min(off, 1.0):.0%} or more: `f` has a kink or a jump there, is noisy, or varies "
            "on a scale below any step that can be seen; pass `grad`, or a step as `eps`"
        )

    def mixed(self, look: Look) -> np.ndarray:
        """The matrix of second derivatives, with `look` on the diagonal."""
        return Pairs(self.run, self.at, self.base, look, self.sides).matrix()

    def settled_steps(
        self, positions: np.ndarray, steps: np.ndarray, *, told: bool = False
    ) -> np.ndarray:
        """The steps that suit some entries best; one whose error is large is named, if none was."""
        look, errors = settled(self.look, positions, steps, self.at.sizes()[positions])
        if not told:
            self.warn_of(look, errors, positions)
        return look.steps

    def times(self, v: np.ndarray, length: float, steps: np.ndarray, side: int = 0) -> np.ndarray:
        """The product of the second derivatives with `v`, along which entries move by a length.

        It is a difference of gradients along `v`, each of which is one of values at these steps.
        """
        direction = self.at.along(v, length)
        times = tuple(map(float, offsets_of(side, 2)))
        values = (
            self.run.along(Along(direction, times)).values if self.sides is not None else (0.0, 0.0)
        )
        groups = list(self._groups(steps))
        answers = self.run.beside(
            [Displaced(direction, time, request) for time in times for _, request in groups]
        )
        each = [answers[: len(groups)], answers[len(groups) :]]
        ahead, behind = (
            self._gradient(groups, part, float(value))
            for part, value in zip(each, values, strict=True)
        )
        with np.errstate(all="ignore"):
            if not side:
                return np.asarray((ahead - behind) / (2 * length))
            here = [self.run.single(request) for _, request in groups]
            start = self._gradient(groups, here, self.base)
            weights = slope_weights(length * np.array([times]))[0]
            return np.asarray(weights[0] * (ahead - start) + weights[1] * (behind - start))

    def _groups(self, steps: np.ndarray) -> Iterator[tuple[np.ndarray, Single]]:
        """Positions of one leaf that move to the same side, and the request for two points."""
        everything = np.arange(self.at.count)
        sides = [(0, everything)] if self.sides is None else self.sides.groups(everything)
        for side, positions in sides:
            for leaf, entries, mine in self.at.pieces(positions):
                part = positions[mine]
                given = Steps(given=steps[part])
                yield part, Single(leaf, entries, given, offsets_of(side, 2))

    def _gradient(
        self,
        groups: Sequence[tuple[np.ndarray, Single]],
        answers: Sequence[Samples],
        value: float,
    ) -> np.ndarray:
        """Slopes of all entries at one point, where `f` has this value."""
        slopes = np.empty(self.at.count)
        with np.errstate(all="ignore"):
            for (part, request), found in zip(groups, answers, strict=True):
                if request.offsets == (1, -1):
                    slopes[part] = np.diff(found.values)[:, 0] / np.diff(found.moved)[:, 0]
                else:
                    rise = slope_weights(found.moved) * (found.values - value)
                    slopes[part] = rise.sum(axis=1)
        return slopes
