"""A disk that is full: it is read and deleted from, uploads are refused clearly, and it recovers by itself."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from progimage.settings import Settings
from tests.integration.server import Server, eventually, serving
from tests.integration.test_cloud import noise
from tests.servers import FILE_SYSTEMS, can_mount, in_small_file_system

_SIZE = 96 << 20
_RESERVE = Settings.model_fields["disk_reserve"].default
_ADMITTED = 1 << 20
"""A rendition is begun if so many bytes are free."""
_FORMATS = ("jpg", "png", "webp", "tiff", "gif", "bmp", "jp2", "j2k", "jxl", "avif", "pdf", "ppm", "tga", "sgi")


class Disk:
    """The small file system that a server has its data on, as seen by its process."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.folder, self._kind = folder, kind
        folder.mkdir()

    def command(self, *arguments: str | Path) -> list[str]:
        """A command that runs another one there."""
        return [str(part) for part in in_small_file_system(self.folder, _SIZE, list(arguments), self._kind)]

    def serve(self, **settings: Any) -> Server:
        settings = {"disk_reserve": _RESERVE} | settings
        self.server = Server(self.folder / "data", wrapper=self.command(), **settings)
        return self.server

    @property
    def seen(self) -> Path:
        return Path(f"/proc/{self.server.process.pid}/root{self.folder}")

    def fill(self, leave: int = 0) -> None:
        with (self.seen / "filler").open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while leave == 0 or self.free() > leave:
                file.write(bytes(min(1 << 20, max(4096, self.free() - leave))))

    def free(self) -> int:
        told = os.statvfs(self.seen)
        return told.f_bavail * told.f_frsize

    def clear(self) -> None:
        (self.seen / "filler").unlink()


@pytest.fixture(params=FILE_SYSTEMS)
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Disk:
    if not can_mount(request.param):
        pytest.skip(f"this user may not mount a small file system ({request.param})")
    return Disk(tmp_path / "disk", request.param)


@pytest.fixture
def disk(empty: Disk) -> Iterator[Disk]:
    disk = empty
    yield disk
    with contextlib.suppress(ProcessLookupError):
        disk.server.kill()
    assert '"status":500' not in disk.server.log()
    assert "Traceback" not in disk.server.log(), disk.server.log()[-3000:]


def kind(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].rpartition(":")[2]


def test_a_full_disk_is_read_and_deleted_from_and_uploads_are_refused(disk: Disk) -> None:
    server = disk.serve(sweep_seconds=1, undelete_seconds=0, orphan_grace_seconds=1)
    kept, gone = server.put(noise(1, 500)), server.put(noise(2, 500))
    small = server.get(f"{kept}.webp?width=40")
    disk.fill()
    assert server.get(kept).content == noise(1, 500)
    assert server.get(f"{kept}.webp?width=40").content == small.content
    assert kind(server.client.put("/storage/", content=noise(3, 900))) == (507, "storage-full")
    assert kind(server.get(f"{kept}.png")) == (507, "storage-full")
    assert server.client.delete(f"/storage/{gone}").status_code == 204
    assert server.get(gone).status_code == 404
    eventually(lambda: "progimage_storage_full 1.0" in server.client.get("/metrics").text)
    disk.clear()
    eventually(lambda: server.client.put("/storage/", content=noise(3, 900)).status_code == 200)
    assert server.get(f"{kept}.png").status_code == 200
    eventually(lambda: "progimage_storage_full 0.0" in server.client.get("/metrics").text)


def test_what_is_cached_makes_room_for_uploads_and_renditions(disk: Disk) -> None:
    server = disk.serve()
    references = [server.put(noise(number, 600)) for number in range(4)]
    for reference in references:
        for width in range(300, 600, 50):  # a megabyte each
            assert server.get(f"{reference}.png?width={width}").status_code == 200
    time.sleep(1.1)  # what was used within a second stays
    disk.fill(leave=3 << 20)
    stored = [server.client.put("/storage/", content=noise(10 + number, 700)) for number in range(6)]
    assert [answer.status_code for answer in stored] == [200] * 6
    assert server.get(f"{references[0]}.png?width=333").status_code == 200
    for number, answer in enumerate(stored):
        assert server.get(answer.text).content == noise(10 + number, 700)


def test_it_fills_up_while_it_works_and_nothing_acknowledged_is_lost(disk: Disk) -> None:
    server = disk.serve()

    def upload(number: int) -> tuple[int, str]:
        with server.new_client() as client:
            answer = client.put("/storage/", content=noise(number, 800))
            if answer.status_code == 200:
                client.get(f"/storage/{answer.text}.png?width=300")
                return number, answer.text
            assert kind(answer) == (507, "storage-full"), answer.text
            return number, ""

    with ThreadPoolExecutor(4) as threads:
        stored = [pair for pair in threads.map(upload, range(120)) if pair[1]]
    assert 20 < len(stored) < 120  # 2 MB each
    for number, reference in stored:
        assert server.get(reference).content == noise(number, 800)
    for _, reference in stored:
        assert server.client.delete(f"/storage/{reference}").status_code == 204


def test_a_rendition_that_does_not_fit_says_so_whatever_its_format(disk: Disk) -> None:
    server = disk.serve(disk_reserve=0)
    reference = server.put(noise(1, 1800))
    disk.fill(leave=_ADMITTED + (200 << 10))
    said = {format: kind(server.get(f"{reference}.{format}")) for format in _FORMATS}
    assert said == dict.fromkeys(_FORMATS, (507, "storage-full"))


def test_it_serves_where_its_log_can_not_be_written(tmp_path: Path) -> None:
    with serving(tmp_path / "data", wrapper=("sh", "-c", 'exec "$@" 2> /dev/full', "sh")) as server:
        reference = server.put(noise(1, 100))
        assert server.get(reference).content == noise(1, 100)
        assert server.get("unknown").status_code == 404
        assert server.stop() == 0


def test_it_starts_on_a_full_disk_and_deletes_and_is_backed_up(empty: Disk, tmp_path: Path) -> None:
    """The file system outlives the server: a process that holds it runs one server after the other."""
    code = Path(__file__).with_name("full_disk.py")
    done = subprocess.run(
        empty.command(sys.executable, code, empty.folder, tmp_path / "backup"),
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "PROGIMAGE_DISK_RESERVE": str(_RESERVE)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
