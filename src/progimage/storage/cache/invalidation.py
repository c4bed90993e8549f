"""Invalidation of what the processes of this node keep in memory.

All processes map one file into memory. It has a number for each group of names, which changes whenever an object of the
group does: an image is deleted or made private, a key is revoked. A process reads the number before it reads an object
from the database. As long as the number is the same, the object is up to date. A check needs no system call.
"""

import mmap
import os
import sys
import time
import zlib
from contextlib import suppress
from pathlib import Path

from progimage.storage.durable import allocate

_GROUPS = 4096
_NUMBER = 8  # bytes


class Changes:
    """Numbers that change with the objects.

    Args:
        path: The shared file; created if missing.
    """

    def __init__(self, path: Path) -> None:
        # Writing to mapped memory would kill the process if the disk is full; a system call only fails.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.truncate(self._file, _GROUPS * _NUMBER)
        with suppress(OSError):  # the disk is full, and an earlier version has left the file sparse
            allocate(self._file, _GROUPS * _NUMBER)
        self._map = mmap.mmap(self._file, _GROUPS * _NUMBER, access=mmap.ACCESS_READ)
        self._numbers = memoryview(self._map).cast("Q")

    def state(self, name: str) -> int:
        """Return the number of a name's group. A name is a reference or the ID of a key."""
        return self._numbers[_group(name)]

    def mark(self, name: str) -> None:
        """Change the number of a name's group, after the change was committed.

        Raises:
            OSError: The disk is full, and the file is sparse.
        """
        # Any new number will do, so two processes can do this at once without a lock.
        os.pwrite(self._file, time.time_ns().to_bytes(_NUMBER, sys.byteorder), _group(name) * _NUMBER)

    def close(self) -> None:
        """Close the file."""
        self._numbers.release()
        self._map.close()
        os.close(self._file)


def _group(name: str) -> int:
    return zlib.crc32(name.encode()) % _GROUPS
