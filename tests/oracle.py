"""What an evaluator has to answer, worked out on copies of the parameters, one entry at a time.

Slow, and obviously right: nothing is moved in place, nothing is put back, nothing is shared.
"""

from __future__ import annotations

import copy
import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._evaluation.direction import (
    Direction,
    Given,
    Jumps,
    OddMultiples,
    Proportional,
    Uniform,
    key_of,
)
from fastgrad._evaluation.protocol import Along, Gradient, Grouped, Single
from fastgrad._tree import flatten

_MASK = 2**64 - 1


# ---------------------------------------------------------------- objectives


def numbers(params) -> np.ndarray:
    """All real numbers of a tree as float64, leaf by leaf in C order."""
    with np.errstate(over="ignore", invalid="ignore"):  # of longdoubles, of a signalling NaN
        return np.concatenate([leaf.real.astype(float).ravel() for leaf in flatten(params)])


def fingerprint(params) -> bytes:
    """Tells points apart, whatever memory holds them."""
    return numbers(params).tobytes()


def weigh(params) -> float:
    """Another slope in every entry; exactly summed, so that no order of summation matters."""
    x = np.clip(np.nan_to_num(numbers(params), posinf=3.0, neginf=-3.0), -1e6, 1e6)
    return math.fsum(np.arange(1, x.size + 1) * x + np.cos(x))


def weigh_rows(params) -> np.ndarray:
    """A vector of three."""
    x = np.clip(np.nan_to_num(numbers(params), posinf=3.0, neginf=-3.0), -1e6, 1e6)
    return np.array([weigh(params), math.fsum(x**2), math.fsum(np.sin(x))])


@dataclass
class Disturbed:
    """Does something else at one point; an instance can be sent to workers."""

    f: Any
    at: bytes  # the fingerprint of the point
    disturbance: Any  # called with the parameters; returns what `f` returns there

    def __call__(self, params):
        if fingerprint(params) == self.at:
            return self.disturbance(params)
        return self.f(params)


@dataclass
class Raise:
    """An exception, as a disturbance."""

    kind: type[BaseException]

    def __call__(self, params):
        raise self.kind("on purpose")


@dataclass
class Return:
    """A value, as a disturbance."""

    value: Any

    def __call__(self, params):
        return self.value


class Writes:
    """Leaves an entry other than it was, at every call."""

    def __init__(self, leaf, entry):
        self.leaf, self.entry = leaf, entry

    def __call__(self, params):
        value = weigh(params)
        array = flatten(params)[self.leaf].array
        array.flat[self.entry] += 1.0
        return value


class Resize:
    def __call__(self, params):
        value = weigh(params)
        params["a"].resize((1,), refcheck=False)
        return value


class Freeze:
    def __call__(self, params):
        params["a"].flags.writeable = False
        return weigh(params)


# ---------------------------------------------------------------- the oracle


class Oracle:
    """Values of `f` at and around copies of the parameters, and the points where it was called."""

    def __init__(self, f, params) -> None:
        self.f = f
        self.params = copy.deepcopy(params)
        self.reals = [leaf.real for leaf in flatten(self.params)]
        self.points: list[bytes] = []

    def moved(self, places) -> Oracle:
        """The same at other parameters: ``{leaf: {entry: place}}``."""
        other = Oracle(self.f, self.params)
        for leaf, entries in places.items():
            for entry, place in entries.items():
                other.reals[leaf].flat[entry] = place
        return other

    def value(self, places) -> Any:
        there = self.moved(places)
        self.points.append(fingerprint(there.params))
        return self.f(there.params)

    def base(self) -> Any:
        return self.value({})

    def scale(self, leaf, where=...) -> np.ndarray:
        return np.array([float(length(x)) for x in self._entries(leaf, where)])

    def read(self, leaf, where=...) -> np.ndarray:
        return np.array([float(x) for x in self._entries(leaf, where)])

    def _entries(self, leaf, where):
        real = self.reals[leaf]
        found = real.ravel()[where] if isinstance(where, np.ndarray) else real[where]
        return [wide(x) for x in np.asarray(found).ravel()]

    def single(self, request: Single):
        moved, values = [], []
        for position, entry in enumerate(request.entries):
            places = self._places(request, position, entry)
            moved.append([far for _, far in places])
            values.append([self.value({request.leaf: {entry: place}}) for place, _ in places])
        return np.array(moved), np.array(values)

    def grouped(self, request: Grouped):
        places = [self._places(request, *at) for at in enumerate(request.entries)]
        values = []
        for low, high in zip(request.starts[:-1], request.starts[1:], strict=True):
            group = range(low, high)
            values.append(
                [
                    self.value({request.leaf: {request.entries[i]: places[i][k][0] for i in group}})
                    for k in range(len(request.offsets))
                ]
            )
        return np.array([[far for _, far in row] for row in places]), np.array(values)

    def _places(self, request, position, entry):
        """Where an entry goes for each offset, and how far that is."""
        x = self.reals[request.leaf].flat[entry]
        return place_of(x, step(request.steps, position, wide(x)), request.offsets)

    def along(self, request: Along, claims=None):
        values: list[Any] = []
        claimed, squares = [], []
        for time in request.times:
            places = self.path(request.direction, time)
            values.append(self.value(places))
            terms = [] if claims is None else self._terms(request.direction, places, claims)
            claimed.append(float(np.sum(terms)))
            squares.append(float(np.sum(np.square(terms))))
            if request.still is not None and values == [request.still] * 2:
                break
        return values, claimed, math.sqrt(squares[0])

    def _terms(self, direction, places, claims):
        terms = []
        for region, claim in zip(direction.regions, claims, strict=True):
            before, after = self.reals[region.leaf], places[region.leaf]
            for entry, slope in zip(inside(region), np.ravel(claim), strict=True):
                terms.append(float((wide(after[entry]) - wide(before.flat[entry])) * slope))
        return terms

    def path(self, direction: Direction, time: float):
        """Where the entries of all regions go."""
        places: dict[int, dict[int, Any]] = {}
        for which, region in enumerate(direction.regions):
            real = self.reals[region.leaf]
            there = places.setdefault(region.leaf, {})
            for position, entry in enumerate(inside(region)):
                move = MOVES[type(direction)](direction, which, position, entry)
                with np.errstate(all="ignore"):
                    there[entry] = move(real.flat[entry], time)
        return places

    def gradient(self, request: Gradient) -> np.ndarray:
        found = np.empty(request.count, request.store)
        real = self.reals[request.leaf]
        for position, entry in enumerate(range(request.start, request.stop)):
            x = real.flat[entry]
            kind = type(wide(x))
            total = kind(0.0)
            h = step(request.steps, position, wide(x))
            for upper, lower, weight in request.stencil.quotients:
                (above, _), (below, _) = place_of(x, h, (upper, lower))
                ahead = self.value({request.leaf: {entry: above}}) if upper else request.base
                behind = self.value({request.leaf: {entry: below}}) if lower else request.base
                quotient = (kind(ahead) - kind(behind)) / (wide(above) - wide(below))
                total += kind(weight.numerator) / kind(weight.denominator) * quotient
            with np.errstate(over="ignore"):
                found[position] = total
        return found


# ---------------------------------------------------------------- arithmetic of one entry


def wide(x) -> Any:
    """The number in the type to compute in."""
    return np.longdouble(x) if np.asarray(x).dtype.type is np.longdouble else np.float64(x)


def length(x) -> Any:
    return max(type(x)(1.0), abs(x)) if np.isfinite(x) else type(x)(1.0)


def step(steps, position, x):
    if steps.given is not None:
        return steps.given[position]
    return steps.absolute + steps.relative * length(x)


def place_of(x, h, offsets):
    kind = x.dtype.newbyteorder("=").type
    with np.errstate(all="ignore"):
        places = [kind(wide(x) + offset * type(wide(x))(h)) for offset in offsets]
        return [(place, float(wide(place) - wide(x))) for place in places]


def inside(region) -> list[int]:
    """The numbers of a region's entries, in C order of the whole leaf."""
    all_of_them = np.arange(math.prod(region.shape)).reshape(region.shape)
    return np.asarray(all_of_them[region.box]).ravel().tolist()


def drawn(key: int, entry: int) -> int:
    """A random integer of 16 bits: a quarter of a word of SplitMix64."""
    z = (key + (entry // 4 + 1) * 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    bits = ((z ^ (z >> 31)) >> 16 * (entry % 4)) & 0xFFFF
    size = (bits & 0x3FFF) + 0x2000
    return -size if bits & 0x8000 else size


def _uniform(direction: Uniform, which, position, entry):
    region = direction.regions[which]
    number = drawn(key_of(direction.seed, direction.turn, region.leaf), entry)
    index = np.unravel_index(entry, region.shape)
    for box in direction.without:
        if all(side.start <= i < side.stop for side, i in zip(box, index, strict=True)):
            number = 0

    def move(x, time):
        by = number * np.maximum(1.0, abs(wide(x))) * (time * (2.0**-14 * direction.widths[which]))
        return x.dtype.newbyteorder("=").type(by + wide(x))

    return move


def _factor(direction, which, position) -> int:
    number = drawn(key_of(direction.seed, 0, direction.regions[which].leaf), position)
    return (1, 2, 4)[abs(number) % 3] * (-1 if number < 0 else 1)


def _by(amount):
    """Move by an amount that depends on the entry: it is rounded before it is added."""

    def move(x, time):
        kind = x.dtype.newbyteorder("=").type
        return kind(x) + kind(time * amount(x))

    return move


def _powers(direction: OddMultiples, which, position, entry):
    factor = _factor(direction, which, position)

    def amount(x):
        eps = float(np.finfo(x.dtype).eps)
        width = max(direction.width, 4 * eps)
        power = 2.0 ** (math.frexp(width * float(length(wide(x))))[1] - 2)
        odd = 1.5 if eps > 2.0**-40 else 1365 / 1024
        return (abs(factor) if direction.same_sign else factor) * power * odd

    return _by(amount)


def _jumps(direction: Jumps, which, position, entry):
    factor = _factor(direction, which, position)
    return _by(lambda x: factor * (float(length(wide(x))) / 2))


def _own(direction: Proportional, which, position, entry):
    return _by(lambda x: direction.share * abs(wide(x)))


def _given(direction: Given, which, position, entry):
    return _by(lambda x: direction.moves[which].flat[position])


MOVES = {Uniform: _uniform, OddMultiples: _powers, Jumps: _jumps, Proportional: _own, Given: _given}


@dataclass
class Warns:
    """Warns at moved points."""

    at: bytes

    def __call__(self, params):
        if fingerprint(params) != self.at:
            warnings.warn("beside the parameters", UserWarning, stacklevel=1)
            np.log(-np.ones(1))
        return weigh(params)


@dataclass
class Guarded:
    """Refuses to be called outside; an instance can be sent to workers."""

    low: np.ndarray
    high: np.ndarray

    def __call__(self, params):
        array = params if isinstance(params, np.ndarray) else params["a"]
        inside = ((array >= self.low) & (array <= self.high)).all()
        if not inside or numbers(params)[-1] < 1.75:
            raise AssertionError(f"outside: {params}")
        return weigh(params)
