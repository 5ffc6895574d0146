"""`fastgrad.testing`: silent for right gradients, the report for all others."""

import inspect
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from strategies import PATIENCE

import fastgrad as fg


def cube(x):
    return (x**3).sum()


def slope(x):
    return 3 * x**2


def test_silent_if_right(backend):
    assert fg.testing.assert_gradient(cube, slope, np.arange(1.0, 4.0)) is None


def test_wrong_raises_the_report(backend):
    with pytest.raises(AssertionError) as raised:
        fg.testing.assert_gradient(cube, lambda x: 3 * x, np.arange(1.0, 4.0))
    assert "WRONG" in str(raised.value)
    assert "params[2]" in str(raised.value)


def test_cannot_tell_fails_too(backend):
    with pytest.raises(AssertionError, match="CANNOT TELL"):
        fg.testing.assert_gradient(lambda x: np.nan, slope, np.arange(1.0, 4.0))


def test_other_errors_pass_through():
    with pytest.raises(fg.InputValueError, match="shape"):
        fg.testing.assert_gradient(cube, np.ones(2), np.arange(1.0, 4.0))


def test_it_takes_what_the_check_takes():
    def options(call):
        return list(inspect.signature(call).parameters.values())

    assert options(fg.testing.assert_gradient) == options(fg.check_gradient)


def test_a_pool_is_passed_on(backend):
    with ThreadPoolExecutor(1) as pool:
        fg.testing.assert_gradient(cube, slope, np.arange(1.0, 4.0), workers=pool, progress=False)
    with pytest.raises(fg.InputTypeError, match="`workers` must be"):
        fg.testing.assert_gradient(cube, slope, np.arange(1.0, 4.0), workers="many")


def test_pytest_shows_the_callers_line_and_the_report(tmp_path):
    (tmp_path / "test_it.py").write_text(
        "import numpy as np\n"
        "import fastgrad as fg\n"
        "def test_gradient():\n"
        "    fg.testing.assert_gradient(lambda x: (x**2).sum(), lambda x: 1 * x, np.ones(2))\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "test_it.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 1
    assert "WRONG" in done.stdout
    assert "def test_gradient" in done.stdout
    assert "def assert_gradient" not in done.stdout
