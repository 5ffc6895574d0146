"""The numeric gradient of `f` as a vector-valued function, which can be differentiated again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

import numpy as np

from fastgrad._derivatives.positions import Positions, short
from fastgrad._derivatives.second import Near, noise_near
from fastgrad._derivatives.sides import Sides
from fastgrad._derivatives.smooth_steps import smooth_steps
from fastgrad._dtypes import eps_of
from fastgrad._evaluation.around import Around
from fastgrad._evaluation.direction import Direction
from fastgrad._evaluation.meter import Metered
from fastgrad._evaluation.protocol import Along, Changes, Evaluator, Samples, Single, Steps
from fastgrad._outputs import Outputs

__all__ = ["NumericGradient"]

# A difference of fourth order at the step h is off by ``h**4 f''''' / 30`` and by ``1.5 s / h`` for
# noise s of the values: the sum is least at ``h**5 = 11 s / f'''''``.
_BALANCE = 11.0
# The rounding u of four values makes so many times ``u / h`` of such a difference, by the squares
# of its weights: ``sqrt(2 (2 / 3)**2 + 2 / 12**2)``.
_ROUNDED = 0.95
# The largest step over the length of an entry, and the least one in spacings of its type: as for
# second differences.
_LARGEST, _SPACINGS = 0.1, 256.0
# Rounding of values, at least, as a share of them: half a spacing of float64.
_UNIT = 2.0**-53
# Where a difference of fourth order is evaluated, and one to one side.
_OFFSETS, _ASIDE = (1, -1, 2, -2), (1, 2, 3, 4)
# Weights of the latter, that of the point itself first: those of order 4 in Fornberg's tables.
_WEIGHTS = np.array([-25 / 12, 4, -3, 4 / 3, -1 / 4])
# The same of a difference to one side: ``sqrt(sum(w**2))`` of its weights.
_ROUNDED_ASIDE = 5.58
# Steps that must have room on both sides, two for the difference and one for moves of the point, or
# on one side: six for looks at twice the step, and one for moves.
_BOTH_REACH, _ASIDE_REACH = 3.0, 7.0
# A move that bounds cut by more than this share, beyond rounding, leads outside of them.
_CUT = 2.0**-8


class NumericGradient(Around):
    """Differences of fourth order by all entries, at steps that stay the same wherever it is asked.

    With fixed steps it is as smooth as `f`, and its noise is that of `f` over a step. Its values
    take four evaluations for each entry.
    """

    def __init__(
        self,
        run: Metered,
        steps: np.ndarray | None = None,
        rooms: tuple[np.ndarray, np.ndarray] | None = None,
        sides: np.ndarray | None = None,
    ) -> None:
        super().__init__(run)
        self.run, self.positions = run, Positions(run)
        self._steps, self._near = steps, Near(0.0, 0.0, _UNIT)
        self._rooms = rooms  # how far entries may move up and down
        # To which side entries move: to both (0), up (1) or down (-1).
        self.sides = np.zeros(self.positions.count, int) if sides is None else sides

    @cached_property
    def value(self) -> float:
        """That of `f` at the unperturbed parameters."""
        return float(self.run.base())

    @property
    def steps(self) -> np.ndarray:
        """The step of each entry, found at the first look."""
        if self._steps is None:
            self._steps = self._found()
        return self._steps

    def _found(self) -> np.ndarray:
        base = self.value
        leaves = [k for k, leaf in enumerate(self.leaves) if leaf.real.size]
        if leaves:
            self._near = noise_near(self.run, base, leaves)
        level, largest, _ = self._near
        share = max(level / largest, _UNIT) if largest > 0 else _UNIT
        # What is computed from numbers of a short type is mostly rounded as they are.
        spacings = np.array([eps_of(leaf.real) for leaf in self.leaves])
        sizes = [leaf.real.size for leaf in self.leaves]
        spacing = np.repeat(spacings, sizes) if leaves else np.empty(0)
        relative = np.minimum((_BALANCE * np.maximum(share, spacing / 2)) ** 0.2, _LARGEST)
        lengths, least = self.positions.lengths(), _SPACINGS * spacing
        steps = short(np.maximum(relative, least) * lengths)
        if not leaves:
            return steps
        level = max(level, _UNIT * largest)
        steps = self._within(steps)
        smallest = np.fmin(least * lengths, steps)
        return smooth_steps(self.positions, steps, smallest, base, level, self.sides)

    def _within(self, steps: np.ndarray) -> np.ndarray:
        """The steps that leave entries within their bounds, and on which side they then move."""
        if self._rooms is None:
            return steps
        up, down = (room / _BOTH_REACH for room in self._rooms)
        found = Sides.of(steps, up, down, _ASIDE_REACH / _BOTH_REACH)
        self.sides = found.sides
        # One that has no room at all is nowhere evaluated, and keeps its step.
        return np.where(found.most > 0, found.cut(steps), steps)

    @property
    def rounding(self) -> np.ndarray:
        """What the rounding of values of `f` makes of its own, as rounding."""
        steps = self.steps  # which are found with what is known of values
        times = np.where(self.sides == 0, _ROUNDED, _ROUNDED_ASIDE)
        found: np.ndarray = times * self._near.unit * self._near.largest / steps
        return found

    @property
    def outputs(self) -> Outputs:
        """How its values are laid out: array after array of the parameters."""
        return Outputs.of([np.empty(leaf.real.shape) for leaf in self.leaves])

    def halved(self) -> NumericGradient:
        """The same at half the steps, of which the truncation is a sixteenth."""
        return NumericGradient(self.run, self.steps / 2, sides=self.sides)

    def base(self) -> np.ndarray:
        """The gradient at the unperturbed parameters: (n,) float64."""
        return self._gradient(self.run)

    def _gradient(self, run: Evaluator) -> np.ndarray:
        """Differences at one step and at two, weighted so that errors of second order cancel."""
        slopes, steps = np.empty(self.positions.count), self.steps
        for side in (0, 1, -1):
            mine = np.flatnonzero(self.sides == side)
            if side and len(mine):
                slopes[mine] = self._aside(run, mine, side)
                continue
            for leaf, entries, part in self.positions.pieces(mine):
                given = Steps(given=steps[mine[part]])
                found = run.single(Single(leaf, entries, given, _OFFSETS))
                with np.errstate(all="ignore"):
                    near, far = (
                        (found.values[:, k] - found.values[:, k + 1])
                        / (found.moved[:, k] - found.moved[:, k + 1])
                        for k in (0, 2)
                    )
                    slopes[mine[part]] = (4 * near - far) / 3
        return slopes

    def _aside(self, run: Evaluator, mine: np.ndarray, side: int) -> np.ndarray:
        """Differences of fourth order to one side, of some positions."""
        base, slopes, steps = float(run.base()), np.empty(len(mine)), self.steps[mine]
        offsets = tuple(side * k for k in _ASIDE)
        for leaf, entries, part in self.positions.pieces(mine):
            found = run.single(Single(leaf, entries, Steps(given=steps[part]), offsets))
            with np.errstate(all="ignore"):
                total = _WEIGHTS[0] * base + found.values @ _WEIGHTS[1:]
                slopes[part] = total / (side * steps[part])
        return slopes

    def single(self, request: Single) -> Samples:
        """Gradients where each entry is moved alone: see `Evaluator`."""
        steps = request.steps.given
        if steps is None:
            steps = request.steps.relative * self.scale(request.leaf, request.entries)
        shape = (len(request.entries), len(request.offsets))
        moved, values = np.empty(shape), np.empty((*shape, self.positions.count))
        before = self.read(request.leaf, request.entries)
        start = int(self.positions.starts[request.leaf])
        for k, entry in enumerate(request.entries.tolist()):
            for j, offset in enumerate(request.offsets):
                direction = self.positions.move(start + entry, float(steps[k]) * offset)
                asked = float(steps[k]) * offset
                with self.run.displaced(direction, 1.0) as there:
                    moved[k, j] = there.read(request.leaf, np.array([entry]))[0] - before[k]
                    if self._rooms is None or abs(moved[k, j] - asked) <= _CUT * abs(asked):
                        values[k, j] = self._gradient(there)
                    else:  # bounds have cut it: that point is outside, as for `Bounded`
                        moved[k, j], values[k, j] = asked, np.nan
        return Samples(moved, values)

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Gradients along a direction, without claims: see `Evaluator`."""
        values = []
        for time in request.times:
            with self.run.displaced(request.direction, time) as there:
                values.append(self._gradient(there))
        return Changes(tuple(values))

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Evaluator]:
        """The gradient at displaced parameters, by the same steps: see `Evaluator`."""
        steps = self.steps  # which would not be those of the point itself otherwise
        with self.run.displaced(direction, time) as there:
            yield NumericGradient(there, steps, sides=self.sides)
