"""What people can do on the page at `/`."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Dialog, FilePayload, Page, Route, expect

from tests import pictures
from tests.integration.server import Server, serving

AXE = Path(__file__).parent.parent / "servers" / "node_modules" / "axe-core" / "axe.min.js"
Open = Callable[..., Page]


def png(seed: int = 0) -> bytes:
    return pictures.saved(pictures.colour((640 + seed, 480)), "PNG")


def photo() -> bytes:
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "Model 7"
    return pictures.saved(pictures.colour((800, 600)), "JPEG", exif=exif, quality=90)


def file(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/png", "buffer": data}


def open_image(open_page: Open, server: Server, reference: str, **options: Any) -> Page:
    page = open_page(f"{server.url}/#/image/{reference}", **options)
    expect(page.locator("#after-facts")).to_contain_text("ms")
    return page


def change(page: Page, act: Callable[[], object]) -> None:
    """Do something, and wait until the rendition that comes of it is there."""
    with page.expect_response(lambda answer: "/storage/" in answer.url and answer.request.method == "GET"):
        act()
    expect(page.locator("#after")).not_to_have_attribute("aria-busy", "true")


def test_many_files_are_uploaded_each_with_what_became_of_it(open_page: Open, server: Server) -> None:
    page = open_page(server.url)
    expect(page.locator("h2", has_text="Newest first")).to_be_visible()
    good = [file(f"page-{number}.png", png(number)) for number in range(4)]
    page.set_input_files("#files", [*good, file("broken.png", png()[:300]), file("notes.txt", b"no picture")])
    expect(page.locator("#uploads a", has_text="stored")).to_have_count(4)
    expect(page.locator("#uploads li", has_text="broken.png").locator(".failed")).to_contain_text("data")
    expect(page.locator("#uploads li", has_text="notes.txt").locator(".failed")).to_contain_text(
        "supported image format"
    )
    for one in good:
        shown = page.locator("#images li", has_text=one["name"]).first.locator("img")
        expect(shown).to_have_class("there")
        assert shown.evaluate("image => image.naturalWidth") > 0


def test_files_are_dropped_and_pasted(open_page: Open, server: Server) -> None:
    page = open_page(server.url)
    script = """([kind, name, data]) => {
        const bytes = Uint8Array.from(atob(data), (character) => character.charCodeAt(0));
        const transfer = new DataTransfer();
        transfer.items.add(new File([bytes], name, { type: "image/png" }));
        const options = { bubbles: true, cancelable: true };
        dispatchEvent(kind === "drop" ? new DragEvent("drop", { ...options, dataTransfer: transfer })
            : new ClipboardEvent("paste", { ...options, clipboardData: transfer }));
    }"""
    import base64

    for kind in ("drop", "paste"):
        page.evaluate(script, [kind, f"{kind}.png", base64.b64encode(png(7)).decode()])
        expect(page.locator("#uploads li", has_text=f"{kind}.png").locator("a")).to_have_text("stored")


def test_a_placeholder_comes_before_the_picture(open_page: Open, server: Server) -> None:
    server.put(photo(), "slow.jpg")
    page = open_page("about:blank")

    def late(route: Route) -> None:
        page.wait_for_timeout(500)
        route.continue_()

    page.route(re.compile(r"\.auto"), late)
    page.goto(server.url)
    frame = page.locator("#images li", has_text="slow.jpg").first.locator(".frame")
    expect(frame).to_have_css("background-image", re.compile("data:image/webp"))
    expect(frame.locator("img")).to_have_class("there")


def test_what_is_known_of_an_image(open_page: Open, server: Server) -> None:
    page = open_image(open_page, server, server.put(photo(), "camera.jpg"))
    facts = page.locator("#facts")
    for text in ("Model 7", "800", "camera.jpg", "image/jpeg"):
        expect(facts).to_contain_text(text)
    expect(page.locator("h1", has_text="camera.jpg")).to_be_visible()
    with page.expect_download() as download:
        page.click("#download-original")
    assert Path(download.value.path()).read_bytes() == photo() and download.value.suggested_filename == "camera.jpg"


def test_every_parameter_has_a_control(open_page: Open, server: Server) -> None:
    page = open_image(open_page, server, server.put(png()))
    for parameter in httpx.get(f"{server.url}/parameters").json():
        control = page.locator(f"#parameter-{parameter['name']}")
        expect(control).to_have_count(1)
        assert page.locator(f"label[for='parameter-{parameter['name']}']").count() == 1
    assert page.locator("#code pre").first.inner_text() == page.locator("#download").get_attribute("href")
    assert "?" not in page.locator("#code pre").first.inner_text()  # nothing is asked for by default


def test_transforming(open_page: Open, server: Server) -> None:
    page = open_image(open_page, server, server.put(png(), "drawing.png"))
    change(page, lambda: page.fill("#parameter-width", "200"))
    expect(page.locator("#after-facts")).to_contain_text("200×150")
    page.fill("#filter", "gray")
    expect(page.locator("#parameter-blur")).to_be_hidden()
    change(page, lambda: page.check("#parameter-grayscale"))
    page.fill("#filter", "")
    change(page, lambda: page.select_option("#format", "webp"))
    expect(page.locator("#code pre").first).to_contain_text(".webp?width=200&grayscale=true")
    url = page.locator("#code pre").first.inner_text()
    answer = httpx.get(url)
    shown = Image.open(io.BytesIO(answer.content)).convert("RGB")
    small = np.asarray(shown.resize((9, 9))).astype(int)
    assert shown.size == (200, 150) and np.ptp(small, axis=2).max() < 8
    expect(page.locator("#after-facts")).to_contain_text("200×150")
    code = page.locator("#code")
    expect(code).to_contain_text("curl -o image.webp")
    expect(code).to_contain_text('<source type="image/avif"')
    expect(code).to_contain_text("width=200, grayscale=True)")
    sources = re.findall(r'(?:srcset|src)="([^" ]+)', code.inner_text())
    assert sources and all(httpx.get(source).status_code == 200 for source in sources)
    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "drawing.webp"
    assert Path(download.value.path()).read_bytes() == answer.content
    change(page, lambda: page.click("button[type=reset]"))
    expect(page.locator("#after-facts")).to_contain_text("640×480")


def test_the_python_lines_run(open_page: Open, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = open_image(open_page, server, server.put(png()))
    change(page, lambda: page.fill("#parameter-width", "90"))
    monkeypatch.chdir(tmp_path)
    exec(page.locator("#code figure", has_text="Python").locator("pre").inner_text(), {})
    assert Image.open(next(tmp_path.iterdir())).size[0] == 90


def test_what_is_wrong_is_said(open_page: Open, server: Server) -> None:
    page = open_image(open_page, server, server.put(png()))
    change(page, lambda: page.fill("#parameter-width", "70000"))
    expect(page.locator("#wrong")).to_contain_text("1 to 65535")
    change(page, lambda: page.fill("#parameter-width", "70"))
    expect(page.locator("#wrong")).to_be_hidden()


def test_a_format_that_browsers_do_not_show(open_page: Open, server: Server) -> None:
    page = open_image(open_page, server, server.put(png()))
    page.select_option("#format", "tiff")
    expect(page.locator("#after-facts")).to_contain_text("a preview")
    assert page.locator("#after").evaluate("image => image.naturalWidth") == 640


def test_the_slider_parts_the_pictures(open_page: Open, server: Server) -> None:
    page = open_image(open_page, server, server.put(png()))
    page.locator("#split").focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert page.locator("#before").evaluate("image => image.style.clipPath") == "inset(0px 30% 0px 0px)"
    assert page.locator("#after").evaluate("image => image.style.clipPath") == "inset(0px 0px 0px 70%)"


def test_deep_zoom(open_page: Open, server: Server) -> None:
    """A corner of a large picture, of a colour that is nowhere else, fills the canvas when it is zoomed into."""
    picture = Image.new("RGB", (3000, 2000), (40, 90, 160))
    picture.paste((250, 20, 20), (2900, 1900, 3000, 2000))
    page = open_image(open_page, server, server.put(pictures.saved(picture, "JPEG", quality=95)))
    page.click("#open-zoom")
    canvas = page.locator("#zoom")

    def middle() -> list[int]:
        page.wait_for_timeout(100)
        expect(canvas).to_have_attribute("data-waiting", "0")
        return canvas.evaluate(
            "c => [...c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data.slice(0, 3)]"
        )

    assert abs(middle()[2] - 160) < 12
    for _ in range(12):
        page.keyboard.press("+")
    for _ in range(160):
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowDown")
    red, _, blue = middle()
    assert red > 230 and blue < 40
    page.keyboard.press("0")
    assert abs(middle()[2] - 160) < 12
    box = canvas.bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.wheel(0, -2000)
    page.mouse.down()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.up()
    assert abs(middle()[2] - 160) < 12
    page.click("#zoom-close")
    expect(page.locator("#zoom-dialog")).to_be_hidden()


def test_delete_and_undo(open_page: Open, server: Server) -> None:
    reference = server.put(png(3), "to-delete.png")
    page = open_image(open_page, server, reference)
    page.click("#delete")
    expect(page.locator("#gallery-view")).to_be_visible()
    assert server.get(reference).status_code == 404
    page.click("#status button")
    expect(page.locator("h1", has_text="to-delete.png")).to_be_visible()
    assert server.get(reference).status_code == 200


def test_an_image_that_is_not_there(open_page: Open, server: Server) -> None:
    page = open_page(f"{server.url}/#/image/00000000-0000-4000-8000-000000000000")
    expect(page.locator("#status")).to_contain_text("No image has this reference")
    expect(page.locator("#gallery-view")).to_be_visible()


def test_with_keys(open_page: Open, data_dir: Path) -> None:
    settings: dict[str, Any] = {"access": "keys", "visibility": "signed", "signing_keys": '["0123456789abcdef"]'}
    with serving(data_dir, **settings) as server:
        alice = server.as_owner("alice")
        reference = alice.put("/storage/private.png", content=png()).text
        page = open_page(server.url, permissions=["clipboard-read", "clipboard-write"])
        expect(page.locator("#status")).to_contain_text("Enter an API key")
        page.click("#open-key")
        page.fill("#key", alice.headers["authorization"].removeprefix("Bearer "))
        page.click("text=Use key")
        shown = page.locator("#images li", has_text="private.png").locator("img")
        expect(shown).to_have_class("there")
        page.click("#images li a")
        expect(page.locator("#after-facts")).to_contain_text("640×480")
        change(page, lambda: page.fill("#parameter-width", "50"))
        page.click("#sign")
        expect(page.locator("#status")).to_contain_text("for one day")
        signed = page.evaluate("navigator.clipboard.readText()")
        assert httpx.get(signed).status_code == 200 and "width=50" in signed
        assert httpx.get(f"{server.url}/storage/{reference}.png?width=50").status_code == 404
        with page.expect_download() as download:
            page.click("#download")
        assert Image.open(download.value.path()).size[0] == 50
        page.click("#open-zoom")
        expect(page.locator("#zoom")).to_have_attribute("data-waiting", "0")
        page.click("#zoom-close")
        page.click("#open-key")
        expect(page.locator("#account")).to_contain_text("Owner: alice")
        page.click("text=Forget key")
        expect(page.locator("#status")).to_contain_text("Enter an API key")
        expect(page.locator("#images li")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_everybody_can_use_it(open_page: Open, server: Server, scheme: str, width: int) -> None:
    """axe finds nothing serious, and nothing is wider than the screen."""
    reference = server.put(photo(), "accessible.jpg")
    page = open_page(server.url, color_scheme=scheme, viewport={"width": width, "height": 844}, bypass_csp=True)
    page.add_script_tag(path=AXE)

    def faults() -> list[str]:
        found = page.evaluate("axe.run()")["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in found if one["impact"] in ("serious", "critical")]

    def overflow() -> bool:
        return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    expect(page.locator("#images li").first).to_be_visible()
    assert faults() == [] and not overflow()
    page.click("#open-key")
    expect(page.locator("#account")).not_to_be_empty()
    assert faults() == []
    page.keyboard.press("Escape")
    page.evaluate(f"location.hash = '#/image/{reference}'")
    expect(page.locator("#after-facts")).to_contain_text("ms")
    page.evaluate("for (const box of document.querySelectorAll('details')) box.open = true")
    assert faults() == [] and not overflow()
    page.click("#open-zoom")
    assert faults() == []


def test_names_are_only_text(open_page: Open, server: Server) -> None:
    name = "<img src=x onerror=alert(1)>.png"
    exif = Image.Exif()
    exif[0x010E] = "<script>alert(2)</script>"
    reference = server.put(pictures.saved(pictures.colour(), "JPEG", exif=exif), name)
    page = open_page("about:blank")
    dialogs: list[str] = []

    def dismissed(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismissed)
    page.goto(server.url)
    expect(page.locator("#images .label", has_text=name).first).to_be_visible()
    page.goto(f"{server.url}/#/image/{reference}")
    expect(page.locator("h1", has_text=name)).to_be_visible()
    expect(page.locator("#facts")).to_contain_text("<script>alert(2)</script>")
    expect(page.locator("#after-facts")).to_contain_text("ms")
    assert not dialogs and page.locator("h1 img, #facts script").count() == 0


def test_by_keyboard_alone(open_page: Open, server: Server) -> None:
    server.put(png(11), "by-keyboard.png")
    page = open_page(server.url)
    expect(page.locator("#images li").first).to_be_visible()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to content"
    page.locator("#images a", has_text="by-keyboard.png").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1", has_text="by-keyboard.png")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "main"


def test_its_policy_is_strict_and_nothing_comes_from_elsewhere(open_page: Open, server: Server) -> None:
    policy = server.client.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    page = open_page("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    expect(page.locator("#images li").first).to_be_visible()
    assert asked and all(url.startswith((server.url, "data:", "blob:")) for url in asked)
