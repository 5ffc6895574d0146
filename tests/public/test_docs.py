"""What the documents say is so: README's commands, numbers and examples, and every docstring's."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import fastgrad as fg
from fastgrad import _backend
from fastgrad.__main__ import main
from fastgrad.demo import BUGS

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FLAGS = doctest.ELLIPSIS
INSTALL = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/fastgrad demo"
TEST = 'python3 -m venv .venv && .venv/bin/pip install -q ".[test]" && .venv/bin/pytest'

MODULES = sorted(each.name for each in pkgutil.walk_packages(fg.__path__, "fastgrad."))
PARTS = {"plots": fg.plots, "testing": fg.testing}
PUBLIC = {name: getattr(fg, name) for name in fg.__all__ if name not in PARTS}
PUBLIC |= {f"{m}.{name}": getattr(part, name) for m, part in PARTS.items() for name in part.__all__}
# What a check returns; users read these and never build them.
RESULTS = {"Cause", "Entries", "Entry", "Finding", "LeafReport", "Report"}


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def examples():
    return "\n".join(block for block in blocks("python") if ">>>" in block)


@cache
def run_examples(backend):
    """Run README's examples from top to bottom; returns outcome, complaints and variables."""
    test = doctest.DocTestParser().get_doctest(examples(), {}, "README", "README.md", 0)
    complaints = []
    runner = doctest.DocTestRunner(optionflags=FLAGS)
    outcome = runner.run(test, out=complaints.append, clear_globs=False)
    return outcome, "".join(complaints), test.globs


def test_readmes_examples(backend):
    outcome, complaints, _ = run_examples(backend)
    assert outcome.attempted > 10
    assert not outcome.failed, complaints


def test_readmes_workers_run_as_a_script(tmp_path):
    (block,) = (block for block in blocks("python") if "ProcessPoolExecutor" in block)
    script = tmp_path / "script.py"
    said = "    print(report.verdict.name, np.allclose(slopes['w'], np.sinh(params['w'])))\n"
    script.write_text(f"import numpy as np\nimport fastgrad as fg\n{block}{said}")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "RIGHT True\n"


def test_what_a_small_derivative_is_measured_by():
    # As README says of *right*: by the largest entry, and a factor of two in 1e-10 of it may pass.
    def verdict(large, factor):
        f, x = (lambda x: large * np.sin(x[0]) + np.cos(x[1])), np.array([0.4, 0.9])
        claimed = np.array([large * np.cos(0.4), -factor * np.sin(0.9)])
        return fg.check_gradient(f, claimed, x).verdict.name

    assert (verdict(1e6, 2.0), verdict(1e10, 2.0)) == ("WRONG", "RIGHT")


def test_readme_opens_with_the_lectures_numbers():
    opening = README[: README.index("\n## ")]
    for number in ("3.0301", "3.0001", "0.03,", "0.0001."):
        assert number in opening
    one_sided = fg.derivative(lambda t: t**3, 1.0, eps=0.01, method="forward")
    two_sided = fg.derivative(lambda t: t**3, 1.0, eps=0.01)
    assert one_sided == pytest.approx(3.0301, abs=1e-10)
    assert two_sided == pytest.approx(3.0001, abs=1e-10)


def test_readmes_two_commands():
    commands = "".join(blocks("console")).splitlines()
    assert INSTALL in commands
    assert TEST in commands


@pytest.mark.parametrize("command", [INSTALL, TEST])
def test_what_gates_a_change_runs_readmes_commands(command):
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("a source distribution has no .ci")
    assert command in script.read_text(encoding="utf-8")


def test_the_report_shown_is_the_report_printed():
    """Word for word; of the numbers those that do not depend on the machine."""
    shown = blocks("text")[0]
    printed = str(run_examples(_backend.backend)[2]["report"]).replace(
        "pure kernel", "compiled kernel"
    )
    assert words(shown) == words(printed)
    for text in (shown, printed):
        for number in ("1.314", "0.0262799", "50", "1.31399627"):
            assert number in text


def words(report):
    return re.sub(r"-?\b\d[\d.,]*(e[+-]\d+)?", "#", report).split()


def test_the_model_of_the_command_line(tmp_path, monkeypatch, capsys):
    model = next(block for block in blocks("python") if block.startswith("# model.py"))
    (tmp_path / "model.py").write_text(model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "model", None)  # and forget the module afterwards
    command = next(
        line for block in blocks("console") for line in block.splitlines() if "check" in line
    )
    assert main(command.split()[1:]) == 0
    assert "RIGHT" in capsys.readouterr().out


def test_the_speed_shown_is_that_of_the_benchmarks_last_run():
    results = (ROOT / "bench" / "results" / "gradient.md").read_text(encoding="utf-8")
    loop = rows(results[results.index("## The loop") : results.index("## Fixed cost")])
    shown = rows(README[README.index("## Speed") : README.index("## False alarms")])
    columns = [loop[""].index(title) for title in shown[""]]
    assert len(shown) > 5
    assert shown == {name: [loop[name][i] for i in columns] for name in shown}


def rows(markdown):
    """Cells of a table by the first of their row, ``""`` for the header."""
    lines = [line for line in markdown.splitlines() if line.startswith("|") and "---" not in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first: rest for first, *rest in cells}


def test_readme_counts_the_demonstrations_bugs():
    assert f"lists {('five', 'six', 'seven')[len(BUGS) - 5]}" in README
    assert all(name in BUGS for name in re.findall(r"--bug ([\w-]+)", README))


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`?\bfg\.([a-z_.]+)", README))))
def test_readme_uses_public_names(name):
    first, *rest = name.rstrip(".").split(".")
    assert first in fg.__all__
    assert all(hasattr(getattr(fg, first), each) for each in rest)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`report\.(\w+)", README))))
def test_readme_names_what_a_report_has(name):
    assert hasattr(run_examples(_backend.backend)[2]["report"], name)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_examples(module, backend):
    if module == "fastgrad._kernel":
        return
    outcome = doctest.testmod(importlib.import_module(module), optionflags=FLAGS, verbose=False)
    assert not outcome.failed


def test_modules_come_from_the_package_under_test():
    assert "gradient" in PUBLIC
    assert "fastgrad._derivatives.gradient" in MODULES


@pytest.mark.parametrize("name", [n for n, each in PUBLIC.items() if inspect.isclass(each)])
def test_examples_of_public_classes(name, backend):
    """Of their methods too, which no module's search finds: the class says it lives in fastgrad."""
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    for test in doctest.DocTestFinder().find(PUBLIC[name], name, module=False, globs={}):
        runner.run(test)
    assert not runner.failures
    assert runner.tries or name != "Report"


def needs_example(thing):
    is_error = inspect.isclass(thing) and issubclass(thing, Exception)
    return callable(thing) and not is_error and thing.__name__ not in RESULTS


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_are_documented(name):
    thing = PUBLIC[name]
    if isinstance(thing, str):  # fg.backend
        return
    text = inspect.getdoc(thing)
    assert text
    assert text.splitlines()[0].endswith((".", ":")) or len(text.splitlines()) > 1
    if needs_example(thing):
        assert "\nExamples\n--------\n>>> " in text


TAKE_SOMETHING = [
    name
    for name, each in PUBLIC.items()
    if inspect.isfunction(each) and inspect.signature(each).parameters
]


@pytest.mark.parametrize("name", TAKE_SOMETHING)
def test_every_parameter_is_documented(name):
    text = inspect.getdoc(PUBLIC[name])
    start = text.index("Parameters\n----------")
    described = re.findall(r"^(\w[\w, ]*?)(?: :.*)?$", text[start:].split("\n\n")[0], re.MULTILINE)
    names = {each for line in described for each in line.split(", ")}
    assert set(inspect.signature(PUBLIC[name]).parameters) <= names


@pytest.mark.parametrize("name", ["Entry", "Report"])
def test_every_field_of_a_result_is_documented(name):
    text = inspect.getdoc(PUBLIC[name])
    fields = PUBLIC[name].__dataclass_fields__
    missing = [
        field for field in fields if not re.search(rf"^[\w, ]*\b{field}\b", text, re.MULTILINE)
    ]
    assert not missing


def test_all_lists_are_sorted_and_true():
    for module in (fg, *PARTS.values()):
        assert list(module.__all__) == sorted(module.__all__, key=sort_key)
        assert all(hasattr(module, name) for name in module.__all__)


def sort_key(name):
    return (not name[0].isupper(), name)


def test_changelog_starts_with_what_is_not_released():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
