"""Holding bytes that were read against their hash, and remembering for a while what was right."""

import asyncio
import errno
import hashlib
import os
from pathlib import Path

from cachetools import TTLCache

_REMEMBERED = 100_000
_DIGEST = "user.progimage.sha256"
"""The extended attribute of a file that has its hash."""
_IN_A_THREAD = 128 * 1024
"""A file that is larger than this is hashed in a thread."""


class Verification:
    """Holds bytes against their SHA-256.

    Args:
        seconds: What was right counts as right for so long; 0: all that is read is checked; None: nothing is.

    Attributes:
        is_on: Whether anything is checked.
    """

    def __init__(self, seconds: float | None = 0) -> None:
        """Start with an empty memory of what was right."""
        self.is_on = seconds is not None
        self._right: TTLCache[tuple[str, int], bool] = TTLCache(_REMEMBERED, seconds or 0)

    async def is_file_right(self, name: str, file: Path, digest: bytes) -> bool:
        """Return whether a file, which is known by a name, can be read and has a hash.

        Raises:
            FileNotFoundError: There is no such file.
        """
        if not self.is_on or (name, -1) in self._right:
            return True
        small = file.stat().st_size <= _IN_A_THREAD
        try:
            right = (hashed(file) if small else await asyncio.to_thread(hashed, file)) == digest
        except FileNotFoundError:
            raise
        except OSError:  # a disk that can't read a sector says EIO
            return False
        if right:
            self._right[name, -1] = True
        return right

    def is_chunk_right(self, name: str, number: int, data: bytes, digest: bytes) -> bool:
        """Return whether a chunk of a blob has a hash."""
        if not self.is_on or (name, number) in self._right:
            return True
        right = hashlib.sha256(data).digest() == digest
        if right:
            self._right[name, number] = True
        return right


def hashed(file: Path) -> bytes:
    """Return the SHA-256 of a file. It blocks."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def keep_digest(file: Path) -> None:
    """Hash a file, and keep the hash with it, if the file system has extended attributes. It blocks."""
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(file, _DIGEST, hashed(file))
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise


def kept_digest(file: Path) -> bytes | None:
    """Return the SHA-256 that is kept with a file; empty: it has none; None: no file of this file system has.

    Raises:
        FileNotFoundError: There is no such file.
    """
    if not hasattr(os, "getxattr"):
        return None
    try:
        return os.getxattr(file, _DIGEST)
    except OSError as error:
        if error.errno == errno.ENODATA:
            return b""
        if error.errno != errno.ENOTSUP:
            raise
        return None
