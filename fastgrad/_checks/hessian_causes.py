"""What is wrong with a Hessian as a whole: it must be symmetric, and no approximation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastgrad._checks.case import Case
from fastgrad._checks.claim import Analytic
from fastgrad._checks.error_model import SAFETY
from fastgrad._checks.findings import DOUBTFUL
from fastgrad._checks.layout import Layout
from fastgrad._checks.relations import factor_text
from fastgrad._checks.result import Result
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Verdict
from fastgrad._report.format import two_numbers

__all__ = ["asymmetry", "causes_of"]

# Rounding of two entries that should be the same, in spacings of the coarsest type of the Hessian,
# relative to its largest entries beside them: as granted to an analytic gradient, twice.
_ROUNDINGS = 32.0
# A matrix is positive semidefinite if its least eigenvalue is above so much of the largest, below
# zero: rounding of a product with its transpose is far less.
_NOTHING = 1e-10
# ... and another one is clearly not.
_CLEARLY = 1e-3
# Relations that are tried here, by which chance has as many ways to explain what is wrong.
_WAYS = 7.0
# Causes that say that no simple relation explains it.
_UNEXPLAINED = (*DOUBTFUL, Cause.NEARBY)


@dataclass(frozen=True)
class _Matrices:
    """A Hessian that is claimed, the numeric one, its error bars, and what is wrong: (n, n)."""

    claimed: np.ndarray
    numeric: np.ndarray
    bound: np.ndarray
    wrong: np.ndarray

    @staticmethod
    def of(layout: Layout, result: Result) -> _Matrices:
        entries, matrix = result.entries, layout.matrix_of
        return _Matrices(
            matrix(entries.analytic),
            matrix(entries.numeric),
            matrix(entries.uncertainty),
            matrix(entries.codes) == Verdict.WRONG.code,
        )

    def fits(self, predicted: np.ndarray, gain: float = 1.0) -> bool:
        """Whether the claim is what is predicted, wherever that is known and beyond chance."""
        zero = np.zeros(predicted.shape)
        marks = (self.wrong, zero > 0)
        case = Case("H", self.claimed, self.numeric, self.bound, zero, *marks, 2.0**-52)
        return bool(case.known.all()) and case.fits(predicted, gain, fitted=0, ways=_WAYS)

    def symmetrized(self, factor: float) -> bool:
        """Whether the sum with its transpose, times a factor, is right everywhere."""
        with np.errstate(over="ignore", invalid="ignore"):
            even = factor * (self.claimed + self.claimed.T)
            return bool((np.abs(even - self.numeric) <= SAFETY * self.bound).all())


def asymmetry(layout: Layout, claim: Analytic) -> Finding | None:
    """The pair of entries of a claimed Hessian that differ most, if by more than rounding."""
    H = layout.matrix_of(claim.column)
    H = np.where(np.isfinite(H) & np.isfinite(H.T), H, 0.0)  # what is no number is told as such
    size = np.maximum(np.abs(H), np.abs(H.T))
    rows = size.max(axis=1, initial=0.0)
    beside = np.sqrt(rows[:, None]) * np.sqrt(rows[None, :])  # of which no product overflows
    eps = max(claim.eps, default=2.0**-52)
    with np.errstate(over="ignore", invalid="ignore"):
        allowed = _ROUNDINGS * eps * beside + 2 * (claim.atol + claim.rtol * size)
        gap = np.abs(H - H.T)
        excess = gap - allowed
    worst = int(excess.argmax()) if excess.size else 0
    if not excess.size or not excess.flat[worst] > 0:
        return None
    i, j = divmod(worst, len(H))
    pair = [_name(layout, *at) for at in ((i, j), (j, i))]
    values = two_numbers(H[i, j], H[j, i], 9)
    said = ", and ".join(f"{name} is {value}" for name, value in zip(pair, values, strict=True))
    sentence = f"the Hessian is not symmetric: {said}"
    evidence: dict[str, Any] = {"wrong": 2, "entries": H.size, "asymmetry": float(gap.max())}
    return Finding(Cause.ASYMMETRIC, layout.leaves[0].path, pair[0], sentence, evidence)


def _name(layout: Layout, row: int, column: int) -> str:
    k = next(k for k, side in enumerate(layout.columns) if column < side.stop)
    return f"{layout.row_name(row)} / {layout.leaves[k].name(column - layout.columns[k].start)}"


def causes_of(layout: Layout, result: Result) -> tuple[Finding, ...]:
    """The relation of the whole matrix that explains all that is wrong in it, if there is one."""
    with np.errstate(all="ignore"):
        each = _Matrices.of(layout, result)
        if len(each.claimed) < 2 or not each.wrong.any():
            return ()
        found = next(_relations(each), None)
        if found is None and all(cause.kind in _UNEXPLAINED for cause in result.causes):
            found = _approximation(each)
    if found is None:
        return ()
    kind, words, more = found
    evidence = {"wrong": int(each.wrong.sum()), "entries": each.wrong.size, **more}
    return (Finding(kind, layout.leaves[0].path, "the Hessian", f"the Hessian {words}", evidence),)


_Found = tuple[Cause, str, dict[str, Any]]


def _relations(each: _Matrices) -> Iterator[_Found]:
    H, D = each.claimed, each.numeric
    diagonal = np.eye(len(H), dtype=bool)
    for name, other, part in (("upper", "below", np.triu), ("lower", "above", np.tril)):
        if not (H - part(H)).any() and each.fits(part(D)):
            words = f"holds its {name} triangle alone, and zeros {other}: copy it to the other side"
            yield Cause.ASYMMETRIC, words, {}
    # The parts of a matrix that is not symmetric.
    uneven = not np.allclose(H, H.T)
    if uneven and each.symmetrized(0.5):
        words = "is not symmetric, and its symmetric part is right: return (H + H.T) / 2"
        yield Cause.ASYMMETRIC, words, {}
    if uneven and each.symmetrized(1.0):
        yield Cause.ASYMMETRIC, "lacks its transpose: H + H.T is right", {}
    for where, mask in (("on its diagonal", diagonal), ("beside its diagonal", ~diagonal)):
        if each.wrong[~mask].any() or not each.wrong[mask].any():
            continue
        if not H[mask].any():
            yield Cause.ZERO, f"is zero {where}, and right elsewhere", {}
        square = float((D[mask] ** 2).sum())
        c = float((H[mask] * D[mask]).sum() / square) if square else 0.0
        if c and each.fits(np.where(mask, c * D, D), max(1.0, abs(c))):
            words = f"is {factor_text(c)} x the numeric one {where}, and right elsewhere"
            yield Cause.SIGN if abs(c + 1) < 1e-6 else Cause.FACTOR, words, {"factor": c}


def _approximation(each: _Matrices) -> _Found | None:
    """A product J.T @ J, which has no negative eigenvalue, where the Hessian has one."""
    H, D = each.claimed, (each.numeric + each.numeric.T) / 2
    if not (np.isfinite(H).all() and np.isfinite(D).all() and np.allclose(H, H.T)):
        return None
    claimed, numeric = np.linalg.eigvalsh(H), np.linalg.eigvalsh(D)
    if claimed[0] < -_NOTHING * claimed[-1] or numeric[0] > -_CLEARLY * np.abs(numeric).max():
        return None
    words = (
        "is positive semidefinite, and the numeric one is not (its least eigenvalue is "
        f"{numeric[0]:.3g}): it may be a Gauss-Newton approximation, without the second "
        "derivatives of the residuals"
    )
    return Cause.APPROXIMATION, words, {"eigenvalue": float(numeric[0])}
