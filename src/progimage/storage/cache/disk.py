"""Caches on disk with a size limit and least-recently-used eviction.

Each original has its own folder. File names consist of the owner and the name, so the cache survives restarts. Several
processes can share a cache: a file appears complete, by a rename, and its modification time is the time of its last
use. There is no index that could get out of sync.
"""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# A hit updates the time of use only if it is older than this, so that hot files aren't touched at every hit.
_RENEW_SECONDS = 5
# Files used more recently aren't removed: they may be on their way to a client.
_SPARED_SECONDS = 10
# The same when the disk is full: just long enough for the client's file to be opened.
_OPENED_SECONDS = 1
# The cache is measured each time this process has added 1/32 of the limit.
_MEASURE_SHARE = 32


class DiskCache:
    """Files by SHA-256, owner and name. The owner must not contain a hyphen.

    Args:
        root: Folder of the cache.
        limit: Maximum size in bytes.
        limit_each: Maximum number of files per original and owner.
    """

    def __init__(self, root: Path, limit: int, limit_each: int) -> None:
        self._root = root
        self._limit = limit
        self._limit_each = limit_each
        self._added = 0
        self._adding = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str, owner: str, name: str) -> Path | None:
        """Return a file if it is cached, and record its use."""
        path = self._path(sha256, owner, name)
        try:
            used = path.stat().st_mtime
            if time.time() - used > _RENEW_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def add(self, sha256: str, owner: str, name: str, file: Path) -> Path:
        """Move a file into the cache. Blocks, longer if the cache is full and files are evicted."""
        size = file.stat().st_size
        path = self._path(sha256, owner, name)
        self._move(file, path)
        self._thin_out(path.parent, f"{owner}-")
        with self._adding:
            self._added += size
            full = self._added * _MEASURE_SHARE > self._limit
            if full:
                self._added = 0
        if full:
            self.shrink()
        return path

    def remove(self, sha256: str, owner: str | None = None) -> None:
        """Remove all files of an original, or only those of one owner."""
        folder = self._folder(sha256)
        if owner is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.glob(f"{owner}-*"):
            path.unlink(missing_ok=True)
        _remove_if_empty(folder)

    def originals(self) -> list[str]:
        """Return the SHA-256 of each original with cached files."""
        return [folder.name for folder in self._root.glob("*/*") if folder.is_dir()]

    def keep_only(self, sha256: str, owners: set[str]) -> None:
        """Remove the files of an original, except those of some owners."""
        folder = self._folder(sha256)
        for path in folder.glob("*"):
            if path.name.partition("-")[0] not in owners:
                path.unlink(missing_ok=True)
        _remove_if_empty(folder)

    def shrink(self) -> None:
        """Remove the least recently used files until the size is within the limit; one process at a time does so."""
        with (self._root / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = sorted(_measured(self._root.glob("*/*/*")))
            size = sum(bytes_ for _, bytes_, _ in files)
            room = self._limit - self._limit // 8
            for used, bytes_, path in files:
                if size <= room or used > time.time() - _SPARED_SECONDS:
                    break
                path.unlink(missing_ok=True)
                _remove_if_empty(path.parent)
                size -= bytes_

    def is_on(self, folder: Path) -> bool:
        """Return whether the cache is on the same file system as a folder."""
        try:
            return self._root.stat().st_dev == folder.stat().st_dev
        except FileNotFoundError:
            return False

    def evict(self, wanted: int) -> int:
        """Remove the least recently used files until a number of bytes are freed, and return how many were. Blocks.

        Files used in the last second are kept: they may be about to be opened for a client.
        """
        freed = 0
        for used, bytes_, path in sorted(_measured(self._root.glob("*/*/*"))):
            if freed >= wanted or used > time.time() - _OPENED_SECONDS:
                break
            path.unlink(missing_ok=True)
            _remove_if_empty(path.parent)
            freed += bytes_
        return freed

    def _thin_out(self, folder: Path, prefix: str) -> None:
        """Remove the least recently used files of an original and owner if there are too many.

        A caller that requests ever more renditions only evicts those of the same image.
        """
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.startswith(prefix)]
        if len(names) > self._limit_each:
            files = sorted(_measured(folder / name for name in names))
            for used, _, path in files[: len(files) - self._limit_each + self._limit_each // 8]:
                if used > time.time() - _SPARED_SECONDS:
                    break
                path.unlink(missing_ok=True)

    def _move(self, file: Path, path: Path) -> None:
        while True:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                file.replace(path)
            except FileNotFoundError:
                if not file.exists():
                    raise
            else:
                return  # otherwise the empty folder has just been removed by another process

    def _folder(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def _path(self, sha256: str, owner: str, name: str) -> Path:
        return self._folder(sha256) / f"{owner}-{name}"


def _measured(paths: Iterable[Path]) -> list[tuple[float, int, Path]]:
    """Return time of last use, size and path of each file; files that no longer exist are skipped."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    return found


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
