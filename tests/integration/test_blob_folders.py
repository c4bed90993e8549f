"""A store whose blobs are where earlier versions put them goes on."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import pictures
from tests.blobs import blob_file, blob_files, in_old_layout, old_blob_file
from tests.integration.server import Server, eventually, serving

PHOTO = pictures.saved(pictures.colour((2400, 1600)), "JPEG", quality=95)
NAME = hashlib.sha256(PHOTO).hexdigest()
SETTINGS: dict[str, Any] = {"scrub_rate": 0, "orphan_grace_seconds": 1, "sweep_seconds": 1, "undelete_seconds": 0}


@pytest.fixture
def old(data_dir: Path) -> Iterator[tuple[Server, str, Path]]:
    """A server on an old store, the reference of an image there, and the folder of blobs."""
    folder = data_dir / "blobs"
    with serving(data_dir, **SETTINGS) as server:
        reference = server.put(PHOTO)
    in_old_layout(folder)
    assert [path.parent.parent for path in blob_files(folder)] == [folder] * 3
    with serving(data_dir, **SETTINGS) as server:
        yield server, reference, folder


def test_it_is_served_and_deleted(old: tuple[Server, str, Path]) -> None:
    server, reference, folder = old
    assert server.client.head(f"/storage/{reference}").headers["content-length"] == str(len(PHOTO))
    for _ in range(3):  # from the store, and from memory
        assert server.get(reference).content == PHOTO
    assert server.get(reference, headers={"range": "bytes=10-19"}).content == PHOTO[10:20]
    assert server.get(f"{reference}.png?width=1200").status_code == 200
    assert server.get(f"{reference}.webp?width=200").status_code == 200  # from a smaller copy
    assert server.command("scrub") == ""
    assert blob_files(folder)[0] == old_blob_file(folder, NAME)
    assert server.client.delete(f"/storage/{reference}").status_code == 204
    eventually(lambda: not blob_files(folder))


def test_an_upload_heals_what_is_damaged_and_no_file_is_left_behind(old: tuple[Server, str, Path]) -> None:
    server, reference, folder = old
    old_blob_file(folder, NAME).write_bytes(b"x" * len(PHOTO))
    assert server.get(reference).status_code == 503
    other = server.put(PHOTO)
    assert server.get(reference).content == server.get(other).content == PHOTO
    assert blob_files(folder)[0] == blob_file(folder, NAME) and not old_blob_file(folder, NAME).exists()


def test_a_second_store_of_either_layout_heals_it(data_dir: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    with serving(data_dir, second_blobs_url=second.as_uri(), **SETTINGS) as server:
        reference = server.put(PHOTO)
        for place in (blob_file, old_blob_file):
            copy = place(second, NAME)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(PHOTO)
            blob_file(data_dir / "blobs", NAME).unlink()
            assert server.get(reference).content == PHOTO
            copy.unlink()


def test_nginx_is_told_where_the_file_is(data_dir: Path) -> None:
    with serving(data_dir, send_originals="accel") as server:
        reference = server.put(PHOTO)
        place = f"/_originals/{NAME[:2]}/{NAME[2:4]}/{NAME}"
        assert server.get(reference).headers["x-accel-redirect"] == place
        in_old_layout(data_dir / "blobs")
        assert server.get(reference).headers["x-accel-redirect"] == f"/_originals/{NAME[:2]}/{NAME}"
