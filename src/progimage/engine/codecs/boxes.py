"""The boxes of ISO base media files (ISO/IEC 14496-12, 4.2) and JPEG 2000 files (ISO/IEC 15444-1, I.4)."""

from collections.abc import Iterator
from typing import TypeAlias

Box: TypeAlias = tuple[bytes, bytes]
"""Type in 4 bytes, and content."""
_MAXIMUM = 100_000
"""Maximum number of consecutive boxes to search; more only serve to waste time."""


def boxes(data: bytes) -> Iterator[Box]:
    """Yield consecutive boxes. A box without a size extends to the end.

    Raises:
        ValueError: There are too many boxes, or a box is truncated or shorter than its own header.
    """
    for kind, start, end in places(data):
        yield kind, _cut(data, start, end)


def first(data: bytes, *path: bytes) -> bytes | None:
    """Return the content of the first box on a path of nested box types; None if there is none.

    Raises:
        ValueError: A box on the path is malformed or truncated.
    """
    for wanted in path:
        # Other boxes can be large and aren't copied.
        found = next(((start, end) for kind, start, end in places(data) if kind == wanted), None)
        if found is None:
            return None
        data = _cut(data, *found)
    return data


def after_last(data: bytes) -> int:
    """Return the number of bytes at the end of a file that belong to no box."""
    at = 0
    try:
        for kind, _, end in places(data):
            if end > len(data) or not kind.strip().replace(b"_", b"").isalnum():
                break
            at = end
    except ValueError:
        pass  # that isn't a valid box
    return len(data) - at


def _cut(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise ValueError("A box is truncated.")
    return data[start:end]


def places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, start and end of the content of each box; the end can exceed the data.

    Raises:
        ValueError: There are too many boxes, or a box is shorter than its own header.
    """
    at = 0
    for _ in range(_MAXIMUM):
        if at + 8 > len(data):
            return
        length, kind, header = number(data, at, 4), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = number(data, at + 8, 8), 16
        elif length == 0:
            length = len(data) - at
        if length < header:
            raise ValueError(f"The box {kind!r} is shorter than its header.")
        yield kind, at + header, at + length
        at += length
    raise ValueError("There are too many boxes.")


def number(data: bytes, at: int, count: int) -> int:
    """Return an unsigned big-endian number of `count` bytes.

    Raises:
        ValueError: The data is too short.
    """
    if at + count > len(data):
        raise ValueError("A box ends too early.")
    return int.from_bytes(data[at : at + count], "big")


def signed(data: bytes, at: int, count: int) -> int:
    """Return a signed big-endian number of `count` bytes in two's complement; see `number`."""
    value = number(data, at, count)
    return value - (value >> (8 * count - 1) << 8 * count)


def box(kind: bytes, *parts: bytes | memoryview) -> bytes:
    """Return an encoded box.

    Raises:
        ValueError: The box is longer than 4 GiB.
    """
    length = 8 + sum(map(len, parts))
    if length >> 32:
        raise ValueError(f"The box {kind!r} is too long.")
    return b"".join([length.to_bytes(4, "big"), kind, *parts])


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """Return an encoded box with version and flags before its content."""
    return box(kind, bytes([version]) + flags.to_bytes(3, "big"), *parts)
