"""GIF: its frames, how often they are played, and its colour profile (CompuServe, GIF89a, 1990)."""

import struct

from progimage.engine.metadata import Buffer, Kept

_HEADER, _IMAGE = 13, 10
_EXTENSION, _SEPARATOR, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOPS, _PROFILE = (b"NETSCAPE2.0", b"ANIMEXTS1.0"), b"ICCRGBG1012"


def stripped_gif(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a GIF without its metadata: comments, texts, and what applications have put into it.

    Args:
        data: The file.
        kept: What stays.

    Raises:
        ValueError: It has no frame, or one that is cut off, or that reaches beyond the canvas.
    """
    canvas = struct.unpack_from("<HH", data, 6)
    at = _HEADER + _table(data[10])
    written: list[Buffer] = [data[:at]]
    frames = 0
    while at < len(data) and data[at] in (_EXTENSION, _SEPARATOR):
        start = at
        if data[at] == _SEPARATOR:
            _check_place(struct.unpack_from("<HHHH", data, at + 1), canvas)
            at = _after_blocks(data, at + _IMAGE + _table(data[at + _IMAGE - 1]) + 1)
            frames += 1
            needed = True
        else:
            name = bytes(data[at + 3 : at + 14]) if data[at + 1] == _APPLICATION else b""
            needed = data[at + 1] == _GRAPHIC_CONTROL or name in _LOOPS or (name == _PROFILE and kept.icc)
            at = _after_blocks(data, at + 2)
        if needed:
            written.append(data[start:at])
    if not frames:
        raise ValueError("It has no frame.")
    return [*written, bytes([_TRAILER])]


def _check_place(place: tuple[int, ...], canvas: tuple[int, ...]) -> None:
    """Refuse what viewers don't agree on, and what is hidden outside of the canvas."""
    left, top, width, height = place
    if left + width > canvas[0] or top + height > canvas[1]:
        raise ValueError("A frame reaches beyond the canvas.")


def _table(flags: int) -> int:
    """Return how long a colour table is, in bytes."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def _after_blocks(data: memoryview, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    if at >= len(data):
        raise ValueError("Its last block is cut off.")
    return at + 1
