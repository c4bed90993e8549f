"""OpenSeadragon, a viewer that others have written, on a page of another origin."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page

from tests import pictures
from tests.browser.conftest import Site
from tests.integration.server import Server

OPENSEADRAGON = Path(__file__).parent.parent / "servers" / "node_modules" / "openseadragon" / "build" / "openseadragon"
PAGE = """<!doctype html><title>A viewer</title><link rel="icon" href="data:,">
<script src="openseadragon.min.js"></script><div id="viewer" style="width: 800px; height: 600px"></div>"""


def checkered(width: int, height: int) -> Image.Image:
    """Squares of 500 pixels, each of its own colour: 20 levels more of red for each column, of green for each row."""
    picture = Image.new("RGB", (width, height))
    for x in range(0, width, 500):
        for y in range(0, height, 500):
            picture.paste((x // 500 * 20, y // 500 * 20, 128), (x, y, x + 500, y + 500))
    return picture


@pytest.mark.parametrize("version", ["2", "3"])
def test_openseadragon_zooms_into_a_photograph(
    open_page: Callable[..., Page], server: Server, site: Site, version: str
) -> None:
    width, height = 5500, 4500
    reference = server.put(pictures.saved(checkered(width, height), "JPEG", quality=95))
    (site.folder / "index.html").write_text(PAGE)
    (site.folder / "openseadragon.min.js").symlink_to(OPENSEADRAGON / "openseadragon.min.js")
    page = open_page(site.url)
    page.evaluate(
        """(source) => new Promise((resolve) => {
            window.viewer = OpenSeadragon({ id: "viewer", tileSources: source, crossOriginPolicy: "Anonymous",
                drawer: "canvas", animationTime: 0, showNavigationControl: false });
            viewer.addHandler("open", resolve);
        })""",
        f"{server.url}/iiif/{version}/{reference}/info.json",
    )
    for x, y in ((250, 250), (2750, 2250), (5250, 4250)):
        page.evaluate(
            """([x, y]) => {
                const image = viewer.world.getItemAt(0);
                viewer.viewport.fitBounds(image.imageToViewportRectangle(x - 100, y - 75, 200, 150), true);
            }""",
            [x, y],
        )
        page.wait_for_function("viewer.world.getItemAt(0).getFullyLoaded()")
        page.wait_for_timeout(300)
        colour = page.evaluate(
            """() => {
                const canvas = viewer.drawer.canvas;
                const pixel = canvas.getContext("2d").getImageData(canvas.width / 2, canvas.height / 2, 1, 1);
                return [...pixel.data.slice(0, 3)];
            }"""
        )
        wanted = x // 500 * 20, y // 500 * 20, 128
        assert all(abs(one - other) < 6 for one, other in zip(colour, wanted, strict=True)), (colour, wanted)
