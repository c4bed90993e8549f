"""Windows bitmaps to test with, written byte by byte."""

import struct
from collections.abc import Sequence

PLAIN, FIELDS, JPEG, PNG, ALPHA_FIELDS = 0, 3, 4, 5, 6
CORE, INFO, V3, V4, V5 = 12, 40, 56, 108, 124


def bmp(
    rows: Sequence[bytes], width: int, depth: int, *, header: int = INFO, compression: int = PLAIN,
    masks: Sequence[int] = (), palette: bytes = b"", downwards: bool = False, profile: bytes = b"", gap: int = 0,
    used: int = 0,
) -> bytes:  # fmt: skip
    """Write a bitmap.

    Args:
        rows: The topmost first, not padded.
        width: In pixels.
        depth: Bits a pixel.
        header: The length of its header.
        compression: Which one it says.
        masks: The bits of each channel.
        palette: As it is stored.
        downwards: The rows are stored from the top.
        profile: An ICC profile.
        gap: How many bytes are unused before the pixels.
        used: How many colours it says that its palette has.
    """
    height = -len(rows) if downwards else len(rows)
    if header == CORE:
        head = struct.pack("<IHHHH", header, width, height, 1, depth)
    else:
        head = struct.pack("<IiiHHIIiiII", header, width, height, 1, depth, compression, 0, 0, 0, used, 0)
    packed = struct.pack(f"<{len(masks)}I", *masks)
    behind = b"" if header > INFO else packed
    if header > INFO:
        head += packed
    stored = b"".join(row + bytes(-len(row) % 4) for row in (rows if downwards else reversed(rows)))
    head = head.ljust(header, b"\0")
    if profile:
        place = len(head) + len(behind) + len(palette) + gap + len(stored)
        head = head[:56] + b"DEBM" + head[60:112] + struct.pack("<II", place, len(profile)) + head[120:]
    start = 14 + len(head) + len(behind) + len(palette) + gap
    body = head + behind + palette + bytes(gap) + stored + profile
    return struct.pack("<2sIHHI", b"BM", 14 + len(body), 0, 0, start) + body
