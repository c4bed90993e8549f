"""Making files durable: safe on disk, not only in the kernel's memory."""

import errno
import os
from pathlib import Path

PRIVATE = 0o700
"""The permissions of a folder for the service's own user."""


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on disk."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Wait until a folder's entries are on disk: a file in it survives a crash only then."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder with its parents, durably; one that exists is left as it is.

    Args:
        path: The folder.
        mode: Its permissions, less those of the umask.
    """
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(mode, parents=True, exist_ok=True)
    for folder in reversed(missing):
        sync_folder(folder.parent)


def allocate(descriptor: int, size: int) -> None:
    """Make a file at least so large, and have room on the disk for all of it; what is in it stays.

    Raises:
        OSError: There is no room.
    """
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
            raise
        there = os.pread(descriptor, size, 0)  # this file system can't promise room, so it is taken
        os.pwrite(descriptor, there.ljust(size, b"\0"), 0)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
