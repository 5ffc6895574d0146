"""The pytest plugin: a fixture, and web pages of failed gradient checks.

It lies outside the package so that a test run that checks no gradient imports neither fastgrad
nor NumPy, and so that pytest-cov sees fastgrad's own imports.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

_PAGES = pytest.StashKey[int]()
_LONGEST = 120  # characters of a file name; file systems allow 255 bytes


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--fastgrad-html DIR``."""
    parser.getgroup("fastgrad", "gradient checks").addoption(
        "--fastgrad-html",
        metavar="DIR",
        help="write the report of each gradient check that fails as a web page into DIR",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Take DIR as seen from where pytest was started, in the workers of xdist too."""
    if config.option.fastgrad_html:
        directory = config.invocation_params.dir / config.option.fastgrad_html
        config.option.fastgrad_html = str(directory)


@pytest.fixture
def assert_gradient(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Fail, showing the report, unless a gradient is right: ``assert_gradient(f, grad, params)``.

    As `fastgrad.testing.assert_gradient`. With ``--fastgrad-html DIR`` each failure of the test
    gets its page, those the test catches too.
    """
    from fastgrad import testing

    def check(
        f: Any,
        grad: Any,
        params: Any,
        *,
        strategy: str = "auto",
        budget: int | None = None,
        workers: Any = None,
        progress: bool = False,
        seed: int = 0,
    ) -> None:
        __tracebackhide__ = True
        try:
            testing.assert_gradient(
                f,
                grad,
                params,
                strategy=strategy,
                budget=budget,
                workers=workers,
                progress=progress,
                seed=seed,
            )
        except AssertionError as error:
            _write(request.node, error)
            raise

    return check


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, Any, None]:
    """Write the page of a failure of `fastgrad.testing.assert_gradient`, and say where it is."""
    outcome = yield
    if call.excinfo is not None:
        place = _write(item, call.excinfo.value)
        if place:
            outcome.get_result().sections.append(("fastgrad", f"report written to {place}"))


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
        path.write_text(report.to_html(), encoding="utf-8")
        written = vars(error)["fastgrad_html"] = str(path)
    return str(written)


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
