"""What a gradient check found, as plain immutable values."""

# Without `annotations` from `__future__`, for the reason given in `causes.py`.

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad import _backend
from fastgrad._report import figure, html, text
from fastgrad._report.causes import Cause, Finding
from fastgrad._report.entries import Entries, Entry, LeafSpan, Verdict
from fastgrad._report.format import derivative_named, to_json
from fastgrad._report.leaves import (
    LeafReport,
    as_array,
    columns_of,
    granted,
    leaf_report,
    limits,
)
from fastgrad._tree import plain_or_none, unflatten

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
        Number of evaluations of `f`, or of `function`.
    noise : float
        Noise of `f`, or of `function`: by how much its values at nearby points differ from a smooth
        function. Estimated from a table of differences along a random direction or, where the table
        shows nothing, from the rounding of the values; never less than two calls with the same
        parameters differ. NaN where it was not measured.
    detection_limit : float
        Smallest error in a single entry that this check would have seen in every leaf in which
        something was judged; infinite if nothing was. It is that of the entry that can be judged
        worst: see `typical_limit`.
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
    rtol, atol : float
        What the check was told to grant beyond the error bars.
    structure : object, optional
        The containers of the parameters, without the arrays, for `numeric` and `uncertainty`.
    derivative : str
        What was checked: ``"gradient"``, ``"Jacobian"``, ...
    function : str
        What was evaluated: ``"f"``, or ``"grad"`` where a Hessian is judged by its differences.
    """

    __module__ = "fastgrad"  # where users, pickles and tracebacks find it

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
    # Not a default of the class, which an unfinished report would be found to have.
    curve: Curve | None = field(default_factory=lambda: None)
    steps: tuple[float, ...] = ()
    miss_probability: float = 0.0
    rtol: float = 0.0
    atol: float = 0.0
    structure: Any = None
    derivative: str = "gradient"
    function: str = "f"

    @classmethod
    def unfinished(cls, rest: Callable[[], "Report"], **known: Any) -> "Report":
        """A report of which `rest` makes what is not known yet, when it is looked at."""
        made = object.__new__(cls)
        known["_rest"] = rest
        made.__dict__.update(known)
        return made

    if not TYPE_CHECKING:  # to which any attribute would be one

        def __getattr__(self, name: str) -> Any:
            # Only where nothing is found: of an unfinished report, all but what was known.
            rest = vars(self).get("_rest")
            if rest is None or name not in self.__dataclass_fields__:
                raise AttributeError(f"'Report' object has no attribute '{name}'")
            vars(self).update(vars(rest()) | vars(self))
            vars(self).pop("_rest", None)
            return vars(self)[name]

    def __getstate__(self) -> dict[str, Any]:
        _ = self.reason  # finishes it
        # The curve as a dict, for the reason given at `Entries`; and containers as Python's own, as
        # classes of the user's may be missing where the pickle is read.
        plain = {
            "curve": self.curve and vars(self.curve),
            "structure": plain_or_none(self.structure),
        }
        return vars(self) | plain

    def __setstate__(self, state: dict[str, Any]) -> None:
        curve = state["curve"]
        if isinstance(curve, dict):  # in pickles of 0.1 it is the curve itself
            curve = Curve(**curve)
        vars(self).update(state | {"curve": curve})

    def __bool__(self) -> bool:
        return self.verdict is Verdict.RIGHT

    def __str__(self) -> str:
        return text.as_text(self.to_dict())

    def __repr__(self) -> str:
        """One line without columns of numbers, which pytest shows where ``assert report`` fails."""
        return f"<Report {text.as_line(self.to_dict())}>"

    def _repr_html_(self) -> str:
        """The report as a notebook shows it."""
        return html.fragment(self.to_dict())

    @cached_property
    def leaves(self) -> tuple[LeafReport, ...]:
        """What was found in each parameter array, in order."""
        granted = (self.rtol, self.atol)
        return tuple(leaf_report(span, self.entries, *granted) for span in self.entries.spans)

    @cached_property
    def relative_error(self) -> float:
        """``|a - d| / (|a| + |d|)`` in the Euclidean norm over all entries.

        After a probe, the largest of the estimates of the leaves.
        """
        if self.strategy == "probe":
            return max((leaf.relative_error for leaf in self.leaves), default=0.0)
        if len(self.entries.spans) == 1:
            return self.leaves[0].relative_error
        return float(_backend.kernel.norm_error(self.entries.analytic, self.entries.numeric))

    @property
    def numeric(self) -> Any:
        """The numeric gradient, in the structure of the parameters.

        Arrays of float64 and complex128 with the shapes of the parameters. NaN where an entry was
        not measured, as are most after a probe. In a report that was pickled, dataclasses,
        namedtuples and mappings are plain dicts; in one that knows no structure, such as one of
        version 0.1, this is a list of the arrays in the order of `leaves`.

        Examples
        --------
        >>> import numpy as np, fastgrad as fg
        >>> params = {"w": np.array([1.0, 2.0]), "b": np.array(3.0)}
        >>> report = fg.check_gradient(
        ...     lambda p: (p["w"] ** 2).sum() * p["b"],
        ...     lambda p: {"w": 2 * p["w"] * p["b"], "b": (p["w"] ** 2).sum()},
        ...     params,
        ... )
        >>> print(report.numeric["w"].round(6), report.numeric["b"].round(6))
        [ 6. 12.] 5.0
        """
        return self._nested(self.entries.numeric, math.nan)

    @property
    def uncertainty(self) -> Any:
        """The error bars of `numeric`, in the structure of the parameters.

        Infinite where an entry was not measured. In a complex array the real part is the error bar
        of the real part, and the imaginary part that of the imaginary one.
        """
        return self._nested(self.entries.uncertainty, math.inf)

    def _nested(self, column: np.ndarray, missing: float) -> Any:
        arrays = [as_array(column, span, missing) for span in self.entries.spans]
        return arrays if self.structure is None else unflatten(self.structure, iter(arrays))

    @property
    def typical_limit(self) -> float:
        """Smallest error that this check would have seen in a typical entry.

        The median over the entries or, after a probe, over the leaves in which something was
        judged; infinite if nothing was.
        """
        if self.strategy != "probe":
            return limits(granted(self.entries, self.rtol, self.atol))[0]
        found = [leaf.typical_limit for leaf in self.leaves if leaf.typical_limit < math.inf]
        return float(np.median(found)) if found else math.inf

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
            "derivative": self.derivative,
            "function": self.function,
            "sentence": derivative_named(self.verdict.sentence, self.derivative),
            "reason": self.reason,
            "leaves": self.leaves,
            "causes": self.causes,
            "wrong": wrong[:20],
            "unclear": unclear[:20],
            "n_entries": sum(leaf.entries for leaf in self.leaves),
            "n_chosen": sum(span.size for span in self.entries.spans),
            "n_judged": len(self.entries),
            "n_wrong": len(wrong),
            "n_unclear": len(unclear),
            "relative_error": self.relative_error,
            "evaluations": self.evaluations,
            "noise": self.noise,
            "detection_limit": self.detection_limit,
            "typical_limit": self.typical_limit,
            "limit_at": _limit_at(self),
            "miss_probability": self.miss_probability,
            "rtol": self.rtol,
            "atol": self.atol,
            "steps": self.steps,
            "strategy": self.strategy,
            "backend": self.backend,
            "seed": self.seed,
            "curve": self.curve,
            "seconds": self.seconds,
        }
        return {name: to_json(value) for name, value in values.items()}

    def to_html(self, *, title: str | None = None) -> str:
        """The report as an HTML page of its own, light or dark as the reader's system is.

        The page has no script and loads nothing.

        Parameters
        ----------
        title : str, optional
            What the report is of, such as the name of a test: a line above the verdict, and the
            name of the page.

        Examples
        --------
        >>> import numpy as np, fastgrad as fg
        >>> report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones(3))
        >>> report.to_html().startswith("<!doctype html>")
        True
        """
        return html.page(self.to_dict(), title)

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
        columns, verdicts = columns_of(self.entries), [each.name for each in Verdict]
        return figure.report_figure(self.to_dict(), columns, verdicts)


def _limit_at(report: Report) -> str | None:
    """Path of the entry, or after a probe of the leaf, that can be judged worst."""
    if report.strategy == "probe":
        leaves = [leaf for leaf in report.leaves if leaf.limit < math.inf]
        return max(leaves, key=lambda leaf: leaf.limit).path if leaves else None
    allowed = granted(report.entries, report.rtol, report.atol)
    known = allowed < np.inf
    if not known.any():
        return None
    return report.entries.at(int(np.argmax(np.where(known, allowed, -1.0)))).path
