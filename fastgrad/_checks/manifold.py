"""Gradients on manifolds: `f` as a function of moves, and what a gradient says of these.

A retraction R(x, v) moves parameters x along v and stays on the manifold. What is checked is
``v -> f(R(x, v))`` at v = 0. Its derivative by an entry of v is the inner product of the gradient
with the tangent vector ``t = d/ds R(x, s e)`` at s = 0, of the unit move e of that entry, whatever
part of e is tangent: only the retraction is needed (N. Boumal, An Introduction to Optimization on
Smooth Manifolds, Cambridge 2023, sections 3.6 and 4.8).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastgrad._checks.claim import Analytic
from fastgrad._derivatives.given import column_of
from fastgrad._dtypes import EPS
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.protocol import Gradient, Target
from fastgrad._leaf import Leaf, lengths_of
from fastgrad._report.entries import LeafSpan, Verdict
from fastgrad._stencils import central
from fastgrad._steps import Steps
from fastgrad._tree import Params, describe, flatten, pair, unflatten
from fastgrad._workers.evaluator import evaluator

__all__ = ["Manifold", "directions_of"]

# Random directions of a probe. An entry that is off by much beside the typical one shows in each.
_DIRECTIONS = 16
# Tangent vectors are differences of fourth order: off by some u**(4/5) = 3e-13 of the parameters,
# a hundredth of what differences of `f` are at best.
_STENCIL = central(4)
# R(x, 0) is x to this share of a length, and to this many spacings of the parameters' type:
# retractions divide by norms, and decompose matrices. Rounded to five digits, x is on no manifold.
_AT_REST, _SPACINGS = 1e-6, 1024.0
# A gradient is not tangent if this share of it is off, and if more than this many times what the
# stencil leaves: rotations of float32 gave 30 times that.
_NORMAL, _LEFT = 1e-6, 1000.0


@dataclass(frozen=True)
class _Path:
    """Parameters as a function of the move `v`, or of how far to go along some directions."""

    retraction: Callable[[Any, Any], Any]
    params: Params
    directions: np.ndarray | None  # (k, n), each a column of all entries

    def __call__(self, moves: Any) -> Any:
        """The moved parameters."""
        if self.directions is not None:
            moves = _nested(self.params, moves["directions"] @ self.directions)
        return self.retraction(self.params, moves)


@dataclass(frozen=True)
class _Composed:
    """`f` as a function of moves; at the top level, so that it can be sent to workers."""

    f: Callable[[Any], Any]
    path: _Path

    def __call__(self, moves: Any) -> Any:
        """The value at the moved parameters."""
        return self.f(self.path(moves))


@dataclass(frozen=True)
class _Claimed:
    """What a gradient says that moves add to `f`, to first order."""

    column: np.ndarray
    path: _Path
    start: np.ndarray

    def __call__(self, moves: Any) -> float:
        """Its inner product with how far the parameters have moved."""
        return float(self.column @ (_column(self.path.params, self.path(moves)) - self.start))


class Manifold:
    """What is checked in place of `f` and its parameters: functions of moves, which are zero."""

    def __init__(
        self,
        f: Callable[[Any], Any],
        retraction: Any,
        argument: Params,
        leaves: Sequence[Leaf],
        directions: np.ndarray | None,
    ) -> None:
        if not callable(retraction):
            raise InputTypeError(
                "`retraction` must be callable as retraction(params, v); got "
                f"{describe(retraction)}"
            )
        self._points, self._argument = leaves, argument
        self._path = _Path(retraction, argument, directions)
        self.f = _Composed(f, self._path)
        zeros = [np.zeros(x.array.shape, x.array.dtype.newbyteorder("=")) for x in leaves]
        self.moves: Any = unflatten(argument, iter(zeros))
        self._start = column_of([leaf.array for leaf in leaves], leaves)
        self._refuse_other_starts(retraction(argument, self.moves))
        if directions is not None:
            self.moves = {"directions": np.zeros(len(directions))}
        self.leaves = flatten(self.moves)

    def _refuse_other_starts(self, there: Any) -> None:
        """Refuse a retraction that moves parameters that stand still."""
        off = np.abs(_column(self._argument, there) - self._start)
        allowed = np.concatenate(
            [np.empty(0), *(_allowed(leaf) for leaf in self._points)]
        ) * _lengths(self._points)
        wrong = np.flatnonzero(~(off <= allowed) & np.isfinite(self._start))
        if len(wrong):
            worst = int(wrong[np.argmax(np.nan_to_num(off[wrong], nan=np.inf))])
            raise InputValueError(
                f"`retraction` must return the parameters themselves for a move of zero; "
                f"`{_name(self._points, worst)}` was off by {off[worst]:.2g}: do the parameters "
                "lie on the manifold, and is v added to them?"
            )

    def claimed(self, claim: Analytic) -> Analytic:
        """What a gradient by the parameters claims of moves.

        A value that came with it is let go: a retraction rounds parameters anew.
        """
        known = np.isfinite(claim.column)
        column = self._derivatives(np.where(known, claim.column, 0.0))
        if self._path.directions is None:
            # What is not finite says so where it stands.
            column[~known] = claim.column[~known]
            return replace(claim, column=column, value=None)
        span = LeafSpan("directions", column.shape, "float64", 0, len(column), False)
        return replace(claim, column=column, eps=(max(claim.eps),), spans=(span,), value=None)

    def _derivatives(self, gradient: np.ndarray) -> np.ndarray:
        """The inner products of a gradient with the tangent vectors of all moves."""
        function = _Claimed(gradient, self._path, self._start)
        run = evaluator(function, self.moves, self.leaves)
        found = []
        try:
            with run:
                for k, leaf in enumerate(self.leaves):
                    # Without doubts: what a retraction does is smooth beside the point.
                    steps = Steps(relative=_STENCIL.relative_step(leaf.real.dtype))
                    n = leaf.real.size
                    out = np.empty(n)
                    if n:
                        request = Gradient(k, 0, n, _STENCIL, steps, store=np.float64)
                        run.gradient((request,), (Target(out),))
                    found.append(out)
        finally:
            run.guard.close()
        return np.concatenate(found)

    def clause(self, claim: Analytic, verdict: Verdict) -> str:
        """What is to be said of a gradient that is not tangent, or of a retraction that is none."""
        if verdict is Verdict.CANNOT_TELL:
            return ""
        gradient = np.where(np.isfinite(claim.column), claim.column, 0.0)
        share = self._normal_share(gradient)
        if share > self._resolved():
            return (
                f"; the gradient is not tangent to the manifold, but off by {share:.2g} of its "
                "norm, as a Euclidean gradient is that was not projected"
            )
        random = np.random.default_rng(0).normal(size=len(gradient)) * _lengths(self._points)
        if verdict is Verdict.WRONG and not self._normal_share(random) > self._resolved():
            return (
                "; `retraction` takes any v for tangent: if there is a tangent space, let it "
                "project v first, as retraction(x, projection(x, v))"
            )
        return ""

    def _normal_share(self, v: np.ndarray) -> float:
        """The share of a vector that the retraction does not follow: 0 of a tangent one."""
        size = float((np.abs(v) / _lengths(self._points)).max(initial=0.0))
        if not size:
            return 0.0
        unit = v / size
        step = _STENCIL.relative_step(_widest(self._points))
        moved = np.zeros(len(v))
        for offset, weight in _STENCIL.weights.items():
            there = self._path.retraction(
                self._argument, _nested(self._argument, offset * step * unit)
            )
            moved += float(weight) * (_column(self._argument, there) - self._start)
        return float(np.linalg.norm(moved / step - unit) / np.linalg.norm(unit))

    def _resolved(self) -> float:
        """The share below which a vector is tangent, as far as differences show."""
        eps = EPS[_widest(self._points).char]
        return max(_NORMAL, _LEFT * float(eps**0.8))


def directions_of(leaves: Sequence[Leaf], chosen: Sequence[Any], seed: int) -> np.ndarray:
    """Random moves of half a length to one and a half of each entry that is meant: (k, n).

    `chosen` are numbers of the entries of each leaf, or None for all of them.
    """
    random = np.random.default_rng(seed)
    n = sum(leaf.real.size for leaf in leaves)
    moves = random.choice((-1.0, 1.0), (_DIRECTIONS, n)) * _lengths(leaves)
    moves *= random.uniform(0.5, 1.5, (_DIRECTIONS, n))
    start = 0
    for leaf, mine in zip(leaves, chosen, strict=True):
        stop = start + leaf.real.size
        if mine is not None:
            kept = moves[:, start:stop][:, mine]
            moves[:, start:stop] = 0.0
            moves[:, start + mine] = kept
        start = stop
    meant: np.ndarray = moves if moves.any() else moves[:0]
    return meant


def _column(argument: Params, given: Any) -> np.ndarray:
    """What a retraction returned as one column of real numbers."""
    parts = []
    for leaf, part in pair(argument, given, "retraction(params, v)"):
        array = np.asarray(part)
        kinds = "iufc" if leaf.is_complex else "iuf"
        if array.dtype.kind not in kinds or array.shape != leaf.array.shape:
            raise InputValueError(
                f"`retraction` must return the structure of the parameters; at `{leaf.path}` an "
                f"array of shape {leaf.array.shape} is expected, and it returned "
                f"{describe(part)} of dtype {array.dtype}"
            )
        parts.append((leaf, array))
    return column_of([array for _, array in parts], [leaf for leaf, _ in parts])


def _nested(argument: Params, column: np.ndarray) -> Params:
    """A column of real numbers as moves, in the structure and the types of the parameters."""
    return unflatten(argument, _arrays(flatten(argument), column))


def _arrays(leaves: Sequence[Leaf], column: np.ndarray) -> Iterator[np.ndarray]:
    start = 0
    for leaf in leaves:
        stop = start + leaf.real.size
        part = column[start:stop]
        part = part.view(np.complex128) if leaf.is_complex else part
        yield part.astype(leaf.array.dtype.newbyteorder("=")).reshape(leaf.array.shape)
        start = stop


def _lengths(leaves: Sequence[Leaf]) -> np.ndarray:
    return np.concatenate([np.empty(0), *(lengths_of(leaf.real).reshape(-1) for leaf in leaves)])


def _allowed(leaf: Leaf) -> np.ndarray:
    share = max(_AT_REST, _SPACINGS * EPS[leaf.real.dtype.char])
    return np.full(leaf.real.size, share)


def _name(leaves: Sequence[Leaf], position: int) -> str:
    for leaf in leaves:
        if position < leaf.real.size:
            return leaf.name(position)
        position -= leaf.real.size
    return ""


def _widest(leaves: Sequence[Leaf]) -> np.dtype:
    """The type of the parameters with the largest spacing."""
    found: np.dtype = max((leaf.real.dtype for leaf in leaves), key=lambda d: EPS[d.char])
    return found
