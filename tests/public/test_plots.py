"""Pictures: the panels they have, what they leave alone, and what is said without matplotlib."""

import importlib.util
import io
import math
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reports
from strategies import PATIENCE

import fastgrad as fg
from fastgrad.__main__ import main
from fastgrad._report import figure

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.once
SENTENCE = r'matplotlib, which cannot be imported; pip install "fastgrad\[plot\]"'


@pytest.fixture
def without_matplotlib(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


def titles(figure):
    return [axes.get_title(loc="left") for axes in figure.get_axes()]


def cube(t):
    return t**3


# ------------------------------------------------------------------------------ of a report


@pytest.mark.parametrize("name", reports.ALL)
def test_every_report_can_be_drawn(name):
    file = io.BytesIO()
    reports.ALL[name]().plot().savefig(file, format="png", dpi=40)
    assert file.getvalue().startswith(b"\x89PNG")


@pytest.mark.parametrize("value", [1e160, 1e308, math.inf, math.nan])
def test_a_gradient_at_the_end_of_the_range_can_be_drawn(value):
    x = np.array([1.0, 2.0, 3.0])
    report = fg.check_gradient(lambda x: (x * x).sum(), np.full(3, value), x)
    assert report.plot().subfigs


def test_a_wrong_gradient_has_three_panels_and_a_right_one_two():
    assert len(reports.wrong().plot().subfigs) == 3
    assert len(reports.right().plot().subfigs) == 2
    wrong = titles(reports.wrong().plot())
    assert "Analytic against numeric" in wrong
    assert "Worst entry, layers[0].W[3, 2]" in wrong


def test_the_worst_leaves_come_first_and_not_too_many():
    maps = reports.many().plot().subfigs[0]
    assert "the worst 4 of 300" in maps.get_suptitle()
    named = [axes.get_title(loc="left") for axes in maps.get_axes() if axes.images]
    assert named == [f"blocks[{i}].W: 4 of 4 wrong" for i in (2, 5, 8, 11)]


def test_the_scatter_tells_right_from_wrong_without_colours():
    axes = next(a for a in reports.wrong().plot().get_axes() if "Analytic" in a.get_title("left"))
    _, labels = axes.get_legend_handles_labels()
    assert labels == ["right (4)", "wrong (12)"]
    shapes = {collection.get_paths()[0].vertices.shape for collection in axes.collections}
    assert len(shapes) == 2


def test_the_scatter_counts_what_it_cannot_show():
    axes = next(
        a for a in reports.infinite().plot().get_axes() if "Analytic" in a.get_title("left")
    )
    assert "not shown (3)" in axes.get_legend_handles_labels()[1]


def test_the_curve_shows_both_differences_the_noise_and_the_error_bar():
    axes = reports.wrong().plot().subfigs[2].get_axes()[0]
    assert axes.get_legend_handles_labels()[1] == [
        "forward",
        "central",
        "noise of f / step",
        "error bar",
    ]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_one_wrong_entry_in_a_million_stays_visible():
    numeric = np.ones(10**6)
    analytic = numeric.copy()
    analytic[123_456] = 1.5
    codes = (analytic != numeric).astype(np.int8)
    image = figure.error_map((1000, 1000), (analytic, numeric, codes), 1)
    assert image.shape == (figure.MOST_PIXELS,) * 2
    assert (image > figure.FLOOR).sum() == 1


def test_a_map_marks_what_is_not_finite_and_what_was_not_measured():
    analytic = np.array([np.inf, 1.0, 2.0])
    numeric = np.array([1.0, np.nan, 2.0])
    image = figure.error_map((3,), (analytic, numeric, np.array([1, 2, 0])), 1)
    assert image.tolist()[0] == [1.0, pytest.approx(np.nan, nan_ok=True), figure.FLOOR]


def heat_maps(report):
    return [axes for axes in report.plot().subfigs[0].get_axes() if axes.images]


def test_maps_number_the_entries_whatever_pixels_they_share():
    for shape, report in (((4, 3), reports.right()), ((1000, 1000), reports.large())):
        axes = heat_maps(report)[0]
        axes.figure.canvas.draw()
        for axis, length in ((axes.yaxis, shape[0]), (axes.xaxis, shape[1])):
            low, high = sorted(axis.get_view_interval())
            assert (low, high) == (-0.5, length - 0.5)
            inside = [place for place in axis.get_ticklocs() if low <= place <= high]
            assert len(inside) >= 2
            assert all(float(place).is_integer() for place in inside)
    vector = heat_maps(reports.right())[1]
    assert not len(vector.get_yticks())


def test_what_is_zero_but_for_rounding_is_not_dark():
    """Its error is as large as its largest entry: rounding, beside a gradient of size 1."""
    zeros = np.array([1e-17, -1e-17, 0.0]), np.array([-3e-13, 2e-13, 1e-13]), np.full(3, 1e-9)
    report = reports.make({"W": reports.leaf(3), "b": zeros})
    images = {axes.get_title(loc="left"): axes.images[0] for axes in heat_maps(report)}
    assert np.max(images["b: 0 of 3 wrong"].get_array()) < 1e-11
    alone = reports.make({"b": zeros})
    assert np.max(heat_maps(alone)[0].images[0].get_array()) == figure.FLOOR
    assert "relative error" not in alone.plot().get_suptitle()


def test_maps_of_long_names_have_different_titles():
    names = [f"params['encoder.layers.{i}.self_attn.in_proj_weight']" for i in range(12)]
    report = reports.make({name: reports.leaf(2, factor=2) for name in names})
    shown = [axes.get_title(loc="left") for axes in heat_maps(report)]
    assert len(set(shown)) == 4
    assert all(re.search(r"\.\d+\.\.\.", title) for title in shown)


def test_entries_that_were_not_judged_are_counted_and_gray():
    x = np.ones((300, 2))
    claimed = 2 * x
    claimed[17, 1] = 3
    drawn = fg.check_gradient(lambda x: (x**2).sum(), claimed, x, strategy="probe").plot()
    labels = [label for axes in drawn.get_axes() for label in axes.get_legend_handles_labels()[1]]
    assert labels == ["wrong (1)", "not judged (599)"]
    assert "gray: not judged" in drawn.subfigs[0].get_suptitle()


def png_of(drawn):
    return drawn._repr_png_()


@pytest.mark.parametrize("name", ["right", "wrong", "unclear", "untested"])
def test_a_figure_shows_itself_in_a_notebook(name):
    from matplotlib.figure import Figure

    drawn = reports.PLAIN[name]().plot()
    assert type(drawn) is Figure
    assert png_of(drawn).startswith(b"\x89PNG")
    again = pickle.loads(pickle.dumps(drawn))
    again.suptitle("changed")
    assert png_of(again) != png_of(drawn)  # it shows itself, and not what it was made from


def test_the_lectures_figure_shows_itself_too():
    assert png_of(fg.plots.error_against_step(cube, 3.0, 1.0)).startswith(b"\x89PNG")


def test_drawing_leaves_pyplot_and_settings_alone(tmp_path):
    code = (
        "import sys, numpy as np, fastgrad as fg\n"
        "assert 'matplotlib' not in sys.modules\n"
        "report = fg.check_gradient(lambda x: (x**2).sum(), lambda x: 3 * x, np.ones(3))\n"
        "import matplotlib\n"
        "before = matplotlib.rcParams.copy()\n"
        "report.plot().savefig('report.png')\n"
        "fg.plots.error_against_step(lambda t: t**3, 3.0, 1.0).savefig('lecture.svg')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams.copy() == before\n"
    )
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "report.png").stat().st_size > 10_000


# ------------------------------------------------------------------------------ of the lecture


def test_lines_have_the_slopes_of_their_orders():
    methods = ("forward", "backward", "central", fg.central(order=4))
    figure = fg.plots.error_against_step(np.sin, np.cos(0.7), 0.7, methods=methods)
    axes = figure.axes[0]
    lines = {line.get_label(): line.get_xydata() for line in axes.lines}
    for name, order in (("forward", 1), ("backward", 1), ("central", 2), ("central", 4)):
        steps, errors = lines[f"{name}, order {order}"].T
        far = (errors > 1e-12) & (steps > 3e-3) & (steps < 0.2)
        slope = np.polyfit(np.log(steps[far]), np.log(errors[far]), 1)[0]
        assert slope == pytest.approx(order, abs=0.05)
    said = [text.get_text() for text in axes.texts]
    assert said == ["slope 1", "slope 1", "slope 2", "slope 4"]
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_an_exact_method_has_no_slope_to_show():
    figure = fg.plots.error_against_step(lambda t: 3 * t, 3.0, 1.0)
    assert not figure.axes[0].texts
    figure.savefig(io.BytesIO())


def test_steps_can_be_chosen():
    figure = fg.plots.error_against_step(cube, 3.0, 1.0, methods=["forward"], steps=[0.1, 0.01])
    points = figure.axes[0].lines[0].get_xydata()
    np.testing.assert_allclose(points, [[0.1, 0.31], [0.01, 0.0301]], rtol=1e-9)


def test_an_unknown_method_is_refused():
    with pytest.raises(fg.InputValueError, match="`method` must be one of"):
        fg.plots.error_against_step(cube, 3.0, 1.0, methods=["sideways"])


def test_the_pictures_script_runs_and_its_picture_is_small():
    script = ROOT / "docs" / "lecture.py"
    spec = importlib.util.spec_from_file_location("lecture", script)
    lecture = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lecture)
    said = [text.get_text() for text in lecture.draw().axes[0].texts]
    assert {"slope 1", "slope 2", "3.0301", "3.0001"} <= set(said)
    assert 10_000 < script.with_name("lecture.png").stat().st_size < 80_000


# ------------------------------------------------------------------------ without matplotlib


def test_without_matplotlib_a_sentence_says_what_to_install(without_matplotlib):
    with pytest.raises(fg.MissingPackageError, match=SENTENCE) as raised:
        reports.wrong().plot()
    assert isinstance(raised.value, ImportError)
    with pytest.raises(fg.FastgradError, match=SENTENCE):
        fg.plots.error_against_step(cube, 3.0, 1.0)


def test_without_matplotlib_all_else_works(without_matplotlib, tmp_path, capsys):
    assert main(["demo", "--html", str(tmp_path / "report.html")]) == 0
    assert main(["demo", "--plot", str(tmp_path / "report.png")]) == 2
    out, err = capsys.readouterr()
    assert out.count("RIGHT") == 1
    sentence = 'needs matplotlib, which cannot be imported; pip install "fastgrad[plot]"'
    assert err == f"fastgrad: --plot {sentence}\n"


@pytest.mark.parametrize(("name", "start"), [("a.png", b"\x89PNG"), ("a.svg", b"<?xml")])
def test_commands_draw_the_report(name, start, tmp_path, capsys):
    target = tmp_path / name
    assert main(["demo", "--bug", "one-entry", "--plot", str(target)]) == 1
    assert target.read_bytes().startswith(start)


def test_an_unknown_format_is_one_line_and_leaves_the_file_alone(tmp_path, capsys):
    target = tmp_path / "a.doc"
    target.write_text("mine")
    assert main(["demo", "--plot", str(target)]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"fastgrad: cannot write {target}: ")
    assert err.count("\n") == 1
    assert target.read_text() == "mine"
