"""What was deleted, told to every process of this node at once, so that each may keep in memory what it has read.

A file that all of them map into memory has a number for each group of references, which changes whenever one of the
group is deleted. Whoever keeps something notes the number before reading it from the database; as long as the number
is the same, what was read is still true. Looking costs no system call.
"""

import mmap
import time
import zlib
from pathlib import Path

_GROUPS = 4096
_NUMBER = 8  # bytes


class Deletions:
    """The numbers.

    Args:
        path: The file; it is made if need be.
    """

    def __init__(self, path: Path) -> None:
        """Map the file into memory."""
        with path.open("a+b") as file:
            file.truncate(_GROUPS * _NUMBER)
            self._map = mmap.mmap(file.fileno(), _GROUPS * _NUMBER)
        self._numbers = memoryview(self._map).cast("Q")

    def state(self, reference: str) -> int:
        """Return the number of a reference's group."""
        return self._numbers[_group(reference)]

    def mark(self, reference: str) -> None:
        """Change the number of a reference's group, after the deletion was committed."""
        # Any number will do that was not there before: two processes that mark at once need no lock.
        self._numbers[_group(reference)] = time.time_ns()

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()


def _group(reference: str) -> int:
    return zlib.crc32(reference.encode()) % _GROUPS
