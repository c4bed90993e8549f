"""What a page of another origin can do to the service on its visitor's machine, in a real browser."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests import pictures
from tests.browser.conftest import Site
from tests.integration.server import Server, serving

PNG = pictures.saved(pictures.colour((40, 30)), "PNG")
# Whether a script gets an answer that it may read, and with which status; what it was refused says the console alone.
TRY = """async ([url, options]) => {
    try {
        const answer = await fetch(url, options);
        return { type: answer.type, status: answer.status, text: (await answer.text()).slice(0, 2000) };
    } catch (error) {
        return null;
    }
}"""
SUBMIT = """([url, type, fields]) => {
    const form = document.createElement("form");
    Object.assign(form, { action: url, method: "post", enctype: type });
    for (const [name, value] of Object.entries(fields)) {
        const input = document.createElement("input");
        if (value instanceof Array) {
            input.type = "file";
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(value)], "evil.png"));
            input.files = files.files;
        } else input.value = value;
        input.name = name;
        form.append(input);
    }
    const answer = document.createElement("iframe"); // else the page itself would be replaced by it
    answer.name = form.target = `answer-${Math.random()}`;
    document.body.append(form, answer);
    form.submit();
}"""
SHOW = """(url) => new Promise((resolve) => {
    const image = new Image();
    image.crossOrigin = "anonymous";
    image.onerror = () => resolve(null);
    image.onload = () => {
        const canvas = document.createElement("canvas");
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        resolve([image.naturalWidth, context.getImageData(0, 0, 1, 1).data[3]]);
    };
    image.src = url;
})"""


def visit(browser: Browser, url: str, **options: Any) -> Page:
    page = browser.new_context(**options).new_page()
    page.goto(url)
    return page


@pytest.fixture
def foreign(site: Site) -> Site:
    """A site that has nothing to do with the service."""
    (site.folder / "index.html").write_text('<!doctype html><title>Evil</title><link rel="icon" href="data:,">')
    return site


@pytest.fixture(params=["127.0.0.1", "localhost", "sandboxed"])
def page(browser: Browser, foreign: Site, request: pytest.FixtureRequest) -> Iterator[Any]:
    """Where scripts of it run: of the same site as the service, of another, of none (`Origin: null`)."""
    host = "localhost" if request.param == "localhost" else "127.0.0.1"
    page = visit(browser, foreign.url.replace("127.0.0.1", host))
    if request.param == "sandboxed":
        page.evaluate(
            """() => new Promise((resolve) => {
                const frame = document.createElement("iframe");
                frame.sandbox = "allow-scripts allow-forms";
                frame.onload = resolve;
                frame.srcdoc = "<title>none</title>";
                document.body.append(frame);
            })"""
        )
        yield page.frames[1]
    else:
        yield page
    page.context.close()


def send(frame: Any, url: str, method: str = "GET", **options: Any) -> Any:
    return frame.evaluate(TRY, [url, {"method": method, **options}])


def test_a_foreign_page_changes_and_lists_nothing(page: Any, server: Server) -> None:
    reference = server.put(PNG)
    before = server.client.get("/account").json()
    for mode in ("cors", "no-cors"):
        for method, path in (("GET", "/storage/"), ("GET", "/account"), ("GET", "/jobs"), ("POST", "/storage/")):
            body = {"body": "x"} if method == "POST" else {}
            answer = send(page, server.url + path, method, mode=mode, **body)
            assert answer is None or (answer["type"], answer["text"]) == ("opaque", "")
    for method in ("DELETE", "PATCH", "PUT"):
        assert send(page, f"{server.url}/storage/{reference if method != 'PUT' else ''}", method) is None
    for type_, fields in (("multipart/form-data", {"data": list(PNG)}), ("text/plain", {"x": "y"})):
        with server_answers(page, server) as answered:
            page.evaluate(SUBMIT, [f"{server.url}/storage/", type_, fields])
        assert answered == [403]
    assert server.client.get("/account").json() == before
    assert server.get(reference).status_code == 200


class server_answers:
    """Waits for the answer to a form, and notes its status."""

    def __init__(self, frame: Any, server: Server) -> None:
        whole = getattr(frame, "page", frame)
        self._waiting = whole.expect_response(lambda answer: answer.url.startswith(f"{server.url}/storage/"))
        self._statuses: list[int] = []

    def __enter__(self) -> list[int]:
        self._found = self._waiting.__enter__()
        return self._statuses

    def __exit__(self, *error: Any) -> None:
        self._waiting.__exit__(*error)
        self._statuses.append(self._found.value.status)


def test_a_foreign_page_shows_and_reads_public_images(page: Any, server: Server) -> None:
    public = server.put(PNG)
    private = server.client.put("/storage/?visibility=key", content=PNG).text
    for path in ("", ".webp", ".png?width=20"):
        for _ in range(3):  # made, from the cache, from memory
            assert page.evaluate(SHOW, f"{server.url}/storage/{public}{path}") == [20 if "20" in path else 40, 255]
            assert page.evaluate(SHOW, f"{server.url}/storage/{private}{path}") is None
    answer = send(page, f"{server.url}/storage/{public}", headers={"if-none-match": '"x"', "range": "bytes=0-3"})
    assert answer["status"] == 206
    assert json.loads(send(page, f"{server.url}/storage/{public}/info")["text"])["width"] == 40
    assert send(page, f"{server.url}/storage/{private}") is None


def test_a_listed_page_may_do_everything(browser: Browser, foreign: Site, data_dir: Path) -> None:
    with serving(data_dir, cors_origins=json.dumps([foreign.url.rstrip("/")])) as server:
        page = visit(browser, foreign.url)
        private = server.client.put("/storage/?visibility=key", content=PNG).text
        assert page.evaluate(SHOW, f"{server.url}/storage/{private}") == [40, 255]
        assert json.loads(send(page, f"{server.url}/storage/")["text"])["images"][0]["reference"] == private
        assert send(page, f"{server.url}/storage/{private}", "DELETE")["status"] == 204
        with server_answers(page, server) as answered:
            page.evaluate(SUBMIT, [f"{server.url}/storage/", "multipart/form-data", {"data": list(PNG)}])
        assert answered == [200] and server.client.get("/account").json()["images"] == 2  # one can be brought back
        other = visit(browser, foreign.url.replace("127.0.0.1", "localhost"))
        assert send(other, f"{server.url}/storage/") is None
        for one in (page, other):
            one.context.close()


def test_no_foreign_form_makes_an_administrators_key(browser: Browser, foreign: Site, data_dir: Path) -> None:
    with serving(data_dir, access="keys") as server:
        admin = server.as_owner("operator", "admin")
        key = admin.headers["authorization"].removeprefix("Bearer ")
        # The operator has logged in to the service with this browser, which adds the key by itself.
        basic = "Basic " + base64.b64encode(f"key:{key}".encode()).decode()
        page = visit(browser, f"{server.url}/keys", extra_http_headers={"authorization": basic})
        assert "operator" in page.inner_text("body")
        before = admin.get("/keys").json()
        page.goto(foreign.url)
        wanted = '{"owner": "evil", "scopes": ["admin"], "name": "'
        with page.expect_response(f"{server.url}/keys") as answered:
            page.evaluate(SUBMIT, [f"{server.url}/keys", "text/plain", {wanted: '"}'}])
        assert answered.value.status == 403 and admin.get("/keys").json() == before
        page.context.close()


def test_a_name_that_was_rebound_reaches_nothing(browser: Browser, server: Server) -> None:
    page = visit(browser, f"http://images.localhost:{server.port}/formats")  # the browser itself takes it to 127.0.0.1
    assert "PNG" in page.inner_text("body")
    page.context.close()
    answer = server.client.get("/storage/", headers={"host": f"evil.example:{server.port}"})
    assert answer.status_code == 421
