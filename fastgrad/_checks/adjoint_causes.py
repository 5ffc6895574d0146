"""What an adjoint is instead of the right one, from inner products of random vectors.

If `adjoint` is the right one followed by some T that keeps lengths, such as a shift, a flip or a
conjugate, ``<A x, y>`` is ``<T x, B y>``; if T comes before it, ``<x, B y>`` is ``<A x, T y>``. So
most guesses need no value that is not known, and two vectors on each side leave no room for
coincidence: four products must agree.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations, permutations
from typing import Any

import numpy as np

from fastgrad._checks.adjoint_search import Function, Maps, Region
from fastgrad._checks.findings import in_order
from fastgrad._checks.inner_products import Pair
from fastgrad._checks.misplaced import along_axes
from fastgrad._checks.relations import NEVER_COMPUTED, factor_text, named_factor
from fastgrad._checks.space import SpaceLeaf
from fastgrad._report.causes import Cause, Finding

__all__ = ["Relation", "cause_of", "findings"]

# Relative errors below this are those of a nearby map: a wrong index, or a lost term, changes the
# first digits.
_NEARBY = 1e-4
# Axes whose orders and flips are tried: 5! = 120 are too many.
_MOST_AXES = 4
# Shifts that are tried along each axis, by so many places to either side, and by one half.
_SHIFTS = (1, 2)
# Places of one finding that are named in its sentence.
_NAMED = 3


@dataclass(frozen=True)
class Relation:
    """What `adjoint` is, in words that follow its name."""

    kind: Cause
    words: str
    meaning: str = ""
    evidence: dict[str, Any] = field(default_factory=dict)
    doubtful: bool = False  # whether rounding may explain it as well


def cause_of(region: Region, maps: Maps) -> Relation:
    """The simplest relation that explains a region."""
    for relation, forwards, adjoints in _guesses(region, maps):
        if _explains(region, forwards, adjoints):
            return relation
    return _unexplained(region)


def _explains(region: Region, forwards: np.ndarray, adjoints: np.ndarray) -> bool:
    """Whether four products agree where the ones in the region do not."""
    allowed = np.array([each.doubt for each in region.products])
    return bool((np.abs(forwards - adjoints) <= allowed).all())


def _guesses(region: Region, maps: Maps) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    """Relations, with what both products of each pair of vectors are if they hold."""
    forwards, _adjoints = _columns(region)
    pair = region.pair
    zeros = np.zeros(len(forwards))
    yield Relation(Cause.ZERO, "is zero", NEVER_COMPUTED), zeros, _inside(region)
    yield from _factors(region)
    if pair.size == 1:
        return
    yield from _complex(region, maps)
    yield from _complex_factor(region)
    if pair.is_whole:
        yield from _itself(region, maps)
        yield from _exchanged(region, maps)
        yield from _moved(region)


def _inner(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum())


def _columns(region: Region) -> tuple[np.ndarray, np.ndarray]:
    products = region.products
    return np.array([p.forward for p in products]), np.array([p.adjoint for p in products])


def _inside(region: Region) -> np.ndarray:
    """The largest value of `adjoint` in the region, for each product."""
    x, box = region.pair.x, region.pair.x_box
    largest = [float(np.abs(x.of(each)[box]).max(initial=0.0)) for each in region.adjoints]
    return np.array(largest * len(region.xs))


# ---------------------------------------------------------------------------------------- factors


def _factors(region: Region) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    forwards, adjoints = _columns(region)
    square = float(forwards @ forwards)
    if not square:
        return
    c = float(forwards @ adjoints) / square
    evidence = {"factor": c}
    if abs(c + 1) <= region.rounding.apart:
        yield Relation(Cause.SIGN, "has the wrong sign", "", evidence), -forwards, adjoints
    elif region.pair.size > 1:  # one entry has some factor always
        yield _factor(c), c * forwards, adjoints


def _factor(c: float) -> Relation:
    words = f"is {factor_text(c)} x the adjoint of `forward`"
    named = named_factor(c)
    return Relation(Cause.FACTOR, words, named[1] if named else "", {"factor": c})


def _complex_factor(region: Region) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    """A complex multiple: the part along 1j is the product with vectors turned by it.

    A conjugate that is missing, which has no number to fit, is simpler and comes first.
    """
    pair = region.pair
    if not (pair.x.is_complex and pair.y.is_complex and _both_parts(pair)):
        return
    forwards, adjoints = _columns(region)
    y = pair.y
    turned = np.array(
        [_inner(f, _acted(each, y, _times_j)) for f in region.forwards for each in region.ys]
    )
    basis = np.stack([forwards, turned], axis=1)
    (re, im), *_ = np.linalg.lstsq(basis, adjoints, rcond=None)
    nothing = region.rounding.apart * math.hypot(re, im)
    if abs(im) > nothing:
        re = re if abs(re) > nothing else 0.0
        words = f"is ({re:.4g}{im:+.4g}j) x the adjoint of `forward`"
        relation = Relation(Cause.FACTOR, words, "", {"factor": complex(re, im)})
        yield relation, basis @ np.array([re, im]), adjoints


def _times_j(real: np.ndarray) -> np.ndarray:
    """Multiply by 1j: the last axis is real and imaginary part."""
    return np.stack([-real[..., 1], real[..., 0]], axis=-1)


def _conjugate(real: np.ndarray) -> np.ndarray:
    turned: np.ndarray = real * np.array([1.0, -1.0])
    return turned


def _both_parts(pair: Pair) -> bool:
    """Whether the boxes hold real and imaginary parts of complex arrays alike."""
    sides = ((pair.x, pair.x_box), (pair.y, pair.y_box))
    return all(box[-1] == slice(0, 2) for leaf, box in sides if leaf.is_complex)


def _acted(vector: np.ndarray, leaf: SpaceLeaf, act: Function) -> np.ndarray:
    """The vector with an array of it acted upon."""
    made: np.ndarray = vector.copy()
    leaf.of(made)[...] = act(leaf.of(vector))
    return made


# ---------------------------------------------------------------------------- complex conventions


def _complex(region: Region, maps: Maps) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    pair = region.pair
    forwards, adjoints = _columns(region)
    if not _both_parts(pair):
        return
    words = "is right but for a conjugate of its "
    if pair.y.is_complex:
        yield (
            Relation(Cause.CONJUGATE, f"{words}argument"),
            _with_y(region, _conjugate),
            adjoints,
        )
    if pair.x.is_complex:
        yield Relation(Cause.CONJUGATE, f"{words}result"), forwards, _with_x(region, _conjugate)
    if pair.x.is_complex and pair.y.is_complex:
        turned = [maps.forward(_acted(x, pair.x, _conjugate)) for x in region.xs]
        ys = [_acted(y, pair.y, _conjugate) for y in region.ys]
        products = np.array([_inner(f, y) for f in turned for y in ys])
        relation = Relation(Cause.NOT_CONJUGATED, "is the transpose of `forward`, not conjugated")
        yield relation, products, adjoints


def _with_y(region: Region, act: Function) -> np.ndarray:
    """The products of `forward` with acted-upon vectors: what `adjoint` does first."""
    ys = [_acted(y, region.pair.y, act) for y in region.ys]
    return np.array([_inner(f, y) for f in region.forwards for y in ys])


def _with_x(region: Region, act: Function) -> np.ndarray:
    """The products of acted-upon vectors with `adjoint`: what it does last, undone."""
    xs = [_acted(x, region.pair.x, act) for x in region.xs]
    return np.array([_inner(x, b) for x in xs for b in region.adjoints])


# ------------------------------------------------------------------------------- the map itself


def _itself(region: Region, maps: Maps) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    """`forward` in place of its adjoint, or its inverse."""
    x, y = region.pair.x, region.pair.y
    if math.prod(x.shape) != math.prod(y.shape) or x.is_complex != y.is_complex:
        return
    _, adjoints = _columns(region)
    images = [maps.forward(_carried(each, y, x, maps.x.size)) for each in region.ys]
    products = [
        _inner(_carried(each, x, y, maps.y.size), image) for each in region.xs for image in images
    ]
    words = "is `forward` itself, where its transpose is meant"
    yield Relation(Cause.TRANSPOSED, words), np.array(products), adjoints
    only = len(maps.x.leaves) == len(maps.y.leaves) == 1
    if not only:
        return
    # Compared along `ys`, in place of the products: forward(adjoint(y)) is y, for both vectors.
    back = [maps.forward(each) for each in region.adjoints]
    pairs = [(other, y_k, b) for other in region.ys for y_k, b in zip(region.ys, back, strict=True)]
    expected = np.array([_inner(other, y_k) for other, y_k, _ in pairs])
    found = np.array([_inner(other, b) for other, _, b in pairs])
    # A matrix that is inverted loses digits by its condition.
    if (np.abs(expected - found) <= _NEARBY * np.abs(expected).max()).all():
        said = Relation(Cause.INVERSE, "is the inverse of `forward`, where its transpose is meant")
        yield said, adjoints, adjoints


def _exchanged(region: Region, maps: Maps) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    """What belongs to another array of the same shape."""
    x, y = region.pair.x, region.pair.y
    _forwards, adjoints = _columns(region)
    for other in maps.x.leaves:
        if other != x and other.real_shape == x.real_shape:
            images = [maps.forward(_carried(each, x, other, maps.x.size)) for each in region.xs]
            products = np.array([_inner(image, each) for image in images for each in region.ys])
            words = f"is what belongs to `{other.path}`"
            yield Relation(Cause.SWAPPED, words), products, adjoints
    for other in maps.y.leaves:
        if other != y and other.real_shape == y.real_shape:
            ys = [_carried(each, y, other, maps.y.size) for each in region.ys]
            products = np.array([_inner(f, each) for f in region.forwards for each in ys])
            words = f"takes `{y.path}` for `{other.path}`"
            yield Relation(Cause.SWAPPED, words), products, adjoints


def _carried(vector: np.ndarray, source: SpaceLeaf, to: SpaceLeaf, size: int) -> np.ndarray:
    """The numbers of one array in the place of another one, of the other side."""
    made = np.zeros(size)
    to.of(made)[...] = source.of(vector).reshape(to.real_shape)
    return made


# ------------------------------------------------------------------------------- misplaced values


def _moved(region: Region) -> Iterator[tuple[Relation, np.ndarray, np.ndarray]]:
    """Values in other places: on the side of what `adjoint` returns, or of what it is given."""
    forwards, adjoints = _columns(region)
    for kind, how, move in _moves(region.pair.x):
        yield Relation(kind, f"is the adjoint of `forward` {how}"), forwards, _with_x(region, move)
    for kind, how, move in _moves(region.pair.y):
        words = f"is the adjoint of `forward` applied to its argument {how}"
        yield Relation(kind, words), _with_y(region, move), adjoints


def _moves(leaf: SpaceLeaf) -> Iterator[tuple[Cause, str, Function]]:
    """Ways to move the values of an array: the kind, in words, and as a function."""
    shape, ndim = leaf.shape, len(leaf.shape)
    long = [axis for axis, n in enumerate(shape) if n > 1]
    if len(long) > _MOST_AXES:
        return
    for axis in long:
        n = shape[axis]
        for by in dict.fromkeys(s * k for k in (*_SHIFTS, n // 2) for s in (1, -1) if k < n):
            words = f"shifted by {by}{along_axes((axis,), ndim)}"
            yield Cause.SHIFTED, words, _roll(by, axis)
    for count in range(1, len(long) + 1):
        for axes in combinations(long, count):
            yield Cause.REVERSED, f"reversed{along_axes(axes, ndim)}", _flip(axes)
    for order in permutations(range(ndim)):
        turned = tuple(shape[axis] for axis in order)
        if turned == shape and order != tuple(range(ndim)):
            words = "transposed" if ndim == 2 else f"with its axes in the order {order}"
            yield Cause.TRANSPOSED, words, _turn(order)


def _roll(by: int, axis: int) -> Function:
    return lambda real: np.roll(real, by, axis)


def _flip(axes: tuple[int, ...]) -> Function:
    return lambda real: np.flip(real, axes)


def _turn(order: tuple[int, ...]) -> Function:
    # The parts of complex numbers stay behind.
    return lambda real: real.transpose((*order, *range(len(order), real.ndim)))


# ---------------------------------------------------------------------------- without a relation


def _unexplained(region: Region) -> Relation:
    products = region.products
    shares = [each.error / each.size for each in products if each.size]
    off = math.sqrt(sum(share**2 for share in shares) / len(shares))
    evidence = {"relative_error": off}
    if region.pair.size == 1:
        worst = products[0]
        ratio = worst.adjoint / worst.forward if worst.forward else math.inf
        times = f"{factor_text(ratio)} x " * math.isfinite(ratio)
        words = f"is {times}what it should be" if times else "is not zero, where `forward` is"
        return Relation(Cause.SINGLE, words, "", evidence)
    if off <= _NEARBY:
        words = f"is close to the adjoint of `forward`, with a relative error of {off:.1g}"
        # Errors without a pattern, smaller than a short format makes them: maps that are inverted
        # lose as many digits, by their condition, and each of the two its own.
        doubtful = off <= region.rounding.doubtful
        single = float(np.finfo(np.float32).eps)
        if region.rounding.eps < single and not doubtful and off <= single:
            meaning = "one of the two has coefficients of float32"
            return Relation(Cause.PRECISION, words, meaning, evidence)
        meaning = "it is that of a nearby map"
        return Relation(Cause.NEARBY, words, meaning, evidence, doubtful)
    if not any(each.forward for each in products):
        return Relation(Cause.UNKNOWN, "is not zero, where `forward` is", "", evidence)
    words = f"is wrong, with a relative error of {off:.2g} along random vectors"
    return Relation(Cause.UNKNOWN, words, "", evidence)


# ----------------------------------------------------------------------------------------- in words


def findings(told: Sequence[tuple[Region, Relation]]) -> tuple[Finding, ...]:
    """One finding for each relation, that of the largest region first."""
    # Where arrays are exchanged each one's own block is zero, and that is not another bug.
    if any(relation.kind is Cause.SWAPPED for _, relation in told):
        told = [each for each in told if each[1].kind is not Cause.ZERO]
    groups: dict[Any, list[tuple[Region, Relation]]] = {}
    for region, relation in told:
        groups.setdefault((relation.kind, relation.words), []).append((region, relation))
    return in_order([_finding(group) for group in groups.values()])


def _finding(group: Sequence[tuple[Region, Relation]]) -> Finding:
    pairs = [region.pair for region, _ in group]
    relation = group[0][1]
    places = [f"{pair.y_name} / {pair.x_name}" for pair in pairs[:_NAMED]]
    more = f" and {len(pairs) - _NAMED:,} more" * (len(pairs) > _NAMED)
    meaning = f": {relation.meaning}" * bool(relation.meaning)
    said = ", ".join(f"`{place}`" for place in places) + more
    sentence = f"{said}: `adjoint` {relation.words}{meaning}"
    size = sum(pair.size for pair in pairs)
    evidence = {"wrong": size, "entries": size, **relation.evidence}
    first = pairs[0]
    return Finding(relation.kind, first.x.path, ", ".join(places) + more, sentence, evidence)
