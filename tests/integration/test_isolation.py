"""A worker that crashes, hangs or eats memory costs one request a clear error, and nobody else anything."""

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

from tests import pictures
from tests.integration.server import Server, serving

pytestmark = pytest.mark.alone
HOSTILE = Path(__file__).with_name("hostile")
PNG = pictures.BY_MODE["RGB"]()
SEGFAULT, HANG, ALLOCATE, SLEEP = 1, 2, 3, 4


def qoi(red: int, blue: int = 0) -> bytes:
    picture = Image.new("RGB", (9, 9), (9, 9, blue))
    picture.putpixel((0, 0), (red, 0, 0))
    data = pictures.saved(picture, "QOI")
    return data[:14] + b"\xfe" + bytes((red, 0, 0)) + data[14 + (4 if data[14] == 0xFE else 1) :]


@pytest.fixture
def hostile(data_dir: Path) -> Iterator[Server]:
    with serving(data_dir, HOSTILE, workers=2, queue=2, task_seconds=3, worker_memory=512 * 1024 * 1024) as server:
        yield server


@pytest.mark.parametrize(
    ("what", "kind"), [(SEGFAULT, "codec-crashed"), (HANG, "too-long"), (ALLOCATE, "too-much-memory")]
)
def test_a_worker_that_misbehaves(hostile: Server, what: int, kind: str) -> None:
    good = hostile.put(PNG)
    stop = threading.Event()
    answers: list[int] = []

    def keep_asking() -> None:
        extensions = ("bmp", "tga", "gif", "ppm", "tiff", "pcx", "dds", "sgi")
        index = 0
        while not stop.is_set():
            page = "" if index < len(extensions) else "?page=1"
            answers.append(hostile.get(f"{good}.{extensions[index % len(extensions)]}{page}").status_code)
            index += 1
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as others:
        asking = others.submit(keep_asking)
        response = hostile.client.put("/storage/", content=qoi(what))
        stop.set()
        asking.result()
    assert response.status_code == 422 and response.json()["type"].endswith(kind), response.text
    assert answers and set(answers) == {200}
    for _ in range(4):  # both workers are there again
        assert hostile.put(qoi(200, blue=_))
    if what == HANG:  # first in the lane of light tasks, of which it used up what one may use; then in the other
        deaths = hostile.client.get("/metrics").text
        for cause in ("cpu", "time"):
            assert f'progimage_worker_deaths_total{{cause="{cause}"}} 1.0' in deaths
    assert not list((hostile.data_dir / "spool").glob("*/*/*"))


def test_a_full_queue_refuses_at_once(hostile: Server) -> None:
    with ThreadPoolExecutor(12) as clients:
        started = time.monotonic()

        def put(index: int) -> tuple[int, float, str | None]:
            response = hostile.client.put("/storage/", content=qoi(SLEEP, blue=index))
            return response.status_code, time.monotonic() - started, response.headers.get("retry-after")

        answers = list(clients.map(put, range(12)))
    refused = [answer for answer in answers if answer[0] == 503]
    accepted = [answer for answer in answers if answer[0] == 200]
    assert len(accepted) + len(refused) == 12
    assert len(accepted) >= 4 and len(refused) >= 4
    assert all(int(retry_after or 0) >= 1 for _, _, retry_after in refused)
    assert min(seconds for _, seconds, _ in refused) < 0.9  # before any task could have ended


def test_a_client_that_leaves_frees_its_worker(hostile: Server) -> None:
    body = qoi(HANG)
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", hostile.port)) as connection:
            head = f"PUT /storage/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            time.sleep(0.5)
    started = time.monotonic()
    assert hostile.put(PNG)  # both workers would be hanging for three seconds
    assert time.monotonic() - started < 2


def test_sigterm_lets_requests_end(data_dir: Path) -> None:
    with serving(data_dir, HOSTILE, workers=2) as server:
        with ThreadPoolExecutor(1) as client:
            answer = client.submit(server.client.put, "/storage/", content=qoi(SLEEP))
            time.sleep(0.4)
            server.process.send_signal(signal.SIGTERM)
            assert answer.result().status_code == 200
        assert server.process.wait(timeout=30) == 0
        assert not list((data_dir / "spool").glob("*"))


def test_a_killed_worker_is_replaced(hostile: Server) -> None:
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(hostile.client.put, "/storage/", content=qoi(HANG))
        time.sleep(0.5)
        killed = _kill_busiest_worker(hostile)
        response = answer.result()
    assert killed and response.status_code == 503 and response.headers["retry-after"]
    assert hostile.put(PNG)


def _forked(server: Server) -> dict[int, int]:
    """The fork server and the workers, each with its parent."""
    found = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[3]) == server.process.pid and b"progimage.workers" in command:
            found[int(status.parent.name)] = int(fields[1])
    return found


@pytest.mark.parametrize("which", ["one", "all"])
def test_idle_workers_that_are_killed_are_replaced(data_dir: Path, which: str) -> None:
    with serving(data_dir, workers=2) as server:
        reference = server.put(PNG)
        for number in range(3):
            processes = _forked(server)
            workers = [process for process, parent in processes.items() if parent in processes]
            assert workers
            for process in workers[:1] if which == "one" else workers:
                os.kill(process, signal.SIGKILL)
            with ThreadPoolExecutor(8) as clients:
                widths = range(1 + 16 * number, 17 + 16 * number)
                answers = list(clients.map(lambda w: server.get(f"{reference}.png?width={w}").status_code, widths))
            assert set(answers) == {200}
        assert server.client.get("/readyz").status_code == 200


def _has_in_memory(process: int, wanted: bytes) -> bool:
    """Whether a process has some bytes anywhere in its memory, as the kernel shows it to root."""
    with open(f"/proc/{process}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            area, rights, *_ = line.split()
            start, end = (int(edge, 16) for edge in area.split("-"))
            if not rights.startswith("r") or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            try:
                memory.seek(start)
                found = memory.read(end - start)
            except (OSError, OverflowError, ValueError):
                continue
            if wanted in found:
                return True
    return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the memory of a worker")
def test_no_worker_has_ever_had_a_secret(data_dir: Path) -> None:
    secrets = ["k3y-of-the-signatures-0123456789", "pa55word-of-the-store-0123456789"]
    options = f'{{"secret_access_key": "{secrets[1]}"}}'
    with serving(data_dir, workers=2, signing_keys=f'["{secrets[0]}"]', blobs_options=options) as server:
        reference = server.put(PNG)
        assert server.get(f"{reference}.webp?width=5").status_code == 200
        processes = _forked(server)
        assert len(processes) >= 3
        server_process = next(parent for parent in processes.values() if parent not in processes)
        for secret in secrets:
            assert _has_in_memory(server_process, secret.encode())  # or this would show nothing
            for process in processes:
                assert not _has_in_memory(process, secret.encode()), process


def _kill_busiest_worker(server: Server) -> bool:
    busiest, most = 0, 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == server.process.pid and int(fields[11]) > most and fields[0] == "R":  # its session
            busiest, most = int(status.parent.name), int(fields[11])
    if busiest:
        os.kill(busiest, signal.SIGKILL)
    return bool(busiest)
