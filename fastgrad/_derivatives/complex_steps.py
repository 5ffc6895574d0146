"""Derivatives from imaginary parts: a complex copy of the parameters, moved by a tiny `i h`.

What `f` does to it that is not complex-analytic shows where the derivative along one direction is
compared with a central difference of `f` at real numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastgrad import _errors
from fastgrad._derivatives.elementwise import Elementwise
from fastgrad._derivatives.within import rooms_of
from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import Bounds
from fastgrad._evaluation.direction import Given, Region
from fastgrad._evaluation.local import is_plain_function
from fastgrad._evaluation.meter import Bar
from fastgrad._evaluation.protocol import Along, Evaluator, Single
from fastgrad._leaf import Leaf, in_double
from fastgrad._outputs import OutputLeaf, Outputs
from fastgrad._steps import Steps
from fastgrad._tree import Params, unflatten
from fastgrad._words import with_article
from fastgrad._workers.evaluator import evaluator

__all__ = [
    "ComplexCopy",
    "complex_gradient",
    "elementwise_complex",
    "imaginary",
    "refuse_options",
    "tangents_of",
    "verify",
]

# Imaginary steps, powers of two, by the type of a complex number's part. Truncation is of the order
# of the square of the step over the scale on which `f` changes: nothing beside the spacing of the
# type for any scale above 1e-90, or 1e-8 of float32. And a derivative of 1e-200, or 1e-25, does not
# underflow yet.
_STEPS = {"f": 2.0**-40, "d": 2.0**-333, "g": 2.0**-333}
# Complex types that hold the numbers of a real one.
_COMPLEX = {"e": "F", "f": "F", "d": "D", "g": "G"}
# Seed of the direction of the comparison, so that every call makes the same one.
_SEED = 0
# Steps along that direction, in shares of each entry, or of 1 where it is 0: their truncation is
# 1e-10 and less of a function whose scale is the entry, and their rounding 1e-11 of `f`, 1e-10 at
# the second. In coarser types a step is u**(1/3) and its eighth.
_SHARES = (2.0**-16, 2.0**-20)
# An entry moves along it if it has this share of itself as room within its bounds: more than any
# step of float64 and float32.
_ROOM = 0.01
# Types with a larger spacing than this are coarse.
_FINE = 1e-12
# A derivative is refused if it is off by more than this share of the larger one, and this many
# times as far as the two differences are apart. What is lost of one entry of many is a share of the
# order of one over their number: of more than 1e5 it may stay unseen.
_LOST, _APART = 1e-5, 10.0


class ComplexCopy:
    """A complex copy of the parameters, which `f` is evaluated at.

    `f` gets `argument`: the containers of the parameters, with complex arrays in place of theirs.
    """

    def __init__(self, f: Callable[[Any], Any], argument: Params, leaves: Sequence[Leaf]) -> None:
        if not is_plain_function(f):
            raise InputTypeError(
                "`method` = fg.complex_step() needs an `f` that takes complex numbers; got "
                f"{with_article(type(f).__name__)}: pass a Python function of one point, or take "
                "fg.central(order=4)"
            )
        for leaf in leaves:
            if leaf.is_complex:
                raise InputTypeError(
                    "`method` = fg.complex_step() moves real parameters into the complex plane; "
                    f"`{leaf.path}` is complex already: pass its parts as two real arrays, or take "
                    "fg.central(order=4)"
                )
        self._f, self._leaves = f, leaves
        self.arrays = [_complex_of(leaf.array) for leaf in leaves]
        self.argument = unflatten(argument, iter(self.arrays))
        self._steps = [_STEPS[array.real.dtype.char] for array in self.arrays]

    def entry(self, leaf: int, entry: int) -> Any:
        """What `f` returns with one entry moved by `i h`; see `step`."""
        array = self.arrays[leaf]
        array.imag.flat[entry] = self._steps[leaf]
        try:
            return self._call(self._leaves[leaf].name(entry))
        finally:
            array.imag.flat[entry] = 0.0

    def step(self, leaf: int) -> float:
        """The step `h` of the entries of a leaf."""
        return self._steps[leaf]

    def fill(self, outputs: Outputs, leaf: int, entry: int, row: np.ndarray) -> None:
        """The derivatives of all outputs by one entry of a leaf."""
        _read(outputs, self.entry(leaf, entry), row)
        row[...] = _over(row, self._steps[leaf])

    def slopes(self, outputs: Outputs, tangents: Sequence[np.ndarray]) -> np.ndarray:
        """The derivatives of all outputs with all entries moved by `i h` times a tangent."""
        step = max(self._steps, default=1.0)
        try:
            for array, tangent in zip(self.arrays, tangents, strict=True):
                array.imag[...] = step * tangent
            value = self._call("all parameters")
        finally:
            for array in self.arrays:
                array.imag[...] = 0.0
        found = np.empty(outputs.size)
        _read(outputs, value, found)
        return _over(found, step)

    def _call(self, moved: str) -> Any:
        return _noted(self._f, self.argument, moved)

    def check(self) -> None:
        """Refuse an `f` that wrote into its copy."""
        for array, leaf in zip(self.arrays, self._leaves, strict=True):
            # By value: a longdouble has padding bytes.
            if not np.array_equal(array, _complex_of(leaf.array), equal_nan=True):
                raise _errors.written_error(leaf.path, undone=True)


def _noted(f: Callable[[Any], Any], argument: Any, moved: str) -> Any:
    """``f(argument)``, and the way out where it raises."""
    try:
        return f(argument)
    except Exception as error:
        _errors.note(
            error,
            f"while `f` had a complex copy of the parameters, with `{moved}` moved by the complex "
            "step: it must compute with complex numbers, by NumPy's functions instead of those of "
            "`math`; fg.central(order=4) does without",
        )
        raise


def _complex_of(array: np.ndarray) -> np.ndarray:
    return np.array(array, dtype=_COMPLEX[array.dtype.char])


def imaginary(value: Any, where: str) -> Any:
    """The imaginary part of the one number that `f` returned; 0 where it is real."""
    number = value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
    if isinstance(number, (complex, float, int, np.number, np.bool_)):
        return number.imag
    seen = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else repr(value)
    raise InputTypeError(f"`f` returned {seen} at {where}; it must return one number")


def _read(outputs: Outputs, value: Any, out: np.ndarray) -> None:
    """The imaginary parts of all that `f` returned."""
    for output, part in zip(outputs.leaves, outputs.nodes(value, "out"), strict=True):
        out[output.start : output.stop] = _imaginary_of(output, part)


def _imaginary_of(output: OutputLeaf, value: Any) -> np.ndarray:
    """The imaginary parts of what `f` returned in one place, in C order."""
    array = np.asarray(value)
    if output.is_complex:
        raise InputValueError(
            f"`f` returns complex numbers as `{output.path}`, of which fg.complex_step() cannot "
            "tell the imaginary part of the step; return both parts as arrays, or use "
            "fg.central(order=4)"
        )
    if array.shape != output.shape or array.dtype.kind not in "biufc":
        raise InputTypeError(
            f"`f` returned shape {array.shape} and dtype {array.dtype} as `{output.path}` at the "
            f"complex step, and shape {output.shape} at the parameters; neither must change"
        )
    return array.imag.reshape(-1)


def refuse_options(**given: Any) -> None:
    """Refuse arguments that say how differences are to be taken."""
    for name, value in given.items():
        if value is not None:
            why = (
                "it evaluates `f` in this process"
                if name == "workers"
                else "it has one step, and no value is subtracted"
            )
            raise InputValueError(
                f"`{name}` does not go with fg.complex_step(): {why}; leave it out, or choose "
                "another `method`"
            )


def complex_gradient(
    f: Callable[[Any], Any],
    argument: Params,
    leaves: Sequence[Leaf],
    results: Sequence[Leaf],
    chosen: Sequence[np.ndarray] | None,
    bounds: Bounds | None,
    progress: bool,
) -> None:
    """Store the derivatives with respect to all entries, or the chosen ones, NaN for the others."""
    run = evaluator(f, argument, leaves, results=(), bounds=bounds)
    copy = ComplexCopy(f, argument, leaves)
    numbers = [np.arange(leaf.array.size) for leaf in leaves] if chosen is None else chosen
    bar = Bar(sum(map(len, numbers))) if progress else None
    found: list[np.ndarray] = []
    try:
        for k, entries in enumerate(numbers):
            mine = np.empty(len(entries), results[k].array.dtype)
            for position, entry in enumerate(entries):
                value = imaginary(copy.entry(k, int(entry)), leaves[k].name(int(entry)))
                with np.errstate(over="ignore"):  # also in the type of the results
                    mine[position] = value / copy.step(k)
                if bar is not None:
                    bar.to(sum(map(len, found)) + position + 1)
            found.append(mine)
    finally:
        if bar is not None:
            bar.close()
    copy.check()
    tangents = tangents_of(leaves, chosen, bounds)
    claimed = _claimed(tangents, numbers, found)
    try:
        with run:
            verify(run, tangents, claimed)
    finally:
        run.guard.close()
    for result, entries, mine in zip(results, numbers, found, strict=True):
        result.array.fill(np.nan)
        result.array.flat[entries] = mine


def _over(imaginary: np.ndarray, step: float) -> np.ndarray:
    """Imaginary parts over the step: derivatives, infinite where their type ends before them."""
    with np.errstate(over="ignore"):
        found: np.ndarray = imaginary / step
    return found


def elementwise_complex(f: Callable[[Any], Any], run: Elementwise) -> np.ndarray:
    """The derivatives of a vectorized `f` at all points: two calls more verify them."""
    x = run.leaves[0]
    moved = _complex_of(x.array)
    step = _STEPS[moved.real.dtype.char]
    moved.imag[...] = step
    value = np.asarray(_noted(f, moved, "x"))
    if value.shape != x.array.shape or value.dtype.kind not in "biufc":
        run.values(value)  # which says what is wrong with it
    slopes = _over(value.imag, step).ravel()
    size = np.abs(in_double(x.array)).ravel()
    size = np.where((size > 0) & np.isfinite(size), size, 1.0)
    coarse = EPS[x.array.dtype.char]
    found = []
    for share in _shares(coarse):
        points = run.single(Single(0, np.arange(x.array.size), Steps(given=share * size)))
        with np.errstate(all="ignore"):
            width = points.moved[:, 0] - points.moved[:, 1]
            found.append((points.values[:, 0] - points.values[:, 1]) / width)
    with np.errstate(all="ignore"):
        room = _lost(coarse) * np.fmax(np.abs(slopes), np.abs(found[1]))
        off = np.abs(slopes - found[1]) > room + _APART * np.abs(found[0] - found[1])
    if off.any():
        at = int(np.argmax(off))
        raise _not_analytic(slopes[at], found[1][at], f"at `{x.name(at)}`")
    return slopes


def _claimed(
    tangents: Sequence[np.ndarray], numbers: Sequence[np.ndarray], found: Sequence[np.ndarray]
) -> float:
    """The derivative along the tangents."""
    with np.errstate(all="ignore"):
        return sum(
            float(np.dot(tangent.ravel()[entries], mine.astype(float)))
            for tangent, entries, mine in zip(tangents, numbers, found, strict=True)
        )


def tangents_of(
    leaves: Sequence[Leaf],
    chosen: Sequence[np.ndarray] | None = None,
    bounds: Bounds | None = None,
) -> list[np.ndarray]:
    """A direction for `verify`: each entry moves in proportion to itself, and by 1 where it is 0.

    Entries that are not chosen, or that have no room within their bounds, stay.
    """
    random = np.random.default_rng(_SEED)
    tangents = []
    for k, leaf in enumerate(leaves):
        x = in_double(leaf.array)
        size = np.where((x != 0) & np.isfinite(x), np.abs(x), 1.0)
        tangent = size * random.uniform(0.5, 1.0, size.shape) * random.choice([-1, 1], size.shape)
        moves = np.ones(size.size, bool)
        if chosen is not None:
            moves[:] = False
            moves[chosen[k]] = True
        if bounds is not None:
            low, high = bounds.of(k, np.arange(x.size), x.shape)
            room = _ROOM * size.ravel()
            moves &= (x.ravel() - low >= room) & (high - x.ravel() >= room)
        tangents.append(np.where(moves.reshape(size.shape), tangent, 0.0))
    return tangents


def within(
    leaves: Sequence[Leaf], tangents: Sequence[np.ndarray], bounds: Bounds
) -> list[np.ndarray]:
    """The tangents without the entries that `verify` would move across their bounds."""
    coarse = max((EPS[leaf.real.dtype.char] for leaf in leaves), default=0.0)
    share, free = max(_shares(coarse)), []
    for k, (leaf, tangent) in enumerate(zip(leaves, tangents, strict=True)):
        up, down = rooms_of(bounds, k, np.arange(leaf.real.size), leaf)
        fits = np.minimum(up, down) >= share * np.abs(tangent.reshape(-1))
        free.append(np.where(fits.reshape(tangent.shape), tangent, 0.0))
    return free


def verify(run: Evaluator, tangents: Sequence[np.ndarray], claimed: Any) -> None:
    """Refuse an `f` whose derivative along the tangents, by the complex step, is not the real one.

    `claimed` is that derivative, a number or the vector of those of a vector-valued `f`.
    """
    if not any(np.any(tangent) for tangent in tangents):
        return
    claimed = np.atleast_1d(np.asarray(claimed, float))
    coarse = max((EPS[leaf.real.dtype.char] for leaf in run.leaves), default=0.0)
    shares, lost = _shares(coarse), _lost(coarse)
    first = _central(run, tangents, shares[0])
    if not _is_off(claimed, first, 0.0, lost):
        return
    second = _central(run, tangents, shares[1])
    apart = _distance(first, second)
    if np.isfinite(second).all() and _is_off(claimed, second, apart, lost):
        most = int(np.argmax(np.abs(claimed - second)))
        raise _not_analytic(claimed[most], second[most], "along one direction")


def _shares(coarse: float) -> tuple[float, float]:
    """The steps of the comparison, in a type of this spacing."""
    own = coarse ** (1 / 3)
    return _SHARES if coarse < _FINE else (own, own / 8)


def _lost(coarse: float) -> float:
    """The share by which a derivative may be off: rounding moves points in a coarse type."""
    return _LOST if coarse < _FINE else _APART * coarse ** (1 / 3)


def _not_analytic(claimed: float, real: float, where: str) -> InputValueError:
    return InputValueError(
        "`f` is not complex-analytic, so that fg.complex_step() gives wrong derivatives: "
        f"{where} it says {claimed:g}, and a central difference {real:g}. An abs, a conj, a "
        "comparison, a buffer of real numbers or a function that drops the imaginary part may be "
        "the reason, or parameters that are not read from the argument; use fg.central(order=4)"
    )


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        return float(np.abs(a - b).max(initial=0.0))


def _is_off(claimed: np.ndarray, real: np.ndarray, apart: float, lost: float) -> bool:
    with np.errstate(all="ignore"):
        size = np.maximum(np.abs(claimed), np.abs(real)).max(initial=0.0)
        return not _distance(claimed, real) <= lost * size + _APART * apart


def _central(run: Evaluator, tangents: Sequence[np.ndarray], share: float) -> np.ndarray:
    """A central difference along the tangents, from moves of this share."""
    regions, moves = [], []
    for k, (leaf, tangent) in enumerate(zip(run.leaves, tangents, strict=True)):
        if tangent.size:
            shape = leaf.real.shape
            regions.append(Region(k, (slice(None),) * len(shape), shape))
            moves.append(tangent)
    found = run.along(Along(Given(tuple(regions), tuple(moves)), (share, -share)))
    above, below = (np.atleast_1d(np.asarray(value, float)) for value in found.values)
    with np.errstate(all="ignore"):
        return np.asarray((above - below) / (2 * share))
