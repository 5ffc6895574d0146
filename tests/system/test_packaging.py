"""What is installed, which backend runs, and that the tests cannot look at the wrong copy."""

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from strategies import PATIENCE
from which_copy import ROOT, installed_editable, wrong_copy

import fastgrad as fg

PACKAGE = Path(fg.__file__).resolve().parent
HAS_KERNEL = any(PACKAGE.glob("_kernel.*"))


def run(*command, cwd, **environment):
    """Run a command as a user would, who has set nothing but `environment`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FASTGRAD_", "PYTEST_"))}
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=inherited | environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def python(code, cwd, **environment):
    return run(sys.executable, "-c", code, cwd=cwd, **environment)


def test_version_is_stated_once_too_often_but_equally():
    assert fg.__version__ == importlib.metadata.version("fastgrad")


def test_package_has_what_it_needs_and_nothing_else():
    files = {path.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    assert {"py.typed", "data/iris.csv", "_kernel.pxd"} <= files
    suffixes = {Path(name).suffix for name in files if "__pycache__" not in name}
    assert suffixes <= {".py", ".pxd", ".csv", ".typed", ".so", ".pyd"}


@pytest.mark.skipif(installed_editable(ROOT), reason="an editable install lists no files")
def test_nothing_else_is_installed():
    files = importlib.metadata.files("fastgrad")
    tops = {file.parts[0] for file in files if ".." not in file.parts}
    ours = {top for top in tops if not top.endswith((".dist-info", "__pycache__"))}
    assert ours == {"fastgrad", "pytest_fastgrad.py"}


def test_kernel_is_taken_where_it_was_built(tmp_path):
    done = python("import fastgrad; print(fastgrad.backend)", tmp_path)
    assert done.stdout.strip() == ("compiled" if HAS_KERNEL else "pure")


@pytest.mark.parametrize("choice", ["pure", "compiled"])
def test_backend_can_be_chosen(choice, tmp_path):
    if choice == "compiled" and not HAS_KERNEL:
        pytest.skip("the compiled kernel was not built")
    code = (
        "import numpy as np, fastgrad as fg\n"
        "x = np.ones(2)\n"
        "report = fg.check_gradient(lambda x: (x**3).sum(), 3 * x**2, x)\n"
        "print(fg.backend, report.backend, report.verdict.name)\n"
    )
    done = python(code, tmp_path, FASTGRAD_BACKEND=choice)
    assert done.stdout.split() == [choice, choice, "RIGHT"], done.stderr


def test_an_unknown_backend_is_refused(tmp_path):
    done = python("import fastgrad", tmp_path, FASTGRAD_BACKEND="gpu")
    assert done.returncode == 1
    assert "FASTGRAD_BACKEND must be pure or compiled; got 'gpu'" in done.stderr


# ------------------------------------------------------ a Python started in the checkout's root


@pytest.fixture
def checkout(tmp_path):
    """A checkout without kernel, as git would clone it, with one test."""
    shutil.copytree(ROOT / "fastgrad", tmp_path / "fastgrad", ignore=_unwanted)
    for name in ("pyproject.toml", "tests/conftest.py", "tests/which_copy.py", "src/_kernel.pyx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "tests" / "test_it.py").write_text("def test_it(backend):\n    pass\n")
    return tmp_path


def _unwanted(folder, names):
    return [name for name in names if name.endswith((".so", ".pyd", "__pycache__"))]


@pytest.mark.parametrize("environment", [{}, {"FASTGRAD_BACKEND": "pure"}], ids=["", "pure"])
def test_python_m_pytest_refuses_to_test_the_source_folder(environment, checkout):
    done = run(sys.executable, "-m", "pytest", cwd=checkout, **environment)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    said = done.stdout + done.stderr
    assert re.search(f"fastgrad was imported from (the source folder )?{checkout}", said)


def test_pytest_in_the_checkout_tests_the_installed_package(checkout):
    done = run(Path(sysconfig.get_path("scripts")) / "pytest", cwd=checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{2 if HAS_KERNEL else 1} passed" in done.stdout


def test_a_copy_that_is_not_this_checkouts_is_refused(checkout):
    assert wrong_copy(PACKAGE) is None
    assert wrong_copy(checkout / "fastgrad") is None
    with (checkout / "fastgrad" / "_stencils.py").open("a") as source:
        source.write("# changed\n")
    (checkout / "fastgrad" / "_tree.py").unlink()
    complaint = wrong_copy(checkout / "fastgrad")
    assert "_stencils.py" in complaint
    assert "_tree.py" in complaint
