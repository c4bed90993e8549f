"""Disk space on this node: cache eviction when a disk is full, and a reserve for deleting.

When a disk fills up, caches are evicted first. Then uploads and renditions are rejected, and the remaining space, the
reserve, is for the database, which must write in order to delete. The reserve is a file, so that no other program can
use the space; it is shrunk step by step, and restored when there is space again.
"""

import asyncio
import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import structlog

from progimage.engine.files import FULL_DISK
from progimage.storage.cache.disk import DiskCache
from progimage.storage.durable import allocate

log = structlog.get_logger(__name__)

_T = TypeVar("_T")

FULL = frozenset((*FULL_DISK, errno.EFBIG))
"""Error numbers for a full disk, an exceeded disk quota of the user, and an exceeded file size limit of the process."""
WRITABLE = 1024 * 1024
"""Bytes kept free for the database; also the step by which the reserve is shrunk."""
_SLACK = 1024 * 1024
"""Bytes that an upload leaves free, for its rungs and folders."""
_EVICTED_AT_ONCE = 32 * 1024 * 1024
_LARGEST_SHARE = 16
"""The reserve is at most one part in this many of its file system."""


class StorageFull(Exception):
    """The disk is full, and nothing is left to evict from the caches."""

    def __init__(self, detail: str = "There is no space left to store this.") -> None:
        super().__init__(detail)


class DiskSpace:
    """Space on the file systems of the data folder and of other folders.

    Args:
        data: The data folder.
        reserve: Bytes reserved for deleting.
        caches: Caches that may be evicted.
        folders: Other folders for files, which may be on other file systems.
    """

    def __init__(
        self, data: Path, reserve: int, caches: Sequence[DiskCache] = (), folders: Sequence[Path] = ()
    ) -> None:
        self._data, self._file, self._caches = data, data / "reserve", caches
        self._folders = [data, *folders]
        data.mkdir(parents=True, exist_ok=True)
        self._opened = data.stat()
        self._reserve = min(reserve, _total(data) // _LARGEST_SHARE)
        self._evicting = threading.Lock()
        self._was_full = False

    def free(self) -> dict[str, int]:
        """Return the free bytes for this user, by the name of the folder on each file system."""
        return {folder.name if folder != self._data else "data": _free(folder) for folder in self._devices()}

    @property
    def reserved(self) -> int:
        """Current size of the reserve in bytes."""
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def is_full(self) -> bool:
        """Whether uploads are rejected for lack of space."""
        return any(self._available(folder) < _SLACK for folder in self._devices())

    async def admit(self, size: int) -> None:
        """Ensure that there is space for a number of bytes, and evict from the caches if needed.

        Raises:
            StorageFull: There isn't enough space.
        """
        size += _SLACK
        if self._has_room(size):
            return
        await asyncio.to_thread(self.evict, size)
        if not self._has_room(size):
            raise StorageFull

    async def retried(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Run some work that writes files. If the disk is full, evict from the caches and run it once more.

        Raises:
            StorageFull: The disk is still full.
        """
        await self.admit(0)
        try:
            return await work()
        except Exception as error:
            if not is_full(error):
                raise
            if not await asyncio.to_thread(self.evict, _EVICTED_AT_ONCE):
                raise StorageFull from error
        try:
            return await work()
        except Exception as error:
            if is_full(error):
                raise StorageFull from error
            raise

    def evict(self, wanted: int) -> int:
        """Evict the least recently used files from the caches until a number of bytes are available. Blocks.

        Returns:
            Number of bytes evicted, which may be fewer than needed.
        """
        with self._evicting:
            freed = 0
            for folder in self._devices():
                for cache in self._caches:
                    missing = wanted - self._available(folder)
                    if missing > 0 and cache.is_on(folder):
                        freed += cache.evict(missing)
        if freed:
            log.info("disk full, evicted cached files", bytes=freed)
        return freed

    def keep_writable(self) -> None:
        """Ensure that the database can write: evict from the caches, or shrink the reserve. Blocks."""
        if _free(self._data) >= WRITABLE:
            return
        self.evict(2 * WRITABLE)
        if _free(self._data) >= WRITABLE:
            return
        with suppress(FileNotFoundError), self._file.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file.fileno()).st_size
            if size and _free(self._data) < WRITABLE:  # unless another process has just done it
                os.ftruncate(file.fileno(), max(0, size - WRITABLE))
                log.warning("disk full, shrank the reserve", left=max(0, size - WRITABLE))

    def restore(self) -> None:
        """Restore the reserve if there is space for it, and evict from the caches if space is low. Blocks."""
        full = self.is_full
        if full != self._was_full:
            self._was_full = full
            if full:
                log.warning("storage full, rejecting uploads and new renditions", free=self.free())
            else:
                log.warning("storage has space again, accepting uploads", free=self.free())
        if not self._has_room(4 * _SLACK):
            self.evict(4 * _SLACK)
        missing = self._reserve - self.reserved
        if not os.path.samestat(self._opened, self._data.stat()):
            return  # the volume is no longer mounted
        if missing <= 0 or _free(self._data) < missing + 2 * WRITABLE:
            return
        with self._file.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file.fileno()).st_size
            try:
                allocate(file.fileno(), self._reserve)
            except OSError as error:
                if error.errno not in FULL:
                    raise
                os.ftruncate(file.fileno(), size)  # another program has just used the space

    def _has_room(self, size: int) -> bool:
        return all(self._available(folder) >= size for folder in self._devices())

    def _available(self, folder: Path) -> int:
        """Return the bytes available for uploads and renditions, without those missing from the reserve."""
        free = _free(folder)
        return free - max(0, self._reserve - self.reserved) if folder == self._data else free

    def _devices(self) -> list[Path]:
        """Return one folder on each file system, the data folder first."""
        found: dict[int, Path] = {}
        for folder in self._folders:
            with suppress(FileNotFoundError):  # a cache may be removed while the service runs
                found.setdefault(folder.stat().st_dev, folder)
        return list(found.values())


def is_full(error: BaseException | None) -> bool:
    """Return whether an exception, or one of its causes, means that there is no space."""
    while error is not None:
        if isinstance(error, StorageFull) or (isinstance(error, OSError) and error.errno in FULL):
            return True
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_FULL:
            return True
        if type(error).__module__.startswith("obstore") and _of_store(str(error)):
            return True
        error = error.__cause__
    return False


def _of_store(text: str) -> bool:
    # obstore's errors have no code; these are the texts of its local store, S3 servers and Azure.
    return any(words in text for words in ("No space left on device", "os error 28", "os error 122", "StorageFull"))


def _free(folder: Path) -> int:
    told: Any = os.statvfs(folder)
    return int(told.f_bavail * told.f_frsize)


def _total(folder: Path) -> int:
    told: Any = os.statvfs(folder)
    return int(told.f_blocks * told.f_frsize)
