"""Uploads while they arrive: against quotas and the room in the spool, and with content codings."""

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.integration.server import Server, eventually, serving

PNG = pictures.saved(pictures.colour(), "PNG")
MB = 1_000_000


def spooled(server: Server) -> int:
    """How many bytes are in the spool."""
    total = 0
    for path in (server.data_dir / "spool").glob("*/incoming/*/file"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


class Body:
    """A body that is sent a piece at a time, as a test lets it go on."""

    def __init__(self, pieces: int, size: int = MB) -> None:
        self._pieces, self._size = pieces, size
        self.allowed = threading.Semaphore(0)
        self.sent = 0
        self.over = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(self._pieces):
            if not self.allowed.acquire(timeout=20) or self.over.is_set():
                return
            self.sent += self._size
            yield bytes(self._size)


def form(parts: int, size: int) -> tuple[bytes, dict[str, str]]:
    piece = b'--b\r\nContent-Disposition: form-data; name="data"; filename="a"\r\n\r\n' + bytes(size) + b"\r\n"
    return piece * parts + b"--b--\r\n", {"content-type": "multipart/form-data; boundary=b"}


def chunked(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), 65536):
        yield data[start : start + 65536]


def test_a_quota_holds_while_the_body_arrives(data_dir: Path) -> None:
    most = [0]
    with serving(data_dir, max_bytes_per_owner=3 * MB, max_upload_bytes=2 * MB) as server:
        stop = threading.Event()

        def watch() -> None:
            while not stop.wait(0.002):
                most[0] = max(most[0], spooled(server))

        watching = threading.Thread(target=watch)
        watching.start()
        body, headers = form(20, 2 * MB)
        for content in (body, chunked(body)):  # with a length, and without
            answer = server.client.put("/storage/", content=content, headers=headers)
            assert answer.status_code == 403 and answer.json()["type"].endswith("quota-exceeded"), answer.text
            assert answer.json()["parameter"] == "bytes" and answer.json()["allowed"] == 3 * MB
        stop.set()
        watching.join()
        assert most[0] < 4.2 * MB
        assert spooled(server) == 0
        assert server.put(PNG)


def test_the_number_of_images_holds_while_they_arrive(data_dir: Path) -> None:
    with serving(data_dir, max_images_per_owner=3) as server:
        body, headers = form(50, 1000)
        answer = server.client.put("/storage/", content=chunked(body), headers=headers)
        assert answer.status_code == 403 and answer.json()["parameter"] == "images"
        for _ in range(3):
            server.put(PNG)
        assert server.client.put("/storage/", content=PNG).status_code == 403


@contextmanager
def uploading(client: httpx.Client, path: str, body: Body) -> Iterator[list[int]]:
    answers: list[int] = []

    def send() -> None:
        try:
            answers.append(client.request("POST", path, content=iter(body)).status_code)
        except httpx.TransportError:
            answers.append(0)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield answers
    finally:
        body.over.set()
        body.allowed.release()
        thread.join()


@pytest.mark.parametrize("path", ["/storage/", "/transform.png", "/info"])
def test_one_client_leaves_room_for_others(path: str, data_dir: Path) -> None:
    settings: dict[str, Any] = {
        "access": "open", "trusted_proxies": '["127.0.0.1"]', "scratch_bytes": 20 * MB, "max_upload_bytes": 8 * MB,
        "idle_seconds": 20,
    }  # fmt: skip
    with serving(data_dir, **settings) as server:
        greedy = [server.new_client(headers={"x-forwarded-for": "10.0.0.1"}) for _ in range(2)]
        other = server.new_client(headers={"x-forwarded-for": "10.0.0.2"})
        first, second = Body(8), Body(8)
        with uploading(greedy[0], path, first) as one, uploading(greedy[1], path, second) as two:
            for _ in range(7):
                first.allowed.release()
            eventually(lambda: spooled(server) >= 6 * MB, 10)
            for _ in range(8):
                second.allowed.release()
            eventually(lambda: two, 10)  # half of the room is all that it gets
            assert two[0] in (413, 0) and not one
            assert other.put("/storage/", content=PNG).status_code == 200
        eventually(lambda: spooled(server) == 0, 10)
        again = greedy[0].put("/storage/", content=bytes(7 * MB))
        assert again.status_code == 400 and again.json()["type"].endswith("not-an-image")  # it has its room back


GZIPPED = [
    ("gzip", gzip.compress(PNG)),
    ("x-gzip", gzip.compress(PNG, 9)),
    ("deflate", zlib.compress(PNG)),
    ("gzip", gzip.compress(PNG[:100]) + gzip.compress(PNG[100:])),
    ("gzip, identity", gzip.compress(PNG)),
    ("deflate, gzip", gzip.compress(zlib.compress(PNG))),
    ("identity", PNG),
    ("GZIP", gzip.compress(PNG)),
]


@pytest.mark.parametrize(("coding", "body"), GZIPPED)
def test_an_encoded_body_is_stored_decoded(server: Server, coding: str, body: bytes) -> None:
    headers = {"content-encoding": coding}
    stored = server.client.put("/storage/", content=body, headers=headers)
    assert stored.status_code == 200, stored.text
    assert server.get(stored.text).content == PNG
    assert server.client.post("/transform.png?width=9", content=body, headers=headers).status_code == 200
    assert server.client.post("/info", content=body, headers=headers).json()["bytes"] == len(PNG)


def test_an_encoded_form_is_stored_decoded(server: Server) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="data"\r\n\r\n' + PNG + b"\r\n--b--\r\n"
    headers = {"content-type": "multipart/form-data; boundary=b", "content-encoding": "gzip"}
    stored = server.client.put("/storage/", content=gzip.compress(body), headers=headers)
    assert server.get(stored.text).content == PNG


@pytest.mark.parametrize("coding", ["br", "zstd", "compress", "gzip, br", "gzip, gzip, gzip", "nonsense"])
def test_other_codings_are_415_and_say_what_is_taken(server: Server, coding: str) -> None:
    for method, path in (("PUT", "/storage/"), ("POST", "/transform.png"), ("POST", "/info")):
        answer = server.client.request(method, path, content=PNG, headers={"content-encoding": coding})
        assert answer.status_code == 415 and answer.headers["accept-encoding"] == "gzip, deflate"
        assert answer.json()["parameter"] == "Content-Encoding"


def test_json_is_taken_without_encoding(server: Server) -> None:
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    for path in ("/storage/renditions", "/sign", "/tickets", "/storage/import"):
        answer = server.client.post(path, content=gzip.compress(b"{}"), headers=headers)
        assert answer.status_code == 415 and answer.headers["accept-encoding"] == "identity", answer.text


@pytest.mark.parametrize(
    "bend",
    [
        lambda body: body[:-20],
        lambda body: body[:40],
        lambda body: b"\x00" + body,
        lambda body: PNG,
        lambda body: body + b"x" * 40,
    ],
)
def test_what_is_not_so_encoded_is_a_clear_400(server: Server, bend: Callable[[bytes], bytes]) -> None:
    answer = server.client.put("/storage/", content=bend(gzip.compress(PNG)), headers={"content-encoding": "gzip"})
    assert answer.status_code == 400 and answer.json()["parameter"] == "Content-Encoding", answer.text


def test_a_bomb_ends_at_the_bound(data_dir: Path) -> None:
    with serving(data_dir, max_upload_bytes=3 * MB) as server:
        bomb = gzip.compress(bytes(300 * MB), 9)
        for coding, body in (("gzip", bomb), ("gzip, gzip", gzip.compress(bomb))):
            answer = server.client.put("/storage/", content=body, headers={"content-encoding": coding})
            assert answer.status_code == 413, answer.text
        assert spooled(server) == 0
