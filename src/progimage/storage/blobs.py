"""The store of blobs: an original's bytes, named by their SHA-256, and its smaller copies, named after it.

obstore gives one interface over memory, local disk and the cloud stores. Its local store does not fsync, and would copy
a file that is already on the same disk, so `LocalBlobStore` moves files in itself.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import obstore
from obstore.store import LocalStore, MemoryStore, from_url

from progimage.storage.durable import make_folder, sync_file, sync_folder

_CHUNK = 1024 * 1024


class BlobMissing(Exception):
    """The store has no such blob."""


class BlobStore:
    """Blobs in any store that obstore knows.

    Args:
        store: The obstore store.
    """

    def __init__(self, store: "obstore.store.ObjectStore") -> None:
        """Keep the store."""
        self._store = store

    async def put(self, name: str, source: Path) -> None:
        """Store a file as a blob, durably; `source` stays as it is."""
        await obstore.put_async(self._store, _key(name), source)

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes from `start` up to, and without, `end`.

        Raises:
            BlobMissing: There is no such blob.
        """
        while start < end:
            stop = min(end, start + _CHUNK)
            try:
                yield bytes(await obstore.get_range_async(self._store, _key(name), start=start, end=stop))
            except FileNotFoundError:
                raise BlobMissing(name) from None
            start = stop

    async def fetch(self, name: str, target: Path) -> None:
        """Bring a blob to a local file that is only read.

        Raises:
            BlobMissing: There is no such blob.
        """
        try:
            got = await obstore.get_async(self._store, _key(name))
        except FileNotFoundError:
            raise BlobMissing(name) from None
        with target.open("wb") as file:
            async for chunk in got.stream(min_chunk_size=_CHUNK):
                file.write(chunk)

    async def size(self, name: str) -> int:
        """Return how many bytes a blob has.

        Raises:
            BlobMissing: There is no such blob.
        """
        try:
            return int((await obstore.head_async(self._store, _key(name)))["size"])
        except FileNotFoundError:
            raise BlobMissing(name) from None

    def delete(self, name: str) -> None:
        """Remove a blob; it does not matter whether it is there. It blocks."""
        try:
            obstore.delete(self._store, _key(name))
        except FileNotFoundError:
            return

    def local_path(self, name: str) -> Path | None:
        """Return the blob's file, if this store has files that a web server can send."""
        return None

    async def check(self) -> None:
        """Raise an exception unless the store answers."""
        with suppress(FileNotFoundError):  # there is no such blob, and the store said so
            await obstore.head_async(self._store, _key("0" * 64))


class LocalBlobStore(BlobStore):
    """Blobs in a folder of the local disk: 256 folders by the first two digits.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        """Make the folders."""
        for prefix in range(256):
            make_folder(root / f"{prefix:02x}")
        super().__init__(LocalStore(root))
        self._root = root

    async def put(self, name: str, source: Path) -> None:
        """Store a file as a blob, durably: by a second name, so nothing is copied; it is on the same file system."""
        await asyncio.to_thread(self._put, name, source)

    def _put(self, name: str, source: Path) -> None:
        target = self._root / _key(name)
        sync_file(source)
        second_name = source.with_name(f"{source.name}-blob")
        second_name.hardlink_to(source)
        second_name.replace(target)
        # Where the target was another name of the same file already, a rename does nothing, and leaves both.
        second_name.unlink(missing_ok=True)
        sync_folder(target.parent)

    async def fetch(self, name: str, target: Path) -> None:
        """Bring a blob to a local file that is only read: a hard link, so nothing is copied."""
        try:
            target.hardlink_to(self._root / _key(name))
        except FileNotFoundError:
            raise BlobMissing(name) from None

    def local_path(self, name: str) -> Path | None:
        """Return the blob's file."""
        return self._root / _key(name)


def open_blob_store(url: str) -> BlobStore:
    """Open the store that a URL names: `file:///…`, `memory://`, or a cloud store's.

    Raises:
        ValueError: The URL is of no known kind.
    """
    parts = urlsplit(url)
    if parts.scheme == "file":
        return LocalBlobStore(Path(unquote(parts.path)))
    if parts.scheme == "memory":
        return BlobStore(MemoryStore())
    return BlobStore(from_url(url))


def _key(name: str) -> str:
    return f"{name[:2]}/{name}"
