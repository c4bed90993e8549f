"""Caches on disk: files up to a size, the least recently used out first.

Each original has a folder of its own. A file's name is made of its owner and of what it is, so it outlives restarts,
and several processes can share one cache: a file appears by a rename, whole or not at all, and the file's own
modification time says when it was last used. There is no index to keep true.
"""

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

# A hit renews the time of use only if it is older than this, so that a hot file is not written to at every hit.
_RENEW_SECONDS = 5
# Nothing used so recently is removed: it may be on its way to a client.
_SPARED_SECONDS = 10
# When the disk is full, only what may not have been opened yet.
_OPENED_SECONDS = 1
# The cache is measured after so much was added by this process, as a share of the limit.
_MEASURE_SHARE = 32


class DiskCache:
    """Files by SHA-256, owner and name; an owner's name has no hyphen here.

    Args:
        root: The folder.
        limit: How many bytes it may take.
        limit_each: How many files of one image of one owner are kept.
    """

    def __init__(self, root: Path, limit: int, limit_each: int) -> None:
        """Make the folder."""
        self._root = root
        self._limit = limit
        self._limit_each = limit_each
        self._added = 0
        self._adding = threading.Lock()
        root.mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str, owner: str, name: str) -> Path | None:
        """Return the file, if it is there, and note that it was used."""
        path = self._path(sha256, owner, name)
        try:
            used = path.stat().st_mtime
            if time.time() - used > _RENEW_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def add(self, sha256: str, owner: str, name: str, file: Path) -> Path:
        """Move a file in. It blocks, longer when the cache is full and others have to go."""
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
        """Remove all files of one original, or those of one owner."""
        folder = self._folder(sha256)
        if owner is None:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for path in folder.glob(f"{owner}-*"):
            path.unlink(missing_ok=True)
        _remove_if_empty(folder)

    def originals(self) -> list[str]:
        """Return the SHA-256 of every original that has files here."""
        return [folder.name for folder in self._root.glob("*/*") if folder.is_dir()]

    def keep_only(self, sha256: str, owners: set[str]) -> None:
        """Remove the files of one original that are of other owners."""
        folder = self._folder(sha256)
        for path in folder.glob("*"):
            if path.name.partition("-")[0] not in owners:
                path.unlink(missing_ok=True)
        _remove_if_empty(folder)

    def shrink(self) -> None:
        """Remove the least recently used files until there is room again; one process at a time does so."""
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
        """Remove the least recently used files until so many bytes are free again, and return how many were. It blocks.

        A file that was used in the last second stays: it may be on its way to a client, who has yet to open it.
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
        """Let the least recently used go, if there are too many: whoever asks for ever more has only his own go."""
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
                return  # otherwise the folder was empty, and was removed just now

    def _folder(self, sha256: str) -> Path:
        return self._root / sha256[:2] / sha256

    def _path(self, sha256: str, owner: str, name: str) -> Path:
        return self._folder(sha256) / f"{owner}-{name}"


def _measured(paths: Iterable[Path]) -> list[tuple[float, int, Path]]:
    """Return when each file was last used, and its size; those that are gone are left out."""
    found = []
    for path in paths:
        with suppress(FileNotFoundError):
            status = path.stat()
            found.append((status.st_mtime, status.st_size, path))
    return found


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
