"""The chunks that a PNG is made of (PNG, third edition, W3C, 2025, section 5.3)."""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FRAMING = 12
"""Bytes of a chunk beside its body: length, name and checksum."""
_MOST = 200_000
"""What is beyond is not looked at: 100 megapixels in chunks of 8 KiB have a quarter of that."""


def chunks(data: memoryview, most: int = _MOST) -> Iterator[tuple[int, bytes, memoryview]]:
    """Go through the chunks of a file, to its end or to where it is broken.

    Args:
        data: The file, or enough of its beginning.
        most: After how many to end.

    Yields:
        Where a chunk is, its name, and its body, which is shorter than it says if the data end before.
    """
    return islice(_all_chunks(data), most)


def _all_chunks(data: memoryview) -> Iterator[tuple[int, bytes, memoryview]]:
    at = len(SIGNATURE)
    while at + _FRAMING <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield at, bytes(data[at + 4 : at + 8]), data[at + 8 : at + 8 + length]
        at += _FRAMING + length


def chunk(name: bytes, body: bytes) -> bytes:
    """Return a chunk as a file has it."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
