"""Blobs in a folder of this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path

from obstore.exceptions import BaseError as StoreError
from obstore.store import LocalStore

from progimage.storage.blobs.store import MARKER, NOT_THIS, BlobDamaged, BlobStore, blob_key
from progimage.storage.blobs.wrong_store import WrongStore
from progimage.storage.durable import make_folder, sync_file, sync_folder
from progimage.tracing import span


class LocalBlobStore(BlobStore):
    """Blobs in a folder of the local disk: `ab/cd/abcd…`, so that no folder has too many of them.

    Earlier versions put them at `ab/abcd…`, where they stay until they are put anew.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        """Make the folder."""
        make_folder(root)
        super().__init__(LocalStore(root))
        self._root = root
        self._confirmed: tuple[int, int] | None = None
        self._synced: set[str] = set()
        """The folders in it that this process knows to be on disk."""

    def mark(self, deployment: str, *, anew: bool = False) -> str:
        """Give the folder a marker unless it has one, or anew, durably."""
        there = super().mark(deployment, anew=anew)
        sync_file(self._root / MARKER)
        sync_folder(self._root)
        return there

    def _confirm_folder(self) -> None:
        """Look whether the folder is the one that was confirmed; only of another one is the marker read."""
        try:
            status = self._root.stat()
        except FileNotFoundError:
            raise WrongStore(NOT_THIS) from None
        if (status.st_dev, status.st_ino) != self._confirmed:
            self.confirm()
            self._synced.clear()
            self._confirmed = status.st_dev, status.st_ino

    async def put(self, name: str, source: Path, media_type: str | None = None, *, anew: bool = False) -> None:
        """Store a file as a blob, durably: by a second name, so nothing is copied; it is on the same file system."""
        with span("store.put"):
            await asyncio.to_thread(self._put, name, source)

    def _put(self, name: str, source: Path) -> None:
        self._confirm_folder()
        target = self._root / _new_key(name)
        sync_file(source)
        second_name = source.with_name(f"{source.name}-blob")
        second_name.hardlink_to(source)
        try:
            second_name.replace(target)
        except FileNotFoundError:
            self._make_folders(name)
            second_name.replace(target)
        # Where the target was another name of the same file already, a rename does nothing, and leaves both.
        second_name.unlink(missing_ok=True)
        sync_folder(target.parent)
        self._sync_parents(name)
        (self._root / blob_key(name)).unlink(missing_ok=True)

    def _make_folders(self, name: str) -> None:
        """Make the folders of a blob unless they are there; the root is never made."""
        for folder in _folders(name):
            with suppress(FileExistsError):
                (self._root / folder).mkdir()
                self._synced.discard(folder)

    def _sync_parents(self, name: str) -> None:
        """Wait until the folders of a blob are on disk: another process may have made them just now."""
        for folder in _folders(name):
            if folder not in self._synced:
                sync_folder((self._root / folder).parent)
                self._synced.add(folder)

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes of a file; one that can't be read, while the folder can, is damaged."""
        try:
            async with aclosing(super().stream(name, start, end)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
        except StoreError as error:
            await asyncio.to_thread(self.confirm)
            raise BlobDamaged(name) from error

    async def fetch(self, name: str, target: Path, size: int) -> None:
        """Bring a blob to a local file that is only read: a hard link, so nothing is copied."""
        for key in self._keys(name):
            with suppress(FileNotFoundError):
                target.hardlink_to(self._root / key)
                return
        raise await self._missing(name)

    def local_path(self, name: str) -> Path:
        """Return the blob's file, or where it would be put."""
        for key in self._keys(name):
            path = self._root / key
            if path.exists():
                break
        return path

    def local_key(self, name: str) -> str:
        """Return the path of the blob's file in the folder, or where it would be put."""
        return self.local_path(name).relative_to(self._root).as_posix()

    def _keys(self, name: str) -> tuple[str, ...]:
        """Return the new place, the old one, and the new one again: meanwhile it may have been put anew."""
        key = _new_key(name)
        return key, blob_key(name), key


def _folders(name: str) -> tuple[str, str]:
    return name[:2], f"{name[:2]}/{name[2:4]}"


def _new_key(name: str) -> str:
    return f"{name[:2]}/{name[2:4]}/{name}"
