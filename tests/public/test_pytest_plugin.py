"""The pytest plugin: its fixture, its pages, and that it costs nothing until it is used."""

import importlib.metadata
import re
from urllib.parse import unquote

import pytest

import fastgrad as fg
from pytest_fastgrad import file_name

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.once

TESTS = """
import numpy as np
import pytest
import fastgrad as fg

X = np.arange(1.0, 4.0)

def cost(x):
    return (x**3).sum()

def right(x):
    return 3 * x**2

def wrong(x):
    return 3 * x

def test_right(assert_gradient):
    assert assert_gradient(cost, right, X) is None

def test_options(assert_gradient):
    import inspect
    takes = inspect.signature(fg.check_gradient).parameters
    assert set(inspect.signature(assert_gradient).parameters) == set(takes)
    assert_gradient(cost, right, X, strategy="probe", workers=1, progress=False, budget=99, seed=1)

@pytest.mark.parametrize("scale", [1.0, "a/b"])
def test_wrong(assert_gradient, scale):
    assert_gradient(cost, wrong, X)

def test_several(assert_gradient):
    for _ in range(2):
        with pytest.raises(AssertionError):
            assert_gradient(cost, wrong, X)
    assert_gradient(cost, lambda x: 2 * right(x), X)

class TestIt:
    def test_function(self):
        fg.testing.assert_gradient(cost, wrong, X)

def test_other_failure():
    assert 1 == 2
"""
PAGES = {
    "test_it.test_wrong[1.0].html",
    "test_it.test_several.html",
    "test_it.test_several.2.html",
    "test_it.test_several.3.html",
    "test_it.TestIt.test_function.html",
}


@pytest.fixture
def run(pytester):
    """Run pytest in a process of its own, where the plugin is found by its entry point."""
    pytester.makepyfile(test_it=TESTS)

    def run_pytest(*arguments):
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments)

    return run_pytest


def pages(directory):
    return {path.name for path in directory.iterdir()}


def test_pytest_finds_the_plugin():
    points = importlib.metadata.entry_points(group="pytest11", name="fastgrad")
    assert [point.value for point in points] == ["pytest_fastgrad"]


def test_every_assertion_is_a_fixture_with_its_own_signature(pytester):
    names = [name for name in vars(fg.testing) if name.startswith("assert_")]
    assert "assert_hessian" in names
    for name in names:
        pytester.makepyfile(
            **{
                f"test_{name}": f"""
                import inspect
                import fastgrad as fg

                def test_signature({name}):
                    mine = inspect.signature({name})
                    assert mine == inspect.signature(fg.testing.{name})
                """
            }
        )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=len(names))


def test_failures_show_the_report_and_the_callers_line(run):
    result = run("-k", "right or function or wrong")
    result.assert_outcomes(passed=1, failed=3)
    shown = result.stdout.str()
    assert "WRONG: 2 of 3 entries disagree" in shown
    assert ">       fg.testing.assert_gradient(cost, wrong, X)" in shown
    assert ">       assert_gradient(cost, wrong, X)" in shown
    assert "FAILED test_it.py::test_wrong[1.0] - WRONG: params[2], 2 of 3 entries" in shown
    assert "def check(" not in shown
    assert "report written" not in shown


def test_pages_of_failures_are_written_and_named_after_the_tests(run, pytester):
    result = run("--fastgrad-html", "out/pages")
    result.assert_outcomes(passed=2, failed=5)
    written = pages(pytester.path / "out" / "pages")
    assert written > PAGES
    assert len(written) == len(PAGES) + 2  # the one with a checksum, and the index
    result.stdout.fnmatch_lines(["report written to *test_it.test_several.3.html"])
    text = (pytester.path / "out/pages/test_it.test_several.3.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "a factor 2 is too much" in text


def test_pages_name_their_tests_and_an_index_lists_them(run, pytester):
    run("--fastgrad-html", "out")
    page = (pytester.path / "out/test_it.test_several.3.html").read_text(encoding="utf-8")
    assert "<code>test_it.py::test_several (3)</code>" in page
    assert "<title>fastgrad: wrong, test_it.py::test_several (3)</title>" in page
    assert_index(pytester.path / "out")


def assert_index(directory):
    index = (directory / "index.html").read_text(encoding="utf-8")
    links = re.findall(r'<a href="([^"]*)">([^<]*)</a></th><td>([^<]*)</td>', index)
    assert {unquote(file) for file, _, _ in links} == pages(directory) - {"index.html"}
    assert ("test_it.TestIt.test_function.html", "test_it.py::TestIt::test_function") in {
        (file, test) for file, test, _ in links
    }
    assert all(headline.startswith("WRONG: params[") for _, _, headline in links)
    assert "6 gradient checks that failed" in index


ASSERTED = """
import numpy as np
import fastgrad as fg

NAMES = [f"model.decoder.blocks.{i}.cross_attention.output.dense.weight" for i in range(10)]
PARAMS = {name: np.random.default_rng(i).normal(size=(3, 2)) for i, name in enumerate(NAMES)}

def loss(p):
    return float(sum(np.sin(v).sum() for v in p.values()))

def grad(p):
    return {k: np.cos(v) * (-1 if ".blocks.6." in k else 1) for k, v in p.items()}

def test_direct():
    assert fg.check_gradient(loss, grad, PARAMS)

def test_named():
    right = fg.check_gradient(lambda x: x @ x, lambda x: 2 * x, np.ones(2))
    report = fg.check_gradient(loss, grad, PARAMS)
    assert right
    assert report

def test_verdict():
    assert fg.check_gradient(loss, grad, PARAMS).verdict is fg.Verdict.RIGHT

def test_function():
    fg.testing.assert_gradient(loss, grad, PARAMS)

def test_other():
    report = fg.check_gradient(loss, grad, PARAMS)
    assert 1 == 2
"""


def test_a_plain_assert_shows_the_report_and_names_the_layer(pytester):
    pytester.makepyfile(test_it=ASSERTED)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "--fastgrad-html", "out")
    result.assert_outcomes(failed=5)
    shown = result.stdout.str()
    assert shown.count("- fastgrad -") == 3 + 4  # reports of plain asserts, and places of pages
    assert shown.count("likely cause") == 4
    assert "AssertionError: assert <Report WRONG: 6 of 60 entries disagree" in shown
    summary = [line for line in shown.splitlines() if line.startswith("FAILED")]
    assert len(summary) == 5
    for line in summary[:4]:
        assert re.search(r"::test_\w+ - WRONG: \.\.\.6\.\.\.", line)
        assert len(line) <= 80
    assert "assert 1 == 2" in summary[4]
    assert len(pages(pytester.path / "out")) == 5


def test_no_failure_no_directory(run, pytester):
    run("--fastgrad-html", "out", "-k", "right").assert_outcomes(passed=1)
    assert not (pytester.path / "out").exists()


def test_pages_under_xdist(run, pytester):
    run("--fastgrad-html", "out", "-n2").assert_outcomes(passed=2, failed=5)
    assert pages(pytester.path / "out") > PAGES
    assert_index(pytester.path / "out")


def test_nothing_is_imported_before_it_is_used(pytester):
    pytester.makepyfile(
        "import sys\n"
        "def test_it():\n"
        "    assert 'pytest_fastgrad' in sys.modules\n"
        "    assert 'numpy' not in sys.modules\n"
        "    assert 'fastgrad' not in sys.modules\n"
    )
    pytester.runpytest_subprocess("-p", "no:hypothesispytest").assert_outcomes(passed=1)


def test_the_plugin_can_be_switched_off(run):
    result = run("-p", "no:fastgrad", "-k", "right")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'assert_gradient' not found"])


def test_pytest_describes_the_fixture_and_the_option(pytester):
    fixtures = pytester.runpytest_subprocess("--fixtures").stdout
    fixtures.fnmatch_lines(["assert_gradient*", "*Fail, showing the report*"])
    pytester.runpytest_subprocess("--help").stdout.fnmatch_lines(["*--fastgrad-html=DIR*"])


@pytest.mark.parametrize(
    ("node_id", "number", "name"),
    [
        ("tests/test_net.py::test_loss", 1, "tests.test_net.test_loss.html"),
        ("tests/test_net.py::test_loss", 2, "tests.test_net.test_loss.2.html"),
        ("test_net.py::TestNet::test_loss[3-a]", 1, "test_net.TestNet.test_loss[3-a].html"),
    ],
)
def test_file_names(node_id, number, name):
    assert file_name(node_id, number) == name


def test_file_names_that_lose_characters_stay_different():
    names = {file_name(f"a.py::test[{each}]", 1) for each in ("a b", "a/b", "a:b", "ä", "\ud800")}
    assert len(names) == 5
    assert all(name.isascii() and "/" not in name for name in names)
    long = {file_name(f"a.py::test[{'x' * 500}{i}]", 1) for i in range(2)}
    assert len(long) == 2
    assert max(map(len, long)) < 150
