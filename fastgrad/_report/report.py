"""What a gradient check found, as plain immutable values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad._report import figure, html, text
from fastgrad._report.entries import Block, Entries, Entry, Verdict, norm_error
from fastgrad._report.plain import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Block",
    "Cause",
    "Curve",
    "Entries",
    "Entry",
    "Finding",
    "LeafReport",
    "Report",
    "Verdict",
    "leaf_report",
]


class Cause(Enum):
    """Kinds of bugs that a wrong gradient can be traced to; the value says what it means.

    Examples
    --------
    >>> import fastgrad as fg
    >>> print(fg.Cause.TRANSPOSED.value)
    the transpose of the right gradient
    """

    FACTOR = "a constant factor too large or too small"
    SIGN = "the wrong sign"
    ZERO = "zero: never computed"
    TRANSPOSED = "the transpose of the right gradient"
    SHIFTED = "shifted against the right gradient"
    REVERSED = "the right gradient in reverse"
    PERMUTED = "the right gradient with rows or columns in another order"
    SWAPPED = "the gradient of another parameter"
    MISSING_L2 = "a multiple of the parameter is missing or too much"
    MISSING_L1 = "a multiple of the parameter's sign is missing or too much"
    BROADCAST = "one value broadcast over an axis, or summed over the wrong one"
    SLICE = "wrong in one row, column or slice"
    MASKED = "wrong only where the parameter passes a test"
    OFFSET = "a constant added"
    SINGLE = "isolated entries"
    KINK = "a kink of the function"
    CONJUGATE = "another convention for complex parameters"
    PRECISION = "computed in too short a format"
    STALE = "right for other parameters"
    LOG_PARAMETER = "the derivative with respect to the parameter's logarithm"
    SYMMETRIC = "the argument treated as symmetric"
    UNKNOWN = "no known pattern"


@dataclass(frozen=True)
class Finding:
    """A likely bug in one parameter's gradient.

    Attributes
    ----------
    kind : Cause
    leaf : str
        Path of the parameter array.
    sentence : str
        What was found, for people.
    evidence : dict
        The numbers behind it: a factor, a shift, how many entries.
    """

    kind: Cause
    leaf: str
    sentence: str
    evidence: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Curve:
    """How the difference quotient of one entry depends on the step.

    Attributes
    ----------
    path : str
        The entry.
    analytic : float
        The gradient that was checked.
    steps, central, forward : ndarray of float64, shape (m,)
        Steps, largest first, and the two-sided and one-sided differences.
    """

    path: str
    analytic: float
    steps: np.ndarray
    central: np.ndarray
    forward: np.ndarray


@dataclass(frozen=True)
class LeafReport:
    """What was found in one parameter array.

    Attributes
    ----------
    path, shape, dtype
        Of the array.
    entries, wrong, unclear : int
        How many numbers it holds (two for a complex entry), and how many of them were found to be
        wrong or cannot be judged.
    relative_error : float
        ``|a - d| / (|a| + |d|)`` in the Euclidean norm over the array; after a probe, estimated.
    worst : Entry, optional
        The judged entry with the largest error; None if there is none.
    verdict : Verdict
    judged : int
        How many entries were judged one by one: all of them, but after a probe.
    blocks : tuple of str
        Of a probe: the blocks that are wrong throughout, of which only some entries were judged.
    limit : float
        Smallest error in a single entry that would have been seen.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    entries: int
    wrong: int
    unclear: int
    relative_error: float
    worst: Entry | None
    verdict: Verdict
    judged: int
    blocks: tuple[str, ...]
    limit: float


def leaf_report(block: Block, entries: Entries) -> LeafReport:
    """Count and measure what was found in one leaf."""
    mine = slice(block.start, block.stop)
    codes, analytic, numeric = entries.codes[mine], entries.analytic[mine], entries.numeric[mine]
    wrong, unclear = (
        int((codes == verdict.code).sum()) for verdict in (Verdict.WRONG, Verdict.CANNOT_TELL)
    )
    verdict = Verdict.WRONG if wrong else Verdict.CANNOT_TELL if unclear else Verdict.RIGHT
    worst = None
    if len(codes):
        with np.errstate(invalid="ignore"):
            errors = np.nan_to_num(np.abs(analytic - numeric), nan=np.inf)
        worst = entries[block.start + int(np.argmax(errors))]
    probe, bounds = block.probe, entries.uncertainty[mine]
    return LeafReport(
        path=block.path,
        shape=block.shape,
        dtype=block.dtype,
        entries=block.size,
        wrong=wrong,
        unclear=unclear,
        relative_error=probe.relative_error if probe else norm_error(analytic, numeric),
        worst=worst,
        verdict=probe.verdict if probe else verdict,
        judged=len(codes),
        blocks=probe.blocks if probe else (),
        limit=probe.limit if probe else float(bounds.max(initial=0.0, where=bounds < np.inf)),
    )


def _placed(entries: Entries, block: Block) -> list[np.ndarray]:
    """Analytic, numeric and codes of a leaf, in its order; NaN where nothing was measured."""
    mine = slice(block.start, block.stop)
    columns = [column[mine] for column in (entries.analytic, entries.numeric, entries.codes)]
    if block.probe is None:
        return columns
    blanks: tuple[Any, ...] = (np.nan, np.nan, Verdict.RIGHT.code)
    full = [np.full(block.size, blank) for blank in blanks]
    for column, place in zip(columns, full, strict=True):
        place[block.probe.judged] = column
    return full


@dataclass(frozen=True, eq=False)
class Report:
    """The result of `check_gradient`; true only if the verdict is RIGHT.

    Attributes
    ----------
    verdict : Verdict
    reason : str
        Why, in one sentence.
    causes : tuple of Finding
        Likely bugs, most likely first, and kinks that were met.
    entries : Entries
        Every entry judged one by one, made when looked at.
    evaluations : int
        How often `f` was called.
    noise : float
        Size of the rounding errors in the values of `f`.
    detection_limit : float
        Smallest error in a single entry that this check would have seen in every leaf.
    strategy, backend : str
        How the entries were visited, ``"exhaustive"`` or ``"probe"``, and by which kernel.
    seed : int
        Of all random directions.
    seconds : float
        Wall time.
    curve : Curve, optional
        Of a wrong gradient: the differences of the worst entry at many steps.
    steps : tuple of float
        First step of each leaf, relative to the entries' lengths; empty if none was taken.
    miss_probability : float
        Of a probe: with which probability an error at the detection limit is missed, whatever else
        is wrong. 0 where every entry is judged.
    """

    verdict: Verdict
    reason: str
    causes: tuple[Finding, ...]
    entries: Entries
    evaluations: int
    noise: float
    detection_limit: float
    strategy: str
    backend: str
    seed: int
    seconds: float
    curve: Curve | None = None
    steps: tuple[float, ...] = ()
    miss_probability: float = 0.0

    def __bool__(self) -> bool:
        return self.verdict is Verdict.RIGHT

    def __str__(self) -> str:
        return text.as_text(self.to_dict())

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return html.fragment(self.to_dict())

    @cached_property
    def leaves(self) -> tuple[LeafReport, ...]:
        """One line per parameter array, counted when first looked at."""
        return tuple(leaf_report(block, self.entries) for block in self.entries.blocks)

    @cached_property
    def relative_error(self) -> float:
        """``|a - d| / (|a| + |d|)`` in the Euclidean norm over all entries.

        After a probe, the largest of the estimates of the leaves.
        """
        if self.strategy == "probe":
            return max((leaf.relative_error for leaf in self.leaves), default=0.0)
        if len(self.entries.blocks) == 1:
            return self.leaves[0].relative_error
        return norm_error(self.entries.analytic, self.entries.numeric)

    @property
    def wrong(self) -> Entries:
        """The wrong entries, worst first."""
        return self.entries.only(Verdict.WRONG)

    @property
    def unclear(self) -> Entries:
        """The entries about which nothing can be said, largest disagreement first."""
        return self.entries.only(Verdict.CANNOT_TELL)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values; of wrong and unclear entries the worst 20 each.

        Infinities and NaN, which JSON lacks, become the words ``"inf"``, ``"-inf"``, ``"nan"``.

        Examples
        --------
        >>> import json, numpy as np, fastgrad as fg
        >>> report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, np.ones(3))
        >>> json.loads(json.dumps(report.to_dict(), allow_nan=False))["verdict"]
        'RIGHT'
        """
        wrong, unclear = self.wrong, self.unclear
        values = {
            "verdict": self.verdict,
            "sentence": self.verdict.sentence,
            "reason": self.reason,
            "leaves": self.leaves,
            "causes": self.causes,
            "wrong": wrong[:20],
            "unclear": unclear[:20],
            "n_entries": sum(leaf.entries for leaf in self.leaves),
            "n_judged": len(self.entries),
            "n_wrong": len(wrong),
            "n_unclear": len(unclear),
            "relative_error": self.relative_error,
            "evaluations": self.evaluations,
            "noise": self.noise,
            "detection_limit": self.detection_limit,
            "miss_probability": self.miss_probability,
            "steps": self.steps,
            "strategy": self.strategy,
            "backend": self.backend,
            "seed": self.seed,
            "curve": self.curve,
            "seconds": self.seconds,
        }
        return {name: plain(value) for name, value in values.items()}

    def to_html(self) -> str:
        """The report as a page of its own: no script, nothing loaded, light or dark as wished.

        Examples
        --------
        >>> import numpy as np, fastgrad as fg
        >>> report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones(3))
        >>> report.to_html().startswith("<!doctype html>")
        True
        """
        return html.page(self.to_dict())

    def plot(self) -> Figure:
        """Draw the errors by parameter, analytic against numeric, and the worst entry's curve.

        Needs matplotlib: ``pip install "fastgrad[plot]"``. No window is opened, and pyplot is
        left alone.

        Returns
        -------
        matplotlib.figure.Figure
            Save it with ``report.plot().savefig("report.png")``; a notebook shows it.

        Raises
        ------
        MissingPackageError
            matplotlib is not installed.

        Examples
        --------
        >>> import numpy as np, fastgrad as fg
        >>> report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones(3))
        >>> len(report.plot().get_axes()) >= 3  # doctest: +SKIP
        True
        """
        parts = [_placed(self.entries, block) for block in self.entries.blocks]
        return figure.report_figure(self.to_dict(), parts, [each.name for each in Verdict])
