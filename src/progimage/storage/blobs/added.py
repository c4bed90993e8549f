"""Blob stores that plugins add, see docs/adding-a-blob-store.md."""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from obstore.exceptions import BaseError as StoreError

from progimage.plugins import Plugin
from progimage.storage.blobs.store import MARKER, BlobDamaged, BlobMissing, BlobStore, Entry, Store
from progimage.storage.cache.disk import DiskCache
from progimage.storage.scratch import ScratchFolder

_T = TypeVar("_T")
_CHUNK = 1024 * 1024
_LONGEST_MARKER = 1000
_BLOB = re.compile(r"[0-9a-f]{64}(?:-\d+)?")
_METHODS = ("put", "read", "size", "delete", "entries")


class AddedBlobStore(BlobStore):
    """Blobs in the store of a plugin.

    Args:
        store: Store of the plugin.
        copies: Local cache of blobs, or None. Requires `scratch`.
        scratch: For copies that aren't complete yet.
        seconds: How long writes are retried.
    """

    def __init__(
        self, store: Store, copies: DiskCache | None = None, scratch: ScratchFolder | None = None, seconds: float = 10
    ) -> None:
        super().__init__(None, copies, scratch, seconds)  # type: ignore[arg-type]
        self._added = store

    def marker(self) -> str | None:
        """Implement `BlobStore.marker`."""
        with suppress(FileNotFoundError):
            return _asked(self._added.read, MARKER, 0, _LONGEST_MARKER).decode()
        return None

    def mark(self, deployment: str, *, anew: bool = False) -> str:
        """Implement `BlobStore.mark`."""
        if anew or self.marker() is None:
            with tempfile.NamedTemporaryFile() as file:
                file.write(deployment.encode())
                file.flush()
                self._write(MARKER, Path(file.name), None)
        return self.marker() or ""

    def has(self, name: str) -> bool:
        """Implement `BlobStore.has`."""
        with suppress(FileNotFoundError):
            _asked(self._added.size, name)
            return True
        return False

    def entries(self) -> Iterator[Entry]:
        """Implement `BlobStore.entries`."""
        entries = iter(_asked(self._added.entries))
        while entry := _asked(next, entries, None):
            if _BLOB.fullmatch(entry.name):
                yield entry

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Implement `BlobStore.stream`."""
        while start < end:
            stop = min(end, start + _CHUNK)
            try:
                data = await asyncio.to_thread(_asked, self._added.read, name, start, stop)
            except FileNotFoundError:
                raise await self._missing(name) from None
            if not 0 < len(data) <= stop - start:
                raise BlobDamaged(name)
            start += len(data)
            yield data

    async def size(self, name: str) -> int:
        """Implement `BlobStore.size`."""
        try:
            return await asyncio.to_thread(_asked, self._added.size, name)
        except FileNotFoundError:
            raise await self._missing(name) from None

    def delete(self, name: str) -> None:
        """Implement `BlobStore.delete`."""
        self.confirm()
        if self.copies:
            self.copies.remove(name.partition("-")[0])
        with suppress(FileNotFoundError):
            _asked(self._added.delete, name)

    async def check(self) -> None:
        """Implement `BlobStore.check`."""
        await asyncio.to_thread(self.confirm)
        with suppress(BlobMissing):
            await self.size("0" * 64)

    async def _put_blob(self, name: str, source: Path, size: int, attributes: Any, anew: bool) -> None:
        if anew or not await self._has(name, size):
            media_type = attributes["Content-Type"] if attributes else None
            await asyncio.to_thread(self._write, name, source, media_type)

    def _write(self, name: str, source: Path, media_type: str | None) -> None:
        try:
            _asked(self._added.put, name, source, media_type)
        except FileNotFoundError as error:
            raise _unavailable(error) from error


def open_added_store(plugin: Plugin, url: str, options: dict[str, str], seconds: float) -> Store:
    """Open the store of a plugin.

    Args:
        plugin: The plugin.
        url: URL of the store.
        options: Options of the store.
        seconds: Timeout of one request.

    Raises:
        PluginError: The plugin can't be used.
        ValueError: The URL or an option is invalid.
    """
    factory = plugin.load()
    try:
        store: Store = factory(url, options, seconds)
    except ValueError:
        raise
    except Exception as error:
        raise plugin.failed(error) from error
    missing = [name for name in _METHODS if not callable(getattr(store, name, None))]
    if missing:
        raise plugin.refused(f"makes a store without {', '.join(missing)}.")
    return store


def _asked(ask: Callable[..., _T], *arguments: Any) -> _T:
    """Call a method of a plugin's store.

    Raises:
        FileNotFoundError: The blob doesn't exist.
        StoreError: The store is unavailable.
    """
    try:
        return ask(*arguments)
    except (FileNotFoundError, StoreError):
        raise
    except Exception as error:
        raise _unavailable(error) from error


def _unavailable(error: Exception) -> StoreError:
    return StoreError(f"{type(error).__name__}: {error}")
