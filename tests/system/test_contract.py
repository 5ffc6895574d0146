"""The C contract, fastgrad/_kernel.pxd: another extension is compiled against an installed copy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clibrary import NATIVE, skip_or_fail
from strategies import PATIENCE, STENCIL_IDS, STENCILS, same
from which_copy import ROOT

import fastgrad as fg

pytestmark = pytest.mark.slow
PACKAGE = Path(fg.__file__).resolve().parent
SHIPPED = ["fastgrad", "src", "pyproject.toml", "setup.py", "pytest_fastgrad.py"]
SHIPPED += ["README.md", "LICENSE", "MANIFEST.in"]
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
# A fused multiply-add in `f` would round differently from the same function in Python.
flags = [] if {windows} else ["-O0", "-ffp-contract=off"]
extension = Extension("third_party", ["third_party.pyx"], extra_compile_args=flags)
setup(name="third_party", ext_modules=cythonize([extension], language_level=3))
"""
RUN = """
import json, sys
import numpy as np, third_party
names = dict(zip(third_party.OUTCOMES.values(), third_party.OUTCOMES))
for line in sys.stdin:
    given = json.loads(line)
    x = np.array(given.pop("x"))
    before = x.tobytes()
    outcome, stopped_at, g = third_party.differentiate(x, **given)
    assert x.tobytes() == before
    print(json.dumps([names[outcome], stopped_at, g]), flush=True)
"""
METHODS = {"forward": 0, "backward": 1, "central": 2}


def alone(site):
    """The environment of a user who has set nothing, but for where modules are."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("FASTGRAD", "PYTHON"))}
    return inherited | {"PYTHONPATH": os.pathsep.join(map(str, site))}


def run(*command, site=(), cwd):
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=alone(site),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def install(folder):
    """Where fastgrad is installed for good: an editable install hides the .pxd from Cython."""
    if PACKAGE.parent != ROOT:
        return PACKAGE.parent
    source, site = folder / "source", folder / "site"
    source.mkdir()
    for name in SHIPPED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, source / name)
    for binary in [*source.glob("fastgrad/*.so"), *source.glob("fastgrad/*.pyd")]:
        binary.unlink()
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-build-isolation"]
    run(*pip, "--no-index", "--target", site, source, cwd=folder)
    return site


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """The folders in which another extension and the fastgrad that it needs are installed."""
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    if not any(PACKAGE.glob("_kernel.*[!x]")):
        skip_or_fail("the compiled kernel was not built")
    folder = tmp_path_factory.mktemp("contract")
    site = install(folder)
    shutil.copy(NATIVE / "third_party.pyx", folder)
    (folder / "setup.py").write_text(SETUP.format(windows=sys.platform == "win32"))
    run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", site=[site], cwd=folder)
    return [folder, site]


@pytest.fixture(scope="module")
def differentiate(sites):
    """What ``third_party.differentiate`` returns, run in a Python of its own."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    python = [sys.executable, "-c", RUN]
    with subprocess.Popen(
        python, cwd=sites[0], env=alone(sites), text=True, bufsize=1, **pipes
    ) as process:

        def ask(**given):
            process.stdin.write(f"{json.dumps(given)}\n")
            answer = process.stdout.readline()
            assert answer, process.stderr.read()
            return json.loads(answer)

        yield ask


def cubes(x):
    """As in third_party.pyx, in the same order."""
    total = 0.0
    for i, each in enumerate(x.tolist()):
        total += (i + 1) * each * each * each
    return total


X = [0.5, -1.25, 3.0, 1e9, 0.0, -7.5]


@pytest.mark.parametrize("stencil", STENCILS, ids=STENCIL_IDS)
@pytest.mark.parametrize("eps", [0.0, 1e-2])
def test_the_results_are_those_of_gradient_to_the_last_bit(stencil, eps, differentiate):
    method = METHODS[stencil.name]
    said = differentiate(x=X, method=method, order=stencil.order, eps=eps)
    expected = fg.gradient(cubes, np.array(X), method=stencil, eps=eps or None)
    assert said[:2] == ["done", -1]
    assert same(np.array(said[2]), expected)


@pytest.mark.parametrize(
    ("method", "order", "eps"),
    [(2, 3, 0.0), (2, 10, 0.0), (2, 0, 0.0), (0, 5, 0.0), (1, 0, 0.0), (3, 2, 0.0), (-1, 2, 0.0),
     (2, 2, -1.0), (2, 2, float("inf")), (2, 2, float("nan"))],
)  # fmt: skip
def test_methods_that_there_are_not(method, order, eps, differentiate):
    said = differentiate(x=X, method=method, order=order, eps=eps)
    assert said == ["refused", -1, [-1.0] * len(X)]


@pytest.mark.parametrize("order", [2, 4])
def test_where_a_step_vanishes(order, differentiate):
    outcome, stopped_at, g = differentiate(x=X, method=2, order=order, eps=1e-9)
    assert (outcome, stopped_at) == ("vanished", 3)
    eps = np.array([1e-9, 1e-9, 1e-9, 1.0, 1.0, 1.0])
    expected = fg.gradient(cubes, np.array(X), method=fg.central(order), eps=eps)
    assert same(np.array(g[:3]), expected[:3])
    assert g[3:] == [-1.0] * 3


@pytest.mark.parametrize("order", [2, 4])
def test_an_f_that_writes(order, differentiate):
    said = differentiate(x=[1.0], method=2, order=order, badly=True)
    assert said == ["written", 0, [-1.0]]


@pytest.mark.parametrize("order", [1, 3])
def test_a_part(order, differentiate):
    outcome, _, g = differentiate(x=X, method=0, order=order, start=2, stop=4)
    expected = np.full(6, -1.0)
    expected[2:4] = fg.gradient(cubes, np.array(X), method=fg.forward(order))[2:4]
    assert outcome == "done"
    assert same(np.array(g), expected)


def test_a_function_that_cython_exports_is_a_native_objective(sites):
    code = (
        "import numpy as np, fastgrad as fg, third_party\n"
        "f = fg.native(third_party.__pyx_capi__['exported'])\n"
        "x = np.array([0.5, -1.25, 3.0])\n"
        "print(f.signature, fg.backend, (fg.gradient(f, x) / x**2 / 3).round(6).tolist())\n"
    )
    expected = "double (int, double *, void *) compiled [1.0, 2.0, 3.0]\n"
    assert run(sys.executable, "-c", code, site=sites, cwd=sites[0]).stdout == expected


def test_numpy_s_headers_are_not_needed():
    lines = (PACKAGE / "_kernel.pxd").read_text(encoding="utf-8").splitlines()
    imports = [line for line in lines if line.startswith(("from ", "cimport "))]
    assert imports == ["from libc.stdint cimport intptr_t"]
