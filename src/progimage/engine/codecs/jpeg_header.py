"""The segments of a JPEG with information on its samples: coding process, depth, colours.

Sources: ITU-T T.81, annex B; for JPEG-LS ITU-T T.87, annex C; for the Adobe segment Adobe's Technical Note 5116.
"""

from collections.abc import Iterator
from dataclasses import dataclass

LOSSLESS = 3
"""SOF3: predicted from neighbours (T.81, annex H)."""
LS = 55
"""SOF55: JPEG-LS."""
LOSSLESS_ARITHMETIC = 11
_HIERARCHICAL = (5, 6, 7, 13, 14, 15)
_FRAMES = {0xC0 + index: index for index in range(16) if index not in (4, 8, 12)} | {0xF7: LS}
"""Markers of frames; 4, 8 and 12 are excluded because they are those of tables and an extension."""
_BARE = {0x01, *range(0xD0, 0xD9)}
"""Markers without a length."""
_SOS, _EOI, _APP1, _APP2, _APP14 = 0xDA, 0xD9, 0xE1, 0xE2, 0xEE
_ICC, _EXIF, _ADOBE = b"ICC_PROFILE\0", b"Exif\0\0", b"Adobe"
_MAXIMUM = 10_000
"""Maximum number of segments to check; more only serve to waste time."""


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """The header of a JPEG, up to its first scan.

    Attributes:
        process: Number of the SOF marker: 0 baseline, 1 extended, 2 progressive, 3 lossless, and so on.
        bits: Bits per sample.
        width: Width in pixels.
        height: Height in pixels; 0 if only the end of the first scan specifies it.
        components: Number of channels.
        adobe: Colour transform in the Adobe segment: 0 none, 1 YCbCr, 2 YCCK; None without that segment.
        icc: The ICC profile.
        exif: The EXIF data, starting with its own header.
    """

    process: int
    bits: int
    width: int
    height: int
    components: int
    adobe: int | None = None
    icc: bytes | None = None
    exif: bytes | None = None

    @property
    def by_samples(self) -> bool:
        """Whether it needs a decoder with support for more than 8 bits per sample or the lossless process."""
        return self.bits != 8 or self.process == LOSSLESS

    @property
    def hierarchical(self) -> bool:
        """Whether it contains several frames, each of which refines the previous one."""
        return self.process in _HIERARCHICAL


def jpeg_header(data: memoryview) -> JpegHeader:
    """Read the segments up to the first scan.

    Args:
        data: The file, or enough of its beginning.

    Raises:
        ValueError: There is no frame, or a segment is malformed.
    """
    frame: tuple[int, int, int, int, int] | None = None
    adobe, exif = None, None
    profile: dict[int, bytes] = {}
    for marker, start, end in _segments(data):
        body = data[start:end]
        if marker in _FRAMES and frame is None:
            if len(body) < 6:
                raise ValueError("the header of the frame is too short")
            frame = (_FRAMES[marker], body[0], _number(body, 3), _number(body, 1), body[5])
        elif marker == _APP1 and exif is None and bytes(body[:6]) == _EXIF:
            exif = bytes(body)
        elif marker == _APP2 and bytes(body[:12]) == _ICC and len(body) > 14:
            profile.setdefault(body[12], bytes(body[14:]))
        elif marker == _APP14 and bytes(body[:5]) == _ADOBE and len(body) >= 12:
            adobe = body[11]
    if frame is None:
        raise ValueError("there is no frame")
    icc = b"".join(part for _, part in sorted(profile.items())) or None
    return JpegHeader(*frame, adobe=adobe, icc=icc, exif=exif)


def _segments(data: memoryview) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of the content of each segment before the first scan."""
    if bytes(data[:2]) != b"\xff\xd8":
        raise ValueError("it doesn't start like a JPEG")
    at = 2
    for _ in range(_MAXIMUM):
        while bytes(data[at : at + 2]) == b"\xff\xff":  # fill bytes
            at += 1
        if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] in (_SOS, _EOI):
            return
        if data[at + 1] in _BARE:
            at += 2
            continue
        length = _number(data, at + 2)
        if length < 2:
            raise ValueError("a segment is shorter than its length field")
        yield data[at + 1], at + 4, at + 2 + length
        at += 2 + length


def _number(data: memoryview, at: int) -> int:
    return data[at] << 8 | data[at + 1]
