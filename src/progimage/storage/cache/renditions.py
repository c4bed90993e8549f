"""Rendition cache: files on this node's disk, and optionally a shared cloud store behind them.

A rendition made by any node is soon in the shared store, so that no other node makes it again. The shared store is only
a cache: if it doesn't respond within a moment, the rendition is made again, and the store isn't used for a while.

The hash of each file is in an extended attribute, and is verified when the file is read.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
import structlog
from obstore.exceptions import BaseError as StoreError

from progimage import clock
from progimage.storage.blobs.verification import Verification, keep_digest, kept_digest
from progimage.storage.cache.disk import DiskCache
from progimage.storage.scratch import ScratchFolder

log = structlog.get_logger(__name__)

_SECONDS = 2.0
"""Timeout of the shared store; making a rendition again usually takes less."""
_LEFT_ALONE_SECONDS = 10.0
_LARGEST_SHARED = 32 * 1024 * 1024
_WRITES = 32
"""Maximum number of concurrent writes to the shared store; further renditions stay on this node."""
_PREFIX = "renditions"
_LARGE = 8 * 1024 * 1024
_LARGE_SECONDS = 60.0
"""A file larger than `_LARGE` bytes is verified at most this often: each tile of a pyramid reads only a small part."""


class Renditions:
    """Renditions by SHA-256, owner and name.

    Args:
        files: Renditions on this node.
        shared: obstore store shared by all nodes, or None.
        scratch: For files that are being downloaded.
        verify_seconds: See `Verification`.
    """

    def __init__(
        self,
        files: DiskCache,
        shared: Any = None,
        scratch: ScratchFolder | None = None,
        verify_seconds: float | None = 0,
    ) -> None:
        self.files = files
        self._verification = Verification(verify_seconds)
        seldom = None if verify_seconds is None else max(verify_seconds, _LARGE_SECONDS)
        self._large_verification = Verification(seldom)
        self._shared, self._scratch = shared, scratch
        self._left_alone_until = 0.0
        self._writing: set[asyncio.Task[None]] = set()

    async def get(self, sha256: str, owner: str, name: str) -> Path | None:
        """Return a rendition if it is on this node. A damaged one is removed."""
        path = self.files.get(sha256, owner_tag(owner), name)
        if path is None:
            return None
        try:
            if await self._is_right(path):
                return path
        except FileNotFoundError:  # just evicted
            return None
        except OSError:  # unreadable
            pass
        log.warning("cached rendition was damaged, removed", file=str(path))
        path.unlink(missing_ok=True)
        return None

    def is_right(self, path: Path, body: bytes) -> bool:
        """Return whether `body` is the content of a file on this node, as it was added."""
        if not self._verification.is_on:
            return True
        try:
            digest = kept_digest(path)
        except FileNotFoundError:
            return False
        return digest is None or hashlib.sha256(body).digest() == digest

    async def fetch_shared(self, sha256: str, owner: str, name: str) -> Path | None:
        """Return a rendition if another node has made it."""
        if not self._can_share or self._scratch is None:
            return None
        with self._scratch.file(self._scratch.outgoing) as file:
            try:
                async with asyncio.timeout(_SECONDS):
                    got = await obstore.get_async(self._shared, _key(sha256, owner, name))
                    size = int(got.meta["size"])
                    data = bytes(await got.bytes_async())
            except FileNotFoundError:
                return None
            except (StoreError, TimeoutError) as error:
                self._leave_alone(error)
                return None
            if len(data) != size:
                return None
            return await asyncio.to_thread(self._add_bytes, sha256, owner, name, file, data)

    async def add(self, sha256: str, owner: str, name: str, file: Path) -> Path:
        """Move a file into the cache, and send it to the shared store in the background."""
        path = await asyncio.to_thread(self._add_file, sha256, owner, name, file)
        if self._can_share and len(self._writing) < _WRITES and path.stat().st_size <= _LARGEST_SHARED:
            writing = asyncio.create_task(self._share(_key(sha256, owner, name), path))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        return path

    async def remove(self, sha256: str, owner: str) -> None:
        """Remove an owner's renditions of an original, here and in the shared store.

        Files on other nodes are removed by their next sweep; they can no longer be requested. If the shared store is
        unavailable, its files are removed when they are old enough.
        """
        await asyncio.to_thread(self.files.remove, sha256, owner_tag(owner))
        if not self._can_share:
            return
        wanted = _key(sha256, owner, "")
        prefix = wanted.rpartition("/")[0]  # a store lists whole folders
        try:
            async with asyncio.timeout(_SECONDS):
                async for listed in obstore.list(self._shared, prefix=prefix):
                    paths = [meta["path"] for meta in listed if meta["path"].startswith(wanted)]
                    if paths:
                        await obstore.delete_async(self._shared, paths)
        except FileNotFoundError:
            return
        except (StoreError, TimeoutError) as error:
            self._leave_alone(error)

    async def forget_old(self, days: int) -> int:
        """Remove files older than a number of days from the shared store, and return how many there were."""
        if self._shared is None:
            return 0
        before, removed = clock.utc_now() - timedelta(days=days), 0
        async for listed in obstore.list(self._shared, prefix=f"{_PREFIX}/"):
            paths = [meta["path"] for meta in listed if meta["last_modified"] < before]
            if paths:
                await obstore.delete_async(self._shared, paths)
                removed += len(paths)
        return removed

    async def shared_originals(self) -> AsyncIterator[str]:
        """Yield the SHA-256 of each original with files in the shared store, possibly several times."""
        if self._shared is None:
            return
        async for listed in obstore.list(self._shared, prefix=f"{_PREFIX}/"):
            for sha256 in dict.fromkeys(meta["path"].split("/")[2] for meta in listed):
                yield sha256

    async def remove_all(self, sha256: str) -> None:
        """Remove all renditions of an original, here and in the shared store."""
        await asyncio.to_thread(self.files.remove, sha256)
        if self._shared is not None:
            async for listed in obstore.list(self._shared, prefix=f"{_PREFIX}/{sha256[:2]}/{sha256}/"):
                if listed:
                    await obstore.delete_async(self._shared, [meta["path"] for meta in listed])

    async def close(self) -> None:
        """Wait for writes to the shared store."""
        if self._writing:
            await asyncio.wait(set(self._writing), timeout=_SECONDS)

    @property
    def is_shared(self) -> bool:
        """Whether there is a shared store."""
        return self._shared is not None

    @property
    def _can_share(self) -> bool:
        return self._shared is not None and time.monotonic() > self._left_alone_until

    async def _share(self, key: str, path: Path) -> None:
        try:
            async with asyncio.timeout(2 * _SECONDS):
                await obstore.put_async(self._shared, key, await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            return  # evicted meanwhile
        except (StoreError, TimeoutError) as error:
            self._leave_alone(error)

    async def _is_right(self, path: Path) -> bool:
        digest, size = kept_digest(path), path.stat().st_size
        verification = self._large_verification if size > _LARGE else self._verification
        if not size:  # left by a power cut: no rendition is empty
            return False
        return digest is None or await verification.is_file_right(path.name, path, digest)

    def _leave_alone(self, error: Exception) -> None:
        self._left_alone_until = time.monotonic() + _LEFT_ALONE_SECONDS
        log.warning("shared rendition store unavailable", error=repr(error))

    def _add_bytes(self, sha256: str, owner: str, name: str, file: Path, data: bytes) -> Path:
        file.write_bytes(data)
        return self._add_file(sha256, owner, name, file)

    def _add_file(self, sha256: str, owner: str, name: str, file: Path) -> Path:
        keep_digest(file)
        return self.files.add(sha256, owner_tag(owner), name, file)


def owner_tag(owner: str) -> str:
    """Return the name of an owner in file names."""
    return hashlib.sha256(owner.encode()).hexdigest()[:16]


def _key(sha256: str, owner: str, name: str) -> str:
    return f"{_PREFIX}/{sha256[:2]}/{sha256}/{owner_tag(owner)}-{name}"
