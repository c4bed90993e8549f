"""What was changed, told to every process of this node at once, so that each may keep in memory what it has read.

A file that all of them map into memory has a number for each group of names, which changes whenever what one of the
group stands for does: an image is deleted or made private, a key is revoked. Whoever keeps something notes the number
before reading it from the database; as long as the number is the same, what was read is still true. Looking costs no
system call.
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
    """The numbers.

    Args:
        path: The file; it is made if need be.
    """

    def __init__(self, path: Path) -> None:
        """Map the file into memory."""
        # Writing to memory would end the process where there is no room on the disk; a system call fails.
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        os.truncate(self._file, _GROUPS * _NUMBER)
        with suppress(OSError):  # the disk is full; a version before this one has left the file without its room
            allocate(self._file, _GROUPS * _NUMBER)
        self._map = mmap.mmap(self._file, _GROUPS * _NUMBER, access=mmap.ACCESS_READ)
        self._numbers = memoryview(self._map).cast("Q")

    def state(self, name: str) -> int:
        """Return the number of a name's group; a name is a reference, or the id of a key."""
        return self._numbers[_group(name)]

    def mark(self, name: str) -> None:
        """Change the number of a name's group, after the change was committed.

        Raises:
            OSError: The disk is full, and the file did not have its room before.
        """
        # Any number will do that was not there before: two processes that mark at once need no lock.
        os.pwrite(self._file, time.time_ns().to_bytes(_NUMBER, sys.byteorder), _group(name) * _NUMBER)

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()
        os.close(self._file)


def _group(name: str) -> int:
    return zlib.crc32(name.encode()) % _GROUPS
