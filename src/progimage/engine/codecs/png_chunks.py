"""The chunks that a PNG is made of (PNG, third edition, W3C, 2025, section 5.3)."""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice

SIGNATURE = b"\x89PNG\r\n\x1a\n"
XMP = b"XML:com.adobe.xmp\0"
"""What a text chunk with an XMP packet begins with."""
_LONGEST_XMP = 1_000_000
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


def text_of(body: bytes) -> bytes:
    """Return the text of an international text chunk, behind its keyword (section 11.3.3.4); empty if it is broken."""
    _, _, text = [*body[2:].split(b"\0", 2), b"", b""][:3]
    if body[:1] != b"\1":  # it is not compressed
        return text
    try:
        return zlib.decompressobj().decompress(text, _LONGEST_XMP)
    except zlib.error:
        return b""
