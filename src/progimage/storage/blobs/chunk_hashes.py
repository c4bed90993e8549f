"""Hashes of the chunks of an original, to verify a part of it without reading all of it.

Each chunk of 1 MiB has a SHA-256; the hashes are concatenated. An original of one chunk needs none: its name is its
hash.
"""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

CHUNK = 1024 * 1024
Digests = bytes
"""Concatenated hashes of chunks, 32 bytes each."""
_DIGEST = 32


class WrongBytes(Exception):
    """A chunk differs from the upload."""


class ChunkHasher:
    """Hashes bytes as they arrive: the whole, and each chunk.

    Example:
        >>> hasher = ChunkHasher()
        >>> hasher.update(b"abc")
        >>> hasher.sha256[:8], hasher.chunks
        ('ba7816bf', b'')
    """

    def __init__(self) -> None:
        self._whole, self._chunk = hashlib.sha256(), hashlib.sha256()
        self._done = bytearray()
        self._size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Add bytes."""
        self._whole.update(data)
        rest = memoryview(data)
        while rest:
            piece = rest[: CHUNK - self._size % CHUNK]
            self._chunk.update(piece)
            self._size += len(piece)
            if self._size % CHUNK == 0:
                self._end_chunk()
            rest = rest[len(piece) :]

    def _end_chunk(self) -> None:
        self._done += self._chunk.digest()
        self._chunk = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Hash of all bytes, in hexadecimal digits."""
        return self._whole.hexdigest()

    @property
    def chunks(self) -> bytes:
        """Hashes of the chunks, 32 bytes each; empty if there is only one chunk."""
        if self._size <= CHUNK:
            return b""
        return bytes(self._done) + (self._chunk.digest() if self._size % CHUNK else b"")


Read = Callable[[int, int], AsyncIterator[bytes]]
"""Reads the bytes from a start to an end (exclusive)."""


async def checked_bytes(
    read: Read,
    sha256: str,
    size: int,
    chunks: bytes,
    start: int,
    end: int,
    is_right: Callable[[int, bytes, bytes], bool],
) -> AsyncIterator[bytes]:
    """Read a part of an original. Each chunk is verified before any of it is yielded.

    Without chunk hashes, a whole original is verified before its last piece is yielded, and a part isn't verified.

    Args:
        read: Reads the bytes.
        sha256: SHA-256 of the original.
        size: Size of the original in bytes.
        chunks: Hashes of its chunks; empty if it has only one, or if they are unknown.
        start: First byte to read.
        end: End of the part (exclusive).
        is_right: Returns whether a chunk, given its number and bytes, has a hash.

    Raises:
        WrongBytes: A chunk differs, or ends too early.
    """
    if size > CHUNK and not chunks:
        async with aclosing(_whole(read, sha256, size, start, end)) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                yield piece
        return
    first = start // CHUNK
    digests = chunks or bytes.fromhex(sha256)
    position, buffer = first * CHUNK, bytearray()
    last = min(size, -(-end // CHUNK) * CHUNK)
    number = first

    def taken() -> bytes:
        """Return the requested part of the chunk in the buffer, verified."""
        data = bytes(buffer)
        if not is_right(number, data, digests[number * _DIGEST : (number + 1) * _DIGEST]):
            raise WrongBytes(sha256)
        begin = number * CHUNK
        return data[max(0, start - begin) : end - begin]

    async with aclosing(read(position, last)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            rest = memoryview(piece)
            while rest:
                room = min(CHUNK, last - number * CHUNK) - len(buffer)
                if room <= 0:
                    raise WrongBytes(sha256)
                buffer += rest[:room]
                rest = rest[room:]
                if len(buffer) == min(CHUNK, last - number * CHUNK):
                    yield taken()
                    buffer.clear()
                    number += 1
    if number * CHUNK < last:
        raise WrongBytes(sha256)


async def _whole(read: Read, sha256: str, size: int, start: int, end: int) -> AsyncIterator[bytes]:
    digest, held, count = hashlib.sha256(), b"", 0
    async with aclosing(read(start, end)) as pieces:  # type: ignore[type-var]
        async for piece in pieces:
            digest.update(piece)
            count += len(piece)
            if held:
                yield held
            held = piece
    if count != end - start or (count == size and digest.hexdigest() != sha256):
        raise WrongBytes(sha256)
    if held:
        yield held
