"""The numeric gradient of `f` as a vector-valued function, which can be differentiated again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from fastgrad._derivatives.positions import Positions, short
from fastgrad._derivatives.second import Near, noise_near
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
# Where a difference of fourth order is evaluated.
_OFFSETS = (1, -1, 2, -2)


class NumericGradient(Around):
    """Differences of fourth order by all entries, at steps that stay the same wherever it is asked.

    With fixed steps it is as smooth as `f`, and its noise is that of `f` over a step. Its values
    take four evaluations for each entry.
    """

    def __init__(self, run: Metered, steps: np.ndarray | None = None) -> None:
        super().__init__(run)
        self._run, self.positions = run, Positions(run)
        self._steps, self._near = steps, Near(0.0, 0.0, _UNIT)

    @property
    def steps(self) -> np.ndarray:
        """The step of each entry, found at the first look."""
        if self._steps is None:
            self._steps = self._found()
        return self._steps

    def _found(self) -> np.ndarray:
        base = float(self._run.base())
        leaves = [k for k, leaf in enumerate(self.leaves) if leaf.real.size]
        if leaves:
            self._near = noise_near(self._run, base, leaves)
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
        return smooth_steps(self.positions, steps, least * lengths, base, level)

    @property
    def rounding(self) -> np.ndarray:
        """What the rounding of values of `f` makes of its own, as rounding."""
        steps = self.steps  # which are found with what is known of values
        found: np.ndarray = _ROUNDED * self._near.unit * self._near.largest / steps
        return found

    @property
    def outputs(self) -> Outputs:
        """How its values are laid out: array after array of the parameters."""
        return Outputs.of([np.empty(leaf.real.shape) for leaf in self.leaves])

    def halved(self) -> NumericGradient:
        """The same at half the steps, of which the truncation is a sixteenth."""
        return NumericGradient(self._run, self.steps / 2)

    def base(self) -> np.ndarray:
        """The gradient at the unperturbed parameters: (n,) float64."""
        return self._gradient(self._run)

    def _gradient(self, run: Evaluator) -> np.ndarray:
        """Differences at one step and at two, weighted so that errors of second order cancel."""
        parts = [np.empty(0)]
        for leaf, entries, mine in self.positions.pieces(np.arange(self.positions.count)):
            found = run.single(Single(leaf, entries, Steps(given=self.steps[mine]), _OFFSETS))
            with np.errstate(all="ignore"):
                near, far = (
                    (found.values[:, k] - found.values[:, k + 1])
                    / (found.moved[:, k] - found.moved[:, k + 1])
                    for k in (0, 2)
                )
                parts.append((4 * near - far) / 3)
        return np.concatenate(parts)

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
                with self._run.displaced(direction, 1.0) as there:
                    moved[k, j] = there.read(request.leaf, np.array([entry]))[0] - before[k]
                    values[k, j] = self._gradient(there)
        return Samples(moved, values)

    def along(self, request: Along, claims: Sequence[np.ndarray] | None = None) -> Changes:
        """Gradients along a direction, without claims: see `Evaluator`."""
        values = []
        for time in request.times:
            with self._run.displaced(request.direction, time) as there:
                values.append(self._gradient(there))
        return Changes(tuple(values))

    @contextmanager
    def displaced(self, direction: Direction, time: float) -> Iterator[Evaluator]:
        """The gradient at displaced parameters, by the same steps: see `Evaluator`."""
        steps = self.steps  # which would not be those of the point itself otherwise
        with self._run.displaced(direction, time) as there:
            yield NumericGradient(there, steps)
