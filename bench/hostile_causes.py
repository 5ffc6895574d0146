"""Whether a cause is true of the data: tested against the exact gradient, not the numeric one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import permutations, product
from typing import Any

import numpy as np
from hostile_oracle import distances, flat
from hostile_problems import Problem, leaves

# A relation holds if it leaves this share of an entry's error unexplained, at most.
LEFT_OVER = 0.05
# Entries are wrong from this share of their leaf on, beside their error bars.
NOTICEABLE = 1e-6
# Kinds that claim nothing about the values, or that cannot be tested here.
UNTESTED = {"UNKNOWN", "STALE", "NEARBY"}


class Data:
    """The claim and the right gradient of one leaf, and where they differ."""

    def __init__(self, a: np.ndarray, g: np.ndarray, x: np.ndarray, error: np.ndarray) -> None:
        self.x = x
        scale = float(np.abs(g[np.isfinite(g)]).max(initial=0.0))
        # Of size one, so that squares neither overflow nor vanish.
        self.scale = scale = scale if 0 < scale < np.inf else 1.0
        self.a, self.g, error = a / scale, g / scale, error / scale
        self.slack = NOTICEABLE
        self.wrong = error.reshape(a.shape) > self.slack

    def within(self, mask: np.ndarray) -> Data:
        """The entries of a place alone count."""
        part = object.__new__(Data)
        part.__dict__.update(self.__dict__, wrong=self.wrong & mask)
        return part

    def holds(self, predicted: Any, bars: float) -> bool:
        """Whether a relation explains the wrong entries."""
        with np.errstate(all="ignore"):
            predicted = np.broadcast_to(predicted, self.a.shape)
            left = np.abs(self.a - predicted)
            error = np.abs(self.a - self.g)
            fits = left <= LEFT_OVER * error + self.slack + bars / self.scale
        return bool(fits[self.wrong].all())


def _fitted(data: Data, shape: np.ndarray) -> float:
    """The coefficient of a term that was added, by least squares on the wrong entries."""
    residual, shape = (data.a - data.g)[data.wrong], shape[data.wrong]
    square = float((np.abs(shape) ** 2).sum())
    return float((residual * np.conj(shape)).real.sum()) / square if square else 0.0


def _factor(data: Data) -> Iterator[Any]:
    a, g = data.a[data.wrong], data.g[data.wrong]
    square = float((np.abs(g) ** 2).sum())
    if square:
        yield float((a * np.conj(g)).real.sum()) / square * data.g


def _transposed(data: Data) -> Iterator[Any]:
    shape = data.g.shape
    for order in permutations(range(data.g.ndim)):
        yield data.g.transpose(order).reshape(shape)


def _shifted(data: Data) -> Iterator[Any]:
    n = data.g.size
    for by in range(1, min(n, 64)):
        yield np.roll(data.g, by)
        yield np.roll(data.g, -by)
        for axis in range(data.g.ndim):
            yield np.roll(data.g, by, axis)


def _reversed(data: Data) -> Iterator[Any]:
    yield data.g.reshape(-1)[::-1].reshape(data.g.shape)
    for flips in product([False, True], repeat=data.g.ndim):
        yield np.flip(data.g, [k for k, flip in enumerate(flips) if flip])


def _permuted(data: Data) -> Iterator[Any]:
    """The nearest of the right values: a permutation, if none is taken twice beyond rounding."""
    values = data.g.reshape(-1)
    nearest = np.abs(data.a.reshape(-1)[:, None] - values).argmin(axis=1)
    yield values[nearest].reshape(data.g.shape)


def _added(shape: Callable[[Data], np.ndarray]) -> Callable[[Data], Iterator[Any]]:
    def predictions(data: Data) -> Iterator[Any]:
        values = shape(data)
        yield data.g + _fitted(data, values) * values

    return predictions


def _log_parameter(data: Data) -> Iterator[Any]:
    for gain in (data.x, 1 / data.x, np.exp(data.x), np.exp(-data.x)):
        yield gain * data.g
    yield data.g / (1 + np.exp(-data.x))
    yield data.g * (1 + np.exp(-data.x))


def _symmetric(data: Data) -> Iterator[Any]:
    if data.g.ndim == 2 and data.g.shape[0] == data.g.shape[1]:
        both = data.g + data.g.T
        eye = np.eye(len(both)) * np.diag(data.g)
        lower = np.tril(both, -1)
        yield from (both / 2, both, both - eye, lower + eye, lower.T + eye, both / 2 + lower / 2)


def _broadcast(data: Data) -> Iterator[Any]:
    """Equal claims along an axis: a statement about the claim alone."""
    for axis in (None, *range(data.a.ndim)):
        if np.ptp(data.a.real, axis=axis).max() <= data.slack:
            yield data.a
            return


RELATIONS: dict[str, Callable[[Data], Iterator[Any]]] = {
    "FACTOR": _factor,
    "SIGN": lambda data: iter([-data.g]),
    "ZERO": lambda data: iter([0.0 * data.g]),
    "TRANSPOSED": _transposed,
    "SHIFTED": _shifted,
    "REVERSED": _reversed,
    "PERMUTED": _permuted,
    "MISSING_L2": _added(lambda data: data.x),
    "MISSING_L1": _added(lambda data: np.sign(data.x.real)),
    "OFFSET": _added(lambda data: np.ones(data.a.shape)),
    "CONJUGATE": lambda data: iter([np.conj(data.g), np.conj(data.g) / 2, data.g / 2]),
    "LOG_PARAMETER": _log_parameter,
    "SYMMETRIC": _symmetric,
    "BROADCAST": _broadcast,
}


def is_true(finding: Any, problem: Problem, claim: Any, report: Any) -> bool | None:
    """Whether a finding is true of the exact gradient; None where that cannot be tested."""
    kind = finding.kind.name
    if kind in UNTESTED:
        return None
    data = _data(problem, claim)
    paths = [leaf.path for leaf in report.leaves]
    at = paths.index(finding.leaf) if finding.leaf in paths else None
    chosen = list(data) if at is None else [data[at]]
    bars = _bars(report, at)
    if kind == "KINK":
        return _kink(problem, at)
    if kind == "PRECISION":
        return all(d.holds(d.g * (1 + 2.0**-6), 2.0**-6 * d.scale) for d in chosen)
    if kind == "SWAPPED":
        return any(_swapped(d, other) for d in chosen for other in data if other is not d)
    if kind in ("SLICE", "MASKED", "SINGLE"):
        return all(_placed(kind, finding, d, bars) for d in chosen)
    if kind not in RELATIONS:
        return None
    with np.errstate(all="ignore"):
        return all(any(d.holds(p, bars) for p in RELATIONS[kind](d)) for d in chosen)


def _data(problem: Problem, claim: Any) -> list[Data]:
    errors = distances(problem, claim)
    parts = zip(leaves(claim), leaves(problem.right), leaves(problem.params), errors, strict=True)
    found = []
    for (_, a), (_, g), (_, x), error in parts:
        if np.iscomplexobj(x):
            a, g, error = a + 0j, g + 0j, error.reshape(-1, 2).max(axis=1)
        else:
            a, g, x = (each.astype(float) for each in (a, g, x))
        found.append(Data(a, g, x, error))
    return found


def _bars(report: Any, at: int | None) -> float:
    """Three error bars of the leaf: the relation need not hold any better."""
    leaves_ = report.leaves if at is None else [report.leaves[at]]
    return 3 * max((leaf.limit for leaf in leaves_ if np.isfinite(leaf.limit)), default=0.0)


def _kink(problem: Problem, at: int | None) -> bool:
    if problem.low is None:
        return False
    gaps = [b - a for a, b in zip(flat(problem.low), flat(problem.high), strict=True)]
    return any(gap.any() for gap in (gaps if at is None else [gaps[at]]))


def _swapped(data: Data, other: Data) -> bool:
    return data.a.shape == other.g.shape and data.holds(other.g * other.scale / data.scale, 0.0)


def _placed(kind: str, finding: Any, data: Data, bars: float) -> bool:
    """Whether the wrong entries lie in the place that is named, and nowhere else."""
    clear = np.abs(data.a - data.g) > 2 * bars / data.scale
    if kind == "SLICE" and (text := finding.evidence.get("slice")):
        mask = np.zeros(data.a.shape, dtype=bool)
        mask[_slices(text)] = True
        inside = finding.evidence.get("inside")
        if inside in RELATIONS and not any(
            data.within(mask).holds(p, bars) for p in RELATIONS[inside](data.within(mask))
        ):
            return False
        return not (clear & data.wrong & ~mask).any()
    if kind == "MASKED":
        return not (clear & ~data.wrong).any()
    return int((clear & data.wrong).sum()) <= max(2, data.a.size // 4) or kind != "SINGLE"


def _slices(text: str) -> tuple[Any, ...]:
    parts = []
    for part in text.split(","):
        ends = [int(each) if each.strip() else None for each in part.split(":")]
        parts.append(slice(*ends) if len(ends) > 1 else ends[0])
    return tuple(parts)
