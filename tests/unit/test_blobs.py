"""Blobs in a folder: which folders there are, what earlier versions put there, and what is on disk when."""

import asyncio
import hashlib
import random
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from progimage.storage import BlobMissing, BlobStore, open_blob_store
from progimage.storage.blobs import local
from progimage.storage.blobs.local import LocalBlobStore
from tests.blobs import blob_file, blob_files, in_old_layout, old_blob_file

DATA = random.Random(1).randbytes(5000)
NAME = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "blobs"


def opened(root: Path) -> LocalBlobStore:
    store = open_blob_store(root.as_uri())
    assert isinstance(store, LocalBlobStore)
    return store


def put(store: BlobStore, file: Path, data: bytes = DATA, name: str = NAME) -> None:
    file.write_bytes(data)
    asyncio.run(store.put(name, file))


def read(store: BlobStore, start: int, end: int) -> bytes:
    async def read() -> bytes:
        return b"".join([chunk async for chunk in store.stream(NAME, start, end)])

    return asyncio.run(read())


def test_ten_million_originals_with_two_copies_each_are_below_a_thousand_files_a_folder(root: Path) -> None:
    store, images = opened(root), 100_000
    paths = [store.local_path(hashlib.sha256(b"%d" % number).hexdigest()) for number in range(images)]
    folders = {path.parent for path in paths if path}
    even = 65_536 * (1 - (1 - 1 / 65_536) ** images)
    assert abs(len(folders) - even) < 300
    originals = 10_000_000 / 65_536
    assert 3 * (originals + 6 * originals**0.5) < 1000  # six standard deviations: one folder in 10⁹ has more


def test_folders_are_made_when_they_are_needed(root: Path, tmp_path: Path) -> None:
    store = opened(root)
    assert not list(root.iterdir())
    put(store, tmp_path / "file")
    assert sorted(root.rglob("*")) == [root / NAME[:2], root / NAME[:2] / NAME[2:4], blob_file(root, NAME)]
    store.delete(NAME)
    put(store, tmp_path / "file")
    shutil.rmtree(root / NAME[:2])
    put(store, tmp_path / "file")
    assert blob_file(root, NAME).read_bytes() == DATA


def test_the_folder_itself_is_not_made_anew(root: Path, tmp_path: Path) -> None:
    store = opened(root)
    store._confirm_folder = lambda: None  # it was there a moment ago
    root.rmdir()
    with pytest.raises(FileNotFoundError):
        put(store, tmp_path / "file")
    assert not root.exists()


@pytest.mark.parametrize("is_old", [False, True])
def test_a_blob_is_found_in_either_layout(root: Path, tmp_path: Path, is_old: bool) -> None:
    store = opened(root)
    assert not store.has_blobs() and not store.has(NAME)
    put(store, tmp_path / "file")
    if is_old:
        in_old_layout(root)
    place = (old_blob_file if is_old else blob_file)(root, NAME)
    assert blob_files(root) == [place]
    assert store.has_blobs() and store.has(NAME)
    assert store.local_path(NAME) == place and store.local_key(NAME) == str(place.relative_to(root))
    assert asyncio.run(store.size(NAME)) == len(DATA)
    assert read(store, 0, len(DATA)) == DATA and read(store, 10, 20) == DATA[10:20]
    asyncio.run(store.fetch(NAME, tmp_path / "link", len(DATA)))
    assert (tmp_path / "link").samefile(place)
    store.delete(NAME)
    assert not blob_files(root) and not store.has(NAME) and not store.has_blobs()
    asks: list[Callable[[], object]] = [
        lambda: asyncio.run(store.size(NAME)),
        lambda: read(store, 0, 5),
        lambda: asyncio.run(store.fetch(NAME, tmp_path / "other", 5)),
    ]
    for ask in asks:
        with pytest.raises(BlobMissing):
            ask()
    store.delete(NAME)


def test_what_is_put_anew_takes_the_place_of_the_old_file(root: Path, tmp_path: Path) -> None:
    store = opened(root)
    put(store, tmp_path / "file", b"damaged")
    in_old_layout(root)
    put(store, tmp_path / "file")
    assert blob_files(root) == [blob_file(root, NAME)] and read(store, 0, len(DATA)) == DATA


def test_an_old_file_that_a_kill_has_left_beside_the_new_one_is_not_read_and_goes_with_it(
    root: Path, tmp_path: Path
) -> None:
    store = opened(root)
    put(store, tmp_path / "file")
    old_blob_file(root, NAME).write_bytes(b"damaged")
    assert store.local_path(NAME) == blob_file(root, NAME) and read(store, 0, len(DATA)) == DATA
    store.delete(NAME)
    assert not blob_files(root)


def test_a_blob_that_is_put_anew_while_it_is_looked_for_is_found(root: Path, tmp_path: Path) -> None:
    store = opened(root)
    put(store, tmp_path / "file")
    in_old_layout(root)
    keys = store._keys

    def while_put_anew(name: str):
        new, *others = keys(name)
        yield new
        put(opened(root), tmp_path / "file")
        yield from others

    store._keys = while_put_anew
    assert store.has(NAME)


def test_a_folder_is_on_disk_before_what_is_in_it_counts_as_stored(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(local, "sync_file", synced.append)
    monkeypatch.setattr(local, "sync_folder", synced.append)
    store, other = opened(root), opened(root)
    folders = {root, root / NAME[:2], root / NAME[:2] / NAME[2:4]}
    file = tmp_path / "file"

    def synced_by(store: BlobStore) -> list[Path]:
        synced.clear()
        put(store, file)
        return synced[:]

    first = synced_by(store)
    assert first[0] == file and set(first[1:]) == folders
    assert synced_by(store) == [file, blob_file(root, NAME).parent]
    # Whoever finds a folder does not know whether the process that made it has come to sync it.
    assert set(synced_by(other)) == {file} | folders
    shutil.rmtree(root / NAME[:2])
    assert set(synced_by(store)) == {file} | folders


def test_many_put_into_the_same_new_folders_at_once(root: Path, tmp_path: Path) -> None:
    stores = [opened(root) for _ in range(2)]
    names = [f"{number:04x}{'0' * 60}" for number in range(200) for _ in range(4)]

    def put_one(number: int) -> None:
        put(stores[number % 2], tmp_path / f"file{number}", DATA, names[number])

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(put_one, range(len(names))))
    assert [path.name for path in blob_files(root)] == sorted(set(names))
    assert all(path.read_bytes() == DATA for path in blob_files(root))
