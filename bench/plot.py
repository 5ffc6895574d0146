"""The picture: time per entry against the number of entries."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

Curves = dict[str, list[tuple[int, float]]]

# Okabe and Ito's palette, which colour-blind readers can tell apart; label shift in points.
STYLES = {
    "fastgrad compiled": ("#D55E00", "-", -7),
    "bare loop": ("#000000", "--", 7),
    "fastgrad pure": ("#E69F00", "-", 0),
    "in-place NumPy loop": ("#0072B2", "-", 0),
    "scipy 3-point": ("#009E73", "-", 0),
    "statsmodels": ("#56B4E9", "-", -5),
    "numdifftools": ("#CC79A7", "-", 0),
    "jacobi": ("#777777", "-", 0),
}


def draw(curves: Curves, path: Path) -> bool:
    """Write the picture, where matplotlib is installed."""
    if find_spec("matplotlib") is None:
        return False
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, points in curves.items():
        if name in STYLES:
            _draw_curve(axes, name, points)
    largest = max(n for points in curves.values() for n, _ in points)
    axes.set(xscale="log", yscale="log", xlim=(0.8, largest * 1.3))
    axes.set_xlabel("number of entries n")
    axes.set_ylabel("time per entry (µs)")
    axes.set_title("Gradient by finite differences, f(x) returns x.item(0)", loc="left")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.grid(which="major", color="#DDDDDD", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return True


def _draw_curve(axes, name: str, points: list[tuple[int, float]]) -> None:
    color, line, shift = STYLES[name]
    sizes = [n for n, _ in points]
    micros = [seconds * 1e6 for _, seconds in points]
    width = 2.6 if name == "fastgrad compiled" else 1.5
    axes.plot(sizes, micros, line, color=color, linewidth=width)
    axes.annotate(
        name,
        (sizes[-1], micros[-1]),
        (6, shift),
        textcoords="offset points",
        color=color,
        va="center",
        fontsize=9,
        fontweight="bold" if width > 2 else "normal",
        annotation_clip=False,
    )
