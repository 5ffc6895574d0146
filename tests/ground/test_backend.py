"""The switch between the compiled kernel and the pure one is chosen, visible, never silent."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from strategies import one_backend, run_python

import fastgrad as fg
from fastgrad import _backend, _reference

PACKAGE = Path(fg.__file__).resolve().parent
COMPILED = importlib.util.find_spec("fastgrad._kernel") is not None
SAY = "import fastgrad; print(fastgrad.backend)"
# An editable install would lend its kernel to any other copy of the package.
ALONE = "import sys; sys.meta_path = [m for m in sys.meta_path if 'ditable' not in repr(m)]; " + SAY


def with_backend(choice, source=SAY, **options):
    env = {k: v for k, v in os.environ.items() if k not in ("FASTGRAD_BACKEND", "PYTHONPATH")}
    if choice is not None:
        env["FASTGRAD_BACKEND"] = choice
    return run_python(source, env=env, **options)


@pytest.mark.parametrize("choice", [None, "", "pure", *["compiled"] * COMPILED])
def test_the_environment_chooses(choice):
    done = with_backend(choice)
    expected = choice or ("compiled" if COMPILED else "pure")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{expected}\n", "")


@pytest.mark.parametrize("choice", ["nonsense", "PURE", "1", " pure"])
def test_an_unknown_choice_is_an_error(choice):
    done = with_backend(choice)
    assert done.returncode != 0
    said = f"InputValueError: FASTGRAD_BACKEND must be pure or compiled; got {choice!r}"
    assert said in done.stderr


def test_pure_never_loads_the_kernel():
    done = with_backend("pure", "import sys, fastgrad; print('fastgrad._kernel' in sys.modules)")
    assert done.stdout == "False\n"


def checkout(folder, source=True):
    """A copy of the package without its kernel, as in a source checkout after a normal install."""
    shutil.copytree(PACKAGE, folder / "fastgrad", ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    if source:
        (folder / "src").mkdir()
        (folder / "src" / "_kernel.pyx").write_text("# only its presence counts\n")
    return folder


def test_a_source_checkout_without_a_kernel_warns(tmp_path):
    done = with_backend(None, ALONE, cwd=checkout(tmp_path))
    assert done.stdout == "pure\n"
    assert "RuntimeWarning: fastgrad was imported from the source folder" in done.stderr
    for part in (str(tmp_path / "fastgrad"), "has no compiled kernel", "pip install -e .",
                 "FASTGRAD_BACKEND=pure"):  # fmt: skip
        assert part in done.stderr


def test_the_warning_is_silenced_by_saying_so(tmp_path):
    done = with_backend("pure", ALONE, cwd=checkout(tmp_path))
    assert (done.stdout, done.stderr) == ("pure\n", "")


def test_asking_for_the_kernel_where_there_is_none_is_an_error(tmp_path):
    done = with_backend("compiled", ALONE, cwd=checkout(tmp_path))
    assert done.returncode != 0
    assert "ModuleNotFoundError: No module named 'fastgrad._kernel'" in done.stderr


def test_an_install_without_a_kernel_is_pure_and_says_so_when_asked(tmp_path):
    done = with_backend(None, ALONE, cwd=checkout(tmp_path, source=False))
    assert (done.stdout, done.stderr) == ("pure\n", "")


def test_a_broken_kernel_is_not_passed_over(tmp_path):
    """Only an absent kernel falls back; one that does not load is an error."""
    checkout(tmp_path)
    (tmp_path / "fastgrad" / "_kernel.py").write_text("raise ImportError('broken')\n")
    done = with_backend(None, ALONE, cwd=tmp_path)
    assert done.returncode != 0
    assert "ImportError: broken" in done.stderr


def test_the_fixture_switches(backend):
    assert _backend.backend == backend
    assert (_backend.kernel is _reference) == (backend == "pure")


def test_what_runs_on_both_is_not_run_again_on_one(backend, request):
    assert request.node.get_closest_marker("once")


@one_backend
def test_what_runs_on_the_chosen_one_is_run_on_each(backend, request):
    assert not request.node.get_closest_marker("once")


def test_the_choice_of_the_kernel_follows_the_memory(backend):
    native, half = np.ones(3), np.ones(3, "f2")
    swapped, unaligned = np.ones(3, ">f8"), np.zeros(25, np.uint8)[1:].view("f8")
    assert _backend.kernel_for(native, native) is _backend.kernel
    for other in (half, swapped, unaligned, np.ones(3, "g")):
        assert _backend.kernel_for(other, native) is _reference
        assert _backend.kernel_for(native, other) is _reference
