"""Stored bytes that rot: what is answered is what was uploaded, or an error."""

import hashlib
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests import pictures
from tests.blobs import blob_file
from tests.integration.server import PROGIMAGE, Server, serving
from tests.servers import ORDINARY

MIB = 1 << 20


def bitmap(side: int, seed: int = 1) -> bytes:
    """An uncompressed picture that no two of are equal, of side² × 3 bytes."""
    from PIL import Image

    return pictures.saved(Image.frombytes("RGB", (side, side), random.Random(seed).randbytes(side * side * 3)), "BMP")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("rotten") / "data", scrub_rate=0) as server:
        yield server


def blob(server: Server, data: bytes) -> Path:
    return blob_file(server.data_dir / "blobs", hashlib.sha256(data).hexdigest())


def flip(path: Path, position: int) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        byte = file.read(1)[0]
        file.seek(position)
        file.write(bytes([byte ^ 1]))


def forget_chunks(server: Server) -> None:
    """Make its originals such as a version before hashes of chunks has left."""
    with sqlite3.connect(server.data_dir / "progimage.sqlite") as connection:
        connection.execute("UPDATE blobs SET chunks = NULL")


def is_refused(answer: httpx.Response) -> bool:
    kind = answer.json()["type"].rpartition(":")[2] if answer.request.method != "HEAD" else "blob-damaged"
    return (answer.status_code, kind) == (503, "blob-damaged")


def asked_every_way(server: Server, reference: str) -> Iterator[httpx.Response]:
    """Answers of every kind that are made of an original's bytes, or say that they have not changed."""
    get = server.client.get
    path = f"/storage/{reference}"
    etag = hashlib.sha256(b"").hexdigest()
    yield get(path)
    yield server.client.head(path)
    yield get(path, headers={"range": "bytes=0-9"})
    yield get(path, headers={"range": "bytes=-5"})
    yield get(path, headers={"if-none-match": "*"})
    yield get(path, headers={"if-none-match": f'"{etag}"'})
    for query in (".png", ".webp?width=40", ".jpg?width=700", ".png?width=40", ".auto"):
        yield get(path + query)
    yield get(f"/iiif/3/{reference}/full/max/0/default.jpg")
    yield get(f"/iiif/3/{reference}/0,0,20,20/10,/0/default.png")
    yield get(f"{path}/palette")
    yield get(f"{path}/placeholder")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a flipped bit at the begin": lambda path: flip(path, 0),
    "a flipped bit at the end": lambda path: flip(path, path.stat().st_size - 1),
    "truncated": lambda path: path.open("r+b").truncate(path.stat().st_size // 2),
    "empty": lambda path: path.open("wb").close(),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_refused_everywhere_until_it_is_uploaded_again(server: Server, damage: str) -> None:
    data = bitmap(200, seed=len(damage))
    reference = server.put(data)
    assert all(
        answer.status_code in (200, 206, 304) for answer in asked_every_way(server, reference)
    )  # and it is cached
    server.client.patch(f"/storage/{reference}", json={"metadata": {"a": "b"}})  # what is in memory is looked up anew
    DAMAGES[damage](blob(server, data))
    assert is_refused(server.get(reference))
    for answer in asked_every_way(server, reference):
        assert is_refused(answer), (answer.request.url, answer.request.headers, answer.status_code)
    assert server.get(f"{reference}/info").status_code == 200
    again = server.put(data)
    for name in (reference, again):
        assert all(answer.status_code in (200, 206, 304) for answer in asked_every_way(server, name))
        assert server.get(name).content == data


def test_a_large_original_ends_before_its_first_wrong_chunk_and_its_other_parts_are_right(server: Server) -> None:
    data = bitmap(1200)  # 4.1 MiB
    reference = server.put(data)
    flip(blob(server, data), 2 * MIB + 17)
    part = server.get(reference, headers={"range": f"bytes={MIB - 5}-{2 * MIB - 1}"})
    assert part.status_code == 206 and part.content == data[MIB - 5 : 2 * MIB]
    got = bytearray()
    with pytest.raises(httpx.TransportError), server.client.stream("GET", f"/storage/{reference}") as answer:
        assert answer.status_code == 200
        for piece in answer.iter_raw():
            got += piece
    assert data.startswith(got) and len(got) <= 2 * MIB
    assert is_refused(server.get(reference, headers={"range": "bytes=0-9"}))  # it is marked since


def test_a_part_is_held_against_its_own_chunk(server: Server) -> None:
    data = bitmap(1000)
    reference = server.put(data)
    flip(blob(server, data), len(data) - 1)
    assert is_refused(server.get(reference, headers={"range": "bytes=-10"}))


def test_a_damaged_smaller_copy_is_not_used(server: Server) -> None:
    data = bitmap(1100, seed=3)
    reference = server.put(data)
    right = server.get(f"{reference}.png?width=200").content
    steps = list(blob(server, data).parent.glob(f"{hashlib.sha256(data).hexdigest()}-*"))
    assert steps
    for step in steps:
        flip(step, step.stat().st_size // 2)
    for width in (100, 150, 300):
        answer = server.get(f"{reference}.png?width={width}")
        assert answer.status_code == 200
        image = pictures.open_bytes(answer.content)
        assert image.size[0] == width
    assert pictures.open_bytes(right).size == (200, 200)


def test_what_was_in_memory_is_refused_as_soon_as_it_is_marked(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0) as server:
        data = bitmap(60)
        reference = server.put(data)
        for _ in range(3):
            assert server.get(reference).content == data
        flip(blob(server, data), 99)
        server_command_fails(server, "scrub")
        assert is_refused(server.get(reference))


def test_it_is_restored_from_the_second_store_at_once(tmp_path: Path) -> None:
    second = tmp_path / "second"
    with serving(tmp_path / "data", scrub_rate=0, second_blobs_url=second.as_uri()) as server:
        data = bitmap(900)
        reference = server.put(data)
        copy = blob_file(second, hashlib.sha256(data).hexdigest())
        copy.parent.mkdir(parents=True)
        shutil.copy(blob(server, data), copy)
        for width, damage in enumerate(DAMAGES.values(), 600):
            damage(blob(server, data))
            assert server.get(reference).content == data
            damage(blob(server, data))
            assert server.get(f"{reference}.png?width={width}").status_code == 200
            assert blob(server, data).read_bytes() == data


def test_originals_of_before_get_hashes_of_their_chunks_by_scrubbing(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0) as server:
        data = bitmap(900)
        reference = server.put(data)
        forget_chunks(server)
        server.command("scrub")
        flip(blob(server, data), len(data) - 1)
        assert server.get(reference, headers={"range": "bytes=0-9"}).content == data[:10]
        assert is_refused(server.get(reference, headers={"range": "bytes=-10"}))


def test_a_large_original_of_before_is_never_answered_whole_if_it_is_damaged(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0) as server:
        data = bitmap(900)
        reference = server.put(data)
        forget_chunks(server)
        flip(blob(server, data), 5)
        with pytest.raises(httpx.TransportError):
            server.get(reference)
        assert is_refused(server.get(reference))


def test_a_part_of_an_original_of_before_is_not_answered_if_it_is_damaged(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0) as server:
        data = bitmap(900)
        reference = server.put(data)
        forget_chunks(server)
        assert server.get(reference, headers={"range": "bytes=-10"}).content == data[-10:]
        forget_chunks(server)
        flip(blob(server, data), len(data) - 1)
        assert is_refused(server.get(reference, headers={"range": "bytes=-10"}))


def test_scrubbing_finds_a_damaged_smaller_copy_even_if_reads_are_not_checked(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0, verify_seconds=-1) as server:
        data = bitmap(1100)
        server.put(data)
        step = next(blob(server, data).parent.glob(f"{hashlib.sha256(data).hexdigest()}-*"))
        flip(step, step.stat().st_size // 2)
        assert "ladder-dropped" in server.command("scrub")


def test_what_the_disk_can_not_read_is_damaged_and_stops_nothing_else(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0, wrapper=ORDINARY) as server:
        data, other = bitmap(1100), bitmap(30)
        reference, whole = server.put(data), server.put(other)
        rendition = server.get(f"{whole}.png").content
        for path in (blob(server, data), *cached(server)):
            path.chmod(0)
        for answer in (*asked_every_way(server, reference), server.client.get(f"/storage/{reference}")):
            assert is_refused(answer)
        assert server.get(f"{whole}.png").content == rendition
        for command in ("scrub", "check --deep", f"backup {tmp_path / 'backup'}"):
            words = [*ORDINARY, PROGIMAGE, *command.split()]
            environment = server.environment | {"PROGIMAGE_DATA_DIR": str(server.data_dir)}
            done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
            assert (done.returncode, "Traceback" in done.stderr) == (1, False), (command, done.stderr)
        assert server.get(whole).content == other
        assert server.put(data)
        assert server.get(reference).content == data


def cached(server: Server) -> list[Path]:
    """The files of its cache of renditions."""
    return [path for path in (server.data_dir / "renditions").glob("*/*/*") if path.stat().st_size]


_RENDITIONS = (".webp?width=40", ".bmp?width=700", ".png", "/placeholder", "/palette")
"""Small, one that is not kept in memory, one of several chunks, and what is said of the picture."""


def test_a_cached_rendition_that_rots_is_made_anew(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0) as server:
        reference = server.put(bitmap(900))
        paths = [f"{reference}{what}" for what in _RENDITIONS] + [f"{reference}.png"]
        parts = {"range": "bytes=100000-200000"}

        def answers() -> list[bytes]:
            parted = server.get(f"{reference}.bmp?width=700", headers=parts).content
            return [server.get(path).content for path in paths] + [parted]

        def rot() -> None:
            files = cached(server)
            assert len(files) >= len(_RENDITIONS)
            for path in files:
                flip(path, path.stat().st_size // 2)

        right = answers()
        rot()
        assert answers() == right
        for path in cached(server):  # as a copy by a program that leaves out extended attributes
            copy = path.with_name("copy")
            copy.write_bytes(path.read_bytes())
            copy.replace(path)
            flip(path, path.stat().st_size // 2)
        assert answers() == right
        server.stop()
        rot()
        server = Server(server.data_dir, port=server.port, scrub_rate=0)
        try:
            assert answers() == right
            assert "cached rendition was damaged" in server.log()
        finally:
            server.stop()


def test_tiles_of_a_large_image_are_right_after_its_cached_copy_rots(tmp_path: Path) -> None:
    with serving(tmp_path / "data", scrub_rate=0) as server:
        reference = server.put(pictures.detailed(5200, 4200).jpegsave_buffer())
        tile = f"/iiif/3/{reference}/2048,2048,512,512/256,/0/default.png"
        right = server.client.get(tile).content
        server.stop()
        for path in cached(server):
            flip(path, path.stat().st_size // 2)
        server = Server(server.data_dir, port=server.port, scrub_rate=0)
        try:
            assert server.client.get(tile).content == right
        finally:
            server.stop()


def server_command_fails(server: Server, command: str) -> None:
    with pytest.raises(AssertionError):
        server.command(command)


def test_a_disk_that_refuses_a_file_is_an_outage_and_no_internal_error(server: Server) -> None:
    data = bitmap(24, seed=77)
    sha256 = hashlib.sha256(data).hexdigest()
    place = server.data_dir / "blobs" / sha256[:2] / sha256[2:4] / sha256
    place.mkdir(parents=True)
    answer = server.client.put("/storage/", content=data)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (503, "disk-failed"), answer.text
    assert answer.headers["retry-after"] and str(place) in server.log()
    place.rmdir()
    reference = server.put(data)
    assert server.get(reference).content == data
