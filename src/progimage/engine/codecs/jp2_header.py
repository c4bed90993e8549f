"""The header of a JPEG 2000 file, with its information on pixels and colours.

Source: ISO/IEC 15444-1:2024, annex I (boxes) and A.5.1 (SIZ).
"""

from dataclasses import dataclass, replace

from progimage.engine.codecs.boxes import boxes, first, number
from progimage.engine.colorimetry import Cicp

SIGNATURE = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"
CMYK = 12
LAB = 14
SRGB = 16
GREY = 17
SYCC = 18
_VARIES = 255
_CAP, _PART_15 = b"\xff\x50", 1 << (32 - 15)


@dataclass(frozen=True, slots=True)
class Jp2Header:
    """The header of a JPEG 2000 file.

    Attributes:
        width: Width in pixels.
        height: Height in pixels.
        components: Number of components before a palette is applied.
        depths: Bits of each component.
        enumerated: Number of the colour space, such as `SRGB`, `GREY`, `SYCC`; None if it is specified otherwise.
        icc: ICC profile, if it specifies the colour space.
        cicp: Code points, if they specify the colour space.
        palette: Whether components are indices into a palette.
        alpha: Channel with the alpha of the whole image; None if there is none.
        premultiplied: Whether colours are premultiplied by alpha.
    """

    width: int
    height: int
    components: int
    depths: tuple[int, ...]
    enumerated: int | None = None
    icc: bytes | None = None
    cicp: Cicp | None = None
    palette: bool = False
    alpha: int | None = None
    premultiplied: bool = False


def jp2_header(data: bytes) -> Jp2Header:
    """Read the header of a JPEG 2000 file, or of a bare codestream.

    Args:
        data: The file, or enough of its beginning.

    Raises:
        ValueError: The file isn't JPEG 2000, or is malformed.
    """
    if data.startswith(CODESTREAM):
        return _codestream(data)
    if not data.startswith(SIGNATURE):
        raise ValueError("it isn't a JPEG 2000 file")
    inside = first(data, b"jp2h")
    if inside is None:
        raise ValueError("no jp2h")
    parts: dict[bytes, bytes] = {}
    colours = []
    for kind, body in boxes(inside):
        parts.setdefault(kind, body)
        if kind == b"colr":
            colours.append(body)
    header = _sized(parts)
    for body in colours:
        told = _colour(header, body)
        if told is not None:
            header = told  # the first that is supported
            break
    header = replace(header, palette=b"pclr" in parts)
    return _channels(header, parts[b"cdef"]) if b"cdef" in parts else header


def is_high_throughput(data: bytes) -> bool:
    """Return whether a JPEG 2000 file or codestream is high-throughput (HTJ2K, ISO/IEC 15444-15)."""
    start = 0 if data.startswith(CODESTREAM) else data.find(CODESTREAM, max(data.find(b"jp2c"), 0))
    if start < 0 or start + 4 > len(data):
        return False
    behind = start + 4 + int.from_bytes(data[start + 4 : start + 6], "big")  # end of SIZ, which CAP follows
    capabilities = int.from_bytes(data[behind + 4 : behind + 8], "big")
    return data[behind : behind + 2] == _CAP and bool(capabilities & _PART_15)


def _codestream(data: bytes) -> Jp2Header:
    right, bottom, left, top = (number(data, at, 4) for at in (8, 12, 16, 20))
    count = number(data, 40, 2)
    depths = tuple(_depth(number(data, 42 + 3 * index, 1)) for index in range(count))
    return Jp2Header(right - left, bottom - top, count, depths)


def _sized(parts: dict[bytes, bytes]) -> Jp2Header:
    body = parts.get(b"ihdr", b"")
    height, width, count, depth = number(body, 0, 4), number(body, 4, 4), number(body, 8, 2), number(body, 10, 1)
    if depth == _VARIES:
        each = parts.get(b"bpcc", b"")
        depths = tuple(_depth(number(each, index, 1)) for index in range(count))
    else:
        depths = (_depth(depth),) * count
    return Jp2Header(width, height, count, depths)


def _depth(byte: int) -> int:
    return (byte & 0x7F) + 1  # the highest bit means that samples are signed


def _colour(header: Jp2Header, body: bytes) -> Jp2Header | None:
    method = number(body, 0, 1)
    if method == 1:
        return replace(header, enumerated=number(body, 3, 4))
    if method in (2, 3):
        return replace(header, icc=body[3:]) if len(body) > 3 else None
    if method == 5:
        primaries, transfer, matrix = (number(body, at, 2) for at in (3, 5, 7))
        return replace(header, cicp=Cicp(primaries, transfer, matrix, bool(number(body, 9, 1) >> 7)))
    return None


def _channels(header: Jp2Header, body: bytes) -> Jp2Header:
    for index in range(number(body, 0, 2)):
        channel, kind, belongs = (number(body, 2 + 6 * index + part, 2) for part in (0, 2, 4))
        if kind in (1, 2) and belongs == 0:
            return replace(header, alpha=channel, premultiplied=kind == 2)
    return header
