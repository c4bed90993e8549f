"""Make files durable: safe on disk, not only in the kernel's memory."""

import errno
import os
from pathlib import Path

PRIVATE = 0o700
"""Permissions of a folder that only the service's user can access."""


def sync_file(path: Path) -> None:
    """Wait until the bytes of a file are on disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until the entries of a folder are on disk. Only then do new files in it survive a crash."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Create a folder and its parents durably, unless it exists.

    Args:
        path: The folder.
        mode: Its permissions, before the umask.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_folder(folder.parent)


def allocate(descriptor: int, size: int) -> None:
    """Extend a file to at least a size, and allocate disk space for all of it. Its contents are kept.

    Raises:
        OSError: There isn't enough space.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        there = os.pread(descriptor, size, 0)  # this file system can't preallocate: write the bytes
        os.pwrite(descriptor, there.ljust(size, b"\0"), 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
