"""Uploads by URL, from a real HTTP server, with everything an attacker would try to get at what only we can reach."""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import httpx
import msgspec
import pytest

from tests import pictures
from tests.integration.server import Server, serving

PNG = pictures.BY_MODE["RGB"]()
NAMES = Path(__file__).with_name("names")


class Web(BaseHTTPRequestHandler):
    """A site with images, and with traps."""

    hits: ClassVar[Counter] = Counter()

    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        host, path = str(self.server.server_address[0]), self.path.partition("?")[0]
        Web.hits[host] += 1
        other = f"http://127.0.0.2:{self.server.server_address[1]}"
        here = f"http://127.0.0.1:{self.server.server_address[1]}"
        redirects = {
            "/to-inside": f"{other}/image.png",
            "/to-file": "file:///etc/passwd",
            "/to-image": "/image.png",
            "/to-utf-8": "/ïmage 日.png".encode().decode("latin-1"),
            "/to-latin-1": "/\xefmage.png",
            "/to-other-host": f"http://gööd.test:{self.server.server_address[1]}/image.png".encode().decode("latin-1"),
            "/twice": f"{here}/to-image",
            "/for-ever": "/for-ever",
            "/to-mapped": f"http://[::ffff:127.0.0.2]:{self.server.server_address[1]}/image.png",
            "/to-ftp": "ftp://127.0.0.1/x",
            "/to-user": f"http://user:password@127.0.0.1:{self.server.server_address[1]}/image.png",
        }
        if path in redirects:
            self.send_response(302)
            self.send_header("Location", redirects[path])
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path in ("/image.png", "/%C3%AFmage%20%E6%97%A5.png", "/%C3%AFmage.png"):
            self._send(PNG)
        elif path == "/no-image":
            self._send(b"<html>nothing</html>")
        elif path == "/empty":
            self._send(b"")
        elif path == "/zipped":
            self._send(PNG, ("Content-Encoding", "gzip"))
        elif path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"a" * 65536)
        elif path == "/slow":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"a")
                time.sleep(0.1)
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "100000")
            self.end_headers()
            self.wfile.write(PNG)
        else:
            self.send_error(404)

    def _send(self, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for name, value in (("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            return


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    outside = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    number = outside.server_address[1]
    inside = ThreadingHTTPServer(("127.0.0.2", number), Web)
    for site in (outside, inside):
        site.daemon_threads = True
        threading.Thread(target=site.serve_forever, daemon=True).start()
    yield number
    for site in (outside, inside):
        site.shutdown()
        site.server_close()


@pytest.fixture(scope="module")
def fetching(tmp_path_factory: pytest.TempPathFactory, port: int) -> Iterator[Server]:
    settings: dict[str, Any] = {
        "upload_by_url": "true",
        "fetch_private_networks": '["127.0.0.1/32"]',
        "fetch_ports": f"[{port}]",
        "fetch_deny": '["denied.test"]',
        "fetch_seconds": 2,
        "fetch_redirects": 2,
        "max_upload_bytes": 1_000_000,
    }
    with serving(tmp_path_factory.mktemp("fetching") / "data", NAMES, **settings) as server:
        yield server


def upload(server: Server, url: str) -> httpx.Response:
    return server.client.put("/storage/", params={"url": url})


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_an_image_is_fetched(fetching: Server, port: int) -> None:
    for path in ("image.png", "to-image", "twice", "image.png?a=b"):
        answer = upload(fetching, f"http://good.test:{port}/{path}")
        assert answer.status_code == 200, answer.text
        assert fetching.get(answer.text).content == PNG
    answer = fetching.client.post("/storage/", files={"data": ("own.png", PNG), "url": (None, f"http://127.0.0.1:{port}/image.png"),
                                                      "label": (None, "fetched")})  # fmt: skip
    own, fetched = answer.text.split()
    for reference, name in ((own, "own.png"), (fetched, "image.png")):
        info = fetching.get(f"{reference}/info").json()
        assert info["filename"] == name and info["labels"] == ["fetched"]


REFUSED = [
    "http://127.0.0.2:PORT/image.png", "http://inside.test:PORT/image.png", "http://mixed.test:PORT/image.png",
    "http://metadata.test:PORT/latest/meta-data/", "http://mapped.test:PORT/image.png",
    "http://[::1]:PORT/image.png", "http://[::ffff:127.0.0.1]:PORT/image.png", "http://[::ffff:7f00:2]:PORT/image.png",
    "http://[64:ff9b::7f00:2]:PORT/", "http://[2002:7f00:2::]:PORT/", "http://[fe80::1%25lo]:PORT/",
    "http://2130706434:PORT/image.png", "http://0x7f000002:PORT/image.png", "http://0177.0.0.2:PORT/image.png",
    "http://127.2:PORT/image.png", "http://0:PORT/", "http://10.0.0.1:PORT/", "http://100.64.0.1:PORT/",
    "http://127.0.0.1:22/", "http://127.0.0.1/image.png", "http://denied.test:PORT/image.png",
    "http://DENIED.test:PORT/image.png", "http://denied.test.:PORT/image.png",
    "file:///etc/passwd", "ftp://127.0.0.1:PORT/x", "gopher://127.0.0.1:PORT/", "data:image/png;base64,AAAA", "", "x",
    "//127.0.0.1:PORT/image.png", "http://", "http://:PORT/", "http://user:secret@127.0.0.1:PORT/image.png",
    "http://127.0.0.1:PORT\\@127.0.0.2:PORT/", "http://127.0.0.1:PORT/\r\nX: y", "http://127.0.0.1:99999/",
    "http://good.test:PORT/to-inside", "http://good.test:PORT/to-mapped", "http://good.test:PORT/to-file",
    "http://good.test:PORT/to-ftp", "http://good.test:PORT/to-user", "http://good.test:PORT/" + "a" * 3000,
    "http://\u24d0.test:PORT/",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_what_only_we_can_reach_is_not_reached(fetching: Server, port: int, url: str) -> None:
    before = Web.hits["127.0.0.2"]
    answer = upload(fetching, url.replace("PORT", str(port)))
    assert kind(answer) in ((400, "url-refused"), (422, "fetch-failed")), answer.text
    assert answer.json()["parameter"] == "url"
    assert Web.hits["127.0.0.2"] == before


def test_a_name_that_changes_its_address_leads_nowhere(fetching: Server, port: int) -> None:
    before = Web.hits["127.0.0.2"]
    # It is resolved once, and connected to what was looked at.
    assert upload(fetching, f"http://rebind.test:{port}/image.png").status_code == 200
    for _ in range(3):
        assert kind(upload(fetching, f"http://rebind.test:{port}/image.png")) == (400, "url-refused")
    assert Web.hits["127.0.0.2"] == before


@pytest.mark.alone
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/missing", (422, "fetch-failed")),
        ("/empty", (422, "fetch-failed")),
        ("/zipped", (422, "fetch-failed")),
        ("/short", (422, "fetch-failed")),
        ("/slow", (422, "fetch-failed")),
        ("/for-ever", (422, "fetch-failed")),
        ("/endless", (413, "upload-too-large")),
        ("/no-image", (400, "not-an-image")),
    ],
)
def test_a_bad_site_is_given_up(fetching: Server, port: int, path: str, expected: tuple[int, str]) -> None:
    started = time.monotonic()
    assert kind(upload(fetching, f"http://good.test:{port}{path}")) == expected
    assert time.monotonic() - started < 4
    assert not list((fetching.data_dir / "spool").glob("*/incoming/*"))


def test_import_by_a_list(fetching: Server, port: int) -> None:
    urls = [
        f"http://good.test:{port}/image.png",
        f"http://127.0.0.2:{port}/image.png",
        f"http://good.test:{port}/missing",
    ]
    answer = fetching.client.post("/storage/import", json={"urls": urls, "labels": ["moved"], "expires": "1d"})
    lines = [msgspec.json.decode(line) for line in answer.content.splitlines()]
    assert [line["url"] for line in lines] == urls and [line["status"] for line in lines] == [200, 400, 422]
    assert fetching.get(lines[0]["reference"]).content == PNG
    assert fetching.get(f"{lines[0]['reference']}/info").json()["labels"] == ["moved"]
    assert fetching.client.post("/storage/import", json={"urls": []}).status_code == 400


def test_only_the_hosts_that_are_allowed(data_dir: Path, port: int) -> None:
    settings: dict[str, Any] = {
        "upload_by_url": "true",
        "fetch_private_networks": '["127.0.0.1/32"]',
        "fetch_ports": f"[{port}]",
    }
    with serving(data_dir, NAMES, **settings, fetch_allow='["*.test"]', fetch_deny='["inside.*"]') as server:
        assert upload(server, f"http://good.test:{port}/image.png").status_code == 200
        assert kind(upload(server, f"http://127.0.0.1:{port}/image.png")) == (400, "url-refused")
        assert kind(upload(server, f"http://good.test.evil:{port}/image.png")) == (400, "url-refused")


def test_it_is_off_by_default(server: Server, port: int) -> None:
    before = Web.hits["127.0.0.1"]
    assert kind(upload(server, f"http://127.0.0.1:{port}/image.png")) == (403, "url-not-allowed")
    answer = server.client.post("/storage/", files={"url": (None, f"http://127.0.0.1:{port}/image.png")})
    assert kind(answer) == (403, "url-not-allowed") and Web.hits["127.0.0.1"] == before


@pytest.mark.parametrize("path", ["/ïmage 日.png", "/%C3%AFmage%20日.png", "/to-utf-8", "/to-latin-1"])
def test_urls_in_any_script_are_fetched(fetching: Server, port: int, path: str) -> None:
    stored = upload(fetching, f"http://127.0.0.1:{port}{path}")
    assert stored.status_code == 200, stored.text
    assert fetching.get(stored.text).content == PNG


def test_hosts_in_any_script_are_checked_as_what_they_are(fetching: Server, port: int) -> None:
    for host in ("１２７.0.0.2", "127。0.0.2", "dénied.test"):
        answer = upload(fetching, f"http://{host}:{port}/image.png")
        assert answer.status_code in (400, 422), answer.text
    assert upload(fetching, f"http://127.0.0.1:{port}/to-other-host").status_code == 422  # there is no such name
