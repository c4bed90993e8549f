"""The cache of renditions: files on disk, up to a size, the least recently used out first.

A rendition's name is made of its original's SHA-256 and its spec, so it outlives restarts, and several processes can
share one folder: a file appears by a rename, whole or not at all, and the file's own modification time says when it was
last used. There is no index to keep true.
"""

import fcntl
import os
import threading
import time
from pathlib import Path

# A hit renews the time of use only if it is older than this, so that a hot file is not written to at every hit.
_RENEW_SECONDS = 5
# Nothing used so recently is removed: it may be on its way to a client.
_SPARED_SECONDS = 10
# The cache is measured after so much was added by this process, as a share of the limit.
_MEASURE_SHARE = 32


class RenditionCache:
    """Files by SHA-256 and name.

    Args:
        root: The folder.
        limit: How many bytes it may take.
    """

    def __init__(self, root: Path, limit: int) -> None:
        """Make the folder."""
        self._root = root
        self._limit = limit
        self._added = 0
        self._adding = threading.Lock()
        for prefix in range(256):
            (root / f"{prefix:02x}").mkdir(parents=True, exist_ok=True)

    def get(self, sha256: str, name: str) -> Path | None:
        """Return the file, if it is there, and note that it was used."""
        path = self._path(sha256, name)
        try:
            used = path.stat().st_mtime
            if time.time() - used > _RENEW_SECONDS:
                os.utime(path)
        except FileNotFoundError:
            return None
        return path

    def add(self, sha256: str, name: str, file: Path) -> Path:
        """Move a file in. It blocks, longer when the cache is full and others have to go."""
        size = file.stat().st_size
        path = self._path(sha256, name)
        file.replace(path)
        with self._adding:
            self._added += size
            full = self._added * _MEASURE_SHARE > self._limit
            if full:
                self._added = 0
        if full:
            self.shrink()
        return path

    def remove(self, sha256: str) -> None:
        """Remove all renditions of one original."""
        for path in (self._root / sha256[:2]).glob(f"{sha256}-*"):
            path.unlink(missing_ok=True)

    def shrink(self) -> None:
        """Remove the least recently used files until there is room again; one process at a time does so."""
        with (self._root / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = sorted(self._files())
            size = sum(bytes_ for _, bytes_, _ in files)
            room = self._limit - self._limit // 8
            for used, bytes_, path in files:
                if size <= room or used > time.time() - _SPARED_SECONDS:
                    break
                path.unlink(missing_ok=True)
                size -= bytes_

    def _files(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self._root.glob("*/*-*"):
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            found.append((status.st_mtime, status.st_size, path))
        return found

    def _path(self, sha256: str, name: str) -> Path:
        return self._root / sha256[:2] / f"{sha256}-{name}"
