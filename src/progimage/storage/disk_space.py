"""Room on this node's disks: who may take it, what goes first when it runs out, and a reserve for deleting.

When a disk fills up, caches go first: they can be made again. Then uploads and renditions are refused, and what is
left, the reserve, is for the database: it has to write in order to delete. The reserve is a file, so that no other
program takes that room; it is given up piece by piece, and made again when there is room.
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
"""How the operating system says that there is no room: on the disk, for this user, or for this process."""
WRITABLE = 1024 * 1024
"""So much is kept free for the database; the reserve is given up by as much at a time."""
_SLACK = 1024 * 1024
"""An upload leaves so much free, for the smaller copies and the folders that come with it."""
_EVICTED_AT_ONCE = 32 * 1024 * 1024
_LARGEST_SHARE = 16
"""The reserve is at most this part of its file system."""


class StorageFull(Exception):
    """There is no room, and nothing in the caches that could make room."""

    def __init__(self, detail: str = "There is no room left to store this.") -> None:
        """Set the message."""
        super().__init__(detail)


class DiskSpace:
    """The room on the file systems of the data folder and of the folders in it.

    Args:
        data: The data folder.
        reserve: How many bytes are kept for deleting.
        caches: What may be evicted.
        folders: Where files are written, if that is on other file systems.
    """

    def __init__(
        self, data: Path, reserve: int, caches: Sequence[DiskCache] = (), folders: Sequence[Path] = ()
    ) -> None:
        """Look at the file systems; nothing is written yet."""
        self._data, self._file, self._caches = data, data / "reserve", caches
        self._folders = [data, *folders]
        data.mkdir(parents=True, exist_ok=True)
        self._opened = data.stat()
        self._reserve = min(reserve, _total(data) // _LARGEST_SHARE)
        self._evicting = threading.Lock()
        self._was_full = False

    def free(self) -> dict[str, int]:
        """Return how many bytes are free for this user, by the name of each file system's folder."""
        return {folder.name if folder != self._data else "data": _free(folder) for folder in self._devices()}

    @property
    def reserved(self) -> int:
        """How large the reserve is now."""
        try:
            return self._file.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def is_full(self) -> bool:
        """Whether uploads are refused."""
        return any(self._available(folder) < _SLACK for folder in self._devices())

    async def admit(self, size: int) -> None:
        """See to it that there is room for so many bytes, and evict what is cached if need be.

        Raises:
            StorageFull: There is no room.
        """
        size += _SLACK
        if self._has_room(size):
            return
        await asyncio.to_thread(self.evict, size)
        if not self._has_room(size):
            raise StorageFull

    async def retried(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do what writes files; if it finds no room, evict what is cached and do it once more.

        Raises:
            StorageFull: There is still no room.
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
        """Evict the least recently used files of the caches until so many bytes are available. It blocks.

        Returns:
            How many bytes were evicted, which may be fewer than are missing.
        """
        with self._evicting:
            freed = 0
            for folder in self._devices():
                for cache in self._caches:
                    missing = wanted - self._available(folder)
                    if missing > 0 and cache.is_on(folder):
                        freed += cache.evict(missing)
        if freed:
            log.info("what was cached was evicted, since the disk is full", bytes=freed)
        return freed

    def keep_writable(self) -> None:
        """See to it that the database can write: evict what is cached, or give up some of the reserve. It blocks."""
        if _free(self._data) >= WRITABLE:
            return
        self.evict(2 * WRITABLE)
        if _free(self._data) >= WRITABLE:
            return
        with suppress(FileNotFoundError), self._file.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = os.fstat(file.fileno()).st_size
            if size and _free(self._data) < WRITABLE:  # no other process has done it just now
                os.ftruncate(file.fileno(), max(0, size - WRITABLE))
                log.warning("some of the reserve was given up, since the disk is full", left=max(0, size - WRITABLE))

    def restore(self) -> None:
        """Make the reserve again if there is room for it, and evict what is cached if there is little. It blocks."""
        full = self.is_full
        if full != self._was_full:
            self._was_full = full
            if full:
                log.warning("storage is full: uploads and new renditions are refused", free=self.free())
            else:
                log.warning("there is room again: uploads are accepted", free=self.free())
        if not self._has_room(4 * _SLACK):
            self.evict(4 * _SLACK)
        missing = self._reserve - self.reserved
        if not os.path.samestat(self._opened, self._data.stat()):
            return  # the volume that was mounted there is not, any more
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
                os.ftruncate(file.fileno(), size)  # somebody else took the room just now

    def _has_room(self, size: int) -> bool:
        return all(self._available(folder) >= size for folder in self._devices())

    def _available(self, folder: Path) -> int:
        """Return how many bytes uploads and renditions may take: what the reserve lacks is not theirs."""
        free = _free(folder)
        return free - max(0, self._reserve - self.reserved) if folder == self._data else free

    def _devices(self) -> list[Path]:
        """Return a folder of each file system, the data folder first."""
        found: dict[int, Path] = {}
        for folder in self._folders:
            with suppress(FileNotFoundError):  # a cache may be removed while the service runs
                found.setdefault(folder.stat().st_dev, folder)
        return list(found.values())


def is_full(error: BaseException | None) -> bool:
    """Return whether an exception says, or was caused by another that says, that there is no room."""
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
    # obstore's errors have no number; this is how its local store, S3 servers and Azure call it.
    return any(words in text for words in ("No space left on device", "os error 28", "os error 122", "StorageFull"))


def _free(folder: Path) -> int:
    told: Any = os.statvfs(folder)
    return int(told.f_bavail * told.f_frsize)


def _total(folder: Path) -> int:
    told: Any = os.statvfs(folder)
    return int(told.f_blocks * told.f_frsize)
