"""`jacobian_sparsity`: the pattern of a Jacobian, found by moving blocks of entries."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad import _backend
from fastgrad._derivatives.blocks import Entries, Outside, dependences
from fastgrad._derivatives.colored import differences, name_of_row, plan_of, refuse_complex
from fastgrad._derivatives.coloring import colored
from fastgrad._derivatives.gradient import refuse_unseen
from fastgrad._derivatives.pattern import Sparsity, pattern_of, sparse_of_scipy
from fastgrad._derivatives.sparse import one_real_array
from fastgrad._derivatives.undeclared import moves_of, residual_of
from fastgrad._derivatives.within import rooms_of
from fastgrad._dtypes import eps_of
from fastgrad._errors import InputTypeError, InputValueError
from fastgrad._evaluation.bounds import Bounds, bounds_of
from fastgrad._evaluation.direction import UNIT, Region, Uniform, key_of
from fastgrad._evaluation.lenient import Lenient, quiet
from fastgrad._evaluation.local import check_callable
from fastgrad._evaluation.meter import Metered
from fastgrad._leaf import Leaf
from fastgrad._stencils import central
from fastgrad._workers.evaluator import evaluator

__all__ = ["jacobian_sparsity"]

# How far from `x` the first point lies, and how far blocks move from there, in lengths
# ``max(1, |x|)`` of the entries: far enough that second-order terms show, which are all there is at
# a stationary point. Smaller ones are taken where `f` is not finite.
_FIRST = (2.0**-3, 2.0**-6, 2.0**-10, 2.0**-16, 2.0**-24)
# Points where the pattern is verified: the mirror image of the first one, for what one side of a
# kink hides; then close to `x`; then far from it, on both sides. The two of a pair mirror each
# other.
_LATER = (-(2.0**-3), 2.0**-10, 1.0, -1.0)
# Where `f` is not finite at such a point, it comes closer by this factor, twice: from a length to
# a sixty-fourth of it, beyond which the point close to `x` is as good.
_CLOSER, _TRIES = 2.0**-3, 3
# Moves of the least width are many spacings of the type, so that none is lost.
_SPACINGS = 16.0
# A missing entry escapes one look along a random direction if 14 random bits of its move happen to
# make up for what it did to the columns of its color: two values of them at most do.
_ESCAPES = 2.0**-13

_NOWHERE = (
    "`f` must be finite around `x`, and was at no point beside it ({}); pass an `x` inside of its "
    "domain, or a pattern that is known"
)


def jacobian_sparsity(
    f: Callable[[Any], Any],
    x: Any,
    *,
    bounds: Any = None,
    workers: Any = None,
    progress: bool = False,
    seed: int = 0,
) -> Sparsity:
    """Find where the Jacobian of a function may be other than zero.

    Blocks of entries of `x` are moved, and those on which a value of `f` was seen to depend are
    halved, all values at once: some three evaluations for each color and each halving, where
    moving each entry takes as many as there are entries.

    Parameters
    ----------
    f : callable
        ``f(x)`` returns `m` real numbers: an array of any shape, or a nest of arrays, whose entries
        in order are the rows. It must not write into `x`.
    x : array of a real floating type, of any shape, or numbers
        Around which the pattern is found. Its `n` entries, in C order, are the columns. They are
        moved in place and put back to the bit.
    bounds : pair (lower, upper) or scipy.optimize.Bounds, optional
        Where `f` may be evaluated, as for `gradient`. Points and moves stay within; nothing is
        known to depend on an entry whose two bounds are equal.
    workers : int, Executor, dask Client or map-like callable, optional
        The workers that evaluate `f`; see `gradient`. At each of the points they get `f` and its
        parameters anew.
    progress : bool, default False
        Show a bar with the evaluations made, if standard error is a terminal, or in a notebook.
        This needs tqdm.
    seed : int, default 0
        Of the random moves.

    Returns
    -------
    Sparsity
        The pattern, and how sure it is; pass it as `sparsity`.

    Raises
    ------
    InputTypeError
        `x` is not one real array, or `f` did not return real numbers.
    InputValueError
        `f` is not finite at `x`, or nowhere around it, or it is not repeatable; or `x` lies outside
        of its bounds.
    MutationError, ConcurrencyError, WorkerError, ObjectiveError
        As for `gradient`.
    MissingPackageError
        SciPy is not installed, or `progress` is true and tqdm is not.

    See Also
    --------
    sparse_jacobian : the Jacobian itself, from a pattern.

    Notes
    -----
    A pattern shall hold at other parameters too, so none is found at `x` itself, where derivatives
    may vanish by accident. Blocks are moved at a random point an eighth of a length ``max(1, |x|)``
    away, by about as much; a value depends on a block if any of its bits changes. The pattern is
    then verified at four more points: the mirror image of the first one, a point near `x`, and two
    at a distance of a length, which mirror each other. There a Jacobian is measured by colors and
    compared with the derivative along a random direction, as by `sparse_jacobian`, and rows that
    disagree are searched by blocks anew. Where `f` raises or is not finite, points and moves come
    closer to `x`; a point that is not found so is left out. What is zero around all of the points
    is not in the pattern, such as that of a branch that was not taken, nor is a dependence that
    rounding hides.

    Rounding that spreads counts as dependence, as through ``np.cumsum`` or a Fourier transform:
    such a pattern has more entries than the derivative, and none too few.

    To verify takes as many evaluations as four Jacobians. A row that depends on more than 32 blocks
    is looked at by itself, with each column alone if there are 256 at most. Of more columns 64 are
    drawn at random: a row that depends on each of them counts as full, and is not verified; another
    one takes up to two evaluations for each column.

    Examples
    --------
    >>> import numpy as np, fastgrad as fg
    >>> def f(x):
    ...     return np.diff(x, prepend=0.0) ** 2
    >>> found = fg.jacobian_sparsity(f, np.zeros(4))
    >>> print(found.pattern.toarray().astype(int))
    [[1 0 0 0]
     [1 1 0 0]
     [0 1 1 0]
     [0 0 1 1]]
    >>> fg.sparse_jacobian(f, np.array([1.0, 3.0, 2.0, 0.0]), found).toarray().round(6)[1]
    array([-4.,  4.,  0.,  0.])
    """
    check_callable(f, "f")
    sparse = sparse_of_scipy()
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise InputTypeError(f"`seed` must be an integer that is not negative; got {seed!r}")
    leaf = one_real_array(x)
    limits = bounds_of(bounds, leaf.array, [leaf])
    how = {"bounds": limits, "workers": workers, "progress": progress, "follow": True}
    run = evaluator(Lenient(f), leaf.array, [leaf], vector=True, **how)
    try:
        with run:
            base = _repeated(run)
            run.guard.thin()
            with quiet():  # warnings of points that the user did not choose
                entries, widths = _Finder(run, leaf, len(base), int(seed), limits).entries()
    finally:
        run.guard.close()  # a Ctrl-C could come in between the call of `__exit__` and its body
    if not len(entries.rows) and not entries.full.any() and all((len(base), leaf.real.size)):
        assert run.outputs is not None
        refuse_unseen(f, leaf.array, [leaf], limits, run.outputs, warns=False)
    n = leaf.real.size
    full = np.flatnonzero(entries.full)
    rows = np.concatenate([entries.rows, np.repeat(full, n)])
    columns = np.concatenate([entries.columns, np.tile(np.arange(n), len(full))])
    pattern = sparse.csr_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(base), n))
    return Sparsity(pattern, run.evaluations, widths, full, _ESCAPES ** (len(widths) - 1))


def _repeated(run: Metered) -> np.ndarray:
    """The value at `x`, which must be finite and come out once more."""
    base: np.ndarray
    base, again = run.base().copy(), run.base().copy()
    run.guard.check()
    refuse_complex(run)
    if not np.isfinite(base).all():
        row = int((~np.isfinite(base)).argmax())
        raise InputValueError(
            f"`f` must be finite at `x`; `{name_of_row(run, row)}` is {base[row]:g}: pass an `x` "
            "inside of its domain"
        )
    if not np.array_equal(base, again):
        row = int((base != again).argmax())
        raise InputValueError(
            f"`f` must be repeatable; `{name_of_row(run, row)}` is {base[row]:.17g} and then "
            f"{again[row]:.17g} at the same `x`: fix its seed, or pass a pattern that is known"
        )
    return base


@dataclass(frozen=True, eq=False)
class _Finder:
    """Finds a pattern at one point and verifies it at others, which their widths tell apart."""

    run: Metered
    leaf: Leaf
    m: int
    seed: int
    bounds: Bounds | None

    def entries(self) -> tuple[Entries, tuple[float, ...]]:
        """The entries, and the widths of the points that they hold at."""
        if not self.m or not self.leaf.real.size:
            none = np.zeros(0, np.intp)
            return Entries(none, none, np.zeros(self.m, bool)), ()
        for width in _FIRST:
            found = self._first(self._wide(width))
            if found is not None:
                break
        else:
            raise InputValueError(
                _NOWHERE.format(self.run.raised or "its value is NaN or infinite")
            )
        widths = [self._wide(width)]
        for width in _LATER:
            for closer in range(_TRIES):
                at = self._wide(width * _CLOSER**closer)
                verified = self._verified(found, at)
                if verified is not None:
                    found = verified
                    widths.append(at)
                    break
        return found, tuple(widths)

    def _wide(self, width: float) -> float:
        least = _SPACINGS * eps_of(self.leaf.real)
        return math.copysign(max(abs(width), least), width)

    def _first(self, width: float) -> Entries | None:
        """The entries at one point; None where `f` is not finite around it."""
        with self._at(width) as base:
            everything = np.ones(self.m, bool)
            return None if base is None else self._searched(base, everything, [width])

    def _verified(self, entries: Entries, width: float) -> Entries | None:
        """The entries, and those that show at another point; None where `f` is not finite."""
        with self._at(width) as base:
            if base is None:
                return None
            rows = np.zeros(self.m, bool)
            rows[self._disagreeing(entries, base)] = True
            rows &= ~entries.full
            if not rows.any():
                return entries
            more = self._searched(base, rows, [w for w in _FIRST if w <= abs(width)])
            return None if more is None else entries.together(more)

    def _disagreeing(self, entries: Entries, base: np.ndarray) -> np.ndarray:
        """Rows whose derivative along a random direction is not what their entries say."""
        shape = (self.m, self.leaf.real.size)
        ones = np.ones(len(entries.rows), np.int8)
        sparse = sparse_of_scipy()
        pattern = pattern_of(sparse.csc_array((ones, (entries.rows, entries.columns)), shape=shape))
        stencil = central()
        steps = stencil.steps(self.leaf.real.dtype)
        plan = plan_of(self.leaf, colored(pattern), stencil, steps, self.bounds)
        used = base if plan.uses_base else None
        data = differences(self.run, pattern, plan, used)
        moves = moves_of(self.run, plan, self.seed, automatic=True)
        return residual_of(self.run, pattern, data, plan, moves, used).rows

    def _searched(
        self, base: np.ndarray, rows: np.ndarray, widths: Sequence[float]
    ) -> Entries | None:
        """Entries of some rows by blocks, with the largest of these moves that stay finite."""
        drawn = np.empty((1, self.leaf.real.size), np.int16)
        _backend.kernel.draw(drawn, key_of(self.seed, len(_LATER), 0), 0, 0)
        for width in widths:
            moves = drawn[0] * (self._wide(width) * UNIT) * self.run.scale(0)
            try:
                return dependences(self.run, base, self._within(moves), rows, self.seed)
            except Outside:
                continue
        return None

    def _within(self, moves: np.ndarray) -> np.ndarray:
        """The moves, to the other side or smaller where they would leave the bounds."""
        if self.bounds is None:
            return moves
        up, down = rooms_of(self.bounds, 0, np.arange(len(moves)), self.leaf)
        ahead, behind = np.where(moves > 0, up, down), np.where(moves > 0, down, up)
        size = np.abs(moves)
        turned = (ahead < size) & (behind > ahead)
        size = np.minimum(size, np.where(turned, behind, ahead))
        inside: np.ndarray = np.where(turned, -size, size) * np.sign(moves)
        return inside

    @contextmanager
    def _at(self, width: float) -> Iterator[np.ndarray | None]:
        """Have the parameters displaced; the value there, or None if it is not finite."""
        shape = self.leaf.real.shape
        everything = (Region(0, tuple(slice(0, n) for n in shape), shape),)
        # Points of one size on both sides mirror each other.
        direction = Uniform(self.seed, math.frexp(width)[1] % 2**32, everything, (1.0,))
        with self.run.displaced(direction, width):
            base = self.run.base().copy()
            yield base if np.isfinite(base).all() else None
