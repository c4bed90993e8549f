"""Photoshop files to test with, written byte by byte."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

BITMAP, GREY, INDEXED, RGB, CMYK, MULTICHANNEL, DUOTONE, LAB = 0, 1, 2, 3, 4, 7, 8, 9
RAW, RLE, ZIP, DIFFERENCES = range(4)
VERSION_INFO = 1057


def packed(row: bytes) -> bytes:
    """Pack a row with PackBits: a run, if it is one, else as it is."""
    if len(set(row)) == 1 and 1 < len(row) <= 128:
        return bytes([257 - len(row), row[0]])
    return b"".join(bytes([len(part) - 1]) + part for part in (row[at : at + 128] for at in range(0, len(row), 128)))


def psd(
    channels: Sequence[np.ndarray], mode: int, *, depth: int = 8, large: bool = False, packing: int = RAW,
    layers: int = 0, blocks: bytes = b"", resources: dict[int, bytes] | None = None, palette: bytes = b"",
    width: int | None = None,
) -> bytes:  # fmt: skip
    """Write a file of a merged picture alone.

    Args:
        channels: Samples of each channel, as bytes a row; of 16 and 32 bits big-endian.
        mode: Its colour mode.
        depth: Bits a sample.
        large: It is a PSB.
        packing: How the samples are packed.
        layers: How many layers it says that it has.
        blocks: What is behind the layers.
        resources: Image resources by their numbers.
        palette: What the section of colour mode data holds.
        width: In pixels, where it is not that of the arrays.
    """
    height = channels[0].shape[0]
    kind = "Q" if large else "I"
    header = struct.pack(
        ">4sH6xHIIHH", b"8BPS", 2 if large else 1, len(channels), height, width or channels[0].shape[1], depth, mode
    )
    held = b"".join(
        b"8BIM" + struct.pack(">HHI", number, 0, len(data)) + data + b"\0" * (len(data) % 2)
        for number, data in (resources or {}).items()
    )
    info = struct.pack(">h", layers) + b"\0\0" if layers else b""
    section = struct.pack(f">{kind}", len(info)) + info + struct.pack(">I", 0) + blocks if layers or blocks else b""
    rows = [[np.ascontiguousarray(row).tobytes() for row in channel] for channel in channels]
    return (
        header
        + struct.pack(">I", len(palette)) + palette
        + struct.pack(">I", len(held)) + held
        + struct.pack(f">{kind}", len(section)) + section
        + struct.pack(">H", packing) + _pixels(rows, packing, depth, large)
    )  # fmt: skip


def _pixels(rows: list[list[bytes]], packing: int, depth: int, large: bool) -> bytes:
    flat = [row for channel in rows for row in channel]
    if packing == RLE:
        parts = [packed(row) for row in flat]
        return struct.pack(f">{len(parts)}{'I' if large else 'H'}", *map(len, parts)) + b"".join(parts)
    if packing == ZIP:
        return zlib.compress(b"".join(flat))
    if packing == DIFFERENCES:
        return zlib.compress(b"".join(_differences(row, depth) for row in flat))
    return b"".join(flat)


def _differences(row: bytes, depth: int) -> bytes:
    if depth == 16:
        values = np.frombuffer(row, ">u2").astype(np.int64)
        return (np.diff(values, prepend=0) % 65536).astype(">u2").tobytes()
    values = np.frombuffer(row, "u1").astype(np.int64)
    if depth == 32:  # the most significant bytes of all samples first
        values = values.reshape(-1, 4).T.reshape(-1)
    return (np.diff(values, prepend=0) % 256).astype("u1").tobytes()
