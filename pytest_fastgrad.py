"""The pytest plugin: a fixture, and web pages of failed gradient checks.

It lies outside the package so that a test run that checks no gradient imports neither fastgrad
nor NumPy, and so that pytest-cov sees fastgrad's own imports.
"""

from __future__ import annotations

import functools
import re
import sys
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

_PAGES = pytest.StashKey[int]()
_PROPERTY = "fastgrad-html"  # of a test: a page and its headline, for the index
_LONGEST = 120  # characters of a file name; file systems allow 255 bytes


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fastgrad-html DIR``."""
    parser.getgroup("fastgrad", "gradient checks").addoption(
        "--fastgrad-html",
        metavar="DIR",
        help="write the report of each gradient check that fails as a web page into DIR, and an "
        "index.html",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take DIR as seen from where pytest was started, in the workers of xdist too."""
    if config.option.fastgrad_html:
        directory = config.invocation_params.dir / config.option.fastgrad_html
        config.option.fastgrad_html = str(directory)
        if not hasattr(config, "workerinput"):  # a worker of xdist sends its reports
            config.pluginmanager.register(_Index(str(directory)))


@pytest.fixture
def assert_gradient(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Fail, showing the report, unless a gradient is right: ``assert_gradient(f, grad, params)``.

    As `fastgrad.testing.assert_gradient`. With ``--fastgrad-html DIR`` each failure of the test
    gets its page, those the test catches too.
    """
    return _with_pages(request.node, "assert_gradient")


@pytest.fixture
def assert_jacobian(request: pytest.FixtureRequest) -> Callable[..., None]:
    """The same of ``assert_jacobian(f, jac, params)``: see `fastgrad.testing.assert_jacobian`."""
    return _with_pages(request.node, "assert_jacobian")


@pytest.fixture
def assert_vjp(request: pytest.FixtureRequest) -> Callable[..., None]:
    """The same of ``assert_vjp(f, vjp, params)``: see `fastgrad.testing.assert_vjp`."""
    return _with_pages(request.node, "assert_vjp")


@pytest.fixture
def assert_jvp(request: pytest.FixtureRequest) -> Callable[..., None]:
    """The same of ``assert_jvp(f, jvp, params)``: see `fastgrad.testing.assert_jvp`."""
    return _with_pages(request.node, "assert_jvp")


@pytest.fixture
def assert_hessian(request: pytest.FixtureRequest) -> Callable[..., None]:
    """The same of ``assert_hessian(f, hess, params)``: see `fastgrad.testing.assert_hessian`."""
    return _with_pages(request.node, "assert_hessian")


@pytest.fixture
def assert_hvp(request: pytest.FixtureRequest) -> Callable[..., None]:
    """The same of ``assert_hvp(f, hvp, params)``: see `fastgrad.testing.assert_hvp`."""
    return _with_pages(request.node, "assert_hvp")


@pytest.fixture
def assert_adjoint(request: pytest.FixtureRequest) -> Callable[..., None]:
    """The same of ``assert_adjoint(forward, adjoint, x)``: see `fastgrad.testing`."""
    return _with_pages(request.node, "assert_adjoint")


def _with_pages(item: pytest.Item, name: str) -> Callable[..., None]:
    """An assertion of `fastgrad.testing`, with its own signature, whose failures get a page."""
    from fastgrad import testing

    assertion: Callable[..., None] = getattr(testing, name)

    @functools.wraps(assertion)
    def check(*arguments: Any, **options: Any) -> None:
        __tracebackhide__ = True
        try:
            assertion(*arguments, **options)
        except AssertionError as error:
            _write(item, error)
            raise

    return check


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Show the report of a gradient check that failed, write its page, and say where it is.

    Of `fastgrad.testing.assert_gradient`, whose error carries it and shows it already, and of a
    plain ``assert check_gradient(...)`` or ``assert report``, whose error shows its `repr`.
    """
    outcome = yield
    if call.excinfo is None or not isinstance(call.excinfo.value, AssertionError):
        return
    error, result = call.excinfo.value, outcome.get_result()
    if not hasattr(error, "report"):
        report = _asserted(call.excinfo)
        if report is None:
            return
        vars(error)["report"] = report
        result.sections.append(("fastgrad", str(report)))
    _head(result, error)
    place = _write(item, error)
    if place:
        result.sections.append(("fastgrad", f"report written to {place}"))
    # Those that the test caught have a page too; a report of a later phase has them again.
    result.user_properties = list(item.user_properties)


def _asserted(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    """The report that an assert statement found to be false, from the names beside it."""
    fastgrad = sys.modules.get("fastgrad")
    if fastgrad is None:
        return None
    # pytest keeps the parts of the expression in names of its own.
    names = excinfo.traceback[-1].frame.f_locals
    said = str(excinfo.value)
    found = [each for each in names.values() if isinstance(each, fastgrad.Report)]
    return next((each for each in found if not each and repr(each) in said), None)


def _head(result: pytest.TestReport, error: BaseException) -> None:
    """Begin pytest's line on the failure with the verdict and the worst entry.

    That line ends with the terminal, and a report may begin with something longer.
    """
    crash = getattr(result.longrepr, "reprcrash", None)
    report: Any = getattr(error, "report", None)
    if crash is not None and hasattr(report, "to_dict"):
        crash.message = _headline(report)


def _write(item: pytest.Item, error: BaseException) -> str | None:
    """Write the page of an error that carries a report, once; return where it lies."""
    directory = item.config.option.fastgrad_html
    report: Any = getattr(error, "report", None)
    if not directory or not isinstance(error, AssertionError) or not hasattr(report, "to_html"):
        return None
    written = vars(error).get("fastgrad_html")
    if written is None:
        number = item.stash.get(_PAGES, 0) + 1
        item.stash[_PAGES] = number
        path = Path(directory) / file_name(item.nodeid, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report.to_html(title=_title(item.nodeid, number)), encoding="utf-8")
        written = vars(error)["fastgrad_html"] = str(path)
        item.user_properties.append((_PROPERTY, f"{path.name} {_headline(report)}"))
    return str(written)


def _headline(report: Any) -> str:
    from fastgrad._report.text import as_headline

    return as_headline(report.to_dict())


def _title(node_id: str, number: int) -> str:
    return f"{node_id} ({number})" if number > 1 else node_id


class _Index:
    """Collects the pages of all tests, also of those that run in other processes."""

    def __init__(self, directory: str) -> None:
        self._directory = Path(directory)
        self._pages: dict[str, tuple[str, str]] = {}  # by file: test, headline

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == _PROPERTY:
                file, _, headline = str(value).partition(" ")
                self._pages[file] = (report.nodeid, headline)

    def pytest_sessionfinish(self) -> None:
        if self._pages:
            from fastgrad._report.html import index

            rows = [(file, *told) for file, told in sorted(self._pages.items())]
            self._directory.mkdir(parents=True, exist_ok=True)
            (self._directory / "index.html").write_text(index(rows), encoding="utf-8")


def file_name(node_id: str, number: int) -> str:
    """``tests/test_net.py::test_loss[3]`` becomes ``tests.test_net.test_loss[3].html``.

    The second page of a test ends in ``.2.html``. Names that lose characters get a checksum.
    """
    module, _, test = node_id.partition("::")
    name = f"{module.removesuffix('.py').replace('/', '.')}.{test.replace('::', '.')}"
    safe = re.sub(r"[^\w.\[\]-]", "_", name, flags=re.ASCII)
    if safe != name or len(safe) > _LONGEST:
        safe = f"{safe[:_LONGEST]}-{zlib.crc32(node_id.encode('utf-8', 'replace')):08x}"
    return f"{safe}.{number}.html" if number > 1 else f"{safe}.html"
