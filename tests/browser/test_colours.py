"""Colours as a browser shows them: of PNG, whose cICP, gAMA and cHRM it heeds itself."""

import base64
from collections.abc import Callable

import numpy as np
import pytest
import pyvips
from playwright.sync_api import Page

from progimage.engine.codecs.png_header import png_colour
from progimage.engine.colorimetry import to_srgb
from tests.browser.conftest import Site
from tests.unit.test_png_header import ADOBE, CICP_P3, LINEAR, USUAL, chunk

DRAWN = """async (source) => {
    const image = new Image();
    image.src = "data:image/png;base64," + source;
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    const context = canvas.getContext("2d", { colorSpace: "srgb", willReadFrequently: true });
    context.drawImage(image, 0, 0);
    return [...context.getImageData(0, 0, canvas.width, canvas.height).data];
}"""


@pytest.mark.parametrize(
    "chunks",
    [
        [],
        [CICP_P3],
        [(b"cICP", bytes([9, 13, 0, 1]))],
        [(b"cICP", bytes([11, 17, 0, 1]))],
        [(b"cICP", bytes([1, 4, 0, 1]))],
        [(b"cICP", bytes([2, 2, 0, 1]))],
        [LINEAR],
        [LINEAR, ADOBE],
        [USUAL, ADOBE],
        [USUAL],
        [ADOBE],
    ],
)
def test_colours_are_those_that_a_browser_shows(
    open_page: Callable[..., Page], site: Site, chunks: list[tuple[bytes, bytes]]
) -> None:
    colours = np.random.default_rng(4).integers(0, 256, (8, 32, 3)).astype(np.uint8)
    colours[0] = np.arange(0, 256, 8)[:, None]
    plain = bytes(pyvips.Image.new_from_array(colours).copy(interpretation="srgb").pngsave_buffer(keep="none"))
    behind_header = 8 + 25
    told = b"".join(chunk(*parts) for parts in chunks)
    data = plain[:behind_header] + told + plain[behind_header:]
    space = png_colour(data).space
    pixels = pyvips.Image.new_from_buffer(data, "")
    assert not isinstance(space, bytes)
    ours = pixels.numpy() if space is None else to_srgb(pixels, space).numpy()
    (site.folder / "index.html").write_text('<!doctype html><title>.</title><link rel="icon" href="data:,">')
    drawn = open_page(site.url).evaluate(DRAWN, base64.b64encode(data).decode())
    theirs = np.array(drawn).reshape(8, 32, 4)[..., :3]
    assert np.abs(theirs - ours.astype(int)).max() <= 2
