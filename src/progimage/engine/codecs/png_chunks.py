"""The chunks of a PNG (PNG, third edition, W3C, 2025, section 5.3)."""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP = b"XML:com.adobe.xmp\0"
"""Prefix of a text chunk with an XMP packet."""
_LONGEST_XMP = 1_000_000
_FRAMING = 12
"""Number of bytes of a chunk besides its data: length, name and checksum."""
_MAXIMUM = 200_000
"""Maximum number of chunks to read; 100 megapixels in chunks of 8 KiB have a quarter of that."""


def chunks(data: memoryview, maximum: int = _MAXIMUM) -> Iterator[tuple[int, bytes, memoryview]]:
    """Yield the chunks of a file up to its end or the first invalid chunk.

    Args:
        data: The file, or enough of its beginning.
        maximum: Maximum number of chunks.

    Yields:
        Offset, name and data of each chunk; the data is shorter than its length field if the file is truncated.
    """
    return islice(_all_chunks(data), maximum)


def _all_chunks(data: memoryview) -> Iterator[tuple[int, bytes, memoryview]]:
    at = len(SIGNATURE)
    while at + _FRAMING <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        yield at, bytes(data[at + 4 : at + 8]), data[at + 8 : at + 8 + length]
        at += _FRAMING + length


def chunk(name: bytes, body: bytes) -> bytes:
    """Return an encoded chunk."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def text_of(body: bytes) -> bytes:
    """Return the text of an international text chunk after its keyword (section 11.3.3.4); empty if it is invalid."""
    _, _, text = [*body[2:].split(b"\0", 2), b"", b""][:3]
    if body[:1] != b"\1":  # it is not compressed
        return text
    try:
        return zlib.decompressobj().decompress(text, _LONGEST_XMP)
    except zlib.error:
        return b""
