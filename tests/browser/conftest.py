"""A browser, and pages of it that fail a test if anything is said on the console."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.programs import needs
from tests.servers import serving_folder

OPTIONS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", *(["--no-sandbox"] if os.geteuid() == 0 else []),
]  # fmt: skip


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    chromium = needs("chromium")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=OPTIONS)
        yield running
        running.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages whose scripts must not fail, and which must not break their own policy."""
    said: list[str] = []
    contexts = []

    def opened(url: str, **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: _note(message.text, said))
        page.goto(url)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not said


@dataclass(frozen=True)
class Site:
    """Pages of somebody else: what is in the folder is at the address."""

    folder: Path
    url: str


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with serving_folder(tmp_path) as url:
        yield Site(tmp_path, f"{url}/")


def _note(text: str, said: list[str]) -> None:
    # An answer of 4xx is told there by the browser itself, whatever the page makes of it; and tests look at pixels.
    if "Failed to load resource" not in text and "Multiple readback operations" not in text:
        said.append(text)
