"""The files of a task: the server opens them and passes their descriptors to the worker.

A worker can keep descriptors for as long as it likes. So it can't write to its inputs, and its outputs are copied
before they are used.
"""

import asyncio
import os
import shutil
from contextlib import ExitStack
from pathlib import Path

from progimage.workers.sandbox import landlock_version

_AT_ONCE = 1024 * 1024
"""Maximum size in bytes of files that are copied without using a thread."""


async def readable(path: Path, files: ExitStack) -> int:
    """Open a file for a worker to read.

    Without Landlock, a worker could reopen the file for writing through /proc, so it gets a copy.

    Args:
        path: The file.
        files: Closes the descriptor.

    Returns:
        A descriptor with its own position.
    """
    if landlock_version() == 0:
        path = await asyncio.to_thread(_copied, path, files)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    files.callback(os.close, descriptor)
    return descriptor


def writable(path: Path, files: ExitStack) -> int:
    """Create a file for a worker to write.

    Args:
        path: The file; an existing one is removed.
        files: Closes the descriptor.

    Returns:
        A descriptor with its own position.
    """
    path.unlink(missing_ok=True)  # a worker that was killed just now can still have the old file open
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    files.callback(os.close, descriptor)
    return descriptor


async def own_copy(path: Path) -> None:
    """Replace a file that a worker has written, and can still have open, by a copy."""
    if path.stat().st_size <= _AT_ONCE:
        _replace_by_copy(path)
    else:
        await asyncio.to_thread(_replace_by_copy, path)


def _replace_by_copy(path: Path) -> None:
    copy = path.with_name(f"{path.name}-copy")
    try:
        shutil.copyfile(path, copy)  # copied by the kernel, and without a shared position
        copy.replace(path)
    finally:
        copy.unlink(missing_ok=True)


def _copied(path: Path, files: ExitStack) -> Path:
    copy = path.with_name(f"{path.name}-copy")
    files.callback(copy.unlink, missing_ok=True)
    shutil.copyfile(path, copy)
    return copy
