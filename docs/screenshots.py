"""Takes the pictures of the page that the documentation shows. Run it with `make screenshots`; it needs Chromium."""

import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from tests.integration.server import serving

DOCS = Path(__file__).parent
TARGET = DOCS / "page"
SHOWN = (
    "photograph.jpg",
    "tint.webp",
    "watermark.webp",
    "text-hebrew.webp",
    "mask.webp",
    "threshold.webp",
    "circle.webp",
)


def main() -> None:
    """Upload some pictures, and photograph the page."""
    TARGET.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder) / "data") as server, sync_playwright() as play:
        references = {name: server.put((DOCS / "gallery" / name).read_bytes(), name) for name in SHOWN[::-1]}
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 720})
        page.goto(server.url)
        page.locator("#images img.there").nth(len(SHOWN) - 1).wait_for()
        take(page, "gallery")
        show(page, server.url, references["photograph.jpg"])
        take(page, "image")
        phone = browser.new_page(viewport={"width": 390, "height": 780}, color_scheme="dark")
        show(phone, server.url, references["photograph.jpg"])
        take(phone, "phone")
        browser.close()


def show(page: Page, url: str, reference: str) -> None:
    """Open an image, and ask for a grey one."""
    page.goto(f"{url}/#/image/{reference}")
    page.locator("#after[src]").wait_for()
    page.fill("#filter", "width")
    page.fill("#parameter-width", "400")
    page.fill("#filter", "gray")
    page.check("#parameter-grayscale")
    page.fill("#filter", "")
    page.wait_for_timeout(1500)
    page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")


def take(page: Page, name: str) -> None:
    """Take a picture, of as few bytes as shows it well."""
    page.wait_for_timeout(500)
    path = TARGET / f"{name}.png"
    page.screenshot(path=path)
    with Image.open(path) as image:
        image.convert("RGB").quantize(128, dither=Image.Dither.FLOYDSTEINBERG).save(path, optimize=True)


if __name__ == "__main__":
    main()
