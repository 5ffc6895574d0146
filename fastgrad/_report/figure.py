"""A report as a figure, from plain values; matplotlib is imported here alone, and when needed.

Only `Figure` is used, so that no backend is chosen, no window opened, and no setting changed:
pyplot would do all three.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fastgrad._errors import missing_package_error
from fastgrad._report.format import (
    HEADLINES,
    compared,
    count,
    printable,
    relative_error,
    worst_first,
    wrong_count,
)
from fastgrad._report.names import Names
from fastgrad._words import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage

__all__ = [
    "BLACK",
    "BLUE",
    "GREEN",
    "GREY",
    "VERMILION",
    "Drawn",
    "new_figure",
    "report_figure",
    "reports_figure",
    "tidy",
]

# Okabe and Ito's palette, which color-blind readers can tell apart.
BLUE, VERMILION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
GREEN, BLACK, GREY = "#009E73", "#222222", "#888888"
MOST_MAPS = 4  # heat maps, of the worst leaves: two rows of two
MOST_PIXELS = 128  # in a row of a map, which is about an inch wide
MOST_POINTS = 2000  # for each verdict: more take seconds to draw and cover one another
FLOOR = 1e-12  # relative errors below this look like no error: no difference is so exact
_STYLES = {  # drawn in this order, so that wrong entries lie on top
    "RIGHT": (BLUE, "o", "right"),
    "CANNOT_TELL": (PURPLE, "s", "cannot tell"),
    "WRONG": (VERMILION, "X", "wrong"),
}
_POINT = {"s": 26, "alpha": 0.8, "linewidths": 0}  # where many lie, they look denser
_LINE = {"forward": BLACK, "central": VERMILION}

Values = Mapping[str, Any]
_NAMES = ("path", "leaf", "output")  # of an entry
Columns = Sequence[np.ndarray]  # analytic, numeric, codes of the entries of a leaf


def new_figure(width: float, height: float, purpose: str) -> Figure:
    """An empty figure; raises an error that says what to install where matplotlib is missing."""
    try:
        import matplotlib.figure
    except ImportError as error:
        raise missing_package_error("matplotlib", purpose, "plot") from error
    figure = matplotlib.figure.Figure(figsize=(width, height), layout="constrained")
    # What notebooks ask for. pyplot would register the figure with them, and choose a backend.
    vars(figure)["_repr_png_"] = partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    """The picture in the file format PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


@dataclass(frozen=True)
class Drawn:
    """What is drawn of a report: its values, the columns of its leaves, and what it is of."""

    report: Values
    parts: Sequence[Columns]
    title: str = ""


def report_figure(report: Values, parts: Sequence[Columns], verdicts: Sequence[str]) -> Figure:
    """Panels: error by parameter, analytic against numeric, and the curve if there is one."""
    return reports_figure([Drawn(report, parts)], verdicts)


def reports_figure(drawn: Sequence[Drawn], verdicts: Sequence[str]) -> Figure:
    """The panels of each report, one report above the other."""
    columns = max(_panels(each.report) for each in drawn)
    figure = new_figure(4.5 * columns, 4.2 * len(drawn), "report.plot()")
    alone = len(drawn) == 1
    bands = [figure] if alone else figure.subfigures(len(drawn), 1, squeeze=False).flat
    # Limits of axes are beyond the range of numbers where values are at the end of it.
    with np.errstate(over="ignore", invalid="ignore"):
        for band, each in zip(bands, drawn, strict=True):
            _draw(band, each, verdicts, columns)
    return figure


def _panels(report: Values) -> int:
    return 3 if report["curve"] else 2


def _draw(band: Figure | SubFigure, drawn: Drawn, verdicts: Sequence[str], columns: int) -> None:
    """One report, in as many columns as others have."""
    report = drawn.report
    headline = f"{HEADLINES[report['verdict']]}: {_headline(report)}"
    title = f"{drawable(drawn.title)}\n{headline}" if drawn.title else headline
    color = _STYLES[report["verdict"]][0]
    band.suptitle(title, color=color, fontweight="bold", parse_math=False)
    panels = list(band.subfigures(1, columns, wspace=0.04, squeeze=False).flat)
    _maps(panels[0], report, drawn.parts, verdicts)
    _scatter(panels[1].subplots(), drawn, verdicts)
    if report["curve"]:
        _curve(panels[2].subplots(), report)


def _headline(report: Values) -> str:
    n, wrong = report["n_entries"], wrong_count(report)
    if report["verdict"] == "WRONG" and not wrong.startswith("0 "):
        return wrong
    error = relative_error(report)
    return counted(n, "entry") + f", relative error {error}" * (error != "-")


def tidy(axes: Axes, title: str, across: str, up: str) -> None:
    """Set title and labels, and leave out the lines that carry nothing."""
    axes.set_title(title, loc="left", fontsize=10, parse_math=False)
    axes.set_xlabel(across, parse_math=False)
    axes.set_ylabel(up, parse_math=False)
    axes.grid(which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def drawable(text: str) -> str:
    """Replace what the font that comes with matplotlib lacks: nearly all above Cyrillic."""
    return "".join(c if ord(c) < 0x530 else f"\\u{ord(c):x}" for c in printable(text))


# ------------------------------------------------------------------------------------- heat maps


def _maps(
    panel: SubFigure, report: Values, parts: Sequence[Columns], verdicts: Sequence[str]
) -> None:
    """The errors of the worst leaves, each relative to the largest entry of its leaf."""
    from matplotlib import colormaps

    leaves = report["leaves"]
    names = Names(drawable(leaf["path"]) for leaf in leaves)
    shown = [leaf for leaf in worst_first(list(leaves)) if leaf["entries"]][:MOST_MAPS]
    where = {leaf["path"]: part for leaf, part in zip(leaves, parts, strict=True)}
    whole = max((_largest_size(part) for part in parts), default=0.0)
    if relative_error(report) == "-":  # no error is large beside a gradient of zeros
        whole = np.inf
    panel.suptitle(_maps_title(report, len(shown)), fontsize=10, x=0.01, horizontalalignment="left")
    if not shown:
        return
    colors = colormaps["Oranges"].with_extremes(bad="#BBBBBB")
    grid = panel.subplots(-(-len(shown) // 2), min(len(shown), 2), squeeze=False)
    scale: dict[str, Any] = {"cmap": colors, "norm": "log", "vmin": FLOOR, "vmax": 1.0}
    for axes, leaf in zip(grid.flat, shown, strict=False):
        part = where[leaf["path"]]
        # What is zero but for rounding has no size of its own.
        size = whole if relative_error(leaf) == "-" else _largest_size(part)
        image = error_map(leaf["shape"], part, verdicts.index("WRONG"), size)
        drawn = axes.imshow(image, aspect="auto", interpolation="none", **scale)
        axes.set_title(_map_title(leaf, names), loc="left", fontsize=8, parse_math=False)
        _index_ticks(axes, drawn, leaf)
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    bar = panel.colorbar(drawn, ax=grid, location="bottom", shrink=0.9, aspect=30)
    bar.set_label(f"error / largest entry of the {_whole(report)}", fontsize=8)
    bar.ax.tick_params(labelsize=7)


def _whole(report: Values) -> str:
    """What a map shows: a parameter array, or the derivatives of one array by another."""
    return "parameter" if report["leaves"][0]["output"] is None else "block"


def _maps_title(report: Values, shown: int) -> str:
    total = len(report["leaves"])
    if not total:
        return "No parameters"
    title = f"Error by {_whole(report)}" + (
        f", the worst {shown} of {total:,}" if shown < total else ""
    )
    blank = report["n_judged"] < report["n_entries"]
    return f"{title} (gray: not judged)" if blank else title


def _map_title(leaf: Values, names: Names) -> str:
    said = count(leaf) + " wrong" * (leaf["wrong"] > 0 or not leaf["unclear"])
    return f"{names.short(drawable(leaf['path']), 18)}: {said}"


def _largest_size(columns: Columns) -> float:
    """The largest analytic or numeric value of a leaf that is finite."""
    sizes = np.fmax(np.abs(columns[0]), np.abs(columns[1]))
    return float(sizes[np.isfinite(sizes)].max(initial=0.0))


def _index_ticks(axes: Axes, drawn: AxesImage, leaf: Values) -> None:
    """Number the entries as the parameter's indices do, whatever pixels they share."""
    from matplotlib.ticker import MaxNLocator

    shape = leaf["shape"]
    rows = shape[0] if len(shape) > 1 else 1
    columns = leaf["entries"] // max(rows, 1)
    drawn.set_extent((-0.5, columns - 0.5, rows - 0.5, -0.5))
    for axis, length in ((axes.xaxis, columns), (axes.yaxis, rows)):
        axis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        if length == 1:
            axis.set_ticks([])
    axes.tick_params(labelsize=7, length=2)


def error_map(
    shape: Sequence[int], columns: Columns, wrong: int, largest: float | None = None
) -> np.ndarray:
    """Errors of a leaf as pixels, relative to the `largest` entry: a row for each first index.

    A pixel shows the largest error of its block. It is NaN where no entry was judged; a wrong entry
    that is not finite counts as 1.
    """
    if largest is None:
        largest = _largest_size(columns)
    analytic, numeric, codes = columns
    with np.errstate(invalid="ignore", over="ignore"):
        errors = np.abs(analytic - numeric)
    errors = errors / (largest or 1.0)
    errors[~np.isfinite(errors)] = np.nan
    errors[np.isnan(errors) & (codes == wrong)] = 1.0
    rows = shape[0] if len(shape) > 1 else 1
    fits = rows and len(errors) % rows == 0 and len(errors) >= np.prod(shape, dtype=int)
    image: np.ndarray = np.clip(_largest(errors.reshape(rows if fits else 1, -1)), FLOOR, 1.0)
    return image


def _largest(image: np.ndarray) -> np.ndarray:
    """Reduce to few pixels by the largest error, so that one wrong entry stays visible."""
    reduced = image
    for axis in (0, 1):
        length = image.shape[axis]
        if length > MOST_PIXELS:
            starts = np.linspace(0, length, MOST_PIXELS, endpoint=False).astype(int)
            reduced = np.fmax.reduceat(reduced, starts, axis=axis)
    return reduced


# --------------------------------------------------------------------- analytic against numeric


def _scatter(axes: Axes, drawn: Drawn, verdicts: Sequence[str]) -> None:
    mine, theirs = compared(drawn.report)
    tidy(axes, f"{mine.capitalize()} against {theirs}", theirs, mine)
    parts = drawn.parts
    if not parts:
        return
    analytic, numeric, codes = (np.concatenate([part[i] for part in parts]) for i in range(3))
    finite = np.isfinite(analytic) & np.isfinite(numeric)  # the others are counted in the legend
    seen = np.concatenate([analytic[finite], numeric[finite], [0.0]])
    low, high = float(seen.min()), float(seen.max())
    axes.plot([low, high], [low, high], "-", color=GREY, linewidth=1, zorder=1)
    for name, (color, marker, label) in _STYLES.items():
        positions = np.flatnonzero(finite & (codes == verdicts.index(name)))
        if len(positions):
            some = positions[:: -(-len(positions) // MOST_POINTS)]
            style: dict[str, Any] = {"c": color, "marker": marker, **_POINT}
            label = f"{label} ({len(positions):,})"
            axes.scatter(numeric[some], analytic[some], label=label, **style)
    unjudged = np.isnan(analytic) & np.isnan(numeric)  # see `as_columns`
    for label, left_out in (("not judged", unjudged), ("not shown", ~finite & ~unjudged)):
        if left_out.any():
            axes.plot([], [], " ", label=f"{label} ({np.count_nonzero(left_out):,})")
    _widen(axes, seen)
    if len(codes):
        axes.legend(fontsize=8, frameon=False)


def _widen(axes: Axes, values: np.ndarray) -> None:
    """Make both scales logarithmic around zero where sizes differ too much to be seen at once."""
    sizes = np.abs(values[values != 0])
    typical = float(np.median(sizes)) if len(sizes) else math.inf
    if len(sizes) and sizes.max() / 1000 > typical:
        threshold = max(typical, 1e-12 * float(sizes.max()))
        axes.set_xscale("symlog", linthresh=threshold)
        axes.set_yscale("symlog", linthresh=threshold)
    axes.tick_params(labelsize=8)


# ------------------------------------------------------------------------------ error against step


def _curve(axes: Axes, report: Values) -> None:
    """How far the differences are from the analytic value at each step."""
    curve, worst = report["curve"], report["wrong"][0]
    names = Names(drawable(leaf["path"]) for leaf in report["leaves"])
    path, leaf, output = (worst[name] and drawable(worst[name]) for name in _NAMES)
    path = names.entry(path, leaf, 26, output)
    tidy(axes, f"Worst entry, {path}", "step", "|difference - analytic|")
    steps, central, forward = (_floats(curve[key]) for key in ("steps", "central", "forward"))
    analytic = float(curve["analytic"])
    with np.errstate(invalid="ignore"):
        for values, style, name in ((forward, "--", "forward"), (central, "-", "central")):
            errors = np.abs(values - analytic)
            # An error of zero has no place on a logarithmic axis.
            shown = np.isfinite(errors) & (errors > 0) & (steps > 0)
            axes.plot(steps[shown], errors[shown], style, label=name, color=_LINE[name])
    axes.set(xscale="log", yscale="log")
    _floors(axes, steps, float(worst["uncertainty"]), report)
    axes.legend(fontsize=8, frameon=False)
    axes.tick_params(labelsize=8)


def _floors(axes: Axes, steps: np.ndarray, uncertainty: float, report: Values) -> None:
    """Draw where a right value would end: in the error bar, and above the noise over the step."""
    noise, of = float(report["noise"]), report.get("function", "f")
    if 0 < noise < np.inf:
        taken = steps[steps > 0]  # a leaf of few digits swallows the smallest
        axes.plot(taken, noise / taken, ":", color=GREY, label=f"noise of {of} / step")
    if 0 < uncertainty < np.inf:
        # On a logarithmic axis the bar has no natural lower end; a factor 30 shows it as a band.
        lowest = uncertainty / 30
        axes.axhspan(lowest, uncertainty, color=BLUE, alpha=0.2, linewidth=0, label="error bar")
        axes.set_ylim(bottom=lowest)


def _floats(column: Sequence[Any]) -> np.ndarray:
    return np.array([float(value) for value in column])
