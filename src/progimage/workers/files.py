"""The files of a task: opened by the server, and handed to the worker as descriptors.

A worker keeps what it was given for as long as it likes. So what it reads, it can't write; and what it wrote is copied
before anybody else relies on it.
"""

import asyncio
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from progimage.workers.sandbox import landlock_version

_AT_ONCE = 1024 * 1024
"""A file of up to so many bytes is copied without asking a thread to."""


async def readable(path: Path, files: ExitStack) -> int:
    """Open a file for a worker to read.

    Without Landlock a worker could open it anew through /proc to write, so that it gets a copy there.

    Args:
        path: The file.
        files: Closes it.

    Returns:
        A descriptor with a position of its own.
    """
    if landlock_version() == 0:
        path = await asyncio.to_thread(_copied, path, files)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    files.callback(os.close, descriptor)
    return descriptor


def writable(path: Path, files: ExitStack) -> int:
    """Make a file for a worker to write.

    Args:
        path: The file; what is there is removed.
        files: Closes it.

    Returns:
        A descriptor with a position of its own.
    """
    path.unlink(missing_ok=True)  # a worker that was killed just now may still hold what it had
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    files.callback(os.close, descriptor)
    return descriptor


async def own_copy(path: Path) -> None:
    """Put a copy in the place of a file that a worker has written, and may still hold open."""
    if path.stat().st_size <= _AT_ONCE:
        _replace_by_copy(path)
    else:
        await asyncio.to_thread(_replace_by_copy, path)


def _replace_by_copy(path: Path) -> None:
    copy = path.with_name(f"{path.name}-copy")
    try:
        shutil.copyfile(path, copy)  # in the kernel, and with no position that is shared
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)


def _copied(path: Path, files: ExitStack) -> Path:
    copy = path.with_name(f"{path.name}-copy")
    files.callback(copy.unlink, missing_ok=True)
    shutil.copyfile(path, copy)
    return copy
