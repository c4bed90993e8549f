"""Hostile images cost whoever sends them a clear error, and nobody else anything: no server dies, no file is read."""

import hashlib
import os
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import abuse, pictures
from tests.integration.server import Server, serving

PNG = pictures.BY_MODE["RGB"]()
FINE = (200, 400, 413, 422)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the usual limits; at the end it still serves."""
    settings: dict[str, Any] = {"workers": 2, "queue": 500, "undelete_seconds": 0}
    with serving(tmp_path_factory.mktemp("attacked") / "data", **settings) as server:
        reference = server.put(PNG)
        yield server
        assert server.get(reference).content == PNG and server.get(f"{reference}.webp").status_code == 200
        assert not list((server.data_dir / "spool").glob("*/*/*"))


@pytest.fixture(scope="module")
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose tasks have eight seconds, however slow the machine is: what takes longer is stopped."""
    with serving(tmp_path_factory.mktemp("hurried") / "data", workers=2, task_seconds=8) as server:
        yield server


def deaths(server: Server, *causes: str) -> float:
    """How many workers died of a task, and of what: its `time`, a `crash`, or by a `kill`."""
    lines = server.client.get("/metrics").text.splitlines()
    counts = [line for line in lines if line.startswith("progimage_worker_deaths_total")]
    return sum(float(line.split()[-1]) for line in counts if any(f'"{cause}"' in line for cause in causes))


def resident(server: Server) -> int:
    """The memory of all processes of the server, in bytes."""
    total = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == server.process.pid:  # its session
            total += int(fields[21]) * os.sysconf("SC_PAGE_SIZE")
    return total


def try_all(server: Server, data: bytes) -> httpx.Response:
    """Upload, and use what was taken in."""
    answer = server.client.put("/storage/", content=data)
    assert answer.status_code in FINE, answer.text
    if answer.status_code == 200:
        for tail in (".webp?width=32", ".png?height=16&fit=cover&gravity=smart", "/info", "/placeholder"):
            assert server.get(f"{answer.text}{tail}").status_code in FINE
        assert server.client.delete(f"/storage/{answer.text}").status_code == 204
    else:
        assert answer.json()["type"].startswith("urn:progimage:problem:") and answer.json()["detail"]
    return answer


@pytest.mark.alone
@pytest.mark.parametrize("name", abuse.BOMBS)
def test_bombs(attacked: Server, name: str) -> None:
    started, before = time.monotonic(), deaths(attacked, "time", "crash", "kill")
    largest = 0
    stop = threading.Event()

    def watch() -> None:
        nonlocal largest
        while not stop.wait(0.05):
            largest = max(largest, resident(attacked))

    watching = threading.Thread(target=watch)
    watching.start()
    answer = try_all(attacked, abuse.BOMBS[name])
    stop.set()
    watching.join()
    assert time.monotonic() - started < 30 and largest < 3 << 30, (answer.status_code, largest)
    assert deaths(attacked, "time", "crash", "kill") == before, (
        answer.text
    )  # refused by what it says, not by its effect
    pixels = ("gigapixels", "2^", "268 megapixels", "exapixels")
    assert answer.status_code != 200 or not any(word in name for word in pixels)


@pytest.fixture(scope="module")
def listening() -> Iterator[list]:
    """Notes who connects to the port that hostile drawings name."""
    seen: list = []
    with socket.socket() as door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind(("127.0.0.1", abuse.PORT))
        door.listen()
        door.settimeout(0.2)
        stop = threading.Event()

        def wait() -> None:
            while not stop.is_set():
                try:
                    connection, address = door.accept()
                except TimeoutError:
                    continue
                seen.append(address)
                connection.close()

        waiting = threading.Thread(target=wait)
        waiting.start()
        yield seen
        stop.set()
        waiting.join()


@pytest.mark.alone
@pytest.mark.parametrize("name", abuse.SVGS)
def test_drawings(hurried: Server, listening: list, name: str) -> None:
    started = time.monotonic()
    data = abuse.SVGS[name]
    answer = hurried.client.put("/storage/", content=data)
    assert answer.status_code in FINE, answer.text
    if answer.status_code == 200:
        shown = hurried.get(f"{answer.text}.png?width=64")
        assert shown.status_code in FINE
        if shown.status_code == 200 and ("file" in name or "entity" in name or "xinclude" in name):
            assert pictures.open_bytes(shown.content).convert("RGBA").getbbox() is None or name == "quadratic entity"
        original = hurried.get(answer.text)
        assert original.headers["content-type"] == "image/svg+xml"
        assert "sandbox" in original.headers["content-security-policy"]
    assert time.monotonic() - started < 25
    assert not listening  # nothing was fetched


@pytest.mark.parametrize("name", ["GIF", "JPEG", "PNG", "BMP"])
def test_what_is_an_image_and_a_page_is_answered_as_an_image(attacked: Server, name: str) -> None:
    data = abuse.polyglot(name)
    reference = attacked.put(data, "page.html")
    for path in (reference, f"{reference}?download", f"{reference}.{name.lower()}"):
        answer = attacked.get(path)
        assert (
            answer.headers["content-type"].startswith("image/")
            and answer.headers["x-content-type-options"] == "nosniff"
        )
    assert b"<script>" not in attacked.get(f"{reference}.webp").content
    assert b"<script>" not in attacked.get(f"{reference}.{name.lower()}?width=1").content


def try_many(server: Server, inputs: list[bytes]) -> Counter:
    """Upload many from several clients at once, in what order they come."""
    limits = httpx.Limits(max_connections=8, max_keepalive_connections=8)
    with httpx.Client(base_url=server.url, timeout=60, limits=limits) as client, ThreadPoolExecutor(8) as attackers:

        def put(data: bytes) -> int:
            answer = client.put("/storage/", content=data)
            if answer.status_code == 200:
                assert client.get(f"/storage/{answer.text}").content == data
                assert client.get(f"/storage/{answer.text}.png?width=4").status_code in (200, 400, 422)
            return answer.status_code

        return Counter(attackers.map(put, inputs))


@pytest.mark.parametrize("name", abuse.seeds())
def test_cut_and_bent(attacked: Server, name: str) -> None:
    data = abuse.seeds()[name]
    before = deaths(attacked, "crash", "kill")
    inputs = [*abuse.truncated(data), *abuse.bent(data)][::3]  # all of them take minutes; `make fuzz` has more
    answers = try_many(attacked, inputs)
    assert set(answers) <= set(FINE) and answers[400] and sum(answers.values()) == len(inputs)
    # Some are large in pixels, within the limits, and take seconds; on a busy machine one may be stopped at its time.
    assert deaths(attacked, "crash", "kill") == before


@pytest.mark.alone
def test_two_attackers_do_not_keep_an_owner_waiting(attacked: Server) -> None:
    """Bombs from two sides, and somebody who only wants thumbnails."""
    reference = attacked.put(pictures.detailed(1200, 900).jpegsave_buffer())
    stop = threading.Event()
    bombs = [
        abuse.BOMBS[name] for name in ("PNG of 99 megapixels", "GIF of 499 large frames", "JPEG of a thousand scans")
    ]

    def bomb(number: int) -> None:
        with httpx.Client(base_url=attacked.url, timeout=120) as client:
            while not stop.is_set():
                assert client.put("/storage/", content=bombs[number % 3]).status_code in (*FINE, 503)
                number += 1

    with ThreadPoolExecutor(4) as attackers:
        bombing = [attackers.submit(bomb, number) for number in range(2)]
        time.sleep(0.5)
        took = []
        for width in range(20, 50):
            started = time.monotonic()
            assert attacked.get(f"{reference}.webp?width={width}").status_code == 200
            took.append(time.monotonic() - started)
        stop.set()
        for one in bombing:
            one.result()
    assert sorted(took)[len(took) // 2] < 2


def test_paths_lead_nowhere(attacked: Server) -> None:
    inside = [
        "../progimage.sqlite",
        "..%2fprogimage.sqlite",
        "%2e%2e/%2e%2e/etc/passwd",
        "....//etc/passwd",
        "x\\..\\y",
    ]
    for base in ("/storage/", "/docs/assets/", "/docs/assets/../../", "//", "/storage//", "/"):
        for tail in (*inside, "../../../../../../etc/passwd", "%00", "%ff", "a%00.png", "~root", "*" * 3000):
            with socket.create_connection(("127.0.0.1", attacked.port)) as connection:
                connection.settimeout(10)
                head = f"GET {base}{tail} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode())
                answer = b""
                while received := connection.recv(65536):
                    answer += received
            assert answer.split()[1] in (b"404", b"400"), (base, tail, answer[:300])
            assert b"root:" not in answer and b"SQLite" not in answer


def test_originals_are_what_was_sent_whatever_that_is(attacked: Server) -> None:
    for data in (abuse.polyglot("PNG"), abuse.BOMBS["PNG with a thousand texts"]):
        answer = attacked.client.put("/storage/", content=data)
        if answer.status_code == 200:
            assert hashlib.sha256(attacked.get(answer.text).content).digest() == hashlib.sha256(data).digest()
