"""A format that another package adds, as docs/adding-a-format.md tells: it is there as any other is."""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests import pictures
from tests.integration.server import Server, serving
from tests.plugins import install_example

SIZE = (40, 30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The service, with the package of the guide installed beside it."""
    folder = tmp_path_factory.mktemp("packages")
    install_example("adding-a-format.md", folder)
    with serving(tmp_path_factory.mktemp("data"), folder) as server:
        yield server


def toy(picture: Image.Image) -> bytes:
    return struct.pack("<4sHH", b"TOY1", *picture.size) + picture.tobytes()


def test_it_is_read_and_written(server: Server) -> None:
    picture = pictures.colour(SIZE)
    reference = server.put(toy(picture))
    info = server.get(f"{reference}/info").json()
    assert (info["format"], info["media_type"], info["width"], info["height"]) == ("TOY", "image/x-toy", *SIZE)
    assert pictures.open_bytes(server.get(f"{reference}.png").content).tobytes() == picture.tobytes()
    original = server.get(reference)
    assert original.content == toy(picture) and original.headers["content-type"] == "image/x-toy"
    made = server.get(f"{server.put(pictures.saved(picture, 'PNG'))}.toy?width=20")
    assert made.headers["content-type"] == "image/x-toy" and made.content[:8] == toy(picture.resize((20, 15)))[:8]
    assert len(made.content) == 8 + 20 * 15 * 3


def test_what_is_broken_of_it_is_refused(server: Server) -> None:
    for data in (toy(pictures.colour(SIZE))[:-1], b"TOY1\0", struct.pack("<4sHH", b"TOY1", 65535, 65535)):
        answer = server.client.put("/storage/", files={"data": ("picture", data)})
        assert 400 <= answer.status_code < 500 and answer.json()["detail"], data[:20]


def test_it_is_in_the_list_of_formats(server: Server) -> None:
    (row,) = (row for row in server.client.get("/formats").json() if row["name"] == "TOY")
    assert row["can_read"] and row["can_write"] and row["extensions"] == ["toy"]


def test_it_is_in_the_api_document(server: Server) -> None:
    assert "toy" in server.client.get("/docs/openapi.json").text


def test_it_is_on_the_page(server: Server, open_page: Callable[..., Page]) -> None:
    reference = server.put(toy(pictures.colour(SIZE)))
    page = open_page(f"{server.url}/#/image/{reference}")
    page.locator("#format option[value=toy]").wait_for(state="attached")
    page.locator("#before-facts", has_text="TOY").wait_for()


def test_a_transformation_that_another_package_adds_is_on_the_page(
    tmp_path: Path, open_page: Callable[..., Page]
) -> None:
    (tmp_path / "packages").mkdir()
    install_example("adding-a-transformation.md", tmp_path / "packages")
    with serving(tmp_path / "data", tmp_path / "packages") as server:
        reference = server.put(pictures.saved(pictures.colour(SIZE), "PNG"))
        page = open_page(f"{server.url}/#/image/{reference}")
        control = page.locator("#parameter-posterize")
        control.wait_for(state="attached")
        assert control.get_attribute("title") == "Allowed: a whole number from 2 to 255"
