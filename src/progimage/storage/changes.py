"""What was changed, told to every process of this node at once, so that each may keep in memory what it has read.

A file that all of them map into memory has a number for each group of names, which changes whenever what one of the
group stands for does: an image is deleted or made private, a key is revoked. Whoever keeps something notes the number
before reading it from the database; as long as the number is the same, what was read is still true. Looking costs no
system call.
"""

import mmap
import time
import zlib
from pathlib import Path

_GROUPS = 4096
_NUMBER = 8  # bytes


class Changes:
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

    def state(self, name: str) -> int:
        """Return the number of a name's group; a name is a reference, or the id of a key."""
        return self._numbers[_group(name)]

    def mark(self, name: str) -> None:
        """Change the number of a name's group, after the change was committed."""
        # Any number will do that was not there before: two processes that mark at once need no lock.
        self._numbers[_group(name)] = time.time_ns()

    def close(self) -> None:
        """Let go of the file."""
        self._numbers.release()
        self._map.close()


def _group(name: str) -> int:
    return zlib.crc32(name.encode()) % _GROUPS
