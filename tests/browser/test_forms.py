"""The HTML forms of the recipes, as they stand there, on pages of another origin."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import pictures
from tests.browser.conftest import Site
from tests.documentation import recipes
from tests.integration.server import Server, serving


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A service that answers pages of other origins."""
    with serving(tmp_path_factory.mktemp("lenient") / "data", cors_origins='["*"]') as server:
        yield server


@pytest.fixture
def forms(lenient: Server, site: Site) -> str:
    """The address of a site that has the forms."""
    files = recipes(lenient.url)
    for name in ("form.html", "script.html"):
        (site.folder / name).write_text(f'<link rel="icon" href="data:,">{files[name]}')
    return site.url


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    for number in range(2):
        (tmp_path / f"{number}.png").write_bytes(pictures.saved(pictures.colour((400 + number, 300)), "PNG"))
    return sorted(tmp_path.glob("*.png"))


def test_a_form_uploads(open_page: Callable[..., Page], lenient: Server, forms: str, files: list[Path]) -> None:
    page = open_page(f"{forms}form.html")
    page.locator("input[type=file]").set_input_files(files)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(f"{lenient.url}/storage/")
    references = page.inner_text("body").split()
    assert [lenient.get(f"{reference}/info").json()["width"] for reference in references] == [400, 401]
    listed = lenient.client.get("/storage/", params={"label": "form"}).json()["images"]
    assert len(listed) == 2


def test_a_script_uploads(open_page: Callable[..., Page], forms: str, files: list[Path]) -> None:
    page = open_page(f"{forms}script.html")
    page.locator("input[type=file]").set_input_files(files[0])
    expect(page.locator("img")).to_have_js_property("naturalWidth", 300)


def test_a_script_says_what_is_wrong(open_page: Callable[..., Page], forms: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    page = open_page(f"{forms}script.html")
    with page.expect_event("dialog") as dialog:
        page.on("dialog", lambda shown: shown.accept())
        page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    assert "image format" in dialog.value.message
