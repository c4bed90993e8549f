"""The colour information in the header of a PNG.

Source: PNG, third edition (W3C, 2025), 4.3 (precedence), 11.3.2 (chunks of colour).
"""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from progimage.engine.codecs.png_chunks import SIGNATURE, chunks
from progimage.engine.colorimetry import (
    BT709,
    UNKNOWN_LIGHT,
    Calibrated,
    Chromaticities,
    Cicp,
    ColourSpace,
    Light,
    Point,
    to_bt709,
)

_LARGEST_PROFILE = 16_000_000
"""Maximum unpacked size in bytes."""
_MOST_CHUNKS = 100_000
_USUAL_GAMMA = 45455


@dataclass(frozen=True, slots=True)
class PngColour:
    """The colour information of a PNG.

    Attributes:
        space: Colour space; None for sRGB or unspecified.
        light: Brightness of the content, if it is HDR.
    """

    space: ColourSpace = None
    light: Light = UNKNOWN_LIGHT


def png_colour(data: bytes) -> PngColour:
    """Read the colour information of a PNG. Precedence: cICP, iCCP, sRGB, gAMA with cHRM.

    Invalid and unsupported chunks are ignored. Programs write gAMA of 0.45455 without cHRM for sRGB, and browsers
    interpret it that way. cHRM alone specifies no curve, and is ignored.

    Args:
        data: The file, or enough of its beginning: all before IDAT.

    Raises:
        ValueError: The file isn't a PNG.
    """
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG")
    found: dict[bytes, bytes] = {}
    for kind, body in _before_pixels(data):
        found.setdefault(kind, body)
    light = Light(_content(found.get(b"cLLI")), _mastering(found.get(b"mDCV")))
    told: ColourSpace = _cicp(found.get(b"cICP")) or _profile(found.get(b"iCCP"))
    if told is None and b"sRGB" not in found:
        told = _calibrated(found.get(b"gAMA"), found.get(b"cHRM"))
    return PngColour(told, light)


def _before_pixels(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the chunks before the pixels, except those with a wrong checksum."""
    for at, kind, body in chunks(memoryview(data), _MOST_CHUNKS):
        if kind in (b"IDAT", b"IEND"):
            return
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        if kind in _WANTED and zlib.crc32(data[at + 4 : end]) == int.from_bytes(data[end : end + 4], "big"):
            yield kind, bytes(body)


_WANTED = {b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"mDCV", b"cLLI"}


def _cicp(body: bytes | None) -> Cicp | None:
    if body is None or len(body) != 4 or body[2] != 0 or body[3] > 1:
        return None
    space = Cicp(body[0], body[1], 0, bool(body[3]))
    return space if space.known else None


def _profile(body: bytes | None) -> bytes | None:
    name, _, rest = (body or b"").partition(b"\0")
    if not 1 <= len(name) <= 79 or rest[:1] != b"\0":  # the only defined compression method
        return None
    packed = zlib.decompressobj()
    try:
        profile = packed.decompress(rest[1:], _LARGEST_PROFILE)
    except zlib.error:
        return None
    return profile if packed.eof and profile else None


def _calibrated(gamma: bytes | None, chromaticities: bytes | None) -> Calibrated | None:
    power = int.from_bytes(gamma, "big") if gamma is not None and len(gamma) == 4 else 0
    if not 1_000 <= power <= 10_000_000:  # a gamma of 0.01 to 100
        return None
    primaries = _chromaticities(chromaticities)
    if primaries is None and power == _USUAL_GAMMA:
        return None
    return Calibrated(power / 100_000, primaries or BT709)


def _chromaticities(body: bytes | None) -> Chromaticities | None:
    if body is None or len(body) != 32:
        return None
    numbers = [int.from_bytes(body[at : at + 4], "big") / 100_000 for at in range(0, 32, 4)]
    points: list[Point] = list(zip(numbers[::2], numbers[1::2], strict=True))
    space = Chromaticities(*points)
    try:
        to_bt709(space)
    except ValueError:
        return None
    return space


def _content(body: bytes | None) -> float | None:
    return _ten_thousandths(body[:4]) if body is not None and len(body) == 8 else None


def _mastering(body: bytes | None) -> float | None:
    return _ten_thousandths(body[16:20]) if body is not None and len(body) == 24 else None


def _ten_thousandths(number: bytes) -> float | None:
    return int.from_bytes(number, "big") / 10_000 or None
