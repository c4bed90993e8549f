"""Sites and names that are made to keep us busy, and what others notice of it: nothing."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import pictures
from tests.integration.server import Server, serving
from tests.servers import free_port

PNG = pictures.saved(pictures.colour(), "PNG")
PORT = free_port()
NAMES = Path(__file__).with_name("names")
_OK = b"HTTP/1.1 200 OK\r\n"


def continues() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n" * 2000


def header_lines() -> Iterator[bytes]:
    yield _OK
    number = 0
    while True:
        yield b"".join(b"x-%d: y\r\n" % (number + i) for i in range(2000))
        number += 2000


def one_long_line() -> Iterator[bytes]:
    yield _OK + b"x: "
    while True:
        yield b"y" * 65536


def tiny_chunks() -> Iterator[bytes]:
    yield _OK + b"transfer-encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\na\r\n" * 10_000


@contextmanager
def site(pieces) -> Iterator[str]:
    """A server that answers every request with all that there is, as fast as it is taken."""
    listener = socket.create_server(("127.0.0.1", PORT))

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            for piece in pieces():
                connection.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{PORT}/image.png"
    finally:
        listener.shutdown(socket.SHUT_RDWR)  # which wakes whoever accepts
        listener.close()


@pytest.fixture
def fetching(data_dir: Path) -> Iterator[Server]:
    settings: dict[str, Any] = {
        "upload_by_url": True, "fetch_private_networks": '["127.0.0.1/32"]', "fetch_seconds": 4, "access": "open",
        "fetch_ports": f"[{PORT}]", "trusted_proxies": '["127.0.0.1"]', "workers": 2,
        "max_upload_bytes": 2_000_000,
    }  # fmt: skip
    with serving(data_dir, NAMES, **settings) as server:
        yield server


def fetch(server: Server, url: str, address: str) -> httpx.Response:
    with server.new_client(headers={"x-forwarded-for": address}) as client:
        return client.put("/storage/", params={"url": url})


def others(server: Server) -> list[float]:
    """What somebody else does meanwhile: uploads, thumbnails, and a look; how long each took."""
    taken = []
    with server.new_client(headers={"x-forwarded-for": "10.0.0.200"}) as client:
        for number in range(5):
            data = pictures.saved(pictures.colour((60 + number, 40)), "PNG")
            started = time.monotonic()
            reference = client.put("/storage/", content=data).text
            assert client.get(f"/storage/{reference}.webp?width=20").status_code == 200
            assert client.get("/healthz").status_code == 200
            taken.append(time.monotonic() - started)
    return sorted(taken)


@pytest.mark.parametrize("pieces", [continues, header_lines, one_long_line, tiny_chunks])
def test_a_site_that_floods_us_keeps_nobody_else_waiting(fetching: Server, pieces) -> None:
    alone = others(fetching)
    with site(pieces) as url, ThreadPoolExecutor(8) as pool:
        stop = threading.Event()

        def attack(number: int) -> set[int]:
            seen = set()
            while not stop.is_set():
                seen.add(fetch(fetching, url, f"10.0.1.{number}").status_code)
            return seen

        attacks = [pool.submit(attack, number) for number in range(8)]
        time.sleep(0.5)
        beside = others(fetching)
        stop.set()
        seen = set().union(*(one.result() for one in attacks))
    assert seen <= {413, 422}
    assert beside[2] < 5 * alone[2] + 0.5, (alone, beside)


def test_names_that_resolve_slowly_hold_up_nobody_else(fetching: Server) -> None:
    with ThreadPoolExecutor(24) as pool:
        slow = [
            pool.submit(fetch, fetching, f"http://{number}.slow.test:{PORT}/a.png", f"10.0.2.{number % 2}")
            for number in range(24)
        ]
        time.sleep(0.3)
        started = time.monotonic()
        others(fetching)
        with site(lambda: [_OK + b"content-length: %d\r\n\r\n" % len(PNG) + PNG]) as url:
            assert fetch(fetching, url.replace("127.0.0.1", "good.test"), "10.0.0.200").status_code == 200
        assert time.monotonic() - started < 4  # before the first of them has ended
        assert not any(one.done() for one in slow[:4])
        assert {one.result().status_code for one in slow} <= {422, 429}


def test_a_client_has_so_many_fetches_at_once(fetching: Server) -> None:
    entered = threading.Semaphore(0)
    go_on = threading.Event()

    def waiting() -> Iterator[bytes]:
        entered.release()
        go_on.wait(20)
        yield _OK + b"content-length: %d\r\n\r\n" % len(PNG) + PNG

    with site(waiting) as url, ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(fetch, fetching, url, "10.0.3.1") for _ in range(6)]
        for _ in range(4):
            assert entered.acquire(timeout=10)
        assert not entered.acquire(timeout=0.5)
        another = pool.submit(fetch, fetching, url, "10.0.3.2")
        assert entered.acquire(timeout=10)
        go_on.set()
        assert [one.result().status_code for one in (*asked, another)] == [200] * 7
