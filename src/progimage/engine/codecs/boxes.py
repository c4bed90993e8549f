"""Boxes, as ISO base media files (ISO/IEC 14496-12, 4.2) and JPEG 2000 files (ISO/IEC 15444-1, I.4) are made of."""

from collections.abc import Iterator
from typing import TypeAlias

Box: TypeAlias = tuple[bytes, bytes]
"""What kind it is, in 4 bytes, and what is in it."""
_MOST = 100_000
"""So many boxes one after the other are searched; more are there only to take time."""


def boxes(data: bytes) -> Iterator[Box]:
    """Yield boxes one after the other; one without a size reaches to the end.

    Raises:
        ValueError: There are too many, or one is cut off, or says that it is shorter than its own header.
    """
    for kind, start, end in places(data):
        yield kind, _cut(data, start, end)


def first(data: bytes, *path: bytes) -> bytes | None:
    """Return what is in the first box of a kind, in the first of another kind, and so on; None if there is none.

    Raises:
        ValueError: A box on the way is malformed, or the one that is wanted is cut off.
    """
    for wanted in path:
        # Others may be large, and aren't copied.
        found = next(((start, end) for kind, start, end in places(data) if kind == wanted), None)
        if found is None:
            return None
        data = _cut(data, *found)
    return data


def after_last(data: bytes) -> int:
    """Return how many bytes at the end of a file belong to none of its boxes."""
    at = 0
    try:
        for kind, _, end in places(data):
            if end > len(data) or not kind.strip().replace(b"_", b"").isalnum():
                break
            at = end
    except ValueError:
        pass  # such a box is none
    return len(data) - at


def _cut(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise ValueError("A box is cut off.")
    return data[start:end]


def places(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind of each box, and where its content begins and ends, which may be behind the data.

    Raises:
        ValueError: There are too many, or one says that it is shorter than its own header.
    """
    at = 0
    for _ in range(_MOST):
        if at + 8 > len(data):
            return
        length, kind, header = number(data, at, 4), data[at + 4 : at + 8], 8
        if length == 1:
            length, header = number(data, at + 8, 8), 16
        elif length == 0:
            length = len(data) - at
        if length < header:
            raise ValueError(f"The box {kind!r} has no room for its header.")
        yield kind, at + header, at + length
        at += length
    raise ValueError("There are too many boxes.")


def number(data: bytes, at: int, count: int) -> int:
    """Return an unsigned number of so many bytes, the greatest first.

    Raises:
        ValueError: The data end before it does.
    """
    if at + count > len(data):
        raise ValueError("A box ends too early.")
    return int.from_bytes(data[at : at + count], "big")


def signed(data: bytes, at: int, count: int) -> int:
    """Return a number in two's complement, likewise."""
    value = number(data, at, count)
    return value - (value >> (8 * count - 1) << 8 * count)


def box(kind: bytes, *parts: bytes | memoryview) -> bytes:
    """Return a box with some content.

    Raises:
        ValueError: It is longer than 4 GiB.
    """
    length = 8 + sum(map(len, parts))
    if length >> 32:
        raise ValueError(f"The box {kind!r} is too long.")
    return b"".join([length.to_bytes(4, "big"), kind, *parts])


def full_box(kind: bytes, version: int, flags: int, *parts: bytes) -> bytes:
    """Return a box with a version and flags before its content."""
    return box(kind, bytes([version]) + flags.to_bytes(3, "big"), *parts)
