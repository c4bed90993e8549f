"""Blob store in a local folder."""

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
    """Blobs in a local folder, at `ab/cd/abcd…`, so that no subfolder gets too large.

    Earlier versions put them at `ab/abcd…`, where they stay until they are written again.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        make_folder(root)
        super().__init__(LocalStore(root))
        self._root = root
        self._confirmed: tuple[int, int] | None = None
        self._synced: set[str] = set()
        """Subfolders that this process knows to be on disk."""

    def mark(self, deployment: str, *, anew: bool = False) -> str:
        """Write the marker durably, unless there is one; with `anew`, replace it."""
        there = super().mark(deployment, anew=anew)
        sync_file(self._root / MARKER)
        sync_folder(self._root)
        return there

    def _confirm_folder(self) -> None:
        """Check that the folder is the confirmed one; if it is a different one, check its marker."""
        try:
            status = self._root.stat()
        except FileNotFoundError:
            raise WrongStore(NOT_THIS) from None
        if (status.st_dev, status.st_ino) != self._confirmed:
            self.confirm()
            self._synced.clear()
            self._confirmed = status.st_dev, status.st_ino

    async def put(self, name: str, source: Path, media_type: str | None = None, *, anew: bool = False) -> None:
        """Store a file as a blob, durably. It is hard-linked, not copied, and must be on the same file system."""
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
        # If the target is already a link to the same file, a rename does nothing and leaves both names.
        second_name.unlink(missing_ok=True)
        sync_folder(target.parent)
        self._sync_parents(name)
        (self._root / blob_key(name)).unlink(missing_ok=True)

    def _make_folders(self, name: str) -> None:
        """Create the subfolders of a blob if missing, but never the root."""
        for folder in _folders(name):
            with suppress(FileExistsError):
                (self._root / folder).mkdir()
                self._synced.discard(folder)

    def _sync_parents(self, name: str) -> None:
        """Wait until the subfolders of a blob are on disk: another process may have just created them."""
        for folder in _folders(name):
            if folder not in self._synced:
                sync_folder((self._root / folder).parent)
                self._synced.add(folder)

    async def stream(self, name: str, start: int, end: int) -> AsyncIterator[bytes]:
        """Read the bytes of a blob. If only the file is unreadable, but not the folder, the blob is damaged."""
        try:
            async with aclosing(super().stream(name, start, end)) as chunks:  # type: ignore[type-var]
                async for chunk in chunks:
                    yield chunk
        except StoreError as error:
            await asyncio.to_thread(self.confirm)
            raise BlobDamaged(name) from error

    async def fetch(self, name: str, target: Path, size: int) -> None:
        """Get a blob as a local file, which must not be modified: a hard link, not a copy."""
        for key in self._keys(name):
            with suppress(FileNotFoundError):
                target.hardlink_to(self._root / key)
                return
        raise await self._missing(name)

    def local_path(self, name: str) -> Path:
        """Return the file of a blob, or the path that it would have."""
        for key in self._keys(name):
            path = self._root / key
            if path.exists():
                break
        return path

    def local_key(self, name: str) -> str:
        """Return the path of a blob's file, relative to the folder."""
        return self.local_path(name).relative_to(self._root).as_posix()

    def _keys(self, name: str) -> tuple[str, ...]:
        """Return the new path, the old one, and the new one again, as it may have been moved there meanwhile."""
        key = _new_key(name)
        return key, blob_key(name), key


def _folders(name: str) -> tuple[str, str]:
    return name[:2], f"{name[:2]}/{name[2:4]}"


def _new_key(name: str) -> str:
    return f"{name[:2]}/{name[2:4]}/{name}"
