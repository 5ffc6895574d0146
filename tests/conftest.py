"""Both backends, through one suite; and a look at which copy of fastgrad is being tested."""

import importlib.util
import os
from pathlib import Path

import pytest
from which_copy import wrong_copy

import fastgrad
from fastgrad import _backend

CHOSEN = os.environ.get("FASTGRAD_BACKEND")
BACKENDS = [CHOSEN] if CHOSEN else ["compiled", "pure"]


def pytest_configure():
    complaint = wrong_copy(Path(fastgrad.__file__).resolve().parent)
    if complaint:
        raise pytest.UsageError(complaint)


@pytest.fixture(scope="session", autouse=True)
def _elsewhere(tmp_path_factory):
    """Work where no fastgrad folder lies: a Python started in the checkout would import it."""
    before = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("elsewhere"))
    yield
    os.chdir(before)


@pytest.fixture(params=BACKENDS)
def backend(request, monkeypatch):
    """Run the test on one backend after the other."""
    if request.param == "compiled" and importlib.util.find_spec("fastgrad._kernel") is None:
        if os.environ.get("FASTGRAD_REQUIRE_KERNEL") == "1":
            pytest.fail(f"the compiled kernel is missing from {fastgrad.__file__}")
        pytest.skip("the compiled kernel was not built")
    before = _backend.backend
    _backend.use(request.param)
    yield request.param
    _backend.use(before)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """C functions, compiled; see clibrary."""
    from clibrary import Library, build

    return Library(build(tmp_path_factory.mktemp("native")))
