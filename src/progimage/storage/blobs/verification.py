"""Verify bytes against their hashes, and remember verified ones for a while."""

import asyncio
import errno
import hashlib
import os
from pathlib import Path

from cachetools import TTLCache

_REMEMBERED = 100_000
_DIGEST = "user.progimage.sha256"
"""Extended attribute with the hash of a file."""
_IN_A_THREAD = 128 * 1024
"""Files larger than this are hashed in a thread."""


class Verification:
    """Verifies SHA-256 hashes.

    Args:
        seconds: How long bytes count as verified. 0: they are verified on every read; None: never.

    Attributes:
        is_on: Whether bytes are verified.
    """

    def __init__(self, seconds: float | None = 0) -> None:
        self.is_on = seconds is not None
        self._right: TTLCache[tuple[str, int], bool] = TTLCache(_REMEMBERED, seconds or 0)

    async def is_file_right(self, name: str, file: Path, digest: bytes) -> bool:
        """Return whether a file is readable and has a hash; the result is remembered by name.

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
        except OSError:  # such as EIO for an unreadable sector
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
    """Return the SHA-256 of a file. Blocks."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def keep_digest(file: Path) -> None:
    """Hash a file, and store the hash with it if the file system has extended attributes. Blocks."""
    if hasattr(os, "setxattr"):
        try:
            os.setxattr(file, _DIGEST, hashed(file))
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise


def kept_digest(file: Path) -> bytes | None:
    """Return the SHA-256 stored with a file: empty if it has none, None if the file system has no extended attributes.

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
