"""The cache of renditions: files on this node's disk, and behind them, if several nodes share one, a cloud store.

A rendition that any node has made is in the shared store soon after, so that no other makes it again. It is a cache
still: what can't be read or written there within a moment is rendered, and the store is left alone for a while.

The hash of a file is kept in an extended attribute of it, and what is read is held against that.
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
from progimage.storage.scratch import Spool

log = structlog.get_logger(__name__)

_SECONDS = 2.0
"""How long the shared store may take; rendering anew mostly takes less."""
_LEFT_ALONE_SECONDS = 10.0
_LARGEST_SHARED = 32 * 1024 * 1024
_WRITES = 32
"""How many renditions may be on their way to the shared store; further ones stay on this node."""
_PREFIX = "renditions"
_LARGE = 8 * 1024 * 1024
_LARGE_SECONDS = 60.0
"""A file of more than `_LARGE` bytes is checked so often at most: of a pyramid, each tile reads a small part."""


class Renditions:
    """Renditions by SHA-256, owner and name.

    Args:
        files: Those on this node.
        shared: An obstore store that all nodes share, or None.
        spool: For files that are being brought.
        verify_seconds: See `Verification`.
    """

    def __init__(
        self, files: DiskCache, shared: Any = None, spool: Spool | None = None, verify_seconds: float | None = 0
    ) -> None:
        """Store the parts."""
        self.files = files
        self._verification = Verification(verify_seconds)
        seldom = None if verify_seconds is None else max(verify_seconds, _LARGE_SECONDS)
        self._large_verification = Verification(seldom)
        self._shared, self._spool = shared, spool
        self._left_alone_until = 0.0
        self._writing: set[asyncio.Task[None]] = set()

    async def get(self, sha256: str, owner: str, name: str) -> Path | None:
        """Return the file, if it is on this node; one that is damaged is removed."""
        path = self.files.get(sha256, owner_tag(owner), name)
        if path is None:
            return None
        try:
            if await self._is_right(path):
                return path
        except FileNotFoundError:  # it was thrown out of the cache just now
            return None
        except OSError:  # it can't be read
            pass
        log.warning("a cached rendition was damaged; it is made anew", file=str(path))
        path.unlink(missing_ok=True)
        return None

    def is_right(self, path: Path, body: bytes) -> bool:
        """Return whether these are all bytes of a file on this node, as it was added."""
        if not self._verification.is_on:
            return True
        try:
            digest = kept_digest(path)
        except FileNotFoundError:
            return False
        return digest is None or hashlib.sha256(body).digest() == digest

    async def bring(self, sha256: str, owner: str, name: str) -> Path | None:
        """Return the file, if another node has made it."""
        if not self._can_share or self._spool is None:
            return None
        with self._spool.file(self._spool.outgoing) as file:
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
        """Move a file in, and have it sent to the shared store after that."""
        path = await asyncio.to_thread(self._add_file, sha256, owner, name, file)
        if self._can_share and len(self._writing) < _WRITES and path.stat().st_size <= _LARGEST_SHARED:
            writing = asyncio.create_task(self._share(_key(sha256, owner, name), path))
            self._writing.add(writing)
            writing.add_done_callback(self._writing.discard)
        return path

    async def remove(self, sha256: str, owner: str) -> None:
        """Remove the renditions that an owner has of an original, here and in the shared store.

        What another node has on its disk goes with its next sweep; nobody can ask for it any more. What can't be
        removed from the shared store now goes with its age.
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
        """Remove from the shared store what was put there so many days ago, and return how many there were."""
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
        """Return the SHA-256 of every original that has files in the shared store; one may come several times."""
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
        """Let what is on its way to the shared store arrive."""
        if self._writing:
            await asyncio.wait(set(self._writing), timeout=_SECONDS)

    @property
    def is_shared(self) -> bool:
        """Whether several nodes share them."""
        return self._shared is not None

    @property
    def _can_share(self) -> bool:
        return self._shared is not None and time.monotonic() > self._left_alone_until

    async def _share(self, key: str, path: Path) -> None:
        try:
            async with asyncio.timeout(2 * _SECONDS):
                await obstore.put_async(self._shared, key, await asyncio.to_thread(path.read_bytes))
        except FileNotFoundError:
            return  # it was thrown out of the cache meanwhile
        except (StoreError, TimeoutError) as error:
            self._leave_alone(error)

    async def _is_right(self, path: Path) -> bool:
        digest, size = kept_digest(path), path.stat().st_size
        verification = self._large_verification if size > _LARGE else self._verification
        if not size:  # a power cut may have left that; no file here is empty
            return False
        return digest is None or await verification.is_file_right(path.name, path, digest)

    def _leave_alone(self, error: Exception) -> None:
        self._left_alone_until = time.monotonic() + _LEFT_ALONE_SECONDS
        log.warning("the shared renditions can't be used now; they are made anew", error=repr(error))

    def _add_bytes(self, sha256: str, owner: str, name: str, file: Path, data: bytes) -> Path:
        file.write_bytes(data)
        return self._add_file(sha256, owner, name, file)

    def _add_file(self, sha256: str, owner: str, name: str, file: Path) -> Path:
        keep_digest(file)
        return self.files.add(sha256, owner_tag(owner), name, file)


def owner_tag(owner: str) -> str:
    """Return what an owner is called in names of files."""
    return hashlib.sha256(owner.encode()).hexdigest()[:16]


def _key(sha256: str, owner: str, name: str) -> str:
    return f"{_PREFIX}/{sha256[:2]}/{sha256}/{owner_tag(owner)}-{name}"
