"""Both backends, through one suite; which copy of fastgrad is tested; and what a run prints."""

import gc
import importlib.util
import os
import signal
from collections import Counter
from pathlib import Path

# Before NumPy is imported: the tests run in as many processes as there are cores, and threads of
# BLAS that wait for each other on them cost ten times what they compute.
for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

import pytest
from hypothesis import HealthCheck, settings
from which_copy import wrong_copy

import fastgrad
from fastgrad import _backend

CHOSEN = os.environ.get("FASTGRAD_BACKEND")
BACKENDS = [CHOSEN] if CHOSEN else ["compiled", "pure"]
SKIPPED = os.environ.get("FASTGRAD_SKIPPED")
REQUIRE_ALL = os.environ.get("FASTGRAD_REQUIRE_ALL") == "1"
# Ten thousand dots would fill 150 lines: a dot stands for so many tests that passed.
TESTS_PER_DOT = 50
# What starts processes has few tests in a file, of half a second each instead of 0.03 s.
FEW_TESTS = 20
_passed = Counter()

# The same examples in every run, so that a failure is the change's and never the day's. A thorough
# run draws others each time; what it finds becomes an `example` of the test that found it.
THOROUGH = os.environ.get("FASTGRAD_THOROUGH") == "1"
settings.register_profile(
    "fastgrad",
    derandomize=not THOROUGH,
    max_examples=1000 if THOROUGH else 100,
    print_blob=THOROUGH,
    database=None,
    # Neither may the load of the machine decide, nor the fixture `backend`, which only switches.
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("fastgrad")


def pytest_configure():
    complaint = wrong_copy(Path(fastgrad.__file__).resolve().parent)
    if complaint:
        raise pytest.UsageError(complaint)
    # A shell lets what it runs in the background ignore Ctrl-C, and so would the tests' programs.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item):
    """What runs on both backends by itself need not be run again where one of them is chosen."""
    one = any("backend" in mark.args[:1] for mark in item.iter_markers("parametrize"))
    if "backend" in getattr(item, "fixturenames", ()) and not one:
        item.add_marker("once")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Long files first, so that none runs alone when the rest is done: few tests are long ones."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    number = Counter(item.path for item in items)
    last = {path for path in number.keys() - slow if number[path] > FEW_TESTS}
    items.sort(key=lambda item: (item.path in last, -number[item.path]))


def pytest_collection_finish():
    """Half a million objects of tests stay: no search for garbage, and no fork, need visit them."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    return _refused((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    return _refused((yield))


def _refused(report):
    """Where everything is installed, what is skipped has failed."""
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.longrepr = f"skipped in spite of FASTGRAD_REQUIRE_ALL=1: {_reason(report)}"
        report.outcome = "failed"
    return report


def _reason(report):
    where = report.longrepr
    return where[2] if isinstance(where, tuple) else str(where)


@pytest.hookimpl(tryfirst=True)
def pytest_report_teststatus(report, config):
    """Failures and errors are shown one by one, what passed by the number, skips at the end."""
    if config.get_verbosity() > 0 or hasattr(report, "wasxfail"):
        return None
    if report.passed and report.when == "call":
        _passed["call"] += 1
        return "passed", "" if _passed["call"] % TESTS_PER_DOT else ".", "PASSED"
    return ("skipped", "", "SKIPPED") if report.skipped else None


def pytest_terminal_summary(terminalreporter):
    """One line for each reason to skip; the skipped tests' ids go to a file where one is wanted."""
    skipped = terminalreporter.stats.get("skipped", ())
    for reason, count in sorted(Counter(map(_reason, skipped)).items()):
        terminalreporter.write_line(f"{count} skipped: {reason.removeprefix('Skipped: ')}")
    if SKIPPED:
        Path(SKIPPED).write_text("".join(f"{report.nodeid}\n" for report in skipped))


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
def pools():
    """Processes and threads for evaluators; see evaluators."""
    from evaluators import Pools

    made = Pools()
    yield made
    made.end()


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    """C functions, compiled; see clibrary."""
    from clibrary import Library, build

    return Library(build(tmp_path_factory.mktemp("native")))
