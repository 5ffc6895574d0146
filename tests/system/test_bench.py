"""The benchmarks run, with and without the packages that they compare."""

import importlib
import os
import re
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import fastgrad as fg

pytestmark = pytest.mark.once
BENCH = Path(__file__).resolve().parents[2] / "bench"
OPTIONAL = ["statsmodels", "numdifftools", "jacobi", "matplotlib"]
WITHOUT_OPTIONAL = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({OPTIONAL}))
sys.path.insert(0, {str(BENCH)!r})
runpy.run_path({str(BENCH / "gradient.py")!r}, run_name="__main__")
"""


def run(folder, *command, **variables):
    """Run Python elsewhere than in the source folder, with the backend that it finds."""
    environment = {k: v for k, v in os.environ.items() if k != "FASTGRAD_BACKEND"}
    environment |= {"PYTHONUTF8": "1", **variables}
    command = [sys.executable, *map(str, command)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", check=False
    )


def smoke(folder, *script, result="gradient.md"):
    done = run(folder, *script, "--quick", "--out", folder)
    if "Nothing to measure" in done.stderr and os.environ.get("FASTGRAD_REQUIRE_KERNEL") != "1":
        pytest.skip("the compiled kernel was not built")
    assert done.returncode == 0, done.stderr
    written = (folder / result).read_text(encoding="utf-8")
    assert written.partition("\n\n!")[0].strip() in done.stdout
    return written


@pytest.mark.slow
def test_smoke_run(tmp_path):
    written = smoke(tmp_path, BENCH / "gradient.py")
    for row in ("compiled / bare loop", "pure twin / compiled", "tracemalloc", "| scipy 3-point"):
        assert row in written
    assert max(map(len, written.splitlines())) <= 80


@pytest.mark.slow
def test_smoke_run_of_the_checkers(tmp_path):
    written = smoke(tmp_path, BENCH / "checkers.py", result="checkers.md")
    for row in ("| fastgrad ", "| CS231n recipe", "| course recipe", "False alarms by family"):
        assert row in written
    assert max(len(line) for line in written.splitlines() if line[:1] == "|") <= 110


@pytest.mark.slow
def test_smoke_run_of_dense_jacobians(tmp_path):
    written = smoke(tmp_path, BENCH / "derivatives.py", result="derivatives.md")
    for row in ("| bare loop that stores", "| fastgrad compiled", "| n = m = 3: beyond"):
        assert row in written
    found = re.search(r"^\| fastgrad, from gradients \| +(\d+) ", written, flags=re.MULTILINE)
    assert int(found[1]) <= 2 * 10 + 5


@pytest.mark.slow
def test_smoke_run_of_sparse_jacobians(tmp_path):
    pytest.importorskip("scipy")
    written = smoke(tmp_path, BENCH / "sparse.py", result="sparse.md")
    for row in ("| tridiagonal", "| Brusselator", "colors than SciPy's", "evaluations alone"):
        assert row in written


@pytest.mark.slow
def test_smoke_run_of_patterns(tmp_path):
    pytest.importorskip("scipy")
    written = smoke(tmp_path, BENCH / "patterns.py", result="patterns.md")
    for row in ("banded", "block-diagonal", "arrow", "random, 3 in a row"):
        assert re.search(rf"\| {row} .*\| 0 of 2 \|", written)


@pytest.mark.slow
def test_smoke_run_of_tight_loops(tmp_path):
    pytest.importorskip("scipy")
    written = smoke(tmp_path, BENCH / "tight_loops.py", result="tight_loops.md")
    for row in (
        "| scipy check_grad",
        "| a gradient, 4 nested",
        "one entry wrong",
        "beyond NumPy's",
    ):
        assert row in written


@pytest.mark.slow
def test_smoke_run_of_the_jacobians(tmp_path):
    written = smoke(tmp_path, BENCH / "jacobians.py", result="jacobians.md")
    figures = dict(re.findall(r"^\| ([a-z, ]+?) +\| +(\d+) ", written, flags=re.MULTILINE))
    assert int(figures["right"]) > 0
    assert int(figures["wrong"]) > 0
    assert figures["false alarms"] == figures["misses"] == figures["exceptions"] == "0"


@pytest.mark.slow
def test_smoke_run_of_the_mutants(tmp_path):
    """Each package may be missing; SciPy's models are always there."""
    pytest.importorskip("scipy")
    written = smoke(tmp_path, BENCH / "mutants.py", result="mutants.md")
    for row in (
        "| false alarms ",
        "| first cause right ",
        "| stated wrongly ",
        "By slip: held out",
    ):
        assert row in written
    figures = dict(re.findall(r"^\| ([a-z, ]+?) +\| +(\d+) ", written, flags=re.MULTILINE))
    assert int(figures["mutants"]) > 0
    assert figures["false alarms"] == figures["misses"] == figures["exceptions"] == "0"


def test_the_truth_about_mutants_tells_relations_apart(monkeypatch):
    """Each relation holds for its own errors, and not for those of another or of chance."""
    monkeypatch.syspath_prepend(BENCH)
    truth = runpy.run_path(str(BENCH / "mutant_truth.py"))
    rng = np.random.default_rng(0)
    right, params, floor = rng.normal(size=(4, 5)), rng.normal(size=(4, 5)), np.full((4, 5), 1e-9)
    claims = {
        "FACTOR": 0.37 * right,
        "SIGN": -right,
        "ZERO": 0 * right,
        "TRANSPOSED": right.T.reshape(4, 5),
        "SHIFTED": np.roll(right, 1, axis=0),
        "REVERSED": right[:, ::-1],
        "MISSING_L2": right + 0.1 * params,
        "MISSING_L1": right + 0.1 * np.sign(params),
        "OFFSET": right + 0.1,
        "LOG_PARAMETER": right * np.exp(params),
        "BROADCAST": np.tile(right[0], (4, 1)),
        "ABSOLUTE": np.abs(right),
        "NEARBY": right + 0.01 * rng.normal(size=(4, 5)),
    }
    true = {"FACTOR": {"SIGN"}, "NEARBY": {"MISSING_L2", "MISSING_L1", "OFFSET"}}
    for name, claimed in claims.items():
        visible = np.abs(claimed - right) > floor
        region = truth["Region"](claimed, right, params, visible, floor, right.ravel())
        for kind in claims:
            expected = kind == name or name in true.get(kind, ())
            assert truth["holds"](kind, region) == expected, f"{kind} of {name}"


@pytest.mark.slow
def test_smoke_run_of_the_estimates(tmp_path):
    for package in ("scipy", "mpmath"):
        pytest.importorskip(package)
    written = smoke(tmp_path, BENCH / "estimates.py", result="estimates.md")
    for row in (
        "| fastgrad 1e-08 ",
        "## The table, seen",
        "## Hard functions, seen",
        "## On stairs",
    ):
        assert row in written
    assert "that do not hold, of" in written
    assert written.count(" 100.00 % ") >= 9


def test_smoke_run_of_the_hostile_problems(tmp_path):
    written = smoke(tmp_path, BENCH / "hostile.py", result="hostile.md")
    for row in ("false alarms in 10,000 checks", "| held out ", "## Misses: ", "## Exceptions: "):
        assert row in written


@pytest.mark.slow
def test_gradients_of_hostile_problems_are_right(monkeypatch):
    """By complex steps and by differences of a clean function; a doubled one does not pass."""
    monkeypatch.syspath_prepend(BENCH)
    oracle = importlib.import_module("hostile_oracle")
    families = importlib.import_module("hostile_problems").FAMILIES
    problems = {name: family.problem(0) for name, family in families.items()}
    known = {name: each for name, each in problems.items() if each.verified}
    assert [name for name, each in known.items() if not oracle.verify(each)] == []
    assert len(families) >= 80
    assert len(known) >= 0.9 * len(families)
    for name in ("offset_inside", "lasso", "adaptive_ode", "large_float32_network"):
        assert not oracle.verify(replace(known[name], **_doubled(known[name])))


def _doubled(problem):
    sides = ("right", "low", "high")
    trees = {side: getattr(problem, side) for side in sides}
    return {side: _twice(tree) for side, tree in trees.items() if tree is not None}


def _twice(tree):
    return {k: 2 * v for k, v in tree.items()} if isinstance(tree, dict) else 2 * tree


@pytest.mark.slow
def test_causes_of_hostile_problems_are_tested_on_the_data(monkeypatch):
    """A cause that holds is true, and the same cause of another gradient is not."""
    monkeypatch.syspath_prepend(BENCH)
    causes = importlib.import_module("hostile_causes")
    problem = importlib.import_module("hostile_problems").FAMILIES["large_leaf"].problem(0)
    claims = {"FACTOR": 2 * problem.right, "SIGN": -problem.right, "ZERO": 0 * problem.right}
    claims |= {"OFFSET": problem.right + 0.5, "MISSING_L2": problem.right - 0.1 * problem.params}
    claims |= {"SHIFTED": np.roll(problem.right, 1), "REVERSED": problem.right[::-1].copy()}
    for kind, claim in claims.items():
        report = fg.check_gradient(problem.f, claim, problem.params, strategy="exhaustive")
        for name in claims:
            finding = SimpleNamespace(
                kind=fg.Cause[name], leaf="params", place="params", evidence={}
            )
            # A sign and a zero are factors as well.
            expected = name == kind or (name == "FACTOR" and kind in ("SIGN", "ZERO"))
            assert causes.is_true(finding, problem, claim, report) is expected, (name, kind)


@pytest.mark.slow
def test_smoke_run_of_the_cost_of_a_check(tmp_path):
    written = smoke(tmp_path, BENCH / "check_cost.py", result="check_cost.md")
    for row in ("calls beyond 2n", "outside f", "tracemalloc peak", "objects per entry"):
        assert row in written


@pytest.mark.slow
def test_smoke_run_of_probing(tmp_path):
    written = smoke(tmp_path, BENCH / "probe.py", result="probe.md")
    for row in ("| nothing wrong ", "| one entry off by 1 %", "entry by entry", "| in 6 |"):
        assert row in written


@pytest.mark.slow
def test_smoke_run_of_the_workers(tmp_path):
    written = smoke(tmp_path, BENCH / "workers.py", result="workers.md")
    for row in ("| sleeps", "| computes", "| two processes of fastgrad", "| ThreadPoolExecutor"):
        assert row in written


@pytest.mark.slow
def test_smoke_run_of_batches(tmp_path):
    written = smoke(tmp_path, BENCH / "batched.py", result="batched.md")
    for row in ("| NumPy, n = 100 ", "| Rosenbrock in", "| network, n = 100", "f alone", "by hand"):
        assert row in written
    assert max(map(len, written.splitlines())) <= 80


@pytest.mark.slow
def test_smoke_run_of_native_objectives(tmp_path, library):
    written = smoke(tmp_path, BENCH / "native.py", result="native.md")
    for row in ("| C loop, f constant", "| rosenbrock", "| fastgrad, native", "| two processes"):
        assert row in written


def test_smoke_run_of_the_walks(tmp_path):
    """The counts do not depend on the machine: the shortest call stays as short as it is."""
    written = smoke(tmp_path, BENCH / "walk.py", result="walk.md")
    small = next(line for line in written.splitlines() if line.startswith("| gradient, small"))
    calls, functions, files, moves, depth = (int(cell) for cell in small.split("|")[2:-1])
    assert calls == functions <= 8
    assert files <= 5
    assert moves <= 7
    assert depth <= 3
    for row in ("| probe, one wrong entry", "| modules in a circle of imports ", "Cross: `"):
        assert row in written


def test_the_runner_runs_those_that_are_named(tmp_path):
    done = run(tmp_path, BENCH / "run.py", "--only", "sparse", "--quick", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.glob("*.md")] == ["sparse.md"]
    done = run(tmp_path, BENCH / "run.py", "--only", "spars")
    assert done.returncode == 2
    assert "'spars'" in done.stderr


def test_the_runner_knows_every_benchmark(monkeypatch):
    """Each script that writes results is run; each of the results is of a script."""
    monkeypatch.syspath_prepend(BENCH)
    runner = runpy.run_path(str(BENCH / "run.py"))
    named = {*runner["TIMES"], *runner["COUNTS"]}
    scripts = {path.stem for path in BENCH.glob("*.py") if " = arguments(" in path.read_text()}
    assert named == scripts
    assert {path.stem for path in (BENCH / "results").glob("*.md")} <= named


def test_the_runner_takes_readmes_tables_from_the_results(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    update = runpy.run_path(str(BENCH / "run.py"))["update"]
    readme = (BENCH.parent / "README.md").read_text(encoding="utf-8")
    assert update(readme, BENCH / "results") == readme
    other = re.sub(r"^\| statsmodels .*$", "| statsmodels | 0 | 0 |", readme, flags=re.MULTILINE)
    assert other != readme
    assert update(other, BENCH / "results").count("| statsmodels ") == 3


@pytest.mark.slow
def test_missing_packages_are_left_out_and_named(tmp_path):
    written = smoke(tmp_path, "-c", WITHOUT_OPTIONAL)
    assert "Left out, not installed: statsmodels, numdifftools, jacobi." in written
    assert "| jacobi" not in written
    assert "No picture: no matplotlib." in written
    assert not (tmp_path / "gradient.png").exists()


def test_refuses_the_pure_backend_in_one_sentence(tmp_path):
    done = run(tmp_path, BENCH / "gradient.py", "--quick", FASTGRAD_BACKEND="pure")
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "pure backend" in done.stderr


def test_instruction_count_needs_valgrind(tmp_path):
    done = run(tmp_path, BENCH / "instructions.py", PATH=str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == "Counting instructions needs valgrind, which was not found.\n"
