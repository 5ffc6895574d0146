"""What a gradient check found, as plain immutable values."""

# Without `annotations` from `__future__`, for the reason given in `causes.py`.

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad._report import figure, html, text
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Entries, Entry, LeafSpan, Verdict, norm_error
from fastgrad._report.format import to_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "Cause",
    "Curve",
    "Entries",
    "Entry",
    "Finding",
    "LeafReport",
    "LeafSpan",
    "Report",
    "Verdict",
    "leaf_report",
]


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
    path : str
        Path of the array.
    shape : tuple of int
    dtype : str
    entries, wrong, unclear : int
        Number of real numbers in the array (two for a complex entry), and how many of them are
        wrong or cannot be judged.
    relative_error : float
        ``|a - d| / (|a| + |d|)`` in the Euclidean norm over the array, where `a` is the analytic
        and `d` the numeric gradient; an estimate after a probe.
    worst : Entry, optional
        The judged entry with the largest error; None if there is none.
    verdict : Verdict
    judged : int
        Number of entries that were judged one by one: after a probe some, otherwise all.
    blocks : tuple of str
        Blocks that a probe found wrong throughout; only some of their entries were judged.
    limit : float
        Smallest error in a single entry that the check would have seen.
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


def leaf_report(span: LeafSpan, entries: Entries) -> LeafReport:
    """Count the entries of one leaf by verdict, and measure their errors."""
    mine = slice(span.start, span.stop)
    codes, analytic, numeric = entries.codes[mine], entries.analytic[mine], entries.numeric[mine]
    wrong, unclear = (
        int((codes == verdict.code).sum()) for verdict in (Verdict.WRONG, Verdict.CANNOT_TELL)
    )
    verdict = Verdict.WRONG if wrong else Verdict.CANNOT_TELL if unclear else Verdict.RIGHT
    probe, bounds = span.probe, entries.uncertainty[mine]
    return LeafReport(
        path=span.path,
        shape=span.shape,
        dtype=span.dtype,
        entries=span.size,
        wrong=wrong,
        unclear=unclear,
        relative_error=probe.relative_error if probe else norm_error(analytic, numeric),
        worst=_worst(span, entries),
        verdict=probe.verdict if probe else verdict,
        judged=len(codes),
        blocks=probe.blocks if probe else (),
        limit=probe.limit if probe else float(bounds.max(initial=0.0, where=bounds < np.inf)),
    )


def _worst(span: LeafSpan, entries: Entries) -> Entry | None:
    """The judged entry of a leaf with the largest error; one that is not a number comes first."""
    if span.start == span.stop:
        return None
    mine = slice(span.start, span.stop)
    with np.errstate(invalid="ignore"):
        errors = np.abs(entries.analytic[mine] - entries.numeric[mine])
    return entries[span.start + int(np.argmax(np.nan_to_num(errors, nan=np.inf)))]


def _placed(entries: Entries, span: LeafSpan) -> list[np.ndarray]:
    """Analytic, numeric and codes of a leaf, in its order; NaN where an entry was not judged."""
    mine = slice(span.start, span.stop)
    columns = [column[mine] for column in (entries.analytic, entries.numeric, entries.codes)]
    if span.probe is None:
        return columns
    # A picture draws no NaN, whatever its code.
    blanks: tuple[Any, ...] = (np.nan, np.nan, Verdict.RIGHT.code)
    full = [np.full(span.size, blank) for blank in blanks]
    for column, place in zip(columns, full, strict=True):
        place[span.probe.judged] = column
    return full


@dataclass(frozen=True, eq=False)
class Report:
    """The result of `check_gradient`; true only if the verdict is RIGHT.

    Attributes
    ----------
    verdict : Verdict
    reason : str
        The reason for the verdict, in one sentence.
    causes : tuple of Finding
        Likely bugs, most likely first, and kinks that the check met.
    entries : Entries
        The entries that were judged one by one.
    evaluations : int
        Number of evaluations of `f`.
    noise : float
        Noise of `f`: by how much its values at nearby points differ from a smooth function.
        Estimated from a table of differences along a random direction or, where the table shows
        nothing, from the rounding of the values; never less than two calls with the same
        parameters differ. NaN where it was not measured.
    detection_limit : float
        Smallest error in a single entry that this check would have seen in every leaf.
    strategy : str
        ``"exhaustive"`` (every entry was judged) or ``"probe"`` (random directions were).
    backend : str
        The kernel that moved the entries, ``"compiled"`` or ``"pure"``.
    seed : int
        Seed of the random directions.
    seconds : float
        Wall time.
    curve : Curve, optional
        For a wrong gradient, the differences of its worst entry at many steps.
    steps : tuple of float
        First step in each leaf, relative to the typical magnitude ``max(1, |x|)`` of an entry `x`;
        empty if no step was taken.
    miss_probability : float
        Probability that a probe misses an error at the detection limit, whatever else is wrong;
        0 where every entry was judged.
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

    def __getstate__(self) -> dict[str, Any]:
        # The curve as a dict, for the reason given at `Entries`.
        return vars(self) | {"curve": self.curve and vars(self.curve)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        curve = state["curve"]
        if isinstance(curve, dict):  # in pickles of 0.1 it is the curve itself
            curve = Curve(**curve)
        vars(self).update(state | {"curve": curve})

    def __bool__(self) -> bool:
        return self.verdict is Verdict.RIGHT

    def __str__(self) -> str:
        return text.as_text(self.to_dict())

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        return html.fragment(self.to_dict())

    @cached_property
    def leaves(self) -> tuple[LeafReport, ...]:
        """What was found in each parameter array, in order."""
        return tuple(leaf_report(span, self.entries) for span in self.entries.spans)

    @cached_property
    def relative_error(self) -> float:
        """``|a - d| / (|a| + |d|)`` in the Euclidean norm over all entries.

        After a probe, the largest of the estimates of the leaves.
        """
        if self.strategy == "probe":
            return max((leaf.relative_error for leaf in self.leaves), default=0.0)
        if len(self.entries.spans) == 1:
            return self.leaves[0].relative_error
        return norm_error(self.entries.analytic, self.entries.numeric)

    @property
    def wrong(self) -> Entries:
        """The wrong entries, worst first."""
        return self.entries.only(Verdict.WRONG)

    @property
    def unclear(self) -> Entries:
        """The entries that cannot be judged, largest disagreement first."""
        return self.entries.only(Verdict.CANNOT_TELL)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values, with the 20 worst of the wrong and unclear entries.

        JSON has no infinities and no NaN: they become the words ``"inf"``, ``"-inf"``, ``"nan"``.

        Examples
        --------
        >>> import json, numpy as np, fastgrad as fg
        >>> report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 2 * x, np.ones(3))
        >>> json.loads(json.dumps(report.to_dict(), allow_nan=False))["verdict"]
        'RIGHT'
        """
        # Properties build their sequences anew at each use.
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
        return {name: to_json(value) for name, value in values.items()}

    def to_html(self) -> str:
        """The report as an HTML page of its own, light or dark as the reader's system is.

        The page has no script and loads nothing.

        Examples
        --------
        >>> import numpy as np, fastgrad as fg
        >>> report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones(3))
        >>> report.to_html().startswith("<!doctype html>")
        True
        """
        return html.page(self.to_dict())

    def plot(self) -> "Figure":
        """Draw the errors by parameter, analytic against numeric, and the worst entry's curve.

        Needs matplotlib: ``pip install "fastgrad[plot]"``. It opens no window and does not touch
        pyplot.

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
        parts = [_placed(self.entries, span) for span in self.entries.spans]
        return figure.report_figure(self.to_dict(), parts, [each.name for each in Verdict])
