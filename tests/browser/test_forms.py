"""The HTML forms of the recipes, as they stand there, on pages of another origin."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests import pictures
from tests.browser.conftest import Site
from tests.documentation import recipes
from tests.integration.server import Server, serving


@pytest.fixture
def lenient(data_dir: Path, site: Site) -> Iterator[Server]:
    """A service that is set up as the recipes say: it lists the origin of the site."""
    with serving(data_dir, cors_origins=json.dumps([site.url.rstrip("/")])) as server:
        yield server


@pytest.fixture
def forms(lenient: Server, site: Site) -> str:
    """The address of a site that has the forms."""
    write_forms(lenient, site)
    return site.url


def write_forms(server: Server, site: Site, action: str = "/storage/") -> None:
    files = recipes(server.url)
    for name in ("form.html", "script.html"):
        text = files[name].replace(f'action="{server.url}/storage/"', f'action="{server.url}{action}"')
        (site.folder / name).write_text(f'<link rel="icon" href="data:,">{text}')


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


def test_a_form_with_a_ticket_uploads_from_any_site(
    open_page: Callable[..., Page], site: Site, files: list[Path], data_dir: Path
) -> None:
    with serving(data_dir, access="keys", signing_keys='["sixteen characters or more"]') as server:
        alice = server.as_owner("alice")
        ticket = alice.post("/tickets", json={"max_bytes": 10**7, "labels": ["form"]}).json()["url"]
        write_forms(server, site, ticket)
        form = (site.folder / "form.html").read_text()
        (site.folder / "form.html").write_text(form.replace('<input type="hidden" name="label" value="form">', ""))
        page = open_page(f"{site.url}form.html")
        page.locator("input[type=file]").set_input_files(files)
        page.get_by_role("button", name="Upload").click()
        page.wait_for_url(f"{server.url}/storage/**")
        assert len(page.inner_text("body").split()) == 2
        assert len(alice.get("/storage/", params={"label": "form"}).json()["images"]) == 2


def test_a_form_of_a_site_that_is_not_listed_uploads_nothing(
    open_page: Callable[..., Page], server: Server, site: Site, files: list[Path]
) -> None:
    write_forms(server, site)
    page = open_page(f"{site.url}form.html")
    page.locator("input[type=file]").set_input_files(files)
    page.get_by_role("button", name="Upload").click()
    page.wait_for_url(f"{server.url}/storage/")
    assert "PROGIMAGE_CORS_ORIGINS" in page.inner_text("body")


def test_a_script_says_what_is_wrong(open_page: Callable[..., Page], forms: str, tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("no image")
    page = open_page(f"{forms}script.html")
    with page.expect_event("dialog") as dialog:
        page.on("dialog", lambda shown: shown.accept())
        page.locator("input[type=file]").set_input_files(tmp_path / "text.png")
    assert "image format" in dialog.value.message
