"""Tells which cell of the table each check belongs to, and writes the table."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import OPTIONS
from tests.conformance.judges import Chromium
from tests.conformance.table import FORMATS, PROPERTIES, Cell, page
from tests.programs import needs
from tests.servers import serving_folder

_CELLS: dict[tuple[str, str], Cell] = defaultdict(Cell)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--conformance-page", type=Path, help="write the table of what conforms to this file")


@pytest.fixture
def cell(record_property: Callable[[str, object], None]) -> Callable[[str, str], None]:
    """Say which format and property a check is about."""

    def about(format: str, property: str) -> None:
        assert format in FORMATS and property in PROPERTIES
        record_property("cell", [format, property])

    return about


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser that starts with the first thing that it is asked."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text("<!doctype html><title>A judge</title>")
    with ExitStack() as running:

        def opened() -> Page:
            program = needs("chromium")
            url = running.enter_context(serving_folder(folder))
            playwright = running.enter_context(sync_playwright())
            browser = playwright.chromium.launch(executable_path=program, args=OPTIONS)
            running.callback(browser.close)
            tab = browser.new_page()
            tab.goto(url)
            return tab

        yield Chromium(opened)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == "cell" and isinstance(value, Sequence):
            _note(_CELLS[str(value[0]), str(value[1])], report)


def _note(cell: Cell, report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        cell.right += 1
    elif report.skipped:
        cell.absent.append(_reason(report))
    elif report.when == "call":
        cell.wrong.append(_reason(report))


def _reason(report: pytest.TestReport) -> str:
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else str(report.longrepr)
    first = text.splitlines()[0] if text else "failed"
    return first.removeprefix("AssertionError: ").removeprefix("Failed: ")


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = session.config.getoption("--conformance-page")
    if path and not hasattr(session.config, "workerinput"):
        path.write_text(page(_CELLS))
