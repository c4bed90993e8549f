"""Animations, written frame by frame, with every way to leave a frame and to put the next one on it."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from tests.conformance.making import Samples, chunk, png_rows, saved, webp_chunk

SIZE = (64, 48)
TRANSPARENT = 255
"""The entry of a GIF's palette that is transparent in a frame that says so."""
_CLEAR, _END = 256, 257


@dataclass(frozen=True)
class Frame:
    """A frame.

    Attributes:
        pixels: Of a GIF, indices of its palette; else red, green, blue and alpha.
        at: Where it is put.
        duration: In milliseconds.
        dispose: What becomes of it, as the format numbers that.
        blend: How it is put there, as the format numbers that.
        transparent: Of a GIF: it has a transparent colour.
    """

    pixels: Samples
    at: tuple[int, int] = (0, 0)
    duration: int = 100
    dispose: int = 0
    blend: int = 0
    transparent: bool = False

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[1], self.pixels.shape[0]


def gif(frames: Sequence[Frame], loop: int | None = 0, size: tuple[int, int] = SIZE) -> bytes:
    """A GIF; `loop` is what stands in its loop block, if it has one: how often it is repeated, or 0, without end."""
    grid = numpy.arange(256)
    palette = numpy.stack([grid * 37 % 256, grid * 91 % 256, grid * 149 % 256], axis=1).astype(numpy.uint8)
    result = b"GIF89a" + struct.pack("<HHBBB", *size, 0xF7, 1, 0) + palette.tobytes()
    if loop is not None:
        result += b"\x21\xff\x0bNETSCAPE2.0\x03\x01" + struct.pack("<HB", loop, 0)
    for frame in frames:
        flags = frame.dispose << 2 | frame.transparent
        result += b"\x21\xf9\x04" + struct.pack("<BHBB", flags, frame.duration // 10, TRANSPARENT, 0)
        result += b"\x2c" + struct.pack("<HHHHB", *frame.at, *frame.size, 0) + b"\x08"
        data = _codes(frame.pixels.tobytes())
        result += b"".join(bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255))
        result += b"\0"
    return result + b"\x3b"


def _codes(indices: bytes) -> bytes:
    """GIF's LZW without its compression: codes stay at 9 bits, since the table is cleared before it is full."""
    codes = []
    for start in range(0, len(indices), 250):
        codes += [_CLEAR, *indices[start : start + 250]]
    bits = 0
    for place, code in enumerate([*codes, _END]):
        bits |= code << 9 * place
    return bits.to_bytes((9 * (len(codes) + 1) + 7) // 8, "little")


def apng(frames: Sequence[Frame], plays: int = 0, default: Samples | None = None) -> bytes:
    """An APNG; `default` is a picture for those who know no animation, which is not a part of it."""
    width, height = SIZE
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0))]
    parts.append(chunk(b"acTL", struct.pack(">II", len(frames), plays)))
    number = 0
    if default is not None:
        parts.append(chunk(b"IDAT", png_rows(default)))
    for index, frame in enumerate(frames):
        control = struct.pack(">IIIIIHHBB", number, *frame.size, *frame.at, frame.duration, 1000, frame.dispose,
                              frame.blend)  # fmt: skip
        parts.append(chunk(b"fcTL", control))
        number += 1
        if index == 0 and default is None:
            parts.append(chunk(b"IDAT", png_rows(frame.pixels)))
        else:
            parts.append(chunk(b"fdAT", struct.pack(">I", number) + png_rows(frame.pixels)))
            number += 1
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


def webp(frames: Sequence[Frame], plays: int = 0) -> bytes:
    """A WebP animation; `dispose` 1 clears the frame, `blend` 1 replaces what is there."""
    body = webp_chunk(b"VP8X", bytes([0x12, 0, 0, 0]) + _three(SIZE[0] - 1) + _three(SIZE[1] - 1))
    body += webp_chunk(b"ANIM", bytes(4) + struct.pack("<H", plays))
    for frame in frames:
        still = saved(frame.pixels, "WEBP", lossless=True, exact=True)
        at = still.index(b"VP8L")
        (length,) = struct.unpack("<I", still[at + 4 : at + 8])
        numbers = (frame.at[0] // 2, frame.at[1] // 2, frame.size[0] - 1, frame.size[1] - 1, frame.duration)
        flags = bytes([frame.blend << 1 | frame.dispose])
        pixels = webp_chunk(b"VP8L", still[at + 8 : at + 8 + length])
        body += webp_chunk(b"ANMF", b"".join(map(_three, numbers)) + flags + pixels)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def _three(number: int) -> bytes:
    return number.to_bytes(3, "little")


def indices(size: tuple[int, int], value: int, hole: bool = False) -> Samples:
    """Of a GIF: one colour with a stripe of another, and in the middle of it, what is transparent."""
    pixels = numpy.full(size[::-1], value, numpy.uint8)
    pixels[:, : size[0] // 4] = value + 40
    if hole:
        pixels[size[1] // 4 : size[1] // 2, size[0] // 3 : size[0] * 2 // 3] = TRANSPARENT
    return pixels


def colours(size: tuple[int, int], colour: tuple[int, int, int], alpha: int = 255, hole: bool = False) -> Samples:
    """The same, of a colour and an alpha."""
    pixels = numpy.zeros((size[1], size[0], 4), numpy.uint8)
    pixels[:] = (*colour, alpha)
    pixels[:, : size[0] // 4] = (*colour[::-1], 255)
    if hole:
        pixels[size[1] // 4 : size[1] // 2, size[0] // 3 : size[0] * 2 // 3] = 0
    return pixels
