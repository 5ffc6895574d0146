"""Whether a cause is true of the data: tested against the exact gradient, not the numeric one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import numpy as np
from hostile_oracle import distances, flat
from hostile_places import mask_of
from hostile_problems import Problem, leaves

# A relation holds if it leaves this share of an entry's error unexplained, at most.
LEFT_OVER = 0.05
# Nor is this share of the leaf expected to be explained.
NOTICEABLE = 1e-6
# A gradient is near the right one if it is off by this share of the leaf, at most.
NEAR = 1e-2
# Wrong entries are isolated if they are so few, or one in so many.
ISOLATED, ONE_IN = 2, 4


@dataclass
class Data:
    """The claim and the right gradient of one leaf, of size one, and where they differ."""

    a: np.ndarray
    g: np.ndarray
    x: np.ndarray
    wrong: np.ndarray
    scale: float
    bars: float
    evidence: dict[str, Any]

    def fits(self, predicted: Any) -> np.ndarray:
        """Where a relation explains the claim."""
        left = np.abs(self.a - np.broadcast_to(predicted, self.a.shape))
        return np.asarray(left <= LEFT_OVER * np.abs(self.a - self.g) + NOTICEABLE + self.bars)

    def clear(self) -> np.ndarray:
        """Where the claim is wrong beyond all error bars."""
        return self.wrong & ~(np.abs(self.a - self.g) <= 2 * self.bars)


def _number(data: Data, name: str, mask: np.ndarray, shape: np.ndarray) -> float:
    """The coefficient that was named, or one fitted to the wrong entries."""
    if name in data.evidence:
        named = data.evidence[name]
        return float(named) / (1.0 if name == "factor" else data.scale)
    values = data.a if name == "factor" else data.a - data.g
    values, shape = values[mask], shape[mask]
    square = float((np.abs(shape) ** 2).sum())
    return float((values * np.conj(shape)).real.sum()) / square if square else 0.0


def _factor(data: Data, mask: np.ndarray) -> Iterator[Any]:
    yield _number(data, "factor", mask, data.g) * data.g


def _added(shape: Callable[[Data], np.ndarray]) -> Callable[[Data, np.ndarray], Iterator[Any]]:
    def predictions(data: Data, mask: np.ndarray) -> Iterator[Any]:
        values = shape(data)
        yield data.g + _number(data, "coefficient", mask, values) * values

    return predictions


def _reversed(data: Data, mask: np.ndarray) -> Iterator[Any]:
    g = data.g
    yield g.reshape(-1)[::-1].reshape(g.shape)
    for flips in product([False, True], repeat=g.ndim):
        yield np.flip(g, [k for k, flip in enumerate(flips) if flip])
    yield _put(g, mask, g[mask][::-1])


def _transposed(data: Data, mask: np.ndarray) -> Iterator[Any]:
    """As a whole, or what is in the place as a matrix."""
    g, part = data.g, data.g[mask]
    for order in permutations(range(g.ndim)):
        yield g.transpose(order).reshape(g.shape)
    for rows in (r for r in range(2, len(part)) if len(part) % r == 0):
        yield _put(g, mask, part.reshape(rows, -1).T.reshape(-1))


def _shifted(data: Data, mask: np.ndarray) -> Iterator[Any]:
    g, part = data.g, data.g[mask]
    for by in range(1, min(g.size, 64)):
        for axis in (None, *range(g.ndim)):
            yield np.roll(g, by, axis)
            yield np.roll(g, -by, axis)
        if by < len(part):
            yield _put(g, mask, np.roll(part, by))
            yield _put(g, mask, np.roll(part, -by))


def _put(g: np.ndarray, mask: np.ndarray, part: np.ndarray) -> np.ndarray:
    g = g.copy()
    g[mask] = part
    return g


def _permuted(data: Data, mask: np.ndarray) -> Iterator[Any]:
    """The nearest of the right values, which must all be of the leaf."""
    values = data.g.reshape(-1)
    nearest = np.abs(data.a.reshape(-1)[:, None] - values).argmin(axis=1)
    yield values[nearest].reshape(data.g.shape)


def _chained(data: Data, mask: np.ndarray) -> Iterator[Any]:
    x = data.x
    up = 1 / (1 + np.exp(-x))
    slopes = (x, np.exp(x), up, up * (1 - up), np.cosh(x) ** 2, 2 * x, x * (1 - x))
    for slope in (*slopes, -np.expm1(-x)):
        yield data.g * slope
        yield data.g / slope


def _projected(data: Data, mask: np.ndarray) -> Iterator[Any]:
    columns = np.column_stack([data.g[mask], data.x[mask]])
    fitted = np.linalg.lstsq(columns, data.a[mask], rcond=None)[0]
    yield fitted[0] * data.g + fitted[1] * data.x


def _symmetric(data: Data, mask: np.ndarray) -> Iterator[Any]:
    g = data.g
    if g.ndim == 2 and g.shape[0] == g.shape[1]:
        both, eye = g + g.T, np.eye(len(g)) * np.diag(g)
        lower = np.tril(both, -1)
        yield from (both / 2, both, both - eye, lower + eye, lower.T + eye, both / 2 + lower / 2)
        # As said, in pairs: only their sums are a multiple.
        off, sums = ~np.eye(len(g), dtype=bool), data.a + data.a.T
        c = float((sums * both)[off].sum() / (both[off] ** 2).sum())
        yield np.where(off & (np.abs(sums - c * both) <= LEFT_OVER * np.abs(both)), data.a, g)


def _broadcast(data: Data, mask: np.ndarray) -> Iterator[Any]:
    """Equal claims along an axis: a statement about the claim alone."""
    for axis in (None, *range(data.a.ndim)):
        if np.ptp(data.a[mask] if axis is None else data.a, axis=axis).max() <= NOTICEABLE:
            yield data.a
            return


def _near(data: Data, mask: np.ndarray) -> Iterator[Any]:
    yield np.where(np.abs(data.a - data.g) <= NEAR, data.a, data.g)


def _short(data: Data, mask: np.ndarray) -> Iterator[Any]:
    bits = data.evidence.get("bits", 8)
    yield np.where(np.abs(data.a - data.g) <= 2.0 ** (2 - bits), data.a, data.g)


RELATIONS: dict[str, Callable[[Data, np.ndarray], Iterator[Any]]] = {
    "FACTOR": _factor,
    "SIGN": lambda data, mask: iter([-data.g]),
    "ZERO": lambda data, mask: iter([0.0 * data.g]),
    "TRANSPOSED": _transposed,
    "SHIFTED": _shifted,
    "REVERSED": _reversed,
    "PERMUTED": _permuted,
    "MISSING_L2": _added(lambda data: data.x),
    "MISSING_L1": _added(lambda data: np.sign(data.x.real)),
    "OFFSET": _added(lambda data: np.ones(data.a.shape)),
    "CONJUGATE": lambda data, mask: iter([np.conj(data.g), np.conj(data.g) / 2, data.g / 2]),
    "LOG_PARAMETER": _chained,
    "CHAIN_RULE": _chained,
    "NORMALIZATION": _projected,
    "ABSOLUTE": lambda data, mask: iter(
        [np.abs(data.g), -np.abs(data.g), np.maximum(data.g, 0), np.minimum(data.g, 0)]
    ),
    "SYMMETRIC": _symmetric,
    "BROADCAST": _broadcast,
    "NEARBY": _near,
    "PRECISION": _short,
}


def is_true(finding: Any, problem: Problem, claim: Any, report: Any) -> bool | None:
    """Whether a finding is true of the exact gradient; None where that cannot be tested."""
    with np.errstate(all="ignore"):
        return _is_true(finding, problem, claim, report)


def _is_true(finding: Any, problem: Problem, claim: Any, report: Any) -> bool | None:
    kind = finding.kind.name
    data = _data(problem, claim, report, finding)
    paths = [leaf.path for leaf in report.leaves]
    named = finding.evidence.get("leaves", (finding.leaf,))
    chosen = [data[paths.index(path)] for path in named if path in paths] or data
    if kind == "KINK":
        return _kink(problem, paths.index(finding.leaf) if finding.leaf in paths else None)
    if kind in ("SLICE", "MASKED", "SINGLE"):
        alone = _alone(finding, report)
        return all(_placed(kind, finding, each, alone) for each in chosen)
    if kind == "SWAPPED":
        return any(_swapped(finding, each, data) for each in chosen)
    if kind not in RELATIONS:
        return None
    return _related(RELATIONS[kind], finding, chosen)


def _related(
    relation: Callable[[Data, np.ndarray], Iterator[Any]], finding: Any, chosen: list[Data]
) -> bool:
    """Whether the relation explains what is wrong in its place, or as many entries as it says."""
    explained = 0
    for each in chosen:
        mask = mask_of(finding, each.x, each.g) if len(chosen) == 1 else None
        wrong = each.wrong if mask is None else each.wrong & mask
        fitting = [each.fits(p)[wrong] for p in relation(each, wrong)]
        if mask is not None:
            return any(fit.all() for fit in fitting)
        numbers = 2 if np.iscomplexobj(each.a) else 1
        explained += numbers * max((int(fit.sum()) for fit in fitting), default=0)
    return explained >= finding.evidence.get("wrong", 1)


def _data(problem: Problem, claim: Any, report: Any, finding: Any) -> list[Data]:
    parts = zip(
        leaves(claim), leaves(problem.right), leaves(problem.params), distances(problem, claim),
        report.leaves, strict=True,
    )  # fmt: skip
    found = []
    for (_, a), (_, g), (_, x), error, leaf in parts:
        if np.iscomplexobj(x):
            a, g, error = a + 0j, g + 0j, error.reshape(-1, 2).max(axis=1)
        else:
            a, g, x = (each.astype(float) for each in (a, g, x))
        scale = float(np.abs(g[np.isfinite(g)]).max(initial=0.0))
        scale = scale if 0 < scale < np.inf else 1.0
        # The relation need not hold any better than three error bars.
        bars = 3 * leaf.limit / scale if np.isfinite(leaf.limit) else 0.0
        # Right claims are copies: what differs at all was made wrong.
        wrong = error.reshape(a.shape) > 0
        found.append(Data(a / scale, g / scale, x, wrong, scale, bars, finding.evidence))
    return found


def _kink(problem: Problem, at: int | None) -> bool:
    if problem.low is None:
        return False
    gaps = [b - a for a, b in zip(flat(problem.low), flat(problem.high), strict=True)]
    return any(gap.any() for gap in (gaps if at is None else [gaps[at]]))


def _swapped(finding: Any, data: Data, everything: list[Data]) -> bool:
    """Whether the wrong values are right ones of somewhere, all of them."""
    mask = mask_of(finding, data.x, data.g)
    wrong = data.wrong if mask is None else data.wrong & mask
    values = np.concatenate([each.g.reshape(-1) * each.scale for each in everything]) / data.scale
    off = np.abs(data.a[wrong][:, None] - values).min(axis=1, initial=np.inf)
    fits = off <= LEFT_OVER * np.abs(data.a - data.g)[wrong] + NOTICEABLE + data.bars
    return bool(fits.all())


def _alone(finding: Any, report: Any) -> bool:
    """Whether no other finding speaks of that leaf, so that this one must explain all of it."""
    others = (each for each in report.causes if each is not finding and each.kind.name != "KINK")
    return all(finding.leaf not in each.evidence.get("leaves", (each.leaf,)) for each in others)


def _placed(kind: str, finding: Any, data: Data, alone: bool) -> bool:
    """Whether the wrong entries lie in the place that is named, and are isolated if it says so."""
    wrong, mask = data.clear(), mask_of(finding, data.x, data.g)
    if kind == "SINGLE" and alone and wrong.sum() > max(ISOLATED, data.a.size // ONE_IN):
        return False
    if mask is None:
        return True
    if not (data.wrong & mask).any() or (kind == "MASKED" and not _filled(data, mask)):
        return False
    return not alone or not (wrong & ~mask).any()


def _filled(data: Data, mask: np.ndarray) -> bool:
    """Whether all entries of a place are wrong, but for zeros, which fit either way."""
    return bool((data.wrong | (data.g == 0))[mask].mean() > 1 - LEFT_OVER)
