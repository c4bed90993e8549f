"""GIF: frames, number of plays, and colour profile (CompuServe, GIF89a, 1990)."""

import struct

from progimage.engine.metadata import Buffer, Kept

_HEADER, _IMAGE = 13, 10
_EXTENSION, _SEPARATOR, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_CONTROL, _NAME = 4, 11
"""Length of the first block of an extension."""
_LOOPS, _PROFILE = (b"NETSCAPE2.0", b"ANIMEXTS1.0"), b"ICCRGBG1012"


def stripped_gif(data: memoryview, kept: Kept) -> list[Buffer]:
    """Return a GIF without its metadata: comments, texts, and data of applications.

    Args:
        data: The file.
        kept: The metadata to keep.

    Raises:
        ValueError: There is no frame, or a frame is truncated or extends beyond the canvas.
    """
    canvas = struct.unpack_from("<HH", data, 6)
    at = _HEADER + _table(data[10])
    written: list[Buffer] = [data[:at]]
    frames = 0
    while at < len(data) and data[at] in (_EXTENSION, _SEPARATOR, 0):
        start = at
        if data[at] == 0:  # a superfluous empty sub-block
            at += 1
        elif data[at] == _SEPARATOR:
            _check_place(struct.unpack_from("<HHHH", data, at + 1), canvas)
            at = _after_blocks(data, at + _IMAGE + _table(data[at + _IMAGE - 1]) + 1)
            frames += 1
            written.append(data[start:at])
        else:
            at = _after_blocks(data, at + 2)
            written.append(_extension(bytes(data[start:at]), kept))
    if not frames:
        raise ValueError("There is no frame.")
    return [*written, bytes([_TRAILER])]


def _extension(whole: bytes, kept: Kept) -> bytes:
    """Return the parts of an extension, with all of its blocks, that are needed."""
    if whole[1] == _GRAPHIC_CONTROL and whole[2] >= _CONTROL:
        return whole[:2] + bytes([_CONTROL]) + whole[3 : 3 + _CONTROL] + b"\0"
    if whole[1] != _APPLICATION or whole[2] != _NAME:
        return b""
    name, blocks = whole[3 : 3 + _NAME], whole[3 + _NAME :]
    if name in _LOOPS and blocks[:2] == b"\3\1":
        return whole[: 3 + _NAME] + blocks[:4] + b"\0"
    profile = kept.profile(_content(blocks)) if name == _PROFILE else None
    parts = [profile[at : at + 255] for at in range(0, len(profile), 255)] if profile else []
    return whole[: 3 + _NAME] + b"".join(bytes([len(part)]) + part for part in parts) + b"\0" if parts else b""


def _content(blocks: bytes) -> bytes:
    parts, at = [], 0
    while blocks[at]:
        parts.append(blocks[at + 1 : at + 1 + blocks[at]])
        at += 1 + blocks[at]
    return b"".join(parts)


def _check_place(place: tuple[int, ...], canvas: tuple[int, ...]) -> None:
    """Reject frames outside the canvas, which viewers treat differently and which can hide data."""
    left, top, width, height = place
    if left + width > canvas[0] or top + height > canvas[1]:
        raise ValueError("A frame extends beyond the canvas.")


def _table(flags: int) -> int:
    """Return the length of a colour table in bytes."""
    return 6 << (flags & 7) if flags & 0x80 else 0


def _after_blocks(data: memoryview, at: int) -> int:
    while at < len(data) and data[at]:
        at += 1 + data[at]
    if at >= len(data):
        raise ValueError("The last block is truncated.")
    return at + 1
